//! The Secret that an agentk release names in its values, and the Secrets that it may have meant.

use std::collections::{BTreeSet, HashMap};

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

/// The Secrets that may be meant where a release names one that does not exist, each looked through once.
pub struct Candidates<'s> {
    /// Those that hold an agent token, by namespace.
    holding: HashMap<&'s str, Vec<&'s str>>,
    /// Those of which only the name was seen, in an inventory, by namespace and name.
    applied: BTreeSet<(String, String)>,
}

impl<'s> Candidates<'s> {
    /// Those of a snapshot. Where each release names a Secret that exists, nothing is looked through.
    pub fn of(s: &'s Snapshot) -> Self {
        let mut found = Self { holding: HashMap::new(), applied: BTreeSet::new() };
        if named(s).all(|named| matches!(named.shape, Ok(Some(_)))) {
            return found;
        }
        for entry in &s.secrets {
            let shape = entry.shape.get().ok().and_then(Option::as_ref);
            let token = shape.and_then(|shape| shape.keys.get("token"));
            if token.is_some_and(|token| token.kind == ValueKind::AgentToken) {
                found.holding.entry(&entry.namespace).or_default().push(&entry.name);
            }
        }
        let objects = inventories(s).filter_map(InventoryEntry::object).filter(|o| o.kind == "Secret");
        found.applied = objects.map(|o| (o.namespace, o.name)).collect();
        for entry in &s.secrets {
            found.applied.remove(&(entry.namespace.clone(), entry.name.clone()));
        }
        found
    }

    /// The Secret of the same namespace that is meant: one that holds an agent token, else one of which only the
    /// name was seen, in an inventory, and which is called like it (Kustomize adds a hash to a generated name).
    pub fn meant(&self, named: &NamedSecret<'_>) -> Option<Candidate<'_>> {
        let (namespace, name) = (named.object.namespace.as_str(), named.object.name.as_str());
        let mut holding = self.holding.get(namespace).into_iter().flatten().copied();
        if let Some(name) = holding.find(|other| *other != name) {
            return Some(Candidate { name, state: "holds an agent token" });
        }
        let hashed = (namespace.to_owned(), format!("{name}-"));
        let (of, name) = self.applied.range(&hashed..).next()?;
        let is_meant = of == namespace && name.starts_with(&hashed.1);
        is_meant.then_some(Candidate { name, state: "is applied there" })
    }

    /// Whether the release names a Secret that does not exist while another one could be meant: then the name is
    /// wrong, not the Secret.
    pub fn is_misnamed(&self, named: &NamedSecret<'_>) -> bool {
        matches!(named.shape, Ok(None)) && self.meant(named).is_some()
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
    use crate::snapshot::Observed;

    fn meant(s: &Snapshot) -> Option<(String, &'static str)> {
        let named = named(s).next().expect("the fixture's release names a Secret");
        Candidates::of(s).meant(&named).map(|candidate| (candidate.name.to_owned(), candidate.state))
    }

    #[test]
    fn a_secret_with_an_agent_token_is_meant() {
        let mut s = fixture::healthy();
        assert_eq!(meant(&s), None, "the named one is no other");
        s.helm_releases.items[0].spec.values.secret_name = Some("gitlab-token".to_owned());
        assert_eq!(meant(&s), Some(("gitlab-agent-token".to_owned(), "holds an agent token")));
        s.helm_releases.items[0].spec.target_namespace = "elsewhere".to_owned();
        assert_eq!(meant(&s), None, "another namespace");
    }

    #[test]
    fn a_generated_name_of_an_inventory_is_meant() {
        let mut s = fixture::healthy();
        let id = |name: &str| InventoryEntry { id: format!("gitlab_{name}__Secret"), v: "v1".to_owned() };
        s.kustomizations.items[0].status.inventory.entries.push(id("other"));
        let named = s.secrets.iter_mut().find(|entry| entry.name == "gitlab-agent-token");
        named.expect("the named one").shape = Observed::Known(None);
        assert_eq!(meant(&s), None);
        s.kustomizations.items[0].status.inventory.entries.push(id("gitlab-agent-token-6b8hg2"));
        assert_eq!(meant(&s), Some(("gitlab-agent-token-6b8hg2".to_owned(), "is applied there")));
    }

    #[test]
    fn an_inline_token_names_no_secret() {
        let mut s = fixture::healthy();
        s.helm_releases.items[0].spec.values.inline_token = true;
        assert_eq!(named(&s).count(), 0);
    }
}
