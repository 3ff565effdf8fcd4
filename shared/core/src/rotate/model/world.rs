//! A model of both servers: GitLab with its lagging lists, the Secret, the Deployments that read it, its owner, and whoever
//! else holds the value.

use jiff::Timestamp;
use proptest::prelude::*;

use super::super::*;
use super::meddle::{Meddling, meddling};

/// A value of a token is the number of that token: nobody reads it but to compare.
pub(super) type Value = u64;

/// The token that is there at first.
pub(super) const FIRST: Value = 1;

/// A list lags for so many pauses at most. Longer than that nobody waits.
const LAG: u32 = 9;

#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) value: Value,
    pub(super) mark: Option<String>,
}

/// A Deployment that reads the Secret.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) template: Option<String>,
    pub(super) pods: Vec<Pod>,
}

/// A token in GitLab.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Made {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) active: bool,
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) tokens: Vec<Made>,
    /// What a replica that lags behind shows: what was there before each change, and for how many pauses more it does not know
    /// of that change; the oldest first.
    pub(super) replica: Vec<(Vec<Made>, u32)>,
    /// The next look is answered by that replica.
    pub(super) lags: bool,
    pub(super) secret: Value,
    pub(super) journal: Option<Journal>,
    pub(super) version: u64,
    /// The Secret that keeps the old value: of which rotation, and the value.
    pub(super) backup: Option<(String, Value)>,
    /// `metadata.uid` of the Secret.
    pub(super) uid: u64,
    /// The token that the Secret's annotation names.
    pub(super) named: Option<Value>,
    /// Journals that were ever on the Secret: a backup may bring one back.
    pub(super) history: Vec<Journal>,
    /// An owner has appeared since the rotation began.
    pub(super) appeared: bool,
    /// Somebody changed the journal, or brought an old one back.
    pub(super) meddled: bool,
    pub(super) groups: Vec<Group>,
    /// Other Secrets with a value of ours, in any namespace.
    pub(super) copies: Vec<Value>,
    /// Pods of a second cluster with a value of ours: GitLab lists their connections.
    pub(super) elsewhere: Vec<Value>,
    /// What was revoked while it was held where it could be seen.
    pub(super) cut_off: Vec<Value>,
    /// An owner that nobody saw writes the first value back when it reconciles.
    pub(super) owned: bool,
    /// It left a sign on the Secret.
    pub(super) signed: bool,
    /// The owner does not reconcile when it is asked to: it is suspended, and wakes later.
    pub(super) asleep: bool,
    /// The owner came late once already.
    pub(super) late: bool,
    /// The Secret holds what the owner wrote last.
    pub(super) by_owner: bool,
    pub(super) gitlab_answers: bool,
    pub(super) lock: Option<usize>,
    pub(super) kind: Kind,
    /// The first value is a token that is not listed among these, and not ours to revoke.
    pub(super) foreign: bool,
    /// What a person was handed, to bring it into the Secret through its owner.
    pub(super) handed: Option<Value>,
    /// All that a person was ever handed.
    pub(super) delivered: Vec<Value>,
}

/// What may happen to one action on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
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
pub(super) enum Event {
    /// A process looks and decides.
    Look(usize),
    /// A process does what it decided, however long ago.
    Act(usize, Fault),
    /// SIGINT, SIGTERM or SIGHUP.
    Signal(usize),
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
    /// GitLab's next answer comes from the replica that lags, or from one that does not.
    Lag(bool),
    /// The holder of the lock does not renew it in time.
    Expire,
    /// Somebody copies what the Secret holds into another Secret, or into a second cluster.
    Copy(bool),
    /// An owner appears that the Secret did not have.
    Own,
    /// Somebody does what nobody should.
    Meddle(Meddling),
    /// Whoever has copies writes into them what the Secret holds.
    Follow,
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

pub(super) fn event() -> impl Strategy<Value = Event> {
    let process = prop_oneof![4 => Just(0_usize), 1 => Just(1_usize)];
    prop_oneof![
        10 => process.clone().prop_map(Event::Look),
        14 => (process.clone(), fault()).prop_map(|(process, fault)| Event::Act(process, fault)),
        1 => process.prop_map(Event::Signal),
        6 => (0..6_usize).prop_map(Event::Roll),
        1 => (0..6_usize).prop_map(Event::RestartInPlace),
        1 => Just(Event::Revert),
        1 => Just(Event::Commit),
        1 => Just(Event::Touch),
        1 => any::<bool>().prop_map(Event::GitLab),
        2 => any::<bool>().prop_map(Event::Lag),
        1 => Just(Event::Expire),
        1 => any::<bool>().prop_map(Event::Copy),
        1 => Just(Event::Follow),
        1 => Just(Event::Own),
        1 => meddling().prop_map(Event::Meddle),
    ]
}

impl World {
    /// So many pods in so many Deployments.
    pub(super) fn new(pods: usize, groups: usize, owned: bool) -> Self {
        let group = Group { template: None, pods: vec![Pod { value: FIRST, mark: None }; pods] };
        Self {
            tokens: vec![Made { id: FIRST, name: "first".to_owned(), active: true }],
            replica: Vec::new(),
            lags: false,
            secret: FIRST,
            journal: None,
            version: 0,
            backup: None,
            uid: 1,
            named: Some(FIRST),
            history: Vec::new(),
            appeared: false,
            meddled: false,
            groups: if pods == 0 { Vec::new() } else { vec![group; groups] },
            copies: Vec::new(),
            elsewhere: Vec::new(),
            cut_off: Vec::new(),
            owned,
            signed: false,
            asleep: false,
            late: false,
            by_owner: false,
            gitlab_answers: true,
            lock: None,
            kind: Kind::AgentToken,
            foreign: false,
            handed: None,
            delivered: Vec::new(),
        }
    }

