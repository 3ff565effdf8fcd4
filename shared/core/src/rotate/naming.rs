//! Whether an object names a Secret, by what its fields are called, in manifests that are texts within it too.

use serde_json::Value;

use super::holders::Reading;

/// What others are made from. Where one names a Secret, what was made from it does so too; where nothing was made yet, it will.
pub(super) const TEMPLATES: &[&str] = &["HelmRelease", "Kustomization"];

/// Where a template says what is to be in what is made from it.
const TEMPLATE_PARTS: &[&str] = &["values", "patches", "postRenderers"];

/// Whether an object names a Secret of its own namespace, and when it reads it.
pub(super) fn reads(kind: &str, object: &Value, secret: &str) -> Option<Reading> {
    let namespace = object["metadata"]["namespace"].as_str();
    let mut names = Names { secret, namespace, is_template: TEMPLATES.contains(&kind), found: None };
    for (key, value) in object.as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "metadata" | "status" | "kind" | "apiVersion") {
            names.walk(key, value);
        }
    }
    for (key, value) in object["metadata"]["annotations"].as_object().into_iter().flatten() {
        names.annotation(key, value);
    }
    names.found
}

struct Names<'a> {
    secret: &'a str,
    namespace: Option<&'a str>,
    /// What is made from its values and patches names the Secret itself; see [`in_template`].
    is_template: bool,
    found: Option<Reading>,
}

/// Whether a field holds the name of a Secret, by its own name: `secretName`, `existingSecret`, `certSecretRef`,
/// `imagePullSecrets`. `secretKey` is the name of a key, `secretStoreRef` that of a store.
fn means_secret(key: &str) -> bool {
    let lower = key.to_ascii_lowercase();
    if lower.contains("secretstore") || lower.ends_with("key") || lower.ends_with("keys") {
        return false;
    }
    // `tokenRef`, `passwordSelector`, `credentialsName` are Secrets by what they hold, where they say that they refer.
    let of_credential = ["token", "password", "credential", "auth"].iter().any(|word| lower.contains(word));
    let refers = ["ref", "refs", "selector", "name"].iter().any(|end| lower.ends_with(end));
    lower.contains("secret") || (of_credential && refers)
}

