//! Tokens of agents: at most two active, shown once, never expiring.
//!
//! Source: `doc/api/cluster_agents.md`, `lib/api/clusters/agent_tokens.rb`.

use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::call::{Call, at_least, visible_project};
use super::errors::{ApiResult, Refusal, created, no_content, ok};
use super::people::{Place, Role};
use super::state::State;
use super::times::{show, show_maybe};
use super::{AGENT_ID, GitLab, pagination};

/// `Clusters::AgentTokens::CreateService`.
const TOO_MANY: &str = "An agent can have only two active tokens at a time";
const MOST: usize = 2;

/// A token of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentToken {
    /// Number.
    pub id: u64,
    /// The agent that it signs in.
    pub agent: u64,
    /// Name.
    pub name: String,
    /// Description.
    pub description: Option<String>,
    /// Not any more: there is no way back in GitLab.
    pub revoked: bool,
    /// When it was revoked by the API.
    pub revoked_at: Option<Timestamp>,
    /// When it was made.
    pub created: Timestamp,
    /// By whom.
    pub created_by: u64,
    /// When kas last asked about it.
    pub last_used: Option<Timestamp>,
    /// The secret itself.
    pub value: String,
}

impl AgentToken {
    pub(super) fn status(&self) -> &'static str {
        if self.revoked { "revoked" } else { "active" }
    }

    /// Without `last_used_at`: lists do not have it.
    fn basic(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "agent_id": self.agent,
            "status": self.status(),
            "created_at": show(self.created),
            "created_by_user_id": self.created_by,
        })
    }

    fn full(&self) -> Value {
        let mut json = self.basic();
        json["last_used_at"] = json!(show_maybe(self.last_used));
        json
    }
}

impl State {
    fn add_agent_token(
        &mut self,
        agent: u64,
        name: &str,
        description: Option<String>,
        by: u64,
    ) -> Result<AgentToken> {
        let token = AgentToken {
            id: self.number("agent token", 501),
            agent,
            name: name.into(),
            description,
            revoked: false,
            revoked_at: None,
            created: Timestamp::now(),
            created_by: by,
            last_used: None,
            value: self.settings.new_value("glagent-", 50)?,
        };
        self.agent_tokens.push(token.clone());
        Ok(token)
    }

    /// What a list shows: a replica does not know yet what happened within the lag.
    fn listed_agent_tokens(&self, agent: u64) -> impl Iterator<Item = &AgentToken> {
        let lag = self.settings.list_lag;
        let now = Timestamp::now();
        let unknown =
            move |at: Timestamp| Duration::try_from(at.duration_until(now)).is_ok_and(|age| age < lag);
        let shown = move |token: &&AgentToken| {
            let revoked = token.revoked && !token.revoked_at.is_some_and(unknown);
            token.agent == agent && !revoked && !unknown(token.created)
        };
        self.agent_tokens.iter().filter(shown)
    }

    fn active_agent_tokens(&self, agent: u64) -> impl Iterator<Item = &AgentToken> {
        self.agent_tokens.iter().filter(move |token| token.agent == agent && !token.revoked)
    }
}

