//! What is there while nobody asks: memory with six variants, start, an idle runtime, the image.

use std::{fs, path::Path};

use anyhow::{Result, ensure};
use dnnshifter_cluster::{ImageSize, ProjectImage, project_image_size};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        Memory, Spread,
        client::Form,
        server::{PATIENCE, Start},
        variants::SMALLEST,
    },
    Stage,
};
use crate::load::Outcome;

/// An idle runtime was asked so often, once it had started: it would be too easy to count it without the code that requests need.
const REQUESTS_BEFORE_IDLE: usize = 100;

/// Memory in MB (10^6 bytes), and what else is there while nobody asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResidentReport {
    /// Private memory of the runtime with all variants resident.
    pub anonymous_mb: Spread,
    /// Its pages of files, weights and libraries.
    pub mapped_mb: Spread,
    /// Private memory of a process with as many plain sessions.
    pub plain_anonymous_mb: Spread,
    /// Its pages of files.
    pub plain_mapped_mb: Spread,
    /// How many times more private memory the plain sessions take (medians).
    pub anonymous_ratio: f64,
    /// The same for all memory.
    pub all_ratio: f64,
    /// From the start of the process to the first answer to an inference request, with a store that has all variants, in milliseconds.
    pub first_answer_ms: Spread,
    /// All resident memory of a runtime that serves the smallest variant only, and is not asked any more.
    pub idle_mb: Spread,
    /// Requests that it has answered before.
    pub requests_before_idle: usize,
    /// The image; nothing where it cannot be staged here, and why.
    pub image: Result<ImageReport, String>,
}

/// The layers of the runtime's image.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageReport {
    /// As they lie on a node's disk, in MB.
    pub unpacked_mb: f64,
    /// As they are pulled, compressed by gzip, in MB.
    pub packed_mb: f64,
}

/// Measures.
pub(in super::super) async fn measure(stage: &Stage<'_>) -> Result<ResidentReport> {
    let (mut ours, mut plain, mut starts, mut idle) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let alone = stage.directory.join("alone");
    copy_variant(&stage.models.join(SMALLEST), &alone.join(SMALLEST))?;
    // The first start fills the store.
    stage.serve(&[]).await?.wait_settled().await?;
    for round in 1..=stage.extent.rounds {
        stage.round("memory and start", round);
        plain.push(stage.programs.plain(&stage.network_arguments(), None, PATIENCE)?.memory);
        let server = stage.serve(&[]).await?;
        starts.push(server.first_answer_after.as_secs_f64() * 1e3);
        server.wait_settled().await?;
        ours.push(server.memory()?);
        drop(server);
        let start = Start { models: &alone, options: &[], group: None };
        let server = stage.programs.serve(stage.directory, start).await?;
        server.wait_settled().await?;
        let client = server.client(Form::Raw);
        for _ in 0..REQUESTS_BEFORE_IDLE {
            ensure!(matches!(client.ask().await, Ok(Outcome::Answered)), "an idle runtime did not answer");
        }
        idle.push(server.memory()?.resident_bytes() as f64 / 1e6);
    }
    let image = image().map_err(|error| format!("{error:#}"));
    Ok(ResidentReport {
        first_answer_ms: Spread::of(starts),
        idle_mb: Spread::of(idle),
        requests_before_idle: REQUESTS_BEFORE_IDLE,
        image,
        ..compared(&ours, &plain)
    })
}

fn compared(ours: &[Memory], plain: &[Memory]) -> ResidentReport {
    let spread =
        |all: &[Memory], of: fn(&Memory) -> u64| Spread::of(all.iter().map(|one| of(one) as f64 / 1e6));
    let (anonymous, mapped) = (|it: &Memory| it.anonymous_bytes, |it: &Memory| it.mapped_bytes);
    let (anonymous_mb, mapped_mb) = (spread(ours, anonymous), spread(ours, mapped));
    let (plain_anonymous_mb, plain_mapped_mb) = (spread(plain, anonymous), spread(plain, mapped));
    let all = |anonymous: Spread, mapped: Spread| anonymous.median + mapped.median;
    ResidentReport {
        anonymous_ratio: plain_anonymous_mb.median / anonymous_mb.median,
        all_ratio: all(plain_anonymous_mb, plain_mapped_mb) / all(anonymous_mb, mapped_mb),
        anonymous_mb,
        mapped_mb,
        plain_anonymous_mb,
        plain_mapped_mb,
        first_answer_ms: Spread::default(),
        idle_mb: Spread::default(),
        requests_before_idle: 0,
        image: Err(String::new()),
    }
}

/// The image of this checkout: the folder that the command is run in.
fn image() -> Result<ImageReport> {
    let ImageSize { unpacked_bytes, packed_bytes } =
        project_image_size(ProjectImage::Runtime, &std::env::current_dir()?)?;
    Ok(ImageReport { unpacked_mb: unpacked_bytes as f64 / 1e6, packed_mb: packed_bytes as f64 / 1e6 })
}

fn copy_variant(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
