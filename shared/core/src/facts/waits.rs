//! What failing objects wait for, and who would create what is missing: the edges that are read out of inventories,
//! labels and the controllers' own words.

use std::collections::BTreeSet;

use super::creator::{Creators, is_wait};
use super::failure::{Failure, read};
use super::flux::Instances;
use super::reference::Missings;
use super::{Facts, InventoryEntry, Observed, Snapshot, said};
use crate::object::ObjectRef;
use crate::snapshot::kinds::{Condition, HelmRelease, Kustomization};

/// One object does not work without the other.
pub(super) type Edge = (ObjectRef, ObjectRef);

/// Kinds that a wait for everything that was applied hangs on, beside workloads: they have a readiness of their own.
const WAITED_FOR: &[&str] = &[
    "Kustomization",
    "HelmRelease",
    "GitRepository",
    "OCIRepository",
    "Bucket",
    "HelmRepository",
    "HelmChart",
];

/// All of them.
pub(super) fn edges(
    s: &Snapshot,
    missing: &Missings,
    creators: &Creators,
    instances: &Instances<'_>,
) -> Vec<Edge> {
    let mut edges = Vec::new();
    for (object, of) in &missing.found {
        edges.extend(of.needed_by.iter().map(|by| (by.clone(), object.clone())));
    }
    edges.extend(of_creators(s, creators));
    s.kustomizations
        .items
        .iter()
        .filter(|k| k.spec.kube_config.is_none())
        .for_each(|k| of_kustomization(k, &mut edges));
    s.helm_releases
        .items
        .iter()
        .filter(|r| r.spec.kube_config.is_none())
        .for_each(|r| of_release(r, &mut edges));
    edges.extend(of_labels(s));
    edges.extend(of_namespaces(s));
    edges.extend(of_charts(s, instances));
    edges
}

/// From what does not exist to whoever would create it, and from there to what that reads.
fn of_creators(s: &Snapshot, creators: &Creators) -> Vec<Edge> {
    let pair = |(object, by): (&ObjectRef, &BTreeSet<ObjectRef>)| {
        by.iter().map(|creator| (object.clone(), creator.clone())).collect::<Vec<_>>()
    };
    let mut edges: Vec<Edge> = creators.iter().flat_map(pair).collect();
    for entry in &s.referenced {
        let Observed::Known(Some(referenced)) = &entry.state else { continue };
        let from = referenced.reads.iter().map(|reads| {
            // Only cluster-scoped kinds have a name like ClusterSecretStore, ClusterIssuer.
            let own = if reads.kind.starts_with("Cluster") { "" } else { entry.namespace.as_str() };
            ObjectRef::new(&reads.kind, own, &reads.name)
        });
        edges.extend(from.map(|reads| (entry.object(), reads)));
    }
    edges
}

/// A Kustomization waits for its health checks and for everything where it is told so. Where its failure names what did not become
/// ready, it is that and nothing else.
fn of_kustomization(k: &Kustomization, edges: &mut Vec<Edge>) {
    let object = k.metadata.object("Kustomization");
    let (spec, status) = (&k.spec, &k.status);
    let failed = failures(&status.conditions).any(is_wait);
    // One that fails before it waits hangs on nothing that it would have waited for.
    let waits = !k.fails_by_itself() && !names_waited_for(&status.conditions);
    let checks = spec.health_checks.iter().map(|check| Facts::resolve(check, &object.namespace));
    edges.extend(checks.filter(|_| waits).map(|check| (object.clone(), check)));
    if waits && (spec.wait || failed) {
        let inventory = k.status.inventory.entries.iter().filter_map(InventoryEntry::object);
        let waited = inventory.filter(|o| WAITED_FOR.contains(&o.kind.as_str()) && *o != object);
        edges.extend(waited.map(|waited| (object.clone(), waited)));
    }
    of_message(&object, &k.status.conditions, edges);
}

fn of_release(r: &HelmRelease, edges: &mut Vec<Edge>) {
    of_message(&r.metadata.object("HelmRelease"), &r.status.conditions, edges);
}

/// Whether a failed wait says what did not become ready.
pub(super) fn names_waited_for(conditions: &[Condition]) -> bool {
    failures(conditions).filter(|c| is_wait(c)).any(|c| !said::waited_for(&c.message).is_empty())
}

/// What the text of a failed wait names.
fn of_message(object: &ObjectRef, conditions: &[Condition], edges: &mut Vec<Edge>) {
    let hooks = failures(conditions).filter_map(|c| said::failed_hook(&c.message));
    edges.extend(hooks.map(|job| (object.clone(), job)));
    for condition in failures(conditions).filter(|c| is_wait(c)) {
        let named = said::waited_for(&condition.message).into_iter().filter(|named| named != object);
        edges.extend(named.map(|named| (object.clone(), named)));
    }
}

