//! Everything that can be known before anything is changed: permissions on both sides, owners, what admission says,
//! whether it is well now. A rotation that would fail at its last step is refused at its first.

use futures_util::future::join_all;
use gitlab_agent_core::facts::agent::Connection;
use gitlab_agent_core::facts::{Facts, ValueKind};
use gitlab_agent_core::rotate::owner::{Owner, owners};
use gitlab_agent_core::rotate::{Goal, Journal};
use gitlab_agent_core::snapshot::{Why, WhyKind};
use jiff::Timestamp;

use super::keys::{self, Keys, Listed};
use super::lock::Lock;
use super::pods::{self, Sight};
use super::secret::{Change, Read};
use super::target::Target;
use crate::access::WriteClient;
use crate::gitlab::{FaultKind, GitLabWriter};

/// Maintainer: who may make and revoke tokens of agents (GitLab, "Agents API").
const MAINTAINER: u32 = 40;

/// What was found, and is fine.
pub struct Checked {
    /// The tokens of the agent, in GitLab.
    pub keys: Keys,
    /// The active token that is there now, with its last use.
    pub token: Option<Listed>,
    /// The journal of a rotation that is under way.
    pub journal: Option<Journal>,
    /// How many pods read the Secret.
    pub pods: i64,
    /// By what agentk is known to be connected now.
    pub connected: String,
    /// What is worth knowing and no reason to refuse.
    pub notes: Vec<String>,
}

/// Why nothing is begun.
#[derive(Debug)]
pub enum Refusal {
    /// It would fail, or be reverted; each reason in a sentence.
    Refused(Vec<String>),
    /// Permissions are missing in the cluster.
    Denied(Vec<String>),
    /// A server did not answer, or refused the credential.
    Unreachable(String),
    /// Arguments that do not fit what is there.
    Usage(String),
}

/// What the person said.
pub struct Wanted<'a> {
    /// What to do.
    pub goal: Goal,
    /// `PROJECT:NAME` of the agent in GitLab, where the person named it.
    pub agent: Option<&'a str>,
    /// Hold the Secret off from its Kustomization.
    pub hold: bool,
    /// Ask the API server what it would say to each change.
    pub try_changes: bool,
}

impl From<Why> for Refusal {
    fn from(why: Why) -> Self {
        let text = format!("{}: {}", why.asked, why.message);
        match why.kind {
            WhyKind::Forbidden => Self::Denied(vec![text]),
            WhyKind::Unreachable | WhyKind::SignIn | WhyKind::TimedOut => Self::Unreachable(text),
            _ => Self::Refused(vec![text]),
        }
    }
}

impl From<crate::gitlab::Fault> for Refusal {
    fn from(fault: crate::gitlab::Fault) -> Self {
        let text = fault.to_string();
        match fault.kind {
            FaultKind::Forbidden | FaultKind::Scope | FaultKind::NotFound => Self::Refused(vec![text]),
            FaultKind::Refused | FaultKind::Conflict | FaultKind::Unreadable => Self::Refused(vec![text]),
            _ => Self::Unreachable(text),
        }
    }
}

