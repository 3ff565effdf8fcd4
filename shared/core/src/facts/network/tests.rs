//! Tests: rules are read as Kubernetes documents them.

use serde_json::{Value, json};

use super::*;
use crate::fixture;
use crate::snapshot::kinds::Pod;

/// A connection: agentk calls notification-controller through a Service.
struct Case {
    direction: Direction,
    policies: Vec<Value>,
    /// Changes what was seen, after the policies were written.
    change: fn(&mut Snapshot),
}

impl Case {
    fn of(direction: Direction, policies: &[Value]) -> Self {
        Self { direction, policies: policies.to_vec(), change: |_| {} }
    }

    fn passage(&self) -> Result<Passage, Why> {
        let mut s = fixture::healthy();
        s.deployments
            .items
            .retain(|d| ["gitlab-agent-v2", "notification-controller"].contains(&&*d.metadata.name));
        let namespace = if self.direction == Direction::Egress { "gitlab" } else { "flux-system" };
        let policy = |spec: &Value| {
            let metadata = json!({"name": "p", "namespace": namespace});
            serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("a policy")
        };
        s.network_policies.items = self.policies.iter().map(policy).collect();
        s.pods.items = vec![
            pod("gitlab", "gitlab-agent-v2", &["10.1.0.7"]),
            pod("flux-system", "notification-controller", &["10.1.0.8"]),
        ];
        (self.change)(&mut s);
        let named = |name: &str| s.deployments.items.iter().find(|d| d.metadata.name == name).expect("it");
        let service = s.services.items.iter().find(|i| i.metadata.name == "webhook-receiver");
        let client = End::of(&s, named("gitlab-agent-v2"));
        let server = End::of(&s, named("notification-controller")).behind(service);
        passage(&s, self.direction, &client, &server, Port { number: 9292, name: "http-webhook" })
    }
}

fn pod(namespace: &str, app: &str, addresses: &[&str]) -> Pod {
    let ips: Vec<Value> = addresses.iter().map(|ip| json!({ "ip": ip })).collect();
    let pod = json!({"metadata": {"name": format!("{app}-1"), "namespace": namespace, "labels": {"app": app}},
        "status": {"phase": "Running", "podIP": addresses.first(), "podIPs": ips}});
    serde_json::from_value(pod).expect("a pod")
}

/// Whether a connection passes policies with these ingress rules.
fn open(ingress: Value) -> bool {
    let spec = json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": ingress});
    Case::of(Direction::Ingress, &[spec]).passage().expect("known") == Passage::Open
}

