//! GA606: the last upgrade of agentk's release did not fail.

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::chart::deployed;
use crate::facts::{Facts, HelmRelease, Why, condition};
use crate::need::Need;
use crate::text::count;

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
            .kubectl(&object.namespace, format!("describe {}", object.kubectl()))
            .reset(&object);
        judgement.find(Finding::new(object, what, remedy).because(evidence));
    }
    Ok(())
}

/// What to do about what Helm says.
fn mend(evidence: &str) -> &'static str {
    // GitLab, "Troubleshooting the GitLab agent for Kubernetes": the Helm is too old for the chart.
    if evidence.contains("unclosed action") {
        return "this chart needs a newer Helm than helm-controller has: upgrade Flux, or go back in Git to the chart \
                version before";
    }
    "mend what Helm says, in the values or the version in Git (or revert the commit that brought it), and push"
}

/// What failed, as a verb phrase, and what Helm says of it.
fn failure(release: &HelmRelease) -> Option<(String, String)> {
    let status = &release.status;
    let tried = status.last_attempted_revision.as_str();
    let action = match status.last_attempted_release_action.as_str() {
        "" => "release",
        action => action,
    };
    let runs =
        deployed(release).filter(|made| made.status == "deployed").map(|made| made.chart_version.as_str());
    let still = runs.map(|chart| format!("; chart {chart} runs on")).unwrap_or_default();
    let says =
        |kind: &str, status: &str| condition(&release.status.conditions, kind).filter(|c| c.status == status);
    let evidence = says("Released", "False").map(|c| c.message.clone()).unwrap_or_default();
    if let Some(remediated) = says("Remediated", "False") {
        let what = format!(
            "failed in its last {action} (chart {tried}), and the rollback failed too ({})",
            remediated.reason
        );
        return Some((what, remediated.message.clone()));
    }
    if let Some(remediated) = says("Remediated", "True") {
        let done =
            if remediated.reason.starts_with("Rollback") { "was rolled back" } else { "was taken out again" };
        let evidence = if evidence.is_empty() { remediated.message.clone() } else { evidence };
        return Some((format!("failed in its last {action} (chart {tried}) and {done}{still}"), evidence));
    }
    if let Some(released) = says("Released", "False") {
        let times = match status.failures {
            0 | 1 => String::new(),
            more => format!(", {}", count(usize::try_from(more).unwrap_or_default(), "time")),
        };
        let what = format!("failed in its last {action} (chart {tried}{times}): {}{still}", released.reason);
        return Some((what, released.message.clone()));
    }
    let newest = status.history.first()?;
    let ready = says("Ready", "True").is_some();
    let hangs = newest.status.starts_with("pending") && says("Ready", "False").is_some();
    (hangs || (newest.status == "failed" && !ready)).then(|| {
        let what = format!(
            "stands at {} with chart {} in Helm's history{still}",
            newest.status, newest.chart_version
        );
        (what, says("Ready", "False").map(|c| c.message.clone()).unwrap_or_default())
    })
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
        assert!(found.remedy.commands[1].contains("reconcile.fluxcd.io/resetAt"), "{:?}", found.remedy);
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
    fn a_success_and_an_upgrade_under_way_are_fine() {
        passes(&CHECK, |s| says(s, "Released", "True", "UpgradeSucceeded", "Helm upgrade succeeded"));
        passes(&CHECK, |s| s.helm_releases.items[0].status.history[0].status = "pending-upgrade".to_owned());
        assert_eq!(after(&CHECK, |s| s.helm_releases.items.clear()).verdict(), Verdict::Skipped);
    }
}
