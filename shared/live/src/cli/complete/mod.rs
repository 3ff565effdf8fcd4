//! Completion of one program's command line, in Cobra's protocol: a candidate a line with its description behind a
//! tab, and last a line `:N`. kubectl (`kubectl_complete-gitlab_agent`), flux (`flux-gitlab-agent __complete`) and the
//! scripts of `completion` all ask this way (kubernetes/kubectl pkg/cmd/plugin/plugin_completion.go, fluxcd/flux2
//! internal/plugin/completion.go). Whatever fails, fails silently: nobody wants an error at the tab key.

mod values;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use clap::{Arg, Command, ValueHint};
use gitlab_agent_core::report::Exit;

use super::out;
use super::streams::ended;

/// The hidden command, called with the words before the one to complete, then that one (which may be empty).
pub const COMMAND: &str = "__complete";

/// Cobra's ShellCompDirectiveDefault: where there is no candidate, the shell offers files.
const FILES: u8 = 0;
/// Cobra's ShellCompDirectiveNoFileComp.
const NO_FILES: u8 = 4;

/// Something that may be typed, with what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    word: String,
    help: String,
}

impl Candidate {
    /// A word with its meaning, which may be empty.
    pub fn new(word: &str, help: &str) -> Self {
        Self { word: word.to_owned(), help: help.to_owned() }
    }
}

/// What can be typed next.
#[derive(Debug)]
enum Next<'c> {
    /// These words.
    Words(Vec<Candidate>),
    /// A value of this argument, behind this much of the word, which stays.
    Value(&'c Arg, String),
    /// Nothing is known.
    Nothing,
}

/// Answers one tab key for a program with these arguments.
pub fn main(mut command: Command, words: &[OsString]) -> ExitCode {
    command.build();
    let words: Vec<String> = words.iter().map(|w| w.to_string_lossy().into_owned()).collect();
    let (partial, before) = words.split_last().map_or(("", words.as_slice()), |(p, b)| (p.as_str(), b));
    out(&match next(&command, before, partial) {
        Next::Words(words) => lines(words.into_iter(), partial),
        Next::Nothing => lines(std::iter::empty(), partial),
        Next::Value(arg, kept) if is_file(arg) && kept.is_empty() => format!(":{FILES}\n"),
        Next::Value(arg, kept) => {
            let found = values_of(arg, &command, before);
            lines(found.into_iter().map(|c| Candidate { word: format!("{kept}{}", c.word), ..c }), partial)
        }
    });
    ended(Exit::Fine)
}

/// The answer: what begins with what is there already.
pub fn lines(candidates: impl Iterator<Item = Candidate>, partial: &str) -> String {
    let mut text = String::new();
    for candidate in candidates.filter(|c| c.word.starts_with(partial)) {
        // A name is cluster text: what could break a line or a terminal is not offered.
        if candidate.word.chars().any(|c| c.is_whitespace() || gitlab_agent_core::text::is_hidden(c)) {
            continue;
        }
        let help = gitlab_agent_core::text::visible(candidate.help.lines().next().unwrap_or_default());
        text.push_str(&candidate.word);
        if !help.is_empty() {
            text.push('\t');
            text.push_str(&help);
        }
        text.push('\n');
    }
    text.push_str(&format!(":{NO_FILES}\n"));
    text
}

fn next<'c>(mut command: &'c Command, before: &[String], partial: &str) -> Next<'c> {
    let mut position = 1;
    let mut waiting = None;
    let mut only_positions = false;
    for word in before {
        if waiting.take().is_some() {
            continue;
        }
        match word.as_str() {
            "--" if !only_positions => only_positions = true,
            flag if !only_positions && flag.starts_with('-') && flag.len() > 1 => {
                waiting = wants(command, flag)
            }
            name => match command.find_subcommand(name) {
                Some(below) if position == 1 => command = below,
                _ => position += 1,
            },
        }
    }
    if let Some(arg) = waiting {
        return Next::Value(arg, list_before(arg, partial));
    }
    if !only_positions && partial.starts_with('-') {
        return match partial.split_once('=') {
            Some((flag, value)) => match flag_of(command, flag) {
                Some(arg) if takes_value(arg) => {
                    Next::Value(arg, format!("{flag}={}", list_before(arg, value)))
                }
                _ => Next::Nothing,
            },
            None => Next::Words(flags(command)),
        };
    }
    if position == 1 && command.has_subcommands() {
        return Next::Words(subcommands(command));
    }
    match command.get_positionals().find(|arg| arg.get_index() == Some(position)) {
        Some(arg) => Next::Value(arg, list_before(arg, partial)),
        None => Next::Nothing,
    }
}

