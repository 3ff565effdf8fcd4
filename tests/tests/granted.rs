//! Every request that `verify` sends is granted by the roles that `--print-rbac` prints: against an API server that notes
//! each, in a cluster in which everything fails that makes it read more. No cluster is needed.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use gitlab_agent_core::fixture;
use gitlab_agent_core::need::{Need, ON_FAILURE};
use gitlab_agent_core::snapshot::kinds::CREATORS;
use gitlab_agent_tests::lone_api::{LoneApi, Said, list_of, need_of};
use gitlab_agent_tests::programs::{command, run};
use serde_json::{Value, json};

/// One request in the terms of RBAC.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Request {
    verb: &'static str,
    group: String,
    resource: String,
    namespace: String,
}

/// What a path asks for; none where every signed-in user may.
fn request(path: &str) -> Option<Request> {
    let path = path.split('?').next()?;
    let (group, rest) = match path.strip_prefix("/api/v1/") {
        Some(rest) => ("", rest),
        None => {
            let (group, rest) = path.strip_prefix("/apis/")?.split_once('/')?;
            (group, rest.split_once('/')?.1)
        }
    };
    let parts: Vec<&str> = rest.split('/').collect();
    let (namespace, parts) = match parts[..] {
        ["namespaces", namespace, _, ..] => (namespace, &parts[2..]),
        _ => ("", &parts[..]),
    };
    let (verb, resource) = match parts {
        ["selfsubjectaccessreviews"] => return None,
        ["subjectaccessreviews"] => ("create", "subjectaccessreviews".to_owned()),
        [resource] => ("list", (*resource).to_owned()),
        [resource, _] => ("get", (*resource).to_owned()),
        [resource, _, below, ..] => ("get", format!("{resource}/{below}")),
        [] => return None,
    };
    Some(Request { verb, group: group.to_owned(), resource, namespace: namespace.to_owned() })
}

/// Whether one of the roles grants it.
fn is_granted(roles: &[Value], request: &Request) -> bool {
    let holds = |list: &Value, one: &str| list.as_array().is_some_and(|all| all.iter().any(|v| v == one));
    roles.iter().any(|role| {
        let place = &role["metadata"]["namespace"];
        let rules = role["rules"].as_array().into_iter().flatten();
        (place.is_null() || *place == json!(request.namespace))
            && rules.into_iter().any(|rule| {
                holds(&rule["apiGroups"], &request.group)
                    && holds(&rule["resources"], &request.resource)
                    && holds(&rule["verbs"], request.verb)
            })
    })
}

/// A pod that crashes, and mounts everything that does not exist.
fn failing(snapshot: &mut Value) {
    let volumes = json!([
        {"name": "a", "configMap": {"name": "no"}}, {"name": "b", "secret": {"secretName": "db"}},
        {"name": "c", "persistentVolumeClaim": {"claimName": "no"}},
        {"name": "d", "csi": {"volumeAttributes": {"secretProviderClass": "no"}}}]);
    let deployments = snapshot["deployments"]["items"].as_array_mut().expect("items");
    let nginx = deployments.iter_mut().find(|d| d["metadata"]["name"] == "nginx").expect("nginx");
    nginx["spec"]["template"]["spec"]["volumes"] = volumes.clone();
    nginx["spec"]["template"]["spec"]["serviceAccountName"] = json!("no");
    nginx["status"]["readyReplicas"] = json!(0);
    let waiting = json!({"reason": "CrashLoopBackOff", "message": "back-off"});
    let pod = json!({"metadata": {"name": "nginx-1", "namespace": "example-nginx", "labels": {"app": "nginx"}},
        "spec": {"volumes": volumes, "containers": [{"name": "main"}]},
        "status": {"phase": "Running", "containerStatuses": [{"name": "main", "restartCount": 5, "state": {"waiting": waiting},
            "lastState": {"terminated": {"reason": "Error", "exitCode": 1}}}]}});
    snapshot["pods"]["items"].as_array_mut().expect("items").push(pod);
    let message = "timeout waiting for: [Job/example-nginx/migrate status: 'Failed', Widget/example-nginx/w status: 'Failed', \
                   Deployment/example-nginx/nginx status: 'InProgress']";
    let kustomization = &mut snapshot["kustomizations"]["items"][1];
    kustomization["status"]["conditions"] = json!([{"type": "Ready", "status": "False", "reason": "HealthCheckFailed",
        "message": message, "lastTransitionTime": "2026-11-02T09:00:00Z"}]);
    let entries = kustomization["status"]["inventory"]["entries"].as_array_mut().expect("entries");
    for (id, version) in [
        ("example-nginx_db_external-secrets.io_ExternalSecret", "v1"),
        ("example-nginx_web_cert-manager.io_Certificate", "v1"),
        ("example-nginx_migrate_batch_Job", "v1"),
        ("example-nginx_w_example.com_Widget", "v1"),
    ] {
        entries.push(json!({"id": id, "v": version}));
    }
}

/// What is asked for by name and creates something; all of them fail.
fn creator(path: &str) -> Option<Value> {
    let status =
        json!({"conditions": [{"type": "Ready", "status": "False", "reason": "Failed", "message": "no"}]});
    let metadata = |name: &str| json!({"name": name, "namespace": "example-nginx"});
    let (name, spec) = match path.rsplit('/').next()? {
        "db" if path.contains("/externalsecrets/") => (
            "db",
            json!({"target": {"name": "db"}, "secretStoreRef": {"kind": "ClusterSecretStore", "name": "vault"}}),
        ),
        "web" if path.contains("/certificates/") => {
            ("web", json!({"secretName": "web", "issuerRef": {"kind": "ClusterIssuer", "name": "ca"}}))
        }
        _ => return None,
    };
    Some(json!({"metadata": metadata(name), "spec": spec, "status": status}))
}

