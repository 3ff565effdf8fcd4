//! What reads the Secret: agentk, sources, Providers, and by what each of them proves a new credential.

use std::collections::BTreeSet;

use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::facts::readiness::{Readiness, readiness};
use gitlab_agent_core::object::ObjectRef;

/// What reads the Secret.
#[derive(Clone, Debug)]
pub enum Reader {
    /// agentk, at its start: all its Deployments that mount the Secret.
    Agent(Vec<Agentk>),
    /// source-controller, at each fetch.
    Sources(Vec<Fetcher>),
    /// notification-controller, at each notification.
    Providers(Vec<Notifier>),
}

/// agentk.
#[derive(Clone, Debug)]
pub struct Agentk {
    /// Its Deployment.
    pub deployment: ObjectRef,
    /// The HelmRelease that installed it, where one did, and whether it is suspended.
    pub release: Option<(ObjectRef, bool)>,
    /// The agent's number, from the name of its Lease.
    pub agent: Option<u64>,
    /// Projects that Flux fetches, on any host: candidates for the one that the agent is registered in.
    pub projects: Vec<String>,
}

/// A source that is fetched with it.
#[derive(Clone, Debug)]
pub struct Fetcher {
    /// The source.
    pub object: ObjectRef,
    /// Its URL.
    pub url: String,
    /// Nothing is fetched.
    pub suspended: bool,
    /// Why it is not fetched now, where it is not.
    pub fails: Option<String>,
    /// What is asked to fetch as proof: the source itself, or the charts of a static HelmRepository.
    pub proof: Vec<ObjectRef>,
}

/// A Provider that writes with it.
#[derive(Clone, Debug)]
pub struct Notifier {
    /// The Provider.
    pub object: ObjectRef,
    /// The project's URL.
    pub address: String,
    /// The Alerts that send through it.
    pub alerts: Vec<ObjectRef>,
    /// Kustomizations whose events they send, and which are not suspended: what is asked to reconcile as proof.
    pub proof: Vec<ObjectRef>,
    /// The branches on whose commits it sets statuses.
    pub branches: BTreeSet<String>,
}

pub(super) fn fetcher(facts: &Facts<'_>, object: &ObjectRef) -> Option<Fetcher> {
    let source = facts.sources(&object.kind)?.find(&object.namespace, &object.name).ok()??;
    let is_static = object.kind == "HelmRepository" && source.spec.kind == "oci";
    let (meta, status) = (&source.metadata, &source.status);
    let ready = readiness(&status.conditions, meta.generation, status.observed_generation, false);
    let fails = match ready {
        _ if is_static => None,
        Readiness::Failed(condition) | Readiness::Waiting(condition) => Some(condition.message.clone()),
        Readiness::NotObserved => Some("source-controller has not looked at it yet".to_owned()),
        _ => None,
    };
    let charts = facts.snapshot.helm_charts.items.iter().filter(|chart| {
        chart
            .spec
            .source_ref
            .as_ref()
            .is_some_and(|of| Facts::resolve(of, &chart.metadata.namespace) == *object)
            && !chart.spec.suspend
    });
    let proof = match (source.spec.suspend, is_static) {
        (true, _) => Vec::new(),
        (false, true) => charts.map(|chart| chart.metadata.object("HelmChart")).collect(),
        (false, false) => vec![object.clone()],
    };
    let url = source.spec.url.to_string();
    Some(Fetcher { object: object.clone(), url, suspended: source.spec.suspend, fails, proof })
}

pub(super) fn notifier(facts: &Facts<'_>, object: &ObjectRef) -> Option<Notifier> {
    let s = facts.snapshot;
    let provider = s.providers.find(&object.namespace, &object.name).ok()??;
    let sends = |a: &&gitlab_agent_core::facts::Alert| {
        a.metadata.namespace == object.namespace && a.spec.provider_ref.name == object.name && !a.spec.suspend
    };
    let alerts: Vec<_> = s.alerts.items.iter().filter(sends).collect();
    let covered =
        s.kustomizations.items.iter().filter(|k| {
            !k.spec.suspend && alerts.iter().any(|alert| alert.covers("Kustomization", &k.metadata))
        });
    Some(Notifier {
        object: object.clone(),
        address: provider.spec.address.to_string(),
        branches: facts.status_branches(provider),
        alerts: alerts.iter().map(|a| a.metadata.object("Alert")).collect(),
        proof: if provider.spec.suspend {
            Vec::new()
        } else {
            covered.map(|k| k.metadata.object("Kustomization")).collect()
        },
    })
}
