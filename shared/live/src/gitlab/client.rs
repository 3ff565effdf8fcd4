//! Reading from GitLab: GET, pages of GETs, and GraphQL queries.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use gitlab_agent_core::snapshot::mask::Values;
use http::Method;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::config::Credentials;
use super::fault::{Fault, FaultKind};
use super::host::Host;
use super::transport::{Reply, Transport};

/// Pages of a list that are read; of a hundred each.
const PAGES: usize = 20;
/// GitLab's largest page.
const PER_PAGE: usize = 100;
/// Whoever asks for more patience than this gets none: it cannot answer now.
const PATIENCE: Duration = Duration::from_secs(10);

/// A GitLab that is only read.
#[derive(Clone)]
pub struct GitLab {
    pub(super) transport: Arc<Transport>,
}

/// A list, with all its pages.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    /// What was read.
    pub items: Vec<T>,
}

/// What GraphQL answered: data and errors may come together.
#[derive(Clone, Debug)]
pub struct GraphQl<T> {
    /// The data, where there is any.
    pub data: Option<T>,
    /// GitLab's messages.
    pub errors: Vec<String>,
}

impl GitLab {
    /// Adds the person's token to what is masked.
    pub(crate) fn tell_token(&self, values: &mut Values) {
        self.transport.tell_token(values);
    }

    /// Builds the client; nothing is sent yet.
    ///
    /// # Errors
    /// The certificates or the token cannot be used.
    pub fn new(credentials: &Credentials, request_timeout: Duration, verbose: u8) -> Result<Self> {
        Ok(Self { transport: Arc::new(Transport::new(credentials, request_timeout, verbose)?) })
    }

    /// The same GitLab, asked with another token.
    ///
    /// # Errors
    /// The token fits no header.
    pub fn with_token(&self, token: SecretString) -> Result<Self> {
        Ok(Self { transport: Arc::new(self.transport.with_token(token)?) })
    }

    /// The instance.
    pub fn host(&self) -> &Host {
        &self.transport.host
    }

    /// What GitLab said where it first refused the token for want of a fine-grained token's permission. To a legacy token it
    /// says so where fine-grained ones are enforced.
    pub fn granular_refusal(&self) -> Option<String> {
        self.transport.granular_refusal()
    }

