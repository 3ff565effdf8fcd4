//! What GitLab adds to a row.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Fact, Kind, Row, State, place};
use crate::facts::agent::Agent;
use crate::facts::host::host_and_port;
use crate::facts::token_use::Purpose;
use crate::facts::{Facts, ValueKind, Why, WhyKind};
use crate::snapshot::gitlab::{AgentToken, Credential, CredentialKind, HeldToken, TokenRecord};

/// Fingerprints of the access tokens in Secrets that may be asked about themselves: those that Flux sends to this very
/// instance anyway. A token that is for another host is not shown to this one.
pub fn askable(facts: &Facts<'_>, instance: &str) -> BTreeSet<String> {
    let here = |url: &str| url.starts_with("https://") && same_place(instance, url);
    let used = place::uses(facts).into_iter().filter(|used| here(used.url));
    let tokens = used.filter_map(|used| {
        let shape = facts.secret(&used.secret.namespace, &used.secret.name).ok().flatten()?;
        let value = shape.keys.get(used.keys(shape)?.first()?)?;
        (value.kind == ValueKind::AccessToken).then(|| value.fingerprint.clone())
    });
    tokens.collect()
}

fn same_place(instance: &str, url: &str) -> bool {
    let place = |url| {
        let (host, port) = host_and_port(url)?;
        Some((host.to_ascii_lowercase(), if port.is_empty() { "443".to_owned() } else { port.to_owned() }))
    };
    place(instance).is_some() && place(instance) == place(url)
}

/// What was asked of GitLab and not answered.
pub(super) fn gaps(facts: &Facts<'_>) -> Vec<Why> {
    let Ok(part) = facts.gitlab() else { return Vec::new() };
    // A token that may not see something is an ordinary thing; a GitLab that does not answer is not.
    let silent = |why: &Why| {
        matches!(why.kind, WhyKind::Unreachable | WhyKind::SignIn | WhyKind::TimedOut | WhyKind::Unreadable)
    };
    let agents = part.agents.iter().filter_map(|a| a.agent.get().err());
    let tokens = part.agents.iter().filter_map(|a| a.agent.get().ok()?.tokens.get().err());
    let credentials = part.projects.iter().filter_map(|p| p.credentials.get().err());
    let groups = part.groups.iter().filter_map(|g| g.deploy_tokens.get().err());
    // Of a token that is asked about itself a refused sign-in is the answer.
    let held = part.held.iter().filter_map(|h| h.token.get().err()).filter(|w| w.kind != WhyKind::SignIn);
    let all = [part.metadata.get().err(), part.token.get().err()].into_iter().flatten();
    let all = all.chain(agents).chain(tokens).chain(credentials).chain(groups).chain(held);
    all.filter(silent).collect()
}

/// Fills in what GitLab knows.
pub(super) fn fill(facts: &Facts<'_>, row: &mut Row) {
    if matches!(row.kind, Kind::Nothing | Kind::Unread) {
        return not_known(row, "there is no value to look up");
    }
    if let Err(why) = facts.gitlab() {
        let text = match why.kind {
            WhyKind::NoGitLab | WhyKind::NotAsked => "needs GitLab".to_owned(),
            _ => why.message,
        };
        return not_known(row, &text);
    }
    let told = match row.kind {
        Kind::AgentToken => of_agent(facts, row),
        Kind::DeployToken | Kind::SshKey | Kind::BasicAuth | Kind::RegistryLogin => of_credential(facts, row),
        Kind::AccessToken => of_access_token(facts, row),
        _ => Err("it is none of GitLab's that could be looked up".to_owned()),
    };
    match told {
        Ok(()) => row.state = state(facts, row),
        Err(why) => not_known(row, &why),
    }
}

/// Everything that only GitLab knows is not known, for this reason; what is known already stays.
fn not_known(row: &mut Row, why: &str) {
    fn leave<T>(fact: &mut Fact<T>, why: &str) {
        if matches!(fact, Fact::NotKnown(_)) {
            *fact = Fact::NotKnown(why.to_owned());
        }
    }
    leave(&mut row.id, why);
    leave(&mut row.name, why);
    leave(&mut row.user, why);
    leave(&mut row.scopes, why);
    leave(&mut row.created_at, why);
    leave(&mut row.expires_at, why);
    leave(&mut row.last_used_at, why);
}

