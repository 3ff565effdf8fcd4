//! `completion`: what makes the tab key work, per shell and for kubectl. Part of the front end: it needs no cluster.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gitlab_agent_core::report::Exit;

use super::complete::{self, Candidate};
use super::streams::ended;
use super::verbs::{FRONT, VERBS, program};
use super::{note, out};
use crate::file::{self, Readers};

/// The command.
pub const NAME: &str = "completion";
/// The command, with what it answers.
pub const VERB: (&str, &str) = (NAME, "make the tab key work: for kubectl, or for a shell");

/// What `completion` can be told, with what it gives.
const WORDS: &[(&str, &str)] = &[
    ("install", "put the completion shim for kubectl beside the plugin"),
    ("kubectl", "print the completion shim for kubectl"),
    ("bash", "print the script for bash"),
    ("zsh", "print the script for zsh"),
    ("fish", "print the script for fish"),
    ("powershell", "print the script for PowerShell"),
];

/// The name that kubectl looks for: `kubectl_complete-` and the plugin's name (kubectl pkg/cmd/plugin).
pub const SHIM: &str = "kubectl_complete-gitlab_agent";

/// Runs the command.
pub fn run(words: &[OsString]) -> ExitCode {
    let words: Vec<String> = words.iter().map(|w| w.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["install"] => install(&[]),
        ["install", "--dir", dir] => install(&[PathBuf::from(dir)]),
        ["kubectl"] => print(&shim("", cfg!(windows))),
        [shell] if script(shell).is_some() => print(&script(shell).unwrap_or_default()),
        [] | ["-h" | "--help"] => print(&help()),
        _ => {
            let names: Vec<&str> = WORDS.iter().map(|(name, _)| *name).collect();
            note(&format!(
                "error: 'completion {}': write `kubectl gitlab-agent completion` and one of: {}",
                words.join(" "),
                names.join(", ")
            ));
            ended(Exit::Usage)
        }
    }
}

/// What can be typed behind `completion`.
pub fn candidates(words: &[OsString], partial: &str) -> String {
    let words = if words.is_empty() { WORDS } else { &[] };
    complete::lines(words.iter().map(|(word, help)| Candidate::new(word, help)), partial)
}

fn print(text: &str) -> ExitCode {
    out(text);
    ended(Exit::Fine)
}

/// The help.
pub fn help() -> String {
    let mut text = String::from(
        "Makes the tab key work, with live values: contexts, checks, sources, projects.\n\n\
         Usage: kubectl gitlab-agent completion install [--dir DIR]\n       \
         kubectl gitlab-agent completion kubectl|bash|zsh|fish|powershell\n\n",
    );
    for (word, help) in WORDS {
        text.push_str(&format!("  {word:<10} {help}\n"));
    }
    text.push_str(
        "\n`kubectl gitlab-agent …` is completed by kubectl's own completion (`kubectl completion --help`), once the\n\
         shim is on PATH: `completion install`. `flux gitlab-agent …` needs nothing but flux's own completion. The\n\
         scripts are for people who call kubectl-gitlab_agent by its own name:\n\n  \
         bash        source <(kubectl gitlab-agent completion bash)\n  \
         zsh         source <(kubectl gitlab-agent completion zsh)\n  \
         fish        kubectl gitlab-agent completion fish | source\n  \
         PowerShell  kubectl gitlab-agent completion powershell | Out-String | Invoke-Expression\n\n\
         `install` writes beside the plugin where that folder is on PATH and can be written, or to --dir.\n",
    );
    text
}

/// The shim for the front end, or for the program of a verb that is on PATH itself: kubectl asks for a shim of the
/// longest program name that it finds.
pub fn shim(verb: &str, windows: bool) -> String {
    let front = FRONT;
    let (ask, verb) = (complete::COMMAND, if verb.is_empty() { String::new() } else { format!(" {verb}") });
    if windows {
        format!("@{front} {ask}{verb} %*\r\n")
    } else {
        format!("#!/bin/sh\n# kubectl runs this at the tab key.\nexec {front} {ask}{verb} \"$@\"\n")
    }
}