    pub(super) fn is_active(&self, id: Value) -> bool {
        self.tokens.iter().any(|token| token.id == id && token.active)
    }

    pub(super) fn most(&self) -> usize {
        self.kind.most()
    }

    pub(super) fn active(&self) -> Vec<u64> {
        self.tokens.iter().filter(|t| t.active).map(|t| t.id).collect()
    }

    pub(super) fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.groups.iter().flat_map(|g| &g.pods)
    }

    /// Whoever holds it besides the Secret and the pods that read it, and can be seen.
    pub(super) fn others(&self) -> impl Iterator<Item = Value> {
        self.copies.iter().chain(&self.elsewhere).copied()
    }

    /// What speaks against beginning: preflight sees it.
    pub(super) fn is_refused(&self, goal: Goal) -> bool {
        self.others().next().is_some() || self.signed && goal == Goal::Rotate
    }

    /// The claim: some credential is active and held.
    pub(super) fn holds(&self) -> bool {
        self.is_active(self.secret) || self.pods().any(|pod| self.is_active(pod.value))
    }

    /// More than is claimed, and what is aimed at: no running pod and no holder that can be seen is cut off, and what the
    /// Secret holds works, unless its owner put a dead value back.
    pub(super) fn aims(&self) -> bool {
        let held = self.is_active(self.secret) || self.by_owner;
        let pods = self.pods().all(|pod| self.is_active(pod.value));
        self.holds() && held && pods && self.others().all(|value| self.is_active(value))
    }

    /// GitLab's list, from one replica or the other.
    fn listed(&self) -> Vec<Token> {
        let all = self.replica.first().filter(|_| self.lags).map_or(&self.tokens, |(before, _)| before);
        let listed = all.iter().filter(|t| t.active && !(self.foreign && t.id == FIRST));
        listed.map(|t| Token { id: t.id, name: t.name.clone() }).collect()
    }

    /// GitLab's tokens change: a replica shows them as they were for a while.
    pub(super) fn change_tokens(&mut self, change: impl FnOnce(&mut Vec<Made>)) {
        let before = self.tokens.clone();
        change(&mut self.tokens);
        if before != self.tokens {
            self.replica.push((before, LAG));
        }
    }

    /// A pause goes by, and the replica catches up at last.
    pub(super) fn pause(&mut self) {
        self.replica.iter_mut().for_each(|(_, left)| *left -= 1);
        self.replica.retain(|(_, left)| *left > 0);
    }

    pub(super) fn seen(&self) -> Option<Seen> {
        let held = self.journal.as_ref().map_or(Held::Old, |j| match self.secret.to_string() {
            v if v == j.old_fingerprint => Held::Old,
            v if Some(&v) == j.new_fingerprint.as_ref() => Held::New,
            _ => Held::Other,
        });
        let mark = self.journal.as_ref().map(Journal::mark);
        let stray = self.journal.as_ref().is_some_and(|j| self.is_stray(j));
        // What reads its Secret at each use has no group.
        let pods = Pods::all(self.groups.iter().map(|group| {
            if group.template != mark {
                Pods::Behind
            } else if group.pods.iter().any(|pod| pod.mark != mark) {
                Pods::Rolling
            } else {
                Pods::Current
            }
        }));
        self.gitlab_answers.then(|| Seen {
            journal: self.journal.clone(),
            held,
            uid: self.uid.to_string(),
            named: self.named.filter(|_| self.kind == Kind::AgentToken),
            stray: stray.then(|| "the journal is not of this Secret".to_owned()),
            backup: self.kept().is_some(),
            tokens: self.listed(),
            pods,
            renewal_is_over: false,
        })
    }

