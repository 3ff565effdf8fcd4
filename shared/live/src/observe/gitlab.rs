//! What GitLab says about what the cluster uses: the agents, the projects, what opens them. Only of the host that the
//! person named, and only reading.
//!
//! Two waves: version and token, which tell whether asking more makes sense; then everything else at once. A token
//! that is refused is sent no third time: GitLab.com bans addresses that keep trying.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::facts::gitlab::{project_of, project_of_provider};
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::snapshot::gitlab::{
    AgentConfig, AgentEntry, AgentRecord, Credential, CredentialKind, GitLabPart, Metadata, OwnToken,
    ProjectEntry, ProjectRecord, ProtectedBranch,
};
use gitlab_agent_core::snapshot::{Observed, Snapshot, Why, WhyKind};
use jiff::Timestamp;
use serde::Deserialize;

use super::secrets::{Door, Public};
use super::{gitlab_agent, inventory};
use crate::gitlab::{FINE_GRAINED, Fault, FaultKind, GitLab, Project, ProjectRef};

/// Projects that are asked for: each costs up to five requests.
const PROJECTS: usize = 100;
/// Branches of one project that are asked one by one.
const BRANCHES: usize = 5;
/// The second wave takes no longer, so that a slow GitLab costs its own facts and not the run.
const SECOND_WAVE: Duration = Duration::from_secs(30);

/// An agent that the person named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedAgent {
    /// Full path of its configuration project.
    pub project: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for NamedAgent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.project, self.name)
    }
}

impl std::str::FromStr for NamedAgent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.rsplit_once(':') {
            Some((project, name)) if project.contains('/') && !name.is_empty() => {
                Ok(Self { project: project.trim_matches('/').to_owned(), name: name.to_owned() })
            }
            _ => Err(format!(
                "'{text}' names no agent; write PROJECT:NAME, for example platform/fleet:production"
            )),
        }
    }
}

/// Observes. `inventory` also asks for what only the list of credentials shows.
pub(super) async fn observe(
    gitlab: &GitLab,
    snapshot: &Snapshot,
    door: &Door,
    named: &[NamedAgent],
    inventory: bool,
) -> GitLabPart {
    let (metadata, token) = tokio::join!(metadata(gitlab), own_token(gitlab));
    let url = gitlab.host().to_string();
    let wanted = Wanted::of(snapshot, &url, named);
    let useless = |why: &Why| matches!(why.kind, WhyKind::Unreachable | WhyKind::SignIn | WhyKind::TimedOut);
    let silent = metadata.get().err().filter(useless).or_else(|| token.get().err().filter(useless));
    let (agents, projects) = match &silent {
        Some(why) => wanted.unknown(why),
        None => match tokio::time::timeout(SECOND_WAVE, wanted.ask(gitlab, door)).await {
            Ok(part) => part,
            Err(_) => {
                let text = format!("{url} did not answer all of it in {} s", SECOND_WAVE.as_secs());
                wanted.unknown(&Why::new(WhyKind::TimedOut, "agents and projects of GitLab", text))
            }
        },
    };
    let token = refused_as_legacy(gitlab, token);
    let mut part =
        GitLabPart { url, metadata, token, agents, projects, groups: Vec::new(), held: Vec::new() };
    if inventory && silent.is_none() {
        inventory::observe(gitlab, snapshot, door, &mut part).await;
    }
    part
}

/// A token with scopes that was asked for a fine-grained token's permission is refused because it is a legacy one.
fn refused_as_legacy(gitlab: &GitLab, token: Observed<OwnToken>) -> Observed<OwnToken> {
    let Observed::Known(mut own) = token else { return token };
    if !own.scopes.iter().any(|scope| scope == FINE_GRAINED) {
        own.refused_as_legacy = gitlab.granular_refusal();
    }
    Observed::Known(own)
}

/// Makes a fact of an answer.
pub(super) fn observed<T>(answer: Result<T, Fault>) -> Observed<T> {
    match answer {
        Ok(value) => Observed::Known(value),
        Err(fault) => Observed::Unknown(why(fault)),
    }
}

