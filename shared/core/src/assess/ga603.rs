//! GA603: a newer chart of agentk that fits is available.

use semver::Version;
use serde_json::json;

use super::range::admits;
use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::chart::{deployed, version};
use crate::facts::{Facts, HelmRelease, Why, WhyKind};
use crate::need::Need;
use crate::object::ObjectRef;
use crate::snapshot::ChartVersion;

pub(super) static CHECK: Check = Check {
    code: 603,
    slug: "chart-update-available",
    title: "agentk's chart is the newest that fits",
    severity: Severity::Warning,
    impact: Impact::Hygiene,
    needs: &[Need::HelmRepositories, Need::HelmReleases, Need::ChartIndex],
    page: include_str!("../../../../docs/checks/GA603.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    judgement
        .skip("no HelmRelease installs agentk from a repository with an index (OCI registries have none)");
    judgement.each(&facts.snapshot.helm_releases);
    for release in facts.agent_releases() {
        let Some(Some(repository)) = judgement.known(facts.chart_repository(release)) else { continue };
        let found = facts.snapshot.helm_repositories.find(&repository.namespace, &repository.name);
        // A repository that does not exist is GA302's.
        let Some(Some(found)) = judgement.known(found) else { continue };
        let Some(installed) = deployed(release).and_then(|made| version(&made.chart_version)) else {
            continue;
        };
        if found.spec.kind == "oci" {
            continue;
        }
        let Some(versions) = judgement.known(facts.chart_versions(&repository)) else { continue };
        judgement.examine();
        let at = At { release, repository, installed };
        if let Some(patch) = at.newest_patch(versions) {
            judgement.find(at.patch_available(patch));
        }
        at.next_minor(facts, judgement, versions);
    }
    Ok(())
}

/// An agentk release, where its chart comes from, and the version of it that is deployed.
struct At<'s> {
    release: &'s HelmRelease,
    repository: ObjectRef,
    installed: Version,
}

/// A version of the chart with the version of agentk in it, both as numbers.
struct Offer<'s> {
    chart: Version,
    agentk: Version,
    written: &'s ChartVersion,
}

impl<'s> At<'s> {
    /// The newest chart of the same minor version, where it is newer.
    fn newest_patch<'v>(&self, versions: &'v [ChartVersion]) -> Option<&'v ChartVersion> {
        let same = |v: &Version| (v.major, v.minor) == (self.installed.major, self.installed.minor);
        versions.iter().find(|offer| version(&offer.version).is_some_and(|v| same(&v) && v > self.installed))
    }

    fn range(&self) -> &'s str {
        self.release.spec.chart.as_ref().map_or("", |chart| &chart.spec.version)
    }

    /// Whether Flux installs this version by itself.
    fn is_let_in(&self, offer: &Version) -> bool {
        admits(self.range(), (offer.major, offer.minor, offer.patch)).unwrap_or_default()
    }

    fn patch_available(&self, patch: &ChartVersion) -> Finding {
        let object = self.release.metadata.object("HelmRelease");
        let (new, with) = (&patch.version, app(patch));
        let now = &self.installed;
        if version(new).is_some_and(|v| self.is_let_in(&v)) {
            let message = format!(
                "is at chart {now}, and the repository has patch {new}{with}: Flux installs it at its next look"
            );
            let remedy = Remedy::say("wait, or have repository, chart and release reconciled now")
                .reconcile(&self.repository);
            return Finding::new(object.clone(), message, self.then_release(remedy, &object))
                .severity(Severity::Info);
        }
        let message = format!(
            "is at chart {now}, and the repository has patch {new}{with}, which its range ({}) keeps out: fixes of bugs and \
             security holes do not arrive",
            self.range()
        );
        let range = format!("~{}.{}.0", now.major, now.minor);
        let text = format!(
            "write the chart version \"{range}\" in helm.yaml in Git, and push; the command sets it in the cluster, and Flux \
             takes it back at its next reconciliation unless Git says the same"
        );
        let patch = json!({"spec": {"chart": {"spec": {"version": range}}}});
        Finding::new(object.clone(), message, Remedy::say(text).patch(&object, &patch))
    }

    /// The chart object lies between repository and release.
    fn then_release(&self, remedy: Remedy, release: &ObjectRef) -> Remedy {
        let remedy = match self.release.status.helm_chart.split_once('/') {
            Some((namespace, name)) => remedy.reconcile(&ObjectRef::new("HelmChart", namespace, name)),
            None => remedy,
        };
        remedy.reconcile(release)
    }

    /// The newest chart of a later minor version whose agentk is not ahead of the GitLab server.
    fn next_minor(&self, facts: &Facts<'_>, judgement: &mut Judgement, versions: &[ChartVersion]) {
        let later: Vec<Offer<'_>> = versions.iter().filter_map(|written| self.later(written)).collect();
        if later.is_empty() {
            return;
        }
        let Some(server) = judgement.known(server(facts)) else { return };
        let fits = later
            .iter()
            .find(|offer| (offer.agentk.major, offer.agentk.minor) <= (server.major, server.minor));
        if let Some(offer) = fits {
            judgement.find(self.minor_available(offer, &server));
        }
    }

    fn later<'v>(&self, written: &'v ChartVersion) -> Option<Offer<'v>> {
        let (chart, agentk) = (version(&written.version)?, version(&written.app_version)?);
        let is = (chart.major, chart.minor) > (self.installed.major, self.installed.minor);
        is.then_some(Offer { chart, agentk, written })
    }

    fn minor_available(&self, offer: &Offer<'_>, server: &Version) -> Finding {
        let object = self.release.metadata.object("HelmRelease");
        let message = format!(
            "is at chart {}, and chart {}{} goes with your GitLab server {}.{}",
            self.installed,
            offer.chart,
            app(offer.written),
            server.major,
            server.minor
        );
        let text = format!(
            "write the chart version \"~{}.{}.0\" in helm.yaml in Git, and push, when you want to upgrade agentk",
            offer.chart.major, offer.chart.minor
        );
        Finding::new(object, message, Remedy::say(text)).severity(Severity::Info)
    }
}

