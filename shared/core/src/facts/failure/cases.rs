//! What the libraries say, with the class that it must be read as. Where a comment names none, the text is what the
//! library of the group writes, wrapped as a controller wraps it.

use super::*;

#[track_caller]
fn all(class: Failure, texts: &[&str]) {
    for text in texts {
        assert_eq!(read(text), class, "{text}");
    }
}

#[test]
fn names_and_resolvers() {
    all(
        NameNotFound,
        &[
            "Get \"https://h\": dial tcp: lookup h on 10.0.0.10:53: no such host",
            "rpc error: code = Unavailable desc = name resolver error: produced zero addresses",
            "dns: A record lookup error: lookup kas on 10.96.0.10:53: no such host",
            "fatal: unable to access 'https://h/': Could not resolve host: h",
            "ssh: Could not resolve hostname h: Name or service not known",
            "getaddrinfo: nodename nor servname provided, or not known",
            "lookup h: no such host",
            "failed to fetch https://h/index.yaml: Get \"https://h/index.yaml\": dial tcp: lookup h: no such host",
            "ssh: handshake failed: dial tcp: lookup h on [fd00::a]:53: no such host",
            "h: No address associated with hostname",
        ],
    );
    all(
        Resolver,
        &[
            "dial tcp: lookup h on 10.96.0.10:53: server misbehaving",
            "dial tcp: lookup h on 10.96.0.10:53: read udp 10.0.0.8:41000->10.96.0.10:53: i/o timeout",
            "dial tcp: lookup h on 10.96.0.10:53: read udp 10.0.0.8:41000->10.96.0.10:53: read: connection refused",
            "dial tcp: lookup h on 10.96.0.10:53: dial udp 10.96.0.10:53: connect: network is unreachable",
            "dial tcp: lookup h: i/o timeout",
            "lookup h: i/o timeout",
            "dial tcp: lookup h: Temporary failure in name resolution",
            "dns: A record lookup error: lookup h on 10.96.0.10:53: server misbehaving",
            "lookup h on [fd00::a]:53: read udp: i/o timeout",
            "lookup h on 10.96.0.10:53: cannot unmarshal DNS message",
            "lookup h on 10.96.0.10:53: no answer from DNS server",
            "lookup h on 10.96.0.10:53: lame referral",
            "curl: (28) Resolving timed out after 5000 milliseconds",
        ],
    );
}

#[test]
fn connections() {
    all(
        Refused,
        &[
            "dial tcp 10.0.0.1:443: connect: connection refused",
            "failed to download archive: GET http://source-controller.flux-system.svc.cluster.local./x.tar.gz giving up after 10 attempt(s): Get \"http://source-controller\": dial tcp 10.0.0.1:80: connect: connection refused",
            "fatal: unable to access 'https://h/': Failed to connect to h port 443 after 1 ms: Connection refused",
            "ssh: connect to host h port 22: Connection refused",
            "No connection could be made because the target machine actively refused it.",
        ],
    );
    all(
        NoRoute,
        &[
            "dial tcp 10.0.0.1:443: connect: no route to host",
            "dial tcp 10.0.0.1:443: connect: network is unreachable",
            "dial tcp [2001:db8::1]:443: connect: cannot assign requested address",
            "dial tcp 10.0.0.1:443: connect: host is down",
            "dial tcp 10.0.0.1:443: connect: operation not permitted",
            "dial tcp 10.0.0.1:443: connect: permission denied",
            "socket: address family not supported by protocol",
        ],
    );
    all(
        Reset,
        &[
            "read tcp 10.0.0.8:41000->10.0.0.1:443: read: connection reset by peer",
            "write tcp 10.0.0.8:41000->10.0.0.1:443: write: broken pipe",
            "ssh: handshake failed: read tcp 10.0.0.8:1->10.0.0.1:22: read: connection reset by peer",
            "kex_exchange_identification: read: Connection reset by peer",
            "error: RPC failed; curl 56 Recv failure: Connection reset by peer",
        ],
    );
    all(
        Closed,
        &[
            "Get \"https://h\": EOF",
            "failed to send handshake request: Get \\\"https://h/\\\": EOF\"",
            "unable to clone 'https://h/x': unexpected EOF",
            "net/http: HTTP/1.x transport connection broken: unexpected EOF",
            "http: server closed idle connection",
            "http2: client connection lost",
            "http2: client connection force closed via ClientConn.Close",
            "http2: server sent GOAWAY and closed the connection; LastStreamID=1, ErrCode=NO_ERROR, debug=\"\"",
            "fatal: the remote end hung up unexpectedly",
            "ssh: handshake failed: EOF",
            "stream error: stream ID 5; INTERNAL_ERROR; received from peer",
            "rpc error: code = Unavailable desc = error reading from server: EOF",
            "received close frame: status = StatusGoingAway and reason = \"\"",
        ],
    );
}

