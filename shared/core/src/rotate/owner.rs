//! Who else writes a Secret, by the signs on it, and when they revert a change.
//!
//! A sign is an owner reference, a label, an annotation, or a field manager of the data. A manager that is not known to be a
//! person's tool counts as an owner: a refusal costs one command, a reverted token costs the connection.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::journal::HOLD;
use super::owner_signs::{KEEPERS, MANAGERS, PEOPLE, SIGNS, Sign};
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
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Owners.
    pub owner_references: Vec<OwnerReference>,
    /// Who wrote which fields.
    pub managed_fields: Vec<Managed>,
}

/// One owner reference.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OwnerReference {
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// It manages the object: at most one does.
    pub controller: bool,
}

/// One field manager, as far as the data goes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Managed {
    /// Its name.
    pub manager: String,
    /// It owns a key of the data.
    #[serde(rename = "fieldsV1", deserialize_with = "owns_data")]
    pub data: bool,
}

/// `f:data` with a key in it. The bare `"."` is left behind by whoever created the Secret, also when every key is another's.
fn owns_data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let fields = Option::<Value>::deserialize(deserializer)?.unwrap_or_default();
    // Without a key in it the map is owned whole.
    let owned = |part: &str| {
        let keys = fields[part].as_object();
        keys.is_some_and(|keys| keys.is_empty() || keys.keys().any(|k| k.starts_with("f:")))
    };
    Ok(owned("f:data") || owned("f:stringData"))
}

/// Something that writes the Secret too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The object that stands for it, where it is known.
    pub object: ObjectRef,
    /// When it reverts a change, as the end of a sentence.
    pub reverts: &'static str,
    /// Where the value has to be changed instead, as the end of "change it …".
    pub instead: &'static str,
    /// [`HOLD`]`: disabled` on the live object pauses it.
    pub can_be_held: bool,
}

impl Owner {
    fn of(kind: &str, namespace: &str, name: &str, reverts: &'static str, instead: &'static str) -> Self {
        Self { object: ObjectRef::new(kind, namespace, name), reverts, instead, can_be_held: false }
    }
}

/// Everything that would revert a change of this Secret. None is not proof: some leave no sign, which is why the machine also
/// proves it.
pub fn owners(secret: &Metadata) -> Vec<Owner> {
    let mut found = Vec::new();
    found.extend(kustomization(secret));
    found.extend(release(secret));
    found.extend(secret.owner_references.iter().filter_map(|owner| controller(secret, owner)));
    found.extend(argo(secret));
    if let Some(owner) = managed_by(secret).filter(|_| found.is_empty()) {
        found.push(owner);
    }
    for sign in SIGNS {
        if let Some(owner) = signed(secret, sign).filter(|new| !covered(&found, &new.object.kind)) {
            found.push(owner);
        }
    }
    for managed in secret.managed_fields.iter().filter(|m| m.data) {
        if let Some(owner) = manager(secret, &managed.manager, &found)
            && !found.contains(&owner)
        {
            found.push(owner);
        }
    }
    found
}

/// Why it cannot be told who wrote the values: what has no managed fields was restored or written around them, and
/// `before-first-apply` is whoever wrote before they were kept.
pub fn unknown_writer(secret: &Metadata) -> Option<&'static str> {
    let data = |m: &&Managed| m.data;
    let mut writers = secret.managed_fields.iter().filter(data).peekable();
    if writers.peek().is_none() {
        return Some("it has no managed fields for its data");
    }
    writers
        .any(|m| m.manager == "before-first-apply")
        .then_some("its data was written before managed fields were kept (before-first-apply)")
}

/// A custom resource that writes a Secret and left no sign on it.
pub fn by_name(object: ObjectRef) -> Owner {
    let instead = match object.kind.as_str() {
        "ExternalSecret" => "in the store that the ExternalSecret reads",
        _ => "where that object takes the value from",
    };
    let reverts = "its operator writes the stored value again at its next refresh";
    Owner { object, reverts, instead, can_be_held: false }
}

fn covered(found: &[Owner], kind: &str) -> bool {
    found.iter().any(|owner| owner.object.kind == kind)
}

fn labelled(secret: &Metadata, group: &str, kind: &str) -> Option<ObjectRef> {
    let label = |key: &str| secret.labels.get(&format!("{group}/{key}"));
    Some(ObjectRef::new(kind, label("namespace")?, label("name")?))
}

/// The Kustomization was told to leave the live object alone.
fn is_held(secret: &Metadata) -> bool {
    let annotation = |key: &str| secret.annotations.get(key).map(|v| v.to_lowercase());
    annotation(HOLD).is_some_and(|v| v == "disabled")
        || annotation("kustomize.toolkit.fluxcd.io/ssa").is_some_and(|v| v == "ignore")
}

