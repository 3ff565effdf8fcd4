//! Which credential is meant: its Secret and keys, and everything that reads them; from what was observed.

use std::collections::BTreeSet;

use gitlab_agent_core::facts::agent::Agent;
use gitlab_agent_core::facts::host::host_and_port;
use gitlab_agent_core::facts::token_use::{Purpose, TokenHolder};
use gitlab_agent_core::facts::{Facts, Provider, SecretShape, Source};
use gitlab_agent_core::object::ObjectRef;

use super::form::Form;
use super::preflight::Refusal;
pub use super::readers::Reader;
pub(super) use super::readers::{Agentk, Fetcher, Notifier};
use super::readers::{fetcher, notifier};
use super::secret::Place;

/// The key of the token in its Secret; the chart mounts the whole Secret, and agentk is told `…/token`.
pub(super) const KEY: &str = "token";

/// What is rotated, as the cluster shows it.
#[derive(Clone, Debug)]
pub struct Target {
    /// What it is the credential of: `agentk gitlab/gitlab-agent-v2`, `GitRepository flux-system/app`.
    pub of: String,
    /// The Secret.
    pub secret: Place,
    /// How it holds the credential.
    pub form: Form,
    /// All that reads it.
    pub readers: Vec<ObjectRef>,
    /// What the readers are, and what is known of them.
    pub reader: Reader,
    /// Host and port of the GitLab that the cluster names, to choose among those that the person trusts.
    pub host: Option<String>,
}

