//! A server that nobody should talk to: it keeps whatever reaches it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::GitLab;
use super::server::tls_config;

const PATIENCE: Duration = Duration::from_millis(500);
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";

/// A listening trap; dropping it closes it.
#[derive(Debug)]
pub struct Trap {
    address: SocketAddr,
    caught: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Trap {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came, one text per connection; empty where somebody only connected.
    pub fn caught(&self) -> Vec<String> {
        self.caught.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl GitLab {
    /// Sets up a trap that speaks HTTPS with a certificate of this GitLab's authority, or plain HTTP.
    ///
    /// # Errors
    /// It cannot listen.
    pub fn trap(&self, encrypted: bool) -> Result<Trap> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let tls = encrypted.then(|| tls_config(&self.identity)).transpose()?;
        let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let caught: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = caught.clone();
        let listener = {
            let _inside = self.runtime.enter();
            TcpListener::from_std(listener)?
        };
        let task = self.runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(keep(stream, tls.clone(), kept.clone()));
            }
        });
        Ok(Trap { address, caught, task })
    }
}

async fn keep(stream: TcpStream, tls: Option<TlsAcceptor>, kept: Arc<Mutex<Vec<String>>>) {
    let text = match tls {
        None => read(stream).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => read(stream).await,
            Err(_) => String::new(),
        },
    };
    kept.lock().unwrap_or_else(PoisonError::into_inner).push(text);
}

async fn read(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
        match tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await {
            Ok(Ok(count)) if count > 0 => bytes.extend_from_slice(&buffer[..count]),
            _ => break,
        }
    }
    let _ = stream.write_all(ANSWER).await;
    let _ = stream.shutdown().await;
    String::from_utf8_lossy(&bytes).into_owned()
}
