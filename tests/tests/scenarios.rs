//! `verify` in the test world: each test breaks a healthy cluster as it breaks in the field, asserts which code leads
//! the report and how the run ends, pastes the printed remedy into a shell, and waits until all is well again.

use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use gitlab_agent_tests::programs::{Ran, command, folder, paste, run};
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::components::kubernetes_is_pinned;
use gitlab_agent_tests::world::gitlab::{AGENT_PROJECT, EXAMPLE_PROJECT};
use gitlab_agent_tests::world::wait::wait_until;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(90);

/// GitLab announces no push to a private project, and a test pushes to one: GA409 says so, rightly. Flux's own
/// NetworkPolicies keep the chart index away, and each look would wait for GA603.
const SKIPPED: &str = "GA409,GA603";

/// `verify -o json` as the world's administrator.
fn verify(world: &World, more: &[&str]) -> Ran {
    verify_as(&world.kubeconfig(), more)
}

fn verify_as(kubeconfig: &Path, more: &[&str]) -> Ran {
    run(command("verify").args(["-o", "json", "--skip", SKIPPED]).args(more).env("KUBECONFIG", kubeconfig))
}

/// Waits until `verify` leads with this code, and returns its report.
fn leads_with(world: &World, code: &str, exit: i32) -> Result<Ran> {
    wait_until(&format!("{code} to lead the report"), SOON, || {
        let ran = verify(world, &[]);
        if ran.first_problem().as_deref() == Some(code) && ran.code == exit {
            return Ok(Some(ran));
        }
        bail!("exit {} {}", ran.code, summary(&ran))
    })
}

fn summary(ran: &Ran) -> String {
    let json = ran.json();
    let line = |p: &Value| format!("{} {} {}", p["code"], p["subject"], p["message"]);
    let problems: Vec<String> = json["problems"].as_array().into_iter().flatten().map(line).collect();
    let unknown = json["checks"].as_array().into_iter().flatten().filter(|c| c["verdict"] == "unknown");
    let unknown: Vec<String> = unknown.map(|c| c["code"].to_string()).collect();
    format!("problems {problems:#?} unknown {unknown:?}")
}

/// Waits until all is well: exit 0, no finding, nothing unknown. With another control plane than the pinned one GitLab
/// may not support this agentk on it (GA604), which is then true.
fn well(world: &World) -> Result<()> {
    let pinned = kubernetes_is_pinned();
    wait_until("all to be well", SOON, || {
        let ran = verify(world, &["--fail-on", "info"]);
        let json = ran.json();
        let expected = |problem: &Value| !pinned && problem["code"] == "GA604";
        let clean = json["problems"].as_array().is_some_and(|all| all.iter().all(expected));
        if (ran.code == 0 || !pinned) && clean && !could_not_find_out(&json) {
            return Ok(Some(()));
        }
        bail!("exit {} {}", ran.code, summary(&ran))
    })
}

/// Whether something is unknown for another reason than that no access to GitLab was given, or that it is too early to say.
fn could_not_find_out(report: &Value) -> bool {
    let checks = report["checks"].as_array().into_iter().flatten();
    let reasons = checks.flat_map(|check| check["unknown"].as_array().into_iter().flatten());
    reasons.map(|why| &why["kind"]).any(|kind| kind != "noGitLab" && kind != "notAsked")
}

/// Pastes every command of the first problem's remedy, with `typed` at the prompt where one asks.
fn follow_remedy(world: &World, ran: &Ran, typed: &str, directory: &Path) -> Result<()> {
    let json = ran.json();
    let commands = json["problems"][0]["remedy"]["commands"].as_array().context("a remedy has commands")?;
    ensure!(!commands.is_empty(), "the remedy of {} has commands", json["problems"][0]["code"]);
    let kubectl = world.kubectl_path()?;
    let path = kubectl.parent().context("kubectl is in a folder")?;
    for line in commands.iter().filter_map(Value::as_str) {
        let pasted = paste(line, &world.kubeconfig(), path, &format!("{typed}\n"), directory);
        ensure!(pasted.code == 0, "`{line}` ends with {}: {}{}", pasted.code, pasted.out, pasted.err);
    }
    Ok(())
}

