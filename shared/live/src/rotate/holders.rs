//! Who else holds the credential and who else reads the Secret, looked up in the cluster: all Secrets that may be read, and in
//! the Secret's namespace everything that may read it. What may not be read is said.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use futures_util::future::join_all;
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::rotate::holders::{READER_KINDS, ReaderKind, Reading, external_secrets, readers};
use gitlab_agent_core::rotate::mark::{Mark, Openers};
use gitlab_agent_core::snapshot::{Why, WhyKind};
use http::StatusCode;
use secrecy::zeroize::{Zeroize as _, Zeroizing};
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::form::Form;
use super::pods::Sight;
use super::secret::Read;
use super::target::Target;
use crate::access::{Answer, WriteClient, segment};
use crate::ssh;

/// What Helm keeps of releases are megabytes, and read by nothing but Helm; service account tokens are not GitLab's.
const WHICH: &str = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token";
/// How many objects one answer holds.
const PAGE: usize = 200;
/// So many names a sentence lists.
const NAMED: usize = 10;
/// So much of a packed value is looked through: a Secret holds 1 MiB at most.
const MOST_UNPACKED: u64 = 16 << 20;

/// What was found, and what could not be looked at.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// Other Secrets with the same value.
    pub(super) copies: Vec<ObjectRef>,
    /// Keys of the Secret itself that hold it too, and are not written.
    pub(super) keys: Vec<String>,
    /// What reads the Secret and takes no part in the rotation.
    pub(super) readers: Vec<ObjectRef>,
    /// What reads it each time that it is used, and so follows by itself.
    pub(super) following: Vec<ObjectRef>,
    /// What may not be read, in words.
    pub(super) unseen: Vec<String>,
    /// What did not answer, in words: that passes, and nothing is to be permitted.
    pub(super) silent: Vec<String>,
}

impl Holders {
    /// Looks; `read` is the Secret as it is now, `own` are the Secrets of this rotation. Without a value that is known only
    /// readers are looked for: nothing is revoked then.
    pub(super) async fn look(
        client: &WriteClient,
        target: &Target,
        sought: Option<&Sought>,
        read: &Read,
        own: &[&str],
    ) -> Self {
        let mut found = Self::default();
        if let Some(sought) = sought {
            found.keys = other_keys(read, sought);
            found.find_copies(client, target, sought, own).await;
        }
        found.find_readers(client, target, read).await;
        found
    }

    async fn find_copies(&mut self, client: &WriteClient, target: &Target, sought: &Sought, own: &[&str]) {
        let home = target.namespace();
        let ours = |object: &ObjectRef| object.namespace == home && own.contains(&object.name.as_str());
        match copies(client, "", sought).await {
            Ok(all) => self.copies.extend(all.into_iter().filter(|object| !ours(object))),
            Err(why) if why.kind == WhyKind::Forbidden => {
                let (namespaces, whole) = match namespaces(client).await {
                    Ok(all) => (all, true),
                    Err(why) if is_silent(&why) => return self.silent.push(words(&why)),
                    Err(_) => (vec![home.to_owned()], false),
                };
                let scans = namespaces.iter().map(|namespace| copies(client, namespace, sought));
                let mut closed = Vec::new();
                for (namespace, scan) in namespaces.iter().zip(join_all(scans).await) {
                    match scan {
                        Ok(all) => self.copies.extend(all.into_iter().filter(|object| !ours(object))),
                        Err(why) if is_silent(&why) => self.silent.push(words(&why)),
                        Err(_) => closed.push(namespace.clone()),
                    }
                }
                if !whole {
                    self.unseen.push(format!("Secrets of other namespaces than {home} (list secrets)"));
                }
                if !closed.is_empty() {
                    self.unseen.push(format!("Secrets of {} (list secrets)", some(&closed)));
                }
            }
            Err(why) if is_silent(&why) => self.silent.push(words(&why)),
            Err(why) => self.unseen.push(format!("Secrets ({})", words(&why))),
        }
    }

