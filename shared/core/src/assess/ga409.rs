//! GA409: push events have been arriving.

use jiff::{SignedDuration, Timestamp};

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::command::Program;
use crate::facts::host::host;
use crate::facts::request::last_request;
use crate::facts::{Facts, Receiver, Source, Why, condition};
use crate::need::Need;
use crate::text::{age, revision};

pub(super) static CHECK: Check = Check {
    code: 409,
    slug: "push-not-announced",
    title: "push events have been arriving",
    severity: Severity::Info,
    impact: Impact::Pushes,
    needs: &[Need::GitRepositories, Need::Receivers, Need::Deployments],
    page: include_str!("../../../../docs/checks/GA409.md"),
    judge,
};

/// A change that is fetched so long after a request came because of it.
const BECAUSE: SignedDuration = SignedDuration::from_mins(5);
/// agentk begins to listen for pushes seconds after it made the Receiver.
const LISTENS: SignedDuration = SignedDuration::from_secs(60);

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    for why in facts.agent_gaps() {
        judgement.lacks(why.clone());
    }
    let receivers = judgement.each(&facts.snapshot.receivers);
    let repositories = judgement.each(&facts.snapshot.git_repositories);
    let restarted = source_controller_started(facts)?;
    let own = facts.gitlab_host();
    for repository in repositories.iter().filter(|g| own.is_some() && host(&g.spec.url) == own && !g.spec.suspend) {
        let Some(receiver) = receivers.iter().find(|r| is_for(r, repository)) else { continue };
        judgement.examine();
        judgement.findings.extend(unannounced(facts, repository, receiver, restarted));
    }
    judgement.skip("agentk made no Receiver here");
    Ok(())
}

/// Whether it is agentk's Receiver of a GitRepository.
fn is_for(receiver: &Receiver, repository: &Source) -> bool {
    let of = repository.metadata.object("GitRepository");
    receiver.metadata.annotation("agent.gitlab.com/project").is_some()
        && receiver.spec.resources.iter().any(|r| Facts::resolve(r, &receiver.metadata.namespace) == of)
}

/// When source-controller came up last: it then fetches everything anew.
fn source_controller_started(facts: &Facts<'_>) -> Result<Option<Timestamp>, Why> {
    let deployment = facts.controller("source-controller")?;
    let available = deployment.and_then(|d| condition(&d.status.conditions, "Available"));
    Ok(available.and_then(|c| c.last_transition_time))
}

fn unannounced(
    facts: &Facts<'_>,
    repository: &Source,
    receiver: &Receiver,
    restarted: Option<Timestamp>,
) -> Option<Finding> {
    let artifact = repository.status.artifact.as_ref()?;
    let stored = artifact.last_update_time?;
    let made = receiver.metadata.creation_timestamp?;
    let anew = restarted.is_some_and(|at| stored.duration_since(at).abs() < BECAUSE);
    if stored < made + LISTENS || anew {
        return None;
    }
    let request = last_request(&repository.metadata);
    if request.is_some_and(|request| request.at > stored - BECAUSE) {
        return None;
    }
    let object = repository.metadata.object("GitRepository");
    let message = format!(
        "announced no push before the newest change: {object} found {} by itself {} ago",
        revision(&artifact.revision),
        age(facts.now, stored)
    );
    let last = match request {
        Some(request) => format!("the last request to fetch came {} ago from {}", age(facts.now, request.at), request.who()),
        None => "nobody ever asked for a fetch".to_owned(),
    };
    let remedy = Remedy::say(
        "nothing, where the project is private and not the agent's own: GitLab tells agents only of pushes to their own \
         and to public projects, and says itself that events may be lost; else prove the way with the command",
    )
    .run(Program::new("kubectl gitlab-agent reconcile-now --through-webhook --dry-run"));
    Some(Finding::new(receiver.metadata.object("Receiver"), message, remedy).because(last))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::{Condition, ManagedFields, RequestField};
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn changed(at: &'static str, requested: &'static [(&'static str, &'static str)]) -> impl FnOnce(&mut Snapshot) {
        move |s| {
            let repository = fixture::git_mut(s, "flux-system");
            repository.status.artifact.as_mut().expect("an artifact").last_update_time = at.parse().ok();
            repository.metadata.managed_fields = requested
                .iter()
                .map(|(manager, at)| ManagedFields {
                    manager: (*manager).to_owned(),
                    time: at.parse().ok(),
                    requests: RequestField(true),
                    ..ManagedFields::default()
                })
                .collect();
        }
    }

    #[test]
    fn a_change_without_an_event_is_told() {
        let found = finding(&CHECK, changed("2026-11-02T09:00:00Z", &[]));
        assert_eq!(found.subject.to_string(), "Receiver flux-system/gitlab-flux-system");
        assert!(found.message.contains("found main@11111111 by itself 1h ago"), "{}", found.message);
        assert_eq!(found.evidence, ["nobody ever asked for a fetch"]);
        let old = finding(&CHECK, changed("2026-11-02T09:00:00Z", &[("notification-controller", "2026-11-02T08:00:00Z")]));
        assert_eq!(old.evidence, ["the last request to fetch came 2h ago from a webhook"]);
    }

    #[test]
    fn an_announced_change_passes() {
        passes(&CHECK, changed("2026-11-02T09:00:00Z", &[("notification-controller", "2026-11-02T08:59:58Z")]));
        passes(&CHECK, changed("2026-11-02T09:00:00Z", &[("notification-controller", "2026-11-02T09:30:00Z")]));
        passes(&CHECK, changed("2026-11-02T09:00:00Z", &[("flux", "2026-11-02T08:59:58Z")]));
    }

    #[test]
    fn what_is_older_than_the_receiver_or_fetched_anew_tells_nothing() {
        passes(&CHECK, changed("2026-11-01T08:00:30Z", &[]));
        passes(&CHECK, |s| {
            changed("2026-11-02T09:00:00Z", &[])(s);
            fixture::deployment_mut(s, "source-controller").status.conditions.push(Condition {
                kind: "Available".to_owned(),
                status: "True".to_owned(),
                last_transition_time: "2026-11-02T08:59:00Z".parse().ok(),
                ..Condition::default()
            });
        });
        assert_eq!(after(&CHECK, |s| s.receivers.items.clear()).verdict(), Verdict::Skipped);
    }
}
