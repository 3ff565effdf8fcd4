//! Flux itself: its controllers, their release, the kinds it serves, the bootstrap objects.

use std::collections::{BTreeMap, BTreeSet};

use super::Facts;
use crate::object::ObjectRef;
use crate::snapshot::kinds::{Kustomization, Meta, StringMap, Workload};
use crate::snapshot::{Listing, Snapshot, Why};

/// The controllers, with what stops when they do. The order is that of the path from Git to pod.
pub const CONTROLLERS: &[(&str, &str)] = &[
    ("source-controller", "nothing is fetched from Git, Helm or OCI repositories"),
    ("kustomize-controller", "nothing from Git is applied"),
    ("helm-controller", "no Helm release is installed or upgraded"),
    ("notification-controller", "no push event triggers Flux and no notification leaves it"),
];

/// The kinds that are read, with the API version used for each. Flux 2.6 and newer serve all of them.
pub const KINDS: &[(&str, &str, &str, &str)] = &[
    ("GitRepository", "gitrepositories", "source.toolkit.fluxcd.io", "v1"),
    ("OCIRepository", "ocirepositories", "source.toolkit.fluxcd.io", "v1"),
    ("Bucket", "buckets", "source.toolkit.fluxcd.io", "v1"),
    ("HelmRepository", "helmrepositories", "source.toolkit.fluxcd.io", "v1"),
    ("HelmChart", "helmcharts", "source.toolkit.fluxcd.io", "v1"),
    ("Kustomization", "kustomizations", "kustomize.toolkit.fluxcd.io", "v1"),
    ("HelmRelease", "helmreleases", "helm.toolkit.fluxcd.io", "v2"),
    ("Receiver", "receivers", "notification.toolkit.fluxcd.io", "v1"),
    ("Provider", "providers", "notification.toolkit.fluxcd.io", "v1beta3"),
    ("Alert", "alerts", "notification.toolkit.fluxcd.io", "v1beta3"),
];

/// API versions that Flux took away: group, version, and the minor release of Flux 2 that no longer serves it
/// (the CustomResourceDefinitions of each release, and `flux migrate`).
pub const REMOVED: &[(&str, &str, u64)] = &[
    ("source.toolkit.fluxcd.io", "v1beta1", 7),
    ("source.toolkit.fluxcd.io", "v1beta2", 8),
    ("kustomize.toolkit.fluxcd.io", "v1beta1", 7),
    ("kustomize.toolkit.fluxcd.io", "v1beta2", 8),
    ("helm.toolkit.fluxcd.io", "v2beta1", 7),
    ("helm.toolkit.fluxcd.io", "v2beta2", 8),
    ("notification.toolkit.fluxcd.io", "v1beta1", 7),
    ("notification.toolkit.fluxcd.io", "v1beta2", 9),
    ("image.toolkit.fluxcd.io", "v1beta2", 9),
];

/// The label by which objects are given to a shard (Flux, "Sharding and horizontal scaling").
const SHARD: &str = "sharding.fluxcd.io/key";

/// The controller that reconciles a kind.
pub fn controller_of(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "GitRepository" | "OCIRepository" | "Bucket" | "HelmRepository" | "HelmChart" => "source-controller",
        "Kustomization" => "kustomize-controller",
        "HelmRelease" => "helm-controller",
        "Receiver" | "Provider" | "Alert" => "notification-controller",
        _ => return None,
    })
}

/// The name of the controller that a Deployment runs, by its image, else by its name and Flux's label.
pub fn runs(deployment: &Workload) -> Option<&'static str> {
    CONTROLLERS.iter().map(|(name, _)| *name).find(|name| runs_as(deployment, name))
}

/// Whether a Deployment runs this controller of Flux.
pub fn runs_as(deployment: &Workload, name: &str) -> bool {
    let part_of_flux = deployment.metadata.label("app.kubernetes.io/part-of") == Some("flux");
    let by_image = || {
        deployment.spec.template.spec.containers.iter().any(|c| {
            let mut path = c.image.split('@').next().unwrap_or_default().rsplit('/');
            let is_named = path.next().and_then(|last| last.split(':').next()) == Some(name);
            is_named && (part_of_flux || path.next() == Some("fluxcd"))
        })
    };
    (part_of_flux && deployment.metadata.name == name) || by_image()
}

