//! Reads models whole: weights that an ONNX model keeps in files beside it (ONNX specification, "External Data") become part of
//! the model. Files outside of the model's folder are never read, whatever the model says.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs, io,
    path::{Component, Path, PathBuf},
};

use bytes::Bytes;
use dnnshifter_network::{
    Network,
    network::InvalidModel,
    onnx::{
        AttributeProto, GraphProto, ModelProto, StringStringEntryProto, TensorProto,
        tensor_proto::DataLocation,
    },
};
use prost::Message;

use crate::mapped;

/// Why a model cannot be read whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnreadableModel {
    #[error(transparent)]
    Model(#[from] InvalidModel),
    #[error(transparent)]
    External(#[from] ExternalError),
}

/// Why weights beside a model cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExternalError {
    #[error("failed to read the data of tensor \"{tensor}\" from \"{}\"; keep the model's files together", path.display())]
    Read { tensor: String, path: PathBuf, source: io::Error },
    #[error(
        "tensor \"{tensor}\" keeps its data in \"{location}\", which is not within the model's folder; save the model again, with its data beside it"
    )]
    Outside { tensor: String, location: String },
    #[error(
        "tensor \"{tensor}\" keeps its data in another file, but states {what} that is none; save the model again"
    )]
    Entry { tensor: String, what: &'static str },
}

/// The model that `bytes` of the file at `path` hold, with all of its weights, and the number of bytes of those beside it.
pub(crate) fn decode(bytes: Bytes, path: &Path) -> Result<(ModelProto, u64), UnreadableModel> {
    let mut model = ModelProto::decode(bytes).map_err(InvalidModel::Decode)?;
    let beside = embed(&mut model, path.parent().unwrap_or(Path::new(".")))?;
    Ok((model, beside))
}

/// As [`decode`], as a network that can be worked on.
pub(crate) fn import(bytes: Bytes, path: &Path) -> Result<Network, UnreadableModel> {
    let (model, _) = decode(bytes, path)?;
    Ok(Network::import_model(model)?)
}

/// Reads the data of every tensor of `model` that is in a file of `folder`; returns the number of bytes.
fn embed(model: &mut ModelProto, folder: &Path) -> Result<u64, ExternalError> {
    let mut files = Files { folder, read: BTreeMap::new() };
    model.graph.as_mut().map_or(Ok(0), |graph| embed_graph(graph, &mut files))
}

fn embed_graph(graph: &mut GraphProto, files: &mut Files<'_>) -> Result<u64, ExternalError> {
    let mut read = 0;
    for tensor in &mut graph.initializer {
        read += embed_tensor(tensor, files)?;
    }
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        let AttributeProto { t, g, tensors, graphs, .. } = attribute;
        for tensor in t.iter_mut().chain(tensors) {
            read += embed_tensor(tensor, files)?;
        }
        for graph in g.iter_mut().chain(graphs) {
            read += embed_graph(graph, files)?;
        }
    }
    Ok(read)
}

fn embed_tensor(tensor: &mut TensorProto, files: &mut Files<'_>) -> Result<u64, ExternalError> {
    if tensor.data_location() != DataLocation::External {
        return Ok(0);
    }
    let name = || tensor.name().to_owned();
    let entry = |key: &str| {
        tensor.external_data.iter().find(|entry| entry.key() == key).map(StringStringEntryProto::value)
    };
    let number = |key, what| match entry(key) {
        None => Ok(None),
        Some(text) => {
            text.parse::<u64>().map(Some).map_err(|_| ExternalError::Entry { tensor: name(), what })
        }
    };
    let location =
        entry("location").ok_or_else(|| ExternalError::Entry { tensor: name(), what: "a location" })?;
    let is_within = Path::new(location).components().all(|part| matches!(part, Component::Normal(_)));
    if location.is_empty() || !is_within {
        return Err(ExternalError::Outside { tensor: name(), location: location.to_owned() });
    }
    let offset = number("offset", "an offset")?.unwrap_or(0);
    let length = number("length", "a length")?;
    let path = files.folder.join(location);
    let bytes = files.part(&path, offset, length).map_err(|source| ExternalError::Read {
        tensor: name(),
        path: path.clone(),
        source,
    })?;
    let size = bytes.len() as u64;
    tensor.raw_data = Some(bytes);
    tensor.external_data.clear();
    tensor.data_location = None;
    Ok(size)
}

