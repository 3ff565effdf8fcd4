//! Which objects read a Secret, and when. The rules are pure; what is looked at is read elsewhere.

use std::collections::BTreeMap;

use serde_json::Value;

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
];

/// The objects of one namespace that read a Secret there, each once, those that run its pods in the place of the pods.
/// `objects` are as the API server lists them, each with its kind.
pub fn readers(objects: &[(&str, Value)], secret: &str, labels: &Labels) -> Vec<(ObjectRef, Reading)> {
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let index: BTreeMap<(&str, String), &Value> =
        objects.iter().map(|(kind, object)| ((*kind, name(object)), object)).collect();
    let mut found: BTreeMap<ObjectRef, Reading> = BTreeMap::new();
    for (kind, object) in objects.iter().filter(|(kind, object)| !is_over(kind, object)) {
        let chosen = || (*kind == "PushSecret" && is_chosen(object, labels)).then_some(Reading::AtStart);
        let reading = match (reads(object, secret).or_else(chosen), *kind) {
            (None, _) => continue,
            (Some(_), "ImageRepository") => Reading::AtEachUse,
            (Some(reading), _) => reading,
        };
        let by = root(kind, object, &index);
        let known = found.entry(by).or_insert(reading);
        *known = (*known).max(reading);
    }
    found.into_iter().collect()
}

/// Whether a PushSecret chooses Secrets by labels, and this one among them. Conditions beyond equal labels count as met.
fn is_chosen(push: &Value, labels: &Labels) -> bool {
    let chooser = &push["spec"]["selector"]["secret"]["selector"];
    let equal = chooser["matchLabels"].as_object();
    let has = |(key, value): (&String, &Value)| labels.get(key).is_some_and(|label| value == label.as_str());
    chooser.is_object() && equal.into_iter().flatten().all(has)
}

/// ExternalSecrets of one namespace that write a Secret: those that name it, or have its name.
pub fn external_secrets(objects: &[Value], secret: &str) -> Vec<ObjectRef> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let writes = |object: &&Value| {
        let target = &object["spec"]["target"];
        let name = Some(text(&target["name"])).filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| text(&object["metadata"]["name"]));
        name == secret && target["creationPolicy"] != "None"
    };
    let named = |object: &Value| {
        let meta = &object["metadata"];
        ObjectRef::new("ExternalSecret", &text(&meta["namespace"]), &text(&meta["name"]))
    };
    objects.iter().filter(writes).map(named).collect()
}

/// What has ended, and what is kept only to go back to.
fn is_over(kind: &str, object: &Value) -> bool {
    match kind {
        "Pod" => matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed")),
        "ReplicaSet" => object["spec"]["replicas"].as_i64() == Some(0),
        "Job" => object["status"]["completionTime"].is_string(),
        _ => false,
    }
}

/// The object at the top of the controllers of this one, as far as they are known.
fn root(kind: &str, object: &Value, index: &BTreeMap<(&str, String), &Value>) -> ObjectRef {
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

/// Whether an object names a Secret of its own namespace, and when it reads it.
pub fn reads(object: &Value, secret: &str) -> Option<Reading> {
    let mut names = Names { secret, namespace: object["metadata"]["namespace"].as_str(), found: None };
    for (key, value) in object.as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "metadata" | "status" | "kind" | "apiVersion") {
            names.walk(key, value);
        }
    }
    names.found
}

struct Names<'a> {
    secret: &'a str,
    namespace: Option<&'a str>,
    found: Option<Reading>,
}

