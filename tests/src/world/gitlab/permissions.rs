//! Permissions of fine-grained personal access tokens: which one a request takes, and what a token without it is told.
//!
//! Source: `app/services/authz/tokens/authorize_granular_scopes_service.rb`, `lib/api/api_guard.rb`; the names are those of
//! GitLab's table of permissions for the REST API, as far as they are known here.

use http::Method;

use super::access_tokens::AccessToken;
use super::errors::Refusal;
use super::settings::Settings;

/// Where a permission holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Boundary {
    Instance,
    User,
    Group,
    Project,
}

impl Boundary {
    fn word(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::User => "user",
            Self::Group => "group",
            Self::Project => "project",
        }
    }
}

/// What part of the path names, from the most specific on.
const RESOURCES: &[(&str, &str)] = &[
    ("tokens", "Cluster Agent Token"),
    ("cluster_agents", "Cluster Agent"),
    ("deploy_tokens", "Deploy Token"),
    ("deploy_keys", "Deploy Key"),
    ("access_tokens", "Resource Access Token"),
    ("protected_branches", "Protected Branch"),
    ("statuses", "Commit Status"),
    ("files", "Repository File"),
    ("branches", "Branch"),
    ("commits", "Commit"),
    ("members", "Member"),
    ("personal_access_tokens", "Personal Access Token"),
    ("user", "User"),
    ("users", "User"),
    ("metadata", "Metadata"),
    ("version", "Metadata"),
    ("projects", "Project"),
    ("groups", "Group"),
];

/// The permission that a request takes, with its boundary: `Cluster Agent Token: Read`.
fn permission(method: &Method, parts: &[String]) -> (Boundary, String) {
    let boundary = match parts.first().map(String::as_str) {
        Some("projects") => Boundary::Project,
        Some("groups") => Boundary::Group,
        Some("user" | "users" | "personal_access_tokens") => Boundary::User,
        _ => Boundary::Instance,
    };
    let named = |(part, _): &&(&str, &str)| parts.iter().any(|known| known == part);
    let resource = RESOURCES.iter().find(named).map_or("Project", |(_, name)| name);
    let action = match *method {
        Method::POST => "Create",
        Method::DELETE => "Delete",
        Method::PUT => "Update",
        _ => "Read",
    };
    (boundary, format!("{resource}: {action}"))
}

/// Refuses a fine-grained token without the permission, and a legacy one below projects and groups where fine-grained ones
/// are enforced.
pub(super) fn check(
    settings: &Settings,
    token: &AccessToken,
    method: &Method,
    parts: &[String],
) -> Result<(), Refusal> {
    let (boundary, permission) = permission(method, parts);
    let allowed = match &token.permissions {
        Some(own) => own.contains(&permission),
        None => !settings.enforces_fine_grained || matches!(boundary, Boundary::Instance | Boundary::User),
    };
    if allowed { Ok(()) } else { Err(Refusal::Granular(text(boundary, &permission))) }
}

/// The same for GraphQL, which is asked about projects here.
pub(super) fn check_graphql(settings: &Settings, token: &AccessToken) -> Result<(), String> {
    let wanted = "Cluster Agent: Read";
    let allowed = match &token.permissions {
        Some(own) => own.iter().any(|known| known == wanted),
        None => !settings.enforces_fine_grained,
    };
    if allowed { Ok(()) } else { Err(text(Boundary::Project, wanted)) }
}

fn text(boundary: Boundary, permission: &str) -> String {
    format!(
        "Access denied: This operation requires a fine-grained personal access token with the following {} permissions: \
         [{permission}].",
        boundary.word()
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::in_days;
    use super::super::people::Role;
    use super::super::testing::Played;

    #[test]
    fn a_fine_grained_token_may_what_it_lists_and_is_told_what_it_lacks() {
        let played = Played::new();
        let person = played.gitlab.person();
        let token = played.gitlab.new_fine_grained_token(person, "fine", &["Project: Read"]).unwrap().value;
        assert_eq!(played.get("/projects/platform%2Ffleet", &token).status, 200);
        let refused = played.get("/projects/platform%2Ffleet/cluster_agents/7/tokens", &token);
        assert_eq!((refused.status, &refused.body["error"]), (403, &json!("insufficient_granular_scope")));
        let said = refused.body["error_description"].as_str().unwrap();
        assert!(
            said.ends_with("with the following project permissions: [Cluster Agent Token: Read]."),
            "{said}"
        );
        assert_eq!(
            played.get("/personal_access_tokens/self", &token).status,
            403,
            "that takes a permission, too"
        );
        let with =
            played.gitlab.new_fine_grained_token(person, "f", &["Personal Access Token: Read"]).unwrap();
        let own = played.get("/personal_access_tokens/self", &with.value).body;
        assert_eq!((&own["scopes"], &own["granular"]), (&json!(["granular"]), &json!(true)));
    }

    #[test]
    fn where_they_are_enforced_legacy_tokens_open_no_project_and_are_neither_made_nor_renewed() {
        let played = Played::new();
        let owner = played.owner();
        let old =
            played.gitlab.new_personal_token(played.gitlab.person(), "old", &["api"], in_days(9)).unwrap();
        played.gitlab.configure(|settings| settings.enforces_fine_grained = true);
        assert_eq!(played.get("/metadata", &owner).status, 200, "the instance's are open");
        assert_eq!(played.get("/personal_access_tokens/self", &owner).status, 200);
        let refused = played.get("/projects/platform%2Ffleet", &owner);
        assert_eq!((refused.status, &refused.body["error"]), (403, &json!("insufficient_granular_scope")));
        let renew = format!("/personal_access_tokens/{}/rotate", old.id);
        assert_eq!(played.ask("POST", &renew, &owner, &json!({})).status, 400);
        assert!(played.gitlab.new_resource_token("platform/fleet", "x", &["api"], Role::Guest, None).is_ok());
    }
}
