//! Nothing that is in use is revoked: other readers, other Secrets, other clusters, other owners, and lists that lag.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitlab_agent_tests::rotation::SOON;
use gitlab_agent_tests::rotation::running::Running;
use gitlab_agent_tests::rotation::stage::{Stage, watched};
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::gitlab::AGENT_ID;
use gitlab_agent_tests::world::wait::yes;
use serde_json::{Value, json};

/// A second Deployment of agentk that mounts the same Secret.
fn second_deployment(stage: &Stage<'_>) -> Result<()> {
    let text = stage.kubectl(&["get", "deployment", "gitlab-agent-v2", "-o", "json"])?;
    let first: Value = serde_json::from_str(&text)?;
    let mut spec = first["spec"].clone();
    spec["selector"]["matchLabels"]["app.kubernetes.io/instance"] = "second".into();
    spec["template"]["metadata"]["labels"]["app.kubernetes.io/instance"] = "second".into();
    spec["template"]["metadata"]["annotations"] = json!({});
    let labels = &first["metadata"]["labels"];
    let mut meta = json!({"name": "second", "namespace": "gitlab", "labels": labels});
    meta["labels"]["app.kubernetes.io/instance"] = "second".into();
    for key in ["helm.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/namespace"] {
        if let Some(labels) = meta["labels"].as_object_mut() {
            labels.remove(key);
        }
    }
    let second = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec});
    stage.world.apply(&second.to_string())?;
    stage.world.wait_until("the second Deployment to be connected", SOON, || {
        let known = stage.world.gitlab().connections(AGENT_ID);
        Ok(yes(known.iter().any(|c| c.pod.starts_with("second-"))))
    })
}

#[test]
fn two_deployments_on_one_secret_are_both_restarted_and_proven() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        second_deployment(&stage)?;
        let old = stage.held()?;
        watched(&stage, || {
            let ran = stage.rotate(&["--yes", "-o", "json"]);
            ensure!(ran.code == 0, "{ran:?}");
            let verified = ran.json()["verified"].as_str().context("verified")?.to_owned();
            for deployment in ["gitlab/gitlab-agent-v2", "gitlab/second"] {
                ensure!(verified.contains(deployment), "{verified}");
            }
            Ok(())
        })?;
        ensure!(stage.held()? != old);
        let mark = "jsonpath={.spec.template.metadata.annotations.cli\\.gitlab-agent\\.dev/token-rotation}";
        ensure!(!stage.kubectl(&["get", "deployment", "second", "-o", mark])?.is_empty(), "restarted");
        stage.kubectl(&["delete", "deployment", "second"])?;
        stage.is_clean()
    })
}

/// Where a copy lies and in which form; none is left with a dead value.
#[test]
fn a_copy_of_the_value_is_refused_wherever_it_lies() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        world.apply(
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "copies"}}).to_string(),
        )?;
        let token = stage.held()?;
        let auth = STANDARD.encode(format!("agent:{token}"));
        for (name, key, text) in [
            ("plain", "token", token.clone()),
            ("with-a-feed", "password", format!("{token}\n")),
            ("in-a-file", "config.yaml", format!("gitlab:\n  token: {token}\n")),
            ("registry", "config.json", json!({"auths": {"r": {"auth": auth}}}).to_string()),
        ] {
            let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "copies"},
                "data": {key: STANDARD.encode(text)}});
            world.apply(&secret.to_string())?;
            let words = format!("Secret copies/{name}");
            stage.refuses(&mut stage.prepared(&["--yes"]), 5, &[&words, "the same value"])?;
            world.kubectl(&["delete", "secret", "-n", "copies", name])?;
        }
        world.kubectl(&["delete", "namespace", "copies"])?;
        // Something else that reads the Secret would go on with what it read.
        let pod = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly", "namespace": "gitlab"},
            "spec": {"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "a", "image": "example.com/a:1",
                    "envFrom": [{"secretRef": {"name": "gitlab-agent-token"}}]}]}}}}}});
        world.apply(&pod.to_string())?;
        stage.refuses(&mut stage.prepared(&["--yes"]), 5, &["CronJob gitlab/nightly"])?;
        stage.kubectl(&["delete", "cronjob", "nightly"])?;
        stage.is_clean()
    })
}

