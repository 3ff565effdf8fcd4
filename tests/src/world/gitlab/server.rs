//! HTTPS in front of the played GitLab: TLS, HTTP/1.1, the list of requests seen, and planned faults.

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

use super::faults::Fault;
use super::wire::Wire;
use super::{GitLab, requests, routes};
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

pub(crate) fn tls_config(identity: &Identity) -> Result<ServerConfig> {
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

/// The connection ends without an answer.
#[derive(Debug)]
struct HungUp;

impl std::fmt::Display for HungUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hung up, as planned")
    }
}

impl std::error::Error for HungUp {}

async fn answer(gitlab: GitLab, request: Request<Incoming>) -> Result<Response<Wire>, HungUp> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| HungUp)?.to_bytes();
    let (at, fault) = {
        let state = &mut *gitlab.state();
        let entry = requests::entry(state, &head);
        state.requests.push(entry);
        (state.requests.len() - 1, state.faults.take(&head.method, head.uri.path()))
    };
    let note = |status: u16| {
        if let Some(entry) = gitlab.state().requests.get_mut(at) {
            entry.status = status;
        }
    };
    match &fault {
        Some(Fault::Reset) => return Err(HungUp),
        Some(Fault::Stall) => return std::future::pending().await,
        Some(Fault::Delay(time)) => tokio::time::sleep(*time).await,
        _ => {}
    }
    let response = match fault.as_ref().and_then(Fault::instead) {
        Some(instead) => instead,
        None => routes::answer(&gitlab, Request::from_parts(head, body)).await,
    };
    let status = response.status().as_u16();
    let (parts, body) = response.into_parts();
    let body = match fault {
        Some(Fault::LostAnswer) => return Err(HungUp),
        Some(Fault::StalledAnswer) => return std::future::pending().await,
        Some(Fault::Truncated) => Wire::truncated(body).await,
        Some(Fault::Garbage) => Wire::garbage(),
        Some(Fault::Oversize(bytes)) => Wire::flood(body, bytes).await,
        _ => Wire::whole(body),
    };
    note(status);
    Ok(Response::from_parts(parts, body))
}
