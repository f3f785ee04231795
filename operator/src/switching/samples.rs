//! The load as Prometheus tells it: the query, and what its answer means. Pure.
//!
//! An instant query carries the time of its evaluation, so the age of a sample is invisible in it; therefore value and age are
//! asked for in one query, by one clock, Prometheus' own. What is stale, not a number or not there is unknown, never zero.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The gauge that the runtime exports: items offered per second, what is shed included.
const LOAD_GAUGE: &str = "dnnshifter_offered_items_per_second";
/// The label by which value and age are told apart in the answer.
const PART_LABEL: &str = "dnnshifter_part";

/// The query for the load of all nodes of a portfolio.
pub(crate) fn query(namespace: &str, portfolio: &str) -> String {
    let series = format!("{LOAD_GAUGE}{{portfolio=\"{portfolio}\",portfolio_namespace=\"{namespace}\"}}");
    let part = |expression: &str, part: &str| {
        format!("label_replace({expression},\"{PART_LABEL}\",\"{part}\",\"\",\"\")")
    };
    format!("{} or {}", part(&series, "value"), part(&format!("time()-timestamp({series})"), "age"))
}

/// An answer of Prometheus' HTTP API (prometheus.io/docs/prometheus/latest/querying/api, "Instant queries").
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    status: String,
    data: Option<Data>,
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Debug, Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

/// Why an answer is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("Prometheus refused the query: {0}")]
    Refused(String),
}

#[derive(Default)]
struct Sample {
    value: Option<f64>,
    age: Option<f64>,
}

/// Items per second by node, of the nodes whose load is known. Two pods of one node share its load: their sum counts.
pub(crate) fn loads(
    answer: Answer,
    node_label: &str,
    maximum_age_seconds: f64,
) -> Result<BTreeMap<String, f64>, AnswerError> {
    let Answer { status, data, error } = answer;
    let ("success", Some(data)) = (status.as_str(), data) else {
        return Err(AnswerError::Refused(error.unwrap_or_else(|| "no reason given".to_owned())));
    };
    let mut samples: BTreeMap<BTreeMap<String, String>, Sample> = BTreeMap::new();
    for Series { mut metric, value: (_, text) } in data.result {
        let part = metric.remove(PART_LABEL);
        metric.remove("__name__");
        let number = text.parse::<f64>().ok();
        let sample = samples.entry(metric).or_default();
        match part.as_deref() {
            Some("value") => sample.value = number,
            Some("age") => sample.age = number,
            _ => {}
        }
    }
    let mut loads = BTreeMap::new();
    for (labels, Sample { value, age }) in samples {
        let fresh = age.is_some_and(|age| age <= maximum_age_seconds);
        let load = value.filter(|value| fresh && value.is_finite() && *value >= 0.0);
        if let (Some(node), Some(load)) = (labels.get(node_label), load) {
            *loads.entry(node.clone()).or_insert(0.0) += load;
        }
    }
    Ok(loads)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn series(node: &str, pod: &str, part: &str, value: &str) -> Value {
        let mut metric = json!({"node": node, "pod": pod, PART_LABEL: part});
        if part == "value" {
            metric["__name__"] = json!(LOAD_GAUGE);
        }
        json!({"metric": metric, "value": [1_700_000_000.5, value]})
    }

    fn read(result: &[Value]) -> BTreeMap<String, f64> {
        let answer = json!({"status": "success", "data": {"resultType": "vector", "result": result}});
        loads(serde_json::from_value(answer).unwrap(), "node", 30.0).unwrap()
    }

    #[test]
    fn a_load_needs_a_number_and_a_fresh_age() {
        for (value, age, expected) in [
            ("12.5", "3", Some(12.5)),
            ("0", "30", Some(0.0)),
            ("12.5", "31", None),
            ("NaN", "3", None),
            ("+Inf", "3", None),
            ("-1", "3", None),
            ("12.5", "NaN", None),
        ] {
            let loads = read(&[series("n", "p", "value", value), series("n", "p", "age", age)]);
            assert_eq!(loads.get("n").copied(), expected, "{value} of age {age}");
        }
        assert!(read(&[series("n", "p", "value", "1")]).is_empty());
        assert!(read(&[series("n", "p", "age", "1")]).is_empty());
        assert!(read(&[]).is_empty());
    }

    #[test]
    fn two_pods_of_a_node_add_up_and_a_stale_one_does_not_count() {
        let mut result = vec![series("n", "old", "value", "5"), series("n", "old", "age", "2")];
        result.extend([series("n", "new", "value", "7"), series("n", "new", "age", "1")]);
        assert_eq!(read(&result), BTreeMap::from([("n".to_owned(), 12.0)]));
        result.extend([series("n", "dead", "value", "100"), series("n", "dead", "age", "299")]);
        assert_eq!(read(&result), BTreeMap::from([("n".to_owned(), 12.0)]));
    }

    #[test]
    fn a_refused_query_is_an_error_with_its_reason() {
        let answer = json!({"status": "error", "errorType": "bad_data", "error": "parse error"});
        let error = loads(serde_json::from_value(answer).unwrap(), "node", 30.0).unwrap_err();
        assert!(error.to_string().contains("parse error"));
    }

    #[test]
    fn value_and_age_are_one_query() {
        assert_eq!(
            query("ns", "p"),
            "label_replace(dnnshifter_offered_items_per_second{portfolio=\"p\",portfolio_namespace=\"ns\"},\"dnnshifter_part\",\"value\",\"\",\"\") or label_replace(time()-timestamp(dnnshifter_offered_items_per_second{portfolio=\"p\",portfolio_namespace=\"ns\"}),\"dnnshifter_part\",\"age\",\"\",\"\")"
        );
    }
}
