//! agentk installations, each joined with its release, token Secret, pods, Lease and log.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};

use super::log::reading::Signs;
use super::log::{Effect, LogLine, Rule, reading};
use super::workload::selects;
use super::{Facts, secret};
use crate::object::ObjectRef;
use crate::snapshot::gitlab::AgentEntry;
use crate::snapshot::kinds::{HelmRelease, Lease, Pod, Volume, Workload};
use crate::snapshot::{Observed, SecretShape, Snapshot, Why, WhyKind};

/// How long a pod may run before a missing Lease means something: registration and first configuration take
/// seconds, the Lease's own duration is 15 s, a takeover was seen to take 18 s.
const LEASE_IS_DUE: SignedDuration = SignedDuration::from_secs(60);

/// One installation of agentk.
pub struct Agent<'s> {
    /// Its Deployment.
    pub deployment: &'s Workload,
    /// The HelmRelease that installed it, where one did.
    pub release: Option<&'s HelmRelease>,
    /// Name of the Secret that its pods mount as the token, where one is mounted.
    pub secret_name: Option<&'s str>,
    /// That Secret; `Ok(None)` means that it does not exist.
    pub secret: Result<Option<&'s SecretShape>, Why>,
    /// Its pods, newest first.
    pub pods: Result<Vec<&'s Pod>, Why>,
    /// The Lease of its leader; `Ok(None)` means that there is none.
    pub lease: Result<Option<&'s Lease>, Why>,
    /// Number of the agent in GitLab, from the Lease's name, else from its log.
    pub id: Option<u64>,
    /// Since when GitLab lists a connection of each of its pods.
    pub connected: BTreeMap<&'s str, Timestamp>,
    /// Lines of its pods' logs with the pod's name, oldest first within a pod.
    pub lines: Result<Vec<(&'s str, LogLine)>, Why>,
    /// Why lines are not known: one reason for each living pod whose log was not read.
    pub log_gaps: Vec<Why>,
}

/// Whether agentk is connected to GitLab, by what the cluster shows.
pub enum Connection {
    /// It is; the text says by what.
    Connected(String),
    /// It is not. A known fault of the log, with its line, or what is missing.
    Disconnected(Option<(&'static Rule, String)>, String),
    /// The cluster does not show it.
    Unknown(Why),
}

impl<'s> Agent<'s> {
    /// Its Deployment's name as an object.
    pub fn object(&self) -> ObjectRef {
        self.deployment.metadata.object("Deployment")
    }

    /// Namespace.
    pub fn namespace(&self) -> &'s str {
        &self.deployment.metadata.namespace
    }

    /// The Secret it reads its token from, as an object.
    pub fn secret_object(&self) -> Option<ObjectRef> {
        self.secret_name.map(|name| ObjectRef::new("Secret", self.namespace(), name))
    }

    /// The version that runs: the image's tag, without `v`. `None` for images by digest alone.
    pub fn version(&self) -> Option<&'s str> {
        let image = &self.container()?.image;
        let name = image.split('@').next()?;
        let (_, tag) = name.rsplit_once('/').map_or(name, |(_, last)| last).split_once(':')?;
        Some(tag.trim_start_matches('v'))
    }

