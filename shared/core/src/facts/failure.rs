//! The class of a failure, from what a client said of it: one table and one reader for sources, charts, releases,
//! notifications and agentk.

mod key;
mod table;

#[cfg(test)]
mod cases;

use super::Facts;
use crate::object::ObjectRef;
use crate::snapshot::kinds::{Condition, Source};
pub use key::{Failing, FailureKey, Peer};

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// The Secret that holds the credential does not exist.
    SecretMissing,
    /// The Secret lacks a key, or its form is wrong.
    SecretMalformed,
    /// A Provider's Secret does not exist, or holds no token.
    TokenMissing,
    /// GitLab says that the token has expired.
    TokenExpired,
    /// GitLab says that the token was revoked.
    TokenRevoked,
    /// The server refused the credential (401).
    CredentialRefused,
    /// The credential is valid and may not do this (403).
    Denied,
    /// The server says that there is no such thing, or hides it (404).
    NotFound,
    /// The server asks for fewer requests (429).
    RateLimited,
    /// The server failed (5xx).
    ServerError,
    /// The branch, tag, range or commit does not exist.
    Reference,
    /// The chart or the version does not exist in the repository.
    Chart,
    /// What was fetched is damaged, too large, or not what its digest says.
    BadArtifact,
    /// A signature is missing or of nobody who is trusted.
    Signature,
    /// What is encrypted in Git cannot be decrypted.
    Decryption,
    /// What is encrypted in Git is to be applied as it is.
    NoDecryption,
    /// The event names no commit, so that there is nothing to attach a status to.
    NoCommit,
    /// Objects of other namespaces may not be referred to.
    CrossNamespace,
    /// The host key is not among the known ones.
    HostKeyUnknown,
    /// The host key is another than the known one.
    HostKeyChanged,
    /// TLS: an authority that is not trusted signed the certificate.
    UnknownAuthority,
    /// TLS: the certificate is of another name.
    WrongHost,
    /// TLS: the certificate has expired.
    Expired,
    /// TLS: the certificate is not valid yet.
    NotYetValid,
    /// TLS: the server wants a certificate of the client, and got none that it takes.
    ClientCertificate,
    /// The two sides have no version, cipher or protocol in common.
    Handshake,
    /// TLS was spoken to a port that does not.
    SpeaksPlain,
    /// Plain text was spoken to a port that wants TLS.
    SpeaksTls,
    /// Something else than what was expected answers at the port.
    OtherProtocol,
    /// A proxy answers, and does not connect to the host.
    ProxyRefuses,
    /// A proxy does not answer.
    ProxyDown,
    /// The name does not exist.
    NameNotFound,
    /// The resolver fails or does not answer: whether the name exists is not known.
    Resolver,
    /// Nobody listens at the port.
    Refused,
    /// The connection was reset.
    Reset,
    /// The connection was closed before the answer.
    Closed,
    /// The network has no way to the address.
    NoRoute,
    /// No connection came about in time.
    DialTimeout,
    /// The TLS handshake did not end in time.
    HandshakeTimeout,
    /// The connection stands, and no answer came in time.
    AnswerTimeout,
    /// It took too long, and nobody says what.
    Timeout,
    /// What was waited for did not become ready in time.
    WaitTimeout,
    /// A volume or a database is full, or can only be read.
    DiskFull,
    /// A quota is used up.
    Quota,
    /// It was killed for want of memory.
    OutOfMemory,
    /// All nodes have a taint that the pod does not tolerate.
    Tainted,
    /// An admission webhook or policy denies the object.
    Admission,
    /// An admission webhook cannot be called.
    WebhookDown,
    /// The service account lacks a permission of the cluster.
    Permission,
    /// An API that another server serves does not answer.
    ApiDown,
    /// The object is larger than the API server takes.
    TooLarge,
    /// The API server does not serve this kind.
    ApiNotServed,
    /// Somebody else holds the object or its field.
    Conflict,
    /// An object of that name exists.
    Exists,
    /// Somebody changed the object between reading and writing it.
    Modified,
    /// Another operation of Helm holds the release, or was cut off and left it so.
    Locked,
    /// The namespace or the object is being deleted.
    Terminating,
    /// A field cannot be changed on an object that exists.
    Immutable,
    /// What is in Git is no valid manifest.
    Manifest,
    /// The folder or file that is named is not in the revision.
    PathMissing,
    /// The chart takes none of the values that it is given, or lacks one.
    Values,
    /// An object that is named does not exist.
    ObjectMissing,
    /// None of these.
    Other,
}

