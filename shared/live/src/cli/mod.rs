//! What the commands share: flags, output, errors, exit codes. Data goes to standard output, talk to standard error.

pub mod complete;
pub mod completion;
pub mod front;
mod gitlab;
mod given;
mod modes;
mod namespace;
pub mod reconcile_now;
mod repeat;
pub mod rotate_token;
mod run;
mod signals;
pub mod snapshot;
pub mod status;
pub mod streams;
mod token_list;
pub mod verbs;
pub mod verify;
pub mod version;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use gitlab_agent_core::command::{Command, Program};
use gitlab_agent_core::render::Style;
use gitlab_agent_core::snapshot::Snapshot;

pub use self::gitlab::GitLabFlags;
pub use self::run::{HasDeadline, main, main_with};
pub use self::signals::{Signal, Signals};
pub use self::streams::{note, out};
use crate::access::{Access, ReadClient, duration};
use crate::file;
use crate::observe::{AskGitLab, Scope, observe};
use crate::recording;

/// How `status` and `verify` end, for their help.
pub(crate) const EXIT_CODES: &str = "Exit codes: 0 fine · 1 problems · 2 usage · 3 could not find out · 4 cluster \
                                     unreachable or sign-in failed · 74 output not written · 124 timed out · 129 hung up · 130 \
                                     interrupted · 143 terminated";

/// Flags of every command that reads.
#[derive(Clone, Debug, clap::Args)]
pub struct Common {
    /// Read a recording (`kubectl gitlab-agent snapshot`) instead of a cluster
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// Also write what was observed to this file, as `snapshot` does
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub record: Option<PathBuf>,
    /// Look only at this namespace, and Flux's own; otherwise at all
    #[arg(short, long, conflicts_with = "all_namespaces")]
    pub namespace: Option<String>,
    /// Look at all namespaces (the default)
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Namespace of the Flux controllers
    #[arg(long, value_name = "NAMESPACE", default_value = namespace::FLUX, env = "FLUX_SYSTEM_NAMESPACE")]
    pub flux_namespace: String,
    /// Give up after this long
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = duration)]
    pub timeout: Duration,
    /// Colour: auto follows the terminal, NO_COLOR and TERM=dumb
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Print this help
    #[arg(short, long, action = clap::ArgAction::HelpShort)]
    pub help: Option<bool>,
    /// Which cluster, as whom
    #[command(flatten)]
    pub access: Access,
    /// Which GitLab
    #[command(flatten)]
    pub gitlab: GitLabFlags,
}

/// The cluster, signed in to, and access to GitLab where the person gave it.
pub struct Connection {
    client: ReadClient,
    gitlab: gitlab::GitLabAccess,
    /// When signing in began, until the first look: it counts for that look's time.
    begun: Cell<Option<Instant>>,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[expect(missing_docs, reason = "the names say it, and help shows them")]
pub enum Color {
    Auto,
    Always,
    Never,
}

impl Common {
    /// What a command without these flags has of them: how to sign in, and Flux in its usual namespace.
    pub(crate) fn only(access: Access) -> Self {
        Self {
            from: None,
            record: None,
            namespace: None,
            all_namespaces: false,
            flux_namespace: namespace::FLUX.to_owned(),
            timeout: Duration::ZERO,
            color: Color::Auto,
            help: None,
            access,
            gitlab: GitLabFlags::default(),
        }
    }

