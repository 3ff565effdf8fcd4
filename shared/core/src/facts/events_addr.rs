//! Where Flux's controllers send their events (`--events-addr`). A controller that sends them elsewhere logs it once at most,
//! and no Alert learns of them.

use super::flux::{Instances, runs_as, watches_namespace};
use super::host::host_and_port;
use super::service::{leads_to_http, service_of};
use super::workload::selects;
use crate::object::ObjectRef;
use crate::snapshot::kinds::{Alert, Meta, Service, Workload};
use crate::snapshot::{Snapshot, Why, WhyKind};

/// The controllers that send events, and the kinds that their events are about.
const SENDERS: &[(&str, &[&str])] = &[
    ("source-controller", &["GitRepository", "OCIRepository", "Bucket", "HelmRepository", "HelmChart"]),
    ("kustomize-controller", &["Kustomization"]),
    ("helm-controller", &["HelmRelease"]),
    ("image-reflector-controller", &["ImageRepository", "ImagePolicy"]),
    ("image-automation-controller", &["ImageUpdateAutomation"]),
    ("source-watcher", &["ArtifactGenerator", "ExternalArtifact"]),
];

const FLAG: &str = "--events-addr";

/// A controller whose events do not reach notification-controller, although an Alert asks for them.
pub struct Astray<'s> {
    /// Its Deployment.
    pub sender: &'s Workload,
    /// What is wrong with the address; or why that is not known.
    pub fault: Result<String, Why>,
    /// The Alerts that ask for its events.
    pub alerts: Vec<&'s Alert>,
}

/// The value of a controller's argument; the last one counts.
pub fn events_addr(sender: &Workload) -> Option<&str> {
    let args = sender.spec.template.spec.containers.iter().flat_map(|c| c.args.iter());
    args.filter_map(|arg| arg.strip_prefix(FLAG)?.strip_prefix('=')).next_back()
}

/// Finds them.
pub(super) fn astray<'s>(s: &'s Snapshot, instances: &Instances<'s>) -> Vec<Astray<'s>> {
    if instances.of("notification-controller").is_empty() {
        return Vec::new();
    }
    let senders = s.deployments.items.iter().filter_map(|sender| {
        let (_, kinds) = SENDERS.iter().find(|(name, _)| runs_as(sender, name))?;
        let asks = |alert: &&Alert| {
            let mut sources = alert.spec.event_sources.iter().filter(|of| kinds.contains(&of.kind.as_str()));
            let own = alert.metadata.namespace.as_str();
            let namespace = |of: &str| if of.is_empty() { own.to_owned() } else { of.to_owned() };
            !alert.spec.suspend && sources.any(|of| watches_namespace(sender, &namespace(&of.namespace)))
        };
        let alerts: Vec<&Alert> = s.alerts.items.iter().filter(asks).collect();
        (!alerts.is_empty()).then_some((sender, alerts))
    });
    let faulty = senders.filter_map(|(sender, alerts)| {
        let fault = fault(s, instances, sender).transpose()?;
        Some(Astray { sender, fault, alerts })
    });
    faulty.collect()
}

fn fault(s: &Snapshot, instances: &Instances<'_>, sender: &Workload) -> Result<Option<String>, Why> {
    let unknown = |kind, message| {
        Why::new(kind, format!("{FLAG} of {}", sender.metadata.object("Deployment")), message)
    };
    let containers = || sender.spec.template.spec.containers.iter();
    let Some(value) = events_addr(sender) else {
        if containers().any(|c| c.args.iter().any(|arg| arg == FLAG)) {
            return Err(unknown(
                WhyKind::Undecided,
                "its value is an argument of its own, which is not recorded",
            ));
        }
        if containers().any(|c| c.env.iter().any(|var| var.name == "EVENTS_ADDR")) {
            return Err(unknown(
                WhyKind::Undecided,
                "the variable EVENTS_ADDR sets it, whose value is not read",
            ));
        }
        return Ok(Some(format!("{FLAG} is not set")));
    };
    let address = value.replace("$(RUNTIME_NAMESPACE)", &sender.metadata.namespace);
    if address.is_empty() {
        return Ok(Some(format!("{FLAG} is empty")));
    }
    if address.contains('*') {
        return Err(unknown(WhyKind::Unreadable, "the recording is older and does not hold it"));
    }
    if address.contains("$(") {
        return Err(unknown(WhyKind::Undecided, "it contains a variable whose value is not read"));
    }
    let fault = of_address(s, instances, &sender.metadata.namespace, &address)?;
    Ok(fault.map(|fault| format!("{FLAG} is {address}: {fault}")))
}

