//! An open-loop load generator: requests leave when the schedule says, whether or not earlier ones were answered, and latency
//! counts from the *intended* time, so that a server that stalls cannot hide it (no coordinated omission).

mod record;
mod schedule;
mod send;

pub use record::{Outcome, Record, Tally, unix_us};
pub use schedule::{Piece, Schedule};
pub use send::{Target, run, wait_ready};
