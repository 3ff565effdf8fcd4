//! One agent of GitLab: its configuration file, its tokens, its connections.

use futures_util::future::join_all;
use gitlab_agent_core::snapshot::gitlab::{AgentConnection, AgentToken};
use gitlab_agent_core::snapshot::{Observed, Why, WhyKind, mask};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::gitlab::{Record, config, observed, why};
use crate::gitlab::{CONNECTIONS_HIDDEN, Fault, GitLab, GraphQl, ProjectRef};

/// An agent in a project's list.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Listed {
    pub(super) id: u64,
    pub(super) name: String,
}

/// The agents that are registered in a project.
pub(super) async fn list(gitlab: &GitLab, of: &ProjectRef) -> Result<Vec<Listed>, Fault> {
    let asked = format!("agents of {}", of.project.path_with_namespace);
    let path = format!("/projects/{}/cluster_agents", of.project.id);
    gitlab.get_all(&path, &asked).await.map(|list| list.items)
}

/// Everything about one agent.
pub(super) async fn record(gitlab: &GitLab, of: &ProjectRef, agent: &Listed) -> Record {
    let file = format!(".gitlab/agents/{}/config.yaml", agent.name);
    let (file, (tokens, connections)) =
        tokio::join!(gitlab.file(of, &file), tokens_and_connections(gitlab, of, agent));
    Record {
        id: agent.id,
        name: agent.name.clone(),
        project: of.project.path_with_namespace.clone(),
        config: observed(file.map(|file| config(file.as_deref()))),
        tokens,
        connections,
    }
}

