//! Reads the pruning plan and checks what its types cannot say, so that a wrong plan is refused before any work starts.

use std::path::{Path, PathBuf};

use dnnshifter_portfolio::{
    PruningPlan,
    manifest::MOST_VARIANTS,
    plan::{IterativeMagnitude, PLAN_VERSION, PruningMethod, StructuredPruning, Training},
};

/// Each level is a whole training.
const MOST_LEVELS: f64 = 32.0;

/// Why a plan cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    #[error("failed to read the plan \"{}\"", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the plan \"{}\" is neither JSON nor YAML", path.display())]
    Syntax { path: PathBuf, source: serde_yaml::Error },
    #[error("the plan \"{}\" cannot be understood", path.display())]
    Content { path: PathBuf, source: serde_json::Error },
    #[error("the plan's version is \"{found}\", but this release reads \"{PLAN_VERSION}\"")]
    Version { found: String },
    #[error(
        "{field} is \"{text}\", but it names tags: use 1 to 40 letters, digits, '.', '_' and '-', a letter or digit first"
    )]
    Tag { field: &'static str, text: String },
    #[error(
        "the plan says not where to publish: add publish.repository and publish.runtimeImage, or run it with --output FOLDER and without --push"
    )]
    NoTarget,
    #[error("{field} must fall: each smaller than the one before it")]
    Order { field: &'static str },
    #[error("{field} is {found}, but it must be from {least} to {most}")]
    Range { field: &'static str, found: f64, least: f64, most: f64 },
}

/// Reads a plan in JSON or YAML.
pub(crate) fn read(path: &Path) -> Result<PruningPlan, PlanError> {
    let text = std::fs::read(path).map_err(|source| PlanError::Read { path: path.to_owned(), source })?;
    // Through a JSON value: YAML has tags for what JSON writes as a map of one field.
    let value: serde_json::Value = serde_yaml::from_slice(&text)
        .map_err(|source| PlanError::Syntax { path: path.to_owned(), source })?;
    let plan = serde_json::from_value(value)
        .map_err(|source| PlanError::Content { path: path.to_owned(), source })?;
    check(&plan)?;
    Ok(plan)
}

fn check(plan: &PruningPlan) -> Result<(), PlanError> {
    if plan.version != PLAN_VERSION {
        return Err(PlanError::Version { found: plan.version.clone() });
    }
    tag("revision", &plan.revision)?;
    tag("trainingRevision", &plan.training_revision)?;
    match &plan.method {
        PruningMethod::Structured(method) => check_structured(method)?,
        PruningMethod::IterativeMagnitude(method) => check_iterative(method, &plan.training)?,
    }
    let training = &plan.training;
    range("maximumVariants", plan.maximum_variants, 1.0, MOST_VARIANTS as f64)?;
    range("training.batchSize", training.batch_size, 2.0, 8192.0)?;
    range("training.learningRate", training.learning_rate.as_f64(), 1e-6, 1.0)?;
    range("dataset.normalization.deviation", plan.dataset.normalization.deviation.as_f64(), 1e-6, 1.0)
}

fn check_structured(method: &StructuredPruning) -> Result<(), PlanError> {
    range("method.structured.channelMultiple", method.channel_multiple, 1.0, 1024.0)?;
    range("method.structured.latencyRatioHundredths", method.latency_ratio_hundredths, 110.0, 1000.0)
}

fn check_iterative(method: &IterativeMagnitude, training: &Training) -> Result<(), PlanError> {
    const DENSITIES: &str = "method.iterativeMagnitude.densities";
    range(
        "the number of method.iterativeMagnitude.densities",
        method.densities.len() as f64,
        1.0,
        MOST_LEVELS,
    )?;
    for density in &method.densities {
        range(DENSITIES, density.as_f64(), 1e-6, 1.0)?;
    }
    if !method.densities.is_sorted_by(|larger, smaller| larger > smaller) {
        return Err(PlanError::Order { field: DENSITIES });
    }
    // Each level trains anew: weights that were only masked answer nothing.
    range("training.epochs", training.epochs, 1.0, f64::from(u16::MAX))
}

fn tag(field: &'static str, text: &str) -> Result<(), PlanError> {
    let valid = (1..=40).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if valid { Ok(()) } else { Err(PlanError::Tag { field, text: text.to_owned() }) }
}

fn range(field: &'static str, found: impl Into<f64>, least: f64, most: f64) -> Result<(), PlanError> {
    let found = found.into();
    if (least..=most).contains(&found) { Ok(()) } else { Err(PlanError::Range { field, found, least, most }) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const PLAN: &str = "
version: dnnshifter.io/plan/v1
trainingRevision: t1
revision: r1
model: {path: /input/model/model.onnx}
dataset: {path: /input/dataset, format: Idx, normalization: {mean: '0.286', deviation: '0.353'}}
method: {structured: {criterion: Taylor, channelMultiple: 8, latencyRatioHundredths: 150, fineTuningEpochs: 1}}
training: {epochs: 1, batchSize: 64, learningRate: '0.1', seed: 1, validationImages: 100}
minimumAccuracy: '0.8'
maximumVariants: 4
publish: {repository: registry.example.com/a, runtimeImage: registry.example.com/b, plainHttp: true}
";

    fn read_text(text: &str) -> Result<PruningPlan, PlanError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan");
        fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn yaml_and_json_give_the_same_plan() {
        let plan = read_text(PLAN).unwrap();
        assert_eq!(read_text(&serde_json::to_string(&plan).unwrap()).unwrap(), plan);
        assert!(matches!(plan.method, PruningMethod::Structured(method) if method.channel_multiple == 8));
    }

    #[test]
    fn levels_that_cannot_be_are_refused_with_the_field() {
        let plan = |method: &str| {
            let (start, end) = (PLAN.find("method:").unwrap(), PLAN.find("training:").unwrap());
            read_text(&format!(
                "{}method: {{iterativeMagnitude: {method}}}\n{}",
                &PLAN[..start],
                &PLAN[end..]
            ))
        };
        assert!(plan("{densities: ['1', '0.1'], rewindSteps: 5, keepLastLayer: true}").is_ok());
        for (densities, message) in
            [("['0.1', '0.1']", "must fall"), ("['0.1', '0']", "densities is 0"), ("[]", "is 0")]
        {
            let method = format!("{{densities: {densities}, rewindSteps: 5, keepLastLayer: true}}");
            let refused = plan(&method).unwrap_err().to_string();
            assert!(refused.contains(message), "{refused}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_the_field() {
        for (old, new, message) in [
            ("plan/v1", "plan/v9", "this release reads"),
            ("revision: r1", "revision: 'a b'", "revision is \"a b\""),
            ("maximumVariants: 4", "maximumVariants: 13", "maximumVariants is 13"),
            ("Hundredths: 150", "Hundredths: 100", "latencyRatioHundredths is 100"),
            ("deviation: '0.353'", "deviation: '0'", "deviation is 0"),
            ("batchSize: 64", "batchSize: 1", "batchSize is 1"),
        ] {
            let refused = read_text(&PLAN.replace(old, new)).unwrap_err().to_string();
            assert!(refused.contains(message), "{refused}");
        }
        let refused = read_text(&PLAN.replace("batchSize", "batchsize")).unwrap_err();
        assert!(crate::failure::explain(&refused).contains("unknown field `batchsize`"));
        assert!(matches!(read_text("{"), Err(PlanError::Syntax { .. })));
    }
}
