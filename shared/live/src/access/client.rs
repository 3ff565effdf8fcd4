//! One request and its answer: with deadlines, a cap on the body, and a reason for people when it fails.

use std::error::Error as StdError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use base64::Engine as _;
use gitlab_agent_core::name;
use gitlab_agent_core::snapshot::mask;
use gitlab_agent_core::snapshot::{Origin, Permission, Why, WhyKind};
use http::{Request, StatusCode};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::client::{Body, ClientBuilder};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;

use super::answer::{Answer, at};
use super::body::{self, Budget, Clock, Extent};
use super::kubeconfig::{Access, Resolved};
use super::read_only::ReadOnly;
use super::token_file::WithToken;
use crate::known;

/// kube speaks HTTP/1.1: each request under way is a connection of its own, and one more beyond this gains nothing.
const AT_ONCE: usize = 8;

/// Clocks that differ by no more than this tell the same time: an answer names its second, and has been on its way.
const SAME_TIME: SignedDuration = SignedDuration::from_secs(3);

/// A server that asks for more patience than this is taken at its word: it cannot answer now.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a run cost, for benchmarks and `-v`.
#[derive(Debug, Default)]
pub struct Cost {
    /// Requests sent.
    pub requests: AtomicUsize,
    /// Bytes of the answers' bodies, unpacked.
    pub bytes: AtomicUsize,
}

/// Whether anybody answers in this run. Where the first requests wait in vain for their whole time, the others would do
/// so too, one after another, and the run would end without a report.
#[derive(Debug, Default)]
struct Line {
    heard: AtomicBool,
    silent: AtomicBool,
}

/// A client that only reads.
#[derive(Clone)]
pub struct ReadClient {
    client: Client,
    limit: Arc<Semaphore>,
    request_timeout: Duration,
    deadline: Option<Instant>,
    line: Arc<Line>,
    clock: Arc<OnceLock<SignedDuration>>,
    verbose: u8,
    sign_in_hint: Option<String>,
    /// Whether values of Secrets are taken in while they are read: of a run that only looks, its snapshot is masked as a
    /// whole.
    learns: bool,
    /// What the run cost so far.
    pub cost: Arc<Cost>,
    /// The memory that answers may take.
    pub budget: Budget,
    /// Where it connects to.
    pub origin: Origin,
    /// The namespace of the context.
    pub namespace: String,
    /// Why the connection is no place for a credential, where it is none.
    pub unsound: Option<&'static str>,
}

impl ReadClient {
    /// Builds the client.
    ///
    /// # Errors
    /// The kubeconfig cannot be used, or the credential plugin failed.
    pub async fn connect(access: &Access) -> Result<Self> {
        Ok(Self::build(access, true).await?.0)
    }

    /// The same without the lock, for a client that also changes something, with that client's own.
    pub(super) async fn connect_unlocked(access: &Access) -> Result<(Self, Client)> {
        Self::build(access, false).await
    }

    async fn build(access: &Access, locked: bool) -> Result<(Self, Client)> {
        let Resolved { config, context, token } = access.resolve().await?;
        let origin = Origin {
            context,
            server: mask::url(&config.cluster_url.to_string()).trim_end_matches('/').to_owned(),
        };
        let namespace = config.default_namespace.clone();
        let unsound = if config.cluster_url.scheme_str() != Some("https") {
            Some("it is not https: whoever is on the way reads every Secret")
        } else if config.accept_invalid_certs {
            Some("insecure-skip-tls-verify is set: nobody knows who answers")
        } else {
            None
        };
        let sign_in_hint =
            config.auth_info.token.as_ref().and_then(|t| expiry(secrecy::ExposeSecret::expose_secret(t)));
        let builder = ClientBuilder::try_from(config).map_err(|e| anyhow::anyhow!("{}", describe(&e).1));
        let builder = builder.with_context(|| format!("cannot build a client for {}", origin.server))?;
        let builder = builder.with_layer(&WithToken(token));
        let client = if locked { builder.with_layer(&ReadOnly).build() } else { builder.build() };
        let reader = Self {
            client: client.clone(),
            limit: Arc::new(Semaphore::new(AT_ONCE)),
            request_timeout: access.request_timeout,
            deadline: None,
            line: Arc::default(),
            clock: Arc::default(),
            verbose: access.verbose,
            sign_in_hint,
            learns: !locked,
            cost: Arc::default(),
            budget: Budget::default(),
            origin,
            namespace,
            unsound,
        };
        Ok((reader, client))
    }

