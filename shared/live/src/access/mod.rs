//! From kubeconfig and flags to a client: which cluster, as whom, and how long to wait.

mod body;
mod client;
mod exec;
mod kubeconfig;
mod read_only;
mod write_client;

pub use body::Budget;
pub(crate) use client::api_message;
pub use client::{Answer, Cost, ReadClient, segment};
pub use exec::CannotSignIn;
pub use kubeconfig::{Access, duration};
pub use write_client::{FIELD_MANAGER, Watch, WriteClient, post_elsewhere};
