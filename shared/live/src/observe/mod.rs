//! Fills a snapshot from a cluster: one LIST per kind, all in parallel, then what they refer to.
//!
//! Three waves, each as long as its slowest request: the listings; pods, Leases and Secrets that the listings name;
//! logs of agentk's pods and, at the same time, GitLab. A refusal is recorded as a refusal and never costs more than what it refused.

mod charts;
mod gitlab;
mod gitlab_agent;
mod groups;
mod inventory;
mod items;
mod list;
mod refer;
mod related;
mod reviews;
mod secrets;
mod tools;

use futures_util::future::join_all;
use gitlab_agent_core::facts::host::host_and_port;
use gitlab_agent_core::facts::{Facts, flux};
use gitlab_agent_core::need::{Need, Reach, Row, TABLE};
use gitlab_agent_core::snapshot::gitlab::GitLabPart;
use gitlab_agent_core::snapshot::kinds::*;
use gitlab_agent_core::snapshot::mask::Masker;
use gitlab_agent_core::snapshot::{FORMAT, Listing, Observed, Permission, Snapshot, Trial, Why, WhyKind};
use http::StatusCode;
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::access::{Answer, ReadClient, at};
use crate::gitlab::GitLab;
use crate::known;
pub use gitlab::NamedAgent;
pub(crate) use gitlab::{moment, protection};
pub(crate) use groups::groups;
use list::{JSON, METADATA, list};
use secrets::Door;

/// What to observe.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Only this namespace (and Flux's own); all where none.
    pub namespace: Option<String>,
    /// Namespace of the Flux controllers.
    pub flux_namespace: String,
}

/// How GitLab is asked, where the person gave access to it.
pub trait AskGitLab {
    /// The client, once the cluster has said which GitLab it uses: HOST, or HOST:PORT.
    ///
    /// # Errors
    /// There is no access to it.
    fn client(&self, of_cluster: Option<&str>) -> Result<GitLab, Why>;

    /// The agents that the person named.
    fn agents(&self) -> &[NamedAgent];

    /// Whether to ask also for what only the list of credentials shows.
    fn for_inventory(&self) -> bool {
        false
    }
}

/// GitLab is not part of this observation.
pub struct WithoutGitLab;

impl AskGitLab for WithoutGitLab {
    fn client(&self, _: Option<&str>) -> Result<GitLab, Why> {
        Err(Why::new(WhyKind::NotAsked, "GitLab", "only the cluster is observed here"))
    }

    fn agents(&self) -> &[NamedAgent] {
        &[]
    }
}

/// Observes. What goes wrong is in the snapshot.
pub async fn observe(client: &ReadClient, scope: &Scope, ask: &dyn AskGitLab) -> Snapshot {
    client.budget.begin();
    let taken_at = Timestamp::now();
    let wanted = scope.namespace.as_ref().map(|namespace| {
        let mut namespaces = vec![namespace.clone(), scope.flux_namespace.clone()];
        namespaces.dedup();
        namespaces
    });
    let observer = Observer { client, scope, wanted };
    let (mut snapshot, tools) = tokio::join!(observer.listings(taken_at), tools::versions());
    snapshot.settle_undefined();
    snapshot.tools = Some(tools);
    snapshot.taken_at = client.of_server(snapshot.taken_at);
    let door = Door::new(known::run().values());
    let indexes = observer.chart_indexes(charts::repositories(&snapshot));
    let references = async {
        observer.references(&mut snapshot, &door).await;
        let gitlab = in_time(client, of_gitlab(&snapshot, &door, ask));
        let (logs, last_words, of_gitlab) =
            tokio::join!(observer.logs(&snapshot), observer.last_words(&snapshot), gitlab);
        for (log, trial) in logs {
            snapshot.logs.push(log);
            snapshot.access.extend(trial);
        }
        snapshot.last_words = last_words;
        snapshot.gitlab = of_gitlab;
    };
    let (indexes, ()) = tokio::join!(indexes, references);
    for (index, trial) in indexes {
        snapshot.chart_indexes.push(index);
        snapshot.access.extend(trial);
    }
    observer.untried(&mut snapshot).await;
    snapshot.access.sort_by(|a, b| a.permission.cmp(&b.permission));
    snapshot.access.dedup();
    snapshot.mask(&door.masker());
    snapshot.put_in_order();
    snapshot
}