fn mend(world: &World, ran: &Ran, typed: &str) -> Result<()> {
    follow_remedy(world, ran, typed, world.dir())?;
    well(world)
}

/// The codes that the report shows under the first problem.
fn consequences(ran: &Ran) -> Vec<String> {
    let json = ran.json();
    let all = json["problems"][0]["consequences"].as_array().into_iter().flatten();
    all.filter_map(|p| p["code"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_push_arrives_and_all_is_well() -> Result<()> {
    World::with(|world| {
        well(world)?;
        let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: said, namespace: default}\ndata: {said: hello}\n";
        let sha = world.git(AGENT_PROJECT)?.push_file("clusters/world/said.yaml", manifest)?;
        world.wait_kubectl(&["get", "configmap", "said", "-o", "jsonpath={.data.said}"], "hello", SOON)?;
        well(world)?;
        let status = run(command("status").args(["-o", "json"]).env("KUBECONFIG", world.kubeconfig()));
        let json = status.json();
        ensure!(status.code == 0 && json["verdict"] == "healthy", "{}", status.out);
        let sources = json["sources"].as_array().context("sources")?;
        let fleet = sources.iter().find(|s| s["object"]["name"] == "flux-system").context("the fleet")?;
        ensure!(fleet["revision"] == format!("main@sha1:{sha}"), "{fleet}");
        ensure!(
            fleet["feeds"][0]["revision"] == fleet["revision"] && fleet["receiver"] == "ready",
            "{fleet}"
        );
        Ok(())
    })
}

#[test]
fn the_token_secret_is_deleted() -> Result<()> {
    World::with(|world| {
        well(world)?;
        world.kubectl(&["-n", "gitlab", "delete", "secret", "gitlab-agent-token"])?;
        let ran = leads_with(world, "GA304", 1)?;
        mend(world, &ran, &world.tokens().agent)
    })
}

#[test]
fn the_git_password_is_wrong() -> Result<()> {
    World::with(|world| {
        well(world)?;
        let wrong = r#"{"stringData":{"password":"wrong-password"}}"#;
        world.kubectl(&[
            "-n",
            "flux-system",
            "patch",
            "secret",
            "flux-system",
            "--type=merge",
            "-p",
            wrong,
        ])?;
        reconcile(world, "gitrepository/flux-system")?;
        let ran = leads_with(world, "GA407", 1)?;
        ensure!(consequences(&ran).contains(&"GA208".to_owned()), "the bootstrap follows: {}", ran.out);
        mend(world, &ran, &world.tokens().fleet)
    })
}

/// The pasted commands act on the cluster that the run looked at, whatever its context and file are called.
#[test]
fn a_hostile_context_is_in_what_is_pasted() -> Result<()> {
    const CONTEXT: &str = "it's \"prod\" $(touch pwned) eu\\";
    World::with(|world| {
        well(world)?;
        let dir = tempfile::tempdir()?;
        let kubeconfig = dir.path().join("kube 'config'; touch pwned");
        std::fs::copy(world.kubeconfig(), &kubeconfig)?;
        let kubectl = |args: &[&str]| -> Result<String> {
            let mut kubectl = std::process::Command::new(world.kubectl_path()?);
            let output = kubectl.arg("--kubeconfig").arg(&kubeconfig).args(args).output()?;
            ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
            Ok(String::from_utf8(output.stdout)?.trim().to_owned())
        };
        let own = kubectl(&["config", "current-context"])?;
        kubectl(&["config", "rename-context", &own, CONTEXT])?;
        let suspend = ["patch", "gitrepository", "example-nginx-app", "--type=merge", "-p"];
        let more = ["-n", "flux-system", r#"{"spec":{"suspend":true}}"#];
        world.kubectl(&[&more[..2], &suspend[..], &more[2..]].concat())?;
        leads_with(world, "GA406", 0)?;
        let file = kubeconfig.to_string_lossy().into_owned();
        let nowhere = dir.path().join("nowhere");
        let ran = verify_as(&nowhere, &["--kubeconfig", &file, "--context", CONTEXT]);
        let json = ran.json();
        let commands = json["problems"][0]["remedy"]["commands"].as_array().context("commands")?;
        let path = world.kubectl_path()?;
        let path = path.parent().context("a folder")?;
        for line in commands.iter().filter_map(Value::as_str) {
            let pasted = paste(line, &nowhere, path, "", dir.path());
            ensure!(pasted.code == 0, "`{line}`: {}{}", pasted.out, pasted.err);
        }
        ensure!(!dir.path().join("pwned").exists(), "{commands:?}");
        well(world)
    })
}

#[test]
fn the_repository_is_suspended() -> Result<()> {
    World::with(|world| {
        well(world)?;
        let suspend = r#"{"spec":{"suspend":true}}"#;
        let args = [
            "-n",
            "flux-system",
            "patch",
            "gitrepository",
            "example-nginx-app",
            "--type=merge",
            "-p",
            suspend,
        ];
        world.kubectl(&args)?;
        let ran = leads_with(world, "GA406", 0)?;
        ensure!(verify(world, &["--fail-on", "warning"]).code == 1, "a warning fails where it is asked to");
        mend(world, &ran, "")
    })
}

#[test]
fn a_manifest_is_broken() -> Result<()> {
    World::with(|world| {
        well(world)?;
        let project = world.git(EXAMPLE_PROJECT)?;
        project.push_file(
            "manifests/broken.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: [this is no map\n",
        )?;
        let ran = leads_with(world, "GA408", 1)?;
        // The remedy is a `git revert` and a push, from a clone of the project.
        follow_remedy(world, &ran, "", project.clone_dir())?;
        well(world)
    })
}

#[test]
fn notification_controller_is_scaled_to_zero() -> Result<()> {
    World::with(|world| {
        well(world)?;
        world.kubectl(&[
            "-n",
            "flux-system",
            "scale",
            "deployment/notification-controller",
            "--replicas=0",
        ])?;
        let ran = leads_with(world, "GA205", 1)?;
        mend(world, &ran, "")
    })
}

#[test]
fn the_token_is_changed_and_nothing_restarted() -> Result<()> {
    World::with(|world| {
        well(world)?;
        let token = world.gitlab().new_agent_token()?;
        let patch = serde_json::json!({"stringData": {"token": token}}).to_string();
        world.kubectl(&[
            "-n",
            "gitlab",
            "patch",
            "secret",
            "gitlab-agent-token",
            "--type=merge",
            "-p",
            &patch,
        ])?;
        let ran = leads_with(world, "GA312", 1)?;
        mend(world, &ran, "")
    })
}

#[test]
fn the_agent_token_is_revoked() -> Result<()> {
    World::with(|world| {
        well(world)?;
        let bad = world.gitlab().new_agent_token()?;
        let patch = serde_json::json!({"stringData": {"token": bad}}).to_string();
        world.kubectl(&[
            "-n",
            "gitlab",
            "patch",
            "secret",
            "gitlab-agent-token",
            "--type=merge",
            "-p",
            &patch,
        ])?;
        world.kubectl(&["-n", "gitlab", "rollout", "restart", "deployment/gitlab-agent-v2"])?;
        well(world)?;
        world.gitlab().revoke(&bad)?;
        let ran = leads_with(world, "GA315", 1)?;
        ensure!(ran.json()["problems"][0]["subject"]["kind"] == "Secret", "{}", ran.out);
        ensure!(consequences(&ran).contains(&"GA307".to_owned()), "the connection follows: {}", ran.out);
        let fresh = world.gitlab().new_agent_token()?;
        mend(world, &ran, &fresh)
    })
}

#[test]
fn the_release_names_another_secret() -> Result<()> {
    World::with(|world| {
        well(world)?;
        let patch = r#"{"spec":{"values":{"config":{"secretName":"elsewhere"}}}}"#;
        // In Git, as people do it: the Kustomization reverts what is patched in the cluster.
        let fleet = world.git(AGENT_PROJECT)?;
        let rename = |from: &'static str, to: &'static str| {
            fleet.commit(
                move |files| files.replace("clusters/world/gitlab/helm.yaml", from, to),
                "rename the Secret",
            )
        };
        rename("secretName: gitlab-agent-token", "secretName: elsewhere")?;
        let ran = leads_with(world, "GA305", 1)?;
        let commands = ran.json()["problems"][0]["remedy"]["commands"].to_string();
        ensure!(commands.contains("gitlab-agent-token") && !commands.contains(patch), "{commands}");
        ensure!(ran.out.contains("in Git"), "the remedy says that a live change is reverted: {}", ran.out);
        follow_remedy(world, &ran, "", world.dir())?;
        rename("secretName: elsewhere", "secretName: gitlab-agent-token")?;
        well(world)
    })
}

#[test]
fn a_kustomization_waits_for_a_source_that_fails() -> Result<()> {
    World::with(|world| {
        well(world)?;
        let url = world.gitlab().project_url(EXAMPLE_PROJECT);
        let (user, token) = world.gitlab().new_deploy_token(EXAMPLE_PROJECT, &["read_repository"])?;
        world.apply(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: waiting, namespace: flux-system}}\n\
             stringData: {{username: {user}, password: wrong-password, ca.crt: {:?}}}\n---\n\
             apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\n\
             metadata: {{name: waiting, namespace: flux-system}}\n\
             spec: {{interval: 1m, url: '{url}', ref: {{branch: main}}, secretRef: {{name: waiting}}}}\n---\n\
             apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\n\
             metadata: {{name: waiting, namespace: flux-system, labels: {{world.test/project: nginx-app}}}}\n\
             spec: {{interval: 1m, retryInterval: 2s, path: ./manifests, prune: false, suspend: false, \
             sourceRef: {{kind: GitRepository, name: waiting}}}}\n",
            world.gitlab().ca_pem()
        ))?;
        let ran = leads_with(world, "GA407", 1)?;
        ensure!(ran.json()["problems"][0]["subject"]["name"] == "waiting", "{}", ran.out);
        let ran = wait_until("the Kustomization under its source", SOON, || {
            let ran = verify(world, &[]);
            Ok(consequences(&ran).contains(&"GA408".to_owned()).then_some(ran))
        })?;
        ensure!(
            ran.json()["problems"].as_array().is_some_and(|p| p.len() == 1),
            "one problem: {}",
            summary(&ran)
        );
        let healed = mend(world, &ran, &token);
        let objects = ["kustomization/waiting", "gitrepository/waiting", "secret/waiting"];
        world.kubectl(&[&["-n", "flux-system", "delete"], &objects[..]].concat())?;
        healed
    })
}

