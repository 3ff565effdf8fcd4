//! Checks of access, Flux, agentk and reconciliation in the test world: each is seen failing for its real reason, and
//! passing again once that is undone.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use gitlab_agent_tests::programs::{Ran, command, make_program, paste, run};
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::gitlab::AGENT_PROJECT;
use gitlab_agent_tests::world::wait::wait_until;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(120);
const FLUX: &str = "flux-system";

/// A look at everything but GA603: Flux's own NetworkPolicies keep the chart index away, and each look would wait for it.
fn verify(world: &World) -> Ran {
    run(command("verify").args(["-o", "json", "--skip", "GA603"]).env("KUBECONFIG", world.kubeconfig()))
}

/// Every finding of a report, causes and consequences alike.
fn findings(ran: &Ran) -> Vec<Value> {
    fn collect(problems: &Value, into: &mut Vec<Value>) {
        for problem in problems.as_array().into_iter().flatten() {
            into.push(problem.clone());
            collect(&problem["consequences"], into);
        }
    }
    let mut all = Vec::new();
    collect(&ran.json()["problems"], &mut all);
    all
}

fn summary(ran: &Ran) -> String {
    let lines =
        findings(ran).into_iter().map(|f| format!("{} {} {}\n", f["code"], f["subject"], f["message"]));
    lines.collect()
}

/// Waits until a check finds something on an object of this name.
fn found(world: &World, code: &str, name: &str) -> Result<Value> {
    wait_until(&format!("{code} on {name}"), SOON, || {
        let ran = verify(world);
        let hit = findings(&ran).into_iter().find(|f| f["code"] == code && f["subject"]["name"] == name);
        match hit {
            Some(finding) => Ok(Some(finding)),
            None => bail!("exit {} {}", ran.code, summary(&ran)),
        }
    })
}

/// Waits until a check passes.
fn passes(world: &World, code: &str) -> Result<()> {
    wait_until(&format!("{code} to pass"), SOON, || {
        let ran = verify(world);
        let json = ran.json();
        let check = json["checks"].as_array().into_iter().flatten().find(|c| c["code"] == code).cloned();
        let verdict = check.map(|c| c["verdict"].clone()).unwrap_or_default();
        if verdict == "pass" {
            return Ok(Some(()));
        }
        bail!("{verdict}: {}", summary(&ran))
    })
}

/// Pastes the commands of a finding's remedy.
fn follow(world: &World, finding: &Value) -> Result<()> {
    let commands = finding["remedy"]["commands"].as_array().context("a remedy")?;
    ensure!(!commands.is_empty(), "{finding}");
    let kubectl = world.kubectl_path()?;
    let path = kubectl.parent().context("kubectl is in a folder")?;
    for line in commands.iter().filter_map(Value::as_str) {
        let pasted = paste(line, &world.kubeconfig(), path, "", world.dir());
        ensure!(pasted.code == 0, "`{line}` ends with {}: {}{}", pasted.code, pasted.out, pasted.err);
    }
    Ok(())
}

fn get(world: &World, namespace: &str, object: &str) -> Result<Value> {
    Ok(serde_json::from_str(&world.kubectl(&["-n", namespace, "get", object, "-o", "json"])?)?)
}

fn json_patch(world: &World, namespace: &str, object: &str, patch: &str) -> Result<()> {
    world.kubectl(&["-n", namespace, "patch", object, "--type=json", "-p", patch]).map(drop)
}

/// One run with programs of these versions first on PATH.
fn with_tools(world: &World, kubectl: &str, flux: &str) -> Result<Ran> {
    let folder = world.dir().join(format!("tools-{kubectl}-{flux}"));
    make_program(&folder, "kubectl", &json!({"clientVersion": {"gitVersion": kubectl}}).to_string());
    make_program(&folder, "flux", &json!({ "flux": flux }).to_string());
    let path = path_with(&folder)?;
    let only = ["-o", "json", "--only", "GA103,GA104"];
    Ok(run(command("verify").args(only).env("KUBECONFIG", world.kubeconfig()).env("PATH", path)))
}

fn path_with(folder: &Path) -> Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&path));
    Ok(std::env::join_paths(dirs)?)
}

