//! Objects that a text of Kubernetes or Flux names: what it says does not exist, and what it says it waited for.

use crate::object::ObjectRef;

/// Something that a text says is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The object.
    pub object: ObjectRef,
    /// The key that it lacks, where the object itself exists.
    pub key: Option<String>,
}

/// Resources and kinds as `errors.NewNotFound` of k8s.io/apimachinery and the kubelet write them before a quoted
/// name, each with its kind and whether it has a namespace.
const KINDS: &[(&str, &str, bool)] = &[
    ("secret", "Secret", true),
    ("secrets", "Secret", true),
    ("configmap", "ConfigMap", true),
    ("configmaps", "ConfigMap", true),
    ("serviceaccount", "ServiceAccount", true),
    ("serviceaccounts", "ServiceAccount", true),
    ("persistentvolumeclaim", "PersistentVolumeClaim", true),
    ("persistentvolumeclaims", "PersistentVolumeClaim", true),
    ("secretproviderclass", "SecretProviderClass", true),
    ("secretproviderclasses.secrets-store.csi.x-k8s.io", "SecretProviderClass", true),
    ("secretproviderclass.secrets-store.csi.x-k8s.io", "SecretProviderClass", true),
    ("namespace", "Namespace", false),
    ("namespaces", "Namespace", false),
    ("storageclass.storage.k8s.io", "StorageClass", false),
    ("storageclasses.storage.k8s.io", "StorageClass", false),
    ("priorityclass.scheduling.k8s.io", "PriorityClass", false),
    ("runtimeclass.node.k8s.io", "RuntimeClass", false),
];

/// What a text says does not exist. `namespace` is that of the object that it speaks of.
pub fn missing(text: &str, namespace: &str) -> Vec<Said> {
    let mut found = not_found(text, namespace);
    found.extend(pull_secrets(text, namespace));
    found.extend(keys(text, namespace));
    found.extend(priority_class(text));
    found
}

/// `configmap "x" not found`, `secrets "x" not found`: the word before the quoted name is the kind.
fn not_found(text: &str, namespace: &str) -> Vec<Said> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\" not found") {
        rest = after;
        let Some((head, name)) = before.rsplit_once('"') else { continue };
        let word =
            head.trim_end().rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '-')).next();
        let word = word.unwrap_or_default().to_lowercase();
        let Some((_, kind, has_namespace)) = KINDS.iter().find(|(known, ..)| *known == word) else {
            continue;
        };
        if !is_name(name) {
            continue;
        }
        // Flux writes the namespace before: "cannot get decryption Secret 'ns/x': secrets "x" not found".
        let own = quoted_namespace(before, name).unwrap_or(namespace);
        let place = if *has_namespace { own } else { "" };
        found.push(Said { object: ObjectRef::new(kind, place, name), key: None });
    }
    found
}

/// The namespace of `'ns/name'` or ` ns/name:` before a name that is said not to be found.
fn quoted_namespace<'t>(before: &'t str, name: &str) -> Option<&'t str> {
    let end = before.rfind(&format!("/{name}"))?;
    let after = &before[end + 1 + name.len()..];
    let start =
        before[..end].rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).map_or(0, |at| at + 1);
    let namespace = &before[start..end];
    (is_name(namespace) && after.starts_with(['\'', ':', '"', ' '])).then_some(namespace)
}

/// `Unable to retrieve some image pull secrets (a, b)`: the kubelet's event FailedToRetrieveImagePullSecret.
fn pull_secrets(text: &str, namespace: &str) -> Vec<Said> {
    let Some((_, rest)) = text.split_once("some image pull secrets (") else { return Vec::new() };
    let names =
        rest.split(')').next().unwrap_or_default().split(',').map(str::trim).filter(|name| is_name(name));
    names.map(|name| Said { object: ObjectRef::new("Secret", namespace, name), key: None }).collect()
}