#[derive(Deserialize)]
struct Data {
    project: Option<Project>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Project {
    cluster_agent: Option<ClusterAgent>,
}

#[derive(Deserialize)]
struct ClusterAgent {
    tokens: Option<Nodes<Token>>,
    connections: Option<Nodes<Connection>>,
}

#[derive(Deserialize)]
struct Nodes<T> {
    nodes: Option<Vec<Option<T>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    id: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    status: String,
    created_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Connection {
    connected_at: Option<Timestamp>,
    metadata: Option<Pod>,
    #[serde(default)]
    warnings: Option<Vec<Warning>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pod {
    version: Option<String>,
    pod_namespace: Option<String>,
    pod_name: Option<String>,
}

#[derive(Deserialize)]
struct Warning {
    version: Option<Message>,
}

#[derive(Deserialize)]
struct Message {
    message: Option<String>,
}

type TokensAndConnections = (Observed<Vec<AgentToken>>, Observed<Vec<AgentConnection>>);

/// GraphQL alone tells connections, and when each token was last used. `warnings` came with GitLab 17.7: an older one
/// refuses a query that names it.
async fn tokens_and_connections(gitlab: &GitLab, of: &ProjectRef, agent: &Listed) -> TokensAndConnections {
    let asked = format!("agent {} of {}", agent.name, of.project.path_with_namespace);
    let mut answer = query(gitlab, of, agent, " warnings { version { message } }", &asked).await;
    if answer.as_ref().is_ok_and(|a| a.errors.iter().any(|e| e.contains("doesn't exist on type"))) {
        answer = query(gitlab, of, agent, "", &asked).await;
    }
    let (found, errors) = match answer {
        Ok(answer) => (answer.data.and_then(|d| d.project?.cluster_agent), answer.errors),
        Err(fault) => (None, vec![fault.to_string()]),
    };
    let said = errors.first().cloned().unwrap_or("GitLab's GraphQL does not show it to you".to_owned());
    // Where Rails cannot ask kas, it says the class of the error (`GRPC::Unavailable`).
    let of_kas = said.starts_with("GRPC::") || said.starts_with("Gitlab::Kas");
    let (kind, said) = match of_kas {
        true => (WhyKind::Unreadable, format!("GitLab cannot ask its kas ({said})")),
        false => (WhyKind::Forbidden, said),
    };
    let unknown =
        |kind: WhyKind, said: &str| Why::new(kind, format!("connections of {asked} of GitLab"), said);
    let tokens = match found.as_ref().and_then(|a| a.tokens.as_ref()?.nodes.as_ref()) {
        Some(nodes) => Observed::Known(nodes.iter().flatten().filter_map(token).collect()),
        None => tokens_by_rest(gitlab, of, agent, &asked).await,
    };
    let connections = match found.as_ref().and_then(|a| a.connections.as_ref()?.nodes.as_ref()) {
        Some(nodes) if nodes.is_empty() && !gitlab.shows_connections(&of.project).await => {
            Observed::Unknown(unknown(WhyKind::Forbidden, CONNECTIONS_HIDDEN))
        }
        Some(nodes) => Observed::Known(nodes.iter().flatten().map(connection).collect()),
        None => Observed::Unknown(unknown(kind, &said)),
    };
    (tokens, connections)
}

async fn query(
    gitlab: &GitLab,
    of: &ProjectRef,
    agent: &Listed,
    warnings: &str,
    asked: &str,
) -> Result<GraphQl<Data>, Fault> {
    let query = format!(
        "query($path: ID!, $name: String!) {{ project(fullPath: $path) {{ clusterAgent(name: $name) {{ \
         tokens {{ nodes {{ id name status createdAt lastUsedAt }} }} \
         connections {{ nodes {{ connectedAt metadata {{ version podNamespace podName }}{warnings} }} }} }} }} }}"
    );
    let variables = json!({"path": of.project.path_with_namespace, "name": agent.name});
    gitlab.graphql(&query, variables, asked).await
}

fn token(token: &Token) -> Option<AgentToken> {
    let id = token.id.rsplit('/').next()?.parse().ok()?;
    let active = token.status.is_empty() || token.status.eq_ignore_ascii_case("active");
    active.then(|| AgentToken {
        id,
        name: mask::free_text(token.name.as_deref().unwrap_or_default()),
        created_at: token.created_at,
        last_used_at: token.last_used_at,
    })
}

fn connection(connection: &Connection) -> AgentConnection {
    let pod = connection.metadata.as_ref();
    let text = |of: fn(&Pod) -> &Option<String>| pod.and_then(|p| of(p).clone()).unwrap_or_default();
    let warnings =
        connection.warnings.iter().flatten().filter_map(|w| w.version.as_ref()?.message.as_deref());
    AgentConnection {
        connected_at: connection.connected_at,
        version: text(|p| &p.version),
        pod_namespace: text(|p| &p.pod_namespace),
        pod_name: text(|p| &p.pod_name),
        warnings: warnings.map(mask::free_text).collect(),
    }
}

/// The list shows active tokens without their last use; each token alone shows it.
async fn tokens_by_rest(
    gitlab: &GitLab,
    of: &ProjectRef,
    agent: &Listed,
    asked: &str,
) -> Observed<Vec<AgentToken>> {
    #[derive(Deserialize)]
    struct One {
        id: u64,
        #[serde(default)]
        name: Option<String>,
        created_at: Option<Timestamp>,
        #[serde(default)]
        last_used_at: Option<Timestamp>,
    }
    let base = format!("/projects/{}/cluster_agents/{}/tokens", of.project.id, agent.id);
    let asked = format!("tokens of {asked}");
    let list = match gitlab.get_all::<One>(&base, &asked).await {
        Ok(list) => list.items,
        Err(fault) => return Observed::Unknown(why(fault)),
    };
    let each = list.iter().map(|t| {
        let path = format!("{base}/{}", t.id);
        let asked = &asked;
        async move { gitlab.get::<One>(&path, asked).await }
    });
    let mut tokens = Vec::new();
    for one in join_all(each).await {
        match one {
            Ok(t) => tokens.push(AgentToken {
                id: t.id,
                name: mask::free_text(t.name.as_deref().unwrap_or_default()),
                created_at: t.created_at,
                last_used_at: t.last_used_at,
            }),
            Err(fault) => return Observed::Unknown(why(fault)),
        }
    }
    Observed::Known(tokens)
}
