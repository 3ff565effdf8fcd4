//! GA405: the interval of each GitRepository is reasonable.

use jiff::SignedDuration;
use serde_json::json;

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::duration::parse;
use crate::facts::{Facts, Why};
use crate::need::Need;

pub(super) static CHECK: Check = Check {
    code: 405,
    slug: "interval-unreasonable",
    title: "every GitRepository is fetched at a reasonable interval",
    severity: Severity::Warning,
    impact: Impact::Pushes,
    needs: &[Need::GitRepositories],
    page: include_str!("../../../../docs/checks/GA405.md"),
    judge,
};

const LONGEST: SignedDuration = SignedDuration::from_hours(1);
const SHORTEST: SignedDuration = SignedDuration::from_secs(30);

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    for repository in judgement.each(&facts.snapshot.git_repositories) {
        judgement.examine();
        if let Some(message) = wrong_with(&repository.spec.interval) {
            let object = repository.metadata.object("GitRepository");
            let remedy = Remedy::in_git(facts, &object, "set spec.interval to between 1 and 60 minutes")
                .patch(&object, &json!({"spec": {"interval": "5m"}}));
            judgement.find(Finding::new(object, message, remedy));
        }
    }
    judgement.skip("there is no GitRepository");
    Ok(())
}

fn wrong_with(interval: &str) -> Option<String> {
    match parse(interval) {
        None => Some(format!("has the interval `{interval}`, which is no duration such as 5m")),
        Some(long) if long > LONGEST => Some(format!(
            "is fetched only every {interval} where a push event gets lost, and GitLab does not guarantee them"
        )),
        Some(short) if short < SHORTEST => {
            Some(format!("is fetched every {interval}, which loads GitLab without need: push events come at once"))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn interval(text: &'static str) -> impl FnOnce(&mut Snapshot) {
        move |s| fixture::git_mut(s, "flux-system").spec.interval = text.to_owned()
    }

    #[test]
    fn intervals_out_of_bounds_are_found() {
        for (text, message) in [
            ("1h0m1s", "is fetched only every 1h0m1s"),
            ("29s", "is fetched every 29s, which loads GitLab"),
            ("500ms", "is fetched every 500ms"),
            ("soon", "has the interval `soon`, which is no duration"),
            ("", "has the interval ``"),
        ] {
            let found = finding(&CHECK, interval(text));
            assert_eq!(found.subject.to_string(), "GitRepository flux-system/flux-system");
            assert!(found.message.starts_with(message), "{}", found.message);
            assert_eq!(
                found.remedy.lines(),
                [r#"kubectl -n flux-system patch gitrepository.source.toolkit.fluxcd.io/flux-system --type=merge -p '{"spec":{"interval":"5m"}}'"#]
            );
        }
    }

    #[test]
    fn the_bounds_are_fine() {
        passes(&CHECK, interval("1h"));
        passes(&CHECK, interval("30s"));
        assert_eq!(after(&CHECK, |s| s.git_repositories.items.clear()).verdict(), Verdict::Skipped);
    }
}
