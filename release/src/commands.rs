//! Pages made from the programs' own arguments: man pages, and docs/commands.

use anyhow::{Context as _, Result};
use clap::{Arg, Command};
use gitlab_agent_live::cli::{completion, verbs};

/// A man page per program: its name and its text.
///
/// # Errors
/// A verb has no arguments in the table.
pub fn man_pages() -> Result<Vec<(String, Vec<u8>)>> {
    let mut pages = vec![(verbs::FRONT.to_owned(), man(front())?)];
    for (verb, _) in verbs::VERBS {
        let command = verbs::arguments(verb).with_context(|| format!("no arguments of {verb}"))?;
        pages.push((verbs::program(verb), man(command)?));
    }
    Ok(pages)
}

fn man(command: Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    // No date: the page is the same for the same source.
    clap_mangen::Man::new(command).date("").render(&mut page)?;
    Ok(page)
}

/// The front end's own words, for its page.
fn front() -> Command {
    let verbs = verbs::VERBS.iter().chain([&completion::VERB]);
    Command::new(verbs::FRONT)
        .bin_name("kubectl gitlab-agent")
        .version(crate::VERSION)
        .about("Says what is wrong between a git push to GitLab and a running pod, and how to mend it")
        .subcommands(verbs.map(|(verb, answers)| Command::new(*verb).about(*answers)))
}

/// docs/commands: the name of each file and its text.
///
/// # Errors
/// A verb has no arguments in the table.
pub fn documents() -> Result<Vec<(String, String)>> {
    let mut index = String::from(
        "# Commands\n\nMade from the programs' own help. Each is a program of its own; the words `kubectl gitlab-agent` and \
         `flux gitlab-agent` find it.\n\n| command | answers |\n|---|---|\n",
    );
    let mut pages = Vec::new();
    for (verb, answers) in verbs::VERBS {
        let mut command = verbs::arguments(verb).with_context(|| format!("no arguments of {verb}"))?;
        command.build();
        index.push_str(&format!("| [{verb}](commands/{verb}.md) | {answers} |\n"));
        pages.push((format!("commands/{verb}.md"), page(verb, &mut command)));
    }
    let completion = format!("# completion\n\n```text\n{}```\n", completion::help());
    index.push_str(&format!(
        "| [{0}]({1}) | {2} |\n",
        completion::NAME,
        "commands/completion.md",
        completion::VERB.1
    ));
    pages.push(("commands/completion.md".to_owned(), completion));
    pages.push(("commands.md".to_owned(), index));
    Ok(pages)
}

fn page(verb: &str, command: &mut Command) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let mut text = format!("# {verb}\n\n{about}.\n\n```text\n{usage}\n```\n");
    let mut headings: Vec<Option<&str>> = Vec::new();
    for arg in command.get_arguments().filter(|a| !a.is_hide_set()) {
        if !headings.contains(&arg.get_help_heading()) {
            headings.push(arg.get_help_heading());
        }
    }
    for heading in headings {
        text.push_str(&format!("\n## {}\n\n| flag | what |\n|---|---|\n", heading.unwrap_or("Flags")));
        for arg in command.get_arguments().filter(|a| a.get_help_heading() == heading && !a.is_hide_set()) {
            text.push_str(&row(arg));
        }
    }
    if let Some(more) = command.get_after_help() {
        text.push_str(&format!("\n```text\n{}\n```\n", more.to_string().trim_end()));
    }
    text
}

fn row(arg: &Arg) -> String {
    let mut names: Vec<String> = arg.get_short().map(|c| format!("-{c}")).into_iter().collect();
    let long = arg.get_long_and_visible_aliases().unwrap_or_default();
    names.extend(long.iter().map(|long| format!("--{long}")));
    let value = arg.get_value_names().filter(|_| arg.get_action().takes_values());
    let value = value.map(|v| v.join(" ")).unwrap_or_default();
    let name =
        if names.is_empty() { value } else { format!("{} {value}", names.join(", ")).trim_end().to_owned() };
    let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let possible: Vec<String> = arg.get_possible_values().iter().map(|v| v.get_name().to_owned()).collect();
    if !possible.is_empty() && arg.get_action().takes_values() {
        help.push_str(&format!(". One of: {}", possible.join(", ")));
    }
    let default: Vec<String> =
        arg.get_default_values().iter().map(|v| v.to_string_lossy().into_owned()).collect();
    if !default.is_empty() && arg.get_action().takes_values() {
        help.push_str(&format!(". Default: `{}`", default.join(" ")));
    }
    if let Some(variable) = arg.get_env() {
        help.push_str(&format!(". Variable: `{}`", variable.to_string_lossy()));
    }
    format!("| `{}` | {} |\n", name.replace('|', "\\|"), help.replace('|', "\\|").replace('\n', " "))
}