    /// The same for one look, which ends with what it has by then: no request goes on beyond this instant.
    #[must_use]
    pub fn until(&self, deadline: Option<Instant>) -> Self {
        Self { deadline, line: Arc::default(), ..self.clone() }
    }

    /// A moment of this machine's clock by the API server's: the cluster's times are told by that. Its answers name the second,
    /// so a small difference is none.
    pub(crate) fn of_server(&self, moment: Timestamp) -> Timestamp {
        let ahead = self.clock.get().copied().unwrap_or_default();
        if ahead.abs() <= SAME_TIME { moment } else { moment.saturating_add(ahead).unwrap_or(moment) }
    }

    /// When the look has to have what it needs.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// `GET path`. `asked` says in words what is asked for.
    ///
    /// # Errors
    /// No answer, or one that says no; 404 is an answer.
    pub async fn get(&self, path: &str, accept: &str, asked: &str) -> Result<Answer, Why> {
        let answer = self.patiently(path, accept, asked, Extent::WHOLE).await?;
        let answer = self.judge(answer, asked)?;
        if self.learns {
            known::run().learn(path, &answer.body);
        }
        Ok(answer)
    }

    /// The same, without what is beyond so many bytes.
    ///
    /// # Errors
    /// No answer, or one that says no; 404 is an answer.
    pub async fn get_beginning(
        &self,
        path: &str,
        accept: &str,
        asked: &str,
        most: usize,
    ) -> Result<Answer, Why> {
        let extent = Extent { most, cut: true };
        self.patiently(path, accept, asked, extent).await.and_then(|answer| self.judge(answer, asked))
    }

    /// `GET path` through the API server's service proxy: whatever came is the answer, of the backend or of the API server
    /// itself. It is not read beyond so many bytes.
    ///
    /// # Errors
    /// No answer, or one that is larger.
    pub async fn get_proxied(&self, path: &str, asked: &str, most: usize) -> Result<Answer, Why> {
        self.patiently(path, "*/*", asked, Extent { most, cut: false }).await
    }

    /// Asks again where the answer is to come back later.
    async fn patiently(&self, path: &str, accept: &str, asked: &str, extent: Extent) -> Result<Answer, Why> {
        for attempt in 0..3 {
            let request = Request::get(path).header("accept", accept).body(Body::empty());
            let request = request.map_err(|e| Why::new(WhyKind::Unreadable, asked, e.to_string()))?;
            let (answer, wait) = self.send(request, asked, extent).await?;
            match wait {
                Some(wait) if attempt < 2 && wait <= PATIENCE => tokio::time::sleep(wait).await,
                _ => return Ok(answer),
            }
        }
        Err(Why::new(WhyKind::TimedOut, asked, "the API server asked three times to come back later"))
    }

    /// Asks whether a permission is granted in all namespaces.
    ///
    /// # Errors
    /// No answer.
    pub async fn may(&self, verb: &str, group: &str, resource: &str) -> Result<bool, Why> {
        self.may_on(verb, group, resource, "", "").await
    }

    /// Asks whether a permission is granted in a namespace, on an object; where either is empty, on all.
    ///
    /// # Errors
    /// No answer.
    pub async fn may_on(
        &self,
        verb: &str,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<bool, Why> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let attributes = json!({"verb": verb, "group": group, "resource": resource, "subresource": subresource,
            "namespace": namespace, "name": name});
        let asked = format!("whether you may {verb} {resource}");
        self.review("SelfSubjectAccessReview", json!({"resourceAttributes": attributes}), &asked).await
    }

