//! GA512: credentials and what is deployed travel over connections that can be trusted.

use serde_json::json;

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::agent::Agent;
use crate::facts::host::host;
use crate::facts::{Facts, Provider, Source, Why};
use crate::need::Need;

pub(super) static CHECK: Check = Check {
    code: 512,
    slug: "transport-insecure",
    title: "every connection is encrypted, and to a server that proved its name",
    severity: Severity::Warning,
    impact: Impact::Hygiene,
    needs: &[
        Need::GitRepositories,
        Need::OciRepositories,
        Need::Buckets,
        Need::HelmRepositories,
        Need::Providers,
        Need::Deployments,
    ],
    page: include_str!("../../../../docs/checks/GA512.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    judgement.skip("nothing here connects anywhere");
    for (kind, listing) in facts.source_kinds().into_iter().filter(|(kind, _)| *kind != "HelmChart") {
        for source in judgement.each(listing) {
            judgement.examine();
            judgement.findings.extend(of_source(facts, kind, source));
        }
    }
    for provider in judgement.each(&facts.snapshot.providers) {
        judgement.examine();
        judgement.findings.extend(of_provider(facts, provider));
    }
    facts.agent_gaps().iter().for_each(|why| judgement.lacks(why.clone()));
    for agent in &facts.agents {
        judgement.examine();
        judgement.findings.extend(of_agent(agent));
    }
    Ok(())
}

/// A host that only the cluster itself knows: what is sent there does not leave the cluster's network.
fn stays_inside(host: &str) -> bool {
    let name = host.trim_end_matches('.');
    name.ends_with(".svc")
        || name.ends_with(".svc.cluster.local")
        || name == "localhost"
        || (!name.contains('.') && !name.contains(':'))
}

fn of_source(facts: &Facts<'_>, kind: &str, source: &Source) -> Option<Finding> {
    let object = source.metadata.object(kind);
    let spec = &source.spec;
    let url = spec.url.as_str();
    let with = if spec.secret_ref.is_some() { ", its credential too" } else { "" };
    let outside = host(url).is_none_or(|host| !stays_inside(host));
    if url.starts_with("http://") && outside {
        let message = format!(
            "is fetched without encryption ({url}){with}: whoever is on the way reads it, and can change it"
        );
        let secure = url.replacen("http://", "https://", 1);
        let remedy = Remedy::in_git(facts, &object, "fetch it over https")
            .patch(&object, &json!({"spec": {"url": secure}}));
        return Some(Finding::new(object, message, remedy));
    }
    if spec.insecure && outside {
        let message = format!(
            "allows a connection without TLS (spec.insecure){with}: whoever is on the way can change what is deployed"
        );
        let remedy = Remedy::in_git(
            facts,
            &object,
            "take spec.insecure away; an authority of your own goes into spec.certSecretRef",
        )
        .patch(&object, &json!({"spec": {"insecure": null}}));
        return Some(Finding::new(object, message, remedy));
    }
    if kind == "HelmRepository" && spec.pass_credentials && spec.secret_ref.is_some() {
        let message =
            "sends its credential to every host that the repository's index names (spec.passCredentials)";
        let remedy = Remedy::in_git(
            facts,
            &object,
            "take spec.passCredentials away; charts on another host need a HelmRepository of their own",
        )
        .patch(&object, &json!({"spec": {"passCredentials": null}}));
        return Some(Finding::new(object, message, remedy));
    }
    None
}

fn of_provider(facts: &Facts<'_>, provider: &Provider) -> Option<Finding> {
    let (object, url) = (provider.metadata.object("Provider"), provider.spec.address.as_str());
    let outside = host(url).is_some_and(|host| !stays_inside(host));
    if !url.starts_with("http://") || !outside || provider.spec.secret_ref.is_none() {
        return None;
    }
    let message = format!("sends its token without encryption (spec.address {url})");
    let remedy = Remedy::in_git(facts, &object, "set spec.address to the https address of the same server");
    let remedy = if provider.writes_to_gitlab() {
        let secure = url.replacen("http://", "https://", 1);
        remedy.patch(&object, &json!({"spec": {"address": secure}}))
    } else {
        remedy
    };
    Some(Finding::new(object, message, remedy))
}

fn of_agent(agent: &Agent<'_>) -> Option<Finding> {
    let containers = &agent.deployment.spec.template.spec.containers;
    let mut args = containers.iter().flat_map(|c| c.args.iter());
    let skips = |arg: &String| arg.starts_with("--kas-insecure-skip-tls-verify") && !arg.ends_with("=false");
    if args.any(skips) {
        let message = "does not look at GitLab's certificate (--kas-insecure-skip-tls-verify): whoever is on the way gets the \
                       agent's token, and with it the agent's power over the cluster";
        let remedy = Remedy::say(
            "take the flag out of extraArgs in the values in Git, and push; a certificate of an authority of your own goes \
             into config.kasCaCert",
        );
        return Some(Finding::new(agent.object(), message, remedy));
    }
    let address = agent.kas_address()?;
    let clear = address.starts_with("ws://") || address.starts_with("grpc://");
    let outside = host(address).is_some_and(|host| !stays_inside(host));
    (clear && outside).then(|| {
        let message = format!("sends the agent's token without encryption (kasAddress {address})");
        let remedy = Remedy::say(
            "set config.kasAddress in the values in Git to the wss:// or grpcs:// address that GitLab shows for the agent, and push",
        );
        Finding::new(agent.object(), message, remedy)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{finding, passes};
    use super::*;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn agent_args(s: &mut Snapshot, args: &[&str]) {
        let containers = &mut fixture::deployment_mut(s, "gitlab-agent-v2").spec.template.spec.containers;
        *containers[0].args = args.iter().map(|a| (*a).to_owned()).collect();
    }

    #[test]
    fn plain_http_is_found_and_mended() {
        let found = finding(&CHECK, |s| {
            *fixture::git_mut(s, "flux-system").spec.url = "http://gitlab.example.com/a/b.git".to_owned()
        });
        assert!(found.message.contains("its credential too"), "{}", found.message);
        assert_eq!(
            found.remedy.lines(),
            [
                r#"kubectl -n flux-system patch gitrepository.source.toolkit.fluxcd.io/flux-system --type=merge -p '{"spec":{"url":"https://gitlab.example.com/a/b.git"}}'"#
            ]
        );
        let provider = finding(&CHECK, |s| {
            *s.providers.items[0].spec.address = "http://gitlab.example.com/a".to_owned()
        });
        assert!(
            provider.remedy.lines()[0].contains(r#"{"spec":{"address":"https://gitlab.example.com/a"}}"#)
        );
    }

    #[test]
    fn insecure_flags_are_found() {
        let found = finding(&CHECK, |s| {
            let mut source = s.helm_repositories.items[0].clone();
            *source.spec.url = "oci://registry.example.com/charts".to_owned();
            source.spec.insecure = true;
            s.oci_repositories.items.push(source);
        });
        assert!(found.message.contains("(spec.insecure): "), "{}", found.message);
        assert!(found.remedy.lines()[0].contains(r#"{"spec":{"insecure":null}}"#));
        let passes_on = finding(&CHECK, |s| {
            s.helm_repositories.items[0].spec.pass_credentials = true;
            s.helm_repositories.items[0].spec.secret_ref =
                Some(crate::facts::LocalRef { name: "flux-system".to_owned() });
        });
        assert!(passes_on.message.contains("every host"), "{}", passes_on.message);
    }

    #[test]
    fn agentk_must_look_at_the_certificate() {
        let skips = finding(&CHECK, |s| {
            agent_args(s, &["--kas-address=wss://kas.example.com", "--kas-insecure-skip-tls-verify"])
        });
        assert_eq!(skips.subject.to_string(), "Deployment gitlab/gitlab-agent-v2");
        for address in ["ws://kas.example.com", "grpc://kas.example.com:8150"] {
            let arg = format!("--kas-address={address}");
            let found = finding(&CHECK, |s| agent_args(s, &[&arg]));
            assert!(found.message.contains(address), "{}", found.message);
        }
        passes(&CHECK, |s| {
            agent_args(
                s,
                &["--kas-address=grpc://gitlab-kas.gitlab.svc:8150", "--kas-insecure-skip-tls-verify=false"],
            )
        });
    }

    #[test]
    fn what_stays_in_the_cluster_is_fine() {
        for url in [
            "http://gitea.git.svc.cluster.local/a",
            "http://gitea.git.svc/a",
            "http://gitea/a",
            "ssh://git@gitlab.example.com/a",
        ] {
            passes(&CHECK, |s| *fixture::git_mut(s, "flux-system").spec.url = url.to_owned());
        }
    }
}
