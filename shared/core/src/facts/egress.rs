//! Network failures that a NetworkPolicy of the pod's own namespace explains.

use super::failure::{Failure, classify, read};
use super::flux::Instances;
use super::network::{End, shut_in};
use crate::object::ObjectRef;
use crate::snapshot::Snapshot;
use crate::snapshot::kinds::{Source, Workload, condition};

/// DNS's port.
const DNS: i64 = 53;
/// The port that most hosts are asked at; where another one is meant, what lets nothing out is found all the same.
const HTTPS: i64 = 443;

/// The policies that keep a workload from what its failure shows that it cannot reach. Only what nobody answers is explained: a
/// policy drops packets, and refuses none.
pub fn shut(s: &Snapshot, workload: &Workload, failure: Failure) -> Vec<ObjectRef> {
    let port = match failure {
        Failure::Resolver | Failure::NameNotFound => DNS,
        failure if failure.is_time() || failure == Failure::NoRoute => HTTPS,
        _ => return Vec::new(),
    };
    let here =
        End { namespace: &workload.metadata.namespace, labels: &workload.spec.template.metadata.labels };
    s.network_policies
        .in_namespace(here.namespace)
        .map_or_else(|_| Vec::new(), |all| shut_in(&all, here, port))
}

/// The same for a source that is not fetched.
pub(super) fn of_source(s: &Snapshot, instances: &Instances<'_>, source: &Source) -> Vec<ObjectRef> {
    let failed = condition(&source.status.conditions, "Ready").filter(|c| c.status == "False");
    let Some(controller) = instances.in_charge("source-controller", &source.metadata) else {
        return Vec::new();
    };
    failed.map_or_else(Vec::new, |ready| shut(s, controller, classify(ready)))
}

/// The same for a text.
pub fn of_text(s: &Snapshot, workload: &Workload, text: &str) -> Vec<ObjectRef> {
    shut(s, workload, read(text))
}