    /// Asks whether a service account has a permission.
    ///
    /// # Errors
    /// No answer; or you may not ask.
    pub async fn may_account(
        &self,
        namespace: &str,
        account: &str,
        permission: &Permission,
    ) -> Result<bool, Why> {
        let (resource, subresource) =
            permission.resource.split_once('/').unwrap_or((&permission.resource, ""));
        let spec = json!({
            "user": format!("system:serviceaccount:{namespace}:{account}"),
            "groups": ["system:serviceaccounts", format!("system:serviceaccounts:{namespace}"), "system:authenticated"],
            "resourceAttributes": {"verb": permission.verb, "group": permission.group, "resource": resource,
                "subresource": subresource, "namespace": permission.namespace.as_deref().unwrap_or_default()},
        });
        let asked = format!("whether service account {namespace}/{account} may {permission}");
        self.review("SubjectAccessReview", spec, &asked).await
    }

    /// One access review: answered by the API server and not stored.
    async fn review(&self, kind: &str, spec: serde_json::Value, asked: &str) -> Result<bool, Why> {
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec});
        let unreadable = |e: String| Why::new(WhyKind::Unreadable, asked, e);
        let request = Request::post(format!("/apis/authorization.k8s.io/v1/{}s", kind.to_lowercase()))
            .header("content-type", "application/json")
            .body(Body::from(review.to_string().into_bytes()))
            .map_err(|e| unreadable(e.to_string()))?;
        let answer = self.judge(self.send(request, asked, Extent::WHOLE).await?.0, asked)?;
        answer.expect_kind(asked, "authorization.k8s.io/v1", kind)?;
        allowed(&answer.body).map_err(unreadable)
    }

    /// Sends once. With 429 and 503 comes how long the server asks to wait.
    async fn send(
        &self,
        request: Request<Body>,
        asked: &str,
        extent: Extent,
    ) -> Result<(Answer, Option<Duration>), Why> {
        let _place = self.limit.acquire().await;
        if self.line.silent.load(Ordering::Relaxed) {
            return Err(Why::new(WhyKind::TimedOut, asked, "no answer to the requests before this one"));
        }
        let started = Instant::now();
        let line = format!("{} {}", request.method(), request.uri());
        let result = exchange(&self.client, request, asked, self.limit(), extent, &self.budget).await;
        self.account(&line, started, &result);
        match &result {
            Ok(_) => self.line.heard.store(true, Ordering::Relaxed),
            Err(why) if why.kind == WhyKind::TimedOut && !self.line.heard.load(Ordering::Relaxed) => {
                self.line.silent.store(true, Ordering::Relaxed);
            }
            Err(_) => {}
        }
        result
    }

    /// Sends once through another client, and accounts for it here.
    pub(super) async fn send_through(
        &self,
        client: &Client,
        request: Request<Body>,
        asked: &str,
    ) -> Result<Answer, Why> {
        let started = Instant::now();
        // Whoever knows the path of a webhook can use it.
        let path = request.uri().path();
        let path =
            path.split_once("/hook/").map_or(path.to_owned(), |(before, _)| format!("{before}/hook/…"));
        let line = format!("{} {path}", request.method());
        let result = exchange(client, request, asked, self.limit(), Extent::WHOLE, &self.budget).await;
        self.account(&line, started, &result);
        result.map(|(answer, _)| answer)
    }

    /// Sends, and gives the answer before its body has come.
    pub(super) async fn open(
        &self,
        client: &Client,
        request: Request<Body>,
        asked: &str,
    ) -> Result<http::Response<Body>, Why> {
        leads_where_it_says(&request, asked)?;
        let line = format!("{} {}", request.method(), request.uri());
        if self.verbose > 0 {
            crate::cli::note(&format!("{line} opened"));
        }
        self.cost.requests.fetch_add(1, Ordering::Relaxed);
        let sending = client.send(request);
        let result = match self.limit() {
            Some(limit) => tokio::time::timeout(limit.time, sending).await.map_err(|_| limit.late(asked))?,
            None => sending.await,
        };
        result.map_err(|e| {
            let (kind, message) = describe(&e);
            Why::new(kind, asked, message)
        })
    }

    /// How long the next request may take.
    fn limit(&self) -> Option<Limit> {
        let own = (!self.request_timeout.is_zero()).then_some(self.request_timeout);
        let left = self.deadline.map(|at| at.saturating_duration_since(Instant::now()));
        match (own, left) {
            (own, Some(left)) if own.is_none_or(|own| left < own) => {
                Some(Limit { time: left, flag: "--timeout" })
            }
            (own, _) => own.map(|time| Limit { time, flag: "--request-timeout" }),
        }
    }

    fn account(&self, line: &str, started: Instant, result: &Result<(Answer, Option<Duration>), Why>) {
        self.cost.requests.fetch_add(1, Ordering::Relaxed);
        let outcome = match result {
            Ok((answer, _)) => {
                if let Some(date) = answer.date() {
                    self.clock.get_or_init(|| date.duration_since(Timestamp::now()));
                }
                self.cost.bytes.fetch_add(answer.body.len(), Ordering::Relaxed);
                format!("{} {} bytes", answer.status.as_u16(), answer.body.len())
            }
            Err(why) => why.message.clone(),
        };
        if self.verbose > 0 {
            crate::cli::note(&format!("{line} {outcome} {} ms", started.elapsed().as_millis()));
        }
    }

    /// Turns statuses that say no into reasons.
    pub(super) fn judge(&self, answer: Answer, asked: &str) -> Result<Answer, Why> {
        let judged = answer.judged(asked, self.sign_in_hint.as_deref());
        judged.map_err(|why| Why { message: known::run().mask(&why.message), ..why })
    }
}

