//! GA311: agentk's service account may do what its Flux module needs.

use std::collections::{BTreeMap, BTreeSet};

use super::remedy::{apply, yaml_word};
use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::command::Program;
use crate::facts::agent::Agent;
use crate::facts::{Facts, Permission, Why, WhyKind};
use crate::need::Need;
use crate::snapshot::Review;
use crate::text::count;

pub(super) static CHECK: Check = Check {
    code: 311,
    slug: "agentk-permission-missing",
    title: "agentk's service account may do what its Flux module needs",
    severity: Severity::Error,
    impact: Impact::Pushes,
    needs: &[Need::Deployments, Need::GitRepositories, Need::AccessReviews],
    page: include_str!("../../../../docs/checks/GA311.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    for why in facts.agent_gaps() {
        judgement.lacks(why.clone());
    }
    // Where they are decides where permissions on Receivers and Secrets are needed.
    judgement.each(&facts.snapshot.git_repositories);
    for agent in &facts.agents {
        if !facts.snapshot.reviews.iter().any(|r| is_of(r, agent)) {
            let asked = format!("what service account {}/{} may do", agent.namespace(), account(agent));
            judgement.lacks(Why::new(WhyKind::NotAsked, asked, "the recording does not hold it"));
            continue;
        }
        let mut missing = Vec::new();
        for duty in facts.duties(agent) {
            let everywhere = judgement.known(answer(facts, agent, &duty.permission));
            let Some(everywhere) = everywhere else { continue };
            judgement.examine();
            if everywhere {
                continue;
            }
            if !duty.by_namespace {
                missing.push(duty.permission);
                continue;
            }
            for namespace in facts.receiver_namespaces() {
                let here = Permission { namespace: Some(namespace.to_owned()), ..duty.permission.clone() };
                if judgement.known(answer(facts, agent, &here)) == Some(false) {
                    missing.push(here);
                }
            }
        }
        if !missing.is_empty() {
            judgement.find(lacking(agent, &missing));
        }
    }
    judgement.skip("no agentk is installed");
    Ok(())
}

fn account<'a>(agent: &Agent<'a>) -> &'a str {
    match agent.deployment.spec.template.spec.service_account_name.as_str() {
        "" => "default",
        name => name,
    }
}

fn is_of(review: &Review, agent: &Agent<'_>) -> bool {
    review.namespace == agent.namespace() && review.service_account == account(agent)
}

fn answer(facts: &Facts<'_>, agent: &Agent<'_>, permission: &Permission) -> Result<bool, Why> {
    let own = |r: &&Review| is_of(r, agent) && r.permission == *permission;
    match facts.snapshot.reviews.iter().find(own) {
        Some(review) => review.allowed.get().copied(),
        None => {
            let asked = format!("whether {}/{} may {permission}", agent.namespace(), account(agent));
            Err(Why::new(WhyKind::NotAsked, asked, "it was not asked"))
        }
    }
}

fn lacking(agent: &Agent<'_>, missing: &[Permission]) -> Finding {
    let message = format!(
        "lacks {} that its Flux module needs (service account {})",
        count(missing.len(), "permission"),
        account(agent)
    );
    let text = "grant them (an installation with the chart's `rbac.create: true` has them), then restart agentk, which \
                looks for Flux only at its start";
    let scopes: BTreeSet<Option<&str>> = missing.iter().map(|p| p.namespace.as_deref()).collect();
    let remedy = scopes.into_iter().fold(Remedy::say(text), |remedy, scope| {
        let here: Vec<&Permission> = missing.iter().filter(|p| p.namespace.as_deref() == scope).collect();
        remedy.run(role(agent, scope, &here))
    });
    let finding = Finding::new(agent.object(), message, remedy.restart(&agent.object()));
    missing.iter().fold(finding, |finding, permission| finding.because(permission.to_string()))
}

