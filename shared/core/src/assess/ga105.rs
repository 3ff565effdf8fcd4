//! GA105: GitLab answers and accepts the person's token.

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::{Facts, Why, WhyKind};
use crate::need::Need;
use crate::object::ObjectRef;
use crate::text::span;

pub(super) static CHECK: Check = Check {
    code: 105,
    slug: "gitlab-unusable",
    title: "GitLab answers and accepts your token, with the scopes needed here",
    severity: Severity::Error,
    impact: Impact::Visibility,
    needs: &[Need::GitLabMetadata, Need::GitLabToken],
    page: include_str!("../../../../docs/checks/GA105.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    let part = facts.gitlab()?;
    let subject = ObjectRef::new("GitLab", "", &part.url);
    let metadata = part.metadata.get();
    let token = part.token.get();
    if let Some(finding) = [metadata.as_ref().err(), token.as_ref().err()].into_iter().flatten().find_map(|why| unusable(&subject, why)) {
        judgement.find(finding);
        return Ok(());
    }
    if let Some(token) = judgement.known(token) {
        judgement.examine();
        if let Some(said) = &token.refused_as_legacy {
            let message = "refuses your token where fine-grained personal access tokens are enforced: it is a legacy token";
            judgement.find(Finding::new(subject, message, Remedy::say(FINE_GRAINED_TOKEN)).because(said));
            return Ok(());
        }
        // What a fine-grained token may do it does not say; what it may not, each request says, with the permission.
        let fine_grained = token.scopes.iter().any(|s| s == "granular");
        if !fine_grained && !token.scopes.iter().any(|s| s == "read_api" || s == "api") {
            let has = if token.scopes.is_empty() { "none".to_owned() } else { token.scopes.join(", ") };
            let message = format!("accepts your token, but it lacks the scope read_api (it has {has})");
            judgement.find(Finding::new(subject.clone(), message, Remedy::say(NEW_TOKEN)));
            return Ok(());
        }
        let left = token.expires_at.map(|at| at.duration_since(facts.now));
        if let Some(left) = left.filter(|left| *left <= facts.expiry_window) {
            let message = format!("accepts your token, which expires in {}", span(left));
            let finding = Finding::new(subject, message, Remedy::say(NEW_TOKEN));
            judgement.find(finding.severity(Severity::Warning));
        }
    }
    if judgement.known(metadata).is_some() {
        judgement.examine();
    }
    Ok(())
}

const NEW_TOKEN: &str = "create an access token with the scope read_api (in GitLab: your avatar > Edit profile > Access > \
                         Personal access tokens > Generate token > Legacy token, or Settings > Access tokens of the \
                         project), and give it as GITLAB_TOKEN or --gitlab-token-file";

const FINE_GRAINED_TOKEN: &str =
    "create a fine-grained token (in GitLab: your avatar > Edit profile > Access > Personal access tokens > Generate token > \
     Fine-grained token) with the permissions that docs/gitlab-access.md lists, for the projects that this cluster uses, and \
     give it as GITLAB_TOKEN or --gitlab-token-file";

fn unusable(subject: &ObjectRef, why: &Why) -> Option<Finding> {
    let (message, remedy) = match why.kind {
        WhyKind::Unreachable => ("cannot be used", "check the host that you gave, VPN, proxy and certificates (--gitlab-ca-file)"),
        WhyKind::TimedOut => ("did not answer in time", "ask again later, or with a longer --request-timeout"),
        WhyKind::SignIn => ("refuses your token", NEW_TOKEN),
        _ => return None,
    };
    Some(Finding::new(subject.clone(), message, Remedy::say(remedy)).because(&why.message))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::Observed;
    use crate::fixture::gitlab_mut;
    use crate::snapshot::Snapshot;
    use crate::snapshot::gitlab::OwnToken;

    fn token(scopes: &[&str], expires: Option<&str>) -> OwnToken {
        OwnToken {
            scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
            expires_at: expires.map(|at| at.parse().expect("a time")),
            refused_as_legacy: None,
        }
    }

    fn set(own: OwnToken) -> impl FnOnce(&mut Snapshot) {
        move |s| gitlab_mut(s).token = Observed::Known(own)
    }

    #[test]
    fn a_gitlab_that_cannot_be_used_is_found() {
        for kind in [WhyKind::Unreachable, WhyKind::TimedOut, WhyKind::SignIn] {
            let found = finding(&CHECK, |s| gitlab_mut(s).metadata = Observed::Unknown(Why::new(kind, "metadata", "because")));
            assert_eq!(found.subject.to_string(), "GitLab https://gitlab.example.com");
            assert_eq!(found.evidence, ["because"]);
        }
    }

    #[test]
    fn a_token_without_the_scope_or_near_its_end_is_found() {
        let found = finding(&CHECK, set(token(&["read_user"], None)));
        assert!(found.message.contains("lacks the scope read_api (it has read_user)"), "{}", found.message);
        let found = finding(&CHECK, set(token(&["api"], Some("2026-11-12T00:00:00Z"))));
        assert_eq!((found.message.as_str(), found.severity), ("accepts your token, which expires in 9d", Some(Severity::Warning)));
        passes(&CHECK, set(token(&["api"], None)));
    }

    #[test]
    fn a_fine_grained_token_is_usable_and_a_legacy_one_is_refused_where_they_are_enforced() {
        passes(&CHECK, set(token(&["granular"], None)));
        let mut legacy = token(&["api"], None);
        legacy.refused_as_legacy = Some("403 Access denied".to_owned());
        let found = finding(&CHECK, set(legacy));
        assert!(found.message.contains("fine-grained personal access tokens are enforced"), "{}", found.message);
        assert!(found.remedy.text.contains("Fine-grained token") && found.evidence == ["403 Access denied"]);
    }

    #[test]
    fn without_gitlab_it_is_unknown() {
        let why = Why::new(WhyKind::NoGitLab, "GitLab", "none given");
        let judgement = after(&CHECK, |s| s.gitlab = Observed::Unknown(why.clone()));
        assert_eq!((judgement.verdict(), judgement.unknown), (Verdict::Unknown, vec![why.clone()]));
    }
}
