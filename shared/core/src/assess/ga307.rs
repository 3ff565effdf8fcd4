//! GA307: agentk is connected to GitLab.

use super::{Check, Finding, Judgement, Remedy, Severity};
use crate::facts::agent::{Agent, Connection};
use crate::facts::{Facts, Why};
use crate::need::Need;
use crate::text::shorten;

pub(super) static CHECK: Check = Check {
    code: 307,
    slug: "agent-not-connected",
    title: "agentk is connected to GitLab",
    severity: Severity::Error,
    needs: &[Need::Deployments, Need::Pods, Need::PodLogs, Need::Leases],
    page: include_str!("../../../../docs/checks/GA307.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    for why in facts.agent_gaps() {
        judgement.lacks(why.clone());
    }
    for agent in &facts.agents {
        match agent.connection(facts.now) {
            Connection::Connected(_) => {
                judgement.examine();
                for why in facts.log_gaps(agent) {
                    judgement.lacks(why);
                }
            }
            Connection::Unknown(why) => judgement.lacks(why),
            Connection::Disconnected(fault, cause) => {
                let (remedy, line) = match fault {
                    Some((rule, line)) => (Remedy::of_fault(agent, rule), line),
                    None => (look(agent), String::new()),
                };
                let message = format!("is not connected to GitLab: {cause}");
                judgement.find(Finding::new(agent.object(), message, remedy).because(shorten(&line, 200)));
            }
        }
    }
    judgement.skip("no agentk is installed");
    Ok(())
}

/// The log shows no fault: these are the ones that write no line.
fn look(agent: &Agent<'_>) -> Remedy {
    Remedy::say(
        "see that the agent's configuration project exists and has a commit, and that kas runs (GitLab: Operate > \
         Kubernetes clusters shows the agent); GA303 tells why pods do not run; then restart agentk",
    )
    .kubectl(agent.namespace(), format!("logs {} --tail=50", agent.object().kubectl()))
    .restart(&agent.object())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::Observed;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn logs(line: &'static str) -> impl FnOnce(&mut Snapshot) {
        move |s| s.logs[0].lines = Observed::Known(vec![line.to_owned()])
    }

    #[test]
    fn a_fault_in_the_log_is_found_with_its_cause() {
        let found = finding(
            &CHECK,
            logs(r#"{"time":"2026-11-02T09:58:00Z","level":"ERROR","msg":"Failed to register agent pod","error":"code = Unauthenticated desc = unauthenticated"}"#),
        );
        assert_eq!(found.subject.to_string(), "Deployment gitlab/gitlab-agent-v2");
        assert!(found.message.starts_with("is not connected to GitLab: GitLab refuses the agent token"));
        assert!(found.evidence[0].contains("Unauthenticated"));
        assert!(found.remedy.commands[0].contains("secret generic gitlab-agent-token -n gitlab"));
    }

    #[test]
    fn a_missing_leader_is_found() {
        let found = finding(&CHECK, |s| s.leases.items.clear());
        assert!(found.message.contains("no living pod holds the agent's Lease"), "{}", found.message);
        let found = finding(&CHECK, |s| s.pods.items.clear());
        assert_eq!(found.message, "is not connected to GitLab: no pod of agentk runs");
    }

    #[test]
    fn old_faults_and_young_pods_are_none() {
        passes(
            &CHECK,
            logs(r#"{"time":"2026-11-02T09:00:00Z","level":"ERROR","msg":"x","error":"connection refused"}"#),
        );
        let young = after(&CHECK, |s| {
            s.leases.items.clear();
            for pod in &mut s.pods.items {
                pod.status.container_statuses.clear();
                pod.status.start_time = fixture::NOW.parse().ok();
            }
        });
        assert_eq!(young.verdict(), Verdict::Unknown);
        assert_eq!(after(&CHECK, |s| s.logs.truncate(1)).verdict(), Verdict::Unknown, "one log was not read");
    }

    #[test]
    fn without_an_agent_there_is_nothing_to_connect() {
        let judgement = after(&CHECK, |s| s.deployments.items.clear());
        assert_eq!(judgement.verdict(), Verdict::Skipped);
    }
}
