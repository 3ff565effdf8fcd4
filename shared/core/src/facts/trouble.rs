//! Why a workload does not run, where its own status does not say: by the warnings about it, about its pods and about the
//! claims that they wait for.

use super::crash::last_words;
use super::node::Sign;
use super::reference::fresh_warnings;
use super::workload::Trouble;
use super::{Event, Facts, Pod, Workload};
use crate::object::ObjectRef;

/// What an Event of a reason tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tells {
    /// Nothing that keeps a pod from running.
    Nothing,
    /// What follows from something else that is said too.
    Result,
    /// Why a pod is not made, not started or not ready.
    Start,
    /// Why a container is ended and started again, too.
    Restart,
}

use Tells::{Nothing, Restart, Result, Start};

/// The reasons of warnings about pods, claims and workloads: kubelet (`pkg/kubelet/events/event.go`, `pkg/kubelet/lifecycle`),
/// attach-detach, volume and node controllers (`pkg/controller/volume/events/event.go`, `pkg/controller/nodelifecycle`), those
/// of ReplicaSets, StatefulSets, DaemonSets and Jobs, and the scheduler. One that is not here tells why a pod does not start.
const REASONS: &[(&str, Tells)] = &[
    // The pod is ended, and its container's words say why.
    ("BackOff", Result),
    ("Failed", Result),
    ("FailedSync", Result),
    ("FailedScheduling", Result),
    ("FailedKillPod", Result),
    ("InspectFailed", Start),
    ("ErrImageNeverPull", Start),
    ("FailedToRetrieveImagePullSecret", Result),
    // What the kubelet does to a container.
    ("Unhealthy", Restart),
    ("ProbeWarning", Nothing),
    ("FailedPostStartHook", Restart),
    ("FailedPreStopHook", Nothing),
    ("UnfinishedPreStopHook", Nothing),
    ("ExceededGracePeriod", Nothing),
    // Sandbox, network and devices.
    ("FailedCreatePodSandBox", Start),
    ("FailedPodSandBoxStatus", Start),
    ("NetworkNotReady", Start),
    ("FailedCreatePodContainer", Start),
    ("FailedPrepareDynamicResources", Start),
    ("UnexpectedAdmissionError", Start),
    ("HostPortConflict", Start),
    ("NodeSelectorMismatching", Start),
    ("InsufficientFreeCPU", Start),
    ("InsufficientFreeMemory", Start),
    ("OutOfcpu", Start),
    ("OutOfmemory", Start),
    ("Evicted", Start),
    ("Preempting", Start),
    ("NodeNotReady", Start),
    // Volumes and claims.
    ("FailedMount", Start),
    ("FailedAttachVolume", Start),
    ("FailedMapVolume", Start),
    ("FailedBinding", Start),
    ("ProvisioningFailed", Start),
    ("VolumeMismatch", Start),
    ("ClaimLost", Start),
    ("ClaimMisbound", Start),
    ("FailedDetachVolume", Nothing),
    ("FailedUnMount", Nothing),
    ("ProvisioningCleanupFailed", Nothing),
    ("VolumeFailedDelete", Nothing),
    ("VolumeResizeFailed", Nothing),
    ("FileSystemResizeFailed", Nothing),
    // Workloads.
    ("FailedCreate", Start),
    ("FailedDaemonPod", Start),
    ("FailedUpdate", Start),
    ("RecreatingFailedPod", Result),
    ("FailedDelete", Nothing),
    // Of the node, said of each pod.
    ("DNSConfigForming", Nothing),
    ("MissingClusterDNS", Nothing),
    ("InvalidDiskCapacity", Nothing),
    ("NilShaper", Nothing),
    ("PolicyViolation", Nothing),
];

fn tells(event: &Event) -> Tells {
    let known = REASONS.iter().find(|(reason, _)| *reason == event.reason);
    let tells = known.map_or(Start, |(_, tells)| *tells);
    // A readiness probe takes a pod out of its Service and ends no container.
    if tells == Restart && event.message.starts_with("Readiness") { Start } else { tells }
}

/// Reasons that only say that a pod is not there yet.
const NOT_THERE: &[&str] = &["NotReady", "ContainerCreating", "PodInitializing"];
/// Reasons that only say that a container ended.
const ENDED: &[&str] = &["CrashLoopBackOff", "Error"];
/// Exit codes of a process that was ended from outside: SIGKILL and SIGTERM.
const KILLED: &[i64] = &[137, 143];

