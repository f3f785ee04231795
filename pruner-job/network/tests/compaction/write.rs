//! Writes a masked network of every architecture into a folder, for programs that judge files: `make test-onnx`.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what fails stops, and says where")]

use std::{fs, path::PathBuf};

use prost::Message;

#[expect(dead_code, reason = "the tests use more of it")]
mod mask;
#[expect(dead_code, reason = "the tests use more of it")]
mod zoo;

use mask::Scope;
use zoo::{Architecture, sketch::Norms};

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap());
    for architecture in Architecture::ALL {
        for norms in [Norms::Kept, Norms::Folded] {
            for fraction in [0.9, 0.99] {
                let mut model = architecture.small(norms, 7);
                mask::mask(&mut model, fraction, Scope::Layer);
                let name = format!("{architecture:?}-{norms:?}-{fraction}.onnx");
                fs::write(folder.join(name), model.encode_to_vec()).unwrap();
            }
        }
    }
}