fn kustomization(secret: &Metadata) -> Option<Owner> {
    let object = labelled(secret, "kustomize.toolkit.fluxcd.io", "Kustomization")?;
    if is_held(secret) {
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

/// What an owner reference means: whatever may write Secrets is taken for a writer, and so is any controller.
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
        kind if owner.controller || !KEEPERS.contains(&kind) => (
            "its controller writes the Secret again at its next reconciliation",
            "where that object takes the value from",
        ),
        _ => return None,
    };
    Some(Owner::of(&owner.kind, &secret.namespace, &owner.name, reverts, instead))
}

fn argo(secret: &Metadata) -> Option<Owner> {
    let tracked = secret.annotations.get("argocd.argoproj.io/tracking-id");
    let name = tracked
        .and_then(|id| id.split(':').next())
        .or_else(|| mark(secret, "argocd.argoproj.io/instance").map(String::as_str))?;
    Some(Owner::of(
        "Application",
        "",
        name,
        "Argo CD writes the value that is in Git at its next sync",
        "in Git",
    ))
}

/// A label, or an annotation in its place.
fn mark<'a>(secret: &'a Metadata, key: &str) -> Option<&'a String> {
    secret.labels.get(key).or_else(|| secret.annotations.get(key))
}

/// What the recommended label says that it is managed by, where that is no person's tool.
fn managed_by(secret: &Metadata) -> Option<Owner> {
    let name = mark(secret, "app.kubernetes.io/managed-by")?;
    let lower = name.to_lowercase();
    let by_hand = lower.is_empty() || lower == "manual" || PEOPLE.contains(&lower.as_str());
    let reverts = "its label app.kubernetes.io/managed-by says that this writes it";
    (!by_hand).then(|| Owner::of("manager", "", name, reverts, "where it takes the value from"))
}

/// The owner that a label or annotation names. A value such as `namespace/name` says which object it is.
fn signed(secret: &Metadata, sign: &Sign) -> Option<Owner> {
    let hit = |(key, _): &(&String, &String)| match sign.key.strip_suffix('*') {
        Some(prefix) => key.starts_with(prefix),
        None => key.as_str() == sign.key,
    };
    let (_, value) = secret.labels.iter().chain(&secret.annotations).find(hit)?;
    let named = value.split_once('/').filter(|_| sign.names);
    let (namespace, name) = named.unwrap_or_default();
    Some(Owner::of(sign.kind, namespace, name, sign.reverts, sign.instead))
}

