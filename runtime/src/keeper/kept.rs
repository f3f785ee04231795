//! The profiles on disk: a process that starts again on the same node need not measure before it can choose.
//!
//! What was measured holds for the same network, on the same processor, under the same quota, by the same build of the engine. All
//! that is kept beside it; where anything differs, it is measured as if nothing had been kept. A file that is damaged is left out,
//! and replaced by the next. A failure here is logged, and never stops serving.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use dnnshifter_portfolio::{CpuQuota, Digest, VariantName, VariantProfile, profile::Machine};
use serde::{Deserialize, Serialize};

use crate::{chain::chain, replace::replace};

const FILE: &str = "profiles.json";

const VERSION: &str = "dnnshifter.io/profiles/v1";

/// A larger file is none of ours: a profile has less than a kilobyte, and there are at most 12.
const LARGEST_BYTES: u64 = 1 << 20;

/// A time that moved by more than this is written: that of each measurement would wear out the flash memory of small machines.
pub(crate) const MOVED: f64 = 0.2;

/// What measurements hold for, beside the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Basis {
    /// Tells processors, and builds of the engine.
    pub(crate) key: String,
    /// The CPUs, the threads, the engine's release.
    pub(crate) machine: Machine,
    /// The CPU quota.
    pub(crate) quota: Option<CpuQuota>,
}

/// The profiles that are on the disk, for one basis.
#[derive(Default)]
pub(crate) struct KeptProfiles {
    /// Without one nothing is kept.
    directory: Option<PathBuf>,
    basis: Basis,
    variants: BTreeMap<VariantName, VariantProfile>,
}

/// The file.
#[derive(Serialize, Deserialize)]
struct Contents {
    version: String,
    basis: Basis,
    variants: Vec<VariantProfile>,
}

