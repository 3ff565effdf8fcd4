//! What was observed of GitLab: only of the host that the person named, only about what this cluster uses.
//!
//! No token is in it. Which Secret holds which credential is told by user names and public keys alone.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Observed, Why, WhyKind};
use crate::object::ObjectRef;

/// Everything observed of GitLab in one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GitLabPart {
    /// `https://gitlab.example.com`, with port and relative URL root where there are any.
    pub url: String,
    /// Version and kas, as `GET /api/v4/metadata` gives them.
    pub metadata: Observed<Metadata>,
    /// The person's own token.
    pub token: Observed<OwnToken>,
    /// The agents of this cluster.
    pub agents: Vec<AgentEntry>,
    /// The projects that this cluster fetches from.
    pub projects: Vec<ProjectEntry>,
    /// Deploy tokens of the groups above these projects; asked only for the list of credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupEntry>,
    /// What GitLab says of the access tokens in the cluster's Secrets; asked only for the list of credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<HeldToken>,
}

/// A group above a project that the cluster fetches from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupEntry {
    /// Full path.
    pub path: String,
    /// Its deploy tokens.
    pub deploy_tokens: Observed<Vec<Credential>>,
}

/// An access token that a Secret of the cluster holds. It was asked about itself, which takes no other permission; which
/// one it is, is told by the fingerprint of its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldToken {
    /// As in the shape of the Secret's key.
    pub fingerprint: String,
    /// What GitLab says; a sign-in that is refused means that it is revoked or expired.
    pub token: Observed<TokenRecord>,
}

/// An access token as GitLab knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenRecord {
    /// Number.
    pub id: u64,
    /// Name.
    pub name: String,
    /// Scopes.
    pub scopes: Vec<String>,
    /// User name of the person or bot that it acts for, where the token may say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// Versions of GitLab and kas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// For example `18.5.2-ee`.
    pub version: String,
    /// Whether kas is enabled.
    pub kas_enabled: bool,
    /// What `config.kasAddress` is to be.
    pub kas_url: Option<String>,
    /// Version of kas; absent where GitLab does not reach it.
    pub kas_version: Option<String>,
}

/// What GitLab says of the person's token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnToken {
    /// Its scopes.
    pub scopes: Vec<String>,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// What GitLab said where it refused it because it is no fine-grained token, which a group or the instance enforces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_as_legacy: Option<String>,
}

/// One agentk of the cluster, and the agent that it is in GitLab.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentEntry {
    /// agentk's Deployment.
    pub deployment: ObjectRef,
    /// The agent.
    pub agent: Observed<AgentRecord>,
}

/// An agent as GitLab knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentRecord {
    /// Number.
    pub id: u64,
    /// Name.
    pub name: String,
    /// Full path of its configuration project.
    pub project: String,
    /// Its configuration file.
    pub config: Observed<AgentConfig>,
    /// Its active tokens.
    pub tokens: Observed<Vec<AgentToken>>,
    /// The connections that kas knows; they linger for some minutes.
    pub connections: Observed<Vec<AgentConnection>>,
}

/// `.gitlab/agents/NAME/config.yaml` on the default branch: which keys, not which values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentConfig {
    /// Whether the file exists.
    pub exists: bool,
    /// Why it is no YAML, where it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Paths of all keys, lists without numbers: `ci_access.projects.id`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
}

/// A token that signs agentk in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentToken {
    /// Number.
    pub id: u64,
    /// Name.
    pub name: String,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When GitLab last wrote down a use: up to an hour late.
    pub last_used_at: Option<Timestamp>,
}

/// One connection of an agentk pod with kas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentConnection {
    /// Since when.
    pub connected_at: Option<Timestamp>,
    /// Version of agentk, for example `v18.5.0`.
    pub version: String,
    /// Namespace of the pod.
    pub pod_namespace: String,
    /// Name of the pod.
    pub pod_name: String,
    /// What kas says about its version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A project that the cluster fetches from; `Unknown` also where GitLab says 404, which may mean "not for you".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProjectEntry {
    /// Full path, as the cluster's URLs write it.
    pub path: String,
    /// The project.
    pub project: Observed<ProjectRecord>,
    /// What opens its repository: deploy tokens, deploy keys, project access tokens.
    pub credentials: Observed<Vec<Credential>>,
    /// Who may push or merge to its protected branches; asked only where a Provider writes job statuses to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected_branches: Option<Observed<Vec<ProtectedBranch>>>,
}

/// A rule that protects branches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProtectedBranch {
    /// A branch, or a pattern in which a star stands for any text.
    pub name: String,
    /// Access levels of the roles that may push or merge; 0 is nobody. Single users, groups and keys are left out.
    pub roles: Vec<u32>,
}

/// A project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProjectRecord {
    /// Number.
    pub id: u64,
    /// `private`, `internal` or `public`.
    pub visibility: String,
}

/// Kinds of credentials of a project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CredentialKind {
    /// Deploy token.
    #[default]
    DeployToken,
    /// Deploy key.
    DeployKey,
    /// Project access token.
    AccessToken,
}

/// Something that opens a project's repository and is active.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Credential {
    /// Kind.
    pub kind: CredentialKind,
    /// Number.
    pub id: u64,
    /// Name or title.
    pub name: String,
    /// The user name that goes with a deploy token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Scopes; of a deploy key `write` where it may push.
    pub scopes: Vec<String>,
    /// When it was made; GitLab does not tell of deploy tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// When it expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When GitLab last wrote down a use; it does so of access tokens only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// Whether it no longer works.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dead: bool,
    /// Secrets whose user name or public key is its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub held_by: Vec<ObjectRef>,
}

/// What a recording says that was made without GitLab.
pub(super) fn not_recorded() -> Observed<GitLabPart> {
    Observed::Unknown(Why::new(
        WhyKind::NoGitLab,
        "GitLab",
        "the recording was made without access to GitLab",
    ))
}
