//! GA605: the version of agentk that runs is the one of its chart.

use serde_json::json;

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::agent::Agent;
use crate::facts::chart::of_objects;
use crate::facts::{Facts, HelmRelease, Why};
use crate::need::Need;

pub(super) static CHECK: Check = Check {
    code: 605,
    slug: "image-tag-differs",
    title: "agentk's image is the one of its chart",
    severity: Severity::Warning,
    impact: Impact::Hygiene,
    needs: &[Need::HelmReleases, Need::Deployments],
    page: include_str!("../../../../docs/checks/GA605.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    judgement.skip("no agentk of a known version is installed by a HelmRelease");
    facts.agent_gaps().iter().for_each(|why| judgement.lacks(why.clone()));
    judgement.each(&facts.snapshot.helm_releases);
    for agent in &facts.agents {
        let Some(release) = agent.release else { continue };
        let Some(made) = of_objects(release).filter(|made| !made.app_version.is_empty()) else { continue };
        // An image by digest has no tag.
        let Some(runs) = agent.version() else { continue };
        judgement.examine();
        if runs != made.app_version.trim_start_matches('v') {
            judgement.find(found(facts, agent, release, runs, &made.app_version, &made.chart_version));
        }
    }
    Ok(())
}

fn found(
    facts: &Facts<'_>,
    agent: &Agent<'_>,
    release: &HelmRelease,
    runs: &str,
    of_chart: &str,
    chart: &str,
) -> Finding {
    let object = release.metadata.object("HelmRelease");
    let message = |by: &str| {
        format!(
            "installs chart {chart}, whose agentk is {of_chart}, but {runs} runs ({by}): new charts do not bring new versions \
             of agentk, and its labels name the wrong one"
        )
    };
    match &release.spec.values.image_tag {
        Some(tag) => {
            let remedy =
                Remedy::in_git(facts, &object, "take image.tag out of the values of the HelmRelease")
                    .patch(&object, &json!({"spec": {"values": {"image": {"tag": null}}}}));
            Finding::new(object, message(&format!("image.tag is {tag}")), remedy)
        }
        None => {
            let remedy = Remedy::say(
                "take image.tag out of the ConfigMap or Secret that spec.valuesFrom names; where nothing sets it, somebody \
                 changed the Deployment by hand: the command has Helm write it anew",
            )
            .force_release(&object);
            Finding::new(
                object,
                message(&format!("the values do not say why; {} has it", agent.object())),
                remedy,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn runs(s: &mut Snapshot, image: &str) {
        let containers = &mut fixture::deployment_mut(s, "gitlab-agent-v2").spec.template.spec.containers;
        containers[0].image = format!("registry.example.com/agentk{image}");
    }

    #[test]
    fn a_tag_in_the_values_is_found() {
        let found = finding(&CHECK, |s| {
            runs(s, ":v18.0.0");
            s.helm_releases.items[0].spec.values.image_tag = Some("v18.0.0".to_owned());
        });
        assert_eq!(found.subject.to_string(), "HelmRelease gitlab/gitlab-agent");
        assert!(
            found.message.contains("whose agentk is v19.2.2, but 18.0.0 runs (image.tag is v18.0.0)"),
            "{}",
            found.message
        );
        assert!(found.remedy.lines()[0].ends_with(r#"-p '{"spec":{"values":{"image":{"tag":null}}}}'"#));
        assert!(found.remedy.text.contains("in Git too"), "{:?}", found.remedy);
    }

    #[test]
    fn a_tag_from_elsewhere_is_found() {
        let found = finding(&CHECK, |s| runs(s, ":v19.2.1"));
        assert!(
            found.message.contains("the values do not say why; Deployment gitlab/gitlab-agent-v2"),
            "{}",
            found.message
        );
        assert!(found.remedy.lines()[0].contains("forceAt"));
    }

    #[test]
    fn the_same_version_and_a_digest_are_fine() {
        passes(&CHECK, |s| runs(s, ":19.2.2"));
        passes(&CHECK, |s| runs(s, ":v19.2.2@sha256:00"));
        assert_eq!(after(&CHECK, |s| runs(s, "@sha256:00")).verdict(), Verdict::Skipped);
    }
}
