//! GA701: what Kustomizations and HelmReleases deployed is running.

use super::workload::unwell;
use super::{Check, Finding, Impact, Judgement, Remedy, Severity, workload};
use crate::facts::flux::CONTROLLERS;
use crate::facts::{Facts, Listing, Why, Workload};
use crate::object::ObjectRef;

pub(super) static CHECK: Check = Check {
    code: 701,
    slug: "workload-not-running",
    title: "what Flux deployed is running",
    severity: Severity::Error,
    impact: Impact::Workloads,
    needs: workload::DEPLOYED,
    page: include_str!("../../../../docs/checks/GA701.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    judgement.skip("no Kustomization or HelmRelease deployed a workload here");
    workload::deployed(facts, judgement);
    let failing = facts.failing_appliers();
    for (object, owner) in facts.applied_workloads() {
        if has_its_own_check(facts, &object) {
            continue;
        }
        let Some(listing) = listing(facts, &object.kind) else { continue };
        let Some(found) = judgement.known(listing.find(&object.namespace, &object.name)) else { continue };
        judgement.examine();
        let finding = match found {
            Some(workload) => unwell(facts, judgement, &object, workload),
            None if failing.contains(&owner) => Some(not_made(&object, &owner)),
            None => Some(gone(&object, &owner)),
        };
        judgement.findings.extend(finding.map(|f| f.because(format!("applied by {owner}"))));
    }
    for (object, owner) in facts.gone_of_flux() {
        judgement.examine();
        judgement.find(gone(&object, &owner).impact(Impact::Delivery).because(format!("applied by {owner}")));
    }
    for (object, by) in &facts.called {
        judgement.examine();
        judgement.findings.extend(called(facts, object, by));
    }
    Ok(())
}

/// A workload that Flux did not deploy, and that errors of what it did deploy lead to: a webhook, the cluster's DNS, a database.
fn called(facts: &Facts<'_>, object: &ObjectRef, by: &ObjectRef) -> Option<Finding> {
    let workload = listing(facts, &object.kind)?.find(&object.namespace, &object.name).ok().flatten()?;
    let finding = workload::not_running(facts, object, workload)?;
    Some(finding.because(format!("Flux did not deploy it; errors of {by} lead to it")))
}

fn listing<'s>(facts: &Facts<'s>, kind: &str) -> Option<&'s Listing<Workload>> {
    let s = facts.snapshot;
    match kind {
        "Deployment" => Some(&s.deployments),
        "StatefulSet" => Some(&s.stateful_sets),
        "DaemonSet" => Some(&s.daemon_sets),
        _ => None,
    }
}

/// Flux's controllers (GA202 to GA205) and agentk (GA301, GA303).
fn has_its_own_check(facts: &Facts<'_>, object: &ObjectRef) -> bool {
    let is = |workload: &Workload| workload.metadata.object("Deployment") == *object;
    let flux = || {
        let missing = |name: &str| object.name == name && object.namespace == facts.snapshot.flux_namespace;
        let instances = |name: &str| facts.instances(name).unwrap_or_default().into_iter().any(is);
        CONTROLLERS.iter().any(|(name, _)| missing(name) || instances(name))
    };
    object.kind == "Deployment" && (facts.agents.iter().any(|a| is(a.deployment)) || flux())
}

fn gone(object: &ObjectRef, owner: &ObjectRef) -> Finding {
    let remedy = Remedy::say("have Flux apply it again; if it was deleted on purpose, take it out of Git");
    let remedy = if owner.kind == "HelmRelease" { remedy.force_release(owner) } else { remedy.reconcile(owner) };
    Finding::new(object.clone(), "does not exist any more", remedy)
}

