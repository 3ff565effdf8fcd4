//! `rotate-token --list`: its formats, and in the test world what it says of credentials of every kind.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use gitlab_agent_core::command::Given;
use gitlab_agent_core::facts::{Facts, KeyShape, Listing, LocalRef};
use gitlab_agent_core::fixture;
use gitlab_agent_core::render::{self, Style, tokens};
use gitlab_agent_core::rotate::inventory::Inventory;
use gitlab_agent_core::snapshot::gitlab::{Credential, CredentialKind, HeldToken, TokenRecord};
use gitlab_agent_core::snapshot::{Observed, Snapshot, Why, WhyKind};
use gitlab_agent_core::text::is_hidden;
use gitlab_agent_tests::programs::{Ran, command, root, run};
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::gitlab::ssh::key_pair;
use gitlab_agent_tests::world::gitlab::{
    AGENT_ID, AGENT_PROJECT, ALWAYS, EXAMPLE_PROJECT, Fault, Role, in_days,
};
use gitlab_agent_tests::world::wait::yes;
use proptest::prelude::*;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(120);

/// A cluster that shows nearly everything the list can show, with `text` wherever somebody else wrote it.
fn rich(text: &str) -> Snapshot {
    let mut s = fixture::healthy();
    let day = |day: &str| day.parse().ok();
    // An owned Secret, shared by two sources, whose deploy token ends soon.
    fixture::git_mut(&mut s, "example-nginx-app").spec.secret_ref =
        Some(LocalRef { name: "flux-system".to_owned() });
    let labels = &mut fixture::secret(&mut s, "flux-system", "flux-system").metadata.labels;
    for (key, value) in [("name", "apps"), ("namespace", "flux-system")] {
        labels.insert(format!("kustomize.toolkit.fluxcd.io/{key}"), value.to_owned());
    }
    // A Provider with the value of that Secret, and one whose token is dead.
    let same = fixture::secret(&mut s, "flux-system", "flux-system").keys["password"].clone();
    let status = fixture::secret(&mut s, "flux-system", "gitlab-status-flux-system");
    status.keys.insert("token".to_owned(), same);
    let dead =
        fixture::secret(&mut s, "flux-system", "gitlab-status-example-nginx-app").keys["token"].clone();
    let refused = Why::new(WhyKind::SignIn, "an access token in a Secret of GitLab", "401 Unauthorized");
    // A source with a deploy key, and one with a project access token.
    let mut third = s.git_repositories.items[0].clone();
    third.metadata.name = "over-ssh".to_owned();
    *third.spec.url = "ssh://git@gitlab.example.com/platform/flux-system.git".to_owned();
    third.spec.secret_ref = Some(LocalRef { name: "over-ssh".to_owned() });
    let mut fourth = s.git_repositories.items[0].clone();
    fourth.metadata.name = text.to_owned();
    fourth.spec.secret_ref = Some(LocalRef { name: "with-token".to_owned() });
    s.git_repositories.items.extend([third, fourth]);
    let mut entry = s.secrets[1].clone();
    for (name, keys) in [
        ("over-ssh", vec![("identity", "-----BEGIN OPENSSH PRIVATE KEY-----"), ("known_hosts", "h")]),
        ("with-token", vec![("username", "flux"), ("password", "glpat-uuuuuuuuuuuuuuuuuuuu")]),
    ] {
        entry.name = name.to_owned();
        if let Observed::Known(Some(shape)) = &mut entry.shape {
            shape.metadata.name = name.to_owned();
            shape.metadata.labels.clear();
            let keys = keys
                .iter()
                .map(|(key, value)| ((*key).to_owned(), KeyShape::of(value.as_bytes(), b"fixture")));
            shape.keys = keys.collect();
        }
        s.secrets.push(entry.clone());
    }
    let token = fixture::secret(&mut s, "flux-system", "with-token").keys["password"].clone();
    let record = TokenRecord {
        id: 301,
        name: text.to_owned(),
        scopes: vec!["read_repository".to_owned(), text.to_owned()],
        user: Some(text.to_owned()),
        created_at: day("2026-06-01T00:00:00Z"),
        expires_at: day("2027-06-01T00:00:00Z"),
    };
    // A Provider of another system, a Secret that may not be read, and a listing.
    let mut other = s.providers.items[0].clone();
    (other.metadata.name, other.spec.kind) = (text.to_owned(), "slack".to_owned());
    s.providers.items.push(other);
    let denied = || Why::new(WhyKind::Forbidden, "get secret gitlab/gitlab-agent-token", text);
    fixture::secret_entry(&mut s, "gitlab", "gitlab-agent-token").shape = Observed::Unknown(denied());
    s.oci_repositories = Listing::unknown(Why::new(WhyKind::TimedOut, "list ocirepositories", text));
    s.origin.context = Some(text.to_owned());
    let held_by = vec![fixture::object("Secret", "flux-system", "over-ssh")];
    let part = fixture::gitlab_mut(&mut s);
    part.held = vec![
        HeldToken { fingerprint: dead.fingerprint, token: Observed::Unknown(refused) },
        HeldToken { fingerprint: token.fingerprint, token: Observed::Known(record) },
    ];
    if let Observed::Known(all) = &mut part.projects[0].credentials {
        all[0].expires_at = day("2026-11-20T00:00:00Z");
        all[0].name = text.to_owned();
        let (kind, created_at) = (CredentialKind::DeployKey, day("2026-10-01T00:00:00Z"));
        all.push(Credential {
            kind,
            id: 401,
            name: text.to_owned(),
            created_at,
            held_by,
            ..Credential::default()
        });
    }
    s
}