/// Whether an instance of a controller reconciles an object: it may be limited to its own namespace, or to labels
/// (Flux, "Sharding and horizontal scaling": `--watch-label-selector`).
pub fn watches(instance: &Workload, of: &Meta) -> bool {
    let labels = flag(instance, "--watch-label-selector").unwrap_or_default();
    watches_namespace(instance, &of.namespace) && matches(labels, &of.labels)
}

/// Whether an instance reconciles objects of a namespace.
pub fn watches_namespace(instance: &Workload, namespace: &str) -> bool {
    flag(instance, "--watch-all-namespaces") != Some("false") || instance.metadata.namespace == namespace
}

fn flag<'w>(instance: &'w Workload, name: &str) -> Option<&'w str> {
    let mut args = instance.spec.template.spec.containers.iter().flat_map(|c| c.args.iter());
    args.find_map(|arg| arg.strip_prefix(name)?.strip_prefix('='))
}

/// Whether labels fit a selector in its written form; a requirement of an unknown form fits.
fn matches(selector: &str, labels: &StringMap) -> bool {
    requirements(selector).all(|requirement| {
        let requirement = requirement.trim();
        let value = |key: &str| labels.get(key.trim()).map(String::as_str);
        let among = |list: &str, found: Option<&str>| {
            let list = list.trim().trim_start_matches('(').trim_end_matches(')');
            found.is_some_and(|found| list.split(',').any(|one| one.trim() == found))
        };
        if let Some((key, list)) = requirement.split_once(" notin ") {
            return !among(list, value(key));
        }
        if let Some((key, list)) = requirement.split_once(" in ") {
            return among(list, value(key));
        }
        if let Some((key, other)) = requirement.split_once("!=") {
            return value(key) != Some(other.trim());
        }
        if let Some((key, wanted)) = requirement.split_once('=') {
            return value(key) == Some(wanted.trim_start_matches('=').trim());
        }
        match requirement.strip_prefix('!') {
            Some(key) => value(key).is_none(),
            None => requirement.is_empty() || value(requirement).is_some(),
        }
    })
}

/// Splits at the commas that are not in parentheses.
fn requirements(selector: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    selector.split(move |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
}

/// The Deployments that run Flux's controllers: shards, and further installations of Flux.
pub(crate) struct Instances<'s> {
    found: BTreeMap<&'static str, Vec<&'s Workload>>,
    flux_namespace: &'s str,
}

impl<'s> Instances<'s> {
    /// Finds them. The first of each controller is the one of the Flux namespace, where there is one.
    pub(crate) fn find(s: &'s Snapshot) -> Self {
        let mut found: BTreeMap<&'static str, Vec<&'s Workload>> = BTreeMap::new();
        for deployment in &s.deployments.items {
            if let Some(name) = runs(deployment) {
                found.entry(name).or_default().push(deployment);
            }
        }
        for (name, _) in CONTROLLERS {
            if let Some(own) = s.deployments.find(&s.flux_namespace, name).ok().flatten() {
                let all = found.entry(name).or_default();
                all.retain(|d| !std::ptr::eq(*d, own));
                all.insert(0, own);
            }
        }
        Self { found, flux_namespace: &s.flux_namespace }
    }

    /// Those of one controller.
    pub(crate) fn of(&self, name: &str) -> &[&'s Workload] {
        self.found.get(name).map_or(&[], Vec::as_slice)
    }

    /// The instance of a controller that reconciles an object, where one does.
    pub(crate) fn in_charge(&self, name: &str, of: &Meta) -> Option<&'s Workload> {
        self.of(name).iter().copied().find(|d| watches(d, of))
    }

    /// The Deployment that reconciles an object, or should: that of a controller that is not installed has its own
    /// name and the Flux namespace.
    pub(crate) fn expected(&self, name: &str, of: &Meta) -> ObjectRef {
        let found = self.in_charge(name, of).or(self.of(name).first().copied());
        found.map_or_else(
            || ObjectRef::new("Deployment", self.flux_namespace, name),
            |d| d.metadata.object("Deployment"),
        )
    }

    /// The namespaces in which controllers run.
    pub(crate) fn namespaces(&self) -> BTreeSet<&'s str> {
        self.found.values().flatten().map(|d| d.metadata.namespace.as_str()).collect()
    }
}

