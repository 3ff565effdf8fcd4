//! Changing something in GitLab: each change is sent once. Whether it arrived is found out by reading.

use std::time::Duration;

use anyhow::Result;
use http::Method;
use secrecy::zeroize::Zeroize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::{GitLab, unreadable};
use super::config::Credentials;
use super::fault::Fault;

/// A GitLab that is read and changed. Only commands that change something make one.
#[derive(Clone)]
pub struct GitLabWriter {
    /// Reads over the same connections.
    pub read: GitLab,
}

impl GitLabWriter {
    /// Builds the client; nothing is sent yet.
    ///
    /// # Errors
    /// The certificates or the token cannot be used.
    pub fn new(credentials: &Credentials, request_timeout: Duration, verbose: u8) -> Result<Self> {
        Ok(Self { read: GitLab::new(credentials, request_timeout, verbose)? })
    }

    /// `POST /api/v4PATH`, sent once. Where the answer holds a new token, `T` holds it as
    /// [`secrecy::SecretString`]: the answer's text is wiped and never shown.
    ///
    /// # Errors
    /// See [`Fault`]; where [`Fault::may_have_happened`], look before trying anything else.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value, asked: &str) -> Result<T, Fault> {
        self.change(Method::POST, path, Some(body), asked).await
    }

    /// `PUT /api/v4PATH`, sent once.
    ///
    /// # Errors
    /// As [`GitLabWriter::post`].
    pub async fn put<T: DeserializeOwned>(&self, path: &str, body: &Value, asked: &str) -> Result<T, Fault> {
        self.change(Method::PUT, path, Some(body), asked).await
    }

    /// `DELETE /api/v4PATH`, sent once.
    ///
    /// # Errors
    /// As [`GitLabWriter::post`]; [`super::FaultKind::NotFound`] where it is already gone.
    pub async fn delete(&self, path: &str, asked: &str) -> Result<(), Fault> {
        let reply = self.read.transport.exchange(Method::DELETE, &format!("/api/v4{path}"), None).await;
        self.read.transport.judge(reply, asked, true).map(drop)
    }

    async fn change<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        asked: &str,
    ) -> Result<T, Fault> {
        let body = body.map(|b| b.to_string().into_bytes());
        let reply = self.read.transport.exchange(method, &format!("/api/v4{path}"), body).await;
        let mut reply = self.read.transport.judge(reply, asked, true)?;
        let read = serde_json::from_slice(&reply.body);
        reply.body.zeroize();
        read.map_err(|_| unreadable(asked))
    }
}
