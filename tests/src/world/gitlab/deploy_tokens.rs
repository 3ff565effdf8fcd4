//! Deploy tokens of projects and groups: git and registries only, never the API.
//!
//! Source: `doc/api/deploy_tokens.md`, `lib/api/deploy_tokens.rb`.

use anyhow::{Context as _, Result};
use http::Method;
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde_json::{Value, json};

use super::call::{Call, allowed, visible_place};
use super::errors::{ApiResult, Refusal, created, no_content, ok};
use super::people::{Place, Role};
use super::state::State;
use super::times::show_maybe;
use super::{GitLab, pagination};

/// What a deploy token can be made for.
const SCOPES: &[&str] = &[
    "read_repository",
    "read_registry",
    "write_registry",
    "read_package_registry",
    "write_package_registry",
    "read_virtual_registry",
    "write_virtual_registry",
];

/// A deploy token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployToken {
    /// Number.
    pub id: u64,
    /// Name.
    pub name: String,
    /// The user name that goes with it.
    pub username: String,
    /// The project, or the group with all projects below, that it opens.
    pub place: Place,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Option<Timestamp>,
    /// Revoked on GitLab's page, which keeps the record, or deleted through the API, which does not.
    pub revoked: bool,
    /// Deleted through the API: its record is kept for tests alone.
    pub deleted: bool,
    /// When it was last accepted.
    pub last_used: Option<Timestamp>,
    /// The secret itself.
    pub value: String,
}

impl DeployToken {
    /// Neither revoked nor expired.
    pub fn is_active(&self) -> bool {
        !self.revoked && !self.is_expired()
    }

    fn is_expired(&self) -> bool {
        self.expires.is_some_and(|at| at <= Timestamp::now())
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "username": self.username,
            "expires_at": show_maybe(self.expires),
            "scopes": self.scopes,
            "revoked": self.revoked,
            "expired": self.is_expired(),
        })
    }
}

impl State {
    fn add_deploy_token(&mut self, place: Place, name: &str, scopes: Vec<String>) -> Result<DeployToken> {
        let id = self.number("deploy token", 201);
        let token = DeployToken {
            id,
            name: name.into(),
            username: format!("gitlab+deploy-token-{id}"),
            place,
            scopes,
            created: Timestamp::now(),
            expires: None,
            revoked: false,
            deleted: false,
            last_used: None,
            value: self.settings.new_value("gldt-", 20)?,
        };
        self.deploy_tokens.push(token.clone());
        Ok(token)
    }
}

impl GitLab {
    /// Makes a deploy token for a project or group; gives its user name and its value.
    ///
    /// # Errors
    /// There is no such project or group.
    pub fn new_deploy_token(&self, path: &str, scopes: &[&str]) -> Result<(String, String)> {
        let place = self.place(path)?;
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let token = self.state().add_deploy_token(place, "world", scopes)?;
        Ok((token.username, token.value))
    }

    /// All deploy tokens, deleted ones too, oldest first.
    pub fn deploy_tokens(&self) -> Vec<DeployToken> {
        self.state().deploy_tokens.clone()
    }

    /// Changes a deploy token in any way.
    ///
    /// # Errors
    /// There is no such token.
    pub fn change_deploy_token(&self, id: u64, change: impl FnOnce(&mut DeployToken)) -> Result<()> {
        let mut state = self.state();
        change(state.deploy_tokens.iter_mut().find(|token| token.id == id).context("no such deploy token")?);
        Ok(())
    }
}

/// Maintainers of a project; in a group Maintainers read, and Owners write.
fn admitted(gitlab: &GitLab, call: &Call<'_>, kind: &str, id: &str) -> Result<Place, Refusal> {
    let caller = call.sign_in(gitlab, call.usual_scopes())?;
    let state = gitlab.state();
    let place = visible_place(&state, caller.user, kind, id)?;
    let writes = call.method != Method::GET;
    let least = if writes && kind == "groups" { Role::Owner } else { Role::Maintainer };
    allowed(&state, caller.user, place, least, "manage_deploy_tokens")?;
    Ok(place)
}

