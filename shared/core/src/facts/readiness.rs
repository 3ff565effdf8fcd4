//! Where a Flux object stands, from its conditions.
//!
//! Most real failures are not `Stalled`: a source that cannot be fetched is `Ready=False` with
//! `Reconciling=True, ProgressingWithRetry`, so that counts as failed, not as in progress.

use jiff::{SignedDuration, Timestamp};

use crate::snapshot::kinds::{Condition, Meta, condition};

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

/// Since when an object is in its present state: the last change of `Ready`, else its creation.
pub fn since(conditions: &[Condition], metadata: &Meta) -> Option<Timestamp> {
    condition(conditions, "Ready").and_then(|c| c.last_transition_time).or(metadata.creation_timestamp)
}

/// Whether an object has been in its present state for longer than this. Unknown times count as long.
pub fn lasts(conditions: &[Condition], metadata: &Meta, now: Timestamp, patience: SignedDuration) -> bool {
    since(conditions, metadata).is_none_or(|since| now.duration_since(since) > patience)
}

/// Whether a condition says that the source has no artifact (kustomize-controller's and helm-controller's words).
fn lacks_artifact(ready: &Condition) -> bool {
    ready.reason == "SourceNotReady" || ready.message.to_lowercase().starts_with("source artifact not found")
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
        ("False", _) if lacks_artifact(ready) => Readiness::Waiting(ready),
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
        let no_source = at("Ready", "False", "ArtifactFailed");
        let no_source =
            [Condition { message: "Source artifact not found, retrying in 30s".into(), ..no_source }];
        assert!(matches!(readiness(&no_source, 1, 1, false), Readiness::Waiting(_)));
        let working = [at("Ready", "Unknown", "Progressing")];
        assert!(matches!(readiness(&working, 1, 1, false), Readiness::Progressing(_)));
        let stalled = [at("Stalled", "True", "AccessDenied"), at("Ready", "True", "Succeeded")];
        assert!(matches!(readiness(&stalled, 1, 1, false), Readiness::Failed(_)));
    }

    #[test]
    fn the_state_lasts_since_ready_changed() {
        let now: Timestamp = "2026-11-02T10:00:00Z".parse().expect("a time");
        let minutes = SignedDuration::from_mins;
        let made = Meta { creation_timestamp: Some(now - minutes(20)), ..Meta::default() };
        let changed =
            [Condition { last_transition_time: Some(now - minutes(3)), ..at("Ready", "False", "x") }];
        assert!(lasts(&[], &made, now, minutes(10)));
        assert!(!lasts(&changed, &made, now, minutes(10)));
        assert!(lasts(&changed, &made, now, minutes(2)));
        assert!(lasts(&[], &Meta::default(), now, minutes(10)));
    }
}
