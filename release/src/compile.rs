//! Builds the programs of one platform, so that two builds of one commit give the same bytes.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::root;
use crate::target::Target;

/// What a build depends on besides the sources.
#[derive(Debug, Clone)]
pub struct Build<'t> {
    /// The platform.
    pub target: &'t Target,
    /// The checkout.
    pub source: PathBuf,
    /// Cargo's folder for what it makes.
    pub folder: PathBuf,
    /// The commit that the programs will name.
    pub commit: String,
}

impl Build<'_> {
    /// Builds the programs of these names, and gives their folder.
    ///
    /// # Errors
    /// The target or its linker is not there, or the sources do not compile.
    pub fn run(&self, programs: &[String]) -> Result<PathBuf> {
        let triple = self.target.triple;
        add_target(&self.source, triple)?;
        let host = Target::host().is_ok_and(|host| host.triple == triple);
        let on_mac = cfg!(target_os = "macos") && self.target.os == "darwin";
        let subcommand = if host || on_mac { "build" } else { "zigbuild" };
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .current_dir(&self.source)
            .args([subcommand, "--quiet", "--release", "--locked", "--target", triple])
            .arg("--target-dir")
            .arg(&self.folder)
            .env("CARGO_ENCODED_RUSTFLAGS", self.flags()?)
            .env("GITLAB_AGENT_COMMIT", &self.commit)
            // Where the sources lie must not show, also not in what a C compiler makes (ring).
            .env("CFLAGS", format!("-ffile-prefix-map={}=.", self.source.display()))
            .env_remove("RUSTFLAGS");
        for name in programs {
            cargo.args(["--bin", name]);
        }
        if host && triple.ends_with("musl") && env::var_os(cc(triple)).is_none() {
            // ring's C has no use for a C library; any compiler for this processor makes it.
            cargo.env(cc(triple), "cc");
        }
        let built = cargo.status().with_context(|| format!("cargo {subcommand}"))?;
        if !built.success() {
            let hint = if subcommand == "zigbuild" {
                "; other platforms are linked by cargo-zigbuild with zig: `pip install cargo-zigbuild ziglang`. \
                 What needs Apple's frameworks is linked on a Mac (docs/release.md)"
            } else {
                ""
            };
            bail!("cargo {subcommand} --target {triple} fails{hint}");
        }
        Ok(self.folder.join(triple).join("release"))
    }

    /// Paths of this machine are mapped to names that are the same everywhere.
    fn flags(&self) -> Result<OsString> {
        let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let cargo_home = cargo_home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
        let map = |path: &Path, name: &str| -> Result<String> {
            let path = path.canonicalize().with_context(|| path.display().to_string())?;
            Ok(format!("--remap-path-prefix={}={name}", path.display()))
        };
        let mut flags = vec![map(&self.source, ".")?];
        if let Some(home) = cargo_home {
            flags.push(map(&home, "cargo")?);
        }
        std::fs::create_dir_all(&self.folder)?;
        flags.push(map(&self.folder, "target")?);
        // The programs abort on panic, so nobody unwinds them: a tenth of their size.
        flags.push("-Cforce-unwind-tables=no".to_owned());
        if cfg!(target_os = "linux") && Target::host().is_ok_and(|host| host.triple == self.target.triple) {
            // What moves with the place a program is loaded at, in bits instead of records: 0.4 MB. musl's start reads it.
            flags.push("-Clink-arg=-Wl,-z,pack-relative-relocs".to_owned());
            let script = self.source.join("release/unwind-tables.ld");
            flags.push(format!("-Clink-arg=-Wl,-T,{}", script.display()));
        }
        Ok(flags.join("\u{1f}").into())
    }
}

fn cc(triple: &str) -> String {
    format!("CC_{}", triple.replace('-', "_"))
}

fn add_target(source: &Path, triple: &str) -> Result<()> {
    let output = Command::new("rustup").args(["target", "add", triple]).current_dir(source).output();
    match output {
        Ok(output) => ensure!(
            output.status.success(),
            "rustup target add {triple}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ),
        // Without rustup the toolchain has what it has; cargo says so if it is not enough.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).context("rustup"),
    }
    Ok(())
}

/// The commit of the checkout and its date in seconds, by which everything in an archive is dated;
/// `SOURCE_DATE_EPOCH` and `GITLAB_AGENT_COMMIT` go before.
///
/// # Errors
/// There is neither git nor the variables.
pub fn commit_and_date() -> Result<(String, u64)> {
    let git = |args: &[&str]| -> Result<String> {
        let output = Command::new("git").arg("-C").arg(root()).args(args).output().context("git")?;
        ensure!(
            output.status.success(),
            "git {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = match env::var("GITLAB_AGENT_COMMIT") {
        Ok(commit) => commit,
        Err(_) => {
            let dirty = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
            git(&["rev-parse", "HEAD"])? + if dirty { "-dirty" } else { "" }
        }
    };
    let date = match env::var("SOURCE_DATE_EPOCH") {
        Ok(date) => date,
        Err(_) => git(&["log", "-1", "--format=%ct"])?,
    };
    let date = date.parse().with_context(|| format!("SOURCE_DATE_EPOCH={date} is no number of seconds"))?;
    Ok((commit, date))
}
