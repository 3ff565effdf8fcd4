//! A healthy snapshot made by hand, for tests: start healthy, change one thing, expect one outcome.

use serde_json::{Value, json};

use crate::need::Need;
use crate::object::ObjectRef;
use crate::snapshot::gitlab::{AgentRecord, GitLabPart};
use crate::snapshot::kinds::{Condition, Source, Workload};
use crate::snapshot::secret::KeyShape;
use crate::snapshot::{
    Listing, Observed, Permission, PodLog, Review, SecretEntry, SecretShape, Snapshot, Tools, Trial, Why,
    WhyKind,
};

/// When the healthy snapshot was taken.
pub const NOW: &str = "2026-11-02T10:00:00Z";
/// When its objects were made.
const MADE: &str = "2026-11-01T08:00:00Z";
/// When its pods started.
const STARTED: &str = "2026-11-01T09:00:00Z";
/// The commit that its sources hold.
pub const REVISION: &str = "main@sha1:1111111111111111111111111111111111111111";

/// A cluster with Flux, one agent, two projects, and nothing wrong.
///
/// # Panics
/// When the fixture is not a snapshot: a defect of this file.
pub fn healthy() -> Snapshot {
    let snapshot = json!({
        "format": 1, "tool": "0.0.0", "takenAt": NOW, "fluxNamespace": "flux-system",
        "origin": {"context": "fixture", "server": "https://127.0.0.1:6443"},
        "server": {"known": {"gitVersion": "v1.36.3"}},
        "groups": {"known": groups()},
        "crds": listing(crds()),
        "gitRepositories": listing(vec![git("flux-system"), git("example-nginx-app")]),
        "ociRepositories": listing(vec![]), "buckets": listing(vec![]),
        "helmRepositories": listing(vec![source("gitlab", "gitlab-agent", "https://charts.example.com", "sha256:22")]),
        "helmCharts": listing(vec![chart()]),
        "kustomizations": listing(vec![
            kustomization("flux-system", &["gitlab_gitlab-agent_helm.toolkit.fluxcd.io_HelmRelease"]),
            kustomization("example-nginx-app", &["_example-nginx__Namespace", "example-nginx_nginx_apps_Deployment"]),
        ]),
        "helmReleases": listing(vec![release()]),
        "receivers": listing(vec![receiver("flux-system"), receiver("example-nginx-app")]),
        "providers": listing(vec![provider("flux-system"), provider("example-nginx-app")]),
        "alerts": listing(vec![alert("flux-system"), alert("example-nginx-app")]),
        "dispatchFailures": listing(vec![]), "warnings": listing(vec![]),
        "deployments": listing(deployments()),
        "statefulSets": listing(vec![]), "daemonSets": listing(vec![]),
        "pods": listing(vec![agent_pod("gitlab-agent-v2-1"), agent_pod("gitlab-agent-v2-2")]),
        "leases": listing(vec![json!({
            "metadata": meta("gitlab", "agent-7-lock"),
            "spec": {"holderIdentity": "gitlab-agent-v2-1", "leaseDurationSeconds": 15, "renewTime": "2026-11-02T09:59:58Z"}})]),
        "services": listing(SERVICES.map(|(name, app, target)| json!({
            "metadata": meta("flux-system", name), "spec": {"selector": {"app": app},
                "ports": [{"name": "http", "port": 80, "targetPort": target, "protocol": "TCP"}]}})).to_vec()),
        "endpointSlices": listing(SERVICES.map(|(name, ..)| json!({
            "metadata": with(meta("flux-system", &format!("{name}-1")), "labels", json!({"kubernetes.io/service-name": name})),
            "endpoints": [{"conditions": {"ready": true}}]})).to_vec()),
        "chartIndexes": [{"namespace": "gitlab", "name": "gitlab-agent", "versions": {"known": [
            {"version": "2.29.1", "appVersion": "v19.2.2"}, {"version": "2.29.0", "appVersion": "v19.2.1"},
            {"version": "2.28.0", "appVersion": "v19.1.0"}]}}],
        "networkPolicies": listing(policies()),
        "namespaceObjects": listing(["flux-system", "gitlab"].iter().map(|name| json!({"metadata": {"name": name,
            "labels": {"kubernetes.io/metadata.name": name, "team": "platform"}}})).collect()),
        "tools": {"kubectl": {"known": "v1.36.1"}, "flux": {"known": "v2.9.2"}},
        "secrets": [], "logs": [], "access": [],
        "gitlab": {"known": gitlab()},
    });
    let mut snapshot: Snapshot = serde_json::from_value(snapshot).expect("the fixture is a snapshot");
    snapshot.secrets = secrets();
    snapshot.logs = ["gitlab-agent-v2-1", "gitlab-agent-v2-2"].into_iter().map(log).collect();
    snapshot.access = access();
    snapshot.reviews = reviews(&snapshot);
    snapshot
}

