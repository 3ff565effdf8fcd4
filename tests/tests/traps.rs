//! A token goes to the GitLab that the person named and nowhere else: not where the cluster's data says that something is
//! (kasAddress, sources, Providers, webhook paths), and not where GitLab says that it moved. A trap listens there.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use gitlab_agent_tests::canary::marker;
use gitlab_agent_tests::programs::{Ran, command, run};
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::gitlab::{ALWAYS, EXAMPLE_PROJECT, Fault, Trap};
use serde_json::{Value, json};

/// Everything that reads, or begins by reading.
const COMMANDS: &[&str] = &[
    "status",
    "verify",
    "snapshot",
    "version",
    "rotate-token --list",
    "rotate-token agent --yes -n traps",
    "rotate-token source gitrepository/trap --yes -n traps",
    "rotate-token source gitrepository/trap --yes --project example/nginx-app -n traps",
    "rotate-token notification trap --yes -n traps",
    "reconcile-now --all --dry-run",
];

struct Stage<'w> {
    world: &'w World,
    trap: Trap,
    dir: tempfile::TempDir,
    ca: PathBuf,
    token: String,
}

impl<'w> Stage<'w> {
    fn new(world: &'w World) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let ca = dir.path().join("gitlab-ca.pem");
        std::fs::write(&ca, world.gitlab().ca_pem())?;
        let trap = world.gitlab().trap(true)?;
        let token = world.gitlab().new_access_token(&["api"])?;
        Ok(Self { world, trap, dir, ca, token })
    }

    fn command(&self, words: &str, kubeconfig: &Path) -> Command {
        // The one command that asks no GitLab, and says so to whoever names one.
        let asks_no_gitlab = words.starts_with("reconcile-now");
        let mut words = words.split(' ');
        let mut command = command(&words.next().unwrap_or_default().replace('-', "_"));
        command.args(words).arg("-v").env("KUBECONFIG", kubeconfig).current_dir(self.dir.path());
        if !asks_no_gitlab {
            // The trap's certificate is of the same authority, so that TLS is no reason that nothing comes.
            command.arg("--gitlab-ca-file").arg(&self.ca);
        }
        command
    }

    /// Runs it; nobody may have come to the trap, with a token or without.
    fn is_not_caught(&self, command: &mut Command) -> Result<Ran> {
        let ran = run(command);
        let caught = self.trap.caught();
        ensure!(caught.is_empty(), "{command:?} went to the trap: {caught:?}");
        Ok(ran)
    }
}

/// Objects that name the trap wherever an object can name a host. Flux itself would go there, so they are suspended, and
/// agentk has no pod.
fn plant(world: &World, trap: &Trap) -> Result<()> {
    let at = trap.address();
    let meta = |name: &str| json!({ "name": name, "namespace": "traps" });
    let source = |kind: &str, url: String| {
        json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": kind, "metadata": meta("trap"),
            "spec": { "interval": "1h", "suspend": true, "url": url, "secretRef": { "name": "trap" } },
        })
    };
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": meta("trap"), "stringData": {
            "username": "x", "password": marker("glpat-", "trapsource"), "token": marker("glpat-", "trapstatus") },
    });
    let agentk = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("agentk"),
        "spec": { "replicas": 0, "selector": { "matchLabels": { "app": "agentk" } }, "template": {
            "metadata": { "labels": { "app": "agentk" } },
            "spec": {
                "volumes": [{ "name": "secret-volume", "secret": { "secretName": "trap" } }],
                "containers": [{ "name": "a", "image": "registry.gitlab.com/gitlab-org/agentk:v19.2.2",
                    "args": ["--token-file=/etc/agentk/secrets/token", format!("--kas-address=wss://{at}")] }],
            } } },
    });
    let provider = json!({
        "apiVersion": "notification.toolkit.fluxcd.io/v1beta3", "kind": "Provider", "metadata": meta("trap"),
        "spec": { "type": "gitlab", "address": format!("https://{at}/a/b"), "secretRef": { "name": "trap" } },
    });
    let items = [
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "traps" } }),
        secret,
        source("GitRepository", format!("https://{at}/a/b.git")),
        source("HelmRepository", format!("https://{at}/charts")),
        source("OCIRepository", format!("oci://{at}/a/b")),
        provider,
        agentk,
    ];
    world.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string())
}

