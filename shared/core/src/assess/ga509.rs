//! GA509: no second token of the agent lies unused.

use jiff::{SignedDuration, Timestamp};

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::command::Program;
use crate::facts::agent::Agent;
use crate::facts::{Facts, Why};
use crate::name;
use crate::need::Need;
use crate::snapshot::gitlab::{AgentRecord, AgentToken};
use crate::text::age;

pub(super) static CHECK: Check = Check {
    code: 509,
    slug: "agent-token-unused",
    title: "no active agent token lies unused",
    severity: Severity::Warning,
    impact: Impact::Hygiene,
    needs: &[Need::Deployments, Need::GitLabAgents],
    page: include_str!("../../../../docs/checks/GA509.md"),
    judge,
};

/// GitLab writes a use down up to an hour late; a day leaves no doubt.
const UNUSED: SignedDuration = SignedDuration::from_hours(24);
/// A token this young may be on its way into the cluster.
const YOUNG: SignedDuration = SignedDuration::from_hours(1);

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    for why in facts.agent_gaps() {
        judgement.lacks(why.clone());
    }
    for agent in &facts.agents {
        let Some(record) = judgement.known(facts.gitlab_agent(agent)) else { continue };
        let Some(tokens) = judgement.known(record.tokens.get()) else { continue };
        judgement.examine();
        let used = used(agent, tokens);
        for token in tokens.iter().filter(|t| Some(t.id) != used && lies_unused(t, facts.now)) {
            judgement.find(found(agent, record, token, facts.now));
        }
    }
    judgement.skip("no agentk is installed");
    Ok(())
}

/// The token that the cluster uses: the one that the Secret's annotation names, else the one used last.
fn used(agent: &Agent<'_>, tokens: &[AgentToken]) -> Option<u64> {
    let secret = agent.secret.as_ref().ok().copied().flatten();
    let named = secret.and_then(|s| s.metadata.annotation("gitlab.com/agent-token-id"));
    let named = named.and_then(|id| id.parse().ok()).filter(|id| tokens.iter().any(|t| t.id == *id));
    named.or_else(|| tokens.iter().max_by_key(|t| (t.last_used_at, t.created_at)).map(|t| t.id))
}

fn lies_unused(token: &AgentToken, now: Timestamp) -> bool {
    let older = |at: Option<Timestamp>, than| at.is_none_or(|at| now.duration_since(at) > than);
    older(token.last_used_at, UNUSED) && older(token.created_at, YOUNG)
}

fn found(agent: &Agent<'_>, record: &AgentRecord, token: &AgentToken, now: Timestamp) -> Finding {
    let since = token.last_used_at.map_or("was never used".to_owned(), |at| format!("was last used {} ago", age(now, at)));
    let message = format!(
        "has an active token besides the one in use, {} \"{}\", which {since}: whoever has it can sign in as this agent, and with \
         two active tokens GitLab makes no third one for a rotation",
        token.id, token.name
    );
    let place = format!("revoke it in GitLab (project {}, Operate > Kubernetes clusters > {} > Access tokens)", record.project, record.name);
    Finding::new(agent.object(), message, revoke(place, record, token))
}

/// glab sends its token to the host in `--repo`, where the first part looks like one: then no command is printed.
fn revoke(place: String, record: &AgentRecord, token: &AgentToken) -> Remedy {
    let group = record.project.split('/').next().unwrap_or_default();
    if !record.project.split('/').all(name::is_valid) || !record.project.contains('/') || group.contains(['.', ':', '@']) {
        return Remedy::say(place);
    }
    let command = Program::new("glab cluster agent token revoke")
        .operand(&record.id.to_string())
        .operand(&token.id.to_string())
        .flag("--repo", &record.project);
    Remedy::say(format!("{place}, or with glab")).run(command)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::{Observed, WhyKind};
    use crate::fixture::{gitlab_agent_mut, secret};
    use crate::snapshot::Snapshot;

    fn second(created: &'static str, used: Option<&'static str>) -> impl FnOnce(&mut Snapshot) {
        move |s| {
            let Observed::Known(list) = &mut gitlab_agent_mut(s).tokens else { panic!("known") };
            let time = |text: &str| Some(text.parse().expect("a time"));
            list.push(AgentToken {
                id: 32,
                name: "old".to_owned(),
                created_at: time(created),
                last_used_at: used.and_then(time),
            });
        }
    }

    #[test]
    fn an_unused_token_is_named() {
        let found = finding(&CHECK, second("2026-10-01T00:00:00Z", None));
        assert!(found.message.contains("32 \"old\", which was never used"), "{}", found.message);
        assert_eq!(found.remedy.lines(), ["glab cluster agent token revoke 7 32 --repo=platform/flux-system"]);
        let found = finding(&CHECK, second("2026-10-01T00:00:00Z", Some("2026-10-05T10:00:00Z")));
        assert!(found.message.contains("last used 28d ago"), "{}", found.message);
    }

    #[test]
    fn the_token_that_the_secret_names_is_never_the_unused_one() {
        let found = finding(&CHECK, |s| {
            second("2026-10-01T00:00:00Z", None)(s);
            let annotations = &mut secret(s, "gitlab", "gitlab-agent-token").metadata.annotations.0;
            annotations.insert("gitlab.com/agent-token-id".to_owned(), "32".to_owned());
            let Observed::Known(list) = &mut gitlab_agent_mut(s).tokens else { panic!("known") };
            list[0].last_used_at = None;
        });
        assert!(found.message.contains("31 \"flux\""), "{}", found.message);
    }

    #[test]
    fn a_fresh_or_used_second_token_passes() {
        passes(&CHECK, second("2026-11-02T09:30:00Z", None));
        passes(&CHECK, second("2026-10-01T00:00:00Z", Some("2026-11-02T01:00:00Z")));
    }

    #[test]
    fn without_the_list_it_is_unknown() {
        let why = Why::new(WhyKind::Forbidden, "tokens", "403 Forbidden");
        let judgement = after(&CHECK, |s| gitlab_agent_mut(s).tokens = Observed::Unknown(why));
        assert_eq!(judgement.verdict(), Verdict::Unknown);
    }
}
