//! ResNet-20 for small images (He et al., "Deep Residual Learning for Image Recognition", 2016, section 4.2).

use super::{Draft, ImageShape, InvalidBlueprint, Value, Width};

/// Channels of the three stages; each stage but the first halves the image.
const STAGES: [usize; 3] = [16, 32, 64];
/// Blocks of two convolutions in each stage.
const BLOCKS: usize = 3;

pub(super) fn layers(draft: &mut Draft, width: Width) -> Result<Value, InvalidBlueprint> {
    let start = draft.value.clone();
    let value = draft.conv_norm("stem", &start, 3, 1, width.of(16))?;
    let mut value = draft.relu("stem", &value);
    for (stage, channels) in (1..).zip(STAGES) {
        for block in 1..=BLOCKS {
            let stride = if stage > 1 && block == 1 { 2 } else { 1 };
            value =
                residual_block(draft, &format!("stage{stage}.{block}"), &value, stride, width.of(channels))?;
        }
    }
    let name = draft.builder.global_average_pool("pool", &value.name);
    Ok(Value { name, shape: ImageShape { channels: value.shape.channels, height: 1, width: 1 } })
}

fn residual_block(
    draft: &mut Draft,
    name: &str,
    from: &Value,
    stride: usize,
    channels: usize,
) -> Result<Value, InvalidBlueprint> {
    let inner = draft.conv_norm(&format!("{name}.1"), from, 3, stride, channels)?;
    let inner = draft.relu(&format!("{name}.1"), &inner);
    let inner = draft.conv_norm(&format!("{name}.2"), &inner, 3, 1, channels)?;
    let changes = stride != 1 || channels != from.shape.channels;
    let shortcut = if changes {
        draft.conv_norm(&format!("{name}.shortcut"), from, 1, stride, channels)?
    } else {
        from.clone()
    };
    let sum = Value { name: draft.builder.add(&format!("{name}.add"), &inner.name, &shortcut.name), ..inner };
    Ok(draft.relu(name, &sum))
}
