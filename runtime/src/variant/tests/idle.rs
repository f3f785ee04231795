//! Variants that wait to be used again.

use super::*;
use crate::testing::{resident, resident_in_memory};

#[test]
fn what_is_found_in_memory_counts_as_seen_and_not_as_used() {
    let (old, now) = (Duration::from_mins(1), Duration::from_secs(1));
    let found = resident_in_memory("a").aged(old);
    assert!(found.unseen() >= old && !found.is_at_hand());
    assert!(found.look() && found.unseen() < now && found.idle() >= old && found.is_at_hand());
    let lost = resident("a", 0.0).aged(old);
    assert!(!lost.look() && lost.unseen() >= old);
    lost.warm().unwrap();
    assert!(lost.unseen() < now && lost.idle() < now && lost.is_at_hand());
}

#[test]
fn a_variant_that_somebody_uses_is_not_at_hand() {
    let resident = resident("a", 0.0);
    let used = resident.network.lock();
    assert!(!resident.is_at_hand());
    drop(used);
    assert!(resident.is_at_hand());
}
