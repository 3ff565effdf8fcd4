//! GA308: the Lease of agentk's leader is held by a living pod.

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::agent::Agent;
use crate::facts::{Facts, Lease, Pod, Why, WhyKind};
use crate::need::Need;
use crate::text::age;

pub(super) static CHECK: Check = Check {
    code: 308,
    slug: "lease-without-living-holder",
    title: "a living pod of agentk is its leader",
    severity: Severity::Warning,
    impact: Impact::Pushes,
    needs: &[Need::Deployments, Need::Pods, Need::Leases],
    page: include_str!("../../../../docs/checks/GA308.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    for why in facts.agent_gaps() {
        judgement.lacks(why.clone());
    }
    for agent in &facts.agents {
        match leaderless(facts, agent) {
            Ok(found) => {
                judgement.examine();
                judgement.findings.extend(found);
            }
            Err(why) => judgement.lacks(why),
        }
    }
    judgement.skip("no agentk is installed");
    Ok(())
}

fn leaderless(facts: &Facts<'_>, agent: &Agent<'_>) -> Result<Option<Finding>, Why> {
    let living = agent.living()?;
    let lease = agent.lease.clone()?;
    if agent.leader(facts.now)?.is_some() {
        return Ok(None);
    }
    if let Some(why) = agent.just_started(facts.now)? {
        return Err(why);
    }
    let restart = Remedy::say("restart agentk; where it is not connected, GA307 tells why").restart(&agent.object());
    let Some(lease) = lease else {
        let message = format!("has no leader: namespace {} has no Lease agent-<id>-lock of it", agent.namespace());
        return Ok(Some(Finding::new(agent.object(), message, restart)));
    };
    let message = holder(facts, lease, &living)?;
    Ok(Some(Finding::new(lease.metadata.object("Lease"), message, restart)))
}

/// What is wrong with the holder. A Lease that was renewed within its time by a pod that is gone is not yet wrong.
fn holder(facts: &Facts<'_>, lease: &Lease, living: &[&Pod]) -> Result<String, Why> {
    let spec = &lease.spec;
    let holder = &spec.holder_identity;
    let renewed = spec.renew_time.map_or_else(|| "never".to_owned(), |at| format!("{} ago", age(facts.now, at)));
    if holder.is_empty() {
        return Ok("is held by nobody, and no pod takes it over".to_owned());
    }
    let others = facts.snapshot.pods.in_namespace(&lease.metadata.namespace)?;
    let exists = others.iter().any(|p| p.status.phase == "Running" && lease.is_held_by(&p.metadata.name));
    let own = living.iter().any(|p| lease.is_held_by(&p.metadata.name));
    match (own, exists, lease.is_expired(facts.now)) {
        (true, _, _) => Ok(format!("was last renewed {renewed} by its holder {holder}, which runs")),
        (false, true, _) => Ok(format!("is held by {holder}, which is no pod of this agentk")),
        (false, false, true) => Ok(format!("was last renewed {renewed} by {holder}, which does not run any more")),
        (false, false, false) => {
            let asked = format!("holder of Lease {}/{}", lease.metadata.namespace, lease.metadata.name);
            let said = format!("its holder {holder} is gone and renewed it {renewed}: a takeover takes half a minute");
            Err(Why::new(WhyKind::TooEarly, asked, said))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding};
    use super::*;
    use crate::assess::Verdict;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn held_by(holder: &'static str, renewed: &'static str) -> impl FnOnce(&mut Snapshot) {
        move |s| {
            s.leases.items[0].spec.holder_identity = holder.to_owned();
            s.leases.items[0].spec.renew_time = renewed.parse().ok();
        }
    }

    #[test]
    fn a_lease_without_a_living_holder_is_found() {
        for (holder, renewed, message) in [
            ("", "2026-11-02T09:59:58Z", "is held by nobody, and no pod takes it over"),
            (
                "gitlab-agent-v2-0",
                "2026-11-02T09:00:00Z",
                "was last renewed 1h ago by gitlab-agent-v2-0, which does not run any more",
            ),
            (
                "gitlab-agent-v2-1",
                "2026-11-02T09:00:00Z",
                "was last renewed 1h ago by its holder gitlab-agent-v2-1, which runs",
            ),
        ] {
            let found = finding(&CHECK, held_by(holder, renewed));
            assert_eq!((found.subject.to_string().as_str(), found.message.as_str()), ("Lease gitlab/agent-7-lock", message));
        }
    }

    #[test]
    fn a_lease_of_another_installation_is_found() {
        let found = finding(&CHECK, |s| {
            let mut other = s.pods.items[0].clone();
            other.metadata.name = "other".to_owned();
            other.metadata.labels.clear();
            s.pods.items.push(other);
            held_by("other", "2026-11-02T09:59:58Z")(s);
        });
        assert_eq!(found.message, "is held by other, which is no pod of this agentk");
    }

    #[test]
    fn no_lease_at_all_is_found_at_the_deployment() {
        let found = finding(&CHECK, |s| s.leases.items.clear());
        assert_eq!(found.subject.to_string(), "Deployment gitlab/gitlab-agent-v2");
        assert_eq!(found.message, "has no leader: namespace gitlab has no Lease agent-<id>-lock of it");
    }

    #[test]
    fn a_takeover_and_a_start_are_given_time() {
        let takeover = after(&CHECK, held_by("gone", "2026-11-02T09:59:50Z"));
        assert_eq!(takeover.verdict(), Verdict::Unknown);
        let start = after(&CHECK, |s| {
            s.leases.items.clear();
            for pod in &mut s.pods.items {
                pod.status.container_statuses.clear();
                pod.status.start_time = fixture::NOW.parse().ok();
            }
        });
        assert_eq!(start.verdict(), Verdict::Unknown);
    }
}
