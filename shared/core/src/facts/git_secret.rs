//! Secrets that Flux applies as they are in Git.

use super::{Facts, Kustomization, SecretShape, ValueKind};
use crate::object::ObjectRef;

/// A Secret in the inventory of a Kustomization that decrypts nothing.
pub struct GitSecret<'s> {
    /// The Secret.
    pub object: ObjectRef,
    /// Who applied it.
    pub by: &'s Kustomization,
}

/// Who makes Secrets of something encrypted, or of something kept elsewhere, by the kind of the owner.
const ENCRYPTING: &[&str] = &[
    "SealedSecret",
    "ExternalSecret",
    "SopsSecret",
    "VaultStaticSecret",
    "VaultDynamicSecret",
    "OnePasswordItem",
    "InfisicalSecret",
];

impl<'s> Facts<'s> {
    /// Every Secret of this cluster that a Kustomization applied and did not decrypt.
    pub fn secrets_from_git(&self) -> Vec<GitSecret<'s>> {
        let plain = |k: &&Kustomization| k.spec.decryption.is_none() && k.spec.kube_config.is_none();
        let kustomizations = self.snapshot.kustomizations.items.iter().filter(plain);
        let found = kustomizations.flat_map(|by| {
            let entries = by.status.inventory.entries.iter().filter(|entry| entry.id.ends_with("__Secret"));
            entries.filter_map(move |entry| Some(GitSecret { object: entry.object()?, by }))
        });
        found.collect()
    }
}

/// Whether a Secret holds something that must not be read: other than nothing, placeholders and certificates.
pub fn holds_a_secret(secret: &SecretShape) -> bool {
    let encrypted = secret.metadata.owner_references.iter().any(|o| ENCRYPTING.contains(&o.kind.as_str()));
    // Kubernetes fills such a Secret itself.
    let filled = secret.kind == "kubernetes.io/service-account-token";
    let public =
        [ValueKind::Empty, ValueKind::Placeholder, ValueKind::Certificate, ValueKind::DeployTokenUser];
    let known = ["username", "known_hosts", "ca.crt", "caFile", "tls.crt", "identity.pub", "address"];
    let hidden = secret
        .keys
        .iter()
        .any(|(key, value)| !public.contains(&value.kind) && !known.contains(&key.as_str()));
    !encrypted && !filled && hidden
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Decryption, InventoryEntry, KeyShape, OwnerReference, RemoteCluster, Snapshot};
    use crate::fixture;

    fn applied(s: &mut Snapshot) {
        let entry = |id: &str| InventoryEntry { id: id.to_owned(), v: "v1".to_owned() };
        let entries = &mut s.kustomizations.items[0].status.inventory.entries;
        entries.extend([entry("gitlab_gitlab-agent-token__Secret"), entry("gitlab_x_example.com_Secret")]);
    }

    fn names(s: &Snapshot) -> Vec<String> {
        Facts::derive(s).secrets_from_git().into_iter().map(|f| f.object.to_string()).collect()
    }

    #[test]
    fn secrets_of_an_inventory_without_decryption_are_found() {
        let mut s = fixture::healthy();
        assert!(names(&s).is_empty());
        applied(&mut s);
        assert_eq!(names(&s), ["Secret gitlab/gitlab-agent-token"]);
        s.kustomizations.items[0].spec.kube_config = Some(RemoteCluster::default());
        assert!(names(&s).is_empty(), "another cluster");
        s.kustomizations.items[0].spec.kube_config = None;
        s.kustomizations.items[0].spec.decryption =
            Some(Decryption { provider: "sops".to_owned(), ..Decryption::default() });
        assert!(names(&s).is_empty());
    }

    #[test]
    fn certificates_and_what_others_fill_are_no_secret() {
        let mut shape = SecretShape::default();
        assert!(!holds_a_secret(&shape));
        shape.keys.insert("ca.crt".to_owned(), KeyShape::of(b"-----BEGIN CERTIFICATE-----", b""));
        shape.keys.insert("token".to_owned(), KeyShape::of(b"<your-token-here>", b""));
        assert!(!holds_a_secret(&shape));
        shape.keys.insert("token".to_owned(), KeyShape::of(b"opaque", b""));
        assert!(holds_a_secret(&shape));
        shape.metadata.owner_references = vec![OwnerReference {
            kind: "SealedSecret".to_owned(),
            name: "x".to_owned(),
            ..OwnerReference::default()
        }];
        assert!(!holds_a_secret(&shape));
    }
}
