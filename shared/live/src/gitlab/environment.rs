//! Credentials of GitLab in the environment. No other program gets them, and nothing shows them.

use std::ffi::OsStr;
use std::process::Command;

use gitlab_agent_core::snapshot::secret::{KeyShape, ValueKind};

use crate::known;

/// Names that have no pattern: glab, GitLab's jobs (the URL holds the job's token; logins to registries), older tools.
const NAMES: [&str; 6] = [
    "CI_REPOSITORY_URL",
    "DOCKER_AUTH_CONFIG",
    "JOB_TOKEN",
    "OAUTH_TOKEN",
    "PRIVATE_TOKEN",
    "GIT_CREDENTIALS",
];
/// A word of a name that says it is GitLab's: glab's, semantic-release's, a job's, agentk's.
const OF_GITLAB: [&str; 4] = ["GL", "CI", "AGENTK", "GLPAT"];
/// What a name says of a credential: as the end of a word.
const SECRET: [&str; 15] = [
    "AUTH",
    "COOKIE",
    "CREDENTIAL",
    "CREDENTIALS",
    "CREDS",
    "GLPAT",
    "JWT",
    "KEY",
    "PASS",
    "PASSWD",
    "PASSWORD",
    "PAT",
    "PWD",
    "SECRET",
    "TOKEN",
];
/// ID tokens, which GitLab makes for somebody else: with these a plugin in a job signs in.
const FOR_OTHERS: [&str; 2] = ["OIDC", "ID_TOKEN"];

/// Takes them out of the environment of a program that has nothing to do with GitLab.
pub(crate) fn hide_tokens(command: &mut Command) {
    for (name, value) in std::env::vars_os() {
        if is_credential(&name, &value) {
            command.env_remove(name);
        }
    }
}

/// Makes them known, whoever may repeat them.
pub(crate) fn tell_tokens() {
    for (name, value) in std::env::vars_os() {
        // A file or a URL without a password is none.
        let value = value.to_string_lossy();
        let is_value = !value.starts_with(['/', '.', '~']) && (!value.contains("://") || value.contains('@'));
        if is_value && is_credential(&name, OsStr::new(&*value)) {
            known::run().of_gitlab(&value);
        }
    }
}

/// Whether a variable holds a credential of GitLab: by its name, as glab, GitLab's jobs and other tools have it, or because
/// its value has the form of one, or holds the token that this run uses.
fn is_credential(name: &OsStr, value: &OsStr) -> bool {
    let value = value.to_string_lossy();
    says(&name.to_string_lossy()) || has_form(&value) || known::run().holds_gitlabs(&value)
}

fn says(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    if NAMES.contains(&name.as_str()) {
        return true;
    }
    if FOR_OTHERS.iter().any(|word| name.contains(word)) {
        return false;
    }
    let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphabetic()).collect();
    let of_gitlab = ["GITLAB", "GLAB"].iter().any(|word| name.contains(word))
        || OF_GITLAB.iter().any(|word| words.contains(word));
    of_gitlab && words.iter().any(|word| SECRET.iter().any(|end| word.ends_with(end)))
}

/// A token with one of GitLab's prefixes, alone or in a URL, a header or a file of settings.
fn has_form(value: &str) -> bool {
    let words = value.split(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c));
    words.filter(|word| word.len() >= 20).any(|word| {
        matches!(
            KeyShape::of(word.as_bytes(), b"").kind,
            ValueKind::AccessToken
                | ValueKind::AgentToken
                | ValueKind::DeployToken
                | ValueKind::OtherGitLabToken
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_gitlab_are_known_by_their_names() {
        for name in [
            "GITLAB_TOKEN",
            "GITLAB_ACCESS_TOKEN",
            "OAUTH_TOKEN",
            "GITLAB_PRIVATE_TOKEN",
            "GITLAB_API_TOKEN",
            "GITLAB_API_KEY",
            "GITLAB_PAT",
            "GITLAB_PASSWORD",
            "GITLAB_SECRET_2",
            "GITLABTOKEN",
            "MY_GITLAB_TOKEN",
            "gitlab_token",
            "GITLAB_USER_CREDENTIALS",
            "GITLAB_RUNNER_REGISTRATION_TOKEN",
            "GL_TOKEN",
            "GLAB_TOKEN",
            "AGENTK_TOKEN",
            "CI_JOB_TOKEN",
            "CI_JOB_JWT",
            "CI_JOB_JWT_V2",
            "CI_DEPLOY_PASSWORD",
            "CI_REGISTRY_PASSWORD",
            "CI_DEPENDENCY_PROXY_PASSWORD",
            "CI_REPOSITORY_URL",
            "DANGER_GITLAB_API_TOKEN",
            "DOCKER_AUTH_CONFIG",
            "TF_VAR_gitlab_token",
        ] {
            assert!(says(name), "{name}");
        }
    }

    #[test]
    fn credentials_of_gitlab_are_known_by_their_form_wherever_they_stand() {
        for prefix in ["glpat-", "glagent-", "gldt-", "glcbt-"] {
            let token = format!("{prefix}{}", "Q1".repeat(10));
            for text in [
                token.clone(),
                format!("https://oauth2:{token}@gitlab.example.com/platform/fleet.git"),
                format!("PRIVATE-TOKEN: {token}"),
                format!("{{\"gitlab.example.com\":\"{token}\"}}"),
            ] {
                assert!(has_form(&text), "{prefix}");
            }
        }
    }

    #[test]
    fn what_others_need_stays() {
        for (name, value) in [
            ("GITLAB_HOST", "gitlab.example.com"),
            ("GITLAB_OIDC_TOKEN", "x"),
            ("AWS_ID_TOKEN", "x"),
            ("CI", "true"),
            ("CI_PROJECT_PATH", "platform/fleet"),
            ("CI_COMMIT_SHA", "00b2cb0e00b2cb0e00b2cb0e00b2cb0e00b2cb0e"),
            ("AWS_SESSION_TOKEN", "x"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("GOOGLE_APPLICATION_CREDENTIALS", "/x"),
            ("KUBE_TOKEN", "x"),
            ("SSH_AUTH_SOCK", "/run/user/1000/agent"),
            ("PATH", "/usr/bin"),
        ] {
            assert!(!says(name) && !has_form(value), "{name}");
        }
    }
}
