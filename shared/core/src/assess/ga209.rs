//! GA209: NetworkPolicies let agentk reach the webhook receiver.

use super::remedy::{apply, yaml_word};
use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::agent::Agent;
use crate::facts::network::{Direction, End, Passage, Port, passage};
use crate::facts::{Facts, StringMap, Why, Workload};
use crate::need::Need;
use crate::object::ObjectRef;

pub(super) static CHECK: Check = Check {
    code: 209,
    slug: "webhooks-kept-out",
    title: "NetworkPolicies let agentk reach the webhook receiver",
    severity: Severity::Warning,
    impact: Impact::Pushes,
    needs: &[Need::Deployments, Need::NetworkPolicies, Need::Namespaces],
    page: include_str!("../../../../docs/checks/GA209.md"),
    judge,
};

/// Where notification-controller takes webhooks, unless its container names another port so.
const RECEIVER: Port<'static> = Port { number: 9292, name: "http-webhook" };

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    for why in facts.agent_gaps() {
        judgement.lacks(why.clone());
    }
    let Some(receiver) = facts.controller("notification-controller")? else {
        judgement.skip("notification-controller is not installed");
        return Ok(());
    };
    for agent in &facts.agents {
        for direction in [Direction::Ingress, Direction::Egress] {
            let Some(passage) = judgement.known(between(facts, agent, receiver, direction)) else { continue };
            judgement.examine();
            if let Passage::Closed(policies) = passage {
                judgement.findings.extend(closed(facts, agent, receiver, direction, &policies));
            }
        }
    }
    judgement.skip("no agentk is installed");
    Ok(())
}

fn port(receiver: &Workload) -> Port<'_> {
    let ports = receiver.spec.template.spec.containers.iter().flat_map(|c| &c.ports);
    let named = ports.into_iter().find(|p| p.name == RECEIVER.name);
    named.map_or(RECEIVER, |p| Port { number: p.container_port, name: &p.name })
}

fn between(
    facts: &Facts<'_>,
    agent: &Agent<'_>,
    receiver: &Workload,
    direction: Direction,
) -> Result<Passage, Why> {
    let s = facts.snapshot;
    let service = s.services.seen(&receiver.metadata.namespace, "webhook-receiver");
    let (client, server) = (End::of(s, agent.deployment), End::of(s, receiver).behind(service));
    passage(s, direction, &client, &server, port(receiver))
}

fn closed(
    facts: &Facts<'_>,
    agent: &Agent<'_>,
    receiver: &Workload,
    direction: Direction,
    policies: &[ObjectRef],
) -> Option<Finding> {
    let subject = policies.first()?.clone();
    let (from, to) = (agent.object(), receiver.metadata.object("Deployment"));
    let number = port(receiver).number;
    let side = match direction {
        Direction::Ingress => "into",
        Direction::Egress => "out of",
    };
    let message = format!(
        "keeps {from} from the webhook receiver: no policy lets its pods {side} namespace {} to {to}, port {number}; a \
         push is noticed only at the next interval",
        subject.namespace
    );
    let text = "apply this policy; where policies come from Git, put it there";
    let manifest = match direction {
        Direction::Ingress => ingress(agent, receiver, number),
        Direction::Egress => egress(agent, receiver, number),
    };
    let remedy = Remedy::in_git(facts, &subject, text).run(apply(manifest));
    let others = policies.iter().skip(1).map(ToString::to_string);
    Some(others.fold(Finding::new(subject, message, remedy), Finding::because))
}

/// The policy that `flux install` writes for this, narrowed to agentk's namespace and the port.
fn ingress(agent: &Agent<'_>, receiver: &Workload, port: i64) -> String {
    policy(
        &receiver.metadata.namespace,
        &receiver.spec.selector.match_labels,
        "allow-agentk-webhooks",
        &format!(
            "  policyTypes: [Ingress]\n  ingress:\n  - from:\n    - namespaceSelector:\n        matchLabels:\n          \
             kubernetes.io/metadata.name: {}\n    ports:\n    - port: {port}\n",
            yaml_word(agent.namespace())
        ),
    )
}