/// Flux's own policies, and one that lets agentk's namespace talk only to Flux's and the outside.
fn policies() -> Vec<Value> {
    let policy =
        |namespace: &str, name: &str, spec: Value| json!({"metadata": meta(namespace, name), "spec": spec});
    vec![
        policy(
            "flux-system",
            "allow-egress",
            json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "egress": [{}], "ingress": [{"from": [{"podSelector": {}}]}]}),
        ),
        policy(
            "flux-system",
            "allow-webhooks",
            json!({"podSelector": {"matchLabels": {"app": "notification-controller"}}, "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"namespaceSelector": {}}]}]}),
        ),
        policy(
            "gitlab",
            "egress",
            json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [
                {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}]},
                {"to": [{"namespaceSelector": {"matchLabels": {"team": "platform"}}}]}]}),
        ),
    ]
}

/// Everything that agentk has to do is allowed.
fn reviews(s: &Snapshot) -> Vec<Review> {
    let facts = crate::facts::Facts::derive(s);
    let asked = facts.agents.iter().flat_map(|agent| facts.duties(agent));
    let reviewed = asked.map(|duty| Review {
        namespace: "gitlab".to_owned(),
        service_account: "default".to_owned(),
        permission: duty.permission,
        allowed: Observed::Known(true),
    });
    reviewed.collect()
}

fn with(mut object: Value, key: &str, value: Value) -> Value {
    object[key] = value;
    object
}

/// The Services of Flux: name, the pods behind it, and their port.
const SERVICES: [(&str, &str, &str); 3] = [
    ("webhook-receiver", "notification-controller", "http-webhook"),
    ("source-controller", "source-controller", "http"),
    ("notification-controller", "notification-controller", "http"),
];

fn listing(items: Vec<Value>) -> Value {
    json!({ "items": items })
}

fn meta(namespace: &str, name: &str) -> Value {
    json!({"name": name, "namespace": namespace, "generation": 1, "creationTimestamp": MADE})
}

fn ready(reason: &str, message: &str) -> Value {
    json!([{"type": "Ready", "status": "True", "reason": reason, "message": message, "lastTransitionTime": MADE}])
}

fn groups() -> Value {
    let group = |name: &str, version: &str| json!({"name": name, "versions": [version]});
    json!([
        group("apps", "v1"),
        group("source.toolkit.fluxcd.io", "v1"),
        group("kustomize.toolkit.fluxcd.io", "v1"),
        group("helm.toolkit.fluxcd.io", "v2"),
        json!({"name": "notification.toolkit.fluxcd.io", "versions": ["v1", "v1beta3"]}),
    ])
}

fn crds() -> Vec<Value> {
    let crd = |(_, plural, group, _): &(&str, &str, &str, &str)| json!({"metadata": {"name": format!("{plural}.{group}"), "creationTimestamp": MADE}});
    crate::facts::flux::KINDS.iter().map(crd).collect()
}

fn source(namespace: &str, name: &str, url: &str, revision: &str) -> Value {
    json!({
        "metadata": meta(namespace, name), "spec": {"url": url, "interval": "1m0s"},
        "status": {"observedGeneration": 1, "conditions": ready("Succeeded", "stored artifact"),
            "artifact": {"revision": revision, "lastUpdateTime": MADE}}})
}

fn git(name: &str) -> Value {
    let mut git =
        source("flux-system", name, &format!("https://gitlab.example.com/platform/{name}.git"), REVISION);
    git["spec"]["ref"] = json!({"branch": "main"});
    git["spec"]["secretRef"] = json!({"name": name});
    git
}

fn chart() -> Value {
    let mut chart = source("gitlab", "gitlab-gitlab-agent", "", "2.29.1");
    chart["spec"] = json!({"chart": "gitlab-agent", "version": "~2.29.0", "interval": "1h0m0s",
        "sourceRef": {"kind": "HelmRepository", "name": "gitlab-agent"}});
    chart
}

