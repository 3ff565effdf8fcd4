//! The workloads behind what errors name: a Service of this cluster by its DNS name, and the cluster's DNS where nothing
//! resolves.

use std::collections::{BTreeMap, BTreeSet};

use super::Snapshot;
use super::reference::{Missings, ours, workloads};
use super::said;
use super::waits::{Edge, said_by};
use crate::object::ObjectRef;
use crate::snapshot::kinds::Workload;

/// From each object to the workloads behind what its errors name. `unresolved` are those beside workloads and appliers whose
/// resolver fails.
pub(super) fn edges(s: &Snapshot, missing: &Missings, unresolved: &[ObjectRef]) -> Vec<Edge> {
    let mut edges = of_services(s, missing);
    let deaf: BTreeSet<&ObjectRef> = unresolved.iter().chain(&missing.unresolved).collect();
    if !deaf.is_empty() {
        let dns: Vec<ObjectRef> = workloads(s)
            .filter(|(kind, w)| is_dns(kind, w))
            .map(|(kind, w)| w.metadata.object(kind))
            .collect();
        let from = deaf.into_iter().flat_map(|by| dns.iter().map(move |dns| (by.clone(), dns.clone())));
        edges.extend(from.filter(|(by, dns)| by != dns));
    }
    edges
}

/// Those of the workloads that run no pod and that Flux did not deploy, each with what names it. Those that it did are judged
/// anyway.
pub(super) fn down(s: &Snapshot, edges: &[Edge]) -> BTreeMap<ObjectRef, ObjectRef> {
    if edges.is_empty() {
        return BTreeMap::new();
    }
    let ours = ours(s);
    let is_down = |kind: &str, w: &Workload| {
        let (desired, ready) = w.readiness(kind);
        desired > 0 && ready == 0
    };
    let down = workloads(s).filter(|(kind, w)| is_down(kind, w)).map(|(kind, w)| w.metadata.object(kind));
    let down: BTreeSet<ObjectRef> = down.filter(|object| !ours.contains(object)).collect();
    edges.iter().filter(|(_, to)| down.contains(to)).map(|(by, to)| (to.clone(), by.clone())).collect()
}

/// The workloads that answer for the cluster's DNS: Kubernetes' addon by its label or name, and OpenShift's.
fn is_dns(kind: &str, w: &Workload) -> bool {
    let meta = &w.metadata;
    match meta.namespace.as_str() {
        "kube-system" => {
            meta.label("k8s-app") == Some("kube-dns")
                || meta.name.contains("coredns")
                || meta.name == "kube-dns"
        }
        "openshift-dns" => kind == "DaemonSet" && meta.name == "dns-default",
        _ => false,
    }
}

/// What names a Service of this cluster in its errors needs the workloads behind it: those of its name, and behind an
/// admission webhook's Service, which may have any name, those of its namespace.
fn of_services(s: &Snapshot, missing: &Missings) -> Vec<Edge> {
    let mut calls: BTreeSet<(ObjectRef, ObjectRef)> = missing.calls.clone();
    for (owner, _, elsewhere) in super::inventories(s) {
        for text in said_by(s, &owner).filter(|_| !elsewhere) {
            let services = said::services(text, &owner.namespace).into_iter();
            calls.extend(services.map(|service| (owner.clone(), service)));
        }
    }
    let named_in: BTreeSet<&str> = calls.iter().map(|(_, service)| service.namespace.as_str()).collect();
    let mut behind: BTreeMap<&str, Vec<ObjectRef>> = BTreeMap::new();
    for (kind, w) in workloads(s) {
        if let Some(of) = named_in.get(w.metadata.namespace.as_str()) {
            behind.entry(of).or_default().push(w.metadata.object(kind));
        }
    }
    let mut edges = Vec::new();
    for (by, service) in &calls {
        let all = behind.get(service.namespace.as_str()).into_iter().flatten().filter(|w| *w != by);
        let named: Vec<&ObjectRef> = all.clone().filter(|w| is_behind(&w.name, &service.name)).collect();
        let any = named.is_empty() && service.namespace != by.namespace;
        let found = if any { all.collect() } else { named };
        edges.extend(found.into_iter().map(|w| (by.clone(), w.clone())));
    }
    edges
}

/// Whether a workload's name is that of a Service, or begins with it, or the other way round: `db`, `db-primary`.
fn is_behind(workload: &str, service: &str) -> bool {
    let begins = |long: &str, short: &str| {
        long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    begins(workload, service) || begins(service, workload)
}
