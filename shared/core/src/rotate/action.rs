//! What can be done next, why it goes back, and how it ends.

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
    /// The Secret was made again: write the journal that this process knows onto it.
    Adopt,
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
    /// Write `handed`: the new value is given to a person next.
    HandOver,
    /// Give the new value to a person.
    Deliver,
    /// Ask the pods to restart.
    Restart,
    /// Wait for the pods.
    Wait,
    /// Wait until GitLab's lists show what was done: they lag.
    Settle,
    /// See from both ends that what the Secret holds works.
    Verify,
    /// See that no owner takes the value back.
    Prove,
    /// Look once more whether anything else holds or uses this token, which is revoked next.
    Survey(u64),
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
    ProveUnused,
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
            Self::ProveUnused => "prove-unused",
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
            | Self::Adopt
            | Self::TakeOver
            | Self::TurnBack(_)
            | Self::GoForward
            | Self::StartOver(_) => Step::Journal,
            Self::RevokeOrphan(_) | Self::Create | Self::Renew(_) => Step::Create,
            Self::Survey(_) => Step::ProveUnused,
            Self::Revoke(_) => Step::Revoke,
            Self::Backup | Self::Write | Self::HandOver | Self::Deliver | Self::Restore => Step::Write,
            Self::Restart | Self::Wait => Step::RollOut,
            Self::Verify => Step::Verify,
            Self::Prove => Step::ProveNotReverted,
            Self::Settle | Self::RemoveBackup | Self::RemoveJournal(_) | Self::Done(_) | Self::Stop(_) => {
                Step::Clean
            }
        }
    }
}
