//! What is wrong with a Deployment, StatefulSet or DaemonSet, from its status and its pods.

use crate::object::ObjectRef;
use crate::snapshot::kinds::{ContainerStatus, Pod, StringMap, Workload, condition};
use crate::snapshot::{Listing, Why};

/// The reason of a workload that has its pods, but not yet those of its present spec.
pub const ROLLING_OUT: &str = "RollingOut";
/// The reason of a Deployment whose rollout is held (`kubectl rollout pause`, or `spec.paused` in Git).
pub const PAUSED: &str = "Paused";

/// Why a workload does not run as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// One word of Kubernetes where it has one, for example `ImagePullBackOff`.
    pub reason: String,
    /// What Kubernetes says about it.
    pub message: String,
    /// The first pod that shows it.
    pub pod: Option<ObjectRef>,
}

impl Workload {
    /// Pods wanted and pods ready.
    pub fn readiness(&self, kind: &str) -> (i64, i64) {
        match kind {
            "DaemonSet" => (self.status.desired_number_scheduled, self.status.number_ready),
            _ => (self.spec.replicas.unwrap_or(1), self.status.ready_replicas),
        }
    }

    /// True when as many pods are ready as are wanted, all of the present spec, which its controller has seen.
    pub fn is_well(&self, kind: &str) -> bool {
        let (wanted, ready) = self.readiness(kind);
        let rolled = self.updated(kind) >= self.to_update(kind) && self.former(kind) == 0;
        ready >= wanted && rolled && self.status.observed_generation >= self.metadata.generation
    }

    /// Pods of the present spec, ready or not.
    fn updated(&self, kind: &str) -> i64 {
        match kind {
            "DaemonSet" => {
                self.status.updated_number_scheduled.unwrap_or(self.status.desired_number_scheduled)
            }
            _ => self.status.updated_replicas,
        }
    }

    /// Pods of a former spec. Those of a Deployment run on until as many new ones are available: where a rollout does not get
    /// its pods to run, they are all that is ready (`DeploymentComplete` in `pkg/controller/deployment/util`).
    fn former(&self, kind: &str) -> i64 {
        if kind == "Deployment" { (self.status.replicas - self.status.updated_replicas).max(0) } else { 0 }
    }

    /// Pods that its controller replaces by itself when the spec changes: with a partition not all, with `OnDelete` none.
    fn to_update(&self, kind: &str) -> i64 {
        let (wanted, _) = self.readiness(kind);
        let strategy = &self.spec.update_strategy;
        match (kind, strategy.kind.as_str()) {
            ("StatefulSet" | "DaemonSet", "OnDelete") => 0,
            ("StatefulSet", _) => (wanted - strategy.rolling_update.partition).max(0),
            _ => wanted,
        }
    }

    /// Its pods, newest first.
    ///
    /// # Errors
    /// The pods of its namespace were not, or could not be, listed.
    pub fn pods<'s>(&self, pods: &'s Listing<Pod>) -> Result<Vec<&'s Pod>, Why> {
        let mut own = pods.in_namespace(&self.metadata.namespace)?;
        own.retain(|p| selects(&self.spec.selector.match_labels, &p.metadata.labels));
        own.sort_by_key(|p| std::cmp::Reverse(p.metadata.creation_timestamp));
        Ok(own)
    }

    /// What keeps it from running as wanted; `None` when nothing does.
    pub fn trouble(&self, kind: &str, pods: &Listing<Pod>) -> Option<Trouble> {
        if self.is_well(kind) {
            return None;
        }
        let (wanted, ready) = self.readiness(kind);
        if self.spec.paused && ready >= wanted {
            let message = "spec.paused is true: no change of it is rolled out".to_owned();
            return Some(Trouble { reason: PAUSED.to_owned(), message, pod: None });
        }
        let from_pods = self.pods(pods).ok().and_then(|own| own.into_iter().find_map(pod_trouble));
        from_pods.or_else(|| self.condition_trouble()).or_else(|| Some(self.shortfall(kind)))
    }

    /// What its counters alone say.
    fn shortfall(&self, kind: &str) -> Trouble {
        let (wanted, ready) = self.readiness(kind);
        let (reason, message) = if ready < wanted {
            ("NotReady", format!("{ready} of {wanted} pods are ready"))
        } else if self.status.observed_generation < self.metadata.generation {
            (ROLLING_OUT, "Kubernetes has not yet acted on its present spec".to_owned())
        } else if self.updated(kind) < self.to_update(kind) {
            let (updated, all) = (self.updated(kind), self.to_update(kind));
            (ROLLING_OUT, format!("{updated} of {all} pods are of its present spec"))
        } else {
            (ROLLING_OUT, format!("pods of its former spec still run ({})", self.former(kind)))
        };
        Trouble { reason: reason.to_owned(), message, pod: None }
    }

    fn condition_trouble(&self) -> Option<Trouble> {
        let failed = condition(&self.status.conditions, "ReplicaFailure").filter(|c| c.status == "True");
        let late = condition(&self.status.conditions, "Progressing").filter(|c| c.status == "False");
        let found = failed.or(late)?;
        let reason = match found.message.as_str() {
            m if m.contains("violates PodSecurity") => "PodSecurity",
            m if m.contains("exceeded quota") => "QuotaExceeded",
            _ => &found.reason,
        };
        Some(Trouble { reason: reason.to_owned(), message: found.message.clone(), pod: None })
    }
}

