//! GA411: each Receiver's Secret exists and fits its type.

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::{Facts, Receiver, SecretShape, ValueKind, Why};
use crate::need::Need;
use crate::object::ObjectRef;

pub(super) static CHECK: Check = Check {
    code: 411,
    slug: "receiver-secret-unusable",
    title: "every Receiver's Secret exists and fits its type",
    severity: Severity::Error,
    impact: Impact::Pushes,
    needs: &[Need::Receivers, Need::Secrets],
    page: include_str!("../../../../docs/checks/GA411.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    // A Receiver of type generic-oidc has no token.
    let with_token = |r: &&Receiver| r.spec.kind != "generic-oidc" || !r.spec.secret_ref.name.is_empty();
    for receiver in judgement.each(&facts.snapshot.receivers).iter().filter(with_token) {
        let object = ObjectRef::new("Secret", &receiver.metadata.namespace, &receiver.spec.secret_ref.name);
        let Some(secret) = judgement.known(facts.secret(&object.namespace, &object.name)) else { continue };
        judgement.examine();
        if let Some(message) = wrong_with(receiver, secret) {
            let seen = judgement.findings.iter().any(|f| f.subject == object && f.message == message);
            if !seen {
                judgement.find(Finding::new(object, message, Remedy::of_receiver_secret(facts, receiver)));
            }
        }
    }
    judgement.skip("there is no Receiver with a token");
    Ok(())
}

/// An empty token is right only for type generic, as agentk 16.x makes it: there the path alone is the secret.
fn wrong_with(receiver: &Receiver, secret: Option<&SecretShape>) -> Option<String> {
    let of = receiver.metadata.object("Receiver");
    let Some(secret) = secret else { return Some(format!("does not exist, and {of} needs it")) };
    match secret.keys.get("token").map(|token| token.kind) {
        None => Some(format!("has no key `token`, which {of} needs")),
        Some(ValueKind::Empty) if receiver.spec.kind != "generic" => {
            Some(format!("holds an empty token, and {of} is of type {}, which checks it", receiver.spec.kind))
        }
        Some(ValueKind::Placeholder) => Some(format!("holds the placeholder of the documents instead of the token of {of}")),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::{KeyShape, Observed};
    use crate::fixture;
    use crate::snapshot::Snapshot;

    const NAME: &str = "gitlab-receiver-flux-system";

    fn token(s: &mut Snapshot, value: &str) {
        let shape = KeyShape::of(value.as_bytes(), b"");
        fixture::secret(s, "flux-system", NAME).keys.insert("token".to_owned(), shape);
    }

    #[test]
    fn a_secret_of_no_use_is_found() {
        let missing = finding(&CHECK, |s| fixture::secret_entry(s, "flux-system", NAME).shape = Observed::Known(None));
        assert_eq!(missing.subject, ObjectRef::new("Secret", "flux-system", NAME));
        assert_eq!(missing.message, "does not exist, and Receiver flux-system/gitlab-flux-system needs it");
        let key = finding(&CHECK, |s| fixture::secret(s, "flux-system", NAME).keys.clear());
        assert!(key.message.starts_with("has no key `token`"));
        let empty = finding(&CHECK, |s| token(s, ""));
        assert_eq!(
            empty.message,
            "holds an empty token, and Receiver flux-system/gitlab-flux-system is of type generic-hmac, which checks it"
        );
        assert_eq!(
            empty.remedy.lines(),
            [
                "kubectl -n flux-system delete receiver.notification.toolkit.fluxcd.io/gitlab-flux-system \
                 secret/gitlab-receiver-flux-system --ignore-not-found",
                "kubectl -n gitlab rollout restart deployment/gitlab-agent-v2",
            ]
        );
    }

    #[test]
    fn one_made_by_hand_gets_a_new_token() {
        let found = finding(&CHECK, |s| {
            let receiver = &mut s.receivers.items[0];
            receiver.metadata.annotations.0.clear();
            receiver.spec.kind = "gitlab".to_owned();
            receiver.spec.secret_ref.name = "flux-system".to_owned();
        });
        assert!(found.remedy.lines()[0].starts_with("read -rs VALUE"));
        assert!(found.remedy.lines()[2].ends_with(r#"-o jsonpath='{.status.webhookPath}{"\n"}'"#));
    }

    #[test]
    fn an_empty_token_is_right_for_type_generic() {
        passes(&CHECK, |s| {
            token(s, "");
            s.receivers.items[0].spec.kind = "generic".to_owned();
        });
        passes(&CHECK, |s| {
            s.receivers.items[0].spec.kind = "generic-oidc".to_owned();
            s.receivers.items[0].spec.secret_ref.name.clear();
        });
        assert_eq!(after(&CHECK, |s| s.receivers.items.clear()).verdict(), Verdict::Skipped);
    }
}
