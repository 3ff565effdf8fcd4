//! What to do next, from what is seen. See the module's page for the claim that this function holds.

use super::journal::{Journal, Stage};

/// How often a token is asked for: once, and once more where the first answer was lost and its token revoked.
const CREATIONS: u32 = 2;

/// One active token, as GitLab lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
}

/// Which value the Secret holds, by the journal's fingerprints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The one from before.
    Old,
    /// The one that it was given.
    New,
    /// Another: somebody changed it.
    Other,
}

/// What the pods read, in relation to what the Secret holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pods {
    /// They have not been asked to restart since.
    Behind,
    /// They are being replaced.
    Rolling,
    /// All that live started since.
    Current,
    /// The replacement does not get done; why.
    Stuck(String),
}

/// Everything that is looked at before each action.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The journal on the Secret.
    pub journal: Option<Journal>,
    /// What the Secret holds.
    pub held: Held,
    /// The Secret with the old value is there.
    pub backup: bool,
    /// The active tokens among which the old and the new one are listed.
    pub tokens: Vec<Token>,
    /// A renewal that was asked for so long ago that no request can still be on its way ([`Journal::renewing_at`]).
    pub renewal_is_over: bool,
    /// The pods. What reads its Secret at each use has no pods that could be behind: [`Pods::Current`].
    pub pods: Pods,
}

/// What the person asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// A new rotation.
    Rotate,
    /// A new one, whose value a person takes into the Secret through its owner.
    Begin,
    /// The end of one that was stopped, forwards where that is possible.
    Resume,
    /// The end of one that was stopped, backwards where that is possible.
    Undo,
}

/// What looking for proof brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It is so.
    Yes(String),
    /// It is not.
    No(String),
    /// It cannot be told; why.
    Open(String),
}

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
    /// The Secret with the old value, the Secret itself, or what is handed over cannot be written; what came back.
    pub write_refused: Option<String>,
    /// Whether what the Secret holds now was seen to work.
    pub verified: Option<Proof>,
    /// Whether what the Secret holds now stays.
    pub proven: Option<Proof>,
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

    /// A journal that names this process was seen: it began, also where the answer to that was lost.
    pub fn recognise(&mut self, journal: Option<&Journal>) {
        self.began |= journal.is_some_and(|j| j.run == self.run);
    }

    /// What was seen of the value that the Secret held says nothing of the one that it holds now.
    pub fn forget_proofs(&mut self) {
        self.verified = None;
        self.proven = None;
    }
}

/// Why a rotation goes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The person asked for it.
    Asked,
    /// GitLab made no token.
    NotCreated,
    /// The agent has as many tokens as it may have.
    NoRoom,
    /// It was to be handed over, and was not.
    NotHanded,
    /// The Secret cannot be written.
    NotWritten(String),
    /// Somebody else changed the Secret.
    Changed,
    /// The Secret got its old value back.
    Reverted,
    /// Somebody revoked the new token.
    NewIsDead,
    /// The pods were not replaced.
    Stuck(String),
    /// The new token was not accepted.
    Refused(String),
}

/// How a rotation ended, with nothing left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The new one is in use, the old one revoked.
    Rotated,
    /// The old one is in use, the new one revoked.
    Undone,
    /// The old one is back in the Secret, and it could not be seen to work: the new one was left active.
    UndoneBothActive,
    /// Somebody else gave the Secret a value; it and the active tokens were left as they are.
    Abandoned,
    /// The new value was handed over; the rest is done once the Secret holds it.
    Handed,
    /// There was nothing under way.
    Nothing,
}

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write the journal.
    Journal,
    /// Write this process into the journal of another one.
    TakeOver,
    /// Revoke a token of this rotation whose value nobody has.
    RevokeOrphan(u64),
    /// Ask GitLab for a token. Never repeated blindly: what came of it is looked up by name.
    Create,
    /// Write down that GitLab is asked to renew this token.
    Intend(u64),
    /// Ask GitLab to put another token in the place of this one. Never repeated.
    Renew(u64),
    /// Keep the old value in a Secret of its own.
    Backup,
    /// Write the new value and `written` in one change.
    Write,
    /// Write `handed`, and hand the new value over.
    HandOver,
    /// Ask the pods to restart.
    Restart,
    /// Wait for the pods.
    Wait,
    /// See from both ends that what the Secret holds works.
    Verify,
    /// See that no owner takes the value back.
    Prove,
    /// Go back: write `undo`.
    TurnBack(Turn),
    /// The way back is closed: write `written`.
    GoForward,
    /// What the Secret holds is dead: write `create` with this token as the one that pods still run with.
    StartOver(Option<u64>),
    /// Write the old value back.
    Restore,
    /// Revoke a token that is no longer needed.
    Revoke(u64),
    /// Remove the Secret with the old value.
    RemoveBackup,
    /// Remove the journal: the end.
    RemoveJournal(Outcome),
    /// The end.
    Done(Outcome),
    /// It cannot go on now, and nothing was lost; why.
    Stop(String),
}

