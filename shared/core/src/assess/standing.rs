//! What keeps a Flux object from being ready, in words: shared by the checks of chains of such objects.

use super::release::failure;
use super::{Finding, Judgement, Severity};
use crate::facts::readiness::{Readiness, readiness};
use crate::facts::{HelmRelease, Kustomization, Source};
use crate::object::ObjectRef;

/// How an object falls short of being ready.
pub(super) struct Shortfall {
    /// A verb phrase, without a full stop.
    pub(super) phrase: String,
    /// What the condition says.
    pub(super) evidence: String,
    /// Whether it is on its way and has not failed.
    pub(super) waits: bool,
}

impl Shortfall {
    /// Notes that it is too early to tell where the object is only on its way.
    pub(super) fn note(&self, judgement: &mut Judgement, object: &ObjectRef) {
        if self.waits {
            judgement.too_early(object, &self.phrase);
        }
    }

    /// Writes what shows it into a finding: a warning where the object is only on its way, else of this severity.
    pub(super) fn shown_in(self, finding: Finding, severity: Severity) -> Finding {
        let severity = if self.waits { Severity::Warning } else { severity };
        finding.because(self.evidence).severity(severity)
    }
}

/// How a source falls short; a HelmRepository of type `oci` has no status.
pub(super) fn source(source: &Source) -> Option<Shortfall> {
    if source.spec.kind == "oci" {
        return None;
    }
    let (meta, status) = (&source.metadata, &source.status);
    let state =
        readiness(&status.conditions, meta.generation, status.observed_generation, source.spec.suspend);
    shortfall(state, status.artifact.is_some())
}

/// How a Kustomization falls short.
pub(super) fn kustomization(k: &Kustomization) -> Option<Shortfall> {
    let status = &k.status;
    let state =
        readiness(&status.conditions, k.metadata.generation, status.observed_generation, k.spec.suspend);
    shortfall(state, !status.last_applied_revision.is_empty())
}

/// How a HelmRelease falls short.
pub(super) fn release(r: &HelmRelease) -> Option<Shortfall> {
    let status = &r.status;
    let state =
        readiness(&status.conditions, r.metadata.generation, status.observed_generation, r.spec.suspend);
    let shortfall = shortfall(state, !status.history.is_empty())?;
    // A release that gave up says only that; what failed, and what runs now, is said elsewhere.
    Some(match failure(r).filter(|_| !shortfall.waits && matches!(state, Readiness::Failed(_))) {
        Some((phrase, evidence)) if !evidence.is_empty() => Shortfall { phrase, evidence, ..shortfall },
        _ => shortfall,
    })
}

/// An object that worked before and is at work again does not fall short. One that is suspended is another check's.
fn shortfall(state: Readiness<'_>, worked: bool) -> Option<Shortfall> {
    let says = |phrase: String, evidence: &str, waits: bool| {
        Some(Shortfall { phrase, evidence: evidence.to_owned(), waits })
    };
    match state {
        Readiness::Ready | Readiness::Suspended => None,
        Readiness::Failed(c) => says(format!("is not ready ({})", c.reason), &c.message, false),
        Readiness::Waiting(c) => says("waits for what it depends on".to_owned(), &c.message, false),
        Readiness::Progressing(_) | Readiness::NotObserved if worked => None,
        Readiness::Progressing(c) => says("was never ready yet".to_owned(), &c.message, true),
        Readiness::NotObserved => says("was not taken up by its controller yet".to_owned(), "", true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn an_object_at_work_falls_short_only_if_it_never_worked() {
        let mut s = fixture::healthy();
        let k = &mut s.kustomizations.items[0];
        assert!(kustomization(k).is_none());
        k.status.conditions[0].status = "Unknown".to_owned();
        assert!(kustomization(k).is_none());
        k.status.last_applied_revision.clear();
        assert!(kustomization(k).is_some_and(|s| s.waits && s.phrase == "was never ready yet"));
        k.status.conditions.clear();
        assert!(kustomization(k).is_some_and(|s| s.waits && s.phrase.contains("not taken up")));
        k.status.conditions = fixture::not_ready("BuildFailed", "no such file");
        let failed = kustomization(k).expect("falls short");
        assert_eq!(
            (failed.phrase.as_str(), failed.evidence.as_str(), failed.waits),
            ("is not ready (BuildFailed)", "no such file", false)
        );
        k.spec.suspend = true;
        assert!(kustomization(k).is_none());
    }

    #[test]
    fn a_static_helm_repository_is_ready() {
        let mut s = fixture::healthy();
        let repository = &mut s.helm_repositories.items[0];
        repository.status = crate::facts::SourceStatus::default();
        assert!(source(repository).is_some());
        repository.spec.kind = "oci".to_owned();
        assert!(source(repository).is_none());
    }
}
