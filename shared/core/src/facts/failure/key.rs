//! What failures have in common: the class and its peer, where the text leaves no doubt about both. Failures with one key
//! have one cause, whichever objects and checks show them.

use std::fmt;

use super::Failure::{self, *};
use crate::facts::host::host_and_port;
use crate::object::ObjectRef;

/// The key of a failure.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FailureKey {
    /// The class. Of classes that one fault shows by turns (a connection that is dropped times out while it is dialed, or
    /// while the answer is awaited) one stands for all.
    pub class: Failure,
    /// Whom it is about.
    pub peer: Peer,
}

/// Whom a failure is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// A host, with the port where it matters: `gitlab.example.com:443`.
    Host(String),
    /// The address of the DNS resolver.
    Resolver(String),
    /// The address of a proxy.
    Proxy(String),
    /// The certificate authority that signed what is not trusted.
    Authority(String),
    /// An admission webhook.
    Webhook(String),
    /// A kind that is not served, with its API version.
    Kind(String),
    /// The API server's database.
    Database,
    /// What keeps pods off all nodes, as the scheduler names it: `taint {key: value}`.
    Nodes(String),
    /// An object: the Secret of a credential, the ResourceQuota, the Deployment whose volume is full.
    Object(ObjectRef),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => f.write_str(name),
            Self::Resolver(address) => write!(f, "resolver {address}"),
            Self::Proxy(address) => write!(f, "proxy {address}"),
            Self::Authority(name) => write!(f, "authority {name}"),
            Self::Webhook(name) => write!(f, "webhook {name}"),
            Self::Kind(name) => f.write_str(name),
            Self::Database => f.write_str("the API server's etcd"),
            Self::Nodes(what) => f.write_str(what),
            Self::Object(object) => object.fmt(f),
        }
    }
}

/// Who failed, for what the text leaves out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Failing<'a> {
    /// The URL that it asks.
    pub url: &'a str,
    /// The Secret that it signs in with.
    pub credential: Option<&'a ObjectRef>,
    /// The Deployment that did the work, and whose volumes it wrote to.
    pub worker: Option<&'a ObjectRef>,
    /// The namespace of what was to be created.
    pub namespace: &'a str,
}

impl FailureKey {
    /// The key of a failure of this class, from its text.
    pub fn of(class: Failure, text: &str, who: &Failing<'_>) -> Option<Self> {
        let class = class.family();
        let host = |port| remote(text, who.url, port).map(Peer::Host);
        let peer = match class {
            NameNotFound => Peer::Host(looked_up(text).or_else(|| remote(text, who.url, false))?),
            Resolver => Peer::Resolver(resolver(text)?),
            ProxyDown => Peer::Proxy(proxy(text)?),
            UnknownAuthority => authority(text).map(Peer::Authority).or_else(|| host(true))?,
            WebhookDown => Peer::Webhook(quoted(text, "webhook \"")?),
            ApiNotServed => Peer::Kind(not_served(text)?),
            Quota => Peer::Object(quota(text, who.namespace)?),
            DiskFull if text.contains("database space exceeded") => Peer::Database,
            Tainted => Peer::Nodes(taint_of_all(text)?),
            // What the kubelet says of a pod's volume is that pod's alone.
            DiskFull => Peer::Object(who.worker.filter(|_| is_written(text))?.clone()),
            CredentialRefused => Peer::Object(who.credential?.clone()),
            RateLimited | ServerError => host(false)?,
            class if class.is_network() || class.is_tls() || class.is_host_key() => host(true)?,
            _ => return None,
        };
        Some(Self { class, peer })
    }
}

impl Failure {
    /// The class that stands for those that one fault shows by turns.
    fn family(self) -> Self {
        match self {
            class if class.is_credential() => CredentialRefused,
            class if class.is_time() => Timeout,
            Reset => Closed,
            class => class,
        }
    }
}

/// The taint that all nodes have: `0/3 nodes are available: 3 node(s) had untolerated taint {key: value}`, with `taint(s)` and no
/// name since Kubernetes 1.35 (scheduler, `plugins/tainttoleration`). Where the numbers differ, other nodes have other reasons.
fn taint_of_all(text: &str) -> Option<String> {
    let (before, rest) = text.split_once(" nodes are available: ")?;
    let all = before.rsplit_once('/')?.1;
    let said = rest.strip_prefix(all)?.strip_prefix(" node(s) ")?;
    if said.starts_with("were unschedulable") {
        return Some("cordoned nodes".to_owned());
    }
    let taint = said.strip_prefix("had untolerated taint")?;
    let named = taint.strip_prefix(' ').and_then(|t| Some(&t[..=t.find('}')?]));
    Some(named.map_or_else(|| "taints of the nodes".to_owned(), |t| format!("taint {t}")))
}

