//! The front end: `kubectl gitlab-agent VERB …` finds the program of the verb and becomes it.
//!
//! krew and Flux put one name on PATH, a link into the folder that holds all the programs; so they are looked for
//! beside the link's target first, then on PATH. Arguments, standard input and the exit code pass untouched, but for
//! flags before the verb, which move behind it: Flux forwards `flux -n x gitlab-agent status` as `-n x status`.
//!
//! `flux plugin install` takes one file out of an archive and nothing else (fluxcd/flux2 internal/plugin/install.go), so
//! the program for Flux has the verbs in it: [`main_whole`].

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use gitlab_agent_core::report::Exit;

use super::streams::ended;
use super::verbs::{self, VERBS, program};
use super::{complete, completion, note, out};

/// The flags of all commands that take a value in the next word. This program does not link the commands' arguments, so
/// that it starts at once; a test compares the list with them.
const FLAGS_WITH_VALUE: &[&str] = &[
    "--agent",
    "--as",
    "--as-group",
    "--as-uid",
    "--at",
    "--cluster",
    "--color",
    "--concurrency",
    "--confirm-group",
    "--context",
    "--expires-in",
    "--expiry-window",
    "--explain",
    "--fail-on",
    "--flux-namespace",
    "--from",
    "--gitlab-agent",
    "--gitlab-ca-file",
    "--gitlab-host",
    "--gitlab-token-file",
    "--if-expires-within",
    "--if-older-than",
    "--in-place",
    "--interval",
    "--kubeconfig",
    "--make",
    "--namespace",
    "--output",
    "--output-threshold",
    "--print-manifest",
    "--project",
    "--reason",
    "--record",
    "--request-timeout",
    "--role",
    "--selector",
    "--server",
    "--service-account",
    "--severity",
    "--skip",
    "--timeout",
    "--user",
    "--verify-timeout",
    "--wait-timeout",
    "--watch-old",
    "--webhook-url",
    "-l",
    "-n",
    "-o",
    "-s",
];

/// Flags that take a value in some commands and none in others: what follows is their value, unless it is a command.
const FLAGS_WITH_VALUE_IN_SOME: &[&str] = &["--dry-run", "--only"];

/// Where the verbs are.
#[derive(Clone, Copy)]
struct Verbs {
    is_here: fn(&str) -> bool,
    run: fn(&str, Vec<OsString>) -> ExitCode,
}

const BESIDE: Verbs = Verbs { is_here: |verb| find(verb).is_some(), run: become_verb };

/// Runs the front end whose verbs are programs of their own.
pub fn main() -> ExitCode {
    run_front(BESIDE)
}

/// Runs the front end with all verbs in it.
pub fn main_whole() -> ExitCode {
    let run = |verb: &str, words| verbs::run(verb, words).unwrap_or_else(|| ended(Exit::Usage));
    run_front(Verbs { is_here: |_| true, run })
}

fn run_front(verbs: Verbs) -> ExitCode {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    if words.first().is_some_and(|word| word == complete::COMMAND) {
        return complete_word(verbs, &words[1..]);
    }
    match split(&words) {
        Split::Help => {
            out(&help(verbs));
            ended(Exit::Fine)
        }
        Split::Version => {
            out(&format!("kubectl gitlab-agent {}\n", env!("CARGO_PKG_VERSION")));
            ended(Exit::Fine)
        }
        Split::FlagsOnly(flag) => {
            note(&format!("error: no command after {}; one of: {}", flag.to_string_lossy(), names()));
            ended(Exit::Usage)
        }
        Split::Verb(verb, rest) if verb == completion::NAME => completion::run(&rest),
        Split::Verb(verb, rest) => run(verbs, &verb, rest),
    }
}

