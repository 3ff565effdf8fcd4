//! Users, bots and what they may do where.

use anyhow::Result;
use serde_json::{Value, json};

use super::GitLab;
use super::call::Call;
use super::errors::{ApiResult, Refusal, ok};
use super::pagination;
use super::state::State;

/// A role, which GitLab calls access level.
///
/// Source: `lib/gitlab/access.rb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// 10
    Guest,
    /// 20
    Reporter,
    /// 30
    Developer,
    /// 40
    Maintainer,
    /// 50
    Owner,
}

impl Role {
    /// The number that the API shows.
    pub fn level(self) -> u64 {
        match self {
            Self::Guest => 10,
            Self::Reporter => 20,
            Self::Developer => 30,
            Self::Maintainer => 40,
            Self::Owner => 50,
        }
    }

    pub(super) fn of_level(level: u64) -> Option<Self> {
        let all = [Self::Guest, Self::Reporter, Self::Developer, Self::Maintainer, Self::Owner];
        all.into_iter().find(|role| role.level() == level)
    }
}

/// Something that has members and tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The project of this number.
    Project(u64),
    /// The group of this number.
    Group(u64),
}

impl Place {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Project(_) => "project",
            Self::Group(_) => "group",
        }
    }

    pub(super) fn id(self) -> u64 {
        match self {
            Self::Project(id) | Self::Group(id) => id,
        }
    }
}

/// A person, or the bot behind a project or group access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Number.
    pub id: u64,
    /// The name to sign in with.
    pub username: String,
    /// The name to show.
    pub name: String,
    /// The owner of a project or group access token.
    pub bot: bool,
    /// A blocked person's tokens are refused.
    pub blocked: bool,
}

/// A user's role in a project or group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) user: u64,
    pub(super) place: Place,
    pub(super) role: Role,
}

impl User {
    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "username": self.username,
            "name": self.name,
            "state": if self.blocked { "blocked" } else { "active" },
            "bot": self.bot,
        })
    }
}

impl State {
    pub(super) fn add_user(&mut self, username: &str, name: &str, bot: bool) -> u64 {
        let id = self.number("user", 2);
        self.users.push(User { id, username: username.into(), name: name.into(), bot, blocked: false });
        id
    }

    /// Gives or takes (`None`) a role; one per user and place.
    pub(super) fn set_role(&mut self, user: u64, place: Place, role: Option<Role>) {
        self.members.retain(|member| (member.user, member.place) != (user, place));
        self.members.extend(role.map(|role| Member { user, place, role }));
    }
}

impl GitLab {
    /// A new person with no role anywhere; gives the number.
    pub fn new_user(&self, username: &str) -> u64 {
        self.state().add_user(username, username, false)
    }

    /// Gives a role in a project or group, or takes it away. A bot's role is that of its token.
    ///
    /// # Errors
    /// There is no such project or group.
    pub fn set_role(&self, user: u64, path: &str, role: Option<Role>) -> Result<()> {
        let place = self.place(path)?;
        self.state().set_role(user, place, role);
        Ok(())
    }

    /// Blocks a person, or lets it in again.
    pub fn set_blocked(&self, user: u64, blocked: bool) {
        if let Some(user) = self.state().users.iter_mut().find(|known| known.id == user) {
            user.blocked = blocked;
        }
    }
}

/// `GET /user`: who the token belongs to.
pub(super) fn myself(gitlab: &GitLab, call: &Call<'_>) -> ApiResult {
    let caller = call.sign_in(gitlab, &["api", "read_api", "read_user"])?;
    let state = gitlab.state();
    let user = state.user(caller.user).ok_or(Refusal::Unauthorized)?;
    Ok(ok(&user.json()))
}

/// `GET /projects|groups/:id/members/all[/:user_id]`: direct and inherited roles.
pub(super) fn members(gitlab: &GitLab, call: &Call<'_>, place: Place, user: Option<&str>) -> ApiResult {
    call.sign_in(gitlab, &["api", "read_api"])?;
    let state = gitlab.state();
    let of = |known: &User| {
        let role = state.role(known.id, place)?;
        let mut json = known.json();
        json["access_level"] = role.level().into();
        Some(json)
    };
    match user {
        None => {
            let all: Vec<Value> = state.users.iter().filter_map(of).collect();
            Ok(pagination::page(call, &all))
        }
        Some(id) => {
            let known = id.parse().ok().and_then(|id| state.user(id));
            known.and_then(of).map(|json| ok(&json)).ok_or(Refusal::NoRecord)
        }
    }
}
