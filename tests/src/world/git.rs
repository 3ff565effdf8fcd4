//! Projects of the played GitLab as their authors see them: a clone, commits, pushes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context as _, Result, bail};

use super::gitlab::GitLab;

/// A project's repository.
#[derive(Debug)]
pub struct Repository {
    project: String,
    clone: PathBuf,
    gitlab: GitLab,
    /// One commit at a time.
    writing: Mutex<()>,
}

/// The work tree during a commit.
#[derive(Debug)]
pub struct Files<'a> {
    root: &'a Path,
}

impl Files<'_> {
    /// Writes a file, and the directories above it.
    pub fn write(&self, path: &str, content: &str) -> Result<()> {
        let target = self.root.join(path);
        fs::create_dir_all(target.parent().context("a path without a parent")?)?;
        fs::write(target, content).with_context(|| format!("write {path}"))
    }

    /// What a file holds.
    pub fn read(&self, path: &str) -> Result<String> {
        fs::read_to_string(self.root.join(path)).with_context(|| format!("read {path}"))
    }

    /// Removes a file.
    pub fn remove(&self, path: &str) -> Result<()> {
        fs::remove_file(self.root.join(path)).with_context(|| format!("remove {path}"))
    }

    /// Puts `to` wherever `from` stands in a file; an error when it stands nowhere.
    pub fn replace(&self, path: &str, from: &str, to: &str) -> Result<()> {
        let old = self.read(path)?;
        if !old.contains(from) {
            bail!("{path} does not hold {from:?}");
        }
        self.write(path, &old.replace(from, to))
    }
}

impl Repository {
    /// Makes an empty bare repository with branch `main`, and a clone of it.
    pub(crate) fn create(gitlab: &GitLab, clones: &Path, project: &str) -> Result<Self> {
        let bare = gitlab.bare_root().join(format!("{project}.git"));
        let clone = clones.join(project);
        fs::create_dir_all(&bare)?;
        fs::create_dir_all(&clone)?;
        git(&bare, &["init", "--quiet", "--bare", "--initial-branch=main"])?;
        git(&bare, &["config", "http.receivepack", "true"])?;
        git(&clone, &["init", "--quiet", "--initial-branch=main"])?;
        git(&clone, &["remote", "add", "origin", &bare.display().to_string()])?;
        gitlab.add_project(project);
        Ok(Self { project: project.into(), clone, gitlab: gitlab.clone(), writing: Mutex::default() })
    }

    /// Commits whatever `change` does to the files and pushes it; GitLab then tells agentk. Gives the commit's id.
    pub fn commit(&self, change: impl FnOnce(&Files<'_>) -> Result<()>, message: &str) -> Result<String> {
        let sha = self.commit_silently(change, message)?;
        self.gitlab.announce_push(&self.project);
        Ok(sha)
    }

    /// The same without a push event: as if GitLab had lost it.
    pub fn commit_silently(
        &self,
        change: impl FnOnce(&Files<'_>) -> Result<()>,
        message: &str,
    ) -> Result<String> {
        let _alone = self.writing.lock();
        self.follow()?;
        change(&Files { root: &self.clone })?;
        git(&self.clone, &["add", "--all"])?;
        git(&self.clone, &["commit", "--quiet", "--allow-empty", "-m", message])?;
        git(&self.clone, &["push", "--quiet", "--set-upstream", "origin", "main"])?;
        self.head()
    }

    /// Writes one file, commits and pushes.
    pub fn push_file(&self, path: &str, content: &str) -> Result<String> {
        self.commit(|files| files.write(path, content), &format!("Change {path}"))
    }

    /// The commit that `main` is at.
    pub fn head(&self) -> Result<String> {
        Ok(git(&self.clone, &["rev-parse", "HEAD"])?.trim().to_owned())
    }

    /// Full path of the project.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// The work tree that commits are made in.
    pub fn clone_dir(&self) -> &Path {
        &self.clone
    }

    /// Takes over what others pushed through the server.
    fn follow(&self) -> Result<()> {
        git(&self.clone, &["fetch", "--quiet", "origin"])?;
        if git(&self.clone, &["rev-parse", "--verify", "--quiet", "origin/main"]).is_ok() {
            git(&self.clone, &["reset", "--quiet", "--hard", "origin/main"])?;
        }
        Ok(())
    }
}

/// Runs git without any configuration of the person's.
fn git(dir: &Path, args: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .current_dir(dir)
        .args(args)
        // A hook of another repository may be running us.
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs([("GIT_AUTHOR_NAME", "World"), ("GIT_AUTHOR_EMAIL", "world@example.invalid")])
        .envs([("GIT_COMMITTER_NAME", "World"), ("GIT_COMMITTER_EMAIL", "world@example.invalid")])
        .output()
        .context("run git")?;
    if !output.status.success() {
        bail!("git {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
