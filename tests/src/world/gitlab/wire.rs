//! The body of an answer on its way out: whole, or broken on purpose.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Bytes, Frame, SizeHint};

const BLOCK: usize = 64 * 1024;

/// What is left to send.
#[derive(Debug)]
pub(super) struct Wire {
    next: Option<Bytes>,
    /// White space to send after it, in bytes.
    flood: usize,
    /// Whether the connection breaks at the end.
    breaks: bool,
    whole: bool,
}

impl Wire {
    /// As it should be.
    pub(super) fn whole(body: Full<Bytes>) -> Self {
        let size = body.size_hint().exact();
        let next = match size {
            Some(0) | None => None,
            Some(_) => now(body),
        };
        Self { next, flood: 0, breaks: false, whole: true }
    }

    /// The first half, and no more.
    pub(super) async fn truncated(body: Full<Bytes>) -> Self {
        let all = bytes(body).await;
        Self { next: Some(all.slice(..all.len() / 2)), flood: 0, breaks: true, whole: false }
    }

    /// Not JSON.
    pub(super) fn garbage() -> Self {
        let next = Some(Bytes::from_static(b"\x00\x1b[31m<<not json>>{\xff"));
        Self { next, flood: 0, breaks: false, whole: true }
    }

    /// Much more than anybody wants to read.
    pub(super) async fn flood(body: Full<Bytes>, flood: usize) -> Self {
        Self { next: Some(bytes(body).await), flood, breaks: false, whole: false }
    }
}

async fn bytes(body: Full<Bytes>) -> Bytes {
    body.collect().await.unwrap_or_else(|never: Infallible| match never {}).to_bytes()
}

/// A whole body is at hand: it gives its one frame without waiting.
fn now(body: Full<Bytes>) -> Option<Bytes> {
    let mut body = body;
    let mut context = Context::from_waker(std::task::Waker::noop());
    match Pin::new(&mut body).poll_frame(&mut context) {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().ok(),
        _ => None,
    }
}

/// Why a body ends early.
#[derive(Debug)]
pub(super) struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken off, as planned")
    }
}

impl std::error::Error for Broken {}

impl Body for Wire {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(next) = self.next.take() {
            return Poll::Ready(Some(Ok(Frame::data(next))));
        }
        if self.flood > 0 {
            let block = self.flood.min(BLOCK);
            self.flood -= block;
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b' '; block])))));
        }
        if std::mem::take(&mut self.breaks) {
            return Poll::Ready(Some(Err(Broken)));
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.next.is_none() && self.flood == 0 && !self.breaks
    }

    fn size_hint(&self) -> SizeHint {
        if self.whole {
            SizeHint::with_exact(self.next.as_ref().map_or(0, |next| next.len() as u64))
        } else {
            SizeHint::default()
        }
    }
}
