//! `snapshot`: records everything the other commands read, with no secret in it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use gitlab_agent_core::report::Exit;
use gitlab_agent_core::snapshot::{Snapshot, Why, WhyKind};

use super::{Common, HasDeadline, UsageError, note, out, record};
use crate::file;

/// Records everything that status and verify read, with no secret in it, to one file for their --from
#[derive(clap::Parser, Debug)]
#[command(
    name = "kubectl-gitlab_agent-snapshot",
    bin_name = "kubectl gitlab-agent snapshot",
    version,
    disable_help_flag = true,
    args_override_self = true,
    after_help = "Secrets are kept as key names, lengths and kinds, never as values; docs/snapshot.md lists what is kept.\n\
                  Exit codes: 0 recorded · 2 usage · 4 cluster unreachable or sign-in failed · 74 output not \
                  written · 124 timed out · 129 hung up · 130 interrupted · 143 terminated"
)]
pub struct Args {
    /// The file to write; packed when it ends in .gz; - for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
    /// Flags of every command
    #[command(flatten)]
    pub common: Common,
}

impl HasDeadline for Args {
    fn deadline(&self) -> Duration {
        self.common.timeout
    }
}

/// Runs the command.
///
/// # Errors
/// Kubeconfigs that cannot be used, and files that cannot be written.
pub async fn run(args: Args) -> Result<Exit> {
    let to_file = args.output.as_os_str() != "-";
    if to_file {
        file::check(&args.output).map_err(|error| UsageError(error.to_string()))?;
    }
    let snapshot = args.common.snapshot().await?;
    if let Err(why) = snapshot.server.get() {
        let silent = why.kind.is_silence();
        if silent {
            note(&format!("error: nothing recorded: {} ({})", why.message, snapshot.origin.server));
            return Ok(Exit::Unreachable);
        }
    }
    if !to_file {
        out(&snapshot.to_json().context("a snapshot has a JSON form")?);
    } else {
        record(&snapshot, &args.output)?;
    }
    let refused: Vec<String> =
        snapshot.access.iter().filter(|t| !t.allowed).map(|t| t.permission.to_string()).collect();
    if !refused.is_empty() {
        note(&format!("not recorded, because you may not: {}", refused.join(", ")));
    }
    for why in gaps(&snapshot) {
        note(&format!("not recorded: {}: {}", why.asked, why.message));
    }
    Ok(Exit::Fine)
}

/// What was asked for in vain, and is neither missing for want of a permission nor not served.
fn gaps(s: &Snapshot) -> Vec<Why> {
    let told =
        |why: &&Why| !matches!(why.kind, WhyKind::Forbidden | WhyKind::NotServed) && !why.kind.is_a_choice();
    let mut gaps: Vec<Why> = s.gaps().into_iter().filter(told).cloned().collect();
    gaps.sort();
    gaps.dedup();
    gaps
}
