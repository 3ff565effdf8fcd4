//! Flux with some of its controllers: what nothing uses is not missing, what something uses is.

use super::build::*;
use super::{Case, case, hold, report, tree};
use crate::assess::Severity;
use crate::facts::flux::{KINDS, controller_of};
use crate::fixture;
use crate::report::Exit;
use crate::snapshot::{Listing, Observed, Snapshot, Why, WhyKind};

/// Takes a controller and its kinds away, with all objects of them, as an installation without it is observed.
fn without(s: &mut Snapshot, controller: &str) {
    s.deployments.items.retain(|d| d.metadata.name != controller);
    s.services.items.retain(|i| i.metadata.name != controller);
    undefine(s, controller);
}

/// Takes a controller's kinds away.
fn undefine(s: &mut Snapshot, controller: &str) {
    for (kind, plural, group, _) in KINDS.iter().filter(|(kind, ..)| controller_of(kind) == Some(controller))
    {
        let name = format!("{plural}.{group}");
        s.crds.items.retain(|crd| crd.metadata.name != name);
        if let Observed::Known(groups) = &mut s.groups {
            groups.retain(|of| of.name != *group);
        }
        let why = || Why::new(WhyKind::NotServed, "a list", "404");
        match *kind {
            "HelmRelease" => s.helm_releases = Listing::unknown(why()),
            "Kustomization" => s.kustomizations = Listing::unknown(why()),
            "Receiver" => s.receivers = Listing::unknown(why()),
            "Provider" => s.providers = Listing::unknown(why()),
            "Alert" => s.alerts = Listing::unknown(why()),
            _ => {}
        }
    }
    s.settle_undefined();
}

/// agentk, applied by the Kustomization in the place of the release.
fn agentk_as_manifest(s: &mut Snapshot) {
    s.helm_charts.items.clear();
    s.helm_repositories.items.clear();
    s.chart_indexes.clear();
    s.kustomizations.items[0].status.inventory.entries.clear();
    holds(s, 0, "gitlab_gitlab-agent-v2_apps_Deployment", "v1");
    fixture::deployment_mut(s, "gitlab-agent-v2").metadata.labels.retain(|key, _| !key.contains("helm"));
}

fn without_helm(s: &mut Snapshot) {
    agentk_as_manifest(s);
    without(s, "helm-controller");
}

/// Without what only notification-controller makes of pushes.
fn without_agentk(s: &mut Snapshot) {
    s.deployments.items.retain(|d| d.metadata.namespace != "gitlab");
    s.pods.items.clear();
    s.leases.items.clear();
    s.logs.clear();
    s.helm_releases.items.clear();
    agentk_leftovers(s);
}

fn agentk_leftovers(s: &mut Snapshot) {
    s.kustomizations
        .items
        .iter_mut()
        .for_each(|k| k.status.inventory.entries.retain(|e| !e.id.contains("gitlab-agent")));
    s.helm_charts.items.clear();
    s.helm_repositories.items.clear();
    s.chart_indexes.clear();
    s.receivers.items.clear();
    s.secrets.retain(|secret| !secret.name.contains("receiver"));
}

/// Without Kustomizations: releases only.
fn without_kustomize(s: &mut Snapshot) {
    s.git_repositories.items.clear();
    s.receivers.items.clear();
    s.alerts.items.clear();
    s.providers.items.clear();
    s.secrets.retain(|secret| secret.namespace == "gitlab");
    without(s, "kustomize-controller");
}

/// Everything is fetched as OCI artifacts: no push event reaches Flux.
fn from_oci(s: &mut Snapshot) {
    let mut sources = std::mem::take(&mut s.git_repositories.items);
    for source in &mut sources {
        *source.spec.url = format!("oci://registry.example.com/{}", source.metadata.name);
        source.spec.secret_ref = None;
    }
    s.oci_repositories.items = sources;
    s.kustomizations.items.iter_mut().for_each(|k| k.spec.source_ref.kind = "OCIRepository".to_owned());
    s.secrets.retain(|secret| secret.namespace == "gitlab");
}

fn operator(s: &mut Snapshot) {
    let name = "fluxinstances.fluxcd.controlplane.io";
    s.crds.items.push(part(serde_json::json!({"metadata": {"name": name}})));
}

fn extra(s: &mut Snapshot, name: &str) {
    let mut made = fixture::deployment_mut(s, "source-controller").clone();
    name.clone_into(&mut made.metadata.name);
    let container = &mut made.spec.template.spec.containers[0];
    container.image = format!("ghcr.io/fluxcd/{name}:v1.0.0");
    made.spec.selector.match_labels.insert("app".to_owned(), name.to_owned());
    made.spec.template.metadata.labels.insert("app".to_owned(), name.to_owned());
    s.deployments.items.push(made);
}

type Change = fn(&mut Snapshot);

