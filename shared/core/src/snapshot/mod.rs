//! What was observed of a cluster at one instant, with no secret in it; also the recording's file format.
//!
//! The shapes follow the Kubernetes API's own field names and hold only what the checks read (docs/snapshot.md).
//! What could not be observed is recorded as such, with the reason: not knowing is a value.

pub mod charts;
pub mod gitlab;
pub mod kinds;
mod listing;
pub mod mask;
pub mod secret;
mod served;
mod texts;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use charts::{ChartIndex, ChartVersion};
use kinds::*;
pub use listing::Listing;
use listing::named;
pub use secret::SecretShape;

/// The version of the recording's format that this crate reads and writes. It is raised when an old reader would
/// misread a new recording; a new optional field does not raise it.
pub const FORMAT: u32 = 1;

/// Everything observed in one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Format version, see [`FORMAT`].
    pub format: u32,
    /// Version of the program that observed.
    pub tool: String,
    /// The instant that counts as "now" for every check.
    pub taken_at: Timestamp,
    /// Where it was observed.
    pub origin: Origin,
    /// Namespaces the person asked for; empty means all.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Namespace of the Flux controllers (`flux-system` unless told otherwise).
    pub flux_namespace: String,
    /// Version of the API server, as `GET /version` gives it.
    pub server: Observed<ServerVersion>,
    /// API groups served, as `GET /apis` gives them.
    pub groups: Observed<Vec<ApiGroup>>,
    /// Metadata of every CustomResourceDefinition.
    pub crds: Listing<Crd>,
    /// Source kinds: one listing per kind.
    pub git_repositories: Listing<Source>,
    /// OCIRepository objects.
    pub oci_repositories: Listing<Source>,
    /// Bucket objects.
    pub buckets: Listing<Source>,
    /// HelmRepository objects.
    pub helm_repositories: Listing<Source>,
    /// HelmChart objects.
    pub helm_charts: Listing<Source>,
    /// Flux Kustomizations.
    pub kustomizations: Listing<Kustomization>,
    /// HelmReleases.
    pub helm_releases: Listing<HelmRelease>,
    /// Receivers.
    pub receivers: Listing<Receiver>,
    /// Providers.
    #[serde(default = "Listing::not_recorded")]
    pub providers: Listing<Provider>,
    /// Alerts.
    #[serde(default = "Listing::not_recorded")]
    pub alerts: Listing<Alert>,
    /// Events of Alerts with reason `NotificationDispatchFailed`: notifications of the last hour that were not delivered.
    #[serde(default = "Listing::not_recorded")]
    pub dispatch_failures: Listing<Event>,
    /// Deployments.
    pub deployments: Listing<Workload>,
    /// StatefulSets.
    pub stateful_sets: Listing<Workload>,
    /// DaemonSets.
    pub daemon_sets: Listing<Workload>,
    /// Pods of the namespaces in which a check asks for pods (docs/snapshot.md).
    pub pods: Listing<Pod>,
    /// Leases of the namespaces in which agentk runs.
    pub leases: Listing<Lease>,
    /// Services of the Flux namespace.
    pub services: Listing<Service>,
    /// EndpointSlices of the Flux namespace.
    pub endpoint_slices: Listing<EndpointSlice>,
    /// Of each chart repository that agentk is installed from: the versions of its chart.
    #[serde(default)]
    pub chart_indexes: Vec<ChartIndex>,
    /// NetworkPolicies of the Flux namespace and of the namespaces in which agentk runs.
    #[serde(default = "Listing::not_recorded")]
    pub network_policies: Listing<NetworkPolicy>,
    /// Metadata of namespaces.
    #[serde(default = "Listing::not_recorded")]
    pub namespace_objects: Listing<Namespace>,
    /// Whether agentk's service accounts may do what agentk has to.
    #[serde(default)]
    pub reviews: Vec<Review>,
    /// Versions of the programs on the machine that observed; none in a recording of an older version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Tools>,
    /// Every Secret that something observed refers to.
    pub secrets: Vec<SecretEntry>,
    /// Whether they are sorted by namespace and name.
    #[serde(skip)]
    pub secrets_in_order: bool,
    /// Objects of other kinds that something failing refers to, or that create what is missing, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub referenced: Vec<ReferencedEntry>,
    /// Events of type `Warning` of the namespaces with a workload that is not well.
    #[serde(default = "Listing::not_recorded")]
    pub warnings: Listing<Event>,
    /// The newest lines of the logs of agentk's pods.
    pub logs: Vec<PodLog>,
    /// The last lines of containers that ended and are started again and again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_words: Vec<PodLog>,
    /// What was asked of the API server with which permission, and whether it was granted.
    pub access: Vec<Trial>,
    /// What was observed of GitLab, where the person gave access to it.
    #[serde(default = "gitlab::not_recorded")]
    pub gitlab: Observed<gitlab::GitLabPart>,
}

