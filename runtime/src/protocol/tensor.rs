//! An input tensor as a client describes it, held against the model's: the same for every way in which requests come.

use dnnshifter_portfolio::description::Datatype;

use super::{ProtocolError, excerpt, largest_batch};
use crate::{engine::Interface, values::Values};

/// What the request says of its input.
pub(super) struct Described<'a> {
    pub(super) name: &'a str,
    pub(super) datatype: &'a str,
    pub(super) shape: &'a [i64],
}

impl Described<'_> {
    /// The batch size, once name, datatype and shape are the model's.
    pub(super) fn items(&self, interface: &Interface) -> Result<usize, ProtocolError> {
        let expected = &interface.input;
        if self.name != expected.name {
            let (given, expected) = (excerpt(self.name), expected.name.clone());
            return Err(ProtocolError::Name { kind: "input", given, expected });
        }
        if self.datatype != expected.datatype.as_str() {
            let (name, given) = (expected.name.clone(), excerpt(self.datatype));
            return Err(ProtocolError::Datatype { name, given, expected: expected.datatype.as_str() });
        }
        let items = match self.shape.split_first() {
            Some((items, item)) if is_same(item, &expected.shape) => usize::try_from(*items).ok(),
            _ => None,
        };
        let most = largest_batch(interface);
        items.filter(|items| (1..=most).contains(items)).ok_or_else(|| ProtocolError::Shape {
            name: expected.name.clone(),
            given: self.shape.to_vec(),
            expected: expected.shape.clone(),
            most,
        })
    }

    /// The values of a raw tensor.
    pub(super) fn little_endian(&self, datatype: Datatype, raw: &[u8]) -> Result<Values, ProtocolError> {
        Values::from_little_endian(datatype, raw).ok_or_else(|| {
            let (name, given) = (self.name.to_owned(), raw.len());
            if datatype == Datatype::Bytes {
                ProtocolError::RawTexts { name }
            } else {
                ProtocolError::RawSize { name, given, datatype: datatype.as_str() }
            }
        })
    }

    /// Refuses another number of values than the shape says.
    pub(super) fn expect_length(&self, given: usize, expected: usize) -> Result<(), ProtocolError> {
        if given == expected {
            return Ok(());
        }
        let (name, shape) = (self.name.to_owned(), self.shape.to_vec());
        Err(ProtocolError::Length { name, given, shape, expected })
    }
}

fn is_same(given: &[i64], expected: &[u64]) -> bool {
    given.len() == expected.len()
        && given.iter().zip(expected).all(|(given, expected)| u64::try_from(*given) == Ok(*expected))
}

/// Parameters by which Triton gives an output in another form (`extension_classification.md`, `extension_shared_memory.md`). A client that sends
/// one would take what it gets for something else, so that these are refused, where others are passed over.
pub(super) const CLASSIFICATION: &str = "classification";
const SHARED_MEMORY: &str = "shared_memory_region";

/// Refuses an output that the model does not have, or that is wanted in another form: by the parameters that the request `has` for it.
pub(super) fn expect_output(
    name: &str,
    has: impl Fn(&str) -> bool,
    interface: &Interface,
) -> Result<(), ProtocolError> {
    let expected = &interface.output.name;
    if name != expected {
        let (given, expected) = (excerpt(name), expected.clone());
        return Err(ProtocolError::Name { kind: "output", given, expected });
    }
    match [CLASSIFICATION, SHARED_MEMORY].into_iter().find(|parameter| has(parameter)) {
        Some(parameter) => Err(ProtocolError::Form { name: expected.clone(), parameter }),
        None => Ok(()),
    }
}
