//! ONNX Runtime as the judge: whether it opens a network, and whether two networks compute the same.

use std::sync::LazyLock;

use ort::{
    environment::Environment,
    session::{Session, builder::GraphOptimizationLevel},
    value::TensorRef,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The largest difference that counts as none, relative to the larger of 1 and the largest output.
const TOLERANCE: f32 = 1e-5;

/// A process can have only one.
static ENGINE: LazyLock<Environment> = LazyLock::new(|| {
    let path = std::env::var("ORT_DYLIB_PATH").unwrap_or_else(|_| "libonnxruntime.so.1".to_owned());
    ort::init_from(path).unwrap().with_telemetry(false).build().unwrap()
});

/// A network that is open twice: as it is written, and optimised.
pub(crate) struct Judged([Session; 2]);

/// A batch of images.
pub(crate) struct Images {
    title: &'static str,
    shape: [usize; 4],
    values: Vec<f32>,
}

impl Judged {
    pub(crate) fn open(model: &[u8]) -> Result<Self, String> {
        let said = |error: ort::Error| format!("ONNX Runtime does not open it: {error}");
        let open = |level| session(model, level).map_err(said);
        Ok(Self([open(GraphOptimizationLevel::Disable)?, open(GraphOptimizationLevel::All)?]))
    }

    /// The outputs, of the network as it is written and then of the optimised one.
    pub(crate) fn run(&mut self, images: &Images) -> Result<Vec<Vec<f32>>, String> {
        let mut outputs = Vec::new();
        for session in &mut self.0 {
            let tensor =
                TensorRef::from_array_view((images.shape.to_vec(), images.values.as_slice())).unwrap();
            let said = |error: ort::Error| format!("ONNX Runtime does not run it: {error}");
            let run = session.run(ort::inputs![tensor]).map_err(said)?;
            outputs.extend(run.values().map(|value| value.try_extract_tensor::<f32>().unwrap().1.to_vec()));
        }
        Ok(outputs)
    }
}

/// A network that is open on one thread.
pub(crate) fn session(model: &[u8], level: GraphOptimizationLevel) -> ort::Result<Session> {
    let mut builder = Session::builder(&ENGINE)?.with_optimization_level(level)?.with_intra_threads(1)?;
    builder.commit_from_memory(model)
}

/// Images of `[channels, height, width]` on which mistakes of compaction show: at the border, and away from it.
pub(crate) fn images([channels, height, width]: [usize; 3]) -> Vec<Images> {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let size = channels * height * width;
    let corner = |index: usize| {
        let (row, column) = (index / width % height, index % width);
        (row == 0 || row + 1 == height) && (column == 0 || column + 1 == width)
    };
    let one = [1, channels, height, width];
    let noise = (0..2 * size).map(|_| random.random_range(-1.0..1.0)).collect();
    vec![
        Images { title: "two of noise", shape: [2, channels, height, width], values: noise },
        Images { title: "zeros", shape: one, values: vec![0.0; size] },
        Images { title: "ones", shape: one, values: vec![1.0; size] },
        Images {
            title: "corners",
            shape: one,
            values: (0..size).map(|index| f32::from(u8::from(corner(index)))).collect(),
        },
    ]
}

/// Says how `found` differs from `expected`, if it does.
pub(crate) fn check_equal(expected: &[u8], found: &[u8], shape: [usize; 3]) -> Result<(), String> {
    let (mut expected, mut found) = (Judged::open(expected)?, Judged::open(found)?);
    for images in images(shape) {
        let (wanted, given) = (expected.run(&images)?, found.run(&images)?);
        if wanted.iter().map(Vec::len).ne(given.iter().map(Vec::len)) {
            return Err(format!("outputs of another size on {}", images.title));
        }
        for (wanted, given) in wanted.iter().zip(&given) {
            if wanted.iter().chain(given).any(|value| !value.is_finite()) {
                return Err(format!("outputs that are not finite on {}", images.title));
            }
            let largest = wanted.iter().fold(1.0_f32, |largest, value| largest.max(value.abs()));
            let pairs = wanted.iter().zip(given);
            let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            if difference > TOLERANCE * largest {
                return Err(format!("difference {difference:e} of {largest:e} on {}", images.title));
            }
        }
    }
    Ok(())
}
