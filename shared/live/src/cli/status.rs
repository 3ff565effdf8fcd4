//! `status`: what runs here, is it healthy, and which revision is where. One screen.

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use gitlab_agent_core::assess::{CHECKS, assess};
use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::render::{self, StatusFormat};
use gitlab_agent_core::report::{Exit, Report, Thresholds};
use gitlab_agent_core::status::Status;

use super::{Common, EXIT_CODES, HasDeadline, out};

/// Shows in one screen what runs here, whether it is healthy, and which revision is where
#[derive(clap::Parser, Debug)]
#[command(
    name = "kubectl-gitlab_agent-status",
    bin_name = "kubectl gitlab-agent status",
    version,
    disable_help_flag = true,
    args_override_self = true,
    after_help = EXIT_CODES
)]
pub struct Args {
    /// Output: table at 80 columns, wide with everything, json and yaml for programs
    #[arg(short, long, default_value = "table")]
    pub output: Output,
    /// Flags of every command
    #[command(flatten)]
    pub common: Common,
}

/// Formats.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[expect(missing_docs, reason = "the names say it, and help shows them")]
pub enum Output {
    Table,
    Wide,
    Json,
    Yaml,
}

impl HasDeadline for Args {
    fn deadline(&self) -> Duration {
        self.common.timeout
    }
}

/// Runs the command.
///
/// # Errors
/// Kubeconfigs and recordings that cannot be used.
pub async fn run(args: Args) -> Result<Exit> {
    let snapshot = args.common.snapshot().await?;
    let facts = Facts::derive(&snapshot);
    let mut report = Report::build(&facts, assess(&facts, CHECKS.iter().copied()), &Thresholds::default());
    report.recording = args.common.recording_name();
    let exit = report.exit;
    let status = Status::build(&facts, report);
    let format = match args.output {
        Output::Table => StatusFormat::Table,
        Output::Wide => StatusFormat::Wide,
        Output::Json => StatusFormat::Json,
        Output::Yaml => StatusFormat::Yaml,
    };
    out(&render::status(&status, format, &args.common.style()));
    Ok(exit)
}
