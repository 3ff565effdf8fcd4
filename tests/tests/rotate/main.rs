//! `rotate-token agent` in the test world: the real binary, killed where it hurts, against the real API server and Flux. The
//! played agentk reads its token once per pod and is cut off when that token is revoked.

mod by_hand;
mod refused_agent;
mod signals;

use std::io::Read as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitlab_agent_tests::canary::hides;
use gitlab_agent_tests::rotation::SOON;
use gitlab_agent_tests::rotation::running::Running;
use gitlab_agent_tests::rotation::stage::{Stage, watched};
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::gitlab::{AGENT_ID, AGENT_PROJECT, Fault};
use gitlab_agent_tests::world::wait::yes;
use serde_json::json;

const TOKENS: &str = "/api/v4/projects/*/cluster_agents/*/tokens";

#[test]
fn a_rotation_from_plan_to_receipt() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        let (before, old) = (stage.state()?, stage.held()?);
        for how in ["client", "server"] {
            let ran = stage.rotate(&[&format!("--dry-run={how}")]);
            ensure!(ran.code == 0 && ran.out.contains("no way back"), "{ran:?}");
        }
        ensure!(stage.state()? == before, "a dry run changes nothing");
        stage.refuses(&mut stage.prepared(&[]), 5, &["--yes"])?;
        watched(&stage, || {
            let ran = stage.rotate(&["--yes", "-o", "json", "-v", "-v", "--reason", "INC-4711"]);
            ensure!(ran.code == 0, "{ran:?}");
            let receipt = ran.json();
            ensure!(receipt["verdict"] == "rotated" && receipt["verified"].is_string(), "{receipt}");
            let new = stage.held()?;
            ensure!(new != old && stage.active() == [new.clone()], "the old one is revoked");
            hides(&format!("{}{}", ran.out, ran.err), &[old.clone(), new, stage.token.clone()])
        })?;
        stage.is_clean()?;
        let objects =
            world.kubectl(&["get", "events,leases,deployments,pods", "-n", "gitlab", "-o", "json"])?;
        hides(&objects, &[old, stage.held()?])?;
        ensure!(
            objects.contains("TokenRotation") && objects.contains("INC-4711"),
            "an Event says who and why"
        );
        let id = &stage.secret()?["metadata"]["annotations"]["gitlab.com/agent-token-id"];
        ensure!(id.is_string(), "the Secret says which token it holds");
        Ok(())
    })
}

#[test]
fn killed_at_every_step_it_is_resumed() -> Result<()> {
    World::with(|world| {
        for (step, nth) in [
            ("lock", 1),
            ("journal", 1),
            ("create", 1),
            ("write", 1),
            ("write", 2),
            ("roll-out", 1),
            ("roll-out", 2),
            ("verify", 1),
            ("prove-not-reverted", 1),
            ("prove-unused", 1),
            ("revoke", 1),
            ("clean", 1),
        ] {
            let stage = Stage::new(world)?;
            let old = stage.held()?;
            watched(&stage, || {
                stage.killed_after(step, nth, &["--yes"])?;
                let ran = stage.rotate(&["--resume", "-o", "json"]);
                ensure!(ran.code == 0, "after {step}: {ran:?}");
                let verdict = if step == "lock" { "nothing" } else { "rotated" };
                ensure!(ran.json()["verdict"] == verdict, "after {step}: {}", ran.out);
                ensure!((stage.held()? == old) == (step == "lock"), "after {step}");
                Ok(())
            })?;
            stage.is_clean().with_context(|| format!("after {step} {nth}"))?;
        }
        Ok(())
    })
}

/// Its Lease is all that it left: whoever rotates next takes it over.
#[test]
fn the_lock_of_a_dead_process_stops_nobody() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "gitlab-agent-token-rotation", "namespace": "gitlab"},
            "spec": {"holderIdentity": "ada@console of-before", "leaseDurationSeconds": 30}});
        world.apply(&lease.to_string())?;
        let ran = stage.rotate(&["--yes", "-o", "json"]);
        ensure!(ran.code == 0 && ran.json()["verdict"] == "rotated", "{ran:?}");
        stage.is_clean()
    })
}

