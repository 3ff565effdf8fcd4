//! Why GitLab gave no useful answer, in one shape for the many that GitLab and the proxies before it have.
//!
//! GitLab, "REST API", "Status codes" and "Data validation and error reporting": `message` is text, a list, or an
//! object of lists; OAuth errors have `error` and `error_description`; rate limits are plain text.

use std::fmt;

use gitlab_agent_core::snapshot::{Why, WhyKind, mask};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::answerer;

/// Longer messages are cut: a proxy's page says nothing in its second hundred words.
const LONGEST: usize = 300;

/// Classes of faults: what to do differs by class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Nobody answered: refused, no such host, TLS, no answer in time. A change was not sent.
    Unreachable,
    /// The token was refused (401): GitLab does not know it, or, below `access_tokens` of a project or group, its owner may
    /// not read there.
    SignIn,
    /// The token was refused as such (401 `invalid_token`): revoked, expired, or of another GitLab.
    DeadToken,
    /// The token's owner may not do it (403).
    Forbidden,
    /// The token has not the scope for it (403 `insufficient_scope`).
    Scope,
    /// A fine-grained token lacks the permission, or a legacy token is refused where fine-grained ones are enforced (403
    /// `insufficient_granular_scope`).
    Granular,
    /// Something in front of GitLab answered in its place. GitLab has not seen the request.
    NotGitLab,
    /// It does not exist, or the token may not see it: GitLab does not tell which (404).
    NotFound,
    /// It collides with another change (409).
    Conflict,
    /// GitLab understood and says no (400, 405, 412, 422).
    Refused,
    /// Too many requests (429), longer than the deadline allows to wait.
    Limited,
    /// GitLab says it is elsewhere (3xx); nothing is sent there.
    Moved,
    /// GitLab broke or is under maintenance (5xx). A change may have happened.
    Server,
    /// A change was sent and no answer came: it may have happened.
    Lost,
    /// An answer came that could not be read. A change has probably happened.
    Unreadable,
}

/// Why GitLab gave no useful answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its class.
    pub kind: FaultKind,
    /// What was asked for, in words.
    pub asked: String,
    /// HTTP status, where an answer came.
    pub status: Option<u16>,
    /// What came back, masked.
    pub message: String,
}

impl Fault {
    /// A fault without an answer.
    pub(super) fn new(kind: FaultKind, asked: &str, message: impl AsRef<str>) -> Self {
        Self { kind, asked: asked.to_owned(), status: None, message: cut(&mask::free_text(message.as_ref())) }
    }

    /// The fault that an answer is, where it is one.
    pub(super) fn of(status: StatusCode, headers: &HeaderMap, body: &[u8], asked: &str) -> Option<Self> {
        if status.is_success() {
            return None;
        }
        let foreign = !answerer::is_gitlab(status, headers, body);
        let said = if foreign { strange(status, headers, body) } else { said(body) };
        let location = headers.get("location").and_then(|v| v.to_str().ok());
        let (kind, message) = match status.as_u16() {
            300..=399 => {
                let place = location.map_or_else(|| "another place".to_owned(), mask::url);
                let text =
                    format!("GitLab says it moved to {place}; if that is right, name it with --gitlab-host");
                (FaultKind::Moved, text)
            }
            400..=428 | 430..=499 if foreign => (FaultKind::NotGitLab, said),
            401 if has_error(body, "invalid_token") => (FaultKind::DeadToken, said),
            401 => (FaultKind::SignIn, said),
            403 if has_error(body, "insufficient_scope") => (FaultKind::Scope, said),
            403 if has_error(body, "insufficient_granular_scope") => (FaultKind::Granular, said),
            403 => (FaultKind::Forbidden, said),
            404 => (FaultKind::NotFound, said),
            409 => (FaultKind::Conflict, said),
            429 => (FaultKind::Limited, said),
            500.. => (FaultKind::Server, said),
            _ => (FaultKind::Refused, said),
        };
        let message = if kind == FaultKind::Moved || message.starts_with(status.as_str()) {
            message
        } else {
            format!("{} {message}", status.as_u16()).trim_end().to_owned()
        };
        Some(Self { kind, asked: asked.to_owned(), status: Some(status.as_u16()), message })
    }

    /// Whether a change that was sent may have happened in spite of this fault.
    pub fn may_have_happened(&self) -> bool {
        matches!(self.kind, FaultKind::Lost | FaultKind::Server | FaultKind::Unreadable)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.asked, self.message)
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for Why {
    fn from(fault: Fault) -> Self {
        let kind = match fault.kind {
            FaultKind::Unreachable | FaultKind::Moved | FaultKind::Lost | FaultKind::NotGitLab => {
                WhyKind::Unreachable
            }
            FaultKind::SignIn | FaultKind::DeadToken => WhyKind::SignIn,
            FaultKind::Forbidden | FaultKind::Scope | FaultKind::Granular | FaultKind::NotFound => {
                WhyKind::Forbidden
            }
            FaultKind::Limited => WhyKind::TimedOut,
            FaultKind::Conflict | FaultKind::Refused | FaultKind::Server | FaultKind::Unreadable => {
                WhyKind::Unreadable
            }
        };
        Self::new(kind, fault.asked, fault.message)
    }
}

fn has_error(body: &[u8], error: &str) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|v| v["error"] == error)
}

