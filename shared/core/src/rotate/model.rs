//! The claim, played: a model of GitLab, the Secret, the pods and their owner, two processes, and every fault.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::rotate::journal::Stage;

/// A value of a token is the number of that token: nobody reads it but to compare.
type Value = u64;

/// The token that is there at first.
const FIRST: Value = 1;

#[derive(Clone, Debug)]
struct Pod {
    value: Value,
    mark: Option<String>,
}

#[derive(Clone, Debug)]
struct World {
    tokens: Vec<(u64, String, bool)>,
    secret: Value,
    journal: Option<Journal>,
    version: u64,
    backup: Option<Value>,
    template: Option<String>,
    pods: Vec<Pod>,
    /// An owner that nobody saw writes the first value back when it reconciles.
    owned: bool,
    /// The owner does not reconcile when it is asked to: it is suspended, and wakes later.
    asleep: bool,
    /// The owner came late once already.
    late: bool,
    /// The Secret holds what the owner wrote last.
    by_owner: bool,
    gitlab_answers: bool,
    lock: Option<usize>,
    kind: Kind,
    /// The first value is a token that is not listed among these, and not ours to revoke.
    foreign: bool,
    /// What a person was handed, to bring it into the Secret through its owner.
    handed: Option<Value>,
}

/// What may happen to one action on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// SIGKILL before it is sent, or after it was done.
    KillBefore,
    KillAfter,
    /// 409, 429, 503, or lost on the way there.
    NotDone,
    /// 500 after the commit, or lost on the way back.
    DoneUnanswered,
    /// Nobody can say whether it works.
    Blind,
    /// A clear no.
    Refused,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A process looks and decides.
    Look(usize),
    /// A process does what it decided, however long ago.
    Act(usize, Fault),
    /// A pod is replaced from the template.
    Roll(usize),
    /// A container restarts in its place and reads its file again.
    RestartInPlace(usize),
    /// The owner writes the first value back.
    Revert,
    /// The person gives the owner what was handed over, and it is written.
    Commit,
    /// Somebody changes the Secret's labels.
    Touch,
    /// GitLab is away, or the token of the person has expired; and back.
    GitLab(bool),
    /// The holder of the lock does not renew it in time.
    Expire,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        8 => Just(Fault::None),
        1 => Just(Fault::KillBefore),
        1 => Just(Fault::KillAfter),
        1 => Just(Fault::NotDone),
        1 => Just(Fault::DoneUnanswered),
        1 => Just(Fault::Blind),
        1 => Just(Fault::Refused),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let process = prop_oneof![4 => Just(0_usize), 1 => Just(1_usize)];
    prop_oneof![
        10 => process.clone().prop_map(Event::Look),
        10 => (process, fault()).prop_map(|(process, fault)| Event::Act(process, fault)),
        6 => (0..3_usize).prop_map(Event::Roll),
        1 => (0..3_usize).prop_map(Event::RestartInPlace),
        1 => Just(Event::Revert),
        1 => Just(Event::Commit),
        1 => Just(Event::Touch),
        1 => any::<bool>().prop_map(Event::GitLab),
        1 => Just(Event::Expire),
    ]
}

#[derive(Clone, Debug)]
struct Process {
    goal: Goal,
    memory: Memory,
    decided: Option<(Action, u64)>,
    ended: Option<Action>,
}

impl Process {
    fn new(run: usize, goal: Goal) -> Self {
        let memory = Memory { run: format!("run-{run}"), ..Memory::default() };
        Self { goal, memory, decided: None, ended: None }
    }
}

impl World {
    fn new(pods: usize, owned: bool) -> Self {
        Self {
            tokens: vec![(FIRST, "first".to_owned(), true)],
            secret: FIRST,
            journal: None,
            version: 0,
            backup: None,
            template: None,
            pods: vec![Pod { value: FIRST, mark: None }; pods],
            owned,
            asleep: false,
            late: false,
            by_owner: false,
            gitlab_answers: true,
            lock: None,
            kind: Kind::AgentToken,
            foreign: false,
            handed: None,
        }
    }