impl Names<'_> {
    fn walk(&mut self, key: &str, value: &Value) {
        if self.is_template && TEMPLATE_PARTS.contains(&key) {
            return;
        }
        let reading =
            if key.eq_ignore_ascii_case("imagePullSecrets") { Reading::AtEachUse } else { Reading::AtStart };
        let means = means_secret(key);
        match value {
            Value::String(name) if means && self.is_named_by(name) => self.find(reading),
            Value::String(text) if text.contains(self.secret) && text.contains(':') => self.manifest(text),
            Value::Object(fields) => {
                let by_kind = fields.get("kind").is_some_and(|kind| kind == "Secret");
                // `{name, key}` selects a key of a Secret, where it does not say ConfigMap.
                let selects = fields.get("key").is_some_and(Value::is_string)
                    && !key.to_ascii_lowercase().contains("configmap");
                if means || by_kind || selects {
                    self.named(fields, reading);
                }
                // `secrets: {NAME: {…}}`
                if means && fields.get(self.secret).is_some_and(Value::is_object) {
                    self.find(reading);
                }
                // An operation of a patch (RFC 6902): its value belongs to what its path ends with.
                let path = fields.get("path").and_then(Value::as_str).filter(|path| path.starts_with('/'));
                let end = path.and_then(|path| path.rsplit('/').find(|part| part.parse::<u32>().is_err()));
                for (key, value) in fields {
                    self.walk(end.filter(|_| key == "value").unwrap_or(key), value);
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

    /// A manifest or patch as a text; where it is a template of one, its lines.
    fn manifest(&mut self, text: &str) {
        match serde_saphyr::from_multiple::<Value>(text) {
            Ok(manifests) if manifests.iter().any(|manifest| !manifest.is_string()) => {
                manifests
                    .iter()
                    .filter(|manifest| !manifest.is_string())
                    .for_each(|manifest| self.walk("", manifest));
            }
            _ => {
                let pair = |line: &str| {
                    let (key, value) = line.split_once(':')?;
                    let trim = |text: &str| {
                        text.trim_matches(|c: char| c.is_whitespace() || "\"'-,{}".contains(c)).to_owned()
                    };
                    Some((trim(key), trim(value)))
                };
                let named = |(key, value): (String, String)| means_secret(&key) && value == self.secret;
                if text.lines().filter_map(pair).any(named) {
                    self.find(Reading::AtStart);
                }
            }
        }
    }

    /// `nginx.ingress.kubernetes.io/auth-secret: NAMESPACE/NAME`
    fn annotation(&mut self, key: &str, value: &Value) {
        let name = key.split_once('/').map_or("", |(_, name)| name);
        let Some(value) = value.as_str().filter(|_| means_secret(name)) else { return };
        if self.is_named_by(value) {
            self.find(Reading::AtStart);
        }
    }

    /// By its name, or `NAMESPACE/NAME`.
    fn is_named_by(&self, value: &str) -> bool {
        match value.split_once('/') {
            Some((namespace, name)) => Some(namespace) == self.namespace && name == self.secret,
            None => value == self.secret,
        }
    }

    fn named(&mut self, fields: &serde_json::Map<String, Value>, reading: Reading) {
        let here = fields.get("namespace").and_then(Value::as_str).is_none_or(|n| Some(n) == self.namespace);
        let named =
            ["name", "secretName"].iter().any(|key| fields.get(*key).is_some_and(|v| v == self.secret));
        let other_kind = fields.get("kind").is_some_and(|kind| kind.is_string() && kind != "Secret");
        if here && named && !other_kind {
            self.find(reading);
        }
    }

    fn find(&mut self, reading: Reading) {
        self.found = self.found.max(Some(reading));
    }
}

/// Whether the values or patches of a template name a Secret of the namespace that it makes objects in.
pub(super) fn in_template(object: &Value, secret: &str) -> bool {
    let namespace = object["metadata"]["namespace"].as_str();
    let spec = &object["spec"];
    if spec["targetNamespace"].as_str().is_some_and(|target| Some(target) != namespace) {
        return false;
    }
    let mut names = Names { secret, namespace, is_template: false, found: None };
    for part in TEMPLATE_PARTS {
        names.walk("", &spec[*part]);
    }
    names.found.is_some()
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
            (pod(json!({"tokenRef": {"name": "t"}})), AtStart),
            (pod(json!({"passwordRef": {"name": "t", "key": "k"}})), AtStart),
            (pod(json!({"accessTokenSelector": {"name": "t", "key": "k"}})), AtStart),
            (pod(json!({"credentialsName": "t"})), AtStart),
            (pod(json!({"login": {"name": "t", "key": "k"}})), AtStart),
            (pod(json!({"clientSecret": "n/t"})), AtStart),
            (pod(json!({"secrets": {"t": {"items": []}}})), AtStart),
            (
                pod(
                    json!({"provider": {"gitlab": {"auth": {"SecretRef": {"accessToken": {"name": "t", "key": "k"}}}}}}),
                ),
                AtStart,
            ),
            (pod(json!({"endpoints": [{"basicAuth": {"password": {"name": "t", "key": "k"}}}]})), AtStart),
        ] {
            assert_eq!(reads("Pod", &object, "t"), Some(reading), "{object}");
            assert_eq!(reads("Pod", &object, "other"), None, "{object}");
        }
        for object in [
            pod(json!({"secretRef": {"name": "t", "namespace": "elsewhere"}})),
            pod(json!({"valuesFrom": [{"kind": "ConfigMap", "name": "t"}]})),
            pod(json!({"configMapRef": {"name": "t"}})),
            pod(json!({"configMapKeyRef": {"name": "t", "key": "k"}})),
            pod(json!({"serviceAccountName": "t"})),
            pod(json!({"clientSecret": "elsewhere/t"})),
            pod(json!({"data": [{"secretKey": "t", "remoteRef": {"key": "t"}}]})),
            pod(json!({"sourceRef": {"kind": "GitRepository", "name": "t"}})),
            pod(json!({"patch": "kind: Deployment\nmetadata:\n  name: t\n"})),
            json!({"metadata": {"namespace": "n", "annotations": {"secretName": "t"}}, "status": {"secretName": "t"}}),
        ] {
            assert_eq!(reads("Pod", &object, "t"), None, "{object}");
        }
    }
}
