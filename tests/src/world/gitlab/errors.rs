//! The shapes in which GitLab refuses: they differ by layer, and clients have to read all of them.

use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::server::WholeResponse;

/// What a handler of the API gives.
pub(super) type ApiResult = Result<WholeResponse, Refusal>;

/// Why a request is not answered with what it asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Refusal {
    /// No token, or one that nobody knows.
    Unauthorized,
    /// A token that was good once (`lib/api/api_guard.rb`).
    InvalidToken(&'static str),
    /// A token that may not do this, with the scopes of which one would do.
    Scope(Vec<&'static str>),
    /// A fine-grained token without these permissions, or a legacy one where fine-grained ones are enforced.
    Granular(String),
    /// The role does not suffice.
    Forbidden,
    /// No such thing, or none that this token may see: `404 Project Not Found`.
    NotFound(&'static str),
    /// A record that its number does not find.
    NoRecord,
    /// No such endpoint.
    NoRoute,
    /// `bad_request!`: one sentence.
    BadRequest(String),
    /// One sentence without the status before it.
    Sentence(StatusCode, String),
    /// A parameter that is missing or wrong, as the API's framework says it.
    Parameter(String),
    /// A model that does not validate: messages by field, with the status.
    Validation(StatusCode, Value),
    /// The token is of a kind that cannot do this.
    MethodNotAllowed,
}

/// Description of a token whose day has come.
pub(super) const EXPIRED: &str = "Token is expired. You can either do re-authorization or token refresh.";
/// Description of a token that was taken back.
pub(super) const REVOKED: &str = "Token was revoked. You have to re-authorize from the user.";
const SCOPE: &str = "The request requires higher privileges than provided by the access token.";

impl Refusal {
    pub(super) fn response(&self) -> WholeResponse {
        let (status, body) = self.parts();
        let mut response = with_status(status, &body);
        if let Self::InvalidToken(text) = self {
            let realm = format!(
                r#"Bearer realm="Protected by OAuth 2.0", error="invalid_token", error_description="{text}""#
            );
            if let Ok(value) = HeaderValue::from_str(&realm) {
                response.headers_mut().insert(WWW_AUTHENTICATE, value);
            }
        }
        response
    }

    fn parts(&self) -> (StatusCode, Value) {
        let message = |code: StatusCode, text: &str| (code, json!({ "message": text }));
        match self {
            Self::Unauthorized => message(StatusCode::UNAUTHORIZED, "401 Unauthorized"),
            Self::InvalidToken(text) => {
                let body = json!({ "error": "invalid_token", "error_description": text });
                (StatusCode::UNAUTHORIZED, body)
            }
            Self::Scope(scopes) => {
                let scope = scopes.join(" ");
                let body =
                    json!({ "error": "insufficient_scope", "error_description": SCOPE, "scope": scope });
                (StatusCode::FORBIDDEN, body)
            }
            Self::Granular(text) => {
                let body = json!({ "error": "insufficient_granular_scope", "error_description": text });
                (StatusCode::FORBIDDEN, body)
            }
            Self::Sentence(status, text) => message(*status, text),
            Self::Forbidden => message(StatusCode::FORBIDDEN, "403 Forbidden"),
            Self::NotFound(what) => message(StatusCode::NOT_FOUND, &format!("404 {what} Not Found")),
            Self::NoRecord => message(StatusCode::NOT_FOUND, "404 Not found"),
            Self::NoRoute => (StatusCode::NOT_FOUND, json!({ "error": "404 Not Found" })),
            Self::BadRequest(reason) => {
                message(StatusCode::BAD_REQUEST, &format!("400 Bad request - {reason}"))
            }
            Self::Parameter(text) => (StatusCode::BAD_REQUEST, json!({ "error": text })),
            Self::Validation(status, fields) => (*status, json!({ "message": fields })),
            Self::MethodNotAllowed => message(StatusCode::METHOD_NOT_ALLOWED, "405 Method Not Allowed"),
        }
    }
}

/// 200 with JSON.
pub(super) fn ok(body: &Value) -> WholeResponse {
    with_status(StatusCode::OK, body)
}

/// 201 with JSON.
pub(super) fn created(body: &Value) -> WholeResponse {
    with_status(StatusCode::CREATED, body)
}

/// 204.
pub(super) fn no_content() -> WholeResponse {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

pub(super) fn with_status(status: StatusCode, body: &Value) -> WholeResponse {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layer_refuses_in_its_own_shape() {
        let said = |refusal: Refusal| refusal.parts().1;
        assert_eq!(said(Refusal::Unauthorized), json!({"message": "401 Unauthorized"}));
        assert_eq!(said(Refusal::InvalidToken(REVOKED))["error"], "invalid_token");
        let scope = said(Refusal::Scope(vec!["api", "read_api"]));
        assert_eq!(
            (&scope["error"], &scope["scope"]),
            (&json!("insufficient_scope"), &json!("api read_api"))
        );
        assert_eq!(said(Refusal::NotFound("Project")), json!({"message": "404 Project Not Found"}));
        assert_eq!(said(Refusal::NoRoute), json!({"error": "404 Not Found"}));
        let fields = Refusal::Validation(StatusCode::BAD_REQUEST, json!({"key": ["is invalid"]}));
        assert_eq!(said(fields)["message"]["key"][0], "is invalid");
        assert!(Refusal::InvalidToken(EXPIRED).response().headers().contains_key(WWW_AUTHENTICATE));
    }
}
