//! Projects and groups: by number or path, with visibility and the caller's role.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::call::{Call, visible_project};
use super::errors::{ApiResult, Refusal, ok};
use super::pagination;
use super::people::{Place, Role};
use super::protection::Protection;
use super::state::State;
use super::times::show;
use super::{GitLab, PERSON};

/// Who may see a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Members.
    Private,
    /// Whoever is signed in.
    Internal,
    /// Everybody.
    Public,
}

impl Visibility {
    fn word(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Internal => "internal",
            Self::Public => "public",
        }
    }
}

/// A project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Number.
    pub id: u64,
    /// Full path, `platform/fleet`.
    pub path: String,
    /// Who may see it.
    pub visibility: Visibility,
    /// When it was made.
    pub created: Timestamp,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Number.
    pub id: u64,
    /// Full path.
    pub path: String,
}

impl Project {
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The part that every mention of a project has.
    pub(super) fn identity(&self) -> Value {
        json!({
            "id": self.id,
            "description": "",
            "name": self.name(),
            "name_with_namespace": self.path.replace('/', " / "),
            "path": self.name(),
            "path_with_namespace": self.path,
            "created_at": show(self.created),
        })
    }

    fn json(&self, state: &State, user: Option<u64>, root: &str) -> Value {
        let mut json = self.identity();
        let url = format!("{root}/{}", self.path);
        json["default_branch"] = json!("main");
        json["visibility"] = json!(self.visibility.word());
        json["web_url"] = json!(url);
        json["http_url_to_repo"] = json!(format!("{url}.git"));
        json["archived"] = json!(false);
        let namespace = self.path.rsplit_once('/').map_or("", |(namespace, _)| namespace);
        let kind = if state.group_by_path(namespace).is_some() { "group" } else { "user" };
        json["namespace"] = json!({ "kind": kind, "full_path": namespace });
        if let Some(user) = user {
            json["permissions"] = self.permissions(state, user);
        }
        json
    }

    /// A role in the project itself, and one from a group above.
    fn permissions(&self, state: &State, user: u64) -> Value {
        let shown = |role: Option<Role>| {
            role.map(|role| json!({ "access_level": role.level(), "notification_level": 3 }))
        };
        let here = Place::Project(self.id);
        let own = state.members.iter().find(|m| m.user == user && m.place == here).map(|m| m.role);
        let namespace = self.path.rsplit_once('/').map_or("", |(namespace, _)| namespace);
        let group = state.group_by_path(namespace).and_then(|group| state.role(user, Place::Group(group.id)));
        json!({ "project_access": shown(own), "group_access": shown(group) })
    }
}

impl State {
    /// The project of this path, with the groups above it; made where there is none, its owner the world's person.
    pub(super) fn ensure_project(&mut self, path: &str) -> u64 {
        if let Some(project) = self.project_by_path(path) {
            return project.id;
        }
        let owner = self.users.iter().find(|user| user.username == PERSON).map(|user| user.id);
        for (end, _) in path.match_indices('/') {
            if self.group_by_path(&path[..end]).is_none() {
                let id = self.number("group", 61);
                self.groups.push(Group { id, path: path[..end].into() });
                owner.into_iter().for_each(|owner| self.set_role(owner, Place::Group(id), Some(Role::Owner)));
            }
        }
        let id = self.number("project", 41);
        let visibility = Visibility::Private;
        self.projects.push(Project { id, path: path.into(), visibility, created: Timestamp::now() });
        // Maintainers push, Developers merge.
        let (push, merge) = (vec![40], vec![30]);
        self.protections.push(Protection { project: id, name: "main".into(), push, merge });
        if let (Some(owner), false) = (owner, path.contains('/')) {
            self.set_role(owner, Place::Project(id), Some(Role::Owner));
        }
        id
    }
}

impl GitLab {
    /// Registers a project, when there is none of this path; its bare repository is the caller's to make.
    pub(crate) fn add_project(&self, path: &str) {
        self.state().ensure_project(path);
    }

    /// The number of a group, which is made where there is none of this path. It has no members.
    pub fn new_group(&self, path: &str) -> u64 {
        let mut state = self.state();
        if let Some(group) = state.group_by_path(path) {
            return group.id;
        }
        let id = state.number("group", 61);
        state.groups.push(Group { id, path: path.into() });
        id
    }

    /// Opens a project to everybody, or closes it.
    ///
    /// # Errors
    /// There is no such project.
    pub fn set_public(&self, project: &str, public: bool) -> Result<()> {
        self.set_visibility(project, if public { Visibility::Public } else { Visibility::Private })
    }

    /// Says who may see a project.
    ///
    /// # Errors
    /// There is no such project.
    pub fn set_visibility(&self, project: &str, visibility: Visibility) -> Result<()> {
        let mut state = self.state();
        let found = state.projects.iter_mut().find(|known| known.path == project);
        found.with_context(|| format!("no project {project}"))?.visibility = visibility;
        Ok(())
    }

    /// Whether everybody may read the project; `None` when there is no such project.
    pub fn is_public(&self, project: &str) -> Option<bool> {
        self.state().project_by_path(project).map(|project| project.visibility == Visibility::Public)
    }

