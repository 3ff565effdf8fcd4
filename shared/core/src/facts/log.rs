//! agentk's log: JSON lines of zap (16.x, lower-case levels) or slog (17.x and newer, capitals), and plain lines
//! that a dying process writes. Known faults are told by [`rules`].

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
    /// The command that does it, where there is one.
    pub help: Help,
    /// Whether it holds until agentk is restarted, however old its line is.
    pub lasting: bool,
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
    /// agentk is connected, and does not take its configuration.
    Configuration,
    /// Something else.
    Other,
}

/// A command against a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Help {
    /// None: words must do, or the effect tells (a refused token).
    Words,
    /// Restart agentk.
    Restart,
    /// Let agentk's service account do this.
    Grant {
        /// Verbs, with commas.
        verbs: &'static str,
        /// Resource with its group.
        resource: &'static str,
        /// In all namespaces, or only in agentk's own.
        everywhere: bool,
    },
    /// `kubectl -n NAMESPACE` with these words.
    Kubectl(&'static str),
}

const fn rule(
    texts: &'static [&'static str],
    effect: Effect,
    cause: &'static str,
    remedy: &'static str,
) -> Rule {
    Rule { texts, cause, remedy, effect, help: Help::Words, lasting: false }
}

impl Rule {
    const fn help(self, help: Help) -> Self {
        Self { help, ..self }
    }

    const fn lasting(self) -> Self {
        Self { lasting: true, ..self }
    }
}

const fn grant(verbs: &'static str, resource: &'static str, everywhere: bool) -> Help {
    Help::Grant { verbs, resource, everywhere }
}

/// Known faults, more telling ones first: the text behind the sentence decides, not the sentence
/// (GitLab, "Troubleshooting the GitLab agent for Kubernetes", and agentk watched while failing).
/// The order of the groups matters: a Receiver that cannot be triggered may also show `connection refused`,
/// which is then notification-controller's and not kas's.
const GROUPS: [&[Rule]; 7] = [FROM_KAS, AT_START, KUBERNETES, FLUX, HANDSHAKE, TRANSPORT, GENERAL];

/// Every rule, in the order in which they are tried.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    GROUPS.into_iter().flatten()
}

/// What kas answered: the connection itself works.
const FROM_KAS: &[Rule] = &[
    rule(
        &["code = Unauthenticated"],
        Effect::TokenRefused,
        "GitLab refuses the agent token: it was revoked, is of another instance, or the agent was deleted",
        "create a new token for the agent, put it into the Secret and restart agentk",
    ),
    rule(
        &["RST_STREAM with error code: PROTOCOL_ERROR"],
        Effect::TokenRefused,
        "the agent token breaks the protocol: it holds a carriage return or more than one line end",
        "write the token into the Secret again, on one line, and restart agentk",
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
        &["code = Unavailable desc = unavailable"],
        Effect::Disconnected,
        "kas runs, but cannot ask GitLab",
        "a GitLab administrator reads kas's log for `AgentInfo()`",
    ),
];

/// What ends the process at its start.
const AT_START: &[Rule] = &[
    rule(
        &["unsupported scheme in GitLab Kubernetes Agent Server address"],
        Effect::Disconnected,
        "kasAddress has a scheme that agentk does not know; https is not one",
        "use wss://, ws://, grpcs:// or grpc://",
    ),
    rule(
        &["invalid gitlab-kas address"],
        Effect::Disconnected,
        "kasAddress is no URL",
        "set config.kasAddress to the address that GitLab shows for its kas",
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
        &["environment variable is required but is empty"],
        Effect::Disconnected,
        "agentk lacks POD_NAME or POD_NAMESPACE, which the chart sets",
        "install agentk with the chart, or set both variables from the pod's fields",
    ),
    rule(
        &["address already in use"],
        Effect::Disconnected,
        "a port that agentk listens on is taken",
        "run agentk without hostNetwork, or free the port",
    ),
];