/// The reason as people read it: of GitLab, and that 404 may mean "not for you".
pub(super) fn why(fault: Fault) -> Why {
    let hidden = fault.kind == FaultKind::NotFound;
    let mut why = Why::from(fault);
    why.asked = format!("{} of GitLab", why.asked);
    if hidden {
        why.message.push_str(" (GitLab says so also where the token may not see it)");
    }
    why
}

async fn metadata(gitlab: &GitLab) -> Observed<Metadata> {
    #[derive(Deserialize)]
    struct Raw {
        version: String,
        #[serde(default)]
        kas: Option<Kas>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    #[derive(Default)]
    struct Kas {
        enabled: bool,
        external_url: Option<String>,
        version: Option<String>,
    }
    observed(gitlab.get::<Raw>("/metadata", "metadata").await.map(|raw| {
        let kas = raw.kas.unwrap_or_default();
        let kas_url = kas.external_url.filter(|u| !u.is_empty());
        let kas_version = kas.version.filter(|v| !v.is_empty());
        Metadata { version: raw.version, kas_enabled: kas.enabled, kas_url, kas_version }
    }))
}

/// The person's token.
async fn own_token(gitlab: &GitLab) -> Observed<OwnToken> {
    observed(gitlab.own_token().await.map(|own| own.recorded(moment)))
}

/// `2026-12-01` is the start of that day in UTC: this is when GitLab lets a token expire.
pub(crate) fn moment(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| format!("{text}T00:00:00Z").parse().ok())
}

/// What is asked for.
struct Wanted<'s> {
    /// agentk of the cluster, each with its number where that is known.
    agents: Vec<(ObjectRef, Option<u64>)>,
    named: &'s [NamedAgent],
    /// Projects, each with what is asked about it.
    projects: BTreeMap<String, Use>,
}

/// What of a project the cluster uses.
#[derive(Default)]
struct Use {
    /// A source of it, or a Provider for it, has a Secret.
    with_secret: bool,
    /// A Provider writes job statuses to it.
    notified: bool,
    /// On commits of these branches.
    branches: BTreeSet<String>,
}

type Found = (Vec<AgentEntry>, Vec<ProjectEntry>);

impl<'s> Wanted<'s> {
    fn of(snapshot: &Snapshot, url: &str, named: &'s [NamedAgent]) -> Self {
        let facts = Facts::derive(snapshot);
        let mut projects: BTreeMap<String, Use> = BTreeMap::new();
        for source in &snapshot.git_repositories.items {
            if let Some(path) = project_of(url, &source.spec.url) {
                projects.entry(path).or_default().with_secret |= source.spec.secret_ref.is_some();
            }
        }
        for provider in &snapshot.providers.items {
            if let Some(path) = project_of_provider(url, provider) {
                let used = projects.entry(path).or_default();
                used.with_secret |= provider.secret().is_some();
                used.notified = true;
            }
        }
        while projects.len() > PROJECTS {
            projects.pop_last();
        }
        for provider in &snapshot.providers.items {
            let used = project_of_provider(url, provider).and_then(|path| projects.get_mut(&path));
            // A project's rules tell of all its branches; single ones are asked only where the rules are not shown.
            if let Some(used) = used.filter(|used| used.branches.is_empty()) {
                used.branches = facts.status_branches(provider);
            }
        }
        let agents = facts.agents.iter().map(|a| (a.object(), a.id)).collect();
        Self { agents, named, projects }
    }

    fn unknown(&self, why: &Why) -> Found {
        let agent = |(deployment, _): &(ObjectRef, Option<u64>)| AgentEntry {
            deployment: deployment.clone(),
            agent: Observed::Unknown(why.clone()),
        };
        let project = |path: &String| ProjectEntry {
            path: path.clone(),
            project: Observed::Unknown(why.clone()),
            credentials: Observed::Unknown(why.clone()),
            protected_branches: None,
        };
        (self.agents.iter().map(agent).collect(), self.projects.keys().map(project).collect())
    }

