//! GA307: agentk is connected to GitLab.

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::command::kubectl;
use crate::facts::agent::{Agent, Connection};
use crate::facts::host::host;
use crate::facts::{Facts, Why};
use crate::need::Need;
use crate::snapshot::gitlab::AgentConnection;

pub(super) static CHECK: Check = Check {
    code: 307,
    slug: "agent-not-connected",
    title: "agentk is connected to GitLab",
    severity: Severity::Error,
    impact: Impact::Pushes,
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
                judgement.findings.extend(disabled(facts, agent).or_else(|| unseen(facts, agent)));
            }
            Connection::Unknown(why) => {
                judgement.lacks(why);
                agent.log_gaps.iter().for_each(|why| judgement.lacks(why.clone()));
            }
            Connection::Disconnected(fault, cause) => {
                let off = is_disabled(facts, agent);
                let cause = if off { "kas is disabled in GitLab".to_owned() } else { cause };
                let (remedy, line) = match fault {
                    fault if off => (enable_kas(), fault.map(|(_, line)| line).unwrap_or_default()),
                    Some((rule, line)) => (Remedy::of_fault(agent, rule), line),
                    None => (look(agent), String::new()),
                };
                let message = format!("is not connected to GitLab: {cause}");
                let finding = Finding::new(agent.object(), message, remedy).because(line);
                judgement.find(finding.because(seen(facts, agent).unwrap_or_default()));
            }
        }
    }
    judgement.skip("no agentk is installed");
    Ok(())
}

/// What GitLab knows of the connections of the pods that live, with how many there are.
fn connections(facts: &Facts<'_>, agent: &Agent<'_>) -> Option<(usize, usize)> {
    let connections = facts.gitlab_agent(agent).ok()?.connections.get().ok()?;
    let living = agent.living().ok()?;
    let of = |c: &&AgentConnection| {
        living.iter().any(|p| p.metadata.name == c.pod_name && p.metadata.namespace == c.pod_namespace)
    };
    Some((connections.iter().filter(of).count(), living.len()))
}

/// Whether the GitLab that this agentk connects to says that it runs no kas.
fn is_disabled(facts: &Facts<'_>, agent: &Agent<'_>) -> bool {
    let Some((part, metadata)) = facts.gitlab().ok().and_then(|part| Some((part, part.metadata.get().ok()?))) else {
        return false;
    };
    let same = agent.kas_address().and_then(host).is_some_and(|kas| {
        let announced = metadata.kas_url.as_deref().and_then(host) == Some(kas);
        announced || host(&part.url).is_some_and(|gitlab| kas == gitlab || kas.strip_prefix("kas.") == Some(gitlab))
    });
    same && !metadata.kas_enabled
}

fn enable_kas() -> Remedy {
    Remedy::say(
        "enable kas on the GitLab server (Linux package: gitlab_kas['enable'] and gitlab_rails['gitlab_kas_enabled'] in \
         gitlab.rb, chart: global.kas.enabled), as GitLab's administrator does; agentk then connects by itself",
    )
}

/// GitLab and agentk contradict each other: a kas that GitLab does not know of serves agentk.
fn disabled(facts: &Facts<'_>, agent: &Agent<'_>) -> Option<Finding> {
    let message = "is connected to a kas, and GitLab says that kas is disabled: GitLab's pages and CI/CD jobs do not use it";
    let kas = agent.kas_address().map(|kas| format!("it connects to {kas}"));
    let finding = Finding::new(agent.object(), message, enable_kas()).severity(Severity::Warning);
    is_disabled(facts, agent).then(|| finding.because(kas.unwrap_or_default()))
}

/// The cluster shows no fault, and GitLab knows no connection of any pod that runs for longer than a minute.
fn unseen(facts: &Facts<'_>, agent: &Agent<'_>) -> Option<Finding> {
    let (seen, _) = connections(facts, agent)?;
    if seen > 0 || agent.just_started(facts.now).ok()?.is_some() {
        return None;
    }
    let message = "is not connected to this GitLab: it knows no connection of its pods, though the cluster shows no fault";
    let finding = Finding::new(agent.object(), message, look(agent));
    let kas = agent.kas_address().map(|kas| format!("it connects to {kas}"));
    Some(finding.because(kas.unwrap_or_default()))
}

