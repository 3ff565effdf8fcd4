//! NetworkPolicies that keep Flux's controllers and agentk from what lies outside: the cluster's DNS, and hosts by their
//! port. Only what shows such a failure is looked at: a policy that the network plug-in does not enforce harms nobody.

use core::net::IpAddr;
use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::super::agent::Agent;
use super::super::failure::{Failing, Failure, FailureKey, Peer, read};
use super::super::flux::Instances;
use super::super::readiness::{Readiness, readiness};
use super::{Direction, acts, address, by_blame, matches, rules, selects_namespace};
use crate::object::ObjectRef;
use crate::snapshot::Snapshot;
use crate::snapshot::kinds::{
    Event, Meta, NetworkPeer, NetworkPolicy, NetworkPort, NetworkRule, PortRef, Source, Workload,
};

/// Something outside, as an egress rule sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outside {
    /// The cluster's DNS.
    Dns,
    /// A host.
    Host {
        /// Its TCP port.
        port: i64,
        /// Whether it may be a Service of this cluster.
        may_be_service: bool,
        /// The address that was dialed, where the failure names it.
        address: Option<IpAddr>,
    },
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns => f.write_str("the cluster's DNS (port 53)"),
            Self::Host { port, .. } => write!(f, "hosts outside the cluster (port {port})"),
        }
    }
}

/// A failure that policies explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// What fails.
    pub object: ObjectRef,
    /// The Deployment whose pods do not get out.
    pub from: ObjectRef,
    /// What they do not reach.
    pub to: Outside,
    /// The policies that select the pods, the one to blame first.
    pub policies: Vec<ObjectRef>,
    /// What the failure says.
    pub said: String,
}

/// How old a failed notification may be to count: nothing tells when it healed.
const FRESH: SignedDuration = SignedDuration::from_mins(10);

/// What fails to reach the outside.
#[derive(Debug, Default)]
pub(in crate::facts) struct Outward {
    /// By policies.
    pub(in crate::facts) blocked: Vec<Blocked>,
    /// Alerts whose failures are too old to show that a policy still blocks: only a consequence where it does.
    pub(in crate::facts) blocked_before: Vec<(ObjectRef, ObjectRef)>,
    /// Because the resolver does not answer, whatever the reason.
    pub(in crate::facts) unresolved: Vec<ObjectRef>,
}