/// The failing cluster.
struct Cluster {
    snapshot: Value,
}

impl Cluster {
    fn new() -> Result<Self> {
        let mut snapshot = serde_json::to_value(fixture::healthy())?;
        failing(&mut snapshot);
        let namespaces = snapshot["namespaceObjects"]["items"].as_array_mut().context("namespaces")?;
        namespaces.push(json!({"metadata": {"name": "example-nginx"}}));
        let groups = snapshot["groups"]["known"].as_array_mut().context("groups")?;
        for (_, group, _) in CREATORS {
            groups.push(json!({"name": group, "versions": ["v1"]}));
        }
        Ok(Self { snapshot })
    }

    fn answer(&self, path: &str) -> Option<Said> {
        if path == "/apis" {
            let group = |of: &Value| {
                let versions: Vec<Value> =
                    of["versions"].as_array()?.iter().map(|v| json!({"version": v})).collect();
                Some(json!({"name": of["name"], "versions": versions, "preferredVersion": versions.first()}))
            };
            let known = self.snapshot["groups"]["known"].as_array()?;
            let groups: Vec<Value> = known.iter().filter_map(group).collect();
            return Some(Said::json(
                200,
                &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}),
            ));
        }
        if let Some(found) = creator(path) {
            return Some(Said::json(200, &found));
        }
        let need = need_of(path)?;
        let items = self.snapshot[field(need)?]["items"].as_array()?;
        let place = path.split("/namespaces/").nth(1).and_then(|rest| rest.split('/').next());
        let own = |item: &&Value| place.is_none_or(|place| item["metadata"]["namespace"] == place);
        let items: Vec<&Value> = items.iter().filter(own).collect();
        Some(Said::json(200, &list_of(need, &json!(items))))
    }
}

/// The snapshot's field of a listing.
fn field(need: Need) -> Option<&'static str> {
    Some(match need {
        Need::Crds => "crds",
        Need::GitRepositories => "gitRepositories",
        Need::HelmRepositories => "helmRepositories",
        Need::HelmCharts => "helmCharts",
        Need::Kustomizations => "kustomizations",
        Need::HelmReleases => "helmReleases",
        Need::Receivers => "receivers",
        Need::Providers => "providers",
        Need::Alerts => "alerts",
        Need::Deployments => "deployments",
        Need::Pods => "pods",
        Need::Leases => "leases",
        Need::Services => "services",
        Need::EndpointSlices => "endpointSlices",
        Need::NetworkPolicies => "networkPolicies",
        Need::Namespaces => "namespaceObjects",
        _ => return None,
    })
}

fn printed(args: &[&str]) -> Result<Vec<Value>> {
    let ran = run(command("verify").arg("--print-rbac").args(args));
    ensure!(ran.code == 0, "{}", ran.err);
    Ok(ran.out.split("---\n").map(serde_saphyr::from_str).collect::<Result<_, _>>()?)
}

fn sent(args: &[&str]) -> Result<BTreeSet<Request>> {
    let cluster = Cluster::new()?;
    let api = LoneApi::start(move |_, path| cluster.answer(path))?;
    let ran = run(command("verify").args(["-o", "json"]).args(args).env("KUBECONFIG", api.kubeconfig()));
    ensure!(ran.code == 1, "{} {}{}", ran.code, ran.out, ran.err);
    Ok(api.asked().iter().filter_map(|path| request(path)).collect())
}

#[test]
fn every_request_is_granted_by_the_printed_roles() -> Result<()> {
    for args in [&[][..], &["-n", "example-nginx"], &["-n", "gitlab"], &["-n", "flux-system"]] {
        let roles = printed(args)?;
        let sent = sent(args)?;
        let lacking: Vec<&Request> = sent.iter().filter(|request| !is_granted(&roles, request)).collect();
        // docs/rbac.md: kinds that only an inventory names are read by name where they may be.
        let is_named = |request: &&&Request| request.group == "example.com" && request.verb == "get";
        let lacking: Vec<_> = lacking.iter().filter(|request| !is_named(request)).collect();
        ensure!(lacking.is_empty(), "{args:?}: no printed role grants {lacking:#?}");
    }
    Ok(())
}

/// The cluster fails in every way that makes `verify` read more, or the test above shows nothing.
#[test]
fn the_failing_cluster_makes_it_read_more() -> Result<()> {
    let sent = sent(&[])?;
    let asks = |verb: &str, resource: &str| sent.iter().any(|r| r.verb == verb && r.resource == resource);
    for resource in [
        "configmaps",
        "persistentvolumeclaims",
        "serviceaccounts",
        "jobs",
        "secretproviderclasses",
        "clustersecretstores",
        "pods/log",
    ] {
        ensure!(asks("get", resource), "{resource}: {sent:#?}");
    }
    for of in ON_FAILURE.iter().filter(|of| of.verbs.contains(&"list")) {
        ensure!(of.resources.iter().all(|resource| asks("list", resource)), "{of:?}: {sent:#?}");
    }
    ensure!(asks("create", "subjectaccessreviews"), "{sent:#?}");
    Ok(())
}
