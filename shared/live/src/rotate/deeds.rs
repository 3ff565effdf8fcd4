//! What is done: one action each, sent once.

use std::time::Duration;

use gitlab_agent_core::rotate::journal::{ANNOTATION, HOLD, TOKEN_ID};
use gitlab_agent_core::rotate::{Action, Held, Journal, Kind, Outcome, Proof, Stage, Turn};
use gitlab_agent_core::snapshot::Why;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::secret::{Change, Content, Read, fingerprint_of};
use super::{Run, SETTLE, Stop, TROUBLES, holders, pods};
use crate::gitlab::FaultKind;

impl Run<'_> {
    /// Does one thing. Text is for people; none where there is nothing to tell.
    pub(super) async fn act(&self, action: &Action, read: &Read) -> Result<Option<String>, Stop> {
        if !self.lock.is_held() {
            return Err(Stop("the lock could not be renewed".to_owned()));
        }
        match (action, &read.journal) {
            (Action::Journal, _) => self.journal(read).await,
            (Action::Wait, _) => self.wait().await,
            (Action::Settle, _) => {
                tokio::time::sleep(SETTLE).await;
                Ok(None)
            }
            (Action::Adopt, _) => self.adopt(read).await,
            (_, None) => Err(Stop("the journal is gone".to_owned())),
            (Action::TakeOver, Some(j)) => {
                let run = self.memory.borrow().run.clone();
                let done = self.edit(read, &Journal { run, ..j.clone() }, None, json!({})).await?;
                self.memory.borrow_mut().began |= done;
                Ok(done.then(|| format!("goes on with rotation {}, which {} began", j.id, j.who)))
            }
            (Action::TurnBack(turn), Some(j)) => {
                let done =
                    self.edit(read, &Journal { stage: Stage::Undo, ..j.clone() }, None, json!({})).await?;
                if done {
                    self.turned();
                    self.memory.borrow_mut().turned = Some(turn.clone());
                }
                let said = self.last.borrow().said.clone();
                Ok(done.then(|| format!("goes back: {}", turn_words(turn, said.as_deref()))))
            }
            (Action::GoForward, Some(j)) => {
                let forward = Journal { stage: Stage::Written, by_hand: false, ..j.clone() };
                let done = self.edit(read, &forward, None, token_id(j)).await?;
                if done {
                    self.turned();
                }
                let owner = j.stage == Stage::Handed;
                let text =
                    if owner { "the Secret holds the new value" } else { "the way back is closed; goes on" };
                Ok(done.then(|| text.to_owned()))
            }
            (Action::StartOver(keep), Some(j)) => self.start_over(read, j, *keep).await,
            (Action::Create, Some(j)) => self.create(read, j).await,
            (Action::Intend(id), Some(j)) => self.intend(read, j, *id).await,
            (Action::Renew(id), Some(_)) => self.renew(read, *id).await,
            (Action::RevokeOrphan(id), _) => self.revoke(*id, "whose value nobody has").await,
            (Action::Revoke(id), _) => self.revoke(*id, "which is no longer needed").await,
            (Action::Backup, Some(j)) => self.back_up(read, j).await,
            (Action::Write, Some(j)) => self.write(read, j).await,
            (Action::HandOver, Some(j)) => self.hand_over(read, j).await,
            (Action::Deliver, Some(j)) => self.deliver(read, j),
            (Action::Restore, Some(j)) => self.restore(read, j).await,
            (Action::Restart, Some(j)) => self.restart(j).await,
            (Action::Verify, Some(j)) => {
                let proof = self.works(j).await;
                if matches!(proof, Proof::Yes(_)) {
                    self.moved(j).await;
                }
                Ok(self.proof(proof, true))
            }
            (Action::Prove, Some(_)) => {
                let proof = self.prove(read).await;
                Ok(self.proof(proof, false))
            }
            (Action::Survey(id), Some(j)) => {
                let proof = self.unused(j, *id).await;
                let text = if let Proof::Yes(text) = &proof { Some(text.clone()) } else { None };
                self.memory.borrow_mut().alone = Some((*id, proof));
                Ok(text)
            }
            (Action::RemoveBackup, Some(j)) => {
                let place = &self.target.secret;
                let name = j.backup_name(&place.name);
                let change = place.remove(self.client, &name).await;
                // Gone is as good as removed.
                let gone = matches!(change, Change::Refused(_))
                    && !place.exists(self.client, &name).await.unwrap_or(true);
                if gone {
                    Ok(None)
                } else {
                    self.settle(change).await.map(|done| done.then(|| format!("Secret {name} removed")))
                }
            }
            (Action::RemoveJournal(outcome), Some(j)) => {
                let place = &self.target.secret;
                let mut annotations = json!({ANNOTATION: null});
                if j.hold && *outcome == Outcome::Undone {
                    annotations[HOLD] = Value::Null;
                }
                // Whoever put the old value back left the number of the new one.
                if j.kind == Kind::AgentToken && read.held() == Held::Old && !j.no_return {
                    annotations[TOKEN_ID] = j.old_token.map_or(Value::Null, |id| id.to_string().into());
                }
                // What somebody else wrote is neither of them.
                let known = [j.old_token, j.new_token].contains(&named(read));
                if *outcome == Outcome::Abandoned && named(read).is_some() && known {
                    annotations[TOKEN_ID] = Value::Null;
                }
                self.memory.borrow_mut().outcome = Some(*outcome);
                let change = place.change(self.client, read, annotations, None).await;
                self.settle(change).await?;
                Ok(None)
            }
            (Action::Done(_) | Action::Stop(_), _) => Ok(None),
        }
    }

    pub(super) fn turned(&self) {
        let mut memory = self.memory.borrow_mut();
        memory.forget_proofs();
        memory.in_hand = None;
        self.hand.take();
        self.stuck.take();
        self.restarts.set(0);
        self.moved.set(None);
        self.waiting.set(None);
    }

    fn proof(&self, proof: Proof, works: bool) -> Option<String> {
        let mut memory = self.memory.borrow_mut();
        let mut last = self.last.borrow_mut();
        let text = match &proof {
            Proof::Yes(text) => Some(text.clone()),
            Proof::No(_) | Proof::Open(_) => None,
        };
        if works {
            last.verified.clone_from(&text);
            memory.verified = Some(proof);
        } else {
            last.proven.clone_from(&text);
            memory.proven = Some(proof);
        }
        text
    }

    async fn create(&self, read: &Read, j: &Journal) -> Result<Option<String>, Stop> {
        self.memory.borrow_mut().creations += 1;
        let by = format!("Made by kubectl gitlab-agent rotate-token for {}", self.options.who);
        let reason = self.options.reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default();
        let description = format!("{by}{reason}");
        match self.issuer.create(&j.token_name(), &description, read).await {
            Ok((id, content)) => {
                self.hand.replace(Some(content));
                self.in_hand_now(id);
                Ok(Some(format!("{} {id} of {}", self.issuer.kind().word(), self.issuer.place_words())))
            }
            Err(fault) => {
                self.last.borrow_mut().said = Some(fault.to_string());
                if fault.may_have_happened() || fault.kind == FaultKind::Unreachable {
                    self.memory.borrow_mut().lists.may_hide();
                }
                match fault.kind {
                    FaultKind::Limited | FaultKind::Unreachable => {
                        tokio::time::sleep(Duration::from_secs(2)).await;
                    }
                    _ if fault.may_have_happened() => {}
                    _ => self.memory.borrow_mut().give_up_creating(),
                }
                Ok(None)
            }
        }
    }

    /// Writes down that GitLab is asked next.
    async fn intend(&self, read: &Read, j: &Journal, id: u64) -> Result<Option<String>, Stop> {
        let intended = Journal { renewing: Some(id), renewing_at: Some(Timestamp::now()), ..j.clone() };
        if self.edit(read, &intended, None, json!({})).await? {
            self.memory.borrow_mut().intends = Some(id);
        }
        Ok(None)
    }

    async fn renew(&self, read: &Read, id: u64) -> Result<Option<String>, Stop> {
        self.memory.borrow_mut().intends = None;
        match self.issuer.renew(id, read).await {
            Ok((new, content)) => {
                self.hand.replace(Some(content));
                self.in_hand_now(new);
                Ok(Some(format!(
                    "{} {new} is in the place of {id}, which is dead",
                    self.issuer.kind().word()
                )))
            }
            Err(fault) => {
                self.last.borrow_mut().said = Some(fault.to_string());
                if !fault.may_have_happened() {
                    let mut memory = self.memory.borrow_mut();
                    memory.give_up_creating();
                    memory.turned = Some(Turn::NotCreated);
                }
                Ok(None)
            }
        }
    }

    async fn revoke(&self, id: u64, which: &str) -> Result<Option<String>, Stop> {
        let answer = self.issuer.revoke(id).await;
        self.memory.borrow_mut().asked_to_revoke(id, answer.is_ok());
        match answer {
            Ok(()) => Ok(Some(format!("{} {id}, {which}", self.issuer.kind().word()))),
            // Whether it is gone, the next look tells.
            Err(fault)
                if fault.may_have_happened()
                    || matches!(fault.kind, FaultKind::Limited | FaultKind::Unreachable) =>
            {
                self.unsettled(fault.into()).await.map(|()| None)
            }
            Err(fault) => Err(Stop(fault.to_string())),
        }
    }

    async fn back_up(&self, read: &Read, j: &Journal) -> Result<Option<String>, Stop> {
        let place = &self.target.secret;
        let name = j.backup_name(&place.name);
        let change = place.back_up(self.client, read, &name, false).await;
        self.written(change)
            .await
            .map(|done| done.then(|| format!("the value from before is kept in Secret {name}")))
    }

    async fn write(&self, read: &Read, j: &Journal) -> Result<Option<String>, Stop> {
        let Some((id, content)) = self.in_hand() else {
            return Err(Stop("the new value is lost".to_owned()));
        };
        let journal = self.given(j, Stage::Written, id, &content);
        let mut annotations = token_id(&journal);
        annotations[ANNOTATION] = journal.write().into();
        let place = &self.target.secret;
        let change = place.change(self.client, read, annotations, Some(&content)).await;
        if matches!(change, Change::Made | Change::Unknown(_)) {
            // It may be in the Secret from here on, whatever a journal of before says.
            self.memory.borrow_mut().made.clear();
        }
        let done = self.written(change).await?;
        if done {
            self.turned();
            self.memory.borrow_mut().known = Some(journal.clone());
            self.last.borrow_mut().journal = Some(journal);
        }
        Ok(done.then(|| format!("Secret {} holds {} {id}", place.name, self.issuer.kind().word())))
    }

    /// Writes down that it is handed over, before it is: a value that is with a person and not in the journal would be revoked
    /// as nobody's.
    async fn hand_over(&self, read: &Read, j: &Journal) -> Result<Option<String>, Stop> {
        let Some((id, content)) = self.in_hand() else {
            return Err(Stop("the new value is lost".to_owned()));
        };
        let journal = self.given(j, Stage::Handed, id, &content);
        if self.edit(read, &journal, None, json!({})).await? {
            self.last.borrow_mut().journal = Some(journal);
        }
        Ok(None)
    }

    /// Gives the value to a person.
    fn deliver(&self, read: &Read, j: &Journal) -> Result<Option<String>, Stop> {
        let Some((id, content)) = self.in_hand() else {
            return Err(Stop("the new value is lost".to_owned()));
        };
        let Some(manifest) = &self.options.manifest else {
            return Err(Stop("there is nowhere to hand it over to".to_owned()));
        };
        // What was written down is what is given away.
        if j.new_fingerprint != Some(fingerprint_of(&j.id, &content)) {
            return Err(Stop("the journal names another value than the one in hand".to_owned()));
        }
        match manifest.write(&self.target.secret, read, &content) {
            Ok(text) => {
                self.turned();
                self.memory.borrow_mut().delivered = Some(id);
                Ok(Some(text))
            }
            Err(error) => {
                self.memory.borrow_mut().write_refused = Some(format!("{error:#}"));
                Ok(None)
            }
        }
    }

    /// GitLab gave a value with this number.
    fn in_hand_now(&self, id: u64) {
        let mut memory = self.memory.borrow_mut();
        memory.in_hand = Some(id);
        memory.lists.made(id);
        memory.made.push(id);
    }

    /// The number and the content in hand.
    fn in_hand(&self) -> Option<(u64, Content)> {
        self.memory.borrow().in_hand.zip(self.hand.borrow().clone())
    }

    async fn restart(&self, j: &Journal) -> Result<Option<String>, Stop> {
        // One at a time, as they were seen; the next look tells which are left.
        let Some(deployment) = self.behind.borrow().first().cloned() else { return Ok(None) };
        if self.restarts.get() >= 3 * u32::try_from(self.target.agentks().len()).unwrap_or(u32::MAX) {
            let text = format!("something takes the mark off the pods of {deployment} again");
            self.stuck.replace(Some(text));
            return Ok(None);
        }
        self.waiting.set(Some(Instant::now()));
        match pods::restart(self.client, &deployment, &j.mark(), false).await {
            Change::Refused(why) => {
                self.stuck.replace(Some(why));
                Ok(None)
            }
            change => {
                let done = self.settle(change).await?;
                self.restarts.set(self.restarts.get() + u32::from(done));
                Ok(done.then(|| format!("{deployment} restarts")))
            }
        }
    }

    async fn wait(&self) -> Result<Option<String>, Stop> {
        let since = self.waiting.get().unwrap_or_else(Instant::now);
        self.waiting.set(Some(since));
        if since.elapsed() > pods::ROLLOUT {
            let readers = holders::names(&self.target.readers);
            let text = format!("the pods of {readers} were not replaced in 10 minutes");
            self.stuck.replace(Some(text));
        } else {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(None)
    }

    pub(super) async fn edit(
        &self,
        read: &Read,
        journal: &Journal,
        content: Option<&Content>,
        more: Value,
    ) -> Result<bool, Stop> {
        let mut annotations = more;
        annotations[ANNOTATION] = journal.write().into();
        let change = self.target.secret.change(self.client, read, annotations, content).await;
        self.settle(change).await
    }

    /// A change of the Secret or its backup that may be refused for good.
    async fn written(&self, change: Change) -> Result<bool, Stop> {
        if let Change::Refused(why) = change {
            self.memory.borrow_mut().write_refused = Some(why);
            return Ok(false);
        }
        self.settle(change).await
    }

    pub(super) async fn settle(&self, change: Change) -> Result<bool, Stop> {
        match change {
            Change::Made => {
                self.troubles.set(0);
                Ok(true)
            }
            Change::Conflict => Ok(false),
            Change::Refused(why) => Err(Stop(why)),
            Change::Unknown(why) => self.unsettled(why).await.map(|()| false),
        }
    }

    /// Nobody knows whether it happened: the next look tells. Not for ever.
    async fn unsettled(&self, why: Why) -> Result<(), Stop> {
        let text = format!("{}: {}", why.asked, why.message);
        self.troubles.set(self.troubles.get() + 1);
        let over = self.troubles.get() > TROUBLES;
        {
            let mut last = self.last.borrow_mut();
            last.said = Some(text.clone());
            last.trouble = over.then_some(why).or_else(|| last.trouble.take());
        }
        if over {
            return Err(Stop(text));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }
}

/// The token that the Secret's annotation names.
pub(super) fn named(read: &Read) -> Option<u64> {
    read.metadata.annotations.get(TOKEN_ID)?.trim().parse().ok()
}

/// The annotation that says which of an agent's tokens the Secret holds.
fn token_id(j: &Journal) -> Value {
    match j.new_token.filter(|_| j.kind == Kind::AgentToken) {
        Some(id) => json!({TOKEN_ID: id.to_string()}),
        None => json!({}),
    }
}

/// Why it went back, in words.
pub(super) fn turn_words(turn: &Turn, said: Option<&str>) -> String {
    match turn {
        Turn::Asked => "you asked for it".to_owned(),
        Turn::NotCreated => format!("GitLab made none ({})", said.unwrap_or("no answer")),
        Turn::NotHanded => "the new value was not handed over before it stopped".to_owned(),
        Turn::NoRoom => "the agent has two active tokens by now".to_owned(),
        Turn::NotWritten(why) => format!("it could not be written ({why})"),
        Turn::Changed => "somebody else changed the Secret".to_owned(),
        Turn::Reverted => "something gave the Secret its old value back".to_owned(),
        Turn::NewIsDead => "somebody revoked the new token".to_owned(),
        Turn::Stuck(why) | Turn::Refused(why) => why.clone(),
    }
}
