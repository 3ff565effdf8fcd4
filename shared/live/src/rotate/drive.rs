//! The loop: look, ask the core for the next action, do it, look again.

use std::time::Duration;

use gitlab_agent_core::rotate::{Action, Held, Journal, Kind, Outcome, Pods, Seen, Stage, Token, next};
use gitlab_agent_core::snapshot::{Why, WhyKind};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::deeds::{named, turn_words};
use super::secret::Read;
use super::{Ended, Event, Run, SETTLE, Stop, TROUBLES, holders, manifest, pods, preflight};
use gitlab_agent_core::rotate::Step;

/// Nothing that GitLab was asked for longer ago than this can still come about: a request waits ten seconds here, and a
/// minute on its way and in GitLab.
const RENEWAL: SignedDuration = SignedDuration::from_mins(10);

impl Run<'_> {
    pub(super) async fn drive(&self) -> Ended {
        let mut troubles = 0;
        let result = loop {
            if self.may_stop() {
                break Err(Stop(self.why_it_must_end()));
            }
            let (seen, read) = match self.look().await {
                Ok(seen) => seen,
                Err(why) => {
                    troubles += 1;
                    if troubles >= TROUBLES || matches!(why.kind, WhyKind::SignIn | WhyKind::Forbidden) {
                        let text = format!("{}: {}", why.asked, why.message);
                        self.last.borrow_mut().trouble = Some(why);
                        break Err(Stop(text));
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            troubles = 0;
            self.last.borrow_mut().journal =
                seen.journal.clone().or_else(|| self.last.borrow().journal.clone());
            self.note(&seen);
            if let Some(journal) = &seen.journal {
                let name = journal.token_name();
                let ours = |t: &&Token| Some(t.id) == journal.new_token || t.name == name;
                self.last.borrow_mut().left = seen.tokens.iter().find(ours).map(|t| t.id);
            }
            let action = next(&seen, &self.memory.borrow(), self.options.goal);
            match action {
                Action::Done(outcome) => break Ok(outcome),
                Action::Stop(text) => break Err(Stop(text)),
                action => {
                    let begun = Instant::now();
                    if action == Action::Verify
                        && let Some(since) = self.waiting.take()
                    {
                        let text =
                            format!("all pods of {} started since", holders::names(&self.target.readers));
                        (self.tell)(Event { step: Step::RollOut, text, took: since.elapsed() });
                    }
                    match self.act(&action, &read).await {
                        Ok(Some(text)) => {
                            (self.tell)(Event { step: action.step(), text, took: begun.elapsed() })
                        }
                        Ok(None) => {}
                        Err(stop) => break Err(stop),
                    }
                }
            }
        };
        let mut ended = self.ended(result).await;
        if let Some(words) = self.rescue().await {
            ended.why = Some(ended.why.map_or(words.clone(), |why| format!("{why}. {words}")));
        }
        ended.why = ended.why.map(|why| self.client.mask(&why));
        ended
    }

    /// Takes note of what was seen; looks at GitLab's lists count only with a pause between them.
    fn note(&self, seen: &Seen) {
        let mut memory = self.memory.borrow_mut();
        if self.paused.get().elapsed() >= SETTLE {
            memory.lists.pause();
            self.paused.set(Instant::now());
        }
        memory.look(seen);
        if memory.in_hand.is_none() {
            self.hand.take();
        }
    }

    /// The value of a token that took the place of a dead one, and could not be written: it is in nothing but this process.
    async fn rescue(&self) -> Option<String> {
        self.issuer.family()?;
        let content = self.hand.borrow_mut().take()?;
        let place = &self.target.secret;
        let id = self.last.borrow().journal.as_ref().map(|j| j.id.clone()).unwrap_or_default();
        let read = place.read(self.client, &place.name).await.ok().flatten().unwrap_or_default();
        match manifest::rescue(place, &read, &content, &id) {
            Ok(file) => Some(format!(
                "THE NEW TOKEN IS IN NOTHING BUT THE FILE {}, readable by you alone: apply it (kubectl apply --server-side \
                 --force-conflicts -f …), then delete it",
                file.display()
            )),
            Err(error) => Some(format!(
                "THE NEW TOKEN'S VALUE IS LOST: no file could be written either ({error:#}). --resume has GitLab renew it once \
                 more"
            )),
        }
    }

    /// What is left behind is asked of the Secret itself.
    async fn ended(&self, result: Result<Outcome, Stop>) -> Ended {
        let place = &self.target.secret;
        let left = place.read(self.client, &place.name).await.ok().flatten().and_then(|r| r.journal);
        let known = left.clone().or_else(|| self.last.borrow().journal.clone());
        let journal = known.as_ref();
        let lost = self.memory.borrow().began && left.is_none() && result.is_err();
        let named = match journal.filter(|_| lost) {
            Some(journal) => Some(self.left_behind(journal).await),
            None => None,
        };
        let last = self.last.borrow();
        let memory = self.memory.borrow();
        let turned = memory.turned.as_ref().map(|turn| turn_words(turn, last.said.as_deref()));
        let (outcome, why, midway) = match result {
            Ok(outcome) => (Some(outcome), turned, false),
            Err(Stop(text)) => {
                let text = named.map_or(text.clone(), |named| format!("{text}; {named}"));
                (None, Some(text), left.is_some() || memory.began)
            }
        };
        Ended {
            outcome,
            why,
            midway,
            lost,
            kind: last.trouble.as_ref().map(|why| why.kind),
            old_token: journal.and_then(|j| j.old_token),
            new_token: match outcome {
                Some(Outcome::Abandoned) => last.left,
                _ => journal.and_then(|j| j.new_token),
            },
            id: journal.map(|j| j.id.clone()),
            verified: last.verified.clone(),
            proven: last.proven.clone(),
        }
    }

    /// What a rotation whose journal is gone may have left: nothing else knows of it.
    async fn left_behind(&self, journal: &Journal) -> String {
        let revoked = journal.old_token.is_some_and(|old| self.memory.borrow().lists.has_revoked(old));
        let place = &self.target.secret;
        let backup = journal.backup_name(&place.name);
        let kind = self.issuer.kind().word();
        let new = journal
            .new_token
            .map(|id| format!("{kind} {id} \"{}\", which this rotation made", journal.token_name()));
        if let (true, Some(old)) = (revoked, journal.old_token) {
            let new = new.unwrap_or_default();
            return format!(
                "{kind} {old} is revoked already, and what works is {new}: where the Secret does not hold that value, write \
                 a new one into it"
            );
        }
        let is_kept = place.exists(self.client, &backup).await.unwrap_or(true);
        let kept = is_kept.then(|| format!("Secret {}/{backup}, which keeps the old value", place.namespace));
        let all: Vec<String> = new.into_iter().chain(kept).collect();
        format!("look for {}, and revoke and remove what nobody uses", all.join(" and for "))
    }

    /// It was asked to end.
    pub(super) fn must_end(&self) -> bool {
        self.signals.told().is_some() || self.options.deadline.is_some_and(|at| Instant::now() >= at)
    }

    /// It was asked to end, and may.
    fn may_stop(&self) -> bool {
        self.must_end() && self.memory.borrow().may_stop()
    }

    pub(super) fn why_it_must_end(&self) -> String {
        match self.signals.told() {
            Some(signal) => format!("it was interrupted ({})", signal.name()),
            None => "the time was over (--timeout)".to_owned(),
        }
    }

    async fn look(&self) -> Result<(Seen, Read), Why> {
        let place = &self.target.secret;
        let missing = |what: String| Why::new(WhyKind::Unreadable, what, "it is not there any more");
        let read = place.read(self.client, &place.name).await?;
        let read = read.ok_or_else(|| missing(format!("get secret {}/{}", place.namespace, place.name)))?;
        let (mut backup, mut stray) = (false, None);
        if let Some(journal) = &read.journal {
            let name = journal.backup_name(&place.name);
            let kept = place.read(self.client, &name).await?;
            backup = kept.is_some();
            let other = kept.filter(|kept| !kept.is_kept_for(journal)).map(|_| {
                format!(
                    "Secret {name} is not what the journal says that this rotation kept: somebody changed one of them. {}",
                    journal.tokens_in_words()
                )
            });
            stray = preflight::stray(journal, self.issuer, &read)
                .or(other)
                .or_else(|| self.half_applied(journal, &read));
        }
        let tokens = self.issuer.tokens().await?;
        let pods = self.pods(&read).await?;
        let asked_at = read.journal.as_ref().and_then(|j| j.renewing_at);
        let renewal_is_over = asked_at.is_some_and(|at| Timestamp::now().duration_since(at) > RENEWAL);
        let seen = Seen {
            renewal_is_over,
            journal: read.journal.clone(),
            held: read.held(),
            uid: read.uid.clone(),
            named: named(&read).filter(|_| self.issuer.kind() == Kind::AgentToken),
            stray,
            backup,
            tokens,
            pods,
        };
        Ok((seen, read))
    }

    /// An owner that has written the new password and not yet the user name that goes with it: that is nobody else's value.
    fn half_applied(&self, journal: &Journal, read: &Read) -> Option<String> {
        let mark = self.target.form.mark(&journal.id, read)?;
        let holds_new = journal.new_mark.as_deref() == Some(mark.fingerprint());
        (journal.stage == Stage::Handed && read.held() == Held::Other && holds_new).then(|| {
            format!(
                "Secret {} holds the new password, and beside it another user name than the manifest: have its owner apply the \
                 whole manifest, then --finish",
                self.target.secret.name
            )
        })
    }

    /// The pods that read the Secret at their start, in relation to what it holds.
    async fn pods(&self, read: &Read) -> Result<Pods, Why> {
        let Some(journal) = &read.journal else { return Ok(Pods::Current) };
        let mut each = Vec::new();
        let mut behind = Vec::new();
        for agentk in self.target.agentks() {
            let missing = || {
                let asked = format!("get {}", agentk.deployment);
                Why::new(WhyKind::Unreadable, asked, "it is not there any more")
            };
            let sight = pods::Sight::look(self.client, &agentk.deployment).await?.ok_or_else(missing)?;
            let pods = sight.pods(&journal.mark(), read.changed_at);
            if pods == Pods::Behind {
                behind.push(agentk.deployment.clone());
            }
            each.push(pods);
        }
        self.behind.replace(behind);
        Ok(match (Pods::all(each), self.stuck.borrow().as_ref()) {
            (Pods::Current, _) => Pods::Current,
            (_, Some(why)) => Pods::Stuck(why.clone()),
            (pods, None) => pods,
        })
    }
}
