//! Whether NetworkPolicies let one pod reach another, as Kubernetes documents them: a pod that no policy selects is
//! open; one that is selected takes what any rule of any such policy allows, and nothing else.

mod egress;

use std::cmp::Reverse;

use crate::object::ObjectRef;
use crate::snapshot::kinds::{
    IpBlock, LabelRequirement, LabelSelector, Namespace, NetworkPeer, NetworkPolicy, NetworkRule, PortRef,
    StringMap,
};
use crate::snapshot::{Listing, Why, WhyKind};
pub use egress::{Blocked, Outside};
pub(super) use egress::{outward, says_unresolved};

/// One end of a connection: pods of one workload.
#[derive(Clone, Copy)]
pub struct End<'a> {
    /// Namespace.
    pub namespace: &'a str,
    /// Labels of the pods.
    pub labels: &'a StringMap,
}

/// The TCP port at which the other end listens, with its name.
#[derive(Clone, Copy)]
pub struct Port<'a> {
    /// Number.
    pub number: i64,
    /// Name among the container's ports.
    pub name: &'a str,
}

/// The two directions in which a policy can act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What may come in.
    Ingress,
    /// What may go out.
    Egress,
}

/// Whether policies let a connection pass.
#[derive(Debug, PartialEq, Eq)]
pub enum Passage {
    /// They do, or there are none.
    Open,
    /// They do not: these select the pod, and no rule of them fits. The one to blame is first.
    Closed(Vec<ObjectRef>),
}

/// What is known of one rule, in rising order of strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    No,
    /// Only the addresses of pods would tell.
    Perhaps,
    Yes,
}

/// Judges one direction at the pod `here`, whose namespace's policies these are.
///
/// # Errors
/// Labels of a namespace, or addresses of pods, decide and are not known.
pub fn passage(
    policies: &[&NetworkPolicy],
    namespaces: &Listing<Namespace>,
    direction: Direction,
    here: End<'_>,
    there: End<'_>,
    port: Port<'_>,
) -> Result<Passage, Why> {
    let about = |p: &&&NetworkPolicy| acts(p, direction) && matches(&p.spec.pod_selector, here.labels);
    let mut selecting: Vec<&NetworkPolicy> = policies.iter().filter(about).copied().collect();
    if selecting.is_empty() {
        return Ok(Passage::Open);
    }
    let mut best = Fit::No;
    let mut lacking = None;
    for rule in selecting.iter().flat_map(|p| rules(p, direction)).filter(|rule| through(rule, port)) {
        match fit(rule, direction, namespaces, here, there) {
            Ok(found) => best = best.max(found),
            Err(why) => lacking = Some(why),
        }
    }
    match (best, lacking) {
        (Fit::Yes, _) => Ok(Passage::Open),
        (_, Some(why)) => Err(why),
        (Fit::Perhaps, None) => {
            let asked = format!("NetworkPolicies of namespace {}", here.namespace);
            Err(Why::new(
                WhyKind::NotAsked,
                asked,
                "they allow ranges of addresses; addresses of pods are not read",
            ))
        }
        (Fit::No, None) => {
            by_blame(&mut selecting, direction);
            Ok(Passage::Closed(selecting.into_iter().map(|p| p.metadata.object("NetworkPolicy")).collect()))
        }
    }
}

/// Puts the policy to blame first. Policies only add up, so each is innocent by itself; one that allows nothing was made to
/// deny, Flux's own come with rules for each other, and what came last was not there while all was well.
fn by_blame(policies: &mut [&NetworkPolicy], direction: Direction) {
    let of_flux = |p: &NetworkPolicy| p.metadata.label("app.kubernetes.io/part-of") == Some("flux");
    policies.sort_by_key(|p| {
        (!rules(p, direction).is_empty(), of_flux(p), Reverse(p.metadata.creation_timestamp))
    });
}

fn acts(policy: &NetworkPolicy, direction: Direction) -> bool {
    let spec = &policy.spec;
    match direction {
        Direction::Ingress => {
            spec.policy_types.is_empty() || spec.policy_types.iter().any(|t| t == "Ingress")
        }
        Direction::Egress if spec.policy_types.is_empty() => !spec.egress.is_empty(),
        Direction::Egress => spec.policy_types.iter().any(|t| t == "Egress"),
    }
}

fn rules(policy: &NetworkPolicy, direction: Direction) -> &[NetworkRule] {
    match direction {
        Direction::Ingress => &policy.spec.ingress,
        Direction::Egress => &policy.spec.egress,
    }
}

