//! Proof that a token sets commit statuses: GitLab saw it used, nothing was refused, and it has the right to set one, or did.

use std::collections::BTreeMap;
use std::time::Duration;

use gitlab_agent_core::facts::protection::{DEVELOPER, StatusRole, role_name};
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::rotate::{Journal, Proof, Stage};
use gitlab_agent_core::snapshot::{Why, mask};
use serde::Deserialize;
use tokio::time::Instant;

use super::ask::Asked;
use super::grant::status_need;
use super::issuer::Issuer;
use super::preflight::Refusal;
use super::resource::Item;
use super::target::Notifier;
use super::{Run, places, pods};
use crate::access::segment;
use crate::act::path;

/// How long notification-controller may take to say that a notification was refused, after GitLab saw the token.
const SETTLE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_secs(1);

/// What notification-controller says of notifications that were not delivered, by the Event's number and version. An Event that
/// is told again has another version, so clocks of two machines are not compared.
type Refusals = BTreeMap<(String, String), String>;

/// What is known of a token's right to set a status.
#[derive(Debug, PartialEq, Eq)]
enum Right {
    /// Its role and scope are enough on every branch.
    Has,
    /// It lacks something.
    Lacks(String),
    /// GitLab does not tell; why.
    Unknown(String),
}

impl Run<'_> {
    /// What the Alerts cover is asked to reconcile, which makes a notification; GitLab must have seen the new token used,
    /// by which nobody but notification-controller can have used it, and no notification may have been refused.
    pub(super) async fn notifies(&self, notifiers: &[Notifier], journal: &Journal) -> Proof {
        let before = match self.refusals(notifiers).await {
            Ok(before) => before,
            Err(why) => return unseen(&why),
        };
        for notifier in notifiers {
            let Some(object) = notifier.proof.first() else {
                return Proof::Open(format!(
                    "nothing was revoked, because {} sends nothing now",
                    notifier.object
                ));
            };
            // A failed reconciliation is notified as well.
            if let Asked::Open(why) = self.ask(object).await {
                return Proof::Open(format!(
                    "nothing was revoked, because no notification was seen: {object}: {why}"
                ));
            }
        }
        let back = journal.stage == Stage::Undo;
        let Some(id) = journal.new_token.filter(|_| !back) else {
            // What was there before is there again; GitLab does not say anew that it is used.
            return self
                .none_refused(notifiers, &before, "no notification was refused since".to_owned())
                .await;
        };
        self.used_by_notifications(notifiers, id, &before).await
    }

    async fn used_by_notifications(&self, notifiers: &[Notifier], id: u64, before: &Refusals) -> Proof {
        let since = Instant::now();
        let mut seen = format!("GitLab saw no use of token {id}");
        let mut known = None;
        while since.elapsed() < self.options.verify_timeout && !self.must_end() {
            match self.refused_since(notifiers, before).await {
                Ok(Some(why)) => return Proof::No(why),
                Ok(None) => {}
                Err(why) => return unseen(&why),
            }
            match self.issuer.access_token(id).await {
                Ok(Some(item)) => {
                    let right = match known.take() {
                        Some(right) => right,
                        None => self.right(&item).await,
                    };
                    match (known.insert(right), item.last_used_at) {
                        (Right::Lacks(lack), _) => {
                            return Proof::No(format!(
                                "token {id} {lack}, which setting a commit status needs"
                            ));
                        }
                        (_, None) => {}
                        (Right::Has, Some(at)) => {
                            let text = format!(
                                "notification-controller used token {id} at {at:.0}, and no notification was refused since"
                            );
                            return self.none_refused(notifiers, before, text).await;
                        }
                        // It was used to look, and whether it may write is not known: only a status that it set tells.
                        (Right::Unknown(why), Some(_)) => match self.status_set_by(notifiers, &item).await {
                            Some(text) => return self.none_refused(notifiers, before, text).await,
                            None => {
                                seen = format!(
                                    "token {id} was used, but set no commit status yet, and whether it may is not known: {why}"
                                );
                            }
                        },
                    }
                }
                // GitLab's lists lag: one that was just made may not be shown yet.
                Ok(None) => seen = format!("GitLab does not show token {id} (yet)"),
                Err(fault) => seen = fault.to_string(),
            }
            tokio::time::sleep(PAUSE).await;
        }
        Proof::Open(format!(
            "nothing was revoked, because it was not seen within {} s that the new token sets a commit status ({seen})",
            self.options.verify_timeout.as_secs()
        ))
    }

    /// Whether a token may set a status on every branch, as far as GitLab tells now.
    async fn right(&self, item: &Item) -> Right {
        let resource = match self.issuer {
            Issuer::Resource(resource) => resource,
            // It acts for the person that the one before it acted for, with the same scopes.
            Issuer::Personal(_) => return right_of_successor(item),
            Issuer::Agent(_) => return Right::Lacks("is an agent's".to_owned()),
        };
        match status_need(&resource.gitlab, self.target).await {
            Ok(need) => right_of(item, &need.role, need.unknown),
            Err(Refusal::Refused(why) | Refusal::Denied(why)) => Right::Unknown(why.join("; ")),
            Err(Refusal::Unreachable(why) | Refusal::Usage(why)) => Right::Unknown(why),
        }
    }

    /// A commit status that the token's own bot set on what was reconciled last, for each Provider.
    async fn status_set_by(&self, notifiers: &[Notifier], item: &Item) -> Option<String> {
        #[derive(Deserialize)]
        struct Status {
            #[serde(default)]
            author: Option<Author>,
        }
        #[derive(Deserialize)]
        struct Author {
            id: u64,
        }
        let Issuer::Resource(resource) = self.issuer else { return None };
        let (gitlab, bot) = (&resource.gitlab, item.user_id?);
        let instance = gitlab.read.host().to_string();
        let mut set = Vec::new();
        for notifier in notifiers {
            let project = places::of_notifier(gitlab, &instance, notifier).await.ok()??;
            let commit = self.commit_of(notifier.proof.first()?).await?;
            let asked = format!("commit statuses of {commit} in {project}");
            let of =
                format!("/projects/{}/repository/commits/{}/statuses", segment(&project), segment(&commit));
            let all = gitlab.read.get_all::<Status>(&of, &asked).await.ok()?;
            all.items.iter().find(|s| s.author.as_ref().is_some_and(|author| author.id == bot))?;
            set.push(format!("token {} set a commit status on {commit} in {project}", item.id));
        }
        (!set.is_empty()).then(|| set.join("; "))
    }

    /// The commit that an object applied last: the end of `main@sha1:…`.
    async fn commit_of(&self, object: &ObjectRef) -> Option<String> {
        #[derive(Deserialize)]
        struct Applied {
            #[serde(default)]
            status: Status,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Status {
            last_attempted_revision: String,
        }
        let applied = pods::get::<Applied>(self.client, &path(object), object).await.ok()??;
        let (_, commit) = applied.status.last_attempted_revision.rsplit_once(':')?;
        commit.chars().all(|c| c.is_ascii_hexdigit()).then(|| commit.to_owned())
    }

    /// The proof, unless something was refused by the time that it would have been said.
    async fn none_refused(&self, notifiers: &[Notifier], before: &Refusals, proof: String) -> Proof {
        tokio::time::sleep(SETTLE).await;
        match self.refused_since(notifiers, before).await {
            Ok(Some(why)) => Proof::No(why),
            Ok(None) => Proof::Yes(proof),
            Err(why) => unseen(&why),
        }
    }

    /// What notification-controller says of a notification that was not delivered since then.
    async fn refused_since(&self, notifiers: &[Notifier], before: &Refusals) -> Result<Option<String>, Why> {
        let now = self.refusals(notifiers).await?;
        let new = now.into_iter().find(|(event, _)| !before.contains_key(event));
        Ok(new.map(|(_, message)| format!("a notification was not delivered: {message}")))
    }

    async fn refusals(&self, notifiers: &[Notifier]) -> Result<Refusals, Why> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Event {
            metadata: Meta,
            #[serde(default)]
            involved_object: Involved,
            #[serde(default)]
            message: String,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Meta {
            uid: String,
            resource_version: String,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Involved {
            namespace: String,
            name: String,
        }
        let namespace = &self.target.secret.namespace;
        let of = format!(
            "/api/v1/namespaces/{}/events?fieldSelector={}",
            segment(namespace),
            segment("reason=NotificationDispatchFailed")
        );
        let asked = format!("list events in namespace {namespace}");
        let events = pods::list::<Event>(self.client, &of, &asked, "Event").await?.unwrap_or_default();
        let about = |event: &Event| {
            let mut alerts = notifiers.iter().flat_map(|n| &n.alerts);
            let of = &event.involved_object;
            alerts.any(|alert| (&alert.namespace, &alert.name) == (&of.namespace, &of.name))
        };
        let one = |event: Event| {
            ((event.metadata.uid, event.metadata.resource_version), mask::free_text(&event.message))
        };
        Ok(events.into_iter().filter(about).map(one).collect())
    }
}

fn unseen(why: &Why) -> Proof {
    Proof::Open(format!(
        "nothing was revoked, because whether a notification was refused cannot be seen: {}: {}",
        why.asked, why.message
    ))
}

/// What GitLab put in the place of a person's token has that one's rights.
fn right_of_successor(item: &Item) -> Right {
    match right_of(item, &StatusRole::Least(DEVELOPER), None) {
        Right::Unknown(_) if !item.scopes.is_empty() => Right::Has,
        right => right,
    }
}

/// Whether a token's scope and role are enough. What GitLab does not tell is no proof either way.
fn right_of(item: &Item, least: &StatusRole, unknown: Option<String>) -> Right {
    if !item.scopes.is_empty() && !item.scopes.iter().any(|s| s == "api") {
        return Right::Lacks(format!("has the scope {} and not api", item.scopes.join(" ")));
    }
    let needs = match least {
        StatusRole::Least(role) => *role,
        StatusRole::Nobody(_) | StatusRole::Unknown => DEVELOPER,
    };
    match (item.access_level, least) {
        (Some(level), _) if level < needs => Right::Lacks(format!("has the role {}", role_name(level))),
        (_, StatusRole::Nobody(branch)) => {
            Right::Unknown(format!("branch {branch} is protected, and no role may push or merge to it"))
        }
        _ if item.scopes.is_empty() => Right::Unknown("GitLab does not show its scopes".to_owned()),
        (None, _) => Right::Unknown("GitLab does not show its role".to_owned()),
        (Some(_), StatusRole::Unknown) => Right::Unknown(
            unknown.unwrap_or_else(|| "how its branch is protected GitLab does not show".to_owned()),
        ),
        (Some(_), StatusRole::Least(_)) => unknown.map_or(Right::Has, Right::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_of_every_branch_is_a_right() {
        let least = StatusRole::Least;
        let unknown = |text: &str| Some(text.to_owned());
        let nobody = || StatusRole::Nobody("main".to_owned());
        for (scopes, level, role, not_known, has, lacks) in [
            (vec!["api"], Some(30), least(30), None, true, false),
            (vec!["api"], Some(40), least(40), None, true, false),
            (vec!["api", "read_api"], Some(50), least(40), None, true, false),
            (vec!["api"], Some(30), least(40), None, false, true),
            (vec!["api"], Some(20), StatusRole::Unknown, None, false, true),
            (vec!["read_api"], Some(40), least(30), None, false, true),
            (vec!["api"], Some(40), StatusRole::Unknown, unknown("403"), false, false),
            (vec!["api"], Some(40), StatusRole::Unknown, None, false, false),
            (vec!["api"], Some(40), least(30), unknown("another project's is not shown"), false, false),
            (vec!["api"], None, least(30), None, false, false),
            (vec![], Some(40), least(30), None, false, false),
            (vec!["api"], Some(50), nobody(), None, false, false),
        ] {
            let scopes = scopes.into_iter().map(str::to_owned).collect();
            let item = Item { scopes, access_level: level, ..Item::default() };
            let right = right_of(&item, &role, not_known);
            assert_eq!(
                (right == Right::Has, matches!(right, Right::Lacks(_))),
                (has, lacks),
                "{item:?} {role:?}"
            );
        }
    }
}
