//! GA102: you may read what the checks need.

use std::collections::{BTreeMap, BTreeSet};

use super::remedy::{apply, yaml_word};
use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::command::{Program, Word, kubectl};
use crate::facts::{Facts, Permission, Why};
use crate::need::{ON_FAILURE, OnFailure, Reach};
use crate::object::ObjectRef;
use crate::text::count;

pub(super) static CHECK: Check = Check {
    code: 102,
    slug: "permission-missing",
    title: "you may read what the checks need",
    severity: Severity::Error,
    impact: Impact::Visibility,
    needs: &[],
    page: include_str!("../../../../docs/checks/GA102.md"),
    judge,
};

/// Name of the role and of its binding.
const NAME: &str = "gitlab-agent-read";

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    judgement.skip("nothing was read that needs a permission");
    let tried: BTreeSet<&Permission> = facts.snapshot.access.iter().map(|t| &t.permission).collect();
    let denied: BTreeSet<&Permission> =
        facts.snapshot.access.iter().filter(|t| !t.allowed).map(|t| &t.permission).collect();
    for _ in &tried {
        judgement.examine();
    }
    if denied.is_empty() {
        return Ok(());
    }
    let message = format!(
        "does not let you read {} of {} that the checks read",
        denied.len(),
        count(tried.len(), "thing")
    );
    let finding = Finding::new(ObjectRef::cluster(), message, grant(&tried, &denied, &on_failure(facts)));
    judgement.find(denied.iter().fold(finding, |finding, permission| finding.because(permission.to_string())));
    Ok(())
}

/// What is read only where something fails, of the API groups that this cluster serves.
fn on_failure(facts: &Facts<'_>) -> Vec<(Permission, Reach)> {
    let groups = facts.snapshot.groups.get().ok();
    let is_served = |of: &&OnFailure| {
        of.group.is_empty() || of.group == "batch" || groups.is_some_and(|all| all.iter().any(|g| g.name == of.group))
    };
    let permission = |of: &OnFailure, verb: &str, resource: &str| Permission {
        verb: verb.to_owned(),
        group: of.group.to_owned(),
        resource: resource.to_owned(),
        namespace: None,
    };
    let pairs = |of: &OnFailure| {
        let verbs = of.verbs.iter().flat_map(|verb| of.resources.iter().map(move |resource| (*verb, *resource)));
        verbs.map(|(verb, resource)| (permission(of, verb, resource), of.reach)).collect::<Vec<_>>()
    };
    ON_FAILURE.iter().filter(is_served).flat_map(pairs).collect()
}

/// The roles that grant what was tried, one for each scope in which something was denied, and what is read where something
/// fails. They hold what was granted already, too: applied again after a later run, a role must not lose what it gave before.
fn grant(
    tried: &BTreeSet<&Permission>,
    denied: &BTreeSet<&Permission>,
    on_failure: &[(Permission, Reach)],
) -> Remedy {
    let scopes: BTreeSet<Option<&str>> = denied.iter().map(|p| p.namespace.as_deref()).collect();
    let remedy = Remedy::say(
        "have an administrator run these commands, with your user name in place of $(…) if they run them as \
         somebody else; pods, logs and Secrets of further namespaces may turn up missing in the next run",
    );
    scopes.into_iter().fold(remedy, |remedy, scope| {
        let own = tried.iter().copied().filter(|p| p.namespace.as_deref() == scope);
        let fits = |reach: Reach| scope.is_none() || reach == Reach::SomeNamespaces;
        let rules = rules(own.chain(on_failure.iter().filter(|(_, reach)| fits(*reach)).map(|(p, _)| p)));
        remedy.run(role(scope, &rules)).run(binding(scope))
    })
}

/// Rules in YAML: one for each API group and verb.
fn rules<'p>(permissions: impl Iterator<Item = &'p Permission>) -> String {
    let mut grouped: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for p in permissions {
        grouped.entry((&p.group, &p.verb)).or_default().insert(&p.resource);
    }
    let rule = |((group, verb), resources): (&(&str, &str), &BTreeSet<&str>)| {
        let resources: Vec<String> = resources.iter().map(|r| yaml_word(r)).collect();
        format!(
            "- apiGroups: [{}]\n  resources: [{}]\n  verbs: [{}]\n",
            yaml_word(group),
            resources.join(", "),
            yaml_word(verb)
        )
    };
    grouped.iter().map(rule).collect()
}

fn role(namespace: Option<&str>, rules: &str) -> Program {
    let (kind, place) = match namespace {
        Some(namespace) => ("Role", format!("\n  namespace: {}", yaml_word(namespace))),
        None => ("ClusterRole", String::new()),
    };
    apply(format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {NAME}{place}\nrules:\n{rules}"
    ))
}

