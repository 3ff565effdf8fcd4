//! GitLab, optional: which instance and with which token the person says, never the cluster (docs/gitlab-access.md).
//!
//! - [`GitLabArgs`] are the flags; [`Trust`] is what the person trusts: flags, environment, glab's configuration.
//! - [`GitLab`] reads: GET, and GraphQL queries. [`GitLabWriter`], which only commands that change something make,
//!   also changes, and sends each change once.
//! - [`Fault`] is why there is no answer, in one shape for the many that GitLab has.
//!
//! https only; no redirect is followed; the token goes into the `Authorization` header of requests to the named host
//! and nowhere else.

mod answerer;
mod client;
mod config;
mod environment;
mod fault;
mod glab;
mod host;
mod own;
mod project;
mod rights;
mod token;
mod transport;
mod write;

pub use client::{GitLab, GraphQl, Listed};
pub use config::{Credentials, GitLabArgs, Trust};
pub(crate) use environment::{hide_tokens, tell_tokens};
pub use fault::{Fault, FaultKind};
pub use host::Host;
pub use own::{FINE_GRAINED, Own};
pub use project::{Project, ProjectRef};
pub use rights::{CONNECTIONS_HIDDEN, User, user};
pub use write::GitLabWriter;