fn kustomization(name: &str, inventory: &[&str]) -> Value {
    let version = |id: &str| if id.ends_with("_HelmRelease") { "v2" } else { "v1" };
    let entries: Vec<Value> = inventory.iter().map(|id| json!({"id": id, "v": version(id)})).collect();
    json!({
        "metadata": meta("flux-system", name),
        "spec": {"path": "./", "interval": "10m0s", "sourceRef": {"kind": "GitRepository", "name": name}},
        "status": {"observedGeneration": 1, "conditions": ready("ReconciliationSucceeded", "Applied revision"),
            "lastAppliedRevision": REVISION, "lastAttemptedRevision": REVISION, "inventory": {"entries": entries}}})
}

fn release() -> Value {
    json!({
        "metadata": meta("gitlab", "gitlab-agent"),
        "spec": {"interval": "1h0m0s",
            "chart": {"spec": {"chart": "gitlab-agent", "version": "~2.29.0",
                "sourceRef": {"kind": "HelmRepository", "name": "gitlab-agent", "namespace": "gitlab"}}},
            "values": {"config": {"kasAddress": "wss://kas.example.com", "secretName": "gitlab-agent-token"}}},
        "status": {"observedGeneration": 1, "conditions": ready("InstallSucceeded", "Helm install succeeded"),
            "helmChart": "gitlab/gitlab-gitlab-agent", "lastAttemptedRevision": "2.29.1",
            "inventory": {"entries": [{"id": "gitlab_gitlab-agent-v2_apps_Deployment", "v": "v1"}]},
            "history": [{"name": "gitlab-agent", "namespace": "gitlab", "chartVersion": "2.29.1", "appVersion": "v19.2.2", "status": "deployed"}]}})
}

fn receiver(name: &str) -> Value {
    let mut metadata = meta("flux-system", &format!("gitlab-{name}"));
    metadata["annotations"] = json!({"app.kubernetes.io/managed-by": "gitlab", "agent.gitlab.com/id": "7",
        "agent.gitlab.com/project": format!("platform/{name}")});
    json!({
        "metadata": metadata,
        "spec": {"type": "generic-hmac", "secretRef": {"name": format!("gitlab-receiver-{name}")},
            "resources": [{"kind": "GitRepository", "name": name, "namespace": "flux-system"}]},
        "status": {"observedGeneration": 1, "conditions": ready("Succeeded", "Receiver initialized"), "webhookPath": "/hook/0"}})
}

fn provider(project: &str) -> Value {
    let address = format!("https://gitlab.example.com/platform/{project}");
    let name = format!("gitlab-status-{project}");
    json!({"metadata": meta("flux-system", &name),
        "spec": {"type": "gitlab", "address": address, "secretRef": {"name": name}}})
}

fn alert(project: &str) -> Value {
    let name = format!("gitlab-status-{project}");
    json!({"metadata": meta("flux-system", &name),
        "spec": {"providerRef": {"name": name}, "eventSources": [{"kind": "Kustomization", "name": project}]}})
}

fn deployment(namespace: &str, name: &str, replicas: i64, image: &str) -> Value {
    json!({
        "metadata": meta(namespace, name),
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": image}]}}},
        "status": {"observedGeneration": 1, "replicas": replicas, "readyReplicas": replicas,
            "updatedReplicas": replicas, "availableReplicas": replicas}})
}

