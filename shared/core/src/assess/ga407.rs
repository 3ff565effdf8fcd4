//! GA407: each source is fetched.

use jiff::SignedDuration;

use super::ending::ending;
use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::command::{Command, Program};
use crate::facts::failure::classify;
use crate::facts::readiness::{Readiness, lasts, readiness, since};
use crate::facts::{Condition, Facts, Source, Why};
use crate::need::Need;
use crate::object::ObjectRef;
use crate::text::{age, revision};

pub(super) static CHECK: Check = Check {
    code: 407,
    slug: "source-not-fetched",
    title: "every source is fetched",
    severity: Severity::Error,
    impact: Impact::Delivery,
    needs: &[
        Need::GitRepositories,
        Need::OciRepositories,
        Need::Buckets,
        Need::HelmRepositories,
        Need::HelmCharts,
    ],
    page: include_str!("../../../../docs/checks/GA407.md"),
    judge,
};

/// How long source-controller may take: well above the default timeout of one fetch.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    for (kind, listing) in facts.source_kinds() {
        for source in judgement.each(listing) {
            // source-controller does not fetch a HelmRepository of type oci and writes it no status.
            if let Some(found) = ending(facts, &source.metadata.object(kind), &source.metadata, &source.status.conditions) {
                judgement.examine();
                judgement.findings.extend(found);
                continue;
            }
            if source.spec.suspend || (kind == "HelmRepository" && source.spec.kind == "oci") {
                continue;
            }
            judgement.examine();
            if let Some(why) = facts.unwatched(kind, &source.metadata) {
                judgement.find(unwatched(facts, source.metadata.object(kind), &format!("is not fetched: {why}")));
                continue;
            }
            let found = look(facts, judgement, source.metadata.object(kind), source);
            judgement.findings.extend(found);
        }
    }
    judgement.skip("there is no source that is fetched");
    Ok(())
}

/// Nobody reconciles it, whatever its conditions say of earlier times.
pub(super) fn unwatched(facts: &Facts<'_>, object: ObjectRef, message: &str) -> Finding {
    let text = "give it the label of a shard that runs (sharding.fluxcd.io/key), or none for the controller that takes all \
                others; or start the controller of its shard";
    let remedy = Remedy::in_git(facts, &object, text)
        .run(Command::from(Program::new("kubectl get deployments --all-namespaces --selector app.kubernetes.io/part-of=flux")));
    Finding::new(object, message, remedy).explains()
}

fn look(
    facts: &Facts<'_>,
    judgement: &mut Judgement,
    object: ObjectRef,
    source: &Source,
) -> Option<Finding> {
    let status = &source.status;
    let long = lasts(&status.conditions, &source.metadata, facts.now, PATIENCE);
    // One that holds an artifact of its present spec is fetched; a new revision may be on its way.
    let worked = status.artifact.is_some() && status.observed_generation >= source.metadata.generation;
    match readiness(&status.conditions, source.metadata.generation, status.observed_generation, false) {
        Readiness::Ready | Readiness::Suspended => None,
        Readiness::Failed(condition) | Readiness::Waiting(condition) => Some(failed(facts, object, source, condition)),
        Readiness::Progressing(_) | Readiness::NotObserved if long => Some(forgotten(facts, object, source)),
        Readiness::Progressing(_) | Readiness::NotObserved => {
            if !worked {
                judgement.too_early(object, "source-controller has not finished with it");
            }
            None
        }
    }
}

fn failed(facts: &Facts<'_>, object: ObjectRef, source: &Source, condition: &Condition) -> Finding {
    let failure = classify(condition);
    let remedy = Remedy::of_failure(facts, &object, source, failure);
    let message = format!("is not fetched: {}", failure.phrase());
    let key = facts.source_failure(&object, source, condition);
    Finding::new(object, message, remedy).failure(key).because(&condition.message).because(held(facts, source))
}

/// What it still holds: consumers stay Ready with it.
fn held(facts: &Facts<'_>, source: &Source) -> String {
    match source.status.artifact.as_ref() {
        Some(artifact) => {
            let when = artifact.last_update_time.map(|at| format!(" of {} ago", age(facts.now, at)));
            format!("it still holds {}{}", revision(&artifact.revision), when.unwrap_or_default())
        }
        None => "it was never fetched".to_owned(),
    }
}

