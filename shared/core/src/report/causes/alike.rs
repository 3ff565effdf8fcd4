//! One failure that many objects show is one problem, whatever shows it; failures of different hosts stay apart.

use serde_json::json;

use super::build::*;
use super::{Case, case, hold, report};
use crate::fixture;
use crate::snapshot::kinds::Event;
use crate::snapshot::{Observed, Snapshot};

const ONE: &str = "GitRepository flux-system/example-nginx-app";
const OTHER: (u16, &str) = (407, "GitRepository flux-system/flux-system");

/// A source cannot be fetched, with these words.
fn git(s: &mut Snapshot, name: &str, words: &str) {
    fixture::git_mut(s, name).status.conditions = fixture::fetch_failed("GitOperationFailed", words);
}

/// Both GitRepositories cannot be fetched.
fn both(s: &mut Snapshot, one: &str, other: &str) {
    git(s, "example-nginx-app", one);
    git(s, "flux-system", other);
}

/// An Alert's notification was not delivered.
fn undelivered(s: &mut Snapshot, words: &str) {
    let event: Event = part(json!({
        "metadata": {"name": "a.1", "namespace": "flux-system"}, "message": words,
        "involvedObject": {"kind": "Alert", "name": "gitlab-status-flux-system", "namespace": "flux-system"},
        "reason": "NotificationDispatchFailed", "lastTimestamp": "2026-11-02T09:50:00Z"}));
    s.dispatch_failures.items.push(event);
}

/// agentk cannot register, for this reason.
fn agentk(s: &mut Snapshot, error: &str) {
    let line = json!({"time": "2026-11-02T09:59:40Z", "level": "ERROR", "msg": "Failed to register agent pod", "error": error});
    s.logs.iter_mut().for_each(|log| log.lines = Observed::Known(vec![line.to_string()]));
    s.leases.items.clear();
}

