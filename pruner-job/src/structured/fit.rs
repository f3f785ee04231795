//! One layer's weights by least squares: what it is given, what it should answer, and the weights that it had, from which a ridge
//! lets it move only as far as the images prove. Knows no networks.

use dnnshifter_network::operator::Window;
use tch::{Kind, TchError, Tensor};

use super::patches::patches_at;

/// Rows for each unknown, and the fewest: more would settle the weights no better.
const ROWS_AN_UNKNOWN: usize = 2;
const LEAST_ROWS: usize = 4096;
/// Strength of the ridge, as a share of the mean square of what a weight is multiplied with.
const RIDGE: f64 = 1e-2;
/// Places are drawn at multiples of the golden ratio, which no image's width is in step with.
const GOLDEN_RATIO: f64 = 0.618_033_988_749_894_9;

/// A layer that is fitted.
pub(super) struct Fit<'a> {
    /// Images x channels x height x width, or images x features.
    pub(super) given: &'a Tensor,
    /// The same for its output in the larger network, ...
    pub(super) wanted: &'a Tensor,
    /// ... of whose channels it has these.
    pub(super) kept: &'a Tensor,
    /// Of a convolution; absent for a fully connected layer.
    pub(super) window: Option<&'a Window>,
    /// The weights that it had, and will have.
    pub(super) weight: &'a Tensor,
    pub(super) bias: Option<&'a Tensor>,
    /// The axis of the weight that runs over the output's channels.
    pub(super) written: usize,
}

impl Fit<'_> {
    /// Changes the weight, and the bias if there is one.
    pub(super) fn apply(&self) -> Result<(), TchError> {
        let (given, wanted) = self.rows()?;
        let old = self.old()?;
        let (given_mean, wanted_mean) = (mean(&given)?, mean(&wanted)?);
        // With a bias, the means are its business.
        let (given, wanted) = match self.bias {
            Some(_) => (given.f_sub(&given_mean)?, wanted.f_sub(&wanted_mean)?),
            None => (given, wanted),
        };
        let missing = wanted.f_sub(&given.f_matmul(&old)?)?;
        let across = given.f_transpose(0, 1)?;
        let (squares, products) = (
            across.f_matmul(&given)?.f_to_kind(Kind::Double)?,
            across.f_matmul(&missing)?.f_to_kind(Kind::Double)?,
        );
        let ridge = squares.f_diagonal(0, 0, 1)?.f_mean(None::<Kind>)?.f_double_value(&[])? * RIDGE;
        let unknowns = squares.size().first().copied().unwrap_or(0);
        let identity = Tensor::f_eye(unknowns, (Kind::Double, tch::Device::Cpu))?;
        // Of a layer that is given nothing but zeros, nothing is known.
        let factor = squares.f_add(&identity.f_mul_scalar(ridge.max(f64::MIN_POSITIVE.sqrt()))?)?;
        let change = products.f_cholesky_solve(&factor.f_linalg_cholesky(false)?, false)?;
        let new = old.f_add(&change.f_to_kind(Kind::Float)?)?;
        if let Some(bias) = self.bias {
            let offset = wanted_mean.f_sub(&given_mean.f_matmul(&new)?)?;
            bias.shallow_clone().f_copy_(&offset.f_reshape(bias.size())?)?;
        }
        let new = if self.written == 0 { new.f_transpose(0, 1)? } else { new };
        self.weight.shallow_clone().f_copy_(&new.f_reshape(self.weight.size())?)
    }

    /// The weights as unknowns x outputs.
    fn old(&self) -> Result<Tensor, TchError> {
        if self.written == 0 {
            self.weight.f_flatten(1, -1)?.f_transpose(0, 1)
        } else {
            Ok(self.weight.shallow_clone())
        }
    }

    /// What the layer is given (rows x unknowns) and what it should answer (rows x outputs), at some places of each image.
    fn rows(&self) -> Result<(Tensor, Tensor), TchError> {
        let Some(window) = self.window else {
            return Ok((self.given.shallow_clone(), self.wanted.f_index_select(1, self.kept)?));
        };
        let [images, _, height, width] = *self.wanted.size() else {
            return Err(TchError::Shape("a convolution writes images".to_owned()));
        };
        let unknowns =
            self.weight.numel() / self.weight.size().first().map_or(1, |&outputs| outputs.max(1)) as usize;
        let rows = (unknowns * ROWS_AN_UNKNOWN).max(LEAST_ROWS);
        let places = places(height * width, rows, images);
        let wanted = self.wanted.f_flatten(2, -1)?.f_index_select(2, &Tensor::f_from_slice(&places)?)?;
        let wanted = wanted.f_index_select(1, self.kept)?;
        let places: Vec<_> = places.into_iter().map(|place| (place / width, place % width)).collect();
        Ok((patches_at(self.given, window, &places)?, wanted.f_transpose(1, 2)?.f_flatten(0, 1)?))
    }
}

fn mean(rows: &Tensor) -> Result<Tensor, TchError> {
    rows.f_mean_dim([0_i64].as_slice(), true, None)
}

/// Places out of `all` of each of `images`, so many that there are about `rows` together.
fn places(all: i64, rows: usize, images: i64) -> Vec<i64> {
    let each = (rows as i64).div_euclid(images.max(1)) + 1;
    if each >= all {
        return (0..all).collect();
    }
    (0..each).map(|place| ((place as f64 * GOLDEN_RATIO).fract() * all as f64) as i64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_spread_and_within_the_image() {
        assert_eq!(places(4, 100, 10), [0, 1, 2, 3]);
        let drawn = places(100, 40, 10);
        assert_eq!(drawn, [0, 61, 23, 85, 47]);
    }

    #[test]
    fn a_layer_that_lost_an_input_makes_up_for_it_with_its_twin() {
        // The second input was always twice the first; the layer had 1 and 3 as weights and is left with the first input.
        let inputs: Vec<f32> = (0..50).map(|row| (row % 7) as f32 - 3.0).collect();
        let given = Tensor::from_slice(&inputs).reshape([50, 1]);
        let wanted = &given * 7.0 + 0.5;
        let (weight, bias) = (Tensor::from_slice(&[1.0_f32]).reshape([1, 1]), Tensor::from_slice(&[0.0_f32]));
        let fit = Fit {
            given: &given,
            wanted: &wanted,
            kept: &Tensor::from_slice(&[0_i64]),
            window: None,
            weight: &weight,
            bias: Some(&bias),
            written: 0,
        };
        fit.apply().unwrap();
        assert!((weight.double_value(&[0, 0]) - 7.0).abs() < 0.1, "{}", weight.double_value(&[0, 0]));
        assert!((bias.double_value(&[0]) - 0.5).abs() < 0.01);
    }
}
