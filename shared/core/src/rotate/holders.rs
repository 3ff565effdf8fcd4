//! Which objects read a Secret, and when. The rules are pure; what is looked at is read elsewhere.

use std::collections::BTreeMap;

use serde_json::Value;

use super::naming::{TEMPLATES, in_template, reads};
use crate::object::ObjectRef;

/// Labels.
pub type Labels = BTreeMap<String, String>;

/// When an object reads a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reading {
    /// Whenever it uses it: to pull an image.
    AtEachUse,
    /// At its start, or nobody knows when.
    AtStart,
}

/// One kind that may read a Secret.
#[derive(Clone, Copy, Debug)]
pub struct ReaderKind {
    /// Kind.
    pub kind: &'static str,
    /// Path of its API below the server: `/api/v1`, `/apis/apps/v1`.
    pub api: &'static str,
    /// Plural.
    pub plural: &'static str,
}

const fn reader(kind: &'static str, api: &'static str, plural: &'static str) -> ReaderKind {
    ReaderKind { kind, api, plural }
}

/// The kinds that are looked at in the Secret's namespace: all that runs pods, Flux, and operators that copy a Secret elsewhere.
pub const READER_KINDS: &[ReaderKind] = &[
    reader("Pod", "/api/v1", "pods"),
    reader("PodTemplate", "/api/v1", "podtemplates"),
    reader("ReplicationController", "/api/v1", "replicationcontrollers"),
    reader("ServiceAccount", "/api/v1", "serviceaccounts"),
    reader("Deployment", "/apis/apps/v1", "deployments"),
    reader("ReplicaSet", "/apis/apps/v1", "replicasets"),
    reader("StatefulSet", "/apis/apps/v1", "statefulsets"),
    reader("DaemonSet", "/apis/apps/v1", "daemonsets"),
    reader("Job", "/apis/batch/v1", "jobs"),
    reader("CronJob", "/apis/batch/v1", "cronjobs"),
    reader("GitRepository", "/apis/source.toolkit.fluxcd.io/v1", "gitrepositories"),
    reader("OCIRepository", "/apis/source.toolkit.fluxcd.io/v1", "ocirepositories"),
    reader("HelmRepository", "/apis/source.toolkit.fluxcd.io/v1", "helmrepositories"),
    reader("Bucket", "/apis/source.toolkit.fluxcd.io/v1", "buckets"),
    reader("Kustomization", "/apis/kustomize.toolkit.fluxcd.io/v1", "kustomizations"),
    reader("HelmRelease", "/apis/helm.toolkit.fluxcd.io/v2", "helmreleases"),
    reader("Provider", "/apis/notification.toolkit.fluxcd.io/v1beta3", "providers"),
    reader("Receiver", "/apis/notification.toolkit.fluxcd.io/v1", "receivers"),
    reader("ImageRepository", "/apis/image.toolkit.fluxcd.io/v1", "imagerepositories"),
    reader("PushSecret", "/apis/external-secrets.io/v1alpha1", "pushsecrets"),
    reader("Ingress", "/apis/networking.k8s.io/v1", "ingresses"),
];

/// ExternalSecrets write Secrets, and those of policy Merge leave no sign on one: they are always looked at.
pub const EXTERNAL: ReaderKind = reader("ExternalSecret", "/apis/external-secrets.io/v1", "externalsecrets");

/// The objects of one namespace that read a Secret there, each once, those that run its pods in the place of the pods.
/// `objects` are as the API server lists them, each with its kind.
pub fn readers(objects: &[(&str, Value)], secret: &str, labels: &Labels) -> Vec<(ObjectRef, Reading)> {
    let index = index(objects);
    let mut found: BTreeMap<ObjectRef, Reading> = BTreeMap::new();
    let mut made_by = Vec::new();
    for (kind, object) in objects.iter().filter(|(kind, object)| !is_over(kind, object)) {
        let chosen = || (*kind == "PushSecret" && is_chosen(object, labels)).then_some(Reading::AtStart);
        let reading = match (reads(kind, object, secret).or_else(chosen), *kind) {
            (None, _) => continue,
            (Some(_), "ImageRepository") => Reading::AtEachUse,
            (Some(reading), _) => reading,
        };
        made_by.extend(templates_of(object));
        let by = root(kind, object, &index);
        let known = found.entry(by).or_insert(reading);
        *known = (*known).max(reading);
    }
    let templates = objects.iter().filter(|(kind, _)| TEMPLATES.contains(kind));
    for (kind, object) in templates.filter(|(_, object)| in_template(object, secret)) {
        let template = root(kind, object, &Index::new());
        if !made_by.contains(&template) {
            found.entry(template).or_insert(Reading::AtStart);
        }
    }
    found.into_iter().collect()
}

