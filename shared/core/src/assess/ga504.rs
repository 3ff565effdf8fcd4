//! GA504: the credentials that sources hold can fetch, and can do nothing else.

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::gitlab::Held;
use crate::facts::{Facts, Why, WhyKind};
use crate::need::Need;
use crate::object::ObjectRef;
use crate::snapshot::gitlab::{Credential, CredentialKind};

pub(super) static CHECK: Check = Check {
    code: 504,
    slug: "credential-scopes",
    title: "the scopes of each source's credential suffice and do not exceed the need",
    severity: Severity::Warning,
    impact: Impact::Hygiene,
    needs: &[Need::GitRepositories, Need::Secrets, Need::GitLabCredentials],
    page: include_str!("../../../../docs/checks/GA504.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    judgement.skip("no GitRepository on this GitLab has a Secret");
    for repository in judgement.each(&facts.snapshot.git_repositories) {
        let Some((secret, held)) = judgement.known(facts.held_credential(repository)).flatten() else { continue };
        judgement.examine();
        let finding = match held {
            Held::This(credential) => of_one(&secret, credential, "holds"),
            Held::OneOf(list) => {
                let wide: Vec<&&Credential> = list.iter().filter(|c| !c.excess().is_empty()).collect();
                if !wide.is_empty() && wide.len() < list.len() {
                    judgement.lacks(Why::new(
                        WhyKind::NotAsked,
                        format!("which of {} project access tokens {secret} holds", list.len()),
                        "some can do more than fetch, and the token itself is sent nowhere",
                    ));
                    continue;
                }
                wide.first().and_then(|credential| of_one(&secret, credential, "probably holds"))
            }
        };
        if let Some(finding) = finding.filter(|f| !judgement.findings.contains(f)) {
            judgement.find(finding);
        }
    }
    Ok(())
}

fn of_one(secret: &ObjectRef, credential: &Credential, holds: &str) -> Option<Finding> {
    let title = credential.title();
    if !credential.reads() {
        let has = if credential.scopes.is_empty() { "none".to_owned() } else { credential.scopes.join(", ") };
        let message = format!("{holds} {title}, which cannot fetch: it lacks the scope read_repository (it has {has})");
        let remedy = Remedy::say("make one with the scope read_repository, and write it into the Secret where that is kept");
        return Some(Finding::new(secret.clone(), message, remedy).severity(Severity::Error));
    }
    let excess = credential.excess();
    if excess.is_empty() {
        return None;
    }
    let (message, text) = match credential.kind {
        CredentialKind::DeployKey => (
            format!("{holds} {title}, which may also push: whoever reads the Secret can change what is deployed"),
            "edit the deploy key in GitLab (Settings > Repository > Deploy keys) and take away the write permission; image \
             automation, which pushes, is to have a key of its own",
        ),
        _ => (
            format!("{holds} {title}, which can do more than fetch: {}", excess.join(", ")),
            "make a deploy token with the scope read_repository alone, write it into the Secret where that is kept, and revoke \
             this one",
        ),
    };
    Some(Finding::new(secret.clone(), message, Remedy::say(text)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::Observed;
    use crate::fixture::gitlab_mut;
    use crate::snapshot::Snapshot;

    fn credentials(change: impl FnOnce(&mut Vec<Credential>)) -> impl FnOnce(&mut Snapshot) {
        move |s| {
            let Observed::Known(list) = &mut gitlab_mut(s).projects[0].credentials else { panic!("known") };
            change(list);
            if list.iter().any(|c| c.kind == CredentialKind::AccessToken) {
                crate::fixture::hold_access_token(s);
            }
        }
    }

    fn of(kind: CredentialKind, scopes: &[&str], held: bool) -> Credential {
        let secret = ObjectRef::new("Secret", "flux-system", "flux-system");
        Credential {
            kind,
            id: 9,
            name: "n".to_owned(),
            scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
            held_by: if held { vec![secret] } else { Vec::new() },
            ..Credential::default()
        }
    }

    #[test]
    fn too_little_and_too_much_are_found() {
        use CredentialKind::*;
        for (credential, said, severity) in [
            (of(DeployToken, &["read_registry"], true), "lacks the scope read_repository (it has read_registry)", Some(Severity::Error)),
            (of(DeployToken, &["read_repository", "write_registry"], true), "can do more than fetch: write_registry", None),
            (of(DeployKey, &["write"], true), "may also push", None),
            (of(AccessToken, &["api"], false), "probably holds project access token 9 \"n\", which can do more than fetch: api", None),
        ] {
            let found = finding(&CHECK, credentials(|list| *list = vec![credential]));
            assert!(found.message.contains(said), "{}", found.message);
            assert_eq!(found.severity, severity);
        }
    }

    #[test]
    fn just_enough_passes() {
        use CredentialKind::*;
        passes(&CHECK, credentials(|list| *list = vec![of(DeployToken, &["read_repository", "read_registry"], true)]));
        passes(&CHECK, credentials(|list| *list = vec![of(DeployKey, &[], true)]));
    }

    #[test]
    fn several_tokens_that_differ_are_unknown() {
        use CredentialKind::AccessToken;
        let both = vec![of(AccessToken, &["api"], false), of(AccessToken, &["read_repository"], false)];
        let judgement = after(&CHECK, credentials(|list| *list = both));
        assert_eq!(judgement.verdict(), Verdict::Unknown);
        let why = Why::new(WhyKind::NoGitLab, "GitLab", "none given");
        let judgement = after(&CHECK, |s| s.gitlab = Observed::Unknown(why));
        assert_eq!(judgement.verdict(), Verdict::Unknown);
    }
}
