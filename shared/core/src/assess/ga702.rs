//! GA702: what failing objects refer to exists, and whatever creates it reports no error.

use std::collections::BTreeSet;

use super::ending::others;
use super::{Check, Finding, Impact, Judgement, Remedy, Severity, workload};
use super::remedy::unread_creators;
use crate::command::{Program, kubectl};
use crate::facts::failure::{Failing, FailureKey, read};
use crate::facts::job::FailedJob;
use crate::facts::node::Sign;
use crate::facts::reference::Missing;
use crate::facts::{Facts, Meta, Observed, Referenced, ReferencedEntry, Why, WhyKind};
use crate::object::ObjectRef;
use crate::text::age;

pub(super) static CHECK: Check = Check {
    code: 702,
    slug: "reference-missing",
    title: "everything that workloads and Flux objects reference exists",
    severity: Severity::Error,
    impact: Impact::Workloads,
    needs: workload::DEPLOYED,
    page: include_str!("../../../../docs/checks/GA702.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    judgement.skip("no workload, Kustomization or HelmRelease references anything");
    let s = facts.snapshot;
    judgement.examined += workload::deployed(facts, judgement);
    // Events may be in no role; what did not come whole for another reason is a gap.
    s.warnings.gaps.iter().filter(|why| counts(why)).for_each(|why| judgement.lacks(why.clone()));
    judgement.findings.extend(others(facts));
    judgement.findings.extend(facts.lost.nodes().into_iter().map(|(node, workloads)| lost(node, &workloads)));
    judgement.findings.extend(facts.failed_jobs.iter().map(|(job, failed)| job_failed(facts, job, failed)));
    for entry in s.referenced.iter().filter(|entry| entry.kind != "Job") {
        if let Some(finding) = failed(entry) {
            judgement.find(finding);
        }
    }
    for namespace in &s.namespace_objects.items {
        judgement.findings.extend(ending(facts, &namespace.metadata));
    }
    if facts.missing.found.is_empty() {
        return Ok(());
    }
    let (others, owners) = (of_other_checks(facts), facts.owners());
    for (object, missing) in facts.missing.found.iter().filter(|(object, _)| !others.contains(object)) {
        judgement.find(absent(facts, object, missing, owners.get(object)));
    }
    Ok(())
}

fn counts(why: &Why) -> bool {
    why.kind != WhyKind::Forbidden && !why.kind.is_a_choice()
}

/// A node that does not answer: what ran there is lost, and is not replaced while it may still run.
fn lost(node: &ObjectRef, workloads: &[(&ObjectRef, &Sign)]) -> Finding {
    let named: Vec<String> = workloads.iter().take(3).map(|(workload, _)| workload.to_string()).collect();
    let more = workloads.len().saturating_sub(named.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let verb = if workloads.len() == 1 { "lacks" } else { "lack" };
    let message = format!("does not answer: {}{more} {verb} pods that run there", named.join(", "));
    let text = "see why its kubelet does not answer (machine, network, disk), and start it again; where the machine is off for \
                good, delete its Node object: Kubernetes then replaces the pods and frees their volumes";
    let remedy = Remedy::say(text).run(Program::new("kubectl describe node").name(&node.name));
    let signs = workloads.iter().take(3).map(|(_, sign)| format!("{}: {} ({})", sign.pod, sign.said, sign.reason));
    signs.fold(Finding::new(node.clone(), message, remedy), Finding::because)
}

/// A Job that failed: its pods' last words say why.
fn job_failed(facts: &Facts<'_>, job: &ObjectRef, failed: &FailedJob) -> Finding {
    let logs = |text| Remedy::say(text).run(kubectl(&job.namespace, "logs").object(job).words("--all-containers --tail=50"));
    let remedy = match facts.owners().get(job).filter(|owner| owner.kind == "Kustomization") {
        Some(owner) => logs("read why its pods end, and mend that; then delete the Job, so that Flux makes it again")
            .run(kubectl(&job.namespace, "delete").object(job))
            .reconcile(owner),
        None => logs("read why its pods end, and mend that; then have the release that runs it tried again"),
    };
    let words = failed.pod.as_ref().map(|(pod, words)| format!("{pod}: {words}")).unwrap_or_default();
    let said = failed.pod.as_ref().map_or(failed.said.as_str(), |(_, words)| words);
    let key = FailureKey::of(read(said), said, &Failing { namespace: &job.namespace, ..Failing::default() });
    let message = format!("failed ({})", failed.reason);
    Finding::new(job.clone(), message, remedy).failure(key).because(words).because(&failed.said)
}

/// A namespace that is being deleted, while Flux still deploys to it.
fn ending(facts: &Facts<'_>, namespace: &Meta) -> Option<Finding> {
    let since = namespace.deletion_timestamp?;
    let name = namespace.name.as_str();
    let (_, needed) = facts.owners().iter().find(|(object, _)| {
        object.namespace == name || (object.kind == "Namespace" && object.name == name)
    })?;
    let message = format!(
        "is being deleted for {}: nothing can be created in it, and {needed} deploys to it",
        age(facts.now, since)
    );
    let text = "see in its conditions what keeps it: finalizers of objects whose controller is gone, or an API that does not \
                answer; mend that (or remove the finalizer from the object that is named). Flux then creates it again; where \
                it was deleted on purpose, take it out of Git";
    let show = Program::new("kubectl get namespace").name(name).words("-o").word("jsonpath={.status.conditions}");
    let object = ObjectRef::new("Namespace", "", name);
    Some(Finding::new(object, message, Remedy::say(text).run(show)))
}

/// The chart's sources of agents (GA302), token Secrets of agents (GA304, GA305), credentials of sources (GA501) and of notifications (GA505, GA411).
fn of_other_checks(facts: &Facts<'_>) -> BTreeSet<ObjectRef> {
    let s = facts.snapshot;
    let own = |namespace: &str, name: &str| ObjectRef::new("Secret", namespace, name);
    let agents = facts.agents.iter().filter_map(|a| a.secret_object());
    let named = crate::facts::token_secret::named(s).map(|named| named.object);
    let sources = facts.source_kinds().into_iter().flat_map(|(_, listing)| &listing.items);
    let sources = sources.filter_map(|i| Some(own(&i.metadata.namespace, &i.spec.secret_ref.as_ref()?.name)));
    let receivers = s.receivers.items.iter().map(|r| own(&r.metadata.namespace, &r.spec.secret_ref.name));
    let charts = facts.agents.iter().filter_map(|agent| agent.release).flat_map(super::release::sources);
    agents.chain(named).chain(sources).chain(receivers).chain(charts).collect()
}

fn absent(facts: &Facts<'_>, object: &ObjectRef, missing: &Missing, owner: Option<&ObjectRef>) -> Finding {
    let users: Vec<String> = missing.needed_by.iter().take(3).map(ToString::to_string).collect();
    let more = missing.needed_by.len().saturating_sub(users.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let users = format!("{}{more}", users.join(", "));
    let message = match &missing.key {
        Some(key) => format!("lacks the key {key}, which {users} needs"),
        None => format!("does not exist, and {users} needs it"),
    };
    let finding = Finding::new(object.clone(), message, mend(facts, object, missing, owner));
    let finding = finding.because(missing.said.clone().unwrap_or_default());
    unread_creators(facts, object).fold(finding, |finding, entry| match entry.name.as_str() {
        "" => finding.because(format!("{}s of the namespace, of which one may create it, could not be listed", entry.kind)),
        _ => finding.because(format!("{}, which may create it, could not be read", entry.object())),
    })
}

fn is_suspended(facts: &Facts<'_>, owner: &ObjectRef) -> bool {
    let s = facts.snapshot;
    let (namespace, name) = (&owner.namespace, &owner.name);
    match owner.kind.as_str() {
        "Kustomization" => s.kustomizations.find(namespace, name).ok().flatten().is_some_and(|k| k.spec.suspend),
        _ => s.helm_releases.find(namespace, name).ok().flatten().is_some_and(|r| r.spec.suspend),
    }
}

fn mend(facts: &Facts<'_>, object: &ObjectRef, missing: &Missing, owner: Option<&ObjectRef>) -> Remedy {
    if unread_creators(facts, object).any(|entry| !entry.name.is_empty())
        && let Some(remedy) = Remedy::of_creator(facts, object)
    {
        return remedy;
    }
    if let Some(owner) = owner.filter(|owner| is_suspended(facts, owner)) {
        let text = format!("resume {owner}, which applies it and is suspended; first ask who suspended it, and why");
        return Remedy::say(text).resume(owner);
    }
    if let Some(remedy) = Remedy::of_creator(facts, object) {
        return remedy;
    }
    if let Some(owner) = owner {
        let text = format!("have {owner} apply it again; if it was deleted on purpose, remove the reference in Git");
        let remedy = Remedy::say(text);
        return if owner.kind == "HelmRelease" { remedy.force_release(owner) } else { remedy.reconcile(owner) };
    }
    let users: Vec<String> = missing.needed_by.iter().take(3).map(ToString::to_string).collect();
    let users = users.join(", ");
    let text = match (&missing.key, object.kind.as_str()) {
        (Some(key), _) => format!("add the key {key} to it in Git, or correct the key that {users} references"),
        (None, "Secret" | "ConfigMap") => {
            let first = unread_creators(facts, object).next().map(resource);
            let first = first.map(|kind| format!("see first whether something creates it (`kubectl get {kind}`); otherwise "));
            format!("{}add it to Git (a Secret encrypted), or correct the name that {users} references", first.unwrap_or_default())
        }
        (None, _) => format!("create it, or correct the name that {users} references"),
    };
    Remedy::say(text).run(kubectl(&object.namespace, "get").operand(&object.kind.to_lowercase()))
}

/// An object that creates others, or that something waited for, and whose controller reports an error.
fn failed(entry: &ReferencedEntry) -> Option<Finding> {
    let Observed::Known(Some(referenced)) = &entry.state else { return None };
    let condition = referenced.failure()?;
    let object = entry.object();
    let creates = created(referenced, entry);
    let reason = if condition.reason.is_empty() { &condition.kind } else { &condition.reason };
    let message = format!("reports an error ({reason}){creates}");
    let remedy = Remedy::say(
        "fix what its condition says (its store, key, issuer or path); it then creates the object again: one that is \
         created by hand is overwritten",
    )
    .run(kubectl(&object.namespace, "describe").operand(&resource(entry)).name(&entry.name));
    let key = FailureKey::of(read(&condition.message), &condition.message, &Failing::default());
    Some(Finding::new(object, message, remedy).failure(key).because(&condition.message))
}

/// Its resource with its group: other groups have kinds of the same name.
fn resource(entry: &ReferencedEntry) -> String {
    let kind = entry.kind.to_lowercase();
    if entry.group.is_empty() { kind } else { format!("{kind}.{}", entry.group) }
}

fn created(referenced: &Referenced, entry: &ReferencedEntry) -> String {
    match referenced.creates.as_slice() {
        [] => String::new(),
        [name, ..] if entry.namespace.is_empty() => format!(", so {name} is not created"),
        [name, ..] => format!(", so Secret {}/{name} is not created", entry.namespace),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::fixture;
    use crate::snapshot::{SecretEntry, Snapshot};

    /// nginx is down and mounts the Secret `db`, which does not exist.
    fn no_secret(s: &mut Snapshot) {
        let nginx = fixture::deployment_mut(s, "nginx");
        nginx.status.ready_replicas = 0;
        nginx.spec.template.spec.volumes =
            serde_json::from_value(json!([{"name": "db", "secret": {"secretName": "db"}}])).expect("volumes");
        let (namespace, name) = ("example-nginx".to_owned(), "db".to_owned());
        s.secrets.push(SecretEntry { namespace, name, shape: Observed::Known(None) });
    }

    fn creator(s: &mut Snapshot, state: Observed<Option<Referenced>>) {
        let [group, kind, namespace, name] =
            ["external-secrets.io", "ExternalSecret", "example-nginx", "db"].map(str::to_owned);
        s.referenced.push(ReferencedEntry { group, kind, namespace, name, state });
    }

    #[test]
    fn a_missing_secret_is_found_with_what_needs_it() {
        let found = finding(&CHECK, no_secret);
        assert_eq!(found.subject.to_string(), "Secret example-nginx/db");
        assert_eq!(found.message, "does not exist, and Deployment example-nginx/nginx needs it");
        assert!(found.remedy.text.starts_with("add it to Git"), "{}", found.remedy.text);
    }

    #[test]
    fn a_creator_that_fails_is_found_and_one_that_was_not_read_is_named() {
        let failing = json!({"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "SecretSyncedError", "message": "denied"}]}});
        let failed = after(&CHECK, |s| {
            no_secret(s);
            creator(s, Observed::Known(Some(Referenced::of("ExternalSecret", &failing))));
        });
        assert_eq!(failed.findings[0].subject.to_string(), "ExternalSecret example-nginx/db");
        assert_eq!(failed.findings[0].evidence, ["denied"]);
        let unread = finding(&CHECK, |s| {
            no_secret(s);
            let why = Why::new(WhyKind::Forbidden, "get externalsecrets example-nginx/db", "no");
            creator(s, Observed::Unknown(why));
        });
        assert!(unread.remedy.text.contains("do not create it by hand"), "{}", unread.remedy.text);
        assert_eq!(unread.evidence, ["ExternalSecret example-nginx/db, which may create it, could not be read"]);
    }

    #[test]
    fn what_runs_needs_nothing_that_is_missing() {
        passes(&CHECK, |s| {
            no_secret(s);
            fixture::deployment_mut(s, "nginx").status.ready_replicas = 2;
        });
        let none = after(&CHECK, |s| {
            s.kustomizations.items.clear();
            s.helm_releases.items.clear();
            s.deployments.items.clear();
        });
        assert_eq!(none.verdict(), Verdict::Skipped);
    }
}