    /// `GET /api/v4PATH` as JSON. `asked` says in words what is asked for.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str, asked: &str) -> Result<T, Fault> {
        let reply = self.fetch(path, asked).await?;
        decode(&reply, asked)
    }

    /// `GET PATH` below the URL root as JSON: what is not part of the REST API.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn get_root<T: DeserializeOwned>(&self, path: &str, asked: &str) -> Result<T, Fault> {
        let reply = self.patiently(Method::GET, path, None, asked).await?;
        decode(&reply, asked)
    }

    /// `GET /api/v4PATH` as it is: a file of a repository.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn get_raw(&self, path: &str, asked: &str) -> Result<Vec<u8>, Fault> {
        Ok(self.fetch(path, asked).await?.body)
    }

    /// All pages of `GET /api/v4PATH`, up to 2,000 items.
    ///
    /// # Errors
    /// See [`Fault`]: a list of which a page is missing is no list, and neither is one that goes on beyond what is read.
    pub async fn get_all<T: DeserializeOwned>(&self, path: &str, asked: &str) -> Result<Listed<T>, Fault> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let join = if query.is_empty() { "" } else { "&" };
        let mut next = format!("{query}{join}per_page={PER_PAGE}");
        let mut items = Vec::new();
        for _ in 0..PAGES {
            let reply = self.fetch(&format!("{path}?{next}"), asked).await?;
            items.extend(decode::<Vec<T>>(&reply, asked)?);
            match following(&reply, query) {
                Some(query) => next = query,
                None => return Ok(Listed { items }),
            }
        }
        let text =
            format!("the list goes on beyond {} entries, which are all that is read", PAGES * PER_PAGE);
        Err(Fault::new(FaultKind::Unreadable, asked, text))
    }

    /// A GraphQL query.
    ///
    /// # Errors
    /// See [`Fault`]. Errors that GraphQL itself reports are in the answer, because data may come with them.
    pub async fn graphql<T: DeserializeOwned>(
        &self,
        query: &str,
        variables: Value,
        asked: &str,
    ) -> Result<GraphQl<T>, Fault> {
        if !query.trim_start().starts_with("query") {
            return Err(Fault::new(FaultKind::Refused, asked, "refused to send a mutation: this only reads"));
        }
        let body = json!({"query": query, "variables": variables}).to_string().into_bytes();
        let reply = self.patiently(Method::POST, "/api/graphql", Some(body), asked).await?;
        let mut answer: Value = decode(&reply, asked)?;
        let errors = answer["errors"].as_array().into_iter().flatten();
        let errors = errors.filter_map(|e| e["message"].as_str());
        let errors =
            errors.map(|m| Fault::new(FaultKind::Refused, asked, self.transport.mask(m)).message).collect();
        let data = match answer["data"].take() {
            Value::Null => None,
            data => Some(T::deserialize(data).map_err(|_| unreadable(asked))?),
        };
        Ok(GraphQl { data, errors })
    }

    async fn fetch(&self, path: &str, asked: &str) -> Result<Reply, Fault> {
        self.patiently(Method::GET, &format!("/api/v4{path}"), None, asked).await
    }

    /// Sends what changes nothing: once more where the connection broke, and again where GitLab asks for patience.
    async fn patiently(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        asked: &str,
    ) -> Result<Reply, Fault> {
        let transport = &self.transport;
        let mut broke = false;
        for attempt in 0..3 {
            let reply = transport.exchange(method.clone(), path, body.clone()).await;
            match &reply {
                Err(broken) if broken.reset && !broke => broke = true,
                Ok(reply) if reply.status.as_u16() == 429 && attempt < 2 => match wait(reply) {
                    wait if wait <= PATIENCE => tokio::time::sleep(wait).await,
                    _ => return transport.judge(Ok(without_wait(reply)), asked, false),
                },
                _ => return transport.judge(reply, asked, false),
            }
        }
        Err(Fault::new(FaultKind::Limited, asked, "GitLab asked three times to come back later"))
    }
}

/// How long a 429 asks to wait (GitLab, "User and IP rate limits": `Retry-After`, which some limits leave out).
fn wait(reply: &Reply) -> Duration {
    let seconds = reply.header("retry-after").and_then(|v| v.parse().ok());
    Duration::from_secs(seconds.unwrap_or(2))
}

fn without_wait(reply: &Reply) -> Reply {
    let asked = format!("Too many requests; GitLab asks to come back in {} s", wait(reply).as_secs());
    Reply { status: reply.status, headers: http::HeaderMap::new(), body: asked.into_bytes() }
}

/// The query of the page after this one. Of a `Link` only the query is taken: where it points does not matter, the
/// token goes to the same place as before.
fn following(reply: &Reply, query: &str) -> Option<String> {
    if let Some(page) = reply.header("x-next-page").filter(|p| p.bytes().all(|b| b.is_ascii_digit())) {
        let join = if query.is_empty() { "" } else { "&" };
        return Some(format!("{query}{join}per_page={PER_PAGE}&page={page}"));
    }
    let link = reply.header("link")?.split(',').find(|l| l.contains(r#"rel="next""#))?;
    let url = link.split_once('<')?.1.split_once('>')?.0;
    Some(url.split_once('?')?.1.to_owned())
}

fn decode<T: DeserializeOwned>(reply: &Reply, asked: &str) -> Result<T, Fault> {
    serde_json::from_slice(&reply.body).map_err(|e| {
        let kind = reply.header("content-type").unwrap_or_default();
        let page = kind.contains("html") || reply.body.trim_ascii_start().starts_with(b"<");
        let (kind, text) = if page {
            let text = "a web page came instead of JSON: is this GitLab, and is nothing in front of it that asks to sign in?";
            (FaultKind::NotGitLab, text.to_owned())
        } else {
            let (line, column) = (e.line(), e.column());
            let text = format!("the answer is not what was asked for (line {line} column {column})");
            (FaultKind::Unreadable, text)
        };
        Fault { kind, asked: asked.to_owned(), status: Some(reply.status.as_u16()), message: text }
    })
}

pub(super) fn unreadable(asked: &str) -> Fault {
    Fault::new(FaultKind::Unreadable, asked, "the answer is not what was asked for")
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