/// The steps as people know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Step {
    Preflight,
    Lock,
    Journal,
    Create,
    Write,
    RollOut,
    Verify,
    ProveNotReverted,
    Revoke,
    Clean,
}

impl Step {
    /// One word or two, also for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Lock => "lock",
            Self::Journal => "journal",
            Self::Create => "create",
            Self::Write => "write",
            Self::RollOut => "roll-out",
            Self::Verify => "verify",
            Self::ProveNotReverted => "prove-not-reverted",
            Self::Revoke => "revoke",
            Self::Clean => "clean",
        }
    }
}

impl Action {
    /// The step that it belongs to.
    pub fn step(&self) -> Step {
        match self {
            Self::Journal
            | Self::Intend(_)
            | Self::TakeOver
            | Self::TurnBack(_)
            | Self::GoForward
            | Self::StartOver(_) => Step::Journal,
            Self::RevokeOrphan(_) | Self::Create | Self::Renew(_) => Step::Create,
            Self::Backup | Self::Write | Self::HandOver | Self::Restore => Step::Write,
            Self::Restart | Self::Wait => Step::RollOut,
            Self::Verify => Step::Verify,
            Self::Prove => Step::ProveNotReverted,
            Self::Revoke(_) => Step::Revoke,
            Self::RemoveBackup | Self::RemoveJournal(_) | Self::Done(_) | Self::Stop(_) => Step::Clean,
        }
    }
}

/// Decides the next action.
pub fn next(seen: &Seen, memory: &Memory, goal: Goal) -> Action {
    let Some(journal) = &seen.journal else {
        return match (memory.outcome, memory.began, goal) {
            (Some(outcome), ..) => Action::Done(outcome),
            (None, false, Goal::Rotate | Goal::Begin) => Action::Journal,
            (None, true, _) => Action::Stop("somebody else removed the journal".to_owned()),
            (None, false, _) => Action::Done(Outcome::Nothing),
        };
    };
    if journal.run != memory.run {
        return match (memory.began, goal) {
            (false, Goal::Resume | Goal::Undo) => Action::TakeOver,
            (false, Goal::Rotate | Goal::Begin) => Action::Stop("another rotation is under way".to_owned()),
            (true, _) => Action::Stop("another process took this rotation over".to_owned()),
        };
    }
    let view = View { seen, memory, journal, goal };
    if journal.family.is_some() && journal.stage == Stage::Create {
        return super::in_place::next(seen, memory, journal, goal);
    }
    if goal == Goal::Undo && journal.stage != Stage::Undo && view.can_go_back() {
        return Action::TurnBack(Turn::Asked);
    }
    match journal.stage {
        Stage::Create => view.create(),
        Stage::Handed => view.handed(),
        Stage::Written => view.forward(),
        Stage::Undo => view.back(),
    }
}

struct View<'a> {
    seen: &'a Seen,
    memory: &'a Memory,
    journal: &'a Journal,
    goal: Goal,
}

