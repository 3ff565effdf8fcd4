//! The test world itself: it comes up, a push arrives, tokens are checked, and nothing of it stays behind.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use gitlab_agent_tests::world::components::{self, GoMissing};
use gitlab_agent_tests::world::gitlab::ssh::key_pair;
use gitlab_agent_tests::world::gitlab::{
    AGENT_ID, AGENT_PROJECT, EXAMPLE_PROJECT, Role, ShownToken, in_days,
};
use gitlab_agent_tests::world::wait::{wait_until, yes};
use gitlab_agent_tests::world::{COMPLETE, Options, World};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);

fn config_map(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: default\ndata:\n  said: hello\n"
    )
}

fn agentk_logs(world: &World) -> Result<String> {
    world.kubectl(&[
        "logs",
        "-n",
        "gitlab",
        "-l",
        "app.kubernetes.io/name=gitlab-agent",
        "--tail=-1",
        "--prefix",
    ])
}

fn lease_holder(world: &World) -> Result<String> {
    world.kubectl(&["get", "lease", "-n", "gitlab", "agent-7-lock", "-o", "jsonpath={.spec.holderIdentity}"])
}

#[test]
fn the_documented_installation_comes_up() -> Result<()> {
    World::with(|world| {
        let pods = world.kubectl(&[
            "get",
            "pods",
            "-n",
            "example-nginx",
            "-o",
            "jsonpath={.items[*].status.phase}",
        ])?;
        assert_eq!(pods, "Running Running");
        let chart = world.kubectl(&[
            "get",
            "helmrelease",
            "-n",
            "gitlab",
            "gitlab-agent",
            "-o",
            "jsonpath={.status.history[0].chartVersion}",
        ])?;
        assert_eq!(chart, "2.29.1", "the newest patch of the range");
        let receiver = world.kubectl(&[
            "get",
            "receiver",
            "-n",
            "flux-system",
            "gitlab-flux-system",
            "-o",
            r"jsonpath={.spec.type} {.metadata.annotations.agent\.gitlab\.com/project}",
        ])?;
        assert_eq!(receiver, "generic-hmac platform/fleet");
        let logs = agentk_logs(world)?;
        ensure!(logs.contains(r#""msg":"successfully acquired lease gitlab/agent-7-lock""#), "{logs}");
        ensure!(logs.contains(r#""msg":"Starting GitRepository controller""#), "{logs}");
        Ok(())
    })
}

#[test]
fn the_api_server_reaches_pods_as_services_and_policies_have_it() -> Result<()> {
    World::with(|world| {
        let service = |name: &str, path: &str| {
            let base = "/api/v1/namespaces/flux-system/services";
            let answer = world.kubectl(&["get", "--raw", &format!("{base}/http:{name}:80/proxy/{path}")]);
            answer.unwrap_or_else(|refusal| format!("{refusal:#}"))
        };
        let says = |name: &'static str, path: &'static str, words: &str| {
            wait_until(words, SOON, || Ok(yes(service(name, path).contains(words))))
        };
        says("webhook-receiver", "hook/unknown", "NotFound")?;
        // As flux installs it: only pods of its own namespace get at the artifacts.
        let artifact = "gitrepository/flux-system/flux-system/";
        says("source-controller", artifact, ":9090: i/o timeout")?;
        let allow = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
            metadata: { name: allow-artifacts, namespace: flux-system }\nspec:\n  \
            podSelector: { matchLabels: { app: source-controller } }\n  ingress: [{ ports: [{ port: http }] }]\n";
        world.apply(allow)?;
        says("source-controller", artifact, ".tar.gz")?;
        world.kubectl(&["delete", "networkpolicy", "-n", "flux-system", "allow-artifacts"])?;
        says("source-controller", artifact, ":9090: i/o timeout")?;
        world.stop("notification-controller")?;
        says("webhook-receiver", "hook/unknown", "connection refused")?;
        world.start_component("notification-controller")?;
        says("webhook-receiver", "hook/unknown", "NotFound")?;
        let scale = |to: &str| {
            let replicas = format!("--replicas={to}");
            world.kubectl(&["scale", "-n", "flux-system", "deployment/notification-controller", &replicas])
        };
        scale("0")?;
        says("webhook-receiver", "hook/unknown", "no endpoints available")?;
        scale("1")?;
        says("webhook-receiver", "hook/unknown", "NotFound")
    })
}

/// The real source-controller, the real sshd: a deploy key opens its project as long as GitLab has it.
#[test]
fn flux_fetches_over_ssh_with_a_deploy_key() -> Result<()> {
    World::with(|world| {
        let Some(ssh) = world.ssh()? else { return Ok(()) };
        let (identity, public) = key_pair("flux")?;
        let id = world.gitlab().new_deploy_key(EXAMPLE_PROJECT, "flux", &public)?;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "over-ssh", "namespace": "flux-system" },
            "stringData": { "identity": identity, "identity.pub": public, "known_hosts": ssh.known_hosts() },
        });
        world.apply(&secret.to_string())?;
        let source = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
            "metadata": { "name": "over-ssh", "namespace": "flux-system" },
            "spec": {
                "interval": "1h", "url": ssh.url(EXAMPLE_PROJECT), "ref": { "branch": "main" },
                "secretRef": { "name": "over-ssh" },
            },
        });
        world.apply(&source.to_string())?;
        let get = |path: &str| {
            let path = format!("jsonpath={{{path}}}");
            world.kubectl(&["get", "gitrepository", "-n", "flux-system", "over-ssh", "-o", &path])
        };
        let revision = format!("main@sha1:{}", world.git(EXAMPLE_PROJECT)?.head()?);
        world.wait_until("the fetch", SOON, || Ok(yes(get(".status.artifact.revision")? == revision)))?;

        let expire =
            |at: Option<jiff::Timestamp>| world.gitlab().change_deploy_key(id, |key| key.expires = at);
        let ask = |number: &str, words: &str| {
            let now = format!("reconcile.fluxcd.io/requestedAt={number}");
            world.kubectl(&[
                "annotate",
                "--overwrite",
                "-n",
                "flux-system",
                "gitrepository/over-ssh",
                &now,
            ])?;
            world.wait_until(words, SOON, || {
                let ready = get(".status.conditions[?(@.type=='Ready')]")?;
                let handled = get(".status.lastHandledReconcileAt")? == number;
                Ok(yes(handled && ready.contains(words)))
            })
        };
        let refused = "unable to authenticate";
        expire(Some(jiff::Timestamp::UNIX_EPOCH))?;
        ask("1", refused)?;
        expire(None)?;
        ask("2", "stored artifact")?;
        world.gitlab().delete_deploy_key(id)?;
        ask("3", refused)?;
        world.kubectl(&["delete", "-n", "flux-system", "gitrepository/over-ssh", "secret/over-ssh"]).map(drop)
    })
}

