//! The agent in GitLab: which one it is, which tokens it has, and whether it is well now.

use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::facts::agent::Connection;
use gitlab_agent_core::rotate::Goal;

use super::find;
use super::keys::{self, Keys, Listed};
use super::pods::Sight;
use super::preflight::{Refusal, Wanted};
use super::target::Agentk;
use crate::gitlab::GitLabWriter;

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

/// Looks at the agent; what speaks against a rotation is added.
pub(super) async fn look(
    sight: &Sight,
    gitlab: &GitLabWriter,
    facts: &Facts<'_>,
    agentk: &Agentk,
    wanted: &Wanted<'_>,
    against: &mut Vec<String>,
    notes: &mut Vec<String>,
) -> Result<Found, Refusal> {
    let keys = find(gitlab, agentk, wanted.agent).await?;
    let tokens = keys.active().await?;
    let token = match &tokens[..] {
        [only] => Some(keys.one(only.id).await?),
        _ => None,
    };
    let pods = sight.wanted();
    let mut connected = String::new();
    if matches!(wanted.goal, Goal::Rotate | Goal::Begin) {
        against.extend(two_tokens(&keys, &tokens).await);
        if pods == 0 || !sight.is_rolled_out() {
            against.push(format!(
                "{} is not well: a rotation needs pods to prove itself by; see kubectl gitlab-agent verify",
                agentk.deployment
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
            connected = identity(&keys, facts, agentk, wanted.agent, against, notes).await;
        }
    }
    Ok(Found { keys, token, connected, pods })
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
    target: &Agentk,
    named: Option<&str>,
    against: &mut Vec<String>,
    notes: &mut Vec<String>,
) -> String {
    let known = |pods: &[(String, String)]| {
        pods.iter()
            .find(|(namespace, pod)| *namespace == target.deployment.namespace && target.pods.contains(pod))
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
async fn find(gitlab: &GitLabWriter, target: &Agentk, named: Option<&str>) -> Result<Keys, Refusal> {
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
            Err(fault) if find::hides(fault.kind) => continue,
            Err(fault) => return Err(fault.into()),
        };
        match Keys::by_id(gitlab, &project, id).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(fault) if find::hides(fault.kind) => {}
            Err(fault) => return Err(fault.into()),
        }
    }
    Err(Refusal::Refused(vec![format!(
        "agent {id} is registered in none of the projects that Flux fetches from here, as far as your GitLab token sees; \
         name it: --agent PROJECT:NAME"
    )]))
}
