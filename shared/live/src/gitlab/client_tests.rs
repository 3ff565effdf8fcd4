//! The client against answers written by hand, over plain HTTP on loopback: [`Host`] alone makes it https.

use std::sync::Mutex;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::gitlab::GitLabWriter;

const TOKEN: &str = "the-persons-token";

/// Answers each connection with the next of these texts, and closes it; an empty one closes without an answer.
struct Played {
    gitlab: GitLab,
    seen: Arc<Mutex<Vec<String>>>,
}

async fn played(answers: &[&str]) -> Played {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let answers: Vec<String> = answers.iter().map(|a| (*a).to_owned()).collect();
    let log = seen.clone();
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut text = Vec::new();
            let mut buffer = [0; 4096];
            while !is_whole(&text) {
                let n = stream.read(&mut buffer).await.expect("bytes");
                if n == 0 {
                    break;
                }
                text.extend_from_slice(&buffer[..n]);
            }
            log.lock().expect("a log").push(String::from_utf8_lossy(&text).into_owned());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    Played { gitlab: client(port), seen }
}

fn is_whole(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

fn client(port: u16) -> GitLab {
    let host = Host { name: "127.0.0.1".to_owned(), port, root: String::new() };
    let credentials = Credentials {
        host: host.clone(),
        api: host,
        token: TOKEN.into(),
        ca_file: None,
        token_from: "the test".to_owned(),
    };
    let base = format!("http://127.0.0.1:{port}/gitlab").parse().expect("a URL");
    let transport = Transport::to(base, &credentials, Duration::from_secs(20), 0).expect("a client");
    GitLab { transport: Arc::new(transport) }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len())
}

impl Played {
    fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("a log").clone()
    }
}

