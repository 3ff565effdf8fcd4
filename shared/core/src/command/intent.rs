//! What a command is meant to run, for tests that paste it into real shells.

use super::{Command, Input, Piece, Program, Word};

/// What a variable, and what a program in `$(…)`, is in the test.
pub struct Intent<'v> {
    /// The value of a variable.
    pub variable: &'v dyn Fn(&str) -> String,
    /// What every program prints.
    pub output: &'v str,
}

/// One program as it is to be started.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// Its name and arguments.
    pub argv: Vec<String>,
    /// The text of a here-document, where it reads one.
    pub input: Option<String>,
}

impl Intent<'_> {
    /// The programs that the command starts, in the order of the text.
    pub fn of(&self, command: &Command) -> Vec<Run> {
        let mut runs = Vec::new();
        command.programs(&mut |program| runs.push(self.run(program)));
        runs
    }

    fn run(&self, program: &Program) -> Run {
        let input = program.input.as_ref().and_then(|input| match input {
            Input::Text(text) => Some(self.word(text)),
            Input::File(_) => None,
        });
        Run { argv: program.words.iter().map(|word| self.word(word)).collect(), input }
    }

    fn word(&self, word: &Word) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Variable(variable) => (self.variable)(variable.name),
            Piece::Output(_) => self.output.to_owned(),
        };
        word.0.iter().map(piece).collect()
    }
}
