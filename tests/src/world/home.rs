//! The directory of one instance, and the removal of those whose instance is dead.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

const PREFIX: &str = "kubectl-gitlab-agent-world-";
/// Holds the process id and the start time of the instance: a process id alone may have been given to another.
const OWNER: &str = "owner";

/// Makes the directory of this instance.
pub(crate) fn create() -> Result<PathBuf> {
    let dir = tempfile::Builder::new().prefix(PREFIX).tempdir().context("make the directory of the world")?;
    let pid = std::process::id();
    let born = started_at(pid).unwrap_or_default();
    fs::write(dir.path().join(OWNER), format!("{pid} {born}\n"))?;
    Ok(dir.keep())
}

/// Removes the directories of instances that no longer run.
pub(crate) fn reap() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if ours && is_abandoned(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_abandoned(dir: &Path) -> bool {
    let Ok(owner) = fs::read_to_string(dir.join(OWNER)) else { return is_old(dir) };
    let (pid, born) = owner.trim().split_once(' ').unwrap_or((owner.trim(), ""));
    pid.parse().ok().and_then(started_at).is_none_or(|now| now != born)
}

/// A directory without an owner file may be one that is just being made.
fn is_old(dir: &Path) -> bool {
    let age = fs::metadata(dir).and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
    age.is_some_and(|age| age > Duration::from_secs(60))
}

/// When the process was started, in whatever form the system tells it; `None` when there is no such process.
fn started_at(pid: u32) -> Option<String> {
    if Path::new("/proc/self/stat").exists() {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        return fields.split_whitespace().nth(19).map(str::to_owned);
    }
    let ps = Command::new("ps").args(["-o", "lstart=", "-p", &pid.to_string()]).output().ok()?;
    let text = String::from_utf8_lossy(&ps.stdout).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_of_the_dead_are_abandoned() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_abandoned(dir.path()), "it may be just being made");
        let pid = std::process::id();
        let born = started_at(pid).unwrap();
        fs::write(dir.path().join(OWNER), format!("{pid} {born}\n")).unwrap();
        assert!(!is_abandoned(dir.path()));
        fs::write(dir.path().join(OWNER), format!("{pid} some other time\n")).unwrap();
        assert!(is_abandoned(dir.path()), "the number was given to another process");
        fs::write(dir.path().join(OWNER), "4194305 1\n").unwrap();
        assert!(is_abandoned(dir.path()), "no such process");
    }
}