#[test]
fn times() {
    all(
        DialTimeout,
        &[
            "dial tcp 10.0.0.1:443: i/o timeout",
            "dial tcp 10.0.0.1:443: connect: connection timed out",
            "Get \"https://h\": context deadline exceeded: dial tcp 10.0.0.1:443",
            "net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)",
            "ssh: connect to host h port 22: Connection timed out: connect to host h timed out",
            "rpc error: code = DeadlineExceeded desc = context deadline exceeded while waiting for connections to become ready",
            "dial tcp 10.0.0.1:443: operation was canceled",
        ],
    );
    all(
        HandshakeTimeout,
        &[
            "Get \"https://h\": net/http: TLS handshake timeout",
            "transport: authentication handshake failed: context deadline exceeded",
            "ssh: handshake failed: read tcp 10.0.0.8:1->10.0.0.1:22: i/o timeout",
        ],
    );
    all(
        AnswerTimeout,
        &[
            "net/http: timeout awaiting response headers",
            "Get \"https://h\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
            "context deadline exceeded (Client.Timeout or context cancellation while reading body): Client.Timeout exceeded while reading body",
            "read tcp 10.0.0.8:1->10.0.0.1:443: i/o timeout",
            "read tcp 10.0.0.8:1->10.0.0.1:443: read: connection timed out",
        ],
    );
    all(
        Timeout,
        &[
            "unable to clone 'https://h/x': context deadline exceeded",
            "rpc error: code = DeadlineExceeded desc = x",
        ],
    );
    all(
        WaitTimeout,
        &[
            "timed out waiting for the condition",
            "health check failed after 5m0s: timeout waiting for: [Deployment/a/b status: 'InProgress']",
            "Helm install failed for release a/b with chart c@1: resource Deployment/a/b not ready. status: InProgress, message: Available: 0/1\ncontext deadline exceeded",
            "client rate limiter Wait returned an error: context deadline exceeded",
            "client rate limiter Wait returned an error: rate: Wait(n=1) would exceed context deadline",
            "Deployment \"x\" exceeded its progress deadline",
            "Namespace/x termination timeout: context deadline exceeded",
            "health check failed after 1s: failed early due to stalled resources: [Deployment/a/b]",
        ],
    );
}

#[test]
fn proxies() {
    all(
        ProxyRefuses,
        &[
            "Get \"https://h/\": Forbidden",
            "failed to send handshake request: Get \\\"https://h/\\\": Proxy Authentication Required\"",
            "Get \"https://h/\": Bad Gateway",
            "Get \"https://h/\": Service Unavailable",
            "Get \"https://h/\": Gateway Timeout",
            "Get \"https://h/\": Method Not Allowed",
            "failed to do connect handshake, response: \"HTTP/1.1 403 Forbidden\\r\\n\"",
            "failed to do connect handshake, status code: 407 Proxy Authentication Required",
            "curl: (56) Received HTTP code 403 from proxy after CONNECT",
            "GET https://h/: 407 Proxy Authentication Required",
        ],
    );
    all(
        ProxyDown,
        &[
            "proxyconnect tcp: dial tcp 10.0.0.1:3128: connect: connection refused",
            "proxyconnect tcp: dial tcp: lookup proxy on 10.0.0.10:53: no such host",
            "proxyconnect tcp: tls: first record does not look like a TLS handshake",
            "proxyconnect tcp: dial tcp 10.0.0.1:3128: i/o timeout",
            "socks connect tcp 10.0.0.1:1080->h:443: dial tcp 10.0.0.1:1080: connect: connection refused",
            "fatal: unable to access 'https://h/': Could not resolve proxy: p",
            "transport: Error while dialing: reading server HTTP response: unexpected EOF",
        ],
    );
}

