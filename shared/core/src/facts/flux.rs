//! Flux itself: its controllers, their release, the kinds it serves, the bootstrap objects.

use super::Facts;
use crate::object::ObjectRef;
use crate::snapshot::kinds::{Kustomization, Workload};
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

/// A controller's Deployment: in the Flux namespace, else wherever one with Flux's label is.
pub(crate) fn controller<'s>(
    deployments: &'s Listing<Workload>,
    flux_namespace: &str,
    name: &str,
) -> Result<Option<&'s Workload>, Why> {
    let elsewhere = || {
        deployments.items.iter().find(|d| {
            d.metadata.name == name && d.metadata.label("app.kubernetes.io/part-of") == Some("flux")
        })
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
    let namespace = s.flux_namespace.as_str();
    let labels = controller(&s.deployments, namespace, "kustomize-controller")?.map(|d| &d.metadata);
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
