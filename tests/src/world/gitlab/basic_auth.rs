//! Who may read or write a repository: real checks of the Basic credentials that Flux and git send.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use super::GitLab;
use super::auth::note_use;
use super::people::{Place, Role};
use super::projects::Visibility;
use super::state::State;

/// What a request wants to do with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Read,
    Write,
}

impl Want {
    fn scopes(self) -> &'static [&'static str] {
        match self {
            Self::Read => &["api", "read_repository", "write_repository"],
            Self::Write => &["api", "write_repository"],
        }
    }

    fn role(self) -> Role {
        match self {
            Self::Read => Role::Reporter,
            Self::Write => Role::Developer,
        }
    }
}

/// User name and password of Basic authentication.
pub(super) fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let encoded = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

/// Lets a request through, or says with which status it is refused.
///
/// 401 for a token that is not active or does not go with the user name, 404 for a project that the token does not
/// see, 403 for one that it sees and may not touch so.
pub(super) fn admit(
    gitlab: &GitLab,
    headers: &HeaderMap,
    project: &str,
    want: Want,
) -> Result<(), StatusCode> {
    let state = &mut *gitlab.state();
    let visibility = state.project_by_path(project).map(|project| project.visibility);
    let open = visibility == Some(Visibility::Public) && want == Want::Read;
    let Some((user, password)) = credentials(headers) else {
        return if open { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) };
    };
    // Credentials that are shown are judged, also where none are needed.
    let opened = deploy_token(state, &user, &password, project, want)
        .or_else(|| access_token(state, &user, &password, project, want));
    match opened {
        None => Err(StatusCode::UNAUTHORIZED),
        Some(_) if open => Ok(()),
        Some(opened) => opened,
    }
}

/// What a deploy token opens; nothing when the credentials name no active one.
fn deploy_token(
    state: &mut State,
    user: &str,
    password: &str,
    project: &str,
    want: Want,
) -> Option<Result<(), StatusCode>> {
    let fits = |token: &&mut super::deploy_tokens::DeployToken| {
        token.is_active() && token.value == password && token.username == user
    };
    let token = state.deploy_tokens.iter_mut().find(fits)?;
    token.last_used = Some(Timestamp::now());
    let (place, scopes) = (token.place, token.scopes.clone());
    let inside = match place {
        Place::Project(id) => state.project(id).is_some_and(|own| own.path == project),
        Place::Group(_) => {
            state.path_of(place).is_some_and(|group| project.starts_with(&format!("{group}/")))
        }
    };
    if !inside || state.project_by_path(project).is_none() {
        return Some(Err(StatusCode::NOT_FOUND));
    }
    let may = want == Want::Read && scopes.iter().any(|scope| scope == "read_repository");
    Some(if may { Ok(()) } else { Err(StatusCode::FORBIDDEN) })
}

/// What an access token opens, with any user name; nothing when the credentials name no active one.
fn access_token(
    state: &mut State,
    user: &str,
    password: &str,
    project: &str,
    want: Want,
) -> Option<Result<(), StatusCode>> {
    let fits = |token: &&mut super::access_tokens::AccessToken| {
        token.is_active() && token.value == password && !user.is_empty()
    };
    let token = state.access_tokens.iter_mut().find(fits)?.clone();
    note_use(state, token.id);
    if state.user(token.user).is_none_or(|user| user.blocked) {
        return None;
    }
    let Some(found) = state.project_by_path(project) else { return Some(Err(StatusCode::NOT_FOUND)) };
    if !state.sees(Some(token.user), found) {
        return Some(Err(StatusCode::NOT_FOUND));
    }
    let role = state.role(token.user, Place::Project(found.id));
    let may = token.has_scope(want.scopes()) && role >= Some(want.role());
    Some(if may { Ok(()) } else { Err(StatusCode::FORBIDDEN) })
}
