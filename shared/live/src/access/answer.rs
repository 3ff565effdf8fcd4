//! An answer, who gave it, and what it means. Between this program and the API server stand proxies, gateways, meshes and
//! portals, and each of them answers 401, 403, 404, 429 and 5xx of its own: those say nothing of the cluster.

use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::snapshot::{Why, WhyKind, mask};
use gitlab_agent_core::text::visible;
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::body::Place;

/// How much is shown of what is no Status.
const SHOWN: usize = 80;

/// An answer that came whole.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// The head's other lines.
    pub headers: HeaderMap,
    /// Body.
    pub body: Vec<u8>,
    /// A large body is held by one answer at a time: held, and not read.
    pub(super) _place: Place,
}

/// A Kubernetes Status, as the API server answers what it does not do
/// (<https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/>).
#[derive(Debug, Deserialize)]
pub(crate) struct ApiStatus {
    #[serde(default)]
    pub(crate) message: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
struct Details {
    #[serde(default)]
    kind: String,
}

/// What every object and list of Kubernetes says of itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed<'a> {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
}

impl Answer {
    /// When it was given, by the clock of whoever gave it.
    pub(super) fn date(&self) -> Option<Timestamp> {
        let text = self.headers.get(header::DATE)?.to_str().ok()?;
        jiff::fmt::rfc2822::parse(text).ok().map(|at| at.timestamp())
    }

    /// An answer that is not large.
    pub(crate) fn of(status: StatusCode, headers: HeaderMap, body: Vec<u8>) -> Self {
        Self { status, headers, body, _place: Place::default() }
    }

    /// The Status in the body, where it is one.
    pub(crate) fn api_status(&self) -> Option<ApiStatus> {
        let typed: Typed<'_> = serde_json::from_slice(&self.body).ok()?;
        let own = typed.kind == "Status" && typed.api_version == "v1";
        own.then(|| serde_json::from_slice(&self.body).ok()).flatten()
    }

    /// Whether the API server's own filters marked it. They give each request an ID, also those that are answered in plain
    /// text (k8s.io/apiserver: `WithAuditInit` in pkg/endpoints/filters), and what is passed on to a backend.
    fn is_marked(&self) -> bool {
        self.headers.contains_key("audit-id")
    }

    /// What the body says: the message of a Status; of anything else the first words, because a proxy's page is long.
    pub(crate) fn said(&self) -> String {
        match self.api_status() {
            Some(status) => mask::free_text(&visible(status.message.trim())),
            None => first_words(&self.body),
        }
    }

    /// Status and words, as evidence.
    fn shown(&self) -> String {
        format!("{} {}", self.status.as_u16(), self.said()).trim_end().to_owned()
    }

