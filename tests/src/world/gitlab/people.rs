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
    /// 15
    Planner,
    /// 20
    Reporter,
    /// 25
    SecurityManager,
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
            Self::Planner => 15,
            Self::Reporter => 20,
            Self::SecurityManager => 25,
            Self::Developer => 30,
            Self::Maintainer => 40,
            Self::Owner => 50,
        }
    }

    pub(super) fn of_level(level: u64) -> Option<Self> {
        let low = [Self::Guest, Self::Planner, Self::Reporter, Self::SecurityManager];
        let high = [Self::Developer, Self::Maintainer, Self::Owner];
        low.into_iter().chain(high).find(|role| role.level() == level)
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
    /// An administrator, who sees everything.
    pub admin: bool,
}

/// A group that is invited to a project or group, with the highest role that its members have there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Invitation {
    pub(super) group: u64,
    pub(super) place: Place,
    pub(super) most: Role,
}

/// A user's role in a project or group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) user: u64,
    pub(super) place: Place,
    pub(super) role: Role,
}

/// What a custom role of a person allows in a place, beside the base role (`doc/user/custom_roles/abilities.md`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CustomRole {
    pub(super) user: u64,
    pub(super) place: Place,
    pub(super) allows: String,
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
        self.users.push(User {
            id,
            username: username.into(),
            name: name.into(),
            bot,
            blocked: false,
            admin: false,
        });
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

    /// Gives a person a custom role in a project or group that allows this beside the base role: `manage_deploy_tokens`.
    ///
    /// # Errors
    /// There is no such project or group.
    pub fn allow_by_custom_role(&self, user: u64, path: &str, allows: &str) -> Result<()> {
        let place = self.place(path)?;
        self.state().custom_roles.push(CustomRole { user, place, allows: allows.to_owned() });
        Ok(())
    }

    /// All users, bots too.
    pub fn users(&self) -> Vec<User> {
        self.state().users.clone()
    }

    /// The highest role of a user in a place.
    pub fn role_in(&self, user: u64, place: Place) -> Option<Role> {
        self.state().role(user, place)
    }

    /// Invites a group to a project or group, its members with this role at most. Such a role is not in a project's
    /// `permissions`.
    ///
    /// # Errors
    /// There is no such group, project or place.
    pub fn invite_group(&self, group: &str, path: &str, most: Role) -> Result<()> {
        let place = self.place(path)?;
        let group = self.new_group(group);
        self.state().invitations.push(Invitation { group, place, most });
        Ok(())
    }

    /// Makes a person an administrator, or no longer.
    pub fn set_admin(&self, user: u64, admin: bool) {
        if let Some(user) = self.state().users.iter_mut().find(|known| known.id == user) {
            user.admin = admin;
        }
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

/// `GET /users/:id`: what everybody who is signed in may know.
pub(super) fn user(gitlab: &GitLab, call: &Call<'_>, id: &str) -> ApiResult {
    call.sign_in(gitlab, &["api", "read_api", "read_user"])?;
    let state = gitlab.state();
    let user = id.parse().ok().and_then(|id| state.user(id));
    user.map(|user| ok(&user.json())).ok_or(Refusal::NotFound("User"))
}

/// `GET /projects|groups/:id/members`: direct ones, by name where `query` says.
pub(super) fn direct_members(gitlab: &GitLab, call: &Call<'_>, place: Place) -> ApiResult {
    call.sign_in(gitlab, &["api", "read_api"])?;
    let state = gitlab.state();
    let query = call.text("query").unwrap_or_default();
    let of = |member: &Member| {
        let user = state.user(member.user).filter(|_| member.place == place)?;
        let found = user.name.contains(&query) || user.username.contains(&query);
        let mut json = user.json();
        json["access_level"] = member.role.level().into();
        found.then_some(json)
    };
    let all: Vec<Value> = state.members.iter().filter_map(of).collect();
    Ok(pagination::page(call, &all))
}

/// `GET /projects|groups/:id/members/all[/:user_id]`: direct and inherited roles.
pub(super) fn members(gitlab: &GitLab, call: &Call<'_>, place: Place, user: Option<&str>) -> ApiResult {
    call.sign_in(gitlab, &["api", "read_api"])?;
    let state = gitlab.state();
    let of = |known: &User| {
        let role = state.role(known.id, place)?;
        let mut json = known.json();
        json["access_level"] = role.level().into();
        let custom = state.custom_roles.iter().filter(|c| (c.user, c.place) == (known.id, place));
        for custom in custom {
            json["member_role"]["base_access_level"] = role.level().into();
            json["member_role"][custom.allows.as_str()] = true.into();
        }
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
