//! A layer that lets nothing through but reading: GET, and the access reviews, which change nothing.

use std::task::{Context, Poll};

use http::{Method, Request};
use tower::{BoxError, Layer, Service};

/// Wraps a service so that it refuses to change anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadOnly;

impl<S> Layer<S> for ReadOnly {
    type Service = ReadOnlyService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ReadOnlyService { inner }
    }
}

/// See [`ReadOnly`].
#[derive(Clone, Debug)]
pub(super) struct ReadOnlyService<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for ReadOnlyService<S>
where
    S: Service<Request<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    S::Response: 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if !is_reading(request.method(), request.uri().path()) {
            let refused = format!(
                "refused to send {} {}: this command only reads",
                request.method(),
                request.uri().path()
            );
            return Box::pin(async move { Err(refused.into()) });
        }
        let answer = self.inner.call(request);
        Box::pin(async move { answer.await.map_err(Into::into) })
    }
}

/// What one may do oneself, and what somebody else may: both are answered and not stored.
const REVIEWS: [&str; 2] = [
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    "/apis/authorization.k8s.io/v1/subjectaccessreviews",
];

fn is_reading(method: &Method, path: &str) -> bool {
    method == Method::GET || (method == Method::POST && REVIEWS.contains(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whatever_changes_something_is_refused_before_it_is_sent() {
        let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = sent.clone();
        let inner = tower::service_fn(move |_: Request<()>| {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            async { Ok::<_, BoxError>(()) }
        });
        let mut service = ReadOnly.layer(inner);
        let mut ask = async |method: Method, path: &str| {
            let request = Request::builder().method(method).uri(path).body(()).expect("a request");
            service.call(request).await.is_ok()
        };
        assert!(ask(Method::GET, "/api/v1/pods").await);
        for review in REVIEWS {
            assert!(ask(Method::POST, review).await);
            assert!(!ask(Method::PUT, review).await);
        }
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert!(!ask(method, "/api/v1/namespaces/x/secrets/y").await);
        }
        assert_eq!(sent.load(std::sync::atomic::Ordering::SeqCst), 3);
    }
}
