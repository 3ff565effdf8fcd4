//! Which credential of GitLab a Secret holds, and where another of its kind is made.
//!
//! It is told by what is public of it: the user name of a deploy token, the public half of a key. Only an access token
//! tells nothing without itself: it is shown to the GitLab that the person named, and to no other host.

use std::collections::BTreeSet;

use gitlab_agent_core::facts::gitlab::project_of;
use gitlab_agent_core::facts::protection::{DEVELOPER, StatusRole, role_name};
use gitlab_agent_core::facts::{KeyShape, ValueKind};
use gitlab_agent_core::rotate::Kind;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};

use super::form::Form;
use super::issuer::Issuer;
use super::personal::Personal;
use super::preflight::Refusal;
use super::resource::{self, Grant, Item, Owner, Resource};
use super::secret::Read;
use super::target::{Fetcher, Notifier, Reader, Target, is_on};
use crate::gitlab::{FaultKind, GitLab, GitLabWriter, Own, Project, User, user};
use crate::observe::protection;

/// The longest life that GitLab gives an access token everywhere.
const LONGEST: SignedDuration = SignedDuration::from_hours(365 * 24);
/// The life of a new one that must have an end, where nothing is known of the old one's.
const USUAL: SignedDuration = SignedDuration::from_hours(90 * 24);

/// What the person said about the new one.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Full path of the project that it is to open, where the old one does not tell.
    pub project: Option<String>,
    /// What to make.
    pub make: Option<Kind>,
    /// How long it is to live.
    pub expires_in: Option<SignedDuration>,
    /// Role of an access token.
    pub role: Option<u32>,
    /// Name of a person's token that is to be renewed in its place.
    pub in_place: Option<String>,
}

/// The old credential and where the new one is made.
pub(super) struct Found {
    pub(super) issuer: Issuer,
    /// The old one, where GitLab lists it and it is ours to revoke.
    pub(super) old: Option<Item>,
    /// Of an old one that stays: what it is, and why it stays.
    pub(super) kept: Option<(String, String)>,
    /// Whether the person may make and revoke it there; `None` where GitLab does not say.
    pub(super) may: Option<bool>,
    /// What is worth knowing.
    pub(super) notes: Vec<String>,
}

/// A project with all groups above it.
struct Places {
    project: Project,
    /// The project, then its groups from the innermost on.
    owners: Vec<Owner>,
}

/// What the old credential is.
enum Old {
    /// One that GitLab lists in this place.
    Listed(Owner, Kind, Box<Item>),
    /// A person's token.
    Personal(Box<Item>),
    /// That of a bot of a project or group whose tokens the person may not read: its user name.
    Hidden(Box<Item>, String),
    /// None that GitLab shows.
    Unknown,
}

