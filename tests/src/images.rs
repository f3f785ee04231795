//! Labelled images to send: the test files of an IDX data set, as the pruner-job reads them too.

use std::{fs::File, io::Read, path::Path};

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;

/// Labelled images, normalised as the network wants them.
pub struct LabelledImages {
    pixels: Vec<f32>,
    labels: Vec<u8>,
    /// Values of one image.
    pub image_len: usize,
}

impl LabelledImages {
    /// Reads `t10k-images-idx3-ubyte.gz` and `t10k-labels-idx1-ubyte.gz` of `folder` and normalises `(pixel / 255 - mean) / deviation`.
    pub fn read(folder: &Path, mean: f32, deviation: f32) -> Result<Self> {
        let images = unpack(&folder.join("t10k-images-idx3-ubyte.gz"))?;
        let labels = unpack(&folder.join("t10k-labels-idx1-ubyte.gz"))?;
        let (count, height, width) = (word(&images, 4)?, word(&images, 8)?, word(&images, 12)?);
        let image_len = height * width;
        let pixels = images.get(16..).unwrap_or_default();
        ensure!(
            pixels.len() == count * image_len,
            "the image file says {count} images of {height}x{width}, but holds {} bytes",
            pixels.len()
        );
        let labels = labels.get(8..).unwrap_or_default().to_vec();
        ensure!(labels.len() == count, "there are {count} images, but {} labels", labels.len());
        let pixels = pixels.iter().map(|pixel| (f32::from(*pixel) / 255.0 - mean) / deviation).collect();
        Ok(Self { pixels, labels, image_len })
    }

    /// One image of `image_len` values, all alike, without a meaning: to load a server, not to judge its answers.
    pub fn blank(image_len: usize) -> Self {
        Self { pixels: vec![0.0; image_len], labels: vec![0], image_len }
    }

    /// The values of all images, one after the other.
    pub fn pixels(&self) -> &[f32] {
        &self.pixels
    }

    /// The labels of all images.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// The image at `index` (modulo their number), as little-endian bytes, and its label.
    pub fn get(&self, index: usize) -> (Vec<u8>, u8) {
        let index = index % self.labels.len().max(1);
        let values = self.pixels.chunks_exact(self.image_len).nth(index).unwrap_or_default();
        (
            values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            self.labels.get(index).copied().unwrap_or_default(),
        )
    }
}

fn unpack(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
    GzDecoder::new(file)
        .read_to_end(&mut bytes)
        .with_context(|| format!("failed to unpack {}", path.display()))?;
    Ok(bytes)
}

fn word(bytes: &[u8], at: usize) -> Result<usize> {
    let word = bytes
        .get(at..at + 4)
        .and_then(|word| word.try_into().ok())
        .context("the file ends within its header")?;
    Ok(u32::from_be_bytes(word) as usize)
}
