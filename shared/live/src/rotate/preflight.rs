//! Everything that can be known before anything is changed: permissions on both sides, owners, what admission says,
//! whether it is well now. A rotation that would fail at its last step is refused at its first.

use gitlab_agent_core::facts::{Facts, ValueKind};
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::render::rotate::OldCredential;
use gitlab_agent_core::rotate::journal::{Here, NAME};
use gitlab_agent_core::rotate::owner::{Owner, by_name, owners, unknown_writer};
use gitlab_agent_core::rotate::{Goal, Journal};
use gitlab_agent_core::snapshot::{Why, WhyKind};
use jiff::Timestamp;

use super::credential::{of_agent, of_resource};
use super::deeds::named;
use super::form::Form;
use super::grant::Choice;
use super::holders::{self, Holders};
use super::issuer::Issuer;
use super::keys::Keys;
use super::own_rights::own_token;
use super::secret::Read;
use super::target::{Reader, Target};
use super::{agent, permit};
use crate::access::WriteClient;
use crate::gitlab::{FaultKind, GitLabWriter};

/// What was found, and is fine.
pub struct Checked {
    /// Where the new one is made.
    pub issuer: Issuer,
    /// The number of the old one, where it is to be revoked.
    pub old_id: Option<u64>,
    /// The old one as people know it.
    pub old: Option<OldCredential>,
    /// When the old one was made, as far as that is known.
    pub made_at: Option<Timestamp>,
    /// The journal of a rotation that is under way.
    pub journal: Option<Journal>,
    /// How it is read, in words.
    pub reading: String,
    /// By what it is known that it works now.
    pub works: String,
    /// Who would take a change of the Secret back.
    pub owners: Vec<ObjectRef>,
    /// The group whose token is revoked, where others may use it and GitLab does not tell: to be confirmed by name.
    pub group: Option<String>,
    /// What is worth knowing and no reason to refuse.
    pub notes: Vec<String>,
}

/// Why nothing is begun.
#[derive(Debug)]
pub enum Refusal {
    /// It would fail, or be reverted; each reason in a sentence.
    Refused(Vec<String>),
    /// Permissions are missing in the cluster.
    Denied(Vec<String>),
    /// A server did not answer, or refused the credential.
    Unreachable(String),
    /// Arguments that do not fit what is there.
    Usage(String),
}

/// What the person said.
pub struct Wanted<'a> {
    /// What to do.
    pub goal: Goal,
    /// `PROJECT:NAME` of the agent in GitLab, where the person named it.
    pub agent: Option<&'a str>,
    /// What the new one is to be.
    pub choice: &'a Choice,
    /// Hold the Secret off from its Kustomization.
    pub hold: bool,
    /// Go on where not all that may hold the credential can be seen.
    pub allow_unseen: bool,
    /// Ask the API server what it would say to each change.
    pub try_changes: bool,
}

impl Wanted<'_> {
    pub(super) fn begins(&self) -> bool {
        matches!(self.goal, Goal::Rotate | Goal::Begin)
    }
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self::Refused(vec![text])
    }
}

impl From<Why> for Refusal {
    fn from(why: Why) -> Self {
        let text = format!("{}: {}", why.asked, why.message);
        match why.kind {
            WhyKind::Forbidden => Self::Denied(vec![text]),
            WhyKind::Unreachable | WhyKind::SignIn | WhyKind::TimedOut => Self::Unreachable(text),
            _ => Self::Refused(vec![text]),
        }
    }
}

impl From<crate::gitlab::Fault> for Refusal {
    fn from(fault: crate::gitlab::Fault) -> Self {
        let text = fault.to_string();
        match fault.kind {
            FaultKind::Granular => Self::Refused(vec![format!(
                "{text} Sign in with a fine-grained token that has them (docs/gitlab-access.md lists what each command needs)"
            )]),
            FaultKind::Forbidden | FaultKind::Scope | FaultKind::NotFound => Self::Refused(vec![text]),
            FaultKind::Refused | FaultKind::Conflict | FaultKind::Unreadable => Self::Refused(vec![text]),
            _ => Self::Unreachable(text),
        }
    }
}

/// What is gathered while looking.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) against: Vec<String>,
    pub(super) notes: Vec<String>,
}

