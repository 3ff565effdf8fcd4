//! GA305: the release of agentk names the Secret that is there.

use serde_json::json;

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::readiness::{Readiness, readiness};
use crate::facts::token_secret::{Candidates, NamedSecret, named};
use crate::facts::{Facts, HelmRelease, Why};
use crate::need::Need;

pub(super) static CHECK: Check = Check {
    code: 305,
    slug: "secret-name-mismatch",
    title: "the agent's HelmRelease names the token Secret that is there",
    severity: Severity::Error,
    impact: Impact::Pushes,
    needs: &[Need::HelmReleases, Need::Deployments, Need::Secrets],
    page: include_str!("../../../../docs/checks/GA305.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    judgement.each(&facts.snapshot.helm_releases);
    for why in facts.agent_gaps() {
        judgement.lacks(why.clone());
    }
    let candidates = Candidates::of(facts.snapshot);
    for named in named(facts.snapshot) {
        let Some(shape) = judgement.known(named.shape.clone()) else { continue };
        judgement.examine();
        let found = match shape {
            None => missing(facts, &candidates, &named),
            Some(_) => not_applied(facts, judgement, &named),
        };
        if let Some(finding) = found {
            judgement.find(finding);
        }
    }
    judgement.skip("no HelmRelease of the chart gitlab-agent names a token Secret");
    Ok(())
}

/// The Secret that the Deployment of this release mounts.
fn mounted<'s>(facts: &Facts<'s>, release: &HelmRelease) -> Option<&'s str> {
    let made = facts.agents.iter().find(|a| a.release.is_some_and(|r| std::ptr::eq(r, release)));
    made.and_then(|agent| agent.secret_name)
}

/// A Secret that does not exist is this check's matter where another one is meant, or where no Deployment mounts it:
/// else it is GA304's.
fn missing(facts: &Facts<'_>, candidates: &Candidates<'_>, named: &NamedSecret<'_>) -> Option<Finding> {
    let release = named.release.metadata.object("HelmRelease");
    let name = &named.object.name;
    let Some(meant) = candidates.meant(named) else {
        let is_mounted = mounted(facts, named.release) == Some(name);
        let message = || format!("names Secret {name}, which does not exist");
        let mend = || {
            let text = format!("write the agent's token into {} (it is asked for, and not shown)", named.object);
            Remedy::say(text).write_secret(&named.object.namespace, name, "token").reset(&release)
        };
        return (!is_mounted).then(|| Finding::new(release.clone(), message(), mend()));
    };
    let message = format!("names Secret {name}, which does not exist; {} {}", meant.name, meant.state);
    let text = format!("set config.secretName to {} in helm.yaml", meant.name);
    let patch = json!({"spec": {"values": {"config": {"secretName": meant.name}}}});
    let remedy = Remedy::in_git(facts, &release, &text).patch(&release, &patch).reconcile(&release);
    Some(Finding::new(release, message, remedy).explains())
}

/// The release names a Secret that is there, and agentk still mounts another one.
fn not_applied(
    facts: &Facts<'_>,
    judgement: &mut Judgement,
    named: &NamedSecret<'_>,
) -> Option<Finding> {
    let release = named.release;
    let mounted = mounted(facts, release).filter(|mounted| *mounted != named.object.name)?;
    let status = &release.status;
    let state = readiness(
        &status.conditions,
        release.metadata.generation,
        status.observed_generation,
        release.spec.suspend,
    );
    if matches!(state, Readiness::Progressing(_)) {
        judgement.too_early(release.metadata.object("HelmRelease"), "helm-controller has not finished with it");
        return None;
    }
    let object = release.metadata.object("HelmRelease");
    let message = format!("names Secret {}, but agentk mounts {mounted}: the release is not applied", named.object.name);
    let remedy = if release.spec.suspend {
        Remedy::in_git(facts, &object, "resume the release").resume(&object)
    } else {
        Remedy::say("let helm-controller apply the release; where it refuses, GA408 tells why").reset(&object)
    };
    Some(Finding::new(object, message, remedy))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes, too_early};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::{InventoryEntry, Observed};
    use crate::fixture;
    use crate::snapshot::{SecretEntry, Snapshot};

    fn names(s: &mut Snapshot, name: &str) {
        s.helm_releases.items[0].spec.values.secret_name = Some(name.to_owned());
    }

    fn absent(s: &mut Snapshot, name: &str) {
        s.secrets.push(SecretEntry {
            namespace: "gitlab".to_owned(),
            name: name.to_owned(),
            shape: Observed::Known(None),
        });
    }

    #[test]
    fn a_wrong_name_is_found_with_the_right_one() {
        let found = finding(&CHECK, |s| {
            names(s, "agent-token");
            absent(s, "agent-token");
        });
        assert_eq!(found.subject.to_string(), "HelmRelease gitlab/gitlab-agent");
        assert_eq!(
            found.message,
            "names Secret agent-token, which does not exist; gitlab-agent-token holds an agent token"
        );
        assert!(found.remedy.text.contains("Kustomization flux-system/flux-system applies"), "{}", found.remedy.text);
        assert!(
            found.remedy.lines()[0]
                .ends_with(r#"-p '{"spec":{"values":{"config":{"secretName":"gitlab-agent-token"}}}}'"#)
        );
    }

    #[test]
    fn a_generated_name_with_its_hash_is_found() {
        let found = finding(&CHECK, |s| {
            fixture::secret_entry(s, "gitlab", "gitlab-agent-token").shape = Observed::Known(None);
            let entry = InventoryEntry { id: "gitlab_gitlab-agent-token-6b8hg2__Secret".to_owned(), v: "v1".to_owned() };
            s.kustomizations.items[0].status.inventory.entries.push(entry);
        });
        assert!(found.message.ends_with("gitlab-agent-token-6b8hg2 is applied there"), "{}", found.message);
    }

    #[test]
    fn a_missing_secret_that_nothing_mounts_is_found_here() {
        let found = finding(&CHECK, |s| {
            fixture::secret_entry(s, "gitlab", "gitlab-agent-token").shape = Observed::Known(None);
            s.deployments.items.retain(|d| d.metadata.name != "gitlab-agent-v2");
        });
        assert_eq!(found.message, "names Secret gitlab-agent-token, which does not exist");
        passes(&CHECK, |s| fixture::secret_entry(s, "gitlab", "gitlab-agent-token").shape = Observed::Known(None));
    }

    #[test]
    fn a_release_that_is_not_applied_is_found() {
        let other = |s: &mut Snapshot| {
            let volumes = &mut fixture::deployment_mut(s, "gitlab-agent-v2").spec.template.spec.volumes;
            volumes[0].secret.as_mut().expect("a Secret").secret_name = "old".to_owned();
        };
        let found = finding(&CHECK, other);
        assert_eq!(found.message, "names Secret gitlab-agent-token, but agentk mounts old: the release is not applied");
        too_early(&CHECK, |s| {
            other(s);
            s.helm_releases.items[0].status.conditions[0].status = "Unknown".to_owned();
        });
    }

    #[test]
    fn without_a_name_there_is_nothing_to_compare() {
        let judgement = after(&CHECK, |s| s.helm_releases.items[0].spec.values.secret_name = None);
        assert_eq!(judgement.verdict(), Verdict::Skipped);
        assert_eq!(after(&CHECK, |s| names(s, "unseen")).verdict(), Verdict::Unknown);
    }
}