/// Installations with which nothing is wrong.
const HEALTHY: &[(&str, Change)] = &[
    ("without helm-controller", without_helm),
    ("without helm-controller, its kinds left behind", |s| {
        agentk_as_manifest(s);
        s.helm_releases.items.clear();
        s.deployments.items.retain(|d| d.metadata.name != "helm-controller");
    }),
    ("without helm-controller, by the Flux Operator", |s| {
        without_helm(s);
        operator(s);
    }),
    ("without kustomize-controller", without_kustomize),
    ("without kustomize-controller, by the Flux Operator", |s| {
        without_kustomize(s);
        operator(s);
    }),
    ("without notification-controller, from OCI artifacts", |s| {
        from_oci(s);
        without(s, "notification-controller");
    }),
    ("with the image controllers", |s| {
        extra(s, "image-reflector-controller");
        extra(s, "image-automation-controller");
    }),
    ("with source-watcher", |s| extra(s, "source-watcher")),
    ("with source-watcher and without helm-controller", |s| {
        without_helm(s);
        extra(s, "source-watcher");
    }),
    ("a HelmRelease of another cluster, listed in an inventory", |s| {
        without_helm(s);
        s.kustomizations.items[1].spec.kube_config =
            Some(part(serde_json::json!({"secretRef": {"name": "remote"}})));
        holds(s, 1, "shop_web_helm.toolkit.fluxcd.io_HelmRelease", "v2");
    }),
];

#[test]
fn what_nothing_uses_is_not_missing() {
    let wrong: Vec<String> = HEALTHY
        .iter()
        .filter_map(|(name, change)| {
            let report = report(change);
            let error = report.problems.iter().any(|p| p.severity == Severity::Error);
            let of_flux =
                report.problems.iter().any(|p| (201..=208).contains(&p.check.code) || p.check.code == 302);
            let line = format!(
                "{name}: {:?}{} {:?}",
                report.exit,
                tree(&report),
                report.checks.iter().flat_map(|c| &c.unknown).collect::<Vec<_>>()
            );
            (error || of_flux || report.exit != Exit::Fine).then_some(line)
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const HELM: &str = "Deployment flux-system/helm-controller";

/// Something uses what is missing.
const CASES: &[Case] = &[
    case("HelmReleases without helm-controller", (204, HELM), |s| {
        s.deployments.items.retain(|d| d.metadata.name != "helm-controller");
    }),
    case(
        "helm-controller without its kind",
        (201, "CustomResourceDefinition helmreleases.helm.toolkit.fluxcd.io"),
        |s| {
            agentk_as_manifest(s);
            undefine(s, "helm-controller");
        },
    ),
    case(
        "neither, and an inventory lists a HelmRelease",
        (201, "CustomResourceDefinition helmreleases.helm.toolkit.fluxcd.io"),
        |s| {
            without_helm(s);
            holds(s, 1, "example-nginx_web_helm.toolkit.fluxcd.io_HelmRelease", "v2");
        },
    )
    .also(&[(204, HELM), (701, "HelmRelease example-nginx/web")]),
    case(
        "Kustomizations without kustomize-controller",
        (203, "Deployment flux-system/kustomize-controller"),
        |s| {
            s.deployments.items.retain(|d| d.metadata.name != "kustomize-controller");
        },
    ),
    case(
        "a bootstrapped Flux whose kustomize-controller was deleted with its kind",
        (201, "CustomResourceDefinition kustomizations.kustomize.toolkit.fluxcd.io"),
        |s| {
            without_kustomize(s);
            for d in s.deployments.items.iter_mut().filter(|d| d.metadata.namespace == "flux-system") {
                d.metadata
                    .labels
                    .insert("kustomize.toolkit.fluxcd.io/name".to_owned(), "flux-system".to_owned());
            }
        },
    )
    .also(&[(203, "Deployment flux-system/kustomize-controller")]),
    case(
        "agentk without notification-controller",
        (201, "CustomResourceDefinition receivers.notification.toolkit.fluxcd.io"),
        |s| {
            s.alerts.items.clear();
            s.providers.items.clear();
            without(s, "notification-controller");
        },
    )
    .also(&[(205, "Deployment flux-system/notification-controller")]),
    case("definitions without any controller", (202, "Deployment flux-system/source-controller"), |s| {
        without_agentk(s);
        s.deployments.items.clear();
        s.kustomizations.items.clear();
        s.git_repositories.items.clear();
        s.alerts.items.clear();
        s.providers.items.clear();
        s.secrets.clear();
    })
    .also(&[(301, "Cluster")]),
];

#[test]
fn what_something_uses_is_missing() {
    hold(CASES);
}

/// Where it may not be listed what would need a controller, nobody knows whether the controller is missing.
#[test]
fn what_may_need_a_missing_controller_is_unknown() {
    let report = report(|s| {
        without_helm(s);
        s.helm_releases = Listing::unknown(Why::new(WhyKind::Forbidden, "list helmreleases", "no"));
    });
    let line = report.checks.iter().find(|line| line.check.code == 204).expect("it ran");
    assert_eq!(line.unknown.first().map(|why| why.kind), Some(WhyKind::Forbidden), "{line:?}");
    assert_eq!(report.exit, Exit::Unknown);
}
