//! The credential of a rotation, for the plan and for the rest of one: which it is, where another comes from, what is known of
//! its use.

use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::render::rotate::OldCredential;
use gitlab_agent_core::rotate::{Goal, Journal, Kind, Stage};

use super::grant::{self, Choice};
use super::issuer::Issuer;
use super::own_rights::{has_access_tokens, role};
use super::pods::Sight;
use super::preflight::{Checked, Notes, Refusal, Wanted};
use super::resource::{Item, Resource};
use super::secret::Read;
use super::target::{Agentk, KEY, Reader, Target};
use super::works_now::{fetched_now, notified_now};
use super::{agent, find, places};
use crate::access::WriteClient;
use crate::gitlab::GitLabWriter;

pub(super) async fn of_agent(
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
        let key = sight.token_key(&read.metadata.name).filter(|key| key != KEY);
        said.against.extend(key.map(|key| {
            format!(
                "{} reads its token from key {key} of the Secret, and only key {KEY} is rotated: let it read {KEY}",
                agentk.deployment
            )
        }));
        if wanted.begins() && sight.is_paused() {
            said.against.push(format!(
                "{} is paused, so its pods would not be replaced: kubectl -n {} rollout resume deployment/{}",
                agentk.deployment, agentk.deployment.namespace, agentk.deployment.name
            ));
        }
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

pub(super) async fn of_resource(
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
        let personal = find::personal(gitlab, target, &own, family.clone(), grant::personal_end(choice))?;
        return Ok(resumed(Issuer::Personal(personal)));
    }
    let owners = places::owners_of(gitlab, target, choice).await?;
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
        grant::fresh_grant(journal.kind, target, choice, None)
    };
    let resource =
        Resource { gitlab: gitlab.clone(), kind: journal.kind, owner, grant, form: target.form.clone() };
    Ok(resumed(Issuer::Resource(resource)))
}
