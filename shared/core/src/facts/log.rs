//! agentk's log: JSON lines of zap (16.x, lower-case levels) or slog (17.x and newer, capitals), and plain lines
//! that a dying process writes. Known faults are told by [`rules`]; which of them are present by [`reading`].

mod line;
mod noise;
pub mod reading;
mod rule;
mod rules;

#[cfg(test)]
mod connections;
#[cfg(test)]
mod documented;

pub use line::{Level, LogLine};
pub use rule::{Effect, Help, Rule};
pub use rules::rules;
