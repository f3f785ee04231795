//! The reasons of swaps that are known before there is a swap: each is counted from zero, so that a rate sees the first one.

use dnnshifter_portfolio::select::Reason;

use crate::{
    server::REQUESTED,
    standalone::INITIAL,
    switch::choice::{LOADING, REFLEX, REFUSED, UNDECIDED},
};

/// Those of the runtime itself.
const OWN: [&str; 6] = [UNDECIDED, LOADING, REFUSED, REFLEX, REQUESTED, INITIAL];

/// Those, and those of the operator's decisions.
pub(super) fn of_swaps() -> impl Iterator<Item = &'static str> {
    OWN.into_iter().chain(Reason::ALL.map(Reason::as_str))
}
