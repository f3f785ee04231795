//! What is known of the variants at one moment: what is asked for, how far each has come, what serves. Values only; they change in
//! [`switch`](super).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use dnnshifter_portfolio::{VariantName, VariantProfile};

use super::choice::Presence;
use crate::{keeper::memory::Footprint, variant::Resident};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The variant that is to serve.
    pub(crate) variant: VariantName,
    /// Why, in one word.
    pub(crate) reason: String,
    /// It is only the most accurate one that may serve: the node itself may keep below it.
    pub(crate) is_ceiling: bool,
}

/// A variant of the placement, as far as it has come.
#[derive(Clone)]
pub(crate) enum Slot {
    /// To be loaded.
    Pending,
    /// Loaded, checked and warm.
    Resident(Arc<Resident>, Footprint),
    /// It cannot be used here.
    Refused(String),
}

/// The variant that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Active {
    /// Its name.
    pub(crate) variant: VariantName,
    /// Why it serves, in one word.
    pub(crate) reason: String,
    /// Since when; for people.
    pub(crate) since: SystemTime,
}

/// All that is known of the variants at one moment.
#[derive(Clone, Default)]
pub(crate) struct Standing {
    /// The variants that were placed here, the most accurate first.
    pub(crate) order: Vec<VariantName>,
    /// How far each of them is.
    pub(crate) slots: BTreeMap<VariantName, Slot>,
    /// What was measured of them.
    pub(crate) profiles: BTreeMap<VariantName, VariantProfile>,
    /// What is asked for; nothing yet means the least accurate.
    pub(crate) wanted: Option<Wanted>,
    /// Where the node itself keeps below what is asked for: nothing more accurate than this serves under a ceiling.
    pub(crate) limit: Option<VariantName>,
    /// What serves.
    pub(crate) active: Option<Active>,
    /// Of those that were refused, those that only found no room: they are loaded once they are wanted.
    pub(crate) without_room: BTreeSet<VariantName>,
}

impl Standing {
    /// Its place among the variants, of which the most accurate is the first.
    pub(crate) fn rank(&self, variant: &VariantName) -> Option<usize> {
        self.order.iter().position(|name| name == variant)
    }

    /// How far a variant is.
    pub(crate) fn presence(&self, variant: &VariantName) -> Presence {
        match self.slots.get(variant) {
            Some(Slot::Resident(..)) => Presence::Resident,
            Some(Slot::Pending) => Presence::Pending,
            Some(Slot::Refused(_)) | None => Presence::Refused,
        }
    }

    /// Whether all variants that can be used were measured.
    pub(crate) fn is_measured(&self) -> bool {
        self.slots.iter().all(|(name, slot)| match slot {
            Slot::Pending => false,
            Slot::Resident(..) => self.profiles.contains_key(name),
            Slot::Refused(_) => true,
        })
    }

    /// The variants that are loaded, with the memory that each takes.
    pub(crate) fn residents(&self) -> impl Iterator<Item = (&Arc<Resident>, Footprint)> {
        self.slots.values().filter_map(|slot| match slot {
            Slot::Resident(resident, footprint) => Some((resident, *footprint)),
            Slot::Pending | Slot::Refused(_) => None,
        })
    }
}
