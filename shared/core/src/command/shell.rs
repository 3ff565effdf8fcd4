//! From a command to the text of a shell. Every word is quoted here and nowhere else.

use super::{Command, Input, Piece, Pipeline, Program, Step, Unset, Variable, Word};

/// The shell that a printed command is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shell {
    /// bash, zsh, and what takes the same.
    #[default]
    Posix,
    /// fish.
    Fish,
    /// PowerShell.
    PowerShell,
}

impl Shell {
    /// The shell in use: by the last part of `$SHELL` where it is set, otherwise PowerShell on Windows. Elsewhere
    /// `$PSModulePath` is only set by PowerShell itself, for what it starts.
    pub fn in_use(windows: bool, shell: Option<&str>, ps_module_path: bool) -> Self {
        let name = shell.and_then(|path| path.rsplit(['/', '\\']).next()).unwrap_or_default();
        match name.trim_end_matches(".exe") {
            "pwsh" | "powershell" => Self::PowerShell,
            _ if ps_module_path && !windows => Self::PowerShell,
            "fish" => Self::Fish,
            "" if windows => Self::PowerShell,
            _ => Self::Posix,
        }
    }
}

/// What stands before a command that PowerShell does not take. An interactive zsh knows no comments, so such a line holds
/// nothing that a shell acts on, and no data.
const IN_BASH: &str = "# run this in bash:\n";

/// What stands in the place of a command that must not be printed.
const WITHHELD: &str = "# no command is printed: a value in it is not safe to paste";

impl Command {
    /// The text to paste. A command that must not be printed is a comment that says so.
    pub fn line(&self, shell: Shell) -> String {
        if self.flaw().is_some() {
            return WITHHELD.to_owned();
        }
        match shell {
            Shell::Posix => posix(self),
            // fish has no here-documents, assignments or `read -rs`, and its variables have no defaults.
            Shell::Fish if self.needs_bash() => format!("bash -c {}", quote(&posix(self))),
            Shell::Fish => posix(self),
            Shell::PowerShell => powershell(self).unwrap_or_else(|| format!("{IN_BASH}{}", posix(self))),
        }
    }

    fn needs_bash(&self) -> bool {
        let defaults = |word: &Word| {
            word.0.iter().any(|piece| matches!(piece, Piece::Variable(v) if v.unset != Unset::Empty))
        };
        let mut needs = self.0.iter().any(|step| !matches!(step, Step::Run(_)));
        self.programs(&mut |program| {
            needs |= matches!(program.input, Some(Input::Text(_))) || program.words.iter().any(defaults);
        });
        needs
    }
}

/// Quotes a word so that bash, zsh, sh and fish all take it as it is: a command that is pasted into another shell than it
/// was printed for is still the same words. In fish a backslash escapes a quote and a backslash inside of single quotes, so
/// such a one stands outside of them.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    // zsh takes `=word` for the path of a program, fish `%self` for its own number.
    let starts = |text: &str| text.starts_with('=') || text.starts_with("%self");
    // With its option MAGIC_EQUAL_SUBST also behind `name=` and `name=a:`; in an assignment the latter always.
    let inside = |text: &str| ["==", ":="].iter().any(|sign| text.contains(sign));
    let is_plain = |text: &str| {
        let named = text.strip_suffix('=').unwrap_or(text);
        !text.is_empty() && text.chars().all(plain) && !starts(text) && !inside(named)
    };
    if is_plain(word) {
        return word.to_owned();
    }
    match word.split_once('=') {
        Some((flag, value)) if is_plain(flag) && !flag.ends_with(':') => {
            format!("{flag}={}", in_quotes(value))
        }
        _ => in_quotes(word),
    }
}

