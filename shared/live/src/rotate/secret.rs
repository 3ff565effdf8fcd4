//! The Secret that is rotated: read with its values in a type that cannot print, changed only as the version that was
//! read.

use std::collections::BTreeMap;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::rotate::Held;
use gitlab_agent_core::rotate::journal::{ANNOTATION, Journal, fingerprint};
use gitlab_agent_core::rotate::owner::Metadata;
use gitlab_agent_core::snapshot::secret::KeyShape;
use gitlab_agent_core::snapshot::{SecretShape, Why, WhyKind};
use http::StatusCode;
use jiff::Timestamp;
use secrecy::zeroize::Zeroize;
use secrecy::{ExposeSecret, SecretSlice};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::access::{Answer, WriteClient, segment};

/// Only metadata: whether an object is there, without what is in it.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const JSON: &str = "application/json";

/// Where a Secret is, and which of its keys are meant.
#[derive(Clone, Debug)]
pub struct Place {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The keys that are written and compared, whether they are there or not.
    pub keys: Vec<&'static str>,
}

/// What is written into a Secret: `None` takes a key away. Values are in a type that cannot print.
pub(super) type Content = BTreeMap<&'static str, Option<SecretSlice<u8>>>;

/// A Secret as it was read.
#[derive(Default)]
pub(super) struct Read {
    pub(super) metadata: Metadata,
    /// `type`.
    pub(super) kind: String,
    pub(super) uid: String,
    pub(super) version: String,
    pub(super) immutable: bool,
    /// What the keys that are meant hold.
    pub(super) values: Content,
    /// What the other keys hold.
    pub(super) rest: BTreeMap<String, SecretSlice<u8>>,
    /// What can be said of them, and of the others.
    pub(super) shapes: BTreeMap<String, KeyShape>,
    /// When one of the keys that are meant last changed, by the API server's clock.
    pub(super) changed_at: Option<Timestamp>,
    pub(super) journal: Option<Journal>,
}

/// What became of a change.
#[derive(Debug)]
pub(super) enum Change {
    /// It was made.
    Made,
    /// The object is not as it was read any more.
    Conflict,
    /// The API server says no, and would say no again.
    Refused(String),
    /// It may have been made or not.
    Unknown(Why),
}

impl Place {
    fn collection(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets", segment(&self.namespace))
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{}", self.collection(), segment(name))
    }

    fn object(&self, name: &str) -> ObjectRef {
        ObjectRef::new("Secret", &self.namespace, name)
    }

    fn asked(&self, verb: &str, name: &str) -> String {
        format!("{verb} secret {}/{name}", self.namespace)
    }

    /// Reads the Secret, or another of the same namespace; `None` where it is not there.
    pub(super) async fn read(&self, client: &WriteClient, name: &str) -> Result<Option<Read>, Why> {
        let asked = self.asked("get", name);
        let mut answer = client.read.get(&self.path(name), JSON, &asked).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let own = answer.expect_object(&asked, &self.object(name));
        let read = own.and_then(|()| decode(&answer.body, &self.keys, &asked));
        answer.body.zeroize();
        read.map(Some)
    }

    /// Whether another Secret of the same namespace is there.
    pub(super) async fn exists(&self, client: &WriteClient, name: &str) -> Result<bool, Why> {
        let asked = self.asked("get", name);
        let answer = client.read.get(&self.path(name), METADATA, &asked).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        let bare = ObjectRef::new("PartialObjectMetadata", &self.namespace, name);
        answer.expect_object(&asked, &bare).map(|()| true)
    }

    /// Changes annotations (`null` takes one away) and, where given, the values; only as the version that was read.
    pub(super) async fn change(
        &self,
        client: &WriteClient,
        read: &Read,
        annotations: Value,
        content: Option<&Content>,
    ) -> Change {
        let patch = patch(read, annotations, content);
        let asked = self.asked("patch", &self.name);
        changed(client.patch(&self.path(&self.name), &patch, &asked).await, &asked, &self.object(&self.name))
    }