    /// Where it connects to.
    pub fn kas_address(&self) -> Option<&'s str> {
        self.container()?.args.iter().find_map(|a| a.strip_prefix("--kas-address="))
    }

    /// Whether agentk is told to read its token from a file, and gets it no other way (`AGENTK_TOKEN`).
    pub fn reads_a_token_file(&self) -> bool {
        self.container().is_some_and(|c| {
            let other =
                !c.env_from.is_empty() || c.env.iter().any(|variable| variable.name == "AGENTK_TOKEN");
            !other && c.args.iter().any(|arg| arg.starts_with("--token-file"))
        })
    }

    /// Whether no volume of its pods can hold that file: neither one of the template, nor one that was put into the newest
    /// pod.
    ///
    /// # Errors
    /// The pods are not known.
    pub fn lacks_token_file(&self) -> Result<bool, Why> {
        let may_hold = |volumes: &[Volume]| volumes.iter().any(may_hold_a_secret);
        if may_hold(&self.deployment.spec.template.spec.volumes) {
            return Ok(false);
        }
        let pods = self.pods.clone()?;
        Ok(!pods.first().is_some_and(|newest| may_hold(&newest.spec.volumes)))
    }

    fn container(&self) -> Option<&'s crate::snapshot::kinds::Container> {
        let containers = &self.deployment.spec.template.spec.containers;
        containers.iter().find(|c| is_agentk(&c.image, &c.args)).or_else(|| containers.first())
    }

    /// Pods that run and are not being deleted.
    pub fn living(&self) -> Result<Vec<&'s Pod>, Why> {
        let pods = self.pods.clone()?;
        Ok(pods.into_iter().filter(|pod| is_living(pod)).collect())
    }

    /// When a pod's agentk process read its token: the start of its container, else of the pod.
    pub fn token_read_at(pod: &Pod) -> Option<Timestamp> {
        let started = |c: &crate::snapshot::kinds::ContainerStatus| c.state.running.as_ref()?.started_at;
        pod.status.container_statuses.iter().find_map(started).or(pod.status.start_time)
    }

    /// When the token in the Secret last changed; the Secret's creation where nobody recorded who owns the key. None
    /// where no such Secret exists.
    ///
    /// # Errors
    /// The Secret is not known, or tells no time.
    pub fn token_changed_at(&self) -> Result<Option<Timestamp>, Why> {
        let Some(secret) = self.secret.clone()? else { return Ok(None) };
        let key = secret.keys.get("token").and_then(|token| token.changed_at);
        let changed = key.or(secret.metadata.creation_timestamp).ok_or_else(|| {
            let asked = format!("when Secret {}/{} changed", secret.metadata.namespace, secret.metadata.name);
            Why::new(WhyKind::Unreadable, asked, "it has neither managed fields nor a creation time")
        })?;
        Ok(Some(changed))
    }

    /// Whether every living pod read its token before the Secret last changed: a token that GitLab refuses is then
    /// not the one that the Secret holds. False where that is not known.
    pub fn runs_with_an_old_token(&self) -> bool {
        let newest =
            self.living().ok().and_then(|pods| pods.into_iter().filter_map(Self::token_read_at).max());
        let changed = self.token_changed_at().ok().flatten();
        newest.zip(changed).is_some_and(|(started, changed)| started < changed)
    }

    /// The Lease's holder, where a living pod holds it and renewed it in time.
    pub fn leader(&self, now: Timestamp) -> Result<Option<&'s Pod>, Why> {
        let Some(lease) = self.lease.clone()? else { return Ok(None) };
        if lease.is_expired(now) {
            return Ok(None);
        }
        Ok(self.living()?.into_iter().find(|p| lease.is_held_by(&p.metadata.name)))
    }

    /// Why a missing Lease means nothing yet; none where a pod runs for longer than a minute, or none runs.
    ///
    /// # Errors
    /// The pods are not known.
    pub fn just_started(&self, now: Timestamp) -> Result<Option<Why>, Why> {
        let oldest = self.living()?.into_iter().filter_map(Self::token_read_at).min();
        let young = oldest.is_some_and(|at| now.duration_since(at) < LEASE_IS_DUE);
        let asked = || format!("Lease of agentk in namespace {}", self.namespace());
        Ok(young.then(|| Why::new(WhyKind::TooEarly, asked(), "agentk started less than a minute ago")))
    }

    /// Why nobody leads yet, where the leader was a pod of this Deployment that is gone, and its Lease still runs: another
    /// pod takes it only once it has run out.
    fn taken_over(&self, now: Timestamp) -> Result<Option<Why>, Why> {
        let Some(lease) = self.lease.clone()? else { return Ok(None) };
        let own = |holder: &str| holder.starts_with(&format!("{}-", self.deployment.metadata.name));
        let gone = own(&lease.spec.holder_identity) && !lease.is_expired(now);
        let asked = || format!("holder of Lease {}/{}", lease.metadata.namespace, lease.metadata.name);
        let said = "its holder is gone, and another pod takes over: that takes half a minute";
        Ok(gone.then(|| Why::new(WhyKind::TooEarly, asked(), said)))
    }

    /// Errors of the last minutes that no rule knows, oldest first, each text once.
    ///
    /// # Errors
    /// The log is not known.
    pub fn unknown_errors(&self, now: Timestamp) -> Result<Vec<&LogLine>, Why> {
        let lines = self.lines.as_ref().map_err(Clone::clone)?;
        Ok(reading::unknown_errors(lines, now))
    }

    /// Faults in the log that count as present: the leader's first, newest first, each rule once.
    ///
    /// # Errors
    /// The log is not known.
    pub fn present_faults(&self, now: Timestamp) -> Result<Vec<(&'static Rule, &LogLine)>, Why> {
        let lines = self.lines.as_ref().map_err(Clone::clone)?;
        Ok(reading::present_faults(lines, &self.signs(now), now))
    }

    fn signs(&self, now: Timestamp) -> Signs<'s> {
        let leader = self.leader(now).ok().flatten().map(|pod| pod.metadata.name.as_str());
        let lease = self.lease.as_ref().ok().copied().flatten();
        let led_since = leader.and(lease).and_then(|lease| lease.spec.acquire_time);
        Signs { leader, led_since, connected: self.connected.clone() }
    }

    /// Whether it is connected. A pod that is Ready proves nothing: agentk's probes do not look at the connection.
    pub fn connection(&self, now: Timestamp) -> Connection {
        match self.judge_connection(now) {
            Ok(connection) => connection,
            Err(why) => Connection::Unknown(why),
        }
    }

    fn judge_connection(&self, now: Timestamp) -> Result<Connection, Why> {
        let living = self.living()?;
        if living.is_empty() {
            return Ok(Connection::Disconnected(None, "no pod of agentk runs".to_owned()));
        }
        let faults = self.present_faults(now)?;
        let fault =
            faults.iter().find(|(r, _)| matches!(r.effect, Effect::TokenRefused | Effect::Disconnected));
        let leader = self.leader(now)?;
        if let Some((rule, line)) = fault {
            return Ok(Connection::Disconnected(Some((*rule, line.text())), rule.cause.to_owned()));
        }
        // What the leader does not log is no proof where a log was not read.
        if let Some(why) = self.log_gaps.first() {
            return Ok(Connection::Unknown(why.clone()));
        }
        if let Some(leader) = leader {
            let name = &leader.metadata.name;
            return Ok(Connection::Connected(format!("{name} holds the Lease, and the log shows no fault")));
        }
        if let Some(why) = self.just_started(now)? {
            return Ok(Connection::Unknown(why));
        }
        if let Some(why) = self.taken_over(now)? {
            return Ok(Connection::Unknown(why));
        }
        Ok(Connection::Disconnected(
            None,
            "no living pod holds the agent's Lease: agentk takes it once it has its configuration from GitLab".to_owned(),
        ))
    }
}

