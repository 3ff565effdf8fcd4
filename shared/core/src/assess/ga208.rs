//! GA208: Flux manages itself from Git, and that works.

use super::standing::{self, Shortfall};
use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::command::kubectl;
use crate::facts::flux::CONTROLLERS;
use crate::facts::{Facts, Kustomization, Why};
use crate::need::Need;
use crate::object::ObjectRef;

pub(super) static CHECK: Check = Check {
    code: 208,
    slug: "bootstrap-not-ready",
    title: "the bootstrap Kustomization and its source exist and are ready",
    severity: Severity::Error,
    impact: Impact::Delivery,
    needs: &[Need::GitRepositories, Need::Kustomizations, Need::Deployments],
    page: include_str!("../../../../docs/checks/GA208.md"),
    judge,
};

/// Definition of the Flux Operator's kind; where it is, Flux is managed by the operator.
const OPERATOR: &str = "fluxinstances.fluxcd.controlplane.io";

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    let (object, found) = facts.bootstrap()?;
    let Some(kustomization) = found else {
        match absent(facts, &object) {
            Ok(finding) => judgement.find(finding),
            Err(reason) => judgement.skip(reason),
        }
        return Ok(());
    };
    judgement.examine();
    let source = Facts::resolve(&kustomization.spec.source_ref, &kustomization.metadata.namespace);
    let listing = facts.sources(&source.kind);
    let state = listing.map(|listing| listing.find(&source.namespace, &source.name)).transpose();
    let of_source = match judgement.known(state) {
        Some(Some(None)) => Some(gone()),
        Some(Some(Some(found))) => standing::source(found),
        // A kind of source that is not read, or one that could not be.
        Some(None) | None => None,
    };
    let of_source = of_source.map(|shortfall| (source.clone(), shortfall));
    let of_kustomization = || standing::kustomization(kustomization).map(|shortfall| (object.clone(), shortfall));
    if let Some((broken, shortfall)) = of_source.or_else(of_kustomization) {
        shortfall.note(judgement, &broken);
        judgement.find(not_ready(facts, kustomization, &broken, shortfall));
    }
    Ok(())
}

fn gone() -> Shortfall {
    Shortfall { phrase: "does not exist".to_owned(), evidence: String::new(), waits: false }
}

fn not_ready(facts: &Facts<'_>, k: &Kustomization, broken: &ObjectRef, shortfall: Shortfall) -> Finding {
    let kustomization = k.metadata.object("Kustomization");
    let message = format!("does not work: {broken} {}", shortfall.phrase);
    let remedy = if shortfall.phrase == gone().phrase {
        Remedy::say("bootstrap Flux again, into the same repository and directory (needs the Flux CLI)").bootstrap_flux()
    } else {
        Remedy::say("mend what the condition says, in Git or in the credential, then have Flux try again")
            .run(kubectl(&broken.namespace, "describe").object(broken))
            .reconcile(broken)
    };
    let remedy = if *broken == kustomization { remedy } else { remedy.reconcile(&kustomization) };
    shortfall.shown_in(Finding::new(facts.bootstrap_object(&kustomization), message, remedy), Severity::Error)
}