/// Why an address does not lead to notification-controller. What is wrong with its own Service is not the address's fault.
fn of_address(
    s: &Snapshot,
    instances: &Instances<'_>,
    own: &str,
    address: &str,
) -> Result<Option<String>, Why> {
    let Some(rest) = address.strip_prefix("http://") else {
        return Ok(Some("notification-controller is called with http://".to_owned()));
    };
    let Some((host, port)) = host_and_port(address).filter(|_| !rest.is_empty()) else {
        return Ok(Some("it has no host".to_owned()));
    };
    let labels: Vec<&str> = host.trim_end_matches('.').split('.').collect();
    let (name, namespace) = match labels[..] {
        _ if host.parse::<core::net::IpAddr>().is_ok() => return Ok(of_ip(s, instances, host)),
        [name] => (name, own),
        [name, namespace] | [name, namespace, "svc", ..] => (name, namespace),
        _ => return Ok(Some("the host is no Service of this cluster".to_owned())),
    };
    let here = |d: &&&Workload| d.metadata.namespace == namespace;
    let servers: Vec<&Workload> =
        instances.of("notification-controller").iter().filter(here).copied().collect();
    if servers.is_empty() {
        let elsewhere = s.deployments.in_namespace(namespace).map(|_| ());
        return elsewhere
            .map(|()| Some(format!("notification-controller does not run in namespace {namespace}")));
    }
    let object = ObjectRef::new("Service", namespace, name);
    let is_its_own = servers.iter().any(|server| service_of(server) == object);
    let fault = match s.services.find(namespace, name)? {
        None if is_its_own => None,
        None => Some(format!("{object} does not exist")),
        Some(service) => of_service(service, &servers, port, is_its_own),
    };
    Ok(fault)
}

fn of_ip(s: &Snapshot, instances: &Instances<'_>, host: &str) -> Option<String> {
    let is_at = |service: &&Service| {
        service.spec.cluster_ip == host || service.spec.cluster_ips.iter().any(|ip| ip == host)
    };
    let service = s.services.items.iter().find(is_at);
    let leads = service
        .is_some_and(|service| instances.of("notification-controller").iter().any(|d| is_before(service, d)));
    (!leads).then(|| "the host is not the address of notification-controller's Service".to_owned())
}

fn is_before(service: &Service, server: &Workload) -> bool {
    service.metadata.namespace == server.metadata.namespace
        && selects(&service.spec.selector, &server.spec.template.metadata.labels)
}

fn of_service(service: &Service, servers: &[&Workload], port: &str, is_its_own: bool) -> Option<String> {
    let object = service.metadata.object("Service");
    let Some(server) = servers.iter().find(|server| is_before(service, server)) else {
        return (!is_its_own).then(|| format!("{object} does not select notification-controller's pods"));
    };
    // GA210 looks at port 80 of its own Service.
    if service.spec.ports.is_empty() || (is_its_own && matches!(port, "" | "80")) {
        return None;
    }
    let number: i64 = if port.is_empty() { 80 } else { port.parse().unwrap_or_default() };
    match service.spec.ports.iter().find(|p| p.port == number) {
        None => Some(format!("{object} has no port {number}")),
        Some(p) if !leads_to_http(p, server) => {
            Some(format!("port {number} of {object} does not lead to the port for events"))
        }
        Some(_) => None,
    }
}

/// The Service through which a namespace's controllers should send their events.
pub(super) fn expected_address(instances: &Instances<'_>, sender: &Meta) -> Option<String> {
    let all = instances.of("notification-controller");
    let own = all.iter().find(|d| d.metadata.namespace == sender.namespace);
    let service = service_of(own.or(all.first())?);
    Some(format!("http://{}.{}.svc.cluster.local./", service.name, service.namespace))
}
