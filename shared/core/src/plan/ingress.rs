//! Which NetworkPolicies stand between the API server and the pods of a webhook.
//!
//! A pod that no policy selects takes every connection; one that policies select takes what any rule of any of them
//! lets in (<https://kubernetes.io/docs/concepts/services-networking/network-policies/>). Whether an API server counts
//! as a pod is the cluster's own affair: through konnectivity its connections come from a pod of kube-system, otherwise
//! from the host network, which only a rule without `from`, or an `ipBlock`, is sure to let in.

use serde::Deserialize;
use serde_json::{Value, json};

use super::journal::{End, State};
use crate::command::{Hint, Program, kubectl};
use crate::snapshot::Why;
use crate::snapshot::kinds::{Meta, StringMap};

/// Answer of a LIST of NetworkPolicies.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Policies {
    /// The policies of one namespace.
    pub items: Vec<Policy>,
}

/// The fields that are read of a NetworkPolicy.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Metadata.
    pub metadata: Meta,
    /// What it allows.
    pub spec: PolicySpec,
}

/// `spec` of [`Policy`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicySpec {
    /// The pods that it is about.
    pub pod_selector: PodSelector,
    /// `Ingress`, `Egress` or both; none means `Ingress`.
    pub policy_types: Vec<String>,
    /// What is let in.
    pub ingress: Vec<Rule>,
}

/// A label selector.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSelector {
    /// Labels that must be equal.
    pub match_labels: StringMap,
    /// What else must hold.
    pub match_expressions: Vec<Expression>,
}

/// One of a selector's `matchExpressions`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Expression {
    /// Label.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// Values of `In` and `NotIn`.
    pub values: Vec<String>,
}

/// One entry of `spec.ingress`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Rule {
    /// From where; from everywhere when there is none.
    pub from: Option<Vec<Peer>>,
    /// To which ports; to all when there is none.
    pub ports: Option<Vec<PolicyPort>>,
}

/// One entry of `from`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Peer {
    /// Pods of these namespaces.
    pub namespace_selector: Option<Value>,
    /// Addresses.
    pub ip_block: Option<Value>,
}

/// One entry of `ports`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyPort {
    /// Number or name; all when there is none.
    pub port: Option<Value>,
    /// The last one of a range.
    pub end_port: Option<u64>,
}

/// A port of a pod.
#[derive(Clone, Copy, Debug)]
pub struct Port<'a> {
    /// Its number.
    pub number: u64,
    /// Its name.
    pub name: &'a str,
}

/// What the policies make of a connection from outside of the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// It is let in, wherever it comes from.
    Open,
    /// These policies let some in, and may mean the API server or not.
    Some(Vec<String>),
    /// These policies select the pods, and none lets anybody in.
    Closed(Vec<String>),
}

impl Policies {
    /// What they make of a connection to a port of pods with these labels.
    pub fn door(&self, labels: &StringMap, port: Port<'_>) -> Door {
        let selects = |p: &&Policy| p.is_ingress() && p.spec.pod_selector.matches(labels);
        let selecting: Vec<&Policy> = self.items.iter().filter(selects).collect();
        let on_port = |rule: &&Rule| rule.is_about(port);
        let rules = |p: &&Policy| p.spec.ingress.iter().filter(on_port).map(Rule::admits).max();
        let names = |of: &dyn Fn(&&Policy) -> bool| {
            selecting.iter().copied().filter(of).map(|p| p.metadata.name.clone()).collect::<Vec<_>>()
        };
        let best = selecting.iter().filter_map(rules).max().unwrap_or(Admits::Neighbours);
        match best {
            _ if selecting.is_empty() => Door::Open,
            Admits::Everybody => Door::Open,
            Admits::Others => Door::Some(names(&|p| rules(p) == Some(Admits::Others))),
            Admits::Neighbours => Door::Closed(names(&|_| true)),
        }
    }
}

impl Policy {
    fn is_ingress(&self) -> bool {
        let types = &self.spec.policy_types;
        types.is_empty() || types.iter().any(|t| t == "Ingress")
    }
}

