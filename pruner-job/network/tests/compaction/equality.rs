//! Compaction itself: every architecture, masked as unstructured pruning masks, computes the same in ONNX Runtime after it
//! as the untouched network did before, and is as small as its mask allows.

use dnnshifter_network::{
    compact::{Options, Report, compact, compacted},
    network::weights::KnownWeights,
    onnx::{ModelProto, NodeProto, TensorProto, tensor_proto::DataType},
};
use prost::Message;

use crate::{
    judge::check_equal,
    mask::{self, Scope, parameters},
    published,
    zoo::{
        self, Architecture, IMAGE, classic,
        sketch::{Norms, Sketch, Window},
    },
};

/// Compacts `model`, and says if it computes something else afterwards, or is another in a file than in memory.
fn check(model: &ModelProto, options: Options) -> Result<(ModelProto, Report), String> {
    let (mut small, mut file) = (model.clone(), Vec::new());
    let report = compact(&mut small, options).map_err(|error| error.to_string())?;
    compacted(&KnownWeights::checked(model).unwrap(), options).unwrap().write(&mut file).unwrap();
    if ModelProto::decode(file.as_slice()).unwrap() != small {
        return Err("its file is another network".to_owned());
    }
    check_equal(&model.encode_to_vec(), &file, IMAGE)?;
    Ok((small, report))
}

