//! `POST /api/graphql`: the part of the schema around agents, answered with exactly the fields that are asked for.
//!
//! Source: `doc/api/graphql/reference/_index.md`; the shape of errors is that of graphql-ruby.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::GitLab;
use super::agents::{Agent, Connection};
use super::auth;
use super::errors::{ok, with_status};
use super::graphql_query::{Field, Mistake, parse};
use super::people::{Place, Role};
use super::permissions;
use super::projects::{Project, Visibility};
use super::repository_files::blob;
use super::server::{WholeRequest, WholeResponse};
use super::times::{show, show_maybe};

/// A field: its name, the type of what it gives (empty for a scalar), and since which release there is one.
type Known = (&'static str, &'static str, (u64, u64));

/// The fields of each type.
const SCHEMA: &[(&str, &[Known])] = &[
    (
        "Query",
        &[("project", "Project", OLD), ("currentUser", "CurrentUser", OLD), ("metadata", "Metadata", OLD)],
    ),
    ("CurrentUser", &[("id", "", OLD), ("username", "", OLD), ("name", "", OLD), ("bot", "", OLD)]),
    (
        "Metadata",
        &[("version", "", OLD), ("revision", "", OLD), ("enterprise", "", OLD), ("kas", "Kas", OLD)],
    ),
    ("Kas", &[("enabled", "", OLD), ("externalUrl", "", OLD), ("version", "", OLD)]),
    (
        "Project",
        &[
            ("id", "", OLD),
            ("name", "", OLD),
            ("fullPath", "", OLD),
            ("visibility", "", OLD),
            ("webUrl", "", OLD),
            ("clusterAgent", "ClusterAgent", OLD),
            ("clusterAgents", "ClusterAgentConnection", OLD),
            ("userPermissions", "ProjectPermissions", OLD),
            ("repository", "Repository", OLD),
        ],
    ),
    ("ProjectPermissions", &[("readProject", "", OLD), ("pushCode", "", OLD), ("adminProject", "", OLD)]),
    ("Repository", &[("blobs", "RepositoryBlobConnection", OLD)]),
    ("RepositoryBlobConnection", &[("nodes", "RepositoryBlob", OLD), ("pageInfo", "PageInfo", OLD)]),
    ("RepositoryBlob", &[("name", "", OLD), ("path", "", OLD), ("rawTextBlob", "", OLD)]),
    (
        "ClusterAgentConnection",
        &[("count", "", OLD), ("nodes", "ClusterAgent", OLD), ("pageInfo", "PageInfo", OLD)],
    ),
    (
        "ClusterAgent",
        &[
            ("id", "", OLD),
            ("name", "", OLD),
            ("createdAt", "", OLD),
            ("updatedAt", "", OLD),
            ("webPath", "", OLD),
            ("project", "Project", OLD),
            ("tokens", "ClusterAgentTokenConnection", OLD),
            ("connections", "ConnectedAgentConnection", OLD),
        ],
    ),
    (
        "ClusterAgentTokenConnection",
        &[("count", "", OLD), ("nodes", "ClusterAgentToken", OLD), ("pageInfo", "PageInfo", OLD)],
    ),
    (
        "ClusterAgentToken",
        &[
            ("id", "", OLD),
            ("name", "", OLD),
            ("description", "", OLD),
            ("status", "", OLD),
            ("lastUsedAt", "", OLD),
            ("createdAt", "", OLD),
        ],
    ),
    ("ConnectedAgentConnection", &[("nodes", "ConnectedAgent", OLD), ("pageInfo", "PageInfo", OLD)]),
    (
        "ConnectedAgent",
        &[
            ("connectedAt", "", OLD),
            ("connectionId", "", OLD),
            ("metadata", "AgentMetadata", OLD),
            ("warnings", "AgentWarning", (17, 7)),
        ],
    ),
    (
        "AgentMetadata",
        &[("version", "", OLD), ("commit", "", OLD), ("podNamespace", "", OLD), ("podName", "", OLD)],
    ),
    ("AgentWarning", &[("version", "AgentVersionWarning", (17, 7))]),
    ("AgentVersionWarning", &[("message", "", (17, 7)), ("type", "", (17, 7))]),
    (
        "PageInfo",
        &[
            ("hasNextPage", "", OLD),
            ("hasPreviousPage", "", OLD),
            ("startCursor", "", OLD),
            ("endCursor", "", OLD),
        ],
    ),
];

