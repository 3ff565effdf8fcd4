//! `verify`: every documented verification and troubleshooting step as a check.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use gitlab_agent_core::assess::{CHECKS, Check, Severity, assess, needs, reads, reads_references};
use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::need::Need;
use gitlab_agent_core::render::{self, ListFormat, Rbac, VerifyFormat};
use gitlab_agent_core::report::{Exit, Report, Thresholds};
use gitlab_agent_core::snapshot::Snapshot;

use jiff::SignedDuration;

use super::{Common, Connection, EXIT_CODES, HasDeadline, UsageError, VERIFY, apart, out, repeat};
use crate::access::duration;

/// Checks everything between a git push and a running pod: what fails, why, and the command that mends it
#[derive(clap::Parser, Debug)]
#[command(
    name = "kubectl-gitlab_agent-verify",
    bin_name = "kubectl gitlab-agent verify",
    version,
    disable_help_flag = true,
    args_override_self = true,
    after_help = EXIT_CODES
)]
pub struct Args {
    /// Output: table and wide for people, short for a chat, markdown for an incident, json and yaml for programs,
    /// junit for a GitLab pipeline, prometheus for metrics
    #[arg(short, long, default_value = "table", hide_possible_values = true)]
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
    /// Warn of credentials that expire within this time
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = window)]
    pub expiry_window: SignedDuration,
    /// Leave findings below this severity out of the output; they still count
    #[arg(long, value_name = "SEVERITY", default_value = "info")]
    pub output_threshold: Level,
    /// Retry until all checks pass, for --timeout at most
    #[arg(long, conflicts_with_all = ["from", "watch"])]
    pub wait: bool,
    /// Look again and again, until Ctrl-C; each look may take --timeout
    #[arg(long, conflicts_with_all = ["from", "record"])]
    pub watch: bool,
    /// Time between two looks of --wait and --watch
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub interval: Duration,
    /// Print a check's page and end
    #[arg(long, value_name = "CHECK", conflicts_with_all = ["from", "only", "skip", "list_checks", "wait", "watch"])]
    pub explain: Option<String>,
    /// List all checks and end; -o json and yaml too
    #[arg(long, conflicts_with_all = ["from", "only", "skip", "wait", "watch"])]
    pub list_checks: bool,
    /// Print the least RBAC roles for the chosen checks as YAML and end
    #[arg(long, conflicts_with_all = ["from", "explain", "list_checks", "wait", "watch"])]
    pub print_rbac: bool,
    /// With --print-rbac: also this service account, bound to the roles
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "print_rbac")]
    pub service_account: Option<String>,
    /// Flags of every command
    #[command(flatten)]
    pub common: Common,
}

/// Formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "the names say it, and help shows them")]
pub enum Output {
    Table,
    Wide,
    Short,
    Json,
    Yaml,
    Junit,
    Markdown,
    Prometheus,
}

