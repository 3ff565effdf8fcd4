//! One LIST: the request, and its items read one by one, so that a broken object costs only itself.

use std::borrow::Cow;
use std::fmt;

use gitlab_agent_core::need::{Need, Row};
use gitlab_agent_core::snapshot::kinds::HasMeta;
use gitlab_agent_core::snapshot::{Listing, Trial, Why, WhyKind};
use http::StatusCode;
use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Tried, permission};
use crate::access::{Budget, ReadClient, segment};
use crate::cli::apart;

/// Asks for whole objects.
pub(super) const JSON: &str = "application/json";
/// Asks for metadata alone.
pub(super) const METADATA: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// Objects that cannot be read and are named; more are only counted.
const NAMED: usize = 20;

/// Lists one kind in one namespace, or in all. One request, not paged: pages cost a round trip each, and up to
/// 20,000 objects were measured to be read faster whole.
pub(super) async fn list<T>(client: &ReadClient, row: &Row, accept: &str, namespace: Option<&str>) -> Tried<T>
where
    T: HasMeta + DeserializeOwned + Send + 'static,
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
            let (budget, text) = (client.budget.clone(), asked.clone());
            let listing = apart(move || read(&answer.body, &text, &budget)).await;
            let mut listing = listing
                .unwrap_or_else(|e| Listing::unknown(Why::new(WhyKind::Unreadable, &asked, e.to_string())));
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

/// Reads the items, sorted by namespace and name. Each is kept or not as it comes: what is said of a million broken
/// ones, or of what is beyond the budget, takes no memory for each.
fn read<T: HasMeta + DeserializeOwned>(body: &[u8], asked: &str, budget: &Budget) -> Listing<T> {
    let mut reading: Reading<'_, T> =
        Reading { listing: Listing::default(), unnamed: 0, over: 0, asked, budget };
    let mut text = serde_json::Deserializer::from_slice(body);
    let whole = text.deserialize_map(&mut reading).and_then(|()| text.end());
    if let Err(e) = whole {
        let text = format!("the answer is not a list (line {} column {})", e.line(), e.column());
        return Listing::unknown(Why::new(WhyKind::Unreadable, asked, text));
    }
    let Reading { mut listing, unnamed, over, .. } = reading;
    let mut gap = |text: String| listing.gaps.push(Why::new(WhyKind::Unreadable, asked, text));
    if unnamed > 0 {
        gap(format!("{unnamed} more objects cannot be read"));
    }
    if over > 0 {
        gap(format!(
            "{over} more objects were left out: all answers together are larger than is kept in memory"
        ));
    }
    listing.items.sort_by(|a, b| {
        let (a, b) = (a.meta(), b.meta());
        (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name))
    });
    listing
}

/// A list while it is read.
struct Reading<'r, T> {
    listing: Listing<T>,
    unnamed: usize,
    over: usize,
    asked: &'r str,
    budget: &'r Budget,
}

impl<T: DeserializeOwned> Reading<'_, T> {
    fn item(&mut self, raw: &RawValue) {
        if self.over > 0 || !self.budget.keeps(raw.get(), size_of::<T>()) {
            self.over += 1;
            return;
        }
        match serde_json::from_str::<T>(raw.get()) {
            Ok(item) => self.listing.items.push(item),
            Err(_) if self.listing.gaps.len() >= NAMED => self.unnamed += 1,
            Err(e) => {
                let text = format!("{} cannot be read (column {})", name_of(raw), e.column());
                self.listing.gaps.push(Why::new(WhyKind::Unreadable, self.asked, text));
            }
        }
    }
}

/// The list's own fields.
impl<'de, T: DeserializeOwned> Visitor<'de> for &mut Reading<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(field) = fields.next_key::<Cow<'de, str>>()? {
            if field == "items" {
                fields.next_value_seed(Items(self))?;
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Its items; `null` is none.
struct Items<'i, 'r, T>(&'i mut Reading<'r, T>);

impl<'de, T: DeserializeOwned> DeserializeSeed<'de> for Items<'_, '_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: DeserializeOwned> Visitor<'de> for Items<'_, '_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("items")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(raw) = items.next_element::<&'de RawValue>()? {
            self.0.item(raw);
        }
        Ok(())
    }
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
        let listing: Listing<Source> = read(body, "list x", &Budget::default());
        let names: Vec<&str> = listing.items.iter().map(|i| i.metadata.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(listing.gaps.len(), 1);
        assert!(listing.gaps[0].message.starts_with("n/c cannot be read"), "{:?}", listing.gaps);
    }

    #[test]
    fn what_is_no_list_is_unknown() {
        let listing: Listing<Source> = read(b"<html>", "list x", &Budget::default());
        assert!(listing.find("n", "a").is_err(), "nothing is said not to exist");
        assert_eq!(listing.gaps[0].kind, WhyKind::Unreadable);
        let empty: Listing<Source> = read(br#"{"items":null}"#, "list x", &Budget::default());
        assert!(empty.items.is_empty() && empty.gaps.is_empty());
    }

    #[test]
    fn many_broken_objects_are_counted() {
        let body = format!("{{\"kind\":\"L\",\"items\":[{}{{}}],\"x\":[1]}}", "1,".repeat(50_000));
        let listing: Listing<Source> = read(body.as_bytes(), "list x", &Budget::default());
        assert_eq!((listing.items.len(), listing.gaps.len()), (1, NAMED + 1));
        assert_eq!(listing.gaps[NAMED].message, "49980 more objects cannot be read");
    }

    #[test]
    fn what_is_beyond_the_budget_is_a_gap_and_costs_nothing() {
        let budget = Budget::default();
        while budget.keeps("{}", 1 << 20) {}
        let body = format!("{{\"items\":[{}{{}}]}}", "{},".repeat(1000));
        let listing: Listing<Source> = read(body.as_bytes(), "list x", &budget);
        assert_eq!((listing.items.len(), listing.gaps.len()), (0, 1));
        assert!(listing.gaps[0].message.starts_with("1001 more objects were left out"), "{:?}", listing.gaps);
        assert!(listing.find("n", "a").is_err(), "nothing is said not to exist");
    }
}
