//! `reconcile-now` in the test world: every way in which a chain moves or stands, with the words and the exit code that
//! a person gets. A run that waits past what is known would meet its own deadline, which none of these expects.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use gitlab_agent_tests::programs::{Ran, command, run};
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::git::{Files, Repository};
use gitlab_agent_tests::world::gitlab::AGENT_PROJECT;
use gitlab_agent_tests::world::wait::{wait_until, yes};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(90);

fn prepared(kubeconfig: &Path, args: &[&str]) -> Command {
    let mut command = command("reconcile_now");
    command.args(["-o", "json", "--timeout", "4m"]).args(args).env("KUBECONFIG", kubeconfig);
    command
}

/// `reconcile-now -o json` to its end.
fn reconcile(world: &World, args: &[&str]) -> Ran {
    run(&mut prepared(&world.kubeconfig(), args))
}

/// The events of a run.
fn events(ran: &Ran) -> Vec<Value> {
    ran.out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// `kind/name state` of each hop, from the summary.
fn ends(ran: &Ran) -> Result<Vec<String>> {
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
struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
    seen: String,
}

impl Running {
    fn start(world: &World, args: &[&str]) -> Result<Self> {
        let mut child =
            prepared(&world.kubeconfig(), args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no way to read")?);
        Ok(Self { child, lines, seen: String::new() })
    }

    /// Reads until an event of this name comes for this kind.
    fn until(&mut self, event: &str, kind: &str) -> Result<()> {
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

    fn interrupt(&self) -> Result<()> {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status()?;
        ensure!(status.success(), "kill");
        Ok(())
    }

    fn end(mut self) -> Result<Ran> {
        self.lines.read_to_string(&mut self.seen)?;
        let output = self.child.wait_with_output()?;
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(Ran { code: output.status.code().unwrap_or(-1), out: self.seen, err })
    }
}

/// A project of its own with a credential, a source and a Kustomization, all of the same name in flux-system.
struct App<'w> {
    world: &'w World,
    name: String,
    token: String,
    git: std::sync::Arc<Repository>,
}

fn config_map(name: &str, text: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: {name}, namespace: default }}\ndata: {{ said: {text} }}\n"
    )
}

fn kustomization(name: &str, source: &str, more: &str) -> String {
    format!(
        "---\napiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\n\
         metadata: {{ name: {name}, namespace: flux-system, labels: {{ app: {source} }} }}\n\
         spec:\n  interval: 1h\n  prune: true\n  path: ./deploy\n  sourceRef: {{ kind: GitRepository, name: {source} }}\n{more}"
    )
}

impl<'w> App<'w> {
    fn new(world: &'w World, name: &str) -> Result<Self> {
        Self::with(world, name, "")
    }

    fn with(world: &'w World, name: &str, more: &str) -> Result<Self> {
        let git = world.new_project(&format!("shop/{name}"))?;
        git.commit_silently(|files| files.write("deploy/said.yaml", &config_map(name, "first")), "First")?;
        let token = world.gitlab().new_access_token(&["read_repository"])?;
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "flux-system"},
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

    fn is_ready(&self, kind: &str, name: &str) -> Result<()> {
        let wait = format!("{kind}/{name}");
        self.world
            .kubectl(&["wait", "-n", "flux-system", "--for=condition=Ready", "--timeout=90s", &wait])
            .map(drop)
    }

    fn commit(&self, change: impl FnOnce(&Files<'_>) -> Result<()>) -> Result<String> {
        self.git.commit_silently(change, "Change")
    }

    fn patch(&self, kind: &str, patch: &str) -> Result<()> {
        let args = ["patch", "-n", "flux-system", kind, &self.name, "--type=merge", "-p", patch];
        self.world.kubectl(&args).map(drop)
    }

    fn object(&self, kind: &str) -> Result<Value> {
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

    fn source(&self) -> String {
        format!("gitrepository/{}", self.name)
    }

    fn ks(&self) -> String {
        format!("kustomization/{}", self.name)
    }
}

fn request_of(object: &Value) -> &Value {
    &object["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"]
}

/// Takes a controller away: its process, and its pods. Brings both back when dropped.
struct Stopped<'w> {
    world: &'w World,
    name: &'static str,
    scaled: bool,
}

impl<'w> Stopped<'w> {
    /// Only the process: the pods look fine, as with one that hangs.
    fn silent(world: &'w World, name: &'static str) -> Result<Self> {
        world.stop(name)?;
        Ok(Self { world, name, scaled: false })
    }

