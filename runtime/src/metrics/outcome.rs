//! How requests end.

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was answered.
    Answered,
    /// It was refused at once, or given up, for there was too much to do.
    Shed,
    /// It was not a request that can be answered.
    Invalid,
    /// The runtime failed.
    Failed,
    /// Its connection, or its call, ended before.
    Cancelled,
}

impl Outcome {
    /// All of them.
    pub(super) const ALL: [Self; 5] =
        [Self::Answered, Self::Shed, Self::Invalid, Self::Failed, Self::Cancelled];

    /// In one word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Shed => "shed",
            Self::Invalid => "invalid",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}
