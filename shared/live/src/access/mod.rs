//! From kubeconfig and flags to a client: which cluster, as whom, and how long to wait.

mod client;
mod exec;
mod kubeconfig;
mod read_only;

pub use client::{Answer, Cost, ReadClient, segment};
pub use exec::CannotSignIn;
pub use kubeconfig::{Access, duration};