#[test]
fn a_person_may_read_one_namespace_only() -> Result<()> {
    World::with(|world| {
        well(world)?;
        let rbac = "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n\
            metadata: {name: reader-of-one, namespace: flux-system}\n\
            roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}\n\
            subjects: [{kind: User, name: reader-of-one, apiGroup: rbac.authorization.k8s.io}]\n";
        let kubeconfig = world.user_kubeconfig("reader-of-one", rbac)?;
        let ran = verify_as(&kubeconfig, &[]);
        ensure!(
            ran.code == 3 && ran.first_problem().as_deref() == Some("GA102"),
            "{} {}",
            ran.code,
            summary(&ran)
        );
        let json = ran.json();
        let verdict = |code: &str| {
            let found = json["checks"].as_array().into_iter().flatten().find(|c| c["code"] == code);
            found.map(|c| c["verdict"].clone()).unwrap_or_default()
        };
        ensure!(verdict("GA202") == "pass", "what may be read is judged: {}", summary(&ran));
        ensure!(verdict("GA304") == "unknown", "what may not be read is unknown: {}", summary(&ran));
        // An administrator pastes the remedy with the person's name in place.
        let remedy = json["problems"][0]["remedy"]["commands"].as_array().context("commands")?.clone();
        let kubectl = world.kubectl_path()?;
        for line in remedy.iter().filter_map(Value::as_str) {
            let whoami = "\"$(kubectl auth whoami -o jsonpath='{.status.userInfo.username}')\"";
            let line = line.replace(whoami, "reader-of-one");
            let pasted =
                paste(&line, &world.kubeconfig(), kubectl.parent().context("folder")?, "", world.dir());
            ensure!(pasted.code == 0, "`{line}`: {}", pasted.err);
        }
        let after = verify_as(&kubeconfig, &[]);
        ensure!(after.code == 0 && !could_not_find_out(&after.json()), "{} {}", after.code, summary(&after));
        Ok(())
    })
}

