//! The route table of the REST API, version 4.

use http::Method;

use super::call::{Call, visible_place};
use super::errors::{ApiResult, Refusal};
use super::server::{WholeRequest, WholeResponse};
use super::{
    GitLab, access_token_calls as tokens, agent_tokens, agents, commit_status, deploy_keys, deploy_tokens,
    metadata, people, projects, protection, repository_files as files,
};

/// Answers a request; `path` is what follows `/api/v4`.
pub(super) fn answer(gitlab: &GitLab, request: &WholeRequest, path: &str) -> WholeResponse {
    let limited = gitlab.state().limits.take();
    if let Some(refused) = limited {
        return refused;
    }
    let call = Call::new(request, &gitlab.url(), path);
    let parts: Vec<&str> = call.path.iter().map(String::as_str).collect();
    let mut response = route(gitlab, &call, &parts).unwrap_or_else(|refusal| refusal.response());
    let headers = response.headers_mut();
    headers.insert("x-request-id", http::HeaderValue::from_static("01WORLD"));
    headers.insert(
        "x-gitlab-meta",
        http::HeaderValue::from_static(r#"{"correlation_id":"01WORLD","version":"1"}"#),
    );
    response
}

fn route(gitlab: &GitLab, call: &Call<'_>, parts: &[&str]) -> ApiResult {
    let method = if call.method == Method::HEAD { "GET" } else { call.method.as_str() };
    match (method, parts) {
        ("GET", ["metadata"]) => metadata::metadata(gitlab, call),
        ("GET", ["version"]) => metadata::version(gitlab, call),
        ("GET", ["user"]) => people::myself(gitlab, call),
        ("GET", ["users", id]) => people::user(gitlab, call, id),
        ("GET", ["projects"]) => projects::list(gitlab, call),
        ("GET", ["groups", id]) => projects::group(gitlab, call, id),
        (_, ["personal_access_tokens", rest @ ..]) => personal_tokens(gitlab, call, method, rest),
        (_, [kind @ ("projects" | "groups"), id, "access_tokens", rest @ ..]) => {
            resource_tokens(gitlab, call, method, (kind, id), rest)
        }
        (_, [kind @ ("projects" | "groups"), id, rest @ ..]) => below(gitlab, call, method, (kind, id), rest),
        _ => Err(Refusal::NoRoute),
    }
}

fn personal_tokens(gitlab: &GitLab, call: &Call<'_>, method: &str, rest: &[&str]) -> ApiResult {
    match (method, rest) {
        ("GET", []) => tokens::mine(gitlab, call),
        ("GET", ["self"]) => tokens::myself(gitlab, call),
        ("DELETE", ["self"]) => tokens::revoke_myself(gitlab, call),
        ("POST", ["self", "rotate"]) => tokens::rotate_myself(gitlab, call, None),
        ("GET" | "DELETE", [id]) => tokens::one_of_mine(gitlab, call, id, false),
        ("POST", [id, "rotate"]) => tokens::one_of_mine(gitlab, call, id, true),
        _ => Err(Refusal::NoRoute),
    }
}

fn resource_tokens(
    gitlab: &GitLab,
    call: &Call<'_>,
    method: &str,
    (kind, id): (&str, &str),
    rest: &[&str],
) -> ApiResult {
    match (method, rest) {
        ("GET", []) => tokens::list(gitlab, call, kind, id),
        ("POST", []) => tokens::create(gitlab, call, kind, id),
        ("POST", ["self", "rotate"]) => tokens::rotate_myself(gitlab, call, Some((kind, id))),
        ("GET" | "DELETE", [token]) => tokens::one(gitlab, call, kind, id, token),
        ("POST", [token, "rotate"]) => tokens::rotate(gitlab, call, kind, id, token),
        _ => Err(Refusal::NoRoute),
    }
}

fn below(
    gitlab: &GitLab,
    call: &Call<'_>,
    method: &str,
    (kind, id): (&str, &str),
    rest: &[&str],
) -> ApiResult {
    match (method, rest) {
        ("GET", ["members", "all", user @ ..]) => members(gitlab, call, (kind, id), user.first().copied()),
        ("GET", ["members"]) => direct_members(gitlab, call, (kind, id)),
        ("GET", ["deploy_tokens"]) => deploy_tokens::list(gitlab, call, kind, id),
        ("POST", ["deploy_tokens"]) => deploy_tokens::create(gitlab, call, kind, id),
        ("GET" | "DELETE", ["deploy_tokens", token]) => deploy_tokens::one(gitlab, call, kind, id, token),
        _ if kind == "projects" => of_project(gitlab, call, method, id, rest),
        _ => Err(Refusal::NoRoute),
    }
}

fn of_project(gitlab: &GitLab, call: &Call<'_>, method: &str, id: &str, rest: &[&str]) -> ApiResult {
    match (method, rest) {
        ("GET", []) => projects::one(gitlab, call, id),
        ("GET", ["cluster_agents"]) => agents::list(gitlab, call, id),
        ("POST", ["cluster_agents"]) => agents::create(gitlab, call, id),
        ("GET", ["cluster_agents", agent]) => agents::one(gitlab, call, id, agent),
        ("DELETE", ["cluster_agents", agent]) => agents::delete(gitlab, call, id, agent),
        ("GET", ["cluster_agents", agent, "tokens"]) => agent_tokens::list(gitlab, call, id, agent),
        ("POST", ["cluster_agents", agent, "tokens"]) => agent_tokens::create(gitlab, call, id, agent),
        ("GET", ["cluster_agents", agent, "tokens", token]) => {
            agent_tokens::one(gitlab, call, id, agent, token)
        }
        ("DELETE", ["cluster_agents", agent, "tokens", token]) => {
            agent_tokens::revoke(gitlab, call, id, agent, token)
        }
        ("GET" | "POST" | "DELETE", ["deploy_keys"]) => deploy_keys::answer(gitlab, call, id, None),
        ("GET" | "DELETE", ["deploy_keys", key]) => deploy_keys::answer(gitlab, call, id, Some(key)),
        ("GET", ["repository", "files", path]) => files::file(gitlab, call, id, path, false),
        ("GET", ["repository", "files", path, "raw"]) => files::file(gitlab, call, id, path, true),
        ("GET", ["repository", "tree"]) => files::tree(gitlab, call, id),
        ("GET", ["protected_branches"]) => protection::list(gitlab, call, id),
        ("GET", ["repository", "branches"]) => files::branches(gitlab, call, id, None),
        ("GET", ["repository", "branches", branch]) => files::branches(gitlab, call, id, Some(branch)),
        ("GET", ["repository", "commits"]) => files::commits(gitlab, call, id),
        ("GET", ["repository", "commits", sha]) => files::commit(gitlab, call, id, sha),
        ("GET", ["repository", "commits", sha, "statuses"]) => commit_status::list(gitlab, call, id, sha),
        ("POST", ["statuses", sha]) => commit_status::create(gitlab, call, id, sha),
        _ => Err(Refusal::NoRoute),
    }
}

fn members(gitlab: &GitLab, call: &Call<'_>, (kind, id): (&str, &str), user: Option<&str>) -> ApiResult {
    let caller = call.sign_in(gitlab, call.usual_scopes())?;
    let place = visible_place(&gitlab.state(), caller.user, kind, id)?;
    people::members(gitlab, call, place, user)
}

fn direct_members(gitlab: &GitLab, call: &Call<'_>, (kind, id): (&str, &str)) -> ApiResult {
    let caller = call.sign_in(gitlab, call.usual_scopes())?;
    let place = visible_place(&gitlab.state(), caller.user, kind, id)?;
    people::direct_members(gitlab, call, place)
}