fn state(facts: &Facts<'_>, row: &Row) -> State {
    match row.expires_at.get() {
        _ if row.state == State::Dead => State::Dead,
        Some(end) if *end <= facts.now => State::Dead,
        Some(end) if end.duration_since(facts.now) <= facts.expiry_window => State::Expiring,
        _ => State::Valid,
    }
}

/// An agent's token: which of the active ones the Secret holds is known where there is one only, or where the Secret says
/// it.
fn of_agent(facts: &Facts<'_>, row: &mut Row) -> Result<(), String> {
    let own = |agent: &&Agent<'_>| agent.secret_object().as_ref() == Some(&row.secret);
    let agent = facts.agents.iter().find(own).ok_or("no agentk reads it")?;
    let record = facts.gitlab_agent(agent).map_err(|why| why.message)?;
    let tokens = record.tokens.get().map_err(|why| why.message)?;
    row.user = Fact::Known(format!("agent {} of {}", record.name, record.project));
    row.scopes = Fact::Nothing;
    // GitLab gives agents' tokens no end.
    row.expires_at = Fact::Nothing;
    let said = agent.secret.as_ref().ok().and_then(|secret| *secret);
    let said = said.and_then(|s| s.metadata.annotation("gitlab.com/agent-token-id")?.parse::<u64>().ok());
    let found = match &tokens[..] {
        [] => {
            row.state = State::Dead;
            row.notes.push("GitLab has no active token of this agent".to_owned());
            return Err("it is revoked".to_owned());
        }
        [only] => only,
        several => match several.iter().find(|token| Some(token.id) == said) {
            Some(token) => token,
            None => {
                let each: Vec<String> = several.iter().map(|t| named(facts.now, t)).collect();
                row.notes.push(format!("GitLab has {} active tokens: {}", several.len(), each.join(", ")));
                return Err("which of the agent's active tokens it is, GitLab does not tell".to_owned());
            }
        },
    };
    if tokens.len() > 1 {
        row.notes.push(format!("GitLab has {} active tokens of this agent, and allows two", tokens.len()));
    }
    row.id = Fact::Known(found.id);
    row.name = Fact::Known(found.name.clone());
    row.created_at = Fact::told(found.created_at);
    row.last_used_at = Fact::told(found.last_used_at);
    Ok(())
}

/// How many tokens of the agent that reads a row's Secret are active; 0 where that is not known.
pub(super) fn active_tokens(facts: &Facts<'_>, row: &Row) -> usize {
    let own = |agent: &&Agent<'_>| agent.secret_object().as_ref() == Some(&row.secret);
    let record = facts.agents.iter().find(own).and_then(|agent| facts.gitlab_agent(agent).ok());
    record.and_then(|record| record.tokens.get().ok()).map_or(0, Vec::len)
}

fn named(now: Timestamp, token: &AgentToken) -> String {
    let used = token
        .last_used_at
        .map_or("never used".to_owned(), |at| format!("used {} ago", crate::text::age(now, at)));
    format!("{} \"{}\" ({used})", token.id, token.name)
}

/// A deploy token by its user name, a deploy key by its public half.
fn of_credential(facts: &Facts<'_>, row: &mut Row) -> Result<(), String> {
    let part = facts.gitlab().map_err(|why| why.message)?;
    let wanted =
        if row.kind == Kind::SshKey { CredentialKind::DeployKey } else { CredentialKind::DeployToken };
    let held = |c: &&Credential| c.kind == wanted && c.held_by.contains(&row.secret);
    let of_project = part.projects.iter().filter_map(|p| p.credentials.get().ok()).flatten().find(held);
    let of_group = part.groups.iter().filter_map(|g| g.deploy_tokens.get().ok()).flatten().find(held);
    let (kind, found) = match (of_project, of_group) {
        (Some(found), _) if wanted == CredentialKind::DeployKey => (Kind::DeployKey, found),
        (Some(found), _) => (Kind::ProjectDeployToken, found),
        (None, Some(found)) => (Kind::GroupDeployToken, found),
        (None, None) => return Err(not_found(facts, row)),
    };
    row.kind = kind;
    row.id = Fact::Known(found.id);
    row.name = Fact::Known(found.name.clone());
    row.user = Fact::told(found.user.clone());
    row.scopes = Fact::Known(found.scopes.clone());
    row.expires_at = Fact::told(found.expires_at);
    let silent = || Fact::NotKnown("GitLab does not tell".to_owned());
    row.created_at = found.created_at.map_or_else(silent, Fact::Known);
    row.last_used_at = found.last_used_at.map_or_else(silent, Fact::Known);
    if found.dead {
        row.state = State::Dead;
    }
    Ok(())
}

