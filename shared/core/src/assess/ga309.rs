//! GA309: one agent only manages Flux in this cluster.

use std::collections::BTreeSet;

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::command::Program;
use crate::facts::agent::Agent;
use crate::facts::host::host;
use crate::facts::{Facts, Why};
use crate::need::Need;

pub(super) static CHECK: Check = Check {
    code: 309,
    slug: "agents-fight-over-flux",
    title: "one agent only manages Flux in this cluster",
    severity: Severity::Warning,
    impact: Impact::Pushes,
    needs: &[Need::Deployments],
    page: include_str!("../../../../docs/checks/GA309.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    for why in facts.agent_gaps() {
        judgement.lacks(why.clone());
    }
    if let [_] = facts.agents[..] {
        judgement.examine();
        return Ok(());
    }
    let mut agents: Vec<&Agent<'_>> = facts.agents.iter().collect();
    agents.sort_by_key(|agent| agent.deployment.metadata.creation_timestamp);
    let mut managing: Vec<&Agent<'_>> = Vec::new();
    for agent in agents {
        let Some(manages) = judgement.known(manages_flux(facts, agent)) else { continue };
        judgement.examine();
        if !manages {
            continue;
        }
        if let Some(first) = managing.iter().find(|first| of_one_gitlab(first, agent)) {
            judgement.find(fight(facts, first, agent));
        }
        managing.push(agent);
    }
    judgement.skip("no agentk is installed");
    Ok(())
}

/// Whether an agent's Flux module works: its leader says so, or Receivers carry its number.
fn manages_flux(facts: &Facts<'_>, agent: &Agent<'_>) -> Result<bool, Why> {
    let id = agent.id.map(|id| id.to_string());
    if id.is_some_and(|id| receivers_of(facts).contains(id.as_str())) {
        return Ok(true);
    }
    let lines = agent.lines.as_ref().map_err(Clone::clone)?;
    let said = |text: &str| {
        lines.iter().filter(|(_, l)| l.message == text).filter_map(|(_, l)| l.at).max()
    };
    Ok(said("Starting GitRepository controller") > said("Stopped GitRepository controller"))
}

/// The numbers of the agents that Receivers name.
fn receivers_of<'s>(facts: &Facts<'s>) -> BTreeSet<&'s str> {
    let receivers = facts.snapshot.receivers.items.iter();
    receivers.filter_map(|r| r.metadata.annotation("agent.gitlab.com/id")).collect()
}

/// Agents of different GitLab instances make Receivers for different GitRepositories.
fn of_one_gitlab(a: &Agent<'_>, b: &Agent<'_>) -> bool {
    let kas = |agent: &Agent<'_>| agent.kas_address().and_then(host).map(str::to_owned);
    match (kas(a), kas(b)) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    }
}

fn fight(facts: &Facts<'_>, first: &Agent<'_>, other: &Agent<'_>) -> Finding {
    let message = format!(
        "manages Flux as {} does: they overwrite each other's Receivers, and each push arrives twice or not at all",
        first.object()
    );
    let text = if first.id.is_some() && first.id == other.id {
        "uninstall one of them: both run with the token of one agent"
    } else {
        "let one agent manage Flux: write `flux: {enabled: false}` into the other's `.gitlab/agents/<name>/config.yaml`, \
         or uninstall it where nothing else needs it"
    };
    let columns = r"custom-columns=NAMESPACE:.metadata.namespace,NAME:.metadata.name,AGENT:.metadata.annotations.agent\.gitlab\.com/id,GENERATION:.metadata.generation";
    let remedy = Remedy::say(text)
        .run(Program::new("kubectl get receivers.notification.toolkit.fluxcd.io -A -o").word(columns));
    let ids: Vec<&str> = receivers_of(facts).into_iter().collect();
    let writes = facts.snapshot.receivers.items.iter().map(|r| r.metadata.generation).max().unwrap_or_default();
    let evidence = format!(
        "Receivers name {} and were changed up to {writes} times",
        match ids[..] {
            [] => "no agent".to_owned(),
            [id] => format!("agent {id}"),
            _ => format!("agents {}", ids.join(" and ")),
        }
    );
    Finding::new(other.object(), message, remedy).because(evidence)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::{Observed, PodLog, WhyKind};
    use crate::fixture;
    use crate::snapshot::Snapshot;

    /// A second installation, which is agent `id` and logs these lines.
    fn second(id: u64, lines: &'static [&'static str]) -> impl FnOnce(&mut Snapshot) {
        move |s| {
            let mut deployment = fixture::deployment_mut(s, "gitlab-agent-v2").clone();
            let (mut pod, mut lease) = (s.pods.items[0].clone(), s.leases.items[0].clone());
            deployment.metadata.namespace = "second".to_owned();
            deployment.metadata.creation_timestamp = fixture::NOW.parse().ok();
            pod.metadata.namespace = "second".to_owned();
            lease.metadata.namespace = "second".to_owned();
            lease.metadata.name = format!("agent-{id}-lock");
            let line = |(n, text): (usize, &&str)| {
                format!(r#"{{"time":"2026-11-02T09:00:0{n}Z","level":"INFO","msg":"{text}","mod_name":"flux"}}"#)
            };
            let lines = lines.iter().enumerate().map(line).collect();
            s.logs.push(PodLog {
                namespace: "second".to_owned(),
                pod: pod.metadata.name.clone(),
                container: String::new(),
                lines: Observed::Known(lines),
            });
            s.deployments.items.push(deployment);
            s.pods.items.push(pod);
            s.leases.items.push(lease);
        }
    }

    const STARTS: &str = "Starting GitRepository controller";
    const STOPS: &str = "Stopped GitRepository controller";

    #[test]
    fn two_agents_that_manage_flux_are_found() {
        let found = finding(&CHECK, second(8, &[STARTS]));
        assert_eq!(found.subject.to_string(), "Deployment second/gitlab-agent-v2");
        assert!(found.message.starts_with("manages Flux as Deployment gitlab/gitlab-agent-v2 does"), "{}", found.message);
        assert_eq!(found.evidence, ["Receivers name agent 7 and were changed up to 1 times"]);
        let twin = finding(&CHECK, second(7, &[STARTS]));
        assert!(twin.remedy.text.starts_with("uninstall one"), "{}", twin.remedy.text);
    }

    #[test]
    fn a_second_agent_without_flux_or_of_another_gitlab_is_none() {
        passes(&CHECK, second(8, &[]));
        passes(&CHECK, second(8, &[STARTS, STOPS]));
        passes(&CHECK, |s| {
            second(8, &[STARTS])(s);
            let other = s.deployments.items.last_mut().expect("the second");
            other.spec.template.spec.containers[0].args[1] = "--kas-address=wss://kas.gitlab.com".to_owned();
        });
    }

    #[test]
    fn a_log_that_was_not_read_is_unknown() {
        let judgement = after(&CHECK, |s| {
            second(8, &[STARTS])(s);
            s.logs[2].lines = Observed::Unknown(Why::new(WhyKind::Forbidden, "log", "no"));
        });
        assert_eq!(judgement.verdict(), Verdict::Unknown);
    }
}