#[test]
fn certificates() {
    all(
        UnknownAuthority,
        &[
            "x509: certificate signed by unknown authority",
            "tls: failed to verify certificate: x509: certificate signed by unknown authority (possibly because of \"crypto/rsa: verification error\" while trying to verify candidate authority certificate \"x\")",
            "x509: failed to load system roots and no roots provided",
            "SSL certificate problem: unable to get local issuer certificate",
            "SSL certificate problem: self-signed certificate in certificate chain",
            "server certificate verification failed. CAfile: none CRLfile: none",
            "x509: certificate is not authorized to sign other certificates",
            "x509: no valid chains built",
            "x509: invalid signature: parent certificate cannot sign this kind of certificate",
            "x509: something new",
        ],
    );
    all(
        WrongHost,
        &[
            "x509: certificate is valid for a, not b",
            "x509: certificate is valid for 3 names, but none matched b",
            "x509: certificate is not valid for any names, but wanted to match b",
            "x509: certificate relies on legacy Common Name field, use SANs instead",
            "x509: cannot validate certificate for 10.0.0.1 because it doesn't contain any IP SANs",
            "x509: certificate specifies an incompatible key usage",
            "remote error: tls: unrecognized name",
            "SSL: no alternative certificate subject name matches target host name 'h'",
            "x509: a root or intermediate certificate is not authorized to sign for this name: x",
        ],
    );
    all(
        Expired,
        &[
            "x509: certificate has expired or is not yet valid: current time 2026-01-10T00:00:00Z is after 2026-01-09T00:00:00Z",
            "SSL certificate problem: certificate has expired",
            "x509: certificate has expired or is not yet valid",
        ],
    );
    all(
        NotYetValid,
        &[
            "x509: certificate has expired or is not yet valid: current time 2026-01-10T00:00:00Z is before 2026-01-11T00:00:00Z",
            "SSL certificate problem: certificate is not yet valid",
        ],
    );
    all(
        ClientCertificate,
        &[
            "remote error: tls: certificate required",
            "remote error: tls: bad certificate",
            "remote error: tls: unknown certificate authority",
            "remote error: tls: expired certificate",
            "remote error: tls: revoked certificate",
            "remote error: tls: unknown certificate",
            "remote error: tls: unsupported certificate",
            "remote error: tls: access denied",
            "tls: client didn't provide a certificate",
            "400 Bad Request: No required SSL certificate was sent",
            "400 The SSL certificate error",
        ],
    );
}

