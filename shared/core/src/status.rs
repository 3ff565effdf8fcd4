//! What runs here, is it healthy, and which revision is where: the data of one screen.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::API_VERSION;
use crate::facts::agent::{Agent, Connection};
use crate::facts::flux::CONTROLLERS;
use crate::facts::readiness::{Readiness, readiness};
use crate::facts::{Facts, HelmRelease, Kustomization, Source, Why};
use crate::object::ObjectRef;
use crate::report::{Problem, Report};
use crate::snapshot::Snapshot;

/// Everything that `status` shows.
#[derive(Debug)]
pub struct Status {
    /// The verdict and what is not well, as `verify` sees it.
    pub report: Report,
    /// The Flux controllers.
    pub controllers: Vec<ControllerRow>,
    /// agentk installations.
    pub agents: Vec<AgentRow>,
    /// Sources with what they feed.
    pub sources: Vec<SourceRow>,
    /// What could not be seen.
    pub gaps: Vec<Why>,
}

/// One Flux controller.
#[derive(Debug, Serialize)]
pub struct ControllerRow {
    /// For example `source-controller`.
    pub name: String,
    /// Tag of its image, where it is installed.
    pub version: Option<String>,
    /// Pods ready and wanted; `null` where it is not installed or not known.
    pub ready: Option<i64>,
    /// Pods wanted.
    pub wanted: Option<i64>,
}

/// One agentk installation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentRow {
    /// Namespace.
    pub namespace: String,
    /// Name of the Deployment.
    pub name: String,
    /// Number of the agent in GitLab, where known.
    pub id: Option<u64>,
    /// Version of agentk, where known.
    pub version: Option<String>,
    /// Where it connects to.
    pub kas_address: Option<String>,
    /// Pods ready.
    pub ready: i64,
    /// Pods wanted.
    pub wanted: i64,
    /// `true`, `false`, or `null` where the cluster does not show it.
    pub connected: Option<bool>,
    /// What shows that.
    pub evidence: String,
    /// The pod that holds the Lease.
    pub leader: Option<String>,
    /// Its pods.
    pub pods: Vec<PodRow>,
}

/// One pod of agentk.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodRow {
    /// Name.
    pub name: String,
    /// Phase.
    pub phase: String,
    /// When its agentk process started.
    pub started_at: Option<Timestamp>,
    /// Restarts of its containers.
    pub restarts: i64,
}

/// One source.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceRow {
    /// The object.
    pub object: ObjectRef,
    /// Where it stands: `ready`, `failed`, `waiting`, `progressing`, `suspended`, `not observed` or `static`.
    pub state: &'static str,
    /// What is not right, in the controller's words.
    pub message: Option<String>,
    /// What was fetched last.
    pub revision: Option<String>,
    /// When that was stored.
    pub revision_at: Option<Timestamp>,
    /// Where from.
    pub url: Option<String>,
    /// The Receiver through which a push triggers it: `ready`, `not ready` or `none`; `null` where none is expected
    /// or it is not known.
    pub receiver: Option<&'static str>,
    /// What it feeds.
    pub feeds: Vec<ApplierRow>,
}

/// A Kustomization or HelmRelease.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplierRow {
    /// The object.
    pub object: ObjectRef,
    /// Where it stands, see [`SourceRow::state`].
    pub state: &'static str,
    /// What is not right, in the controller's words.
    pub message: Option<String>,
    /// What it applied last.
    pub revision: Option<String>,
    /// When its state last changed.
    pub since: Option<Timestamp>,
}

impl Status {
    /// Builds the status from facts and the report on them.
    pub fn build(facts: &Facts<'_>, report: Report) -> Self {
        let mut gaps = Vec::new();
        let listings = facts.source_kinds().map(|(_, listing)| &listing.gaps);
        let others = [&facts.snapshot.kustomizations.gaps, &facts.snapshot.helm_releases.gaps];
        let deployments = [&facts.snapshot.deployments.gaps, &facts.snapshot.receivers.gaps];
        for why in listings.into_iter().chain(others).chain(deployments).flatten() {
            if !gaps.contains(why) {
                gaps.push(why.clone());
            }
        }
        Self {
            report,
            controllers: controllers(facts),
            agents: facts.agents.iter().map(|a| agent(facts, a)).collect(),
            sources: sources(facts),
            gaps,
        }
    }

