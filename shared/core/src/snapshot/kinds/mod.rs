//! The few fields that are read of each Kubernetes and Flux kind, under the API's own names.
//!
//! Every field is optional on the way in: an object of an older or newer API version still reads. What may hold
//! a secret (URL user-info, container arguments and environment, release values, unknown annotations) is masked
//! or dropped by the deserializer, so that no later layer can hold it.

mod applier;
mod meta;
mod network;
mod notification;
mod policy;
mod referenced;
mod server;
mod source;
mod workload;

pub use applier::*;
pub use meta::*;
pub use network::*;
pub use notification::*;
pub use policy::*;
pub use referenced::*;
pub use server::*;
pub use source::*;
pub use workload::*;

use serde::Deserialize;

macro_rules! shape {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $(
                $(#[$field_meta])*
                #[serde(skip_serializing_if = "crate::snapshot::kinds::is_default", deserialize_with = "crate::snapshot::kinds::null_is_default")]
                pub $field: $type,
            )*
        }

        crate::snapshot::texts::texts!($name { $($field),* });
    )*};
}

pub(crate) use shape;

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
has_meta!(Provider, Alert, Event);
has_meta!(NetworkPolicy, Namespace);

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
    fn of_managed_fields_only_flux_requests_are_kept() {
        let live = r#"{"manager":"m","fieldsV1":{"f:metadata":{"f:annotations":{".":{},"f:reconcile.fluxcd.io/requestedAt":{}}},"f:spec":{"f:MARKER":{}}}}"#;
        let fields: ManagedFields = serde_json::from_str(live).expect("reads");
        assert!(fields.requests.0);
        let recorded = serde_json::to_string(&fields).expect("writes");
        assert!(!recorded.contains("MARKER"), "{recorded}");
        assert_eq!(fields, serde_json::from_str(&recorded).expect("reads its own form"));
        for other in [
            r#"{}"#,
            r#"{"fieldsV1":{}}"#,
            r#"{"fieldsV1":{"f:spec":{}}}"#,
            r#"{"fieldsV1":{"f:metadata":{"f:labels":{}}}}"#,
        ] {
            assert!(!serde_json::from_str::<ManagedFields>(other).expect("reads").requests.0, "{other}");
        }
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

    #[test]
    fn the_address_of_a_chat_is_a_secret_and_that_of_a_project_is_not() {
        let read = |kind: &str, address: &str| -> Provider {
            let json =
                serde_json::json!({"metadata": {"name": "a"}, "spec": {"type": kind, "address": address}});
            serde_json::from_value(json).expect("reads")
        };
        let chat = read("slack", "https://hooks.example.com/services/MARKER");
        assert_eq!(*chat.spec.address, "https://hooks.example.com");
        let project = read("gitlab", "https://u:MARKER@gitlab.example.com/platform/fleet");
        assert_eq!(*project.spec.address, "https://gitlab.example.com/platform/fleet");
        let recorded = serde_json::to_string(&(&chat, &project)).expect("writes");
        assert!(!recorded.contains("MARKER"), "{recorded}");
        let again: (Provider, Provider) = serde_json::from_str(&recorded).expect("reads its own form");
        assert_eq!(again, (chat, project));
    }
}
