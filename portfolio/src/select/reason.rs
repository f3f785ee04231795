//! The reasons of a choice, as values and as words.

use std::{fmt, time::Duration};

use crate::name::VariantName;

/// Why a variant was chosen. Its [`Reason::as_str`] is the reason that users see in status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is pinned.
    Pinned,
    /// The load is unknown: what was active stays.
    LoadUnknown,
    /// It is active, meets the objective, and nothing more accurate would.
    MeetsObjective,
    /// The active variant misses the objective; this is the most accurate that meets it.
    SteppedDown,
    /// It is more accurate than the active one and was affordable during the whole step-up window.
    SteppedUp,
    /// No variant meets the objective: this is the fastest that fits.
    NothingMeetsObjective,
    /// Nothing that may run was measured on this node yet: what was active stays.
    NothingMeasured,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Pinned,
        Self::LoadUnknown,
        Self::MeetsObjective,
        Self::SteppedDown,
        Self::SteppedUp,
        Self::NothingMeetsObjective,
        Self::NothingMeasured,
    ];

    /// The reason as one `CamelCase` word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pinned => "Pinned",
            Self::LoadUnknown => "LoadUnknown",
            Self::MeetsObjective => "MeetsObjective",
            Self::SteppedDown => "SteppedDown",
            Self::SteppedUp => "SteppedUp",
            Self::NothingMeetsObjective => "NothingMeetsObjective",
            Self::NothingMeasured => "NothingMeasured",
        }
    }
}

/// A variant that was not chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// The variant.
    pub variant: VariantName,
    /// Why.
    pub refusal: Refusal,
}

/// Why a variant was not chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Refusal {
    /// The operator allows only less accurate ones now.
    AboveCeiling,
    /// The node has not measured it.
    NotMeasured,
    /// It does not fit in the node's memory.
    Memory {
        /// What the runtime would need with this variant.
        needed_bytes: u64,
        /// What it may use.
        limit_bytes: u64,
    },
    /// Its latency would be too long.
    TooSlow {
        /// The predicted quantile of the latency.
        predicted: Duration,
        /// What was allowed.
        limit: Duration,
        /// Items per second for which this was predicted.
        load: f64,
    },
    /// It cannot do that much work.
    Overload {
        /// Items per second for which this was predicted.
        load: f64,
    },
    /// The load was not yet observed for a whole step-up window.
    ObservedTooShortly,
    /// An earlier step up had to be taken back; the next one waits.
    BackingOff,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variant, self.refusal)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AboveCeiling => f.write_str("above the ceiling"),
            Self::NotMeasured => f.write_str("not measured on this node"),
            Self::Memory { needed_bytes, limit_bytes } => {
                let mebibytes = |bytes: &u64| bytes.div_ceil(1 << 20);
                write!(f, "needs {} MiB of {} MiB", mebibytes(needed_bytes), mebibytes(limit_bytes))
            }
            Self::TooSlow { predicted, limit, load } => {
                let ms = |duration: &Duration| duration.as_secs_f64() * 1e3;
                write!(f, "{:.1} ms > {:.1} ms at {load:.0}/s", ms(predicted), ms(limit))
            }
            Self::Overload { load } => write!(f, "overload at {load:.0}/s"),
            Self::ObservedTooShortly => f.write_str("step-up window not over"),
            Self::BackingOff => f.write_str("backing off after a step up that failed"),
        }
    }
}
