//! `publish`: a folder of variants becomes images and a portfolio in a registry.

use std::io::Write;

use crate::{
    command::PublishArguments,
    failure::Failure,
    publish::{
        Target, publish,
        registry::{Access, Registry},
    },
    variant::read_folder,
};

pub(crate) async fn execute(arguments: &PublishArguments) -> Result<(), Failure> {
    let (manifest, variants) = read_folder(&arguments.folder)?;
    let target = Target::new(&arguments.repository, &arguments.runtime_image)?;
    let registry = Registry::new(&Access {
        credentials: arguments.registry_config.clone(),
        plain_http: arguments.plain_http.then(|| target.registry().to_owned()).into_iter().collect(),
    });
    let outcome = publish(&registry, &target, &manifest.revision, &variants).await?;
    writeln!(std::io::stdout(), "{}", target.by_digest(&outcome.digest)).map_err(Failure::Print)
}
