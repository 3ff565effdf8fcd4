//! OAuth tokens, as a sign-in with glab gives one, and what Doorkeeper says of them.
//!
//! Source: Doorkeeper's `TokenInfoController`, which GitLab mounts at `/oauth/token/info`.

use anyhow::Result;
use serde_json::json;

use super::GitLab;
use super::auth;
use super::errors::{Refusal, ok};
use super::server::{WholeRequest, WholeResponse};
use crate::world::secret;

/// A token that an application got for a person.
#[derive(Debug, Clone)]
pub(super) struct OAuthToken {
    pub(super) value: String,
    pub(super) user: u64,
    pub(super) scopes: Vec<String>,
}

impl GitLab {
    /// Signs a person in with an application; gives the token's value.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new_oauth_token(&self, user: u64, scopes: &[&str]) -> Result<String> {
        let value = secret::alphanumeric(64)?;
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        self.state().oauth_tokens.push(OAuthToken { value: value.clone(), user, scopes });
        Ok(value)
    }
}

/// `GET /oauth/token/info`.
pub(super) fn info(gitlab: &GitLab, request: &WholeRequest) -> WholeResponse {
    let value = auth::presented(request.headers()).unwrap_or_default();
    let state = gitlab.state();
    match state.oauth_tokens.iter().find(|token| token.value == value) {
        Some(token) => ok(&json!({
            "resource_owner_id": token.user,
            "scope": token.scopes,
            "expires_in": 7200,
            "application": { "uid": "glab" },
            "created_at": 1_790_000_000,
        })),
        None => Refusal::InvalidToken("The access token is invalid").response(),
    }
}
