//! Who may read or write a repository: real checks of the Basic credentials that Flux and git send.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};

use super::{GitLab, Token, TokenKind};

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
}

/// User name and password of Basic authentication.
pub(super) fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let encoded = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

/// Lets a request through, or says with which status it is refused.
pub(super) fn admit(
    gitlab: &GitLab,
    headers: &HeaderMap,
    project: &str,
    want: Want,
) -> Result<(), StatusCode> {
    let public = gitlab.is_public(project);
    if public == Some(true) && want == Want::Read {
        return Ok(());
    }
    let (user, password) = credentials(headers).ok_or(StatusCode::UNAUTHORIZED)?;
    let token = accepted(gitlab, &user, &password).ok_or(StatusCode::UNAUTHORIZED)?;
    let outside = matches!(&token.kind, TokenKind::Deploy { project: only, .. } if only != project);
    if public.is_none() || outside {
        return Err(StatusCode::NOT_FOUND);
    }
    if token.has_scope(want.scopes()) { Ok(()) } else { Err(StatusCode::FORBIDDEN) }
}

/// The active token that these credentials name; agent tokens open no repository.
fn accepted(gitlab: &GitLab, user: &str, password: &str) -> Option<Token> {
    let token = gitlab.token(password).filter(|token| token.active)?;
    let fits = match &token.kind {
        TokenKind::Agent { .. } => false,
        TokenKind::Access => !user.is_empty(),
        TokenKind::Deploy { username, .. } => username == user,
    };
    if !fits {
        return None;
    }
    let _ = gitlab.change_token(password, |token| token.last_used = Some(jiff::Timestamp::now()));
    Some(token)
}
