//! Files, trees, branches and commits, read from the real repositories.
//!
//! Source: `doc/api/repository_files.md`, `doc/api/repositories.md`, `doc/api/commits.md`.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method, Response};
use http_body_util::Full;
use hyper::body::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::call::{Call, visible_project};
use super::errors::{ApiResult, Refusal, ok};
use super::people::{Place, Role};
use super::projects::{Project, Visibility};
use super::{GitLab, pagination};
use crate::world::components::hex;

const SCOPES: &[&str] = &["api", "read_api", "read_repository"];

/// Runs git in the bare repository of a project; nothing where it fails.
pub(super) fn git(gitlab: &GitLab, project: &str, args: &[&str]) -> Option<Vec<u8>> {
    let output = Command::new("git")
        .arg("--git-dir")
        .arg(gitlab.bare_root().join(format!("{project}.git")))
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .ok()?;
    output.status.success().then_some(output.stdout)
}

fn line(gitlab: &GitLab, project: &str, args: &[&str]) -> Option<String> {
    let text = String::from_utf8(git(gitlab, project, args)?).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The full id of the commit that a branch, tag or abbreviation names.
pub(super) fn commit_id(gitlab: &GitLab, project: &str, name: &str) -> Option<String> {
    let name = if name == "HEAD" { "main" } else { name };
    line(gitlab, project, &["rev-parse", "--verify", "--quiet", &format!("{name}^{{commit}}")])
}

/// The first branch, by name, that has a commit.
pub(super) fn branch_with(gitlab: &GitLab, project: &str, commit: &str) -> Option<String> {
    let args = ["for-each-ref", "--format=%(refname:short)", "--contains", commit, "refs/heads"];
    line(gitlab, project, &args)?.lines().next().map(str::to_owned)
}

/// A file as text; nothing where there is none.
pub(super) fn blob(gitlab: &GitLab, project: &str, reference: &str, path: &str) -> Option<String> {
    let commit = commit_id(gitlab, project, reference)?;
    let content = git(gitlab, project, &["cat-file", "blob", &format!("{commit}:{path}")])?;
    Some(String::from_utf8_lossy(&content).into_owned())
}

/// The project, when the caller may read its code: members from Reporter, or anybody of a public one.
pub(super) fn readable(
    gitlab: &GitLab,
    call: &Call<'_>,
    id: &str,
    scopes: &[&'static str],
) -> Result<Project, Refusal> {
    let user = call.caller(gitlab, scopes)?.map(|caller| caller.user);
    let state = gitlab.state();
    let project = visible_project(&state, user, id)?;
    let role = user.and_then(|user| state.role(user, Place::Project(project.id)));
    let open = project.visibility == Visibility::Public;
    if open || role >= Some(Role::Reporter) { Ok(project) } else { Err(Refusal::Forbidden) }
}

/// `GET|HEAD /projects/:id/repository/files/:path[/raw]?ref=`.
pub(super) fn file(gitlab: &GitLab, call: &Call<'_>, id: &str, path: &str, raw: bool) -> ApiResult {
    let project = readable(gitlab, call, id, SCOPES)?;
    let reference = match (call.text("ref"), raw) {
        (Some(reference), _) => reference,
        (None, true) => "HEAD".to_owned(),
        (None, false) => return Err(Refusal::Parameter("ref is missing".into())),
    };
    let commit = commit_id(gitlab, &project.path, &reference).ok_or(Refusal::NotFound("Commit"))?;
    let object = format!("{commit}:{path}");
    let kind = line(gitlab, &project.path, &["cat-file", "-t", &object]);
    if kind.as_deref() != Some("blob") {
        return Err(Refusal::NotFound("File"));
    }
    let blob = line(gitlab, &project.path, &["rev-parse", &object]).ok_or(Refusal::NotFound("File"))?;
    let content =
        git(gitlab, &project.path, &["cat-file", "blob", &blob]).ok_or(Refusal::NotFound("File"))?;
    let last = line(gitlab, &project.path, &["log", "-1", "--format=%H", &commit, "--", path]);
    let about = json!({
        "file_name": path.rsplit('/').next(),
        "file_path": path,
        "size": content.len(),
        "encoding": "base64",
        "content_sha256": hex(&Sha256::digest(&content)),
        "ref": reference,
        "blob_id": blob,
        "commit_id": commit,
        "last_commit_id": last,
        "execute_filemode": false,
    });
    let mut response = if call.method == Method::HEAD {
        Response::new(Full::new(Bytes::new()))
    } else if raw {
        let mut response = Response::new(Full::new(Bytes::from(content)));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response
    } else {
        let mut whole = about.clone();
        whole["content"] = json!(STANDARD.encode(&content));
        ok(&whole)
    };
    for (key, value) in about.as_object().into_iter().flatten() {
        let name = HeaderName::try_from(format!("x-gitlab-{}", key.replace('_', "-")));
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if let (Ok(name), Ok(text)) = (name, HeaderValue::from_str(&text)) {
            response.headers_mut().insert(name, text);
        }
    }
    Ok(response)
}

/// `GET /projects/:id/repository/tree?path=&ref=&recursive=`.
pub(super) fn tree(gitlab: &GitLab, call: &Call<'_>, id: &str) -> ApiResult {
    let project = readable(gitlab, call, id, SCOPES)?;
    let reference = call.text("ref").unwrap_or_else(|| "HEAD".into());
    let commit = commit_id(gitlab, &project.path, &reference).ok_or(Refusal::NotFound("Tree"))?;
    let path = call.text("path").unwrap_or_default();
    let folder = if path.is_empty() { String::new() } else { format!("{}/", path.trim_matches('/')) };
    let mut args = vec!["ls-tree", "--full-tree", "-z"];
    if call.switch("recursive") == Some(true) {
        args.extend(["-r", "-t"]);
    }
    args.push(&commit);
    if !folder.is_empty() {
        args.push(&folder);
    }
    let listed = git(gitlab, &project.path, &args).unwrap_or_default();
    let text = String::from_utf8_lossy(&listed).into_owned();
    let entry = |line: &str| {
        let (head, path) = line.split_once('\t')?;
        let mut head = head.split(' ');
        let (mode, kind, blob) = (head.next()?, head.next()?, head.next()?);
        Some(json!({ "id": blob, "name": path.rsplit('/').next(), "type": kind, "path": path, "mode": mode }))
    };
    let all: Vec<Value> = text.split('\0').filter_map(entry).collect();
    if all.is_empty() && !folder.is_empty() {
        return Err(Refusal::NotFound("invalid revision or path"));
    }
    Ok(pagination::page(call, &all))
}

/// `GET /projects/:id/repository/branches[/:branch]`.
pub(super) fn branches(gitlab: &GitLab, call: &Call<'_>, id: &str, branch: Option<&str>) -> ApiResult {
    let project = readable(gitlab, call, id, SCOPES)?;
    let format = "--format=%(refname:short)";
    let names = line(gitlab, &project.path, &["for-each-ref", format, "refs/heads"]).unwrap_or_default();
    let one = |name: &str| {
        let commit = commit_id(gitlab, &project.path, &format!("refs/heads/{name}"))?;
        let commit = commit_json(gitlab, &project.path, &commit)?;
        let (protected, push, merge) = gitlab.state().branch_protection(project.id, name);
        Some(json!({
            "name": name, "default": name == "main", "merged": false, "commit": commit,
            "protected": protected, "developers_can_push": push, "developers_can_merge": merge,
        }))
    };
    match branch {
        Some(branch) => one(branch).map(|branch| ok(&branch)).ok_or(Refusal::NotFound("Branch")),
        None => {
            let all: Vec<Value> = names.lines().filter_map(one).collect();
            Ok(pagination::page(call, &all))
        }
    }
}

/// `GET /projects/:id/repository/commits/:sha`.
pub(super) fn commit(gitlab: &GitLab, call: &Call<'_>, id: &str, sha: &str) -> ApiResult {
    let project = readable(gitlab, call, id, SCOPES)?;
    let commit = commit_id(gitlab, &project.path, sha).ok_or(Refusal::NotFound("Commit"))?;
    commit_json(gitlab, &project.path, &commit).map(|commit| ok(&commit)).ok_or(Refusal::NotFound("Commit"))
}

/// `GET /projects/:id/repository/commits?ref_name=&path=`.
pub(super) fn commits(gitlab: &GitLab, call: &Call<'_>, id: &str) -> ApiResult {
    let project = readable(gitlab, call, id, SCOPES)?;
    let reference = call.text("ref_name").unwrap_or_else(|| "HEAD".into());
    let head = commit_id(gitlab, &project.path, &reference).ok_or(Refusal::NotFound("Commit"))?;
    let path = call.text("path");
    let mut args = vec!["rev-list", head.as_str()];
    if let Some(path) = &path {
        args.extend(["--", path]);
    }
    let ids = line(gitlab, &project.path, &args).unwrap_or_default();
    let all: Vec<Value> = ids.lines().filter_map(|id| commit_json(gitlab, &project.path, id)).collect();
    Ok(pagination::page(call, &all))
}

fn commit_json(gitlab: &GitLab, project: &str, id: &str) -> Option<Value> {
    let format = "--format=%H%x00%h%x00%s%x00%an%x00%ae%x00%aI%x00%cI%x00%P%x00%B";
    let text = line(gitlab, project, &["show", "--no-patch", format, id])?;
    let fields: Vec<&str> = text.splitn(9, '\0').collect();
    let [id, short, title, author, email, authored, committed, parents, message] = fields[..] else {
        return None;
    };
    let parents: Vec<&str> = parents.split_whitespace().collect();
    Some(json!({
        "id": id,
        "short_id": short,
        "created_at": committed,
        "parent_ids": parents,
        "title": title,
        "message": message,
        "author_name": author,
        "author_email": email,
        "authored_date": authored,
        "committer_name": author,
        "committer_email": email,
        "committed_date": committed,
    }))
}
