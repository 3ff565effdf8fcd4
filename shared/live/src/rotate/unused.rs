//! The last look before a revoke: whether anything else holds or uses what is revoked.

use std::time::Duration;

use gitlab_agent_core::rotate::journal::ANNOTATION;
use gitlab_agent_core::rotate::mark::Mark;
use gitlab_agent_core::rotate::{Journal, Kind, Proof, Stage};
use jiff::Timestamp;
use tokio::time::Instant;

use super::agent::{self, Listing};
use super::copies::Sought;
use super::holders::Holders;
use super::issuer::Issuer;
use super::keys::Keys;
use super::secret::{Read, fingerprint_of};
use super::{Run, identify};
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

/// For how long a credential of a kind is watched: as long as GitLab may take to show a use of it.
pub fn usual_watch(kind: Kind) -> Duration {
    match kind {
        Kind::AgentToken => AGENT_USE,
        Kind::AccessToken => ACCESS_USE,
        // GitLab shows no use of the others.
        Kind::DeployToken | Kind::DeployKey | Kind::PersonalToken => Duration::ZERO,
    }
}

/// When the last known reader had moved over, and what GitLab knew then of the use of the one that it left.
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
    /// Takes note that all known readers work with the new one; on the way back, with the old one.
    pub(super) async fn moved(&self, journal: &Journal) {
        if self.moved.get().is_some() {
            return;
        }
        let left = match journal.stage {
            Stage::Written => journal.old_token,
            Stage::Undo => journal.new_token,
            _ => None,
        };
        let Some(id) = left else { return };
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

    /// Whether nothing was seen to hold or use this token, which is revoked next: on the way forward, on the way back, and of
    /// one whose value nobody is known to have.
    pub(super) async fn unused(&self, journal: &Journal, id: u64) -> Proof {
        let back = journal.new_token == Some(id);
        let place = &self.target.secret;
        let backup = journal.backup_name(&place.name);
        let read = match place.read(self.client, &place.name).await {
            Ok(read) => read.unwrap_or_default(),
            Err(why) => {
                return Proof::Open(format!(
                    "nothing was revoked, because who else holds it cannot be seen: {}: {}",
                    why.asked, why.message
                ));
            }
        };
        if let Err(proof) = self.not_the_secrets(journal, &read, id).await {
            return proof;
        }
        if !back && journal.old_token != Some(id) {
            return self.never_used(id).await;
        }
        if let Some(known) = &journal.owners {
            let new: Vec<String> = self.writers(&read).into_iter().filter(|o| !known.contains(o)).collect();
            if !new.is_empty() {
                let what =
                    format!("{} writes the Secret by now, and would give it another value", new.join(", "));
                return sign(back, &what, "see what value it writes");
            }
        }
        let sought = self.sought(journal, &backup, back).await;
        let own = [place.name.as_str(), backup.as_str()];
        let holders = Holders::look(self.client, self.target, sought.as_ref(), &read, &own).await;
        let left = holders.left_behind(&format!("Secret {}/{}", place.namespace, place.name));
        let nobody_wrote = journal.owners.as_ref().is_some_and(Vec::is_empty);
        if nobody_wrote && !holders.writers.is_empty() {
            let what = format!(
                "{} writes the Secret by now, and would give it another value",
                super::holders::names(&holders.writers)
            );
            return sign(back, &what, "see what value it writes");
        }
        if !left.is_empty() {
            let value = if back { "value from before" } else { "new value" };
            return sign(back, &left.join("; "), &format!("give each the {value}, or take it away"));
        }
        if !holders.silent.is_empty() {
            return Proof::Open(format!(
                "nothing was revoked, because who else holds it is not known: {}",
                holders.silent.join("; ")
            ));
        }
        let mut unseen = holders.unseen;
        if sought.is_none() {
            unseen.push("copies of it, which the journal does not tell how to recognize".to_owned());
        }
        if !unseen.is_empty() && !self.options.allow_unseen {
            return Proof::Open(format!(
                "nothing was revoked, because who else holds it cannot be seen: {}; {} --allow-unseen-holders goes on without",
                unseen.join("; "),
                again(back)
            ));
        }
        // That a pod started since does not prove what it read: a kubelet may have given it a value of before.
        let watch = usual_watch(self.issuer.kind());
        if let Issuer::Agent(keys) = self.issuer
            && let Err(proof) = self.only_ours(keys, journal).await
        {
            return proof;
        }
        // Backwards too: the Secret held the new one for a while, and whoever was told that both work may have passed it on.
        self.stays_unused(id, back, self.options.watch_old.unwrap_or(watch)).await
    }

    /// The journal lies where others write. What GitLab shows of a credential tells whether the Secret holds the one that is
    /// revoked, and whether the value that was kept is the one that is called the old one. An agent's token shows nothing.
    async fn not_the_secrets(&self, journal: &Journal, read: &Read, id: u64) -> Result<(), Proof> {
        let Issuer::Resource(resource) = self.issuer else { return Ok(()) };
        let open = |text: String| Proof::Open(format!("nothing was revoked: {text}"));
        let asked = |why: String| {
            open(format!("whether the Secret holds {} {id} is not known ({why})", resource.kind.word()))
        };
        let is_there = identify::holds(resource, read, id).await.map_err(|fault| asked(fault.to_string()))?;
        if is_there == Some(true) {
            return Err(open(format!(
                "the Secret holds {} {id}, which the journal calls the one to be revoked. {}. See what is there in GitLab and in \
                 the Secret, then take the annotation {ANNOTATION} away",
                resource.kind.word(),
                journal.tokens_in_words()
            )));
        }
        // Asking an access token what it is would be a use of the old one.
        if journal.old_token != Some(id) || resource.kind == Kind::AccessToken || journal.no_return {
            return Ok(());
        }
        let place = &self.target.secret;
        let name = journal.backup_name(&place.name);
        let kept = place
            .read(self.client, &name)
            .await
            .map_err(|why| asked(format!("{}: {}", why.asked, why.message)))?;
        let Some(kept) = kept else { return Ok(()) };
        match identify::holds(resource, &kept, id).await.map_err(|fault| asked(fault.to_string()))? {
            Some(false) => Err(open(format!(
                "the value that Secret {name} keeps is not that of {} {id}, which the journal calls the old one. {}",
                resource.kind.word(),
                journal.tokens_in_words()
            ))),
            Some(true) | None => Ok(()),
        }
    }

    /// A token that was made and given to nobody was never used; one that was is in use somewhere, and the journal is older
    /// than that.
    async fn never_used(&self, id: u64) -> Proof {
        match self.last_use(id).await {
            Ok(LastUse::At(None) | LastUse::Gone) => Proof::Yes(format!("token {id} was given to nobody")),
            Ok(LastUse::At(Some(at))) => Proof::Open(format!(
                "nothing was revoked: token {id} bears the name of this rotation, whose journal says that nobody has its value, and \
                 GitLab saw it used at {at:.0}. The journal is older than that: a backup or an apply may have brought it back. See \
                 which token the Secret and its readers hold, then take the annotation {ANNOTATION} away"
            )),
            Err(why) => Proof::Open(format!(
                "nothing was revoked, because whether token {id} is used is not known ({why})"
            )),
        }
    }

    /// What is looked for: by its mark, and while the value from before is kept, by that.
    async fn sought(&self, journal: &Journal, backup: &str, back: bool) -> Option<Sought> {
        let mark = if back { &journal.new_mark } else { &journal.old_mark };
        let mark = Mark::known(&journal.id, mark.as_ref()?);
        let kept =
            if back { None } else { self.target.secret.read(self.client, backup).await.ok().flatten() };
        let kept = kept.filter(|kept| fingerprint_of(&journal.id, &kept.values) == journal.old_fingerprint);
        Some(Sought { mark, value: kept.and_then(|kept| self.target.form.secret_part(&kept)) })
    }

    /// Whether GitLab lists connections of nothing but pods of ours. Where its list tells nothing, or lists pods that are gone for
    /// longer than they should be (a clone of this cluster would have pods of their names), the last use has to tell.
    async fn only_ours(&self, keys: &Keys, journal: &Journal) -> Result<(), Proof> {
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
                            journal.stage == Stage::Undo,
                            &format!(
                                "{what}, which is no pod of what takes part here: another cluster, or another Deployment, runs with \
                                 the same token"
                            ),
                            "register an agent of its own for it; a pod that is gone GitLab forgets within 20 minutes",
                        ));
                    }
                    Listing::OnlyOurs => return Ok(()),
                    Listing::Lingering(_) if begun.elapsed() > REGISTERED || self.must_end() => {
                        return Ok(());
                    }
                    Listing::Lingering(pods) => format!("GitLab lists {} still", pods.join(", ")),
                    Listing::Unknown => "GitLab lists no connection of the pods that are here".to_owned(),
                },
                Err(fault) => fault.to_string(),
            };
            if begun.elapsed() > REGISTERED || self.must_end() {
                return match self.options.allow_unseen {
                    true => Ok(()),
                    false => Err(Proof::Open(format!(
                        "nothing was revoked, because whether another cluster uses the token is not known ({why}); --resume \
                         --allow-unseen-holders goes by its last use alone"
                    ))),
                };
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether GitLab saw no use of a token since the last known reader moved over, for as long as a use may take to show.
    async fn stays_unused(&self, id: u64, back: bool, watch: Duration) -> Proof {
        let telling = matches!(self.issuer.kind(), Kind::AgentToken | Kind::AccessToken);
        if !telling {
            return Proof::Yes(format!(
                "nothing else in this cluster holds it; when a {} was last used GitLab does not tell",
                self.issuer.kind().word()
            ));
        }
        let mut told = false;
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
                    back,
                    &format!(
                        "GitLab saw token {id} used at {at:.0}, after all that is known here had moved over"
                    ),
                    "find out what uses it and give it a credential of its own",
                );
            }
            if !told && watch > PAUSE {
                told = true;
                let text = format!(
                    "watching token {id} for {} s, because GitLab shows a use late; both work",
                    watch.as_secs()
                );
                crate::cli::note(&text);
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

/// The flag that goes on in this direction.
fn again(back: bool) -> &'static str {
    if back { "--rollback" } else { "--resume" }
}

/// A sign of life: it is said whose, and how to go on.
fn sign(back: bool, what: &str, how: &str) -> Proof {
    let again = again(back);
    Proof::No(format!(
        "nothing was revoked, both credentials work: {what}. First {how}; then {again}. {again} --revoke-anyway revokes it all the \
         same"
    ))
}