/// GitLab's requests have limits of their own; the look ends in time all the same.
async fn in_time(
    client: &ReadClient,
    asking: impl Future<Output = Observed<GitLabPart>>,
) -> Observed<GitLabPart> {
    let Some(deadline) = client.deadline() else { return asking.await };
    let late = || {
        Observed::Unknown(Why::new(
            WhyKind::TimedOut,
            "GitLab",
            "no answer before the look ended (--timeout)",
        ))
    };
    tokio::time::timeout_at(deadline.into(), asking).await.unwrap_or_else(|_| late())
}

async fn of_gitlab(snapshot: &Snapshot, door: &Door, ask: &dyn AskGitLab) -> Observed<GitLabPart> {
    let host = {
        let facts = Facts::derive(snapshot);
        facts.gitlab_host().map(|host| {
            let urls = snapshot.git_repositories.items.iter().filter(|g| g.spec.url.starts_with("https://"));
            let ports = urls.filter_map(|g| host_and_port(&g.spec.url)).filter(|(name, _)| *name == host);
            let port = ports.map(|(_, port)| port).find(|port| !port.is_empty());
            port.map_or(host.to_owned(), |port| format!("{host}:{port}"))
        })
    };
    match ask.client(host.as_deref()) {
        Ok(client) => {
            door.know(&client);
            let inventory = ask.for_inventory();
            Observed::Known(gitlab::observe(&client, snapshot, door, ask.agents(), inventory).await)
        }
        Err(why) => Observed::Unknown(why),
    }
}

/// Observes what a plan is made of and nothing else: sources, what applies them, and Flux's own Deployments. One wave, and a
/// second one where Flux does not run in the namespace that is given: it is then looked for by what runs.
pub async fn observe_chain(client: &ReadClient, flux_namespace: &str) -> Snapshot {
    client.budget.begin();
    let scope = Scope { namespace: None, flux_namespace: flux_namespace.to_owned() };
    let observer = Observer { client, scope: &scope, wanted: None };
    let flux = [scope.flux_namespace.clone()];
    let (sources, kustomizations, releases, deployments) = tokio::join!(
        observer.sources(),
        observer.everywhere(Need::Kustomizations),
        observer.everywhere(Need::HelmReleases),
        observer.some(Need::Deployments, &flux),
    );
    let (deployments, flux_namespace) = match home_of(&deployments.0) {
        Some(_) => (deployments, scope.flux_namespace.clone()),
        None => {
            let all = observer.everywhere(Need::Deployments).await;
            let found = home_of(&all.0);
            let home = found.unwrap_or_else(|| scope.flux_namespace.clone());
            (all, home)
        }
    };
    let [git, oci, bucket, helm, chart] = sources;
    let not_asked = || Why::new(WhyKind::NotAsked, "what no plan is made of", "it was not asked for");
    let mut access = Vec::new();
    let mut snapshot = Snapshot {
        format: FORMAT,
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        taken_at: Timestamp::now(),
        origin: client.origin.clone(),
        namespaces: Vec::new(),
        flux_namespace,
        server: Observed::Unknown(not_asked()),
        groups: Observed::Unknown(not_asked()),
        crds: Listing::unknown(not_asked()),
        git_repositories: keep(git, &mut access),
        oci_repositories: keep(oci, &mut access),
        buckets: keep(bucket, &mut access),
        helm_repositories: keep(helm, &mut access),
        helm_charts: keep(chart, &mut access),
        kustomizations: keep(kustomizations, &mut access),
        helm_releases: keep(releases, &mut access),
        receivers: Listing::unknown(not_asked()),
        providers: Listing::unknown(not_asked()),
        alerts: Listing::unknown(not_asked()),
        dispatch_failures: Listing::unknown(not_asked()),
        deployments: keep(deployments, &mut access),
        stateful_sets: Listing::unknown(not_asked()),
        daemon_sets: Listing::unknown(not_asked()),
        pods: Listing::unknown(not_asked()),
        leases: Listing::unknown(not_asked()),
        services: Listing::unknown(not_asked()),
        endpoint_slices: Listing::unknown(not_asked()),
        chart_indexes: Vec::new(),
        network_policies: Listing::unknown(not_asked()),
        namespace_objects: Listing::unknown(not_asked()),
        reviews: Vec::new(),
        tools: None,
        secrets: Vec::new(),
        secrets_in_order: false,
        referenced: Vec::new(),
        warnings: Listing::unknown(not_asked()),
        logs: Vec::new(),
        last_words: Vec::new(),
        access,
        gitlab: Observed::Unknown(not_asked()),
    };
    snapshot.taken_at = client.of_server(snapshot.taken_at);
    snapshot.mask(&Masker::new(&known::run().values()));
    snapshot.put_in_order();
    snapshot
}