#[test]
fn handshakes_and_protocols() {
    all(
        Handshake,
        &[
            "remote error: tls: handshake failure",
            "remote error: tls: protocol version not supported",
            "tls: server selected unsupported protocol version 301",
            "tls: no supported versions satisfy MinVersion and MaxVersion",
            "remote error: tls: insufficient security level",
            "tls: server chose an unconfigured cipher suite",
            "remote error: tls: no application protocol",
            "credentials: cannot check peer: missing selected ALPN property",
            "error:1408F10B:SSL routines:ssl3_get_record:sslv3 alert handshake failure",
            "ssh: no common algorithm for key exchange; we offered: [a], peer offered: [b]",
            "remote error: tls: internal error",
            "local error: tls: bad record MAC",
        ],
    );
    all(
        SpeaksPlain,
        &[
            "tls: first record does not look like a TLS handshake",
            "http: server gave HTTP response to HTTPS client",
            "error:1408F10B:SSL routines:ssl3_get_record:wrong version number",
            "gnutls_handshake() failed: packet length too long",
        ],
    );
    all(
        SpeaksTls,
        &[
            "400 Bad Request: Client sent an HTTP request to an HTTPS server.",
            "400 The plain HTTP request was sent to HTTPS port",
            "You're speaking plain HTTP to an SSL-enabled server port.",
            "malformed HTTP response \"\\x15\\x03\\x01\\x00\\x02\\x02P\"",
        ],
    );
    all(
        OtherProtocol,
        &[
            "malformed HTTP response \"\\x00\\x00\\x06\\x04\\x00\\x00\"",
            "malformed HTTP response \"SSH-2.0-OpenSSH_9.9\"",
            "error reading server preface: http2: frame too large",
            "http2: failed reading the frame payload: http2: frame too large, note that the frame header looked like an HTTP/1.1 header",
            "WebSocket protocol violation: Connection header \"\" does not contain Upgrade",
            "unexpected HTTP status code received from server: 200 (OK); transport: received unexpected content-type \"text/html\"",
            "unable to clone 'https://h/x': invalid pkt-len found",
            "ssh: handshake failed: ssh: overflow reading version string",
            "initial http2 frame from server is not a settings frame: *http2.DataFrame",
        ],
    );
    all(
        HostKeyUnknown,
        &[
            "ssh: handshake failed: knownhosts: key is unknown",
            "Host key verification failed.",
            "knownhosts: missing host pattern",
        ],
    );
    all(
        HostKeyChanged,
        &[
            "ssh: handshake failed: knownhosts: key mismatch",
            "ssh: handshake failed: ssh: host key mismatch",
            "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!",
            "ssh: no common algorithm for host key; we offered: [ssh-ed25519], peer offered: [ssh-rsa]",
            "knownhosts: key is revoked",
        ],
    );
}

