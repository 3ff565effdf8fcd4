//! Whether the pods run that a Kustomization or HelmRelease deployed: the end of the way from a push to a pod, also where
//! Flux does not wait for it (`wait: false`).
//!
//! What counts as rolled out is what `kubectl rollout status` counts
//! (<https://github.com/kubernetes/kubectl/blob/v0.36.3/pkg/polymorphichelpers/rollout_status.go>).

use std::time::Duration;

use serde::Deserialize;

use super::answer::Live;
use crate::facts::workload::Trouble;
use crate::object::ObjectRef;
use crate::snapshot::Listing;
use crate::snapshot::kinds::{InventoryEntry, Pod, Workload};

/// What became of the pods of one hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pods {
    /// They run.
    Running {
        /// From our request to when they were seen to.
        after: Duration,
    },
    /// They do not, and will not by themselves.
    Broken(String),
    /// They did not yet when the time was over.
    Late(String),
    /// It cannot be known; why.
    Unknown(String),
}

/// The Deployments, StatefulSets and DaemonSets of this cluster that an object says it deployed.
pub fn workloads(live: &Live) -> Vec<ObjectRef> {
    if live.spec.kube_config.is_some() {
        return Vec::new();
    }
    live.status.inventory.entries.iter().filter_map(InventoryEntry::workload).collect()
}

/// A workload, with the counters that its kinds differ in.
#[derive(Clone, Debug, Default)]
pub struct Deployed {
    /// What is read of every workload.
    pub workload: Workload,
    counters: Counters,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Counted {
    spec: Wanted,
    status: Counters,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Wanted {
    update_strategy: Strategy,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Strategy {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Counters {
    updated_number_scheduled: i64,
    number_available: i64,
    #[serde(skip)]
    on_delete: bool,
}

/// How a workload stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rollout {
    /// All its pods are of the present spec and available.
    Done,
    /// Not yet; how far, in words.
    Going(String),
}

impl Deployed {
    /// Reads one object.
    ///
    /// # Errors
    /// Text that is none.
    pub fn read(text: &str) -> serde_json::Result<Self> {
        let Counted { spec, mut status } = serde_json::from_str(text)?;
        status.on_delete = spec.update_strategy.kind == "OnDelete";
        Ok(Self { workload: serde_json::from_str(text)?, counters: status })
    }

    /// How far it is.
    pub fn rollout(&self, kind: &str) -> Rollout {
        let (w, s) = (&self.workload, &self.workload.status);
        if s.observed_generation < w.metadata.generation {
            return Rollout::Going("Kubernetes has not yet acted on its present spec".to_owned());
        }
        let (wanted, updated, available) = match kind {
            "DaemonSet" => {
                let c = &self.counters;
                (s.desired_number_scheduled, c.updated_number_scheduled, c.number_available)
            }
            _ => (w.spec.replicas.unwrap_or(1), s.updated_replicas, s.available_replicas),
        };
        // Its pods change when somebody deletes them, which is no part of a push.
        let updated = if self.counters.on_delete { wanted } else { updated };
        if updated < wanted {
            Rollout::Going(format!("{updated} of {wanted} pods are of its present spec"))
        } else if kind == "Deployment" && s.replicas > updated {
            Rollout::Going(format!("{} pods of its former spec still run", s.replicas - updated))
        } else if available < wanted {
            Rollout::Going(format!("{available} of {wanted} pods are available"))
        } else {
            Rollout::Done
        }
    }

    /// Why it will not get there by itself, from its conditions and its newest pod; older ones may be those that this
    /// push is to replace.
    pub fn stopped(&self, kind: &str, pods: &Listing<Pod>) -> Option<Trouble> {
        let newest = self.workload.pods(pods).ok().and_then(|own| own.first().map(|p| (*p).clone()));
        let only = Listing { items: newest.into_iter().collect(), ..Listing::default() };
        self.workload.trouble(kind, &only).filter(|t| STUCK.contains(&t.reason.as_str()))
    }
}

/// Reasons of Kubernetes that mean that somebody has to do something. `ErrImagePull` and `Error` come before and may
/// pass; a pod that finds no node may still get one.
const STUCK: &[&str] = &[
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "FailedCreate",
    "ImagePullBackOff",
    "InvalidImageName",
    "OOMKilled",
    "PodSecurity",
    "ProgressDeadlineExceeded",
    "QuotaExceeded",
    "RunContainerError",
];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn deployed(spec: Value, status: Value) -> Deployed {
        let text = json!({"metadata": {"name": "web", "namespace": "shop", "generation": 2}, "spec": spec, "status": status});
        Deployed::read(&text.to_string()).expect("a workload")
    }

    fn going(kind: &str, spec: Value, status: Value) -> String {
        match deployed(spec, status).rollout(kind) {
            Rollout::Done => "done".to_owned(),
            Rollout::Going(text) => text,
        }
    }

    #[test]
    fn a_rollout_is_done_as_kubectl_says_it_is() {
        let of = |status: Value| going("Deployment", json!({"replicas": 2}), status);
        let done =
            json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2});
        let with = |key: &str, value: i64| {
            let mut status = done.clone();
            status[key] = json!(value);
            status
        };
        assert_eq!(of(done.clone()), "done");
        assert!(of(with("observedGeneration", 1)).contains("not yet acted"));
        assert_eq!(of(with("updatedReplicas", 1)), "1 of 2 pods are of its present spec");
        assert_eq!(of(with("replicas", 3)), "1 pods of its former spec still run");
        assert_eq!(of(with("availableReplicas", 0)), "0 of 2 pods are available");
        assert_eq!(going("Deployment", json!({"replicas": 0}), json!({"observedGeneration": 2})), "done");
        let daemons = |updated: i64, available: i64| {
            json!({"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": updated,
                "numberAvailable": available})
        };
        assert_eq!(going("DaemonSet", json!({}), daemons(3, 3)), "done");
        assert_eq!(going("DaemonSet", json!({}), daemons(1, 3)), "1 of 3 pods are of its present spec");
        let by_hand = json!({"updateStrategy": {"type": "OnDelete"}});
        assert_eq!(going("DaemonSet", by_hand, daemons(0, 3)), "done");
    }