#[test]
fn programs_of_other_versions_are_found() -> Result<()> {
    World::with(|world| {
        let fit = with_tools(world, "v1.35.9", "v2.9.4")?;
        ensure!(fit.code == 0 && findings(&fit).is_empty(), "{}", summary(&fit));
        let unfit = with_tools(world, "v1.30.0", "v2.6.0")?;
        let codes: Vec<Value> = findings(&unfit).into_iter().map(|f| f["code"].clone()).collect();
        ensure!(codes == ["GA103", "GA104"], "{}", summary(&unfit));
        Ok(())
    })
}

#[test]
fn a_manifest_of_an_api_version_that_is_gone_is_found() -> Result<()> {
    World::with(|world| {
        let fleet = world.git(AGENT_PROJECT)?;
        let old = "apiVersion: source.toolkit.fluxcd.io/v1beta2\nkind: GitRepository\n\
                   metadata: {name: of-old, namespace: default}\nspec: {interval: 1h, url: 'https://example.com/a'}\n";
        fleet.push_file("clusters/world/old.yaml", old)?;
        let finding = found(world, "GA206", FLUX)?;
        ensure!(finding["severity"] == "error", "{finding}");
        let under: Vec<&Value> =
            finding["consequences"].as_array().into_iter().flatten().map(|c| &c["code"]).collect();
        ensure!(under.contains(&&json!("GA408")), "{finding}");
        fleet.push_file(
            "clusters/world/old.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: of-old, namespace: default}\n",
        )?;
        passes(world, "GA206")
    })
}

#[test]
fn a_policy_that_keeps_webhooks_out_is_found() -> Result<()> {
    World::with(|world| {
        passes(world, "GA209")?;
        world.kubectl(&["-n", FLUX, "delete", "networkpolicy", "allow-webhooks"])?;
        let finding = found(world, "GA209", "allow-egress")?;
        follow(world, &finding)?;
        passes(world, "GA209")?;
        let deny = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny, namespace: gitlab}\n\
                    spec: {podSelector: {}, policyTypes: [Egress]}\n";
        world.apply(deny)?;
        let finding = found(world, "GA209", "deny")?;
        follow(world, &finding)?;
        passes(world, "GA209")?;
        world.kubectl(&["-n", "gitlab", "delete", "networkpolicy", "deny", "allow-flux-webhooks"]).map(drop)
    })
}

#[test]
fn an_address_without_its_slash_is_found() -> Result<()> {
    World::with(|world| {
        let agent = get(world, "gitlab", "deployment/gitlab-agent-v2")?;
        let address = agent["spec"]["template"]["spec"]["containers"][0]["args"][1].clone();
        let given = address.as_str().context("an address")?;
        let patch = |value: &str| {
            let path = "/spec/template/spec/containers/0/args/1";
            let patch = json!([{"op": "replace", "path": path, "value": value}]).to_string();
            json_patch(world, "gitlab", "deployment/gitlab-agent-v2", &patch)
        };
        for (value, says) in [
            (given.trim_end_matches('/').to_owned(), "lacks the slash"),
            (given.replace("wss://", "https://"), "does not know this scheme"),
        ] {
            patch(&value)?;
            let finding = found(world, "GA306", "gitlab-agent-v2")?;
            ensure!(finding["message"].as_str().is_some_and(|m| m.contains(says)), "{finding}");
        }
        patch(given)?;
        passes(world, "GA306")
    })
}

/// A second installation, made by hand of the first.
fn second_agent(world: &World) -> Result<()> {
    let mut copies = vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "second"}})];
    for object in ["deployment/gitlab-agent-v2", "secret/gitlab-agent-token"] {
        let mut copy = get(world, "gitlab", object)?;
        let name = copy["metadata"]["name"].clone();
        copy["metadata"] = json!({"name": name, "namespace": "second"});
        copy.as_object_mut().context("an object")?.remove("status");
        copies.push(copy);
    }
    let account = copies[1]["spec"]["template"]["spec"]["serviceAccountName"].clone();
    copies.push(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": "second"}}));
    copies.push(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "second-agent"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "second"}]}));
    world.apply(&json!({"apiVersion": "v1", "kind": "List", "items": copies}).to_string())
}

