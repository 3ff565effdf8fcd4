//! GA606: the last upgrade of agentk's release did not fail.

use super::release::{failure, mend};
use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::command::kubectl;
use crate::facts::{Facts, Why};
use crate::need::Need;

pub(super) static CHECK: Check = Check {
    code: 606,
    slug: "upgrade-failed",
    title: "the last upgrade of agentk's release neither failed nor was rolled back",
    severity: Severity::Error,
    impact: Impact::Delivery,
    needs: &[Need::HelmReleases],
    page: include_str!("../../../../docs/checks/GA606.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    judgement.skip("no HelmRelease installs agentk");
    judgement.each(&facts.snapshot.helm_releases);
    for release in facts.agent_releases() {
        judgement.examine();
        let Some((what, evidence)) = failure(release) else { continue };
        let object = release.metadata.object("HelmRelease");
        let text = format!("{}; then have the release forget its failures and try again", mend(&evidence));
        let remedy = Remedy::say(text)
            .run(kubectl(&object.namespace, "describe").object(&object))
            .reset(&object);
        judgement.find(Finding::new(object, what, remedy).because(evidence));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::Condition;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn says(s: &mut Snapshot, kind: &str, status: &str, reason: &str, message: &str) {
        let of = &mut s.helm_releases.items[0].status;
        of.last_attempted_revision = "2.30.0".to_owned();
        of.last_attempted_release_action = "upgrade".to_owned();
        let [kind, status, reason, message] = [kind, status, reason, message].map(str::to_owned);
        of.conditions.push(Condition { kind, status, reason, message, ..Condition::default() });
    }

    #[test]
    fn a_failed_upgrade_is_found() {
        let found = finding(&CHECK, |s| {
            says(s, "Released", "False", "UpgradeFailed", "Helm upgrade failed: spec.replicas is negative");
            s.helm_releases.items[0].status.failures = 3;
        });
        assert_eq!(
            found.message,
            "failed in its last upgrade (chart 2.30.0, 3 times): UpgradeFailed; chart 2.29.1 runs on"
        );
        assert_eq!(found.evidence, ["Helm upgrade failed: spec.replicas is negative"]);
        assert!(found.remedy.lines()[1].contains("reconcile.fluxcd.io/resetAt"), "{:?}", found.remedy);
    }

    #[test]
    fn a_helm_that_is_too_old_for_the_chart_is_told() {
        let said = "Helm upgrade failed: parse error at (gitlab-agent/templates/observability-secret.yaml:1): unclosed action";
        let found = finding(&CHECK, |s| says(s, "Released", "False", "UpgradeFailed", said));
        assert!(found.remedy.text.starts_with("this chart needs a newer Helm"), "{}", found.remedy.text);
    }

    #[test]
    fn a_rollback_is_found_also_when_it_failed() {
        let back = finding(&CHECK, |s| {
            says(s, "Released", "False", "UpgradeFailed", "Helm upgrade failed: timed out");
            says(s, "Remediated", "True", "RollbackSucceeded", "Helm rollback to v1 succeeded");
        });
        assert_eq!(
            back.message,
            "failed in its last upgrade (chart 2.30.0) and was rolled back; chart 2.29.1 runs on"
        );
        assert_eq!(back.evidence, ["Helm upgrade failed: timed out"]);
        let failed = finding(&CHECK, |s| says(s, "Remediated", "False", "RollbackFailed", "no revision"));
        assert!(
            failed.message.ends_with("and the rollback failed too (RollbackFailed)"),
            "{}",
            failed.message
        );
        let out = finding(&CHECK, |s| says(s, "Remediated", "True", "UninstallSucceeded", "gone"));
        assert!(out.message.contains("was taken out again"), "{}", out.message);
    }

    #[test]
    fn helms_history_tells_where_conditions_do_not() {
        let found = finding(&CHECK, |s| {
            let status = &mut s.helm_releases.items[0].status;
            status.conditions = fixture::not_ready("Failed", "another operation is in progress");
            status.history[0].status = "pending-upgrade".to_owned();
        });
        assert_eq!(found.message, "stands at pending-upgrade with chart 2.29.1 in Helm's history");
        assert_eq!(found.evidence, ["another operation is in progress"]);
    }

    #[test]
    fn what_runs_after_a_failed_attempt_is_told_by_the_history() {
        let made = |version: &str, status: &str| crate::facts::HelmSnapshot {
            chart_version: version.to_owned(),
            status: status.to_owned(),
            ..Default::default()
        };
        for (history, remediated, end) in [
            (vec![made("2.30.0", "failed"), made("2.29.1", "deployed")], None, "its objects are of that attempt (chart 2.30.0), the last good chart was 2.29.1"),
            (vec![made("2.30.0", "failed")], None, "its objects are of that attempt (chart 2.30.0)"),
            (vec![made("2.29.1", "deployed"), made("2.30.0", "failed")], Some("RollbackSucceeded"), "was rolled back; chart 2.29.1 runs on"),
            (vec![made("2.30.0", "uninstalled")], Some("UninstallSucceeded"), "was taken out again"),
            (vec![], None, "UpgradeFailed"),
        ] {
            let found = finding(&CHECK, |s| {
                says(s, "Released", "False", "UpgradeFailed", "Helm upgrade failed: timed out");
                if let Some(reason) = remediated {
                    says(s, "Remediated", "True", reason, "x");
                }
                s.helm_releases.items[0].status.history = history;
            });
            assert!(found.message.ends_with(end), "{end}: {}", found.message);
        }
    }

    #[test]
    fn a_success_and_an_upgrade_under_way_are_fine() {
        passes(&CHECK, |s| says(s, "Released", "True", "UpgradeSucceeded", "Helm upgrade succeeded"));
        passes(&CHECK, |s| s.helm_releases.items[0].status.history[0].status = "pending-upgrade".to_owned());
        assert_eq!(after(&CHECK, |s| s.helm_releases.items.clear()).verdict(), Verdict::Skipped);
    }
}
