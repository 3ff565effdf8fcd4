//! GA604: GitLab supports this Kubernetes with the version of agentk that runs.

use semver::Version;

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::agent::Agent;
use crate::facts::chart::version;
use crate::facts::{Facts, Why, WhyKind};
use crate::need::Need;

pub(super) static CHECK: Check = Check {
    code: 604,
    slug: "kubernetes-unsupported",
    title: "agentk's version supports this version of Kubernetes",
    severity: Severity::Warning,
    impact: Impact::Hygiene,
    needs: &[Need::Version, Need::Deployments],
    page: include_str!("../../../../docs/checks/GA604.md"),
    judge,
};

/// A minor version of GitLab as a point in time. There are at most twelve of a major version: 18.11 is followed by 19.0.
type Release = u64;

const fn release(major: u64, minor: u64) -> Release {
    major * 12 + minor
}

/// Minor version of Kubernetes 1.x, and the GitLab release in which its support ends (GitLab, "Connecting a Kubernetes
/// cluster with GitLab": "support ends when GitLab version … is released or when 1.x+3 becomes supported"). The rows from
/// 1.33 on come from pages of 2026 that were not read at their source: findings say "as far as known".
const ENDS: &[(u64, Release)] = &[
    (28, release(17, 5)),
    (29, release(17, 10)),
    (30, release(18, 2)),
    (31, release(18, 7)),
    (32, release(18, 10)),
    (33, release(19, 2)),
    (34, release(19, 7)),
    (35, release(19, 10)),
    (36, release(20, 2)),
];

/// GitLab keeps three minor versions of Kubernetes, so a new one is supported at the latest when the third before it
/// ends. It was up to two releases earlier.
const EARLIER: Release = 2;

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    judgement.skip("no agentk of a known version runs here");
    facts.agent_gaps().iter().for_each(|why| judgement.lacks(why.clone()));
    let server = facts.snapshot.server.get()?;
    let Some(kubernetes) = version(&server.git_version) else {
        let text = format!("`{}` is no version", server.git_version);
        return Err(Why::new(WhyKind::Unreadable, "version of Kubernetes", text));
    };
    for agent in &facts.agents {
        // A development build (v0.0.0) or an image by digest says nothing of its age.
        let Some(agentk) = agent.version().and_then(version).filter(|v| v.major > 0) else { continue };
        match window(kubernetes.minor, release(agentk.major, agentk.minor)) {
            Window::Inside => judgement.examine(),
            Window::NotOnTheTable => judgement.lacks(Why::new(
                WhyKind::NotAsked,
                format!("support of Kubernetes 1.{} by agentk {agentk}", kubernetes.minor),
                "this program is older than they are: use a newer one",
            )),
            Window::Outside(outside) => {
                judgement.examine();
                judgement.find(found(agent, &agentk, kubernetes.minor, outside));
            }
        }
    }
    Ok(())
}

enum Window {
    Inside,
    Outside(Outside),
    NotOnTheTable,
}

#[derive(Clone, Copy)]
enum Outside {
    /// Support ended with this release.
    Ended(Release),
    /// Support begins with this release at the latest.
    NotYet(Release),
}

fn window(kubernetes: u64, agentk: Release) -> Window {
    let end = |minor: u64| ENDS.iter().find(|(k, _)| *k == minor).map(|(_, end)| *end);
    let (ends, begins) = (end(kubernetes), kubernetes.checked_sub(3).and_then(end));
    match (ends, begins) {
        (Some(end), _) if agentk >= end => Window::Outside(Outside::Ended(end)),
        (_, Some(begin)) if agentk + EARLIER < begin => Window::Outside(Outside::NotYet(begin)),
        (Some(_), _) | (None, Some(_)) => Window::Inside,
        (None, None) => match ENDS.first() {
            // Whatever is older than the table ended before it begins.
            Some((first, end)) if kubernetes < *first && agentk >= *end => {
                Window::Outside(Outside::Ended(*end))
            }
            _ => Window::NotOnTheTable,
        },
    }
}

fn found(agent: &Agent<'_>, agentk: &Version, kubernetes: u64, outside: Outside) -> Finding {
    let name = |release: Release| format!("{}.{}", release / 12, release % 12);
    let (message, remedy) = match outside {
        Outside::NotYet(begin) => (
            format!(
                "is of version {agentk}, which as far as known is older than GitLab's support of Kubernetes 1.{kubernetes} \
                 (since about {})",
                name(begin)
            ),
            "upgrade agentk, and the GitLab server before it; the chart's version in helm.yaml in Git decides it (GA603 \
             shows what there is)",
        ),
        Outside::Ended(end) => (
            format!(
                "is of version {agentk}, and as far as known GitLab supports Kubernetes 1.{kubernetes} only in releases \
                 before {}",
                name(end)
            ),
            "upgrade Kubernetes to a version that GitLab's page on the agent names",
        ),
    };
    Finding::new(agent.object(), message, Remedy::say(remedy))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::{Observed, ServerVersion};
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn of(kubernetes: &'static str, agentk: &'static str) -> impl Fn(&mut Snapshot) {
        move |s| {
            s.server = Observed::Known(ServerVersion { git_version: kubernetes.to_owned() });
            let containers = &mut fixture::deployment_mut(s, "gitlab-agent-v2").spec.template.spec.containers;
            containers[0].image = format!("registry.gitlab.com/gitlab-org/agentk:{agentk}");
        }
    }

    #[test]
    fn the_window_of_each_version_is_known() {
        for (kubernetes, agentk) in [
            ("v1.36.3", "v19.2.2"),
            ("v1.36.0-gke.100", "v19.0.0"),
            ("v1.34.1", "v19.6.9"),
            ("v1.35.0+k3s1", "v18.11.0"),
            ("v1.37.0", "v19.8.0"),
            ("v1.31.2", "v18.6.1"),
        ] {
            passes(&CHECK, of(kubernetes, agentk));
        }
    }

    #[test]
    fn too_old_and_too_new_are_found() {
        let old = finding(&CHECK, of("v1.33.4", "v19.2.2"));
        assert_eq!(
            old.message,
            "is of version 19.2.2, and as far as known GitLab supports Kubernetes 1.33 only in releases before 19.2"
        );
        let ancient = finding(&CHECK, of("v1.24.0", "v18.0.0"));
        assert!(ancient.message.ends_with("only in releases before 17.5"), "{}", ancient.message);
        let new = finding(&CHECK, of("v1.36.3", "v18.0.0"));
        assert_eq!(
            new.message,
            "is of version 18.0.0, which as far as known is older than GitLab's support of Kubernetes 1.36 (since about 19.2)"
        );
        assert!(new.remedy.text.contains("GA603"));
    }

    #[test]
    fn what_this_program_does_not_know_is_no_pass() {
        assert_eq!(after(&CHECK, of("v1.42.0", "v21.0.0")).verdict(), Verdict::Unknown);
        assert_eq!(after(&CHECK, of("v1.24.0", "v16.0.0")).verdict(), Verdict::Unknown);
        assert_eq!(after(&CHECK, of("unversioned", "v19.2.2")).verdict(), Verdict::Unknown);
        assert_eq!(after(&CHECK, of("v1.36.3", "v0.0.0")).verdict(), Verdict::Skipped);
    }
}
