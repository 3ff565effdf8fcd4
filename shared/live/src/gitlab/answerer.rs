//! Who wrote an answer: GitLab's API, or something in front of it. A proxy's 403 is no missing role, its 401 no dead
//! token, its 404 no missing project.
//!
//! GitLab's API answers every request with JSON (`lib/api/helpers.rb`: `message`, which begins with the status;
//! `lib/api/api_guard.rb`: the errors of OAuth; GraphQL: `errors`), and Rails marks every answer with `X-Gitlab-Meta`
//! (`config/initializers/labkit_middleware.rb`). Only its rate limit (429) and its ban of an address (403) are plain text
//! (`lib/gitlab/rack_attack.rb`).

use gitlab_agent_core::snapshot::mask;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// Errors that the guard in front of GitLab's endpoints gives (`lib/api/api_guard.rb`).
const GUARD: [&str; 7] = [
    "invalid_token",
    "insufficient_scope",
    "insufficient_granular_scope",
    "unauthorized",
    "invalid_request",
    "dpop_error",
    "restricted_language_server_client_error",
];
/// What gateways say in `message`, without the status that GitLab puts before it.
const GATEWAYS: [&str; 8] = [
    "forbidden",
    "unauthorized",
    "not found",
    "access denied",
    "missing authentication token",
    "no api key found in request",
    "no route matched with those values",
    "user is not authorized to access this resource",
];
/// The longest name that is shown.
const LONGEST: usize = 60;

/// Whether an answer that is no success was written by GitLab's API.
pub(super) fn is_gitlab(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> bool {
    if headers.contains_key("x-gitlab-meta") {
        return true;
    }
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(fields)) => is_gitlab_json(status, headers, &fields),
        Ok(_) => false,
        Err(_) => status == StatusCode::TOO_MANY_REQUESTS && body.trim_ascii() == b"Retry later",
    }
}

fn is_gitlab_json(status: StatusCode, headers: &HeaderMap, fields: &serde_json::Map<String, Value>) -> bool {
    let of_gateway =
        headers.keys().any(|name| name.as_str().starts_with("x-amzn-") || name == "x-kong-request-id");
    // Kubernetes' Status, Azure's API Management, Cloudflare's API.
    let foreign =
        ["kind", "apiVersion", "statusCode", "success"].iter().any(|name| fields.contains_key(*name));
    if of_gateway || foreign {
        return false;
    }
    if fields.get("errors").is_some_and(Value::is_array) {
        return true;
    }
    let numbered = |text: &str| text.starts_with(status.as_str());
    match (fields.get("message"), fields.get("error")) {
        (Some(Value::String(text)), _) => {
            let bare = text.trim().trim_end_matches(['.', '!']).to_ascii_lowercase();
            numbered(text) || !GATEWAYS.contains(&bare.as_str())
        }
        (Some(Value::Array(_) | Value::Object(_)), _) => true,
        (_, Some(Value::String(error))) => {
            let of_access = matches!(status.as_u16(), 401 | 403 | 404);
            numbered(error) || GUARD.contains(&error.as_str()) || !of_access
        }
        _ => false,
    }
}

/// Whether it may be GitLab's ban of this address: after many bad requests it answers 403 in plain text.
pub(super) fn may_be_ban(status: StatusCode, body: &[u8]) -> bool {
    status == StatusCode::FORBIDDEN && body.trim_ascii() == b"Forbidden"
}

/// Who it was that was not GitLab, as far as it names itself.
pub(super) fn name(headers: &HeaderMap) -> String {
    let text =
        |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim).filter(|v| !v.is_empty());
    let found = ["via", "server"].iter().find_map(|name| Some(format!("{name}: {}", text(name)?)));
    let asks = text("www-authenticate").or_else(|| text("proxy-authenticate"));
    let asks = asks.map(|scheme| format!("it asks to sign in: {scheme}"));
    let all: Vec<String> = found.into_iter().chain(asks).map(|text| short(&mask::free_text(&text))).collect();
    if all.is_empty() { String::new() } else { format!(" ({})", all.join("; ")) }
}