#[test]
fn a_second_agent_that_manages_flux_is_found() -> Result<()> {
    World::with(|world| {
        passes(world, "GA309")?;
        second_agent(world)?;
        let finding = wait_until("GA309 in the second namespace", SOON, || {
            let ran = verify(world);
            let hit = findings(&ran).into_iter().find(|f| f["code"] == "GA309");
            hit.map(Some).with_context(|| summary(&ran))
        });
        world.kubectl(&["delete", "clusterrolebinding", "second-agent"])?;
        world.kubectl(&["delete", "namespace", "second", "--wait=false"])?;
        ensure!(finding?["subject"]["namespace"] == "second");
        passes(world, "GA309")
    })
}

#[test]
fn a_service_account_without_its_permissions_is_found() -> Result<()> {
    World::with(|world| {
        passes(world, "GA311")?;
        let bindings = world.kubectl(&["get", "clusterrolebinding", "-o", "json"])?;
        let bindings: Value = serde_json::from_str(&bindings)?;
        let of_agent = |b: &&Value| b["subjects"][0]["namespace"] == "gitlab";
        let mut binding = bindings["items"]
            .as_array()
            .into_iter()
            .flatten()
            .find(of_agent)
            .context("the chart's binding")?
            .clone();
        let name = binding["metadata"]["name"].as_str().context("a name")?.to_owned();
        world.kubectl(&["delete", "clusterrolebinding", &name])?;
        let finding = found(world, "GA311", "gitlab-agent-v2")?;
        let evidence = finding["evidence"].to_string();
        ensure!(
            evidence.contains("secrets in namespace flux-system")
                && evidence.contains("watch gitrepositories"),
            "{evidence}"
        );
        follow(world, &finding)?;
        passes(world, "GA311")?;
        // As the chart left it, for the tests that follow.
        let kept = json!({"name": name, "labels": binding["metadata"]["labels"], "annotations": binding["metadata"]["annotations"]});
        binding["metadata"] = kept;
        world.apply(&binding.to_string())
    })
}

#[test]
fn a_reader_who_may_not_ask_about_others_is_told_so() -> Result<()> {
    World::with(|world| {
        let rbac = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: just-a-viewer}\n\
                    roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}\n\
                    subjects: [{kind: User, name: just-a-viewer, apiGroup: rbac.authorization.k8s.io}]\n";
        let kubeconfig = world.user_kubeconfig("just-a-viewer", rbac)?;
        let ran =
            run(command("verify").args(["-o", "json", "--only", "GA311"]).env("KUBECONFIG", kubeconfig));
        ensure!(ran.code == 3 && ran.out.contains("subjectaccessreviews"), "{} {}", ran.code, ran.out);
        Ok(())
    })
}

#[test]
fn pods_of_two_versions_are_found() -> Result<()> {
    World::with(|world| {
        passes(world, "GA313")?;
        let pods = [
            "-n",
            "gitlab",
            "get",
            "pods",
            "-l",
            "app.kubernetes.io/name=gitlab-agent",
            "-o",
            "jsonpath={.items[0].metadata.name}",
        ];
        let pod = format!("pod/{}", world.kubectl(&pods)?.trim());
        let image = get(world, "gitlab", &pod)?["spec"]["containers"][0]["image"]
            .as_str()
            .context("an image")?
            .to_owned();
        let older = format!("{}:v18.0.0", image.rsplit_once(':').context("a tag")?.0);
        let patch =
            json!([{"op": "replace", "path": "/spec/containers/0/image", "value": older}]).to_string();
        json_patch(world, "gitlab", &pod, &patch)?;
        let finding = found(world, "GA313", "gitlab-agent-v2")?;
        follow(world, &finding)?;
        passes(world, "GA313")
    })
}

#[test]
fn a_url_that_agentk_does_not_recognise_is_found() -> Result<()> {
    World::with(|world| {
        let url = format!("{}/", world.gitlab().project_url(AGENT_PROJECT));
        world.apply(&format!(
            "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {{name: slashed, namespace: {FLUX}}}\n\
             spec: {{interval: 1h, suspend: true, url: '{url}'}}\n"
        ))?;
        let finding = found(world, "GA403", "slashed")?;
        world.kubectl(&["-n", FLUX, "delete", "gitrepository", "slashed"])?;
        ensure!(finding["message"].as_str().is_some_and(|m| m.contains("ends in a slash")), "{finding}");
        passes(world, "GA403")
    })
}

