//! What pods wait for, wherever it is named.

use serde_json::json;

use super::build::{SHOP, creating, nginx_down, no_secret, other, waits, warning};
use super::{Case, case, hold};
use crate::facts::Condition;
use crate::fixture;

const NGINX: (u16, &str) = (701, "Deployment example-nginx/nginx");

const CASES: &[Case] = &[
    case("a ConfigMap in a projected volume", (702, "ConfigMap example-nginx/web"), |s| {
        let sources = json!([{"secret": {"name": "there"}}, {"configMap": {"name": "web"}}]);
        nginx_down(s, &json!({"volumes": [{"name": "all", "projected": {"sources": sources}}]}), &creating());
        other(s, "", "ConfigMap", SHOP, "web", None);
    })
    .under(&[NGINX]),
    case("a Secret in a projected volume", (702, "Secret example-nginx/web"), |s| {
        let sources = json!([{"secret": {"name": "web"}}]);
        nginx_down(s, &json!({"volumes": [{"name": "all", "projected": {"sources": sources}}]}), &creating());
        no_secret(s, SHOP, "web");
    })
    .under(&[NGINX]),
    case("a Secret in envFrom", (702, "Secret example-nginx/env"), |s| {
        let containers = json!([{"name": "main", "envFrom": [{"secretRef": {"name": "env"}}]}]);
        nginx_down(s, &json!({"containers": containers}), &waits("CreateContainerConfigError", "secret \"env\" not found"));
        no_secret(s, SHOP, "env");
    })
    .under(&[NGINX]),
    case("a ConfigMap in envFrom, only in the kubelet's words", (702, "ConfigMap example-nginx/env"), |s| {
        let containers = json!([{"name": "main", "envFrom": [{"configMapRef": {"name": "env"}}]}]);
        nginx_down(s, &json!({"containers": containers}), &waits("CreateContainerConfigError", "configmap \"env\" not found"));
    })
    .under(&[NGINX]),
    case("a key of a Secret in env", (702, "Secret example-nginx/db"), |s| {
        let env = json!([{"name": "P", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}]);
        let spec = json!({"containers": [{"name": "main", "env": env}]});
        nginx_down(s, &spec, &waits("CreateContainerConfigError", "couldn't find key password in Secret example-nginx/db"));
    })
    .says("lacks the key password")
    .under(&[NGINX]),
    case("an init container's ConfigMap", (702, "ConfigMap example-nginx/init"), |s| {
        let init = json!([{"name": "init", "env": [{"name": "M", "valueFrom": {"configMapKeyRef": {"name": "init", "key": "m"}}}]}]);
        nginx_down(s, &json!({"initContainers": init}), &creating());
        other(s, "", "ConfigMap", SHOP, "init", None);
    })
    .under(&[NGINX]),
    case("a pull secret", (702, "Secret example-nginx/registry"), |s| {
        let spec = json!({"imagePullSecrets": [{"name": "registry"}]});
        nginx_down(s, &spec, &waits("ImagePullBackOff", "401 Unauthorized"));
        no_secret(s, SHOP, "registry");
    })
    .under(&[NGINX]),
    case("a pull secret, only in an event", (702, "Secret example-nginx/registry"), |s| {
        nginx_down(s, &json!({}), &waits("ErrImagePull", "pull access denied"));
        let said = "Unable to retrieve some image pull secrets (registry); attempting to pull the image may not succeed.";
        warning(s, "Pod", "nginx-5d-x", "FailedToRetrieveImagePullSecret", said);
    })
    .under(&[NGINX]),
    case("a claim that does not exist", (702, "PersistentVolumeClaim example-nginx/data"), |s| {
        let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
        let pending = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/3 nodes are available: persistentvolumeclaim \"data\" not found."}]});
        nginx_down(s, &json!({"volumes": volumes}), &pending);
    })
    .under(&[NGINX]),
    case("the class of a CSI volume", (702, "SecretProviderClass example-nginx/vault"), |s| {
        let csi = json!({"driver": "secrets-store.csi.k8s.io", "volumeAttributes": {"secretProviderClass": "vault", "x": "y"}});
        nginx_down(s, &json!({"volumes": [{"name": "s", "csi": csi}]}), &creating());
        let said = "MountVolume.SetUp failed for volume \"s\" : rpc error: code = Unknown desc = failed to get secretproviderclass \
                    example-nginx/vault, error: SecretProviderClass.secrets-store.csi.x-k8s.io \"vault\" not found";
        warning(s, "Pod", "nginx-5d-x", "FailedMount", said);
    })
    .under(&[NGINX]),
    case("a mount that only an event names", (702, "ConfigMap example-nginx/injected"), |s| {
        nginx_down(s, &json!({}), &creating());
        let said = "MountVolume.SetUp failed for volume \"c\" : configmap \"injected\" not found";
        warning(s, "Pod", "nginx-5d-x", "FailedMount", said);
    })
    .under(&[NGINX]),
    case("a service account that does not exist", (702, "ServiceAccount example-nginx/web"), |s| {
        let said = "pods \"nginx-5d-\" is forbidden: error looking up service account example-nginx/web: serviceaccount \"web\" not found";
        let nginx = fixture::deployment_mut(s, "nginx");
        nginx.status.ready_replicas = 0;
        nginx.status.conditions = vec![Condition {
            kind: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            reason: "FailedCreate".to_owned(),
            message: said.to_owned(),
            ..Condition::default()
        }];
    })
    .under(&[NGINX]),
    case("a service account, only in an event of the ReplicaSet", (702, "ServiceAccount example-nginx/web"), |s| {
        fixture::deployment_mut(s, "nginx").status.ready_replicas = 0;
        let said = "Error creating: pods \"nginx-5d-\" is forbidden: error looking up service account example-nginx/web: serviceaccount \
                    \"web\" not found";
        warning(s, "ReplicaSet", "nginx-5d", "FailedCreate", said);
    })
    .under(&[NGINX]),
    case("a new pod in a rollout waits, the old ones run", (702, "ConfigMap example-nginx/new"), |s| {
        nginx_down(s, &json!({"volumes": [{"name": "c", "configMap": {"name": "new"}}]}), &creating());
        let nginx = fixture::deployment_mut(s, "nginx");
        (nginx.status.ready_replicas, nginx.status.updated_replicas) = (2, 1);
        other(s, "", "ConfigMap", SHOP, "new", None);
    })
    .under(&[NGINX]),
    case("a Flux controller waits for a ConfigMap", (702, "ConfigMap flux-system/ca"), |s| {
        let controller = fixture::deployment_mut(s, "source-controller");
        controller.status.ready_replicas = 0;
        let volumes = json!([{"name": "ca", "configMap": {"name": "ca"}}]);
        controller.spec.template.spec.volumes = super::build::part(volumes);
        other(s, "", "ConfigMap", "flux-system", "ca", None);
    })
    .under(&[(202, "Deployment flux-system/source-controller")]),
];

#[test]
fn what_pods_wait_for_is_the_cause() {
    hold(CASES);
}
