//! What every engine must do, and nothing else: the promises of [`Engine`] and [`Network`], held against each of them.
//!
//! A new engine gets a line in [`held_by_every_engine`]. What is one engine's own is tested beside it.

pub(crate) mod networks;
mod reference;

use std::{fs, path::PathBuf, thread};

use dnnshifter_portfolio::description::Datatype;

use self::{
    networks::{Fixture, SIDE, doubled, identity, shift, shifted},
    reference::Reference,
};
use super::{Engine, EngineError, Interface, Network, OnnxRuntime};
use crate::{
    testing::ONNX_RUNTIME,
    values::{Part, Values},
};

macro_rules! held_by_every_engine {
    ($($promise:ident),+ $(,)?) => {
        mod onnx_runtime {
            $(#[test]
            fn $promise() {
                super::$promise(&*super::ONNX_RUNTIME);
            })+
        }
        mod onnx_runtime_with_a_store {
            $(#[test]
            fn $promise() {
                let store = tempfile::tempdir().unwrap();
                let engine = || super::OnnxRuntime::keeping_in_by_itself(&super::ONNX_RUNTIME, store.path());
                // First all is optimised, then another process finds it.
                super::$promise(&engine());
                super::$promise(&engine());
            })+
        }
        mod reference_engine {
            $(#[test]
            fn $promise() {
                super::$promise(&super::Reference);
            })+
        }
    };
}

held_by_every_engine!(
    values_of_every_type_come_through,
    a_batch_gives_what_its_items_give_one_after_the_other,
    outputs_are_appended,
    only_the_part_that_is_given_is_computed,
    another_interface_is_refused,
    what_is_no_network_is_refused,
    a_run_that_fails_appends_nothing_and_the_next_one_computes,
    networks_do_not_disturb_each_other_on_whatever_thread,
    a_network_that_is_opened_again_computes_the_same,
    what_is_distrusted_is_made_anew,
    what_is_said_of_memory_can_be,
);

/// An open network, and the folder of its file.
struct Opened {
    network: Box<dyn Network>,
    datatype: Datatype,
    _directory: tempfile::TempDir,
}

impl Opened {
    fn by(engine: &dyn Engine, fixture: &Fixture) -> Self {
        let (directory, path) = fixture.written();
        let network = engine.prepare(&path, &fixture.interface).unwrap();
        Self { network, datatype: fixture.interface.output.datatype, _directory: directory }
    }

    fn compute(&mut self, items: usize, input: Part<'_>) -> Result<Values, EngineError> {
        let mut output = Values::with_capacity(self.datatype, 0);
        self.network.run(items, input, &mut output).map(|()| output)
    }
}

fn counting(datatype: Datatype, count: usize) -> Values {
    let numbers: Vec<_> = (0..count).map(|number| number as f32).collect();
    Values::of_numbers(datatype, &numbers)
}

fn values_of_every_type_come_through(engine: &dyn Engine) {
    for datatype in Datatype::ALL {
        let input = counting(datatype, 2 * SIDE);
        let output = Opened::by(engine, &identity(datatype)).compute(2, input.whole()).unwrap();
        assert_eq!(output, input);
    }
}

fn a_batch_gives_what_its_items_give_one_after_the_other(engine: &dyn Engine) {
    for fixture in [doubled(), shifted()] {
        let (items, length) = (5, fixture.interface.input_length());
        let input = counting(Datatype::Fp32, items * length);
        let mut network = Opened::by(engine, &fixture);
        let at_once = network.compute(items, input.whole()).unwrap();
        let mut in_turn = Values::with_capacity(Datatype::Fp32, 0);
        for item in input.parts(length) {
            network.network.run(1, item, &mut in_turn).unwrap();
        }
        assert_eq!(at_once, in_turn);
        assert_eq!(at_once.len(), items * fixture.interface.output_length());
    }
}

fn outputs_are_appended(engine: &dyn Engine) {
    let mut network = Opened::by(engine, &doubled());
    let mut output = Values::Fp32(vec![7.0]);
    for input in [vec![1.0, 2.0, 3.0], vec![4.0, 5.0, 6.0]] {
        network.network.run(1, Values::Fp32(input).whole(), &mut output).unwrap();
    }
    let expected = [7, 1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6].map(|number| number as f32);
    assert_eq!(output, Values::Fp32(expected.to_vec()));
}

fn only_the_part_that_is_given_is_computed(engine: &dyn Engine) {
    let values = Values::Bytes(["a", "b", "c", "d", "e", "f", "g"].map(ToOwned::to_owned).to_vec());
    let part = Part { values: &values, range: 2..2 + SIDE };
    let output = Opened::by(engine, &identity(Datatype::Bytes)).compute(1, part).unwrap();
    assert_eq!(output, Values::Bytes(["c", "d", "e"].map(ToOwned::to_owned).to_vec()));
}

