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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::world::wait::{wait_until, yes};

    fn recipe(dir: &Path, script: &str) -> Recipe {
        Recipe {
            name: "child".into(),
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: Vec::new(),
            log: dir.join("log"),
            dir: dir.into(),
        }
    }

    #[test]
    fn a_child_ends_with_its_lifeline() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Process::start(&recipe(dir.path(), "echo $$ > pid; exec sleep 600")).unwrap();
        let pid = wait_until("the child", Duration::from_secs(10), || {
            let pid = std::fs::read_to_string(dir.path().join("pid"))?.trim().to_owned();
            Ok(Some(pid).filter(|pid| !pid.is_empty()))
        });
        assert!(process.is_running());
        process.stop();
        let alive =
            Command::new("sh").args(["-c", "kill -0 $0 2>/dev/null", &pid.unwrap()]).status().unwrap();
        assert!(!alive.success());
    }

    #[test]
    fn an_end_is_noticed_and_its_last_words_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Process::start(&recipe(dir.path(), "echo farewell; exit 3")).unwrap();
        wait_until("the end", Duration::from_secs(10), || Ok(yes(!process.is_running()))).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("log")).unwrap(), "farewell\n");
    }
}
