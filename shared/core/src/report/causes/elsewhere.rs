//! Other clusters, other namespaces of Flux, several instances of it.

use serde_json::json;

use super::build::*;
use super::{Case, case, hold};
use crate::fixture;
use crate::snapshot::Snapshot;

/// Flux runs in the namespace `gitops`: its controllers, Service, policies and bootstrap.
pub(super) fn moved(s: &mut Snapshot) {
    let place = |namespace: &mut String| {
        if namespace == "flux-system" {
            "gitops".clone_into(namespace);
        }
    };
    s.deployments.items.iter_mut().for_each(|d| place(&mut d.metadata.namespace));
    s.services.items.iter_mut().for_each(|i| place(&mut i.metadata.namespace));
    s.endpoint_slices.items.iter_mut().for_each(|i| place(&mut i.metadata.namespace));
    s.network_policies.items.iter_mut().for_each(|i| place(&mut i.metadata.namespace));
    s.namespace_objects.items.iter_mut().for_each(|i| {
        if i.metadata.name == "flux-system" {
            "gitops".clone_into(&mut i.metadata.name);
            i.metadata.labels.insert("kubernetes.io/metadata.name".to_owned(), "gitops".to_owned());
        }
    });
    for d in s.deployments.items.iter_mut().filter(|d| d.metadata.namespace == "gitops") {
        for key in ["name", "namespace"] {
            d.metadata.labels.insert(format!("kustomize.toolkit.fluxcd.io/{key}"), "flux-system".to_owned());
        }
    }
}

/// A second source-controller for the shard `one`, and a first that leaves it out.
pub(super) fn sharded(s: &mut Snapshot) {
    let args = |selector: &str| crate::facts::Args(vec![format!("--watch-label-selector={selector}")]);
    let first = fixture::deployment_mut(s, "source-controller");
    first.spec.template.spec.containers[0].args = args("!sharding.fluxcd.io/key");
    let mut shard = first.clone();
    "source-controller-one".clone_into(&mut shard.metadata.name);
    shard.spec.template.spec.containers[0].args = args("sharding.fluxcd.io/key=one");
    s.deployments.items.push(shard);
    let labels = &mut fixture::git_mut(s, "example-nginx-app").metadata.labels;
    labels.insert("sharding.fluxcd.io/key".to_owned(), "one".to_owned());
}

fn down(s: &mut Snapshot, name: &str) {
    fixture::deployment_mut(s, name).status.ready_replicas = 0;
}

const CASES: &[Case] = &[
    case("a controller of Flux elsewhere", (203, "Deployment gitops/kustomize-controller"), |s| {
        moved(s);
        down(s, "kustomize-controller");
    }),
    case(
        "the webhook Service of Flux elsewhere has no endpoint",
        (205, "Service gitops/webhook-receiver"),
        |s| {
            moved(s);
            let service = "kubernetes.io/service-name";
            s.endpoint_slices.items.retain(|i| i.metadata.label(service) != Some("webhook-receiver"));
        },
    ),
    case("a shard is down", (202, "Deployment flux-system/source-controller-one"), |s| {
        sharded(s);
        down(s, "source-controller-one");
        fixture::git_mut(s, "example-nginx-app").status.conditions =
            fixture::fetch_failed("GitOperationFailed", "x");
    })
    .under(&[(407, "GitRepository flux-system/example-nginx-app")]),
    case("the other shard is down", (202, "Deployment flux-system/source-controller"), |s| {
        sharded(s);
        fixture::git_mut(s, "example-nginx-app").status.conditions =
            fixture::fetch_failed("GitOperationFailed", "repository not found");
        down(s, "source-controller");
    })
    .also(&[(407, "GitRepository flux-system/example-nginx-app")]),
    case("a second Flux with its own webhook Service", (205, "Service team/webhook-receiver"), |s| {
        let mut second = fixture::deployment_mut(s, "notification-controller").clone();
        "team".clone_into(&mut second.metadata.namespace);
        s.deployments.items.push(second);
    }),
    case("a release of another cluster fails by itself", (408, WEB), |s| {
        release(s);
        let release = s.helm_releases.items.last_mut().expect("the release");
        release.spec.kube_config = Some(part(json!({"secretRef": {"name": "remote"}})));
        web_failed(s, "InstallFailed", "context deadline exceeded");
        s.deployments.items.last_mut().expect("the Deployment").metadata.labels.clear();
        web_down(s, &json!({}), &waits("CrashLoopBackOff", "x"));
    }),
];

#[test]
fn what_runs_elsewhere_is_found_where_it_is() {
    hold(CASES);
}
