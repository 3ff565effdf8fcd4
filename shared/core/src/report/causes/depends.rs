//! What waits for something that never comes: suspended, not there, itself, a namespace that is being deleted, a path that is
//! not in Git.

use serde_json::json;

use super::build::*;
use super::{Case, case, hold};
use crate::fixture;
use crate::snapshot::Snapshot;
use crate::snapshot::kinds::CrossRef;

/// A Kustomization that waits for another.
fn waits_for(s: &mut Snapshot, name: &str, on: &str) {
    let at = kustomization(s, name);
    let k = &mut s.kustomizations.items[at];
    k.spec.depends_on = vec![CrossRef { name: on.to_owned(), ..CrossRef::default() }];
    k.status.conditions =
        fixture::not_ready("DependencyNotReady", &format!("dependency 'flux-system/{on}' is not ready"));
}

fn is(s: &mut Snapshot, name: &str, suspended: bool, reason: &str, message: &str) {
    let at = kustomization(s, name);
    let k = &mut s.kustomizations.items[at];
    k.spec.suspend = suspended;
    k.status.conditions = fixture::not_ready(reason, message);
}

/// A HelmRelease that waits for another.
fn release_waits(s: &mut Snapshot, on: &str) {
    release(s);
    web_failed(s, "DependencyNotReady", &format!("dependency 'shop/{on}' is not ready"));
    let web = s.helm_releases.items.iter_mut().find(|r| r.metadata.name == "web").expect("the release");
    web.spec.depends_on = vec![CrossRef { name: on.to_owned(), ..CrossRef::default() }];
}

/// A namespace is being deleted.
fn ends(s: &mut Snapshot, name: &str) {
    s.namespace_objects.items.retain(|n| n.metadata.name != name);
    s.namespace_objects
        .items
        .push(part(json!({"metadata": {"name": name, "deletionTimestamp": "2026-11-02T07:00:00Z"}})));
}

const NO_CONTENT: &str = "Deployment/example-nginx/nginx dry-run failed (Forbidden): deployments.apps \"nginx\" is forbidden: unable to create new content in namespace example-nginx because it is being terminated";