#[test]
fn a_second_cluster_is_not_cut_off() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        let gitlab = world.gitlab();
        let elsewhere = "gitlab-agent-v2-0000000000-other";
        gitlab.connect(AGENT_ID, "gitlab", elsewhere, "v19.2.2");
        stage.refuses(&mut stage.prepared(&["--yes"]), 5, &[elsewhere, "another cluster"])?;
        gitlab.disconnect("gitlab", elsewhere);
        stage.is_connected()?;

        // It appears in the middle: nothing is revoked, and it is said how to go on.
        let mut running = Running::start(&mut stage.prepared(&["--yes"]))?;
        running.until("create", 1)?;
        gitlab.connect(AGENT_ID, "gitlab", elsewhere, "v19.2.2");
        let (code, seen) = running.ended()?;
        ensure!(code == Some(7) && seen.contains(elsewhere) && seen.contains("--resume"), "{code:?} {seen}");
        ensure!(stage.active().len() == 2, "both work");
        gitlab.disconnect("gitlab", elsewhere);
        stage.is_connected()?;

        // GitLab sees the old one used after all had moved.
        let old = gitlab.agent_tokens(AGENT_ID).into_iter().find(|t| !t.revoked).context("the old one")?.id;
        let mut running = Running::start(&mut stage.prepared(&["--resume", "--watch-old", "60s"]))?;
        running.until("prove-not-reverted", 1)?;
        gitlab.change_agent_token(old, |token| token.last_used = Some(jiff::Timestamp::now()))?;
        let (code, seen) = running.ended()?;
        ensure!(code == Some(7) && seen.contains("--revoke-anyway"), "{code:?} {seen}");
        ensure!(stage.active().len() == 2, "both work");
        let ran = stage.rotate(&["--resume", "-o", "json"]);
        ensure!(ran.code == 0 && ran.json()["verdict"] == "rotated", "{ran:?}");
        stage.is_clean()
    })
}

/// A clone of the cluster has pods of the same names.
#[test]
fn a_clone_of_the_cluster_is_not_cut_off() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        let gitlab = world.gitlab();
        let pod = gitlab.connections(AGENT_ID).first().context("a connection")?.pod.clone();
        let clone = gitlab.connect_a_clone(AGENT_ID, "gitlab", &pod, "v19.2.2");
        stage.refuses(&mut stage.prepared(&["--yes"]), 5, &["a second gitlab/", "another cluster"])?;
        gitlab.forget_connection(clone);

        // Cloned in the middle: its pods go on with the old one when those of here are gone, and GitLab sees that.
        let old = gitlab.agent_tokens(AGENT_ID).into_iter().find(|t| !t.revoked).context("the old one")?.id;
        let mut running = Running::start(&mut stage.prepared(&["--yes", "--watch-old", "60s"]))?;
        running.until("prove-not-reverted", 1)?;
        let clone = gitlab.connect_a_clone(AGENT_ID, "gitlab", &pod, "v19.2.2");
        gitlab.change_agent_token(old, |token| token.last_used = Some(jiff::Timestamp::now()))?;
        let (code, seen) = running.ended()?;
        ensure!(code == Some(7) && seen.contains("used at"), "{code:?} {seen}");
        ensure!(stage.active().len() == 2, "both work");
        gitlab.forget_connection(clone);
        stage.is_connected()?;
        let ran = stage.rotate(&["--resume", "-o", "json"]);
        ensure!(ran.code == 0, "{ran:?}");
        stage.is_clean()
    })
}

/// What a key of the same Secret holds is left as it is.
#[test]
fn the_value_under_another_key_of_the_secret_is_refused() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        let token = stage.held()?;
        let patch = |data: Value| {
            let patch = json!({ "data": data }).to_string();
            stage.kubectl(&["patch", "secret", "gitlab-agent-token", "--type=merge", "-p", &patch])
        };
        for (key, text) in [
            ("agent-token", token.clone()),
            ("config.yaml", format!("token: {token}\n")),
            (".netrc", format!("machine h login x password {token}")),
        ] {
            patch(json!({key: STANDARD.encode(text)}))?;
            stage.refuses(&mut stage.prepared(&["--yes"]), 5, &["under another key", key])?;
            patch(json!({key: null}))?;
        }
        stage.is_clean()
    })
}

/// It adopts the Secret while the pods restart.
#[test]
fn an_owner_that_appears_meanwhile_stops_it_before_the_revoke() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        let label = |value: Value| {
            let patch =
                json!({"metadata": {"labels": {"reconcile.external-secrets.io/managed": value}}}).to_string();
            stage.kubectl(&["patch", "secret", "gitlab-agent-token", "--type=merge", "-p", &patch])
        };
        let mut running = Running::start(&mut stage.prepared(&["--yes"]))?;
        running.until("write", 2)?;
        label("true".into())?;
        let (code, seen) = running.ended()?;
        ensure!(code == Some(7) && seen.contains("ExternalSecret"), "{code:?} {seen}");
        ensure!(stage.active().len() == 2, "both work");
        label(Value::Null)?;
        let ran = stage.rotate(&["--resume", "-o", "json"]);
        ensure!(ran.code == 0, "{ran:?}");
        stage.is_clean()
    })
}

