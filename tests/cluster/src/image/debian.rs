//! Files from Debian packages, as much of them as a program without a shell needs: libraries, certificate authorities and
//! licences. The machine's own installation is not looked at.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::ImageError;
use crate::command::run;
use crate::fingerprint::name_of;
use crate::layout::Layout;
use crate::progress::Step;

/// What our programs link, and the authorities by which they know servers.
const PACKAGES: [&str; 5] = ["ca-certificates", "libc6", "libgcc-s1", "libstdc++6", "zlib1g"];
const AUTHORITIES: &str = "usr/share/ca-certificates/mozilla";
/// Where every TLS library looks for all authorities in one file. Debian makes it at installation.
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

/// The folder of files, from the cache; made at the first time.
pub(super) fn root(layout: &Layout) -> Result<PathBuf, ImageError> {
    // By release, since our programs are linked with the libraries of the machine that builds them.
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = name_of(Sha256::new_with_prefix(PACKAGES.join(" ")).chain_update(release));
    let parent = layout.cache.join("debian");
    let root = parent.join(&name);
    if root.is_dir() {
        return Ok(root);
    }
    let step = Step::begin(format!("files of the Debian packages {}", PACKAGES.join(" ")));
    let failed = |path: &Path, source| ImageError::File { path: path.to_owned(), source };
    fs::create_dir_all(&parent).map_err(|source| failed(&parent, source))?;
    let work = tempfile::tempdir_in(&parent).map_err(|source| failed(&parent, source))?;
    let (packages, whole, partial) =
        (work.path().join("packages"), work.path().join("whole"), work.path().join("root"));
    for directory in [&packages, &whole, &partial] {
        fs::create_dir(directory).map_err(|source| failed(directory, source))?;
    }
    unpack(&packages, &whole).map_err(|source| ImageError::Debian { source })?;
    select(&whole, &whole, &partial).map_err(|source| failed(&whole, source))?;
    bundle(&whole, &partial).map_err(|source| failed(&partial, source))?;
    fs::rename(&partial, &root).map_err(|source| failed(&root, source))?;
    step.done();
    Ok(root)
}

fn download(packages: &Path) -> Result<(), crate::command::CommandError> {
    // Not as user `_apt`, which may not write here.
    let mut download = Command::new("apt-get");
    download.current_dir(packages).args(["-q", "-o", "APT::Sandbox::User=root", "download"]).args(PACKAGES);
    run(&mut download).map(drop)
}

fn unpack(packages: &Path, whole: &Path) -> Result<(), crate::command::CommandError> {
    if download(packages).is_err() {
        // Lists that are missing or old name files that are not there any more.
        run(Command::new("apt-get").args(["-q", "update"]))?;
        download(packages)?;
    }
    let mut files: Vec<_> =
        fs::read_dir(packages).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        run(Command::new("dpkg-deb").arg("--extract").arg(file).arg(whole))?;
    }
    Ok(())
}

/// Copies shared libraries, the links among them, and licences.
fn select(top: &Path, from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let Ok(relative) = path.strip_prefix(top) else { continue };
        let kind = fs::symlink_metadata(&path)?;
        if kind.is_dir() {
            select(top, &path, to)?;
        } else if is_wanted(relative) {
            let target = to.join(relative);
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent)?;
            }
            if kind.is_symlink() {
                std::os::unix::fs::symlink(fs::read_link(&path)?, target)?;
            } else {
                fs::copy(&path, target)?;
            }
        }
    }
    Ok(())
}

/// Not converters between character sets (`gconv`), Python for debuggers (`.py`), or auditing libraries.
fn is_wanted(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_library = name.ends_with(".so") || name.contains(".so.") && !name.ends_with(".py");
    let is_extra = path.iter().any(|part| part == "gconv" || part == "audit" || part == "gdb");
    is_library && !is_extra || name == "copyright"
}

fn bundle(whole: &Path, root: &Path) -> io::Result<()> {
    let mut authorities: Vec<_> = fs::read_dir(whole.join(AUTHORITIES))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    authorities.sort();
    let texts = authorities.iter().map(fs::read_to_string).collect::<Result<Vec<_>, _>>()?;
    let path = root.join(BUNDLE);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, texts.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_licences_are_wanted_and_nothing_else() {
        let wanted = |path: &str| is_wanted(Path::new(path));
        assert!(wanted("lib64/ld-linux-x86-64.so.2"));
        assert!(wanted("usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30"));
        assert!(wanted("usr/share/doc/libc6/copyright"));
        assert!(!wanted("usr/lib/x86_64-linux-gnu/gconv/UTF-16.so"));
        assert!(!wanted("usr/share/gdb/auto-load/usr/lib/libstdc++.so.6.0.30-gdb.py"));
        assert!(!wanted("usr/sbin/update-ca-certificates"));
    }
}
