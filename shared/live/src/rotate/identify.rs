//! Which credential the Secret holds, told by what is public of it: the user name of a deploy token, the public half of a key.
//! Only an access token tells nothing without itself: it is shown to the GitLab that the person named, and to no other host.

use std::collections::BTreeSet;

use gitlab_agent_core::facts::{KeyShape, ValueKind};
use gitlab_agent_core::rotate::Kind;
use secrecy::{ExposeSecret as _, SecretString};

use super::find::refused;
use super::form::Form;
use super::places::{Places, hides, owners};
use super::preflight::Refusal;
use super::resource::{self, Item, Owner, Resource};
use super::secret::Read;
use super::target::Target;
use crate::gitlab::{Fault, FaultKind, GitLab, GitLabWriter, User, user};

/// What the old credential is.
pub(super) enum Old {
    /// One that GitLab lists in this place.
    Listed(Owner, Kind, Box<Item>),
    /// A person's token.
    Personal(Box<Item>),
    /// That of a bot of a project or group whose tokens the person may not read: its user name.
    Hidden(Box<Item>, String),
    /// One that GitLab lists may be it, or another; why.
    Doubtful(String),
    /// None that GitLab shows.
    Unknown,
}

pub(super) async fn identify(
    gitlab: &GitLabWriter,
    target: &Target,
    read: &Read,
    places: &[Places],
) -> Result<Old, Refusal> {
    if target.form == Form::Ssh {
        let Some(key) = target.form.public_key(read) else { return Ok(Old::Unknown) };
        let same = |item: &Item| {
            let mut words = item.key.split_whitespace();
            let line = words.next().zip(words.next()).map(|(kind, key)| format!("{kind} {key}"));
            line.as_ref() == Some(&key)
        };
        return listed(gitlab, Kind::DeployKey, places, same).await;
    }
    let Some(token) = target.form.token(read) else { return Ok(Old::Unknown) };
    let shape = KeyShape::of(token.expose_secret().as_bytes(), b"").kind;
    // An access token works with any user name, also with that of a deploy token which others use.
    if let Some(user) =
        target.form.user(read).filter(|user| !user.is_empty() && shape != ValueKind::AccessToken)
    {
        let found = listed(gitlab, Kind::DeployToken, places, |item| item.username == user).await?;
        if let Old::Listed(_, _, item) = &found
            && user != generated(item.id)
            && let Some(why) = doubt(gitlab, places, &user, shape).await?
        {
            // One without GitLab's prefix may be an access token, which tells what it is.
            let may_be_asked = shape == ValueKind::Other && target.goes_to(&gitlab.read.host().to_string());
            return match may_be_asked {
                true => Ok(match by_itself(gitlab, token, places).await? {
                    Old::Unknown => Old::Doubtful(why),
                    known => known,
                }),
                false => Ok(Old::Doubtful(why)),
            };
        }
        if !matches!(found, Old::Unknown) {
            return Ok(found);
        }
    }
    match shape {
        ValueKind::AccessToken => by_itself(gitlab, token, places).await,
        // One of old, without a prefix: it may be of another host, unless Flux sends it to this one anyway.
        ValueKind::Other if target.goes_to(&gitlab.read.host().to_string()) => {
            by_itself(gitlab, token, places).await
        }
        _ => Ok(Old::Unknown),
    }
}

/// Whether a Secret holds this credential, by what is public of both; an access token is asked what it is. None where it cannot
/// be told.
pub(super) async fn holds(resource: &Resource, read: &Read, id: u64) -> Result<Option<bool>, Fault> {
    let Resource { gitlab, kind, owner, form, .. } = resource;
    let token = form.token(read);
    let shape = token.as_ref().map(|token| KeyShape::of(token.expose_secret().as_bytes(), b"").kind);
    match kind {
        Kind::DeployKey => {
            let Some(key) = form.public_key(read) else { return Ok(None) };
            let items = resource::every(gitlab, *kind, owner).await?;
            Ok(items.iter().find(|item| item.id == id).map(|item| item.key.starts_with(&key)))
        }
        Kind::DeployToken if shape != Some(ValueKind::AccessToken) => {
            let Some(user) = form.user(read) else { return Ok(None) };
            let items = resource::every(gitlab, *kind, owner).await?;
            let same: Vec<u64> =
                items.iter().filter(|item| item.username == user).map(|item| item.id).collect();
            let listed = items.iter().any(|item| item.id == id);
            Ok((listed && same.len() < 2).then(|| same == [id]))
        }
        Kind::AccessToken if shape == Some(ValueKind::AccessToken) => {
            let Some(own) = token.and_then(|token| gitlab.read.with_token(token).ok()) else {
                return Ok(None);
            };
            match own.get::<Item>("/personal_access_tokens/self", "the token that the Secret holds").await {
                Ok(item) => Ok(Some(item.id == id)),
                Err(fault)
                    if hides(fault.kind)
                        || matches!(fault.kind, FaultKind::SignIn | FaultKind::DeadToken) =>
                {
                    Ok(None)
                }
                Err(fault) => Err(fault),
            }
        }
        _ => Ok(None),
    }
}

