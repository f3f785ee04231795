//! Files that are cut short, damaged or made to do harm: whatever they hold, the answer is a result or a refusal, in bounded
//! time and memory, never a panic. The fuzz target beside this crate looks for more of them.

use dnnshifter_network::{
    Cost, Graph, Network, Shapes,
    compact::{Options, compact, compacted},
    network::weights::KnownWeights,
    onnx::{GraphProto, ModelProto, NodeProto, TensorProto, tensor_proto::DataType},
};
use prost::Message;
use rand::{
    Rng, SeedableRng,
    seq::{IndexedMutRandom, IndexedRandom},
};
use rand_chacha::ChaCha8Rng;

use crate::zoo::{Architecture, sketch::Norms};

/// Numbers that arithmetic on sizes is likeliest to get wrong.
const NUMBERS: [i64; 10] = [0, -1, 1, 2, 3, -7, 1 << 31, 1 << 40, i64::MAX, i64::MIN];

/// Everything that is done to a file before it is known to be good.
fn use_it(bytes: &[u8]) {
    if let Ok(mut model) = ModelProto::decode(bytes) {
        if let Ok(known) = KnownWeights::checked(&model) {
            let _ = compacted(&known, Options::default());
        }
        let _ = compact(&mut model, Options::default());
    }
    let _ = Network::import(bytes.to_vec().into()).map(|network| Graph::of(&network).map(drop));
    let Ok(network) = Network::read(bytes.to_vec().into()) else { return };
    let Ok(graph) = Graph::of(&network) else { return };
    if let Ok(shapes) = Shapes::infer(&network, &graph) {
        let _ = Cost::of(&network, &graph, &shapes);
    }
}

#[test]
fn files_that_are_cut_short_or_damaged_are_refused_or_read() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    for architecture in Architecture::ALL {
        let whole = architecture.small(Norms::Kept, 1).encode_to_vec();
        for _ in 0..20 {
            use_it(&whole[..random.random_range(0..whole.len())]);
            let mut damaged = whole.clone();
            for _ in 0..random.random_range(1..20) {
                // The weights are most of a file, but the graph is at its beginning.
                let end = if random.random() { whole.len() } else { whole.len().min(6000) };
                damaged[random.random_range(0..end)] = random.random();
            }
            use_it(&damaged);
        }
    }
}

#[test]
fn graphs_that_are_made_to_do_harm_are_refused_or_read() {
    let mut random = ChaCha8Rng::seed_from_u64(4);
    for architecture in Architecture::ALL {
        let whole = architecture.small(Norms::Kept, 1);
        for _ in 0..60 {
            let mut model = whole.clone();
            for _ in 0..random.random_range(1..4) {
                harm(model.graph.as_mut().unwrap(), &mut random);
            }
            use_it(&model.encode_to_vec());
        }
    }
}

/// One change of the graph that an attacker, or a broken exporter, might make.
fn harm(graph: &mut GraphProto, random: &mut ChaCha8Rng) {
    let number = *NUMBERS.choose(random).unwrap();
    let values: Vec<String> = graph.node.iter().flat_map(|node| node.output.clone()).collect();
    let value = values.choose(random).cloned().unwrap_or_default();
    let count = graph.node.len();
    if count == 0 {
        return;
    }
    let at = random.random_range(0..count);
    match random.random_range(0..9) {
        0 => drop(graph.node.remove(at)),
        1 => graph.node.swap(at, random.random_range(0..count)),
        2 => graph.node[at].input = vec![value],
        3 => graph.node[at].output = vec![value],
        4 => {
            let other = graph.node[random.random_range(0..count)].op_type.clone();
            graph.node[at].op_type = other;
        }
        5 => {
            for attribute in &mut graph.node[at].attribute {
                attribute.i = attribute.i.map(|_| number);
                attribute.ints.iter_mut().for_each(|value| *value = number);
            }
        }
        6 => graph.node[at].attribute.clear(),
        7 => {
            let tensor = graph.initializer.choose_mut(random);
            if let Some(size) = tensor.and_then(|tensor| tensor.dims.first_mut()) {
                *size = number;
            }
        }
        _ => graph.node[at].input.truncate(1),
    }
}

/// Each name of the weight as a copy of its own would take 80 GB.
#[test]
fn a_weight_of_many_names_is_in_memory_once() {
    let text = |name: &str| Some(name.to_owned());
    let node = |operator: &str, inputs: &[&str], output: &str| NodeProto {
        op_type: text(operator),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    };
    let mut model = Architecture::ALL[0].small(Norms::Kept, 1);
    let graph = model.graph.as_mut().unwrap();
    graph.initializer.push(TensorProto {
        name: text("shared"),
        dims: vec![1000, 1000],
        data_type: Some(DataType::Float as i32),
        float_data: vec![0.5; 1_000_000],
        ..TensorProto::default()
    });
    let mut last = graph.output[0].name().to_owned();
    for position in 0..20_000 {
        let (name, next) = (format!("name{position}"), format!("sum{position}"));
        graph.node.push(node("Identity", &["shared"], &name));
        graph.node.push(node("Add", &[&last, &name], &next));
        last = next;
    }
    graph.output[0].name = Some(last);
    use_it(&model.encode_to_vec());
}

#[test]
fn an_empty_file_and_an_empty_model_are_refused() {
    use_it(&[]);
    use_it(&ModelProto::default().encode_to_vec());
    use_it(&ModelProto { graph: Some(GraphProto::default()), ..ModelProto::default() }.encode_to_vec());
}
