//! What only events, pods and Jobs tell: probes, volumes, nodes, Jobs.

use serde_json::{Value, json};

use super::build::*;
use super::{Case, case, hold};
use crate::assess::Severity;
use crate::facts::Workload;
use crate::fixture;
use crate::snapshot::Snapshot;

const NGINX: &str = "Deployment example-nginx/nginx";
const APPS: &str = "Kustomization flux-system/example-nginx-app";
const JOB: &str = "Job example-nginx/migrate";

fn crashed(code: i64, message: &str) -> Value {
    json!({"phase": "Running", "containerStatuses": [{"name": "main", "restartCount": 7,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}},
        "lastState": {"terminated": {"reason": "Error", "exitCode": code, "message": message}}}]})
}

/// The status of a pod whose node does not answer.
fn lost() -> Value {
    json!({"phase": "Running", "reason": "NodeLost", "message": "Node node-1 which was running pod is unresponsive",
        "conditions": [{"type": "Ready", "status": "False"}]})
}

fn on_node(node: &str) -> Value {
    json!({"nodeName": node})
}

/// A StatefulSet that Flux deploys, of which no pod is ready.
fn stateful(s: &mut Snapshot, name: &str, pod: Option<(Value, Value)>) {
    let mut made: Workload = fixture::deployment_mut(s, "nginx").clone();
    name.clone_into(&mut made.metadata.name);
    made.spec.selector.match_labels = [("app".to_owned(), name.to_owned())].into();
    made.status.ready_replicas = 0;
    s.stateful_sets.items.push(made);
    holds(s, 1, &format!("example-nginx_{name}_apps_StatefulSet"), "v1");
    if let Some(all) = &mut s.pods.namespaces {
        all.push(SHOP.to_owned());
    }
    if let Some((spec, status)) = pod {
        s.pods.items.push(part(
            json!({"metadata": {"name": format!("{name}-0"), "namespace": SHOP, "labels": {"app": name}},
            "spec": spec, "status": status}),
        ));
    }
}

/// A Job failed, and a health check names it.
fn job(s: &mut Snapshot, words: &str) {
    apps_failed(
        s,
        "HealthCheckFailed",
        "health check failed after 35s: failed early due to stalled resources: [Job/example-nginx/migrate status: 'Failed']",
    );
    pod_of_job(s, words);
}

fn pod_of_job(s: &mut Snapshot, words: &str) {
    let status = json!({"phase": "Failed", "containerStatuses": [{"name": "main",
        "state": {"terminated": {"reason": "Error", "exitCode": 1, "message": words}}}]});
    let labels = json!({"batch.kubernetes.io/job-name": "migrate"});
    s.pods.items.push(part(
        json!({"metadata": {"name": "migrate-x", "namespace": SHOP, "labels": labels}, "status": status}),
    ));
}

fn job_read(s: &mut Snapshot, reason: &str) {
    let status = json!({"conditions": [{"type": "Failed", "status": "True", "reason": reason, "message": "Job gave up"}]});
    other(s, "", "Job", SHOP, "migrate", Some(json!({"status": status})));
}