/// Finds the credential of a source or a Provider.
pub(super) async fn find(
    gitlab: &GitLabWriter,
    target: &Target,
    read: &Read,
    choice: &Choice,
) -> Result<Found, Refusal> {
    let projects = projects(gitlab, target, choice).await?;
    let mut places = Vec::new();
    for path in &projects {
        places.push(above(gitlab, path).await?);
    }
    let old = identify(gitlab, target, read, &places).await?;
    let notifies = matches!(target.reader, Reader::Providers(_));
    let Some(first) = places.first() else {
        return Err(refused("nothing that reads this Secret names a project of this GitLab"));
    };
    let named = choice.project.is_some();
    let elsewhere = |what: &str| {
        refused(format!(
            "{what}: that the new one may open {} is not proven by the old one, and the cluster's word for it is not \
             enough. Name the project yourself: --project {}",
            first.project.path_with_namespace, first.project.path_with_namespace
        ))
    };
    let one_project = || match projects.len() {
        1 => Ok(()),
        n => Err(refused(format!(
            "it opens {n} projects ({}), and a credential of one project does not: give each its own Secret",
            projects.join(", ")
        ))),
    };
    let statuses = status_role(gitlab, target, &first.project).await;
    let may = rights(gitlab, first, &old).await;
    let found = |owner: &Owner, kind, grant, old, kept, notes| Found {
        issuer: Issuer::Resource(Resource {
            gitlab: gitlab.clone(),
            kind,
            owner: owner.clone(),
            grant,
            form: target.form,
        }),
        old,
        kept,
        may,
        notes,
    };
    let fresh = |kept: Option<(String, String)>, notes| {
        one_project()?;
        let kind = wanted(target, choice)?;
        let grant = fresh_grant(kind, target, choice, enough(&statuses, choice)?);
        Ok(found(&first.owners[0], kind, grant, None, kept, notes))
    };
    if choice.in_place.is_some() {
        return match old {
            Old::Personal(item) => in_place(gitlab, target, *item, choice).await,
            Old::Listed(..) | Old::Hidden(..) | Old::Unknown => Err(refused(
                "--in-place is for a person's token, and the Secret holds none that works: what belongs to a project or group \
                 is made beside the old one",
            )),
        };
    }
    match old {
        Old::Listed(owner, kind, item)
            if choice.make.is_none_or(|make| make == kind) && !(notifies && kind == Kind::DeployToken) =>
        {
            let mut notes = Vec::new();
            if kind == Kind::AccessToken {
                notes.push("each access token has a bot user of its own: what names the old bot (protected branches, approval \
                            rules) must name the new one".to_owned());
            }
            let least = if notifies { Some(enough(&statuses, choice)?.unwrap_or(DEVELOPER)) } else { None };
            let grant = same_grant(kind, &item, choice, least);
            Ok(found(&owner, kind, grant, Some(*item), None, notes))
        }
        Old::Listed(_, kind, item) => {
            let kept = format!(
                "{} is of another kind, and others may use it: revoke it in GitLab once nobody does",
                item.title(kind)
            );
            fresh(Some((item.title(kind), kept)), Vec::new())
        }
        Old::Personal(item) if named => {
            let kept = "it is a person's, and may be used elsewhere: its owner revokes it (Edit profile > Access > \
                        Personal access tokens)";
            fresh(Some((item.title(Kind::PersonalToken), kept.to_owned())), Vec::new())
        }
        Old::Personal(item) => Err(elsewhere(&format!(
            "it holds {}, which others may use too. A credential of the project can take its place, or its owner has it \
             renewed by GitLab with --in-place and its name; for the first",
            item.title(Kind::PersonalToken),
        ))),
        Old::Hidden(item, bot) if named => {
            let kept =
                format!("it is of {}, whose tokens you may not read: its Owners revoke it", of_bot(&bot));
            fresh(Some((item.title(Kind::AccessToken), kept)), Vec::new())
        }
        Old::Hidden(item, bot) => Err(elsewhere(&format!(
            "it holds {}, of {}: you may not read its tokens, which takes the role Maintainer in a project and Owner in a \
             group. Whoever has it there can rotate it, or a credential of the project takes its place; for that",
            item.title(Kind::AccessToken),
            of_bot(&bot),
        ))),
        Old::Unknown if named => fresh(
            None,
            vec!["which credential the Secret holds now GitLab does not show: it is not revoked".to_owned()],
        ),
        Old::Unknown => Err(elsewhere(
            "which credential of GitLab it holds is not known: it may be dead, or of a group or \
                                       person that your token does not see",
        )),
    }
}

/// Whose a bot is, by its user name: `group_12_bot_…`.
fn of_bot(username: &str) -> String {
    let mut parts = username.split('_');
    match (parts.next(), parts.next().filter(|id| id.chars().all(|c| c.is_ascii_digit()))) {
        (Some(word @ ("project" | "group")), Some(id)) => format!("the {word} with number {id}"),
        _ => format!("bot {username}"),
    }
}

/// Whether the person may make and revoke credentials where the new one is made: Maintainer in a project, Owner in a group.
async fn rights(gitlab: &GitLabWriter, first: &Places, old: &Old) -> Option<bool> {
    let group = match old {
        Old::Listed(owner, ..) => owner.path.strip_prefix("groups/").and_then(|id| id.parse().ok()),
        _ => None,
    };
    match group {
        Some(group) => gitlab.read.owns_group(group, gitlab.read.own_token().await.ok()?.user_id?).await,
        None => gitlab.read.maintains(&first.project).await,
    }
}

