//! GA401: every GitRepository on the agent's GitLab has a Receiver.

use jiff::SignedDuration;

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::graph::expected_receiver;
use crate::facts::host::host;
use crate::facts::{Facts, Receiver, Source, Why};
use crate::need::Need;

pub(super) static CHECK: Check = Check {
    code: 401,
    slug: "receiver-missing",
    title: "every GitRepository on the agent's GitLab has a Receiver",
    severity: Severity::Error,
    impact: Impact::Pushes,
    needs: &[Need::GitRepositories, Need::Receivers, Need::Deployments],
    page: include_str!("../../../../docs/checks/GA401.md"),
    judge,
};

/// How long agentk may take.
const PATIENCE: SignedDuration = SignedDuration::from_secs(60);

/// The longest name that a Receiver's `spec.resources[].name` may have.
const LONGEST_NAME: usize = 53;

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    for why in facts.agent_gaps() {
        judgement.lacks(why.clone());
    }
    let repositories = judgement.each(&facts.snapshot.git_repositories);
    let receivers = judgement.each(&facts.snapshot.receivers);
    if facts.agents.is_empty() {
        judgement.skip("no agentk is installed");
        return Ok(());
    }
    let own = facts.gitlab_host();
    for repository in repositories.iter().filter(|g| own.is_some() && host(&g.spec.url) == own) {
        judgement.examine();
        let made = repository.metadata.creation_timestamp;
        let young = made.is_some_and(|at| facts.now.duration_since(at) < PATIENCE);
        let listed = receivers.iter().any(|r| lists(r, repository));
        // A Receiver that lists it may be among those that could not be seen.
        if listed || !facts.snapshot.receivers.gaps.is_empty() {
            continue;
        }
        if young {
            let of = format!("Receiver of {}", repository.metadata.object("GitRepository"));
            judgement.too_early(of, "the GitRepository is younger than a minute, and agentk makes it a Receiver");
        } else {
            judgement.find(missing(facts, repository));
        }
    }
    judgement.skip("no GitRepository is on the agent's GitLab");
    Ok(())
}

fn lists(receiver: &Receiver, repository: &Source) -> bool {
    let of = repository.metadata.object("GitRepository");
    receiver.spec.resources.iter().any(|resource| {
        let named = Facts::resolve(resource, &receiver.metadata.namespace);
        named.kind == of.kind && named.namespace == of.namespace && (named.name == of.name || named.name == "*")
    })
}

fn missing(facts: &Facts<'_>, repository: &Source) -> Finding {
    let object = repository.metadata.object("GitRepository");
    let receiver = expected_receiver(&object.namespace, &object.name);
    let length = object.name.chars().count();
    if length > LONGEST_NAME {
        let message = format!(
            "cannot exist: the name of {object} has {length} characters, and a Receiver allows {LONGEST_NAME}"
        );
        let text = "give the GitRepository a shorter name in Git, and change it in what refers to it";
        return Finding::new(receiver, message, Remedy::say(text));
    }
    let interval = &repository.spec.interval;
    let message = format!("does not exist: a push to {object} is noticed only at its interval ({interval})");
    let text = "restart agentk, which makes the Receivers of all GitRepositories when it starts; where it does not, \
                GA307, GA310 and GA315 tell why";
    Finding::new(receiver, message, Remedy::say(text).restart_agents(facts))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes, too_early};
    use super::*;
    use crate::assess::Verdict;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn without_receiver(s: &mut Snapshot) {
        s.receivers.items.retain(|r| r.metadata.name != "gitlab-example-nginx-app");
    }

    #[test]
    fn a_missing_receiver_is_found_by_its_expected_name() {
        let found = finding(&CHECK, without_receiver);
        assert_eq!(found.subject.to_string(), "Receiver flux-system/gitlab-example-nginx-app");
        assert_eq!(
            found.message,
            "does not exist: a push to GitRepository flux-system/example-nginx-app is noticed only at its interval (1m0s)"
        );
        assert_eq!(found.remedy.lines(), ["kubectl -n gitlab rollout restart deployment/gitlab-agent-v2"]);
    }

    #[test]
    fn its_causes_are_found_through_the_graph() {
        let mut s = fixture::healthy();
        without_receiver(&mut s);
        let facts = Facts::derive(&s);
        let found = super::super::assess(&facts, [&CHECK]).remove(0).judgement.findings.remove(0);
        let needs = facts.graph.needs(&found.subject);
        for (namespace, name) in [("gitlab", "gitlab-agent-v2"), ("flux-system", "notification-controller")] {
            assert!(needs.contains(&fixture::object("Deployment", namespace, name)), "{name}");
        }
    }

    #[test]
    fn a_name_that_is_too_long_is_said() {
        let name = "a".repeat(54);
        let found = finding(&CHECK, |s| fixture::git_mut(s, "example-nginx-app").metadata.name = name);
        assert!(found.message.ends_with("has 54 characters, and a Receiver allows 53"), "{}", found.message);
    }

    #[test]
    fn a_receiver_made_by_hand_counts() {
        for name in ["example-nginx-app", "*"] {
            passes(&CHECK, |s| {
                let mut hand_made = s.receivers.items[1].clone();
                hand_made.metadata.name = "mine".to_owned();
                hand_made.metadata.annotations.0.clear();
                hand_made.spec.resources[0].name = name.to_owned();
                without_receiver(s);
                s.receivers.items.push(hand_made);
            });
        }
    }

    #[test]
    fn young_ones_and_other_hosts_are_not_reported() {
        too_early(&CHECK, |s| {
            without_receiver(s);
            fixture::git_mut(s, "example-nginx-app").metadata.creation_timestamp = "2026-11-02T09:59:30Z".parse().ok();
        });
        passes(&CHECK, |s| {
            without_receiver(s);
            *fixture::git_mut(s, "example-nginx-app").spec.url = "https://github.com/a/b".to_owned();
        });
        assert_eq!(after(&CHECK, |s| s.deployments.items.clear()).verdict(), Verdict::Skipped);
    }
}
