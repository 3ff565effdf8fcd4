//! Ctrl-C, SIGTERM and SIGHUP: at the prompt, while the lock is waited for, and in each step.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use gitlab_agent_tests::rotation::running::Running;
use gitlab_agent_tests::rotation::stage::{Stage, watched};
use gitlab_agent_tests::world::World;
use serde_json::json;

/// After which step which signal comes: it ends midway, both work, and it is resumed.
#[test]
fn told_in_any_step_it_ends_at_the_next_safe_place() -> Result<()> {
    World::with(|world| {
        for (step, signal) in [
            ("journal", "INT"),
            ("create", "TERM"),
            ("write", "HUP"),
            ("roll-out", "TERM"),
            ("verify", "INT"),
        ] {
            let stage = Stage::new(world)?;
            watched(&stage, || {
                let mut running = Running::start(&mut stage.prepared(&["--yes"]))?;
                running.until(step, 1)?;
                running.signal(signal)?;
                let (code, seen) = running.ended()?;
                ensure!(
                    code == Some(7) && seen.contains(&format!("SIG{signal}")),
                    "{step} {signal}: {code:?} {seen}"
                );
                let ran = stage.rotate(&["--resume", "-o", "json"]);
                ensure!(ran.code == 0 && ran.json()["verdict"] == "rotated", "{step}: {ran:?}");
                Ok(())
            })?;
            stage.is_clean().with_context(|| format!("{step} {signal}"))?;
        }
        Ok(())
    })
}

#[test]
fn while_the_lock_is_waited_for_it_ends_at_once() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        let before = stage.state()?;
        for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
            let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": "gitlab-agent-token-rotation", "namespace": "gitlab"},
                "spec": {"holderIdentity": "somebody else", "leaseDurationSeconds": 30,
                    "renewTime": format!("{:.6}", jiff::Timestamp::now())}});
            world.apply(&lease.to_string())?;
            let mut running = Running::start(&mut stage.prepared(&["--resume"]))?;
            running.until("lock", 1)?;
            running.signal(signal)?;
            let (ended, seen) = running.ended()?;
            ensure!(
                ended == Some(code) && seen.contains("nothing was changed"),
                "{signal}: {ended:?} {seen}"
            );
            let holder = "jsonpath={.spec.holderIdentity}";
            let held = stage.kubectl(&["get", "lease", "gitlab-agent-token-rotation", "-o", holder])?;
            ensure!(held == "somebody else", "{held}");
            stage.kubectl(&["delete", "lease", "gitlab-agent-token-rotation"])?;
        }
        ensure!(stage.state()? == before, "nothing was changed");
        stage.is_clean()
    })
}

/// On a real terminal, which `script` gives; Ctrl-C is typed there.
#[test]
fn at_the_prompt_it_ends_at_once() -> Result<()> {
    if Command::new("script").arg("--version").output().is_err() {
        return Ok(());
    }
    World::with(|world| {
        let stage = Stage::new(world)?;
        let before = stage.state()?;
        for (signal, code) in [("", 130), ("TERM", 143), ("HUP", 129)] {
            let prepared = stage.prepared(&[]);
            let pid = world.dir().join("prompt.pid");
            let words = std::iter::once(prepared.get_program()).chain(prepared.get_args());
            let words: Vec<String> = words.map(|w| format!("'{}'", w.to_string_lossy())).collect();
            let line = format!("echo $$ > '{}'; exec {}", pid.display(), words.join(" "));
            let mut script = Command::new("script");
            script.args(["-q", "-e", "-f", "-c", &line, "/dev/null"]);
            for (key, value) in prepared.get_envs() {
                script.env(key, value.unwrap_or_default());
            }
            script.env("SHELL", "/bin/sh");
            let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            let mut typed = child.stdin.take().context("no way to type")?;
            let mut screen = child.stdout.take().context("no screen")?;
            let mut seen = Vec::new();
            while !String::from_utf8_lossy(&seen).contains("to go on:") {
                let mut byte = [0];
                ensure!(screen.read(&mut byte)? == 1, "it ended: {}", String::from_utf8_lossy(&seen));
                seen.push(byte[0]);
            }
            if signal.is_empty() {
                typed.write_all(&[3])?;
                typed.flush()?;
            } else {
                let number = std::fs::read_to_string(&pid)?;
                let sent = Command::new("kill").args([&format!("-{signal}"), number.trim()]).status()?;
                ensure!(sent.success());
            }
            let mut rest = String::new();
            screen.read_to_string(&mut rest)?;
            let ended = child.wait()?.code();
            ensure!(
                ended == Some(code) && rest.contains("nothing was changed"),
                "{signal}: {ended:?} {rest}"
            );
        }
        ensure!(stage.state()? == before, "nothing was changed");
        stage.is_clean()
    })
}
