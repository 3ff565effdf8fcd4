//! The Lease that decides which pod's leader modules run: `agent-<id>-lock` in the pod's namespace.

use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::FIELD_MANAGER;
use super::pod::Pod;

const DURATION_SECONDS: i64 = 15;
const RENEW_EVERY: Duration = Duration::from_secs(2);

/// Renews the Lease of a leader; lets another pod take it when nobody holds it any longer.
pub(super) async fn hold(pod: &mut Pod) {
    if pod.renewed.is_some_and(|at| at.elapsed() < RENEW_EVERY) {
        return;
    }
    pod.renewed = Some(Instant::now());
    let Some(agent) = pod.agent() else { return };
    let lock = format!("agent-{agent}-lock");
    match take(pod, &lock).await {
        Ok(true) if !pod.leads => lead(pod, &lock),
        Ok(holds) => pod.leads = holds,
        Err(error) => {
            pod.leads = false;
            let text = format!("error retrieving resource lock {}/{lock}", pod.namespace);
            return pod.log.error("", &text, &format!("{error:#}"));
        }
    }
    if !pod.leads {
        // Look often: the leader's end is somebody's wait.
        pod.renewed = None;
        if !std::mem::replace(&mut pod.waits_for_lease, true) {
            let text = format!("attempting to acquire leader lease {}/{lock}...", pod.namespace);
            pod.log.info("", &text, &[]);
        }
    }
}

fn lead(pod: &mut Pod, lock: &str) {
    pod.leads = true;
    pod.waits_for_lease = false;
    pod.applied.clear();
    let text = format!("successfully acquired lease {}/{lock}", pod.namespace);
    pod.log.info("", &text, &[]);
    if pod.flux {
        pod.log.info("flux", "Starting GitRepository controller", &[]);
    }
}

/// Takes or renews the Lease; tells whether it is ours.
async fn take(pod: &Pod, lock: &str) -> Result<bool> {
    let Some(mut lease) = pod.api.get(&path(pod, lock)).await? else {
        let collection = format!("{}?fieldManager={FIELD_MANAGER}", path(pod, ""));
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": { "name": lock, "namespace": pod.namespace },
            "spec": spec(&pod.name, 0, &now()),
        });
        pod.api.create(collection.trim_end_matches('/'), &lease).await?;
        return Ok(true);
    };
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
    if holder == pod.name {
        lease["spec"]["renewTime"] = json!(now());
    } else if holder.is_empty() || is_over(&lease["spec"]) {
        let transitions = lease["spec"]["leaseTransitions"].as_i64().unwrap_or(0);
        lease["spec"] = spec(&pod.name, transitions + 1, &now());
    } else {
        return Ok(false);
    }
    write(pod, lock, &lease).await
}

/// What a process does that is told to end: nobody has to wait for the Lease to run out.
pub(super) async fn release(pod: &Pod) {
    let Some(agent) = pod.agent() else { return };
    let lock = format!("agent-{agent}-lock");
    let Ok(Some(mut lease)) = pod.api.get(&path(pod, &lock)).await else { return };
    if lease["spec"]["holderIdentity"] == pod.name.as_str() {
        lease["spec"]["holderIdentity"] = json!("");
        lease["spec"]["leaseDurationSeconds"] = json!(1);
        lease["spec"]["renewTime"] = json!(now());
        let _ = write(pod, &lock, &lease).await;
    }
}

/// `false` when another was quicker.
async fn write(pod: &Pod, lock: &str, lease: &Value) -> Result<bool> {
    let path = format!("{}?fieldManager={FIELD_MANAGER}", path(pod, lock));
    match pod.api.update(&path, lease).await {
        Ok(_) => Ok(true),
        Err(refusal) if refusal.code == 409 => Ok(false),
        Err(refusal) => Err(refusal.into()),
    }
}

fn spec(holder: &str, transitions: i64, now: &str) -> Value {
    json!({
        "holderIdentity": holder,
        "leaseDurationSeconds": DURATION_SECONDS,
        "acquireTime": now,
        "renewTime": now,
        "leaseTransitions": transitions,
    })
}

fn is_over(spec: &Value) -> bool {
    let renewed = spec["renewTime"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let seconds = spec["leaseDurationSeconds"].as_i64().unwrap_or(DURATION_SECONDS);
    renewed
        .is_none_or(|renewed| renewed.duration_until(Timestamp::now()) > SignedDuration::from_secs(seconds))
}

/// A Lease's times have exactly six digits after the point.
fn now() -> String {
    format!("{:.6}", Timestamp::now())
}

fn path(pod: &Pod, lock: &str) -> String {
    let collection = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", pod.namespace);
    if lock.is_empty() { collection } else { format!("{collection}/{lock}") }
}