fn with(test: impl FnOnce(&Stage<'_>) -> Result<()>) -> Result<()> {
    World::with(|world| {
        world.gitlab().clear_faults();
        let tested = test(&Stage::new(world)?);
        world.gitlab().clear_faults();
        world.kubectl(&["delete", "namespace", "traps", "--ignore-not-found", "--timeout=120s"])?;
        tested
    })
}

#[test]
fn a_host_that_only_the_cluster_names_gets_nothing() -> Result<()> {
    with(|stage| {
        plant(stage.world, &stage.trap)?;
        let admin = stage.world.kubeconfig();
        // glab knows the trap's host, but not its port.
        let glab = stage.dir.path().join("glab-cli");
        std::fs::create_dir_all(&glab)?;
        let config = glab.join("config.yml");
        std::fs::write(&config, format!("hosts:\n  127.0.0.1:1:\n    token: {}\n", stage.token))?;
        std::fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        for words in COMMANDS {
            // A token, and no host for it: the cluster's data does not fill in.
            for limit in [&[][..], &["--flux-namespace", "traps"]] {
                let mut command = stage.command(words, &admin);
                stage.is_not_caught(command.args(limit).env("GITLAB_TOKEN", &stage.token))?;
            }
            let mut command = stage.command(words, &admin);
            stage.is_not_caught(command.env("GLAB_CONFIG_DIR", &glab))?;
            // Host and token: what is for another host or port is not shown to the one, nor the other way round.
            stage.world.gitlab().clear_requests();
            let mut command = stage.command(words, &admin);
            command.env("GITLAB_TOKEN", &stage.token).env("GITLAB_HOST", stage.world.gitlab().url());
            let ran = stage.is_not_caught(&mut command)?;
            let asked = stage.world.gitlab().requests();
            // Some find out without asking that there is nothing to ask for.
            let looks = !words.starts_with("reconcile") && !words.ends_with("-n traps");
            ensure!(!looks || !asked.is_empty(), "{words} did not ask GitLab: {ran:?}");
            // A token that GitLab does not know would be one of the trap's.
            let foreign: Vec<_> = asked.iter().filter(|r| r.status == 401).collect();
            ensure!(foreign.is_empty(), "{words}: {foreign:?}");
        }
        Ok(())
    })
}

#[test]
fn where_gitlab_says_that_it_moved_gets_nothing() -> Result<()> {
    with(|stage| {
        let to = format!("https://{}/", stage.trap.address());
        stage.world.gitlab().fault("* /api/*", Fault::Redirect(to), ALWAYS);
        let others =
            ["rotate-token agent --yes", "rotate-token source gitrepository/example-nginx-app --yes"];
        for words in COMMANDS.iter().filter(|words| !words.ends_with("-n traps")).chain(&others) {
            stage.world.gitlab().clear_requests();
            let mut command = stage.command(words, &stage.world.kubeconfig());
            command.env("GITLAB_TOKEN", &stage.token).env("GITLAB_HOST", stage.world.gitlab().url());
            let ran = stage.is_not_caught(&mut command)?;
            let asked = !stage.world.gitlab().requests().is_empty();
            ensure!(words.starts_with("reconcile") || asked, "{words} did not ask: {ran:?}");
        }
        Ok(())
    })
}

/// A Receiver's status is data of the cluster too: its webhook path is part of a request.
#[test]
fn a_webhook_path_leads_nowhere_else() -> Result<()> {
    with(|stage| {
        let (world, at) = (stage.world, stage.trap.address());
        let name = EXAMPLE_PROJECT.replace('/', "-");
        let receiver = format!("gitlab-{name}");
        let path = |path: &Value| {
            let patch = json!({ "status": { "webhookPath": path } }).to_string();
            let args =
                ["patch", "receiver", "-n", "flux-system", &receiver, "--subresource=status", "--type=merge"];
            world.kubectl(&[&args[..], &["-p", &patch]].concat()).map(drop)
        };
        let own = ["get", "receiver", "-n", "flux-system", &receiver, "-o", "jsonpath={.status.webhookPath}"];
        let own = world.kubectl(&own)?;
        // It would write the path again.
        world.stop("notification-controller")?;
        let tried = || -> Result<()> {
            for evil in [
                format!("@{at}/hook/0f"),
                format!("https://{at}/hook/0f"),
                format!("//{at}/hook/0f"),
                "/../../../../x".to_owned(),
            ] {
                path(&json!(evil))?;
                for more in [&[][..], &["--webhook-url", "https://127.0.0.1:1"]] {
                    let words =
                        format!("reconcile-now gitrepository/{name} -n flux-system --only --through-webhook");
                    let mut command = stage.command(&words, &world.kubeconfig());
                    let ran = stage.is_not_caught(command.args(more))?;
                    ensure!(ran.code != 0 && ran.out.contains("does not make"), "{evil}: {ran:?}");
                    ensure!(
                        !ran.err.contains("POST /api/v1/namespaces"),
                        "{evil}: nothing was sent: {ran:?}"
                    );
                }
            }
            Ok(())
        };
        let tried = tried();
        path(&json!(own))?;
        world.start_component("notification-controller")?;
        world.wait_healthy()?;
        tried
    })
}
