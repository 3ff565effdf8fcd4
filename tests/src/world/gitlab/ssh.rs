//! Git over SSH: the system's own sshd, which lets in whoever holds a deploy key, and to that key's project only.
//!
//! It is no part of GitLab's API server and is started by the tests that need it. Whoever runs the tests is the user that
//! the addresses name, because an unprivileged sshd lets nobody else in; with GitLab it is `git`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use jiff::tz::TimeZone;

use super::GitLab;
use super::deploy_keys::DeployKey;
use super::state::State;
use crate::world::process::Recipe;

/// What sshd runs for whoever signs in: `$1` is the directory of the repositories, `$2` the key's project, and the client
/// asked for `SSH_ORIGINAL_COMMAND`. Reading is all that is played.
const DOOR: &str = r#"case "$SSH_ORIGINAL_COMMAND" in
"git-upload-pack '/$2.git'" | "git-upload-pack '$2.git'" | "git-upload-pack '/$2'" | "git-upload-pack '$2'")
    exec git upload-pack --strict "$1/$2.git" ;;
esac
echo "remote: ERROR: The project you were looking for could not be found or you don't have permission to view it." >&2
exit 1
"#;

/// Where sshd is kept: often in no `PATH` but root's.
const PLACES: &[&str] = &["/usr/sbin", "/usr/local/sbin", "/sbin", "/opt/homebrew/sbin"];

/// Git over SSH, served.
#[derive(Debug, Clone)]
pub struct Ssh {
    user: String,
    port: u16,
    host_key: String,
}

impl Ssh {
    /// The address that Flux fetches a project from.
    pub fn url(&self, project: &str) -> String {
        format!("ssh://{}@127.0.0.1:{}/{project}.git", self.user, self.port)
    }

    /// The server as a line of `known_hosts`.
    pub fn known_hosts(&self) -> String {
        format!("[127.0.0.1]:{} {}", self.port, self.host_key)
    }
}

/// Where sshd is; nothing where it is not installed.
pub(crate) fn sshd() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(PLACES.iter().map(PathBuf::from));
    dirs.map(|dir| dir.join("sshd")).find(|program| program.is_file())
}

/// A new ed25519 pair: the private key as OpenSSH writes it, and the line with its public half.
///
/// # Errors
/// There is no `ssh-keygen`.
pub fn key_pair(comment: &str) -> Result<(String, String)> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("identity");
    let mut keygen = Command::new("ssh-keygen");
    said(keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"]).arg(&file))?;
    let public = fs::read_to_string(file.with_extension("pub"))?;
    Ok((fs::read_to_string(file)?, public.trim().to_owned()))
}

impl GitLab {
    /// How to run sshd on this port, for the deploy keys that there are and will be.
    pub(crate) fn prepare_ssh(&self, sshd: &Path, port: u16) -> Result<(Recipe, Ssh)> {
        let dir = self.root.join("ssh");
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("door"), DOOR)?;
        let (private, host_key) = key_pair("played-gitlab")?;
        write_private(&dir.join("host_key"), &private)?;
        let user = said(Command::new("id").arg("-un"))?;
        if said(Command::new("id").arg("-u"))? == "0" {
            // Where sshd confines the part that talks to strangers; it refuses to start without.
            fs::create_dir_all("/run/sshd").context("make /run/sshd")?;
        }
        let config = write_config(sshd, &dir, port)?;
        self.write_authorized_keys(&self.state())?;
        let recipe = Recipe {
            name: "sshd".into(),
            program: sshd.into(),
            args: vec!["-D".into(), "-e".into(), "-f".into(), config.display().to_string()],
            // Times of expiry in `authorized_keys` are local times.
            env: vec![("TZ".into(), "UTC0".into())],
            log: dir.join("sshd.log"),
            dir,
        };
        let host_key = host_key.rsplit_once(' ').map_or(host_key.as_str(), |(key, _)| key).to_owned();
        Ok((recipe, Ssh { user, port, host_key }))
    }

    /// Tells sshd which keys there are, where it was prepared. It reads the file anew for every connection.
    pub(super) fn write_authorized_keys(&self, state: &State) -> Result<()> {
        let dir = self.root.join("ssh");
        if !dir.is_dir() {
            return Ok(());
        }
        let lines = state.deploy_keys.iter().filter_map(|key| {
            let project = state.project(key.project)?;
            Some(self.authorized(&dir, key, &project.path))
        });
        let lines: Vec<String> = lines.collect();
        let draft = dir.join(".authorized_keys");
        write_private(&draft, &lines.concat())?;
        fs::rename(draft, dir.join("authorized_keys")).context("tell sshd the deploy keys")
    }

    /// The key's line, with the one command that it may run and the time until which sshd takes it.
    fn authorized(&self, dir: &Path, key: &DeployKey, project: &str) -> String {
        let door = dir.join("door");
        let command = format!("sh '{}' '{}' '{project}'", door.display(), self.bare_root().display());
        let until = key.expires.map(|at| at.to_zoned(TimeZone::UTC).strftime("%Y%m%d%H%M%S").to_string());
        let until = until.map(|until| format!(",expiry-time=\"{until}\"")).unwrap_or_default();
        format!("restrict,command=\"{command}\"{until} {}\n", key.key.trim())
    }
}