    /// The number of a project.
    pub fn project_id(&self, project: &str) -> Option<u64> {
        self.state().project_by_path(project).map(|project| project.id)
    }

    /// The project or group of a path.
    ///
    /// # Errors
    /// There is none.
    pub fn place(&self, path: &str) -> Result<Place> {
        let state = self.state();
        let project = state.project_by_path(path).map(|project| Place::Project(project.id));
        let group = || state.group_by_path(path).map(|group| Place::Group(group.id));
        project.or_else(group).with_context(|| format!("no project or group {path}"))
    }
}

/// `GET /projects/:id`.
pub(super) fn one(gitlab: &GitLab, call: &Call<'_>, id: &str) -> ApiResult {
    let user = call.caller(gitlab, call.usual_scopes())?.map(|caller| caller.user);
    let root = gitlab.url();
    let state = gitlab.state();
    let project = visible_project(&state, user, id)?;
    Ok(ok(&project.json(&state, user, &root)))
}

/// `GET /projects`, with `search`, `membership` and `min_access_level`.
pub(super) fn list(gitlab: &GitLab, call: &Call<'_>) -> ApiResult {
    let user = call.caller(gitlab, call.usual_scopes())?.map(|caller| caller.user);
    let root = gitlab.url();
    let state = gitlab.state();
    let search = call.text("search").unwrap_or_default().to_lowercase();
    let by_path = call.switch("search_namespaces") == Some(true);
    let found = |project: &&Project| {
        let text = if by_path { project.path.as_str() } else { project.name() };
        let role = user.and_then(|user| state.role(user, Place::Project(project.id)));
        let least =
            call.text("min_access_level").and_then(|level| level.parse().ok()).and_then(Role::of_level);
        state.sees(user, project)
            && text.to_lowercase().contains(&search)
            && (call.switch("membership") != Some(true) || role.is_some())
            && (least.is_none() || role >= least)
    };
    let mut all: Vec<Value> =
        state.projects.iter().filter(found).map(|project| project.json(&state, user, &root)).collect();
    all.sort_by_key(|project| std::cmp::Reverse(project["id"].as_u64()));
    Ok(pagination::page(call, &all))
}

/// `GET /groups/:id`.
pub(super) fn group(gitlab: &GitLab, call: &Call<'_>, id: &str) -> ApiResult {
    let caller = call.sign_in(gitlab, call.usual_scopes())?;
    let root = gitlab.url();
    let state = gitlab.state();
    let group = state.group_by_reference(id);
    let seen = |group: &&Group| state.role(caller.user, Place::Group(group.id)).is_some();
    let group = group.filter(seen).ok_or(Refusal::NotFound("Group"))?;
    let name = group.path.rsplit('/').next().unwrap_or(&group.path);
    Ok(ok(&json!({
        "id": group.id,
        "name": name,
        "path": name,
        "full_path": group.path,
        "full_name": group.path.replace('/', " / "),
        "visibility": "private",
        "web_url": format!("{root}/groups/{}", group.path),
    })))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Played;
    use super::*;

    #[test]
    fn a_project_is_found_by_path_and_number_by_those_who_may() {
        let played = Played::new();
        let owner = played.owner();
        let one = played.get("/projects/platform%2Ffleet", &owner).body;
        assert_eq!(one, played.get("/projects/41", &owner).body);
        assert_eq!((&one["visibility"], &one["id"]), (&json!("private"), &json!(41)));
        assert_eq!(one["permissions"]["group_access"]["access_level"], 50);
        let hidden = played.get("/projects/41", "");
        assert_eq!((hidden.status, &hidden.body), (404, &json!({"message": "404 Project Not Found"})));
        played.gitlab.set_public("platform/fleet", true).unwrap();
        let open = played.get("/projects/41", "").body;
        assert!(open["visibility"] == "public" && open.get("permissions").is_none());
        played.gitlab.configure(|settings| settings.proxy_decodes_paths = true);
        assert_eq!(played.get("/projects/platform%2Ffleet", &owner).body["error"], "404 Not Found");
        let found = played.get("/projects?search=fleet&membership=true", &owner).body;
        assert_eq!(found[0]["path_with_namespace"], "platform/fleet");
        assert_eq!(played.get("/groups/platform", &owner).body["full_path"], "platform");
    }

    #[test]
    fn roles_come_from_groups_above() {
        let played = Played::new();
        let gitlab = &played.gitlab;
        let user = gitlab.new_user("kim");
        gitlab.set_role(user, "platform", Some(Role::Reporter)).unwrap();
        let token = gitlab.new_personal_token(user, "kim", &["read_api"], None).unwrap().value;
        let all = played.get("/projects/41/members/all", &token).body;
        assert!(all.as_array().unwrap().iter().any(|m| m["username"] == "kim" && m["access_level"] == 20));
        assert_eq!(played.get("/projects/example%2Fnginx-app", &token).status, 404);
        gitlab.set_blocked(user, true);
        assert_eq!(played.get("/user", &token).body["message"], "403 Forbidden");
    }
}
