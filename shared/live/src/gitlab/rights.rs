//! What the person may do in a project or group, asked as directly as GitLab lets one ask.
//!
//! `permissions` of `GET /projects/:id` knows roles in the project and in the groups above it; a role by an invited group
//! may be missing there (`lib/api/entities/project_with_access.rb`), and administrators have none. So it proves a role
//! and never the lack of one.

use gitlab_agent_core::facts::protection::ProtectedBranch;
use serde::Deserialize;
use serde_json::json;

use super::client::GitLab;
use super::fault::{Fault, FaultKind};
use super::project::Project;
use crate::access::segment;

/// The number of the role Maintainer (GitLab, "Roles and permissions").
const MAINTAINER: u32 = 40;
/// The number of the role Owner.
const OWNER: u32 = 50;
/// A user as everybody who is signed in sees it.
#[derive(Clone, Debug, Deserialize)]
pub struct User {
    /// The name to sign in with.
    #[serde(default)]
    pub username: String,
    /// Whether it is the bot of a project's or group's access token; older GitLabs do not say.
    #[serde(default)]
    pub bot: Option<bool>,
}

impl User {
    /// Whether it is a bot: as GitLab says, else by its name (GitLab, "Bot users for projects").
    pub fn is_bot(&self) -> bool {
        let named = |word: &str| self.username.starts_with(word) && self.username.contains("_bot");
        self.bot.unwrap_or_else(|| named("project_") || named("group_"))
    }
}

/// A user by number.
///
/// # Errors
/// See [`Fault`].
pub async fn user(gitlab: &GitLab, id: u64) -> Result<User, Fault> {
    gitlab.get(&format!("/users/{id}"), &format!("user {id}")).await
}

/// What a custom role may allow beyond its base role (GitLab, "Custom permissions").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Custom {
    /// Deploy tokens of a project or group.
    DeployTokens,
    /// Access tokens of a project.
    ProjectTokens,
    /// Access tokens of a group.
    GroupTokens,
}

impl Custom {
    /// Its name in the API.
    fn name(self) -> &'static str {
        match self {
            Self::DeployTokens => "manage_deploy_tokens",
            Self::ProjectTokens => "manage_project_access_tokens",
            Self::GroupTokens => "manage_group_access_tokens",
        }
    }
}

impl GitLab {
    /// Whether the person's custom role in a place (`projects/12`, `groups/3`) allows something; `None` where GitLab does not
    /// tell. A role of the base roles is none of these.
    pub async fn custom_role_allows(&self, place: &str, user: u64, custom: Custom) -> Option<bool> {
        #[derive(Deserialize)]
        struct Member {
            #[serde(default)]
            member_role: Option<serde_json::Map<String, serde_json::Value>>,
        }
        let asked = format!("your role in {place}");
        let member = self.get::<Member>(&format!("/{place}/members/all/{user}"), &asked).await.ok()?;
        Some(
            member
                .member_role
                .is_some_and(|role| role.get(custom.name()).is_some_and(|allowed| *allowed == true)),
        )
    }

    /// Whether the person may do what Maintainers may in a project; `None` where GitLab does not tell.
    pub async fn maintains(&self, project: &Project) -> Option<bool> {
        #[derive(Deserialize)]
        struct Data {
            project: Option<Of>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Of {
            user_permissions: Option<Permissions>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Permissions {
            admin_project: Option<bool>,
        }
        if project.access_level() >= Some(MAINTAINER) {
            return Some(true);
        }
        let asked = format!("your permissions in {}", project.path_with_namespace);
        let query = "query($path: ID!) { project(fullPath: $path) { userPermissions { adminProject } } }";
        let variables = json!({"path": project.path_with_namespace});
        let answer = self.graphql::<Data>(query, variables, &asked).await.ok()?;
        answer.data?.project?.user_permissions?.admin_project
    }

    /// Whether a user is Owner of a group; `None` where GitLab does not tell.
    pub async fn owns_group(&self, group: u64, user: u64) -> Option<bool> {
        #[derive(Deserialize)]
        struct Member {
            access_level: u32,
        }
        let asked = format!("your role in group {group}");
        let member = self.get::<Member>(&format!("/groups/{group}/members/all/{user}"), &asked).await.ok()?;
        Some(member.access_level >= OWNER)
    }

    /// The rules that protect branches of a project. Shown to Maintainers.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn protected_branches(&self, project: &Project) -> Result<Vec<ProtectedBranch>, Fault> {
        #[derive(Deserialize)]
        struct Rule {
            name: String,
            #[serde(default)]
            push_access_levels: Vec<Level>,
            #[serde(default)]
            merge_access_levels: Vec<Level>,
        }
        #[derive(Deserialize)]
        struct Level {
            #[serde(default)]
            access_level: Option<u32>,
            #[serde(default)]
            user_id: Option<u64>,
            #[serde(default)]
            group_id: Option<u64>,
            #[serde(default)]
            deploy_key_id: Option<u64>,
        }
        let asked = format!("protected branches of {}", project.path_with_namespace);
        let path = format!("/projects/{}/protected_branches", project.id);
        let rules = self.get_all::<Rule>(&path, &asked).await?.items;
        // A level of a user, group or key is for that one alone, whatever number stands beside it.
        let role = |level: &Level| {
            let named = level.user_id.or(level.group_id).or(level.deploy_key_id).is_some();
            level.access_level.filter(|_| !named)
        };
        let one = |rule: Rule| ProtectedBranch {
            name: rule.name,
            roles: rule.push_access_levels.iter().chain(&rule.merge_access_levels).filter_map(role).collect(),
        };
        Ok(rules.into_iter().map(one).collect())
    }

    /// What a branch says of its protection to whoever reads code: whether Developers may push or merge.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn branch_protection(
        &self,
        project: &Project,
        branch: &str,
    ) -> Result<Vec<ProtectedBranch>, Fault> {
        #[derive(Deserialize)]
        struct Branch {
            #[serde(default)]
            protected: bool,
            #[serde(default)]
            developers_can_push: bool,
            #[serde(default)]
            developers_can_merge: bool,
        }
        let asked = format!("branch {branch} of {}", project.path_with_namespace);
        let path = format!("/projects/{}/repository/branches/{}", project.id, segment(branch));
        let found: Branch = match self.get(&path, &asked).await {
            Ok(found) => found,
            Err(fault) if fault.kind == FaultKind::NotFound => return Ok(Vec::new()),
            Err(fault) => return Err(fault),
        };
        if !found.protected {
            return Ok(Vec::new());
        }
        // Whether Maintainers may, it does not tell; that nobody may is rare.
        let role = if found.developers_can_push || found.developers_can_merge { 30 } else { MAINTAINER };
        Ok(vec![ProtectedBranch { name: branch.to_owned(), roles: vec![role] }])
    }
}
