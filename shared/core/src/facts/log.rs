//! agentk's log: JSON lines of zap (16.x, lower-case levels) or slog (17.x and newer, capitals), and plain lines
//! that a dying process writes. Known faults are told by the table [`RULES`].

use jiff::Timestamp;
use serde::Deserialize;

/// One line of agentk's log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// When, where the line says so.
    pub at: Option<Timestamp>,
    /// How grave.
    pub level: Level,
    /// `msg`, or the whole line where it is not JSON.
    pub message: String,
    /// `mod_name`; names changed over the versions (`reverse_tunnel`, `agentk2kas_tunnel`, `agent2kas_tunnel`).
    pub module: String,
    /// `error` or `err`.
    pub error: String,
}

/// Levels in rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// `debug`
    Debug,
    /// `info`
    Info,
    /// `warn`
    Warn,
    /// `error`
    Error,
    /// A line that is not JSON: agentk writes such a line only when it ends, and Go when it panics.
    Plain,
}

/// A known fault of agentk, recognised by what its line contains.
#[derive(Debug)]
pub struct Rule {
    /// All of these substrings occur in message and error.
    pub texts: &'static [&'static str],
    /// What it means.
    pub cause: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
    /// What it stops.
    pub effect: Effect,
}

/// What a fault stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// GitLab refuses the agent token.
    TokenRefused,
    /// agentk is not connected to kas.
    Disconnected,
    /// agentk's Flux module does not work; the connection may.
    FluxModule,
    /// Something else.
    Other,
}

const fn rule(
    texts: &'static [&'static str],
    effect: Effect,
    cause: &'static str,
    remedy: &'static str,
) -> Rule {
    Rule { texts, cause, remedy, effect }
}

/// Known faults, more telling ones first: the text behind the sentence decides, not the sentence
/// (GitLab, "Troubleshooting the GitLab agent for Kubernetes", and agentk watched while failing).
pub const RULES: &[Rule] = &[
    rule(
        &["code = Unauthenticated"],
        Effect::TokenRefused,
        "GitLab refuses the agent token: it was revoked, is of another instance, or the agent was deleted",
        "create a new token for the agent, put it into the Secret and restart agentk",
    ),
    rule(
        &["code = NotFound desc = agent not found"],
        Effect::Disconnected,
        "kas reaches a GitLab that does not know this agent",
        "check that kasAddress is that of the GitLab instance where the agent is registered",
    ),
    rule(
        &["code = PermissionDenied desc = forbidden"],
        Effect::Disconnected,
        "GitLab refuses kas (the shared secret of kas and Rails differs)",
        "a GitLab administrator compares the kas secret of both",
    ),
    rule(
        &["code = NotFound desc = Config: repository poll failed"],
        Effect::Disconnected,
        "the agent's configuration project is gone or has no repository",
        "restore the project, or register the agent in another one",
    ),
    rule(
        &["code = FailedPrecondition desc = Config:"],
        Effect::Disconnected,
        "the agent's configuration file is invalid: one unknown key rejects the whole file",
        "correct `.gitlab/agents/<name>/config.yaml` in the configuration project",
    ),
    rule(
        &["Decompressor is not installed for grpc-encoding"],
        Effect::Disconnected,
        "agentk is newer than kas",
        "pin the chart to the GitLab server's major.minor version",
    ),
    rule(
        &["expected handshake response status code 101 but got 301"],
        Effect::Disconnected,
        "kasAddress lacks its trailing slash, or http is redirected to https",
        "set config.kasAddress to wss://HOST/-/kubernetes-agent/ with the trailing slash",
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
        "a GitLab administrator starts kas (`gitlab-ctl status gitlab-kas`)",
    ),
    rule(
        &["expected handshake response status code 101 but got"],
        Effect::Disconnected,
        "a proxy at kasAddress does not let WebSocket through",
        "let the proxy pass `Connection: Upgrade` to kas",
    ),
    rule(
        &["malformed HTTP response"],
        Effect::Disconnected,
        "kasAddress uses wss, but the port speaks gRPC",
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
        &["x509:"],
        Effect::Disconnected,
        "the certificate of kas is not valid for this address, or expired",
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
        &["proxyconnect tcp"],
        Effect::Disconnected,
        "the HTTP(S)_PROXY that agentk is told to use does not answer",
        "correct the proxy in the chart's extraEnv, or add the host to NO_PROXY",
    ),
    rule(
        &["i/o timeout"],
        Effect::Disconnected,
        "packets to kasAddress get no answer (firewall or egress policy)",
        "allow agentk's pods to reach the host and port of kasAddress",
    ),
    rule(
        &["unsupported scheme in GitLab Kubernetes Agent Server address"],
        Effect::Disconnected,
        "kasAddress has a scheme that agentk does not know; https is not one",
        "use wss://, ws://, grpcs:// or grpc://",
    ),
    rule(
        &["token file:", "no such file"],
        Effect::Disconnected,
        "the token Secret is not mounted, or has no key `token`",
        "set config.secretName to a Secret that has a key `token`",
    ),
    rule(
        &["agent token not set"],
        Effect::Disconnected,
        "agentk was given no token",
        "set config.secretName to a Secret that has a key `token`",
    ),
    rule(
        &["unable to use both token file and AGENTK_TOKEN"],
        Effect::Disconnected,
        "agentk was given a token twice: as a file and as AGENTK_TOKEN",
        "remove AGENTK_TOKEN from the chart's extraEnv",
    ),
    rule(
        &["code = Unavailable desc = unavailable"],
        Effect::Disconnected,
        "kas runs, but cannot ask GitLab",
        "a GitLab administrator reads kas's log for `AgentInfo()`",
    ),
    rule(
        &["error retrieving resource lock", "forbidden"],
        Effect::FluxModule,
        "agentk may not use Leases in its namespace, so no pod becomes leader",
        "grant its service account get, create and update on leases.coordination.k8s.io",
    ),
    rule(
        &["failed to apply Secret for Receiver", "forbidden"],
        Effect::FluxModule,
        "agentk may not write the Secrets of its Receivers",
        "grant its service account get, create, patch and delete on secrets",
    ),
    rule(
        &["failed to apply Receiver", "forbidden"],
        Effect::FluxModule,
        "agentk may not write Receivers",
        "grant its service account get, list, watch, create and patch on receivers.notification.toolkit.fluxcd.io",
    ),
    rule(
        &["Flux could not be detected or the Agent is missing RBAC"],
        Effect::FluxModule,
        "agentk started before Flux's CRDs, or may not read them: its Flux module is off until a restart",
        "restart agentk",
    ),
    rule(
        &["Unable to trigger Receiver"],
        Effect::FluxModule,
        "a push event arrived, but notification-controller did not take it",
        "check notification-controller and the Receiver",
    ),
];

