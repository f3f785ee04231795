//! Labelled images: read from files in one of three formats, checked against the network, and divided into what is trained on,
//! what variants are chosen on, and what is tested on once. Plain values; [`crate::training`] makes tensors of them.
//!
//! [`idx`], [`npz`] and [`folder`] read one format each; what may be wrong with the files is in [`error`].

use std::path::Path;

use dnnshifter_network::Network;
use dnnshifter_portfolio::plan::{DatasetFormat, DatasetInput};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

mod error;
mod folder;
mod idx;
pub(crate) mod npz;

pub(crate) use error::DataError;

/// No more is read of one file: far above any data set that fits in memory here, far below what exhausts a machine.
const MOST_BYTES: u64 = 4 << 30;

/// Files of labelled images.
pub(crate) trait Source {
    /// The images to train and choose on.
    fn training(&self) -> Result<LabelledImages, DataError>;
    /// The images to test on.
    fn test(&self) -> Result<LabelledImages, DataError>;
}

/// Images of one shape and their labels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LabelledImages {
    /// Channels, height and width.
    pub(crate) shape: [usize; 3],
    /// Row-major values of all images, one after the other.
    pub(crate) pixels: Pixels,
    /// One label for each image.
    pub(crate) labels: Vec<u16>,
}

/// Values of images.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pixels {
    /// From 0 (black) to 255 (white).
    Bytes(Vec<u8>),
    /// As they are, such as from 0 to 1.
    Floats(Vec<f32>),
}

/// A data set, divided.
#[derive(Clone, Debug)]
pub(crate) struct Dataset {
    pub(crate) training: LabelledImages,
    pub(crate) validation: LabelledImages,
    /// Evaluated once, for the variants that were chosen.
    pub(crate) test: LabelledImages,
}

/// How many images are for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Division {
    /// Images to train on; all that are not for validation if absent.
    pub(crate) training: Option<usize>,
    /// Images to choose on.
    pub(crate) validation: usize,
    /// Decides which images those are.
    pub(crate) seed: u64,
}

impl LabelledImages {
    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// The images at `indices`.
    fn select(&self, indices: &[usize]) -> Self {
        let size: usize = self.shape.iter().product();
        let label = |&index: &usize| self.labels.get(index).copied();
        let pixels = match &self.pixels {
            Pixels::Bytes(values) => Pixels::Bytes(chosen(values, size, indices)),
            Pixels::Floats(values) => Pixels::Floats(chosen(values, size, indices)),
        };
        Self { shape: self.shape, pixels, labels: indices.iter().filter_map(label).collect() }
    }

    /// Checks that the images fit the network's input, and the labels its outputs, and that all values are numbers. `part` is what they
    /// are for.
    fn check(&self, part: &'static str, network: &Network) -> Result<(), DataError> {
        let (input, output) = (&network.input().shape, &network.output().shape);
        if *input != self.shape {
            return Err(DataError::Shape { part, images: self.shape.to_vec(), network: input.clone() });
        }
        let classes: usize = output.iter().product();
        match self.labels.iter().enumerate().find(|&(_, &label)| usize::from(label) >= classes) {
            Some((position, &label)) => Err(DataError::Label { part, position, label, classes }),
            None => self.check_values(part),
        }
    }

    fn check_values(&self, part: &'static str) -> Result<(), DataError> {
        let Pixels::Floats(values) = &self.pixels else { return Ok(()) };
        let size: usize = self.shape.iter().product();
        match values.iter().position(|value| !value.is_finite()) {
            Some(place) => Err(DataError::NotFinite { part, position: place / size.max(1) }),
            None => Ok(()),
        }
    }

    /// Checks that each output of the network has an image to learn it from.
    fn check_classes(&self, network: &Network) -> Result<(), DataError> {
        let classes: usize = network.output().shape.iter().product();
        let present: std::collections::BTreeSet<usize> =
            self.labels.iter().map(|&label| label.into()).collect();
        match (0..classes).find(|label| !present.contains(label)) {
            Some(label) => Err(DataError::EmptyClass { label, classes }),
            None => Ok(()),
        }
    }
}

/// The images of `size` values each at `indices`.
fn chosen<T: Copy>(values: &[T], size: usize, indices: &[usize]) -> Vec<T> {
    let image = |&index: &usize| values.get(index * size..(index + 1) * size).unwrap_or_default();
    indices.iter().flat_map(image).copied().collect()
}

/// Reads the images to train and choose on, and those to test on, for `network`.
pub(crate) fn read(
    input: &DatasetInput,
    network: &Network,
) -> Result<(LabelledImages, LabelledImages), DataError> {
    let shape = &network.input().shape;
    let &[channels, height, width] = shape.as_slice() else {
        return Err(DataError::NoImages { network: shape.clone() });
    };
    let (path, shape) = (Path::new(&input.path), [channels, height, width]);
    let source: &dyn Source = match input.format {
        DatasetFormat::Idx => &idx::Idx(path),
        DatasetFormat::Npz => &npz::Npz { path, shape },
        DatasetFormat::ImageFolder => &folder::ImageFolder { path, shape },
    };
    Ok((source.training()?, source.test()?))
}