    #[test]
    fn what_cannot_get_there_is_told_from_the_newest_pod_alone() {
        let selector = json!({"selector": {"matchLabels": {"app": "web"}}, "replicas": 1});
        let status =
            json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 1});
        let web = deployed(selector, status);
        let pod = |made: &str, reason: &str| -> Pod {
            let pod = json!({"metadata": {"name": "p", "namespace": "shop", "labels": {"app": "web"},
                "creationTimestamp": made},
                "status": {"containerStatuses": [{"name": "c", "state": {"waiting": {"reason": reason}}}]}});
            serde_json::from_value(pod).expect("a pod")
        };
        let (old, new) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        let stopped = |old_reason: &str, new_reason: &str| {
            let items = vec![pod(old, old_reason), pod(new, new_reason)];
            web.stopped("Deployment", &Listing { items, ..Listing::default() }).map(|t| t.reason)
        };
        assert_eq!(stopped("CrashLoopBackOff", "ImagePullBackOff").as_deref(), Some("ImagePullBackOff"));
        assert_eq!(stopped("CrashLoopBackOff", "ContainerCreating"), None);
    }

    #[test]
    fn what_is_applied_elsewhere_has_no_pods_here() {
        let mut object = json!({"status": {"inventory": {"entries": [
            {"id": "shop_web_apps_Deployment", "v": "v1"}, {"id": "shop_web__Service", "v": "v1"}]}}});
        let of = |object: &Value| workloads(&serde_json::from_value(object.clone()).expect("an object"));
        assert_eq!(of(&object), [ObjectRef::new("Deployment", "shop", "web")]);
        object["spec"] = json!({"kubeConfig": {"secretRef": {"name": "other"}}});
        assert_eq!(of(&object), []);
    }
}
