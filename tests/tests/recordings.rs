//! Recordings: what is committed replays the same for ever, and what is recorded holds no secret.
//!
//! `UPDATE=1 cargo test -p gitlab-agent-tests --test recordings` records all of them anew from the test world and
//! writes the goldens; look at the difference before committing it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitlab_agent_tests::canary::hides;
use gitlab_agent_tests::programs::{Ran, command, root, run};
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::wait::wait_until;

const SOON: Duration = Duration::from_secs(90);

fn recording(name: &str) -> PathBuf {
    root().join("tests/recordings").join(name)
}

fn updating() -> bool {
    std::env::var_os("UPDATE").is_some()
}

fn from(verb: &str, name: &str, more: &[&str]) -> Ran {
    // As a person types it: the name relative to the checkout, so that goldens hold no path of a machine.
    run(command(verb).current_dir(root()).args(["--from", &format!("tests/recordings/{name}")]).args(more))
}

/// Each recording with the exit code of `verify` and the code that leads its report.
const RECORDINGS: [(&str, i32, Option<&str>); 4] = [
    ("healthy.json", 0, None),
    ("revoked-token.json", 1, Some("GA315")),
    ("no-notification-controller.json", 1, Some("GA205")),
    ("restricted-reader.json", 3, Some("GA102")),
];

#[test]
fn recordings_give_their_verdict() {
    for (name, exit, first) in RECORDINGS {
        let ran = from("verify", name, &["-o", "json"]);
        assert_eq!(
            (ran.code, ran.first_problem().as_deref()),
            (exit, first),
            "{name}: {}{}",
            ran.out,
            ran.err
        );
        assert_eq!(ran.json()["exitCode"], exit, "{name}: the JSON carries the exit code");
        assert_eq!(from("status", name, &[]).code, exit, "{name}: status ends as verify does");
    }
}

/// Whoever knows the path of a Receiver can use it.
#[test]
fn no_committed_recording_holds_a_webhook_path() {
    for (name, ..) in RECORDINGS {
        let text = fs::read_to_string(recording(name)).expect("a recording");
        for (at, found) in text.match_indices("/hook/") {
            let next = text[at + found.len()..].chars().next();
            assert!(next.is_some_and(|c| !c.is_ascii_hexdigit()), "{name}: {}", &text[at..at + 20]);
        }
    }
}