/// Fails with all of the networks for which `of` says something.
fn for_all(of: impl Fn(Architecture, Norms) -> Result<(), String>) {
    let mut wrong = Vec::new();
    for architecture in Architecture::ALL {
        for norms in [Norms::Kept, Norms::Folded] {
            if let Err(said) = of(architecture, norms) {
                wrong.push(format!("{architecture:?} {norms:?}: {said}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_network_without_dead_weights_stays_as_it_is() {
    for_all(|architecture, norms| {
        let model = architecture.small(norms, 1);
        let (small, report) = check(&model, Options::default())?;
        // What mixes channels, such as a softmax at the end, is a wall, and nothing else.
        let is_understood = report.walls.iter().all(|wall| wall.operator == "Softmax");
        if parameters(&small) == parameters(&model) && is_understood {
            Ok(())
        } else {
            Err(format!("{report:?}"))
        }
    });
}

/// Fractions of weights that are masked.
const MASKS: [f64; 7] = [0.5, 0.8, 0.9, 0.95, 0.99, 0.995, 0.999];

#[test]
fn masked_networks_compute_the_same() {
    for_all(|architecture, norms| {
        for scope in [Scope::Global, Scope::Layer] {
            for fraction in MASKS {
                let mut model = architecture.small(norms, 2);
                mask::mask(&mut model, fraction, scope);
                check(&model, Options::default()).map_err(|said| format!("{fraction} {scope:?}: {said}"))?;
            }
        }
        Ok(())
    });
}

#[test]
fn networks_with_dead_layers_compute_the_same() {
    for_all(|architecture, norms| {
        let count = mask::layers(&mut architecture.small(norms, 3));
        for (period, offset) in
            [(1, 0), (2, 0), (2, 1), (3, 1), (5, 2), (7, 3), (count, count - 1), (count, count / 2)]
        {
            let mut model = architecture.small(norms, 3);
            mask::mask(&mut model, 0.6, Scope::Layer);
            mask::kill(&mut model, |position| position % period == offset);
            check(&model, Options::default()).map_err(|said| format!("{offset} of {period}: {said}"))?;
        }
        Ok(())
    });
}

#[test]
fn a_mask_of_99_percent_leaves_under_a_quarter_of_the_parameters() {
    for_all(|architecture, norms| {
        let mut model = architecture.small(norms, 4);
        mask::mask(&mut model, 0.99, Scope::Global);
        let (small, report) = check(&model, Options::default())?;
        let left = parameters(&small) as f64 / parameters(&model) as f64;
        if left < 0.25 { Ok(()) } else { Err(format!("{left:.3} left: {:#?}", report.layers)) }
    });
}

/// Says of which architectures, masked in which ways, more is `left` than the published method leaves.
fn none_is_larger_than_published(
    left: impl Fn(&ModelProto) -> usize + Copy,
    allowed: impl Fn(f64, usize) -> usize + Copy,
) {
    for_all(|architecture, norms| {
        let mut larger = Vec::new();
        for (fraction, scope) in MASKS
            .into_iter()
            .flat_map(|fraction| [Scope::Global, Scope::Layer].map(|scope| (fraction, scope)))
        {
            let mut model = architecture.small(norms, 2);
            mask::mask(&mut model, fraction, scope);
            let (published, ours) = (published::parameters_left(&model), left(&model));
            if ours > published + allowed(fraction, published) {
                larger.push(format!("{fraction} {scope:?}: {ours} parameters against {published}"));
            }
        }
        if larger.is_empty() { Ok(()) } else { Err(format!("{larger:?}")) }
    });
}

fn parameters_when_compact(mut model: ModelProto) -> usize {
    compact(&mut model, Options::default()).unwrap();
    parameters(&model)
}

#[test]
fn of_what_the_published_method_computes_no_more_is_left_than_it_leaves() {
    none_is_larger_than_published(|model| parameters_when_compact(published::computed(model)), |_, _| 0);
}

#[test]
fn what_the_published_method_drops_takes_less_than_a_percent_and_nothing_from_80_percent_on() {
    // Where hardly a filter is dead, a carrier for what dead ones emit may take more than they did.
    let allowed = |fraction, published| if fraction < 0.8 { published / 100 } else { 0 };
    none_is_larger_than_published(|model| parameters_when_compact(model.clone()), allowed);
}

#[test]
fn what_is_compact_is_hardly_made_smaller() {
    for_all(|architecture, norms| {
        let mut model = architecture.small(norms, 5);
        mask::mask(&mut model, 0.9, Scope::Layer);
        let (once, _) = check(&model, Options::default())?;
        let (twice, _) = check(&once, Options::default())?;
        let (once, twice) = (parameters(&once), parameters(&twice));
        // Which constants carry the others is chosen one after another, and with fewer to choose from may be chosen better.
        if twice <= once && twice as f64 > 0.95 * once as f64 {
            Ok(())
        } else {
            Err(format!("{once}, then {twice}"))
        }
    });
}

#[test]
fn widths_are_rounded_where_channels_are_left() {
    for_all(|architecture, norms| {
        let mut model = architecture.small(norms, 6);
        mask::mask(&mut model, 0.97, Scope::Layer);
        let (_, report) = check(&model, Options { round_to: 8 })?;
        let is_rounded =
            |before: usize, after: usize| after == 0 || after == before || after.is_multiple_of(8);
        let wrong: Vec<_> = report
            .layers
            .iter()
            .filter(|layer| !is_rounded(layer.outputs_before, layer.outputs_after))
            .collect();
        // Channels that are dealt out to groups, or to halves, are rounded where they are made, and no more afterwards.
        let may_differ = matches!(architecture, Architecture::ShuffleNetV1 | Architecture::ShuffleNetV2);
        if wrong.is_empty() || may_differ { Ok(()) } else { Err(format!("{wrong:?}")) }
    });
}

#[test]
fn vgg16_at_0_4_percent_density_is_a_small_fraction() {
    for norms in [Norms::Kept, Norms::Folded] {
        let mut model = classic::vgg(Sketch::new(norms, 1, IMAGE), &classic::VGG16, None);
        mask::mask(&mut model, 0.996, Scope::Global);
        let (small, _) = check(&model, Options::default()).unwrap();
        let left = parameters(&small) as f64 / parameters(&model) as f64;
        assert!(left < 0.05, "{norms:?}: {left:.3} left");
    }
}

#[test]
fn what_lies_between_walls_is_compacted() {
    for fraction in [0.5, 0.8, 0.9, 0.95, 0.99] {
        let mut net = Sketch::new(Norms::Kept, 8, IMAGE).calm();
        let mut value = net.conv(&net.input(), 24, Window::unpadded(4, 4));
        for _ in 0..2 {
            let mixed = net.conv(&value, 24, Window::same(7, 1).grouped(24));
            value = net.mlp(&mixed, 96, true);
        }
        let head = net.conv(&value, 8, Window::same(3, 1));
        let mut model = net.finish(&[head]);
        mask::mask(&mut model, fraction, Scope::Layer);
        let (_, report) =
            check(&model, Options::default()).map_err(|said| format!("{fraction}: {said}")).unwrap();
        let walls: Vec<&str> = report.walls.iter().map(|wall| wall.operator.as_str()).collect();
        assert_eq!(walls, ["LayerNormalization"; 2]);
        let hidden = report.layers.iter().find(|layer| layer.operator == "MatMul").unwrap();
        assert!(fraction < 0.95 || hidden.outputs_after < 72, "{hidden:?}");
    }
}

#[test]
fn channels_that_are_normed_one_by_one_are_compacted() {
    for fraction in [0.5, 0.9, 0.99] {
        let mut net = Sketch::new(Norms::Kept, 9, IMAGE).calm();
        let value = net.conv(&net.input(), 32, Window::same(3, 1));
        let value = net.instance_norm(&value);
        let value = net.relu(&value);
        let head = net.conv(&value, 8, Window::same(3, 1));
        let mut model = net.finish(&[head]);
        mask::mask(&mut model, fraction, Scope::Layer);
        let (_, report) =
            check(&model, Options::default()).map_err(|said| format!("{fraction}: {said}")).unwrap();
        assert!(report.walls.is_empty(), "{:?}", report.walls);
        let normed = report.layers.first().unwrap();
        assert!(fraction < 0.9 || normed.outputs_after < 32, "{normed:?}");
    }
}

/// Flattens as exporters do where the batch is open: to the batch of the value, and what is left.
fn with_computed_batch(model: &mut ModelProto) {
    let graph = model.graph.as_mut().unwrap();
    let at = graph.node.iter().position(|node| node.op_type() == "Flatten").unwrap();
    let flatten = graph.node.remove(at);
    let integers = |name: &str, dims: &[i64], value: i64| TensorProto {
        name: Some(name.to_owned()),
        dims: dims.to_vec(),
        data_type: Some(DataType::Int64 as i32),
        raw_data: Some(value.to_le_bytes().to_vec().into()),
        ..TensorProto::default()
    };
    graph.initializer.extend([
        integers("first", &[], 0),
        integers("axes", &[1], 0),
        integers("rest", &[1], -1),
    ]);
    let node = |operator: &str, inputs: &[&str], output: &str| NodeProto {
        op_type: Some(operator.to_owned()),
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    };
    let mut concat = node("Concat", &["batch_list", "rest"], "sizes");
    concat.attribute = vec![zoo::proto::int("axis", 0)];
    let nodes = [
        node("Shape", &[&flatten.input[0]], "shape"),
        node("Gather", &["shape", "first"], "batch"),
        node("Unsqueeze", &["batch", "axes"], "batch_list"),
        concat,
        node("Reshape", &[&flatten.input[0], "sizes"], &flatten.output[0]),
    ];
    graph.node.splice(at..at, nodes);
}

#[test]
fn an_open_batch_is_followed_through_computed_shapes() {
    for architecture in [Architecture::Vgg, Architecture::MobileNetV3] {
        let mut model = architecture.small(Norms::Kept, 7);
        mask::mask(&mut model, 0.97, Scope::Global);
        let (plain, _) = check(&model, Options::default()).unwrap();
        with_computed_batch(&mut model);
        let (small, report) = check(&model, Options::default()).unwrap();
        // The three integers of the shape are the only parameters more.
        assert_eq!(parameters(&small), parameters(&plain), "{:?}", report.walls);
        assert!(report.walls.is_empty(), "{:?}", report.walls);
    }
}
