//! Where a new credential takes the old one's place: from what the old one is.

use gitlab_agent_core::facts::protection::{DEVELOPER, StatusRole};
use gitlab_agent_core::rotate::Kind;
use jiff::Timestamp;

use super::grant::{Choice, end, enough, fresh_grant, lifetime, same_grant, status_need, wanted};
use super::identify::{Old, identify};
use super::issuer::Issuer;
use super::personal::Personal;
use super::places::{Places, above, opened, projects};
use super::preflight::Refusal;
use super::resource::{Grant, Item, Owner, Resource};
use super::secret::Read;
use super::target::{Reader, Target};
use crate::gitlab::{Custom, GitLabWriter, Own};

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

/// What is left of an old one that another does not take the place of.
struct Stays {
    /// What it is, and why it stays.
    kept: Option<(String, String)>,
    notes: Vec<String>,
}

/// What is known by the time that it is decided where the new one is made.
struct Ground<'a> {
    gitlab: &'a GitLabWriter,
    target: &'a Target,
    choice: &'a Choice,
    /// The first project, with the groups above it.
    first: &'a Places,
    /// All projects that the readers name.
    opened: Vec<String>,
    statuses: StatusRole,
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
    let Some(first) = places.first() else {
        return Err(refused("nothing that reads this Secret names a project of this GitLab"));
    };
    if choice.in_place.is_some() {
        return match old {
            Old::Personal(item) => in_place(gitlab, target, *item, choice).await,
            Old::Listed(..) | Old::Hidden(..) | Old::Doubtful(_) | Old::Unknown => Err(refused(
                "--in-place is for a person's token, and the Secret holds none that works: what belongs to a project or group \
                 is made beside the old one",
            )),
        };
    }
    // Also where the person names one of them.
    let (opened, _) = opened(gitlab, target).await?;
    let statuses = status_need(gitlab, target).await?.role;
    let ground = Ground { gitlab, target, choice, first, opened, statuses };
    match old {
        Old::Listed(owner, kind, item) if ground.replaces(kind) => ground.beside(&owner, kind, *item).await,
        old => ground.anew(old).await,
    }
}

