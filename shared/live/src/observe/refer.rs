//! The second and third wave: what the listings refer to.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::facts::agent::Agent;
use gitlab_agent_core::facts::crash::{Crashed, crashed};
use gitlab_agent_core::facts::host::host;
use gitlab_agent_core::facts::{job, reference};
use gitlab_agent_core::need::Need;
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::snapshot::kinds::Pod;
use gitlab_agent_core::snapshot::{Listing, Observed, PodLog, Snapshot, Trial, Why, WhyKind};
use http::StatusCode;

use super::secrets::{Door, read_secret};
use super::{Observer, keep, permission};
use crate::access::{Answer, segment};

/// Lines of each pod's log, asked for, and kept of an answer that has more. agentk in trouble writes one line every few minutes, a healthy one next to nothing.
const LINES: usize = 500;

/// Bytes of each pod's log, asked for, and read of an answer that gives more.
const BYTES: usize = 1 << 20;

/// Lines and bytes of what a container said before it ended.
const LAST_LINES: usize = 40;
const LAST_BYTES: usize = 16 << 10;

/// The part of a log that is asked for.
struct Part {
    container: String,
    query: String,
    lines: usize,
    bytes: usize,
}

/// Pods of one agentk whose log is read: those that live and, while there is room, those that they replace.
const PODS: usize = 32;

/// Secrets that are read because they lie in Git unencrypted. Whoever has more has seen the point.
const FROM_GIT: usize = 200;

impl Observer<'_> {
    /// Pods, Leases and Secrets.
    pub(super) async fn references(&self, snapshot: &mut Snapshot, door: &Door) {
        let Wanted { pods_in, leases_in, policies_in, flux_in, unwell_in, secrets, others } =
            wanted(snapshot).within(|namespace| self.is_within(namespace));
        let secret = |(namespace, name): &(String, String)| {
            let (namespace, name) = (namespace.clone(), name.clone());
            async move { read_secret(self.client, door, namespace, name).await }
        };
        let (pods, leases, policies, (reviews, tried), secrets, services, slices, warnings, others) = tokio::join!(
            self.some(Need::Pods, &pods_in),
            self.some(Need::Leases, &leases_in),
            self.some(Need::NetworkPolicies, &policies_in),
            self.reviews(snapshot),
            join_all(secrets.iter().map(secret)),
            self.some(Need::Services, &flux_in),
            self.some(Need::EndpointSlices, &flux_in),
            self.warnings(&unwell_in),
            self.referenced(&others),
        );
        // Flux runs in other namespaces than the one that was named.
        if !flux_in.is_empty() {
            join(&mut snapshot.services, keep(services, &mut snapshot.access));
            join(&mut snapshot.endpoint_slices, keep(slices, &mut snapshot.access));
        }
        snapshot.warnings = warnings;
        snapshot.referenced = others;
        snapshot.network_policies = keep(policies, &mut snapshot.access);
        snapshot.reviews = reviews;
        snapshot.access.extend(tried);
        snapshot.pods = keep(pods, &mut snapshot.access);
        snapshot.leases = keep(leases, &mut snapshot.access);
        for (entry, trial) in secrets {
            snapshot.secrets.push(entry);
            snapshot.access.extend(trial);
        }
        let creators = self.creators(snapshot).await;
        snapshot.referenced.extend(creators);
    }

    /// Logs of agentk's pods.
    pub(super) async fn logs(&self, snapshot: &Snapshot) -> Vec<(PodLog, Option<Trial>)> {
        let facts = Facts::derive(snapshot);
        let mut pods: Vec<(String, String)> = Vec::new();
        for agent in &facts.agents {
            // What has ended (evicted pods stay listed for weeks) has no log that speaks of now.
            let running = agent
                .pods
                .iter()
                .flatten()
                .filter(|p| !matches!(p.status.phase.as_str(), "Failed" | "Succeeded"));
            let (living, going): (Vec<&Pod>, Vec<&Pod>) =
                running.partition(|p| p.metadata.deletion_timestamp.is_none());
            let chosen = living.into_iter().chain(going).take(PODS);
            pods.extend(chosen.map(|p| (p.metadata.namespace.clone(), p.metadata.name.clone())));
        }
        let log = |(namespace, pod): &(String, String)| {
            let (namespace, pod) = (namespace.clone(), pod.clone());
            let of = Part {
                container: String::new(),
                query: format!("tailLines={LINES}&limitBytes={BYTES}"),
                lines: LINES,
                bytes: BYTES,
            };
            async move { self.log(namespace, pod, of).await }
        };
        join_all(pods.iter().map(log)).await
    }

    /// What containers said that ended and are started again. A refusal leaves their words unknown, and is no gap of the run.
    pub(super) async fn last_words(&self, snapshot: &Snapshot) -> Vec<PodLog> {
        let one = |Crashed { namespace, pod, container }: Crashed| {
            let query = format!(
                "container={}&previous=true&tailLines={LAST_LINES}&limitBytes={LAST_BYTES}",
                segment(&container)
            );
            let of = Part { container, query, lines: LAST_LINES, bytes: LAST_BYTES };
            async move { self.log(namespace, pod, of).await.0 }
        };
        join_all(crashed(snapshot).into_iter().map(one)).await
    }

    async fn log(&self, namespace: String, pod: String, of: Part) -> (PodLog, Option<Trial>) {
        let (n, p) = (segment(&namespace), segment(&pod));
        let Part { container, query, lines, bytes } = of;
        let path = format!("/api/v1/namespaces/{n}/pods/{p}/log?{query}");
        let asked = format!("log of pod {namespace}/{pod}");
        let needed = permission(Need::PodLogs.row(), Some(&namespace));
        let (lines, allowed) = match self.client.get_beginning(&path, "*/*", &asked, bytes).await {
            Ok(answer) if answer.status == StatusCode::NOT_FOUND => {
                let gone =
                    Why::new(WhyKind::TooEarly, asked, "the pod has just gone, and another takes its place");
                (Observed::Unknown(gone), Some(true))
            }
            Ok(answer) if !is_log(&answer) => {
                (Observed::Unknown(answer.unlike(&asked, "log", "it is no plain text")), Some(true))
            }
            Ok(answer) => {
                let text = String::from_utf8_lossy(&answer.body);
                (Observed::Known(newest(&text, lines)), Some(true))
            }
            // kubelet's words, which the API server passes on.
            Err(why) if STARTING.iter().any(|words| why.message.contains(words)) => {
                let starting = Why::new(WhyKind::TooEarly, asked, why.message);
                (Observed::Unknown(starting), Some(true))
            }
            Err(mut why) => {
                let denied = why.kind == WhyKind::Forbidden;
                if denied {
                    why.permission = Some(needed.clone());
                }
                (Observed::Unknown(why), denied.then_some(false))
            }
        };
        (
            PodLog { namespace, pod, container, lines },
            allowed.map(|allowed| Trial { permission: needed, allowed }),
        )
    }
}

