//! Sources that do not exist, dependencies that somebody fails to make, deletions that do not end, and workloads that Flux did
//! not deploy.

use serde_json::json;

use super::build::*;
use super::{Case, case, hold};
use crate::facts::Workload;
use crate::fixture;
use crate::snapshot::kinds::CrossRef;
use crate::snapshot::{Observed, Snapshot};

const APPS: &str = "Kustomization flux-system/example-nginx-app";
const NGINX: &str = "Deployment example-nginx/nginx";
const LOOKUP: &str =
    "dial tcp: lookup gitlab.example.com on 10.96.0.10:53: read udp 10.0.0.8:1->10.96.0.10:53: i/o timeout";
const WEBHOOK: &str = "Internal error occurred: failed calling webhook \"validate.kyverno.svc-fail\": failed to call webhook: Post \"https://kyverno-svc.kyverno.svc:443/validate/fail?timeout=10s\": no endpoints available for service \"kyverno-svc\"";

/// A workload that Flux did not deploy and that runs no pod.
fn foreign(s: &mut Snapshot, namespace: &str, name: &str) {
    let mut made: Workload = fixture::deployment_mut(s, "nginx").clone();
    (made.metadata.name, made.metadata.namespace) = (name.to_owned(), namespace.to_owned());
    made.metadata.labels.clear();
    made.spec.selector.match_labels = [("app".to_owned(), name.to_owned())].into();
    (made.status.ready_replicas, made.status.available_replicas) = (0, 0);
    s.deployments.items.push(made);
}

fn depends(s: &mut Snapshot, name: &str, on: &str) {
    let at = kustomization(s, name);
    let k = &mut s.kustomizations.items[at];
    k.spec.depends_on = vec![CrossRef { name: on.to_owned(), ..CrossRef::default() }];
    k.status.conditions = fixture::not_ready("DependencyNotReady", "unable to get dependency");
}

fn unfetched(s: &mut Snapshot) {
    for name in ["flux-system", "example-nginx-app"] {
        fixture::git_mut(s, name).status.conditions = fixture::fetch_failed("GitOperationFailed", LOOKUP);
    }
}

fn deleted(s: &mut Snapshot) {
    s.kustomizations.items[1].metadata.deletion_timestamp = "2026-11-02T07:00:00Z".parse().ok();
}

fn no_source(s: &mut Snapshot) {
    s.git_repositories.items.retain(|g| g.metadata.name != "example-nginx-app");
    s.receivers.items.retain(|r| !r.metadata.name.contains("example"));
    apps_failed(s, "ArtifactFailed", "Source 'GitRepository/flux-system/example-nginx-app' not found");
}

