//! The Helm chart repository: our own small `gitlab-agent` chart, packaged under several versions.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use sha2::{Digest as _, Sha256};

use super::routes::plain;
use super::server::WholeResponse;
use crate::world::components::hex;

/// Chart version and the version of agentk in it, newest first.
pub(super) const VERSIONS: &[(&str, &str)] =
    &[("2.30.0", "v19.3.0"), ("2.29.1", "v19.2.2"), ("2.29.0", "v19.2.1"), ("2.28.0", "v19.1.0")];

/// Fills the directory with `index.yaml` and one archive per version.
pub(super) fn package(root: &Path, url: &str) -> Result<()> {
    fs::create_dir_all(root)?;
    let mut index = "apiVersion: v1\nentries:\n  gitlab-agent:\n".to_owned();
    for (version, app) in VERSIONS {
        let archive = root.join(format!("gitlab-agent-{version}.tgz"));
        package_one(root, &archive, version, app)?;
        let digest = hex(&Sha256::digest(fs::read(&archive)?));
        index.push_str(&format!(
            "  - apiVersion: v2\n    name: gitlab-agent\n    version: {version}\n    appVersion: {app}\n    \
             type: application\n    created: \"2026-08-01T00:00:00Z\"\n    digest: {digest}\n    urls:\n    \
             - {url}/gitlab-agent-{version}.tgz\n"
        ));
    }
    fs::write(root.join("index.yaml"), index)?;
    Ok(())
}

fn package_one(root: &Path, archive: &Path, version: &str, app: &str) -> Result<()> {
    let stage = root.join(version);
    let chart = stage.join("gitlab-agent");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("world/chart"), &chart)?;
    let about = fs::read_to_string(chart.join("Chart.yaml"))?;
    fs::write(chart.join("Chart.yaml"), about.replace("@VERSION@", version).replace("@APP_VERSION@", app))?;
    let output =
        Command::new("tar").arg("-czf").arg(archive).arg("-C").arg(&stage).arg("gitlab-agent").output()?;
    if !output.status.success() {
        bail!("tar: {}", String::from_utf8_lossy(&output.stderr));
    }
    fs::remove_dir_all(stage)?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Answers with a file of the repository.
pub(super) fn answer(root: &Path, file: &str) -> WholeResponse {
    if file.contains('/') || file.contains("..") {
        return plain(StatusCode::NOT_FOUND, "404 Not Found\n");
    }
    match fs::read(root.join(file)) {
        Ok(bytes) => Response::new(Full::new(Bytes::from(bytes))),
        Err(_) => plain(StatusCode::NOT_FOUND, "404 Not Found\n"),
    }
}
