//! The tables of who writes Secrets: labels and annotations that they leave, field managers that they write as, and the
//! managers of people's tools.

/// A label or annotation by which a writer is known.
pub(super) struct Sign {
    /// The key; with a star at its end all keys that begin so.
    pub(super) key: &'static str,
    /// The kind of object that stands for it.
    pub(super) kind: &'static str,
    /// The sign's value is the `namespace/name` of what is copied.
    pub(super) names: bool,
    /// When it reverts a change.
    pub(super) reverts: &'static str,
    /// Where the value has to be changed instead.
    pub(super) instead: &'static str,
}

const SYNC: &str = "it writes the Secret again at its next reconciliation";
const STORE: &str = "in the store that it reads";
const ORIGIN: &str = "in the Secret that is copied";
const GIT: &str = "in Git";

const fn sign(key: &'static str, kind: &'static str, instead: &'static str) -> Sign {
    Sign { key, kind, names: false, reverts: SYNC, instead }
}

/// A copy of another Secret, which the sign's value names.
const fn copy(key: &'static str, kind: &'static str) -> Sign {
    Sign { key, kind, names: true, reverts: "it copies the value of another Secret again", instead: ORIGIN }
}

/// Sources: the documents of each project (labels and annotations that it sets on Secrets).
pub(super) const SIGNS: &[Sign] = &[
    sign("reconcile.external-secrets.io/*", "ExternalSecret", "in the store that the ExternalSecret reads"),
    sign("secrets.hashicorp.com/*", "Vault Secrets Operator", "in Vault"),
    sign("vault.security.banzaicloud.io/*", "Bank-Vaults webhook", "in Vault"),
    sign("secrets.infisical.com/*", "Infisical operator", STORE),
    sign("secrets.doppler.com/*", "Doppler operator", STORE),
    sign("operator.1password.io/*", "1Password operator", STORE),
    sign("k8s.bitwarden.com/*", "Bitwarden operator", STORE),
    sign("secrets-store.csi.k8s.io/*", "Secrets Store CSI driver", STORE),
    sign("sealedsecrets.bitnami.com/managed", "SealedSecret", "by sealing the new value"),
    copy("reflector.v1.k8s.emberstack.com/reflects", "Reflector"),
    copy("replicator.v1.mittwald.de/replicate-from", "Replicator"),
    copy("replicator.v1.mittwald.de/replicated-from*", "Replicator"),
    sign("kubed.appscode.com/origin*", "Config Syncer", ORIGIN),
    sign("config-syncer.appscode.com/origin*", "Config Syncer", ORIGIN),
    sign("generate.kyverno.io/*", "Kyverno policy", ORIGIN),
    sign(
        "agent.gitlab.com/*",
        "GitLab-managed Kubernetes resources",
        "in the template in the agent's project",
    ),
    sign("addonmanager.kubernetes.io/mode", "addon manager", "in the manifest that it applies"),
    sign("secretgen.carvel.dev/*", "secretgen-controller", ORIGIN),
    sign("kapp.k14s.io/*", "kapp", "in the manifests that kapp deploys"),
    sign("fluxcd.controlplane.io/*", "Flux Operator", "in the object of the Flux Operator"),
    sign("resourceset.fluxcd.controlplane.io/*", "ResourceSet", "in the ResourceSet's template"),
    sign("hnc.x-k8s.io/inherited-from", "Hierarchical Namespace Controller", ORIGIN),
    sign("work.karmada.io/*", "Karmada", "in Karmada's control plane"),
    sign("karmada.io/managed", "Karmada", "in Karmada's control plane"),
    sign("apps.open-cluster-management.io/*", "Open Cluster Management", "in the hub cluster"),
    sign("policy.open-cluster-management.io/*", "Open Cluster Management", "in the hub cluster"),
    sign("capsule.clastix.io/managed-by", "Capsule", ORIGIN),
    sign("projectcapsule.dev/*", "Capsule", ORIGIN),
    sign("projectsveltos.io/*", "Sveltos", "in the management cluster"),
    sign("eno.azure.io/*", "Eno", "in Eno's composition"),
    sign("clustersecret.io*", "ClusterSecret", "in the ClusterSecret"),
    sign("cluster-secret.io/*", "ClusterSecret", "in the ClusterSecret"),
    sign("liqo.io/*", "Liqo", ORIGIN),
    sign("syncer.kcp.io/*", "kcp", "in kcp's workspace"),
    sign("vcluster.loft.sh/*", "vCluster", "in the virtual cluster"),
    sign("akeyless.io/*", "Akeyless", STORE),
    sign("external-secrets.io/*", "ExternalSecret", "in the store that the ExternalSecret reads"),
    sign("secret-sync.x-k8s.io/*", "Secrets Store sync controller", STORE),
    sign("secret-generator.v1.mittwald.de/*", "secret generator", "in the generator's annotations"),
    sign("olm.owner*", "Operator Lifecycle Manager", "in the operator's bundle"),
    sign("pulumi.com/*", "Pulumi", "in the program that Pulumi runs"),
    sign("crossplane.io/*", "Crossplane", "in the object that Crossplane composes it from"),
    sign("cnrm.cloud.google.com/*", "Config Connector", STORE),
    sign("configmanagement.gke.io/*", "Config Sync", GIT),
    sign("configsync.gke.io/*", "Config Sync", GIT),
    sign("objectset.rio.cattle.io/*", "Fleet", GIT),
];