impl Target {
    /// Finds the agent; `name` is its Deployment's, its release's or its Secret's.
    ///
    /// # Errors
    /// None or several fit, or the one that fits has no Secret; in words.
    pub fn agent(facts: &Facts<'_>, name: Option<&str>) -> Result<Self, Refusal> {
        let fits = |a: &&Agent<'_>| {
            let names = [
                Some(a.deployment.metadata.name.as_str()),
                a.release.map(|r| r.metadata.name.as_str()),
                a.secret_name,
            ];
            name.is_none_or(|name| names.contains(&Some(name)))
        };
        let found: Vec<&Agent<'_>> = facts.agents.iter().filter(fits).collect();
        let listed = || {
            let all: Vec<String> = facts.agents.iter().map(|a| a.object().to_string()).collect();
            if all.is_empty() { "none".to_owned() } else { all.join(", ") }
        };
        let one_secret = |first: &Agent<'_>| {
            first.secret_name.is_some() && found.iter().all(|a| a.secret_object() == first.secret_object())
        };
        match found[..] {
            [agent] => Self::of_agent(facts, agent),
            [first, ..] if one_secret(first) => Self::of_agent(facts, first),
            [] => {
                let gap = facts.snapshot.deployments.gaps.first();
                let unseen = gap.map(|why| format!("; not all was seen: {}: {}", why.asked, why.message));
                Err(format!("no agentk fits; there is: {}{}", listed(), unseen.unwrap_or_default()).into())
            }
            _ => Err(format!("which agentk? Name its Deployment: {}", listed()).into()),
        }
    }

    fn of_agent(facts: &Facts<'_>, agent: &Agent<'_>) -> Result<Self, Refusal> {
        let Some(secret) = agent.secret_name else {
            return Err(format!(
                "{} mounts no Secret: its token is not in one, and cannot be changed without Helm",
                agent.object()
            )
            .into());
        };
        let secret = ObjectRef::new("Secret", agent.namespace(), secret);
        let sources = facts.source_kinds().into_iter().find(|(kind, _)| *kind == "GitRepository");
        let urls = sources.into_iter().flat_map(|(_, l)| l.items.iter().map(|s| s.spec.url.as_str()));
        let mut projects: Vec<String> = urls.clone().filter_map(project).collect();
        projects.sort_unstable();
        projects.dedup();
        let host = facts.gitlab_host().map(|host| {
            let port =
                urls.clone().filter_map(host_and_port).find(|(h, port)| *h == host && !port.is_empty());
            port.map_or_else(|| host.to_owned(), |(_, port)| format!("{host}:{port}"))
        });
        only(facts, &secret, Purpose::Agent)?;
        let sharing = facts.agents.iter().filter(|a| a.secret_object().as_ref() == Some(&secret));
        let agentks: Vec<Agentk> = sharing.map(|a| agentk(a, &projects)).collect();
        let numbers: BTreeSet<u64> = agentks.iter().filter_map(|a| a.agent).collect();
        if numbers.len() > 1 {
            return Err(format!(
                "{secret} is read by agents of different numbers: {numbers:?}; give each its own Secret"
            )
            .into());
        }
        Ok(Self {
            of: format!("agentk {}/{}", agent.namespace(), agent.deployment.metadata.name),
            readers: agentks.iter().map(|a| a.deployment.clone()).collect(),
            form: Form::Token(KEY),
            secret: place(&secret, &Form::Token(KEY)),
            reader: Reader::Agent(agentks),
            host,
        })
    }

    /// Finds the source that is named; the credential is that of all sources which share its Secret.
    ///
    /// # Errors
    /// None or several fit, or its Secret cannot be used; in words.
    pub fn source(
        facts: &Facts<'_>,
        kind: &str,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Self, Refusal> {
        let Some(listing) = facts.sources(kind).filter(|_| !matches!(kind, "HelmChart" | "Bucket")) else {
            return Err(format!(
                "a {kind} has no credential of GitLab; name a GitRepository, OCIRepository or HelmRepository"
            )
            .into());
        };
        let fits = |s: &&Source| {
            s.metadata.name == name && namespace.is_none_or(|namespace| s.metadata.namespace == namespace)
        };
        let source = match listing.items.iter().filter(fits).collect::<Vec<_>>()[..] {
            [only] => only,
            [] => {
                return Err(missing(
                    kind,
                    name,
                    listing.gaps.first(),
                    &names(listing.items.iter().map(|s| s.metadata.object(kind))),
                )
                .into());
            }
            ref several => {
                let all = names(several.iter().map(|s| s.metadata.object(kind)));
                return Err(format!("which {kind}? Name its namespace with -n: {all}").into());
            }
        };
        let object = source.metadata.object(kind);
        let Some(reference) = source.spec.secret_ref.as_ref().filter(|r| !r.name.is_empty()) else {
            return Err(format!("{object} has no secretRef: it is fetched without a credential").into());
        };
        let secret = ObjectRef::new("Secret", &source.metadata.namespace, &reference.name);
        let readers = only(facts, &secret, Purpose::Source)?;
        let shape = shape(facts, &secret)?;
        let fetchers: Vec<Fetcher> = readers.iter().filter_map(|reader| fetcher(facts, reader)).collect();
        let form = one_form(&secret, &object, &source.spec.url, shape, &fetchers)?;
        Ok(Self {
            of: object.to_string(),
            secret: place(&secret, &form),
            form,
            readers,
            reader: Reader::Sources(fetchers),
            host: host_of(&source.spec.url),
        })
    }

    /// Finds the Provider that is named; the credential is that of all Providers which share its Secret.
    ///
    /// # Errors
    /// None or several fit, it is not of type `gitlab`, or its Secret cannot be used; in words.
    pub fn notification(facts: &Facts<'_>, namespace: Option<&str>, name: &str) -> Result<Self, Refusal> {
        let listing = &facts.snapshot.providers;
        let fits = |p: &&Provider| {
            p.metadata.name == name && namespace.is_none_or(|namespace| p.metadata.namespace == namespace)
        };
        let all = |list: &[&Provider]| names(list.iter().map(|p| p.metadata.object("Provider")));
        let provider = match listing.items.iter().filter(fits).collect::<Vec<_>>()[..] {
            [only] => only,
            [] => {
                let gitlab: Vec<&Provider> = listing.items.iter().filter(|p| p.writes_to_gitlab()).collect();
                return Err(missing("Provider", name, listing.gaps.first(), &all(&gitlab)).into());
            }
            ref several => {
                return Err(format!("which Provider? Name its namespace with -n: {}", all(several)).into());
            }
        };
        let object = provider.metadata.object("Provider");
        if !provider.writes_to_gitlab() {
            return Err(format!(
                "{object} is of type {}, not gitlab: its token is none of GitLab's",
                provider.spec.kind
            )
            .into());
        }
        let Some(secret) = provider.secret() else {
            return Err(format!(
                "{object} has no secretRef: make a Secret with the key token, and name it there"
            )
            .into());
        };
        let readers = only(facts, &secret, Purpose::Notification)?;
        let shape = shape(facts, &secret)?;
        let key = if !shape.keys.contains_key(KEY) && shape.keys.contains_key("password") {
            "password"
        } else {
            KEY
        };
        let form = Form::Token(key);
        let notifiers = readers.iter().filter_map(|reader| notifier(facts, reader)).collect();
        Ok(Self {
            of: object.to_string(),
            secret: place(&secret, &form),
            form,
            readers,
            reader: Reader::Providers(notifiers),
            host: host_of(&provider.spec.address),
        })
    }

    /// agentk's Deployments, where it is their credential.
    pub(super) fn agentks(&self) -> &[Agentk] {
        match &self.reader {
            Reader::Agent(agentks) => agentks,
            Reader::Sources(_) | Reader::Providers(_) => &[],
        }
    }

    /// Where Flux sends the credential.
    pub(super) fn urls(&self) -> impl Iterator<Item = &str> {
        let (sources, providers) = match &self.reader {
            Reader::Agent(_) => (&[][..], &[][..]),
            Reader::Sources(fetchers) => (&fetchers[..], &[][..]),
            Reader::Providers(notifiers) => (&[][..], &notifiers[..]),
        };
        sources.iter().map(|f| f.url.as_str()).chain(providers.iter().map(|n| n.address.as_str()))
    }

    /// Whether Flux sends the credential to this instance, and nowhere else.
    pub(super) fn goes_to(&self, instance: &str) -> bool {
        self.urls().next().is_some() && self.urls().all(|url| is_on(instance, url))
    }

    /// Namespace of the Secret.
    pub fn namespace(&self) -> &str {
        &self.secret.namespace
    }

    /// What Events are left on.
    pub(super) fn first_reader(&self) -> &ObjectRef {
        &self.readers[0]
    }
}

