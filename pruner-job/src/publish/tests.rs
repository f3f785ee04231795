//! Publishing against a real registry: Debian's `docker-registry`, started for the test on a free port.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use dnnshifter_portfolio::{
    Fraction, VariantDescription, VariantName,
    description::{CheckVector, DESCRIPTION_VERSION, Datatype, TensorDescription},
};
use oci_client::manifest::{IMAGE_CONFIG_MEDIA_TYPE, IMAGE_LAYER_GZIP_MEDIA_TYPE};
use tempfile::TempDir;

use super::*;
use crate::checkpoint::{Checkpoint, Checkpoints};

mod failing;

/// A registry that lives as long as the test.
struct TestRegistry {
    process: Child,
    address: String,
    storage: TempDir,
}

impl TestRegistry {
    fn start() -> Self {
        Self::start_with("")
    }

    /// One that asks for the user "user" and the password "secret".
    fn start_locked() -> Self {
        Self::start_with("auth: {htpasswd: {realm: test, path: PASSWORDS}}\n")
    }

    fn start_with(settings: &str) -> Self {
        let storage = tempfile::tempdir().unwrap();
        let [config, passwords] = ["config.yml", "passwords"].map(|name| storage.path().join(name));
        std::fs::write(&passwords, "user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n")
            .unwrap();
        let settings = settings.replace("PASSWORDS", &passwords.display().to_string());
        let root = storage.path().display();
        let text = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {root}}}}}\nhttp: {{addr: 127.0.0.1:0}}\n{settings}"
        );
        std::fs::write(&config, text).unwrap();
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("docker-registry is in tests/cluster/debian-packages.txt");
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = "listening on 127.0.0.1:";
        let line = lines.find_map(|line| line.ok().filter(|line| line.contains(address))).unwrap();
        let port: String =
            line.split(address).nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
        // Its log must be read to the end, or it stops when the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address: format!("127.0.0.1:{port}"), storage }
    }

    fn publisher(&self, repository: &str) -> Publisher {
        self.publisher_with(repository, None)
    }

    fn publisher_with(&self, repository: &str, credentials: Option<PathBuf>) -> Publisher {
        // As main does; the second test finds it there already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let repository = &format!("{}/{repository}", self.address);
        let runtime_image = &format!("{}/dnnshifter/runtime:1", self.address);
        Publisher::new(Target {
            repository,
            runtime_image,
            plain_http: true,
            plain_http_registries: &[],
            credentials,
        })
        .unwrap()
    }

    /// A docker `config.json` with a password for this registry, as a pull secret of Kubernetes has it.
    fn credentials(&self, password: &str) -> PathBuf {
        let path = self.storage.path().join(format!("{password}.json"));
        let auths = json!({self.address.clone(): {"username": "user", "password": password}});
        std::fs::write(&path, json!({"auths": auths}).to_string()).unwrap();
        path
    }
}

impl Drop for TestRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn put_runtime(publisher: &Publisher) {
    let image = &publisher.runtime;
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/dnnshifter-runtime"], "User": "65532"},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", "0".repeat(64))]}, "created": "2026-01-01T00:00:00Z",
    });
    let config =
        publisher.put(image, IMAGE_CONFIG_MEDIA_TYPE, &Bytes::from(config.to_string())).await.unwrap();
    let layer = Bytes::from_static(b"a layer");
    let layer = publisher.put(image, IMAGE_LAYER_GZIP_MEDIA_TYPE, &layer).await.unwrap();
    publisher.registry.put_manifest(image, &manifest(config, vec![layer])).await.unwrap();
}

fn variant(name: &str, accuracy: &str) -> Variant {
    let tensor =
        |shape: u64| TensorDescription { name: "x".to_owned(), shape: vec![shape], datatype: Datatype::Fp32 };
    Variant {
        description: VariantDescription {
            version: DESCRIPTION_VERSION.to_owned(),
            name: VariantName::parse(name).unwrap(),
            revision: "r1".to_owned(),
            accuracy: Fraction::parse(accuracy).unwrap(),
            parameters: 1,
            bytes: 4,
            macs: 1,
            input: tensor(1),
            output: tensor(2),
            check: CheckVector { input: vec![0.5].into(), output: vec![1.0, 2.0].into() },
        },
        latency_us: 100,
        maximum_difference: 1e-6,
        model: Bytes::from(name.to_owned()),
    }
}

