//! GA410: no Receiver or receiver Secret of agentk is left behind.

use std::collections::BTreeSet;

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::command::kubectl;
use crate::facts::{Facts, Meta, Receiver, Why};
use crate::need::Need;
use crate::object::ObjectRef;

pub(super) static CHECK: Check = Check {
    code: 410,
    slug: "receiver-orphaned",
    title: "no Receiver or receiver Secret of agentk is left behind",
    severity: Severity::Warning,
    impact: Impact::Hygiene,
    needs: &[Need::GitRepositories, Need::Receivers, Need::Deployments, Need::Leases],
    page: include_str!("../../../../docs/checks/GA410.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    for why in facts.agent_gaps() {
        judgement.lacks(why.clone());
    }
    judgement.each(&facts.snapshot.git_repositories);
    let agents = numbers(facts, judgement);
    for receiver in judgement.each(&facts.snapshot.receivers).iter().filter(|r| is_of_agentk(&r.metadata)) {
        judgement.examine();
        let gone = judgement.known(without_repository(facts, receiver)).flatten();
        let message = match (gone, &agents) {
            (Some(repository), _) => {
                format!("is left behind: {repository} does not exist, and its webhook path still takes requests")
            }
            (None, Some(agents)) => match stranger(receiver, agents) {
                Some(id) => format!("was made by agent {id}, which does not run here: nobody keeps it up"),
                None => continue,
            },
            (None, None) => continue,
        };
        let object = receiver.metadata.object("Receiver");
        let secret = ObjectRef::new("Secret", &object.namespace, &receiver.spec.secret_ref.name);
        judgement.find(Finding::new(object.clone(), message, remove(&[&object, &secret])));
    }
    left_secrets(facts, judgement);
    judgement.skip("agentk made no Receiver here");
    Ok(())
}

/// agentk marks what it makes with annotations; it sets no labels.
fn is_of_agentk(meta: &Meta) -> bool {
    meta.annotation("app.kubernetes.io/managed-by") == Some("gitlab")
        || meta.annotation("agent.gitlab.com/id").is_some()
}

/// The numbers of all agents here; none where one of them is not known.
fn numbers(facts: &Facts<'_>, judgement: &mut Judgement) -> Option<Vec<u64>> {
    let whole = facts.agent_gaps().is_empty() && !facts.agents.is_empty();
    let mut numbers = Some(Vec::new());
    for agent in &facts.agents {
        judgement.known(agent.lease.clone());
        numbers = numbers.zip(agent.id).map(|(mut all, id)| {
            all.push(id);
            all
        });
    }
    numbers.filter(|_| whole)
}

fn stranger(receiver: &Receiver, agents: &[u64]) -> Option<u64> {
    let id = receiver.metadata.annotation("agent.gitlab.com/id")?.parse().ok()?;
    (!agents.contains(&id)).then_some(id)
}

/// The GitRepository that a Receiver was made for, where it does not exist.
fn without_repository(facts: &Facts<'_>, receiver: &Receiver) -> Result<Option<ObjectRef>, Why> {
    for resource in receiver.spec.resources.iter().filter(|r| r.kind == "GitRepository" && r.name != "*") {
        let object = Facts::resolve(resource, &receiver.metadata.namespace);
        if facts.snapshot.git_repositories.find(&object.namespace, &object.name)?.is_none() {
            return Ok(Some(object));
        }
    }
    Ok(None)
}

/// Secrets with the name that agentk gives, of which the Receiver is gone. They are looked for by name only.
fn left_secrets(facts: &Facts<'_>, judgement: &mut Judgement) {
    let s = facts.snapshot;
    let used = s.receivers.items.iter().map(|r| (&r.metadata.namespace, &r.spec.secret_ref.name));
    let used: BTreeSet<_> = used.collect();
    let left = |name: &str| name.starts_with("gitlab-receiver-");
    for entry in s.secrets.iter().filter(|e| left(&e.name) && !used.contains(&(&e.namespace, &e.name))) {
        let Some(Some(shape)) = judgement.known(entry.shape.get()) else { continue };
        if is_of_agentk(&shape.metadata) && s.receivers.gaps.is_empty() {
            let object = ObjectRef::new("Secret", &entry.namespace, &entry.name);
            let message = "is left behind: no Receiver uses it";
            let remedy = remove(&[&object]);
            judgement.find(Finding::new(object, message, remedy));
        }
    }
}

fn remove(objects: &[&ObjectRef]) -> Remedy {
    let namespace = objects.first().map_or("", |o| o.namespace.as_str());
    let delete = objects.iter().fold(kubectl(namespace, "delete"), |delete, object| delete.object(object));
    Remedy::say("delete what is left behind; a running agentk makes again what it needs when it starts")
        .run(delete.words("--ignore-not-found"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::{Observed, SecretShape};
    use crate::snapshot::{SecretEntry, Snapshot};

    #[test]
    fn a_receiver_without_its_repository_is_found() {
        let found = finding(&CHECK, |s| {
            s.git_repositories.items.retain(|g| g.metadata.name != "example-nginx-app");
        });
        assert_eq!(found.subject.to_string(), "Receiver flux-system/gitlab-example-nginx-app");
        assert!(found.message.contains("GitRepository flux-system/example-nginx-app does not exist"));
        assert_eq!(
            found.remedy.lines(),
            ["kubectl -n flux-system delete receiver.notification.toolkit.fluxcd.io/gitlab-example-nginx-app \
              secret/gitlab-receiver-example-nginx-app --ignore-not-found"]
        );
    }

    #[test]
    fn a_receiver_of_an_agent_that_is_gone_is_found() {
        let other = |s: &mut Snapshot| {
            let annotations = &mut s.receivers.items[0].metadata.annotations.0;
            annotations.insert("agent.gitlab.com/id".to_owned(), "3".to_owned());
        };
        let found = finding(&CHECK, other);
        assert!(found.message.starts_with("was made by agent 3"), "{}", found.message);
        passes(&CHECK, |s| {
            other(s);
            s.leases.items.clear();
        });
    }

    #[test]
    fn a_secret_without_its_receiver_is_found() {
        let left = |annotations: &'static str| {
            move |s: &mut Snapshot| {
                let metadata = serde_json::from_str(annotations).expect("metadata");
                let shape = SecretShape { metadata, ..SecretShape::default() };
                s.secrets.push(SecretEntry {
                    namespace: "flux-system".to_owned(),
                    name: "gitlab-receiver-old".to_owned(),
                    shape: Observed::Known(Some(shape)),
                });
            }
        };
        let found = finding(&CHECK, left(r#"{"annotations": {"app.kubernetes.io/managed-by": "gitlab"}}"#));
        assert_eq!(found.subject.to_string(), "Secret flux-system/gitlab-receiver-old");
        passes(&CHECK, left("{}"));
    }

    #[test]
    fn receivers_of_others_are_not_looked_at() {
        let judgement = after(&CHECK, |s| {
            s.receivers.items.iter_mut().for_each(|r| r.metadata.annotations.0.clear());
            s.git_repositories.items.clear();
        });
        assert_eq!(judgement.verdict(), Verdict::Skipped);
    }
}
