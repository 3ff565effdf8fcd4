//! What depends on what: so that a report can show a consequence under its cause.
//!
//! An edge means "does not work unless that works". Deliberately no edge: from an object to the Kustomization or
//! HelmRelease that applied it, because a failing one leaves what runs running.

mod edges;

use std::collections::{HashMap, HashSet};

use super::agent::Agent;
use super::creator::{Creators, failing_appliers};
use super::flux::{Instances, bootstrap, bootstrap_object, controller_of};
use super::gone::is_gone;
use super::network::Blocked;
use super::node::Lost;
use super::reference::Missings;
use super::service::{cannot_download, service_of};
use super::waits::names_waited_for;
use super::{Facts, InventoryEntry};
use super::{dispatch, events_addr, token_secret, waits};
use crate::object::ObjectRef;
use crate::snapshot::Snapshot;
use crate::snapshot::kinds::{Condition, Event, HelmRelease, Inventory, Meta, Source};
use edges::Edges;
pub use edges::Nearest;

/// The objects that each object needs.
#[derive(Debug, Default)]
pub struct Graph {
    edges: Edges,
}

/// What was found out before, and gives edges.
pub(super) struct Seen<'a> {
    /// What does not exist.
    pub(super) missing: &'a Missings,
    /// Who would create it.
    pub(super) creators: &'a Creators,
    /// From what fails to the workloads that its errors lead to.
    pub(super) calls: &'a [(ObjectRef, ObjectRef)],
    /// What policies keep from the outside.
    pub(super) blocked: &'a [Blocked],
    /// Alerts whose older failures a policy explains.
    pub(super) blocked_before: &'a [(ObjectRef, ObjectRef)],
    /// Nodes that do not answer.
    pub(super) lost: &'a Lost,
}

/// The graph while it is built.
struct Builder<'s> {
    edges: Edges,
    /// The Deployments of each controller.
    instances: &'s Instances<'s>,
    /// The Services from which artifacts are downloaded.
    artifacts: Vec<ObjectRef>,
    /// What does not exist because the one that applies it fails: each hangs on that, not the other way round.
    gone: HashSet<(ObjectRef, ObjectRef)>,
}

impl Graph {
    /// Builds the graph of a snapshot.
    pub(super) fn build(
        s: &Snapshot,
        agents: &[Agent<'_>],
        instances: &Instances<'_>,
        seen: &Seen<'_>,
    ) -> Self {
        let gone = gone(s);
        let mut graph = Builder { edges: Edges::default(), instances, artifacts: Vec::new(), gone };
        graph.add_services(s);
        graph.add_sources(s);
        graph.add_kustomizations(s);
        graph.add_releases(s);
        graph.add_receivers(s, agents);
        graph.add_notifications(s);
        graph.add_bootstrap(s);
        for agent in agents {
            graph.add_agent(agent);
        }
        graph.add_waits(s, seen.missing, seen.creators);
        seen.calls.iter().for_each(|(object, need)| graph.edges.add(object, need));
        let blocked = seen.blocked.iter().filter_map(|of| Some((&of.object, of.policies.first()?)));
        let earlier = seen.blocked_before.iter().map(|(object, policy)| (object, policy));
        blocked.chain(earlier).for_each(|(object, policy)| graph.edges.add(object, policy));
        for (node, workloads) in seen.lost.nodes() {
            workloads.into_iter().for_each(|(workload, _)| graph.edges.add(workload, node));
        }
        graph.edges.sort();
        Self { edges: graph.edges }
    }

    /// Everything that `object` needs, directly or not, nearest first. For many objects see [`Graph::nearest`].
    pub fn needs(&self, object: &ObjectRef) -> Vec<ObjectRef> {
        self.edges.needs(object)
    }

    /// Everything that one of `objects` or another needs, directly or not.
    pub fn needs_of<'o>(&self, objects: impl IntoIterator<Item = &'o ObjectRef>) -> HashSet<&ObjectRef> {
        self.edges.reach(objects).map(|number| self.edges.object(number)).collect()
    }

    /// Of the objects that fit, the nearest that each object needs: one walk for all objects.
    pub fn nearest(&self, fits: impl Fn(&ObjectRef) -> bool) -> Nearest<'_> {
        self.edges.nearest(fits)
    }
}

