//! Programs that this one runs for an answer: credential plugins, kubectl, flux. Each has a process group of its own that
//! ends with it, and what it prints has a bound.
//!
//! A group is told to end (SIGTERM) and then made to (SIGKILL): when its first process has answered, at a deadline, on a
//! signal, and, for whatever is left then, when this process ends. What leaves its group (`setsid`) is out of reach.

use std::collections::BTreeSet;
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

/// How often, and after what pauses, a group is looked at that was told to end. In all it is less than a run gives itself to
/// put away what it holds.
const LOOKS: u32 = 30;
const PAUSE: Duration = Duration::from_millis(10);

/// Groups that have not ended.
static GROUPS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// A program that runs.
pub(crate) struct Program {
    child: Child,
    /// Its process group, which lives on when it has ended and something that it started has not.
    group: Option<i32>,
}

impl Program {
    /// Starts it, in a group of its own; or in the terminal's, where it is to ask the person.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(command: &mut Command, asks: bool) -> std::io::Result<Self> {
        #[cfg(unix)]
        if !asks {
            command.process_group(0);
        }
        let child = command.kill_on_drop(true).spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).filter(|_| cfg!(unix) && !asks);
        groups().extend(group);
        Ok(Self { child, group })
    }

    /// What it prints, at most one byte more than the bound, and how it ends. One that prints more is ended.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) async fn output(mut self, most: usize) -> std::io::Result<(Vec<u8>, ExitStatus)> {
        let mut output = Vec::new();
        if let Some(stdout) = self.child.stdout.take() {
            stdout.take(most as u64 + 1).read_to_end(&mut output).await?;
        }
        if output.len() > most {
            self.end();
            self.child.start_kill()?;
        }
        Ok((output, self.child.wait().await?))
    }

    fn end(&mut self) {
        let Some(group) = self.group.take() else { return };
        if tell(group, End::Please) {
            for _ in 0..LOOKS {
                // A process that nobody waited for still counts.
                let _ = self.child.try_wait();
                if !tell(group, End::Lives) {
                    break;
                }
                std::thread::sleep(PAUSE);
            }
            tell(group, End::Now);
        }
        groups().remove(&group);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
    }
}

/// Ends whatever runs still, because this process ends.
pub(crate) fn end_all() {
    let left = std::mem::take(&mut *groups());
    left.into_iter().for_each(|group| {
        tell(group, End::Now);
    });
}

fn groups() -> std::sync::MutexGuard<'static, BTreeSet<i32>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a group is told.
#[derive(Clone, Copy)]
enum End {
    Lives,
    Please,
    Now,
}

/// False where nobody is there any more.
#[cfg(unix)]
fn tell(group: i32, what: End) -> bool {
    use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
    let Some(group) = Pid::from_raw(group) else { return false };
    match what {
        End::Lives => test_kill_process_group(group),
        End::Please => kill_process_group(group, Signal::TERM),
        End::Now => kill_process_group(group, Signal::KILL),
    }
    .is_ok()
}

/// Elsewhere than on Unix there are no groups.
#[cfg(not(unix))]
fn tell(_: i32, _: End) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::path::Path;
    use std::process::Stdio;

    use super::*;

    fn shell(script: &str, dir: &Path) -> std::io::Result<Program> {
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(dir).stdin(Stdio::null()).stderr(Stdio::null());
        Program::start(command.stdout(Stdio::piped()), false)
    }

    fn lives(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    }

    async fn written(file: &Path) -> String {
        loop {
            match std::fs::read_to_string(file) {
                Ok(text) if text.ends_with('\n') => return text,
                _ => tokio::task::yield_now().await,
            }
        }
    }

    /// What runs is told to end, and where it does not listen it is ended; whichever way this program leaves it.
    #[tokio::test]
    async fn nothing_of_a_group_outlives_it() {
        let deaf = "trap '' TERM HUP INT; ";
        for (what, script) in [
            ("it runs on", "echo $$ >pid; sleep 1000"),
            ("it is deaf", &format!("{deaf}echo $$ >pid; sleep 1000")),
            ("it left something behind", "sleep 1000 >/dev/null & echo $! >pid"),
            ("what it left is deaf", &format!("({deaf}sleep 1000) >/dev/null & echo $! >pid")),
            ("what it left holds its output", "sleep 1000 & echo $! >pid; wait"),
            ("it hid", "nohup sh -c 'sh -c \"sleep 1000\" >/dev/null & echo $! >pid' >/dev/null"),
            ("it prints without end", "echo $$ >pid; exec yes"),
        ] {
            let dir = tempfile::tempdir().expect("a folder");
            let program = shell(script, dir.path()).expect("it starts");
            let pid = if what.starts_with("it left") || what.starts_with("what it left is") {
                let (_, status) = program.output(10).await.expect("it ends");
                assert!(status.success(), "{what}");
                written(&dir.path().join("pid")).await
            } else {
                let pid = written(&dir.path().join("pid")).await;
                drop(program);
                pid
            };
            while lives(&pid) {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn a_program_may_put_away_what_it_holds() {
        let dir = tempfile::tempdir().expect("a folder");
        let script = "trap 'echo end >told; exit' TERM; echo $$ >pid; while :; do sleep 0.01; done";
        let program = shell(script, dir.path()).expect("it starts");
        written(&dir.path().join("pid")).await;
        drop(program);
        assert_eq!(written(&dir.path().join("told")).await, "end\n");
    }

    #[tokio::test]
    async fn no_more_than_the_bound_is_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        for (script, most, read) in [("printf abc", 3, 3), ("printf abcd", 3, 4), ("exec yes", 1000, 1001)] {
            let (output, _) =
                shell(script, dir.path()).expect("it starts").output(most).await.expect("it ends");
            assert_eq!(output.len(), read, "{script}");
        }
    }
}
