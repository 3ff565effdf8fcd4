//! Every credential in use, one row for each Secret and the key that is secret in it: `rotate-token --list`.
//!
//! What the cluster shows is enough for a row; GitLab adds whose it is, what it may do, and until when. What is not known
//! is said to be not known, and why.

mod gitlab;
mod next;
mod place;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::owner::{self, Owner};
use crate::facts::token_use::Purpose;
use crate::facts::{Facts, SecretShape, ValueKind, Why, WhyKind};
use crate::object::ObjectRef;
use crate::report::Exit;
use crate::snapshot::Origin;
pub use gitlab::askable;
pub use next::Next;
use place::Use;

/// All rows, and what could not be seen.
#[derive(Debug)]
pub struct Inventory {
    /// Where it was observed.
    pub origin: Origin,
    /// "Now".
    pub now: Timestamp,
    /// The GitLab that was asked, or why none was.
    pub gitlab: Result<String, Why>,
    /// The most urgent first.
    pub rows: Vec<Row>,
    /// Providers that notify something else than GitLab, with their type: their credentials are another system's.
    pub others: Vec<(ObjectRef, String)>,
    /// What could not be read.
    pub gaps: Vec<Why>,
}

/// One credential.
#[derive(Debug)]
pub struct Row {
    /// The Secret.
    pub secret: ObjectRef,
    /// Its keys that belong together; the one that is secret first.
    pub keys: Vec<String>,
    /// What it is for.
    pub purposes: Vec<Purpose>,
    /// The objects that read it.
    pub used_by: Vec<ObjectRef>,
    /// What it is.
    pub kind: Kind,
    /// Its number in GitLab.
    pub id: Fact<u64>,
    /// Its name in GitLab.
    pub name: Fact<String>,
    /// The user name that goes with it, or whom it acts for.
    pub user: Fact<String>,
    /// What it may do.
    pub scopes: Fact<Vec<String>>,
    /// When it was made.
    pub created_at: Fact<Timestamp>,
    /// When it ends.
    pub expires_at: Fact<Timestamp>,
    /// When it was last used.
    pub last_used_at: Fact<Timestamp>,
    /// Since when the Secret holds it: it is at least that old.
    pub held_since: Option<Timestamp>,
    /// Who else writes the Secret.
    pub owners: Vec<Owner>,
    /// Other Secrets that hold the same value: they hold a dead one once it is rotated here.
    pub same_in: Vec<ObjectRef>,
    /// Whether it works.
    pub state: State,
    /// What else is worth knowing, each a sentence's rest.
    pub notes: Vec<String>,
    /// What to do.
    pub next: Next,
}

/// Something that GitLab knows of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact<T> {
    /// It is this.
    Known(T),
    /// There is none: no end, no use yet, no user name.
    Nothing,
    /// It is not known, for this reason.
    NotKnown(String),
}

impl<T> Fact<T> {
    /// The value, where it is known and there is one.
    pub fn get(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Nothing | Self::NotKnown(_) => None,
        }
    }

    /// Why it is not known.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::NotKnown(why) => Some(why),
            Self::Known(_) | Self::Nothing => None,
        }
    }

    /// From GitLab's answer, in which an absent value means that there is none.
    fn told(value: Option<T>) -> Self {
        value.map_or(Self::Nothing, Self::Known)
    }
}

/// Kinds of credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// What agentk signs in with.
    AgentToken,
    /// Deploy token of a project.
    ProjectDeployToken,
    /// Deploy token of a group.
    GroupDeployToken,
    /// Deploy token, of a project or a group.
    DeployToken,
    /// Deploy key.
    DeployKey,
    /// SSH key: a deploy key, or a person's.
    SshKey,
    /// Access token of a project.
    ProjectAccessToken,
    /// Access token of a group.
    GroupAccessToken,
    /// Access token of a person.
    PersonalAccessToken,
    /// Access token, of a project, a group or a person.
    AccessToken,
    /// A GitLab token that was made for something else.
    OtherGitLabToken,
    /// User name and password of which no more is known.
    BasicAuth,
    /// A token in the header `Authorization: Bearer` of which no more is known.
    BearerToken,
    /// Login to a container registry.
    RegistryLogin,
    /// Private key of a GitHub App.
    GitHubApp,
    /// Client certificate.
    ClientCertificate,
    /// Nothing that could work: no Secret, no key, or a placeholder.
    Nothing,
    /// The Secret could not be read.
    Unread,
}

