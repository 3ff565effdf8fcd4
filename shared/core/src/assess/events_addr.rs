//! Controllers whose events do not reach notification-controller: one finding for each.

use super::{Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::Facts;
use crate::facts::events_addr::Astray;

/// Looks at the argument `--events-addr` of every controller from which an Alert expects events.
pub(super) fn judge(facts: &Facts<'_>, judgement: &mut Judgement) {
    for astray in facts.events_astray() {
        if let Some(fault) = judgement.known(astray.fault.clone()) {
            judgement.find(finding(facts, &astray, &fault));
        }
    }
}

fn finding(facts: &Facts<'_>, astray: &Astray<'_>, fault: &str) -> Finding {
    let object = astray.sender.metadata.object("Deployment");
    let writes = |provider: Option<&crate::facts::Provider>| provider.is_some_and(|p| p.writes_to_gitlab());
    let to_gitlab = astray.alerts.iter().any(|alert| writes(facts.provider_of(alert).ok().flatten()));
    let severity = if to_gitlab { Severity::Error } else { Severity::Warning };
    let address = facts.events_address(&astray.sender.metadata).unwrap_or_default();
    let text = format!(
        "set --events-addr to {address} (with the cluster's own domain); Flux's manifests set it (needs the Flux CLI)"
    );
    let remedy = Remedy::in_git(facts, &object, &text).reapply_flux(facts);
    let names: Vec<String> =
        astray.alerts.iter().take(5).map(|alert| alert.metadata.object("Alert").to_string()).collect();
    let more = astray.alerts.len() - names.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Finding::new(object, format!("sends no events to notification-controller: {fault}"), remedy)
        .severity(severity)
        .impact(Impact::Notifications)
        .because(format!("no notification of its objects through {}{more}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::ga210::CHECK;
    use super::super::testing::{after, finding, passes};
    use crate::assess::{Severity, Verdict};
    use crate::facts::WhyKind;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    const CONTROLLERS: &[(&str, &str)] = &[
        ("source-controller", "GitRepository"),
        ("kustomize-controller", "Kustomization"),
        ("helm-controller", "HelmRelease"),
        ("image-reflector-controller", "ImagePolicy"),
        ("image-automation-controller", "ImageUpdateAutomation"),
        ("source-watcher", "ArtifactGenerator"),
    ];

    /// Gives a controller an argument, and an Alert that asks for its events.
    fn sends(s: &mut Snapshot, controller: &str, kind: &str, args: &[&str]) {
        if !s.deployments.items.iter().any(|d| d.metadata.name == controller) {
            let mut made = fixture::deployment_mut(s, "kustomize-controller").clone();
            controller.clone_into(&mut made.metadata.name);
            made.spec.template.spec.containers[0].image = format!("ghcr.io/fluxcd/{controller}:v1.0.0");
            s.deployments.items.push(made);
        }
        let container = &mut fixture::deployment_mut(s, controller).spec.template.spec.containers[0];
        container.args.0 = args.iter().map(|&arg| arg.to_owned()).collect();
        kind.clone_into(&mut s.alerts.items[0].spec.event_sources[0].kind);
    }

    #[test]
    fn each_controller_whose_events_are_lost_is_found() {
        for (controller, kind) in CONTROLLERS {
            for (args, fault) in [
                (&[][..], "--events-addr is not set"),
                (&["--events-addr="], "--events-addr is empty"),
                (
                    &["--events-addr=http://notification.flux-system.svc.cluster.local./"],
                    "Service flux-system/notification does not exist",
                ),
                (
                    &["--events-addr=http://source-controller.flux-system/"],
                    "does not select notification-controller's pods",
                ),
                (&["--events-addr=http://events.example.com/"], "the host is no Service of this cluster"),
                (&["--events-addr=http://10.9.9.9/"], "not the address of notification-controller's Service"),
                (
                    &["--events-addr=http://127.0.0.1:9090/"],
                    "not the address of notification-controller's Service",
                ),
                (
                    &["--events-addr=http://notification-controller.flux-system.svc.cluster.local.:9090/"],
                    "has no port 9090",
                ),
                (&["--events-addr=http://notification-controller:8080"], "has no port 8080"),
                (
                    &["--events-addr=http://webhook-receiver.$(RUNTIME_NAMESPACE)/"],
                    "does not lead to the port for events",
                ),
                (
                    &["--events-addr=http://notification-controller.flux.svc.cluster.local./"],
                    "does not run in namespace flux",
                ),
                (&["--events-addr=notification-controller.flux-system"], "is called with http://"),
                (&["--events-addr=https://notification-controller.flux-system/"], "is called with http://"),
                (&["--events-addr=http:///"], "it has no host"),
                (
                    &["--events-addr=http://notification-controller.flux-system/", "--events-addr="],
                    "--events-addr is empty",
                ),
            ] {
                let found = finding(&CHECK, |s| sends(s, controller, kind, args));
                assert_eq!(
                    found.subject.to_string(),
                    format!("Deployment flux-system/{controller}"),
                    "{args:?}"
                );
                assert!(
                    found.message.starts_with("sends no events to notification-controller: "),
                    "{}",
                    found.message
                );
                assert!(found.message.contains(fault), "{args:?}: {}", found.message);
                assert_eq!(found.severity, Some(Severity::Error));
                let right = "http://notification-controller.flux-system.svc.cluster.local./";
                assert!(found.remedy.text.contains(right), "{}", found.remedy.text);
            }
        }
    }

    #[test]
    fn addresses_that_lead_there_pass() {
        for value in [
            "http://notification-controller.$(RUNTIME_NAMESPACE).svc.cluster.local./",
            "http://notification-controller.flux-system.svc.corp.internal/",
            "http://notification-controller.flux-system.svc",
            "http://notification-controller.flux-system:80/",
            "http://notification-controller",
            "http://10.96.0.30/",
        ] {
            passes(&CHECK, |s| {
                let own = s.services.items.iter_mut().find(|i| i.metadata.name == "notification-controller");
                own.expect("it").spec.cluster_ip = "10.96.0.30".to_owned();
                sends(s, "kustomize-controller", "Kustomization", &[&format!("--events-addr={value}")]);
            });
        }
    }

    #[test]
    fn it_counts_only_where_an_alert_asks_for_the_events() {
        passes(&CHECK, |s| sends(s, "helm-controller", "Kustomization", &["--events-addr="]));
        passes(&CHECK, |s| {
            sends(s, "kustomize-controller", "Kustomization", &["--events-addr="]);
            s.alerts.items.iter_mut().for_each(|alert| alert.spec.suspend = true);
        });
        let chat = finding(&CHECK, |s| {
            sends(s, "kustomize-controller", "Kustomization", &["--events-addr="]);
            s.providers.items.iter_mut().for_each(|p| p.spec.kind = "slack".to_owned());
        });
        assert_eq!(chat.severity, Some(Severity::Warning));
    }

    #[test]
    fn a_notification_controller_that_binds_to_another_port_is_found() {
        let found = finding(&CHECK, |s| {
            let container =
                &mut fixture::deployment_mut(s, "notification-controller").spec.template.spec.containers[0];
            container.args.0 = vec!["--events-addr=:9999".to_owned()];
        });
        assert_eq!(found.subject.to_string(), "Service flux-system/notification-controller");
        assert!(
            found
                .message
                .starts_with("forwards port 80 to http, where notification-controller does not listen")
        );
    }

    #[test]
    fn an_address_that_is_not_known_is_unknown() {
        for (args, env, kind) in [
            (&["--events-addr=***"][..], "", WhyKind::Unreadable),
            (&["--events-addr", "***"], "", WhyKind::Undecided),
            (&["--events-addr=http://$(HOST)/"], "", WhyKind::Undecided),
            (&[], "EVENTS_ADDR", WhyKind::Undecided),
        ] {
            let judgement = after(&CHECK, |s| {
                sends(s, "kustomize-controller", "Kustomization", args);
                let container =
                    &mut fixture::deployment_mut(s, "kustomize-controller").spec.template.spec.containers[0];
                container.env = serde_json::from_value(json!([{ "name": env }])).expect("variables");
            });
            assert_eq!(judgement.verdict(), Verdict::Unknown, "{args:?}");
            assert_eq!(judgement.unknown[0].kind, kind, "{args:?}");
        }
    }
}
