//! No value of a credential turns up anywhere: every command, in success and in failure, at the highest verbosity and in
//! each of its formats, with marked values in Secrets, in the kubeconfig, in a credential plugin and in what servers say.
//! Looked at are both outputs, every file that a run leaves behind, and what the programs that it runs are given.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitlab_agent_tests::canary::{Nest, hides, marker};
use gitlab_agent_tests::programs::Ran;
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::gitlab::{ALWAYS, EXAMPLE_PROJECT, Fault};
use gitlab_agent_tests::world::wait::yes;
use serde_json::{Value, json};

const NAMESPACE: &str = "canary";

/// The commands that look, each with every format that it has.
const LOOKS: &[(&str, &[&str])] = &[
    ("status", &["table", "wide", "json", "yaml"]),
    ("verify", &["table", "wide", "json", "yaml", "short", "junit", "markdown", "prometheus"]),
    ("snapshot", &["-", "seen.json"]),
    ("version", &["table", "json"]),
    ("rotate-token --list", &["table", "wide", "json"]),
    ("rotate-token agent --dry-run=server", &["table", "json"]),
    (
        "rotate-token source gitrepository/example-nginx-app -n flux-system --dry-run=server",
        &["table", "json"],
    ),
    ("rotate-token notification gitlab-status-nginx-app -n flux-system --dry-run=server", &["table", "json"]),
    ("reconcile-now --all --dry-run", &["table", "json"]),
];

/// The same, each with the one format that says most: for what is repeated often.
const BRIEF: &[(&str, &[&str])] = &[
    ("status", &["wide"]),
    ("verify", &["wide"]),
    ("verify", &["json"]),
    ("snapshot", &["seen.json"]),
    ("version", &["json"]),
    ("rotate-token --list", &["wide"]),
    ("rotate-token agent --yes", &["json"]),
    ("rotate-token source gitrepository/basic -n canary --yes", &["json"]),
    ("rotate-token source gitrepository/ssh -n canary --yes", &["table"]),
    ("rotate-token notification status -n canary --yes", &["json"]),
    ("reconcile-now gitrepository/flux-system -n flux-system --only --dry-run", &["table"]),
];

/// The ones that change something.
const CHANGES: &[(&str, &[&str])] = &[
    ("reconcile-now gitrepository/flux-system -n flux-system --only --reason canary", &["table", "json"]),
    ("rotate-token agent --yes --reason canary", &["table", "json"]),
    ("rotate-token source gitrepository/example-nginx-app -n flux-system --yes --reason canary", &["json"]),
];

/// The world, with marked values in it, and somebody who looks.
struct Stage<'w> {
    world: &'w World,
    nest: Nest,
    values: Vec<String>,
    /// In Secrets only: what a GitLab or an API server that talks too much could repeat.
    planted: Vec<String>,
    /// The person's token for GitLab.
    token: String,
    ca: PathBuf,
}

impl<'w> Stage<'w> {
    fn new(world: &'w World) -> Result<Self> {
        let nest = Nest::new()?;
        let planted = plant(world)?;
        let token = world.gitlab().new_access_token(&["api"])?;
        let ca = nest.outside().join("gitlab-ca.pem");
        std::fs::write(&ca, world.gitlab().ca_pem())?;
        let own = world.tokens();
        let held = [&own.fleet, &own.example, &own.fleet_status, &own.example_status, &token];
        let mut values: Vec<String> = planted.iter().cloned().chain(held.into_iter().cloned()).collect();
        values.extend(world.gitlab().agent_tokens(7).into_iter().map(|token| token.value));
        Ok(Self { world, nest, values, planted, token, ca })
    }