/// Looks at everything; the first class of reasons that speaks against it comes back.
///
/// # Errors
/// See [`Refusal`].
pub async fn preflight(
    client: &WriteClient,
    gitlab: &GitLabWriter,
    facts: &Facts<'_>,
    target: &Target,
    wanted: &Wanted<'_>,
) -> Result<Checked, Refusal> {
    if let Some(unsound) = client.read.unsound {
        let text = format!("the API server at {} gets no credential: {unsound}", client.read.origin.server);
        return Err(Refusal::Refused(vec![text]));
    }
    let denied = permit::denied(client, target).await?;
    if !denied.is_empty() {
        return Err(Refusal::Denied(denied));
    }
    let place = &target.secret;
    let name = format!("Secret {}/{}", place.namespace, place.name);
    let Some(read) = place.read(client, &place.name).await? else {
        return Err(Refusal::Refused(vec![format!("{name} does not exist")]));
    };
    if let Some(other) = other_gitlab(&read, gitlab, wanted) {
        return Err(Refusal::Refused(vec![other]));
    }
    let mut said = Notes::default();
    said.against.extend(speaks_against(&read, &name, target, wanted));
    own_token(gitlab, &mut said).await?;
    let mut checked = match &target.reader {
        Reader::Agent(agentks) => {
            of_agent(client, gitlab, facts, (agentks, &read), wanted, &mut said).await?
        }
        Reader::Sources(_) | Reader::Providers(_) => {
            of_resource(gitlab, target, &read, wanted, &mut said).await?
        }
    };
    if let Some(journal) = read.journal.as_ref().filter(|_| !wanted.begins()) {
        said.against.extend(stray(journal, &checked.issuer, &read));
    } else if let (false, Issuer::Agent(keys)) = (wanted.begins(), &checked.issuer) {
        said.against.extend(unnamed(keys, &read, &name).await?);
    }
    if wanted.begins() {
        let writers = other_holders(client, target, &read, &name, wanted, &mut said).await?;
        other_writers(client, writers, &read, &name, wanted, &mut said).await;
    }
    if wanted.begins() && said.against.is_empty() && wanted.try_changes {
        said.against.extend(permit::try_changes(client, target, &read, wanted.goal == Goal::Rotate).await);
    }
    if !said.against.is_empty() {
        return Err(Refusal::Refused(said.against));
    }
    checked.owners = owners(&read.metadata).into_iter().map(|owner| owner.object).collect();
    checked.notes = said.notes;
    checked.journal = read.journal;
    Ok(checked)
}

/// The rest of a rotation belongs to the GitLab that it was begun with: another one, with the same projects and numbers, knows
/// nothing of its tokens.
fn other_gitlab(read: &Read, gitlab: &GitLabWriter, wanted: &Wanted<'_>) -> Option<String> {
    let journal = read.journal.as_ref().filter(|_| !wanted.begins())?;
    let (begun, here) = (journal.host.as_ref()?, gitlab.read.host().to_string());
    (*begun != here).then(|| {
        format!(
            "rotation {} was begun with {begun}, and this is {here}: give --gitlab-host {begun}",
            journal.id
        )
    })
}

/// Why the journal is not of this Secret and this place in GitLab.
pub(super) fn stray(journal: &Journal, issuer: &Issuer, read: &Read) -> Option<String> {
    let (host, place) = (issuer.host(), issuer.place());
    journal.stray(&Here { host: &host, kind: issuer.kind(), place: &place, uid: &read.uid })
}

/// Tokens of rotations that no journal knows: the Secret was made again, or its journal was taken away. They are named, because
/// nothing else would.
async fn unnamed(keys: &Keys, read: &Read, name: &str) -> Result<Option<String>, Refusal> {
    let active = keys.active().await?;
    let held = named(read);
    let ours = active.iter().filter(|t| t.name.starts_with(NAME) && Some(t.id) != held);
    let ours: Vec<String> = ours.map(|t| format!("{} \"{}\"", t.id, t.name)).collect();
    Ok((active.len() > 1 && !ours.is_empty()).then(|| {
        format!(
            "{name} has no journal, and agent {} has tokens of rotations beside another one: {}. The Secret was made again or its \
             journal taken away: see which token agentk uses (GitLab shows the last use), and revoke the other there",
            keys.name,
            ours.join(", ")
        )
    }))
}