fn outputs(s: &Snapshot) -> [(&'static str, String); 3] {
    let inventory = Inventory::of(&Facts::derive(s));
    let style = Style { given: Given::context(s.origin.context.as_deref()), ..Style::default() };
    [
        ("table", tokens::blocks(&inventory, &style)),
        ("wide", tokens::wide(&inventory, &style)),
        ("json", render::tokens_json(&inventory, &style)),
    ]
}

fn document(s: &Snapshot) -> Value {
    let [.., (_, json)] = outputs(s);
    serde_json::from_str(&json).expect("JSON")
}

#[test]
fn formats_are_as_they_were() {
    for (format, text) in outputs(&rich("prod")) {
        let golden = root().join("tests/goldens").join(format!("token-list.{format}"));
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&golden, &text).expect("writes");
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(text, expected, "{format}: UPDATE=1 writes it anew");
    }
}

#[test]
fn eighty_columns_are_enough() {
    let [(_, text), ..] = outputs(&rich("prod"));
    for line in text.lines().filter(|line| !line.contains("kubectl ")) {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
}

#[test]
fn the_schema_holds_and_notices_every_field() {
    let text = fs::read_to_string(root().join("docs/schema/token-list.json")).expect("a schema");
    let schema: Value = serde_json::from_str(&text).expect("JSON");
    let schema = jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema");
    let whole = document(&rich("prod"));
    for document in [&whole, &document(&fixture::healthy()), &from("restricted-reader").json()] {
        let errors: Vec<String> =
            schema.iter_errors(document).map(|e| format!("{e} at {}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
    for place in ["", "/gitlab", "/tokens/0", "/tokens/0/secret", "/tokens/0/next", "/others/0", "/unknown/0"]
    {
        let own = whole.pointer(place).and_then(Value::as_object).expect("an object");
        for key in own.keys() {
            let mut less = whole.clone();
            less.pointer_mut(place).and_then(Value::as_object_mut).expect("an object").remove(key);
            assert!(!schema.is_valid(&less), "'{place}' without {key} goes unnoticed");
        }
        let mut more = whole.clone();
        more.pointer_mut(place).expect("a place")["added"] = Value::Null;
        assert!(!schema.is_valid(&more), "a field more in '{place}' goes unnoticed");
    }
}

fn from(recording: &str) -> Ran {
    let file = format!("tests/recordings/{recording}.json");
    run(command("rotate_token").current_dir(root()).args(["--list", "-o", "json", "--from", &file]))
}

#[test]
fn the_program_lists_a_recording() {
    let ran = from("healthy");
    assert_eq!((ran.code, ran.json()["tokens"].as_array().map(Vec::len)), (0, Some(5)), "{ran:?}");
    let ran = from("restricted-reader");
    assert_eq!((ran.code, &ran.json()["exitCode"]), (3, &json!(3)), "{ran:?}");
    for wrong in [
        &["--list", "agent"][..],
        &["--list", "--yes"],
        &["--from", "x", "agent"],
        &[],
        &["agent", "-o", "wide"],
    ] {
        assert_eq!(run(command("rotate_token").args(wrong)).code, 2, "{wrong:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_output_holds_what_a_terminal_acts_on(text in "[\\PC\u{0}-\u{9f}\u{200b}-\u{200f}\u{202a}-\u{202e}\u{feff}'\"$`|<>@#/&\\\\]{0,40}") {
        for (format, output) in outputs(&rich(&text)) {
            let hidden = output.chars().find(|c| is_hidden(*c) && *c != '\n');
            prop_assert!(hidden.is_none(), "{format} holds {hidden:?}");
            if format == "json" {
                prop_assert!(serde_json::from_str::<Value>(&output).is_ok(), "{output}");
            }
        }
    }
}

/// The list of the test world.
struct Listed(Value);

impl Listed {
    fn of(world: &World, more: &[&str], token: Option<&str>) -> Result<Self> {
        let ca = world.dir().join("gitlab-ca.pem");
        fs::write(&ca, world.gitlab().ca_pem())?;
        let mut command = command("rotate_token");
        command.env("KUBECONFIG", world.kubeconfig()).args(["--list", "-o", "json"]).args(more);
        if let Some(token) = token {
            command.args(["--gitlab-host", &world.gitlab().url(), "--gitlab-ca-file"]).arg(&ca);
            command.env("GITLAB_TOKEN", token);
        }
        let ran = run(&mut command);
        ensure!(ran.code == 0, "{ran:?}");
        Ok(Self(ran.json()))
    }

    fn row(&self, secret: &str) -> Result<&Value> {
        let rows = self.0["tokens"].as_array().context("no rows")?;
        rows.iter()
            .find(|row| row["secret"]["name"] == secret)
            .with_context(|| format!("no {secret}: {}", self.0))
    }
}

/// A source, and the Secret with its credential.
fn source(world: &World, name: &str, url: &str, values: Value) -> Result<()> {
    let meta = json!({ "name": name, "namespace": "flux-system" });
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": values });
    world.apply(&secret.to_string())?;
    let git = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": meta,
        "spec": { "interval": "1h", "url": url, "secretRef": { "name": name } },
    });
    world.apply(&git.to_string())
}

#[test]
fn each_credential_of_the_world_is_what_gitlab_says_it_is() -> Result<()> {
    World::with(|world| {
        let gitlab = world.gitlab();
        let with_ca = |user: &str, password: &str| json!({ "username": user, "password": password, "ca.crt": gitlab.ca_pem() });
        let url = gitlab.project_url(EXAMPLE_PROJECT);
        let (user, group) = gitlab.new_deploy_token("example", &["read_repository"])?;
        source(world, "of-group", &url, with_ca(&user, &group))?;
        let project = gitlab.new_resource_token(
            EXAMPLE_PROJECT,
            "reads",
            &["read_repository"],
            Role::Reporter,
            in_days(10),
        )?;
        source(world, "of-project", &url, with_ca("x", &project.value))?;
        let person = gitlab.new_personal_token(
            gitlab.person(),
            "mine",
            &["read_api", "read_repository"],
            in_days(200),
        )?;
        source(world, "of-person", &url, with_ca("x", &person.value))?;
        let dead = gitlab.new_personal_token(gitlab.person(), "dead", &["read_repository"], in_days(200))?;
        gitlab.change_access_token(dead.id, |token| token.revoked = true)?;
        source(world, "dead", &url, with_ca("x", &dead.value))?;
        let (identity, public) = key_pair("flux")?;
        let key = gitlab.new_deploy_key(EXAMPLE_PROJECT, "flux", &public)?;
        // Without `identity.pub`: the public half is in the private key.
        let over_ssh = format!("ssh://git@127.0.0.1:22/{EXAMPLE_PROJECT}.git");
        source(world, "with-key", &over_ssh, json!({ "identity": identity, "known_hosts": "x" }))?;

        gitlab.clear_requests();
        let listed = Listed::of(world, &[], Some(&world.tokens().person))?;
        for (secret, kind, state, id) in [
            ("of-group", "groupDeployToken", "valid", None),
            ("of-project", "projectAccessToken", "expiring", Some(project.id)),
            ("of-person", "personalAccessToken", "valid", Some(person.id)),
            ("dead", "accessToken", "dead", None),
            ("with-key", "deployKey", "valid", Some(key)),
            ("flux-system", "projectDeployToken", "valid", None),
            ("gitlab-agent-token", "agentToken", "valid", None),
            ("gitlab-status-fleet", "projectAccessToken", "valid", None),
        ] {
            let row = listed.row(secret)?;
            ensure!(row["kind"] == kind && row["state"] == state, "{secret}: {row}");
            ensure!(id.is_none() || row["id"] == json!(id), "{secret}: {row}");
        }
        ensure!(listed.0["tokens"][0]["secret"]["name"] == "dead", "the most urgent leads: {}", listed.0);
        ensure!(listed.row("of-group")?["user"] == json!(user));
        ensure!(listed.row("of-project")?["expiresAt"].is_string());
        ensure!(listed.row("with-key")?["createdAt"].is_string());
        let agent = listed.row("gitlab-agent-token")?;
        let tokens = gitlab.agent_tokens(AGENT_ID);
        ensure!(tokens.iter().any(|t| !t.revoked && json!(t.id) == agent["id"]), "{agent}");
        let wrote: Vec<_> =
            gitlab.requests().into_iter().filter(|r| r.method != "GET" && r.path != "/api/graphql").collect();
        ensure!(wrote.iter().all(|r| !r.path.starts_with("/api/v4")), "it only reads: {wrote:?}");

        // Without GitLab the same rows.
        let without = Listed::of(world, &["--no-gitlab"], None)?;
        let count = |listed: &Listed| listed.0["tokens"].as_array().map(Vec::len);
        ensure!(count(&without) == count(&listed));
        ensure!(without.row("of-project")?["unknown"][0]["reason"] == "needs GitLab");
        for name in ["of-group", "of-project", "of-person", "dead", "with-key"] {
            let objects = [format!("gitrepository/{name}"), format!("secret/{name}")];
            world.kubectl(&["delete", "-n", "flux-system", &objects[0], &objects[1]])?;
        }
        Ok(())
    })
}

#[test]
fn a_gitlab_that_does_not_answer_is_told() -> Result<()> {
    World::with(|world| {
        world.gitlab().fault(
            "GET /api/v4/personal_access_tokens/self",
            Fault::Status(500, "broken".to_owned()),
            ALWAYS,
        );
        let ca = world.dir().join("gitlab-ca.pem");
        fs::write(&ca, world.gitlab().ca_pem())?;
        let mut command = command("rotate_token");
        command.env("KUBECONFIG", world.kubeconfig()).env("GITLAB_TOKEN", &world.tokens().person);
        command
            .args(["--list", "-o", "json", "--gitlab-host", &world.gitlab().url(), "--gitlab-ca-file"])
            .arg(&ca);
        let ran = run(&mut command);
        world.gitlab().clear_faults();
        ensure!(ran.code == 3 && ran.json()["exitCode"] == 3, "{ran:?}");
        let rows = ran.json()["tokens"].as_array().map(Vec::len);
        ensure!(rows == Some(5), "the rows are there: {ran:?}");
        world.wait_until("the API server", SOON, || Ok(yes(world.kubectl(&["version"]).is_ok())))?;
        ensure!(world.git(AGENT_PROJECT).is_ok());
        Ok(())
    })
}
