//! Faults that a test scripts: which request, how often, and what goes wrong.

use std::time::Duration;

use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;

use super::server::WholeResponse;
use super::{GitLab, limits, routes};

/// For ever, as a number of times.
pub const ALWAYS: usize = usize::MAX;

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answered with this status and text, and not done.
    Status(u16, String),
    /// 429 in plain text, with `Retry-After` or without.
    TooMany(Option<u64>),
    /// 503 with the page of a GitLab that is being upgraded.
    Maintenance,
    /// Sent elsewhere.
    Redirect(String),
    /// Done, but later.
    Delay(Duration),
    /// The connection ends before anything is done.
    Reset,
    /// Nothing is done, and no answer comes.
    Stall,
    /// Done; half of the answer comes, then the connection ends.
    Truncated,
    /// Done; the answer says JSON and is none.
    Garbage,
    /// Done; the answer is followed by so many bytes of white space.
    Oversize(usize),
    /// Done, and the connection ends before the answer comes.
    LostAnswer,
    /// Done, and no answer ever comes.
    StalledAnswer,
}

#[derive(Debug)]
struct Planned {
    method: Option<Method>,
    path: String,
    fault: Fault,
    left: usize,
}

/// The faults that are planned.
#[derive(Debug, Default)]
pub(super) struct Faults {
    planned: Vec<Planned>,
}

impl Faults {
    /// The fault for this request, counted as used.
    pub(super) fn take(&mut self, method: &Method, path: &str) -> Option<Fault> {
        let fits = |planned: &&mut Planned| {
            planned.left > 0
                && planned.method.as_ref().is_none_or(|wanted| wanted == method)
                && matches(&planned.path, path)
        };
        let planned = self.planned.iter_mut().find(fits)?;
        if planned.left != ALWAYS {
            planned.left -= 1;
        }
        Some(planned.fault.clone())
    }
}

impl GitLab {
    /// Plans a fault for requests such as `POST /api/v4/projects/*/cluster_agents/*/tokens`: method (or `*`), then the
    /// path as it is sent, without query; a star stands for any text. Faults planned earlier come first.
    pub fn fault(&self, route: &str, fault: Fault, times: usize) {
        let (method, path) = route.split_once(' ').unwrap_or(("*", route));
        let method = method.parse().ok().filter(|_| method != "*");
        self.state().faults.planned.push(Planned { method, path: path.to_owned(), fault, left: times });
    }

    /// Forgets all planned faults.
    pub fn clear_faults(&self) {
        self.state().faults.planned.clear();
    }
}

/// Whether a pattern with stars covers the whole text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| matches(tail, &rest[at..]))
        }),
    }
}

impl Fault {
    /// The answer of a fault that comes instead of doing anything.
    pub(super) fn instead(&self) -> Option<WholeResponse> {
        match self {
            Self::Status(code, text) => {
                let status = StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                Some(typed(status, text.clone()))
            }
            Self::TooMany(after) => Some(limits::too_many(*after)),
            Self::Maintenance => Some(maintenance()),
            Self::Redirect(to) => {
                let mut response = routes::plain(StatusCode::FOUND, "Redirecting\n");
                if let Ok(to) = HeaderValue::from_str(to) {
                    response.headers_mut().insert(LOCATION, to);
                }
                Some(response)
            }
            _ => None,
        }
    }
}

fn typed(status: StatusCode, text: String) -> WholeResponse {
    let json = text.starts_with(['{', '[']);
    let kind = if json { "application/json" } else { "text/plain; charset=utf-8" };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn maintenance() -> WholeResponse {
    const PAGE: &str = "<!DOCTYPE html>\n<html>\n<head>\n  <title>Deploy in progress</title>\n</head>\n<body>\n  \
        <h1>Deploy in progress</h1>\n  <p>Please try again in a few minutes.</p>\n</body>\n</html>\n";
    let mut response = Response::new(Full::new(Bytes::from_static(PAGE.as_bytes())));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        assert!(matches("/api/v4/*", "/api/v4/projects/1"));
        assert!(matches("/projects/*/tokens", "/projects/1/cluster_agents/7/tokens"));
        assert!(!matches("/projects/*/tokens", "/projects/1/tokens/5"));
        assert!(matches("*", "") && !matches("", "x"));
    }

    #[test]
    fn a_fault_comes_as_often_as_planned_and_in_order() {
        let planned =
            |path: &str, left| Planned { method: None, path: path.into(), fault: Fault::Reset, left };
        let mut faults = Faults { planned: vec![planned("/a", 2)] };
        faults.planned.push(Planned { fault: Fault::Stall, ..planned("*", ALWAYS) });
        let taken: Vec<_> = (0..3).filter_map(|_| faults.take(&Method::GET, "/a")).collect();
        assert_eq!(taken, [Fault::Reset, Fault::Reset, Fault::Stall]);
        faults.planned[1].method = Some(Method::POST);
        assert_eq!(faults.take(&Method::GET, "/b"), None);
    }
}