#[test]
fn a_push_that_nobody_announced_is_told() -> Result<()> {
    World::with(|world| {
        let agentk = world.agentk().context("agentk is played")?;
        let fleet = world.git(AGENT_PROJECT)?;
        let manifest = |said: &str| {
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: announced, namespace: default}}\ndata: {{said: {said}}}\n"
            )
        };
        // A Receiver that is younger than a minute tells nothing.
        let made = [
            "-n",
            FLUX,
            "get",
            "receiver",
            "gitlab-flux-system",
            "-o",
            "jsonpath={.metadata.creationTimestamp}",
        ];
        let made: jiff::Timestamp = world.kubectl(&made)?.trim().parse()?;
        wait_until("the Receiver to be a minute old", SOON, || {
            Ok((jiff::Timestamp::now().duration_since(made).as_secs() > 65).then_some(()))
        })?;
        let sha = fleet.push_file("clusters/world/announced.yaml", &manifest("loud"))?;
        fetched(world, &sha)?;
        passes(world, "GA409")?;
        let by = requested_by(world)?;
        ensure!(by.contains("notification-controller"), "the real one writes as {by}");
        up_for_long(world)?;
        agentk.change(|settings| settings.push_events = false);
        let sha = fleet.push_file("clusters/world/announced.yaml", &manifest("silent"))?;
        // A request counts for five minutes: as if the last were older, the annotation is taken away.
        let remove = ["-n", FLUX, "annotate", "gitrepository", FLUX, "reconcile.fluxcd.io/requestedAt-"];
        world.kubectl(&remove)?;
        fetched(world, &sha)?;
        let told = found(world, "GA409", "gitlab-flux-system");
        agentk.change(|settings| settings.push_events = true);
        fleet.push_file("clusters/world/announced.yaml", &manifest("loud again"))?;
        told?;
        passes(world, "GA409")
    })
}

/// What source-controller fetches within five minutes of its start tells nothing: here it came up ten minutes ago.
fn up_for_long(world: &World) -> Result<()> {
    let deployment = get(world, FLUX, "deployment/source-controller")?;
    let conditions = deployment["status"]["conditions"].as_array().context("conditions")?;
    let at = conditions.iter().position(|c| c["type"] == "Available").context("it is available")?;
    let path = format!("/status/conditions/{at}/lastTransitionTime");
    let long_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(10);
    let value = long_ago.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let patch = json!([{"op": "replace", "path": path, "value": value}]).to_string();
    let args = ["-n", FLUX, "patch", "deployment/source-controller", "--subresource=status", "--type=json"];
    world.kubectl(&[&args[..], &["-p", &patch]].concat()).map(drop)
}

fn fetched(world: &World, sha: &str) -> Result<()> {
    let revision = ["-n", FLUX, "get", "gitrepository", FLUX, "-o", "jsonpath={.status.artifact.revision}"];
    world.wait_kubectl(&revision, &format!("main@sha1:{sha}"), SOON)
}

