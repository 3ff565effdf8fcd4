//! What failing objects refer to, and who would create what of it does not exist: read by name, and only when
//! something fails. A refusal is no gap of the run: it leaves that one object unknown.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::facts::creator::{Candidate, candidates};
use gitlab_agent_core::facts::reference;
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::snapshot::kinds::{CREATORS, CrossRef, Event, Referenced, ReferencedEntry};
use gitlab_agent_core::snapshot::{Listing, Observed, Snapshot, Why, WhyKind};
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::Observer;
use super::list::{JSON, ListMeta, PAGES};
use crate::access::{at, segment};

/// Asks for the metadata of one object: of a ConfigMap nothing else may come.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// Kinds of Kubernetes that are looked at by name: API path, resource, and how much of the object.
const CORE: &[(&str, &str, &str, &str)] = &[
    ("ConfigMap", "/api/v1", "configmaps", METADATA),
    ("ServiceAccount", "/api/v1", "serviceaccounts", METADATA),
    ("PersistentVolumeClaim", "/api/v1", "persistentvolumeclaims", METADATA),
    ("SecretProviderClass", "/apis/secrets-store.csi.x-k8s.io/v1", "secretproviderclasses", METADATA),
    ("Job", "/apis/batch/v1", "jobs", JSON),
];

/// Namespaces in which creators are listed, and objects that they read from: so many at most.
const MOST: usize = 20;

