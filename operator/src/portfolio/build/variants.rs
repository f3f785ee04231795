//! The `ModelVariant`s of a revision. Pure.

use dnnshifter_crds::{
    ModelVariant, ModelVariantSpec,
    names::{PRUNER_COMPONENT, REVISION_LABEL, variant_object_name},
};

use super::{super::known::Variant, Valid};
use crate::metadata::{controller_reference, owned, portfolio_labels};

pub(super) fn model_variants(valid: &Valid, variants: &[Variant]) -> Vec<ModelVariant> {
    variants.iter().map(|variant| model_variant(valid, variant)).collect()
}

fn model_variant(valid: &Valid, variant: &Variant) -> ModelVariant {
    let revision = valid.source.revision();
    let record = &variant.record;
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let mut labels = portfolio_labels(&valid.name, PRUNER_COMPONENT);
    labels.insert(REVISION_LABEL.to_owned(), revision.to_owned());
    let name = variant_object_name(&valid.name, revision, record.name.as_str());
    ModelVariant {
        metadata: owned(&valid.namespace, &name, labels, controller_reference(valid.object.as_ref())),
        spec: ModelVariantSpec {
            portfolio_name: valid.name.clone(),
            revision: revision.to_owned(),
            variant_name: record.name.to_string(),
            image: variant.image.clone(),
            accuracy: record.accuracy.to_string(),
            parameters: signed(record.parameters),
            bytes: signed(record.bytes),
            macs: signed(record.macs),
            latency_microseconds: signed(record.latency_us),
            maximum_difference: format!("{:e}", record.maximum_difference),
        },
    }
}