/// The manager of the request, as the API server notes it.
fn requested_by(world: &World) -> Result<String> {
    let object =
        world.kubectl(&["-n", FLUX, "get", "gitrepository", FLUX, "--show-managed-fields", "-o", "json"])?;
    let object: Value = serde_json::from_str(&object)?;
    let fields = object["metadata"]["managedFields"].as_array().context("managed fields")?;
    let requests = |m: &&Value| {
        !m["fieldsV1"]["f:metadata"]["f:annotations"]["f:reconcile.fluxcd.io/requestedAt"].is_null()
    };
    let found = fields.iter().find(requests).context("a request")?;
    Ok(found["manager"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_receiver_that_is_left_behind_is_found() -> Result<()> {
    World::with(|world| {
        passes(world, "GA410")?;
        let url = world.gitlab().project_url(AGENT_PROJECT);
        world.apply(&format!(
            "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {{name: short-lived, namespace: {FLUX}}}\n\
             spec: {{interval: 1h, suspend: true, url: '{url}'}}\n"
        ))?;
        let receiver =
            ["-n", FLUX, "get", "receiver", "gitlab-short-lived", "-o", "jsonpath={.metadata.name}"];
        world.wait_kubectl(&receiver, "gitlab-short-lived", SOON)?;
        world.kubectl(&["-n", FLUX, "delete", "gitrepository", "short-lived", "--cascade=orphan"])?;
        let finding = found(world, "GA410", "gitlab-short-lived")?;
        follow(world, &finding)?;
        passes(world, "GA410")
    })
}

#[test]
fn a_service_at_another_port_is_found() -> Result<()> {
    World::with(|world| {
        passes(world, "GA412")?;
        let port = |number: i64| {
            let patch = json!([{"op": "replace", "path": "/spec/ports/0/port", "value": number}]).to_string();
            json_patch(world, FLUX, "service/webhook-receiver", &patch)
        };
        port(8080)?;
        let finding = found(world, "GA412", "webhook-receiver");
        port(80)?;
        ensure!(finding?["message"].as_str().is_some_and(|m| m.contains("no port 80")));
        passes(world, "GA412")
    })
}

#[test]
fn a_kind_that_is_not_served_is_found() -> Result<()> {
    World::with(|world| {
        let name = "ocirepositories.source.toolkit.fluxcd.io";
        let crd: Value = serde_json::from_str(&world.kubectl(&["get", "crd", name, "-o", "json"])?)?;
        let versions = crd["spec"]["versions"].as_array().context("versions")?;
        let at = versions.iter().position(|v| v["name"] == "v1").context("v1")?;
        let serve = |served: bool| -> Result<()> {
            let patch =
                json!([{"op": "replace", "path": format!("/spec/versions/{at}/served"), "value": served}]);
            world.kubectl(&["patch", "crd", name, "--type=json", "-p", &patch.to_string()]).map(drop)
        };
        serve(false)?;
        let seen = found(world, "GA201", name);
        serve(true)?;
        seen?;
        passes(world, "GA201")
    })
}

#[test]
fn a_lease_that_nobody_renews_is_found() -> Result<()> {
    World::with(|world| {
        let leases: Value =
            serde_json::from_str(&world.kubectl(&["-n", "gitlab", "get", "leases", "-o", "json"])?)?;
        let name = leases["items"][0]["metadata"]["name"].as_str().context("a Lease")?.to_owned();
        let agentk = world.agentk().context("agentk is played")?;
        agentk.change(|s| s.paused = true);
        let seen = found(world, "GA308", &name);
        agentk.change(|s| s.paused = false);
        seen?;
        passes(world, "GA308")
    })
}

#[test]
fn an_agentk_that_is_older_than_flux_is_found_and_restarted() -> Result<()> {
    World::with(|world| {
        let name = "receivers.notification.toolkit.fluxcd.io";
        let mut crd: Value = serde_json::from_str(&world.kubectl(&["get", "crd", name, "-o", "json"])?)?;
        crd["metadata"] = json!({"name": name, "labels": crd["metadata"]["labels"]});
        crd["status"].take();
        world.kubectl(&["delete", "crd", name, "--timeout=60s"])?;
        world.apply(&crd.to_string())?;
        let finding = found(world, "GA310", "gitlab-agent-v2")?;
        follow(world, &finding)?;
        passes(world, "GA310")?;
        passes(world, "GA401")
    })
}

#[test]
fn a_receiver_without_its_secret_is_found() -> Result<()> {
    World::with(|world| {
        let receiver = json!({
            "apiVersion": "notification.toolkit.fluxcd.io/v1",
            "kind": "Receiver",
            "metadata": {"name": "by-hand", "namespace": FLUX},
            "spec": {
                "type": "generic-hmac",
                "secretRef": {"name": "by-hand"},
                "resources": [{"kind": "GitRepository", "name": "flux-system"}],
            },
        });
        world.apply(&receiver.to_string())?;
        let seen = found(world, "GA402", "by-hand");
        world.kubectl(&["-n", FLUX, "delete", "receiver", "by-hand"])?;
        seen?;
        passes(world, "GA402")
    })
}