impl Lease {
    /// Whether it is released or was not renewed within twice its duration.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        let patience = SignedDuration::from_secs(self.spec.lease_duration_seconds.clamp(1, 3600) * 2);
        self.spec.holder_identity.is_empty()
            || self.spec.renew_time.is_none_or(|renewed| now.duration_since(renewed) > patience)
    }

    /// Whether the holder is this pod; client-go may add a suffix behind `_`.
    pub fn is_held_by(&self, pod: &str) -> bool {
        self.holder() == pod
    }

    fn holder(&self) -> &str {
        self.spec.holder_identity.split('_').next().unwrap_or_default()
    }

    fn agent_id(&self) -> Option<u64> {
        self.metadata.name.strip_prefix("agent-")?.strip_suffix("-lock")?.parse().ok()
    }
}

/// Finds the agentk Deployments: by image or arguments, because names and labels differ between chart versions.
pub(super) fn find(s: &Snapshot) -> Vec<Agent<'_>> {
    let deployments: Vec<&Workload> = s.deployments.items.iter().filter(|d| is_agent(d)).collect();
    if deployments.is_empty() {
        return Vec::new();
    }
    let seen = Seen::of(s);
    deployments.into_iter().map(|deployment| seen.join(deployment)).collect()
}

/// What an agent is joined with, each looked through once.
struct Seen<'s> {
    s: &'s Snapshot,
    /// Pods by namespace and one label.
    pods: HashMap<(&'s str, &'s str, &'s str), Vec<&'s Pod>>,
    /// Logs by namespace and pod, with their place among all.
    logs: HashMap<(&'s str, &'s str), Vec<usize>>,
    /// Leases of agents by namespace and holder, and by namespace, each with its place among all.
    held: HashMap<(&'s str, &'s str), usize>,
    leases: HashMap<&'s str, Vec<usize>>,
    /// What GitLab says of each Deployment.
    in_gitlab: HashMap<&'s ObjectRef, &'s AgentEntry>,
}

