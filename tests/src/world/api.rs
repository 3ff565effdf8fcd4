//! A thin way to the API server for the harness itself: paths and JSON, no types.

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;

/// Why a call brought nothing, in the words of the API server where it answered at all.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// HTTP status; 0 when there was no answer.
    pub(crate) code: u16,
    message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

impl From<kube::Error> for Refusal {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self { code: status.code, message: status.message },
            other => Self { code: 0, message: other.to_string() },
        }
    }
}

/// A client that speaks as one user.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
}

impl Api {
    /// Signs in with a kubeconfig; as `user`, when one is given, with the groups that a service account has.
    pub(crate) async fn connect(kubeconfig: &Path, user: Option<&str>) -> Result<Self> {
        let mut file = Kubeconfig::read_from(kubeconfig).context("read the kubeconfig")?;
        if let Some(user) = user {
            let info = file.auth_infos.first_mut().and_then(|named| named.auth_info.as_mut());
            let info = info.context("a kubeconfig without a user")?;
            info.impersonate = Some(user.to_owned());
            let groups = ["system:serviceaccounts", "system:authenticated"];
            info.impersonate_groups = Some(groups.map(str::to_owned).to_vec());
        }
        let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        config.proxy_url = None;
        Ok(Self { client: Client::try_from(config)? })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Reads an object or a list; `None` when it is not there.
    pub(crate) async fn get(&self, path: &str) -> Result<Option<Value>, Refusal> {
        match self.send(Method::GET, path, "", Vec::new()).await {
            Err(refusal) if refusal.code == 404 => Ok(None),
            other => other.map(Some),
        }
    }

    /// The items of a list; none when there is no such kind.
    pub(crate) async fn list(&self, path: &str) -> Result<Vec<Value>, Refusal> {
        let list = self.get(path).await?;
        Ok(list.and_then(|mut list| list["items"].as_array_mut().map(std::mem::take)).unwrap_or_default())
    }

    /// Makes an object.
    pub(crate) async fn create(&self, path: &str, object: &Value) -> Result<Value, Refusal> {
        self.send(Method::POST, path, "application/json", object.to_string().into_bytes()).await
    }

    /// Replaces an object.
    pub(crate) async fn update(&self, path: &str, object: &Value) -> Result<Value, Refusal> {
        self.send(Method::PUT, path, "application/json", object.to_string().into_bytes()).await
    }

    /// Applies an object, by force.
    pub(crate) async fn apply(&self, path: &str, manager: &str, object: &Value) -> Result<Value, Refusal> {
        let path = format!("{path}?fieldManager={manager}&force=true");
        self.send(Method::PATCH, &path, "application/apply-patch+yaml", object.to_string().into_bytes()).await
    }

    async fn send(&self, method: Method, path: &str, kind: &str, body: Vec<u8>) -> Result<Value, Refusal> {
        let mut request = Request::builder().method(method).uri(path).header(ACCEPT, "application/json");
        if !kind.is_empty() {
            request = request.header(CONTENT_TYPE, kind);
        }
        let request = request.body(body).map_err(kube::Error::HttpError)?;
        Ok(self.client.request(request).await?)
    }
}