impl View<'_> {
    fn is_active(&self, id: Option<u64>) -> bool {
        id.is_some_and(|id| self.seen.tokens.iter().any(|t| t.id == id))
    }

    fn old_lives(&self) -> bool {
        self.journal.keeps_old || self.is_active(self.journal.old_token)
    }

    fn new_lives(&self) -> bool {
        self.is_active(self.journal.new_token)
    }

    /// A token of this rotation that was never in the Secret, but for the one that `keep` names.
    fn orphan(&self, keep: Option<u64>) -> Option<u64> {
        let name = self.journal.token_name();
        let ours = self.seen.tokens.iter().filter(|t| t.name == name).map(|t| t.id);
        let known = [self.journal.old_token, self.journal.new_token, keep];
        ours.into_iter().find(|id| !known.contains(&Some(*id)))
    }

    /// The value from before works, and it can be had; or nothing has been written yet.
    fn can_go_back(&self) -> bool {
        let in_place = self.journal.stage == Stage::Create || self.seen.held == Held::Old;
        match self.journal.stage {
            _ if self.journal.no_return => false,
            Stage::Create => true,
            Stage::Handed => in_place,
            Stage::Written | Stage::Undo => self.old_lives() && (self.seen.backup || in_place),
        }
    }

    fn turn_back_or_stop(&self, turn: Turn, why: &str) -> Action {
        if self.can_go_back() { Action::TurnBack(turn) } else { Action::Stop(why.to_owned()) }
    }

    /// The Secret holds the old value: make a token and write it.
    fn create(&self) -> Action {
        let refused = self.memory.write_refused.as_ref();
        // What only pods hold by now is no new value.
        let in_hand = self.memory.in_hand.filter(|id| Some(*id) != self.journal.old_token);
        let keep = in_hand.filter(|_| refused.is_none() && self.seen.held == Held::Old);
        if let Some(orphan) = self.orphan(keep) {
            return Action::RevokeOrphan(orphan);
        }
        let turn = match (self.seen.held, refused, in_hand) {
            (Held::New | Held::Other, ..) => Turn::Changed,
            (_, Some(why), _) => Turn::NotWritten(why.clone()),
            (.., Some(_)) if self.is_active(in_hand) => {
                return match (self.journal.by_hand, self.seen.backup) {
                    (true, _) => Action::HandOver,
                    (false, true) => Action::Write,
                    (false, false) => Action::Backup,
                };
            }
            (.., Some(_)) => Turn::NewIsDead,
            (.., None) if self.journal.by_hand && self.goal != Goal::Begin => Turn::NotHanded,
            (.., None) if self.memory.gave_up() => Turn::NotCreated,
            (.., None) if self.seen.tokens.len() >= self.journal.kind.most() => Turn::NoRoom,
            (.., None) => return Action::Create,
        };
        self.turn_back_or_stop(turn, "no new token could be put in place, and the value from before is dead: only running pods hold a token that works")
    }

    /// The new value is with a person: wait for its owner to write it.
    fn handed(&self) -> Action {
        let refused = self.memory.write_refused.as_ref().filter(|_| self.seen.held == Held::Old);
        match (self.seen.held, self.new_lives()) {
            (Held::Other, _) => self.leave(),
            _ if refused.is_some() => {
                Action::TurnBack(Turn::NotWritten(refused.cloned().unwrap_or_default()))
            }
            _ if self.goal == Goal::Begin => Action::Done(Outcome::Handed),
            (Held::New, true) => Action::GoForward,
            (Held::New, false) => Action::Stop("the Secret was given the new value, and its token was revoked: write another one where the Secret's owner takes it from".to_owned()),
            (Held::Old, false) if self.old_lives() => Action::TurnBack(Turn::NewIsDead),
            (Held::Old, _) => Action::Stop("the Secret does not hold the new value yet: get the manifest to the Secret's owner (commit it, and let Flux apply it), then --finish; or --rollback".to_owned()),
        }
    }

    /// The Secret was given the new value: make the pods use it, prove it, revoke the old one.
    fn forward(&self) -> Action {
        if self.seen.held == Held::Other {
            return self.leave();
        }
        match (self.seen.held, self.new_lives(), self.old_lives()) {
            (Held::Old, _, true) if self.can_go_back() => return Action::TurnBack(Turn::Reverted),
            (Held::Old, true, true) => {
                return Action::Stop("something gives the Secret a value back that GitLab no longer takes; correct it there first".to_owned());
            }
            // The pods still run with the new one, and its value cannot be read back out of them.
            (Held::Old, true, false) => return Action::StartOver(self.journal.new_token),
            (_, false, true) => {
                return self.turn_back_or_stop(
                    Turn::NewIsDead,
                    "the new token was revoked, and the Secret with the old value is gone",
                );
            }
            (_, false, false) => return Action::StartOver(None),
            (_, true, _) => {}
        }
        match &self.seen.pods {
            Pods::Behind => return Action::Restart,
            Pods::Rolling => return Action::Wait,
            Pods::Stuck(why) => return self.turn_back_or_stop(Turn::Stuck(why.clone()), why),
            Pods::Current => {}
        }
        match &self.memory.verified {
            None => return Action::Verify,
            Some(Proof::No(why)) => return self.turn_back_or_stop(Turn::Refused(why.clone()), why),
            Some(Proof::Open(why)) => return Action::Stop(why.clone()),
            Some(Proof::Yes(_)) => {}
        }
        match &self.memory.proven {
            None => return Action::Prove,
            Some(Proof::No(_)) => {
                return self.turn_back_or_stop(Turn::Reverted, "the Secret got its old value back");
            }
            Some(Proof::Open(why)) => return Action::Stop(why.clone()),
            Some(Proof::Yes(_)) => {}
        }
        if let Some(orphan) = self.orphan(None) {
            return Action::RevokeOrphan(orphan);
        }
        match self.journal.old_token.filter(|_| self.old_lives()) {
            Some(old) => Action::Revoke(old),
            None => self.clean(Outcome::Rotated),
        }
    }

    /// Back before the owner wrote the new value. Nothing but GitLab and the journal was changed.
    fn back_by_hand(&self) -> Action {
        match (self.seen.held, self.new_lives()) {
            (Held::New, true) => Action::GoForward,
            // Its owner wrote it after it was taken back, or another value.
            (Held::New, false) | (Held::Other, _) => self.leave(),
            (Held::Old, _) => self.orphan(None).map_or_else(|| self.give_up_new(), Action::RevokeOrphan),
        }
    }

    /// The Secret holds the old value, and its owner may have written the new one for a while: no pod may still run with it
    /// when it is revoked.
    fn give_up_new(&self) -> Action {
        let Some(new) = self.journal.new_token.filter(|_| self.new_lives()) else {
            return self.clean(Outcome::Undone);
        };
        match &self.seen.pods {
            Pods::Behind => Action::Restart,
            Pods::Rolling => Action::Wait,
            Pods::Stuck(why) => Action::Stop(why.clone()),
            Pods::Current => Action::Revoke(new),
        }
    }

    /// Back to the old value.
    fn back(&self) -> Action {
        if self.journal.by_hand {
            return self.back_by_hand();
        }
        let written = self.journal.new_token.is_some();
        if !written {
            // Nothing but a token without a holder and a journal exists.
            return match self.orphan(None) {
                Some(orphan) => Action::RevokeOrphan(orphan),
                None if self.seen.held == Held::Other => self.clean(Outcome::Abandoned),
                None => self.clean(Outcome::Undone),
            };
        }
        if self.seen.held == Held::Other {
            return self.leave();
        }
        match (self.seen.held, self.old_lives(), self.new_lives()) {
            (Held::New, true, _) if self.can_go_back() => return Action::Restore,
            (Held::New, _, true) => return Action::GoForward,
            (_, false, true) => return Action::StartOver(self.journal.new_token),
            (_, false, false) | (Held::New, true, false) => return Action::StartOver(None),
            _ => {}
        }
        if let Some(orphan) = self.orphan(None) {
            return Action::RevokeOrphan(orphan);
        }
        match &self.seen.pods {
            Pods::Behind => return Action::Restart,
            Pods::Rolling => return Action::Wait,
            Pods::Stuck(why) => return Action::Stop(why.clone()),
            Pods::Current => {}
        }
        match (&self.memory.verified, self.journal.new_token.filter(|_| self.new_lives())) {
            (_, None) => self.clean(Outcome::Undone),
            (None, _) => Action::Verify,
            (Some(Proof::Yes(_)), Some(new)) => Action::Revoke(new),
            (Some(_), _) => self.clean(Outcome::UndoneBothActive),
        }
    }

    /// Somebody else decided what the Secret holds.
    fn leave(&self) -> Action {
        match self.orphan(None) {
            Some(orphan) => Action::RevokeOrphan(orphan),
            None => self.clean(Outcome::Abandoned),
        }
    }

    fn clean(&self, outcome: Outcome) -> Action {
        if self.seen.backup { Action::RemoveBackup } else { Action::RemoveJournal(outcome) }
    }
}
