//! Where a Flux object stands, from its conditions.
//!
//! Most real failures are not `Stalled`: a source that cannot be fetched is `Ready=False` with
//! `Reconciling=True, ProgressingWithRetry`, so that counts as failed, not as in progress.

use crate::snapshot::kinds::{Condition, condition};

/// Where an object stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Readiness<'c> {
    /// `spec.suspend` is set. The conditions speak of the past.
    Suspended,
    /// `Ready=True` for the present generation.
    Ready,
    /// It failed; the condition says why.
    Failed(&'c Condition),
    /// It waits for something else to be ready.
    Waiting(&'c Condition),
    /// Its controller is at work on it.
    Progressing(&'c Condition),
    /// Its controller has not yet said anything of the present generation.
    NotObserved,
}

/// Reads the state out of conditions. `observed` is `status.observedGeneration`.
pub fn readiness<'c>(
    conditions: &'c [Condition],
    generation: i64,
    observed: i64,
    suspended: bool,
) -> Readiness<'c> {
    if suspended {
        return Readiness::Suspended;
    }
    if let Some(stalled) = condition(conditions, "Stalled").filter(|c| c.status == "True") {
        return Readiness::Failed(stalled);
    }
    let fetch_failed = condition(conditions, "FetchFailed").filter(|c| c.status == "True");
    if let Some(failed) = fetch_failed {
        return Readiness::Failed(failed);
    }
    let Some(ready) = condition(conditions, "Ready") else { return Readiness::NotObserved };
    let seen = observed.max(ready.observed_generation);
    match (ready.status.as_str(), ready.reason.as_str()) {
        ("True", _) if seen > 0 && seen < generation => Readiness::NotObserved,
        ("True", _) => Readiness::Ready,
        ("False", "DependencyNotReady") => Readiness::Waiting(ready),
        ("False", "HealthCheckCanceled") => Readiness::Progressing(ready),
        ("False", _) => Readiness::Failed(ready),
        _ => Readiness::Progressing(ready),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(kind: &str, status: &str, reason: &str) -> Condition {
        Condition { kind: kind.into(), status: status.into(), reason: reason.into(), ..Condition::default() }
    }

    #[test]
    fn a_retrying_failure_is_a_failure() {
        let conditions =
            [at("Reconciling", "True", "ProgressingWithRetry"), at("Ready", "False", "GitOperationFailed")];
        assert!(
            matches!(readiness(&conditions, 1, 1, false), Readiness::Failed(c) if c.reason == "GitOperationFailed")
        );
    }

    #[test]
    fn states_are_told_apart() {
        assert_eq!(readiness(&[], 1, 0, false), Readiness::NotObserved);
        assert_eq!(readiness(&[at("Ready", "True", "Succeeded")], 1, 1, false), Readiness::Ready);
        assert_eq!(readiness(&[at("Ready", "True", "Succeeded")], 2, 1, false), Readiness::NotObserved);
        assert_eq!(readiness(&[at("Ready", "True", "Succeeded")], 1, 1, true), Readiness::Suspended);
        let waiting = [at("Ready", "False", "DependencyNotReady")];
        assert!(matches!(readiness(&waiting, 1, 1, false), Readiness::Waiting(_)));
        let working = [at("Ready", "Unknown", "Progressing")];
        assert!(matches!(readiness(&working, 1, 1, false), Readiness::Progressing(_)));
        let stalled = [at("Stalled", "True", "AccessDenied"), at("Ready", "True", "Succeeded")];
        assert!(matches!(readiness(&stalled, 1, 1, false), Readiness::Failed(_)));
    }
}