/// Whom a rule lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Admits {
    /// Pods of the same namespace at most.
    Neighbours,
    /// Pods of other namespaces, or addresses.
    Others,
    /// Everybody.
    Everybody,
}

impl Rule {
    fn is_about(&self, port: Port<'_>) -> bool {
        let fits = |p: &PolicyPort| match &p.port {
            None => true,
            Some(Value::String(name)) => name == port.name,
            Some(first) => {
                let first = first.as_u64().unwrap_or_default();
                (first..=p.end_port.unwrap_or(first)).contains(&port.number)
            }
        };
        self.ports.as_ref().is_none_or(|ports| ports.is_empty() || ports.iter().any(fits))
    }

    fn admits(&self) -> Admits {
        match self.from.as_deref() {
            None | Some([]) => Admits::Everybody,
            Some(peers) if peers.iter().any(|p| p.namespace_selector.is_some() || p.ip_block.is_some()) => {
                Admits::Others
            }
            Some(_) => Admits::Neighbours,
        }
    }
}

impl PodSelector {
    fn matches(&self, labels: &StringMap) -> bool {
        let holds = |e: &Expression| {
            let held = labels.get(&e.key);
            let listed = held.is_some_and(|held| e.values.contains(held));
            match e.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => held.is_some(),
                "DoesNotExist" => held.is_none(),
                _ => false,
            }
        };
        self.match_labels.iter().all(|(k, v)| labels.get(k) == Some(v))
            && self.match_expressions.iter().all(holds)
    }
}

/// The end of a hop whose webhook the API server got no answer from: which policy is in the way, and what to add.
/// `labels` are those that the Service selects pods by.
pub fn no_way_in(door: Result<&Door, &Why>, namespace: &str, labels: &StringMap, port: Port<'_>) -> End {
    let number = port.number;
    let silent = format!("the API server gets no answer from notification-controller on port {number}");
    let listed = |names: &[String]| {
        let noun = if names.len() == 1 { "NetworkPolicy" } else { "NetworkPolicies" };
        format!("{noun} {}", names.join(", "))
    };
    let (meaning, hint) = match door {
        Ok(Door::Closed(names)) => (
            format!(
                "{silent}: its pods are selected by {} in {namespace}, and {} it in",
                listed(names),
                if names.len() == 1 { "that does not let" } else { "none of them lets" }
            ),
            opener(namespace, labels, number),
        ),
        Ok(Door::Some(names)) => (
            format!(
                "{silent}: {} in {namespace} only {} in certain pods or addresses, and the API server may be none of them",
                listed(names),
                if names.len() == 1 { "lets" } else { "let" }
            ),
            opener(namespace, labels, number),
        ),
        Ok(Door::Open) => (
            format!("{silent}, and no NetworkPolicy of {namespace} is in the way"),
            "a policy of the network plugin's own kind, or a firewall between control plane and nodes, may be; where \
             the webhook has an address of its own, --webhook-url proves the rest of the way"
                .into(),
        ),
        Err(why) => (
            format!("{silent}: a NetworkPolicy may be in the way, and which is not known ({})", why.message),
            Hint::command(kubectl(namespace, "get networkpolicies"), "shows them to who may see them"),
        ),
    };
    End { reason: "WebhookBroken".to_owned(), ..End::new(State::Failed, meaning) }.hint(hint)
}

