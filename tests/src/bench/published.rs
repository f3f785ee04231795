//! The pages in the repository are those of the reports beside them.

use std::{fs, path::Path};

use serde::de::DeserializeOwned;

use super::{page, pruning};

/// What is published under `name`: the page, and what `page` makes of the report.
fn page_and_report<R: DeserializeOwned>(name: &str, page: fn(&R) -> String) -> [String; 2] {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks"));
    let read = |ending: &str| fs::read_to_string(folder.join(format!("{name}.{ending}"))).unwrap();
    [read("md"), page(&serde_json::from_str(&read("json")).unwrap())]
}

#[test]
fn published_pages_are_those_of_the_published_reports() {
    for [published, made] in
        [page_and_report("serving", page::page), page_and_report("pruning", pruning::page::page)]
    {
        assert!(published == made, "run dnnshifter-bench page");
    }
}
