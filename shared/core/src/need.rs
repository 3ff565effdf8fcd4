//! What is read of a cluster: one table for the observer, for the permissions and for the checks.

use serde::{Deserialize, Serialize};

/// One thing that the observer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Need {
    /// `GET /version`; everybody who may sign in may read it.
    Version,
    /// `GET /apis`; likewise.
    Groups,
    /// Metadata of CustomResourceDefinitions.
    Crds,
    /// GitRepository.
    GitRepositories,
    /// OCIRepository.
    OciRepositories,
    /// Bucket.
    Buckets,
    /// HelmRepository.
    HelmRepositories,
    /// HelmChart.
    HelmCharts,
    /// Kustomization.
    Kustomizations,
    /// HelmRelease.
    HelmReleases,
    /// Receiver.
    Receivers,
    /// Deployment.
    Deployments,
    /// StatefulSet.
    StatefulSets,
    /// DaemonSet.
    DaemonSets,
    /// Pods, in the namespaces where they are asked for.
    Pods,
    /// The log of agentk's pods.
    PodLogs,
    /// Leases of agentk's namespaces.
    Leases,
    /// Services of the Flux namespace.
    Services,
    /// EndpointSlices of the Flux namespace.
    EndpointSlices,
    /// Secrets that something refers to, by name.
    Secrets,
}

/// Where a thing is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// No permission is needed, or the resource has no namespace.
    Cluster,
    /// All namespaces.
    AllNamespaces,
    /// Some namespaces, known only after others were read.
    SomeNamespaces,
    /// The Flux namespace.
    FluxNamespace,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The thing.
    pub need: Need,
    /// RBAC verb; empty where every signed-in user is allowed.
    pub verb: &'static str,
    /// API group.
    pub group: &'static str,
    /// API version that is asked for.
    pub version: &'static str,
    /// Resource, plural, with subresource.
    pub resource: &'static str,
    /// Where.
    pub reach: Reach,
}

const fn row(
    need: Need,
    verb: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    reach: Reach,
) -> Row {
    Row { need, verb, group, version, resource, reach }
}

const SOURCE: &str = "source.toolkit.fluxcd.io";

/// Everything that is read.
pub const TABLE: &[Row] = &[
    row(Need::Version, "", "", "", "version", Reach::Cluster),
    row(Need::Groups, "", "", "", "apis", Reach::Cluster),
    row(Need::Crds, "list", "apiextensions.k8s.io", "v1", "customresourcedefinitions", Reach::Cluster),
    row(Need::GitRepositories, "list", SOURCE, "v1", "gitrepositories", Reach::AllNamespaces),
    row(Need::OciRepositories, "list", SOURCE, "v1", "ocirepositories", Reach::AllNamespaces),
    row(Need::Buckets, "list", SOURCE, "v1", "buckets", Reach::AllNamespaces),
    row(Need::HelmRepositories, "list", SOURCE, "v1", "helmrepositories", Reach::AllNamespaces),
    row(Need::HelmCharts, "list", SOURCE, "v1", "helmcharts", Reach::AllNamespaces),
    row(
        Need::Kustomizations,
        "list",
        "kustomize.toolkit.fluxcd.io",
        "v1",
        "kustomizations",
        Reach::AllNamespaces,
    ),
    row(Need::HelmReleases, "list", "helm.toolkit.fluxcd.io", "v2", "helmreleases", Reach::AllNamespaces),
    row(Need::Receivers, "list", "notification.toolkit.fluxcd.io", "v1", "receivers", Reach::AllNamespaces),
    row(Need::Deployments, "list", "apps", "v1", "deployments", Reach::AllNamespaces),
    row(Need::StatefulSets, "list", "apps", "v1", "statefulsets", Reach::AllNamespaces),
    row(Need::DaemonSets, "list", "apps", "v1", "daemonsets", Reach::AllNamespaces),
    row(Need::Pods, "list", "", "v1", "pods", Reach::SomeNamespaces),
    row(Need::PodLogs, "get", "", "v1", "pods/log", Reach::SomeNamespaces),
    row(Need::Leases, "list", "coordination.k8s.io", "v1", "leases", Reach::SomeNamespaces),
    row(Need::Services, "list", "", "v1", "services", Reach::FluxNamespace),
    row(Need::EndpointSlices, "list", "discovery.k8s.io", "v1", "endpointslices", Reach::FluxNamespace),
    row(Need::Secrets, "get", "", "v1", "secrets", Reach::SomeNamespaces),
];

impl Need {
    /// Its row.
    pub fn row(self) -> &'static Row {
        let found = TABLE.iter().find(|row| row.need == self);
        // Every variant has its row: held by the test below.
        found.unwrap_or(&TABLE[0])
    }
}

impl Row {
    /// `gitrepositories.source.toolkit.fluxcd.io`, as `kubectl` writes it.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.resource.to_owned()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_need_has_its_row_in_order() {
        assert!(TABLE.is_sorted_by(|a, b| a.need < b.need), "sorted and without repetition");
        assert_eq!(TABLE.last().map(|row| row.need), Some(Need::Secrets));
        assert_eq!(TABLE.len(), Need::Secrets as usize + 1);
    }
}
