//! What one object says about a request that was made of it.
//!
//! `status.lastHandledReconcileAt` only echoes the token of a request: also a suspended object echoes it, and somebody
//! else's request overwrites it. So the token is compared with ours, suspension is looked at first, and the conditions
//! count only once our token was handled: before, they speak of an earlier run.

use serde::Deserialize;

use crate::command::Hint;
use crate::facts::failure::{Failure, classify};
use crate::facts::readiness::{Readiness, readiness};
use crate::snapshot::kinds::{Artifact, Condition, HelmSnapshot, Inventory, Meta, RemoteCluster, condition};

/// The annotation that asks for a reconciliation.
pub const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";
/// The annotation that asks for one upgrade in any case; must equal the request.
pub const FORCE_AT: &str = "reconcile.fluxcd.io/forceAt";
/// The annotation that clears the count of failures; must equal the request.
pub const RESET_AT: &str = "reconcile.fluxcd.io/resetAt";

/// The fields that are read of an object of any kind that takes requests.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Live {
    /// Metadata.
    pub metadata: Meta,
    /// What is wanted.
    pub spec: LiveSpec,
    /// What its controller says.
    pub status: LiveStatus,
}

/// `spec` of [`Live`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LiveSpec {
    /// True stops reconciliation.
    pub suspend: bool,
    /// Set when it applies to another cluster.
    pub kube_config: Option<RemoteCluster>,
}

/// `status` of [`Live`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LiveStatus {
    /// Conditions.
    pub conditions: Vec<Condition>,
    /// Generation that was reconciled.
    pub observed_generation: i64,
    /// The last request that was taken up.
    pub last_handled_reconcile_at: String,
    /// What a source holds.
    pub artifact: Option<Artifact>,
    /// What a Kustomization applied.
    pub last_applied_revision: String,
    /// What a HelmRelease tried.
    pub last_attempted_revision: String,
    /// What a HelmRelease made, newest first.
    pub history: Vec<HelmSnapshot>,
    /// What a Kustomization or HelmRelease deployed.
    pub inventory: Inventory,
}

/// How an object stands towards our request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its controller has not taken it up, or is at work on it; the text is what the controller says, or empty.
    Working(String),
    /// It waits for another object: one word, and what the controller says.
    Waiting(String, String),
    /// It was done; this revision is in place.
    Done(String),
    /// It failed for our request. It may be retried by itself, which is no reason to wait.
    Failed(Fault),
    /// Another request has taken the place of ours before ours was handled, and was handled.
    Overwritten,
    /// It is suspended: no controller will answer.
    Suspended,
    /// Its deletion was asked for.
    Deleted,
}

/// Why an object failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// One word of the controller.
    pub reason: String,
    /// What the controller says.
    pub message: String,
    /// The class of the failure.
    pub class: Option<Failure>,
    /// The controller will not try again by itself.
    pub terminal: bool,
}

/// Reads an object's answer to the request `token`.
pub fn answer(kind: &str, live: &Live, token: &str) -> Answer {
    let (meta, status) = (&live.metadata, &live.status);
    if meta.deletion_timestamp.is_some() {
        return Answer::Deleted;
    }
    if live.spec.suspend {
        return Answer::Suspended;
    }
    let handled = status.last_handled_reconcile_at.as_str();
    if handled != token {
        let asked = meta.annotation(REQUESTED_AT);
        let other_handled = asked.is_none_or(|asked| asked == handled);
        if asked != Some(token) && other_handled {
            return Answer::Overwritten;
        }
        return Answer::Working(phase(&status.conditions));
    }
    match readiness(&status.conditions, meta.generation, status.observed_generation, false) {
        Readiness::Ready => Answer::Done(revision(kind, live)),
        Readiness::Waiting(c) => Answer::Waiting(c.reason.clone(), c.message.clone()),
        Readiness::Failed(c) => Answer::Failed(fault(&status.conditions, c)),
        Readiness::Progressing(_) | Readiness::NotObserved | Readiness::Suspended => {
            Answer::Working(phase(&status.conditions))
        }
    }
}