    fn gone(world: &'w World, name: &'static str) -> Result<Self> {
        let mut stopped = Self::silent(world, name)?;
        stopped.scaled = true;
        world.kubectl(&["scale", "-n", "flux-system", &format!("deployment/{name}"), "--replicas=0"])?;
        let pods = ["get", "deployment", "-n", "flux-system", name, "-o", "jsonpath={.status.readyReplicas}"];
        world.wait_kubectl(&pods, "", SOON)?;
        Ok(stopped)
    }

    fn back(&self) -> Result<()> {
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

#[test]
fn a_commit_is_pushed_through_to_what_runs() -> Result<()> {
    World::with(|world| {
        let app = App::new(world, "healthy")?;
        let sha = app.commit(|files| files.write("deploy/said.yaml", &config_map("healthy", "second")))?;
        let ran = reconcile(world, &[&app.ks(), "--at", &sha[..9], "--reason", "try it"]);
        assert_eq!(ends(&ran)?, ["GitRepository/healthy done", "Kustomization/healthy done"]);
        assert_eq!(ran.code, 0);
        let applied = app.object("kustomization")?;
        assert_eq!(applied["status"]["lastAppliedRevision"], format!("main@sha1:{sha}"));
        assert_eq!(
            applied["status"]["lastHandledReconcileAt"],
            *request_of(&applied),
            "our own request was answered"
        );
        let managers = applied["metadata"]["managedFields"].to_string();
        ensure!(managers.contains(r#""manager":"gitlab-agent-cli""#), "{managers}");
        let said = world.kubectl(&["get", "configmap", "healthy", "-o", "jsonpath={.data.said}"])?;
        assert_eq!(said, "second");
        let events =
            world.kubectl(&["get", "events", "-n", "flux-system", "-o", "jsonpath={.items[*].message}"])?;
        ensure!(events.contains("reconcile-now: try it"), "{events}");
        // A commit that is not there, and one by the project's name.
        let ran = reconcile(world, &["shop/healthy", "--at", "0123456789"]);
        assert_eq!((ran.code, ends(&ran)?[0].as_str()), (1, "GitRepository/healthy failed"));
        ensure!(ran.out.contains("0123456789 cannot run: branch main is at"), "{ran:?}");
        Ok(())
    })
}

#[test]
fn without_an_argument_what_carries_agentk_moves() -> Result<()> {
    World::with(|world| {
        let ran = reconcile(world, &[]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let all = ends(&ran)?;
        ensure!(all.last().is_some_and(|e| e == "HelmRelease/gitlab-agent done"), "{all:?}");
        ensure!(all.contains(&"Kustomization/flux-system done".to_owned()), "{all:?}");
        let forced = reconcile(world, &["helmrelease/gitlab-agent", "--force", "--reset"]);
        assert_eq!(forced.code, 0, "{forced:?}");
        let handled = ["get", "helmrelease", "-n", "gitlab", "gitlab-agent", "-o"];
        let each = "jsonpath={.status.lastHandledReconcileAt} {.status.lastHandledForceAt} {.status.lastHandledResetAt}";
        let tokens = world.kubectl(&[&handled[..], &[each]].concat())?;
        let tokens: Vec<&str> = tokens.split(' ').collect();
        ensure!(tokens.len() == 3 && tokens.iter().all(|t| *t == tokens[0] && !t.is_empty()), "{tokens:?}");
        Ok(())
    })
}

#[test]
fn a_source_that_cannot_be_fetched_ends_the_wait_at_once() -> Result<()> {
    World::with(|world| {
        let app = App::new(world, "unfetched")?;
        world.gitlab().revoke(&app.token)?;
        let ran = reconcile(world, &[&app.ks()]);
        assert_eq!(ends(&ran)?, ["GitRepository/unfetched failed", "Kustomization/unfetched not-asked"]);
        ensure!(ran.code == 1 && ran.out.contains("refused its credential"), "{ran:?}");
        world.gitlab().restore(&app.token)?;
        app.patch("gitrepository", r#"{"spec":{"ref":{"branch":"nope"}}}"#)?;
        let ran = reconcile(world, &["shop/unfetched"]);
        ensure!(ran.code == 1 && ran.out.contains("the branch, tag or commit does not exist"), "{ran:?}");
        app.patch("gitrepository", r#"{"spec":{"ref":{"branch":"main"}}}"#)?;
        assert_eq!(reconcile(world, &["shop/unfetched"]).code, 0);
        Ok(())
    })
}

#[test]
fn a_build_that_fails_and_what_depends_on_it() -> Result<()> {
    World::with(|world| {
        let app = App::new(world, "unbuilt")?;
        world.apply(&kustomization("unbuilt-next", "unbuilt", "  dependsOn: [{ name: unbuilt }]\n"))?;
        world.apply(&kustomization("unbuilt-lost", "unbuilt", "  dependsOn: [{ name: nobody }]\n"))?;
        app.is_ready("kustomization", "unbuilt-next")?;
        let broken =
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [gone.yaml]\n";
        app.commit(|files| files.write("deploy/kustomization.yaml", broken))?;
        let ran = reconcile(world, &["kustomization/unbuilt-next"]);
        let failed = ends(&ran)?;
        ensure!(failed.contains(&"Kustomization/unbuilt failed".to_owned()), "{failed:?}");
        ensure!(failed.contains(&"Kustomization/unbuilt-next not-asked".to_owned()), "{failed:?}");
        ensure!(ran.code == 1 && ran.out.contains("BuildFailed") && ran.out.contains("gone.yaml"), "{ran:?}");
        // It depends on what does not exist: no wait for that.
        app.commit(|files| files.remove("deploy/kustomization.yaml"))?;
        let ran = reconcile(world, &["kustomization/unbuilt-lost"]);
        ensure!(ends(&ran)?.contains(&"Kustomization/unbuilt-lost waiting".to_owned()), "{ran:?}");
        ensure!(ran.code == 1 && ran.out.contains("Kustomization flux-system/nobody"), "{ran:?}");
        Ok(())
    })
}

#[test]
fn what_does_not_get_healthy_is_said_when_flux_says_it() -> Result<()> {
    World::with(|world| {
        let app = App::with(world, "unwell", "  wait: true\n  timeout: 5s\n")?;
        let sick = "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: unwell, namespace: default }\nspec:\n  \
            selector: { matchLabels: { app: unwell } }\n  template:\n    metadata:\n      labels: { app: unwell }\n      \
            annotations: { world.test/fate: image-pull }\n    spec: { containers: [{ name: c, image: nginx }] }\n";
        app.commit(|files| files.write("deploy/sick.yaml", sick))?;
        let ran = reconcile(world, &[&app.ks()]);
        assert_eq!(ends(&ran)?, ["GitRepository/unwell done", "Kustomization/unwell failed"]);
        ensure!(ran.code == 1 && ran.out.contains("HealthCheckFailed"), "{ran:?}");
        ensure!(ran.out.contains("Running health checks"), "the phase is shown: {ran:?}");
        Ok(())
    })
}

#[test]
fn a_release_that_is_out_of_retries() -> Result<()> {
    World::with(|world| {
        let release = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\n\
            metadata: { name: retired, namespace: gitlab }\nspec:\n  interval: 1h\n  targetNamespace: nowhere\n  \
            chart: { spec: { chart: gitlab-agent, version: '~2.29.0', sourceRef: { kind: HelmRepository, name: gitlab-agent } } }\n  \
            values: { config: { kasAddress: 'wss://kas.example.com', secretName: none } }\n";
        world.apply(release)?;
        let stalled = ["get", "helmrelease", "-n", "gitlab", "retired", "-o"];
        let reason =
            [&stalled[..], &[r#"jsonpath={.status.conditions[?(@.type=="Stalled")].reason}"#]].concat();
        world.wait_kubectl(&reason, "RetriesExceeded", SOON)?;
        let ran = reconcile(world, &["hr/retired", "-n", "gitlab"]);
        let cleaned = world.kubectl(&["delete", "helmrelease", "-n", "gitlab", "retired"]);
        ensure!(ends(&ran)?.last().is_some_and(|e| e == "HelmRelease/retired failed"), "{ran:?}");
        ensure!(
            ran.code == 1 && ran.out.contains("RetriesExceeded") && ran.out.contains("--reset"),
            "{ran:?}"
        );
        cleaned.map(drop)
    })
}

#[test]
fn what_is_suspended_is_refused_before_anything_is_changed() -> Result<()> {
    World::with(|world| {
        let app = App::new(world, "asleep")?;
        for kind in ["gitrepository", "kustomization"] {
            app.patch(kind, r#"{"spec":{"suspend":true}}"#)?;
            let before = app.object("gitrepository")?;
            let ran = reconcile(world, &["shop/asleep"]);
            ensure!(ran.code == 5 && ran.err.contains("flux-system/asleep is suspended"), "{ran:?}");
            assert_eq!(request_of(&app.object("gitrepository")?), request_of(&before), "nothing was asked");
            let ran = reconcile(world, &["shop/asleep", "--resume"]);
            ensure!(ran.code == 0 && ran.out.contains(r#""resumed":true"#), "{ran:?}");
            let spec = &app.object(kind)?["spec"]["suspend"];
            ensure!(spec.is_null() || *spec == false, "{spec}");
        }
        for kind in ["helmrepository", "helmchart", "helmrelease"] {
            let name = if kind == "helmchart" { "gitlab-gitlab-agent" } else { "gitlab-agent" };
            let suspend = |to: &str| {
                world.kubectl(&[
                    "patch",
                    "-n",
                    "gitlab",
                    kind,
                    name,
                    "--type=merge",
                    "-p",
                    &format!(r#"{{"spec":{{"suspend":{to}}}}}"#),
                ])
            };
            suspend("true")?;
            let ran = reconcile(world, &["hr/gitlab-agent"]);
            suspend("false")?;
            ensure!(
                ran.code == 5 && ran.err.contains(&format!("gitlab/{name} is suspended")),
                "{kind} {ran:?}"
            );
        }
        // Suspended by somebody while we wait.
        let stopped = Stopped::silent(world, "kustomize-controller")?;
        let mut running = Running::start(world, &["shop/asleep"])?;
        running.until("asked", "Kustomization")?;
        app.patch("kustomization", r#"{"spec":{"suspend":true}}"#)?;
        let ran = running.end()?;
        drop(stopped);
        assert_eq!((ran.code, ends(&ran)?[1].as_str()), (1, "Kustomization/asleep suspended"));
        Ok(())
    })
}

#[test]
fn an_object_that_is_deleted_while_we_wait() -> Result<()> {
    World::with(|world| {
        let app = App::new(world, "fleeting")?;
        let stopped = Stopped::silent(world, "kustomize-controller")?;
        let mut running = Running::start(world, &["shop/fleeting"])?;
        running.until("asked", "Kustomization")?;
        world.kubectl(&["delete", "--wait=false", "-n", "flux-system", &app.ks()])?;
        let ran = running.end()?;
        drop(stopped);
        assert_eq!(ends(&ran)?, ["GitRepository/fleeting done", "Kustomization/fleeting deleted"]);
        ensure!(ran.code == 1 && ran.out.contains("deleted by somebody"), "{ran:?}");
        Ok(())
    })
}

#[test]
fn a_controller_that_does_not_run_is_named() -> Result<()> {
    World::with(|world| {
        let app = App::new(world, "unheard")?;
        let stopped = Stopped::gone(world, "kustomize-controller")?;
        let ran = reconcile(world, &["shop/unheard"]);
        drop(stopped);
        assert_eq!(ends(&ran)?, ["GitRepository/unheard done", "Kustomization/unheard unanswered"]);
        let words = "nobody answers: 0 of 0 pods of Deployment flux-system/kustomize-controller are ready";
        ensure!(ran.code == 1 && ran.out.contains(words), "{ran:?}");
        // Silent, with pods that look fine: only time tells.
        let stopped = Stopped::silent(world, "kustomize-controller")?;
        let ran = run(prepared(&world.kubeconfig(), &["shop/unheard"]).args(["--wait-timeout", "5s"]));
        drop(stopped);
        assert_eq!((ran.code, ends(&ran)?[1].as_str()), (124, "Kustomization/unheard timed-out"));
        drop(app);
        Ok(())
    })
}

#[test]
fn the_api_server_may_restart_while_we_wait() -> Result<()> {
    World::with(|world| {
        let app = App::new(world, "restarted")?;
        let stopped = Stopped::silent(world, "kustomize-controller")?;
        let mut running = Running::start(world, &[&app.ks()])?;
        running.until("asked", "Kustomization")?;
        world.stop("kube-apiserver")?;
        running.until("note", "Kustomization")?;
        world.start_component("kube-apiserver")?;
        drop(stopped);
        let ran = running.end()?;
        assert_eq!(ran.code, 0, "{ran:?}");
        ensure!(ran.out.contains("the API server did not answer"), "{ran:?}");
        // Not the whole world: other tests leave broken what they broke.
        world.wait_ready()?;
        app.is_ready("kustomization", "restarted")
    })
}

#[test]
fn somebody_elses_request_neither_satisfies_nor_breaks_ours() -> Result<()> {
    World::with(|world| {
        let app = App::new(world, "shared")?;
        let stopped = Stopped::silent(world, "kustomize-controller")?;
        let mut running = Running::start(world, &[&app.ks()])?;
        running.until("asked", "Kustomization")?;
        let theirs = "reconcile.fluxcd.io/requestedAt=theirs";
        world.kubectl(&["annotate", "--overwrite", "-n", "flux-system", &app.ks(), theirs])?;
        drop(stopped);
        let ran = running.end()?;
        assert_eq!(ran.code, 0, "{ran:?}");
        let again = events(&ran).iter().any(|e| e["event"] == "asked" && e["again"] == true);
        ensure!(again, "ours was asked again: {ran:?}");
        let object = app.object("kustomization")?;
        assert_eq!(object["status"]["lastHandledReconcileAt"], *request_of(&object));
        assert_ne!(*request_of(&object), "theirs");
        // Two of us at once.
        let both = [Running::start(world, &[&app.ks()])?, Running::start(world, &[&app.ks()])?];
        for one in both {
            let ran = one.end()?;
            assert_eq!(ran.code, 0, "{ran:?}");
        }
        Ok(())
    })
}

#[test]
fn two_hundred_kustomizations_of_one_source() -> Result<()> {
    World::with(|world| {
        let app = App::new(world, "many")?;
        let mut all = String::new();
        for i in 1..200 {
            all.push_str(&kustomization(&format!("many-{i}"), "many", ""));
        }
        world.apply(&all)?;
        let ran = reconcile(world, &["shop/many"]);
        let found = ends(&ran)?;
        let labels = ["delete", "kustomization", "-n", "flux-system", "-l", "app=many", "--wait=false"];
        world.kubectl(&labels)?;
        assert_eq!((ran.code, found.len()), (0, 201), "{}", ran.err);
        ensure!(found.iter().all(|e| e.ends_with(" done")), "{found:?}");
        let gone = ["get", "kustomization", "-n", "flux-system", "-l", "app=many", "-o", "name"];
        world.wait_kubectl(&gone, "", SOON)?;
        drop(app);
        Ok(())
    })
}

fn sources_only(world: &World) -> Result<PathBuf> {
    let rbac = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: sources-only }
rules:
- { apiGroups: [source.toolkit.fluxcd.io], resources: ['*'], verbs: [get, list, watch, patch] }
- { apiGroups: [kustomize.toolkit.fluxcd.io, helm.toolkit.fluxcd.io], resources: ['*'], verbs: [get, list, watch] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: sources-only }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: sources-only }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: User, name: fetcher }]
";
    world.user_kubeconfig("fetcher", rbac)
}

#[test]
fn who_may_only_patch_sources_is_told_so_before_anything_is_changed() -> Result<()> {
    World::with(|world| {
        let app = App::new(world, "denied")?;
        let kubeconfig = sources_only(world)?;
        let before = app.object("gitrepository")?;
        let ran = run(&mut prepared(&kubeconfig, &["shop/denied"]));
        ensure!(
            ran.code == 3 && ran.err.contains("patch kustomizations.kustomize.toolkit.fluxcd.io"),
            "{ran:?}"
        );
        assert_eq!(request_of(&app.object("gitrepository")?), request_of(&before), "nothing was asked");
        let ran =
            run(&mut prepared(&kubeconfig, &[&app.source(), "--only", "--reason", "no right to events"]));
        assert_eq!((ran.code, ends(&ran)?), (0, vec!["GitRepository/denied done".to_owned()]));
        ensure!(ran.out.contains("no Event was left"), "{ran:?}");
        Ok(())
    })
}

#[test]
fn ctrl_c_leaves_nothing_but_annotations() -> Result<()> {
    World::with(|world| {
        let app = App::new(world, "left")?;
        let plain = |mut object: Value| {
            for field in ["annotations", "managedFields", "resourceVersion"] {
                object["metadata"][field] = Value::Null;
            }
            object["status"]["lastHandledReconcileAt"] = Value::Null;
            object
        };
        let before = (plain(app.object("gitrepository")?), plain(app.object("kustomization")?));
        let stopped = Stopped::silent(world, "kustomize-controller")?;
        let mut running = Running::start(world, &["shop/left"])?;
        running.until("asked", "Kustomization")?;
        running.interrupt()?;
        let ran = running.end()?;
        let after = (plain(app.object("gitrepository")?), plain(app.object("kustomization")?));
        drop(stopped);
        ensure!(ran.code == 130 && ran.err.contains("2 of 2 hops asked"), "{ran:?}");
        assert_eq!(before, after);
        Ok(())
    })
}

/// A Receiver of its own type for a source, with a token that must never be shown.
fn receiver(world: &World, app: &App<'_>, kind: &str) -> Result<String> {
    let name = format!("{}-{kind}", app.name);
    let token = format!("hidden-{name}");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "flux-system"},
        "stringData": {"token": token}});
    let receiver = json!({"apiVersion": "notification.toolkit.fluxcd.io/v1", "kind": "Receiver",
        "metadata": {"name": name, "namespace": "flux-system"},
        "spec": {"type": kind, "events": ["Push Hook"], "secretRef": {"name": name},
            "resources": [{"kind": "GitRepository", "name": app.name}]}});
    world.apply(&secret.to_string())?;
    world.apply(&receiver.to_string())?;
    app.is_ready("receiver", &name)?;
    Ok(name)
}

#[test]
fn the_way_of_a_push_event_is_proved() -> Result<()> {
    World::with(|world| {
        let base = world.webhook_url();
        let args = [AGENT_PROJECT, "--through-webhook", "--webhook-url", &base];
        let ran = reconcile(world, &args);
        ensure!(ran.code == 0 && ran.out.contains("took the push event: 200"), "{ran:?}");
        ensure!(
            ran.out.contains("notification-controller annotated GitRepository flux-system/flux-system"),
            "{ran:?}"
        );

        let app = App::new(world, "hooked")?;
        let made =
            ["get", "receiver", "-n", "flux-system", "gitlab-hooked", "-o", "jsonpath={.metadata.name}"];
        world.wait_kubectl(&made, "gitlab-hooked", SOON)?;
        app.is_ready("receiver", "gitlab-hooked")?;
        world.kubectl(&["delete", "receiver", "-n", "flux-system", "gitlab-hooked"])?;
        let hook = |more: &[&str]| {
            reconcile(
                world,
                &[&["shop/hooked", "--through-webhook", "-v", "--webhook-url", &base], more].concat(),
            )
        };
        let ran = hook(&[]);
        ensure!(ran.code == 1 && ran.out.contains("no Receiver triggers it"), "{ran:?}");
        for kind in ["generic", "gitlab", "generic-hmac"] {
            let name = receiver(world, &app, kind)?;
            let ran = hook(&[]);
            ensure!(
                ran.code == 0 && ran.out.contains(&format!("({kind}) took the push event")),
                "{kind} {ran:?}"
            );
            let shown = format!("{}{}", ran.out, ran.err);
            let path = world.kubectl(&[
                "get",
                "receiver",
                "-n",
                "flux-system",
                &name,
                "-o",
                "jsonpath={.status.webhookPath}",
            ])?;
            ensure!(!shown.contains("hidden-") && path.len() > 20 && !shown.contains(&path), "{shown}");
            if kind != "generic-hmac" {
                world.kubectl(&["delete", "receiver", "-n", "flux-system", &name])?;
            }
        }
        let ran = reconcile(
            world,
            &["shop/hooked", "--through-webhook", "--webhook-url", &format!("{base}/elsewhere")],
        );
        ensure!(ran.code == 1 && ran.out.contains("does not know the path"), "{ran:?}");
        let ran =
            reconcile(world, &["shop/hooked", "--through-webhook", "--webhook-url", "http://127.0.0.1:9"]);
        ensure!(ran.code == 1 && ran.out.contains("nobody answers at http://127.0.0.1:9"), "{ran:?}");
        broken_receivers(world, &app, &hook)
    })
}

/// A webhook that takes one request and answers it so.
fn answering(status: &'static str) -> Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let url = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut asked = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        while asked.read_line(&mut line)? > 2 {
            line.clear();
        }
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    });
    Ok(url)
}

#[test]
fn what_the_webhook_refuses_is_told_apart() -> Result<()> {
    World::with(|world| {
        for (status, words) in [
            ("400 Bad Request", "refuses the signature"),
            ("404 Not Found", "does not know the path"),
            ("503 Service Unavailable", "does not take events"),
            ("500 Internal Server Error", "the webhook answered 500"),
            ("200 OK", "did not annotate the source"),
        ] {
            let url = answering(status)?;
            let ran = reconcile(world, &[AGENT_PROJECT, "--through-webhook", "--webhook-url", &url]);
            ensure!(ran.code == 1 && ran.out.contains(words), "{status} {ran:?}");
        }
        Ok(())
    })
}

fn broken_receivers(world: &World, app: &App<'_>, hook: &dyn Fn(&[&str]) -> Ran) -> Result<()> {
    let patch = |kind: &str, patch: &str| {
        let args = ["patch", "-n", "flux-system", kind, "hooked-generic-hmac", "--type=merge", "-p", patch];
        world.kubectl(&args).map(drop)
    };
    patch("receiver", r#"{"spec":{"suspend":true}}"#)?;
    let ran = hook(&[]);
    ensure!(ran.code == 1 && ran.out.contains("is suspended: it takes no events"), "{ran:?}");
    patch("receiver", r#"{"spec":{"suspend":false}}"#)?;
    world.kubectl(&["delete", "secret", "-n", "flux-system", "hooked-generic-hmac"])?;
    let ran = hook(&[]);
    ensure!(ran.code == 1 && ran.out.contains("Secret flux-system/hooked-generic-hmac"), "{ran:?}");
    let ask = "reconcile.fluxcd.io/requestedAt=now";
    world.kubectl(&["annotate", "--overwrite", "-n", "flux-system", "receiver/hooked-generic-hmac", ask])?;
    wait_until("a Receiver that is not ready", SOON, || {
        let ran = hook(&[]);
        Ok(yes(ran.code == 1 && ran.out.contains("Receiver flux-system/hooked-generic-hmac is not ready")))
    })?;
    let _ = receiver(world, app, "generic")?;
    world.kubectl(&["delete", "receiver", "-n", "flux-system", "hooked-generic-hmac"])?;
    // Through the API server, with nobody behind the Service.
    let stopped = Stopped::gone(world, "notification-controller")?;
    wait_until("a Service without endpoints", SOON, || {
        let ran = reconcile(world, &["shop/hooked", "--through-webhook"]);
        Ok(yes(ran.code == 1 && ran.out.contains("has no endpoints")))
    })?;
    drop(stopped);
    Ok(())
}
