//! What can be wrong with a row, count by count, so that a known failure excuses no other.

/// One kind of failure, which has a count of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Lost,
    Doubled,
    Wrong,
    Phantom,
    Contradictory,
    Errors,
    Late,
    DeadLetters,
    RepeatedReplies,
    Panics,
    Memory,
    Growth,
    /// It took too long until answers came as usual.
    Recovery,
    /// What the action of the row found itself.
    Check,
    /// The row could not be run, or not be judged.
    Run,
}

impl Count {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Wrong => "wrong",
            Self::Phantom => "phantom",
            Self::Contradictory => "contradictory",
            Self::Errors => "answered with an error",
            Self::Late => "late",
            Self::DeadLetters => "dead letters too many or too few",
            Self::RepeatedReplies => "repeated replies",
            Self::Panics => "panics",
            Self::Memory => "memory",
            Self::Growth => "growth",
            Self::Recovery => "recovery",
            Self::Check => "the row's own check",
            Self::Run => "the run",
        }
    }
}

/// A failure of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) count: Count,
    pub(crate) text: String,
}

/// A count that is known to be wrong in a row, and why; no other is excused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Excuse {
    pub(crate) count: Count,
    pub(crate) why: &'static str,
}