    /// What is kept of the value from before, for the rotation of this journal.
    pub(super) fn kept(&self) -> Option<Value> {
        let id = &self.journal.as_ref()?.id;
        self.backup.as_ref().filter(|(of, _)| of == id).map(|(_, value)| *value)
    }

    pub(super) fn old_value(&self) -> Option<Value> {
        self.journal.as_ref()?.old_fingerprint.parse().ok()
    }

    /// The Secret's annotation names this token.
    pub(super) fn name(&mut self, id: Option<Value>) {
        self.named = id;
    }

    pub(super) fn write_journal(&mut self, journal: Journal) {
        self.history.push(journal.clone());
        self.journal = Some(journal);
        self.version += 1;
    }

    fn is_stray(&self, journal: &Journal) -> bool {
        let kept = self.kept().filter(|_| !journal.no_return);
        journal.uid != self.uid.to_string()
            || kept.is_some_and(|value| value.to_string() != journal.old_fingerprint)
    }

    /// The last look: who else holds it, whose pods use it, who has come to own the Secret; and of what is public of a
    /// credential, whether the Secret holds it.
    pub(super) fn is_unused(&self, id: Value) -> bool {
        let ours = self.pods().map(|pod| pod.value).chain(self.others());
        let public = self.kind != Kind::AgentToken && self.secret == id;
        !public && !self.appeared && ours.into_iter().all(|value| value != id)
    }

    fn pod(&mut self, at: usize) -> Option<(&mut Pod, Option<String>)> {
        let group = self.groups.len().checked_sub(1).map(|last| at % (last + 1))?;
        let group = &mut self.groups[group];
        let template = group.template.clone();
        let at = at / 2 % group.pods.len().max(1);
        Some((group.pods.get_mut(at)?, template))
    }

    pub(super) fn roll(&mut self, at: usize) {
        let value = self.secret;
        if let Some((pod, mark)) = self.pod(at) {
            *pod = Pod { value, mark };
        }
    }

    /// All pods are replaced from their templates.
    pub(super) fn roll_all(&mut self) {
        let value = self.secret;
        for group in &mut self.groups {
            let mark = group.template.clone();
            group.pods.iter_mut().for_each(|pod| *pod = Pod { value, mark: mark.clone() });
        }
    }

    /// Revokes a token on purpose; whoever else holds it and can be seen is cut off by that.
    pub(super) fn revoke(&mut self, id: u64) {
        if self.others().any(|value| value == id) {
            self.cut_off.push(id);
        }
        self.change_tokens(|tokens| tokens.iter_mut().filter(|t| t.id == id).for_each(|t| t.active = false));
    }

    /// What happens by itself. What would break the claim without us is not ours to prevent, and left out.
    pub(super) fn happen(&mut self, event: Event) {
        let before = self.clone();
        match event {
            Event::Roll(pod) => self.roll(pod),
            Event::RestartInPlace(at) => {
                let value = self.secret;
                if let Some((pod, _)) = self.pod(at) {
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
            Event::Own => self.appeared = self.journal.is_some(),
            Event::Meddle(meddling) => self.meddle(meddling),
            Event::GitLab(answers) => self.gitlab_answers = answers,
            Event::Lag(lags) => self.lags = lags,
            Event::Expire => self.lock = None,
            Event::Copy(elsewhere) => {
                let value = self.secret;
                if elsewhere { self.elsewhere.push(value) } else { self.copies.push(value) }
            }
            Event::Follow => {
                let value = self.secret;
                self.copies.iter_mut().chain(&mut self.elsewhere).for_each(|copy| *copy = value);
            }
            Event::Commit | Event::Revert | Event::Look(_) | Event::Act(..) | Event::Signal(_) => {}
        }
        if before.aims() && !self.aims() {
            *self = before;
        }
    }

    /// A journal as this rotation begins it.
    pub(super) fn begin(&self, run: String, goal: Goal) -> Journal {
        Journal {
            id: format!("of-{run}"),
            run,
            stage: Stage::Create,
            kind: self.kind,
            place: String::new(),
            old_token: (!self.foreign).then_some(self.secret),
            new_token: None,
            old_fingerprint: self.secret.to_string(),
            new_fingerprint: None,
            old_mark: None,
            new_mark: None,
            pods: Vec::new(),
            no_return: false,
            keeps_old: self.foreign,
            by_hand: goal == Goal::Begin,
            family: None,
            renewing: None,
            renewing_at: None,
            hold: false,
            host: None,
            uid: self.uid.to_string(),
            owners: None,
            started_at: Timestamp::UNIX_EPOCH,
            who: "somebody".to_owned(),
        }
    }
}
