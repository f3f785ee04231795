//! Arbitrary bytes as requests, for the fuzz targets in `runtime/fuzz` and for the test that feeds them what was found once.
//!
//! Whatever the bytes hold, the answer is a batch that fits the model, or a refusal; never a panic.

use dnnshifter_portfolio::description::{Datatype, TensorDescription};
use prost::Message;

use crate::{
    engine::Interface,
    protocol::{
        self, InferenceRequest, Outputs, grpc, inference::ModelInferRequest, largest_batch, most_values,
    },
    values::Values,
};

/// Models of these types are asked: one for each way in which values are read.
const DATATYPES: [Datatype; 5] =
    [Datatype::Fp32, Datatype::Int8, Datatype::Bool, Datatype::Fp16, Datatype::Bytes];

/// The body of an inference request over REST: with raw values after its last brace, and without.
///
/// # Panics
///
/// If what is read does not fit the model: that is what the fuzzer looks for.
pub fn rest(body: &[u8]) {
    let json_length = body.iter().rposition(|byte| *byte == b'}').map(|last| (last + 1).to_string());
    for interface in DATATYPES.map(interface) {
        for length in [None, json_length.as_deref()] {
            if let Ok(request) = protocol::parse(body, length, &interface) {
                expect_fit(&request, &interface);
                let values = Values::zeros(interface.output.datatype, request.items * 3);
                let answer = protocol::render(&outputs(&request, &interface, &values), request.raw_output);
                assert!(answer.is_ok(), "an answer cannot be written");
            }
        }
    }
}

/// A `ModelInferRequest`, as it comes over gRPC.
///
/// # Panics
///
/// If what is read does not fit the model: that is what the fuzzer looks for.
pub fn grpc(message: &[u8]) {
    for interface in DATATYPES.map(interface) {
        if grpc::expect_modest(message, most_values(&interface)).is_err() {
            continue;
        }
        let Ok(decoded) = ModelInferRequest::decode(message) else { continue };
        if let Ok(request) = grpc::read(decoded, &interface) {
            expect_fit(&request, &interface);
            let values = Values::zeros(interface.output.datatype, request.items * 3);
            grpc::write(&outputs(&request, &interface, &values), request.raw_output);
        }
    }
}

/// A small model of this type.
pub(crate) fn interface(datatype: Datatype) -> Interface {
    let tensor = |name: &str, shape: &[u64]| TensorDescription {
        name: name.to_owned(),
        shape: shape.to_vec(),
        datatype,
    };
    Interface { input: tensor("image", &[2, 2]), output: tensor("scores", &[3]) }
}

fn expect_fit(request: &InferenceRequest, interface: &Interface) {
    assert!((1..=largest_batch(interface)).contains(&request.items), "{} items", request.items);
    assert_eq!(request.input.datatype(), interface.input.datatype, "the input's type");
    assert_eq!(request.input.len(), request.items * interface.input_length(), "the input's length");
}

fn outputs<'a>(request: &'a InferenceRequest, interface: &'a Interface, values: &'a Values) -> Outputs<'a> {
    Outputs {
        model: "m",
        variant: "v",
        id: request.id.as_deref(),
        tensor: &interface.output,
        items: request.items,
        values,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Each seed is damaged so often.
    const TIMES: usize = 300;

    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let seeds: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
        assert!(!seeds.is_empty());
        seeds
    }

    /// Every seed as it is, cut short, and with some bytes changed.
    fn feed(target: &str, ask: fn(&[u8])) {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        for seed in seeds(target) {
            ask(&seed);
            for _ in 0..TIMES {
                ask(&seed[..random.random_range(0..=seed.len())]);
                let mut damaged = seed.clone();
                for _ in 0..random.random_range(1..8) {
                    let at = random.random_range(0..damaged.len().max(1));
                    match damaged.get_mut(at) {
                        Some(byte) if random.random() => *byte = random.random(),
                        Some(_) if random.random() => drop(damaged.remove(at)),
                        Some(_) | None => damaged.insert(at, random.random()),
                    }
                }
                ask(&damaged);
            }
        }
    }

    #[test]
    fn bodies_that_are_damaged_are_read_or_refused() {
        feed("rest", rest);
    }

    #[test]
    fn messages_that_are_damaged_are_read_or_refused() {
        feed("grpc", grpc);
    }

    #[test]
    fn good_seeds_are_read() {
        let read = |target: &str, name: &str| {
            fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target).join(name))
                .unwrap()
        };
        let interface = interface(Datatype::Fp32);
        assert!(protocol::parse(&read("rest", "nested.json"), None, &interface).is_ok());
        let is_read = |name: &str, interface: &Interface| {
            let message = ModelInferRequest::decode(&read("grpc", name)[..]).unwrap();
            assert!(grpc::read(message, interface).is_ok(), "{name}");
        };
        is_read("raw", &interface);
        is_read("typed", &interface);
        let of_texts = super::interface(Datatype::Bytes);
        is_read("texts", &of_texts);
        is_read("texts-raw", &of_texts);
        assert!(protocol::parse(&read("rest", "texts.json"), None, &of_texts).is_ok());
        let raw = read("rest", "texts-raw");
        let json_length = raw.iter().rposition(|byte| *byte == b'}').map(|last| (last + 1).to_string());
        assert!(protocol::parse(&raw, json_length.as_deref(), &of_texts).is_ok());
    }
}
