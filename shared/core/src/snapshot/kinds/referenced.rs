//! Objects of any kind that something observed refers to, or that create what is missing: whether they exist and
//! what their controllers say.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Condition, CrossRef, Meta, shape};
use crate::object::ObjectRef;
use crate::snapshot::Observed;

/// One object by name, with what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReferencedEntry {
    /// API group; empty for the core group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty for cluster-scoped kinds.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `Known(None)` means that it does not exist.
    pub state: Observed<Option<Referenced>>,
}

impl ReferencedEntry {
    /// Names the object.
    pub fn object(&self) -> ObjectRef {
        ObjectRef::new(&self.kind, &self.namespace, &self.name)
    }
}

shape! {
    /// What is kept of an object of any kind. Its spec may hold anything, so only names at known places are taken.
    Referenced {
        /// Metadata.
        metadata: Meta,
        /// Conditions of its status.
        conditions: Vec<Condition>,
        /// Names of the Secrets and ConfigMaps that it creates in its own namespace.
        creates: Vec<String>,
        /// Objects that it reads from, for example the store of an ExternalSecret.
        reads: Vec<CrossRef>,
    }
}

/// Where kinds that create a Secret name it. `*` stands for every kind: the field has no other meaning in any kind
/// that is known.
const CREATES: &[(&str, &str)] = &[
    ("ExternalSecret", "/spec/target/name"),
    ("SealedSecret", "/spec/template/metadata/name"),
    ("Certificate", "/spec/secretName"),
    ("VaultStaticSecret", "/spec/destination/name"),
    ("VaultDynamicSecret", "/spec/destination/name"),
    ("VaultPKISecret", "/spec/destination/name"),
    ("HCPVaultSecretsApp", "/spec/destination/name"),
    ("DopplerSecret", "/spec/managedSecret/name"),
    ("InfisicalSecret", "/spec/managedSecretReference/secretName"),
    ("AzureKeyVaultSecret", "/spec/output/secret/name"),
    ("BitwardenSecret", "/spec/secretName"),
    ("*", "/spec/writeConnectionSecretToRef/name"),
];

/// Kinds that create a Secret, or ConfigMap, of their own name where no field names another.
const OF_OWN_NAME: &[&str] = &[
    "ExternalSecret",
    "SealedSecret",
    "OnePasswordItem",
    "AzureKeyVaultSecret",
    "AVPSecret",
    "SopsSecret",
    "VaultSecret",
];

/// Where kinds name what they read from, with the kind where the reference names none.
const READS: &[(&str, &str, &str)] = &[
    ("ExternalSecret", "/spec/secretStoreRef", "SecretStore"),
    ("Certificate", "/spec/issuerRef", "Issuer"),
];

/// Kinds that create Secrets, with group and resource: they are listed where something is missing and no inventory
/// may name them.
pub const CREATORS: &[(&str, &str, &str)] = &[
    ("ExternalSecret", "external-secrets.io", "externalsecrets"),
    ("SealedSecret", "bitnami.com", "sealedsecrets"),
    ("Certificate", "cert-manager.io", "certificates"),
    ("VaultStaticSecret", "secrets.hashicorp.com", "vaultstaticsecrets"),
    ("VaultDynamicSecret", "secrets.hashicorp.com", "vaultdynamicsecrets"),
    ("OnePasswordItem", "onepassword.com", "onepassworditems"),
    ("InfisicalSecret", "secrets.infisical.com", "infisicalsecrets"),
    ("SopsSecret", "isindir.github.com", "sopssecrets"),
];

/// Kinds of which [`CREATES`] or [`OF_OWN_NAME`] knows what they create.
pub fn is_creator(kind: &str) -> bool {
    CREATES.iter().any(|(known, _)| *known == kind) || OF_OWN_NAME.contains(&kind)
}

