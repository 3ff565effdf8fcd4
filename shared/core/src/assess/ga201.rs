//! GA201: the Flux kinds are served in the versions that are used.

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::command::Program;
use crate::facts::flux::KINDS;
use crate::facts::{ApiGroup, Facts, Listing, Why, WhyKind};
use crate::need::Need;
use crate::object::ObjectRef;

pub(super) static CHECK: Check = Check {
    code: 201,
    slug: "flux-kinds-not-served",
    title: "the Flux kinds are served in the versions that are used",
    severity: Severity::Error,
    impact: Impact::Delivery,
    needs: &[Need::Groups, Need::Crds],
    page: include_str!("../../../../docs/checks/GA201.md"),
    judge,
};

/// How a kind is not there.
enum Lack {
    /// Neither its group nor its definition.
    Kind,
    /// It is defined, but not in the version that is used.
    Version,
}

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    let s = facts.snapshot;
    let crds = judgement.each(&s.crds);
    let groups = judgement.known(s.groups.get());
    let mut lacking = Vec::new();
    for (kind, plural, group, version) in KINDS {
        let name = format!("{plural}.{group}");
        let defined = crds.iter().any(|crd| crd.metadata.name == name);
        let served = groups.map(|groups| serves(groups, group, version) && !is_refused(facts, kind));
        if s.crds.gaps.is_empty() || served.is_some() {
            judgement.examine();
        }
        match (defined, served) {
            (true, Some(false)) => lacking.push((*kind, name, *version, Lack::Version)),
            (false, _) if s.crds.gaps.is_empty() => lacking.push((*kind, name, *version, Lack::Kind)),
            (false, Some(false)) => lacking.push((*kind, name, *version, Lack::Kind)),
            _ => {}
        }
    }
    if lacking.len() == KINDS.len() && lacking.iter().all(|(.., lack)| matches!(lack, Lack::Kind)) {
        judgement.find(not_installed());
    } else {
        for (kind, name, version, lack) in lacking {
            // Flux can be installed without a controller and its kinds.
            if judgement.known(facts.needs_kind(kind)) == Some(true) {
                judgement.find(not_served(facts, kind, &name, version, &lack));
            }
        }
    }
    Ok(())
}

fn serves(groups: &[ApiGroup], group: &str, version: &str) -> bool {
    groups.iter().any(|g| g.name == group && g.versions.iter().any(|v| v == version))
}

/// Whether the API server answered that it does not serve the kind in the version used. A group version that is
/// served may hold some of its kinds only: source.toolkit.fluxcd.io/v1 has OCIRepository since Flux 2.6.
fn is_refused(facts: &Facts<'_>, kind: &str) -> bool {
    fn any<T>(listing: &Listing<T>) -> bool {
        listing.gaps.iter().any(|why| why.kind == WhyKind::NotServed)
    }
    let s = facts.snapshot;
    match kind {
        "Kustomization" => any(&s.kustomizations),
        "HelmRelease" => any(&s.helm_releases),
        "Receiver" => any(&s.receivers),
        "Provider" => any(&s.providers),
        "Alert" => any(&s.alerts),
        source => facts.sources(source).is_some_and(any),
    }
}

fn not_installed() -> Finding {
    let kinds: Vec<&str> = KINDS.iter().map(|(kind, ..)| *kind).collect();
    let remedy = Remedy::say("install Flux so that it manages itself from Git (needs the Flux CLI)")
        .run(Program::new("flux check --pre"))
        .bootstrap_flux();
    Finding::new(ObjectRef::cluster(), "has no Flux: none of its kinds is served", remedy).because(kinds.join(", "))
}

