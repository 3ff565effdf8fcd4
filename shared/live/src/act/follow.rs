//! Follows one object: read once, then watch; read again when the stream ends, whatever ended it.

use std::time::Duration;

use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::plan::answer::Live;
use gitlab_agent_core::snapshot::{Why, WhyKind};
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout};

use super::{collection, path};
use crate::access::{Watch, WriteClient};

/// How long an API server may be silent, for example while it is restarted, before that is the result.
const SILENCE: Duration = Duration::from_secs(60);
/// How long after a silence a refusal may only mean that the server has not read its roles yet.
const WAKING: Duration = Duration::from_secs(10);
/// A watch that says nothing for this long is opened again, in case the connection is dead.
const STALE: Duration = Duration::from_secs(30);
/// How often to look where watching is not permitted.
const POLL: Duration = Duration::from_millis(500);

/// An object, as it is now.
pub(super) enum Seen {
    /// It is there.
    There(Box<Live>),
    /// It is gone.
    Gone,
    /// The API server does not answer, and is asked again: told once per silence, with what came back.
    Silence(String),
}

/// One object that is followed.
pub(super) struct Follow<'a> {
    client: &'a WriteClient,
    object: &'a ObjectRef,
    version: String,
    watch: Option<Watch>,
    /// The version is not known to be present: read before watching.
    read_first: bool,
    may_not_watch: bool,
    silent_since: Option<Instant>,
    woke: Option<Instant>,
    pause: Duration,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize, Default)]
struct Version {
    metadata: VersionMeta,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct VersionMeta {
    resource_version: String,
}

/// The resource version in an object's text.
pub(super) fn version_of(body: &[u8]) -> String {
    serde_json::from_slice::<Version>(body).unwrap_or_default().metadata.resource_version
}

impl<'a> Follow<'a> {
    /// Follows from a version that was just read.
    pub(super) fn from(client: &'a WriteClient, object: &'a ObjectRef, version: String) -> Self {
        Self {
            client,
            object,
            read_first: version.is_empty(),
            version,
            watch: None,
            may_not_watch: false,
            silent_since: None,
            woke: None,
            pause: Duration::ZERO,
        }
    }

    /// The object was changed by us: what comes next is newer than this.
    pub(super) fn moved_on(&mut self, version: String) {
        self.version = version;
        self.watch = None;
    }

    /// Its next state. May be dropped and called again without losing anything.
    pub(super) async fn next(&mut self) -> Result<Seen, Why> {
        loop {
            if !self.pause.is_zero() {
                sleep(self.pause).await;
                self.pause = Duration::ZERO;
            }
            let step = if self.read_first {
                self.read().await
            } else if self.may_not_watch {
                self.pause = POLL;
                self.read_first = true;
                Ok(None)
            } else {
                self.watch().await
            };
            match step {
                Ok(Some(seen)) => return Ok(seen),
                Ok(None) => {}
                Err(why) => {
                    if let Some(silence) = self.survive(why)? {
                        return Ok(silence);
                    }
                }
            }
        }
    }

    async fn read(&mut self) -> Result<Option<Seen>, Why> {
        let asked = format!("get {}", self.object);
        let answer = self.client.read.get(&path(self.object), "application/json", &asked).await?;
        self.answered();
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(Some(Seen::Gone));
        }
        let live = answer.object(&asked, self.object)?;
        self.version = version_of(&answer.body);
        self.read_first = false;
        Ok(Some(Seen::There(Box::new(live))))
    }

    async fn watch(&mut self) -> Result<Option<Seen>, Why> {
        let asked = format!("watch {}", self.object);
        if self.watch.is_none() {
            let opened =
                self.client.watch(&collection(self.object), &self.object.name, &self.version, &asked).await;
            match opened {
                Ok(watch) => self.watch = Some(watch),
                Err(why) if why.kind == WhyKind::Forbidden && self.woke.is_none() => {
                    self.may_not_watch = true;
                    self.read_first = true;
                    return Ok(None);
                }
                Err(why) => {
                    self.read_first = true;
                    return Err(why);
                }
            }
            self.answered();
        }
        let Some(watch) = &mut self.watch else { return Ok(None) };
        let Ok(Some(line)) = timeout(STALE, watch.next()).await else {
            self.lost();
            return Ok(None);
        };
        let Ok(line) = serde_json::from_slice::<Line<'_>>(&line) else {
            self.lost();
            return Ok(None);
        };
        self.version = version_of(line.object.get().as_bytes());
        match line.kind {
            "ADDED" | "MODIFIED" => match serde_json::from_str::<Live>(line.object.get()) {
                Ok(live) if live.metadata.object(&self.object.kind) == *self.object => {
                    Ok(Some(Seen::There(Box::new(live))))
                }
                // Another object's: the stream is not the one that was asked for.
                Ok(_) => {
                    self.lost();
                    Ok(None)
                }
                Err(e) => Err(Why::new(WhyKind::Unreadable, asked, e.to_string())),
            },
            "DELETED" => Ok(Some(Seen::Gone)),
            "BOOKMARK" => Ok(None),
            // ERROR: most often 410, the version is too old.
            _ => {
                self.lost();
                Ok(None)
            }
        }
    }

    fn lost(&mut self) {
        self.watch = None;
        self.read_first = true;
        // A server that ends every stream at once must not be asked in a loop.
        self.pause = Duration::from_millis(50);
    }

    fn answered(&mut self) {
        if self.silent_since.take().is_some() {
            self.woke = Some(Instant::now());
        }
    }

    /// A silent server is asked again for a while; a server that says no is believed.
    fn survive(&mut self, why: Why) -> Result<Option<Seen>, Why> {
        self.watch = None;
        self.read_first = true;
        let silent = matches!(why.kind, WhyKind::Unreachable | WhyKind::TimedOut | WhyKind::Unreadable);
        let waking = self.silent_since.is_some() || self.woke.is_some_and(|at| at.elapsed() < WAKING);
        let refused = matches!(why.kind, WhyKind::Forbidden | WhyKind::SignIn);
        if !(silent || refused && waking) {
            return Err(why);
        }
        let first = self.silent_since.is_none().then(|| Seen::Silence(why.message.clone()));
        let since = *self.silent_since.get_or_insert_with(Instant::now);
        if since.elapsed() > SILENCE {
            return Err(why);
        }
        self.pause = Duration::from_millis(250);
        Ok(first)
    }
}