    fn is_active(&self, id: Value) -> bool {
        self.tokens.iter().any(|(token, _, active)| *token == id && *active)
    }

    fn most(&self) -> usize {
        self.kind.most()
    }

    fn active(&self) -> Vec<u64> {
        self.tokens.iter().filter(|t| t.2).map(|t| t.0).collect()
    }

    /// The claim: some credential is active and held.
    fn holds(&self) -> bool {
        self.is_active(self.secret) || self.pods.iter().any(|pod| self.is_active(pod.value))
    }

    /// More than is claimed, and what is aimed at: no running pod is cut off, and what the Secret holds works, unless
    /// its owner put a dead value back.
    fn aims(&self) -> bool {
        let held = self.is_active(self.secret) || self.by_owner;
        self.holds() && held && self.pods.iter().all(|pod| self.is_active(pod.value))
    }

    fn seen(&self) -> Option<Seen> {
        let held = self.journal.as_ref().map_or(Held::Old, |j| match self.secret.to_string() {
            v if v == j.old_fingerprint => Held::Old,
            v if Some(&v) == j.new_fingerprint.as_ref() => Held::New,
            _ => Held::Other,
        });
        let mark = self.journal.as_ref().map(Journal::mark);
        let pods = if self.pods.is_empty() {
            // What reads its Secret at each use.
            Pods::Current
        } else if self.template != mark {
            Pods::Behind
        } else if self.pods.iter().any(|pod| pod.mark != mark) {
            Pods::Rolling
        } else {
            Pods::Current
        };
        let listed = self.tokens.iter().filter(|t| t.2 && !(self.foreign && t.0 == FIRST));
        let tokens = listed.map(|t| Token { id: t.0, name: t.1.clone() }).collect();
        self.gitlab_answers.then(|| Seen {
            journal: self.journal.clone(),
            held,
            backup: self.backup.is_some(),
            tokens,
            pods,
            renewal_is_over: false,
        })
    }

    fn roll(&mut self, pod: usize) {
        let (value, mark) = (self.secret, self.template.clone());
        if let Some(pod) = self.pods.get_mut(pod) {
            *pod = Pod { value, mark };
        }
    }

    fn revoke(&mut self, id: u64) {
        for token in self.tokens.iter_mut().filter(|t| t.0 == id) {
            token.2 = false;
        }
    }

    /// What happens by itself. What would break the claim without us is not ours to prevent, and left out.
    fn happen(&mut self, event: Event) {
        let before = self.clone();
        match event {
            Event::Roll(pod) => self.roll(pod),
            Event::RestartInPlace(at) => {
                let value = self.secret;
                if let Some(pod) = self.pods.get_mut(at) {
                    pod.value = value;
                }
            }
            Event::Revert if self.owned => {
                let late = !self.is_active(FIRST);
                if !(late && self.late) && self.secret != FIRST {
                    self.late |= late;
                    self.by_owner = true;
                    self.secret = FIRST;
                    self.version += 1;
                }
            }
            // Who takes a rotation back does not commit what it made.
            Event::Commit if self.journal.as_ref().is_none_or(|j| j.stage != Stage::Undo) => {
                if let Some(value) = self.handed.take() {
                    self.secret = value;
                    self.by_owner = true;
                    self.version += 1;
                }
            }
            Event::Touch => self.version += 1,
            Event::GitLab(answers) => self.gitlab_answers = answers,
            Event::Expire => self.lock = None,
            Event::Commit | Event::Revert | Event::Look(_) | Event::Act(..) => {}
        }
        if before.aims() && !self.aims() {
            *self = before;
        }
    }

    fn edit(&mut self, version: u64, change: impl FnOnce(&mut Self, &mut Journal)) -> bool {
        if self.version != version {
            return false;
        }
        let Some(mut journal) = self.journal.clone() else { return false };
        change(self, &mut journal);
        self.journal = Some(journal);
        self.version += 1;
        true
    }