/// Finds it.
pub(in crate::facts) fn outward(s: &Snapshot, agents: &[Agent<'_>], flux: &Instances<'_>) -> Outward {
    let mut found = Outward::default();
    let mut note = |object: ObjectRef, from: &Workload, said: &str, url: &str, worked: Option<Timestamp>| {
        let Some(to) = outside(said, url) else { return };
        if let Some(policies) = shut(s, from, to, worked) {
            let from = from.metadata.object("Deployment");
            found.blocked.push(Blocked { object, from, to, policies, said: said.to_owned() });
        } else if to == Outside::Dns {
            found.unresolved.push(object);
        }
    };
    for (kind, source) in sources(s) {
        let (status, meta) = (&source.status, &source.metadata);
        let state =
            readiness(&status.conditions, meta.generation, status.observed_generation, source.spec.suspend);
        if let (Readiness::Failed(condition), Some(worker)) =
            (state, flux.in_charge("source-controller", meta))
        {
            let fetched = status.artifact.as_ref().and_then(|artifact| artifact.last_update_time);
            note(meta.object(kind), worker, &condition.message, &source.spec.url, fetched);
        }
    }
    let is_fresh = |event: &&Event| event.last().is_none_or(|at| s.taken_at.duration_since(at) < FRESH);
    let (fresh, older): (Vec<&Event>, Vec<&Event>) = s.dispatch_failures.items.iter().partition(is_fresh);
    let worker = |event: &Event| {
        let alert = Meta { namespace: event.about().namespace, ..Meta::default() };
        flux.in_charge("notification-controller", &alert)
            .or(flux.of("notification-controller").first().copied())
    };
    for event in fresh {
        if let Some(worker) = worker(event) {
            note(event.about(), worker, &event.message, "", None);
        }
    }
    for agent in agents {
        let faults = agent.present_faults(s.taken_at).unwrap_or_default();
        if let Some((_, line)) = faults.iter().find(|(rule, _)| rule.is_of_connection()) {
            note(
                agent.object(),
                agent.deployment,
                &line.text(),
                agent.kas_address().unwrap_or_default(),
                None,
            );
        }
    }
    for event in older {
        let policy = worker(event).and_then(|worker| blocked_then(s, worker, event));
        found.blocked_before.extend(policy.map(|policy| (event.about(), policy)));
    }
    found
}

/// The policy that blocked a notification when it failed.
fn blocked_then(s: &Snapshot, worker: &Workload, event: &Event) -> Option<ObjectRef> {
    let policy = shut(s, worker, outside(&event.message, "")?, None)?.into_iter().next()?;
    let found = s.network_policies.seen(&policy.namespace, &policy.name)?;
    (written(&found.metadata) <= event.last()).then_some(policy)
}

fn sources(s: &Snapshot) -> impl Iterator<Item = (&'static str, &Source)> {
    let kinds = [
        ("GitRepository", &s.git_repositories),
        ("OCIRepository", &s.oci_repositories),
        ("Bucket", &s.buckets),
        ("HelmRepository", &s.helm_repositories),
    ];
    kinds.into_iter().flat_map(|(kind, listing)| listing.items.iter().map(move |item| (kind, item)))
}

/// What could not be reached, where the failure is one that a policy makes: no answer of the resolver, no connection.
fn outside(said: &str, url: &str) -> Option<Outside> {
    use Failure::{DialTimeout, NoRoute, ProxyDown, Refused, Timeout};
    if says_unresolved(said) {
        return Some(Outside::Dns);
    }
    let class = read(said);
    if !matches!(class, DialTimeout | Timeout | NoRoute | Refused | ProxyDown) {
        return None;
    }
    let peer = FailureKey::of(class, said, &Failing { url, ..Failing::default() })?.peer;
    let (Peer::Host(address) | Peer::Proxy(address)) = peer else { return None };
    let (host, port) = address.rsplit_once(':')?;
    let may_be_service = !host.contains('.') || host.contains(".svc");
    Some(Outside::Host { port: port.parse().ok()?, may_be_service, address: dialed(said) })
}

/// The address behind `dial tcp`.
fn dialed(said: &str) -> Option<IpAddr> {
    let (_, rest) = said.rsplit_once("dial tcp ")?;
    let (address, _) = rest.split([' ', ',']).next()?.trim_end_matches(':').rsplit_once(':')?;
    address.trim_matches(['[', ']']).parse().ok()
}

/// Whether a text says that the resolver fails, or does not answer.
pub(in crate::facts) fn says_unresolved(said: &str) -> bool {
    let class = read(said);
    class == Failure::Resolver || (class.is_time() && said.contains("lookup "))
}

/// The policies that select a workload's pods, where no rule of them can let anything out to this. What went out since they
/// were written shows that they are not enforced.
fn shut(s: &Snapshot, from: &Workload, to: Outside, worked: Option<Timestamp>) -> Option<Vec<ObjectRef>> {
    // Most network plugins enforce no policy for the host network.
    if from.spec.template.spec.host_network {
        return None;
    }
    let namespace = from.metadata.namespace.as_str();
    let labels = &from.spec.template.metadata.labels;
    let own = s.network_policies.items.iter().filter(|p| p.metadata.namespace == namespace);
    let own = own.filter(|p| acts(p, Direction::Egress) && matches(&p.spec.pod_selector, labels));
    let mut selecting: Vec<&NetworkPolicy> = own.collect();
    let lets = |rule: &NetworkRule| fits(s, rule, namespace, to);
    if selecting.is_empty() || selecting.iter().flat_map(|p| rules(p, Direction::Egress)).any(lets) {
        return None;
    }
    let written = selecting.iter().filter_map(|p| written(&p.metadata)).max();
    if worked.zip(written).is_some_and(|(worked, written)| worked > written) {
        return None;
    }
    by_blame(&mut selecting, Direction::Egress);
    Some(selecting.into_iter().map(|p| p.metadata.object("NetworkPolicy")).collect())
}

/// When an object was last written.
fn written(meta: &Meta) -> Option<Timestamp> {
    meta.managed_fields.iter().filter_map(|fields| fields.time).chain(meta.creation_timestamp).max()
}

/// Whether a rule can let it out: what only addresses would tell counts as yes.
fn fits(s: &Snapshot, rule: &NetworkRule, namespace: &str, to: Outside) -> bool {
    let through = rule.ports.is_empty() || rule.ports.iter().any(|port| covers(port, to));
    through && (rule.to.is_empty() || rule.to.iter().any(|peer| may_be(s, peer, namespace, to)))
}

fn covers(port: &NetworkPort, to: Outside) -> bool {
    let (number, udp) = match to {
        Outside::Dns => (53, true),
        Outside::Host { port, .. } => (port, false),
    };
    let protocol = matches!(port.protocol.as_str(), "" | "TCP") || (udp && port.protocol == "UDP");
    protocol
        && match (&port.port, port.end_port) {
            (None, _) | (Some(PortRef::Name(_)), _) => true,
            (Some(PortRef::Number(from)), Some(to)) => (*from..=to).contains(&number),
            (Some(PortRef::Number(only)), None) => *only == number,
        }
}

/// Namespaces of the cluster's DNS: Kubernetes', and OpenShift's.
const DNS: &[&str] = &["kube-system", "openshift-dns"];

fn may_be(s: &Snapshot, peer: &NetworkPeer, own: &str, to: Outside) -> bool {
    if let Some(block) = &peer.ip_block {
        return match to {
            // A Service's address is not that of its pods.
            Outside::Host { address: Some(address), may_be_service: false, .. } => {
                address::allows(block, address).unwrap_or(true)
            }
            _ => true,
        };
    }
    match (&peer.namespace_selector, to) {
        (None, Outside::Dns) => DNS.contains(&own),
        (None, Outside::Host { may_be_service, .. }) => may_be_service,
        (Some(_), Outside::Host { .. }) => true,
        (Some(selector), Outside::Dns) => {
            DNS.iter().any(|dns| selects_namespace(selector, dns, &s.namespace_objects).unwrap_or(true))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::facts::Facts;
    use crate::fixture;
    use crate::snapshot::Observed;

    const LOOKUP: &str = "unable to list remote for 'https://gitlab.example.com/a.git': Get \"https://gitlab.example.com/a.git\": dial tcp: lookup gitlab.example.com on 10.96.0.10:53: read udp 10.1.2.3:4321->10.96.0.10:53: i/o timeout";
    const DIAL: &str =
        "unable to clone 'https://gitlab.example.com/a.git': dial tcp 203.0.113.7:443: i/o timeout";
    const DIAL_V6: &str =
        "unable to clone 'https://gitlab.example.com/a.git': dial tcp [2001:db8::7]:443: i/o timeout";

    /// What keeps a source that fails so from the outside, with one policy of these egress rules.
    fn found(said: &str, egress: Value) -> Option<String> {
        let mut s = fixture::healthy();
        fixture::git_mut(&mut s, "flux-system").status.conditions =
            fixture::fetch_failed("GitOperationFailed", said);
        let policy = json!({"metadata": {"name": "deny", "namespace": "flux-system"},
            "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": egress}});
        s.network_policies.items = vec![serde_json::from_value(policy).expect("a policy")];
        let facts = Facts::derive(&s);
        facts.blocked.first().map(|b| format!("{} {}", b.policies[0], b.to))
    }

    #[test]
    fn a_policy_explains_a_failure_where_no_rule_can_let_it_out() {
        let label =
            |name: &str| json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}});
        let dns = || json!({"to": [label("kube-system")], "ports": [{"port": 53, "protocol": "UDP"}]});
        for (said, egress, shut) in [
            (LOOKUP, json!([]), true),
            (LOOKUP, json!([{}]), false),
            (LOOKUP, json!([dns()]), false),
            (LOOKUP, json!([{"ports": [{"port": 443}]}]), true),
            (LOOKUP, json!([{"ports": [{"port": 53, "protocol": "UDP"}]}]), false),
            (LOOKUP, json!([{"ports": [{"port": "dns", "protocol": "UDP"}]}]), false),
            (LOOKUP, json!([{"to": [{"podSelector": {}}]}]), true),
            (LOOKUP, json!([{"to": [label("gitlab")]}]), true),
            (LOOKUP, json!([{"to": [{"namespaceSelector": {}}]}]), false),
            (LOOKUP, json!([{"to": [{"ipBlock": {"cidr": "10.96.0.10/32"}}]}]), false),
            (LOOKUP, json!([{"ports": [{"port": 1, "endPort": 100, "protocol": "UDP"}]}]), false),
            (DIAL, json!([]), true),
            (DIAL, json!([dns()]), true),
            (DIAL, json!([dns(), {"to": [{"podSelector": {}}]}]), true),
            (DIAL, json!([{"ports": [{"port": 443}]}]), false),
            (DIAL, json!([{"ports": [{"port": 80}, {"port": 22}]}]), true),
            (DIAL, json!([{"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]}]), false),
            (DIAL, json!([{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]), true),
            (DIAL, json!([{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["203.0.113.0/24"]}}]}]), true),
            (DIAL, json!([{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}]}]), false),
            (DIAL, json!([{"to": [{"ipBlock": {"cidr": "::/0"}}]}]), true),
            (DIAL, json!([{"to": [{"ipBlock": {"cidr": "malformed"}}]}]), false),
            (DIAL_V6, json!([{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]), true),
            (DIAL_V6, json!([{"to": [{"ipBlock": {"cidr": "2001:db8::/32"}}]}]), false),
            (
                "Get \"http://gitlab.gitlab.svc:8080/x\": dial tcp 10.0.0.1:8080: i/o timeout",
                json!([{"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]}]),
                false,
            ),
            (DIAL, json!([{"to": [{"namespaceSelector": {}}]}]), false),
            ("authentication required", json!([]), false),
            ("dial tcp: lookup gitlab.example.com: no such host", json!([]), false),
            ("x509: certificate signed by unknown authority", json!([]), false),
            (
                "Get \"http://gitlab.gitlab.svc:8080/x\": dial tcp 10.0.0.1:8080: i/o timeout",
                json!([{"to": [{"podSelector": {}}]}]),
                false,
            ),
        ] {
            let found = found(said, egress.clone());
            assert_eq!(found.is_some(), shut, "{said} {egress}: {found:?}");
        }
    }

    #[test]
    fn a_policy_of_other_pods_or_of_ingress_explains_nothing() {
        for spec in [
            json!({"podSelector": {"matchLabels": {"app": "other"}}, "policyTypes": ["Egress"]}),
            json!({"podSelector": {}, "policyTypes": ["Ingress"]}),
            json!({"podSelector": {}}),
        ] {
            let mut s = fixture::healthy();
            fixture::git_mut(&mut s, "flux-system").status.conditions =
                fixture::fetch_failed("GitOperationFailed", LOOKUP);
            let policy = json!({"metadata": {"name": "p", "namespace": "flux-system"}, "spec": spec});
            s.network_policies.items = vec![serde_json::from_value(policy).expect("a policy")];
            assert!(Facts::derive(&s).blocked.is_empty(), "{spec}");
        }
    }

    #[test]
    fn pods_of_the_host_network_are_not_blamed_on_a_policy() {
        let mut s = fixture::healthy();
        fixture::git_mut(&mut s, "flux-system").status.conditions =
            fixture::fetch_failed("GitOperationFailed", DIAL);
        let policy = json!({"metadata": {"name": "deny", "namespace": "flux-system"},
            "spec": {"podSelector": {}, "policyTypes": ["Egress"]}});
        s.network_policies.items = vec![serde_json::from_value(policy).expect("a policy")];
        assert!(!Facts::derive(&s).blocked.is_empty());
        fixture::deployment_mut(&mut s, "source-controller").spec.template.spec.host_network = true;
        assert!(Facts::derive(&s).blocked.is_empty());
    }

    /// The fixture's artifact is of 2026-11-01.
    #[test]
    fn a_policy_that_let_a_fetch_pass_explains_nothing() {
        for (written, explains) in [("2026-10-01T00:00:00Z", false), ("2026-11-02T08:00:00Z", true)] {
            let mut s = fixture::healthy();
            fixture::git_mut(&mut s, "flux-system").status.conditions =
                fixture::fetch_failed("GitOperationFailed", DIAL);
            let policy = json!({"metadata": {"name": "deny", "namespace": "flux-system", "creationTimestamp": written},
                "spec": {"podSelector": {}, "policyTypes": ["Egress"]}});
            s.network_policies.items = vec![serde_json::from_value(policy).expect("a policy")];
            assert_eq!(!Facts::derive(&s).blocked.is_empty(), explains, "{written}");
        }
    }

    #[test]
    fn agentk_and_notifications_are_looked_at_too() {
        let mut s = fixture::healthy();
        let deny = |namespace: &str| {
            let policy = json!({"metadata": {"name": "deny", "namespace": namespace}, "spec": {"podSelector": {}, "policyTypes": ["Egress"]}});
            serde_json::from_value(policy).expect("a policy")
        };
        s.network_policies.items = vec![deny("flux-system"), deny("gitlab")];
        let line = json!({"time": "2026-11-02T09:59:40Z", "level": "ERROR", "msg": "Failed to register agent pod",
            "error": "dial tcp: lookup kas.example.com on 10.96.0.10:53: read udp 10.1.2.3:1->10.96.0.10:53: i/o timeout"});
        s.logs.iter_mut().for_each(|log| log.lines = Observed::Known(vec![line.to_string()]));
        s.leases.items.clear();
        let event = json!({"metadata": {"name": "a.1", "namespace": "flux-system"}, "reason": "NotificationDispatchFailed",
            "lastTimestamp": "2026-11-02T09:58:00Z", "message": "POST https://gitlab.example.com/api/v4/x: dial tcp 203.0.113.7:443: i/o timeout",
            "involvedObject": {"kind": "Alert", "name": "gitlab-status-flux-system", "namespace": "flux-system"}});
        s.dispatch_failures.items.push(serde_json::from_value(event).expect("an Event"));
        let facts = Facts::derive(&s);
        let found: Vec<String> =
            facts.blocked.iter().map(|b| format!("{}: {}", b.object, b.policies[0])).collect();
        assert_eq!(
            found,
            [
                "Alert flux-system/gitlab-status-flux-system: NetworkPolicy flux-system/deny",
                "Deployment gitlab/gitlab-agent-v2: NetworkPolicy gitlab/deny"
            ]
        );
    }
}
