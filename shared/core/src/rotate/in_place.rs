//! A person's token, which nobody but an administrator can make anew: GitLab puts another one in its place, and the old one
//! dies at once. So there is a moment in which the Secret holds a dead token; what holds instead is that some token of the
//! family is always alive, and that whoever resumes can get at one.
//!
//! GitLab ends the whole family where a token that was renewed already asks again (`rotate_service.rb`, reuse detection).
//! So each token is asked for once, and that is written down before.

use super::action::{Action, Outcome};
use super::journal::Journal;
use super::machine::{Goal, Held, Seen, Token};
use super::memory::Memory;

/// Decides the next action until the Secret was written; from then on it is like any other rotation.
pub(super) fn next(seen: &Seen, memory: &Memory, journal: &Journal, goal: Goal) -> Action {
    if seen.held != Held::Old {
        return Action::RemoveJournal(Outcome::Abandoned);
    }
    let lives = |id: u64| memory.lists.lives(&seen.tokens, id);
    let old = journal.old_token.filter(|id| lives(*id));
    if let Some(id) = memory.in_hand.filter(|id| lives(*id)) {
        return match &memory.write_refused {
            None => Action::Write,
            Some(why) => Action::Stop(format!(
                "the old token is dead and the Secret cannot be written ({why}): token {id} works, and is in nothing but the \
                 file that is named below"
            )),
        };
    }
    let pending = journal.renewing.is_some() && !seen.renewal_is_over;
    let given_up = memory.gave_up() || goal == Goal::Undo && !pending;
    if old.is_some() && given_up {
        return Action::RemoveJournal(Outcome::Undone);
    }
    let Some(id) = old.or_else(|| successor(seen, journal)) else {
        return Action::Stop(
            "no token of this name is alive any more: write another credential into the Secret, then --rollback".to_owned(),
        );
    };
    match journal.renewing {
        Some(asked) if asked == id && memory.intends == Some(id) => Action::Renew(id),
        Some(asked) if asked == id && !seen.renewal_is_over => Action::Stop(format!(
            "GitLab was asked to renew token {id}, and whether it does is not known; it is not asked twice. Ten minutes after \
             that nothing can still come of it: then --resume goes on, and --rollback is possible while the old one lives"
        )),
        _ => Action::Intend(id),
    }
}