/// What the cluster's API server answered.
const KUBERNETES: &[Rule] = &[
    rule(
        &["resource lock", "forbidden"],
        Effect::FluxModule,
        "agentk may not use Leases in its namespace, so no pod becomes leader",
        "grant its service account get, create and update on leases.coordination.k8s.io",
    )
    .help(grant("get,create,update", "leases.coordination.k8s.io", false)),
    rule(
        &["leader election record", "forbidden"],
        Effect::FluxModule,
        "agentk may not create its Lease, so no pod becomes leader",
        "grant its service account get, create and update on leases.coordination.k8s.io",
    )
    .help(grant("get,create,update", "leases.coordination.k8s.io", false)),
    rule(
        &["error retrieving resource lock"],
        Effect::Other,
        "agentk cannot read its Lease: the API server does not answer it",
        "look at the load of the API server and at the network between it and agentk's node",
    ),
    rule(
        &["failed to renew lease"],
        Effect::Other,
        "the leader could not renew its Lease in time: the API server was slow or away",
        "look at the load of the API server and at the network between it and agentk's node",
    ),
    rule(
        &["stopped leading"],
        Effect::Other,
        "the leader lost its Lease",
        "look at the load of the API server; GA308 tells whether another pod took over",
    ),
    rule(
        &["Failed to fetch Kubernetes version"],
        Effect::Other,
        "agentk may not read, or cannot reach, /version of the API server",
        "look at the network between agentk's node and the API server, and at the ClusterRole system:discovery",
    ),
    rule(
        &["Failed to perform vulnerability scan on workload", "already exists"],
        Effect::Other,
        "an interrupted vulnerability scan left its Job behind, so the next one cannot start",
        "delete the Jobs that were left behind",
    )
    .help(Help::Kubectl("delete jobs -l app.kubernetes.io/managed-by=starboard")),
];

/// agentk's Flux module.
const FLUX: &[Rule] = &[
    rule(
        &["failed to apply Secret for Receiver", "forbidden"],
        Effect::FluxModule,
        "agentk may not write the Secrets of its Receivers",
        "grant its service account get, create, patch and delete on secrets",
    )
    .help(grant("get,create,patch,delete", "secrets", true)),
    rule(
        &["failed to apply Receiver", "forbidden"],
        Effect::FluxModule,
        "agentk may not write Receivers",
        "grant its service account get, list, watch, create and patch on receivers.notification.toolkit.fluxcd.io",
    )
    .help(grant("get,list,watch,create,patch", "receivers.notification.toolkit.fluxcd.io", true)),
    rule(
        &["failed to apply Receiver", "Too long"],
        Effect::FluxModule,
        "the name of a GitRepository is longer than the 53 characters that a Receiver allows",
        "give the GitRepository a shorter name",
    ),
    rule(
        &["Flux could not be detected or the Agent is missing RBAC"],
        Effect::FluxModule,
        "agentk started before Flux's CRDs, or may not read them: its Flux module is off until a restart",
        "restart agentk",
    )
    .help(Help::Restart)
    .lasting(),
    rule(
        &["Flux is not installed, skipping module"],
        Effect::FluxModule,
        "agentk started before Flux's CRDs: its Flux module is off until a restart",
        "restart agentk",
    )
    .help(Help::Restart)
    .lasting(),
    rule(
        &["Unable to check if CRD is installed"],
        Effect::FluxModule,
        "agentk may not read CustomResourceDefinitions: its Flux module is off until a restart",
        "grant its service account get on customresourcedefinitions, then restart agentk",
    )
    .help(grant("get,list,watch", "customresourcedefinitions.apiextensions.k8s.io", true))
    .lasting(),
    rule(
        &["Required Flux CRD is not established"],
        Effect::FluxModule,
        "Flux did not serve the API versions that agentk needs when it started (Flux 2.0 or newer)",
        "upgrade Flux where it is older, then restart agentk",
    )
    .help(Help::Restart)
    .lasting(),
    rule(
        &["gitrepositories", "is forbidden"],
        Effect::FluxModule,
        "agentk may not read GitRepositories",
        "grant its service account get, list and watch on gitrepositories.source.toolkit.fluxcd.io",
    )
    .help(grant("get,list,watch", "gitrepositories.source.toolkit.fluxcd.io", true)),
    rule(
        &["receivers", "is forbidden"],
        Effect::FluxModule,
        "agentk may not use Receivers",
        "grant its service account get, list, watch, create and patch on receivers.notification.toolkit.fluxcd.io",
    )
    .help(grant("get,list,watch,create,patch", "receivers.notification.toolkit.fluxcd.io", true)),
    rule(
        &["unable to create receiver:"],
        Effect::FluxModule,
        "the agent's configuration has a flux.webhook_receiver_url that agentk cannot use",
        "correct flux.webhook_receiver_url in `.gitlab/agents/<name>/config.yaml`, or leave it out",
    ),
    rule(
        &["unable to start controller:"],
        Effect::FluxModule,
        "agentk's controller of GitRepositories does not start",
        "read the end of the line; restart agentk once that is mended",
    )
    .help(Help::Restart),
    rule(
        &["unable to parse GitRepository URL"],
        Effect::FluxModule,
        "the URL of a GitRepository cannot be read, so it gets no Receiver",
        "correct spec.url of that GitRepository",
    ),
    rule(
        &["unable to extract GitLab project path from URL"],
        Effect::FluxModule,
        "the URL of a GitRepository names no project, so it gets no Receiver",
        "correct spec.url of that GitRepository",
    ),
    rule(
        &["Failed to reconcile GitRepository"],
        Effect::FluxModule,
        "agentk cannot make the Receiver of a GitRepository",
        "read the end of the line: an admission webhook or the API server refused it",
    ),
    rule(
        &["Unable to trigger Receiver", "404 Not Found"],
        Effect::FluxModule,
        "a push event arrived, but no Receiver answers at its path: wrong flux.webhook_receiver_url, or the Receiver's \
         token changed",
        "check the Receiver, and flux.webhook_receiver_url in the agent's configuration",
    ),
    rule(
        &["Unable to trigger Receiver", "503 Service Unavailable"],
        Effect::FluxModule,
        "a push event arrived, but the Receiver is suspended or not ready",
        "resume the Receiver, or mend what its Ready condition names",
    ),
    rule(
        &["Unable to trigger Receiver", "context deadline exceeded"],
        Effect::FluxModule,
        "a push event arrived, but notification-controller did not answer in time",
        "check notification-controller and the NetworkPolicies of its namespace",
    ),
    rule(
        &["Unable to trigger Receiver"],
        Effect::FluxModule,
        "a push event arrived, but notification-controller did not take it",
        "check notification-controller and the Receiver",
    ),
    rule(
        &["Unable to get Receivers for project"],
        Effect::FluxModule,
        "a push event arrived, but agentk could not look up its Receivers",
        "restart agentk",
    )
    .help(Help::Restart),
    rule(
        &["Unable to convert unstructured object to Receiver"],
        Effect::FluxModule,
        "agentk cannot read a Receiver: Flux serves a version that agentk does not know",
        "bring agentk and Flux to versions that fit",
    ),
];