impl GitLab {
    /// Makes a token for the world's agent; gives its value. Unlike the API it makes a third one, too.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new_agent_token(&self) -> Result<String> {
        Ok(self.new_token_of_agent(AGENT_ID, "world")?.value)
    }

    /// The same for any agent, under a name.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new_token_of_agent(&self, agent: u64, name: &str) -> Result<AgentToken> {
        self.state().add_agent_token(agent, name, None, 0)
    }

    /// All tokens of an agent, revoked ones too, oldest first.
    pub fn agent_tokens(&self, agent: u64) -> Vec<AgentToken> {
        self.state().agent_tokens.iter().filter(|token| token.agent == agent).cloned().collect()
    }

    /// Changes a token in any way: its age, its last use.
    ///
    /// # Errors
    /// There is no such token.
    pub fn change_agent_token(&self, id: u64, change: impl FnOnce(&mut AgentToken)) -> Result<()> {
        let mut state = self.state();
        change(state.agent_tokens.iter_mut().find(|token| token.id == id).context("no such agent token")?);
        Ok(())
    }

    /// Revokes every token of the world's agent but one.
    pub fn revoke_agent_tokens_but(&self, value: &str) {
        for token in &mut self.state().agent_tokens {
            token.revoked |= token.agent == AGENT_ID && token.value != value;
        }
    }

    /// The agent that this token signs in, when it is an active agent token. Counts as a use.
    pub(crate) fn agent_of(&self, value: &str) -> Option<u64> {
        let mut state = self.state();
        let granularity = state.settings.usage_granularity;
        let token = state.agent_tokens.iter_mut().find(|token| !token.revoked && token.value == value)?;
        let now = Timestamp::now();
        let fresh =
            |used: Timestamp| Duration::try_from(used.duration_until(now)).is_ok_and(|age| age < granularity);
        if !token.last_used.is_some_and(fresh) {
            token.last_used = Some(now);
        }
        let agent = token.agent;
        state.agents.iter().any(|known| known.id == agent).then_some(agent)
    }
}

pub(super) fn list(gitlab: &GitLab, call: &Call<'_>, id: &str, agent: &str) -> ApiResult {
    let caller = call.sign_in(gitlab, call.usual_scopes())?;
    let state = gitlab.state();
    let project = visible_project(&state, Some(caller.user), id)?;
    let agent = state.agent_for(caller.user, project.id, agent)?;
    let listed = state.listed_agent_tokens(agent.id);
    let all: Vec<Value> =
        listed.map(|token| AgentToken { revoked: false, ..token.clone() }.basic()).collect();
    Ok(pagination::page(call, &all))
}

pub(super) fn one(gitlab: &GitLab, call: &Call<'_>, id: &str, agent: &str, token: &str) -> ApiResult {
    let caller = call.sign_in(gitlab, call.usual_scopes())?;
    let state = gitlab.state();
    let project = visible_project(&state, Some(caller.user), id)?;
    let agent = state.agent_for(caller.user, project.id, agent)?;
    let found = state.active_agent_tokens(agent.id).find(|known| known.id.to_string() == token);
    found.map(|token| ok(&token.full())).ok_or(Refusal::NoRecord)
}

pub(super) fn create(gitlab: &GitLab, call: &Call<'_>, id: &str, agent: &str) -> ApiResult {
    let caller = call.sign_in(gitlab, call.usual_scopes())?;
    let name = call.required("name")?;
    let mut state = gitlab.state();
    let project = visible_project(&state, Some(caller.user), id)?;
    at_least(&state, caller.user, Place::Project(project.id), Role::Maintainer)?;
    let agent = state.agent_for(caller.user, project.id, agent)?;
    if state.active_agent_tokens(agent.id).count() >= MOST {
        return Err(Refusal::BadRequest(TOO_MANY.into()));
    }
    if name.is_empty() || name.len() > 255 {
        let trouble = if name.is_empty() {
            "Name can't be blank"
        } else {
            "Name is too long (maximum is 255 characters)"
        };
        return Err(Refusal::BadRequest(format!("[{trouble:?}]")));
    }
    let description = call.text("description");
    if description.as_ref().is_some_and(|text| text.chars().count() > 1024) {
        let trouble = "Description is too long (maximum is 1024 characters)";
        return Err(Refusal::BadRequest(format!("[{trouble:?}]")));
    }
    let made = state.add_agent_token(agent.id, &name, description, caller.user);
    let made = made.map_err(|error| Refusal::BadRequest(error.to_string()))?;
    let mut json = made.full();
    json["token"] = json!(made.value);
    Ok(created(&json))
}

