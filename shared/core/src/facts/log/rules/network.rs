//! The WebSocket handshake, and the network below it.

use super::super::super::failure::Failure;
use super::super::rule::{Effect, Rule, of, rule};

/// The WebSocket handshake.
pub(super) const HANDSHAKE: &[Rule] = &[
    rule(
        &["expected handshake response status code 101 but got 30"],
        Effect::Disconnected,
        "kasAddress lacks its trailing slash, or http is redirected to https",
        "set config.kasAddress to wss://HOST/-/kubernetes-agent/ with the trailing slash",
    ),
    rule(
        &["expected handshake response status code 101 but got 400"],
        Effect::Disconnected,
        "a proxy at kasAddress breaks the WebSocket handshake",
        "let the proxy pass `Connection: Upgrade` and `Upgrade: websocket` to kas",
    ),
    rule(
        &["expected handshake response status code 101 but got 401"],
        Effect::Disconnected,
        "a sign-in proxy stands before kas (kas itself never answers the handshake with 401)",
        "let the path of kas pass the sign-in proxy",
    ),
    rule(
        &["expected handshake response status code 101 but got 403"],
        Effect::Disconnected,
        "a firewall or sign-in proxy stands before kas (kas itself never answers the handshake with 403)",
        "let the path of kas pass the firewall",
    ),
    rule(
        &["expected handshake response status code 101 but got 404"],
        Effect::Disconnected,
        "there is no kas at kasAddress: wrong path or host, or kas is disabled",
        "set config.kasAddress to the address that GitLab shows for its kas",
    ),
    rule(
        &["expected handshake response status code 101 but got 407"],
        Effect::Disconnected,
        "a proxy before kas requires authentication",
        "allow the path of kas in the proxy, or put user and password into HTTPS_PROXY (the chart's extraEnv)",
    ),
    rule(
        &["expected handshake response status code 101 but got 421"],
        Effect::Disconnected,
        "the server at kasAddress does not serve this host name",
        "set config.kasAddress to the host name of kas, or let the load balancer serve it",
    ),
    rule(
        &["expected handshake response status code 101 but got 429"],
        Effect::Disconnected,
        "a rate limit before kas rejects agentk's connections",
        "raise the limit of the load balancer or firewall for the path of kas; agentk retries by itself",
    ),
    rule(
        &["expected handshake response status code 101 but got 200"],
        Effect::Disconnected,
        "a web page answers at kasAddress: wrong path, or a sign-in page",
        "set config.kasAddress to the address that GitLab shows for its kas, with its path",
    ),
    rule(
        &["WebSocket protocol violation"],
        Effect::Disconnected,
        "a proxy at kasAddress breaks the WebSocket handshake",
        "let the proxy pass `Connection`, `Upgrade` and `Sec-WebSocket-*` to kas and back",
    ),
    rule(
        &["expected handshake response status code 101 but got 50"],
        Effect::Disconnected,
        "a proxy answers at kasAddress, but kas behind it does not run",
        "a GitLab administrator starts kas (`gitlab-ctl status gitlab-kas`); where kas runs, check kasAddress's trailing slash",
    ),
    rule(
        &["expected handshake response status code 101 but got"],
        Effect::Disconnected,
        "a proxy at kasAddress does not let WebSocket through",
        "let the proxy pass `Connection: Upgrade` to kas",
    ),
];

/// Something that is not kas answers a call: gRPC makes a code of the HTTP status, which says nothing of the agent token
/// (grpc-go, internal/transport/http_util.go, HTTPStatusConvTab).
pub(super) const NOT_KAS: &[Rule] = &[
    rule(
        &["unexpected HTTP status code received from server: 401"],
        Effect::Disconnected,
        "a sign-in proxy answers at kasAddress in place of kas (401)",
        "let the path of kas pass the sign-in proxy",
    ),
    rule(
        &["unexpected HTTP status code received from server: 403"],
        Effect::Disconnected,
        "a firewall or sign-in proxy answers at kasAddress in place of kas (403)",
        "let the path of kas pass the firewall",
    ),
    rule(
        &["unexpected HTTP status code received from server: 404"],
        Effect::Disconnected,
        "a web server without kas answers at kasAddress (404): wrong host or port, or kas is disabled",
        "set config.kasAddress to the address that GitLab shows for its kas",
    ),
    rule(
        &["unexpected HTTP status code received from server: 429"],
        Effect::Disconnected,
        "a rate limit before kas rejects agentk's calls (429)",
        "raise the limit of the load balancer or firewall for kas; agentk retries by itself",
    ),
    rule(
        &["unexpected HTTP status code received from server: 50"],
        Effect::Disconnected,
        "a proxy answers at kasAddress, but kas behind it does not run or cannot be reached",
        "a GitLab administrator starts kas (`gitlab-ctl status gitlab-kas`) and checks the proxy's address of it",
    ),
    rule(
        &["unexpected HTTP status code received from server"],
        Effect::Disconnected,
        "a web server answers at kasAddress in place of kas",
        "set config.kasAddress to the address that GitLab shows for its kas, with its scheme and port",
    ),
    rule(
        &["code = Unimplemented desc = unknown service"],
        Effect::Disconnected,
        "a gRPC server answers at kasAddress that is not kas, or a much older kas",
        "set config.kasAddress to kas's port for agents (8150), or pin the chart to GitLab's version",
    ),
];