pub(super) fn list(gitlab: &GitLab, call: &Call<'_>, kind: &str, id: &str) -> ApiResult {
    let place = admitted(gitlab, call, kind, id)?;
    let state = gitlab.state();
    let active_only = call.switch("active") == Some(true);
    let shown =
        |token: &&DeployToken| token.place == place && !token.deleted && (!active_only || token.is_active());
    let all: Vec<Value> = state.deploy_tokens.iter().filter(shown).map(DeployToken::json).collect();
    Ok(pagination::page(call, &all))
}

pub(super) fn create(gitlab: &GitLab, call: &Call<'_>, kind: &str, id: &str) -> ApiResult {
    let place = admitted(gitlab, call, kind, id)?;
    let name = call.required("name")?;
    let scopes = call.list("scopes");
    if scopes.is_empty() {
        return Err(Refusal::Parameter("scopes is missing".into()));
    }
    if scopes.iter().any(|scope| !SCOPES.contains(&scope.as_str())) {
        return Err(Refusal::Parameter("scopes does not have a valid value".into()));
    }
    let expires = call.text("expires_at").map(|text| moment(&text)).transpose()?;
    let mut state = gitlab.state();
    let made = state.add_deploy_token(place, &name, scopes);
    let mut made = made.map_err(|error| Refusal::BadRequest(error.to_string()))?;
    made.expires = expires;
    if let Some(username) = call.text("username") {
        made.username = username;
    }
    if let Some(token) = state.deploy_tokens.last_mut() {
        token.clone_from(&made);
    }
    let mut json = made.json();
    json["token"] = json!(made.value);
    Ok(created(&json))
}

/// A time, or a day, which begins at midnight UTC.
fn moment(text: &str) -> Result<Timestamp, Refusal> {
    let day = || text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok().map(|day| day.timestamp());
    let time = text.parse().ok().or_else(day);
    time.ok_or_else(|| Refusal::Parameter("expires_at is invalid".into()))
}

/// `GET|DELETE …/deploy_tokens/:token_id`.
pub(super) fn one(gitlab: &GitLab, call: &Call<'_>, kind: &str, id: &str, token: &str) -> ApiResult {
    let place = admitted(gitlab, call, kind, id)?;
    let mut state = gitlab.state();
    let fits =
        |known: &&mut DeployToken| known.place == place && !known.deleted && known.id.to_string() == token;
    let found = state.deploy_tokens.iter_mut().find(fits).ok_or(Refusal::NoRecord)?;
    if call.method == Method::DELETE {
        (found.revoked, found.deleted) = (true, true);
        return Ok(no_content());
    }
    Ok(ok(&found.json()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Played;
    use super::*;

    const TOKENS: &str = "/projects/example%2Fnginx-app/deploy_tokens";

    #[test]
    fn a_deploy_token_is_shown_once_and_deleted() {
        let played = Played::new();
        let owner = played.owner();
        let body = json!({ "name": "flux", "scopes": ["read_repository"], "expires_at": "2999-01-01" });
        let made = played.ask("POST", TOKENS, &owner, &body);
        assert_eq!((made.status, &made.body["expires_at"]), (201, &json!("2999-01-01T00:00:00.000Z")));
        let id = made.body["id"].as_u64().unwrap();
        assert_eq!(made.body["username"], format!("gitlab+deploy-token-{id}"));
        assert!(made.body["token"].as_str().unwrap().starts_with("gldt-"));
        let listed = played.get(TOKENS, &owner).body;
        assert!(listed[0]["id"] == id && listed[0].get("token").is_none());
        let api = played.ask("POST", TOKENS, &owner, &json!({ "name": "x", "scopes": ["api"] }));
        assert_eq!(api.body["error"], "scopes does not have a valid value");
        let one = format!("{TOKENS}/{id}");
        assert_eq!(played.ask("DELETE", &one, &owner, &Value::Null).status, 204);
        assert_eq!(played.get(&one, &owner).status, 404);
        assert!(!played.gitlab.deploy_tokens()[0].is_active());
        let (_, value) = played.gitlab.new_deploy_token("example/nginx-app", &["read_repository"]).unwrap();
        played.gitlab.revoke(&value).unwrap();
        assert_eq!(
            played.get(TOKENS, &owner).body[0]["revoked"],
            true,
            "revoked on the page, it stays listed"
        );
        assert_eq!(played.get(&format!("{TOKENS}?active=true"), &owner).body, json!([]));
    }
}
