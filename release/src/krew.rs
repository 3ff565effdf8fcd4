//! The manifest of krew (kubernetes-sigs/krew pkg/index/types.go, cmd/validate-krew-manifest).

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use gitlab_agent_live::cli::verbs;

use crate::VERSION;
use crate::publish::Archive;

/// The plugin's name; krew makes `kubectl-gitlab_agent` of it, and the file in an index has it too.
pub const NAME: &str = "gitlab-agent";

/// `krew search` cuts after 50 characters (krew cmd/krew/cmd/search.go).
const SHORT: &str = "Find what breaks between a GitLab push and a pod";

const DESCRIPTION: &str = "\
Says what is wrong between a git push to GitLab and a running pod, proves it,
and prints the command that mends it: for clusters that run Flux and the
GitLab agent for Kubernetes (agentk). It shows what runs where, checks every
documented failure, drives a reconciliation hop by hop, and records what it
saw, with no secret in it. What only looks cannot change anything.";

const CAVEATS: &str = "\
Try it on a recording, without a cluster:
  kubectl gitlab-agent verify --from examples/revoked-token.json
Make the tab key work (krew does not install completions):
  kubectl gitlab-agent completion install";

/// Writes the manifest.
///
/// # Errors
/// An archive breaks a rule of krew.
pub fn manifest(archives: &[Archive], homepage: &str, downloads: &str) -> Result<String> {
    ensure!(!archives.is_empty(), "there is no archive");
    ensure!(SHORT.chars().count() <= 50, "the short description has more than 50 characters");
    let mut seen = BTreeSet::new();
    let mut text = format!(
        "apiVersion: krew.googlecontainertools.github.com/v1alpha2\nkind: Plugin\nmetadata:\n  name: {NAME}\nspec:\n  \
         version: v{VERSION}\n  homepage: {homepage}\n  shortDescription: {SHORT}\n  description: |\n{}  caveats: |\n{}  \
         platforms:\n",
        indented(DESCRIPTION),
        indented(CAVEATS)
    );
    for archive in archives {
        let target = archive.target;
        ensure!(seen.insert(target.to_string()), "two archives for {target}");
        let Archive { name, digest, .. } = archive;
        let (os, arch, bin) = (target.os, target.arch, format!("{}{}", verbs::FRONT, target.exe()));
        text.push_str(&format!(
            "  - selector:\n      matchLabels:\n        os: {os}\n        arch: {arch}\n    uri: {downloads}/{name}\n    \
             sha256: {digest}\n    bin: {bin}\n"
        ));
    }
    Ok(text)
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}
