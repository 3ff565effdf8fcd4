//! An API server that lies: in front of the real one, it answers what a test wants, and passes the rest on.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use anyhow::Result;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::World;
use super::gitlab::tls_config;
use super::pki::Authority;

/// What comes in.
#[derive(Debug)]
pub struct Asked<'r> {
    /// Method.
    pub method: &'r str,
    /// Path and query.
    pub path: &'r str,
    /// What the client signed in with: the whole header.
    pub authorization: &'r str,
}

type Lie = Arc<dyn Fn(&Asked<'_>) -> Option<(u16, String)> + Send + Sync>;

/// The server; dropping it closes it.
#[derive(Debug)]
pub struct FalseApi {
    url: String,
    ca: String,
    task: JoinHandle<()>,
}

impl FalseApi {
    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate of the authority that vouches for it, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca
    }
}

impl Drop for FalseApi {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl World {
    /// Starts one. Where `lie` gives nothing, the real API server is asked as administrator.
    ///
    /// # Errors
    /// It cannot listen.
    pub fn false_api(
        &self,
        lie: impl Fn(&Asked<'_>) -> Option<(u16, String)> + Send + Sync + 'static,
    ) -> Result<FalseApi> {
        let authority = Authority::new("False API CA")?;
        let tls = TlsAcceptor::from(Arc::new(tls_config(&authority.server(&["127.0.0.1"])?)?));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let url = format!("https://{}", listener.local_addr()?);
        let (real, lie): (_, Lie) = (self.client(), Arc::new(lie));
        let task = self.runtime().spawn(async move {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, real, lie) = (tls.clone(), real.clone(), lie.clone());
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let service = service_fn(move |request| answer(real.clone(), lie.clone(), request));
                    let served = hyper::server::conn::http1::Builder::new();
                    let _ = served.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(FalseApi { url, ca: authority.pem(), task })
    }
}

async fn answer(real: kube::Client, lie: Lie, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let asked = Asked { method: head.method.as_str(), path: &path, authorization: header("authorization") };
    let (status, text) = match lie(&asked) {
        Some(answer) => answer,
        None => {
            let mut passed = Request::builder().method(head.method.clone()).uri(&path);
            for name in ["accept", "content-type"] {
                if !header(name).is_empty() {
                    passed = passed.header(name, header(name));
                }
            }
            let body = body.collect().await?.to_bytes().to_vec();
            return passed_on(real.send(passed.body(body.into())?).await?).await;
        }
    };
    let response = Response::builder().status(StatusCode::from_u16(status)?);
    Ok(response.header("content-type", "application/json").body(Full::new(Bytes::from(text)))?)
}

/// What the real API server says, as it says it.
async fn passed_on(response: Response<kube::client::Body>) -> Result<Response<Full<Bytes>>> {
    let (head, body) = response.into_parts();
    let mut passed = Response::builder().status(head.status);
    for name in ["content-type", "audit-id"] {
        if let Some(value) = head.headers.get(name) {
            passed = passed.header(name, value);
        }
    }
    Ok(passed.body(Full::new(body.collect().await?.to_bytes()))?)
}