fn forgotten(facts: &Facts<'_>, object: ObjectRef, source: &Source) -> Finding {
    let when = since(&source.status.conditions, &source.metadata).map(|at| format!(" for {}", age(facts.now, at)));
    let message = format!("is not fetched: source-controller has not dealt with it{}", when.unwrap_or_default());
    let text = "ask for a fetch; where nothing changes, restart source-controller (GA202 tells whether it runs)";
    let controller = facts.flux.expected("source-controller", &source.metadata);
    let remedy = Remedy::say(text).reconcile(&object).restart(&controller);
    Finding::new(object, message, remedy).because(held(facts, source))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn failing(message: &'static str) -> impl FnOnce(&mut Snapshot) {
        move |s| fixture::git_mut(s, "flux-system").status.conditions = fixture::fetch_failed("GitOperationFailed", message)
    }

    #[test]
    fn a_failure_is_found_with_its_class() {
        let found = finding(&CHECK, failing("unable to clone 'https://h/x': authentication required"));
        assert_eq!(found.subject.to_string(), "GitRepository flux-system/flux-system");
        assert_eq!(found.message, "is not fetched: the server refused its credential (wrong, expired or revoked)");
        assert_eq!(
            found.evidence,
            ["unable to clone 'https://h/x': authentication required", "it still holds main@11111111 of 1d2h ago"]
        );
        assert!(found.remedy.lines().last().expect("one").contains("requestedAt"));
        assert!(finding(&CHECK, failing("couldn't find remote ref")).message.contains("branch, tag or commit"));
    }

    #[test]
    fn an_object_of_a_shard_that_nobody_watches_is_found() {
        let label = |s: &mut Snapshot, shard: &str| {
            let args = |name: &str, selector: &str| (name.to_owned(), format!("--watch-label-selector={selector}"));
            let (_, main) = args("source-controller", "!sharding.fluxcd.io/key");
            fixture::deployment_mut(s, "source-controller").spec.template.spec.containers[0].args.0.push(main);
            let mut made = fixture::deployment_mut(s, "source-controller").clone();
            let (name, selector) = args("source-controller-shard1", "sharding.fluxcd.io/key=shard1");
            made.metadata.name = name;
            made.spec.template.spec.containers[0].args.0.retain(|arg| !arg.starts_with("--watch-label-selector"));
            made.spec.template.spec.containers[0].args.0.push(selector);
            s.deployments.items.push(made);
            let labels = &mut fixture::git_mut(s, "flux-system").metadata.labels;
            labels.insert("sharding.fluxcd.io/key".to_owned(), shard.to_owned());
        };
        let found = finding(&CHECK, |s| label(s, "shard2"));
        assert_eq!(found.message, "is not fetched: no source-controller watches its shard (sharding.fluxcd.io/key: shard2)");
        passes(&CHECK, |s| label(s, "shard1"));
        // Where not all Deployments were seen, another may watch it.
        let limited = after(&CHECK, |s| {
            label(s, "shard2");
            s.deployments.namespaces = Some(vec!["flux-system".to_owned()]);
        });
        assert!(limited.findings.is_empty(), "{limited:?}");
    }

    #[test]
    fn every_kind_is_looked_at() {
        for kind in ["OCIRepository", "Bucket", "HelmRepository", "HelmChart"] {
            let found = finding(&CHECK, |s| {
                failing("no such host")(s);
                let source = s.git_repositories.items.remove(0);
                let listing = match kind {
                    "OCIRepository" => &mut s.oci_repositories,
                    "Bucket" => &mut s.buckets,
                    "HelmRepository" => &mut s.helm_repositories,
                    _ => &mut s.helm_charts,
                };
                listing.items.push(source);
            });
            assert_eq!(found.subject.kind, kind);
        }
    }

    #[test]
    fn a_source_that_nobody_looks_at_is_found_and_hangs_on_its_controller() {
        let mut s = fixture::healthy();
        fixture::git_mut(&mut s, "flux-system").status.conditions.clear();
        let facts = Facts::derive(&s);
        let found = super::super::assess(&facts, [&CHECK]).remove(0).judgement.findings.remove(0);
        assert_eq!(found.message, "is not fetched: source-controller has not dealt with it for 1d2h");
        let controller = fixture::object("Deployment", "flux-system", "source-controller");
        assert!(facts.graph.needs(&found.subject).contains(&controller));
    }

    #[test]
    fn young_static_and_suspended_ones_are_not_reported() {
        passes(&CHECK, |s| {
            let source = fixture::git_mut(s, "flux-system");
            source.status.conditions.clear();
            source.metadata.creation_timestamp = "2026-11-02T09:55:00Z".parse().ok();
        });
        passes(&CHECK, |s| {
            s.helm_repositories.items[0].spec.kind = "oci".to_owned();
            s.helm_repositories.items[0].status.conditions.clear();
        });
        passes(&CHECK, |s| {
            failing("no such host")(s);
            fixture::git_mut(s, "flux-system").spec.suspend = true;
        });
        let none = after(&CHECK, |s| {
            s.git_repositories.items.clear();
            s.helm_repositories.items.clear();
            s.helm_charts.items.clear();
        });
        assert_eq!(none.verdict(), Verdict::Skipped);
    }
}