/// Role and binding in one document for one scope.
fn role(agent: &Agent<'_>, scope: Option<&str>, permissions: &[&Permission]) -> Program {
    let mut grouped: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for p in permissions {
        grouped.entry((&p.group, &p.resource)).or_default().push(yaml_word(&p.verb));
    }
    let rule = |((group, resource), verbs): (&(&str, &str), &Vec<String>)| {
        format!(
            "- apiGroups: [{}]\n  resources: [{}]\n  verbs: [{}]\n",
            yaml_word(group),
            yaml_word(resource),
            verbs.join(", ")
        )
    };
    let rules: String = grouped.iter().map(rule).collect();
    let (prefix, place) = match scope {
        Some(namespace) => ("", format!("\n  namespace: {}", yaml_word(namespace))),
        None => ("Cluster", String::new()),
    };
    let name = yaml_word(&format!("{}-flux-{}", account(agent), agent.namespace()));
    apply(format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: {prefix}Role\nmetadata:\n  name: {name}{place}\n\
         rules:\n{rules}---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {prefix}RoleBinding\nmetadata:\n  name: {name}{place}\n\
         roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {prefix}Role\n  name: {name}\nsubjects:\n- kind: ServiceAccount\n  \
         name: {}\n  namespace: {}\n",
        yaml_word(account(agent)),
        yaml_word(agent.namespace()),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::Observed;
    use crate::snapshot::Snapshot;

    fn deny(resource: &'static str, verb: &'static str) -> impl Fn(&mut Snapshot) {
        move |s| {
            let hit = |r: &&mut Review| r.permission.resource == resource && r.permission.verb == verb;
            s.reviews.iter_mut().filter(hit).for_each(|r| r.allowed = Observed::Known(false));
        }
    }

    /// The same permission, asked about in the namespace of the GitRepositories.
    fn in_namespace(s: &mut Snapshot, resource: &str, verb: &str, allowed: bool) {
        let found = s.reviews.iter().find(|r| r.permission.resource == resource && r.permission.verb == verb);
        let mut review = found.expect("asked about").clone();
        review.permission.namespace = Some("flux-system".to_owned());
        review.allowed = Observed::Known(allowed);
        s.reviews.push(review);
    }

    #[test]
    fn what_is_missing_comes_with_a_role() {
        let found = finding(&CHECK, |s| {
            deny("gitrepositories", "watch")(s);
            deny("leases", "create")(s);
        });
        assert_eq!(found.message, "lacks 2 permissions that its Flux module needs (service account default)");
        let [own, everywhere] = &found.evidence[..] else { panic!("{:?}", found.evidence) };
        assert_eq!(own, "create leases.coordination.k8s.io in namespace gitlab");
        assert_eq!(everywhere, "watch gitrepositories.source.toolkit.fluxcd.io");
        let [cluster, role, restart] = &found.remedy.lines()[..] else { panic!("{:?}", found.remedy) };
        assert!(cluster.contains("kind: ClusterRole\n") && cluster.contains("resources: [\"gitrepositories\"]\n  verbs: [\"watch\"]"));
        assert!(role.contains("kind: RoleBinding\n") && role.contains("  namespace: \"gitlab\"\n"), "{role}");
        assert_eq!(restart, "kubectl -n gitlab rollout restart deployment/gitlab-agent-v2");
    }

    #[test]
    fn secrets_may_be_granted_namespace_by_namespace() {
        passes(&CHECK, |s| {
            deny("secrets", "patch")(s);
            in_namespace(s, "secrets", "patch", true);
        });
        let found = finding(&CHECK, |s| {
            deny("secrets", "patch")(s);
            in_namespace(s, "secrets", "patch", false);
        });
        assert_eq!(found.evidence, ["patch secrets in namespace flux-system"]);
    }

    #[test]
    fn what_was_not_asked_is_unknown() {
        assert_eq!(after(&CHECK, |s| s.reviews.clear()).verdict(), Verdict::Unknown);
        assert_eq!(after(&CHECK, deny("secrets", "patch")).verdict(), Verdict::Unknown, "nobody asked about the namespace");
    }

    #[test]
    fn an_old_agentk_reads_definitions() {
        let judgement = after(&CHECK, |s| {
            let containers = &mut crate::fixture::deployment_mut(s, "gitlab-agent-v2").spec.template.spec.containers;
            containers[0].image = "registry.gitlab.com/gitlab-org/agentk:v16.5.0".to_owned();
        });
        assert!(judgement.unknown[0].asked.contains("get customresourcedefinitions"), "{judgement:#?}");
    }
}
