//! `verify`: every documented verification and troubleshooting step as a check.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use gitlab_agent_core::assess::{CHECKS, Check, Severity, assess};
use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::render::{self, VerifyFormat};
use gitlab_agent_core::report::{Exit, Report, Thresholds};

use super::{Common, HasDeadline, UsageError, out};

/// Checks everything between a git push and a running pod: what fails, why, and the command that mends it
#[derive(clap::Parser, Debug)]
#[command(
    name = "kubectl-gitlab_agent-verify",
    bin_name = "kubectl gitlab-agent verify",
    version,
    disable_help_flag = true,
    args_override_self = true,
    after_help = "Exit codes: 0 fine · 1 problems · 2 usage · 3 could not find out · 4 cluster unreachable or sign-in \
                  failed · 124 timed out · 130 interrupted"
)]
pub struct Args {
    /// Output: table for people, json and yaml for programs
    #[arg(short, long, default_value = "table")]
    pub output: Output,
    /// Run only these checks (code like GA304, or name); repeat it or separate by commas
    #[arg(long, value_name = "CHECK", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Leave these checks out
    #[arg(long, value_name = "CHECK", value_delimiter = ',')]
    pub skip: Vec<String>,
    /// Give a check's findings another severity, as GA405=info
    #[arg(long, value_name = "CHECK=SEVERITY", value_delimiter = ',')]
    pub severity: Vec<String>,
    /// Findings of this severity and above end with exit code 1
    #[arg(long, value_name = "SEVERITY", default_value = "error")]
    pub fail_on: Level,
    /// Print a check's page and end
    #[arg(long, value_name = "CHECK", conflicts_with_all = ["from", "only", "skip", "list_checks"])]
    pub explain: Option<String>,
    /// List all checks and end
    #[arg(long)]
    pub list_checks: bool,
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

/// Severities as arguments.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[expect(missing_docs, reason = "the names say it, and help shows them")]
pub enum Level {
    Info,
    Warning,
    Error,
}

impl From<Level> for Severity {
    fn from(level: Level) -> Self {
        match level {
            Level::Info => Self::Info,
            Level::Warning => Self::Warning,
            Level::Error => Self::Error,
        }
    }
}

impl HasDeadline for Args {
    fn deadline(&self) -> Duration {
        self.common.timeout
    }
}

/// Runs the command.
///
/// # Errors
/// Unknown checks, and kubeconfigs and recordings that cannot be used.
pub async fn run(args: Args) -> Result<Exit> {
    if let Some(name) = &args.explain {
        out(named(name)?.page);
        return Ok(Exit::Fine);
    }
    if args.list_checks {
        out(&list());
        return Ok(Exit::Fine);
    }
    let checks = select(&args.only, &args.skip)?;
    let thresholds = Thresholds { fail_on: args.fail_on.into(), overrides: overrides(&args.severity)? };
    let snapshot = args.common.snapshot().await?;
    let facts = Facts::derive(&snapshot);
    let mut report = Report::build(&facts, assess(&facts, checks), &thresholds);
    report.recording = args.common.recording_name();
    let format = match args.output {
        Output::Table => VerifyFormat::Table,
        Output::Wide => VerifyFormat::Wide,
        Output::Json => VerifyFormat::Json,
        Output::Yaml => VerifyFormat::Yaml,
    };
    out(&render::verify(&report, format, &args.common.style()));
    Ok(report.exit)
}

fn list() -> String {
    let line = |c: &&Check| {
        format!("{}  {:<8} {:<32} {}\n", c.id(), format!("{:?}", c.severity).to_lowercase(), c.slug, c.title)
    };
    CHECKS.iter().map(line).collect()
}

fn select(only: &[String], skip: &[String]) -> Result<Vec<&'static Check>> {
    let only = only.iter().map(|n| named(n)).collect::<Result<Vec<_>>>()?;
    let skip = skip.iter().map(|n| named(n)).collect::<Result<Vec<_>>>()?;
    let among = |list: &[&'static Check], check: &Check| list.iter().any(|c| c.code == check.code);
    let chosen = CHECKS.iter().copied().filter(|c| (only.is_empty() || among(&only, c)) && !among(&skip, c));
    let chosen: Vec<_> = chosen.collect();
    if chosen.is_empty() {
        return Err(UsageError("--only and --skip leave no check to run".to_owned()).into());
    }
    Ok(chosen)
}

fn overrides(given: &[String]) -> Result<BTreeMap<u16, Severity>> {
    let one = |text: &String| {
        let bad = || UsageError(format!("--severity {text}: write CHECK=SEVERITY, for example GA405=info"));
        let (name, level) = text.split_once('=').ok_or_else(bad)?;
        let level = Level::from_str(level, true).map_err(|_| bad())?;
        Ok((named(name)?.code, level.into()))
    };
    given.iter().map(one).collect()
}

/// Finds a check, or says which ones come near.
fn named(name: &str) -> Result<&'static Check> {
    Check::named(name).ok_or_else(|| {
        let lower = name.to_lowercase();
        let word = lower.trim_start_matches("ga");
        let near: Vec<String> = CHECKS
            .iter()
            .filter(|c| {
                c.slug.contains(word) || (word.len() > 1 && c.code.to_string().starts_with(&word[..1]))
            })
            .map(|c| c.id())
            .collect();
        let hint = if near.is_empty() { String::new() } else { format!("; near it: {}", near.join(" ")) };
        UsageError(format!(
            "there is no check '{name}'{hint}. `kubectl gitlab-agent verify --list-checks` lists all"
        ))
        .into()
    })
}
