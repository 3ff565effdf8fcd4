//! The rotation of a credential as a value: what is written down, what can be seen, and what to do next.
//!
//! The claim is one sentence: at every instant some credential is both active in GitLab and held by the Secret or by a
//! running pod. It is held by [`machine::next`], a pure function from what is seen to the next action. It remembers
//! nothing that a killed process would lose, so an ordinary run and the run that resumes it are the same code, and a
//! property test plays every interleaving against a model of both servers (`model`).

pub mod action;
pub mod holders;
mod in_place;
pub mod inventory;
pub mod journal;
mod layers;
pub mod lists;
pub mod machine;
pub mod mark;
pub mod memory;
mod naming;
pub mod owner;
mod owner_signs;
pub mod ownership;

#[cfg(test)]
mod model;

pub use action::{Action, Outcome, Step, Turn};
pub use journal::{Journal, Kind, Stage, Values};
pub use machine::{Goal, Held, Pods, Proof, Seen, Token, next};
pub use memory::Memory;
pub use owner::{Owner, owners};
