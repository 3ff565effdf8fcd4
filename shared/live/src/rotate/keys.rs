//! The tokens of one agent, in GitLab.

use gitlab_agent_core::rotate::Token;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use crate::gitlab::{Fault, FaultKind, GitLabWriter, Project};

/// GitLab takes no longer description of an agent's token (`app/models/clusters/agent_token.rb`).
const LONGEST_DESCRIPTION: usize = 1024;

/// An agent and the client that may change its tokens.
pub struct Keys {
    /// The client.
    pub gitlab: GitLabWriter,
    /// The project that the agent is registered in.
    pub project: Project,
    /// Its number.
    pub agent: u64,
    /// Its name.
    pub name: String,
}

/// A token as GitLab lists it.
#[derive(Clone, Debug, Deserialize)]
pub struct Listed {
    /// Number.
    pub id: u64,
    /// Name.
    #[serde(default)]
    pub name: String,
    /// When it was made.
    #[serde(default)]
    pub created_at: Option<Timestamp>,
    /// When it was last used; only where one token is asked for.
    #[serde(default)]
    pub last_used_at: Option<Timestamp>,
    /// `active`, or `revoked`, which the list leaves out.
    #[serde(default)]
    pub status: String,
}

#[derive(Deserialize)]
struct Created {
    id: u64,
    token: SecretString,
}

#[derive(Deserialize)]
struct Agent {
    id: u64,
    name: String,
}

/// Pods by which kas knows an agent, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// Namespace and name of each.
    pub pods: Vec<(String, String)>,
}

impl Keys {
    /// Finds an agent by number among the agents of a project; `None` where it is not one of them.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn by_id(gitlab: &GitLabWriter, project: &Project, agent: u64) -> Result<Option<Self>, Fault> {
        let asked = format!("agent {agent} of project {}", project.path_with_namespace);
        let path = format!("/projects/{}/cluster_agents/{agent}", project.id);
        match gitlab.read.get::<Agent>(&path, &asked).await {
            Ok(found) => Ok(Some(Self::new(gitlab, project, found))),
            Err(fault) if fault.kind == FaultKind::NotFound => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Finds an agent by name.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn by_name(
        gitlab: &GitLabWriter,
        project: &Project,
        name: &str,
    ) -> Result<Option<Self>, Fault> {
        let asked = format!("agents of project {}", project.path_with_namespace);
        let path = format!("/projects/{}/cluster_agents", project.id);
        let all = gitlab.read.get_all::<Agent>(&path, &asked).await?;
        Ok(all.items.into_iter().find(|a| a.name == name).map(|found| Self::new(gitlab, project, found)))
    }

    fn new(gitlab: &GitLabWriter, project: &Project, found: Agent) -> Self {
        Self { gitlab: gitlab.clone(), project: project.clone(), agent: found.id, name: found.name }
    }

    fn path(&self) -> String {
        format!("/projects/{}/cluster_agents/{}/tokens", self.project.id, self.agent)
    }

    /// The active tokens.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn active(&self) -> Result<Vec<Listed>, Fault> {
        let asked = format!("tokens of agent {}", self.name);
        let all = self.gitlab.read.get_all::<Listed>(&self.path(), &asked).await?;
        let active = |t: &Listed| t.status.is_empty() || t.status == "active";
        Ok(all.items.into_iter().filter(active).collect())
    }

    /// The same as the machine looks at them.
    pub(super) async fn tokens(&self) -> Result<Vec<Token>, Fault> {
        let token = |t: Listed| Token { id: t.id, name: t.name };
        Ok(self.active().await?.into_iter().map(token).collect())
    }

    /// One token with its last use; lists leave that out.
    ///
    /// # Errors
    /// See [`Fault`]; [`FaultKind::NotFound`] where it is revoked.
    pub async fn one(&self, id: u64) -> Result<Listed, Fault> {
        let asked = format!("token {id} of agent {}", self.name);
        self.gitlab.read.get(&format!("{}/{id}", self.path()), &asked).await
    }

    /// Makes a token. Sent once.
    pub(super) async fn create(&self, name: &str, description: &str) -> Result<(u64, SecretString), Fault> {
        let asked = format!("create a token of agent {}", self.name);
        let description: String = description.chars().take(LONGEST_DESCRIPTION).collect();
        let body = json!({"name": name, "description": description});
        let created: Created = self.gitlab.post(&self.path(), &body, &asked).await?;
        Ok((created.id, created.token))
    }

    /// Revokes a token. Sent once; one that is gone already is as good as revoked.
    pub(super) async fn revoke(&self, id: u64) -> Result<(), Fault> {
        let asked = format!("revoke token {id} of agent {}", self.name);
        match self.gitlab.delete(&format!("{}/{id}", self.path()), &asked).await {
            Err(fault) if fault.kind != FaultKind::NotFound => Err(fault),
            _ => Ok(()),
        }
    }

    /// The pods that kas has connections from.
    ///
    /// # Errors
    /// See [`Fault`]; also where GitLab's GraphQL does not say.
    pub async fn connected(&self) -> Result<Connected, Fault> {
        let pods = self.gitlab.read.connections(&self.project, &self.name).await?;
        Ok(Connected { pods })
    }
}

/// A project by its path.
pub(super) async fn project(gitlab: &GitLabWriter, path: &str) -> Result<Project, Fault> {
    Ok(gitlab.read.project(path).await?.project)
}
