//! Lists of the API server, page by page, and which APIs it serves. Only what is not served has no items; what is hidden is said.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use gitlab_agent_core::rotate::holders::{EXTERNAL, READER_KINDS, ReaderKind};
use gitlab_agent_core::snapshot::{Why, WhyKind};
use http::StatusCode;
use secrecy::zeroize::Zeroize as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::access::{Answer, WriteClient, segment};
use crate::observe::groups;

/// How many objects one answer holds.
const PAGE: usize = 200;
/// So many kinds are asked for at once.
const AT_ONCE: usize = 8;

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
pub(super) struct Name {
    pub(super) name: String,
    #[serde(default)]
    pub(super) namespace: String,
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
pub(super) async fn pages<T: DeserializeOwned>(
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

pub(super) async fn namespaces(client: &WriteClient) -> Result<Vec<String>, Why> {
    #[derive(Deserialize)]
    struct Named {
        metadata: Name,
    }
    let mut names = Vec::new();
    let take = |n: Named| names.push(n.metadata.name);
    pages(client, ("/api/v1/namespaces", ""), ("v1", "Namespace"), "list namespaces", take).await?;
    Ok(names)
}

/// The API groups that are served with their versions, the preferred one first, as discovery tells; nothing where it does not.
pub(super) struct Served(BTreeMap<String, Vec<String>>);

/// A kind of custom resources that can be listed in a namespace.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Custom {
    pub(super) kind: String,
    pub(super) plural: String,
    api_version: String,
}

impl Served {
    pub(super) async fn look(client: &WriteClient) -> Self {
        let all = groups(&client.read).await.unwrap_or_default();
        Self(all.into_iter().map(|group| (group.name, group.versions)).collect())
    }

    /// Whether discovery told anything: an API server serves groups always.
    pub(super) fn is_told(&self) -> bool {
        !self.0.is_empty()
    }

    /// All kinds of custom resources beside those that are known, and why groups do not tell theirs.
    pub(super) async fn custom(&self, client: &WriteClient) -> (Vec<Custom>, Vec<Untold>) {
        let groups = self.0.iter().filter(|(group, _)| is_custom(group));
        let groups = groups.filter_map(|(group, versions)| Some(format!("{group}/{}", versions.first()?)));
        let (mut kinds, mut closed) = (Vec::new(), Vec::new());
        for some in groups.collect::<Vec<_>>().chunks(AT_ONCE) {
            let answers = join_all(some.iter().map(|api_version| kinds_of(client, api_version))).await;
            for (api_version, answer) in some.iter().zip(answers) {
                match answer {
                    Ok(found) => kinds.extend(found),
                    Err(why) => closed.push((api_version.clone(), why)),
                }
            }
        }
        (kinds, closed)
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

pub(super) async fn listing(
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

/// Whether a group is none of Kubernetes itself.
fn is_custom(group: &str) -> bool {
    group.contains('.') && (!group.ends_with(".k8s.io") || group.ends_with(".x-k8s.io"))
}

async fn kinds_of(client: &WriteClient, api_version: &str) -> Result<Vec<Custom>, Why> {
    let asked = format!("discover {api_version}");
    let (group, version) = api_version.split_once('/').unwrap_or_default();
    let path = format!("/apis/{}/{}", segment(group), segment(version));
    let answer = client.read.get(&path, "application/json", &asked).await?;
    answer.expect_kind(&asked, "v1", "APIResourceList")?;
    custom(&answer.body, api_version)
        .ok_or_else(|| Why::new(WhyKind::Unreadable, &asked, "no list of resources"))
}

/// The kinds of a version that can be listed in a namespace, other than those that are looked at anyway.
fn custom(body: &[u8], api_version: &str) -> Option<Vec<Custom>> {
    #[derive(Deserialize)]
    struct Resources {
        resources: Vec<Resource>,
    }
    #[derive(Deserialize)]
    struct Resource {
        name: String,
        kind: String,
        namespaced: bool,
        verbs: Vec<String>,
    }
    let group = api_version.split('/').next().unwrap_or_default();
    let known = |plural: &str| {
        READER_KINDS
            .iter()
            .chain([&EXTERNAL])
            .any(|kind| kind.plural == plural && kind.api.split('/').nth(2) == Some(group))
    };
    let all = serde_json::from_slice::<Resources>(body).ok()?.resources.into_iter();
    let listed =
        all.filter(|r| r.namespaced && !r.name.contains('/') && r.verbs.iter().any(|verb| verb == "list"));
    let others = listed.filter(|r| !known(&r.name));
    Some(
        others
            .map(|r| Custom { kind: r.kind, plural: r.name, api_version: api_version.to_owned() })
            .collect(),
    )
}

/// What was not told: a group or a kind, and why.
pub(super) type Untold = (String, Why);

/// The objects of these kinds in a namespace, each with its kind; and the kinds that were not listed.
pub(super) async fn custom_resources(
    client: &WriteClient,
    kinds: &[Custom],
    namespace: &str,
) -> (Vec<(String, Value)>, Vec<Untold>) {
    let (mut objects, mut closed) = (Vec::new(), Vec::new());
    for some in kinds.chunks(AT_ONCE) {
        let lists = some.iter().map(async |kind| {
            let asked = format!("list {} in namespace {namespace}", kind.plural);
            let path =
                format!("/apis/{}/namespaces/{}/{}", kind.api_version, segment(namespace), kind.plural);
            let mut found = Vec::new();
            let take = |item: Value| found.push((kind.kind.clone(), item));
            pages(client, (&path, ""), (&kind.api_version, &kind.kind), &asked, take).await.map(|_| found)
        });
        for (kind, list) in some.iter().zip(join_all(lists).await) {
            match list {
                Ok(found) => objects.extend(found),
                Err(why) => closed.push((kind.plural.clone(), why)),
            }
        }
    }
    (objects, closed)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

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

    #[test]
    fn custom_resources_are_what_can_be_listed_beside_what_is_known() {
        for (group, custom) in [
            ("apps", false),
            ("batch", false),
            ("networking.k8s.io", false),
            ("metrics.k8s.io", false),
            ("secret-sync.x-k8s.io", true),
            ("external-secrets.io", true),
            ("source.toolkit.fluxcd.io", true),
            ("argoproj.io", true),
            ("isindir.github.com", true),
            ("", false),
        ] {
            assert_eq!(is_custom(group), custom, "{group}");
        }
        let of = |name: &str, namespaced: bool, verb: &str| serde_json::json!({"name": name, "kind": "K", "namespaced": namespaced, "verbs": [verb]});
        let body = serde_json::json!({"resources": [of("gitrepositories", true, "list"), of("externalartifacts", true, "list"),
            of("externalartifacts/status", true, "list"), of("clusterthings", false, "list"), of("reviews", true, "create")]});
        let plurals = |api_version: &str| {
            let kinds = custom(body.to_string().as_bytes(), api_version).expect("a list");
            kinds.into_iter().map(|kind| kind.plural).collect::<Vec<_>>()
        };
        assert_eq!(plurals("source.toolkit.fluxcd.io/v1"), ["externalartifacts"]);
        assert_eq!(plurals("example.com/v1"), ["gitrepositories", "externalartifacts"], "another group's");
        assert!(custom(b"{}", "example.com/v1").is_none());
    }
}
