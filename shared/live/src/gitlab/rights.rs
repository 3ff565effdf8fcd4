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
/// Why an empty list of connections is not taken for an answer.
pub const CONNECTIONS_HIDDEN: &str = "GitLab shows an agent's connections to Maintainers of its project only; to others its \
                                      list is empty, and that you are one is not known";

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

impl GitLab {
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

    /// Whether GitLab shows this token the connections of a project's agents. To others than Maintainers it shows an empty
    /// list, without an error (`app/graphql/resolvers/kas/agent_connections_resolver.rb`), so an empty list proves that
    /// there is none only where the role is known, or where another agent's connections are seen.
    pub async fn shows_connections(&self, project: &Project) -> bool {
        if self.maintains(project).await == Some(true) {
            return true;
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Data {
            project: Option<Of>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Of {
            cluster_agents: Option<Nodes<Agent>>,
        }
        #[derive(Deserialize)]
        struct Nodes<T> {
            nodes: Option<Vec<Option<T>>>,
        }
        #[derive(Deserialize)]
        struct Agent {
            connections: Option<Nodes<serde::de::IgnoredAny>>,
        }
        let asked = format!("connections of the agents of {}", project.path_with_namespace);
        let query = "query($path: ID!) { project(fullPath: $path) { clusterAgents(first: 100) { nodes { \
                     connections { nodes { connectedAt } } } } } }";
        let variables = json!({"path": project.path_with_namespace});
        let answer = self.graphql::<Data>(query, variables, &asked).await.ok();
        let agents = answer.and_then(|a| a.data?.project?.cluster_agents?.nodes).unwrap_or_default();
        let connected = |agent: &Agent| {
            let nodes = agent.connections.as_ref().and_then(|c| c.nodes.as_ref());
            nodes.is_some_and(|nodes| !nodes.is_empty())
        };
        agents.iter().flatten().any(connected)
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