const CASES: &[Case] = &[
    case("a liveness probe ends it again and again", (701, NGINX), |s| {
        nginx_down(s, &json!({}), &crashed(137, ""));
        warning(s, "Pod", "nginx-5d-x", "Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 500");
    })
    .says("(Unhealthy)")
    .never("--previous"),
    case("a volume that is attached elsewhere", (701, "StatefulSet example-nginx/db"), |s| {
        stateful(s, "db", Some((json!({}), creating())));
        warning(s, "Pod", "db-0", "FailedAttachVolume", "Multi-Attach error for volume \"pvc-1\" Volume is already exclusively attached to one node");
    })
    .says("(FailedAttachVolume)"),
    case("a StatefulSet whose pods are not made", (701, "StatefulSet example-nginx/db"), |s| {
        stateful(s, "db", None);
        warning(s, "StatefulSet", "db", "FailedCreate", "create Pod db-0 in StatefulSet db failed error: pods \"db-0\" is forbidden: exceeded quota: q, requested: cpu=1");
    })
    .says("(FailedCreate)"),
    case("a node that is gone, and two workloads", (702, "Node node-1"), |s| {
        nginx_down(s, &on_node("node-1"), &lost());
        stateful(s, "db", Some((on_node("node-1"), lost())));
    })
    .under(&[(701, NGINX), (701, "StatefulSet example-nginx/db")])
    .never("rollout restart"),
    case("a node that is gone, and its pod waits to end", (702, "Node node-1"), |s| {
        nginx_down(s, &on_node("node-1"), &json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady"}]}));
        s.pods.items.last_mut().expect("a pod").metadata.deletion_timestamp = "2026-11-02T09:30:00Z".parse().ok();
    })
    .under(&[(701, NGINX)]),
    case("a node that is gone, and the new pod waits for the volume", (702, "Node node-1"), |s| {
        nginx_down(s, &json!({}), &creating());
        warning(s, "Pod", "nginx-5d-x", "FailedAttachVolume", "Multi-Attach error for volume \"pvc-1\"");
        let pod = json!({"metadata": {"name": "nginx-5d-old", "namespace": SHOP, "labels": {"app": "nginx"}}, "spec": on_node("node-1"), "status": lost()});
        s.pods.items.push(part(pod));
    })
    .under(&[(701, NGINX)]),
    case("a pod that ends in time", (701, NGINX), |s| {
        nginx_down(s, &on_node("node-1"), &json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady"}]}));
        s.pods.items.last_mut().expect("a pod").metadata.deletion_timestamp = "2026-11-02T10:00:10Z".parse().ok();
    }),
    case("a Job that a health check names", (702, JOB), |s| {
        job(s, "ERROR: permission denied for table users");
        job_read(s, "BackoffLimitExceeded");
    })
    .under(&[(408, APPS)])
    .says("(BackoffLimitExceeded)"),
    case("a Job that may not be read, and its event", (702, JOB), |s| {
        job(s, "ERROR: permission denied for table users");
        warning(s, "Job", "migrate", "BackoffLimitExceeded", "Job has reached the specified backoff limit");
    })
    .under(&[(408, APPS)]),
    case("a Job of which only a pod is seen", (702, JOB), |s| job(s, "no such column")).under(&[(408, APPS)]),
    case("a Job whose pods wait for a ConfigMap", (702, "ConfigMap example-nginx/sql"), |s| {
        job(s, "");
        job_read(s, "DeadlineExceeded");
        s.pods.items.last_mut().expect("a pod").status = part(waits("CreateContainerConfigError", "configmap \"sql\" not found"));
    })
    .under(&[(702, JOB), (408, APPS)]),
    case("a Job whose database is down", (701, "StatefulSet example-nginx/db"), |s| {
        job(s, "dial tcp: lookup db.example-nginx.svc.cluster.local on 10.96.0.10:53: no such host");
        job_read(s, "BackoffLimitExceeded");
        stateful(s, "db", Some((json!({}), crashed(1, "could not write lock file"))));
    })
    .under(&[(702, JOB), (408, APPS)]),
    case("the Job of a hook, in Helm 4's words", (702, "Job shop/migrate"), |s| {
        release(s);
        web_failed(s, "UpgradeFailed", "Helm upgrade failed for release shop/web with chart web@2.0.0: pre-upgrade hooks failed: resource Job/shop/migrate not ready. status: Failed, message: Job has reached the specified backoff limit");
        other(s, "", "Job", "shop", "migrate", Some(json!({"status": {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}})));
    })
    .under(&[(408, WEB)]),
    case("the Job of a hook, in Helm 3's words", (702, "Job shop/migrate"), |s| {
        release(s);
        web_failed(s, "UpgradeFailed", "Helm upgrade failed for release shop/web with chart web@2.0.0: pre-upgrade hooks failed: 1 error occurred:\n\t* job migrate failed: BackoffLimitExceeded\n");
        other(s, "", "Job", "shop", "migrate", Some(json!({"status": {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}})));
    })
    .under(&[(408, WEB)]),
    case("a Job that is gone", (408, APPS), |s| {
        job(s, "x");
        other(s, "", "Job", SHOP, "migrate", None);
    }),
];

#[test]
fn what_events_and_pods_tell_is_the_cause() {
    hold(CASES);
}

/// A StatefulSet of three ready pods, of which one has its present spec, the newest made at this time.
fn half_rolled(s: &mut Snapshot, newest: &str) {
    stateful(s, "db", None);
    let db = s.stateful_sets.items.last_mut().expect("the StatefulSet");
    db.spec.replicas = Some(3);
    (db.status.ready_replicas, db.status.updated_replicas) = (3, 1);
    for (at, made) in [("0", "2026-10-01T00:00:00Z"), ("2", newest)] {
        let metadata = json!({"name": format!("db-{at}"), "namespace": SHOP, "labels": {"app": "db"}, "creationTimestamp": made});
        let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        s.pods.items.push(part(json!({"metadata": metadata, "status": status})));
    }
}

#[test]
fn a_rollout_that_stands_still_is_an_error_and_one_on_its_way_is_none() {
    for (newest, severity) in
        [("2026-11-02T05:00:00Z", Severity::Error), ("2026-11-02T09:50:00Z", Severity::Warning)]
    {
        let report = super::report(|s| half_rolled(s, newest));
        let found =
            report.problems.iter().find(|p| p.finding.subject.kind == "StatefulSet").expect("a finding");
        assert_eq!(found.severity, severity, "{newest}: {}", found.finding.message);
    }
}
