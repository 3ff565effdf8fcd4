//! What applies: Kustomization and HelmRelease.

use serde::{Deserialize, Serialize};

use super::{Condition, CrossRef, LocalRef, Meta, is_default, shape};
use crate::snapshot::mask;

shape! {
    /// A Flux Kustomization.
    Kustomization {
        /// Metadata.
        metadata: Meta,
        /// What is wanted.
        spec: KustomizationSpec,
        /// What kustomize-controller says.
        status: KustomizationStatus,
    }

    /// `spec` of a Kustomization.
    KustomizationSpec {
        /// Directory in the source.
        path: String,
        /// Go duration.
        interval: String,
        /// True stops reconciliation.
        suspend: bool,
        /// The source.
        source_ref: CrossRef,
        /// Kustomizations that must be ready first.
        depends_on: Vec<CrossRef>,
        /// True makes it wait for everything that it applies.
        wait: bool,
        /// What it waits for.
        health_checks: Vec<CrossRef>,
        /// Namespace that everything is put into, where given.
        target_namespace: String,
        /// Set when it applies to another cluster.
        kube_config: Option<RemoteCluster>,
        /// How it decrypts Secrets.
        decryption: Option<Decryption>,
        /// What it puts in place of variables.
        post_build: Option<PostBuild>,
    }

    /// `spec.decryption` of a Kustomization.
    Decryption {
        /// `sops`.
        provider: String,
        /// The Secret that holds the keys.
        secret_ref: Option<LocalRef>,
    }

    /// `spec.postBuild` of a Kustomization, without the values.
    PostBuild {
        /// ConfigMaps and Secrets that values are taken from.
        substitute_from: Vec<ValuesRef>,
    }

    /// A ConfigMap or Secret that values are taken from.
    ValuesRef {
        /// `ConfigMap` or `Secret`.
        kind: String,
        /// Name.
        name: String,
        /// True lets it be absent.
        optional: bool,
    }

    /// `spec.kubeConfig`: another cluster; nothing of it is read.
    RemoteCluster {
        /// The Secret that holds the kubeconfig.
        secret_ref: Option<LocalRef>,
    }

    /// `status` of a Kustomization.
    KustomizationStatus {
        /// Conditions.
        conditions: Vec<Condition>,
        /// Revision applied last.
        last_applied_revision: String,
        /// Revision tried last.
        last_attempted_revision: String,
        /// Generation that was reconciled.
        observed_generation: i64,
        /// What it applied.
        inventory: Inventory,
        /// The last request that was taken up.
        last_handled_reconcile_at: String,
    }

    /// `status.inventory` of a Kustomization or HelmRelease.
    Inventory {
        /// Objects.
        entries: Vec<InventoryEntry>,
    }

    /// One object of an inventory.
    InventoryEntry {
        /// `<namespace>_<name>_<group>_<kind>`.
        id: String,
        /// API version.
        v: String,
    }

    /// A HelmRelease.
    HelmRelease {
        /// Metadata.
        metadata: Meta,
        /// What is wanted.
        spec: HelmReleaseSpec,
        /// What helm-controller says.
        status: HelmReleaseStatus,
    }

    /// `spec` of a HelmRelease.
    HelmReleaseSpec {
        /// The chart, where it is named inline.
        chart: Option<ChartTemplate>,
        /// The chart, where it is an object.
        chart_ref: Option<CrossRef>,
        /// Go duration.
        interval: String,
        /// True stops reconciliation.
        suspend: bool,
        /// Helm's release name, where given.
        release_name: String,
        /// Namespace it installs into, where given.
        target_namespace: String,
        /// HelmReleases that must be ready first.
        depends_on: Vec<CrossRef>,
        /// The values of the `gitlab-agent` chart that are read.
        values: AgentValues,
        /// ConfigMaps and Secrets that hold values.
        values_from: Vec<ValuesRef>,
        /// Set when it installs into another cluster.
        kube_config: Option<RemoteCluster>,
    }

    /// `spec.chart` of a HelmRelease.
    ChartTemplate {
        /// Its spec.
        spec: ChartSpec,
    }

    /// `spec.chart.spec` of a HelmRelease.
    ChartSpec {
        /// Chart name.
        chart: String,
        /// Version or range.
        version: String,
        /// The repository.
        source_ref: CrossRef,
    }

    /// `status` of a HelmRelease.
    HelmReleaseStatus {
        /// Conditions.
        conditions: Vec<Condition>,
        /// Releases made, newest first.
        history: Vec<HelmSnapshot>,
        /// Chart version tried last.
        last_attempted_revision: String,
        /// `<namespace>/<name>` of the HelmChart.
        helm_chart: String,
        /// Generation that was reconciled.
        observed_generation: i64,
        /// What it installed (Flux 2.8 and newer).
        inventory: Inventory,
        /// Failed attempts since the last success.
        failures: i64,
        /// Failed upgrades since the last success.
        upgrade_failures: i64,
        /// `install` or `upgrade`.
        last_attempted_release_action: String,
        /// The last request that was taken up.
        last_handled_reconcile_at: String,
    }

    /// One release in `status.history`.
    HelmSnapshot {
        /// Release name.
        name: String,
        /// Namespace.
        namespace: String,
        /// Chart version.
        chart_version: String,
        /// Application version.
        app_version: String,
        /// Helm's word for its state.
        status: String,
        /// Helm's number of it; each attempt has one.
        version: i64,
    }
}

/// The values of the `gitlab-agent` chart that are read. Other charts use the same keys for other shapes, and
/// values may hold secrets, so each is taken by path and only as a string.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentValues {
    /// `config.kasAddress`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kas_address: Option<String>,
    /// `config.secretName`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// Whether `config.token` is given inline.
    #[serde(skip_serializing_if = "is_default")]
    pub inline_token: bool,
    /// `image.tag`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_tag: Option<String>,
}

impl<'de> Deserialize<'de> for AgentValues {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values = serde_json::Value::deserialize(deserializer)?;
        let text = |recorded: &str, live: &str| {
            let found = values.get(recorded).or_else(|| values.pointer(live));
            found.and_then(|v| v.as_str()).map(str::to_owned)
        };
        let inline = values.pointer("/config/token").and_then(|v| v.as_str()).is_some_and(|t| !t.is_empty())
            || values.get("inlineToken").and_then(serde_json::Value::as_bool).unwrap_or_default();
        Ok(Self {
            kas_address: text("kasAddress", "/config/kasAddress").map(|url| mask::url(&url)),
            secret_name: text("secretName", "/config/secretName"),
            inline_token: inline,
            image_tag: text("imageTag", "/image/tag"),
        })
    }
}