/// GitLab's side as evidence. It lags: a connection that broke is listed for some minutes.
fn seen(facts: &Facts<'_>, agent: &Agent<'_>) -> Option<String> {
    let (seen, living) = connections(facts, agent)?;
    Some(match seen {
        0 => "GitLab knows no connection of its pods".to_owned(),
        _ => format!("GitLab still lists connections of {seen} of {living} pods, which it does for some minutes"),
    })
}

/// The log shows no fault: these are the ones that write no line.
fn look(agent: &Agent<'_>) -> Remedy {
    Remedy::say(
        "see that the agent's configuration project exists and has a commit, and that kas runs (GitLab: Operate > \
         Kubernetes clusters shows the agent); GA303 tells why pods do not run; then restart agentk",
    )
    .run(kubectl(agent.namespace(), "logs").object(&agent.object()).words("--tail=50"))
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
    fn a_kas_that_is_disabled_is_found_whether_agentk_is_connected_or_not() {
        let off = |s: &mut Snapshot| match &mut fixture::gitlab_mut(s).metadata {
            Observed::Known(metadata) => metadata.kas_enabled = false,
            Observed::Unknown(why) => panic!("{why:?}"),
        };
        let connected = finding(&CHECK, off);
        assert_eq!(connected.severity, Some(Severity::Warning));
        assert!(connected.message.starts_with("is connected to a kas, and GitLab says"), "{}", connected.message);
        let not = finding(&CHECK, |s| {
            off(s);
            logs(r#"{"time":"2026-11-02T09:59:50Z","level":"ERROR","msg":"x","error":"connection refused"}"#)(s);
            s.leases.items.clear();
        });
        assert_eq!(not.message, "is not connected to GitLab: kas is disabled in GitLab");
        assert!(not.remedy.text.starts_with("enable kas"), "{}", not.remedy.text);
        // Another GitLab than the one that agentk connects to says nothing of it.
        passes(&CHECK, |s| {
            off(s);
            let gitlab = fixture::gitlab_mut(s);
            gitlab.url = "https://other.example.com".to_owned();
            if let Observed::Known(metadata) = &mut gitlab.metadata {
                metadata.kas_url = Some("wss://kas.other.example.com".to_owned());
            }
        });
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
        assert!(found.remedy.lines()[0].contains("secret generic gitlab-agent-token -n gitlab"));
    }

    #[test]
    fn a_connection_that_gitlab_does_not_know_is_found() {
        let of_another = |s: &mut Snapshot| {
            let Observed::Known(list) = &mut fixture::gitlab_agent_mut(s).connections else { panic!("known") };
            list[0].pod_name = "a-pod-that-is-gone".to_owned();
        };
        let found = finding(&CHECK, of_another);
        assert!(found.message.contains("it knows no connection of its pods"), "{}", found.message);
        assert_eq!(found.evidence, ["it connects to wss://kas.example.com"]);
        let found = finding(&CHECK, |s| {
            of_another(s);
            s.leases.items.clear();
        });
        assert_eq!(found.evidence, ["GitLab knows no connection of its pods"]);
    }

    #[test]
    fn connections_that_gitlab_may_hide_prove_nothing() {
        let hidden = |s: &mut Snapshot| {
            let why = Why::new(crate::facts::WhyKind::Forbidden, "connections", "shown to Maintainers only");
            fixture::gitlab_agent_mut(s).connections = Observed::Unknown(why);
        };
        passes(&CHECK, hidden);
        let found = finding(&CHECK, |s| {
            hidden(s);
            s.leases.items.clear();
        });
        assert!(found.evidence.is_empty(), "{:?}", found.evidence);
    }

    #[test]
    fn without_gitlab_the_cluster_is_judged_alone() {
        passes(&CHECK, |s| {
            s.gitlab = Observed::Unknown(Why::new(crate::facts::WhyKind::NoGitLab, "GitLab", "none given"));
        });
        let found = finding(&CHECK, |s| s.leases.items.clear());
        assert_eq!(found.evidence, ["GitLab still lists connections of 1 of 2 pods, which it does for some minutes"]);
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
