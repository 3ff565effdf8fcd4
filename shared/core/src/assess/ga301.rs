//! GA301: agentk is installed.

use super::{Check, Finding, Impact, Judgement, Remedy, Severity, standing};
use crate::command::kubectl;
use jiff::SignedDuration;

use crate::facts::readiness::{Readiness, lasts, readiness};
use crate::facts::{Facts, HelmRelease, Why, WhyKind};
use crate::need::Need;
use crate::object::ObjectRef;

pub(super) static CHECK: Check = Check {
    code: 301,
    slug: "agentk-missing",
    title: "agentk is installed",
    severity: Severity::Error,
    impact: Impact::Pushes,
    needs: &[Need::Deployments],
    page: include_str!("../../../../docs/checks/GA301.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    facts.agent_gaps().iter().for_each(|why| judgement.lacks(why.clone()));
    for agent in &facts.agents {
        judgement.examine();
        if agent.deployment.spec.replicas == Some(0) {
            judgement.find(scaled_down(&agent.object()));
        }
    }
    if facts.agents.is_empty() && facts.agent_gaps().is_empty() {
        none_seen(facts, judgement);
    }
    Ok(())
}

/// No agentk was seen, in a listing without gaps.
fn none_seen(facts: &Facts<'_>, judgement: &mut Judgement) {
    let deployments = &facts.snapshot.deployments;
    judgement.each(&facts.snapshot.helm_releases);
    let mut releases = facts.agent_releases().peekable();
    if releases.peek().is_none() {
        match &deployments.namespaces {
            None => judgement.find(not_installed()),
            Some(_) => judgement.lacks(Why::new(
                WhyKind::NotAsked,
                "Deployments of all namespaces",
                "the run was limited to some namespaces with -n, and agentk is in none of them",
            )),
        }
    }
    for release in releases {
        let own = &release.metadata.namespace;
        let target = Some(&release.spec.target_namespace).filter(|n| !n.is_empty()).unwrap_or(own);
        if judgement.known(deployments.in_namespace(target)).is_some() {
            if is_beginning(facts, release) {
                judgement.too_early(release.metadata.object("HelmRelease"), "helm-controller is installing it");
                continue;
            }
            judgement.find(without_deployment(release));
        }
    }
}

/// How long an install may take before it is late: Helm's own time-out is five minutes.
const INSTALLS: SignedDuration = SignedDuration::from_mins(6);

/// Whether helm-controller has only begun with a release that it never installed.
fn is_beginning(facts: &Facts<'_>, release: &HelmRelease) -> bool {
    let (meta, status) = (&release.metadata, &release.status);
    let state = readiness(&status.conditions, meta.generation, status.observed_generation, release.spec.suspend);
    matches!(state, Readiness::Progressing(_) | Readiness::NotObserved)
        && status.history.is_empty()
        && !lasts(&status.conditions, meta, facts.now, INSTALLS)
}

fn not_installed() -> Finding {
    let remedy = Remedy::say(
        "register an agent in GitLab (Operate > Kubernetes clusters > Connect a cluster), which shows its token and \
         kasAddress; install it with these commands, which ask for both, and commit the same HelmRepository and \
         HelmRelease to the Flux repository",
    );
    Finding::new(ObjectRef::cluster(), "has no agentk", remedy.install_new_agent())
}

fn scaled_down(object: &ObjectRef) -> Finding {
    let remedy = Remedy::say(
        "scale it to the two replicas that its chart has; if the values in Git say `replicas: 0`, change that there, or \
         the next upgrade stops it again",
    )
    .run(kubectl(&object.namespace, "scale").object(object).words("--replicas=2"));
    Finding::new(object.clone(), "is scaled to 0: this agent is not connected to GitLab", remedy)
}

fn without_deployment(release: &HelmRelease) -> Finding {
    let object = release.metadata.object("HelmRelease");
    let say = |text: &str| Remedy::say(text).run(kubectl(&object.namespace, "describe").object(&object));
    let shortfall = standing::release(release);
    let (message, remedy) = if release.spec.suspend {
        let remedy = say("resume it, in Git too if it is suspended there; first ask who suspended it, and why");
        ("is suspended, and agentk is not there", remedy.resume(&object))
    } else if shortfall.is_some() {
        let remedy = say("mend what its condition says, then have it reconciled").reconcile(&object);
        ("has not installed agentk", remedy)
    } else {
        let remedy = say("have Helm install it again: its Deployment was deleted behind its back");
        ("is ready, but its agentk Deployment is gone", remedy.force_release(&object))
    };
    let finding = Finding::new(object.clone(), message, remedy);
    match shortfall {
        Some(shortfall) => finding.because(shortfall.phrase).because(shortfall.evidence),
        None => finding,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::fixture::{deployment_mut, not_ready};
    use crate::snapshot::{Listing, Snapshot};

    fn without_agent(s: &mut Snapshot) {
        s.deployments.items.retain(|d| d.metadata.name != "gitlab-agent-v2");
    }

    #[test]
    fn a_cluster_without_agentk_is_found() {
        let found = finding(&CHECK, |s| {
            without_agent(s);
            s.helm_releases.items.clear();
        });
        assert_eq!((found.subject, found.message.as_str()), (ObjectRef::cluster(), "has no agentk"));
        let [_, secret, install] = &found.remedy.lines()[..] else { panic!("{:?}", found.remedy) };
        assert!(secret.contains("--from-file=token=/dev/stdin"), "{secret}");
        assert!(install.contains("kasAddress: \"$KAS_ADDRESS\"") && install.ends_with("\nEOF"), "{install}");
    }

    #[test]
    fn a_release_without_its_deployment_is_found() {
        let gone = finding(&CHECK, without_agent);
        assert_eq!(gone.subject.to_string(), "HelmRelease gitlab/gitlab-agent");
        assert_eq!(gone.message, "is ready, but its agentk Deployment is gone");
        assert!(gone.remedy.lines()[1].contains("forceAt"), "{:?}", gone.remedy);

        let failed = finding(&CHECK, |s| {
            without_agent(s);
            s.helm_releases.items[0].status.conditions = not_ready("InstallFailed", "no such value");
        });
        assert_eq!(failed.message, "has not installed agentk");
        assert_eq!(failed.evidence, ["is not ready (InstallFailed)", "no such value"]);

        let suspended = finding(&CHECK, |s| {
            without_agent(s);
            s.helm_releases.items[0].spec.suspend = true;
        });
        assert_eq!(suspended.message, "is suspended, and agentk is not there");
    }

    #[test]
    fn an_agent_scaled_to_nothing_is_found() {
        let found = finding(&CHECK, |s| deployment_mut(s, "gitlab-agent-v2").spec.replicas = Some(0));
        assert_eq!(found.subject.to_string(), "Deployment gitlab/gitlab-agent-v2");
        assert_eq!(found.remedy.lines(), ["kubectl -n gitlab scale deployment/gitlab-agent-v2 --replicas=2"]);
        passes(&CHECK, |s| deployment_mut(s, "gitlab-agent-v2").spec.replicas = Some(1));
    }

    #[test]
    fn what_was_not_listed_is_not_missing() {
        let limited = |s: &mut Snapshot| {
            without_agent(s);
            s.deployments.namespaces = Some(vec!["shop".to_owned()]);
        };
        assert_eq!(after(&CHECK, limited).verdict(), Verdict::Unknown);
        let no_release = after(&CHECK, |s| {
            limited(s);
            s.helm_releases.items.clear();
        });
        assert_eq!(no_release.verdict(), Verdict::Unknown);
        let denied = after(&CHECK, |s| {
            s.deployments = Listing::unknown(Why::new(WhyKind::Forbidden, "list deployments", "no"));
        });
        assert_eq!(denied.verdict(), Verdict::Unknown);
    }
}
