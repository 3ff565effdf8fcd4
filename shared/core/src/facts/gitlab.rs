//! What GitLab says, joined with what the cluster says: agents, projects, credentials, versions.

use super::agent::Agent;
use super::host::host_and_port;
use super::notification::{is_number, token};
use super::{Facts, Provider, Source, ValueKind, Why, WhyKind};
use crate::object::ObjectRef;
use crate::snapshot::gitlab::{AgentRecord, Credential, CredentialKind, GitLabPart, Metadata, ProjectEntry};

/// The full path of the project that a repository URL means on this instance; none for other hosts. Over https host
/// and port must be the instance's, and its relative URL root is taken off; over ssh the port is another one.
pub fn project_of(instance: &str, repository: &str) -> Option<String> {
    let (host, port) = host_and_port(instance)?;
    let (own_host, own_port) = host_and_port(repository)?;
    if !host.eq_ignore_ascii_case(own_host) {
        return None;
    }
    let path = path_of(repository);
    let path = if repository.starts_with("ssh://") {
        path
    } else {
        let standard = |port: &str| if port.is_empty() { "443".to_owned() } else { port.to_owned() };
        if !repository.starts_with("https://") || standard(port) != standard(own_port) {
            return None;
        }
        path.strip_prefix(path_of(instance).trim_end_matches('/'))?
    };
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    (path.contains('/') && !path.contains("..")).then(|| path.to_owned())
}

/// The project that a Provider writes to on this instance: by its path or, as Flux advises for nested groups, by its
/// number; none for other hosts.
pub fn project_of_provider(instance: &str, provider: &Provider) -> Option<String> {
    let address = provider.spec.address.as_str();
    if !provider.writes_to_gitlab() {
        return None;
    }
    project_of(instance, address).or_else(|| {
        let (instance, address) = (instance.trim_end_matches('/'), address.trim_end_matches('/'));
        let number =
            address.get(instance.len()..).filter(|_| is_prefix(instance, address))?.strip_prefix('/')?;
        is_number(number).then(|| number.to_owned())
    })
}

fn is_prefix(start: &str, text: &str) -> bool {
    text.get(..start.len()).is_some_and(|own| own.eq_ignore_ascii_case(start))
}

fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("", |at| &rest[at..])
}

