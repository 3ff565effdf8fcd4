//! How people's output looks: colour, width, and what pasted commands need.

use owo_colors::{OwoColorize, Style as Paint};

use crate::assess::{Check, Severity};
use crate::command::{Command, Given, Program, Shell};

/// How people's output looks.
#[derive(Clone, Debug)]
pub struct Style {
    /// Whether to use colour. Nothing is said by colour alone.
    pub colour: bool,
    /// Columns of the terminal.
    pub width: usize,
    /// What this run was given and printed commands need.
    pub given: Given,
    /// The shell that they are printed for.
    pub shell: Shell,
}

impl Default for Style {
    fn default() -> Self {
        Self { colour: false, width: 80, given: Given::default(), shell: Shell::Posix }
    }
}

impl Style {
    fn paint(&self, text: &str, paint: Paint) -> String {
        if self.colour { text.style(paint).to_string() } else { text.to_owned() }
    }

    /// Bold.
    pub fn strong(&self, text: &str) -> String {
        self.paint(text, Paint::new().bold())
    }

    /// Grey.
    pub fn faint(&self, text: &str) -> String {
        self.paint(text, Paint::new().dimmed())
    }

    /// Green.
    pub fn good(&self, text: &str) -> String {
        self.paint(text, Paint::new().green())
    }

    /// A command to paste.
    pub fn command(&self, text: &str) -> String {
        self.paint(text, Paint::new().cyan())
    }

    /// In the colour of a severity.
    pub fn severity(&self, severity: Severity, text: &str) -> String {
        let paint = match severity {
            Severity::Error => Paint::new().red().bold(),
            Severity::Warning => Paint::new().yellow(),
            Severity::Info => Paint::new().blue(),
        };
        self.paint(text, paint)
    }

    /// The sign of a severity.
    pub fn sign(severity: Severity) -> &'static str {
        match severity {
            Severity::Error => "✗",
            Severity::Warning => "!",
            Severity::Info => "i",
        }
    }

    /// A command as it is to be pasted: for the shell in use, with the flags that this run was given.
    pub fn complete(&self, command: &Command) -> String {
        command.with(&self.given).line(self.shell)
    }

    /// The same for programs, which get it as a POSIX shell takes it.
    pub fn portable(&self, command: &Command) -> String {
        command.with(&self.given).line(Shell::Posix)
    }
}

/// `verify` with this flag of a check.
pub(super) fn verify(flag: &'static str, check: &Check) -> Command {
    Program::new("kubectl gitlab-agent verify").words(flag).word(check.id()).into()
}

/// Breaks text at spaces into lines of at most `width` columns; a longer word stays whole, so that it can be copied.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    wrap_words(text.split(' ').filter(|w| !w.is_empty()), width)
}

/// The same for words that are parted already, and that may have spaces in them.
pub(crate) fn wrap_words(words: impl IntoIterator<Item = impl AsRef<str>>, width: usize) -> Vec<String> {
    use unicode_width::UnicodeWidthStr;
    let mut lines = vec![String::new()];
    for word in words {
        let word = word.as_ref();
        let last = lines.last_mut().expect("never empty");
        if last.is_empty() {
            last.push_str(word);
        } else if last.width() + 1 + word.width() <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_wraps_at_spaces_and_keeps_long_words() {
        assert_eq!(wrap("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(wrap("aaaaaaaaaa b", 5), ["aaaaaaaaaa", "b"]);
    }
}
