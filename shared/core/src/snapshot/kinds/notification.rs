//! What comes in from outside and goes out: Receiver, Provider, Alert, and the Events that tell of failures.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Condition, CrossRef, LocalRef, Meta, StringMap, Url, is_default, shape};
use crate::object::ObjectRef;

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

    /// A Provider: where notifications go. It has no status.
    Provider {
        /// Metadata.
        metadata: Meta,
        /// What is wanted.
        spec: ProviderSpec,
    }

    /// An Alert: which notifications go to a Provider. It has no status.
    Alert {
        /// Metadata.
        metadata: Meta,
        /// What is wanted.
        spec: AlertSpec,
    }

    /// `spec` of an Alert.
    AlertSpec {
        /// The Provider, in the Alert's namespace.
        provider_ref: LocalRef,
        /// Whose events are sent.
        event_sources: Vec<EventSource>,
        /// `error` sends failures only.
        event_severity: String,
        /// True stops it.
        suspend: bool,
    }

    /// One entry of `spec.eventSources`.
    EventSource {
        /// Kind.
        kind: String,
        /// Name; `*` for all.
        name: String,
        /// Namespace; empty for the Alert's own.
        namespace: String,
        /// Labels that must be equal.
        match_labels: StringMap,
    }

    /// An Event of the core group. Kubernetes forgets it after an hour.
    Event {
        /// Metadata.
        metadata: Meta,
        /// What it is about.
        involved_object: CrossRef,
        /// One word.
        reason: String,
        /// Free text.
        message: String,
        /// When it happened last.
        last_timestamp: Option<Timestamp>,
        /// When it happened, where it is of the newer form.
        event_time: Option<Timestamp>,
    }

    /// `spec` of a Provider as the API has it.
    AnyProviderSpec {
        /// For example `gitlab`.
        #[serde(rename = "type")]
        kind: String,
        /// Where it sends.
        address: Url,
        /// Its token.
        secret_ref: Option<LocalRef>,
        /// True stops it.
        suspend: bool,
    }
}

/// `spec` of a Provider. The address of a chat's webhook is a secret itself: of any type that is not of GitLab only
/// scheme and host are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderSpec {
    /// For example `gitlab`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it sends: for type `gitlab` the project's URL.
    #[serde(skip_serializing_if = "is_default")]
    pub address: Url,
    /// Its token.
    #[serde(skip_serializing_if = "is_default")]
    pub secret_ref: Option<LocalRef>,
    /// True stops it.
    #[serde(skip_serializing_if = "is_default")]
    pub suspend: bool,
}

impl<'de> Deserialize<'de> for ProviderSpec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let AnyProviderSpec { kind, mut address, secret_ref, suspend } =
            AnyProviderSpec::deserialize(deserializer)?;
        if !kind.starts_with("gitlab") {
            let authority = address.find("://").map_or(0, |at| at + 3);
            let end = address[authority..].find('/').map_or(address.len(), |at| authority + at);
            address.truncate(end);
        }
        Ok(Self { kind, address, secret_ref, suspend })
    }
}

impl Event {
    /// When it happened last.
    pub fn last(&self) -> Option<Timestamp> {
        self.last_timestamp.or(self.event_time).or(self.metadata.creation_timestamp)
    }

    /// What it is about.
    pub fn about(&self) -> ObjectRef {
        let of = &self.involved_object;
        ObjectRef::new(&of.kind, &of.namespace, &of.name)
    }
}
