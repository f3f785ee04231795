//! Which of the variants serves, of those that are loaded: a pure function.

use dnnshifter_portfolio::VariantName;

use super::{Standing, Wanted};

/// Reason: nothing was decided yet, so the least accurate serves.
pub(crate) const UNDECIDED: &str = "Undecided";
/// Reason: what is wanted is still being loaded.
pub(crate) const LOADING: &str = "Loading";
/// Reason: what is wanted cannot be used on this node.
pub(crate) const REFUSED: &str = "VariantRefused";

/// Reason: the node itself keeps below what it may run, for its load.
pub(crate) const REFLEX: &str = "Reflex";

/// How far a variant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// To be loaded.
    Pending,
    /// Loaded, checked and warm.
    Resident,
    /// It cannot be used here, or is not placed here.
    Refused,
}

/// The variant that serves from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The variant.
    pub(crate) variant: VariantName,
    /// Why, in one word.
    pub(crate) reason: String,
}

/// Chooses: what is asked for, once it is loaded; until then what serves already; else the nearest one that is loaded, a less
/// accurate one first, since it is the faster one. `None` while nothing is loaded.
pub(crate) fn choose(standing: &Standing) -> Option<Choice> {
    let (variant, reason) = asked_for(standing)?;
    let chosen =
        |variant: &VariantName, reason: &str| Choice { variant: variant.clone(), reason: reason.to_owned() };
    let substitute = match standing.presence(variant) {
        Presence::Resident => return Some(chosen(variant, reason)),
        Presence::Pending => LOADING,
        Presence::Refused => REFUSED,
    };
    let usable = |variant: &&VariantName| standing.presence(variant) == Presence::Resident;
    let serving = standing.active.as_ref().map(|active| &active.variant).filter(usable);
    serving.or_else(|| nearest(standing, variant).find(usable)).map(|variant| chosen(variant, substitute))
}

/// The variant that is to serve if it can, and why: what is wanted, or what the node itself keeps to below it.
pub(crate) fn asked_for(standing: &Standing) -> Option<(&VariantName, &str)> {
    match &standing.wanted {
        Some(wanted) => Some(below(standing, wanted).unwrap_or((&wanted.variant, wanted.reason.as_str()))),
        None => Some((standing.order.last()?, UNDECIDED)),
    }
}

/// The node's own limit, if it is less accurate than the ceiling.
fn below<'a>(standing: &'a Standing, wanted: &Wanted) -> Option<(&'a VariantName, &'static str)> {
    let limit = standing.limit.as_ref().filter(|_| wanted.is_ceiling)?;
    (standing.rank(limit)? > standing.rank(&wanted.variant)?).then_some((limit, REFLEX))
}

/// All variants but `variant`: those less accurate, the nearest first, then those more accurate, the nearest first.
fn nearest<'a>(standing: &'a Standing, variant: &VariantName) -> impl Iterator<Item = &'a VariantName> {
    let rank = standing.rank(variant).unwrap_or(0);
    let less_accurate = standing.order.iter().skip(rank + 1);
    less_accurate.chain(standing.order.iter().take(rank).rev())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

    use super::*;
    use crate::{
        keeper::memory::Footprint,
        switch::{Active, Slot},
        testing::{name, names, resident, wanted},
    };

    /// Variants a, b, c and d, the most accurate first: `+` is resident, `.` pending, `x` refused.
    fn chosen(slots: &str, wanted_variant: Option<&str>, active: Option<&str>) -> Option<(String, String)> {
        let order = names(&["a", "b", "c", "d"]);
        let slot = |(variant, state): (&VariantName, char)| {
            let slot = match state {
                '+' => Slot::Resident(Arc::new(resident(variant.as_str(), 0.0)), Footprint::default()),
                '.' => Slot::Pending,
                _ => Slot::Refused("broken".to_owned()),
            };
            (variant.clone(), slot)
        };
        let slots: BTreeMap<_, _> = order.iter().zip(slots.chars()).map(slot).collect();
        let active = active.map(|active| Active {
            variant: name(active),
            reason: String::new(),
            since: SystemTime::UNIX_EPOCH,
        });
        let wanted = wanted_variant.map(wanted);
        let choice = choose(&Standing { order, slots, wanted, active, ..Standing::default() });
        choice.map(|choice| (choice.variant.to_string(), choice.reason))
    }

    #[test]
    fn what_serves_follows_what_is_wanted_and_loaded() {
        let cases = [
            // Nothing loaded: nothing serves.
            ("....", None, None, None),
            // Undecided: the least accurate.
            ("++++", None, None, Some(("d", UNDECIDED))),
            ("++++", Some("b"), Some("d"), Some(("b", "Test"))),
            // Still loading: what serves already, or the nearest less accurate one.
            ("+.++", Some("b"), Some("a"), Some(("a", LOADING))),
            ("+.++", Some("b"), None, Some(("c", LOADING))),
            ("...+", Some("a"), None, Some(("d", LOADING))),
            // Refused: the old one serves on; without one, the nearest less accurate, then the nearest more accurate.
            ("+x++", Some("b"), Some("d"), Some(("d", REFUSED))),
            ("+x++", Some("b"), None, Some(("c", REFUSED))),
            ("++xx", Some("c"), None, Some(("b", REFUSED))),
            ("+++x", None, None, Some(("c", REFUSED))),
            // What is not placed here is refused, too; what serves but is gone no longer serves.
            ("++++", Some("z"), Some("c"), Some(("c", REFUSED))),
            ("++++", Some("z"), Some("y"), Some(("b", REFUSED))),
            ("xxxx", Some("a"), Some("b"), None),
        ];
        for (slots, wanted, active, expected) in cases {
            let expected = expected.map(|(variant, reason)| (variant.to_owned(), reason.to_owned()));
            assert_eq!(chosen(slots, wanted, active), expected, "{slots} {wanted:?} {active:?}");
        }
    }
}
