//! One exchange with GitLab over the HTTP stack that also talks to Kubernetes: deadlines, a cap on the body, no
//! redirects, the proxy of the environment.

use std::error::Error as StdError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use gitlab_agent_core::name;
use gitlab_agent_core::snapshot::mask::{self, Masker, Values};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use kube::Client;
use kube::client::{Body, ClientBuilder};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use super::config::Credentials;
use super::fault::{Fault, FaultKind};
use super::host::Host;

/// Answers larger than this, unpacked, are not read: a page of a hundred objects has well under one.
const LARGEST: usize = 16 << 20;
/// A bundle of all public authorities has 200 KiB.
const LARGEST_CA: u64 = 1 << 20;
/// Requests under way at once: GitLab counts them against the person's limit.
const AT_ONCE: usize = 6;
/// Connecting takes no longer, so that a change that was not sent is known as not sent.
const CONNECT: Duration = Duration::from_secs(10);

/// An answer with a status of any kind.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok()).filter(|v| !v.is_empty())
    }
}

/// What went wrong on the way, and whether GitLab can have seen the request.
pub(super) struct Broken {
    pub(super) message: String,
    /// False where the connection was never made.
    pub(super) sent: bool,
    /// The connection broke, instead of being silent.
    pub(super) reset: bool,
    /// The answer's head came, and its body did not or was too large.
    pub(super) answered: bool,
}

/// The connection to one GitLab, with its token.
pub(super) struct Transport {
    client: Client,
    token: SecretString,
    limit: Arc<Semaphore>,
    /// How long one exchange may take; none waits until the run's deadline.
    pub(super) patience: Option<Duration>,
    verbose: u8,
    /// The first refusal for want of a permission of a fine-grained token.
    granular: Mutex<Option<String>>,
    /// The instance, for messages.
    pub(super) host: Host,
}

impl Transport {
    pub(super) fn new(credentials: &Credentials, patience: Duration, verbose: u8) -> Result<Self> {
        let base = credentials.api.uri()?;
        Self::to(base, credentials, patience, verbose)
    }

    /// The same for any base: [`Host`] is what makes it https.
    pub(super) fn to(
        base: http::Uri,
        credentials: &Credentials,
        patience: Duration,
        verbose: u8,
    ) -> Result<Self> {
        let patience = (!patience.is_zero()).then_some(patience);
        let host = credentials.host.clone();
        let mut config = kube::Config::new(base.clone());
        config.default_retry = false;
        config.connect_timeout = Some(patience.map_or(CONNECT, |p| p.min(CONNECT)));
        config.write_timeout = patience;
        if let Some((ca_file, Ok(found))) =
            credentials.ca_file.as_ref().map(|file| (file, std::fs::metadata(file)))
        {
            // The library reads it again and again, without a bound.
            let is_bounded = found.is_file() && found.len() <= LARGEST_CA;
            ensure!(
                is_bounded,
                "{} is no regular file of at most {} MiB",
                ca_file.display(),
                LARGEST_CA >> 20
            );
        }
        config.root_cert_file.clone_from(&credentials.ca_file);
        config.proxy_url = proxy(&base);
        let builder = ClientBuilder::try_from(config).map_err(|e| {
            let ca =
                credentials.ca_file.as_ref().map(|f| format!(" with the certificates of {}", f.display()));
            anyhow::anyhow!("cannot build a client for {host}{}: {}", ca.unwrap_or_default(), innermost(&e))
        })?;
        let (client, limit) = (builder.build(), Arc::new(Semaphore::new(AT_ONCE)));
        let token = fitting(credentials.token.clone())?;
        Ok(Self { client, token, limit, patience, verbose, granular: Mutex::default(), host })
    }

    /// The same connection with another token; both keep one limit.
    pub(super) fn with_token(&self, token: SecretString) -> Result<Self> {
        Ok(Self {
            client: self.client.clone(),
            token: fitting(token)?,
            limit: self.limit.clone(),
            patience: self.patience,
            verbose: self.verbose,
            granular: Mutex::default(),
            host: self.host.clone(),
        })
    }

    /// Sends once.
    pub(super) async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Reply, Broken> {
        let _place = self.limit.acquire().await;
        let started = Instant::now();
        let line = format!("{method} {}{path}", self.host);
        let result = self.send(method, path, body).await;
        if self.verbose > 0 {
            let outcome = match &result {
                Ok(reply) => format!("{} {} bytes", reply.status.as_u16(), reply.body.len()),
                Err(broken) => broken.message.clone(),
            };
            crate::cli::note(&format!("{line} {outcome} {} ms", started.elapsed().as_millis()));
        }
        result
    }