/// Whether a selector's labels are all among an object's labels. An empty selector selects nothing here.
pub fn selects(selector: &StringMap, labels: &StringMap) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// What keeps one pod from being ready; `None` when it is, or has done its work.
pub fn pod_trouble(pod: &Pod) -> Option<Trouble> {
    let status = &pod.status;
    let ready = condition(&status.conditions, "Ready").is_some_and(|c| c.status == "True");
    if ready || status.phase == "Succeeded" || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let containers = || status.init_container_statuses.iter().chain(&status.container_statuses);
    let (reason, message) = containers()
        .find_map(container_trouble)
        .or_else(|| (!status.reason.is_empty()).then(|| (status.reason.clone(), status.message.clone())))
        .or_else(|| {
            let unscheduled =
                condition(&status.conditions, "PodScheduled").filter(|c| c.status == "False")?;
            Some((unscheduled.reason.clone(), unscheduled.message.clone()))
        })
        .or_else(|| containers().find_map(waiting))
        .unwrap_or_else(|| ("NotReady".to_owned(), format!("phase {}", status.phase)));
    Some(Trouble { reason, message, pod: Some(pod.metadata.object("Pod")) })
}

/// A container that cannot start or does not stay up.
fn container_trouble(container: &ContainerStatus) -> Option<(String, String)> {
    let last = container.state.terminated.as_ref().or(container.last_state.terminated.as_ref());
    if let Some(end) = last.filter(|end| end.reason == "OOMKilled") {
        return Some((end.reason.clone(), format!("container {} ran out of memory", container.name)));
    }
    let waiting = container
        .state
        .waiting
        .as_ref()
        .filter(|w| !matches!(w.reason.as_str(), "" | "ContainerCreating" | "PodInitializing"));
    if let Some(waiting) = waiting {
        let said = last.map(|end| end.message.trim()).filter(|m| !m.is_empty()).unwrap_or(&waiting.message);
        let code = last.map(|end| format!(" (exit code {})", end.exit_code)).unwrap_or_default();
        return Some((waiting.reason.clone(), format!("container {}{code}: {said}", container.name)));
    }
    let end = container.state.terminated.as_ref().filter(|end| end.exit_code != 0)?;
    Some((
        end.reason.clone(),
        format!("container {} (exit code {}): {}", container.name, end.exit_code, end.message),
    ))
}

