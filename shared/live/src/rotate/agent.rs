//! The agent in GitLab: which one it is, which tokens it has, and whether it is well now.

use std::collections::BTreeSet;

use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::facts::agent::Connection;
use gitlab_agent_core::rotate::Goal;
use gitlab_agent_core::rotate::journal::TOKEN_ID;
use gitlab_agent_core::rotate::ownership::{Evidence, doubt};
use jiff::Timestamp;

use super::keys::{self, Connected, Keys, Listed};
use super::places;
use super::pods::{self, Sight};
use super::preflight::{Refusal, Wanted};
use super::secret::Read;
use super::target::Agentk;
use crate::access::WriteClient;
use crate::gitlab::{Fault, FaultKind, GitLabWriter};

/// What was found of an agent.
pub(super) struct Found {
    /// Its tokens.
    pub(super) keys: Keys,
    /// The only active one, with its last use.
    pub(super) token: Option<Listed>,
    /// By what it is known to be connected now.
    pub(super) connected: String,
    /// How many pods are wanted.
    pub(super) pods: i64,
}

/// What GitLab's list of connections says of other clusters.
pub(super) enum Listing {
    /// Pods that are none of ours.
    Foreign(Vec<String>),
    /// Pods of ours, and no other.
    OnlyOurs,
    /// Pods of ours, and such as were here and are gone: a clone of the cluster has pods of the same names.
    Lingering(Vec<String>),
    /// Not even ours: whoever may not see it gets an empty list, and GraphQL gives a hundred at most.
    Unknown,
}

/// GraphQL gives at most so many nodes of a list.
const MOST: usize = 100;

impl Listing {
    /// `ours` are the pods that were ever seen here, `now` those that are here: `namespace/name` each.
    pub(super) fn of(found: &Connected, ours: &[String], now: &[String]) -> Self {
        let ours: BTreeSet<&str> = ours.iter().chain(now).map(String::as_str).collect();
        let listed: Vec<String> =
            found.pods.iter().map(|(namespace, pod)| format!("{namespace}/{pod}")).collect();
        let mut foreign: Vec<String> =
            listed.iter().filter(|pod| !ours.contains(pod.as_str())).cloned().collect();
        let complete = found.pods.len() < MOST && now.iter().any(|pod| listed.contains(pod));
        // Each pod has one connection.
        let mut once = BTreeSet::new();
        let twice: BTreeSet<&String> = listed.iter().filter(|pod| !once.insert(*pod)).collect();
        let twice = twice.into_iter().filter(|pod| complete && ours.contains(pod.as_str()));
        foreign.extend(twice.map(|pod| format!("a second {pod}")));
        let gone: Vec<String> = listed.iter().filter(|pod| !now.contains(pod)).cloned().collect();
        match () {
            () if !foreign.is_empty() => Self::Foreign(foreign),
            () if complete && !gone.is_empty() => Self::Lingering(gone),
            () if complete => Self::OnlyOurs,
            () => Self::Unknown,
        }
    }
}

/// What GitLab lists of an agent now; `ours` are pods that were seen here before.
///
/// # Errors
/// GitLab does not say.
pub(super) async fn listing(
    client: &WriteClient,
    keys: &Keys,
    agentks: &[Agentk],
    ours: &[String],
) -> Result<Listing, Fault> {
    let found = keys.connected().await?;
    let mut now = Vec::new();
    for agentk in agentks {
        if let Ok(Some(sight)) = Sight::look(client, &agentk.deployment).await {
            now.extend(sight.names());
        }
    }
    let listing = Listing::of(&found, ours, &now);
    if !matches!(listing, Listing::Foreign(_)) {
        return Ok(listing);
    }
    let namespaces: BTreeSet<&str> = agentks.iter().map(|a| a.deployment.namespace.as_str()).collect();
    let mut ours = ours.to_vec();
    for namespace in namespaces {
        ours.extend(pods::made_here(client, namespace).await);
    }
    Ok(Listing::of(&found, &ours, &now))
}

