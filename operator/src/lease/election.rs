//! When a candidate may take the Lease. Pure: time comes in.

use std::time::Duration;

use tokio::time::Instant;

/// What a candidate knows of the Lease.
#[derive(Debug)]
pub(super) struct Election {
    identity: String,
    last_change: Option<(String, Instant)>,
}

/// What a candidate does.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Another leads.
    Wait,
    /// Write the Lease, over exactly the version that was seen.
    Take,
}

impl Election {
    pub(super) fn new(identity: String) -> Self {
        Self { identity, last_change: None }
    }

    /// Takes note of the record (`version` changes with each write), and says what to do. A record that did not change for
    /// `duration` of *our* time has expired.
    pub(super) fn observe(
        &mut self,
        holder: Option<&String>,
        version: &str,
        duration: Duration,
        now: Instant,
    ) -> Step {
        if holder.is_none_or(|holder| *holder == self.identity) {
            return Step::Take;
        }
        match &self.last_change {
            Some((seen, since)) if seen == version => {
                if now.duration_since(*since) >= duration {
                    Step::Take
                } else {
                    Step::Wait
                }
            }
            _ => {
                self.last_change = Some((version.to_owned(), now));
                Step::Wait
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn observe(election: &mut Election, holder: &str, version: &str, now: Instant) -> Step {
        let holder = Some(holder.to_owned()).filter(|holder| !holder.is_empty());
        election.observe(holder.as_ref(), version, DURATION, now)
    }

    #[test]
    fn a_lease_is_taken_only_when_it_did_not_change_for_its_whole_duration_of_our_time() {
        let mut election = Election::new("me".to_owned());
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(observe(&mut election, "other", "1", after(0)), Step::Wait);
        assert_eq!(observe(&mut election, "other", "1", after(14)), Step::Wait);
        assert_eq!(observe(&mut election, "other", "2", after(20)), Step::Wait);
        assert_eq!(observe(&mut election, "other", "2", after(34)), Step::Wait);
        assert_eq!(observe(&mut election, "other", "2", after(35)), Step::Take);
    }

    #[test]
    fn a_free_lease_and_our_own_are_taken_at_once() {
        let mut election = Election::new("me".to_owned());
        assert_eq!(observe(&mut election, "", "1", Instant::now()), Step::Take);
        assert_eq!(observe(&mut election, "me", "1", Instant::now()), Step::Take);
    }
}
