//! Statuses that others set on commits, as Flux's notification-controller does.
//!
//! Source: `doc/api/commits.md`, `lib/api/commit_statuses.rb`, `app/services/ci/create_commit_status_service.rb`.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::call::{Call, at_least, visible_project};
use super::errors::{ApiResult, Refusal, created};
use super::people::{Place, Role};
use super::repository_files::{branch_with, commit_id, readable};
use super::times::show;
use super::{GitLab, pagination};

const STATES: &[&str] = &["pending", "running", "success", "failed", "canceled", "skipped"];

/// A status of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitStatus {
    /// Number.
    pub id: u64,
    /// The project's number.
    pub project: u64,
    /// The commit.
    pub sha: String,
    /// Branch or tag.
    pub reference: String,
    /// `pending`, `running`, `success`, `failed`, `canceled` or `skipped`.
    pub status: String,
    /// Who says so: one line per name in the pipeline.
    pub name: String,
    /// What is said.
    pub description: Option<String>,
    /// The address to look at.
    pub target_url: Option<String>,
    /// When it was set.
    pub created: Timestamp,
    /// By which user.
    pub author: u64,
}

impl CommitStatus {
    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "sha": self.sha,
            "ref": self.reference,
            "status": self.status,
            "name": self.name,
            "target_url": self.target_url,
            "description": self.description,
            "created_at": show(self.created),
            "allow_failure": false,
            "author": { "id": self.author },
        })
    }
}

impl GitLab {
    /// All statuses, oldest first.
    pub fn commit_statuses(&self) -> Vec<CommitStatus> {
        self.state().statuses.clone()
    }
}

/// `GET /projects/:id/repository/commits/:sha/statuses`: the newest of each name, or all.
pub(super) fn list(gitlab: &GitLab, call: &Call<'_>, id: &str, sha: &str) -> ApiResult {
    let project = readable(gitlab, call, id, call.usual_scopes())?;
    let sha = commit_id(gitlab, &project.path, sha).ok_or(Refusal::NotFound("Commit"))?;
    let state = gitlab.state();
    let of_commit = |status: &&CommitStatus| {
        status.project == project.id
            && status.sha == sha
            && call.text("ref").is_none_or(|wanted| wanted == status.reference)
            && call.text("name").is_none_or(|wanted| wanted == status.name)
    };
    let mut found: Vec<&CommitStatus> = state.statuses.iter().filter(of_commit).collect();
    if call.switch("all") != Some(true) {
        let newest = |one: &CommitStatus| {
            !found.iter().any(|other| {
                (&other.name, &other.reference) == (&one.name, &one.reference) && other.id > one.id
            })
        };
        found = found.iter().copied().filter(|status| newest(status)).collect();
    }
    let all: Vec<Value> = found.into_iter().map(CommitStatus::json).collect();
    Ok(pagination::page(call, &all))
}

/// `POST /projects/:id/statuses/:sha`: scope `api`, Developer at least, and on a protected branch who may
/// push or merge.
pub(super) fn create(gitlab: &GitLab, call: &Call<'_>, id: &str, sha: &str) -> ApiResult {
    let caller = call.sign_in(gitlab, &["api"])?;
    let project = visible_project(&gitlab.state(), Some(caller.user), id)?;
    at_least(&gitlab.state(), caller.user, Place::Project(project.id), Role::Developer)?;
    let wanted = call.text("state").or_else(|| call.text("status"));
    let wanted = wanted.ok_or_else(|| Refusal::Parameter("state is missing".into()))?;
    if !STATES.contains(&wanted.as_str()) {
        return Err(Refusal::Parameter("state does not have a valid value".into()));
    }
    let sha = commit_id(gitlab, &project.path, sha).ok_or(Refusal::NotFound("Commit"))?;
    let name = call.text("name").or_else(|| call.text("context")).unwrap_or_else(|| "default".into());
    let reference = call.text("ref").or_else(|| branch_with(gitlab, &project.path, &sha));
    let reference = reference.ok_or(Refusal::NotFound("References for commit"))?;
    let mut state = gitlab.state();
    // The right to update the pipeline, which protection takes away.
    if !state.may_change(caller.user, project.id, &reference) {
        return Err(Refusal::Forbidden);
    }
    // What somebody else has begun is another line.
    let same = |status: &&CommitStatus| {
        (status.project, &status.sha, &status.name, &status.reference)
            == (project.id, &sha, &name, &reference)
            && status.author == caller.user
    };
    let before = state.statuses.iter().rev().find(same);
    if let Some(event) = before.and_then(|before| stuck(&before.status, &wanted)) {
        let text = format!("Cannot transition status via :{event} from :{wanted}");
        let text = format!("{text} (Reason(s): Status cannot transition via \"{event}\")");
        return Err(Refusal::Sentence(StatusCode::BAD_REQUEST, text));
    }
    let status = CommitStatus {
        id: state.number("commit status", 901),
        project: project.id,
        sha,
        reference,
        status: wanted,
        name,
        description: call.text("description"),
        target_url: call.text("target_url"),
        created: Timestamp::now(),
        author: caller.user,
    };
    state.statuses.push(status.clone());
    Ok(created(&status.json()))
}

/// The event that has no way from one state to the same: what is set twice is refused.
fn stuck(before: &str, wanted: &str) -> Option<&'static str> {
    if before != wanted {
        return None;
    }
    match wanted {
        "pending" => Some("enqueue"),
        "running" => Some("run"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_cannot_be_entered_from_itself_while_it_lasts() {
        assert_eq!(stuck("running", "running"), Some("run"));
        assert_eq!(stuck("pending", "running"), None);
        assert_eq!(stuck("success", "success"), None, "a new job is made");
    }
}