/// The role that setting a status takes in the project.
async fn status_role(gitlab: &GitLabWriter, target: &Target, project: &Project) -> StatusRole {
    let Reader::Providers(notifiers) = &target.reader else { return StatusRole::Unknown };
    let mut branches: BTreeSet<String> = notifiers.iter().flat_map(|n| n.branches.iter().cloned()).collect();
    if branches.is_empty() {
        branches.extend(project.default_branch.clone());
    }
    match protection(&gitlab.read, project, &branches).await {
        Ok(rules) => StatusRole::of(&branches, &rules),
        Err(_) => StatusRole::Unknown,
    }
}

/// The least role that a token needs to set statuses, where it is known; a choice below it is refused, because GitLab would
/// refuse the first status and the rotation would go back.
fn enough(statuses: &StatusRole, choice: &Choice) -> Result<Option<u32>, Refusal> {
    match (statuses, choice.role) {
        (StatusRole::Least(least), Some(role)) if role < *least => Err(refused(format!(
            "a token with role {} may not set a commit status on its branch: that takes {}",
            role_name(role),
            statuses.words()
        ))),
        (StatusRole::Least(least), _) => Ok(Some(*least)),
        (StatusRole::Nobody(branch), _) => Err(refused(format!(
            "branch {branch} is protected, and no role may push or merge to it: a new token could set no commit status there. \
             Allow a role to do so first (Settings > Repository > Protected branches)"
        ))),
        (StatusRole::Unknown, _) => Ok(None),
    }
}

fn refused(text: impl Into<String>) -> Refusal {
    Refusal::Refused(vec![text.into()])
}

/// All projects and groups that what reads the Secret names, or the person.
pub(super) async fn owners_of(
    gitlab: &GitLabWriter,
    target: &Target,
    choice: &Choice,
) -> Result<Vec<Owner>, Refusal> {
    let mut places = Vec::new();
    for path in projects(gitlab, target, choice).await? {
        places.push(above(gitlab, &path).await?);
    }
    Ok(owners(&places).into_iter().cloned().collect())
}

/// A person's token that GitLab renews in its place: only its owner's, and only where it cannot be taken for another.
async fn in_place(
    gitlab: &GitLabWriter,
    target: &Target,
    item: Item,
    choice: &Choice,
) -> Result<Found, Refusal> {
    let own = gitlab.read.own_token().await?;
    let name = choice.in_place.clone().unwrap_or_default();
    if item.name != name {
        return Err(refused(format!(
            "the Secret holds {}, which is not named {name}",
            item.title(Kind::PersonalToken)
        )));
    }
    if own.id == Some(item.id) {
        return Err(refused(
            "the Secret holds the very token that you sign in with: it would die in the middle. Make one of your own first",
        ));
    }
    let personal = personal(
        gitlab,
        target,
        &own,
        name,
        end(Kind::AccessToken, lifetime(Kind::PersonalToken, &item), choice, Timestamp::now()),
    )?;
    match &personal.items().await?[..] {
        [only] if only.id == item.id => {}
        [] => {
            return Err(refused(format!(
                "{} is not yours: only its owner can renew it",
                item.title(Kind::PersonalToken)
            )));
        }
        _ => {
            return Err(refused(format!(
                "you have several tokens named {}: give this one a name of its own first",
                personal.name
            )));
        }
    }
    let notes = vec![
        "GitLab ends the old one when it makes the new one: until the Secret is written, for less than a second if all goes \
         well, nothing works. Whatever else uses the old one stops for good"
            .to_owned(),
    ];
    let issuer = Issuer::Personal(personal);
    Ok(Found { issuer, old: Some(item), kept: None, may: Some(true), notes })
}

/// The tokens of this name of whoever runs this.
pub(super) fn personal(
    gitlab: &GitLabWriter,
    target: &Target,
    own: &Own,
    name: String,
    expires_at: Option<String>,
) -> Result<Personal, Refusal> {
    let Some(user) = own.user_id else {
        return Err(refused("GitLab does not say whose your own token is: sign in with an access token"));
    };
    let gitlab = gitlab.clone();
    Ok(Personal { gitlab, user, name, expires_at: expires_at.unwrap_or_default(), form: target.form })
}

