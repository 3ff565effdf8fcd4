//! The pods from which agents are connected, as GitLab's GraphQL tells. To others than Maintainers it shows an empty list,
//! without an error (`app/graphql/resolvers/kas/agent_connections_resolver.rb`), so an empty list proves that there is none
//! only where the role is known, or where another agent's connections are seen.

use serde::Deserialize;
use serde_json::json;

use super::client::GitLab;
use super::fault::{Fault, FaultKind};
use super::project::Project;

/// Why an empty list of connections is not taken for an answer.
pub const CONNECTIONS_HIDDEN: &str = "GitLab shows an agent's connections to Maintainers of its project only; to others its \
                                      list is empty, and that you are one is not known";

/// Namespace and name of a pod; empty where an old agentk does not say where it runs.
pub(crate) type Pod = (String, String);

#[derive(Deserialize)]
struct Data<P> {
    project: Option<P>,
}

#[derive(Deserialize)]
struct Nodes<T> {
    nodes: Option<Vec<Option<T>>>,
}

#[derive(Deserialize)]
struct Agent {
    connections: Option<Nodes<Connection>>,
}

#[derive(Deserialize)]
struct Connection {
    #[serde(default)]
    metadata: Option<Metadata>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    pod_namespace: Option<String>,
    pod_name: Option<String>,
}

impl Agent {
    fn connections(&self) -> Option<&Vec<Option<Connection>>> {
        self.connections.as_ref()?.nodes.as_ref()
    }
}

impl Connection {
    fn pod(&self) -> Pod {
        let text = |field: fn(&Metadata) -> &Option<String>| {
            self.metadata.as_ref().and_then(|m| field(m).clone()).unwrap_or_default()
        };
        (text(|m| &m.pod_namespace), text(|m| &m.pod_name))
    }
}

impl GitLab {
    /// The pods that kas has connections from, of one agent.
    ///
    /// # Errors
    /// See [`Fault`]; also where GitLab does not say.
    pub async fn connections(&self, project: &Project, agent: &str) -> Result<Vec<Pod>, Fault> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Of {
            cluster_agent: Option<Agent>,
        }
        let asked = format!("connections of agent {agent}");
        let query = "query($path: ID!, $name: String!) { project(fullPath: $path) { clusterAgent(name: $name) { \
                     connections { nodes { metadata { podNamespace podName } } } } } }";
        let variables = json!({"path": project.path_with_namespace, "name": agent});
        let answer = self.graphql::<Data<Of>>(query, variables, &asked).await?;
        let found = answer.data.and_then(|data| data.project?.cluster_agent);
        let Some(nodes) = found.as_ref().and_then(Agent::connections) else {
            let said = answer.errors.first().cloned().unwrap_or_else(|| "GitLab does not say".to_owned());
            return Err(Fault { kind: FaultKind::Unreadable, asked, status: None, message: said });
        };
        if nodes.is_empty() && !self.shows_connections(project).await {
            let message = CONNECTIONS_HIDDEN.to_owned();
            return Err(Fault { kind: FaultKind::Forbidden, asked, status: None, message });
        }
        // A connection that is not shown is none of the pods that are known.
        let pod = |node: &Option<Connection>| node.as_ref().map(Connection::pod).unwrap_or_default();
        Ok(nodes.iter().map(pod).collect())
    }

    /// Whether GitLab shows this token the connections of a project's agents.
    pub async fn shows_connections(&self, project: &Project) -> bool {
        if self.maintains(project).await == Some(true) {
            return true;
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Of {
            cluster_agents: Option<Nodes<Agent>>,
        }
        let asked = format!("connections of the agents of {}", project.path_with_namespace);
        let query = "query($path: ID!) { project(fullPath: $path) { clusterAgents(first: 100) { nodes { \
                     connections { nodes { connectedAt } } } } } }";
        let variables = json!({"path": project.path_with_namespace});
        let answer = self.graphql::<Data<Of>>(query, variables, &asked).await.ok();
        let agents = answer.and_then(|a| a.data?.project?.cluster_agents?.nodes).unwrap_or_default();
        let connected = |agent: &Agent| agent.connections().is_some_and(|nodes| !nodes.is_empty());
        agents.iter().flatten().any(connected)
    }
}
