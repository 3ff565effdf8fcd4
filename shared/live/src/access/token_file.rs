//! The token of a file, which the kubelet and sign-in agents renew while a run goes on: it is read again each minute. The
//! library would do so too, but nothing would know the new token, and so nothing would mask it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Task, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http::Request;
use http::header::{AUTHORIZATION, HeaderValue};
use secrecy::ExposeSecret;
use tower::{Layer, Service};

use super::credential;

/// A token is used for so long without a look at its file.
const FRESH: Duration = Duration::from_secs(60);

/// A token that may be renewed.
#[derive(Clone)]
pub(super) struct TokenFile(Arc<Mutex<State>>);

struct State {
    file: PathBuf,
    header: HeaderValue,
    read_at: Instant,
}

impl TokenFile {
    /// Reads the token.
    ///
    /// # Errors
    /// There is none, or none that a header may have.
    pub(super) fn open(file: &str) -> Result<Self> {
        let file = PathBuf::from(file);
        let header = read(&file)?;
        Ok(Self(Arc::new(Mutex::new(State { file, header, read_at: Instant::now() }))))
    }

    /// The header of a request that is sent now. Where the file can no longer be read, the last token stays.
    fn header(&self, now: Instant) -> HeaderValue {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(state.read_at) >= FRESH {
            if let Ok(header) = read(&state.file) {
                state.header = header;
            }
            state.read_at = now;
        }
        state.header.clone()
    }
}

impl std::fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenFile")
    }
}

/// Reads the token, and makes it known.
fn read(file: &std::path::Path) -> Result<HeaderValue> {
    let token = credential::of_file(file)?;
    let mut header = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
        .ok()
        .context("the token fits no header")?;
    header.set_sensitive(true);
    Ok(header)
}

/// Signs each request with the token of a file, where there is one.
#[derive(Clone)]
pub(super) struct WithToken(pub(super) Option<TokenFile>);

impl<S> Layer<S> for WithToken {
    type Service = TokenService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TokenService { inner, token: self.0.clone() }
    }
}

/// See [`WithToken`].
#[derive(Clone)]
pub(super) struct TokenService<S> {
    inner: S,
    token: Option<TokenFile>,
}

impl<S, B> Service<Request<B>> for TokenService<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, token.header(Instant::now()));
        }
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::known;

    fn later(minutes: u64) -> Instant {
        Instant::now() + FRESH * u32::try_from(minutes).expect("few")
    }

    #[test]
    fn a_renewed_token_is_sent_and_known() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("token");
        let value = |number: usize| format!("Ab1Cd2Ef3Gh4-{number}");
        let write = |text: &str| std::fs::write(&file, text).expect("writes");
        write(&value(1));
        let token = TokenFile::open(&file.display().to_string()).expect("a token");
        write(&format!("{}\n", value(2)));
        assert_eq!(token.header(Instant::now()), format!("Bearer {}", value(1)), "read a moment ago");
        assert_eq!(token.header(later(1)), format!("Bearer {}", value(2)));
        for broken in ["", "\n", "two words", "\u{e9}"] {
            write(broken);
            assert_eq!(token.header(later(2)), format!("Bearer {}", value(2)), "{broken:?}");
        }
        std::fs::remove_file(&file).expect("removed");
        assert_eq!(token.header(later(4)), format!("Bearer {}", value(2)), "it is gone");
        write(&value(3));
        token.header(later(6));
        for number in 1..4 {
            let shown = known::run().at_the_door(&format!("it says {}.", value(number))).into_owned();
            assert_eq!(shown, "it says ***.");
        }
        assert!(format!("{:?}", token.header(later(6))).contains("Sensitive"));
    }

    #[tokio::test]
    async fn each_request_carries_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("token");
        std::fs::write(&file, "abc\n").expect("writes");
        let token = TokenFile::open(&file.display().to_string()).expect("a token");
        for (layer, wanted) in [(WithToken(Some(token)), Some("Bearer abc")), (WithToken(None), None)] {
            let inner = tower::service_fn(|request: Request<()>| async move {
                Ok::<_, ()>(request.headers().get(AUTHORIZATION).cloned())
            });
            let sent = layer.layer(inner).call(Request::new(())).await.expect("an answer");
            assert_eq!(sent.as_ref().and_then(|header| header.to_str().ok()), wanted);
        }
    }
}
