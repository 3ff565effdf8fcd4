//! GA206: what is applied from Git uses API versions of Flux that this Flux, and the next, still serve.

use std::collections::BTreeMap;

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::flux::REMOVED;
use crate::facts::{Condition, Facts, InventoryEntry, Meta, Why, condition};
use crate::need::Need;
use crate::object::ObjectRef;

pub(super) static CHECK: Check = Check {
    code: 206,
    slug: "api-version-going",
    title: "what is applied from Git uses API versions that this Flux and the next one serve",
    severity: Severity::Warning,
    impact: Impact::Delivery,
    needs: &[
        Need::Groups,
        Need::GitRepositories,
        Need::OciRepositories,
        Need::Buckets,
        Need::HelmRepositories,
        Need::HelmCharts,
        Need::Kustomizations,
        Need::HelmReleases,
        Need::Receivers,
        Need::Deployments,
    ],
    page: include_str!("../../../../docs/checks/GA206.md"),
    judge,
};

/// Managers that apply what stands in Git.
const APPLIERS: &[&str] = &["kustomize-controller", "helm-controller"];

/// An API group with a version.
type GroupVersion = (String, String);

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    let minor = facts.flux_minor()?;
    let groups = facts.snapshot.groups.get()?;
    let served = |(group, version): &GroupVersion| {
        groups.iter().find(|g| g.name == *group).is_none_or(|g| g.versions.contains(version))
    };
    refused(facts, judgement);
    for (object, used) in applied(facts, judgement) {
        judgement.examine();
        let gone = REMOVED.iter().find(|(group, version, _)| (*group, *version) == (&used.0, &used.1));
        let leaves = gone.map(|(_, _, minor)| *minor);
        let api = format!("{}/{}", used.0, used.1);
        let message = match leaves {
            _ if !served(&used) => {
                format!("is applied as {api}, which this cluster no longer serves: its next change fails")
            }
            Some(leaves) if minor.is_some_and(|minor| leaves <= minor + 1) => {
                format!("is applied as {api}, which Flux 2.{leaves} no longer serves")
            }
            _ => continue,
        };
        judgement.find(Finding::new(object, message, mend(&used.0)));
    }
    judgement.skip("nothing of Flux's kinds is applied here");
    Ok(())
}

/// Kustomizations and HelmReleases that fail because of a version that is not served.
fn refused(facts: &Facts<'_>, judgement: &mut Judgement) {
    let s = facts.snapshot;
    let kustomizations =
        judgement.each(&s.kustomizations).iter().map(|k| (k.metadata.object("Kustomization"), &k.status.conditions));
    let appliers: Vec<(ObjectRef, &Vec<Condition>)> = kustomizations.collect();
    let releases =
        judgement.each(&s.helm_releases).iter().map(|r| (r.metadata.object("HelmRelease"), &r.status.conditions));
    for (object, conditions) in appliers.into_iter().chain(releases) {
        judgement.examine();
        let Some(ready) = condition(conditions, "Ready").filter(|c| c.status == "False") else { continue };
        let Some((kind, api)) = no_match(&ready.message) else { continue };
        let group = api.split('/').next().unwrap_or_default();
        if REMOVED.iter().any(|(known, version, _)| format!("{known}/{version}") == api) {
            let message = format!("applies a {kind} as {api}, which this Flux no longer serves");
            let finding = Finding::new(object, message, mend(group)).because(&ready.message);
            judgement.find(finding.severity(Severity::Error));
        }
    }
}

/// Kind and API version of `no matches for kind "K" in version "G/V"`.
fn no_match(message: &str) -> Option<(&str, &str)> {
    let (_, rest) = message.split_once("no matches for kind \"")?;
    let (kind, rest) = rest.split_once('"')?;
    let (_, rest) = rest.split_once("in version \"")?;
    Some((kind, rest.split_once('"')?.0))
}

/// Objects of Flux's kinds with the version in which they are applied: from inventories, and from who applied what.
fn applied(facts: &Facts<'_>, judgement: &mut Judgement) -> BTreeMap<ObjectRef, GroupVersion> {
    let s = facts.snapshot;
    let mut found = BTreeMap::new();
    let mut managed = |kind: &str, meta: &Meta| {
        let own = meta.managed_fields.iter().filter(|m| APPLIERS.contains(&m.manager.as_str()));
        for api in own.filter(|m| m.operation == "Apply").map(|m| m.api_version.as_str()) {
            if let Some((group, version)) = api.split_once('/') {
                found.insert(meta.object(kind), (group.to_owned(), version.to_owned()));
            }
        }
    };
    for (kind, listing) in facts.source_kinds() {
        judgement.each(listing).iter().for_each(|i| managed(kind, &i.metadata));
    }
    s.kustomizations.items.iter().for_each(|i| managed("Kustomization", &i.metadata));
    s.helm_releases.items.iter().for_each(|i| managed("HelmRelease", &i.metadata));
    judgement.each(&s.receivers).iter().for_each(|i| managed("Receiver", &i.metadata));
    let inventories = s.kustomizations.items.iter().filter(|k| k.spec.kube_config.is_none());
    let entries = inventories.flat_map(|k| &k.status.inventory.entries);
    let releases = s.helm_releases.items.iter().filter(|r| r.spec.kube_config.is_none());
    for entry in entries.chain(releases.flat_map(|r| &r.status.inventory.entries)) {
        let Some(object) = entry.object() else { continue };
        let group = group(entry);
        if group.ends_with(".toolkit.fluxcd.io") {
            found.insert(object, (group.to_owned(), entry.v.clone()));
        }
    }
    found
}

