//! Runs a plan: asks each hop when what comes before it is done, follows it, and says what happens as it happens.
//!
//! What is left behind at any moment is an annotation on objects that were asked, and nothing else: Flux itself does
//! the work, whether or not somebody watches.

mod follow;
mod hop;
mod permit;
mod pods;
mod reach;
mod webhook;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use futures_util::future::join_all;
use gitlab_agent_core::facts::flux::KINDS;
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::plan::Plan;
use gitlab_agent_core::plan::journal::{End, Event, Journal, State, not_asked};
use gitlab_agent_core::snapshot::Why;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::access::{Access, WriteClient, segment};

pub use permit::denied;
pub use webhook::Webhook;

/// How to run a plan.
#[derive(Clone, Debug)]
pub struct Options {
    /// The value of the request's annotation: one for the whole run.
    pub token: String,
    /// Upgrade HelmReleases once in any case.
    pub force: bool,
    /// Clear the count of failures of HelmReleases.
    pub reset: bool,
    /// Resume what is suspended.
    pub resume: bool,
    /// The revision that the sources must hold.
    pub at: Option<String>,
    /// Why, for an Event on each object that was named.
    pub reason: Option<String>,
    /// Ask sources by the way of a push event.
    pub webhook: Option<Webhook>,
    /// Hops under way at once.
    pub concurrency: usize,
    /// When to give up.
    pub deadline: Option<Instant>,
    /// Namespace of the Flux controllers.
    pub flux_namespace: String,
    /// How to connect to what is not the API server.
    pub access: Access,
}

/// Tells what happens.
pub type Tell<'a> = &'a dyn Fn(Event);

/// One run.
struct Run<'a> {
    client: &'a WriteClient,
    plan: &'a Plan,
    options: &'a Options,
    tell: Tell<'a>,
    ends: Vec<watch::Sender<Option<End>>>,
    places: Semaphore,
    /// When the first request was made.
    started: RefCell<Option<Instant>>,
    /// How many failures were looked into.
    explained: Cell<usize>,
    /// What each hop deployed, once it is done.
    deployed: RefCell<Vec<Vec<ObjectRef>>>,
}

/// Runs the plan to its end.
pub async fn run(client: &WriteClient, plan: &Plan, options: &Options, tell: Tell<'_>) -> Journal {
    let run = Run {
        client,
        plan,
        options,
        tell,
        ends: plan.hops.iter().map(|_| watch::channel(None).0).collect(),
        places: Semaphore::new(options.concurrency.max(1)),
        started: RefCell::new(None),
        explained: Cell::new(0),
        deployed: RefCell::new(vec![Vec::new(); plan.hops.len()]),
    };
    let ends = join_all((0..plan.hops.len()).map(|hop| run.one(hop))).await;
    let took = run.started.borrow().map(|at| at.elapsed()).unwrap_or_default();
    Journal { ends, took }
}

impl Run<'_> {
    /// One hop, from waiting for its turn to its end, and to the pods that it deployed. What comes behind it does not
    /// wait for those: Flux does not either, unless it is told to, and then they are part of its answer.
    async fn one(&self, hop: usize) -> End {
        let mut end = self.in_turn(hop).await;
        end.said = self.client.mask(&end.said);
        (self.tell)(Event::Ended { hop, end: end.clone() });
        self.ends[hop].send_replace(Some(end.clone()));
        let begun = Instant::now().checked_sub(end.took).unwrap_or_else(Instant::now);
        if end.state == State::Done {
            end.pods = self.pods(hop, begun).await;
        }
        end
    }

    async fn in_turn(&self, hop: usize) -> End {
        for before in &self.plan.hops[hop].after {
            if self.end_of(*before).await.state != State::Done {
                return not_asked(&self.plan.hops[*before]);
            }
        }
        // Never closed.
        let _place = self.places.acquire().await;
        let begun = Instant::now();
        self.started.borrow_mut().get_or_insert(begun);
        let mut end = match self.options.deadline {
            None => self.drive(hop).await,
            Some(deadline) if begun >= deadline => {
                End::new(State::NotAsked, "not asked: the time was over (--timeout)")
            }
            Some(deadline) => tokio::time::timeout_at(deadline, self.drive(hop)).await.unwrap_or_else(|_| {
                let hint = "Flux goes on by itself; ask again, or give --timeout more";
                End::new(State::TimedOut, "it did not get done in time (--timeout)").hint(hint)
            }),
        };
        end.took = begun.elapsed();
        end
    }

    async fn end_of(&self, hop: usize) -> End {
        let mut end = self.ends[hop].subscribe();
        loop {
            if let Some(end) = end.borrow_and_update().clone() {
                return end;
            }
            if end.changed().await.is_err() {
                return End::new(State::NotAsked, "the run was given up");
            }
        }
    }

    fn note(&self, hop: Option<usize>, text: impl Into<String>) {
        (self.tell)(Event::Note { hop, text: text.into() });
    }
}

/// The path of the collection that an object is in.
fn collection(object: &ObjectRef) -> String {
    let kind = KINDS.iter().find(|(kind, ..)| *kind == object.kind);
    let (group, version, plural) =
        kind.map_or(("", "v1", ""), |(_, plural, group, version)| (group, version, plural));
    format!("/apis/{group}/{version}/namespaces/{}/{plural}", segment(&object.namespace))
}

/// The path of an object.
pub(crate) fn path(object: &ObjectRef) -> String {
    format!("{}/{}", collection(object), segment(&object.name))
}

/// What came back, in one line.
fn said(why: &Why) -> String {
    format!("{}: {}", why.asked, why.message)
}

/// How long nothing may happen to an object before its controller is looked at.
const QUIET: Duration = Duration::from_secs(3);
