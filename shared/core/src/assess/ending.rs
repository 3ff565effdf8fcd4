//! Flux objects whose deletion does not end.

use jiff::SignedDuration;

use super::{Finding, Remedy};
use crate::command::kubectl;
use crate::facts::failure::{Failing, Failure, FailureKey, classify};
use crate::facts::flux::controller_of;
use crate::facts::{Condition, Facts, Meta, condition};
use crate::object::ObjectRef;
use crate::text::age;

/// How long a deletion may take that reports no failure.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// The finding on an object that is being deleted, where that fails or takes long. `Some(None)`: it is on its way.
pub(super) fn ending(
    facts: &Facts<'_>,
    object: &ObjectRef,
    meta: &Meta,
    conditions: &[Condition],
) -> Option<Option<Finding>> {
    let since = meta.deletion_timestamp?;
    // What it says from before the deletion has nothing to do with it.
    let failed = ["Stalled", "Ready"].iter().find_map(|kind| {
        let bad = if *kind == "Stalled" { "True" } else { "False" };
        condition(conditions, kind).filter(|c| {
            c.status == bad && c.last_transition_time.is_none_or(|at| at >= since) || is_of_deletion(c)
        })
    });
    if failed.is_none() && facts.now.duration_since(since) < PATIENCE {
        return Some(None);
    }
    let class = failed.map_or(Failure::Other, classify);
    let controller = controller_of(&object.kind).unwrap_or("its controller");
    let why = match (failed, class) {
        (None, _) => format!("{controller} has not removed its finalizer"),
        (Some(failed), Failure::Other) => failed.reason.clone(),
        (Some(_), class) => class.phrase().to_owned(),
    };
    let message = format!("is being deleted for {}, and cannot be: {why}", age(facts.now, since));
    let key = failed.and_then(|c| FailureKey::of(class, &c.message, &Failing::default()));
    let finding = Finding::new(object.clone(), message, remedy(object, class, failed.is_some(), controller))
        .failure(key);
    Some(Some(finding.because(failed.map(|c| c.message.clone()).unwrap_or_default())))
}

/// Whether a condition speaks of a deletion, whenever it last changed: `PruneFailed` of kustomize-controller,
/// `UninstallFailed` of helm-controller.
fn is_of_deletion(condition: &Condition) -> bool {
    condition.status == "False" && ["PruneFailed", "UninstallFailed"].contains(&condition.reason.as_str())
}

fn remedy(object: &ObjectRef, class: Failure, said: bool, controller: &str) -> Remedy {
    let first = match (class.advice(), said) {
        (Some(advice), _) => advice.to_owned(),
        (None, true) => "mend what the message names".to_owned(),
        (None, false) => format!("see that {controller} runs and what its log says of the object"),
    };
    let text = |keep: &str| format!("{first}; the deletion then goes on by itself. {keep}");
    match object.kind.as_str() {
        "Kustomization" => Remedy::say(text(
            "Where what it applied is to stay, or is gone: with spec.prune set to false it ends without deleting anything",
        ))
        .patch(object, &serde_json::json!({"spec": {"prune": false}})),
        "HelmRelease" => Remedy::say(text(
            "Where what it installed is to stay, or is gone: suspended, it ends without uninstalling anything",
        ))
        .patch(object, &serde_json::json!({"spec": {"suspend": true}})),
        _ => Remedy::say(text("Nothing else is deleted with it")),
    }
}

/// Everything else that Flux and agentk need, and that hangs in its deletion: nothing new can take its place.
pub(super) fn others(facts: &Facts<'_>) -> Vec<Finding> {
    let s = facts.snapshot;
    let flux_crd = |meta: &Meta| meta.name.ends_with(".toolkit.fluxcd.io");
    let crds =
        s.crds.items.iter().map(|i| ("CustomResourceDefinition", &i.metadata)).filter(|(_, m)| flux_crd(m));
    let receivers = s.receivers.items.iter().map(|i| ("Receiver", &i.metadata));
    let alerts = s.alerts.items.iter().map(|i| ("Alert", &i.metadata));
    let providers = s.providers.items.iter().map(|i| ("Provider", &i.metadata));
    let secrets =
        s.secrets.iter().filter_map(|entry| Some(("Secret", &entry.shape.get().ok()?.as_ref()?.metadata)));
    let workloads = facts.own_workloads().map(|(kind, workload)| (kind, &workload.metadata));
    let all = crds.chain(receivers).chain(alerts).chain(providers).chain(secrets).chain(workloads);
    all.filter_map(|(kind, meta)| hanging(facts, kind, meta)).collect()
}

