//! NetworkPolicies that keep pods from the outside: the policy is the cause, not the resolver or the host.

use serde_json::{Value, json};

use super::build::*;
use super::{Case, case, hold};
use crate::fixture;
use crate::snapshot::{Observed, Snapshot};

const LOOKUP: &str = "unable to list remote for 'https://gitlab.example.com/a.git': dial tcp: lookup gitlab.example.com on 10.96.0.10:53: read udp 10.1.2.3:4321->10.96.0.10:53: i/o timeout";
const DIAL: &str =
    "unable to clone 'https://gitlab.example.com/a.git': dial tcp 203.0.113.7:443: i/o timeout";
const FLUX: &str = "NetworkPolicy flux-system/deny-all";
const AGENT: &str = "NetworkPolicy gitlab/deny-all";
const ONE: (u16, &str) = (407, "GitRepository flux-system/example-nginx-app");
const OTHER: (u16, &str) = (407, "GitRepository flux-system/flux-system");

/// A policy of today, in the place of the others of its namespace that are about egress.
fn policy(s: &mut Snapshot, namespace: &str, spec: Value) {
    let egress = |name: &str| ["allow-egress", "egress"].contains(&name);
    s.network_policies.items.retain(|p| p.metadata.namespace != namespace || !egress(&p.metadata.name));
    let metadata =
        json!({"name": "deny-all", "namespace": namespace, "creationTimestamp": "2026-11-02T09:00:00Z"});
    s.network_policies.items.push(part(json!({"metadata": metadata, "spec": spec})));
}

fn deny(s: &mut Snapshot, namespace: &str) {
    policy(s, namespace, json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}));
}

fn unfetched(s: &mut Snapshot, said: &str) {
    for name in ["flux-system", "example-nginx-app"] {
        fixture::git_mut(s, name).status.conditions = fixture::fetch_failed("GitOperationFailed", said);
    }
}

/// agentk cannot register, for this reason.
fn agentk(s: &mut Snapshot, error: &str) {
    let line = json!({"time": "2026-11-02T09:59:40Z", "level": "ERROR", "msg": "Failed to register agent pod", "error": error});
    s.logs.iter_mut().for_each(|log| log.lines = Observed::Known(vec![line.to_string()]));
    s.leases.items.clear();
}

const KAS: &str =
    "dial tcp: lookup kas.example.com on 10.96.0.10:53: read udp 10.1.2.3:1->10.96.0.10:53: i/o timeout";

const CASES: &[Case] = &[
    case("Flux is kept from DNS by a policy without rules", (210, FLUX), |s| {
        deny(s, "flux-system");
        unfetched(s, LOOKUP);
    })
    .under(&[ONE, OTHER])
    .says("the cluster's DNS"),
    case("the same, beside Flux's own policy for scraping", (210, FLUX), |s| {
        deny(s, "flux-system");
        let scraping = json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": 8080}]}]});
        s.network_policies.items.push(part(json!({"metadata": {"name": "allow-scraping", "namespace": "flux-system"}, "spec": scraping})));
        unfetched(s, LOOKUP);
    })
    .under(&[ONE, OTHER]),
    case("Flux is kept from hosts", (210, FLUX), |s| {
        let egress = json!([{"to": [{"podSelector": {}}]}, {"to": [{"namespaceSelector": {}}], "ports": [{"port": 53, "protocol": "UDP"}]}]);
        policy(s, "flux-system", json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": egress}));
        unfetched(s, DIAL);
    })
    .under(&[ONE, OTHER])
    .says("hosts outside the cluster (port 443)"),
    case("source-controller alone is kept from hosts", (210, FLUX), |s| {
        let pods = json!({"matchLabels": {"app": "source-controller"}});
        policy(s, "flux-system", json!({"podSelector": pods, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}]}));
        unfetched(s, DIAL);
    })
    .under(&[ONE, OTHER]),
    case("a proxy is kept out", (210, FLUX), |s| {
        policy(s, "flux-system", json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": 443}]}, {"to": [{"podSelector": {}}]}]}));
        unfetched(s, "proxyconnect tcp: dial tcp 10.0.0.5:3128: i/o timeout");
    })
    .under(&[ONE, OTHER])
    .says("port 3128"),
    case("agentk is kept from DNS", (210, AGENT), |s| {
        deny(s, "gitlab");
        agentk(s, KAS);
    })
    .under(&[(315, "Deployment gitlab/gitlab-agent-v2"), (307, "Deployment gitlab/gitlab-agent-v2"), (209, AGENT)])
    .says("Deployment gitlab/gitlab-agent-v2 from the cluster's DNS"),
    case("agentk is kept from kas", (210, AGENT), |s| {
        let egress = json!([{"ports": [{"port": 53, "protocol": "UDP"}]}]);
        policy(s, "gitlab", json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": egress}));
        agentk(s, "dial tcp 203.0.113.7:443: i/o timeout");
    })
    .under(&[(315, "Deployment gitlab/gitlab-agent-v2")]),
    case("both, each by its own policy", (210, FLUX), |s| {
        deny(s, "flux-system");
        deny(s, "gitlab");
        unfetched(s, LOOKUP);
        agentk(s, KAS);
    })
    .under(&[ONE, OTHER])
    .also(&[(210, AGENT)]),
    case("a resolver that is down, and policies that let out", (407, ONE.1), |s| unfetched(s, LOOKUP)).under(&[OTHER]),
    case("a host that is down, and a policy for other pods", (407, ONE.1), |s| {
        let pods = json!({"matchLabels": {"app": "other"}});
        policy(s, "flux-system", json!({"podSelector": pods, "policyTypes": ["Egress"]}));
        s.network_policies.items.push(part(json!({"metadata": {"name": "allow-egress", "namespace": "flux-system"},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "egress": [{}], "ingress": [{}]}})));
        unfetched(s, DIAL);
    })
    .under(&[OTHER]),
    case("an authority that is not trusted, behind a policy that shuts other ports", (407, ONE.1), |s| {
        unfetched(s, "Get \"https://gitlab.example.com/x\": tls: failed to verify certificate: x509: certificate signed by unknown authority");
    })
    .under(&[OTHER]),
];

#[test]
fn the_policy_that_shuts_is_the_cause() {
    hold(CASES);
}
