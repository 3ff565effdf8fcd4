//! Agents of a project, and the connections that kas knows.
//!
//! Source: `doc/api/cluster_agents.md`, `lib/api/clusters/agents.rb`.

use std::time::Instant;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::GitLab;
use super::call::{Call, at_least, visible_project};
use super::errors::{ApiResult, Refusal, created, no_content, ok};
use super::pagination;
use super::people::{Place, Role};
use super::projects::Project;
use super::repository_files::git;
use super::state::State;
use super::times::show;

/// A registered agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// Number.
    pub id: u64,
    /// Name, unique in its project.
    pub name: String,
    /// Number of the project that holds its configuration.
    pub project: u64,
    /// When it was registered.
    pub created: Timestamp,
    /// By whom.
    pub created_by: u64,
}

/// A pod of agentk, as kas remembers it.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The agent that it is.
    pub agent: u64,
    /// kas numbers connections at random.
    pub connection_id: u64,
    /// Since when.
    pub connected_at: Timestamp,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Version of agentk, `v19.2.1`.
    pub version: String,
    /// The pod is gone since then; the entry stays for a while.
    pub(super) gone: Option<Instant>,
}

impl Agent {
    pub(super) fn json(&self, project: &Project) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "config_project": project.identity(),
            "created_at": show(self.created),
            "created_by_user_id": self.created_by,
            "is_receptive": false,
        })
    }
}

impl State {
    /// Notes one more connection of a pod of this name; gives its number.
    fn add_connection(&mut self, agent: u64, namespace: &str, pod: &str, version: &str) -> u64 {
        let connection_id = 7_000_000_000 + self.number("connection", 1);
        self.connections.push(Connection {
            agent,
            connection_id,
            connected_at: Timestamp::now(),
            namespace: namespace.into(),
            pod: pod.into(),
            version: version.into(),
            gone: None,
        });
        connection_id
    }

    /// The connections that kas still lists.
    pub(super) fn connections_of(&self, agent: u64) -> impl Iterator<Item = &Connection> {
        let lag = self.settings.connection_lag;
        let lists = self.settings.lists_connections;
        let listed = move |gone: &Option<Instant>| lists && gone.is_none_or(|gone| gone.elapsed() < lag);
        self.connections.iter().filter(move |entry| entry.agent == agent && listed(&entry.gone))
    }

    /// What `AgentsFinder` finds: nothing for who is less than a Developer.
    pub(super) fn agents_for(&self, user: u64, project: u64) -> Vec<Agent> {
        if self.role(user, Place::Project(project)) < Some(Role::Developer) {
            return Vec::new();
        }
        let mut found: Vec<Agent> =
            self.agents.iter().filter(|agent| agent.project == project).cloned().collect();
        found.sort_by(|one, other| one.name.cmp(&other.name));
        found
    }

    pub(super) fn agent_for(&self, user: u64, project: u64, id: &str) -> Result<Agent, Refusal> {
        let found = self.agents_for(user, project).into_iter().find(|agent| agent.id.to_string() == id);
        found.ok_or(Refusal::NoRecord)
    }

    pub(super) fn add_agent(&mut self, id: u64, name: &str, project: u64, created_by: u64) -> Agent {
        let agent = Agent { id, name: name.into(), project, created: Timestamp::now(), created_by };
        self.agents.push(agent.clone());
        agent
    }
}

impl GitLab {
    /// Registers an agent; gives its number.
    ///
    /// # Errors
    /// There is no such project.
    pub fn new_agent(&self, project: &str, name: &str) -> Result<u64> {
        let mut state = self.state();
        let project = state.project_by_path(project).with_context(|| format!("no project {project}"))?.id;
        let id = state.number("agent", 8);
        Ok(state.add_agent(id, name, project, 0).id)
    }

    /// The registered agents.
    pub fn agents(&self) -> Vec<Agent> {
        self.state().agents.clone()
    }

    /// Whether the agent's configuration file turns its Flux module off.
    pub(crate) fn has_flux_off(&self, agent: u64) -> bool {
        let state = self.state();
        let Some(agent) = state.agents.iter().find(|known| known.id == agent).cloned() else { return false };
        let Some(path) = state.project(agent.project).map(|project| project.path.clone()) else {
            return false;
        };
        drop(state);
        let file = format!("main:.gitlab/agents/{}/config.yaml", agent.name);
        let text = git(self, &path, &["show", &file]).unwrap_or_default();
        String::from_utf8_lossy(&text).contains("flux:\n  enabled: false")
    }

    /// The connections that GraphQL shows of an agent now.
    pub fn connections(&self, agent: u64) -> Vec<Connection> {
        self.state().connections_of(agent).cloned().collect()
    }

    /// Notes a connected pod, once.
    pub fn connect(&self, agent: u64, namespace: &str, pod: &str, version: &str) {
        let mut state = self.state();
        let same = |entry: &&mut Connection| {
            entry.agent == agent && entry.pod == pod && entry.namespace == namespace
        };
        if let Some(entry) = state.connections.iter_mut().find(same) {
            entry.gone = None;
            return;
        }
        state.add_connection(agent, namespace, pod, version);
    }

    /// Notes a second connection of a pod of this name, as a clone of the cluster makes one; gives its number.
    pub fn connect_a_clone(&self, agent: u64, namespace: &str, pod: &str, version: &str) -> u64 {
        self.state().add_connection(agent, namespace, pod, version)
    }

