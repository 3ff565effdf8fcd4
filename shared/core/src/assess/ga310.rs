//! GA310: agentk started after Flux's CRDs were made.

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::agent::Agent;
use crate::facts::{Crd, Facts, Why};
use crate::need::Need;
use crate::text::age;

pub(super) static CHECK: Check = Check {
    code: 310,
    slug: "agentk-older-than-flux",
    title: "agentk started after Flux's CRDs were made",
    severity: Severity::Error,
    impact: Impact::Pushes,
    needs: &[Need::Crds, Need::Deployments, Need::Pods],
    page: include_str!("../../../../docs/checks/GA310.md"),
    judge,
};

/// The kinds that agentk looks for, once, when it starts.
const LOOKED_FOR: &[&str] =
    &["gitrepositories.source.toolkit.fluxcd.io", "receivers.notification.toolkit.fluxcd.io"];

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    for why in facts.agent_gaps() {
        judgement.lacks(why.clone());
    }
    let crds = judgement.each(&facts.snapshot.crds);
    let looked_for = |crd: &&Crd| LOOKED_FOR.contains(&crd.metadata.name.as_str());
    let newest = crds.iter().filter(looked_for).max_by_key(|crd| crd.metadata.creation_timestamp);
    for agent in &facts.agents {
        let Some(pods) = judgement.known(agent.living()) else { continue };
        let Some(crd) = newest else { continue };
        for pod in &pods {
            let started = Agent::token_read_at(pod);
            if let Some((started, made)) = started.zip(crd.metadata.creation_timestamp) {
                judgement.examine();
                if started < made {
                    let message = format!(
                        "started {} ago, before Flux's CRDs were made ({} ago): its Flux module is off until a restart",
                        age(facts.now, started),
                        age(facts.now, made),
                    );
                    let evidence = format!("pod {} is older than {}", pod.metadata.name, crd.metadata.name);
                    let mend = Remedy::say("restart agentk").restart(&agent.object());
                    judgement.find(Finding::new(agent.object(), message, mend).because(evidence));
                    break;
                }
            }
        }
    }
    judgement.skip("no agentk runs here together with Flux");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::snapshot::Snapshot;

    fn made(crd: &'static str, at: &'static str) -> impl FnOnce(&mut Snapshot) {
        move |s| {
            let found = s.crds.items.iter_mut().find(|c| c.metadata.name == crd).expect("a CRD");
            found.metadata.creation_timestamp = at.parse().ok();
        }
    }

    #[test]
    fn agentk_before_flux_is_found_once() {
        for crd in LOOKED_FOR {
            let found = finding(&CHECK, made(crd, "2026-11-01T10:00:00Z"));
            assert_eq!(found.subject.to_string(), "Deployment gitlab/gitlab-agent-v2");
            assert_eq!(
                found.message,
                "started 1d1h ago, before Flux's CRDs were made (1d ago): its Flux module is off until a restart"
            );
        }
    }

    #[test]
    fn the_same_second_and_other_kinds_are_fine() {
        passes(&CHECK, made(LOOKED_FOR[0], "2026-11-01T09:00:00Z"));
        passes(&CHECK, made("helmreleases.helm.toolkit.fluxcd.io", "2026-11-01T10:00:00Z"));
        assert_eq!(after(&CHECK, |s| s.crds.items.clear()).verdict(), Verdict::Skipped);
    }
}
