//! Tests of the pure steps, through the real `validate`, from short YAML.

use std::sync::Arc;

use dnnshifter_crds::{
    EdgeDeviceClass, VariantPlacement, model_portfolio::Serving, yaml::from_yaml_documents,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, Pod},
};

use super::{
    apply::{Applied, apply_deployment},
    build::deployment as deployment_of,
    decide::{Decision, Kept, Wanted, decide},
    observe::Observed,
    report::{Outcome, ready},
    validate::{Valid, is_available, validate},
};
use crate::{
    fake::{Reply, api_server},
    golden::assert_golden,
};

const RUNTIME: &str = "registry.test/runtime@sha256:1";

const PLACEMENT: &str = "
apiVersion: dnnshifter.io/v1alpha1
kind: VariantPlacement
metadata: {name: fashion-edge-1, namespace: shop, uid: placement-uid, generation: 2}
spec:
  portfolioName: fashion
  nodeName: edge-1
  deviceClassName: large
  revision: '1111111111'
  templateHash: HASH
  variants:
  - {name: large, image: 'registry.test/fashion@sha256:2', accuracy: '0.92'}
  - {name: small, image: 'registry.test/fashion@sha256:3', accuracy: '0.85'}
  policy:
    latencyObjective: {milliseconds: 20, quantile: '0.99'}
    behavior: {stepDown: {stabilizationWindowSeconds: 0}, stepUp: {stabilizationWindowSeconds: 60}}
";

const CLASS: &str = "
apiVersion: dnnshifter.io/v1alpha1
kind: EdgeDeviceClass
metadata: {name: large}
spec:
  nodeSelector: {kind: large}
  tolerations: [{key: edge, operator: Exists}]
  resources: {requests: {cpu: 250m, memory: 256Mi}, limits: {cpu: 500m, memory: 512Mi}}
  priorityClassName: important
";

fn read<T: serde::de::DeserializeOwned>(yaml: &str) -> T {
    from_yaml_documents(yaml).unwrap().remove(0)
}

fn node(cpu: &str) -> Node {
    read(&format!(
        "{{metadata: {{name: edge-1}}, status: {{allocatable: {{cpu: {cpu}, memory: 1Gi}}, conditions: [{{type: Ready, status: 'True'}}]}}}}"
    ))
}

fn serving() -> Serving {
    read(
        "{latencyObjective: {milliseconds: 20}, imagePullSecrets: [pull], tls: {secretName: server, clientCaSecretName: clients}}",
    )
}

fn observed(hash: &str, cpu: &str) -> Observed {
    Observed {
        object: Arc::new(read::<VariantPlacement>(&PLACEMENT.replace("HASH", hash))),
        class: Some(read::<EdgeDeviceClass>(CLASS).spec),
        serving: Some(serving()),
        node: Some(Arc::new(node(cpu))),
        deployment: None,
        pods: Vec::new(),
        secrets: Vec::new(),
    }
}

/// The hash that the portfolio controller would write.
fn hash(valid: &Valid) -> String {
    let super::validate::Surroundings::Whole(whole) = &valid.surroundings else {
        panic!("nothing is missing")
    };
    let template = crate::template::Template {
        namespace: "shop",
        portfolio: "fashion",
        variants: &valid.object.spec.variants,
        class: &whole.class,
        serving: &whole.serving,
        runtime_image: RUNTIME,
    };
    template.hash().unwrap()
}

fn applied(cpu: &str) -> (Valid, Box<Wanted>) {
    wanted_of(observed("unknown", cpu))
}

/// As if the rollout had come to what can be built.
fn wanted_of(observed: Observed) -> (Valid, Box<Wanted>) {
    let mut valid = validate(observed);
    let hash = hash(&valid);
    Arc::make_mut(&mut valid.object).spec.template_hash = hash;
    match decide(&valid, RUNTIME).unwrap() {
        Decision::Apply(wanted) => (valid, wanted),
        Decision::Keep(kept) => panic!("{kept:?}"),
    }
}

fn kept(observed: Observed) -> Kept {
    match decide(&validate(observed), RUNTIME).unwrap() {
        Decision::Keep(kept) => kept,
        Decision::Apply(_) => panic!("expected the Deployment to be left alone"),
    }
}

#[test]
fn the_deployment_is_as_reviewed() {
    let (valid, wanted) = applied("700m");
    assert_golden("deployment-tls", &deployment_of(&valid, &wanted));
    let mut plain = observed("unknown", "700m");
    plain.serving.as_mut().unwrap().tls = None;
    let (valid, wanted) = wanted_of(plain);
    assert_golden("deployment", &deployment_of(&valid, &wanted));
}

#[tokio::test]
async fn a_new_template_is_tried_in_a_dry_run_then_written() {
    let (valid, wanted) = applied("1");
    let (client, requests) = api_server(|request, _| Reply::Ok(request.body.clone()));
    let outcome = apply_deployment(&client, &valid, deployment_of(&valid, &wanted)).await.unwrap();
    assert!(matches!(outcome, Applied::Deployment(_)));
    let tried: Vec<_> = requests.all().iter().map(|request| request.path.contains("dryRun=All")).collect();
    assert_eq!(tried, [true, false]);
}

