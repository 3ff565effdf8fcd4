//! What the suites of `rotate-token` share: who rotates, the real binary read line by line, and the watch over what the Secret
//! holds.

pub mod person;
pub mod running;
pub mod stage;

use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::world::World;

/// How long is waited for what takes seconds.
pub const SOON: Duration = Duration::from_secs(120);

/// The old credential is looked at once and not watched, unless a test says otherwise: GitLab takes minutes to show a use.
pub fn watch(args: &[&str]) -> &'static [&'static str] {
    if args.contains(&"--watch-old") { &[] } else { &["--watch-old", "0s"] }
}

/// This program asked GitLab for no change. Flux's own statuses are none of ours.
pub fn nothing_was_asked_for(world: &World) -> Result<()> {
    let requests = world.gitlab().requests();
    let ours =
        requests.iter().filter(|r| r.agent.as_ref().is_some_and(|a| a.starts_with("kubectl-gitlab_agent")));
    let wrote = ours.clone().find(|r| r.method != "GET" && r.path.starts_with("/api/v4"));
    ensure!(wrote.is_none(), "{wrote:?}");
    Ok(())
}

/// Looks all the time whether what a Secret (namespace, name, key) holds is active in GitLab. Values that were active just
/// before or just after the Secret was read count.
pub fn while_watched(
    world: &World,
    (namespace, secret, key): (&str, &str, &str),
    active: &(dyn Fn() -> Vec<String> + Sync),
    test: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let (ends, over) = std::sync::mpsc::channel::<()>();
    let client = world.client();
    let path = format!("/api/v1/namespaces/{namespace}/secrets/{secret}");
    std::thread::scope(|scope| {
        let watcher = scope.spawn(move || -> Result<()> {
            loop {
                let before = active();
                let request = http::Request::get(&path).body(Vec::new())?;
                let secret: Value = world.block_on(client.request(request))?;
                let encoded = secret["data"][key].as_str().context("no token")?;
                let held = String::from_utf8(STANDARD.decode(encoded)?)?;
                let after = active();
                ensure!(before.contains(&held) || after.contains(&held), "the Secret holds a dead token");
                // The end of the test closes the channel.
                if over.recv_timeout(Duration::from_millis(50)) != Err(RecvTimeoutError::Timeout) {
                    return Ok(());
                }
            }
        });
        let result = test();
        drop(ends);
        watcher.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))??;
        result
    })
}