const OLD: (u64, u64) = (0, 0);
/// GraphQL gives at most so many nodes of a list.
const MOST: usize = 100;
const SCOPES: &[&str] = &["api", "read_api"];

/// Answers one request: 200 also where the query is wrong, as GraphQL does.
pub(super) fn answer(gitlab: &GitLab, request: &WholeRequest) -> WholeResponse {
    let caller = match auth::presented(request.headers()) {
        None => None,
        Some(value) => {
            let called = auth::api_caller(&mut gitlab.state(), &value, SCOPES);
            match called {
                Ok(caller) => Some(caller),
                Err(_) => {
                    let body = json!({ "errors": [{ "message": "Invalid token" }] });
                    return with_status(StatusCode::UNAUTHORIZED, &body);
                }
            }
        }
    };
    let user = caller.as_ref().map(|caller| caller.user);
    let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
    let text = body["query"].as_str().unwrap_or_default();
    let operation = match parse(text, &body["variables"]) {
        Ok(operation) => operation,
        Err(Mistake { message, line, column }) => {
            let at = json!([{ "line": line, "column": column }]);
            return ok(&json!({ "errors": [{ "message": message, "locations": at }] }));
        }
    };
    if operation.kind != "query" {
        return ok(&json!({ "errors": [{ "message": "Mutations are not played" }] }));
    }
    let release = gitlab.settings().release();
    let mut errors = Vec::new();
    check("Query", &operation.fields, &mut vec![operation.kind.clone()], release, &mut errors);
    if !errors.is_empty() {
        return ok(&json!({ "errors": errors }));
    }
    // What a fine-grained token may not see is null, with the reason.
    if let Some(message) = caller.and_then(|caller| denied(gitlab, caller.token)) {
        let nothing: Map<String, Value> =
            operation.fields.iter().map(|field| (field.alias.clone(), Value::Null)).collect();
        return ok(&json!({ "data": nothing, "errors": [{ "message": message }] }));
    }
    let (mut run, mut path) = (Run { gitlab, user, errors: Vec::new() }, Vec::new());
    let data = run.object(&run.root(), "Query", &operation.fields, &mut path);
    match run.errors.is_empty() {
        true => ok(&json!({ "data": data })),
        false => ok(&json!({ "data": data, "errors": run.errors })),
    }
}

/// What a fine-grained token lacks, or a legacy one where they are enforced.
fn denied(gitlab: &GitLab, token: u64) -> Option<String> {
    let state = gitlab.state();
    let token = state.access_tokens.iter().find(|known| known.id == token)?;
    permissions::check_graphql(&state.settings, token).err()
}

fn fields_of(kind: &str) -> &'static [Known] {
    SCHEMA.iter().find(|(name, _)| *name == kind).map_or(&[], |(_, fields)| fields)
}

fn field_type(kind: &str, name: &str, release: (u64, u64)) -> Option<&'static str> {
    let found = fields_of(kind).iter().find(|(field, _, since)| *field == name && *since <= release);
    found.map(|(_, gives, _)| *gives)
}

/// Everything that is wrong with a selection, as graphql-ruby says it before it runs anything.
fn check(kind: &str, fields: &[Field], path: &mut Vec<String>, release: (u64, u64), errors: &mut Vec<Value>) {
    for field in fields.iter().filter(|field| field.name != "__typename") {
        path.push(field.alias.clone());
        let name = &field.name;
        let mut say = |message: String, extensions: Value| {
            errors.push(json!({
                "message": message,
                "locations": [{ "line": field.line, "column": field.column }],
                "path": path.clone(),
                "extensions": extensions,
            }));
        };
        match field_type(kind, name, release) {
            None => say(
                format!("Field '{name}' doesn't exist on type '{kind}'"),
                json!({ "code": "undefinedField", "typeName": kind, "fieldName": name }),
            ),
            Some("") if !field.fields.is_empty() => {
                let inner: Vec<&str> = field.fields.iter().map(|field| field.name.as_str()).collect();
                let text =
                    format!("Selections can't be made on scalars (field '{name}' has selections {inner:?})");
                say(text, json!({ "code": "selectionMismatch", "nodeName": format!("field '{name}'") }));
            }
            Some("") => {}
            Some(gives) if field.fields.is_empty() => {
                let text = format!(
                    "Field must have selections (field '{name}' returns {gives} but has no selections. Did you mean '{name} {{ ... }}'?)"
                );
                say(
                    text,
                    json!({ "code": "selectionMismatch", "nodeName": format!("field '{name}'"), "typeName": gives }),
                );
            }
            Some(gives) => check(gives, &field.fields, path, release, errors),
        }
        path.pop();
    }
}