/// Completes the last word: the verb here, everything else by the program of the verb.
fn complete_word(verbs: Verbs, words: &[OsString]) -> ExitCode {
    let (partial, before) = words.split_last().map_or((OsStr::new(""), words), |(p, b)| (p.as_os_str(), b));
    let typed = partial.to_string_lossy();
    let waits = before.last().is_some_and(|w| FLAGS_WITH_VALUE.contains(&w.to_string_lossy().as_ref()));
    let (verb, mut rest) = match split(before) {
        Split::Verb(verb, rest) if verb == completion::NAME => {
            out(&completion::candidates(&rest, &typed));
            return ended(Exit::Fine);
        }
        Split::Verb(verb, rest) => (verb, rest),
        // Flags before the verb are those that all programs share.
        _ if waits || typed.starts_with('-') => (VERBS[0].0.to_owned(), before.to_vec()),
        _ => {
            let own = [completion::VERB, ("help", "explain a command")];
            let all = VERBS.iter().chain(&own);
            out(&complete::lines(all.map(|(verb, answers)| complete::Candidate::new(verb, answers)), &typed));
            return ended(Exit::Fine);
        }
    };
    if !VERBS.iter().any(|(known, _)| *known == verb) || !(verbs.is_here)(&verb) {
        out(&complete::lines(std::iter::empty(), ""));
        return ended(Exit::Fine);
    }
    rest.insert(0, complete::COMMAND.into());
    rest.push(partial.to_owned());
    (verbs.run)(&verb, rest)
}

enum Split {
    Help,
    Version,
    FlagsOnly(OsString),
    Verb(String, Vec<OsString>),
}

/// Finds the verb; what stood before it comes behind it.
fn split(words: &[OsString]) -> Split {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let text = word.to_string_lossy();
        match text.as_ref() {
            "-h" | "--help" | "help" if at == 0 && words.len() == 1 => return Split::Help,
            "--version" if at == 0 => return Split::Version,
            "help" => return Split::Verb(first(&words[at + 1..]), vec!["--help".into()]),
            flag if FLAGS_WITH_VALUE.contains(&flag) => at += 2,
            flag if FLAGS_WITH_VALUE_IN_SOME.contains(&flag) => {
                at +=
                    if words.get(at + 1).is_none_or(|next| is_verb(&next.to_string_lossy())) { 1 } else { 2 };
            }
            flag if flag.starts_with('-') => at += 1,
            verb => {
                let verb = verb.replace('_', "-");
                let (before, behind) = (&words[..at], &words[at + 1..]);
                return Split::Verb(verb, before.iter().chain(behind).cloned().collect());
            }
        }
    }
    match words.first() {
        None => Split::Help,
        Some(flag) => Split::FlagsOnly(flag.clone()),
    }
}

fn is_verb(word: &str) -> bool {
    VERBS.iter().any(|(verb, _)| *verb == word.replace('_', "-"))
}

fn first(words: &[OsString]) -> String {
    words.first().map(|w| w.to_string_lossy().into_owned()).unwrap_or_default()
}

fn run(verbs: Verbs, verb: &str, args: Vec<OsString>) -> ExitCode {
    if !VERBS.iter().any(|(known, _)| *known == verb) {
        note(&format!("error: unknown command '{verb}'; {}", suggestion(verb)));
        return ended(Exit::Usage);
    }
    (verbs.run)(verb, args)
}

fn become_verb(verb: &str, args: Vec<OsString>) -> ExitCode {
    let Some(program) = find(verb) else {
        note(&format!(
            "error: the program {} is neither beside kubectl-gitlab_agent nor on PATH; install the plugin again",
            program(verb)
        ));
        return ended(Exit::Usage);
    };
    become_program(&program, args)
}

/// The nearest known verb, by the letters they have in common at the start or anywhere in order.
fn suggestion(verb: &str) -> String {
    let near = VERBS.iter().find(|(known, _)| {
        let common = known.chars().zip(verb.chars()).take_while(|(a, b)| a == b).count();
        common >= 3 || known.contains(verb) && !verb.is_empty()
    });
    match near {
        Some((known, _)) => format!("did you mean '{known}'? Commands: {}", names()),
        None => format!("commands: {}", names()),
    }
}

fn names() -> String {
    VERBS.iter().map(|(verb, _)| *verb).collect::<Vec<_>>().join(", ")
}

fn find(verb: &str) -> Option<PathBuf> {
    let name = format!("{}{}", program(verb), env::consts::EXE_SUFFIX);
    let own = env::current_exe().ok().and_then(|path| path.canonicalize().ok());
    let beside = own.and_then(|path| path.parent().map(|dir| dir.join(&name))).filter(|path| path.is_file());
    beside.or_else(|| which::which(OsStr::new(&name)).ok())
}

#[cfg(unix)]
fn become_program(program: &PathBuf, args: Vec<OsString>) -> ExitCode {
    use std::os::unix::process::CommandExt as _;
    let error = Command::new(program).args(args).exec();
    note(&format!("error: cannot run {}: {error}", program.display()));
    ended(Exit::Bug)
}

