//! The image that holds every pod's namespaces: one static C program.

use std::path::PathBuf;
use std::process::Command;

use super::{ImageBuild, ImageError, ImageFile, write};
use crate::cluster::Cluster;
use crate::command::run;

const SOURCE: &str = include_str!("../../pause/pause.c");
const CONTAINERFILE: &str = include_str!("../../pause/Containerfile");

/// Compiles it and pushes it as `pause:1`, as containerd is told to call it.
pub(crate) fn push_pause(cluster: &Cluster) -> Result<(), ImageError> {
    let program = compile(cluster)?;
    let files = vec![ImageFile { source: program, target: "pause".to_owned() }];
    let (repository, tag, containerfile) = ("pause".to_owned(), "1".to_owned(), CONTAINERFILE.to_owned());
    cluster.push_image(&ImageBuild { repository, tag, containerfile, files }).map(|_| ())
}

/// Compiled anew each time: it takes less time than finding out whether it must be.
fn compile(cluster: &Cluster) -> Result<PathBuf, ImageError> {
    let directory = cluster.layout.run.join("pause");
    let (source, program) = (directory.join("pause.c"), directory.join("pause"));
    write(&source, SOURCE)?;
    let mut command = Command::new("gcc");
    command.args(["-Os", "-static", "-s", "-Wl,--build-id=none", "-o"]).arg(&program).arg(&source);
    run(&mut command).map_err(|source| ImageError::Build { image: "pause".to_owned(), source })?;
    Ok(program)
}
