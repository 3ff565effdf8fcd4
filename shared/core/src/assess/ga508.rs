//! GA508: what is deployed from GitLab shows as a job in the project's pipeline.

use std::collections::HashSet;

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::host::host;
use crate::facts::{Facts, Kustomization, Source, Why};
use crate::need::Need;
use crate::object::ObjectRef;
use crate::snapshot::kinds::Event;
use crate::text::count;

pub(super) static CHECK: Check = Check {
    code: 508,
    slug: "no-job-status",
    title: "an Alert registers a job status in GitLab for what is deployed from there",
    severity: Severity::Warning,
    impact: Impact::Notifications,
    needs: &[Need::GitRepositories, Need::Kustomizations, Need::Receivers, Need::Providers, Need::Alerts],
    page: include_str!("../../../../docs/checks/GA508.md"),
    judge,
};

/// A project with what is applied from it here.
struct Project<'s> {
    source: &'s Source,
    kustomizations: Vec<&'s Kustomization>,
    /// Those for which no status is registered.
    bare: Vec<&'s Kustomization>,
}

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    judgement.skip("nothing is applied from a project on GitLab");
    let s = facts.snapshot;
    let kustomizations = judgement.each(&s.kustomizations);
    // The Receivers tell which host is GitLab's.
    judgement.each(&s.receivers);
    judgement.each(&s.providers);
    judgement.each(&s.alerts);
    let gitlab = facts.gitlab_host();
    let events = s.dispatch_failures.items.iter();
    let failing: HashSet<ObjectRef> = events.map(Event::about).collect();
    let mut bare = Vec::new();
    for source in
        judgement.each(&s.git_repositories).iter().filter(|g| gitlab.is_some() && host(&g.spec.url) == gitlab)
    {
        let object = source.metadata.object("GitRepository");
        let from = |k: &&Kustomization| Facts::resolve(&k.spec.source_ref, &k.metadata.namespace) == object;
        let own: Vec<&Kustomization> = kustomizations.iter().filter(from).collect();
        if own.is_empty() {
            continue;
        }
        judgement.examine();
        let without: Vec<_> = own.iter().copied().filter(|k| !is_registered(facts, &failing, source, k)).collect();
        if !without.is_empty() {
            bare.push(Project { source, kustomizations: own, bare: without });
        }
    }
    // What is not known of Alerts and Providers may be what is missed.
    if !s.providers.gaps.is_empty() || !s.alerts.gaps.is_empty() {
        return Ok(());
    }
    if s.providers.items.iter().any(|p| p.writes_to_gitlab()) {
        bare.iter().for_each(|project| judgement.find(uncovered(facts, project)));
    } else if let Some(first) = bare.first() {
        judgement.find(unused(facts, first, bare.len()));
    }
    Ok(())
}

/// Whether an Alert registers it, or is meant to: one whose Provider does not exist, or does not deliver, is GA507's.
fn is_registered(facts: &Facts<'_>, failing: &HashSet<ObjectRef>, source: &Source, k: &Kustomization) -> bool {
    facts
        .snapshot
        .alerts
        .items
        .iter()
        .filter(|a| !a.spec.suspend && a.covers("Kustomization", &k.metadata))
        .any(|alert| match facts.provider_of(alert) {
            Ok(None) => true,
            Ok(Some(p)) => {
                let delivers_here = || p.is_for(&source.spec.url) || failing.contains(&alert.metadata.object("Alert"));
                p.spec.kind == "gitlab" && !p.spec.suspend && delivers_here()
            }
            Err(_) => false,
        })
}

fn uncovered(facts: &Facts<'_>, project: &Project<'_>) -> Finding {
    let names: Vec<&str> = project.bare.iter().map(|k| k.metadata.name.as_str()).collect();
    let message = format!(
        "has a project whose pipelines do not show what became of {}: no Alert sends it to a Provider of type gitlab \
         with this project's address",
        if names.len() > 3 {
            count(names.len(), "Kustomization")
        } else {
            format!("Kustomization {}", names.join(", "))
        }
    );
    let remedy = Remedy::register_statuses(facts, project.source, &project.bare);
    Finding::new(project.source.metadata.object("GitRepository"), message, remedy)
}

