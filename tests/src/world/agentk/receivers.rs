//! The Receiver and its Secret for each GitRepository on the agent's GitLab instance.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::FIELD_MANAGER;
use super::pod::Pod;
use crate::world::gitlab::GitLab;
use crate::world::secret;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Applies what is missing. A pair is made once per leader and generation of its GitRepository: one that somebody
/// deletes stays away until either changes.
pub(super) async fn reconcile(pod: &mut Pod, gitlab: &GitLab) {
    if !pod.flux || pod.looked_at_sources.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
        return;
    }
    pod.looked_at_sources = Some(Instant::now());
    let Some(agent) = pod.agent() else { return };
    let sources = match pod.api.list("/apis/source.toolkit.fluxcd.io/v1/gitrepositories").await {
        Ok(sources) => sources,
        Err(error) => {
            let text = format!("Failed to watch: failed to list gitrepositories: {error}");
            return say_once(pod, "list", 0, &text);
        }
    };
    for source in &sources {
        let Some(project) = project_of(source, gitlab.host()) else { continue };
        let uid = source["metadata"]["uid"].as_str().unwrap_or_default();
        let generation = source["metadata"]["generation"].as_i64().unwrap_or(0);
        if pod.applied.get(uid) == Some(&generation) {
            continue;
        }
        match apply(pod, agent, source, &project).await {
            Ok(()) => drop(pod.applied.insert(uid.to_owned(), generation)),
            Err(error) => say_once(pod, uid, generation, &format!("{error:#}")),
        }
    }
}

/// Logs a failure once per generation, and then waits for a change, as a controller that backs off would.
fn say_once(pod: &mut Pod, key: &str, generation: i64, error: &str) {
    if pod.applied.insert(key.to_owned(), generation) != Some(generation) {
        pod.log.error("flux", "Failed to reconcile GitRepository", error);
    }
}

/// The project's full path, when the GitRepository is on this host. Port, scheme and user do not count.
fn project_of(source: &Value, host: &str) -> Option<String> {
    let url: http::Uri = source["spec"]["url"].as_str()?.parse().ok()?;
    let path = url.path().strip_prefix('/')?;
    (url.host()? == host).then(|| path.strip_suffix(".git").unwrap_or(path).to_owned())
}

async fn apply(pod: &Pod, agent: u64, source: &Value, project: &str) -> Result<()> {
    let meta = &source["metadata"];
    let name = meta["name"].as_str().context("a GitRepository without a name")?;
    let namespace = meta["namespace"].as_str().context("a GitRepository without a namespace")?;
    let secret_name = cut(format!("gitlab-receiver-{name}"), 253);
    let receiver_name = cut(format!("gitlab-{name}"), 63);
    let owner = json!([{
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "name": name,
        "uid": meta["uid"],
        "controller": true,
        "blockOwnerDeletion": true,
    }]);
    let managed = json!({
        "app.kubernetes.io/managed-by": "gitlab",
        "agent.gitlab.com/id": agent.to_string(),
    });
    let secret_path = format!("/api/v1/namespaces/{namespace}/secrets/{secret_name}");
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_name, "namespace": namespace, "annotations": managed, "ownerReferences": owner,
        },
        "data": { "token": key_of(pod, &secret_path).await? },
    });
    pod.api
        .apply(&secret_path, FIELD_MANAGER, &secret)
        .await
        .context("failed to apply Secret for Receiver")?;
    let mut annotations = managed;
    annotations["agent.gitlab.com/project"] = json!(project);
    let receiver = json!({
        "apiVersion": "notification.toolkit.fluxcd.io/v1",
        "kind": "Receiver",
        "metadata": {
            "name": receiver_name, "namespace": namespace, "annotations": annotations, "ownerReferences": owner,
        },
        "spec": {
            "type": "generic-hmac",
            "interval": "5m",
            "resources": [{ "kind": "GitRepository", "name": name, "namespace": namespace }],
            "secretRef": { "name": secret_name },
        },
    });
    let path =
        format!("/apis/notification.toolkit.fluxcd.io/v1/namespaces/{namespace}/receivers/{receiver_name}");
    pod.api.apply(&path, FIELD_MANAGER, &receiver).await.context("failed to apply Receiver")?;
    Ok(())
}

/// The key that is there, encoded as Secrets are, or a new one.
async fn key_of(pod: &Pod, secret_path: &str) -> Result<String> {
    let there =
        pod.api.get(secret_path).await.context("failed to apply Secret for Receiver")?.unwrap_or_default();
    match there["data"]["token"].as_str() {
        Some(token) if !token.is_empty() => Ok(token.to_owned()),
        _ => Ok(STANDARD.encode(secret::alphanumeric(32)?)),
    }
}

/// Cut to a length; a name has to end in a letter or digit.
fn cut(mut name: String, length: usize) -> String {
    if name.len() > length {
        name.truncate(length);
        if !name.ends_with(|last: char| last.is_ascii_alphanumeric()) {
            name.truncate(length - 2);
            name.push_str("-x");
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_found_by_host_alone() {
        let source = |url: &str| json!({ "spec": { "url": url } });
        let found = project_of(&source("https://127.0.0.1:8443/platform/fleet.git"), "127.0.0.1");
        assert_eq!(found.as_deref(), Some("platform/fleet"));
        let ssh = project_of(&source("ssh://git@127.0.0.1:22/example/nginx-app"), "127.0.0.1");
        assert_eq!(ssh.as_deref(), Some("example/nginx-app"));
        assert_eq!(project_of(&source("https://elsewhere/platform/fleet.git"), "127.0.0.1"), None);
    }

    #[test]
    fn long_names_are_cut_to_end_in_a_letter() {
        assert_eq!(cut("gitlab-abc".into(), 63), "gitlab-abc");
        assert_eq!(cut("gitlab-a.b".into(), 9), "gitlab--x");
        assert_eq!(cut("gitlab-ab".into(), 8), "gitlab-a");
    }
}
