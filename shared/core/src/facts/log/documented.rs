//! Every documented line with the cause that it must be told as: GitLab's "Troubleshooting the GitLab agent for
//! Kubernetes" and installation pages, agentk's sources, and agentk watched while failing.

use jiff::Timestamp;

use super::rule::Help;
use super::*;

fn parse(line: &str) -> LogLine {
    LogLine::parse(line, Timestamp::UNIX_EPOCH)
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
        let found = parse(&line).fault().expect(error);
        assert!(found.cause.contains(cause), "{error}: {}", found.cause);
    }
}

/// The rule that both log formats lead to.
fn told(message: &str, error: &str) -> &'static Rule {
    let zap = serde_json::json!({"level": "error", "time": 1.7e9, "msg": message, "error": error});
    let slog =
        serde_json::json!({"level": "ERROR", "time": "2026-01-10T00:00:00Z", "msg": message, "err": error});
    let [zap, slog] = [zap, slog].map(|line| parse(&line.to_string()).fault().expect(message));
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
            "HTTP/1.x transport connection broken: malformed HTTP response \"\\x00\\x00\\x06\\x04\"",
            "speaks gRPC",
        ),
        (
            "GetConfiguration.Recv failed",
            "code = Unimplemented desc = grpc: Decompressor is not installed for grpc-encoding \"gzip\"",
            "newer than kas",
        ),
        ("Error handling a connection", "x509: certificate signed by unknown authority", "does not trust"),
        (register, "", "cannot register"),
        (scan, "creating job: jobs.batch \"scan-vulnerabilityreport-1\" already exists", "left its Job"),
        (register, "rpc error: code = Unauthenticated desc = unauthenticated", "refuses the agent token"),
        (register, "stream terminated by RST_STREAM with error code: PROTOCOL_ERROR", "breaks the protocol"),
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
        (register, "proxyconnect tcp: dial tcp 10.0.0.1:3128: connect: connection refused", "HTTP(S)_PROXY"),
        (register, "dial tcp 10.0.0.1:443: i/o timeout", "get no answer"),
        (register, "context deadline exceeded", "in time"),
        (register, "http2: frame too large", "HTTP/1 or TLS"),
        (register, "http2: server sent GOAWAY and closed the connection; ErrCode=PROTOCOL", "do not fit"),
        (register, "dial tcp: lookup kas on 10.0.0.10:53: server misbehaving", "DNS does not answer"),
        (register, "mkdir /tmp/x: no space left on device", "volume"),
        (register, "tls: first record does not look like a TLS handshake", "plain text"),
        (register, "x509: certificate has expired or is not yet valid", "has expired"),
        (register, "x509: certificate is valid for a, not b", "another host name"),
        (register, "x509: cannot validate certificate for 10.0.0.1", "not valid for this address"),
        ("Failed to apply configuration", "a", "does not take"),
        ("Failed to preprocess configuration", "a", "does not take"),
        ("Failed to apply configuration", "unable to parse configured GitLab External URL", "external URL"),
        (
            "error retrieving resource lock gitlab/agent-7-lock",
            "leases.coordination.k8s.io is forbidden: User \"agentk\" cannot get resource \"x\"",
            "may not use Leases",
        ),
        (
            "error retrieving resource lock gitlab/agent-7-lock",
            "dial tcp 10.0.0.1:443: connect: connection refused",
            "cannot read its Lease",
        ),
        (
            "error initially creating leader election record",
            "leases.coordination.k8s.io is forbidden: User \"agentk\" cannot get resource \"x\"",
            "may not create",
        ),
        ("failed to renew lease gitlab/agent-7-lock", "context deadline exceeded", "could not renew"),
        ("stopped leading", "", "lost its Lease"),
        ("Failed to fetch Kubernetes version", "connection refused", "/version"),
        (
            "Unable to check if CRD is installed",
            "is forbidden: User \"agentk\" cannot get resource \"x\"",
            "may not read CustomResourceDefinitions",
        ),
        ("Unable to check if CRD is installed", "context deadline exceeded", "could not read"),
        (
            "Failed to watch",
            "failed to list gitrepositories.source.toolkit.fluxcd.io is forbidden: User \"agentk\" cannot get resource \"x\"",
            "may not read GitRepositories",
        ),
        (
            "Failed to watch",
            "failed to list receivers.notification.toolkit.fluxcd.io is forbidden: User \"agentk\" cannot get resource \"x\"",
            "may not use Receivers",
        ),
        (
            reconcile,
            "failed to apply Secret for Receiver: secrets is forbidden: User \"agentk\" cannot get resource \"x\"",
            "write the Secrets",
        ),
        (
            reconcile,
            "failed to apply Receiver: receivers is forbidden: User \"agentk\" cannot get resource \"x\"",
            "may not write Receivers",
        ),
        (reconcile, "failed to apply Receiver: spec.resources[0].name: Too long", "53 characters"),
        (reconcile, "unable to parse GitRepository URL", "cannot be read"),
        (reconcile, "unable to extract GitLab project path from URL", "names no project"),
        (reconcile, "failed to apply Receiver: admission webhook denied", "cannot make the Receiver"),
        ("Failed to run module", "unable to create receiver: bad", "webhook_receiver_url"),
        ("Failed to run module", "unable to start controller: bad", "does not start"),
        ("Failed to run module", "bad", "does not run"),
        ("Failed to reconcile projects", "code = Unavailable desc = x", "listen for push"),
        ("Failed to receive project to reconcile", "EOF", "stopped hearing"),
        (trigger, "trigger to \"http://h/hook/1\" returned status \"404 Not Found\"", "no Receiver answers"),
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
        (
            trigger,
            "Post \"http://webhook-receiver.flux.svc.cluster.local/hook/1\": dial tcp: lookup x: no such host",
            "flux.webhook_receiver_url does not resolve",
        ),
        (trigger, "trigger to \"https://h/hook/1\" returned status \"403 Forbidden\"", "service proxy"),
        (trigger, "dial tcp 10.0.0.1:80: i/o timeout", "passes it on"),
        (
            "Failed to watch",
            "failed to list *v1.PartialObjectMetadata: Get \"https://10.96.0.1:443/apis/source.toolkit.fluxcd.io/v1/gitrepositories\": dial tcp 10.96.0.1:443: connect: connection refused",
            "API server does not answer",
        ),
        (
            "Failed to update lock",
            "Put \"https://10.96.0.1:443/api/v1/namespaces/x/events\": context deadline exceeded",
            "API server does not answer",
        ),
        (
            "x",
            "events is forbidden: User \"system:serviceaccount:gitlab:gitlab-agent\" cannot create resource \"events\"",
            "lacks a permission",
        ),
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
        ("Program aborted: agent token not set. Please set either token file or AGENTK_TOKEN", "no token"),
        ("Program aborted: unable to use both token file and AGENTK_TOKEN environment variable", "twice"),
        ("Program aborted: POD_NAME environment variable is required but is empty", "POD_NAME"),
        ("Program aborted: listen tcp :8080: bind: address already in use", "port"),
        ("Error: unknown flag: --kas-ca-cert-file", "chart and image are of different versions"),
        ("panic: runtime error: invalid memory address", "crashed"),
        ("Program aborted: something new", "ended at its start"),
    ] {
        let rule = parse(line).fault().expect(line);
        assert!(rule.cause.contains(cause), "{line}: {}", rule.cause);
    }
}