/// What came of the old one: the youngest token of its name that lives. Its value is lost.
fn successor(seen: &Seen, journal: &Journal) -> Option<u64> {
    let name = journal.token_name();
    let known = |t: &&Token| t.name == name && journal.old_token.is_none_or(|old| t.id > old);
    seen.tokens.iter().filter(known).map(|t| t.id).max()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::super::machine::{Pods, Proof};
    use super::super::{Kind, Stage, next as decide};
    use super::*;

    /// Tokens are their numbers; a value is the number of its token.
    #[derive(Clone, Debug)]
    struct World {
        alive: Vec<u64>,
        last: u64,
        secret: u64,
        journal: Option<Journal>,
        version: u64,
        /// Requests to renew a token that are still on their way.
        late: Vec<u64>,
        /// The time is up for whatever was asked.
        over: bool,
        broken: bool,
    }

    #[derive(Clone, Copy, Debug)]
    enum Fault {
        None,
        KillBefore,
        KillAfter,
        NotDone,
        Unanswered,
        /// It arrives later, if at all, and nobody is told.
        Late,
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Step(Fault),
        Arrive,
        /// Ten minutes go by.
        Over,
        Again(bool),
    }

    fn event() -> impl Strategy<Value = Event> {
        let fault = prop_oneof![
            6 => Just(Fault::None), 1 => Just(Fault::KillBefore), 1 => Just(Fault::KillAfter),
            1 => Just(Fault::NotDone), 1 => Just(Fault::Unanswered), 1 => Just(Fault::Late),
        ];
        prop_oneof![
            10 => fault.prop_map(Event::Step),
            2 => Just(Event::Arrive),
            1 => Just(Event::Over),
            1 => any::<bool>().prop_map(Event::Again),
        ]
    }

    impl World {
        fn new() -> Self {
            Self {
                alive: vec![1],
                last: 1,
                secret: 1,
                journal: None,
                version: 0,
                late: Vec::new(),
                over: false,
                broken: false,
            }
        }

        fn seen(&self) -> Seen {
            let held = self.journal.as_ref().map_or(Held::Old, |j| match self.secret.to_string() {
                v if v == j.old_fingerprint => Held::Old,
                v if Some(&v) == j.new_fingerprint.as_ref() => Held::New,
                _ => Held::Other,
            });
            Seen {
                journal: self.journal.clone(),
                held,
                uid: String::new(),
                named: None,
                stray: None,
                backup: false,
                tokens: self.alive.iter().map(|id| Token { id: *id, name: "flux".to_owned() }).collect(),
                renewal_is_over: self.over,
                pods: Pods::Current,
            }
        }

        fn renew(&mut self, id: u64) -> Option<u64> {
            if !self.alive.contains(&id) {
                // Reuse: all that came of it ends.
                self.broken = true;
                self.alive.clear();
                return None;
            }
            self.last += 1;
            self.alive.retain(|other| *other != id);
            self.alive.push(self.last);
            Some(self.last)
        }

        fn edit(&mut self, change: impl FnOnce(&mut Journal)) {
            self.version += 1;
            if let Some(journal) = &mut self.journal {
                change(journal);
            }
        }

        /// Does it; what a process learns only where it is answered.
        fn perform(&mut self, action: &Action, memory: &mut Memory, answered: bool) {
            let run = memory.run.clone();
            match action {
                Action::Journal => {
                    self.version += 1;
                    self.journal = Some(Journal {
                        id: "of".to_owned(),
                        run,
                        stage: Stage::Create,
                        kind: Kind::PersonalToken,
                        place: String::new(),
                        old_token: Some(self.secret),
                        new_token: None,
                        old_fingerprint: self.secret.to_string(),
                        new_fingerprint: None,
                        old_mark: None,
                        new_mark: None,
                        pods: Vec::new(),
                        no_return: false,
                        keeps_old: false,
                        by_hand: false,
                        family: Some("flux".to_owned()),
                        renewing: None,
                        renewing_at: None,
                        hold: false,
                        host: None,
                        uid: String::new(),
                        owners: None,
                        started_at: Timestamp::UNIX_EPOCH,
                        who: "somebody".to_owned(),
                    });
                }
                Action::TakeOver => self.edit(|j| j.run = run),
                Action::Intend(id) => {
                    self.edit(|j| j.renewing = Some(*id));
                    self.over = false;
                    if answered {
                        memory.intends = Some(*id);
                    }
                }
                Action::Renew(id) => {
                    memory.intends = None;
                    if let Some(new) = self.renew(*id).filter(|_| answered) {
                        memory.lists.made(new);
                        memory.in_hand = Some(new);
                    }
                }
                Action::Settle => {
                    memory.lists.pause();
                }
                Action::Write => {
                    let Some(new) = memory.in_hand else { return };
                    self.secret = new;
                    self.edit(|j| {
                        j.stage = Stage::Written;
                        (j.new_token, j.new_fingerprint) = (Some(new), Some(new.to_string()));
                    });
                    if answered {
                        memory.in_hand = None;
                    }
                }
                Action::Verify => memory.verified = Some(Proof::Yes(String::new())),
                Action::Prove => memory.proven = Some(Proof::Yes(String::new())),
                Action::RemoveJournal(_) => {
                    self.version += 1;
                    self.journal = None;
                }
                other => panic!("not of this kind: {other:?}"),
            }
        }
    }

    struct Play {
        world: World,
        memory: Memory,
        goal: Goal,
        runs: usize,
    }

    impl Play {
        fn again(&mut self, goal: Goal) {
            self.runs += 1;
            (self.memory, self.goal) = (Memory::new(format!("run-{}", self.runs), goal), goal);
        }

        /// One look and one action; true when it has ended.
        fn step(&mut self, fault: Fault) -> Option<Action> {
            let seen = self.world.seen();
            self.memory.look(&seen);
            let action = decide(&seen, &self.memory, self.goal);
            if matches!(action, Action::Done(_) | Action::Stop(_)) {
                return Some(action);
            }
            if let Action::RemoveJournal(outcome) = &action {
                self.memory.outcome = Some(*outcome);
            }
            match (fault, &action) {
                (Fault::KillBefore, _) => self.again(Goal::Resume),
                (Fault::NotDone, Action::Renew(_)) => self.memory.intends = None,
                (Fault::NotDone, _) => {}
                (Fault::Late, Action::Renew(id)) => {
                    // The lock holds a process to asking at once after it wrote down that it will.
                    self.world.over = false;
                    self.world.late.push(*id);
                    self.memory.intends = None;
                }
                (Fault::Unanswered, _) => self.world.perform(&action, &mut self.memory, false),
                (Fault::KillAfter, _) => {
                    self.world.perform(&action, &mut self.memory, true);
                    self.again(Goal::Resume);
                }
                _ => self.world.perform(&action, &mut self.memory, true),
            }
            None
        }

        fn play(&mut self, event: Event) {
            match event {
                Event::Step(fault) => {
                    if self.step(fault).is_some() {
                        self.again(Goal::Resume);
                    }
                }
                Event::Arrive => {
                    if let Some(id) = self.world.late.pop() {
                        self.world.renew(id);
                    }
                }
                Event::Over => {
                    self.world.late.clear();
                    self.world.over = true;
                }
                Event::Again(undo) => self.again(if undo { Goal::Undo } else { Goal::Resume }),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_token_of_the_family_always_lives_and_a_run_gets_at_it(events in prop::collection::vec(event(), 0..60)) {
            let mut play = Play { world: World::new(), memory: Memory::default(), goal: Goal::Rotate, runs: 0 };
            play.again(Goal::Rotate);
            for event in events {
                play.play(event);
                prop_assert!(!play.world.broken, "a token was asked for twice: {:?}", play.world);
                prop_assert_eq!(play.world.alive.len(), 1);
            }
            play.play(Event::Over);
            play.again(Goal::Resume);
            let mut end = None;
            for _ in 0..40 {
                end = play.step(Fault::None);
                if end.is_some() {
                    break;
                }
            }
            prop_assert!(matches!(end, Some(Action::Done(_))), "{end:?} {:?}", play.world);
            prop_assert_eq!(&play.world.alive, &[play.world.secret], "{:?}", play.world);
        }
    }
}