    /// The same without doing it.
    pub(super) async fn try_change(
        &self,
        client: &WriteClient,
        read: &Read,
        content: Option<&Content>,
    ) -> Change {
        let patch = patch(read, json!({ANNOTATION: "{}"}), content);
        let asked = self.asked("patch", &self.name);
        changed(
            client.try_patch(&self.path(&self.name), &patch, &asked).await,
            &asked,
            &self.object(&self.name),
        )
    }

    /// Keeps the values in a Secret of its own, owned by this one.
    pub(super) async fn back_up(&self, client: &WriteClient, read: &Read, name: &str, dry: bool) -> Change {
        // A key that is not there must not be there in the copy: the API server makes an empty value of `null`.
        let mut data = encoded(&read.values);
        data.retain(|_, value| !value.is_null());
        let owner = json!({"apiVersion": "v1", "kind": "Secret", "name": self.name, "uid": read.uid});
        let backup = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": name, "namespace": self.namespace, "ownerReferences": [owner],
                "labels": {MANAGED_BY: crate::access::FIELD_MANAGER}},
            "data": data,
        });
        let asked = self.asked("create", name);
        let answer = match dry {
            true => client.try_create(&self.collection(), &backup, &asked).await,
            false => client.create(&self.collection(), &backup, &asked).await,
        };
        changed(answer, &asked, &self.object(name))
    }

    /// Removes the Secret that [`Place::back_up`] made.
    pub(super) async fn remove(&self, client: &WriteClient, name: &str) -> Change {
        made(client.delete(&self.path(name), &self.asked("delete", name)).await)
    }
}

/// The change of a Secret, for the version that was read.
fn patch(read: &Read, annotations: Value, content: Option<&Content>) -> Value {
    let mut patch = json!({"metadata": {"resourceVersion": read.version, "annotations": annotations}});
    if let Some(content) = content {
        patch["data"] = encoded(content).into();
    }
    patch
}

fn encoded(content: &Content) -> Map<String, Value> {
    let base64 = |value: &Option<SecretSlice<u8>>| value.as_ref().map(|v| STANDARD.encode(v.expose_secret()));
    content.iter().map(|(key, value)| ((*key).to_owned(), json!(base64(value)))).collect()
}

/// [`fingerprint`] of what a Secret holds, or is to hold.
pub(super) fn fingerprint_of(id: &str, content: &Content) -> String {
    let plain = content.iter().map(|(key, value)| (*key, value.as_ref().map(|v| v.expose_secret())));
    fingerprint(id, &plain.collect())
}

impl Read {
    /// Which values it holds, by the journal.
    pub(super) fn held(&self) -> Held {
        let Some(journal) = &self.journal else { return Held::Old };
        journal.held(&fingerprint_of(&journal.id, &self.values))
    }

    /// Whether it is what a rotation keeps the old value in. The journal names it, and lies where others write: nothing else may
    /// be taken for it, or removed.
    pub(super) fn is_kept_for(&self, journal: &Journal) -> bool {
        let ours = self.metadata.labels.get(MANAGED_BY).is_some_and(|by| by == crate::access::FIELD_MANAGER);
        // What was started over keeps a value of before.
        ours && (journal.no_return || fingerprint_of(&journal.id, &self.values) == journal.old_fingerprint)
    }
}

/// What became of a change, from its answer.
pub(super) fn made(answer: Result<Answer, Why>) -> Change {
    match answer {
        Ok(answer) if answer.status == StatusCode::CONFLICT => Change::Conflict,
        Ok(answer) if answer.status == StatusCode::NOT_FOUND => {
            Change::Refused("the object is not there any more".to_owned())
        }
        Ok(_) => Change::Made,
        // 400 and 422 come as what could not be read, with the status in front.
        Err(why) if why.kind == WhyKind::Forbidden || is_no(&why) => {
            Change::Refused(format!("{}: {}", why.asked, why.message))
        }
        Err(why) => Change::Unknown(why),
    }
}

/// The same where the answer must be the object as it is after the change: of what else says yes nobody knows what it did.
pub(super) fn changed(answer: Result<Answer, Why>, asked: &str, object: &ObjectRef) -> Change {
    made(answer.and_then(|answer| {
        if answer.status.is_success() {
            answer.expect_object(asked, object)?;
        }
        Ok(answer)
    }))
}

fn is_no(why: &Why) -> bool {
    why.kind == WhyKind::Unreadable
        && ["400 ", "405 ", "413 ", "422 "].iter().any(|s| why.message.starts_with(s))
}

