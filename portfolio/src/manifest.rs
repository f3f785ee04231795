//! What a finished portfolio is: the answer of the pruning Job, and what a published portfolio says of itself.
//!
//! A published portfolio is an OCI artifact (type [`PORTFOLIO_ARTIFACT_TYPE`]) whose only layer is a [`PortfolioManifest`].
//! The Job's termination message is the same manifest with the artifact's digest: a [`PruningOutcome`].

use serde::{Deserialize, Serialize};

use crate::{digest::Digest, fraction::Fraction, name::VariantName};

/// The version of the manifest's format that this crate reads and writes.
pub const MANIFEST_VERSION: &str = "dnnshifter.io/portfolio/v1";

/// `artifactType` of a published portfolio's OCI manifest.
pub const PORTFOLIO_ARTIFACT_TYPE: &str = "application/vnd.dnnshifter.portfolio.v1";

/// Media type of the layer that holds the [`PortfolioManifest`].
pub const PORTFOLIO_MEDIA_TYPE: &str = "application/vnd.dnnshifter.portfolio.v1+json";

/// The longest termination message that Kubernetes keeps, in bytes.
pub const LONGEST_TERMINATION_MESSAGE: usize = 4096;

/// A portfolio: the variants that were made of one model, the largest first. On the images that they were chosen on none was
/// dominated by another: a larger one was more accurate. (On the test set neighbours may change places by chance, which is
/// why accuracy does not order them.)
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortfolioManifest {
    /// The format's version, [`MANIFEST_VERSION`].
    pub version: String,
    /// The revision of the plan that made it.
    pub revision: String,
    /// The variants, the largest first.
    pub variants: Vec<VariantRecord>,
}

/// One variant of a portfolio, and where its image is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VariantRecord {
    /// The variant's name, unique within the portfolio.
    pub name: VariantName,
    /// Digest of its image, in the same repository as the portfolio's artifact: a portfolio that is copied to another
    /// registry as a whole stays true.
    pub digest: Digest,
    /// Accuracy on the test set, touched once.
    pub accuracy: Fraction,
    /// Parameters of the network.
    pub parameters: u64,
    /// Size of the ONNX file in bytes.
    pub bytes: u64,
    /// Multiply-accumulate operations for one input.
    pub macs: u64,
    /// Median latency for one input where it was pruned, one thread, in microseconds. Nodes measure their own.
    pub latency_us: u64,
    /// Largest absolute difference between the outputs of the trained network and of the ONNX file in ONNX Runtime.
    pub maximum_difference: f64,
}

/// The answer of a pruning Job: its termination message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PruningOutcome {
    /// Digest of the published portfolio's artifact.
    pub digest: Digest,
    /// What was published.
    pub portfolio: PortfolioManifest,
}

/// Why a portfolio cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPortfolio {
    /// Another version of the format.
    #[error("the portfolio's format is \"{found}\", but this release reads \"{MANIFEST_VERSION}\"")]
    Version {
        /// What was found.
        found: String,
    },
    /// No variant at all.
    #[error("the portfolio has no variants")]
    Empty,
    /// A name twice.
    #[error("the portfolio names the variant \"{name}\" twice")]
    Duplicate {
        /// The name.
        name: VariantName,
    },
    /// More variants than a placement can hold.
    #[error("the portfolio has {count} variants, but at most {MOST_VARIANTS} are served")]
    TooMany {
        /// How many.
        count: usize,
    },
}

/// The largest portfolio.
pub const MOST_VARIANTS: usize = 12;

impl PortfolioManifest {
    /// Checks what serde cannot, and brings the variants in order: the largest by operations first, the more accurate first among
    /// equals.
    pub fn validated(mut self) -> Result<Self, InvalidPortfolio> {
        if self.version != MANIFEST_VERSION {
            return Err(InvalidPortfolio::Version { found: self.version });
        }
        match self.variants.len() {
            0 => return Err(InvalidPortfolio::Empty),
            1..=MOST_VARIANTS => {}
            count => return Err(InvalidPortfolio::TooMany { count }),
        }
        let mut names: Vec<_> = self.variants.iter().map(|variant| &variant.name).collect();
        names.sort();
        if let Some(twice) = names.array_windows().find(|[a, b]| a == b).map(|[name, _]| (*name).clone()) {
            return Err(InvalidPortfolio::Duplicate { name: twice });
        }
        self.variants.sort_by(|a, b| (b.macs, b.accuracy, &a.name).cmp(&(a.macs, a.accuracy, &b.name)));
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, accuracy: &str) -> VariantRecord {
        sized(name, accuracy, 313_200_000)
    }

    fn sized(name: &str, accuracy: &str, macs: u64) -> VariantRecord {
        VariantRecord {
            name: VariantName::parse(name).unwrap(),
            digest: Digest::parse(&format!("sha256:{}", "ab".repeat(32))).unwrap(),
            accuracy: Fraction::parse(accuracy).unwrap(),
            parameters: 14_728_266,
            bytes: 58_913_064,
            macs,
            latency_us: 9_130,
            maximum_difference: 0.000_006_7,
        }
    }

    fn portfolio(variants: Vec<VariantRecord>) -> PortfolioManifest {
        PortfolioManifest {
            version: MANIFEST_VERSION.to_owned(),
            revision: "7d793037a0".to_owned(),
            variants,
        }
    }

    #[test]
    fn twelve_variants_fit_a_termination_message() {
        let variants =
            (0..MOST_VARIANTS).map(|i| record(&format!("twenty-characters-{i:02}"), "0.123456")).collect();
        let digest = record("a", "0").digest;
        let text = serde_json::to_string(&PruningOutcome { digest, portfolio: portfolio(variants) }).unwrap();
        assert!(text.len() <= LONGEST_TERMINATION_MESSAGE, "{} bytes", text.len());
        assert_eq!(
            serde_json::from_str::<PruningOutcome>(&text).unwrap().portfolio.variants.len(),
            MOST_VARIANTS
        );
    }

    #[test]
    fn variants_are_ordered_by_size_though_the_test_set_ranks_neighbours_otherwise() {
        let variants =
            vec![sized("small", "0.886", 100), sized("large", "0.904", 900), sized("medium", "0.885", 300)];
        let ordered = portfolio(variants).validated().unwrap();
        let names: Vec<_> = ordered.variants.iter().map(|variant| variant.name.as_str()).collect();
        assert_eq!(names, ["large", "medium", "small"]);
    }

    #[test]
    fn a_portfolio_that_cannot_be_served_is_refused() {
        assert_eq!(portfolio(vec![]).validated(), Err(InvalidPortfolio::Empty));
        let twice = portfolio(vec![record("a", "0.8"), record("b", "0.8"), record("a", "0.9")]).validated();
        assert_eq!(twice, Err(InvalidPortfolio::Duplicate { name: VariantName::parse("a").unwrap() }));
        let many = (0..13).map(|i| record(&format!("v{i}"), "0.5")).collect();
        assert_eq!(portfolio(many).validated(), Err(InvalidPortfolio::TooMany { count: 13 }));
        let other = PortfolioManifest { version: "v9".to_owned(), ..portfolio(vec![record("a", "0.8")]) };
        assert!(other.validated().unwrap_err().to_string().contains("v9"));
    }
}
