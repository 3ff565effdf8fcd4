//! GA602: patches of the agent's chart arrive by themselves, and nothing else does.

use super::range::{Reach, reach};
use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::command::kubectl;
use crate::facts::{Facts, HelmRelease, Why, WhyKind};
use crate::need::Need;
use crate::object::ObjectRef;

pub(super) static CHECK: Check = Check {
    code: 602,
    slug: "auto-patch-off",
    title: "the chart version of agentk's HelmRelease is a patch-only range",
    severity: Severity::Warning,
    impact: Impact::Hygiene,
    needs: &[Need::HelmReleases],
    page: include_str!("../../../../docs/checks/GA602.md"),
    judge,
};

/// Where a release's range of versions is written.
struct Written<'s> {
    /// The object that holds it.
    object: ObjectRef,
    /// The range.
    range: &'s str,
    /// The merge patch around a new range, in two halves.
    patch: (&'static str, &'static str),
}

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    judgement.skip("no HelmRelease installs agentk");
    for release in judgement.each(&facts.snapshot.helm_releases) {
        let Some(written) = judgement.known(written(facts, release)).flatten() else { continue };
        judgement.examine();
        let installed = installed(release);
        match reach(written.range, installed) {
            Some(reach) => judgement.findings.extend(found(release, &written, reach, installed)),
            None => judgement.lacks(Why::new(
                WhyKind::Unreadable,
                format!("range of chart versions of {}", written.object),
                format!("`{}` is no range that this program reads", written.range),
            )),
        }
    }
    Ok(())
}