/// Lines that contain one of these are normal, whatever their level
/// (kas recycles connections every two hours; pods race for the Lease at start).
const NOISE: &[&str] = &[
    "received prior goaway: code: NO_ERROR",
    "transport is closing",
    "failed to read frame header: EOF",
    "error initially creating leader election record",
    "the object has been modified; please apply your changes to the latest version",
];

impl LogLine {
    /// Reads one line.
    pub fn parse(line: &str) -> Self {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Json {
            time: serde_json::Value,
            level: String,
            msg: String,
            mod_name: String,
            error: serde_json::Value,
            err: serde_json::Value,
        }
        let Ok(json) = serde_json::from_str::<Json>(line) else {
            return Self {
                at: None,
                level: Level::Plain,
                message: line.to_owned(),
                module: String::new(),
                error: String::new(),
            };
        };
        let level = match json.level.to_ascii_lowercase().as_str() {
            "debug" => Level::Debug,
            "info" => Level::Info,
            "warn" | "warning" => Level::Warn,
            _ => Level::Error,
        };
        let text = |v: serde_json::Value| v.as_str().map(str::to_owned);
        let error = text(json.error).or_else(|| text(json.err)).unwrap_or_default();
        Self { at: timestamp(&json.time), level, message: json.msg, module: json.mod_name, error }
    }

    /// Message and error in one text.
    pub fn text(&self) -> String {
        if self.error.is_empty() { self.message.clone() } else { format!("{}: {}", self.message, self.error) }
    }

    /// The rule that knows this line as a fault. Normal noise has none.
    pub fn fault(&self) -> Option<&'static Rule> {
        let text = self.text();
        if NOISE.iter().any(|n| text.contains(n)) {
            return None;
        }
        RULES.iter().find(|rule| rule.texts.iter().all(|t| text.contains(t)))
    }
}

fn timestamp(value: &serde_json::Value) -> Option<Timestamp> {
    match value {
        serde_json::Value::String(text) => text.parse().ok(),
        serde_json::Value::Number(number) => {
            let seconds = number.as_f64()?;
            #[expect(clippy::cast_possible_truncation, reason = "whole milliseconds of a date fit")]
            Timestamp::from_millisecond((seconds * 1000.0) as i64).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_and_plain_lines_read() {
        let slog = LogLine::parse(
            r#"{"time":"2026-01-10T00:00:00Z","level":"ERROR","msg":"GetConfiguration.Recv failed","error":"rpc error: code = Unauthenticated desc = unauthenticated"}"#,
        );
        assert_eq!((slog.level, slog.at.is_some()), (Level::Error, true));
        assert_eq!(slog.fault().expect("known").effect, Effect::TokenRefused);
        let zap = LogLine::parse(r#"{"level":"error","time":1.7e9,"msg":"x","mod_name":"reverse_tunnel"}"#);
        assert_eq!(
            (zap.level, zap.at.is_some(), zap.module.as_str()),
            (Level::Error, true, "reverse_tunnel")
        );
        let plain = LogLine::parse("Program aborted: token file: open /x: no such file or directory");
        assert_eq!(plain.level, Level::Plain);
        assert!(plain.fault().expect("known").cause.contains("not mounted"));
    }

    #[test]
    fn the_cause_is_read_behind_the_misleading_sentence() {
        let sentence =
            "Failed to register agent pod. Please make sure the agent version matches the server version";
        for (error, cause) in [
            ("rpc error: code = Unauthenticated desc = unauthenticated", "refuses the agent token"),
            ("dial tcp 127.0.0.1:1: connect: connection refused", "nobody listens"),
            ("expected handshake response status code 101 but got 301", "trailing slash"),
            ("expected handshake response status code 101 but got 503", "does not run"),
        ] {
            let line = serde_json::json!({"level": "ERROR", "msg": sentence, "error": error}).to_string();
            let found = LogLine::parse(&line).fault().expect(error);
            assert!(found.cause.contains(cause), "{error}: {}", found.cause);
        }
    }

    #[test]
    fn noise_is_no_fault() {
        let line = r#"{"level":"ERROR","msg":"Error handling a connection","error":"code = Unavailable desc = closing transport due to: connection error: received prior goaway: code: NO_ERROR"}"#;
        assert!(LogLine::parse(line).fault().is_none());
    }
}
