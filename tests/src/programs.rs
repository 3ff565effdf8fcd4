//! The programs under test, built once per test process, and one run of one of them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// The folder that holds the programs, built from this checkout. Cargo builds programs of other packages for no
/// test, so the first test that asks builds them.
///
/// # Panics
/// When they do not build.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let root = root();
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--workspace", "--bins", "--exclude", "gitlab-agent-tests"])
            .current_dir(root)
            .status();
        assert!(built.is_ok_and(|status| status.success()), "the programs build");
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        target.join("debug")
    })
}

/// The root of the checkout.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// What a run left behind.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_str(&self.out) {
            Ok(json) => json,
            Err(error) => panic!("not JSON: {error}\n{}\n{}", self.out, self.err),
        }
    }

    /// The code of the first problem of a `verify -o json`, or nothing.
    pub fn first_problem(&self) -> Option<String> {
        self.json()["problems"][0]["code"].as_str().map(str::to_owned)
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// `kubectl-gitlab_agent-VERB` (or the front end, where the verb is empty) with an environment of its own.
///
/// # Panics
/// When the programs do not build.
pub fn command(verb: &str) -> Command {
    let name = if verb.is_empty() {
        "kubectl-gitlab_agent".to_owned()
    } else {
        format!("kubectl-gitlab_agent-{verb}")
    };
    let mut command = Command::new(folder().join(name));
    for name in ["KUBECONFIG", "GITLAB_TOKEN", "GITLAB_HOST", "FLUX_SYSTEM_NAMESPACE", "NO_COLOR"] {
        command.env_remove(name);
    }
    command.env("COLUMNS", "80").env("HOME", "/nonexistent").stdin(Stdio::null());
    command
}

/// Runs it to its end.
///
/// # Panics
/// When it cannot be started.
pub fn run(command: &mut Command) -> Ran {
    match command.output() {
        Ok(output) => output.into(),
        Err(error) => panic!("cannot run {command:?}: {error}"),
    }
}

/// Runs `bash` on one line that a person would paste, with `input` typed into it.
///
/// # Panics
/// When bash cannot be started.
pub fn paste(line: &str, kubeconfig: &Path, path: &Path, input: &str, directory: &Path) -> Ran {
    let search = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs = vec![path.to_path_buf()];
    dirs.extend(std::env::split_paths(&search));
    let joined = std::env::join_paths(dirs).unwrap_or(search);
    let child = Command::new("bash")
        .args(["-c", line])
        .env("KUBECONFIG", kubeconfig)
        .env("PATH", joined)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else { panic!("bash starts") };
    if let Some(mut stdin) = child.stdin.take() {
        // A command that reads nothing closes its end early.
        let _ = stdin.write_all(input.as_bytes());
    }
    match child.wait_with_output() {
        Ok(output) => output.into(),
        Err(error) => panic!("cannot run {line}: {error}"),
    }
}
