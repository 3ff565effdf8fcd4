//! Two causes at once: an applier that fails at what it applies is no consequence of a workload that does not run, nor of a source
//! that cannot be fetched any more. And what an applier never got to apply is no cause of its failure.

use serde_json::json;

use super::build::*;
use super::{Case, case, hold};
use crate::fixture;
use crate::snapshot::Snapshot;

const APPS: (u16, &str) = (408, "Kustomization flux-system/example-nginx-app");
const NGINX: (u16, &str) = (701, "Deployment example-nginx/nginx");
const SOURCE: (u16, &str) = (407, "GitRepository flux-system/example-nginx-app");

fn crashes(s: &mut Snapshot) {
    nginx_down(s, &json!({}), &waits("CrashLoopBackOff", "back-off 5m0s restarting failed container"));
}

fn refused(s: &mut Snapshot) {
    let words = "failed to checkout and determine revision: unable to clone: authentication required";
    fixture::git_mut(s, "example-nginx-app").status.conditions =
        fixture::fetch_failed("GitOperationFailed", words);
}

/// The release holds a Deployment that is not there.
fn never_made(s: &mut Snapshot) {
    release(s);
    s.deployments.items.retain(|d| d.metadata.namespace != "shop");
    web_inventory(s, &["shop_web_apps_Deployment"]);
}

const CASES: &[Case] = &[
    case("pods crash, and a manifest is broken", NGINX, |s| {
        crashes(s);
        apps_failed(s, "ReconciliationFailed", "Service/example-nginx/web dry-run failed (Invalid): spec.ports: Required value");
    })
    .also(&[APPS]),
    case("pods crash, and the build fails", NGINX, |s| {
        crashes(s);
        apps_failed(s, "BuildFailed", "kustomize build failed: accumulating resources: missing Resource metadata");
    })
    .also(&[APPS]),
    case("pods crash, and a policy denies another object", NGINX, |s| {
        crashes(s);
        let denied = "ConfigMap/example-nginx/x dry-run failed (Forbidden): ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no";
        apps_failed(s, "ReconciliationFailed", denied);
    })
    .also(&[APPS]),
    case("pods crash, and nothing may be pruned", NGINX, |s| {
        crashes(s);
        apps_failed(s, "PruneFailed", "Service/example-nginx/old delete failed: services \"old\" is forbidden: User \"x\" cannot delete");
    })
    .also(&[APPS]),
    case("pods crash, and the wait for them fails", NGINX, |s| {
        crashes(s);
        apps_failed(s, "HealthCheckFailed", "health check failed after 30s: timeout waiting for: [Deployment/example-nginx/nginx status: 'InProgress']");
    })
    .under(&[APPS]),
    case("all is waited for, and it fails before that", NGINX, |s| {
        crashes(s);
        s.kustomizations.items[1].spec.wait = true;
        apps_failed(s, "ReconciliationFailed", "Job/example-nginx/init dry-run failed (Invalid): field is immutable");
    })
    .also(&[APPS]),
    case("pods crash, and the wait for another object fails", NGINX, |s| {
        crashes(s);
        let index = kustomization(s, "later");
        s.kustomizations.items[index].status.conditions = fixture::not_ready("DependencyNotReady", "dependency 'flux-system/x' is not ready");
        let failed = "health check failed after 30s: failed early due to stalled resources: [Kustomization/flux-system/later status: 'Failed']";
        apps_failed(s, "HealthCheckFailed", failed);
    })
    .also(&[(408, "Kustomization flux-system/later")]),
    case("the credential is refused, and a field cannot be changed", SOURCE, |s| {
        refused(s);
        apps_failed(s, "ReconciliationFailed", "Service/example-nginx/web dry-run failed (Invalid): spec.clusterIP: field is immutable");
    })
    .also(&[APPS]),
    case("the credential is refused, and the path does not exist", SOURCE, |s| {
        refused(s);
        apps_failed(s, "ArtifactFailed", "kustomization path not found: stat /tmp/kustomization-1/nowhere: no such file or directory");
    })
    .also(&[APPS]),
    case("the credential is refused, and the artifact is lost", SOURCE, |s| {
        refused(s);
        apps_failed(s, "ArtifactFailed", "Source artifact not found, retrying in 30s");
    })
    .under(&[APPS]),
    case("a release that a policy denies never had its Deployment", (408, WEB), |s| {
        never_made(s);
        web_failed(s, "InstallFailed", "Helm install failed for release shop/web with chart web@1.0.0: failed to create resource: deployments.apps \"web\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no");
    })
    .under(&[(701, "Deployment shop/web")]),
    case("the same after all attempts", (408, WEB), |s| {
        never_made(s);
        web_failed(s, "InstallFailed", "Helm install failed for release shop/web with chart web@1.0.0: failed to create resource: deployments.apps \"web\" is forbidden: exceeded quota: q, requested: count/deployments.apps=1, used: count/deployments.apps=0, limited: count/deployments.apps=0");
        let conditions = &mut s.helm_releases.items.last_mut().expect("a release").status.conditions;
        let stalled = json!({"type": "Stalled", "status": "True", "reason": "RetriesExceeded", "message": "Failed to install after 1 attempt(s)"});
        conditions.push(part(stalled));
    })
    .under(&[(701, "Deployment shop/web")]),
    case("a release that waits in vain for what does not run", (701, "Deployment shop/web"), |s| {
        release(s);
        web_inventory(s, &["shop_web_apps_Deployment"]);
        web_down(s, &json!({}), &waits("CrashLoopBackOff", "back-off 5m0s restarting failed container"));
        web_failed(s, "InstallFailed", "Helm install failed for release shop/web with chart web@1.0.0: context deadline exceeded");
        let conditions = &mut s.helm_releases.items.last_mut().expect("a release").status.conditions;
        let stalled = json!({"type": "Stalled", "status": "True", "reason": "RetriesExceeded", "message": "Failed to install after 1 attempt(s)"});
        conditions.push(part(stalled));
    })
    .under(&[(408, WEB)]),
    case("a rollout whose new pod crashes while the old one serves", NGINX, |s| {
        crashes(s);
        let status = &mut fixture::deployment_mut(s, "nginx").status;
        (status.replicas, status.ready_replicas, status.updated_replicas, status.available_replicas) = (3, 2, 2, 2);
    })
    .says("does not get its new pods to run (CrashLoopBackOff)"),
    case("one taint that keeps pods off all nodes", NGINX, |s| {
        let said = "0/3 nodes are available: 3 node(s) had untolerated taint {maintenance: true}. preemption: 0/3 nodes are available: \
                    3 Preemption is not helpful for scheduling.";
        let pending = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": said}]});
        nginx_down(s, &json!({}), &pending);
        release(s);
        let web = s.deployments.items.last_mut().expect("a Deployment");
        (web.status.ready_replicas, web.status.available_replicas) = (0, 0);
        holds(s, 1, "shop_web_apps_Deployment", "v1");
        s.pods.items.push(part(json!({"metadata": {"name": "web-5d-x", "namespace": "shop", "labels": {"app": "web"}},
            "status": pending})));
    })
    .under(&[(701, "Deployment shop/web")])
    .says("{maintenance: true}"),
];

#[test]
fn two_causes_are_two_problems() {
    hold(CASES);
}