fn failures(conditions: &[Condition]) -> impl Iterator<Item = &Condition> {
    let is_failure = |c: &&Condition| match c.kind.as_str() {
        "Ready" | "Released" | "Healthy" | "TestSuccess" => c.status == "False",
        "Stalled" => c.status == "True",
        _ => false,
    };
    conditions.iter().filter(is_failure)
}

/// What fails to apply, and workloads that are gone, need the namespace that is being deleted.
fn of_namespaces(s: &Snapshot) -> Vec<Edge> {
    let ending = s.namespace_objects.items.iter().filter(|n| n.metadata.deletion_timestamp.is_some());
    let ending: BTreeSet<&str> = ending.map(|n| n.metadata.name.as_str()).collect();
    if ending.is_empty() {
        return Vec::new();
    }
    let namespace = |name: &str| ObjectRef::new("Namespace", "", name);
    // A namespace hangs on what in it cannot be deleted: the finalizers of Flux, once its controllers are gone.
    let hanging = deleted(s).filter(|object| ending.contains(object.namespace.as_str()));
    let mut edges: Vec<Edge> = hanging.map(|object| (namespace(&object.namespace), object)).collect();
    for (owner, inventory, elsewhere) in super::inventories(s) {
        let workloads = inventory.entries.iter().filter(|_| !elsewhere).filter_map(InventoryEntry::workload);
        edges.extend(workloads.filter(|o| ending.contains(o.namespace.as_str())).map(|o| {
            let need = namespace(&o.namespace);
            (o, need)
        }));
        let texts = said_by(s, &owner).filter(|text| read(text) == Failure::Terminating);
        for text in texts {
            let named = text
                .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
                .filter(|word| ending.contains(word));
            edges.extend(named.map(|name| (owner.clone(), namespace(name))));
        }
    }
    edges
}

/// Flux objects whose deletion was asked for.
fn deleted(s: &Snapshot) -> impl Iterator<Item = ObjectRef> {
    let sources = ["GitRepository", "OCIRepository", "Bucket", "HelmRepository", "HelmChart"].into_iter();
    let sources = sources.flat_map(|kind| {
        let items = super::sources(s, kind).map_or(&[][..], |listing| &listing.items);
        items.iter().map(move |item| (kind, &item.metadata))
    });
    let kustomizations = s.kustomizations.items.iter().map(|k| ("Kustomization", &k.metadata));
    let releases = s.helm_releases.items.iter().map(|r| ("HelmRelease", &r.metadata));
    let all = kustomizations.chain(releases).chain(sources);
    all.filter(|(_, meta)| meta.deletion_timestamp.is_some()).map(|(kind, meta)| meta.object(kind))
}

/// What an applier says where it fails.
pub(super) fn said_by<'s>(s: &'s Snapshot, owner: &ObjectRef) -> impl Iterator<Item = &'s str> + use<'s> {
    let (namespace, name) = (&owner.namespace, &owner.name);
    let conditions: &[Condition] = match owner.kind.as_str() {
        "Kustomization" => {
            let found = s.kustomizations.find(namespace, name).ok().flatten();
            found.map_or(&[], |k| &k.status.conditions)
        }
        _ => s.helm_releases.find(namespace, name).ok().flatten().map_or(&[], |r| &r.status.conditions),
    };
    failures(conditions).map(|c| c.message.as_str())
}

/// helm-controller labels what it installs; the inventory of a HelmRelease is there since Flux 2.8, and not after a
/// first install that failed.
fn of_labels(s: &Snapshot) -> impl Iterator<Item = Edge> {
    let by_itself: BTreeSet<ObjectRef> = s
        .helm_releases
        .items
        .iter()
        .filter(|r| r.fails_by_itself())
        .map(|r| r.metadata.object("HelmRelease"))
        .collect();
    let kinds =
        [("Deployment", &s.deployments), ("StatefulSet", &s.stateful_sets), ("DaemonSet", &s.daemon_sets)];
    let workloads =
        kinds.into_iter().flat_map(|(kind, listing)| listing.items.iter().map(move |w| (kind, w)));
    workloads.filter_map(move |(kind, w)| {
        let label = |key| w.metadata.label(key);
        let release = ObjectRef::new(
            "HelmRelease",
            label("helm.toolkit.fluxcd.io/namespace")?,
            label("helm.toolkit.fluxcd.io/name")?,
        );
        (!by_itself.contains(&release)).then(|| (release, w.metadata.object(kind)))
    })
}

/// A HelmChart that does not exist is one that helm-controller has not made of its HelmRelease.
fn of_charts(s: &Snapshot, instances: &Instances<'_>) -> Vec<Edge> {
    let known: BTreeSet<(&str, &str)> = s
        .helm_charts
        .items
        .iter()
        .map(|c| (c.metadata.namespace.as_str(), c.metadata.name.as_str()))
        .collect();
    let lost = s.helm_releases.items.iter().filter_map(|r| {
        let at = r.status.helm_chart.split_once('/').filter(|at| !known.contains(at))?;
        Some((ObjectRef::new("HelmChart", at.0, at.1), instances.expected("helm-controller", &r.metadata)))
    });
    lost.collect()
}
