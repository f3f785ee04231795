//! What becomes of variants that are loaded: from real files, in a keeper whose thread does not run.

mod room;
mod stored;

use std::{fs, path::Path, sync::Arc};

use dnnshifter_portfolio::VariantDescription;

use super::*;
use crate::{
    engine::Engine,
    switch::choice::Presence,
    testing::{keeper, name, names, wanted, write_variant},
};

impl Keeper {
    fn presence(&self, variant: &str) -> Presence {
        self.switch.standing().presence(&name(variant))
    }

    /// Why a variant was refused.
    fn why(&self, variant: &str) -> String {
        match self.switch.standing().slots.get(&name(variant)) {
            Some(Slot::Refused(why)) => why.clone(),
            _ => panic!("{variant} was not refused"),
        }
    }
}
