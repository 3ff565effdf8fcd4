//! What one process knows besides what it sees.

use super::action::{Outcome, Turn};
use super::journal::{Journal, Stage};
use super::lists::Lists;
use super::machine::{Goal, Proof, Seen};

/// How often a token is asked for: once, and once more where the first answer was lost and its token revoked.
const CREATIONS: u32 = 2;

/// What only this process knows. Losing it must never matter but for having to look again.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Names this process in the journal.
    pub run: String,
    /// This process wrote the journal, or took it over.
    pub began: bool,
    /// The token that this process is about to ask GitLab to renew; taken back as soon as it has asked.
    pub intends: Option<u64>,
    /// The token whose value this process holds.
    pub in_hand: Option<u64>,
    /// How often a token was asked for; [`Memory::give_up_creating`] where asking again makes no sense.
    pub creations: u32,
    /// The token whose value this process gave to a person.
    pub delivered: Option<u64>,
    /// The Secret with the old value, the Secret itself, or what is handed over cannot be written; what came back.
    pub write_refused: Option<String>,
    /// Whether what the Secret holds now was seen to work.
    pub verified: Option<Proof>,
    /// Whether what the Secret holds now stays.
    pub proven: Option<Proof>,
    /// Whether anything else was seen to hold or use this token, which is revoked next.
    pub alone: Option<(u64, Proof)>,
    /// The journal as this process saw it last, with itself in it.
    pub known: Option<Journal>,
    /// The Secret was made again, and the journal written onto it.
    pub adopted: bool,
    /// What this process asked GitLab for, with the answer: nobody else was ever given it before it was written down.
    pub made: Vec<u64>,
    /// The person said that it is revoked whatever else seems to use it.
    pub revoke_anyway: bool,
    /// What GitLab's lists did not show yet.
    pub lists: Lists,
    /// Why it goes back, once it does.
    pub turned: Option<Turn>,
    /// How it ended, once the journal is gone: written down when its removal is asked for, whose answer may be lost.
    pub outcome: Option<Outcome>,
}

impl Memory {
    /// Asks GitLab no more: it said no, and would say no again.
    pub fn give_up_creating(&mut self) {
        self.creations = CREATIONS;
    }

    /// GitLab said no, and would say no again.
    pub fn gave_up(&self) -> bool {
        self.creations >= CREATIONS
    }

    /// Who goes on with what another began does not know what that one asked GitLab for.
    pub fn new(run: String, goal: Goal) -> Self {
        let mut lists = Lists::default();
        if matches!(goal, Goal::Resume | Goal::Undo) {
            lists.may_hide();
        }
        Self { run, lists, ..Self::default() }
    }

    /// Takes note of what was seen. A journal that names this process means that it began, also where the answer to that was
    /// lost.
    pub fn look(&mut self, seen: &Seen) {
        let journal = seen.journal.as_ref();
        self.began |= journal.is_some_and(|j| j.run == self.run);
        if let Some(own) = journal.filter(|j| j.run == self.run && j.uid == seen.uid) {
            self.known = Some(own.clone());
            self.made.retain(|id| Some(*id) != own.new_token);
        }
        // What is written is nothing that could be lost, also where the answer to the writing was.
        let written = journal.filter(|j| j.stage == Stage::Written).and_then(|j| j.new_token);
        self.in_hand = self.in_hand.filter(|id| Some(*id) != written);
        let known = journal.into_iter().flat_map(|j| [j.old_token, j.new_token]).flatten();
        self.lists.look(&seen.tokens, known);
    }

    /// A revoke was asked for: what was seen before it says nothing of the next one.
    pub fn asked_to_revoke(&mut self, id: u64, answered: bool) {
        self.alone = None;
        if answered {
            self.lists.revoked(id);
        } else {
            // It may be dead, and listed still.
            self.lists.may_hide();
        }
    }

    /// The Secret is not the one that this process began with.
    pub(super) fn lost_its_secret(&self, seen: &Seen) -> bool {
        self.known.as_ref().is_some_and(|known| known.uid != seen.uid)
    }

    /// It may end here: no value is in hand that would be lost, and it is not over anyway.
    pub fn may_stop(&self) -> bool {
        self.in_hand.is_none() && self.outcome.is_none()
    }

    /// What was seen of the value that the Secret held says nothing of the one that it holds now.
    pub fn forget_proofs(&mut self) {
        self.verified = None;
        self.proven = None;
        self.alone = None;
    }
}