/// What it means that no Kustomization manages Flux; `Err` says why it means nothing.
fn absent(facts: &Facts<'_>, expected: &ObjectRef) -> Result<Finding, &'static str> {
    let controller = |name: &str| facts.controller(name).ok().flatten();
    if !CONTROLLERS.iter().any(|(name, _)| controller(name).is_some()) {
        return Err("Flux does not run here");
    }
    if facts.snapshot.crds.items.iter().any(|crd| crd.metadata.name == OPERATOR) {
        return Err("the Flux Operator manages Flux here");
    }
    let was_bootstrapped = controller("kustomize-controller")
        .is_some_and(|d| d.metadata.label("kustomize.toolkit.fluxcd.io/name").is_some());
    if controller("kustomize-controller").is_none() && facts.needs_controller("kustomize-controller") == Ok(false) {
        return Err("kustomize-controller is not installed, and no object here needs it");
    }
    let object = facts.bootstrap_object(expected);
    if was_bootstrapped {
        let message = format!("does not work: {expected}, from which Flux was installed, does not exist any more");
        let remedy =
            Remedy::say("bootstrap Flux again, into the same repository and directory (needs the Flux CLI)");
        return Ok(Finding::new(object, message, remedy.bootstrap_flux()));
    }
    let message = "does not exist: Flux itself is not managed from Git";
    let remedy = Remedy::say(
        "if Flux is meant to manage itself, bootstrap it (needs the Flux CLI); if it was installed another way on \
         purpose, skip this check",
    );
    Ok(Finding::new(object, message, remedy.bootstrap_flux()).severity(Severity::Warning))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::{Crd, Meta};
    use crate::fixture::{deployment_mut, fetch_failed, git_mut, not_ready};
    use crate::snapshot::Snapshot;

    fn without_bootstrap(s: &mut Snapshot) {
        s.kustomizations.items.retain(|k| k.metadata.name != "flux-system");
    }

    #[test]
    fn a_bootstrap_that_does_not_work_is_found() {
        let failed = finding(&CHECK, |s| {
            s.kustomizations.items[0].status.conditions = not_ready("BuildFailed", "no such file");
        });
        assert_eq!(failed.subject.to_string(), "Bootstrap flux-system/flux-system");
        assert_eq!(failed.message, "does not work: Kustomization flux-system/flux-system is not ready (BuildFailed)");
        assert_eq!((&failed.evidence[..], failed.severity), (&["no such file".to_owned()][..], Some(Severity::Error)));
        assert_eq!(failed.remedy.commands.len(), 2);

        let source = finding(&CHECK, |s| {
            git_mut(s, "flux-system").status.conditions = fetch_failed("GitOperationFailed", "authentication required");
            s.kustomizations.items[0].status.conditions = not_ready("ArtifactFailed", "no artifact");
        });
        let message = "does not work: GitRepository flux-system/flux-system is not ready (GitOperationFailed)";
        assert_eq!(source.message, message, "the first cause only");
        assert_eq!(source.remedy.commands.len(), 3);

        let gone = finding(&CHECK, |s| s.git_repositories.items.retain(|g| g.metadata.name != "flux-system"));
        assert_eq!(gone.message, "does not work: GitRepository flux-system/flux-system does not exist");
    }

    #[test]
    fn flux_that_is_not_managed_from_git_is_found() {
        let never = finding(&CHECK, without_bootstrap);
        assert_eq!(never.message, "does not exist: Flux itself is not managed from Git");
        assert_eq!(never.severity, Some(Severity::Warning));
        let no_more = finding(&CHECK, |s| {
            let labels = &mut deployment_mut(s, "kustomize-controller").metadata.labels;
            labels.insert("kustomize.toolkit.fluxcd.io/name".to_owned(), "flux".to_owned());
        });
        assert_eq!(no_more.subject.to_string(), "Bootstrap flux-system/flux");
        assert!(no_more.message.contains("does not exist any more"), "{}", no_more.message);
        assert_eq!(no_more.severity, None);
    }

    #[test]
    fn without_flux_or_with_its_operator_there_is_nothing_to_judge() {
        let without_flux = after(&CHECK, |s| {
            without_bootstrap(s);
            s.deployments.items.clear();
        });
        assert_eq!(without_flux.verdict(), Verdict::Skipped);
        let operator = after(&CHECK, |s| {
            without_bootstrap(s);
            s.crds.items.push(Crd { metadata: Meta { name: OPERATOR.to_owned(), ..Meta::default() } });
        });
        assert_eq!(operator.verdict(), Verdict::Skipped);
    }

    #[test]
    fn near_misses_pass() {
        passes(&CHECK, |s| s.kustomizations.items[0].spec.suspend = true);
        passes(&CHECK, |s| s.kustomizations.items[0].status.conditions[0].status = "Unknown".to_owned());
        passes(&CHECK, |s| s.kustomizations.items[1].status.conditions = not_ready("BuildFailed", "other"));
    }
}
