//! The class of a source's failure, from the condition that source-controller wrote.
//!
//! The texts are those of source-controller and go-git; GitLab's answers map one to one: 401 "authentication
//! required", 403 "authorization failed", 404 "repository not found" (fluxcd/flux2 issue 4861).

use super::Facts;
use crate::object::ObjectRef;
use crate::snapshot::kinds::{Condition, condition};

/// What kept a source from being fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The Secret that holds the credential does not exist.
    SecretMissing,
    /// The Secret lacks a key, or its form is wrong.
    SecretMalformed,
    /// The server refused the credential (401).
    CredentialRefused,
    /// The credential is valid and may not do this (403).
    Denied,
    /// The server says there is no such repository, or hides it (404).
    NotFound,
    /// The branch, tag, range or commit does not exist.
    Reference,
    /// The chart or the version does not exist in the repository.
    Chart,
    /// The host key is unknown or changed.
    HostKey,
    /// TLS: unknown authority, wrong name, expired.
    Tls,
    /// The host's name does not resolve.
    Dns,
    /// Nobody answers at the address.
    Network,
    /// It took longer than `spec.timeout`.
    Timeout,
    /// None of these.
    Other,
}

/// Substrings in order of precedence: the first that occurs decides.
const TEXTS: &[(&str, Failure)] = &[
    ("failed to get secret", Failure::SecretMissing),
    ("failed to configure authentication options", Failure::SecretMalformed),
    ("invalid 'https' auth option", Failure::SecretMalformed),
    ("invalid 'ssh' auth option", Failure::SecretMalformed),
    ("authentication required", Failure::CredentialRefused),
    ("401 unauthorized", Failure::CredentialRefused),
    ("invalid credentials", Failure::CredentialRefused),
    ("unable to authenticate", Failure::CredentialRefused),
    ("authorization failed", Failure::Denied),
    ("403 forbidden", Failure::Denied),
    ("couldn't find remote ref", Failure::Reference),
    ("reference not found", Failure::Reference),
    ("no match found for semver", Failure::Reference),
    ("object not found", Failure::Reference),
    ("manifest_unknown", Failure::Reference),
    ("no chart version found", Failure::Chart),
    ("no chart name found", Failure::Chart),
    ("invalid chart reference", Failure::Chart),
    ("knownhosts", Failure::HostKey),
    ("host key", Failure::HostKey),
    ("x509:", Failure::Tls),
    ("tls:", Failure::Tls),
    ("certificate", Failure::Tls),
    ("no such host", Failure::Dns),
    ("connection refused", Failure::Network),
    ("no route to host", Failure::Network),
    ("network is unreachable", Failure::Network),
    ("connection reset", Failure::Network),
    ("unexpected eof", Failure::Network),
    ("context deadline exceeded", Failure::Timeout),
    ("i/o timeout", Failure::Timeout),
    ("timed out", Failure::Timeout),
    ("repository not found", Failure::NotFound),
    ("404 not found", Failure::NotFound),
    (": 404", Failure::NotFound),
];

/// Classifies a condition of a source.
pub fn classify(condition: &Condition) -> Failure {
    let message = condition.message.to_lowercase();
    let by_text = TEXTS.iter().find(|(text, _)| message.contains(text)).map(|(_, failure)| *failure);
    match (by_text, condition.reason.as_str()) {
        (Some(failure), _) => failure,
        (None, "AuthenticationFailed") => Failure::SecretMalformed,
        (None, _) => Failure::Other,
    }
}

impl Failure {
    /// The sentence that a person reads.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::SecretMissing => "the Secret with its credential does not exist",
            Self::SecretMalformed => "the Secret with its credential has the wrong form",
            Self::CredentialRefused => "the server refused its credential (wrong, expired or revoked)",
            Self::Denied => "its credential is valid, but may not read this (scope, role or an IP rule)",
            Self::NotFound => "the server knows no such repository, or hides it from this credential",
            Self::Reference => "the branch, tag or commit does not exist",
            Self::Chart => "the chart, or a version that fits, is not in the repository",
            Self::HostKey => "the server's host key is not the known one",
            Self::Tls => "the TLS connection cannot be trusted",
            Self::Dns => "the host's name does not resolve",
            Self::Network => "nobody answers at its address",
            Self::Timeout => "the server did not answer in time",
            Self::Other => "source-controller reports a failure",
        }
    }

    /// Whether the credential is at fault.
    pub fn is_credential(self) -> bool {
        matches!(self, Self::SecretMissing | Self::SecretMalformed | Self::CredentialRefused | Self::Denied)
    }
}

impl Facts<'_> {
    /// The Secret whose credential keeps a source from being fetched.
    pub fn refused_credential(&self, source: &ObjectRef) -> Option<ObjectRef> {
        let found = self.sources(&source.kind)?.find(&source.namespace, &source.name).ok()??;
        let ready = condition(&found.status.conditions, "Ready").filter(|c| c.status == "False")?;
        let secret = found.spec.secret_ref.as_ref().filter(|_| classify(ready).is_credential())?;
        Some(ObjectRef::new("Secret", &source.namespace, &secret.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flux_messages_are_classified() {
        for (reason, message, class) in [
            (
                "AuthenticationFailed",
                "failed to get secret 'flux-system/x': secrets \"x\" not found",
                Failure::SecretMissing,
            ),
            (
                "GitOperationFailed",
                "failed to checkout and determine revision: unable to clone 'https://h/x': authentication required: HTTP Basic: Access denied.",
                Failure::CredentialRefused,
            ),
            ("GitOperationFailed", "unable to clone 'https://h/x': authorization failed", Failure::Denied),
            ("GitOperationFailed", "unable to clone 'https://h/x': repository not found", Failure::NotFound),
            ("GitOperationFailed", "couldn't find remote ref \"refs/heads/nope\"", Failure::Reference),
            (
                "GitOperationFailed",
                "Get \"https://h\": dial tcp: lookup h on 10.0.0.10:53: no such host",
                Failure::Dns,
            ),
            ("GitOperationFailed", "x509: certificate signed by unknown authority", Failure::Tls),
            ("AuthenticationFailed", "something new", Failure::SecretMalformed),
            ("GitOperationFailed", "something new", Failure::Other),
        ] {
            let condition =
                Condition { reason: reason.into(), message: message.into(), ..Condition::default() };
            assert_eq!(classify(&condition), class, "{message}");
        }
    }
}