/// How long one request may take, and which flag says so.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    pub(super) time: Duration,
    flag: &'static str,
}

impl Limit {
    /// The limit of one request alone.
    pub(super) fn of_request(time: Duration) -> Self {
        Self { time, flag: "--request-timeout" }
    }

    pub(super) fn late(self, asked: &str) -> Why {
        Why::new(WhyKind::TimedOut, asked, format!("no answer in {} s ({})", self.time.as_secs(), self.flag))
    }
}

/// What an access review says. Where an authorizer could not be asked, its no says nothing
/// (<https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/subject-access-review-v1/>:
/// `evaluationError`); that a binding names a role that is gone is no such error, because it grants nothing.
fn allowed(body: &[u8]) -> Result<bool, String> {
    #[derive(Deserialize)]
    struct Review {
        status: ReviewStatus,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ReviewStatus {
        allowed: bool,
        #[serde(default)]
        denied: bool,
        #[serde(default)]
        evaluation_error: String,
    }
    let review: Review =
        serde_json::from_slice(body).map_err(|e| format!("the answer has no status ({})", at(&e)))?;
    let ReviewStatus { allowed, denied, evaluation_error } = review.status;
    let gone = |line: &str| line.contains("rbac.authorization.k8s.io") && line.contains("not found");
    if allowed || denied || evaluation_error.is_empty() || evaluation_error.split(", ").all(gone) {
        return Ok(allowed);
    }
    Err(format!("the API server could not find out: {}", mask::free_text(&evaluation_error)))
}

/// One request and its answer. With 429 and 503 comes how long the server asks to wait.
pub(super) async fn exchange(
    client: &Client,
    request: Request<Body>,
    asked: &str,
    limit: Option<Limit>,
    extent: Extent,
    budget: &Budget,
) -> Result<(Answer, Option<Duration>), Why> {
    leads_where_it_says(&request, asked)?;
    let mut clock = Clock::start(limit);
    let response = clock.within(asked, client.send(request)).await?.map_err(|e| {
        let (kind, message) = describe(&e);
        Why::new(kind, asked, message)
    })?;
    let (status, headers) = (response.status(), response.headers().clone());
    let wait = retry_after(status, &headers);
    let (body, place) = body::read(response.into_body(), extent, budget, &mut clock, asked).await?;
    Ok((Answer { status, headers, body, _place: place }, wait))
}

/// The door that every request goes through: a name that is none would lead to another object, or to a collection.
fn leads_where_it_says(request: &Request<Body>, asked: &str) -> Result<(), Why> {
    if name::is_path(request.uri().path()) {
        return Ok(());
    }
    Err(Why::new(WhyKind::Unreadable, asked, "a name in it is not valid in Kubernetes: nothing was sent"))
}

/// One segment of a URL path, or one value of a query: whatever has a meaning in a URL is encoded. Names of objects
/// come from the cluster and are not trusted to be names.
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn retry_after(status: StatusCode, headers: &http::HeaderMap) -> Option<Duration> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let seconds = headers.get("retry-after").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    Some(Duration::from_secs(seconds.unwrap_or(1)))
}

