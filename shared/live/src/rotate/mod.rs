//! `rotate-token`, carried out: looks, asks [`gitlab_agent_core::rotate::next`], does that one thing, and looks again.
//!
//! It may be killed anywhere. Every change of the Secret names the version that was read; what goes to GitLab is sent
//! once, and only while the lock is held; what came of it is looked up.

mod agent;
mod ask;
mod copies;
mod credential;
mod deeds;
mod drive;
mod find;
mod form;
mod generator;
mod grant;
mod holders;
mod identify;
mod issuer;
mod journaling;
mod keys;
mod listing;
mod lock;
mod manifest;
mod own_rights;
mod permit;
mod personal;
mod places;
mod pods;
mod preflight;
mod proof;
mod proof_of_notification;
mod proof_of_use;
mod readers;
mod resource;
mod secret;
mod target;
mod unused;
mod works_now;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::rotate::{Goal, Journal, Memory, Outcome, Step};
use gitlab_agent_core::snapshot::{Why, WhyKind};
use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use crate::access::WriteClient;
use crate::cli::Signals;

pub use grant::Choice;
pub use issuer::Issuer;
pub use manifest::{Manifest, Sealed};
pub use preflight::{Checked, Refusal, Wanted, preflight};
pub use secret::Place;
pub use target::{Reader, Target};
pub use unused::usual_watch;

use lock::{Lock, NoLock};
use secret::Content;

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
    /// Go on where not all that may hold the credential can be seen.
    pub allow_unseen: bool,
    /// Revoke the old one whatever else seems to use it.
    pub revoke_anyway: bool,
    /// For how long GitLab must have seen no use of the old one; otherwise as long as a use may take to show.
    pub watch_old: Option<Duration>,
    /// Why, for the token's description and the Event.
    pub reason: Option<String>,
    /// Where the new value is handed over, with [`Goal::Begin`].
    pub manifest: Option<Manifest>,
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
    /// The journal is gone.
    pub lost: bool,
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
    issuer: &'a Issuer,
    /// The number of the old one, where it is to be revoked.
    old_id: Option<u64>,
    /// The old one is not ours to revoke.
    keeps_old: bool,
    target: &'a Target,
    options: &'a Options,
    lock: &'a Lock<'a>,
    signals: &'a Signals,
    tell: &'a dyn Fn(Event),
    memory: RefCell<Memory>,
    /// What the Secret is to hold, until it is written.
    hand: RefCell<Option<Content>>,
    /// Why the pods cannot be replaced.
    stuck: RefCell<Option<String>>,
    restarts: Cell<u32>,
    /// Deployments whose pods were not asked to restart, as they were seen last.
    behind: RefCell<Vec<ObjectRef>>,
    /// When the last known reader had moved over.
    moved: Cell<Option<unused::Moved>>,
    /// When looks at GitLab's lists last counted.
    paused: Cell<Instant>,
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
    /// A token of this rotation that GitLab lists.
    left: Option<u64>,
    verified: Option<String>,
    proven: Option<String>,
}

/// Why the loop ends without an outcome.
struct Stop(String);

/// Looks at GitLab's lists count only so far apart.
const SETTLE: Duration = Duration::from_secs(2);

/// How often in a row a server may fail before it is left alone.
const TROUBLES: u32 = 5;

/// Carries a rotation out, or the rest of one.
pub async fn run(
    client: &WriteClient,
    checked: &Checked,
    target: &Target,
    options: &Options,
    signals: &Signals,
    tell: &dyn Fn(Event),
) -> Ended {
    let name = match random() {
        Ok(name) => name,
        Err(text) => return Ended::nothing(text, None),
    };
    let holder = format!("{} {name}", options.who);
    let lock = Lock::new(client, target.namespace(), &target.secret.name, holder);
    let begun = Instant::now();
    let begins = matches!(options.goal, Goal::Rotate | Goal::Begin);
    let patience = (!begins).then_some(Duration::from_secs(120));
    let wait = |holder: &str| {
        let text = format!("{holder} holds the lock; it is taken over when it is not renewed for 30 s");
        tell(Event { step: Step::Lock, text, took: begun.elapsed() });
    };
    let taken = tokio::select! {
        taken = lock.take(patience, &wait) => taken,
        signal = signals.caught() => {
            // The Lease may have been taken by a request whose answer was not waited for.
            lock.abandon().await;
            return Ended::nothing(format!("it was interrupted ({})", signal.name()), None);
        }
    };
    match taken {
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
        issuer: &checked.issuer,
        old_id: checked.old_id,
        keeps_old: checked.old.as_ref().is_some_and(|old| old.kept.is_some()),
        target,
        options,
        lock: &lock,
        signals,
        tell,
        memory: RefCell::new(Memory {
            revoke_anyway: options.revoke_anyway,
            ..Memory::new(name, options.goal)
        }),
        hand: RefCell::default(),
        stuck: RefCell::default(),
        restarts: Cell::new(0),
        behind: RefCell::default(),
        moved: Cell::default(),
        paused: Cell::new(Instant::now()),
        troubles: Cell::new(0),
        waiting: Cell::default(),
        last: RefCell::default(),
    };
    let ended = tokio::select! {
        ended = run.drive() => ended,
        () = lock.keep() => unreachable!("the lock is kept for ever"),
        () = announce(signals) => unreachable!("it is announced and waited for ever"),
    };
    lock.release().await;
    if let Some(id) = &ended.id {
        leave_event(client, target, id, &ended, options).await;
    }
    ended
}

/// Leaves an Event on what reads the Secret. Who may not write one loses nothing by it.
async fn leave_event(client: &WriteClient, target: &Target, id: &str, ended: &Ended, options: &Options) {
    let (kind, what) = match ended.outcome {
        Some(Outcome::Rotated) => ("Normal", "rotated"),
        Some(Outcome::Handed) => ("Normal", "begun"),
        Some(Outcome::Nothing) => return,
        Some(_) => ("Warning", "undone"),
        None => ("Warning", "stopped midway"),
    };
    let object = target.first_reader();
    let Some(mut of) = ask::reference(client, object).await else { return };
    of["namespace"] = object.namespace.as_str().into();
    let tokens = [("old", ended.old_token), ("new", ended.new_token)];
    let tokens: String =
        tokens.iter().filter_map(|(name, id)| id.map(|id| format!(", {name} number {id}"))).collect();
    let reason = options.reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default();
    let now = Timestamp::now();
    let event = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"generateName": "gitlab-agent-cli-", "namespace": object.namespace},
        "involvedObject": of, "reason": "TokenRotation", "type": kind,
        "message": format!("rotation {id} of Secret {} {what} by {}{tokens}{reason}", target.secret.name, options.who),
        "source": {"component": crate::access::FIELD_MANAGER}, "count": 1,
        "firstTimestamp": format!("{now:.0}"), "lastTimestamp": format!("{now:.0}"),
    });
    let path = format!("/api/v1/namespaces/{}/events", crate::access::segment(&object.namespace));
    let _ = client.create(&path, &event, "leave an Event").await;
}

/// Says once that it was told to end.
async fn announce(signals: &Signals) {
    signals.caught().await;
    crate::cli::note("stopping at the next safe place");
    std::future::pending().await
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
            lost: false,
            kind,
            old_token: None,
            new_token: None,
            id: None,
            verified: None,
            proven: None,
        }
    }
}
