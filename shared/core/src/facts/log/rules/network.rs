//! The WebSocket handshake, and the network below it.

use super::super::rule::{Effect, Rule, rule};

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

/// The network below it.
pub(super) const TRANSPORT: &[Rule] = &[
    rule(
        &["proxyconnect tcp"],
        Effect::Disconnected,
        "the HTTP(S)_PROXY that agentk is told to use does not answer",
        "correct the proxy in the chart's extraEnv, or add the host to NO_PROXY",
    ),
    rule(
        &["malformed HTTP response"],
        Effect::Disconnected,
        "kasAddress uses wss, but the port speaks gRPC",
        "use the same scheme on both sides: grpc(s):// or ws(s)://",
    ),
    rule(
        &["http2: frame too large"],
        Effect::Disconnected,
        "kasAddress uses grpc, but the port speaks HTTP/1 or TLS",
        "use the same scheme on both sides: grpc(s):// or ws(s)://",
    ),
    rule(
        &["server sent GOAWAY"],
        Effect::Disconnected,
        "the server at kasAddress ends the connection: scheme and port do not fit",
        "use the same scheme on both sides: grpc(s):// or ws(s)://",
    ),
    rule(
        &["first record does not look like a TLS handshake"],
        Effect::Disconnected,
        "kasAddress uses wss or grpcs, but the port speaks plain text",
        "use the same scheme on both sides",
    ),
    rule(
        &["certificate signed by unknown authority"],
        Effect::Disconnected,
        "agentk does not trust the authority that signed kas's certificate",
        "put the authority's certificate into config.kasCaCert",
    ),
    rule(
        &["x509:", "has expired"],
        Effect::Disconnected,
        "the certificate of kas has expired, or is not valid yet",
        "renew kas's certificate; compare the clocks of the node and of kas",
    ),
    rule(
        &["x509:", "is valid for"],
        Effect::Disconnected,
        "the certificate of kas is for another host name than kasAddress has",
        "set config.kasAddress to a host name that the certificate holds, or renew the certificate",
    ),
    rule(
        &["x509:"],
        Effect::Disconnected,
        "the certificate of kas is not valid for this address",
        "renew kas's certificate, or use the host name it was made for",
    ),
    rule(
        &["no such host"],
        Effect::Disconnected,
        "the host of kasAddress does not resolve in the cluster",
        "correct config.kasAddress, or the cluster's DNS",
    ),
    rule(
        &["connection refused"],
        Effect::Disconnected,
        "nobody listens at kasAddress",
        "start kas, or correct host and port of config.kasAddress",
    ),
    rule(
        &["i/o timeout"],
        Effect::Disconnected,
        "packets to kasAddress get no answer (firewall or egress policy)",
        "allow agentk's pods to reach the host and port of kasAddress",
    ),
    rule(
        &["context deadline exceeded"],
        Effect::Disconnected,
        "kas does not answer in time (firewall, egress policy or load)",
        "allow agentk's pods to reach the host and port of kasAddress; look at the load of kas",
    ),
];