/// Each kind with its word for programs and its words for people.
const KINDS: &[(Kind, &str, &str)] = &[
    (Kind::AgentToken, "agentToken", "agent token"),
    (Kind::ProjectDeployToken, "projectDeployToken", "project deploy token"),
    (Kind::GroupDeployToken, "groupDeployToken", "group deploy token"),
    (Kind::DeployToken, "deployToken", "deploy token"),
    (Kind::DeployKey, "deployKey", "deploy key"),
    (Kind::SshKey, "sshKey", "SSH key"),
    (Kind::ProjectAccessToken, "projectAccessToken", "project access token"),
    (Kind::GroupAccessToken, "groupAccessToken", "group access token"),
    (Kind::PersonalAccessToken, "personalAccessToken", "personal access token"),
    (Kind::AccessToken, "accessToken", "access token"),
    (Kind::OtherGitLabToken, "otherGitLabToken", "GitLab token for something else"),
    (Kind::BasicAuth, "basicAuth", "basic auth of unknown kind"),
    (Kind::BearerToken, "bearerToken", "bearer token of unknown kind"),
    (Kind::RegistryLogin, "registryLogin", "registry login"),
    (Kind::GitHubApp, "gitHubApp", "GitHub App key"),
    (Kind::ClientCertificate, "clientCertificate", "client certificate"),
    (Kind::Nothing, "nothing", "no credential"),
    (Kind::Unread, "unread", "not readable"),
];

impl Kind {
    /// For programs.
    pub fn word(self) -> &'static str {
        KINDS.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, word, _)| word)
    }

    /// For people.
    pub fn words(self) -> &'static str {
        KINDS.iter().find(|(kind, ..)| *kind == self).map_or("", |(.., words)| words)
    }
}

/// Whether a credential works, by what is known; the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// There is no credential where one is needed.
    Missing,
    /// It is revoked or expired.
    Dead,
    /// It ends soon.
    Expiring,
    /// GitLab takes it.
    Valid,
    /// Not known.
    Unknown,
}

impl State {
    /// For programs, and people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Dead => "dead",
            Self::Expiring => "expiring",
            Self::Valid => "valid",
            Self::Unknown => "unknown",
        }
    }
}

impl Inventory {
    /// What is in use, from what was observed.
    pub fn of(facts: &Facts<'_>) -> Self {
        let mut gaps = listing_gaps(facts);
        let mut rows: BTreeMap<(ObjectRef, String), Row> = BTreeMap::new();
        for used in place::uses(facts) {
            let keys = match facts.secret(&used.secret.namespace, &used.secret.name) {
                Ok(Some(shape)) => used.keys(shape),
                Ok(None) => Some(Vec::new()),
                Err(why) => {
                    note(&mut gaps, why);
                    Some(Vec::new())
                }
            };
            let Some(keys) = keys else { continue };
            let main = keys.first().cloned().unwrap_or_default();
            let row = rows.entry((used.secret.clone(), main)).or_insert_with(|| row(facts, &used, keys));
            row.add(&used);
        }
        let mut rows: Vec<Row> = rows.into_values().collect();
        let values = place::values(facts);
        for row in &mut rows {
            if row.kind == Kind::DeployToken && row.purposes.contains(&Purpose::Notification) {
                row.notes.push("a deploy token cannot set job statuses (GA505)".to_owned());
            }
            row.same_in = place::same_value(facts, &values, row);
            gitlab::fill(facts, row);
            row.next = next::next(facts, row);
        }
        rows.sort_by_key(Row::urgency);
        for why in gitlab::gaps(facts) {
            note(&mut gaps, why);
        }
        let of_others = facts.snapshot.providers.items.iter().filter(|p| !p.writes_to_gitlab());
        Self {
            origin: facts.snapshot.origin.clone(),
            now: facts.now,
            gitlab: facts.gitlab().map(|part| part.url.clone()),
            rows,
            others: of_others.map(|p| (p.metadata.object("Provider"), p.spec.kind.clone())).collect(),
            gaps,
        }
    }

    /// 0, or 3 where something could not be read, or 4 where the cluster does not answer.
    pub fn exit(&self) -> Exit {
        let silent = |why: &Why| {
            let words = why.asked.starts_with(SERVER);
            words && matches!(why.kind, WhyKind::Unreachable | WhyKind::SignIn | WhyKind::TimedOut)
        };
        match &self.gaps[..] {
            [] => Exit::Fine,
            gaps if gaps.iter().any(silent) => Exit::Unreachable,
            _ => Exit::Unknown,
        }
    }
}

/// What is asked first of every cluster.
const SERVER: &str = "the API server's version";

/// What was not listed, of the kinds that name credentials. A kind that the cluster does not have is no gap.
fn listing_gaps(facts: &Facts<'_>) -> Vec<Why> {
    let s = facts.snapshot;
    let server = s.server.get().err();
    let listings = [
        &s.git_repositories.gaps,
        &s.oci_repositories.gaps,
        &s.helm_repositories.gaps,
        &s.providers.gaps,
        &s.deployments.gaps,
    ];
    let mut gaps: Vec<Why> = server.into_iter().collect();
    for why in listings.into_iter().flatten().filter(|why| why.kind != WhyKind::NotServed) {
        note(&mut gaps, why.clone());
    }
    gaps
}

