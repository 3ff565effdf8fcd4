//! GA403: the URL of a GitRepository is one that agentk recognises as GitLab's.

use super::remedy::field;
use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::host::host;
use crate::facts::{Facts, Source, Why};
use crate::need::Need;
use crate::object::ObjectRef;

pub(super) static CHECK: Check = Check {
    code: 403,
    slug: "host-not-recognised",
    title: "the URL of every GitRepository on GitLab is one that agentk recognises",
    severity: Severity::Warning,
    impact: Impact::Pushes,
    needs: &[Need::GitRepositories, Need::Receivers, Need::Deployments],
    page: include_str!("../../../../docs/checks/GA403.md"),
    judge,
};

/// Names before GitLab's host under which it often takes SSH (GitLab.com has `altssh`).
const SSH_NAMES: &[&str] = &["ssh", "altssh", "git", "git-ssh", "gitssh"];

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    for why in facts.agent_gaps() {
        judgement.lacks(why.clone());
    }
    // Receivers of agentk tell GitLab's host.
    judgement.each(&facts.snapshot.receivers);
    let repositories = judgement.each(&facts.snapshot.git_repositories);
    if facts.agents.is_empty() {
        judgement.skip("no agentk is installed");
        return Ok(());
    }
    let Some(gitlab) = facts.gitlab_host() else {
        judgement.skip("no GitRepository is on the agent's GitLab");
        return Ok(());
    };
    for repository in repositories {
        let Some(own) = host(&repository.spec.url) else { continue };
        let found = alias(own, gitlab).or_else(|| (own == gitlab).then(|| path(facts, repository)).flatten());
        if own == gitlab || found.is_some() {
            judgement.examine();
        }
        if let Some((message, url)) = found {
            let object = repository.metadata.object("GitRepository");
            judgement.find(Finding::new(object.clone(), message, mend(facts, &object, url)));
        }
    }
    judgement.skip("no GitRepository is on the agent's GitLab");
    Ok(())
}

/// What a message says, and what the URL should rather be.
type Found = (String, String);

/// A host that most likely is GitLab's under another name. agentk compares letter by letter.
fn alias(own: &str, gitlab: &str) -> Option<Found> {
    let says = |why: &str| {
        let message = format!("is on {own}; agentk knows GitLab as {gitlab} only, {why}: no push event reaches it");
        Some((message, format!("one on {gitlab}")))
    };
    if own == gitlab {
        return None;
    }
    if own.eq_ignore_ascii_case(gitlab) {
        return says("and tells capitals from small letters");
    }
    if own.trim_end_matches('.') == gitlab {
        return says("without a full stop at the end");
    }
    let before = own.strip_suffix(gitlab).and_then(|rest| rest.strip_suffix('.'));
    if before.is_some_and(|name| SSH_NAMES.contains(&name)) {
        return says("and counts another name before it as another host");
    }
    let inside = own.ends_with(".svc") || own.contains(".svc.");
    (inside && own.contains("gitlab")).then(|| says("not by its name inside the cluster")).flatten()
}

/// A path from which agentk reads a project that no push names.
fn path(facts: &Facts<'_>, repository: &Source) -> Option<Found> {
    let (_, rest) = repository.spec.url.split_once("://")?;
    let (_, path) = rest.split_once('/')?;
    if path.ends_with('/') {
        let message = "has a URL that ends in a slash, which agentk takes for part of the project's path: no push event \
                       reaches it";
        return Some((message.to_owned(), "one without the slash at its end".to_owned()));
    }
    let root = facts.agents.iter().filter_map(|a| a.kas_address()).find_map(relative_root)?;
    path.starts_with(&format!("{root}/")).then(|| {
        let message = format!(
            "has a URL below /{root}, where this GitLab is installed; agentk takes that for part of the project's path: no \
             push event reaches it"
        );
        (message, "one that agentk can read: there is none below a relative URL root".to_owned())
    })
}

/// Where below its host GitLab is installed, from the address of its kas.
fn relative_root(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once("://")?;
    let (_, path) = rest.split_once('/')?;
    let root = path.split_once("/-/kubernetes-agent")?.0;
    (!root.is_empty() && root != "-").then_some(root)
}

fn mend(facts: &Facts<'_>, object: &ObjectRef, url: String) -> Remedy {
    let text = format!(
        "change spec.url to {url}, if its server takes the same credential there; else shorten spec.interval, by which \
         pushes are then noticed"
    );
    Remedy::in_git(facts, object, &text)
        .run(field(object, ".spec.url"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn url(url: &'static str) -> impl FnOnce(&mut Snapshot) {
        // agentk makes no Receiver for a name that it does not know.
        move |s| {
            s.receivers.items.retain(|r| r.metadata.name != "gitlab-example-nginx-app");
            *fixture::git_mut(s, "example-nginx-app").spec.url = url.to_owned();
        }
    }

    #[test]
    fn a_name_that_agentk_does_not_know_is_found() {
        for (given, message) in [
            ("ssh://git@ssh.gitlab.example.com/a/b.git", "another name before it"),
            ("ssh://git@altssh.gitlab.example.com:443/a/b.git", "another name before it"),
            ("https://GitLab.example.com/a/b.git", "capitals"),
            ("https://gitlab.example.com./a/b.git", "full stop"),
            ("http://gitlab-webservice-default.gitlab.svc:8181/a/b.git", "inside the cluster"),
            ("https://gitlab.example.com/a/b.git/", "ends in a slash"),
        ] {
            let found = finding(&CHECK, url(given));
            assert_eq!(found.subject.to_string(), "GitRepository flux-system/example-nginx-app");
            assert!(found.message.contains(message), "{given}: {}", found.message);
        }
    }

    #[test]
    fn a_relative_url_root_is_found() {
        let found = after(&CHECK, |s| {
            url("https://gitlab.example.com/gitlab/a/b.git")(s);
            let args = &mut fixture::deployment_mut(s, "gitlab-agent-v2").spec.template.spec.containers[0].args;
            args[1] = "--kas-address=wss://gitlab.example.com/gitlab/-/kubernetes-agent/".to_owned();
        });
        assert_eq!(found.findings.len(), 1);
        assert!(found.findings[0].message.contains("below /gitlab"), "{}", found.findings[0].message);
        assert_eq!(relative_root("wss://h/-/kubernetes-agent/"), None);
    }

    #[test]
    fn port_scheme_and_user_do_not_count_and_other_hosts_are_not_ours() {
        passes(&CHECK, url("ssh://git@gitlab.example.com:2222/a/b.git"));
        passes(&CHECK, url("http://gitlab.example.com:8080/a/b"));
        passes(&CHECK, url("https://github.com/a/b"));
        passes(&CHECK, url("https://other.gitlab.example.com/a/b"));
    }

    #[test]
    fn without_an_agent_it_is_skipped() {
        assert_eq!(after(&CHECK, |s| s.deployments.items.clear()).verdict(), Verdict::Skipped);
    }
}
