//! Untrained networks to start from, written as ONNX with batch norm kept: nobody needs Python to try the pruner.
//!
//! [`vgg`] and [`residual`] say how the layers follow each other; this module how wide they are and how weights are drawn.

use std::{fmt, str::FromStr};

use dnnshifter_network::{
    FloatTensor, Network, NetworkBuilder, TensorInfo, builder::BatchNorm, network::InvalidModel,
    operator::Window, tensor::InvalidTensor,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

mod residual;
mod vgg;

/// The architectures that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Architecture {
    /// VGG-16 for small images: 13 convolutions, 5 poolings, one fully connected layer (Simonyan and Zisserman, 2015;
    /// batch norm after each convolution).
    #[value(name = "vgg16")]
    Vgg16,
    /// ResNet-20 for small images (He et al., 2016, section 4.2; projection shortcuts).
    #[value(name = "resnet20")]
    ResNet20,
}

/// What to write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blueprint {
    pub(crate) architecture: Architecture,
    pub(crate) width: Width,
    pub(crate) input: ImageShape,
    pub(crate) classes: usize,
    pub(crate) seed: u64,
}

/// What fraction of the published channel counts a network has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Width {
    numerator: usize,
    denominator: usize,
}

/// Channels, height and width of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ImageShape {
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

/// Why a network cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidBlueprint {
    #[error("\"{text}\" is not a width: write a fraction of at most 4 such as \"1/2\", \"0.5\" or \"1\"")]
    Width { text: String },
    #[error(
        "\"{text}\" is not an image shape: write CHANNELSxHEIGHTxWIDTH, each from 1 to 1024, such as \"1x28x28\""
    )]
    Input { text: String },
    #[error("a classifier needs at least 2 classes, not {classes}")]
    Classes { classes: usize },
    #[error("failed to make a weight")]
    Weight(#[from] InvalidTensor),
    #[error("failed to assemble the network")]
    Model(#[from] InvalidModel),
}

/// Both architectures halve the image five times at most: sizes are padded to a multiple of this.
const SIZE_MULTIPLE: usize = 32;

impl Blueprint {
    /// Draws the weights and assembles the network.
    pub(crate) fn build(&self) -> Result<Network, InvalidBlueprint> {
        if self.classes < 2 {
            return Err(InvalidBlueprint::Classes { classes: self.classes });
        }
        let mut draft = Draft::new(self);
        let features = match self.architecture {
            Architecture::Vgg16 => vgg::layers(&mut draft, self.width)?,
            Architecture::ResNet20 => residual::layers(&mut draft, self.width)?,
        };
        draft.classify(&features, self.classes)
    }
}

/// A network under construction: where it ends now, and the source of its weights.
struct Draft {
    builder: NetworkBuilder,
    value: Value,
    random: ChaCha8Rng,
}

/// A square convolution with batch norm.
#[derive(Clone, Copy)]
struct ConvNorm {
    kernel: usize,
    stride: usize,
    channels: usize,
}

/// A value of the network and its shape.
#[derive(Clone)]
struct Value {
    name: String,
    shape: ImageShape,
}

impl Draft {
    fn new(blueprint: &Blueprint) -> Self {
        let ImageShape { channels, height, width } = blueprint.input;
        let info = TensorInfo { name: "input".to_owned(), shape: vec![channels, height, width] };
        let mut builder = NetworkBuilder::new(&blueprint.architecture.to_string(), info);
        let [top, bottom] = missing_edges(height);
        let [left, right] = missing_edges(width);
        let mut name = builder.input();
        if top + bottom + left + right > 0 {
            name = builder.pad("pad", &name, [top, left, bottom, right]);
        }
        let shape = ImageShape { channels, height: height + top + bottom, width: width + left + right };
        Self { builder, value: Value { name, shape }, random: ChaCha8Rng::seed_from_u64(blueprint.seed) }
    }

    /// Convolution and batch norm; the image shrinks by the stride.
    fn conv_norm(&mut self, name: &str, from: &Value, layer: ConvNorm) -> Result<Value, InvalidBlueprint> {
        let ConvNorm { kernel, stride, channels } = layer;
        let shape = vec![channels, from.shape.channels, kernel, kernel];
        let weight = self.drawn(shape, from.shape.channels * kernel * kernel)?;
        let window =
            Window { kernel: [kernel; 2], stride: [stride; 2], dilation: [1; 2], padding: [kernel / 2; 4] };
        let value = self.builder.conv(&format!("{name}.conv"), &from.name, &weight, &window);
        let name = self.builder.batch_norm(&format!("{name}.norm"), &value, &BatchNorm::identity(channels));
        let (height, width) = (from.shape.height / stride, from.shape.width / stride);
        Ok(Value { name, shape: ImageShape { channels, height, width } })
    }

    fn relu(&mut self, name: &str, from: &Value) -> Value {
        Value { name: self.builder.relu(&format!("{name}.relu"), &from.name), shape: from.shape }
    }

    fn classify(mut self, features: &Value, classes: usize) -> Result<Network, InvalidBlueprint> {
        let ImageShape { channels, height, width } = features.shape;
        let count = channels * height * width;
        let value = self.builder.flatten("flatten", &features.name);
        let weight = self.drawn(vec![classes, count], count)?;
        let output = self.builder.linear("classifier", &value, &weight, &FloatTensor::filled(classes, 0.0));
        Ok(self.builder.finish(&output, &[classes])?)
    }

    /// Uniform with variance `2 / fan_in`: keeps the variance of activations through `ReLU` (He et al., "Delving Deep into
    /// Rectifiers", 2015, equation 10).
    fn drawn(&mut self, shape: Vec<usize>, fan_in: usize) -> Result<FloatTensor, InvalidTensor> {
        let bound = (6.0 / fan_in as f32).sqrt();
        let count: usize = shape.iter().product();
        let values = (0..count).map(|_| self.random.random_range(-bound..bound)).collect();
        FloatTensor::new(shape, values)
    }
}

/// Rows or columns to add before and after, so that `size` becomes a multiple of [`SIZE_MULTIPLE`].
fn missing_edges(size: usize) -> [usize; 2] {
    let missing = size.next_multiple_of(SIZE_MULTIPLE) - size;
    [missing / 2, missing.div_ceil(2)]
}

impl Width {
    fn of(self, channels: usize) -> usize {
        (channels * self.numerator).div_ceil(self.denominator)
    }
}

impl FromStr for Width {
    type Err = InvalidBlueprint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || InvalidBlueprint::Width { text: text.to_owned() };
        let count = |text: &str| text.parse::<usize>().ok().filter(|count| (1..=1_000_000).contains(count));
        let width = if let Some((numerator, denominator)) = text.split_once('/') {
            count(numerator).zip(count(denominator))
        } else {
            let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
            let scale = (digits.len() <= 3).then(|| 10_usize.pow(digits.len() as u32));
            count(format!("{whole}{digits}").trim_start_matches('0')).zip(scale)
        };
        match width {
            Some((numerator, denominator)) if numerator <= 4 * denominator => {
                Ok(Self { numerator, denominator })
            }
            _ => Err(refused()),
        }
    }
}

