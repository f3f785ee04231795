//! What the charts install, as helm renders them without a cluster. That they work on one is for the whole-system tests.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::{collections::BTreeSet, path::Path, process::Command};

use dnnshifter_crds::yaml::from_yaml_documents;
use serde_json::Value;

/// What must be set, and no more.
const LEAST: [&str; 3] = [
    "operator.image=registry.test/operator:1",
    "runtime.image=registry.test/runtime@sha256:1111111111111111111111111111111111111111111111111111111111111111",
    "prunerJob.image=registry.test/pruner-job:1",
];

/// Runs helm; what it says if it succeeds, else what it complains of.
fn helm(arguments: &[&str], values: &[&str]) -> Result<String, String> {
    let path = dnnshifter_cluster::search_path().unwrap();
    let mut command = Command::new("helm");
    command.env("PATH", path).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts"));
    command.args(arguments);
    for value in LEAST.iter().chain(values) {
        command.args(["--set", value]);
    }
    let output = command.output().unwrap();
    let said = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(said(output.stdout)) } else { Err(said(output.stderr)) }
}

/// The chart `dnnshifter` with these values, as YAML.
fn rendered(values: &[&str]) -> String {
    let release = ["template", "shifter", "dnnshifter", "--namespace", "system", "--kube-version", "1.37.0"];
    helm(&release, values).unwrap()
}

fn objects(values: &[&str]) -> Vec<Value> {
    from_yaml_documents::<Value>(&rendered(values)).unwrap().into_iter().filter(Value::is_object).collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn kinds(objects: &[Value]) -> BTreeSet<&str> {
    objects.iter().filter_map(|object| object["kind"].as_str()).collect()
}

/// Everything that the roles' rules are about: `verb resource.group`, with the only names if there are any.
fn rights(roles: &[&Value]) -> BTreeSet<String> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in roles.iter().flat_map(|role| role["rules"].as_array().into_iter().flatten()) {
        let names = texts(&rule["resourceNames"]).join(",");
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                let of = format!("{resource}.{group} {names}");
                let verbs = texts(&rule["verbs"]).into_iter();
                rights.extend(verbs.map(|verb| format!("{verb} {}", of.trim_end_matches([' ', '.']))));
            }
        }
    }
    rights
}

fn operator_role<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    of_kind(objects, kind).into_iter().filter(|role| role["metadata"]["name"] == "shifter-system").collect()
}

#[test]
fn helm_has_nothing_to_complain_of() {
    for chart in ["dnnshifter", "dnnshifter-crds"] {
        let arguments = ["lint", "--strict", "--quiet", chart];
        let said = helm(&arguments, &[]);
        assert!(said.is_ok(), "{said:?}");
    }
}

#[test]
fn without_options_nothing_needs_the_crds_of_others() {
    let expected = [
        "ClusterRole",
        "ClusterRoleBinding",
        "Deployment",
        "Role",
        "RoleBinding",
        "Service",
        "ServiceAccount",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ];
    assert_eq!(kinds(&objects(&[])), expected.into());
}

#[test]
fn each_option_brings_its_object() {
    let options = [
        ("monitoring.podMonitor.enabled=true", "PodMonitor"),
        ("monitoring.serviceMonitor.enabled=true", "ServiceMonitor"),
        ("networkPolicy.enabled=true", "NetworkPolicy"),
        ("operator.replicas=2", "PodDisruptionBudget"),
    ];
    for (option, kind) in options {
        assert_eq!(of_kind(&objects(&[option]), kind).len(), 1, "{option}");
    }
    let none = objects(&["operator.replicas=2", "podDisruptionBudget.enabled=false"]);
    assert!(of_kind(&none, "PodDisruptionBudget").is_empty());
}

#[test]
fn the_runtimes_are_scraped_with_the_certificate_that_mutual_tls_wants() {
    let tls = |values: &[&str]| {
        let objects = objects(&[&["monitoring.podMonitor.enabled=true"], values].concat());
        of_kind(&objects, "PodMonitor")[0]["spec"]["podMetricsEndpoints"][0]["tlsConfig"].clone()
    };
    assert_eq!(tls(&[]), serde_json::json!({"insecureSkipVerify": true}));
    let key = "monitoring.podMonitor.tlsConfig.keySecret.name=scraper";
    assert_eq!(
        tls(&[key]),
        serde_json::json!({"insecureSkipVerify": true, "keySecret": {"name": "scraper"}})
    );
}

