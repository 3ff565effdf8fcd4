//! The pods that read the Secret once, at their start: which of them started since it holds what it holds.

use std::collections::BTreeMap;
use std::time::Duration;

use gitlab_agent_core::facts::log::{Effect, LogLine};
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::rotate::Pods;
use gitlab_agent_core::rotate::journal::MARK;
use gitlab_agent_core::snapshot::{Why, WhyKind};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::secret::{Change, changed};
use crate::access::{WriteClient, segment};

/// The API server writes times in whole seconds; two of them may differ by as much again.
const APART: SignedDuration = SignedDuration::from_secs(5);

/// A Deployment as it is now.
#[derive(Deserialize)]
pub(super) struct Deployment {
    pub(super) metadata: Meta,
    spec: DeploymentSpec,
    #[serde(default)]
    status: DeploymentStatus,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Meta {
    pub(super) name: String,
    namespace: String,
    pub(super) uid: String,
    generation: i64,
    creation_timestamp: Option<Timestamp>,
    deletion_timestamp: Option<Timestamp>,
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeploymentSpec {
    #[serde(default)]
    replicas: Option<i64>,
    selector: Selector,
    template: Template,
    #[serde(default)]
    paused: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Selector {
    #[serde(default)]
    match_labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Template {
    #[serde(default)]
    metadata: Meta,
    #[serde(default)]
    spec: Value,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct DeploymentStatus {
    observed_generation: i64,
    replicas: i64,
    updated_replicas: i64,
    available_replicas: i64,
    conditions: Vec<Condition>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
}

/// A pod as it is now.
#[derive(Deserialize)]
pub(super) struct Pod {
    pub(super) metadata: Meta,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PodStatus {
    phase: String,
}

#[derive(Deserialize)]
struct List<T> {
    items: Vec<T>,
}

impl Pod {
    /// It runs, or may yet.
    pub(super) fn lives(&self) -> bool {
        !matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    fn is_new(&self, mark: &str, changed_at: Option<Timestamp>) -> bool {
        let marked = self.metadata.annotations.get(MARK).is_some_and(|m| m == mark);
        let later = self.metadata.creation_timestamp.zip(changed_at);
        marked || later.is_some_and(|(made, changed)| made.duration_since(changed) > APART)
    }
}

/// A Deployment and its pods, seen together.
pub(super) struct Sight {
    pub(super) deployment: Deployment,
    pub(super) pods: Vec<Pod>,
}

impl Sight {
    /// Looks.
    pub(super) async fn look(client: &WriteClient, object: &ObjectRef) -> Result<Option<Self>, Why> {
        let namespace = segment(&object.namespace);
        let path = path(object);
        let Some(deployment) = get::<Deployment>(client, &path, object).await? else { return Ok(None) };
        let labels: Vec<String> =
            deployment.spec.selector.match_labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let asked = format!("list pods in namespace {}", object.namespace);
        let path =
            format!("/api/v1/namespaces/{namespace}/pods?labelSelector={}", segment(&labels.join(",")));
        let gone = || Why::new(WhyKind::Unreadable, &asked, "the API server knows no pods");
        let pods = list(client, &path, &asked, "Pod").await?.ok_or_else(gone)?;
        Ok(Some(Self { deployment, pods }))
    }

    /// How many pods are wanted.
    pub(super) fn wanted(&self) -> i64 {
        self.deployment.spec.replicas.unwrap_or(1)
    }

    /// The key of the Secret from which agentk reads its token, where its template says: by the file that it is told, or by a
    /// variable.
    pub(super) fn token_key(&self, secret: &str) -> Option<String> {
        token_key(&self.deployment.spec.template.spec, secret)
    }

    /// Its rollouts are held: no pod would be replaced.
    pub(super) fn is_paused(&self) -> bool {
        self.deployment.spec.paused
    }

    /// The rollout that was asked for last is done.
    pub(super) fn is_rolled_out(&self) -> bool {
        let status = &self.deployment.status;
        let wanted = self.wanted();
        status.observed_generation >= self.deployment.metadata.generation
            && status.updated_replicas >= wanted
            && status.replicas == status.updated_replicas
            && status.available_replicas >= wanted
    }

    /// The pods in relation to the Secret, which last changed at `changed_at`.
    pub(super) fn pods(&self, mark: &str, changed_at: Option<Timestamp>) -> Pods {
        let mut living = self.pods.iter().filter(|p| p.lives());
        let done = self.is_rolled_out();
        if done && living.all(|p| p.is_new(mark, changed_at)) {
            return Pods::Current;
        }
        let marked = self.deployment.spec.template.metadata.annotations.get(MARK);
        if marked.is_none_or(|m| m != mark) {
            return Pods::Behind;
        }
        match self.trouble() {
            Some(why) => Pods::Stuck(why),
            None => Pods::Rolling,
        }
    }

    /// Why the rollout does not get done, where the Deployment says.
    fn trouble(&self) -> Option<String> {
        let d = &self.deployment;
        if d.spec.paused {
            return Some(format!("Deployment {} is paused: kubectl rollout resume", d.metadata.name));
        }
        let late = |c: &&Condition| {
            c.kind == "Progressing" && c.status == "False" && c.reason == "ProgressDeadlineExceeded"
        };
        let current = d.status.observed_generation >= d.metadata.generation;
        let condition = d.status.conditions.iter().find(late).filter(|_| current)?;
        Some(format!(
            "the rollout of Deployment {} does not get done: {}",
            d.metadata.name, condition.message
        ))
    }

    /// All pods of it that are there: `namespace/name` each.
    pub(super) fn names(&self) -> Vec<String> {
        let namespace = &self.deployment.metadata.namespace;
        self.pods.iter().map(|p| format!("{namespace}/{}", p.metadata.name)).collect()
    }

    /// The pods that started since, and are not being deleted.
    pub(super) fn new_pods(&self, mark: &str, changed_at: Option<Timestamp>) -> Vec<&str> {
        let alive = |p: &&Pod| p.lives() && p.metadata.deletion_timestamp.is_none();
        let new = self.pods.iter().filter(alive).filter(|p| p.is_new(mark, changed_at));
        new.map(|p| p.metadata.name.as_str()).collect()
    }
}

fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn token_key(pod: &Value, secret: &str) -> Option<String> {
    let named = |value: &Value| value.as_str().map(str::to_owned);
    each(&pod["containers"]).find_map(|container| {
        let args: Vec<&str> =
            each(&container["command"]).chain(each(&container["args"])).filter_map(Value::as_str).collect();
        let after = |at: usize| args.get(at + 1).copied();
        let file = args.iter().enumerate().find_map(|(at, arg)| match arg.strip_prefix("--token-file") {
            Some("") => after(at),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        });
        let by_file = file.and_then(|file| key_of_file(pod, container, secret, file));
        let variable = || {
            let of = each(&container["env"]).find(|env| env["name"] == "AGENTK_TOKEN")?;
            let key = &of["valueFrom"]["secretKeyRef"];
            named(&key["key"]).filter(|_| key["name"] == secret)
        };
        by_file.or_else(variable)
    })
}

/// The key behind a file of a mounted Secret.
fn key_of_file(pod: &Value, container: &Value, secret: &str, file: &str) -> Option<String> {
    each(&container["volumeMounts"]).find_map(|mount| {
        let inside = file.strip_prefix(mount["mountPath"].as_str()?.trim_end_matches('/'))?;
        let part = mount["subPath"].as_str();
        let inside = match (inside.strip_prefix('/'), part) {
            (Some(inside), None) => inside,
            (None, Some(part)) if inside.is_empty() => part,
            _ => return None,
        };
        let volume = each(&pod["volumes"]).find(|volume| volume["name"] == mount["name"])?;
        let projected = each(&volume["projected"]["sources"]).map(|source| &source["secret"]);
        let mut sources = std::iter::once(&volume["secret"]).chain(projected);
        let source = sources.find(|s| s["secretName"] == secret || s["name"] == secret)?;
        let Some(items) = source["items"].as_array() else { return Some(inside.to_owned()) };
        let item = items.iter().find(|item| item["path"] == inside)?;
        item["key"].as_str().map(str::to_owned)
    })
}

pub(super) fn path(object: &ObjectRef) -> String {
    format!("/apis/apps/v1/namespaces/{}/deployments/{}", segment(&object.namespace), segment(&object.name))
}

/// Pods that a ReplicaSet of this namespace made within the last hour, `namespace/name` each: a pod that is gone is told by
/// that from one of another cluster, whose name ends in other random letters. Nobody where Events may not be listed.
pub(super) async fn made_here(client: &WriteClient, namespace: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct Made {
        #[serde(default)]
        message: String,
    }
    let path = format!(
        "/api/v1/namespaces/{}/events?fieldSelector={}",
        segment(namespace),
        segment("reason=SuccessfulCreate,involvedObject.kind=ReplicaSet")
    );
    let asked = format!("list events in namespace {namespace}");
    let events = list::<Made>(client, &path, &asked, "Event").await.ok().flatten().unwrap_or_default();
    let name =
        |event: &Made| Some(format!("{namespace}/{}", event.message.strip_prefix("Created pod: ")?.trim()));
    events.iter().filter_map(name).collect()
}

/// Reads an object, and no other; `None` where it is not there.
pub(super) async fn get<T: DeserializeOwned>(
    client: &WriteClient,
    path: &str,
    object: &ObjectRef,
) -> Result<Option<T>, Why> {
    let asked = format!("get {object}");
    let answer = client.read.get(path, "application/json", &asked).await?;
    match answer.status {
        StatusCode::NOT_FOUND => Ok(None),
        _ => answer.object(&asked, object).map(Some),
    }
}

/// Reads a list of this kind; `None` where its API is not served.
pub(super) async fn list<T: DeserializeOwned>(
    client: &WriteClient,
    path: &str,
    asked: &str,
    kind: &str,
) -> Result<Option<Vec<T>>, Why> {
    let answer = client.read.get(path, "application/json", asked).await?;
    match answer.status {
        StatusCode::NOT_FOUND => Ok(None),
        _ => answer.list::<List<T>>(asked, "v1", kind).map(|list| Some(list.items)),
    }
}

/// Asks the pods to restart by a mark on their template. The field manager's name does not begin with `kubectl`, so
/// that Flux leaves the mark alone.
pub(super) async fn restart(client: &WriteClient, object: &ObjectRef, mark: &str, dry: bool) -> Change {
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {MARK: mark}}}}});
    let asked = format!("patch deployment {}/{}", object.namespace, object.name);
    let answer = match dry {
        true => client.try_patch(&path(object), &patch, &asked).await,
        false => client.patch(&path(object), &patch, &asked).await,
    };
    changed(answer, &asked, object)
}

/// The newest line of a pod's log that says that GitLab refuses the token.
pub(super) async fn refusal(client: &WriteClient, namespace: &str, pod: &str) -> Option<String> {
    let path = format!(
        "/api/v1/namespaces/{}/pods/{}/log?tailLines=100&limitBytes=200000",
        segment(namespace),
        segment(pod)
    );
    let asked = format!("log of pod {namespace}/{pod}");
    let answer = client.read.get(&path, "*/*", &asked).await.ok().filter(|a| a.status.is_success())?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let refused = |line: &LogLine| line.fault().is_some_and(|rule| rule.effect == Effect::TokenRefused);
    text.lines()
        .rev()
        .map(|line| LogLine::parse(line, Timestamp::now()))
        .find(refused)
        .map(|line| line.text())
}

/// How long a rollout may take before it counts as stuck, where Kubernetes does not say so itself.
pub(super) const ROLLOUT: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_agentk_reads_is_told_by_its_template() {
        let pod = |args: Value, mount: Value, volume: Value, env: Value| json!({"containers": [{"args": args, "volumeMounts": [mount], "env": env}], "volumes": [volume]});
        let mount = || json!({"name": "v", "mountPath": "/etc/agentk/secrets"});
        let whole = || json!({"name": "v", "secret": {"secretName": "t"}});
        let items = json!([{"key": "agent-token", "path": "token"}]);
        let file = |name: &str| {
            json!([format!("--token-file=/etc/agentk/secrets/{name}"), "--kas-address=wss://kas"])
        };
        let none = || json!([]);
        let variable =
            json!([{"name": "AGENTK_TOKEN", "valueFrom": {"secretKeyRef": {"name": "t", "key": "other"}}}]);
        for (pod, key) in [
            (pod(file("token"), mount(), whole(), none()), Some("token")),
            (pod(file("agent-token"), mount(), whole(), none()), Some("agent-token")),
            (pod(json!(["--token-file", "/etc/agentk/secrets/x"]), mount(), whole(), none()), Some("x")),
            (
                pod(
                    file("token"),
                    mount(),
                    json!({"name": "v", "secret": {"secretName": "t", "items": items}}),
                    none(),
                ),
                Some("agent-token"),
            ),
            (
                pod(
                    file("token"),
                    mount(),
                    json!({"name": "v", "projected": {"sources": [{"secret": {"name": "t", "items": items}}]}}),
                    none(),
                ),
                Some("agent-token"),
            ),
            (
                pod(
                    file("token"),
                    json!({"name": "v", "mountPath": "/etc/agentk/secrets/token", "subPath": "y"}),
                    whole(),
                    none(),
                ),
                Some("y"),
            ),
            (
                pod(
                    file("token"),
                    json!({"name": "v", "mountPath": "/etc/agentk/secrets/"}),
                    whole(),
                    none(),
                ),
                Some("token"),
            ),
            (pod(none(), mount(), whole(), variable), Some("other")),
            (pod(file("token"), mount(), json!({"name": "v", "secret": {"secretName": "u"}}), none()), None),
            (pod(file("token"), json!({"name": "v", "mountPath": "/elsewhere"}), whole(), none()), None),
            (pod(none(), mount(), whole(), none()), None),
        ] {
            assert_eq!(token_key(&pod, "t").as_deref(), key, "{pod}");
        }
    }
}
