//! GA502: Flux fetches with the kind of credential that can do nothing else.

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::host::host;
use crate::facts::{Facts, SecretShape, Source, ValueKind, Why, WhyKind};
use crate::need::Need;
use crate::object::ObjectRef;

pub(super) static CHECK: Check = Check {
    code: 502,
    slug: "credential-too-powerful",
    title: "sources on GitLab are fetched with a deploy token or a deploy key",
    severity: Severity::Warning,
    impact: Impact::Hygiene,
    needs: &[Need::GitRepositories, Need::HelmRepositories, Need::Secrets],
    page: include_str!("../../../../docs/checks/GA502.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    judgement.skip("no source on GitLab names a credential");
    let gitlab = facts.gitlab_host();
    for (kind, listing) in [
        ("GitRepository", &facts.snapshot.git_repositories),
        ("HelmRepository", &facts.snapshot.helm_repositories),
    ] {
        for source in judgement.each(listing) {
            let Some(secret) = &source.spec.secret_ref else { continue };
            let object = ObjectRef::new("Secret", &source.metadata.namespace, &secret.name);
            let Some(Some(shape)) = judgement.known(facts.secret(&object.namespace, &object.name)) else {
                continue;
            };
            // GitLab's own tokens give it away on every host.
            let Some(credential) = credential(source, shape) else { continue };
            let on_gitlab = gitlab.is_some() && host(&source.spec.url) == gitlab;
            match credential {
                Credential::DeployToken => judgement.examine(),
                Credential::Key if on_gitlab => judgement.examine(),
                Credential::Unclear if on_gitlab => judgement.lacks(Why::new(
                    WhyKind::NoGitLab,
                    format!("kind of the token in {object}"),
                    "the token has no prefix that tells, and its user name is not that of a deploy token",
                )),
                Credential::More(what) => {
                    judgement.examine();
                    if !judgement.findings.iter().any(|f| f.subject == object) {
                        let of = source.metadata.object(kind);
                        let message = format!("holds {what}, and {of} needs to read only");
                        judgement.find(Finding::new(
                            object,
                            message,
                            Remedy::of_credential(facts, &of, source),
                        ));
                    }
                }
                Credential::Key | Credential::Unclear => {}
            }
        }
    }
    Ok(())
}

enum Credential {
    /// It reads one project or group, and can be made for nothing else.
    DeployToken,
    /// An SSH key: a deploy key, or a person's own.
    Key,
    /// It can do more.
    More(&'static str),
    /// Its form does not tell.
    Unclear,
}

/// None where there is none, or where GA501 has the say.
fn credential(source: &Source, secret: &SecretShape) -> Option<Credential> {
    if source.spec.url.starts_with("ssh://") {
        return secret.keys.contains_key("identity").then_some(Credential::Key);
    }
    let password = secret.keys.get("password")?;
    let of_deploy_token =
        secret.keys.get("username").is_some_and(|user| user.kind == ValueKind::DeployTokenUser);
    Some(match password.kind {
        ValueKind::DeployToken => Credential::DeployToken,
        ValueKind::AccessToken => Credential::More(
            "an access token (of a person, a project or a group), which opens GitLab's API as well",
        ),
        ValueKind::OtherGitLabToken => {
            Credential::More("a GitLab token that was made for something else (job, runner, feed)")
        }
        ValueKind::Other if of_deploy_token => Credential::DeployToken,
        ValueKind::Other => Credential::Unclear,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::KeyShape;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn pair(s: &mut Snapshot, user: &str, password: &str) {
        let keys = &mut fixture::secret(s, "flux-system", "flux-system").keys;
        keys.insert("username".to_owned(), KeyShape::of(user.as_bytes(), b""));
        keys.insert("password".to_owned(), KeyShape::of(password.as_bytes(), b""));
    }

    #[test]
    fn a_token_that_can_do_more_is_found() {
        let access = finding(&CHECK, |s| pair(s, "flux", &format!("glpat-{}", "q".repeat(20))));
        assert_eq!(access.subject.to_string(), "Secret flux-system/flux-system");
        assert!(access.message.starts_with("holds an access token"), "{}", access.message);
        assert!(access.remedy.text.contains("deploy token"), "{:?}", access.remedy);
        assert!(access.remedy.lines()[0].starts_with("printf %s 'username: ' && read -r NAME && "), "{:?}", access.remedy);
        let job = finding(&CHECK, |s| pair(s, "gitlab-ci-token", &format!("glcbt-{}", "q".repeat(20))));
        assert!(job.message.contains("made for something else"), "{}", job.message);
    }

    #[test]
    fn an_old_deploy_token_is_known_by_its_user_and_others_are_unknown() {
        passes(&CHECK, |s| pair(s, "gitlab+deploy-token-9", "old-style-without-prefix"));
        let unclear = after(&CHECK, |s| pair(s, "flux", "old-style-without-prefix"));
        assert_eq!(unclear.verdict(), Verdict::Unknown);
        assert_eq!(unclear.unknown[0].kind, WhyKind::NoGitLab);
    }

    #[test]
    fn a_key_is_fine_and_other_hosts_are_not_judged() {
        passes(&CHECK, |s| {
            *fixture::git_mut(s, "flux-system").spec.url =
                "ssh://git@gitlab.example.com/platform/flux-system.git".to_owned();
            let identity = KeyShape::of(b"-----BEGIN OPENSSH PRIVATE KEY-----", b"");
            fixture::secret(s, "flux-system", "flux-system").keys.insert("identity".to_owned(), identity);
        });
        passes(&CHECK, |s| {
            *fixture::git_mut(s, "flux-system").spec.url = "https://github.com/a/b".to_owned();
            pair(s, "flux", "whatever-they-use");
        });
        let none =
            after(&CHECK, |s| s.git_repositories.items.iter_mut().for_each(|g| g.spec.secret_ref = None));
        assert_eq!(none.verdict(), Verdict::Skipped);
    }
}
