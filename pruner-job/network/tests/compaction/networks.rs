//! The zoo itself: its networks are ones that ONNX Runtime runs, that answer differently to different images, and whose
//! masks are as dense as they say. Without this, equality of two networks would prove nothing.

use prost::Message;

use crate::{
    judge::{Judged, check_equal, images},
    mask::{self, Scope},
    zoo::{
        Architecture, IMAGE, classic,
        sketch::{Norms, Sketch},
    },
};

#[test]
fn every_network_runs_and_answers_differently_to_different_images() {
    let mut dull = Vec::new();
    for architecture in Architecture::ALL {
        for norms in [Norms::Kept, Norms::Folded] {
            let mut network = Judged::open(&architecture.small(norms, 1).encode_to_vec()).unwrap();
            let answers: Vec<_> =
                images(IMAGE).iter().skip(1).map(|images| network.run(images).unwrap()).collect();
            let largest =
                answers.iter().flatten().flatten().fold(0.0_f32, |largest, value| largest.max(value.abs()));
            let differs = |a: &[Vec<f32>], b: &[Vec<f32>]| {
                a.iter().flatten().zip(b.iter().flatten()).any(|(a, b)| (a - b).abs() > 1e-3 * largest)
            };
            if !(largest.is_finite()
                && largest > 1e-2
                && differs(&answers[0], &answers[1])
                && differs(&answers[1], &answers[2]))
            {
                dull.push(format!("{architecture:?} {norms:?}: outputs up to {largest:e}"));
            }
        }
    }
    assert!(dull.is_empty(), "{dull:#?}");
}

#[test]
fn masks_are_as_sparse_as_they_say() {
    for (fraction, scope) in [(0.5, Scope::Global), (0.9, Scope::Layer), (0.99, Scope::Global)] {
        let mut model = Architecture::Vgg.small(Norms::Kept, 1);
        mask::mask(&mut model, fraction, scope);
        let found = mask::sparsity(&mut model);
        assert!((found - fraction).abs() < 0.01, "{found} of {fraction}");
    }
    let mut model = Architecture::Vgg.small(Norms::Folded, 1);
    mask::kill(&mut model, |_| true);
    assert!(mask::sparsity(&mut model) > 0.999 && mask::layers(&mut model) == 12);
}

#[test]
fn networks_of_one_seed_are_the_same_and_of_another_are_not() {
    let bytes = |seed| Architecture::Yolo.small(Norms::Kept, seed).encode_to_vec();
    assert!(bytes(1) == bytes(1));
    assert!(bytes(1) != bytes(2));
}

#[test]
fn full_widths_have_their_published_sizes() {
    let vgg = classic::vgg(Sketch::new(Norms::Folded, 1, [3, 32, 32]), &classic::VGG16, None);
    assert_eq!(mask::parameters(&vgg), 14_719_818, "59 MB");
    let (width, blocks, classes) = classic::RESNET50;
    let resnet =
        classic::resnet_bottleneck(Sketch::new(Norms::Kept, 1, [3, 224, 224]), width, &blocks, classes);
    // 25,557,032 that are trained, and the running mean and variance of 26,560 channels.
    assert_eq!(mask::parameters(&resnet), 25_557_032 + 2 * 26_560, "102 MB");
}

#[test]
fn the_judge_sees_one_changed_weight_and_nothing_else() {
    for architecture in [Architecture::ResNetBasic, Architecture::Yolo] {
        let model = architecture.small(Norms::Kept, 1);
        let mut other = model.clone();
        check_equal(&model.encode_to_vec(), &other.encode_to_vec(), IMAGE).unwrap();
        mask::kill(&mut other, |position| position == 3);
        let said = check_equal(&model.encode_to_vec(), &other.encode_to_vec(), IMAGE).unwrap_err();
        assert!(said.starts_with("difference"), "{said}");
    }
}