/// Looks at everything; the first class of reasons that speaks against it comes back.
///
/// # Errors
/// See [`Refusal`].
pub async fn preflight(
    client: &WriteClient,
    gitlab: &GitLabWriter,
    facts: &Facts<'_>,
    target: &Target,
    wanted: &Wanted<'_>,
) -> Result<Checked, Refusal> {
    if let Some(unsound) = client.read.unsound {
        let text = format!("the API server at {} gets no credential: {unsound}", client.read.origin.server);
        return Err(Refusal::Refused(vec![text]));
    }
    let denied = denied(client, target).await;
    if !denied.is_empty() {
        return Err(Refusal::Denied(denied));
    }
    let place = &target.secret;
    let read = place.read(client, &place.name).await?;
    let name = format!("Secret {}/{}", place.namespace, place.name);
    let Some(read) = read else {
        return Err(Refusal::Refused(vec![format!("{name} does not exist")]));
    };
    let mut against = speaks_against(&read, &name, &place.key, wanted);
    let mut notes = Vec::new();
    let own = keys::own(gitlab).await?;
    if !own.scopes.is_empty() && !own.scopes.iter().any(|s| s == "api") {
        against.push(format!(
            "your GitLab token has the scope {}; making and revoking tokens needs api",
            own.scopes.join(", ")
        ));
    }
    if let Some(expires) = own.expires_at.as_ref().filter(|at| expires_soon(at, Timestamp::now())) {
        against
            .push(format!("your GitLab token expires on {expires}: it may not live to revoke the old token"));
    }
    let keys = find(gitlab, target, wanted.agent).await?;
    match keys.project.access_level() {
        Some(level) if level < MAINTAINER => against.push(format!(
            "your role in project {} is below Maintainer, which making and revoking tokens of agents needs",
            keys.project.path_with_namespace
        )),
        Some(_) => {}
        None => notes
            .push(format!("GitLab does not show your role in project {}", keys.project.path_with_namespace)),
    }
    let Some(sight) = Sight::look(client, &target.deployment).await? else {
        return Err(Refusal::Refused(vec![format!("{} does not exist", target.deployment)]));
    };
    let tokens = keys.active().await?;
    let token = match &tokens[..] {
        [only] => Some(keys.one(only.id).await?),
        _ => None,
    };
    let mut connected = String::new();
    if wanted.goal == Goal::Rotate {
        against.extend(two_tokens(&keys, &tokens).await);
        if sight.wanted() == 0 || !sight.is_rolled_out() {
            against.push(format!(
                "{} is not well: a rotation needs pods to prove itself by; see kubectl gitlab-agent verify",
                target.deployment
            ));
        }
        if tokens.is_empty() && wanted.agent.is_none() {
            against.push(format!(
                "agent {} has no active token, so whether it is the one of this cluster GitLab cannot tell; if it is, name \
                 it: --agent {}:{}",
                keys.name, keys.project.path_with_namespace, keys.name
            ));
        }
        if !tokens.is_empty() {
            connected = identity(&keys, facts, target, wanted.agent, &mut against, &mut notes).await;
        }
        if against.is_empty() && wanted.try_changes {
            against.extend(try_changes(client, target, &read).await);
        }
    }
    if !against.is_empty() {
        return Err(Refusal::Refused(against));
    }
    let pods = sight.wanted();
    Ok(Checked { keys, token, journal: read.journal, pods, connected, notes })
}

/// What of the Secret itself speaks against it.
fn speaks_against(read: &Read, name: &str, key: &str, wanted: &Wanted<'_>) -> Vec<String> {
    let goal = wanted.goal;
    let mut against = Vec::new();
    match (&read.journal, goal) {
        (Some(journal), Goal::Rotate) => against.push(format!(
            "rotation {} of {name}, begun by {} at {:.0}, has not ended: --resume goes on with it, --rollback takes it back",
            journal.id, journal.who, journal.started_at
        )),
        (None, Goal::Rotate) if read.immutable => against.push(format!(
            "{name} is immutable: make another Secret and let the release name that (config.secretName)"
        )),
        _ => {}
    }
    if goal == Goal::Rotate {
        let counts = |owner: &&Owner| !(wanted.hold && owner.can_be_held);
        against.extend(owners(&read.metadata).iter().filter(counts).map(|owner| owned(owner, name)));
        match &read.shape {
            None => against.push(format!("{name} has no key {key}")),
            Some(shape) if matches!(shape.kind, ValueKind::AgentToken | ValueKind::Other) => {}
            Some(_) => against.push(format!(
                "key {key} of {name} holds no agent token; see kubectl gitlab-agent verify --explain GA304"
            )),
        }
    }
    against
}

fn owned(owner: &Owner, name: &str) -> String {
    let hold = if owner.can_be_held { "; or hold the live Secret off from it: --hold" } else { "" };
    format!("{name} belongs to {}: {}. Change it {}{hold}", owner.object, owner.reverts, owner.instead)
}

