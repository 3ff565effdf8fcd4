//! What an answer means, by who gave it.

use super::*;

fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, value.parse().expect("a value"));
    }
    let status = StatusCode::from_u16(status).expect("a status");
    Answer::of(status, map, body.as_bytes().to_vec())
}

fn status(code: u16, reason: &str, message: &str) -> String {
    serde_json::json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason,
        "message": message})
    .to_string()
}

/// Headers, body, and what it means; none where it is an answer.
type Case =
    (&'static str, u16, &'static [(&'static str, &'static str)], String, Option<(WhyKind, &'static str)>);

const JSON: (&str, &str) = ("content-type", "application/json");
const HTML: (&str, &str) = ("content-type", "text/html; charset=utf-8");
const AUDIT: (&str, &str) = ("audit-id", "4f6a");
const NGINX: (&str, &str) = ("server", "nginx/1.27.0");

fn of_the_api_server() -> Vec<Case> {
    use WhyKind::{Forbidden, SignIn, TimedOut, Unreadable};
    vec![
        ("no such object", 404, &[JSON], status(404, "NotFound", "secrets \"x\" not found"), None),
        ("no such path", 404, &[AUDIT], "404 page not found\n".to_owned(), None),
        (
            "no permission",
            403,
            &[JSON],
            status(403, "Forbidden", "cannot list"),
            Some((Forbidden, "cannot list")),
        ),
        (
            "no sign-in",
            401,
            &[JSON],
            status(401, "Unauthorized", "Unauthorized"),
            Some((SignIn, "401 Unauthorized")),
        ),
        (
            "priority and fairness",
            429,
            &[AUDIT],
            "Too many requests".to_owned(),
            Some((TimedOut, "429 Too many")),
        ),
        ("a limit", 429, &[JSON], status(429, "TooManyRequests", "later"), Some((TimedOut, "429 later"))),
        (
            "its own deadline",
            504,
            &[JSON],
            status(504, "Timeout", "took too long"),
            Some((TimedOut, "504 took")),
        ),
        (
            "a panic",
            500,
            &[AUDIT],
            "Internal Server Error: \"/apis\"".to_owned(),
            Some((Unreadable, "500 Internal")),
        ),
        (
            "etcd away",
            500,
            &[JSON],
            status(500, "InternalError", "etcdserver"),
            Some((Unreadable, "500 etcd")),
        ),
        ("shutting down", 503, &[JSON], status(503, "ServiceUnavailable", "x"), Some((Unreadable, "503 x"))),
        ("expired page", 410, &[JSON], status(410, "Expired", "too old"), Some((Unreadable, "410 too old"))),
        ("an unlikely pair", 403, &[JSON], status(403, "NotFound", "x"), Some((Unreadable, "403 x"))),
    ]
}

fn of_others() -> Vec<Case> {
    let page = |title: &str| format!("<html><head><title>{title}</title></head><body>{title}</body></html>");
    let between = |words| Some((WhyKind::Intercepted, words));
    vec![
        (
            "nginx",
            403,
            &[NGINX, HTML],
            page("403 Forbidden"),
            between("403 from nginx/1.27.0 (text/html): 403 Forbidden"),
        ),
        (
            "a mesh",
            403,
            &[("server", "envoy"), ("content-type", "text/plain")],
            "RBAC: access denied".to_owned(),
            between("403 from envoy (text/plain): RBAC: access denied"),
        ),
        (
            "a firewall",
            403,
            &[("via", "1.1 filter"), HTML],
            page("Blocked"),
            between("name via 1.1 filter (text/html): Blocked"),
        ),
        (
            "a platform",
            403,
            &[JSON],
            r#"{"type":"error","code":"Forbidden","message":"no"}"#.to_owned(),
            between("403 from a server"),
        ),
        ("a liar", 403, &[JSON], r#"{"kind":"Status","message":"no"}"#.to_owned(), between("403 from")),
        (
            "sign-in of a proxy",
            401,
            &[("server", "Apache"), HTML],
            page("Authorization Required"),
            between("401 from Apache"),
        ),
        ("oauth2-proxy", 401, &[], "Unauthorized".to_owned(), between("(no content type): Unauthorized")),
        (
            "traefik knows no host",
            404,
            &[("content-type", "text/plain")],
            "404 page not found\n".to_owned(),
            between("404 from"),
        ),
        ("an empty 404", 404, &[], String::new(), between("404 from")),
        ("a CDN", 404, &[("server", "cloudflare"), HTML], page("Not Found"), between("404 from cloudflare")),
        ("a rate limit", 429, &[NGINX, HTML], page("429 Too Many Requests"), between("429 from nginx")),
        ("a gateway", 502, &[NGINX, HTML], page("502 Bad Gateway"), between("502 from nginx/1.27.0")),
        ("a balancer", 503, &[("server", "awselb/2.0"), HTML], page("503"), between("503 from awselb/2.0")),
        ("a slow gateway", 504, &[NGINX], String::new(), between("504 from nginx/1.27.0 (no content type)")),
        (
            "a portal",
            302,
            &[("location", "https://login.example.com/x?token=secret-of-url")],
            String::new(),
            between("leads to https://login.example.com/x"),
        ),
        ("a proxy's credential", 407, &[("server", "squid/6")], String::new(), between("407 from squid/6")),
        ("a teapot", 418, &[], "\u{1b}[31mno\n<b>\u{202e}".to_owned(), between("418 from")),
    ]
}

#[test]
fn only_the_api_server_speaks_for_the_cluster() {
    let cases: Vec<Case> = of_the_api_server().into_iter().chain(of_others()).collect();
    assert!(cases.len() >= 25);
    for (name, code, headers, body, meaning) in cases {
        let judged = answer(code, headers, &body).judged("list x", None);
        match (judged, meaning) {
            (Ok(answer), None) => assert_eq!(answer.status, StatusCode::NOT_FOUND, "{name}"),
            (Err(why), Some((kind, words))) => {
                assert_eq!(why.kind, kind, "{name}: {why:?}");
                assert!(why.message.contains(words), "{name}: {why:?}");
                assert!(
                    why.permission.is_none() && !why.message.contains("secret-of-url"),
                    "{name}: {why:?}"
                );
                assert!(!why.message.chars().any(|c| c.is_control() || c == '\u{202e}'), "{name}: {why:?}");
            }
            (judged, meaning) => panic!("{name}: {judged:?}, not {meaning:?}"),
        }
    }
}

#[test]
fn a_sign_in_hint_is_for_the_api_servers_401_alone() {
    let own = answer(401, &[JSON], &status(401, "Unauthorized", "Unauthorized"));
    let why = own.judged("x", Some("the token expired")).expect_err("401");
    assert_eq!(why.message, "401 Unauthorized; the token expired");
    let other =
        answer(401, &[HTML], "<h1>Sign in</h1>").judged("x", Some("the token expired")).expect_err("401");
    assert!(!other.message.contains("expired") && other.message.ends_with("Sign in"), "{other:?}");
}

#[test]
fn an_object_is_the_one_that_was_asked_for() {
    let secret = |kind: &str, version: &str, namespace: &str, name: &str| {
        serde_json::json!({"kind": kind, "apiVersion": version, "metadata": {"name": name, "namespace": namespace}})
            .to_string()
    };
    let table = [
        (secret("Secret", "v1", "n", "s"), None),
        (secret("Secret", "v1", "n", "t"), Some("it is Secret n/t")),
        (secret("Secret", "v1", "m", "s"), Some("it is Secret m/s")),
        (secret("ConfigMap", "v1", "n", "s"), Some("it is v1 ConfigMap")),
        (secret("Secrets", "v2", "n", "s"), Some("it is v2 Secrets")),
        (secret("SecretList", "v1", "n", "s"), Some("it is v1 SecretList")),
        (r#"{"kind":"Secret","apiVersion":"v1"}"#.to_owned(), Some("it is Secret /")),
        (r#"{"kind":"Secret","apiVersion":"v1","metadata":7}"#.to_owned(), Some("it is Secret /")),
        ("{}".to_owned(), Some("it does not say its kind")),
        ("null".to_owned(), Some("no Secret")),
        ("[]".to_owned(), Some("no Secret")),
        (String::new(), Some("line 1 column 0")),
        ("<html><title>Sign in</title></html>".to_owned(), Some("Sign in")),
        (r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s""#.to_owned(), Some("line 1")),
        (status(200, "", "no such thing"), Some("it is a Status: no such thing")),
        (status(200, "", "\u{1f}\u{8b}"), Some("it is a Status")),
    ];
    for (body, wrong) in table {
        let judged = answer(200, &[], &body).expect_object("get secret", &ObjectRef::new("Secret", "n", "s"));
        match (judged, wrong) {
            (Ok(()), None) => {}
            (Err(why), Some(words)) => assert!(why.message.contains(words), "{body}: {why:?}"),
            (judged, _) => panic!("{body}: {judged:?}"),
        }
    }
}

#[test]
fn a_refusal_through_the_proxy_is_a_permission_only_where_it_names_the_service() {
    let own = serde_json::json!({"apiVersion": "v1", "kind": "Status", "code": 403, "reason": "Forbidden",
        "message": "cannot get resource \"services/proxy\"", "details": {"kind": "services", "name": "x"}});
    assert!(answer(403, &[JSON], &own.to_string()).is_refused_proxy());
    for body in [status(403, "Forbidden", "no"), "RBAC: access denied".to_owned(), "{}".to_owned()] {
        assert!(!answer(403, &[AUDIT], &body).is_refused_proxy(), "{body}");
    }
}

#[test]
fn what_says_yes_is_not_quoted() {
    for body in [
        r#"{"data":{"token":"czNjcjN0"}}"#,
        "czNjcjN0",
        r#"{"kind":"","czNjcjN0":1}"#,
        "[\"czNjcjN0\"",
        "czNjcjN0: x",
    ] {
        let why = answer(200, &[JSON], body)
            .expect_object("get secret", &ObjectRef::new("Secret", "n", "s"))
            .expect_err(body);
        assert!(!why.message.contains("czNjcjN0"), "{why:?}");
    }
    let page = answer(200, &[HTML], "<title>Sign in</title> czNjcjN0")
        .expect_kind("x", "v1", "Secret")
        .expect_err("a page");
    assert!(page.message.ends_with("Sign in"), "{page:?}");
}

#[test]
fn messages_are_short_and_masked() {
    let token = format!("glpat-{}", "abcdefgh12345678");
    let body = status(400, "BadRequest", &format!("token {token} is bad"));
    assert_eq!(answer(400, &[], &body).said(), "token *** is bad");
    assert_eq!(answer(400, &[], "<html>\n<body>").said(), "");
    let long =
        answer(500, &[("server", &"s".repeat(500))], &format!("{token} {}", "word ".repeat(500))).stranger();
    assert!(long.len() < 250 && long.contains("***") && !long.contains(&token), "{long}");
}

/// The cluster's times are told by the API server's clock.
#[test]
fn an_answer_tells_the_time() {
    for (date, expected) in [
        (Some("Mon, 02 Nov 2026 10:00:00 GMT"), Some("2026-11-02T10:00:00Z")),
        (Some("yesterday"), None),
        (Some(""), None),
        (None, None),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(date) = date {
            headers.insert(header::DATE, date.parse().expect("a header"));
        }
        let answer = Answer::of(StatusCode::OK, headers, Vec::new());
        assert_eq!(answer.date().map(|at| at.to_string()).as_deref(), expected, "{date:?}");
    }
}
