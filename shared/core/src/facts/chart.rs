//! Where agentk's chart comes from, and which versions of it there are.

use semver::Version;

use super::{Facts, HelmRelease, Why, WhyKind};
use crate::object::ObjectRef;
use crate::snapshot::ChartVersion;

impl<'s> Facts<'s> {
    /// The HelmRepository that a release's chart comes from; `Ok(None)` for charts from elsewhere.
    ///
    /// # Errors
    /// The HelmChart in between is not known.
    pub fn chart_repository(&self, release: &HelmRelease) -> Result<Option<ObjectRef>, Why> {
        let own = &release.metadata.namespace;
        let from = match (&release.spec.chart, &release.spec.chart_ref) {
            (Some(chart), _) => Facts::resolve(&chart.spec.source_ref, own),
            (None, Some(reference)) => {
                let object = Facts::resolve(reference, own);
                if object.kind != "HelmChart" {
                    return Ok(None);
                }
                let chart = self.snapshot.helm_charts.find(&object.namespace, &object.name)?;
                let Some(from) = chart.and_then(|chart| chart.spec.source_ref.as_ref()) else {
                    return Ok(None);
                };
                Facts::resolve(from, &object.namespace)
            }
            (None, None) => return Ok(None),
        };
        Ok((from.kind == "HelmRepository").then_some(from))
    }

    /// The versions of agentk's chart in a HelmRepository, newest first.
    ///
    /// # Errors
    /// Its index was not read.
    pub fn chart_versions(&self, repository: &ObjectRef) -> Result<&'s [ChartVersion], Why> {
        let own = |i: &&crate::snapshot::ChartIndex| {
            (&i.namespace, &i.name) == (&repository.namespace, &repository.name)
        };
        match self.snapshot.chart_indexes.iter().find(own) {
            Some(index) => index.versions.get().map(Vec::as_slice),
            None => Err(Why::new(WhyKind::NotAsked, format!("index of {repository}"), "it was not read")),
        }
    }
}

/// A version, with or without a `v` before it.
pub fn version(text: &str) -> Option<Version> {
    Version::parse(text.trim_start_matches('v')).ok()
}

/// The release that the objects in the cluster are of: the newest attempt, also where it failed, because what it
/// wrote stays until it is rolled back. None where it was uninstalled.
pub fn of_objects(release: &HelmRelease) -> Option<&super::HelmSnapshot> {
    release.status.history.first().filter(|made| made.status != "uninstalled")
}

/// The last release that Helm deployed well; the history's first entry may be a failed attempt.
pub fn deployed(release: &HelmRelease) -> Option<&super::HelmSnapshot> {
    let history = &release.status.history;
    history.iter().find(|made| made.status == "deployed").or_else(|| history.first())
}
