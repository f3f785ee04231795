//! ResNet-20 for small images (He et al., "Deep Residual Learning for Image Recognition", 2016, section 4.2).

use super::{ConvNorm, Draft, ImageShape, InvalidBlueprint, Value, Width};

/// Channels of the three stages; each stage but the first halves the image.
const STAGES: [usize; 3] = [16, 32, 64];
/// Blocks of two convolutions in each stage.
const BLOCKS: usize = 3;

pub(super) fn layers(draft: &mut Draft, width: Width) -> Result<Value, InvalidBlueprint> {
    let start = draft.value.clone();
    let stem = ConvNorm { kernel: 3, stride: 1, channels: width.of(16) };
    let value = draft.conv_norm("stem", &start, stem)?;
    let mut value = draft.relu("stem", &value);
    for (stage, channels) in (1..).zip(STAGES) {
        for block in 1..=BLOCKS {
            let stride = if stage > 1 && block == 1 { 2 } else { 1 };
            let first = ConvNorm { kernel: 3, stride, channels: width.of(channels) };
            value = residual_block(draft, &format!("stage{stage}.{block}"), &value, first)?;
        }
    }
    let name = draft.builder.global_average_pool("pool", &value.name);
    Ok(Value { name, shape: ImageShape { channels: value.shape.channels, height: 1, width: 1 } })
}

/// Two convolutions beside a shortcut, which is a projection where the shape changes.
fn residual_block(
    draft: &mut Draft,
    name: &str,
    from: &Value,
    first: ConvNorm,
) -> Result<Value, InvalidBlueprint> {
    let inner = draft.conv_norm(&format!("{name}.1"), from, first)?;
    let inner = draft.relu(&format!("{name}.1"), &inner);
    let inner = draft.conv_norm(&format!("{name}.2"), &inner, ConvNorm { stride: 1, ..first })?;
    let shortcut = if first.stride != 1 || first.channels != from.shape.channels {
        draft.conv_norm(&format!("{name}.shortcut"), from, ConvNorm { kernel: 1, ..first })?
    } else {
        from.clone()
    };
    let sum = draft.builder.add(&format!("{name}.add"), &inner.name, &shortcut.name);
    Ok(draft.relu(name, &Value { name: sum, shape: inner.shape }))
}
