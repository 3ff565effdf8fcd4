//! What lies before notification-controller, and keeps it from its receivers, is the cause of notifications that are not
//! delivered. What a receiver refuses is not.

use serde_json::{Value, json};

use super::build::*;
use super::{Case, case, hold};
use crate::fixture;
use crate::snapshot::Snapshot;

const ALERT: (u16, &str) = (507, "Alert flux-system/gitlab-status-flux-system");
const SERVICE: &str = "Service flux-system/notification-controller";
const SENDER: &str = "Deployment flux-system/kustomize-controller";
const POLICY: &str = "NetworkPolicy flux-system/deny-all";
const TIMEOUT: &str = "failed to send notification: Post \"https://gitlab.example.com/x\": dial tcp 203.0.113.7:443: i/o timeout";
const REFUSED: &str = "failed to send notification: unable to list commit status: GET https://gitlab.example.com/x: 401 {message: 401 Unauthorized}";

/// A notification failed at this time of the fixture's day.
fn undelivered(s: &mut Snapshot, words: &str, at: &str) {
    s.dispatch_failures.items.push(part(json!({
        "metadata": {"name": "a.1", "namespace": "flux-system"}, "message": words,
        "involvedObject": {"kind": "Alert", "name": "gitlab-status-flux-system", "namespace": "flux-system"},
        "reason": "NotificationDispatchFailed", "lastTimestamp": format!("2026-11-02T{at}Z")})));
}

fn no_service(s: &mut Snapshot) {
    s.services.items.retain(|i| i.metadata.name != "notification-controller");
}

fn no_endpoint(s: &mut Snapshot) {
    s.endpoint_slices.items.retain(|i| !i.metadata.name.starts_with("notification-controller"));
}

fn events_addr(s: &mut Snapshot, value: &str) {
    let container = &mut fixture::deployment_mut(s, "kustomize-controller").spec.template.spec.containers[0];
    container.args.0 = vec![format!("--events-addr={value}")];
}

/// The only policy of the Flux namespace.
fn policy(s: &mut Snapshot, spec: Value) {
    s.network_policies.items.retain(|p| p.metadata.namespace != "flux-system");
    let metadata =
        json!({"name": "deny-all", "namespace": "flux-system", "creationTimestamp": "2026-11-02T09:00:00Z"});
    s.network_policies.items.push(part(json!({"metadata": metadata, "spec": spec})));
}

fn keep_in(s: &mut Snapshot) {
    let within = json!([{"podSelector": {}}]);
    let spec = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": within}, {"ports": [{"port": 53, "protocol": "UDP"}]}]});
    policy(s, spec);
}

const CASES: &[Case] = &[
    case("the Service does not exist", (210, SERVICE), |s| {
        no_service(s);
        undelivered(s, TIMEOUT, "09:58:00");
    })
    .under(&[ALERT]),
    case("the Service has no endpoint", (210, SERVICE), |s| {
        no_endpoint(s);
        undelivered(s, TIMEOUT, "09:30:00");
    })
    .under(&[ALERT]),
    case("the sender's address is empty", (210, SENDER), |s| {
        events_addr(s, "");
        undelivered(s, TIMEOUT, "09:58:00");
    })
    .under(&[ALERT]),
    case("the sender's address is that of another namespace", (210, SENDER), |s| {
        events_addr(s, "http://notification-controller.flux.svc.cluster.local./");
        undelivered(s, TIMEOUT, "09:58:00");
    })
    .under(&[ALERT]),
    case("a policy keeps notification-controller in", (210, POLICY), |s| {
        keep_in(s);
        undelivered(s, TIMEOUT, "09:58:00");
    })
    .under(&[ALERT]),
    case("the same, seen by a source now and by a notification before", (210, POLICY), |s| {
        keep_in(s);
        undelivered(s, TIMEOUT, "09:30:00");
        let words = "unable to clone: dial tcp 203.0.113.7:443: i/o timeout";
        fixture::git_mut(s, "flux-system").status.conditions = fixture::fetch_failed("GitOperationFailed", words);
    })
    .under(&[ALERT, (407, "GitRepository flux-system/flux-system")]),
    case("a range of addresses without the receiver's", (210, POLICY), |s| {
        let to = json!([{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["203.0.113.0/24"]}}]);
        policy(s, json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": to}, {"to": [{"podSelector": {}}]}]}));
        undelivered(s, TIMEOUT, "09:58:00");
    })
    .under(&[ALERT]),
    case("a policy keeps the senders from notification-controller", (210, POLICY), |s| {
        let ports = json!([{"ports": [{"port": 9292}]}]);
        let pods = json!({"matchLabels": {"app": "notification-controller"}});
        policy(s, json!({"podSelector": pods, "policyTypes": ["Ingress"], "ingress": ports}));
        undelivered(s, TIMEOUT, "09:58:00");
    })
    .under(&[ALERT]),
    case("a notification that failed before the policy was written", ALERT, |s| {
        keep_in(s);
        undelivered(s, TIMEOUT, "08:59:00");
    }),
    case("a token that is refused, and no Service", (210, SERVICE), |s| {
        no_service(s);
        undelivered(s, REFUSED, "09:58:00");
    })
    .also(&[ALERT]),
    case("a token that is refused, and an empty address", (210, SENDER), |s| {
        events_addr(s, "");
        undelivered(s, REFUSED, "09:58:00");
    })
    .also(&[ALERT]),
];

#[test]
fn what_keeps_notifications_back_is_the_cause() {
    hold(CASES);
}