/// Objects by kind and name.
pub type Index<'a> = BTreeMap<(&'a str, String), &'a Value>;

/// Objects of one namespace, to find what stands above one.
pub fn index<'a>(objects: &'a [(&'a str, Value)]) -> Index<'a> {
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    objects.iter().map(|(kind, object)| ((*kind, name(object)), object)).collect()
}

/// The HelmReleases and Kustomizations that an object says it was made from.
fn templates_of(object: &Value) -> Vec<ObjectRef> {
    let meta = &object["metadata"];
    let of = |kind: &str, marks: &Value, name: &str, namespace: &str| {
        Some(ObjectRef::new(kind, marks[namespace].as_str()?, marks[name].as_str()?))
    };
    let flux =
        [("HelmRelease", "helm"), ("Kustomization", "kustomize")].into_iter().filter_map(|(kind, group)| {
            let key = |key: &str| format!("{group}.toolkit.fluxcd.io/{key}");
            of(kind, &meta["labels"], &key("name"), &key("namespace"))
        });
    let release = ("meta.helm.sh/release-name", "meta.helm.sh/release-namespace");
    flux.chain(of("HelmRelease", &meta["annotations"], release.0, release.1)).collect()
}

/// Where custom resources that are about Secrets say which one they write. Sources: the API references of the operators.
const TARGETS: &[&str] = &[
    "/spec/target/name",
    "/spec/destination/name",
    "/spec/secretName",
    "/spec/managedSecret/name",
    "/spec/managedSecretReference/secretName",
    "/spec/output/secret/name",
    "/spec/template/metadata/name",
    "/spec/secretObject/name",
];

/// Where those of any kind do (Crossplane).
const CONNECTION: &str = "/spec/writeConnectionSecretToRef/name";

/// Lists of such Secrets, and the field of each.
const TARGET_LISTS: &[(&str, &str)] = &[
    ("/spec/secretTemplates", "name"),
    ("/spec/secretObjects", "secretName"),
    ("/spec/managedKubeSecretReferences", "secretName"),
];

/// Kinds that write the Secret of their own name where they name none, beside those that are called some kind of Secret.
const OF_ONE_NAME: &[&str] = &["OnePasswordItem", "SecretSync"];

/// Whether a custom resource writes a Secret of its namespace: one that it names as its target, or that has its name.
pub fn writes(kind: &str, object: &Value, secret: &str) -> bool {
    if object["spec"]["target"]["creationPolicy"] == "None" {
        return false;
    }
    if object.pointer(CONNECTION).is_some_and(|name| name == secret) {
        return true;
    }
    if !kind.contains("Secret") && kind != "Certificate" && !OF_ONE_NAME.contains(&kind) {
        return false;
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = TARGETS.iter().filter_map(|path| object.pointer(path)).map(text);
    let lists =
        TARGET_LISTS.iter().filter_map(|(path, field)| Some((object.pointer(path)?.as_array()?, field)));
    let many = lists.flat_map(|(items, field)| items.iter().map(|item| text(&item[*field])));
    let named: Vec<String> = one.chain(many).filter(|name| !name.is_empty()).collect();
    let of_one_name = (kind.ends_with("Secret") && kind != "PushSecret") || OF_ONE_NAME.contains(&kind);
    match named.is_empty() {
        false => named.iter().any(|name| name == secret),
        true => of_one_name && object["metadata"]["name"] == secret,
    }
}

/// Whether a PushSecret chooses Secrets by labels, and this one among them. Conditions beyond equal labels count as met.
fn is_chosen(push: &Value, labels: &Labels) -> bool {
    let chooser = &push["spec"]["selector"]["secret"]["selector"];
    let equal = chooser["matchLabels"].as_object();
    let has = |(key, value): (&String, &Value)| labels.get(key).is_some_and(|label| value == label.as_str());
    chooser.is_object() && equal.into_iter().flatten().all(has)
}

/// What has ended, and what is kept only to go back to.
fn is_over(kind: &str, object: &Value) -> bool {
    match kind {
        "Pod" => matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed")),
        "ReplicaSet" => object["spec"]["replicas"].as_i64() == Some(0) && has_controller(object),
        "Job" => object["status"]["completionTime"].is_string(),
        _ => false,
    }
}

fn has_controller(object: &Value) -> bool {
    let owners = object["metadata"]["ownerReferences"].as_array();
    owners.into_iter().flatten().any(|owner| owner["controller"] == true)
}

/// The object at the top of the controllers of this one, as far as they are known.
pub fn root(kind: &str, object: &Value, index: &Index<'_>) -> ObjectRef {
    let (mut kind, mut object) = (kind.to_owned(), object);
    for _ in 0..8 {
        let owners = object["metadata"]["ownerReferences"].as_array();
        let controller = owners.into_iter().flatten().find(|o| o["controller"] == true);
        let text = |field: &str| controller.and_then(|c| c[field].as_str()).unwrap_or_default().to_owned();
        let (above, name) = (text("kind"), text("name"));
        let Some(known) = index.get(&(above.as_str(), name)) else { break };
        object = known;
        kind = above;
    }
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    ObjectRef::new(&kind, text("namespace"), text("name"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_push_secret_that_chooses_by_labels_reads_what_it_chooses() {
        let labels = Labels::from([("team".to_owned(), "a".to_owned()), ("tier".to_owned(), "x".to_owned())]);
        let push = |secret: Value| {
            let spec = json!({"selector": {"secret": secret}});
            ("PushSecret", json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec}))
        };
        let by = |labels: Value| json!({"selector": {"matchLabels": labels}});
        for (secret, found) in [
            (by(json!({"team": "a"})), true),
            (by(json!({"team": "a", "tier": "x"})), true),
            (by(json!({})), true),
            (json!({"selector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}}), true),
            (json!({"name": "t"}), true),
            (by(json!({"team": "b"})), false),
            (by(json!({"team": "a", "other": "y"})), false),
            (json!({"name": "u"}), false),
            (json!({}), false),
            (Value::Null, false),
        ] {
            let objects = [push(secret.clone())];
            assert_eq!(!readers(&objects, "t", &labels).is_empty(), found, "{secret}");
        }
    }

    #[test]
    fn custom_resources_write_the_secret_of_their_target_or_of_their_name() {
        let external =
            |name: &str, target: Value| ("ExternalSecret", name.to_owned(), json!({"target": target}));
        let of = |kind, name: &str, spec: Value| (kind, name.to_owned(), spec);
        for ((kind, name, spec), found) in [
            (external("t", Value::Null), true),
            (external("t", json!({})), true),
            (external("x", json!({"name": "t"})), true),
            (external("x", json!({"name": "t", "creationPolicy": "Merge"})), true),
            (external("x", json!({"name": "t", "creationPolicy": "Orphan"})), true),
            (external("t", json!({"name": ""})), true),
            (of("VaultStaticSecret", "x", json!({"destination": {"name": "t", "create": true}})), true),
            (of("VaultDynamicSecret", "x", json!({"destination": {"name": "t"}})), true),
            (of("InfisicalSecret", "x", json!({"managedSecretReference": {"secretName": "t"}})), true),
            (of("InfisicalSecret", "x", json!({"managedKubeSecretReferences": [{"secretName": "t"}]})), true),
            (of("DopplerSecret", "x", json!({"managedSecret": {"name": "t", "namespace": "n"}})), true),
            (of("AzureKeyVaultSecret", "x", json!({"output": {"secret": {"name": "t"}}})), true),
            (of("BitwardenSecret", "x", json!({"secretName": "t"})), true),
            (of("SopsSecret", "x", json!({"secretTemplates": [{"name": "u"}, {"name": "t"}]})), true),
            (of("SecretProviderClass", "x", json!({"secretObjects": [{"secretName": "t"}]})), true),
            (of("SealedSecret", "t", json!({"encryptedData": {}})), true),
            (of("SealedSecret", "x", json!({"template": {"metadata": {"name": "t"}}})), true),
            (of("VaultSecret", "t", json!({"path": "p"})), true),
            (of("OnePasswordItem", "t", json!({"itemPath": "vaults/x"})), true),
            (of("SecretSync", "t", json!({})), true),
            (of("Certificate", "x", json!({"secretName": "t"})), true),
            (of("Bucket", "x", json!({"writeConnectionSecretToRef": {"name": "t", "namespace": "n"}})), true),
            (of("Application", "x", json!({"destination": {"name": "t"}})), false),
            (of("Anything", "x", json!({"secretName": "t"})), false),
            (of("Anything", "x", json!({"template": {"metadata": {"name": "t"}}})), false),
            (external("x", json!({"name": "t", "creationPolicy": "None"})), false),
            (external("t", json!({"name": "u"})), false),
            (external("x", Value::Null), false),
            (external("x", json!({"name": "tt"})), false),
            (of("PushSecret", "t", json!({"selector": {"secret": {"name": "u"}}})), false),
            (of("SecretStore", "t", json!({})), false),
            (of("GitRepository", "t", json!({"url": "x"})), false),
            (of("SealedSecret", "t", json!({"template": {"metadata": {"name": "u"}}})), false),
        ] {
            let object = json!({"metadata": {"name": name, "namespace": "n"}, "spec": spec});
            assert_eq!(writes(kind, &object, "t"), found, "{kind} {object}");
        }
    }

    /// What a chart or patches make names the Secret itself; where nothing is made yet, what they are made from does.
    #[test]
    fn a_template_reads_what_it_names_until_it_is_rendered() {
        let template = |kind: &'static str, spec: Value| {
            (kind, json!({"metadata": {"name": "agent", "namespace": "n"}, "spec": spec}))
        };
        let rendered = |labels: Value, annotations: Value| {
            let meta =
                json!({"name": "agentk", "namespace": "n", "labels": labels, "annotations": annotations});
            let spec = json!({"template": {"spec": {"volumes": [{"secret": {"secretName": "t"}}]}}});
            ("Deployment", json!({"metadata": meta, "spec": spec}))
        };
        let release = |values: Value| template("HelmRelease", json!({"values": values}));
        let patch = |patch: &str| template("Kustomization", json!({"patches": [{"patch": patch}]}));
        for template in [
            release(json!({"config": {"secretName": "t"}})),
            release(json!({"existingSecret": "t"})),
            release(json!({"auth": {"existingSecret": {"name": "t"}}})),
            release(json!({"imagePullSecrets": ["t"]})),
            release(json!({"extraEnv": [{"valueFrom": {"secretKeyRef": {"name": "t", "key": "k"}}}]})),
            release(json!({"extraVolumes": "- name: x\n  secret:\n    secretName: t\n"})),
            release(json!({"extra": "{{- if .x }}\nsecretName: \"t\"\n{{- end }}"})),
            template(
                "HelmRelease",
                json!({"postRenderers": [{"kustomize": {"patches": [{"patch": "secretName: t"}]}}]}),
            ),
            patch("kind: Deployment\nspec:\n  imagePullSecrets:\n  - name: t\n"),
            patch("- op: replace\n  path: /spec/template/spec/volumes/0/secret/secretName\n  value: t\n"),
            patch("a: 1\n---\nenvFrom:\n- secretRef:\n    name: t\n"),
        ] {
            let kind = template.0;
            let names = |objects: &[(&str, Value)]| -> Vec<String> {
                readers(objects, "t", &Labels::new()).iter().map(|(by, _)| by.kind.clone()).collect()
            };
            assert_eq!(names(std::slice::from_ref(&template)), [kind], "{}", template.1);
            let labels = match kind {
                "HelmRelease" => {
                    json!({"helm.toolkit.fluxcd.io/name": "agent", "helm.toolkit.fluxcd.io/namespace": "n"})
                }
                _ => {
                    json!({"kustomize.toolkit.fluxcd.io/name": "agent", "kustomize.toolkit.fluxcd.io/namespace": "n"})
                }
            };
            assert_eq!(
                names(&[template.clone(), rendered(labels, Value::Null)]),
                ["Deployment"],
                "{}",
                template.1
            );
            let both = names(&[template.clone(), rendered(Value::Null, Value::Null)]);
            assert_eq!(both, ["Deployment", kind], "of another: {}", template.1);
        }
        for template in [
            release(json!({"config": {"secretName": "u"}, "nameOverride": "t"})),
            release(json!({"note": "t: is a letter"})),
            template("HelmRelease", json!({"targetNamespace": "m", "values": {"secretName": "t"}})),
            patch("kind: Deployment\nmetadata:\n  name: t\n"),
        ] {
            assert!(
                readers(std::slice::from_ref(&template), "t", &Labels::new()).is_empty(),
                "{}",
                template.1
            );
        }
    }

    /// Kinds that nobody here knows name Secrets as others do.
    #[test]
    fn a_custom_resource_reads_what_it_names_as_a_secret() {
        let of =
            |spec: Value| ("Anything", json!({"metadata": {"name": "x", "namespace": "n"}, "spec": spec}));
        let reads = |objects: &[(&str, Value)]| !readers(objects, "t", &Labels::new()).is_empty();
        for spec in [
            json!({"existingSecret": "t"}),
            json!({"credentialsSecret": {"name": "t", "key": "token"}}),
            json!({"auth": {"tokenSecretRef": {"name": "t"}}}),
            json!({"pullSecrets": ["t"]}),
            json!({"secretNames": ["u", "t"]}),
            json!({"credentialRef": {"kind": "Secret", "name": "t"}}),
            json!({"apiTokenSecretName": "t"}),
            json!({"tls": [{"hosts": ["h"], "secretName": "t"}]}),
            json!({"resources": ["apiVersion: v1\nkind: Pod\nspec:\n  imagePullSecrets:\n  - name: t\n"]}),
            json!({"resources": [{"spec": {"secretRef": {"name": "t"}}}]}),
            json!({"writeConnectionSecretToRef": {"name": "t"}}),
        ] {
            assert!(reads(&[of(spec.clone())]), "{spec}");
        }
        for spec in [
            json!({"name": "t"}),
            json!({"secretKey": "t"}),
            json!({"secretStoreRef": {"name": "t"}}),
            json!({"secretProviderRef": {"kind": "Vault", "name": "t"}}),
            json!({"sourceRef": {"kind": "GitRepository", "name": "t"}}),
            json!({"existingSecret": "tt"}),
            json!({"secretRef": {"name": "t", "namespace": "elsewhere"}}),
        ] {
            assert!(!reads(&[of(spec.clone())]), "{spec}");
        }
        let ingress = |value: &str| {
            let annotations = json!({"nginx.ingress.kubernetes.io/auth-secret": value});
            [("Ingress", json!({"metadata": {"name": "x", "namespace": "n", "annotations": annotations}}))]
        };
        assert!(
            reads(&ingress("t"))
                && reads(&ingress("n/t"))
                && !reads(&ingress("m/t"))
                && !reads(&ingress("u"))
        );
    }

    #[test]
    fn pods_are_named_by_what_runs_them() {
        let mount = json!({"volumes": [{"secret": {"secretName": "t"}}]});
        let of = |kind: &'static str, name: &str, owner: Option<(&str, &str)>, spec: Value, status: Value| {
            let owners: Vec<Value> = owner
                .iter()
                .map(|(kind, name)| json!({"kind": kind, "name": name, "controller": true}))
                .collect();
            let meta = json!({"name": name, "namespace": "n", "ownerReferences": owners});
            (kind, json!({"metadata": meta, "spec": spec, "status": status}))
        };
        let template = json!({"template": {"spec": mount}});
        let none = Value::Null;
        let objects = [
            of("Deployment", "agentk", None, template.clone(), none.clone()),
            of("ReplicaSet", "agentk-1", Some(("Deployment", "agentk")), template.clone(), none.clone()),
            of("Pod", "agentk-1-a", Some(("ReplicaSet", "agentk-1")), mount.clone(), none.clone()),
            of(
                "ReplicaSet",
                "agentk-0",
                Some(("Deployment", "agentk")),
                json!({"replicas": 0, "template": {"spec": mount}}),
                none.clone(),
            ),
            of(
                "ReplicaSet",
                "asleep",
                None,
                json!({"replicas": 0, "template": {"spec": mount}}),
                none.clone(),
            ),
            of("Pod", "done", None, mount.clone(), json!({"phase": "Succeeded"})),
            of("Pod", "bare", None, mount.clone(), json!({"phase": "Running"})),
            of("Pod", "of-operator", Some(("Runner", "r")), mount.clone(), none.clone()),
            of("CronJob", "nightly", None, json!({"jobTemplate": {"spec": template}}), none.clone()),
            of("Job", "nightly-1", Some(("CronJob", "nightly")), template.clone(), none.clone()),
            of("Pod", "nightly-1-x", Some(("Job", "nightly-1")), mount.clone(), none.clone()),
            of("StatefulSet", "db", None, template.clone(), none.clone()),
            of("ImageRepository", "app", None, json!({"secretRef": {"name": "t"}}), none.clone()),
            of("Deployment", "other", None, json!({}), none),
        ];
        let found = readers(&objects, "t", &Labels::new());
        let names: Vec<String> = found.iter().map(|(by, _)| format!("{}/{}", by.kind, by.name)).collect();
        assert_eq!(
            names,
            [
                "CronJob/nightly",
                "Deployment/agentk",
                "ImageRepository/app",
                "Pod/bare",
                "Pod/of-operator",
                "ReplicaSet/asleep",
                "StatefulSet/db"
            ]
        );
        assert_eq!(found.iter().filter(|(_, r)| *r == Reading::AtEachUse).count(), 1);
    }
}
