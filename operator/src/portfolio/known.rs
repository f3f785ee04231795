//! The variants of a revision, as the `ModelVariant`s of the cluster remember them. Pure.

use dnnshifter_crds::{ModelPortfolio, ModelVariant, ModelVariantSpec, variant_placement::PlacedVariant};
use dnnshifter_portfolio::{Digest, Fraction, VariantName, VariantRecord};

/// A variant with its image.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Variant {
    pub(crate) record: VariantRecord,
    pub(crate) image: String,
}

impl Variant {
    /// A variant whose image is in `repository`.
    pub(crate) fn in_repository(record: VariantRecord, repository: &str) -> Self {
        let image = format!("{repository}@{}", record.digest);
        Self { record, image }
    }

    pub(crate) fn placed(&self) -> PlacedVariant {
        PlacedVariant {
            name: self.record.name.to_string(),
            image: self.image.clone(),
            accuracy: self.record.accuracy.to_string(),
        }
    }

    fn remembered(spec: &ModelVariantSpec) -> Option<Self> {
        let (_, digest) = spec.image.split_once('@')?;
        let record = VariantRecord {
            name: VariantName::parse(&spec.variant_name).ok()?,
            digest: Digest::parse(digest).ok()?,
            accuracy: Fraction::parse(&spec.accuracy).ok()?,
            parameters: u64::try_from(spec.parameters).ok()?,
            bytes: u64::try_from(spec.bytes).ok()?,
            macs: u64::try_from(spec.macs).ok()?,
            latency_us: u64::try_from(spec.latency_microseconds).ok()?,
            maximum_difference: spec.maximum_difference.parse().ok()?,
        };
        Some(Self { record, image: spec.image.clone() })
    }
}

/// The variants of `revision`, the largest first, if all of them are remembered. How many there are is known from the
/// status, which is written after them.
pub(crate) fn variants(
    object: &ModelPortfolio,
    remembered: &[ModelVariant],
    revision: &str,
) -> Option<Vec<Variant>> {
    let status = object.status.as_ref().filter(|status| status.revision.as_deref() == Some(revision))?;
    if status.variants.is_empty() {
        return None;
    }
    let find = |name: &str| {
        let of_revision =
            remembered.iter().map(|variant| &variant.spec).filter(|spec| spec.revision == revision);
        of_revision.filter(|spec| spec.variant_name == name).find_map(Variant::remembered)
    };
    status.variants.iter().map(|summary| find(&summary.name)).collect()
}