    /// Does an action; false where it was not done. Changes of the Secret are made for one version of it; what goes to
    /// GitLab is sent only by who holds the lock.
    fn perform(
        &mut self,
        me: usize,
        goal: Goal,
        memory: &mut Memory,
        action: &Action,
        version: u64,
        answered: bool,
    ) -> bool {
        let locked = self.lock == Some(me);
        let run = memory.run.clone();
        let done = match action {
            Action::Journal => {
                let free = self.version == version && self.journal.is_none();
                if free {
                    self.journal = Some(Journal {
                        id: format!("of-{run}"),
                        run,
                        stage: Stage::Create,
                        kind: self.kind,
                        place: String::new(),
                        old_token: (!self.foreign).then_some(self.secret),
                        new_token: None,
                        old_fingerprint: self.secret.to_string(),
                        new_fingerprint: None,
                        no_return: false,
                        keeps_old: self.foreign,
                        by_hand: goal == Goal::Begin,
                        family: None,
                        renewing: None,
                        renewing_at: None,
                        hold: false,
                        started_at: Timestamp::UNIX_EPOCH,
                        who: "somebody".to_owned(),
                    });
                    self.version += 1;
                }
                free
            }
            Action::TakeOver => self.edit(version, |_, j| j.run = run),
            Action::TurnBack(_) => self.edit(version, |_, j| j.stage = Stage::Undo),
            Action::GoForward => self.edit(version, |_, j| (j.stage, j.by_hand) = (Stage::Written, false)),
            Action::StartOver(keep) => self.edit(version, |w, j| {
                j.stage = Stage::Create;
                j.old_token = *keep;
                j.old_fingerprint = w.secret.to_string();
                (j.new_token, j.new_fingerprint, j.no_return, j.keeps_old) = (None, None, true, false);
            }),
            Action::HandOver => {
                let Some(new) = memory.in_hand else { return false };
                let done = self.edit(version, |_, j| {
                    j.stage = Stage::Handed;
                    (j.new_token, j.new_fingerprint) = (Some(new), Some(new.to_string()));
                });
                // It is handed over by the process that lives to do it.
                if done && answered {
                    self.handed = Some(new);
                }
                done
            }
            Action::Write => {
                let Some(new) = memory.in_hand else { return false };
                self.edit(version, |w, j| {
                    (w.secret, w.by_owner) = (new, false);
                    j.stage = Stage::Written;
                    (j.new_token, j.new_fingerprint) = (Some(new), Some(new.to_string()));
                })
            }
            Action::Restore => {
                let Some(old) = self.backup else { return false };
                self.edit(version, |w, _| (w.secret, w.by_owner) = (old, false))
            }
            Action::RemoveJournal(_) => {
                let done = self.edit(version, |_, _| {});
                if done {
                    self.journal = None;
                }
                done
            }
            Action::Create if locked && self.active().len() < self.most() => {
                let Some(journal) = &self.journal else { return false };
                let id = self.tokens.iter().map(|t| t.0).max().unwrap_or(0) + 1;
                self.tokens.push((id, journal.token_name(), true));
                if answered {
                    memory.in_hand = Some(id);
                }
                true
            }
            Action::Create => false,
            Action::RevokeOrphan(id) | Action::Revoke(id) => {
                if locked {
                    self.revoke(*id);
                }
                locked
            }
            Action::Backup if locked => {
                self.backup = Some(self.secret);
                true
            }
            Action::RemoveBackup if locked => {
                self.backup = None;
                true
            }
            Action::Backup | Action::RemoveBackup => false,
            Action::Restart => {
                self.template = self.journal.as_ref().map(Journal::mark);
                true
            }
            // Of a person's token only, which has a model of its own.
            Action::Intend(_) | Action::Renew(_) => false,
            Action::Wait => true,
            Action::Verify => {
                // GitLab shows that somebody used the token, not that all do.
                let read = self.pods.is_empty() || self.pods.iter().any(|p| p.value == self.secret);
                let works = self.is_active(self.secret) && read;
                memory.verified =
                    Some(if works { Proof::Yes(String::new()) } else { Proof::No(String::new()) });
                true
            }
            Action::Prove => {
                if !self.asleep {
                    self.happen(Event::Revert);
                }
                let stays = !self.owned || self.secret != FIRST;
                memory.proven =
                    Some(if stays { Proof::Yes(String::new()) } else { Proof::No(String::new()) });
                true
            }
            Action::Done(_) | Action::Stop(_) => true,
        };
        if done && answered {
            remember(memory, action);
        }
        done
    }
}

