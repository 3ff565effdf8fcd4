//! `cargo world`: the test world for a person. Starts it, says how to use it, and stops it on Ctrl-C.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use gitlab_agent_tests::world::components::Components;
use gitlab_agent_tests::world::gitlab::AGENT_PROJECT;
use gitlab_agent_tests::world::{Options, World};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run(),
        ["build"] => Components::build().map(drop),
        _ => Err(anyhow::anyhow!("usage: cargo world [build]")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let started = Instant::now();
    let world = World::start(Options::default())?;
    let _ = writeln!(std::io::stderr(), "world: started, waiting until all of it is healthy");
    if let Err(error) = world.wait_healthy() {
        bail!("{error:#}; the logs were in {}", world.dir().display());
    }
    let _ = writeln!(std::io::stderr(), "world: healthy after {:.1?}", started.elapsed());
    explain(&world)?;
    world.block_on(until_told_to_stop())?;
    let _ = writeln!(std::io::stderr(), "world: stopping");
    Ok(())
}

fn explain(world: &World) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let gitlab = world.gitlab();
    let address = gitlab.project_url(AGENT_PROJECT).replace("https://", "https://git@");
    let ca = world.dir().join("gitlab-ca.crt");
    std::fs::write(&ca, gitlab.ca_pem())?;
    let token = world.dir().join("gitlab-token");
    std::fs::write(&token, &world.tokens().person)?;
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600))?;
    writeln!(out, "export KUBECONFIG={}", world.kubeconfig().display())?;
    writeln!(out, "# kubectl, if you have none: {}", world.kubectl_path()?.display())?;
    writeln!(out, "# logs of every process: {}/*.log", world.dir().display())?;
    writeln!(out, "# the played GitLab: {}", gitlab.url())?;
    writeln!(out, "# the owner's personal access token, for git as password: {}", token.display())?;
    writeln!(out, "# its authority, for git as GIT_SSL_CAINFO: {}", ca.display())?;
    writeln!(out, "# to push, which agentk then tells Flux of:")?;
    writeln!(out, "#   export GIT_SSL_CAINFO={}", ca.display())?;
    writeln!(out, "#   git clone {address}")?;
    writeln!(out, "# Ctrl-C stops it all.")?;
    out.flush()?;
    Ok(())
}

async fn until_told_to_stop() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