/// Two active tokens leave no room for a third, and which of them the Secret holds GitLab does not tell.
async fn two_tokens(keys: &Keys, tokens: &[Listed]) -> Option<String> {
    if tokens.len() < 2 {
        return None;
    }
    let mut listed = Vec::new();
    for token in tokens {
        let used = keys.one(token.id).await.ok().and_then(|t| t.last_used_at);
        let used = used.map_or_else(|| "never used".to_owned(), |at| format!("last used {at:.0}"));
        let made = token.created_at.map(|at| format!(", made {at:.0}")).unwrap_or_default();
        listed.push(format!("{} \"{}\" ({used}{made})", token.id, token.name));
    }
    Some(format!(
        "agent {} has {} active tokens, the most that GitLab allows: {}. Revoke the one that nobody uses \
         ({}/{}/-/cluster_agents/{}?tab=tokens), then try again",
        keys.name,
        tokens.len(),
        listed.join(", "),
        keys.gitlab.read.host(),
        keys.project.path_with_namespace,
        keys.name,
    ))
}

/// Whether the agent in GitLab is the one in this cluster. Its number comes from the cluster, where others may write:
/// they must not get the token of another agent by it.
async fn identity(
    keys: &Keys,
    facts: &Facts<'_>,
    target: &Target,
    named: Option<&str>,
    against: &mut Vec<String>,
    notes: &mut Vec<String>,
) -> String {
    let known = |pods: &[(String, String)]| {
        pods.iter()
            .find(|(namespace, pod)| *namespace == target.namespace() && target.pods.contains(pod))
            .cloned()
    };
    match keys.connected().await {
        Ok(found) => {
            if let Some((_, pod)) = known(&found.pods) {
                return format!("GitLab is connected with pod {pod}");
            }
            let text = format!(
                "GitLab has no connection of agent {} with a pod of {}",
                keys.name, target.deployment
            );
            if named.is_none() {
                against.push(format!(
                    "{text}; if it is the right one, name it: --agent {}:{}",
                    keys.project.path_with_namespace, keys.name
                ));
                return String::new();
            }
            notes.push(text);
        }
        Err(fault) if named.is_none() => {
            against.push(format!(
                "whether agent {} is the one of this cluster is not known ({fault}); if it is, name it: --agent {}:{}",
                keys.name, keys.project.path_with_namespace, keys.name
            ));
            return String::new();
        }
        Err(_) => {}
    }
    let agent = facts.agents.iter().find(|a| a.object() == target.deployment);
    match agent.map(|a| a.connection(facts.now)) {
        Some(Connection::Connected(by)) => by,
        Some(Connection::Disconnected(_, why)) => {
            against.push(format!(
                "agentk is not connected now ({why}): whether the new token works could not be told from what is broken \
                 already; mend that first (kubectl gitlab-agent verify)"
            ));
            String::new()
        }
        Some(Connection::Unknown(why)) => {
            against.push(format!(
                "whether agentk is connected now is not known: {}: {}",
                why.asked, why.message
            ));
            String::new()
        }
        None => String::new(),
    }
}

/// Finds the agent in GitLab: as the person named it, else by its number in the projects that Flux fetches.
async fn find(gitlab: &GitLabWriter, target: &Target, named: Option<&str>) -> Result<Keys, Refusal> {
    if let Some(named) = named {
        let Some((project, name)) = named.split_once(':') else {
            return Err(Refusal::Usage(format!(
                "--agent {named}: write PROJECT:NAME, such as platform/fleet:production"
            )));
        };
        let project = keys::project(gitlab, project).await?;
        let found = Keys::by_name(gitlab, &project, name).await?;
        let found = found.ok_or_else(|| {
            Refusal::Usage(format!("project {} has no agent {name}", project.path_with_namespace))
        })?;
        return match target.agent {
            Some(id) if id != found.agent => Err(Refusal::Refused(vec![format!(
                "the agent of this cluster has the number {id} (by its Lease), agent {name} has {}",
                found.agent
            )])),
            _ => Ok(found),
        };
    }
    let Some(id) = target.agent else {
        return Err(Refusal::Refused(vec![
            "which agent of GitLab this is the cluster does not show (agentk holds no Lease); name it: --agent PROJECT:NAME".to_owned(),
        ]));
    };
    for path in target.projects.iter().take(50) {
        let project = match keys::project(gitlab, path).await {
            Ok(project) => project,
            Err(fault) if matches!(fault.kind, FaultKind::NotFound | FaultKind::Forbidden) => continue,
            Err(fault) => return Err(fault.into()),
        };
        match Keys::by_id(gitlab, &project, id).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(fault) if matches!(fault.kind, FaultKind::Forbidden) => {}
            Err(fault) => return Err(fault.into()),
        }
    }
    Err(Refusal::Refused(vec![format!(
        "agent {id} is registered in none of the projects that Flux fetches from here, as far as your GitLab token sees; \
         name it: --agent PROJECT:NAME"
    )]))
}

