//! The manifest of a Flux plugin, and a catalogue with this one in it (fluxcd/plugins schemas/plugin-cli-v1beta1.json,
//! fluxcd/flux2 pkg/plugin/types.go).

use anyhow::{Result, ensure};

use crate::VERSION;
use crate::krew::NAME;
use crate::layout::FLUX;
use crate::publish::Archive;

const DESCRIPTION: &str = "Find what breaks between a GitLab push and a pod";

/// `gitlab-agent.yaml`: this version on every platform.
///
/// # Errors
/// There is no archive.
pub fn manifest(archives: &[Archive], homepage: &str, downloads: &str) -> Result<String> {
    ensure!(!archives.is_empty(), "there is no archive");
    let mut text = format!(
        "apiVersion: cli.fluxcd.io/v1beta1\nkind: Plugin\nname: {NAME}\ndescription: {DESCRIPTION}\nhomepage: {homepage}\n\
         source: {homepage}\nbin: {FLUX}\nversions:\n- version: {VERSION}\n  platforms:\n"
    );
    for Archive { name, digest, target } in archives {
        text.push_str(&format!(
            "  - os: {}\n    arch: {}\n    url: {downloads}/{name}\n    checksum: sha256:{digest}\n",
            target.os, target.arch
        ));
    }
    Ok(text)
}

/// `catalog.yaml` of a catalogue of one's own (`$FLUXCD_PLUGIN_CATALOG`), and the entry for the public one.
pub fn catalog(homepage: &str) -> String {
    format!(
        "apiVersion: cli.fluxcd.io/v1beta1\nkind: PluginCatalog\nplugins:\n- name: {NAME}\n  description: {DESCRIPTION}\n  \
         homepage: {homepage}\n  source: {homepage}\n  license: Apache-2.0\n"
    )
}
