//! The parts that broken clusters are made of.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::facts::{Condition, InventoryEntry, Referenced, ReferencedEntry};
use crate::fixture;
use crate::snapshot::{Observed, SecretEntry, Snapshot, Why, WhyKind};

/// Reads a part of a snapshot.
pub(super) fn part<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a part of a snapshot")
}

/// The namespace and name of the workload that most cases break.
pub(super) const SHOP: &str = "example-nginx";

/// No pod of nginx is ready, its pod template gets these fields, and its pod this status.
pub(super) fn nginx_down(s: &mut Snapshot, spec: &Value, status: &Value) {
    let nginx = fixture::deployment_mut(s, "nginx");
    nginx.status.ready_replicas = 0;
    nginx.status.available_replicas = 0;
    let mut whole = json!({"containers": [{"name": "main", "image": "nginx:1.27"}]});
    for (key, value) in spec.as_object().into_iter().flatten() {
        whole[key] = value.clone();
    }
    nginx.spec.template.spec = part(whole.clone());
    s.pods.items.push(part(
        json!({"metadata": {"name": "nginx-5d-x", "namespace": SHOP, "labels": {"app": "nginx"}},
        "spec": whole, "status": status}),
    ));
}

/// The status of a pod whose containers are being created.
pub(super) fn creating() -> Value {
    waits("ContainerCreating", "")
}

/// The status of a pod with a container that waits.
pub(super) fn waits(reason: &str, message: &str) -> Value {
    json!({"phase": "Pending", "containerStatuses": [{"name": "main", "state": {"waiting": {"reason": reason, "message": message}}}]})
}

/// A warning about an object.
pub(super) fn warning(s: &mut Snapshot, kind: &str, name: &str, reason: &str, message: &str) {
    s.warnings.items.push(part(
        json!({"metadata": {"name": "e", "namespace": SHOP}, "reason": reason, "message": message,
        "involvedObject": {"kind": kind, "namespace": SHOP, "name": name}}),
    ));
}

/// A Secret that was asked for and does not exist.
pub(super) fn no_secret(s: &mut Snapshot, namespace: &str, name: &str) {
    s.secrets.retain(|e| (e.namespace.as_str(), e.name.as_str()) != (namespace, name));
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    s.secrets.push(SecretEntry { namespace, name, shape: Observed::Known(None) });
}

/// An object of another kind that was read by name: as the API gives it, or absent.
pub(super) fn other(
    s: &mut Snapshot,
    group: &str,
    kind: &str,
    namespace: &str,
    name: &str,
    object: Option<Value>,
) {
    let state = Observed::Known(object.map(|mut object| {
        object["metadata"] = json!({"namespace": namespace, "name": name});
        Referenced::of(kind, &object)
    }));
    entry(s, group, kind, namespace, name, state);
}

/// One that could not be read.
pub(super) fn unread(s: &mut Snapshot, group: &str, kind: &str, namespace: &str, name: &str) {
    let why = Why::new(WhyKind::Forbidden, format!("get {kind} {namespace}/{name}"), "forbidden");
    entry(s, group, kind, namespace, name, Observed::Unknown(why));
}

fn entry(
    s: &mut Snapshot,
    group: &str,
    kind: &str,
    namespace: &str,
    name: &str,
    state: Observed<Option<Referenced>>,
) {
    let [group, kind, namespace, name] = [group, kind, namespace, name].map(str::to_owned);
    s.referenced.push(ReferencedEntry { group, kind, namespace, name, state });
}

/// The status of an object whose controller reports an error.
pub(super) fn error(reason: &str, message: &str) -> Value {
    json!({"conditions": [{"type": "Ready", "status": "False", "reason": reason, "message": message}]})
}

/// The Kustomization that deploys nginx fails.
pub(super) fn apps_failed(s: &mut Snapshot, reason: &str, message: &str) {
    s.kustomizations.items[1].status.conditions = fixture::not_ready(reason, message);
}