/// Whether a rule is about this port.
fn through(rule: &NetworkRule, port: Port<'_>) -> bool {
    let one = |p: &crate::snapshot::kinds::NetworkPort| {
        let tcp = p.protocol.is_empty() || p.protocol == "TCP";
        tcp && match (&p.port, p.end_port) {
            (None, _) => true,
            (Some(PortRef::Number(from)), Some(to)) => (*from..=to).contains(&port.number),
            (Some(PortRef::Number(number)), None) => *number == port.number,
            (Some(PortRef::Name(name)), _) => name == port.name,
        }
    };
    rule.ports.is_empty() || rule.ports.iter().any(one)
}

fn fit(
    rule: &NetworkRule,
    direction: Direction,
    namespaces: &Listing<Namespace>,
    here: End<'_>,
    there: End<'_>,
) -> Result<Fit, Why> {
    let peers = if direction == Direction::Ingress { &rule.from } else { &rule.to };
    if peers.is_empty() {
        return Ok(Fit::Yes);
    }
    let mut best = Ok(Fit::No);
    for peer in peers {
        best = match (best, of_peer(peer, namespaces, here, there)) {
            (Ok(Fit::Yes), _) | (_, Ok(Fit::Yes)) => Ok(Fit::Yes),
            (Err(why), _) | (_, Err(why)) => Err(why),
            (Ok(a), Ok(b)) => Ok(a.max(b)),
        };
    }
    best
}

fn of_peer(
    peer: &NetworkPeer,
    namespaces: &Listing<Namespace>,
    here: End<'_>,
    there: End<'_>,
) -> Result<Fit, Why> {
    if let Some(block) = &peer.ip_block {
        return Ok(if is_everything(block) { Fit::Yes } else { Fit::Perhaps });
    }
    if !peer.pod_selector.as_ref().is_none_or(|selector| matches(selector, there.labels)) {
        return Ok(Fit::No);
    }
    let in_namespace = match &peer.namespace_selector {
        None => here.namespace == there.namespace,
        Some(selector) => selects_namespace(selector, there.namespace, namespaces)?,
    };
    Ok(if in_namespace { Fit::Yes } else { Fit::No })
}

fn is_everything(block: &IpBlock) -> bool {
    block.except.is_empty() && matches!(block.cidr.as_str(), "0.0.0.0/0" | "::/0")
}

/// The label that every namespace has, with its name as value.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

fn selects_namespace(
    selector: &LabelSelector,
    name: &str,
    namespaces: &Listing<Namespace>,
) -> Result<bool, Why> {
    let keys = selector.match_labels.keys().chain(selector.match_expressions.iter().map(|e| &e.key));
    let mut labels = StringMap::from([(NAME_LABEL.to_owned(), name.to_owned())]);
    if keys.into_iter().any(|key| key != NAME_LABEL) {
        let found = namespaces.find("", name)?;
        labels.extend(found.into_iter().flat_map(|n| n.metadata.labels.clone()));
    }
    Ok(matches(selector, &labels))
}