#[test]
fn rules_are_read_as_kubernetes_documents_them() {
    for (rules, expected) in [
        (json!([]), false),
        (json!([{}]), true),
        (json!([{"from": [{"podSelector": {}}]}]), false),
        (json!([{"from": [{"namespaceSelector": {}}]}]), true),
        (json!([{"from": [{"namespaceSelector": {"matchLabels": {"team": "platform"}}}]}]), true),
        (json!([{"from": [{"namespaceSelector": {"matchLabels": {"team": "b"}}}]}]), false),
        (json!([{"from": [{"namespaceSelector": {"matchLabels": {NAME_LABEL: "gitlab"}}}]}]), true),
        (
            json!([{"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "gitlab-agent-v2"}}}]}]),
            true,
        ),
        (json!([{"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "x"}}}]}]), false),
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
    let passage = |direction, specs: &[Value]| Case::of(direction, specs).passage().expect("known");
    let other = json!({"podSelector": {"matchLabels": {"app": "x"}}, "policyTypes": ["Ingress"]});
    assert_eq!(passage(Direction::Ingress, &[other]), Passage::Open);
    let deny = json!({"podSelector": {}, "policyTypes": ["Ingress"]});
    let allow =
        json!({"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}, "ingress": [{}]});
    let closed = passage(Direction::Ingress, std::slice::from_ref(&deny));
    assert_eq!(closed, Passage::Closed(vec![ObjectRef::new("NetworkPolicy", "flux-system", "p")]));
    assert_eq!(passage(Direction::Ingress, &[deny.clone(), allow]), Passage::Open);
    assert_eq!(passage(Direction::Egress, &[deny]), Passage::Open, "no egress policy");
    let egress = json!({"podSelector": {}, "egress": [{"to": [{"namespaceSelector": {"matchLabels": {NAME_LABEL: "kube-system"}}}]}]});
    assert!(matches!(passage(Direction::Egress, &[egress]), Passage::Closed(_)));
}

/// What a rule with this peer makes of the connection.
fn of_block(direction: Direction, rule: Value, change: fn(&mut Snapshot)) -> Result<bool, Why> {
    let (kind, rules) =
        if direction == Direction::Egress { ("Egress", "egress") } else { ("Ingress", "ingress") };
    let spec = json!({"podSelector": {}, "policyTypes": [kind], rules: [rule]});
    let case = Case { change, ..Case::of(direction, &[spec]) };
    case.passage().map(|passage| passage == Passage::Open)
}

fn set_addresses(s: &mut Snapshot, app: &str, addresses: &[&str]) {
    for of in s.pods.items.iter_mut().filter(|p| p.metadata.name == format!("{app}-1")) {
        of.status = pod("", app, addresses).status;
    }
}

fn set_cluster_ips(s: &mut Snapshot, addresses: &[&str]) {
    for service in s.services.items.iter_mut().filter(|i| i.metadata.name == "webhook-receiver") {
        service.spec.cluster_ips = addresses.iter().map(|&ip| ip.to_owned()).collect();
    }
}

fn use_host_network(s: &mut Snapshot, name: &str) {
    fixture::deployment_mut(s, name).spec.template.spec.host_network = true;
}

type Change = fn(&mut Snapshot);

#[test]
fn blocks_are_compared_with_the_addresses_of_pods() {
    let from = |cidr: &str, except: &[&str]| json!({"from": [{"ipBlock": {"cidr": cidr, "except": except}}]});
    let none: Change = |_| {};
    let dual: Change = |s| set_addresses(s, "gitlab-agent-v2", &["10.1.0.7", "fd00::7"]);
    for (name, rule, change, expected) in [
        ("the range of the pods", from("10.1.0.0/16", &[]), none, true),
        ("another range", from("10.2.0.0/16", &[]), none, false),
        ("everything but the pods", from("0.0.0.0/0", &["10.0.0.0/8"]), none, false),
        ("everything but others", from("0.0.0.0/0", &["192.168.0.0/16"]), none, true),
        ("exactly the pod", from("10.1.0.7/32", &[]), none, true),
        ("exactly another pod", from("10.1.0.8/32", &[]), none, false),
        ("everything of IPv6, which the pod has not", from("::/0", &[]), none, false),
        ("the second address of the pod", from("fd00::/64", &[]), dual, true),
        (
            "an address of a family that the Service has not",
            from("fd00::/64", &[]),
            |s| {
                set_addresses(s, "gitlab-agent-v2", &["10.1.0.7", "fd00::7"]);
                set_cluster_ips(s, &["10.96.0.20"]);
            },
            false,
        ),
        (
            "a Service of both families",
            from("fd00::/64", &[]),
            |s| {
                set_addresses(s, "gitlab-agent-v2", &["10.1.0.7", "fd00::7"]);
                set_cluster_ips(s, &["10.96.0.20", "fd00:96::20"]);
            },
            true,
        ),
        (
            "one of two pods",
            from("10.1.0.7/32", &[]),
            |s| {
                let mut other = pod("gitlab", "gitlab-agent-v2", &["10.1.0.9"]);
                other.metadata.name = "gitlab-agent-v2-2".to_owned();
                s.pods.items.push(other);
            },
            false,
        ),
        (
            "one pod that has not ended",
            from("10.1.0.7/32", &[]),
            |s| {
                let mut other = pod("gitlab", "gitlab-agent-v2", &["10.1.0.9"]);
                other.status.phase = "Failed".to_owned();
                s.pods.items.push(other);
            },
            true,
        ),
        (
            "the node's address of a pod in the host network",
            from("192.168.0.0/16", &[]),
            |s| {
                use_host_network(s, "gitlab-agent-v2");
                set_addresses(s, "gitlab-agent-v2", &["192.168.1.4"]);
            },
            true,
        ),
        (
            "the range and another port",
            json!({"from": [{"ipBlock": {"cidr": "10.1.0.0/16"}}], "ports": [{"port": 8080}]}),
            none,
            false,
        ),
        (
            "the range and a range of ports",
            json!({"from": [{"ipBlock": {"cidr": "10.1.0.0/16"}}], "ports": [{"port": 9290, "endPort": 9300}]}),
            none,
            true,
        ),
        (
            "the range and the name of the port",
            json!({"from": [{"ipBlock": {"cidr": "10.1.0.0/16"}}], "ports": [{"port": "http-webhook"}]}),
            none,
            true,
        ),
        (
            "a malformed range beside one that fits",
            json!({"from": [{"ipBlock": {"cidr": "x"}}, {"ipBlock": {"cidr": "10.1.0.0/16"}}]}),
            none,
            true,
        ),
        (
            "one address in the older field",
            from("10.1.0.0/16", &[]),
            |s| {
                s.pods.items.iter_mut().for_each(|p| p.status.pod_ips.clear());
            },
            true,
        ),
    ] {
        assert_eq!(of_block(Direction::Ingress, rule, change), Ok(expected), "{name}");
    }
}

#[test]
fn on_the_way_out_the_addresses_of_the_pods_behind_the_service_count() {
    let to = |cidr: &str| json!({"to": [{"ipBlock": {"cidr": cidr}}]});
    let service: Change = |s| set_cluster_ips(s, &["10.96.0.20"]);
    for (cidr, expected) in [
        ("10.1.0.8/32", Ok(true)),
        ("10.0.0.0/8", Ok(true)),
        ("10.1.0.7/32", Ok(false)),
        ("203.0.113.0/24", Ok(false)),
        ("10.96.0.0/12", Err(WhyKind::Undecided)),
    ] {
        assert_eq!(
            of_block(Direction::Egress, to(cidr), service).map_err(|why| why.kind),
            expected,
            "{cidr}"
        );
    }
    let headless: Change = |s| set_cluster_ips(s, &["None"]);
    assert_eq!(of_block(Direction::Egress, to("10.96.0.0/12"), headless), Ok(false));
    // A policy of type Ingress with rules for egress says nothing of egress.
    let spec = json!({"podSelector": {}, "policyTypes": ["Ingress"], "egress": [to("10.2.0.0/16")]});
    assert_eq!(Case::of(Direction::Egress, &[spec]).passage(), Ok(Passage::Open));
    let spec = json!({"podSelector": {}, "egress": [to("10.2.0.0/16")]});
    assert!(
        matches!(Case::of(Direction::Egress, &[spec]).passage(), Ok(Passage::Closed(_))),
        "no policyTypes"
    );
}

/// Nothing of this ends with exit code 0.
#[test]
fn what_decides_and_is_not_known_is_said() {
    let block = |cidr: &str| json!({"from": [{"ipBlock": {"cidr": cidr}}]});
    let all = json!({"from": [{"namespaceSelector": {}}]});
    let cases: [(&str, Value, Change, WhyKind, &str); 9] = [
        (
            "no pod yet",
            block("0.0.0.0/0"),
            |s| s.pods.items.clear(),
            WhyKind::TooEarly,
            "no pod has an address yet",
        ),
        (
            "a pod without an address",
            block("10.1.0.0/16"),
            |s| {
                s.pods.items.iter_mut().for_each(|p| {
                    p.status = serde_json::from_value(json!({"phase": "Pending"})).expect("it")
                });
            },
            WhyKind::TooEarly,
            "no pod has an address yet",
        ),
        (
            "scaled to 0",
            block("10.1.0.0/16"),
            |s| {
                s.pods.items.clear();
                fixture::deployment_mut(s, "gitlab-agent-v2").spec.replicas = Some(0);
            },
            WhyKind::Undecided,
            "scaled to 0",
        ),
        (
            "a recording without addresses",
            block("10.1.0.0/16"),
            |s| {
                for pod in &mut s.pods.items {
                    pod.status.pod_ip.clear();
                    pod.status.pod_ips.clear();
                }
            },
            WhyKind::Unreadable,
            "the recording is older",
        ),
        (
            "a recording without these pods",
            block("10.1.0.0/16"),
            |s| s.pods.namespaces = Some(Vec::new()),
            WhyKind::Unreadable,
            "the recording is older",
        ),
        (
            "pods that are forbidden",
            block("10.1.0.0/16"),
            |s| {
                s.pods = Listing::unknown(Why::new(WhyKind::Forbidden, "list pods", "no"));
            },
            WhyKind::Forbidden,
            "no",
        ),
        ("a malformed range", block("10.1.0.0"), |_| {}, WhyKind::Undecided, "malformed CIDR 10.1.0.0"),
        (
            "a client in the host network",
            all,
            |s| use_host_network(s, "gitlab-agent-v2"),
            WhyKind::Undecided,
            "host network",
        ),
        (
            "a server in the host network",
            block("10.2.0.0/16"),
            |s| use_host_network(s, "notification-controller"),
            WhyKind::Undecided,
            "host network",
        ),
    ];
    for (name, rule, change, kind, message) in cases {
        let why = of_block(Direction::Ingress, rule, change).expect_err(name);
        assert_eq!(why.kind, kind, "{name}: {why:?}");
        assert!(why.message.contains(message) && !why.kind.is_a_choice(), "{name}: {why:?}");
    }
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
        assert_eq!((matches(&selector, &one), matches(&selector, &none)), (of_one, of_none), "{operator}");
    }
}
