//! Checks of tokens and versions in the test world: each test makes the real thing fail, sees its code, pastes the printed
//! remedy, and waits until all is well again.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use gitlab_agent_tests::programs::{Ran, command, paste, run};
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::gitlab::{AGENT_PROJECT, EXAMPLE_PROJECT, Role, in_days};
use gitlab_agent_tests::world::wait::wait_until;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(180);

const HELM: &str = "clusters/world/gitlab/helm.yaml";

/// A look at everything but GA603: Flux's own NetworkPolicies keep the chart index away, and each look would wait for it.
fn verify(world: &World) -> Ran {
    verify_with(world, &["--skip", "GA603"])
}

fn verify_with(world: &World, more: &[&str]) -> Ran {
    run(command("verify").args(["-o", "json"]).args(more).env("KUBECONFIG", world.kubeconfig()))
}

/// Every problem of a report, those that follow from others too.
fn problems(report: &Value) -> Vec<&Value> {
    let all = report["problems"].as_array().into_iter().flatten();
    all.flat_map(|p| std::iter::once(p).chain(p["consequences"].as_array().into_iter().flatten())).collect()
}

fn summary(report: &Value) -> String {
    let line = |p: &&Value| format!("{} {} {} {}", p["code"], p["severity"], p["subject"], p["message"]);
    problems(report).iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Waits until `verify` finds this code, and gives that problem.
fn finds(world: &World, code: &str, says: &str) -> Result<Value> {
    finds_in(code, says, || verify(world))
}

fn finds_in(code: &str, says: &str, look: impl Fn() -> Ran) -> Result<Value> {
    wait_until(&format!("{code} to be found"), SOON, || {
        let report = look().json();
        let found = problems(&report)
            .into_iter()
            .find(|p| p["code"] == code && p["message"].as_str().is_some_and(|m| m.contains(says)));
        match found {
            Some(found) => Ok(Some(found.clone())),
            None => bail!("{}", summary(&report)),
        }
    })
}

/// Waits until nothing is found, and nothing is unknown for a reason that could be mended here.
fn well(world: &World) -> Result<()> {
    wait_until("all to be well", SOON, || {
        let report = verify(world).json();
        let checks = report["checks"].as_array().into_iter().flatten();
        let reasons = checks.flat_map(|check| check["unknown"].as_array().into_iter().flatten());
        let lacking = reasons.map(|why| &why["kind"]).any(|kind| kind != "noGitLab" && kind != "notAsked");
        if problems(&report).is_empty() && !lacking {
            return Ok(Some(()));
        }
        bail!("{}", summary(&report))
    })
}

/// Pastes every command of a problem's remedy, with `typed` at the prompts.
fn follow(world: &World, problem: &Value, typed: &str) -> Result<()> {
    let commands = problem["remedy"]["commands"].as_array().context("a remedy has commands")?;
    ensure!(!commands.is_empty(), "the remedy of {} has commands", problem["code"]);
    let kubectl = world.kubectl_path()?;
    let path = kubectl.parent().context("kubectl is in a folder")?;
    for line in commands.iter().filter_map(Value::as_str) {
        let pasted = paste(line, &world.kubeconfig(), path, &format!("{typed}\n"), world.dir());
        ensure!(pasted.code == 0, "`{line}` ends with {}: {}{}", pasted.code, pasted.out, pasted.err);
    }
    Ok(())
}

fn patch_secret(world: &World, name: &str, data: &Value) -> Result<()> {
    let patch = json!({ "stringData": data }).to_string();
    world.kubectl(&["-n", "flux-system", "patch", "secret", name, "--type=merge", "-p", &patch]).map(drop)
}

fn reconcile(world: &World, object: &str) -> Result<()> {
    let now = format!("reconcile.fluxcd.io/requestedAt={:?}", std::time::SystemTime::now());
    world.kubectl(&["-n", "flux-system", "annotate", "--overwrite", object, &now]).map(drop)
}

fn status_token(world: &World, project: &str) -> Result<String> {
    let made = world.gitlab().new_resource_token(project, "flux", &["api"], Role::Developer, in_days(90))?;
    Ok(made.value)
}

/// A commit that changes nothing, so that Flux has something to say.
fn push(world: &World, project: &str) -> Result<()> {
    world.git(project)?.commit(|_| Ok(()), "Nothing").map(drop)
}

#[test]
fn a_source_is_fetched_with_an_access_token() -> Result<()> {
    World::with(|world| {
        well(world)?;
        let token = world.gitlab().new_access_token(&["api"])?;
        patch_secret(world, "example-nginx-app", &json!({"username": "git", "password": token}))?;
        let found = finds(world, "GA502", "holds an access token")?;
        ensure!(found["severity"] == "warning" && found["subject"]["name"] == "example-nginx-app", "{found}");
        let (user, token) = world.gitlab().new_deploy_token(EXAMPLE_PROJECT, &["read_repository"])?;
        follow(world, &found, &format!("{user}\n{token}"))?;
        well(world)
    })
}

#[test]
fn a_deploy_token_sets_no_status() -> Result<()> {
    World::with(|world| {
        well(world)?;
        let (_, token) = world.gitlab().new_deploy_token(AGENT_PROJECT, &["read_repository"])?;
        patch_secret(world, "gitlab-status-fleet", &json!({ "token": token }))?;
        push(world, AGENT_PROJECT)?;
        // GitLab itself refuses it, and that follows from the kind of the token.
        let refused = finds(world, "GA507", "the token is refused (401")?;
        ensure!(refused["subject"]["kind"] == "Alert", "{refused}");
        let report = verify(world).json();
        let first = &report["problems"][0];
        ensure!(
            first["code"] == "GA505" && first["consequences"][0]["code"] == "GA507",
            "{}",
            summary(&report)
        );
        follow(world, first, &status_token(world, AGENT_PROJECT)?)?;
        well(world)
    })
}

#[test]
fn one_token_serves_two_projects() -> Result<()> {
    World::with(|world| {
        well(world)?;
        let person = &world.tokens().person;
        patch_secret(world, "gitlab-status-fleet", &json!({ "token": person }))?;
        patch_secret(world, "gitlab-status-nginx-app", &json!({ "token": person }))?;
        let found = finds(world, "GA506", "(example/nginx-app, platform/fleet)")?;
        follow(world, &found, &status_token(world, EXAMPLE_PROJECT)?)?;
        let mended = well(world);
        patch_secret(world, "gitlab-status-fleet", &json!({ "token": world.tokens().fleet_status }))?;
        patch_secret(world, "gitlab-status-nginx-app", &json!({ "token": world.tokens().example_status }))?;
        reconcile(world, "kustomization/flux-system")?;
        mended?;
        well(world)
    })
}

#[test]
fn the_status_token_is_revoked() -> Result<()> {
    World::with(|world| {
        well(world)?;
        let token = status_token(world, EXAMPLE_PROJECT)?;
        patch_secret(world, "gitlab-status-nginx-app", &json!({ "token": token }))?;
        world.gitlab().revoke(&token)?;
        push(world, EXAMPLE_PROJECT)?;
        // The project is private: GitLab tells agentk nothing of the push.
        reconcile(world, "gitrepository/example-nginx-app")?;
        // GitLab says why, so that no access to it is needed to know.
        let found = finds(world, "GA503", "holds a token that was revoked")?;
        ensure!(found["severity"] == "error" && found["consequences"][0]["code"] == "GA507", "{found}");
        ensure!(!found.to_string().contains(&token), "the token is nowhere");
        follow(world, &found, &status_token(world, EXAMPLE_PROJECT)?)?;
        well(world)
    })
}

#[test]
fn an_alert_is_suspended() -> Result<()> {
    World::with(|world| {
        well(world)?;
        let suspend = |yes: bool| {
            let patch = json!({"spec": {"suspend": yes}}).to_string();
            let alert = "alert/gitlab-status-nginx-app";
            world.kubectl(&["-n", "flux-system", "patch", alert, "--type=merge", "-p", &patch]).map(drop)
        };
        suspend(true)?;
        let found = finds(world, "GA508", "no Alert sends it")?;
        ensure!(found["subject"]["name"] == "example-nginx-app" && found["severity"] == "warning", "{found}");
        follow(world, &found, &status_token(world, EXAMPLE_PROJECT)?)?;
        let mended = well(world);
        let made =
            ["alert", "provider", "secret"].map(|kind| format!("{kind}/gitlab-status-example-nginx-app"));
        let made: Vec<&str> = made.iter().map(String::as_str).collect();
        suspend(false)?;
        world.kubectl(&[&["-n", "flux-system", "delete"], &made[..]].concat())?;
        mended?;
        well(world)
    })
}

#[test]
fn one_token_serves_two_purposes() -> Result<()> {
    World::with(|world| {
        well(world)?;
        let token = status_token(world, AGENT_PROJECT)?;
        patch_secret(world, "gitlab-status-fleet", &json!({ "token": token }))?;
        patch_secret(world, "flux-system", &json!({"username": "git", "password": token}))?;
        let found = finds(world, "GA510", "(fetching, job statuses)")?;
        let (user, token) = world.gitlab().new_deploy_token(AGENT_PROJECT, &["read_repository"])?;
        follow(world, &found, &format!("{user}\n{token}"))?;
        well(world)
    })
}

#[test]
fn a_secret_is_committed_in_plain_text() -> Result<()> {
    World::with(|world| {
        well(world)?;
        let fleet = world.git(AGENT_PROJECT)?;
        let file = "clusters/world/plain.yaml";
        let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: plain, namespace: default}\nstringData: {key: hunter2}\n";
        fleet.push_file(file, secret)?;
        let found = finds(world, "GA511", "as it lies there")?;
        ensure!(found["subject"]["name"] == "plain" && found["severity"] == "error", "{found}");
        ensure!(!found.to_string().contains("hunter2"), "the value is nowhere");
        follow(world, &found, "")?;
        fleet.commit(|files| files.remove(file), "Take the Secret out")?;
        well(world)?;
        let kept = world.kubectl(&["-n", "default", "get", "secret", "plain", "-o", "name"])?;
        ensure!(kept.contains("plain"), "it lives on in the cluster");
        world.kubectl(&["-n", "default", "delete", "secret", "plain"]).map(drop)
    })
}