#[tokio::test]
async fn a_portfolio_is_published_and_found_again_with_the_same_digests() {
    let server = TestRegistry::start();
    let publisher = server.publisher("team/a");
    put_runtime(&publisher).await;
    let variants = [variant("small", "0.8"), variant("large", "0.9")];

    assert_eq!(publisher.published("r1").await.unwrap(), None);
    let outcome = publisher.publish("r1", &variants).await.unwrap();
    let names: Vec<_> = outcome.portfolio.variants.iter().map(|variant| variant.name.as_str()).collect();
    assert_eq!(names, ["large", "small"]);
    assert_eq!(publisher.published("r1").await.unwrap(), Some(outcome.clone()));
    assert_eq!(publisher.publish("r1", &variants).await.unwrap(), outcome, "again the same");
    let elsewhere = server.publisher("team/b").publish("r1", &variants).await.unwrap();
    assert_eq!(elsewhere, outcome, "the same in another repository");
}

#[tokio::test]
async fn a_variants_image_is_the_runtimes_with_one_more_layer() {
    let server = TestRegistry::start();
    let publisher = server.publisher("team/a");
    put_runtime(&publisher).await;
    let variant = variant("small", "0.8");
    let outcome = publisher.publish("r1", std::slice::from_ref(&variant)).await.unwrap();

    let image = publisher.tagged("r1-small");
    let (manifest, digest) = publisher.registry.manifest(&image).await.unwrap().unwrap();
    assert_eq!(digest, outcome.portfolio.variants[0].digest);
    assert_eq!(manifest.layers.len(), 2);
    let [runtime, model] = [&manifest.layers[0], &manifest.layers[1]];
    assert_eq!(publisher.registry.blob(&image, runtime).await.unwrap(), Bytes::from_static(b"a layer"));
    assert_eq!(publisher.registry.blob(&image, model).await.unwrap(), variant.layer().unwrap().bytes);
    let config = publisher.registry.blob(&image, &manifest.config).await.unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["config"]["Entrypoint"], json!(["/dnnshifter-runtime"]));
    assert_eq!(config["rootfs"]["diff_ids"][1], json!(variant.layer().unwrap().digest));
    assert_eq!(config["created"], json!(CREATED));
}

#[tokio::test]
async fn nothing_is_published_on_a_runtime_that_is_not_there() {
    let server = TestRegistry::start();
    let publisher = server.publisher("team/a");
    let refused = publisher.publish("r1", &[variant("small", "0.8")]).await.unwrap_err();
    assert!(matches!(refused, PublishError::NoRuntime { .. }), "{refused}");
    assert_eq!(publisher.published("r1").await.unwrap(), None);
}

#[tokio::test]
async fn finished_steps_are_kept_beside_the_variants() {
    let server = TestRegistry::start();
    let publisher = server.publisher("team/a");
    let checkpoints = Checkpoints::Registry(&publisher);
    assert_eq!(checkpoints.find("checkpoint-t1-dense").await.unwrap(), None);
    for model in [Bytes::from_static(b"onnx"), Bytes::new()] {
        let step = Checkpoint { facts: Bytes::from_static(b"{}"), model };
        checkpoints.keep("checkpoint-t1-dense", &step).await.unwrap();
        assert_eq!(checkpoints.find("checkpoint-t1-dense").await.unwrap(), Some(step));
    }
    assert_eq!(checkpoints.find("checkpoint-t2-dense").await.unwrap(), None);
}

#[tokio::test]
async fn a_registry_that_is_away_is_named() {
    let server = TestRegistry::start();
    let publisher = server.publisher("team/a");
    drop(server);
    let failed = publisher.published("r1").await.unwrap_err();
    assert!(failed.to_string().contains("/team/a:r1"), "{failed}");
}

#[tokio::test]
async fn a_locked_registry_opens_to_its_password_only() {
    let server = TestRegistry::start_locked();
    for credentials in [None, Some(server.credentials("wrong"))] {
        let refused = server.publisher_with("team/a", credentials).published("r1").await.unwrap_err();
        assert!(matches!(refused, PublishError::Registry(RegistryError::Refused { .. })), "{refused:?}");
    }
    let publisher = server.publisher_with("team/a", Some(server.credentials("secret")));
    put_runtime(&publisher).await;
    let outcome = publisher.publish("r1", &[variant("small", "0.8")]).await.unwrap();
    assert_eq!(publisher.published("r1").await.unwrap(), Some(outcome));
}
