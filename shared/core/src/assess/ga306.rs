//! GA306: `kasAddress` is one that agentk can use.

use super::remedy::field;
use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::agent::Agent;
use crate::facts::host::{host, host_and_port};
use crate::facts::{Facts, Why};
use crate::need::Need;

pub(super) static CHECK: Check = Check {
    code: 306,
    slug: "kas-address-unusable",
    title: "kasAddress is one that agentk can use",
    severity: Severity::Error,
    impact: Impact::Pushes,
    needs: &[Need::Deployments],
    page: include_str!("../../../../docs/checks/GA306.md"),
    judge,
};

/// Schemes that agentk knows; it ends at its start with any other.
const SCHEMES: &[&str] = &["wss", "ws", "grpcs", "grpc"];
/// The path at which GitLab's own host serves kas.
const PATH: &str = "/-/kubernetes-agent/";
/// The chart's default.
const DEFAULT: &str = "kas.gitlab.com";

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    for why in facts.agent_gaps() {
        judgement.lacks(why.clone());
    }
    for agent in &facts.agents {
        // A receptive agent has no address: kas connects to it.
        let Some(address) = agent.kas_address() else { continue };
        judgement.examine();
        let wrong = unusable(facts, address).map(|message| (message, Severity::Error));
        let found = wrong.or_else(|| doubtful(facts, agent, address).map(|message| (message, Severity::Warning)));
        if let Some((message, severity)) = found {
            let finding = Finding::new(agent.object(), message, mend(facts, agent)).severity(severity);
            // agentk ends at its start for want of an address.
            judgement.find(if severity == Severity::Error { finding.explains() } else { finding });
        }
    }
    judgement.skip("no agentk with an address of kas is installed");
    Ok(())
}

/// What keeps agentk from connecting at all.
fn unusable(facts: &Facts<'_>, address: &str) -> Option<String> {
    let says = |what: &str| Some(format!("has kasAddress {address}: {what}"));
    if address.is_empty() {
        return Some("has an empty kasAddress".to_owned());
    }
    if address.contains(char::is_whitespace) || address.starts_with(['"', '\'']) {
        return says("white space and quotation marks do not belong to it");
    }
    if address.contains(['<', '>', '{', '}']) {
        return says("a placeholder of the documents was left in it");
    }
    let Some((scheme, _)) = address.split_once("://") else {
        return says("it has no scheme; wss:// is the usual one");
    };
    if !SCHEMES.contains(&scheme) {
        return says("agentk does not know this scheme; it knows wss, ws, grpcs and grpc");
    }
    let Some((name, port)) = host_and_port(address) else { return says("it names no host") };
    if name.starts_with('.') || name.ends_with('.') && name.len() == 1 || name.contains("..") {
        return says("its host is no name");
    }
    let has_port = !port.is_empty() || address.ends_with(':');
    if has_port && port.parse::<u16>().ok().filter(|p| *p > 0).is_none() {
        return says("its port is no number from 1 to 65535");
    }
    if scheme.starts_with("ws") { path_fault(facts, address, name) } else { None }
}

/// The path counts for WebSocket: agentk follows no redirect.
fn path_fault(facts: &Facts<'_>, address: &str, name: &str) -> Option<String> {
    let path = path(address);
    if path.ends_with(PATH.trim_end_matches('/')) {
        return Some(format!(
            "has kasAddress {address}: it lacks the slash at its end, and agentk does not follow the redirect"
        ));
    }
    let on_gitlab = facts.snapshot.git_repositories.items.iter().any(|g| host(&g.spec.url) == Some(name));
    (path.trim_matches('/').is_empty() && on_gitlab)
        .then(|| format!("has kasAddress {address}: GitLab's own host serves kas only at {PATH}"))
}

fn path(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.find('/').map_or("", |at| &rest[at..])
}

/// What works and is most likely not what is wanted.
fn doubtful(facts: &Facts<'_>, agent: &Agent<'_>, address: &str) -> Option<String> {
    let (name, _) = host_and_port(address)?;
    let (scheme, _) = address.split_once("://")?;
    let inside = name.ends_with(".svc") || name.contains(".svc.") || !name.contains('.');
    let loopback = name == "localhost" || name.starts_with("127.") || name == "::1";
    if matches!(scheme, "ws" | "grpc") && !inside && !loopback {
        return Some(format!("has kasAddress {address}: the agent token crosses the network unencrypted"));
    }
    if scheme.starts_with("grpc") && !path(address).trim_matches('/').is_empty() {
        return Some(format!("has kasAddress {address}: an address with {scheme} has no path"));
    }
    let unset = agent.release.is_some_and(|r| r.spec.values.kas_address.is_none());
    let elsewhere = facts.gitlab_host().filter(|host| *host != "gitlab.com");
    if let Some(host) = elsewhere.filter(|_| name == DEFAULT && unset) {
        return Some(format!(
            "connects to {DEFAULT}, the chart's default, while Git is at {host}: config.kasAddress is not set"
        ));
    }
    // Inside the cluster, or on this host, it may be another way to the same kas.
    let announced = facts.other_kas(agent).filter(|_| !inside && !loopback)?;
    Some(format!("has kasAddress {address}, and GitLab announces {announced}"))
}

