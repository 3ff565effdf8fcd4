//! `kubectl gitlab-agent rotate-token`: arguments to one call.

use std::process::ExitCode;

use gitlab_agent_live::cli;

fn main() -> ExitCode {
    cli::main(cli::rotate_token::run)
}