/// The class and the text of kube's error. Errors of credentials are not quoted: they may hold output of programs.
fn describe(error: &kube::Error) -> (WhyKind, String) {
    let mut source: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(at) = source {
        if at.is::<kube::client::AuthError>() {
            return (WhyKind::SignIn, "the kubeconfig user's credential cannot be used".to_owned());
        }
        source = at.source();
    }
    let text = innermost(error);
    let kind = if text.contains("timed out") || text.contains("deadline") {
        WhyKind::TimedOut
    } else {
        WhyKind::Unreachable
    };
    (kind, text)
}

pub(super) fn innermost(error: &dyn StdError) -> String {
    let mut at = error;
    while let Some(next) = at.source() {
        at = next;
    }
    mask::free_text(&at.to_string())
}

/// When a bearer token that is a JWT expired; its signature is not looked at.
fn expiry(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claims {
        exp: i64,
    }
    let payload = token.split('.').nth(1)?;
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Claims = serde_json::from_slice(&json).ok()?;
    let expires = Timestamp::from_second(claims.exp).ok()?;
    let age = gitlab_agent_core::text::age(Timestamp::now(), expires);
    (expires < Timestamp::now()).then(|| format!("the token of this kubeconfig user expired {age} ago"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expired_jwt_says_so_and_other_tokens_say_nothing() {
        let jwt = |exp: i64| {
            let claims =
                base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{exp}}}"));
            format!("e30.{claims}.x")
        };
        assert!(expiry(&jwt(1_000_000_000)).expect("expired").contains("expired"));
        assert_eq!(expiry(&jwt(32_503_680_000)), None);
        assert_eq!(expiry("opaque"), None);
    }

    #[tokio::test]
    async fn a_name_that_is_none_is_in_no_request() {
        let sent = Arc::new(AtomicUsize::new(0));
        let count = sent.clone();
        let service = tower::service_fn(move |_: Request<Body>| {
            count.fetch_add(1, Ordering::SeqCst);
            async { Ok::<_, std::convert::Infallible>(http::Response::new(Body::empty())) }
        });
        let client = Client::new(service, "default");
        let ask = async |name: &str| {
            let path = format!("/api/v1/namespaces/flux-system/secrets/{}", segment(name));
            let request = Request::get(path).body(Body::empty()).expect("a request");
            exchange(&client, request, "get secret", None, Extent::WHOLE, &Budget::default()).await
        };
        for name in
            ["", ".", "..", "a/b", "../../nodes", "%2e%2e", "a\0", "a b", "\n", "a?watch=1", "a#b", "..\\x"]
        {
            let why = ask(name).await.expect_err(name);
            assert_eq!((why.kind, sent.load(Ordering::SeqCst)), (WhyKind::Unreadable, 0), "{name:?}");
        }
        assert!(ask("flux-system").await.is_ok());
        assert_eq!(sent.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_review_says_yes_no_or_nothing() {
        for (status, expected) in [
            (r#"{"allowed":true}"#, Some(true)),
            (r#"{"allowed":false}"#, Some(false)),
            (r#"{"allowed":true,"evaluationError":"webhook away"}"#, Some(true)),
            (r#"{"allowed":false,"evaluationError":"webhook away"}"#, None),
            (r#"{"allowed":false,"denied":true,"evaluationError":"webhook away"}"#, Some(false)),
            (
                r#"{"allowed":false,"evaluationError":"clusterrole.rbac.authorization.k8s.io \"x\" not found"}"#,
                Some(false),
            ),
            (
                r#"{"allowed":false,"evaluationError":"role.rbac.authorization.k8s.io \"x\" not found, webhook away"}"#,
                None,
            ),
            (r#"{}"#, None),
            (r#"{"allowed":"yes"}"#, None),
            (r#"{"allowed":null}"#, None),
            ("null", None),
            (r#""Failure""#, None),
        ] {
            let body = format!(r#"{{"kind":"SelfSubjectAccessReview","status":{status}}}"#);
            assert_eq!(allowed(body.as_bytes()).ok(), expected, "{status}");
        }
        assert!(allowed(b"{}").is_err());
    }
}
