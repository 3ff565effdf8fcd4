//! `reconcile-now` in the test world: every way in which a chain moves or stands, with the words and the exit code that
//! a person gets. A run that waits past what is known would meet its own deadline, which none of these expects.

mod app;
mod webhook;

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use gitlab_agent_tests::programs::{Ran, run};
use gitlab_agent_tests::world::World;
use serde_json::Value;

use app::{
    App, Running, SOON, Stopped, config_map, ends, events, kustomization, prepared, reconcile, request_of,
};

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
        // The same chain by its labels, and everything.
        let ran = reconcile(world, &["-l", "app=healthy"]);
        assert_eq!(ends(&ran)?, ["GitRepository/healthy done", "Kustomization/healthy done"]);
        let ran = reconcile(world, &["--all"]);
        let all = ends(&ran)?;
        ensure!(ran.code == 0 && all.iter().all(|end| end.ends_with(" done")), "{all:?}");
        for hop in
            ["Kustomization/healthy done", "Kustomization/flux-system done", "HelmRelease/gitlab-agent done"]
        {
            ensure!(all.iter().any(|end| end == hop), "{all:?}");
        }
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
        // Asked alone, it waits for a dependency that is not ready and that nobody asked: no wait for that.
        let ran = reconcile(world, &["kustomization/unbuilt-next", "--only"]);
        assert_eq!(ends(&ran)?, ["Kustomization/unbuilt-next waiting"]);
        ensure!(
            ran.code == 1 && ran.out.contains("Kustomization flux-system/unbuilt, which is not ready"),
            "{ran:?}"
        );
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

/// A Deployment whose pods have this fate.
fn deployment(name: &str, fate: &str) -> String {
    let annotation = if fate.is_empty() { "world.test/none" } else { "world.test/fate" };
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: {name}, namespace: default }}\nspec:\n  replicas: 2\n  \
         selector: {{ matchLabels: {{ app: {name} }} }}\n  template:\n    metadata:\n      labels: {{ app: {name} }}\n      \
         annotations: {{ {annotation}: '{fate}' }}\n    spec: {{ containers: [{{ name: c, image: nginx }}] }}\n"
    )
}

/// What the summary says of the pods of the last hop.
fn pods_of(ran: &Ran) -> Result<Value> {
    let events = events(ran);
    let hops = events.last().and_then(|summary| summary["hops"].as_array());
    Ok(hops.and_then(|hops| hops.last()).with_context(|| format!("no hops: {ran:?}"))?["pods"].clone())
}

#[test]
fn the_whole_time_ends_when_the_pods_run() -> Result<()> {
    World::with(|world| {
        let app = App::new(world, "deployed")?;
        app.commit(|files| files.write("deploy/web.yaml", &deployment("deployed", "")))?;
        let ran = reconcile(world, &["shop/deployed"]);
        let pods = pods_of(&ran)?;
        ensure!(ran.code == 0 && pods["state"] == "running", "{ran:?}");
        let after = pods["seconds"].as_f64().context("seconds")?;
        let whole = events(&ran).last().and_then(|summary| summary["seconds"].as_f64()).context("seconds")?;
        ensure!(after > 0.0 && whole >= after, "{after} of {whole}: {ran:?}");
        // Flux does not wait for them, and calls it done.
        app.commit(|files| files.write("deploy/web.yaml", &deployment("deployed", "image-pull")))?;
        let ran = reconcile(world, &["shop/deployed"]);
        assert_eq!(ends(&ran)?, ["GitRepository/deployed done", "Kustomization/deployed done"]);
        let pods = pods_of(&ran)?;
        let text = pods["text"].as_str().unwrap_or_default();
        ensure!(ran.code == 1 && pods["state"] == "broken", "{ran:?}");
        ensure!(
            text.starts_with("Deployment default/deployed, Pod default/")
                && text.contains("ImagePullBackOff"),
            "{text}"
        );
        ensure!(ran.out.contains(r#""event":"deploying""#), "{ran:?}");
        // Who may not see them is told so; what was asked for is done.
        let kubeconfig = webhook::pusher(world)?;
        let ran = run(&mut prepared(&kubeconfig, &["shop/deployed"]));
        let pods = pods_of(&ran)?;
        ensure!(ran.code == 0 && pods["state"] == "unknown", "{ran:?}");
        ensure!(pods["text"].as_str().is_some_and(|t| t.contains("deployments.apps")), "{ran:?}");
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