/// Where a snapshot was observed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// Name of the kubeconfig context, where there was one.
    pub context: Option<String>,
    /// URL of the API server.
    pub server: String,
}

/// A fact, or the reason why it is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Observed<T> {
    /// It was observed.
    Known(T),
    /// It was not, for this reason.
    Unknown(Why),
}

impl<T> Observed<T> {
    /// The fact, or the reason, in the form that `?` takes.
    pub fn get(&self) -> Result<&T, Why> {
        match self {
            Self::Known(value) => Ok(value),
            Self::Unknown(why) => Err(why.clone()),
        }
    }

    /// Why it is not known, where it is not.
    pub fn why(&self) -> Option<&Why> {
        match self {
            Self::Known(_) => None,
            Self::Unknown(why) => Some(why),
        }
    }
}

/// Why something is not known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Why {
    /// The class of the reason; decides the exit code.
    pub kind: WhyKind,
    /// What was asked for, for example `list receivers.notification.toolkit.fluxcd.io in all namespaces`.
    pub asked: String,
    /// What came back, masked.
    pub message: String,
    /// The permission that would make it known, where one is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<Permission>,
}

impl Why {
    /// A reason without a permission.
    pub fn new(kind: WhyKind, asked: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, asked: asked.into(), message: message.into(), permission: None }
    }
}

/// Classes of reasons for not knowing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WhyKind {
    /// Nobody answered: refused, no route, no such host, TLS.
    Unreachable,
    /// The credential was refused (401).
    SignIn,
    /// The permission is missing (403).
    Forbidden,
    /// No answer within the deadline.
    TimedOut,
    /// The API server does not serve this kind (404).
    NotServed,
    /// An answer came that could not be read, was too large, or was not complete.
    Unreadable,
    /// The answer is not the API server's: a proxy, gateway or portal on the way gave it.
    Intercepted,
    /// What is asked about has just begun (a start, a rollout, a reconciliation), so it does not show yet.
    TooEarly,
    /// What was read does not decide it: network plugins differ, for example.
    Undecided,
    /// It needs GitLab, and no access to GitLab was given.
    NoGitLab,
    /// It was not asked for, or what it hangs on is itself not known.
    NotAsked,
}

impl WhyKind {
    /// Whether it was the person's choice not to ask, which does not spoil a verdict (docs/exit-codes.md).
    pub fn is_a_choice(self) -> bool {
        matches!(self, Self::NoGitLab | Self::NotAsked)
    }

    /// Whether the server itself did not answer this client.
    pub fn is_silence(self) -> bool {
        matches!(self, Self::Unreachable | Self::SignIn | Self::TimedOut | Self::Intercepted)
    }
}

/// One permission in the terms of Kubernetes RBAC.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Permission {
    /// `get`, `list`, …
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    /// Resource, with its subresource behind a slash.
    pub resource: String,
    /// Namespace, or none for all of them or for cluster-scoped resources.
    pub namespace: Option<String>,
}

impl std::fmt::Display for Permission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => Ok(()),
        }
    }
}

/// A permission that the run used, and whether it was granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// What was needed.
    pub permission: Permission,
    /// Whether the API server allowed it.
    pub allowed: bool,
}

/// A Secret that something refers to: its shape, its absence, or why neither is known.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretEntry {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `Known(None)` means that it does not exist.
    pub shape: Observed<Option<SecretShape>>,
}

/// Whether a service account may do something.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    /// Namespace of the service account.
    pub namespace: String,
    /// Name of the service account.
    pub service_account: String,
    /// What it would do; without a namespace: in all of them.
    pub permission: Permission,
    /// What the API server answered.
    pub allowed: Observed<bool>,
}

/// Versions of programs on the machine that observed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tools {
    /// Of `kubectl`, for example `v1.36.3`; `Known(None)` means that it is not installed.
    pub kubectl: Observed<Option<String>>,
    /// Of `flux`, likewise.
    pub flux: Observed<Option<String>>,
}

/// The newest log lines of one container.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodLog {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container, where one was asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// Lines, oldest first, masked.
    pub lines: Observed<Vec<String>>,
}

/// A recording that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub enum FormatError {
    /// It is not JSON, or not a recording; the text says where.
    NotARecording(String),
    /// It has another format version.
    Version(u64),
}

impl std::fmt::Display for FormatError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotARecording(detail) => write!(
                f,
                "this is not a recording ({detail}); make one with `kubectl gitlab-agent snapshot -o FILE`"
            ),
            Self::Version(found) if *found > u64::from(FORMAT) => write!(
                f,
                "the recording has format {found}, this program reads format {FORMAT}: use a newer kubectl gitlab-agent"
            ),
            Self::Version(found) => write!(
                f,
                "the recording has format {found}, this program reads format {FORMAT}: record again with this version, \
                 or read it with the version that wrote it"
            ),
        }
    }
}