    async fn find_readers(&mut self, client: &WriteClient, target: &Target, read: &Read) {
        let namespace = target.namespace();
        let served = Served::look(client).await;
        let look = |kind| listing(client, &served, kind, namespace);
        let listings = join_all(READER_KINDS.iter().map(look)).await;
        let mut objects = Vec::new();
        let mut closed = Vec::new();
        for (kind, listing) in READER_KINDS.iter().zip(listings) {
            match listing {
                Ok(items) => objects.extend(items.into_iter().map(|item| (kind.kind, item))),
                Err(why) if is_silent(&why) => self.silent.push(words(&why)),
                Err(_) => closed.push(kind.plural.to_owned()),
            }
        }
        if !closed.is_empty() {
            self.unseen.push(format!("{} in namespace {namespace} (list)", closed.join(", ")));
        }
        // Where ReplicaSets may not be listed, whose a pod is the Deployments' own labels tell.
        let mut own = Vec::new();
        if closed.iter().any(|plural| plural == "replicasets") {
            for agentk in target.agentks() {
                if let Ok(Some(sight)) = Sight::look(client, &agentk.deployment).await {
                    own.extend(sight.names());
                }
            }
        }
        for (by, reading) in readers(&objects, &target.secret.name, &read.metadata.labels) {
            if by.kind == "Pod" && own.contains(&format!("{}/{}", by.namespace, by.name)) {
                continue;
            }
            let follows = reading == Reading::AtEachUse && matches!(target.form, Form::Docker(_));
            match () {
                () if target.readers.contains(&by) => {}
                () if follows => self.following.push(by),
                () => self.readers.push(by),
            }
        }
    }

    /// Whoever would be left with a dead credential, in words; none where nobody would.
    pub(super) fn left_behind(&self, name: &str) -> Vec<String> {
        let mut words = Vec::new();
        if !self.keys.is_empty() {
            words.push(format!(
                "{name} holds it under another key too, which stays as it is: {}",
                some(&self.keys)
            ));
        }
        if !self.copies.is_empty() {
            words.push(format!("the same value is in {}", names(&self.copies)));
        }
        if !self.readers.is_empty() {
            words.push(format!("{name} is also read by {}", names(&self.readers)));
        }
        words
    }
}

/// What is looked for: a value, as long as this process has it, and its mark.
pub(super) struct Sought {
    pub(super) mark: Mark,
    pub(super) value: Option<SecretString>,
}

impl Sought {
    fn is_in(&self, bytes: &[u8]) -> bool {
        let value = self.value.as_ref().map(|value| value.expose_secret().as_bytes());
        self.mark.is_in(bytes, value, &Openers { public_half: &ssh::public_half, unpacked: &unpacked })
    }
}

/// What is in a file of gzip, as far as it is of the size of a Secret.
fn unpacked(bytes: &[u8]) -> Option<Vec<u8>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return None;
    }
    let mut inside = Vec::new();
    let read = flate2::read::MultiGzDecoder::new(bytes).take(MOST_UNPACKED).read_to_end(&mut inside);
    // What came before it broke off counts.
    (read.is_ok() || !inside.is_empty()).then_some(inside)
}

/// The keys of a Secret that hold the value and are none of those that are written.
fn other_keys(read: &Read, sought: &Sought) -> Vec<String> {
    let holds = |value: &SecretSlice<u8>| sought.is_in(value.expose_secret());
    read.rest.iter().filter(|(_, value)| holds(value)).map(|(key, _)| key.clone()).collect()
}

/// Nobody said no: it may be asked again.
fn is_silent(why: &Why) -> bool {
    matches!(why.kind, WhyKind::Unreachable | WhyKind::TimedOut | WhyKind::SignIn)
}

fn words(why: &Why) -> String {
    format!("{}: {}", why.asked, why.message)
}

