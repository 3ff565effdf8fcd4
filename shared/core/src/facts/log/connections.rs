//! What a real dialer of agentk's kind logs against listeners that misbehave, with the cause that it must be told as. The
//! lines are the output of a Go program with agentk's libraries (`tests/world/components/kas-errors`), which a test of
//! the world compares with the present one.

use jiff::Timestamp;
use serde::Deserialize;

use super::*;

const LINES: &str = include_str!("../../../../../tests/world/components/kas-errors/errors.jsonl");

#[derive(Deserialize)]
struct Line {
    situation: String,
    json: String,
    text: String,
}

/// The cause of each situation, by a part of it.
const CAUSES: &[(&str, &str)] = &[
    ("grpc: HTTP at the port", "speaks HTTP/1 or TLS"),
    ("grpc: TLS at the port", "closed before any answer"),
    ("grpc: closed before the preface", "closed before any answer"),
    ("grpc: name not found", "does not resolve in the cluster"),
    ("grpc: name without address", "does not resolve in the cluster"),
    ("grpc: neither TLS nor HTTP at the port", "speaks HTTP/1 or TLS"),
    ("grpc: refused", "nobody listens"),
    ("grpc: reset before the preface", "resets agentk's connections"),
    ("grpc: resolver fails", "DNS does not answer"),
    ("grpc: resolver is silent", "DNS does not answer"),
    ("grpc: silent", "packets to kasAddress get no answer"),
    ("grpcs: answered Bad Gateway", "kas behind it"),
    ("grpcs: answered Bad Request", "a web server answers"),
    ("grpcs: answered Forbidden", "firewall or sign-in proxy answers"),
    ("grpcs: answered Found", "a web server answers"),
    ("grpcs: answered Gateway Timeout", "kas behind it"),
    ("grpcs: answered Internal Server Error", "kas behind it"),
    ("grpcs: answered Not Found", "a web server without kas"),
    ("grpcs: answered OK", "a web server answers"),
    ("grpcs: answered Service Unavailable", "kas behind it"),
    ("grpcs: answered Too Many Requests", "a rate limit before kas rejects agentk's calls"),
    ("grpcs: answered Unauthorized", "a sign-in proxy answers"),
    ("grpcs: client certificate wanted (TLS 1.2)", "or it requires a client certificate"),
    ("grpcs: client certificate wanted (TLS 1.3)", "requires a TLS client certificate"),
    ("grpcs: client certificate wanted by HTTP", "a web server answers"),
    ("grpcs: closed after the handshake", "closed before any answer"),
    ("grpcs: closed before the handshake", "closed before any answer"),
    ("grpcs: expired", "has expired"),
    ("grpcs: old TLS", "no TLS version in common"),
    ("grpcs: other name", "another host name"),
    ("grpcs: plain HTTP at the port", "speaks plain text"),
    ("grpcs: plain gRPC at the port", "speaks plain text"),
    ("grpcs: proxy closes", "HTTP(S)_PROXY that agentk is told to use does not answer"),
    ("grpcs: proxy refuses", "does not connect it to kas"),
    ("grpcs: proxy wants a sign-in", "does not connect it to kas"),
    ("grpcs: reset after the handshake", "resets agentk's connections"),
    ("grpcs: reset before the handshake", "resets agentk's connections"),
    ("grpcs: server without ALPN", "does not offer HTTP/2"),
    ("grpcs: silent in the handshake", "packets to kasAddress get no answer"),
    ("grpcs: unknown authority", "does not trust"),
    ("https: unsupported scheme", "https is not one"),
    ("kas: call refused", "because of a rate limit"),
    ("kas: call unknown", "not kas, or a much older kas"),
    ("kas: connection lost in a call", "ended while in use"),
    ("kas: connection reset in a call", "reset while in use"),
    ("kas: deadline", "in time"),
    ("kas: internal error", "internal error"),
    ("kas: no answer to a call", "in time"),
    ("kas: quota", "because of a rate limit"),
    ("kas: rate limit", "because of a rate limit"),
    ("kas: token breaks the protocol", "breaks the protocol"),
    ("kas: token refused", "refuses the agent token"),
    ("kas: too many pings", "pings too often"),
    ("kas: unavailable", "cannot ask GitLab"),
    ("ws: TLS at the port", "breaks the WebSocket handshake"),
    ("ws: TLS without HTTP at the port", "the port requires TLS"),
    ("ws: gRPC at the port", "the port speaks gRPC"),
    ("wss: address without a name", "not valid for this address"),
    ("wss: answered Bad Gateway", "does not run"),
    ("wss: answered Bad Request", "breaks the WebSocket handshake"),
    ("wss: answered Forbidden", "firewall"),
    ("wss: answered Found", "trailing slash"),
    ("wss: answered Gateway Timeout", "does not run"),
    ("wss: answered Internal Server Error", "does not run"),
    ("wss: answered Misdirected Request", "does not serve this host name"),
    ("wss: answered Moved Permanently", "trailing slash"),
    ("wss: answered Not Found", "there is no kas"),
    ("wss: answered OK", "a web page answers"),
    ("wss: answered Permanent Redirect", "trailing slash"),
    ("wss: answered Proxy Authentication Required", "a proxy before kas requires authentication"),
    ("wss: answered Service Unavailable", "does not run"),
    ("wss: answered Too Many Requests", "a rate limit before kas"),
    ("wss: answered Unauthorized", "sign-in proxy"),
    ("wss: answered Upgrade Required", "does not let WebSocket"),
    ("wss: certificate of a client", "not valid for this address"),
    ("wss: client certificate wanted (TLS 1.2)", "or it requires a client certificate"),
    ("wss: client certificate wanted (TLS 1.3)", "requires a TLS client certificate"),
    ("wss: closed after the handshake", "closed before any answer"),
    ("wss: closed before the handshake", "closed before any answer"),
    ("wss: connection times out", "packets to kasAddress"),
    ("wss: connection times out in the kernel", "packets to kasAddress"),
    ("wss: expired", "has expired"),
    ("wss: gRPC with TLS at the port", "closed before any answer"),
    ("wss: name not found", "does not resolve in the cluster"),
    ("wss: name without address", "does not resolve in the cluster"),
    ("wss: neither TLS nor HTTP at the port", "speaks plain text"),
    ("wss: network unreachable", "no route"),
    ("wss: no cipher in common", "no cipher in common"),
    ("wss: no permission", "no route"),
    ("wss: no route", "no route"),
    ("wss: not upgraded", "breaks the WebSocket handshake"),
    ("wss: not yet valid", "not valid yet"),
    ("wss: old TLS", "no TLS version in common"),
    ("wss: only a common name", "not valid for this address"),
    ("wss: other name", "another host name"),
    ("wss: plain HTTP at the port", "speaks plain text"),
    ("wss: plain gRPC at the port", "speaks plain text"),
    ("wss: proxy closes", "closed before any answer"),
    ("wss: proxy does not listen", "HTTP(S)_PROXY that agentk is told to use does not answer"),
    ("wss: proxy does not reach it", "does not connect it to kas"),
    ("wss: proxy has no CONNECT", "does not connect it to kas"),
    ("wss: proxy is none", "neither HTTP nor gRPC"),
    ("wss: proxy is unavailable", "does not connect it to kas"),
    ("wss: proxy not found", "HTTP(S)_PROXY that agentk is told to use does not answer"),
    ("wss: proxy refuses", "does not connect it to kas"),
    ("wss: proxy wants a sign-in", "does not connect it to kas"),
    ("wss: refused", "nobody listens"),
    ("wss: reset after the handshake", "resets agentk's connections"),
    ("wss: reset before the handshake", "resets agentk's connections"),
    ("wss: resolver fails", "DNS does not answer"),
    ("wss: resolver is silent", "DNS does not answer"),
    ("wss: server knows no such name", "unrecognized name"),
    ("wss: silent after the handshake", "in time"),
    ("wss: silent in the handshake", "does not answer the TLS handshake"),
    ("wss: tunnel closed before the preface", "closed before any answer"),
    ("wss: tunnel dropped before the preface", "as soon as it stands"),
    ("wss: tunnel ended by a policy", "as soon as it stands"),
    ("wss: tunnel ended for a restart", "as soon as it stands"),
    ("wss: tunnel without gRPC", "speaks HTTP/1 or TLS"),
    ("wss: unknown authority", "does not trust"),
    ("wss: wrong key", "breaks the WebSocket handshake"),
    ("wss: wrong upgrade", "breaks the WebSocket handshake"),
];