/// Whether a label selector fits; an empty one fits all.
pub fn matches(selector: &LabelSelector, labels: &StringMap) -> bool {
    let expression = |e: &LabelRequirement| {
        let value = labels.get(&e.key);
        match e.operator.as_str() {
            "In" => value.is_some_and(|v| e.values.contains(v)),
            "NotIn" => value.is_none_or(|v| !e.values.contains(v)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    };
    selector.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
        && selector.match_expressions.iter().all(expression)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn judged(direction: Direction, specs: &[Value], namespaces: &[Value]) -> Result<Passage, Why> {
        let map = |value: Value| serde_json::from_value::<StringMap>(value).expect("labels");
        let (agent, flux) = (map(json!({"app": "agentk"})), map(json!({"app": "notification-controller"})));
        let ends =
            [End { namespace: "gitlab", labels: &agent }, End { namespace: "flux-system", labels: &flux }];
        let (here, there) =
            if direction == Direction::Egress { (ends[0], ends[1]) } else { (ends[1], ends[0]) };
        let policy = |spec: &Value| {
            serde_json::from_value::<NetworkPolicy>(
                json!({"metadata": {"name": "p", "namespace": here.namespace}, "spec": spec}),
            )
            .expect("a policy")
        };
        let policies: Vec<NetworkPolicy> = specs.iter().map(policy).collect();
        let policies: Vec<&NetworkPolicy> = policies.iter().collect();
        let namespaces = serde_json::from_value(json!({ "items": namespaces })).expect("namespaces");
        passage(&policies, &namespaces, direction, here, there, Port { number: 9292, name: "http-webhook" })
    }

    /// Whether a connection passes policies with these ingress rules.
    fn open(ingress: Value) -> bool {
        let labelled = json!({"metadata": {"name": "gitlab", "labels": {"team": "a"}}});
        let spec = json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": ingress});
        judged(Direction::Ingress, &[spec], &[labelled]).expect("known") == Passage::Open
    }

    #[test]
    fn rules_are_read_as_kubernetes_documents_them() {
        for (rules, expected) in [
            (json!([]), false),
            (json!([{}]), true),
            (json!([{"from": [{"podSelector": {}}]}]), false),
            (json!([{"from": [{"namespaceSelector": {}}]}]), true),
            (json!([{"from": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}]}]), true),
            (json!([{"from": [{"namespaceSelector": {"matchLabels": {"team": "b"}}}]}]), false),
            (json!([{"from": [{"namespaceSelector": {"matchLabels": {NAME_LABEL: "gitlab"}}}]}]), true),
            (
                json!([{"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "agentk"}}}]}]),
                true,
            ),
            (
                json!([{"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "x"}}}]}]),
                false,
            ),
            (json!([{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]), true),
            (json!([{"ports": [{"port": 8080}]}]), false),
            (json!([{"ports": [{"port": 9292}]}]), true),
            (json!([{"ports": [{"port": "http-webhook", "protocol": "TCP"}]}]), true),
            (json!([{"ports": [{"port": 9000, "endPort": 9300}]}]), true),
            (json!([{"ports": [{"port": 9292, "protocol": "UDP"}]}]), false),
            (
                json!([{"ports": [{"port": 8080}]}, {"from": [{"namespaceSelector": {}}], "ports": [{"port": 9292}]}]),
                true,
            ),
        ] {
            assert_eq!(open(rules.clone()), expected, "{rules}");
        }
    }

    #[test]
    fn policies_add_up_and_only_those_that_select_the_pod_count() {
        let other = json!({"podSelector": {"matchLabels": {"app": "x"}}, "policyTypes": ["Ingress"]});
        assert_eq!(judged(Direction::Ingress, &[other], &[]).expect("known"), Passage::Open);
        let deny = json!({"podSelector": {}, "policyTypes": ["Ingress"]});
        let allow = json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}, "ingress": [{}]});
        let closed = judged(Direction::Ingress, std::slice::from_ref(&deny), &[]).expect("known");
        assert_eq!(closed, Passage::Closed(vec![ObjectRef::new("NetworkPolicy", "flux-system", "p")]));
        assert_eq!(judged(Direction::Ingress, &[deny.clone(), allow], &[]).expect("known"), Passage::Open);
        assert_eq!(
            judged(Direction::Egress, &[deny], &[]).expect("known"),
            Passage::Open,
            "no egress policy"
        );
        let egress = json!({"podSelector": {}, "egress": [{"to": [{"namespaceSelector": {"matchLabels": {NAME_LABEL: "kube-system"}}}]}]});
        assert!(matches!(judged(Direction::Egress, &[egress], &[]).expect("known"), Passage::Closed(_)));
    }

    #[test]
    fn what_decides_and_is_not_known_is_said() {
        let ranges = json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]});
        assert_eq!(
            judged(Direction::Ingress, &[ranges], &[]).expect_err("addresses").kind,
            WhyKind::NotAsked
        );
    }

    #[test]
    fn expressions_are_evaluated() {
        let selector = |operator: &str, values: &[&str]| {
            serde_json::from_value::<LabelSelector>(
                json!({"matchExpressions": [{"key": "a", "operator": operator, "values": values}]}),
            )
            .expect("a selector")
        };
        let (one, none) = (StringMap::from([("a".to_owned(), "1".to_owned())]), StringMap::new());
        for (operator, values, of_one, of_none) in [
            ("In", &["1", "2"][..], true, false),
            ("NotIn", &["1"], false, true),
            ("Exists", &[], true, false),
            ("DoesNotExist", &[], false, true),
            ("New", &[], false, false),
        ] {
            let selector = selector(operator, values);
            assert_eq!(
                (matches(&selector, &one), matches(&selector, &none)),
                (of_one, of_none),
                "{operator}"
            );
        }
    }
}
