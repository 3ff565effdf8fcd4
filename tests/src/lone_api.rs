//! An API server without a cluster, for tests of what its answers mean: it serves empty lists of everything, and in the
//! place of any answer what a test wants, down to single bytes. Plain HTTP, one answer a connection.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use gitlab_agent_core::need::{Need, TABLE};
use serde_json::{Value, json};

use crate::world::gitlab::tls_config;
use crate::world::pki::Authority;

/// What comes in the place of an answer.
#[derive(Clone, Debug)]
pub enum Said {
    /// Status, headers and body.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// These bytes, and the end of the connection.
    Bytes(Vec<u8>),
    /// These bytes, and then nothing, while the connection stays open.
    Stall(Vec<u8>),
}

impl Said {
    /// JSON, as the API server sends it.
    pub fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("content-type", "application/json".to_owned()), ("audit-id", "lone".to_owned())];
        Self::Answer(status, headers, body.to_string().into_bytes())
    }

    /// A web page of something that stands in between.
    pub fn page(status: u16, server: &str, title: &str) -> Self {
        let headers = vec![("content-type", "text/html".to_owned()), ("server", server.to_owned())];
        Self::Answer(
            status,
            headers,
            format!("<html><title>{title}</title>\n<h1>{title}</h1></html>").into_bytes(),
        )
    }

    /// A Status of the API server.
    pub fn status(code: u16, reason: &str, message: &str) -> Self {
        let body = json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "code": code,
            "reason": reason, "message": message});
        Self::json(code, &body)
    }
}

type Lie = dyn Fn(&str, &str) -> Option<Said> + Send + Sync;

/// The server; dropping it closes it.
pub struct LoneApi {
    url: String,
    kubeconfig: PathBuf,
    dir: tempfile::TempDir,
    state: Arc<State>,
}

struct State {
    over: AtomicBool,
    lie: Box<Lie>,
    asked: Mutex<Vec<String>>,
    held: Mutex<Vec<TcpStream>>,
}

impl LoneApi {
    /// Starts one. Where `lie` gives nothing for a method and a path with its query, there is an empty cluster.
    ///
    /// # Errors
    /// It cannot listen.
    pub fn start(lie: impl Fn(&str, &str) -> Option<Said> + Send + Sync + 'static) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let url = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(State {
            over: AtomicBool::new(false),
            lie: Box::new(lie),
            asked: Mutex::default(),
            held: Mutex::default(),
        });
        let dir = tempfile::tempdir()?;
        let made = Self { kubeconfig: dir.path().join("config"), url, dir, state: state.clone() };
        made.write(&made.url)?;
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if state.over.load(Ordering::SeqCst) {
                    return;
                }
                let state = state.clone();
                std::thread::spawn(move || {
                    let _ = serve(&state, stream);
                });
            }
        });
        Ok(made)
    }

    /// A kubeconfig for it.
    pub fn kubeconfig(&self) -> &std::path::Path {
        &self.kubeconfig
    }

    /// The same as if it spoke TLS.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn with_tls(&self) -> Result<()> {
        self.write(&self.url.replace("http://", "https://"))
    }

    /// Speaks TLS too, at another address, with a certificate that the kubeconfig trusts, and has this user sign in.
    ///
    /// # Errors
    /// It cannot listen, or the file cannot be written.
    pub fn vouched(&self, user: &Value) -> Result<()> {
        let authority = Authority::new("Lone API CA")?;
        let config = Arc::new(tls_config(&authority.server(&["127.0.0.1"])?)?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let url = format!("https://{}", listener.local_addr()?);
        let plain = self.url.trim_start_matches("http://").to_owned();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (config, plain) = (config.clone(), plain.clone());
                std::thread::spawn(move || pass_on(config, stream, &plain));
            }
        });
        let ca = base64::engine::general_purpose::STANDARD.encode(authority.pem());
        self.write_config(json!({"server": url, "certificate-authority-data": ca}), user)
    }

    /// Paths that were asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        self.state.asked.lock().map(|asked| asked.clone()).unwrap_or_default()
    }

    /// A folder that lives as long as the server.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    fn write(&self, server: &str) -> Result<()> {
        self.write_config(json!({ "server": server }), &json!({}))
    }

    fn write_config(&self, cluster: Value, user: &Value) -> Result<()> {
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "lone",
            "contexts": [{"name": "lone", "context": {"cluster": "lone", "user": "lone"}}],
            "clusters": [{"name": "lone", "cluster": cluster}],
            "users": [{"name": "lone", "user": user}]});
        std::fs::write(&self.kubeconfig, config.to_string()).context("write the kubeconfig")
    }
}

impl Drop for LoneApi {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::SeqCst);
        for stream in self.state.held.lock().into_iter().flat_map(|mut held| std::mem::take(&mut *held)) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the thread that waits for connections.
        let address = self.url.trim_start_matches("http://");
        let _ = address.parse().map(|at| TcpStream::connect_timeout(&at, Duration::from_secs(1)));
    }
}

/// Takes one request out of TLS, and gives the answer back.
fn pass_on(config: Arc<rustls::ServerConfig>, stream: TcpStream, plain: &str) -> Result<()> {
    let mut tls = rustls::StreamOwned::new(rustls::ServerConnection::new(config)?, stream);
    let (mut request, mut piece) = (Vec::new(), [0; 4096]);
    let is_whole = |request: &[u8]| {
        let text = String::from_utf8_lossy(request).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
        let length =
            head.split_once("content-length: ").and_then(|(_, rest)| rest.lines().next()?.parse().ok());
        body.len() >= length.unwrap_or(0)
    };
    while !is_whole(&request) {
        let read = tls.read(&mut piece)?;
        anyhow::ensure!(read > 0, "the request has no end");
        request.extend(&piece[..read]);
    }
    let mut upstream = TcpStream::connect(plain)?;
    upstream.write_all(&request)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    tls.write_all(&answer)?;
    tls.conn.send_close_notify();
    Ok(tls.flush()?)
}

