//! What `verify --print-rbac` prints is enough and no more: with it alone nothing is unknown, and with any one permission
//! of it taken away the run names that permission and no check changes but those that need it.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use gitlab_agent_core::assess::{CHECKS, Check};
use gitlab_agent_core::need::{Row, TABLE};
use gitlab_agent_tests::programs::{Ran, command, run};
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::wait::wait_until;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(90);

/// The roles, the service account and the bindings for it, as printed.
fn printed(account: &str, more: &[&str]) -> Vec<Value> {
    let account = format!("default/{account}");
    let ran = run(command("verify").args(["--print-rbac", "--service-account", &account]).args(more));
    assert_eq!(ran.code, 0, "{}", ran.err);
    ran.out.split("---\n").map(|text| serde_saphyr::from_str(text).expect("YAML")).collect()
}

/// The same under a name of its own, so that many can stand side by side.
fn renamed(objects: &[Value], name: &str) -> Vec<Value> {
    let mut objects = objects.to_vec();
    for object in objects.iter_mut().filter(|o| o["kind"] != "ServiceAccount") {
        object["metadata"]["name"] = json!(name);
        if let Some(role) = object.get_mut("roleRef") {
            role["name"] = json!(name);
        }
    }
    objects
}

fn apply(world: &World, objects: &[Value]) -> Result<()> {
    world.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string())
}

fn verify_as(world: &World, account: &str, more: &[&str]) -> Ran {
    let user = format!("system:serviceaccount:default:{account}");
    let mut verify = command("verify");
    run(verify.args(["-o", "json", "--as", &user]).args(more).env("KUBECONFIG", world.kubeconfig()))
}

fn verdict(ran: &Ran, check: &Check) -> String {
    let json = ran.json();
    let found = json["checks"].as_array().into_iter().flatten().find(|c| c["code"] == check.id());
    found.and_then(|c| c["verdict"].as_str()).unwrap_or("did not run").to_owned()
}

/// Nothing is wrong, and nothing is unknown but what only GitLab knows and what a run limited with `-n` did not ask for.
fn sees_everything(ran: &Ran, limited: bool) -> Result<()> {
    let json = ran.json();
    let none_found = json["problems"].as_array().is_some_and(Vec::is_empty);
    let checks = json["checks"].as_array().into_iter().flatten();
    let mut unknown = checks.flat_map(|check| check["unknown"].as_array().into_iter().flatten());
    let excused = unknown.all(|why| why["kind"] == "noGitLab" || why["kind"] == "notAsked" && limited);
    ensure!(ran.code == 0 && none_found && excused, "exit {}: {}", ran.code, ran.out);
    Ok(())
}

/// Flux's own NetworkPolicies keep the API server from the chart index. With the first of these the permission for it
/// counts, and no look waits for what does not answer. For the second the labels of namespaces count.
const POLICIES: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
    metadata: {name: allow-index, namespace: flux-system}\n\
    spec: {podSelector: {matchLabels: {app: source-controller}}, policyTypes: [Ingress], ingress: [{}]}\n---\n\
    apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
    metadata: {name: allow-flux, namespace: gitlab}\n\
    spec: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: \
    {matchLabels: {app.kubernetes.io/part-of: flux}}}]}]}\n";

fn until(what: &str, mut holds: impl FnMut() -> Result<()>) -> Result<()> {
    wait_until(what, SOON, || holds().map(Some))
}

#[test]
fn with_the_printed_roles_alone_nothing_is_unknown() -> Result<()> {
    let cases: [(&str, &[&str]); 4] = [
        ("sees-all", &[]),
        ("sees-some", &["--only", "GA204,GA304,GA407"]),
        ("sees-no-secret", &["--only", "GA102,GA202,GA402,GA408"]),
        ("sees-one-namespace", &["-n", "gitlab"]),
    ];
    World::with(|world| {
        world.apply(POLICIES)?;
        for (account, more) in cases {
            apply(world, &renamed(&printed(account, more), account))?;
        }
        for (account, more) in cases {
            until(account, || sees_everything(&verify_as(world, account, more), more.contains(&"-n")))?;
        }
        // And it is no more than what was chosen.
        let ran = verify_as(world, "sees-no-secret", &[]);
        ensure!(ran.code == 3 && ran.out.contains("get secrets"), "{}", ran.out);
        Ok(())
    })
}

#[test]
fn one_permission_less_is_named_and_changes_no_other_check() -> Result<()> {
    World::with(|world| {
        world.apply(POLICIES)?;
        let rows: Vec<&Row> = TABLE.iter().filter(|row| !row.verb.is_empty()).collect();
        let account = |row: &Row| format!("lacks-{}", row.resource.replace('/', "-"));
        let mut objects = Vec::new();
        for row in &rows {
            objects.extend(renamed(&without(printed(&account(row), &[]), row)?, &account(row)));
        }
        apply(world, &objects)?;
        for row in rows {
            until(&account(row), || judge(&verify_as(world, &account(row), &[]), row))?;
        }
        Ok(())
    })
}

/// The objects without one permission.
fn without(mut objects: Vec<Value>, row: &Row) -> Result<Vec<Value>> {
    let mut taken = 0;
    for rule in objects.iter_mut().filter_map(|o| o.get_mut("rules")?.as_array_mut()).flatten() {
        if rule["apiGroups"] == json!([row.group]) && rule["verbs"] == json!([row.verb]) {
            let resources = rule["resources"].as_array_mut().context("resources")?;
            let before = resources.len();
            resources.retain(|r| r != row.resource);
            taken += before - resources.len();
        }
    }
    ensure!(taken == 1, "{} is granted {taken} times", row.qualified());
    // A rule without resources is refused.
    for rules in objects.iter_mut().filter_map(|o| o.get_mut("rules")?.as_array_mut()) {
        rules.retain(|rule| rule["resources"].as_array().is_some_and(|r| !r.is_empty()));
    }
    Ok(objects)
}

fn judge(ran: &Ran, row: &Row) -> Result<()> {
    ensure!(ran.code == 3, "exit {}: {}{}", ran.code, ran.out, ran.err);
    let json = ran.json();
    let [problem] = &json["problems"].as_array().context("problems")?[..] else {
        bail!("one problem: {}", ran.out)
    };
    ensure!(problem["code"] == "GA102", "{problem}");
    let named = format!("{} {}", row.verb, row.qualified());
    let place = format!("{named} in namespace ");
    let evidence: Vec<&str> =
        problem["evidence"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    ensure!(
        !evidence.is_empty() && evidence.iter().all(|e| *e == named || e.starts_with(&place)),
        "{evidence:?}"
    );
    for check in CHECKS.iter().filter(|check| check.code != 102) {
        // Whether a newer minor version of the chart fits (GA603) hangs on the version of GitLab, too.
        let of_gitlab = check.code == 603 || check.needs.iter().any(|need| need.row().group == "gitlab");
        let lacks = of_gitlab || check.needs.contains(&row.need);
        let expected = if lacks { "unknown" } else { "pass" };
        let verdict = verdict(ran, check);
        ensure!(verdict == expected, "{} is {verdict} without {named}: {}", check.id(), ran.out);
    }
    Ok(())
}
