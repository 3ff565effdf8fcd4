//! GA510: one token serves one purpose.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::token_use::{Purpose, TokenUse};
use crate::facts::{Facts, Why};
use crate::need::Need;

pub(super) static CHECK: Check = Check {
    code: 510,
    slug: "token-of-many-purposes",
    title: "one token is not used for several purposes",
    severity: Severity::Warning,
    impact: Impact::Hygiene,
    needs: &[
        Need::GitRepositories,
        Need::OciRepositories,
        Need::Buckets,
        Need::HelmRepositories,
        Need::Receivers,
        Need::Providers,
        Need::Deployments,
        Need::Secrets,
    ],
    page: include_str!("../../../../docs/checks/GA510.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    judgement.skip("no token is used here");
    let s = facts.snapshot;
    for (kind, listing) in facts.source_kinds() {
        if kind != "HelmChart" {
            judgement.each(listing);
        }
    }
    judgement.each(&s.receivers);
    judgement.each(&s.providers);
    facts.agent_gaps().iter().for_each(|why| judgement.lacks(why.clone()));
    let (uses, gaps) = facts.token_uses();
    gaps.into_iter().for_each(|why| judgement.lacks(why));
    let mut by_value: BTreeMap<&str, Vec<&TokenUse<'_>>> = BTreeMap::new();
    for used in &uses {
        judgement.examine();
        by_value.entry(&used.shape.fingerprint).or_default().push(used);
    }
    for same in by_value.values() {
        let purposes: BTreeSet<Purpose> = same.iter().map(|used| used.purpose).collect();
        if purposes.len() > 1 {
            judgement.findings.extend(found(facts, same, &purposes));
        }
    }
    Ok(())
}

/// The token that is replaced is the one that needs less power than the other use gives it.
fn found(facts: &Facts<'_>, same: &[&TokenUse<'_>], purposes: &BTreeSet<Purpose>) -> Option<Finding> {
    let order = [Purpose::Source, Purpose::Receiver, Purpose::Notification, Purpose::Agent];
    let of = |purpose: &Purpose| same.iter().copied().find(|used| used.purpose == *purpose);
    let replaced = order.iter().find_map(of)?;
    let names: Vec<String> = purposes.iter().map(ToString::to_string).collect();
    let message = format!(
        "holds one token for several purposes ({}): whoever gets hold of it for one has all, and it cannot be renewed for \
         one alone",
        names.join(", ")
    );
    let finding = Finding::new(replaced.secret.clone(), message, mend(facts, replaced));
    let because = |finding: Finding, used: &&TokenUse<'_>| {
        finding.because(format!("{} uses {} for {}", used.by, used.secret, used.purpose))
    };
    Some(same.iter().fold(finding, because))
}

fn mend(facts: &Facts<'_>, replaced: &TokenUse<'_>) -> Remedy {
    let (by, s) = (&replaced.by, facts.snapshot);
    let source = || facts.sources(&by.kind)?.find(&by.namespace, &by.name).ok()?;
    let receiver = || s.receivers.find(&by.namespace, &by.name).ok().flatten();
    let provider = || s.providers.find(&by.namespace, &by.name).ok().flatten();
    let remedy = match replaced.purpose {
        Purpose::Source => source().map(|source| Remedy::of_credential(facts, by, source)),
        Purpose::Receiver => receiver().map(|receiver| Remedy::of_receiver_secret(facts, receiver)),
        Purpose::Notification => provider().map(|provider| Remedy::of_provider_token(facts, provider, true)),
        Purpose::Agent => None,
    };
    remedy.unwrap_or_else(|| {
        Remedy::say("create a token of its own for each purpose in GitLab, and write it into its Secret")
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::LocalRef;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn copy(s: &mut Snapshot, from: (&str, &str, &str), to: (&str, &str, &str)) {
        let shape = fixture::secret(s, from.0, from.1).keys[from.2].clone();
        fixture::secret(s, to.0, to.1).keys.insert(to.2.to_owned(), shape);
    }

    const SOURCE: (&str, &str, &str) = ("flux-system", "flux-system", "password");
    const STATUS: (&str, &str, &str) = ("flux-system", "gitlab-status-flux-system", "token");

    #[test]
    fn one_value_in_two_secrets_is_found() {
        let found = finding(&CHECK, |s| copy(s, STATUS, SOURCE));
        assert_eq!(found.subject.to_string(), "Secret flux-system/flux-system");
        assert!(found.message.contains("(fetching, job statuses)"), "{}", found.message);
        assert_eq!(found.evidence.len(), 2);
        assert!(
            found.remedy.text.contains("deploy token"),
            "the source gets the smaller one: {:?}",
            found.remedy
        );
        let receiver =
            finding(&CHECK, |s| copy(s, STATUS, ("flux-system", "gitlab-receiver-flux-system", "token")));
        assert!(receiver.message.contains("(job statuses, checking webhooks)"), "{}", receiver.message);
        let agent = finding(&CHECK, |s| copy(s, STATUS, ("gitlab", "gitlab-agent-token", "token")));
        assert!(agent.message.contains("(agentk's connection, job statuses)"), "{}", agent.message);
    }

    #[test]
    fn one_secret_for_two_purposes_is_found() {
        let found = finding(&CHECK, |s| {
            s.providers.items[0].spec.secret_ref = Some(LocalRef { name: "flux-system".to_owned() });
        });
        assert_eq!(found.subject.to_string(), "Secret flux-system/flux-system");
    }

    #[test]
    fn several_objects_of_one_purpose_may_share_a_token() {
        passes(&CHECK, |s| copy(s, SOURCE, ("flux-system", "example-nginx-app", "password")));
        let none = after(&CHECK, |s| {
            s.secrets.iter_mut().for_each(|e| e.shape = crate::facts::Observed::Known(None));
        });
        assert_eq!(none.verdict(), Verdict::Skipped);
    }
}
