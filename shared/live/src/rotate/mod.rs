//! `rotate-token`, carried out: looks, asks [`gitlab_agent_core::rotate::next`], does that one thing, and looks again.
//!
//! It may be killed anywhere. Every change of the Secret names the version that was read; what goes to GitLab is sent
//! once, and only while the lock is held; what came of it is looked up.

mod keys;
mod lock;
mod pods;
mod preflight;
mod proof;
mod secret;
mod target;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use gitlab_agent_core::rotate::journal::{ANNOTATION, HOLD, TOKEN_ID, fingerprint};
use gitlab_agent_core::rotate::{
    Action, Goal, Journal, Memory, Outcome, Pods, Proof, Seen, Stage, Step, next,
};
use gitlab_agent_core::snapshot::{Why, WhyKind};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::access::WriteClient;
use crate::gitlab::FaultKind;

pub use keys::{Keys, Listed};
pub use preflight::{Checked, Refusal, Wanted, preflight};
pub use secret::Place;
pub use target::Target;

use lock::{Lock, NoLock};
use secret::{Change, Read};

/// How a run is carried out.
#[derive(Clone, Debug)]
pub struct Options {
    /// What was asked for.
    pub goal: Goal,
    /// Who runs it: `user@host`.
    pub who: String,
    /// When to stop at the next safe place.
    pub deadline: Option<Instant>,
    /// How long to look for proof.
    pub verify_timeout: Duration,
    /// Hold the Secret off from its Kustomization.
    pub hold: bool,
    /// Why, for the token's description and the Event.
    pub reason: Option<String>,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// The step that it belongs to.
    pub step: Step,
    /// What, in words.
    pub text: String,
    /// How long it took.
    pub took: Duration,
}

/// How it ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// How, where it came to an end.
    pub outcome: Option<Outcome>,
    /// Why it stopped, or went back.
    pub why: Option<String>,
    /// Something is left that `--resume` has to end.
    pub midway: bool,
    /// The class of what stopped it, where a server did.
    pub kind: Option<WhyKind>,
    /// The token from before.
    pub old_token: Option<u64>,
    /// The new token.
    pub new_token: Option<u64>,
    /// The rotation's id.
    pub id: Option<String>,
    /// Proof that the new token works.
    pub verified: Option<String>,
    /// Proof that it stays.
    pub proven: Option<String>,
}

/// One run.
pub(super) struct Run<'a> {
    client: &'a WriteClient,
    keys: &'a Keys,
    target: &'a Target,
    options: &'a Options,
    lock: &'a Lock<'a>,
    interrupted: &'a Cell<bool>,
    tell: &'a dyn Fn(Event),
    memory: RefCell<Memory>,
    /// The new value, until it is written.
    hand: RefCell<Option<SecretString>>,
    /// Why the pods cannot be replaced.
    stuck: RefCell<Option<String>>,
    restarts: Cell<u32>,
    /// Changes in a row of which nobody knows whether they happened.
    troubles: Cell<u32>,
    waiting: Cell<Option<Instant>>,
    last: RefCell<Last>,
}

/// What the end is told from.
#[derive(Default)]
struct Last {
    journal: Option<Journal>,
    trouble: Option<Why>,
    said: Option<String>,
    verified: Option<String>,
    proven: Option<String>,
}

/// Why the loop ends without an outcome.
struct Stop(String);

/// How often in a row a server may fail before it is left alone.
const TROUBLES: u32 = 5;

