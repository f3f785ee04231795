//! Whether two networks compute the same, judged by ONNX Runtime: every output, on the same inputs, once with the graph as
//! it is written and once optimised. [`cases`] makes the inputs. Knows nothing of how either network was made.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use ort::{
    session::{Session, builder::GraphOptimizationLevel},
    value::{Outlet, TensorElementType, TensorRef},
};
use serde::Serialize;

use crate::{
    engine::{Engine, EngineError},
    verify::cases::{Case, CaseError, Port},
};

pub(crate) mod cases;

pub(crate) use cases::Source;

/// The largest difference that counts as equal, relative to the larger of 1 and the largest output. Two runtimes already
/// differ by a twentieth of it on one and the same ResNet-50, since sums of floats depend on their order.
const TOLERANCE: f64 = 1e-5;

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Comparison {
    /// Whether every output agrees within the tolerance.
    pub(crate) equal: bool,
    /// The tolerance of relative differences.
    pub(crate) tolerance: f64,
    /// Number of input sets that were tried.
    pub(crate) cases: usize,
    /// The outputs in the networks' order.
    pub(crate) outputs: Vec<OutputDifference>,
}

/// The largest difference of one output over all inputs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OutputDifference {
    /// Its name.
    pub(crate) name: String,
    /// Largest difference of two values.
    pub(crate) absolute: f64,
    /// Largest difference of two values over the larger of 1 and the largest magnitude of that output on that input.
    pub(crate) relative: f64,
    /// Largest magnitude of the output as it should be.
    pub(crate) magnitude: f64,
    /// The input on which the relative difference is largest.
    pub(crate) worst_case: String,
}

/// Why two networks are not equal, or cannot be compared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    #[error("there is no file \"{}\"; mend the path", path.display())]
    Missing { path: PathBuf },
    #[error("\"{}\" cannot be compared", path.display())]
    Open { path: PathBuf, source: Box<EngineError> },
    #[error(
        "the networks cannot be compared: the {side} of the first are {expected}, but those of the second are {found}; compare two forms of one network"
    )]
    Ends { side: &'static str, expected: String, found: String },
    #[error("\"{name}\" of \"{}\" is {found}, but only float32 tensors can be compared; export the model in plain float32", path.display())]
    Type { path: PathBuf, name: String, found: String },
    #[error("\"{name}\" of \"{}\" is {found}, but only float32 tensors can be compared; cut both models before or behind it (onnx.utils.extract_model)", path.display())]
    Kind { path: PathBuf, name: String, found: String },
    #[error(transparent)]
    Cases(#[from] CaseError),
    #[error("\"{}\" failed on {case}", path.display())]
    Run { path: PathBuf, case: String, source: Box<EngineError> },
    #[error("output \"{output}\" of \"{}\" is not finite on {case}", path.display())]
    NotFinite { path: PathBuf, output: String, case: String },
    #[error(
        "output \"{output}\" has shape {expected:?} in the first network, but {found:?} in the second, on {case}"
    )]
    Shape { output: String, case: String, expected: Vec<i64>, found: Vec<i64> },
    #[error("the networks differ: {0}")]
    Different(Comparison),
}

/// Of numbers that could be float32.
const OTHER_PRECISIONS: [TensorElementType; 5] = [
    TensorElementType::Float16,
    TensorElementType::Bfloat16,
    TensorElementType::Float64,
    TensorElementType::Int8,
    TensorElementType::Uint8,
];

/// One output of one run.
struct Output {
    shape: Vec<i64>,
    values: Vec<f32>,
}

/// A network that is open twice: as it is written, and optimised.
struct Subject<'a> {
    path: &'a Path,
    sessions: Vec<Session>,
}

/// Compares the network of the second path with that of the first.
pub(crate) fn compare(
    engine: &Engine,
    paths: [&Path; 2],
    source: &Source<'_>,
) -> Result<Comparison, VerifyError> {
    let [expected, found] = paths;
    let (mut expected, mut found) = (Subject::open(engine, expected)?, Subject::open(engine, found)?);
    let inputs = matching("inputs", &expected.inputs()?, &found.inputs()?)?;
    let outputs = matching("outputs", &expected.outputs()?, &found.outputs()?)?;
    let cases = source.cases(&inputs)?;
    let mut outputs: Vec<OutputDifference> = outputs
        .into_iter()
        .map(|port| OutputDifference { name: port.name, ..OutputDifference::default() })
        .collect();
    for case in &cases {
        for (expected_run, found_run) in expected.run(case)?.iter().zip(&found.run(case)?) {
            for (output, (wanted, given)) in outputs.iter_mut().zip(expected_run.iter().zip(found_run)) {
                expected.check_finite(&output.name, wanted, case)?;
                found.check_finite(&output.name, given, case)?;
                output.include(case, wanted, given)?;
            }
        }
    }
    let equal = outputs.iter().all(|output| output.relative <= TOLERANCE);
    Ok(Comparison { equal, tolerance: TOLERANCE, cases: cases.len(), outputs })
}