/// Whether a Deployment runs agentk.
pub(super) fn is_agent(deployment: &Workload) -> bool {
    deployment.spec.template.spec.containers.iter().any(|c| is_agentk(&c.image, &c.args))
}

/// HelmReleases of the `gitlab-agent` chart that install into this cluster.
pub(super) fn releases(s: &Snapshot) -> impl Iterator<Item = &HelmRelease> {
    let is_agent = |r: &&HelmRelease| {
        r.spec.kube_config.is_none() && r.spec.chart.as_ref().is_some_and(|c| c.spec.chart == "gitlab-agent")
    };
    s.helm_releases.items.iter().filter(is_agent)
}

fn is_agentk(image: &str, args: &[String]) -> bool {
    let name = image.split('@').next().unwrap_or_default();
    let last = name.rsplit('/').next().unwrap_or_default();
    last.split(':').next() == Some("agentk") || args.iter().any(|a| a.starts_with("--kas-address="))
}

impl<'s> Seen<'s> {
    fn of(s: &'s Snapshot) -> Self {
        let entries = s.gitlab.get().ok().into_iter().flat_map(|part| &part.agents);
        let mut seen = Self {
            s,
            pods: HashMap::new(),
            logs: HashMap::new(),
            held: HashMap::new(),
            leases: HashMap::new(),
            in_gitlab: entries.map(|entry| (&entry.deployment, entry)).collect(),
        };
        for pod in &s.pods.items {
            for (key, value) in &pod.metadata.labels {
                let place = (pod.metadata.namespace.as_str(), key.as_str(), value.as_str());
                seen.pods.entry(place).or_default().push(pod);
            }
        }
        for (at, log) in s.logs.iter().enumerate() {
            seen.logs.entry((log.namespace.as_str(), log.pod.as_str())).or_default().push(at);
        }
        for (at, lease) in s.leases.items.iter().enumerate().filter(|(_, lease)| lease.agent_id().is_some()) {
            let namespace = lease.metadata.namespace.as_str();
            seen.held.entry((namespace, lease.holder())).or_insert(at);
            seen.leases.entry(namespace).or_default().push(at);
        }
        seen
    }

    fn join(&self, deployment: &'s Workload) -> Agent<'s> {
        let s = self.s;
        let namespace = deployment.metadata.namespace.as_str();
        let secret_name = token_secret(deployment);
        let secret = match secret_name {
            Some(name) => secret(s, namespace, name),
            None => Ok(None),
        };
        let own = self.pods_of(deployment);
        let pods = s.pods.is_known(namespace).map(|()| own.clone());
        let lease = self.lease(namespace, pods.as_deref().unwrap_or_default());
        let lines = self.lines(&own);
        let log_gaps = self.log_gaps(pods.as_deref().unwrap_or_default());
        let logged = || lines.as_ref().ok()?.iter().rev().find_map(|(_, line)| line.agent);
        let id = lease.as_ref().ok().and_then(|l| (*l)?.agent_id()).or_else(logged);
        Agent {
            log_gaps,
            deployment,
            release: release(s, deployment),
            secret_name,
            secret,
            pods,
            lease,
            id,
            connected: self.connected(deployment),
            lines,
        }
    }

    /// The pods that its selector selects, newest first. A selector that names no label selects none.
    fn pods_of(&self, deployment: &'s Workload) -> Vec<&'s Pod> {
        let labels = &deployment.spec.selector.match_labels;
        let Some((key, value)) = labels.iter().next() else { return Vec::new() };
        let place = (deployment.metadata.namespace.as_str(), key.as_str(), value.as_str());
        let likely = self.pods.get(&place).into_iter().flatten().copied();
        let mut own: Vec<&Pod> = likely.filter(|pod| selects(labels, &pod.metadata.labels)).collect();
        own.sort_by_key(|pod| std::cmp::Reverse(pod.metadata.creation_timestamp));
        own
    }

    /// The agent's Lease: the one a pod of it holds, else the only one of that form in the namespace.
    fn lease(&self, namespace: &str, pods: &[&Pod]) -> Result<Option<&'s Lease>, Why> {
        self.s.leases.is_known(namespace)?;
        let held =
            pods.iter().filter_map(|pod| self.held.get(&(namespace, pod.metadata.name.as_str()))).min();
        let only = || match self.leases.get(namespace).map(Vec::as_slice) {
            Some([only]) => Some(only),
            _ => None,
        };
        Ok(held.or_else(only).map(|at| &self.s.leases.items[*at]))
    }

    /// Since when GitLab lists a connection of each pod.
    fn connected(&self, deployment: &Workload) -> BTreeMap<&'s str, Timestamp> {
        let entry = self.in_gitlab.get(&deployment.metadata.object("Deployment"));
        let record = entry.and_then(|entry| entry.agent.get().ok());
        let listed = record.and_then(|agent| agent.connections.get().ok()).into_iter().flatten();
        let own = listed.filter(|c| c.pod_namespace == deployment.metadata.namespace);
        let mut since = BTreeMap::new();
        for connection in own {
            let Some(at) = connection.connected_at else { continue };
            let newest = since.entry(connection.pod_name.as_str()).or_insert(at);
            *newest = at.max(*newest);
        }
        since
    }

