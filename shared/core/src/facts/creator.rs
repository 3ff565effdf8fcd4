//! Who would create an object that does not exist: whoever's inventory holds it, whoever fails with its name in the
//! message, and objects of other kinds (ExternalSecret, SealedSecret, Certificate, …) that create it.

use std::collections::{BTreeMap, BTreeSet};

use super::failure::{Failure, read};
use super::readiness::{Readiness, readiness};
use super::{Facts, InventoryEntry, said};
use crate::object::ObjectRef;
use crate::snapshot::kinds::{Condition, HelmRelease, Inventory, Kustomization, condition, is_creator};
use crate::snapshot::{Observed, Snapshot};

/// An object of another kind that may create what is missing, or that a failed wait names: to be looked at by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// API group.
    pub group: String,
    /// API version, where the inventory names it.
    pub version: String,
    /// The object.
    pub object: ObjectRef,
}

/// Candidates that are read: so many at most.
const MOST: usize = 50;

/// The candidates that inventories name: kinds that are known to create Secrets, in the namespace of something that is
/// missing; any kind of another group with the name of something that is missing; and what failed waits name.
pub fn candidates(s: &Snapshot, missing: &BTreeSet<ObjectRef>) -> Vec<Candidate> {
    let namespaces: BTreeSet<&str> = missing.iter().map(|o| o.namespace.as_str()).collect();
    let names: BTreeSet<(&str, &str)> =
        missing.iter().map(|o| (o.namespace.as_str(), o.name.as_str())).collect();
    let failed = failed_waits(s);
    let here = super::inventories(s).filter(|(_, _, elsewhere)| !elsewhere);
    let entries = here.flat_map(|(_, inventory, _)| &inventory.entries);
    let found: BTreeSet<Candidate> = entries
        .filter_map(|entry| {
            let (object, group) = (entry.object()?, group(&entry.id)?);
            let creates = is_creator(&object.kind) && namespaces.contains(object.namespace.as_str());
            let named = names.contains(&(object.namespace.as_str(), object.name.as_str()));
            let wanted = creates || named || failed.contains(&object);
            (wanted && is_foreign(group)).then(|| Candidate {
                group: group.to_owned(),
                version: entry.v.clone(),
                object,
            })
        })
        .collect();
    found.into_iter().take(MOST).collect()
}

/// The objects that failed waits name.
pub(super) fn failed_waits(s: &Snapshot) -> BTreeSet<ObjectRef> {
    let ks = s.kustomizations.items.iter().flat_map(|k| &k.status.conditions);
    let rs = s.helm_releases.items.iter().flat_map(|r| &r.status.conditions);
    let failed = ks.chain(rs).filter(|c| c.status == "False");
    let named = failed.flat_map(|c| {
        let waited = if is_wait(c) { said::waited_for(&c.message) } else { Vec::new() };
        waited.into_iter().chain(said::failed_hook(&c.message))
    });
    named.collect()
}

/// The API group in an inventory's id.
fn group(id: &str) -> Option<&str> {
    id.rsplit_once('_')?.0.rsplit_once('_').map(|(_, group)| group)
}

/// Whether a group is neither Kubernetes' own nor one of Flux that is read anyway.
fn is_foreign(group: &str) -> bool {
    group.contains('.') && !group.ends_with(".k8s.io") && !group.ends_with(".toolkit.fluxcd.io")
}

/// The creators of each object that is missing.
pub(crate) type Creators = BTreeMap<ObjectRef, BTreeSet<ObjectRef>>;

/// A Kustomization or HelmRelease, as far as it matters here.
struct Applier<'s> {
    object: ObjectRef,
    /// What it is applied from: where that is missing, it is not the one that makes it.
    source: Option<ObjectRef>,
    target_namespace: &'s str,
    inventory: &'s Inventory,
    conditions: &'s [Condition],
    state: Readiness<'s>,
}

/// Finds them.
pub(super) fn creators<'m>(s: &Snapshot, missing: impl IntoIterator<Item = &'m ObjectRef>) -> Creators {
    let mut found: Creators = missing.into_iter().map(|object| (object.clone(), BTreeSet::new())).collect();
    if found.is_empty() {
        return found;
    }
    let mut names: BTreeMap<String, Vec<ObjectRef>> = BTreeMap::new();
    for object in found.keys().filter(|object| object.kind == "Secret") {
        names.entry(object.name.clone()).or_default().push(object.clone());
    }
    for applier in appliers(s) {
        of_applier(&mut found, &names, &applier);
    }
    for entry in &s.referenced {
        let Observed::Known(Some(referenced)) = &entry.state else { continue };
        for name in &referenced.creates {
            for kind in ["Secret", "ConfigMap"] {
                if let Some(by) = found.get_mut(&ObjectRef::new(kind, &entry.namespace, name)) {
                    by.insert(entry.object());
                }
            }
        }
    }
    found
}

/// The Kustomizations and HelmReleases that fail before they apply anything, with their inventories.
pub(super) fn failing_appliers(s: &Snapshot) -> impl Iterator<Item = (ObjectRef, &Inventory)> {
    let failing =
        appliers(s).filter(|a| matches!(a.state, Readiness::Failed(_)) && !waited(a.state, a.conditions));
    failing.map(|a| (a.object, a.inventory))
}

