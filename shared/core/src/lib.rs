//! Everything of `kubectl gitlab-agent` that can be tested without a cluster.
//!
//! The pipeline, in order:
//!
//! 1. [`snapshot`] is what was observed at one instant, with no secret in it. The observer (another crate) only
//!    fills one; a recording is one written to a file. Nothing after it can tell the two apart.
//! 2. [`facts`] joins a snapshot into what the checks ask about: agents with their token Secret, pods and Lease,
//!    sources with what consumes them, controllers, what depends on what.
//! 3. [`assess`] runs the checks. A check is a static description and a pure function in a file of its own.
//! 4. [`report`] orders the findings: what to mend first, what follows from it, the verdict and the exit code.
//! 5. [`render`] turns a report or a status into bytes, one file per format.
//!
//! Beside the checks, [`plan`] derives from the same facts what a command will change, as a value, and [`rotate`]
//! decides what a change of keys does next.
//!
//! This crate has no clock, no file system, no network and no async runtime: its `Cargo.toml` holds that, and a
//! test of the code base compares it (docs/architecture.md).

pub mod assess;
pub mod command;
pub mod facts;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
pub mod name;
pub mod need;
pub mod object;
pub mod plan;
pub mod render;
pub mod report;
pub mod rotate;
pub mod snapshot;
pub mod status;
pub mod text;

/// The name and version of the shapes that machine output has (docs/formats.md).
pub const API_VERSION: &str = "cli.gitlab-agent.dev/v1alpha1";
