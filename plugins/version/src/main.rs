//! `kubectl gitlab-agent version`: arguments to one call.

use std::process::ExitCode;

use gitlab_agent_live::cli;

fn main() -> ExitCode {
    cli::main(cli::version::run)
}
