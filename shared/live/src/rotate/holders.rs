//! Who else holds the credential and who else reads the Secret, looked up in the cluster: all Secrets that may be read, and in
//! the Secret's namespace everything that may read it. What may not be read is said.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::rotate::holders::{Mark, READER_KINDS, ReaderKind, Reading, readers};
use gitlab_agent_core::snapshot::{Why, WhyKind};
use http::StatusCode;
use secrecy::zeroize::{Zeroize as _, Zeroizing};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::form::Form;
use super::pods::Sight;
use super::target::Target;
use crate::access::{WriteClient, segment};
use crate::ssh;

/// What Helm keeps of releases are megabytes, and read by nothing but Helm; service account tokens are not GitLab's.
const WHICH: &str = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token";
/// How many objects one answer holds.
const PAGE: usize = 200;
/// So many names a sentence lists.
const NAMED: usize = 10;

/// What was found, and what could not be looked at.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// Other Secrets with the same value.
    pub(super) copies: Vec<ObjectRef>,
    /// What reads the Secret and takes no part in the rotation.
    pub(super) readers: Vec<ObjectRef>,
    /// What reads it each time that it is used, and so follows by itself.
    pub(super) following: Vec<ObjectRef>,
    /// What may not be read, in words.
    pub(super) unseen: Vec<String>,
}

impl Holders {
    /// Looks. Without a mark only readers are looked for; `own` are the Secrets of this rotation.
    pub(super) async fn look(
        client: &WriteClient,
        target: &Target,
        mark: Option<&Mark>,
        own: &[&str],
    ) -> Self {
        let mut found = Self::default();
        if let Some(mark) = mark {
            found.find_copies(client, target, mark, own).await;
        }
        found.find_readers(client, target).await;
        found
    }

    async fn find_copies(&mut self, client: &WriteClient, target: &Target, mark: &Mark, own: &[&str]) {
        let home = target.namespace();
        let ours = |object: &ObjectRef| object.namespace == home && own.contains(&object.name.as_str());
        match copies(client, "", mark).await {
            Ok(all) => self.copies.extend(all.into_iter().filter(|object| !ours(object))),
            Err(why) if why.kind == WhyKind::Forbidden => {
                let (namespaces, whole) = match namespaces(client).await {
                    Ok(all) => (all, true),
                    Err(_) => (vec![home.to_owned()], false),
                };
                let scans = namespaces.iter().map(|namespace| copies(client, namespace, mark));
                let mut closed = Vec::new();
                for (namespace, scan) in namespaces.iter().zip(join_all(scans).await) {
                    match scan {
                        Ok(all) => self.copies.extend(all.into_iter().filter(|object| !ours(object))),
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
            Err(why) => self.unseen.push(format!("Secrets ({}: {})", why.asked, why.message)),
        }
    }

    async fn find_readers(&mut self, client: &WriteClient, target: &Target) {
        let namespace = target.namespace();
        let listings = join_all(READER_KINDS.iter().map(|kind| listing(client, kind, namespace))).await;
        let mut objects = Vec::new();
        let mut closed = Vec::new();
        for (kind, listing) in READER_KINDS.iter().zip(listings) {
            match listing {
                Ok(items) => objects.extend(items.into_iter().map(|item| (kind.kind, item))),
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
        for (by, reading) in readers(&objects, &target.secret.name) {
            if by.kind == "Pod" && own.contains(&format!("{}/{}", by.namespace, by.name)) {
                continue;
            }
            let follows = reading == Reading::AtEachUse && target.form == Form::Docker;
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
        if !self.copies.is_empty() {
            words.push(format!("the same value is in {}", names(&self.copies)));
        }
        if !self.readers.is_empty() {
            words.push(format!("{name} is also read by {}", names(&self.readers)));
        }
        words
    }
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

/// Reads a list page by page; each item is given away as it comes. An API that is not served has no items.
async fn pages<T: DeserializeOwned>(
    client: &WriteClient,
    path: &str,
    query: &str,
    asked: &str,
    mut take: impl FnMut(T),
) -> Result<(), Why> {
    let mut next = String::new();
    loop {
        let url = format!("{path}?limit={PAGE}{query}{next}");
        let mut answer = client.read.get(&url, "application/json", asked).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        let page = serde_json::from_slice::<Page<T>>(&answer.body);
        answer.body.zeroize();
        let page = page.map_err(|e| {
            let at = format!("the answer is not a list (line {} column {})", e.line(), e.column());
            Why::new(WhyKind::Unreadable, asked, at)
        })?;
        page.items.into_iter().for_each(&mut take);
        match page.metadata.next.filter(|token| !token.is_empty()) {
            Some(token) => next = format!("&continue={}", segment(&token)),
            None => return Ok(()),
        }
    }
}

/// The Secrets of a namespace, or of all, that hold the value.
async fn copies(client: &WriteClient, namespace: &str, mark: &Mark) -> Result<Vec<ObjectRef>, Why> {
    let (path, asked) = match namespace {
        "" => ("/api/v1/secrets".to_owned(), "list secrets in all namespaces".to_owned()),
        one => (
            format!("/api/v1/namespaces/{}/secrets", segment(one)),
            format!("list secrets in namespace {one}"),
        ),
    };
    let mut found = Vec::new();
    let query = format!("&fieldSelector={}", segment(WHICH));
    pages(client, &path, &query, &asked, |secret: Secret| {
        let holds = secret.data.iter().flatten().any(|(_, value)| holds(mark, value.expose_secret()));
        if holds {
            found.push(ObjectRef::new("Secret", &secret.metadata.namespace, &secret.metadata.name));
        }
    })
    .await?;
    Ok(found)
}

fn holds(mark: &Mark, encoded: &str) -> bool {
    use base64::Engine as _;
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).map(Zeroizing::new);
    decoded.is_ok_and(|bytes| mark.is_in(&bytes, &ssh::public_half))
}

async fn namespaces(client: &WriteClient) -> Result<Vec<String>, Why> {
    #[derive(Deserialize)]
    struct Named {
        metadata: Name,
    }
    let mut names = Vec::new();
    pages(client, "/api/v1/namespaces", "", "list namespaces", |n: Named| names.push(n.metadata.name))
        .await?;
    Ok(names)
}

async fn listing(client: &WriteClient, kind: &ReaderKind, namespace: &str) -> Result<Vec<Value>, Why> {
    let path = format!("{}/namespaces/{}/{}", kind.api, segment(namespace), kind.plural);
    let asked = format!("list {} in namespace {namespace}", kind.plural);
    let mut found = Vec::new();
    pages(client, &path, "", &asked, |item: Value| found.push(item)).await?;
    Ok(found)
}
