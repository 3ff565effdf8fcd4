//! Unusual clusters that are not broken.

use serde_json::json;

use super::build::*;
use super::elsewhere::{moved, sharded};
use super::{report, tree};
use crate::assess::Severity;
use crate::fixture;
use crate::snapshot::Snapshot;

type Change = fn(&mut Snapshot);

const CLUSTERS: &[(&str, Change)] = &[
    ("optional references that do not exist", |s| {
        let volumes = json!([{"name": "c", "configMap": {"name": "no", "optional": true}}, {"name": "s", "secret": {"secretName": "no", "optional": true}}]);
        fixture::deployment_mut(s, "nginx").spec.template.spec.volumes = part(volumes);
        no_secret(s, SHOP, "no");
        other(s, "", "ConfigMap", SHOP, "no", None);
    }),
    ("a warning of the past about a pod that runs", |s| {
        warning(
            s,
            "Pod",
            "nginx-5d-x",
            "FailedMount",
            "MountVolume.SetUp failed for volume \"c\" : configmap \"web\" not found",
        );
    }),
    ("an ExternalSecret that is well", |s| {
        let status = json!({"conditions": [{"type": "Ready", "status": "True", "reason": "SecretSynced"}]});
        other(
            s,
            "external-secrets.io",
            "ExternalSecret",
            SHOP,
            "db",
            Some(json!({"spec": {}, "status": status})),
        );
    }),
    ("another kind without conditions", |s| {
        other(s, "example.com", "Thing", SHOP, "thing", Some(json!({"spec": {"secretName": "x"}})));
    }),
    ("Flux elsewhere", moved),
    ("shards", sharded),
    ("two installations, each with its own namespace", |s| {
        for name in ["source-controller", "kustomize-controller"] {
            let mut second = fixture::deployment_mut(s, name).clone();
            "team".clone_into(&mut second.metadata.namespace);
            second.spec.template.spec.containers[0].args.0 = vec!["--watch-all-namespaces=false".to_owned()];
            s.deployments.items.push(second);
        }
    }),
    ("a Kustomization that applies to another cluster", |s| {
        s.kustomizations.items[1].spec.kube_config = Some(part(json!({"secretRef": {"name": "remote"}})));
        s.deployments.items.retain(|d| d.metadata.name != "nginx");
        holds(s, 1, "shop_db_apps_StatefulSet", "v1");
    }),
    ("a HelmRelease that installs into another cluster", |s| {
        release(s);
        let release = s.helm_releases.items.last_mut().expect("the release");
        release.spec.kube_config = Some(part(json!({"configMapRef": {"name": "remote"}})));
        web_inventory(s, &["shop_web_apps_Deployment"]);
        s.deployments.items.pop();
    }),
    ("agentk of another cluster is installed from here", |s| {
        let mut release = s.helm_releases.items[0].clone();
        "remote-agent".clone_into(&mut release.metadata.name);
        release.spec.values.secret_name = Some("remote-token".to_owned());
        release.spec.kube_config = Some(part(json!({"secretRef": {"name": "remote"}})));
        release.status.inventory.entries = Vec::new();
        s.helm_releases.items.push(release);
        no_secret(s, "gitlab", "remote-token");
    }),
    ("a Deployment scaled to zero", |s| {
        let nginx = fixture::deployment_mut(s, "nginx");
        nginx.spec.replicas = Some(0);
        nginx.status.ready_replicas = 0;
    }),
    ("a paused Deployment with all pods of its present spec", |s| {
        fixture::deployment_mut(s, "nginx").spec.paused = true;
    }),
    ("a Secret that an ExternalSecret is still to create, needed by nobody", |s| {
        let status = json!({"conditions": [{"type": "Ready", "status": "Unknown", "reason": "Progressing"}]});
        other(
            s,
            "external-secrets.io",
            "ExternalSecret",
            SHOP,
            "db",
            Some(json!({"spec": {}, "status": status})),
        );
    }),
    ("workloads that Flux did not deploy and that wait", |s| {
        let mut foreign = fixture::deployment_mut(s, "nginx").clone();
        "foreign".clone_into(&mut foreign.metadata.name);
        foreign.status.ready_replicas = 0;
        foreign.spec.template.spec.volumes = part(json!([{"name": "c", "configMap": {"name": "no"}}]));
        other(s, "", "ConfigMap", SHOP, "no", None);
        s.deployments.items.push(foreign);
    }),
    ("a release without an inventory (Flux 2.7 and older)", |s| {
        release(s);
        s.helm_releases.items[0].status.inventory.entries.clear();
    }),
];

#[test]
fn unusual_clusters_have_no_problem() {
    let wrong: Vec<String> = CLUSTERS
        .iter()
        .filter_map(|(name, change)| {
            let report = report(change);
            // agentk has to be told where Flux's Service is, where it is elsewhere.
            let told = |p: &super::Problem| p.check.code == 412 && *name == "Flux elsewhere";
            let bad = report.problems.iter().any(|p| p.severity > Severity::Info && !told(p));
            bad.then(|| format!("{name}: {}", tree(&report)))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CLUSTERS.len(), wrong.join("\n"));
    assert!(CLUSTERS.len() >= 12);
}

/// Held by somebody, and not on its way.
#[test]
fn a_paused_deployment_is_not_being_rolled_out() {
    let report = report(|s| {
        let nginx = fixture::deployment_mut(s, "nginx");
        nginx.spec.paused = true;
        nginx.status.updated_replicas = 0;
    });
    let [only] = &report.problems[..] else { panic!("{}", tree(&report)) };
    assert_eq!(only.finding.message, "is paused: changes of it are not rolled out");
    let commands = only.finding.remedy.lines();
    assert!(commands.iter().any(|c| c.contains("rollout resume")), "{commands:?}");
}
