//! Waits that failed, and chains of several hops.

use serde_json::json;

use super::build::*;
use super::{Case, case, hold};
use crate::facts::Condition;
use crate::fixture;

const SLOW: &str =
    "Helm install failed for release shop/web with chart web@2.29.1: context deadline exceeded";
const HEALTH: &str = "health check failed after 5m0s: timeout waiting for: [Deployment/example-nginx/nginx status: 'InProgress']";

const CASES: &[Case] = &[
    case("a release's image does not exist", (701, "Deployment shop/web"), |s| {
        release(s);
        web_inventory(s, &["shop_web_apps_Deployment"]);
        web_failed(s, "InstallFailed", SLOW);
        web_down(s, &json!({}), &waits("ImagePullBackOff", "not found"));
    })
    .under(&[(408, WEB)]),
    case("a release's values name a ConfigMap that does not exist", (702, "ConfigMap shop/web"), |s| {
        release(s);
        web_inventory(s, &["shop_web_apps_Deployment"]);
        web_failed(s, "InstallFailed", SLOW);
        web_down(s, &json!({"volumes": [{"name": "c", "configMap": {"name": "web"}}]}), &creating());
        other(s, "", "ConfigMap", "shop", "web", None);
    })
    .under(&[(408, WEB), (701, "Deployment shop/web")]),
    case("the same where a HelmRelease has no inventory", (702, "Secret shop/db"), |s| {
        release(s);
        web_inventory(s, &["shop_web_apps_Deployment"]);
        web_failed(s, "UpgradeFailed", "timed out waiting for the condition");
        web_down(s, &json!({"volumes": [{"name": "c", "secret": {"secretName": "db"}}]}), &creating());
        no_secret(s, "shop", "db");
    })
    .under(&[(408, WEB), (701, "Deployment shop/web")]),
    case("agentk's release fails for a Secret that its values name", (304, "Secret gitlab/other"), |s| {
        let release = &mut s.helm_releases.items[0];
        release.spec.values.secret_name = Some("other".to_owned());
        release.status.inventory.entries.clear();
        let mut conditions = fixture::not_ready("UpgradeFailed", "context deadline exceeded");
        conditions.push(Condition { kind: "Released".to_owned(), ..conditions[0].clone() });
        release.status.conditions = conditions;
        fixture::secret(s, "gitlab", "gitlab-agent-token").keys.clear();
        no_secret(s, "gitlab", "other");
        let agent = fixture::deployment_mut(s, "gitlab-agent-v2");
        agent.status.ready_replicas = 0;
        agent.spec.template.spec.volumes[0].secret.as_mut().expect("a Secret").secret_name = "other".to_owned();
        s.pods.items.iter_mut().for_each(|p| p.status = part(creating()));
        s.leases.items.clear();
        system_failed(s, "HealthCheckFailed", "health check failed after 5m: timeout waiting for: [HelmRelease/gitlab/gitlab-agent status: 'InProgress']");
    })
    .under(&[
        (302, "HelmRelease gitlab/gitlab-agent"),
        (303, "Deployment gitlab/gitlab-agent-v2"),
        (408, "HelmRelease gitlab/gitlab-agent"),
        (606, "HelmRelease gitlab/gitlab-agent"),
        (408, "Kustomization flux-system/flux-system"),
    ]),
    case("a release that names the wrong Secret is the cause itself", (305, "HelmRelease gitlab/gitlab-agent"), |s| {
        let release = &mut s.helm_releases.items[0];
        release.spec.values.secret_name = Some("other".to_owned());
        let mut conditions = fixture::not_ready("UpgradeFailed", "context deadline exceeded");
        conditions.push(Condition { kind: "Released".to_owned(), ..conditions[0].clone() });
        release.status.conditions = conditions;
        no_secret(s, "gitlab", "other");
        let agent = fixture::deployment_mut(s, "gitlab-agent-v2");
        agent.status.ready_replicas = 0;
        agent.spec.template.spec.volumes[0].secret.as_mut().expect("a Secret").secret_name = "other".to_owned();
        s.pods.items.iter_mut().for_each(|p| p.status = part(creating()));
        s.leases.items.clear();
    })
    .under(&[(304, "Secret gitlab/other"), (303, "Deployment gitlab/gitlab-agent-v2"), (408, "HelmRelease gitlab/gitlab-agent")]),
    case("a Kustomization's health check waits for a crash", (701, "Deployment example-nginx/nginx"), |s| {
        apps_failed(s, "HealthCheckFailed", HEALTH);
        nginx_down(s, &json!({}), &waits("CrashLoopBackOff", "back-off"));
    })
    .under(&[(408, "Kustomization flux-system/example-nginx-app")]),
    case("six hops: ConfigMap, pod, Kustomization, three that depend on it", (702, "ConfigMap example-nginx/web"), |s| {
        apps_failed(s, "HealthCheckFailed", HEALTH);
        nginx_down(s, &json!({"volumes": [{"name": "c", "configMap": {"name": "web"}}]}), &creating());
        other(s, "", "ConfigMap", SHOP, "web", None);
        let mut on = "example-nginx-app".to_owned();
        for name in ["second", "third", "fourth"] {
            let at = kustomization(s, name);
            s.kustomizations.items[at].spec.depends_on = part(json!([{"name": on}]));
            s.kustomizations.items[at].status.conditions = fixture::not_ready("DependencyNotReady", "dependency is not ready");
            name.clone_into(&mut on);
        }
    })
    .under(&[(408, "Kustomization flux-system/fourth"), (408, "Kustomization flux-system/example-nginx-app"), (701, "Deployment example-nginx/nginx")]),
    case("a Kustomization waits for a release that waits for its pods", (702, "Secret shop/db"), |s| {
        release(s);
        web_failed(s, "InstallFailed", "Helm install failed: resource Deployment/shop/web not ready. status: InProgress");
        web_down(s, &json!({"containers": [{"name": "main", "envFrom": [{"secretRef": {"name": "db"}}]}]}), &creating());
        web_inventory(s, &["shop_web_apps_Deployment"]);
        no_secret(s, "shop", "db");
        holds(s, 1, "shop_web_helm.toolkit.fluxcd.io_HelmRelease", "v2");
        s.kustomizations.items[1].spec.wait = true;
        apps_failed(s, "HealthCheckFailed", "health check failed: failed early due to stalled resources: [HelmRelease/shop/web status: 'Failed']");
    })
    .under(&[(408, "Kustomization flux-system/example-nginx-app"), (408, WEB), (701, "Deployment shop/web")]),
    case("a values Secret does not exist", (702, "Secret shop/values"), |s| {
        release(s);
        let release = s.helm_releases.items.last_mut().expect("the release");
        release.spec.values_from = part(json!([{"kind": "Secret", "name": "values"}, {"kind": "ConfigMap", "name": "may-be", "optional": true}]));
        web_failed(s, "ValuesError", "could not resolve Secret chart values reference 'shop/values' with key 'values.yaml': secrets \"values\" not found");
        no_secret(s, "shop", "values");
    })
    .under(&[(408, WEB)]),
    case("the ConfigMap of variables does not exist", (702, "ConfigMap flux-system/cluster"), |s| {
        s.kustomizations.items[1].spec.post_build = Some(part(json!({"substituteFrom": [{"kind": "ConfigMap", "name": "cluster"}]})));
        apps_failed(s, "BuildFailed", "post build failed for 'nginx': substitute from 'ConfigMap/cluster' error: configmaps \"cluster\" not found");
    })
    .never("git revert")
    .under(&[(408, "Kustomization flux-system/example-nginx-app")]),
    case("the decryption key does not exist", (702, "Secret flux-system/sops-age"), |s| {
        s.kustomizations.items[1].spec.decryption = Some(part(json!({"provider": "sops", "secretRef": {"name": "sops-age"}})));
        apps_failed(s, "BuildFailed", "cannot get decryption Secret 'flux-system/sops-age': Secret \"sops-age\" not found");
    })
    .never("git revert")
    .under(&[(408, "Kustomization flux-system/example-nginx-app")]),
    case("the decryption key is another one", (408, "Kustomization flux-system/example-nginx-app"), |s| {
        s.kustomizations.items[1].spec.decryption = Some(part(json!({"provider": "sops", "secretRef": {"name": "sops-age"}})));
        s.kustomizations.items[1].status.last_attempted_revision = "main@sha1:2222222222222222222222222222222222222222".to_owned();
        apps_failed(s, "BuildFailed", "decryption failed for 'db': failed to decrypt and format 'shop/db' Secret data: cannot get sops data key");
    })
    .says("cannot decrypt db")
    .never("git revert"),
    case("a namespace does not exist", (702, "Namespace shop"), |s| {
        apps_failed(s, "ReconciliationFailed", "Service/shop/web dry-run failed: namespaces \"shop\" not found");
    })
    .under(&[(408, "Kustomization flux-system/example-nginx-app")]),
    case("the kubeconfig of another cluster does not exist", (702, "Secret flux-system/remote"), |s| {
        s.kustomizations.items[1].spec.kube_config = Some(part(json!({"secretRef": {"name": "remote"}})));
        apps_failed(s, "ReconciliationFailed", "unable to read KubeConfig secret 'flux-system/remote' error: secrets \"remote\" not found");
        no_secret(s, "flux-system", "remote");
    })
    .under(&[(408, "Kustomization flux-system/example-nginx-app")]),
    case("what was rolled back says what failed, and what runs", (408, WEB), |s| {
        release(s);
        web_failed(s, "RollbackSucceeded", "Helm rollback to previous release shop/web.v1 succeeded");
        let release = s.helm_releases.items.last_mut().expect("the release");
        release.status.last_attempted_revision = "2.30.0".to_owned();
        release.status.last_attempted_release_action = "upgrade".to_owned();
        let message = "Helm upgrade failed: template: web: bad value";
        release.status.conditions[1] = Condition { reason: "UpgradeFailed".to_owned(), message: message.to_owned(), ..release.status.conditions[1].clone() };
        let of = |kind: &str, reason: &str, message: &str| Condition {
            kind: kind.to_owned(),
            status: "True".to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            ..Condition::default()
        };
        release.status.conditions.push(of("Remediated", "RollbackSucceeded", "Helm rollback succeeded"));
        release.status.conditions.push(of("Stalled", "RetriesExceeded", "Failed to upgrade after 1 attempt(s)"));
    })
    .says("failed in its last upgrade (chart 2.30.0) and was rolled back; chart 2.29.1 runs on"),
    case("a chart that is gone explains the release and what depends on it", (407, "HelmChart shop/shop-web"), |s| {
        release(s);
        s.helm_charts.items[1].status.conditions = fixture::fetch_failed("InvalidChartReference", "no chart version found for web-9.9.9");
        web_failed(s, "ArtifactFailed", "Source not ready: no artifact");
        apps_failed(s, "HealthCheckFailed", "health check failed: timeout waiting for: [HelmRelease/shop/web status: 'InProgress']");
    })
    .under(&[(408, WEB), (408, "Kustomization flux-system/example-nginx-app")]),
];

#[test]
fn chains_end_at_the_cause() {
    hold(CASES);
}