/// Carries a rotation out, or the rest of one.
pub async fn run(
    client: &WriteClient,
    keys: &Keys,
    target: &Target,
    options: &Options,
    tell: &dyn Fn(Event),
) -> Ended {
    let name = match random() {
        Ok(name) => name,
        Err(text) => return Ended::nothing(text, None),
    };
    let holder = format!("{} {name}", options.who);
    let lock = Lock::new(client, target.namespace(), &target.secret.name, holder);
    let interrupted = Cell::new(false);
    let begun = Instant::now();
    let patience = if options.goal == Goal::Rotate { Duration::ZERO } else { Duration::from_secs(120) };
    let wait = |holder: &str| {
        let text = format!("{holder} holds the lock; it is taken over when it is not renewed for 30 s");
        tell(Event { step: Step::Lock, text, took: begun.elapsed() });
    };
    match lock.take(patience, &wait).await {
        Ok(()) => {}
        Err(NoLock::Held(who)) => {
            let text = format!("{who} is at work on Secret {} (Lease {})", target.secret.name, lock.name);
            return Ended::nothing(text, None);
        }
        Err(NoLock::Refused(text)) => return Ended::nothing(text, Some(WhyKind::Forbidden)),
        Err(NoLock::Trouble(why)) => {
            return Ended::nothing(format!("{}: {}", why.asked, why.message), Some(why.kind));
        }
    }
    tell(Event {
        step: Step::Lock,
        text: format!("Lease {}/{}", target.namespace(), lock.name),
        took: begun.elapsed(),
    });
    let run = Run {
        client,
        keys,
        target,
        options,
        lock: &lock,
        interrupted: &interrupted,
        tell,
        memory: RefCell::new(Memory { run: name, ..Memory::default() }),
        hand: RefCell::default(),
        stuck: RefCell::default(),
        restarts: Cell::new(0),
        troubles: Cell::new(0),
        waiting: Cell::default(),
        last: RefCell::default(),
    };
    let ended = tokio::select! {
        ended = run.drive() => ended,
        () = lock.keep() => unreachable!("the lock is kept for ever"),
        () = listen(&interrupted) => unreachable!("signals are listened to for ever"),
    };
    lock.release().await;
    if let Some(id) = &ended.id {
        leave_event(client, target, id, &ended, options).await;
    }
    ended
}

/// Leaves an Event on the Deployment. Who may not write one loses nothing by it.
async fn leave_event(client: &WriteClient, target: &Target, id: &str, ended: &Ended, options: &Options) {
    let Ok(Some(sight)) = pods::Sight::look(client, &target.deployment).await else { return };
    let (kind, what) = match ended.outcome {
        Some(Outcome::Rotated) => ("Normal", "rotated"),
        Some(Outcome::Nothing) => return,
        Some(_) => ("Warning", "undone"),
        None => ("Warning", "stopped midway"),
    };
    let tokens = [("old", ended.old_token), ("new", ended.new_token)];
    let tokens: String =
        tokens.iter().filter_map(|(name, id)| id.map(|id| format!(", {name} token {id}"))).collect();
    let reason = options.reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default();
    let now = Timestamp::now();
    let event = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"generateName": "gitlab-agent-cli-", "namespace": target.namespace()},
        "involvedObject": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": target.namespace(),
            "name": target.deployment.name, "uid": sight.deployment.metadata.uid},
        "reason": "TokenRotation", "type": kind,
        "message": format!("rotation {id} {what} by {}{tokens}{reason}", options.who),
        "source": {"component": crate::access::FIELD_MANAGER}, "count": 1,
        "firstTimestamp": format!("{now:.0}"), "lastTimestamp": format!("{now:.0}"),
    });
    let path = format!("/api/v1/namespaces/{}/events", crate::access::segment(target.namespace()));
    let _ = client.create(&path, &event, "leave an Event").await;
}

/// Takes Ctrl-C and termination as a request to stop at the next safe place.
async fn listen(interrupted: &Cell<bool>) {
    loop {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut term), Ok(mut hang)) =
                (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
            else {
                return std::future::pending().await;
            };
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = term.recv() => {}
                _ = hang.recv() => {}
            }
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
        interrupted.set(true);
        crate::cli::note("stopping at the next safe place");
    }
}

/// A new name for a rotation or a process.
fn random() -> Result<String, String> {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut bytes = [0_u8; 10];
    getrandom::fill(&mut bytes).map_err(|e| format!("the system gives no random numbers: {e}"))?;
    Ok(bytes.iter().map(|b| char::from(DIGITS[usize::from(b % 32)])).collect())
}

impl Ended {
    fn nothing(why: String, kind: Option<WhyKind>) -> Self {
        Self {
            outcome: None,
            why: Some(why),
            midway: false,
            kind,
            old_token: None,
            new_token: None,
            id: None,
            verified: None,
            proven: None,
        }
    }
}

