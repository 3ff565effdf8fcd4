//! A workload that does not run as wanted, as a finding: shared by the checks of controllers, agentk and
//! applications.

use jiff::{SignedDuration, Timestamp};

use super::{Finding, Judgement, Remedy, Severity};
use crate::command::kubectl;
use crate::facts::failure::{Failing, FailureKey, read};
use crate::facts::reference::Missing;
use crate::facts::workload::{PAUSED, ROLLING_OUT, Trouble};
use crate::facts::{Facts, Workload};
use crate::need::Need;
use crate::object::ObjectRef;
use crate::text::age;

/// What checks of all that Flux deployed read.
pub(super) const DEPLOYED: &[Need] =
    &[Need::Kustomizations, Need::HelmReleases, Need::Deployments, Need::StatefulSets, Need::DaemonSets];

/// Notes what of it was not listed; how many objects there are.
pub(super) fn deployed(facts: &Facts<'_>, judgement: &mut Judgement) -> usize {
    let s = facts.snapshot;
    let appliers = judgement.each(&s.kustomizations).len() + judgement.each(&s.helm_releases).len();
    let workloads =
        [&s.deployments, &s.stateful_sets, &s.daemon_sets].map(|listing| judgement.each(listing).len());
    appliers + workloads.iter().sum::<usize>()
}

/// The finding on a workload that exists and does not run as wanted; `None` when it does.
pub(super) fn unwell(
    facts: &Facts<'_>,
    judgement: &mut Judgement,
    object: &ObjectRef,
    workload: &Workload,
) -> Option<Finding> {
    let mut trouble = trouble(facts, object, workload)?;
    // Without its pods the reason is less exact than it could be.
    judgement.known(workload.pods(&facts.snapshot.pods));
    let (wanted, ready) = workload.readiness(&object.kind);
    let waits = waits_for(facts, object);
    if ready >= wanted && waits.is_empty() && is_starting(&trouble) {
        trouble.reason = ROLLING_OUT.to_owned();
    }
    if !waits.is_empty() && !ENDED.contains(&trouble.reason.as_str()) {
        return Some(waiting(object, &waits).because(shown(&trouble)));
    }
    if trouble.reason == ROLLING_OUT && goes_on(object, workload) {
        judgement.too_early(object, "it is being rolled out");
    }
    Some(found(facts, object, workload, &trouble))
}

/// The same of a workload that Flux did not deploy: neither its pods nor what they refer to have to be known.
pub(super) fn not_running(facts: &Facts<'_>, object: &ObjectRef, workload: &Workload) -> Option<Finding> {
    Some(found(facts, object, workload, &trouble(facts, object, workload)?))
}

fn trouble(facts: &Facts<'_>, object: &ObjectRef, workload: &Workload) -> Option<Trouble> {
    let mut trouble = workload.trouble(&object.kind, &facts.snapshot.pods)?;
    facts.explain(workload, object, &mut trouble);
    Some(trouble)
}

fn shown(trouble: &Trouble) -> String {
    match &trouble.pod {
        Some(pod) => format!("{pod}: {}", trouble.message),
        None => trouble.message.clone(),
    }
}

fn found(facts: &Facts<'_>, object: &ObjectRef, workload: &Workload, trouble: &Trouble) -> Finding {
    if let Some(since) = stands_still(facts, object, workload, trouble) {
        return standing_still(facts, object, trouble, since);
    }
    let (wanted, ready) = workload.readiness(&object.kind);
    let remedy = Remedy::workload(object, trouble);
    let who = Failing { namespace: &object.namespace, ..Failing::default() };
    let key = FailureKey::of(read(&trouble.message), &trouble.message, &who);
    let finding = Finding::new(object.clone(), phrase(trouble, wanted, ready), remedy)
        .failure(key)
        .because(shown(trouble));
    let harmless = [ROLLING_OUT, PAUSED].contains(&trouble.reason.as_str());
    if harmless { finding.severity(Severity::Warning) } else { finding }
}

/// How long a StatefulSet may take to replace one pod.
const ONE_POD: SignedDuration = SignedDuration::from_mins(30);

/// Since when a StatefulSet has replaced no pod, although all are ready and some are of an older spec: its controller waits for
/// nothing. It has no condition that says so.
fn stands_still(
    facts: &Facts<'_>,
    object: &ObjectRef,
    workload: &Workload,
    trouble: &Trouble,
) -> Option<Timestamp> {
    if object.kind != "StatefulSet" || trouble.reason != ROLLING_OUT {
        return None;
    }
    let newest = workload.pods(&facts.snapshot.pods).ok()?.first()?.metadata.creation_timestamp?;
    let changed = workload.metadata.managed_fields.iter().filter_map(|fields| fields.time).max();
    let since = changed.map_or(newest, |changed| newest.max(changed));
    (facts.now.duration_since(since) > ONE_POD).then_some(since)
}

fn standing_still(facts: &Facts<'_>, object: &ObjectRef, trouble: &Trouble, since: Timestamp) -> Finding {
    let message = format!(
        "has not gone on with its rollout for {}, although its pods are ready",
        age(facts.now, since)
    );
    let text = "see in its events why its controller does not go on; a restart replaces its pods one by one, the highest number first";
    let remedy = Remedy::say(text).run(kubectl(&object.namespace, "describe").object(object)).restart(object);
    Finding::new(object.clone(), message, remedy).because(&trouble.message)
}

/// Reasons of pods that did start: what they refer to was there.
const ENDED: &[&str] = &["OOMKilled", "CrashLoopBackOff", "Error"];

/// What the workload's pods refer to and is missing.
fn waits_for<'f>(facts: &'f Facts<'_>, object: &ObjectRef) -> Vec<(&'f ObjectRef, &'f Missing)> {
    facts.missing.of(object).collect()
}

fn waiting(object: &ObjectRef, missing: &[(&ObjectRef, &Missing)]) -> Finding {
    let named: Vec<String> = missing
        .iter()
        .map(|(of, missing)| match &missing.key {
            Some(key) => format!("the key {key} of {of}"),
            None => of.to_string(),
        })
        .collect();
    let verb = if named.len() == 1 { "does" } else { "do" };
    let message = format!("waits for {}, which {verb} not exist", named.join(" and "));
    let text = "make it exist (its own line says how); the pods then start by themselves";
    let remedy = Remedy::say(text).run(kubectl(&object.namespace, "describe").object(object));
    Finding::new(object.clone(), message, remedy)
}

/// Whether a rollout continues by itself. That of a StatefulSet or DaemonSet may wait for somebody to delete its pods
/// (`updateStrategy: OnDelete`), which its status does not show.
fn goes_on(object: &ObjectRef, workload: &Workload) -> bool {
    object.kind == "Deployment" || workload.status.observed_generation < workload.metadata.generation
}

/// Whether a pod is on its way, as far as is known.
fn is_starting(trouble: &Trouble) -> bool {
    matches!(trouble.reason.as_str(), "ContainerCreating" | "PodInitializing" | "NotReady")
}

fn phrase(trouble: &Trouble, wanted: i64, ready: i64) -> String {
    let reason = match trouble.reason.as_str() {
        ROLLING_OUT => return "is being rolled out".to_owned(),
        PAUSED => return "is paused: changes of it are not rolled out".to_owned(),
        "NotReady" => String::new(),
        reason => format!(" ({reason})"),
    };
    match ready {
        0 => format!("does not run{reason}: none of its {wanted} wanted pods is ready"),
        ready if ready < wanted => format!("has {ready} of {wanted} pods ready{reason}"),
        _ => format!("does not get its new pods to run{reason}"),
    }
}
