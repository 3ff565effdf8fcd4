//! The programs under test, built once per test process, and one run of one of them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use crate::world::components::{KUBERNETES, kubernetes_version};

/// The folder that holds the programs, built from this checkout. Cargo builds programs of other packages for no
/// test, so the first test that asks builds them.
///
/// # Panics
/// When they do not build.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let root = root();
        let built = cargo()
            .args(["build", "--quiet", "--workspace", "--bins", "--exclude", "gitlab-agent-tests"])
            .current_dir(root)
            .status();
        assert!(built.is_ok_and(|status| status.success()), "the programs build");
        target().join("debug")
    })
}

/// A verb's program as it is released.
///
/// # Panics
/// When it does not build.
pub fn released(verb: &str) -> PathBuf {
    let built = cargo()
        .args(["build", "--quiet", "--release", "--package", &format!("kubectl-gitlab-agent-{verb}")])
        .current_dir(root())
        .status();
    assert!(built.is_ok_and(|status| status.success()), "the program builds");
    target().join("release").join(format!("kubectl-gitlab_agent-{}", verb.replace('-', "_")))
}

/// Cargo without what the cargo that runs the tests says of them: build scripts look at it (ring's does), so all that
/// hangs on them would be built anew, here and then again there.
fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(name);
        }
    }
    cargo
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
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
    let gitlab = ["GITLAB_TOKEN", "GITLAB_ACCESS_TOKEN", "GITLAB_HOST", "GITLAB_URI", "GL_HOST"];
    let others = ["KUBECONFIG", "GLAB_CONFIG_DIR", "XDG_CONFIG_HOME", "FLUX_SYSTEM_NAMESPACE", "NO_COLOR"];
    for name in gitlab.into_iter().chain(others) {
        command.env_remove(name);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(stand_ins().to_path_buf()).chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(dirs).unwrap_or(path));
    command.env("COLUMNS", "80").env("HOME", "/nonexistent").stdin(Stdio::null());
    command
}

/// A folder with a `kubectl` and a `flux` that say one version and nothing else, so that a verdict does not depend on
/// what is installed on a machine.
fn stand_ins() -> &'static Path {
    static STAND_INS: OnceLock<PathBuf> = OnceLock::new();
    STAND_INS.get_or_init(|| {
        let made = folder().join(format!("stand-ins-{}", std::env::var(KUBERNETES).unwrap_or_default()));
        let version = kubernetes_version().unwrap_or("v1.36.3");
        let kubectl = format!(r#"{{"clientVersion":{{"gitVersion":"{version}"}}}}"#);
        for (name, says) in [("kubectl", kubectl.as_str()), ("flux", r#"{"flux":"v2.9.2"}"#)] {
            make_program(&made, name, says);
        }
        made
    })
}

/// Makes a program that prints a text. Another test process may make the same one meanwhile.
///
/// # Panics
/// When the folder cannot be written.
pub fn make_program(folder: &Path, name: &str, says: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let whole = format!("#!/bin/sh\ncat <<'EOF'\n{says}\nEOF\n");
    let draft = folder.join(format!(".{name}.{}", std::process::id()));
    let made = std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&draft, whole))
        .and_then(|()| std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)))
        .and_then(|()| std::fs::rename(&draft, folder.join(name)));
    assert!(made.is_ok(), "{}: {made:?}", folder.display());
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
