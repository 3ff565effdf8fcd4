//! GA205: notification-controller runs, and its Service `webhook-receiver` leads to it.

use std::collections::BTreeSet;

use super::{Check, Finding, Impact, Judgement, Remedy, Severity, controller};
use crate::command::kubectl;
use crate::facts::workload::selects;
use crate::facts::{EndpointSlice, Facts, Service, Why, Workload};
use crate::need::Need;
use crate::object::ObjectRef;

pub(super) static CHECK: Check = Check {
    code: 205,
    slug: "notification-controller-down",
    title: "notification-controller runs, and its webhook receiver can be reached",
    severity: Severity::Error,
    impact: Impact::Pushes,
    needs: &[Need::Deployments, Need::Services, Need::EndpointSlices],
    page: include_str!("../../../../docs/checks/GA205.md"),
    judge,
};

/// The Service to which agentk sends push events.
const SERVICE: &str = "webhook-receiver";

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    let mut seen = BTreeSet::new();
    for deployment in controller::running(facts, judgement, "notification-controller")? {
        if seen.insert(deployment.metadata.namespace.as_str()) {
            look(facts, judgement, deployment);
        }
    }
    Ok(())
}

/// The Service of one installation.
fn look(facts: &Facts<'_>, judgement: &mut Judgement, deployment: &Workload) {
    let namespace = deployment.metadata.namespace.as_str();
    let object = ObjectRef::new("Service", namespace, SERVICE);
    let service = judgement.known(facts.snapshot.services.find(namespace, SERVICE));
    let slices = judgement.known(facts.snapshot.endpoint_slices.in_namespace(namespace));
    let Some(service) = service else { return };
    let Some(service) = service else {
        let text = "apply Flux's manifests again: they hold this Service (needs the Flux CLI)";
        let message = "does not exist: agentk cannot hand push events to Flux";
        judgement.find(Finding::new(object, message, Remedy::say(text).reapply_flux(facts)));
        return;
    };
    if slices.is_some_and(|slices| !slices.into_iter().any(is_ready)) {
        judgement.find(without_endpoint(facts, &object, service, deployment));
    }
}

/// Whether a slice of the Service has an endpoint that takes requests. `ready` left out means yes.
fn is_ready(slice: &EndpointSlice) -> bool {
    slice.metadata.label("kubernetes.io/service-name") == Some(SERVICE)
        && slice.endpoints.iter().any(|e| e.conditions.ready.unwrap_or(true))
}

fn without_endpoint(facts: &Facts<'_>, object: &ObjectRef, service: &Service, to: &Workload) -> Finding {
    if !selects(&service.spec.selector, &to.spec.template.metadata.labels) {
        let message = "selects no pod of notification-controller: agentk cannot hand push events to Flux";
        let text = "apply Flux's manifests again: they hold the right selector (needs the Flux CLI)";
        return Finding::new(object.clone(), message, Remedy::say(text).reapply_flux(facts));
    }
    let remedy = Remedy::say(
        "look at its endpoints; restart notification-controller, whose new pod enters itself anew; if none appears, \
         the cluster's own endpoint controller (kube-controller-manager) is at fault",
    )
    .run(kubectl(&object.namespace, "get endpointslices -l").word(format!("kubernetes.io/service-name={SERVICE}")))
    .restart(&to.metadata.object("Deployment"));
    let message = "has no ready endpoint: agentk cannot hand push events to Flux";
    Finding::new(object.clone(), message, remedy)
}

#[cfg(test)]
mod tests {
    use super::super::controller::testing::controller_cases;
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::WhyKind;
    use crate::fixture;
    use crate::snapshot::Listing;

    #[test]
    fn a_controller_that_does_not_run_is_found() {
        let consequence = "no push event triggers Flux and no notification leaves it";
        controller_cases(&CHECK, "notification-controller", consequence);
    }

    #[test]
    fn a_service_that_leads_nowhere_is_found() {
        let subject = ObjectRef::new("Service", "flux-system", "webhook-receiver");
        let gone = finding(&CHECK, |s| s.services.items.clear());
        assert_eq!(gone.subject, subject);
        assert!(gone.message.starts_with("does not exist"), "{}", gone.message);

        let no_slice = finding(&CHECK, |s| s.endpoint_slices.items.clear());
        assert_eq!(no_slice.subject, subject);
        let not_ready = finding(&CHECK, |s| {
            s.endpoint_slices.items[0].endpoints[0].conditions.ready = Some(false);
        });
        assert!(not_ready.message.starts_with("has no ready endpoint"), "{}", not_ready.message);

        let astray = finding(&CHECK, |s| {
            s.services.items[0].spec.selector.insert("app".to_owned(), "other".to_owned());
            s.endpoint_slices.items[0].endpoints.clear();
        });
        assert!(astray.message.starts_with("selects no pod"), "{}", astray.message);
    }

    #[test]
    fn near_misses_pass_and_only_the_cause_is_named() {
        passes(&CHECK, |s| s.endpoint_slices.items[0].endpoints[0].conditions.ready = None);
        passes(&CHECK, |s| {
            let mut other = s.endpoint_slices.items[0].clone();
            other.endpoints.clear();
            s.endpoint_slices.items.insert(0, other);
        });
        let cause = finding(&CHECK, |s| {
            fixture::deployment_mut(s, "notification-controller").spec.replicas = Some(0);
            s.endpoint_slices.items.clear();
        });
        assert_eq!(cause.subject.kind, "Deployment");
    }

    #[test]
    fn a_missing_service_is_found_without_endpoints() {
        let judgement = after(&CHECK, |s| {
            s.services.items.clear();
            s.endpoint_slices = Listing::unknown(Why::new(WhyKind::Forbidden, "list endpointslices", "no"));
        });
        assert_eq!((judgement.verdict(), judgement.unknown.len()), (Verdict::Fail, 1));
    }
}
