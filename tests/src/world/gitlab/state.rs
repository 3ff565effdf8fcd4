//! Everything that the played GitLab knows, and how one thing is found from another.

use std::collections::BTreeMap;

use super::access_tokens::AccessToken;
use super::agent_tokens::AgentToken;
use super::agents::{Agent, Connection};
use super::commit_status::CommitStatus;
use super::deploy_keys::DeployKey;
use super::deploy_tokens::DeployToken;
use super::faults::Faults;
use super::limits::Limits;
use super::oauth::OAuthToken;
use super::people::{CustomRole, Invitation, Member, Place, Role, User};
use super::projects::{Group, Project, Visibility};
use super::protection::Protection;
use super::requests::SeenRequest;
use super::settings::Settings;

/// The whole state. Records are found by scanning: there are never many.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) users: Vec<User>,
    pub(super) members: Vec<Member>,
    pub(super) invitations: Vec<Invitation>,
    pub(super) custom_roles: Vec<CustomRole>,
    pub(super) protections: Vec<Protection>,
    pub(super) oauth_tokens: Vec<OAuthToken>,
    pub(super) groups: Vec<Group>,
    pub(super) projects: Vec<Project>,
    pub(super) agents: Vec<Agent>,
    pub(super) connections: Vec<Connection>,
    pub(super) agent_tokens: Vec<AgentToken>,
    pub(super) access_tokens: Vec<AccessToken>,
    pub(super) deploy_tokens: Vec<DeployToken>,
    pub(super) deploy_keys: Vec<DeployKey>,
    pub(super) statuses: Vec<CommitStatus>,
    pub(super) requests: Vec<SeenRequest>,
    pub(super) faults: Faults,
    pub(super) limits: Limits,
    numbers: BTreeMap<&'static str, u64>,
}

impl State {
    /// The next number of a kind. Each kind has a range of its own, so that a number in a log is of one thing only.
    pub(super) fn number(&mut self, kind: &'static str, first: u64) -> u64 {
        let next = self.numbers.entry(kind).or_insert(first);
        *next += 1;
        *next - 1
    }

    pub(super) fn user(&self, id: u64) -> Option<&User> {
        self.users.iter().find(|user| user.id == id)
    }

    pub(super) fn project(&self, id: u64) -> Option<&Project> {
        self.projects.iter().find(|project| project.id == id)
    }

    pub(super) fn project_by_path(&self, path: &str) -> Option<&Project> {
        self.projects.iter().find(|project| project.path == path)
    }

    pub(super) fn group_by_path(&self, path: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.path == path)
    }

    /// By number or by full path, as every `:id` of the REST API is read.
    pub(super) fn project_by_reference(&self, id: &str) -> Option<&Project> {
        id.parse().ok().and_then(|id| self.project(id)).or_else(|| self.project_by_path(id))
    }

    /// By number or by full path.
    pub(super) fn group_by_reference(&self, id: &str) -> Option<&Group> {
        let number: Option<u64> = id.parse().ok();
        self.groups.iter().find(|group| Some(group.id) == number || group.path == id)
    }

    /// The highest role that a user has in a project or group, by itself or from a group above.
    pub(super) fn role(&self, user: u64, place: Place) -> Option<Role> {
        let path = self.path_of(place)?;
        let above = |member: &&Member| {
            member.user == user
                && (member.place == place
                    || self
                        .path_of(member.place)
                        .filter(|_| matches!(member.place, Place::Group(_)))
                        .is_some_and(|group| path.starts_with(&format!("{group}/"))))
        };
        let own = self.members.iter().filter(above).map(|member| member.role).max();
        own.max(self.invited(user, place, path))
    }

    /// The highest role that a user has by the groups that are invited to a place or to a group above it.
    fn invited(&self, user: u64, place: Place, path: &str) -> Option<Role> {
        let covers = |of: Place| {
            let above = self.path_of(of).filter(|_| matches!(of, Place::Group(_)));
            of == place || above.is_some_and(|group| path.starts_with(&format!("{group}/")))
        };
        let role = |invitation: &Invitation| {
            let of = Place::Group(invitation.group);
            let member = self.members.iter().find(|m| m.user == user && m.place == of)?;
            Some(member.role.min(invitation.most))
        };
        self.invitations.iter().filter(|i| covers(i.place)).filter_map(role).max()
    }

    pub(super) fn is_admin(&self, user: u64) -> bool {
        self.user(user).is_some_and(|user| user.admin)
    }

    /// Whether somebody (or nobody in particular) may see that the project exists.
    pub(super) fn sees(&self, user: Option<u64>, project: &Project) -> bool {
        match project.visibility {
            Visibility::Public => true,
            Visibility::Internal => user.is_some(),
            Visibility::Private => {
                user.is_some_and(|user| self.role(user, Place::Project(project.id)).is_some())
            }
        }
    }

    pub(super) fn path_of(&self, place: Place) -> Option<&str> {
        match place {
            Place::Project(id) => self.project(id).map(|project| project.path.as_str()),
            Place::Group(id) => {
                self.groups.iter().find(|group| group.id == id).map(|group| group.path.as_str())
            }
        }
    }
}