/// Tunnels were renamed twice; a fault is told whatever its module is called, and also without one.
#[test]
fn all_names_of_the_tunnel_are_told() {
    for module in ["reverse_tunnel", "agentk2kas_tunnel", "agent2kas_tunnel", ""] {
        let json = serde_json::json!({"level": "ERROR", "msg": "Error handling a connection", "mod_name": module,
            "error": "rpc error: code = Unauthenticated desc = unauthenticated"});
        let line = parse(&json.to_string());
        assert_eq!(line.module, module);
        assert_eq!(line.fault().map(|rule| rule.effect), Some(Effect::TokenRefused));
    }
}

/// Documented lines that are normal, at the level at which they come.
#[test]
fn normal_lines_are_no_faults() {
    let goaway = "code = Unavailable desc = closing transport due to: connection error: desc = \"error reading from \
                  server: EOF\", received prior goaway: code: NO_ERROR, debug data: \"max_age\"";
    for (level, message, error) in [
        ("ERROR", "Error handling a connection", goaway),
        ("ERROR", "GetConfiguration.Recv failed", "code = Unavailable desc = transport is closing"),
        (
            "WARN",
            "Error handling a connection",
            "http2: server sent GOAWAY and closed the connection; ErrCode=NO_ERROR",
        ),
        ("ERROR", "Error handling a connection", "failed to get reader: failed to read frame header: EOF"),
        (
            "ERROR",
            "error initially creating leader election record",
            "leases.coordination.k8s.io \"agent-7-lock\" already exists",
        ),
        (
            "ERROR",
            "Failed to update lock optimistically",
            "Operation cannot be fulfilled on leases.coordination.k8s.io \"agent-7-lock\": the object has been modified; please apply your changes to the latest version and try again",
        ),
        ("debug", "Unable to apply Receiver, because there is a newer version of it available", "conflict"),
        ("debug", "Unable to apply Secret, because there is a newer version of it available", "conflict"),
        ("debug", "Ignoring updated GitRepository because there are no changes in the spec", ""),
        ("debug", "Dropping reconciliation for GitRepository that is not on configured GitLab host", ""),
        ("INFO", "successfully acquired lease gitlab/agent-7-lock", ""),
        ("INFO", "attempting to acquire leader lease gitlab/agent-7-lock...", ""),
        ("INFO", "Starting GitRepository controller", ""),
        ("INFO", "Stopped GitRepository controller", ""),
        ("INFO", "Observability endpoint is up", ""),
        ("INFO", "Starting", ""),
        ("INFO", "Module is disabled. Set the 'OCS_ENABLED' environment variable to 'true'", ""),
    ] {
        let json = serde_json::json!({"level": level, "msg": message, "error": error}).to_string();
        assert!(parse(&json).fault().is_none(), "{message}: {error}");
    }
}

