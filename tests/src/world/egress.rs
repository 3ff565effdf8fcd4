//! The API server's way to pods and nodes: an HTTP CONNECT proxy, as konnectivity is one where the control plane has no
//! route to pods. The API server dials through it for logs and for the proxies of Services and pods.
//!
//! Which pod is dialled is the API server's own finding, from the Service's endpoints; here an address only becomes the
//! loopback port of the process that plays this pod. Where NetworkPolicies keep the connection out, nothing answers.

mod policy;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::api::Api;

/// How long a dial that nobody answers takes to be given up. konnectivity's agent takes five seconds.
const DIAL: Duration = Duration::from_secs(2);
/// How often an open connection is held against the pods and policies of now.
const LOOK: Duration = Duration::from_millis(500);
/// A request line with its headers is not longer than this.
const LONGEST: usize = 8 << 10;

/// A port on which a Deployment's pods listen, and where the process that plays them really does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Played {
    pub(crate) deployment: &'static str,
    pub(crate) port: u16,
    pub(crate) loopback: u16,
}

/// The proxy before it serves: its address has to be known before the API server starts. It is a socket file, because
/// kube-apiserver 1.36 panics on a TCP transport without TLS (`getTLSConfig` reads what `http://` must not have).
#[derive(Debug)]
pub(crate) struct Egress {
    listener: StdListener,
    config: PathBuf,
}

/// What an address leads to.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// A process on loopback.
    Open(u16),
    /// The host is there, and nobody listens on this port.
    Refused,
    /// Nothing comes back.
    Silent,
}

impl Egress {
    /// Makes the socket and writes the API server's configuration.
    pub(crate) fn prepare(dir: &Path) -> Result<Self> {
        let socket = dir.join("egress.sock");
        let listener =
            StdListener::bind(&socket).with_context(|| format!("listen at {}", socket.display()))?;
        let config = dir.join("egress.json");
        let content = json!({
            "apiVersion": "apiserver.k8s.io/v1beta1",
            "kind": "EgressSelectorConfiguration",
            "egressSelections": [{
                "name": "cluster",
                "connection": { "proxyProtocol": "HTTPConnect", "transport": { "uds": { "udsName": socket } } },
            }],
        });
        fs::write(&config, content.to_string())?;
        Ok(Self { listener, config })
    }

    /// The file for the API server's `--egress-selector-config-file`.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// Serves for as long as the runtime lives. `kubelet` is the port of every node.
    pub(crate) fn serve(self, runtime: &Handle, api: Api, kubelet: u16, played: Vec<Played>) -> Result<()> {
        self.listener.set_nonblocking(true)?;
        let _inside = runtime.enter();
        let listener = UnixListener::from_std(self.listener)?;
        let map = Arc::new(Map { api, kubelet, played });
        runtime.spawn(async move {
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    let map = map.clone();
                    tokio::spawn(async move { map.tunnel(stream).await });
                }
            }
        });
        Ok(())
    }
}

/// Where everything is.
struct Map {
    api: Api,
    kubelet: u16,
    played: Vec<Played>,
}

impl Map {
    /// One connection of the API server, to its end. Whatever breaks ends it, as a network would.
    async fn tunnel(&self, mut stream: UnixStream) -> Result<()> {
        let target = read_target(&mut stream).await?;
        let (status, way) = match self.way(target).await.unwrap_or(Way::Silent) {
            Way::Open(port) => match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                Ok(process) => ("200 Connection established".to_owned(), Some(process)),
                Err(_) => (refused(target), None),
            },
            Way::Refused => (refused(target), None),
            Way::Silent => {
                sleep(DIAL).await;
                (format!("504 dial tcp {target}: i/o timeout"), None)
            }
        };
        stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await?;
        let Some(mut process) = way else { return Ok(()) };
        tokio::select! {
            done = copy_bidirectional(&mut stream, &mut process) => drop(done?),
            () = self.until_closed(target) => {}
        }
        Ok(())
    }

    async fn way(&self, target: SocketAddr) -> Result<Way> {
        if target.ip().is_loopback() {
            let open = target.port() == self.kubelet;
            return Ok(if open { Way::Open(target.port()) } else { Way::Refused });
        }
        let Some(pod) = self.pod(target.ip()).await? else { return Ok(Way::Silent) };
        let namespace = pod["metadata"]["namespace"].as_str().context("a pod without a namespace")?;
        let policies = self
            .api
            .list(&format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"))
            .await?;
        if !policy::admits(&policies, &pod, target.port()) {
            return Ok(Way::Silent);
        }
        let plays = |p: &&Played| p.port == target.port() && belongs(&pod, p.deployment);
        Ok(self.played.iter().find(plays).map_or(Way::Refused, |p| Way::Open(p.loopback)))
    }

    async fn pod(&self, address: IpAddr) -> Result<Option<Value>> {
        let pods = self.api.list(&format!("/api/v1/pods?fieldSelector=status.podIP%3D{address}")).await?;
        let runs = |pod: &Value| {
            pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null()
        };
        Ok(pods.into_iter().find(runs))
    }

    /// Ends when the pod is gone or a policy keeps the connection out: the API server keeps connections for later.
    async fn until_closed(&self, target: SocketAddr) {
        loop {
            sleep(LOOK).await;
            // Without an answer nothing has changed, as far as is known.
            if self.way(target).await.is_ok_and(|way| !matches!(way, Way::Open(_))) {
                return;
            }
        }
    }
}

fn refused(target: SocketAddr) -> String {
    format!("502 dial tcp {target}: connect: connection refused")
}

/// Whether a ReplicaSet of this Deployment made the pod.
fn belongs(pod: &Value, deployment: &str) -> bool {
    let mut owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    pod["metadata"]["namespace"] == "flux-system"
        && owners.any(|owner| {
            let set = owner["name"].as_str().unwrap_or_default();
            owner["kind"] == "ReplicaSet" && set.rsplit_once('-').is_some_and(|(name, _)| name == deployment)
        })
}

/// Reads `CONNECT 10.244.0.1:9292 HTTP/1.1` and its headers.
async fn read_target(stream: &mut UnixStream) -> Result<SocketAddr> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        anyhow::ensure!(head.len() < LONGEST, "a request without an end");
        // Byte by byte: what comes behind the headers is not ours.
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head)?;
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
    Ok(target.context("not a CONNECT")?.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_belongs_to_the_deployment_of_its_replica_set() {
        let pod = json!({"metadata": {"namespace": "flux-system",
            "ownerReferences": [{"kind": "ReplicaSet", "name": "source-controller-5d4f"}]}});
        assert!(belongs(&pod, "source-controller"));
        assert!(!belongs(&pod, "source") && !belongs(&pod, "controller"));
        assert!(!belongs(&json!({"metadata": {"namespace": "flux-system"}}), "source-controller"));
    }
}