/// The files beside a model. Each is in memory once, however many tensors it holds, and however often they name the same part.
struct Files<'a> {
    folder: &'a Path,
    read: BTreeMap<PathBuf, Bytes>,
}

impl Files<'_> {
    /// A part of the file at `path`: up to its end if no length is given.
    fn part(&mut self, path: &Path, offset: u64, length: Option<u64>) -> io::Result<Bytes> {
        let whole = match self.read.entry(path.to_owned()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if !fs::metadata(path)?.is_file() => {
                return Err(io::Error::other("it is no file that holds still"));
            }
            Entry::Vacant(unread) => unread.insert(mapped::map(path)?),
        };
        let end = length.map_or(Some(whole.len() as u64), |length| offset.checked_add(length));
        let place = |place: u64| usize::try_from(place).ok();
        let part = end.and_then(|end| whole.get(place(offset)?..place(end)?));
        part.map(|part| whole.slice_ref(part)).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(entries: &[(&str, &str)]) -> ModelProto {
        let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
            key: Some((*key).to_owned()),
            value: Some((*value).to_owned()),
        };
        let tensor = TensorProto {
            name: Some("weight".to_owned()),
            data_location: Some(DataLocation::External as i32),
            external_data: entries.iter().map(entry).collect(),
            ..TensorProto::default()
        };
        ModelProto {
            graph: Some(GraphProto { initializer: vec![tensor], ..GraphProto::default() }),
            ..ModelProto::default()
        }
    }

    fn said(entries: &[(&str, &str)], folder: &Path) -> String {
        crate::failure::explain(&embed(&mut model(entries), folder).unwrap_err())
    }

    #[test]
    fn data_beside_the_model_becomes_part_of_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("data"), b"0123456789").unwrap();
        let mut read = model(&[("location", "data"), ("offset", "2"), ("length", "4")]);
        assert_eq!(embed(&mut read, folder.path()).unwrap(), 4);
        let tensor = &read.graph.unwrap().initializer[0];
        assert_eq!(tensor.raw_data(), b"2345");
        assert_eq!(tensor.data_location(), DataLocation::Default);
        assert_eq!(embed(&mut model(&[("location", "data")]), folder.path()).unwrap(), 10);
    }

    #[test]
    fn a_file_that_many_tensors_name_is_in_memory_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("data"), vec![7; 1 << 22]).unwrap();
        let mut read = model(&[("location", "data")]);
        let tensors = &mut read.graph.as_mut().unwrap().initializer;
        // With a copy for each it would be 80 GiB.
        tensors.resize(20_000, tensors[0].clone());
        embed(&mut read, folder.path()).unwrap();
        let tensors = read.graph.unwrap().initializer;
        assert!(tensors.iter().all(|tensor| tensor.raw_data().as_ptr() == tensors[0].raw_data().as_ptr()));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("data"), b"0123").unwrap();
        for outside in ["/etc/passwd", "../data", "a/../../data", ""] {
            assert!(said(&[("location", outside)], folder.path()).contains("not within"), "{outside}");
        }
        assert!(said(&[], folder.path()).contains("a location that is none"));
        assert!(said(&[("location", "data"), ("offset", "x")], folder.path()).contains("an offset"));
        assert!(said(&[("location", "data"), ("length", "5")], folder.path()).contains("\"weight\""));
        assert!(said(&[("location", "data"), ("offset", "5")], folder.path()).contains("\"weight\""));
        assert!(said(&[("location", "none")], folder.path()).contains("keep the model's files together"));
    }
}
