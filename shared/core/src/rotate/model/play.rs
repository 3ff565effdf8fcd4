//! Processes that work on the model, with every fault, and what is held of them.

use super::super::*;
use super::world::{Event, FIRST, Fault, World};

/// So many actions without a fault a process does at most after it was told to end: the value in hand is written first.
const AFTER_A_SIGNAL: u32 = 12;

#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) goal: Goal,
    pub(super) memory: Memory,
    pub(super) decided: Option<(Action, u64)>,
    pub(super) ended: Option<Action>,
    /// How many actions it did since it was told to end.
    told: Option<u32>,
}

impl Process {
    fn new(run: usize, goal: Goal) -> Self {
        let memory = Memory::new(format!("run-{run}"), goal);
        Self { goal, memory, decided: None, ended: None, told: None }
    }
}

pub(super) struct Play {
    pub(super) world: World,
    pub(super) processes: Vec<Process>,
    runs: usize,
    undo: bool,
}

impl Play {
    pub(super) fn new(world: World, undo: bool, first: Goal) -> Self {
        let processes = vec![Process::new(0, first), Process::new(1, Goal::Resume)];
        Self { world, processes, runs: 2, undo }
    }

    /// After a kill the person runs it again.
    pub(super) fn again(&mut self, at: usize) {
        let goal = if self.undo { Goal::Undo } else { Goal::Resume };
        self.processes[at] = Process::new(self.runs, goal);
        self.runs += 1;
        self.unlock(at);
    }

    fn unlock(&mut self, at: usize) {
        if self.world.lock == Some(at) {
            self.world.lock = None;
        }
    }

    fn end(&mut self, at: usize, action: Action) {
        self.processes[at].ended = Some(action);
        self.unlock(at);
    }

    pub(super) fn look(&mut self, at: usize) {
        if self.processes[at].ended.is_some() {
            self.again(at);
        }
        let process = &self.processes[at];
        if process.told.is_some() && process.memory.may_stop() {
            return self.end(at, Action::Stop("it was interrupted".to_owned()));
        }
        if !process.memory.began && self.world.journal.is_none() && self.world.is_refused(process.goal) {
            return self.end(at, Action::Stop("refused".to_owned()));
        }
        if *self.world.lock.get_or_insert(at) != at {
            return;
        }
        let Some(seen) = self.world.seen() else {
            // Nobody answers: the run stops, and is resumed later.
            self.again(at);
            return;
        };
        let process = &mut self.processes[at];
        process.memory.look(&seen);
        let action = next(&seen, &process.memory, process.goal);
        process.decided = Some((action, self.world.version));
    }

    pub(super) fn act(&mut self, at: usize, fault: Fault) {
        let Some((action, version)) = self.processes[at].decided.take() else { return };
        if fault == Fault::KillBefore {
            return self.again(at);
        }
        let process = &mut self.processes[at];
        if matches!(action, Action::Done(_) | Action::Stop(_)) {
            return self.end(at, action);
        }
        if fault == Fault::None {
            process.told = process.told.map(|times| times + 1);
        }
        match action {
            Action::Create => process.memory.creations += 1,
            Action::RemoveJournal(outcome) => process.memory.outcome = Some(outcome),
            _ => {}
        }
        self.perform(at, fault, &action, version);
        if fault == Fault::KillAfter {
            self.again(at);
        }
    }

    fn perform(&mut self, at: usize, fault: Fault, action: &Action, version: u64) {
        let Process { goal, memory, .. } = &mut self.processes[at];
        let proof = matches!(action, Action::Verify | Action::Prove | Action::Survey(_) | Action::Settle);
        let unknown = Some(Proof::Open(String::new()));
        match (fault, action) {
            (Fault::NotDone, Action::Create) => memory.lists.may_hide(),
            (Fault::NotDone, Action::Revoke(id) | Action::RevokeOrphan(id)) => {
                memory.asked_to_revoke(*id, false)
            }
            (Fault::NotDone, Action::Write) => memory.made.clear(),
            (Fault::NotDone, _) => {}
            (Fault::Blind, Action::Verify) => memory.verified = unknown,
            (Fault::Blind, Action::Prove) => memory.proven = unknown,
            (Fault::Blind, Action::Survey(id)) => memory.alone = unknown.map(|proof| (*id, proof)),
            (Fault::Refused, Action::Create) => memory.give_up_creating(),
            (Fault::Refused, Action::Write | Action::Backup | Action::Deliver) => {
                memory.write_refused = Some(String::new());
            }
            (Fault::Refused, Action::Verify) => memory.verified = Some(Proof::No(String::new())),
            (Fault::Refused, Action::Survey(id)) => memory.alone = Some((*id, Proof::No(String::new()))),
            (Fault::DoneUnanswered, _) => {
                if *action == Action::Create {
                    memory.lists.may_hide();
                }
                let done = self.world.perform(at, *goal, memory, action, version, proof);
                if done && *action == Action::Write {
                    memory.made.clear();
                }
            }
            _ => {
                self.world.perform(at, *goal, memory, action, version, true);
            }
        }
    }