impl std::error::Error for FormatError {}

impl Snapshot {
    /// Reads a recording.
    ///
    /// # Errors
    /// Text that is not a recording, and recordings of another format version.
    pub fn parse(json: &[u8]) -> Result<Self, FormatError> {
        #[derive(Deserialize)]
        struct Head {
            format: Option<u64>,
        }
        let broken = |e: serde_json::Error| FormatError::NotARecording(e.to_string());
        let head: Head = serde_json::from_slice(json).map_err(broken)?;
        match head.format {
            None => Err(FormatError::NotARecording("it has no `format`".to_owned())),
            Some(format) if format != u64::from(FORMAT) => Err(FormatError::Version(format)),
            Some(_) => {
                let mut snapshot: Self = serde_json::from_slice(json).map_err(broken)?;
                snapshot.settle_undefined();
                snapshot.put_in_order();
                Ok(snapshot)
            }
        }
    }

    /// Sorts what is looked up by name.
    pub fn put_in_order(&mut self) {
        let sources = [
            &mut self.git_repositories,
            &mut self.oci_repositories,
            &mut self.buckets,
            &mut self.helm_repositories,
            &mut self.helm_charts,
        ];
        sources.into_iter().for_each(Listing::put_in_order);
        [&mut self.deployments, &mut self.stateful_sets, &mut self.daemon_sets]
            .into_iter()
            .for_each(Listing::put_in_order);
        self.crds.put_in_order();
        self.kustomizations.put_in_order();
        self.helm_releases.put_in_order();
        self.receivers.put_in_order();
        self.providers.put_in_order();
        self.alerts.put_in_order();
        self.pods.put_in_order();
        self.leases.put_in_order();
        self.services.put_in_order();
        self.endpoint_slices.put_in_order();
        self.network_policies.put_in_order();
        self.namespace_objects.put_in_order();
        self.secrets.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        self.secrets_in_order = true;
    }

    /// A Secret that something refers to.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<&SecretEntry> {
        named(&self.secrets, self.secrets_in_order, (namespace, name), |e| (&e.namespace, &e.name))
    }

    /// The recording's text: JSON with two spaces of indentation, so that a person can read and compare it, and without
    /// what a terminal acts on.
    ///
    /// # Errors
    /// None in practice: every field has a JSON form.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(crate::text::escape_json)
    }

    /// Why each thing is not known that was asked of the API server.
    pub fn gaps(&self) -> Vec<&Why> {
        let mut found: Vec<&Why> = Vec::new();
        let listings: [&[Why]; 21] = [
            &self.crds.gaps,
            &self.git_repositories.gaps,
            &self.oci_repositories.gaps,
            &self.buckets.gaps,
            &self.helm_repositories.gaps,
            &self.helm_charts.gaps,
            &self.kustomizations.gaps,
            &self.helm_releases.gaps,
            &self.receivers.gaps,
            &self.providers.gaps,
            &self.alerts.gaps,
            &self.dispatch_failures.gaps,
            &self.deployments.gaps,
            &self.stateful_sets.gaps,
            &self.daemon_sets.gaps,
            &self.pods.gaps,
            &self.leases.gaps,
            &self.services.gaps,
            &self.endpoint_slices.gaps,
            &self.network_policies.gaps,
            &self.warnings.gaps,
        ];
        found.extend(listings.into_iter().flatten());
        found.extend(&self.namespace_objects.gaps);
        let unknown = [self.server.why(), self.groups.why()];
        found.extend(unknown.into_iter().flatten());
        found.extend(self.secrets.iter().filter_map(|s| s.shape.why()));
        found.extend(self.referenced.iter().filter_map(|r| r.state.why()));
        found.extend(self.logs.iter().filter_map(|l| l.lines.why()));
        found.extend(self.reviews.iter().filter_map(|r| r.allowed.why()));
        found.extend(self.chart_indexes.iter().filter_map(|i| i.versions.why()));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_format_is_refused_with_what_to_do() {
        let error = Snapshot::parse(br#"{"format": 7}"#).expect_err("format 7");
        assert_eq!(error, FormatError::Version(7));
        assert!(error.to_string().contains("use a newer"), "{error}");
        let error = Snapshot::parse(br#"{"format": 0}"#).expect_err("format 0");
        assert!(error.to_string().contains("record again"), "{error}");
    }

    #[test]
    fn what_is_no_recording_is_refused() {
        for text in ["", "{}", "[]", "kind: List", r#"{"format":1}"#] {
            let error = Snapshot::parse(text.as_bytes()).expect_err(text);
            assert!(matches!(error, FormatError::NotARecording(_)), "{text}: {error}");
        }
    }
}
