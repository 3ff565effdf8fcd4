//! The rotation of a credential as a value: what is written down, what can be seen, and what to do next.
//!
//! The claim is one sentence: at every instant some credential is both active in GitLab and held by the Secret or by a
//! running pod. It is held by [`machine::next`], a pure function from what is seen to the next action. It remembers
//! nothing that a killed process would lose, so an ordinary run and the run that resumes it are the same code, and a
//! property test plays every interleaving against a model of both servers (`model`).

mod in_place;
pub mod inventory;
pub mod journal;
pub mod machine;
pub mod owner;

#[cfg(test)]
mod model;

pub use journal::{Journal, Kind, Stage, Values};
pub use machine::{Action, Goal, Held, Memory, Outcome, Pods, Proof, Seen, Step, Token, Turn, next};
pub use owner::{Owner, owners};