    /// The published shape (docs/formats.md).
    pub(crate) fn document<'s>(&'s self) -> impl Serialize + 's {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Document<'s> {
            api_version: &'static str,
            kind: &'static str,
            context: Option<&'s str>,
            recording: Option<&'s str>,
            server: &'s str,
            observed_at: String,
            verdict: &'static str,
            exit_code: u8,
            kubernetes: Option<&'s str>,
            flux: Flux<'s>,
            agents: &'s [AgentRow],
            sources: &'s [SourceRow],
            problems: Vec<Line<'s>>,
            unknown: &'s [Why],
        }
        #[derive(Serialize)]
        struct Flux<'s> {
            release: Option<&'s str>,
            controllers: &'s [ControllerRow],
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Line<'s> {
            code: String,
            severity: crate::assess::Severity,
            subject: &'s ObjectRef,
            message: &'s str,
            follows_from: Option<String>,
        }
        let report = &self.report;
        let line = |(p, cause): (&'s Problem, Option<&Problem>)| Line {
            code: p.check.id(),
            severity: p.severity,
            subject: &p.finding.subject,
            message: &p.finding.message,
            follows_from: cause.map(|c| c.check.id()),
        };
        Document {
            api_version: API_VERSION,
            kind: "Status",
            context: report.origin.context.as_deref(),
            recording: report.recording.as_deref(),
            server: &report.origin.server,
            observed_at: report.observed_at.to_string(),
            verdict: report.verdict(),
            exit_code: report.exit.code(),
            kubernetes: report.kubernetes.as_deref(),
            flux: Flux { release: report.flux.as_deref(), controllers: &self.controllers },
            agents: &self.agents,
            sources: &self.sources,
            problems: report.findings().map(line).collect(),
            unknown: &self.gaps,
        }
    }
}

/// The controllers that are installed, and those that are missing.
fn controllers(facts: &Facts<'_>) -> Vec<ControllerRow> {
    let rows = CONTROLLERS.iter().map(|(name, _)| controller(facts, name));
    rows.filter(|row| row.wanted.is_some() || facts.needs_controller(&row.name) != Ok(false)).collect()
}

fn controller(facts: &Facts<'_>, name: &str) -> ControllerRow {
    let found = facts.controller(name).ok().flatten();
    let image = found.and_then(|d| d.spec.template.spec.containers.first()).map(|c| c.image.as_str());
    let tag = image.and_then(|i| i.split('@').next()?.rsplit('/').next()?.split_once(':'));
    let (wanted, ready) = found.map(|d| d.readiness("Deployment")).unzip();
    ControllerRow { name: name.to_owned(), version: tag.map(|(_, tag)| tag.to_owned()), ready, wanted }
}

fn agent(facts: &Facts<'_>, agent: &Agent<'_>) -> AgentRow {
    let (connected, evidence) = match agent.connection(facts.now) {
        Connection::Connected(evidence) => (Some(true), evidence),
        Connection::Disconnected(_, evidence) => (Some(false), evidence),
        Connection::Unknown(why) => (None, why.message),
    };
    let (wanted, ready) = agent.deployment.readiness("Deployment");
    let leader = agent.leader(facts.now).ok().flatten().map(|p| p.metadata.name.clone());
    let pods = agent.pods.as_deref().unwrap_or_default().iter().map(|pod| PodRow {
        name: pod.metadata.name.clone(),
        phase: pod.status.phase.clone(),
        started_at: Agent::token_read_at(pod),
        restarts: pod.status.container_statuses.iter().map(|c| c.restart_count).sum(),
    });
    AgentRow {
        namespace: agent.namespace().to_owned(),
        name: agent.deployment.metadata.name.clone(),
        id: agent.id,
        version: agent.version().map(str::to_owned),
        kas_address: agent.kas_address().map(str::to_owned),
        ready,
        wanted,
        connected,
        evidence,
        leader,
        pods: pods.collect(),
    }
}