impl<'a> Subject<'a> {
    fn open(engine: &Engine, path: &'a Path) -> Result<Self, VerifyError> {
        let levels = [GraphOptimizationLevel::Disable, GraphOptimizationLevel::All];
        let sessions: Result<_, _> = levels.into_iter().map(|level| engine.open_file(path, level)).collect();
        let sessions = sessions
            .map_err(|source| VerifyError::Open { path: path.to_owned(), source: Box::new(source) })?;
        Ok(Self { path, sessions })
    }

    fn inputs(&self) -> Result<Vec<Port>, VerifyError> {
        self.sessions.iter().take(1).flat_map(Session::inputs).map(|outlet| self.port(outlet)).collect()
    }

    fn outputs(&self) -> Result<Vec<Port>, VerifyError> {
        self.sessions.iter().take(1).flat_map(Session::outputs).map(|outlet| self.port(outlet)).collect()
    }

    fn port(&self, outlet: &Outlet) -> Result<Port, VerifyError> {
        let kind = outlet.dtype();
        let (path, name, found) = (self.path.to_owned(), outlet.name().to_owned(), kind.to_string());
        match (kind.tensor_type(), kind.tensor_shape()) {
            (Some(TensorElementType::Float32), Some(shape)) => Ok(Port { name, shape: shape.to_vec() }),
            (Some(element), _) if OTHER_PRECISIONS.contains(&element) => {
                Err(VerifyError::Type { path, name, found })
            }
            _ => Err(VerifyError::Kind { path, name, found }),
        }
    }

    /// The outputs on one case, once for each way in which the network is open.
    fn run(&mut self, case: &Case) -> Result<Vec<Vec<Output>>, VerifyError> {
        let outputs: Result<_, _> = self.sessions.iter_mut().map(|session| run(session, case)).collect();
        outputs.map_err(|source| VerifyError::Run {
            path: self.path.to_owned(),
            case: case.title.clone(),
            source: Box::new(EngineError::Run(source)),
        })
    }

    fn check_finite(&self, name: &str, output: &Output, case: &Case) -> Result<(), VerifyError> {
        if output.values.iter().all(|value| value.is_finite()) {
            return Ok(());
        }
        let (output, case) = (name.to_owned(), case.title.clone());
        Err(VerifyError::NotFinite { path: self.path.to_owned(), output, case })
    }
}

fn run(session: &mut Session, case: &Case) -> Result<Vec<Output>, ort::Error> {
    let mut inputs = Vec::new();
    for (name, shape, values) in &case.tensors {
        inputs.push((name.as_str(), TensorRef::from_array_view((shape.clone(), values.as_slice()))?));
    }
    let outputs = session.run(inputs)?;
    outputs
        .values()
        .map(|output| {
            let (shape, values) = output.try_extract_tensor::<f32>()?;
            Ok(Output { shape: shape.to_vec(), values: values.to_vec() })
        })
        .collect()
}

/// What both networks have in common on a side.
fn matching(side: &'static str, expected: &[Port], found: &[Port]) -> Result<Vec<Port>, VerifyError> {
    let common = expected.iter().zip(found).map(|(expected, found)| expected.common(found));
    let common = common.collect::<Option<Vec<_>>>().filter(|_| expected.len() == found.len());
    common.ok_or_else(|| VerifyError::Ends { side, expected: list(expected), found: list(found) })
}

fn list(ports: &[Port]) -> String {
    ports.iter().map(Port::to_string).collect::<Vec<_>>().join(", ")
}

impl OutputDifference {
    fn include(&mut self, case: &Case, expected: &Output, found: &Output) -> Result<(), VerifyError> {
        if expected.shape != found.shape {
            return Err(VerifyError::Shape {
                output: self.name.clone(),
                case: case.title.clone(),
                expected: expected.shape.clone(),
                found: found.shape.clone(),
            });
        }
        let pairs = expected.values.iter().zip(&found.values);
        let absolute = pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).fold(0.0, f64::max);
        let magnitude = expected.values.iter().map(|value| f64::from(value.abs())).fold(0.0, f64::max);
        let relative = absolute / magnitude.max(1.0);
        if relative > self.relative || self.worst_case.is_empty() {
            self.worst_case.clone_from(&case.title);
        }
        self.absolute = self.absolute.max(absolute);
        self.magnitude = self.magnitude.max(magnitude);
        self.relative = self.relative.max(relative);
        Ok(())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.equal { "equal" } else { "different" })?;
        write!(f, " on {} inputs (tolerance {:e})", self.cases, self.tolerance)?;
        for OutputDifference { name, absolute, relative, magnitude, worst_case } in &self.outputs {
            write!(
                f,
                "; output \"{name}\": largest difference {absolute:.2e}, relative {relative:.2e} (on {worst_case}), values up to {magnitude:.3}"
            )?;
        }
        Ok(())
    }
}
