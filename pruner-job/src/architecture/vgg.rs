//! VGG-16 for small images (Simonyan and Zisserman, "Very Deep Convolutional Networks", 2015, configuration D), with batch
//! norm, and one fully connected layer instead of three, as is usual for CIFAR.

use dnnshifter_network::operator::Window;

use super::{ConvNorm, Draft, ImageShape, InvalidBlueprint, Value, Width};

/// Channels of the convolutions between two poolings.
const STAGES: [&[usize]; 5] = [&[64, 64], &[128, 128], &[256, 256, 256], &[512, 512, 512], &[512, 512, 512]];

pub(super) fn layers(draft: &mut Draft, width: Width) -> Result<Value, InvalidBlueprint> {
    let mut value = draft.value.clone();
    for (stage, channels) in (1..).zip(STAGES) {
        for (layer, &channels) in (1..).zip(channels) {
            let name = format!("stage{stage}.{layer}");
            value = draft.conv_norm(
                &name,
                &value,
                ConvNorm { kernel: 3, stride: 1, channels: width.of(channels) },
            )?;
            value = draft.relu(&name, &value);
        }
        value = halved(draft, &format!("stage{stage}.pool"), &value);
    }
    Ok(value)
}

fn halved(draft: &mut Draft, name: &str, from: &Value) -> Value {
    let window = Window { kernel: [2; 2], stride: [2; 2], dilation: [1; 2], padding: [0; 4] };
    let ImageShape { channels, height, width } = from.shape;
    let shape = ImageShape { channels, height: height / 2, width: width / 2 };
    Value { name: draft.builder.max_pool(name, &from.name, &window), shape }
}
