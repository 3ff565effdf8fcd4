//! Child processes that cannot outlive the harness.
//!
//! Each child runs behind a small shell that holds the read end of a pipe whose write end only the harness has.
//! However the harness ends, also by SIGKILL, the kernel closes that end, the shell reads end of file and kills the child.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, Result};

const WRAPPER: &str = r#"
exec 3<&0 </dev/null
"$@" 3<&- &
child=$!
( read -r _ <&3; kill -9 "$child" ) 2>/dev/null &
watcher=$!
exec 3<&-
wait "$child"
code=$?
kill "$watcher" 2>/dev/null
exit "$code"
"#;

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) log: PathBuf,
    pub(crate) dir: PathBuf,
}

/// A running child and the lifeline that keeps it alive.
#[derive(Debug)]
pub(crate) struct Process {
    wrapper: Child,
    lifeline: Option<ChildStdin>,
}

impl Process {
    /// Starts the program; its output is appended to the log file.
    pub(crate) fn start(recipe: &Recipe) -> Result<Self> {
        let log = File::options().create(true).append(true).open(&recipe.log)?;
        let mut command = Command::new("sh");
        command.args(["-c", WRAPPER, &recipe.name]).arg(&recipe.program).args(&recipe.args);
        // Nothing of the person's environment: no proxies, no other certificates, no other cluster.
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(recipe.env.iter().map(|(key, value)| (key, value)));
        Self::spawn(command.current_dir(&recipe.dir).stdout(log.try_clone()?).stderr(log))
            .with_context(|| format!("start {}", recipe.name))
    }

    /// Starts a shell that removes `dir` once the harness is gone.
    pub(crate) fn start_janitor(dir: &Path) -> Result<Self> {
        let script = r#"read -r _; n=0; while [ -e "$1" ] && [ $n -lt 100 ]; do rm -rf "$1" 2>/dev/null; n=$((n+1)); sleep 0.1; done"#;
        let mut command = Command::new("sh");
        command.args(["-c", script, "janitor"]).arg(dir).current_dir("/");
        Self::spawn(command.stdout(Stdio::null()).stderr(Stdio::null())).context("start the janitor")
    }

    fn spawn(command: &mut Command) -> Result<Self> {
        // A group of its own: Ctrl-C in a terminal reaches the harness only, which then stops its children in order.
        let mut wrapper = command.stdin(Stdio::piped()).process_group(0).spawn()?;
        let lifeline = wrapper.stdin.take();
        Ok(Self { wrapper, lifeline })
    }

    /// Whether the child still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.wrapper.try_wait(), Ok(None))
    }

    /// The process id of the shell in front of the child.
    pub(crate) fn wrapper_id(&self) -> u32 {
        self.wrapper.id()
    }

    /// Cuts the lifeline and waits for the end.
    pub(crate) fn stop(&mut self) {
        self.lifeline = None;
        let _ = self.wrapper.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}
