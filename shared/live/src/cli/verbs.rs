//! The table of the commands: everything that lists programs reads it (front end, archives, man pages, documents).

use std::ffi::OsString;
use std::process::ExitCode;

use clap::CommandFactory as _;

macro_rules! verbs {
    ($($verb:literal => $module:ident, $answers:literal;)+) => {
        /// The verbs, with what they answer. Each is a program of its own, see [`program`].
        pub const VERBS: &[(&str, &str)] = &[$(($verb, $answers)),+];

        /// The arguments of a verb's program.
        pub fn arguments(verb: &str) -> Option<clap::Command> {
            Some(match verb {
                $($verb => super::$module::Args::command(),)+
                _ => return None,
            })
        }

        /// Runs a verb in this process, with these words behind it.
        pub fn run(verb: &str, words: Vec<OsString>) -> Option<ExitCode> {
            let words: Vec<OsString> = std::iter::once(program(verb).into()).chain(words).collect();
            Some(match verb {
                $($verb => super::main_with(words, super::$module::run),)+
                _ => return None,
            })
        }
    };
}

verbs! {
    "status" => status, "what runs here, whether it is healthy, which revision is where";
    "verify" => verify, "what is wrong between a git push and a running pod, and how to mend it";
    "reconcile-now" => reconcile_now, "push the pipe through, from source to workload, and see it move";
    "rotate-token" => rotate_token, "new credentials for agentk, sources and notifications, without a moment in which none works";
    "snapshot" => snapshot, "record everything the others read, with no secret in it, to one file";
    "version" => version, "version of this program, and of what it finds in the cluster";
}

/// The front end's program.
pub const FRONT: &str = "kubectl-gitlab_agent";

/// `status` is the program `kubectl-gitlab_agent-status`: kubectl asks for underscores where a verb has dashes.
pub fn program(verb: &str) -> String {
    format!("{FRONT}-{}", verb.replace('-', "_"))
}
