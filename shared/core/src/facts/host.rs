//! Hosts of URLs, and the host that agentk compares GitRepositories with.
//!
//! agentk makes a Receiver for a GitRepository whose host is that of GitLab's external URL. It learns that URL from
//! GitLab and shows it nowhere in the cluster, so it is inferred.

use std::collections::BTreeMap;

use super::Facts;
use super::agent::Agent;
use crate::snapshot::Snapshot;
use crate::snapshot::kinds::Source;

/// Hosts that are never a GitLab instance.
const NOT_GITLAB: &[&str] =
    &["github.com", "bitbucket.org", "dev.azure.com", "ssh.dev.azure.com", "codeberg.org"];

/// Host and port of a URL; the port is empty where the URL names none.
pub fn host_and_port(url: &str) -> Option<(&str, &str)> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match authority.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((v6, port)) => (v6, port.trim_start_matches(':')),
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    (!host.is_empty()).then_some((host, port))
}

/// The host of a URL.
pub fn host(url: &str) -> Option<&str> {
    Some(host_and_port(url)?.0)
}

impl<'s> Facts<'s> {
    /// The host of GitLab's external URL, inferred: from the GitRepositories that already have a Receiver of agentk;
    /// else from `kasAddress` (`kas.HOST`, or GitLab's own host); else the host of most GitRepositories.
    pub fn gitlab_host(&self) -> Option<&'s str> {
        let s = self.snapshot;
        of_receivers(s).or_else(|| self.agents.iter().find_map(|a| of_kas(s, a))).or_else(|| of_most(s))
    }
}

fn of_receivers(s: &Snapshot) -> Option<&str> {
    let made =
        s.receivers.items.iter().filter(|r| r.metadata.annotation("agent.gitlab.com/project").is_some());
    let listed =
        made.flat_map(|r| r.spec.resources.iter().map(move |of| Facts::resolve(of, &r.metadata.namespace)));
    let listed: Vec<_> = listed.collect();
    most(s.git_repositories.items.iter().filter(|g| listed.contains(&g.metadata.object("GitRepository"))))
}

/// `wss://kas.HOST` means `HOST`, also where no GitRepository is on it; any other address counts only where one is.
fn of_kas<'s>(s: &'s Snapshot, agent: &Agent<'s>) -> Option<&'s str> {
    let kas = host(agent.kas_address()?)?;
    if let Some(host) = kas.strip_prefix("kas.") {
        return Some(host);
    }
    s.git_repositories.items.iter().filter_map(|g| host(&g.spec.url)).find(|host| *host == kas)
}

fn of_most(s: &Snapshot) -> Option<&str> {
    most(s.git_repositories.items.iter())
}

/// The host of most of these; the first by name where two have as many.
fn most<'s>(sources: impl Iterator<Item = &'s Source>) -> Option<&'s str> {
    let mut counts = BTreeMap::new();
    for host in sources.filter_map(|g| host(&g.spec.url)).filter(|h| !NOT_GITLAB.contains(h)) {
        *counts.entry(host).or_insert(0_usize) += 1;
    }
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn inferred(change: impl FnOnce(&mut Snapshot)) -> Option<String> {
        let mut s = fixture::healthy();
        change(&mut s);
        Facts::derive(&s).gitlab_host().map(str::to_owned)
    }

    fn kas(s: &mut Snapshot, address: &str) {
        s.receivers.items.clear();
        let args = &mut fixture::deployment_mut(s, "gitlab-agent-v2").spec.template.spec.containers[0].args;
        args[1] = format!("--kas-address={address}");
    }

    #[test]
    fn hosts_are_read_out_of_urls() {
        for (url, expected) in [
            ("https://gitlab.example.com/a/b.git", Some(("gitlab.example.com", ""))),
            ("ssh://git@gitlab.example.com:2222/a.git", Some(("gitlab.example.com", "2222"))),
            ("http://[::1]:8080/a", Some(("::1", "8080"))),
            ("oci://registry.example.com", Some(("registry.example.com", ""))),
            ("", None),
            ("https:///a", None),
        ] {
            assert_eq!(host_and_port(url), expected, "{url}");
        }
    }

    #[test]
    fn receivers_of_agentk_tell_the_host_first() {
        assert_eq!(inferred(|_| {}).as_deref(), Some("gitlab.example.com"));
        let other =
            inferred(|s| *fixture::git_mut(s, "flux-system").spec.url = "https://github.com/a/b".to_owned());
        assert_eq!(other.as_deref(), Some("gitlab.example.com"), "never a host that is no GitLab");
    }

    #[test]
    fn the_kas_address_tells_it_else() {
        assert_eq!(inferred(|s| kas(s, "wss://kas.gitlab.com")).as_deref(), Some("gitlab.com"));
        let own = inferred(|s| kas(s, "wss://gitlab.example.com/-/kubernetes-agent/"));
        assert_eq!(own.as_deref(), Some("gitlab.example.com"));
    }

    #[test]
    fn the_majority_tells_it_last() {
        let majority = |s: &mut Snapshot| {
            kas(s, "grpc://gitlab-kas.gitlab.svc:8150");
            *fixture::git_mut(s, "flux-system").spec.url = "https://github.com/a/b".to_owned();
        };
        assert_eq!(inferred(majority).as_deref(), Some("gitlab.example.com"));
        let none = inferred(|s| {
            kas(s, "grpc://gitlab-kas.gitlab.svc:8150");
            s.git_repositories.items.clear();
        });
        assert_eq!(none, None);
    }
}
