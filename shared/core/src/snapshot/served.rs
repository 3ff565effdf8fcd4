//! Kinds that a cluster does not define. Flux can be installed without some of its controllers and their kinds.

use super::{Listing, Snapshot, WhyKind};
use crate::need::Need;

impl Snapshot {
    /// Empties the listing of each of Flux's kinds that is not defined: there is no object of it, and nothing is unknown.
    pub fn settle_undefined(&mut self) {
        let undefined = KINDS.map(|need| is_undefined(self, need));
        let [git, oci, bucket, helm, chart, kustomization, release, receiver, provider, alert] = undefined;
        settle(&mut self.git_repositories, git);
        settle(&mut self.oci_repositories, oci);
        settle(&mut self.buckets, bucket);
        settle(&mut self.helm_repositories, helm);
        settle(&mut self.helm_charts, chart);
        settle(&mut self.kustomizations, kustomization);
        settle(&mut self.helm_releases, release);
        settle(&mut self.receivers, receiver);
        settle(&mut self.providers, provider);
        settle(&mut self.alerts, alert);
    }
}

const KINDS: [Need; 10] = [
    Need::GitRepositories,
    Need::OciRepositories,
    Need::Buckets,
    Need::HelmRepositories,
    Need::HelmCharts,
    Need::Kustomizations,
    Need::HelmReleases,
    Need::Receivers,
    Need::Providers,
    Need::Alerts,
];

fn settle<T>(listing: &mut Listing<T>, is_undefined: bool) {
    let gaps = &listing.gaps;
    if is_undefined && !gaps.is_empty() && gaps.iter().all(|why| why.kind == WhyKind::NotServed) {
        *listing = Listing::default();
    }
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