#[test]
fn answers() {
    all(
        CredentialRefused,
        &[
            "unable to clone 'https://h/x': authentication required: HTTP Basic: Access denied.",
            "GET https://h/v2/: UNAUTHORIZED: authentication required; [map[Action:pull]]",
            "failed to fetch https://h/index.yaml : 401 Unauthorized",
            "unexpected status code 401 Unauthorized",
            "GET https://h/api/v4/projects/x/statuses: 401 {message: 401 Unauthorized}",
            "ssh: handshake failed: ssh: unable to authenticate, attempted methods [none publickey], no supported methods remain",
            "git@h: Permission denied (publickey).",
            "rpc error: code = Unauthenticated desc = unauthenticated",
            "the server has asked for the client to provide credentials",
            "The Access Key Id you provided does not exist in our records.",
            "unexpected requesting \"https://h/x\" status code: 401",
            "response status code 401: unauthorized: incorrect username or password",
        ],
    );
    all(
        Denied,
        &[
            "unable to clone 'https://h/x': authorization failed: You are not allowed to download code from this project.",
            "GET https://h: 403 {error: insufficient_scope}",
            "failed to fetch https://h/index.yaml : 403 Forbidden",
            "DENIED: requested access to the resource is denied",
            "denied: access forbidden",
            "Access Denied.",
            "rpc error: code = PermissionDenied desc = forbidden",
            "request failed with status code 403, no",
        ],
    );
    all(
        NotFound,
        &[
            "repository not found: The project you were looking for could not be found or you don't have permission to view it.",
            "unable to clone 'https://h/x': unexpected client error: remote: ERROR: The project you were looking for could not be found or you don't have permission to view it.",
            "TF401019: The Git repository with name or identifier x does not exist or you do not have permissions for the operation you are attempting.",
            "remote: You may not have access to this repository or it no longer exists in this workspace.",
            "unable to clone 'https://h/x': repository not found",
            "failed to fetch https://h/index.yaml : 404 Not Found",
            "GET https://h/api/v4/projects/1/repository/commits/401/statuses: 404 {message: 404 Project Not Found}",
            "NAME_UNKNOWN: repository name not known to registry",
            "bucket does not exist",
            "fatal: '/x' does not appear to be a git repository",
            "remote: The project you were looking for could not be found",
            "rpc error: code = NotFound desc = agent not found",
            "response status code 404: name unknown",
        ],
    );
    all(
        RateLimited,
        &[
            "GET https://h: 429 {Retry later}",
            "TOOMANYREQUESTS: You have reached your pull rate limit.",
            "429 Too Many Requests",
            "unexpected requesting \"https://h\" status code: 429",
            "API rate limit exceeded for 1.2.3.4",
            "rpc error: code = ResourceExhausted desc = x",
            "SlowDown: Please reduce your request rate.",
            "the server has received too many requests and has asked us to try again later",
            "received prior goaway: code: ENHANCE_YOUR_CALM, debug data: \"too_many_pings\" ",
            "403 API rate limit exceeded",
        ],
    );
    all(
        ServerError,
        &[
            "failed to fetch https://h/index.yaml : 500 Internal Server Error",
            "unexpected requesting \"https://h\" status code: 502",
            "request failed with status code 503, x",
            "GET https://h: 504 {}",
            "rpc error: code = Unavailable desc = unavailable",
            "rpc error: code = Internal desc = internal error",
            "Internal error occurred: x",
            "the server is currently unable to handle the request (get pods.metrics.k8s.io)",
            "etcdserver: request timed out",
            "an error on the server (\"\") has prevented the request from succeeding",
            "response status code 503: Service Unavailable",
        ],
    );
    all(
        Reference,
        &[
            "couldn't find remote ref \"refs/heads/nope\"",
            "unable to resolve HEAD of branch 'x': reference not found",
            "no match found for semver: >=9",
            "object not found",
            "MANIFEST_UNKNOWN: manifest unknown",
            "GET https://h/v2/x/manifests/1: response status code 404: manifest unknown",
            "failed to determine the artifact tag for 'oci://h/x': no match",
            "git repository is empty",
            "remote repository is empty",
            "no tags found for h/x",
        ],
    );
    all(
        Chart,
        &[
            "no 'podinfo' chart with version matching '9.9.9' found",
            "no chart version found for podinfo-9.9.9",
            "no chart name found",
            "invalid chart reference: failed to get chart version for remote reference",
            "could not locate a version matching provided version string 9.9.9",
            "unable to locate any tags in provided repository: oci://h/x",
            "can't get a valid version for constraint '>9'",
            "chart 'x' has no downloadable URLs",
        ],
    );
}

#[test]
fn storage_and_memory() {
    all(
        DiskFull,
        &[
            "failed to create temporary working directory: mkdir /tmp/x: no space left on device",
            "unable to archive artifact to storage: write /data/x.tar.gz: no space left on device",
            "write /data/x: disk quota exceeded",
            "mkdir /data/gitrepository: read-only file system",
            "etcdserver: mvcc: database space exceeded",
            "The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi, available: 0.",
            "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi.",
            "Usage of EmptyDir volume \"data\" exceeds the limit \"1Gi\".",
            "The node had condition: [DiskPressure].",
            "fatal: write error: No space left on device",
            "POST https://h: 507 Insufficient Storage",
        ],
    );
    all(
        OutOfMemory,
        &[
            "OOMKilled",
            "fork/exec /usr/bin/git: cannot allocate memory",
            "runtime: out of memory: cannot allocate 1 byte block",
            "signal: killed",
            "container exited with exit code 137",
            "The node was low on resource: memory.",
            "Memory cgroup out of memory: Killed process 1",
            "The node had condition: [MemoryPressure].",
        ],
    );
    all(
        Tainted,
        &[
            "0/3 nodes are available: 3 node(s) had untolerated taint {dedicated: gpu}.",
            "0/3 nodes are available: 3 node(s) had untolerated taint(s). preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
            "0/1 nodes are available: 1 node(s) were unschedulable.",
        ],
    );
}

