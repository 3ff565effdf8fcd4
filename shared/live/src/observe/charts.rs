//! The index of agentk's chart repository: source-controller fetched it already, so it is read from there, through the
//! API server's service proxy. No host that only the cluster names is called.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::need::Need;
use gitlab_agent_core::snapshot::{ChartIndex, Observed, Snapshot, Trial, Why, WhyKind, charts};
use http::StatusCode;

use super::{Observer, permission};
use crate::access::{Answer, segment};

/// An index larger than this is not read: that of charts.gitlab.io, with every chart of GitLab, has a few megabytes.
const LARGEST: usize = 32 << 20;

/// Repositories whose index is read; one is usual.
const REPOSITORIES: usize = 4;

/// How long source-controller may take. It answers from its disk in milliseconds; where a NetworkPolicy keeps the API
/// server out nothing answers at all, and the run does not wait for the API server to notice.
const PATIENCE: Duration = Duration::from_secs(2);

/// A HelmRepository and where source-controller stores its index.
pub(super) struct Repository {
    namespace: String,
    name: String,
    artifact: Option<String>,
    /// Namespace of the source-controller that stores it.
    flux: String,
}

/// The repositories that agentk releases name.
pub(super) fn repositories(snapshot: &Snapshot) -> Vec<Repository> {
    let facts = Facts::derive(snapshot);
    let controller = facts.controller("source-controller").ok().flatten();
    let flux = controller.map_or(&snapshot.flux_namespace, |d| &d.metadata.namespace);
    let named: BTreeSet<(String, String)> = facts
        .agent_releases()
        .filter_map(|release| facts.chart_repository(release).ok().flatten())
        .map(|repository| (repository.namespace, repository.name))
        .collect();
    let repository = |(namespace, name): (String, String)| {
        let found = snapshot.helm_repositories.find(&namespace, &name).ok().flatten();
        let artifact = found.and_then(|r| r.status.artifact.as_ref()).map(|a| a.path.clone());
        Repository { namespace, name, artifact, flux: flux.to_owned() }
    };
    named.into_iter().take(REPOSITORIES).map(repository).collect()
}

impl Observer<'_> {
    /// The index of each repository.
    pub(super) async fn chart_indexes(
        &self,
        repositories: Vec<Repository>,
    ) -> Vec<(ChartIndex, Option<Trial>)> {
        let read = |of: Repository| async move {
            let (versions, trial) = self.chart_index(&of).await;
            (ChartIndex { namespace: of.namespace, name: of.name, versions }, trial)
        };
        join_all(repositories.into_iter().map(read)).await
    }

    async fn chart_index(&self, of: &Repository) -> (Observed<Vec<charts::ChartVersion>>, Option<Trial>) {
        let Repository { namespace, name, artifact, flux } = of;
        let asked = format!("index of HelmRepository {namespace}/{name} from source-controller");
        let unknown = |kind, message: String| Observed::Unknown(Why::new(kind, &asked, message));
        let Some(artifact) = artifact.as_deref().filter(|path| !path.is_empty()) else {
            return (unknown(WhyKind::NotAsked, "it has none stored".to_owned()), None);
        };
        let needed = permission(Need::ChartIndex.row(), Some(flux));
        let path = format!("{}/{}", proxy(flux), below(artifact));
        let trial = |allowed| Some(Trial { permission: needed.clone(), allowed });
        let answer = tokio::time::timeout(PATIENCE, self.client.get_proxied(&path, &asked, LARGEST)).await;
        match answer {
            Ok(Ok(answer)) if answer.is_refused_proxy() => {
                let mut why = Why::new(WhyKind::Forbidden, &asked, answer.said());
                why.permission = Some(needed.clone());
                (Observed::Unknown(why), trial(false))
            }
            Ok(Ok(answer)) => (index(&answer, &asked), trial(true)),
            Ok(Err(why)) => (unknown(WhyKind::NotAsked, unreached(&why.message)), trial(true)),
            Err(_) => {
                let late = format!("no answer in {} s", PATIENCE.as_secs());
                (unknown(WhyKind::NotAsked, unreached(&late)), trial(true))
            }
        }
    }
}

/// What came through the proxy, from source-controller, from the API server, or from what stands between them.
fn index(answer: &Answer, asked: &str) -> Observed<Vec<charts::ChartVersion>> {
    let unknown = |kind, message: String| Observed::Unknown(Why::new(kind, asked, message));
    if answer.status == StatusCode::NOT_FOUND {
        let gone = format!("it is not there, or a new one is being stored ({})", who(answer));
        return unknown(WhyKind::NotAsked, gone);
    }
    if !answer.status.is_success() {
        return unknown(WhyKind::NotAsked, unreached(&who(answer)));
    }
    match charts::read(&answer.body) {
        Ok(versions) => Observed::Known(versions),
        Err(text) => unknown(WhyKind::Unreadable, format!("{text}: {}", answer.stranger())),
    }
}

/// Who answered: the API server says why it cannot pass a request on, in a Status.
fn who(answer: &Answer) -> String {
    match answer.api_status() {
        Some(_) => format!("{} {}", answer.status.as_u16(), answer.said()),
        None => answer.stranger(),
    }
}

/// Many networks keep the API server away from pods, and Flux's own NetworkPolicy does: nothing is wrong then.
fn unreached(said: &str) -> String {
    format!("the API server's service proxy does not reach source-controller: {said}")
}

fn proxy(flux_namespace: &str) -> String {
    format!("/api/v1/namespaces/{}/services/http:source-controller:80/proxy", segment(flux_namespace))
}

/// A path below the proxied root. What the cluster says is not trusted to stay there.
fn below(path: &str) -> String {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != "." && *part != "..");
    parts.map(segment).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_path_stays_below_the_proxy() {
        assert_eq!(
            below("helmrepository/gitlab/agent/index-1.yaml"),
            "helmrepository/gitlab/agent/index-1.yaml"
        );
        assert_eq!(below("/../../../secrets?x=1#y"), "secrets%3Fx%3D1%23y");
    }
}