/// Whatever else holds the value or reads the Secret would be left with a dead credential. Gives the custom resources that write it.
async fn other_holders(
    client: &WriteClient,
    target: &Target,
    read: &Read,
    name: &str,
    wanted: &Wanted<'_>,
    said: &mut Notes,
) -> Result<Vec<ObjectRef>, Refusal> {
    let salt = super::random().map_err(|text| Refusal::Refused(vec![text]))?;
    let sought = target.form.sought(&salt, read);
    let found = Holders::look(client, target, sought.as_ref(), read, &[&target.secret.name]).await;
    if !found.silent.is_empty() {
        let text =
            format!("who else holds the credential is not known: {}; try again", found.silent.join("; "));
        return Err(Refusal::Unreachable(text));
    }
    for left in found.left_behind(name) {
        said.against.push(format!(
            "{left}: what is there would be left with a revoked credential. Give it a credential of its own or take it away, or \
             let what reads it name {name}; then try again"
        ));
    }
    if !found.notes.is_empty() {
        said.notes.push(format!("not looked at for who else holds or names it: {}", found.notes.join("; ")));
    }
    let mut unseen = found.unseen;
    if let Some(why) = unknown_writer(&read.metadata) {
        unseen.push(format!("whether something else writes {name}: {why}"));
    }
    if !unseen.is_empty() {
        let text = format!("who else holds the credential cannot be seen: {}", unseen.join("; "));
        if wanted.allow_unseen {
            said.notes.push(text);
        } else {
            said.against.push(format!("{text}; {}", agent::UNSEEN));
        }
    }
    if !found.following.is_empty() {
        let names = holders::names(&found.following);
        said.notes.push(format!("{names} pull images with the Secret, and read it each time"));
    }
    Ok(found.writers)
}

/// Custom resources write it too, whether or not they left a sign on it; an ExternalSecret that takes its value from a generator
/// makes new credentials by itself.
async fn other_writers(
    client: &WriteClient,
    writers: Vec<ObjectRef>,
    read: &Read,
    name: &str,
    wanted: &Wanted<'_>,
    said: &mut Notes,
) {
    let mut all: Vec<ObjectRef> = owners(&read.metadata).into_iter().map(|owner| owner.object).collect();
    for object in writers {
        if all.contains(&object) {
            continue;
        }
        if wanted.goal == Goal::Rotate {
            said.against.push(owned(&by_name(object.clone()), name));
        }
        all.push(object);
    }
    all.retain(|object| object.kind == "ExternalSecret");
    for object in all {
        if let Some(generator) = super::generator::of(client, &object).await {
            said.against.push(format!(
                "{name} is rotated by {generator}, the generator of {object}: it makes a new credential at each refresh of the \
                 ExternalSecret (spec.refreshInterval, or the annotation force-sync)"
            ));
        }
    }
}

/// What of the Secret itself speaks against it.
fn speaks_against(read: &Read, name: &str, target: &Target, wanted: &Wanted<'_>) -> Vec<String> {
    let mut against = Vec::new();
    match &read.journal {
        Some(journal) if wanted.begins() => against.push(format!(
            "rotation {} of {name}, begun by {} at {:.0}, has not ended: --resume goes on with it, --rollback takes it back",
            journal.id, journal.who, journal.started_at
        )),
        None if wanted.goal == Goal::Rotate && read.immutable => against.push(format!(
            "{name} is immutable: make another Secret, and let what reads this one name that"
        )),
        _ => {}
    }
    if wanted.goal == Goal::Rotate {
        let counts = |owner: &&Owner| !(wanted.hold && owner.can_be_held);
        against.extend(owners(&read.metadata).iter().filter(counts).map(|owner| owned(owner, name)));
    }
    if let (true, Form::Docker(host), None) = (wanted.begins(), &target.form, target.form.token(read)) {
        against.push(format!("{name} holds no credential for {host}, or several"));
    }
    if wanted.begins() && !target.agentks().is_empty() {
        let key = target.secret.keys.first().copied().unwrap_or_default();
        match read.shapes.get(key) {
            None => against.push(format!("{name} has no key {key}")),
            Some(shape) if matches!(shape.kind, ValueKind::AgentToken | ValueKind::Other) => {}
            Some(_) => against.push(format!(
                "key {key} of {name} holds no agent token; see kubectl gitlab-agent verify --explain GA304"
            )),
        }
    }
    against
}

fn owned(owner: &Owner, name: &str) -> String {
    let hold = if owner.can_be_held { "; or hold the live Secret off from it: --hold" } else { "" };
    format!(
        "{name} belongs to {}: {}. Change it {}: --begin makes the new one and writes a manifest for that{hold}",
        owner.object, owner.reverts, owner.instead
    )
}
