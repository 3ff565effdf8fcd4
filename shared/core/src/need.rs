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
    /// Provider.
    Providers,
    /// Alert.
    Alerts,
    /// Events that tell of notifications that were not delivered.
    Events,
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
    /// The index of agentk's chart repository, from source-controller through the API server.
    ChartIndex,
    /// NetworkPolicies of the Flux namespace and of agentk's.
    NetworkPolicies,
    /// Metadata of namespaces: policies select by their labels.
    Namespaces,
    /// Whether agentk's service account may do what it has to: access reviews.
    AccessReviews,
    /// Versions of the programs on this machine; no permission is needed.
    Tools,
    /// Secrets that something refers to, by name.
    Secrets,
    /// GitLab's version and kas.
    GitLabMetadata,
    /// What GitLab says of the person's own token.
    GitLabToken,
    /// The agents as GitLab knows them, with tokens and connections.
    GitLabAgents,
    /// The agents' configuration files.
    GitLabAgentConfig,
    /// The projects that the cluster fetches from.
    GitLabProjects,
    /// The projects' deploy tokens, deploy keys and access tokens.
    GitLabCredentials,
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
    row(
        Need::Providers,
        "list",
        "notification.toolkit.fluxcd.io",
        "v1beta3",
        "providers",
        Reach::AllNamespaces,
    ),
    row(Need::Alerts, "list", "notification.toolkit.fluxcd.io", "v1beta3", "alerts", Reach::AllNamespaces),
    row(Need::Events, "list", "", "v1", "events", Reach::AllNamespaces),
    row(Need::Deployments, "list", "apps", "v1", "deployments", Reach::AllNamespaces),
    row(Need::StatefulSets, "list", "apps", "v1", "statefulsets", Reach::AllNamespaces),
    row(Need::DaemonSets, "list", "apps", "v1", "daemonsets", Reach::AllNamespaces),
    row(Need::Pods, "list", "", "v1", "pods", Reach::SomeNamespaces),
    row(Need::PodLogs, "get", "", "v1", "pods/log", Reach::SomeNamespaces),
    row(Need::Leases, "list", "coordination.k8s.io", "v1", "leases", Reach::SomeNamespaces),
    row(Need::Services, "list", "", "v1", "services", Reach::FluxNamespace),
    row(Need::EndpointSlices, "list", "discovery.k8s.io", "v1", "endpointslices", Reach::FluxNamespace),
    row(Need::ChartIndex, "get", "", "v1", "services/proxy", Reach::FluxNamespace),
    row(Need::NetworkPolicies, "list", "networking.k8s.io", "v1", "networkpolicies", Reach::SomeNamespaces),
    row(Need::Namespaces, "list", "", "v1", "namespaces", Reach::Cluster),
    row(Need::AccessReviews, "create", "authorization.k8s.io", "v1", "subjectaccessreviews", Reach::Cluster),
    row(Need::Tools, "", "", "", "tools", Reach::Cluster),
    row(Need::Secrets, "get", "", "v1", "secrets", Reach::SomeNamespaces),
    // Not of the cluster: no RBAC permission opens them.
    row(Need::GitLabMetadata, "", "gitlab", "v4", "metadata", Reach::Cluster),
    row(Need::GitLabToken, "", "gitlab", "v4", "personal_access_tokens/self", Reach::Cluster),
    row(Need::GitLabAgents, "", "gitlab", "v4", "cluster_agents", Reach::Cluster),
    row(Need::GitLabAgentConfig, "", "gitlab", "v4", "repository/files", Reach::Cluster),
    row(Need::GitLabProjects, "", "gitlab", "v4", "projects", Reach::Cluster),
    row(Need::GitLabCredentials, "", "gitlab", "v4", "deploy_tokens", Reach::Cluster),
];

/// A permission that is used only where something fails: what failing objects reference, and whatever creates what is missing,
/// is read by name, or listed in the namespace. A refusal is no gap of the run: it leaves that one object unknown.
#[derive(Clone, Copy, Debug)]
pub struct OnFailure {
    /// RBAC verbs.
    pub verbs: &'static [&'static str],
    /// API group.
    pub group: &'static str,
    /// Resources, plural.
    pub resources: &'static [&'static str],
    /// Where.
    pub reach: Reach,
}

const fn on_failure(
    verbs: &'static [&'static str],
    group: &'static str,
    resources: &'static [&'static str],
    reach: Reach,
) -> OnFailure {
    OnFailure { verbs, group, resources, reach }
}

