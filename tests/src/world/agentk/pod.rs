//! One pod of agentk: its token, read once, and what it makes of GitLab's answer.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::log::Log;
use super::{FIELD_MANAGER, Settings, Stage};
use crate::world::api::Api;
use crate::world::gitlab::GitLab;

const UNAUTHENTICATED: &str = "rpc error: code = Unauthenticated desc = unauthenticated";
const REGISTER: &str =
    "Failed to register agent pod. Please make sure the agent version matches the server version";
const NO_FLUX: &str = "Flux could not be detected or the Agent is missing RBAC, skipping module. A restart is required for this to be checked again";
const MODULES: &[&str] = &[
    "starboard_vulnerability",
    "remote_development",
    "agent_registrar",
    "google_profiler",
    "agent2kas_tunnel",
];

const FIRST_GAP: Duration = Duration::from_secs(2);
const LONGEST_GAP: Duration = Duration::from_secs(300);

/// Where the process stands.
#[derive(Debug)]
enum State {
    /// It ended at its start; a restart only repeats that.
    Aborted,
    /// kas knows it as this agent.
    Connected { agent: u64, refused_since: Option<Instant> },
    /// kas refuses its token; it tries again at `next`.
    Refused { last_agent: Option<u64>, next: Instant, gap: Duration },
}

/// One pod and the process that would run in it.
pub(super) struct Pod {
    pub(super) uid: String,
    pub(super) name: String,
    pub(super) namespace: String,
    /// Speaks as the pod's service account.
    pub(super) api: Api,
    pub(super) log: Log,
    /// The Flux module is on: decided once, at the start.
    pub(super) flux: bool,
    pub(super) leads: bool,
    pub(super) renewed: Option<Instant>,
    pub(super) waits_for_lease: bool,
    /// The generation of each GitRepository, by UID, at which its Receiver was made.
    pub(super) applied: HashMap<String, i64>,
    pub(super) looked_at_sources: Option<Instant>,
    /// Tag of the image.
    version: String,
    token: String,
    state: State,
}

impl Pod {
    /// Does what the process does at its start.
    pub(super) async fn start(stage: &Stage, object: &Value) -> Result<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (name, namespace) = (text(&object["metadata"]["name"]), text(&object["metadata"]["namespace"]));
        let uid = text(&object["metadata"]["uid"]);
        let account = object["spec"]["serviceAccountName"].as_str().unwrap_or("default");
        let user = format!("system:serviceaccount:{namespace}:{account}");
        let log = Log::create(&stage.logs.join(format!("{uid}.log")))?;
        serve_log(&stage.api, object, &log).await?;
        let token = read_token(&stage.api, object).await?;
        let api = Api::connect(&stage.kubeconfig, Some(&user)).await?;
        let flux = has_flux(&api).await;
        let state = State::Refused { last_agent: None, next: Instant::now(), gap: FIRST_GAP };
        let mut pod = Self {
            uid,
            name,
            namespace,
            api,
            log,
            flux,
            leads: false,
            renewed: None,
            waits_for_lease: false,
            applied: HashMap::new(),
            looked_at_sources: None,
            version: version_of(object),
            token: String::new(),
            state,
        };
        pod.begin(token);
        Ok(pod)
    }

    fn begin(&mut self, token: Option<String>) {
        let Some(token) = token else {
            self.log.plain(
                "Program aborted: token file: open /etc/agentk/secrets/token: no such file or directory",
            );
            self.state = State::Aborted;
            return;
        };
        // One line feed at the end is taken off, and nothing else.
        self.token = token.strip_suffix('\n').unwrap_or(&token).to_owned();
        let observed = [("net_address", "[::]:8080")];
        self.log.info("observability", "Observability endpoint is up", &observed);
    }

    /// What kas makes of the token now, and so whether it lists this pod.
    pub(super) fn sign_in(&mut self, gitlab: &GitLab, settings: &Settings) {
        self.show_token(gitlab, settings);
        match self.state {
            State::Connected { agent, .. } => {
                gitlab.connect(agent, &self.namespace, &self.name, &self.version);
            }
            State::Refused { .. } | State::Aborted => gitlab.disconnect(&self.namespace, &self.name),
        }
    }

    fn show_token(&mut self, gitlab: &GitLab, settings: &Settings) {
        let answer = gitlab.agent_of(&self.token);
        match (&mut self.state, answer) {
            (State::Aborted, _) => {}
            (State::Connected { refused_since, .. }, Some(_)) => *refused_since = None,
            (State::Connected { agent, refused_since }, None) => {
                let since = *refused_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= settings.revocation_notice {
                    let last_agent = Some(*agent);
                    self.state = State::Refused { last_agent, next: Instant::now(), gap: FIRST_GAP };
                }
            }
            (State::Refused { last_agent, .. }, Some(agent)) => {
                // A token that is valid again heals without a word.
                let first = last_agent.is_none();
                self.state = State::Connected { agent, refused_since: None };
                if first {
                    self.say_started(agent);
                    self.flux = self.flux && !gitlab.has_flux_off(agent);
                }
            }
            (State::Refused { next, gap, .. }, None) if Instant::now() >= *next => {
                *next = Instant::now() + *gap;
                *gap = (*gap * 2).min(LONGEST_GAP);
                self.log.error("agent_registrar", REGISTER, UNAUTHENTICATED);
                self.log.error("", "GetConfiguration.Recv failed", UNAUTHENTICATED);
            }
            (State::Refused { .. }, None) => {}
        }
    }

    fn say_started(&mut self, agent: u64) {
        let key = format!("agentk:{agent}");
        for module in MODULES {
            self.log.info(module, "Starting", &[("agent_key", &key)]);
        }
        if !self.flux {
            self.log.info("flux", NO_FLUX, &[("agent_key", &key)]);
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected { .. })
    }

    /// The agent that this pod is, once it has learnt that.
    pub(super) fn agent(&self) -> Option<u64> {
        match self.state {
            State::Connected { agent, .. } => Some(agent),
            State::Refused { last_agent, .. } => last_agent,
            State::Aborted => None,
        }
    }

    pub(super) fn may_lead(&self, settings: &Settings) -> bool {
        self.agent().is_some() && (self.is_connected() || !settings.lapse_when_refused)
    }
}