/// Which credential of GitLab a source's Secret holds.
pub enum Held<'s> {
    /// This one: its user name or public key is in the Secret.
    This(&'s Credential),
    /// One of these access tokens, if it is one of the project's: an access token works with any user name.
    OneOf(Vec<&'s Credential>),
}

impl<'s> Facts<'s> {
    /// What was observed of GitLab.
    ///
    /// # Errors
    /// No access to GitLab was given.
    pub fn gitlab(&self) -> Result<&'s GitLabPart, Why> {
        self.snapshot.gitlab.get()
    }

    /// Versions of GitLab and kas.
    ///
    /// # Errors
    /// GitLab was not asked, or did not say.
    pub fn gitlab_metadata(&self) -> Result<&'s Metadata, Why> {
        self.gitlab()?.metadata.get()
    }

    /// The address that GitLab announces for agents.
    ///
    /// # Errors
    /// GitLab was not asked, or did not say.
    pub fn announced_kas(&self) -> Result<Option<&'s str>, Why> {
        let metadata = self.gitlab_metadata()?;
        Ok(metadata.kas_url.as_deref().filter(|_| metadata.kas_enabled))
    }

    /// The address that GitLab announces, where agentk uses another one; none where either is not known. Another
    /// one may still be right: an internal address of the same kas.
    pub fn other_kas(&self, agent: &Agent<'_>) -> Option<&'s str> {
        let announced = self.announced_kas().ok().flatten()?;
        agent.kas_address().filter(|own| !same_kas(own, announced)).map(|_| announced)
    }

    /// The agent that an agentk of the cluster is in GitLab.
    ///
    /// # Errors
    /// GitLab was not asked, or which agent it is, is not known.
    pub fn gitlab_agent(&self, agent: &Agent<'_>) -> Result<&'s AgentRecord, Why> {
        let object = agent.object();
        match self.gitlab()?.agents.iter().find(|a| a.deployment == object) {
            Some(entry) => entry.agent.get(),
            None => Err(Why::new(
                WhyKind::NotAsked,
                format!("the agent of {object} in GitLab"),
                "it was not asked for",
            )),
        }
    }

    /// The project that a source is fetched from; `Ok(None)` where it is on another host.
    ///
    /// # Errors
    /// GitLab was not asked about it.
    pub fn gitlab_project(&self, source: &Source) -> Result<Option<&'s ProjectEntry>, Why> {
        let part = self.gitlab()?;
        project_of(&part.url, &source.spec.url).map(|path| self.project_at(&path)).transpose()
    }

    fn project_at(&self, path: &str) -> Result<&'s ProjectEntry, Why> {
        let missing = || {
            Why::new(
                WhyKind::NotAsked,
                format!("project {path}"),
                "more projects are used than are asked for",
            )
        };
        self.gitlab()?.projects.iter().find(|p| p.path == path).ok_or_else(missing)
    }

    /// Which credential a GitRepository's Secret holds; `Ok(None)` where it needs none, or is on another host.
    ///
    /// # Errors
    /// The Secret or GitLab does not tell.
    pub fn held_credential(&self, source: &Source) -> Result<Option<(ObjectRef, Held<'s>)>, Why> {
        let Some(reference) = &source.spec.secret_ref else { return Ok(None) };
        let Some(project) = self.gitlab_project(source)? else { return Ok(None) };
        let namespace = &source.metadata.namespace;
        let object = ObjectRef::new("Secret", namespace, &reference.name);
        let Some(secret) = self.secret(namespace, &reference.name)? else { return Ok(None) };
        let credentials = project.credentials.get()?;
        if let Some(held) = credentials.iter().find(|c| c.held_by.contains(&object)) {
            return Ok(Some((object, Held::This(held))));
        }
        let is_token = secret.keys.get("password").is_some_and(|k| k.kind == ValueKind::AccessToken);
        let likely: Vec<&Credential> = credentials
            .iter()
            .filter(|c| c.kind == CredentialKind::AccessToken && !c.dead && c.reads())
            .collect();
        if is_token && !likely.is_empty() {
            return Ok(Some((object, Held::OneOf(likely))));
        }
        let asked = format!("which credential of GitLab {object} holds");
        let text = "it is none of this project's, by user name and public key; tokens of a group or a person are not \
                    looked up, and the credential itself is sent nowhere";
        Err(Why::new(WhyKind::NotAsked, asked, text))
    }

    /// The access tokens of which one is probably what a Provider's Secret holds: those of its project that can set a
    /// job status. `Ok(None)` where it has no access token, or writes to another host.
    ///
    /// # Errors
    /// The Secret or GitLab does not tell.
    pub fn held_status_token(
        &self,
        provider: &Provider,
    ) -> Result<Option<(ObjectRef, Vec<&'s Credential>)>, Why> {
        let Some(object) = provider.secret() else { return Ok(None) };
        let Some(path) = project_of_provider(&self.gitlab()?.url, provider) else { return Ok(None) };
        let Some(secret) = self.secret(&object.namespace, &object.name)? else { return Ok(None) };
        // Of any other kind GA505 says that it cannot do this.
        if token(secret).is_none_or(|(_, token)| token.kind != ValueKind::AccessToken) {
            return Ok(None);
        }
        let credentials = self.project_at(&path)?.credentials.get()?;
        let can = |c: &&Credential| {
            c.kind == CredentialKind::AccessToken && !c.dead && c.scopes.iter().any(|scope| scope == "api")
        };
        let likely: Vec<&Credential> = credentials.iter().filter(can).collect();
        if likely.is_empty() {
            let asked = format!("which credential of GitLab {object} holds");
            let text = "no access token of this project that is active has the scope api; tokens of a group or a person \
                        are not looked up, and the token itself is sent nowhere";
            return Err(Why::new(WhyKind::NotAsked, asked, text));
        }
        Ok(Some((object, likely)))
    }
}

impl Credential {
    /// Whether it can fetch.
    pub fn reads(&self) -> bool {
        self.kind == CredentialKind::DeployKey
            || self
                .scopes
                .iter()
                .any(|s| matches!(s.as_str(), "read_repository" | "write_repository" | "api"))
    }

    /// Scopes beyond what fetching code, charts and images needs.
    pub fn excess(&self) -> Vec<&str> {
        const NEEDED: [&str; 3] = ["read_repository", "read_registry", "read_virtual_registry"];
        self.scopes.iter().map(String::as_str).filter(|s| !NEEDED.contains(s)).collect()
    }