/// All of them, apart from kinds that only the cluster's inventories name.
pub const ON_FAILURE: &[OnFailure] = &[
    on_failure(
        &["get"],
        "",
        &["configmaps", "persistentvolumeclaims", "serviceaccounts"],
        Reach::SomeNamespaces,
    ),
    on_failure(&["get"], "", &["namespaces"], Reach::Cluster),
    on_failure(&["get"], "batch", &["jobs"], Reach::SomeNamespaces),
    on_failure(&["get", "list"], "bitnami.com", &["sealedsecrets"], Reach::SomeNamespaces),
    on_failure(&["get", "list"], "cert-manager.io", &["certificates"], Reach::SomeNamespaces),
    on_failure(&["get"], "cert-manager.io", &["issuers"], Reach::SomeNamespaces),
    on_failure(&["get"], "cert-manager.io", &["clusterissuers"], Reach::Cluster),
    on_failure(&["get", "list"], "external-secrets.io", &["externalsecrets"], Reach::SomeNamespaces),
    on_failure(&["get"], "external-secrets.io", &["secretstores"], Reach::SomeNamespaces),
    on_failure(&["get"], "external-secrets.io", &["clustersecretstores"], Reach::Cluster),
    on_failure(&["get", "list"], "isindir.github.com", &["sopssecrets"], Reach::SomeNamespaces),
    on_failure(&["get"], "k8s.bitwarden.com", &["bitwardensecrets"], Reach::SomeNamespaces),
    on_failure(&["get", "list"], "onepassword.com", &["onepassworditems"], Reach::SomeNamespaces),
    on_failure(&["get"], "ricoberger.de", &["vaultsecrets"], Reach::SomeNamespaces),
    on_failure(&["get"], "secrets-store.csi.x-k8s.io", &["secretproviderclasses"], Reach::SomeNamespaces),
    on_failure(&["get"], "secrets.doppler.com", &["dopplersecrets"], Reach::SomeNamespaces),
    on_failure(
        &["get", "list"],
        "secrets.hashicorp.com",
        &["vaultdynamicsecrets", "vaultstaticsecrets"],
        Reach::SomeNamespaces,
    ),
    on_failure(
        &["get"],
        "secrets.hashicorp.com",
        &["hcpvaultsecretsapps", "vaultpkisecrets"],
        Reach::SomeNamespaces,
    ),
    on_failure(&["get", "list"], "secrets.infisical.com", &["infisicalsecrets"], Reach::SomeNamespaces),
    on_failure(&["get"], "spv.no", &["azurekeyvaultsecrets"], Reach::SomeNamespaces),
];

impl Need {
    /// Its row.
    pub fn row(self) -> &'static Row {
        let found = TABLE.iter().find(|row| row.need == self);
        // Every variant has its row: held by the test below.
        found.unwrap_or(&TABLE[0])
    }

    /// The kind of its objects, where it is one that is listed or read as objects.
    pub fn kind(self) -> Option<&'static str> {
        Some(match self {
            Self::Crds => "CustomResourceDefinition",
            Self::GitRepositories => "GitRepository",
            Self::OciRepositories => "OCIRepository",
            Self::Buckets => "Bucket",
            Self::HelmRepositories => "HelmRepository",
            Self::HelmCharts => "HelmChart",
            Self::Kustomizations => "Kustomization",
            Self::HelmReleases => "HelmRelease",
            Self::Receivers => "Receiver",
            Self::Providers => "Provider",
            Self::Alerts => "Alert",
            Self::Events => "Event",
            Self::Deployments => "Deployment",
            Self::StatefulSets => "StatefulSet",
            Self::DaemonSets => "DaemonSet",
            Self::Pods => "Pod",
            Self::Leases => "Lease",
            Self::Services => "Service",
            Self::EndpointSlices => "EndpointSlice",
            Self::NetworkPolicies => "NetworkPolicy",
            Self::Namespaces => "Namespace",
            Self::Secrets => "Secret",
            Self::Version
            | Self::Groups
            | Self::PodLogs
            | Self::ChartIndex
            | Self::AccessReviews
            | Self::Tools
            | Self::GitLabMetadata
            | Self::GitLabToken
            | Self::GitLabAgents
            | Self::GitLabAgentConfig
            | Self::GitLabProjects
            | Self::GitLabCredentials => return None,
        })
    }

    /// The need that a permission is for, by verb, group and resource.
    pub fn of(verb: &str, group: &str, resource: &str) -> Option<Self> {
        let own = |row: &&Row| (row.verb, row.group, row.resource) == (verb, group, resource);
        TABLE.iter().find(own).map(|row| row.need)
    }
}

impl Row {
    /// Group and version, as `apiVersion` writes them.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

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
        assert_eq!(TABLE.last().map(|row| row.need), Some(Need::GitLabCredentials));
        assert_eq!(TABLE.len(), Need::GitLabCredentials as usize + 1);
    }
}