fn another_interface_is_refused(engine: &dyn Engine) {
    let fixture = identity(Datatype::Fp32);
    let (_directory, path) = fixture.written();
    let changes: [fn(&mut Interface); 4] = [
        |interface| interface.input.name = "picture".to_owned(),
        |interface| interface.input.datatype = Datatype::Int32,
        |interface| interface.output.name = "scores".to_owned(),
        |interface| interface.output.datatype = Datatype::Fp64,
    ];
    for change in changes {
        let mut interface = fixture.interface.clone();
        change(&mut interface);
        let refused = engine.prepare(&path, &interface).err().unwrap();
        assert!(matches!(refused, EngineError::Interface { .. }), "{refused}");
    }
    assert!(engine.prepare(&path, &fixture.interface).is_ok());
}

fn what_is_no_network_is_refused(engine: &dyn Engine) {
    let Fixture { bytes, interface } = identity(Datatype::Fp32);
    let (directory, path) = Fixture { bytes: bytes.clone(), interface: interface.clone() }.written();
    for content in [&b"no network"[..], &[], &bytes[..bytes.len() / 2]] {
        fs::write(&path, content).unwrap();
        assert!(engine.prepare(&path, &interface).is_err());
    }
    assert!(engine.prepare(&directory.path().join("nowhere.onnx"), &interface).is_err());
}

fn a_run_that_fails_appends_nothing_and_the_next_one_computes(engine: &dyn Engine) {
    let mut too_long = identity(Datatype::Fp32);
    too_long.interface.output.shape = vec![SIDE as u64 + 1];
    let input = counting(Datatype::Fp32, SIDE);
    let mut output = Values::Fp32(vec![7.0]);
    let failed = Opened::by(engine, &too_long).network.run(1, input.whole(), &mut output);
    assert!(matches!(failed, Err(EngineError::Output { given: SIDE, expected: 4, .. })), "{failed:?}");
    let mut network = Opened::by(engine, &identity(Datatype::Fp32)).network;
    let failed = network.run(2, input.whole(), &mut output);
    assert!(matches!(failed, Err(EngineError::Run { items: 2, .. })), "{failed:?}");
    assert_eq!(output, Values::Fp32(vec![7.0]));
    network.run(1, input.whole(), &mut output).unwrap();
    assert_eq!(output, Values::Fp32(vec![7.0, 0.0, 1.0, 2.0]));
}

fn networks_do_not_disturb_each_other_on_whatever_thread(engine: &dyn Engine) {
    let fixtures = [identity(Datatype::Fp32), doubled()];
    let [mut same, mut double] = fixtures.map(|fixture| Opened::by(engine, &fixture));
    let input = counting(Datatype::Fp32, SIDE);
    for _ in 0..3 {
        let doubled = thread::scope(|scope| {
            let other = scope.spawn(|| double.compute(1, input.whole()).unwrap());
            assert_eq!(same.compute(1, input.whole()).unwrap(), input);
            other.join().unwrap()
        });
        assert_eq!(doubled, Values::Fp32(vec![0.0, 1.0, 2.0, 0.0, 1.0, 2.0]));
    }
    drop(double);
    assert_eq!(same.compute(1, input.whole()).unwrap(), input);
}

fn a_network_that_is_opened_again_computes_the_same(engine: &dyn Engine) {
    let fixture = shifted();
    let (_directory, path) = fixture.written();
    let input = Values::zeros(Datatype::Fp32, networks::WEIGHTS);
    let expected = Values::Fp32((0..networks::WEIGHTS).map(shift).collect());
    for _ in 0..2 {
        let mut output = Values::with_capacity(Datatype::Fp32, 0);
        let mut network = engine.prepare(&path, &fixture.interface).unwrap();
        network.run(1, input.whole(), &mut output).unwrap();
        assert_eq!(output, expected);
    }
}

fn what_is_distrusted_is_made_anew(engine: &dyn Engine) {
    let fixture = shifted();
    let (_directory, path) = fixture.written();
    let input = Values::zeros(Datatype::Fp32, networks::WEIGHTS);
    let mut before = engine.prepare(&path, &fixture.interface).unwrap();
    engine.distrust(&path);
    assert!(!engine.distrust(&path), "there is nothing left to throw away");
    let mut output = Values::with_capacity(Datatype::Fp32, 0);
    // What is open stays whole.
    before.run(1, input.whole(), &mut output).unwrap();
    engine.prepare(&path, &fixture.interface).unwrap().run(1, input.whole(), &mut output).unwrap();
    let shifts = (0..networks::WEIGHTS).map(shift);
    assert_eq!(output, Values::Fp32(shifts.clone().chain(shifts).collect()));
}

fn what_is_said_of_memory_can_be(engine: &dyn Engine) {
    let fixture = shifted();
    let (_directory, path): (_, PathBuf) = fixture.written();
    let file_bytes = fixture.bytes.len() as u64;
    assert!(engine.peak_bytes(&path, file_bytes) >= file_bytes);
    let mut network = engine.prepare(&path, &fixture.interface).unwrap();
    assert!(engine.peak_bytes(&path, file_bytes) >= file_bytes);
    assert!(network.mapped_bytes() <= file_bytes);
    network.shrink().unwrap();
    let input = counting(Datatype::Fp32, networks::WEIGHTS);
    let mut output = Values::with_capacity(Datatype::Fp32, 0);
    network.run(1, input.whole(), &mut output).unwrap();
    assert_eq!(output.len(), networks::WEIGHTS);
    assert!(network.mapped_bytes() > 0 || !network.is_in_memory());
}