const KAS_IS_PLAIN: &str =
    "use the same scheme on both sides: wss:// or grpcs:// where the port speaks TLS, else ws:// or grpc://";
const REACH: &str = "allow agentk's pods to reach the host and port of kasAddress";

const UNANSWERED: Rule = of(
    Failure::Closed,
    Effect::Disconnected,
    "the connection to kasAddress is closed before any answer: a load balancer without backend, or scheme and port do not fit",
    "see that kas runs behind the load balancer; use the same scheme on both sides",
);

/// The network below it, by class: each library has its own words for the same fault.
pub(super) const TRANSPORT: &[Rule] = &[
    of(
        Failure::ProxyRefuses,
        Effect::Disconnected,
        "the HTTP(S)_PROXY that agentk is told to use does not connect it to kas",
        "allow CONNECT to the host and port of kasAddress in the proxy, with the credentials that it requires, or add the \
         host to NO_PROXY (the chart's extraEnv)",
    ),
    of(
        Failure::ProxyDown,
        Effect::Disconnected,
        "the HTTP(S)_PROXY that agentk is told to use does not answer",
        "correct the proxy in the chart's extraEnv, or add the host to NO_PROXY",
    ),
    of(
        Failure::OtherProtocol,
        Effect::Disconnected,
        "kasAddress uses wss, but the port speaks gRPC",
        "use the same scheme on both sides: grpc(s):// or ws(s)://",
    )
    .with(&["malformed HTTP response", "x00"]),
    of(
        Failure::OtherProtocol,
        Effect::Disconnected,
        "what answers at kasAddress speaks neither HTTP nor gRPC",
        "correct host and port of config.kasAddress",
    )
    .with(&["malformed HTTP"]),
    of(
        Failure::OtherProtocol,
        Effect::Disconnected,
        "the tunnel to kas stands, but what answers in it is not kas",
        "correct the path of config.kasAddress, or the proxy's backend for it",
    )
    .with(&["failed to get reader"]),
    of(
        Failure::OtherProtocol,
        Effect::Disconnected,
        "kasAddress uses grpc, but the port speaks HTTP/1 or TLS",
        "use the same scheme on both sides: grpc(s):// or ws(s)://",
    ),
    of(
        Failure::SpeaksTls,
        Effect::Disconnected,
        "kasAddress uses ws or grpc, but the port requires TLS",
        KAS_IS_PLAIN,
    ),
    of(
        Failure::SpeaksPlain,
        Effect::Disconnected,
        "kasAddress uses wss or grpcs, but the port speaks plain text",
        "use the same scheme on both sides",
    ),
    of(
        Failure::UnknownAuthority,
        Effect::Disconnected,
        "agentk does not trust the authority that signed kas's certificate",
        "put the authority's certificate into config.kasCaCert",
    )
    .with(&["unknown authority"]),
    of(
        Failure::UnknownAuthority,
        Effect::Disconnected,
        "the certificate of kas cannot be verified",
        "renew kas's certificate, with its intermediate certificates, or put the authority's certificate into config.kasCaCert",
    ),
    of(
        Failure::Expired,
        Effect::Disconnected,
        "the certificate of kas has expired, or is not valid yet",
        "renew kas's certificate; compare the clocks of the node and of kas",
    ),
    of(
        Failure::NotYetValid,
        Effect::Disconnected,
        "the certificate of kas is not valid yet, or the node's clock is slow",
        "compare the clocks of the node and of kas; renew kas's certificate where they agree",
    ),
    of(
        Failure::WrongHost,
        Effect::Disconnected,
        "the certificate of kas is for another host name than kasAddress has",
        "set config.kasAddress to a host name that the certificate holds, or renew the certificate",
    )
    .with(&["is valid for"]),
    of(
        Failure::WrongHost,
        Effect::Disconnected,
        "the server at kasAddress does not know this host name (TLS: unrecognized name)",
        "set config.kasAddress to the host name of kas, or let the load balancer serve it",
    )
    .with(&["unrecognized name"]),
    of(
        Failure::WrongHost,
        Effect::Disconnected,
        "the certificate of kas is not valid for this address",
        "renew kas's certificate, or use the host name it was made for",
    ),
    of(
        Failure::ClientCertificate,
        Effect::Disconnected,
        "the server at kasAddress requires a TLS client certificate, which agentk does not have",
        "exempt the path of kas from client certificates at the load balancer: agentk signs in with its token",
    ),
    of(
        Failure::Handshake,
        Effect::Disconnected,
        "the load balancer before kas does not offer HTTP/2 over TLS (ALPN h2), which grpcs needs",
        "enable HTTP/2 at the load balancer, or use the wss:// address of kas",
    )
    .with(&["ALPN"]),
    of(
        Failure::Handshake,
        Effect::Disconnected,
        "the server at kasAddress and agentk have no TLS version in common (agentk needs TLS 1.2 or newer)",
        "enable TLS 1.2 or 1.3 at the load balancer before kas",
    )
    .with(&["protocol version"]),
    of(
        Failure::Handshake,
        Effect::Disconnected,
        "the server at kasAddress rejects agentk's TLS handshake: no cipher in common, or it requires a client certificate",
        "compare the TLS settings of the load balancer before kas with TLS 1.2's usual ciphers; exempt the path of kas from \
         client certificates",
    ),
    of(
        Failure::NameNotFound,
        Effect::Disconnected,
        "the host of kasAddress does not resolve in the cluster",
        "correct config.kasAddress, or the cluster's DNS",
    ),
    of(
        Failure::Resolver,
        Effect::Disconnected,
        "the cluster's DNS does not answer agentk, so that the host of kasAddress does not resolve",
        "look at CoreDNS and its upstream servers (`kubectl -n kube-system logs -l k8s-app=kube-dns`), and at egress policies \
         for port 53",
    ),
    of(
        Failure::Refused,
        Effect::Disconnected,
        "nobody listens at kasAddress",
        "start kas, or correct host and port of config.kasAddress",
    ),
    of(
        Failure::NoRoute,
        Effect::Disconnected,
        "the cluster's network has no route to kasAddress, or a firewall of the node rejects it",
        REACH,
    ),
    of(
        Failure::Reset,
        Effect::Disconnected,
        "the connection to kas was reset while in use: kas restarted, or something between ends connections",
        "see that kas runs; let load balancers and firewalls keep long connections",
    )
    .with(&["error reading from server"]),
    of(
        Failure::Reset,
        Effect::Disconnected,
        "something before kas resets agentk's connections: a firewall that filters host names, or a port without a server",
        REACH,
    ),
    of(
        Failure::Closed,
        Effect::Disconnected,
        "the connection to kas ended while in use: kas restarted, or something between ends connections",
        "see that kas runs; let load balancers and firewalls keep long connections",
    )
    .with(&["error reading from server"]),
    of(
        Failure::Closed,
        Effect::Disconnected,
        "the tunnel to kas is ended as soon as it stands: kas behind the proxy restarts or rejects it",
        "a GitLab administrator reads the logs of kas and of the proxy before it",
    )
    .with(&["failed to get reader"]),
    UNANSWERED.with(&["error reading server preface"]),
    UNANSWERED.with(&["sent GOAWAY"]),
    UNANSWERED.with(&["handshake"]),
    UNANSWERED.with(&["Error while dialing"]),
    of(
        Failure::DialTimeout,
        Effect::Disconnected,
        "packets to kasAddress get no answer (firewall or egress policy)",
        REACH,
    ),
    of(
        Failure::HandshakeTimeout,
        Effect::Disconnected,
        "the server at kasAddress accepts the connection and does not answer the TLS handshake",
        "see that the port speaks TLS, and that no firewall holds the connection",
    ),
    of(
        Failure::AnswerTimeout,
        Effect::Disconnected,
        "kas does not answer in time (firewall, egress policy or load)",
        "allow agentk's pods to reach the host and port of kasAddress; look at the load of kas",
    ),
    of(
        Failure::Timeout,
        Effect::Disconnected,
        "kas does not answer in time (firewall, egress policy or load)",
        "allow agentk's pods to reach the host and port of kasAddress; look at the load of kas",
    ),
    of(
        Failure::DiskFull,
        Effect::Other,
        "a volume that agentk writes to is full",
        "free space on the node, or make the volume larger",
    ),
    of(
        Failure::OutOfMemory,
        Effect::Other,
        "agentk runs out of memory",
        "raise resources.limits.memory in the chart's values",
    ),
];