/// agentk's Deployments, as GitLab is asked about them.
pub(super) struct Installed<'a> {
    pub(super) client: &'a WriteClient,
    pub(super) agentks: &'a [Agentk],
    pub(super) sights: &'a [Sight],
    pub(super) read: &'a Read,
}

/// How to go on where not everything can be seen.
pub(super) const UNSEEN: &str = "--allow-unseen-holders goes on without";

/// Looks at the agent; what speaks against a rotation is added.
pub(super) async fn look(
    installed: &Installed<'_>,
    gitlab: &GitLabWriter,
    facts: &Facts<'_>,
    wanted: &Wanted<'_>,
    against: &mut Vec<String>,
    notes: &mut Vec<String>,
) -> Result<Found, Refusal> {
    let keys = find(gitlab, installed.agentks, wanted.agent).await?;
    let mut tokens = Vec::new();
    for listed in keys.active().await? {
        match keys.one(listed.id).await {
            Ok(token) => tokens.push(token),
            // A list that lags shows what was just revoked.
            Err(fault) if fault.kind == FaultKind::NotFound => {}
            Err(fault) => return Err(fault.into()),
        }
    }
    let token = if let [only] = &tokens[..] { Some(only.clone()) } else { None };
    let pods = installed.sights.iter().map(Sight::wanted).sum();
    let mut connected = String::new();
    if matches!(wanted.goal, Goal::Rotate | Goal::Begin) {
        against.extend(two_tokens(&keys, &tokens).await);
        for (agentk, sight) in installed.agentks.iter().zip(installed.sights) {
            if sight.wanted() == 0 || !sight.is_rolled_out() {
                against.push(format!(
                    "{} is not well: a rotation needs pods to prove itself by; see kubectl gitlab-agent verify",
                    agentk.deployment
                ));
            }
        }
        if tokens.is_empty() && wanted.agent.is_none() {
            against.push(format!(
                "agent {} has no active token, so whether it is the one of this cluster GitLab cannot tell; if it is, name \
                 it: --agent {}:{}",
                keys.name, keys.project.path_with_namespace, keys.name
            ));
        }
        if !tokens.is_empty() {
            connected = identity(&keys, facts, installed, wanted, against, notes).await;
        }
        against.extend(token.as_ref().and_then(|token| not_proven(&keys, token, installed.read)));
    }
    Ok(Found { keys, token, connected, pods })
}