/// `couldn't find key K in Secret ns/x` (the kubelet), `missing key 'K' in Secret 'ns/x'` (helm-controller).
fn keys(text: &str, namespace: &str) -> Option<Said> {
    let (_, rest) = text.split_once("couldn't find key ").or_else(|| text.split_once("missing key "))?;
    let (key, rest) = rest.split_once(" in ")?;
    let (kind, rest) = rest.split_once(' ')?;
    let kind = ["Secret", "ConfigMap"].into_iter().find(|known| *known == kind)?;
    let named = rest.split(|c: char| c.is_whitespace() || ",:;".contains(c)).next()?.trim_matches('\'');
    let (own, name) = named.split_once('/').unwrap_or((namespace, named));
    let key = key.trim_matches(['\'', '"']).to_owned();
    is_name(name).then(|| Said { object: ObjectRef::new(kind, own, name), key: Some(key) })
}

/// `no PriorityClass with name x was found`: the admission plug-in of that name.
fn priority_class(text: &str) -> Option<Said> {
    let (_, rest) = text.split_once("no PriorityClass with name ")?;
    let name = rest.split_whitespace().next()?;
    is_name(name).then(|| Said { object: ObjectRef::new("PriorityClass", "", name), key: None })
}

/// What a failed wait names: `Kind/namespace/name` as kustomize-controller's and Helm's health checks write it
/// ("timeout waiting for: [Deployment/shop/web status: 'InProgress']", "resource Deployment/shop/web not ready").
pub fn waited_for(text: &str) -> Vec<ObjectRef> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "/.-:".contains(c)));
    words.filter_map(|word| named(word.trim_end_matches([':', '.']))).collect()
}

fn named(word: &str) -> Option<ObjectRef> {
    let parts: Vec<&str> = word.split('/').collect();
    let (kind, namespace, name) = match parts.as_slice() {
        [kind, namespace, name] => (*kind, *namespace, *name),
        [kind, name] => (*kind, "", *name),
        _ => return None,
    };
    let camel = kind.starts_with(|c: char| c.is_ascii_uppercase())
        && kind.chars().all(|c| c.is_ascii_alphanumeric())
        && kind.chars().any(|c| c.is_ascii_lowercase());
    (camel && is_name(name) && (namespace.is_empty() || is_name(namespace)))
        .then(|| ObjectRef::new(kind, namespace, name))
}

/// The Job of a hook that failed, in the words of Helm 3: `Helm upgrade failed for release shop/web with chart x@1: pre-upgrade
/// hooks failed: 1 error occurred: * job web-migrate failed: BackoffLimitExceeded`.
pub fn failed_hook(text: &str) -> Option<ObjectRef> {
    let (_, release) = text.split_once(" for release ")?;
    let (namespace, _) = release.split_once('/').filter(|(namespace, _)| is_name(namespace))?;
    let mut named =
        text.match_indices("job ").filter_map(|(at, before)| text[at + before.len()..].split_once(" failed"));
    let (name, _) = named.find(|(name, _)| is_name(name))?;
    Some(ObjectRef::new("Job", namespace, name))
}

/// The name of the object that kustomize-controller could not decrypt, with its namespace where the text tells.
pub fn undecrypted(text: &str) -> Option<(Option<&str>, &str)> {
    let (_, rest) = text.split_once("decryption failed for '")?;
    // `'db'`, or with its kind as kustomize writes it: `'Secret.v1.[noGrp]/db'`.
    let name = rest.split('\'').next()?.rsplit('/').next().filter(|name| is_name(name))?;
    Some((quoted_namespace(rest, name), name))
}

