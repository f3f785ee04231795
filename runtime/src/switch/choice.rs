//! Which of the variants serves, of those that are loaded: a pure function.

use dnnshifter_portfolio::VariantName;

use super::Standing;

/// Reason: nothing was decided yet, so the least accurate serves.
pub(crate) const UNDECIDED: &str = "Undecided";
/// Reason: what is wanted is still being loaded.
pub(crate) const LOADING: &str = "Loading";
/// Reason: what is wanted cannot be used on this node.
pub(crate) const REFUSED: &str = "VariantRefused";

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

/// Chooses: what is wanted, once it is loaded; until then what serves already; else the nearest one that is loaded, a less
/// accurate one first, since it is the faster one. `None` while nothing is loaded.
pub(crate) fn choose(standing: &Standing) -> Option<Choice> {
    let wanted = standing.wanted.as_ref();
    let (variant, reason) = match wanted {
        Some(wanted) => (&wanted.variant, wanted.reason.as_str()),
        None => (standing.order.last()?, UNDECIDED),
    };
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

/// All variants but `variant`: those less accurate, the nearest first, then those more accurate, the nearest first.
fn nearest<'a>(standing: &'a Standing, variant: &VariantName) -> impl Iterator<Item = &'a VariantName> {
    let rank = standing.order.iter().position(|name| name == variant).unwrap_or(0);
    let less_accurate = standing.order.iter().skip(rank + 1);
    less_accurate.chain(standing.order.iter().take(rank).rev())
}
