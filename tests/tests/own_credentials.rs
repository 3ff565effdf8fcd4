//! What a run signs in with is in nothing that leaves it: whichever way it signs in, whatever shape the credential has, and
//! whoever repeats it. The API server here refuses everything with what it was sent, as proxies and debug middleware do.
#![cfg(unix)]

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitlab_agent_core::need::Need;
use gitlab_agent_tests::canary::hides;
use gitlab_agent_tests::lone_api::{LoneApi, Said, list_of, need_of, with_agent_and_source};
use gitlab_agent_tests::programs::{command, make_program, run};
use gitlab_agent_tests::world::gitlab::{ALWAYS, EXAMPLE_PROJECT, Fault, GitLab};
use serde_json::{Value, json};

/// Every command, in each of the ways in which it speaks.
const COMMANDS: &[(&str, &str)] = &[
    ("status", ""),
    ("status", "-v -o json"),
    ("verify", "-v"),
    ("verify", "-o json"),
    ("verify", "-o markdown"),
    ("verify", "-o short --record r.json"),
    ("snapshot", "-v"),
    ("snapshot", "-o s.json"),
    ("version", "-v"),
    ("version", "-o json"),
    ("reconcile_now", "--all --dry-run -v"),
    ("reconcile_now", "gitrepository/x -n flux-system -o json"),
    ("rotate_token", "--list -v"),
    ("rotate_token", "agent --dry-run=server -v"),
    ("rotate_token", "agent --yes -o json"),
    ("rotate_token", "source gitrepository/x -n flux-system --dry-run=server"),
    ("rotate_token", "notification x -n flux-system"),
];

/// The same for what differs only in where a value comes from.
const BRIEF: &[(&str, &str)] =
    &[("status", "-v"), ("snapshot", "-v"), ("rotate_token", "agent --dry-run=server -v")];

/// What the value looks like when somebody repeats it.
fn repeated(value: &str) -> String {
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!(
        "said {value} | {} | {hex} | {percent} | {} | Bearer {value} | {}",
        STANDARD.encode(value),
        json!({ "a": value }),
        STANDARD.encode(format!("user:{value}")),
    )
}