    async fn send(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Reply, Broken> {
        let unsent = |message: String| Broken { message, sent: false, reset: false, answered: false };
        if !name::is_nested_path(path) {
            return Err(unsent("a path in it is not valid in GitLab: nothing was sent".to_owned()));
        }
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("accept", "application/json")
            .header("user-agent", concat!("kubectl-gitlab_agent/", env!("CARGO_PKG_VERSION")));
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", self.token.expose_secret()))
            .map_err(|_| unsent("the token fits no header".to_owned()))?;
        bearer.set_sensitive(true);
        let request = request.header("authorization", bearer).body(Body::from(body.unwrap_or_default()));
        let request = request.map_err(|e| unsent(e.to_string()))?;
        let whole = async {
            let response = self.client.send(request).await.map_err(|e| broken(&e))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, LARGEST).collect().await.map_err(|e| Broken {
                message: format!("the answer broke off: {}", innermost(&*e)),
                sent: true,
                reset: true,
                answered: true,
            })?;
            Ok(Reply { status: head.status, headers: head.headers, body: body.to_bytes().to_vec() })
        };
        let Some(patience) = self.patience else { return whole.await };
        let late = || Broken {
            message: format!("no answer in {} s (--request-timeout)", patience.as_secs()),
            sent: true,
            reset: false,
            answered: false,
        };
        tokio::time::timeout(patience, whole).await.unwrap_or_else(|_| Err(late()))
    }

    /// What GitLab said where it first asked for a fine-grained token's permission.
    pub(super) fn granular_refusal(&self) -> Option<String> {
        self.granular.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Masks the token itself, should an answer repeat it.
    pub(super) fn mask(&self, text: &str) -> String {
        let mut own = Values::default();
        self.tell_token(&mut own);
        Masker::new(&own).free_text(text)
    }

    /// Adds the token to what is masked.
    pub(super) fn tell_token(&self, values: &mut Values) {
        values.add("token", self.token.expose_secret().as_bytes());
    }

    /// The fault that an exchange ended in, where it is one.
    pub(super) fn judge(
        &self,
        reply: Result<Reply, Broken>,
        asked: &str,
        change: bool,
    ) -> Result<Reply, Fault> {
        match reply {
            Ok(reply) => match Fault::of(reply.status, &reply.headers, &reply.body, asked) {
                None => Ok(reply),
                Some(mut fault) => {
                    fault.message = self.mask(&fault.message);
                    if fault.kind == FaultKind::Granular {
                        let mut seen = self.granular.lock().unwrap_or_else(PoisonError::into_inner);
                        seen.get_or_insert_with(|| fault.message.clone());
                    }
                    Err(fault)
                }
            },
            Err(broken) => {
                let kind = match (broken.sent, change, broken.answered) {
                    (true, true, _) => FaultKind::Lost,
                    (_, false, true) => FaultKind::Unreadable,
                    _ => FaultKind::Unreachable,
                };
                Err(Fault::new(kind, asked, self.mask(&format!("{}: {}", self.host, broken.message))))
            }
        }
    }
}

fn fitting(token: SecretString) -> Result<SecretString> {
    HeaderValue::from_str(token.expose_secret()).ok().context("the GitLab token fits no header")?;
    Ok(token)
}

/// The proxy that the environment gives for this address. kube looks `NO_PROXY` up for the proxy's own address.
fn proxy(base: &http::Uri) -> Option<http::Uri> {
    hyper_util::client::proxy::matcher::Matcher::from_env().intercept(base)?;
    let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let written = names.iter().filter_map(|name| std::env::var(name).ok()).find(|value| !value.is_empty())?;
    let written = if written.contains("://") { written } else { format!("http://{written}") };
    written.replacen("socks5h://", "socks5://", 1).parse().ok()
}

fn broken(error: &kube::Error) -> Broken {
    let mut sent = true;
    let mut reset = false;
    let mut at: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = at {
        if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            sent &= !error.is_connect();
        }
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
            reset |= matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof);
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            reset |= error.is_incomplete_message() || error.is_closed();
        }
        at = error.source();
    }
    // Libraries tell of their own affairs here, with links to their manuals.
    let message = if reset { "the connection broke off".to_owned() } else { innermost(error) };
    Broken { message, sent, reset, answered: false }
}

fn innermost(error: &dyn StdError) -> String {
    let mut at = error;
    while let Some(next) = at.source() {
        at = next;
    }
    mask::free_text(&at.to_string())
}
