//! GA404: push events of each project reach agentk.

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::{Facts, Why, WhyKind};
use crate::need::Need;

pub(super) static CHECK: Check = Check {
    code: 404,
    slug: "push-events-not-sent",
    title: "the project of each GitRepository is the agent's own or public",
    severity: Severity::Warning,
    impact: Impact::Pushes,
    needs: &[Need::GitRepositories, Need::GitLabProjects, Need::GitLabAgents],
    page: include_str!("../../../../docs/checks/GA404.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    judgement.skip("no GitRepository is on this GitLab");
    for repository in judgement.each(&facts.snapshot.git_repositories) {
        let Some(entry) = judgement.known(facts.gitlab_project(repository)).flatten() else { continue };
        let Some(project) = judgement.known(entry.project.get()) else { continue };
        judgement.examine();
        if project.visibility == "public" {
            continue;
        }
        let agents = &facts.gitlab()?.agents;
        if agents.iter().any(|a| a.agent.get().is_ok_and(|a| a.project.eq_ignore_ascii_case(&entry.path))) {
            continue;
        }
        let unknown: Vec<Why> = agents.iter().filter_map(|a| a.agent.get().err()).collect();
        if unknown.is_empty() && !agents.is_empty() {
            judgement.find(found(repository.metadata.object("GitRepository"), &entry.path, &project.visibility));
        }
        for why in unknown {
            judgement.lacks(why);
        }
        if agents.is_empty() {
            let why = Why::new(WhyKind::NotAsked, "the agent's own project", "no agentk was seen in this cluster");
            judgement.lacks(why);
        }
    }
    Ok(())
}

fn found(object: crate::object::ObjectRef, path: &str, visibility: &str) -> Finding {
    let visibility = if visibility.is_empty() { "not public" } else { visibility };
    let message = format!(
        "is fetched from {path}, which is {visibility} and not the agent's own project: GitLab sends agentk no push events for \
         it, a push is seen only at the next interval"
    );
    let remedy = "rely on a short spec.interval here, run reconcile-now after a push, or call a webhook Receiver of your own \
                  from the project's pipeline";
    Finding::new(object, message, Remedy::say(remedy))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::Observed;
    use crate::fixture::{git_mut, gitlab_agent_mut, gitlab_mut};
    use crate::snapshot::Snapshot;
    use crate::snapshot::gitlab::ProjectRecord;

    fn visibility(text: &'static str) -> impl FnOnce(&mut Snapshot) {
        move |s| {
            gitlab_mut(s).projects[1].project = Observed::Known(ProjectRecord { id: 2, visibility: text.to_owned() });
        }
    }

    #[test]
    fn a_project_that_is_neither_public_nor_the_agents_is_found() {
        for text in ["private", "internal", ""] {
            let found = finding(&CHECK, visibility(text));
            assert_eq!(found.subject.to_string(), "GitRepository flux-system/example-nginx-app");
            assert!(found.message.contains("no push events"), "{}", found.message);
        }
        passes(&CHECK, visibility("public"));
        let moved = after(&CHECK, |s| gitlab_agent_mut(s).project = "other/project".to_owned());
        assert_eq!(moved.findings.len(), 1, "the private one, which is no longer the agent's");
    }

    #[test]
    fn a_repository_on_another_host_is_not_its_affair() {
        passes(&CHECK, |s| {
            visibility("private")(s);
            *git_mut(s, "example-nginx-app").spec.url = "https://github.com/example/nginx-app".to_owned();
        });
        let none = after(&CHECK, |s| {
            for name in ["flux-system", "example-nginx-app"] {
                *git_mut(s, name).spec.url = "https://github.com/a/b".to_owned();
            }
        });
        assert_eq!(none.verdict(), Verdict::Skipped);
    }

    #[test]
    fn what_gitlab_does_not_tell_is_unknown() {
        let why = || Why::new(WhyKind::Forbidden, "project", "404 Project Not Found");
        let judgement = after(&CHECK, |s| gitlab_mut(s).projects[1].project = Observed::Unknown(why()));
        assert_eq!(judgement.verdict(), Verdict::Unknown);
        let judgement = after(&CHECK, |s| gitlab_mut(s).projects.truncate(1));
        assert_eq!(judgement.verdict(), Verdict::Unknown);
        let judgement = after(&CHECK, |s| s.gitlab = Observed::Unknown(why()));
        assert_eq!(judgement.verdict(), Verdict::Unknown);
    }
}
