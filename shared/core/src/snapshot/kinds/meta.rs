//! What every object has: metadata and conditions; references to objects.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::shape;
use crate::object::ObjectRef;

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
            "argocd.argoproj.io/tracking-id",
            "gitlab.com/agent-token-id",
            "kubectl.kubernetes.io/restartedAt",
            "kustomize.toolkit.fluxcd.io/",
            "helm.toolkit.fluxcd.io/",
            "meta.helm.sh/release-name",
            "meta.helm.sh/release-namespace",
            "reconcile.fluxcd.io/",
        ];
        let mut all = StringMap::deserialize(deserializer)?;
        all.retain(|key, _| KEPT.iter().any(|kept| key.starts_with(kept)));
        Ok(Self(all))
    }
}

/// Whether `fieldsV1` has the annotation `reconcile.fluxcd.io/requestedAt`; nothing else of it is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestField(pub bool);

/// The annotation by which everybody asks Flux to reconcile now, as `fieldsV1` writes it.
const REQUESTED_AT: &str = "f:reconcile.fluxcd.io/requestedAt";

impl<'de> Deserialize<'de> for RequestField {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Fields {
            #[serde(rename = "f:metadata")]
            metadata: MetaFields,
        }
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct MetaFields {
            #[serde(rename = "f:annotations")]
            annotations: BTreeMap<String, serde::de::IgnoredAny>,
        }
        Ok(Self(Fields::deserialize(deserializer)?.metadata.annotations.contains_key(REQUESTED_AT)))
    }
}

impl Serialize for RequestField {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = if self.0 {
            serde_json::json!({"f:metadata": {"f:annotations": {REQUESTED_AT: {}}}})
        } else {
            serde_json::json!({})
        };
        fields.serialize(serializer)
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
        /// Another at every write. What one etcd keeps is counted through, so a later write has a greater number.
        resource_version: String,
        /// When it was made.
        creation_timestamp: Option<Timestamp>,
        /// When its deletion was asked for.
        deletion_timestamp: Option<Timestamp>,
        /// What has to be done before it is gone.
        finalizers: Vec<String>,
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
        /// It manages the object.
        controller: bool,
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
        /// Whether Flux's request for reconciliation is among its fields.
        #[serde(rename = "fieldsV1")]
        requests: RequestField,
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

    /// Metadata of a namespace.
    Namespace {
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
}

impl Meta {
    /// The number of its last write, for telling which of two writes of one second was the later. Not for more: an API
    /// server may keep Events in an etcd of their own, which counts for itself.
    pub fn written(&self) -> Option<u64> {
        self.resource_version.parse().ok()
    }

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

/// Finds a condition by its type.
pub fn condition<'c>(conditions: &'c [Condition], kind: &str) -> Option<&'c Condition> {
    conditions.iter().find(|c| c.kind == kind)
}
