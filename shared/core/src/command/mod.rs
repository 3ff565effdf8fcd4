//! A command for a person's shell, as a value: words, pipes, redirections and prompts. It becomes text once, at the end,
//! in [`Command::line`]. Nothing is ever inserted into text that was quoted before.
//!
//! Cluster data is hostile, so what it gives enters a command only as a whole word or behind `--flag=`, where no program
//! takes it for an option. What fits nowhere safely is a flaw, and a command with a flaw is not printed.

mod given;
mod hint;
#[cfg(any(test, feature = "fixture"))]
pub mod intent;
pub mod shell;

pub use given::Given;
pub use hint::{Hint, Part};
pub use shell::Shell;

use crate::name;
use crate::object::ObjectRef;
use crate::text::{is_hidden, shorten};

/// One argument: text, and what only the shell knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable(Variable),
    Output(Box<Pipeline>),
}

/// A variable of the person's shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    name: &'static str,
    unset: Unset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unset {
    Empty,
    Default(&'static str),
    Stop(&'static str),
}

impl Variable {
    /// The variable, which an earlier step of the command sets.
    pub fn new(name: &'static str) -> Self {
        Self { name, unset: Unset::Empty }
    }

    /// The variable, or this where the person has not set it.
    pub fn or(name: &'static str, default: &'static str) -> Self {
        Self { name, unset: Unset::Default(default) }
    }

    /// The variable; where the person has not set it, the shell says what is missing and stops.
    pub fn required(name: &'static str, what: &'static str) -> Self {
        Self { name, unset: Unset::Stop(what) }
    }
}

impl Word {
    /// Adds text behind.
    #[must_use]
    pub fn text(mut self, text: impl AsRef<str>) -> Self {
        match self.0.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text.as_ref()),
            _ => self.0.push(Piece::Text(text.as_ref().to_owned())),
        }
        self
    }

    /// Adds the value of a variable behind.
    #[must_use]
    pub fn variable(mut self, variable: Variable) -> Self {
        self.0.push(Piece::Variable(variable));
        self
    }

    /// Adds what a command prints behind.
    #[must_use]
    pub fn output(mut self, pipeline: impl Into<Pipeline>) -> Self {
        self.0.push(Piece::Output(Box::new(pipeline.into())));
        self
    }

    /// Adds another word behind, without a space.
    #[must_use]
    pub fn join(mut self, behind: Self) -> Self {
        for piece in behind.0 {
            match piece {
                Piece::Text(text) => self = self.text(text),
                other => self.0.push(other),
            }
        }
        self
    }

    /// The text, where nothing else is in it.
    fn plain(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }
}

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        Self::default().text(text)
    }
}

