//! Who may depend on whom: the table of `docs/architecture.md`, held against `cargo tree` (one package at a time, since
//! `cargo metadata` unifies the features of all).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{collections::BTreeSet, process::Command};

/// A crate, what of ours it may use, and what it must never pull in, directly or not.
struct Room {
    package: &'static str,
    may_use: &'static [&'static str],
    never: &'static [&'static str],
}

const HOUSE: [Room; 7] = [
    Room {
        package: "dnnshifter-portfolio",
        may_use: &[],
        never: &["kube", "tokio", "tch", "jiff", "chrono", "rand", "tracing", "log"],
    },
    Room {
        package: "dnnshifter-crds",
        may_use: &["dnnshifter-portfolio"],
        never: &["kube-client", "tokio", "hyper"],
    },
    Room {
        package: "dnnshifter-operator",
        may_use: &["dnnshifter-crds", "dnnshifter-portfolio"],
        never: &["tch", "torch-sys", "ort"],
    },
    Room { package: "dnnshifter-network", may_use: &[], never: &["tch", "torch-sys", "tokio", "kube"] },
    Room {
        package: "dnnshifter-pruner-job",
        may_use: &["dnnshifter-network", "dnnshifter-portfolio"],
        never: &["kube"],
    },
    Room {
        package: "dnnshifter-runtime",
        may_use: &["dnnshifter-crds", "dnnshifter-portfolio"],
        never: &["tch", "torch-sys"],
    },
    Room { package: "dnnshifter-cluster", may_use: &[], never: &["kube-client", "tch", "ort"] },
];

/// Beside `ring`, a second provider makes `kube::Client` panic.
const SECOND_CRYPTO_PROVIDER: &str = "aws-lc-rs";

#[test]
fn every_crate_depends_only_on_what_the_architecture_allows() {
    let mut wrong = Vec::new();
    for room in HOUSE {
        let dependencies = dependencies_of(room.package);
        let ours = dependencies
            .iter()
            .filter(|name| name.starts_with("dnnshifter-") && name.as_str() != room.package);
        for name in ours.filter(|name| !room.may_use.contains(&name.as_str())) {
            wrong.push(format!("{} must not use {name}", room.package));
        }
        for name in
            room.never.iter().chain([&SECOND_CRYPTO_PROVIDER]).filter(|name| dependencies.contains(**name))
        {
            wrong.push(format!(
                "{} pulls in {name}: `cargo tree -p {} -i {name}` shows how",
                room.package, room.package
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn dependencies_of(package: &str) -> BTreeSet<String> {
    let arguments =
        ["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}"];
    let output =
        Command::new(env!("CARGO")).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}