/// GitRepository, OCIRepository, Bucket and HelmRepository, each with what it feeds. HelmCharts are part of the way
/// from a HelmRepository to its HelmRelease and have no row of their own.
fn sources(facts: &Facts<'_>) -> Vec<SourceRow> {
    let mut rows = Vec::new();
    let mut feeds = feeds(facts);
    let receivers = receivers(facts);
    for (kind, listing) in facts.source_kinds().into_iter().filter(|(kind, _)| *kind != "HelmChart") {
        for source in &listing.items {
            let mut row = source_row(kind, source);
            if kind == "GitRepository" {
                let none = facts.snapshot.receivers.gaps.is_empty().then_some("none");
                row.receiver = receivers.get(&row.object).copied().or(none);
            }
            row.feeds = feeds.remove(&row.object).unwrap_or_default();
            rows.push(row);
        }
    }
    rows.extend(feeds.into_iter().map(|(object, feeds)| SourceRow { feeds, ..absent(facts, object) }));
    rows.sort_by(|a, b| a.object.cmp(&b.object));
    rows
}

/// What something is applied from, and is not among the sources that were listed.
fn absent(facts: &Facts<'_>, object: ObjectRef) -> SourceRow {
    let listing = facts.source_kinds().into_iter().find(|(kind, _)| *kind == object.kind);
    let (state, message) = match listing.map(|(_, listing)| listing.find(&object.namespace, &object.name)) {
        Some(Ok(_)) => ("failed", "it does not exist".to_owned()),
        Some(Err(why)) => ("not observed", format!("{}: {}", why.asked, why.message)),
        None => ("not observed", "objects of this kind are not read".to_owned()),
    };
    SourceRow {
        object,
        state,
        message: Some(message),
        revision: None,
        revision_at: None,
        url: None,
        receiver: None,
        feeds: Vec::new(),
    }
}

fn source_row(kind: &str, source: &Source) -> SourceRow {
    let object = source.metadata.object(kind);
    let status = &source.status;
    let (state, message) = if source.spec.kind == "oci" && kind == "HelmRepository" {
        ("static", None)
    } else {
        word(readiness(
            &status.conditions,
            source.metadata.generation,
            status.observed_generation,
            source.spec.suspend,
        ))
    };
    let artifact = status.artifact.as_ref();
    SourceRow {
        state,
        message,
        revision: artifact.map(|a| a.revision.clone()),
        revision_at: artifact.and_then(|a| a.last_update_time),
        url: (!source.spec.url.is_empty()).then(|| source.spec.url.to_string()),
        receiver: None,
        feeds: Vec::new(),
        object,
    }
}

fn word(state: Readiness<'_>) -> (&'static str, Option<String>) {
    match state {
        Readiness::Suspended => ("suspended", None),
        Readiness::Ready => ("ready", None),
        Readiness::Failed(c) => ("failed", Some(c.message.clone())),
        Readiness::Waiting(c) => ("waiting", Some(c.message.clone())),
        Readiness::Progressing(c) => ("progressing", Some(c.message.clone())),
        Readiness::NotObserved => ("not observed", None),
    }
}