fn mend(facts: &Facts<'_>, agent: &Agent<'_>) -> Remedy {
    let text = "set config.kasAddress in the values of agentk's release to the address that GitLab shows for its kas \
                (Admin > Metadata, or when an agent is registered): wss://kas.HOST, or wss://HOST/-/kubernetes-agent/ \
                with the slash at its end";
    match agent.release {
        Some(release) => {
            let release = release.metadata.object("HelmRelease");
            Remedy::in_git(facts, &release, text)
                .run(field(&release, ".spec.values.config.kasAddress"))
        }
        None => Remedy::say(text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::fixture;
    use crate::snapshot::{Observed, Snapshot, WhyKind};

    fn address(address: &str) -> impl FnOnce(&mut Snapshot) {
        let arg = format!("--kas-address={address}");
        move |s| fixture::deployment_mut(s, "gitlab-agent-v2").spec.template.spec.containers[0].args[1] = arg
    }

    #[test]
    fn what_agentk_cannot_use_is_found() {
        for (given, message) in [
            ("", "empty"),
            ("https://kas.example.com", "does not know this scheme"),
            ("kas.example.com", "no scheme"),
            ("wss://", "no host"),
            ("wss:///-/kubernetes-agent/", "no host"),
            ("wss://kas..example.com", "is no name"),
            ("wss://kas.example.com:https", "port"),
            ("wss://kas.example.com:0", "port"),
            ("wss://kas.example.com:70000", "port"),
            ("wss://<your-gitlab>/-/kubernetes-agent/", "placeholder"),
            ("wss://kas.example.com ", "white space"),
            ("wss://gitlab.example.com/-/kubernetes-agent", "lacks the slash"),
            ("ws://gitlab.example.com/gitlab/-/kubernetes-agent", "lacks the slash"),
            ("wss://gitlab.example.com", "only at /-/kubernetes-agent/"),
        ] {
            let found = finding(&CHECK, address(given));
            assert_eq!((found.severity, found.subject.kind.as_str()), (Some(Severity::Error), "Deployment"), "{given}");
            assert!(found.message.contains(message), "{given}: {}", found.message);
        }
    }

    #[test]
    fn what_is_hardly_meant_is_a_warning() {
        for (given, message) in [
            ("ws://kas.example.com", "unencrypted"),
            ("grpc://kas.example.com:8150", "unencrypted"),
            ("grpcs://kas.example.com:8150/x", "has no path"),
        ] {
            let found = finding(&CHECK, address(given));
            assert_eq!(found.severity, Some(Severity::Warning), "{given}");
            assert!(found.message.contains(message), "{given}: {}", found.message);
        }
        let default = finding(&CHECK, |s| {
            address("wss://kas.gitlab.com")(s);
            s.helm_releases.items[0].spec.values.kas_address = None;
        });
        assert!(default.message.contains("the chart's default"), "{}", default.message);
    }

    #[test]
    fn every_documented_form_passes() {
        for given in [
            "wss://kas.gitlab.com",
            "wss://kas.example.com/",
            "wss://gitlab.example.com/-/kubernetes-agent/",
            "wss://gitlab.example.com:8443/-/kubernetes-agent/",
            "ws://gitlab-kas.gitlab.svc.cluster.local:8150",
            "grpc://gitlab-kas:8150",
            "grpcs://kas.example.com:8150",
            "wss://[::1]:8150/-/kubernetes-agent/",
            "wss://127.0.0.1:43541/-/kubernetes-agent/",
        ] {
            passes(&CHECK, |s| {
                address(given)(s);
                s.gitlab = Observed::Unknown(Why::new(WhyKind::NoGitLab, "GitLab", "none given"));
            });
        }
    }

    #[test]
    fn another_address_than_gitlab_announces_is_a_warning() {
        let found = finding(&CHECK, address("wss://kas.elsewhere.com"));
        assert_eq!(found.severity, Some(Severity::Warning));
        assert!(found.message.ends_with("and GitLab announces wss://kas.example.com"), "{}", found.message);
        passes(&CHECK, address("ws://gitlab-kas.gitlab.svc.cluster.local:8150"));
    }

    #[test]
    fn a_receptive_agent_has_no_address() {
        let judgement = after(&CHECK, |s| {
            let args = &mut fixture::deployment_mut(s, "gitlab-agent-v2").spec.template.spec.containers[0].args;
            args.truncate(1);
        });
        assert_eq!(judgement.verdict(), Verdict::Skipped);
    }
}
