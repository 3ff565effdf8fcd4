//! GA210: Flux's controllers reach each other, and no NetworkPolicy keeps them or agentk from the outside.

use super::blocked::{self, Shut};
use super::events_addr;
use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::command::kubectl;
use crate::facts::network::{Direction, End, Passage, passage};
use crate::facts::service::{leads_to_http, listens, service_of};
use crate::facts::workload::selects;
use crate::facts::{EndpointSlice, Facts, PortRef, Service, ServicePort, Why, Workload};
use crate::need::Need;
use crate::object::ObjectRef;

pub(super) static CHECK: Check = Check {
    code: 210,
    slug: "controllers-unreachable",
    title: "Flux's controllers reach each other, and NetworkPolicies let them and agentk out",
    severity: Severity::Error,
    impact: Impact::Delivery,
    needs: &[Need::Deployments, Need::Services, Need::EndpointSlices, Need::NetworkPolicies],
    page: include_str!("../../../../docs/checks/GA210.md"),
    judge,
};

/// A Service of Flux's own, what listens behind it, and who calls it.
struct Link {
    server: &'static str,
    clients: &'static [&'static str],
    /// What does not work without it.
    without: &'static str,
}

/// `flux install`'s Services, apart from webhook-receiver, which only agentk calls (GA205, GA412).
const LINKS: &[Link] = &[
    Link {
        server: "source-controller",
        clients: &["kustomize-controller", "helm-controller"],
        without: "kustomize-controller and helm-controller cannot fetch artifacts, so nothing new is applied",
    },
    Link {
        server: "notification-controller",
        clients: &["source-controller", "kustomize-controller", "helm-controller"],
        without: "every event of the controllers is lost, so no notification is sent",
    },
];

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    let mut shut = Shut::new();
    blocked::outside(facts, &mut shut);
    let judged = links(facts, judgement, &mut shut);
    judgement.findings.extend(blocked::findings(facts, shut));
    events_addr::judge(facts, judgement);
    judged?;
    judgement.skip("no controller runs whose Service others call (GA202 and GA205 look at them)");
    Ok(())
}

fn links(facts: &Facts<'_>, judgement: &mut Judgement, shut: &mut Shut) -> Result<(), Why> {
    for link in LINKS {
        for server in facts.instances(link.server)?.into_iter().filter(|d| d.status.ready_replicas > 0) {
            judgement.examine();
            if is_of_flux(facts, link, server) || has_service(facts, server) {
                service(facts, judgement, link, server)?;
            }
            for client in clients(facts, link, server)? {
                for direction in [Direction::Ingress, Direction::Egress] {
                    let Some(passage) = judgement.known(between(facts, client, server, direction)) else { continue };
                    if let Passage::Closed(policies) = passage {
                        blocked::between(shut, &policies, client, server, listens(server).number, link.without);
                    }
                }
            }
        }
    }
    Ok(())
}

/// Who calls an instance: those of its own installation, which is its namespace, where there are any. Events go where
/// `--events-addr` says.
fn clients<'s>(facts: &Facts<'s>, link: &Link, server: &Workload) -> Result<Vec<&'s Workload>, Why> {
    let mut found = Vec::new();
    for name in link.clients {
        let all = facts.instances(name)?;
        let own = |d: &&&Workload| d.metadata.namespace == server.metadata.namespace;
        let near: Vec<&Workload> = all.iter().filter(own).copied().collect();
        found.extend(if near.is_empty() { all } else { near });
    }
    Ok(found)
}

/// Whether Flux's own manifests hold what belongs to an instance: a shard's are made by whoever made the shard.
fn is_of_flux(facts: &Facts<'_>, link: &Link, server: &Workload) -> bool {
    server.metadata.name == link.server && server.metadata.namespace == facts.snapshot.flux_namespace
}