/// Somebody puts the old value back, and nothing but the value: the Secret must not name the new token after that.
#[test]
fn a_value_that_is_put_back_leaves_a_secret_that_can_be_rotated() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        let old = stage.held()?;
        let mut running = Running::start(&mut stage.prepared(&["--yes"]))?;
        running.until("write", 2)?;
        let back = json!({"data": {"token": STANDARD.encode(&old)}}).to_string();
        stage.kubectl(&["patch", "secret", "gitlab-agent-token", "--type=merge", "-p", &back])?;
        let (code, seen) = running.ended()?;
        ensure!(code == Some(6) && stage.held()? == old, "{code:?} {seen}");
        let id =
            world.gitlab().agent_tokens(AGENT_ID).into_iter().find(|t| !t.revoked).context("a token")?.id;
        let named = stage.secret()?["metadata"]["annotations"]["gitlab.com/agent-token-id"].clone();
        ensure!(named.as_str() == Some(id.to_string().as_str()), "it names the token that it holds: {named}");
        stage.is_clean()?;
        let ran = stage.rotate(&["--yes", "-o", "json"]);
        ensure!(ran.code == 0, "{ran:?}");
        stage.is_clean()
    })
}

/// What it says is contradicted by the names in GitLab.
#[test]
fn a_journal_that_somebody_changed_is_not_believed() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        stage.killed_after("verify", 1, &["--yes"])?;
        let key = "cli.gitlab-agent.dev/rotation";
        let journal = || -> Result<Value> {
            let text =
                stage.secret()?["metadata"]["annotations"][key].as_str().context("a journal")?.to_owned();
            Ok(serde_json::from_str(&text)?)
        };
        let write = |journal: &Value| {
            let patch = json!({"metadata": {"annotations": {key: journal.to_string()}}}).to_string();
            stage.kubectl(&["patch", "secret", "gitlab-agent-token", "--type=merge", "-p", &patch])
        };
        let before = journal()?;
        let mut exchanged = before.clone();
        exchanged["oldToken"] = before["newToken"].clone();
        exchanged["newToken"] = before["oldToken"].clone();
        write(&exchanged)?;
        let ran = stage.rotate(&["--resume", "-o", "json"]);
        ensure!(ran.code == 7 && stage.active().len() == 2, "{ran:?}");
        let mut elsewhere = before.clone();
        elsewhere["host"] = "https://staging.example.com".into();
        write(&elsewhere)?;
        let ran = stage.rotate(&["--resume"]);
        ensure!(ran.code == 5 && ran.err.contains("staging.example.com"), "{ran:?}");
        write(&before)?;
        let ran = stage.rotate(&["--resume", "-o", "json"]);
        ensure!(ran.code == 0, "{ran:?}");
        stage.is_clean()
    })
}

#[test]
fn a_token_that_is_not_proven_to_be_the_secrets_is_not_revoked() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        stage.kubectl(&[
            "annotate",
            "--overwrite",
            "secret",
            "gitlab-agent-token",
            "gitlab.com/agent-token-id=4711",
        ])?;
        stage.refuses(&mut stage.prepared(&["--yes"]), 5, &["4711", "is not proven"])?;
        stage.kubectl(&["annotate", "secret", "gitlab-agent-token", "gitlab.com/agent-token-id-"])?;
        let id = world.gitlab().agent_tokens(AGENT_ID).iter().find(|t| !t.revoked).context("a token")?.id;
        let used =
            world.gitlab().agent_tokens(AGENT_ID).iter().find(|t| t.id == id).and_then(|t| t.last_used);
        world.gitlab().fault(
            &format!("GET /api/v4/projects/*/cluster_agents/*/tokens/{id}"),
            gitlab_agent_tests::world::gitlab::Fault::Status(
                200,
                json!({"id": id, "name": "made for something else", "status": "active", "last_used_at": null}).to_string(),
            ),
            1,
        );
        stage.refuses(&mut stage.prepared(&["--yes"]), 5, &["never used"])?;
        world.gitlab().clear_faults();
        world.gitlab().change_agent_token(id, |token| token.last_used = used)?;
        stage.is_clean()
    })
}