/// The token as the kubelet mounts it: from the Secret of the volume that the chart calls `secret-volume`.
async fn read_token(api: &Api, pod: &Value) -> Result<Option<String>> {
    let volumes = pod["spec"]["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let volume = volumes.iter().find(|volume| volume["name"] == "secret-volume");
    let Some(name) = volume.and_then(|volume| volume["secret"]["secretName"].as_str()) else {
        return Ok(None);
    };
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
    let secret =
        api.get(&format!("/api/v1/namespaces/{namespace}/secrets/{name}")).await?.unwrap_or_default();
    let Some(encoded) = secret["data"]["token"].as_str() else { return Ok(None) };
    Ok(Some(String::from_utf8_lossy(&STANDARD.decode(encoded)?).into_owned()))
}

fn version_of(pod: &Value) -> String {
    let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
    image.rsplit_once(':').map_or("v0.0.0", |(_, tag)| tag).to_owned()
}

async fn has_flux(api: &Api) -> bool {
    for group in ["source.toolkit.fluxcd.io", "notification.toolkit.fluxcd.io"] {
        if !matches!(api.get(&format!("/apis/{group}/v1")).await, Ok(Some(_))) {
            return false;
        }
    }
    true
}

/// Tells kwok which file the log of this pod is.
async fn serve_log(api: &Api, pod: &Value, log: &Log) -> Result<()> {
    let meta = &pod["metadata"];
    let (name, namespace) =
        (meta["name"].as_str().unwrap_or_default(), meta["namespace"].as_str().unwrap_or_default());
    let containers: Vec<&Value> = pod["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|container| &container["name"])
        .collect();
    let logs = json!({
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Logs",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "name": name, "uid": meta["uid"] }],
        },
        "spec": { "logs": [{ "containers": containers, "logsFile": log.path(), "follow": false }] },
    });
    let path = format!("/apis/kwok.x-k8s.io/v1alpha1/namespaces/{namespace}/logs/{name}");
    api.apply(&path, FIELD_MANAGER, &logs).await?;
    Ok(())
}