/// The revision that an object holds.
pub fn revision(kind: &str, live: &Live) -> String {
    let status = &live.status;
    match kind {
        "Kustomization" => status.last_applied_revision.clone(),
        "HelmRelease" => {
            let deployed = status.history.first().map(|h| h.chart_version.clone());
            deployed.unwrap_or_else(|| status.last_attempted_revision.clone())
        }
        _ => status.artifact.as_ref().map(|a| a.revision.clone()).unwrap_or_default(),
    }
}

/// What the controller says that it is doing.
fn phase(conditions: &[Condition]) -> String {
    let at_work = condition(conditions, "Reconciling").filter(|c| c.status == "True");
    let progressing = at_work.filter(|c| c.reason == "Progressing");
    progressing.map(|c| c.message.clone()).unwrap_or_default()
}

fn fault(conditions: &[Condition], failed: &Condition) -> Fault {
    let stalled = condition(conditions, "Stalled").is_some_and(|c| c.status == "True");
    // "Stalled" of a release only says that it gave up; what made it give up is in Ready or Released.
    let ready = condition(conditions, "Ready").filter(|c| c.status == "False");
    let said = match ready {
        Some(ready) if !ready.message.is_empty() && failed.kind == "Stalled" => ready,
        _ => failed,
    };
    let class = Some(classify(said)).filter(|c| *c != Failure::Other);
    let mut message = said.message.clone();
    if failed.kind == "Stalled" && failed.message != said.message && !failed.message.is_empty() {
        message = format!("{message} ({})", failed.message);
    }
    Fault { reason: failed.reason.clone(), message, class, terminal: stalled }
}