#[test]
fn what_others_write_is_refused() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        let patch = |patch: &str| {
            stage.kubectl(&["patch", "secret", "gitlab-agent-token", "--type=merge", "-p", patch])
        };
        for (part, key, value, word) in [
            ("labels", "reconcile.external-secrets.io/managed", "true", "ExternalSecret"),
            ("labels", "secrets.hashicorp.com/vso-ownerRefUID", "u", "Vault"),
            (
                "annotations",
                "reflector.v1.k8s.emberstack.com/reflects",
                "platform/token",
                "Reflector platform/token",
            ),
            ("annotations", "replicator.v1.mittwald.de/replicate-from", "platform/token", "Replicator"),
            ("labels", "kubed.appscode.com/origin.name", "token", "Config Syncer"),
            ("labels", "agent.gitlab.com/id-7", "", "GitLab-managed"),
        ] {
            patch(&json!({"metadata": {part: {key: value}}}).to_string())?;
            stage.refuses(&mut stage.prepared(&["--yes"]), 5, &[word, "--begin"])?;
            patch(&json!({"metadata": {part: {key: null}}}).to_string())?;
        }
        let uid =
            stage.kubectl(&["get", "deployment", "gitlab-agent-v2", "-o", "jsonpath={.metadata.uid}"])?;
        let owner = json!([{"apiVersion": "example.com/v1", "kind": "VaultSecret", "name": "v", "uid": uid, "controller": true}]);
        patch(
            &json!({"metadata": {"ownerReferences": owner, "finalizers": ["example.com/kept"]}}).to_string(),
        )?;
        stage.refuses(&mut stage.prepared(&["--yes"]), 5, &["VaultSecret gitlab/v"])?;
        patch(r#"{"metadata":{"ownerReferences":null,"finalizers":null}}"#)?;
        // A program that left no sign but its name as the field manager of the data.
        let held = stage.held()?;
        let write = |manager: &str, key: &str| {
            let data = json!({"data": {key: STANDARD.encode("x")}}).to_string();
            let field = format!("--field-manager={manager}");
            stage.kubectl(&["patch", "secret", "gitlab-agent-token", "--type=merge", &field, "-p", &data])
        };
        write("token-sync", "other")?;
        stage.refuses(&mut stage.prepared(&["--yes"]), 5, &["field manager token-sync"])?;
        patch(r#"{"data":{"other":null}}"#)?;
        ensure!(stage.held()? == held);
        stage.is_clean()
    })
}

#[test]
fn lists_that_lag_lose_nothing() -> Result<()> {
    World::with(|world| {
        for (killed, args) in [(None, "--yes"), (Some("create"), "--resume"), (Some("revoke"), "--resume")] {
            let stage = Stage::new(world)?;
            world.gitlab().configure(|settings| settings.list_lag = Duration::from_secs(8));
            let result = watched(&stage, || {
                world.gitlab().clear_requests();
                if let Some(step) = killed {
                    stage.killed_after(step, 1, &["--yes"])?;
                }
                let ran = stage.rotate(&[args, "-o", "json"]);
                ensure!(ran.code == 0 && ran.json()["verdict"] == "rotated", "{killed:?}: {ran:?}");
                let requests = world.gitlab().requests();
                let deletes =
                    requests.iter().filter(|r| r.method == "DELETE" && r.path.contains("/tokens/")).count();
                ensure!(deletes <= 3, "{killed:?}: {deletes} times DELETE");
                Ok(())
            });
            world.gitlab().configure(|settings| settings.list_lag = Duration::ZERO);
            result?;
            stage.is_clean().with_context(|| format!("{killed:?}"))?;
        }
        Ok(())
    })
}

/// Custom resources whose list fails, as that of a CustomResourceDefinition does whose conversion webhook is gone: whoever reads
/// the Secret may be among them.
#[test]
fn a_list_that_fails_is_not_an_empty_one() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        let schema =
            json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
        let version = |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage, "schema": schema});
        let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.example.com"},
            "spec": {"group": "example.com", "scope": "Namespaced",
                "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"},
                "versions": [version("v1", false), version("v1beta1", true)],
                "conversion": {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
                    "clientConfig": {"url": "https://127.0.0.1:1/convert"}}}}});
        world.apply(&definition.to_string())?;
        let widget = json!({"apiVersion": "example.com/v1beta1", "kind": "Widget",
            "metadata": {"name": "w", "namespace": "gitlab"}, "spec": {"secretName": "gitlab-agent-token"}});
        world.wait_until("the kind to be served", SOON, || {
            Ok(yes(world.apply(&widget.to_string()).is_ok()))
        })?;
        stage.refuses(&mut stage.prepared(&["--yes"]), 5, &["widgets", "--allow-unseen-holders"])?;
        stage.kubectl(&["delete", "widgets.v1beta1.example.com/w"])?;
        world.kubectl(&["delete", "crd/widgets.example.com"])?;
        let ran = stage.rotate(&["--yes"]);
        ensure!(ran.code == 0, "{ran:?}");
        stage.is_clean()
    })
}
