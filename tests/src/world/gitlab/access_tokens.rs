//! Personal, project and group access tokens: one record, the last two with a bot as their user.
//!
//! Source: `doc/api/personal_access_tokens.md`, `lib/api/resource_access_tokens.rb`,
//! `app/services/personal_access_tokens/rotate_service.rb`.

use anyhow::{Context as _, Result};
use jiff::civil::Date;
use jiff::{Span, Timestamp};
use serde_json::{Value, json};

use super::people::{Place, Role};
use super::state::State;
use super::times::{show, show_maybe, today};
use super::{GitLab, PERSON};
use crate::world::secret;

/// Scopes that a project or group access token can have.
pub(super) const RESOURCE_SCOPES: &[&str] = &[
    "api",
    "read_api",
    "read_repository",
    "write_repository",
    "read_registry",
    "write_registry",
    "create_runner",
    "manage_runner",
    "k8s_proxy",
    "ai_features",
    "self_rotate",
];

/// A token that acts for a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// Number.
    pub id: u64,
    /// Name.
    pub name: String,
    /// Description.
    pub description: Option<String>,
    /// The person or bot that it acts for.
    pub user: u64,
    /// The project or group that it belongs to; nothing for a person's.
    pub place: Option<Place>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// The permissions of a fine-grained token, which has the scope `granular` alone.
    pub permissions: Option<Vec<String>>,
    /// When it was made.
    pub created: Timestamp,
    /// The day at whose beginning (UTC) it ends.
    pub expires: Option<Date>,
    /// When it was last accepted.
    pub last_used: Option<Timestamp>,
    /// Taken back.
    pub revoked: bool,
    /// The token that was rotated into this one.
    pub previous: Option<u64>,
    /// The secret itself.
    pub value: String,
}

/// What is asked for when a token is made.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) scopes: Vec<String>,
    pub(super) expires: Option<Date>,
}

impl AccessToken {
    /// Whether its day has come.
    pub fn is_expired(&self) -> bool {
        self.expires.is_some_and(|day| day <= today())
    }

    /// Neither revoked nor expired.
    pub fn is_active(&self) -> bool {
        !self.revoked && !self.is_expired()
    }

    pub(super) fn has_scope(&self, any_of: &[&str]) -> bool {
        // What a fine-grained token may do is decided by its permissions.
        any_of.is_empty()
            || self.permissions.is_some()
            || self.scopes.iter().any(|scope| any_of.contains(&scope.as_str()))
    }

    pub(super) fn json(&self, state: &State) -> Value {
        let mut json = json!({
            "id": self.id,
            "name": self.name,
            "revoked": self.revoked,
            "created_at": show(self.created),
            "description": self.description,
            "scopes": self.scopes,
            "user_id": self.user,
            "last_used_at": show_maybe(self.last_used),
            "active": self.is_active(),
            "expires_at": self.expires.map(|day| day.to_string()),
        });
        if self.permissions.is_some() {
            json["granular"] = json!(true);
        }
        if let Some(place) = self.place {
            json["access_level"] = json!(state.role(self.user, place).map(Role::level));
            json["resource_type"] = json!(place.word());
            json["resource_id"] = json!(place.id());
        }
        json
    }
}

impl State {
    /// A token for a user that there is.
    pub(super) fn add_access_token(
        &mut self,
        user: u64,
        place: Option<Place>,
        wanted: Wanted,
    ) -> Result<AccessToken> {
        let token = AccessToken {
            id: self.number("access token", 301),
            name: wanted.name,
            description: wanted.description,
            user,
            place,
            scopes: wanted.scopes,
            permissions: None,
            created: Timestamp::now(),
            expires: wanted.expires,
            last_used: None,
            revoked: false,
            previous: None,
            value: self.settings.new_value("glpat-", 20)?,
        };
        self.access_tokens.push(token.clone());
        Ok(token)
    }

