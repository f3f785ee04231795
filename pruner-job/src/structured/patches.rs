//! What a convolution sees at some places of its output.

use dnnshifter_network::operator::Window;
use tch::{TchError, Tensor};

use crate::interpreter::pad;

/// What each of `places` of a convolution's output is computed from, image by image: rows x (channels x kernel). Places are row and column.
/// Beside the padding only what is asked for is copied.
pub(super) fn patches_at(given: &Tensor, window: &Window, places: &[(i64, i64)]) -> Result<Tensor, TchError> {
    let Window { kernel, stride, dilation, padding } = *window;
    let mut view = pad(given, padding, 0.0)?;
    for (axis, ((kernel, stride), dilation)) in (2..).zip(kernel.into_iter().zip(stride).zip(dilation)) {
        let span = (kernel - 1) * dilation + 1;
        view = view.f_unfold(axis, span as i64, stride as i64)?;
        view = view.f_slice(-1, None::<i64>, None::<i64>, dilation as i64)?;
    }
    let (rows, columns): (Vec<i64>, Vec<i64>) = places.iter().copied().unzip();
    let (rows, columns) = (Tensor::f_from_slice(&rows)?, Tensor::f_from_slice(&columns)?);
    // Images x channels x places x kernel.
    let seen = view.f_index(&[None, None, Some(rows), Some(columns)])?;
    seen.f_transpose(1, 2)?.f_flatten(2, -1)?.f_flatten(0, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_are_those_that_the_convolution_is_computed_from() {
        let given = Tensor::arange(2 * 3 * 9 * 8, (tch::Kind::Float, tch::Device::Cpu)).reshape([2, 3, 9, 8]);
        for window in [
            Window { kernel: [3, 3], stride: [1, 1], dilation: [1, 1], padding: [1, 1, 1, 1] },
            Window { kernel: [3, 2], stride: [2, 1], dilation: [1, 2], padding: [0, 1, 1, 0] },
            Window { kernel: [1, 1], stride: [1, 2], dilation: [1, 1], padding: [0; 4] },
        ] {
            let [kernel, stride, dilation] =
                [window.kernel, window.stride, window.dilation].map(|sizes| sizes.map(|size| size as i64));
            let [top, left, bottom, right] = window.padding.map(|edge| edge as i64);
            let weight = Tensor::arange(4 * 3 * kernel[0] * kernel[1], (tch::Kind::Float, tch::Device::Cpu))
                .reshape([4, 3, kernel[0], kernel[1]]);
            let padded = given.pad([left, right, top, bottom], "constant", 0.0);
            let output = padded.conv2d(&weight, None::<Tensor>, stride, [0, 0], dilation, 1);
            let places = [(0, 0), (3, 2), (1, output.size()[3] - 1)];
            let computed =
                patches_at(&given, &window, &places).unwrap().matmul(&weight.flatten(1, -1).transpose(0, 1));
            for (row, (image, (y, x))) in
                (0..2).flat_map(|image| places.map(|place| (image, place))).enumerate()
            {
                for channel in 0..4 {
                    let (given, wanted) = (
                        computed.double_value(&[row as i64, channel]),
                        output.double_value(&[image, channel, y, x]),
                    );
                    assert!((given - wanted).abs() <= 1e-6 * wanted.abs(), "{given} {wanted} {window:?}");
                }
            }
        }
    }
}
