//! How people's output looks: colour, width, and the context that pasted commands need.

use owo_colors::{OwoColorize, Style as Paint};

use crate::assess::Severity;
use crate::text::{quote, visible};

/// How people's output looks.
#[derive(Clone, Debug)]
pub struct Style {
    /// Whether to use colour. Nothing is said by colour alone.
    pub colour: bool,
    /// Columns of the terminal.
    pub width: usize,
    /// The context to name in printed commands, where the person named one.
    pub context: Option<String>,
}

impl Default for Style {
    fn default() -> Self {
        Self { colour: false, width: 80, context: None }
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

    /// A command as it is to be pasted: with the context that the person gave to this run.
    pub fn complete(&self, command: &str) -> String {
        let command = lines_visible(command);
        let Some(context) = self.context.as_deref().map(visible) else { return command };
        let context = quote(&context);
        let replacement = format!("kubectl --context {context} ");
        let own = "kubectl gitlab-agent ";
        let mut out = String::with_capacity(command.len() + replacement.len());
        let mut rest = command.as_str();
        while let Some(at) = rest.find("kubectl ") {
            let starts_word = at == 0 || rest[..at].ends_with([' ', '(', '\n']);
            out.push_str(&rest[..at]);
            if starts_word && rest[at..].starts_with(own) {
                let verb_end =
                    rest[at + own.len()..].find(' ').map_or(rest.len(), |end| at + own.len() + end);
                out.push_str(&rest[at..verb_end]);
                out.push_str(&format!(" --context {context}"));
                rest = &rest[verb_end..];
            } else {
                out.push_str(if starts_word { &replacement } else { "kubectl " });
                rest = &rest[at + "kubectl ".len()..];
            }
        }
        out.push_str(rest);
        out
    }
}

/// Makes hidden code points visible and keeps line feeds: a here-document needs them.
fn lines_visible(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}

/// Breaks text at spaces into lines of at most `width` columns; a longer word stays whole, so that it can be copied.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    use unicode_width::UnicodeWidthStr;
    let mut lines = vec![String::new()];
    for word in text.split(' ').filter(|w| !w.is_empty()) {
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
    fn commands_carry_the_context_that_was_given() {
        let style = Style { context: Some("prod eu".to_owned()), ..Style::default() };
        assert_eq!(
            style.complete("kubectl -n a get b | kubectl apply -f -"),
            "kubectl --context 'prod eu' -n a get b | kubectl --context 'prod eu' apply -f -"
        );
        assert_eq!(
            style.complete("kubectl gitlab-agent verify --only GA304"),
            "kubectl gitlab-agent verify --context 'prod eu' --only GA304"
        );
        assert_eq!(style.complete("git push"), "git push");
        assert_eq!(Style::default().complete("kubectl get x"), "kubectl get x");
    }

    #[test]
    fn text_wraps_at_spaces_and_keeps_long_words() {
        assert_eq!(wrap("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(wrap("aaaaaaaaaa b", 5), ["aaaaaaaaaa", "b"]);
    }
}