#[test]
fn artifacts() {
    all(
        BadArtifact,
        &[
            "failed to verify archive: computed digest doesn't match provided 'sha256:x' (check whether file size exceeds max download size)",
            "error verifying sha256 checksum after reading 5 bytes; got \"a\", want \"b\"",
            "sha256:x: mismatched digest",
            "artifact untar error: requires gzip-compressed body: gzip: invalid header",
            "tar \"x\" is bigger than max archive size of 5 bytes",
            "artifact is 5 bytes greater than the max download size of 5 bytes",
            "index.yaml exceeds the maximum index file size of 5 bytes",
            "size of chart 'x' exceeds '10485760' bytes limit",
            "checksum mismatch",
            "zlib: invalid header",
            "failed to find layer with media type 'x' in artifact",
        ],
    );
    all(
        Signature,
        &[
            "no matching signatures were found for 'oci://h/x'",
            "signature verification of commit 'x' failed: unable to verify payload with any of the given key rings",
            "failed to verify the signature using provider 'cosign': no signatures found",
            "cannot verify signature of tag 'x' since it is not signed",
            "unable to verify openPGP signature, detected signature format: ssh",
            "signature verification failed for all the signatures associated with h/x",
            "PGP signature detected but no PGP public keys found in secret (keys with .asc suffix)",
        ],
    );
    all(
        Decryption,
        &[
            "decryption failed for 'a/b': cannot get sops data key: 0 successful groups required, got 0",
            "Error getting data key: 0 successful groups required, got 0",
            "age: no identity matched any of the recipients",
            "failed to verify sops data integrity: expected mac 'a', got 'b'",
            "cannot get a SOPS age decryption Secret 'flux-system/sops-age': secrets \"sops-age\" not found",
        ],
    );
}

