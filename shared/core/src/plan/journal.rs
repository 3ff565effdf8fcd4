//! What happened to each hop of a plan, for people and programs; and how such a run ends.

use std::time::Duration;

use crate::command::{Hint, kubectl};
use crate::object::ObjectRef;
use crate::report::Exit;

use super::Hop;
use super::pods::Pods;

/// How a hop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It was asked and is done.
    Done,
    /// It was asked and failed.
    Failed,
    /// It was asked, and waits for something that is not coming.
    Waiting,
    /// It was suspended while we waited.
    Suspended,
    /// It was deleted while we waited.
    Deleted,
    /// Its controller does not answer.
    Unanswered,
    /// It may not be asked.
    Forbidden,
    /// The cluster did not answer.
    Unreachable,
    /// The deadline passed while it was under way.
    TimedOut,
    /// It was not asked, because something before it did not get done.
    NotAsked,
}

impl State {
    /// One word, also for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Waiting => "waiting",
            Self::Suspended => "suspended",
            Self::Deleted => "deleted",
            Self::Unanswered => "unanswered",
            Self::Forbidden => "forbidden",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed-out",
            Self::NotAsked => "not-asked",
        }
    }

    /// The exit code that it stands for.
    fn exit(self) -> Exit {
        match self {
            Self::Done | Self::NotAsked => Exit::Fine,
            Self::Failed | Self::Waiting | Self::Suspended | Self::Deleted | Self::Unanswered => {
                Exit::Problems
            }
            Self::Forbidden => Exit::Unknown,
            Self::Unreachable => Exit::Unreachable,
            Self::TimedOut => Exit::TimedOut,
        }
    }
}

/// The end of a hop.
#[derive(Clone, Debug)]
pub struct End {
    /// How.
    pub state: State,
    /// The revision in place, where known.
    pub revision: String,
    /// One word of the controller, or empty.
    pub reason: String,
    /// What it means, in one sentence without a full stop.
    pub meaning: String,
    /// What came back, as it came; cluster text.
    pub said: String,
    /// What to do, or empty. Behind a line break comes a command.
    pub hint: Hint,
    /// From our request to the end.
    pub took: Duration,
    /// What became of the pods that it deployed, where it deployed any.
    pub pods: Option<Pods>,
}

impl End {
    /// An end with a meaning and nothing else.
    pub fn new(state: State, meaning: impl Into<String>) -> Self {
        Self {
            state,
            revision: String::new(),
            reason: String::new(),
            meaning: meaning.into(),
            said: String::new(),
            hint: Hint::default(),
            took: Duration::ZERO,
            pods: None,
        }
    }

    /// The exit code that it stands for.
    fn exit(&self) -> Exit {
        match (self.state, &self.pods) {
            (State::Done, Some(Pods::Broken(_))) => Exit::Problems,
            (State::Done, Some(Pods::Late(_))) => Exit::TimedOut,
            (state, _) => state.exit(),
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Hint>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Adds what came back.
    #[must_use]
    pub fn said(mut self, said: impl Into<String>) -> Self {
        self.said = said.into();
        self
    }
}

/// Something that happened, as it happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// The request was made.
    Asked {
        /// The hop.
        hop: usize,
        /// It was resumed by the same change.
        resumed: bool,
        /// Another's request had taken the place of ours, so ours was made again.
        again: bool,
        /// The push event's way was used: who annotated the source.
        webhook: bool,
    },
    /// What its controller says that it is doing.
    Working {
        /// The hop.
        hop: usize,
        /// What it says.
        phase: String,
    },
    /// Something worth a line that is no end.
    Note {
        /// The hop, where it is about one.
        hop: Option<usize>,
        /// The text.
        text: String,
    },
    /// A hop ended.
    Ended {
        /// The hop.
        hop: usize,
        /// How.
        end: End,
    },
    /// A hop is done, and the pods that it deployed do not all run yet.
    Deploying {
        /// The hop.
        hop: usize,
        /// Which workload, and how far it is.
        text: String,
    },
    /// What became of the pods of a hop.
    Deployed {
        /// The hop.
        hop: usize,
        /// What.
        pods: Pods,
    },
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Journal {
    /// How each hop ended, in the plan's order.
    pub ends: Vec<End>,
    /// From the first request to the last answer, and to the last pod that runs.
    pub took: Duration,
}

impl Journal {
    /// The exit code: an unreachable cluster first, then what failed, then what was not permitted, then time.
    pub fn exit(&self) -> Exit {
        let order = [Exit::Unreachable, Exit::Problems, Exit::Unknown, Exit::TimedOut];
        order.into_iter().find(|exit| self.ends.iter().any(|e| e.exit() == *exit)).unwrap_or(Exit::Fine)
    }

    /// One word for the whole.
    pub fn verdict(&self) -> &'static str {
        match self.exit() {
            Exit::Fine => "done",
            Exit::Unreachable => "unreachable",
            Exit::Unknown => "forbidden",
            Exit::TimedOut => "timed-out",
            _ => "failed",
        }
    }

    /// How many hops ended so.
    pub fn count(&self, state: State) -> usize {
        self.ends.iter().filter(|e| e.state == state).count()
    }
}

/// The end of a hop that is not asked because `before` did not get done.
pub fn not_asked(before: &Hop) -> End {
    End::new(State::NotAsked, format!("not asked: it comes after {}", before.object))
}

/// The end of a hop whose controller does not answer.
pub fn unanswered(controller: &ObjectRef, ready: Option<(i64, i64)>) -> End {
    let meaning = match ready {
        None => format!("nobody answers: {controller} does not exist"),
        Some((wanted, ready)) => {
            format!("nobody answers: {ready} of {wanted} pods of {controller} are ready")
        }
    };
    let kubectl = |words| kubectl(&controller.namespace, words).object(controller);
    let hint = match ready {
        None => Hint::verify("says what of Flux is missing"),
        Some((0, _)) => Hint::command(kubectl("scale --replicas=1"), "starts it"),
        Some(_) => Hint::command(kubectl("describe"), "says why"),
    };
    End::new(State::Unanswered, meaning).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(states: &[State]) -> u8 {
        let ends = states.iter().map(|s| End::new(*s, "")).collect();
        Journal { ends, took: Duration::ZERO }.exit().code()
    }

    #[test]
    fn the_worst_hop_decides_how_the_run_ends() {
        assert_eq!(exit(&[State::Done, State::Done]), 0);
        assert_eq!(exit(&[State::Done, State::Failed, State::NotAsked]), 1);
        assert_eq!(exit(&[State::Forbidden, State::NotAsked]), 3);
        assert_eq!(exit(&[State::Forbidden, State::Failed]), 1);
        assert_eq!(exit(&[State::Failed, State::Unreachable]), 4);
        assert_eq!(exit(&[State::TimedOut]), 124);
        assert_eq!(exit(&[State::TimedOut, State::Unanswered]), 1);
    }

    #[test]
    fn what_was_applied_and_does_not_run_is_not_fine() {
        let with = |pods: Pods| {
            let end = End { pods: Some(pods), ..End::new(State::Done, "") };
            Journal { ends: vec![end], took: Duration::ZERO }.exit().code()
        };
        assert_eq!(with(Pods::Running { after: Duration::ZERO }), 0);
        assert_eq!(with(Pods::Broken(String::new())), 1);
        assert_eq!(with(Pods::Late(String::new())), 124);
        assert_eq!(with(Pods::Unknown(String::new())), 0);
    }
}