    /// See [`Agent::log_gaps`].
    fn log_gaps(&self, pods: &[&Pod]) -> Vec<Why> {
        let gap = |pod: &&Pod| match self.logs.get(&pod.metadata.place()).and_then(|own| own.first()) {
            Some(at) => self.s.logs[*at].lines.get().err(),
            None => Some(Why::new(
                WhyKind::Unreadable,
                format!("log of pod {}/{}", pod.metadata.namespace, pod.metadata.name),
                "it was not read",
            )),
        };
        pods.iter().filter(|pod| is_living(pod)).filter_map(gap).collect()
    }

    fn lines(&self, pods: &[&'s Pod]) -> Result<Vec<(&'s str, LogLine)>, Why> {
        let places = pods.iter().map(|pod| pod.metadata.place());
        let mut own: Vec<usize> =
            places.filter_map(|place| self.logs.get(&place)).flatten().copied().collect();
        own.sort_unstable();
        own.dedup();
        let mut lines = Vec::new();
        let mut unknown = None;
        for log in own.into_iter().map(|at| &self.s.logs[at]) {
            match &log.lines {
                Observed::Known(known) => {
                    let parsed =
                        reading::without_stacks(known.iter().map(|l| LogLine::parse(l, self.s.taken_at)));
                    lines.extend(parsed.map(|line| (log.pod.as_str(), line)));
                }
                Observed::Unknown(why) => unknown = Some(why.clone()),
            }
        }
        match unknown {
            Some(why) if lines.is_empty() => Err(why),
            _ => Ok(lines),
        }
    }
}

/// The Secret mounted at the directory of `--token-file`; the chart calls the volume `secret-volume`.
fn token_secret(deployment: &Workload) -> Option<&str> {
    let volumes = &deployment.spec.template.spec.volumes;
    let named = volumes.iter().find(|v| v.name == "secret-volume" && v.secret.is_some());
    let volume = named.or_else(|| volumes.iter().find(|v| v.secret.is_some()))?;
    volume.secret.as_ref().map(|secret| secret.secret_name.as_str())
}

/// Whether a volume can hold a token, by what is known of it. A ConfigMap should not; the kubelet's own projected volume has
/// no Secret.
fn may_hold_a_secret(volume: &Volume) -> bool {
    match &volume.projected {
        Some(projected) => projected.sources.iter().any(|source| source.secret.is_some()),
        None => true,
    }
}

fn is_living(pod: &Pod) -> bool {
    pod.status.phase == "Running" && pod.metadata.deletion_timestamp.is_none()
}

fn release<'s>(s: &'s Snapshot, deployment: &Workload) -> Option<&'s HelmRelease> {
    let label = |key| deployment.metadata.label(key);
    let (name, namespace) =
        label("helm.toolkit.fluxcd.io/name").zip(label("helm.toolkit.fluxcd.io/namespace"))?;
    s.helm_releases.seen(namespace, name)
}

impl<'s> Facts<'s> {
    /// HelmReleases of the `gitlab-agent` chart, whether or not a Deployment came of them.
    pub fn agent_releases(&self) -> impl Iterator<Item = &'s HelmRelease> {
        releases(self.snapshot)
    }

    /// Why more agents may exist than were seen.
    pub fn agent_gaps(&self) -> &'s [Why] {
        &self.snapshot.deployments.gaps
    }
}
