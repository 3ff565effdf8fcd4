//! GA303: agentk's pods run.

use super::workload::unwell;
use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::agent::Agent;
use crate::facts::{Facts, Why};
use crate::need::Need;

pub(super) static CHECK: Check = Check {
    code: 303,
    slug: "agentk-pods-not-running",
    title: "agentk's pods run",
    severity: Severity::Error,
    impact: Impact::Pushes,
    needs: &[Need::Deployments],
    page: include_str!("../../../../docs/checks/GA303.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    judgement.skip("no agentk that should run is installed");
    facts.agent_gaps().iter().for_each(|why| judgement.lacks(why.clone()));
    for agent in facts.agents.iter().filter(|a| a.deployment.spec.replicas != Some(0)) {
        judgement.examine();
        if let Some(finding) = unwell(facts, judgement, &agent.object(), agent.deployment) {
            judgement.find(explain(facts, agent, finding));
        }
    }
    Ok(())
}

/// Adds what is known of agentk beyond what its Deployment and pods say.
fn explain(facts: &Facts<'_>, agent: &Agent<'_>, mut finding: Finding) -> Finding {
    let trouble = agent.deployment.trouble("Deployment", &facts.snapshot.pods);
    let reason = trouble.map(|t| t.reason).unwrap_or_default();
    match (reason.as_str(), agent.secret_object()) {
        // A pod that mounts a missing Secret only says that it is being created.
        ("ContainerCreating" | "NotReady", Some(secret)) if matches!(agent.secret, Ok(None)) => {
            finding.message = format!("waits for {secret}, which does not exist");
            let by_hand = Remedy::say(
                "write the agent's token into the Secret (it is asked for, and not shown); the pods then start by \
                 themselves; GitLab makes a token at Operate > Kubernetes clusters > the agent > Access tokens",
            )
            .write_secret(&secret.namespace, &secret.name, "token");
            finding.remedy = Remedy::of_creator(facts, &secret).unwrap_or(by_hand);
            finding
        }
        ("CrashLoopBackOff" | "Error", _) => match last_line(agent) {
            Some(line) if !finding.evidence.iter().any(|e| e.contains(&line)) => {
                finding.because(format!("last line of its log: {line}"))
            }
            _ => finding,
        },
        _ => finding,
    }
}

fn last_line(agent: &Agent<'_>) -> Option<String> {
    agent.lines.as_ref().ok()?.last().map(|(_, line)| line.text())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::{Condition, Observed, Workload};
    use crate::fixture::{deployment_mut, secret_entry};
    use crate::snapshot::Snapshot;

    fn agent(s: &mut Snapshot) -> &mut Workload {
        deployment_mut(s, "gitlab-agent-v2")
    }

    /// No pod of the agent is ready, each with this status.
    fn pods(status: &Value) -> impl FnOnce(&mut Snapshot) {
        let status: crate::facts::PodStatus = serde_json::from_value(status.clone()).expect("a status");
        move |s| {
            agent(s).status.ready_replicas = 0;
            s.pods.items.iter_mut().for_each(|p| p.status = status.clone());
        }
    }

    fn container(state: &Value, last: &Value) -> Value {
        json!({"phase": "Pending", "containerStatuses": [{"name": "main", "state": state, "lastState": last}]})
    }

    fn waits(reason: &str) -> Value {
        json!({"waiting": {"reason": reason, "message": "back-off"}})
    }

    fn ended(reason: &str, message: &str) -> Value {
        json!({"terminated": {"reason": reason, "exitCode": 1, "message": message}})
    }

    #[test]
    fn each_reason_of_a_pod_is_named_with_its_remedy() {
        let pending = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]});
        for (status, reason, remedy) in [
            (container(&waits("ImagePullBackOff"), &json!({})), "ImagePullBackOff", "image's name"),
            (container(&waits("CrashLoopBackOff"), &ended("Error", "bad flag")), "CrashLoopBackOff", "why it ends"),
            (container(&waits("CrashLoopBackOff"), &ended("OOMKilled", "")), "OOMKilled", "memory limit"),
            (container(&waits("CreateContainerConfigError"), &json!({})), "CreateContainerConfigError", "Secret"),
            (pending, "Unschedulable", "make room"),
        ] {
            let found = finding(&CHECK, pods(&status));
            assert_eq!(found.subject.to_string(), "Deployment gitlab/gitlab-agent-v2");
            let message = format!("does not run ({reason}): none of its 2 wanted pods is ready");
            assert_eq!(found.message, message);
            assert!(found.remedy.text.contains(remedy), "{reason}: {:?}", found.remedy);
            assert!(found.evidence[0].starts_with("Pod gitlab/gitlab-agent-v2-"), "{:?}", found.evidence);
        }
    }

    #[test]
    fn a_crash_is_shown_with_its_last_words() {
        let found = finding(&CHECK, pods(&container(&waits("CrashLoopBackOff"), &ended("Error", "bad flag"))));
        assert!(found.evidence[0].ends_with("(exit code 1): bad flag"), "{:?}", found.evidence);
        assert!(found.evidence[1].starts_with("last line of its log: "), "{:?}", found.evidence);
    }

    #[test]
    fn pods_that_are_refused_are_found() {
        for (text, reason) in [
            ("pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\"", "PodSecurity"),
            ("pods \"x\" is forbidden: exceeded quota: small", "QuotaExceeded"),
            ("error looking up service account", "FailedCreate"),
        ] {
            let found = finding(&CHECK, |s| {
                s.pods.items.clear();
                agent(s).status.ready_replicas = 0;
                agent(s).status.conditions = vec![Condition {
                    kind: "ReplicaFailure".to_owned(),
                    status: "True".to_owned(),
                    reason: "FailedCreate".to_owned(),
                    message: text.to_owned(),
                    ..Condition::default()
                }];
            });
            assert!(found.message.starts_with(&format!("does not run ({reason})")), "{}", found.message);
            assert_eq!(found.evidence, [text]);
        }
    }

    #[test]
    fn a_missing_secret_is_named() {
        let creating = container(&waits("ContainerCreating"), &json!({}));
        let found = finding(&CHECK, |s| {
            pods(&creating)(s);
            secret_entry(s, "gitlab", "gitlab-agent-token").shape = Observed::Known(None);
        });
        assert_eq!(found.message, "waits for Secret gitlab/gitlab-agent-token, which does not exist");
        assert!(found.remedy.lines()[0].contains("create secret generic gitlab-agent-token"), "{:?}", found.remedy);
        let other = finding(&CHECK, pods(&creating));
        assert!(other.message.starts_with("does not run (ContainerCreating)"), "{}", other.message);
    }

    #[test]
    fn near_misses_pass_and_nothing_wanted_is_skipped() {
        passes(&CHECK, |s| s.pods.items.clear());
        let partly = finding(&CHECK, |s| agent(s).status.ready_replicas = 1);
        assert_eq!(partly.message, "has 1 of 2 pods ready");
        let stopped = after(&CHECK, |s| agent(s).spec.replicas = Some(0));
        assert_eq!(stopped.verdict(), Verdict::Skipped);
    }
}
