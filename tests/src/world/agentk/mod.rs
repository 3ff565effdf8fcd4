//! A stand-in for agentk: does in the cluster what the real one does, for every pod of the official chart.
//!
//! The pods of the chart run on kwok, so nothing runs in them. This task watches them and acts in their place: it
//! reads the token once per pod, writes the pod's log, holds the Lease, makes Receivers and their Secrets, and tells
//! Flux of pushes, each call made as the pod's service account.

mod lease;
mod log;
mod pod;
mod receivers;
mod webhook;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use self::pod::Pod;
use super::World;
use super::api::Api;
use super::gitlab::{GitLab, PushEvent};

/// The name under which agentk's changes are recorded.
pub const FIELD_MANAGER: &str = "agentk";

const TICK: Duration = Duration::from_millis(250);

/// What of agentk is played, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Nothing is done at all, as if every process were stopped; existing pods stay as they are.
    pub paused: bool,
    /// Receivers and their Secrets are made.
    pub receivers: bool,
    /// Pushes are passed on to Flux.
    pub push_events: bool,
    /// A pod whose token is refused stops renewing the Lease.
    pub lapse_when_refused: bool,
    /// How long a connected pod does not notice that its token was revoked (kas caches validity, in reality minutes).
    pub revocation_notice: Duration,
    /// Where the webhook paths of Receivers are asked for.
    pub webhook_url: String,
}

/// The running stand-in; dropping it stops it.
#[derive(Debug)]
pub struct Agentk {
    settings: Arc<Mutex<Settings>>,
    task: JoinHandle<()>,
}

impl Agentk {
    pub(crate) fn start(world: &World) -> Result<Self> {
        let settings = Settings {
            paused: false,
            receivers: true,
            push_events: true,
            lapse_when_refused: false,
            revocation_notice: Duration::from_secs(2),
            webhook_url: world.webhook_url(),
        };
        let settings = Arc::new(Mutex::new(settings));
        let logs = world.dir().join("pods");
        std::fs::create_dir_all(&logs)?;
        let stage = Stage {
            api: world.api.clone(),
            kubeconfig: world.kubeconfig(),
            gitlab: world.gitlab().clone(),
            logs,
            settings: settings.clone(),
        };
        let pushes = stage.gitlab.pushes();
        let task = world.runtime().spawn(run(stage, pushes));
        Ok(Self { settings, task })
    }

    /// Changes what is played, from the next round on.
    pub fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Agentk {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What every pod needs.
pub(super) struct Stage {
    api: Api,
    kubeconfig: PathBuf,
    gitlab: GitLab,
    logs: PathBuf,
    settings: Arc<Mutex<Settings>>,
}

impl Stage {
    fn settings(&self) -> Settings {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn run(stage: Stage, mut pushes: broadcast::Receiver<PushEvent>) {
    let mut pods: Vec<Pod> = Vec::new();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let push = tokio::select! {
            _ = ticks.tick() => None,
            Ok(push) = pushes.recv() => Some(push),
        };
        let settings = stage.settings();
        if settings.paused {
            continue;
        }
        // The API server may be stopped by a test: pods then go on when it is back.
        if let Some(push) = push {
            pass_on(&stage, &settings, &mut pods, &push).await;
        } else if follow_pods(&stage, &mut pods).await.is_ok() {
            act(&stage, &settings, &mut pods).await;
        }
    }
}

/// Takes up pods that came to run, and lets go of those that are gone.
async fn follow_pods(stage: &Stage, pods: &mut Vec<Pod>) -> Result<()> {
    let all = stage.api.list("/api/v1/pods?labelSelector=app.kubernetes.io/name%3Dgitlab-agent").await?;
    let running: Vec<&Value> = all.iter().filter(|pod| is_running(pod)).collect();
    let mut kept = Vec::new();
    for pod in pods.drain(..) {
        if running.iter().any(|object| object["metadata"]["uid"] == pod.uid.as_str()) {
            kept.push(pod);
        } else {
            stage.gitlab.disconnect(&pod.namespace, &pod.name);
            lease::release(&pod).await;
        }
    }
    *pods = kept;
    for object in running {
        if !pods.iter().any(|pod| object["metadata"]["uid"] == pod.uid.as_str()) {
            pods.push(Pod::start(stage, object).await?);
        }
    }
    Ok(())
}

fn is_running(pod: &Value) -> bool {
    let containers = pod["status"]["containerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let started = containers.iter().any(|container| container["state"]["running"].is_object());
    started && pod["metadata"]["deletionTimestamp"].is_null()
}

async fn act(stage: &Stage, settings: &Settings, pods: &mut [Pod]) {
    for pod in pods.iter_mut() {
        pod.sign_in(&stage.gitlab, settings);
        if pod.may_lead(settings) {
            lease::hold(pod).await;
        } else {
            pod.leads = false;
        }
        if pod.leads && settings.receivers && pod.is_connected() {
            receivers::reconcile(pod, &stage.gitlab).await;
        }
    }
}

async fn pass_on(stage: &Stage, settings: &Settings, pods: &mut [Pod], push: &PushEvent) {
    if !settings.push_events {
        return;
    }
    for pod in pods.iter_mut().filter(|pod| pod.leads && pod.is_connected() && pod.flux) {
        webhook::pass_on(pod, &stage.gitlab, &settings.webhook_url, &push.project).await;
    }
}