#[test]
fn a_push_is_applied_long_before_the_interval() -> Result<()> {
    World::with(|world| {
        let sha = world.git(AGENT_PROJECT)?.push_file("clusters/world/pushed.yaml", &config_map("pushed"))?;
        let args = ["get", "configmap", "pushed", "-o", "jsonpath={.data.said}"];
        world.wait_kubectl(&args, "hello", SOON)?;
        let args = ["get", "kustomization", "-n", "flux-system", "flux-system", "-o"];
        let revision = [&args[..], &["jsonpath={.status.lastAppliedRevision}"]].concat();
        world.wait_kubectl(&revision, &format!("main@sha1:{sha}"), SOON)?;
        let log = fs::read_to_string(world.log_file("notification-controller")?)?;
        ensure!(log.contains("resource 'GitRepository/flux-system.flux-system' annotated"), "{log}");
        Ok(())
    })
}

#[test]
fn a_private_project_of_others_is_fetched_on_request_only() -> Result<()> {
    World::with(|world| {
        let sha = world.git(EXAMPLE_PROJECT)?.push_file("manifests/more.yaml", &config_map("more"))?;
        let handled = ["get", "gitrepository", "-n", "flux-system", "example-nginx-app", "-o"];
        let last = [&handled[..], &["jsonpath={.status.lastHandledReconcileAt}"]].concat();
        assert_eq!(world.kubectl(&last)?, "", "no push event for a private project");
        request(world, "example-nginx-app", "first")?;
        let revision = [&handled[..], &["jsonpath={.status.artifact.revision}"]].concat();
        world.wait_kubectl(&revision, &format!("main@sha1:{sha}"), SOON)
    })
}

