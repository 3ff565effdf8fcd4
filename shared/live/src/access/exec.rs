//! Exec credential plugins (`aws`, `gke-gcloud-auth-plugin`, `kubelogin`): run once, with a deadline.
//!
//! kube runs a plugin three times for each client, without a deadline, and its errors quote the plugin's environment
//! and output. Here its environment and output are never quoted.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::Config;
use kube::config::{ExecConfig, ExecInteractiveMode};
use serde::Deserialize;
use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

use crate::gitlab::hide_tokens;

/// A plugin that asks nobody should answer in this time; the slowest seen in the field took 20 s.
const PATIENCE: Duration = Duration::from_secs(30);
/// A plugin that may open a browser gets this long.
const PATIENCE_INTERACTIVE: Duration = Duration::from_secs(120);

#[derive(Deserialize)]
struct ExecCredential {
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

/// The kubeconfig user's credential could not be had: the run ends as one that could not sign in.
#[derive(Debug)]
pub struct CannotSignIn;

impl std::fmt::Display for CannotSignIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cannot sign in to the cluster")
    }
}

impl std::error::Error for CannotSignIn {}

/// Runs the plugin and puts the credential into the configuration.
pub(super) async fn sign_in(plugin: ExecConfig, config: &mut Config) -> Result<()> {
    obtain(plugin, config).await.context(CannotSignIn)
}

async fn obtain(plugin: ExecConfig, config: &mut Config) -> Result<()> {
    let command = plugin.command.clone().context("the kubeconfig user's exec plugin names no command")?;
    let interactive = std::io::IsTerminal::is_terminal(&std::io::stdin())
        && !matches!(plugin.interactive_mode, Some(ExecInteractiveMode::Never));
    let output = run(&plugin, &command, interactive, config).await?;
    let credential: ExecCredential = serde_json::from_slice(&output).ok().with_context(|| {
        format!(
            "the credential plugin {command} did not answer with an ExecCredential (its output is not shown)"
        )
    })?;
    let Some(status) = credential.status else {
        bail!("the credential plugin {command} answered without a credential");
    };
    config.auth_info.token = status.token.map(Into::into);
    if let (Some(certificate), Some(key)) = (status.client_certificate_data, status.client_key_data) {
        use base64::Engine as _;
        let encode = |pem: String| base64::engine::general_purpose::STANDARD.encode(pem);
        config.auth_info.client_certificate_data = Some(encode(certificate));
        config.auth_info.client_key_data = Some(encode(key).into());
    }
    Ok(())
}

async fn run(plugin: &ExecConfig, command: &str, interactive: bool, config: &Config) -> Result<Vec<u8>> {
    let version = plugin.api_version.as_deref().unwrap_or("client.authentication.k8s.io/v1");
    let mut spec = json!({ "interactive": interactive });
    if plugin.provide_cluster_info {
        spec["cluster"] = json!({ "server": config.cluster_url.to_string() });
    }
    let info = json!({"apiVersion": version, "kind": "ExecCredential", "spec": spec});
    let mut child = Command::new(command);
    hide_tokens(&mut child);
    child.args(plugin.args.iter().flatten()).env("KUBERNETES_EXEC_INFO", info.to_string());
    for entry in plugin.env.iter().flatten() {
        if let (Some(name), Some(value)) = (entry.get("name"), entry.get("value")) {
            child.env(name, value);
        }
    }
    child.kill_on_drop(true).stdout(Stdio::piped());
    child.stdin(if interactive { Stdio::inherit() } else { Stdio::null() });
    child.stderr(if interactive { Stdio::inherit() } else { Stdio::piped() });
    let patience = if interactive { PATIENCE_INTERACTIVE } else { PATIENCE };
    let hint = plugin.install_hint.as_deref().map(|h| format!("; {h}")).unwrap_or_default();
    let child =
        child.spawn().with_context(|| format!("cannot start the credential plugin {command}{hint}"))?;
    let output = match timeout(patience, child.wait_with_output()).await {
        Ok(output) => output.with_context(|| format!("cannot read from the credential plugin {command}"))?,
        Err(_) => bail!("the credential plugin {command} did not answer in {} s", patience.as_secs()),
    };
    if !output.status.success() {
        bail!(
            "the credential plugin {command} failed ({}); run it by hand to see why (its output is not shown here, it \
             may hold secrets)",
            output.status
        );
    }
    Ok(output.stdout)
}