/// An API server that refuses what tells of Secrets, Pods and sources, each time with the value in its words, and has it in
/// an object that it shows.
fn echo(value: &str, user: &Value) -> Result<LoneApi> {
    let message = repeated(value);
    let api = LoneApi::start(move |_, path| {
        let shown = path.contains("/kustomizations") && path.contains('?');
        if shown {
            let condition = json!({"type": "Ready", "status": "False", "reason": "X", "message": message});
            let items = json!([{"metadata": {"name": "x", "namespace": "flux-system"}, "status": {"conditions": [condition]}}]);
            let list = json!({"kind": "KustomizationList", "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "metadata": {}, "items": items});
            return Some(Said::json(200, &list));
        }
        let refused =
            ["secrets", "pods", "gitrepositories", "deployments", "reviews", "leases", "events", "providers"];
        refused.iter().any(|kind| path.contains(kind)).then(|| Said::status(403, "Forbidden", &message))
    })?;
    api.vouched(user)?;
    Ok(api)
}

/// Runs commands; a mask was shown.
fn nothing_shows(
    commands: &[(&str, &str)],
    api: &LoneApi,
    value: &str,
    environment: &[(&str, &str)],
    flags: &[&str],
) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut masks = 0;
    for (verb, words) in commands {
        let mut program = command(verb);
        program.env("KUBECONFIG", api.kubeconfig()).current_dir(dir.path());
        program.args(words.split(' ').filter(|word| !word.is_empty()));
        program.args(["--timeout", "2m"]).envs(environment.iter().copied());
        if *verb != "reconcile_now" {
            program.args(flags);
        }
        let ran = run(&mut program);
        ensure!(ran.code != 70, "{verb} {words}: {}", ran.err);
        let mut texts = vec![("standard output", ran.out), ("standard error", ran.err)];
        for name in ["r.json", "s.json"] {
            let file = dir.path().join(name);
            texts.extend(std::fs::read_to_string(file).ok().map(|text| (name, text)));
        }
        for (what, text) in texts {
            hides(&text, &[value.to_owned()]).with_context(|| format!("{verb} {words}: {what}"))?;
            masks += text.matches("***").count();
        }
    }
    ensure!(masks >= commands.len(), "the server repeated it: {masks}");
    Ok(())
}

/// One value of each shape that a credential may have: random, made of words, with what JSON and shells escape.
fn values() -> [String; 3] {
    [
        "Kq8".repeat(4) + "ZrT2mWv5",
        "correct-horse".to_owned() + "-battery-staple",
        "p\"a\\ss w0rd".to_owned() + "'with it",
    ]
}

#[test]
fn what_the_kubeconfig_signs_in_with_is_shown_by_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let [random, words, odd] = values();
    std::fs::write(dir.path().join("token"), &random)?;
    let answer = json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": random}});
    make_program(dir.path(), "plugin", &answer.to_string());
    make_program(dir.path(), "quiet", &answer.to_string().replace(random.as_str(), "other"));
    let exec = |name: &str, env: Value| {
        json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never",
            "command": dir.path().join(name), "env": env}})
    };
    let gitlab = [("GITLAB_TOKEN", "some0ther-token-f0r-gitlab")];
    for (commands, value, user) in [
        (COMMANDS, &random, json!({ "token": random })),
        (COMMANDS, &words, json!({"username": "u", "password": words})),
        (COMMANDS, &random, exec("plugin", json!([]))),
        (BRIEF, &words, json!({ "token": words })),
        (BRIEF, &random, json!({"tokenFile": dir.path().join("token")})),
        (BRIEF, &random, json!({"username": "u", "password": random})),
        (BRIEF, &odd, json!({"username": "u", "password": odd})),
        (BRIEF, &odd, exec("quiet", json!([{"name": "CLIENT_SECRET", "value": odd}]))),
    ] {
        let api = echo(value, &user)?;
        let shown = nothing_shows(commands, &api, value, &gitlab, &["--gitlab-host", "127.0.0.1:1"]);
        shown
            .with_context(|| format!("{:?}", user.as_object().map(|user| user.keys().collect::<Vec<_>>())))?;
    }
    Ok(())
}

#[test]
fn the_person_s_token_for_gitlab_is_shown_by_nothing() -> Result<()> {
    let [random, words, _] = values();
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("token");
    std::fs::write(&file, &random)?;
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let flags = ["--gitlab-host", "127.0.0.1:1", "--gitlab-token-file", path(&file)];
    let api = echo(&random, &json!({"token": "another"}))?;
    // reconcile-now takes no flag of GitLab, so it reads no such file.
    let read: Vec<_> = COMMANDS.iter().copied().filter(|(verb, _)| *verb != "reconcile_now").collect();
    nothing_shows(&read, &api, &random, &[], &flags)?;
    for (name, value) in [
        ("GITLAB_TOKEN", &random),
        ("GITLAB_TOKEN", &words),
        ("GITLAB_ACCESS_TOKEN", &random),
        ("OAUTH_TOKEN", &words),
        ("GITLAB_PAT", &random),
        ("CI_JOB_TOKEN", &words),
        ("gl_token", &random),
    ] {
        let api = echo(value, &json!({"token": "another"}))?;
        nothing_shows(BRIEF, &api, value, &[(name, value.as_str())], &[]).context(name)?;
    }
    Ok(())
}

fn path(file: &Path) -> &str {
    file.to_str().unwrap_or_default()
}

