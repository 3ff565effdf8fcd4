//! What to do next, from what is seen. See the module's page for the claim that this function holds.

use super::action::{Action, Outcome, Turn};
use super::journal::{ANNOTATION, Journal, Stage, TOKEN_ID};
use super::memory::Memory;

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

impl Pods {
    /// Those of several Deployments together: what needs doing first.
    pub fn all(each: impl IntoIterator<Item = Self>) -> Self {
        let rank = |pods: &Self| match pods {
            Self::Stuck(_) => 0,
            Self::Behind => 1,
            Self::Rolling => 2,
            Self::Current => 3,
        };
        each.into_iter().min_by_key(rank).unwrap_or(Self::Current)
    }
}

/// Everything that is looked at before each action.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The journal on the Secret.
    pub journal: Option<Journal>,
    /// What the Secret holds.
    pub held: Held,
    /// `metadata.uid` of the Secret.
    pub uid: String,
    /// The token that the Secret says it holds, by its annotation; only an agent's Secret has one.
    pub named: Option<u64>,
    /// Why the journal is not believed, by what else is known of the Secret, of what was kept, and of GitLab.
    pub stray: Option<String>,
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

/// Decides the next action.
pub fn next(seen: &Seen, memory: &Memory, goal: Goal) -> Action {
    let Some(journal) = &seen.journal else {
        return match (memory.outcome, memory.began, goal) {
            (Some(outcome), ..) => Action::Done(outcome),
            (None, false, Goal::Rotate | Goal::Begin) => Action::Journal,
            (None, true, _) if memory.lost_its_secret(seen) => Action::Adopt,
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
    if memory.lost_its_secret(seen) {
        return Action::Adopt;
    }
    if let Some(why) = seen.stray.clone().or_else(|| journal.contradiction(&seen.tokens)) {
        return Action::Stop(why);
    }
    let view = View { seen, memory, journal, goal };
    if memory.adopted {
        return Action::Stop(view.made_again());
    }
    if let Some(id) = memory.lists.refuses_to_go() {
        return Action::Stop(format!(
            "GitLab took the revocation of token {id} several times and lists it still: see in GitLab what it is, then --resume"
        ));
    }
    if view.doubts() {
        return Action::Settle;
    }
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
        id.is_some_and(|id| self.memory.lists.lives(&self.seen.tokens, id))
    }

    /// What GitLab put another in the place of is dead, whatever a list says.
    fn was_replaced(&self) -> bool {
        self.journal.family.is_some() && self.journal.stage != Stage::Create
    }

    fn old_lives(&self) -> bool {
        self.journal.keeps_old || !self.was_replaced() && self.is_active(self.journal.old_token)
    }

    fn new_lives(&self) -> bool {
        self.is_active(self.journal.new_token)
    }

    /// A token that this rotation knows is not listed, and not for long: it may live all the same.
    fn doubts(&self) -> bool {
        let old = self.journal.old_token.filter(|_| !self.was_replaced());
        [old, self.journal.new_token].into_iter().flatten().any(|id| self.memory.lists.is_in_doubt(id))
    }

    /// A token of this rotation that was never in the Secret, but for the one that `keep` names.
    fn orphan(&self, keep: Option<u64>) -> Option<u64> {
        let name = self.journal.token_name();
        let listed = self.seen.tokens.iter().filter(|t| t.name == name).map(|t| t.id);
        let known = [self.journal.old_token, self.journal.new_token, keep];
        let mut ours = listed.chain(self.memory.lists.unlisted());
        ours.find(|id| !known.contains(&Some(*id)) && self.is_active(Some(*id)))
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

    fn active(&self) -> usize {
        self.seen.tokens.iter().filter(|t| self.is_active(Some(t.id))).count()
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
        if self.seen.held != Held::Other
            && let Some(orphan) = self.orphan(keep)
        {
            return self.discard(orphan);
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
            (.., None) if self.memory.lists.hides() => return Action::Settle,
            (.., None) if self.active() >= self.journal.kind.most() => Turn::NoRoom,
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
            _ if self.goal == Goal::Begin => self.deliver(),
            (Held::New, true) => Action::GoForward,
            (Held::New, false) => Action::Stop("the Secret was given the new value, and its token was revoked: write another one where the Secret's owner takes it from".to_owned()),
            (Held::Old, false) if self.old_lives() => Action::TurnBack(Turn::NewIsDead),
            (Held::Old, _) => Action::Stop("the Secret does not hold the new value yet: get the manifest to the Secret's owner (commit it, and let Flux apply it), then --finish; or --rollback".to_owned()),
        }
    }

    /// Only what this process gave away itself is with a person; an answer that was lost on the way to the journal is no
    /// delivery.
    fn deliver(&self) -> Action {
        let new = self.journal.new_token;
        match (self.memory.delivered, self.memory.in_hand) {
            (Some(_), _) if self.memory.delivered == new => Action::Done(Outcome::Handed),
            (_, Some(_)) if self.memory.in_hand == new => Action::Deliver,
            _ => Action::TurnBack(Turn::NotHanded),
        }
    }

    /// The Secret was given the new value: make the pods use it, prove it, revoke the old one.
    fn forward(&self) -> Action {
        if self.seen.held == Held::Other {
            return self.leave();
        }
        match (self.seen.held, self.new_lives(), self.old_lives()) {
            // Whether the old one lives a list that lags does not tell: it may be revoked already.
            (Held::Old, _, true) if self.memory.lists.hides() => return Action::Settle,
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
            return self.discard(orphan);
        }
        let Some(old) = self.journal.old_token.filter(|_| self.old_lives()) else {
            return self.clean(Outcome::Rotated);
        };
        // A list that shows the new one tells that it was not revoked meanwhile, which nothing else may tell of an agent's.
        match self
            .journal
            .new_token
            .and_then(|new| self.memory.lists.is_unlisted(new).map(|late| (new, late)))
        {
            None => self.revoke(old),
            Some((_, false)) => Action::Settle,
            Some((new, true)) => Action::Stop(format!(
                "nothing was revoked: GitLab made token {new}, and has not listed it since; see there whether it is active, then \
                 --resume"
            )),
        }
    }

    /// What the Secret held is revoked only when nothing else was seen to hold or use it, just before, and never while the
    /// Secret says that it holds it, whatever the journal says.
    fn revoke(&self, id: u64) -> Action {
        if let Some(why) = self.is_named(id) {
            return why;
        }
        match &self.memory.alone {
            _ if self.memory.revoke_anyway => Action::Revoke(id),
            Some((of, proof)) if *of == id => match proof {
                Proof::Yes(_) => Action::Revoke(id),
                Proof::No(why) | Proof::Open(why) => Action::Stop(why.clone()),
            },
            _ => Action::Survey(id),
        }
    }

    /// A token of this rotation's name whose value nobody has. A journal may be older than what the Secret holds: then this is
    /// the token in use, so the same look goes before.
    fn discard(&self, id: u64) -> Action {
        if let Some(why) = self.is_named(id) {
            return why;
        }
        match &self.memory.alone {
            Some((of, proof)) if *of == id => match proof {
                Proof::Yes(_) => Action::RevokeOrphan(id),
                Proof::No(why) | Proof::Open(why) => Action::Stop(why.clone()),
            },
            _ => Action::Survey(id),
        }
    }

    fn is_named(&self, id: u64) -> Option<Action> {
        (self.seen.named == Some(id)).then(|| {
            Action::Stop(format!(
                "nothing was revoked: the journal says that token {id} is no longer used, and the Secret's annotation {TOKEN_ID} says \
                 that it holds it. {}. See in GitLab which token agentk uses; where the journal is right, correct that annotation, \
                 then --resume; else take the annotation {ANNOTATION} away",
                self.journal.tokens_in_words()
            ))
        })
    }

    /// Where the old and the new one are after the Secret was made again.
    fn made_again(&self) -> String {
        let held = match self.seen.held {
            Held::Old => "the old value",
            Held::New => "the new value",
            Held::Other => "another value",
        };
        format!(
            "the Secret was deleted and made again meanwhile, and holds {held} now. Nothing was revoked. {}",
            self.journal.tokens_in_words()
        )
    }

    /// Back before the owner wrote the new value. Nothing but GitLab and the journal was changed.
    fn back_by_hand(&self) -> Action {
        match (self.seen.held, self.new_lives()) {
            (Held::New, true) => Action::GoForward,
            // Its owner wrote it after it was taken back, or another value.
            (Held::New, false) | (Held::Other, _) => self.leave(),
            (Held::Old, _) => self.orphan(None).map_or_else(|| self.give_up_new(), |id| self.discard(id)),
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
            Pods::Current => self.revoke(new),
        }
    }

    /// Back to the old value.
    fn back(&self) -> Action {
        // No pod may be given a value that a list shows as alive only because it lags.
        if self.memory.lists.hides() {
            return Action::Settle;
        }
        if self.journal.by_hand {
            return self.back_by_hand();
        }
        let written = self.journal.new_token.is_some();
        if !written {
            // Nothing but a token without a holder and a journal exists.
            return match self.orphan(None) {
                _ if self.seen.held == Held::Other => self.leave(),
                Some(orphan) => self.discard(orphan),
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
        // Whoever gave the value back left the number of the new one.
        if self.seen.named.is_some() && self.seen.named == self.journal.new_token {
            return Action::Restore;
        }
        if let Some(orphan) = self.orphan(None) {
            return self.discard(orphan);
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
            (Some(Proof::Yes(_)), Some(new)) => self.revoke(new),
            (Some(_), _) => self.clean(Outcome::UndoneBothActive),
        }
    }

    /// Somebody else decided what the Secret holds, and it may be any token but one whose value never left this process.
    fn leave(&self) -> Action {
        match self.orphan(None).filter(|id| self.memory.made.contains(id)) {
            Some(orphan) => self.discard(orphan),
            None => self.clean(Outcome::Abandoned),
        }
    }

    fn clean(&self, outcome: Outcome) -> Action {
        match self.seen.backup {
            // The journal names what is to be revoked: it stays until GitLab's lists agree.
            _ if self.memory.lists.hides() || self.memory.lists.lingers() => Action::Settle,
            true => Action::RemoveBackup,
            false => Action::RemoveJournal(outcome),
        }
    }
}
