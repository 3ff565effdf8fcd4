//! Nodes that no longer answer, as their pods show it: nodes themselves are not read.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::reference::{ours, workloads};
use crate::object::ObjectRef;
use crate::snapshot::Snapshot;
use crate::snapshot::kinds::{Pod, Workload, condition};

/// A pod that shows that its node does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sign {
    /// The node.
    pub node: ObjectRef,
    /// The pod.
    pub pod: ObjectRef,
    /// One word of Kubernetes.
    pub reason: String,
    /// What shows it.
    pub said: String,
}

/// The workloads of Flux, agentk and what Flux deployed that lack pods, with those that show a lost node.
#[derive(Clone, Debug, Default)]
pub struct Lost {
    by_workload: BTreeMap<ObjectRef, Vec<Sign>>,
}

impl Lost {
    /// What the pods of all workloads show.
    pub(super) fn find(s: &Snapshot) -> Self {
        let mut by_workload = BTreeMap::new();
        let ours = ours(s);
        let own = |kind: &str, w: &Workload| ours.contains(&w.metadata.object(kind));
        for (kind, workload) in workloads(s).filter(|(kind, w)| !w.is_well(kind) && own(kind, w)) {
            let pods = workload.pods(&s.pods).unwrap_or_default();
            let signs: Vec<Sign> = pods.into_iter().filter_map(|pod| sign(s, pod)).collect();
            if !signs.is_empty() {
                by_workload.insert(workload.metadata.object(kind), signs);
            }
        }
        Self { by_workload }
    }

    /// The first sign at a workload's pods.
    pub fn of(&self, workload: &ObjectRef) -> Option<&Sign> {
        self.by_workload.get(workload)?.first()
    }

    /// Each node with the workloads that lack pods because of it, and a sign.
    pub fn nodes(&self) -> BTreeMap<&ObjectRef, Vec<(&ObjectRef, &Sign)>> {
        let mut nodes: BTreeMap<&ObjectRef, Vec<(&ObjectRef, &Sign)>> = BTreeMap::new();
        for (workload, sign) in
            self.by_workload.iter().flat_map(|(w, signs)| signs.iter().map(move |sign| (w, sign)))
        {
            let of = nodes.entry(&sign.node).or_default();
            if of.iter().all(|(seen, _)| *seen != workload) {
                of.push((workload, sign));
            }
        }
        nodes
    }
}

/// How long a pod may outlive the end of its grace period.
const OVERDUE: SignedDuration = SignedDuration::from_mins(2);