fn deployments() -> Vec<Value> {
    let controller = |name: &str, tag: &str| {
        let image = format!("ghcr.io/fluxcd/{name}:{tag}");
        let mut made = deployment("flux-system", name, 1, &image);
        made["metadata"]["labels"] = json!({"app.kubernetes.io/part-of": "flux",
            "app.kubernetes.io/version": "v2.9.2", "app.kubernetes.io/instance": "flux-system"});
        if name != "notification-controller" {
            let address = "http://notification-controller.$(RUNTIME_NAMESPACE).svc.cluster.local./";
            made["spec"]["template"]["spec"]["containers"][0]["args"] =
                json!([format!("--events-addr={address}")]);
        }
        made
    };
    let mut agent =
        deployment("gitlab", "gitlab-agent-v2", 2, "registry.gitlab.com/gitlab-org/agentk:v19.2.2");
    agent["metadata"]["labels"] = json!({"app.kubernetes.io/name": "gitlab-agent",
        "helm.toolkit.fluxcd.io/name": "gitlab-agent", "helm.toolkit.fluxcd.io/namespace": "gitlab"});
    let listening = |mut made: Value, ports: Value| {
        made["spec"]["template"]["spec"]["containers"][0]["ports"] = ports;
        made
    };
    let http = json!({"name": "http", "containerPort": 9090, "protocol": "TCP"});
    let webhook = json!({"name": "http-webhook", "containerPort": 9292, "protocol": "TCP"});
    let pod = &mut agent["spec"]["template"]["spec"];
    pod["volumes"] = json!([{"name": "secret-volume", "secret": {"secretName": "gitlab-agent-token"}}]);
    pod["containers"][0]["args"] =
        json!(["--token-file=/etc/agentk/secrets/token", "--kas-address=wss://kas.example.com"]);
    vec![
        listening(controller("source-controller", "v1.9.1"), json!([http])),
        controller("kustomize-controller", "v1.9.4"),
        controller("helm-controller", "v1.6.3"),
        listening(controller("notification-controller", "v1.9.1"), json!([http, webhook])),
        agent,
        deployment("example-nginx", "nginx", 2, "nginx:1.27"),
    ]
}

fn agent_pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "gitlab", "creationTimestamp": STARTED, "labels": {"app": "gitlab-agent-v2"}},
        "spec": {"containers": [{"name": "main", "image": "registry.gitlab.com/gitlab-org/agentk:v19.2.2"}]},
        "status": {"phase": "Running", "startTime": STARTED, "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "main", "ready": true, "state": {"running": {"startedAt": STARTED}}}]}})
}

fn secrets() -> Vec<SecretEntry> {
    let token = format!("glagent-{}", "x".repeat(50));
    let [fleet, example] = ["y", "z"].map(|c| format!("gldt-{}", c.repeat(20)));
    let statuses = ["v", "w"].map(|c| format!("glpat-{}", c.repeat(20)));
    let entry = |namespace: &str, name: &str, keys: &[(&str, &str)]| {
        let keys = keys.iter().map(|(key, value)| {
            let mut shape = KeyShape::of(value.as_bytes(), b"fixture");
            shape.changed_at = MADE.parse().ok();
            ((*key).to_owned(), shape)
        });
        let mut shape =
            SecretShape { kind: "Opaque".to_owned(), keys: keys.collect(), ..SecretShape::default() };
        shape.metadata.name = name.to_owned();
        shape.metadata.namespace = namespace.to_owned();
        SecretEntry {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            shape: Observed::Known(Some(shape)),
        }
    };
    vec![
        entry("gitlab", "gitlab-agent-token", &[("token", &token)]),
        entry("flux-system", "flux-system", &[("username", "gitlab+deploy-token-1"), ("password", &fleet)]),
        entry(
            "flux-system",
            "example-nginx-app",
            &[("username", "gitlab+deploy-token-2"), ("password", &example)],
        ),
        entry("flux-system", "gitlab-status-flux-system", &[("token", &statuses[0])]),
        entry("flux-system", "gitlab-status-example-nginx-app", &[("token", &statuses[1])]),
        entry("flux-system", "gitlab-receiver-flux-system", &[("token", "0123456789abcdef")]),
        entry("flux-system", "gitlab-receiver-example-nginx-app", &[("token", "0123456789abcdef")]),
    ]
}

fn log(pod: &str) -> PodLog {
    let line =
        r#"{"time":"2026-11-01T09:00:05Z","level":"INFO","msg":"Starting","mod_name":"agent_registrar"}"#;
    PodLog {
        namespace: "gitlab".to_owned(),
        pod: pod.to_owned(),
        container: String::new(),
        lines: Observed::Known(vec![line.to_owned()]),
    }
}