fn agentk(agent: &Agent<'_>, projects: &[String]) -> Agentk {
    Agentk {
        deployment: agent.object(),
        release: agent.release.map(|r| (r.metadata.object("HelmRelease"), r.spec.suspend)),
        agent: agent.id,
        projects: projects.to_vec(),
    }
}

fn place(secret: &ObjectRef, form: &Form) -> Place {
    Place { namespace: secret.namespace.clone(), name: secret.name.clone(), keys: form.keys() }
}

fn names(objects: impl Iterator<Item = ObjectRef>) -> String {
    let all: Vec<String> = objects.map(|o| o.to_string()).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

fn missing(kind: &str, name: &str, gap: Option<&gitlab_agent_core::snapshot::Why>, all: &str) -> String {
    let unseen = gap.map(|why| format!("; not all was seen: {}: {}", why.asked, why.message));
    format!("there is no {kind} {name}; there is: {all}{}", unseen.unwrap_or_default())
}

/// Everything that reads a Secret, which must be for one purpose: what serves two is to become two.
fn only(facts: &Facts<'_>, secret: &ObjectRef, purpose: Purpose) -> Result<Vec<ObjectRef>, String> {
    let readers: Vec<TokenHolder> =
        facts.token_holders().into_iter().filter(|holder| holder.secret == *secret).collect();
    let others: Vec<String> = readers
        .iter()
        .filter(|holder| holder.purpose != purpose)
        .map(|holder| format!("{} ({})", holder.by, holder.purpose))
        .collect();
    if !others.is_empty() {
        return Err(format!(
            "{secret} also serves {}: one credential for two purposes cannot be changed for one of them. Give each its own \
             Secret first; see kubectl gitlab-agent verify --explain GA510",
            others.join(", ")
        ));
    }
    Ok(readers.into_iter().map(|holder| holder.by).collect())
}

/// The form in which all sources read the Secret: what is written in one form is read in no other.
fn one_form(
    secret: &ObjectRef,
    object: &ObjectRef,
    url: &str,
    shape: &SecretShape,
    fetchers: &[Fetcher],
) -> Result<Form, String> {
    let of = |kind: &str, url: &str| Form::of_source(&|key| shape.keys.contains_key(key), kind, url);
    let form = of(&object.kind, url).map_err(|why| format!("{secret} of {object}: {why}"))?;
    let other = fetchers.iter().find(|f| of(&f.object.kind, &f.url).as_ref() != Ok(&form));
    other.map_or(Ok(form), |other| {
        Err(format!(
            "{secret} is read by {} in another form, or for another registry, than by {object}: one credential for both cannot be \
             changed for one of them. Give each its own Secret first",
            other.object
        ))
    })
}

fn shape<'s>(facts: &Facts<'s>, secret: &ObjectRef) -> Result<&'s SecretShape, Refusal> {
    match facts.secret(&secret.namespace, &secret.name) {
        Ok(Some(shape)) => Ok(shape),
        Ok(None) => Err(format!("{secret} does not exist").into()),
        Err(why) => Err(why.into()),
    }
}