    async fn ask(&self, gitlab: &GitLab, door: &Door) -> Found {
        let named: BTreeSet<&String> = self.named.iter().map(|n| &n.project).collect();
        let own: BTreeSet<&String> = self.projects.keys().collect();
        let one = |path: String| async move {
            let found = gitlab.project(&path).await;
            (path, found)
        };
        let found: BTreeMap<String, Result<ProjectRef, Fault>> =
            join_all(named.union(&own).map(|path| one((*path).clone()))).await.into_iter().collect();
        let projects = self.projects.iter().map(|(path, used)| {
            let answer = &found[path];
            async move { project_entry(gitlab, door, path, answer, used).await }
        });
        let (agents, projects) = tokio::join!(self.agents(gitlab, &found), join_all(projects));
        (agents, projects)
    }

    /// Looks each agentk's number up in the projects, or takes what the person named.
    async fn agents(
        &self,
        gitlab: &GitLab,
        projects: &BTreeMap<String, Result<ProjectRef, Fault>>,
    ) -> Vec<AgentEntry> {
        if self.agents.is_empty() {
            return Vec::new();
        }
        let reachable: Vec<&ProjectRef> = projects.values().flatten().collect();
        let lists = join_all(reachable.iter().map(|p| gitlab_agent::list(gitlab, p))).await;
        let all: Vec<(&ProjectRef, gitlab_agent::Listed)> = reachable
            .iter()
            .zip(&lists)
            .flat_map(|(p, list)| list.iter().flatten().map(|a| (*p, a.clone())))
            .collect();
        let refused =
            lists.iter().find_map(|l| l.as_ref().err()).or(projects.values().find_map(|p| p.as_ref().err()));
        let one = |(deployment, id): &(ObjectRef, Option<u64>)| {
            let found = self.pick(*id, &all);
            let deployment = deployment.clone();
            let refused = refused.cloned();
            async move {
                let agent = match found {
                    Some((project, listed)) => {
                        Observed::Known(gitlab_agent::record(gitlab, project, &listed).await)
                    }
                    None => Observed::Unknown(not_found(&deployment, refused)),
                };
                AgentEntry { deployment, agent }
            }
        };
        join_all(self.agents.iter().map(one)).await
    }