impl Builder<'_> {
    fn add(&mut self, object: &ObjectRef, need: ObjectRef) {
        self.edges.add(object, &need);
    }

    /// The instance in charge of an object; where none is, the one that should be there.
    fn add_controller(&mut self, kind: &str, metadata: &Meta) {
        if let Some(name) = controller_of(kind) {
            self.edges.add(&metadata.object(kind), &self.instances.expected(name, metadata));
        }
    }

    fn add_sources(&mut self, s: &Snapshot) {
        let kinds: [(&str, &[Source]); 5] = [
            ("GitRepository", &s.git_repositories.items),
            ("OCIRepository", &s.oci_repositories.items),
            ("Bucket", &s.buckets.items),
            ("HelmRepository", &s.helm_repositories.items),
            ("HelmChart", &s.helm_charts.items),
        ];
        for (kind, source) in kinds.into_iter().flat_map(|(kind, items)| items.iter().map(move |i| (kind, i)))
        {
            let object = source.metadata.object(kind);
            self.add_controller(kind, &source.metadata);
            if let Some(secret) = &source.spec.secret_ref {
                self.add(&object, ObjectRef::new("Secret", &object.namespace, &secret.name));
            }
            if let Some(from) = &source.spec.source_ref {
                self.add(&object, Facts::resolve(from, &object.namespace));
            }
        }
    }

    fn add_kustomizations(&mut self, s: &Snapshot) {
        for k in &s.kustomizations.items {
            let object = k.metadata.object("Kustomization");
            self.add_controller("Kustomization", &k.metadata);
            let status = &k.status;
            let by_itself = k.fails_by_itself();
            if !by_itself {
                self.add(&object, Facts::resolve(&k.spec.source_ref, &object.namespace));
            }
            for on in &k.spec.depends_on {
                let mut need = Facts::resolve(on, &object.namespace);
                need.kind = "Kustomization".to_owned();
                self.add(&object, need);
            }
            if k.spec.kube_config.is_none() {
                let told = by_itself || names_waited_for(&status.conditions);
                self.add_inventory(&object, &k.status.inventory, told);
            }
            self.add_download(&object, &k.status.conditions);
        }
    }

    /// A release that names a Secret that does not exist, while another is meant, is the cause: the Secret, agentk's
    /// Deployment and all behind it hang on the release. So its own wait for that Deployment is left out.
    fn add_releases(&mut self, s: &Snapshot) {
        let candidates = token_secret::Candidates::of(s);
        let misnamed = token_secret::named(s).filter(|n| candidates.is_misnamed(n));
        let misnamed: HashMap<ObjectRef, ObjectRef> =
            misnamed.map(|n| (n.release.metadata.object("HelmRelease"), n.object)).collect();
        for r in &s.helm_releases.items {
            let object = r.metadata.object("HelmRelease");
            self.add_controller("HelmRelease", &r.metadata);
            let status = &r.status;
            let by_itself = r.fails_by_itself();
            if !by_itself {
                self.add_charts(&object, r);
            }
            for on in &r.spec.depends_on {
                let mut need = Facts::resolve(on, &object.namespace);
                need.kind = "HelmRelease".to_owned();
                self.add(&object, need);
            }
            self.add_download(&object, &r.status.conditions);
            match misnamed.get(&object) {
                Some(secret) => self.add(secret, object),
                None if r.spec.kube_config.is_some() => {}
                None => {
                    let told = by_itself || names_waited_for(&status.conditions);
                    self.add_inventory(&object, &r.status.inventory, told);
                }
            }
        }
    }

    fn add_charts(&mut self, object: &ObjectRef, r: &HelmRelease) {
        if let Some((namespace, name)) = r.status.helm_chart.split_once('/') {
            self.add(object, ObjectRef::new("HelmChart", namespace, name));
        }
        if let Some(chart) = &r.spec.chart {
            self.add(object, Facts::resolve(&chart.spec.source_ref, &object.namespace));
        }
        if let Some(chart) = &r.spec.chart_ref {
            self.add(object, Facts::resolve(chart, &object.namespace));
        }
    }

    /// What lies before source-controller and notification-controller: the Service, and the policies of its namespace.
    fn add_services(&mut self, s: &Snapshot) {
        self.artifacts = self.instances.of("source-controller").iter().map(|d| service_of(d)).collect();
        let events = self.instances.of("notification-controller").iter().map(|d| service_of(d));
        for service in events.chain(self.artifacts.clone()) {
            let own = s.network_policies.items.iter().filter(|p| p.metadata.namespace == service.namespace);
            own.for_each(|policy| self.edges.add(&service, &policy.metadata.object("NetworkPolicy")));
        }
    }

    /// What cannot download its artifact needs what lies between it and source-controller.
    fn add_download(&mut self, object: &ObjectRef, conditions: &[Condition]) {
        if cannot_download(conditions) {
            self.artifacts.iter().for_each(|service| self.edges.add(object, service));
        }
    }

    /// An applier's health checks wait for its workloads. One that fails by itself did not get so far, and one that says what it
    /// waited for (`told`) means no other: a workload that does not run is another problem then.
    fn add_inventory(&mut self, owner: &ObjectRef, inventory: &Inventory, told: bool) {
        for object in inventory.entries.iter().filter_map(InventoryEntry::object) {
            if self.gone.contains(&(owner.clone(), object.clone())) {
                self.add(&object, owner.clone());
            } else if !told && matches!(object.kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet") {
                self.add(owner, object);
            }
        }
    }

    /// What failed objects waited for and what is missing. A release that names the wrong Secret waits for nothing, see
    /// [`Self::add_releases`].
    fn add_waits(&mut self, s: &Snapshot, missing: &Missings, creators: &Creators) {
        let candidates = token_secret::Candidates::of(s);
        let misnamed = token_secret::named(s).filter(|n| candidates.is_misnamed(n));
        let misnamed: HashSet<ObjectRef> =
            misnamed.map(|n| n.release.metadata.object("HelmRelease")).collect();
        for (object, need) in waits::edges(s, missing, creators, self.instances) {
            if !misnamed.contains(&object) {
                self.add(&object, need);
            }
        }
    }

    fn add_receivers(&mut self, s: &Snapshot, agents: &[Agent<'_>]) {
        // What lies between a push event and the Receiver.
        let services = s.services.items.iter().filter(|i| i.metadata.name == "webhook-receiver");
        let services = self.edges.add_group("Service", services.map(|i| i.metadata.object("Service")));
        let policies = s.network_policies.items.iter().map(|p| p.metadata.object("NetworkPolicy"));
        let policies = self.edges.add_group("NetworkPolicy", policies);
        for receiver in &s.receivers.items {
            let object = receiver.metadata.object("Receiver");
            self.add_controller("Receiver", &receiver.metadata);
            self.add(&object, ObjectRef::new("Secret", &object.namespace, &receiver.spec.secret_ref.name));
            self.edges.add_all(&object, services);
            self.edges.add_all(&object, policies);
        }
        let notifications = self.instances.expected("notification-controller", &Meta::default());
        let senders = agents.iter().map(Agent::object).chain([notifications]);
        let senders = self.edges.add_group("Deployment", senders);
        for repository in &s.git_repositories.items {
            let object = expected_receiver(&repository.metadata.namespace, &repository.metadata.name);
            self.edges.add_all(&object, senders);
        }
    }

    fn add_notifications(&mut self, s: &Snapshot) {
        let failed = dispatched(s);
        for alert in &s.alerts.items {
            let object = alert.metadata.object("Alert");
            self.add_controller("Alert", &alert.metadata);
            if !failed.contains(&object) {
                let server = self.instances.in_charge("notification-controller", &alert.metadata);
                server.into_iter().for_each(|server| self.edges.add(&object, &service_of(server)));
            }
            self.add(&object, ObjectRef::new("Provider", &object.namespace, &alert.spec.provider_ref.name));
        }
        for provider in &s.providers.items {
            if let Some(secret) = provider.secret() {
                self.add(&provider.metadata.object("Provider"), secret);
            }
        }
        for astray in events_addr::astray(s, self.instances) {
            let sender = astray.sender.metadata.object("Deployment");
            let alerts = astray.alerts.iter().map(|alert| alert.metadata.object("Alert"));
            alerts.filter(|alert| !failed.contains(alert)).for_each(|alert| self.edges.add(&alert, &sender));
        }
    }

    fn add_bootstrap(&mut self, s: &Snapshot) {
        let Ok((kustomization, found)) = bootstrap(s) else { return };
        let object = bootstrap_object(&s.flux_namespace, &kustomization);
        if let Some(found) = found {
            self.add(&object, Facts::resolve(&found.spec.source_ref, &kustomization.namespace));
        }
        self.add(&object, kustomization);
    }

    fn add_agent(&mut self, agent: &Agent<'_>) {
        let object = agent.object();
        if let Some(secret) = agent.secret_object() {
            self.add(&object, secret);
        }
        if let Some(lease) = agent.lease.as_ref().ok().copied().flatten() {
            self.add(&lease.metadata.object("Lease"), object);
        }
    }
}

