//! The Secret that an agentk release names in its values, and the Secrets that it may have meant.

use super::agent::releases;
use super::{InventoryEntry, secret};
use crate::object::ObjectRef;
use crate::snapshot::kinds::HelmRelease;
use crate::snapshot::secret::ValueKind;
use crate::snapshot::{SecretShape, Snapshot, Why};

/// `config.secretName` of a release of the `gitlab-agent` chart.
pub struct NamedSecret<'s> {
    /// The release.
    pub release: &'s HelmRelease,
    /// The Secret that it names.
    pub object: ObjectRef,
    /// That Secret; `Ok(None)` means that it does not exist.
    pub shape: Result<Option<&'s SecretShape>, Why>,
}

/// Another Secret that may be the right one.
#[derive(Debug, PartialEq, Eq)]
pub struct Candidate<'s> {
    /// Its name, in the same namespace.
    pub name: &'s str,
    /// What is known of it, as the end of "Secret NAME …".
    pub state: &'static str,
}

/// The Secrets that agentk releases name. A release that names none, or holds its token inline, is not among them.
pub fn named(s: &Snapshot) -> impl Iterator<Item = NamedSecret<'_>> {
    releases(s).filter(|r| !r.spec.values.inline_token).filter_map(move |release| {
        let name = release.spec.values.secret_name.as_deref().filter(|name| !name.is_empty())?;
        let object = ObjectRef::new("Secret", namespace(release), name);
        let shape = secret(s, &object.namespace, name);
        Some(NamedSecret { release, object, shape })
    })
}

fn namespace(release: &HelmRelease) -> &str {
    match release.spec.target_namespace.as_str() {
        "" => &release.metadata.namespace,
        target => target,
    }
}

impl NamedSecret<'_> {
    /// Whether the release names a Secret that does not exist while another one could be meant: then the name is
    /// wrong, not the Secret.
    pub fn is_misnamed(&self, s: &Snapshot) -> bool {
        matches!(self.shape, Ok(None)) && self.meant(s).is_some()
    }

    /// The Secret of the same namespace that is meant: one that holds an agent token, else one of which only the
    /// name was seen, in an inventory, and which is called like it (Kustomize adds a hash to a generated name).
    pub fn meant<'s>(&self, s: &'s Snapshot) -> Option<Candidate<'s>> {
        let here =
            |namespace: &str, name: &str| namespace == self.object.namespace && name != self.object.name;
        let holds_token = s.secrets.iter().filter(|e| here(&e.namespace, &e.name)).find(|e| {
            let shape = e.shape.get().ok().and_then(Option::as_ref);
            shape.and_then(|s| s.keys.get("token")).is_some_and(|token| token.kind == ValueKind::AgentToken)
        });
        let seen = |name: &str| s.secrets.iter().any(|e| here(&e.namespace, name) && e.name == name);
        let hashed = format!("{}-", self.object.name);
        let applied =
            inventories(s).filter_map(|entry| Some((entry.object()?, entry))).find(|(object, _)| {
                object.kind == "Secret"
                    && here(&object.namespace, &object.name)
                    && object.name.starts_with(&hashed)
                    && !seen(&object.name)
            });
        match holds_token {
            Some(entry) => Some(Candidate { name: &entry.name, state: "holds an agent token" }),
            None => applied.and_then(|(_, entry)| {
                Some(Candidate { name: entry.id.split('_').nth(1)?, state: "is applied there" })
            }),
        }
    }
}

/// What was applied to this cluster.
fn inventories(s: &Snapshot) -> impl Iterator<Item = &InventoryEntry> {
    let here = super::inventories(s).filter(|(_, _, elsewhere)| !elsewhere);
    here.flat_map(|(_, inventory, _)| &inventory.entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn meant(s: &Snapshot) -> Option<Candidate<'_>> {
        named(s).next().expect("the fixture's release names a Secret").meant(s)
    }

    #[test]
    fn a_secret_with_an_agent_token_is_meant() {
        let mut s = fixture::healthy();
        assert_eq!(meant(&s), None, "the named one is no other");
        s.helm_releases.items[0].spec.values.secret_name = Some("gitlab-token".to_owned());
        assert_eq!(meant(&s), Some(Candidate { name: "gitlab-agent-token", state: "holds an agent token" }));
        s.helm_releases.items[0].spec.target_namespace = "elsewhere".to_owned();
        assert_eq!(meant(&s), None, "another namespace");
    }

    #[test]
    fn a_generated_name_of_an_inventory_is_meant() {
        let mut s = fixture::healthy();
        let id = |name: &str| InventoryEntry { id: format!("gitlab_{name}__Secret"), v: "v1".to_owned() };
        s.kustomizations.items[0].status.inventory.entries.push(id("other"));
        assert_eq!(meant(&s), None);
        s.kustomizations.items[0].status.inventory.entries.push(id("gitlab-agent-token-6b8hg2"));
        assert_eq!(
            meant(&s),
            Some(Candidate { name: "gitlab-agent-token-6b8hg2", state: "is applied there" })
        );
    }

    #[test]
    fn an_inline_token_names_no_secret() {
        let mut s = fixture::healthy();
        s.helm_releases.items[0].spec.values.inline_token = true;
        assert_eq!(named(&s).count(), 0);
    }
}
