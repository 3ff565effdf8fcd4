//! Who else holds a value: recognized by a fingerprint wherever it lies in a Secret, and which objects read a Secret. The
//! rules are pure; what is looked at is read elsewhere.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::object::ObjectRef;

/// Shorter values are no credentials; that two of them are equal says nothing.
const SHORTEST: usize = 8;
/// A value may be encoded, and what comes out once more (`.dockerconfigjson`, `auth`).
const DEEPEST: u32 = 3;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One value, known by its fingerprint alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    salt: String,
    fingerprint: String,
}

/// What a private key is known by: its public half, of which several private forms exist.
fn of_pair(public: &str) -> String {
    format!("private half of {public}")
}

impl Mark {
    /// The mark of a token or password.
    pub fn of(salt: &str, value: &[u8]) -> Self {
        Self { salt: salt.to_owned(), fingerprint: digest(salt, value.trim_ascii()) }
    }

    /// The mark of a private key, by its public half.
    pub fn of_key(salt: &str, public: &str) -> Self {
        Self::of(salt, of_pair(public).as_bytes())
    }

    /// One that was written down.
    pub fn known(salt: &str, fingerprint: &str) -> Self {
        Self { salt: salt.to_owned(), fingerprint: fingerprint.to_owned() }
    }

    /// First 12 hexadecimal digits of SHA-256 over the salt and the value.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether the value lies in these bytes: as they are, as a word of a text (a URL, a `.netrc`, a file of variables), as a
    /// string of JSON, or as any of these in base64. `public_half` gives the public half of a private key.
    pub fn is_in(&self, bytes: &[u8], public_half: &dyn Fn(&str) -> Option<String>) -> bool {
        self.is_at(bytes, public_half, DEEPEST)
    }

    fn fits(&self, bytes: &[u8]) -> bool {
        bytes.len() >= SHORTEST && digest(&self.salt, bytes) == self.fingerprint
    }

    fn is_at(&self, bytes: &[u8], public_half: &dyn Fn(&str) -> Option<String>, depth: u32) -> bool {
        if self.fits(bytes.trim_ascii()) {
            return true;
        }
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        if text.contains("PRIVATE KEY") {
            return public_half(text).is_some_and(|public| self.fits(of_pair(&public).as_bytes()));
        }
        if depth == 0 {
            return false;
        }
        let after_user = text.split_once(':').map(|(_, rest)| rest.trim());
        let word = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let encoded = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
        let words = text.split(|c| !word(c)).filter(|w| w.len() != text.len());
        let inner = text.split(|c| !encoded(c)).filter(|w| w.len() >= SHORTEST);
        after_user.is_some_and(|rest| self.fits(rest.as_bytes()))
            || words.into_iter().any(|w| self.fits(w.as_bytes()))
            || inner.filter_map(|w| BASE64.decode(w).ok()).any(|w| self.is_at(&w, public_half, depth - 1))
            || self.is_in_json(text, public_half, depth)
    }

    fn is_in_json(&self, text: &str, public_half: &dyn Fn(&str) -> Option<String>, depth: u32) -> bool {
        if !text.trim_start().starts_with(['{', '[']) {
            return false;
        }
        let Ok(json) = serde_json::from_str::<Value>(text) else { return false };
        let mut left = vec![&json];
        while let Some(value) = left.pop() {
            match value {
                Value::String(text) if self.is_at(text.as_bytes(), public_half, depth - 1) => return true,
                Value::Array(items) => left.extend(items),
                Value::Object(fields) => left.extend(fields.values()),
                _ => {}
            }
        }
        false
    }
}