/// What an answer says that GitLab's API did not write, and who wrote it.
fn strange(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> String {
    let said = said(body);
    if answerer::may_be_ban(status, body) {
        return "Forbidden, in plain text: GitLab refuses this address after too many bad requests, or something in front of \
                GitLab refused; it says nothing of your role"
            .to_owned();
    }
    // GitLab's own pages while it starts or breaks.
    if status.is_server_error() && (said.contains("GitLab") || said.contains("Deploy in progress")) {
        return said;
    }
    let who = format!("not GitLab answered, but something in front of it{}", answerer::name(headers));
    if said.is_empty() { who } else { format!("{who}: {said}") }
}

/// What an answer says, in one line.
fn said(body: &[u8]) -> String {
    let text = match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(fields)) => {
            let get = |name: &str| fields.get(name).filter(|v| !v.is_null()).map(words);
            let scope = get("scope").map(|s| format!(" (needs the scope {s})")).unwrap_or_default();
            let said = get("error_description").or_else(|| get("message")).or_else(|| get("error"));
            format!("{}{scope}", said.or_else(|| get("errors")).unwrap_or_default())
        }
        Ok(other) => words(&other),
        Err(_) => page(body),
    };
    cut(&mask::free_text(text.trim()))
}

/// A JSON value as words: `{"name": ["is taken", "is bad"]}` is `name is taken, is bad`.
fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            fields.iter().map(|(k, v)| format!("{k} {}", words(v))).collect::<Vec<_>>().join("; ")
        }
        other => other.to_string(),
    }
}

/// What is no JSON: the title of a page, or the first line of a text.
fn page(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title>").map(|at| at + 7).and_then(|start| {
        let end = start + lower[start..].find("</title>")?;
        Some(text[start..end].split_whitespace().collect::<Vec<_>>().join(" "))
    });
    match title {
        Some(title) => format!("a web page: {title}"),
        None if lower.trim_start().starts_with('<') => "a web page".to_owned(),
        None => text.lines().find(|l| !l.trim().is_empty()).unwrap_or_default().to_owned(),
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    let short: String = text.chars().take(LONGEST).collect();
    format!("{short}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> (FaultKind, String) {
        let status = StatusCode::from_u16(status).expect("a status");
        let place = "https://user:pw@elsewhere.example.com/x?private_token=y".parse().expect("a value");
        let headers = HeaderMap::from_iter([(http::header::LOCATION, place)]);
        let fault = Fault::of(status, &headers, body.as_bytes(), "ask");
        let fault = fault.expect("a fault");
        (fault.kind, fault.message)
    }

    #[test]
    fn every_shape_of_error_is_read() {
        use FaultKind::*;
        for (status, body, kind, message) in [
            (401, r#"{"message":"401 Unauthorized"}"#, SignIn, "401 Unauthorized"),
            (
                401,
                r#"{"error":"invalid_token","error_description":"Token is expired."}"#,
                DeadToken,
                "401 Token is expired.",
            ),
            (
                403,
                r#"{"error":"insufficient_scope","error_description":"The request requires higher privileges.","scope":"api"}"#,
                Scope,
                "403 The request requires higher privileges. (needs the scope api)",
            ),
            (
                403,
                r#"{"error":"insufficient_granular_scope","error_description":"Access denied: [Project: Read]."}"#,
                Granular,
                "403 Access denied: [Project: Read].",
            ),
            (403, r#"{"message":"403 Forbidden"}"#, Forbidden, "403 Forbidden"),
            (404, r#"{"message":"404 Project Not Found"}"#, NotFound, "404 Project Not Found"),
            (404, r#"{"error":"404 Not Found"}"#, NotFound, "404 Not Found"),
            (
                400,
                r#"{"message":{"name":["has already been taken","is too long"]}}"#,
                Refused,
                "400 name has already been taken, is too long",
            ),
            (
                400,
                r#"{"message":["An agent can have only two active tokens at a time"]}"#,
                Refused,
                "400 An agent can have only two active tokens at a time",
            ),
            (422, r#"{"error":"name is missing"}"#, Refused, "422 name is missing"),
            (409, r#"{"message":"409 Conflict"}"#, Conflict, "409 Conflict"),
            (429, "Retry later\n", Limited, "429 Retry later"),
            (
                502,
                "<html><head><title>GitLab is not\nresponding (502)</title></head>",
                Server,
                "502 a web page: GitLab is not responding (502)",
            ),
            (503, "", Server, "503 not GitLab answered, but something in front of it"),
            (
                403,
                "<title>Blocked</title>",
                NotGitLab,
                "403 not GitLab answered, but something in front of it: a web page: Blocked",
            ),
            (401, "", NotGitLab, "401 not GitLab answered, but something in front of it"),
            (429, "slow down", Limited, "429 not GitLab answered, but something in front of it: slow down"),
        ] {
            assert_eq!(of(status, body), (kind, message.to_owned()), "{body}");
        }
    }

    #[test]
    fn a_redirect_names_the_place_without_what_may_be_secret() {
        let (kind, message) = of(302, "");
        assert_eq!(kind, FaultKind::Moved);
        assert!(message.starts_with("GitLab says it moved to https://elsewhere.example.com/x;"), "{message}");
    }

    #[test]
    fn tokens_are_masked_and_long_pages_cut() {
        let (_, message) = of(400, &format!(r#"{{"message":"token glpat-{} is bad"}}"#, "x".repeat(20)));
        assert_eq!(message, "400 token *** is bad");
        let (_, message) = of(500, &"x".repeat(5000));
        assert!(message.chars().count() < 360, "{message}");
    }
}