fn lines() -> Vec<Line> {
    LINES.lines().map(|line| serde_json::from_str(line).expect("a line of the fixture")).collect()
}

#[test]
fn every_situation_has_its_cause_in_both_forms() {
    for line in lines() {
        let known = CAUSES.iter().find(|(situation, _)| *situation == line.situation);
        let (_, cause) = known.unwrap_or_else(|| panic!("no cause is told of: {}", line.situation));
        for form in [&line.json, &line.text] {
            let read = LogLine::parse(form, Timestamp::UNIX_EPOCH);
            assert!(read.at.is_some() && read.level == Level::Error, "{form}");
            let rule = read.fault().unwrap_or_else(|| panic!("no rule: {form}"));
            assert!(
                rule.cause.contains(cause),
                "{}: {} is told as: {}",
                line.situation,
                read.error,
                rule.cause
            );
            assert!(!rule.remedy.is_empty());
        }
    }
    assert_eq!(lines().len(), CAUSES.len(), "a cause without its situation");
}

/// No situation ends in the sentence that says nothing, and only kas's own word makes the token the cause.
#[test]
fn none_is_unknown_and_only_kas_refuses_the_token() {
    for line in lines() {
        let read = LogLine::parse(&line.json, Timestamp::UNIX_EPOCH);
        let rule = read.fault().expect("known");
        assert!(!rule.cause.contains("cannot register with kas"), "{}", line.situation);
        let is_token = line.situation.starts_with("kas: token");
        assert_eq!(rule.effect == Effect::TokenRefused, is_token, "{}", line.situation);
    }
}
