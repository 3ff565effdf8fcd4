//! GA412: the address at which agentk hands push events to Flux leads to notification-controller.

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::events_addr::events_addr;
use crate::facts::host::host_and_port;
use crate::facts::request::last_request;
use crate::facts::{Facts, PortRef, Service, ServicePort, Why, WhyKind, Workload};
use crate::need::Need;
use crate::object::ObjectRef;

pub(super) static CHECK: Check = Check {
    code: 412,
    slug: "webhook-address-wrong",
    title: "the address at which agentk hands push events to Flux leads to notification-controller",
    severity: Severity::Warning,
    impact: Impact::Pushes,
    needs: &[Need::Deployments, Need::Services, Need::GitRepositories],
    page: include_str!("../../../../docs/checks/GA412.md"),
    judge,
};

/// agentk's default for `flux.webhook_receiver_url`.
const DEFAULT: &str = "http://webhook-receiver.flux-system.svc.cluster.local";
/// The Service behind it.
const SERVICE: &str = "webhook-receiver";
/// Where notification-controller listens for webhooks.
const LISTENS: i64 = 9292;

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    for why in facts.agent_gaps() {
        judgement.lacks(why.clone());
    }
    // They show whether events arrive, whatever the address looks like.
    judgement.each(&facts.snapshot.git_repositories);
    let Some(receiver) = facts.controller("notification-controller")? else {
        judgement.skip("notification-controller is not installed");
        return Ok(());
    };
    if facts.agents.is_empty() {
        judgement.skip("no agentk is installed");
        return Ok(());
    }
    let namespace = receiver.metadata.namespace.as_str();
    let Some(service) = facts.snapshot.services.find(namespace, SERVICE)? else {
        judgement.skip("the Service webhook-receiver does not exist, which is GA205's");
        return Ok(());
    };
    judgement.examine();
    let used = used_address(facts);
    let address = used.as_deref().unwrap_or(DEFAULT);
    if let Some((message, text)) = misled(facts, address, used.is_some(), namespace) {
        let object = ObjectRef::new("Service", namespace, SERVICE);
        judgement.find(Finding::new(object, message, Remedy::say(text)));
        return Ok(());
    }
    let port = match host_and_port(address).map_or("", |(_, port)| port) {
        "" if address.starts_with("https:") => 443,
        "" => 80,
        given => given.parse().unwrap_or_default(),
    };
    port_of(facts, judgement, service, receiver, port)
}

/// The base of the address that a failed push event shows in agentk's log.
fn used_address(facts: &Facts<'_>) -> Option<String> {
    let lines = facts.agents.iter().filter_map(|a| a.lines.as_ref().ok()).flatten();
    let triggers = lines.filter(|(_, l)| l.message.contains("Unable to trigger Receiver"));
    let newest = triggers.max_by_key(|(_, l)| l.at)?;
    let text = newest.1.text();
    let start = ["http://", "https://"].iter().filter_map(|scheme| text.find(scheme)).min()?;
    let url = text[start..].split(['"', ' ']).next()?;
    Some(url.split_once("/hook/").map_or(url, |(base, _)| base).to_owned())
}

/// Whether an event has come through one of agentk's Receivers since it made them.
fn events_arrive(facts: &Facts<'_>) -> bool {
    let s = facts.snapshot;
    let made = s.receivers.items.iter().filter(|r| r.metadata.annotation("agent.gitlab.com/project").is_some());
    let mut listed =
        made.flat_map(|r| r.spec.resources.iter().map(|of| Facts::resolve(of, &r.metadata.namespace)));
    listed.any(|object| {
        let is_git = object.kind == "GitRepository";
        let repository = is_git.then(|| s.git_repositories.find(&object.namespace, &object.name).ok().flatten());
        repository.flatten().and_then(|g| last_request(&g.metadata)).is_some_and(|request| request.is_webhook())
    })
}

