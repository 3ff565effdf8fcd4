//! `reconcile-now --through-webhook`: the way of a push event, and every link of it that can be broken.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context as _, Result, ensure};
use gitlab_agent_tests::programs::{Ran, run};
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::gitlab::AGENT_PROJECT;
use gitlab_agent_tests::world::wait::{wait_until, yes};
use serde_json::{Value, json};

use crate::app::{App, SOON, Stopped, prepared, reconcile};

/// A Receiver of its own type for a source, with a token that must never be shown.
fn receiver(world: &World, app: &App<'_>, kind: &str) -> Result<String> {
    let name = format!("{}-{kind}", app.name);
    let token = format!("hidden-{name}");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "flux-system", "labels": {"app": app.name}},
        "stringData": {"token": token}});
    let receiver = json!({"apiVersion": "notification.toolkit.fluxcd.io/v1", "kind": "Receiver",
        "metadata": {"name": name, "namespace": "flux-system", "labels": {"app": app.name}},
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

/// An app whose push events come by a Receiver of the test alone.
fn hooked<'w>(world: &'w World, name: &str) -> Result<App<'w>> {
    let app = App::new(world, name)?;
    let agentks = format!("gitlab-{name}");
    let made = ["get", "receiver", "-n", "flux-system", &agentks, "-o", "jsonpath={.metadata.name}"];
    world.wait_kubectl(&made, &agentks, SOON)?;
    world.kubectl(&["delete", "receiver", "-n", "flux-system", &agentks])?;
    Ok(app)
}

#[test]
fn the_api_servers_service_proxy_carries_a_push_event() -> Result<()> {
    World::with(|world| {
        let ran = reconcile(world, &[AGENT_PROJECT, "--through-webhook"]);
        ensure!(ran.code == 0 && ran.out.contains("(generic-hmac) took the push event: 200"), "{ran:?}");
        let app = hooked(world, "proxied")?;
        for kind in ["generic", "gitlab", "generic-hmac"] {
            let name = receiver(world, &app, kind)?;
            let sha = app.commit(|files| files.write("deploy/kind", kind))?;
            let ran = reconcile(world, &["shop/proxied", "--through-webhook", "-v", "--at", &sha]);
            ensure!(
                ran.code == 0 && ran.out.contains(&format!("({kind}) took the push event: 200")),
                "{ran:?}"
            );
            ensure!(
                ran.out.contains("notification-controller annotated GitRepository flux-system/proxied"),
                "{ran:?}"
            );
            let hidden = app.jsonpath("receiver", &name, "{.status.webhookPath}")?;
            let shown = format!("{}{}", ran.out, ran.err);
            ensure!(hidden.len() > 20 && !shown.contains(&hidden) && !shown.contains("hidden-"), "{shown}");
            world.kubectl(&["delete", "receiver", "-n", "flux-system", &name])?;
        }
        Ok(())
    })
}

/// Runs through the API server until these words come: endpoints and policies follow a change after a moment.
fn breaks(world: &World, project: &str, words: &str) -> Result<()> {
    wait_until(words, SOON, || {
        let ran = reconcile(world, &[project, "--through-webhook"]);
        if ran.code != 0 && ran.out.contains(words) { Ok(Some(())) } else { anyhow::bail!("{ran:?}") }
    })
}

#[test]
fn a_network_policy_in_the_way_is_named_and_what_it_says_to_add_mends_it() -> Result<()> {
    World::with(|world| {
        let policy = |args: &[&str]| world.kubectl(&[args, &["-n", "flux-system"]].concat());
        let kept = policy(&["get", "networkpolicy", "allow-webhooks", "-o", "json"])?;
        policy(&["delete", "networkpolicy", "allow-webhooks"])?;
        let tried = without_allow_webhooks(world);
        policy(&["delete", "networkpolicy", "allow-webhook-receiver", "--ignore-not-found"])?;
        world.apply_as("flux", &clean(&kept)?)?;
        tried
    })
}