    /// A service account that may do everything, by its token.
    fn account(&self) -> Result<String> {
        let binding = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: canary, namespace: canary}\n---\n\
            apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: canary}\n\
            roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}\n\
            subjects: [{kind: ServiceAccount, name: canary, namespace: canary}]\n";
        self.world.apply(binding)?;
        let token = self.world.kubectl(&["create", "token", "-n", NAMESPACE, "canary", "--duration=2h"])?;
        Ok(token.trim().to_owned())
    }

    fn kubeconfig(&self, token: &str, server: Option<(&str, &str)>) -> Result<PathBuf> {
        let file = self.nest.outside().join("kubeconfig.json");
        self.world.token_kubeconfig(&file, token, server)?;
        Ok(file)
    }

    /// A kubeconfig whose user signs in with a plugin of this script, which has a marked value in its environment.
    fn plugin(&self, script: &str) -> Result<(PathBuf, String)> {
        let file = self.kubeconfig("replaced", None)?;
        let value = marker("", "plugin");
        let plugin = self.nest.program("canary-plugin", script)?;
        let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
        config["users"][0]["user"] = json!({ "exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": plugin, "interactiveMode": "Never",
            "env": [{ "name": "CANARY_PLUGIN", "value": value }],
        }});
        std::fs::write(&file, config.to_string())?;
        Ok((file, value))
    }

    /// A command with all that it may be given.
    fn command(&self, words: &str, format: &str, kubeconfig: &Path) -> Command {
        let asks_no_gitlab = words.starts_with("reconcile-now");
        let mut words = words.split(' ');
        let mut command = self.nest.command(words.next().unwrap_or_default());
        command.args(words).args(["-o", format, "-v", "-v", "-v"]);
        // The one command that asks no GitLab, and says so to whoever names one.
        if !asks_no_gitlab {
            command.arg("--gitlab-ca-file").arg(&self.ca);
        }
        command.env("KUBECONFIG", kubeconfig).env("GITLAB_HOST", self.world.gitlab().url());
        command.env("GITLAB_TOKEN", &self.token);
        command
    }

    /// Runs commands; what they say is returned, each with the words of the command.
    fn run(
        &self,
        commands: &[(&'static str, &[&str])],
        kubeconfig: &Path,
        more: &[String],
    ) -> Result<Vec<(&'static str, Ran)>> {
        let values: Vec<String> = self.values.iter().chain(more).cloned().collect();
        self.run_looking_for(&values, commands, kubeconfig)
    }

    /// Runs the commands and looks for these values.
    fn run_looking_for(
        &self,
        values: &[String],
        commands: &[(&'static str, &[&str])],
        kubeconfig: &Path,
    ) -> Result<Vec<(&'static str, Ran)>> {
        let mut all = Vec::new();
        for (words, formats) in commands {
            for format in *formats {
                all.push((*words, self.nest.run(&mut self.command(words, format, kubeconfig), values)?));
            }
        }
        Ok(all)
    }
}

/// Every run ends with one of these codes: so the scenario was what it was meant to be.
fn ended(all: &[(&str, Ran)], codes: &[(&str, &[i32])]) -> Result<()> {
    for (words, ran) in all {
        let fits = |(verb, codes): &&(&str, &[i32])| words.starts_with(verb) && codes.contains(&ran.code);
        ensure!(codes.iter().any(|entry| fits(&entry)), "{words}: {ran:?}");
    }
    Ok(())
}

/// A private key of nobody, with the marker inside.
fn private_key(value: &str) -> String {
    format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{value}\n-----END OPENSSH PRIVATE KEY-----\n")
}

/// Marked values in Secrets of every form that the commands read. Nothing of it is reconciled: Flux itself would send them.
fn plant(world: &World) -> Result<Vec<String>> {
    let gitlab = world.gitlab();
    let names = [
        "password", "identity", "bearer", "status", "binary", "docker", "receiver", "applied", "phrase",
        "second",
    ];
    let [password, identity, bearer, status, binary, docker, receiver, applied, phrase, second] =
        names.map(|name| marker(if name == "status" || name == "password" { "glpat-" } else { "" }, name));
    // One with spaces and signs, and one in the second line of a key.
    let phrase = format!("{phrase} and \\ \"more\"/x");
    let git = gitlab.project_url(EXAMPLE_PROJECT);
    let ssh = format!("ssh://git@127.0.0.1:22/{EXAMPLE_PROJECT}.git");
    let address = git.trim_end_matches(".git").to_owned();
    let auth = STANDARD.encode(format!("user:{docker}"));
    let login = json!({ "auths": { "127.0.0.1": { "auth": auth, "password": docker } } }).to_string();
    let mut objects =
        vec![json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } })];
    let meta = |name: &str| json!({ "name": name, "namespace": NAMESPACE });
    let mut secret = |name: &str, values: Value| {
        let mut metadata = meta(name);
        metadata["annotations"] = json!({ "kubectl.kubernetes.io/last-applied-configuration": format!("{{\"data\": \"{applied}\"}}") });
        objects.push(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": values }));
    };
    let encoded = |text: &str| STANDARD.encode(text);
    secret("basic", json!({ "username": encoded("git"), "password": encoded(&password) }));
    secret(
        "ssh",
        json!({ "identity": encoded(&private_key(&format!("{identity}\n{second}"))), "known_hosts": encoded("x y z") }),
    );
    secret("bearer", json!({ "bearerToken": encoded(&bearer) }));
    secret("status", json!({ "token": encoded(&status) }));
    let bytes = [&[0xff, 0xfe][..], binary.as_bytes(), &[0xff]].concat();
    secret("binary", json!({ "username": encoded("git"), "password": STANDARD.encode(bytes) }));
    secret("docker", json!({ ".dockerconfigjson": encoded(&login) }));
    secret("receiver", json!({ "token": encoded(&receiver) }));
    secret("phrase", json!({ "username": encoded("git"), "password": encoded(&phrase) }));
    let sources = [
        ("GitRepository", "basic", &git),
        ("GitRepository", "ssh", &ssh),
        ("GitRepository", "bearer", &git),
        ("GitRepository", "binary", &git),
        ("GitRepository", "phrase", &git),
    ];
    for (kind, name, url) in sources {
        // Somebody wrote the values into annotations that are kept, as logs and Events repeat them.
        let mut metadata = meta(name);
        metadata["annotations"] = json!({
            "reconcile.fluxcd.io/requestedAt": format!("\\n{bearer} {phrase}"), "meta.helm.sh/a": json!(phrase).to_string(),
            "meta.helm.sh/b": STANDARD.encode(format!("x:{docker}")), "meta.helm.sh/c": format!("line {second} {identity}"),
        });
        objects.push(json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": kind, "metadata": metadata,
            "spec": { "interval": "1h", "suspend": true, "url": url, "secretRef": { "name": name } },
        }));
    }
    objects.push(json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "OCIRepository", "metadata": meta("docker"),
        "spec": { "interval": "1h", "suspend": true, "url": "oci://127.0.0.1/a/b", "secretRef": { "name": "docker" } },
    }));
    objects.push(json!({
        "apiVersion": "notification.toolkit.fluxcd.io/v1beta3", "kind": "Provider", "metadata": meta("status"),
        "spec": { "type": "gitlab", "address": address, "secretRef": { "name": "status" } },
    }));
    objects.push(json!({
        "apiVersion": "notification.toolkit.fluxcd.io/v1", "kind": "Receiver", "metadata": meta("receiver"),
        "spec": { "type": "generic-hmac", "suspend": true, "secretRef": { "name": "receiver" },
            "resources": [{ "kind": "GitRepository", "name": "basic" }] },
    }));
    world.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string())?;
    Ok(vec![password, identity, bearer, status, binary, docker, receiver, applied, phrase, second])
}