const CASES: &[Case] = &[
    case("a name that does not exist", (407, ONE), |s| {
        both(s, "dial tcp: lookup gitlab.example.com on 10.96.0.10:53: no such host", "lookup gitlab.example.com: no such host");
    })
    .under(&[OTHER])
    .says("the same fault (gitlab.example.com) stops 1 more object"),
    case("a resolver that is down, for other names", (407, ONE), |s| {
        both(
            s,
            "dial tcp: lookup a.example.com on 10.96.0.10:53: read udp 10.0.0.8:1->10.96.0.10:53: i/o timeout",
            "dial tcp: lookup b.example.com on 10.96.0.10:53: server misbehaving",
        );
    })
    .under(&[OTHER])
    .says("(resolver 10.96.0.10:53)"),
    case("a resolver, seen by sources, agentk and notifications", (315, "Deployment gitlab/gitlab-agent-v2"), |s| {
        let words = "dial tcp: lookup gitlab.example.com on 10.96.0.10:53: server misbehaving";
        both(s, words, words);
        undelivered(s, words);
        agentk(s, "dns: A record lookup error: lookup kas.gitlab.example.com on 10.96.0.10:53: server misbehaving");
    })
    .under(&[(407, ONE), OTHER, (507, "Alert flux-system/gitlab-status-flux-system")])
    .says("stops 3 more objects"),
    case("a host that answers nobody", (407, ONE), |s| {
        both(s, "dial tcp 10.0.0.1:443: i/o timeout", "context deadline exceeded");
    })
    .under(&[OTHER])
    .says("(gitlab.example.com:443)"),
    case("a port at which nobody listens, seen by a chart repository too", (302, "HelmRepository gitlab/gitlab-agent"), |s| {
        let words = "Get \"https://gitlab.example.com/x\": dial tcp 10.0.0.1:443: connect: connection refused";
        both(s, words, words);
        s.helm_repositories.items[0].status.conditions = fixture::fetch_failed("Failed", words);
    })
    .under(&[(407, ONE), OTHER, (407, "HelmRepository gitlab/gitlab-agent")])
    .says("stops 2 more objects"),
    case("an authority that is not trusted, at two hosts", (407, ONE), |s| {
        let words = |host: &str| {
            format!(
                "Get \"https://{host}/x\": tls: failed to verify certificate: x509: certificate signed by unknown authority \
                 (possibly because of \"x\" while trying to verify candidate authority certificate \"Corp Root\")"
            )
        };
        both(s, &words("a.example.com"), &words("b.example.com"));
    })
    .under(&[OTHER])
    .says("(authority Corp Root)"),
    case("a certificate that has expired", (407, ONE), |s| {
        let words = "x509: certificate has expired or is not yet valid: current time 2026-11-02 is after 2026-10-01";
        both(s, words, words);
    })
    .under(&[OTHER]),
    case("a full disk", (407, ONE), |s| {
        both(s, "failed to write /data/a: no space left on device", "open /tmp/b: no space left on device");
    })
    .under(&[OTHER])
    .says("(Deployment flux-system/source-controller)"),
    case("a proxy that is down, for two hosts", (407, ONE), |s| {
        both(
            s,
            "Get \"https://a.example.com/x\": proxyconnect tcp: dial tcp 10.0.0.5:3128: connect: connection refused",
            "Get \"https://b.example.com/x\": proxyconnect tcp: dial tcp 10.0.0.5:3128: connect: connection refused",
        );
    })
    .under(&[OTHER])
    .says("(proxy 10.0.0.5:3128)"),
    case("a rate limit of one host", (407, ONE), |s| {
        both(s, "429 Too Many Requests", "Too Many Requests");
    })
    .under(&[OTHER]),
    case("a webhook that cannot be called", (408, "Kustomization flux-system/example-nginx-app"), |s| {
        let words = |object: &str, why: &str| {
            format!(
                "{object} dry-run failed: Internal error occurred: failed calling webhook \"webhook.cert-manager.io\": failed \
                 to call webhook: {why}"
            )
        };
        apps_failed(s, "ReconciliationFailed", &words("Certificate/a/b", "no endpoints available for service \"x\""));
        let other = kustomization(s, "other");
        s.kustomizations.items[other].status.conditions =
            fixture::not_ready("ReconciliationFailed", &words("Issuer/a/c", "EOF"));
    })
    .under(&[(408, "Kustomization flux-system/other")])
    .says("(webhook webhook.cert-manager.io)"),
    case("a kind that is not installed", (408, "Kustomization flux-system/example-nginx-app"), |s| {
        let words = |object: &str| {
            format!("{object} dry-run failed: no matches for kind \"ExternalSecret\" in version \"external-secrets.io/v1\"")
        };
        apps_failed(s, "ReconciliationFailed", &words("ExternalSecret/a/b"));
        let other = kustomization(s, "other");
        s.kustomizations.items[other].status.conditions =
            fixture::not_ready("ReconciliationFailed", &words("ExternalSecret/a/c"));
    })
    .under(&[(408, "Kustomization flux-system/other")])
    .says("(ExternalSecret external-secrets.io/v1)"),
    case("a registry that cannot be resolved, seen by two workloads", (701, "Deployment example-nginx/nginx"), |s| {
        let words = "Failed to pull image \"registry.example.com/a:1\": dial tcp: lookup registry.example.com on 10.96.0.10:53: no such host";
        nginx_down(s, &json!({}), &waits("ImagePullBackOff", words));
        release(s);
        web_inventory(s, &["shop_web_apps_Deployment"]);
        web_down(s, &json!({}), &waits("ErrImagePull", words));
    })
    .under(&[(701, "Deployment shop/web")])
    .says("(registry.example.com)"),
    case("one credential", (407, ONE), |s| {
        fixture::git_mut(s, "example-nginx-app").spec.secret_ref.as_mut().expect("a Secret").name = "flux-system".to_owned();
        both(s, "authentication required", "403 Forbidden");
    })
    .under(&[OTHER])
    .says("(Secret flux-system/flux-system)"),
    case("two hosts", (407, ONE), |s| {
        both(
            s,
            "Get \"https://a.example.com/x\": dial tcp 10.0.0.1:443: connect: connection refused",
            "Get \"https://b.example.com/x\": dial tcp 10.0.0.1:443: connect: connection refused",
        );
    })
    .also(&[OTHER]),
    case("two classes of one host", (407, ONE), |s| {
        both(s, "dial tcp 10.0.0.1:443: connect: connection refused", "x509: certificate signed by unknown authority");
    })
    .also(&[OTHER]),
    case("two faults in Git", (407, ONE), |s| {
        both(s, "couldn't find remote ref \"a\"", "couldn't find remote ref \"a\"");
    })
    .also(&[OTHER]),
];

#[test]
fn one_failure_of_many_objects_is_one_problem() {
    hold(CASES);
}

/// Thousands of sources of one host that is away: one problem, which says how many.
#[test]
fn an_outage_of_a_fleet_is_one_problem() {
    const MANY: usize = 2_000;
    let report = report(|s| {
        let example = s.git_repositories.items[0].clone();
        s.git_repositories.items.extend((0..MANY).map(|n| {
            let mut git = example.clone();
            git.metadata.name = format!("g{n:07}");
            git.status.conditions = fixture::fetch_failed(
                "GitOperationFailed",
                "dial tcp 10.0.0.1:443: connect: connection refused",
            );
            git
        }));
    });
    let leading: Vec<_> = report.problems.iter().filter(|p| p.check.code == 407).collect();
    assert_eq!(leading.len(), 1);
    assert!(leading[0].finding.message.contains("stops 1999 more objects"), "{}", leading[0].finding.message);
}
