//! Which token a request shows, and what GitLab makes of it.

use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;

use super::basic_auth::credentials;
use super::errors::{EXPIRED, REVOKED, Refusal};
use super::state::State;

/// Who calls the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) user: u64,
    /// Number of the access token; 0 of an OAuth token, which has no record.
    pub(super) token: u64,
    pub(super) scopes: Vec<String>,
}

/// The token in the headers, wherever GitLab looks for one.
pub(super) fn presented(headers: &HeaderMap) -> Option<String> {
    if let Some(token) = headers.get("private-token") {
        return token.to_str().ok().map(str::to_owned);
    }
    let line = headers.get(AUTHORIZATION)?.to_str().ok()?;
    match line.strip_prefix("Bearer ") {
        Some(token) => Some(token.trim().to_owned()),
        None => credentials(headers).map(|(_, password)| password),
    }
}

/// The user behind an access token. Other kinds of tokens do not sign in to the API: a deploy token is as unknown
/// here as a typing error.
pub(super) fn api_caller(state: &mut State, value: &str, scopes: &[&'static str]) -> Result<Caller, Refusal> {
    if let Some(token) = state.oauth_tokens.iter().find(|token| token.value == value) {
        let fits = scopes.is_empty() || token.scopes.iter().any(|scope| scopes.contains(&scope.as_str()));
        let caller = Caller { user: token.user, token: 0, scopes: token.scopes.clone() };
        return if fits { Ok(caller) } else { Err(Refusal::Scope(scopes.to_vec())) };
    }
    let token = state.access_tokens.iter().find(|token| token.value == value);
    let token = token.ok_or(Refusal::Unauthorized)?.clone();
    if token.revoked {
        return Err(Refusal::InvalidToken(REVOKED));
    }
    if token.is_expired() {
        return Err(Refusal::InvalidToken(EXPIRED));
    }
    if !token.has_scope(scopes) {
        return Err(Refusal::Scope(scopes.to_vec()));
    }
    if state.user(token.user).is_none_or(|user| user.blocked) {
        return Err(Refusal::Forbidden);
    }
    note_use(state, token.id);
    Ok(Caller { user: token.user, token: token.id, scopes: token.scopes })
}

/// Notes that a token was accepted: the first time at once, then no more often than the settings say
/// (`app/services/personal_access_tokens/last_used_service.rb`).
pub(super) fn note_use(state: &mut State, id: u64) {
    let (now, granularity) = (Timestamp::now(), state.settings.access_token_granularity);
    let fresh =
        |used: Timestamp| Duration::try_from(used.duration_until(now)).is_ok_and(|age| age < granularity);
    let token = state.access_tokens.iter_mut().find(|known| known.id == id);
    if let Some(token) = token.filter(|token| !token.last_used.is_some_and(fresh)) {
        token.last_used = Some(now);
    }
}