fn gitlab() -> Value {
    let agent = json!({
        "id": 7, "name": "production", "project": "platform/flux-system",
        "config": {"known": {"exists": true, "keys": ["ci_access", "ci_access.projects", "ci_access.projects.id"]}},
        "tokens": {"known": [{"id": 31, "name": "flux", "createdAt": MADE, "lastUsedAt": "2026-11-02T09:30:00Z"}]},
        "connections": {"known": [{"connectedAt": STARTED, "version": "v19.2.2", "podNamespace": "gitlab", "podName": "gitlab-agent-v2-1"}]}});
    let project = |name: &str, id: u64, visibility: &str| {
        json!({
            "path": format!("platform/{name}"), "project": {"known": {"id": id, "visibility": visibility}},
            "credentials": {"known": [{"kind": "deployToken", "id": id + 100, "name": "flux", "scopes": ["read_repository"],
                "heldBy": [{"kind": "Secret", "namespace": "flux-system", "name": name}],
                "expiresAt": "2027-06-01T00:00:00Z"}, {"kind": "accessToken", "id": id + 200, "name": "flux-status",
                "scopes": ["api"], "expiresAt": "2027-06-01T00:00:00Z"}]}})
    };
    json!({
        "url": "https://gitlab.example.com",
        "metadata": {"known": {"version": "19.2.4-ee", "kasEnabled": true, "kasUrl": "wss://kas.example.com", "kasVersion": "19.2.2"}},
        "token": {"known": {"scopes": ["read_api"], "expiresAt": "2027-06-01T00:00:00Z"}},
        "agents": [{"deployment": {"kind": "Deployment", "namespace": "gitlab", "name": "gitlab-agent-v2"}, "agent": {"known": agent}}],
        "projects": [project("flux-system", 1, "private"), project("example-nginx-app", 2, "public")]})
}

/// What was observed of GitLab, to change it.
///
/// # Panics
/// When it is not known.
pub fn gitlab_mut(s: &mut Snapshot) -> &mut GitLabPart {
    match &mut s.gitlab {
        Observed::Known(part) => part,
        Observed::Unknown(_) => panic!("the fixture's GitLab is known"),
    }
}

/// The agent as GitLab knows it, to change it.
///
/// # Panics
/// When it is not known.
pub fn gitlab_agent_mut(s: &mut Snapshot) -> &mut AgentRecord {
    match &mut gitlab_mut(s).agents[0].agent {
        Observed::Known(agent) => agent,
        Observed::Unknown(_) => panic!("the fixture's agent is known"),
    }
}

fn permission(need: Need) -> Permission {
    let row = need.row();
    Permission {
        verb: row.verb.to_owned(),
        group: row.group.to_owned(),
        resource: row.resource.to_owned(),
        namespace: None,
    }
}

fn access() -> Vec<Trial> {
    let granted = |row: &crate::need::Row| Trial { permission: permission(row.need), allowed: true };
    crate::need::TABLE.iter().filter(|row| !row.verb.is_empty()).map(granted).collect()
}

/// Takes one thing away, as a refusal by the API server does.
pub fn take_away(s: &mut Snapshot, need: Need) {
    let mut why = Why::new(WhyKind::Forbidden, permission(need).to_string(), "forbidden");
    if !need.row().verb.is_empty() {
        why.permission = Some(permission(need));
        for trial in s.access.iter_mut().filter(|t| t.permission == permission(need)) {
            trial.allowed = false;
        }
    }
    match need {
        Need::Version => s.server = Observed::Unknown(why),
        Need::Groups => s.groups = Observed::Unknown(why),
        Need::Crds => s.crds = Listing::unknown(why),
        Need::GitRepositories => s.git_repositories = Listing::unknown(why),
        Need::OciRepositories => s.oci_repositories = Listing::unknown(why),
        Need::Buckets => s.buckets = Listing::unknown(why),
        Need::HelmRepositories => s.helm_repositories = Listing::unknown(why),
        Need::HelmCharts => s.helm_charts = Listing::unknown(why),
        Need::Kustomizations => s.kustomizations = Listing::unknown(why),
        Need::HelmReleases => s.helm_releases = Listing::unknown(why),
        Need::Receivers => s.receivers = Listing::unknown(why),
        Need::Providers => s.providers = Listing::unknown(why),
        Need::Alerts => s.alerts = Listing::unknown(why),
        Need::Events => s.dispatch_failures = Listing::unknown(why),
        Need::ChartIndex => {
            s.chart_indexes.iter_mut().for_each(|i| i.versions = Observed::Unknown(why.clone()));
        }
        Need::Deployments => s.deployments = Listing::unknown(why),
        Need::StatefulSets => s.stateful_sets = Listing::unknown(why),
        Need::DaemonSets => s.daemon_sets = Listing::unknown(why),
        Need::Pods => s.pods = Listing::unknown(why),
        Need::Leases => s.leases = Listing::unknown(why),
        Need::Services => s.services = Listing::unknown(why),
        Need::EndpointSlices => s.endpoint_slices = Listing::unknown(why),
        Need::PodLogs => s.logs.iter_mut().for_each(|l| l.lines = Observed::Unknown(why.clone())),
        Need::NetworkPolicies => s.network_policies = Listing::unknown(why),
        Need::Namespaces => s.namespace_objects = Listing::unknown(why),
        Need::AccessReviews => {
            s.reviews.iter_mut().for_each(|r| r.allowed = Observed::Unknown(why.clone()));
        }
        Need::Tools => {
            let unknown = || Observed::Unknown(why.clone());
            s.tools = Some(Tools { kubectl: unknown(), flux: unknown() });
        }
        Need::Secrets => s.secrets.iter_mut().for_each(|e| e.shape = Observed::Unknown(why.clone())),
        Need::GitLabMetadata => gitlab_mut(s).metadata = Observed::Unknown(why),
        Need::GitLabToken => gitlab_mut(s).token = Observed::Unknown(why),
        Need::GitLabAgents => {
            gitlab_mut(s).agents.iter_mut().for_each(|a| a.agent = Observed::Unknown(why.clone()));
        }
        Need::GitLabAgentConfig => gitlab_agent_mut(s).config = Observed::Unknown(why),
        Need::GitLabProjects => {
            gitlab_mut(s).projects.iter_mut().for_each(|p| p.project = Observed::Unknown(why.clone()));
        }
        Need::GitLabCredentials => {
            gitlab_mut(s).projects.iter_mut().for_each(|p| p.credentials = Observed::Unknown(why.clone()));
        }
    }
}

