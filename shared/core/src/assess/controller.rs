//! Whether a Flux controller runs: shared by GA202 to GA205.

use super::workload::unwell;
use super::{Finding, Judgement, Remedy};
use crate::command::kubectl;
use crate::facts::flux::CONTROLLERS;
use crate::facts::{Facts, Why, Workload};
use crate::object::ObjectRef;

/// Looks at every instance of a controller; the Deployments with which nothing is wrong.
pub(super) fn running<'s>(
    facts: &Facts<'s>,
    judgement: &mut Judgement,
    name: &str,
) -> Result<Vec<&'s Workload>, Why> {
    let instances = facts.instances(name)?;
    if instances.is_empty() {
        match judgement.known(facts.needs_controller(name)) {
            Some(true) => {
                judgement.examine();
                judgement.find(missing(facts, name));
            }
            Some(false) => judgement.skip("it is not installed, and no object here needs it"),
            None => {}
        }
    }
    Ok(instances.into_iter().filter(|instance| is_running(facts, judgement, name, instance)).collect())
}

fn is_running(facts: &Facts<'_>, judgement: &mut Judgement, name: &str, deployment: &Workload) -> bool {
    judgement.examine();
    let object = deployment.metadata.object("Deployment");
    if deployment.spec.replicas == Some(0) {
        judgement.find(scaled_down(&object, name));
        return false;
    }
    let Some(mut finding) = unwell(facts, judgement, &object, deployment) else {
        return true;
    };
    if deployment.status.ready_replicas == 0 {
        finding = finding.because(consequence(name));
    }
    judgement.find(finding);
    false
}

fn consequence(name: &str) -> &'static str {
    CONTROLLERS.iter().find(|(known, _)| *known == name).map_or("", |(_, consequence)| consequence)
}

fn missing(facts: &Facts<'_>, name: &str) -> Finding {
    let object = ObjectRef::new("Deployment", &facts.snapshot.flux_namespace, name);
    let remedy = Remedy::say(
        "apply Flux's manifests again (needs the Flux CLI); if Flux is managed from Git, see that its \
         gotk-components.yaml there still holds this controller, or it is deleted again",
    );
    Finding::new(object, format!("does not exist: {}", consequence(name)), remedy.reapply_flux(facts))
}

fn scaled_down(object: &ObjectRef, name: &str) -> Finding {
    let message = format!("is scaled to 0: {}", consequence(name));
    let remedy = Remedy::say("scale it to one replica; first ask who stopped it, and why")
        .run(kubectl(&object.namespace, "scale").object(object).words("--replicas=1"))
        .run(kubectl(&object.namespace, "rollout status").object(object).words("--timeout=2m"));
    Finding::new(object.clone(), message, remedy)
}

#[cfg(test)]
pub(super) mod testing {
    //! The cases that every controller's check has.

    use super::super::testing::{after, finding, passes};
    use crate::assess::{Check, Severity, Verdict};
    use crate::facts::{Pod, Why, WhyKind};
    use crate::fixture;
    use crate::snapshot::Listing;

    fn pod(name: &str) -> Pod {
        let json = serde_json::json!({
            "metadata": {"name": format!("{name}-1"), "namespace": "flux-system", "labels": {"app": name}},
            "status": {"phase": "Running", "containerStatuses": [{"name": "manager",
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                "lastState": {"terminated": {"reason": "Error", "exitCode": 1, "message": "no leases"}}}]}});
        serde_json::from_value(json).expect("a pod")
    }

    /// Runs them.
    #[track_caller]
    pub(crate) fn controller_cases(check: &'static Check, name: &'static str, consequence: &str) {
        let subject = format!("Deployment flux-system/{name}");
        let gone = finding(check, |s| s.deployments.items.retain(|d| d.metadata.name != name));
        assert_eq!(
            (gone.subject.to_string(), gone.message),
            (subject.clone(), format!("does not exist: {consequence}"))
        );
        assert!(gone.remedy.lines()[0].contains("flux install --export"), "{:?}", gone.remedy);

        let stopped = finding(check, |s| fixture::deployment_mut(s, name).spec.replicas = Some(0));
        assert_eq!(stopped.message, format!("is scaled to 0: {consequence}"));
        let scale = format!("kubectl -n flux-system scale deployment/{name} --replicas=1");
        assert_eq!(stopped.remedy.lines()[0], scale);

        let crashed = finding(check, |s| {
            fixture::deployment_mut(s, name).status.ready_replicas = 0;
            s.pods.items.push(pod(name));
        });
        assert_eq!(crashed.subject.to_string(), subject);
        assert_eq!(crashed.message, "does not run (CrashLoopBackOff): none of its 1 wanted pods is ready");
        let said = format!("Pod flux-system/{name}-1: container manager (exit code 1): no leases");
        assert_eq!(crashed.evidence, [said.as_str(), consequence]);
        assert!(crashed.remedy.lines().iter().any(|c| c.contains("--previous")), "{:?}", crashed.remedy);

        let blind = after(check, |s| {
            fixture::deployment_mut(s, name).status.ready_replicas = 0;
            s.pods = Listing::unknown(Why::new(WhyKind::Forbidden, "list pods", "no"));
        });
        assert_eq!(
            (blind.verdict(), blind.unknown.len()),
            (Verdict::Fail, 1),
            "the reason could be more exact"
        );

        let rolling = finding(check, |s| fixture::deployment_mut(s, name).metadata.generation = 2);
        assert_eq!(
            (rolling.message.as_str(), rolling.severity),
            ("is being rolled out", Some(Severity::Warning))
        );
        passes(check, |s| fixture::deployment_mut(s, name).spec.replicas = None);
        passes(check, |s| {
            let moved = fixture::deployment_mut(s, name);
            if name != "notification-controller" {
                moved.metadata.namespace = "elsewhere".to_owned();
            }
        });
    }
}