fn egress(agent: &Agent<'_>, receiver: &Workload, port: i64) -> String {
    policy(
        agent.namespace(),
        &agent.deployment.spec.selector.match_labels,
        "allow-flux-webhooks",
        &format!(
            "  policyTypes: [Egress]\n  egress:\n  - to:\n    - namespaceSelector:\n        matchLabels:\n          \
             kubernetes.io/metadata.name: {}\n    ports:\n    - port: {port}\n",
            yaml_word(&receiver.metadata.namespace)
        ),
    )
}

/// A policy that lets agentk out everywhere.
pub(super) fn all_egress(agent: &Agent<'_>) -> String {
    let labels = &agent.deployment.spec.selector.match_labels;
    policy(agent.namespace(), labels, "allow-agentk-egress", "  policyTypes: [Egress]\n  egress:\n  - {}\n")
}

fn policy(namespace: &str, labels: &StringMap, name: &str, rules: &str) -> String {
    let labels: String =
        labels.iter().map(|(key, value)| format!("      {}: {}\n", yaml_word(key), yaml_word(value))).collect();
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: {name}\n  namespace: {}\nspec:\n  \
         podSelector:\n    matchLabels:\n{labels}{rules}",
        yaml_word(namespace)
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::snapshot::Snapshot;

    fn without(name: &'static str) -> impl FnOnce(&mut Snapshot) {
        move |s| s.network_policies.items.retain(|p| p.metadata.name != name)
    }

    #[test]
    fn a_receiver_that_lets_nobody_in_is_found() {
        let found = finding(&CHECK, without("allow-webhooks"));
        assert_eq!(found.subject.to_string(), "NetworkPolicy flux-system/allow-egress");
        assert!(found.message.contains("into namespace flux-system"), "{}", found.message);
        let [command] = &found.remedy.lines()[..] else { panic!("{:?}", found.remedy) };
        assert!(command.contains("name: allow-agentk-webhooks\n  namespace: \"flux-system\"\n"), "{command}");
        assert!(command.contains("kubernetes.io/metadata.name: \"gitlab\"\n"), "{command}");
        assert!(command.contains("      \"app\": \"notification-controller\"\n"), "{command}");
    }

    #[test]
    fn an_agentk_that_may_not_go_out_is_found() {
        let found = finding(&CHECK, |s| {
            let policy = s.network_policies.items.iter_mut().find(|p| p.metadata.name == "egress").expect("a policy");
            policy.spec.egress.clear();
        });
        assert_eq!(found.subject.to_string(), "NetworkPolicy gitlab/egress");
        assert!(found.message.contains("out of namespace gitlab"), "{}", found.message);
        assert!(found.remedy.lines()[0].contains("kubernetes.io/metadata.name: \"flux-system\"\n"));
    }

    #[test]
    fn a_rule_for_another_port_does_not_help() {
        let found = finding(&CHECK, |s| {
            let policy = &mut s.network_policies.items[1];
            policy.spec.ingress[0].ports = serde_json::from_str(r#"[{"port": 8080}]"#).expect("ports");
        });
        assert!(found.message.contains("port 9292"), "{}", found.message);
        passes(&CHECK, |s| {
            let policy = &mut s.network_policies.items[1];
            policy.spec.ingress[0].ports = serde_json::from_str(r#"[{"port": "http-webhook"}]"#).expect("ports");
        });
    }

    #[test]
    fn no_policy_keeps_nobody_out_and_no_agent_is_skipped() {
        passes(&CHECK, |s| s.network_policies.items.clear());
        assert_eq!(after(&CHECK, |s| s.deployments.items.retain(|d| d.metadata.namespace == "flux-system")).verdict(), Verdict::Skipped);
    }
}