/// The Alerts whose events arrived and were refused by the receiver: what lies before notification-controller is not the cause.
fn dispatched(s: &Snapshot) -> HashSet<ObjectRef> {
    let refused =
        |event: &&Event| dispatch::classify(&event.message).is_some_and(|failure| !failure.is_network());
    s.dispatch_failures.items.iter().filter(refused).map(Event::about).collect()
}

/// What of inventories does not exist, with the appliers that fail to apply it.
fn gone(s: &Snapshot) -> HashSet<(ObjectRef, ObjectRef)> {
    let failing = failing_appliers(s).flat_map(|(owner, inventory)| {
        inventory.entries.iter().filter_map(InventoryEntry::object).map(move |object| (owner.clone(), object))
    });
    failing.filter(|(_, object)| is_gone(s, object)).collect()
}

/// The Receiver that agentk makes for a GitRepository: `gitlab-<name>`, cut to 63 characters.
pub fn expected_receiver(namespace: &str, repository: &str) -> ObjectRef {
    let mut name: Vec<char> = format!("gitlab-{repository}").chars().take(63).collect();
    if !name.last().is_some_and(char::is_ascii_alphanumeric) {
        name.truncate(name.len().saturating_sub(2));
        name.extend(['-', 'x']);
    }
    ObjectRef::new("Receiver", namespace, &name.into_iter().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::snapshot::{Observed, SecretEntry};

    #[test]
    fn the_bootstrap_needs_its_kustomization_and_source() {
        let snapshot = fixture::healthy();
        let facts = Facts::derive(&snapshot);
        let needs = facts.graph.needs(&ObjectRef::new("Bootstrap", "flux-system", "flux-system"));
        for kind in ["Kustomization", "GitRepository"] {
            assert!(needs.contains(&ObjectRef::new(kind, "flux-system", "flux-system")), "{kind}: {needs:?}");
        }
    }

    #[test]
    fn a_misnamed_secret_hangs_on_the_release_that_names_it() {
        let mut s = fixture::healthy();
        let [release, deployment, secret] =
            [("HelmRelease", "gitlab-agent"), ("Deployment", "gitlab-agent-v2"), ("Secret", "other")]
                .map(|(kind, name)| ObjectRef::new(kind, "gitlab", name));
        s.helm_releases.items[0].spec.values.secret_name = Some("other".to_owned());
        s.secrets.push(SecretEntry {
            namespace: "gitlab".to_owned(),
            name: "other".to_owned(),
            shape: Observed::Known(None),
        });
        let volumes = &mut fixture::deployment_mut(&mut s, "gitlab-agent-v2").spec.template.spec.volumes;
        volumes[0].secret.as_mut().expect("a Secret").secret_name = "other".to_owned();
        let graph = |s: &Snapshot| Facts::derive(s).graph;
        assert!(graph(&s).needs(&secret).contains(&release));
        assert!(graph(&s).needs(&deployment).contains(&release));
        assert!(!graph(&s).needs(&release).contains(&secret), "no circle");
        fixture::secret(&mut s, "gitlab", "gitlab-agent-token").keys.clear();
        assert!(graph(&s).needs(&secret).is_empty(), "no other Secret is meant");
        assert!(graph(&s).needs(&release).contains(&secret));
    }
}