/// Whether an instance is meant to have a Service: an argument names it, or there is one of its name. Another installation may
/// do without, for example without notifications.
fn has_service(facts: &Facts<'_>, server: &Workload) -> bool {
    let mut args = server.spec.template.spec.containers.iter().flat_map(|c| c.args.iter());
    let object = service_of(server);
    let exists = || facts.snapshot.services.items.iter().any(|s| s.metadata.object("Service") == object);
    args.any(|arg| arg.starts_with("--storage-adv-addr=")) || exists()
}

/// The Service, its port and its endpoints: the first fault.
fn service(facts: &Facts<'_>, judgement: &mut Judgement, link: &Link, server: &Workload) -> Result<(), Why> {
    let object = service_of(server);
    let (namespace, name) = (object.namespace.as_str(), object.name.as_str());
    let found = judgement.known(facts.snapshot.services.find(namespace, name));
    let slices = judgement.known(facts.snapshot.endpoint_slices.in_namespace(namespace));
    let Some(found) = found else { return Ok(()) };
    let of_flux = is_of_flux(facts, link, server);
    let text = match of_flux {
        true => "apply Flux's manifests again: they hold this Service (needs the Flux CLI)",
        false => "apply the manifests of this installation or shard of Flux again, from where they are kept: they hold this Service",
    };
    let remedy = || {
        let remedy = Remedy::say(text);
        if of_flux { remedy.reapply_flux(facts) } else { remedy.run(kubectl(namespace, "get services")) }
    };
    let fault = match found {
        None => Some("does not exist".to_owned()),
        Some(service) if !selects(&service.spec.selector, &server.spec.template.metadata.labels) => {
            Some(format!("selects no pod of {}", link.server))
        }
        Some(service) => port_fault(service, server),
    };
    if let Some(fault) = fault {
        let message = format!("{fault}: {}", link.without);
        judgement.find(Finding::new(object.clone(), message, remedy()));
    } else if slices.is_some_and(|slices| !slices.into_iter().any(|slice| is_ready(slice, name))) {
        judgement.find(without_endpoint(&object, link, server));
    }
    Ok(())
}

/// Controllers call port 80. Ports that a recording does not hold are not judged.
fn port_fault(service: &Service, server: &Workload) -> Option<String> {
    let ports = &service.spec.ports;
    let containers = || server.spec.template.spec.containers.iter().flat_map(|c| &c.ports);
    if ports.is_empty() || containers().next().is_none() {
        return None;
    }
    let Some(port) = ports.iter().find(|p| p.port == 80) else {
        let others: Vec<String> = ports.iter().map(|p| p.port.to_string()).collect();
        return Some(format!("has no port 80, which the other controllers call, but {}", others.join(" and ")));
    };
    (!leads_to_http(port, server))
        .then(|| format!("forwards port 80 to {}, where {} does not listen", target(port), server.metadata.name))
}

fn target(port: &ServicePort) -> String {
    match &port.target_port {
        Some(PortRef::Number(number)) => number.to_string(),
        Some(PortRef::Name(name)) => name.clone(),
        None => port.port.to_string(),
    }
}

/// Whether a slice of the Service has an endpoint that takes requests. `ready` left out means yes.
fn is_ready(slice: &EndpointSlice, service: &str) -> bool {
    slice.metadata.label("kubernetes.io/service-name") == Some(service)
        && slice.endpoints.iter().any(|e| e.conditions.ready.unwrap_or(true))
}

fn without_endpoint(object: &ObjectRef, link: &Link, server: &Workload) -> Finding {
    let text = format!(
        "restart {}, so that its new pod becomes an endpoint; where none appears, look at kube-controller-manager, which \
         writes EndpointSlices",
        link.server
    );
    let remedy = Remedy::say(text)
        .run(
            kubectl(&object.namespace, "get endpointslices")
                .flag("--selector", format!("kubernetes.io/service-name={}", object.name)),
        )
        .restart(&server.metadata.object("Deployment"));
    Finding::new(object.clone(), format!("has no ready endpoint: {}", link.without), remedy)
}

