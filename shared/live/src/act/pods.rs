//! Follows what a done hop deployed until its pods run, also where Flux itself does not wait for them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::plan::journal::Event;
use gitlab_agent_core::plan::pods::{Deployed, Pods, Rollout};
use gitlab_agent_core::snapshot::{Listing, Why, WhyKind};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use super::{QUIET, Run};
use crate::access::segment;

/// How often is looked.
const LOOK: Duration = Duration::from_millis(250);
/// Workloads of one kind in one namespace beyond this many are listed whole, fewer by name.
const BY_NAME: usize = 1;

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

/// Names by kind and namespace: what one LIST answers.
type Places = BTreeMap<(String, String), BTreeSet<String>>;

impl Run<'_> {
    /// What becomes of the pods of a hop that is done; `None` where it deployed none.
    pub(super) async fn pods(&self, hop: usize, begun: Instant) -> Option<Pods> {
        let workloads = self.deployed.borrow_mut()[hop].drain(..).collect::<Vec<_>>();
        let mut places = Places::new();
        for w in workloads {
            places.entry((w.kind, w.namespace)).or_default().insert(w.name);
        }
        if places.is_empty() {
            return None;
        }
        let pods = self.until_they_run(hop, &places, begun).await;
        (self.tell)(Event::Deployed { hop, pods: pods.clone() });
        Some(pods)
    }

    async fn until_they_run(&self, hop: usize, places: &Places, begun: Instant) -> Pods {
        let mut shown = String::new();
        let mut changed = Instant::now();
        loop {
            let text = match self.first_that_does_not(places).await {
                Ok(None) => return Pods::Running { after: begun.elapsed() },
                Ok(Some((object, deployed, far))) => {
                    if changed.elapsed() > QUIET
                        && let Some(broken) = self.stopped(&object, &deployed).await
                    {
                        return Pods::Broken(broken);
                    }
                    format!("{object}: {far}")
                }
                Err(why) if matches!(why.kind, WhyKind::Unreachable | WhyKind::TimedOut) => {
                    format!("the API server did not answer ({})", why.message)
                }
                Err(why) => return Pods::Unknown(why.message),
            };
            if text != shown {
                changed = Instant::now();
                shown.clone_from(&text);
                (self.tell)(Event::Deploying { hop, text: text.clone() });
            }
            if self.options.deadline.is_some_and(|deadline| Instant::now() + LOOK >= deadline) {
                return Pods::Late(text);
            }
            sleep(LOOK).await;
        }
    }

    /// The first workload that is not rolled out, and how far it is.
    async fn first_that_does_not(
        &self,
        places: &Places,
    ) -> Result<Option<(ObjectRef, Deployed, String)>, Why> {
        let listed = join_all(places.iter().map(|(place, names)| self.deployed_in(place, names))).await;
        for (((kind, namespace), names), listed) in places.iter().zip(listed) {
            let listed = listed?;
            for name in names {
                let object = ObjectRef::new(kind, namespace, name);
                let Some(deployed) = listed.iter().find(|d| d.workload.metadata.name == *name) else {
                    return Ok(Some((object, Deployed::default(), "it does not exist any more".to_owned())));
                };
                if let Rollout::Going(far) = deployed.rollout(kind) {
                    return Ok(Some((object, deployed.clone(), far)));
                }
            }
        }
        Ok(None)
    }

    async fn deployed_in(
        &self,
        (kind, namespace): &(String, String),
        names: &BTreeSet<String>,
    ) -> Result<Vec<Deployed>, Why> {
        let plural = format!("{}s", kind.to_lowercase());
        let one = names.iter().next().filter(|_| names.len() <= BY_NAME);
        let only = one.map(|n| format!("?fieldSelector=metadata.name%3D{}", segment(n))).unwrap_or_default();
        let path = format!("/apis/apps/v1/namespaces/{}/{plural}{only}", segment(namespace));
        let asked = format!("list {plural}.apps in namespace {namespace}");
        let answer = self.client.read.get(&path, "application/json", &asked).await?;
        let unreadable = |e: serde_json::Error| Why::new(WhyKind::Unreadable, &asked, e.to_string());
        let list: List<'_> = answer.list(&asked, "apps/v1", kind)?;
        list.items.into_iter().flatten().map(|raw| Deployed::read(raw.get()).map_err(unreadable)).collect()
    }

    /// Why a workload that has not moved for a while will not, as far as its pods tell.
    async fn stopped(&self, object: &ObjectRef, deployed: &Deployed) -> Option<String> {
        #[derive(Deserialize)]
        struct Items {
            items: Vec<gitlab_agent_core::snapshot::kinds::Pod>,
        }
        let path = format!("/api/v1/namespaces/{}/pods", segment(&object.namespace));
        let asked = format!("list pods in namespace {}", object.namespace);
        let answer = self.client.read.get(&path, "application/json", &asked).await;
        // Without the pods the conditions may still tell.
        let items = answer.ok().and_then(|a| a.list::<Items>(&asked, "v1", "Pod").ok());
        let pods = Listing { items: items.map(|i| i.items).unwrap_or_default(), ..Listing::default() };
        let trouble = deployed.stopped(&object.kind, &pods)?;
        let place = trouble.pod.map(|pod| format!(", {pod}")).unwrap_or_default();
        Some(self.client.mask(&format!("{object}{place}: {} ({})", trouble.reason, trouble.message)))
    }
}