#[test]
fn the_api_server_is_stopped() -> Result<()> {
    World::with(|world| {
        well(world)?;
        world.stop("kube-apiserver")?;
        let ran = verify(world, &["--request-timeout", "5s"]);
        world.start_component("kube-apiserver")?;
        ensure!(
            ran.code == 4 && ran.first_problem().as_deref() == Some("GA101"),
            "{} {}",
            ran.code,
            summary(&ran)
        );
        ensure!(
            ran.json()["problems"].as_array().is_some_and(|p| p.len() == 1),
            "one problem: {}",
            summary(&ran)
        );
        world.wait_ready()?;
        follow_remedy(world, &ran, "", world.dir())?;
        well(world)
    })
}

#[test]
fn the_kubeconfig_token_expired() -> Result<()> {
    World::with(|world| {
        well(world)?;
        let kubeconfig = with_expired_token(world)?;
        let ran = verify_as(&kubeconfig, &[]);
        ensure!(
            ran.code == 4 && ran.first_problem().as_deref() == Some("GA101"),
            "{} {}",
            ran.code,
            summary(&ran)
        );
        ensure!(ran.out.contains("expired"), "the report says that the token expired: {}", ran.out);
        let status = run(command("status").env("KUBECONFIG", &kubeconfig));
        ensure!(status.code == 4 && status.out.contains("refused the credential"), "{}", status.out);
        // The remedy is to renew the credential.
        let renewed = std::fs::read_to_string(&kubeconfig)?.replace(
            EXPIRED,
            &world.kubectl(&["config", "view", "--raw", "-o", "jsonpath={.users[0].user.token}"])?,
        );
        std::fs::write(&kubeconfig, renewed)?;
        let ran = verify_as(&kubeconfig, &[]);
        ensure!(ran.code == 0, "{} {}", ran.code, summary(&ran));
        Ok(())
    })
}

