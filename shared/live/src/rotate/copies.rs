//! Copies of the credential: in the Secrets and ConfigMaps of all namespaces that may be read, in any form that decodes.

use std::collections::BTreeMap;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::rotate::mark::{Inside, Mark, Openers};
use gitlab_agent_core::snapshot::Why;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use serde::Deserialize;

use super::listing::{Name, pages};
use super::secret::Read;
use crate::access::{WriteClient, segment};
use crate::ssh;

/// So much of a packed value is looked through: a Secret holds 1 MiB at most.
const MOST_UNPACKED: u64 = 16 << 20;

/// What is looked for: a value, as long as this process has it, and its mark.
pub(super) struct Sought {
    pub(super) mark: Mark,
    pub(super) value: Option<SecretSlice<u8>>,
}

/// Whether an object holds it.
#[derive(Default)]
pub(super) struct Copies {
    /// Objects that hold it.
    pub(super) found: Vec<ObjectRef>,
    /// Objects of which more would have to be looked through.
    pub(super) unread: Vec<ObjectRef>,
}

impl Copies {
    pub(super) fn take(&mut self, inside: Inside, object: impl FnOnce() -> ObjectRef) {
        match inside {
            Inside::Yes => self.found.push(object()),
            Inside::Unknown => self.unread.push(object()),
            Inside::No => {}
        }
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.found.extend(other.found);
        self.unread.extend(other.unread);
    }
}

impl Sought {
    pub(super) fn is_in(&self, bytes: &[u8]) -> Inside {
        let value = self.value.as_ref().map(|value| value.expose_secret());
        self.mark.is_in(bytes, value, &Openers { public_half: &ssh::public_half, unpacked: &unpacked })
    }

    /// In any of several values.
    fn is_in_any<'a>(&self, values: impl Iterator<Item = Zeroizing<Vec<u8>>> + 'a) -> Inside {
        let mut all = Inside::No;
        for value in values {
            match self.is_in(&value) {
                Inside::Yes => return Inside::Yes,
                Inside::Unknown => all = Inside::Unknown,
                Inside::No => {}
            }
        }
        all
    }
}

/// What is in a file of gzip, as far as it is of the size of a Secret.
fn unpacked(bytes: &[u8]) -> Option<Vec<u8>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return None;
    }
    let mut inside = Vec::new();
    let mut bounded = flate2::read::MultiGzDecoder::new(bytes).take(MOST_UNPACKED);
    let read = std::io::copy(&mut bounded, &mut inside);
    // What came before it broke off counts.
    (read.is_ok() || !inside.is_empty()).then_some(inside)
}

/// The keys of a Secret that hold the value and are none of those that are written.
/// One of which more would have to be looked through counts as one that does.
pub(super) fn other_keys(read: &Read, sought: &Sought) -> Vec<String> {
    let holds = |value: &SecretSlice<u8>| sought.is_in(value.expose_secret()) != Inside::No;
    read.rest.iter().filter(|(_, value)| holds(value)).map(|(key, _)| key.clone()).collect()
}

/// A kind of objects that hold values: the path of its lists, its plural, and which of them are looked at.
pub(super) struct Store {
    kind: &'static str,
    pub(super) plural: &'static str,
    query: &'static str,
}

/// What Helm keeps of releases are megabytes, and read by nothing but Helm; service account tokens are not GitLab's.
pub(super) const SECRETS: Store = Store {
    kind: "Secret",
    plural: "secrets",
    query: "&fieldSelector=type%21%3Dhelm.sh%2Frelease.v1%2Ctype%21%3Dkubernetes.io%2Fservice-account-token",
};

pub(super) const CONFIG_MAPS: Store = Store { kind: "ConfigMap", plural: "configmaps", query: "" };

#[derive(Deserialize)]
struct Stored {
    metadata: Described,
    #[serde(default)]
    data: Option<BTreeMap<String, SecretString>>,
    #[serde(default, rename = "binaryData")]
    binary: Option<BTreeMap<String, SecretString>>,
}

/// `kubectl apply` keeps what it applied in an annotation.
#[derive(Deserialize)]
struct Described {
    #[serde(flatten)]
    of: Name,
    #[serde(default)]
    annotations: Option<BTreeMap<String, SecretString>>,
}

impl Stored {
    /// What it holds, decoded: of a Secret the data is in base64, of a ConfigMap only what is binary.
    fn values(&self, is_secret: bool) -> impl Iterator<Item = Zeroizing<Vec<u8>>> {
        let encoded = |value: &SecretString| STANDARD.decode(value.expose_secret()).unwrap_or_default();
        let data = self.data.iter().flatten().map(move |(_, value)| match is_secret {
            true => encoded(value),
            false => value.expose_secret().as_bytes().to_vec(),
        });
        let binary = self.binary.iter().flatten().map(move |(_, value)| encoded(value));
        let annotations = self.metadata.annotations.iter().flatten();
        let annotations = annotations.map(|(_, value)| value.expose_secret().as_bytes().to_vec());
        data.chain(binary).chain(annotations).map(Zeroizing::new)
    }
}

