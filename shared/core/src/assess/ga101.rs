//! GA101: the API server answers, and its version is one that Flux and agentk support.

use semver::Version;

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::command::Program;
use crate::facts::{Facts, Observed, Why, WhyKind};
use crate::need::Need;
use crate::object::ObjectRef;

pub(super) static CHECK: Check = Check {
    code: 101,
    slug: "api-server-unusable",
    title: "the API server answers, with a version that Flux supports",
    severity: Severity::Error,
    impact: Impact::Workloads,
    needs: &[Need::Version],
    page: include_str!("../../../../docs/checks/GA101.md"),
    judge,
};

/// Oldest Kubernetes minor that each Flux minor supports (`flux check --pre` of that release).
const FLUX_MINIMUM: &[((u64, u64), u64)] = &[((2, 8), 33), ((2, 7), 32), ((2, 6), 31), ((2, 3), 28)];

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    let server = match &facts.snapshot.server {
        Observed::Known(server) => server,
        Observed::Unknown(why) => {
            match unusable(facts, why) {
                Some(finding) => judgement.find(finding),
                None => judgement.lacks(why.clone()),
            }
            return Ok(());
        }
    };
    judgement.examine();
    let Some(version) = parse(&server.git_version) else { return Ok(()) };
    let Some(flux) = facts.flux_release().and_then(parse) else { return Ok(()) };
    let minimum = FLUX_MINIMUM.iter().find(|((major, minor), _)| (flux.major, flux.minor) >= (*major, *minor));
    if let Some((_, minimum)) = minimum.filter(|(_, minimum)| version.major == 1 && version.minor < *minimum) {
        judgement.find(Finding::new(
            ObjectRef::cluster(),
            format!("runs Kubernetes {}; Flux {flux} needs 1.{minimum} or newer", server.git_version),
            Remedy::say(format!("upgrade the cluster to Kubernetes 1.{minimum} or newer, or keep an older Flux")),
        ));
    }
    Ok(())
}

fn parse(version: &str) -> Option<Version> {
    Version::parse(version.trim_start_matches('v')).ok()
}

fn unusable(facts: &Facts<'_>, why: &Why) -> Option<Finding> {
    let server = &facts.snapshot.origin.server;
    let (message, remedy) = match why.kind {
        WhyKind::Unreachable => (
            format!("cannot be reached at {server}"),
            Remedy::say("check VPN, proxy and address; start the API server if it is yours")
                .run(Program::new("kubectl config view --minify"))
                .run(Program::new("kubectl get --raw /readyz")),
        ),
        WhyKind::TimedOut => (
            format!("did not answer in time at {server}"),
            Remedy::say("check VPN and load; ask again with a longer --request-timeout")
                .run(Program::new("kubectl get --raw /readyz")),
        ),
        WhyKind::Intercepted => (
            format!("does not answer at {server}: something on the way does"),
            Remedy::say(
                "see what answers there: sign in to the proxy, VPN or portal that is in between, or correct the address \
                 in the kubeconfig (and proxy-url, HTTPS_PROXY)",
            )
            .run(Program::new("kubectl config view --minify"))
            .run(Program::new("kubectl get --raw /version")),
        ),
        WhyKind::SignIn => (
            format!("refused your credential at {server}"),
            Remedy::say("sign in again: renew the credential of this kubeconfig user").run(Program::new("kubectl auth whoami")),
        ),
        _ => return None,
    };
    Some(Finding::new(ObjectRef::cluster(), message, remedy).because(&why.message))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;

    #[test]
    fn a_server_that_cannot_be_used_is_found() {
        for kind in [WhyKind::Unreachable, WhyKind::TimedOut, WhyKind::SignIn, WhyKind::Intercepted] {
            let found = finding(&CHECK, |s| s.server = Observed::Unknown(Why::new(kind, "get /version", "because")));
            assert_eq!(found.subject, ObjectRef::cluster());
            assert_eq!(found.evidence, ["because"]);
        }
        let judgement = after(&CHECK, |s| {
            s.server = Observed::Unknown(Why::new(WhyKind::Forbidden, "get /version", "no"));
        });
        assert_eq!(judgement.verdict(), Verdict::Unknown);
    }

    #[test]
    fn a_version_too_old_for_flux_is_found() {
        let at = |version: &str| {
            let version = version.to_owned();
            move |s: &mut crate::snapshot::Snapshot| {
                s.server = Observed::Known(crate::facts::ServerVersion { git_version: version });
            }
        };
        assert!(finding(&CHECK, at("v1.30.2")).message.contains("needs 1.33"));
        passes(&CHECK, at("v1.33.0"));
        passes(&CHECK, at("v1.34.1-gke.100"));
        passes(&CHECK, at("custom"));
    }
}
