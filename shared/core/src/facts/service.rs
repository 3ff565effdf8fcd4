//! The Services by which Flux's controllers reach each other.

use super::failure::classify;
use super::flux::controller;
use crate::object::ObjectRef;
use crate::snapshot::Snapshot;
use crate::snapshot::kinds::{Condition, Workload, condition};

/// The Service before a controller: the name that the argument `--storage-adv-addr` tells, else the Deployment's.
pub fn service_of(server: &Workload) -> ObjectRef {
    let args = server.spec.template.spec.containers.iter().flat_map(|c| c.args.iter());
    let mut advertised = args.filter_map(|arg| arg.strip_prefix("--storage-adv-addr="));
    let name =
        advertised.next().and_then(|address| address.split('.').next()).filter(|name| is_known(name));
    ObjectRef::new("Service", &server.metadata.namespace, name.unwrap_or(&server.metadata.name))
}

/// Older recordings mask the argument's value.
fn is_known(name: &str) -> bool {
    !name.is_empty() && !name.contains('*')
}

/// What lies between an applier and the artifact that it cannot download: source-controller's Service.
pub(super) fn on_the_way(s: &Snapshot, conditions: &[Condition]) -> Option<ObjectRef> {
    let ready = condition(conditions, "Ready").filter(|c| c.status == "False")?;
    let is_download = ready.reason == "ArtifactFailed" || ready.message.contains("failed to download");
    if !is_download || !classify(ready).is_network() {
        return None;
    }
    controller(&s.deployments, &s.flux_namespace, "source-controller").ok().flatten().map(service_of)
}