/// Whether a Deployment is one of Flux's controllers.
pub fn is_controller(deployment: &Workload) -> bool {
    runs(deployment).is_some()
}

/// A controller's Deployment: in the Flux namespace, else wherever one runs.
pub(crate) fn controller<'s>(
    deployments: &'s Listing<Workload>,
    flux_namespace: &str,
    name: &str,
) -> Result<Option<&'s Workload>, Why> {
    let elsewhere = || {
        let mut running = deployments.items.iter().filter(|d| runs(d) == Some(name));
        let named = running.clone().find(|d| d.metadata.name == name);
        named.or_else(|| running.next())
    };
    match deployments.find(flux_namespace, name) {
        Ok(Some(found)) => Ok(Some(found)),
        Ok(None) => Ok(elsewhere()),
        Err(why) => elsewhere().map(Some).ok_or(why),
    }
}

impl<'s> Facts<'s> {
    /// A controller's Deployment; `Ok(None)` means that it is not installed.
    ///
    /// # Errors
    /// The Deployments of the Flux namespace could not be listed.
    pub fn controller(&self, name: &str) -> Result<Option<&'s Workload>, Why> {
        controller(&self.snapshot.deployments, &self.snapshot.flux_namespace, name)
    }

    /// Every Deployment that runs a controller: shards, and further installations of Flux.
    ///
    /// # Errors
    /// None was seen, and the Deployments of the Flux namespace could not be listed.
    pub fn instances(&self, name: &str) -> Result<Vec<&'s Workload>, Why> {
        self.controller(name)?;
        Ok(self.flux.of(name).to_vec())
    }

    /// Why no controller that runs reconciles an object of this kind: none watches its shard, its labels or its namespace.
    pub fn unwatched(&self, kind: &str, of: &Meta) -> Option<String> {
        let name = controller_of(kind)?;
        let deployments = &self.snapshot.deployments;
        let all_seen = deployments.namespaces.is_none() && deployments.gaps.is_empty();
        let is_watched = self.flux.of(name).is_empty() || self.flux.in_charge(name, of).is_some();
        if !all_seen || is_watched {
            return None;
        }
        Some(match of.label(SHARD) {
            Some(shard) => format!("no {name} watches its shard ({SHARD}: {shard})"),
            None => format!("no {name} watches its namespace and labels"),
        })
    }

    /// The namespaces in which Flux's controllers run.
    pub fn flux_namespaces(&self) -> BTreeSet<&'s str> {
        self.flux.namespaces()
    }

    /// The Flux release: the label that `flux install` and `flux bootstrap` put on every controller.
    pub fn flux_release(&self) -> Option<&'s str> {
        let label = |(name, _): &(&str, &str)| {
            let deployment = self.controller(name).ok()??;
            deployment.metadata.label("app.kubernetes.io/version")
        };
        CONTROLLERS.iter().find_map(label)
    }

    /// The minor version of Flux 2 that runs, where its label tells.
    ///
    /// # Errors
    /// The Deployments of the Flux namespace could not be listed.
    pub fn flux_minor(&self) -> Result<Option<u64>, Why> {
        self.controller("source-controller")?;
        let minor = |release: &str| {
            release.trim_start_matches('v').strip_prefix("2.")?.split('.').next()?.parse().ok()
        };
        Ok(self.flux_release().and_then(minor))
    }

    /// The Kustomization that manages Flux itself, and its name; see [`bootstrap`].
    ///
    /// # Errors
    /// The Deployments or Kustomizations of the Flux namespace could not be listed.
    pub fn bootstrap(&self) -> Result<(ObjectRef, Option<&'s Kustomization>), Why> {
        bootstrap(self.snapshot)
    }

    /// The pseudo object that stands for "Flux is managed from Git": it needs the Kustomization that manages Flux.
    pub fn bootstrap_object(&self, kustomization: &ObjectRef) -> ObjectRef {
        bootstrap_object(&self.snapshot.flux_namespace, kustomization)
    }
}

