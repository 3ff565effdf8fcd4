//! Bodies of answers, within bounds that hold over all answers of a run together (docs/security.md).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use gitlab_agent_core::snapshot::{Why, WhyKind};
use http_body_util::BodyExt as _;
use kube::client::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::client::Limit;

/// An answer is not read beyond this, unpacked: the largest LIST measured, 20,000 HelmReleases, has 100 MB.
pub(super) const LARGEST: usize = 256 << 20;

/// Answers up to this size are read beside each other, larger ones one after the other: eight requests under way hold
/// `LARGEST + 8 * SMALL` at most.
const SMALL: usize = 8 << 20;

/// What is kept of all answers of one look, counted as [`Budget::keeps`] does. 20,000 HelmReleases, as measured, count 290 MB.
const MOST_KEPT: usize = 768 << 20;

/// What a field costs beside its text, about: `{},` takes 3 bytes in an answer and up to 200 in memory.
const FIELD: usize = 64;

/// What an object costs beside its fields, about: where something is wrong with each, the report takes up to 7 KiB for each.
const OBJECT: usize = 3 << 10;

/// The memory that answers may take.
#[derive(Clone, Debug)]
pub struct Budget {
    large: Arc<Semaphore>,
    kept: Arc<AtomicUsize>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { large: Arc::new(Semaphore::new(1)), kept: Arc::default() }
    }
}

/// The right to hold a large answer. Dropped with the answer.
#[derive(Debug, Default)]
pub(super) struct Place(Option<OwnedSemaphorePermit>);

impl Budget {
    /// What was kept before is gone: another look begins.
    pub(crate) fn begin(&self) {
        self.kept.store(0, Ordering::Relaxed);
    }

    /// Whether what is read of this text may be kept, beside a fixed size.
    pub(crate) fn keeps(&self, text: &str, size: usize) -> bool {
        let fields = text.bytes().filter(|byte| *byte == b',').count();
        let cost = text.len() + size + FIELD * fields + OBJECT;
        self.kept.fetch_add(cost, Ordering::Relaxed) + cost <= MOST_KEPT
    }
}

/// How much of a body is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) most: usize,
    /// What is beyond is left out; otherwise a larger body is an error.
    pub(super) cut: bool,
}

impl Extent {
    pub(super) const WHOLE: Self = Self { most: LARGEST, cut: false };
}

/// When the answer must be there; none is never.
pub(super) struct Clock {
    limit: Option<Limit>,
    until: Option<Instant>,
}

impl Clock {
    pub(super) fn start(limit: Option<Limit>) -> Self {
        Self { limit, until: limit.map(|limit| Instant::now() + limit.time) }
    }

    /// The result, or that the time is over.
    pub(super) async fn within<T>(&self, asked: &str, work: impl Future<Output = T>) -> Result<T, Why> {
        match (self.until, self.limit) {
            (Some(until), Some(limit)) => {
                tokio::time::timeout_at(until.into(), work).await.map_err(|_| limit.late(asked))
            }
            _ => Ok(work.await),
        }
    }

    /// Waiting that is not the server's fault.
    async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let done = work.await;
        self.until = self.until.map(|until| until + begun.elapsed());
        done
    }
}

/// Reads a body as it arrives.
pub(super) async fn read(
    mut body: Body,
    extent: Extent,
    budget: &Budget,
    clock: &mut Clock,
    asked: &str,
) -> Result<(Vec<u8>, Place), Why> {
    let unreadable = |text: String| Why::new(WhyKind::Unreadable, asked, text);
    let mut bytes = Vec::new();
    let mut place = Place::default();
    while let Some(frame) = clock.within(asked, body.frame()).await? {
        let frame = frame
            .map_err(|e| unreadable(format!("the answer broke off: {}", super::client::innermost(&e))))?;
        let Ok(data) = frame.into_data() else { continue };
        let room = extent.most - bytes.len();
        if data.len() > room {
            if extent.cut {
                bytes.extend_from_slice(&data[..room]);
                break;
            }
            return Err(unreadable(format!("the answer is larger than {} MiB", extent.most >> 20)));
        }
        if place.0.is_none() && bytes.len() + data.len() > SMALL {
            place.0 = clock.beside(budget.large.clone().acquire_owned()).await.ok();
        }
        bytes.extend_from_slice(&data);
    }
    Ok((bytes, place))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_kept_is_bounded_over_all_answers_and_begins_anew() {
        let budget = Budget::default();
        let kept = (0..2048).filter(|_| budget.keeps("{}", 1 << 20)).count();
        assert_eq!(kept, 765);
        assert!(!budget.keeps("{}", 0));
        budget.begin();
        assert!(budget.keeps("{}", 0));
    }

    /// The smallest objects that there can be, of ten lists of a million: about 1.5 GB of memory with their report.
    #[test]
    fn small_objects_count_with_what_is_reported_of_them() {
        let budget = Budget::default();
        let item = r#"{"metadata":{"name":"a","namespace":"b"}}"#;
        let kept = (0..1_000_000).filter(|_| budget.keeps(item, 1 << 10)).count();
        assert!((150_000..200_000).contains(&kept), "{kept}");
    }

    #[test]
    fn many_small_fields_count_more_than_their_text() {
        let budget = Budget::default();
        let item = format!("[{}]", "{},".repeat(1 << 14));
        let kept = (0..4096).filter(|_| budget.keeps(&item, 0)).count();
        assert!((650..768).contains(&kept), "{kept}: 48 KiB of text cost more than 1 MiB");
    }

    fn body_of(bytes: usize, extent: Extent) -> Result<usize, Why> {
        let body = Body::from(vec![b'x'; bytes]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut clock = Clock::start(None);
        let read = runtime.block_on(read(body, extent, &Budget::default(), &mut clock, "it"));
        read.map(|(bytes, _)| bytes.len())
    }

    #[tokio::test]
    async fn waiting_for_room_is_not_the_servers_fault() {
        let budget = Budget::default();
        let room = budget.large.clone().acquire_owned().await.expect("room");
        let another = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            drop(room);
        };
        let mut clock = Clock::start(Some(Limit::of_request(Duration::from_millis(200))));
        let large = Body::from(vec![b'x'; SMALL + 1]);
        let (read, ()) = tokio::join!(read(large, Extent::WHOLE, &budget, &mut clock, "it"), another);
        assert_eq!(read.map(|(bytes, _)| bytes.len()).ok(), Some(SMALL + 1));
    }

    #[test]
    fn a_body_ends_at_its_bound() {
        for (bytes, most, cut, read) in [
            (0, 10, false, Some(0)),
            (9, 10, false, Some(9)),
            (10, 10, false, Some(10)),
            (11, 10, false, None),
            (1 << 20, 10, false, None),
            (11, 10, true, Some(10)),
            (10, 10, true, Some(10)),
            (1 << 20, 10, true, Some(10)),
            (SMALL + 1, LARGEST, false, Some(SMALL + 1)),
            (SMALL + 1, SMALL, true, Some(SMALL)),
        ] {
            assert_eq!(body_of(bytes, Extent { most, cut }).ok(), read, "{bytes} of {most}, cut {cut}");
        }
    }
}
