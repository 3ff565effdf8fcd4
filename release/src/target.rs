//! The platforms, and where their programs can be linked.

use anyhow::{Context as _, Result};

/// One platform.
#[derive(Debug)]
pub struct Target {
    /// Rust's name.
    pub triple: &'static str,
    /// Go's name of the system, which krew and Flux use.
    pub os: &'static str,
    /// Go's name of the processor.
    pub arch: &'static str,
}

/// All platforms. musl: static, and the same on every distribution.
pub const TARGETS: &[Target] = &[
    Target { triple: "x86_64-unknown-linux-musl", os: "linux", arch: "amd64" },
    Target { triple: "aarch64-unknown-linux-musl", os: "linux", arch: "arm64" },
    Target { triple: "x86_64-apple-darwin", os: "darwin", arch: "amd64" },
    Target { triple: "aarch64-apple-darwin", os: "darwin", arch: "arm64" },
    Target { triple: "x86_64-pc-windows-gnu", os: "windows", arch: "amd64" },
];

impl Target {
    /// The platform of a triple, or of `os/arch`.
    ///
    /// # Errors
    /// There is none; the error names all.
    pub fn named(name: &str) -> Result<&'static Self> {
        let is = |t: &&Self| t.triple == name || t.to_string() == name;
        let all = || TARGETS.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        TARGETS.iter().find(is).with_context(|| format!("no target {name}; there are {}", all()))
    }

    /// The platform of this machine.
    ///
    /// # Errors
    /// It is none of ours.
    pub fn host() -> Result<&'static Self> {
        let os = if cfg!(target_os = "macos") { "darwin" } else { std::env::consts::OS };
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self::named(&format!("{os}/{arch}"))
    }

    /// Programs end like this.
    pub fn exe(&self) -> &'static str {
        if self.os == "windows" { ".exe" } else { "" }
    }

    /// Archives end like this.
    pub fn ending(&self) -> &'static str {
        if self.os == "windows" { ".zip" } else { ".tar.gz" }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.arch)
    }
}