#[cfg(not(unix))]
fn become_program(program: &PathBuf, args: Vec<OsString>) -> ExitCode {
    match Command::new(program).args(args).status() {
        Ok(status) => ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1)),
        Err(error) => {
            note(&format!("error: cannot run {}: {error}", program.display()));
            ended(Exit::Bug)
        }
    }
}

fn help(verbs: Verbs) -> String {
    let mut text = String::from(
        "Says what is wrong between a git push to GitLab and a running pod, and how to mend it.\n\n\
         Usage: kubectl gitlab-agent COMMAND [FLAGS]\n\nCommands:\n",
    );
    for (verb, answers) in VERBS {
        let missing = if (verbs.is_here)(verb) { "" } else { "  (not installed)" };
        text.push_str(&format!("  {verb:<13} {answers}{missing}\n"));
    }
    text.push_str(&format!("  {:<13} {}\n", completion::VERB.0, completion::VERB.1));
    text.push_str(
        "\n`kubectl gitlab-agent COMMAND --help` explains a command. Start with `status`; where it shows a problem,\n\
         `verify` says what to do.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn verb(line: &str) -> (String, String) {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        match split(&words) {
            Split::Verb(verb, rest) => {
                let rest: Vec<String> = rest.iter().map(|w| w.to_string_lossy().into_owned()).collect();
                (verb, rest.join(" "))
            }
            Split::Help => ("HELP".to_owned(), String::new()),
            Split::Version => ("VERSION".to_owned(), String::new()),
            Split::FlagsOnly(flag) => ("FLAGS".to_owned(), flag.to_string_lossy().into_owned()),
        }
    }

    #[test]
    fn flags_before_the_verb_move_behind_it() {
        for (line, expected) in [
            ("status -o json", ("status", "-o json")),
            ("-n x status", ("status", "-n x")),
            ("--context=c -v verify --only GA304", ("verify", "--context=c -v --only GA304")),
            ("--context status verify", ("verify", "--context status")),
            ("reconcile_now", ("reconcile-now", "")),
            ("", ("HELP", "")),
            ("--help", ("HELP", "")),
            ("help verify", ("verify", "--help")),
            ("--version", ("VERSION", "")),
            ("-n x", ("FLAGS", "-n")),
        ] {
            assert_eq!(verb(line), (expected.0.to_owned(), expected.1.to_owned()), "{line}");
        }
    }

    /// Over every command and flag.
    #[test]
    fn the_flags_with_a_value_are_those_of_the_commands() {
        let mut takes: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
        for (verb, _) in VERBS {
            let mut command = verbs::arguments(verb).expect("a command");
            command.build();
            for one in std::iter::once(&command).chain(command.get_subcommands()) {
                for arg in one.get_arguments().filter(|arg| !arg.is_positional()) {
                    let long = arg.get_long_and_visible_aliases().unwrap_or_default();
                    let short = arg.get_short_and_visible_aliases().unwrap_or_default();
                    let in_next_word = arg.get_num_args().is_none_or(|count| count.min_values() > 0);
                    let takes_value = arg.get_action().takes_values() && in_next_word;
                    let names = long.iter().map(|name| format!("--{name}"));
                    for name in names.chain(short.iter().map(|letter| format!("-{letter}"))) {
                        takes.entry(name).or_default().insert(takes_value);
                    }
                }
            }
        }
        let of = |expected: &[bool]| -> Vec<&str> {
            let expected: BTreeSet<bool> = expected.iter().copied().collect();
            takes.iter().filter(|(_, seen)| **seen == expected).map(|(name, _)| name.as_str()).collect()
        };
        let (always, in_some, never) = (of(&[true]), of(&[true, false]), of(&[false]));
        assert_eq!(FLAGS_WITH_VALUE, always);
        assert_eq!(FLAGS_WITH_VALUE_IN_SOME, in_some);
        for flag in always.iter().chain(&in_some) {
            assert_eq!(verb(&format!("{flag} H verify")), ("verify".to_owned(), format!("{flag} H")));
        }
        for flag in never.iter().filter(|flag| !["-h", "--help", "--version"].contains(flag)).chain(&in_some)
        {
            assert_eq!(verb(&format!("{flag} verify")), ("verify".to_owned(), (*flag).to_owned()));
        }
    }

    #[test]
    fn a_slip_of_the_keyboard_gets_a_suggestion() {
        assert!(suggestion("stat").contains("did you mean 'status'"));
        assert!(suggestion("frobnicate").starts_with("commands: status"));
    }
}