impl Dataset {
    /// Divides `images` by seed, after checking that they and `test` fit the network.
    pub(crate) fn divide(
        images: &LabelledImages,
        test: LabelledImages,
        division: Division,
        network: &Network,
    ) -> Result<Self, DataError> {
        images.check("training", network)?;
        test.check("test", network)?;
        images.check_classes(network)?;
        let mut order: Vec<usize> = (0..images.len()).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(division.seed));
        let too_few = || DataError::TooFew {
            found: images.len(),
            validation: division.validation,
            training: division.training.unwrap_or(2),
        };
        let (validation, rest) = order.split_at_checked(division.validation).ok_or_else(too_few)?;
        let training = rest.get(..division.training.unwrap_or(rest.len())).ok_or_else(too_few)?;
        // Batch norm needs two images to learn from.
        if validation.is_empty() || training.len() < 2 {
            return Err(too_few());
        }
        Ok(Self { training: images.select(training), validation: images.select(validation), test })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::{Architecture, Blueprint};

    fn images(labels: Vec<u16>) -> LabelledImages {
        let pixels = Pixels::Bytes(labels.iter().flat_map(|&label| [label as u8; 4]).collect());
        LabelledImages { shape: [1, 2, 2], pixels, labels }
    }

    fn network(input: &str) -> Network {
        let (architecture, classes) = (Architecture::Vgg16, 3);
        let (width, input) = ("0.01".parse().unwrap(), input.parse().unwrap());
        Blueprint { architecture, width, input, classes, seed: 1 }.build().unwrap()
    }

    fn divided(training: Option<usize>, validation: usize, seed: u64) -> Result<Dataset, DataError> {
        let all = images((0..30).map(|i| i % 3).collect());
        Dataset::divide(&all, images(vec![0]), Division { training, validation, seed }, &network("1x2x2"))
    }

    #[test]
    fn the_division_follows_the_seed_and_loses_nothing() {
        let dataset = divided(None, 10, 1).unwrap();
        assert_eq!((dataset.training.len(), dataset.validation.len()), (20, 10));
        let mut labels = [dataset.training.labels.clone(), dataset.validation.labels.clone()].concat();
        labels.sort_unstable();
        assert_eq!(labels, [[0; 10], [1; 10], [2; 10]].concat());
        let Pixels::Bytes(pixels) = &dataset.training.pixels else { panic!("bytes stay bytes") };
        assert!(pixels.chunks(4).zip(&dataset.training.labels).all(|(p, &l)| p == [l as u8; 4]));
        assert_eq!(divided(None, 10, 1).unwrap().training, dataset.training);
        assert_ne!(divided(None, 10, 2).unwrap().training, dataset.training);
        assert_eq!(divided(Some(5), 10, 1).unwrap().training.len(), 5);
    }

    #[test]
    fn more_images_than_there_are_cannot_be_asked_for() {
        for (training, validation) in [(None, 29), (None, 31), (Some(21), 10), (Some(1), 10), (None, 0)] {
            let refused = divided(training, validation, 1).unwrap_err();
            assert!(matches!(refused, DataError::TooFew { found: 30, .. }), "{refused}");
        }
    }

    #[test]
    fn images_and_labels_that_do_not_fit_the_network_are_refused() {
        let division = Division { training: None, validation: 1, seed: 1 };
        let all = images(vec![0, 1, 3]);
        let refused = Dataset::divide(&all, images(vec![0]), division, &network("1x2x2")).unwrap_err();
        assert!(
            matches!(refused, DataError::Label { part: "training", position: 2, label: 3, classes: 3 }),
            "{refused}"
        );
        let refused = Dataset::divide(&all, images(vec![0]), division, &network("1x4x4")).unwrap_err();
        assert!(matches!(refused, DataError::Shape { .. }), "{refused}");
        let lacking = images(vec![0, 2, 0]);
        let refused = Dataset::divide(&lacking, images(vec![0]), division, &network("1x2x2")).unwrap_err();
        assert!(matches!(refused, DataError::EmptyClass { label: 1, classes: 3 }), "{refused}");
        let mut values = vec![0.5; 12];
        values[7] = f32::NAN;
        let unclear = LabelledImages { pixels: Pixels::Floats(values), ..images(vec![0, 1, 2]) };
        let refused = Dataset::divide(&unclear, images(vec![0]), division, &network("1x2x2")).unwrap_err();
        assert!(matches!(refused, DataError::NotFinite { part: "training", position: 1 }), "{refused}");
    }
}
