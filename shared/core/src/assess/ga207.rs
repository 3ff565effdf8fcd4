//! GA207: the Flux controllers are of one release.

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::flux::CONTROLLERS;
use crate::facts::{Facts, Why, WhyKind, Workload};
use crate::need::Need;

pub(super) static CHECK: Check = Check {
    code: 207,
    slug: "controllers-of-different-releases",
    title: "the Flux controllers are of one release",
    severity: Severity::Warning,
    impact: Impact::Hygiene,
    needs: &[Need::Deployments],
    page: include_str!("../../../../docs/checks/GA207.md"),
    judge,
};

/// Controllers that are not part of every installation. Only their label tells their release.
const EXTRA: &[&str] = &["image-reflector-controller", "image-automation-controller", "source-watcher"];

/// Minor version of each controller's image (source-, kustomize-, helm-, notification-controller) in each minor
/// version of Flux 2.
const IMAGES: &[(u64, [u64; 4])] =
    &[(6, [6, 6, 3, 6]), (7, [7, 7, 4, 7]), (8, [8, 8, 5, 8]), (9, [9, 9, 6, 9])];

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    let mut seen = Vec::new();
    for (name, _) in CONTROLLERS {
        seen.extend(facts.controller(name)?);
    }
    for name in EXTRA {
        let found = facts.controller(name)?;
        seen.extend(found.filter(|d| label(d).is_some()));
    }
    if seen.len() < 2 {
        judgement.skip("fewer than two Flux controllers run here");
        return Ok(());
    }
    let labelled = seen.iter().all(|d| label(d).is_some());
    let mut releases = Vec::new();
    for deployment in seen {
        let release =
            if labelled { label(deployment).map(str::to_owned) } else { minor(deployment).map(|m| format!("v2.{m}")) };
        match release {
            Some(release) => releases.push((deployment, release)),
            None => judgement.lacks(untold(deployment)),
        }
    }
    compare(facts, judgement, &releases);
    Ok(())
}

fn compare(facts: &Facts<'_>, judgement: &mut Judgement, releases: &[(&Workload, String)]) {
    let votes = |release: &str| releases.iter().filter(|(_, other)| other == release).count();
    let order = |release: &str| semver::Version::parse(release.trim_start_matches('v')).ok();
    let most = releases.iter().map(|(_, r)| r.as_str()).max_by_key(|r| (votes(r), order(r)));
    let Some(most) = most else { return };
    for (deployment, release) in releases {
        judgement.examine();
        if release != most {
            let message = format!("is of Flux {release}; most controllers are of {most}");
            let object = deployment.metadata.object("Deployment");
            judgement.find(Finding::new(object, message, mend(facts, most)));
        }
    }
}

fn mend(facts: &Facts<'_>, release: &str) -> Remedy {
    let text = format!(
        "bring all controllers to one release, {release} or newer: if Flux is managed from Git, have its \
         gotk-components.yaml written anew (`flux bootstrap gitlab` again, or commit what `flux install --export` \
         writes) and reconcile; else apply the manifests (needs the Flux CLI)"
    );
    let remedy = Remedy::say(text);
    match facts.bootstrap() {
        Ok((object, Some(_))) => remedy.reconcile(&object),
        _ => remedy.reapply_flux(facts),
    }
}

fn untold(deployment: &Workload) -> Why {
    let asked = format!("Flux release of {}", deployment.metadata.object("Deployment"));
    Why::new(WhyKind::Unreadable, asked, "neither its label app.kubernetes.io/version nor its image tag tells it")
}

fn label(deployment: &Workload) -> Option<&str> {
    deployment.metadata.label("app.kubernetes.io/version").filter(|v| !v.is_empty())
}

/// Minor version of Flux 2: from the label, else from the image's tag.
fn minor(deployment: &Workload) -> Option<u64> {
    let of = |version: &str, major: &str| {
        let mut parts = version.trim_start_matches('v').split('.');
        (parts.next() == Some(major)).then(|| parts.next()?.parse::<u64>().ok()).flatten()
    };
    if let Some(label) = label(deployment) {
        return of(label, "2");
    }
    let at = CONTROLLERS.iter().position(|(name, _)| *name == deployment.metadata.name)?;
    let containers = &deployment.spec.template.spec.containers;
    let tag = containers.iter().find_map(|c| tag(&c.image, &deployment.metadata.name))?;
    let image = of(tag, "1")?;
    IMAGES.iter().find(|(_, images)| images[at] == image).map(|(flux, _)| *flux)
}

/// The tag of an image whose last path element is `name`.
fn tag<'i>(image: &'i str, name: &str) -> Option<&'i str> {
    let last = image.split('@').next()?.rsplit('/').next()?;
    last.strip_prefix(name)?.strip_prefix(':')
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::fixture::deployment_mut;
    use crate::snapshot::Snapshot;

    const KEY: &str = "app.kubernetes.io/version";

    fn unlabelled(s: &mut Snapshot) {
        for (name, _) in CONTROLLERS {
            deployment_mut(s, name).metadata.labels.remove(KEY);
        }
    }

    fn image(s: &mut Snapshot, name: &str, tag: &str) {
        deployment_mut(s, name).spec.template.spec.containers[0].image = format!("ghcr.io/fluxcd/{name}{tag}");
    }

    #[test]
    fn the_controller_that_differs_is_found() {
        let found = finding(&CHECK, |s| {
            deployment_mut(s, "helm-controller").metadata.labels.insert(KEY.to_owned(), "v2.8.3".to_owned());
        });
        assert_eq!(found.subject.to_string(), "Deployment flux-system/helm-controller");
        assert_eq!(found.message, "is of Flux v2.8.3; most controllers are of v2.9.2");
    }

    #[test]
    fn without_labels_the_images_tell() {
        passes(&CHECK, unlabelled);
        let found = finding(&CHECK, |s| {
            unlabelled(s);
            image(s, "source-controller", ":v1.8.2@sha256:00");
        });
        assert_eq!(found.message, "is of Flux v2.8; most controllers are of v2.9");
        passes(&CHECK, |s| {
            deployment_mut(s, "helm-controller").metadata.labels.remove(KEY);
        });
        let untold = after(&CHECK, |s| {
            unlabelled(s);
            image(s, "source-controller", "@sha256:00");
        });
        assert_eq!(untold.verdict(), Verdict::Unknown);
    }

    #[test]
    fn a_single_controller_is_not_compared() {
        let judgement = after(&CHECK, |s| {
            s.deployments.items.retain(|d| d.metadata.name == "source-controller");
        });
        assert_eq!(judgement.verdict(), Verdict::Skipped);
    }

    #[test]
    fn an_even_split_is_resolved_towards_the_newer() {
        let judgement = after(&CHECK, |s| {
            for name in ["source-controller", "helm-controller"] {
                deployment_mut(s, name).metadata.labels.insert(KEY.to_owned(), "v2.10.0".to_owned());
            }
        });
        let found: Vec<_> = judgement.findings.iter().map(|f| f.subject.name.as_str()).collect();
        assert_eq!(found, ["kustomize-controller", "notification-controller"]);
    }
}