/// Why a host cannot lead to the Service: another namespace, another cluster domain.
fn misled(facts: &Facts<'_>, address: &str, is_seen: bool, namespace: &str) -> Option<(String, String)> {
    if address.contains("/services/") && address.contains("/proxy") {
        return None;
    }
    let (host, _) = host_and_port(address)?;
    let domain = cluster_domain(facts);
    let labels: Vec<&str> = host.trim_end_matches('.').splitn(4, '.').collect();
    let fits = match labels[..] {
        [name, of] | [name, of, "svc"] => name == SERVICE && of == namespace,
        [name, of, "svc", ending] => name == SERVICE && of == namespace && domain.is_none_or(|d| d == ending),
        // Any other host is an ingress or a load balancer of the person's own.
        _ => true,
    };
    if fits || (!is_seen && events_arrive(facts)) {
        return None;
    }
    let right = format!("http://{SERVICE}.{namespace}.svc.{}", domain.unwrap_or("cluster.local"));
    let source = if is_seen { "agentk's log shows" } else { "agentk takes, unless it is told otherwise," };
    let message = format!("is at {right}; {source} {address}");
    let text = format!(
        "write `flux: {{webhook_receiver_url: {right}}}` into `.gitlab/agents/<name>/config.yaml` of the agent's \
         configuration project; agentk takes it up by itself"
    );
    Some((message, text))
}

/// The cluster's domain, which Flux's controllers are told in the address of their events.
fn cluster_domain<'s>(facts: &Facts<'s>) -> Option<&'s str> {
    let deployment = facts.controller("source-controller").ok()??;
    let (host, _) = host_and_port(events_addr(deployment)?)?;
    let (_, domain) = host.split_once(".svc.")?;
    Some(domain.trim_end_matches('.')).filter(|d| !d.is_empty())
}

/// Whether the Service takes requests at this port, and passes them to where notification-controller listens.
fn port_of(
    facts: &Facts<'_>,
    judgement: &mut Judgement,
    service: &Service,
    receiver: &Workload,
    port: i64,
) -> Result<(), Why> {
    if service.spec.ports.is_empty() {
        let asked = format!("ports of Service {}/{SERVICE}", service.metadata.namespace);
        return Err(Why::new(WhyKind::NotAsked, asked, "the recording does not hold them"));
    }
    let object = service.metadata.object("Service");
    let found = service.spec.ports.iter().find(|p| p.port == port);
    let message = match found {
        None => {
            let others: Vec<String> = service.spec.ports.iter().map(|p| p.port.to_string()).collect();
            format!("has no port {port}, at which agentk calls it, but {}", others.join(" and "))
        }
        Some(p) if !leads_to(p, receiver) => {
            format!("passes port {port} on to {}, where notification-controller takes no webhooks", target(p))
        }
        Some(_) => return Ok(()),
    };
    let text = "apply Flux's manifests again: they hold the right port (needs the Flux CLI)";
    judgement.find(Finding::new(object, message, Remedy::say(text).reapply_flux(facts)));
    Ok(())
}

/// Whether a port leads to where webhooks are taken: by the name that Flux gives, or by number.
fn leads_to(port: &ServicePort, receiver: &Workload) -> bool {
    let ports = || receiver.spec.template.spec.containers.iter().flat_map(|c| &c.ports);
    let listens = ports().find(|p| p.name == "http-webhook").map_or(LISTENS, |p| p.container_port);
    match &port.target_port {
        Some(PortRef::Number(number)) => *number == listens,
        Some(PortRef::Name(name)) => name == "http-webhook" || ports().any(|p| p.name == *name && p.container_port == listens),
        None => port.port == listens,
    }
}

