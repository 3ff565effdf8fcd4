//! GA601: agentk is of the GitLab server's version.

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::agent::Agent;
use crate::facts::{Facts, Why, WhyKind};
use crate::need::Need;

pub(super) static CHECK: Check = Check {
    code: 601,
    slug: "version-skew",
    title: "agentk is of GitLab's minor version, or of a neighbouring one",
    severity: Severity::Warning,
    impact: Impact::Hygiene,
    needs: &[Need::Deployments, Need::GitLabMetadata],
    page: include_str!("../../../../docs/checks/GA601.md"),
    judge,
};

/// Minor versions of a major version: GitLab has released twelve of each since 11.
const MINORS: i64 = 12;

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    for why in facts.agent_gaps() {
        judgement.lacks(why.clone());
    }
    for agent in &facts.agents {
        let Some(metadata) = judgement.known(facts.gitlab_metadata()) else { continue };
        let kas = metadata.kas_version.as_deref().and_then(|v| Some((v, minor(v)?)));
        let server = kas.or_else(|| Some((metadata.version.as_str(), minor(&metadata.version)?)));
        let (Some(server), Some(own)) = (server, own(facts, agent)) else {
            let text = "neither the image's tag nor GitLab tells a version such as 18.5.2";
            judgement.lacks(Why::new(WhyKind::Unreadable, format!("versions of {} and GitLab", agent.object()), text));
            continue;
        };
        judgement.examine();
        judgement.findings.extend(found(facts, agent, &own, server));
    }
    judgement.skip("no agentk is installed");
    Ok(())
}

/// The version that runs: the image's tag, else what GitLab sees of a connection.
fn own(facts: &Facts<'_>, agent: &Agent<'_>) -> Option<(String, i64)> {
    let tag = agent.version().and_then(|v| Some((v.to_owned(), minor(v)?)));
    tag.or_else(|| {
        let connections = facts.gitlab_agent(agent).ok()?.connections.get().ok()?;
        connections.iter().find_map(|c| Some((c.version.trim_start_matches('v').to_owned(), minor(&c.version)?)))
    })
}

fn found(facts: &Facts<'_>, agent: &Agent<'_>, own: &(String, i64), server: (&str, i64)) -> Option<Finding> {
    let (version, gitlab) = (&own.0, server.0);
    let (severity, message, remedy) = match own.1 - server.1 {
        2.. => (
            Severity::Error,
            format!("runs {version}, which is more than one minor version newer than GitLab {gitlab}: it may not be understood there"),
            "go back to a chart version whose agentk is of GitLab's minor version, or upgrade GitLab first",
        ),
        ..=-2 => (
            Severity::Warning,
            format!("runs {version}, which is more than one minor version older than GitLab {gitlab}"),
            "raise the chart version in helm.yaml in Git to one whose agentk is of GitLab's minor version, and push",
        ),
        _ => return None,
    };
    let warnings = facts.gitlab_agent(agent).ok().and_then(|a| a.connections.get().ok());
    let warnings = warnings.into_iter().flatten().flat_map(|c| &c.warnings);
    let finding = Finding::new(agent.object(), message, Remedy::say(remedy)).severity(severity);
    Some(warnings.take(1).fold(finding, |finding, text| finding.because(text)))
}

/// Major and minor version as one number, so that 18.11 and 19.0 are neighbours. None for what is no version, such as
/// a commit.
fn minor(version: &str) -> Option<i64> {
    let mut parts = version.trim_start_matches('v').split(['.', '-', '+']);
    let major: i64 = parts.next()?.parse().ok()?;
    let minor: i64 = parts.next()?.parse().ok()?;
    // Builds of agentk that know no version say 0.0.0.
    (major > 0 && minor < 100).then_some(major * MINORS + minor)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::Observed;
    use crate::fixture::{deployment_mut, gitlab_mut};
    use crate::snapshot::Snapshot;

    fn versions(image: &'static str, kas: Option<&'static str>, gitlab: &'static str) -> impl FnOnce(&mut Snapshot) {
        move |s| {
            deployment_mut(s, "gitlab-agent-v2").spec.template.spec.containers[0].image = format!("registry/agentk{image}");
            let Observed::Known(metadata) = &mut gitlab_mut(s).metadata else { panic!("known") };
            metadata.kas_version = kas.map(str::to_owned);
            metadata.version = gitlab.to_owned();
        }
    }

    #[test]
    fn more_than_one_minor_apart_is_found_and_newer_is_worse() {
        let found = finding(&CHECK, versions(":v19.4.0", Some("19.2.1"), "19.2.1"));
        assert_eq!(found.severity, Some(Severity::Error));
        let found = finding(&CHECK, versions(":v18.11.3", Some("19.1.0"), "19.1.0-ee"));
        assert_eq!(found.severity, Some(Severity::Warning));
        assert!(found.message.contains("older than GitLab 19.1.0"), "{}", found.message);
    }

    #[test]
    fn neighbours_pass_also_across_a_major_version() {
        for (image, kas, gitlab) in [
            (":v19.3.0", Some("19.2.1"), "19.2.1"),
            (":v19.1.0", None, "19.2.1-ee"),
            (":v18.11.3", Some("19.0.0"), "19.0.0"),
            (":v19.2.0", Some("a1b2c3d4e5"), "19.2.0-pre"),
            ("@sha256:00", Some("19.2.1"), "19.2.1"),
        ] {
            passes(&CHECK, versions(image, kas, gitlab));
        }
    }

    #[test]
    fn versions_that_nobody_tells_are_unknown() {
        let judgement = after(&CHECK, versions(":v19.2.0", None, "unknown"));
        assert_eq!(judgement.verdict(), Verdict::Unknown);
        let judgement = after(&CHECK, |s| {
            versions(":local", Some("19.2.1"), "19.2.1")(s);
            crate::fixture::gitlab_agent_mut(s).connections = Observed::Known(Vec::new());
        });
        assert_eq!(judgement.verdict(), Verdict::Unknown);
    }
}
