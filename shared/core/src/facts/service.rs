//! The Services by which Flux's controllers reach each other.

use super::failure::classify;
use crate::object::ObjectRef;
use crate::snapshot::kinds::{Condition, Workload, condition};

/// The Service before a controller: the name that the argument `--storage-adv-addr` tells, else the Deployment's.
pub fn service_of(server: &Workload) -> ObjectRef {
    let args = server.spec.template.spec.containers.iter().flat_map(|c| c.args.iter());
    let mut advertised = args.filter_map(|arg| arg.strip_prefix("--storage-adv-addr="));
    let name = advertised.next().and_then(|address| address.split('.').next()).filter(|name| is_known(name));
    ObjectRef::new("Service", &server.metadata.namespace, name.unwrap_or(&server.metadata.name))
}

/// Older recordings mask the argument's value.
fn is_known(name: &str) -> bool {
    !name.is_empty() && !name.contains('*')
}

/// Whether an applier fails because it cannot download its artifact from source-controller.
pub(super) fn cannot_download(conditions: &[Condition]) -> bool {
    let failed = condition(conditions, "Ready").filter(|c| c.status == "False");
    failed.is_some_and(|ready| {
        let is_download = ready.reason == "ArtifactFailed" || ready.message.contains("failed to download");
        is_download && classify(ready).is_network()
    })
}
