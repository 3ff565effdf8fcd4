//! Asks a Flux object to reconcile now, and waits for its answer to this one request.

use std::time::Duration;

use gitlab_agent_core::facts::flux::KINDS;
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::plan::answer::{Answer, Live, REQUESTED_AT, answer};
use gitlab_agent_core::snapshot::Why;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Run, pods};
use crate::access::WriteClient;
use crate::act::path;

/// How often is looked.
const PAUSE: Duration = Duration::from_millis(500);

/// What came of a request.
pub(super) enum Asked {
    /// It was done: the object is well.
    Done,
    /// It was tried, and failed.
    Failed {
        /// What the controller says.
        why: String,
        /// All was applied; what it made is not healthy.
        applied: bool,
    },
    /// It cannot be told; why.
    Open(String),
}

impl Run<'_> {
    /// Asks one object to reconcile and waits until it did, as long as the proof may take.
    pub(super) async fn ask(&self, object: &ObjectRef) -> Asked {
        let token = format!("{:.9}", jiff::Timestamp::now());
        let patch = json!({"metadata": {"annotations": {REQUESTED_AT: token}}});
        let words = |why: Why| format!("{}: {}", why.asked, why.message);
        if let Err(why) = self.client.patch(&path(object), &patch, &format!("patch {object}")).await {
            return Asked::Open(words(why));
        }
        let begun = Instant::now();
        let mut last = "its controller has not answered".to_owned();
        while begun.elapsed() < self.options.verify_timeout && !self.must_end() {
            let live = pods::get::<Live>(self.client, &path(object), object).await;
            match live {
                Ok(Some(live)) => match answer(&object.kind, &live, &token) {
                    Answer::Done(_) => return Asked::Done,
                    Answer::Failed(fault) => {
                        let applied = fault.reason == "HealthCheckFailed";
                        return Asked::Failed { why: self.client.mask(&fault.message), applied };
                    }
                    Answer::Suspended => {
                        return Asked::Open(
                            "it is suspended; what it does when it is resumed is not known".to_owned(),
                        );
                    }
                    Answer::Deleted => return Asked::Open("it is being deleted".to_owned()),
                    Answer::Overwritten => {
                        return Asked::Open("somebody else's request took the place of this one".to_owned());
                    }
                    Answer::Working(text) | Answer::Waiting(_, text) if !text.is_empty() => {
                        last = self.client.mask(&text);
                    }
                    Answer::Working(_) | Answer::Waiting(..) => {}
                },
                Ok(None) => return Asked::Open("it is not there any more".to_owned()),
                Err(why) => last = words(why),
            }
            tokio::time::sleep(PAUSE).await;
        }
        Asked::Open(format!("it did not reconcile in time ({last})"))
    }
}

/// What an Event names: kind, API version, name and uid; `None` where the object cannot be read.
pub(super) async fn reference(client: &WriteClient, object: &ObjectRef) -> Option<Value> {
    #[derive(Deserialize)]
    struct Any {
        #[serde(default)]
        metadata: pods::Meta,
    }
    let known = KINDS.iter().find(|(kind, ..)| *kind == object.kind);
    let (path, version) = match known {
        Some((_, _, group, version)) => (path(object), format!("{group}/{version}")),
        None => (pods::path(object), "apps/v1".to_owned()),
    };
    let any = pods::get::<Any>(client, &path, object).await.ok()??;
    Some(json!({"apiVersion": version, "kind": object.kind, "name": object.name, "uid": any.metadata.uid}))
}
