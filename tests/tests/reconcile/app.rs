//! What the tests of `reconcile-now` share: its runs, and an app of their own that they may break.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use gitlab_agent_tests::programs::{Ran, command, run};
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::git::{Files, Repository};
use serde_json::{Value, json};

pub(crate) const SOON: Duration = Duration::from_secs(90);

pub(crate) fn prepared(kubeconfig: &Path, args: &[&str]) -> Command {
    let mut command = command("reconcile_now");
    command.args(["-o", "json", "--timeout", "4m"]).args(args).env("KUBECONFIG", kubeconfig);
    command
}

/// `reconcile-now -o json` to its end.
pub(crate) fn reconcile(world: &World, args: &[&str]) -> Ran {
    run(&mut prepared(&world.kubeconfig(), args))
}

/// The events of a run.
pub(crate) fn events(ran: &Ran) -> Vec<Value> {
    ran.out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// `kind/name state` of each hop, from the summary.
pub(crate) fn ends(ran: &Ran) -> Result<Vec<String>> {
    let events = events(ran);
    let last =
        events.last().filter(|e| e["event"] == "summary").with_context(|| format!("no summary: {ran:?}"))?;
    ensure!(last["exitCode"] == ran.code, "{ran:?}");
    let text = |v: &Value| v.as_str().unwrap_or("?").to_owned();
    let end = |h: &Value| {
        format!("{}/{} {}", text(&h["object"]["kind"]), text(&h["object"]["name"]), text(&h["state"]))
    };
    Ok(last["hops"].as_array().into_iter().flatten().map(end).collect())
}

/// A run that is watched while it goes on.
pub(crate) struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
    seen: String,
}

impl Running {
    pub(crate) fn start(world: &World, args: &[&str]) -> Result<Self> {
        let mut child =
            prepared(&world.kubeconfig(), args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no way to read")?);
        Ok(Self { child, lines, seen: String::new() })
    }

    /// Reads until an event of this name comes for this kind.
    pub(crate) fn until(&mut self, event: &str, kind: &str) -> Result<()> {
        loop {
            let from = self.seen.len();
            ensure!(
                self.lines.read_line(&mut self.seen)? > 0,
                "it ended before {event} {kind}: {}",
                self.seen
            );
            let Ok(line) = serde_json::from_str::<Value>(&self.seen[from..]) else { continue };
            if line["event"] == event && line["object"]["kind"] == kind {
                return Ok(());
            }
        }
    }

    pub(crate) fn interrupt(&self) -> Result<()> {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status()?;
        ensure!(status.success(), "kill");
        Ok(())
    }

    pub(crate) fn end(mut self) -> Result<Ran> {
        self.lines.read_to_string(&mut self.seen)?;
        let output = self.child.wait_with_output()?;
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(Ran { code: output.status.code().unwrap_or(-1), out: self.seen, err })
    }
}

/// A project of its own with a credential, a source and a Kustomization, all of the same name in flux-system.
pub(crate) struct App<'w> {
    pub(crate) world: &'w World,
    pub(crate) name: String,
    pub(crate) token: String,
    pub(crate) git: std::sync::Arc<Repository>,
}

pub(crate) fn config_map(name: &str, text: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: {name}, namespace: default }}\ndata: {{ said: {text} }}\n"
    )
}

pub(crate) fn kustomization(name: &str, source: &str, more: &str) -> String {
    format!(
        "---\napiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\n\
         metadata: {{ name: {name}, namespace: flux-system, labels: {{ app: {source} }} }}\n\
         spec:\n  interval: 1h\n  prune: true\n  path: ./deploy\n  sourceRef: {{ kind: GitRepository, name: {source} }}\n{more}"
    )
}

impl<'w> App<'w> {
    pub(crate) fn new(world: &'w World, name: &str) -> Result<Self> {
        Self::with(world, name, "")
    }