fn target(port: &ServicePort) -> String {
    match &port.target_port {
        Some(PortRef::Number(number)) => number.to_string(),
        Some(PortRef::Name(name)) => name.clone(),
        None => port.port.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::{ManagedFields, Observed, RequestField};
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn port(change: impl FnOnce(&mut ServicePort)) -> impl FnOnce(&mut Snapshot) {
        move |s| change(&mut s.services.items[0].spec.ports[0])
    }

    fn trigger(url: &'static str) -> impl FnOnce(&mut Snapshot) {
        let error = format!("Post \"{url}/hook/…\": dial tcp: no such host");
        let line = serde_json::json!({"time": "2026-11-02T09:59:00Z", "level": "ERROR", "msg": "Unable to trigger Receiver", "error": error});
        move |s| s.logs[0].lines = Observed::Known(vec![line.to_string()])
    }

    fn domain(domain: &str) -> impl FnOnce(&mut Snapshot) {
        let arg = format!("--events-addr=http://notification-controller.$(RUNTIME_NAMESPACE).svc.{domain}./");
        move |s| {
            let spec = &mut fixture::deployment_mut(s, "source-controller").spec.template.spec;
            spec.containers[0].args.push(arg);
        }
    }

    #[test]
    fn a_port_that_leads_nowhere_is_found() {
        let missing = finding(&CHECK, port(|p| p.port = 8080));
        assert_eq!(missing.subject.to_string(), "Service flux-system/webhook-receiver");
        assert_eq!(missing.message, "has no port 80, at which agentk calls it, but 8080");
        let astray = finding(&CHECK, port(|p| p.target_port = Some(PortRef::Name("http-prom".to_owned()))));
        assert!(astray.message.starts_with("passes port 80 on to http-prom"), "{}", astray.message);
        let none = finding(&CHECK, port(|p| p.target_port = None));
        assert!(none.message.starts_with("passes port 80 on to 80"), "{}", none.message);
        passes(&CHECK, port(|p| p.target_port = Some(PortRef::Number(9292))));
    }

    #[test]
    fn another_cluster_domain_is_found() {
        let found = finding(&CHECK, domain("corp.internal"));
        assert!(found.message.starts_with("is at http://webhook-receiver.flux-system.svc.corp.internal; agentk takes"));
        assert!(found.remedy.text.contains("webhook_receiver_url: http://webhook-receiver.flux-system.svc.corp.internal"));
        passes(&CHECK, domain("cluster.local"));
    }

    #[test]
    fn another_namespace_of_flux_is_found_unless_events_arrive() {
        let elsewhere = |s: &mut Snapshot| {
            s.flux_namespace = "flux".to_owned();
            for d in s.deployments.items.iter_mut().filter(|d| d.metadata.namespace == "flux-system") {
                d.metadata.namespace = "flux".to_owned();
            }
            s.services.items[0].metadata.namespace = "flux".to_owned();
        };
        let found = finding(&CHECK, elsewhere);
        assert!(found.message.contains("http://webhook-receiver.flux.svc.cluster.local"), "{}", found.message);
        passes(&CHECK, |s| {
            elsewhere(s);
            fixture::git_mut(s, "flux-system").metadata.managed_fields.push(ManagedFields {
                manager: "notification-controller".to_owned(),
                time: fixture::NOW.parse().ok(),
                requests: RequestField(true),
                ..ManagedFields::default()
            });
        });
    }

    #[test]
    fn the_address_of_the_log_counts() {
        let found = finding(&CHECK, trigger("http://webhook-receiver.flux.svc.cluster.local"));
        assert!(found.message.contains("agentk's log shows http://webhook-receiver.flux.svc.cluster.local"));
        let port = finding(&CHECK, trigger("http://webhook-receiver.flux-system.svc:9292"));
        assert!(port.message.starts_with("has no port 9292"), "{}", port.message);
        passes(&CHECK, trigger("http://webhook-receiver.flux-system"));
    }

    #[test]
    fn an_older_recording_is_unknown_and_a_missing_service_is_another_checks() {
        assert_eq!(after(&CHECK, |s| s.services.items[0].spec.ports.clear()).verdict(), Verdict::Unknown);
        assert_eq!(after(&CHECK, |s| s.services.items.clear()).verdict(), Verdict::Skipped);
    }
}