/// What to make where the old one's kind does not tell.
fn wanted(target: &Target, choice: &Choice) -> Result<Kind, Refusal> {
    let kind = match (&target.reader, target.form) {
        (Reader::Providers(_), _) => Kind::AccessToken,
        (_, Form::Ssh) => Kind::DeployKey,
        _ => choice.make.unwrap_or(Kind::DeployToken),
    };
    match choice.make {
        Some(make) if make != kind => Err(Refusal::Usage(format!(
            "--make {}: {} takes a {}",
            make.word().replace(' ', "-"),
            target.of,
            kind.word()
        ))),
        _ => Ok(kind),
    }
}

/// The projects that the credential is to open, by full path.
async fn projects(gitlab: &GitLabWriter, target: &Target, choice: &Choice) -> Result<Vec<String>, Refusal> {
    let instance = gitlab.read.host().to_string();
    if let Some(project) = &choice.project {
        if let Some(url) = target.urls().find(|url| url.starts_with("https://") && !is_on(&instance, url)) {
            return Err(refused(format!(
                "{url} is not on {instance}: a credential of its project {project} does not open it"
            )));
        }
        return Ok(vec![project.trim_matches('/').to_owned()]);
    }
    let mut found = Vec::new();
    let mut strange = Vec::new();
    match &target.reader {
        Reader::Agent(_) => {}
        Reader::Sources(fetchers) => {
            for fetcher in fetchers {
                match of_fetcher(gitlab, &instance, fetcher).await? {
                    Some(path) => found.push(path),
                    None => strange.push(format!("{} ({})", fetcher.object, fetcher.url)),
                }
            }
        }
        Reader::Providers(notifiers) => {
            for notifier in notifiers {
                match of_notifier(gitlab, &instance, notifier).await? {
                    Some(path) => found.push(path),
                    None => strange.push(format!("{} ({})", notifier.object, notifier.address)),
                }
            }
        }
    }
    if !strange.is_empty() {
        return Err(refused(format!(
            "no project of {instance} is named by {}; name the project yourself with --project, or the GitLab with \
             --gitlab-host",
            strange.join(", ")
        )));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

async fn of_fetcher(
    gitlab: &GitLabWriter,
    instance: &str,
    fetcher: &Fetcher,
) -> Result<Option<String>, Refusal> {
    if let Some(rest) = fetcher.url.strip_prefix("oci://") {
        // An image's name may have further parts behind the project's path (GitLab, "Container registry").
        let path = rest.split_once('/').map_or("", |(_, path)| path).trim_matches('/');
        let parts: Vec<&str> = path.split('/').collect();
        for end in (2..=parts.len()).rev().take(6) {
            if let Some(project) = existing(gitlab, &parts[..end].join("/")).await? {
                return Ok(Some(project.path_with_namespace));
            }
        }
        return Ok(None);
    }
    let Some(path) = project_of(instance, &fetcher.url) else { return Ok(None) };
    // The package registry's Helm repositories: /api/v4/projects/ID/packages/helm/CHANNEL.
    let Some(rest) = path.strip_prefix("api/v4/projects/") else { return Ok(Some(path)) };
    let id = rest.split('/').next().unwrap_or_default().replace("%2F", "/").replace("%2f", "/");
    Ok(existing(gitlab, &id).await?.map(|project| project.path_with_namespace))
}

async fn of_notifier(
    gitlab: &GitLabWriter,
    instance: &str,
    notifier: &Notifier,
) -> Result<Option<String>, Refusal> {
    if let Some(path) = project_of(instance, &notifier.address) {
        return Ok(Some(path));
    }
    // https://HOST/NUMBER
    let number = notifier.address.strip_prefix(instance).map(|rest| rest.trim_matches('/'));
    let Some(number) = number.filter(|n| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit())) else {
        return Ok(None);
    };
    Ok(existing(gitlab, number).await?.map(|project| project.path_with_namespace))
}

/// A project by path or number, where there is one that the person may see.
async fn existing(gitlab: &GitLabWriter, path: &str) -> Result<Option<Project>, Refusal> {
    match gitlab.read.project(path).await {
        Ok(found) => Ok(Some(found.project)),
        Err(fault) if hides(fault.kind) => Ok(None),
        Err(fault) => Err(fault.into()),
    }
}

/// Whether GitLab says by it that the person may not see something, or that it is not there.
pub(super) fn hides(kind: FaultKind) -> bool {
    matches!(kind, FaultKind::NotFound | FaultKind::Forbidden | FaultKind::Granular)
}

/// A project and the groups above it that the person may see.
async fn above(gitlab: &GitLabWriter, path: &str) -> Result<Places, Refusal> {
    let project = gitlab.read.project(path).await?.project;
    let mut owners = vec![Owner {
        path: format!("projects/{}", project.id),
        words: format!("project {}", project.path_with_namespace),
    }];
    let mut group = project.path_with_namespace.as_str();
    while let Some((above, _)) = group.rsplit_once('/') {
        match resource::group(gitlab, above).await {
            Ok(owner) => owners.push(owner),
            // A person's own namespace is no group, and a fine-grained token may be for the project alone.
            Err(fault) if hides(fault.kind) => {}
            Err(fault) => return Err(fault.into()),
        }
        group = above;
    }
    Ok(Places { project, owners })
}

async fn identify(
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

/// All places once, projects and inner groups first.
fn owners(places: &[Places]) -> Vec<&Owner> {
    let mut all: Vec<&Owner> = Vec::new();
    for owner in places.iter().flat_map(|p| &p.owners) {
        if !all.contains(&owner) {
            all.push(owner);
        }
    }
    all.sort_by_key(|owner| owner.path.starts_with("groups/"));
    all
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

/// The same powers as the old one, and a life as long. Of one that notifies only the scope that this takes, and no role
/// below the one that GitLab asks for: the old bot may be allowed by name what the new one is allowed by its role.
fn same_grant(kind: Kind, item: &Item, choice: &Choice, notifies: Option<u32>) -> Grant {
    let level = choice.role.or_else(|| item.access_level.max(notifies));
    Grant {
        scopes: if notifies.is_some() { vec!["api".to_owned()] } else { item.scopes.clone() },
        access_level: if kind == Kind::AccessToken { Some(level.unwrap_or(DEVELOPER)) } else { None },
        can_push: item.can_push,
        expires_at: end(kind, lifetime(kind, item), choice, Timestamp::now()),
    }
}

/// The least that does; `statuses` is the role that setting a commit status takes, where it is known.
pub(super) fn fresh_grant(kind: Kind, target: &Target, choice: &Choice, statuses: Option<u32>) -> Grant {
    let scopes = match (&target.reader, kind) {
        (Reader::Providers(_), _) => vec!["api".to_owned()],
        (_, Kind::DeployKey) => Vec::new(),
        (Reader::Sources(fetchers), _) => scopes(fetchers),
        (Reader::Agent(_), _) => Vec::new(),
    };
    // Reporter is the least role that reads code.
    let notifies = matches!(target.reader, Reader::Providers(_));
    let level = if notifies { statuses.unwrap_or(DEVELOPER) } else { 20 };
    Grant {
        scopes,
        access_level: (kind == Kind::AccessToken).then(|| choice.role.unwrap_or(level)),
        can_push: false,
        expires_at: end(kind, None, choice, Timestamp::now()),
    }
}

fn scopes(fetchers: &[Fetcher]) -> Vec<String> {
    let scope = |fetcher: &Fetcher| match () {
        () if fetcher.url.starts_with("oci://") => "read_registry",
        () if fetcher.object.kind == "HelmRepository" => "read_package_registry",
        () => "read_repository",
    };
    let mut scopes: Vec<String> = fetchers.iter().map(|f| scope(f).to_owned()).collect();
    scopes.sort_unstable();
    scopes.dedup();
    scopes
}

/// How long the old one was made to live; `None` where it has no end. GitLab does not say when a deploy token was made.
fn lifetime(kind: Kind, item: &Item) -> Option<SignedDuration> {
    let ends = item.ends()?;
    match item.created_at {
        Some(made) => Some(ends.duration_since(made)),
        None if kind == Kind::DeployToken => Some(LONGEST),
        None => Some(USUAL),
    }
}

/// The day on which the new one of a person ends.
pub(super) fn personal_end(choice: &Choice) -> Option<String> {
    end(Kind::AccessToken, None, choice, Timestamp::now())
}

/// The day on which the new one ends. Access tokens must have one.
fn end(kind: Kind, life: Option<SignedDuration>, choice: &Choice, now: Timestamp) -> Option<String> {
    let must = kind == Kind::AccessToken;
    let life = choice.expires_in.or(life).or(must.then_some(USUAL))?;
    let life = if must { life.min(LONGEST) } else { life };
    let at = now.checked_add(life.max(SignedDuration::from_hours(24))).ok()?;
    Some(at.strftime("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-05-01T12:00:00Z".parse().expect("a time")
    }

    fn item(created: Option<&str>, ends: Option<&str>) -> Item {
        Item {
            created_at: created.map(|at| at.parse().expect("a time")),
            expires_at: ends.map(str::to_owned),
            ..Item::default()
        }
    }

    #[test]
    fn the_role_of_a_token_for_job_statuses_is_enough_for_the_branch_and_no_less_than_before() {
        let least = |role| StatusRole::Least(role);
        for (statuses, before, chosen, role) in [
            (least(30), None, None, Some(30)),
            (least(40), None, None, Some(40)),
            (least(30), Some(40), None, Some(40)),
            (least(40), Some(30), None, Some(40)),
            (least(30), Some(40), Some(30), Some(30)),
            (least(40), Some(40), Some(30), None),
            (least(40), None, Some(20), None),
            (least(50), Some(40), None, Some(50)),
            (StatusRole::Unknown, Some(20), None, Some(30)),
            (StatusRole::Unknown, None, Some(20), Some(20)),
            (StatusRole::Nobody("main".to_owned()), Some(40), None, None),
            (StatusRole::Nobody("main".to_owned()), None, Some(40), None),
        ] {
            let choice = Choice { role: chosen, ..Choice::default() };
            let old = Item { access_level: before, ..item(None, Some("2027-01-01")) };
            let grant = enough(&statuses, &choice)
                .map(|least| same_grant(Kind::AccessToken, &old, &choice, Some(least.unwrap_or(DEVELOPER))));
            let made = grant.ok().and_then(|grant| grant.access_level);
            assert_eq!(made, role, "{statuses:?} {before:?} {chosen:?}");
        }
    }

    #[test]
    fn a_bots_place_is_in_its_name() {
        assert_eq!(of_bot("group_12_bot_0af"), "the group with number 12");
        assert_eq!(of_bot("project_7_bot"), "the project with number 7");
        assert_eq!(of_bot("ghost"), "bot ghost");
        assert_eq!(of_bot("group_x_bot"), "bot group_x_bot");
    }

    #[test]
    fn the_new_one_lives_as_long_as_the_old_one_was_made_for() {
        let none = Choice::default();
        let days = |days: i64| Some(SignedDuration::from_hours(24 * days));
        let a_month = item(Some("2026-01-01T00:00:00Z"), Some("2026-01-31"));
        assert_eq!(lifetime(Kind::AccessToken, &a_month), days(30));
        for (kind, life, expires_in, day) in [
            (Kind::AccessToken, days(30), None, Some("2026-05-31")),
            (Kind::AccessToken, days(4000), None, Some("2027-05-01")),
            (Kind::AccessToken, None, None, Some("2026-07-30")),
            (Kind::DeployToken, None, None, None),
            (Kind::DeployKey, None, days(10), Some("2026-05-11")),
            (Kind::AccessToken, days(30), days(10), Some("2026-05-11")),
        ] {
            let choice = Choice { expires_in, ..none.clone() };
            assert_eq!(end(kind, life, &choice, now()).as_deref(), day, "{kind:?} {life:?}");
        }
        assert_eq!(lifetime(Kind::DeployToken, &item(None, None)), None);
        assert_eq!(lifetime(Kind::DeployToken, &item(None, Some("2027-01-01"))), Some(LONGEST));
    }
}