/// The Kustomization that manages Flux itself: the one named on the controllers' labels, else the one that has the
/// Flux namespace's name, as `flux bootstrap` makes it.
pub(crate) fn bootstrap(s: &Snapshot) -> Result<(ObjectRef, Option<&Kustomization>), Why> {
    let labels = controller(&s.deployments, &s.flux_namespace, "kustomize-controller")?.map(|d| &d.metadata);
    let namespace = labels.map_or(s.flux_namespace.as_str(), |m| &m.namespace);
    let label = |key| labels.and_then(|m| m.label(key));
    let name = label("kustomize.toolkit.fluxcd.io/name").unwrap_or(namespace);
    let namespace = label("kustomize.toolkit.fluxcd.io/namespace").unwrap_or(namespace);
    let found = s.kustomizations.find(namespace, name)?;
    Ok((ObjectRef::new("Kustomization", namespace, name), found))
}

/// See [`Facts::bootstrap_object`].
pub(crate) fn bootstrap_object(flux_namespace: &str, kustomization: &ObjectRef) -> ObjectRef {
    ObjectRef::new("Bootstrap", flux_namespace, &kustomization.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_shard_and_a_limited_instance_are_told_apart() {
        let mut s = fixture::healthy();
        let instance = |name: &str, namespace: &str, args: &[&str]| {
            let mut made = fixture::deployment_mut(&mut fixture::healthy(), "source-controller").clone();
            (made.metadata.name, made.metadata.namespace) = (name.to_owned(), namespace.to_owned());
            made.spec.template.spec.containers[0].args.0 = args.iter().map(|&arg| arg.to_owned()).collect();
            made
        };
        s.deployments.items.retain(|d| d.metadata.name != "source-controller");
        s.deployments.items.extend([
            instance("source-controller", "flux-system", &["--watch-label-selector=!sharding.fluxcd.io/key"]),
            instance(
                "source-controller-shard1",
                "flux-system",
                &["--watch-label-selector=sharding.fluxcd.io/key=shard1"],
            ),
            instance(
                "source-controller",
                "team",
                &["--watch-all-namespaces=false", "--watch-label-selector=sharding.fluxcd.io/key in (a,b)"],
            ),
        ]);
        let of = |namespace: &str, shard: &str| {
            let mut meta = Meta { namespace: namespace.to_owned(), ..Meta::default() };
            if !shard.is_empty() {
                meta.labels.insert("sharding.fluxcd.io/key".to_owned(), shard.to_owned());
            }
            let found = Instances::find(&s).in_charge("source-controller", &meta)?;
            Some(format!("{}/{}", found.metadata.namespace, found.metadata.name))
        };
        for (namespace, shard, expected) in [
            ("flux-system", "", Some("flux-system/source-controller")),
            ("team", "", Some("flux-system/source-controller")),
            ("flux-system", "shard1", Some("flux-system/source-controller-shard1")),
            ("team", "b", Some("team/source-controller")),
            ("flux-system", "b", None),
            ("team", "c", None),
        ] {
            assert_eq!(of(namespace, shard).as_deref(), expected, "{namespace} {shard}");
        }
    }

    #[test]
    fn labels_are_matched_against_a_written_selector() {
        let labels: StringMap = [("a", "1"), ("b", "2")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        for (selector, fits) in [
            ("", true),
            ("a", true),
            ("c", false),
            ("!c", true),
            ("!a", false),
            ("a=1", true),
            ("a==1,b=2", true),
            ("a!=1", false),
            ("c!=1", true),
            ("a in (0,1),b", true),
            ("a in (0, 2)", false),
            ("a notin (2,3), !c", true),
            ("a notin (1)", false),
        ] {
            assert_eq!(matches(selector, &labels), fits, "{selector}");
        }
    }
}