/// Whether policies let the client's pods reach the server's.
fn between(facts: &Facts<'_>, client: &Workload, server: &Workload, direction: Direction) -> Result<Passage, Why> {
    let s = facts.snapshot;
    let service = service_of(server);
    let service = s.services.seen(&service.namespace, &service.name);
    let (client, to) = (End::of(s, client), End::of(s, server).behind(service));
    passage(s, direction, &client, &to, listens(server))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn service_mut<'s>(s: &'s mut Snapshot, name: &str) -> &'s mut Service {
        s.services.items.iter_mut().find(|i| i.metadata.name == name).expect("a Service")
    }

    fn no_endpoint(s: &mut Snapshot, name: &str) {
        let of = |slice: &&mut EndpointSlice| slice.metadata.label("kubernetes.io/service-name") == Some(name);
        s.endpoint_slices.items.iter_mut().filter(of).for_each(|slice| slice.endpoints.clear());
    }

    #[test]
    fn each_way_to_break_either_service_is_found() {
        type Break = Box<dyn FnOnce(&mut Snapshot)>;
        for link in LINKS {
            let name: &'static str = link.server;
            let breaks: [(&str, Break); 10] = [
                ("does not exist", Box::new(move |s| s.services.items.retain(|i| i.metadata.name != name))),
                ("selects no pod", Box::new(move |s| {
                    service_mut(s, name).spec.selector.insert("app".to_owned(), "other".to_owned());
                })),
                ("selects no pod", Box::new(move |s| {
                    service_mut(s, name).spec.selector.insert("release".to_owned(), "other".to_owned());
                })),
                ("has no port 80", Box::new(move |s| service_mut(s, name).spec.ports[0].port = 8080)),
                ("forwards port 80 to 8080", Box::new(move |s| {
                    service_mut(s, name).spec.ports[0].target_port = Some(PortRef::Number(8080));
                })),
                ("forwards port 80 to http-prom", Box::new(move |s| {
                    service_mut(s, name).spec.ports[0].target_port = Some(PortRef::Name("http-prom".to_owned()));
                })),
                ("forwards port 80 to 80", Box::new(move |s| service_mut(s, name).spec.ports[0].target_port = None)),
                ("has no ready endpoint", Box::new(move |s| no_endpoint(s, name))),
                ("has no ready endpoint", Box::new(move |s| {
                    let of = |i: &EndpointSlice| i.metadata.label("kubernetes.io/service-name") == Some(name);
                    s.endpoint_slices.items.retain(|i| !of(i));
                })),
                ("has no ready endpoint", Box::new(move |s| {
                    for slice in &mut s.endpoint_slices.items {
                        slice.endpoints.iter_mut().for_each(|e| {
                            if slice.metadata.name.starts_with(name) {
                                e.conditions.ready = Some(false);
                            }
                        });
                    }
                })),
            ];
            for (message, change) in breaks {
                let found = finding(&CHECK, change);
                assert_eq!(found.subject, ObjectRef::new("Service", "flux-system", name));
                assert!(found.message.starts_with(message), "{message}: {}", found.message);
                assert!(found.message.ends_with(link.without), "{}", found.message);
                assert!(!found.remedy.commands.is_empty());
            }
        }
    }

    fn policy(s: &mut Snapshot, spec: serde_json::Value) {
        let policy = json!({"metadata": {"name": "deny", "namespace": "flux-system"}, "spec": spec});
        s.network_policies.items = vec![serde_json::from_value(policy).expect("a policy")];
    }

    #[test]
    fn policies_between_the_controllers_are_found() {
        for (spec, blocked) in [
            (json!({"podSelector": {"matchLabels": {"app": "source-controller"}}, "policyTypes": ["Ingress"]}), 2),
            (json!({"podSelector": {"matchLabels": {"app": "notification-controller"}}, "policyTypes": ["Ingress"],
                "ingress": [{"ports": [{"port": 9292}]}]}), 3),
            (json!({"podSelector": {"matchLabels": {"app": "helm-controller"}}, "policyTypes": ["Egress"],
                "egress": [{"ports": [{"port": 443}]}]}), 2),
            (json!({"podSelector": {}, "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"podSelector": {}}]}]}), 0),
            (json!({"podSelector": {"matchLabels": {"app": "other"}}, "policyTypes": ["Ingress"]}), 0),
        ] {
            let judgement = after(&CHECK, |s| policy(s, spec.clone()));
            assert_eq!(judgement.findings.len(), blocked.min(1), "{spec}: {:#?}", judgement.findings);
            for found in &judgement.findings {
                assert_eq!(found.subject.to_string(), "NetworkPolicy flux-system/deny");
                assert!(found.message.starts_with("blocks Deployment flux-system/"), "{}", found.message);
                assert_eq!(found.evidence.len(), blocked - 1, "{:#?}", found.evidence);
            }
        }
    }

    #[test]
    fn near_misses_pass() {
        passes(&CHECK, |s| service_mut(s, "source-controller").spec.ports[0].target_port = Some(PortRef::Number(9090)));
        passes(&CHECK, |s| s.services.items.retain(|i| i.metadata.name != "webhook-receiver"));
        passes(&CHECK, |s| service_mut(s, "source-controller").spec.ports.clear());
        // Another name, which the argument tells, as of a shard.
        passes(&CHECK, |s| {
            let args = &mut fixture::deployment_mut(s, "source-controller").spec.template.spec.containers[0].args;
            args.0.push("--storage-adv-addr=sources.$(RUNTIME_NAMESPACE).svc.cluster.local.".to_owned());
            service_mut(s, "source-controller").metadata.name = "sources".to_owned();
            for slice in &mut s.endpoint_slices.items {
                let label = slice.metadata.labels.get_mut("kubernetes.io/service-name");
                label.filter(|name| *name == "source-controller").into_iter().for_each(|name| *name = "sources".to_owned());
            }
        });
    }

    /// A shard, and a second installation, each with its Service.
    #[test]
    fn every_instance_is_looked_at() {
        type Break = fn(&mut Snapshot, &str, &str);
        let breaks: [(&str, Break); 4] = [
            ("does not exist", |s, namespace, name| {
                s.services.items.retain(|i| (i.metadata.namespace.as_str(), i.metadata.name.as_str()) != (namespace, name));
            }),
            ("has no ready endpoint", |s, namespace, name| {
                let of = |i: &EndpointSlice| i.metadata.namespace == namespace && i.metadata.label("kubernetes.io/service-name") == Some(name);
                s.endpoint_slices.items.retain(|i| !of(i));
            }),
            ("has no port 80", |s, namespace, name| {
                let own = |i: &&mut Service| i.metadata.namespace == namespace && i.metadata.name == name;
                s.services.items.iter_mut().find(own).expect("a Service").spec.ports[0].port = 8080;
            }),
            ("selects no pod", |s, namespace, name| {
                let own = |i: &&mut Service| i.metadata.namespace == namespace && i.metadata.name == name;
                let service = s.services.items.iter_mut().find(own).expect("a Service");
                service.spec.selector.insert("app".to_owned(), "other".to_owned());
            }),
        ];
        for (controller, namespace, name) in [
            ("source-controller", "flux-system", "source-controller-shard1"),
            ("source-controller", "team", "source-controller"),
            ("notification-controller", "team", "notification-controller"),
        ] {
            let copied = |s: &mut Snapshot| copy(s, controller, namespace, name);
            assert_eq!(after(&CHECK, copied).verdict(), Verdict::Pass, "{namespace}/{name}");
            for (message, change) in breaks {
                let found = finding(&CHECK, |s| {
                    copied(s);
                    change(s, namespace, name);
                });
                assert_eq!(found.subject, ObjectRef::new("Service", namespace, name), "{message}");
                assert!(found.message.starts_with(message), "{message}: {}", found.message);
                assert!(!format!("{:?}", found.remedy).contains("flux install"), "{:?}", found.remedy);
            }
        }
    }

    /// Another instance of a controller, with Service and endpoints of its own.
    fn copy(s: &mut Snapshot, controller: &str, namespace: &str, name: &str) {
        let mut deployment = fixture::deployment_mut(s, controller).clone();
        (deployment.metadata.name, deployment.metadata.namespace) = (name.to_owned(), namespace.to_owned());
        let app = |labels: &mut crate::facts::StringMap| drop(labels.insert("app".to_owned(), name.to_owned()));
        app(&mut deployment.spec.selector.match_labels);
        app(&mut deployment.spec.template.metadata.labels);
        let args = &mut deployment.spec.template.spec.containers[0].args.0;
        args.retain(|arg| !arg.starts_with("--storage-adv-addr"));
        args.push(format!("--storage-adv-addr={name}.$(RUNTIME_NAMESPACE).svc.cluster.local."));
        s.deployments.items.push(deployment);
        let mut service = service_mut(s, controller).clone();
        (service.metadata.name, service.metadata.namespace) = (name.to_owned(), namespace.to_owned());
        app(&mut service.spec.selector);
        s.services.items.push(service);
        let of = |i: &&EndpointSlice| i.metadata.label("kubernetes.io/service-name") == Some(controller) && i.metadata.namespace == "flux-system";
        let mut slice = s.endpoint_slices.items.iter().find(of).expect("a slice").clone();
        (slice.metadata.name, slice.metadata.namespace) = (format!("{name}-x"), namespace.to_owned());
        slice.metadata.labels.insert("kubernetes.io/service-name".to_owned(), name.to_owned());
        s.endpoint_slices.items.push(slice);
        for listed in [&mut s.services.namespaces, &mut s.endpoint_slices.namespaces, &mut s.network_policies.namespaces] {
            listed.iter_mut().for_each(|all| all.push(namespace.to_owned()));
        }
    }

    #[test]
    fn a_controller_that_does_not_run_is_another_checks() {
        let stopped = |s: &mut Snapshot| {
            for name in ["source-controller", "notification-controller"] {
                fixture::deployment_mut(s, name).status.ready_replicas = 0;
                no_endpoint(s, name);
            }
        };
        assert_eq!(after(&CHECK, stopped).verdict(), Verdict::Skipped);
    }

    /// What cannot download its artifact hangs on the Service and its policies; what fails for another reason does not.
    #[test]
    fn what_cannot_be_downloaded_hangs_on_the_service() {
        for (reason, message, hangs) in [
            ("ArtifactFailed", "failed to download archive: dial tcp 10.0.0.1:80: connect: connection refused", true),
            ("ArtifactFailed", "Get \"http://source-controller\": dial tcp: lookup source-controller: no such host", true),
            ("ArtifactFailed", "failed to download archive: dial tcp 10.0.0.1:80: i/o timeout", true),
            ("ArtifactFailed", "failed to verify archive: computed digest doesn't match", false),
            ("BuildFailed", "kustomize build failed: x", false),
            ("ReconciliationFailed", "dial tcp 10.0.0.1:443: connect: connection refused", false),
        ] {
            let mut s = fixture::healthy();
            s.kustomizations.items[1].status.conditions = fixture::not_ready(reason, message);
            s.helm_releases.items[0].status.conditions = fixture::not_ready(reason, message);
            policy(&mut s, json!({"podSelector": {}}));
            let facts = Facts::derive(&s);
            for object in [
                ObjectRef::new("Kustomization", "flux-system", "example-nginx-app"),
                ObjectRef::new("HelmRelease", "gitlab", "gitlab-agent"),
            ] {
                let needs = facts.graph.needs(&object);
                let service = ObjectRef::new("Service", "flux-system", "source-controller");
                assert_eq!(needs.contains(&service), hangs, "{object}: {message}: {needs:?}");
                let deny = ObjectRef::new("NetworkPolicy", "flux-system", "deny");
                assert_eq!(needs.contains(&deny), hangs, "{object}: {message}: {needs:?}");
            }
        }
    }
}
