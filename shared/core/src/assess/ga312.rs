//! GA312: agentk's pods started after the token Secret last changed.

use jiff::Timestamp;

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::agent::Agent;
use crate::facts::{Facts, Why};
use crate::need::Need;
use crate::object::ObjectRef;
use crate::text::age;

pub(super) static CHECK: Check = Check {
    code: 312,
    slug: "token-changed-after-start",
    title: "agentk runs with the token that its Secret holds",
    severity: Severity::Error,
    impact: Impact::Pushes,
    needs: &[Need::Deployments, Need::Pods, Need::Secrets],
    page: include_str!("../../../../docs/checks/GA312.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    for why in facts.agent_gaps() {
        judgement.lacks(why.clone());
    }
    for agent in &facts.agents {
        let Some(object) = agent.secret_object() else { continue };
        let changed = judgement.known(agent.token_changed_at());
        let pods = judgement.known(agent.living());
        let (Some(Some(changed)), Some(pods)) = (changed, pods) else { continue };
        let Some(oldest) = pods.into_iter().filter_map(Agent::token_read_at).min() else { continue };
        judgement.examine();
        if oldest < changed {
            judgement.find(outdated(facts, agent, &object, oldest, changed));
        }
    }
    judgement.skip("no agentk with a token Secret runs here");
    Ok(())
}

fn outdated(facts: &Facts<'_>, agent: &Agent<'_>, secret: &ObjectRef, oldest: Timestamp, changed: Timestamp) -> Finding {
    let message = format!(
        "runs since {} ago with the token it read then; {secret} changed {} ago",
        age(facts.now, oldest),
        age(facts.now, changed),
    );
    let text = "restart agentk, which reads its token only when it starts";
    Finding::new(agent.object(), message, Remedy::say(text).restart(&agent.object()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::Observed;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn changed(at: Option<&'static str>, made: Option<&'static str>) -> impl FnOnce(&mut Snapshot) {
        move |s| {
            let secret = fixture::secret(s, "gitlab", "gitlab-agent-token");
            secret.metadata.creation_timestamp = made.and_then(|m| m.parse().ok());
            secret.keys.get_mut("token").expect("a token").changed_at = at.and_then(|a| a.parse().ok());
        }
    }

    #[test]
    fn a_token_changed_after_the_start_is_found() {
        let found = finding(&CHECK, changed(Some("2026-11-02T08:00:00Z"), None));
        assert_eq!(found.subject.to_string(), "Deployment gitlab/gitlab-agent-v2");
        assert_eq!(
            found.message,
            "runs since 1d1h ago with the token it read then; Secret gitlab/gitlab-agent-token changed 2h ago"
        );
        finding(&CHECK, changed(None, Some("2026-11-02T08:00:00Z")));
    }

    #[test]
    fn the_same_second_is_fine() {
        passes(&CHECK, changed(Some("2026-11-01T09:00:00Z"), Some("2026-11-02T08:00:00Z")));
        assert_eq!(after(&CHECK, changed(None, None)).verdict(), Verdict::Unknown);
    }

    #[test]
    fn a_missing_secret_is_another_check() {
        let missing = after(&CHECK, |s| fixture::secret_entry(s, "gitlab", "gitlab-agent-token").shape = Observed::Known(None));
        assert_eq!(missing.verdict(), Verdict::Skipped);
    }
}