impl Observer<'_> {
    /// The newest warnings of namespaces with a workload that is not well.
    pub(super) async fn warnings(&self, namespaces: &BTreeSet<String>) -> Listing<Event> {
        let one = |namespace: &String| {
            let namespace = namespace.clone();
            async move {
                let path = format!(
                    "/api/v1/namespaces/{}/events?fieldSelector=type%3DWarning&limit=500",
                    segment(&namespace)
                );
                let list = Paged {
                    path,
                    asked: format!("list events in namespace {namespace}"),
                    kind: "EventList",
                    version: "v1".to_owned(),
                };
                (self.items::<Event>(&list).await, namespace)
            }
        };
        let mut whole = Listing { namespaces: Some(Vec::new()), ..Listing::default() };
        for ((items, gap), namespace) in join_all(namespaces.iter().map(one)).await {
            whole.items.extend(items);
            match gap {
                None => whole.namespaces.iter_mut().for_each(|all| all.push(namespace.clone())),
                Some(why) => whole.gaps.push(why),
            }
        }
        whole
    }

    /// Objects of Kubernetes' own kinds that something failing refers to; Secrets have their own way in.
    pub(super) async fn referenced(&self, wanted: &[ObjectRef]) -> Vec<ReferencedEntry> {
        let own = wanted.iter().filter_map(|object| {
            let (_, base, resource, accept) = CORE.iter().find(|(kind, ..)| *kind == object.kind)?;
            Some((object, *base, *resource, *accept))
        });
        let one =
            |(object, base, resource, accept): (&ObjectRef, &'static str, &'static str, &'static str)| {
                let object = object.clone();
                async move { self.object(base, resource, String::new(), object, accept).await }
            };
        join_all(own.map(one)).await
    }

    /// Whoever would create what does not exist, what failed waits name, and what these read from.
    pub(super) async fn creators(&self, snapshot: &Snapshot) -> Vec<ReferencedEntry> {
        let mut missing = reference::absent(snapshot, &Facts::derive(snapshot).missing.found);
        missing.retain(|object| self.is_within(&object.namespace));
        let mut named = candidates(snapshot, &missing);
        named.retain(|candidate| self.is_within(&candidate.object.namespace));
        let one = |candidate: &Candidate| {
            let candidate = candidate.clone();
            let resource = resource(snapshot, &candidate.group, &candidate.object.kind);
            async move {
                let base = format!("/apis/{}/{}", segment(&candidate.group), segment(&candidate.version));
                self.object(&base, &resource, candidate.group, candidate.object, JSON).await
            }
        };
        let (mut found, listed) =
            tokio::join!(join_all(named.iter().map(one)), self.listed(snapshot, &missing));
        let seen: BTreeSet<ObjectRef> = found.iter().map(ReferencedEntry::object).collect();
        found.extend(listed.into_iter().filter(|entry| !seen.contains(&entry.object())));
        let read = self.read_from(snapshot, &found).await;
        found.extend(read);
        found
    }

    /// Kinds that create Secrets, in the namespaces where one does not exist; those that create none of the missing
    /// are left out.
    async fn listed(&self, snapshot: &Snapshot, missing: &BTreeSet<ObjectRef>) -> Vec<ReferencedEntry> {
        let wanted = missing.iter().filter(|o| matches!(o.kind.as_str(), "Secret" | "ConfigMap"));
        let namespaces: BTreeSet<&str> = wanted.map(|o| o.namespace.as_str()).take(MOST).collect();
        let served = CREATORS.iter().filter_map(|(kind, group, resource)| {
            Some((*kind, *group, *resource, version(snapshot, group)?))
        });
        let pairs = served
            .flat_map(|of| namespaces.iter().map(move |namespace| (of.clone(), (*namespace).to_owned())));
        let one = |((kind, group, resource, version), namespace): (
            (&'static str, &'static str, &'static str, String),
            String,
        )| async move {
            let path =
                format!("/apis/{group}/{}/namespaces/{}/{resource}", segment(&version), segment(&namespace));
            let list = Paged {
                path,
                asked: format!("list {resource}.{group} in namespace {namespace}"),
                kind: "",
                version: format!("{group}/{version}"),
            };
            let (items, gap) = self.items::<Value>(&list).await;
            let entry = |name: String, state| {
                let [group, kind] = [group, kind].map(str::to_owned);
                ReferencedEntry { group, kind, namespace: namespace.clone(), name, state }
            };
            let known = items.iter().map(|item| Referenced::of(kind, item)).map(|of| {
                let name = of.metadata.name.clone();
                entry(name, Observed::Known(Some(of)))
            });
            // One without a name stands for those that were not listed.
            let unlisted = gap.map(|why| entry(String::new(), Observed::Unknown(why)));
            known.chain(unlisted).collect::<Vec<_>>()
        };
        let entries = join_all(pairs.map(one)).await.into_iter().flatten();
        let creates = |entry: &ReferencedEntry| {
            let Observed::Known(Some(of)) = &entry.state else { return true };
            let secret = |name: &String| missing.contains(&ObjectRef::new("Secret", &entry.namespace, name));
            of.creates.iter().any(secret)
        };
        entries.filter(creates).collect()
    }

    /// Stores and issuers that what failed reads from.
    async fn read_from(&self, snapshot: &Snapshot, found: &[ReferencedEntry]) -> Vec<ReferencedEntry> {
        let mut wanted: BTreeSet<(String, ObjectRef)> = BTreeSet::new();
        for entry in found {
            let Observed::Known(Some(of)) = &entry.state else { continue };
            let place = |reads: &CrossRef| {
                let own = if reads.kind.starts_with("Cluster") { "" } else { entry.namespace.as_str() };
                (entry.group.clone(), ObjectRef::new(&reads.kind, own, &reads.name))
            };
            wanted.extend(of.reads.iter().filter(|_| of.failure().is_some()).map(place));
        }
        let one = |(group, object): (String, ObjectRef)| {
            let (resource, version) = (resource(snapshot, &group, &object.kind), version(snapshot, &group));
            async move {
                let base = format!("/apis/{}/{}", segment(&group), segment(&version?));
                Some(self.object(&base, &resource, group, object, JSON).await)
            }
        };
        join_all(wanted.into_iter().take(MOST).map(one)).await.into_iter().flatten().collect()
    }

    async fn object(
        &self,
        base: &str,
        resource: &str,
        group: String,
        object: ObjectRef,
        accept: &str,
    ) -> ReferencedEntry {
        let ObjectRef { kind, namespace, name } = object;
        let place =
            if namespace.is_empty() { String::new() } else { format!("/namespaces/{}", segment(&namespace)) };
        let path = format!("{base}{place}/{}/{}", segment(resource), segment(&name));
        let asked = format!("get {resource} {namespace}/{name}");
        let state = match self.client.get(&path, accept, &asked).await {
            Ok(answer) if answer.status == StatusCode::NOT_FOUND => match names(&answer.body, &name) {
                true => Observed::Known(None),
                false => Observed::Unknown(Why::new(
                    WhyKind::NotServed,
                    asked,
                    "this cluster does not serve its kind",
                )),
            },
            Ok(answer) => match serde_json::from_slice::<Value>(&answer.body) {
                Ok(value) => Observed::Known(Some(Referenced::of(&kind, &value))),
                Err(e) => {
                    let text =
                        format!("the answer is not an object (line {} column {})", e.line(), e.column());
                    Observed::Unknown(Why::new(WhyKind::Unreadable, asked, text))
                }
            },
            Err(why) => Observed::Unknown(why),
        };
        ReferencedEntry { group, kind, namespace, name, state }
    }

    /// The items of a list, and why there may be more. Where its kind is not served there are none.
    async fn items<T: for<'de> Deserialize<'de>>(&self, list: &Paged) -> (Vec<T>, Option<Why>) {
        let (mut items, mut next) = (Vec::new(), String::new());
        for _ in 0..PAGES {
            match self.page::<T>(list, &next).await {
                Ok((of_page, following)) => {
                    items.extend(of_page);
                    if following.is_empty() {
                        return (items, None);
                    }
                    if following == next {
                        break;
                    }
                    next = following;
                }
                Err(why) => return (items, Some(why)),
            }
        }
        let text = format!("the list goes on beyond {PAGES} pages, or without end");
        (items, Some(Why::new(WhyKind::Unreadable, &list.asked, text)))
    }

    async fn page<T: for<'de> Deserialize<'de>>(
        &self,
        list: &Paged,
        next: &str,
    ) -> Result<(Vec<T>, String), Why> {
        #[derive(Deserialize)]
        struct List<T> {
            #[serde(default)]
            kind: String,
            #[serde(default)]
            metadata: ListMeta,
            items: Option<Vec<T>>,
        }
        let Paged { path, asked, kind, version } = list;
        let mark = if path.contains('?') { '&' } else { '?' };
        let more = if next.is_empty() { String::new() } else { format!("{mark}continue={}", segment(next)) };
        let answer = self.client.get(&format!("{path}{more}"), JSON, asked).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok((Vec::new(), String::new()));
        }
        if !kind.is_empty() {
            answer.expect_kind(asked, version, kind)?;
        }
        let found: List<T> =
            serde_json::from_slice(&answer.body).map_err(|e| answer.unlike(asked, "list", &at(&e)))?;
        // The kinds of others name their lists in their own way.
        if kind.is_empty() && (!found.kind.ends_with("List") || found.kind == "List") {
            return Err(answer.unlike(asked, "list", "it does not say its kind"));
        }
        let items = found.items.ok_or_else(|| answer.unlike(asked, "list", "it has no items"))?;
        Ok((items, found.metadata.next))
    }
}