struct Run<'a> {
    gitlab: &'a GitLab,
    user: Option<u64>,
    errors: Vec<Value>,
}

impl Run<'_> {
    /// What needs no argument.
    fn root(&self) -> Value {
        let settings = self.gitlab.settings();
        let kas_url = settings.kas_enabled.then(|| self.gitlab.kas_address());
        let state = self.gitlab.state();
        let user = self.user.and_then(|user| state.user(user));
        json!({
            "currentUser": user.map(|user| json!({
                "id": format!("gid://gitlab/User/{}", user.id),
                "username": user.username, "name": user.name, "bot": user.bot,
            })),
            "metadata": self.user.map(|_| json!({
                "version": settings.version, "revision": settings.revision, "enterprise": settings.enterprise,
                "kas": {
                    "enabled": settings.kas_enabled,
                    "externalUrl": kas_url,
                    "version": settings.kas_version.as_ref().filter(|_| settings.kas_enabled),
                },
            })),
        })
    }

    /// The fields asked for, of a value of this type, in the order asked for.
    fn object(&mut self, value: &Value, kind: &str, fields: &[Field], path: &mut Vec<Value>) -> Value {
        let release = self.gitlab.settings().release();
        let mut out = Map::new();
        for field in fields {
            if field.name == "__typename" {
                out.insert(field.alias.clone(), json!(kind));
                continue;
            }
            let gives = field_type(kind, &field.name, release).unwrap_or("");
            path.push(json!(field.alias));
            let found = self.resolve(value, kind, field, path);
            let shown = match (&found, gives) {
                (_, "") | (Value::Null, _) => found,
                (Value::Array(items), _) => {
                    let mut shown = Vec::new();
                    for (index, item) in items.iter().enumerate() {
                        path.push(json!(index));
                        shown.push(self.object(item, gives, &field.fields, path));
                        path.pop();
                    }
                    Value::Array(shown)
                }
                _ => self.object(&found, gives, &field.fields, path),
            };
            path.pop();
            out.insert(field.alias.clone(), shown);
        }
        Value::Object(out)
    }

    fn resolve(&mut self, value: &Value, kind: &str, field: &Field, path: &[Value]) -> Value {
        let text = |name: &str| field.arguments.get(name).and_then(Value::as_str).unwrap_or_default();
        match (kind, field.name.as_str()) {
            ("Query", "project") => self.project(text("fullPath")),
            ("Project", "clusterAgent") => self.agent_named(value, text("name")),
            ("Project", "clusterAgents") => {
                let agents = self.agents(value);
                page(agents, field)
            }
            ("Project", "userPermissions") => self.permissions(value),
            ("Project", "repository") => json!({ "of": value["fullPath"] }),
            ("Repository", "blobs") => self.blobs(value, field),
            ("ClusterAgent", "project") => self.project(value["fullPath"].as_str().unwrap_or_default()),
            ("ClusterAgent", "tokens") => page(self.tokens(value, text("status")), field),
            ("ClusterAgent", "connections") => self.connections(value, field, path),
            (_, name) => value[name].clone(),
        }
    }

    fn project(&self, path: &str) -> Value {
        let root = self.gitlab.url();
        let state = self.gitlab.state();
        let found = state.project_by_path(path).filter(|project| state.sees(self.user, project));
        found.map_or(Value::Null, |project| project_json(project, &root))
    }

    fn permissions(&self, project: &Value) -> Value {
        let path = project["fullPath"].as_str().unwrap_or_default();
        let state = self.gitlab.state();
        let Some((user, found)) = self.user.zip(state.project_by_path(path)) else { return Value::Null };
        let role = state.role(user, Place::Project(found.id));
        let at_least = |least| role >= Some(least) || state.is_admin(user);
        json!({
            "readProject": true,
            "pushCode": at_least(Role::Developer),
            "adminProject": at_least(Role::Maintainer),
        })
    }

    /// Files of the default branch, for who may read code.
    fn blobs(&self, repository: &Value, field: &Field) -> Value {
        let path = repository["of"].as_str().unwrap_or_default();
        let reads = {
            let state = self.gitlab.state();
            let found = state.project_by_path(path);
            let role = |id| self.user.and_then(|user| state.role(user, Place::Project(id)));
            found.is_some_and(|p| p.visibility == Visibility::Public || role(p.id) >= Some(Role::Reporter))
        };
        let wanted = field.arguments.get("paths").and_then(Value::as_array).cloned().unwrap_or_default();
        let one = |file: &str| {
            let text = blob(self.gitlab, path, "HEAD", file).filter(|_| reads)?;
            Some(json!({ "name": file.rsplit('/').next(), "path": file, "rawTextBlob": text }))
        };
        page(wanted.iter().filter_map(Value::as_str).filter_map(one).collect(), field)
    }

    fn agents(&self, project: &Value) -> Vec<Value> {
        let path = project["fullPath"].as_str().unwrap_or_default();
        let state = self.gitlab.state();
        let Some((user, found)) = self.user.zip(state.project_by_path(path)) else { return Vec::new() };
        state.agents_for(user, found.id).iter().map(|agent| agent_json(agent, found)).collect()
    }

    fn agent_named(&self, project: &Value, name: &str) -> Value {
        self.agents(project).into_iter().find(|agent| agent["name"] == name).unwrap_or_default()
    }

    /// Active ones and revoked ones, the newest use first, as the type's resolver orders them.
    fn tokens(&self, agent: &Value, status: &str) -> Vec<Value> {
        let state = self.gitlab.state();
        let mut found: Vec<_> =
            state.agent_tokens.iter().filter(|token| Some(token.agent) == agent["number"].as_u64()).collect();
        found.sort_by_key(|token| std::cmp::Reverse(token.last_used));
        // Without an argument the newest GitLabs list active ones only.
        let status =
            if status.is_empty() && !state.settings.graphql_lists_revoked { "active" } else { status };
        let wanted = found
            .into_iter()
            .filter(|token| status.is_empty() || token.status().eq_ignore_ascii_case(status));
        wanted
            .map(|token| {
                json!({
                    "id": format!("gid://gitlab/Clusters::AgentToken/{}", token.id),
                    "name": token.name,
                    "description": token.description,
                    "status": token.status().to_uppercase(),
                    "lastUsedAt": show_maybe(token.last_used),
                    "createdAt": show(token.created),
                })
            })
            .collect()
    }

    /// Rails asks kas for these: without kas the field fails with the class of the error, and the rest is answered. To who
    /// is no Maintainer it gives none, and no error.
    fn connections(&mut self, agent: &Value, field: &Field, path: &[Value]) -> Value {
        let settings = self.gitlab.settings();
        if !self.sees_connections(agent) {
            return page(Vec::new(), field);
        }
        let off = (!settings.kas_enabled).then(|| "Gitlab::Kas::Client::ConfigurationError".to_owned());
        if let Some(class) = off.or_else(|| settings.kas_error.clone()) {
            self.errors.push(json!({
                "message": class,
                "locations": [{ "line": field.line, "column": field.column }],
                "path": path,
            }));
            return Value::Null;
        }
        let state = self.gitlab.state();
        let warning = settings
            .version_warning
            .as_ref()
            .map(|(kind, message)| json!([{ "version": { "type": kind, "message": message } }]));
        let of = |entry: &Connection| {
            json!({
                "connectedAt": show(entry.connected_at),
                "connectionId": entry.connection_id.to_string(),
                "metadata": {
                    "version": entry.version,
                    "commit": "0123abcd",
                    "podNamespace": entry.namespace,
                    "podName": entry.pod,
                },
                "warnings": warning.clone().unwrap_or_else(|| json!([])),
            })
        };
        let number = agent["number"].as_u64().unwrap_or_default();
        page(state.connections_of(number).map(of).collect(), field)
    }

    fn sees_connections(&self, agent: &Value) -> bool {
        let path = agent["fullPath"].as_str().unwrap_or_default();
        let state = self.gitlab.state();
        let Some((user, found)) = self.user.zip(state.project_by_path(path)) else { return false };
        let least =
            if state.settings.developers_see_connections { Role::Developer } else { Role::Maintainer };
        state.role(user, Place::Project(found.id)) >= Some(least) || state.is_admin(user)
    }
}

