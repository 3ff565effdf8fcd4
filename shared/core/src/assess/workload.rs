//! A workload that does not run as wanted, as a finding: shared by the checks of controllers, agentk and
//! applications.

use super::{Finding, Judgement, Remedy, Severity};
use crate::facts::workload::{ROLLING_OUT, Trouble};
use crate::facts::{Facts, Workload, condition};
use crate::object::ObjectRef;

/// The finding on a workload that exists and does not run as wanted; `None` when it does.
pub(super) fn unwell(
    facts: &Facts<'_>,
    judgement: &mut Judgement,
    object: &ObjectRef,
    workload: &Workload,
) -> Option<Finding> {
    let mut trouble = workload.trouble(&object.kind, &facts.snapshot.pods)?;
    // Without its pods the reason is less exact than it could be.
    judgement.known(workload.pods(&facts.snapshot.pods));
    let (wanted, ready) = workload.readiness(&object.kind);
    if ready >= wanted && is_starting(&trouble) {
        trouble.reason = ROLLING_OUT.to_owned();
    }
    let evidence = match &trouble.pod {
        Some(pod) => format!("{pod}: {}", trouble.message),
        None => trouble.message.clone(),
    };
    let remedy = Remedy::workload(object, &trouble);
    let finding = Finding::new(object.clone(), phrase(&trouble, wanted, ready), remedy).because(evidence);
    let waits = trouble.reason == ROLLING_OUT;
    if waits && goes_on(object, workload) {
        judgement.too_early(object, "it is being rolled out");
    }
    Some(if waits { finding.severity(Severity::Warning) } else { finding })
}

/// Whether a rollout goes on by itself. A Deployment that is paused stays as it is, and so does a StatefulSet or DaemonSet
/// whose pods somebody else has to delete (`updateStrategy: OnDelete`), which its status does not tell.
fn goes_on(object: &ObjectRef, workload: &Workload) -> bool {
    let status = &workload.status;
    let paused = condition(&status.conditions, "Progressing").is_some_and(|c| c.reason == "DeploymentPaused");
    let seen = status.observed_generation >= workload.metadata.generation;
    !paused && (object.kind == "Deployment" || !seen)
}

/// Whether a pod is on its way, as far as is known.
fn is_starting(trouble: &Trouble) -> bool {
    matches!(trouble.reason.as_str(), "ContainerCreating" | "PodInitializing" | "NotReady")
}

fn phrase(trouble: &Trouble, wanted: i64, ready: i64) -> String {
    let reason = match trouble.reason.as_str() {
        ROLLING_OUT => return "is being rolled out".to_owned(),
        "NotReady" => String::new(),
        reason => format!(" ({reason})"),
    };
    match ready {
        0 => format!("does not run{reason}: none of its {wanted} wanted pods is ready"),
        ready if ready < wanted => format!("has {ready} of {wanted} pods ready{reason}"),
        _ => format!("does not get its new pods to run{reason}"),
    }
}