/// As it does before Kubernetes 1.35, without a word: the pod would serve empty folders.
#[tokio::test]
async fn nothing_is_written_where_the_api_server_takes_image_volumes_away() {
    let (valid, wanted) = applied("1");
    let (client, requests) = api_server(|request, _| {
        let mut answer = request.body.clone();
        for volume in answer["spec"]["template"]["spec"]["volumes"].as_array_mut().unwrap() {
            volume.as_object_mut().unwrap().remove("image");
        }
        Reply::Ok(answer)
    });
    let outcome = apply_deployment(&client, &valid, deployment_of(&valid, &wanted)).await.unwrap();
    assert!(matches!(outcome, Applied::ImageVolumesUnsupported));
    let [tried] = requests.all().try_into().unwrap();
    assert!(tried.path.contains("dryRun=All"), "{}", tried.path);
    let condition = ready(&valid, &Outcome::Applied(outcome), None);
    assert_eq!((condition.truth.as_str(), condition.reason), ("False", "ImageVolumesUnsupported"));
    assert!(condition.message.contains("Kubernetes 1.35"), "{}", condition.message);
}

#[test]
fn the_new_pod_comes_first_only_where_two_fit() {
    for (cpu, surge) in [("700m", true), ("500m", true), ("499m", false)] {
        assert_eq!(applied(cpu).1.surge, surge, "{cpu}");
    }
    let mut unknown = observed("x", "1");
    unknown.node = None;
    assert!(
        matches!(validate(unknown).surroundings, super::validate::Surroundings::Whole(whole) if !whole.two_fit)
    );
}

/// Other pods may take the room that the node's size promises; then the old pod gives way, and it stays at that.
#[test]
fn a_pod_that_finds_no_room_ends_the_surge() {
    let surge = |pods: Vec<Pod>, deployment: Option<Deployment>| {
        let mut observed = observed(&hash(&validate(observed("unknown", "1"))), "1");
        (observed.pods, observed.deployment) = (pods, deployment);
        let valid = validate(observed);
        match decide(&valid, RUNTIME).unwrap() {
            Decision::Apply(wanted) => (wanted.surge, deployment_of(&valid, &wanted)),
            Decision::Keep(kept) => panic!("{kept:?}"),
        }
    };
    let pending = |message: &str| {
        let yaml = format!(
            "{{status: {{conditions: [{{type: PodScheduled, status: 'False', reason: Unschedulable, message: '{message}'}}]}}}}"
        );
        vec![read::<Pod>(&yaml)]
    };
    let (yes, surging) = surge(Vec::new(), None);
    assert!(yes);
    assert!(
        surge(pending("0/1 nodes are available: 1 node(s) had untolerated taint"), Some(surging.clone())).0
    );
    let (yes, room_made) = surge(pending("0/1 nodes are available: 1 Insufficient cpu"), Some(surging));
    assert!(!yes);
    assert!(!surge(Vec::new(), Some(room_made)).0);
}

#[test]
fn a_template_that_the_rollout_did_not_allow_is_not_written() {
    assert_eq!(kept(observed("another", "1")), Kept::RolloutPending);
}

#[test]
fn without_its_class_or_its_portfolio_a_deployment_is_left_alone() {
    let mut classless = observed("x", "1");
    classless.class = None;
    assert_eq!(kept(classless), Kept::ClassMissing);
    let mut orphan = observed("x", "1");
    orphan.serving = None;
    assert_eq!(kept(orphan), Kept::PortfolioMissing);
}

#[test]
fn a_deployment_is_available_when_its_one_new_pod_is_and_no_old_one_is_left() {
    let with = |status: &str| {
        let yaml = format!(
            "{{metadata: {{generation: 2}}, spec: {{selector: {{}}, template: {{}}}}, status: {status}}}"
        );
        is_available(&read::<Deployment>(&yaml))
    };
    assert!(with("{observedGeneration: 2, replicas: 1, updatedReplicas: 1, availableReplicas: 1}"));
    assert!(!with("{observedGeneration: 1, replicas: 1, updatedReplicas: 1, availableReplicas: 1}"));
    assert!(!with("{observedGeneration: 2, replicas: 2, updatedReplicas: 1, availableReplicas: 2}"));
    assert!(!with("{observedGeneration: 2, replicas: 1, updatedReplicas: 1}"));
    assert!(!with("{}"));
}

/// When a node's link is back its pod is ready a moment before its Deployment counts it: nothing starts there.
#[test]
fn a_ready_pod_serves_before_its_deployment_counts_it() {
    let serves = |pods: &[&str]| {
        let mut observed = observed("x", "1");
        observed.pods = pods.iter().copied().map(read::<Pod>).collect();
        let uncounted =
            "{metadata: {labels: {dnnshifter.io/template-hash: x}}, spec: {selector: {}, template: {}}}";
        let deployment = read::<Deployment>(uncounted);
        validate(observed).serves(&(&deployment).into())
    };
    let pod = |hash: &str, ready: &str| {
        format!(
            "{{metadata: {{labels: {{dnnshifter.io/template-hash: {hash}}}}}, status: {{conditions: [{{type: Ready, status: '{ready}'}}]}}}}"
        )
    };
    let (ready, old, unready) = (pod("x", "True"), pod("old", "True"), pod("x", "False"));
    assert!(serves(&[&ready]));
    assert!(!serves(&[&old]));
    assert!(!serves(&[&unready]));
    assert!(!serves(&[&ready, &old]), "an old pod is left");
    assert!(!serves(&[]));
}