fn with(test: impl FnOnce(&Stage<'_>) -> Result<()>) -> Result<()> {
    World::with(|world| {
        world.gitlab().clear_faults();
        let tested = test(&Stage::new(world)?);
        world.gitlab().clear_faults();
        world.kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=120s"])?;
        tested
    })
}

#[test]
fn nothing_is_shown_when_all_goes_well() -> Result<()> {
    with(|stage| {
        let token = stage.account()?;
        let answer = json!({ "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
            "status": { "token": token } });
        let (kubeconfig, own) = stage.plugin(&format!("echo \"$CANARY_PLUGIN\" >&2; echo '{answer}'"))?;
        let all = stage.run(LOOKS, &kubeconfig, &[token.clone(), own.clone()])?;
        // What is planted is suspended, which a plan for all says.
        ended(&all, &[("verify", &[0, 1]), ("status", &[0, 1]), ("reconcile", &[0, 5]), ("", &[0])])?;
        let (_, listed) = all
            .iter()
            .find(|(words, ran)| words.contains("--list") && ran.out.contains("canary/ssh"))
            .context("the list")?;
        ensure!(listed.out.contains("canary/basic") && listed.out.contains("canary/status"), "{listed:?}");
        ensure!(
            all.iter().any(|(words, ran)| *words == "verify" && ran.out.contains("canary")),
            "it was read"
        );
        let traced = stage.nest.traced();
        ensure!(
            traced.contains("kubectl\nversion") && traced.contains("canary-plugin"),
            "children were run: {traced}"
        );
        // With the kubeconfig's own token; the tab key and the scripts too.
        let kubeconfig = stage.kubeconfig(&token, None)?;
        let values: Vec<String> = stage.values.iter().chain([&token]).cloned().collect();
        for words in [
            &["completion", "bash"][..],
            &["__complete", "reconcile-now", ""],
            &["__complete", "rotate-token", "agent", ""],
            &["__complete", "verify", "--only", ""],
            &["version", "-v", "-v", "-v"],
            &["plugin", "list"],
        ] {
            let mut command = stage.nest.command("");
            stage.nest.run(
                command.args(words).env("KUBECONFIG", &kubeconfig).env("GITLAB_TOKEN", &stage.token),
                &values,
            )?;
        }
        let all = stage.run(CHANGES, &kubeconfig, &[token])?;
        ended(&all, &[("", &[0])])?;
        let held = "jsonpath={.data.token}";
        let new =
            stage.world.kubectl(&["get", "secret", "-n", "gitlab", "gitlab-agent-token", "-o", held])?;
        let new = String::from_utf8(STANDARD.decode(new)?)?;
        for (_, ran) in &all {
            hides(&format!("{}{}", ran.out, ran.err), std::slice::from_ref(&new))?;
        }
        Ok(())
    })
}

#[test]
fn nothing_is_shown_when_signing_in_fails() -> Result<()> {
    with(|stage| {
        let spilled = marker("", "spilled");
        let failing =
            format!("echo \"{spilled} $CANARY_PLUGIN\"; echo \"{spilled} $CANARY_PLUGIN\" >&2; exit 7");
        let garbage = format!("echo '{{\"status\": {{\"token\": [\"{spilled}\"]}}}}'");
        let nothing = format!("echo '{{\"kind\": \"ExecCredential\", \"other\": \"{spilled}\"}}'");
        for script in [failing, garbage, nothing] {
            let (kubeconfig, own) = stage.plugin(&script)?;
            let all = stage.run(BRIEF, &kubeconfig, &[spilled.clone(), own])?;
            ended(&all, &[("", &[4])])?;
        }
        let wrong = marker("", "wrongtoken");
        let kubeconfig = stage.kubeconfig(&wrong, None)?;
        let all = stage.run(BRIEF, &kubeconfig, &[wrong])?;
        ended(&all, &[("", &[4])])?;
        // A provider that runs a program is refused before it runs.
        let (kubeconfig, own) = stage.plugin("true")?;
        let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&kubeconfig)?)?;
        let program = stage.nest.program("auth-provider-program", "echo never")?;
        config["users"][0]["user"] = json!({ "auth-provider": { "name": "gcp", "config": {
            "cmd-path": program, "cmd-args": "x", "access-token": own, "expiry": "2020-01-01T00:00:00Z" } } });
        std::fs::write(&kubeconfig, config.to_string())?;
        let all = stage.run(BRIEF, &kubeconfig, &[own])?;
        ended(&all, &[("", &[4])])?;
        ensure!(!stage.nest.traced().contains("auth-provider-program"), "it ran");
        // One that prints without end.
        let (kubeconfig, own) = stage.plugin("yes \"$CANARY_PLUGIN\"")?;
        let all = stage.run(&BRIEF[..2], &kubeconfig, &[own])?;
        ended(&all, &[("", &[4])])?;
        // A token that fits no header, and a kubeconfig that is none.
        let split = format!("{}\n{}", marker("", "upper"), marker("", "lower"));
        let kubeconfig = stage.kubeconfig(&split, None)?;
        let all = stage.run(BRIEF, &kubeconfig, &split.lines().map(str::to_owned).collect::<Vec<_>>())?;
        ended(&all, &[("", &[4])])?;
        let broken = marker("", "broken");
        std::fs::write(&kubeconfig, format!("users:\n- name: x\n  user: {{token: [{broken}\n"))?;
        let all = stage.run(BRIEF, &kubeconfig, &[broken])?;
        ended(&all, &[("", &[2])])
    })
}

