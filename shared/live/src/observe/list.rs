//! One LIST: all its pages, whether they are what was asked for, and their items one by one, so that a broken object costs
//! only itself. A list is complete and of its kind, or it is a gap.

use gitlab_agent_core::need::{Need, Reach, Row};
use gitlab_agent_core::snapshot::kinds::HasMeta;
use gitlab_agent_core::snapshot::{Listing, Trial, Why, WhyKind};
use gitlab_agent_core::text::visible;
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::items::Page;
use super::{Tried, permission};
use crate::access::{Answer, Budget, ReadClient, at, segment};
use crate::known;

/// Asks for whole objects.
pub(super) const JSON: &str = "application/json";
/// Asks for metadata alone.
pub(super) const METADATA: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// Group and version of lists of metadata.
const META: &str = "meta.k8s.io/v1";

/// Pages of one list that are read. Only Events are asked for in pages; a server may cut others into pages, too.
pub(super) const PAGES: usize = 100;

/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/list-meta/>
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    pub(super) next: String,
    #[serde(default)]
    remaining_item_count: Option<i64>,
}

/// What is asked for.
struct Question<'q> {
    row: &'q Row,
    namespace: Option<&'q str>,
    accept: &'q str,
    asked: String,
}

/// Lists one kind in one namespace, or in all. Not paged, but where the server does so: pages cost a round trip each, and
/// up to 20,000 objects were measured to be read faster whole.
pub(super) async fn list<T>(client: &ReadClient, row: &Row, accept: &str, namespace: Option<&str>) -> Tried<T>
where
    T: HasMeta + for<'de> Deserialize<'de>,
{
    let place = namespace.map_or("in all namespaces".to_owned(), |n| format!("in namespace {n}"));
    let asked = format!("{} {} {place}", row.verb, row.qualified());
    let question = Question { row, namespace, accept, asked };
    let needed = permission(row, namespace);
    let trial = |allowed| vec![Trial { permission: needed.clone(), allowed }];
    let (mut listing, ended) = question.pages(client).await;
    listing.put_in_order();
    match ended {
        Ok(()) => {
            listing.namespaces = namespace.map(|n| vec![n.to_owned()]);
            (listing, trial(true))
        }
        Err(mut why) => {
            let tried = match why.kind {
                WhyKind::Forbidden => {
                    why.permission = Some(needed.clone());
                    trial(false)
                }
                WhyKind::NotServed | WhyKind::Unreadable => trial(true),
                _ => Vec::new(),
            };
            // An answer that is not whole says of no namespace what is in it.
            listing.namespaces = Some(Vec::new());
            listing.gaps.push(why);
            (listing, tried)
        }
    }
}

