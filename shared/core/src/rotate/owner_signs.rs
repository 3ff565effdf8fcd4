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
const DEPLOYED: &str = "in what it deploys";
const ABOVE: &str = "in the object that it is made for";
const CONTROL: &str = "in the control plane that it comes from";

const fn sign(key: &'static str, kind: &'static str, instead: &'static str) -> Sign {
    Sign { key, kind, names: false, reverts: SYNC, instead }
}

/// A copy of another Secret, which the sign's value names.
const fn copy(key: &'static str, kind: &'static str) -> Sign {
    Sign { key, kind, names: true, reverts: "it copies the value of another Secret again", instead: ORIGIN }
}

/// One that takes it to other clusters, where nobody looks.
const fn elsewhere(key: &'static str, kind: &'static str) -> Sign {
    let reverts = "it writes the value into other clusters, whose readers cannot be seen from here";
    Sign { key, kind, names: false, reverts, instead: "for all of them" }
}

/// Sources: the documents and the code of each project (labels and annotations that it sets on Secrets that it writes). What
/// stands on a Secret of which copies are made in this cluster is none: the copies themselves are found.
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
    sign("reflector.v1.k8s.emberstack.com/reflected-*", "Reflector", ORIGIN),
    sign("reflector.v1.k8s.emberstack.com/auto-reflects", "Reflector", ORIGIN),
    copy("replicator.v1.mittwald.de/replicate-from", "Replicator"),
    copy("replicator.v1.mittwald.de/replicated-from*", "Replicator"),
    copy("replicator.v1.mittwald.de/replicated-by", "Replicator"),
    sign("replicator.v1.mittwald.de/replicated-*", "Replicator", ORIGIN),
    copy("v1.kubernetes-replicator.olli.com/replicate-from", "Replicator"),
    copy("v1.kubernetes-replicator.olli.com/replicated-by", "Replicator"),
    sign("v1.kubernetes-replicator.olli.com/replicated-*", "Replicator", ORIGIN),
    copy("fluxcd.controlplane.io/copyFrom", "Flux Operator"),
    elsewhere("kubed.appscode.com/sync-contexts", "Config Syncer"),
    elsewhere("config-syncer.appscode.com/sync-contexts", "Config Syncer"),
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
    sign("work.karmada.io/*", "Karmada", CONTROL),
    sign("karmada.io/managed", "Karmada", CONTROL),
    sign("resourcebinding.karmada.io/*", "Karmada", CONTROL),
    elsewhere("propagationpolicy.karmada.io/*", "Karmada"),
    elsewhere("clusterpropagationpolicy.karmada.io/*", "Karmada"),
    sign("clusters.open-cluster-management.io/*", "Open Cluster Management", CONTROL),
    sign("cluster.x-k8s.io/*", "Cluster API", CONTROL),
    sign("addons.cluster.x-k8s.io/*", "Cluster API", CONTROL),
    sign("management.cattle.io/project-scoped-secret-copy", "Rancher project-scoped Secret", ORIGIN),
    sign("kluctl.io/*", "kluctl", DEPLOYED),
    sign("werf.io/*", "werf", DEPLOYED),
    sign("skaffold.dev/*", "Skaffold", DEPLOYED),
    sign("moniker.spinnaker.io/*", "Spinnaker", DEPLOYED),
    sign("app.gitlab.com/*", "GitLab CI job", DEPLOYED),
    sign("app.oam.dev/*", "KubeVela application", "in the application"),
    sign("metacontroller.k8s.io/*", "Metacontroller", ABOVE),
    sign("operator-sdk/primary-resource*", "operator", ABOVE),
    sign("operator.ibm.com/*", "Operand Deployment Lifecycle Manager", ABOVE),
    sign("cert-manager.io/*", "cert-manager Certificate", ABOVE),
    sign("secrets-store.sync.x-k8s.io*", "Secrets Store sync controller", STORE),
    sign("offloading.liqo.io/*", "Liqo", CONTROL),
    sign("apps.open-cluster-management.io/*", "Open Cluster Management", "in the hub cluster"),
    sign("policy.open-cluster-management.io/*", "Open Cluster Management", "in the hub cluster"),
    sign("capsule.clastix.io/resources", "Capsule", "in the TenantResource"),
    sign("projectcapsule.dev/created-by", "Capsule", "in the TenantResource"),
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::owner::{Metadata, owners};
    use super::*;

    fn found(field: &str, value: Value) -> Vec<String> {
        let mut metadata = json!({"name": "t", "namespace": "n"});
        metadata[field] = value;
        let secret: Metadata = serde_json::from_value(metadata).expect("metadata");
        owners(&secret).into_iter().map(|owner| owner.object.to_string()).collect()
    }

    fn managed(manager: &str, fields: &Value) -> Vec<String> {
        found("managedFields", json!([{"manager": manager, "operation": "Update", "fieldsV1": fields}]))
    }

    /// Labels and annotations as they were seen on Secrets, or stand in the code of what sets them.
    #[test]
    fn what_writes_secrets_is_known_by_what_it_leaves() {
        for (key, value, word) in [
            ("replicator.v1.mittwald.de/replicated-by", "platform/token", "Replicator platform/token"),
            ("replicator.v1.mittwald.de/replicated-at", "2026-01-01T00:00:00Z", "Replicator"),
            (
                "v1.kubernetes-replicator.olli.com/replicate-from",
                "platform/token",
                "Replicator platform/token",
            ),
            ("reflector.v1.k8s.emberstack.com/auto-reflects", "True", "Reflector"),
            ("reflector.v1.k8s.emberstack.com/reflected-version", "123", "Reflector"),
            ("clustersecret.io/created-by", "ClusterSecrets", "ClusterSecret"),
            ("clustersecret.io/last-sync", "2026-01-01", "ClusterSecret"),
            ("management.cattle.io/project-scoped-secret-copy", "p-1", "Rancher"),
            ("hnc.x-k8s.io/inherited-from", "parent", "Hierarchical"),
            ("capsule.clastix.io/resources", "0", "Capsule"),
            ("projectcapsule.dev/created-by", "resources", "Capsule"),
            ("vcluster.loft.sh/object-name", "t", "vCluster"),
            ("vcluster.loft.sh/managed-by", "vc", "vCluster"),
            ("liqo.io/origin-cluster-id", "x", "Liqo"),
            ("resourceset.fluxcd.controlplane.io/name", "apps", "ResourceSet"),
            ("fluxcd.controlplane.io/name", "flux", "Flux Operator"),
            ("fluxcd.controlplane.io/copyFrom", "platform/token", "Flux Operator platform/token"),
            ("kapp.k14s.io/association", "v1.0342", "kapp"),
            ("kapp.k14s.io/identity", "v1;n//Secret/t;v1", "kapp"),
            ("kluctl.io/deployment-item-dir", "agent", "kluctl"),
            ("skaffold.dev/run-id", "x", "Skaffold"),
            ("moniker.spinnaker.io/application", "agent", "Spinnaker"),
            ("app.oam.dev/name", "agent", "KubeVela"),
            ("metacontroller.k8s.io/last-applied-configuration", "{}", "Metacontroller"),
            ("operator-sdk/primary-resource", "n/agent", "operator"),
            ("olm.owner", "agent.v1", "Lifecycle"),
            ("operator.ibm.com/opreq-control", "true", "Operand"),
            ("karmada.io/managed", "true", "Karmada"),
            ("work.karmada.io/name", "agent-687f7fb96f", "Karmada"),
            ("propagationpolicy.karmada.io/name", "agent", "Karmada"),
            ("kubed.appscode.com/sync-contexts", "edge", "Config Syncer"),
            ("apps.open-cluster-management.io/hosting-subscription", "n.agent", "Open Cluster"),
            ("projectsveltos.io/reference-name", "agent", "Sveltos"),
            ("eno.azure.io/composition-name", "agent", "Eno"),
            ("cluster.x-k8s.io/cluster-name", "edge", "Cluster API"),
            ("secrets-store.sync.x-k8s.io", "", "sync controller"),
            ("secret-generator.v1.mittwald.de/autogenerate", "token", "secret generator"),
            ("argocd.argoproj.io/instance", "agent", "Application"),
            ("app.kubernetes.io/managed-by", "Helm", "manager Helm"),
            ("app.kubernetes.io/managed-by", "external-secrets", "manager external-secrets"),
            ("app.kubernetes.io/managed-by", "hashicorp-vso", "manager hashicorp-vso"),
            ("app.kubernetes.io/managed-by", "our-own-sync", "manager our-own-sync"),
        ] {
            for field in ["labels", "annotations"] {
                let found = found(field, json!({key: value}));
                assert!(found.len() == 1 && found[0].contains(word), "{field} {key}: {found:?}");
            }
        }
    }

    /// They stand on Secrets that nothing writes: what looks at a Secret, where a copy is made from, people's tools.
    #[test]
    fn what_writes_no_secret_is_no_owner() {
        for (key, value) in [
            ("app.kubernetes.io/managed-by", "kubectl"),
            ("app.kubernetes.io/managed-by", "Manual"),
            ("app.kubernetes.io/managed-by", "gitlab-agent-cli"),
            ("app.kubernetes.io/name", "agent"),
            ("app.kubernetes.io/part-of", "flux"),
            ("toolkit.fluxcd.io/tenant", "team-a"),
            ("reconcile.fluxcd.io/watch", "Enabled"),
            ("secret.reloader.stakater.com/reload", "t"),
            ("propagate.hnc.x-k8s.io/all", "true"),
            ("projectcapsule.dev/tenant", "team-a"),
            ("capsule.clastix.io/managed-by", "team-a"),
            ("replicator.v1.mittwald.de/replicate-to", "team-a"),
            ("reflector.v1.k8s.emberstack.com/reflection-allowed", "true"),
            ("kubernetes.io/bootstrapping", "rbac-defaults"),
            ("velero.io/backup-name", "nightly"),
            ("gitlab.com/agent-token-id", "7"),
            ("example.com/team", "a"),
        ] {
            for field in ["labels", "annotations"] {
                assert!(found(field, json!({key: value})).is_empty(), "{field} {key}");
            }
        }
    }

    #[test]
    fn any_custom_resource_that_owns_a_secret_writes_it() {
        let of = |api: &str, kind: &str| {
            found("ownerReferences", json!([{"apiVersion": api, "kind": kind, "name": "s"}]))
        };
        for (api, kind) in [
            ("secrets.hashicorp.com/v1beta1", "VaultStaticSecret"),
            ("secrets.infisical.com/v1alpha1", "InfisicalSecret"),
            ("onepassword.com/v1", "OnePasswordItem"),
            ("k8s.bitwarden.com/v1", "BitwardenSecret"),
            ("secrets.doppler.com/v1alpha1", "DopplerSecret"),
            ("spv.no/v2beta1", "AzureKeyVaultSecret"),
            ("secret-sync.x-k8s.io/v1alpha1", "sync controller"),
            ("work.open-cluster-management.io/v1", "AppliedManifestWork"),
            ("infra.contrib.fluxcd.io/v1alpha2", "Terraform"),
            ("kubernetes.crossplane.io/v1alpha2", "Object"),
            ("app.terraform.io/v1alpha2", "Workspace"),
            ("x/v1", "Anything"),
        ] {
            assert_eq!(of(api, kind), [format!("{kind} n/s")], "{api}");
        }
        for (api, kind) in [
            ("v1", "Secret"),
            ("v1", "ServiceAccount"),
            ("apps/v1", "Deployment"),
            ("batch/v1", "Job"),
            ("v1", "ConfigMap"),
            ("v1", "Namespace"),
        ] {
            assert!(of(api, kind).is_empty(), "{api}");
        }
    }

    #[test]
    fn a_manager_is_a_person_only_under_the_very_name_of_a_tool() {
        let token = json!({"f:data": {"f:token": {}}});
        for manager in [
            "kubectl-cronjob-sync",
            "kubectl-sync",
            "kubectl-vault",
            "kubectl-",
            "kubectl2",
            "Kubectl",
            "flux2",
            "fluxcd",
            "glab-sync",
            "k9s-x",
            "before-first-applied",
            "gitlab-agent-cli2",
            "",
        ] {
            assert_eq!(managed(manager, &token).len(), 1, "{manager}");
        }
        for manager in PEOPLE {
            assert!(managed(manager, &token).is_empty(), "{manager}");
        }
        for fields in [
            json!({"f:data": {}}),
            json!({"f:stringData": {"f:token": {}}}),
            json!({"f:data": {".": {}, "f:x": {}}}),
        ] {
            assert_eq!(managed("sync", &fields).len(), 1, "{fields}");
        }
        for fields in [json!({"f:data": {".": {}}}), json!({"f:metadata": {}}), json!({}), Value::Null] {
            assert!(managed("sync", &fields).is_empty(), "{fields}");
        }
    }
}
