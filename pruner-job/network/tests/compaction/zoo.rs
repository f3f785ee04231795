//! Small networks of every architecture that compaction must master: few channels, small images, but the structure that
//! the published ones have. Nothing here is trained; weights are drawn from a seed.

use dnnshifter_network::onnx::ModelProto;

pub(crate) mod classic;
mod dense;
mod mobile;
pub(crate) mod proto;
pub(crate) mod sketch;

use dense::Growth;
use sketch::{Norms, Sketch};

/// Channels, height and width of the input of the small networks.
pub(crate) const IMAGE: [usize; 3] = [3, 32, 32];

/// An architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Architecture {
    Vgg,
    ResNetBasic,
    ResNetBottleneck,
    MobileNetV2,
    MobileNetV3,
    DenseNet,
    GoogLeNet,
    SqueezeNet,
    ShuffleNetV1,
    ShuffleNetV2,
    EfficientNet,
    UNetTransposed,
    UNetOverlapping,
    UNetResized,
    Yolo,
}

impl Architecture {
    pub(crate) const ALL: [Self; 15] = [
        Self::Vgg,
        Self::ResNetBasic,
        Self::ResNetBottleneck,
        Self::MobileNetV2,
        Self::MobileNetV3,
        Self::DenseNet,
        Self::GoogLeNet,
        Self::SqueezeNet,
        Self::ShuffleNetV1,
        Self::ShuffleNetV2,
        Self::EfficientNet,
        Self::UNetTransposed,
        Self::UNetOverlapping,
        Self::UNetResized,
        Self::Yolo,
    ];

    /// A small network of this architecture.
    pub(crate) fn small(self, norms: Norms, seed: u64) -> ModelProto {
        self.drawn(Sketch::new(norms, seed, IMAGE))
    }

    /// The same as `net` draws it.
    pub(crate) fn drawn(self, net: Sketch) -> ModelProto {
        match self {
            Self::Vgg => classic::vgg(net, &[&[16; 2], &[32; 2], &[64; 3], &[64; 3]], Some(64)),
            Self::ResNetBasic => classic::resnet_basic(net),
            Self::ResNetBottleneck => classic::resnet_bottleneck(net, 16, &[2, 2, 2], 10),
            Self::MobileNetV2 => mobile::mobilenet_v2(net),
            Self::MobileNetV3 => mobile::mobilenet_v3(net),
            Self::DenseNet => classic::densenet(net),
            Self::GoogLeNet => classic::googlenet(net),
            Self::SqueezeNet => classic::squeezenet(net),
            Self::ShuffleNetV1 => mobile::shufflenet_v1(net),
            Self::ShuffleNetV2 => mobile::shufflenet_v2(net),
            Self::EfficientNet => mobile::efficientnet(net),
            Self::UNetTransposed => dense::unet(net.calm(), Growth::Transposed),
            Self::UNetOverlapping => dense::unet(net.calm(), Growth::Overlapping),
            Self::UNetResized => dense::unet(net.calm(), Growth::Resized),
            Self::Yolo => dense::yolo(net.calm()),
        }
    }
}
