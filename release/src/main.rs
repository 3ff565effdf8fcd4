//! `cargo release`: builds, packs, checks and describes a release.

#![expect(clippy::print_stdout, reason = "it tells a person what it made")]

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use gitlab_agent_release::archive::{Packing, digest};
use gitlab_agent_release::compile::{Build, commit_and_date};
use gitlab_agent_release::layout::{FLUX, Package, all_programs};
use gitlab_agent_release::target::{TARGETS, Target};
use gitlab_agent_release::{VERSION, budget, commands, publish, root};

/// Builds, packs, checks and describes a release of kubectl gitlab-agent
#[derive(Parser)]
#[command(name = "cargo release")]
enum Release {
    /// Build and pack the programs; then write checksums and manifests of all that is in the folder
    Archives {
        /// Platform, as triple or os/arch; repeat it for several. Otherwise this machine's
        #[arg(long)]
        target: Vec<String>,
        /// All platforms
        #[arg(long, conflicts_with = "target")]
        all: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Write checksums and manifests of the archives in the folder, wherever they were built
    Manifests {
        /// Fail unless there is an archive for every platform
        #[arg(long)]
        complete: bool,
        /// Fail unless this tag is of this version
        #[arg(long)]
        tag: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Build this machine's archives and hold them to the budgets; then again elsewhere, with the same bytes
    Check {
        /// What the second build makes: all archives, or only the program that holds all the code, in a fifth of the time
        #[arg(long, default_value = "all")]
        again: Again,
        #[command(flatten)]
        place: Place,
    },
    /// Write docs/commands from the programs' own help
    Docs,
    /// List the platforms
    Targets,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Again {
    All,
    Flux,
}

#[derive(clap::Args)]
struct Place {
    /// The folder to write to
    #[arg(long, default_value = "dist")]
    out: PathBuf,
    /// Where the project lives: releases are looked for below it
    #[arg(
        long,
        env = "GITLAB_AGENT_REPOSITORY",
        default_value = "https://example.invalid/kubectl-gitlab-agent"
    )]
    repository: String,
}

fn main() -> Result<()> {
    match Release::parse() {
        Release::Archives { target, all, place } => {
            let targets = match (all, target.is_empty()) {
                (true, _) => TARGETS.iter().collect(),
                (_, true) => vec![Target::host()?],
                _ => target.iter().map(|name| Target::named(name)).collect::<Result<_>>()?,
            };
            let here = Sources::here()?;
            for target in targets {
                let (folder, files) = here.pack(&target_folder(), target, &place.out)?;
                show(&files)?;
                print(&budget::sizes(target, &folder, &place.out)?);
            }
            show(&publish::manifests(&place.out, &place.repository)?)
        }
        Release::Manifests { complete, tag, place } => {
            if let Some(tag) = tag {
                ensure!(tag == format!("v{VERSION}"), "tag {tag} is not of version {VERSION}");
            }
            for package in if complete { &Package::ALL[..] } else { &[] } {
                let (there, all) = (publish::present(*package, &place.out)?.len(), TARGETS.len());
                ensure!(there == all, "{} has archives for {there} of {all} platforms", package.program());
            }
            show(&publish::manifests(&place.out, &place.repository)?)
        }
        Release::Check { again, place } => check(&place, again),
        Release::Docs => {
            for (name, text) in commands::documents()? {
                let file = root().join("docs").join(name);
                std::fs::create_dir_all(file.parent().context("a file lies in a folder")?)?;
                std::fs::write(file, text)?;
            }
            Ok(())
        }
        Release::Targets => {
            print(&TARGETS.iter().map(|t| format!("{:<14} {}", t.to_string(), t.triple)).collect::<Vec<_>>());
            Ok(())
        }
    }
}

fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// What a release is made of: a checkout that does not change meanwhile, its commit and its date.
struct Sources {
    folder: PathBuf,
    commit: String,
    date: u64,
}

impl Sources {
    fn here() -> Result<Self> {
        let (commit, date) = commit_and_date()?;
        Ok(Self { folder: root().canonicalize()?, commit, date })
    }

    fn build<'t>(&self, folder: &Path, target: &'t Target) -> Build<'t> {
        Build {
            target,
            source: self.folder.clone(),
            folder: folder.join("dist"),
            commit: self.commit.clone(),
        }
    }

    /// Builds all programs of a platform and packs them. Gives the folder of the programs, and the files written.
    fn pack(&self, folder: &Path, target: &Target, out: &Path) -> Result<(PathBuf, Vec<PathBuf>)> {
        let programs = self.build(folder, target).run(&all_programs())?;
        let packing = Packing { date: self.date, level: 9 };
        let files = publish::archives(target, &programs, out, &self.commit, packing)?;
        Ok((programs, files))
    }
}

fn check(place: &Place, again: Again) -> Result<()> {
    let target = Target::host()?;
    let here = Sources::here()?;
    let elsewhere = tempfile::tempdir()?;
    let folder = elsewhere.path().join("copy-of-the-sources");
    copy_sources(&folder)?;
    let copy = Sources { folder: folder.canonicalize()?, commit: here.commit.clone(), date: here.date };
    let (folder, files) = here.pack(&target_folder(), target, &place.out)?;
    show(&files)?;
    show(&publish::manifests(&place.out, &place.repository)?)?;
    print(&budget::sizes(target, &folder, &place.out)?);
    if cfg!(target_os = "linux") {
        print(&budget::start(&folder)?);
    }
    match again {
        Again::All => {
            let (_, second) = copy.pack(elsewhere.path(), target, &elsewhere.path().join("out"))?;
            files.iter().zip(&second).try_for_each(|(first, second)| same(first, second))
        }
        Again::Flux => {
            let second = copy.build(elsewhere.path(), target).run(&[FLUX.to_owned()])?;
            let name = format!("{FLUX}{}", target.exe());
            same(&folder.join(&name), &second.join(&name))
        }
    }
}

/// Two files, built in two places, have the same bytes.
fn same(first: &Path, second: &Path) -> Result<()> {
    let (one, two) = (digest(&std::fs::read(first)?), digest(&std::fs::read(second)?));
    let name = first.file_name().unwrap_or_default().to_string_lossy();
    ensure!(one == two, "{name} differs when it is built elsewhere: {one}, {two}");
    println!("{name:<52} the same bytes when built elsewhere");
    Ok(())
}

/// The files of the checkout that git knows, as they are now.
fn copy_sources(to: &Path) -> Result<()> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root())
        .args(["ls-files", "-z", "-co", "--exclude-standard"])
        .output()?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    for name in String::from_utf8(output.stdout)?.split('\0').filter(|n| !n.is_empty()) {
        let (from, to) = (root().join(name), to.join(name));
        if from.is_file() {
            std::fs::create_dir_all(to.parent().context("a file lies in a folder")?)?;
            std::fs::copy(from, to)?;
        }
    }
    Ok(())
}

fn show(files: &[PathBuf]) -> Result<()> {
    for file in files {
        println!("{}  {}", digest(&std::fs::read(file)?), file.display());
    }
    Ok(())
}

fn print(lines: &[String]) {
    for line in lines {
        println!("{line}");
    }
}