/// One golden per format, all of the richest recording.
#[test]
fn formats_are_as_they_were() {
    for (verb, format) in [
        ("verify", "table"),
        ("verify", "wide"),
        ("verify", "json"),
        ("verify", "yaml"),
        ("verify", "short"),
        ("verify", "junit"),
        ("verify", "markdown"),
        ("verify", "prometheus"),
        ("status", "table"),
        ("status", "wide"),
        ("status", "json"),
        ("status", "yaml"),
    ] {
        let ran = from(verb, "revoked-token.json", &["-o", format]);
        let golden = root().join("tests/goldens").join(format!("{verb}.{format}"));
        if updating() {
            fs::create_dir_all(golden.parent().expect("a folder")).expect("makes it");
            fs::write(&golden, &ran.out).expect("writes");
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(ran.out, expected, "{verb} -o {format}: UPDATE=1 writes it anew");
        let hidden = |c: char| c.is_control() && c != '\n';
        assert!(!ran.out.contains(hidden), "{verb} -o {format} holds a control character");
    }
}

#[test]
fn yaml_and_json_say_the_same() {
    for verb in ["verify", "status"] {
        let json = from(verb, "revoked-token.json", &["-o", "json"]).json();
        let yaml = from(verb, "revoked-token.json", &["-o", "yaml"]);
        let yaml: serde_json::Value = serde_saphyr::from_str(&yaml.out).expect("YAML");
        assert_eq!(json, yaml, "{verb}");
    }
}

#[test]
fn eighty_columns_are_enough_for_people() {
    for (name, ..) in RECORDINGS {
        for verb in ["verify", "status"] {
            let ran = from(verb, name, &[]);
            // Commands are never wrapped, so that they can be pasted.
            let mut in_document = false;
            for line in ran.out.lines() {
                let command = in_document || line.contains("kubectl ");
                in_document = line.ends_with("<<'EOF'") || (in_document && line != "EOF");
                if command || line.starts_with("        read ") {
                    continue;
                }
                assert!(
                    line.chars().count() <= 80,
                    "{verb} {name}: {} columns: {line}",
                    line.chars().count()
                );
            }
        }
    }
}

/// What a person copies from the screen is what runs: a here-document must end at the start of a line.
#[test]
fn commands_can_be_copied_from_the_screen() {
    let ran = from("verify", "restricted-reader.json", &[]);
    let begins = ran.out.lines().filter(|l| l.ends_with("<<'EOF'")).count();
    let ends = ran.out.lines().filter(|l| *l == "EOF").count();
    assert!(begins > 0 && begins == ends, "{}", ran.out);
    let screen: String =
        ran.out.lines().skip_while(|l| !l.starts_with("kubectl ")).map(|l| format!("{l}\n")).collect();
    let script = screen.split_inclusive("\nEOF\n").next().unwrap_or_default();
    let checked = std::process::Command::new("bash").args(["-n", "-c", script]).output().expect("bash runs");
    assert!(checked.status.success() && checked.stderr.is_empty(), "{script}");
}

fn marker(name: &str) -> String {
    format!("MARKER{name}{}", "q7w3".repeat(8))
}

/// Plants values that are secret in every place of the cluster that is read or lies beside what is read, and repeats what a
/// Secret holds in labels and annotations, in several encodings.
fn plant(world: &World) -> Result<Vec<String>> {
    let names = [
        "data",
        "applied",
        "userinfo",
        "query",
        "env",
        "arg",
        "values",
        "annotation",
        "unread",
        "header",
        "phrase",
        "login",
        "key",
    ];
    let [data, applied, userinfo, query, env, arg, values, annotation, unread, header, phrase, login, key] =
        names.map(marker);
    let phrase = format!("{phrase} with spaces/and \\ signs");
    let docker =
        serde_json::json!({ "auths": { "h": { "auth": STANDARD.encode(format!("user:{login}")) } } })
            .to_string();
    let repeated = serde_json::json!({
        "reconcile.fluxcd.io/requestedAt": phrase, "meta.helm.sh/a": serde_json::to_string(&phrase)?,
        "meta.helm.sh/b": STANDARD.encode(format!("a:{data}:b")), "meta.helm.sh/c": format!("\\n{login}"),
        "meta.helm.sh/d": format!("bad line {key} in key"), "meta.helm.sh/e": format!("%3A{data}%20"),
        "meta.helm.sh/f": data.bytes().map(|byte| format!("{byte:02X}")).collect::<String>(),
    });
    let more = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "planted" } },
        { "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "more", "namespace": "planted" },
          "stringData": { "phrase": phrase, ".dockerconfigjson": docker,
              "identity": format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{key}\n-----END OPENSSH PRIVATE KEY-----\n") } },
        { "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
          "metadata": { "name": "more", "namespace": "planted", "labels": { "repeats": data }, "annotations": repeated },
          "spec": { "interval": "1h", "suspend": true, "url": "https://127.0.0.1:1/a/b.git", "secretRef": { "name": "more" } } },
    ]});
    world.apply(&more.to_string())?;
    let image = "registry.example.com/agentk:v19.2.2";
    world.apply(&format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: planted}}\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata:\n  name: planted\n  namespace: planted\n  annotations:\n    \
         kubectl.kubernetes.io/last-applied-configuration: '{{\"data\": \"{applied}\"}}'\n    note: {annotation}\n\
         stringData: {{username: git, password: {data}, token: {data}}}\n---\n\
         apiVersion: v1\nkind: Secret\nmetadata: {{name: unread, namespace: planted}}\nstringData: {{token: {unread}}}\n---\n\
         apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {{name: planted, namespace: planted}}\n\
         spec: {{interval: 1h, url: 'https://user:{userinfo}@127.0.0.1:1/a/b.git?token={query}', secretRef: {{name: planted}}}}\n---\n\
         apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {{name: planted, namespace: planted}}\n\
         spec: {{interval: 1h, suspend: true, chart: {{spec: {{chart: gitlab-agent, sourceRef: {{kind: HelmRepository, name: none}}}}}}, \
         values: {{config: {{token: {values}, secretName: planted}}}}}}\n---\n\
         apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: planted, namespace: planted}}\n\
         spec: {{replicas: 0, selector: {{matchLabels: {{app: planted}}}}, template: {{metadata: {{labels: {{app: planted}}}}, \
         spec: {{volumes: [{{name: secret-volume, secret: {{secretName: planted}}}}], containers: [{{name: a, image: '{image}', \
         env: [{{name: AGENTK_TOKEN, value: {env}}}], args: ['--kas-address=wss://x', '--secret={arg}', '--kas-header', 'Cookie: {header}']}}]}}}}}}\n"
    ))?;
    Ok([data, applied, userinfo, query, env, arg, values, annotation, unread, header, phrase, login, key]
        .to_vec())
}

