//! A sentence with commands in it.

use super::Command;

/// What to do, in words, with the commands that it names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hint(Vec<Part>);

/// A part of a [`Hint`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Words, with the spaces around them.
    Words(String),
    /// A command within the sentence.
    Command(Command),
    /// A command on a line of its own, behind the sentence.
    Line(Command),
}

impl<S: Into<String>> From<S> for Hint {
    fn from(words: S) -> Self {
        let words = words.into();
        if words.is_empty() { Self::default() } else { Self(vec![Part::Words(words)]) }
    }
}

impl Hint {
    /// `COMMAND does this`.
    pub fn command(command: impl Into<Command>, does: impl Into<String>) -> Self {
        let command = command.into();
        match command.flaw() {
            Some(flaw) => withheld(&flaw).into(),
            None => Self(vec![Part::Command(command), Part::Words(format!(" {}", does.into()))]),
        }
    }

    /// `kubectl gitlab-agent verify` and what it says.
    pub fn verify(says: &str) -> Self {
        Self::command(super::Program::new("kubectl gitlab-agent verify"), says)
    }

    /// Adds a command on a line of its own.
    #[must_use]
    pub fn line(mut self, command: impl Into<Command>) -> Self {
        let command = command.into();
        self.0.push(match command.flaw() {
            Some(flaw) => Part::Words(format!(" {}", withheld(&flaw))),
            None => Part::Line(command),
        });
        self
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The parts in order.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The sentence as one text, with the commands as `show` writes them.
    pub fn text(&self, show: impl Fn(&Command) -> String) -> String {
        let part = |part: &Part| match part {
            Part::Words(words) => words.clone(),
            Part::Command(command) => format!("`{}`", show(command)),
            Part::Line(command) => format!("\n{}", show(command)),
        };
        self.0.iter().map(part).collect()
    }
}

fn withheld(flaw: &str) -> String {
    format!("no command is printed, because {flaw}")
}