/// The newest lines of a log: a server may send more than was asked for.
fn newest(text: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().rev().take(most).map(str::to_owned).collect();
    lines.reverse();
    lines
}

/// A log is plain text, and no web page that came in its place.
fn is_log(answer: &Answer) -> bool {
    answer.is_plain_text() && !answer.body.trim_ascii_start().to_ascii_lowercase().starts_with(b"<!doctype")
}

/// What is said of a container that has no log yet
/// (<https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/kubelet/kubelet_pods.go>: `validateContainerLogStatus`).
const STARTING: &[&str] = &["is waiting to start: ContainerCreating", "is waiting to start: PodInitializing"];

/// What the listings refer to.
struct Wanted {
    pods_in: Vec<String>,
    leases_in: Vec<String>,
    policies_in: Vec<String>,
    /// Namespaces of Flux beside the one that was named.
    flux_in: Vec<String>,
    unwell_in: BTreeSet<String>,
    secrets: Vec<(String, String)>,
    /// Objects of other kinds.
    others: Vec<ObjectRef>,
}

impl Wanted {
    /// Without what is outside of the namespaces that the run is limited to.
    fn within(mut self, is_within: impl Fn(&str) -> bool) -> Self {
        for namespaces in [&mut self.pods_in, &mut self.leases_in, &mut self.policies_in, &mut self.flux_in] {
            namespaces.retain(|namespace| is_within(namespace));
        }
        self.unwell_in.retain(|namespace| is_within(namespace));
        self.secrets.retain(|(namespace, _)| is_within(namespace));
        self.others.retain(|object| is_within(&object.namespace));
        self
    }
}

fn wanted(snapshot: &Snapshot) -> Wanted {
    let facts = Facts::derive(snapshot);
    let agents: BTreeSet<String> = facts.agents.iter().map(|a| a.namespace().to_owned()).collect();
    let mut unwell = unwell(&facts);
    unwell.extend(job::named(snapshot).map(|job| job.namespace));
    unwell.extend(facts.called.keys().map(|object| object.namespace.clone()));
    let flux: BTreeSet<String> = facts.flux_namespaces().into_iter().map(str::to_owned).collect();
    let (own, others) =
        reference::wanted(snapshot).into_iter().partition::<Vec<_>, _>(|o| o.kind == "Secret");
    let mut secrets = secrets(&facts);
    secrets.extend(own.into_iter().map(|o| (o.namespace, o.name)));
    let policies =
        agents.iter().chain(&flux).chain([&snapshot.flux_namespace]).cloned().collect::<BTreeSet<_>>();
    Wanted {
        // Those of Flux for their addresses.
        pods_in: agents
            .iter()
            .chain(&unwell)
            .chain(&flux)
            .cloned()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
        leases_in: agents.into_iter().collect(),
        policies_in: policies.into_iter().collect(),
        flux_in: flux.into_iter().filter(|n| *n != snapshot.flux_namespace).collect(),
        unwell_in: unwell,
        secrets: secrets.into_iter().collect(),
        others,
    }
}

