//! GA503: the credentials that sources and Providers hold have not expired, and do not soon.

use jiff::Timestamp;

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::command::kubectl;
use crate::facts::failure::Failure;
use crate::facts::gitlab::Held;
use crate::facts::{Facts, Why};
use crate::need::Need;
use crate::object::ObjectRef;
use crate::snapshot::gitlab::Credential;
use crate::text::{age, span};

pub(super) static CHECK: Check = Check {
    code: 503,
    slug: "credential-expires",
    title: "no credential of a source or of job statuses has expired or expires soon",
    severity: Severity::Error,
    impact: Impact::Delivery,
    needs: &[
        Need::GitRepositories,
        Need::Providers,
        Need::Alerts,
        Need::Events,
        Need::Secrets,
        Need::GitLabCredentials,
    ],
    page: include_str!("../../../../docs/checks/GA503.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    judgement.skip("no GitRepository on this GitLab and no Provider that writes to it has a Secret");
    for repository in judgement.each(&facts.snapshot.git_repositories) {
        let Some((secret, held)) = judgement.known(facts.held_credential(repository)).flatten() else { continue };
        judgement.examine();
        let found = match held {
            Held::This(credential) => ends(facts, credential)
                .map(|(severity, said)| (severity, format!("holds {}, which {said}", credential.title()))),
            Held::OneOf(list) => one_of(facts, &list),
        };
        tell(judgement, &secret, found, Impact::Delivery, "see Flux fetch with it, and only then remove the old one");
    }
    for provider in judgement.each(&facts.snapshot.providers) {
        let Some((secret, list)) = judgement.known(facts.held_status_token(provider)).flatten() else { continue };
        judgement.examine();
        let afterwards = "and remove the old one when the next job status has arrived";
        tell(judgement, &secret, one_of(facts, &list), Impact::Notifications, afterwards);
    }
    refused(facts, judgement);
    Ok(())
}

/// What GitLab says of a token when a job status is set with it; for this no access to GitLab is needed.
fn refused(facts: &Facts<'_>, judgement: &mut Judgement) {
    let events = judgement.each(&facts.snapshot.dispatch_failures);
    for alert in judgement.each(&facts.snapshot.alerts) {
        let Some(Some(provider)) = judgement.known(facts.provider_of(alert)) else { continue };
        let Some(secret) = provider.secret().filter(|_| provider.writes_to_gitlab()) else { continue };
        let failures = facts.undelivered(alert, provider, events);
        for (failure, said) in [(Failure::TokenExpired, "has expired"), (Failure::TokenRevoked, "was revoked")] {
            let Some(event) = failures.get(&failure) else { continue };
            let message = format!("holds a token that {said}: GitLab says so when a job status is set with it");
            let finding = Finding::new(secret.clone(), message, Remedy::of_provider_token(facts, provider, false))
                .impact(Impact::Notifications);
            if !judgement.findings.iter().any(|f| f.subject == secret && f.message == finding.message) {
                judgement.find(finding.because(&event.message));
            }
        }
    }
}

type Found = (Severity, String);

/// What is wrong with a credential's end.
fn ends(facts: &Facts<'_>, credential: &Credential) -> Option<Found> {
    match when(credential, facts.now) {
        End::Dead(said) => Some((Severity::Error, said)),
        End::In(left) if left <= facts.expiry_window => Some((Severity::Warning, format!("expires in {}", span(left)))),
        _ => None,
    }
}

/// The same of access tokens of which one is held: GitLab does not tell which.
fn one_of(facts: &Facts<'_>, list: &[&Credential]) -> Option<Found> {
    let (credential, said) = list.iter().find_map(|c| Some((c, ends(facts, c)?.1)))?;
    let likely = if list.len() == 1 { "probably holds" } else { "may hold" };
    Some((Severity::Warning, format!("{likely} {}, which {said}", credential.title())))
}

/// Several sources or Providers may share a Secret.
fn tell(judgement: &mut Judgement, secret: &ObjectRef, found: Option<Found>, impact: Impact, afterwards: &str) {
    let Some((severity, message)) = found else { return };
    let finding = Finding::new(secret.clone(), message, renew(secret, afterwards)).severity(severity).impact(impact);
    if !judgement.findings.contains(&finding) {
        judgement.find(finding);
    }
}

enum End {
    Dead(String),
    In(jiff::SignedDuration),
    Never,
}

fn when(credential: &Credential, now: Timestamp) -> End {
    match credential.expires_at {
        Some(at) if at <= now => End::Dead(format!("expired {} ago", age(now, at))),
        _ if credential.dead => End::Dead("was revoked or has expired".to_owned()),
        Some(at) => End::In(at.duration_since(now)),
        None => End::Never,
    }
}

fn renew(secret: &ObjectRef, afterwards: &str) -> Remedy {
    Remedy::say(format!(
        "make a new credential of the same kind in GitLab (Settings > Repository for deploy tokens and keys, Settings > Access \
         tokens), write it into the Secret where that is kept, {afterwards}"
    ))
    .run(kubectl(&secret.namespace, "get").object(secret).words("-o jsonpath={.metadata.labels}"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::{Observed, WhyKind};
    use crate::fixture::gitlab_mut;
    use crate::snapshot::Snapshot;
    use crate::snapshot::gitlab::CredentialKind;

    fn credentials(s: &mut Snapshot) -> &mut Vec<Credential> {
        let Observed::Known(list) = &mut gitlab_mut(s).projects[0].credentials else { panic!("known") };
        list
    }

    fn credential(change: impl FnOnce(&mut Credential)) -> impl FnOnce(&mut Snapshot) {
        move |s| change(&mut credentials(s)[0])
    }

    /// The project's access token, which the Provider for it probably holds.
    fn status_token(change: impl FnOnce(&mut Credential)) -> impl FnOnce(&mut Snapshot) {
        move |s| change(&mut credentials(s)[1])
    }

    fn held(c: &mut Credential) {
        c.kind = CredentialKind::DeployToken;
        c.held_by = vec![ObjectRef::new("Secret", "flux-system", "flux-system")];
    }

    /// GitLab does not tell which Secret holds an access token. Here it is the project's only one, which a Provider may
    /// hold as well.
    fn not_held(change: impl FnOnce(&mut Credential)) -> impl FnOnce(&mut Snapshot) {
        move |s| {
            crate::fixture::hold_access_token(s);
            s.providers.items.remove(0);
            credentials(s).truncate(1);
            let access_token = |c: &mut Credential| {
                c.kind = CredentialKind::AccessToken;
                c.held_by.clear();
                change(c);
            };
            credential(access_token)(s);
        }
    }

    fn at(text: &str) -> Option<Timestamp> {
        Some(text.parse().expect("a time"))
    }

    #[test]
    fn what_has_expired_and_what_soon_will_is_found() {
        let found = finding(&CHECK, credential(|c| {
            held(c);
            c.expires_at = at("2026-10-30T10:00:00Z");
        }));
        assert_eq!(found.subject.to_string(), "Secret flux-system/flux-system");
        assert_eq!(found.message, "holds deploy token 101 \"flux\", which expired 3d ago");
        assert_eq!(found.severity, Some(Severity::Error));
        let found = finding(&CHECK, credential(|c| {
            held(c);
            c.expires_at = at("2026-11-12T10:00:00Z");
        }));
        assert_eq!((found.message.as_str(), found.severity), ("holds deploy token 101 \"flux\", which expires in 10d", Some(Severity::Warning)));
        let found = finding(&CHECK, credential(|c| {
            held(c);
            c.dead = true;
        }));
        assert!(found.message.ends_with("was revoked or has expired"), "{}", found.message);
    }

    #[test]
    fn an_access_token_is_only_probably_the_one() {
        let found = finding(&CHECK, not_held(|c| c.expires_at = at("2026-11-12T10:00:00Z")));
        assert!(found.message.starts_with("probably holds project access token 101"), "{}", found.message);
        assert_eq!(found.severity, Some(Severity::Warning));
    }

    #[test]
    fn a_token_of_job_statuses_that_ends_soon_is_found() {
        let found = finding(&CHECK, status_token(|c| c.expires_at = at("2026-11-12T10:00:00Z")));
        assert_eq!(found.subject.to_string(), "Secret flux-system/gitlab-status-flux-system");
        assert_eq!(found.message, "probably holds project access token 201 \"flux-status\", which expires in 10d");
        assert_eq!(found.severity, Some(Severity::Warning));
        let two = finding(&CHECK, |s| {
            let mut other = credentials(s)[1].clone();
            other.expires_at = at("2026-11-12T10:00:00Z");
            credentials(s).push(other);
        });
        assert!(two.message.starts_with("may hold"), "{}", two.message);
    }

    #[test]
    fn a_token_that_gitlab_refuses_for_its_end_is_found_without_access_to_gitlab() {
        for (said, phrase) in [("Token is expired.", "that has expired"), ("Token was revoked.", "that was revoked")] {
            let event = serde_json::json!({
                "metadata": {"name": "a.1", "namespace": "flux-system"},
                "message": format!("unable to list commit status: GET https://h: 401 {{error_description: {said}}}"),
                "involvedObject": {"kind": "Alert", "name": "gitlab-status-flux-system", "namespace": "flux-system"},
                "reason": "NotificationDispatchFailed", "lastTimestamp": "2026-11-02T09:50:00Z"});
            let found = finding(&CHECK, |s| {
                s.gitlab = Observed::Unknown(Why::new(WhyKind::NoGitLab, "GitLab", "none given"));
                s.dispatch_failures.items.push(serde_json::from_value(event).expect("an Event"));
            });
            assert_eq!(found.subject.to_string(), "Secret flux-system/gitlab-status-flux-system");
            assert!(found.message.contains(phrase), "{}", found.message);
            assert_eq!(found.severity, None);
            assert!(found.evidence[0].contains(said) && found.remedy.lines()[0].contains("--from-file=token"));
        }
    }

    #[test]
    fn a_token_of_job_statuses_that_is_none_of_the_projects_is_unknown() {
        let judgement = after(&CHECK, status_token(|c| c.scopes = vec!["read_api".to_owned()]));
        assert_eq!(judgement.verdict(), Verdict::Unknown);
        assert!(judgement.unknown[0].message.contains("scope api"), "{:?}", judgement.unknown);
        let other_host = |s: &mut Snapshot| {
            *s.providers.items[0].spec.address = "https://other.example.com/a/b".to_owned();
            credentials(s).truncate(1);
        };
        passes(&CHECK, other_host);
    }

    #[test]
    fn what_lives_on_passes() {
        passes(&CHECK, credential(|c| {
            held(c);
            c.expires_at = None;
        }));
        passes(&CHECK, not_held(|c| c.expires_at = at("2026-12-05T10:00:00Z")));
    }

    #[test]
    fn a_credential_that_is_none_of_the_projects_is_unknown() {
        let judgement = after(&CHECK, |s| {
            gitlab_mut(s).projects[0].credentials = Observed::Known(Vec::new());
        });
        assert_eq!(judgement.verdict(), Verdict::Unknown);
        assert_eq!(judgement.unknown[0].kind, WhyKind::NotAsked);
        let why = Why::new(WhyKind::NoGitLab, "GitLab", "none given");
        let judgement = after(&CHECK, |s| s.gitlab = Observed::Unknown(why));
        assert_eq!(judgement.verdict(), Verdict::Unknown);
    }
}
