//! Everything of `kubectl gitlab-agent` that touches the world: the API server, files, the terminal.
//!
//! - [`access`] turns kubeconfig and flags into a client that can only read, with a deadline on every request.
//! - [`observe`] fills a [`gitlab_agent_core::snapshot::Snapshot`] from a cluster.
//! - [`gitlab`] asks the GitLab that the person names.
//! - [`act`] runs a plan: the only part that changes something.
//! - [`rotate`] carries a change of keys out, and the rest of one that was stopped.
//! - [`recording`] writes a snapshot to a file and reads it back.
//! - [`file`] writes files, whole or not at all.
//! - [`cli`] holds what the commands share: flags, output, errors, exit codes.
//!
//! What can fail here fails with a text for people: what was tried, on what, what came back, what to do.

pub mod access;
pub mod act;
pub mod cli;
pub mod file;
pub mod gitlab;
mod known;
pub mod observe;
mod program;
pub mod recording;
pub mod rotate;
mod ssh;