    pub(super) fn play(&mut self, event: Event) {
        match event {
            Event::Look(at) => self.look(at),
            Event::Act(at, fault) => self.act(at, fault),
            Event::Signal(at) => {
                self.processes[at].told.get_or_insert(0);
            }
            // Nothing fences GitLab against the cluster: an owner that nobody saw may write the old value back between the
            // last look and the revoke, as well as after it; and so may somebody copy it.
            Event::Revert | Event::Meddle(_) if self.revokes() => {}
            Event::Copy(_) | Event::Own | Event::Meddle(_) if self.revokes() || self.surveyed() => {}
            other => self.world.happen(other),
        }
    }

    /// A revoke was decided and is on its way.
    fn revokes(&self) -> bool {
        let revoke =
            |p: &Process| matches!(p.decided, Some((Action::Revoke(_) | Action::RevokeOrphan(_), _)));
        self.processes.iter().any(revoke)
    }

    /// Somebody looked for other holders, and found none.
    fn surveyed(&self) -> bool {
        self.processes.iter().any(|p| matches!(p.memory.alone, Some((_, Proof::Yes(_)))))
    }

    /// A process says that it handed a value over, and nobody has it.
    pub(super) fn hands_over_nothing(&self) -> bool {
        let new = self.world.journal.as_ref().and_then(|journal| journal.new_token);
        let said = |p: &Process| p.ended == Some(Action::Done(Outcome::Handed));
        !self.world.meddled
            && new.is_some_and(|new| !self.world.delivered.contains(&new))
            && self.processes.iter().any(said)
    }

    /// Whoever was told to end goes on for ever.
    pub(super) fn is_deaf(&self) -> bool {
        self.processes.iter().any(|p| p.told.is_some_and(|times| times > AFTER_A_SIGNAL))
    }

    /// Everything answers again: one more run must reach the end. None where an owner that nobody saw wrote a dead value
    /// back while two tokens were held by pods: that is said, and nothing is taken away.
    pub(super) fn finish(&mut self) -> Option<Outcome> {
        self.world.gitlab_answers = true;
        self.world.lock = None;
        // Who was handed something commits it; of what nobody was handed nothing is left but the way back.
        let stage = self.world.journal.as_ref().map(|j| j.stage);
        self.world.happen(Event::Commit);
        self.undo = stage == Some(Stage::Handed) && self.world.secret == FIRST;
        // Whoever else holds the value was told, and is gone.
        self.world.copies.clear();
        self.world.elsewhere.clear();
        self.world.appeared = false;
        self.again(0);
        for _ in 0..400 {
            self.look(0);
            self.act(0, Fault::None);
            assert!(self.world.holds(), "{:?}", self.world);
            self.world.happen_to_all_pods();
            match &self.processes[0].ended {
                Some(Action::Done(outcome)) => return Some(*outcome),
                Some(Action::Stop(_)) if self.world.by_owner && self.world.late => return None,
                // What somebody changed is not believed: that is said, and nothing is revoked.
                Some(Action::Stop(_)) if self.world.meddled => return None,
                Some(other) => panic!("no clean end: {other:?} {:?}", self.world),
                None => {}
            }
        }
        panic!("no end: {:?}", self.world)
    }
}

impl World {
    pub(super) fn happen_to_all_pods(&mut self) {
        let before = self.clone();
        self.roll_all();
        if before.aims() && !self.aims() {
            *self = before;
        }
    }
}