#[test]
fn killed_while_gitlab_works_it_is_resumed() -> Result<()> {
    World::with(|world| {
        // Made, and nobody was told; and revoked, and nobody was told.
        for (route, times, args) in [
            (format!("POST {TOKENS}"), 1, ["--resume"]),
            (format!("POST {TOKENS}"), 1, ["--rollback"]),
            (format!("DELETE {TOKENS}/*"), 1, ["--resume"]),
        ] {
            let stage = Stage::new(world)?;
            watched(&stage, || {
                world.gitlab().fault(&route, Fault::StalledAnswer, times);
                world.gitlab().clear_requests();
                let mut running = Running::start(&mut stage.prepared(&["--yes"]))?;
                let method = route.split(' ').next().unwrap_or_default();
                let changed = |all: &[(u64, bool)]| match method {
                    "POST" => all.iter().filter(|t| !t.1).count() == 2,
                    _ => all.iter().filter(|t| !t.1).count() == 1 && all.len() > 1,
                };
                let before: Vec<u64> = world.gitlab().agent_tokens(AGENT_ID).iter().map(|t| t.id).collect();
                world.wait_until("GitLab to do it", SOON, || {
                    let all: Vec<(u64, bool)> =
                        world.gitlab().agent_tokens(AGENT_ID).iter().map(|t| (t.id, t.revoked)).collect();
                    Ok(yes(all.len() > before.len() && changed(&all)))
                })?;
                running.child.kill()?;
                running.child.wait()?;
                let ran = stage.rotate(&[args[0], "-o", "json"]);
                ensure!(ran.code == 0, "{route} {args:?}: {ran:?}");
                Ok(())
            })?;
            stage.is_clean().with_context(|| format!("{route} {args:?}"))?;
        }
        Ok(())
    })
}

#[test]
fn lost_answers_and_moods_of_gitlab_are_survived() -> Result<()> {
    World::with(|world| {
        for (route, fault, times) in [
            (format!("POST {TOKENS}"), Fault::LostAnswer, 1),
            (format!("POST {TOKENS}"), Fault::Garbage, 1),
            (format!("POST {TOKENS}"), Fault::Truncated, 1),
            (format!("POST {TOKENS}"), Fault::TooMany(Some(1)), 1),
            (format!("DELETE {TOKENS}/*"), Fault::LostAnswer, 1),
            (format!("DELETE {TOKENS}/*"), Fault::Status(500, "broken".to_owned()), 2),
        ] {
            let stage = Stage::new(world)?;
            watched(&stage, || {
                world.gitlab().fault(&route, fault.clone(), times);
                let ran = stage.rotate(&["--yes", "-o", "json", "-v"]);
                ensure!(ran.code == 0 && ran.json()["verdict"] == "rotated", "{route} {fault:?}: {ran:?}");
                let all = world.gitlab().agent_tokens(AGENT_ID).into_iter().map(|t| t.value);
                let all: Vec<String> = all.chain([stage.token.clone()]).collect();
                hides(&format!("{}{}", ran.out, ran.err), &all)
            })?;
            stage.is_clean().with_context(|| format!("{route} {fault:?}"))?;
        }
        // A clear no is undone; the journal does not stay.
        let stage = Stage::new(world)?;
        let old = stage.held()?;
        world.gitlab().fault(
            &format!("POST {TOKENS}"),
            Fault::Status(403, r#"{"message":"403 Forbidden"}"#.to_owned()),
            1,
        );
        let ran = stage.rotate(&["--yes", "-o", "json"]);
        ensure!(ran.code == 6 && ran.json()["verdict"] == "undone", "{ran:?}");
        ensure!(stage.held()? == old);
        stage.is_clean()
    })
}

#[test]
fn a_stopped_rotation_is_taken_back() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        let old = stage.held()?;
        watched(&stage, || {
            stage.killed_after("roll-out", 1, &["--yes"])?;
            stage.refuses(&mut stage.prepared(&["--yes"]), 5, &["--resume", "--rollback", "ada@console"])?;
            let ran = stage.rotate(&["--rollback", "-o", "json"]);
            ensure!(ran.code == 0 && ran.json()["verdict"] == "undone", "{ran:?}");
            ensure!(stage.held()? == old, "the old value is back");
            Ok(())
        })?;
        stage.is_clean()
    })
}