#[test]
fn nothing_is_shown_of_what_an_api_server_says() -> Result<()> {
    with(|stage| {
        let token = stage.account()?;
        let spilled = stage.planted[0].clone();
        let said = move |asked_with: &str| format!("no: Authorization: {asked_with} and {spilled}");
        let refusal = {
            let said = said.clone();
            move |code: u16, with: &str| {
                json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden",
                    "message": said(with), "code": code })
                .to_string()
            }
        };
        let of_secret = |path: &str| path.contains("/secrets/");
        type Lie = Box<
            dyn Fn(&gitlab_agent_tests::world::false_api::Asked<'_>) -> Option<(u16, String)> + Send + Sync,
        >;
        let undecodable = stage.planted[1].clone();
        let (one, two, three, four) = (refusal.clone(), refusal, said.clone(), said);
        let lies: Vec<(&str, Lie, &[i32])> = vec![
            ("403 for all", Box::new(move |a| Some((403, one(403, a.authorization)))), &[3, 4, 5]),
            (
                "403 for Secrets",
                Box::new(move |a| of_secret(a.path).then(|| (403, two(403, a.authorization)))),
                &[0, 1, 3, 5],
            ),
            ("500 for all", Box::new(move |a| Some((500, three(a.authorization)))), &[3, 4, 5]),
            (
                "no JSON",
                Box::new(move |a| Some((200, format!("{{\"items\": [{{\"{}", four(a.authorization))))),
                &[3, 4, 5],
            ),
            (
                "Secrets that do not decode",
                Box::new(move |a| {
                    let mut place =
                        a.path.split(['/', '?']).skip_while(|part| *part != "namespaces").skip(1).step_by(2);
                    let (namespace, name) = (place.next(), place.next());
                    let secret = json!({ "kind": "Secret", "metadata": { "name": name, "namespace": namespace },
                        "data": { "token": format!("!{undecodable}"), "password": format!("!{undecodable}") } });
                    of_secret(a.path).then(|| (200, secret.to_string()))
                }),
                &[0, 1, 3, 5],
            ),
        ];
        // Nobody can know that a plain word in the annotation `requestedAt` is the value of a Secret that was not read.
        let written: Vec<&String> = [2, 8].iter().filter_map(|at| stage.planted.get(*at)).collect();
        let values: Vec<String> =
            stage.values.iter().chain([&token]).filter(|v| !written.contains(v)).cloned().collect();
        for (what, lie, codes) in lies {
            let server = stage.world.false_api(lie)?;
            let kubeconfig = stage.kubeconfig(&token, Some((server.url(), server.ca_pem())))?;
            let all = stage.run_looking_for(&values, BRIEF, &kubeconfig).with_context(|| what.to_owned())?;
            ended(&all, &[("snapshot", &[0, 4]), ("", codes)]).with_context(|| what.to_owned())?;
            let told = |words: &str| all.iter().any(|(w, ran)| w.starts_with(words) && ran.code >= 3);
            ensure!(told("rotate-token"), "{what}: it was noticed");
        }
        Ok(())
    })
}