/// Whether a pod shows that the kubelet of its node is gone: the node controller says so (`NodeLost`, the event
/// `NodeNotReady`), it took the pod's readiness away while the containers' last state is ready, or nobody ends a pod whose
/// time is over (`metadata.deletionTimestamp` is the end of its grace period).
fn sign(s: &Snapshot, pod: &Pod) -> Option<Sign> {
    let (meta, status) = (&pod.metadata, &pod.status);
    let object = meta.object("Pod");
    let node = Some(pod.spec.node_name.as_str()).filter(|name| !name.is_empty())?;
    let ready = condition(&status.conditions, "Ready").filter(|c| c.status != "True")?;
    let said = |reason: &str, said: String| {
        let node = ObjectRef::new("Node", "", node);
        Some(Sign { node, pod: object.clone(), reason: reason.to_owned(), said })
    };
    let marked = ready.status == "Unknown"
        || (ready.reason.is_empty()
            && !status.container_statuses.is_empty()
            && status.container_statuses.iter().all(|c| c.ready));
    let event = s.warnings.items.iter().find(|event| {
        // Said once, when the node was lost: it counts for as long as the pod is not ready.
        let since = ready.last_transition_time.map(|at| at - OVERDUE);
        let present = event.last().zip(since).is_none_or(|(at, since)| at >= since);
        event.reason == "NodeNotReady" && present && event.about() == object
    });
    let overdue = meta.deletion_timestamp.filter(|at| s.taken_at.duration_since(*at) > OVERDUE);
    if status.reason == "NodeLost" {
        return said("NodeLost", status.message.clone());
    }
    if let Some(event) = event {
        return said("NodeNotReady", event.message.clone());
    }
    if marked {
        return said("NodeNotReady", "its containers were ready when its node last answered".to_owned());
    }
    let at = overdue?;
    said(
        "Terminating",
        format!(
            "its deletion was to end {} ago, and its node has not ended it",
            crate::text::age(s.taken_at, at)
        ),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fixture;

    fn reason(pod: &Value, event: Option<&str>) -> Option<String> {
        let mut s = fixture::healthy();
        fixture::deployment_mut(&mut s, "nginx").status.ready_replicas = 0;
        let mut pod = pod.clone();
        pod["metadata"]["name"] = json!("p");
        pod["metadata"]["namespace"] = json!("example-nginx");
        pod["metadata"]["labels"] = json!({"app": "nginx"});
        if pod["spec"].is_null() {
            pod["spec"] = json!({"nodeName": "node-1"});
        }
        s.pods.items.push(serde_json::from_value(pod).expect("a pod"));
        if let Some(at) = event {
            let event = json!({"metadata": {"name": "e", "namespace": "example-nginx"}, "reason": "NodeNotReady",
                "message": "Node is not ready", "lastTimestamp": at,
                "involvedObject": {"kind": "Pod", "namespace": "example-nginx", "name": "p"}});
            s.warnings.items.push(serde_json::from_value(event).expect("an event"));
        }
        let lost = Lost::find(&s);
        lost.of(&ObjectRef::new("Deployment", "example-nginx", "nginx")).map(|sign| sign.reason.clone())
    }

    #[test]
    fn a_lost_node_shows_at_its_pods() {
        let not_ready = |reason: &str| json!([{"type": "Ready", "status": "False", "reason": reason, "lastTransitionTime": "2026-11-02T09:20:00Z"}]);
        let ready = json!([{"name": "c", "ready": true, "state": {"running": {}}}]);
        let unready = json!([{"name": "c", "ready": false, "state": {"running": {}}}]);
        for (pod, event, expected) in [
            (
                json!({"status": {"reason": "NodeLost", "message": "Node node-1 is unresponsive", "conditions": not_ready("")}}),
                None,
                Some("NodeLost"),
            ),
            (
                json!({"status": {"conditions": not_ready(""), "containerStatuses": ready}}),
                None,
                Some("NodeNotReady"),
            ),
            (
                json!({"status": {"conditions": not_ready("ContainersNotReady"), "containerStatuses": unready}}),
                Some("2026-11-02T09:20:01Z"),
                Some("NodeNotReady"),
            ),
            (
                json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}),
                None,
                Some("NodeNotReady"),
            ),
            (
                json!({"metadata": {"deletionTimestamp": "2026-11-02T09:30:00Z"}, "status": {"conditions": not_ready("ContainersNotReady")}}),
                None,
                Some("Terminating"),
            ),
            // It ends just now.
            (
                json!({"metadata": {"deletionTimestamp": "2026-11-02T10:00:20Z"}, "status": {"conditions": not_ready("ContainersNotReady")}}),
                None,
                None,
            ),
            // The node came back, and the container is not ready for another reason.
            (
                json!({"status": {"conditions": not_ready("ContainersNotReady"), "containerStatuses": unready}}),
                Some("2026-11-02T08:00:00Z"),
                None,
            ),
            (
                json!({"status": {"conditions": not_ready("ReadinessGatesNotReady"), "containerStatuses": ready}}),
                None,
                None,
            ),
            (
                json!({"status": {"conditions": not_ready(""), "containerStatuses": ready}, "spec": {}}),
                None,
                None,
            ),
            (
                json!({"status": {"conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": ready}}),
                None,
                None,
            ),
        ] {
            assert_eq!(reason(&pod, event).as_deref(), expected, "{pod}");
        }
    }
}