/// Why GitLab does not know a deploy token or a key: it could not be asked, or it is none of those that were listed.
fn not_found(facts: &Facts<'_>, row: &mut Row) -> String {
    let part = facts.gitlab();
    let refused = part.ok().and_then(|part| part.projects.iter().find_map(|p| p.credentials.get().err()));
    if let Some(why) = refused {
        return why.message;
    }
    let known = match row.kind {
        Kind::SshKey => {
            "GitLab has no deploy key like it in the projects that are fetched: it is a person's, or was deleted"
        }
        Kind::DeployToken => {
            "GitLab has no such deploy token in the projects that are fetched and their groups: it was deleted, or is another \
             project's"
        }
        _ => "the projects that are fetched have no deploy token with this user name",
    };
    known.to_owned()
}

/// An access token, which was asked about itself.
fn of_access_token(facts: &Facts<'_>, row: &mut Row) -> Result<(), String> {
    let part = facts.gitlab().map_err(|why| why.message)?;
    let fingerprint = place::value(facts, row).map(|value| value.fingerprint.as_str());
    let held = part.held.iter().find(|held| Some(held.fingerprint.as_str()) == fingerprint);
    let HeldToken { token, .. } =
        held.ok_or("it is not for the GitLab that was asked, so it was not shown to it")?;
    let token = match token.get() {
        Ok(token) => token,
        Err(why) if why.kind == WhyKind::SignIn => {
            row.state = State::Dead;
            return Err("GitLab refuses it: it is revoked or expired".to_owned());
        }
        Err(why) => return Err(why.message),
    };
    let listed = part.projects.iter().filter_map(|p| p.credentials.get().ok()).flatten();
    let listed = listed.filter(|c| c.kind == CredentialKind::AccessToken).find(|c| c.id == token.id);
    row.kind = kind_of(token, listed.is_some());
    row.id = Fact::Known(token.id);
    row.name = Fact::Known(token.name.clone());
    let silent = || Fact::NotKnown("its scopes do not let it say whom it acts for".to_owned());
    row.user = token.user.clone().map_or_else(silent, Fact::Known);
    row.scopes = Fact::Known(token.scopes.clone());
    row.created_at = Fact::told(token.created_at);
    row.expires_at = Fact::told(token.expires_at);
    // Asking a token about itself is a use; the project's list was read before.
    row.last_used_at = match listed {
        Some(listed) => Fact::told(listed.last_used_at),
        None => Fact::NotKnown("only its owner's list tells: asking it about itself is a use".to_owned()),
    };
    Ok(())
}

/// Bots have the names `project_ID_bot_…` and `group_ID_bot_…` (GitLab, "Bot users for projects").
fn kind_of(token: &TokenRecord, of_project: bool) -> Kind {
    let bot =
        |word: &str| token.user.as_ref().is_some_and(|user| user.starts_with(word) && user.contains("_bot"));
    match &token.user {
        _ if of_project || bot("project_") => Kind::ProjectAccessToken,
        _ if bot("group_") => Kind::GroupAccessToken,
        Some(_) => Kind::PersonalAccessToken,
        None => Kind::AccessToken,
    }
}

/// Whether a row's credential goes to another host than the cluster's GitLab; that host.
pub(super) fn elsewhere<'s>(facts: &Facts<'s>, row: &Row) -> Option<&'s str> {
    let own = facts
        .gitlab()
        .ok()
        .and_then(|part| crate::facts::host::host(&part.url))
        .or_else(|| facts.gitlab_host())?;
    let urls = place::uses(facts)
        .into_iter()
        .filter(|used| used.secret == row.secret && row.used_by.contains(&used.by));
    let hosts: Vec<&str> = urls
        .filter(|used| used.purpose != Purpose::Agent)
        .map(|used| crate::facts::host::host(used.url))
        .collect::<Option<_>>()?;
    let own_too = |host: &&str| {
        host.eq_ignore_ascii_case(own)
            || host.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(own))
    };
    let first = hosts.first().copied()?;
    (!hosts.iter().any(own_too)).then_some(first)
}
