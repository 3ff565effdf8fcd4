//! Flags that say nothing where another one is given are an error, not forgotten: whoever gives one relies on it.
//!
//! What is not in the way anywhere is how to talk and how long to wait (`ALWAYS`).

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

/// A flag that changes what the command does, and the flags that still say something beside it.
struct Mode {
    command: &'static str,
    flag: &'static str,
    takes: &'static [&'static str],
}

/// How to talk, how long to wait.
const ALWAYS: [&str; 5] = ["color", "help", "timeout", "request_timeout", "verbose"];

const MODES: &[Mode] = &[
    Mode { command: "kubectl-gitlab_agent-verify", flag: "explain", takes: &[] },
    Mode { command: "kubectl-gitlab_agent-verify", flag: "list_checks", takes: &["output"] },
    Mode {
        command: "kubectl-gitlab_agent-verify",
        flag: "print_rbac",
        takes: &[
            "all_namespaces",
            "flux_namespace",
            "namespace",
            "only",
            "output",
            "service_account",
            "skip",
        ],
    },
    Mode { command: "kubectl-gitlab_agent-version", flag: "client", takes: &["output"] },
];

/// A flag that says something only beside one of others.
struct Needs {
    command: &'static str,
    flag: &'static str,
    one_of: &'static [&'static str],
}

const NEEDS: &[Needs] =
    &[Needs { command: "kubectl-gitlab_agent-verify", flag: "interval", one_of: &["wait", "watch"] }];

/// Finds a flag that would be ignored.
///
/// # Errors
/// There is one.
pub(super) fn check(command: &mut Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let given = |flag: &str| matches.value_source(flag) == Some(ValueSource::CommandLine);
    let name = command.get_name().to_owned();
    for mode in MODES.iter().filter(|mode| mode.command == name && given(mode.flag)) {
        let says_something =
            |flag: &str| flag == mode.flag || mode.takes.contains(&flag) || ALWAYS.contains(&flag);
        let ids: Vec<String> = command.get_arguments().map(|arg| arg.get_id().to_string()).collect();
        if let Some(idle) = ids.iter().find(|id| given(id) && !says_something(id)) {
            return Err(conflict(command, idle, mode.flag));
        }
    }
    for needs in NEEDS.iter().filter(|needs| needs.command == name && given(needs.flag)) {
        if !needs.one_of.iter().any(|flag| given(flag)) {
            let flags: Vec<String> = needs.one_of.iter().map(|flag| shown(command, flag)).collect();
            let text =
                format!("{} says something only with {}", shown(command, needs.flag), flags.join(" or "));
            return Err(command.error(ErrorKind::MissingRequiredArgument, text));
        }
    }
    Ok(())
}

/// The same as clap says of flags that it knows to be in each other's way.
fn conflict(command: &Command, idle: &str, mode: &str) -> clap::Error {
    let mut error = clap::Error::new(ErrorKind::ArgumentConflict).with_cmd(command);
    error.insert(ContextKind::InvalidArg, ContextValue::String(shown(command, idle)));
    error.insert(ContextKind::PriorArg, ContextValue::String(shown(command, mode)));
    error
}

fn shown(command: &Command, id: &str) -> String {
    let arg = command.get_arguments().find(|arg| arg.get_id() == id);
    arg.map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::{Arg, ArgAction, CommandFactory};

    use super::*;
    use crate::cli::{verify, version};

    /// A flag with a value that it takes.
    fn words(arg: &Arg) -> Option<Vec<OsString>> {
        let long = arg.get_long()?;
        let flag = format!("--{long}");
        if !matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) {
            return Some(vec![flag.into()]);
        }
        let value = match (arg.get_possible_values().first(), long) {
            (Some(value), _) => value.get_name().to_owned(),
            (None, "timeout" | "request-timeout" | "interval" | "expiry-window") => "9s".to_owned(),
            (None, "service-account" | "gitlab-agent") => "a/b:c".to_owned(),
            (None, _) => "x".to_owned(),
        };
        Some(vec![flag.into(), value.into()])
    }

    fn says(command: &Command, words: &[OsString]) -> Result<(), ErrorKind> {
        let mut command = command.clone();
        let given = std::iter::once(OsString::from("x")).chain(words.iter().cloned());
        let matches = command.try_get_matches_from_mut(given).map_err(|error| error.kind())?;
        check(&mut command, &matches).map_err(|error| {
            let text = error.render().to_string();
            assert!(
                text.contains("cannot be used with") || text.contains("says something only with"),
                "{text}"
            );
            error.kind()
        })
    }

    /// Every flag of the command beside every mode: it says something there, or it is refused.
    #[test]
    fn no_flag_is_silently_ignored() {
        let mut refused = 0;
        for mut command in [verify::Args::command(), version::Args::command()] {
            command.build();
            let name = command.get_name().to_owned();
            for mode in MODES.iter().filter(|mode| mode.command == name) {
                let find = |id: &str| command.get_arguments().find(|arg| arg.get_id() == id);
                let own = words(find(mode.flag).expect("it is a flag")).expect("its words");
                assert_eq!(says(&command, &own), Ok(()), "--{} alone", mode.flag);
                for arg in command.get_arguments() {
                    let id = arg.get_id().as_str();
                    let Some(other) =
                        words(arg).filter(|_| id != mode.flag && !["help", "version"].contains(&id))
                    else {
                        continue;
                    };
                    let said = says(&command, &[own.clone(), other].concat());
                    if mode.takes.contains(&id) || ALWAYS.contains(&id) {
                        assert_eq!(said, Ok(()), "--{} with {id}", mode.flag);
                    } else {
                        assert!(said.is_err(), "--{} ignores {id}", mode.flag);
                        refused += 1;
                    }
                }
                for flag in mode.takes {
                    assert!(find(flag).is_some(), "{flag} is a flag");
                }
            }
        }
        assert!(refused > 80, "{refused}");
    }

    #[test]
    fn a_flag_that_needs_another_says_so() {
        let mut command = verify::Args::command();
        command.build();
        let given = |line: &str| says(&command, &line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(given("--interval 9s"), Err(ErrorKind::MissingRequiredArgument));
        assert_eq!(given("--interval 9s --watch"), Ok(()));
        assert_eq!(given("--interval 9s --wait"), Ok(()));
    }
}