#[test]
fn a_pod_that_does_not_start_is_quoted() {
    let pulling = "{status: {containerStatuses: [{name: runtime, image: i, imageID: '', ready: false, restartCount: 0, state: {waiting: {reason: ImagePullBackOff, message: 'back-off pulling'}}}]}}";
    let pending = "{status: {conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable, message: 'no room'}]}}";
    let complaint = |pod: &str| {
        let mut failing = observed("x", "1");
        failing.pods = vec![read::<Pod>(pod)];
        validate(failing).complaint
    };
    for (pod, expected) in
        [(pulling, "ImagePullBackOff: back-off pulling"), (pending, "Unschedulable: no room")]
    {
        assert_eq!(complaint(pod).as_deref(), Some(expected));
    }
    // The other container only waits for the first.
    let preparing = |state: &str| {
        let container = "image: i, imageID: '', ready: false, restartCount: 0";
        complaint(&format!(
            "{{status: {{initContainerStatuses: [{{name: prepare, {container}, state: {{{state}}}}}], containerStatuses: [{{name: runtime, {container}, state: {{waiting: {{reason: PodInitializing}}}}}}]}}}}"
        ))
    };
    let pulling = preparing("waiting: {reason: ErrImagePull, message: 'not found'}");
    assert_eq!(pulling.as_deref(), Some("ErrImagePull: not found"));
    let killed = preparing("terminated: {exitCode: 137, reason: OOMKilled}");
    assert_eq!(killed.as_deref(), Some("OOMKilled"));
    assert_eq!(preparing("terminated: {exitCode: 0, reason: Completed}"), None);
    assert_eq!(preparing("running: {}"), None);
}

/// The kubelet tells of it in an Event only; the pod just stays `ContainerCreating`.
#[test]
fn a_secret_without_certificates_is_named_with_the_field_that_names_it() {
    let said_of = |pod: &str, secrets: &[&str]| {
        let mut waiting = observed("x", "1");
        let (valid, wanted) = applied("1");
        waiting.deployment = Some(deployment_of(&valid, &wanted));
        // What the portfolio names by now has not reached this node.
        waiting.serving.as_mut().unwrap().tls = None;
        waiting.pods = vec![read::<Pod>(pod)];
        waiting.secrets = secrets.iter().copied().map(read).collect();
        let valid = validate(waiting);
        let condition = ready(
            &valid,
            &Outcome::Kept(Kept::RolloutPending),
            valid.deployment.as_ref().map(Into::into).as_ref(),
        );
        (condition.reason, condition.message)
    };
    let said = |secrets: &[&str]| said_of("{metadata: {}}", secrets);
    let server = "{metadata: {name: server}, data: {tls.crt: '', tls.key: ''}}";
    let missing = "spec.serving.tls.secretName names secret server, which does not exist";
    assert_eq!(said(&[]), ("SecretUnusable", missing.to_owned()));
    let keyless = "spec.serving.tls.clientCaSecretName names secret clients, which has no key ca.crt";
    let clients = "{metadata: {name: clients}, data: {other: ''}}";
    assert_eq!(said(&[server, clients]), ("SecretUnusable", keyless.to_owned()));
    let whole = "{metadata: {name: clients}, data: {ca.crt: ''}}";
    assert_eq!(said(&[server, whole]), ("Starting", "the pod starts".to_owned()));
    let crashing = "{status: {containerStatuses: [{name: runtime, image: i, imageID: '', ready: false, restartCount: 3, state: {waiting: {reason: CrashLoopBackOff, message: 'back-off restarting'}}}]}}";
    let (reason, _) = said_of(crashing, &[]);
    assert_eq!(reason, "PodFailing", "a pod that runs had its Secrets: it fails for another reason");
}

#[test]
fn a_pod_that_cannot_be_created_is_told_by_the_deployment_and_one_that_goes_says_nothing() {
    let refused = "{metadata: {}, spec: {selector: {}, template: {}}, status: {conditions: [{type: ReplicaFailure, status: 'True', reason: FailedCreate, message: 'exceeded quota'}]}}";
    let going = "{metadata: {deletionTimestamp: '2026-01-01T00:00:00Z'}, status: {containerStatuses: [{name: runtime, image: i, imageID: '', ready: false, restartCount: 0, state: {terminated: {exitCode: 1, reason: Error}}}]}}";
    let mut failing = observed("x", "1");
    failing.deployment = Some(read::<Deployment>(refused));
    failing.pods = vec![read::<Pod>(going)];
    assert_eq!(validate(failing).complaint.as_deref(), Some("FailedCreate: exceeded quota"));
}