/// The command that lets everybody in to the one port; what comes in there is signed.
fn opener(namespace: &str, labels: &StringMap, port: u64) -> Hint {
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "allow-webhook-receiver", "namespace": namespace},
        "spec": {"podSelector": {"matchLabels": labels}, "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"port": port}]}]},
    });
    let print = Program::new("printf %s").word(policy.to_string());
    Hint::from("add to what is in Git, or at once:").line(print.pipe(Program::new("kubectl apply -f -")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEBHOOK: Port<'_> = Port { number: 9292, name: "http-webhook" };

    fn labels() -> StringMap {
        [("app".to_owned(), "notification-controller".to_owned())].into()
    }

    fn policies(specs: Value) -> Policies {
        let items: Vec<Value> = specs
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, spec)| json!({"metadata": {"name": name}, "spec": spec}))
            .collect();
        serde_json::from_value(json!({ "items": items })).expect("policies")
    }

    fn door(specs: Value) -> Door {
        policies(specs).door(&labels(), WEBHOOK)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    /// What `flux install` makes.
    fn flux() -> Value {
        json!({
            "allow-egress": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "egress": [{}],
                "ingress": [{"from": [{"podSelector": {}}]}]},
            "allow-scraping": {"podSelector": {}, "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"namespaceSelector": {}}], "ports": [{"port": 8080, "protocol": "TCP"}]}]},
            "allow-webhooks": {"podSelector": {"matchLabels": {"app": "notification-controller"}},
                "policyTypes": ["Ingress"], "ingress": [{"from": [{"namespaceSelector": {}}]}]},
        })
    }

    #[test]
    fn fluxs_own_policies_let_pods_in_and_without_allow_webhooks_nobody() {
        assert_eq!(door(json!({})), Door::Open);
        assert_eq!(door(flux()), Door::Some(names(&["allow-webhooks"])));
        let mut without = flux();
        without.as_object_mut().expect("policies").remove("allow-webhooks");
        assert_eq!(door(without), Door::Closed(names(&["allow-egress", "allow-scraping"])));
    }

    #[test]
    fn rules_count_on_their_ports_and_for_the_pods_they_select() {
        let closed = json!({"podSelector": {}, "policyTypes": ["Ingress"]});
        assert_eq!(door(json!({ "deny": closed })), Door::Closed(names(&["deny"])));
        assert_eq!(door(json!({"out": {"podSelector": {}, "policyTypes": ["Egress"]}})), Door::Open);
        let elsewhere = json!({"podSelector": {"matchExpressions":
            [{"key": "app", "operator": "NotIn", "values": ["notification-controller"]}]}});
        assert_eq!(door(json!({ "elsewhere": elsewhere })), Door::Open);
        for (port, open) in [
            (json!({"port": 9292}), true),
            (json!({"port": "http-webhook"}), true),
            (json!({"port": 9000, "endPort": 9300}), true),
            (json!({"protocol": "TCP"}), true),
            (json!({"port": "http"}), false),
            (json!({"port": 8080}), false),
        ] {
            let rule = json!({"podSelector": {}, "ingress": [{"ports": [port]}]});
            let expected = if open { Door::Open } else { Door::Closed(names(&["deny", "rule"])) };
            assert_eq!(door(json!({ "deny": closed, "rule": rule })), expected);
        }
    }

    #[test]
    fn the_end_names_the_policies_and_what_to_add() {
        let closed = Door::Closed(names(&["allow-egress", "allow-scraping"]));
        let end = no_way_in(Ok(&closed), "flux-system", &labels(), WEBHOOK);
        assert!(
            end.meaning.contains("NetworkPolicies allow-egress, allow-scraping in flux-system"),
            "{end:?}"
        );
        assert!(end.meaning.ends_with("and none of them lets it in"), "{end:?}");
        let hint = end.hint.text(ToString::to_string);
        let policy = hint.split('\'').nth(1).expect("a quoted policy");
        let mut specs = json!({"deny": {"podSelector": {}}});
        let policy: Value = serde_json::from_str(policy).expect("JSON");
        specs["added"] = policy["spec"].clone();
        assert_eq!(door(specs), Door::Open, "what is to be added opens the door");
        let some = Door::Some(names(&["allow-webhooks"]));
        let end = no_way_in(Ok(&some), "flux-system", &labels(), WEBHOOK);
        assert!(end.meaning.contains("NetworkPolicy allow-webhooks in flux-system only lets in"), "{end:?}");
        let end = no_way_in(Ok(&Door::Open), "flux-system", &labels(), WEBHOOK);
        assert!(end.meaning.contains("no NetworkPolicy of flux-system is in the way"), "{end:?}");
    }
}
