//! GA501: each source's credential Secret exists and is well formed for its URL.

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::{Facts, Fault, KeyShape, SecretShape, Source, ValueKind, Why};
use crate::need::Need;
use crate::object::ObjectRef;

pub(super) static CHECK: Check = Check {
    code: 501,
    slug: "source-credential-unusable",
    title: "every source's credential exists and fits its URL",
    severity: Severity::Error,
    impact: Impact::Delivery,
    needs: &[
        Need::GitRepositories,
        Need::OciRepositories,
        Need::Buckets,
        Need::HelmRepositories,
        Need::Secrets,
    ],
    page: include_str!("../../../../docs/checks/GA501.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    // A HelmChart has no credential of its own.
    for (kind, listing) in facts.source_kinds().into_iter().filter(|(kind, _)| *kind != "HelmChart") {
        for source in judgement.each(listing) {
            let Some(secret) = &source.spec.secret_ref else { continue };
            let object = ObjectRef::new("Secret", &source.metadata.namespace, &secret.name);
            let Some(shape) = judgement.known(facts.secret(&object.namespace, &object.name)) else { continue };
            judgement.examine();
            let message = match shape {
                None => Some("does not exist".to_owned()),
                Some(shape) => wrong_with(kind, source, shape),
            };
            // Several sources may share a Secret.
            let new = |m: &String| !judgement.findings.iter().any(|f| f.subject == object && f.message == *m);
            if let Some(message) = message.filter(new) {
                let of = source.metadata.object(kind);
                let remedy = Remedy::of_credential(facts, &of, source);
                judgement.find(Finding::new(object, message, remedy).because(format!("it is the credential of {of}")));
            }
        }
    }
    judgement.skip("no source names a credential");
    Ok(())
}

fn wrong_with(kind: &str, source: &Source, secret: &SecretShape) -> Option<String> {
    let url = source.spec.url.as_str();
    match kind {
        "Bucket" => None,
        "GitRepository" if url.starts_with("ssh://") => ssh(secret),
        "GitRepository" if secret.keys.contains_key("githubAppID") => None,
        "OCIRepository" => docker(secret),
        "HelmRepository" if url.starts_with("oci://") && secret.keys.contains_key(DOCKER) => docker(secret),
        _ => bearer(secret).unwrap_or_else(|| password(secret)),
    }
}

const DOCKER: &str = ".dockerconfigjson";
/// Keys that are enough for a repository that needs no user.
const TLS: &[&str] = &["ca.crt", "caFile", "tls.crt", "certFile"];

fn docker(secret: &SecretShape) -> Option<String> {
    match secret.keys.get(DOCKER) {
        None => Some(format!("has no key `{DOCKER}` (type kubernetes.io/dockerconfigjson)")),
        Some(config) if config.kind == ValueKind::Empty => Some(format!("holds an empty `{DOCKER}`")),
        Some(_) => None,
    }
}

fn ssh(secret: &SecretShape) -> Option<String> {
    let Some(identity) = secret.keys.get("identity") else { return Some("has no key `identity`, the private key".to_owned()) };
    if identity.kind != ValueKind::PrivateKey {
        return Some("holds no private key in `identity`".to_owned());
    }
    match secret.keys.get("known_hosts") {
        None => Some("has no key `known_hosts`".to_owned()),
        Some(hosts) if hosts.kind == ValueKind::Empty => Some("holds an empty `known_hosts`".to_owned()),
        Some(_) => None,
    }
}

/// A bearer token goes before a password; GitLab takes none for Git and packages.
fn bearer(secret: &SecretShape) -> Option<Option<String>> {
    let token = secret.keys.get("bearerToken")?;
    Some(match token.kind {
        ValueKind::Empty => Some("holds an empty `bearerToken`".to_owned()),
        ValueKind::AccessToken | ValueKind::DeployToken | ValueKind::AgentToken | ValueKind::OtherGitLabToken => {
            Some("holds a GitLab token in `bearerToken`; GitLab takes it as `password`".to_owned())
        }
        _ => None,
    })
}

fn password(secret: &SecretShape) -> Option<String> {
    let has_tls = || TLS.iter().any(|key| secret.keys.contains_key(*key));
    match (secret.keys.get("username"), secret.keys.get("password")) {
        (None, None) if has_tls() => None,
        (None, None) => Some("has no keys `username` and `password`".to_owned()),
        (None, Some(_)) => Some("has a key `password`, but no `username`".to_owned()),
        (Some(_), None) => Some("has a key `username`, but no `password`".to_owned()),
        (Some(user), Some(password)) => {
            user_kind(user).or_else(|| form("username", user)).or_else(|| password_kind(password)).or_else(|| form("password", password))
        }
    }
}

fn user_kind(user: &KeyShape) -> Option<String> {
    let what = match user.kind {
        ValueKind::Empty => "an empty `username`; GitLab takes any, but not none",
        ValueKind::Placeholder => "a placeholder of the documents in `username`",
        ValueKind::AccessToken | ValueKind::DeployToken | ValueKind::AgentToken | ValueKind::OtherGitLabToken => {
            "a token in `username`; it belongs into `password`"
        }
        _ => return None,
    };
    Some(format!("holds {what}"))
}

fn password_kind(password: &KeyShape) -> Option<String> {
    let what = match password.kind {
        ValueKind::Empty => "an empty `password`",
        ValueKind::Placeholder => "a placeholder of the documents in `password`",
        ValueKind::AgentToken => "an agent token (glagent-) in `password`, which opens no repository",
        ValueKind::DeployTokenUser => "the name of a deploy token in `password`; the token itself belongs there",
        ValueKind::PrivateKey | ValueKind::Certificate => "a PEM file in `password`; the URL asks for a token",
        _ => return None,
    };
    Some(format!("holds {what}"))
}

/// Flux sends what the Secret holds, to the last byte (agentk drops one line feed, Flux does not).
fn form(key: &str, value: &KeyShape) -> Option<String> {
    let what = match value.faults.first()? {
        Fault::LineFeed => "a line feed at the end",
        Fault::CarriageReturn => "a carriage return (made on Windows?)",
        Fault::ManyLines => "more than one line",
        Fault::LeadingSpace => "a space before it",
        Fault::TrailingSpace => "a space behind it",
        Fault::Quoted => "quotation marks around it",
        Fault::ByteOrderMark => "a byte order mark before it",
        Fault::EncodedTwice => "base64 applied twice",
        Fault::Checksum => "a checksum that does not fit: truncated or mistyped",
        Fault::TooShort => "too few characters: truncated",
        Fault::NotText => "bytes that are no text",
    };
    Some(format!("holds a `{key}` with {what}"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::Observed;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn keys(s: &mut Snapshot, keys: &[(&str, &str)]) {
        let shapes = keys.iter().map(|(key, value)| ((*key).to_owned(), KeyShape::of(value.as_bytes(), b"")));
        fixture::secret(s, "flux-system", "flux-system").keys = shapes.collect();
    }

    fn access_token() -> String {
        format!("glpat-{}", "y".repeat(20))
    }

    #[test]
    fn a_missing_secret_is_found_once_for_all_its_sources() {
        let found = finding(&CHECK, |s| {
            fixture::secret_entry(s, "flux-system", "flux-system").shape = Observed::Known(None);
            let other = fixture::git_mut(s, "example-nginx-app").spec.secret_ref.as_mut().expect("a Secret");
            other.name = "flux-system".to_owned();
        });
        assert_eq!((found.subject.to_string().as_str(), found.message.as_str()), ("Secret flux-system/flux-system", "does not exist"));
        assert_eq!(found.evidence, ["it is the credential of GitRepository flux-system/flux-system"]);
        assert!(found.remedy.lines()[0].contains("generic flux-system -n flux-system --from-literal=username="));
    }

    #[test]
    fn a_password_of_the_wrong_form_is_found() {
        let token = access_token();
        let agent = format!("glagent-{}", "x".repeat(50));
        for (user, password, message) in [
            (Some("flux"), None, "has a key `username`, but no `password`"),
            (None, Some(token.clone()), "has a key `password`, but no `username`"),
            (None, None, "has no keys `username` and `password`"),
            (Some(""), Some(token.clone()), "holds an empty `username`"),
            (Some("flux"), Some(String::new()), "holds an empty `password`"),
            (Some("flux\n"), Some(token.clone()), "holds a `username` with a line feed"),
            (Some("flux"), Some(format!("{token}\n")), "holds a `password` with a line feed at the end"),
            (Some("flux"), Some(format!("{token}\r\n")), "holds a `password` with a carriage return"),
            (Some("flux"), Some(format!("{token} ")), "holds a `password` with a space behind it"),
            (Some("flux"), Some("<your-token-here>".to_owned()), "holds a placeholder"),
            (Some("flux"), Some(agent), "holds an agent token"),
            (Some("flux"), Some("gitlab+deploy-token-7".to_owned()), "holds the name of a deploy token"),
            (Some(&token), Some("flux".to_owned()), "holds a token in `username`"),
        ] {
            let given: Vec<_> = [("username", user), ("password", password.as_deref())]
                .into_iter()
                .filter_map(|(key, value)| Some((key, value?)))
                .collect();
            let found = finding(&CHECK, |s| keys(s, &given));
            assert!(found.message.starts_with(message), "{message}: {}", found.message);
        }
    }

    #[test]
    fn other_forms_of_https_are_fine() {
        passes(&CHECK, |s| keys(s, &[("ca.crt", "-----BEGIN CERTIFICATE-----")]));
        passes(&CHECK, |s| keys(s, &[("bearerToken", "opaque")]));
        passes(&CHECK, |s| keys(s, &[("githubAppID", "7")]));
        passes(&CHECK, |s| keys(s, &[("username", "gitlab+deploy-token-7"), ("password", "old-style")]));
        let bearer = finding(&CHECK, |s| keys(s, &[("bearerToken", &access_token())]));
        assert!(bearer.message.starts_with("holds a GitLab token in `bearerToken`"));
    }

    #[test]
    fn ssh_needs_a_key_and_known_hosts() {
        let ssh = |given: &'static [(&'static str, &'static str)]| {
            move |s: &mut Snapshot| {
                *fixture::git_mut(s, "flux-system").spec.url = "ssh://git@gitlab.example.com/a.git".to_owned();
                keys(s, given);
            }
        };
        const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
        assert!(finding(&CHECK, ssh(&[("known_hosts", "h")])).message.starts_with("has no key `identity`"));
        assert_eq!(finding(&CHECK, ssh(&[("identity", "no")])).message, "holds no private key in `identity`");
        assert_eq!(finding(&CHECK, ssh(&[("identity", KEY)])).message, "has no key `known_hosts`");
        assert!(finding(&CHECK, ssh(&[("identity", KEY), ("known_hosts", "")])).message.contains("empty"));
        passes(&CHECK, ssh(&[("identity", KEY), ("known_hosts", "gitlab.example.com ssh-ed25519 AAAA")]));
    }

    #[test]
    fn a_registry_needs_its_own_form() {
        let registry = |given: &'static [(&'static str, &'static str)]| {
            move |s: &mut Snapshot| {
                let source = s.git_repositories.items.remove(0);
                s.oci_repositories.items.push(source);
                keys(s, given);
            }
        };
        let found = finding(&CHECK, registry(&[("username", "a"), ("password", "b")]));
        assert!(found.message.starts_with("has no key `.dockerconfigjson`"));
        assert!(found.remedy.lines()[0].contains("delete secret/flux-system"), "its type cannot change");
        assert!(found.remedy.lines()[1].contains("--type=kubernetes.io/dockerconfigjson"));
        passes(&CHECK, registry(&[(".dockerconfigjson", "{}")]));
    }

    #[test]
    fn what_its_source_cannot_fetch_hangs_on_the_secret() {
        let s = fixture::healthy();
        let facts = Facts::derive(&s);
        let needs = facts.graph.needs(&fixture::object("GitRepository", "flux-system", "flux-system"));
        assert!(needs.contains(&fixture::object("Secret", "flux-system", "flux-system")));
    }

    #[test]
    fn without_a_credential_there_is_nothing_to_look_at() {
        let none = after(&CHECK, |s| s.git_repositories.items.iter_mut().for_each(|g| g.spec.secret_ref = None));
        assert_eq!(none.verdict(), Verdict::Skipped);
    }
}
