//! `kubectl gitlab-agent reconcile-now`: arguments to one call.

use std::process::ExitCode;

use gitlab_agent_live::cli;

fn main() -> ExitCode {
    cli::main(cli::reconcile_now::run)
}
