//! The last look before a revoke: whether anything else holds or uses what is revoked.

use std::time::Duration;

use gitlab_agent_core::rotate::holders::Mark;
use gitlab_agent_core::rotate::{Journal, Kind, Proof, Stage};
use jiff::Timestamp;
use tokio::time::Instant;

use super::Run;
use super::agent::{self, Listing};
use super::holders::Holders;
use super::issuer::Issuer;
use super::keys::Keys;
use crate::gitlab::FaultKind;

/// How often is looked.
const PAUSE: Duration = Duration::from_secs(2);
/// A new pod is listed by GitLab within seconds (kas registers it when it connects).
const REGISTERED: Duration = Duration::from_secs(30);
/// kas asks GitLab of a token every five minutes at most: so late a use is shown (research of GitLab's
/// `track_usage_service.rb`), with a margin.
const AGENT_USE: Duration = Duration::from_secs(330);
/// The use of an access token is noted every ten minutes at most (GitLab, "Personal access tokens"), with a margin.
const ACCESS_USE: Duration = Duration::from_secs(630);

/// When the last known reader had moved over, and what GitLab knew then of the old one's use.
#[derive(Clone, Copy)]
pub(super) struct Moved {
    since: Instant,
    used: Option<Timestamp>,
}

/// What GitLab says of a token's use.
enum LastUse {
    /// When; none where it does not tell, or never was.
    At(Option<Timestamp>),
    /// There is no such token any more.
    Gone,
}

impl Run<'_> {
    /// Takes note that all known readers work with the new one.
    pub(super) async fn moved(&self, journal: &Journal) {
        if self.moved.get().is_some() || journal.stage != Stage::Written {
            return;
        }
        let Some(id) = journal.old_token else { return };
        // Where GitLab does not answer now, the last look asks again, and a later use is no sign then.
        if let Ok(LastUse::At(used)) = self.last_use(id).await {
            self.moved.set(Some(Moved { since: Instant::now(), used }));
        }
    }

    /// When GitLab saw a token used last. One that is revoked is not shown by its number, also where a list lags.
    async fn last_use(&self, id: u64) -> Result<LastUse, String> {
        match self.issuer {
            Issuer::Agent(keys) => match keys.one(id).await {
                Ok(token) => Ok(LastUse::At(token.last_used_at)),
                Err(fault) if fault.kind == FaultKind::NotFound => Ok(LastUse::Gone),
                Err(fault) => Err(fault.to_string()),
            },
            _ if self.issuer.kind() == Kind::AccessToken => {
                let item = self.issuer.access_token(id).await.map_err(|f| f.to_string())?;
                Ok(item.map_or(LastUse::Gone, |t| LastUse::At(t.last_used_at)))
            }
            _ => Ok(LastUse::At(None)),
        }
    }

    /// Whether nothing else was seen to hold or use what is revoked next.
    pub(super) async fn unused(&self, journal: &Journal) -> Proof {
        let back = journal.stage == Stage::Undo;
        let mark = if back { &journal.new_mark } else { &journal.old_mark };
        let mark = mark.as_ref().map(|fingerprint| Mark::known(&journal.id, fingerprint));
        let place = &self.target.secret;
        let backup = journal.backup_name(&place.name);
        let holders = Holders::look(self.client, self.target, mark.as_ref(), &[&place.name, &backup]).await;
        let left = holders.left_behind(&format!("Secret {}/{}", place.namespace, place.name));
        if !left.is_empty() {
            return sign(&left.join("; "), "give each the new value, or take it away");
        }
        if !holders.unseen.is_empty() && !self.options.allow_unseen {
            return Proof::Open(format!(
                "nothing was revoked, because who else holds it cannot be seen: {}; --resume --allow-unseen-holders goes on \
                 without",
                holders.unseen.join("; ")
            ));
        }
        if back {
            return Proof::Yes("nothing else holds it".to_owned());
        }
        let mut watch = if self.issuer.kind() == Kind::AccessToken { ACCESS_USE } else { Duration::ZERO };
        if let Issuer::Agent(keys) = self.issuer {
            match self.only_ours(keys, journal).await {
                Ok(true) => {}
                // Without the list only the last use tells.
                Ok(false) => watch = AGENT_USE,
                Err(proof) => return proof,
            }
        }
        self.stays_unused(journal, self.options.watch_old.unwrap_or(watch)).await
    }

    /// Whether GitLab lists connections of nothing but pods of ours; `false` where its list tells nothing.
    async fn only_ours(&self, keys: &Keys, journal: &Journal) -> Result<bool, Proof> {
        let begun = Instant::now();
        loop {
            let why = match agent::listing(self.client, keys, self.target.agentks(), &journal.pods).await {
                Ok(listing) => match listing {
                    Listing::Foreign(pods) => {
                        let what = format!(
                            "GitLab lists a connection of agent {} with {}",
                            keys.name,
                            pods.join(", ")
                        );
                        return Err(sign(
                            &format!(
                                "{what}, which is no pod of this cluster: another cluster runs with the same token"
                            ),
                            "register an agent of its own for it; a pod that is gone GitLab forgets within 20 minutes",
                        ));
                    }
                    Listing::OnlyOurs => return Ok(true),
                    Listing::Unknown => "GitLab lists no connection of the pods that are here".to_owned(),
                },
                Err(fault) => fault.to_string(),
            };
            if begun.elapsed() > REGISTERED || self.must_end() {
                return match self.options.allow_unseen {
                    true => Ok(false),
                    false => Err(Proof::Open(format!(
                        "nothing was revoked, because whether another cluster uses the token is not known ({why}); --resume \
                         --allow-unseen-holders goes by its last use alone"
                    ))),
                };
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether GitLab saw no use of the old one since the last known reader moved over, for as long as a use may take to show.
    async fn stays_unused(&self, journal: &Journal, watch: Duration) -> Proof {
        let Some(id) = journal.old_token else { return Proof::Yes("nothing else holds it".to_owned()) };
        let telling = matches!(self.issuer.kind(), Kind::AgentToken | Kind::AccessToken);
        if !telling {
            return Proof::Yes(format!(
                "nothing else in this cluster holds it; when a {} was last used GitLab does not tell",
                self.issuer.kind().word()
            ));
        }
        loop {
            let used = match self.last_use(id).await {
                Ok(LastUse::At(used)) => used,
                Ok(LastUse::Gone) => return Proof::Yes(format!("token {id} is revoked already")),
                Err(why) => {
                    return Proof::Open(format!(
                        "nothing was revoked, because whether token {id} is used still is not known ({why})"
                    ));
                }
            };
            let moved = self.moved.get().unwrap_or(Moved { since: Instant::now(), used });
            self.moved.set(Some(moved));
            if used != moved.used
                && let Some(at) = used
            {
                return sign(
                    &format!(
                        "GitLab saw token {id} used at {at:.0}, after all that is known here had moved to the new one"
                    ),
                    "find out what uses it and give it a credential of its own",
                );
            }
            if moved.since.elapsed() >= watch {
                return Proof::Yes(format!(
                    "nothing else holds token {id}, and GitLab saw no use of it since"
                ));
            }
            if self.must_end() {
                return Proof::Open(format!(
                    "nothing was revoked: {}, and a use of token {id} may take {} s to show",
                    self.why_it_must_end(),
                    watch.as_secs()
                ));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// A sign of life: it is said whose, and how to go on.
fn sign(what: &str, how: &str) -> Proof {
    Proof::No(format!(
        "nothing was revoked, both credentials work: {what}. First {how}; then --resume. --resume --revoke-anyway revokes it all \
         the same"
    ))
}