/// `{"alg":"none"}.{"exp":1000000000}.`
const EXPIRED: &str = "eyJhbGciOiJub25lIn0.eyJleHAiOjEwMDAwMDAwMDB9.x";

/// The administrator's kubeconfig with the token of a service account that expired in 2001.
fn with_expired_token(world: &World) -> Result<PathBuf> {
    let kubeconfig = world.dir().join("expired.kubeconfig");
    let server =
        world.kubectl(&["config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.server}"])?;
    let ca = ["config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.certificate-authority-data}"];
    let ca = world.kubectl(&ca)?;
    std::fs::write(
        &kubeconfig,
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: expired\n\
             contexts: [{{name: expired, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: '{server}', certificate-authority-data: {ca}}}}}]\n\
             users: [{{name: u, user: {{token: {EXPIRED}}}}}]\n"
        ),
    )?;
    Ok(kubeconfig)
}

/// A job of a GitLab pipeline reaches the cluster below a path of kas's host, with a token that kas takes.
#[test]
fn a_pipeline_sees_the_same_through_the_agent() -> Result<()> {
    World::with(|world| {
        well(world)?;
        let mut proxy = std::process::Command::new(world.kubectl_path()?)
            .args(["proxy", "--port=0", "--api-prefix=/k8s-proxy/"])
            .env("KUBECONFIG", world.kubeconfig())
            .stdout(Stdio::piped())
            .spawn()?;
        let seen = through_kas(world, &mut proxy);
        proxy.kill()?;
        proxy.wait()?;
        let ran = seen?;
        ensure!(ran.code == 0 && !could_not_find_out(&ran.json()), "{} {}", ran.code, summary(&ran));
        ensure!(ran.out.contains(r#""context": "platform/fleet:world""#), "{}", ran.out);
        Ok(())
    })
}

/// `verify` with a kubeconfig as GitLab gives one to a job. What stands in for kas passes the token on, so it is the
/// administrator's.
fn through_kas(world: &World, proxy: &mut std::process::Child) -> Result<Ran> {
    let mut said = std::io::BufReader::new(proxy.stdout.take().context("its output")?).lines();
    let said = said.next().context("it serves")??;
    let address = said.rsplit(' ').next().context("its address")?;
    let kubeconfig = world.dir().join("job.kubeconfig");
    let token = world.kubectl(&["config", "view", "--raw", "-o", "jsonpath={.users[0].user.token}"])?;
    std::fs::write(
        &kubeconfig,
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: platform/fleet:world\n\
             contexts: [{{name: 'platform/fleet:world', context: {{cluster: gitlab, user: 'agent:7'}}}}]\n\
             clusters: [{{name: gitlab, cluster: {{server: 'http://{address}/k8s-proxy/'}}}}]\n\
             users: [{{name: 'agent:7', user: {{token: '{token}'}}}}]\n"
        ),
    )?;
    Ok(verify_as(&kubeconfig, &[]))
}

#[test]
fn the_recording_says_what_the_cluster_says() -> Result<()> {
    World::with(|world| {
        well(world)?;
        world.kubectl(&["-n", "flux-system", "scale", "deployment/helm-controller", "--replicas=0"])?;
        leads_with(world, "GA204", 1)?;
        let file = world.dir().join("recorded.json.gz");
        let name = file.to_str().context("a path in UTF-8")?;
        let live = verify(world, &["--record", name]);
        let recorded = run(command("verify").args(["-o", "json", "--skip", SKIPPED, "--from", name]));
        world.kubectl(&["-n", "flux-system", "scale", "deployment/helm-controller", "--replicas=1"])?;
        ensure!(live.code == recorded.code);
        ensure!(live.out != recorded.out, "the origin differs");
        let without_origin = |text: &str| -> Vec<String> {
            text.lines()
                .filter(|l| !l.contains("\"source\":") && !l.contains("\"file\":"))
                .map(str::to_owned)
                .collect()
        };
        assert_eq!(without_origin(&live.out), without_origin(&recorded.out));
        well(world)
    })
}

fn scale(world: &World, deployment: &str, replicas: &str) -> Result<String> {
    world.kubectl(&["-n", "flux-system", "scale", deployment, replicas])
}

#[test]
fn waiting_ends_when_all_is_well_or_the_time_is_over() -> Result<()> {
    World::with(|world| {
        well(world)?;
        scale(world, "deployment/helm-controller", "--replicas=0")?;
        leads_with(world, "GA204", 1)?;
        // The next look would be too late, so the first ends it; it has time enough on a busy machine.
        let over = verify(world, &["--wait", "--timeout", "30s", "--interval", "1m"]);
        ensure!(over.code == 1 && over.first_problem().as_deref() == Some("GA204"), "{}", over.out);
        ensure!(over.err.contains("waiting: ✗") && over.err.contains("not well after"), "{}", over.err);
        let mut waiting = command("verify");
        waiting.args(["-o", "short", "--wait", "--timeout", "2m", "--interval", "1s"]);
        waiting.env("KUBECONFIG", world.kubeconfig());
        let waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        scale(world, "deployment/helm-controller", "--replicas=1")?;
        let ran: Ran = waiting.wait_with_output()?.into();
        ensure!(ran.code == 0 && ran.out.contains("All is well"), "{} {}{}", ran.code, ran.out, ran.err);
        Ok(())
    })
}

#[test]
fn watching_says_what_changes_until_ctrl_c() -> Result<()> {
    World::with(|world| {
        well(world)?;
        let mut watching = command("verify");
        watching.args(["--watch", "--interval", "1s"]).env("KUBECONFIG", world.kubeconfig());
        let mut watching = watching.stdout(Stdio::piped()).spawn()?;
        let (said, lines) = std::sync::mpsc::channel();
        let stdout = std::io::BufReader::new(watching.stdout.take().context("its output")?);
        let reader = std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| drop(said.send(line)));
        });
        let says = |word: &str| -> Result<()> {
            loop {
                let line = lines.recv_timeout(SOON).with_context(|| format!("no line with {word}"))?;
                ensure!(!line.contains('\u{1b}'), "no terminal, no escapes: {line}");
                if line.contains(word) {
                    return Ok(());
                }
            }
        };
        let seen = says("All is well").and_then(|()| {
            scale(world, "deployment/helm-controller", "--replicas=0")?;
            says("GA204")?;
            scale(world, "deployment/helm-controller", "--replicas=1")?;
            says("All is well")
        });
        let ctrl_c =
            std::process::Command::new("kill").args(["-INT", &watching.id().to_string()]).status()?;
        let code = watching.wait()?.code();
        ensure!(reader.join().is_ok() && ctrl_c.success());
        scale(world, "deployment/helm-controller", "--replicas=1")?;
        seen?;
        ensure!(code == Some(130), "{code:?}");
        well(world)
    })
}

