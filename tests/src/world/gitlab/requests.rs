//! What was asked of the played GitLab: never with a token's value.

use http::request::Parts;

use super::GitLab;
use super::auth;
use super::basic_auth::credentials;
use super::state::State;

/// One request that the server saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRequest {
    /// HTTP method.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// What it was answered with; 0 where it got no answer.
    pub status: u16,
    /// The user name of Basic authentication.
    pub user: Option<String>,
    /// The token that it showed: its kind and number.
    pub token: Option<ShownToken>,
    /// `User-Agent`.
    pub agent: Option<String>,
}

/// A token, without its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShownToken {
    /// A personal, project or group access token.
    Access(u64),
    /// A deploy token.
    Deploy(u64),
    /// An agent token, which nothing here takes.
    Agent(u64),
    /// Something that is no token of this GitLab.
    Unknown,
}

impl GitLab {
    /// Requests seen so far, oldest first.
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.state().requests.clone()
    }

    /// Forgets the requests seen.
    pub fn clear_requests(&self) {
        self.state().requests.clear();
    }
}

/// The entry for a request that is not answered yet.
pub(super) fn entry(state: &State, head: &Parts) -> SeenRequest {
    SeenRequest {
        method: head.method.to_string(),
        path: without_token(&head.uri.path_and_query().map_or_else(String::new, ToString::to_string)),
        status: 0,
        user: credentials(&head.headers).map(|(user, _)| user),
        token: auth::presented(&head.headers).map(|value| shown(state, &value)),
        agent: head.headers.get("user-agent").and_then(|text| text.to_str().ok()).map(str::to_owned),
    }
}

fn shown(state: &State, value: &str) -> ShownToken {
    let access = state.access_tokens.iter().find(|token| token.value == value);
    let deploy = || state.deploy_tokens.iter().find(|token| token.value == value);
    let agent = || state.agent_tokens.iter().find(|token| token.value == value);
    access
        .map(|token| ShownToken::Access(token.id))
        .or_else(|| deploy().map(|token| ShownToken::Deploy(token.id)))
        .or_else(|| agent().map(|token| ShownToken::Agent(token.id)))
        .unwrap_or(ShownToken::Unknown)
}

fn without_token(path: &str) -> String {
    match path.split_once("private_token=") {
        Some((before, after)) => {
            let rest = after.find('&').map_or("", |end| &after[end..]);
            format!("{before}private_token=[FILTERED]{rest}")
        }
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_the_query_is_not_kept() {
        assert_eq!(without_token("/x?a=1&private_token=se-cret&b=2"), "/x?a=1&private_token=[FILTERED]&b=2");
        assert_eq!(without_token("/x?a=1"), "/x?a=1");
    }
}