impl Run<'_> {
    async fn drive(&self) -> Ended {
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
            let action = next(&seen, &self.memory.borrow(), self.options.goal);
            match action {
                Action::Done(outcome) => break Ok(outcome),
                Action::Stop(text) => break Err(Stop(text)),
                action => {
                    let begun = Instant::now();
                    if action == Action::Verify
                        && let Some(since) = self.waiting.take()
                    {
                        let text = format!("all pods of {} started since", self.target.deployment);
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
        self.ended(result).await
    }

    /// What is left behind is asked of the Secret itself.
    async fn ended(&self, result: Result<Outcome, Stop>) -> Ended {
        let place = &self.target.secret;
        let left = place.read(self.client, &place.name).await.ok().flatten().and_then(|r| r.journal);
        let last = self.last.borrow();
        let memory = self.memory.borrow();
        let journal = left.as_ref().or(last.journal.as_ref());
        let turned = memory.turned.as_ref().map(|turn| turn_words(turn, last.said.as_deref()));
        let (outcome, why, midway) = match result {
            Ok(outcome) => (Some(outcome), turned, false),
            Err(Stop(text)) => (None, Some(text), left.is_some() || memory.began),
        };
        Ended {
            outcome,
            why,
            midway,
            kind: last.trouble.as_ref().map(|why| why.kind),
            old_token: journal.and_then(|j| j.old_token),
            new_token: journal.and_then(|j| j.new_token),
            id: journal.map(|j| j.id.clone()),
            verified: last.verified.clone(),
            proven: last.proven.clone(),
        }
    }

    /// It was asked to end.
    pub(super) fn must_end(&self) -> bool {
        self.interrupted.get() || self.options.deadline.is_some_and(|at| Instant::now() >= at)
    }

    /// It was asked to end, and no value is in hand that would be lost.
    fn may_stop(&self) -> bool {
        self.must_end() && self.memory.borrow().in_hand.is_none()
    }

    fn why_it_must_end(&self) -> String {
        if self.interrupted.get() { "it was interrupted" } else { "the time was over (--timeout)" }.to_owned()
    }

    async fn look(&self) -> Result<(Seen, Read), Why> {
        let place = &self.target.secret;
        let missing = |what: String| Why::new(WhyKind::Unreadable, what, "it is not there any more");
        let read = place.read(self.client, &place.name).await?;
        let read = read.ok_or_else(|| missing(format!("get secret {}/{}", place.namespace, place.name)))?;
        let backup = match &read.journal {
            Some(journal) => place.exists(self.client, &journal.backup_name(&place.name)).await?,
            None => false,
        };
        let tokens = self.keys.tokens().await?;
        let sight = pods::Sight::look(self.client, &self.target.deployment).await?;
        let sight = sight.ok_or_else(|| missing(format!("get {}", self.target.deployment)))?;
        let pods = match (&read.journal, self.stuck.borrow().as_ref()) {
            (None, _) => Pods::Current,
            (Some(journal), stuck) => match (sight.pods(&journal.mark(), read.changed_at), stuck) {
                (Pods::Current, _) => Pods::Current,
                (_, Some(why)) => Pods::Stuck(why.clone()),
                (pods, None) => pods,
            },
        };
        let seen = Seen { journal: read.journal.clone(), held: read.held(), backup, tokens, pods };
        Ok((seen, read))
    }

    /// Does one thing. Text is for people; none where there is nothing to tell.
    async fn act(&self, action: &Action, read: &Read) -> Result<Option<String>, Stop> {
        if !self.lock.is_held() {
            return Err(Stop("the lock could not be renewed".to_owned()));
        }
        match (action, &read.journal) {
            (Action::Journal, _) => self.journal(read).await,
            (Action::Wait, _) => self.wait().await,
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
                let done =
                    self.edit(read, &Journal { stage: Stage::Written, ..j.clone() }, None, json!({})).await?;
                if done {
                    self.turned();
                }
                Ok(done.then(|| "the way back is closed; goes on".to_owned()))
            }
            (Action::StartOver(keep), Some(j)) => self.start_over(read, j, *keep).await,
            (Action::Create, Some(j)) => self.create(j).await,
            (Action::RevokeOrphan(id), _) => self.revoke(*id, "whose value nobody has").await,
            (Action::Revoke(id), _) => self.revoke(*id, "which is no longer needed").await,
            (Action::Backup, Some(j)) => self.back_up(read, j).await,
            (Action::Write, Some(j)) => self.write(read, j).await,
            (Action::Restore, Some(j)) => self.restore(read, j).await,
            (Action::Restart, Some(j)) => self.restart(j).await,
            (Action::Verify, Some(j)) => {
                let proof = self.verify(j).await;
                Ok(self.proof(proof, true))
            }
            (Action::Prove, Some(_)) => {
                let proof = self.prove(read).await;
                Ok(self.proof(proof, false))
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
                let change = place.change(self.client, read, annotations, None).await;
                let done = self.settle(change).await?;
                if done {
                    self.memory.borrow_mut().outcome = Some(*outcome);
                }
                Ok(None)
            }
            (Action::Done(_) | Action::Stop(_), _) => Ok(None),
        }
    }

    fn turned(&self) {
        let mut memory = self.memory.borrow_mut();
        memory.forget_proofs();
        memory.in_hand = None;
        self.hand.take();
        self.stuck.take();
        self.restarts.set(0);
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

    async fn journal(&self, read: &Read) -> Result<Option<String>, Stop> {
        let id = random().map_err(Stop)?;
        let Some(value) = &read.value else {
            return Err(Stop(format!(
                "Secret {} has no key {}",
                self.target.secret.name, self.target.secret.key
            )));
        };
        let tokens = self.keys.tokens().await.map_err(|f| Stop(f.to_string()))?;
        if tokens.len() > 1 {
            return Err(Stop("the agent has two active tokens by now".to_owned()));
        }
        let journal = Journal {
            old_fingerprint: fingerprint(&id, value.expose_secret()),
            id,
            run: self.memory.borrow().run.clone(),
            stage: Stage::Create,
            old_token: tokens.first().map(|t| t.id),
            new_token: None,
            new_fingerprint: None,
            no_return: false,
            hold: self.options.hold,
            started_at: Timestamp::now(),
            who: self.options.who.clone(),
        };
        // In the same change, so that the owner cannot come in between.
        let hold = if journal.hold { json!({HOLD: "disabled"}) } else { json!({}) };
        let done = self.edit(read, &journal, None, hold).await?;
        self.memory.borrow_mut().began |= done;
        Ok(done.then(|| format!("rotation {}, on Secret {}", journal.id, self.target.secret.name)))
    }

    async fn start_over(&self, read: &Read, j: &Journal, keep: Option<u64>) -> Result<Option<String>, Stop> {
        let Some(value) = &read.value else { return Err(Stop("the Secret has lost its key".to_owned())) };
        let journal = Journal {
            stage: Stage::Create,
            old_token: keep,
            old_fingerprint: fingerprint(&j.id, value.expose_secret()),
            new_token: None,
            new_fingerprint: None,
            no_return: true,
            ..j.clone()
        };
        let done = self.edit(read, &journal, None, json!({})).await?;
        if done {
            self.turned();
        }
        Ok(done.then(|| "what the Secret holds is dead: another token is made".to_owned()))
    }

    async fn create(&self, j: &Journal) -> Result<Option<String>, Stop> {
        self.memory.borrow_mut().creations += 1;
        let by = format!("Made by kubectl gitlab-agent rotate-token for {}", self.options.who);
        let reason = self.options.reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default();
        let description: String = format!("{by}{reason}").chars().take(1000).collect();
        match self.keys.create(&j.token_name(), &description).await {
            Ok((id, value)) => {
                self.hand.replace(Some(value));
                self.memory.borrow_mut().in_hand = Some(id);
                Ok(Some(format!("token {id} of agent {}", self.keys.name)))
            }
            Err(fault) => {
                self.last.borrow_mut().said = Some(fault.to_string());
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

    async fn revoke(&self, id: u64, which: &str) -> Result<Option<String>, Stop> {
        match self.keys.revoke(id).await {
            Ok(()) => Ok(Some(format!("token {id}, {which}"))),
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
        let (id, journal, annotations) = {
            let hand = self.hand.borrow();
            let (Some(id), Some(value)) = (self.memory.borrow().in_hand, hand.as_ref()) else {
                return Err(Stop("the new value is lost".to_owned()));
            };
            let journal = Journal {
                stage: Stage::Written,
                new_token: Some(id),
                new_fingerprint: Some(fingerprint(&j.id, value.expose_secret().as_bytes())),
                ..j.clone()
            };
            let annotations = json!({ANNOTATION: journal.write(), TOKEN_ID: id.to_string()});
            (id, journal, annotations)
        };
        let value = self.hand.borrow().as_ref().map(|v| v.expose_secret().to_owned());
        let Some(value) = value.map(SecretString::from) else { return Ok(None) };
        let place = &self.target.secret;
        let change =
            place.change(self.client, read, annotations, Some(value.expose_secret().as_bytes())).await;
        let done = self.written(change).await?;
        if done {
            self.turned();
            self.last.borrow_mut().journal = Some(journal);
        }
        Ok(done.then(|| format!("Secret {} holds token {id}", place.name)))
    }

    async fn restore(&self, read: &Read, j: &Journal) -> Result<Option<String>, Stop> {
        let place = &self.target.secret;
        let name = j.backup_name(&place.name);
        let kept = place.read(self.client, &name).await;
        let kept = kept.map_err(|why| Stop(format!("{}: {}", why.asked, why.message)))?.and_then(|r| r.value);
        let fits = |v: &&secrecy::SecretSlice<u8>| fingerprint(&j.id, v.expose_secret()) == j.old_fingerprint;
        let Some(value) = kept.as_ref().filter(fits) else {
            return Err(Stop(format!("Secret {name} does not hold the value from before")));
        };
        let mut annotations = json!({ANNOTATION: j.write()});
        annotations[TOKEN_ID] = j.old_token.map_or(Value::Null, |id| id.to_string().into());
        let change = place.change(self.client, read, annotations, Some(value.expose_secret())).await;
        let done = self.settle(change).await?;
        if done {
            self.turned();
        }
        Ok(done.then(|| format!("Secret {} holds the value from before", place.name)))
    }

    async fn restart(&self, j: &Journal) -> Result<Option<String>, Stop> {
        if self.restarts.get() >= 3 {
            let text = format!("something takes the mark off the pods of {} again", self.target.deployment);
            self.stuck.replace(Some(text));
            return Ok(None);
        }
        self.waiting.set(Some(Instant::now()));
        match pods::restart(self.client, &self.target.deployment, &j.mark(), false).await {
            Change::Refused(why) => {
                self.stuck.replace(Some(why));
                Ok(None)
            }
            change => {
                let done = self.settle(change).await?;
                self.restarts.set(self.restarts.get() + u32::from(done));
                Ok(done.then(|| format!("{} restarts", self.target.deployment)))
            }
        }
    }

    async fn wait(&self) -> Result<Option<String>, Stop> {
        let since = self.waiting.get().unwrap_or_else(Instant::now);
        self.waiting.set(Some(since));
        if since.elapsed() > pods::ROLLOUT {
            let text = format!("the pods of {} were not replaced in 10 minutes", self.target.deployment);
            self.stuck.replace(Some(text));
        } else {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(None)
    }

    async fn edit(
        &self,
        read: &Read,
        journal: &Journal,
        value: Option<&[u8]>,
        more: Value,
    ) -> Result<bool, Stop> {
        let mut annotations = more;
        annotations[ANNOTATION] = journal.write().into();
        let change = self.target.secret.change(self.client, read, annotations, value).await;
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

    async fn settle(&self, change: Change) -> Result<bool, Stop> {
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

/// Why it went back, in words.
fn turn_words(turn: &gitlab_agent_core::rotate::Turn, said: Option<&str>) -> String {
    use gitlab_agent_core::rotate::Turn;
    match turn {
        Turn::Asked => "you asked for it".to_owned(),
        Turn::NotCreated => format!("GitLab made no token ({})", said.unwrap_or("no answer")),
        Turn::NoRoom => "the agent has two active tokens by now".to_owned(),
        Turn::NotWritten(why) => format!("the Secret cannot be written ({why})"),
        Turn::Changed => "somebody else changed the Secret".to_owned(),
        Turn::Reverted => "something gave the Secret its old value back".to_owned(),
        Turn::NewIsDead => "somebody revoked the new token".to_owned(),
        Turn::Stuck(why) | Turn::Refused(why) => why.clone(),
    }
}