impl FromStr for ImageShape {
    type Err = InvalidBlueprint;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let sizes: Option<Vec<usize>> =
            text.split('x').map(|size| size.parse().ok().filter(|size| (1..=1024).contains(size))).collect();
        match sizes.as_deref() {
            Some(&[channels, height, width]) => Ok(Self { channels, height, width }),
            _ => Err(InvalidBlueprint::Input { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vgg16 => "vgg16",
            Self::ResNet20 => "resnet20",
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use dnnshifter_network::{Cost, Graph, Operator, Shapes};

    use super::*;

    /// A small network whose batch norms are as if it had been trained, so that no test passes by chance.
    pub(crate) fn as_if_trained(architecture: Architecture, input: &str) -> Network {
        let (width, input) = ("1/8".parse().unwrap(), input.parse().unwrap());
        let network = Blueprint { architecture, width, input, classes: 10, seed: 1 }.build().unwrap();
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut tensors = BTreeMap::new();
        for node in Graph::of(&network).unwrap().nodes() {
            if matches!(node.operator, Operator::BatchNorm { .. }) {
                for (name, range) in
                    node.inputs.iter().skip(1).zip([0.5..1.5, -0.5..0.5, -0.5..0.5, 0.5..2.0])
                {
                    let old = network.float(name).unwrap().unwrap();
                    let values = old.values().iter().map(|_| random.random_range(range.clone())).collect();
                    tensors.insert(name.clone(), FloatTensor::new(old.shape().to_vec(), values).unwrap());
                }
            }
        }
        network.with_floats(&tensors)
    }

    /// Values as if of images.
    pub(crate) fn random_inputs(count: usize) -> Vec<f32> {
        let mut random = ChaCha8Rng::seed_from_u64(9);
        (0..count).map(|_| random.random_range(-1.0..1.0)).collect()
    }

    fn cost(architecture: Architecture, width: &str, input: &str) -> Cost {
        let blueprint = Blueprint {
            architecture,
            width: width.parse().unwrap(),
            input: input.parse().unwrap(),
            classes: 10,
            seed: 1,
        };
        let network = blueprint.build().unwrap();
        let graph = Graph::of(&network).unwrap();
        Cost::of(&network, &graph, &Shapes::infer(&network, &graph).unwrap()).unwrap()
    }

    #[test]
    fn vgg16_has_its_published_size() {
        let cost = cost(Architecture::Vgg16, "1", "3x32x32");
        // 14,728,266 with the biases of its convolutions, which batch norm makes needless: 4,224 fewer.
        assert_eq!(cost.parameters, 14_728_266 - 4_224);
        assert_eq!(cost.macs, 313_201_664);
    }

    #[test]
    fn resnet20_has_its_published_size() {
        let cost = cost(Architecture::ResNet20, "1", "3x32x32");
        // 0.27 M in the paper's table 6, with shortcuts without parameters; two projections are 2,752 more.
        assert_eq!(cost.parameters, 272_474);
    }

    #[test]
    fn a_small_image_is_padded_and_a_width_scales_every_layer() {
        let half = cost(Architecture::Vgg16, "1/2", "1x28x28");
        assert_eq!(half, cost(Architecture::Vgg16, "0.5", "1x28x28"));
        assert!((78_000_000..79_000_000).contains(&half.macs), "{half:?}");
    }

    #[test]
    fn texts_that_are_no_width_or_shape_are_refused() {
        for text in ["", "0", "1/0", "x", "5", "-1", "1e3", "0.0001", "1/2/3"] {
            assert!(text.parse::<Width>().is_err(), "{text}");
        }
        for text in ["", "28x28", "1x28", "0x28x28", "1x28x28x1", "1x99999x1"] {
            assert!(text.parse::<ImageShape>().is_err(), "{text}");
        }
    }
}
