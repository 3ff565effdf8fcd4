//! GA406: nothing on the path is suspended.

use jiff::Timestamp;

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::{Facts, HelmRelease, Kustomization, Receiver, Source, Why};
use crate::need::Need;
use crate::object::ObjectRef;
use crate::text::{age, count, revision};

pub(super) static CHECK: Check = Check {
    code: 406,
    slug: "suspended",
    title: "nothing between Git and pods is suspended",
    severity: Severity::Warning,
    impact: Impact::Delivery,
    needs: &[
        Need::GitRepositories,
        Need::OciRepositories,
        Need::Buckets,
        Need::HelmRepositories,
        Need::HelmCharts,
        Need::Kustomizations,
        Need::HelmReleases,
        Need::Receivers,
    ],
    page: include_str!("../../../../docs/checks/GA406.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    let s = facts.snapshot;
    for (kind, listing) in facts.source_kinds() {
        for source in judgement.each(listing) {
            let stands = || still(facts.now, source);
            note(facts, judgement, source.metadata.object(kind), source.spec.suspend, stands);
        }
    }
    for k in judgement.each(&s.kustomizations) {
        note(facts, judgement, k.metadata.object("Kustomization"), k.spec.suspend, || applied(k));
    }
    for r in judgement.each(&s.helm_releases) {
        note(facts, judgement, r.metadata.object("HelmRelease"), r.spec.suspend, || released(r));
    }
    for r in judgement.each(&s.receivers) {
        note(facts, judgement, r.metadata.object("Receiver"), r.spec.suspend, || deaf(r));
    }
    judgement.skip("there is no Flux object");
    Ok(())
}

fn note(
    facts: &Facts<'_>,
    judgement: &mut Judgement,
    object: ObjectRef,
    suspended: bool,
    effect: impl FnOnce() -> String,
) {
    judgement.examine();
    if suspended {
        let remedy = Remedy::in_git(facts, &object, "resume it once the reason is gone").resume(&object);
        let standing = facts.applier(&object).ok().flatten();
        let waiting = standing.filter(|a| !a.is_ready).map(|_| facts.waiting_for(&object)).unwrap_or_default();
        let said = standing.and_then(|a| a.failed).map(|c| c.message.clone()).unwrap_or_default();
        let effect = match waiting.as_slice() {
            [] => effect(),
            [one] => format!("it is not ready, and {one} waits for it"),
            [one, more @ ..] => format!("it is not ready, and {one} and {} wait for it", count(more.len(), "other")),
        };
        let finding = Finding::new(object, format!("is suspended; {effect}"), remedy).because(said);
        judgement.find(if waiting.is_empty() { finding } else { finding.severity(Severity::Error) });
    }
}

fn still(now: Timestamp, source: &Source) -> String {
    match source.status.artifact.as_ref().and_then(|a| Some((&a.revision, a.last_update_time?))) {
        Some((held, at)) => format!("it holds {}, fetched {} ago, and nothing newer", revision(held), age(now, at)),
        None => "nothing is fetched".to_owned(),
    }
}

fn applied(k: &Kustomization) -> String {
    match k.status.last_applied_revision.as_str() {
        "" => "nothing is applied".to_owned(),
        applied => format!("it applies nothing newer than {}", revision(applied)),
    }
}

fn released(r: &HelmRelease) -> String {
    match r.status.history.iter().find(|made| made.status == "deployed" || made.status == "superseded") {
        Some(newest) => format!("it stays at chart {}, whatever Git says", newest.chart_version),
        None => "nothing is installed".to_owned(),
    }
}

fn deaf(r: &Receiver) -> String {
    let names: Vec<_> = r.spec.resources.iter().map(|of| of.name.as_str()).collect();
    format!("no push event triggers {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{finding, passes};
    use super::*;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    #[test]
    fn each_kind_that_is_suspended_is_found() {
        type Suspend = fn(&mut Snapshot);
        let cases: [(Suspend, &str, &str); 6] = [
            (
                |s| fixture::git_mut(s, "flux-system").spec.suspend = true,
                "GitRepository flux-system/flux-system",
                "is suspended; it holds main@11111111, fetched 1d2h ago, and nothing newer",
            ),
            (
                |s| s.helm_repositories.items[0].spec.suspend = true,
                "HelmRepository gitlab/gitlab-agent",
                "is suspended; it holds 22, fetched 1d2h ago, and nothing newer",
            ),
            (
                |s| s.helm_charts.items[0].spec.suspend = true,
                "HelmChart gitlab/gitlab-gitlab-agent",
                "is suspended; it holds 2.29.1, fetched 1d2h ago, and nothing newer",
            ),
            (
                |s| s.kustomizations.items[1].spec.suspend = true,
                "Kustomization flux-system/example-nginx-app",
                "is suspended; it applies nothing newer than main@11111111",
            ),
            (
                |s| s.helm_releases.items[0].spec.suspend = true,
                "HelmRelease gitlab/gitlab-agent",
                "is suspended; it stays at chart 2.29.1, whatever Git says",
            ),
            (
                |s| s.receivers.items[0].spec.suspend = true,
                "Receiver flux-system/gitlab-flux-system",
                "is suspended; no push event triggers flux-system",
            ),
        ];
        for (suspend, subject, message) in cases {
            let found = finding(&CHECK, suspend);
            assert_eq!((found.subject.to_string().as_str(), found.message.as_str()), (subject, message));
            assert!(found.remedy.lines()[0].ends_with(r#"--type=merge -p '{"spec":{"suspend":false}}'"#));
        }
    }

    #[test]
    fn buckets_and_oci_repositories_are_looked_at() {
        for kind in ["OCIRepository", "Bucket"] {
            let found = finding(&CHECK, |s| {
                let mut source = s.git_repositories.items[0].clone();
                source.spec.suspend = true;
                source.status.artifact = None;
                if kind == "Bucket" { s.buckets.items.push(source) } else { s.oci_repositories.items.push(source) }
            });
            assert_eq!((found.subject.kind.as_str(), found.message.as_str()), (kind, "is suspended; nothing is fetched"));
        }
    }

    #[test]
    fn a_paused_application_object_is_no_suspension() {
        passes(&CHECK, |s| fixture::deployment_mut(s, "nginx").spec.replicas = Some(0));
    }
}
