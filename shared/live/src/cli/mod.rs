//! What the commands share: flags, output, errors, exit codes. Data goes to standard output, talk to standard error.

pub mod complete;
pub mod completion;
pub mod front;
mod gitlab;
mod given;
mod namespace;
pub mod reconcile_now;
mod repeat;
pub mod rotate_token;
mod signals;
pub mod snapshot;
pub mod status;
mod token_list;
pub mod verbs;
pub mod verify;
pub mod version;

use std::cell::Cell;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{CommandFactory, FromArgMatches, ValueEnum};
use gitlab_agent_core::render::Style;
use gitlab_agent_core::report::Exit;
use gitlab_agent_core::snapshot::Snapshot;

pub use self::gitlab::GitLabFlags;
pub use self::signals::{Signal, Signals};
use crate::access::{Access, CannotSignIn, ReadClient, duration};
use crate::observe::{AskGitLab, Scope, observe};
use crate::recording;

/// How `status` and `verify` end, for their help.
pub(crate) const EXIT_CODES: &str = "Exit codes: 0 fine · 1 problems · 2 usage · 3 could not find out · 4 cluster \
                                     unreachable or sign-in failed · 124 timed out · 130 interrupted";

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
        if let Some(file) = &self.record {
            record(&snapshot, file)?;
        }
        Ok(snapshot)
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
            Color::Auto => !plain && std::io::stdout().is_terminal(),
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

/// Runs one command: reads its arguments, works until done, deadline or Ctrl-C, and ends with its exit code.
pub fn main<A, F>(work: impl FnOnce(A) -> F) -> ExitCode
where
    A: FromArgMatches + CommandFactory + HasDeadline,
    F: Future<Output = Result<Exit>>,
{
    main_with(std::env::args_os().collect(), work)
}

/// The same with these words, the program's name first.
pub fn main_with<A, F>(words: Vec<OsString>, work: impl FnOnce(A) -> F) -> ExitCode
where
    A: FromArgMatches + CommandFactory + HasDeadline,
    F: Future<Output = Result<Exit>>,
{
    hide_panics();
    if let Some(words) = complete::asked(&words) {
        return complete::main(A::command(), words);
    }
    let args = match arguments::<A>(words) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let (deadline, itself) = (args.deadline(), args.ends_by_itself());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.context("cannot start").and_then(|runtime| {
        let ended = runtime
            .block_on(async { if itself { work(args).await } else { until(deadline, work(args)).await } });
        // A credential plugin or a resolver that hangs must not hold up the end.
        runtime.shutdown_background();
        ended
    });
    let exit = ended.unwrap_or_else(|error| {
        note(&format!("error: {error:#}"));
        class_of(&error)
    });
    ExitCode::from(exit.code())
}

/// Arguments that carry the run's deadline.
pub trait HasDeadline {
    /// How long the run may take.
    fn deadline(&self) -> Duration;

    /// The run keeps its deadline and takes Ctrl-C itself, because it must not end anywhere.
    fn ends_by_itself(&self) -> bool {
        false
    }
}

async fn until(deadline: Duration, work: impl Future<Output = Result<Exit>>) -> Result<Exit> {
    let limit = if deadline.is_zero() { Duration::from_secs(60 * 60 * 24 * 365) } else { deadline };
    tokio::select! {
        ended = work => ended,
        () = tokio::time::sleep(limit) => {
            note(&format!("error: gave up after {} s (--timeout)", limit.as_secs()));
            Ok(Exit::TimedOut)
        }
        _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
    }
}

/// Reads the arguments. Help goes to standard output with 0, errors to standard error with 2.
fn arguments<A: FromArgMatches + CommandFactory>(words: Vec<OsString>) -> Result<A, ExitCode> {
    let parsed = A::command().try_get_matches_from(words).and_then(|matches| A::from_arg_matches(&matches));
    parsed.map_err(|error| {
        let text = error.render();
        let style = std::io::stderr().is_terminal();
        let text = if style { text.ansi().to_string() } else { text.to_string() };
        if error.use_stderr() {
            note(text.trim_end());
            ExitCode::from(Exit::Usage.code())
        } else {
            out(&text);
            ExitCode::SUCCESS
        }
    })
}

fn class_of(error: &anyhow::Error) -> Exit {
    if error.downcast_ref::<CannotSignIn>().is_some() { Exit::Unreachable } else { Exit::Usage }
}

/// Panics say what broke without a payload: a payload may quote data.
fn hide_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|l| format!(" at {}:{}", l.file(), l.line())).unwrap_or_default();
        note(&format!("error: this is a defect of kubectl gitlab-agent{place}; please report it"));
        #[expect(clippy::exit, reason = "a panic is a bug and ends with its own code, unwinding or not")]
        std::process::exit(i32::from(Exit::Bug.code()));
    }));
}

/// Writes data to standard output. A closed pipe (`| head`) is nobody's fault.
pub fn out(text: &str) {
    let _ = is_read(text);
}

/// Writes a recording, and says in one line what it holds.
fn record(snapshot: &Snapshot, file: &Path) -> Result<()> {
    recording::write(snapshot, file)?;
    recorded(snapshot, file);
    Ok(())
}

/// Says what the recording holds that was just written.
fn recorded(snapshot: &Snapshot, file: &Path) {
    let (summary, file) = (recording::summary(snapshot), file.display());
    note(&format!("recorded {summary} to {file}; read it with `kubectl gitlab-agent verify --from {file}`"));
}

/// The same; false where nobody reads any more.
fn is_read(text: &str) -> bool {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_ok()
}

/// Writes a line of talk to standard error.
pub fn note(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = writeln!(stderr, "{text}");
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    /// In a process of its own: the hook ends it.
    #[test]
    fn a_panic_tells_where_and_nothing_of_what() {
        const CHILD: &str = "GITLAB_AGENT_TESTS_PANIC";
        if std::env::var_os(CHILD).is_some() {
            super::hide_panics();
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