/// The permissions that are missing in the cluster, each as `verb resource in namespace`.
async fn denied(client: &WriteClient, target: &Target) -> Vec<String> {
    const NEEDED: &[(&str, &str, &str)] = &[
        ("get", "", "secrets"),
        ("create", "", "secrets"),
        ("patch", "", "secrets"),
        ("delete", "", "secrets"),
        ("get", "apps", "deployments"),
        ("patch", "apps", "deployments"),
        ("list", "", "pods"),
        ("get", "coordination.k8s.io", "leases"),
        ("create", "coordination.k8s.io", "leases"),
        ("patch", "coordination.k8s.io", "leases"),
        ("delete", "coordination.k8s.io", "leases"),
    ];
    let release = target.release.iter().filter(|(_, suspended)| !suspended).map(|(release, _)| {
        (
            ("patch", "helm.toolkit.fluxcd.io", "helmreleases"),
            release.namespace.as_str(),
            release.name.as_str(),
        )
    });
    let name = |resource: &str, verb: &str| match (resource, verb) {
        ("secrets", "get" | "patch") => target.secret.name.as_str(),
        ("deployments", _) => target.deployment.name.as_str(),
        _ => "",
    };
    let needed = NEEDED.iter().map(|row| (*row, target.namespace(), name(row.2, row.0))).chain(release);
    let ask = |((verb, group, resource), namespace, name): (
        (&'static str, &'static str, &'static str),
        _,
        _,
    )| async move {
        let what = format!("{verb} {resource} in namespace {namespace}");
        match client.read.may_on(verb, group, resource, namespace, name).await {
            Ok(true) => None,
            Ok(false) => Some(format!("you may not {what}")),
            Err(why) => Some(format!("whether you may {what} is not known: {}", why.message)),
        }
    };
    join_all(needed.map(ask)).await.into_iter().flatten().collect()
}

/// What the API server, with its admission, would say to each kind of change. A value is not sent: what stands in its
/// place has its length.
async fn try_changes(client: &WriteClient, target: &Target, read: &Read) -> Vec<String> {
    let place = &target.secret;
    let length = read.shape.as_ref().map_or(0, |s| s.bytes);
    let stand_in = "x".repeat(length);
    let lock = Lock::new(client, target.namespace(), &place.name, "dry run".to_owned());
    let backup = format!("{}-prev-{}", place.name.chars().take(230).collect::<String>(), "dryrun");
    let mut against = Vec::new();
    let changes = [
        ("the Secret", place.try_change(client, read, stand_in.as_bytes()).await),
        ("the Secret that keeps the old value", place.back_up(client, read, &backup, true).await),
        ("the Lease", lock.try_take().await),
        ("the Deployment", pods::restart(client, &target.deployment, "dry-run", true).await),
    ];
    for (what, change) in changes {
        match change {
            Change::Made => {}
            // The Lease of a rotation that ended badly is there; it is taken over when it has expired.
            Change::Conflict => {}
            Change::Refused(why) => {
                against.push(format!("the API server would refuse to change {what}: {why}"))
            }
            Change::Unknown(why) => against.push(format!(
                "what the API server would say to a change of {what} is not known: {}: {}",
                why.asked, why.message
            )),
        }
    }
    against
}

/// A token expires at midnight UTC at the beginning of its day (GitLab, "Personal access tokens"); a day's margin.
fn expires_soon(date: &str, now: Timestamp) -> bool {
    let midnight = format!("{date}T00:00:00Z").parse::<Timestamp>();
    midnight.is_ok_and(|at| at.duration_since(now) < jiff::SignedDuration::from_hours(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_dies_within_the_hour_is_not_begun_with() {
        let now: Timestamp = "2026-05-01T23:30:00Z".parse().expect("a time");
        assert!(expires_soon("2026-05-02", now));
        assert!(expires_soon("2026-05-01", now));
        assert!(!expires_soon("2026-05-03", now));
        assert!(!expires_soon("never", now));
    }
}
