//! What the last attempt of a HelmRelease came to, and what runs now: shared by the checks of releases.

use super::Remedy;
use crate::facts::chart::deployed;
use crate::facts::{Facts, HelmRelease, condition};
use crate::object::ObjectRef;
use crate::text::count;

/// What failed, as a verb phrase, and what Helm says of it.
pub(super) fn failure(release: &HelmRelease) -> Option<(String, String)> {
    let status = &release.status;
    let tried = status.last_attempted_revision.as_str();
    let action = match status.last_attempted_release_action.as_str() {
        "" => "release",
        action => action,
    };
    let still = runs_now(release);
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

/// What the cluster holds of the release, as the end of a sentence. An attempt that failed and was not taken back has
/// left its objects: the chart that was deployed before it no longer runs as it was.
fn runs_now(release: &HelmRelease) -> String {
    let Some(newest) = release.status.history.first() else { return String::new() };
    let good = deployed(release).filter(|made| made.status == "deployed");
    match (newest.status.as_str(), good) {
        ("failed", Some(good)) => format!(
            "; its objects are of that attempt (chart {}), the last good chart was {}",
            newest.chart_version, good.chart_version
        ),
        ("failed", None) => format!("; its objects are of that attempt (chart {})", newest.chart_version),
        (_, Some(good)) => format!("; chart {} runs on", good.chart_version),
        _ => String::new(),
    }
}

/// What to do about what Helm says.
pub(super) fn mend(evidence: &str) -> &'static str {
    // GitLab, "Troubleshooting the GitLab agent for Kubernetes": the Helm is too old for the chart.
    if evidence.contains("unclosed action") {
        return "this chart needs a newer Helm than helm-controller has: upgrade Flux, or go back in Git to the chart \
                version before";
    }
    "mend what Helm says, in the values or the version in Git (or revert the commit that brought it), and push"
}

/// The remedy of a release that failed.
pub(super) fn retry(facts: &Facts<'_>, object: &ObjectRef, text: &str) -> Remedy {
    Remedy::in_git(facts, object, text).reset(object)
}
/// Repository and chart of a release, as far as it names them.
pub(super) fn sources(release: &HelmRelease) -> Vec<ObjectRef> {
    let own = &release.metadata.namespace;
    let inline = release.spec.chart.as_ref().map(|chart| Facts::resolve(&chart.spec.source_ref, own));
    let chart = match (&release.spec.chart_ref, release.status.helm_chart.split_once('/')) {
        (Some(chart), _) => Some(Facts::resolve(chart, own)),
        (None, Some((namespace, name))) => Some(ObjectRef::new("HelmChart", namespace, name)),
        (None, None) => None,
    };
    inline.into_iter().chain(chart).collect()
}