/// A list that is asked for in pages.
struct Paged {
    path: String,
    asked: String,
    /// The kind that the answer has to say; empty where any list will do.
    kind: &'static str,
    version: String,
}

/// Whether a 404 speaks of the object, not of its kind: the API server then names it.
fn names(body: &[u8], name: &str) -> bool {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Status {
        details: Details,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Details {
        name: String,
    }
    serde_json::from_slice::<Status>(body).is_ok_and(|status| status.details.name == name)
}

/// The resource of a kind: the plural by which its CustomResourceDefinition is named.
fn resource(snapshot: &Snapshot, group: &str, kind: &str) -> String {
    let kind = kind.to_lowercase();
    let mut forms = vec![format!("{kind}s"), format!("{kind}es"), kind.clone()];
    forms.extend(kind.strip_suffix('y').map(|stem| format!("{stem}ies")));
    let defined = |form: &&String| {
        let name = format!("{form}.{group}");
        snapshot.crds.items.iter().any(|crd| crd.metadata.name == name)
    };
    forms.iter().find(defined).or(forms.first()).cloned().unwrap_or_default()
}

/// The version of a group that the API server prefers; none where it does not serve the group.
fn version(snapshot: &Snapshot, group: &str) -> Option<String> {
    let groups = snapshot.groups.get().ok()?;
    groups.iter().find(|g| g.name == group)?.versions.first().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gitlab_agent_core::fixture;
    use gitlab_agent_core::snapshot::kinds::Crd;

    #[test]
    fn the_resource_of_a_kind_is_the_one_that_is_defined() {
        let mut s = fixture::healthy();
        for name in ["policies.example.com", "databases.example.com", "buses.example.com", "data.example.com"]
        {
            let mut crd = Crd::default();
            name.clone_into(&mut crd.metadata.name);
            s.crds.items.push(crd);
        }
        for (kind, resource_name) in [
            ("Policy", "policies"),
            ("Database", "databases"),
            ("Bus", "buses"),
            ("Data", "data"),
            ("Other", "others"),
        ] {
            assert_eq!(resource(&s, "example.com", kind), resource_name);
        }
    }

    #[test]
    fn a_404_of_the_kind_is_not_one_of_the_object() {
        assert!(names(
            br#"{"kind":"Status","reason":"NotFound","details":{"name":"db","kind":"configmaps"}}"#,
            "db"
        ));
        assert!(!names(br#"{"kind":"Status","reason":"NotFound","details":{}}"#, "db"));
        assert!(!names(b"404 page not found", "db"));
    }
}