    /// As people find it in GitLab: `deploy token 12 "flux"`.
    pub fn title(&self) -> String {
        let kind = match self.kind {
            CredentialKind::DeployToken => "deploy token",
            CredentialKind::DeployKey => "deploy key",
            CredentialKind::AccessToken => "project access token",
        };
        format!("{kind} {} \"{}\"", self.id, self.name)
    }
}

/// Whether two addresses of kas are the same but for a slash at the end, which agentk's own address may have or lack
/// without a path.
pub fn same_kas(one: &str, other: &str) -> bool {
    let plain = |text: &str| {
        let text = text.trim().trim_end_matches('/').to_ascii_lowercase();
        let standard = text.replacen(":443/", "/", 1);
        standard.strip_suffix(":443").map_or(standard.clone(), str::to_owned)
    };
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_projects_of_exactly_this_instance() {
        let https = "https://gitlab.example.com";
        for (instance, url, project) in [
            (https, "https://gitlab.example.com/a/b.git", Some("a/b")),
            (https, "https://gitlab.example.com:443/a/b/c", Some("a/b/c")),
            (https, "ssh://git@gitlab.example.com:2222/a/b.git", Some("a/b")),
            (https, "https://gitlab.example.com:8443/a/b.git", None),
            (https, "http://gitlab.example.com/a/b.git", None),
            (https, "https://gitlab.example.com.evil.com/a/b.git", None),
            (https, "https://evil.com/gitlab.example.com/b.git", None),
            (https, "https://gitlab.example.com/a", None),
            (https, "https://gitlab.example.com/a/../b", None),
            ("https://gitlab.example.com/gitlab", "https://gitlab.example.com/gitlab/a/b.git", Some("a/b")),
            ("https://gitlab.example.com/gitlab", "https://gitlab.example.com/a/b.git", None),
            ("https://127.0.0.1:8443", "https://127.0.0.1:8443/a/b.git", Some("a/b")),
        ] {
            assert_eq!(project_of(instance, url).as_deref(), project, "{instance} {url}");
        }
    }

    #[test]
    fn a_provider_names_its_project_by_path_or_number() {
        let mut provider = crate::fixture::healthy().providers.items.remove(0);
        for (instance, address, project) in [
            ("https://gitlab.example.com", "https://gitlab.example.com/a/b", Some("a/b")),
            ("https://gitlab.example.com", "https://GitLab.example.com/42/", Some("42")),
            ("https://gitlab.example.com/gitlab", "https://gitlab.example.com/gitlab/42", Some("42")),
            ("https://gitlab.example.com/gitlab", "https://gitlab.example.com/42", None),
            ("https://gitlab.example.com", "https://gitlab.example.com.evil.com/42", None),
            ("https://gitlab.example.com", "https://gitlab.example.com/group", None),
            ("https://gitlab.example.com", "", None),
        ] {
            *provider.spec.address = address.to_owned();
            assert_eq!(project_of_provider(instance, &provider).as_deref(), project, "{instance} {address}");
        }
        *provider.spec.address = "https://gitlab.example.com/a/b".to_owned();
        provider.spec.kind = "github".to_owned();
        assert_eq!(project_of_provider("https://gitlab.example.com", &provider), None);
    }

    #[test]
    fn an_address_other_than_the_announced_one_is_told() {
        let mut s = crate::fixture::healthy();
        assert_eq!(Facts::derive(&s).other_kas(&Facts::derive(&s).agents[0]), None);
        let args =
            &mut crate::fixture::deployment_mut(&mut s, "gitlab-agent-v2").spec.template.spec.containers[0]
                .args;
        args[1] = "--kas-address=wss://kas.elsewhere.com".to_owned();
        let facts = Facts::derive(&s);
        assert_eq!(facts.other_kas(&facts.agents[0]), Some("wss://kas.example.com"));
        s.gitlab = crate::facts::Observed::Unknown(Why::new(WhyKind::NoGitLab, "GitLab", "none given"));
        let facts = Facts::derive(&s);
        assert_eq!(facts.other_kas(&facts.agents[0]), None);
    }

    #[test]
    fn kas_addresses_are_compared_without_the_slash_at_the_end() {
        assert!(same_kas("wss://kas.example.com", "wss://kas.example.com/"));
        assert!(same_kas("wss://h:443/-/kubernetes-agent/", "wss://h/-/kubernetes-agent"));
        assert!(!same_kas("wss://kas.example.com", "grpcs://kas.example.com"));
        assert!(!same_kas("wss://kas.example.com", "wss://kas.other.com"));
    }
}