fn serve(state: &State, stream: TcpStream) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    // What comes over TLS is no line: it is never answered.
    if reader.read_line(&mut line).is_err() {
        state.held.lock().ok().context("poisoned")?.push(stream);
        return Ok(());
    }
    let mut words = line.split(' ');
    let (method, path) =
        (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let mut length = 0;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        if let Some((_, value)) =
            header.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    state.asked.lock().ok().context("poisoned")?.push(path.clone());
    let said = (state.lie)(&method, &path).unwrap_or_else(|| empty_cluster(&method, &path));
    let mut stream = stream;
    match said {
        Said::Answer(status, headers, body) => {
            let mut head =
                format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
            headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
            stream.write_all(format!("{head}\r\n").as_bytes())?;
            stream.write_all(&body)?;
        }
        Said::Bytes(bytes) => stream.write_all(&bytes)?,
        Said::Stall(bytes) => {
            stream.write_all(&bytes)?;
            state.held.lock().ok().context("poisoned")?.push(stream);
        }
    }
    Ok(())
}

/// The list of a kind, as the API server gives it.
pub fn list_of(need: Need, items: &Value) -> Value {
    let row = need.row();
    json!({"kind": format!("{}List", need.kind().unwrap_or_default()), "apiVersion": row.api_version(),
        "metadata": {"resourceVersion": "1"}, "items": items})
}

/// A cluster with agentk and a GitRepository of this project's URL, each with a token in a Secret, for [`LoneApi::start`].
pub fn with_agent_and_source(url: &str) -> impl Fn(&str, &str) -> Option<Said> + use<> {
    let labels = json!({"app": "agentk"});
    let template = json!({"metadata": {"labels": labels}, "spec": {
        "containers": [{"name": "agentk", "image": "agentk:v19.2.2",
            "args": ["--kas-address=wss://kas.example.com", "--token-file=/etc/agentk/secrets/token"],
            "volumeMounts": [{"name": "secret", "mountPath": "/etc/agentk/secrets"}]}],
        "volumes": [{"name": "secret", "secret": {"secretName": "agent"}}]}});
    let agentk = json!({"metadata": {"name": "agentk", "namespace": "gitlab"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}});
    let source = json!({"metadata": {"name": "x", "namespace": "flux-system"},
        "spec": {"url": url, "secretRef": {"name": "source"}, "interval": "1m"}});
    let secret = |namespace: &str, name: &str, data: Value| {
        let mut secret = json!({"kind": "Secret", "apiVersion": "v1", "data": data});
        secret["metadata"] =
            json!({"name": name, "namespace": namespace, "uid": name, "resourceVersion": "1"});
        secret
    };
    let encoded = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let token = secret("gitlab", "agent", json!({"token": encoded("some-agent-token-of-a-test")}));
    let login =
        json!({"username": encoded("gitlab+deploy-token-1"), "password": encoded("some-old-password")});
    let login = secret("flux-system", "source", login);
    move |method, path| {
        if method != "GET" {
            return None;
        }
        if path.ends_with("/namespaces/gitlab/secrets/agent") {
            return Some(Said::json(200, &token));
        }
        if path.ends_with("/namespaces/flux-system/secrets/source") {
            return Some(Said::json(200, &login));
        }
        if path.ends_with("/namespaces/gitlab/deployments/agentk") {
            let mut one = agentk.clone();
            (one["kind"], one["apiVersion"]) = (json!("Deployment"), json!("apps/v1"));
            return Some(Said::json(200, &one));
        }
        match need_of(path)? {
            need @ Need::Deployments => Some(Said::json(200, &list_of(need, &json!([agentk])))),
            need @ Need::GitRepositories => Some(Said::json(200, &list_of(need, &json!([source])))),
            _ => None,
        }
    }
}

/// What is asked for with a path, where it is a list.
pub fn need_of(path: &str) -> Option<Need> {
    let path = path.split('?').next()?;
    let listed = TABLE.iter().filter(|row| row.verb == "list");
    listed.filter(|row| path.ends_with(&format!("/{}", row.resource))).map(|row| row.need).find(|need| {
        let group = need.row().group;
        if group.is_empty() {
            path.starts_with("/api/v1/")
        } else {
            path.starts_with(&format!("/apis/{group}/"))
        }
    })
}

/// The namespaces of the empty cluster.
const NAMESPACES: [&str; 3] = ["default", "flux-system", "gitlab"];

fn empty_cluster(method: &str, path: &str) -> Said {
    if method == "POST" {
        let kind = if path.contains("/self") { "SelfSubjectAccessReview" } else { "SubjectAccessReview" };
        let review =
            json!({"kind": kind, "apiVersion": "authorization.k8s.io/v1", "status": {"allowed": true}});
        return Said::json(201, &review);
    }
    let named = path.strip_prefix("/api/v1/namespaces/").filter(|name| NAMESPACES.contains(name));
    if let Some(name) = named {
        let found = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}});
        return Said::json(200, &found);
    }
    match path {
        "/version" => Said::json(200, &json!({"gitVersion": "v1.36.3"})),
        "/apis" => Said::json(200, &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})),
        path => match need_of(path) {
            Some(Need::Namespaces) => {
                let named =
                    ["default", "flux-system", "gitlab"].map(|name| json!({"metadata": {"name": name}}));
                Said::json(200, &list_of(Need::Namespaces, &json!(named)))
            }
            Some(need) => Said::json(200, &list_of(need, &json!([]))),
            None => Said::status(404, "NotFound", &format!("{path} not found")),
        },
    }
}