/// Adds the listing of further namespaces.
fn join<T>(whole: &mut Listing<T>, more: Listing<T>) {
    whole.items.extend(more.items);
    whole.gaps.extend(more.gaps);
    if let (Some(all), Some(listed)) = (&mut whole.namespaces, more.namespaces) {
        all.extend(listed);
    }
}

/// Namespaces of workloads that are not well and that something of Flux deployed, or that are Flux.
fn unwell(facts: &Facts<'_>) -> BTreeSet<String> {
    let s = facts.snapshot;
    let owners = facts.owners();
    let kinds =
        [("Deployment", &s.deployments), ("StatefulSet", &s.stateful_sets), ("DaemonSet", &s.daemon_sets)];
    let workloads =
        kinds.into_iter().flat_map(|(kind, listing)| listing.items.iter().map(move |w| (kind, w)));
    workloads
        .filter(|(kind, w)| !w.is_well(kind))
        .filter(|(kind, w)| {
            let flux = w.metadata.label("app.kubernetes.io/part-of") == Some("flux");
            let release = w.metadata.label("helm.toolkit.fluxcd.io/name").is_some();
            flux || release
                || w.metadata.namespace == s.flux_namespace
                || owners.contains_key(&w.metadata.object(kind))
        })
        .map(|(_, w)| w.metadata.namespace.clone())
        .collect()
}

fn secrets(facts: &Facts<'_>) -> BTreeSet<(String, String)> {
    let s = facts.snapshot;
    let mut found = BTreeSet::new();
    for (_, listing) in facts.source_kinds() {
        for source in &listing.items {
            let secret = source.spec.secret_ref.iter();
            found.extend(secret.map(|r| (source.metadata.namespace.clone(), r.name.clone())));
        }
    }
    for receiver in &s.receivers.items {
        found.insert((receiver.metadata.namespace.clone(), receiver.spec.secret_ref.name.clone()));
    }
    for provider in s.providers.items.iter().filter(|p| p.writes_to_gitlab()) {
        let secret = provider.spec.secret_ref.iter();
        found.extend(secret.map(|r| (provider.metadata.namespace.clone(), r.name.clone())));
    }
    let from_git = facts.secrets_from_git().into_iter().take(FROM_GIT);
    found.extend(from_git.map(|f| (f.object.namespace, f.object.name)));
    found.extend(facts.agents.iter().filter_map(Agent::secret_object).map(|o| (o.namespace, o.name)));
    found.extend(agent_secrets(facts));
    found.extend(left_secrets(facts));
    found.retain(|(_, name)| !name.is_empty());
    found
}

/// Secrets that agentk may have left behind: they have the name that it gives, and the Receiver is gone.
fn left_secrets(facts: &Facts<'_>) -> BTreeSet<(String, String)> {
    let s = facts.snapshot;
    let own = facts.gitlab_host();
    let here = s.git_repositories.items.iter().filter(|g| own.is_some() && host(&g.spec.url) == own);
    let listed = s
        .receivers
        .items
        .iter()
        .flat_map(|r| r.spec.resources.iter().map(|of| Facts::resolve(of, &r.metadata.namespace)));
    let listed: BTreeSet<(String, String)> = listed.map(|of| (of.namespace, of.name)).collect();
    let has_receiver = |namespace: &str, name: &str| {
        [name, "*"].iter().any(|name| listed.contains(&(namespace.to_owned(), (*name).to_owned())))
    };
    here.map(|g| (g.metadata.namespace.clone(), g.metadata.name.clone()))
        .filter(|(namespace, name)| !has_receiver(namespace, name))
        .map(|(namespace, name)| (namespace, format!("gitlab-receiver-{name}")))
        .collect()
}

/// Secrets that may hold an agent's token: the one that the release names, the documented name, and those that Flux
/// applied to the release's namespace. GA305 tells them apart.
fn agent_secrets(facts: &Facts<'_>) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    let applied: Vec<&ObjectRef> = facts.owners().keys().filter(|o| o.kind == "Secret").collect();
    for release in facts.agent_releases() {
        let target = &release.spec.target_namespace;
        let namespace = if target.is_empty() { &release.metadata.namespace } else { target };
        let named = release.spec.values.secret_name.iter().map(String::as_str).chain(["gitlab-agent-token"]);
        found.extend(named.map(|name| (namespace.clone(), name.to_owned())));
        let here = applied.iter().filter(|o| o.namespace == *namespace);
        found.extend(here.map(|o| (o.namespace.clone(), o.name.clone())));
    }
    found
}
