//! The lock: a Lease beside the Secret, so that one process at a time works on it.
//!
//! It is taken over only when its holder did not renew it for its whole duration while we watched: clocks of two
//! machines are not compared. Whoever holds it does nothing when its own last renewal is too long ago.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::snapshot::Why;
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::secret::{Change, changed};
use crate::access::{Answer, WriteClient, segment};

/// For how long the lock is held after the last renewal.
const DURATION: Duration = Duration::from_secs(30);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(5);
/// Nothing is begun that may take longer than what is left: a request takes at most half of it.
pub(super) const SAFE: Duration = Duration::from_secs(15);

/// The Lease of one Secret.
pub(super) struct Lock<'a> {
    client: &'a WriteClient,
    namespace: String,
    pub(super) name: String,
    holder: String,
    version: RefCell<Option<String>>,
    renewed: Cell<Option<Instant>>,
}

/// Why the lock could not be had.
pub(super) enum NoLock {
    /// Somebody holds it; who.
    Held(String),
    /// It cannot be asked for.
    Trouble(Why),
    /// You may not.
    Refused(String),
}

#[derive(Deserialize)]
struct Lease {
    metadata: Version,
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    resource_version: String,
}

#[derive(Deserialize, Default, PartialEq, Clone)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    holder_identity: Option<String>,
    renew_time: Option<String>,
}

impl<'a> Lock<'a> {
    pub(super) fn new(client: &'a WriteClient, namespace: &str, secret: &str, holder: String) -> Self {
        let kept: String = secret.chars().take(230).collect();
        Self {
            client,
            namespace: namespace.to_owned(),
            name: format!("{kept}-rotation"),
            holder,
            version: RefCell::default(),
            renewed: Cell::default(),
        }
    }

    fn collection(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", segment(&self.namespace))
    }

    fn path(&self) -> String {
        format!("{}/{}", self.collection(), segment(&self.name))
    }

    fn object(&self) -> ObjectRef {
        ObjectRef::new("Lease", &self.namespace, &self.name)
    }

    fn asked(&self, verb: &str) -> String {
        format!("{verb} lease {}/{}", self.namespace, self.name)
    }

