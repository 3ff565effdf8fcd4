//! `kubectl gitlab-agent`: finds the program of a command and becomes it.

use std::process::ExitCode;

fn main() -> ExitCode {
    gitlab_agent_live::cli::front::main()
}
