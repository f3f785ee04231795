//! Labelled images: read from files, checked against the network, and divided into what is trained on, what variants are
//! chosen on, and what is tested on once. Plain bytes; [`crate::training`] makes tensors of them.

use dnnshifter_network::Network;
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

pub(crate) mod idx;

pub(crate) use idx::DataError;

/// Images of one shape and their labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LabelledImages {
    /// Channels, height and width.
    pub(crate) shape: [usize; 3],
    /// Row-major values of all images, one after the other.
    pub(crate) pixels: Vec<u8>,
    /// One label for each image.
    pub(crate) labels: Vec<u8>,
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
        let image = |&index: &usize| self.pixels.get(index * size..(index + 1) * size).unwrap_or_default();
        let label = |&index: &usize| self.labels.get(index).copied();
        Self {
            shape: self.shape,
            pixels: indices.iter().flat_map(image).copied().collect(),
            labels: indices.iter().filter_map(label).collect(),
        }
    }

    /// Checks that the images fit the network's input, and the labels its outputs.
    fn check(&self, network: &Network) -> Result<(), DataError> {
        let (input, output) = (&network.input().shape, &network.output().shape);
        if *input != self.shape {
            return Err(DataError::Shape { images: self.shape.to_vec(), network: input.clone() });
        }
        let classes: usize = output.iter().product();
        match self.labels.iter().enumerate().find(|&(_, &label)| usize::from(label) >= classes) {
            Some((position, &label)) => Err(DataError::Label { position, label, classes }),
            None => Ok(()),
        }
    }
}

impl Dataset {
    /// Divides `images` by seed, after checking that they and `test` fit the network.
    pub(crate) fn divide(
        images: &LabelledImages,
        test: LabelledImages,
        division: Division,
        network: &Network,
    ) -> Result<Self, DataError> {
        images.check(network)?;
        test.check(network)?;
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

    fn images(labels: Vec<u8>) -> LabelledImages {
        let pixels = labels.iter().flat_map(|&label| [label; 4]).collect();
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
        assert!(dataset.training.pixels.chunks(4).zip(&dataset.training.labels).all(|(p, l)| p == [*l; 4]));
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
        assert!(matches!(refused, DataError::Label { position: 2, label: 3, classes: 3 }), "{refused}");
        let refused = Dataset::divide(&all, images(vec![0]), division, &network("1x4x4")).unwrap_err();
        assert!(matches!(refused, DataError::Shape { .. }), "{refused}");
    }
}