fn hanging(facts: &Facts<'_>, kind: &str, meta: &Meta) -> Option<Finding> {
    let since = meta.deletion_timestamp.filter(|since| facts.now.duration_since(*since) >= PATIENCE)?;
    let object = meta.object(kind);
    let held = match meta.finalizers.as_slice() {
        [] => String::new(),
        finalizers => format!(", held by its finalizer {}", finalizers.join(" and ")),
    };
    let effect = match kind {
        "CustomResourceDefinition" => ": with it goes every object of its kind",
        _ => ": it is gone once that ends, and cannot be applied again before",
    };
    let message = format!("is being deleted for {}{held}{effect}", age(facts.now, since));
    let text = "find out who deleted it, and what owns the finalizer; once that has done its work, or is gone for good, the deletion \
                ends, and Flux applies it again";
    let program =
        kubectl(&object.namespace, "get").object(&object).words("-o yaml --show-managed-fields=false");
    Some(Finding::new(object, message, Remedy::say(text).run(program)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::super::{Check, Verdict};
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn check(code: &str) -> &'static Check {
        Check::named(code).expect("a check")
    }

    fn since(at: &str) -> Option<jiff::Timestamp> {
        at.parse().ok()
    }

    const LONG_AGO: &str = "2026-11-02T07:00:00Z";

    #[test]
    fn a_deletion_that_does_not_end_is_found() {
        type Break = fn(&mut Snapshot);
        let cases: [(&str, Break, &str); 9] = [
            (
                "408",
                |s| {
                    s.kustomizations.items[1].status.conditions = fixture::not_ready(
                        "PruneFailed",
                        "persistentvolumeclaims \"data\" is forbidden: User \"x\" cannot delete resource",
                    )
                },
                "the service account lacks an RBAC permission",
            ),
            (
                "408",
                |s| {
                    s.kustomizations.items[1].status.conditions =
                        fixture::not_ready("PruneFailed", "something new")
                },
                "PruneFailed",
            ),
            (
                "408",
                |s| {
                    s.kustomizations.items[1].status.conditions = fixture::not_ready(
                        "PruneFailed",
                        "failed calling webhook \"x\": failed to call webhook: EOF",
                    )
                },
                "an admission webhook cannot be called",
            ),
            ("408", |_| {}, "kustomize-controller has not removed its finalizer"),
            (
                "408",
                |s| s.kustomizations.items[1].spec.suspend = true,
                "kustomize-controller has not removed its finalizer",
            ),
            (
                "408",
                |s| {
                    s.kustomizations.items[1].status.conditions =
                        fixture::not_ready("BuildFailed", "of last week")
                },
                "kustomize-controller has not removed its finalizer",
            ),
            (
                "408r",
                |s| {
                    s.helm_releases.items[0].status.conditions =
                        fixture::not_ready("UninstallFailed", "timed out waiting for the condition")
                },
                "something did not become ready in time",
            ),
            ("408r", |_| {}, "helm-controller has not removed its finalizer"),
            ("407", |_| {}, "source-controller has not removed its finalizer"),
        ];
        for (code, change, why) in cases {
            let found = finding(check(&code[..3]), |s| {
                change(s);
                let all = [
                    &mut s.kustomizations.items[1].status.conditions,
                    &mut s.helm_releases.items[0].status.conditions,
                ];
                all.into_iter()
                    .flatten()
                    .for_each(|c| c.last_transition_time = since("2026-10-25T07:00:00Z"));
                let meta = match code {
                    "408" => &mut s.kustomizations.items[1].metadata,
                    "408r" => &mut s.helm_releases.items[0].metadata,
                    _ => &mut fixture::git_mut(s, "flux-system").metadata,
                };
                meta.deletion_timestamp = since(LONG_AGO);
            });
            assert_eq!(found.message, format!("is being deleted for 3h, and cannot be: {why}"));
        }
    }

    #[test]
    fn whatever_hangs_in_its_deletion_is_found() {
        type Meta = crate::facts::Meta;
        type Pick = fn(&mut Snapshot) -> &mut Meta;
        let picks: [(&str, Pick); 7] = [
            ("CustomResourceDefinition", |s| {
                &mut s
                    .crds
                    .items
                    .iter_mut()
                    .find(|c| c.metadata.name.ends_with(".toolkit.fluxcd.io"))
                    .expect("one")
                    .metadata
            }),
            ("Receiver", |s| &mut s.receivers.items[0].metadata),
            ("Alert", |s| &mut s.alerts.items[0].metadata),
            ("Provider", |s| &mut s.providers.items[0].metadata),
            ("Secret", |s| &mut fixture::secret(s, "gitlab", "gitlab-agent-token").metadata),
            ("Deployment", |s| &mut fixture::deployment_mut(s, "nginx").metadata),
            ("Deployment", |s| &mut fixture::deployment_mut(s, "source-controller").metadata),
        ];
        for (kind, pick) in picks {
            let found = finding(check("702"), |s| {
                let meta = pick(s);
                meta.deletion_timestamp = since(LONG_AGO);
                meta.finalizers = vec!["example.com/keep".to_owned()];
            });
            assert_eq!(found.subject.kind, kind);
            assert!(
                found
                    .message
                    .starts_with("is being deleted for 3h, held by its finalizer example.com/keep: "),
                "{}",
                found.message
            );
            passes(check("702"), |s| pick(s).deletion_timestamp = since("2026-11-02T09:55:00Z"));
        }
    }

    #[test]
    fn a_deletion_on_its_way_is_none() {
        passes(check("408"), |s| {
            s.kustomizations.items[1].metadata.deletion_timestamp = since("2026-11-02T09:55:00Z")
        });
        passes(check("407"), |s| {
            fixture::git_mut(s, "flux-system").metadata.deletion_timestamp = since("2026-11-02T09:55:00Z")
        });
        let failing = after(check("408"), |s| {
            s.kustomizations.items[1].metadata.deletion_timestamp = since("2026-11-02T09:55:00Z");
            s.kustomizations.items[1].status.conditions = fixture::not_ready("PruneFailed", "x");
        });
        assert_eq!(failing.verdict(), Verdict::Fail);
    }
}
