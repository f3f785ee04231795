//! `publish`: a folder of variants becomes images and a portfolio in a registry.

use std::io::Write;

use crate::{
    command::PublishArguments,
    failure::Failure,
    publish::{Publisher, Target},
    variant::read_folder,
};

pub(crate) async fn execute(arguments: &PublishArguments) -> Result<(), Failure> {
    let (manifest, variants) = read_folder(&arguments.folder)?;
    let publisher = Publisher::new(Target {
        repository: &arguments.repository,
        runtime_image: &arguments.runtime_image,
        plain_http: arguments.plain_http,
        plain_http_registries: &arguments.plain_http_registries,
        credentials: arguments.registry_config.clone(),
    })?;
    let outcome = publisher.publish(&manifest.revision, &variants).await?;
    writeln!(std::io::stdout(), "{}", publisher.by_digest(&outcome.digest)).map_err(Failure::Print)
}
