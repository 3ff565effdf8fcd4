//! Independent causes: by what users lose. And what may not be seen: behind what is known to be broken.

use serde_json::json;

use super::build::*;
use super::{Case, case, hold, report};
use crate::fixture;
use crate::need::Need;

const CASES: &[Case] = &[
    case("a crash and a job status that is rate-limited", (701, "Deployment example-nginx/nginx"), |s| {
        nginx_down(s, &json!({}), &waits("CrashLoopBackOff", "back-off"));
        fixture::secret(s, "flux-system", "gitlab-status-flux-system").keys.clear();
    })
    .also(&[(505, "Secret flux-system/gitlab-status-flux-system")]),
    case("a crash and an agent that is down", (701, "Deployment example-nginx/nginx"), |s| {
        nginx_down(s, &json!({}), &waits("CrashLoopBackOff", "back-off"));
        fixture::deployment_mut(s, "gitlab-agent-v2").spec.replicas = Some(0);
    })
    .also(&[(301, "Deployment gitlab/gitlab-agent-v2")]),
    case(
        "a source that fails and an agent that is down",
        (407, "GitRepository flux-system/example-nginx-app"),
        |s| {
            let git = fixture::git_mut(s, "example-nginx-app");
            git.status.conditions = fixture::fetch_failed("GitOperationFailed", "couldn't find remote ref");
            fixture::deployment_mut(s, "gitlab-agent-v2").spec.replicas = Some(0);
        },
    )
    .also(&[(301, "Deployment gitlab/gitlab-agent-v2")]),
    case("two crashes of two causes", (701, "Deployment example-nginx/nginx"), |s| {
        nginx_down(s, &json!({}), &waits("CrashLoopBackOff", "back-off"));
        release(s);
        web_failed(s, "InstallFailed", "context deadline exceeded");
        web_inventory(s, &["shop_web_apps_Deployment"]);
        web_down(s, &json!({}), &waits("ImagePullBackOff", "not found"));
    })
    .also(&[(701, "Deployment shop/web")]),
    case("a crash and a permission that is missing", (701, "Deployment example-nginx/nginx"), |s| {
        nginx_down(s, &json!({}), &waits("CrashLoopBackOff", "back-off"));
        fixture::take_away(s, Need::Leases);
    })
    .also(&[(102, "Cluster")]),
    case(
        "a failed job status and a permission that is missing",
        (505, "Secret flux-system/gitlab-status-flux-system"),
        |s| {
            fixture::secret(s, "flux-system", "gitlab-status-flux-system").keys.clear();
            fixture::take_away(s, Need::Receivers);
        },
    )
    .also(&[(102, "Cluster")]),
    case("a crash seen without pods", (701, "Deployment example-nginx/nginx"), |s| {
        fixture::deployment_mut(s, "nginx").status.ready_replicas = 0;
        fixture::take_away(s, Need::Pods);
    })
    .also(&[(102, "Cluster")]),
    case("a failed release seen without Deployments", (408, "HelmRelease gitlab/gitlab-agent"), |s| {
        s.helm_releases.items[0].status.conditions =
            fixture::not_ready("UpgradeFailed", "template: bad value");
        fixture::take_away(s, Need::Deployments);
    })
    .also(&[(102, "Cluster")]),
    case("nothing but permissions", (102, "Cluster"), |s| fixture::take_away(s, Need::Secrets)),
];

#[test]
fn what_users_lose_comes_first() {
    hold(CASES);
}

#[test]
fn impacts_are_in_the_order_of_what_users_lose() {
    let report = report(|s| {
        fixture::take_away(s, Need::Leases);
        fixture::secret(s, "flux-system", "gitlab-status-flux-system").keys.clear();
        fixture::deployment_mut(s, "gitlab-agent-v2").spec.replicas = Some(0);
        apps_failed(s, "BuildFailed", "x");
        release(s);
        web_inventory(s, &["shop_web_apps_Deployment"]);
        web_down(s, &json!({}), &waits("CrashLoopBackOff", "back-off"));
    });
    let codes: Vec<u16> = report.problems.iter().map(|p| p.check.code).collect();
    assert_eq!(codes, [701, 408, 301, 505, 102]);
}
