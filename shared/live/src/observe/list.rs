//! One LIST: the request, and its items read one by one, so that a broken object costs only itself.

use gitlab_agent_core::need::{Need, Row};
use gitlab_agent_core::snapshot::kinds::HasMeta;
use gitlab_agent_core::snapshot::{Listing, Trial, Why, WhyKind};
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Tried, permission};
use crate::access::{ReadClient, segment};

/// Asks for whole objects.
pub(super) const JSON: &str = "application/json";
/// Asks for metadata alone.
pub(super) const METADATA: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

/// Lists one kind in one namespace, or in all. One request, not paged: pages cost a round trip each, and up to
/// 20,000 objects were measured to be read faster whole.
pub(super) async fn list<T>(client: &ReadClient, row: &Row, accept: &str, namespace: Option<&str>) -> Tried<T>
where
    T: HasMeta + for<'de> Deserialize<'de>,
{
    let base = if row.group.is_empty() {
        "/api/v1".to_owned()
    } else {
        format!("/apis/{}/{}", row.group, row.version)
    };
    let (path, place) = match namespace {
        Some(namespace) => (
            format!("{base}/namespaces/{}/{}{}", segment(namespace), row.resource, selection(row.need)),
            format!("in namespace {namespace}"),
        ),
        None => (format!("{base}/{}{}", row.resource, selection(row.need)), "in all namespaces".to_owned()),
    };
    let asked = format!("{} {} {place}", row.verb, row.qualified());
    let needed = permission(row, namespace);
    let answer = client.get(&path, accept, &asked).await;
    let trial = |allowed| vec![Trial { permission: needed.clone(), allowed }];
    match answer {
        Ok(answer) if answer.status == StatusCode::NOT_FOUND => {
            let text = format!("this cluster does not serve {}/{} {}", row.group, row.version, row.resource);
            (Listing::unknown(Why::new(WhyKind::NotServed, asked, text)), trial(true))
        }
        Ok(answer) => {
            let mut listing = read(&answer.body, &asked);
            // An answer that is no list says of no namespace what is in it.
            listing.namespaces = listing.namespaces.or_else(|| namespace.map(|n| vec![n.to_owned()]));
            (listing, trial(true))
        }
        Err(mut why) => {
            let denied = why.kind == WhyKind::Forbidden;
            if denied {
                why.permission = Some(needed.clone());
            }
            (Listing::unknown(why), if denied { trial(false) } else { Vec::new() })
        }
    }
}

/// What is asked for of a kind that has many objects, as a query: of Events only those that tell of a notification
/// that was not delivered, and a bounded number of them.
fn selection(need: Need) -> &'static str {
    match need {
        Need::Events => {
            "?fieldSelector=involvedObject.kind%3DAlert%2Creason%3DNotificationDispatchFailed&limit=500"
        }
        _ => "",
    }
}

/// Reads the items, sorted by namespace and name.
fn read<T: HasMeta + for<'de> Deserialize<'de>>(body: &[u8], asked: &str) -> Listing<T> {
    let list: List<'_> = match serde_json::from_slice(body) {
        Ok(list) => list,
        Err(e) => {
            let text = format!("the answer is not a list (line {} column {})", e.line(), e.column());
            return Listing::unknown(Why::new(WhyKind::Unreadable, asked, text));
        }
    };
    let mut listing = Listing::default();
    for raw in list.items.into_iter().flatten() {
        match serde_json::from_str::<T>(raw.get()) {
            Ok(item) => listing.items.push(item),
            Err(e) => {
                let text = format!("{} cannot be read (column {})", name_of(raw), e.column());
                listing.gaps.push(Why::new(WhyKind::Unreadable, asked, text));
            }
        }
    }
    listing.items.sort_by(|a, b| {
        let (a, b) = (a.meta(), b.meta());
        (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name))
    });
    listing
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
        Ok(named) => format!("{}/{}", named.metadata.namespace, named.metadata.name),
        Err(_) => "one object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use gitlab_agent_core::snapshot::kinds::Source;

    use super::*;

    #[test]
    fn a_broken_object_costs_only_itself() {
        let body = br#"{"items":[{"metadata":{"name":"b"}},{"metadata":{"name":"c","namespace":"n"},"spec":{"suspend":"yes"}},
            {"metadata":{"name":"a"},"unknown":[1]}]}"#;
        let listing: Listing<Source> = read(body, "list x");
        let names: Vec<&str> = listing.items.iter().map(|i| i.metadata.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(listing.gaps.len(), 1);
        assert!(listing.gaps[0].message.starts_with("n/c cannot be read"), "{:?}", listing.gaps);
    }

    #[test]
    fn what_is_no_list_is_unknown() {
        let listing: Listing<Source> = read(b"<html>", "list x");
        assert!(listing.find("n", "a").is_err(), "nothing is said not to exist");
        assert_eq!(listing.gaps[0].kind, WhyKind::Unreadable);
        let empty: Listing<Source> = read(br#"{"items":null}"#, "list x");
        assert!(empty.items.is_empty() && empty.gaps.is_empty());
    }
}
