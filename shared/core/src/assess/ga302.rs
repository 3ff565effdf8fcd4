//! GA302: agentk is installed by Flux, and each object on the way to it is ready.

use super::remedy::AgentInstall;
use super::release::sources;
use super::standing::{self, Shortfall};
use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::command::kubectl;
use crate::facts::agent::Agent;
use crate::facts::failure::{Failure, classify, read};
use crate::facts::{Facts, HelmRelease, Source, Why, condition};
use crate::need::Need;
use crate::object::ObjectRef;

pub(super) static CHECK: Check = Check {
    code: 302,
    slug: "agentk-not-by-flux",
    title: "agentk is installed by a HelmRelease that is ready, and so are its chart and repository",
    severity: Severity::Warning,
    impact: Impact::Pushes,
    needs: &[Need::HelmRepositories, Need::HelmCharts, Need::HelmReleases, Need::Deployments],
    page: include_str!("../../../../docs/checks/GA302.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    judgement.skip("no agentk is installed");
    facts.agent_gaps().iter().for_each(|why| judgement.lacks(why.clone()));
    for agent in &facts.agents {
        let label = |key| agent.deployment.metadata.label(key);
        let by = label("helm.toolkit.fluxcd.io/name").zip(label("helm.toolkit.fluxcd.io/namespace"));
        if by.is_none() && !facts.components().contains(&"helm-controller") {
            judgement.skip("helm-controller is not installed, and agentk is no HelmRelease");
            continue;
        }
        judgement.examine();
        let Some((name, namespace)) = by else {
            judgement.find(not_by_flux(agent));
            continue;
        };
        match judgement.known(facts.snapshot.helm_releases.find(namespace, name)) {
            Some(Some(release)) => {
                let found = first_broken(facts, judgement, release);
                judgement.findings.extend(found);
            }
            Some(None) => judgement.find(orphaned(agent, &ObjectRef::new("HelmRelease", namespace, name))),
            None => {}
        }
    }
    Ok(())
}

/// The first object that is not ready in the order repository, chart, release.
fn first_broken(facts: &Facts<'_>, judgement: &mut Judgement, release: &HelmRelease) -> Option<Finding> {
    for object in sources(release) {
        // Kinds of sources that are not read are not judged.
        let Some(listing) = facts.sources(&object.kind) else { continue };
        let Some(found) = judgement.known(listing.find(&object.namespace, &object.name)) else { continue };
        let broken = match found {
            None => Some(absent(&object)),
            Some(source) => standing::source(source).map(|shortfall| {
                shortfall.note(judgement, &object);
                unfetched(&object, source, shortfall)
            }),
        };
        if broken.is_some() {
            return broken;
        }
    }
    let object = release.metadata.object("HelmRelease");
    let shortfall = standing::release(release)?;
    shortfall.note(judgement, &object);
    let remedy = Remedy::say(
        "mend what its condition says, in the values or version in Git, then have it reconciled; after a failed \
         upgrade GA606 says more",
    );
    let class = Some(read(&shortfall.evidence)).filter(|c| !matches!(c, Failure::Other | Failure::WaitTimeout | Failure::Timeout));
    let why = class.map(|class| format!(": {}", class.phrase())).unwrap_or_default();
    Some(not_ready(&object, format!("{}{why}", shortfall.phrase), shortfall, remedy))
}

fn unfetched(object: &ObjectRef, source: &Source, shortfall: Shortfall) -> Finding {
    let failed = ["FetchFailed", "Ready", "Stalled"].iter().find_map(|kind| {
        condition(&source.status.conditions, kind).filter(|c| c.message == shortfall.evidence)
    });
    let why = failed.filter(|_| !shortfall.waits).map(|c| format!(": {}", classify(c).phrase()));
    let message = format!("{}{}", shortfall.phrase, why.unwrap_or_default());
    let remedy = Remedy::say("mend what its condition says (URL, version, credential, network), then have it reconciled");
    not_ready(object, message, shortfall, remedy)
}

fn not_ready(object: &ObjectRef, message: String, shortfall: Shortfall, remedy: Remedy) -> Finding {
    let remedy =
        remedy.run(kubectl(&object.namespace, "describe").object(object)).reconcile(object);
    let finding = Finding::new(object.clone(), format!("{message}; agentk is installed from it"), remedy);
    shortfall.shown_in(finding, Severity::Error)
}

fn absent(object: &ObjectRef) -> Finding {
    let remedy = match object.kind.as_str() {
        "HelmChart" => {
            Remedy::say("see that helm-controller runs (GA204): it makes this object from the HelmRelease")
                .run(kubectl(&object.namespace, "get helmcharts.source.toolkit.fluxcd.io"))
        }
        _ => Remedy::say("commit it to the Flux repository again, or correct the name in the HelmRelease")
            .run(kubectl(&object.namespace, "get").word(object.resource())),
    };
    let message = "does not exist; agentk is installed from it";
    Finding::new(object.clone(), message, remedy).severity(Severity::Error)
}

fn orphaned(agent: &Agent<'_>, release: &ObjectRef) -> Finding {
    let message = format!("was installed by {release}, which does not exist any more: nothing upgrades it");
    Finding::new(agent.object(), message, adopt(agent)).impact(Impact::Hygiene)
}

fn not_by_flux(agent: &Agent<'_>) -> Finding {
    let by_helm = agent.deployment.metadata.label("app.kubernetes.io/managed-by") == Some("Helm");
    let by = if by_helm { "was installed by helm" } else { "was applied as a manifest" };
    let message = format!("{by}, not by Flux: no patch arrives by itself");
    Finding::new(agent.object(), message, adopt(agent)).impact(Impact::Hygiene)
}

/// Flux takes over a Helm release of the same name and namespace. The Secret must not go with the old release: Helm
/// deletes what the new manifests no longer hold.
fn adopt(agent: &Agent<'_>) -> Remedy {
    let text = "commit a HelmRepository and a HelmRelease as these to the Flux repository, with the values that are \
                set now (`helm get values`); Flux takes over a Helm release of the same name. What was applied as a \
                plain manifest has to be deleted first";
    let remedy = Remedy::say(text);
    let metadata = &agent.deployment.metadata;
    let helm_name = metadata.annotation("meta.helm.sh/release-name");
    let name = helm_name.or_else(|| metadata.label("app.kubernetes.io/instance"));
    let (Some(secret), Some(address)) = (agent.secret_name, agent.kas_address()) else { return remedy };
    let version = metadata.label("helm.sh/chart").and_then(|chart| {
        let version = semver::Version::parse(chart.strip_prefix("gitlab-agent-")?).ok()?;
        Some(format!("~{}.{}.0", version.major, version.minor))
    });
    let release = name.unwrap_or("gitlab-agent");
    let install = AgentInstall { namespace: agent.namespace(), release, secret, version };
    remedy
        .run(
            kubectl(agent.namespace(), "annotate --overwrite")
                .object(&ObjectRef::new("Secret", agent.namespace(), secret))
                .words("helm.sh/resource-policy=keep"),
        )
        .install_agent(&install, address)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::{CrossRef, SourceStatus, WhyKind};
    use crate::fixture::{deployment_mut, fetch_failed, not_ready};
    use crate::snapshot::{Listing, Snapshot};

    fn agent(s: &mut Snapshot) -> &mut crate::facts::Meta {
        &mut deployment_mut(s, "gitlab-agent-v2").metadata
    }

    #[test]
    fn the_first_broken_object_is_found() {
        let broken = |repository: bool, chart: bool| {
            finding(&CHECK, |s| {
                let refused = fetch_failed("IndexationFailed", "failed to fetch index: 404 Not Found");
                if repository {
                    s.helm_repositories.items[0].status.conditions = refused;
                }
                if chart {
                    s.helm_charts.items[0].status.conditions = fetch_failed("InvalidChartReference", "no chart version found");
                }
                s.helm_releases.items[0].status.conditions = not_ready("UpgradeFailed", "timed out");
            })
        };
        for (found, subject, message) in [
            (broken(true, true), "HelmRepository gitlab/gitlab-agent", "is not ready (IndexationFailed): the server knows"),
            (broken(false, true), "HelmChart gitlab/gitlab-gitlab-agent", "is not ready (InvalidChartReference): the chart,"),
            (broken(false, false), "HelmRelease gitlab/gitlab-agent", "is not ready (UpgradeFailed); agentk"),
        ] {
            assert_eq!((found.subject.to_string().as_str(), found.severity), (subject, Some(Severity::Error)));
            assert!(found.message.starts_with(message), "{}", found.message);
            assert_eq!(found.evidence.len(), 1);
        }
    }

    #[test]
    fn an_absent_object_is_found() {
        let repository = finding(&CHECK, |s| s.helm_repositories.items.clear());
        assert_eq!(repository.subject.to_string(), "HelmRepository gitlab/gitlab-agent");
        assert_eq!(repository.message, "does not exist; agentk is installed from it");
        let chart = finding(&CHECK, |s| s.helm_charts.items.clear());
        assert_eq!(chart.subject.to_string(), "HelmChart gitlab/gitlab-gitlab-agent");
        let release = finding(&CHECK, |s| s.helm_releases.items.clear());
        assert_eq!((release.subject.kind.as_str(), release.severity), ("Deployment", None));
        assert!(release.message.starts_with("was installed by HelmRelease gitlab/gitlab-agent, which"), "{}", release.message);
    }

    #[test]
    fn an_agent_that_flux_did_not_install_is_found() {
        let manifest = finding(&CHECK, |s| agent(s).labels.clear());
        assert_eq!(manifest.subject.to_string(), "Deployment gitlab/gitlab-agent-v2");
        assert_eq!(manifest.message, "was applied as a manifest, not by Flux: no patch arrives by itself");
        let helm = finding(&CHECK, |s| {
            let labels = [
                ("app.kubernetes.io/managed-by", "Helm"),
                ("app.kubernetes.io/instance", "my-agent"),
                ("helm.sh/chart", "gitlab-agent-2.29.1"),
            ];
            agent(s).labels = labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        });
        assert_eq!(helm.message, "was installed by helm, not by Flux: no patch arrives by itself");
        let [keep, install] = &helm.remedy.lines()[..] else { panic!("{:?}", helm.remedy) };
        assert_eq!(keep, "kubectl -n gitlab annotate --overwrite secret/gitlab-agent-token helm.sh/resource-policy=keep");
        for part in ["releaseName: \"my-agent\"", "version: \"~2.29.0\"", "kasAddress: \"wss://kas.example.com\""] {
            assert!(install.contains(part), "{part} in {install}");
        }
    }

    #[test]
    fn near_misses_pass() {
        passes(&CHECK, |s| {
            s.helm_repositories.items[0].spec.kind = "oci".to_owned();
            s.helm_repositories.items[0].status = SourceStatus::default();
        });
        passes(&CHECK, |s| {
            let release = &mut s.helm_releases.items[0];
            release.spec.chart = None;
            let kind = "HelmChart".to_owned();
            release.spec.chart_ref = Some(CrossRef { kind, name: "gitlab-gitlab-agent".to_owned(), ..CrossRef::default() });
        });
        passes(&CHECK, |s| s.helm_releases.items[0].spec.suspend = true);
    }

    #[test]
    fn a_broken_chart_is_found_without_the_repository() {
        let judgement = after(&CHECK, |s| {
            s.helm_repositories = Listing::unknown(Why::new(WhyKind::Forbidden, "list helmrepositories", "no"));
            s.helm_charts.items.clear();
        });
        assert_eq!((judgement.findings.len(), judgement.unknown.len()), (1, 1));
        let none = after(&CHECK, |s| s.deployments.items.clear());
        assert_eq!(none.verdict(), Verdict::Skipped);
    }
}
