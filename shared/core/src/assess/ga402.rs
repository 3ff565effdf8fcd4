//! GA402: each Receiver is ready and has a webhook path.

use jiff::SignedDuration;

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::readiness::{Readiness, lasts, readiness};
use crate::facts::{Condition, Facts, Receiver, Why};
use crate::need::Need;

pub(super) static CHECK: Check = Check {
    code: 402,
    slug: "receiver-not-ready",
    title: "every Receiver is ready and has a webhook path",
    severity: Severity::Error,
    impact: Impact::Pushes,
    needs: &[Need::Receivers],
    page: include_str!("../../../../docs/checks/GA402.md"),
    judge,
};

/// How long notification-controller may take.
const PATIENCE: SignedDuration = SignedDuration::from_mins(5);

/// What a young Receiver waits for.
const NOT_TAKEN_UP: &str = "notification-controller has not finished with it";

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    for receiver in judgement.each(&facts.snapshot.receivers) {
        let status = &receiver.status;
        let (generation, suspended) = (receiver.metadata.generation, receiver.spec.suspend);
        let worked = status.observed_generation >= generation && !status.webhook_path.0.is_empty();
        let long = lasts(&status.conditions, &receiver.metadata, facts.now, PATIENCE);
        let found = match readiness(&status.conditions, generation, status.observed_generation, suspended) {
            Readiness::Suspended => continue,
            Readiness::Failed(c) | Readiness::Waiting(c) => Some(failed(facts, receiver, c)),
            Readiness::Ready => (status.webhook_path.0.is_empty()).then(|| {
                quiet(receiver, "is ready, but has no webhook path")
            }),
            Readiness::Progressing(_) | Readiness::NotObserved if long => {
                Some(quiet(receiver, "waits for notification-controller, which has not taken it up"))
            }
            Readiness::Progressing(_) | Readiness::NotObserved => {
                if !worked {
                    judgement.too_early(receiver.metadata.object("Receiver"), NOT_TAKEN_UP);
                }
                None
            }
        };
        judgement.examine();
        judgement.findings.extend(found);
    }
    judgement.skip("there is no Receiver");
    Ok(())
}

fn failed(facts: &Facts<'_>, receiver: &Receiver, condition: &Condition) -> Finding {
    let object = receiver.metadata.object("Receiver");
    let (message, remedy) = match condition.reason.as_str() {
        "TokenNotFound" => (
            "takes no push events: its Secret is missing or has no key `token`".to_owned(),
            Remedy::of_receiver_secret(facts, receiver),
        ),
        reason => {
            let text = "correct what the condition names in the Receiver's spec";
            (format!("takes no push events: {reason}"), Remedy::in_git(facts, &object, text).reconcile(&object))
        }
    };
    Finding::new(object, message, remedy).because(&condition.message)
}

fn quiet(receiver: &Receiver, message: &str) -> Finding {
    let object = receiver.metadata.object("Receiver");
    let text = "let notification-controller look at it again; where nothing changes, GA205 tells why";
    Finding::new(object.clone(), message, Remedy::say(text).reconcile(&object))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn status(reason: &'static str, message: &'static str) -> impl FnOnce(&mut Snapshot) {
        move |s| s.receivers.items[0].status.conditions = fixture::not_ready(reason, message)
    }

    #[test]
    fn a_receiver_that_failed_is_found() {
        let found = finding(&CHECK, status("TokenNotFound", "unable to read token from secret"));
        assert_eq!(found.subject.to_string(), "Receiver flux-system/gitlab-flux-system");
        assert_eq!(found.message, "takes no push events: its Secret is missing or has no key `token`");
        assert_eq!(found.evidence, ["unable to read token from secret"]);
        assert!(found.remedy.lines()[0].starts_with("kubectl -n flux-system delete receiver."));
        let found = finding(&CHECK, status("ValidationFailed", "bad"));
        assert_eq!(found.message, "takes no push events: ValidationFailed");
    }

    #[test]
    fn a_receiver_without_a_path_or_a_controller_is_found() {
        let found = finding(&CHECK, |s| s.receivers.items[0].status.webhook_path.0.clear());
        assert_eq!(found.message, "is ready, but has no webhook path");
        let found = finding(&CHECK, |s| s.receivers.items[0].status.conditions.clear());
        assert_eq!(found.message, "waits for notification-controller, which has not taken it up");
    }

    #[test]
    fn young_and_suspended_ones_are_not_reported() {
        passes(&CHECK, |s| {
            s.receivers.items[0].status.conditions.clear();
            s.receivers.items[0].metadata.creation_timestamp = fixture::NOW.parse().ok();
        });
        passes(&CHECK, |s| {
            status("TokenNotFound", "x")(s);
            s.receivers.items[0].spec.suspend = true;
        });
        assert_eq!(after(&CHECK, |s| s.receivers.items.clear()).verdict(), Verdict::Skipped);
    }
}
