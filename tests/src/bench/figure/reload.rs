//! Swaps to a variant that is on disk only: in the store, optimised, and to be opened, mapped, checked and warmed.

use std::{
    fs::{self, File},
    path::Path,
    time::Duration,
};

use anyhow::{Result, ensure};
use rustix::fs::{Advice, fadvise};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        server::Server,
        spread::quantile,
        variants::{LARGEST, TWINS},
    },
    Stage,
};

/// Swaps in a round with the file in the page cache, and without.
const WARM: u64 = 40;
const COLD: u64 = 5;
/// The runtime gives the memory of an unloaded variant back within this time.
const PAUSE: Duration = Duration::from_millis(30);

/// Swaps to a variant on disk, without other requests; in microseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReloadReport {
    /// The size of the variant's file, in bytes.
    pub file_bytes: u64,
    /// Swaps with the file in the page cache.
    pub count: u64,
    /// From decision received to pointer stored.
    pub p50_us: u64,
    /// The same, 99th percentile.
    pub p99_us: u64,
    /// Swaps for which the file had to be read from the disk.
    pub cold_count: u64,
    /// Their median.
    pub cold_p50_us: u64,
    /// The longest of them.
    pub cold_longest_us: u64,
}

/// Measures.
pub(in super::super) async fn measure(stage: &Stage<'_>) -> Result<ReloadReport> {
    let server = stage.serve(&["--variant", TWINS[0]]).await?;
    server.wait_settled().await?;
    let (mut warm, mut cold) = (Vec::new(), Vec::new());
    for round in 1..=stage.extent.rounds {
        stage.round("swaps to a variant on disk", round);
        for _ in 0..WARM {
            warm.push(reload(&server, None).await?);
        }
        for _ in 0..COLD {
            cold.push(reload(&server, Some(stage.directory)).await?);
        }
    }
    warm.sort_unstable();
    cold.sort_unstable();
    Ok(ReloadReport {
        file_bytes: fs::metadata(stage.models.join(LARGEST).join("model.onnx"))?.len(),
        count: warm.len() as u64,
        p50_us: quantile(&warm, 0.5),
        p99_us: quantile(&warm, 0.99),
        cold_count: cold.len() as u64,
        cold_p50_us: quantile(&cold, 0.5),
        cold_longest_us: quantile(&cold, 1.0),
    })
}

/// Unloads the largest variant and swaps to it; `forgotten` is a folder whose files are dropped from the page cache in between.
async fn reload(server: &Server, forgotten: Option<&Path>) -> Result<u64> {
    server.swap_to(TWINS[0]).await?;
    server.unload(LARGEST).await?;
    tokio::time::sleep(PAUSE).await;
    if let Some(directory) = forgotten {
        forget(directory)?;
    }
    let before = server.swaps().await?.count_after_loading;
    server.swap_to(LARGEST).await?;
    let swaps = server.swaps().await?;
    ensure!(swaps.count_after_loading == before + 1, "the variant was resident");
    Ok(swaps.last.map_or(0, |swap| swap.microseconds))
}

/// Drops what nobody has mapped of the files below `directory` from the page cache.
pub(super) fn forget(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            forget(&path)?;
        } else {
            fadvise(&File::open(&path)?, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}