/// Why a file is left out.
#[derive(Debug, thiserror::Error)]
enum KeptError {
    #[error("failed to read it")]
    Read(#[from] io::Error),
    #[error("it has {bytes} bytes, more than profiles can have")]
    TooLarge { bytes: u64 },
    #[error("it is damaged")]
    Damaged(#[from] serde_json::Error),
    #[error("its version is \"{found}\", not \"{VERSION}\"")]
    Version { found: String },
}

impl KeptProfiles {
    /// Reads what an earlier process kept in `directory`, as far as it holds for `basis`.
    pub(crate) fn read(directory: &Path, basis: Basis) -> Self {
        let path = directory.join(FILE);
        let variants = match contents(&path) {
            Ok(Some(contents)) if contents.basis == basis => contents.variants,
            Ok(Some(_)) => {
                tracing::info!(path = %path.display(), "the profiles that were kept are of another machine, quota or engine: all is measured anew");
                Vec::new()
            }
            Ok(None) => Vec::new(),
            Err(error) => {
                tracing::warn!(path = %path.display(), error = chain(&error), "the profiles that were kept are left out");
                Vec::new()
            }
        };
        let variants = variants.into_iter().map(|profile| (profile.name.clone(), profile)).collect();
        Self { directory: Some(directory.to_owned()), basis, variants }
    }

    /// What was measured of the network with this digest, if that was measured before as the variant `name`.
    pub(super) fn find(&self, name: &VariantName, digest: Option<&Digest>) -> Option<&VariantProfile> {
        self.variants.get(name).filter(|kept| digest.is_some() && kept.digest.as_ref() == digest)
    }

    /// Keeps a profile, beside those of the other variants in `order`, if it differs by enough from what is kept.
    pub(super) fn keep(&mut self, profile: &VariantProfile, order: &[VariantName]) {
        let Some(directory) = &self.directory else { return };
        if profile.digest.is_none()
            || self.variants.get(&profile.name).is_some_and(|kept| !moved(kept, profile))
        {
            return;
        }
        self.variants.insert(profile.name.clone(), profile.clone());
        self.variants.retain(|name, _| order.contains(name));
        let contents = Contents {
            version: VERSION.to_owned(),
            basis: self.basis.clone(),
            variants: self.variants.values().cloned().collect(),
        };
        let written = serde_json::to_vec(&contents).map_err(io::Error::from);
        if let Err(error) = written.and_then(|text| replace(directory, FILE, &text)) {
            tracing::warn!(directory = %directory.display(), %error, "failed to keep the profiles");
        }
    }
}

/// The file's contents; none where there is no file.
fn contents(path: &Path) -> Result<Option<Contents>, KeptError> {
    let bytes = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if bytes > LARGEST_BYTES {
        return Err(KeptError::TooLarge { bytes });
    }
    let contents: Contents = serde_json::from_slice(&fs::read(path)?)?;
    if contents.version == VERSION {
        Ok(Some(contents))
    } else {
        Err(KeptError::Version { found: contents.version })
    }
}

/// Whether a profile differs by enough to be worth a word.
pub(super) fn moved(kept: &VariantProfile, now: &VariantProfile) -> bool {
    let figures = |profile: &VariantProfile| {
        let VariantProfile { wall, cpu, protocol_cpu_us, .. } = profile;
        [wall.mean_us, wall.p99_us, cpu.mean_us, cpu.p99_us, *protocol_cpu_us]
    };
    let differs = |(before, now): (u64, u64)| before.abs_diff(now) as f64 > MOVED * before.max(1) as f64;
    kept.digest != now.digest || figures(kept).into_iter().zip(figures(now)).any(differs)
}

#[cfg(test)]
mod tests {
    use dnnshifter_portfolio::profile::Distribution;

    use super::*;
    use crate::testing::{name, names, profile};

    fn digest(letter: char) -> Digest {
        Digest::parse(&format!("sha256:{}", letter.to_string().repeat(64))).unwrap()
    }

    fn basis() -> Basis {
        let quota = Some(CpuQuota { quota_us: 50_000, period_us: 100_000 });
        Basis { key: "0123456789abcdef".to_owned(), machine: Machine::default(), quota }
    }

    fn measured(variant: &str, mean_us: u64) -> VariantProfile {
        let time = Distribution::constant(mean_us, 100);
        VariantProfile { wall: time, cpu: time, digest: Some(digest('a')), ..profile(variant) }
    }

    /// A directory in which these were kept.
    fn kept(profiles: &[VariantProfile]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let mut kept = KeptProfiles::read(directory.path(), basis());
        for profile in profiles {
            kept.keep(profile, &names(&["big", "small"]));
        }
        directory
    }

    /// What the next process finds of the variant, if the network has the same digest.
    fn found(directory: &Path, variant: &str) -> Option<VariantProfile> {
        KeptProfiles::read(directory, basis()).find(&name(variant), Some(&digest('a'))).cloned()
    }

    #[test]
    fn the_next_process_finds_what_was_measured() {
        let directory = kept(&[measured("big", 2_000), measured("small", 500)]);
        assert_eq!(found(directory.path(), "big"), Some(measured("big", 2_000)));
        assert_eq!(found(directory.path(), "small"), Some(measured("small", 500)));
        assert_eq!(found(directory.path(), "other"), None);
    }

    #[test]
    fn another_network_quota_machine_or_engine_is_measured_anew() {
        let directory = kept(&[measured("big", 2_000)]);
        let find = |basis: Basis, digest: Option<Digest>| {
            KeptProfiles::read(directory.path(), basis).find(&name("big"), digest.as_ref()).cloned()
        };
        assert!(find(basis(), Some(digest('a'))).is_some());
        assert_eq!(find(basis(), Some(digest('b'))), None);
        assert_eq!(find(basis(), None), None);
        let threads = Machine { threads: 2, ..Machine::default() };
        for other in [
            Basis { quota: None, ..basis() },
            Basis { key: "another".to_owned(), ..basis() },
            Basis { machine: threads, ..basis() },
        ] {
            assert_eq!(find(other, Some(digest('a'))), None);
        }
    }

    #[test]
    fn a_damaged_foreign_or_missing_file_is_left_out_and_replaced() {
        let whole = fs::read_to_string(kept(&[measured("big", 2_000)]).path().join(FILE)).unwrap();
        let huge = " ".repeat(LARGEST_BYTES as usize) + &whole;
        for text in
            ["", "{", "[]", &whole[..whole.len() / 2], &whole.replace("profiles/v1", "profiles/v2"), &huge]
        {
            let directory = kept(&[]);
            assert_eq!(found(directory.path(), "big"), None);
            fs::write(directory.path().join(FILE), text).unwrap();
            assert_eq!(found(directory.path(), "big"), None);
            KeptProfiles::read(directory.path(), basis()).keep(&measured("big", 2_000), &names(&["big"]));
            assert!(found(directory.path(), "big").is_some());
        }
    }

    #[test]
    fn what_hardly_moved_or_is_of_an_unknown_network_is_not_written() {
        let unknown = VariantProfile { digest: None, ..measured("small", 500) };
        let directory = kept(&[measured("big", 2_000), measured("big", 2_390), unknown]);
        assert_eq!(found(directory.path(), "big").unwrap().wall.mean_us, 2_000);
        let directory = kept(&[measured("big", 2_000), measured("big", 2_410)]);
        assert_eq!(found(directory.path(), "big").unwrap().wall.mean_us, 2_410);
        assert!(!fs::read_to_string(directory.path().join(FILE)).unwrap().contains("small"));
    }

    #[test]
    fn variants_that_are_no_longer_placed_are_forgotten() {
        let directory = kept(&[measured("gone", 9_000), measured("big", 2_000)]);
        assert_eq!(found(directory.path(), "gone"), None);
    }

    #[test]
    fn without_a_directory_or_one_to_write_in_nothing_is_kept_and_nothing_fails() {
        let mut nowhere = KeptProfiles::default();
        nowhere.keep(&measured("big", 2_000), &names(&["big"]));
        assert_eq!(nowhere.find(&name("big"), Some(&digest('a'))), None);
        KeptProfiles::read("/proc/nowhere".as_ref(), basis()).keep(&measured("big", 2_000), &names(&["big"]));
    }
}