/// The path of the project that a Git URL names.
fn project(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let (_, path) = rest.split_once('/')?;
    let path = path.trim_matches('/').trim_end_matches(".git");
    path.contains('/').then(|| path.to_owned())
}

/// Whether an address is on this instance: https, its host and its port.
pub(super) fn is_on(instance: &str, url: &str) -> bool {
    let place = |url: &str| {
        let (host, port) = host_and_port(url).filter(|_| url.starts_with("https://"))?;
        Some((host.to_ascii_lowercase(), if port.is_empty() { "443".to_owned() } else { port.to_owned() }))
    };
    place(url).is_some_and(|of| Some(of) == place(instance))
}

/// Host and port of a URL, as a GitLab is named.
fn host_of(url: &str) -> Option<String> {
    let (host, port) = host_and_port(url)?;
    let web = url.starts_with("https://") && !port.is_empty();
    Some(if web { format!("{host}:{port}") } else { host.to_owned() })
}

#[cfg(test)]
mod tests {
    use gitlab_agent_core::fixture;
    use gitlab_agent_core::snapshot::Snapshot;

    use super::*;

    #[test]
    fn the_only_agent_needs_no_name_and_a_wrong_name_lists_the_right_ones() {
        let snapshot = fixture::healthy();
        let facts = Facts::derive(&snapshot);
        let target = Target::agent(&facts, None).expect("one");
        assert_eq!(target.secret.name, "gitlab-agent-token");
        let agentk = target.agentks().first().expect("agentk");
        assert_eq!(agentk.deployment.to_string(), "Deployment gitlab/gitlab-agent-v2");
        assert!(agentk.agent.is_some() && !agentk.projects.is_empty(), "{target:?}");
        for name in ["gitlab-agent-v2", "gitlab-agent", "gitlab-agent-token"] {
            assert!(Target::agent(&facts, Some(name)).is_ok(), "{name}");
        }
        let error = Target::agent(&facts, Some("other")).map_err(words).expect_err("none");
        assert!(error.contains("gitlab/gitlab-agent-v2"), "{error}");
    }

