//! Whole-system tests: every promise that only a real cluster can show, each as a named scenario, in this order, on one cluster.
//!
//! `cargo test --release -p dnnshifter-tests --test system [FILTER]` starts the cluster (needs root, and binaries built with
//! `cargo build --release`) and removes it at the end, also after failures; `KEEP_CLUSTER=1` keeps it and what a failed
//! scenario left there. Scenarios say what must hold; `system/world.rs` is what they stand on, `system/scene.rs` what they use.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

mod system {
    pub mod artifacts;
    pub mod broken_model;
    pub mod confined;
    pub mod deletion;
    pub mod fake_prometheus;
    pub mod invalid;
    pub mod load;
    pub mod load_unknown;
    pub mod manifests;
    pub mod objects;
    pub mod operator_away;
    pub mod partition;
    pub mod private;
    pub mod prune;
    pub mod published;
    pub mod replicas;
    pub mod rollout;
    pub mod scene;
    pub mod switching;
    pub mod tls;
    pub mod until;
    pub mod world;
}

use system::{
    broken_model, confined, deletion, invalid, load_unknown, objects, operator_away, partition, private,
    prune, published, replicas, rollout, switching, tls, world, world::scenario,
};

fn main() -> ExitCode {
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let conclusion = libtest_mimic::run(&arguments, scenarios());
    world::end();
    conclusion.exit_code()
}

/// Each with the namespace in which it plays.
fn scenarios() -> Vec<Trial> {
    vec![
        scenario("objects", "the_api_server_accepts_and_refuses_as_the_table_says", objects::table),
        scenario(
            "invalid",
            "an_invalid_manifest_is_refused_with_words_that_say_how_to_mend_it",
            invalid::manifests,
        ),
        scenario(
            "published",
            "a_published_portfolio_serves_and_applying_it_again_changes_nothing",
            published::serves,
        ),
        scenario("beside", "a_second_portfolio_serves_beside_the_first", published::beside_another),
        scenario(
            "switching",
            "a_node_follows_its_load_down_and_up_without_a_failed_request",
            switching::follows_load,
        ),
        scenario("prometheus-killed", "without_prometheus_no_ceiling_moves", load_unknown::killed),
        scenario("prometheus-empty", "an_empty_prometheus_is_not_an_idle_node", load_unknown::empty),
        scenario("prometheus-nan", "a_load_that_is_no_number_is_unknown", load_unknown::not_a_number),
        scenario(
            "operator-away",
            "nodes_serve_without_the_operator_and_nothing_is_rebuilt",
            operator_away::serves,
        ),
        scenario("replicas", "a_second_operator_takes_over_when_the_first_dies", replicas::take_over),
        scenario("confined", "a_runtime_writes_the_status_of_its_own_node_only", confined::to_its_node),
        scenario(
            "partition",
            "a_node_that_is_cut_off_serves_its_clients_and_keeps_its_pod",
            partition::serves,
        ),
        scenario("prune", "a_pruned_portfolio_becomes_ready_though_its_job_is_killed_midway", prune::resumes),
        scenario(
            "private",
            "a_portfolio_is_pushed_to_and_served_from_a_registry_with_a_password",
            private::pushed_and_served,
        ),
        scenario("encrypted", "a_portfolio_with_certificates_is_served_by_tls_and_only_so", tls::serves),
        scenario(
            "broken-model",
            "a_broken_model_stalls_with_a_reason_until_it_is_mended",
            broken_model::stalls,
        ),
        scenario("rollout", "a_revision_that_does_not_come_up_stops_at_its_first_node", rollout::stops),
        scenario("deletion", "a_deleted_portfolio_leaves_nothing_behind", deletion::is_complete),
    ]
}