    fn body(&self, version: Option<&str>) -> serde_json::Value {
        let now = format!("{:.6}", Timestamp::now());
        let mut metadata = json!({"name": self.name, "namespace": self.namespace});
        if let Some(version) = version {
            metadata["resourceVersion"] = version.into();
        }
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata,
            "spec": {"holderIdentity": self.holder, "leaseDurationSeconds": DURATION.as_secs(),
                "acquireTime": now, "renewTime": now}})
    }

    /// Whether it is held for long enough to begin something.
    pub(super) fn is_held(&self) -> bool {
        self.renewed.get().is_some_and(|at| at.elapsed() + SAFE < DURATION)
    }

    /// What making the Lease would bring.
    pub(super) async fn try_take(&self) -> Change {
        let asked = self.asked("create");
        let answer = self.client.try_create(&self.collection(), &self.body(None), &asked).await;
        changed(answer, &asked, &self.object())
    }

    /// Takes the lock. `patience` is how long to watch somebody else hold it; `wait` is told who. Without patience it is left to
    /// whoever lives, which shows when it is renewed or given back, and taken from who does not.
    pub(super) async fn take(&self, patience: Option<Duration>, wait: &dyn Fn(&str)) -> Result<(), NoLock> {
        let begun = Instant::now();
        let mut watched: Option<(Spec, Instant)> = None;
        loop {
            let Some(lease) = self.read().await.map_err(NoLock::Trouble)? else {
                if let Some((spec, _)) = watched.as_ref().filter(|_| patience.is_none()) {
                    return Err(NoLock::Held(spec.holder_identity.clone().unwrap_or_default()));
                }
                if self.create().await? {
                    return Ok(());
                }
                continue;
            };
            let holder = lease.spec.holder_identity.clone().unwrap_or_default();
            let free = holder.is_empty() || holder == self.holder;
            let expired = watched
                .as_ref()
                .is_some_and(|(spec, since)| *spec == lease.spec && since.elapsed() > DURATION);
            let left = watched.as_ref().filter(|_| patience.is_none() && !expired);
            if let (true, Some((spec, _))) = (free, left) {
                return Err(NoLock::Held(spec.holder_identity.clone().unwrap_or_default()));
            }
            if free || expired {
                if self.replace(&lease.metadata.resource_version).await? {
                    return Ok(());
                }
                continue;
            }
            if watched.as_ref().is_none_or(|(spec, _)| *spec != lease.spec) {
                if watched.is_some() && patience.is_none() {
                    return Err(NoLock::Held(holder));
                }
                if watched.is_none() {
                    wait(&holder);
                }
                watched = Some((lease.spec, Instant::now()));
            }
            if patience.is_some_and(|patience| begun.elapsed() >= patience) {
                return Err(NoLock::Held(holder));
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Renews the lock for ever. When that fails for too long, [`Lock::is_held`] says no.
    pub(super) async fn keep(&self) {
        loop {
            tokio::time::sleep(RENEW).await;
            let version = self.version.borrow().clone();
            let Some(version) = version else { continue };
            if self.replace(&version).await.is_ok_and(|done| done) {
                continue;
            }
            // A lost answer may have renewed it; then its version is another, and the holder still we.
            if let Ok(Some(lease)) = self.read().await
                && lease.spec.holder_identity.as_deref() == Some(&self.holder)
            {
                self.version.replace(Some(lease.metadata.resource_version));
            } else {
                self.version.replace(None);
            }
        }
    }

    /// Lets go of it where it was taken by a request that nobody waited for. Never for long: whoever comes next waits out what
    /// stays.
    pub(super) async fn abandon(&self) {
        let ours = async {
            if let Ok(Some(lease)) = self.read().await
                && lease.spec.holder_identity.as_deref() == Some(&self.holder)
            {
                let _ = self.client.delete(&self.path(), &self.asked("delete")).await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(3), ours).await;
    }

    /// Lets go of it.
    pub(super) async fn release(&self) {
        if self.version.replace(None).is_some() && self.renewed.take().is_some() {
            // Whoever comes next waits it out where this fails.
            if let Ok(Some(lease)) = self.read().await
                && lease.spec.holder_identity.as_deref() == Some(&self.holder)
            {
                let _ = self.client.delete(&self.path(), &self.asked("delete")).await;
            }
        }
    }

    async fn read(&self) -> Result<Option<Lease>, Why> {
        let asked = self.asked("get");
        let answer = self.client.read.get(&self.path(), "application/json", &asked).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer.object(&asked, &self.object()).map(Some)
    }

    async fn create(&self) -> Result<bool, NoLock> {
        let (at, asked) = (Instant::now(), self.asked("create"));
        let answer = self.client.create(&self.collection(), &self.body(None), &asked).await;
        self.taken(at, answer, &asked)
    }

    async fn replace(&self, version: &str) -> Result<bool, NoLock> {
        let (at, asked) = (Instant::now(), self.asked("patch"));
        let answer = self.client.patch(&self.path(), &self.body(Some(version)), &asked).await;
        self.taken(at, answer, &asked)
    }

    /// The time that counts is when it was asked for, not when the answer came; and it is taken only where the answer is this
    /// Lease with this holder.
    fn taken(&self, at: Instant, answer: Result<Answer, Why>, asked: &str) -> Result<bool, NoLock> {
        let lease = answer.as_ref().ok().filter(|answer| answer.status.is_success());
        let lease = lease.and_then(|answer| answer.object::<Lease>(asked, &self.object()).ok());
        let ours = lease.filter(|lease| lease.spec.holder_identity.as_deref() == Some(&self.holder));
        match (changed(answer, asked, &self.object()), ours) {
            (Change::Made, Some(lease)) => {
                self.version.replace(Some(lease.metadata.resource_version));
                self.renewed.set(Some(at));
                Ok(true)
            }
            (Change::Made | Change::Conflict, _) => Ok(false),
            (Change::Refused(why), _) => Err(NoLock::Refused(why)),
            (Change::Unknown(why), _) => Err(NoLock::Trouble(why)),
        }
    }
}