/// A webhook of a Receiver is opened by its path. Without the path before it, only who read the Receiver knows the digest.
#[test]
fn the_path_of_a_webhook_is_shown_by_nothing() -> Result<()> {
    let digest = "0f1e2d3c4b5a6978".repeat(4);
    let message =
        format!("{} | webhookPath: {digest} | path={digest} | POST /hook/{digest}", repeated(&digest));
    let (path, said) = (format!("/hook/{digest}"), message.clone());
    let api = LoneApi::start(move |_, asked| {
        let conditions = json!([{"type": "Ready", "status": "False", "reason": "X", "message": said}]);
        let item = |status: Value| json!([{"metadata": {"name": "x", "namespace": "flux-system"}, "status": status}]);
        match need_of(asked)? {
            need @ Need::Receivers => {
                let status = json!({"webhookPath": path, "conditions": conditions});
                Some(Said::json(200, &list_of(need, &item(status))))
            }
            need @ Need::Kustomizations => {
                Some(Said::json(200, &list_of(need, &item(json!({"conditions": conditions})))))
            }
            Need::Pods | Need::Leases | Need::GitRepositories => {
                Some(Said::status(500, "InternalError", &said))
            }
            _ => None,
        }
    })?;
    api.vouched(&json!({"token": "another"}))?;
    let reading: Vec<_> = COMMANDS
        .iter()
        .copied()
        .filter(|(verb, _)| ["status", "verify", "snapshot"].contains(verb))
        .collect();
    nothing_shows(&reading, &api, &digest, &[], &[])
}

/// What GitLab says, in a body, a GraphQL message or a header, may hold the person's token: on neither stream.
#[test]
fn what_gitlab_repeats_is_shown_by_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let gitlab = GitLab::start(dir.path(), runtime.handle())?;
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, gitlab.ca_pem())?;
    let token = gitlab.new_access_token(&["api"])?;
    let api = LoneApi::start(with_agent_and_source(&gitlab.project_url(EXAMPLE_PROJECT)))?;
    api.vouched(&json!({"token": "another"}))?;
    gitlab.new_token_of_agent(gitlab.new_agent(EXAMPLE_PROJECT, "repeated")?, "one")?;
    let message = repeated(&token);
    let agent = format!("agent --yes -n gitlab --agent {EXAMPLE_PROJECT}:repeated");
    let commands = [
        ("verify", "-v"),
        ("snapshot", "-v"),
        ("rotate_token", "--list -v"),
        ("rotate_token", agent.as_str()),
        ("rotate_token", "source gitrepository/x -n flux-system --yes -v"),
    ];
    let graphql = json!({"errors": [{"message": message, "extensions": {"code": message}}]}).to_string();
    let location = format!("https://oauth2:{token}@gitlab2.example.com/{token}?private_token={token}");
    for (route, fault) in [
        ("* /*", Fault::Status(401, json!({"message": message}).to_string())),
        ("* /*", Fault::Status(403, json!({"error": message, "error_description": message}).to_string())),
        ("* /*", Fault::Status(422, json!({"message": {"base": [message]}}).to_string())),
        ("* /*", Fault::Status(500, message.clone())),
        ("* /*", Fault::Status(502, format!("<html><title>{message}</title></html>"))),
        ("* /*", Fault::Redirect(location)),
        ("* /api/graphql", Fault::Status(200, graphql)),
    ] {
        gitlab.clear_faults();
        gitlab.fault(route, fault, ALWAYS);
        let mut streams = [0; 2];
        for (verb, words) in commands {
            let mut program = command(verb);
            program.env("KUBECONFIG", api.kubeconfig()).env("GITLAB_TOKEN", &token).args(words.split(' '));
            program.args(["--timeout", "2m", "--gitlab-host", &gitlab.url(), "--gitlab-ca-file"]).arg(&ca);
            let ran = run(&mut program);
            ensure!(ran.code != 70, "{verb} {words}: {}", ran.err);
            for (text, shown) in [&ran.out, &ran.err].into_iter().zip(&mut streams) {
                hides(text, std::slice::from_ref(&token))
                    .with_context(|| format!("{verb} {words}: {route}"))?;
                *shown += text.matches("***").count();
            }
        }
        ensure!(streams.iter().all(|shown| *shown > 0), "{route}: it was repeated on both: {streams:?}");
    }
    Ok(())
}
