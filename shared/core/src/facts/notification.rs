//! Notifications: what an Alert covers, which project a Provider writes to, with which token.

use super::{Alert, Facts, KeyShape, Meta, Provider, SecretShape, Why};
use crate::facts::host::host;
use crate::object::ObjectRef;

impl Provider {
    /// Whether it writes to a GitLab project: a commit status, or a comment on a merge request.
    pub fn writes_to_gitlab(&self) -> bool {
        self.spec.kind == "gitlab" || self.spec.kind == "gitlabmergerequestcomment"
    }

    /// The Secret with its token.
    pub fn secret(&self) -> Option<ObjectRef> {
        let secret = self.spec.secret_ref.as_ref().filter(|secret| !secret.name.is_empty())?;
        Some(ObjectRef::new("Secret", &self.metadata.namespace, &secret.name))
    }

    /// Whether it writes to this project: by host and path. A number in place of the path cannot be compared, and an
    /// address that is in the Secret is not seen: both are taken as right.
    pub fn is_for(&self, url: &str) -> bool {
        match (project(&self.spec.address), project(url)) {
            (Some((host, path)), Some((wanted_host, wanted))) => {
                host == wanted_host && (is_number(path) || path.eq_ignore_ascii_case(wanted))
            }
            _ => self.spec.address.is_empty(),
        }
    }
}

/// The token of a Provider's Secret: notification-controller takes `token`, newer ones `password` where that is absent.
pub fn token(secret: &SecretShape) -> Option<(&'static str, &KeyShape)> {
    ["token", "password"].into_iter().find_map(|key| Some((key, secret.keys.get(key)?)))
}

/// Host and path of a project's URL, without `.git`.
pub fn project(url: &str) -> Option<(&str, &str)> {
    let host = host(url)?;
    let (_, rest) = url.split_once("://")?;
    let path = rest.split_once('/').map_or("", |(_, path)| path).trim_matches('/');
    Some((host, path.strip_suffix(".git").unwrap_or(path)))
}

/// Whether a Provider's path is the project's number.
pub fn is_number(path: &str) -> bool {
    !path.is_empty() && path.chars().all(|c| c.is_ascii_digit())
}

impl Alert {
    /// Whether it sends the events of this object (`spec.eventSources`, as notification-controller compares them).
    pub fn covers(&self, kind: &str, object: &Meta) -> bool {
        self.spec.event_sources.iter().any(|source| {
            let namespace =
                if source.namespace.is_empty() { &self.metadata.namespace } else { &source.namespace };
            let labels = source.match_labels.iter().all(|(key, value)| object.labels.get(key) == Some(value));
            source.kind == kind
                && *namespace == object.namespace
                && (source.name == "*" || source.name == object.name)
                && labels
        })
    }
}

impl<'s> Facts<'s> {
    /// The Provider that an Alert names; `Ok(None)` means that it does not exist.
    ///
    /// # Errors
    /// The Providers of its namespace could not be listed.
    pub fn provider_of(&self, alert: &Alert) -> Result<Option<&'s Provider>, Why> {
        self.snapshot.providers.find(&alert.metadata.namespace, &alert.spec.provider_ref.name)
    }
}

#[cfg(test)]
mod tests {
    use crate::fixture;

    #[test]
    fn a_provider_is_for_a_project_by_path_or_number() {
        let mut provider = fixture::healthy().providers.items.remove(0);
        for (address, is) in [
            ("https://gitlab.example.com/platform/flux-system", true),
            ("https://gitlab.example.com/Platform/flux-system.git", true),
            ("ssh://git@gitlab.example.com/platform/flux-system.git", true),
            ("https://gitlab.example.com/1234", true),
            ("", true),
            ("https://gitlab.example.com/platform/other", false),
            ("https://gitlab.other.com/platform/flux-system", false),
        ] {
            *provider.spec.address = address.to_owned();
            assert_eq!(
                provider.is_for("https://gitlab.example.com/platform/flux-system.git"),
                is,
                "{address}"
            );
        }
    }

    #[test]
    fn an_alert_covers_by_name_star_namespace_and_labels() {
        let s = fixture::healthy();
        let (mut alert, k) = (s.alerts.items[0].clone(), &s.kustomizations.items[0].metadata);
        assert!(alert.covers("Kustomization", k));
        assert!(!alert.covers("HelmRelease", k));
        alert.spec.event_sources[0].name = "*".to_owned();
        assert!(alert.covers("Kustomization", k));
        alert.spec.event_sources[0].match_labels.insert("team".to_owned(), "a".to_owned());
        assert!(!alert.covers("Kustomization", k));
        alert.spec.event_sources[0].match_labels.clear();
        alert.spec.event_sources[0].namespace = "elsewhere".to_owned();
        assert!(!alert.covers("Kustomization", k));
    }
}