use Failure::*;

/// Reads the class out of what a client said.
pub fn read(text: &str) -> Failure {
    let text = text.to_lowercase();
    let rows = table::TABLE.iter().copied().flatten();
    let mut fitting = rows.filter(|(texts, _)| texts.iter().all(|wanted| occurs(&text, wanted)));
    fitting.next().map_or(Other, |(_, failure)| *failure)
}

/// Whether a text occurs as whole words; `#404` as the status of an answer.
fn occurs(text: &str, wanted: &str) -> bool {
    if let Some(status) = wanted.strip_prefix('#') {
        return text.match_indices(status).any(|(at, _)| is_status(text, at, status.len()));
    }
    let inner = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.match_indices(wanted).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + wanted.len()..]);
        let begins = !(inner(wanted.chars().next()) && inner(before.chars().next_back()));
        begins && !(inner(wanted.chars().next_back()) && inner(after.chars().next()))
    })
}

/// Whether a number is a status: behind a word that announces one, or alone behind the colon of a URL. A commit, a port
/// or a project of that number is none.
fn is_status(text: &str, at: usize, length: usize) -> bool {
    let (before, after) = (&text[..at], &text[at + length..]);
    if after.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | '-')) {
        return false;
    }
    let announced = before.trim_end_matches([' ', ':', '"', '\\', '(', '=', '\'']);
    let words = [
        "status", "code", "http", "http/1.1", "http/1.0", "http/2.0", "http/2", "got", "server", "response",
        "error",
    ];
    before.is_empty()
        || before.ends_with(": ")
        || (announced.len() < before.len() && words.iter().any(|w| announced.ends_with(w)))
}

/// Classifies a condition: by its text, else by its reason.
pub fn classify(condition: &Condition) -> Failure {
    match (read(&condition.message), condition.reason.as_str()) {
        (Other, "AuthenticationFailed") => SecretMalformed,
        (Other, "VerificationError") => Signature,
        (failure, _) => failure,
    }
}