/// The Secrets or ConfigMaps of a namespace, or of all, that hold the value.
pub(super) async fn copies(
    client: &WriteClient,
    store: &Store,
    namespace: &str,
    sought: &Sought,
) -> Result<Copies, Why> {
    let Store { kind, plural, query } = store;
    let (path, asked) = match namespace {
        "" => (format!("/api/v1/{plural}"), format!("list {plural} in all namespaces")),
        one => (
            format!("/api/v1/namespaces/{}/{plural}", segment(one)),
            format!("list {plural} in namespace {one}"),
        ),
    };
    let mut all = Copies::default();
    pages(client, (&path, query), ("v1", kind), &asked, |stored: Stored| {
        let inside = sought.is_in_any(stored.values(*kind == "Secret"));
        all.take(inside, || {
            let Name { name, namespace } = &stored.metadata.of;
            ObjectRef::new(kind, namespace, name)
        });
    })
    .await?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::holders::Holders;
    use super::*;

    #[test]
    fn another_key_of_the_secret_with_the_value_is_seen() {
        let value = Some(SecretSlice::from(b"the-old-value".to_vec()));
        let sought = Sought { mark: Mark::of("salt", b"the-old-value"), value };
        let auth = r#"{"auths": {"r": {"username": "x", "password": "the-old-value"}}}"#;
        for (key, text, found) in [
            ("agent-token", "the-old-value", true),
            ("bearerToken", "the-old-value\n", true),
            (".dockerconfigjson", auth, true),
            ("config.yaml", "token: the-old-value", true),
            (".netrc", "machine h login x password the-old-value", true),
            ("url", "https://x:the-old-value@gitlab.example.com/a/b.git", true),
            ("ca.crt", "-----BEGIN CERTIFICATE-----", false),
            ("username", "the-old", false),
            ("other", "another-value", false),
        ] {
            let value = SecretSlice::from(text.as_bytes().to_vec());
            let read = Read { rest: BTreeMap::from([(key.to_owned(), value)]), ..Read::default() };
            let keys = other_keys(&read, &sought);
            assert_eq!(keys, if found { vec![key.to_owned()] } else { Vec::new() }, "{key}");
            let holders = Holders { keys, ..Holders::default() };
            assert_eq!(!holders.left_behind("Secret n/t").is_empty(), found, "{key}");
        }
    }

    #[test]
    fn a_packed_copy_is_seen() {
        use std::io::Write as _;
        let sought = Sought {
            mark: Mark::of("salt", b"the-old-value"),
            value: Some(SecretSlice::from(b"the-old-value".to_vec())),
        };
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packer.write_all(br#"{"outputs": {"token": {"value": "xthe-old-valuex"}}}"#).expect("packed");
        let packed = packer.finish().expect("packed");
        assert_eq!(sought.is_in(&packed), Inside::Yes);
        assert_eq!(sought.is_in(&packed[..12]), Inside::No);
        assert!(unpacked(b"plain").is_none());
    }

    #[test]
    fn what_secrets_and_config_maps_hold_is_decoded_as_each_is_written() {
        let value = Some(SecretSlice::from(b"the-old-value".to_vec()));
        let sought = Sought { mark: Mark::of("salt", b"the-old-value"), value };
        let encoded = STANDARD.encode("token: the-old-value");
        for (kind, json, found) in [
            ("Secret", format!(r#"{{"data": {{"a": "", "b": "{encoded}"}}}}"#), Inside::Yes),
            ("ConfigMap", r#"{"data": {"a": "x", "b": "token: the-old-value"}}"#.to_owned(), Inside::Yes),
            ("ConfigMap", format!(r#"{{"binaryData": {{"b": "{encoded}"}}}}"#), Inside::Yes),
            ("ConfigMap", format!(r#"{{"data": {{"b": "{encoded}"}}}}"#), Inside::Yes),
            ("ConfigMap", r#"{"data": {"a": "another-value"}}"#.to_owned(), Inside::No),
            (
                "Secret",
                format!(
                    r#"{{"metadata": {{"name": "c", "annotations": {{"kubectl.kubernetes.io/last-applied-configuration": "{encoded}"}}}}}}"#
                ),
                Inside::Yes,
            ),
            ("Secret", r#"{"data": null}"#.to_owned(), Inside::No),
            ("Secret", "{}".to_owned(), Inside::No),
        ] {
            let json = match json.contains("metadata") {
                true => json,
                false => json.replacen('{', r#"{"metadata": {"name": "c"}, "#, 1).replace(", }", "}"),
            };
            let stored: Stored = serde_json::from_str(&json).expect("an object");
            assert_eq!(sought.is_in_any(stored.values(kind == "Secret")), found, "{kind} {json}");
        }
    }
}