    /// Forgets one connection.
    pub fn forget_connection(&self, connection: u64) {
        self.state().connections.retain(|entry| entry.connection_id != connection);
    }

    /// Notes that a pod is gone; it stays listed for as long as the settings say.
    pub fn disconnect(&self, namespace: &str, pod: &str) {
        let mut state = self.state();
        let of_pod = |entry: &&mut Connection| entry.pod == pod && entry.namespace == namespace;
        for entry in state.connections.iter_mut().filter(of_pod) {
            entry.gone.get_or_insert_with(Instant::now);
        }
    }
}

pub(super) fn list(gitlab: &GitLab, call: &Call<'_>, id: &str) -> ApiResult {
    let caller = call.sign_in(gitlab, call.usual_scopes())?;
    let state = gitlab.state();
    let project = visible_project(&state, Some(caller.user), id)?;
    if state.role(caller.user, Place::Project(project.id)) < Some(Role::Developer) {
        return Err(Refusal::NotFound("ClusterAgents"));
    }
    let agents = state.agents_for(caller.user, project.id);
    let all: Vec<Value> = agents.iter().map(|agent| agent.json(&project)).collect();
    Ok(pagination::page(call, &all))
}

pub(super) fn one(gitlab: &GitLab, call: &Call<'_>, id: &str, agent: &str) -> ApiResult {
    let caller = call.sign_in(gitlab, call.usual_scopes())?;
    let state = gitlab.state();
    let project = visible_project(&state, Some(caller.user), id)?;
    Ok(ok(&state.agent_for(caller.user, project.id, agent)?.json(&project)))
}

pub(super) fn create(gitlab: &GitLab, call: &Call<'_>, id: &str) -> ApiResult {
    let caller = call.sign_in(gitlab, call.usual_scopes())?;
    let name = call.required("name")?;
    let mut state = gitlab.state();
    let project = visible_project(&state, Some(caller.user), id)?;
    at_least(&state, caller.user, Place::Project(project.id), Role::Maintainer)?;
    if let Some(trouble) = unfit(&state, project.id, &name) {
        return Err(Refusal::BadRequest(format!("[{trouble:?}]")));
    }
    let number = state.number("agent", 8);
    let agent = state.add_agent(number, &name, project.id, caller.user);
    Ok(created(&agent.json(&project)))
}

/// A name has to be a label of RFC 1123, and new in its project.
fn unfit(state: &State, project: u64, name: &str) -> Option<&'static str> {
    let allowed = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if name.is_empty() {
        return Some("Name can't be blank");
    }
    if !name.chars().all(allowed) || name.starts_with('-') || name.ends_with('-') {
        return Some(
            "Name can contain only lowercase letters, digits, and '-', but cannot start or end with '-'",
        );
    }
    if name.len() > 63 {
        return Some("Name is too long (maximum is 63 characters)");
    }
    let taken = state.agents.iter().any(|agent| agent.project == project && agent.name == name);
    taken.then_some("Name has already been taken")
}

pub(super) fn delete(gitlab: &GitLab, call: &Call<'_>, id: &str, agent: &str) -> ApiResult {
    let caller = call.sign_in(gitlab, call.usual_scopes())?;
    let mut state = gitlab.state();
    let project = visible_project(&state, Some(caller.user), id)?;
    at_least(&state, caller.user, Place::Project(project.id), Role::Maintainer)?;
    let agent = state.agent_for(caller.user, project.id, agent)?;
    state.agents.retain(|known| known.id != agent.id);
    state.agent_tokens.retain(|token| token.agent != agent.id);
    state.connections.retain(|entry| entry.agent != agent.id);
    Ok(no_content())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Played;
    use super::*;

    const AGENTS: &str = "/projects/platform%2Ffleet/cluster_agents";

    #[test]
    fn an_agent_is_registered_shown_and_deleted() {
        let played = Played::new();
        let owner = played.owner();
        let made = played.ask("POST", AGENTS, &owner, &json!({ "name": "second" }));
        assert_eq!((made.status, &made.body["name"]), (201, &json!("second")));
        assert_eq!(made.body["config_project"]["path_with_namespace"], "platform/fleet");
        let again = played.ask("POST", AGENTS, &owner, &json!({ "name": "second" }));
        assert_eq!(again.body["message"], "400 Bad request - [\"Name has already been taken\"]");
        assert_eq!(played.ask("POST", AGENTS, &owner, &json!({ "name": "Not OK" })).status, 400);
        assert_eq!(played.ask("POST", AGENTS, &owner, &json!({})).body["error"], "name is missing");
        let one = format!("{AGENTS}/{}", made.body["id"]);
        assert_eq!(played.get(&one, &owner).status, 200);
        assert_eq!(played.ask("DELETE", &one, &owner, &Value::Null).status, 204);
        assert_eq!(played.get(&one, &owner).status, 404);
    }

    #[test]
    fn a_pod_that_is_gone_stays_listed_for_a_while() {
        let played = Played::new();
        let gitlab = &played.gitlab;
        gitlab.configure(|settings| settings.connection_lag = std::time::Duration::from_secs(3600));
        gitlab.connect(7, "gitlab", "pod-1", "v19.2.1");
        gitlab.connect(7, "gitlab", "pod-1", "v19.2.1");
        gitlab.disconnect("gitlab", "pod-1");
        assert_eq!(gitlab.connections(7).len(), 1);
        gitlab.configure(|settings| settings.connection_lag = std::time::Duration::ZERO);
        assert_eq!(gitlab.connections(7).len(), 0);
    }
}