/// The one that fits among those that are listed in these places.
async fn listed(
    gitlab: &GitLabWriter,
    kind: Kind,
    places: &[Places],
    fits: impl Fn(&Item) -> bool,
) -> Result<Old, Refusal> {
    let mut found: Vec<(Owner, Item)> = Vec::new();
    for owner in owners(places) {
        if kind == Kind::DeployKey && owner.path.starts_with("groups/") {
            continue;
        }
        match resource::list(gitlab, kind, owner).await {
            Ok(items) => {
                let fitting = items.into_iter().filter(|item| fits(item));
                found.extend(fitting.map(|item| (owner.clone(), item)));
            }
            Err(fault) if hides(fault.kind) => {}
            Err(fault) => return Err(fault.into()),
        }
    }
    // The same key may be enabled in several projects; it has one number.
    let numbers: BTreeSet<u64> = found.iter().map(|(_, item)| item.id).collect();
    if numbers.len() > 1 {
        let titles: Vec<String> =
            found.iter().map(|(owner, item)| format!("{} of {}", item.title(kind), owner.words)).collect();
        return Err(refused(format!(
            "which of these the Secret holds GitLab does not tell, because they have one user name: {}. Revoke those that nobody \
             uses, then try again",
            titles.join(", ")
        )));
    }
    Ok(match found.into_iter().next() {
        Some((owner, item)) => Old::Listed(owner, kind, Box::new(item)),
        None => Old::Unknown,
    })
}

/// The user name of a deploy token for which nobody chose one (GitLab, "Deploy tokens").
fn generated(id: u64) -> String {
    format!("gitlab+deploy-token-{id}")
}

/// Why a user name that somebody chose does not tell a deploy token: it tells one only where all places were seen, where none
/// that has ended has it too, and where the value begins as deploy tokens do. An access token works with any user name.
async fn doubt(
    gitlab: &GitLabWriter,
    places: &[Places],
    user: &str,
    shape: ValueKind,
) -> Result<Option<String>, Refusal> {
    let mut hidden: Vec<String> = places.iter().flat_map(|p| p.hidden.iter().cloned()).collect();
    let mut titles = Vec::new();
    for owner in owners(places) {
        match resource::every(gitlab, Kind::DeployToken, owner).await {
            Ok(items) => titles.extend(
                items
                    .into_iter()
                    .filter(|item| item.username == user)
                    .map(|item| item.title(Kind::DeployToken)),
            ),
            Err(fault) if hides(fault.kind) => hidden.push(owner.words.clone()),
            Err(fault) => return Err(fault.into()),
        }
    }
    hidden.sort_unstable();
    hidden.dedup();
    let several = titles.len() > 1;
    let titles = titles.join(", ");
    let why = match () {
        () if several => "GitLab does not tell which of them it is".to_owned(),
        () if !hidden.is_empty() => {
            format!("so may one of {}, whose deploy tokens you may not list", hidden.join(", "))
        }
        () if shape != ValueKind::DeployToken => "the value does not begin as deploy tokens do".to_owned(),
        () => return Ok(None),
    };
    Ok(Some(format!(
        "{titles} has the user name {user}, which somebody chose, and {why}: what it holds is not proven"
    )))
}

/// What an access token says of itself, and in which of these places it is.
async fn by_itself(gitlab: &GitLabWriter, token: SecretString, places: &[Places]) -> Result<Old, Refusal> {
    let own = gitlab.read.with_token(token).map_err(|e| refused(format!("{e:#}")))?;
    let item = match own.get::<Item>("/personal_access_tokens/self", "the token that the Secret holds").await
    {
        Ok(item) => item,
        Err(fault) if hides(fault.kind) || matches!(fault.kind, FaultKind::SignIn | FaultKind::DeadToken) => {
            return Ok(Old::Unknown);
        }
        Err(fault) => return Err(fault.into()),
    };
    let mut hidden = false;
    for owner in owners(places) {
        match resource::access_token(gitlab, owner, item.id).await {
            Ok(Some(item)) => return Ok(Old::Listed(owner.clone(), Kind::AccessToken, Box::new(item))),
            Ok(None) => {}
            // To whoever may not read a project's or group's tokens GitLab says 401 of each.
            Err(fault) if hides(fault.kind) || fault.kind == FaultKind::SignIn => hidden = true,
            Err(fault) => return Err(fault.into()),
        }
    }
    match acts_for(gitlab, &own, &item).await {
        Some(user) if user.is_bot() => Ok(Old::Hidden(Box::new(item), user.username)),
        // It may be of a place whose tokens are not shown.
        None if hidden => Ok(Old::Unknown),
        _ => Ok(Old::Personal(Box::new(item))),
    }
}

/// Whom a token acts for: as it says itself, else as its number says.
async fn acts_for(gitlab: &GitLabWriter, own: &GitLab, item: &Item) -> Option<User> {
    let says = |scope: &String| matches!(scope.as_str(), "api" | "read_api" | "read_user");
    if item.scopes.iter().any(says)
        && let Ok(user) = own.get("/user", "whom the token acts for").await
    {
        return Some(user);
    }
    user(&gitlab.read, item.user_id?).await.ok()
}