    /// Who answered in the API server's place, as far as the answer tells: `403 from nginx/1.27 (text/html): 403 Forbidden`.
    pub(crate) fn stranger(&self) -> String {
        let told = |name: header::HeaderName| {
            let value = self.headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())?;
            let value: String = mask::free_text(&visible(value.trim())).chars().take(SHOWN).collect();
            Some(value).filter(|v| !v.is_empty())
        };
        let mut text = format!("{} from ", self.status.as_u16());
        text.push_str(
            &told(header::SERVER).unwrap_or_else(|| "a server that does not say its name".to_owned()),
        );
        if let Some(via) = told(header::VIA) {
            text.push_str(&format!(" via {via}"));
        }
        let kind = told(header::CONTENT_TYPE);
        let kind = kind.as_deref().map(|k| k.split(';').next().unwrap_or(k).trim());
        text.push_str(&format!(" ({})", kind.filter(|k| !k.is_empty()).unwrap_or("no content type")));
        if let Some(to) = self.headers.get(header::LOCATION).and_then(|v| v.to_str().ok()) {
            text.push_str(&format!(", which leads to {}", visible(&mask::url(to))));
        }
        // What says yes may hold what was asked for, a Secret too: of that only a web page's title is shown.
        let words = match self.status.is_success() && !self.is_page() {
            true => String::new(),
            false => first_words(&self.body),
        };
        if words.is_empty() { text } else { format!("{text}: {words}") }
    }

    fn is_page(&self) -> bool {
        self.body.trim_ascii_start().starts_with(b"<")
    }

    /// The answer where it says yes, or that something does not exist; else what its no means.
    ///
    /// # Errors
    /// It says no, or is not the API server's.
    pub(crate) fn judged(self, asked: &str, sign_in_hint: Option<&str>) -> Result<Self, Why> {
        if self.status.is_success() {
            return Ok(self);
        }
        let own = self.api_status();
        let reason = own.as_ref().map(|status| status.reason.as_str());
        let kind = match (self.status, reason) {
            // Of a path that it does not know the API server says so in plain text.
            (StatusCode::NOT_FOUND, Some("NotFound")) => return Ok(self),
            (StatusCode::NOT_FOUND, None) if self.is_marked() => return Ok(self),
            (StatusCode::UNAUTHORIZED, Some("Unauthorized")) => WhyKind::SignIn,
            (StatusCode::FORBIDDEN, Some("Forbidden")) => WhyKind::Forbidden,
            (_, None) if !self.is_marked() => WhyKind::Intercepted,
            (StatusCode::GATEWAY_TIMEOUT | StatusCode::TOO_MANY_REQUESTS, _) => WhyKind::TimedOut,
            _ => WhyKind::Unreadable,
        };
        let message = match kind {
            WhyKind::Forbidden => self.said(),
            WhyKind::Intercepted => self.stranger(),
            WhyKind::SignIn => {
                let hint = sign_in_hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                format!("{}{hint}", self.shown())
            }
            _ => self.shown(),
        };
        Err(Why::new(kind, asked, message))
    }

    /// Whether a refusal that came through the service proxy is the API server's own, which then names the Service.
    pub(crate) fn is_refused_proxy(&self) -> bool {
        let own = self.api_status();
        let of_services = own.and_then(|s| s.details).is_some_and(|d| d.kind == "services");
        of_services && matches!(self.status, StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED)
    }

    /// Whether it is this object.
    ///
    /// # Errors
    /// Another one, or something else altogether.
    pub(crate) fn expect_object(&self, asked: &str, object: &ObjectRef) -> Result<(), Why> {
        let kind = object.kind.as_str();
        let typed: Typed<'_> =
            serde_json::from_slice(&self.body).map_err(|e| self.unlike(asked, kind, &at(&e)))?;
        if typed.kind != kind {
            return Err(self.unlike(asked, kind, &self.what(&typed)));
        }
        let named =
            typed.metadata.and_then(|m| serde_json::from_str::<Named>(m.get()).ok()).unwrap_or_default();
        if (&named.namespace, &named.name) == (&object.namespace, &object.name) {
            return Ok(());
        }
        let other = format!("it is {kind} {}/{}", visible(&named.namespace), visible(&named.name));
        Err(self.unlike(asked, kind, &other))
    }

    /// What it says that it is.
    fn what(&self, typed: &Typed<'_>) -> String {
        match (typed.kind.as_str(), self.api_status()) {
            ("", _) => "it does not say its kind".to_owned(),
            (_, Some(status)) => format!("it is a Status: {}", mask::free_text(&visible(&status.message))),
            (other, None) => format!("it is {} {}", visible(&typed.api_version), visible(other)),
        }
    }

    /// Whether it is of this kind.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn expect_kind(&self, asked: &str, api_version: &str, kind: &str) -> Result<(), Why> {
        let typed: Typed<'_> =
            serde_json::from_slice(&self.body).map_err(|e| self.unlike(asked, kind, &at(&e)))?;
        if typed.kind == kind && typed.api_version == api_version {
            return Ok(());
        }
        Err(self.unlike(asked, kind, &self.what(&typed)))
    }

    /// This object, read.
    ///
    /// # Errors
    /// Another one, something else altogether, or of another form.
    pub(crate) fn object<T: DeserializeOwned>(&self, asked: &str, object: &ObjectRef) -> Result<T, Why> {
        self.expect_object(asked, object)?;
        serde_json::from_slice(&self.body).map_err(|e| self.unlike(asked, &object.kind, &at(&e)))
    }

    /// A list of this kind, read.
    ///
    /// # Errors
    /// It is not one, or of another form.
    pub(crate) fn list<'a, T: Deserialize<'a>>(
        &'a self,
        asked: &str,
        api_version: &str,
        kind: &str,
    ) -> Result<T, Why> {
        let kind = format!("{kind}List");
        self.expect_kind(asked, api_version, &kind)?;
        serde_json::from_slice(&self.body).map_err(|e| self.unlike(asked, &kind, &at(&e)))
    }

    /// Why an answer that says yes cannot be used.
    pub(crate) fn unlike(&self, asked: &str, kind: &str, found: &str) -> Why {
        let typed = serde_json::from_slice::<Typed<'_>>(&self.body).is_ok_and(|t| !t.kind.is_empty());
        if typed || self.is_marked() {
            return Why::new(WhyKind::Unreadable, asked, format!("the answer is no {kind}: {found}"));
        }
        let text = format!("the answer is no {kind} ({found}): {}", self.stranger());
        Why::new(WhyKind::Intercepted, asked, text)
    }

    /// Whether its content type is plain text, or not told.
    pub(crate) fn is_plain_text(&self) -> bool {
        let kind = self.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        kind.is_none_or(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/plain"))
    }
}

/// Where JSON broke off or is of another form.
pub(crate) fn at(error: &serde_json::Error) -> String {
    format!("line {} column {}", error.line(), error.column())
}

/// The title of a web page, or the first words of a text; masked, in one line, without control characters.
fn first_words(body: &[u8]) -> String {
    let start = &body[..body.len().min(4096)];
    let text = String::from_utf8_lossy(start);
    let words = match text.trim_start().starts_with('<') {
        true => title(&text).unwrap_or_else(|| without_tags(&text)),
        false => text.into_owned(),
    };
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = mask::free_text(&visible(&line)).chars().take(SHOWN).collect();
    short.trim_end().to_owned()
}

fn title(page: &str) -> Option<String> {
    let low = page.to_ascii_lowercase();
    let begin = low.find("<title")?;
    let begin = begin + low[begin..].find('>')? + 1;
    let end = begin + low[begin..].find("</title")?;
    Some(page[begin..end].to_owned()).filter(|title| !title.trim().is_empty())
}

fn without_tags(page: &str) -> String {
    let mut inside = false;
    page.chars()
        .map(|c| match c {
            '<' => {
                inside = true;
                ' '
            }
            '>' => {
                inside = false;
                ' '
            }
            _ if inside => ' ',
            c => c,
        })
        .collect()
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