/// The Services of this cluster that a text names by their DNS names, as namespace and name: `db.shop.svc`, and a name
/// without a dot that was looked up or dialed, which is one of the object's own namespace.
pub fn services(text: &str, namespace: &str) -> Vec<ObjectRef> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || ".-".contains(c)));
    let full = words.filter_map(|word| {
        let mut parts = word.trim_end_matches('.').split('.');
        let (name, of, svc) = (parts.next()?, parts.next()?, parts.next()?);
        (svc == "svc" && is_name(name) && is_name(of)).then(|| ObjectRef::new("Service", of, name))
    });
    let mut found: Vec<ObjectRef> = full.collect();
    const BEFORE: &[&str] = &[
        "lookup ",
        "connect to ",
        "connecting to ",
        "dial tcp ",
        "getaddrinfo ENOTFOUND ",
        "getaddrinfo EAI_AGAIN ",
    ];
    for before in BEFORE {
        for (at, _) in text.match_indices(before) {
            let rest = text[at + before.len()..].trim_start_matches(['"', '\'']);
            let word = rest
                .split(|c: char| !(c.is_ascii_alphanumeric() || "-.".contains(c)))
                .next()
                .unwrap_or_default();
            let is_label =
                is_name(word) && !word.contains('.') && word.chars().any(|c| c.is_ascii_alphabetic());
            if is_label && !["lookup", "server", "the", "host", "localhost", "tcp"].contains(&word) {
                found.push(ObjectRef::new("Service", namespace, word));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

fn is_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.:".contains(c);
    !name.is_empty() && name.len() <= 253 && name.chars().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Vec<String> {
        let line = |s: Said| match s.key {
            Some(key) => format!("{} lacks {key}", s.object),
            None => s.object.to_string(),
        };
        missing(text, "shop").into_iter().map(line).collect()
    }

    /// The texts are those of the kubelet, kube-scheduler, kube-controller-manager, kustomize-controller and
    /// helm-controller.
    #[test]
    fn what_is_said_not_to_exist_is_read() {
        for (text, object) in [
            (
                r#"MountVolume.SetUp failed for volume "config" : configmap "web" not found"#,
                "ConfigMap shop/web",
            ),
            (
                r#"MountVolume.SetUp failed for volume "all" : [secret "a" not found, configmap "b" not found]"#,
                "Secret shop/a",
            ),
            (r#"Error: secret "db" not found"#, "Secret shop/db"),
            (r#"secret "db" not found"#, "Secret shop/db"),
            (
                r#"0/3 nodes are available: persistentvolumeclaim "data" not found. not found"#,
                "PersistentVolumeClaim shop/data",
            ),
            (
                r#"pods "web-5d-" is forbidden: error looking up service account shop/web: serviceaccount "web" not found"#,
                "ServiceAccount shop/web",
            ),
            (
                r#"cannot get decryption Secret 'flux-system/sops-age': Secret "sops-age" not found"#,
                "Secret flux-system/sops-age",
            ),
            (
                r#"could not resolve Secret chart values reference 'shop/web-values' with key 'values.yaml': secrets "web-values" not found"#,
                "Secret shop/web-values",
            ),
            (
                r#"substitute from 'ConfigMap/cluster' error: configmaps "cluster" not found"#,
                "ConfigMap shop/cluster",
            ),
            (r#"Deployment/x/web namespace not specified: namespaces "x" not found"#, "Namespace x"),
            ("couldn't find key PASSWORD in Secret shop/db", "Secret shop/db lacks PASSWORD"),
            ("Error: couldn't find key mode in ConfigMap shop/web", "ConfigMap shop/web lacks mode"),
            (
                "Unable to retrieve some image pull secrets (registry); attempting to pull the image may not succeed.",
                "Secret shop/registry",
            ),
            (r#"pods "x" is forbidden: no PriorityClass with name high was found"#, "PriorityClass high"),
            (
                r#"failed to get secretproviderclass shop/vault, error: SecretProviderClass.secrets-store.csi.x-k8s.io "vault" not found"#,
                "SecretProviderClass shop/vault",
            ),
        ] {
            assert_eq!(said(text).first().map_or("", String::as_str), object, "{text}");
        }
        assert_eq!(said(r#"[secret "a" not found, configmap "b" not found]"#).len(), 2);
    }

    #[test]
    fn what_is_no_name_of_an_object_is_not_read() {
        for text in [
            r#"service "cert-manager-webhook" not found"#,
            r#"manifest for "web:1" not found"#,
            r#"secret "" not found"#,
            r#"secret "A B" not found"#,
            r#"" not found"#,
            "couldn't find key x",
        ] {
            assert!(said(text).is_empty(), "{text}: {:?}", said(text));
        }
    }

    #[test]
    fn what_a_health_check_waited_for_is_read() {
        let named = |text: &str| waited_for(text).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            named(
                "health check failed after 5m: timeout waiting for: [Deployment/shop/web status: 'InProgress', Job/shop/db status: 'InProgress']"
            ),
            ["Deployment shop/web", "Job shop/db"]
        );
        assert_eq!(
            named(
                "health check failed after 1s: failed early due to stalled resources: [HelmRelease/shop/web status: 'Failed']"
            ),
            ["HelmRelease shop/web"]
        );
        assert_eq!(
            named(
                "Helm install failed for release shop/web with chart web@1.0.0: resource Deployment/shop/web not ready. status: InProgress, message: Available: 0/1"
            ),
            ["Deployment shop/web"]
        );
        for text in ["https://Host/a/b", "main@sha1:1234", "TLS/1/2", "a/b/c", "see docs/A/b/c/d"] {
            assert!(named(text).is_empty(), "{text}: {:?}", named(text));
        }
    }

    #[test]
    fn the_job_of_a_hook_is_read() {
        let helm = |said: &str| {
            failed_hook(&format!("Helm upgrade failed for release shop/web with chart web@2.0.0: {said}"))
        };
        let job = || Some(ObjectRef::new("Job", "shop", "web-migrate"));
        assert_eq!(
            helm(
                "pre-upgrade hooks failed: 1 error occurred:\n\t* job web-migrate failed: BackoffLimitExceeded\n\n"
            ),
            job()
        );
        assert_eq!(helm("post-install hooks failed: job web-migrate failed: DeadlineExceeded"), job());
        assert_eq!(helm("timed out waiting for the condition"), None);
        assert_eq!(helm("the job failed"), None);
        assert_eq!(failed_hook("* job web-migrate failed: x"), None);
    }

    #[test]
    fn services_that_a_text_names_are_read() {
        for (text, expected) in [
            (
                "Post \"https://kyverno-svc.kyverno.svc:443/validate?timeout=10s\": no endpoints available for service \"kyverno-svc\"",
                &["Service kyverno/kyverno-svc"][..],
            ),
            (
                "dial tcp: lookup db.apps.svc.cluster.local on 10.96.0.10:53: no such host",
                &["Service apps/db"],
            ),
            (
                "http://source-controller.flux-system.svc.cluster.local./x: connection refused",
                &["Service flux-system/source-controller"],
            ),
            ("dial tcp: lookup postgres on 10.96.0.10:53: no such host", &["Service shop/postgres"]),
            ("getaddrinfo ENOTFOUND redis", &["Service shop/redis"]),
            ("could not connect to server: Connection refused", &[]),
            ("dial tcp: lookup gitlab.example.com: no such host", &[]),
            ("dial tcp 10.0.0.1:443: connect: connection refused", &[]),
            ("failed to connect to db:5432", &["Service shop/db"]),
            ("the svc is down; a.b.c", &[]),
        ] {
            let found: Vec<String> = services(text, "shop").iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn what_could_not_be_decrypted_is_read() {
        let text = "decryption failed for 'token': failed to decrypt and format 'gitlab/token' Secret data: cannot get sops data key";
        assert_eq!(undecrypted(text), Some((Some("gitlab"), "token")));
        let text = "decryption failed for 'Secret.v1.[noGrp]/db': failed to decrypt and format 'shop/db' Secret data: cannot get sops data key";
        assert_eq!(undecrypted(text), Some((Some("shop"), "db")));
        assert_eq!(undecrypted("decryption failed for 'token': no key"), Some((None, "token")));
        assert_eq!(undecrypted("kustomize build failed"), None);
    }
}