    #[test]
    fn all_deployments_of_one_secret_are_one_target() {
        let mut snapshot = fixture::healthy();
        let agentk = |w: &&gitlab_agent_core::facts::Workload| w.metadata.name == "gitlab-agent-v2";
        let mut twin = snapshot.deployments.items.iter().find(agentk).expect("agentk").clone();
        twin.metadata.name = "second".to_owned();
        snapshot.deployments.items.push(twin);
        let facts = Facts::derive(&snapshot);
        for name in [None, Some("gitlab-agent-v2"), Some("second"), Some("gitlab-agent-token")] {
            let target = Target::agent(&facts, name).expect("one credential");
            let names: Vec<&str> = target.agentks().iter().map(|a| a.deployment.name.as_str()).collect();
            assert_eq!(names, ["gitlab-agent-v2", "second"], "{name:?}");
            assert_eq!(target.readers.len(), 2);
        }
    }

    /// Why, in words.
    fn words(refusal: Refusal) -> String {
        format!("{refusal:?}")
    }

    fn source(snapshot: &Snapshot, name: &str) -> Result<Target, String> {
        Target::source(&Facts::derive(snapshot), "GitRepository", None, name).map_err(words)
    }

    #[test]
    fn a_source_brings_all_that_share_its_secret() {
        let mut snapshot = fixture::healthy();
        let mut twin = snapshot.git_repositories.items[0].clone();
        let name = twin.metadata.name.clone();
        twin.metadata.name = "twin".to_owned();
        twin.spec.suspend = true;
        snapshot.git_repositories.items.push(twin);
        let target = source(&snapshot, &name).expect("a source");
        assert_eq!(target.readers.len(), 2, "{target:?}");
        let Reader::Sources(fetchers) = &target.reader else { panic!("sources") };
        assert!(fetchers[1].suspended && fetchers[1].proof.is_empty() && fetchers[0].proof.len() == 1);
        assert!(source(&snapshot, "other").expect_err("none").contains(&name));
        let bucket = Target::source(&Facts::derive(&snapshot), "Bucket", None, "x")
            .map_err(words)
            .expect_err("no GitLab");
        assert!(bucket.contains("GitRepository"), "{bucket}");
    }

    #[test]
    fn a_secret_with_two_purposes_is_refused() {
        let mut snapshot = fixture::healthy();
        let repository = &snapshot.git_repositories.items[0];
        let (name, secret) = (repository.metadata.name.clone(), repository.spec.secret_ref.clone());
        snapshot.providers.items[0].spec.secret_ref = secret;
        let error = source(&snapshot, &name).expect_err("two purposes");
        assert!(error.contains("Provider") && error.contains("job statuses"), "{error}");
        let provider = snapshot.providers.items[0].metadata.name.clone();
        assert!(Target::notification(&Facts::derive(&snapshot), None, &provider).is_err());
    }

    #[test]
    fn a_provider_brings_what_its_alerts_cover() {
        let mut snapshot = fixture::healthy();
        let name = snapshot.providers.items[0].metadata.name.clone();
        let find = |s: &Snapshot| Target::notification(&Facts::derive(s), None, &name);
        let target = find(&snapshot).expect("a Provider");
        let Reader::Providers(notifiers) = &target.reader else { panic!("Providers") };
        assert!(!notifiers[0].alerts.is_empty() && !notifiers[0].proof.is_empty(), "{notifiers:?}");
        assert!(target.host.is_some());
        snapshot.providers.items[0].spec.kind = "slack".to_owned();
        assert!(find(&snapshot).map_err(words).expect_err("not GitLab").contains("slack"));
    }

    #[test]
    fn projects_are_read_out_of_urls() {
        assert_eq!(project("https://gitlab.example.com/a/b/c.git").as_deref(), Some("a/b/c"));
        assert_eq!(project("ssh://git@gitlab.example.com/a/b").as_deref(), Some("a/b"));
        assert_eq!(project("https://gitlab.example.com/"), None);
        assert_eq!(
            host_of("https://gitlab.example.com:8443/a/b").as_deref(),
            Some("gitlab.example.com:8443")
        );
        assert_eq!(host_of("ssh://git@gitlab.example.com:2222/a/b").as_deref(), Some("gitlab.example.com"));
    }
}