fn without_allow_webhooks(world: &World) -> Result<()> {
    let named = "selected by NetworkPolicies allow-egress, allow-scraping in flux-system, and none of them lets it in";
    breaks(world, AGENT_PROJECT, named)?;
    // It may be the person's own patience that ends first.
    let ran = reconcile(world, &[AGENT_PROJECT, "--through-webhook", "--request-timeout", "1s"]);
    ensure!(ran.code == 1 && ran.out.contains(named), "{ran:?}");
    let kubeconfig = pusher(world)?;
    let ran = run(&mut prepared(&kubeconfig, &[AGENT_PROJECT, "--through-webhook"]));
    let unknown = "a NetworkPolicy may be in the way, and which is not known";
    ensure!(ran.code == 1 && ran.out.contains(unknown), "{ran:?}");
    let ran = reconcile(world, &[AGENT_PROJECT, "--through-webhook"]);
    let mut events = ran.out.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
    let added = events.find_map(|event| Some(event["hint"].as_str()?.split('\'').nth(1)?.to_owned()));
    world.apply(&added.context("a policy to add")?)?;
    open(world, AGENT_PROJECT)
}

fn open(world: &World, project: &str) -> Result<()> {
    wait_until("the way to be open", SOON, || {
        let ran = reconcile(world, &[project, "--through-webhook"]);
        if ran.code == 0 { Ok(Some(())) } else { anyhow::bail!("{ran:?}") }
    })
}

/// An object as it may be applied again.
fn clean(json: &str) -> Result<String> {
    let mut object: Value = serde_json::from_str(json)?;
    for field in ["uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"] {
        object["metadata"].as_object_mut().context("metadata")?.remove(field);
    }
    Ok(object.to_string())
}

/// A user who may push everything through, and see no NetworkPolicy, pod or Deployment.
pub(crate) fn pusher(world: &World) -> Result<std::path::PathBuf> {
    let rbac = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: pusher }
rules:
- { apiGroups: [source.toolkit.fluxcd.io, kustomize.toolkit.fluxcd.io, helm.toolkit.fluxcd.io, notification.toolkit.fluxcd.io], resources: ['*'], verbs: [get, list, watch, patch] }
- { apiGroups: [''], resources: [secrets], verbs: [get] }
- { apiGroups: [''], resources: [services/proxy], verbs: [create] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: pusher }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: pusher }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: User, name: pusher }]
";
    world.user_kubeconfig("pusher", rbac)
}

#[test]
fn each_broken_link_behind_the_service_proxy_has_its_words() -> Result<()> {
    World::with(|world| {
        let app = hooked(world, "linked")?;
        let name = receiver(world, &app, "gitlab")?;
        let patch = |kind: &str, name: &str, patch: &str| {
            world.kubectl(&["patch", "-n", "flux-system", kind, name, "--type=merge", "-p", patch]).map(drop)
        };
        patch("receiver", &name, r#"{"spec":{"events":["Tag Push Hook"]}}"#)?;
        breaks(world, "shop/linked", "takes only Tag Push Hook: a push is none of them")?;
        patch("receiver", &name, r#"{"spec":{"events":["Push Hook"]}}"#)?;
        patch("secret", &name, r#"{"stringData":{"token":"hidden-end "}}"#)?;
        breaks(world, "shop/linked", "refuses the signature that its own Secret makes")?;
        patch("secret", &name, r#"{"stringData":{"token":"hidden-end\n"}}"#)?;
        breaks(world, "shop/linked", "has a line break or another character that no header can carry")?;
        patch("secret", &name, r#"{"stringData":{"token":"hidden-end"}}"#)?;
        // The Service leads to a server that knows no such path, and then to nobody.
        let service = |port: &str| {
            let ports = format!(
                r#"{{"spec":{{"ports":[{{"name":"http","port":80,"protocol":"TCP","targetPort":{port}}}]}}}}"#
            );
            patch("service", "webhook-receiver", &ports)
        };
        let unknown = "the webhook does not know the path of Receiver flux-system/linked-gitlab";
        let nobody = "leads to a pod of notification-controller where nobody listens";
        let lost = service(r#""healthz""#).and_then(|()| breaks(world, "shop/linked", unknown));
        let deaf = service("8081").and_then(|()| breaks(world, "shop/linked", nobody));
        service(r#""http-webhook""#)?;
        lost.and(deaf)?;
        open(world, "shop/linked")
    })
}
