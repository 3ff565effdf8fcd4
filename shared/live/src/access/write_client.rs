//! A client that may also change something: patches of one object, new objects, watches, webhooks.
//!
//! A change is sent once. Whether it arrived is found out by reading, never by sending it again.

use std::borrow::Cow;

use anyhow::{Context, Result};
use gitlab_agent_core::snapshot::{Why, WhyKind};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::{Body, ClientBuilder};

use super::body::{Budget, Extent};
use super::client::Limit;
use super::kubeconfig::Access;
use super::{Answer, ReadClient};
use crate::known;

/// The name under which changes are recorded. Flux takes away what managers whose name begins with `kubectl` own.
pub const FIELD_MANAGER: &str = "gitlab-agent-cli";

/// A line of a watch longer than this is not read: no object is larger than etcd takes.
const LONGEST_LINE: usize = 16 << 20;

/// A client that reads and changes.
#[derive(Clone)]
pub struct WriteClient {
    /// Reads over the same connections.
    pub read: ReadClient,
    client: Client,
}

impl WriteClient {
    /// The text without values of Secrets that were read or written, and whatever looks like a credential.
    pub(crate) fn mask(&self, text: &str) -> String {
        known::run().mask(text)
    }

    /// Builds the client.
    ///
    /// # Errors
    /// The kubeconfig cannot be used, or the credential plugin failed.
    pub async fn connect(access: &Access) -> Result<Self> {
        let (read, client) = ReadClient::connect_unlocked(access).await?;
        Ok(Self { read, client })
    }

    /// Changes an object by merge patch; gives it as it is after. Sent once.
    ///
    /// # Errors
    /// No answer, or one that says no. 404 and 409 are answers.
    pub async fn patch(&self, path: &str, patch: &serde_json::Value, asked: &str) -> Result<Answer, Why> {
        let uri = format!("{path}?fieldManager={FIELD_MANAGER}");
        self.send(
            Method::PATCH,
            &uri,
            "application/merge-patch+json",
            &[],
            patch.to_string().into_bytes(),
            asked,
        )
        .await
    }

    /// What a patch would bring, admission included, without doing it.
    ///
    /// # Errors
    /// No answer, or one that says no. 404 and 409 are answers.
    pub async fn try_patch(&self, path: &str, patch: &serde_json::Value, asked: &str) -> Result<Answer, Why> {
        let uri = format!("{path}?fieldManager={FIELD_MANAGER}&dryRun=All");
        let body = patch.to_string().into_bytes();
        self.send(Method::PATCH, &uri, "application/merge-patch+json", &[], body, asked).await
    }

    /// What making an object would bring, admission included, without doing it.
    ///
    /// # Errors
    /// No answer, or one that says no.
    pub async fn try_create(
        &self,
        path: &str,
        object: &serde_json::Value,
        asked: &str,
    ) -> Result<Answer, Why> {
        let uri = format!("{path}?fieldManager={FIELD_MANAGER}&dryRun=All");
        self.send(Method::POST, &uri, "application/json", &[], object.to_string().into_bytes(), asked).await
    }

    /// Deletes an object. Sent once; 404 is an answer.
    ///
    /// # Errors
    /// No answer, or one that says no.
    pub async fn delete(&self, path: &str, asked: &str) -> Result<Answer, Why> {
        self.send(Method::DELETE, path, "", &[], Vec::new(), asked).await
    }

    /// Makes an object. Sent once.
    ///
    /// # Errors
    /// No answer, or one that says no.
    pub async fn create(&self, path: &str, object: &serde_json::Value, asked: &str) -> Result<Answer, Why> {
        let uri = format!("{path}?fieldManager={FIELD_MANAGER}");
        self.send(Method::POST, &uri, "application/json", &[], object.to_string().into_bytes(), asked).await
    }

    /// Posts nothing but headers to a path of the API server, for example through its service proxy. The status is
    /// not judged.
    ///
    /// # Errors
    /// No answer.
    pub async fn post_bare(
        &self,
        path: &str,
        headers: &[(&str, String)],
        asked: &str,
    ) -> Result<Answer, Why> {
        let request = request(Method::POST, path, "", headers, Vec::new(), asked)?;
        self.read.send_through(&self.client, request, asked).await
    }

