//! The few fields that are read of each Kubernetes and Flux kind, under the API's own names.
//!
//! Every field is optional on the way in: an object of an older or newer API version still reads. What may hold
//! a secret (URL user-info, container arguments and environment, release values, unknown annotations) is masked
//! or dropped by the deserializer, so that no later layer can hold it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::mask;
use crate::object::ObjectRef;

macro_rules! shape {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $(
                $(#[$field_meta])*
                #[serde(skip_serializing_if = "is_default", deserialize_with = "null_is_default")]
                pub $field: $type,
            )*
        }
    )*};
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The API writes `null` for some empty lists and maps.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Answer of `GET /version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerVersion {
    /// For example `v1.36.3`.
    pub git_version: String,
}

/// One API group and the versions served of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiGroup {
    /// For example `source.toolkit.fluxcd.io`.
    pub name: String,
    /// For example `["v1"]`, preferred first.
    pub versions: Vec<String>,
}

/// Labels or annotations.
pub type StringMap = BTreeMap<String, String>;

/// Annotations that are kept; others may hold anything (`last-applied-configuration` holds whole Secrets).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Annotations(pub StringMap);

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const KEPT: &[&str] = &[
            "agent.gitlab.com/",
            "app.kubernetes.io/managed-by",
            "gitlab.com/agent-token-id",
            "kubectl.kubernetes.io/restartedAt",
            "kustomize.toolkit.fluxcd.io/",
            "helm.toolkit.fluxcd.io/",
            "meta.helm.sh/",
            "reconcile.fluxcd.io/",
        ];
        let mut all = StringMap::deserialize(deserializer)?;
        all.retain(|key, _| KEPT.iter().any(|kept| key.starts_with(kept)));
        Ok(Self(all))
    }
}

/// A URL without user-info, query or fragment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Url(pub String);

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(mask::url(&String::deserialize(deserializer)?)))
    }
}

impl std::ops::Deref for Url {
    type Target = String;
    fn deref(&self) -> &String {
        &self.0
    }
}

impl std::ops::DerefMut for Url {
    fn deref_mut(&mut self) -> &mut String {
        &mut self.0
    }
}

/// A container's arguments, with every value masked that is not known to be harmless.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Args(pub Vec<String>);

impl<'de> Deserialize<'de> for Args {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(mask::arguments(Vec::deserialize(deserializer)?)))
    }
}

impl std::ops::Deref for Args {
    type Target = Vec<String>;
    fn deref(&self) -> &Vec<String> {
        &self.0
    }
}

impl std::ops::DerefMut for Args {
    fn deref_mut(&mut self) -> &mut Vec<String> {
        &mut self.0
    }
}

/// `status.webhookPath`: whoever knows it can trigger a `generic` Receiver, so only its presence is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct WebhookPath(pub String);

impl<'de> Deserialize<'de> for WebhookPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let path = String::deserialize(deserializer)?;
        Ok(Self(if path.is_empty() { path } else { "/hook/…".to_owned() }))
    }
}

shape! {
    /// `metadata` of any object.
    Meta {
        /// Name.
        name: String,
        /// Namespace, empty for cluster-scoped kinds.
        namespace: String,
        /// Unique id.
        uid: String,
        /// Raised at every change of the spec.
        generation: i64,
        /// When it was made.
        creation_timestamp: Option<Timestamp>,
        /// When its deletion was asked for.
        deletion_timestamp: Option<Timestamp>,
        /// Labels.
        labels: StringMap,
        /// Annotations that are kept.
        annotations: Annotations,
        /// What it belongs to.
        owner_references: Vec<OwnerReference>,
        /// Who wrote it, and when.
        managed_fields: Vec<ManagedFields>,
    }

    /// One entry of `metadata.ownerReferences`.
    OwnerReference {
        /// Kind of the owner.
        kind: String,
        /// Name of the owner.
        name: String,
    }

    /// One entry of `metadata.managedFields`, without the fields themselves.
    ManagedFields {
        /// For example `kustomize-controller`.
        manager: String,
        /// `Apply` or `Update`.
        operation: String,
        /// API version the manager wrote.
        api_version: String,
        /// When the manager last changed one of its fields.
        time: Option<Timestamp>,
    }

    /// One condition of a status.
    Condition {
        /// For example `Ready`.
        #[serde(rename = "type")]
        kind: String,
        /// `True`, `False` or `Unknown`.
        status: String,
        /// One word.
        reason: String,
        /// Free text.
        message: String,
        /// When `status` last changed.
        last_transition_time: Option<Timestamp>,
        /// Generation the condition speaks of.
        observed_generation: i64,
    }

    /// Metadata of a CustomResourceDefinition.
    Crd {
        /// Metadata.
        metadata: Meta,
    }

    /// A reference by name alone.
    LocalRef {
        /// Name.
        name: String,
    }

    /// A reference to an object, perhaps of another namespace.
    CrossRef {
        /// API version, where the kind needs one.
        api_version: String,
        /// Kind.
        kind: String,
        /// Name.
        name: String,
        /// Namespace; empty for the referrer's own.
        namespace: String,
    }

    /// GitRepository, OCIRepository, Bucket, HelmRepository or HelmChart.
    Source {
        /// Metadata.
        metadata: Meta,
        /// What is wanted.
        spec: SourceSpec,
        /// What source-controller says.
        status: SourceStatus,
    }

    /// `spec` of the source kinds.
    SourceSpec {
        /// URL (GitRepository, OCIRepository, HelmRepository).
        url: Url,
        /// Go duration between fetches.
        interval: String,
        /// Go duration of one fetch.
        timeout: String,
        /// What to check out (GitRepository, OCIRepository).
        #[serde(rename = "ref")]
        reference: GitReference,
        /// The credential.
        secret_ref: Option<LocalRef>,
        /// True stops reconciliation.
        suspend: bool,
        /// `oci` makes a HelmRepository static.
        #[serde(rename = "type")]
        kind: String,
        /// Chart name (HelmChart).
        chart: String,
        /// Chart version or range (HelmChart).
        version: String,
        /// Where the chart is (HelmChart).
        source_ref: Option<CrossRef>,
    }

    /// `spec.ref` of a GitRepository or OCIRepository.
    GitReference {
        /// Branch.
        branch: String,
        /// Tag.
        tag: String,
        /// Semantic version range.
        semver: String,
        /// Full reference name.
        name: String,
        /// Commit.
        commit: String,
    }

    /// `status` of the source kinds.
    SourceStatus {
        /// Conditions.
        conditions: Vec<Condition>,
        /// What was fetched last.
        artifact: Option<Artifact>,
        /// Generation that was reconciled.
        observed_generation: i64,
        /// The last request that was taken up.
        last_handled_reconcile_at: String,
    }

    /// `status.artifact`.
    Artifact {
        /// For example `main@sha1:…`.
        revision: String,
        /// When it was stored.
        last_update_time: Option<Timestamp>,
    }

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
        /// Set when it applies to another cluster.
        kube_config: Option<RemoteCluster>,
    }

    /// `spec.kubeConfig`: another cluster; nothing of it is read.
    RemoteCluster {}

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
    }

    /// A Receiver.
    Receiver {
        /// Metadata.
        metadata: Meta,
        /// What is wanted.
        spec: ReceiverSpec,
        /// What notification-controller says.
        status: ReceiverStatus,
    }

    /// `spec` of a Receiver.
    ReceiverSpec {
        /// For example `generic-hmac`.
        #[serde(rename = "type")]
        kind: String,
        /// What it triggers.
        resources: Vec<CrossRef>,
        /// Its token.
        secret_ref: LocalRef,
        /// True stops it.
        suspend: bool,
    }

    /// `status` of a Receiver.
    ReceiverStatus {
        /// Conditions.
        conditions: Vec<Condition>,
        /// Present when requests are taken.
        webhook_path: WebhookPath,
        /// Generation that was reconciled.
        observed_generation: i64,
    }

    /// Deployment, StatefulSet or DaemonSet.
    Workload {
        /// Metadata.
        metadata: Meta,
        /// What is wanted.
        spec: WorkloadSpec,
        /// What its controller says.
        status: WorkloadStatus,
    }

    /// `spec` of a workload.
    WorkloadSpec {
        /// Pods wanted; one where the API leaves it out. Not used by a DaemonSet.
        replicas: Option<i64>,
        /// Which pods are its own.
        selector: Selector,
        /// Its pods.
        template: PodTemplate,
    }

    /// A label selector's equality part.
    Selector {
        /// Labels that must be equal.
        match_labels: StringMap,
    }

    /// Template of a workload's pods.
    PodTemplate {
        /// Metadata.
        metadata: Meta,
        /// Spec.
        spec: PodSpec,
    }

    /// `spec` of a pod.
    PodSpec {
        /// Containers.
        containers: Vec<Container>,
        /// Volumes.
        volumes: Vec<Volume>,
        /// Service account.
        service_account_name: String,
        /// Node it was bound to.
        node_name: String,
    }

    /// One container.
    Container {
        /// Name.
        name: String,
        /// Image.
        image: String,
        /// Arguments, masked.
        args: Args,
        /// Environment: names and references, never values.
        env: Vec<EnvVar>,
    }

    /// One environment variable, without its value.
    EnvVar {
        /// Name.
        name: String,
    }

    /// One volume.
    Volume {
        /// Name.
        name: String,
        /// The Secret it mounts.
        secret: Option<SecretVolume>,
    }

    /// A Secret as a volume.
    SecretVolume {
        /// Name of the Secret.
        secret_name: String,
    }

    /// `status` of a workload: the Deployment's and StatefulSet's counters and the DaemonSet's.
    WorkloadStatus {
        /// Generation that was reconciled.
        observed_generation: i64,
        /// Pods that exist.
        replicas: i64,
        /// Pods that are ready.
        ready_replicas: i64,
        /// Pods of the newest template.
        updated_replicas: i64,
        /// Pods that are available.
        available_replicas: i64,
        /// DaemonSet: pods wanted.
        desired_number_scheduled: i64,
        /// DaemonSet: pods that are ready.
        number_ready: i64,
        /// Conditions.
        conditions: Vec<Condition>,
    }

    /// A pod.
    Pod {
        /// Metadata.
        metadata: Meta,
        /// Spec.
        spec: PodSpec,
        /// What the kubelet says.
        status: PodStatus,
    }

    /// `status` of a pod.
    PodStatus {
        /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
        phase: String,
        /// One word, for example `Evicted`.
        reason: String,
        /// Free text.
        message: String,
        /// When the kubelet took it.
        start_time: Option<Timestamp>,
        /// Conditions.
        conditions: Vec<Condition>,
        /// Containers.
        container_statuses: Vec<ContainerStatus>,
        /// Init containers.
        init_container_statuses: Vec<ContainerStatus>,
    }

    /// State of one container.
    ContainerStatus {
        /// Name.
        name: String,
        /// Whether it is ready.
        ready: bool,
        /// How often it was started again.
        restart_count: i64,
        /// Now.
        state: ContainerState,
        /// Before the last start.
        last_state: ContainerState,
    }

    /// `state` of a container: at most one is set.
    ContainerState {
        /// It waits.
        waiting: Option<Waiting>,
        /// It runs.
        running: Option<Running>,
        /// It ended.
        terminated: Option<Terminated>,
    }

    /// Why a container waits.
    Waiting {
        /// One word, for example `ImagePullBackOff`.
        reason: String,
        /// Free text.
        message: String,
    }

    /// Since when a container runs.
    Running {
        /// Start.
        started_at: Option<Timestamp>,
    }

    /// How a container ended.
    Terminated {
        /// One word, for example `OOMKilled`.
        reason: String,
        /// Exit code.
        exit_code: i64,
        /// Free text: the end of its log.
        message: String,
        /// End.
        finished_at: Option<Timestamp>,
    }

    /// A Lease.
    Lease {
        /// Metadata.
        metadata: Meta,
        /// Who holds it.
        spec: LeaseSpec,
    }

    /// `spec` of a Lease.
    LeaseSpec {
        /// Holder; empty when released.
        holder_identity: String,
        /// Seconds for which it is held without renewal.
        lease_duration_seconds: i64,
        /// Last renewal.
        renew_time: Option<Timestamp>,
    }

    /// A Service.
    Service {
        /// Metadata.
        metadata: Meta,
        /// Spec.
        spec: ServiceSpec,
    }

    /// `spec` of a Service.
    ServiceSpec {
        /// Labels of its pods.
        selector: StringMap,
    }

    /// An EndpointSlice.
    EndpointSlice {
        /// Metadata.
        metadata: Meta,
        /// Endpoints.
        endpoints: Vec<Endpoint>,
    }

    /// One endpoint, without its address.
    Endpoint {
        /// Conditions.
        conditions: EndpointConditions,
    }

    /// Conditions of an endpoint.
    EndpointConditions {
        /// Absent means ready.
        ready: Option<bool>,
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

impl Meta {
    /// Names the object.
    pub fn object(&self, kind: &str) -> ObjectRef {
        ObjectRef::new(kind, &self.namespace, &self.name)
    }

    /// One annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.0.get(key).map(String::as_str)
    }

    /// One label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }
}

/// Objects with `metadata`.
pub trait HasMeta {
    /// The object's metadata.
    fn meta(&self) -> &Meta;
}

macro_rules! has_meta {
    ($($kind:ty),*) => {$(
        impl HasMeta for $kind {
            fn meta(&self) -> &Meta {
                &self.metadata
            }
        }
    )*};
}

has_meta!(Crd, Source, Kustomization, HelmRelease, Receiver, Workload, Pod, Lease, Service, EndpointSlice);

/// Finds a condition by its type.
pub fn condition<'c>(conditions: &'c [Condition], kind: &str) -> Option<&'c Condition> {
    conditions.iter().find(|c| c.kind == kind)
}

impl Pod {
    /// Every text of its status that a program wrote freely.
    pub fn free_text(&mut self) -> impl Iterator<Item = &mut String> {
        let status = &mut self.status;
        let containers = status.container_statuses.iter_mut().chain(&mut status.init_container_statuses);
        let states = containers.flat_map(|c| [&mut c.state, &mut c.last_state]);
        let texts = states.flat_map(|s| {
            let waiting = s.waiting.as_mut().map(|w| &mut w.message);
            waiting.into_iter().chain(s.terminated.as_mut().map(|t| &mut t.message))
        });
        std::iter::once(&mut status.message).chain(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_hold_a_secret_is_dropped_on_the_way_in() {
        let live = r#"{
          "metadata": {"name": "a", "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "MARKER",
            "reconcile.fluxcd.io/requestedAt": "now"}, "managedFields": null},
          "spec": {"url": "https://user:MARKER@gitlab.example.com/a.git?token=MARKER", "ref": {"branch": "main"}}}"#;
        let source: Source = serde_json::from_str(live).expect("reads");
        assert_eq!(*source.spec.url, "https://gitlab.example.com/a.git");
        let recorded = serde_json::to_string(&source).expect("writes");
        assert!(!recorded.contains("MARKER"), "{recorded}");
        assert_eq!(source, serde_json::from_str(&recorded).expect("reads its own form"));
    }

    #[test]
    fn release_values_are_taken_by_path() {
        let live = r#"{"spec": {"values": {"image": "other-chart", "config": {
            "token": "MARKER", "kasAddress": "wss://kas.example.com", "secretName": "t"}}}}"#;
        let release: HelmRelease = serde_json::from_str(live).expect("reads");
        assert!(release.spec.values.inline_token);
        assert_eq!(release.spec.values.secret_name.as_deref(), Some("t"));
        let recorded = serde_json::to_string(&release).expect("writes");
        assert!(!recorded.contains("MARKER"), "{recorded}");
        assert_eq!(release, serde_json::from_str(&recorded).expect("reads its own form"));
    }

    #[test]
    fn environment_values_and_webhook_paths_are_not_kept() {
        let container: Container = serde_json::from_str(
            r#"{"name":"a","env":[{"name":"AGENTK_TOKEN","value":"MARKER"}],"args":["--kas-header","Cookie: MARKER"]}"#,
        )
        .expect("reads");
        let status: ReceiverStatus =
            serde_json::from_str(r#"{"webhookPath":"/hook/MARKER"}"#).expect("reads");
        let recorded = serde_json::to_string(&(container, status)).expect("writes");
        assert!(!recorded.contains("MARKER"), "{recorded}");
    }
}
