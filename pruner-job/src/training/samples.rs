//! Labelled images as tensors: whole in memory as they were read, normalised batch by batch.

use dnnshifter_portfolio::plan::{Augmentation, Normalization};
use rand_chacha::ChaCha8Rng;
use tch::{Kind, TchError, Tensor};

use super::{TrainingError, augment::augment, doing};
use crate::{
    data::{LabelledImages, Pixels},
    interpreter::copied,
};

/// Images, labels, and how pixels become the network's input.
pub(crate) struct Samples {
    images: Tensor,
    labels: Tensor,
    mean: f64,
    deviation: f64,
    /// The value that counts as 1.
    white: f64,
}

/// The largest pixel of a file of bytes.
const WHITE: f64 = 255.0;

impl Samples {
    /// Copies the images into tensors.
    pub(crate) fn new(data: &LabelledImages, normalization: Normalization) -> Result<Self, TrainingError> {
        let mut shape = vec![data.len() as i64];
        shape.extend(data.shape.iter().map(|&size| size as i64));
        let (images, white) = match &data.pixels {
            Pixels::Bytes(values) => (Tensor::f_from_data_size(values, &shape, Kind::Uint8), WHITE),
            Pixels::Floats(values) => {
                (Tensor::f_from_slice(values).and_then(|values| values.f_view(shape.as_slice())), 1.0)
            }
        };
        let labels: Vec<i64> = data.labels.iter().map(|&label| label.into()).collect();
        let labels = Tensor::f_from_slice(&labels);
        Ok(Self {
            images: images.map_err(doing("load images"))?,
            labels: labels.map_err(doing("load labels"))?,
            mean: normalization.mean.as_f64(),
            deviation: normalization.deviation.as_f64(),
            white,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.labels.numel()
    }

    /// The normalised images and the labels at `indices`.
    pub(crate) fn batch(&self, indices: &Tensor) -> Result<(Tensor, Tensor), TrainingError> {
        self.batch_of(indices, Ok)
    }

    /// As [`Self::batch`], with each image changed by `augmentation`.
    pub(super) fn augmented_batch(
        &self,
        indices: &Tensor,
        augmentation: Augmentation,
        random: &mut ChaCha8Rng,
    ) -> Result<(Tensor, Tensor), TrainingError> {
        self.batch_of(indices, |images| augment(&images, augmentation, random))
    }

    fn batch_of(
        &self,
        indices: &Tensor,
        change: impl FnOnce(Tensor) -> Result<Tensor, TchError>,
    ) -> Result<(Tensor, Tensor), TrainingError> {
        let images = self.images.f_index_select(0, indices).and_then(change).and_then(|images| {
            let values = images.f_to_kind(Kind::Float)?.f_div_scalar(self.white)?;
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
        copied(&self.first(count)?).map_err(doing("read images"))
    }

    /// The first `count` normalised images, or all if there are fewer.
    pub(crate) fn first(&self, count: usize) -> Result<Tensor, TrainingError> {
        let count = count.min(self.len()) as i64;
        let indices =
            Tensor::f_arange(count, (Kind::Int64, tch::Device::Cpu)).map_err(doing("number images"))?;
        Ok(self.batch(&indices)?.0)
    }
}
