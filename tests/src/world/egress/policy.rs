//! What a network plugin makes of NetworkPolicies, for the one connection that is played: the API server's to a pod.
//!
//! By konnectivity it comes from the agent, a pod in kube-system; so a `namespaceSelector` admits it that fits there.
//! Control planes that dial from their host network are no pod, and only a rule without `from`, or an `ipBlock`, admits
//! them; most plugins let in what comes from the pod's own node. That is not played.

use serde_json::{Value, json};

/// Whether the policies of the pod's namespace let the API server in on this port.
pub(super) fn admits(policies: &[Value], pod: &Value, port: u16) -> bool {
    let labels = &pod["metadata"]["labels"];
    let mut selecting =
        policies.iter().filter(|p| is_ingress(p) && selects(&p["spec"]["podSelector"], labels)).peekable();
    if selecting.peek().is_none() {
        return true;
    }
    let rules = selecting.flat_map(|policy| items(&policy["spec"]["ingress"]));
    let namespace = &pod["metadata"]["namespace"];
    rules.into_iter().any(|rule| on_port(rule, pod, port) && from_agent(rule, namespace))
}

/// Policies without types are for incoming connections.
fn is_ingress(policy: &Value) -> bool {
    let types = items(&policy["spec"]["policyTypes"]);
    types.is_empty() || types.iter().any(|kind| *kind == "Ingress")
}

fn on_port(rule: &Value, pod: &Value, port: u16) -> bool {
    let ports = items(&rule["ports"]);
    ports.is_empty()
        || ports.iter().any(|entry| {
            let last = entry["endPort"].as_u64();
            match (&entry["port"], entry["port"].as_u64()) {
                (Value::Null, _) => true,
                (_, Some(first)) => (first..=last.unwrap_or(first)).contains(&u64::from(port)),
                (name, None) => {
                    container_ports(pod).any(|p| p["name"] == *name && p["containerPort"] == port)
                }
            }
        })
}

fn container_ports(pod: &Value) -> impl Iterator<Item = &Value> {
    items(&pod["spec"]["containers"]).iter().flat_map(|container| items(&container["ports"]))
}

fn from_agent(rule: &Value, namespace: &Value) -> bool {
    let peers = items(&rule["from"]);
    peers.is_empty()
        || peers.iter().any(|peer| {
            let there = match &peer["namespaceSelector"] {
                Value::Null => namespace == "kube-system" && !peer["podSelector"].is_null(),
                selector => selects(selector, &json!({ "kubernetes.io/metadata.name": "kube-system" })),
            };
            there && selects(&peer["podSelector"], &json!({ "k8s-app": "konnectivity-agent" }))
        })
}

/// A label selector; one that says nothing fits all.
fn selects(selector: &Value, labels: &Value) -> bool {
    let equal = selector["matchLabels"].as_object().into_iter().flatten();
    let mut expressions = items(&selector["matchExpressions"]).iter();
    equal.into_iter().all(|(key, value)| labels[key] == *value)
        && expressions.all(|expression| {
            let held = &labels[expression["key"].as_str().unwrap_or_default()];
            let listed = items(&expression["values"]).contains(held);
            match expression["operator"].as_str() {
                Some("In") => listed,
                Some("NotIn") => !listed,
                Some("Exists") => !held.is_null(),
                Some("DoesNotExist") => held.is_null(),
                _ => false,
            }
        })
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Value {
        json!({"metadata": {"namespace": "flux-system", "labels": {"app": "notification-controller"}},
            "spec": {"containers": [{"ports": [{"name": "http-webhook", "containerPort": 9292}]}]}})
    }

    fn policy(selector: Value, ingress: Value) -> Value {
        json!({"spec": {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": ingress}})
    }

    #[test]
    fn who_is_not_selected_is_open_and_who_is_selected_is_closed_but_for_rules() {
        let ours = || json!({"matchLabels": {"app": "notification-controller"}});
        let other = json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["notification-controller"]}]});
        assert!(admits(&[], &pod(), 9292));
        assert!(admits(&[policy(other, json!([]))], &pod(), 9292));
        let closed = policy(json!({}), json!([{"from": [{"podSelector": {}}]}]));
        assert!(!admits(std::slice::from_ref(&closed), &pod(), 9292));
        let everybody = policy(ours(), json!([{"from": [{"namespaceSelector": {}}]}]));
        assert!(admits(&[closed.clone(), everybody], &pod(), 9292));
        for (ports, admitted) in [
            (json!([{"port": 8080}]), false),
            (json!([{"port": 9292}]), true),
            (json!([{"port": "http-webhook"}]), true),
            (json!([{"port": "http"}]), false),
            (json!([{"port": 9000, "endPort": 9300}]), true),
        ] {
            let by_port = policy(ours(), json!([{"ports": ports.clone()}]));
            assert_eq!(admits(&[closed.clone(), by_port], &pod(), 9292), admitted, "{ports}");
        }
        let block = policy(ours(), json!([{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]));
        assert!(!admits(&[block], &pod(), 9292), "a pod is not reached by addresses");
        let egress = json!({"spec": {"podSelector": {}, "policyTypes": ["Egress"]}});
        assert!(admits(&[egress], &pod(), 9292));
    }
}
