//! Everything that can be known before anything is changed: permissions on both sides, owners, what admission says,
//! whether it is well now. A rotation that would fail at its last step is refused at its first.

use gitlab_agent_core::facts::{Facts, ValueKind};
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::render::rotate::OldCredential;
use gitlab_agent_core::rotate::owner::{Owner, owners};
use gitlab_agent_core::rotate::{Goal, Journal, Kind, Stage};
use gitlab_agent_core::snapshot::{Why, WhyKind};
use jiff::{SignedDuration, Timestamp};

use super::find::{self, Choice};
use super::holders::{self, Holders};
use super::issuer::Issuer;
use super::pods::Sight;
use super::resource::{self, Item, Resource};
use super::secret::Read;
use super::target::{Agentk, Fetcher, Notifier, Reader, Target};
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
    fn begins(&self) -> bool {
        matches!(self.goal, Goal::Rotate | Goal::Begin)
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
struct Notes {
    against: Vec<String>,
    notes: Vec<String>,
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
    let denied = permit::denied(client, target).await;
    if !denied.is_empty() {
        return Err(Refusal::Denied(denied));
    }
    let place = &target.secret;
    let name = format!("Secret {}/{}", place.namespace, place.name);
    let Some(read) = place.read(client, &place.name).await? else {
        return Err(Refusal::Refused(vec![format!("{name} does not exist")]));
    };
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
    if wanted.begins() {
        other_holders(client, target, &read, &name, wanted, &mut said).await?;
        generators(client, &read, &name, &mut said).await;
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

/// Whatever else holds the value or reads the Secret would be left with a dead credential.
async fn other_holders(
    client: &WriteClient,
    target: &Target,
    read: &Read,
    name: &str,
    wanted: &Wanted<'_>,
    said: &mut Notes,
) -> Result<(), Refusal> {
    let salt = super::random().map_err(|text| Refusal::Refused(vec![text]))?;
    let mark = target.form.mark(&salt, read);
    let found = Holders::look(client, target, mark.as_ref(), &[&target.secret.name]).await;
    for left in found.left_behind(name) {
        said.against.push(format!(
            "{left}: what is there would be left with a revoked credential. Give it a credential of its own or take it away, or \
             let what reads it name {name}; then try again"
        ));
    }
    if !found.unseen.is_empty() {
        let text = format!("who else holds the credential cannot be seen: {}", found.unseen.join("; "));
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
    Ok(())
}

/// An ExternalSecret that takes its value from a generator makes new credentials by itself.
async fn generators(client: &WriteClient, read: &Read, name: &str, said: &mut Notes) {
    for owner in owners(&read.metadata).into_iter().filter(|o| o.object.kind == "ExternalSecret") {
        if let Some(generator) = super::generator::of(client, &owner.object).await {
            said.against.push(format!(
                "{name} is rotated by {generator}, the generator of {}: it makes a new credential at each refresh of the \
                 ExternalSecret (spec.refreshInterval, or the annotation force-sync)",
                owner.object
            ));
        }
    }
}

/// Whether the person's own token can do it to the end.
async fn own_token(gitlab: &GitLabWriter, said: &mut Notes) -> Result<(), Refusal> {
    let own = gitlab.read.own_token().await?;
    if own.is_fine_grained() {
        said.notes.push(
            "what your fine-grained token may do GitLab does not say beforehand: a permission that it lacks shows at the step that \
             needs it (docs/gitlab-access.md lists them)"
                .to_owned(),
        );
    } else if !own.scopes.is_empty() && !own.scopes.iter().any(|s| s == "api") {
        said.against.push(format!(
            "your GitLab token has the scope {}; making and revoking tokens needs api",
            own.scopes.join(", ")
        ));
    }
    if let Some(expires) = own.expires_at.as_ref().filter(|at| expires_soon(at, Timestamp::now())) {
        said.against
            .push(format!("your GitLab token expires on {expires}: it may not live to revoke the old token"));
    }
    Ok(())
}

/// Whether the person's role is enough where the credential is made.
fn role(may: Option<bool>, place: &str, said: &mut Notes) {
    let least = if place.starts_with("group ") { "Owner" } else { "Maintainer" };
    match may {
        Some(false) => said.against.push(format!(
            "your role in {place} is below {least}, which making and revoking its tokens needs"
        )),
        Some(true) => {}
        None => said.notes.push(format!(
            "GitLab does not show your role in {place}: making and revoking its tokens takes {least}"
        )),
    }
}

/// Whether access tokens can be made there at all. Where they cannot, GitLab shows none, not even to a Maintainer.
async fn has_access_tokens(found: &find::Found, target: &Target, said: &mut Notes) -> Result<(), Refusal> {
    let Issuer::Resource(resource) = &found.issuer else { return Ok(()) };
    if resource.kind != Kind::AccessToken || found.may == Some(false) {
        return Ok(());
    }
    match found.issuer.tokens().await {
        Ok(_) => Ok(()),
        Err(fault) if fault.kind == FaultKind::SignIn => {
            let instead = match &target.reader {
                Reader::Providers(_) => {
                    "A job status can then be set with a personal access token of scope api only, renewed with --in-place"
                }
                _ => {
                    "For fetching, --make deploy-token makes one that every tier has (for ssh:// a deploy key)"
                }
            };
            let place = found.issuer.place_words();
            let no = resource::NO_ACCESS_TOKENS;
            let own = if found.may.is_none() { "your role is too low for them, or " } else { "" };
            said.against.push(format!("GitLab shows you no access tokens of {place}: {own}{no}. {instead}"));
            Ok(())
        }
        Err(fault) => Err(fault.into()),
    }
}

async fn of_agent(
    client: &WriteClient,
    gitlab: &GitLabWriter,
    facts: &Facts<'_>,
    (agentks, read): (&[Agentk], &Read),
    wanted: &Wanted<'_>,
    said: &mut Notes,
) -> Result<Checked, Refusal> {
    let mut sights = Vec::new();
    for agentk in agentks {
        let Some(sight) = Sight::look(client, &agentk.deployment).await? else {
            return Err(Refusal::Refused(vec![format!("{} does not exist", agentk.deployment)]));
        };
        sights.push(sight);
    }
    let Notes { against, notes } = said;
    let installed = agent::Installed { client, agentks, sights: &sights, read };
    let found = agent::look(&installed, gitlab, facts, wanted, against, notes).await?;
    let project = &found.keys.project;
    let may = gitlab.read.maintains(project).await;
    role(may, &format!("project {}", project.path_with_namespace), said);
    let old = found.token.as_ref().map(|token| OldCredential {
        id: Some(token.id),
        title: format!("{} {} \"{}\"", Kind::AgentToken.word(), token.id, token.name),
        last_used: Some(token.last_used_at),
        expires_at: None,
        kept: None,
    });
    Ok(Checked {
        old_id: found.token.as_ref().map(|t| t.id),
        made_at: found.token.as_ref().and_then(|t| t.created_at),
        old,
        issuer: Issuer::Agent(found.keys),
        journal: None,
        reading: format!("{} pods, each at its start", found.pods),
        works: found.connected,
        owners: Vec::new(),
        group: None,
        notes: Vec::new(),
    })
}

async fn of_resource(
    gitlab: &GitLabWriter,
    target: &Target,
    read: &Read,
    wanted: &Wanted<'_>,
    said: &mut Notes,
) -> Result<Checked, Refusal> {
    let reading = match &target.reader {
        Reader::Providers(_) => "at each notification",
        _ => "at each fetch",
    };
    if let Some(journal) = read.journal.as_ref().filter(|_| !wanted.begins()) {
        return resumed(gitlab, target, read, journal, wanted.choice, reading).await;
    }
    let found = find::find(gitlab, target, read, wanted.choice).await?;
    if wanted.goal == Goal::Begin && found.issuer.family().is_some() {
        said.against
            .push("--in-place kills the old one at once: there is nothing to hand over before".to_owned());
    }
    role(found.may, &found.issuer.place_words(), said);
    has_access_tokens(&found, target, said).await?;
    let works = match &target.reader {
        Reader::Sources(fetchers) => fetched_now(fetchers, found.old.is_some(), said),
        Reader::Providers(notifiers) => notified_now(notifiers, said),
        Reader::Agent(_) => String::new(),
    };
    said.notes.extend(more_than_needed(&found.issuer, target));
    let changed = target.secret.keys.iter().filter_map(|key| read.shapes.get(*key)?.changed_at).max();
    let old = match (&found.old, &found.kept) {
        (Some(item), _) => Some(OldCredential {
            id: Some(item.id),
            title: item.title(found.issuer.kind()),
            last_used: (found.issuer.kind() == Kind::AccessToken).then_some(item.last_used_at),
            expires_at: item.ends(),
            kept: None,
        }),
        (None, Some((title, why))) => Some(OldCredential {
            id: None,
            title: title.clone(),
            last_used: None,
            expires_at: None,
            kept: Some(why.clone()),
        }),
        (None, None) => None,
    };
    said.notes.extend(found.notes);
    let group = untold(&found.issuer, found.old.as_ref(), said);
    Ok(Checked {
        old_id: found.old.as_ref().map(|item| item.id),
        made_at: found.old.as_ref().and_then(|item| item.created_at).or(changed),
        old,
        reading: reading.to_owned(),
        works,
        issuer: found.issuer,
        journal: None,
        owners: Vec::new(),
        group,
        notes: Vec::new(),
    })
}

/// Of what is revoked GitLab does not tell whether others use it: that is said, and of a group's confirmed by name.
fn untold(issuer: &Issuer, old: Option<&Item>, said: &mut Notes) -> Option<String> {
    let (Issuer::Resource(resource), Some(old)) = (issuer, old) else { return None };
    if !matches!(resource.kind, Kind::DeployToken | Kind::DeployKey) {
        return None;
    }
    let title = old.title(resource.kind);
    let group = resource.owner.words.strip_prefix("group ");
    let whose = group.map_or("whoever else was given it", |_| "anything that uses any project of the group");
    said.notes.push(format!(
        "GitLab does not tell when {title} was last used: {whose} outside this cluster may use it, and stops working when it is \
         revoked"
    ));
    group.map(str::to_owned)
}

/// What a source's new credential may do beyond fetching.
fn more_than_needed(issuer: &Issuer, target: &Target) -> Option<String> {
    let (Issuer::Resource(resource), Reader::Sources(_)) = (issuer, &target.reader) else { return None };
    let scopes = &resource.grant.scopes;
    scopes.iter().any(|scope| scope.starts_with("write_") || scope == "api").then(|| {
        format!(
            "the new one gets the scopes of the old one ({}), which are more than fetching needs; --make deploy-token makes \
             one that only reads",
            scopes.join(" ")
        )
    })
}

/// The rest of a rotation: its journal says where the new one was made. It lies on the Secret, where others may write, so
/// the place counts only where what reads the Secret names it too, and what the new one may do is found out anew.
async fn resumed(
    gitlab: &GitLabWriter,
    target: &Target,
    read: &Read,
    journal: &Journal,
    choice: &Choice,
    reading: &str,
) -> Result<Checked, Refusal> {
    let resumed = |issuer| Checked {
        issuer,
        old_id: journal.old_token,
        old: None,
        made_at: None,
        journal: None,
        reading: reading.to_owned(),
        works: String::new(),
        owners: Vec::new(),
        group: None,
        notes: Vec::new(),
    };
    if let Some(family) = &journal.family {
        // The journal lies where others may write: a token of yours is renewed on your word alone.
        if choice.in_place.as_ref() != Some(family) {
            return Err(Refusal::Refused(vec![format!(
                "this rotation renews your access token \"{family}\" in its place: say so again, with --in-place and \
                 this name"
            )]));
        }
        let own = gitlab.read.own_token().await?;
        let personal = find::personal(gitlab, target, &own, family.clone(), find::personal_end(choice))?;
        return Ok(resumed(Issuer::Personal(personal)));
    }
    let owners = find::owners_of(gitlab, target, choice).await?;
    let Some(owner) = owners.into_iter().find(|owner| owner.path == journal.place) else {
        return Err(Refusal::Refused(vec![format!(
            "the journal on the Secret says that the new credential was made in {}, which nothing that reads the Secret \
             names: name the project that the rotation was begun with (--project), or see what is there in GitLab",
            journal.place
        )]));
    };
    let grant = if journal.stage == Stage::Create && !journal.no_return {
        let found = find::find(gitlab, target, read, choice).await?;
        match found.issuer {
            Issuer::Resource(r) if r.kind == journal.kind && r.owner == owner => r.grant,
            _ => {
                let text = "the rotation was begun with other flags (--make, --project): give the same again, or --rollback";
                return Err(Refusal::Refused(vec![text.to_owned()]));
            }
        }
    } else {
        find::fresh_grant(journal.kind, target, choice, None)
    };
    let resource = Resource { gitlab: gitlab.clone(), kind: journal.kind, owner, grant, form: target.form };
    Ok(resumed(Issuer::Resource(resource)))
}

/// Whether all sources are fetched now. Where the old one is dead anyway, there is nothing to lose.
fn fetched_now(fetchers: &[Fetcher], lives: bool, said: &mut Notes) -> String {
    if fetchers.iter().all(|f| f.proof.is_empty()) {
        said.against.push(
            "nothing that reads this Secret fetches now (suspended, or a static HelmRepository without charts): whether the \
             new credential works could not be told"
                .to_owned(),
        );
    }
    for fetcher in fetchers.iter().filter(|f| f.suspended) {
        said.notes.push(format!("{} is suspended: it takes no part in the proof", fetcher.object));
    }
    let failing: Vec<&Fetcher> = fetchers.iter().filter(|f| !f.suspended && f.fails.is_some()).collect();
    for fetcher in &failing {
        let why = fetcher.fails.as_deref().unwrap_or_default();
        let text = format!("{} is not fetched now ({why})", fetcher.object);
        if lives {
            said.against.push(format!(
                "{text}: whether the new credential works could not be told from what is broken already; mend that first \
                 (kubectl gitlab-agent verify)"
            ));
        } else {
            said.notes.push(text);
        }
    }
    if failing.is_empty() { "all of them are fetched with it now".to_owned() } else { String::new() }
}

/// Whether a notification can be had as proof.
fn notified_now(notifiers: &[Notifier], said: &mut Notes) -> String {
    for notifier in notifiers.iter().filter(|n| n.proof.is_empty()) {
        let why = if notifier.alerts.is_empty() {
            "no Alert sends through it"
        } else {
            "its Alerts cover no active Kustomization"
        };
        said.against.push(format!(
            "{} sends nothing now ({why}): whether the new token works could not be told; see kubectl gitlab-agent verify \
             --explain GA508",
            notifier.object
        ));
    }
    String::new()
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

/// A token expires at midnight UTC at the beginning of its day (GitLab, "Personal access tokens"); an hour's margin.
fn expires_soon(date: &str, now: Timestamp) -> bool {
    let midnight = format!("{date}T00:00:00Z").parse::<Timestamp>();
    midnight.is_ok_and(|at| at.duration_since(now) < SignedDuration::from_hours(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_dies_within_the_hour_is_not_begun_with() {
        let now: Timestamp = "2026-05-01T23:30:00Z".parse().expect("a time");
        assert!(expires_soon("2026-05-02", now));
        assert!(expires_soon("2026-05-01", now));
        assert!(!expires_soon("2026-05-03", now));
        assert!(!expires_soon("never", now));
    }

    #[test]
    fn what_is_not_fetched_now_is_no_place_for_a_proof_unless_the_old_one_is_dead() {
        let fetcher = |fails: Option<&str>, suspended: bool| Fetcher {
            object: ObjectRef::new("GitRepository", "n", "a"),
            url: String::new(),
            suspended,
            fails: fails.map(str::to_owned),
            proof: if suspended { Vec::new() } else { vec![ObjectRef::new("GitRepository", "n", "a")] },
        };
        for (fetchers, lives, refused) in [
            (vec![fetcher(None, false)], true, false),
            (vec![fetcher(Some("broken"), false)], true, true),
            (vec![fetcher(Some("authentication required"), false)], false, false),
            (vec![fetcher(None, true)], true, true),
            (vec![fetcher(None, true), fetcher(None, false)], true, false),
        ] {
            let mut said = Notes::default();
            fetched_now(&fetchers, lives, &mut said);
            assert_eq!(!said.against.is_empty(), refused, "{:?}", said.against);
        }
    }
}
