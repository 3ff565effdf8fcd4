//! Why a workload does not run, where its own status does not say: by the newest warnings about its pod and about the claims
//! that the pod waits for.

use super::crash::last_words;
use super::reference::fresh_warnings;
use super::workload::Trouble;
use super::{Event, Facts};
use crate::object::ObjectRef;

/// Reasons that only say that a pod is not there yet.
const TELL_NOTHING: &[&str] = &["NotReady", "ContainerCreating", "PodInitializing"];

/// Reasons of containers that ended by themselves.
const ENDED: &[&str] = &["CrashLoopBackOff", "Error", "NotReady"];

impl Facts<'_> {
    /// Says more of a trouble where a warning does.
    pub fn explain(&self, trouble: &mut Trouble) {
        let Some(pod) = &trouble.pod else { return };
        if let Some(words) =
            last_words(self.snapshot, pod).filter(|_| ENDED.contains(&trouble.reason.as_str()))
        {
            // The kubelet only says that it waits; where the container left a message, that stands before its last words.
            let (container, said) = trouble.message.split_once(": ").unwrap_or(("", &trouble.message));
            let said = if said.contains("back-off") || said.trim().is_empty() {
                String::new()
            } else {
                format!("{said}; ")
            };
            trouble.message = format!("{container}: {said}last words: {words}");
            return;
        }
        let unbound = trouble.reason == "Unschedulable" && trouble.message.contains("PersistentVolumeClaim");
        let found = if unbound {
            self.claims(pod).iter().find_map(|claim| self.warning(claim))
        } else if TELL_NOTHING.contains(&trouble.reason.as_str()) {
            self.warning(pod)
        } else if trouble.reason == "CrashLoopBackOff" && trouble.message.contains("back-off ") {
            // The kubelet itself ended it: the container says nothing.
            self.warning(pod)
                .filter(|event| event.reason == "Unhealthy" && event.message.starts_with("Liveness"))
        } else {
            None
        };
        if let Some(event) = found {
            let about = event.about();
            let of = if about == *pod { String::new() } else { format!("{about}: ") };
            trouble.message = format!("{of}{}", event.message);
            trouble.reason = if unbound { "UnboundClaim".to_owned() } else { event.reason.clone() };
        }
    }

    /// The newest warning about an object.
    fn warning(&self, of: &ObjectRef) -> Option<&Event> {
        let about = |event: &&Event| event.about() == *of && !event.message.is_empty();
        fresh_warnings(self.snapshot).filter(about).max_by_key(|event| event.last())
    }

    /// The claims that a pod mounts.
    fn claims(&self, pod: &ObjectRef) -> Vec<ObjectRef> {
        let found = self.snapshot.pods.find(&pod.namespace, &pod.name).ok().flatten();
        let volumes = found.into_iter().flat_map(|pod| &pod.spec.volumes);
        let claims = volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref());
        claims
            .map(|claim| ObjectRef::new("PersistentVolumeClaim", &pod.namespace, &claim.claim_name))
            .collect()
    }
}
