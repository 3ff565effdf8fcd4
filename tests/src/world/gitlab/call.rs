//! One request of the REST API, taken apart: path, parameters, and who calls.

use std::collections::BTreeMap;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::GitLab;
use super::auth::{self, Caller};
use super::errors::Refusal;
use super::people::{Place, Role};
use super::permissions;
use super::projects::Project;
use super::server::WholeRequest;
use super::state::State;

/// A request below `/api/v4`.
pub(super) struct Call<'a> {
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
    /// The path below `/api/v4`, each part decoded by itself: an encoded slash does not divide.
    pub(super) path: Vec<String>,
    /// Of the query and of the body, which may be JSON or a form.
    parameters: Map<String, Value>,
    query: BTreeMap<String, String>,
    base: String,
    raw_path: String,
}

impl<'a> Call<'a> {
    /// `path` is what follows `/api/v4`; `base` and it are only put into links.
    pub(super) fn new(request: &'a WholeRequest, base: &str, path: &str) -> Self {
        let decode = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let query = request.uri().query().unwrap_or_default();
        let query: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let mut parameters = Map::new();
        for (key, value) in &query {
            add(&mut parameters, key, value.clone());
        }
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
        if kind.starts_with("application/json") {
            if let Ok(Value::Object(body)) = serde_json::from_slice(request.body()) {
                parameters.extend(body);
            }
        } else {
            for (key, value) in form_urlencoded::parse(request.body()).into_owned() {
                add(&mut parameters, &key, value);
            }
        }
        Self {
            method: request.method(),
            headers: request.headers(),
            path: path.trim_matches('/').split('/').map(decode).collect(),
            parameters,
            query,
            base: base.to_owned(),
            raw_path: path.to_owned(),
        }
    }

    /// A parameter as text; numbers and booleans count.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        match self.parameters.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        }
    }

    /// A parameter that has to be there.
    pub(super) fn required(&self, name: &str) -> Result<String, Refusal> {
        self.text(name).ok_or_else(|| Refusal::Parameter(format!("{name} is missing")))
    }

    /// A list: JSON array, `name[]=` of a form, or commas.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        match self.parameters.get(name) {
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Some(Value::String(text)) => text.split(',').map(|item| item.trim().to_owned()).collect(),
            _ => Vec::new(),
        }
    }

    /// A switch, when it is given.
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        self.text(name).map(|text| matches!(text.as_str(), "true" | "1"))
    }

    /// The address of this request with some parameters of the query changed.
    pub(super) fn url_with(&self, changed: &[(&str, &str)]) -> String {
        let mut query = self.query.clone();
        query.remove("private_token");
        query.extend(changed.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        format!("{}/api/v4{}?{query}", self.base, self.raw_path)
    }

    /// Who calls; refused without a token that has one of the scopes.
    pub(super) fn sign_in(&self, gitlab: &GitLab, scopes: &[&'static str]) -> Result<Caller, Refusal> {
        self.caller(gitlab, scopes)?.ok_or(Refusal::Unauthorized)
    }

    /// Who calls, where nobody in particular may call as well.
    pub(super) fn caller(&self, gitlab: &GitLab, scopes: &[&'static str]) -> Result<Option<Caller>, Refusal> {
        let Some(value) = auth::presented(self.headers).or_else(|| self.text("private_token")) else {
            return Ok(None);
        };
        let mut state = gitlab.state();
        let caller = auth::api_caller(&mut state, &value, scopes)?;
        if let Some(token) = state.access_tokens.iter().find(|token| token.id == caller.token) {
            permissions::check(&state.settings, token, self.method, &self.path)?;
        }
        Ok(Some(caller))
    }

    /// The scopes that suffice for most requests: reading takes less.
    pub(super) fn usual_scopes(&self) -> &'static [&'static str] {
        if self.method == Method::GET || self.method == Method::HEAD {
            &["api", "read_api"]
        } else {
            &["api"]
        }
    }
}

fn add(parameters: &mut Map<String, Value>, key: &str, value: String) {
    match key.strip_suffix("[]") {
        Some(list) => {
            let slot = parameters.entry(list).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(items) = slot {
                items.push(Value::String(value));
            }
        }
        None => drop(parameters.insert(key.to_owned(), Value::String(value))),
    }
}

/// The project of a request, as far as the caller may know of it.
pub(super) fn visible_project(state: &State, user: Option<u64>, id: &str) -> Result<Project, Refusal> {
    let found = state.project_by_reference(id).filter(|project| state.sees(user, project));
    found.cloned().ok_or(Refusal::NotFound("Project"))
}

/// A project or group of a request, as far as the caller may know of it.
pub(super) fn visible_place(state: &State, user: u64, kind: &str, id: &str) -> Result<Place, Refusal> {
    if kind == "projects" {
        return visible_project(state, Some(user), id).map(|project| Place::Project(project.id));
    }
    let group = state.group_by_reference(id).map(|group| Place::Group(group.id));
    group.filter(|place| state.role(user, *place).is_some()).ok_or(Refusal::NotFound("Group"))
}

/// Refuses who has less than a role, and no custom role that allows it.
pub(super) fn allowed(
    state: &State,
    user: u64,
    place: Place,
    role: Role,
    custom: &str,
) -> Result<(), Refusal> {
    let mut roles = state.custom_roles.iter();
    let by_custom_role = roles.any(|c| (c.user, c.place, c.allows.as_str()) == (user, place, custom));
    if by_custom_role { Ok(()) } else { at_least(state, user, place, role) }
}

/// Refuses who has less than a role.
pub(super) fn at_least(state: &State, user: u64, place: Place, role: Role) -> Result<(), Refusal> {
    if state.role(user, place) >= Some(role) { Ok(()) } else { Err(Refusal::Forbidden) }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use hyper::body::Bytes;

    use super::*;

    #[test]
    fn an_encoded_slash_does_not_divide_and_bodies_of_both_kinds_are_read() {
        let form = "name=x&scopes[]=api&scopes[]=read_api";
        let request = Request::post("/ignored?page=2").body(Bytes::from(form)).unwrap();
        let call = Call::new(&request, "https://gitlab", "/projects/a%2Fb/cluster_agents");
        assert_eq!(call.path, ["projects", "a/b", "cluster_agents"]);
        assert_eq!(call.text("page").as_deref(), Some("2"));
        assert_eq!(call.list("scopes"), ["api", "read_api"]);
        let json = Request::post("/").header(CONTENT_TYPE, "application/json");
        let request = json.body(Bytes::from(r#"{"scopes":["api"],"can_push":true}"#)).unwrap();
        let call = Call::new(&request, "https://gitlab", "/");
        assert_eq!((call.list("scopes"), call.switch("can_push")), (vec!["api".to_owned()], Some(true)));
        assert_eq!(call.required("name").err(), Some(Refusal::Parameter("name is missing".into())));
    }
}
