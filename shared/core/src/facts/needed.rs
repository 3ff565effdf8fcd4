//! Which of Flux's controllers this cluster needs. Flux can be installed without some of them (`flux install
//! --components`, the Flux Operator's FluxInstance): what nothing uses is not missing.

use super::flux::{CONTROLLERS, controller_of};
use super::{Facts, InventoryEntry, Why, inventories};

/// The label that `flux bootstrap` puts on what its Kustomization applies.
const MANAGED: &str = "kustomize.toolkit.fluxcd.io/name";

impl Facts<'_> {
    /// Whether something in this cluster needs a controller, installed or not.
    ///
    /// # Errors
    /// Nothing was seen that does, and not everything was seen.
    pub fn needs_controller(&self, name: &str) -> Result<bool, Why> {
        let (mut exists, mut unseen) = (false, None);
        for (kind, count, gaps) in self.flux_objects() {
            if controller_of(kind) == Some(name) {
                exists |= count > 0;
                unseen = unseen.or(gaps.first());
            }
        }
        if exists || self.is_applied(name) || self.is_used(name) {
            return Ok(true);
        }
        unseen.map_or(Ok(false), |why| Err(why.clone()))
    }

    /// Whether a kind of Flux is needed: its controller is installed, or should be.
    ///
    /// # Errors
    /// See [`Self::needs_controller`] and [`Self::instances`].
    pub fn needs_kind(&self, kind: &str) -> Result<bool, Why> {
        let Some(name) = controller_of(kind) else { return Ok(false) };
        match self.needs_controller(name) {
            Ok(true) => Ok(true),
            needed => Ok(!self.instances(name)?.is_empty() || needed?),
        }
    }

    /// The controllers of which this installation of Flux consists, or should; all where none runs.
    pub fn components(&self) -> Vec<&'static str> {
        let all = || CONTROLLERS.iter().map(|(name, _)| *name);
        let runs = |name: &&str| !self.flux.of(name).is_empty();
        if !all().any(|name| runs(&name)) {
            return all().collect();
        }
        all().filter(|name| runs(name) || self.needs_controller(name) != Ok(false)).collect()
    }

    /// Flux's kinds: how many objects of each were seen, and why there may be more.
    fn flux_objects(&self) -> Vec<(&'static str, usize, &[Why])> {
        let s = self.snapshot;
        let sources = self.source_kinds().map(|(kind, l)| (kind, l.items.len(), l.gaps.as_slice()));
        let others = [
            ("Kustomization", s.kustomizations.items.len(), s.kustomizations.gaps.as_slice()),
            ("HelmRelease", s.helm_releases.items.len(), &s.helm_releases.gaps),
            ("Receiver", s.receivers.items.len(), &s.receivers.gaps),
            ("Provider", s.providers.items.len(), &s.providers.gaps),
            ("Alert", s.alerts.items.len(), &s.alerts.gaps),
        ];
        sources.into_iter().chain(others).collect()
    }

    /// Whether a Kustomization or HelmRelease applied an object of the controller's kinds to this cluster. Such objects are
    /// gone where their definition was deleted.
    fn is_applied(&self, name: &str) -> bool {
        let here = inventories(self.snapshot).filter(|(_, _, elsewhere)| !elsewhere);
        let entries = here.flat_map(|(_, inventory, _)| &inventory.entries);
        let of_flux = entries.filter(|entry| entry.id.contains(".toolkit.fluxcd.io_"));
        of_flux.filter_map(InventoryEntry::object).any(|object| controller_of(&object.kind) == Some(name))
    }

    /// What needs a controller beside objects of its kinds.
    fn is_used(&self, name: &str) -> bool {
        let installed = || CONTROLLERS.iter().flat_map(|(name, _)| self.flux.of(name));
        match name {
            // Without any controller there is no Flux.
            "source-controller" => installed().next().is_none(),
            // A Kustomization manages Flux itself.
            "kustomize-controller" => installed().any(|d| d.metadata.label(MANAGED).is_some()),
            // agentk creates a Receiver for each GitRepository.
            "notification-controller" => {
                !self.agents.is_empty() && !self.snapshot.git_repositories.items.is_empty()
            }
            _ => false,
        }
    }
}