    /// A token of a project or group, with its bot.
    pub(super) fn add_resource_token(
        &mut self,
        place: Place,
        role: Role,
        wanted: Wanted,
    ) -> Result<AccessToken> {
        let tail = secret::alphanumeric(32)?.to_lowercase();
        let username = format!("{}_{}_bot_{tail}", place.word(), place.id());
        let bot = self.add_user(&username, &wanted.name, true);
        self.set_role(bot, place, Some(role));
        self.add_access_token(bot, Some(place), wanted)
    }

    /// Revokes the token and makes its successor, with the same name, scopes and user.
    pub(super) fn rotate(&mut self, id: u64, expires: Option<Date>) -> Result<AccessToken> {
        let old = self.access_tokens.iter_mut().find(|token| token.id == id).context("no such token")?;
        old.revoked = true;
        let old = old.clone();
        let wanted = Wanted {
            name: old.name,
            description: old.description,
            scopes: old.scopes,
            // One week, where nothing is said.
            expires: expires.or_else(|| today().checked_add(Span::new().weeks(1)).ok()),
        };
        let new = self.add_access_token(old.user, old.place, wanted)?;
        if let Some(token) = self.access_tokens.iter_mut().find(|token| token.id == new.id) {
            token.previous = Some(id);
        }
        Ok(new)
    }

    /// A rotated token that is used to rotate again is taken for a stolen one: its active descendants end.
    pub(super) fn revoke_family(&mut self, id: u64) {
        let mut family = vec![id];
        while let Some(parent) = family.pop() {
            for token in self.access_tokens.iter_mut().filter(|token| token.previous == Some(parent)) {
                token.revoked = true;
                family.push(token.id);
            }
        }
    }
}

impl GitLab {
    /// Makes a token of the person who owns the world's projects; gives its value.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new_access_token(&self, scopes: &[&str]) -> Result<String> {
        let person = self.person();
        Ok(self.new_personal_token(person, "world", scopes, in_days(90))?.value)
    }

    /// Makes a token of a person.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new_personal_token(
        &self,
        user: u64,
        name: &str,
        scopes: &[&str],
        expires: Option<Date>,
    ) -> Result<AccessToken> {
        self.state().add_access_token(user, None, wanted(name, scopes, expires))
    }

    /// Makes a fine-grained token of a person, with permissions such as `Cluster Agent: Read`, for all that the person sees.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new_fine_grained_token(&self, user: u64, name: &str, permissions: &[&str]) -> Result<AccessToken> {
        let mut state = self.state();
        let mut made = state.add_access_token(user, None, wanted(name, &["granular"], in_days(90)))?;
        made.permissions = Some(permissions.iter().map(|permission| (*permission).to_owned()).collect());
        if let Some(kept) = state.access_tokens.last_mut() {
            kept.clone_from(&made);
        }
        Ok(made)
    }

    /// Makes a project or group access token, and its bot with a role.
    ///
    /// # Errors
    /// There is no such project or group.
    pub fn new_resource_token(
        &self,
        path: &str,
        name: &str,
        scopes: &[&str],
        role: Role,
        expires: Option<Date>,
    ) -> Result<AccessToken> {
        let place = self.place(path)?;
        self.state().add_resource_token(place, role, wanted(name, scopes, expires))
    }

    /// All access tokens, of every kind, oldest first.
    pub fn access_tokens(&self) -> Vec<AccessToken> {
        self.state().access_tokens.clone()
    }

    /// Changes a token in any way: its day of expiry, its scopes, its age.
    ///
    /// # Errors
    /// There is no such token.
    pub fn change_access_token(&self, id: u64, change: impl FnOnce(&mut AccessToken)) -> Result<()> {
        let mut state = self.state();
        change(state.access_tokens.iter_mut().find(|token| token.id == id).context("no such access token")?);
        Ok(())
    }

    /// The number of the person who owns the world's projects.
    pub fn person(&self) -> u64 {
        self.state().users.iter().find(|user| user.username == PERSON).map_or(0, |user| user.id)
    }
}

/// The day that comes in so many days: for dates of expiry.
pub fn in_days(days: i64) -> Option<Date> {
    today().checked_add(Span::new().days(days)).ok()
}

fn wanted(name: &str, scopes: &[&str], expires: Option<Date>) -> Wanted {
    let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    Wanted { name: name.into(), description: None, scopes, expires }
}
