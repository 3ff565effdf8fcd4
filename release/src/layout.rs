//! What lies in an archive, and under which names.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use gitlab_agent_live::cli::{completion, verbs};

use crate::commands;
use crate::target::Target;
use crate::{VERSION, root};

/// The program for Flux: the front end with all verbs in it.
pub const FLUX: &str = "flux-gitlab-agent";
/// The recording that a newcomer reads first.
pub const EXAMPLE: &str = "examples/revoked-token.json";

/// The programs of the kubectl plugin: the front end first.
pub fn programs() -> impl Iterator<Item = String> {
    let verbs = verbs::VERBS.iter().map(|(verb, _)| verbs::program(verb));
    std::iter::once(verbs::FRONT.to_owned()).chain(verbs)
}

/// All that is built: these, and the program for Flux.
pub fn all_programs() -> Vec<String> {
    programs().chain([FLUX.to_owned()]).collect()
}

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path in the archive, with slashes.
    pub path: String,
    /// It can be run.
    pub executable: bool,
    /// Its content.
    pub bytes: Vec<u8>,
}

impl Entry {
    fn text(path: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), executable: false, bytes: text.into() }
    }

    fn program(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), executable: true, bytes: bytes.into() }
    }
}

/// The archives of one platform: which program they are named after, and what is in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Package {
    /// For kubectl, krew, and whoever unpacks by hand: everything.
    Kubectl,
    /// For `flux plugin install`, which takes one file.
    Flux,
}

impl Package {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Kubectl, Self::Flux];

    /// What the files of a release are named after. The catalogue of Flux asks for the name of the program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Kubectl => verbs::FRONT,
            Self::Flux => FLUX,
        }
    }

    /// `<program>_<version>_<os>_<arch>.tar.gz`, `.zip` for Windows: the naming that Flux's catalogue asks for
    /// (fluxcd/plugins AGENTS.md); krew takes any.
    pub fn archive(self, target: &Target) -> String {
        format!("{}_{VERSION}_{}_{}{}", self.program(), target.os, target.arch, target.ending())
    }

    /// `<program>_<version>_checksums.txt`.
    pub fn checksums(self) -> String {
        format!("{}_{VERSION}_checksums.txt", self.program())
    }

    /// The files of an archive; the programs are taken from `folder`.
    ///
    /// # Errors
    /// A program or a file of the checkout is missing.
    pub fn entries(self, target: &Target, folder: &Path) -> Result<Vec<Entry>> {
        let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
        let program = |name: String| -> Result<Entry> {
            let file = format!("{name}{}", target.exe());
            Ok(Entry::program(file.clone(), read(&folder.join(file))?))
        };
        let mut entries = vec![Entry::text("LICENSE", read(&root().join("LICENSE"))?)];
        if self == Self::Flux {
            entries.push(program(FLUX.to_owned())?);
            return Ok(sorted(entries));
        }
        for name in programs() {
            entries.push(program(name)?);
        }
        let windows = target.os == "windows";
        let shim = format!("{}{}", completion::SHIM, if windows { ".cmd" } else { "" });
        entries.push(Entry::program(shim, completion::shim("", windows)));
        for (shell, file) in SHELLS {
            let script = completion::script(shell).with_context(|| format!("no script for {shell}"))?;
            entries.push(Entry::text(format!("completion/{file}"), script));
        }
        let recording = root().join("tests/recordings").join(EXAMPLE.trim_start_matches("examples/"));
        entries.push(Entry::text(EXAMPLE, read(&recording)?));
        for (name, page) in commands::man_pages()? {
            entries.push(Entry::text(format!("man/man1/{name}.1"), page));
        }
        Ok(sorted(entries))
    }
}

/// Shells, and the name that each looks for.
const SHELLS: &[(&str, &str)] = &[
    ("bash", "kubectl-gitlab_agent.bash"),
    ("zsh", "_kubectl-gitlab_agent"),
    ("fish", "kubectl-gitlab_agent.fish"),
    ("powershell", "kubectl-gitlab_agent.ps1"),
];

fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    entries
}