#[test]
fn an_annotation_of_the_user_takes_the_place_of_ours() {
    let text = rendered(&["podAnnotations.prometheus\\.io/scrape=off", "podAnnotations.team=edge"]);
    assert_eq!(text.matches("prometheus.io/scrape:").count(), 1, "{text}");
    let objects = from_yaml_documents::<Value>(&text).unwrap();
    let annotations = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(annotations["prometheus.io/scrape"], "off");
    assert_eq!((&annotations["prometheus.io/port"], &annotations["team"]), (&"8080".into(), &"edge".into()));
}

#[test]
fn the_operator_runs_where_its_image_does_whatever_else_is_selected() {
    let objects = objects(&["nodeSelector.role=hub"]);
    let selector = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["nodeSelector"];
    assert_eq!(*selector, serde_json::json!({"kubernetes.io/arch": "amd64", "role": "hub"}));
}

#[test]
fn limited_to_namespaces_the_operator_has_no_right_over_what_is_in_others() {
    let everywhere = objects(&[]);
    let limited = objects(&["watchNamespaces={shop,bank}"]);
    let whole = rights(&operator_role(&everywhere, "ClusterRole"));
    let cluster = rights(&operator_role(&limited, "ClusterRole"));
    let roles = operator_role(&limited, "Role");
    let namespaces: Vec<_> =
        roles.iter().map(|role| role["metadata"]["namespace"].as_str().unwrap()).collect();
    assert_eq!(namespaces, ["shop", "bank"]);
    assert_eq!(cluster.union(&rights(&roles)).cloned().collect::<BTreeSet<_>>(), whole);
    let expected = ["get", "list", "watch"].map(|verb| format!("{verb} edgedeviceclasses.dnnshifter.io"));
    let expected = expected.into_iter().chain(
        ["patch edgedeviceclasses/status.dnnshifter.io", "list nodes", "watch nodes"].map(str::to_owned),
    );
    assert_eq!(cluster, expected.collect());
    let arguments = &of_kind(&limited, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["args"];
    assert!(arguments.as_array().unwrap().contains(&"--watch-namespace=bank".into()), "{arguments}");
}

#[test]
fn who_makes_the_roles_says_what_the_runtimes_role_is_called() {
    let objects = objects(&["rbac.create=false", "rbac.runtimeClusterRole=edge-runtime"]);
    assert!(kinds(&objects).iter().all(|kind| !kind.contains("Role")));
    let arguments = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["args"];
    assert!(
        arguments.as_array().unwrap().contains(&"--runtime-cluster-role=edge-runtime".into()),
        "{arguments}"
    );
}

#[test]
fn who_may_view_or_edit_a_namespace_may_do_so_with_its_portfolios() {
    let objects = objects(&[]);
    let of = |role: &str| {
        let label = format!("rbac.authorization.k8s.io/aggregate-to-{role}");
        let roles = of_kind(&objects, "ClusterRole");
        rights(
            &roles
                .into_iter()
                .filter(|role| role["metadata"]["labels"][&label] == "true")
                .collect::<Vec<_>>(),
        )
    };
    assert!(
        of("view").contains("list variantplacements.dnnshifter.io")
            && of("view").iter().all(|right| !right.contains("create"))
    );
    assert!(of("edit").contains("create modelportfolios.dnnshifter.io"));
    assert!(of("admin").contains("delete variantplacements.dnnshifter.io"));
    let without = self::objects(&["rbac.aggregate=false"]);
    assert_eq!(of_kind(&without, "ClusterRole").len(), 2);
}

#[test]
fn a_value_that_is_misspelt_is_refused() {
    let misspelt = ["template", "shifter", "dnnshifter", "--kube-version", "1.37.0"];
    let said = helm(&misspelt, &["operator.replica=2"]).unwrap_err();
    assert!(said.contains("replica"), "{said}");
}