fn request(world: &World, source: &str, value: &str) -> Result<()> {
    let annotation = format!("reconcile.fluxcd.io/requestedAt={value}");
    world
        .kubectl(&["annotate", "--overwrite", "gitrepository", "-n", "flux-system", source, &annotation])
        .map(drop)
}

#[test]
fn a_revoked_source_token_is_refused_by_git() -> Result<()> {
    World::with(|world| {
        let message = [
            "get",
            "gitrepository",
            "-n",
            "flux-system",
            "example-nginx-app",
            "-o",
            r#"jsonpath={.status.conditions[?(@.type=="Ready")].message}"#,
        ];
        world.gitlab().revoke(&world.tokens().example)?;
        request(world, "example-nginx-app", "revoked")?;
        wait_until("authentication required", SOON, || {
            Ok(yes(world.kubectl(&message)?.contains("authentication required")))
        })?;
        let refused = world.gitlab().requests().iter().any(|seen| seen.status == 401 && seen.user.is_some());
        ensure!(refused, "GitLab saw and refused it");
        world.gitlab().restore(&world.tokens().example)?;
        request(world, "example-nginx-app", "restored")?;
        world.wait_healthy()
    })
}

#[test]
fn a_revoked_agent_token_shows_in_the_log_and_a_restart_reads_the_new_one() -> Result<()> {
    World::with(|world| {
        world.gitlab().revoke(&world.tokens().agent)?;
        wait_until("Unauthenticated in the log", SOON, || {
            Ok(yes(agentk_logs(world)?.contains("code = Unauthenticated desc = unauthenticated")))
        })?;
        let token = world.gitlab().new_agent_token()?;
        let change = format!(r#"{{"stringData":{{"token":"{token}"}}}}"#);
        world.kubectl(&[
            "patch",
            "secret",
            "-n",
            "gitlab",
            "gitlab-agent-token",
            "--type=merge",
            "-p",
            &change,
        ])?;
        let before = lease_holder(world)?;
        world.kubectl(&["rollout", "restart", "-n", "gitlab", "deployment/gitlab-agent-v2"])?;
        world.kubectl(&[
            "rollout",
            "status",
            "-n",
            "gitlab",
            "deployment/gitlab-agent-v2",
            "--timeout=60s",
        ])?;
        wait_until("a new leader", SOON, || {
            let holder = lease_holder(world)?;
            Ok(yes(!holder.is_empty() && holder != before))
        })?;
        let used = world.gitlab().token(&token).context("the token is there")?.last_used;
        ensure!(used.is_some(), "the new token was used");
        world.gitlab().restore(&world.tokens().agent)?;
        world.wait_healthy()
    })
}

#[test]
fn gitlab_knows_the_pods_of_agentk() -> Result<()> {
    World::with(|world| {
        let gitlab = world.gitlab();
        wait_until("both pods among the connections", SOON, || {
            Ok(yes(gitlab.connections(AGENT_ID).len() == 2))
        })?;
        let connection = gitlab.connections(AGENT_ID).remove(0);
        ensure!(connection.namespace == "gitlab" && connection.version == "v19.2.2", "{connection:?}");
        ensure!(
            gitlab.token(&world.tokens().agent).is_some_and(|token| token.last_used.is_some()),
            "it was used"
        );
        Ok(())
    })
}

#[test]
fn flux_sets_commit_statuses_with_a_token_that_may() -> Result<()> {
    World::with(|world| {
        let gitlab = world.gitlab();
        let token =
            gitlab.new_resource_token(AGENT_PROJECT, "status", &["api"], Role::Developer, in_days(30))?;
        let address = format!("{}/{AGENT_PROJECT}", gitlab.url());
        world.apply(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: status, namespace: flux-system}}\n\
             stringData: {{token: {}}}\n---\n\
             apiVersion: v1\nkind: Secret\nmetadata: {{name: status-ca, namespace: flux-system}}\n\
             stringData: {{ca.crt: {:?}}}\n---\n\
             apiVersion: notification.toolkit.fluxcd.io/v1beta3\nkind: Provider\n\
             metadata: {{name: status, namespace: flux-system}}\n\
             spec: {{type: gitlab, address: '{address}', secretRef: {{name: status}}, certSecretRef: {{name: status-ca}}}}\n---\n\
             apiVersion: notification.toolkit.fluxcd.io/v1beta3\nkind: Alert\n\
             metadata: {{name: status, namespace: flux-system}}\n\
             spec: {{providerRef: {{name: status}}, eventSources: [{{kind: Kustomization, name: flux-system}}]}}\n",
            token.value,
            gitlab.ca_pem()
        ))?;
        let sha = world.git(AGENT_PROJECT)?.push_file("clusters/world/status.yaml", &config_map("status"))?;
        let arrived = wait_until("a status of the commit", SOON, || {
            let statuses = gitlab.commit_statuses();
            Ok(statuses.into_iter().find(|status| status.sha == sha && status.status == "success"))
        });
        world.kubectl(&[
            "-n",
            "flux-system",
            "delete",
            "alert/status",
            "provider/status",
            "secret/status",
            "secret/status-ca",
        ])?;
        let seen =
            gitlab.requests().into_iter().filter(|seen| seen.token == Some(ShownToken::Access(token.id)));
        let status = arrived.with_context(|| format!("{:?}", seen.collect::<Vec<_>>()))?;
        ensure!(status.name.starts_with("kustomization/flux-system"), "{status:?}");
        Ok(())
    })
}