impl Referenced {
    /// Takes what is kept out of an object as the API gives it.
    pub fn of(kind: &str, object: &Value) -> Self {
        let read = |at: &str| object.pointer(at).cloned().unwrap_or_default();
        let metadata: Meta = serde_json::from_value(read("/metadata")).unwrap_or_default();
        let named = CREATES.iter().filter(|(known, _)| *known == kind || *known == "*");
        let mut creates: Vec<String> =
            named.filter_map(|(_, at)| object.pointer(at)?.as_str().map(str::to_owned)).collect();
        if creates.is_empty() && OF_OWN_NAME.contains(&kind) {
            creates.push(metadata.name.clone());
        }
        let from = READS.iter().filter(|(known, ..)| *known == kind).filter_map(|(_, at, default)| {
            let mut reference: CrossRef = serde_json::from_value(object.pointer(at)?.clone()).ok()?;
            if reference.kind.is_empty() {
                (*default).clone_into(&mut reference.kind);
            }
            Some(reference)
        });
        let reads = from.collect();
        let conditions = serde_json::from_value(read("/status/conditions")).unwrap_or_default();
        Self { metadata, conditions, creates, reads }
    }

    /// What its controller says is wrong: the condition `Ready` or, by another name, the one that is not `True`.
    pub fn failure(&self) -> Option<&Condition> {
        const GOOD: &[&str] =
            &["Ready", "Synced", "Available", "SecretSynced", "Healthy", "SecretsReady", "Established"];
        let bad = |c: &&Condition| c.status == "False" && GOOD.contains(&c.kind.as_str());
        let stalled =
            |c: &&Condition| c.status == "True" && ["Stalled", "Failed", "Error"].contains(&c.kind.as_str());
        let vendor = |c: &&Condition| c.status == "False" && c.kind.contains('/') && c.kind.contains("Ready");
        self.conditions
            .iter()
            .find(stalled)
            .or_else(|| self.conditions.iter().find(bad))
            .or_else(|| self.conditions.iter().find(vendor))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_object_creates_is_read_at_known_places_alone() {
        let of = |kind: &str, spec: Value| {
            Referenced::of(kind, &json!({"metadata": {"name": "own", "namespace": "n"}, "spec": spec}))
                .creates
        };
        for (kind, spec, creates) in [
            ("ExternalSecret", json!({"target": {"name": "db"}}), "db"),
            ("ExternalSecret", json!({}), "own"),
            ("SealedSecret", json!({"template": {"metadata": {"name": "db"}}}), "db"),
            ("SealedSecret", json!({"encryptedData": {}}), "own"),
            ("Certificate", json!({"secretName": "tls"}), "tls"),
            ("VaultStaticSecret", json!({"destination": {"name": "db", "create": true}}), "db"),
            ("VaultDynamicSecret", json!({"destination": {"name": "db"}}), "db"),
            ("DopplerSecret", json!({"managedSecret": {"name": "db"}}), "db"),
            ("InfisicalSecret", json!({"managedSecretReference": {"secretName": "db"}}), "db"),
            ("OnePasswordItem", json!({"itemPath": "x"}), "own"),
            ("Database", json!({"writeConnectionSecretToRef": {"name": "db"}}), "db"),
        ] {
            assert_eq!(of(kind, spec), [creates], "{kind}");
        }
        assert!(of("Cluster", json!({"secretName": "read", "superuserSecret": {"name": "read"}})).is_empty());
    }

    #[test]
    fn what_a_controller_says_is_wrong_is_found_in_its_conditions() {
        let failure = |kind: &str, status: &str| {
            let condition =
                json!([{"type": kind, "status": status, "reason": "SecretSyncedError", "message": "no"}]);
            Referenced::of("ExternalSecret", &json!({"status": {"conditions": condition}}))
                .failure()
                .is_some()
        };
        for (kind, status) in [
            ("Ready", "False"),
            ("Synced", "False"),
            ("Stalled", "True"),
            ("secrets.example.com/SecretReady", "False"),
        ] {
            assert!(failure(kind, status), "{kind}={status}");
        }
        for (kind, status) in
            [("Ready", "True"), ("Ready", "Unknown"), ("Stalled", "False"), ("Deleted", "False")]
        {
            assert!(!failure(kind, status), "{kind}={status}");
        }
    }
}