fn project_json(project: &Project, root: &str) -> Value {
    let visibility = match project.visibility {
        Visibility::Private => "private",
        Visibility::Internal => "internal",
        Visibility::Public => "public",
    };
    json!({
        "id": format!("gid://gitlab/Project/{}", project.id),
        "name": project.name(),
        "fullPath": project.path,
        "visibility": visibility,
        "webUrl": format!("{root}/{}", project.path),
    })
}

fn agent_json(agent: &Agent, project: &Project) -> Value {
    json!({
        "id": format!("gid://gitlab/Clusters::Agent/{}", agent.id),
        "number": agent.id,
        "name": agent.name,
        "createdAt": show(agent.created),
        "updatedAt": show(agent.created),
        "webPath": format!("/{}/-/cluster_agents/{}", project.path, agent.name),
        "fullPath": project.path,
    })
}

/// A page of a list, by `first` and `after`; a cursor is the number of the last node.
fn page(all: Vec<Value>, field: &Field) -> Value {
    let number = |name: &str| {
        let value = field.arguments.get(name)?;
        value
            .as_u64()
            .or_else(|| value.as_str()?.parse().ok())
            .and_then(|number| usize::try_from(number).ok())
    };
    let (first, after) = (number("first").unwrap_or(MOST).min(MOST), number("after").unwrap_or(0));
    let count = all.len();
    let nodes: Vec<Value> = all.into_iter().skip(after).take(first).collect();
    let end = after + nodes.len();
    let info = json!({
        "hasNextPage": end < count,
        "hasPreviousPage": after > 0,
        "startCursor": (!nodes.is_empty()).then(|| (after + 1).to_string()),
        "endCursor": (!nodes.is_empty()).then(|| end.to_string()),
    });
    json!({ "count": count, "nodes": nodes, "pageInfo": info })
}