#[test]
fn the_api_server() {
    all(
        Admission,
        &[
            "admission webhook \"x\" denied the request: no",
            "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false",
            "ValidatingAdmissionPolicy 'x' with binding 'y' denied request: no",
            "pods \"x\" is forbidden: maximum cpu usage per Container is 1, but limit is 2",
            "resource Pod/a/b was blocked due to the following policies",
            "pods \"x\" is forbidden: error looking up service account a/b: serviceaccount \"b\" missing",
        ],
    );
    all(
        WebhookDown,
        &[
            "Internal error occurred: failed calling webhook \"x\": failed to call webhook: Post \"https://x.y.svc:443/v?timeout=10s\": dial tcp 10.0.0.1:443: connect: connection refused",
            "failed calling webhook \"x\": failed to call webhook: Post \"https://x.y.svc:443/v\": context deadline exceeded",
            "failed calling webhook \"x\": failed to call webhook: Post \"https://x.y.svc:443/v\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
            "failed calling webhook \"x\": failed to call webhook: Post \"https://x.y.svc:443/v\": no endpoints available for service \"x\"",
            "conversion webhook for a/v1, Kind=B failed: Post \"https://x.y.svc:443/c\": service \"x\" not found",
        ],
    );
    all(
        Quota,
        &[
            "pods \"x\" is forbidden: exceeded quota: q, requested: cpu=1, used: cpu=1, limited: cpu=1",
            "pods \"x\" is forbidden: failed quota: q: must specify limits.cpu",
            "status unknown for quota: q",
            "remote: Your push has been rejected, because this repository has exceeded its size limit",
            "denied: storage quota is used up",
        ],
    );
    all(
        Immutable,
        &[
            "Deployment.apps \"x\" is invalid: spec.selector: Invalid value: x: field is immutable",
            "StatefulSet.apps \"x\" is invalid: spec: Forbidden: updates to statefulset spec for fields other than 'replicas' are forbidden",
            "PersistentVolumeClaim \"x\" is invalid: spec: Forbidden: spec is immutable after creation except resources.requests",
            "Service \"x\" is invalid: spec.clusterIPs[0]: Invalid value: x: may not change once set",
            "Secret \"x\" is invalid: data: Forbidden: field is immutable when `immutable` is set",
            "RoleBinding \"x\" is invalid: roleRef: cannot change roleRef",
            "Deployment/a/b immutable field detected, failed to delete object",
        ],
    );
    all(
        ApiNotServed,
        &[
            "no matches for kind \"X\" in version \"a/v1\"",
            "the server could not find the requested resource",
            "no kind \"X\" is registered for version \"a/v1\" in scheme",
            "resource mapping not found for name: \"x\" namespace: \"\" from \"\": no matches for kind \"X\" in version \"a/v1\" ensure CRDs are installed first",
            "error: the server doesn't have a resource type \"x\"",
        ],
    );
    all(
        Conflict,
        &[
            "Apply failed with 1 conflict: conflict with \"helm\" using apps/v1: .spec.replicas",
            "conflict occurred while applying object a/b apps/v1, Kind=Deployment: Apply failed with 2 conflicts",
            "Unable to continue with install: ServiceAccount \"x\" in namespace \"a\" exists and cannot be imported into the current release: invalid ownership metadata",
            "cannot reuse a name that is still in use",
        ],
    );
    all(Exists, &["deployments.apps \"x\" already exists", "jobs.batch \"migrate\" already exists"]);
    all(
        ApiDown,
        &[
            "unable to retrieve the complete list of server APIs: metrics.k8s.io/v1beta1: stale GroupVersion discovery: metrics.k8s.io/v1beta1",
        ],
    );
    all(
        TooLarge,
        &[
            "Secret \"sh.helm.release.v1.shop.v4\" is invalid: data: Too long: must have at most 1048576 bytes",
        ],
    );
    all(
        Modified,
        &[
            "Operation cannot be fulfilled on deployments.apps \"x\": the object has been modified; please apply your changes to the latest version and try again",
            "StorageError: invalid object, Code: 4, AdditionalErrorMsg: Precondition failed: UID in precondition: x, UID in object meta: y",
        ],
    );
    all(
        Locked,
        &[
            "Helm upgrade failed for release a/b with chart c@1: another operation (install/upgrade/rollback) is in progress",
            "another operation (install/upgrade/rollback) is in progress",
            "Helm rollback to previous release a/b.v1 failed: another operation is in progress",
            "release locked",
        ],
    );
    all(
        Terminating,
        &[
            "Deployment/a/b dry-run failed (Forbidden): deployments.apps \"b\" is forbidden: unable to create new content in namespace a because it is being terminated",
            "roles.rbac.authorization.k8s.io \"x\" is forbidden: unable to create new content in namespace a because it is being terminated",
            "object is being deleted: customresourcedefinitions.apiextensions.k8s.io \"x\" already exists",
        ],
    );
    all(
        PathMissing,
        &[
            "kustomization path not found: stat /tmp/kustomization-123/clusters/prd: no such file or directory",
            "kustomize build failed: accumulating resources: accumulation err='accumulating resources from 'x.yaml': evalsymlink failure on '/tmp/x.yaml' : lstat /tmp/x.yaml: no such file or directory': must build at directory: not a valid directory",
            "accumulating resources from 'x': must resolve to a file",
            "unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory '/tmp/x'",
            "no values file found at path '/tmp/x/values-prod.yaml' (reference 'values-prod.yaml')",
            "no chart found at './charts/x'",
            "chart metadata missing: Chart.yaml file is missing",
        ],
    );
    all(
        Permission,
        &[
            "deployments.apps \"x\" is forbidden: User \"system:serviceaccount:a:b\" cannot patch resource \"deployments\" in API group \"apps\" in the namespace \"a\"",
            "roles.rbac.authorization.k8s.io \"x\" is forbidden: user \"system:serviceaccount:a:b\" (groups=[]) is attempting to grant RBAC permissions not currently held",
        ],
    );
    all(
        Manifest,
        &[
            "kustomize build failed: accumulating resources: x",
            "Deployment.apps \"x\" is invalid: spec.template.spec.containers: Required value",
            "failed to decode Kubernetes YAML from /tmp/x: missing metadata.name",
            "ConfigMap/shop/web dry-run failed: failed to create typed patch object (shop/web; v1, Kind=ConfigMap): .data.a: expected string, got &value.valueUnstructured{Value:5}",
            "strict decoding error: unknown field \"spec.x\"",
            "yaml: line 5: mapping values are not allowed in this context",
            "error converting YAML to JSON: yaml: line 2: x",
        ],
    );
    all(
        Values,
        &[
            "values don't meet the specifications of the schema(s) in the following chart(s)",
            "template: x/templates/a.yaml:1:2: execution error at (x/templates/a.yaml:1:2): required",
            "Helm install failed for release shop/shop with chart shop@1: execution error at (shop/templates/d.yaml:3:4): ingress.host is required",
            "template: x/templates/a.yaml:5:20: executing \"x/templates/a.yaml\" at <.Values.ingress.host>: nil pointer evaluating interface {}.host",
            "executing \"x\" at <include \"x.labels\" .>: error calling include: template: no template \"x.labels\"",
        ],
    );
    all(
        ObjectMissing,
        &[
            "configmaps \"x\" not found",
            "could not resolve Secret chart values reference 'a/b' with key 'c': secrets \"b\" not found",
            "dependency 'a/b' not found",
        ],
    );
}

