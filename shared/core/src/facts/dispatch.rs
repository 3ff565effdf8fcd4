//! Why a notification was not delivered, from the Event that notification-controller writes on the Alert.
//!
//! The texts are those of notification-controller and of its GitLab client, which ends in the HTTP status:
//! `unable to list commit status: GET https://…/statuses: 404 {message: 404 Project Not Found}`.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Alert, Event, Facts, Meta, Provider};

/// What kept a notification from being delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dispatch {
    /// The Secret does not exist, or holds no token.
    NoToken,
    /// GitLab says that the token has expired.
    Expired,
    /// GitLab says that the token was revoked.
    Revoked,
    /// The token was refused (401), and nobody says why.
    Refused,
    /// The token is valid and may not do this (403).
    Denied,
    /// There is no such project or commit, or the token may not see it (404).
    NotFound,
    /// The receiver asks for fewer requests (429).
    Limited,
    /// The event names no commit, so that there is nothing to attach a status to.
    NoCommit,
    /// Objects of other namespaces may not be referred to.
    CrossNamespace,
    /// TLS: unknown authority, wrong name, expired.
    Tls,
    /// Nobody answers at the address.
    Network,
    /// None of these.
    Other,
}

/// Substrings in order of precedence: the first that occurs decides.
const TEXTS: &[(&str, Dispatch)] = &[
    ("token cannot be empty", Dispatch::NoToken),
    ("failed to read secret", Dispatch::NoToken),
    ("missing revision metadata", Dispatch::NoCommit),
    ("failed to extract commit hash", Dispatch::NoCommit),
    ("cross-namespace references have been blocked", Dispatch::CrossNamespace),
    ("token is expired", Dispatch::Expired),
    ("token was revoked", Dispatch::Revoked),
    (": 401", Dispatch::Refused),
    ("401 unauthorized", Dispatch::Refused),
    (": 403", Dispatch::Denied),
    ("403 forbidden", Dispatch::Denied),
    (": 404", Dispatch::NotFound),
    ("404 not found", Dispatch::NotFound),
    (": 429", Dispatch::Limited),
    ("x509:", Dispatch::Tls),
    ("tls:", Dispatch::Tls),
    ("no such host", Dispatch::Network),
    ("connection refused", Dispatch::Network),
    ("no route to host", Dispatch::Network),
    ("connection reset", Dispatch::Network),
    ("i/o timeout", Dispatch::Network),
    ("deadline exceeded", Dispatch::Network),
];

/// Classifies an Event's message; none for what is no failure: GitLab refuses a status that the commit has already.
pub fn classify(message: &str) -> Option<Dispatch> {
    let message = message.to_lowercase();
    if message.contains("cannot transition status") {
        return None;
    }
    let found = TEXTS.iter().find(|(text, _)| message.contains(text));
    Some(found.map_or(Dispatch::Other, |(_, dispatch)| *dispatch))
}

impl Dispatch {
    /// The end of the sentence "notifications are not delivered: …".
    pub fn phrase(self) -> &'static str {
        match self {
            Self::NoToken => "its Provider has no token",
            Self::Expired => "the token has expired",
            Self::Revoked => "the token was revoked",
            Self::Refused => "the token is refused (401: wrong, expired or revoked)",
            Self::Denied => {
                "the token may not do this (403: it lacks scope api or role Developer, or its role may neither push nor merge \
                 to the protected branch)"
            }
            Self::NotFound => "no such project or commit, or the token may not see it (404)",
            Self::Limited => "the server asks for fewer requests (429)",
            Self::NoCommit => "the events that it sends name no commit, and a job status belongs to one",
            Self::CrossNamespace => "notification-controller may not look into other namespaces",
            Self::Tls => "the TLS connection cannot be trusted",
            Self::Network => "nobody answers at the address",
            Self::Other => "notification-controller reports a failure",
        }
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
    ) -> BTreeMap<Dispatch, &'s Event> {
        let mut failures: BTreeMap<Dispatch, &Event> = BTreeMap::new();
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
            (format!("{LIST}: 401 {{message: 401 Unauthorized}}"), Some(Dispatch::Refused)),
            (
                format!(
                    "{LIST}: 401 {{error: invalid_token}}, {{error_description: Token is expired. You can}}"
                ),
                Some(Dispatch::Expired),
            ),
            (
                format!(
                    "{LIST}: 401 {{error: invalid_token}}, {{error_description: Token was revoked. You}}"
                ),
                Some(Dispatch::Revoked),
            ),
            (format!("{LIST}: 403 {{error: insufficient_scope}}"), Some(Dispatch::Denied)),
            (format!("{LIST}: 404 {{message: 404 Project Not Found}}"), Some(Dispatch::NotFound)),
            (format!("{LIST}: 429 {{Retry later}}"), Some(Dispatch::Limited)),
            (format!("{LIST}: dial tcp 10.0.0.1:443: connect: connection refused"), Some(Dispatch::Network)),
            (
                format!("{LIST}: tls: failed to verify certificate: x509: signed by unknown"),
                Some(Dispatch::Tls),
            ),
            (
                "failed to initialize notifier for provider 'x': gitlab token cannot be empty".to_owned(),
                Some(Dispatch::NoToken),
            ),
            ("failed to read secret: Secret \"x\" not found".to_owned(), Some(Dispatch::NoToken)),
            (
                "failed to send notification for HelmRelease/a.b: missing revision metadata".to_owned(),
                Some(Dispatch::NoCommit),
            ),
            (
                "POST https://h: 400 {message: Cannot transition status via :run from :running}".to_owned(),
                None,
            ),
            ("something new".to_owned(), Some(Dispatch::Other)),
        ] {
            assert_eq!(classify(&text), class, "{text}");
        }
    }
}