    async fn send(
        &self,
        method: Method,
        uri: &str,
        kind: &str,
        headers: &[(&str, String)],
        body: Vec<u8>,
        asked: &str,
    ) -> Result<Answer, Why> {
        // Only a Secret is meant to hold a value: an Event, a Lease or a patch may only quote one.
        let body = if known::is_of_secret(uri) {
            known::run().learn(uri, &body);
            body
        } else {
            match str::from_utf8(&body).map(|text| known::run().at_the_door(text)) {
                Ok(Cow::Owned(masked)) => masked.into_bytes(),
                _ => body,
            }
        };
        let request = request(method, uri, kind, headers, body, asked)?;
        let answer = self.read.send_through(&self.client, request, asked).await?;
        known::run().learn(uri, &answer.body);
        if answer.status == StatusCode::CONFLICT { Ok(answer) } else { self.read.judge(answer, asked) }
    }

    /// Watches one object from a resource version on. The stream ends when the server or the network ends it.
    ///
    /// # Errors
    /// No answer, or one that says no.
    pub async fn watch(&self, collection: &str, name: &str, from: &str, asked: &str) -> Result<Watch, Why> {
        let uri = format!(
            "{collection}?watch=1&allowWatchBookmarks=true&fieldSelector=metadata.name%3D{}&resourceVersion={}",
            super::segment(name),
            super::segment(from)
        );
        let request = request(Method::GET, &uri, "", &[], Vec::new(), asked)?;
        let response = self.read.open(&self.client, request, asked).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_success() {
            return Ok(Watch { body: response.into_body(), buffer: Vec::new() });
        }
        let body = http_body_util::Limited::new(response.into_body(), LONGEST_LINE).collect().await;
        let body = body.map(|b| b.to_bytes().to_vec()).unwrap_or_default();
        let missing = Why::new(WhyKind::Unreadable, asked, format!("{} while watching", status.as_u16()));
        self.read.judge(Answer::of(status, headers, body), asked).and(Err(missing))
    }
}

/// A client for a webhook's address outside of the API server: no credential of the cluster goes there.
pub async fn post_elsewhere(
    base: &str,
    path: &str,
    headers: &[(&str, String)],
    access: &Access,
) -> Result<Answer, Why> {
    let asked = "post to the webhook";
    let unusable = |e: String| Why::new(WhyKind::Unreachable, asked, e);
    let uri: http::Uri = base.parse().map_err(|_| unusable(format!("{base} is not a URL")))?;
    let mut config = kube::Config::new(uri);
    config.default_retry = false;
    let limit = (!access.request_timeout.is_zero()).then_some(access.request_timeout);
    config.connect_timeout = limit;
    config.read_timeout = limit;
    let client = ClientBuilder::try_from(config)
        .context("cannot build a client")
        .map_err(|e| unusable(format!("{e:#}")))?
        .build();
    let request = request(Method::POST, path, "", headers, Vec::new(), asked)?;
    let extent = Extent { most: LONGEST_LINE, cut: true };
    let limit = limit.map(Limit::of_request);
    let answer = super::client::exchange(&client, request, asked, limit, extent, &Budget::default()).await;
    answer.map(|(answer, _)| answer)
}

fn request(
    method: Method,
    uri: &str,
    kind: &str,
    headers: &[(&str, String)],
    body: Vec<u8>,
    asked: &str,
) -> Result<Request<Body>, Why> {
    let mut builder = Request::builder().method(method).uri(uri).header("accept", "application/json");
    if !kind.is_empty() {
        builder = builder.header("content-type", kind);
    }
    for (name, value) in headers {
        let mut value = http::HeaderValue::from_str(value).map_err(|_| {
            Why::new(WhyKind::Unreadable, asked, format!("{name} has a value that no header can hold"))
        })?;
        value.set_sensitive(true);
        builder = builder.header(*name, value);
    }
    builder.body(Body::from(body)).map_err(|e| Why::new(WhyKind::Unreadable, asked, e.to_string()))
}

/// A stream of changes of one object: one JSON document a line.
pub struct Watch {
    body: Body,
    buffer: Vec<u8>,
}

impl Watch {
    /// The next line; `None` when the stream is over, for whatever reason.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                return Some(line);
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
            if self.buffer.len() > LONGEST_LINE {
                return None;
            }
        }
    }
}