impl From<&String> for Word {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<String> for Word {
    fn from(text: String) -> Self {
        Self(vec![Piece::Text(text)])
    }
}

impl From<Variable> for Word {
    fn from(variable: Variable) -> Self {
        Self::default().variable(variable)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Input {
    File(&'static str),
    Text(Word),
}

/// One program with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    words: Vec<Word>,
    input: Option<Input>,
    output: Option<&'static str>,
    flaw: Option<String>,
}

/// `kubectl` in a namespace; without one, where the namespace is empty. The words are our own.
pub fn kubectl(namespace: &str, words: &'static str) -> Program {
    let program = Program::new("kubectl");
    let program = if namespace.is_empty() { program } else { program.in_namespace(namespace) };
    program.words(words)
}

impl Program {
    /// A program with words of our own, split at spaces.
    pub fn new(words: &'static str) -> Self {
        Self { words: Vec::new(), input: None, output: None, flaw: None }.words(words)
    }

    /// Adds words of our own, split at spaces.
    #[must_use]
    pub fn words(mut self, words: &'static str) -> Self {
        self.words.extend(words.split(' ').filter(|word| !word.is_empty()).map(Word::from));
        self
    }

    /// Adds one word, or the value of the option before it. Behind no option it must not begin with a dash.
    #[must_use]
    pub fn word(mut self, word: impl Into<Word>) -> Self {
        let word = word.into();
        let is_value = self.words.last().and_then(Word::plain).is_some_and(|before| before.starts_with('-'));
        if let Some(text) = word.plain().filter(|text| text.starts_with('-') && !is_value) {
            self = self.flawed(Some(like_an_option(text)));
        }
        self.words.push(word);
        self
    }

    /// Adds `--flag=value`, or `key=value`, as one word, so that the value is never taken for an option.
    #[must_use]
    pub fn flag(mut self, flag: &'static str, value: impl Into<Word>) -> Self {
        self.words.push(Word::from(flag).text("=").join(value.into()));
        self
    }

    /// Adds the name of an object where a program could take it for an option.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        let flaw = invalid(name);
        self.flawed(flaw).word(name)
    }

    /// Adds data where a program could take it for an option.
    #[must_use]
    pub fn operand(self, text: &str) -> Self {
        let flaw = match text {
            "" => Some("a value that it needs is empty".to_owned()),
            _ if text.starts_with('-') => Some(like_an_option(text)),
            _ => None,
        };
        self.flawed(flaw).word(text)
    }

    /// Adds an object as `kind/name`.
    #[must_use]
    pub fn object(self, object: &ObjectRef) -> Self {
        let flaw = invalid(&object.name);
        self.flawed(flaw).word(object.argument())
    }

    /// Adds `-n NAMESPACE`.
    #[must_use]
    pub fn in_namespace(self, namespace: &str) -> Self {
        let flaw = invalid(namespace);
        self.flawed(flaw).words("-n").word(namespace)
    }

    /// Reads standard input from a file of our own.
    #[must_use]
    pub fn from_file(mut self, file: &'static str) -> Self {
        self.input = Some(Input::File(file));
        self
    }

    /// Reads standard input from this text, whose lines end with a line feed.
    #[must_use]
    pub fn from_text(mut self, text: impl Into<Word>) -> Self {
        self.input = Some(Input::Text(text.into()));
        self
    }

    /// Writes standard output to a file of our own.
    #[must_use]
    pub fn to_file(mut self, file: &'static str) -> Self {
        self.output = Some(file);
        self
    }

    /// Passes standard output on.
    #[must_use]
    pub fn pipe(self, to: Self) -> Pipeline {
        Pipeline(vec![self, to])
    }

    fn flawed(mut self, flaw: Option<String>) -> Self {
        self.flaw = self.flaw.or(flaw);
        self
    }

    /// Whether a flag is given, in either form.
    fn has(&self, flag: &str) -> bool {
        self.words
            .iter()
            .filter_map(Word::plain)
            .any(|word| word == flag || word.strip_prefix(flag).is_some_and(|rest| rest.starts_with('=')))
    }
}

/// Programs, each of which reads what the one before prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline(Vec<Program>);

impl Pipeline {
    /// Passes standard output on.
    #[must_use]
    pub fn pipe(mut self, to: Program) -> Self {
        self.0.push(to);
        self
    }
}

impl From<Program> for Pipeline {
    fn from(program: Program) -> Self {
        Self(vec![program])
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Run(Pipeline),
    Set { name: &'static str, value: Word },
    Ask { name: &'static str, prompt: Option<&'static str>, shown: bool },
}

/// What a person pastes: steps, each of which runs only if the one before it succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command(Vec<Step>);

impl Command {
    /// Asks for a value, which is not shown and is in no argument, and puts it into a variable.
    pub fn ask(name: &'static str) -> Self {
        Self(vec![Step::Ask { name, prompt: None, shown: false }])
    }

    /// Sets a variable.
    pub fn set(name: &'static str, value: Word) -> Self {
        Self(vec![Step::Set { name, value }])
    }

    /// Asks with a prompt.
    pub fn prompt(name: &'static str, prompt: &'static str, shown: bool) -> Self {
        Self(vec![Step::Ask { name, prompt: Some(prompt), shown }])
    }

    /// What runs if this succeeded.
    #[must_use]
    pub fn then(mut self, next: impl Into<Self>) -> Self {
        self.0.extend(next.into().0);
        self
    }

    /// Why the command must not be printed, where it must not: as the end of a sentence.
    pub fn flaw(&self) -> Option<String> {
        let mut flaw = None;
        self.programs(&mut |program| flaw = flaw.take().or_else(|| program.flaw.clone()));
        self.texts(&mut |text, lines| {
            if text.chars().any(|c| is_hidden(c) && !(lines && c == '\n')) {
                let shown = shorten(text, SHOWN);
                flaw = flaw.take().or_else(|| Some(format!("`{shown}` has characters that cannot be shown")));
            }
        });
        flaw
    }

    fn pipelines<'c>(&'c self, on: &mut dyn FnMut(&'c Pipeline)) {
        for step in &self.0 {
            match step {
                Step::Run(pipeline) => inner(pipeline, on),
                Step::Set { value, .. } => outputs(value, on),
                Step::Ask { .. } => {}
            }
        }
    }

    fn programs<'c>(&'c self, on: &mut dyn FnMut(&'c Program)) {
        self.pipelines(&mut |pipeline| pipeline.0.iter().for_each(&mut *on));
    }

    /// Every text, and whether lines may end in it.
    fn texts(&self, on: &mut dyn FnMut(&str, bool)) {
        let mut of = |word: &Word, lines| {
            for piece in &word.0 {
                if let Piece::Text(text) = piece {
                    on(text, lines);
                }
            }
        };
        for step in &self.0 {
            if let Step::Set { value, .. } = step {
                of(value, false);
            }
        }
        self.programs(&mut |program| {
            program.words.iter().for_each(|word| of(word, false));
            if let Some(Input::Text(text)) = &program.input {
                of(text, true);
            }
        });
    }
}

fn inner<'c>(pipeline: &'c Pipeline, on: &mut dyn FnMut(&'c Pipeline)) {
    on(pipeline);
    for program in &pipeline.0 {
        let text = program.input.iter().filter_map(|input| match input {
            Input::Text(text) => Some(text),
            Input::File(_) => None,
        });
        program.words.iter().chain(text).for_each(|word| outputs(word, on));
    }
}

fn outputs<'c>(word: &'c Word, on: &mut dyn FnMut(&'c Pipeline)) {
    for piece in &word.0 {
        if let Piece::Output(pipeline) = piece {
            inner(pipeline, on);
        }
    }
}

impl From<Program> for Command {
    fn from(program: Program) -> Self {
        Self(vec![Step::Run(program.into())])
    }
}

impl From<Pipeline> for Command {
    fn from(pipeline: Pipeline) -> Self {
        Self(vec![Step::Run(pipeline)])
    }
}

/// As a POSIX shell takes it, without the flags of the run.
impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.line(Shell::Posix))
    }
}

/// Characters of a value in the sentence that says why a command is not printed.
const SHOWN: usize = 60;

fn like_an_option(text: &str) -> String {
    format!("`{}` could be taken for an option", shorten(text, SHOWN))
}

fn invalid(name: &str) -> Option<String> {
    (!name::is_valid(name)).then(|| format!("`{}` is not a valid name", shorten(name, SHOWN)))
}

#[cfg(test)]
mod tests;
