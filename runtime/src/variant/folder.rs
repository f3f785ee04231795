//! A variant's folder, taken apart: its description, held against what is expected, and the path of its network.

use std::{
    fs,
    path::{Path, PathBuf},
};

use dnnshifter_portfolio::{
    VariantDescription, VariantName,
    description::{CheckValues, DESCRIPTION_FILE, DESCRIPTION_VERSION, Datatype, MODEL_FILE},
};

use super::VariantError;
use crate::{
    engine::Interface,
    protocol::{LARGEST_ITEM_BYTES, item_bytes, largest_batch},
};

/// A description of more bytes than this is none: the largest part is the check vector, and a million values are 10 MB.
const LARGEST_DESCRIPTION_BYTES: u64 = 32 << 20;

/// A variant's folder that was read: a description, and the path of the network.
#[derive(Debug)]
pub(crate) struct VariantFolder {
    /// What the variant says of itself.
    pub(crate) description: VariantDescription,
    pub(super) network: PathBuf,
    /// The size of the file, which counts: that in the description is only a word of whoever wrote it.
    network_bytes: u64,
}

impl VariantFolder {
    /// For engines that open no file.
    pub(crate) fn without_file(description: VariantDescription) -> Self {
        Self { description, network: PathBuf::new(), network_bytes: 0 }
    }

    /// The network's file.
    pub(crate) fn network(&self) -> &Path {
        &self.network
    }

    /// Bytes of the network: those of its file, or those that the description names, whichever are more.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.network_bytes.max(self.description.bytes)
    }
}

/// Reads the folder of the variant `name`, and refuses one of another name or version.
pub(crate) fn read(models: &Path, name: &VariantName) -> Result<VariantFolder, VariantError> {
    let folder = models.join(name.as_str());
    let (path, network) = (folder.join(DESCRIPTION_FILE), folder.join(MODEL_FILE));
    let shown = path.display().to_string();
    let bytes = size(&path)?;
    if bytes > LARGEST_DESCRIPTION_BYTES {
        return Err(VariantError::TooLarge { path: shown, bytes });
    }
    let text = fs::read(&path).map_err(|source| VariantError::Read { path: shown.clone(), source })?;
    let description: VariantDescription = serde_json::from_slice(&text)
        .map_err(|source| VariantError::Parse { path: shown.clone(), source })?;
    expect("version", &description.version, DESCRIPTION_VERSION, &shown)?;
    expect("name", description.name.as_str(), name.as_str(), &shown)?;
    let description = with_fitting_check(description, shown.clone())?;
    let interface = Interface::of(&description);
    if largest_batch(&interface) == 0 {
        return Err(VariantError::Texts { path: shown, given: interface.input_length() });
    }
    let bytes = item_bytes(&interface);
    if bytes > LARGEST_ITEM_BYTES {
        return Err(VariantError::LargeItems { path: shown, bytes });
    }
    Ok(VariantFolder { description, network_bytes: size(&network)?, network })
}

fn size(path: &Path) -> Result<u64, VariantError> {
    let failed = |source| VariantError::Read { path: path.display().to_string(), source };
    fs::metadata(path).map(|metadata| metadata.len()).map_err(failed)
}

fn expect(what: &'static str, found: &str, expected: &str, path: &str) -> Result<(), VariantError> {
    if found == expected {
        return Ok(());
    }
    let (path, found, expected) = (path.to_owned(), found.to_owned(), expected.to_owned());
    Err(VariantError::Foreign { path, what, found, expected })
}

fn with_fitting_check(
    description: VariantDescription,
    path: String,
) -> Result<VariantDescription, VariantError> {
    let interface = Interface::of(&description);
    let check = &description.check;
    if !is_of(&check.input, interface.input.datatype) || !is_of(&check.output, interface.output.datatype) {
        return Err(VariantError::CheckKind { path });
    }
    let lengths = (description.check.input.len(), description.check.output.len());
    if lengths == (interface.input_length(), interface.output_length()) {
        return Ok(description);
    }
    let expected = interface.input_length().saturating_add(interface.output_length());
    Err(VariantError::CheckSize { path, found: lengths.0 + lengths.1, expected })
}

fn is_of(values: &CheckValues, datatype: Datatype) -> bool {
    matches!(values, CheckValues::Texts(_)) == (datatype == Datatype::Bytes)
}

/// Names of the variants that have a folder in `models`, the largest first: by their work, as the accuracy of neighbours may be
/// the other way round by chance. Folders that are none are left out.
pub(crate) fn found_in(models: &Path) -> Result<Vec<VariantName>, VariantError> {
    let failed = |source| VariantError::Read { path: models.display().to_string(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(models).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_str().and_then(|name| VariantName::parse(name).ok());
        match name.map(|name| read(models, &name)) {
            Some(Ok(folder)) => found.push(folder.description),
            Some(Err(error)) => tracing::debug!(error = %error, "a folder that is no variant was left out"),
            None => {}
        }
    }
    found.sort_by(|a, b| b.macs.cmp(&a.macs).then_with(|| b.accuracy.cmp(&a.accuracy)));
    Ok(found.into_iter().map(|description| description.name).collect())
}
