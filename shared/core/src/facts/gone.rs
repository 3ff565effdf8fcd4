//! Objects of inventories that do not exist any more.

use std::collections::HashSet;

use super::creator::failing_appliers;
use super::{Facts, InventoryEntry, inventories};
use crate::object::ObjectRef;
use crate::snapshot::Snapshot;

/// Whether an object of a kind that is listed does not exist; what was not listed may.
pub(super) fn is_gone(s: &Snapshot, o: &ObjectRef) -> bool {
    let (namespace, name) = (&o.namespace, &o.name);
    if let Some(sources) = super::sources(s, &o.kind) {
        return matches!(sources.find(namespace, name), Ok(None));
    }
    match o.kind.as_str() {
        "Deployment" => matches!(s.deployments.find(namespace, name), Ok(None)),
        "StatefulSet" => matches!(s.stateful_sets.find(namespace, name), Ok(None)),
        "DaemonSet" => matches!(s.daemon_sets.find(namespace, name), Ok(None)),
        "Kustomization" => matches!(s.kustomizations.find(namespace, name), Ok(None)),
        "HelmRelease" => matches!(s.helm_releases.find(namespace, name), Ok(None)),
        "Receiver" => matches!(s.receivers.find(namespace, name), Ok(None)),
        "Alert" => matches!(s.alerts.find(namespace, name), Ok(None)),
        "Provider" => matches!(s.providers.find(namespace, name), Ok(None)),
        _ => false,
    }
}

impl InventoryEntry {
    /// The object, where it is one of Flux's own kinds; other API groups have kinds of the same names.
    fn of_flux(&self) -> Option<ObjectRef> {
        let group = self.id.rsplit('_').nth(1).unwrap_or_default();
        group.ends_with(".toolkit.fluxcd.io").then(|| self.object()).flatten()
    }
}

impl Facts<'_> {
    /// The Kustomizations and HelmReleases that fail before they have applied everything.
    pub fn failing_appliers(&self) -> HashSet<ObjectRef> {
        failing_appliers(self.snapshot).map(|(owner, _)| owner).collect()
    }

    /// Flux's own objects that were applied here and do not exist any more, each with who applied it.
    pub fn gone_of_flux(&self) -> Vec<(ObjectRef, ObjectRef)> {
        let here = inventories(self.snapshot).filter(|(_, _, elsewhere)| !elsewhere);
        let entries = here.flat_map(|(owner, inventory, _)| {
            inventory
                .entries
                .iter()
                .filter_map(InventoryEntry::of_flux)
                .map(move |object| (object, owner.clone()))
        });
        entries.filter(|(object, _)| is_gone(self.snapshot, object)).collect()
    }
}