/// Some of many, in words.
fn some(all: &[String]) -> String {
    let shown = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = all.len().saturating_sub(NAMED);
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

pub(super) fn names(objects: &[ObjectRef]) -> String {
    some(&objects.iter().map(ToString::to_string).collect::<Vec<_>>())
}

#[derive(Deserialize)]
struct Page<T> {
    #[serde(default)]
    metadata: PageMeta,
    items: Vec<T>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PageMeta {
    #[serde(rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Secret {
    metadata: Name,
    #[serde(default)]
    data: Option<BTreeMap<String, SecretString>>,
}

#[derive(Deserialize)]
struct Name {
    name: String,
    #[serde(default)]
    namespace: String,
}

/// Whether a list is missing because no such API is served. The API server says that in plain text; its own kinds are served
/// always. Whatever else says "not found" of a list hides it.
fn not_served(answer: &Answer, asked: &str, api_version: &str) -> Result<(), Why> {
    let own = !api_version.contains('.');
    if own || answer.api_status().is_some() {
        return Err(Why::new(WhyKind::Unreadable, asked, format!("it is hidden: {}", answer.said())));
    }
    Ok(())
}

/// Reads a list page by page; each item is given away as it comes. `false` where no such API is served.
async fn pages<T: DeserializeOwned>(
    client: &WriteClient,
    (path, query): (&str, &str),
    (api_version, kind): (&str, &str),
    asked: &str,
    mut take: impl FnMut(T),
) -> Result<bool, Why> {
    let mut next = String::new();
    let mut seen = BTreeSet::new();
    loop {
        let url = format!("{path}?limit={PAGE}{query}{next}");
        let mut answer = client.read.get(&url, "application/json", asked).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return not_served(&answer, asked, api_version).map(|()| false);
        }
        let page = answer.list::<Page<T>>(asked, api_version, kind);
        answer.body.zeroize();
        let page = page?;
        page.items.into_iter().for_each(&mut take);
        match page.metadata.next.filter(|token| !token.is_empty()) {
            Some(token) if seen.insert(token.clone()) => next = format!("&continue={}", segment(&token)),
            Some(_) => {
                return Err(Why::new(
                    WhyKind::Unreadable,
                    asked,
                    "the list comes again and again, and never ends",
                ));
            }
            None => return Ok(true),
        }
    }
}

/// The Secrets of a namespace, or of all, that hold the value.
async fn copies(client: &WriteClient, namespace: &str, sought: &Sought) -> Result<Vec<ObjectRef>, Why> {
    let (path, asked) = match namespace {
        "" => ("/api/v1/secrets".to_owned(), "list secrets in all namespaces".to_owned()),
        one => (
            format!("/api/v1/namespaces/{}/secrets", segment(one)),
            format!("list secrets in namespace {one}"),
        ),
    };
    let mut found = Vec::new();
    let query = format!("&fieldSelector={}", segment(WHICH));
    pages(client, (&path, &query), ("v1", "Secret"), &asked, |secret: Secret| {
        let holds = secret.data.iter().flatten().any(|(_, value)| holds(sought, value.expose_secret()));
        if holds {
            found.push(ObjectRef::new("Secret", &secret.metadata.namespace, &secret.metadata.name));
        }
    })
    .await?;
    Ok(found)
}

fn holds(sought: &Sought, encoded: &str) -> bool {
    use base64::Engine as _;
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).map(Zeroizing::new);
    decoded.is_ok_and(|bytes| sought.is_in(&bytes))
}

async fn namespaces(client: &WriteClient) -> Result<Vec<String>, Why> {
    #[derive(Deserialize)]
    struct Named {
        metadata: Name,
    }
    let mut names = Vec::new();
    let take = |n: Named| names.push(n.metadata.name);
    pages(client, ("/api/v1/namespaces", ""), ("v1", "Namespace"), "list namespaces", take).await?;
    Ok(names)
}

/// Which versions of an API group are served, as discovery tells; nothing where it does not.
struct Served(BTreeMap<String, Vec<String>>);

impl Served {
    async fn look(client: &WriteClient) -> Self {
        #[derive(Deserialize)]
        struct Groups {
            groups: Vec<Group>,
        }
        #[derive(Deserialize)]
        struct Group {
            name: String,
            versions: Vec<Version>,
        }
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        let asked = "discover the APIs";
        let answer = client.read.get("/apis", "application/json", asked).await.ok();
        let groups = answer.and_then(|answer| {
            answer.expect_kind(asked, "v1", "APIGroupList").ok()?;
            serde_json::from_slice::<Groups>(&answer.body).ok()
        });
        let versions = |group: Group| (group.name, group.versions.into_iter().map(|v| v.version).collect());
        Self(groups.map(|all| all.groups.into_iter().map(versions).collect()).unwrap_or_default())
    }

