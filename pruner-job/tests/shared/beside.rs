//! Models whose weights lie in a file beside them, as large ones are exported.

use std::{fs, path::Path};

use dnnshifter_network::onnx::{ModelProto, StringStringEntryProto, tensor_proto::DataLocation};
use prost::Message;

/// The file beside the model.
pub const WEIGHTS: &str = "weights.bin";

/// Moves the weights of convolutions out of the model at `path`, into [`WEIGHTS`] beside it.
pub fn put_weights_beside(path: &Path) {
    let mut model = ModelProto::decode(fs::read(path).unwrap().as_slice()).unwrap();
    let mut data = Vec::new();
    let tensors = &mut model.graph.as_mut().unwrap().initializer;
    for tensor in tensors.iter_mut().filter(|tensor| tensor.dims.len() == 4) {
        let raw = tensor.raw_data.take().unwrap();
        let entries = [
            ("location", WEIGHTS.to_owned()),
            ("offset", data.len().to_string()),
            ("length", raw.len().to_string()),
        ];
        let entry = |(key, value): (&str, String)| StringStringEntryProto {
            key: Some(key.to_owned()),
            value: Some(value),
        };
        tensor.external_data = entries.into_iter().map(entry).collect();
        tensor.data_location = Some(DataLocation::External as i32);
        data.extend_from_slice(&raw);
    }
    fs::write(path, model.encode_to_vec()).unwrap();
    fs::write(path.with_file_name(WEIGHTS), data).unwrap();
}
