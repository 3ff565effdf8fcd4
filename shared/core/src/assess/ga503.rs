//! GA503: the credentials that sources hold have not expired, and do not soon.

use jiff::Timestamp;

use super::{Check, Finding, Judgement, Remedy, Severity};
use crate::facts::gitlab::Held;
use crate::facts::{Facts, Why};
use crate::need::Need;
use crate::object::ObjectRef;
use crate::snapshot::gitlab::Credential;
use crate::text::{age, span};

pub(super) static CHECK: Check = Check {
    code: 503,
    slug: "credential-expires",
    title: "no credential of a source has expired or expires soon",
    severity: Severity::Error,
    needs: &[Need::GitRepositories, Need::Secrets, Need::GitLabCredentials],
    page: include_str!("../../../../docs/checks/GA503.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    judgement.skip("no GitRepository on this GitLab has a Secret");
    for repository in judgement.each(&facts.snapshot.git_repositories) {
        let Some((secret, held)) = judgement.known(facts.held_credential(repository)).flatten() else { continue };
        judgement.examine();
        let of_project = |c: &Credential| match when(c, facts.now) {
            End::Dead(said) => Some((Severity::Error, said)),
            End::In(left) if left <= facts.expiry_window => Some((Severity::Warning, format!("expires in {}", span(left)))),
            _ => None,
        };
        let found = match held {
            Held::This(credential) => of_project(credential).map(|(severity, said)| {
                (severity, format!("holds {}, which {said}", credential.title()))
            }),
            Held::OneOf(list) => {
                let ending = list.iter().find_map(|c| Some((c, of_project(c)?)));
                ending.map(|(credential, (_, said))| {
                    let likely = if list.len() == 1 { "probably holds" } else { "may hold" };
                    (Severity::Warning, format!("{likely} {}, which {said}", credential.title()))
                })
            }
        };
        let Some((severity, message)) = found else { continue };
        let finding = Finding::new(secret.clone(), message, renew(&secret)).severity(severity);
        if !judgement.findings.contains(&finding) {
            judgement.find(finding);
        }
    }
    Ok(())
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

fn renew(secret: &ObjectRef) -> Remedy {
    Remedy::say(
        "make a new credential of the same kind in GitLab (Settings > Repository for deploy tokens and keys, Settings > Access \
         tokens), write it into the Secret where that is kept, and remove the old one when Flux has fetched with the new one",
    )
    .kubectl(&secret.namespace, format!("get {} -o jsonpath='{{.metadata.labels}}'", secret.kubectl()))
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

    fn credential(change: impl FnOnce(&mut Credential)) -> impl FnOnce(&mut Snapshot) {
        move |s| {
            let Observed::Known(list) = &mut gitlab_mut(s).projects[0].credentials else { panic!("known") };
            change(&mut list[0]);
        }
    }

    fn held(c: &mut Credential) {
        c.kind = CredentialKind::DeployToken;
        c.held_by = vec![ObjectRef::new("Secret", "flux-system", "flux-system")];
    }

    /// GitLab does not tell which Secret holds an access token.
    fn not_held(change: impl FnOnce(&mut Credential)) -> impl FnOnce(&mut Snapshot) {
        move |s| {
            crate::fixture::hold_access_token(s);
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
