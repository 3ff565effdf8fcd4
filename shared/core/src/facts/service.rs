//! The Services by which Flux's controllers reach each other.

use super::failure::classify;
use super::flux::runs;
use super::network::Port;
use crate::object::ObjectRef;
use crate::snapshot::kinds::{Condition, PortRef, ServicePort, Workload, condition};

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

/// The port at which source-controller and notification-controller listen, which their manifests call `http`.
const LISTENS: Port<'static> = Port { number: 9090, name: "http" };

/// Where a controller listens for the other controllers.
pub fn listens(server: &Workload) -> Port<'_> {
    let containers = || server.spec.template.spec.containers.iter();
    let declared = containers().flat_map(|c| &c.ports).find(|p| p.name == LISTENS.name);
    let port = declared.map_or(LISTENS, |p| Port { number: p.container_port, name: &p.name });
    // notification-controller binds to this port, whatever the manifest declares.
    let bound = containers()
        .flat_map(|c| c.args.iter())
        .filter_map(|arg| arg.strip_prefix("--events-addr=:"))
        .next_back();
    let is_receiver = runs(server) == Some("notification-controller");
    let bound = bound.filter(|_| is_receiver).and_then(|number| number.parse().ok());
    Port { number: bound.unwrap_or(port.number), ..port }
}

/// Whether a port of a Service leads to where a controller listens for the others.
pub fn leads_to_http(port: &ServicePort, server: &Workload) -> bool {
    let listens = listens(server).number;
    let mut ports = server.spec.template.spec.containers.iter().flat_map(|c| &c.ports);
    match &port.target_port {
        Some(PortRef::Number(number)) => *number == listens,
        Some(PortRef::Name(name)) => ports.any(|p| p.name == *name && p.container_port == listens),
        None => port.port == listens,
    }
}

/// Whether an applier fails because it cannot download its artifact from source-controller.
pub(super) fn cannot_download(conditions: &[Condition]) -> bool {
    let failed = condition(conditions, "Ready").filter(|c| c.status == "False");
    failed.is_some_and(|ready| {
        let is_download = ready.reason == "ArtifactFailed" || ready.message.contains("failed to download");
        is_download && classify(ready).is_network()
    })
}