impl Fault {
    /// What it means, for people.
    pub fn phrase(&self, kind: &str) -> &'static str {
        let is_source = !matches!(kind, "Kustomization" | "HelmRelease");
        let telling = self.class.filter(|_| is_source || self.is_general());
        match (telling, self.reason.as_str()) {
            (Some(class), _) => class.phrase(),
            (None, "BuildFailed") => "what is in Git cannot be built",
            (None, "HealthCheckFailed") => "it was applied, and what it made is not healthy",
            (None, "ReconciliationFailed") => "the API server refused what is in Git",
            (None, "PruneFailed") => "what was removed from Git could not be removed",
            (None, "ArtifactFailed" | "SourceNotReady") => "it cannot get at what its source fetched",
            (None, "DependencyNotReady") => "what it depends on is not ready",
            (None, "AccessDenied") => "it may not use this source",
            (None, "RetriesExceeded") => "Helm failed as often as it may, and gave up",
            (None, "MissingRollbackTarget") => "there is no release to roll back to",
            (None, "InstallFailed") => "Helm could not install it",
            (None, "UpgradeFailed") => "Helm could not upgrade it",
            (None, "TestFailed") => "the release's tests failed",
            (None, "RollbackSucceeded" | "RollbackFailed") => "the upgrade failed and was rolled back",
            (None, "UninstallSucceeded" | "UninstallFailed") => "the installation failed and was removed",
            _ if kind == "Kustomization" => "kustomize-controller reports a failure",
            _ if kind == "HelmRelease" => "helm-controller reports a failure",
            _ => "source-controller reports a failure",
        }
    }

    /// Whether an applier's reason only says at what it failed, and its class says why.
    fn is_general(&self) -> bool {
        const AT: &[&str] = &[
            "BuildFailed",
            "ReconciliationFailed",
            "PruneFailed",
            "InstallFailed",
            "UpgradeFailed",
            "RetriesExceeded",
        ];
        let says_why =
            !matches!(self.class, None | Some(Failure::Manifest | Failure::WaitTimeout | Failure::Timeout));
        says_why && AT.contains(&self.reason.as_str())
    }

    /// What to do about it, where there is something to say beyond what `verify` says.
    pub fn hint(&self, kind: &str) -> Hint {
        match self.reason.as_str() {
            "RetriesExceeded" => {
                "mend the cause, then --reset clears its count of failures, or --force upgrades once in any case".into()
            }
            "MissingRollbackTarget" => "--force upgrades once in any case".into(),
            "BuildFailed" if !self.is_general() => "`kubectl kustomize` on the same directory of a checkout shows the same".into(),
            "HealthCheckFailed" if kind == "Kustomization" => Hint::verify("names the pods"),
            _ if self.class.is_some_and(Failure::is_credential) => {
                Hint::verify("says which credential, and how to replace it")
            }
            _ => self.class.and_then(Failure::advice).map_or_else(Hint::default, Hint::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const OURS: &str = "2026-11-02T10:00:00.000000001Z";

    fn say(kind: &str, object: Value) -> Answer {
        let live: Live = serde_json::from_value(object).expect("an object");
        answer(kind, &live, OURS)
    }

    fn object(asked: &str, handled: &str, conditions: Value) -> Value {
        json!({
            "metadata": {"generation": 2, "annotations": {"reconcile.fluxcd.io/requestedAt": asked}},
            "status": {"observedGeneration": 2, "lastHandledReconcileAt": handled, "conditions": conditions,
                "lastAppliedRevision": "main@sha1:1", "artifact": {"revision": "main@sha1:2"},
                "lastAttemptedRevision": "2.0.0", "history": [{"chartVersion": "1.0.0"}]},
        })
    }

    fn ready(status: &str, reason: &str, message: &str) -> Value {
        json!([{"type": "Ready", "status": status, "reason": reason, "message": message}])
    }

    #[test]
    fn before_our_token_is_handled_conditions_speak_of_the_past() {
        let old_failure = ready("False", "BuildFailed", "old");
        assert_eq!(say("Kustomization", object(OURS, "before", old_failure)), Answer::Working(String::new()));
        let at_work = json!([
            {"type": "Reconciling", "status": "True", "reason": "Progressing", "message": "Building manifests"},
            {"type": "Ready", "status": "Unknown", "reason": "Progressing"}]);
        let working = Answer::Working("Building manifests".to_owned());
        assert_eq!(say("Kustomization", object(OURS, "before", at_work.clone())), working);
        // helm-controller echoes the token while a release goes on.
        assert_eq!(say("HelmRelease", object(OURS, OURS, at_work)), working);
    }

    #[test]
    fn done_names_the_revision_of_the_kind() {
        for (kind, revision) in
            [("Kustomization", "main@sha1:1"), ("GitRepository", "main@sha1:2"), ("HelmRelease", "1.0.0")]
        {
            let done = object(OURS, OURS, ready("True", "Succeeded", ""));
            assert_eq!(say(kind, done), Answer::Done(revision.to_owned()));
        }
    }

    #[test]
    fn ready_for_an_older_generation_is_not_done() {
        let mut resumed = object(OURS, OURS, ready("True", "Succeeded", ""));
        resumed["metadata"]["generation"] = json!(3);
        assert_eq!(say("GitRepository", resumed), Answer::Working(String::new()));
    }

    #[test]
    fn a_failure_that_is_retried_has_failed() {
        let conditions = json!([
            {"type": "Reconciling", "status": "True", "reason": "ProgressingWithRetry", "message": "again"},
            {"type": "FetchFailed", "status": "True", "reason": "GitOperationFailed", "message": "authentication required"},
            {"type": "Ready", "status": "False", "reason": "GitOperationFailed", "message": "authentication required"}]);
        let Answer::Failed(fault) = say("GitRepository", object(OURS, OURS, conditions)) else {
            panic!("failed")
        };
        assert_eq!((fault.class, fault.terminal), (Some(Failure::CredentialRefused), false));
        assert!(fault.phrase("GitRepository").contains("refused its credential"));
    }

    #[test]
    fn a_release_that_gave_up_says_what_made_it_give_up() {
        let conditions = json!([
            {"type": "Stalled", "status": "True", "reason": "RetriesExceeded", "message": "Failed to upgrade after 1 attempt(s)"},
            {"type": "Ready", "status": "False", "reason": "UpgradeFailed", "message": "timed out waiting"}]);
        let Answer::Failed(fault) = say("HelmRelease", object(OURS, OURS, conditions)) else {
            panic!("failed")
        };
        assert!(fault.terminal);
        assert_eq!(fault.reason, "RetriesExceeded");
        assert_eq!(fault.message, "timed out waiting (Failed to upgrade after 1 attempt(s))");
        assert!(fault.hint("HelmRelease").text(ToString::to_string).contains("--reset"));
    }

    /// Whatever kind it is, the one table of failures tells why; where it says no more than the reason, the reason stays.
    #[test]
    fn the_class_of_every_kind_is_told() {
        for (kind, reason, message, phrase, hint) in [
            (
                "Kustomization",
                "BuildFailed",
                "error decrypting env sources: x",
                "cannot be decrypted",
                "private key",
            ),
            (
                "Kustomization",
                "BuildFailed",
                "Secret/a/b is SOPS encrypted, configuring decryption is required",
                "no decryption is configured",
                "spec.decryption",
            ),
            (
                "Kustomization",
                "ReconciliationFailed",
                "X/a/b dry-run failed: no matches for kind \"X\" in version \"y/v1\"",
                "does not serve this kind",
                "CustomResourceDefinition",
            ),
            (
                "Kustomization",
                "ReconciliationFailed",
                "failed calling webhook \"w\": EOF",
                "webhook cannot be called",
                "Service behind the webhook",
            ),
            (
                "Kustomization",
                "ReconciliationFailed",
                "Job/a/b dry-run failed: spec.template: field is immutable",
                "immutable field",
                "take the change back",
            ),
            (
                "Kustomization",
                "ReconciliationFailed",
                "x is forbidden: User \"system:serviceaccount:a:b\" cannot patch",
                "RBAC permission",
                "grant",
            ),
            (
                "Kustomization",
                "BuildFailed",
                "kustomize build failed: x",
                "cannot be built",
                "kubectl kustomize",
            ),
            (
                "Kustomization",
                "HealthCheckFailed",
                "health check failed after 30s",
                "is not healthy",
                "names the pods",
            ),
            ("HelmRelease", "InstallFailed", "exceeded quota: compute", "quota is exceeded", "ResourceQuota"),
            ("HelmRelease", "UpgradeFailed", "timed out waiting for the condition", "could not upgrade", ""),
            (
                "HelmRelease",
                "UpgradeFailed",
                "admission webhook \"p\" denied the request: no",
                "policy denied",
                "policy",
            ),
            (
                "HelmRelease",
                "RetriesExceeded",
                "dial tcp: lookup h: no such host",
                "does not resolve",
                "--reset",
            ),
            ("Bucket", "BucketOperationFailed", "no space left on device", "volume is full", "free space"),
        ] {
            let Answer::Failed(fault) = say(kind, object(OURS, OURS, ready("False", reason, message))) else {
                panic!("{message}")
            };
            assert!(fault.phrase(kind).contains(phrase), "{message}: {}", fault.phrase(kind));
            let said = fault.hint(kind).text(ToString::to_string);
            assert!(said.contains(hint) && said.is_empty() == hint.is_empty(), "{message}: {said}");
        }
    }

    #[test]
    fn another_request_neither_satisfies_nor_breaks_ours() {
        let fine = || ready("True", "Succeeded", "");
        assert_eq!(say("Kustomization", object("theirs", "before", fine())), Answer::Working(String::new()));
        assert_eq!(say("Kustomization", object("theirs", "theirs", fine())), Answer::Overwritten);
        // Ours was handled, and theirs came behind it.
        assert!(matches!(say("Kustomization", object("theirs", OURS, fine())), Answer::Done(_)));
        let mut removed = object("", "before", fine());
        removed["metadata"]["annotations"] = json!({});
        assert_eq!(say("Kustomization", removed), Answer::Overwritten);
    }

    #[test]
    fn suspension_and_deletion_come_before_everything() {
        let mut suspended = object(OURS, OURS, ready("True", "Succeeded", ""));
        suspended["spec"] = json!({"suspend": true});
        assert_eq!(say("GitRepository", suspended.clone()), Answer::Suspended);
        suspended["metadata"]["deletionTimestamp"] = json!("2026-11-02T10:00:00Z");
        assert_eq!(say("GitRepository", suspended), Answer::Deleted);
    }

    #[test]
    fn waiting_and_cancelled_health_checks_are_no_failures() {
        let waits = object(OURS, OURS, ready("False", "DependencyNotReady", "dependency 'a/b' is not ready"));
        let said = "dependency 'a/b' is not ready".to_owned();
        assert_eq!(say("Kustomization", waits), Answer::Waiting("DependencyNotReady".to_owned(), said));
        let cancelled = object(OURS, OURS, ready("False", "HealthCheckCanceled", "new revision"));
        assert_eq!(say("Kustomization", cancelled), Answer::Working(String::new()));
    }
}
