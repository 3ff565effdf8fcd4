//! Where a Secret comes from: whoever makes it writes it again, so what is written into it does not last.

use super::Remedy;
use crate::facts::{Facts, SecretShape};
use crate::object::ObjectRef;

/// The maker of a Secret.
pub(in crate::assess) struct Origin {
    /// What it is and where to change the value, as the end of a sentence.
    place: String,
    /// The Flux object that applies it, where one does.
    applier: Option<ObjectRef>,
}

/// Who makes a Secret, by its owner, its labels, or the inventory that holds it; none where a person made it.
pub(in crate::assess) fn origin(
    facts: &Facts<'_>,
    secret: &ObjectRef,
    shape: Option<&SecretShape>,
) -> Option<Origin> {
    let meta = shape.map(|shape| &shape.metadata);
    let owner = |kind: &str| {
        let owners = meta.into_iter().flat_map(|m| &m.owner_references);
        owners.into_iter().find(|o| o.kind == kind).map(|o| format!("{kind} {}/{}", secret.namespace, o.name))
    };
    let label = |key: &str| meta.and_then(|m| m.label(key));
    let flux = |kind: &str, group: &str| {
        let (name, namespace) = label(&format!("{group}/name")).zip(label(&format!("{group}/namespace")))?;
        Some(ObjectRef::new(kind, namespace, name))
    };
    let place = |place: String| Some(Origin { place, applier: None });
    if let Some(owner) = owner("ExternalSecret") {
        return place(format!("{owner} copies it from a secret store: change the value there"));
    }
    if let Some(owner) = owner("SealedSecret") {
        return place(format!("{owner} makes it: seal the new value with kubeseal and commit it"));
    }
    let kustomization = flux("Kustomization", "kustomize.toolkit.fluxcd.io");
    let applied = || facts.owners().get(secret).cloned();
    let release = flux("HelmRelease", "helm.toolkit.fluxcd.io");
    let applier = kustomization.or(release).or_else(applied)?;
    let how = match applier.kind.as_str() {
        "HelmRelease" => {
            "change its values in Git (config.secretName of a Secret outside the chart is better)"
        }
        _ => "change it in Git, encrypted as the others there are (SOPS)",
    };
    Some(Origin { place: format!("{applier} applies it: {how}"), applier: Some(applier) })
}

impl Origin {
    /// What to do about a Secret that is wrong or missing. Who applies a missing one from Git makes it again.
    pub(in crate::assess) fn remedy(&self, exists: bool) -> Remedy {
        let text = format!(
            "{}; what is written into the Secret itself does not last; then restart agentk",
            self.place
        );
        match &self.applier {
            Some(applier) if !exists => {
                Remedy::say(format!("have it made again; where it does not come back: {text}"))
                    .reconcile(applier)
            }
            Some(applier) => Remedy::say(text).reconcile(applier),
            None => Remedy::say(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{InventoryEntry, Meta};
    use crate::fixture;

    fn told(metadata: &str) -> Option<String> {
        let s = fixture::healthy();
        let shape = SecretShape {
            metadata: serde_json::from_str::<Meta>(metadata).expect("metadata"),
            ..SecretShape::default()
        };
        let secret = ObjectRef::new("Secret", "gitlab", "gitlab-agent-token");
        origin(&Facts::derive(&s), &secret, Some(&shape)).map(|o| o.place)
    }

    #[test]
    fn every_maker_is_told() {
        for (metadata, place) in [
            (
                r#"{"ownerReferences":[{"kind":"ExternalSecret","name":"x"}]}"#,
                "ExternalSecret gitlab/x copies it",
            ),
            (r#"{"ownerReferences":[{"kind":"SealedSecret","name":"x"}]}"#, "SealedSecret gitlab/x makes it"),
            (
                r#"{"labels":{"kustomize.toolkit.fluxcd.io/name":"apps","kustomize.toolkit.fluxcd.io/namespace":"flux-system"}}"#,
                "Kustomization flux-system/apps applies it",
            ),
            (
                r#"{"labels":{"helm.toolkit.fluxcd.io/name":"agent","helm.toolkit.fluxcd.io/namespace":"gitlab"}}"#,
                "HelmRelease gitlab/agent applies it",
            ),
        ] {
            let found = told(metadata).expect(metadata);
            assert!(found.starts_with(place), "{found}");
        }
        assert_eq!(told("{}"), None);
    }

    #[test]
    fn a_missing_secret_is_found_in_an_inventory() {
        let mut s = fixture::healthy();
        let entry = InventoryEntry { id: "gitlab_gitlab-agent-token__Secret".to_owned(), v: "v1".to_owned() };
        s.kustomizations.items[0].status.inventory.entries.push(entry);
        let secret = ObjectRef::new("Secret", "gitlab", "gitlab-agent-token");
        let found = origin(&Facts::derive(&s), &secret, None).expect("an owner").remedy(false);
        assert!(found.text.starts_with("have it made again"), "{}", found.text);
        assert!(
            found.lines()[0].contains("kustomization.kustomize.toolkit.fluxcd.io/flux-system"),
            "{found:?}"
        );
    }
}
