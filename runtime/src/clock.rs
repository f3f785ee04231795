//! The clocks of this process. Everything that decides by time takes a [`Moment`] or an [`Instant`] instead of asking here.

use std::time::{Duration, Instant};

use dnnshifter_portfolio::Moment;
use rustix::time::{ClockId, clock_gettime};

/// The monotonic clock, as moments since it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// The present.
    pub(crate) fn now(self) -> Moment {
        Moment::after_start(self.0.elapsed())
    }
}

/// CPU time that the calling thread has used.
pub(crate) fn thread_cpu() -> Duration {
    cpu(ClockId::ThreadCPUTime)
}

/// CPU time that all threads of the process have used.
pub(crate) fn process_cpu() -> Duration {
    cpu(ClockId::ProcessCPUTime)
}

fn cpu(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}
