//! What errors name: the Service of a webhook or of a database, a claim, a probe.

use serde_json::json;

use super::build::*;
use super::{Case, case, hold};
use crate::facts::Workload;
use crate::fixture;
use crate::snapshot::Snapshot;

const NGINX: &str = "Deployment example-nginx/nginx";

/// Another workload that Flux deploys, whose pods crash.
fn crashes(s: &mut Snapshot, kind: &str, namespace: &str, name: &str) {
    let mut made: Workload = fixture::deployment_mut(s, "nginx").clone();
    (made.metadata.name, made.metadata.namespace) = (name.to_owned(), namespace.to_owned());
    made.spec.selector.match_labels = [("app".to_owned(), name.to_owned())].into();
    made.status.ready_replicas = 0;
    made.status.available_replicas = 0;
    let id = format!("{namespace}_{name}_apps_{kind}");
    if kind == "StatefulSet" {
        s.stateful_sets.items.push(made)
    } else {
        s.deployments.items.push(made)
    }
    holds(s, 1, &id, "v1");
    let pod = json!({"metadata": {"name": format!("{name}-0"), "namespace": namespace, "labels": {"app": name}},
        "status": waits("CrashLoopBackOff", "back-off")});
    s.pods.items.push(part(pod));
    if let Some(all) = &mut s.pods.namespaces {
        all.push(namespace.to_owned());
    }
}

/// nginx gets no pods, because of this.
fn no_pods(s: &mut Snapshot, message: &str) {
    let nginx = fixture::deployment_mut(s, "nginx");
    nginx.status.ready_replicas = 0;
    nginx.status.available_replicas = 0;
    nginx.status.conditions = part(
        json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}]),
    );
}

/// nginx crashes, and this is what its log held before.
fn said(s: &mut Snapshot, lines: &[&str]) {
    nginx_down(s, &json!({}), &waits("CrashLoopBackOff", "back-off 5m0s restarting failed container"));
    s.last_words.push(crate::snapshot::PodLog {
        namespace: SHOP.to_owned(),
        pod: "nginx-5d-x".to_owned(),
        container: "main".to_owned(),
        lines: crate::snapshot::Observed::Known(lines.iter().map(|line| (*line).to_owned()).collect()),
    });
}

/// nginx ended with these words.
fn ended(s: &mut Snapshot, message: &str) {
    nginx_down(
        s,
        &json!({}),
        &json!({"phase": "Running", "containerStatuses": [{"name": "main", "restartCount": 7,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
            "lastState": {"terminated": {"reason": "Error", "exitCode": 1, "message": message}}}]}),
    );
}

const WEBHOOK: &str = "Internal error occurred: failed calling webhook \"validate.kyverno.svc-fail\": failed to call webhook: Post \"https://kyverno-svc.kyverno.svc:443/validate/fail?timeout=10s\": no endpoints available for service \"kyverno-svc\"";