/// The text between a beginning and the next quotation mark.
fn quoted(text: &str, beginning: &str) -> Option<String> {
    let (_, rest) = text.split_once(beginning)?;
    let name = rest.split('"').next()?.trim_end_matches('\\');
    (!name.is_empty()).then(|| name.to_owned())
}

/// The word behind a text, without what a sentence puts behind it.
fn word_behind(text: &str, beginning: &str) -> Option<String> {
    let (_, rest) = text.split_once(beginning)?;
    let word = rest.split([' ', ',', '"', '\'', ';', '\n']).next()?.trim_end_matches([':', '.', ')']);
    (!word.is_empty()).then(|| word.to_owned())
}

/// The name that was looked up (`net/dnsclient_unix.go`; curl, OpenSSH).
fn looked_up(text: &str) -> Option<String> {
    const BEFORE: &[&str] = &[": lookup ", "Could not resolve host: ", "Could not resolve hostname "];
    let begins = || text.strip_prefix("lookup ").and_then(|rest| word_behind(rest, ""));
    BEFORE.iter().find_map(|before| word_behind(text, before)).or_else(begins)
}

/// The resolver's address: `lookup h on 10.96.0.10:53: …`.
fn resolver(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("lookup ")?;
    let address = word_behind(rest, " on ")?;
    address.contains(':').then_some(address)
}

/// The proxy's address: `proxyconnect tcp: dial tcp 10.0.0.5:3128: …`.
fn proxy(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("proxyconnect tcp: ")?;
    word_behind(rest, "dial tcp ").filter(|word| word != "lookup").or_else(|| word_behind(rest, "lookup "))
}

/// `… while trying to verify candidate authority certificate "NAME"` (`crypto/x509/verify.go`).
fn authority(text: &str) -> Option<String> {
    quoted(&text.replace("\\\"", "\""), "candidate authority certificate \"")
}

/// `no matches for kind "K" in version "g/v"` (apimachinery, api/meta).
fn not_served(text: &str) -> Option<String> {
    let kind = quoted(text, "no matches for kind \"")?;
    Some(format!("{kind} {}", quoted(text, "in version \"")?))
}

/// `exceeded quota: NAME, requested: …` (apiserver, plugin/resourcequota).
fn quota(text: &str, namespace: &str) -> Option<ObjectRef> {
    let name = word_behind(text, "exceeded quota: ")?;
    (!namespace.is_empty()).then(|| ObjectRef::new("ResourceQuota", namespace, &name))
}

/// Whether a process wrote to a disk of its own.
fn is_written(text: &str) -> bool {
    let text = text.to_lowercase();
    ["no space left on device", "disk quota exceeded", "read-only file system"]
        .iter()
        .any(|t| text.contains(t))
}

/// Ports that a URL leaves out.
const PORTS: &[(&str, &str)] = &[
    ("https", "443"),
    ("http", "80"),
    ("ssh", "22"),
    ("oci", "443"),
    ("wss", "443"),
    ("ws", "80"),
    ("grpc", "80"),
    ("grpcs", "443"),
];

/// The host that was asked: that of the last URL in the text, else of the URL that is known, else the address that was
/// dialed.
fn remote(text: &str, url: &str, with_port: bool) -> Option<String> {
    let urls = || text.rmatch_indices("://").filter_map(|(at, _)| of_url(text, at, with_port));
    let known = || of_url(url, url.find("://")?, with_port);
    let dialed = || {
        let address = word_behind(text, "dial tcp ").filter(|word| word != "lookup")?;
        let (host, _) = address.rsplit_once(':')?;
        Some(if with_port { address.clone() } else { host.to_owned() })
    };
    urls().next().or_else(known).or_else(dialed)
}