/// What a process keeps of an action that it saw done.
fn remember(memory: &mut Memory, action: &Action) {
    match action {
        Action::Journal | Action::TakeOver => memory.began = true,
        Action::TurnBack(turn) => memory.turned = Some(turn.clone()),
        _ => {}
    }
    if matches!(
        action,
        Action::Write
            | Action::HandOver
            | Action::Restore
            | Action::TurnBack(_)
            | Action::GoForward
            | Action::StartOver(_)
    ) {
        memory.forget_proofs();
    }
    if matches!(action, Action::StartOver(_) | Action::TurnBack(_) | Action::HandOver) {
        memory.in_hand = None;
    }
}

struct Play {
    world: World,
    processes: Vec<Process>,
    runs: usize,
    undo: bool,
}

impl Play {
    fn new(world: World, undo: bool, first: Goal) -> Self {
        let processes = vec![Process::new(0, first), Process::new(1, Goal::Resume)];
        Self { world, processes, runs: 2, undo }
    }

    /// After a kill the person runs it again.
    fn again(&mut self, at: usize) {
        let goal = if self.undo { Goal::Undo } else { Goal::Resume };
        self.processes[at] = Process::new(self.runs, goal);
        self.runs += 1;
        if self.world.lock == Some(at) {
            self.world.lock = None;
        }
    }

