//! The route table of the played GitLab: first match answers.

use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;

use super::server::{WholeRequest, WholeResponse};
use super::{GitLab, api, charts, git_http, graphql, oauth};

/// Which part of GitLab a path belongs to.
#[derive(Debug, PartialEq, Eq)]
enum Route<'a> {
    /// A file of the Helm chart repository.
    Chart { file: &'a str },
    /// The REST API, version 4: what follows `/api/v4`.
    Api { path: &'a str },
    /// The GraphQL API.
    GraphQl,
    /// What Doorkeeper says of an OAuth token.
    OAuthInfo,
    /// Git's smart HTTP protocol.
    Git { project: &'a str, service: &'a str },
}

fn route<'a>(method: &Method, path: &'a str) -> Option<Route<'a>> {
    if let Some(file) = path.strip_prefix("/charts/") {
        return (method == Method::GET).then_some(Route::Chart { file });
    }
    if let Some(path) = path.strip_prefix("/api/v4") {
        return path.starts_with('/').then_some(Route::Api { path });
    }
    if path == "/api/graphql" {
        return (method == Method::POST).then_some(Route::GraphQl);
    }
    if path == "/oauth/token/info" {
        return (method == Method::GET).then_some(Route::OAuthInfo);
    }
    let (project, service) = path.strip_prefix('/')?.split_once(".git/")?;
    Some(Route::Git { project, service })
}

/// Answers one request.
pub(super) async fn answer(gitlab: &GitLab, request: WholeRequest) -> WholeResponse {
    let settings = gitlab.settings();
    let path = if settings.proxy_decodes_paths {
        request.uri().path().replace("%2F", "/").replace("%2f", "/")
    } else {
        request.uri().path().to_owned()
    };
    // Below a relative root nothing else is GitLab's.
    let Some(path) = path.strip_prefix(&settings.relative_root) else {
        return plain(StatusCode::NOT_FOUND, "404 Not Found\n");
    };
    match route(request.method(), path) {
        Some(Route::Chart { file }) => charts::answer(&gitlab.chart_root(), file),
        Some(Route::Api { path }) => api::answer(gitlab, &request, path),
        Some(Route::GraphQl) => graphql::answer(gitlab, &request),
        Some(Route::OAuthInfo) => oauth::info(gitlab, &request),
        Some(Route::Git { project, service }) => git_http::answer(gitlab, &request, project, service).await,
        None => plain(StatusCode::NOT_FOUND, "404 Not Found\n"),
    }
}

/// A short answer in plain text; a 401 also says how to sign in.
pub(super) fn plain(status: StatusCode, text: &'static str) -> WholeResponse {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    if status == StatusCode::UNAUTHORIZED {
        let realm = http::HeaderValue::from_static("Basic realm=\"GitLab\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, realm);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_apis_are_found() {
        let found = route(&Method::PUT, "/api/v4/projects/1");
        assert_eq!(found, Some(Route::Api { path: "/projects/1" }));
        assert_eq!(route(&Method::POST, "/api/graphql"), Some(Route::GraphQl));
        assert_eq!(route(&Method::GET, "/api/v40"), None);
    }

    #[test]
    fn paths_find_their_part_of_gitlab() {
        let index = route(&Method::GET, "/charts/index.yaml");
        assert_eq!(index, Some(Route::Chart { file: "index.yaml" }));
        let fetch = route(&Method::POST, "/platform/fleet.git/git-upload-pack");
        assert_eq!(fetch, Some(Route::Git { project: "platform/fleet", service: "git-upload-pack" }));
        assert_eq!(route(&Method::GET, "/platform/fleet"), None);
        assert_eq!(route(&Method::PUT, "/charts/index.yaml"), None);
    }
}