impl Failure {
    /// The sentence that a person reads.
    pub fn phrase(self) -> &'static str {
        match self {
            SecretMissing => "the Secret with its credential does not exist",
            SecretMalformed => "the Secret with its credential has the wrong form",
            TokenMissing => "its Provider has no token",
            TokenExpired => "the token has expired",
            TokenRevoked => "the token was revoked",
            CredentialRefused => "the server refused its credential (wrong, expired or revoked)",
            Denied => "its credential is valid, but may not read this (scope, role or an IP rule)",
            NotFound => "the server knows no such repository, or hides it from this credential",
            RateLimited => "the server asks for fewer requests (429)",
            ServerError => "the server failed (5xx)",
            Reference => "the branch, tag or commit does not exist",
            Chart => "the chart, or a version that fits, is not in the repository",
            BadArtifact => "what was fetched is damaged, too large, or differs from its digest",
            Signature => "the signature is missing or cannot be verified",
            Decryption => "the encrypted data in Git cannot be decrypted",
            NoDecryption => "the data in Git is encrypted, and no decryption is configured",
            NoCommit => "the events that it sends name no commit, and a job status belongs to one",
            CrossNamespace => "references to other namespaces are not allowed",
            HostKeyUnknown => "the server's host key is not among the known ones",
            HostKeyChanged => "the server's host key is not the known one",
            UnknownAuthority => "the server's TLS certificate is signed by an unknown authority",
            WrongHost => "the server's TLS certificate is for a different host name",
            Expired => "the server's TLS certificate has expired",
            NotYetValid => "the server's TLS certificate is not yet valid",
            ClientCertificate => "the server requires a TLS client certificate that it accepts",
            Handshake => "the TLS handshake failed: no protocol version or algorithm in common",
            SpeaksPlain => "the port does not speak TLS",
            SpeaksTls => "the port requires TLS",
            OtherProtocol => "something else than the expected service answers at the address",
            ProxyRefuses => "the proxy refuses to connect to the host",
            ProxyDown => "the proxy does not answer",
            NameNotFound => "the host's name does not resolve",
            Resolver => "the DNS resolver fails or does not answer",
            Refused => "connection refused: nothing listens at the address",
            Reset => "the connection was reset",
            Closed => "the connection was closed before an answer",
            NoRoute => "there is no route to the address",
            DialTimeout => "the connection timed out",
            HandshakeTimeout => "the TLS handshake timed out",
            AnswerTimeout => "the server did not answer in time",
            Timeout => "it timed out",
            WaitTimeout => "something did not become ready in time",
            DiskFull => "a volume is full or read-only",
            Quota => "a quota is exceeded",
            OutOfMemory => "out of memory",
            Tainted => "every node has a taint that its pods do not tolerate",
            Admission => "an admission webhook or policy denied it",
            WebhookDown => "an admission webhook cannot be called",
            Permission => "the service account lacks an RBAC permission",
            ApiDown => "an aggregated API does not answer",
            TooLarge => "an object is larger than the API server takes",
            ApiNotServed => "the API server does not serve this kind",
            Conflict => "the object or a field belongs to something else",
            Exists => "an object of that name exists already",
            Modified => "something else changed the object at the same time",
            Locked => "another Helm operation holds the release, or was cut off",
            Terminating => "what it writes to is being deleted",
            Immutable => "an immutable field would change",
            Manifest => "a manifest is invalid",
            PathMissing => "the path that it names does not exist in this revision",
            Values => "the chart refuses its values, or lacks one",
            ObjectMissing => "an object that it references does not exist",
            Other => "source-controller reports a failure",
        }
    }

    /// What to do about it, where that follows from the class alone and is done in the cluster or in Git.
    pub fn advice(self) -> Option<&'static str> {
        Some(match self {
            Decryption => {
                "give the Kustomization the private key in the Secret that spec.decryption.secretRef names, or encrypt the \
                 file again for a key that it has"
            }
            NoDecryption => "set spec.decryption with the Secret that holds the key",
            DiskFull => {
                "free space on the volume that the message names, or make it larger; one that can only be read has to be \
                 repaired, or mounted for writing"
            }
            Quota => "raise the ResourceQuota (or GitLab's limit), or request less",
            OutOfMemory => "raise the memory limit of what was killed",
            Tainted => {
                "take the taint off the nodes (kubectl describe nodes shows it; kubectl uncordon that of a drained node), or give \
                 the pods a toleration"
            }
            Admission => "change the manifest in Git to what the policy allows, or the policy",
            WebhookDown => {
                "start the Service behind the webhook that the message names; where its owner is gone, delete the webhook \
                 configuration"
            }
            Permission => "grant the service account what the message names",
            ApiDown => {
                "start the Service behind the API that the message names (kubectl get apiservices); where its owner is gone, \
                 delete the APIService"
            }
            TooLarge => {
                "make it smaller: fewer or larger values go into files of their own, or into several releases or ConfigMaps"
            }
            ApiNotServed => {
                "install the CustomResourceDefinition before what uses it (spec.dependsOn), or correct apiVersion and kind"
            }
            Conflict => "let one owner manage the object: remove it from Git or from the other owner",
            Exists => {
                "delete what is left over of an earlier attempt (a Job of a Helm hook); where something else owns it, let one \
                 owner manage it"
            }
            Modified => {
                "wait: it is retried; where it stays so, look at who else writes the object (managedFields)"
            }
            Locked => {
                "wait while another Helm run is at work; where it was cut off (a pending revision in `helm history`), have \
                 helm-controller unlock the release and try again"
            }
            Terminating => {
                "see what keeps it from being deleted (its finalizers); it can be created again afterwards"
            }
            Values => {
                "correct spec.values of the HelmRelease (or what spec.valuesFrom names) in Git to what the message asks for; \
                 `helm show values` shows what the chart takes"
            }
            PathMissing => {
                "correct the path in Git (spec.path, or the file that the message names), or commit what it names"
            }
            Immutable => {
                "take the change back in Git. Only an object that holds no data may be deleted, so that it is created again (a \
                 Job; a StatefulSet with --cascade=orphan, which leaves its pods and claims; never a PersistentVolumeClaim)"
            }
            Manifest => "correct the manifest that the message names, in Git",
            ObjectMissing => "create the object that the message names, or correct its name in Git",
            CrossNamespace => "use objects of the same namespace",
            RateLimited => "wait, and ask less often (longer intervals)",
            ServerError => "look at the server, which failed; it is retried",
            BadArtifact => {
                "fetch the source again; where it persists, look at what changes the file on its way (proxy, registry)"
            }
            Signature => "sign what is in the repository, or correct the keys in spec.verify",
            _ => return None,
        })
    }

    /// Whether what is in Git is at fault, so that a change of the live object alone would not last.
    pub fn is_of_git(self) -> bool {
        matches!(
            self,
            Manifest
                | PathMissing
                | Values
                | Immutable
                | Admission
                | Conflict
                | CrossNamespace
                | ObjectMissing
                | ApiNotServed
                | NoDecryption
                | Signature
                | Quota
                | TooLarge
                | Reference
                | Chart
        )
    }

    /// Whether the credential is at fault.
    pub fn is_credential(self) -> bool {
        matches!(
            self,
            SecretMissing
                | SecretMalformed
                | CredentialRefused
                | Denied
                | TokenMissing
                | TokenExpired
                | TokenRevoked
        )
    }

    /// Whether the host's certificate, or the TLS handshake, is at fault.
    pub fn is_tls(self) -> bool {
        matches!(self, UnknownAuthority | WrongHost | Expired | NotYetValid | ClientCertificate | Handshake)
    }

    /// Whether the key by which an SSH server is known is at fault.
    pub fn is_host_key(self) -> bool {
        matches!(self, HostKeyUnknown | HostKeyChanged)
    }

    /// Whether the connection did not come about, or did not last.
    pub fn is_network(self) -> bool {
        self.is_time()
            || self.is_name()
            || matches!(
                self,
                Refused
                    | Reset
                    | Closed
                    | NoRoute
                    | ProxyRefuses
                    | ProxyDown
                    | SpeaksPlain
                    | SpeaksTls
                    | OtherProtocol
            )
    }

    /// Whether a name could not be resolved.
    pub fn is_name(self) -> bool {
        matches!(self, NameNotFound | Resolver)
    }

    /// Whether a connection or an answer took too long.
    pub fn is_time(self) -> bool {
        matches!(self, DialTimeout | HandshakeTimeout | AnswerTimeout | Timeout)
    }
}

impl Facts<'_> {
    /// The key of a source's failure.
    pub fn source_failure(
        &self,
        object: &ObjectRef,
        source: &Source,
        failed: &Condition,
    ) -> Option<FailureKey> {
        let secret = source.spec.secret_ref.as_ref();
        let secret = secret.map(|secret| ObjectRef::new("Secret", &object.namespace, &secret.name));
        let worker = self.flux.expected("source-controller", &source.metadata);
        let who = Failing {
            url: &source.spec.url,
            credential: secret.as_ref(),
            worker: Some(&worker),
            namespace: &object.namespace,
        };
        FailureKey::of(classify(failed), &failed.message, &who)
    }
}
