//! Writes a release into one folder: archives and bills of materials per platform, then what is made from all of them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::archive::{Packing, digest, pack};
use crate::layout::Package;
use crate::target::{TARGETS, Target};
use crate::{VERSION, flux, krew, sbom};

/// An archive that is there.
#[derive(Debug)]
pub struct Archive {
    /// File name.
    pub name: String,
    /// SHA-256, lower-case hexadecimal.
    pub digest: String,
    /// The platform.
    pub target: &'static Target,
}

/// Packs the programs in `folder` for one platform, and writes its bill of materials. Gives the files.
///
/// # Errors
/// A program is missing, or the folder cannot be written.
pub fn archives(
    target: &Target,
    folder: &Path,
    out: &Path,
    commit: &str,
    packing: Packing,
) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(out)?;
    let mut files = Vec::new();
    for package in Package::ALL {
        let name = package.archive(target);
        let bytes = pack(&name, &package.entries(target, folder)?, packing)?;
        files.push(out.join(name));
        fs::write(files.last().context("just pushed")?, bytes)?;
    }
    let bom = out.join(format!("kubectl-gitlab_agent_{VERSION}_{}_{}.cdx.json", target.os, target.arch));
    fs::write(&bom, sbom::document(target, commit, packing.date)?)?;
    files.push(bom);
    Ok(files)
}

/// The archives of a package in a folder, in the order of the platforms.
///
/// # Errors
/// One cannot be read.
pub fn present(package: Package, folder: &Path) -> Result<Vec<Archive>> {
    let mut found = Vec::new();
    for target in TARGETS {
        let name = package.archive(target);
        let file = folder.join(&name);
        if file.is_file() {
            found.push(Archive { digest: digest(&fs::read(&file)?), name, target });
        }
    }
    Ok(found)
}

/// Writes the checksums and the manifests of the archives in the folder. `repository` is where the project lives;
/// releases are `<repository>/releases/download/v<version>/…`, as GitHub has them.
///
/// # Errors
/// There is no archive, or the repository is no https URL.
pub fn manifests(folder: &Path, repository: &str) -> Result<Vec<PathBuf>> {
    ensure!(repository.starts_with("https://"), "--repository {repository} is no https URL");
    let repository = repository.trim_end_matches('/');
    let downloads = format!("{repository}/releases/download/v{VERSION}");
    let mut files = Vec::new();
    let mut write = |name: PathBuf, text: String| -> Result<()> {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().context("a file lies in a folder")?)?;
        fs::write(&file, text)?;
        files.push(file);
        Ok(())
    };
    for package in Package::ALL {
        let mut sums: Vec<(String, String)> =
            present(package, folder)?.into_iter().map(|a| (a.name, a.digest)).collect();
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".cdx.json") && name.starts_with(package.program()) {
                sums.push((name.clone(), digest(&fs::read(folder.join(&name))?)));
            }
        }
        sums.sort();
        let lines: String = sums.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect();
        write(package.checksums().into(), lines)?;
    }
    let file = format!("{}.yaml", krew::NAME);
    let kubectl = present(Package::Kubectl, folder)?;
    write(Path::new("krew/plugins").join(&file), krew::manifest(&kubectl, repository, &downloads)?)?;
    let ours = present(Package::Flux, folder)?;
    write(Path::new("flux").join(&file), flux::manifest(&ours, repository, &downloads)?)?;
    write(PathBuf::from("flux/catalog.yaml"), flux::catalog(repository))?;
    Ok(files)
}
