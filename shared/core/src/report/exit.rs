//! How a run ends: the process's exit code, and the same in the machine output.

use super::{CheckLine, Problem};
use crate::assess::{Severity, Verdict};
use crate::facts::Facts;

/// How a run ends: the process's exit code, and the same in the machine output (docs/exit-codes.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Nothing at or above the threshold.
    Fine,
    /// Problems at or above the threshold.
    Problems,
    /// The arguments made no sense.
    Usage,
    /// It could not find out: permissions missing, or part of the answer.
    Unknown,
    /// The cluster or GitLab could not be reached, or refused the credential.
    Unreachable,
    /// Refused before anything was changed.
    Refused,
    /// It failed, and what had been changed was undone.
    Undone,
    /// It stopped midway; `--resume` goes on.
    Midway,
    /// A defect of this program.
    Bug,
    /// What was to be written, to standard output or a file, could not be.
    Unwritten,
    /// The run's deadline passed.
    TimedOut,
    /// Ctrl-C.
    Interrupted,
    /// SIGTERM.
    Terminated,
    /// SIGHUP.
    HungUp,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Problems => 1,
            Self::Usage => 2,
            Self::Unknown => 3,
            Self::Unreachable => 4,
            Self::Refused => 5,
            Self::Undone => 6,
            Self::Midway => 7,
            Self::Bug => 70,
            Self::Unwritten => 74,
            Self::TimedOut => 124,
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::HungUp => 129,
        }
    }
}

/// Missing permissions (GA102) do not count as problems of the cluster: they are why something is not known.
pub(super) fn exit(found: &[Problem], checks: &[CheckLine], facts: &Facts<'_>, fail_on: Severity) -> Exit {
    if facts.snapshot.server.get().is_err_and(|why| why.kind.is_silence()) {
        return Exit::Unreachable;
    }
    let denied = |p: &Problem| p.check.code == 102;
    // Nor is a GitLab that does not answer the cluster's problem.
    let gitlab = |p: &Problem| p.check.code == 105;
    if found.iter().any(|p| !denied(p) && !gitlab(p) && p.severity >= fail_on) {
        return Exit::Problems;
    }
    let silent = || {
        facts.gitlab().is_ok_and(|g| {
            let whys = [g.metadata.get().err(), g.token.get().err()];
            whys.into_iter().flatten().any(|why| why.kind.is_silence())
        })
    };
    if found.iter().any(|p| gitlab(p) && p.severity >= fail_on) {
        return if silent() { Exit::Unreachable } else { Exit::Unknown };
    }
    // The API server answered: what it left unanswered beside that is a gap, and the rest is judged.
    let lacking = || checks.iter().flat_map(|c| &c.unknown);
    if lacking().any(|why| why.kind.is_silence()) && silent() {
        return Exit::Unreachable;
    }
    // What was not asked for does not spoil the verdict: no GitLab given, or a run limited to a namespace.
    let could_not = lacking().any(|why| !why.kind.is_a_choice());
    let nothing_checked = found.is_empty() && !checks.iter().any(|c| c.verdict == Verdict::Pass);
    if could_not || nothing_checked || found.iter().any(denied) { Exit::Unknown } else { Exit::Fine }
}
