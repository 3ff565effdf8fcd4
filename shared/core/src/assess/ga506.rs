//! GA506: the token of a Provider serves one project, as a project access token does.

use std::collections::BTreeSet;

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::notification::{is_number, project, token};
use crate::facts::{Facts, Provider, Why};
use crate::need::Need;

pub(super) static CHECK: Check = Check {
    code: 506,
    slug: "status-token-of-many-projects",
    title: "the token of each Provider that writes to GitLab serves one project",
    severity: Severity::Warning,
    impact: Impact::Notifications,
    needs: &[Need::Providers, Need::Secrets],
    page: include_str!("../../../../docs/checks/GA506.md"),
    judge,
};

/// A Provider that writes to GitLab, and the fingerprint of its token.
struct Writer<'s> {
    provider: &'s Provider,
    fingerprint: &'s str,
}

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    judgement.skip("no Provider writes to GitLab");
    let mut writers = Vec::new();
    for provider in judgement.each(&facts.snapshot.providers).iter().filter(|p| p.writes_to_gitlab()) {
        let Some(secret) = provider.secret() else { continue };
        let Some(Some(shape)) = judgement.known(facts.secret(&secret.namespace, &secret.name)) else {
            continue;
        };
        let Some((_, token)) = token(shape) else { continue };
        judgement.examine();
        writers.push(Writer { provider, fingerprint: &token.fingerprint });
    }
    // A project access token works in its own project alone, so one that serves two is not one. Prefixes do not tell
    // access tokens of projects, groups and persons apart.
    for (at, writer) in writers.iter().enumerate() {
        let same = || writers.iter().filter(|w| w.fingerprint == writer.fingerprint);
        let first = writers.iter().position(|w| w.fingerprint == writer.fingerprint) == Some(at);
        let projects: BTreeSet<&str> = same().filter_map(|w| path(w.provider)).collect();
        if first && projects.len() > 1 {
            judgement.find(found(facts, same().next_back().unwrap_or(writer).provider, &projects));
        }
    }
    Ok(())
}

/// A project's path; numbers are left out, because one may be the project of a path.
fn path(provider: &Provider) -> Option<&str> {
    project(&provider.spec.address).map(|(_, path)| path).filter(|path| !path.is_empty() && !is_number(path))
}

fn found(facts: &Facts<'_>, provider: &Provider, projects: &BTreeSet<&str>) -> Finding {
    let names: Vec<&str> = projects.iter().copied().collect();
    let message = format!(
        "has a token that also serves another project ({}): it is that of a person or a group, and whoever gets hold of \
         it gets all of them",
        names.join(", ")
    );
    let remedy = Remedy::of_provider_token(facts, provider, true);
    Finding::new(provider.metadata.object("Provider"), message, remedy)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::LocalRef;
    use crate::snapshot::Snapshot;

    fn shared(s: &mut Snapshot) {
        s.providers.items[1].spec.secret_ref =
            Some(LocalRef { name: "gitlab-status-flux-system".to_owned() });
    }

    #[test]
    fn one_token_for_two_projects_is_found() {
        let found = finding(&CHECK, shared);
        assert_eq!(found.subject.to_string(), "Provider flux-system/gitlab-status-example-nginx-app");
        assert!(
            found.message.contains("(platform/example-nginx-app, platform/flux-system)"),
            "{}",
            found.message
        );
        assert!(
            found.remedy.lines()[0].contains("gitlab-status-example-nginx-app-token"),
            "a Secret of its own"
        );
        assert!(found.remedy.lines()[1].contains("patch provider.notification.toolkit.fluxcd.io/"));
    }

    #[test]
    fn one_token_for_one_project_is_fine() {
        passes(&CHECK, |s| {
            shared(s);
            s.providers.items[1].spec.address = s.providers.items[0].spec.address.clone();
        });
        passes(&CHECK, |s| {
            shared(s);
            *s.providers.items[1].spec.address = "https://gitlab.example.com/42".to_owned();
        });
        assert_eq!(after(&CHECK, |s| s.providers.items.clear()).verdict(), Verdict::Skipped);
    }
}
