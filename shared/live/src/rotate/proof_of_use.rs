//! Proof that what the Secret holds works, by what reads it, and that it stays there.

use gitlab_agent_core::facts::protection::{DEVELOPER, role_name};
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::rotate::owner::{Metadata, owners};
use gitlab_agent_core::rotate::{Held, Journal, Proof, Stage};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::Instant;

use super::ask::Asked;
use super::issuer::Issuer;
use super::target::{Fetcher, Notifier, Reader};
use super::{Run, pods, resource, secret};
use crate::access::segment;

/// How long notification-controller may take to say that a notification was refused, after GitLab saw the token.
const SETTLE: std::time::Duration = std::time::Duration::from_secs(3);
const PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

#[derive(Deserialize)]
struct Events {
    items: Vec<gitlab_agent_core::facts::Event>,
}

impl Run<'_> {
    /// Whether what the Secret holds works.
    pub(super) async fn works(&self, journal: &Journal) -> Proof {
        match (&self.target.reader, self.issuer) {
            (Reader::Agent(agentks), Issuer::Agent(keys)) => self.connects(keys, agentks, journal).await,
            (Reader::Sources(fetchers), _) => self.fetches(fetchers).await,
            (Reader::Providers(notifiers), _) => self.notifies(notifiers, journal).await,
            (Reader::Agent(_), Issuer::Resource(_) | Issuer::Personal(_)) => {
                Proof::Open("agentk takes tokens of agents only".to_owned())
            }
        }
    }

    /// Each source is asked to fetch, and must have done so for this very request.
    async fn fetches(&self, fetchers: &[Fetcher]) -> Proof {
        let mut done = Vec::new();
        for object in fetchers.iter().flat_map(|f| &f.proof) {
            match self.ask(object).await {
                Asked::Done => done.push(object.to_string()),
                Asked::Failed(why) => return Proof::No(format!("{object} is not fetched with it: {why}")),
                Asked::Open(why) => {
                    return Proof::Open(format!(
                        "nothing was revoked, because it was not seen whether {object} is fetched with the new credential: \
                         {why}"
                    ));
                }
            }
        }
        match done.len() {
            0 => Proof::Open(
                "nothing was revoked, because nothing that reads the Secret fetches now".to_owned(),
            ),
            _ => Proof::Yes(format!("fetched just now: {}", done.join(", "))),
        }
    }

    /// What the Alerts cover is asked to reconcile, which makes a notification; GitLab must have seen the new token used,
    /// by which nobody but notification-controller can have used it, and no notification may have been refused.
    async fn notifies(&self, notifiers: &[Notifier], journal: &Journal) -> Proof {
        let begun = Timestamp::now();
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
            tokio::time::sleep(SETTLE).await;
            return match self.refused_since(notifiers, begun).await {
                Some(why) => Proof::No(why),
                None => Proof::Yes("no notification was refused since".to_owned()),
            };
        };
        self.used_by_notifications(notifiers, id, begun).await
    }

    async fn used_by_notifications(&self, notifiers: &[Notifier], id: u64, begun: Timestamp) -> Proof {
        let since = Instant::now();
        let mut seen = format!("GitLab saw no use of token {id}");
        while since.elapsed() < self.options.verify_timeout && !self.must_end() {
            if let Some(why) = self.refused_since(notifiers, begun).await {
                return Proof::No(why);
            }
            match self.issuer.access_token(id).await {
                Ok(Some(item)) => {
                    if let Some(lack) = lacks(&item) {
                        return Proof::No(format!("token {id} {lack}, which setting a commit status needs"));
                    }
                    if let Some(at) = item.last_used_at {
                        tokio::time::sleep(SETTLE).await;
                        return match self.refused_since(notifiers, begun).await {
                            Some(why) => Proof::No(why),
                            None => Proof::Yes(format!(
                                "notification-controller used token {id} at {at:.0}, and no notification was refused since"
                            )),
                        };
                    }
                }
                // GitLab's lists lag: one that was just made may not be shown yet.
                Ok(None) => seen = format!("GitLab does not show token {id} (yet)"),
                Err(fault) => seen = fault.to_string(),
            }
            tokio::time::sleep(PAUSE).await;
        }
        Proof::Open(format!(
            "nothing was revoked, because no notification was seen within {} s ({seen})",
            self.options.verify_timeout.as_secs()
        ))
    }

    /// What notification-controller says of a notification that was not delivered since then.
    async fn refused_since(&self, notifiers: &[Notifier], since: Timestamp) -> Option<String> {
        let namespace = &self.target.secret.namespace;
        let path = format!(
            "/api/v1/namespaces/{}/events?fieldSelector={}",
            segment(namespace),
            segment("reason=NotificationDispatchFailed")
        );
        let asked = format!("list events in namespace {namespace}");
        let events = pods::get::<Events>(self.client, &path, &asked).await.ok()??;
        let of = |event: &gitlab_agent_core::facts::Event| {
            let about = &event.involved_object;
            notifiers
                .iter()
                .flat_map(|n| &n.alerts)
                .any(|a| a.namespace == about.namespace && a.name == about.name)
        };
        // Times of Events have whole seconds.
        let late = |event: &gitlab_agent_core::facts::Event| {
            event.last().is_some_and(|at| at.as_second() > since.as_second())
        };
        let found = events.items.iter().find(|event| of(event) && late(event))?;
        Some(format!("a notification was not delivered: {}", self.client.mask(&found.message)))
    }

    /// Whether what the Secret holds stays: what may write it too is asked to reconcile, and the Secret read again.
    pub(super) async fn prove(&self, read: &secret::Read) -> Proof {
        // What is held off is asked too: that it leaves the Secret alone is what is to be seen.
        let bare = Metadata { annotations: Default::default(), ..read.metadata.clone() };
        let by_flux = |o: &ObjectRef| matches!(o.kind.as_str(), "Kustomization" | "HelmRelease");
        let mut asked: Vec<ObjectRef> = owners(&bare).into_iter().map(|o| o.object).filter(by_flux).collect();
        let releases = self.target.agentks().iter().filter_map(|agentk| agentk.release.as_ref());
        asked.extend(releases.filter(|(_, suspended)| !suspended).map(|(r, _)| r.clone()));
        asked.sort();
        asked.dedup();
        let mut done = Vec::new();
        for object in &asked {
            match self.ask(object).await {
                // Whether it is well is not the question: it has had its turn.
                Asked::Done | Asked::Failed(_) => done.push(object.to_string()),
                Asked::Open(why) => {
                    return Proof::Open(format!(
                        "nothing was revoked, because it could not be seen whether {object} takes the new value back: {why}"
                    ));
                }
            }
        }
        let place = &self.target.secret;
        match place.read(self.client, &place.name).await {
            Ok(Some(now)) if now.held() == Held::New => Proof::Yes(match done.len() {
                0 => "nothing is known that writes the Secret too, and it holds what it was given".to_owned(),
                _ => format!("after {} reconciled it holds what it was given", done.join(", ")),
            }),
            Ok(_) => Proof::No(format!("after {} reconciled the Secret no longer holds it", done.join(", "))),
            Err(why) => Proof::Open(format!("{}: {}", why.asked, why.message)),
        }
    }
}

/// What a token lacks to set a commit status.
fn lacks(item: &resource::Item) -> Option<String> {
    if !item.scopes.is_empty() && !item.scopes.iter().any(|s| s == "api") {
        return Some(format!("has the scope {} and not api", item.scopes.join(" ")));
    }
    item.access_level
        .filter(|level| *level < DEVELOPER)
        .map(|level| format!("has the role {}", role_name(level)))
}
