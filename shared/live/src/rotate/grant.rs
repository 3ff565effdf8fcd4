//! What the new one may do and how long it lives: as the old one, as the person says, and enough for its use.

use gitlab_agent_core::facts::protection::{DEVELOPER, StatusRole, role_name};
use gitlab_agent_core::rotate::Kind;
use jiff::{SignedDuration, Timestamp};

use super::find::refused;
use super::form::Form;
use super::places::of_notifier;
use super::preflight::Refusal;
use super::resource::{Grant, Item};
use super::target::{Fetcher, Reader, Target};
use crate::gitlab::GitLabWriter;
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

/// What to make where the old one's kind does not tell.
pub(super) fn wanted(target: &Target, choice: &Choice) -> Result<Kind, Refusal> {
    let kind = match (&target.reader, &target.form) {
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

/// What setting statuses takes, over all projects that the Providers write to.
pub(super) struct StatusNeed {
    /// The highest role of those that are known.
    pub(super) role: StatusRole,
    /// Why that may not be all.
    pub(super) unknown: Option<String>,
}

/// The role that setting a status takes. Branches count in their own project only.
pub(super) async fn status_need(gitlab: &GitLabWriter, target: &Target) -> Result<StatusNeed, Refusal> {
    let mut need = StatusNeed { role: StatusRole::Unknown, unknown: None };
    let Reader::Providers(notifiers) = &target.reader else { return Ok(need) };
    let instance = gitlab.read.host().to_string();
    for notifier in notifiers {
        let Some(path) = of_notifier(gitlab, &instance, notifier).await? else {
            need.unknown = Some(format!("{} names no project of {instance}", notifier.object));
            continue;
        };
        let project = gitlab.read.project(&path).await?.project;
        let mut branches = notifier.branches.clone();
        if branches.is_empty() {
            need.unknown = Some(format!("on which branch of {path} a status is set is not known"));
            branches.extend(project.default_branch.clone());
        }
        match protection(&gitlab.read, &project, &branches).await {
            Ok(rules) => need.role = stricter(need.role, StatusRole::of(&branches, &rules)),
            Err(fault) => need.unknown = Some(fault.to_string()),
        }
    }
    Ok(need)
}

fn stricter(one: StatusRole, other: StatusRole) -> StatusRole {
    match (one, other) {
        (StatusRole::Least(a), StatusRole::Least(b)) => StatusRole::Least(a.max(b)),
        (nobody @ StatusRole::Nobody(_), _) | (_, nobody @ StatusRole::Nobody(_)) => nobody,
        (known, StatusRole::Unknown) | (StatusRole::Unknown, known) => known,
    }
}

/// The least role that a token needs to set statuses, where it is known; a choice below it is refused, because GitLab would
/// refuse the first status and the rotation would go back.
pub(super) fn enough(statuses: &StatusRole, choice: &Choice) -> Result<Option<u32>, Refusal> {
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

/// The same powers as the old one, and a life as long. Of one that notifies only the scope that this takes, and no role
/// below the one that GitLab asks for: the old bot may be allowed by name what the new one is allowed by its role.
pub(super) fn same_grant(kind: Kind, item: &Item, choice: &Choice, notifies: Option<u32>) -> Grant {
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
pub(super) fn lifetime(kind: Kind, item: &Item) -> Option<SignedDuration> {
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
pub(super) fn end(
    kind: Kind,
    life: Option<SignedDuration>,
    choice: &Choice,
    now: Timestamp,
) -> Option<String> {
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
