//! GA314: the agent's configuration file exists, and kas takes it.

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::{Facts, Why};
use crate::need::Need;
use crate::snapshot::gitlab::AgentConfig;

pub(super) static CHECK: Check = Check {
    code: 314,
    slug: "agent-config-rejected",
    title: "the agent's configuration file exists and holds known keys only",
    severity: Severity::Warning,
    impact: Impact::Pushes,
    needs: &[Need::Deployments, Need::GitLabAgents, Need::GitLabAgentConfig],
    page: include_str!("../../../../docs/checks/GA314.md"),
    judge,
};

/// The sections of the file, and what may stand in those whose keys are settled; in the others anything may
/// (GitLab, "Using GitLab CI/CD with a Kubernetes cluster", "Grant users Kubernetes access", "Configure your agent").
const SECTIONS: &[(&str, &[&str])] = &[
    ("ci_access", &["projects", "groups", "instance"]),
    ("user_access", &["access_as", "access_as.agent", "access_as.user", "projects", "projects.id", "groups", "groups.id"]),
    ("flux", &["webhook_receiver_url", "enabled"]),
    ("observability", &["logging", "logging.level", "logging.grpc_level", "google_profiler"]),
    ("container_scanning", &[]),
    ("remote_development", &[]),
    ("gitops", &[]),
    ("starboard", &[]),
];

/// What may stand below `ci_access.projects`, `.groups` and `.instance`; below the ones that end in `.` anything may.
const CI_ACCESS: &[&str] = &[
    "id",
    "default_namespace",
    "access_as",
    "access_as.",
    "environments",
    "protected_branches_only",
    "annotations",
    "annotations.",
    "resource_management",
    "resource_management.",
];

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    for why in facts.agent_gaps() {
        judgement.lacks(why.clone());
    }
    for agent in &facts.agents {
        let Some(record) = judgement.known(facts.gitlab_agent(agent)) else { continue };
        let Some(config) = judgement.known(record.config.get()) else { continue };
        judgement.examine();
        let file = format!(".gitlab/agents/{}/config.yaml", record.name);
        if let Some((severity, message, remedy)) = wrong_with(config, &file, &record.project) {
            judgement.find(Finding::new(agent.object(), message, Remedy::say(remedy)).severity(severity));
        }
    }
    judgement.skip("no agentk is installed");
    Ok(())
}

fn wrong_with(config: &AgentConfig, file: &str, project: &str) -> Option<(Severity, String, String)> {
    if !config.exists {
        let message = format!("has no configuration file {file} in project {project}");
        let remedy = format!(
            "commit {file} to the default branch of {project}, empty or with what CI/CD jobs and users may do; without it \
             the agent runs with defaults"
        );
        return Some((Severity::Warning, message, remedy));
    }
    if let Some(error) = &config.error {
        let message = format!("has a configuration file that is no YAML, and that kas rejects as a whole: {error}");
        return Some((Severity::Error, message, format!("mend {file} in project {project} and push")));
    }
    let unknown: Vec<&str> = config.keys.iter().map(String::as_str).filter(|key| !is_known(key)).collect();
    // A key below an unknown one says nothing new.
    let first: Vec<&str> = unknown.iter().copied().filter(|key| !unknown.iter().any(|u| key.starts_with(&format!("{u}.")))).collect();
    if first.is_empty() {
        return None;
    }
    let message = format!(
        "has keys in its configuration file that are not documented: {}; kas rejects a file with an unknown key as a whole, and \
         the agent keeps its old configuration",
        first.join(", ")
    );
    Some((Severity::Warning, message, format!("remove or correct these keys in {file} of project {project}, and push")))
}

fn is_known(key: &str) -> bool {
    let key = snake(key);
    let (section, rest) = key.split_once('.').unwrap_or((&key, ""));
    let Some((_, below)) = SECTIONS.iter().find(|(name, _)| *name == section) else { return false };
    if rest.is_empty() || below.is_empty() || below.contains(&rest) || rest.starts_with("google_profiler.") {
        return true;
    }
    let Some((_, rest)) = rest.split_once('.').filter(|_| section == "ci_access") else { return false };
    CI_ACCESS.iter().any(|known| rest == *known || (known.ends_with('.') && rest.starts_with(known)))
}

/// kas reads the file as protobuf JSON, which takes both `webhook_receiver_url` and `webhookReceiverUrl`.
fn snake(key: &str) -> String {
    key.chars().fold(String::new(), |mut out, c| {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
        out
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::{Observed, WhyKind};
    use crate::fixture::gitlab_agent_mut;
    use crate::snapshot::Snapshot;

    fn config(config: AgentConfig) -> impl FnOnce(&mut Snapshot) {
        move |s| gitlab_agent_mut(s).config = Observed::Known(config)
    }

    fn keys(keys: &[&str]) -> AgentConfig {
        AgentConfig { exists: true, error: None, keys: keys.iter().map(|k| (*k).to_owned()).collect() }
    }

    #[test]
    fn a_missing_or_broken_file_is_found() {
        let found = finding(&CHECK, config(AgentConfig::default()));
        assert_eq!(found.message, "has no configuration file .gitlab/agents/production/config.yaml in project platform/flux-system");
        let broken = AgentConfig { exists: true, error: Some("line 2".to_owned()), keys: Vec::new() };
        let found = finding(&CHECK, config(broken));
        assert_eq!(found.severity, Some(Severity::Error));
        assert!(found.message.ends_with("as a whole: line 2"), "{}", found.message);
    }

    #[test]
    fn unknown_keys_are_named_once() {
        let found = finding(&CHECK, config(keys(&["ci_access", "ciaccess", "ciaccess.projects", "flux.webhook_url"])));
        assert!(found.message.contains("not documented: ciaccess, flux.webhook_url;"), "{}", found.message);
    }

    #[test]
    fn documented_keys_pass() {
        passes(&CHECK, config(keys(&[])));
        passes(
            &CHECK,
            config(keys(&[
                "ci_access",
                "ci_access.groups",
                "ci_access.groups.id",
                "ci_access.groups.access_as.impersonate.extra.key",
                "ciAccess.projects.protectedBranchesOnly",
                "ci_access.instance",
                "user_access.access_as.user",
                "flux.webhook_receiver_url",
                "observability.logging.grpc_level",
                "remote_development.dns_zone",
                "container_scanning.resource_requirements.limits.cpu",
            ])),
        );
    }

    #[test]
    fn an_agent_that_gitlab_does_not_tell_is_unknown() {
        let why = Why::new(WhyKind::NotAsked, "the agent", "which is it");
        let judgement = after(&CHECK, |s| crate::fixture::gitlab_mut(s).agents[0].agent = Observed::Unknown(why));
        assert_eq!(judgement.verdict(), Verdict::Unknown);
    }
}