#[test]
fn a_stopped_process_starts_again_where_it_was() -> Result<()> {
    World::with(|world| {
        world.stop("kube-apiserver")?;
        ensure!(world.kubectl(&["get", "nodes"]).is_err(), "nobody answers");
        world.start_component("kube-apiserver")?;
        world.stop("source-controller")?;
        world.start_component("source-controller")?;
        world.wait_healthy()?;
        wait_until("logs after the restart", SOON, || agentk_logs(world).map(|logs| yes(!logs.is_empty())))
    })
}

#[test]
fn a_pod_can_be_given_a_fate() -> Result<()> {
    World::with(|world| {
        for (fate, reason) in [
            ("image-pull", "ImagePullBackOff"),
            ("crash-loop", "CrashLoopBackOff"),
            ("oom", "CrashLoopBackOff"),
            ("missing-secret", "ContainerCreating"),
        ] {
            let annotation = format!("--annotations=world.test/fate={fate}");
            world.kubectl(&["run", fate, "--image=nginx", &annotation])?;
            let waits = "jsonpath={.status.containerStatuses[0].state.waiting.reason}";
            world.wait_kubectl(&["get", "pod", fate, "-o", waits], reason, SOON)?;
            world.kubectl(&["delete", "pod", fate, "--now"])?;
        }
        Ok(())
    })
}

#[test]
fn agentk_without_its_secret_ends_and_holds_no_lease() -> Result<()> {
    World::with(|world| {
        let patch = r#"[{"op":"replace","path":"/spec/template/spec/volumes/1/secret/secretName","value":"missing"}]"#;
        let deployment = ["-n", "gitlab", "deployment/gitlab-agent-v2"];
        world.kubectl(&[&["patch"], &deployment[..], &["--type=json", "-p", patch]].concat())?;
        world.kubectl(&[&["rollout", "status", "--timeout=60s"], &deployment[..]].concat())?;
        wait_until("the line that agentk ends with", SOON, || {
            Ok(yes(agentk_logs(world)?.contains("Program aborted: token file")))
        })?;
        wait_until("a Lease without a holder", SOON, || Ok(yes(lease_holder(world)?.is_empty())))?;
        world.kubectl(&[&["rollout", "undo"], &deployment[..]].concat())?;
        world.kubectl(&[&["rollout", "status", "--timeout=60s"], &deployment[..]].concat())?;
        world.wait_healthy()
    })
}