const CASES: &[Case] = &[
    case("a source that does not exist", (702, "GitRepository flux-system/example-nginx-app"), no_source)
        .under(&[(408, APPS)])
        .says("does not exist")
        .never("annotate"),
    case("a source that a failing Kustomization would make", (408, "Kustomization flux-system/flux-system"), |s| {
        no_source(s);
        holds(s, 0, "flux-system_example-nginx-app_source.toolkit.fluxcd.io_GitRepository", "v1");
        system_failed(s, "BuildFailed", "kustomize build failed: x");
    })
    .under(&[(408, APPS), (702, "GitRepository flux-system/example-nginx-app")]),
    case("a chart repository that does not exist", (702, "HelmRepository shop/charts"), |s| {
        release(s);
        let web = s.helm_releases.items.iter_mut().find(|r| r.metadata.name == "web").expect("the release");
        let source = &mut web.spec.chart.as_mut().expect("a chart").spec.source_ref;
        (source.kind, source.name, source.namespace) = ("HelmRepository".to_owned(), "charts".to_owned(), String::new());
        web_failed(s, "SourceNotReady", "HelmChart 'shop/shop-web' is not ready: failed to get source: HelmRepository.source.toolkit.fluxcd.io \"charts\" not found");
        let chart = s.helm_charts.items.iter_mut().find(|c| c.metadata.name == "shop-web").expect("the chart");
        let source = chart.spec.source_ref.as_mut().expect("a source");
        (source.kind, source.name, source.namespace) = ("HelmRepository".to_owned(), "charts".to_owned(), String::new());
        chart.status.conditions = fixture::not_ready("SourceUnavailable", "failed to get source: HelmRepository.source.toolkit.fluxcd.io \"charts\" not found");
    })
    .under(&[(408, WEB), (407, "HelmChart shop/shop-web")]),
    case("a dependency that a failing Kustomization would make", (408, "Kustomization flux-system/flux-system"), |s| {
        depends(s, "a", "infra");
        depends(s, "b", "a");
        holds(s, 0, "flux-system_infra_kustomize.toolkit.fluxcd.io_Kustomization", "v1");
        system_failed(s, "BuildFailed", "kustomize build failed: x");
    })
    .under(&[(408, "Kustomization flux-system/a"), (408, "Kustomization flux-system/b")]),
    case("a source that was renamed, before Flux has noticed", (702, "GitRepository flux-system/apps"), |s| {
        s.kustomizations.items[1].spec.source_ref.name = "apps".to_owned();
    })
    .says("Kustomization flux-system/example-nginx-app needs it"),
    case("a Kustomization that somebody deleted", (701, "Kustomization flux-system/other"), |s| {
        holds(s, 0, "flux-system_other_kustomize.toolkit.fluxcd.io_Kustomization", "v1");
    })
    .says("does not exist any more"),
    case("an Alert that somebody deleted", (701, "Alert flux-system/other"), |s| {
        holds(s, 0, "flux-system_other_notification.toolkit.fluxcd.io_Alert", "v1beta3");
    }),
    case("a GitRepository that a failing Kustomization does not bring back", (408, "Kustomization flux-system/flux-system"), |s| {
        holds(s, 0, "flux-system_other_source.toolkit.fluxcd.io_GitRepository", "v1");
        system_failed(s, "BuildFailed", "kustomize build failed: x");
    })
    .under(&[(701, "GitRepository flux-system/other")]),
    case("a Kustomization that cannot be deleted", (408, APPS), |s| {
        deleted(s);
        apps_failed(s, "PruneFailed", "persistentvolumeclaims \"data\" is forbidden: User \"x\" cannot delete resource");
    })
    .says("is being deleted for 3h, and cannot be: the service account lacks an RBAC permission"),
    case("one that cannot be deleted because its controller is gone", (203, "Deployment flux-system/kustomize-controller"), |s| {
        deleted(s);
        s.deployments.items.retain(|d| d.metadata.name != "kustomize-controller");
    })
    .under(&[(408, APPS)]),
    case("a namespace that hangs on a Kustomization in it", (408, "Kustomization example-nginx/app"), |s| {
        let mut made = s.kustomizations.items[1].clone();
        (made.metadata.namespace, made.metadata.name) = (SHOP.to_owned(), "app".to_owned());
        made.spec.source_ref.namespace = "flux-system".to_owned();
        made.status.inventory.entries.clear();
        made.metadata.deletion_timestamp = "2026-11-02T07:00:00Z".parse().ok();
        made.status.conditions = fixture::not_ready("PruneFailed", "x");
        s.kustomizations.items.push(made);
        s.namespace_objects.items.retain(|n| n.metadata.name != SHOP);
        s.namespace_objects.items.push(part(json!({"metadata": {"name": SHOP, "deletionTimestamp": "2026-11-02T07:00:00Z"}})));
    })
    .under(&[(702, "Namespace example-nginx")]),
    case("DNS that Flux did not deploy", (701, "Deployment kube-system/coredns"), |s| {
        foreign(s, "kube-system", "coredns");
        foreign(s, "kube-system", "metrics-server");
        unfetched(s);
    })
    .under(&[(407, "GitRepository flux-system/flux-system"), (407, "GitRepository flux-system/example-nginx-app")]),
    case("DNS that Flux did not deploy, seen by a pod", (701, "Deployment kube-system/coredns"), |s| {
        foreign(s, "kube-system", "coredns");
        let words = "dial tcp: lookup api.example.com on 10.96.0.10:53: server misbehaving";
        nginx_down(s, &json!({}), &json!({"phase": "Running", "containerStatuses": [{"name": "main",
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
            "lastState": {"terminated": {"reason": "Error", "exitCode": 1, "message": words}}}]}));
    })
    .under(&[(701, NGINX)]),
    case("DNS that Flux did not deploy, seen by agentk", (701, "Deployment kube-system/coredns"), |s| {
        foreign(s, "kube-system", "coredns");
        let line = json!({"time": "2026-11-02T09:59:40Z", "level": "ERROR", "msg": "Failed to register agent pod",
            "error": "dial tcp: lookup kas.example.com on 10.96.0.10:53: server misbehaving"});
        s.logs.iter_mut().for_each(|log| log.lines = Observed::Known(vec![line.to_string()]));
        s.leases.items.clear();
    })
    .under(&[(315, "Deployment gitlab/gitlab-agent-v2")]),
    case("a webhook that Flux did not deploy", (701, "Deployment kyverno/kyverno-admission-controller"), |s| {
        foreign(s, "kyverno", "kyverno-admission-controller");
        apps_failed(s, "ReconciliationFailed", WEBHOOK);
    })
    .under(&[(408, APPS)]),
    case("what is down and nothing leads to", (407, "GitRepository flux-system/example-nginx-app"), |s| {
        foreign(s, "kyverno", "kyverno-admission-controller");
        foreign(s, "kube-system", "metrics-server");
        unfetched(s);
    })
    .under(&[(407, "GitRepository flux-system/flux-system")]),
    case("a name that does not exist, while DNS is down for nobody", (407, "GitRepository flux-system/example-nginx-app"), |s| {
        for name in ["flux-system", "example-nginx-app"] {
            let words = "dial tcp: lookup gitlab.example.com on 10.96.0.10:53: no such host";
            fixture::git_mut(s, name).status.conditions = fixture::fetch_failed("GitOperationFailed", words);
        }
    })
    .under(&[(407, "GitRepository flux-system/flux-system")]),
];

#[test]
fn what_is_gone_or_down_is_the_cause() {
    hold(CASES);
}