/// The range of a release of agentk's chart; `Ok(None)` for other charts.
fn written<'s>(facts: &Facts<'s>, release: &'s HelmRelease) -> Result<Option<Written<'s>>, Why> {
    if let Some(chart) = release.spec.chart.as_ref().filter(|chart| chart.spec.chart == "gitlab-agent") {
        let object = release.metadata.object("HelmRelease");
        let patch = (r#"{"spec":{"chart":{"spec":{"version":"#, "}}}}");
        return Ok(Some(Written { object, range: &chart.spec.version, patch }));
    }
    let Some(reference) = &release.spec.chart_ref else { return Ok(None) };
    let object = Facts::resolve(reference, &release.metadata.namespace);
    let Some(listing) = facts.sources(&object.kind) else { return Ok(None) };
    let Some(source) = listing.find(&object.namespace, &object.name)? else { return Ok(None) };
    if source.spec.chart == "gitlab-agent" {
        let patch = (r#"{"spec":{"version":"#, "}}");
        return Ok(Some(Written { object, range: &source.spec.version, patch }));
    }
    let reference = &source.spec.reference;
    if source.spec.url.rsplit('/').next() == Some("gitlab-agent") {
        let range = if reference.semver.is_empty() { &reference.tag } else { &reference.semver };
        let patch = (r#"{"spec":{"ref":{"tag":null,"semver":"#, "}}}");
        return Ok(Some(Written { object, range, patch }));
    }
    Ok(None)
}

/// Major and minor version of the chart that is installed, or was tried last.
fn installed(release: &HelmRelease) -> Option<(u64, u64)> {
    let newest = release.status.history.first().map(|made| made.chart_version.as_str());
    let version = newest.filter(|v| !v.is_empty()).unwrap_or(&release.status.last_attempted_revision);
    let version = semver::Version::parse(version.trim_start_matches('v')).ok()?;
    Some((version.major, version.minor))
}

fn found(
    release: &HelmRelease,
    written: &Written<'_>,
    reach: Reach,
    installed: Option<(u64, u64)>,
) -> Option<Finding> {
    let range = if written.range.is_empty() { "no version given" } else { written.range };
    let message = match reach {
        Reach::Patches => return None,
        Reach::Exact => format!("is pinned to one chart version ({range}): no patch arrives by itself"),
        Reach::Nothing => format!("allows no chart version at all ({range}): nothing is installed or upgraded"),
        Reach::Minors => format!("follows the chart's minor versions ({range}): agentk may get ahead of GitLab"),
        Reach::Majors => {
            format!("follows every version of the chart, major ones too ({range}): agentk may get ahead of GitLab")
        }
    };
    let subject = release.metadata.object("HelmRelease");
    Some(Finding::new(subject, message, mend(written, installed)))
}

fn mend(written: &Written<'_>, installed: Option<(u64, u64)>) -> Remedy {
    let Some((major, minor)) = installed else {
        return Remedy::say(
            "write a patch-only range as the chart version in helm.yaml in Git: ~MAJOR.MINOR.0 of the chart that goes \
             with your GitLab server's version",
        );
    };
    let range = format!("~{major}.{minor}.0");
    let text = format!(
        "write the chart version \"{range}\" in helm.yaml in Git, and push; the command sets it in the cluster, and Flux \
         takes it back at its next reconciliation unless Git says the same"
    );
    let (before, behind) = written.patch;
    let patch = format!(r#"{before}"{range}"{behind}"#);
    let program = kubectl(&written.object.namespace, "patch").object(&written.object);
    Remedy::say(text).run(program.words("--type=merge -p").word(patch))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::{ChartTemplate, CrossRef, HelmReleaseStatus, Source};
    use crate::snapshot::Snapshot;

    fn chart(s: &mut Snapshot) -> &mut ChartTemplate {
        s.helm_releases.items[0].spec.chart.as_mut().expect("the fixture has it")
    }

    fn version(range: &'static str) -> impl Fn(&mut Snapshot) {
        move |s| chart(s).spec.version = range.to_owned()
    }

    #[test]
    fn a_range_that_is_not_patch_only_is_found() {
        for (range, message) in [
            ("2.29.1", "is pinned to one chart version (2.29.1)"),
            ("^2.29.0", "follows the chart's minor versions (^2.29.0)"),
            ("2.x", "follows the chart's minor versions"),
            ("*", "follows every version of the chart, major ones too (*)"),
            ("", "follows every version of the chart, major ones too (no version given)"),
            (">=2.29.0", "follows every version"),
            (">=3.0.0 <2.0.0", "allows no chart version at all"),
        ] {
            let found = finding(&CHECK, version(range));
            assert_eq!(found.subject.to_string(), "HelmRelease gitlab/gitlab-agent");
            assert!(found.message.starts_with(message), "{range}: {}", found.message);
            let command = "kubectl -n gitlab patch helmrelease.helm.toolkit.fluxcd.io/gitlab-agent --type=merge -p \
                           '{\"spec\":{\"chart\":{\"spec\":{\"version\":\"~2.29.0\"}}}}'";
            assert_eq!(found.remedy.lines(), [command]);
        }
    }

    #[test]
    fn patch_only_ranges_pass() {
        for range in ["~2.29.0", "2.29.x", ">=2.29.0 <2.30.0", "2.29", ">=2.20.0, <2.30.0"] {
            passes(&CHECK, version(range));
        }
    }

    #[test]
    fn without_an_installed_version_no_command_is_made_up() {
        let found = finding(&CHECK, |s| {
            version("*")(s);
            s.helm_releases.items[0].status = HelmReleaseStatus::default();
        });
        assert!(found.remedy.commands.is_empty(), "{:?}", found.remedy);
    }

    #[test]
    fn what_is_no_range_is_unknown() {
        assert_eq!(after(&CHECK, version("latest")).verdict(), Verdict::Unknown);
        assert_eq!(after(&CHECK, |s| chart(s).spec.chart = "nginx".to_owned()).verdict(), Verdict::Skipped);
    }

    /// Installs agentk by reference to an object.
    fn by_reference(s: &mut Snapshot, kind: &str, name: &str) {
        let spec = &mut s.helm_releases.items[0].spec;
        spec.chart = None;
        let (kind, name) = (kind.to_owned(), name.to_owned());
        spec.chart_ref = Some(CrossRef { kind, name, ..CrossRef::default() });
    }

    #[test]
    fn a_chart_by_reference_is_read() {
        passes(&CHECK, |s| by_reference(s, "HelmChart", "gitlab-gitlab-agent"));
        let pinned = finding(&CHECK, |s| {
            by_reference(s, "HelmChart", "gitlab-gitlab-agent");
            s.helm_charts.items[0].spec.version = "2.29.1".to_owned();
        });
        let command = "kubectl -n gitlab patch helmchart.source.toolkit.fluxcd.io/gitlab-gitlab-agent --type=merge -p \
                       '{\"spec\":{\"version\":\"~2.29.0\"}}'";
        assert_eq!(pinned.remedy.lines(), [command]);
        let tag = finding(&CHECK, |s| {
            by_reference(s, "OCIRepository", "agent");
            let mut source = Source::default();
            source.metadata.namespace = "gitlab".to_owned();
            source.metadata.name = "agent".to_owned();
            *source.spec.url = "oci://registry.example.com/charts/gitlab-agent".to_owned();
            source.spec.reference.tag = "2.29.1".to_owned();
            s.oci_repositories.items.push(source);
        });
        assert!(tag.message.starts_with("is pinned"), "{}", tag.message);
        assert!(tag.remedy.lines()[0].contains(r#"{"tag":null,"semver":"~2.29.0"}"#), "{:?}", tag.remedy);
    }
}