/// What is told of Flux's own objects, and its words win over those of the network.
#[test]
fn flux() {
    all(
        SecretMissing,
        &[
            "failed to get secret 'flux-system/x': secrets \"x\" not found",
            "failed to get authentication secret 'a/b': secrets \"b\" not found",
        ],
    );
    all(
        Permission,
        &[
            "failed to get secret 'flux-system/apps': secrets \"apps\" is forbidden: User \"system:serviceaccount:flux-system:source-controller\" cannot get resource \"secrets\"",
        ],
    );
    all(
        SecretMalformed,
        &[
            "failed to configure authentication options: invalid 'ssh' auth option: 'known_hosts' is required",
            "invalid 'a/b' secret data: required fields 'username' and 'password'",
            "no auth config for 'h' in the docker-registry Secret 'x'",
            "unable to construct auth method with options: ssh: no key found",
        ],
    );
    all(
        TokenMissing,
        &[
            "failed to initialize notifier for provider 'x': gitlab token cannot be empty",
            "failed to read secret: Secret \"x\" not found",
        ],
    );
    all(
        TokenExpired,
        &["GET https://h: 401 {error: invalid_token}, {error_description: Token is expired. You can}"],
    );
    all(
        TokenRevoked,
        &["GET https://h: 401 {error: invalid_token}, {error_description: Token was revoked. You}"],
    );
    all(
        NoDecryption,
        &[
            "Secret/a/b is SOPS encrypted, configuring decryption is required for this secret to be reconciled",
            "ConfigMap/a/b is SOPS encrypted, configuring decryption is required for this secret to be reconciled",
        ],
    );
    all(NoCommit, &["missing revision metadata", "failed to extract commit hash from 'x' revision"]);
    all(
        CrossNamespace,
        &[
            "discarding event, access denied to cross-namespace sources: x",
            "can't access 'GitRepository/a/b', cross-namespace references have been blocked",
        ],
    );
}

#[test]
fn numbers_that_are_no_status_and_words_in_words_tell_nothing() {
    all(
        Other,
        &[
            "something new",
            "",
            "project 404 has 403 commits and 401 branches",
            "https://h/401/x",
            "listen on 10.0.0.1:404",
            "the geofence",
            "precertificate",
            "version 404.1",
        ],
    );
}

#[test]
fn a_reason_tells_where_the_text_does_not() {
    let of = |reason: &str, message: &str| {
        classify(&Condition { reason: reason.into(), message: message.into(), ..Condition::default() })
    };
    assert_eq!(of("AuthenticationFailed", "something new"), SecretMalformed);
    assert_eq!(of("GitOperationFailed", "something new"), Other);
    assert_eq!(of("AuthenticationFailed", "x509: certificate has expired"), Expired);
}