/// A Secret of the snapshot, to change it.
///
/// # Panics
/// When there is none of that name.
pub fn secret_entry<'s>(s: &'s mut Snapshot, namespace: &str, name: &str) -> &'s mut SecretEntry {
    let found = s.secrets.iter_mut().find(|e| e.namespace == namespace && e.name == name);
    found.expect("the fixture has this Secret")
}

/// The shape of a Secret of the snapshot, to change it.
///
/// # Panics
/// When there is none of that name.
pub fn secret<'s>(s: &'s mut Snapshot, namespace: &str, name: &str) -> &'s mut SecretShape {
    match &mut secret_entry(s, namespace, name).shape {
        Observed::Known(Some(shape)) => shape,
        _ => panic!("the fixture's Secret is known"),
    }
}

/// Puts an access token of GitLab in place of the deploy token that the source `flux-system` is fetched with.
pub fn hold_access_token(s: &mut Snapshot) {
    let keys = &mut secret(s, "flux-system", "flux-system").keys;
    for (key, value) in [("username", "flux".to_owned()), ("password", format!("glpat-{}", "u".repeat(20)))] {
        keys.insert(key.to_owned(), KeyShape::of(value.as_bytes(), b"fixture"));
    }
}

/// A Deployment of the snapshot, to change it.
///
/// # Panics
/// When there is none of that name.
pub fn deployment_mut<'s>(s: &'s mut Snapshot, name: &str) -> &'s mut Workload {
    s.deployments.items.iter_mut().find(|d| d.metadata.name == name).expect("the fixture has this Deployment")
}

/// A GitRepository of the snapshot, to change it.
///
/// # Panics
/// When there is none of that name.
pub fn git_mut<'s>(s: &'s mut Snapshot, name: &str) -> &'s mut Source {
    s.git_repositories
        .items
        .iter_mut()
        .find(|g| g.metadata.name == name)
        .expect("the fixture has this GitRepository")
}

/// The conditions of a source that was not fetched.
pub fn fetch_failed(reason: &str, message: &str) -> Vec<Condition> {
    let condition = |kind: &str, status: &str| Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: "2026-11-02T09:50:00Z".parse().ok(),
        ..Condition::default()
    };
    vec![condition("FetchFailed", "True"), condition("Ready", "False")]
}

/// A condition `Ready=False`.
pub fn not_ready(reason: &str, message: &str) -> Vec<Condition> {
    fetch_failed(reason, message).split_off(1)
}

/// Names an object.
pub fn object(kind: &str, namespace: &str, name: &str) -> ObjectRef {
    ObjectRef::new(kind, namespace, name)
}