    fn look(&mut self, at: usize) {
        if self.processes[at].ended.is_some() {
            self.again(at);
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
        process.memory.recognise(seen.journal.as_ref());
        let action = next(&seen, &process.memory, process.goal);
        process.decided = Some((action, self.world.version));
    }

    fn act(&mut self, at: usize, fault: Fault) {
        let Some((action, version)) = self.processes[at].decided.take() else { return };
        if fault == Fault::KillBefore {
            return self.again(at);
        }
        let process = &mut self.processes[at];
        if matches!(action, Action::Done(_) | Action::Stop(_)) {
            process.ended = Some(action);
            if self.world.lock == Some(at) {
                self.world.lock = None;
            }
            return;
        }
        match action {
            Action::Create => process.memory.creations += 1,
            Action::RemoveJournal(outcome) => process.memory.outcome = Some(outcome),
            _ => {}
        }
        let proof = matches!(action, Action::Verify | Action::Prove);
        match fault {
            Fault::NotDone => {}
            Fault::Blind if action == Action::Verify => {
                process.memory.verified = Some(Proof::Open(String::new()))
            }
            Fault::Blind if action == Action::Prove => {
                process.memory.proven = Some(Proof::Open(String::new()))
            }
            Fault::Refused if action == Action::Create => process.memory.give_up_creating(),
            Fault::Refused if action == Action::HandOver => {
                // The journal was written, and the manifest was not.
                if self.world.perform(at, process.goal, &mut process.memory, &action, version, false) {
                    process.memory.write_refused = Some(String::new());
                }
            }
            Fault::Refused if matches!(action, Action::Write | Action::Backup) => {
                process.memory.write_refused = Some(String::new());
            }
            Fault::Refused if action == Action::Verify => {
                process.memory.verified = Some(Proof::No(String::new()))
            }
            Fault::DoneUnanswered => {
                self.world.perform(at, process.goal, &mut process.memory, &action, version, proof);
            }
            _ => {
                self.world.perform(at, process.goal, &mut process.memory, &action, version, true);
            }
        }
        if fault == Fault::KillAfter {
            self.again(at);
        }
    }

    fn play(&mut self, event: Event) {
        match event {
            Event::Look(at) => self.look(at),
            Event::Act(at, fault) => self.act(at, fault),
            // Nothing fences GitLab against the cluster: an owner that nobody saw may write the old value back between the
            // last look and the revoke, as well as after it.
            Event::Revert if self.revokes() => {}
            other => self.world.happen(other),
        }
    }

    /// A revoke was decided and is on its way.
    fn revokes(&self) -> bool {
        let revoke = |p: &Process| matches!(p.decided, Some((Action::Revoke(_), _)));
        self.processes.iter().any(revoke)
    }

    /// Everything answers again: one more run must reach the end. None where an owner that nobody saw wrote a dead value
    /// back while two tokens were held by pods: that is said, and nothing is taken away.
    fn finish(&mut self) -> Option<Outcome> {
        self.world.gitlab_answers = true;
        self.world.lock = None;
        // Who was handed something commits it; of what nobody was handed nothing is left but the way back.
        let stage = self.world.journal.as_ref().map(|j| j.stage);
        self.world.happen(Event::Commit);
        self.undo = stage == Some(Stage::Handed) && self.world.secret == FIRST;
        self.again(0);
        for _ in 0..200 {
            self.look(0);
            self.act(0, Fault::None);
            assert!(self.world.holds(), "{:?}", self.world);
            for pod in 0..self.world.pods.len() {
                self.world.happen(Event::Roll(pod));
            }
            match &self.processes[0].ended {
                Some(Action::Done(outcome)) => return Some(*outcome),
                Some(Action::Stop(_)) if self.world.by_owner && self.world.late => return None,
                Some(other) => panic!("no clean end: {other:?} {:?}", self.world),
                None => {}
            }
        }
        panic!("no end: {:?}", self.world)
    }
}

/// Plays the events and then one run to the end. Without gaps a process acts as soon as it has looked.
fn check(world: World, undo: bool, first: Goal, gaps: bool, events: Vec<Event>) -> Result<(), TestCaseError> {
    let mut play = Play::new(world, undo, first);
    for event in events {
        match event {
            Event::Act(at, fault) if !gaps => {
                play.look(at);
                let dead = play.world.by_owner && !play.world.is_active(play.world.secret);
                play.act(at, fault);
                let now = play.world.by_owner && !play.world.is_active(play.world.secret);
                prop_assert!(dead || !now, "revoked what the Secret holds: {:?}", play.world);
            }
            Event::Look(_) if !gaps => {}
            event => play.play(event),
        }
        // What is aimed at cannot be had from a process that sleeps between looking and acting; the claim can.
        let well = if gaps { play.world.holds() } else { play.world.aims() };
        prop_assert!(well, "after {event:?}: {:?}", play.world);
        prop_assert!(play.world.active().len() <= play.world.most());
    }
    let Some(outcome) = play.finish() else { return Ok(()) };
    let world = &play.world;
    prop_assert!(world.journal.is_none() && world.backup.is_none(), "{world:?}");
    prop_assert!(world.active().len() <= 2, "{world:?}");
    if outcome == Outcome::Rotated {
        let kept = if world.foreign { vec![FIRST, world.secret] } else { vec![world.secret] };
        prop_assert_eq!(world.active(), kept);
        prop_assert!(world.pods.iter().all(|p| p.value == world.secret), "{:?}", world);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn some_credential_is_active_and_held_at_every_instant(
        pods in 0..4_usize,
        owned in any::<bool>(),
        asleep in any::<bool>(),
        foreign in prop::bool::weighted(0.2),
        begin in prop::bool::weighted(0.3),
        undo in prop::bool::weighted(0.2),
        gaps in any::<bool>(),
        events in prop::collection::vec(event(), 0..160),
    ) {
        // agentk reads its token once; whatever has no pods reads a Secret of any other kind at each use.
        let kind = if pods == 0 { Kind::DeployToken } else { Kind::AgentToken };
        let foreign = foreign && pods == 0;
        let first = if begin { Goal::Begin } else { Goal::Rotate };
        check(World { asleep, kind, foreign, ..World::new(pods, owned) }, undo, first, gaps, events)?;
    }
}

/// Where it is killed: once before and once after each action of a run without another fault.
#[test]
fn killed_at_every_step_it_is_resumed_to_the_end() {
    for undo in [false, true] {
        for fault in [Fault::KillBefore, Fault::KillAfter, Fault::NotDone, Fault::DoneUnanswered] {
            for at in 0..12 {
                let mut play = Play::new(World::new(2, false), undo, Goal::Rotate);
                let mut count = 0;
                while play.processes[0].ended.is_none() {
                    play.look(0);
                    play.act(0, if count == at { fault } else { Fault::None });
                    assert!(play.world.aims(), "{:?}", play.world);
                    (0..2).for_each(|pod| play.world.roll(pod));
                    count += 1;
                    assert!(count < 60, "{fault:?} at {at}: {:?}", play.world);
                }
                assert!(play.finish().is_some());
                let world = &play.world;
                assert_eq!(world.active(), [world.secret], "{fault:?} at {at}: {world:?}");
                assert!(world.journal.is_none() && world.backup.is_none());
            }
        }
    }
}

/// The steps of a run in which all goes well, in their order.
#[test]
fn all_goes_well() {
    use Action::{Backup, Create, Done, Prove, RemoveBackup, RemoveJournal, Restart, Revoke, Verify, Write};
    let mut play = Play::new(World::new(2, false), false, Goal::Rotate);
    let mut steps = Vec::new();
    loop {
        play.look(0);
        let Some((action, _)) = play.processes[0].decided.clone() else { panic!("decides") };
        play.act(0, Fault::None);
        (0..2).for_each(|pod| play.world.roll(pod));
        steps.push(action);
        if let Some(Done(outcome)) = &play.processes[0].ended {
            assert_eq!(*outcome, Outcome::Rotated);
            break;
        }
    }
    let rotated = Outcome::Rotated;
    assert_eq!(
        steps,
        [
            Action::Journal,
            Create,
            Backup,
            Write,
            Restart,
            Verify,
            Prove,
            Revoke(FIRST),
            RemoveBackup,
            RemoveJournal(rotated),
            Done(rotated)
        ]
    );
    assert!(steps.is_sorted_by_key(Action::step), "{steps:?}");
}

/// An owner that nobody saw: the reconciliation that proves it gives the old value back, and nothing was revoked.
#[test]
fn what_is_reverted_is_undone() {
    let mut play = Play::new(World::new(2, true), false, Goal::Rotate);
    for _ in 0..40 {
        play.look(0);
        play.act(0, Fault::None);
        (0..2).for_each(|pod| play.world.roll(pod));
        if let Some(Action::Done(outcome)) = &play.processes[0].ended {
            assert_eq!(*outcome, Outcome::Undone);
            assert_eq!(play.world.active(), [FIRST]);
            assert_eq!(play.processes[0].memory.turned, Some(Turn::Reverted));
            return;
        }
    }
    panic!("no end: {:?}", play.world);
}

/// Somebody writes another value while it is under way: nothing is taken away from them.
#[test]
fn what_somebody_else_wrote_stays() {
    let mut play = Play::new(World::new(1, false), false, Goal::Rotate);
    while !matches!(play.world.journal.as_ref().map(|j| j.stage), Some(Stage::Written)) {
        play.look(0);
        play.act(0, Fault::None);
    }
    play.world.secret = 77;
    play.world.tokens.push((77, "by hand".to_owned(), true));
    assert_eq!(play.finish(), Some(Outcome::Abandoned));
    assert_eq!((play.world.secret, play.world.active().len()), (77, 3));
}