/// The argument whose value the next word is.
fn wants<'c>(command: &'c Command, flag: &str) -> Option<&'c Arg> {
    if flag.contains('=') {
        return None;
    }
    if flag.starts_with("--") {
        return flag_of(command, flag).filter(|arg| takes_value(arg));
    }
    // `-vn`: the first short flag that takes a value takes the rest, or the next word where there is no rest.
    let letters: Vec<char> = flag.chars().skip(1).collect();
    let short = |c: char| command.get_arguments().find(|arg| arg.get_short() == Some(c));
    let at = letters.iter().position(|c| short(*c).is_some_and(takes_value))?;
    if at + 1 == letters.len() { short(letters[at]) } else { None }
}

fn flag_of<'c>(command: &'c Command, flag: &str) -> Option<&'c Arg> {
    let name = flag.strip_prefix("--")?;
    let is = |arg: &&Arg| {
        arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|all| all.contains(&name))
    };
    command.get_arguments().find(is)
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

/// The part of a list such as `GA304,GA4` that is complete.
fn list_before(arg: &Arg, partial: &str) -> String {
    match arg.get_value_delimiter().and_then(|comma| partial.rfind(comma)) {
        Some(at) => partial[..=at].to_owned(),
        None => String::new(),
    }
}

fn flags(command: &Command) -> Vec<Candidate> {
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let flag = |arg: &Arg| {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        arg.get_long().map(|long| Candidate { word: format!("--{long}"), help })
    };
    shown.filter_map(flag).collect()
}

fn subcommands(command: &Command) -> Vec<Candidate> {
    let shown = command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help");
    let about = |c: &Command| c.get_about().map(ToString::to_string).unwrap_or_default();
    shown.map(|c| Candidate { word: c.get_name().to_owned(), help: about(c) }).collect()
}

fn is_file(arg: &Arg) -> bool {
    matches!(arg.get_value_hint(), ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath)
}

fn values_of(arg: &Arg, command: &Command, before: &[String]) -> Vec<Candidate> {
    let possible = arg.get_possible_values();
    if possible.is_empty() {
        return values::live(arg.get_id().as_str(), command, before);
    }
    let one = |v: &clap::builder::PossibleValue| Candidate {
        word: v.get_name().to_owned(),
        help: v.get_help().map(ToString::to_string).unwrap_or_default(),
    };
    possible.iter().filter(|v| !v.is_hide_set()).map(one).collect()
}

/// Whether this process was asked to complete.
pub fn asked(words: &[OsString]) -> Option<&[OsString]> {
    let (first, rest) = words.get(1..)?.split_first()?;
    (first.as_os_str() == OsStr::new(COMMAND)).then_some(rest)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::{reconcile_now, verify};

    fn tells(command: &mut Command, line: &str) -> String {
        command.build();
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let (partial, before) = words.split_last().expect("a word");
        match next(command, before, partial) {
            Next::Words(words) => lines(words.into_iter(), partial),
            Next::Value(arg, kept) if kept.is_empty() => arg.get_id().to_string(),
            Next::Value(arg, kept) => format!("{} after {kept}", arg.get_id()),
            Next::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn the_word_to_complete_is_known_by_what_stands_before() {
        let verify = |line| tells(&mut verify::Args::command(), line);
        for (line, expected) in [
            ("--context ", "context"),
            ("--context=", "context after --context="),
            ("-A --context prod -n ", "namespace"),
            ("-vn ", "namespace"),
            ("-nflux ", "nothing"),
            ("--only GA304,", "only after GA304,"),
            ("--only=GA304,GA4", "only after --only=GA304,"),
            ("--from ", "from"),
            ("", "nothing"),
            ("--no-such-flag ", "nothing"),
        ] {
            assert_eq!(verify(line), expected, "{line}");
        }
        assert_eq!(
            verify("--expl"),
            "--explain\tPrint a check's page and end\n:4\n",
            "flags come with what they do"
        );
        let reconcile = |line| tells(&mut reconcile_now::Args::command(), line);
        assert_eq!(reconcile(""), "target");
        assert_eq!(reconcile("--dry-run kustomi"), "target");
        assert_eq!(reconcile("a/b "), "nothing", "there is one target");
        assert_eq!(reconcile("--wait-timeout "), "timeout", "also by its other name");
        assert_eq!(reconcile("-- -"), "target");
    }

    #[test]
    fn names_that_would_break_a_line_are_not_offered() {
        let bad = ["a b", "a\nb", "a\u{202e}b", "a\u{1b}[31m"].map(|word| Candidate::new(word, ""));
        assert_eq!(lines(bad.into_iter(), ""), ":4\n");
        assert_eq!(lines([Candidate::new("a", "one\ntwo")].into_iter(), ""), "a\tone\n:4\n");
    }

    #[test]
    fn every_file_argument_offers_files() {
        for (verb, _) in crate::cli::verbs::VERBS {
            let mut command = crate::cli::verbs::arguments(verb).expect("it is in the table");
            command.build();
            for arg in command.get_arguments() {
                let named = arg.get_value_names().is_some_and(|n| n.iter().any(|n| n.as_str() == "FILE"));
                assert_eq!(named, is_file(arg), "{verb} {}", arg.get_id());
            }
        }
    }
}