/// The host of the URL in a text whose `://` is at a place.
fn of_url(text: &str, at: usize, with_port: bool) -> Option<String> {
    let begin = text[..at].rfind(|c: char| !c.is_ascii_alphanumeric() && c != '+').map_or(0, |at| at + 1);
    let end = text[at..]
        .find(|c: char| c.is_whitespace() || "\"'`,;<>".contains(c))
        .map_or(text.len(), |end| at + end);
    let url = text.get(begin..end)?;
    let (host, port) = host_and_port(url)?;
    let (host, scheme) = (host.trim_end_matches('.').to_lowercase(), url.split(':').next()?);
    let port = if port.is_empty() { PORTS.iter().find(|(known, _)| *known == scheme)?.1 } else { port };
    let port = port.trim_end_matches(':');
    Some(if with_port { format!("{host}:{port}") } else { host })
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    /// The peer of a text, as GitRepository `https://git.example.com/a.git` of source-controller shows it.
    fn peer(text: &str) -> Option<String> {
        let (secret, worker) = (
            ObjectRef::new("Secret", "n", "token"),
            ObjectRef::new("Deployment", "flux-system", "source-controller"),
        );
        let who = Failing {
            url: "https://git.example.com/a.git",
            credential: Some(&secret),
            worker: Some(&worker),
            namespace: "n",
        };
        Some(FailureKey::of(read(text), text, &who)?.peer.to_string())
    }

    #[test]
    fn the_peer_is_whom_the_text_is_about() {
        for (text, expected) in [
            ("dial tcp: lookup git.example.com on 10.96.0.10:53: no such host", "git.example.com"),
            ("Get \"https://a.b/x\": dial tcp: lookup a.b: no such host", "a.b"),
            ("lookup a.b: no such host", "a.b"),
            ("fatal: unable to access 'https://h/': Could not resolve host: h", "h"),
            ("name resolver error: produced zero addresses", "git.example.com"),
            ("dial tcp: lookup h on 10.96.0.10:53: server misbehaving", "resolver 10.96.0.10:53"),
            (
                "dial tcp: lookup h on [fd00::a]:53: read udp [fd00::8]:41000->[fd00::a]:53: i/o timeout",
                "resolver [fd00::a]:53",
            ),
            ("dial tcp 10.0.0.1:443: connect: connection refused", "git.example.com:443"),
            (
                "Get \"https://Registry.example.com./v2/\": dial tcp 10.0.0.1:443: connect: connection refused",
                "registry.example.com:443",
            ),
            ("Get \"https://a:8443/v2/\": Get \"https://auth.b/token?scope=x\": EOF", "auth.b:443"),
            ("unable to clone 'ssh://git@h/x.git': dial tcp 10.0.0.1:22: i/o timeout", "h:22"),
            ("proxyconnect tcp: dial tcp 10.0.0.5:3128: connect: connection refused", "proxy 10.0.0.5:3128"),
            ("proxyconnect tcp: dial tcp: lookup proxy.corp: no such host", "proxy proxy.corp"),
            ("x509: certificate signed by unknown authority", "git.example.com:443"),
            (
                "x509: certificate signed by unknown authority (possibly because of \"crypto/rsa: verification error\" while trying to verify candidate authority certificate \"Corp Root\")",
                "authority Corp Root",
            ),
            (
                "x509: certificate has expired or is not yet valid: current time 2026-11-02 is after 2026-10-01",
                "git.example.com:443",
            ),
            ("knownhosts: key mismatch", "git.example.com:443"),
            (
                "Internal error occurred: failed calling webhook \"webhook.cert-manager.io\": failed to call webhook: EOF",
                "webhook webhook.cert-manager.io",
            ),
            (
                "X/a/b dry-run failed: no matches for kind \"ExternalSecret\" in version \"external-secrets.io/v1\"",
                "ExternalSecret external-secrets.io/v1",
            ),
            (
                "pods \"web-1\" is forbidden: exceeded quota: compute, requested: cpu=1",
                "ResourceQuota n/compute",
            ),
            ("write /data/x: no space left on device", "Deployment flux-system/source-controller"),
            ("etcdserver: mvcc: database space exceeded", "the API server's etcd"),
            ("authentication required", "Secret n/token"),
            ("failed to fetch https://h/index.yaml : 429 Too Many Requests", "h"),
            ("GET https://h:8443/x: 503 Service Unavailable", "h"),
        ] {
            assert_eq!(peer(text).as_deref(), Some(expected), "{text}: {:?}", read(text));
        }
    }

    #[test]
    fn what_is_not_certain_has_no_key() {
        for text in [
            "lookup h: i/o timeout",
            "something new",
            "couldn't find remote ref",
            "repository not found",
            "kustomize build failed: x",
            "The node was low on resource: ephemeral-storage.",
            "admission webhook \"policy\" denied the request: no",
            "failed calling webhook",
            "resource mapping not found for",
        ] {
            assert_eq!(peer(text), None, "{text}: {:?}", read(text));
        }
    }

    #[test]
    fn one_fault_that_shows_by_turns_has_one_key() {
        let key = |text: &str| {
            let who = Failing { url: "https://h", ..Failing::default() };
            FailureKey::of(read(text), text, &who)
        };
        for (one, other) in [
            ("dial tcp 10.0.0.1:443: i/o timeout", "context deadline exceeded"),
            ("net/http: TLS handshake timeout", "Client.Timeout exceeded while awaiting headers"),
            ("read: connection reset by peer", "unexpected EOF"),
        ] {
            assert!(key(one).is_some(), "{one}");
            assert_eq!(key(one), key(other), "{one} | {other}");
        }
        assert_ne!(
            key("dial tcp 10.0.0.1:443: i/o timeout"),
            key("dial tcp 10.0.0.1:443: connect: connection refused")
        );
    }
}