#[test]
fn a_credential_goes_wherever_the_index_says() -> Result<()> {
    World::with(|world| {
        well(world)?;
        let (user, token) = world.gitlab().new_deploy_token(EXAMPLE_PROJECT, &["read_package_registry"])?;
        world.apply(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: generous, namespace: flux-system}}\n\
             stringData: {{username: {user}, password: {token}}}\n---\n\
             apiVersion: source.toolkit.fluxcd.io/v1\nkind: HelmRepository\n\
             metadata: {{name: generous, namespace: flux-system}}\n\
             spec: {{interval: 1h, url: '{}', passCredentials: true, secretRef: {{name: generous}}, \
             certSecretRef: {{name: gitlab-ca}}}}\n",
            world.gitlab().charts_url()
        ))?;
        let found = finds(world, "GA512", "to every host that the repository's index names")?;
        follow(world, &found, "")?;
        let mended = well(world);
        world.kubectl(&["-n", "flux-system", "delete", "helmrepository/generous", "secret/generous"])?;
        mended
    })
}

/// Flux's own NetworkPolicies keep the API server away from source-controller; this one lets it in.
const LET_IN: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
    metadata: {name: allow-index, namespace: flux-system}\n\
    spec: {podSelector: {matchLabels: {app: source-controller}}, policyTypes: [Ingress], ingress: [{}]}\n";