fn note(gaps: &mut Vec<Why>, why: Why) {
    if !gaps.contains(&why) {
        gaps.push(why);
    }
}

/// A row with what the cluster alone shows.
fn row(facts: &Facts<'_>, used: &Use<'_>, keys: Vec<String>) -> Row {
    let shape = facts.secret(&used.secret.namespace, &used.secret.name);
    let kind = match &shape {
        Err(_) => Kind::Unread,
        Ok(None) => Kind::Nothing,
        Ok(Some(shape)) => place::kind(used.purpose, shape, &keys),
    };
    let mut notes = Vec::new();
    match &shape {
        Err(why) if why.kind == WhyKind::Forbidden => notes.push("you may not read the Secret".to_owned()),
        Err(why) => notes.push(format!("the Secret cannot be read: {}", why.message)),
        Ok(None) => notes.push("the Secret does not exist".to_owned()),
        Ok(Some(_)) if keys.is_empty() => notes.push(format!("the Secret has no key {}", used.wanted_keys())),
        Ok(Some(shape)) if kind == Kind::Nothing => {
            notes.push(format!("`{}` is {}", keys[0], nothing(shape, &keys[0])));
        }
        Ok(Some(_)) => {}
    }
    let known = shape.ok().flatten();
    Row {
        secret: used.secret.clone(),
        purposes: Vec::new(),
        used_by: Vec::new(),
        kind,
        id: not_asked(),
        name: not_asked(),
        user: not_asked(),
        scopes: not_asked(),
        created_at: not_asked(),
        expires_at: not_asked(),
        last_used_at: not_asked(),
        held_since: known.and_then(|shape| held_since(shape, &keys)),
        owners: known.map(|shape| owner::owners(&metadata(shape))).unwrap_or_default(),
        same_in: Vec::new(),
        state: if kind == Kind::Nothing { State::Missing } else { State::Unknown },
        notes,
        next: Next::default(),
        keys,
    }
}

fn not_asked<T>() -> Fact<T> {
    Fact::NotKnown(String::new())
}

fn nothing(shape: &SecretShape, key: &str) -> &'static str {
    match shape.keys.get(key).map(|value| value.kind) {
        Some(ValueKind::Placeholder) => "a placeholder",
        _ => "empty",
    }
}

/// When the key's value last changed; the Secret's creation where nobody recorded who owns the key.
fn held_since(shape: &SecretShape, keys: &[String]) -> Option<Timestamp> {
    let key = keys.first().and_then(|key| shape.keys.get(key)).and_then(|value| value.changed_at);
    key.or(shape.metadata.creation_timestamp)
}

/// What the detectors of owners read.
fn metadata(shape: &SecretShape) -> owner::Metadata {
    let meta = &shape.metadata;
    let owner = |o: &crate::facts::OwnerReference| owner::OwnerReference {
        kind: o.kind.clone(),
        name: o.name.clone(),
        controller: o.controller,
    };
    // Whose fields they are is not recorded, but when each was written, and when each key changed.
    let changed: BTreeSet<Timestamp> = shape.keys.values().filter_map(|key| key.changed_at).collect();
    let managed = |m: &crate::facts::ManagedFields| owner::Managed {
        manager: m.manager.clone(),
        data: m.time.is_some_and(|at| changed.contains(&at)),
    };
    owner::Metadata {
        managed_fields: meta.managed_fields.iter().map(managed).collect(),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        labels: meta.labels.clone(),
        annotations: meta.annotations.0.clone(),
        owner_references: meta.owner_references.iter().map(owner).collect(),
    }
}

impl Row {
    fn add(&mut self, used: &Use<'_>) {
        if !self.purposes.contains(&used.purpose) {
            self.purposes.push(used.purpose);
            self.purposes.sort_unstable();
        }
        if !self.used_by.contains(&used.by) {
            self.used_by.push(used.by.clone());
        }
    }

    /// What has ended first, then what ends first, then what is oldest.
    fn urgency(&self) -> (u8, Timestamp, Timestamp, ObjectRef, String) {
        let class = match self.state {
            State::Missing => 0,
            State::Dead => 1,
            State::Expiring => 2,
            State::Valid | State::Unknown => 3,
        };
        let end = self.expires_at.get().copied().unwrap_or(Timestamp::MAX);
        let age = self.age_from().unwrap_or(Timestamp::MAX);
        (class, end, age, self.secret.clone(), self.keys.first().cloned().unwrap_or_default())
    }

    /// From when its age counts: when it was made, else since when the Secret holds it.
    pub fn age_from(&self) -> Option<Timestamp> {
        self.created_at.get().copied().or(self.held_since)
    }
}

#[cfg(test)]
mod tests;
