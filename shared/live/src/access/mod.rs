//! From kubeconfig and flags to a client: which cluster, as whom, and how long to wait.

mod answer;
mod body;
mod client;
mod credential;
mod exec;
mod kubeconfig;
mod read_only;
mod token_file;
mod write_client;

pub use answer::Answer;
pub(crate) use answer::at;
pub use body::Budget;
pub use client::{Cost, ReadClient, segment};
pub use exec::CannotSignIn;
pub use kubeconfig::{Access, duration};
pub use write_client::{FIELD_MANAGER, Watch, WriteClient, post_elsewhere};