#[test]
fn a_patch_of_the_chart_is_kept_out() -> Result<()> {
    World::with(|world| {
        well(world)?;
        let look = || verify_with(world, &["--only", "GA603"]);
        let verdict = || -> Value { look().json()["checks"][0].clone() };
        let kept_away = verdict();
        ensure!(kept_away["unknown"][0]["kind"] == "notAsked", "the policies keep it away: {kept_away}");
        world.apply(LET_IN)?;
        let fleet = world.git(AGENT_PROJECT)?;
        fleet.commit(|files| files.replace(HELM, "\"~2.29.0\"", "\"2.29.0\""), "Pin the chart")?;
        let found = finds_in("GA603", "the repository has patch 2.29.1 (agentk v19.2.2)", look)?;
        ensure!(found["severity"] == "warning", "{found}");
        let next = verdict();
        ensure!(next["unknown"][0]["kind"] == "noGitLab", "2.30.0 needs the server's version: {next}");
        follow(world, &found, "")?;
        fleet.commit(|files| files.replace(HELM, "\"2.29.0\"", "\"~2.29.0\""), "Let patches in")?;
        let mended = well(world);
        world.kubectl(&["-n", "flux-system", "delete", "networkpolicy", "allow-index"])?;
        mended
    })
}

#[test]
fn an_old_image_is_pinned() -> Result<()> {
    World::with(|world| {
        well(world)?;
        let fleet = world.git(AGENT_PROJECT)?;
        let tag = "    image:\n      tag: v18.0.0\n";
        let pinned = format!("  values:\n{tag}");
        fleet.commit(|files| files.replace(HELM, "  values:\n", &pinned), "Pin the image")?;
        let found = finds(world, "GA605", "but 18.0.0 runs (image.tag is v18.0.0)")?;
        let old = finds(world, "GA604", "older than GitLab's support of Kubernetes 1.36")?;
        ensure!(old["subject"]["name"] == "gitlab-agent-v2", "{old}");
        follow(world, &found, "")?;
        fleet.commit(|files| files.replace(HELM, tag, ""), "Let the chart choose the image")?;
        well(world)
    })
}

#[test]
fn an_upgrade_fails() -> Result<()> {
    World::with(|world| {
        well(world)?;
        let fleet = world.git(AGENT_PROJECT)?;
        fleet.commit(
            |files| files.replace(HELM, "  values:\n", "  values:\n    replicas: -1\n"),
            "Fewer than none",
        )?;
        let found = finds(world, "GA606", "failed in its last upgrade")?;
        ensure!(found["evidence"].to_string().contains("replicas"), "Helm's words are shown: {found}");
        fleet.commit(|files| files.replace(HELM, "    replicas: -1\n", ""), "Two again")?;
        follow(world, &found, "")?;
        well(world)
    })
}