#[test]
fn another_user_may_only_what_it_was_given() -> Result<()> {
    World::with(|world| {
        let rbac = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: node-reader }
rules: [{ apiGroups: [''], resources: [nodes], verbs: [list] }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: node-reader }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: node-reader }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: User, name: reader }]
";
        let kubeconfig = world.user_kubeconfig("reader", rbac)?;
        let flag = format!("--kubeconfig={}", kubeconfig.display());
        ensure!(world.kubectl(&[&flag, "get", "nodes", "-o", "name"])?.contains("node-1"));
        let denied =
            world.kubectl(&[&flag, "get", "secrets", "-A"]).err().context("secrets are not for it")?;
        ensure!(format!("{denied}").contains("forbidden"), "{denied}");
        Ok(())
    })
}

#[test]
fn an_empty_cluster_can_be_asked_for() -> Result<()> {
    World::with(|_| {
        let world = World::start(Options { flux: false, agentk: false, ..Options::default() })?;
        world.wait_healthy()?;
        let crds = world.kubectl(&["get", "crd", "-o", "name"])?;
        ensure!(!crds.contains("fluxcd.io"), "{crds}");
        let dir = world.dir().to_owned();
        drop(world);
        ensure!(processes_in(&dir)?.is_empty() && !dir.exists(), "nothing stays behind");
        Ok(())
    })
}

#[test]
fn a_killed_harness_leaves_nothing_behind() -> Result<()> {
    World::with(|_| {
        let mut harness = Command::new(env!("CARGO_BIN_EXE_world"))
            .env_remove("GITLAB_AGENT_WORLD_KEEP")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut lines = BufReader::new(harness.stdout.take().context("no way to read")?).lines();
        let first = lines.next().context("the second world did not come up")??;
        let kubeconfig = first.strip_prefix("export KUBECONFIG=").context("no KUBECONFIG")?;
        let dir = Path::new(kubeconfig).parent().context("no directory")?.to_owned();
        ensure!(processes_in(&dir)?.len() >= 9, "a second world runs beside the first");
        harness.kill()?;
        harness.wait()?;
        wait_until("the end of all children", SOON, || Ok(yes(processes_in(&dir)?.is_empty())))?;
        wait_until("the directory's removal", SOON, || Ok(yes(!dir.exists())))
    })
}

/// Processes whose working directory is in the world's, by what they call themselves.
fn processes_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        // Processes come and go while we look.
        let Ok(home) = fs::read_link(entry?.path().join("cwd")) else { continue };
        if home.starts_with(dir) {
            found.push(home);
        }
    }
    Ok(found)
}

#[test]
fn sops_encrypts_for_a_key_of_age_keygen() -> Result<()> {
    let (sops, keygen) = match (components::sops(), components::age_keygen()) {
        (Ok(sops), Ok(keygen)) => (sops, keygen),
        (Err(error), _) | (_, Err(error))
            if error.is::<GoMissing>() && std::env::var_os(COMPLETE).is_none() =>
        {
            eprintln!("left out: the test of sops, because {error}");
            return Ok(());
        }
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    let dir = tempfile::tempdir()?;
    let key = dir.path().join("key.txt");
    let said = |command: &mut Command| -> Result<String> {
        let output = command.current_dir(&dir).env("HOME", dir.path()).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    said(Command::new(&keygen).arg("-o").arg(&key))?;
    let recipient = said(Command::new(&keygen).arg("-y").arg(&key))?;
    fs::write(dir.path().join("secret.yaml"), "kind: Secret\nstringData:\n  token: plain-value\n")?;
    let flags = ["--encrypt", "--encrypted-regex", "^(data|stringData)$", "--age", recipient.trim()];
    let encrypted = said(Command::new(&sops).args(flags).arg("secret.yaml"))?;
    ensure!(encrypted.contains("kind: Secret") && !encrypted.contains("plain-value"), "{encrypted}");
    fs::write(dir.path().join("encrypted.yaml"), &encrypted)?;
    let decrypt =
        || said(Command::new(&sops).args(["--decrypt", "encrypted.yaml"]).env("SOPS_AGE_KEY_FILE", &key));
    ensure!(decrypt()?.contains("plain-value"));
    said(Command::new(&keygen).arg("-o").arg(dir.path().join("other.txt")))?;
    fs::rename(dir.path().join("other.txt"), &key)?;
    ensure!(decrypt().is_err(), "another key does not open it");
    Ok(())
}
