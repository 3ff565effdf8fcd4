//! A list is complete and of its kind, or it is a gap.

use gitlab_agent_core::snapshot::kinds::{Pod, Source};
use http::HeaderMap;
use serde_json::{Value, json};

use super::*;

fn question<'q>(need: Need, namespace: Option<&'q str>, accept: &'q str) -> Question<'q> {
    Question { row: need.row(), namespace, accept, asked: "list x".to_owned() }
}

fn answer(body: &str) -> Answer {
    Answer::of(StatusCode::OK, HeaderMap::new(), body.as_bytes().to_vec())
}

fn read(body: &str) -> (Listing<Source>, Result<Option<String>, Why>) {
    let mut listing = Listing::default();
    let ended =
        question(Need::GitRepositories, None, JSON).read(&answer(body), &mut listing, &Budget::default());
    (listing, ended)
}

fn whole(items: Value) -> Value {
    json!({"kind": "GitRepositoryList", "apiVersion": "source.toolkit.fluxcd.io/v1",
        "metadata": {"resourceVersion": "7"}, "items": items})
}

fn with(change: impl FnOnce(&mut Value)) -> String {
    let mut list = whole(json!([]));
    change(&mut list);
    list.to_string()
}

#[test]
fn an_empty_list_is_known_to_be_empty() {
    let (listing, ended) = read(&with(|_| {}));
    assert_eq!((listing.items.len(), listing.gaps.len(), ended), (0, 0, Ok(None)));
}

#[test]
fn what_is_no_whole_list_of_this_kind_is_no_empty_list() {
    let status =
        json!({"kind": "Status", "apiVersion": "v1", "status": "Success", "message": "soon"}).to_string();
    let mut cut = with(|_| {});
    cut.truncate(40);
    let table: Vec<(String, &str)> = vec![
        ("{}".to_owned(), "it does not say its kind"),
        (status, "it is a Status: soon"),
        (with(|l| l["kind"] = json!("Table")), "Table"),
        (with(|l| l["kind"] = json!("BucketList")), "BucketList"),
        (with(|l| l["kind"] = json!("List")), "it is source.toolkit.fluxcd.io/v1 List"),
        (with(|l| l["kind"] = json!("GitRepository")), "GitRepository"),
        (with(|l| l["apiVersion"] = json!("source.toolkit.fluxcd.io/v2")), "v2"),
        (with(|l| l["items"] = Value::Null), "it has no items"),
        (with(|l| drop(l.as_object_mut().and_then(|l| l.remove("items")))), "it has no items"),
        (with(|l| l["items"] = json!({})), "line 1"),
        (with(|l| l["items"] = json!("")), "line 1"),
        (with(|l| l["metadata"] = json!({})), "it has no resourceVersion"),
        (with(|l| drop(l.as_object_mut().and_then(|l| l.remove("metadata")))), "it has no resourceVersion"),
        (with(|l| l["metadata"]["remainingItemCount"] = json!(3)), "it is not whole"),
        (cut, "line 1"),
        (String::new(), "line 1 column 0"),
        ("null".to_owned(), "line 1"),
        ("[]".to_owned(), "it does not say its kind"),
        ("<html><title>Sign in</title></html>".to_owned(), "Sign in"),
        ("\u{1f}\u{8b}\u{8}garbage".to_owned(), "line 1 column 1"),
    ];
    assert!(table.len() >= 20);
    for (body, words) in table {
        let (listing, ended) = read(&body);
        let why = ended.expect_err(&body);
        assert!(listing.items.is_empty() && why.message.contains(words), "{body}: {why:?}");
        assert!(matches!(why.kind, WhyKind::Unreadable | WhyKind::Intercepted), "{body}: {why:?}");
    }
}

#[test]
fn an_item_that_is_not_of_the_list_costs_only_itself() {
    let good = json!({"metadata": {"name": "a", "namespace": "n"}});
    let mut of_kind = good.clone();
    of_kind["kind"] = json!("GitRepository");
    for (item, words) in [
        (
            json!({"metadata": {"name": "c", "namespace": "n"}, "spec": {"suspend": "yes"}}),
            "n/c cannot be read",
        ),
        (json!({"kind": "Bucket", "metadata": {"name": "c", "namespace": "n"}}), "n/c is a Bucket"),
        (json!({"kind": "PartialObjectMetadata", "metadata": {"name": "c", "namespace": "n"}}), "Partial"),
        (json!({"metadata": {"name": "c"}}), "/c is not in the place"),
        (json!({"metadata": {"namespace": "n"}}), "one object"),
        (json!({"metadata": {"name": "", "namespace": "n"}}), "n/ is not"),
        (json!({}), "one object"),
        (json!(null), "one object"),
        (json!(7), "one object"),
        (json!("x"), "one object"),
        (json!({"kind": {}, "metadata": {"name": "c", "namespace": "n"}}), "n/c cannot"),
    ] {
        let (listing, ended) = read(&whole(json!([good, item, of_kind])).to_string());
        assert_eq!((listing.items.len(), listing.gaps.len(), ended), (2, 1, Ok(None)), "{item}");
        assert!(listing.gaps[0].message.contains(words), "{item}: {:?}", listing.gaps);
        assert!(listing.find("n", "c").is_err(), "{item}: nothing is said not to exist");
    }
}

#[test]
fn a_list_of_metadata_or_of_one_namespace_is_that() {
    let partial = json!({"kind": "PartialObjectMetadataList", "apiVersion": META, "metadata": {"resourceVersion": "1"},
        "items": [{"kind": "PartialObjectMetadata", "metadata": {"name": "a"}}]});
    let crds = question(Need::Crds, None, METADATA);
    let mut listing: Listing<gitlab_agent_core::snapshot::kinds::Crd> = Listing::default();
    assert_eq!(crds.read(&answer(&partial.to_string()), &mut listing, &Budget::default()), Ok(None));
    assert_eq!((listing.items.len(), listing.gaps.len()), (1, 0));
    let mut other: Listing<Source> = Listing::default();
    let sources = question(Need::GitRepositories, None, JSON);
    assert!(
        sources.read(&answer(&partial.to_string()), &mut other, &Budget::default()).is_err(),
        "whole objects were asked for"
    );

    let pods = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"},
        "items": [{"metadata": {"name": "a", "namespace": "n"}}, {"metadata": {"name": "b", "namespace": "m"}}]});
    let mut listing: Listing<Pod> = Listing::default();
    assert_eq!(
        question(Need::Pods, Some("n"), JSON).read(
            &answer(&pods.to_string()),
            &mut listing,
            &Budget::default()
        ),
        Ok(None)
    );
    assert_eq!((listing.items.len(), listing.gaps.len()), (1, 1), "one is of another namespace");
}

#[test]
fn pages_are_asked_for_with_what_the_server_gave() {
    let (_, next) = read(&with(|l| l["metadata"]["continue"] = json!("a/b+c=")));
    let next = next.expect("a list").expect("it goes on");
    let path = question(Need::GitRepositories, None, JSON).path(&next);
    assert_eq!(path, "/apis/source.toolkit.fluxcd.io/v1/gitrepositories?continue=a%2Fb%2Bc%3D");
    let events = question(Need::Events, Some("n"), JSON);
    assert!(events.path("").ends_with("/api/v1/namespaces/n/events?fieldSelector=involvedObject.kind%3DAlert%2Creason%3DNotificationDispatchFailed&limit=500"));
    assert!(events.path("x").ends_with("&limit=500&continue=x"));
}
