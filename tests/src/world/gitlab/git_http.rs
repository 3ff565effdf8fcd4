//! Git over HTTP: git's own `http-backend` behind the token checks.

use std::process::Stdio;

use anyhow::{Context as _, Result};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::basic_auth::{Want, admit};
use super::server::{WholeRequest, WholeResponse};
use super::{GitLab, routes};

const DENIED: &str = "HTTP Basic: Access denied. If a password was provided for Git authentication, the password was incorrect or you're required to use a token instead of a password.\n";

/// Answers a request of git, go-git or a browser that got lost.
pub(super) async fn answer(
    gitlab: &GitLab,
    request: &WholeRequest,
    project: &str,
    service: &str,
) -> WholeResponse {
    let pushes = service == "git-receive-pack" || request.uri().query() == Some("service=git-receive-pack");
    let want = if pushes { Want::Write } else { Want::Read };
    if let Err(status) = admit(gitlab, request.headers(), project, want) {
        return refusal(status);
    }
    match backend(gitlab, request).await {
        Ok(response) => {
            if service == "git-receive-pack" && response.status() == StatusCode::OK {
                gitlab.announce_push(project);
            }
            response
        }
        Err(_) => routes::plain(StatusCode::INTERNAL_SERVER_ERROR, "git http-backend failed\n"),
    }
}

fn refusal(status: StatusCode) -> WholeResponse {
    let text = match status {
        StatusCode::UNAUTHORIZED => DENIED,
        StatusCode::FORBIDDEN => "You are not allowed to download code from this project.\n",
        _ => "The project you were looking for could not be found or you don't have permission to view it.\n",
    };
    routes::plain(status, text)
}

async fn backend(gitlab: &GitLab, request: &WholeRequest) -> Result<WholeResponse> {
    let root = gitlab.settings().relative_root;
    let path = request.uri().path();
    let path = path.strip_prefix(&root).unwrap_or(path);
    let header =
        |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let mut command = Command::new("git");
    command.arg("http-backend").kill_on_drop(true).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_PROJECT_ROOT", gitlab.bare_root())
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REMOTE_USER", "world")
        .env("REQUEST_METHOD", request.method().as_str())
        .env("PATH_INFO", path)
        .env("QUERY_STRING", request.uri().query().unwrap_or(""))
        .env("CONTENT_TYPE", header(CONTENT_TYPE))
        .env("CONTENT_LENGTH", request.body().len().to_string())
        .env("HTTP_CONTENT_ENCODING", header(CONTENT_ENCODING))
        .env("GIT_PROTOCOL", header(HeaderName::from_static("git-protocol")));
    let mut child = command.spawn().context("git http-backend")?;
    let mut stdin = child.stdin.take().context("no way into git http-backend")?;
    let body = request.body().clone();
    let feed = tokio::spawn(async move { stdin.write_all(&body).await });
    let output = child.wait_with_output().await?;
    // It may have read enough before the end of the body.
    let _ = feed.await;
    from_cgi(&output.stdout)
}

/// Takes the answer of a CGI program apart: header lines, an empty line, the body.
fn from_cgi(output: &[u8]) -> Result<WholeResponse> {
    let end =
        output.windows(4).position(|four| four == b"\r\n\r\n").context("no header from git http-backend")?;
    let head = std::str::from_utf8(&output[..end])?;
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(&output[end + 4..])));
    for line in head.lines() {
        let (name, value) = line.split_once(':').context("a header line without a colon")?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().unwrap_or(value);
            *response.status_mut() = StatusCode::from_bytes(code.as_bytes())?;
        } else {
            let name = HeaderName::from_bytes(name.as_bytes())?;
            response.headers_mut().append(name, HeaderValue::from_str(value)?);
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgi_answer_is_taken_apart() {
        let response = from_cgi(b"Status: 404 Not Found\r\nExpires: never\r\n\r\nbody").unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()["expires"], "never");
        assert!(from_cgi(b"nothing").is_err());
    }
}