#[tokio::test]
async fn the_token_goes_into_one_header_below_the_url_root() {
    let played = played(&[&answer("200 OK", "", r#"{"version":"18.5.2-ee"}"#)]).await;
    let answer: Value = played.gitlab.get("/metadata", "metadata").await.expect("an answer");
    assert_eq!(answer["version"], "18.5.2-ee");
    let seen = &played.seen()[0];
    assert!(seen.starts_with("GET /gitlab/api/v4/metadata HTTP/1.1\r\n"), "{seen}");
    assert_eq!(seen.matches(TOKEN).count(), 1);
    assert!(seen.to_lowercase().contains(&format!("authorization: bearer {TOKEN}")), "{seen}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let trap = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let place = format!("location: http://{}/x\r\n", trap.local_addr().expect("an address"));
    let played = played(&[&answer("302 Found", &place, "")]).await;
    let fault = played.gitlab.get::<Value>("/metadata", "metadata").await.expect_err("moved");
    assert_eq!(fault.kind, FaultKind::Moved);
    let nobody = futures_util::FutureExt::now_or_never(trap.accept());
    assert!(nobody.is_none(), "somebody came");
}

#[tokio::test]
async fn a_broken_connection_is_tried_once_more_and_no_oftener() {
    let good = answer("200 OK", "", "[1]");
    let first = played(&["", &good]).await;
    assert_eq!(first.gitlab.get::<Vec<u8>>("/x", "x").await.expect("an answer"), [1]);
    let twice = played(&["", "", &good]).await;
    let fault = twice.gitlab.get::<Vec<u8>>("/x", "x").await.expect_err("broken");
    assert_eq!((fault.kind, twice.seen().len()), (FaultKind::Unreachable, 2));
}

#[tokio::test]
async fn a_rate_limit_is_waited_for_and_a_long_one_is_not() {
    let later = answer("429 Too Many Requests", "retry-after: 0\r\n", "Retry later");
    let played_once = played(&[&later, &answer("200 OK", "", "[1]")]).await;
    assert_eq!(played_once.gitlab.get::<Vec<u8>>("/x", "x").await.expect("an answer"), [1]);
    let long = played(&[&answer("429 Too Many Requests", "retry-after: 600\r\n", "Retry later")]).await;
    let fault = long.gitlab.get::<Vec<u8>>("/x", "x").await.expect_err("limited");
    assert_eq!(fault.kind, FaultKind::Limited);
    assert!(fault.message.contains("600 s"), "{}", fault.message);
}

#[tokio::test]
async fn pages_are_followed_by_number_and_by_link_without_leaving_the_host() {
    let one = answer("200 OK", "x-next-page: 2\r\n", "[1]");
    let two =
        answer("200 OK", "link: <https://evil.example.com/api/v4/x?cursor=abc>; rel=\"next\"\r\n", "[2]");
    let played = played(&[&one, &two, &answer("200 OK", "x-next-page: \r\n", "[3]")]).await;
    let list = played.gitlab.get_all::<u8>("/x?a=b", "x").await.expect("a list");
    assert_eq!(list.items, vec![1, 2, 3]);
    let paths: Vec<String> =
        played.seen().iter().filter_map(|s| s.split(' ').nth(1).map(str::to_owned)).collect();
    assert_eq!(
        paths,
        [
            "/gitlab/api/v4/x?a=b&per_page=100",
            "/gitlab/api/v4/x?a=b&per_page=100&page=2",
            "/gitlab/api/v4/x?cursor=abc"
        ]
    );
}

#[tokio::test]
async fn a_list_that_goes_on_beyond_what_is_read_is_no_list() {
    let page = answer("200 OK", "x-next-page: 2\r\n", "[1]");
    let played = played(&[page.as_str(); 25]).await;
    let fault = played.gitlab.get_all::<u8>("/x", "x").await.expect_err("no end");
    assert_eq!((fault.kind, played.seen().len()), (FaultKind::Unreadable, 20));
    assert!(fault.message.contains("goes on beyond 2000"), "{}", fault.message);
}

#[tokio::test]
async fn graphql_gives_data_and_errors_and_refuses_mutations() {
    let body = r#"{"data":{"a":1},"errors":[{"message":"Field 'warnings' doesn't exist on type 'X'"}]}"#;
    let played = played(&[&answer("200 OK", "", body)]).await;
    let answer = played.gitlab.graphql::<Value>("query { a }", json!({}), "a").await.expect("an answer");
    assert_eq!((answer.data.expect("data")["a"].as_u64(), answer.errors.len()), (Some(1), 1));
    for text in ["mutation { a }", "{ a }", "subscription { a }"] {
        assert!(played.gitlab.graphql::<Value>(text, json!({}), "a").await.is_err(), "{text}");
    }
    assert_eq!(played.seen().len(), 1);
}

#[tokio::test]
async fn a_page_of_a_proxy_says_so() {
    let played = played(&[&answer("200 OK", "content-type: text/html\r\n", "<html>sign in</html>")]).await;
    let fault = played.gitlab.get::<Value>("/metadata", "metadata").await.expect_err("no JSON");
    assert_eq!(fault.kind, FaultKind::NotGitLab);
    assert!(fault.message.contains("a web page came"), "{}", fault.message);
}

#[tokio::test]
async fn an_error_that_repeats_the_token_is_masked() {
    let played = played(&[&answer("400 Bad Request", "", &format!(r#"{{"message":"bad {TOKEN}"}}"#))]).await;
    let fault = played.gitlab.get::<Value>("/x", "x").await.expect_err("refused");
    assert_eq!(fault.message, "400 bad ***");
}

#[derive(Deserialize)]
struct Made {
    id: u64,
    token: SecretString,
}

#[tokio::test]
async fn a_change_is_sent_once_and_a_lost_answer_is_known_as_lost() {
    let made = answer("201 Created", "", r#"{"id":5,"token":"new-token"}"#);
    let fine = played(&[&made]).await;
    let writer = GitLabWriter { read: fine.gitlab.clone() };
    let answer_of = writer.post::<Made>("/x", &json!({"name": "n"}), "make").await.expect("made");
    assert_eq!((answer_of.id, answer_of.token.expose_secret()), (5, "new-token"));
    assert!(fine.seen()[0].contains(r#"{"name":"n"}"#));

    let half = "HTTP/1.1 201 Created\r\ncontent-length: 40\r\n\r\n{\"id\":5,";
    for lost in ["", half] {
        let played = played(&[lost, &made]).await;
        let writer = GitLabWriter { read: played.gitlab.clone() };
        let fault = writer.post::<Made>("/x", &json!({}), "make").await.err().expect("lost");
        assert_eq!((fault.kind, played.seen().len()), (FaultKind::Lost, 1), "{}", fault.message);
        assert!(fault.may_have_happened());
    }

    let later = played(&[&answer("429 Too Many Requests", "retry-after: 0\r\n", "Retry later"), &made]).await;
    let writer = GitLabWriter { read: later.gitlab.clone() };
    let fault = writer.post::<Made>("/x", &json!({}), "make").await.err().expect("limited");
    assert_eq!((fault.kind, later.seen().len(), fault.may_have_happened()), (FaultKind::Limited, 1, false));
}

#[tokio::test]
async fn nobody_there_is_unreachable_and_a_change_was_not_sent() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("an address").port()
    };
    let writer = GitLabWriter { read: client(port) };
    let fault = writer.delete("/x", "delete").await.expect_err("nobody");
    assert_eq!((fault.kind, fault.may_have_happened()), (FaultKind::Unreachable, false), "{}", fault.message);
}

#[tokio::test]
async fn a_project_is_found_by_number_where_a_proxy_breaks_paths() {
    let played = played(&[
        &answer("404 Not Found", "", r#"{"error":"404 Not Found"}"#),
        &answer("200 OK", "", r#"{"data":{"project":{"id":"gid://gitlab/Project/12"}}}"#),
        &answer("200 OK", "", r#"{"id":12,"path_with_namespace":"a/b","visibility":"private"}"#),
        &answer(
            "200 OK",
            "",
            r#"{"data":{"project":{"repository":{"blobs":{"nodes":[{"rawTextBlob":"x: 1"}]}}}}}"#,
        ),
    ])
    .await;
    let found = played.gitlab.project("a/b").await.expect("found");
    assert_eq!((found.project.id, found.paths_break), (12, true));
    let file = played.gitlab.file(&found, ".gitlab/x.yaml").await.expect("read");
    assert_eq!(file.as_deref(), Some(&b"x: 1"[..]));
}

#[tokio::test]
async fn a_project_that_was_renamed_says_so() {
    let place = "location: https://gitlab.example.com/api/v4/projects/12\r\n";
    let played = played(&[&answer("302 Found", place, "")]).await;
    let fault = played.gitlab.project("a/old").await.expect_err("moved");
    assert_eq!((fault.kind, played.seen().len()), (FaultKind::NotFound, 1));
    assert!(fault.message.contains("new path"), "{}", fault.message);
}

fn project(level: Option<u32>) -> crate::gitlab::Project {
    let permissions =
        level.map(|level| json!({"project_access": {"access_level": level}, "group_access": null}));
    let text = json!({"id": 12, "path_with_namespace": "a/b", "permissions": permissions});
    serde_json::from_value(text).expect("a project")
}

/// Whether an empty list of connections proves anything: by the role, by the right itself, by another agent's.
#[tokio::test]
async fn an_empty_list_of_connections_counts_only_where_one_would_be_shown() {
    let right =
        |may: &str| format!(r#"{{"data":{{"project":{{"userPermissions":{{"adminProject":{may}}}}}}}}}"#);
    let others =
        |nodes: &str| format!(r#"{{"data":{{"project":{{"clusterAgents":{{"nodes":[{nodes}]}}}}}}}}"#);
    let (none, one) =
        (r#"{"connections":{"nodes":[]}}"#, r#"{"connections":{"nodes":[{"connectedAt":"x"}]}}"#);
    let failed = r#"{"data":null,"errors":[{"message":"Access denied"}]}"#.to_owned();
    for (level, bodies, shown) in [
        (Some(50), vec![], true),
        (Some(40), vec![], true),
        (Some(30), vec![right("true")], true),
        (None, vec![right("true")], true),
        (Some(30), vec![right("false"), others(none)], false),
        (Some(30), vec![right("false"), others("")], false),
        (Some(30), vec![right("false"), others(&format!("{none},{one}"))], true),
        (None, vec![right("null"), others(none)], false),
        (None, vec![failed.clone(), others(one)], true),
        (None, vec![failed.clone(), failed.clone()], false),
        (Some(30), vec![r#"{"data":{"project":null}}"#.to_owned(), others("null")], false),
        (Some(20), vec![right("false"), others(r#"{"connections":null}"#)], false),
    ] {
        let answers: Vec<String> = bodies.iter().map(|body| answer("200 OK", "", body)).collect();
        let played = played(&answers.iter().map(String::as_str).collect::<Vec<_>>()).await;
        assert_eq!(played.gitlab.shows_connections(&project(level)).await, shown, "{level:?} {bodies:?}");
        assert_eq!(played.seen().len(), bodies.len(), "{level:?} {bodies:?}");
    }
}

/// Each kind of token says what it is in its own way.
#[tokio::test]
async fn every_kind_of_token_is_asked_what_it_is() {
    let record = r#"{"id":5,"user_id":2,"scopes":["api"],"expires_at":"2027-01-01"}"#;
    let fine = r#"{"id":6,"user_id":2,"scopes":["granular"],"granular":true,"expires_at":null}"#;
    let info = r#"{"resource_owner_id":2,"scope":["read_api"],"expires_in":7200}"#;
    let lacks =
        r#"{"error":"insufficient_granular_scope","error_description":"[Personal Access Token: Read]"}"#;
    let kind =
        r#"{"message":"400 Bad request - This endpoint requires token type to be a personal access token"}"#;
    let dead = r#"{"error":"invalid_token","error_description":"Token was revoked."}"#;
    for (answers, wanted) in [
        (vec![("200 OK", record)], Ok((Some(5), Some(2), "api"))),
        (vec![("200 OK", fine)], Ok((Some(6), Some(2), "granular"))),
        (vec![("403 Forbidden", lacks)], Ok((None, None, "granular"))),
        (vec![("400 Bad Request", kind), ("200 OK", info)], Ok((None, Some(2), "read_api"))),
        (
            vec![("404 Not Found", r#"{"error":"404 Not Found"}"#), ("200 OK", info)],
            Ok((None, Some(2), "read_api")),
        ),
        (vec![("400 Bad Request", kind), ("401 Unauthorized", dead)], Err(FaultKind::Refused)),
        (vec![("401 Unauthorized", dead)], Err(FaultKind::DeadToken)),
        (vec![("401 Unauthorized", r#"{"message":"401 Unauthorized"}"#)], Err(FaultKind::SignIn)),
        (vec![("401 Unauthorized", "<html>sign in</html>")], Err(FaultKind::NotGitLab)),
        (vec![("200 OK", "<!DOCTYPE html><title>Sign in</title>")], Err(FaultKind::NotGitLab)),
        (vec![("502 Bad Gateway", "<html></html>")], Err(FaultKind::Server)),
    ] {
        let texts: Vec<String> = answers.iter().map(|(status, body)| answer(status, "", body)).collect();
        let played = played(&texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let own = played.gitlab.own_token().await;
        let told = own.map(|own| (own.id, own.user_id, own.scopes.join(" "))).map_err(|fault| fault.kind);
        assert_eq!(told, wanted.map(|(id, user, scopes)| (id, user, scopes.to_owned())), "{answers:?}");
    }
}

#[tokio::test]
async fn levels_of_single_users_and_keys_protect_for_nobody_else() {
    let rules = r#"[{"name":"main","push_access_levels":[{"access_level":40,"user_id":null},
        {"access_level":30,"user_id":9},{"access_level":30,"group_id":3},{"access_level":30,"deploy_key_id":1}],
        "merge_access_levels":[{"access_level":0}]},{"name":"release/*"}]"#;
    let played = played(&[&answer("200 OK", "", rules)]).await;
    let rules = played.gitlab.protected_branches(&project(None)).await.expect("rules");
    let roles: Vec<(&str, &[u32])> = rules.iter().map(|r| (r.name.as_str(), &r.roles[..])).collect();
    assert_eq!(roles, [("main", &[40, 0][..]), ("release/*", &[][..])]);
}

#[tokio::test]
async fn a_branch_says_who_may_change_it_as_far_as_it_knows() {
    for (status, body, roles) in [
        ("200 OK", r#"{"protected":false,"developers_can_push":false}"#, vec![]),
        ("200 OK", r#"{"protected":true,"developers_can_push":true,"developers_can_merge":false}"#, vec![30]),
        ("200 OK", r#"{"protected":true,"developers_can_push":false,"developers_can_merge":true}"#, vec![30]),
        (
            "200 OK",
            r#"{"protected":true,"developers_can_push":false,"developers_can_merge":false}"#,
            vec![40],
        ),
        ("404 Not Found", r#"{"message":"404 Branch Not Found"}"#, vec![]),
    ] {
        let played = played(&[&answer(status, "", body)]).await;
        let rules = played.gitlab.branch_protection(&project(None), "main").await.expect("rules");
        assert_eq!(rules.into_iter().flat_map(|r| r.roles).collect::<Vec<_>>(), roles, "{body}");
    }
}

#[test]
fn bots_are_told_by_gitlab_or_by_their_name() {
    for (user, bot) in [
        (json!({"username": "project_12_bot_0af", "bot": true}), true),
        (json!({"username": "project_12_bot_0af"}), true),
        (json!({"username": "group_3_bot"}), true),
        (json!({"username": "dana", "bot": false}), false),
        (json!({"username": "dana"}), false),
        (json!({"username": "project_lead", "bot": false}), false),
        (json!({"username": "robot", "bot": true}), true),
        (json!({"username": "group_bot_fan", "bot": false}), false),
    ] {
        let read: crate::gitlab::User = serde_json::from_value(user.clone()).expect("a user");
        assert_eq!(read.is_bot(), bot, "{user}");
    }
}

#[tokio::test]
async fn a_project_that_is_none_is_in_no_request() {
    let played = played(&[]).await;
    for path in
        ["", ".", "..", "../users", "a/../../users", "a//b", "/a", "a/", "a/.", "%2e%2e/a", "a\0", "a\\.."]
    {
        let path = format!("/projects/{}", crate::access::segment(path));
        assert!(played.gitlab.get::<Value>(&path, "a project").await.is_err(), "{path}");
    }
    assert!(played.seen().is_empty());
}