impl Facts<'_> {
    /// Says more of a trouble where a node, a probe or a warning does.
    pub fn explain(&self, workload: &Workload, object: &ObjectRef, trouble: &mut Trouble) {
        if NOT_THERE.contains(&trouble.reason.as_str())
            && let Some(sign) = self.lost.of(object)
        {
            let Sign { pod, reason, said, .. } = sign;
            *trouble = Trouble { reason: reason.clone(), message: said.clone(), pod: Some(pod.clone()) };
            return;
        }
        let Some(pod) = trouble.pod.clone() else {
            return self.explain_without_pod(workload, object, trouble);
        };
        let reason = trouble.reason.as_str();
        let words =
            last_words(self.snapshot, &pod).filter(|_| ENDED.contains(&reason) || reason == "NotReady");
        let (event, unbound) = match reason {
            "Unschedulable" if trouble.message.contains("PersistentVolumeClaim") => {
                (self.claims(&pod).iter().find_map(|claim| self.warning(claim, Start)), true)
            }
            _ if NOT_THERE.contains(&reason) => (self.warning(&pod, Start), false),
            _ if ENDED.contains(&reason) && self.is_killed(&pod, words.is_some()) => {
                (self.warning(&pod, Restart), false)
            }
            _ => (None, false),
        };
        let words = words.map(|words| format!("last words: {words}"));
        match (event, words) {
            (Some(event), _) if unbound => {
                "UnboundClaim".clone_into(&mut trouble.reason);
                trouble.message = format!("{}: {}", event.about(), event.message);
            }
            (Some(event), words) => {
                let ended = ENDED.contains(&reason).then(|| trouble.message.clone());
                trouble.reason = event.reason.clone();
                let more = words.or(ended).map(|more| format!("; {more}")).unwrap_or_default();
                trouble.message = format!("{}{more}", event.message);
            }
            (None, Some(words)) => {
                // The kubelet only says that it waits; where the container left a message, that stands before its last words.
                let (container, said) = trouble.message.split_once(": ").unwrap_or(("", &trouble.message));
                let says_nothing = said.contains("back-off") || said.trim().is_empty();
                let said = if says_nothing { String::new() } else { format!("{said}; ") };
                trouble.message = format!("{container}: {said}{words}");
            }
            (None, None) => {}
        }
    }

    /// A StatefulSet or DaemonSet whose pods are not made has no condition that says so.
    fn explain_without_pod(&self, workload: &Workload, object: &ObjectRef, trouble: &mut Trouble) {
        let has_pods = workload.pods(&self.snapshot.pods).is_ok_and(|pods| !pods.is_empty());
        if trouble.reason == "NotReady"
            && !has_pods
            && let Some(event) = self.warning(object, Start)
        {
            (trouble.reason, trouble.message) = (event.reason.clone(), event.message.clone());
        }
    }

    /// The warning about an object that tells the most: of those the newest.
    fn warning(&self, of: &ObjectRef, least: Tells) -> Option<&Event> {
        let about =
            |event: &&Event| event.about() == *of && !event.message.is_empty() && tells(event) >= least;
        fresh_warnings(self.snapshot).filter(about).max_by_key(|event| event.last())
    }

    fn pod(&self, pod: &ObjectRef) -> Option<&Pod> {
        self.snapshot.pods.find(&pod.namespace, &pod.name).ok().flatten()
    }

    /// Whether a container of a pod was ended from outside, or ended without a word of its own.
    fn is_killed(&self, pod: &ObjectRef, has_words: bool) -> bool {
        let containers = self.pod(pod).into_iter().flat_map(|pod| &pod.status.container_statuses);
        let ends =
            containers.filter_map(|c| c.state.terminated.as_ref().or(c.last_state.terminated.as_ref()));
        let mut ends = ends.filter(|end| end.reason != "OOMKilled").peekable();
        let silent = |message: &str| !has_words && message.trim().is_empty();
        ends.peek().is_none() || ends.any(|end| KILLED.contains(&end.exit_code) || silent(&end.message))
    }

    /// The claims that a pod mounts.
    fn claims(&self, pod: &ObjectRef) -> Vec<ObjectRef> {
        let volumes = self.pod(pod).into_iter().flat_map(|pod| &pod.spec.volumes);
        let claims = volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref());
        claims
            .map(|claim| ObjectRef::new("PersistentVolumeClaim", &pod.namespace, &claim.claim_name))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fixture;

    /// The reason and the text that the trouble of a StatefulSet's only pod ends with.
    fn explained(status: Value, events: &[(&str, &str)]) -> (String, String) {
        let mut s = fixture::healthy();
        let nginx = fixture::deployment_mut(&mut s, "nginx");
        nginx.status.ready_replicas = 0;
        let nginx = nginx.clone();
        let object = nginx.metadata.object("Deployment");
        let labels = json!({"app": "nginx"});
        if !status.is_null() {
            let pod = json!({"metadata": {"name": "p", "namespace": "example-nginx", "labels": labels}, "status": status});
            s.pods.items.push(serde_json::from_value(pod).expect("a pod"));
        }
        if let Some(all) = &mut s.pods.namespaces {
            all.push("example-nginx".to_owned());
        }
        for (at, (reason, message)) in events.iter().enumerate() {
            let (kind, name) = if status.is_null() { ("Deployment", "nginx") } else { ("Pod", "p") };
            let event = json!({"metadata": {"name": format!("e{at}"), "namespace": "example-nginx"}, "reason": reason,
                "message": message, "lastTimestamp": format!("2026-11-02T09:59:{at:02}Z"),
                "involvedObject": {"kind": kind, "namespace": "example-nginx", "name": name}});
            s.warnings.items.push(serde_json::from_value(event).expect("an event"));
        }
        let facts = Facts::derive(&s);
        let mut trouble = nginx.trouble("Deployment", &s.pods).expect("trouble");
        facts.explain(&nginx, &object, &mut trouble);
        (trouble.reason, trouble.message)
    }

    fn waiting(reason: &str) -> Value {
        json!({"phase": "Pending", "containerStatuses": [{"name": "c", "state": {"waiting": {"reason": reason}}}]})
    }

    fn ended(code: i64, message: &str) -> Value {
        json!({"phase": "Running", "containerStatuses": [{"name": "c",
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
            "lastState": {"terminated": {"exitCode": code, "reason": "Error", "message": message}}}]})
    }

    #[test]
    fn reasons_are_sorted_out_once() {
        let mut names: Vec<&str> = REASONS.iter().map(|(reason, _)| *reason).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }

    #[test]
    fn what_a_warning_says_explains_what_the_status_does_not() {
        let running =
            || json!({"phase": "Running", "containerStatuses": [{"name": "c", "state": {"running": {}}}]});
        let create = || waiting("ContainerCreating");
        let multi = ("FailedAttachVolume", "Multi-Attach error for volume \"pvc-1\"");
        for (status, events, reason, said) in [
            (
                running(),
                &[("Unhealthy", "Readiness probe failed: connection refused")][..],
                "Unhealthy",
                "Readiness",
            ),
            (running(), &[("Unhealthy", "Startup probe failed: timeout")], "Unhealthy", "Startup"),
            (create(), &[multi], "FailedAttachVolume", "Multi-Attach"),
            (create(), &[("FailedMount", "MountVolume.SetUp failed")], "FailedMount", "SetUp"),
            (
                create(),
                &[("FailedCreatePodSandBox", "failed to assign an IP address")],
                "FailedCreatePodSandBox",
                "IP",
            ),
            (create(), &[("NetworkNotReady", "cni plugin not initialized")], "NetworkNotReady", "cni"),
            (create(), &[("SomethingNew", "of a plug-in")], "SomethingNew", "plug-in"),
            // The newer one follows from the other, or tells nothing.
            (create(), &[multi, ("FailedSync", "error syncing pod")], "FailedAttachVolume", "Multi-Attach"),
            (
                create(),
                &[multi, ("DNSConfigForming", "nameserver limits")],
                "FailedAttachVolume",
                "Multi-Attach",
            ),
            (create(), &[("DNSConfigForming", "nameserver limits")], "ContainerCreating", "container c"),
            (
                ended(137, ""),
                &[("Unhealthy", "Liveness probe failed: statuscode: 500")],
                "Unhealthy",
                "Liveness",
            ),
            (ended(143, "bye"), &[("Unhealthy", "Liveness probe failed: EOF")], "Unhealthy", "bye"),
            (ended(1, ""), &[("FailedPostStartHook", "exec failed")], "FailedPostStartHook", "exec failed"),
            (ended(137, ""), &[("Unhealthy", "Readiness probe failed: EOF")], "CrashLoopBackOff", "back-off"),
            (
                ended(1, "panic: no config"),
                &[("Unhealthy", "Liveness probe failed: EOF")],
                "CrashLoopBackOff",
                "panic",
            ),
            (ended(1, ""), &[("BackOff", "Back-off restarting")], "CrashLoopBackOff", "back-off"),
            (
                Value::Null,
                &[("FailedCreate", "create Pod db-0 failed: exceeded quota: q")],
                "FailedCreate",
                "exceeded quota",
            ),
            (Value::Null, &[], "NotReady", "0 of 2"),
        ] {
            let found = explained(status.clone(), events);
            assert!(found.0 == reason && found.1.contains(said), "{status} {events:?}: {found:?}");
        }
    }
}
