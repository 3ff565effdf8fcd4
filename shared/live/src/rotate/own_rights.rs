//! What the person who runs it may do in GitLab: their token, their role, and what the tier allows.

use gitlab_agent_core::rotate::Kind;
use jiff::{SignedDuration, Timestamp};

use super::find;
use super::issuer::Issuer;
use super::preflight::{Notes, Refusal};
use super::resource;
use super::target::{Reader, Target};
use crate::gitlab::{FaultKind, GitLabWriter};

/// Whether the person's own token can do it to the end.
pub(super) async fn own_token(gitlab: &GitLabWriter, said: &mut Notes) -> Result<(), Refusal> {
    let own = gitlab.read.own_token().await?;
    if own.is_fine_grained() {
        said.notes.push(
            "what your fine-grained token may do GitLab does not say beforehand: a permission that it lacks shows at the step that \
             needs it (docs/gitlab-access.md lists them)"
                .to_owned(),
        );
    } else if !own.scopes.is_empty() && !own.scopes.iter().any(|s| s == "api") {
        said.against.push(format!(
            "your GitLab token has the scope {}; making and revoking tokens needs api",
            own.scopes.join(", ")
        ));
    }
    if let Some(expires) = own.expires_at.as_ref().filter(|at| expires_soon(at, Timestamp::now())) {
        said.against
            .push(format!("your GitLab token expires on {expires}: it may not live to revoke the old token"));
    }
    Ok(())
}

/// Whether the person's role is enough where the credential is made.
pub(super) fn role(may: Option<bool>, place: &str, said: &mut Notes) {
    let least = if place.starts_with("group ") { "Owner" } else { "Maintainer" };
    match may {
        Some(false) => said.against.push(format!(
            "your role in {place} is below {least}, which making and revoking its tokens needs"
        )),
        Some(true) => {}
        None => said.notes.push(format!(
            "GitLab does not show your role in {place}: making and revoking its tokens takes {least}"
        )),
    }
}

/// Whether access tokens can be made there at all. Where they cannot, GitLab shows none, not even to a Maintainer.
pub(super) async fn has_access_tokens(
    found: &find::Found,
    target: &Target,
    said: &mut Notes,
) -> Result<(), Refusal> {
    let Issuer::Resource(resource) = &found.issuer else { return Ok(()) };
    if resource.kind != Kind::AccessToken || found.may == Some(false) {
        return Ok(());
    }
    match found.issuer.tokens().await {
        Ok(_) => Ok(()),
        Err(fault) if fault.kind == FaultKind::SignIn => {
            let instead = match &target.reader {
                Reader::Providers(_) => {
                    "A job status can then be set with a personal access token of scope api only, renewed with --in-place"
                }
                _ => {
                    "For fetching, --make deploy-token makes one that every tier has (for ssh:// a deploy key)"
                }
            };
            let place = found.issuer.place_words();
            let no = resource::NO_ACCESS_TOKENS;
            let own = if found.may.is_none() { "your role is too low for them, or " } else { "" };
            said.against.push(format!("GitLab shows you no access tokens of {place}: {own}{no}. {instead}"));
            Ok(())
        }
        Err(fault) => Err(fault.into()),
    }
}

/// A token expires at midnight UTC at the beginning of its day (GitLab, "Personal access tokens"); an hour's margin.
fn expires_soon(date: &str, now: Timestamp) -> bool {
    let midnight = format!("{date}T00:00:00Z").parse::<Timestamp>();
    midnight.is_ok_and(|at| at.duration_since(now) < SignedDuration::from_hours(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_dies_within_the_hour_is_not_begun_with() {
        let now: Timestamp = "2026-05-01T23:30:00Z".parse().expect("a time");
        assert!(expires_soon("2026-05-02", now));
        assert!(expires_soon("2026-05-01", now));
        assert!(!expires_soon("2026-05-03", now));
        assert!(!expires_soon("never", now));
    }
}
