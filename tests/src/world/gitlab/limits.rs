//! The rate limit: so many API requests, then 429 in plain text.
//!
//! Source: `lib/gitlab/rack_attack.rb`: the body is `Retry later`, and not JSON.

use http::header::{HeaderName, RETRY_AFTER};
use http::{HeaderValue, StatusCode};

use super::server::WholeResponse;
use super::{GitLab, routes};

/// What is left of the limit.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// Requests until the limit is reached; nothing where there is no limit.
    left: Option<u64>,
    retry_after: u64,
}

impl Limits {
    /// Counts a request; refuses it when the limit is reached.
    pub(super) fn take(&mut self) -> Option<WholeResponse> {
        let left = self.left.as_mut()?;
        match left.checked_sub(1) {
            Some(less) => {
                *left = less;
                None
            }
            None => Some(too_many(Some(self.retry_after))),
        }
    }
}

impl GitLab {
    /// Lets so many requests of the API pass, and refuses the others with `Retry-After`; `None` lifts the limit.
    pub fn limit_requests(&self, left: Option<u64>, retry_after_seconds: u64) {
        self.state().limits = Limits { left, retry_after: retry_after_seconds };
    }
}

/// 429 as GitLab gives it; older ones leave `Retry-After` out.
pub(super) fn too_many(retry_after: Option<u64>) -> WholeResponse {
    let mut response = routes::plain(StatusCode::TOO_MANY_REQUESTS, "Retry later\n");
    if let Some(seconds) = retry_after {
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        headers.insert(HeaderName::from_static("ratelimit-remaining"), HeaderValue::from_static("0"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_counted_down() {
        let mut limits = Limits { left: Some(2), retry_after: 7 };
        assert!(limits.take().is_none() && limits.take().is_none());
        let refused = limits.take().unwrap();
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()[RETRY_AFTER]),
            (429, &HeaderValue::from(7))
        );
        assert!(Limits::default().take().is_none(), "no limit");
    }
}