impl From<Output> for VerifyFormat {
    fn from(output: Output) -> Self {
        match output {
            Output::Table => Self::Table,
            Output::Wide => Self::Wide,
            Output::Short => Self::Short,
            Output::Json => Self::Json,
            Output::Yaml => Self::Yaml,
            Output::Junit => Self::Junit,
            Output::Markdown => Self::Markdown,
            Output::Prometheus => Self::Prometheus,
        }
    }
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
    /// `--wait` ends by itself, with a report; this is only the net below it. `--watch` has no end.
    fn deadline(&self) -> Duration {
        match self.common.timeout {
            _ if self.watch => Duration::ZERO,
            limit if self.wait && !limit.is_zero() => limit + self.common.access.request_timeout,
            limit => limit,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Unknown checks, arguments that make no sense together, and kubeconfigs and recordings that cannot be used.
pub async fn run(args: Args) -> Result<Exit> {
    if let Some(name) = &args.explain {
        out(named(name)?.page);
        return Ok(Exit::Fine);
    }
    if args.list_checks {
        out(&list(args.output)?);
        return Ok(Exit::Fine);
    }
    let checks = select(&args.only, &args.skip)?;
    if args.print_rbac {
        out(&args.rbac(&checks)?);
        return Ok(Exit::Fine);
    }
    let thresholds = Thresholds { fail_on: args.fail_on.into(), overrides: overrides(&args.severity)? };
    let mut looker = Looker { args: &args, checks, thresholds, connection: None, recorded: false };
    if args.watch {
        return repeat::watch(&args.watched()?, async || looker.look().await).await;
    }
    let report = if args.wait {
        let limit = args.common.timeout;
        match repeat::until_well(limit, args.interval, async || looker.look().await).await? {
            Some(report) => report,
            None => return Ok(Exit::TimedOut),
        }
    } else {
        looker.look().await?
    };
    out(&render::verify(&report, args.output.into(), &args.common.style()));
    Ok(report.exit)
}

/// Reads days as well, because tokens live by days.
pub(super) fn window(text: &str) -> Result<SignedDuration, String> {
    let bad = || format!("'{text}' is not a length of time; write 30d, 12h or 90m");
    let seconds = match text.strip_suffix('d') {
        Some(days) => days.parse::<u32>().ok().map(|d| u64::from(d) * 86_400),
        None => duration(text).ok().map(|d| d.as_secs()),
    };
    let seconds = seconds.and_then(|s| i64::try_from(s).ok()).filter(|s| *s <= 3660 * 86_400);
    seconds.map(SignedDuration::from_secs).ok_or_else(bad)
}

/// Looks at the cluster or the recording, and judges; signs in once for many looks.
struct Looker<'a> {
    args: &'a Args,
    checks: Vec<&'static Check>,
    thresholds: Thresholds,
    connection: Option<Connection>,
    recorded: bool,
}

impl Looker<'_> {
    async fn look(&mut self) -> Result<Report> {
        let common = &self.args.common;
        let snapshot = match (common.recorded_whole()?, &self.connection) {
            (Some(recorded), _) => recorded,
            (None, Some(connection)) => common.look(connection).await?,
            (None, None) => {
                let connection = common.connect().await?;
                let snapshot = common.look(&connection).await?;
                self.connection = Some(connection);
                snapshot
            }
        };
        let judge = Judge {
            checks: self.checks.clone(),
            thresholds: self.thresholds.clone(),
            expiry_window: self.args.expiry_window,
            recording: common.recording_name(),
            threshold: self.args.output_threshold.into(),
        };
        let record = common.clone();
        // Of many looks one line is enough.
        let reader = (!std::mem::replace(&mut self.recorded, true)).then_some(VERIFY);
        let report = apart(move || {
            record.record(&snapshot, reader);
            judge.report(snapshot)
        })
        .await?;
        if report.exit == Exit::Unreachable {
            // The credential may have expired: the next look signs in anew.
            self.connection = None;
        }
        Ok(report)
    }
}

/// What a report is made with.
struct Judge {
    checks: Vec<&'static Check>,
    thresholds: Thresholds,
    expiry_window: SignedDuration,
    recording: Option<String>,
    threshold: Severity,
}

impl Judge {
    fn report(self, mut snapshot: Snapshot) -> Report {
        self.only_what_is_needed(&mut snapshot);
        let mut facts = Facts::derive(&snapshot);
        facts.expiry_window = self.expiry_window;
        let checks = self.checks.iter().copied();
        let mut report = Report::build(&facts, assess(&facts, checks), &self.thresholds);
        report.recording = self.recording;
        report.hide_below(self.threshold);
        report
    }

    /// A permission that no chosen check needs is not missing.
    fn only_what_is_needed(&self, snapshot: &mut Snapshot) {
        let needed = needs(&self.checks);
        snapshot.access.retain(|trial| {
            let p = &trial.permission;
            Need::of(&p.verb, &p.group, &p.resource).is_none_or(|need| needed.contains(&need))
        });
    }
}

impl Args {
    fn watched(&self) -> Result<repeat::Watched> {
        if !matches!(self.output, Output::Table | Output::Wide | Output::Short | Output::Json) {
            let text =
                "--watch shows table, wide or short, or writes json, one report a line; not other formats";
            return Err(UsageError(text.to_owned()).into());
        }
        Ok(repeat::Watched {
            format: self.output.into(),
            style: self.common.style(),
            interval: self.interval,
            limit: self.common.timeout,
        })
    }

    fn rbac(&self, checks: &[&Check]) -> Result<String> {
        if !matches!(self.output, Output::Table | Output::Yaml) {
            return Err(UsageError("--print-rbac prints YAML, for kubectl apply -f -".to_owned()).into());
        }
        let account = self.service_account.as_deref().map(|text| {
            let parts =
                text.split_once('/').filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
            parts.ok_or_else(|| UsageError(format!("--service-account {text}: write NAMESPACE/NAME")))
        });
        let rbac = Rbac {
            needs: reads(checks),
            references: reads_references(checks),
            namespace: self.common.namespace.as_deref(),
            flux_namespace: &self.common.flux_namespace,
            account: account.transpose()?,
        };
        Ok(rbac.yaml())
    }
}

fn list(output: Output) -> Result<String> {
    let width = CHECKS.iter().map(|c| c.slug.len()).max().unwrap_or_default();
    let line = |c: &&Check| {
        let severity = format!("{:?}", c.severity).to_lowercase();
        format!("{}  {severity:<8} {:<width$}  {}\n", c.id(), c.slug, c.title)
    };
    Ok(match output {
        Output::Table | Output::Wide => CHECKS.iter().map(line).collect(),
        Output::Json => render::checks(CHECKS, ListFormat::Json),
        Output::Yaml => render::checks(CHECKS, ListFormat::Yaml),
        _ => return Err(UsageError("--list-checks prints table, json or yaml".to_owned()).into()),
    })
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