    pub(crate) fn with(world: &'w World, name: &str, more: &str) -> Result<Self> {
        let git = world.new_project(&format!("shop/{name}"))?;
        git.commit_silently(|files| files.write("deploy/said.yaml", &config_map(name, "first")), "First")?;
        let token = world.gitlab().new_access_token(&["read_repository"])?;
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "flux-system", "labels": {"app": name}},
            "stringData": {"username": "git", "password": token, "ca.crt": world.gitlab().ca_pem()}});
        let source = format!(
            "---\napiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\n\
             metadata: {{ name: {name}, namespace: flux-system, labels: {{ app: {name} }} }}\n\
             spec: {{ interval: 1h, url: '{}', ref: {{ branch: main }}, secretRef: {{ name: {name} }} }}\n",
            world.gitlab().project_url(&format!("shop/{name}"))
        );
        world.apply(&secret.to_string())?;
        world.apply(&source)?;
        world.apply(&kustomization(name, name, more))?;
        let app = Self { world, name: name.to_owned(), token, git };
        app.is_ready("kustomization", name)?;
        Ok(app)
    }

    pub(crate) fn is_ready(&self, kind: &str, name: &str) -> Result<()> {
        let wait = format!("{kind}/{name}");
        self.world
            .kubectl(&["wait", "-n", "flux-system", "--for=condition=Ready", "--timeout=90s", &wait])
            .map(drop)
    }

    pub(crate) fn commit(&self, change: impl FnOnce(&Files<'_>) -> Result<()>) -> Result<String> {
        self.git.commit_silently(change, "Change")
    }

    pub(crate) fn patch(&self, kind: &str, patch: &str) -> Result<()> {
        let args = ["patch", "-n", "flux-system", kind, &self.name, "--type=merge", "-p", patch];
        self.world.kubectl(&args).map(drop)
    }

    pub(crate) fn object(&self, kind: &str) -> Result<Value> {
        let text = self.world.kubectl(&[
            "get",
            "-n",
            "flux-system",
            kind,
            &self.name,
            "-o",
            "json",
            "--show-managed-fields",
        ])?;
        Ok(serde_json::from_str(&text)?)
    }

    pub(crate) fn jsonpath(&self, kind: &str, name: &str, path: &str) -> Result<String> {
        self.world.kubectl(&["get", "-n", "flux-system", kind, name, "-o", &format!("jsonpath={path}")])
    }

    pub(crate) fn source(&self) -> String {
        format!("gitrepository/{}", self.name)
    }

    pub(crate) fn ks(&self) -> String {
        format!("kustomization/{}", self.name)
    }
}

impl Drop for App<'_> {
    /// What it made goes with it, also what Flux applied.
    fn drop(&mut self) {
        let labels = format!("app={}", self.name);
        for kinds in ["kustomization", "receiver,gitrepository,secret"] {
            let _ =
                self.world.kubectl(&["delete", "-n", "flux-system", "-l", &labels, "--timeout=60s", kinds]);
        }
    }
}

pub(crate) fn request_of(object: &Value) -> &Value {
    &object["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"]
}

/// Takes a controller away: its process, and its pods. Brings both back when dropped.
pub(crate) struct Stopped<'w> {
    world: &'w World,
    name: &'static str,
    scaled: bool,
}

impl<'w> Stopped<'w> {
    /// Only the process: the pods look fine, as with one that hangs.
    pub(crate) fn silent(world: &'w World, name: &'static str) -> Result<Self> {
        world.stop(name)?;
        Ok(Self { world, name, scaled: false })
    }

    pub(crate) fn gone(world: &'w World, name: &'static str) -> Result<Self> {
        let mut stopped = Self::silent(world, name)?;
        stopped.scaled = true;
        world.kubectl(&["scale", "-n", "flux-system", &format!("deployment/{name}"), "--replicas=0"])?;
        let pods = ["get", "deployment", "-n", "flux-system", name, "-o", "jsonpath={.status.readyReplicas}"];
        world.wait_kubectl(&pods, "", SOON)?;
        Ok(stopped)
    }

    pub(crate) fn back(&self) -> Result<()> {
        self.world.start_component(self.name)?;
        if self.scaled {
            let deployment = format!("deployment/{}", self.name);
            self.world.kubectl(&["scale", "-n", "flux-system", &deployment, "--replicas=1"])?;
            self.world.kubectl(&["rollout", "status", "-n", "flux-system", &deployment, "--timeout=90s"])?;
        }
        Ok(())
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        let _ = self.back();
    }
}