fn waiting(container: &ContainerStatus) -> Option<(String, String)> {
    let waiting = container.state.waiting.as_ref()?;
    Some((waiting.reason.clone(), format!("container {}: {}", container.name, waiting.message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(status: &str) -> Pod {
        serde_json::from_str(&format!(r#"{{"metadata":{{"name":"p","namespace":"n"}},"status":{status}}}"#))
            .expect("a pod")
    }

    #[test]
    fn the_reason_of_a_pod_is_the_most_telling_one() {
        for (status, reason) in [
            (
                r#"{"containerStatuses":[{"name":"c","state":{"waiting":{"reason":"ImagePullBackOff"}}}]}"#,
                "ImagePullBackOff",
            ),
            (
                r#"{"containerStatuses":[{"name":"c","state":{"waiting":{"reason":"CrashLoopBackOff"}},
                "lastState":{"terminated":{"reason":"OOMKilled","exitCode":137}}}]}"#,
                "OOMKilled",
            ),
            (
                r#"{"containerStatuses":[{"name":"c","state":{"waiting":{"reason":"CrashLoopBackOff"}},
                "lastState":{"terminated":{"reason":"Error","exitCode":1,"message":"Program aborted"}}}]}"#,
                "CrashLoopBackOff",
            ),
            (r#"{"phase":"Failed","reason":"Evicted"}"#, "Evicted"),
            (
                r#"{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"False","reason":"Unschedulable"}]}"#,
                "Unschedulable",
            ),
            (
                r#"{"containerStatuses":[{"name":"c","state":{"waiting":{"reason":"ContainerCreating"}}}]}"#,
                "ContainerCreating",
            ),
            (r#"{"phase":"Running"}"#, "NotReady"),
        ] {
            assert_eq!(pod_trouble(&pod(status)).expect("trouble").reason, reason, "{status}");
        }
        assert_eq!(pod_trouble(&pod(r#"{"conditions":[{"type":"Ready","status":"True"}]}"#)), None);
        assert_eq!(pod_trouble(&pod(r#"{"phase":"Succeeded"}"#)), None);
    }

    #[test]
    fn a_stateful_set_is_rolled_out_as_far_as_its_strategy_says() {
        for (strategy, updated, well) in [
            ("{}", 3, true),
            ("{}", 2, false),
            (r#"{"type":"RollingUpdate","rollingUpdate":{"partition":2}}"#, 1, true),
            (r#"{"type":"RollingUpdate","rollingUpdate":{"partition":2}}"#, 0, false),
            (r#"{"type":"RollingUpdate","rollingUpdate":{"partition":5}}"#, 0, true),
            (r#"{"type":"OnDelete"}"#, 0, true),
        ] {
            let json = format!(
                r#"{{"metadata":{{"generation":2}},"spec":{{"replicas":3,"updateStrategy":{strategy}}},
                "status":{{"observedGeneration":2,"readyReplicas":3,"updatedReplicas":{updated}}}}}"#
            );
            let workload: Workload = serde_json::from_str(&json).expect("a workload");
            assert_eq!(workload.is_well("StatefulSet"), well, "{strategy} {updated}");
            assert_eq!(workload.is_well("Deployment"), updated == 3, "a Deployment has no such strategy");
        }
    }

    #[test]
    fn a_daemon_set_is_rolled_out_as_far_as_its_strategy_says() {
        for (strategy, updated, well) in [
            ("{}", r#","updatedNumberScheduled":3"#, true),
            ("{}", r#","updatedNumberScheduled":1"#, false),
            ("{}", "", true),
            (r#"{"type":"OnDelete"}"#, r#","updatedNumberScheduled":0"#, true),
        ] {
            let json = format!(
                r#"{{"metadata":{{"generation":2}},"spec":{{"updateStrategy":{strategy}}},
                "status":{{"observedGeneration":2,"numberReady":3,"desiredNumberScheduled":3{updated}}}}}"#
            );
            let workload: Workload = serde_json::from_str(&json).expect("a workload");
            assert_eq!(workload.is_well("DaemonSet"), well, "{strategy} {updated}");
        }
    }

    #[test]
    fn a_rollout_under_way_is_told_from_missing_pods() {
        let trouble = |status: &str| {
            let json =
                format!(r#"{{"metadata":{{"generation":2}},"spec":{{"replicas":2}},"status":{status}}}"#);
            let workload: Workload = serde_json::from_str(&json).expect("a workload");
            workload.trouble("Deployment", &Listing::default()).map(|t| (t.reason, t.message))
        };
        let found = |reason: &str, message: &str| Some((reason.to_owned(), message.to_owned()));
        for (status, expected) in [
            (
                r#"{"observedGeneration":2,"readyReplicas":1,"updatedReplicas":2}"#,
                found("NotReady", "1 of 2 pods are ready"),
            ),
            (
                r#"{"observedGeneration":2,"readyReplicas":2,"updatedReplicas":1}"#,
                found(ROLLING_OUT, "1 of 2 pods are of its present spec"),
            ),
            (
                r#"{"observedGeneration":1,"readyReplicas":2,"updatedReplicas":2}"#,
                found(ROLLING_OUT, "Kubernetes has not yet acted on its present spec"),
            ),
            (r#"{"observedGeneration":2,"readyReplicas":2,"updatedReplicas":2}"#, None),
            (r#"{"observedGeneration":2,"readyReplicas":2,"updatedReplicas":2,"replicas":2}"#, None),
            (
                r#"{"observedGeneration":2,"readyReplicas":2,"updatedReplicas":2,"replicas":3}"#,
                found(ROLLING_OUT, "pods of its former spec still run (1)"),
            ),
            (
                r#"{"observedGeneration":2,"readyReplicas":2,"updatedReplicas":2,"replicas":4,"conditions":[{"type":"Progressing",
                "status":"False","reason":"ProgressDeadlineExceeded","message":"late"}]}"#,
                found("ProgressDeadlineExceeded", "late"),
            ),
        ] {
            assert_eq!(trouble(status), expected, "{status}");
        }
    }
}