    /// By number, which is unique in GitLab; an agent without one may be the one that was named.
    fn pick<'p>(
        &self,
        id: Option<u64>,
        all: &[(&'p ProjectRef, gitlab_agent::Listed)],
    ) -> Option<(&'p ProjectRef, gitlab_agent::Listed)> {
        if let Some(id) = id {
            return all.iter().find(|(_, a)| a.id == id).cloned();
        }
        let taken: Vec<u64> = self.agents.iter().filter_map(|(_, id)| *id).collect();
        let mut free = all.iter().filter(|(p, a)| {
            let named = |n: &NamedAgent| n.project == p.project.path_with_namespace && n.name == a.name;
            self.named.iter().any(named) && !taken.contains(&a.id)
        });
        let first = free.next().cloned();
        let alone = self.agents.iter().filter(|(_, id)| id.is_none()).count() == 1 && free.next().is_none();
        first.filter(|_| alone)
    }
}

fn not_found(deployment: &ObjectRef, refused: Option<Fault>) -> Why {
    let asked = format!("which agent of GitLab {deployment} is");
    match refused {
        // GitLab hides the agents of a project from whoever is less than a Developer: 404, of old an empty list.
        Some(fault) if fault.kind != FaultKind::NotFound => {
            let mut why = why(fault);
            why.message = format!("{}: {}; --gitlab-agent PROJECT:NAME names it", why.asked, why.message);
            why.asked = asked;
            why
        }
        _ => {
            let text = "no project that this cluster fetches from shows it to you, which takes the role Developer there; \
                        --gitlab-agent PROJECT:NAME names it where it is in another one";
            Why::new(WhyKind::NotAsked, asked, text)
        }
    }
}

async fn project_entry(
    gitlab: &GitLab,
    door: &Door,
    path: &str,
    found: &Result<ProjectRef, Fault>,
    used: &Use,
) -> ProjectEntry {
    let mut protected_branches = None;
    let (project, credentials) = match found {
        Err(fault) => (Observed::Unknown(why(fault.clone())), Observed::Unknown(why(fault.clone()))),
        Ok(found) => {
            if used.notified {
                protected_branches = Some(observed(protection(gitlab, &found.project, &used.branches).await));
            }
            let record = ProjectRecord { id: found.project.id, visibility: found.project.visibility.clone() };
            let credentials = if used.with_secret {
                observed(credentials(gitlab, found, door).await)
            } else {
                Observed::Unknown(Why::new(
                    WhyKind::NotAsked,
                    format!("credentials of {path}"),
                    "neither a source of it nor a Provider for it has a Secret",
                ))
            };
            (Observed::Known(record), credentials)
        }
    };
    ProjectEntry { path: path.to_owned(), project, credentials, protected_branches }
}

/// The rules for a project's branches; where those are not shown, what single branches say of themselves.
pub(crate) async fn protection(
    gitlab: &GitLab,
    project: &Project,
    branches: &BTreeSet<String>,
) -> Result<Vec<ProtectedBranch>, Fault> {
    let refused = match gitlab.protected_branches(project).await {
        Ok(rules) => return Ok(rules),
        Err(fault) => fault,
    };
    if branches.is_empty()
        || !matches!(refused.kind, FaultKind::Forbidden | FaultKind::NotFound | FaultKind::Granular)
    {
        return Err(refused);
    }
    // What is not asked about is not free for all.
    if branches.len() > BRANCHES {
        return Err(refused);
    }
    let mut rules = Vec::new();
    for branch in branches {
        rules.extend(gitlab.branch_protection(project, branch).await?);
    }
    Ok(rules)
}

/// Deploy tokens, deploy keys and project access tokens. All three need the role Maintainer.
async fn credentials(gitlab: &GitLab, of: &ProjectRef, door: &Door) -> Result<Vec<Credential>, Fault> {
    #[derive(Deserialize)]
    struct Token {
        id: u64,
        name: String,
        #[serde(default)]
        username: String,
        #[serde(default)]
        scopes: Vec<String>,
        #[serde(default)]
        created_at: Option<String>,
        #[serde(default)]
        expires_at: Option<String>,
        #[serde(default)]
        last_used_at: Option<String>,
        #[serde(default)]
        revoked: bool,
        #[serde(default)]
        expired: bool,
        #[serde(default)]
        active: Option<bool>,
    }
    #[derive(Deserialize)]
    struct Key {
        id: u64,
        title: String,
        key: String,
        #[serde(default)]
        created_at: Option<String>,
        #[serde(default)]
        expires_at: Option<String>,
        #[serde(default)]
        can_push: bool,
    }
    let id = of.project.id;
    let of = |what: &str| format!("{what} of {}", of.project.path_with_namespace);
    let (deploy, access, keys) = (of("deploy tokens"), of("access tokens"), of("deploy keys"));
    let paths = [
        format!("/projects/{id}/deploy_tokens"),
        format!("/projects/{id}/access_tokens?state=active"),
        format!("/projects/{id}/deploy_keys"),
    ];
    let (deploy, access, keys) = tokio::join!(
        gitlab.get_all::<Token>(&paths[0], &deploy),
        gitlab.get_all::<Token>(&paths[1], &access),
        gitlab.get_all::<Key>(&paths[2], &keys),
    );
    let token = |kind: CredentialKind, t: Token| Credential {
        kind,
        id: t.id,
        held_by: if t.username.is_empty() {
            Vec::new()
        } else {
            door.holders(&Public::User(t.username.clone()))
        },
        name: t.name,
        user: Some(t.username).filter(|user| !user.is_empty()),
        scopes: t.scopes,
        created_at: t.created_at.as_deref().and_then(moment),
        expires_at: t.expires_at.as_deref().and_then(moment),
        last_used_at: t.last_used_at.as_deref().and_then(moment),
        dead: t.revoked || t.expired || t.active == Some(false),
    };
    let key = |k: Key| Credential {
        kind: CredentialKind::DeployKey,
        id: k.id,
        held_by: Public::key(&k.key).map(|key| door.holders(&key)).unwrap_or_default(),
        name: k.title,
        user: None,
        scopes: if k.can_push { vec!["write".to_owned()] } else { Vec::new() },
        created_at: k.created_at.as_deref().and_then(moment),
        expires_at: k.expires_at.as_deref().and_then(moment),
        last_used_at: None,
        dead: false,
    };
    let deploy = deploy?.items.into_iter().map(|t| token(CredentialKind::DeployToken, t));
    let access = access?.items.into_iter().map(|t| token(CredentialKind::AccessToken, t));
    let keys = keys?.items.into_iter().map(key);
    Ok(deploy.chain(access).chain(keys).collect())
}

/// The keys of an agent's configuration file.
pub(super) fn config(file: Option<&[u8]>) -> AgentConfig {
    let Some(file) = file else { return AgentConfig::default() };
    let text = String::from_utf8_lossy(file);
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return AgentConfig { exists: true, ..AgentConfig::default() };
    }
    match serde_saphyr::from_str::<serde_json::Value>(&text) {
        Ok(value) if value.is_object() || value.is_null() => {
            let mut keys = BTreeSet::new();
            collect("", &value, &mut keys);
            AgentConfig { exists: true, error: None, keys: keys.into_iter().collect() }
        }
        Ok(_) => {
            AgentConfig { exists: true, error: Some("it is no mapping of keys".to_owned()), keys: Vec::new() }
        }
        Err(error) => {
            let place = error.location().map(|at| format!("line {} column {}", at.line(), at.column()));
            AgentConfig {
                exists: true,
                error: Some(place.unwrap_or("it cannot be read".to_owned())),
                keys: Vec::new(),
            }
        }
    }
}

