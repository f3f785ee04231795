//! A finished variant, and how it lies in a folder: `NAME/model.onnx` and `NAME/variant.json`, with `portfolio.json` beside
//! them. `dnnshifter-runtime serve` serves such a folder as it is; [`crate::publish`] makes images of it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use dnnshifter_portfolio::{
    PortfolioManifest, VariantDescription, VariantName, VariantRecord,
    description::{DESCRIPTION_FILE, MODEL_FILE},
    manifest::{InvalidPortfolio, MANIFEST_VERSION},
};

use crate::{durable, publish::layer::ModelLayer};

/// The portfolio's file within its folder.
pub(crate) const PORTFOLIO_FILE: &str = "portfolio.json";

/// A finished variant.
#[derive(Clone, Debug)]
pub(crate) struct Variant {
    pub(crate) description: VariantDescription,
    /// Median latency of one input where it was measured, one thread, in microseconds.
    pub(crate) latency_us: u64,
    /// Largest absolute difference between the trained network and the ONNX file in ONNX Runtime.
    pub(crate) maximum_difference: f64,
    /// The ONNX file.
    pub(crate) model: Bytes,
}

/// Why a folder of variants cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error("failed to read \"{}\"", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("failed to write \"{}\"", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("failed to understand \"{}\"", path.display())]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("failed to write \"{name}\" as JSON")]
    Serialize { name: &'static str, source: serde_json::Error },
    #[error("failed to pack the variant \"{name}\"")]
    Pack { name: VariantName, source: io::Error },
    #[error(
        "the folder of variant \"{name}\" is not the one that \"{PORTFOLIO_FILE}\" was written for; write it again with `describe` or `run`"
    )]
    Changed { name: VariantName },
    #[error(transparent)]
    Portfolio(#[from] InvalidPortfolio),
}

impl Variant {
    /// The variant's entry in a portfolio, with the digest of what stores it.
    pub(crate) fn record(&self, digest: dnnshifter_portfolio::Digest) -> VariantRecord {
        let VariantDescription { name, accuracy, parameters, bytes, macs, .. } = &self.description;
        VariantRecord {
            name: name.clone(),
            digest,
            accuracy: *accuracy,
            parameters: *parameters,
            bytes: *bytes,
            macs: *macs,
            latency_us: self.latency_us,
            maximum_difference: self.maximum_difference,
        }
    }

    /// The variant's layer: what its folder becomes in an image.
    pub(crate) fn layer(&self) -> Result<ModelLayer, FolderError> {
        let description = json(DESCRIPTION_FILE, &self.description)?;
        let name = || self.description.name.clone();
        ModelLayer::pack(&self.model, &description)
            .map_err(|source| FolderError::Pack { name: name(), source })
    }
}

/// Writes variants and their portfolio into `folder`. The portfolio's file comes last: a folder without it is not finished.
/// Its digests are those of the variants' layers.
pub(crate) fn write_folder(
    folder: &Path,
    revision: &str,
    variants: &[Variant],
) -> Result<PortfolioManifest, FolderError> {
    let mut records = Vec::new();
    for variant in variants {
        let place = folder.join(variant.description.name.as_str());
        fs::create_dir_all(&place).map_err(|source| FolderError::Write { path: place.clone(), source })?;
        write(place.join(MODEL_FILE), &variant.model)?;
        write(place.join(DESCRIPTION_FILE), &json(DESCRIPTION_FILE, &variant.description)?)?;
        records.push(variant.record(variant.layer()?.digest));
    }
    let version = MANIFEST_VERSION.to_owned();
    let manifest =
        PortfolioManifest { version, revision: revision.to_owned(), variants: records }.validated()?;
    write(folder.join(PORTFOLIO_FILE), &json(PORTFOLIO_FILE, &manifest)?)?;
    Ok(manifest)
}

/// Reads the portfolio of a folder and its variants, the most accurate first.
pub(crate) fn read_folder(folder: &Path) -> Result<(PortfolioManifest, Vec<Variant>), FolderError> {
    let path = folder.join(PORTFOLIO_FILE);
    let manifest: PortfolioManifest = parse(&path, &read(&path)?)?;
    let manifest = manifest.validated()?;
    let mut variants = Vec::new();
    for record in &manifest.variants {
        let place = folder.join(record.name.as_str());
        let path = place.join(DESCRIPTION_FILE);
        let variant = Variant {
            description: parse(&path, &read(&path)?)?,
            latency_us: record.latency_us,
            maximum_difference: record.maximum_difference,
            model: read(&place.join(MODEL_FILE))?.into(),
        };
        if variant.layer()?.digest != record.digest {
            return Err(FolderError::Changed { name: record.name.clone() });
        }
        variants.push(variant);
    }
    Ok((manifest, variants))
}

fn read(path: &Path) -> Result<Vec<u8>, FolderError> {
    fs::read(path).map_err(|source| FolderError::Read { path: path.to_owned(), source })
}

fn write(path: PathBuf, bytes: &[u8]) -> Result<(), FolderError> {
    durable::write(&path, bytes).map_err(|source| FolderError::Write { path, source })
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, FolderError> {
    serde_json::from_slice(bytes).map_err(|source| FolderError::Parse { path: path.to_owned(), source })
}

fn json<T: serde::Serialize>(name: &'static str, value: &T) -> Result<Vec<u8>, FolderError> {
    serde_json::to_vec(value).map_err(|source| FolderError::Serialize { name, source })
}