fn in_quotes(text: &str) -> String {
    let mut out = String::from("'");
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\'' => out.push_str(r"'\''"),
            '\\' if matches!(rest.peek(), None | Some('\'' | '\\')) => out.push_str(r"'\\'"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// A line, and the here-documents that follow it.
#[derive(Default)]
struct Text {
    line: String,
    documents: String,
}

fn posix(command: &Command) -> String {
    let mut text = Text::default();
    for (at, step) in command.0.iter().enumerate() {
        if at > 0 {
            text.line.push_str(" && ");
        }
        match step {
            Step::Run(pipeline) => text.pipeline(pipeline),
            Step::Set { name, value } => {
                text.line.push_str(&format!("{name}={}", word(value)));
            }
            Step::Ask { name, prompt, shown } => {
                if let Some(prompt) = prompt {
                    text.line.push_str(&format!("printf %s {} && ", quote(&format!("{prompt}: "))));
                }
                text.line.push_str(&format!("read -r{} {name}", if *shown { "" } else { "s" }));
            }
        }
    }
    if text.documents.is_empty() { text.line } else { format!("{}\n{}", text.line, text.documents) }
}

impl Text {
    fn pipeline(&mut self, Pipeline(programs): &Pipeline) {
        for (at, program) in programs.iter().enumerate() {
            if at > 0 {
                self.line.push_str(" | ");
            }
            self.program(program);
        }
    }

    fn program(&mut self, program: &Program) {
        let words: Vec<String> = program.words.iter().map(word).collect();
        self.line.push_str(&words.join(" "));
        match &program.input {
            Some(Input::File(file)) => self.line.push_str(&format!(" < {}", quote(file))),
            Some(Input::Text(text)) => self.document(text),
            None => {}
        }
        if let Some(file) = program.output {
            self.line.push_str(&format!(" > {}", quote(file)));
        }
    }

    /// The end of a here-document is a line that its text does not hold. Only where a variable is in it is it one in which
    /// the shell looks for variables.
    fn document(&mut self, text: &Word) {
        let literal = text.plain().is_some();
        let body: String = text.0.iter().map(|piece| in_document(piece, literal)).collect();
        let mut end = "EOF".to_owned();
        while body.lines().any(|line| line == end) {
            end.push('F');
        }
        let mark = if literal { format!("'{end}'") } else { end.clone() };
        self.line.push_str(&format!(" <<{mark}"));
        if !self.documents.is_empty() {
            self.documents.push('\n');
        }
        let feed = if body.ends_with('\n') { "" } else { "\n" };
        self.documents.push_str(&format!("{body}{feed}{end}"));
    }
}

fn in_document(piece: &Piece, literal: bool) -> String {
    match piece {
        Piece::Text(text) if literal => text.clone(),
        Piece::Text(text) => text.replace('\\', r"\\").replace('$', r"\$").replace('`', r"\`"),
        Piece::Variable(variable) => reference(variable),
        Piece::Output(pipeline) => substitution(pipeline),
    }
}

fn word(word: &Word) -> String {
    match word.plain() {
        Some(text) => quote(text),
        None => word.0.iter().map(piece).collect(),
    }
}

fn piece(piece: &Piece) -> String {
    match piece {
        Piece::Text(text) => quote(text),
        Piece::Variable(variable) => format!("\"{}\"", reference(variable)),
        Piece::Output(pipeline) => format!("\"{}\"", substitution(pipeline)),
    }
}

fn reference(variable: &Variable) -> String {
    let name = variable.name;
    match variable.unset {
        Unset::Empty => format!("${name}"),
        Unset::Default(default) => format!("${{{name}:-{default}}}"),
        Unset::Stop(what) => format!("${{{name}:?{what}}}"),
    }
}

fn substitution(pipeline: &Pipeline) -> String {
    let mut text = Text::default();
    text.pipeline(pipeline);
    format!("$({})", text.line)
}

/// One program with plain words, where PowerShell and the program agree on them. Words with a double quote, an empty word
/// and a backslash at the end reach a program in one way in Windows PowerShell 5.1 and in another since PowerShell 7.3
/// (about_Parsing, "Passing arguments that contain quote characters").
fn powershell(command: &Command) -> Option<String> {
    let [Step::Run(Pipeline(programs))] = command.0.as_slice() else { return None };
    let [Program { words, input: None, output: None, .. }] = programs.as_slice() else { return None };
    let words: Option<Vec<String>> = words.iter().map(|word| powershell_word(word.plain()?)).collect();
    Some(words?.join(" "))
}

/// Single quotes keep everything but single quotes, which are doubled: PowerShell takes four others of Unicode for the same
/// (PowerShell language specification, 2.3.5.2, "single-quote-character").
fn powershell_word(word: &str) -> Option<String> {
    if word.is_empty() || word.contains('"') || word.ends_with('\\') {
        return None;
    }
    // Windows PowerShell parts an argument like `-a.b` or `-a:b` in two, and reads a number as one.
    let more = if word.starts_with('-') { "-_/=" } else { "-_./:=" };
    let plain = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
    let starts = |c: char| c.is_ascii_alphabetic() || c == '-';
    if word.starts_with(starts) && word.chars().all(plain) {
        return Some(word.to_owned());
    }
    let mut out = String::from("'");
    for c in word.chars() {
        if matches!(c, '\'' | '\u{2018}'..='\u{201b}') {
            out.push(c);
        }
        out.push(c);
    }
    out.push('\'');
    Some(out)
}
