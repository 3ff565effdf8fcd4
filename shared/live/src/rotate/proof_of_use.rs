//! Proof that what the Secret holds works, by what reads it, and that it stays there.

use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::rotate::owner::{Metadata, owners};
use gitlab_agent_core::rotate::{Held, Journal, Proof};

use super::ask::Asked;
use super::issuer::Issuer;
use super::target::{Fetcher, Reader};
use super::{Run, secret};

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
                Asked::Failed { why, .. } => {
                    return Proof::No(format!("{object} is not fetched with it: {why}"));
                }
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
                // Whether what it made is healthy is not the question: it has had its turn.
                Asked::Done | Asked::Failed { applied: true, .. } => done.push(object.to_string()),
                Asked::Failed { why, applied: false } | Asked::Open(why) => {
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