/// ` (agentk v19.2.2)`, where the index says it.
fn app(offer: &ChartVersion) -> String {
    match offer.app_version.as_str() {
        "" => String::new(),
        version => format!(" (agentk {version})"),
    }
}

/// The GitLab server's version: an agent must not be ahead of its server.
fn server(facts: &Facts<'_>) -> Result<Version, Why> {
    let written = &facts.gitlab_metadata()?.version;
    version(written).ok_or_else(|| {
        Why::new(WhyKind::Unreadable, "version of the GitLab server", format!("`{written}` is no version"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::{ChartTemplate, Observed};
    use crate::snapshot::Snapshot;

    fn chart(s: &mut Snapshot) -> &mut ChartTemplate {
        s.helm_releases.items[0].spec.chart.as_mut().expect("the fixture has it")
    }

    fn offers(s: &mut Snapshot, version: &str, app_version: &str) {
        if let Observed::Known(versions) = &mut s.chart_indexes[0].versions {
            versions
                .insert(0, ChartVersion { version: version.to_owned(), app_version: app_version.to_owned() });
        }
    }

    #[test]
    fn a_patch_that_is_kept_out_is_found() {
        let found = finding(&CHECK, |s| {
            chart(s).spec.version = "2.29.1".to_owned();
            offers(s, "2.29.3", "v19.2.4");
        });
        assert_eq!(found.severity, None);
        assert!(
            found
                .message
                .contains("is at chart 2.29.1, and the repository has patch 2.29.3 (agentk v19.2.4)")
        );
        assert!(
            found.remedy.lines()[0].ends_with(r#"-p '{"spec":{"chart":{"spec":{"version":"~2.29.0"}}}}'"#)
        );
    }

    #[test]
    fn a_patch_that_is_let_in_comes_by_itself() {
        let found = finding(&CHECK, |s| offers(s, "2.29.3", "v19.2.4"));
        assert_eq!(found.severity, Some(Severity::Info));
        let lines = found.remedy.lines();
        let on: Vec<&str> = lines.iter().filter_map(|c| c.split(' ').nth(5)).collect();
        assert_eq!(
            on,
            [
                "helmrepository.source.toolkit.fluxcd.io/gitlab-agent",
                "helmchart.source.toolkit.fluxcd.io/gitlab-gitlab-agent",
                "helmrelease.helm.toolkit.fluxcd.io/gitlab-agent"
            ]
        );
    }

    fn server_is(s: &mut Snapshot, version: &str) {
        let Observed::Known(metadata) = &mut crate::fixture::gitlab_mut(s).metadata else { panic!("known") };
        metadata.version = version.to_owned();
    }

    #[test]
    fn a_later_minor_version_is_offered_once_the_server_has_it() {
        let later = |version: &'static str| {
            move |s: &mut Snapshot| {
                offers(s, "2.30.0", "v19.3.0");
                offers(s, "2.32.0", "v19.4.0");
                server_is(s, version);
            }
        };
        let found = finding(&CHECK, later("19.3.1-ee"));
        assert_eq!(found.severity, Some(Severity::Info));
        assert_eq!(
            found.message,
            "is at chart 2.29.1, and chart 2.30.0 (agentk v19.3.0) goes with your GitLab server 19.3"
        );
        assert!(found.remedy.text.contains("\"~2.30.0\""), "{:?}", found.remedy);
        assert!(finding(&CHECK, later("20.0.0")).message.contains("chart 2.32.0"));
        passes(&CHECK, later("19.2.9"));
        assert_eq!(after(&CHECK, later("unknown")).verdict(), Verdict::Unknown);
    }

    #[test]
    fn a_later_minor_version_needs_the_server() {
        let without = |s: &mut Snapshot| {
            let why = Why::new(WhyKind::NoGitLab, "GitLab", "no access was given");
            s.gitlab = Observed::Unknown(why);
        };
        let later = after(&CHECK, |s| {
            offers(s, "2.30.0", "v19.3.0");
            without(s);
        });
        assert_eq!((later.verdict(), later.unknown[0].kind), (Verdict::Unknown, WhyKind::NoGitLab));
        passes(&CHECK, |s| {
            offers(s, "2.28.9", "v19.1.9");
            without(s);
        });
    }

    #[test]
    fn a_failed_attempt_is_not_what_is_installed() {
        passes(&CHECK, |s| {
            let history = &mut s.helm_releases.items[0].status.history;
            let mut failed = history[0].clone();
            failed.status = "failed".to_owned();
            failed.chart_version = "2.29.0".to_owned();
            history.insert(0, failed);
        });
    }

    #[test]
    fn without_an_index_nothing_is_said() {
        let oci = after(&CHECK, |s| s.helm_repositories.items[0].spec.kind = "oci".to_owned());
        assert_eq!(oci.verdict(), Verdict::Skipped);
        assert_eq!(after(&CHECK, |s| s.chart_indexes.clear()).verdict(), Verdict::Unknown);
        assert_eq!(after(&CHECK, |s| s.helm_releases.items.clear()).verdict(), Verdict::Skipped);
    }
}
