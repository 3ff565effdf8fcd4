//! Deploy keys of a project: SSH keys that Flux may fetch with.
//!
//! Source: `doc/api/deploy_keys.md`.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::call::{Call, at_least, visible_project};
use super::errors::{ApiResult, Refusal, created, no_content, ok};
use super::people::{Place, Role};
use super::state::State;
use super::times::{show, show_maybe};
use super::{GitLab, pagination};

/// A deploy key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployKey {
    /// Number.
    pub id: u64,
    /// The project that it opens.
    pub project: u64,
    /// Title.
    pub title: String,
    /// The public half, as a line of `authorized_keys`.
    pub key: String,
    /// It may write.
    pub can_push: bool,
    /// When it was added.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Option<Timestamp>,
}

impl DeployKey {
    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "title": self.title,
            "key": self.key,
            "fingerprint_sha256": fingerprint(&self.key),
            "created_at": show(self.created),
            "expires_at": show_maybe(self.expires),
            "can_push": self.can_push,
        })
    }
}

/// As `ssh-keygen -l` shows it; nothing for a line that is no key.
fn fingerprint(line: &str) -> Option<String> {
    let mut parts = line.split_whitespace();
    let kind = parts.next()?;
    let blob = STANDARD.decode(parts.next()?).ok()?;
    // The blob begins with its own kind, after four bytes of length.
    let fits = blob.get(4..4 + kind.len()) == Some(kind.as_bytes());
    fits.then(|| format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(&blob))))
}

/// What is asked for when a key is added.
struct Added {
    title: String,
    line: String,
    can_push: bool,
    expires: Option<Timestamp>,
}

impl State {
    fn add_deploy_key(&mut self, project: u64, key: Added) -> DeployKey {
        let made = DeployKey {
            id: self.number("deploy key", 401),
            project,
            title: key.title,
            key: key.line,
            can_push: key.can_push,
            created: Timestamp::now(),
            expires: key.expires,
        };
        self.deploy_keys.push(made.clone());
        made
    }
}

impl GitLab {
    /// All deploy keys, oldest first.
    pub fn deploy_keys(&self) -> Vec<DeployKey> {
        self.state().deploy_keys.clone()
    }

    /// Adds a deploy key to a project; gives its number. `key` is a line of `authorized_keys`.
    ///
    /// # Errors
    /// There is no such project, or sshd cannot be told.
    pub fn new_deploy_key(&self, project: &str, title: &str, key: &str) -> Result<u64> {
        let mut state = self.state();
        let project = state.project_by_path(project).context("no such project")?.id;
        let key = Added { title: title.into(), line: key.into(), can_push: false, expires: None };
        let id = state.add_deploy_key(project, key).id;
        self.write_authorized_keys(&state)?;
        Ok(id)
    }

    /// Deletes a deploy key, as a person would on GitLab's page.
    ///
    /// # Errors
    /// There is no such key, or sshd cannot be told.
    pub fn delete_deploy_key(&self, id: u64) -> Result<()> {
        let mut state = self.state();
        let at = state.deploy_keys.iter().position(|key| key.id == id).context("no such deploy key")?;
        state.deploy_keys.remove(at);
        self.write_authorized_keys(&state)
    }

    /// Changes a deploy key in any way: its age, its time of expiry.
    ///
    /// # Errors
    /// There is no such key, or sshd cannot be told.
    pub fn change_deploy_key(&self, id: u64, change: impl FnOnce(&mut DeployKey)) -> Result<()> {
        let mut state = self.state();
        change(state.deploy_keys.iter_mut().find(|key| key.id == id).context("no such deploy key")?);
        self.write_authorized_keys(&state)
    }
}

/// All of `/projects/:id/deploy_keys`: Maintainers only.
pub(super) fn answer(gitlab: &GitLab, call: &Call<'_>, id: &str, key: Option<&str>) -> ApiResult {
    let caller = call.sign_in(gitlab, call.usual_scopes())?;
    let mut state = gitlab.state();
    let project = visible_project(&state, Some(caller.user), id)?.id;
    at_least(&state, caller.user, Place::Project(project), Role::Maintainer)?;
    let at = |keys: &[DeployKey]| {
        keys.iter().position(|known| known.project == project && Some(known.id.to_string().as_str()) == key)
    };
    match (call.method, key) {
        (&Method::GET, None) => {
            let own = state.deploy_keys.iter().filter(|known| known.project == project);
            let all: Vec<Value> = own.map(DeployKey::json).collect();
            Ok(pagination::page(call, &all))
        }
        (&Method::POST, None) => {
            let (title, line) = (call.required("title")?, call.required("key")?);
            let print = fingerprint(&line);
            let invalid = |text: &str| {
                Refusal::Validation(
                    StatusCode::BAD_REQUEST,
                    json!({ "deploy_key.fingerprint_sha256": [text] }),
                )
            };
            if print.is_none() {
                return Err(invalid("cannot be generated"));
            }
            let same = |known: &&DeployKey| fingerprint(&known.key) == print;
            // One that the project has is given back (`lib/api/deploy_keys.rb`); one of another project is taken.
            let own = |known: &&DeployKey| known.project == project;
            if let Some(known) = state.deploy_keys.iter().filter(own).find(same) {
                return Ok(created(&known.json()));
            }
            if state.deploy_keys.iter().any(|known| same(&known)) {
                return Err(invalid("has already been taken"));
            }
            let can_push = call.switch("can_push") == Some(true);
            let expires = call.text("expires_at").and_then(|text| text.parse().ok());
            let made = state.add_deploy_key(project, Added { title, line, can_push, expires });
            told(gitlab, &state)?;
            Ok(created(&made.json()))
        }
        (&Method::GET, Some(_)) => {
            let at = at(&state.deploy_keys).ok_or(Refusal::NoRecord)?;
            Ok(ok(&state.deploy_keys[at].json()))
        }
        (&Method::DELETE, Some(_)) => {
            let at = at(&state.deploy_keys).ok_or(Refusal::NoRecord)?;
            state.deploy_keys.remove(at);
            told(gitlab, &state)?;
            Ok(no_content())
        }
        _ => Err(Refusal::MethodNotAllowed),
    }
}

/// sshd knows of a change before the answer goes out.
fn told(gitlab: &GitLab, state: &State) -> Result<(), Refusal> {
    gitlab.write_authorized_keys(state).map_err(|error| Refusal::BadRequest(format!("{error:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_key_has_no_fingerprint() {
        let mut blob = vec![0, 0, 0, 11];
        blob.extend_from_slice(b"ssh-ed25519");
        blob.extend_from_slice(&[0, 0, 0, 32]);
        blob.extend_from_slice(&[7; 32]);
        let line = format!("ssh-ed25519 {} somebody", STANDARD.encode(blob));
        assert!(fingerprint(&line).unwrap().starts_with("SHA256:"));
        assert_eq!(fingerprint(&line.replace("ssh-ed25519 ", "ssh-rsa ")), None);
        assert_eq!(fingerprint("nothing"), None);
    }
}