fn short(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        text.to_owned()
    } else {
        text.chars().take(LONGEST).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        all.iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect()
    }

    /// What GitLab says: status, body.
    const OURS: &[(u16, &str)] = &[
        (400, r#"{"message":"400 Bad request - An agent can have only two active tokens at a time"}"#),
        (400, r#"{"message":{"name":["is too long (maximum is 255 characters)"]}}"#),
        (400, r#"{"message":["Name has already been taken"]}"#),
        (400, r#"{"error":"scopes does not have a valid value"}"#),
        (400, r#"{"message":"Dana cannot delete kubectl-gitlab-agent-1"}"#),
        (401, r#"{"message":"401 Unauthorized"}"#),
        (
            401,
            r#"{"error":"invalid_token","error_description":"Token was revoked. You have to re-authorize from the user."}"#,
        ),
        (401, r#"{"errors":[{"message":"Invalid token"}]}"#),
        (401, r#"{"error":"dpop_error","error_description":"DPoP header is missing"}"#),
        (403, r#"{"message":"403 Forbidden"}"#),
        (403, r#"{"message":"403 Forbidden  - Your account has been blocked."}"#),
        (403, r#"{"error":"insufficient_scope","error_description":"x","scope":"api"}"#),
        (403, r#"{"error":"insufficient_granular_scope","error_description":"Access denied"}"#),
        (403, r#"{"message":"You are not allowed to do this here"}"#),
        (404, r#"{"message":"404 Project Not Found"}"#),
        (404, r#"{"error":"404 Not Found"}"#),
        (405, r#"{"message":"405 Method Not Allowed"}"#),
        (409, r#"{"message":"409 Conflict"}"#),
        (422, r#"{"error":"name is missing"}"#),
        (429, "Retry later\n"),
        (429, r#"{"message":{"error":"This endpoint has been requested too many times. Try again later."}}"#),
        (500, r#"{"message":"500 Internal Server Error"}"#),
    ];

    /// Status, headers, body.
    type Answer = (u16, &'static [(&'static str, &'static str)], &'static str);

    /// What others say.
    const THEIRS: &[Answer] = &[
        (403, &[("server", "nginx/1.27")], "<html><head><title>403 Forbidden</title></head></html>"),
        (403, &[("server", "envoy")], "RBAC: access denied"),
        (403, &[("x-amzn-errortype", "ForbiddenException")], r#"{"message":"Forbidden"}"#),
        (403, &[], r#"{"message":"Missing Authentication Token"}"#),
        (
            403,
            &[],
            r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}"#,
        ),
        (403, &[("server", "cloudflare")], "error code: 1020"),
        (
            403,
            &[("via", "1.1 squid")],
            "<!DOCTYPE html><title>ERROR: The requested URL could not be retrieved</title>",
        ),
        (403, &[], r#"{"success":false,"errors":[{"code":10000,"message":"Authentication error"}]}"#),
        (401, &[("www-authenticate", "Basic realm=\"corp\"")], ""),
        (401, &[], r#"{"statusCode":401,"message":"Access denied due to missing subscription key."}"#),
        (401, &[("x-kong-request-id", "1")], r#"{"message":"Unauthorized"}"#),
        (401, &[], "Invalid IAP credentials: empty token"),
        (404, &[], "404 page not found\n"),
        (404, &[], "default backend - 404"),
        (404, &[("server", "Apache")], "<!DOCTYPE HTML><title>404 Not Found</title>"),
        (404, &[], r#"{"message":"no Route matched with those values"}"#),
        (404, &[], r#"{"error":"no such service"}"#),
        (407, &[("proxy-authenticate", "Negotiate")], "<html></html>"),
        (429, &[("server", "cloudflare")], "error code: 1015"),
        (502, &[("server", "nginx")], "<html><title>502 Bad Gateway</title></html>"),
        (503, &[], "no healthy upstream"),
        (504, &[], ""),
    ];

    #[test]
    fn gitlab_and_what_stands_before_it_are_told_apart() {
        for (status, body) in OURS {
            let status = StatusCode::from_u16(*status).expect("a status");
            assert!(is_gitlab(status, &HeaderMap::new(), body.as_bytes()), "{status} {body}");
        }
        for (status, all, body) in THEIRS {
            let status = StatusCode::from_u16(*status).expect("a status");
            assert!(!is_gitlab(status, &headers(all), body.as_bytes()), "{status} {body}");
            let marked: Vec<_> = all.iter().copied().chain([("x-gitlab-meta", "{}")]).collect();
            assert!(is_gitlab(status, &headers(&marked), body.as_bytes()), "Rails marks what it writes");
        }
    }

    #[test]
    fn what_answered_is_named_as_far_as_it_names_itself() {
        assert_eq!(name(&headers(&[("server", "nginx/1.27")])), " (server: nginx/1.27)");
        assert_eq!(name(&headers(&[("server", "x"), ("via", "1.1 squid")])), " (via: 1.1 squid)");
        let asks = name(&headers(&[("www-authenticate", "Basic realm=\"corp\"")]));
        assert_eq!(asks, " (it asks to sign in: Basic realm=\"corp\")");
        assert_eq!(name(&HeaderMap::new()), "");
    }
}