fn digest(salt: &str, value: &[u8]) -> String {
    let digest = Sha256::new().chain_update("value").chain_update(salt).chain_update(value).finalize();
    digest.iter().take(6).map(|b| format!("{b:02x}")).collect()
}

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
pub fn readers(objects: &[(&str, Value)], secret: &str) -> Vec<(ObjectRef, Reading)> {
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let index: BTreeMap<(&str, String), &Value> =
        objects.iter().map(|(kind, object)| ((*kind, name(object)), object)).collect();
    let mut found: BTreeMap<ObjectRef, Reading> = BTreeMap::new();
    for (kind, object) in objects.iter().filter(|(kind, object)| !is_over(kind, object)) {
        let reading = match (reads(object, secret), *kind) {
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
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn no_key(_: &str) -> Option<String> {
        None
    }

    /// Made at run time: no scanner trips on it.
    fn token() -> String {
        format!("gl{}-{}", "dt", "Ab3_x-".repeat(4))
    }

    /// Where people put a copy of a token.
    fn copies(token: &str) -> Vec<(&'static str, String)> {
        let auth = STANDARD.encode(format!("deploy:{token}"));
        vec![
            ("as it is", token.to_owned()),
            ("with a line feed", format!("{token}\n")),
            ("with blanks", format!("  {token} \r\n")),
            ("in a URL", format!("https://oauth2:{token}@gitlab.example.com/a/b.git")),
            ("git credentials", format!("https://x:{token}@gitlab.example.com\n")),
            ("netrc", format!("machine gitlab.example.com login x password {token}\n")),
            ("variables", format!("GITLAB_USER=x\nGITLAB_TOKEN={token}\n")),
            ("quoted variables", format!("export TOKEN=\"{token}\"")),
            ("YAML", format!("config:\n  token: {token}\n")),
            ("JSON", json!({"a": [{"token": token}]}).to_string()),
            ("registry password", json!({"auths": {"r": {"username": "x", "password": token}}}).to_string()),
            ("registry auth", json!({"auths": {"r": {"auth": auth}}}).to_string()),
            ("header", format!("Authorization: Bearer {token}")),
            ("encoded", STANDARD.encode(token)),
            ("encoded without padding", STANDARD_NO_PAD.encode(format!("{token}\n"))),
            ("user and password", format!("x:{token}")),
        ]
    }

    #[test]
    fn a_copy_is_recognized_in_every_form() {
        let (token, mark) = (token(), Mark::of("salt", token().as_bytes()));
        for (form, text) in copies(&token) {
            assert!(mark.is_in(text.as_bytes(), &no_key), "{form}");
            assert!(!Mark::of("salt", b"another-value").is_in(text.as_bytes(), &no_key), "{form}");
        }
        assert_eq!(Mark::known("salt", mark.fingerprint()), mark);
        assert!(!format!("{mark:?}").contains(&token));
    }

    #[test]
    fn a_private_key_is_recognized_by_its_public_half() {
        let half = |text: &str| text.contains("MINE").then(|| "ssh-ed25519 AAAA".to_owned());
        let pem = |body: &str| format!("-----BEGIN OPENSSH {} KEY-----\n{body}\n", "PRIVATE");
        let mark = Mark::of_key("salt", "ssh-ed25519 AAAA");
        assert!(mark.is_in(pem("MINE").as_bytes(), &half));
        assert!(mark.is_in(STANDARD.encode(pem("MINE, in another form")).as_bytes(), &half));
        assert!(!mark.is_in(pem("other").as_bytes(), &half));
        assert!(!mark.is_in(b"ssh-ed25519 AAAA", &half), "the public half opens nothing");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_credential_is_found_among_others_and_no_other(
            value in "[A-Za-z0-9_-]{8,60}",
            other in "[A-Za-z0-9_-]{8,60}",
            at in 0..16_usize,
        ) {
            prop_assume!(!value.contains(&other) && !other.contains(&value));
            let text = copies(&value)[at].1.clone();
            prop_assert!(Mark::of("s", value.as_bytes()).is_in(text.as_bytes(), &no_key), "{}", text);
            prop_assert!(!Mark::of("s", other.as_bytes()).is_in(text.as_bytes(), &no_key), "{}", text);
        }

        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Mark::of("s", b"0123456789").is_in(&bytes, &no_key);
        }
    }

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
        let found = readers(&objects, "t");
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