/// Managers whose writes are those of an owner that is known by other signs too, and where the value is changed.
pub(super) const MANAGERS: &[(&str, &[&str], &str)] = &[
    ("kustomize-controller", &["Kustomization"], GIT),
    ("helm-controller", &["HelmRelease", "Helm release"], "in the release's values"),
    ("helm", &["HelmRelease", "Helm release"], "in the release's values"),
    ("argocd-controller", &["Application"], GIT),
    ("argocd-application-controller", &["Application"], GIT),
    ("Terraform", &[], "in Terraform's configuration"),
    ("HashiCorp", &[], "in Terraform's configuration"),
    ("OpenTofu", &[], "in OpenTofu's configuration"),
    ("external-secrets", &["ExternalSecret"], STORE),
    ("controller", &["SealedSecret"], "where that controller takes the value from"),
    (
        "vault-secrets-operator",
        &["Vault Secrets Operator", "VaultStaticSecret", "VaultDynamicSecret"],
        "in Vault",
    ),
    ("agentk", &["GitLab-managed Kubernetes resources"], "where agentk takes the value from"),
];

/// Field managers of people's tools, which write once and not again; and this program's own. `flux` is the CLI, whose
/// controllers write under their own names; of kubectl each command has a name of its own
/// (`k8s.io/kubectl`: `FieldManager…` and the names of commands), and what only begins so is a program of somebody.
/// `before-first-apply` is what the API server calls whoever wrote before the first server-side apply: nobody knows who
/// ([`super::owner::unknown_writer`]).
pub(super) const PEOPLE: &[&str] = &[
    "kubectl",
    "kubectl-client-side-apply",
    "kubectl-last-applied",
    "kubectl-annotate",
    "kubectl-apply",
    "kubectl-create",
    "kubectl-edit",
    "kubectl-label",
    "kubectl-patch",
    "kubectl-replace",
    "flux",
    "glab",
    "k9s",
    "before-first-apply",
    "gitlab-agent-cli",
];

/// Kinds that a Secret may belong to so that it goes when they go, and that never write one.
pub(super) const KEEPERS: &[&str] = &[
    "ConfigMap",
    "CronJob",
    "DaemonSet",
    "Deployment",
    "Job",
    "Namespace",
    "Pod",
    "ReplicaSet",
    "Secret",
    "ServiceAccount",
    "StatefulSet",
];