/// The Kustomization of the Flux repository fails.
pub(super) fn system_failed(s: &mut Snapshot, reason: &str, message: &str) {
    s.kustomizations.items[0].status.conditions = fixture::not_ready(reason, message);
}

/// The inventory of a Kustomization holds one more object.
pub(super) fn holds(s: &mut Snapshot, kustomization: usize, id: &str, version: &str) {
    let entry = InventoryEntry { id: id.to_owned(), v: version.to_owned() };
    s.kustomizations.items[kustomization].status.inventory.entries.push(entry);
}

/// The name of the release that [`release`] adds.
pub(super) const WEB: &str = "HelmRelease shop/web";

/// A HelmRelease `shop/web` with its chart, its Deployment and one pod of it; all is well with them.
pub(super) fn release(s: &mut Snapshot) {
    let mut release = s.helm_releases.items[0].clone();
    (release.metadata.name, release.metadata.namespace) = ("web".to_owned(), "shop".to_owned());
    release.spec.values = crate::facts::AgentValues::default();
    let chart = release.spec.chart.as_mut().expect("a chart");
    chart.spec.chart = "web".to_owned();
    release.status.helm_chart = "shop/shop-web".to_owned();
    release.status.inventory.entries.clear();
    s.helm_releases.items.push(release);
    let mut chart = s.helm_charts.items[0].clone();
    (chart.metadata.name, chart.metadata.namespace) = ("shop-web".to_owned(), "shop".to_owned());
    s.helm_charts.items.push(chart);
    let mut deployment = fixture::deployment_mut(s, "nginx").clone();
    (deployment.metadata.name, deployment.metadata.namespace) = ("web".to_owned(), "shop".to_owned());
    deployment.spec.selector.match_labels = [("app".to_owned(), "web".to_owned())].into();
    deployment.metadata.labels = [("name", "web"), ("namespace", "shop")]
        .map(|(key, value)| (format!("helm.toolkit.fluxcd.io/{key}"), value.to_owned()))
        .into();
    s.deployments.items.push(deployment);
}

/// The release `shop/web` fails: `Released=False` and `Ready=False`.
pub(super) fn web_failed(s: &mut Snapshot, reason: &str, message: &str) {
    let release = s.helm_releases.items.iter_mut().find(|r| r.metadata.name == "web").expect("the release");
    let mut conditions = fixture::not_ready(reason, message);
    conditions.push(Condition { kind: "Released".to_owned(), ..conditions[0].clone() });
    release.status.conditions = conditions;
    release.status.last_attempted_release_action = "install".to_owned();
}

/// The Deployment of the release `shop/web` is down, with these fields of its pods and this status of one.
pub(super) fn web_down(s: &mut Snapshot, spec: &Value, status: &Value) {
    let web = s.deployments.items.iter_mut().find(|d| d.metadata.name == "web").expect("the Deployment");
    web.status.ready_replicas = 0;
    let mut whole = json!({"containers": [{"name": "main", "image": "web:1"}]});
    for (key, value) in spec.as_object().into_iter().flatten() {
        whole[key] = value.clone();
    }
    web.spec.template.spec = part(whole.clone());
    s.pods
        .items
        .push(part(json!({"metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web"}},
        "spec": whole, "status": status})));
}

/// The release's own inventory, as Flux 2.8 and newer write it.
pub(super) fn web_inventory(s: &mut Snapshot, ids: &[&str]) {
    let release = s.helm_releases.items.iter_mut().find(|r| r.metadata.name == "web").expect("the release");
    let entries = ids.iter().map(|id| InventoryEntry { id: (*id).to_owned(), v: "v1".to_owned() });
    release.status.inventory.entries.extend(entries);
}

/// Another Kustomization in the namespace of Flux, ready, of the same source as the one that deploys nginx.
pub(super) fn kustomization(s: &mut Snapshot, name: &str) -> usize {
    let mut made = s.kustomizations.items[1].clone();
    name.clone_into(&mut made.metadata.name);
    made.status.inventory.entries.clear();
    s.kustomizations.items.push(made);
    s.kustomizations.items.len() - 1
}