fn write_config(sshd: &Path, dir: &Path, port: u16) -> Result<PathBuf> {
    let shown = |name: &str| dir.join(name).display().to_string();
    let search = std::env::var("PATH").unwrap_or_default();
    let config = format!(
        "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nLogLevel VERBOSE\n\
         UsePAM no\nStrictModes no\nUseDNS no\nPermitRootLogin forced-commands-only\n\
         AuthenticationMethods publickey\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         PrintMotd no\nSetEnv \"PATH={search}\" GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1\n",
        shown("host_key"),
        shown("authorized_keys"),
    );
    let file = dir.join("sshd_config");
    // Since 9.8 whoever is refused is kept out for a while, which here would be everybody; before, the word is unknown.
    for penalties in ["PerSourcePenalties no\n", ""] {
        fs::write(&file, format!("{config}{penalties}"))?;
        let fits = Command::new(sshd).arg("-t").arg("-f").arg(&file).output().context("run sshd")?;
        if fits.status.success() {
            return Ok(file);
        }
        if penalties.is_empty() {
            bail!("sshd does not take its configuration: {}", String::from_utf8_lossy(&fits.stderr).trim());
        }
    }
    Ok(file)
}

fn write_private(file: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(file, text)?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("write {}", file.display()))
}

fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| name(command.get_program()))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{}: {}", name(command.get_program()), error.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn name(program: &OsStr) -> String {
    format!("run {}", program.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::{Span, Timestamp};

    use super::super::testing::Played;
    use super::super::{AGENT_PROJECT, EXAMPLE_PROJECT};
    use super::*;
    use crate::world::git::Repository;
    use crate::world::ports::Ports;
    use crate::world::process::Process;
    use crate::world::wait::{wait_until, yes};

    /// A played GitLab with two repositories, and sshd; nothing where that is not installed.
    fn served() -> Option<(Played, tempfile::TempDir, Process, Ssh)> {
        let sshd = sshd().or_else(|| {
            assert!(std::env::var_os(crate::world::COMPLETE).is_none(), "sshd is not installed");
            None
        })?;
        let played = Played::new();
        let dir = tempfile::tempdir().unwrap();
        for project in [AGENT_PROJECT, EXAMPLE_PROJECT] {
            let repository = Repository::create(&played.gitlab, dir.path(), project).unwrap();
            repository.push_file("README.md", project).unwrap();
        }
        let port = Ports::new().free().unwrap();
        let (recipe, ssh) = played.gitlab.prepare_ssh(&sshd, port).unwrap();
        let process = Process::start(&recipe).unwrap();
        wait_until("sshd", Duration::from_secs(30), || {
            Ok(yes(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()))
        })
        .unwrap();
        fs::write(dir.path().join("known_hosts"), ssh.known_hosts()).unwrap();
        Some((played, dir, process, ssh))
    }

    /// What git says about the branches of a project, or why not.
    fn listed(ssh: &Ssh, dir: &Path, project: &str) -> Result<String> {
        let client = format!(
            "ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes \
             -o UserKnownHostsFile={0}/known_hosts -i {0}/identity",
            dir.display()
        );
        let mut git = Command::new("git");
        git.args(["ls-remote", &ssh.url(project)]).env("GIT_SSH_COMMAND", client);
        said(git.env_remove("SSH_AUTH_SOCK").current_dir(dir))
    }

    #[test]
    fn a_deploy_key_opens_its_project_as_long_as_it_is_there() {
        let Some((played, dir, _process, ssh)) = served() else { return };
        let (identity, public) = key_pair("flux").unwrap();
        write_private(&dir.path().join("identity"), &identity).unwrap();
        let list = |project: &str| listed(&ssh, dir.path(), project);
        let refused = |project: &str, words: &str| {
            let said = format!("{:#}", list(project).unwrap_err());
            assert!(said.contains(words), "{said}");
        };
        refused(EXAMPLE_PROJECT, "Permission denied (publickey)");
        let owner = played.owner();
        let keys = "/projects/example%2Fnginx-app/deploy_keys";
        let body = serde_json::json!({ "title": "flux", "key": public });
        let made = played.ask("POST", keys, &owner, &body);
        assert_eq!(made.status, 201, "{:?}", made.body);
        assert!(list(EXAMPLE_PROJECT).unwrap().contains("refs/heads/main"));
        refused(AGENT_PROJECT, "could not be found or you don't have permission");

        let id = made.body["id"].as_u64().unwrap();
        let hour = |hours: i64| Timestamp::now().checked_add(Span::new().hours(hours)).ok();
        played.gitlab.change_deploy_key(id, |key| key.expires = hour(-1)).unwrap();
        refused(EXAMPLE_PROJECT, "Permission denied (publickey)");
        played.gitlab.change_deploy_key(id, |key| key.expires = hour(1)).unwrap();
        assert!(list(EXAMPLE_PROJECT).is_ok());
        assert_eq!(
            played.ask("DELETE", &format!("{keys}/{id}"), &owner, &serde_json::Value::Null).status,
            204
        );
        refused(EXAMPLE_PROJECT, "Permission denied (publickey)");
    }
}