fn decode(body: &[u8], keys: &[&'static str], asked: &str) -> Result<Read, Why> {
    #[derive(Deserialize)]
    struct Whole {
        metadata: Versioned,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Versioned {
        #[serde(default)]
        uid: String,
        resource_version: String,
        #[serde(flatten)]
        metadata: Metadata,
    }
    let unreadable = |at: String| Why::new(WhyKind::Unreadable, asked, at);
    let whole: Whole = serde_json::from_slice(body)
        .map_err(|e| unreadable(format!("not a Secret, at line {} column {}", e.line(), e.column())))?;
    // Values come in the order of the keys.
    let (shape, read) = SecretShape::read(body, b"").map_err(unreadable)?;
    let mut values: Content = keys.iter().map(|key| (*key, None)).collect();
    let mut rest = BTreeMap::new();
    for (name, bytes) in shape.keys.keys().zip(read) {
        let value = SecretSlice::from(bytes);
        match values.get_mut(name.as_str()) {
            Some(slot) => *slot = Some(value),
            None => drop(rest.insert(name.clone(), value)),
        }
    }
    let Versioned { uid, resource_version, metadata } = whole.metadata;
    let journal = metadata.annotations.get(ANNOTATION).map(|text| Journal::read(text));
    let journal = journal.transpose().map_err(unreadable)?;
    let changed = keys.iter().filter_map(|key| shape.keys.get(*key)?.changed_at).max();
    Ok(Read {
        kind: shape.kind,
        uid,
        version: resource_version,
        immutable: shape.immutable,
        changed_at: changed,
        shapes: shape.keys,
        values,
        rest,
        journal,
        metadata,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(annotation: &str) -> String {
        format!(
            r#"{{"metadata": {{"name": "t", "namespace": "n", "uid": "u", "resourceVersion": "7", "annotations": {{{annotation}}}}},
              "data": {{"other": "{}", "token": "{}"}}}}"#,
            STANDARD.encode("MARKER-other"),
            STANDARD.encode("MARKER-token"),
        )
    }

    #[test]
    fn the_values_of_the_keys_are_read_and_no_error_quotes_one() {
        let read = decode(secret("").as_bytes(), &["absent", "token"], "get").expect("a Secret");
        let token = read.values["token"].as_ref().map(|v| v.expose_secret().to_vec());
        assert_eq!(token, Some(b"MARKER-token".to_vec()));
        assert!(read.values["absent"].is_none() && !read.values.contains_key("other"));
        assert!(!format!("{:?}", read.values).contains("MARKER"));
        for broken in [secret("").replace("\"7\"", "7"), secret("").replace("\"data\"", "\"data\": 1, \"x\"")]
        {
            let Err(why) = decode(broken.as_bytes(), &["token"], "get") else { panic!("{broken}") };
            assert!(!why.message.contains("MARKER"), "{}", why.message);
        }
    }

    #[test]
    fn what_is_not_to_be_there_is_taken_away() {
        let content =
            Content::from([("identity", Some(SecretSlice::from(b"a".to_vec()))), ("password", None)]);
        assert_eq!(Value::from(encoded(&content)), json!({"identity": "YQ==", "password": null}));
    }

    #[test]
    fn a_journal_that_cannot_be_read_is_an_error_not_none() {
        let text = secret(r#""cli.gitlab-agent.dev/rotation": "{}""#);
        assert!(decode(text.as_bytes(), &["token"], "get").is_err());
    }

    #[test]
    fn no_means_no_and_silence_means_nothing() {
        let why = |kind, text: &str| Err(Why::new(kind, "patch", text));
        assert!(matches!(made(why(WhyKind::Forbidden, "may not")), Change::Refused(_)));
        assert!(matches!(made(why(WhyKind::Unreadable, "422 invalid")), Change::Refused(_)));
        assert!(matches!(made(why(WhyKind::Unreadable, "500 broke")), Change::Unknown(_)));
        assert!(matches!(made(why(WhyKind::TimedOut, "504 late")), Change::Unknown(_)));
        assert!(matches!(made(why(WhyKind::Unreachable, "reset")), Change::Unknown(_)));
    }
}
