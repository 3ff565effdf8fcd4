//! What runs: Deployment, StatefulSet, DaemonSet and their pods.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Condition, LocalRef, Meta, StringMap, shape};
use crate::snapshot::mask;

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

shape! {
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
        /// True holds a Deployment's rollout.
        paused: bool,
        /// How a StatefulSet or DaemonSet replaces its pods.
        update_strategy: UpdateStrategy,
        /// Which pods are its own.
        selector: Selector,
        /// Its pods.
        template: PodTemplate,
    }

    /// `spec.updateStrategy` of a StatefulSet or DaemonSet.
    UpdateStrategy {
        /// `RollingUpdate` where left out, or `OnDelete`.
        #[serde(rename = "type")]
        kind: String,
        /// What is replaced.
        rolling_update: RollingUpdate,
    }

    /// `rollingUpdate` of a StatefulSet.
    RollingUpdate {
        /// Pods of a lower number keep their spec.
        partition: i64,
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
        /// Containers that run before the others.
        init_containers: Vec<Container>,
        /// Containers.
        containers: Vec<Container>,
        /// Volumes.
        volumes: Vec<Volume>,
        /// Secrets with which images are pulled.
        image_pull_secrets: Vec<LocalRef>,
        /// Service account.
        service_account_name: String,
        /// Node it was bound to.
        node_name: String,
        /// True for pods that use the node's network, and its address.
        host_network: bool,
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
        /// ConfigMaps and Secrets of which every key becomes a variable.
        env_from: Vec<EnvFrom>,
        /// Ports.
        ports: Vec<ContainerPort>,
    }

    /// A port of a container.
    ContainerPort {
        /// Name, where it has one.
        name: String,
        /// Number.
        container_port: i64,
        /// `TCP` where left out.
        protocol: String,
    }

    /// One environment variable, without its value.
    EnvVar {
        /// Name.
        name: String,
        /// Where its value is from.
        value_from: Option<EnvValueFrom>,
    }

    /// `valueFrom` of an environment variable.
    EnvValueFrom {
        /// A key of a Secret.
        secret_key_ref: Option<OptionalRef>,
        /// A key of a ConfigMap.
        config_map_key_ref: Option<OptionalRef>,
    }

    /// One entry of `envFrom`.
    EnvFrom {
        /// A Secret.
        secret_ref: Option<OptionalRef>,
        /// A ConfigMap.
        config_map_ref: Option<OptionalRef>,
    }

    /// A reference that may be declared optional.
    OptionalRef {
        /// Name.
        name: String,
        /// True lets a pod start without it.
        optional: bool,
    }

    /// One volume.
    Volume {
        /// Name.
        name: String,
        /// The Secret it mounts.
        secret: Option<SecretVolume>,
        /// The ConfigMap it mounts.
        config_map: Option<OptionalRef>,
        /// What it puts together.
        projected: Option<ProjectedVolume>,
        /// The claim it mounts.
        persistent_volume_claim: Option<ClaimVolume>,
        /// The CSI driver that mounts it.
        csi: Option<CsiVolume>,
    }

    /// A Secret as a volume.
    SecretVolume {
        /// Name of the Secret.
        secret_name: String,
        /// True lets a pod start without it.
        optional: bool,
    }

    /// A projected volume.
    ProjectedVolume {
        /// Its parts.
        sources: Vec<ProjectedSource>,
    }

    /// One part of a projected volume.
    ProjectedSource {
        /// A Secret.
        secret: Option<OptionalRef>,
        /// A ConfigMap.
        config_map: Option<OptionalRef>,
    }

    /// A claim as a volume.
    ClaimVolume {
        /// Name of the PersistentVolumeClaim.
        claim_name: String,
    }

    /// A volume of a CSI driver.
    CsiVolume {
        /// The Secret that the driver gets.
        node_publish_secret_ref: Option<LocalRef>,
        /// What the driver is told.
        volume_attributes: CsiAttributes,
    }

    /// `volumeAttributes` of a CSI volume; no other is read.
    CsiAttributes {
        /// Of the Secrets Store CSI Driver: the SecretProviderClass.
        secret_provider_class: String,
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
        /// DaemonSet: pods of the newest template; recordings of before have none.
        updated_number_scheduled: Option<i64>,
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
        /// Its address.
        #[serde(rename = "podIP")]
        pod_ip: String,
        /// All its addresses: one of each IP family.
        #[serde(rename = "podIPs")]
        pod_ips: Vec<PodIp>,
        /// Conditions.
        conditions: Vec<Condition>,
        /// Containers.
        container_statuses: Vec<ContainerStatus>,
        /// Init containers.
        init_container_statuses: Vec<ContainerStatus>,
    }

    /// One address of a pod.
    PodIp {
        /// The address.
        ip: String,
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
}
