//! What only the list of credentials asks of GitLab: deploy tokens of groups, and of each access token in a Secret what
//! it is. The token itself is asked, and only this instance, to which Flux sends it anyway.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::rotate::inventory::askable;
use gitlab_agent_core::snapshot::gitlab::{
    Credential, CredentialKind, GitLabPart, GroupEntry, HeldToken, TokenRecord,
};
use gitlab_agent_core::snapshot::{Observed, Snapshot, Why, WhyKind};
use secrecy::SecretString;
use serde::Deserialize;

use super::gitlab::{moment, observed, why};
use super::secrets::{Door, Public};
use crate::access::segment;
use crate::gitlab::{Fault, FaultKind, GitLab};

/// Tokens that are asked: each costs two requests, and each that is dead is a refused sign-in, of which GitLab.com takes
/// only so many before it bans an address.
const TOKENS: usize = 50;
/// Groups that are asked.
const GROUPS: usize = 50;

/// Adds it to what was observed before. The lists of access tokens must be among that: asking a token is a use.
pub(super) async fn observe(gitlab: &GitLab, snapshot: &Snapshot, door: &Door, part: &mut GitLabPart) {
    let groups = groups_above(part);
    let (groups, held) = tokio::join!(
        join_all(groups.iter().take(GROUPS).map(|path| group(gitlab, door, path))),
        held(gitlab, snapshot, door, &part.url),
    );
    part.groups = groups;
    part.held = held;
}

/// All groups above the projects whose credentials could be listed.
fn groups_above(part: &GitLabPart) -> BTreeSet<String> {
    let listed = part.projects.iter().filter(|p| p.credentials.get().is_ok()).map(|p| &p.path);
    listed.flat_map(|path| path.match_indices('/').map(|(end, _)| path[..end].to_owned())).collect()
}

async fn group(gitlab: &GitLab, door: &Door, path: &str) -> GroupEntry {
    #[derive(Deserialize)]
    struct Token {
        id: u64,
        name: String,
        username: String,
        #[serde(default)]
        scopes: Vec<String>,
        #[serde(default)]
        expires_at: Option<String>,
        #[serde(default)]
        revoked: bool,
        #[serde(default)]
        expired: bool,
    }
    let asked = format!("deploy tokens of group {path}");
    let answer = gitlab.get_all::<Token>(&format!("/groups/{}/deploy_tokens", segment(path)), &asked).await;
    let one = |t: Token| Credential {
        kind: CredentialKind::DeployToken,
        id: t.id,
        held_by: door.holders(&Public::User(t.username.clone())),
        name: t.name,
        user: Some(t.username),
        scopes: t.scopes,
        expires_at: t.expires_at.as_deref().and_then(moment),
        dead: t.revoked || t.expired,
        ..Credential::default()
    };
    let tokens = answer.map(|listed| listed.items.into_iter().map(one).collect());
    GroupEntry { path: path.to_owned(), deploy_tokens: observed(tokens) }
}

async fn held(gitlab: &GitLab, snapshot: &Snapshot, door: &Door, instance: &str) -> Vec<HeldToken> {
    let wanted = askable(&Facts::derive(snapshot), instance);
    let mut values: BTreeMap<String, SecretString> = door.access_tokens();
    values.retain(|fingerprint, _| wanted.contains(fingerprint));
    let one = |(at, (fingerprint, value)): (usize, (String, SecretString))| async move {
        let token = if at < TOKENS {
            observed_token(ask(gitlab, value).await)
        } else {
            let text = format!("more access tokens are used than are asked ({TOKENS})");
            Observed::Unknown(Why::new(WhyKind::NotAsked, "an access token", text))
        };
        HeldToken { fingerprint, token }
    };
    join_all(values.into_iter().enumerate().map(one)).await
}

fn observed_token(answer: Result<TokenRecord, Fault>) -> Observed<TokenRecord> {
    match answer {
        Ok(token) => Observed::Known(token),
        Err(fault) => Observed::Unknown(why(fault)),
    }
}

async fn ask(gitlab: &GitLab, value: SecretString) -> Result<TokenRecord, Fault> {
    #[derive(Deserialize)]
    struct Raw {
        id: u64,
        name: String,
        #[serde(default)]
        scopes: Vec<String>,
        #[serde(default)]
        created_at: Option<String>,
        #[serde(default)]
        expires_at: Option<String>,
    }
    #[derive(Deserialize)]
    struct User {
        username: String,
    }
    let asked = "an access token in a Secret";
    let itself = gitlab.with_token(value).map_err(|_| Fault {
        kind: FaultKind::SignIn,
        asked: asked.to_owned(),
        status: None,
        message: "it has characters that no token has".to_owned(),
    })?;
    let raw: Raw = itself.get("/personal_access_tokens/self", asked).await?;
    let says_who = raw.scopes.iter().any(|s| matches!(s.as_str(), "api" | "read_api" | "read_user"));
    let user = if says_who { itself.get::<User>("/user", asked).await.ok() } else { None };
    Ok(TokenRecord {
        id: raw.id,
        name: raw.name,
        scopes: raw.scopes,
        user: user.map(|user| user.username),
        created_at: raw.created_at.as_deref().and_then(moment),
        expires_at: raw.expires_at.as_deref().and_then(moment),
    })
}