fn not_served(facts: &Facts<'_>, kind: &str, name: &str, version: &str, lack: &Lack) -> Finding {
    let object = ObjectRef::new("CustomResourceDefinition", "", name);
    let text = match lack {
        Lack::Kind => {
            "apply Flux's manifests again, which hold its kinds (needs the Flux CLI); if the release that runs lacks \
             this kind, upgrade Flux"
        }
        Lack::Version => {
            "upgrade Flux to a release that is still supported: run `flux bootstrap gitlab` again with a newer Flux \
             CLI, or commit what `flux install --export` writes; then see that nothing uses versions that are gone"
        }
    };
    let remedy = match lack {
        Lack::Kind => Remedy::say(text).reapply_flux(facts),
        Lack::Version => {
            Remedy::say(text)
                .run(Program::new("kubectl get crd").name(name).words("-o jsonpath={.spec.versions[*].name}"))
        }
    };
    let message = match (lack, kind) {
        (Lack::Kind, _) => "does not exist".to_owned(),
        (Lack::Version, "OCIRepository") => format!("is not served in version {version}: this is Flux 2.5 or older"),
        (Lack::Version, _) => format!("is not served in version {version}"),
    };
    let versions = |group: &ApiGroup| format!("served of {}: {}", group.name, group.versions.join(", "));
    let of_kind = |group: &&ApiGroup| name.strip_suffix(&group.name).is_some_and(|rest| rest.ends_with('.'));
    let served = facts.snapshot.groups.get().ok().and_then(|groups| groups.iter().find(of_kind).map(versions));
    let finding = Finding::new(object, message, remedy).because(served.unwrap_or_default());
    match kind {
        "Bucket" | "OCIRepository" | "Provider" | "Alert" => finding.severity(Severity::Warning),
        _ => finding,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::Observed;
    use crate::snapshot::Snapshot;

    fn groups(s: &mut Snapshot) -> &mut Vec<ApiGroup> {
        match &mut s.groups {
            Observed::Known(groups) => groups,
            Observed::Unknown(why) => panic!("{why:?}"),
        }
    }

    fn without_crds(s: &mut Snapshot, part: &str) {
        s.crds.items.retain(|crd| !crd.metadata.name.contains(part));
    }

    #[test]
    fn a_cluster_without_flux_is_found_once() {
        let found = finding(&CHECK, |s| {
            without_crds(s, "fluxcd");
            groups(s).retain(|g| g.name == "apps");
        });
        assert_eq!((found.subject.to_string().as_str(), found.message.as_str()), ("Cluster", "has no Flux: none of its kinds is served"));
    }

    #[test]
    fn a_missing_kind_is_found() {
        let found = finding(&CHECK, |s| without_crds(s, "receivers"));
        let subject = "CustomResourceDefinition receivers.notification.toolkit.fluxcd.io";
        assert_eq!((found.subject.to_string().as_str(), found.message.as_str()), (subject, "does not exist"));
        assert_eq!(found.severity, None);
        let bucket = finding(&CHECK, |s| without_crds(s, "buckets"));
        assert_eq!(bucket.severity, Some(Severity::Warning));
    }

    #[test]
    fn an_old_flux_is_found() {
        let old = finding(&CHECK, |s| {
            let helm = groups(s).iter_mut().find(|g| g.name.starts_with("helm."));
            helm.expect("the fixture has it").versions = vec!["v2beta1".to_owned()];
        });
        assert_eq!(old.message, "is not served in version v2");
        assert_eq!(old.evidence, ["served of helm.toolkit.fluxcd.io: v2beta1"]);
        let oci = finding(&CHECK, |s| {
            s.oci_repositories = Listing::unknown(Why::new(WhyKind::NotServed, "list ocirepositories", "404"));
        });
        assert_eq!(oci.message, "is not served in version v1: this is Flux 2.5 or older");
        assert_eq!((oci.subject.name.as_str(), oci.severity), ("ocirepositories.source.toolkit.fluxcd.io", Some(Severity::Warning)));
    }

    #[test]
    fn near_misses_pass() {
        passes(&CHECK, |s| {
            for group in groups(s) {
                group.versions.insert(0, "v1beta2".to_owned());
            }
        });
        passes(&CHECK, |s| {
            s.buckets = Listing::unknown(Why::new(WhyKind::Forbidden, "list buckets", "no"));
        });
    }

    #[test]
    fn what_is_known_is_judged_without_the_rest() {
        let denied = || Why::new(WhyKind::Forbidden, "list customresourcedefinitions", "no");
        let by_groups = after(&CHECK, |s| {
            s.crds = Listing::unknown(denied());
            groups(s).retain(|g| !g.name.starts_with("helm."));
        });
        assert_eq!((by_groups.findings.len(), by_groups.unknown.len()), (1, 1));
        let by_crds = after(&CHECK, |s| {
            s.groups = Observed::Unknown(denied());
            without_crds(s, "helmreleases");
        });
        assert_eq!((by_crds.findings.len(), by_crds.unknown.len()), (1, 1));
        let neither = after(&CHECK, |s| {
            s.crds = Listing::unknown(denied());
            s.groups = Observed::Unknown(denied());
        });
        assert_eq!(neither.verdict(), Verdict::Unknown);
    }
}