    /// The API versions of a kind: the known one, then whatever else its group serves.
    fn versions(&self, kind: &ReaderKind) -> Vec<String> {
        let known = kind.api.trim_start_matches("/apis/").trim_start_matches("/api/").to_owned();
        let group = known.split_once('/').map(|(group, _)| group).filter(|group| group.contains('.'));
        let all = group.and_then(|group| Some((group, self.0.get(group)?)));
        let others = all.into_iter().flat_map(|(group, all)| all.iter().map(move |v| format!("{group}/{v}")));
        let others: Vec<String> = others.filter(|version| *version != known).collect();
        std::iter::once(known).chain(others).collect()
    }
}

async fn listing(
    client: &WriteClient,
    served: &Served,
    kind: &ReaderKind,
    namespace: &str,
) -> Result<Vec<Value>, Why> {
    let asked = format!("list {} in namespace {namespace}", kind.plural);
    for api_version in served.versions(kind) {
        let root = if api_version.contains('/') { "/apis" } else { "/api" };
        let path = format!("{root}/{api_version}/namespaces/{}/{}", segment(namespace), kind.plural);
        let mut found = Vec::new();
        let take = |item: Value| found.push(item);
        if pages(client, (&path, ""), (&api_version, kind.kind), &asked, take).await? {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// ExternalSecrets that write the Secret, whatever signs they left on it.
pub(super) async fn writers(client: &WriteClient, target: &Target) -> Result<Vec<ObjectRef>, Why> {
    const EXTERNAL: ReaderKind =
        ReaderKind { kind: "ExternalSecret", api: "/apis/external-secrets.io/v1", plural: "externalsecrets" };
    let served = Served::look(client).await;
    let all = listing(client, &served, &EXTERNAL, target.namespace()).await?;
    Ok(external_secrets(&all, &target.secret.name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::HeaderMap;

    use super::*;

    #[test]
    fn another_key_of_the_secret_with_the_value_is_seen() {
        let value = Some(SecretString::from("the-old-value"));
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
    fn only_an_api_that_is_not_served_has_no_items() {
        let status = r#"{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}"#;
        let plain = "404 page not found";
        for (api_version, body, none) in [
            ("v1", status, false),
            ("v1", plain, false),
            ("apps/v1", status, false),
            ("apps/v1", plain, false),
            ("batch/v1", plain, false),
            ("source.toolkit.fluxcd.io/v1", status, false),
            ("source.toolkit.fluxcd.io/v1", plain, true),
            ("external-secrets.io/v1alpha1", plain, true),
            ("external-secrets.io/v1alpha1", status, false),
            ("image.toolkit.fluxcd.io/v1", plain, true),
        ] {
            let answer = Answer::of(StatusCode::NOT_FOUND, HeaderMap::new(), body.as_bytes().to_vec());
            assert_eq!(not_served(&answer, "list", api_version).is_ok(), none, "{api_version} {body}");
        }
    }

    #[test]
    fn a_packed_copy_is_seen() {
        use std::io::Write as _;
        let sought = Sought {
            mark: Mark::of("salt", b"the-old-value"),
            value: Some(SecretString::from("the-old-value")),
        };
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packer.write_all(br#"{"outputs": {"token": {"value": "xthe-old-valuex"}}}"#).expect("packed");
        let packed = packer.finish().expect("packed");
        assert!(sought.is_in(&packed) && !sought.is_in(&packed[..12]));
        assert!(unpacked(b"plain").is_none());
    }

    #[test]
    fn a_kind_is_asked_for_in_every_version_that_its_group_serves() {
        let served = Served(BTreeMap::from([
            ("external-secrets.io".to_owned(), vec!["v1".to_owned(), "v1alpha1".to_owned()]),
            ("image.toolkit.fluxcd.io".to_owned(), vec!["v1beta2".to_owned()]),
        ]));
        let versions = |kind: &str| {
            let kind = READER_KINDS.iter().find(|k| k.kind == kind).expect("a kind");
            served.versions(kind).join(" ")
        };
        assert_eq!(versions("PushSecret"), "external-secrets.io/v1alpha1 external-secrets.io/v1");
        assert_eq!(versions("ImageRepository"), "image.toolkit.fluxcd.io/v1 image.toolkit.fluxcd.io/v1beta2");
        assert_eq!(versions("Pod"), "v1");
        assert_eq!(versions("Deployment"), "apps/v1");
        assert_eq!(versions("Provider"), "notification.toolkit.fluxcd.io/v1beta3");
    }
}
