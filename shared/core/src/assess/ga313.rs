//! GA313: all pods of one agent run one version.

use std::collections::BTreeMap;

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::command::kubectl;
use crate::facts::agent::Agent;
use crate::facts::{Facts, Pod, Why};
use crate::need::Need;

pub(super) static CHECK: Check = Check {
    code: 313,
    slug: "agentk-versions-differ",
    title: "all pods of one agent run one version of agentk",
    severity: Severity::Warning,
    impact: Impact::Hygiene,
    needs: &[Need::Deployments, Need::Pods],
    page: include_str!("../../../../docs/checks/GA313.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    for why in facts.agent_gaps() {
        judgement.lacks(why.clone());
    }
    for (at, agent) in facts.agents.iter().enumerate() {
        let Some(pods) = judgement.known(agent.living()) else { continue };
        // Installations with one token are one agent to GitLab; each pair is looked at once.
        let twins = facts.agents[at + 1..].iter().filter(|other| agent.id.is_some() && other.id == agent.id);
        let mut versions: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let others = twins.filter_map(|twin| judgement.known(twin.living())).flatten();
        for pod in pods.into_iter().chain(others.collect::<Vec<_>>()) {
            judgement.examine();
            let name = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
            versions.entry(version(pod)).or_default().push(name);
        }
        if versions.len() > 1 {
            if !agent.deployment.is_well("Deployment") {
                judgement.too_early(agent.object(), "it is being rolled out");
            }
            judgement.find(differing(agent, &versions));
        }
    }
    judgement.skip("no agentk runs here");
    Ok(())
}

/// What tells the version: the tag of the image, or all of it where it has none.
fn version(pod: &Pod) -> &str {
    let containers = &pod.spec.containers;
    let agentk = containers.iter().find(|c| c.image.contains("agentk")).or_else(|| containers.first());
    let image = agentk.map_or("", |c| c.image.as_str());
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once([':', '@']).map_or(image, |(_, version)| version)
}

fn differing(agent: &Agent<'_>, versions: &BTreeMap<&str, Vec<String>>) -> Finding {
    let names: Vec<&str> = versions.keys().copied().collect();
    let rolling = !agent.deployment.is_well("Deployment");
    let (message, text) = if rolling {
        (
            format!("is being rolled out: its pods run {}", names.join(" and ")),
            "wait for the rollout to end; GA303 tells why new pods do not run",
        )
    } else {
        (
            format!("runs {} at once: what works depends on which pod leads", names.join(" and ")),
            "restart agentk, so that all pods come from its Deployment; where two installations share one token, \
             bring both to one version or remove one. GitLab may show the old version for 20 minutes more",
        )
    };
    let remedy = match rolling {
        true => Remedy::say(text)
            .run(kubectl(agent.namespace(), "rollout status").object(&agent.object()).words("--timeout=5m")),
        false => Remedy::say(text).restart(&agent.object()),
    };
    let finding = Finding::new(agent.object(), message, remedy);
    let finding = if rolling { finding.severity(Severity::Info) } else { finding };
    versions.iter().fold(finding, |f, (version, pods)| f.because(format!("{version}: {}", pods.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn other_image(s: &mut Snapshot) {
        s.pods.items[1].spec.containers[0].image = "registry.gitlab.com/gitlab-org/agentk:v18.0.0".to_owned();
    }

    #[test]
    fn pods_of_two_versions_are_found() {
        let found = finding(&CHECK, other_image);
        assert_eq!(found.message, "runs v18.0.0 and v19.2.2 at once: what works depends on which pod leads");
        assert_eq!(found.evidence, ["v18.0.0: gitlab/gitlab-agent-v2-2", "v19.2.2: gitlab/gitlab-agent-v2-1"]);
        assert_eq!(found.remedy.lines(), ["kubectl -n gitlab rollout restart deployment/gitlab-agent-v2"]);
    }

    #[test]
    fn a_rollout_is_only_said() {
        let found = finding(&CHECK, |s| {
            other_image(s);
            fixture::deployment_mut(s, "gitlab-agent-v2").status.updated_replicas = 1;
        });
        assert_eq!(found.severity, Some(Severity::Info));
    }

    #[test]
    fn two_installations_with_one_token_are_one_agent() {
        let twin = |s: &mut Snapshot| {
            let mut deployment = fixture::deployment_mut(s, "gitlab-agent-v2").clone();
            let (mut pod, mut lease) = (s.pods.items[0].clone(), s.leases.items[0].clone());
            deployment.metadata.namespace = "twin".to_owned();
            pod.metadata.namespace = "twin".to_owned();
            lease.metadata.namespace = "twin".to_owned();
            pod.spec.containers[0].image = "agentk@sha256:abc".to_owned();
            s.deployments.items.push(deployment);
            s.pods.items.push(pod);
            s.leases.items.push(lease);
        };
        let found = finding(&CHECK, twin);
        assert!(found.message.contains("sha256:abc and v19.2.2"), "{}", found.message);
        passes(&CHECK, |s| {
            twin(s);
            s.leases.items[1].metadata.name = "agent-8-lock".to_owned();
        });
    }

    #[test]
    fn pods_that_end_do_not_count() {
        passes(&CHECK, |s| {
            other_image(s);
            s.pods.items[1].metadata.deletion_timestamp = fixture::NOW.parse().ok();
        });
        assert_eq!(after(&CHECK, |s| s.pods.items.clear()).verdict(), Verdict::Skipped);
    }
}