fn reconcile(world: &World, object: &str) -> Result<()> {
    let now = format!("reconcile.fluxcd.io/requestedAt={:?}", std::time::SystemTime::now());
    world.kubectl(&["-n", "flux-system", "annotate", "--overwrite", object, &now]).map(|_| ())
}

#[test]
fn the_real_kubectl_runs_the_plugin() -> Result<()> {
    World::with(|world| {
        well(world)?;
        let kubectl = world.kubectl_path()?;
        let elsewhere = world.dir().join("linked");
        std::fs::create_dir_all(&elsewhere)?;
        let link = elsewhere.join("kubectl-gitlab_agent");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(folder().join("kubectl-gitlab_agent"), &link)?;
        // With all programs on PATH kubectl finds the verb's own; with the link alone it finds the front end.
        for on_path in [folder(), elsewhere.as_path()] {
            for line in ["status", "verify", "-n flux-system status"] {
                let words: Vec<&str> = line.split(' ').collect();
                let plugin_first = words[0].starts_with('-');
                let mut program = if plugin_first {
                    command("")
                } else {
                    let mut program = std::process::Command::new(&kubectl);
                    program.arg("gitlab-agent");
                    program
                };
                let beside = kubectl.parent().context("kubectl is in a folder")?;
                let path = format!("{}:{}:/usr/bin:/bin", on_path.display(), beside.display());
                let ran = run(program.args(&words).env("KUBECONFIG", world.kubeconfig()).env("PATH", path));
                ensure!(
                    ran.code == 0 && ran.out.contains("All is well"),
                    "{line}: {} {}{}",
                    ran.code,
                    ran.out,
                    ran.err
                );
            }
        }
        Ok(())
    })
}
