//! Tells Flux of a push: an empty, signed POST to the webhook path of each Receiver of the project.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::pod::Pod;
use crate::world::components::hex;
use crate::world::gitlab::{AGENT_PROJECT, GitLab};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Passes a push on. GitLab tells an agent of its own project and of public ones only.
pub(super) async fn pass_on(pod: &mut Pod, gitlab: &GitLab, url: &str, project: &str) {
    if project != AGENT_PROJECT && gitlab.is_public(project) != Some(true) {
        return;
    }
    let receivers = match pod.api.list("/apis/notification.toolkit.fluxcd.io/v1/receivers").await {
        Ok(receivers) => receivers,
        Err(error) => {
            return pod.log.error("flux", "Unable to get Receivers for project", &error.to_string());
        }
    };
    let of_project =
        |receiver: &&Value| receiver["metadata"]["annotations"]["agent.gitlab.com/project"] == project;
    for receiver in receivers.iter().filter(of_project) {
        if let Err(error) = trigger(pod, url, receiver).await {
            pod.log.error("flux", "Unable to trigger Receiver", &format!("{error:#}"));
        }
    }
}

async fn trigger(pod: &Pod, url: &str, receiver: &Value) -> Result<()> {
    let path = receiver["status"]["webhookPath"].as_str().context("the Receiver has no webhook path yet")?;
    let key = key_of(pod, receiver).await?;
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), b"");
    let header = format!("X-Signature: sha256={}\r\n", hex(signature.as_ref()));
    let status =
        tokio::time::timeout(TIMEOUT, post(url, path, &header)).await.context("no answer in time")??;
    if !status.starts_with("200") {
        bail!("trigger to \"{url}{path}\" returned status \"{status}\"");
    }
    Ok(())
}

async fn key_of(pod: &Pod, receiver: &Value) -> Result<Vec<u8>> {
    let namespace = receiver["metadata"]["namespace"].as_str().unwrap_or_default();
    let name = receiver["spec"]["secretRef"]["name"].as_str().context("a Receiver without a Secret")?;
    let secret =
        pod.api.get(&format!("/api/v1/namespaces/{namespace}/secrets/{name}")).await?.unwrap_or_default();
    Ok(STANDARD.decode(secret["data"]["token"].as_str().unwrap_or_default())?)
}

/// Posts nothing to a plain HTTP server; gives the status, with its phrase.
async fn post(url: &str, path: &str, header: &str) -> Result<String> {
    let address = url.strip_prefix("http://").context("the webhook address is not http")?;
    let mut stream = TcpStream::connect(address).await.with_context(|| format!("dial {address}"))?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    let line =
        text.lines().next().and_then(|line| line.split_once(' ')).context("an answer without a status")?;
    Ok(line.1.to_owned())
}