fn binding(namespace: Option<&str>) -> Program {
    let program = match namespace {
        Some(namespace) => kubectl(namespace, "create rolebinding").name(NAME).flag("--role", NAME),
        None => Program::new("kubectl create clusterrolebinding").name(NAME).flag("--clusterrole", NAME),
    };
    // The user whose permissions were tried, as the API server names it.
    let name = Word::from("jsonpath={.status.userInfo.username}");
    program.flag("--user", Word::default().output(Program::new("kubectl auth whoami -o").word(name)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::snapshot::{Snapshot, Trial};

    fn deny(resource: &'static str) -> impl Fn(&mut Snapshot) {
        move |s| {
            s.access.iter_mut().filter(|t| t.permission.resource == resource).for_each(|t| t.allowed = false);
        }
    }

    fn trial(resource: &str, namespace: &str, allowed: bool) -> Trial {
        let permission = Permission {
            verb: "get".to_owned(),
            group: String::new(),
            resource: resource.to_owned(),
            namespace: Some(namespace.to_owned()),
        };
        Trial { permission, allowed }
    }

    #[test]
    fn what_is_denied_is_listed_with_a_role_that_grants_it() {
        let found = finding(&CHECK, |s| {
            deny("receivers")(s);
            deny("pods")(s);
        });
        assert_eq!(found.subject, ObjectRef::cluster());
        let all = crate::need::TABLE.iter().filter(|row| !row.verb.is_empty()).count();
        assert_eq!(found.message, format!("does not let you read 2 of {all} things that the checks read"));
        assert_eq!(found.evidence, ["list pods", "list receivers.notification.toolkit.fluxcd.io"]);
        let [role, binding] = &found.remedy.lines()[..] else { panic!("{:?}", found.remedy) };
        assert!(role.starts_with("kubectl apply -f - <<'EOF'\n") && role.ends_with("\nEOF"), "{role}");
        let rule = "- apiGroups: [\"notification.toolkit.fluxcd.io\"]\n  resources: [\"alerts\", \"providers\", \"receivers\"]\n  \
                    verbs: [\"list\"]\n";
        assert!(role.contains("kind: ClusterRole\n") && role.contains(rule), "{role}");
        assert!(role.contains("\"deployments\""), "what was granted stays granted: {role}");
        assert!(binding.starts_with("kubectl create clusterrolebinding gitlab-agent-read "), "{binding}");
    }

    #[test]
    fn what_is_denied_in_a_namespace_gets_a_role_there() {
        let found = finding(&CHECK, |s| {
            s.access.push(trial("secrets", "shop", false));
            s.access.push(trial("pods/log", "shop", true));
            s.access.push(trial("secrets", "gitlab", true));
        });
        assert_eq!(found.evidence, ["get secrets in namespace shop"]);
        let [role, binding] = &found.remedy.lines()[..] else { panic!("{:?}", found.remedy) };
        assert!(role.contains("kind: Role\nmetadata:\n  name: gitlab-agent-read\n  namespace: \"shop\"\n"), "{role}");
        let names = "\"configmaps\", \"persistentvolumeclaims\", \"pods/log\", \"secrets\", \"serviceaccounts\"";
        assert!(role.contains(&format!("resources: [{names}]")), "{role}");
        assert!(role.contains("apiGroups: [\"batch\"]") && !role.contains("namespaces\""), "{role}");
        assert!(!role.contains("external-secrets.io"), "this cluster does not serve it: {role}");
        assert!(binding.starts_with("kubectl -n shop create rolebinding "), "{binding}");
    }

    #[test]
    fn hostile_names_stay_words() {
        let found = finding(&CHECK, |s| s.access.push(trial("secrets", "a;$(reboot)", false)));
        let [role, binding] = &found.remedy.lines()[..] else { panic!("{:?}", found.remedy) };
        assert!(role.contains(r#""a;$(reboot)""#), "{role}");
        assert!(binding.starts_with("kubectl -n 'a;$(reboot)' create"), "{binding}");
        let found = finding(&CHECK, |s| s.access.push(trial("secrets", "a\nEOF\nreboot", false)));
        assert!(found.remedy.commands.is_empty(), "{:?}", found.remedy);
        assert!(found.remedy.text.contains("no command is printed, because"), "{:?}", found.remedy);
    }

    #[test]
    fn nothing_tried_is_no_pass() {
        assert_eq!(after(&CHECK, |s| s.access.clear()).verdict(), Verdict::Skipped);
        passes(&CHECK, |s| s.access.truncate(1));
    }
}