pub(super) fn revoke(gitlab: &GitLab, call: &Call<'_>, id: &str, agent: &str, token: &str) -> ApiResult {
    let caller = call.sign_in(gitlab, call.usual_scopes())?;
    let mut state = gitlab.state();
    let project = visible_project(&state, Some(caller.user), id)?;
    at_least(&state, caller.user, Place::Project(project.id), Role::Maintainer)?;
    let agent = state.agent_for(caller.user, project.id, agent)?;
    // A token that is revoked already is found as well, and revoked again.
    let of_agent = |known: &&mut AgentToken| known.agent == agent.id && known.id.to_string() == token;
    let found = state.agent_tokens.iter_mut().find(of_agent).ok_or(Refusal::NoRecord)?;
    found.revoked = true;
    found.revoked_at.get_or_insert_with(Timestamp::now);
    Ok(no_content())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Played;
    use super::*;

    const TOKENS: &str = "/projects/platform%2Ffleet/cluster_agents/7/tokens";

    #[test]
    fn two_tokens_at_most_and_the_value_only_once() {
        let played = Played::new();
        let owner = played.owner();
        let made = |name: &str| played.ask("POST", TOKENS, &owner, &json!({ "name": name }));
        let first = made("one");
        assert_eq!(first.status, 201);
        let value = first.body["token"].as_str().unwrap().to_owned();
        assert!(value.starts_with("glagent-") && value.len() == 58);
        assert_eq!(made("two").status, 201);
        let third = made("three");
        let text = "400 Bad request - An agent can have only two active tokens at a time";
        assert_eq!((third.status, &third.body), (400, &json!({ "message": text })));
        let list = played.get(TOKENS, &owner);
        assert_eq!(list.body.as_array().unwrap().len(), 2);
        assert!(list.body[0].get("last_used_at").is_none() && list.body[0].get("token").is_none());
        let one = format!("{TOKENS}/{}", first.body["id"]);
        assert_eq!(played.get(&one, &owner).body["last_used_at"], Value::Null);
        assert_eq!(played.gitlab.agent_of(&value), Some(AGENT_ID));
        assert!(played.get(&one, &owner).body["last_used_at"].is_string());
        assert!(played.get(&one, &owner).body.get("token").is_none());
    }

    #[test]
    fn a_revoked_token_is_gone_and_can_be_revoked_again() {
        let played = Played::new();
        let owner = played.owner();
        let value = played.gitlab.new_agent_token().unwrap();
        let id = played.gitlab.agent_tokens(AGENT_ID)[0].id;
        let one = format!("{TOKENS}/{id}");
        for _ in 0..2 {
            assert_eq!(played.ask("DELETE", &one, &owner, &Value::Null).status, 204);
        }
        let gone = played.get(&one, &owner);
        assert_eq!((gone.status, &gone.body), (404, &json!({ "message": "404 Not found" })));
        assert_eq!(played.gitlab.agent_of(&value), None);
        assert_eq!(played.get(TOKENS, &owner).body, json!([]));
    }

    #[test]
    fn a_developer_reads_and_a_reporter_finds_nothing() {
        let played = Played::new();
        let token = |role| {
            let made = played.gitlab.new_resource_token("platform/fleet", "ci", &["api"], role, None);
            made.unwrap().value
        };
        let (developer, reporter) = (token(Role::Developer), token(Role::Reporter));
        assert_eq!(played.get(TOKENS, &developer).status, 200);
        let body = json!({ "name": "x" });
        assert_eq!(played.ask("POST", TOKENS, &developer, &body).status, 403);
        assert_eq!(played.get(TOKENS, &reporter).status, 404);
        let hidden = played.get("/projects/platform%2Ffleet/cluster_agents", &reporter);
        assert_eq!((hidden.status, &hidden.body["message"]), (404, &json!("404 ClusterAgents Not Found")));
        assert_eq!(played.get(TOKENS, "").body, json!({ "message": "401 Unauthorized" }));
    }
}
