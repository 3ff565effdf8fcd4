//! Protected branches: who may push and merge, and therefore set commit statuses.
//!
//! Source: `doc/api/protected_branches.md`, `lib/api/protected_branches.rb`, `app/models/concerns/protected_ref.rb`.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::GitLab;
use super::call::{Call, at_least, visible_project};
use super::errors::ApiResult;
use super::pagination;
use super::people::{Place, Role};
use super::state::State;

/// A rule for the branches that a name, with stars, covers. Access levels; 0 is nobody.
#[derive(Debug, Clone)]
pub(super) struct Protection {
    pub(super) project: u64,
    pub(super) name: String,
    pub(super) push: Vec<u64>,
    pub(super) merge: Vec<u64>,
}

impl Protection {
    fn json(&self, id: usize) -> Value {
        let levels = |levels: &[u64]| -> Vec<Value> {
            let one =
                |level: &u64| json!({ "id": id, "access_level": level, "user_id": null, "group_id": null });
            levels.iter().map(one).collect()
        };
        json!({
            "id": id,
            "name": self.name,
            "push_access_levels": levels(&self.push),
            "merge_access_levels": levels(&self.merge),
            "allow_force_push": false,
        })
    }
}

impl State {
    fn protections_of<'s>(&'s self, project: u64, branch: &'s str) -> impl Iterator<Item = &'s Protection> {
        self.protections.iter().filter(move |rule| rule.project == project && covers(&rule.name, branch))
    }

    /// Whether a user may push or merge to a branch, as far as its protection says: any rule that lets one do so is enough.
    pub(super) fn may_change(&self, user: u64, project: u64, branch: &str) -> bool {
        let role = self.role(user, Place::Project(project)).map_or(0, Role::level);
        let mut rules = self.protections_of(project, branch).peekable();
        rules.peek().is_none()
            || rules
                .flat_map(|rule| rule.push.iter().chain(&rule.merge))
                .any(|level| *level > 0 && role >= *level)
    }

    /// What a branch says of its protection: protected, Developers may push, Developers may merge.
    pub(super) fn branch_protection(&self, project: u64, branch: &str) -> (bool, bool, bool) {
        let rules: Vec<&Protection> = self.protections_of(project, branch).collect();
        let open = |levels: fn(&Protection) -> &Vec<u64>| {
            rules.iter().any(|rule| levels(rule).contains(&Role::Developer.level()))
        };
        (!rules.is_empty(), open(|rule| &rule.push), open(|rule| &rule.merge))
    }
}

impl GitLab {
    /// Protects branches of a project: access levels that may push, and that may merge. Takes the place of the rule of the
    /// same name; without levels of either kind the rule is taken away.
    ///
    /// # Errors
    /// There is no such project.
    pub fn protect(&self, project: &str, name: &str, push: &[u64], merge: &[u64]) -> Result<()> {
        let mut state = self.state();
        let project = state.project_by_path(project).context("no such project")?.id;
        state.protections.retain(|rule| (rule.project, rule.name.as_str()) != (project, name));
        if !push.is_empty() || !merge.is_empty() {
            let rule = Protection { project, name: name.into(), push: push.into(), merge: merge.into() };
            state.protections.push(rule);
        }
        Ok(())
    }
}

/// `GET /projects/:id/protected_branches`: Maintainers only.
pub(super) fn list(gitlab: &GitLab, call: &Call<'_>, id: &str) -> ApiResult {
    let caller = call.sign_in(gitlab, call.usual_scopes())?;
    let state = gitlab.state();
    let project = visible_project(&state, Some(caller.user), id)?;
    at_least(&state, caller.user, Place::Project(project.id), Role::Maintainer)?;
    let own = state.protections.iter().enumerate().filter(|(_, rule)| rule.project == project.id);
    let all: Vec<Value> = own.map(|(id, rule)| rule.json(id + 1)).collect();
    Ok(pagination::page(call, &all))
}

fn covers(pattern: &str, branch: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == branch,
        Some((head, tail)) => branch.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| covers(tail, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Played;
    use super::*;

    #[test]
    fn rules_say_who_may_change_a_branch() {
        let played = Played::new();
        let gitlab = &played.gitlab;
        let bot = |role| gitlab.new_resource_token("platform/fleet", "b", &["api"], role, None).unwrap();
        let (developer, maintainer) = (bot(Role::Developer), bot(Role::Maintainer));
        let may = |user, branch: &str| gitlab.state().may_change(user, 41, branch);
        assert!(may(developer.user, "free"), "no rule");
        gitlab.protect("platform/fleet", "release/*", &[40], &[40]).unwrap();
        assert!(!may(developer.user, "release/1") && may(maintainer.user, "release/1"));
        gitlab.protect("platform/fleet", "*", &[0], &[30]).unwrap();
        assert!(may(developer.user, "release/1"), "any rule will do");
        gitlab.protect("platform/fleet", "*", &[], &[]).unwrap();
        gitlab.protect("platform/fleet", "release/*", &[0], &[0]).unwrap();
        assert!(!may(maintainer.user, "release/1"), "nobody");
        let list = "/projects/platform%2Ffleet/protected_branches";
        assert_eq!(played.get(list, &developer.value).status, 403);
        let rules = played.get(list, &maintainer.value).body;
        assert!(
            rules.as_array().unwrap().iter().any(|r| r["push_access_levels"][0]["access_level"] == 0),
            "{rules}"
        );
    }
}