const CASES: &[Case] = &[
    case("a webhook whose Deployment crashes keeps pods out", (701, "Deployment kyverno/kyverno-admission-controller"), |s| {
        crashes(s, "Deployment", "kyverno", "kyverno-admission-controller");
        no_pods(s, WEBHOOK);
    })
    .under(&[(701, NGINX)]),
    case("the same, of a Kustomization", (701, "Deployment kyverno/kyverno-admission-controller"), |s| {
        crashes(s, "Deployment", "kyverno", "kyverno-admission-controller");
        let other = kustomization(s, "other");
        s.kustomizations.items[other].status.conditions = fixture::not_ready("ReconciliationFailed", WEBHOOK);
    })
    .under(&[(408, "Kustomization flux-system/other")]),
    case("the same, of a release", (701, "Deployment kyverno/kyverno-admission-controller"), |s| {
        crashes(s, "Deployment", "kyverno", "kyverno-admission-controller");
        release(s);
        web_failed(s, "UpgradeFailed", WEBHOOK);
    })
    .under(&[(408, WEB)]),
    case("a crash that names the Service of a database that is down", (701, "StatefulSet example-nginx/db"), |s| {
        crashes(s, "StatefulSet", "example-nginx", "db");
        ended(s, "dial tcp: lookup db.example-nginx.svc.cluster.local on 10.96.0.10:53: no such host");
    })
    .under(&[(701, NGINX)]),
    case("the same by its short name", (701, "StatefulSet example-nginx/db"), |s| {
        crashes(s, "StatefulSet", "example-nginx", "db");
        ended(s, "failed to connect to db:5432: connection refused");
    })
    .under(&[(701, NGINX)]),
    case("the same by the name of its primary", (701, "StatefulSet example-nginx/db"), |s| {
        crashes(s, "StatefulSet", "example-nginx", "db");
        ended(s, "getaddrinfo ENOTFOUND db-primary");
    })
    .under(&[(701, NGINX)]),
    case("a crash that names another host", (701, NGINX), |s| {
        crashes(s, "StatefulSet", "example-nginx", "db");
        ended(s, "dial tcp: lookup api.example.com on 10.96.0.10:53: no such host");
    })
    .also(&[(701, "StatefulSet example-nginx/db")]),
    case("a crash whose last words name a database that is down", (701, "StatefulSet example-nginx/db"), |s| {
        crashes(s, "StatefulSet", "example-nginx", "db");
        said(s, &["connecting", "FATAL: dial tcp: lookup db on 10.96.0.10:53: no such host", "bye"]);
    })
    .under(&[(701, NGINX)]),
    case("a probe that fails", (701, NGINX), |s| {
        nginx_down(s, &json!({}), &json!({"phase": "Running", "containerStatuses": [{"name": "main", "state": {"running": {}}}]}));
        warning(s, "Pod", "nginx-5d-x", "Unhealthy", "Readiness probe failed: Get \"http://10.1.2.3:8081/healthz\": dial tcp 10.1.2.3:8081: connect: connection refused");
    })
    .says("(Unhealthy)"),
    case("a volume that cannot be mounted", (701, NGINX), |s| {
        nginx_down(s, &json!({}), &creating());
        warning(s, "Pod", "nginx-5d-x", "FailedMount", "MountVolume.MountDevice failed for volume \"x\": rpc error: code = Internal desc = x");
    })
    .says("(FailedMount)"),
    case("a claim of a StorageClass that does not exist", (702, "StorageClass fast"), |s| {
        let claim = json!({"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]});
        let status = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims."}]});
        nginx_down(s, &claim, &status);
        warning(s, "PersistentVolumeClaim", "data", "ProvisioningFailed", "storageclass.storage.k8s.io \"fast\" not found");
    })
    .under(&[(701, NGINX)]),
    case("a claim that no volume fits", (701, NGINX), |s| {
        let claim = json!({"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]});
        let status = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims."}]});
        nginx_down(s, &claim, &status);
        warning(s, "PersistentVolumeClaim", "data", "FailedBinding", "no persistent volumes available for this claim and no storage class is set");
    })
    .says("(UnboundClaim)")
    .never("add nodes"),
    case("a probe that kills its container", (701, NGINX), |s| {
        nginx_down(s, &json!({}), &waits("CrashLoopBackOff", "back-off 5m0s restarting failed container"));
        warning(s, "Pod", "nginx-5d-x", "Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 500");
    })
    .says("(Unhealthy)"),
    case("a volume that another node holds", (701, NGINX), |s| {
        nginx_down(s, &json!({}), &creating());
        warning(s, "Pod", "nginx-5d-x", "FailedAttachVolume", "Multi-Attach error for volume \"pvc-123\" Volume is already exclusively attached to one node");
    })
    .says("(FailedAttachVolume)"),
];

#[test]
fn the_last_words_of_a_crash_are_its_evidence() {
    let report =
        super::report(|s| said(s, &["up", "Error: required environment variable S3_BUCKET is not set"]));
    let evidence = report.problems[0].finding.evidence.join(" | ");
    assert!(evidence.contains("last words: Error: required environment variable S3_BUCKET"), "{evidence}");
}

#[test]
fn what_errors_name_is_the_cause() {
    hold(CASES);
}
