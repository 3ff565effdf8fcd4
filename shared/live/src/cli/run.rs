//! Runs a command: reads its arguments, works until done, deadline or signal, and ends with its exit code.
//!
//! The work has a thread of its own, and the main one only waits: for its end, the deadline and signals. So they hold
//! whatever the work is at, an answer that does not come or a computation over what the cluster holds.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::{CommandFactory, FromArgMatches};
use gitlab_agent_core::report::Exit;
use gitlab_agent_core::text::visible;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::streams::{self, ended, note, note_lines, out};
use super::{UsageError, complete, modes};
use crate::access::CannotSignIn;
use crate::file::{self, NotWritten};
use crate::gitlab::tell_tokens;
use crate::known;
use crate::program;

/// How long work that is given up may take to put away what it holds: programs that it started, half lines. Work that
/// computes does not hear of it, and ends with the process.
const GRACE: Duration = Duration::from_millis(500);

/// As large as the main thread's: the C libraries differ in what they give to others.
const STACK: usize = 8 << 20;

/// Arguments that carry the run's deadline.
pub trait HasDeadline {
    /// How long the run may take.
    fn deadline(&self) -> Duration;

    /// The run keeps its deadline and takes signals itself, because it must not end anywhere.
    fn ends_by_itself(&self) -> bool {
        false
    }
}

/// Runs one command with the words of the process.
pub fn main<A, F>(work: impl FnOnce(A) -> F + Send + 'static) -> ExitCode
where
    A: FromArgMatches + CommandFactory + HasDeadline + Send + 'static,
    F: Future<Output = Result<Exit>>,
{
    main_with(std::env::args_os().collect(), work)
}

/// The same with these words, the program's name first.
pub fn main_with<A, F>(words: Vec<OsString>, work: impl FnOnce(A) -> F + Send + 'static) -> ExitCode
where
    A: FromArgMatches + CommandFactory + HasDeadline + Send + 'static,
    F: Future<Output = Result<Exit>>,
{
    hide_panics();
    tell_tokens();
    if let Some(words) = complete::asked(&words) {
        return complete::main(A::command(), words);
    }
    let args = match arguments::<A>(words) {
        Ok(args) => args,
        Err(exit) => return ended(exit),
    };
    let exit = on_a_thread(args, work).unwrap_or_else(|error| {
        note(&format!("error: {error:#}"));
        class_of(&error)
    });
    program::end_all();
    file::remove_partial();
    streams::restore();
    ended(exit)
}

fn on_a_thread<A, F>(args: A, work: impl FnOnce(A) -> F + Send + 'static) -> Result<Exit>
where
    A: HasDeadline + Send + 'static,
    F: Future<Output = Result<Exit>>,
{
    let limit = (!args.ends_by_itself()).then(|| args.deadline());
    let (give_up, given_up) = oneshot::channel::<()>();
    let (done, end) = oneshot::channel();
    let runtime = runtime()?;
    let work = move || {
        let worked = self::runtime().and_then(|runtime| {
            let worked = runtime.block_on(async {
                tokio::select! {
                    worked = work(args) => worked,
                    _ = given_up => Err(anyhow!("it was given up")),
                }
            });
            // A credential plugin or a resolver that hangs must not hold up the end.
            runtime.shutdown_background();
            worked
        });
        let _ = done.send(worked);
    };
    runtime.block_on(async move {
        let signals = Signals::listen()?;
        thread::Builder::new().stack_size(STACK).spawn(work).context("cannot start")?;
        let mut end = end;
        let early = async {
            match limit {
                Some(limit) => early_end(limit, signals).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            worked = &mut end => worked.context("the work ended without a result")?,
            exit = early => {
                drop(give_up);
                let _ = tokio::time::timeout(GRACE, end).await;
                Ok(exit)
            }
        }
    })
}

fn runtime() -> Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("cannot start")
}

/// The deadline, or a signal.
async fn early_end(limit: Duration, mut signals: Signals) -> Exit {
    let deadline = async {
        match limit.is_zero() {
            true => std::future::pending().await,
            false => tokio::time::sleep(limit).await,
        }
    };
    tokio::select! {
        () = deadline => {
            streams::still();
            note(&format!("error: gave up after {} s (--timeout)", limit.as_secs()));
            Exit::TimedOut
        }
        exit = signals.next() => exit,
    }
}

/// The signals that end a run.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// The terminal was closed; none where somebody (`nohup`) wants this to go on then.
    hang_up: Option<tokio::signal::unix::Signal>,
    /// Not waited for. Without it, writing more than the user's limit of a file's size would kill the process, which
    /// would leave the half file behind; with it, the write fails.
    _file_size: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        /// SIGXFSZ, on Linux and macOS.
        const FILE_SIZE: i32 = 25;
        let listen = |kind| signal(kind).context("cannot start");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: ends_with_terminal().then(|| signal(SignalKind::hangup()).ok()).flatten(),
            _file_size: signal(SignalKind::from_raw(FILE_SIZE)).ok(),
        })
    }

    async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
            () = hung_up(&mut self.hang_up) => Exit::HungUp,
        }
    }
}

#[cfg(unix)]
async fn hung_up(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Whether the process was started with SIGHUP ignored. Only Linux tells without `unsafe`; elsewhere the signal keeps its
/// effect.
#[cfg(unix)]
fn ends_with_terminal() -> bool {
    let status = file::read(Path::new("/proc/self/status"), 64 << 10).unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 0)
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Exit {
        let _ = tokio::signal::ctrl_c().await;
        Exit::Interrupted
    }
}

/// Reads the arguments. Help goes to standard output with 0, errors to standard error with 2.
fn arguments<A: FromArgMatches + CommandFactory>(words: Vec<OsString>) -> Result<A, Exit> {
    parse::<A>(&words).map_err(|error| {
        if error.use_stderr() {
            // clap quotes the words as they are, with line feeds of its own around them. So it is asked again, with
            // words that look like nothing else.
            let tame: Vec<OsString> =
                words.iter().map(|word| visible(&word.to_string_lossy()).into()).collect();
            let error = parse::<A>(&tame).err().filter(clap::Error::use_stderr).unwrap_or(error);
            note_lines(error.render().to_string().trim_end());
            return Exit::Usage;
        }
        let text = error.render();
        out(&if streams::is_terminal() { text.ansi().to_string() } else { text.to_string() });
        Exit::Fine
    })
}

fn parse<A: FromArgMatches + CommandFactory>(words: &[OsString]) -> Result<A, clap::Error> {
    let mut command = A::command();
    let mut matches = command.try_get_matches_from_mut(words)?;
    modes::check(&mut command, &matches)?;
    A::from_arg_matches_mut(&mut matches)
}

fn class_of(error: &anyhow::Error) -> Exit {
    if error.downcast_ref::<CannotSignIn>().is_some() {
        Exit::Unreachable
    } else if error.downcast_ref::<NotWritten>().is_some() && error.downcast_ref::<UsageError>().is_none() {
        Exit::Unwritten
    } else {
        Exit::Usage
    }
}

/// Panics say what broke without a payload: a payload may quote data. Whichever thread it is, the process ends.
pub(super) fn hide_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|l| format!(" at {}:{}", l.file(), l.line())).unwrap_or_default();
        known::give_up();
        program::end_all();
        file::remove_partial();
        streams::restore();
        note(&format!("error: this is a defect of kubectl gitlab-agent{place}; please report it"));
        #[expect(clippy::exit, reason = "a panic is a bug and ends with its own code, unwinding or not")]
        std::process::exit(i32::from(Exit::Bug.code()));
    }));
}