/// Why the only active token may be another one than the Secret's.
fn not_proven(keys: &Keys, token: &Listed, read: &Read) -> Option<String> {
    let why = doubt(&Evidence {
        id: token.id,
        created_at: token.created_at,
        last_used_at: token.last_used_at,
        annotation: read.metadata.annotations.get(TOKEN_ID).map(String::as_str),
        changed_at: read.changed_at,
        now: Timestamp::now(),
    })?;
    Some(format!(
        "whether the Secret holds token {} \"{}\", the only active one of agent {}, is not proven: {why}. See in GitLab which \
         token agentk uses; where it is this one, write its number into the annotation {TOKEN_ID} of the Secret",
        token.id, token.name, keys.name
    ))
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
    installed: &Installed<'_>,
    wanted: &Wanted<'_>,
    against: &mut Vec<String>,
    notes: &mut Vec<String>,
) -> String {
    let named = wanted.agent;
    let target = &installed.agentks[0];
    let here: Vec<String> = installed.sights.iter().flat_map(Sight::names).collect();
    match keys.connected().await {
        Ok(found) => {
            match listing(installed.client, keys, installed.agentks, &here).await {
                Ok(Listing::Foreign(pods)) => against.push(format!(
                    "GitLab lists a connection of agent {} with {}, which is no pod of what takes part here: another \
                     cluster, or another Deployment, that runs with the same token would be cut off. Register an agent of its own for it; a pod that is gone GitLab \
                     forgets within 20 minutes",
                    keys.name,
                    pods.join(", ")
                )),
                Ok(Listing::Unknown) if named.is_some() && !wanted.allow_unseen => against.push(format!(
                    "whether another cluster runs with the same token is not known: GitLab lists no connection of the pods that \
                     are here; {UNSEEN}"
                )),
                Ok(Listing::OnlyOurs | Listing::Lingering(_) | Listing::Unknown) | Err(_) => {}
            }
            let known = |(namespace, pod): &&(String, String)| here.contains(&format!("{namespace}/{pod}"));
            if let Some((_, pod)) = found.pods.iter().find(known) {
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
        Err(fault) if !wanted.allow_unseen => against.push(format!(
            "whether another cluster runs with the same token is not known ({fault}); {UNSEEN}"
        )),
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
async fn find(gitlab: &GitLabWriter, agentks: &[Agentk], named: Option<&str>) -> Result<Keys, Refusal> {
    let number = agentks.iter().find_map(|a| a.agent);
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
        return match number {
            Some(id) if id != found.agent => Err(Refusal::Refused(vec![format!(
                "the agent of this cluster has the number {id} (by its Lease), agent {name} has {}",
                found.agent
            )])),
            _ => Ok(found),
        };
    }
    let Some(id) = number else {
        return Err(Refusal::Refused(vec![
            "which agent of GitLab this is the cluster does not show (agentk holds no Lease); name it: --agent PROJECT:NAME".to_owned(),
        ]));
    };
    for path in agentks.iter().flat_map(|a| &a.projects).take(50) {
        let project = match keys::project(gitlab, path).await {
            Ok(project) => project,
            Err(fault) if places::hides(fault.kind) => continue,
            Err(fault) => return Err(fault.into()),
        };
        match Keys::by_id(gitlab, &project, id).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(fault) if places::hides(fault.kind) => {}
            Err(fault) => return Err(fault.into()),
        }
    }
    Err(Refusal::Refused(vec![format!(
        "agent {id} is registered in none of the projects that Flux fetches from here, as far as your GitLab token sees; \
         name it: --agent PROJECT:NAME"
    )]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_is_not_ours_is_another_cluster() {
        let here = ["gitlab/a-1".to_owned(), "gitlab/a-2".to_owned()];
        let was = ["gitlab/a-0".to_owned()];
        let word = |pods: &[(&str, &str)]| {
            let pods = pods.iter().map(|(n, p)| ((*n).to_owned(), (*p).to_owned())).collect();
            match Listing::of(&Connected { pods }, &was, &here) {
                Listing::Foreign(pods) => pods.join(" "),
                Listing::OnlyOurs => "ours".to_owned(),
                Listing::Lingering(pods) => format!("gone {}", pods.join(" ")),
                Listing::Unknown => "unknown".to_owned(),
            }
        };
        let many: Vec<(&str, &str)> = vec![("gitlab", "a-1"); MOST];
        for (pods, said) in [
            (&[][..], "unknown"),
            (&[("gitlab", "a-1")], "ours"),
            (&[("gitlab", "a-1"), ("gitlab", "a-2")], "ours"),
            (&[("gitlab", "a-0")], "unknown"),
            (&[("gitlab", "a-0"), ("gitlab", "a-1")], "gone gitlab/a-0"),
            (&[("gitlab", "a-1"), ("gitlab", "a-1")], "a second gitlab/a-1"),
            (&[("gitlab", "a-1"), ("gitlab", "a-2"), ("gitlab", "a-1")], "a second gitlab/a-1"),
            (&[("gitlab", "a-1"), ("gitlab", "a-0"), ("gitlab", "a-0")], "a second gitlab/a-0"),
            (&[("gitlab", "a-3")], "gitlab/a-3"),
            (&[("gitlab", "a-1"), ("gitlab", "a-3")], "gitlab/a-3"),
            (&[("gitlab", "a-3"), ("gitlab", "a-1")], "gitlab/a-3"),
            (&[("other", "a-1")], "other/a-1"),
            (&[("", "a-1"), ("gitlab", "a-1")], "/a-1"),
            (&[("gitlab", "a-1"), ("edge", "x"), ("edge", "y")], "edge/x edge/y"),
            (&many[..], "unknown"),
        ] {
            assert_eq!(word(pods), said, "{pods:?}");
        }
    }
}