#[test]
fn nothing_is_shown_of_what_gitlab_says() -> Result<()> {
    with(|stage| {
        let admin = stage.world.kubeconfig();
        let values = [&stage.token, &stage.planted[0], &stage.planted[3]].map(String::as_str).join(" and ");
        let body = |more: &str| {
            json!({ "message": format!("{more} {values}, Authorization: Bearer {}", stage.token), "token": stage.token })
                .to_string()
        };
        for fault in [
            Fault::Status(401, body("401 Unauthorized")),
            Fault::Status(403, body("403 Forbidden")),
            Fault::Status(404, body("404 Not Found")),
            Fault::Status(500, body("500")),
            Fault::Status(200, format!("{{\"id\": \"{values}")),
            Fault::Redirect(format!(
                "https://x:{}@127.0.0.1:1/{}?private_token={}",
                stage.token, stage.token, stage.token
            )),
        ] {
            stage.world.gitlab().clear_faults();
            stage.world.gitlab().fault("* /api/*", fault.clone(), ALWAYS);
            let all = stage.run(BRIEF, &admin, &[]).with_context(|| format!("{fault:?}"))?;
            let rotations = ["rotate-token agent", "rotate-token source", "rotate-token notification"]
                .map(|w| (w, &[4, 5][..]));
            let others: [(&str, &[i32]); 6] = [
                ("rotate-token --list", &[0, 3]),
                ("status", &[0, 1, 3]),
                ("verify", &[0, 1, 3]),
                ("snapshot", &[0]),
                ("version", &[0, 3]),
                ("reconcile-now", &[0]),
            ];
            ended(&all, &[&rotations[..], &others].concat())?;
        }
        Ok(())
    })
}

/// A crash of the program that holds tokens writes its memory to no file.
#[test]
#[cfg(target_os = "linux")]
fn no_core_file_can_be_written() -> Result<()> {
    with(|stage| {
        stage.world.gitlab().fault("GET /api/v4/personal_access_tokens/self", Fault::Stall, ALWAYS);
        let inner = stage.command("rotate-token agent --yes", "json", &stage.world.kubeconfig());
        // As much as may be had, so that it is the program that takes it away.
        let mut shell = Command::new("bash");
        shell
            .args(["-c", "ulimit -S -c hard; exec \"$@\"", "bash"])
            .arg(inner.get_program())
            .args(inner.get_args());
        for (name, value) in inner.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        let mut child = shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let limits = format!("/proc/{}/limits", child.id());
        let bounded = stage.world.wait_until("the limit", Duration::from_secs(60), || {
            let limits = std::fs::read_to_string(&limits)?;
            let core =
                limits.lines().find(|line| line.starts_with("Max core file size")).context("no line")?;
            Ok(yes(core.split_whitespace().skip(4).take(2).all(|word| word == "0")))
        });
        child.kill()?;
        child.wait()?;
        bounded
    })
}