impl Names<'_> {
    fn walk(&mut self, key: &str, value: &Value) {
        // The values of a chart name a Secret for what the chart makes, which is seen itself.
        if key == "values" {
            return;
        }
        let lower = key.to_ascii_lowercase();
        let reading = if lower == "imagepullsecrets" { Reading::AtEachUse } else { Reading::AtStart };
        let means = ["secret", "secrets", "imagepullsecrets"].contains(&lower.as_str())
            || [
                "secretname",
                "secretref",
                "secretkeyref",
                "secretreference",
                "secretrefs",
                "secretkeyselector",
            ]
            .iter()
            .any(|end| lower.ends_with(end));
        match value {
            Value::String(name) if means && name == self.secret => self.find(reading),
            Value::Object(fields) => {
                let by_kind = fields.get("kind").is_some_and(|kind| kind == "Secret");
                if means || by_kind {
                    self.named(fields, reading);
                }
                for (key, value) in fields {
                    self.walk(key, value);
                }
            }
            Value::Array(items) => {
                for item in items {
                    self.walk(if means { key } else { "" }, item);
                }
            }
            _ => {}
        }
    }

    fn named(&mut self, fields: &serde_json::Map<String, Value>, reading: Reading) {
        let here = fields.get("namespace").and_then(Value::as_str).is_none_or(|n| Some(n) == self.namespace);
        let named =
            ["name", "secretName"].iter().any(|key| fields.get(*key).is_some_and(|v| v == self.secret));
        if here && named {
            self.find(reading);
        }
    }

    fn find(&mut self, reading: Reading) {
        self.found = self.found.max(Some(reading));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_way_to_name_a_secret_is_seen() {
        let pod = |spec: Value| json!({"metadata": {"namespace": "n"}, "spec": spec});
        let template = |spec: Value| pod(json!({"template": {"spec": spec}}));
        use Reading::{AtEachUse, AtStart};
        for (object, reading) in [
            (pod(json!({"volumes": [{"secret": {"secretName": "t"}}]})), AtStart),
            (
                template(json!({"volumes": [{"projected": {"sources": [{"secret": {"name": "t"}}]}}]})),
                AtStart,
            ),
            (template(json!({"containers": [{"envFrom": [{"secretRef": {"name": "t"}}]}]})), AtStart),
            (
                template(
                    json!({"initContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "t", "key": "k"}}}]}]}),
                ),
                AtStart,
            ),
            (
                template(json!({"ephemeralContainers": [{"envFrom": [{"secretRef": {"name": "t"}}]}]})),
                AtStart,
            ),
            (
                pod(
                    json!({"jobTemplate": {"spec": {"template": {"spec": {"volumes": [{"secret": {"secretName": "t"}}]}}}}}),
                ),
                AtStart,
            ),
            (template(json!({"volumes": [{"csi": {"nodePublishSecretRef": {"name": "t"}}}]})), AtStart),
            (template(json!({"imagePullSecrets": [{"name": "t"}]})), AtEachUse),
            (json!({"metadata": {"namespace": "n"}, "imagePullSecrets": [{"name": "t"}]}), AtEachUse),
            (json!({"metadata": {"namespace": "n"}, "secrets": [{"name": "t"}]}), AtStart),
            (pod(json!({"secretRef": {"name": "t"}})), AtStart),
            (pod(json!({"verify": {"secretRef": {"name": "t"}}})), AtStart),
            (pod(json!({"proxySecretRef": {"name": "t"}})), AtStart),
            (pod(json!({"decryption": {"secretRef": {"name": "t"}}})), AtStart),
            (pod(json!({"postBuild": {"substituteFrom": [{"kind": "Secret", "name": "t"}]}})), AtStart),
            (pod(json!({"valuesFrom": [{"kind": "Secret", "name": "t", "valuesKey": "token"}]})), AtStart),
            (pod(json!({"selector": {"secret": {"name": "t"}}})), AtStart),
            (pod(json!({"secretRef": {"name": "t", "namespace": "n"}})), AtStart),
        ] {
            assert_eq!(reads(&object, "t"), Some(reading), "{object}");
            assert_eq!(reads(&object, "other"), None, "{object}");
        }
        for object in [
            pod(json!({"secretRef": {"name": "t", "namespace": "elsewhere"}})),
            pod(json!({"valuesFrom": [{"kind": "ConfigMap", "name": "t"}]})),
            pod(json!({"configMapRef": {"name": "t"}})),
            pod(json!({"values": {"config": {"secretName": "t"}}})),
            json!({"metadata": {"namespace": "n", "annotations": {"secretName": "t"}}, "status": {"secretName": "t"}}),
        ] {
            assert_eq!(reads(&object, "t"), None, "{object}");
        }
    }

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
    fn an_external_secret_writes_the_secret_of_its_target_or_of_its_name() {
        let of = |name: &str, target: Value| json!({"metadata": {"name": name, "namespace": "n"}, "spec": {"target": target}});
        for (object, found) in [
            (of("t", Value::Null), true),
            (of("t", json!({})), true),
            (of("x", json!({"name": "t"})), true),
            (of("x", json!({"name": "t", "creationPolicy": "Merge"})), true),
            (of("x", json!({"name": "t", "creationPolicy": "Orphan"})), true),
            (of("t", json!({"name": ""})), true),
            (of("x", json!({"name": "t", "creationPolicy": "None"})), false),
            (of("t", json!({"name": "u"})), false),
            (of("x", Value::Null), false),
            (of("x", json!({"name": "tt"})), false),
        ] {
            assert_eq!(!external_secrets(std::slice::from_ref(&object), "t").is_empty(), found, "{object}");
        }
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
                "old-0",
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
                "StatefulSet/db"
            ]
        );
        assert_eq!(found.iter().filter(|(_, r)| *r == Reading::AtEachUse).count(), 1);
    }
}
