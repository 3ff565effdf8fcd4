//! Not knowing is never a pass, in the test world: right after agentk starts, behind a proxy that answers in the API server's
//! place, and in a namespace that is not there.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use gitlab_agent_tests::programs::{Ran, command, run};
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::wait::{wait_until, yes};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(180);

fn ask(world: &World, verb: &str, args: &[&str]) -> Ran {
    run(command(verb).args(args).env("KUBECONFIG", world.kubeconfig()))
}

fn line(ran: &Ran, code: &str) -> Result<Value> {
    let json = ran.json();
    let found = json["checks"].as_array().into_iter().flatten().find(|c| c["code"] == code).cloned();
    found.with_context(|| format!("no {code}: {}{}", ran.out, ran.err))
}

/// agentk's pods start, and for some time nobody leads: as after an install.
#[test]
fn waiting_after_a_start_waits_for_the_lease() -> Result<()> {
    World::with(|world| {
        world.wait_healthy()?;
        let agentk = world.agentk().context("agentk is played")?;
        let look = || ask(world, "verify", &["-o", "json", "--only", "GA307"]);
        // On a busy machine the minute may be over before the Lease is gone: then once more.
        wait_until("agentk to be young and without a Lease", SOON, || {
            agentk.change(|s| s.paused = false);
            world.kubectl(&["-n", "gitlab", "rollout", "restart", "deployment/gitlab-agent-v2"])?;
            world.kubectl(&["-n", "gitlab", "rollout", "status", "deployment/gitlab-agent-v2"])?;
            wait_until("GA307 to pass", SOON, || Ok(yes(look().code == 0)))?;
            agentk.change(|s| s.paused = true);
            world.kubectl(&["-n", "gitlab", "delete", "lease", "--all"])?;
            let now = look();
            let check = line(&now, "GA307")?;
            ensure!(now.code == 3 && check["unknown"][0]["kind"] == "tooEarly", "{} {}", now.code, now.out);
            Ok(Some(()))
        })?;
        let mut waiting = command("verify");
        waiting.args(["--wait", "--only", "GA307", "-o", "json", "--timeout", "2m", "--interval", "1s"]);
        waiting.env("KUBECONFIG", world.kubeconfig());
        let mut waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut told = BufReader::new(waiting.stderr.take().context("its errors")?);
        let mut first = String::new();
        told.read_line(&mut first)?;
        // It has looked once, and has not ended.
        agentk.change(|s| s.paused = false);
        let mut rest = String::new();
        told.read_to_string(&mut rest)?;
        let ran: Ran = waiting.wait_with_output()?.into();
        ensure!(first.starts_with("waiting: "), "{first}{rest}");
        ensure!(ran.code == 0 && line(&ran, "GA307")?["verdict"] == "pass", "{} {}{rest}", ran.code, ran.out);
        world.wait_healthy()
    })
}

/// A proxy in front of the real API server refuses one list. That is nobody's missing permission.
#[test]
fn a_proxys_refusal_is_no_missing_permission() -> Result<()> {
    World::with(|world| {
        world.wait_healthy()?;
        let page = "<html><head><title>403 Forbidden</title></head></html>";
        let proxy = world
            .false_api(move |asked| asked.path.contains("/receivers").then(|| (403, page.to_owned())))?;
        let file = world.dir().join("behind-a-proxy");
        let token = world.kubectl(&["-n", "default", "create", "token", "default"])?;
        world.token_kubeconfig(&file, token.trim(), Some((proxy.url(), proxy.ca_pem())))?;
        let through = |args: &[&str]| run(command("verify").args(args).env("KUBECONFIG", &file));
        let ran = through(&["-o", "json"]);
        let check = line(&ran, "GA402")?;
        ensure!(check["verdict"] == "unknown" && check["unknown"][0]["kind"] == "intercepted", "{check}");
        ensure!(
            check["unknown"][0]["message"].as_str().is_some_and(|m| m.contains("403 Forbidden")),
            "{check}"
        );
        let rights = line(&ran, "GA102")?;
        ensure!(rights["verdict"] == "pass" && ran.code == 3, "{} {rights}", ran.code);
        ensure!(line(&ran, "GA408")?["verdict"] == "pass", "the rest is judged: {}", ran.out);
        // What the API server says of a kind that it does not serve is plain text, marked as its own.
        let request =
            http::Request::get("/apis/none.example.com/v1/things").body(kube::client::Body::empty())?;
        let own = world.block_on(world.client().send(request))?;
        let plain =
            own.headers().get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
        ensure!(
            own.status() == 404 && plain && own.headers().contains_key("audit-id"),
            "{:?}",
            own.headers()
        );
        Ok(())
    })
}

#[test]
fn a_namespace_that_is_not_there_is_a_slip() -> Result<()> {
    World::with(|world| {
        let restricted = world.user_kubeconfig("sees-nothing", "")?;
        for (verb, args) in [("verify", &[][..]), ("status", &[]), ("reconcile_now", &["--all", "--dry-run"])]
        {
            let args = [args, &["-n", "gitlba"]].concat();
            let ran = ask(world, verb, &args);
            ensure!(
                ran.code == 2 && ran.err.contains("namespace gitlba does not exist"),
                "{verb}: {} {}{}",
                ran.code,
                ran.out,
                ran.err
            );
            let blind = run(command(verb).args(&args).env("KUBECONFIG", &restricted));
            ensure!(
                !blind.err.contains("does not exist") && blind.code != 0,
                "{verb}: {} {}{}",
                blind.code,
                blind.out,
                blind.err
            );
        }
        Ok(())
    })
}