impl Ground<'_> {
    fn notifies(&self) -> bool {
        matches!(self.target.reader, Reader::Providers(_))
    }

    /// Whether another of the kind is made, in the place where the old one is.
    fn replaces(&self, kind: Kind) -> bool {
        let useless = self.notifies() && kind == Kind::DeployToken;
        self.choice.make.is_none_or(|make| make == kind) && !useless
    }

    /// What is made opens one project.
    fn one_project(&self) -> Result<(), Refusal> {
        match self.opened.len() {
            0 | 1 => Ok(()),
            n => Err(refused(format!(
                "it opens {n} projects ({}), and a credential of one project does not: give each its own Secret",
                self.opened.join(", ")
            ))),
        }
    }

    async fn found(&self, owner: &Owner, kind: Kind, grant: Grant) -> Found {
        let (gitlab, form) = (self.gitlab.clone(), self.target.form.clone());
        Found {
            issuer: Issuer::Resource(Resource { gitlab, kind, owner: owner.clone(), grant, form }),
            old: None,
            kept: None,
            may: rights(self.gitlab, self.first, owner, kind).await,
            notes: Vec::new(),
        }
    }

    /// Another of the same kind, beside the old one.
    async fn beside(&self, owner: &Owner, kind: Kind, item: Item) -> Result<Found, Refusal> {
        // A key may be enabled in several projects; what is made is of one.
        if owner.path.starts_with("projects/") {
            self.one_project()?;
        }
        let enough = || Ok::<_, Refusal>(enough(&self.statuses, self.choice)?.unwrap_or(DEVELOPER));
        let least = if self.notifies() { Some(enough()?) } else { None };
        let grant = same_grant(kind, &item, self.choice, least);
        let mut found = self.found(owner, kind, grant).await;
        if kind == Kind::AccessToken {
            found.notes.push(
                "each access token has a bot user of its own: what names the old bot (protected branches, approval rules) must \
                 name the new one"
                    .to_owned(),
            );
        }
        Ok(Found { old: Some(item), ..found })
    }

    /// One of the project, where the old one is of another kind or place, or not known.
    async fn anew(&self, old: Old) -> Result<Found, Refusal> {
        let Stays { kept, notes } = self.stays(old)?;
        self.one_project()?;
        let kind = wanted(self.target, self.choice)?;
        let grant = fresh_grant(kind, self.target, self.choice, enough(&self.statuses, self.choice)?);
        let found = self.found(&self.first.owners[0], kind, grant).await;
        Ok(Found { kept, notes, ..found })
    }

    /// What the old one is and why it stays, and what is worth knowing; where the old one does not prove which project the new
    /// one may open, only on a person's word.
    fn stays(&self, old: Old) -> Result<Stays, Refusal> {
        let named = self.choice.project.is_some();
        let project = &self.first.project.path_with_namespace;
        let elsewhere = |what: &str| {
            refused(format!(
                "{what}: that the new one may open {project} is not proven by the old one, and the cluster's word for it is not \
                 enough. Name the project yourself: --project {project}"
            ))
        };
        let kept = |title: String, why: String| Stays { kept: Some((title, why)), notes: Vec::new() };
        let noted = |note: String| Ok(Stays { kept: None, notes: vec![note] });
        match old {
            Old::Listed(_, kind, item) => Ok(kept(
                item.title(kind),
                format!(
                    "{} is of another kind, and others may use it: revoke it in GitLab once nobody does",
                    item.title(kind)
                ),
            )),
            Old::Personal(item) if named => {
                let why = "it is a person's, and may be used elsewhere: its owner revokes it (Edit profile > Access > \
                           Personal access tokens)";
                Ok(kept(item.title(Kind::PersonalToken), why.to_owned()))
            }
            Old::Personal(item) => Err(elsewhere(&format!(
                "it holds {}, which others may use too. A credential of the project can take its place, or its owner has it \
                 renewed by GitLab with --in-place and its name; for the first",
                item.title(Kind::PersonalToken),
            ))),
            Old::Hidden(item, bot) if named => {
                let why =
                    format!("it is of {}, whose tokens you may not read: its Owners revoke it", of_bot(&bot));
                Ok(kept(item.title(Kind::AccessToken), why))
            }
            Old::Hidden(item, bot) => Err(elsewhere(&format!(
                "it holds {}, of {}: you may not read its tokens, which takes the role Maintainer in a project and Owner in a \
                 group. Whoever has it there can rotate it, or a credential of the project takes its place; for that",
                item.title(Kind::AccessToken),
                of_bot(&bot),
            ))),
            Old::Doubtful(why) if named => noted(format!("{why}; nothing old is revoked")),
            Old::Doubtful(why) => Err(elsewhere(&why)),
            Old::Unknown if named => noted(
                "which credential the Secret holds now GitLab does not show: it is not revoked".to_owned(),
            ),
            Old::Unknown => Err(elsewhere(
                "which credential of GitLab it holds is not known: it may be dead, or of a group or person that your token does \
                 not see",
            )),
        }
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

/// Whether the person may make and revoke credentials of a kind in a place: Maintainer in a project, Owner in a group, or a
/// custom role that allows it.
async fn rights(gitlab: &GitLabWriter, place: &Places, owner: &Owner, kind: Kind) -> Option<bool> {
    let group: Option<u64> = owner.path.strip_prefix("groups/").and_then(|id| id.parse().ok());
    let own = gitlab.read.own_token().await.ok().and_then(|own| own.user_id);
    let by_role = match (group, own) {
        (Some(group), Some(user)) => gitlab.read.owns_group(group, user).await,
        (Some(_), None) => None,
        (None, _) => gitlab.read.maintains(&place.project).await,
    };
    let custom = match kind {
        Kind::DeployToken => Some(Custom::DeployTokens),
        Kind::AccessToken if group.is_some() => Some(Custom::GroupTokens),
        Kind::AccessToken => Some(Custom::ProjectTokens),
        _ => None,
    };
    match (by_role, custom, own) {
        (Some(true), ..) | (_, None, _) | (_, _, None) => by_role,
        (_, Some(custom), Some(user)) => {
            let allowed = gitlab.read.custom_role_allows(&owner.path, user, custom).await;
            if allowed == Some(true) { allowed } else { by_role }
        }
    }
}

pub(super) fn refused(text: impl Into<String>) -> Refusal {
    Refusal::Refused(vec![text.into()])
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
    Ok(Personal { gitlab, user, name, expires_at: expires_at.unwrap_or_default(), form: target.form.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bots_place_is_in_its_name() {
        assert_eq!(of_bot("group_12_bot_0af"), "the group with number 12");
        assert_eq!(of_bot("project_7_bot"), "the project with number 7");
        assert_eq!(of_bot("ghost"), "bot ghost");
        assert_eq!(of_bot("group_x_bot"), "bot group_x_bot");
    }
}