/// "forbidden" is not only RBAC's word: where something else says it, nothing is granted.
#[test]
fn a_grant_answers_only_what_rbac_refuses() {
    let failed = |message: &str, error: &str| {
        let line = serde_json::json!({"level": "ERROR", "time": "2026-01-10T00:00:00Z", "msg": message, "err": error});
        parse(&line.to_string())
    };
    let cases = [
        ("Failed to reconcile GitRepository", "failed to apply Secret for Receiver: secrets"),
        (
            "Failed to reconcile GitRepository",
            "failed to apply Receiver: receivers.notification.toolkit.fluxcd.io",
        ),
        ("error retrieving resource lock gitlab/agent-7-lock", "leases.coordination.k8s.io"),
        ("error initially creating leader election record", "leases.coordination.k8s.io"),
        ("Unable to check if CRD is installed", "customresourcedefinitions.apiextensions.k8s.io"),
        ("Failed to watch", "failed to list gitrepositories.source.toolkit.fluxcd.io"),
        ("Failed to watch", "failed to list receivers.notification.toolkit.fluxcd.io"),
    ];
    let is_granted =
        |line: &LogLine| line.fault().is_some_and(|rule| matches!(rule.help, Help::Grant { .. }));
    for (message, what) in cases {
        for other in [
            "exceeded quota: objects, requested: count/secrets=1, used: count/secrets=9, limited: count/secrets=9",
            "violates PodSecurity \"restricted:latest\"",
            "ValidatingAdmissionPolicy 'names' with binding 'names' denied request: no",
            "unable to create new content in namespace x because it is being terminated",
        ] {
            let line = failed(message, &format!("{what} \"a\" is forbidden: {other}"));
            assert!(!is_granted(&line), "{message} {what} {other}: {:?}", line.fault());
        }
        let refused = "User \"agentk\" cannot get resource \"x\" in API group \"\" in the namespace \"n\"";
        assert!(
            is_granted(&failed(message, &format!("{what} \"a\" is forbidden: {refused}"))),
            "{message} {what}"
        );
    }
    let ending = "failed to apply Secret for Receiver: secrets \"a\" is forbidden: unable to create new content in namespace x \
                  because it is being terminated";
    assert!(
        failed("Failed to reconcile GitRepository", ending).fault().is_none(),
        "the source goes with its namespace"
    );
}
