//! Kinds that a cluster does not define. Flux can be installed without some of its controllers and their kinds.

use super::{Listing, Snapshot, WhyKind};
use crate::need::Need;

impl Snapshot {
    /// Empties the listing of each of Flux's kinds that is not defined: there is no object of it, and nothing is unknown.
    pub fn settle_undefined(&mut self) {
        let undefined = |need: Need, listing: &[super::Why]| is_undefined(self, need) && is_unserved(listing);
        let sources = [
            (Need::GitRepositories, undefined(Need::GitRepositories, &self.git_repositories.gaps)),
            (Need::OciRepositories, undefined(Need::OciRepositories, &self.oci_repositories.gaps)),
            (Need::Buckets, undefined(Need::Buckets, &self.buckets.gaps)),
            (Need::HelmRepositories, undefined(Need::HelmRepositories, &self.helm_repositories.gaps)),
            (Need::HelmCharts, undefined(Need::HelmCharts, &self.helm_charts.gaps)),
            (Need::Kustomizations, undefined(Need::Kustomizations, &self.kustomizations.gaps)),
            (Need::HelmReleases, undefined(Need::HelmReleases, &self.helm_releases.gaps)),
            (Need::Receivers, undefined(Need::Receivers, &self.receivers.gaps)),
            (Need::Providers, undefined(Need::Providers, &self.providers.gaps)),
            (Need::Alerts, undefined(Need::Alerts, &self.alerts.gaps)),
        ];
        for (need, _) in sources.into_iter().filter(|(_, undefined)| *undefined) {
            self.empty(need);
        }
    }

    fn empty(&mut self, need: Need) {
        match need {
            Need::GitRepositories => self.git_repositories = Listing::default(),
            Need::OciRepositories => self.oci_repositories = Listing::default(),
            Need::Buckets => self.buckets = Listing::default(),
            Need::HelmRepositories => self.helm_repositories = Listing::default(),
            Need::HelmCharts => self.helm_charts = Listing::default(),
            Need::Kustomizations => self.kustomizations = Listing::default(),
            Need::HelmReleases => self.helm_releases = Listing::default(),
            Need::Receivers => self.receivers = Listing::default(),
            Need::Providers => self.providers = Listing::default(),
            Need::Alerts => self.alerts = Listing::default(),
            _ => {}
        }
    }
}

/// Whether nothing but "not served" was answered.
fn is_unserved(gaps: &[super::Why]) -> bool {
    !gaps.is_empty() && gaps.iter().all(|why| why.kind == WhyKind::NotServed)
}

/// Whether the cluster has no definition of a kind: the list of definitions is complete, or its whole group is not served.
fn is_undefined(s: &Snapshot, need: Need) -> bool {
    let row = need.row();
    let name = row.qualified();
    let by_definition = s.crds.gaps.is_empty() && !s.crds.items.iter().any(|crd| crd.metadata.name == name);
    let by_group = || s.groups.get().is_ok_and(|groups| !groups.iter().any(|group| group.name == row.group));
    by_definition || (!s.crds.gaps.is_empty() && by_group())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::snapshot::{Observed, Why};

    fn why(kind: WhyKind) -> Why {
        Why::new(kind, "list helmreleases", "404")
    }

    fn settled(kind: WhyKind, change: impl FnOnce(&mut Snapshot)) -> bool {
        let mut s = fixture::healthy();
        s.helm_releases = Listing::unknown(why(kind));
        change(&mut s);
        s.settle_undefined();
        s.helm_releases.gaps.is_empty() && s.helm_releases.namespaces.is_none()
    }

    fn undefine(s: &mut Snapshot) {
        s.crds.items.retain(|crd| !crd.metadata.name.starts_with("helmreleases."));
    }

    #[test]
    fn a_kind_that_is_not_defined_has_no_objects() {
        let unread = |s: &mut Snapshot| s.crds = Listing::unknown(why(WhyKind::Forbidden));
        assert!(settled(WhyKind::NotServed, undefine));
        assert!(!settled(WhyKind::NotServed, |_| {}), "it is defined, in another version");
        assert!(!settled(WhyKind::Forbidden, undefine));
        assert!(!settled(WhyKind::Intercepted, undefine));
        assert!(!settled(WhyKind::NotServed, unread), "its group is served");
        assert!(settled(WhyKind::NotServed, |s| {
            unread(s);
            if let Observed::Known(groups) = &mut s.groups {
                groups.retain(|group| !group.name.starts_with("helm."));
            }
        }));
        assert!(!settled(WhyKind::NotServed, |s| {
            unread(s);
            s.groups = Observed::Unknown(why(WhyKind::TimedOut));
        }));
    }
}
