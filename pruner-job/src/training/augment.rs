//! Images changed a little at every epoch, so that a network learns what they show and not how they lie: mirrored, and moved
//! within a black border (the usual augmentation of small images; He et al., 2016, section 4.2). Only training sees them.

use dnnshifter_portfolio::plan::Augmentation;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use tch::{TchError, Tensor};

/// The images of a batch (images x channels x height x width), each changed by its own chance.
pub(super) fn augment(
    images: &Tensor,
    augmentation: Augmentation,
    random: &mut ChaCha8Rng,
) -> Result<Tensor, TchError> {
    let &[count, _, height, width] = images.size().as_slice() else { return Ok(images.shallow_clone()) };
    let border = i64::from(augmentation.crop_padding);
    let (mut rows, mut columns) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (top, left) = (random.random_range(0..=2 * border), random.random_range(0..=2 * border));
        rows.extend(top..top + height);
        if augmentation.horizontal_flip && random.random() {
            columns.extend((left..left + width).rev());
        } else {
            columns.extend(left..left + width);
        }
    }
    let padded = images.f_constant_pad_nd([border; 4])?;
    let numbers = Tensor::f_arange(count, (tch::Kind::Int64, tch::Device::Cpu))?.f_view([count, 1, 1])?;
    let rows = Tensor::f_from_slice(&rows)?.f_view([count, height, 1])?;
    let columns = Tensor::f_from_slice(&columns)?.f_view([count, 1, width])?;
    // Indices on both sides of the channels' axis put that axis last.
    padded.f_index(&[Some(numbers), None, Some(rows), Some(columns)])?.f_permute([0, 3, 1, 2])
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use tch::Kind;

    use super::*;

    fn augmented(images: &Tensor, horizontal_flip: bool, crop_padding: u16, seed: u64) -> Tensor {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        augment(images, Augmentation { horizontal_flip, crop_padding }, &mut random).unwrap()
    }

    fn images() -> Tensor {
        Tensor::arange(1 + 8 * 2 * 3 * 4, (Kind::Float, tch::Device::Cpu))
            .slice(0, 1, None, 1)
            .view([8, 2, 3, 4])
    }

    #[test]
    fn nothing_asked_is_nothing_changed() {
        assert_eq!(augmented(&images(), false, 0, 1), images());
    }

    #[test]
    fn images_are_mirrored_each_by_its_own_chance_and_by_seed() {
        let (images, changed) = (images(), augmented(&images(), true, 0, 3));
        let mirrored = images.flip([3]);
        let kinds: Vec<bool> = (0..8).map(|image| changed.get(image) == mirrored.get(image)).collect();
        for (image, &is_mirrored) in (0..).zip(&kinds) {
            assert!(is_mirrored || changed.get(image) == images.get(image));
        }
        assert!(kinds.contains(&true) && kinds.contains(&false), "{kinds:?}");
        assert_eq!(changed, augmented(&images, true, 0, 3));
    }

    #[test]
    fn moved_images_keep_their_size_and_get_a_black_edge() {
        let changed = augmented(&images(), false, 1, 1);
        assert_eq!(changed.size(), [8, 2, 3, 4]);
        let black = changed.eq(0.0).sum(Kind::Int64).int64_value(&[]);
        assert!(black > 0 && black < 8 * 2 * 3 * 4, "{black}");
    }
}