/// Of each object that a Receiver triggers: whether one of its Receivers is ready.
fn receivers(facts: &Facts<'_>) -> HashMap<ObjectRef, &'static str> {
    let mut states = HashMap::new();
    for r in &facts.snapshot.receivers.items {
        let s = &r.status;
        let state = readiness(&s.conditions, r.metadata.generation, s.observed_generation, r.spec.suspend);
        for to in &r.spec.resources {
            let known = states.entry(Facts::resolve(to, &r.metadata.namespace)).or_insert("not ready");
            if state == Readiness::Ready {
                *known = "ready";
            }
        }
    }
    states
}

/// What each source feeds, by object.
fn feeds(facts: &Facts<'_>) -> HashMap<ObjectRef, Vec<ApplierRow>> {
    let s = facts.snapshot;
    let mut rows: HashMap<ObjectRef, Vec<ApplierRow>> = HashMap::new();
    for k in &s.kustomizations.items {
        let source = Facts::resolve(&k.spec.source_ref, &k.metadata.namespace);
        rows.entry(source).or_default().push(kustomization(k));
    }
    for r in &s.helm_releases.items {
        let chart = r.spec.chart.as_ref().map(|c| &c.spec.source_ref).or(r.spec.chart_ref.as_ref());
        if let Some(reference) = chart {
            let source = behind_chart(s, Facts::resolve(reference, &r.metadata.namespace));
            rows.entry(source).or_default().push(release(r));
        }
    }
    rows.values_mut().for_each(|rows| rows.sort_by(|a, b| a.object.cmp(&b.object)));
    rows
}

/// A release may name a HelmChart, which has no row: its repository has.
fn behind_chart(s: &Snapshot, named: ObjectRef) -> ObjectRef {
    if named.kind != "HelmChart" {
        return named;
    }
    let chart = s.helm_charts.find(&named.namespace, &named.name).ok().flatten();
    let from = chart.and_then(|chart| chart.spec.source_ref.as_ref());
    from.map_or(named.clone(), |from| Facts::resolve(from, &named.namespace))
}

fn kustomization(k: &Kustomization) -> ApplierRow {
    let status = &k.status;
    let (state, message) = word(readiness(
        &status.conditions,
        k.metadata.generation,
        status.observed_generation,
        k.spec.suspend,
    ));
    let revision = (!status.last_applied_revision.is_empty()).then(|| status.last_applied_revision.clone());
    let object = k.metadata.object("Kustomization");
    ApplierRow { object, state, message, revision, since: since(&status.conditions) }
}

fn release(r: &HelmRelease) -> ApplierRow {
    let status = &r.status;
    let (state, message) = word(readiness(
        &status.conditions,
        r.metadata.generation,
        status.observed_generation,
        r.spec.suspend,
    ));
    let revision = status.history.first().map(|h| h.chart_version.clone());
    ApplierRow {
        object: r.metadata.object("HelmRelease"),
        state,
        message,
        revision,
        since: since(&status.conditions),
    }
}

fn since(conditions: &[crate::facts::Condition]) -> Option<Timestamp> {
    crate::facts::condition(conditions, "Ready").and_then(|c| c.last_transition_time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::snapshot::WhyKind;

    fn rows(change: impl FnOnce(&mut Snapshot)) -> Vec<SourceRow> {
        let mut snapshot = fixture::healthy();
        change(&mut snapshot);
        sources(&Facts::derive(&snapshot))
    }

    fn row(rows: &[SourceRow], name: &str) -> (&'static str, usize) {
        let row = rows.iter().find(|row| row.object.name == name).expect("a row");
        (row.state, row.feeds.len())
    }

    #[test]
    fn what_is_applied_from_a_source_that_is_not_there_is_shown_too() {
        let gone =
            |s: &mut Snapshot| s.git_repositories.items.retain(|g| g.metadata.name != "example-nginx-app");
        assert_eq!(row(&rows(gone), "example-nginx-app"), ("failed", 1));
        let hidden = rows(|s| {
            gone(s);
            s.git_repositories.namespaces = Some(Vec::new());
            s.git_repositories.gaps.push(Why::new(WhyKind::Forbidden, "list gitrepositories", "no"));
        });
        assert_eq!(row(&hidden, "example-nginx-app"), ("not observed", 1));
        let external =
            rows(|s| s.kustomizations.items[1].spec.source_ref.kind = "ExternalArtifact".to_owned());
        assert!(external.iter().any(|row| row.object.kind == "ExternalArtifact" && row.feeds.len() == 1));
    }
}