fn collect(path: &str, value: &serde_json::Value, keys: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, below) in fields {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect(&path, below, keys);
                keys.insert(path);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(path, item, keys)),
        _ => {}
    }
}

/// What a recorded agent has: for [`gitlab_agent`].
pub(super) type Record = AgentRecord;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_configuration_file_are_kept_and_no_values() {
        let text = b"ci_access:\n  projects:\n    - id: a/b\n      access_as: {agent: {}}\n    - id: c/d\nflux: {}\n";
        let read = config(Some(text));
        assert_eq!(
            read.keys,
            [
                "ci_access",
                "ci_access.projects",
                "ci_access.projects.access_as",
                "ci_access.projects.access_as.agent",
                "ci_access.projects.id",
                "flux"
            ]
        );
        assert!(!config(None).exists);
        assert_eq!(config(Some(b"# nothing yet\n")), AgentConfig { exists: true, ..AgentConfig::default() });
        assert!(config(Some(b"- a\n- b\n")).error.is_some());
        let broken = config(Some(b"ci_access:\n  - a\n b: [\n"));
        assert!(broken.error.as_deref().is_some_and(|e| e.contains("line")), "{broken:?}");
    }

    #[test]
    fn days_are_their_first_moment() {
        assert_eq!(moment("2026-12-01"), Some("2026-12-01T00:00:00Z".parse().expect("a time")));
        assert_eq!(moment("2026-12-01T05:00:00.000Z"), Some("2026-12-01T05:00:00Z".parse().expect("a time")));
        assert_eq!(moment("soon"), None);
    }

    #[test]
    fn agents_are_named_by_project_and_name() {
        let named: NamedAgent = "platform/fleet:production".parse().expect("an agent");
        assert_eq!(named, NamedAgent { project: "platform/fleet".to_owned(), name: "production".to_owned() });
        for bad in ["production", "fleet:production", "platform/fleet:", ""] {
            assert!(bad.parse::<NamedAgent>().is_err(), "{bad}");
        }
    }
}