/// Those that apply to this cluster.
fn appliers(s: &Snapshot) -> impl Iterator<Item = Applier<'_>> {
    let kustomizations = s.kustomizations.items.iter().filter(|k| k.spec.kube_config.is_none()).map(|k| {
        let (metadata, status) = (&k.metadata, &k.status);
        Applier {
            object: metadata.object("Kustomization"),
            source: Some(Facts::resolve(&k.spec.source_ref, &metadata.namespace)),
            target_namespace: &k.spec.target_namespace,
            inventory: &status.inventory,
            conditions: &status.conditions,
            state: readiness(
                &status.conditions,
                metadata.generation,
                status.observed_generation,
                k.spec.suspend,
            ),
        }
    });
    let releases = s.helm_releases.items.iter().filter(|r| r.spec.kube_config.is_none()).map(|r| {
        let (metadata, status) = (&r.metadata, &r.status);
        Applier {
            object: metadata.object("HelmRelease"),
            source: (r.spec.chart_ref.as_ref())
                .or(r.spec.chart.as_ref().map(|c| &c.spec.source_ref))
                .map(|from| Facts::resolve(from, &metadata.namespace)),
            target_namespace: if r.spec.target_namespace.is_empty() {
                &metadata.namespace
            } else {
                &r.spec.target_namespace
            },
            inventory: &status.inventory,
            conditions: &status.conditions,
            state: readiness(
                &status.conditions,
                metadata.generation,
                status.observed_generation,
                r.spec.suspend,
            ),
        }
    });
    kustomizations.chain(releases)
}

fn of_applier(found: &mut Creators, names: &BTreeMap<String, Vec<ObjectRef>>, applier: &Applier<'_>) {
    if applies_nothing(applier) {
        for object in applier.inventory.entries.iter().filter_map(InventoryEntry::object) {
            if let Some(by) = found.get_mut(&object) {
                by.insert(applier.object.clone());
            }
        }
    }
    let Readiness::Failed(condition) = applier.state else { return };
    for object in said::waited_for(&condition.message) {
        let is_made = !waited(applier.state, applier.conditions) && applier.source.as_ref() != Some(&object);
        if let Some(by) = found.get_mut(&object).filter(|_| is_made) {
            by.insert(applier.object.clone());
        }
    }
    if let Some((namespace, name)) = said::undecrypted(&condition.message) {
        let target = Some(applier.target_namespace).filter(|n| !n.is_empty());
        let place = namespace.or(target);
        let fits = |object: &&ObjectRef| place.is_none_or(|n| n == object.namespace);
        for object in names.get(name).into_iter().flatten().filter(fits) {
            if let Some(by) = found.get_mut(object) {
                by.insert(applier.object.clone());
            }
        }
    }
}

/// Whether an applier does not bring back what is missing of its inventory. One whose wait failed has applied
/// everything before.
fn applies_nothing(applier: &Applier<'_>) -> bool {
    match applier.state {
        Readiness::Suspended | Readiness::Waiting(_) => true,
        Readiness::Failed(_) => !waited(applier.state, applier.conditions),
        Readiness::Ready | Readiness::Progressing(_) | Readiness::NotObserved => false,
    }
}

/// Whether an applier failed in its wait for what it had applied. That helm-controller gave up, or took the attempt back, does not
/// tell at what; what Helm said of it stays in `Released`.
pub(super) fn waited(state: Readiness<'_>, conditions: &[Condition]) -> bool {
    let Readiness::Failed(shown) = state else { return false };
    let released = condition(conditions, "Released").filter(|c| c.status == "False" && !c.message.is_empty());
    is_wait(released.filter(|_| gave_up(shown)).unwrap_or(shown))
}

fn gave_up(condition: &Condition) -> bool {
    ["RetriesExceeded", "RollbackSucceeded", "UninstallSucceeded"].contains(&condition.reason.as_str())
}

/// Whether an applier failed at what it applies itself: neither for want of its source, nor in its wait for what it had applied.
fn fails_by_itself(state: Readiness<'_>, conditions: &[Condition]) -> bool {
    const OWN: &[&str] = &[
        "BuildFailed",
        "ReconciliationFailed",
        "PruneFailed",
        "InstallFailed",
        "UpgradeFailed",
        "RollbackFailed",
        "UninstallFailed",
        "ValuesError",
    ];
    let Readiness::Failed(shown) = state else { return false };
    // A path that is not in the artifact is a failure of the artifact by its reason.
    let own = |c: &Condition| OWN.contains(&c.reason.as_str()) || read(&c.message) == Failure::PathMissing;
    let released = condition(conditions, "Released").filter(|c| c.status == "False");
    (own(shown) || (gave_up(shown) && released.is_some_and(own))) && !waited(state, conditions)
}

impl Kustomization {
    /// See [`fails_by_itself`].
    pub(super) fn fails_by_itself(&self) -> bool {
        let status = &self.status;
        let generation = self.metadata.generation;
        let state = readiness(&status.conditions, generation, status.observed_generation, self.spec.suspend);
        fails_by_itself(state, &status.conditions)
    }
}

impl HelmRelease {
    /// See [`fails_by_itself`].
    pub(super) fn fails_by_itself(&self) -> bool {
        let status = &self.status;
        let generation = self.metadata.generation;
        let state = readiness(&status.conditions, generation, status.observed_generation, self.spec.suspend);
        fails_by_itself(state, &status.conditions)
    }
}

/// Whether a failure is that of a wait for what was applied, by the words of kustomize-controller, Helm 3 and Helm 4.
pub fn is_wait(condition: &Condition) -> bool {
    const WAITS: &[&str] = &[
        "health check failed",
        "timeout waiting for",
        "timed out waiting",
        "context deadline exceeded",
        "not ready. status:",
        "client rate limiter wait returned an error",
    ];
    condition.reason == "HealthCheckFailed"
        || gave_up(condition)
        || WAITS.iter().any(|text| condition.message.contains(text))
}