/// The owner that a field manager of the data stands for; none for people's tools, and for what is an owner already.
fn manager(secret: &Metadata, name: &str, found: &[Owner]) -> Option<Owner> {
    if PEOPLE.contains(&name) {
        return None;
    }
    if let Some(external) = name.strip_prefix("externalsecrets.external-secrets.io/") {
        let (reverts, instead) =
            ("its operator writes the stored value again", "in the store that the ExternalSecret reads");
        let owner = Owner::of("ExternalSecret", &secret.namespace, external, reverts, instead);
        return (!found.iter().any(|o| o.object == owner.object)).then_some(owner);
    }
    if name == "kustomize-controller" && (is_held(secret) || covered(found, "Kustomization")) {
        return None;
    }
    let known = MANAGERS.iter().find(|(manager, ..)| *manager == name);
    if known.is_some_and(|(_, kinds, _)| kinds.iter().any(|kind| covered(found, kind))) {
        return None;
    }
    let instead = known.map_or("where it takes the value from", |(.., instead)| *instead);
    Some(Owner::of(
        "field manager",
        "",
        name,
        "it wrote the data that is there, and is not known to leave a change of somebody else alone",
        instead,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str) -> Vec<(String, bool)> {
        let secret: Metadata = serde_json::from_str(json).expect("metadata");
        owners(&secret).into_iter().map(|o| (o.object.to_string(), o.can_be_held)).collect()
    }

    fn labels(key: &str, value: &str) -> String {
        format!(r#"{{"name": "t", "namespace": "n", "labels": {{"{key}": "{value}"}}}}"#)
    }

    fn annotations(key: &str, value: &str) -> String {
        format!(r#"{{"name": "t", "namespace": "n", "annotations": {{"{key}": "{value}"}}}}"#)
    }

    fn references(kind: &str, controller: bool) -> String {
        format!(
            r#"{{"name": "t", "namespace": "n", "ownerReferences": [{{"kind": "{kind}", "name": "s", "controller": {controller}}}]}}"#
        )
    }

    /// The fields as the API server writes them: the token's key and the `.` of whoever created it.
    fn managed(manager: &str) -> String {
        format!(
            r#"{{"name": "t", "namespace": "n", "managedFields": [{{"manager": "{manager}", "fieldsV1": {{"f:data": {{".": {{}}, "f:token": {{}}}}}}}}]}}"#
        )
    }

    #[test]
    fn each_owner_is_known_by_its_sign() {
        let flux = |group: &str, more: &str| {
            format!(
                r#"{{"name": "{more}", "labels": {{"{group}/name": "apps", "{group}/namespace": "flux-system"}}}}"#
            )
        };
        for (metadata, owner, held) in [
            (flux("kustomize.toolkit.fluxcd.io", "t"), "Kustomization flux-system/apps", true),
            (flux("kustomize.toolkit.fluxcd.io", "t-2f8k4c6h7b"), "Kustomization flux-system/apps", false),
            (flux("helm.toolkit.fluxcd.io", "t"), "HelmRelease flux-system/apps", false),
            (
                r#"{"annotations": {"meta.helm.sh/release-name": "agent", "meta.helm.sh/release-namespace": "gitlab"}}"#.to_owned(),
                "Helm release gitlab/agent",
                false,
            ),
            (references("SealedSecret", false), "SealedSecret n/s", false),
            (references("ExternalSecret", false), "ExternalSecret n/s", false),
            (references("SopsSecret", false), "SopsSecret n/s", false),
            (references("VaultStaticSecret", true), "VaultStaticSecret n/s", false),
            (references("VaultSecret", true), "VaultSecret n/s", false),
            (references("InfisicalSecret", true), "InfisicalSecret n/s", false),
            (references("Tenant", true), "Tenant n/s", false),
            (annotations("argocd.argoproj.io/tracking-id", "apps:/Secret:gitlab/t"), "Application apps", false),
        ] {
            assert_eq!(found(&metadata), [(owner.to_owned(), held)], "{metadata}");
        }
    }

    /// Those that leave no owner reference.
    #[test]
    fn owners_without_a_reference_are_known_by_labels_annotations_and_managers() {
        for (metadata, word) in [
            (labels("reconcile.external-secrets.io/managed", "true"), "ExternalSecret"),
            (labels("reconcile.external-secrets.io/created-by", "4f2a"), "ExternalSecret"),
            (annotations("reconcile.external-secrets.io/data-hash", "4f2a"), "ExternalSecret"),
            (managed("externalsecrets.external-secrets.io/agent-token"), "ExternalSecret n/agent-token"),
            (labels("secrets.hashicorp.com/vso-ownerRefUID", "u"), "Vault Secrets Operator"),
            (
                annotations("reflector.v1.k8s.emberstack.com/reflects", "platform/token"),
                "Reflector platform/token",
            ),
            (annotations("kubed.appscode.com/origin", "{}"), "Config Syncer"),
            (labels("kubed.appscode.com/origin.name", "token"), "Config Syncer"),
            (
                annotations("replicator.v1.mittwald.de/replicate-from", "platform/token"),
                "Replicator platform/token",
            ),
            (labels("generate.kyverno.io/policy-name", "clone"), "Kyverno"),
            (labels("agent.gitlab.com/id-7", ""), "GitLab-managed Kubernetes resources"),
            (annotations("agent.gitlab.com/template", "default"), "GitLab-managed Kubernetes resources"),
            (annotations("operator.1password.io/item-path", "vaults/x"), "1Password"),
            (labels("fluxcd.controlplane.io/name", "x"), "Flux Operator"),
            (labels("hnc.x-k8s.io/inherited-from", "parent"), "Hierarchical Namespace Controller"),
            (labels("work.karmada.io/name", "x"), "Karmada"),
            (annotations("clustersecret.io", "x"), "ClusterSecret"),
            (labels("projectsveltos.io/hash", "x"), "Sveltos"),
            (labels("addonmanager.kubernetes.io/mode", "Reconcile"), "addon manager"),
            (labels("app.kubernetes.io/managed-by", "Helm"), "manager Helm"),
            (labels("app.kubernetes.io/managed-by", "hashicorp-vso"), "manager hashicorp-vso"),
            (managed("kubectl-cronjob-sync"), "field manager kubectl-cronjob-sync"),
            (managed("kubectl-sealed"), "field manager kubectl-sealed"),
            (
                r#"{"managedFields": [{"manager": "sync", "fieldsV1": {"f:data": {}}}]}"#.to_owned(),
                "field manager sync",
            ),
            (references("VaultStaticSecret", false), "VaultStaticSecret"),
            (references("Application", false), "Application"),
            (references("Terraform", false), "Terraform"),
            (labels("secrets-store.csi.k8s.io/managed", "true"), "Secrets Store CSI"),
            (labels("kapp.k14s.io/app", "1"), "kapp"),
            (annotations("sealedsecrets.bitnami.com/managed", "true"), "SealedSecret"),
            (annotations("configsync.gke.io/resource-id", "x"), "Config Sync"),
            (labels("objectset.rio.cattle.io/hash", "x"), "Fleet"),
            (managed("Terraform"), "field manager Terraform"),
            (managed("pulumi-kubernetes-4f2a"), "field manager pulumi"),
            (managed("kustomize-controller"), "field manager kustomize-controller"),
            (managed("helm"), "field manager helm"),
            (managed("argocd-controller"), "field manager argocd-controller"),
            (managed("vault-secrets-operator"), "field manager vault-secrets-operator"),
            (managed("agentk"), "field manager agentk"),
            (managed("manager"), "field manager manager"),
            (managed("our-own-token-sync"), "field manager our-own-token-sync"),
            (managed(""), "field manager"),
        ] {
            let found = found(&metadata);
            assert!(found.len() == 1 && found[0].0.contains(word), "{metadata}: {found:?}");
        }
    }

    #[test]
    fn people_and_this_program_are_no_owners() {
        for manager in [
            "kubectl-create",
            "kubectl-client-side-apply",
            "kubectl",
            "kubectl-edit",
            "kubectl-patch",
            "kubectl-last-applied",
            "before-first-apply",
            "flux",
            "glab",
            "k9s",
            "gitlab-agent-cli",
        ] {
            assert!(found(&managed(manager)).is_empty(), "{manager}");
        }
        let only_meta = r#"{"managedFields": [{"manager": "reloader", "fieldsV1": {"f:metadata": {"f:annotations": {}}, "f:data": {".": {}}}}]}"#;
        assert!(found(only_meta).is_empty(), "it owns no key of the data");
    }

    #[test]
    fn who_wrote_the_data_may_be_unknown() {
        let data = r#""fieldsV1": {"f:data": {"f:token": {}}}"#;
        for (managed, known) in [
            (format!(r#"[{{"manager": "kubectl", {data}}}]"#), true),
            (format!(r#"[{{"manager": "gitlab-agent-cli", {data}}}, {{"manager": "x"}}]"#), true),
            (format!(r#"[{{"manager": "some-operator", {data}}}]"#), true),
            (format!(r#"[{{"manager": "before-first-apply", {data}}}]"#), false),
            (
                format!(r#"[{{"manager": "kubectl", {data}}}, {{"manager": "before-first-apply", {data}}}]"#),
                false,
            ),
            (r#"[{"manager": "before-first-apply", "fieldsV1": {"f:metadata": {}}}]"#.to_owned(), false),
            (r#"[{"manager": "kubectl", "fieldsV1": {"f:data": {".": {}}}}]"#.to_owned(), false),
            (r#"[{"manager": "kubectl", "fieldsV1": null}]"#.to_owned(), false),
            ("[]".to_owned(), false),
            ("null".to_owned(), false),
        ] {
            let text = if managed == "null" {
                "{}".to_owned()
            } else {
                format!(r#"{{"managedFields": {managed}}}"#)
            };
            let metadata: Metadata = serde_json::from_str(&text).expect("metadata");
            assert_eq!(unknown_writer(&metadata).is_none(), known, "{managed}");
        }
    }

    #[test]
    fn one_owner_is_named_once() {
        let metadata = r#"{"name": "t", "namespace": "n",
            "labels": {"reconcile.external-secrets.io/managed": "true"},
            "ownerReferences": [{"kind": "ExternalSecret", "name": "t", "controller": true}],
            "managedFields": [{"manager": "externalsecrets.external-secrets.io/t", "fieldsV1": {"f:data": {"f:token": {}}}}]}"#;
        assert_eq!(found(metadata), [("ExternalSecret n/t".to_owned(), false)]);
        let metadata = r#"{"name": "t", "labels": {"kustomize.toolkit.fluxcd.io/name": "a", "kustomize.toolkit.fluxcd.io/namespace": "f"},
            "managedFields": [{"manager": "kustomize-controller", "fieldsV1": {"f:data": {"f:token": {}}}}]}"#;
        assert_eq!(found(metadata), [("Kustomization f/a".to_owned(), true)]);
    }

    #[test]
    fn a_secret_of_nobody_has_none() {
        assert!(found(r#"{"name": "t", "labels": {"app": "x"}, "ownerReferences": [{"kind": "Deployment", "name": "d"}]}"#).is_empty());
    }

    #[test]
    fn what_is_held_off_does_not_count() {
        let labels = r#""labels": {"kustomize.toolkit.fluxcd.io/name": "a", "kustomize.toolkit.fluxcd.io/namespace": "f"},
            "managedFields": [{"manager": "kustomize-controller", "fieldsV1": {"f:data": {"f:token": {}}}}]"#;
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
