//! Why a notification was not delivered, from the Event that notification-controller writes on the Alert.
//!
//! The texts are those of notification-controller and of its GitLab client, which ends in the HTTP status:
//! `unable to list commit status: GET https://…/statuses: 404 {message: 404 Project Not Found}`.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::failure::{Failure, read};
use super::{Alert, Event, Facts, Meta, Provider};

/// Reads an Event's message; none for what is no failure: GitLab refuses a status that the commit has already.
pub fn classify(message: &str) -> Option<Failure> {
    let is_there_already = message.to_lowercase().contains("cannot transition status");
    (!is_there_already).then(|| read(message))
}

/// The end of the sentence "notifications are not delivered: …".
pub fn phrase(failure: Failure) -> &'static str {
    match failure {
        Failure::CredentialRefused => "the token is refused (401: wrong, expired or revoked)",
        Failure::Denied => {
            "the token may not do this (403: it lacks scope api or role Developer, or its role may neither push nor merge \
             to the protected branch)"
        }
        Failure::NotFound => "no such project or commit, or the token may not see it (404)",
        Failure::CrossNamespace => "notification-controller may not look into other namespaces",
        Failure::Other => "notification-controller reports a failure",
        other => other.phrase(),
    }
}

impl<'s> Facts<'s> {
    /// Why an Alert's notifications are not delivered: of each reason the newest Event since something changed that may
    /// have mended it. Success leaves no trace.
    pub fn undelivered(
        &self,
        alert: &Alert,
        provider: &Provider,
        events: &'s [Event],
    ) -> BTreeMap<Failure, &'s Event> {
        let mut failures: BTreeMap<Failure, &Event> = BTreeMap::new();
        if alert.spec.suspend || provider.spec.suspend {
            return failures;
        }
        let changed = self.delivery_changed(alert, provider);
        let of = |event: &&Event| {
            let object = &event.involved_object;
            (&object.namespace, &object.name) == (&alert.metadata.namespace, &alert.metadata.name)
        };
        for event in events.iter().filter(of).filter(|event| happened(event) > changed) {
            let Some(failure) = classify(&event.message) else { continue };
            let newest = failures.entry(failure).or_insert(event);
            if happened(event) > happened(newest) {
                *newest = event;
            }
        }
        failures
    }

    /// When the Alert, the Provider or its token last changed: a failure from before that may be mended. None of them
    /// has a status.
    fn delivery_changed(&self, alert: &Alert, provider: &Provider) -> Moment {
        let of = |meta: &Meta| {
            let written = meta.managed_fields.iter().filter_map(|f| f.time).max();
            (written.or(meta.creation_timestamp), meta.written())
        };
        let secret = provider.secret().and_then(|s| self.secret(&s.namespace, &s.name).ok().flatten());
        let token = secret.map(|secret| {
            let keys = secret.keys.values().filter_map(|key| key.changed_at).max();
            (keys.max(secret.metadata.creation_timestamp), secret.metadata.written())
        });
        [Some(of(&alert.metadata)), Some(of(&provider.metadata)), token]
            .into_iter()
            .flatten()
            .max()
            .unwrap_or_default()
    }
}

/// A time in whole seconds, as Kubernetes writes it, and within the second the number of the write.
type Moment = (Option<Timestamp>, Option<u64>);

fn happened(event: &Event) -> Moment {
    (event.last(), event.metadata.written())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_classified() {
        const LIST: &str = "failed to send notification for Kustomization/a.b: unable to list commit status: GET \
                            https://h/api/v4/projects/platform%2Ffleet/repository/commits/401/statuses";
        for (text, class) in [
            (format!("{LIST}: 401 {{message: 401 Unauthorized}}"), Some(Failure::CredentialRefused)),
            (
                format!(
                    "{LIST}: 401 {{error: invalid_token}}, {{error_description: Token is expired. You can}}"
                ),
                Some(Failure::TokenExpired),
            ),
            (
                format!(
                    "{LIST}: 401 {{error: invalid_token}}, {{error_description: Token was revoked. You}}"
                ),
                Some(Failure::TokenRevoked),
            ),
            (format!("{LIST}: 403 {{error: insufficient_scope}}"), Some(Failure::Denied)),
            (format!("{LIST}: 404 {{message: 404 Project Not Found}}"), Some(Failure::NotFound)),
            (format!("{LIST}: 429 {{Retry later}}"), Some(Failure::RateLimited)),
            (format!("{LIST}: dial tcp 10.0.0.1:443: connect: connection refused"), Some(Failure::Refused)),
            (
                format!(
                    "{LIST}: tls: failed to verify certificate: x509: certificate signed by unknown authority"
                ),
                Some(Failure::UnknownAuthority),
            ),
            (
                "failed to initialize notifier for provider 'x': gitlab token cannot be empty".to_owned(),
                Some(Failure::TokenMissing),
            ),
            ("failed to read secret: Secret \"x\" not found".to_owned(), Some(Failure::TokenMissing)),
            (
                "failed to send notification for HelmRelease/a.b: missing revision metadata".to_owned(),
                Some(Failure::NoCommit),
            ),
            (
                "POST https://h: 400 {message: Cannot transition status via :run from :running}".to_owned(),
                None,
            ),
            ("something new".to_owned(), Some(Failure::Other)),
        ] {
            assert_eq!(classify(&text), class, "{text}");
        }
    }
}
