//! Which agent is meant: its Deployment, its Secret and key, its number; from what was observed.

use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::facts::agent::Agent;
use gitlab_agent_core::facts::host::host_and_port;
use gitlab_agent_core::object::ObjectRef;

use super::secret::Place;

/// The key of the token in its Secret; the chart mounts the whole Secret, and agentk is told `…/token`.
const KEY: &str = "token";

/// What is rotated, as the cluster shows it.
#[derive(Clone, Debug)]
pub struct Target {
    /// agentk's Deployment.
    pub deployment: ObjectRef,
    /// The HelmRelease that installed it, where one did, and whether it is suspended.
    pub release: Option<(ObjectRef, bool)>,
    /// The Secret.
    pub secret: Place,
    /// The agent's number, from the name of its Lease.
    pub agent: Option<u64>,
    /// Names of the pods that run.
    pub pods: Vec<String>,
    /// Projects that Flux fetches, on any host: candidates for the one that the agent is registered in.
    pub projects: Vec<String>,
    /// Host and port that the cluster's sources name.
    pub host: Option<String>,
}

impl Target {
    /// Finds the agent; `name` is its Deployment's, its release's or its Secret's.
    ///
    /// # Errors
    /// None or several fit, or the one that fits has no Secret; in words.
    pub fn find(facts: &Facts<'_>, name: Option<&str>) -> Result<Self, String> {
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
        match found[..] {
            [agent] => Self::of(facts, agent),
            [] => {
                let gap = facts.snapshot.deployments.gaps.first();
                let unseen = gap.map(|why| format!("; not all was seen: {}: {}", why.asked, why.message));
                Err(format!("no agentk fits; there is: {}{}", listed(), unseen.unwrap_or_default()))
            }
            _ => Err(format!("which agentk? Name its Deployment: {}", listed())),
        }
    }

    fn of(facts: &Facts<'_>, agent: &Agent<'_>) -> Result<Self, String> {
        let Some(secret) = agent.secret_name else {
            return Err(format!(
                "{} mounts no Secret: its token is not in one, and cannot be changed without Helm",
                agent.object()
            ));
        };
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
        let living = agent.living().unwrap_or_default();
        Ok(Self {
            deployment: agent.object(),
            release: agent.release.map(|r| (r.metadata.object("HelmRelease"), r.spec.suspend)),
            secret: Place {
                namespace: agent.namespace().to_owned(),
                name: secret.to_owned(),
                key: KEY.to_owned(),
            },
            agent: agent.id,
            pods: living.iter().map(|p| p.metadata.name.clone()).collect(),
            projects,
            host,
        })
    }

    /// Namespace of the agent.
    pub fn namespace(&self) -> &str {
        &self.deployment.namespace
    }
}

/// The path of the project that a Git URL names.
fn project(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let (_, path) = rest.split_once('/')?;
    let path = path.trim_matches('/').trim_end_matches(".git");
    path.contains('/').then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use gitlab_agent_core::fixture;

    use super::*;

    #[test]
    fn the_only_agent_needs_no_name_and_a_wrong_name_lists_the_right_ones() {
        let snapshot = fixture::healthy();
        let facts = Facts::derive(&snapshot);
        let target = Target::find(&facts, None).expect("one");
        assert_eq!(target.secret.name, "gitlab-agent-token");
        assert_eq!(target.deployment.to_string(), "Deployment gitlab/gitlab-agent-v2");
        assert!(target.agent.is_some() && !target.projects.is_empty(), "{target:?}");
        for name in ["gitlab-agent-v2", "gitlab-agent", "gitlab-agent-token"] {
            assert!(Target::find(&facts, Some(name)).is_ok(), "{name}");
        }
        let error = Target::find(&facts, Some("other")).expect_err("none");
        assert!(error.contains("gitlab/gitlab-agent-v2"), "{error}");
    }

    #[test]
    fn projects_are_read_out_of_urls() {
        assert_eq!(project("https://gitlab.example.com/a/b/c.git").as_deref(), Some("a/b/c"));
        assert_eq!(project("ssh://git@gitlab.example.com/a/b").as_deref(), Some("a/b"));
        assert_eq!(project("https://gitlab.example.com/"), None);
    }
}