    /// Observes the cluster, or reads the recording.
    ///
    /// # Errors
    /// The kubeconfig or the recording cannot be used. What the cluster does not answer is in the snapshot.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        if let Some(recorded) = self.recorded_whole()? {
            return Ok(recorded);
        }
        let connection = self.connect().await?;
        let snapshot = self.look(&connection).await?;
        self.record(&snapshot, Some(VERIFY));
        Ok(snapshot)
    }

    /// Writes the recording, where one is wanted, and says what it holds and which command reads it, where one is named.
    /// Where it cannot be written, the report is shown all the same.
    pub(crate) fn record(&self, snapshot: &Snapshot, reader: Option<&'static str>) {
        let Some(file) = &self.record else { return };
        match (recording::write(snapshot, file), reader) {
            (Err(error), _) => streams::unwritten(&format!("{error:#}")),
            (Ok(()), Some(reader)) => recorded(snapshot, file, reader),
            (Ok(()), None) => {}
        }
    }

    /// Finds out whether the recording can be written, before anything is asked: what cannot be written at all is a
    /// mistake in the arguments.
    ///
    /// # Errors
    /// It cannot.
    pub(crate) fn check_record(&self) -> Result<()> {
        let Some(file) = &self.record else { return Ok(()) };
        file::check(file).map_err(|error| UsageError(format!("--record: {error}")).into())
    }

    /// The recording, where one is to be read.
    ///
    /// # Errors
    /// It cannot be used, or flags ask for GitLab as well.
    pub(crate) fn recorded(&self) -> Result<Option<Snapshot>> {
        let Some(file) = &self.from else { return Ok(None) };
        if self.gitlab.is_given() {
            let text = "--from reads a recording and asks no GitLab: leave the flags of GitLab out, or record with them";
            return Err(UsageError(text.to_owned()).into());
        }
        recording::read(file).map(Some)
    }

    /// The recording for a command that shows all of it.
    ///
    /// # Errors
    /// It cannot be used, or flags ask for something that is not read any more.
    fn recorded_whole(&self) -> Result<Option<Snapshot>> {
        if self.from.is_some() && self.namespace.is_some() {
            let text = "--from reads the whole recording: leave -n out, or record with it";
            return Err(UsageError(text.to_owned()).into());
        }
        self.recorded()
    }

    /// Signs in.
    ///
    /// # Errors
    /// The kubeconfig cannot be used.
    pub async fn connect(&self) -> Result<Connection> {
        self.check_record()?;
        let begun = Cell::new(Some(Instant::now()));
        let gitlab = self.gitlab.access(&self.access)?;
        Ok(Connection { client: ReadClient::connect(&self.access).await?, gitlab, begun })
    }

    /// Observes the cluster once.
    ///
    /// # Errors
    /// The namespace that was named does not exist.
    pub async fn look(&self, Connection { client, gitlab, begun }: &Connection) -> Result<Snapshot> {
        self.observe(client, gitlab, begun.take().unwrap_or_else(Instant::now)).await
    }

    /// Observes the cluster, and ends in time for a report: a server that is silent is worth one.
    async fn observe(&self, client: &ReadClient, ask: &dyn AskGitLab, begun: Instant) -> Result<Snapshot> {
        let look = (!self.timeout.is_zero()).then(|| begun + self.timeout.mul_f64(LOOK));
        let client = client.until(look);
        let scope = Scope { namespace: self.namespace.clone(), flux_namespace: self.flux_namespace.clone() };
        let snapshot = observe(&client, &scope, ask).await;
        let flux = Some(self.flux_namespace.as_str()).filter(|name| *name != namespace::FLUX);
        let named: Vec<&str> = self.namespace.as_deref().into_iter().chain(flux).collect();
        namespace::check(&client, &snapshot, &named).await?;
        if self.access.verbose > 0 {
            let (requests, bytes) = (&client.cost.requests, &client.cost.bytes);
            note(&format!("{} requests, {} bytes", requests.load(ORDER), bytes.load(ORDER)));
        }
        Ok(snapshot)
    }

    /// How people's output looks here.
    pub fn style(&self) -> Style {
        let plain =
            std::env::var_os("NO_COLOR").is_some() || std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        let colour = match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => !plain && streams::is_terminal(),
        };
        let columns = || std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
        let width = terminal_size::terminal_size().map(|(w, _)| usize::from(w.0)).or_else(columns);
        Style { colour, width: width.unwrap_or(100), given: self.given(), shell: given::shell() }
    }

    /// The recording's name as the person wrote it.
    pub fn recording_name(&self) -> Option<String> {
        self.from.as_ref().map(|path| path.display().to_string())
    }
}

/// The part of a run's time that a look may take; the rest is for the report.
const LOOK: f64 = 0.9;

const ORDER: std::sync::atomic::Ordering = std::sync::atomic::Ordering::Relaxed;

/// Arguments that make no sense together: ends with exit code 2.
#[derive(Debug)]
pub struct UsageError(pub String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// Computes beside the runtime, so that deadlines and signals are heard meanwhile.
pub(crate) async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("a computation was given up")
}

/// Writes a recording, and says in one line what it holds.
fn record(snapshot: &Snapshot, file: &Path) -> Result<()> {
    recording::write(snapshot, file)?;
    recorded(snapshot, file, VERIFY);
    Ok(())
}

/// What reads a recording, as words of a command.
const VERIFY: &str = "kubectl gitlab-agent verify";

/// Says what the recording holds that was just written, and what reads it.
fn recorded(snapshot: &Snapshot, file: &Path, reader: &'static str) {
    let command = file.to_str().and_then(|file| line(Program::new(reader).flag("--from", file)));
    let read = command.map(|command| format!("; read it with `{command}`")).unwrap_or_default();
    note(&format!("recorded {} to {}{read}", recording::summary(snapshot), file.display()));
}

/// A command to paste, for the shell in use; none where it must not be printed.
pub(crate) fn line(program: Program) -> Option<String> {
    let command = Command::from(program);
    command.flaw().is_none().then(|| command.line(given::shell()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    /// In a process of its own: the hook ends it.
    #[test]
    fn a_panic_tells_where_and_nothing_of_what() {
        const CHILD: &str = "GITLAB_AGENT_TESTS_PANIC";
        if std::env::var_os(CHILD).is_some() {
            super::run::hide_panics();
            let read = "s3cr3t-in-an-error".parse::<u8>().map_err(|_| "s3cr3t-in-an-error");
            read.expect("s3cr3t-in-a-message");
        }
        let own = std::env::current_exe().expect("a program");
        let mut child = Command::new(own);
        child.args(["--exact", "cli::tests::a_panic_tells_where_and_nothing_of_what", "--nocapture"]);
        let output = child.env(CHILD, "1").env("RUST_BACKTRACE", "full").output().expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert_eq!(output.status.code(), Some(70), "{text}");
        assert!(text.contains("this is a defect") && text.contains("cli/mod.rs:"), "{text}");
        assert!(!text.contains("s3cr3t"), "{text}");
    }
}