/// The namespace in which a controller of Flux runs.
fn home_of(deployments: &Listing<Workload>) -> Option<String> {
    let found = deployments.items.iter().find(|d| flux::is_controller(d));
    found.map(|d| d.metadata.namespace.clone())
}

/// One run of observing.
struct Observer<'c> {
    client: &'c ReadClient,
    scope: &'c Scope,
    /// The namespaces the person limited the run to.
    wanted: Option<Vec<String>>,
}

/// A listing with the permissions that were tried for it.
type Tried<T> = (Listing<T>, Vec<Trial>);

impl Observer<'_> {
    async fn listings(&self, taken_at: Timestamp) -> Snapshot {
        let (server, groups, crds, sources, appliers, notifications, workloads, network) = tokio::join!(
            self.version(),
            async { observed(groups(self.client).await) },
            self.crds(),
            self.sources(),
            self.appliers(),
            self.notifications(),
            self.workloads(),
            self.network(),
        );
        let [git, oci, bucket, helm, chart] = sources;
        let (kustomizations, releases, receivers) = appliers;
        let (providers, alerts, dispatch_failures) = notifications;
        let [deployments, stateful_sets, daemon_sets] = workloads;
        let (services, endpoint_slices, namespaces) = network;
        let mut access = Vec::new();
        Snapshot {
            format: FORMAT,
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            taken_at,
            origin: self.client.origin.clone(),
            namespaces: self.scope.namespace.iter().cloned().collect(),
            flux_namespace: self.scope.flux_namespace.clone(),
            server,
            groups,
            crds: keep(crds, &mut access),
            git_repositories: keep(git, &mut access),
            oci_repositories: keep(oci, &mut access),
            buckets: keep(bucket, &mut access),
            helm_repositories: keep(helm, &mut access),
            helm_charts: keep(chart, &mut access),
            kustomizations: keep(kustomizations, &mut access),
            helm_releases: keep(releases, &mut access),
            receivers: keep(receivers, &mut access),
            providers: keep(providers, &mut access),
            alerts: keep(alerts, &mut access),
            dispatch_failures: keep(dispatch_failures, &mut access),
            deployments: keep(deployments, &mut access),
            stateful_sets: keep(stateful_sets, &mut access),
            daemon_sets: keep(daemon_sets, &mut access),
            pods: Listing { namespaces: Some(Vec::new()), ..Listing::default() },
            leases: Listing { namespaces: Some(Vec::new()), ..Listing::default() },
            services: keep(services, &mut access),
            endpoint_slices: keep(endpoint_slices, &mut access),
            chart_indexes: Vec::new(),
            network_policies: Listing { namespaces: Some(Vec::new()), ..Listing::default() },
            namespace_objects: keep(namespaces, &mut access),
            reviews: Vec::new(),
            tools: None,
            secrets: Vec::new(),
            secrets_in_order: false,
            referenced: Vec::new(),
            warnings: Listing { namespaces: Some(Vec::new()), ..Listing::default() },
            logs: Vec::new(),
            last_words: Vec::new(),
            access,
            gitlab: Observed::Unknown(Why::new(WhyKind::NoGitLab, "GitLab", "it was not asked yet")),
        }
    }

    async fn version(&self) -> Observed<ServerVersion> {
        let asked = "the API server's version";
        let answer = self.client.get("/version", JSON, asked).await.and_then(existing(asked));
        let version = answer.and_then(|answer| match serde_json::from_slice::<ServerVersion>(&answer.body) {
            Ok(version) if !version.git_version.is_empty() => Ok(version),
            Ok(_) => Err(answer.unlike(asked, "version", "it names none")),
            Err(e) => Err(answer.unlike(asked, "version", &at(&e))),
        });
        observed(version)
    }

    /// Only metadata: the schemas of all CustomResourceDefinitions are megabytes.
    async fn crds(&self) -> Tried<Crd> {
        list(self.client, Need::Crds.row(), METADATA, None).await
    }

    async fn sources(&self) -> [Tried<Source>; 5] {
        let (a, b, c, d, e) = tokio::join!(
            self.everywhere(Need::GitRepositories),
            self.everywhere(Need::OciRepositories),
            self.everywhere(Need::Buckets),
            self.everywhere(Need::HelmRepositories),
            self.everywhere(Need::HelmCharts),
        );
        [a, b, c, d, e]
    }

    async fn appliers(&self) -> (Tried<Kustomization>, Tried<HelmRelease>, Tried<Receiver>) {
        tokio::join!(
            self.everywhere(Need::Kustomizations),
            self.everywhere(Need::HelmReleases),
            self.everywhere(Need::Receivers)
        )
    }

    async fn notifications(&self) -> (Tried<Provider>, Tried<Alert>, Tried<Event>) {
        tokio::join!(
            self.everywhere(Need::Providers),
            self.everywhere(Need::Alerts),
            self.everywhere(Need::Events)
        )
    }

    async fn workloads(&self) -> [Tried<Workload>; 3] {
        let (a, b, c) = tokio::join!(
            self.everywhere(Need::Deployments),
            self.everywhere(Need::StatefulSets),
            self.everywhere(Need::DaemonSets),
        );
        [a, b, c]
    }

    /// Of namespaces only metadata: policies select by their labels.
    async fn network(&self) -> (Tried<Service>, Tried<EndpointSlice>, Tried<Namespace>) {
        let flux = [self.scope.flux_namespace.clone()];
        tokio::join!(
            self.some(Need::Services, &flux),
            self.some(Need::EndpointSlices, &flux),
            list(self.client, Need::Namespaces.row(), METADATA, None),
        )
    }

    /// All namespaces at once, or those the run is limited to. Where all are refused, the ones that matter most.
    async fn everywhere<T: HasMeta + DeserializeOwned + Send + 'static>(&self, need: Need) -> Tried<T> {
        if let Some(wanted) = &self.wanted {
            return self.some(need, wanted).await;
        }
        let (mut all, mut trials) = list(self.client, need.row(), JSON, None).await;
        if all.gaps.iter().any(|why| why.kind == WhyKind::Forbidden) {
            let mut likely = vec![self.scope.flux_namespace.clone(), self.client.namespace.clone()];
            likely.dedup();
            let (seen, _) = self.some(need, &likely).await;
            let listed = seen.namespaces.unwrap_or_default();
            all = Listing { gaps: all.gaps, namespaces: Some(listed), ..seen };
            trials.truncate(1);
        }
        (all, trials)
    }

    /// Some namespaces, one LIST each.
    async fn some<T: HasMeta + DeserializeOwned + Send + 'static>(
        &self,
        need: Need,
        namespaces: &[String],
    ) -> Tried<T> {
        let one = |namespace: &String| {
            let namespace = namespace.clone();
            async move { list(self.client, need.row(), JSON, Some(&namespace)).await }
        };
        let mut whole = Listing { namespaces: Some(Vec::new()), ..Listing::default() };
        let mut trials = Vec::new();
        for (listing, tried) in join_all(namespaces.iter().map(one)).await {
            whole.items.extend(listing.items);
            whole.gaps.extend(listing.gaps);
            if let (Some(all), Some(listed)) = (&mut whole.namespaces, listing.namespaces) {
                all.extend(listed);
            }
            trials.extend(tried);
        }
        (whole, trials)
    }

    /// Permissions that nothing gave occasion to use are asked about, so that one run names all that are missing.
    /// Where a listing was refused, what would have been found in it is not known, so what is read of it is asked
    /// about for every place where it may be.
    async fn untried(&self, snapshot: &mut Snapshot) {
        if snapshot.server.get().is_err() {
            return;
        }
        let refused = snapshot.access.iter().any(|t| !t.allowed);
        let tried = |row: &Row, place: Option<&str>| {
            let own = |t: &&Trial| {
                (t.permission.verb.as_str(), t.permission.resource.as_str()) == (row.verb, row.resource)
            };
            let mut trials = snapshot.access.iter().filter(own);
            if refused && row.reach == Reach::SomeNamespaces {
                trials.any(|t| t.permission.namespace.as_deref() == place)
            } else {
                trials.next().is_some()
            }
        };
        // Much can be done with the proxy, so it is asked about only where a refusal hides whether it is needed.
        let needless = |row: &Row| row.need == Need::ChartIndex && !refused;
        let rows = TABLE.iter().filter(|row| !row.verb.is_empty() && !needless(row));
        let asked = rows.flat_map(|row| self.places(row.reach).into_iter().map(move |place| (row, place)));
        let asked: Vec<_> = asked.filter(|(row, place)| !tried(row, *place)).collect();
        let ask = |(row, place): &(&'static Row, Option<&str>)| {
            let (row, place) = (*row, place.map(str::to_owned));
            async move {
                let namespace = place.as_deref().unwrap_or_default();
                let answer = self.client.may_on(row.verb, row.group, row.resource, namespace, "").await;
                (permission(row, place.as_deref()), answer)
            }
        };
        for (permission, answer) in join_all(asked.iter().map(ask)).await {
            if let Ok(allowed) = answer {
                snapshot.access.push(Trial { permission, allowed });
            }
        }
    }

    /// Whether the run reads objects of a namespace; an empty one is that of cluster-scoped objects.
    fn is_within(&self, namespace: &str) -> bool {
        let limited = self.wanted.as_ref().filter(|_| !namespace.is_empty());
        limited.is_none_or(|wanted| wanted.iter().any(|within| within == namespace))
    }

    /// Where a permission is needed: in the namespaces that the run is limited to, else in all at once.
    fn places(&self, reach: Reach) -> Vec<Option<&str>> {
        match (reach, &self.wanted) {
            (Reach::AllNamespaces | Reach::SomeNamespaces, Some(wanted)) => {
                wanted.iter().map(|namespace| Some(namespace.as_str())).collect()
            }
            (Reach::FluxNamespace, _) => vec![Some(&self.scope.flux_namespace)],
            _ => vec![None],
        }
    }
}

fn keep<T>(tried: Tried<T>, access: &mut Vec<Trial>) -> Listing<T> {
    access.extend(tried.1);
    tried.0
}

fn permission(row: &Row, namespace: Option<&str>) -> Permission {
    let namespace = namespace.filter(|_| row.reach != Reach::Cluster).map(str::to_owned);
    Permission {
        verb: row.verb.to_owned(),
        group: row.group.to_owned(),
        resource: row.resource.to_owned(),
        namespace,
    }
}

/// What everybody may read exists: that it does not is an answer that cannot be used.
fn existing(asked: &str) -> impl Fn(Answer) -> Result<Answer, Why> {
    move |answer| match answer.status {
        StatusCode::NOT_FOUND => Err(answer.unlike(asked, "answer to it", "404")),
        _ => Ok(answer),
    }
}

fn observed<T>(read: Result<T, Why>) -> Observed<T> {
    match read {
        Ok(value) => Observed::Known(value),
        Err(why) => Observed::Unknown(why),
    }
}