#[test]
fn of_two_runs_one_works() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        watched(&stage, || {
            // The first is held up in the middle, so that the second comes upon it.
            world.gitlab().fault(&format!("POST {TOKENS}"), Fault::Delay(Duration::from_secs(8)), 1);
            let mut first = Running::start(&mut stage.prepared(&["--yes"]))?;
            first.until("journal", 1)?;
            let beside = stage.rotate(&["--yes"]);
            ensure!(beside.code == 5 && beside.err.contains("--resume"), "{beside:?}");
            first.lines.read_to_string(&mut first.seen)?;
            let code = first.child.wait()?.code();
            ensure!(code == Some(0), "{code:?}: {}", first.seen);
            Ok(())
        })?;
        stage.is_clean()
    })
}

/// A Secret that a real Kustomization applies: refused; held off it is rotated, and stays through a reconciliation.
#[test]
fn a_secret_from_git_is_refused_or_held() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        let old = stage.held()?;
        let git = world.git(AGENT_PROJECT)?;
        let manifest = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": "gitlab-agent-token", "namespace": "gitlab"},
            "data": {"token": STANDARD.encode(&old)}});
        let text = manifest.to_string();
        git.commit_silently(|files| files.write("held/secret.yaml", &text), "The Secret, in Git")?;
        world.apply(
            "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\n\
             metadata: { name: held, namespace: flux-system }\n\
             spec: { interval: 1h, prune: false, path: ./held, sourceRef: { kind: GitRepository, name: flux-system } }\n",
        )?;
        let now = format!("reconcile.fluxcd.io/requestedAt={}", jiff::Timestamp::now());
        world.kubectl(&[
            "annotate",
            "--overwrite",
            "-n",
            "flux-system",
            "gitrepository/flux-system",
            &now,
        ])?;
        let label = "kustomize.toolkit.fluxcd.io/name";
        world.wait_until("Flux to apply the Secret", SOON, || {
            Ok(yes(stage.secret()?["metadata"]["labels"][label] == "held"))
        })?;
        stage.refuses(&mut stage.prepared(&["--yes"]), 5, &["Kustomization flux-system/held", "--hold"])?;
        let ran = stage.rotate(&["--yes", "--hold", "-o", "json"]);
        ensure!(ran.code == 0 && ran.err.contains("reconcile-"), "{ran:?}");
        ensure!(
            ran.json()["proven"].as_str().is_some_and(|p| p.contains("Kustomization flux-system/held")),
            "{}",
            ran.out
        );
        ensure!(stage.held()? != old, "the new value stayed");
        stage.is_clean()?;
        world.kubectl(&["delete", "-n", "flux-system", "kustomization/held"])?;
        let bare =
            r#"{"metadata":{"labels":null,"annotations":{"kustomize.toolkit.fluxcd.io/reconcile":null}}}"#;
        world
            .kubectl(&["patch", "secret", "-n", "gitlab", "gitlab-agent-token", "--type=merge", "-p", bare])
            .map(drop)
    })
}

/// A token goes to the host that the person named and nowhere else: not to where GitLab says that it moved.
#[test]
fn a_token_goes_nowhere_else() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        let trap = world.gitlab().trap(true)?;
        let to = format!("https://{}/", trap.address());
        world.gitlab().fault("GET /api/v4/personal_access_tokens/self", Fault::Redirect(to), 1);
        let ran = stage.rotate(&["--yes"]);
        ensure!(ran.code == 4, "{ran:?}");
        ensure!(ran.err.contains("moved"), "{ran:?}");
        ensure!(trap.caught().is_empty(), "something was sent");
        world.gitlab().clear_faults();
        stage.is_clean()
    })
}
