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
use serde_json::json;

use super::secret::{Change, made};
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
        let asked = format!("get deployment {}/{}", object.namespace, object.name);
        let Some(deployment) = get::<Deployment>(client, &path, &asked).await? else { return Ok(None) };
        let labels: Vec<String> =
            deployment.spec.selector.match_labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let asked = format!("list pods in namespace {}", object.namespace);
        let path =
            format!("/api/v1/namespaces/{namespace}/pods?labelSelector={}", segment(&labels.join(",")));
        let list = get::<List<Pod>>(client, &path, &asked).await?;
        Ok(Some(Self { deployment, pods: list.map(|l| l.items).unwrap_or_default() }))
    }

    /// How many pods are wanted.
    pub(super) fn wanted(&self) -> i64 {
        self.deployment.spec.replicas.unwrap_or(1)
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
    let events = get::<List<Made>>(client, &path, &asked).await.ok().flatten();
    let events = events.map(|list| list.items).unwrap_or_default();
    let name =
        |event: &Made| Some(format!("{namespace}/{}", event.message.strip_prefix("Created pod: ")?.trim()));
    events.iter().filter_map(name).collect()
}

/// Reads an object; `None` where it is not there.
pub(super) async fn get<T: DeserializeOwned>(
    client: &WriteClient,
    path: &str,
    asked: &str,
) -> Result<Option<T>, Why> {
    let answer = client.read.get(path, "application/json", asked).await?;
    if answer.status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let at = |e: serde_json::Error| {
        let text = format!("the answer is not what was asked for (line {} column {})", e.line(), e.column());
        Why::new(WhyKind::Unreadable, asked, text)
    };
    serde_json::from_slice(&answer.body).map(Some).map_err(at)
}

/// Asks the pods to restart by a mark on their template. The field manager's name does not begin with `kubectl`, so
/// that Flux leaves the mark alone.
pub(super) async fn restart(client: &WriteClient, object: &ObjectRef, mark: &str, dry: bool) -> Change {
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {MARK: mark}}}}});
    let asked = format!("patch deployment {}/{}", object.namespace, object.name);
    made(match dry {
        true => client.try_patch(&path(object), &patch, &asked).await,
        false => client.patch(&path(object), &patch, &asked).await,
    })
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
