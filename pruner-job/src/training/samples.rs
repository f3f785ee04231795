//! Labelled images as tensors: whole in memory as bytes, normalised batch by batch.

use dnnshifter_portfolio::plan::Normalization;
use tch::{Kind, Tensor};

use super::{TrainingError, doing};
use crate::{data::LabelledImages, interpreter::copied};

/// Images, labels, and how pixels become the network's input.
pub(crate) struct Samples {
    images: Tensor,
    labels: Tensor,
    mean: f64,
    deviation: f64,
}

/// The largest pixel.
const WHITE: f64 = 255.0;

impl Samples {
    /// Copies the images into tensors.
    pub(crate) fn new(data: &LabelledImages, normalization: Normalization) -> Result<Self, TrainingError> {
        let mut shape = vec![data.len() as i64];
        shape.extend(data.shape.iter().map(|&size| size as i64));
        let images = Tensor::f_from_data_size(&data.pixels, &shape, Kind::Uint8);
        let labels = Tensor::f_from_slice(&data.labels).and_then(|labels| labels.f_to_kind(Kind::Int64));
        Ok(Self {
            images: images.map_err(doing("load images"))?,
            labels: labels.map_err(doing("load labels"))?,
            mean: normalization.mean.as_f64(),
            deviation: normalization.deviation.as_f64(),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.labels.numel()
    }

    /// The normalised images and the labels at `indices`.
    pub(crate) fn batch(&self, indices: &Tensor) -> Result<(Tensor, Tensor), TrainingError> {
        let images = self.images.f_index_select(0, indices).and_then(|images| {
            let values = images.f_to_kind(Kind::Float)?.f_div_scalar(WHITE)?;
            values.f_sub_scalar(self.mean)?.f_div_scalar(self.deviation)
        });
        let labels = self.labels.f_index_select(0, indices);
        Ok((images.map_err(doing("normalise images"))?, labels.map_err(doing("choose labels"))?))
    }

    /// Indices of all images in order, `size` at a time.
    pub(crate) fn in_order(&self, size: i64) -> Result<Vec<Tensor>, TrainingError> {
        let all = Tensor::f_arange(self.len() as i64, (Kind::Int64, tch::Device::Cpu));
        all.and_then(|all| all.f_split(size, 0)).map_err(doing("number images"))
    }

    /// The first `count` normalised images in row-major order, or all if there are fewer.
    pub(crate) fn inputs(&self, count: usize) -> Result<Vec<f32>, TrainingError> {
        let count = count.min(self.len()) as i64;
        let indices =
            Tensor::f_arange(count, (Kind::Int64, tch::Device::Cpu)).map_err(doing("number images"))?;
        let (images, _) = self.batch(&indices)?;
        copied(&images).map_err(doing("read images"))
    }
}
