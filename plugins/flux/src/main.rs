//! `flux gitlab-agent`: the front end with all verbs in it, because Flux installs one file.

use std::process::ExitCode;

fn main() -> ExitCode {
    gitlab_agent_live::cli::front::main_whole()
}