#[test]
fn no_planted_secret_is_recorded() -> Result<()> {
    World::with(|world| {
        let markers = plant(world)?;
        let ready = [
            "-n",
            "planted",
            "get",
            "gitrepository",
            "planted",
            "-o",
            "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}",
        ];
        world.wait_kubectl(&ready, "False", SOON)?;
        let paths = ["get", "receivers", "-A", "-o", "jsonpath={.items[*].status.webhookPath}"];
        let paths = world.kubectl(&paths)?;
        let paths: Vec<String> = paths
            .split_whitespace()
            .filter_map(|path| path.strip_prefix("/hook/"))
            .map(str::to_owned)
            .collect();
        let ran = run(command("snapshot").env("KUBECONFIG", world.kubeconfig()));
        world.kubectl(&["delete", "namespace", "planted", "--wait=false"])?;
        ensure!(ran.code == 0 && ran.out.contains("\"planted\""), "{}", ran.err);
        let tokens = world.tokens();
        let own = [&tokens.agent, &tokens.fleet, &tokens.example].map(Clone::clone);
        ensure!(!paths.is_empty(), "no Receiver has a webhook path");
        let values: Vec<String> = markers.into_iter().chain(own).chain(paths).collect();
        hides(&ran.out, &values)?;
        hides(&ran.err, &values)?;
        Ok(())
    })
}

/// Records anew. Not a test of its own: the recordings are data, and are looked at when they change.
#[test]
fn recordings_are_made_in_the_world() -> Result<()> {
    if !updating() {
        return Ok(());
    }
    World::with(|world| {
        let admin = world.kubeconfig();
        record(&admin, "healthy.json", None)?;
        let rbac = "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n\
            metadata: {name: restricted, namespace: flux-system}\n\
            roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}\n\
            subjects: [{kind: User, name: restricted, apiGroup: rbac.authorization.k8s.io}]\n";
        record(&world.user_kubeconfig("restricted", rbac)?, "restricted-reader.json", Some("GA102"))?;
        let scale =
            |n: &str| world.kubectl(&["-n", "flux-system", "scale", "deployment/notification-controller", n]);
        scale("--replicas=0")?;
        record(&admin, "no-notification-controller.json", Some("GA205"))?;
        scale("--replicas=1")?;
        record(&admin, "healthy.json", None)?;
        world.gitlab().revoke(&world.tokens().agent)?;
        record(&admin, "revoked-token.json", Some("GA315"))
    })
}

/// Waits until this is the one problem (or there is none), and keeps what that very run saw.
fn record(kubeconfig: &Path, name: &str, problem: Option<&str>) -> Result<()> {
    let file = recording(name);
    fs::create_dir_all(file.parent().context("a folder")?)?;
    wait_until(name, SOON, || {
        let ran =
            run(command("verify").env("KUBECONFIG", kubeconfig).args(["-o", "json", "--record"]).arg(&file));
        let found = ran.json()["problems"].as_array().map(Vec::len);
        if ran.first_problem().as_deref() == problem && found == Some(usize::from(problem.is_some())) {
            return Ok(Some(()));
        }
        bail!("exit {}: {}", ran.code, ran.out)
    })
}