/// Nobody asked for job statuses in this cluster: that is an offer, not a fault.
fn unused(facts: &Facts<'_>, first: &Project<'_>, projects: usize) -> Finding {
    let others = match projects {
        1 => String::new(),
        more => format!(" (nor do {})", count(more - 1, "other project")),
    };
    let message = format!(
        "registers no job status in its project's pipelines{others}: there is no Provider of type gitlab, so GitLab does \
         not show whether a commit was deployed"
    );
    let remedy = Remedy::register_statuses(facts, first.source, &first.kustomizations);
    Finding::new(first.source.metadata.object("GitRepository"), message, remedy).severity(Severity::Info)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    #[test]
    fn a_project_without_an_alert_is_found() {
        let changes: [fn(&mut Snapshot); 6] = [
            |s| drop(s.alerts.items.remove(0)),
            |s| s.alerts.items[0].spec.suspend = true,
            |s| s.providers.items[0].spec.suspend = true,
            |s| s.alerts.items[0].spec.event_sources[0].kind = "HelmRelease".to_owned(),
            |s| *s.providers.items[0].spec.address = "https://gitlab.example.com/platform/other".to_owned(),
            |s| s.providers.items[0].spec.kind = "slack".to_owned(),
        ];
        for change in changes {
            let found = finding(&CHECK, change);
            assert_eq!(found.subject.to_string(), "GitRepository flux-system/flux-system");
            assert!(found.message.contains("what became of Kustomization flux-system:"), "{}", found.message);
            assert_eq!(found.severity, None);
        }
    }

    #[test]
    fn a_cluster_that_does_not_use_them_is_told_once() {
        let found = finding(&CHECK, |s| {
            s.providers.items.clear();
            s.alerts.items.clear();
        });
        assert_eq!(found.severity, Some(Severity::Info));
        assert!(found.message.contains("(nor do 1 other project)"), "{}", found.message);
        let [write, apply] = &found.remedy.lines()[..] else { panic!("{:?}", found.remedy) };
        assert!(write.contains("secret generic gitlab-status-flux-system"), "{write}");
        for line in [
            "  address: \"https://gitlab.example.com/platform/flux-system\"",
            "    name: \"gitlab-status-flux-system\"",
            "  - kind: Kustomization",
        ] {
            assert!(apply.contains(line), "{line}: {apply}");
        }
    }

    #[test]
    fn the_remedy_keeps_a_port_of_https_and_drops_that_of_ssh() {
        let mut s = fixture::healthy();
        for (url, address) in [
            ("https://gitlab.example.com:8443/a/b.git", "address: \"https://gitlab.example.com:8443/a/b\""),
            ("ssh://git@gitlab.example.com:2222/a/b.git", "address: \"https://gitlab.example.com/a/b\""),
        ] {
            *s.git_repositories.items[0].spec.url = url.to_owned();
            let remedy =
                Remedy::register_statuses(&Facts::derive(&s), &s.git_repositories.items[0], &[&s.kustomizations.items[0]]);
            assert!(remedy.lines()[1].contains(address), "{remedy:?}");
        }
    }

    #[test]
    fn a_star_covers_all_and_other_hosts_are_not_judged() {
        passes(&CHECK, |s| s.alerts.items[0].spec.event_sources[0].name = "*".to_owned());
        passes(&CHECK, |s| {
            *fixture::git_mut(s, "flux-system").spec.url = "https://github.com/a/b".to_owned();
            s.alerts.items.remove(0);
        });
        assert_eq!(after(&CHECK, |s| s.kustomizations.items.clear()).verdict(), Verdict::Skipped);
    }
}
