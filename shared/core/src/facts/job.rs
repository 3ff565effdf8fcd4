//! Jobs that a failed wait names (a health check of a Kustomization, a hook of a release) and that failed: with what they
//! say, and the last words of their pods.

use std::collections::BTreeMap;

use super::creator::failed_waits;
use super::workload::pod_trouble;
use crate::object::ObjectRef;
use crate::snapshot::kinds::{ContainerStatus, Event, Pod};
use crate::snapshot::{Observed, Snapshot};

/// A Job that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedJob {
    /// One word of Kubernetes: `BackoffLimitExceeded`, `DeadlineExceeded`.
    pub reason: String,
    /// What the job controller says.
    pub said: String,
    /// Its newest pod that failed, with its last words.
    pub pod: Option<(ObjectRef, String)>,
}

/// Reasons of warnings with which the job controller gives up (`pkg/controller/job`), or makes no pod.
const GIVES_UP: &[&str] = &[
    "BackoffLimitExceeded",
    "DeadlineExceeded",
    "PodFailurePolicy",
    "FailedIndexes",
    "MaxFailedIndexesExceeded",
    "FailedCreate",
];

/// The Jobs that failed waits name.
pub fn named(s: &Snapshot) -> impl Iterator<Item = ObjectRef> {
    failed_waits(s).into_iter().filter(|object| object.kind == "Job")
}

/// Those of them that failed, as far as they, their events or their pods were seen.
pub(super) fn failed(s: &Snapshot) -> BTreeMap<ObjectRef, FailedJob> {
    named(s).filter_map(|job| Some((job.clone(), of(s, &job)?))).collect()
}

fn of(s: &Snapshot, job: &ObjectRef) -> Option<FailedJob> {
    let entry = s.referenced.iter().find(|entry| entry.object() == *job).map(|entry| &entry.state);
    if matches!(entry, Some(Observed::Known(None))) {
        return None;
    }
    let condition = match entry {
        Some(Observed::Known(Some(read))) => read.failure().map(|c| (c.reason.clone(), c.message.clone())),
        _ => None,
    };
    let gave_up = |event: &&Event| event.about() == *job && GIVES_UP.contains(&event.reason.as_str());
    let event = s.warnings.items.iter().filter(gave_up).max_by_key(|event| event.last());
    let event = event.map(|event| (event.reason.clone(), event.message.clone()));
    let pod = pods(s, job).into_iter().find_map(|pod| Some((pod.metadata.object("Pod"), last_words(pod)?)));
    let (reason, said) =
        condition.or(event).or_else(|| Some(("Failed".to_owned(), pod.as_ref()?.1.clone())))?;
    Some(FailedJob { reason, said, pod })
}

/// The pods of a Job, newest first.
pub(super) fn pods<'s>(s: &'s Snapshot, job: &ObjectRef) -> Vec<&'s Pod> {
    let own = |pod: &&Pod| {
        let label = |key| pod.metadata.label(key) == Some(job.name.as_str());
        pod.metadata.namespace == job.namespace
            && (label("batch.kubernetes.io/job-name") || label("job-name"))
    };
    let mut pods: Vec<&Pod> = s.pods.items.iter().filter(own).collect();
    pods.sort_by_key(|pod| std::cmp::Reverse(pod.metadata.creation_timestamp));
    pods
}

/// What the last container that failed left, else why the pod does not run.
fn last_words(pod: &Pod) -> Option<String> {
    let containers: Vec<&ContainerStatus> =
        pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses).collect();
    let ends = containers
        .iter()
        .filter_map(|c| Some((c, c.state.terminated.as_ref().or(c.last_state.terminated.as_ref())?)));
    let mut failed = ends.filter(|(_, end)| end.exit_code != 0);
    let words = failed.next().map(|(c, end)| {
        let said = if end.message.trim().is_empty() { end.reason.as_str() } else { end.message.trim() };
        format!("container {} (exit code {}): {said}", c.name, end.exit_code)
    });
    words.or_else(|| pod_trouble(pod).map(|trouble| format!("{}: {}", trouble.reason, trouble.message)))
}
