//! A played GitLab for unit tests, asked without a wire.

use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use serde_json::Value;

use super::{GitLab, routes};

/// A GitLab, and what keeps it alive.
pub(super) struct Played {
    pub(super) gitlab: GitLab,
    runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Played {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let gitlab = GitLab::start(dir.path(), runtime.handle()).unwrap();
        Self { gitlab, runtime, _dir: dir }
    }

    /// A token of the owner, with scope `api`.
    pub(super) fn owner(&self) -> String {
        self.gitlab.new_access_token(&["api"]).unwrap()
    }

    /// One request below `/api/v4`, or of GraphQL where the path says so; `body` is JSON or null.
    pub(super) fn ask(&self, method: &str, path: &str, token: &str, body: &Value) -> Answer {
        let root = if path.starts_with("/api/") { "" } else { "/api/v4" };
        let mut request = Request::builder().method(method).uri(format!("{root}{path}"));
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let request = request.header(CONTENT_TYPE, "application/json").body(Bytes::from(text)).unwrap();
        self.runtime.block_on(async {
            let (head, body) = routes::answer(&self.gitlab, request).await.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            let text = || Value::from(String::from_utf8_lossy(&bytes).into_owned());
            let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());
            Answer { status: head.status.as_u16(), body }
        })
    }

    pub(super) fn get(&self, path: &str, token: &str) -> Answer {
        self.ask("GET", path, token, &Value::Null)
    }
}