impl Question<'_> {
    /// What the pages hold, and why there may be more. A list whose pages ran out of time at the server is begun anew once.
    async fn pages<T>(&self, client: &ReadClient) -> (Listing<T>, Result<(), Why>)
    where
        T: HasMeta + for<'de> Deserialize<'de>,
    {
        let mut listing = Listing::default();
        let mut next = String::new();
        let mut again = false;
        for _ in 0..PAGES {
            let answer = client.get(&self.path(&next), self.accept, &self.asked).await;
            let expired = answer.as_ref().is_err_and(|why| why.message.starts_with("410 "));
            if expired && !next.is_empty() && !again {
                (listing, next, again) = (Listing::default(), String::new(), true);
                continue;
            }
            let following = match answer.and_then(|answer| self.read(&answer, &mut listing, &client.budget)) {
                Ok(following) => following,
                Err(why) => return (listing, Err(why)),
            };
            match following {
                None => return (listing, Ok(())),
                Some(same) if same == next => return (listing, Err(self.goes_on())),
                Some(following) => next = following,
            }
        }
        (listing, Err(self.goes_on()))
    }

    fn goes_on(&self) -> Why {
        Why::new(
            WhyKind::Unreadable,
            &self.asked,
            format!("the list goes on beyond {PAGES} pages, or without end"),
        )
    }

    fn path(&self, next: &str) -> String {
        let row = self.row;
        let base =
            if row.group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}", row.api_version()) };
        let place = self.namespace.map(|n| format!("/namespaces/{}", segment(n))).unwrap_or_default();
        let mut query: Vec<String> = selection(row.need).into_iter().map(str::to_owned).collect();
        if !next.is_empty() {
            query.push(format!("continue={}", segment(next)));
        }
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{base}{place}/{}{mark}{}", row.resource, query.join("&"))
    }

    /// Reads one page into the listing; gives where the next one begins.
    fn read<T>(
        &self,
        answer: &Answer,
        listing: &mut Listing<T>,
        budget: &Budget,
    ) -> Result<Option<String>, Why>
    where
        T: HasMeta + for<'de> Deserialize<'de>,
    {
        let (row, asked) = (self.row, self.asked.as_str());
        if answer.status == StatusCode::NOT_FOUND {
            let text = format!("this cluster does not serve {} {}", row.api_version(), row.resource);
            return Err(Why::new(WhyKind::NotServed, asked, text));
        }
        let kind = format!("{}List", row.need.kind().unwrap_or_default());
        let whole = answer.expect_kind(asked, &row.api_version(), &kind);
        let metadata =
            self.accept == METADATA && answer.expect_kind(asked, META, "PartialObjectMetadataList").is_ok();
        if !metadata {
            whole?;
        }
        let mut page = Page::read(&answer.body, budget, |raw| self.item(raw, metadata))
            .map_err(|e| answer.unlike(asked, &kind, &at(&e)))?;
        // The API server writes an empty list as `[]`, and gives every list a version (k8s.io/apiserver, etcd3/store.go).
        if !page.has_items {
            return Err(answer.unlike(asked, &kind, "it has no items"));
        }
        if page.metadata.resource_version.is_empty() {
            return Err(answer.unlike(asked, &kind, "it has no resourceVersion"));
        }
        let gap = |text| Why::new(WhyKind::Unreadable, asked, text);
        listing.gaps.extend(page.missing().into_iter().map(gap));
        let ListMeta { next, remaining_item_count, .. } = page.metadata;
        listing.items.extend(page.items);
        match remaining_item_count {
            Some(1..) if next.is_empty() => {
                Err(answer.unlike(asked, &kind, "it is not whole and does not go on"))
            }
            _ => Ok(Some(next).filter(|next| !next.is_empty())),
        }
    }

    /// One item, where it is one of this list.
    fn item<T: HasMeta + for<'de> Deserialize<'de>>(
        &self,
        raw: &RawValue,
        metadata: bool,
    ) -> Result<T, String> {
        #[derive(Deserialize)]
        struct Kind {
            #[serde(default)]
            kind: String,
        }
        let broken =
            |e: serde_json::Error| format!("{} cannot be read (column {})", name_of(raw), e.column());
        let Kind { kind } = serde_json::from_str(raw.get()).map_err(broken)?;
        // Items of kinds that Kubernetes itself brings do not say their kind.
        let expected = if metadata { Some("PartialObjectMetadata") } else { self.row.need.kind() };
        if !kind.is_empty() && Some(kind.as_str()) != expected {
            return Err(format!("{} is a {}", name_of(raw), visible(&kind)));
        }
        if self.row.need == Need::Receivers {
            known::run().webhook_of(raw);
        }
        let item: T = serde_json::from_str(raw.get()).map_err(broken)?;
        let meta = item.meta();
        let placed = match self.namespace {
            Some(namespace) => meta.namespace == namespace,
            None => meta.namespace.is_empty() == (self.row.reach == Reach::Cluster),
        };
        if meta.name.is_empty() || !placed {
            return Err(format!("{} is not in the place that was asked for", name_of(raw)));
        }
        Ok(item)
    }
}

/// What is asked for of a kind that has many objects: of Events only those that tell of a notification that was not
/// delivered, in pages.
fn selection(need: Need) -> Option<&'static str> {
    (need == Need::Events).then_some(
        "fieldSelector=involvedObject.kind%3DAlert%2Creason%3DNotificationDispatchFailed&limit=500",
    )
}

fn name_of(raw: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Named {
        metadata: Name,
    }
    #[derive(Deserialize)]
    struct Name {
        name: String,
        #[serde(default)]
        namespace: String,
    }
    match serde_json::from_str::<Named>(raw.get()) {
        Ok(named) => visible(&format!("{}/{}", named.metadata.namespace, named.metadata.name)),
        Err(_) => "one object".to_owned(),
    }
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