/// The API group in the id of an inventory's entry.
fn group(entry: &InventoryEntry) -> &str {
    let rest = entry.id.rsplit_once('_').map_or("", |(rest, _kind)| rest);
    rest.rsplit_once('_').map_or("", |(_, group)| group)
}

fn mend(group: &str) -> Remedy {
    let newest = match group {
        "helm.toolkit.fluxcd.io" => "helm.toolkit.fluxcd.io/v2",
        "source.toolkit.fluxcd.io" => "source.toolkit.fluxcd.io/v1",
        "kustomize.toolkit.fluxcd.io" => "kustomize.toolkit.fluxcd.io/v1",
        "image.toolkit.fluxcd.io" => "image.toolkit.fluxcd.io/v1",
        _ => "notification.toolkit.fluxcd.io/v1 (Receiver) or v1beta3 (Alert, Provider)",
    };
    Remedy::say(format!(
        "write apiVersion {newest} in its manifest in Git before Flux is upgraded; `flux migrate -f .` (Flux 2.7 and \
         newer) does it for all manifests of a checkout"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::ManagedFields;
    use crate::fixture;
    use crate::snapshot::{Observed, Snapshot};

    fn inventory(group: &str, kind: &str, v: &str) -> impl FnOnce(&mut Snapshot) {
        let entry = InventoryEntry { id: format!("shop_web_{group}_{kind}"), v: v.to_owned() };
        move |s| s.kustomizations.items[0].status.inventory.entries.push(entry)
    }

    /// Makes the cluster one of another Flux release, which serves one more version.
    fn older(s: &mut Snapshot, release: &str, group: &str, version: &str) {
        for d in s.deployments.items.iter_mut().filter(|d| d.metadata.namespace == "flux-system") {
            d.metadata.labels.insert("app.kubernetes.io/version".to_owned(), release.to_owned());
        }
        let Observed::Known(groups) = &mut s.groups else { panic!("known") };
        let found = groups.iter_mut().find(|g| g.name == group).expect("served");
        found.versions.push(version.to_owned());
    }

    #[test]
    fn a_version_that_is_gone_is_found() {
        let found = finding(&CHECK, inventory("source.toolkit.fluxcd.io", "GitRepository", "v1beta2"));
        assert_eq!(found.subject.to_string(), "GitRepository shop/web");
        assert!(found.message.contains("source.toolkit.fluxcd.io/v1beta2, which this cluster no longer serves"));
        let managed = finding(&CHECK, |s| {
            s.helm_repositories.items[0].metadata.managed_fields.push(ManagedFields {
                manager: "kustomize-controller".to_owned(),
                operation: "Apply".to_owned(),
                api_version: "source.toolkit.fluxcd.io/v1beta2".to_owned(),
                ..ManagedFields::default()
            });
        });
        assert_eq!(managed.subject.to_string(), "HelmRepository gitlab/gitlab-agent");
        assert!(managed.remedy.text.contains("source.toolkit.fluxcd.io/v1 "), "{}", managed.remedy.text);
    }

    #[test]
    fn a_version_that_the_next_flux_takes_away_is_found() {
        for (release, group, version, leaves) in [
            ("v2.6.4", "source.toolkit.fluxcd.io", "v1beta1", "Flux 2.7"),
            ("v2.7.0", "helm.toolkit.fluxcd.io", "v2beta2", "Flux 2.8"),
            ("v2.8.1", "notification.toolkit.fluxcd.io", "v1beta2", "Flux 2.9"),
        ] {
            let found = finding(&CHECK, |s| {
                older(s, release, group, version);
                inventory(group, "X", version)(s);
            });
            assert!(found.message.contains(leaves), "{}", found.message);
        }
        passes(&CHECK, |s| {
            older(s, "v2.6.4", "source.toolkit.fluxcd.io", "v1beta2");
            inventory("source.toolkit.fluxcd.io", "GitRepository", "v1beta2")(s);
        });
    }

    #[test]
    fn a_kustomization_that_fails_of_it_is_an_error() {
        let message = "GitRepository/shop/web dry-run failed: no matches for kind \"GitRepository\" in version \"source.toolkit.fluxcd.io/v1beta2\"";
        let found = finding(&CHECK, |s| {
            s.kustomizations.items[0].status.conditions = fixture::not_ready("ReconciliationFailed", message);
        });
        assert_eq!((found.severity, found.subject.kind.as_str()), (Some(Severity::Error), "Kustomization"));
        assert_eq!(found.evidence, [message]);
        passes(&CHECK, |s| {
            let other = "no matches for kind \"Certificate\" in version \"cert-manager.io/v1\"";
            s.kustomizations.items[0].status.conditions = fixture::not_ready("ReconciliationFailed", other);
        });
    }

    #[test]
    fn what_is_current_passes_and_what_is_not_known_is_unknown() {
        passes(&CHECK, inventory("source.toolkit.fluxcd.io", "GitRepository", "v1"));
        passes(&CHECK, inventory("apps", "Deployment", "v1beta1"));
        let unread = after(&CHECK, |s| s.groups = Observed::Unknown(Why::new(crate::facts::WhyKind::TimedOut, "x", "y")));
        assert_eq!(unread.verdict(), Verdict::Unknown);
    }
}
