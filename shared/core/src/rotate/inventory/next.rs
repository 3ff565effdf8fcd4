//! What to do about a credential, as a command to paste, or why there is none.

use super::{Kind, Row, State, gitlab};
use crate::command::{Command, Program};
use crate::facts::Facts;
use crate::facts::token_use::Purpose;
use crate::object::ObjectRef;

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Next {
    /// In words.
    pub text: String,
    /// The command, where there is one.
    pub command: Option<Command>,
}

impl Next {
    fn say(text: impl Into<String>) -> Self {
        Self { text: text.into(), command: None }
    }
}

pub(super) fn next(facts: &Facts<'_>, row: &Row) -> Next {
    let place = &row.secret.namespace;
    if row.kind == Kind::Unread {
        // Why not stands among what could not be seen.
        return Next {
            text: format!("it takes the permission to get secrets in namespace {}", row.secret.namespace),
            command: printable(Program::new("kubectl gitlab-agent verify --only GA102")),
        };
    }
    if row.state == State::Missing {
        return Next {
            text: "there is nothing to rotate: write a credential first".to_owned(),
            command: printable(Program::new("kubectl gitlab-agent verify").in_namespace(place)),
        };
    }
    if let Some(host) = gitlab::elsewhere(facts, row) {
        return Next::say(format!(
            "it is for {host}, which is not this cluster's GitLab: make a new one there"
        ));
    }
    if matches!(
        row.kind,
        Kind::GitHubApp | Kind::ClientCertificate | Kind::OtherGitLabToken | Kind::BearerToken
    ) {
        return Next::say(format!("a {} is not rotated by this command", row.kind.words()));
    }
    if is_immutable(facts, row) {
        let users: Vec<String> = row.used_by.iter().map(ToString::to_string).collect();
        return Next::say(format!(
            "the Secret is immutable: make one of another name with a new credential, and name that in {}",
            users.join(", ")
        ));
    }
    if row.kind == Kind::AgentToken && gitlab::active_tokens(facts, row) > 1 {
        return Next::say("GitLab allows two active tokens: revoke the one that nobody uses, then rotate");
    }
    let command = command(row);
    if let Some(owner) = row.owners.first() {
        return Next {
            text: format!("{} writes the Secret: the new value goes {}", owner.object, owner.instead),
            command: command.and_then(|command| {
                let file = format!("{}.yaml", row.secret.name);
                printable(command.words("--begin").flag("--print-manifest", file))
            }),
        };
    }
    let text = match row.state {
        State::Dead => "it no longer works: replace it now",
        State::Expiring => "replace it before it ends",
        _ => "replace it whenever you like",
    };
    let unproven =
        facts.gitlab().is_ok() && !row.purposes.contains(&Purpose::Agent) && !opens_a_project(row.kind);
    let text = if unproven {
        format!("{text}; which project it opens GitLab does not tell: name it with --project")
    } else {
        text.to_owned()
    };
    Next { text, command: command.and_then(printable) }
}

/// Whether GitLab tells what a credential of this kind opens. Where it does not, the rotation takes the person's word for
/// it, and not the cluster's.
fn opens_a_project(kind: Kind) -> bool {
    use Kind::{DeployKey, GroupAccessToken, GroupDeployToken, ProjectAccessToken, ProjectDeployToken};
    matches!(kind, ProjectDeployToken | GroupDeployToken | DeployKey | ProjectAccessToken | GroupAccessToken)
}

fn is_immutable(facts: &Facts<'_>, row: &Row) -> bool {
    let shape = facts.secret(&row.secret.namespace, &row.secret.name);
    shape.ok().flatten().is_some_and(|shape| shape.immutable)
}

/// By the first object that uses it: the others that share the Secret are found by the command itself.
fn command(row: &Row) -> Option<Program> {
    let by = row.used_by.first()?;
    let rotate = Program::new("kubectl gitlab-agent rotate-token");
    let what = match row.purposes.first()? {
        Purpose::Agent => rotate.words("agent").name(&by.name),
        Purpose::Source => {
            rotate.words("source").object(&ObjectRef { kind: by.kind.to_lowercase(), ..by.clone() })
        }
        Purpose::Notification => rotate.words("notification").name(&by.name),
        Purpose::Receiver => return None,
    };
    Some(what.in_namespace(&row.secret.namespace))
}

/// None where a name of the cluster makes the command one that is not safe to paste.
fn printable(program: Program) -> Option<Command> {
    let command = Command::from(program);
    command.flaw().is_none().then_some(command)
}