fn install(named: &[PathBuf]) -> ExitCode {
    let search: Vec<PathBuf> =
        env::var_os("PATH").map(|p| env::split_paths(&p).collect()).unwrap_or_default();
    let front = format!("{FRONT}{}", env::consts::EXE_SUFFIX);
    let beside: Vec<PathBuf> = search.iter().filter(|dir| dir.join(&front).is_file()).cloned().collect();
    let places = if named.is_empty() { &beside } else { named };
    let mut tried = Vec::new();
    for dir in places {
        match write_shims(dir) {
            Ok(written) => {
                for file in written {
                    out(&format!("{}\n", file.display()));
                }
                note("kubectl's own completion has to be on in your shell: `kubectl completion --help`");
                if !search.contains(dir) {
                    note(&format!("{} is not on PATH: kubectl will not find the shim there", dir.display()));
                }
                return ended(Exit::Fine);
            }
            Err(error) => tried.push(format!("{}: {error}", dir.display())),
        }
    }
    let tried = if tried.is_empty() { format!("{front} is in no folder on PATH") } else { tried.join("; ") };
    note(&format!(
        "error: cannot write the completion shim ({tried}); name a folder that is on PATH: \
         `kubectl gitlab-agent completion install --dir DIR`"
    ));
    ended(Exit::Problems)
}

/// Writes the shims that kubectl will ask for when the programs of this folder are on PATH.
fn write_shims(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let ending = if cfg!(windows) { ".cmd" } else { "" };
    let mut written = Vec::new();
    let front = std::iter::once((String::new(), SHIM.to_owned()));
    let verbs = VERBS.iter().filter(|(verb, _)| dir.join(exe(&program(verb))).is_file());
    let verbs = verbs.map(|(verb, _)| ((*verb).to_owned(), format!("{SHIM}-{}", verb.replace('-', "_"))));
    for (verb, name) in front.chain(verbs) {
        let file = dir.join(format!("{name}{ending}"));
        // A link of an older release is replaced, not written through.
        if file.symlink_metadata().is_ok() {
            std::fs::remove_file(&file)?;
        }
        file::write(&file, shim(&verb, cfg!(windows)).as_bytes(), Readers::Program)?;
        written.push(file);
    }
    Ok(written)
}

fn exe(name: &str) -> String {
    format!("{name}{}", env::consts::EXE_SUFFIX)
}

/// The script for a shell. All ask the program itself, by the name that was typed.
pub fn script(shell: &str) -> Option<String> {
    let text = match shell {
        "bash" => include_str!("completion/completion.bash"),
        "zsh" => include_str!("completion/completion.zsh"),
        "fish" => include_str!("completion/completion.fish"),
        "powershell" => include_str!("completion/completion.ps1"),
        _ => return None,
    };
    let all: Vec<String> =
        std::iter::once(FRONT.to_owned()).chain(VERBS.iter().map(|(verb, _)| program(verb))).collect();
    let separator = if shell == "powershell" { ", " } else { " " };
    let quoted: Vec<String> = match shell {
        "powershell" => all.iter().map(|name| format!("'{name}'")).collect(),
        _ => all,
    };
    Some(text.replace("PROGRAMS", &quoted.join(separator)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_script_names_every_program() {
        for shell in ["bash", "zsh", "fish", "powershell"] {
            let text = script(shell).expect("a script");
            for (verb, _) in VERBS {
                assert!(text.contains(&program(verb)), "{shell} {verb}");
            }
            assert!(!text.contains("PROGRAMS"), "{shell}");
        }
        assert_eq!(script("tcsh"), None);
    }

    #[test]
    fn shims_are_for_the_front_end_and_for_what_is_on_path() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join(exe(&program("reconcile-now"))), "").expect("writes");
        let written = write_shims(dir.path()).expect("writes");
        let names: Vec<_> = written.iter().filter_map(|f| f.file_stem()?.to_str()).collect();
        assert_eq!(names, [SHIM, "kubectl_complete-gitlab_agent-reconcile_now"]);
        let second = fs::read_to_string(&written[1]).expect("a file");
        assert!(second.contains("__complete reconcile-now "), "{second}");
    }
}