const CASES: &[Case] = &[
    case("a dependency that is suspended and had failed", (406, "Kustomization flux-system/infra"), |s| {
        is(s, "infra", true, "BuildFailed", "kustomize build failed: x");
        waits_for(s, "a", "infra");
        waits_for(s, "b", "a");
    })
    .under(&[(408, "Kustomization flux-system/a"), (408, "Kustomization flux-system/b")])
    .says("it is not ready, and Kustomization flux-system/a waits for it"),
    case("a dependency that does not exist", (408, "Kustomization flux-system/a"), |s| {
        waits_for(s, "a", "infra");
        waits_for(s, "b", "a");
    })
    .under(&[(408, "Kustomization flux-system/b")])
    .says("waits for Kustomization flux-system/infra, which does not exist"),
    case("two that wait for each other", (408, "Kustomization flux-system/a"), |s| {
        waits_for(s, "a", "b");
        waits_for(s, "b", "a");
        waits_for(s, "c", "b");
    })
    .under(&[(408, "Kustomization flux-system/b"), (408, "Kustomization flux-system/c")])
    .says("goes in a circle (flux-system/a → flux-system/b → flux-system/a)"),
    case("one that waits for itself", (408, "Kustomization flux-system/a"), |s| waits_for(s, "a", "a"))
        .says("(flux-system/a → flux-system/a)"),
    case("a release whose dependency does not exist", (408, WEB), |s| release_waits(s, "db"))
        .says("waits for HelmRelease shop/db, which does not exist"),
    case("a release that waits for itself", (408, WEB), |s| release_waits(s, "web")).says("goes in a circle"),
    case("a dependency that fails", (408, "Kustomization flux-system/infra"), |s| {
        is(s, "infra", false, "BuildFailed", "kustomize build failed: x");
        waits_for(s, "a", "infra");
    })
    .under(&[(408, "Kustomization flux-system/a")]),
    case("a namespace that hangs, and the workload is gone", (702, "Namespace example-nginx"), |s| {
        ends(s, "example-nginx");
        s.deployments.items.retain(|d| d.metadata.name != "nginx");
        apps_failed(s, "ReconciliationFailed", NO_CONTENT);
    })
    .under(&[(408, "Kustomization flux-system/example-nginx-app"), (701, "Deployment example-nginx/nginx")])
    .never("reconcile"),
    case("a namespace that hangs, whose workload still runs", (702, "Namespace example-nginx"), |s| {
        ends(s, "example-nginx");
        apps_failed(s, "ReconciliationFailed", NO_CONTENT);
    })
    .under(&[(408, "Kustomization flux-system/example-nginx-app")]),
    case("a namespace that hangs before Flux has noticed", (702, "Namespace example-nginx"), |s| ends(s, "example-nginx")),
    case("a workload that is gone because its Kustomization cannot be built", (408, "Kustomization flux-system/example-nginx-app"), |s| {
        s.deployments.items.retain(|d| d.metadata.name != "nginx");
        apps_failed(s, "BuildFailed", "kustomize build failed: x");
    })
    .under(&[(701, "Deployment example-nginx/nginx")]),
    case("a workload that is gone because nobody may create it", (408, "Kustomization flux-system/example-nginx-app"), |s| {
        s.deployments.items.retain(|d| d.metadata.name != "nginx");
        apps_failed(s, "ReconciliationFailed", "deployments.apps \"nginx\" is forbidden: User \"system:serviceaccount:a:b\" cannot create");
    })
    .under(&[(701, "Deployment example-nginx/nginx")]),
    case("a path that is not in Git", (408, "Kustomization flux-system/example-nginx-app"), |s| {
        s.kustomizations.items[1].spec.path = "./clusters/prd".to_owned();
        apps_failed(s, "ArtifactFailed", "kustomization path not found: stat /tmp/kustomization-1/clusters/prd: no such file or directory");
    })
    .says("has no folder clusters/prd")
    .never("gitrepository"),
    case("a file that a kustomization names and Git lacks", (408, "Kustomization flux-system/example-nginx-app"), |s| {
        apps_failed(s, "BuildFailed", "kustomize build failed: accumulating resources: accumulation err='accumulating resources from 'x.yaml': evalsymlink failure on '/tmp/x.yaml' : lstat /tmp/x.yaml: no such file or directory'");
    })
    .says("the path that it names does not exist"),
    case("a release that another operation of Helm holds", (408, WEB), |s| {
        release(s);
        web_failed(s, "UpgradeFailed", "Helm upgrade failed for release shop/web: another operation (install/upgrade/rollback) is in progress");
    })
    .never("other owner"),
    case("a source that does not exist", (702, "GitRepository flux-system/ap"), |s| {
        s.kustomizations.items[1].spec.source_ref.name = "ap".to_owned();
        apps_failed(s, "ArtifactFailed", "GitRepository.source.toolkit.fluxcd.io \"ap\" not found");
    })
    .under(&[(408, "Kustomization flux-system/example-nginx-app")])
    .never("annotate"),
    case("a Kustomization that hangs in its deletion", (408, "Kustomization flux-system/old"), |s| {
        is(s, "old", false, "PruneFailed", "deployments.apps \"x\" is forbidden: User \"system:serviceaccount:a:b\" cannot delete");
        let k = s.kustomizations.items.iter_mut().find(|k| k.metadata.name == "old").expect("it");
        k.metadata.deletion_timestamp = "2026-11-02T07:00:00Z".parse().ok();
    })
    .says("is being deleted for 3h, and cannot be: the service account lacks"),
    case("a release whose chart asks for a value", (408, WEB), |s| {
        release(s);
        web_failed(s, "InstallFailed", "Helm install failed for release shop/web with chart web@1: execution error at (web/templates/d.yaml:3:4): ingress.host is required");
    })
    .never("correct the manifest"),
    case("a release whose dependency is suspended and had failed", (406, "HelmRelease shop/db"), |s| {
        release_waits(s, "db");
        let mut db = s.helm_releases.items.iter().find(|r| r.metadata.name == "web").expect("it").clone();
        db.metadata.name = "db".to_owned();
        db.spec.depends_on.clear();
        db.spec.suspend = true;
        db.status.conditions = fixture::not_ready("InstallFailed", "ingress.host is required");
        s.helm_releases.items.push(db);
    })
    .under(&[(408, WEB)]),
    case("an object that somebody writes at the same time", (408, "Kustomization flux-system/example-nginx-app"), |s| {
        apps_failed(s, "ReconciliationFailed", "Operation cannot be fulfilled on deployments.apps \"nginx\": the object has been modified");
    })
    .never("other owner"),
];

#[test]
fn what_never_comes_is_the_cause() {
    hold(CASES);
}