/// The WebSocket handshake.
const HANDSHAKE: &[Rule] = &[
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
const TRANSPORT: &[Rule] = &[
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

/// Sentences that say what failed, but not why.
const GENERAL: &[Rule] = &[
    rule(
        &["unable to parse configured GitLab External URL"],
        Effect::Configuration,
        "kas sends agentk an external URL of GitLab that cannot be read",
        "a GitLab administrator corrects gitlab.external_url in kas's configuration",
    ),
    rule(
        &["Failed to apply configuration"],
        Effect::Configuration,
        "agentk does not take its configuration",
        "correct `.gitlab/agents/<name>/config.yaml` in the configuration project, by the end of the line",
    ),
    rule(
        &["Failed to preprocess configuration"],
        Effect::Configuration,
        "agentk does not take its configuration",
        "correct `.gitlab/agents/<name>/config.yaml` in the configuration project, by the end of the line",
    ),
    rule(
        &["Failed to register agent pod"],
        Effect::Disconnected,
        "agentk cannot register with kas",
        "compare the versions of agentk and GitLab, and see that kas runs",
    ),
    rule(
        &["GetConfiguration"],
        Effect::Disconnected,
        "agentk cannot get its configuration from kas",
        "read the end of the line; see that kas runs",
    ),
    rule(
        &["Error handling a connection"],
        Effect::Disconnected,
        "a tunnel to kas failed",
        "read the end of the line; see that kas runs",
    ),
    rule(
        &["Failed to reconcile projects"],
        Effect::FluxModule,
        "agentk cannot listen for push events",
        "read the end of the line; see that kas runs",
    ),
    rule(
        &["Failed to receive project to reconcile"],
        Effect::FluxModule,
        "agentk stopped hearing of push events",
        "read the end of the line; see that kas runs",
    ),
    rule(
        &["Failed to run module"],
        Effect::Other,
        "a module of agentk does not run",
        "read the end of the line; restart agentk once that is mended",
    )
    .help(Help::Restart),
];

/// Lines that contain all of one of these are normal, whatever their level
/// (kas recycles connections every two hours; pods race for the Lease at start).
const NOISE: &[&[&str]] = &[
    &["received prior goaway: code: NO_ERROR"],
    &["ErrCode=NO_ERROR"],
    &["transport is closing"],
    &["failed to read frame header: EOF"],
    &["error initially creating leader election record", "already exists"],
    &["the object has been modified; please apply your changes to the latest version"],
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
        if self.is_noise() {
            return None;
        }
        rules().find(|rule| rule.texts.iter().all(|t| text.contains(t)))
    }

    /// Whether the line is normal, whatever its level.
    pub fn is_noise(&self) -> bool {
        let text = self.text();
        NOISE.iter().any(|texts| texts.iter().all(|t| text.contains(t)))
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

    /// The rule that both log formats lead to.
    fn told(message: &str, error: &str) -> &'static Rule {
        let zap = serde_json::json!({"level": "error", "time": 1.7e9, "msg": message, "error": error});
        let slog = serde_json::json!({"level": "ERROR", "time": "2026-01-10T00:00:00Z", "msg": message, "err": error});
        let [zap, slog] = [zap, slog].map(|line| LogLine::parse(&line.to_string()).fault().expect(message));
        assert!(std::ptr::eq(zap, slog), "{message}");
        zap
    }

    #[test]
    fn documented_messages_are_told_in_both_formats() {
        let register =
            "Failed to register agent pod. Please make sure the agent version matches the server version";
        let trigger = "Unable to trigger Receiver";
        let reconcile = "Failed to reconcile GitRepository";
        let scan = "Failed to perform vulnerability scan on workload";
        for (message, error, cause) in [
            (
                "GetConfiguration failed",
                "dial tcp: lookup gitlab-kas on 10.60.0.10:53: no such host",
                "does not resolve",
            ),
            ("Reverse tunnel", "expected handshake response status code 101 but got 301", "trailing slash"),
            (
                "GetConfiguration failed",
                "HTTP/1.x transport connection broken: malformed HTTP response \"x\"",
                "speaks gRPC",
            ),
            (
                "GetConfiguration.Recv failed",
                "code = Unimplemented desc = grpc: Decompressor is not installed for grpc-encoding \"gzip\"",
                "newer than kas",
            ),
            (
                "Error handling a connection",
                "x509: certificate signed by unknown authority",
                "does not trust",
            ),
            (register, "", "cannot register"),
            (scan, "creating job: jobs.batch \"scan-vulnerabilityreport-1\" already exists", "left its Job"),
            (register, "rpc error: code = Unauthenticated desc = unauthenticated", "refuses the agent token"),
            (
                register,
                "stream terminated by RST_STREAM with error code: PROTOCOL_ERROR",
                "breaks the protocol",
            ),
            (register, "code = NotFound desc = agent not found", "does not know this agent"),
            (register, "code = PermissionDenied desc = forbidden", "refuses kas"),
            (register, "code = Unavailable desc = unavailable", "cannot ask GitLab"),
            (
                "GetConfiguration.Recv failed",
                "code = NotFound desc = Config: repository poll failed",
                "configuration project",
            ),
            (
                "GetConfiguration.Recv failed",
                "code = FailedPrecondition desc = Config: unknown field",
                "one unknown key",
            ),
            (register, "expected handshake response status code 101 but got 308", "trailing slash"),
            (register, "expected handshake response status code 101 but got 400", "breaks the WebSocket"),
            (register, "expected handshake response status code 101 but got 401", "sign-in proxy"),
            (register, "expected handshake response status code 101 but got 403", "firewall"),
            (register, "expected handshake response status code 101 but got 404", "no kas"),
            (register, "expected handshake response status code 101 but got 426", "does not let WebSocket"),
            (register, "expected handshake response status code 101 but got 502", "does not run"),
            (
                register,
                "proxyconnect tcp: dial tcp 10.0.0.1:3128: connect: connection refused",
                "HTTP(S)_PROXY",
            ),
            (register, "dial tcp 10.0.0.1:443: i/o timeout", "get no answer"),
            (register, "context deadline exceeded", "in time"),
            (register, "http2: frame too large", "HTTP/1 or TLS"),
            (register, "http2: server sent GOAWAY and closed the connection; ErrCode=PROTOCOL", "do not fit"),
            (register, "tls: first record does not look like a TLS handshake", "plain text"),
            (register, "x509: certificate has expired or is not yet valid", "has expired"),
            (register, "x509: certificate is valid for a, not b", "another host name"),
            (register, "x509: cannot validate certificate for 10.0.0.1", "not valid for this address"),
            ("Failed to apply configuration", "a", "does not take"),
            ("Failed to preprocess configuration", "a", "does not take"),
            (
                "Failed to apply configuration",
                "unable to parse configured GitLab External URL",
                "external URL",
            ),
            (
                "error retrieving resource lock gitlab/agent-7-lock",
                "leases.coordination.k8s.io is forbidden",
                "may not use Leases",
            ),
            (
                "error retrieving resource lock gitlab/agent-7-lock",
                "dial tcp 10.0.0.1:443: connect: connection refused",
                "cannot read its Lease",
            ),
            (
                "error initially creating leader election record",
                "leases.coordination.k8s.io is forbidden",
                "may not create",
            ),
            ("failed to renew lease gitlab/agent-7-lock", "context deadline exceeded", "could not renew"),
            ("stopped leading", "", "lost its Lease"),
            ("Failed to fetch Kubernetes version", "connection refused", "/version"),
            ("Unable to check if CRD is installed", "forbidden", "CustomResourceDefinitions"),
            (
                "Failed to watch",
                "failed to list gitrepositories.source.toolkit.fluxcd.io is forbidden: User",
                "may not read GitRepositories",
            ),
            (
                "Failed to watch",
                "failed to list receivers.notification.toolkit.fluxcd.io is forbidden: User",
                "may not use Receivers",
            ),
            (reconcile, "failed to apply Secret for Receiver: secrets is forbidden", "write the Secrets"),
            (reconcile, "failed to apply Receiver: forbidden", "may not write Receivers"),
            (reconcile, "failed to apply Receiver: spec.resources[0].name: Too long", "53 characters"),
            (reconcile, "unable to parse GitRepository URL", "cannot be read"),
            (reconcile, "unable to extract GitLab project path from URL", "names no project"),
            (reconcile, "failed to apply Receiver: admission webhook denied", "cannot make the Receiver"),
            ("Failed to run module", "unable to create receiver: bad", "webhook_receiver_url"),
            ("Failed to run module", "unable to start controller: bad", "does not start"),
            ("Failed to run module", "bad", "does not run"),
            ("Failed to reconcile projects", "code = Unavailable desc = x", "listen for push"),
            ("Failed to receive project to reconcile", "EOF", "stopped hearing"),
            (
                trigger,
                "trigger to \"http://h/hook/1\" returned status \"404 Not Found\"",
                "no Receiver answers",
            ),
            (
                trigger,
                "trigger to \"http://h/hook/1\" returned status \"503 Service Unavailable\"",
                "suspended or not ready",
            ),
            (trigger, "dial tcp 10.0.0.1:80: connect: connection refused", "did not take it"),
            ("Unable to get Receivers for project", "x", "look up its Receivers"),
            ("Unable to convert unstructured object to Receiver", "x", "cannot read a Receiver"),
            (
                "Flux could not be detected or the Agent is missing RBAC, skipping module",
                "",
                "before Flux's CRDs",
            ),
            ("Flux is not installed, skipping module. A restart is required", "", "before Flux's CRDs"),
            ("Required Flux CRD is not established", "", "API versions"),
            ("Error handling a connection", "x", "a tunnel"),
            ("GetConfiguration failed", "x", "cannot get its configuration"),
        ] {
            let rule = told(message, error);
            assert!(rule.cause.contains(cause), "{message}: {error}: {}", rule.cause);
        }
    }

    #[test]
    fn lines_of_a_dying_process_are_told() {
        for (line, cause) in [
            (
                "Program aborted: unsupported scheme in GitLab Kubernetes Agent Server address: \"https\"",
                "https is not one",
            ),
            ("Program aborted: invalid gitlab-kas address: parse x", "no URL"),
            (
                "Program aborted: agent token not set. Please set either token file or AGENTK_TOKEN",
                "no token",
            ),
            ("Program aborted: unable to use both token file and AGENTK_TOKEN environment variable", "twice"),
            ("Program aborted: POD_NAME environment variable is required but is empty", "POD_NAME"),
            ("Program aborted: listen tcp :8080: bind: address already in use", "port"),
        ] {
            let rule = LogLine::parse(line).fault().expect(line);
            assert!(rule.cause.contains(cause), "{line}: {}", rule.cause);
        }
    }

    #[test]
    fn every_rule_can_be_reached() {
        for rule in rules() {
            let line = LogLine::parse(&rule.texts.join(" "));
            let found = line.fault().map(|found| found.texts);
            assert_eq!(found, Some(rule.texts), "a rule before it knows the same text");
        }
    }

    #[test]
    fn noise_is_no_fault() {
        let line = r#"{"level":"ERROR","msg":"Error handling a connection","error":"code = Unavailable desc = closing transport due to: connection error: received prior goaway: code: NO_ERROR"}"#;
        assert!(LogLine::parse(line).fault().is_none());
    }
}
