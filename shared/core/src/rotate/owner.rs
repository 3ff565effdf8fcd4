//! Who else writes a Secret, by the signs on it, and when they take a change back.

use serde::Deserialize;

use super::journal::HOLD;
use crate::object::ObjectRef;

/// What is read of a Secret's metadata. No value is among it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Annotations.
    pub annotations: std::collections::BTreeMap<String, String>,
    /// Owners.
    pub owner_references: Vec<OwnerReference>,
}

/// One owner reference.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OwnerReference {
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// Something that writes the Secret too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The object that stands for it, where it is known.
    pub object: ObjectRef,
    /// When it takes a change back, as the end of a sentence.
    pub reverts: &'static str,
    /// Where the value has to be changed instead, as the end of "change it …".
    pub instead: &'static str,
    /// [`HOLD`]`: disabled` on the live object holds it off.
    pub can_be_held: bool,
}

/// Everything that would take a change of this Secret back. None is not proof: some leave no sign, which is why the
/// machine also proves it.
pub fn owners(secret: &Metadata) -> Vec<Owner> {
    let mut found = Vec::new();
    found.extend(kustomization(secret));
    found.extend(release(secret));
    found.extend(secret.owner_references.iter().filter_map(|owner| controller(secret, owner)));
    found.extend(argo(secret));
    found
}

fn labelled(secret: &Metadata, group: &str, kind: &str) -> Option<ObjectRef> {
    let label = |key: &str| secret.labels.get(&format!("{group}/{key}"));
    Some(ObjectRef::new(kind, label("namespace")?, label("name")?))
}

fn kustomization(secret: &Metadata) -> Option<Owner> {
    let object = labelled(secret, "kustomize.toolkit.fluxcd.io", "Kustomization")?;
    let annotation = |key: &str| secret.annotations.get(key).map(|v| v.to_lowercase());
    let held = annotation(HOLD).is_some_and(|v| v == "disabled")
        || annotation("kustomize.toolkit.fluxcd.io/ssa").is_some_and(|v| v == "ignore");
    if held {
        return None;
    }
    let generated = secret.name.rsplit_once('-').is_some_and(|(_, hash)| {
        hash.len() == 10 && hash.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    });
    let (reverts, instead) = if generated {
        (
            "its secretGenerator makes a Secret of another name with the old value at the next build",
            "in the generator's input in Git",
        )
    } else {
        ("it writes the value that is in Git at its next reconciliation", "in Git")
    };
    Some(Owner { object, reverts, instead, can_be_held: !generated })
}

fn release(secret: &Metadata) -> Option<Owner> {
    let by_flux = labelled(secret, "helm.toolkit.fluxcd.io", "HelmRelease");
    let by_helm = || {
        let get = |key: &str| secret.annotations.get(key);
        Some(ObjectRef::new(
            "Helm release",
            get("meta.helm.sh/release-namespace")?,
            get("meta.helm.sh/release-name")?,
        ))
    };
    let object = by_flux.or_else(by_helm)?;
    Some(Owner {
        object,
        reverts: "the chart renders it again at the next upgrade, or at once where drift is corrected",
        instead: "in the release's values, or better in a Secret of its own that the values name (config.secretName)",
        can_be_held: false,
    })
}

fn controller(secret: &Metadata, owner: &OwnerReference) -> Option<Owner> {
    let (reverts, instead) = match owner.kind.as_str() {
        "SealedSecret" => (
            "its controller writes the sealed value again when it restarts or the SealedSecret changes",
            "by sealing the new value",
        ),
        "ExternalSecret" => (
            "its operator writes the stored value again at once",
            "in the store that the ExternalSecret reads",
        ),
        "SopsSecret" => ("its operator writes the encrypted value again", "in the encrypted SopsSecret"),
        _ => return None,
    };
    let object = ObjectRef::new(&owner.kind, &secret.namespace, &owner.name);
    Some(Owner { object, reverts, instead, can_be_held: false })
}

fn argo(secret: &Metadata) -> Option<Owner> {
    let tracked = secret.annotations.get("argocd.argoproj.io/tracking-id");
    let name = tracked
        .and_then(|id| id.split(':').next())
        .or_else(|| secret.labels.get("argocd.argoproj.io/instance").map(String::as_str))?;
    Some(Owner {
        object: ObjectRef::new("Application", "", name),
        reverts: "Argo CD writes the value that is in Git at its next sync",
        instead: "in Git",
        can_be_held: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str) -> Vec<(String, bool)> {
        let secret: Metadata = serde_json::from_str(json).expect("metadata");
        owners(&secret).into_iter().map(|o| (o.object.to_string(), o.can_be_held)).collect()
    }

    #[test]
    fn each_owner_is_known_by_its_sign() {
        for (metadata, owner, held) in [
            (
                r#"{"name": "t", "labels": {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}}"#,
                "Kustomization flux-system/apps",
                true,
            ),
            (
                r#"{"name": "t-2f8k4c6h7b", "labels": {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}}"#,
                "Kustomization flux-system/apps",
                false,
            ),
            (
                r#"{"name": "t", "labels": {"helm.toolkit.fluxcd.io/name": "gitlab-agent", "helm.toolkit.fluxcd.io/namespace": "gitlab"}}"#,
                "HelmRelease gitlab/gitlab-agent",
                false,
            ),
            (
                r#"{"name": "t", "annotations": {"meta.helm.sh/release-name": "agent", "meta.helm.sh/release-namespace": "gitlab"}}"#,
                "Helm release gitlab/agent",
                false,
            ),
            (
                r#"{"name": "t", "namespace": "n", "ownerReferences": [{"kind": "SealedSecret", "name": "s"}]}"#,
                "SealedSecret n/s",
                false,
            ),
            (
                r#"{"name": "t", "namespace": "n", "ownerReferences": [{"kind": "ExternalSecret", "name": "s"}]}"#,
                "ExternalSecret n/s",
                false,
            ),
            (
                r#"{"name": "t", "namespace": "n", "ownerReferences": [{"kind": "SopsSecret", "name": "s"}]}"#,
                "SopsSecret n/s",
                false,
            ),
            (
                r#"{"name": "t", "annotations": {"argocd.argoproj.io/tracking-id": "apps:/Secret:gitlab/t"}}"#,
                "Application apps",
                false,
            ),
        ] {
            assert_eq!(found(metadata), [(owner.to_owned(), held)], "{metadata}");
        }
    }

    #[test]
    fn a_secret_of_nobody_has_none() {
        assert!(found(r#"{"name": "t", "labels": {"app": "x"}, "ownerReferences": [{"kind": "Deployment", "name": "d"}]}"#).is_empty());
    }

    #[test]
    fn what_is_held_off_does_not_count() {
        let labels = r#""labels": {"kustomize.toolkit.fluxcd.io/name": "a", "kustomize.toolkit.fluxcd.io/namespace": "f"}"#;
        for (annotation, counts) in [
            (r#""kustomize.toolkit.fluxcd.io/reconcile": "disabled""#, false),
            (r#""kustomize.toolkit.fluxcd.io/ssa": "Ignore""#, false),
            (r#""kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent""#, true),
        ] {
            let metadata = format!(r#"{{"name": "t", {labels}, "annotations": {{{annotation}}}}}"#);
            assert_eq!(!found(&metadata).is_empty(), counts, "{annotation}");
        }
    }
}
