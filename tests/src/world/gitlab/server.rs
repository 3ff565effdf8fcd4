//! HTTPS in front of the played GitLab: TLS, HTTP/1.1, and the list of requests seen.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::basic_auth::credentials;
use super::{GitLab, SeenRequest, routes};
use crate::world::pki::Identity;

/// A request with its whole body: what goes over this wire is small.
pub(super) type WholeRequest = Request<Bytes>;
/// An answer with its whole body.
pub(super) type WholeResponse = Response<Full<Bytes>>;

/// Accepts connections on the runtime, until that ends.
pub(super) fn serve(
    gitlab: GitLab,
    listener: TcpListener,
    identity: &Identity,
    runtime: &tokio::runtime::Handle,
) -> Result<()> {
    let tls = TlsAcceptor::from(Arc::new(tls_config(identity)?));
    listener.set_nonblocking(true)?;
    let listener = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(gitlab.clone(), tls.clone(), stream));
        }
    });
    Ok(())
}

fn tls_config(identity: &Identity) -> Result<ServerConfig> {
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    config
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .context("certificate of the played GitLab")
}

/// A client that goes away, or does not trust us, is that client's affair: errors of one connection end here.
async fn connection(gitlab: GitLab, tls: TlsAcceptor, stream: tokio::net::TcpStream) {
    let Ok(stream) = tls.accept(stream).await else { return };
    let service = service_fn(move |request| answer(gitlab.clone(), request));
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(gitlab: GitLab, request: Request<Incoming>) -> Result<WholeResponse, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let mut seen = SeenRequest {
        method: head.method.to_string(),
        path: head.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        status: 0,
        user: credentials(&head.headers).map(|(user, _)| user),
    };
    let response = routes::answer(&gitlab, Request::from_parts(head, body)).await;
    seen.status = response.status().as_u16();
    gitlab.state().requests.push(seen);
    Ok(response)
}