/// What its applier lists, and does not get to apply: it may never have been there.
fn not_made(object: &ObjectRef, owner: &ObjectRef) -> Finding {
    let text = format!("nothing here: it comes with {owner}, once that no longer fails");
    Finding::new(object.clone(), "does not exist", Remedy::say(text))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::{InventoryEntry, Pod, WhyKind};
    use crate::fixture::deployment_mut;
    use crate::snapshot::Snapshot;

    fn nginx(s: &mut Snapshot) -> &mut Workload {
        deployment_mut(s, "nginx")
    }

    fn applied(s: &mut Snapshot, id: &str) {
        let entry = InventoryEntry { id: id.to_owned(), v: "v1".to_owned() };
        s.kustomizations.items[1].status.inventory.entries.push(entry);
    }

    #[test]
    fn a_workload_that_does_not_run_is_found() {
        let found = finding(&CHECK, |s| {
            nginx(s).status.ready_replicas = 1;
            let pod: Pod = serde_json::from_value(serde_json::json!({
                "metadata": {"name": "nginx-1", "namespace": "example-nginx", "labels": {"app": "nginx"}},
                "status": {"containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "ImagePullBackOff",
                    "message": "not found"}}}]}}))
            .expect("a pod");
            s.pods.items.push(pod);
        });
        assert_eq!(found.subject.to_string(), "Deployment example-nginx/nginx");
        assert_eq!(found.message, "has 1 of 2 pods ready (ImagePullBackOff)");
        let pod = "Pod example-nginx/nginx-1: container main: not found";
        assert_eq!(found.evidence, [pod, "applied by Kustomization flux-system/example-nginx-app"]);
        assert_eq!(found.remedy.lines(), ["kubectl -n example-nginx describe pod/nginx-1"]);
    }

    #[test]
    fn a_workload_that_was_deleted_is_found() {
        let gone = finding(&CHECK, |s| s.deployments.items.retain(|d| d.metadata.name != "nginx"));
        assert_eq!(gone.message, "does not exist any more");
        assert!(gone.remedy.lines()[0].contains("kustomization.kustomize.toolkit.fluxcd.io/example-nginx-app"));
        let of_release = finding(&CHECK, |s| {
            let entry = InventoryEntry { id: "gitlab_db_apps_StatefulSet".to_owned(), v: "v1".to_owned() };
            s.helm_releases.items[0].status.inventory.entries.push(entry);
        });
        assert_eq!(of_release.subject.to_string(), "StatefulSet gitlab/db");
        assert!(of_release.remedy.lines()[0].contains("forceAt"), "{:?}", of_release.remedy);
    }

    #[test]
    fn the_other_kinds_are_looked_at() {
        let daemons = |ready: i64| {
            move |s: &mut Snapshot| {
                applied(s, "example-nginx_log_apps_DaemonSet");
                let status = serde_json::json!({"desiredNumberScheduled": 3, "numberReady": ready});
                let metadata = serde_json::json!({"name": "log", "namespace": "example-nginx"});
                let daemon = serde_json::json!({"metadata": metadata, "status": status});
                s.daemon_sets.items.push(serde_json::from_value(daemon).expect("a DaemonSet"));
            }
        };
        let found = finding(&CHECK, daemons(2));
        assert_eq!(found.subject.to_string(), "DaemonSet example-nginx/log");
        assert_eq!(found.message, "has 2 of 3 pods ready");
        passes(&CHECK, daemons(3));
    }

    #[test]
    fn near_misses_pass() {
        passes(&CHECK, |s| {
            nginx(s).spec.replicas = Some(0);
            nginx(s).status.ready_replicas = 0;
        });
        passes(&CHECK, |s| {
            applied(s, "flux-system_source-controller_apps_Deployment");
            deployment_mut(s, "source-controller").status.ready_replicas = 0;
        });
        passes(&CHECK, |s| {
            applied(s, "flux-system_helm-controller_apps_Deployment");
            s.deployments.items.retain(|d| d.metadata.name != "helm-controller");
        });
        passes(&CHECK, |s| deployment_mut(s, "gitlab-agent-v2").status.ready_replicas = 0);
    }

    #[test]
    fn what_was_not_listed_is_unknown() {
        let limited = after(&CHECK, |s| s.deployments.namespaces = Some(vec!["gitlab".to_owned()]));
        assert_eq!(limited.verdict(), Verdict::Pass, "what was seen counts");
        let denied = after(&CHECK, |s| {
            let why = Why::new(WhyKind::Forbidden, "list deployments in example-nginx", "no");
            s.deployments.namespaces = Some(vec!["gitlab".to_owned()]);
            s.deployments.gaps.push(why);
            s.deployments.items.retain(|d| d.metadata.name != "nginx");
        });
        assert_eq!(denied.verdict(), Verdict::Unknown);
        let none = after(&CHECK, |s| s.kustomizations.items.clear());
        assert_eq!(none.verdict(), Verdict::Skipped);
    }
}