#[cfg(test)]
mod tests {
    use super::super::people::Role;
    use super::super::testing::Played;
    use super::*;

    fn query(played: &Played, token: &str, text: &str) -> Value {
        let answer = played.ask("POST", "/api/graphql", token, &json!({ "query": text }));
        assert_eq!(answer.status, 200);
        answer.body
    }

    #[test]
    fn exactly_the_fields_asked_for_are_given() {
        let played = Played::new();
        let (owner, value) = (played.owner(), played.gitlab.new_agent_token().unwrap());
        played.gitlab.agent_of(&value);
        played.gitlab.connect(7, "gitlab", "pod-1", "v19.2.1");
        let text = r#"{ project(fullPath: "platform/fleet") { clusterAgent(name: "world") {
            id name tokens { nodes { status lastUsedAt } }
            connections { nodes { metadata { version podName } warnings { version { message } } } } } } }"#;
        let agent = &query(&played, &owner, text)["data"]["project"]["clusterAgent"];
        assert_eq!(agent["id"], "gid://gitlab/Clusters::Agent/7");
        assert_eq!(agent["tokens"]["nodes"][0]["status"], "ACTIVE");
        assert!(agent["tokens"]["nodes"][0]["lastUsedAt"].is_string());
        let metadata = json!({ "version": "v19.2.1", "podName": "pod-1" });
        assert_eq!(agent["connections"]["nodes"], json!([{ "metadata": metadata, "warnings": [] }]));
        assert_eq!(agent.as_object().unwrap().len(), 4);
        assert!(!agent.to_string().contains(&value));
    }

    #[test]
    fn who_is_no_maintainer_is_shown_no_connections_and_no_error() {
        let played = Played::new();
        let gitlab = &played.gitlab;
        gitlab.connect(7, "gitlab", "pod-1", "v19.2.1");
        let text = r#"{ project(fullPath: "platform/fleet") { userPermissions { adminProject } clusterAgent(name: "world") {
            connections { nodes { connectedAt } } } } }"#;
        let seen = |role| {
            let token = gitlab.new_resource_token("platform/fleet", "t", &["read_api"], role, None).unwrap();
            let body = query(&played, &token.value, text);
            assert!(body.get("errors").is_none(), "{body}");
            let project = &body["data"]["project"];
            let nodes = project["clusterAgent"]["connections"]["nodes"].as_array().unwrap().len();
            (project["userPermissions"]["adminProject"] == true, nodes)
        };
        assert_eq!((seen(Role::Developer), seen(Role::Maintainer)), ((false, 0), (true, 1)));
        gitlab.configure(|settings| settings.developers_see_connections = true);
        assert_eq!(seen(Role::Developer), (false, 1));
        gitlab.configure(|settings| settings.kas_error = Some("GRPC::Unavailable".into()));
        let body = query(&played, &played.owner(), text);
        assert_eq!(body["errors"][0]["message"], "GRPC::Unavailable");
    }

    #[test]
    fn an_old_gitlab_knows_no_warnings() {
        let played = Played::new();
        played.gitlab.configure(|settings| settings.version = "17.6.4".into());
        let text = "{ project(fullPath: \"platform/fleet\") { clusterAgents { nodes { connections { nodes {\n\
            warnings { version { message } } } } } } } }";
        let body = query(&played, &played.owner(), text);
        let error = &body["errors"][0];
        assert_eq!(error["message"], "Field 'warnings' doesn't exist on type 'ConnectedAgent'");
        assert_eq!(
            (&error["locations"][0]["line"], &error["extensions"]["code"]),
            (&json!(2), &json!("undefinedField"))
        );
        assert!(body.get("data").is_none());
    }

    #[test]
    fn who_may_not_see_gets_null_and_a_bad_token_is_refused() {
        let played = Played::new();
        let text = r#"{ project(fullPath: "platform/fleet") { id clusterAgents { count } } }"#;
        assert_eq!(query(&played, "", text), json!({ "data": { "project": null } }));
        let developer =
            played.gitlab.new_resource_token("platform/fleet", "ci", &["read_api"], Role::Reporter, None);
        let seen = query(&played, &developer.unwrap().value, text);
        assert_eq!(seen["data"]["project"]["clusterAgents"]["count"], 0);
        let refused = played.ask("POST", "/api/graphql", "nobody", &json!({ "query": text }));
        assert_eq!((refused.status, &refused.body["errors"][0]["message"]), (401, &json!("Invalid token")));
    }

    #[test]
    fn without_kas_only_the_connections_fail() {
        let played = Played::new();
        played.gitlab.configure(|settings| settings.kas_enabled = false);
        let text = r#"{ project(fullPath: "platform/fleet") { clusterAgent(name: "world") { name connections { nodes { connectedAt } } } } }"#;
        let body = query(&played, &played.owner(), text);
        assert_eq!(body["data"]["project"]["clusterAgent"], json!({ "name": "world", "connections": null }));
        assert_eq!(body["errors"][0]["path"], json!(["project", "clusterAgent", "connections"]));
    }

    #[test]
    fn long_lists_come_in_pages() {
        let played = Played::new();
        played.gitlab.new_agent("platform/fleet", "other").unwrap();
        let text = r#"{ project(fullPath: "platform/fleet") { clusterAgents(first: 1) { count nodes { name } pageInfo { hasNextPage endCursor } } } }"#;
        let body = query(&played, &played.owner(), text);
        let agents = &body["data"]["project"]["clusterAgents"];
        assert_eq!((&agents["count"], &agents["nodes"]), (&json!(2), &json!([{ "name": "other" }])));
        assert_eq!(agents["pageInfo"], json!({ "hasNextPage": true, "endCursor": "1" }));
        let next = query(&played, &played.owner(), &text.replace("first: 1", r#"first: 1, after: "1""#));
        assert_eq!(next["data"]["project"]["clusterAgents"]["nodes"][0]["name"], "world");
    }
}
