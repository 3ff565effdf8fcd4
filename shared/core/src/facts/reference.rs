//! What objects refer to by name and do not work without, and what of it does not exist.
//!
//! Two sources tell: the spec with what was read by name, and the controllers' own words ("configmap "x" not found"),
//! which need no further permission and also name what only an admission controller put in.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use super::Facts;
use super::agent;
use super::flux;
use super::network::says_unresolved;
use super::readiness::{Readiness, readiness};
use super::said;
use crate::object::ObjectRef;
use crate::snapshot::kinds::{
    Condition, Container, CrossRef, Event, HelmRelease, InventoryEntry, Kustomization, Pod, PodSpec,
    Provider, Source, Volume, Workload, condition,
};
use crate::snapshot::{Observed, Snapshot};

/// Something that does not exist, or lacks a key, and keeps others from working.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// The key that is missing of an object that exists.
    pub key: Option<String>,
    /// What refers to it.
    pub needed_by: BTreeSet<ObjectRef>,
    /// What a controller says of it.
    pub said: Option<String>,
}

/// Everything that does not exist and that something references: what keeps others from working, and Secrets that
/// checks of their own look at.
pub fn absent(s: &Snapshot, missing: &AllMissing) -> BTreeSet<ObjectRef> {
    let referenced = credentials(s);
    let secrets = s.secrets.iter().filter(|e| matches!(e.shape, Observed::Known(None)));
    let secrets = secrets.map(|e| ObjectRef::new("Secret", &e.namespace, &e.name));
    let secrets = secrets.filter(|object| referenced.contains(object));
    secrets.chain(missing.keys().cloned()).chain(dependencies(s)).collect()
}

/// What `spec.dependsOn` names and does not exist: whoever would apply it may fail.
fn dependencies(s: &Snapshot) -> Vec<ObjectRef> {
    let of = |kind: &str, own: &str, on: &[CrossRef]| -> Vec<ObjectRef> {
        on.iter().map(|on| ObjectRef { kind: kind.to_owned(), ..Facts::resolve(on, own) }).collect()
    };
    let kustomizations = s.kustomizations.items.iter();
    let named = kustomizations.flat_map(|k| of("Kustomization", &k.metadata.namespace, &k.spec.depends_on));
    let mut found: Vec<ObjectRef> =
        named.filter(|on| matches!(s.kustomizations.find(&on.namespace, &on.name), Ok(None))).collect();
    let releases = s.helm_releases.items.iter();
    let named = releases.flat_map(|r| of("HelmRelease", &r.metadata.namespace, &r.spec.depends_on));
    found.extend(named.filter(|on| matches!(s.helm_releases.find(&on.namespace, &on.name), Ok(None))));
    found
}

/// The Secrets that sources, Receivers, Providers and agentk reference.
fn credentials(s: &Snapshot) -> BTreeSet<ObjectRef> {
    let own = |namespace: &str, name: &str| ObjectRef::new("Secret", namespace, name);
    let sources = [&s.git_repositories, &s.oci_repositories, &s.buckets, &s.helm_repositories];
    let sources = sources.into_iter().flat_map(|l| &l.items);
    let sources = sources.filter_map(|i| Some(own(&i.metadata.namespace, &i.spec.secret_ref.as_ref()?.name)));
    let receivers = s.receivers.items.iter().map(|r| own(&r.metadata.namespace, &r.spec.secret_ref.name));
    let providers = s.providers.items.iter().filter_map(Provider::secret);
    let named = super::token_secret::named(s).map(|named| named.object);
    let agents = s.deployments.items.iter().filter(|d| agent::is_agent(d));
    let mounted = agents.flat_map(|d| of_pods(&d.spec.template.spec, &d.metadata.namespace));
    sources.chain(receivers).chain(providers).chain(named).chain(mounted).collect()
}

/// Everything that is known to be missing.
pub type AllMissing = BTreeMap<ObjectRef, Missing>;

/// Everything that is known to be missing, also by what needs it.
#[derive(Clone, Debug, Default)]
pub struct Missings {
    /// By object.
    pub found: AllMissing,
    /// Each failing object with the Services of this cluster that it names in its errors.
    pub(super) calls: BTreeSet<(ObjectRef, ObjectRef)>,
    /// Failing objects that say that the cluster's resolver fails.
    pub(super) unresolved: BTreeSet<ObjectRef>,
    needed_by: BTreeMap<ObjectRef, Vec<ObjectRef>>,
}

impl Missings {
    fn new(Finder { missing: found, calls, unresolved, .. }: Finder) -> Self {
        let mut needed_by: BTreeMap<ObjectRef, Vec<ObjectRef>> = BTreeMap::new();
        for (object, missing) in &found {
            for by in &missing.needed_by {
                needed_by.entry(by.clone()).or_default().push(object.clone());
            }
        }
        Self { found, calls, unresolved, needed_by }
    }

    /// What an object needs and is missing.
    pub fn of(&self, by: &ObjectRef) -> impl Iterator<Item = (&ObjectRef, &Missing)> {
        self.needed_by.get(by).into_iter().flatten().filter_map(|object| self.found.get_key_value(object))
    }
}

/// The objects that the pods of a template do not start without. A pull secret is not among them: without one
/// an image may still be pulled.
pub fn of_pods(spec: &PodSpec, namespace: &str) -> BTreeSet<ObjectRef> {
    let mut found: BTreeSet<(&str, &str)> = BTreeSet::new();
    found.extend(spec.volumes.iter().flat_map(of_volume));
    found.extend(spec.init_containers.iter().chain(&spec.containers).flat_map(of_container));
    let account = spec.service_account_name.as_str();
    found.extend((account != "default").then_some(("ServiceAccount", account)));
    found
        .into_iter()
        .filter(|(_, name)| !name.is_empty())
        .map(|(kind, name)| ObjectRef::new(kind, namespace, name))
        .collect()
}

fn of_volume(volume: &Volume) -> Vec<(&str, &str)> {
    let needed = |optional: bool, kind, name| (!optional).then_some((kind, name));
    let mut found = Vec::new();
    found.extend(volume.secret.iter().filter_map(|s| needed(s.optional, "Secret", s.secret_name.as_str())));
    found.extend(volume.config_map.iter().filter_map(|c| needed(c.optional, "ConfigMap", c.name.as_str())));
    for source in volume.projected.iter().flat_map(|projected| &projected.sources) {
        found.extend(source.secret.iter().filter_map(|s| needed(s.optional, "Secret", s.name.as_str())));
        found.extend(
            source.config_map.iter().filter_map(|c| needed(c.optional, "ConfigMap", c.name.as_str())),
        );
    }
    let claim = volume.persistent_volume_claim.iter();
    found.extend(claim.map(|claim| ("PersistentVolumeClaim", claim.claim_name.as_str())));
    if let Some(csi) = &volume.csi {
        found.extend(csi.node_publish_secret_ref.iter().map(|secret| ("Secret", secret.name.as_str())));
        // Secrets Store CSI Driver: the class that names what is mounted.
        let class = csi.volume_attributes.secret_provider_class.as_str();
        found.push(("SecretProviderClass", class));
    }
    found
}

fn of_container(container: &Container) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for from in &container.env_from {
        found.extend(from.secret_ref.iter().filter(|r| !r.optional).map(|r| ("Secret", r.name.as_str())));
        found.extend(
            from.config_map_ref.iter().filter(|r| !r.optional).map(|r| ("ConfigMap", r.name.as_str())),
        );
    }
    for from in container.env.iter().filter_map(|variable| variable.value_from.as_ref()) {
        found.extend(from.secret_key_ref.iter().filter(|r| !r.optional).map(|r| ("Secret", r.name.as_str())));
        found.extend(
            from.config_map_key_ref.iter().filter(|r| !r.optional).map(|r| ("ConfigMap", r.name.as_str())),
        );
    }
    found
}

/// The Secrets with which the images of a template are pulled.
pub fn pull_secrets(spec: &PodSpec, namespace: &str) -> Vec<ObjectRef> {
    spec.image_pull_secrets.iter().map(|secret| ObjectRef::new("Secret", namespace, &secret.name)).collect()
}

/// What a Kustomization refers to beside its source.
pub fn of_kustomization(k: &Kustomization) -> Vec<ObjectRef> {
    let own = |kind: &str, name: &str| ObjectRef::new(kind, &k.metadata.namespace, name);
    let key = k.spec.decryption.iter().filter_map(|d| d.secret_ref.as_ref());
    let cluster = k.spec.kube_config.iter().filter_map(|c| c.secret_ref.as_ref());
    let values = k.spec.post_build.iter().flat_map(|p| &p.substitute_from).filter(|from| !from.optional);
    key.chain(cluster)
        .map(|secret| own("Secret", &secret.name))
        .chain(values.map(|from| own(&from.kind, &from.name)))
        .collect()
}

/// What a HelmRelease refers to beside its chart.
pub fn of_release(r: &HelmRelease) -> Vec<ObjectRef> {
    let own = |kind: &str, name: &str| ObjectRef::new(kind, &r.metadata.namespace, name);
    let cluster = r.spec.kube_config.iter().filter_map(|c| c.secret_ref.as_ref());
    let values = r.spec.values_from.iter().filter(|from| !from.optional);
    cluster
        .map(|secret| own("Secret", &secret.name))
        .chain(values.map(|from| own(&from.kind, &from.name)))
        .collect()
}

/// What a source refers to beside its credential.
pub fn of_source(source: &Source) -> Vec<ObjectRef> {
    let spec = &source.spec;
    let secrets = spec.cert_secret_ref.iter().chain(&spec.proxy_secret_ref);
    secrets.map(|secret| ObjectRef::new("Secret", &source.metadata.namespace, &secret.name)).collect()
}

/// Objects that are read because something failing refers to them: so many at most.
const MOST: usize = 200;

/// What failing objects refer to, to be looked at by name.
pub fn wanted(s: &Snapshot) -> Vec<ObjectRef> {
    let mut found: BTreeSet<ObjectRef> = BTreeSet::new();
    for (_, workload) in failing_workloads(s) {
        let (spec, namespace) = (&workload.spec.template.spec, &workload.metadata.namespace);
        found.extend(of_pods(spec, namespace));
        found.extend(pull_secrets(spec, namespace));
    }
    found.extend(
        s.kustomizations.items.iter().filter(|k| !is_ready(&k.status.conditions)).flat_map(of_kustomization),
    );
    found.extend(
        s.helm_releases.items.iter().filter(|r| !is_ready(&r.status.conditions)).flat_map(of_release),
    );
    let sources = [&s.git_repositories, &s.oci_repositories, &s.buckets, &s.helm_repositories];
    let failing = sources.into_iter().flat_map(|l| &l.items).filter(|i| !is_ready(&i.status.conditions));
    found.extend(failing.flat_map(of_source));
    found.extend(super::job::named(s));
    found.into_iter().take(MOST).collect()
}

fn is_ready(conditions: &[Condition]) -> bool {
    condition(conditions, "Ready").is_some_and(|c| c.status == "True")
}

/// Everything that keeps a failing object of Flux, agentk or what Flux deployed from working by not being there.
pub fn missing(s: &Snapshot) -> Missings {
    let (missing, calls, unresolved) = Default::default();
    let mut found = Finder { present: present(s), missing, calls, unresolved };
    let events = warnings(s);
    let ours = ours(s);
    for (kind, workload) in workloads(s).filter(|(kind, w)| !w.is_well(kind)) {
        let object = workload.metadata.object(kind);
        if ours.contains(&object) {
            found.of_workload(s, &object, workload, &events);
        }
    }
    for job in super::job::failed(s).keys() {
        for pod in super::job::pods(s, job) {
            found.of_pod(job, pod, &events);
            pod_words(pod).for_each(|words| found.called(job, words));
        }
    }
    for k in &s.kustomizations.items {
        let status = &k.status;
        let state =
            readiness(&status.conditions, k.metadata.generation, status.observed_generation, k.spec.suspend);
        if let Readiness::Failed(condition) = state {
            found.of_applier(&k.metadata.object("Kustomization"), &of_kustomization(k), &condition.message);
        }
    }
    for r in &s.helm_releases.items {
        let status = &r.status;
        let state =
            readiness(&status.conditions, r.metadata.generation, status.observed_generation, r.spec.suspend);
        if matches!(state, Readiness::Failed(_)) {
            let failed = status.conditions.iter().filter(|c| c.status == "False" || c.kind == "Stalled");
            let said: Vec<&str> = failed.map(|c| c.message.as_str()).collect();
            found.of_applier(&r.metadata.object("HelmRelease"), &of_release(r), &said.join("\n"));
        }
    }
    found.of_sources(s);
    found.without_source(s);
    Missings::new(found)
}

/// Workloads that Flux deployed here, Flux itself and agentk, as far as they are not well.
pub(super) fn failing_workloads(s: &Snapshot) -> impl Iterator<Item = (&'static str, &Workload)> {
    let ours = ours(s);
    workloads(s).filter(move |(kind, w)| !w.is_well(kind) && ours.contains(&w.metadata.object(kind)))
}

/// Deployments, StatefulSets and DaemonSets with their kind.
pub(super) fn workloads(s: &Snapshot) -> impl Iterator<Item = (&'static str, &Workload)> {
    let kinds =
        [("Deployment", &s.deployments), ("StatefulSet", &s.stateful_sets), ("DaemonSet", &s.daemon_sets)];
    kinds.into_iter().flat_map(|(kind, listing)| listing.items.iter().map(move |w| (kind, w)))
}

/// Workloads that Flux deployed here, Flux itself and agentk.
pub(super) fn ours(s: &Snapshot) -> BTreeSet<ObjectRef> {
    let here = super::inventories(s).filter(|(_, _, elsewhere)| !elsewhere);
    let applied =
        here.flat_map(|(_, inventory, _)| inventory.entries.iter().filter_map(InventoryEntry::workload));
    let labeled = workloads(s).filter(|(_, w)| {
        let label = |key| w.metadata.label(key).is_some();
        label("helm.toolkit.fluxcd.io/name")
            || label("kustomize.toolkit.fluxcd.io/name")
            || flux::is_controller(w)
    });
    let agents =
        s.deployments.items.iter().filter(|d| agent::is_agent(d)).map(|d| d.metadata.object("Deployment"));
    applied.chain(labeled.map(|(kind, w)| w.metadata.object(kind))).chain(agents).collect()
}

/// Objects of which it is known whether they exist.
fn present(s: &Snapshot) -> BTreeMap<ObjectRef, bool> {
    let secrets = s.secrets.iter().filter_map(|entry| {
        let shape = entry.shape.get().ok()?;
        Some((ObjectRef::new("Secret", &entry.namespace, &entry.name), shape.is_some()))
    });
    let others = s.referenced.iter().filter_map(|entry| match &entry.state {
        Observed::Known(state) => Some((entry.object(), state.is_some())),
        Observed::Unknown(_) => None,
    });
    secrets.chain(others).collect()
}

/// How old a warning may be to count: the kubelet tries, and says so, again every two minutes.
const FRESH: SignedDuration = SignedDuration::from_mins(10);

/// The newest warnings by the object that they are about.
fn warnings(s: &Snapshot) -> BTreeMap<ObjectRef, Vec<&str>> {
    let mut found: BTreeMap<ObjectRef, Vec<&str>> = BTreeMap::new();
    for event in fresh_warnings(s) {
        found.entry(event.about()).or_default().push(&event.message);
    }
    found
}

/// The warnings that count.
pub fn fresh_warnings(s: &Snapshot) -> impl Iterator<Item = &Event> {
    s.warnings
        .items
        .iter()
        .filter(|event| event.last().is_none_or(|at| s.taken_at.duration_since(at) < FRESH))
}

/// The last words of a pod's containers.
fn pod_words(pod: &Pod) -> impl Iterator<Item = &str> {
    let containers = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses);
    let ends = containers.flat_map(|c| c.state.terminated.iter().chain(&c.last_state.terminated));
    ends.map(|end| end.message.as_str())
}

struct Finder {
    present: BTreeMap<ObjectRef, bool>,
    missing: AllMissing,
    calls: BTreeSet<(ObjectRef, ObjectRef)>,
    unresolved: BTreeSet<ObjectRef>,
}

impl Finder {
    fn note(&mut self, object: ObjectRef, by: &ObjectRef, key: Option<String>, said: Option<&str>) {
        let entry = self.missing.entry(object).or_default();
        entry.needed_by.insert(by.clone());
        entry.key = entry.key.take().or(key);
        if entry.said.is_none() {
            entry.said = said.map(str::to_owned);
        }
    }

    /// What is known not to exist of what an object refers to.
    fn known(&mut self, by: &ObjectRef, references: impl IntoIterator<Item = ObjectRef>) {
        for object in references {
            if self.present.get(&object) == Some(&false) {
                self.note(object, by, None, None);
            }
        }
    }

    /// What a text says does not exist; what was seen to exist is no longer missing.
    fn said(&mut self, by: &ObjectRef, text: &str) {
        self.called(by, text);
        for missing in said::missing(text, &by.namespace) {
            let exists = self.present.get(&missing.object).copied();
            if missing.key.is_some() || exists != Some(true) {
                self.note(missing.object, by, missing.key, Some(text));
            }
        }
    }

    /// The Services that a text names, and the cluster's DNS where that fails.
    fn called(&mut self, by: &ObjectRef, text: &str) {
        if says_unresolved(text) {
            self.unresolved.insert(by.clone());
        }
        let services = said::services(text, &by.namespace).into_iter();
        self.calls.extend(services.map(|service| (by.clone(), service)));
    }

    fn of_workload(
        &mut self,
        s: &Snapshot,
        object: &ObjectRef,
        workload: &Workload,
        events: &BTreeMap<ObjectRef, Vec<&str>>,
    ) {
        let spec = &workload.spec.template.spec;
        self.known(object, of_pods(spec, &object.namespace));
        for condition in workload.status.conditions.iter().filter(|c| is_trouble(&c.kind, &c.status)) {
            self.said(object, &condition.message);
        }
        self.said_of(object, object, events);
        if object.kind == "Deployment" {
            self.said_of_replica_sets(object, events);
        }
        let mut pulls = false;
        for pod in workload.pods(&s.pods).unwrap_or_default() {
            let Some(trouble) = super::workload::pod_trouble(pod) else { continue };
            pulls |= trouble.reason.contains("Image");
            self.called(object, &trouble.message);
            if let Some(words) = super::crash::last_words(s, &pod.metadata.object("Pod")) {
                self.called(object, &words);
            }
            if STARTED.contains(&trouble.reason.as_str()) {
                continue;
            }
            self.of_pod(object, pod, events);
        }
        if pulls {
            self.known(object, pull_secrets(spec, &object.namespace));
        }
    }

    fn of_pod(&mut self, by: &ObjectRef, pod: &Pod, events: &BTreeMap<ObjectRef, Vec<&str>>) {
        self.known(by, of_pods(&pod.spec, &by.namespace));
        let status = &pod.status;
        let containers = status.init_container_statuses.iter().chain(&status.container_statuses);
        let waiting = containers.filter_map(|c| c.state.waiting.as_ref()).map(|w| w.message.as_str());
        let conditions = status.conditions.iter().filter(|c| c.status == "False").map(|c| c.message.as_str());
        for text in waiting.chain(conditions) {
            self.said(by, text);
        }
        self.said_of(by, &pod.metadata.object("Pod"), events);
        // Why a claim is not bound is said of the claim, not of the pod that waits for it.
        let claims = pod.spec.volumes.iter().filter_map(|volume| volume.persistent_volume_claim.as_ref());
        for claim in claims {
            self.said_of(
                by,
                &ObjectRef::new("PersistentVolumeClaim", &by.namespace, &claim.claim_name),
                events,
            );
        }
    }

    fn said_of(&mut self, by: &ObjectRef, about: &ObjectRef, events: &BTreeMap<ObjectRef, Vec<&str>>) {
        for text in events.get(about).into_iter().flatten() {
            self.said(by, text);
        }
    }

    /// ReplicaSets are not read; they are named after their Deployment, with a hash.
    fn said_of_replica_sets(&mut self, by: &ObjectRef, events: &BTreeMap<ObjectRef, Vec<&str>>) {
        let prefix = format!("{}-", by.name);
        let from = ObjectRef::new("ReplicaSet", &by.namespace, &prefix);
        let sets: Vec<&Vec<&str>> = events
            .range(from..)
            .take_while(|(o, _)| {
                o.kind == "ReplicaSet" && o.namespace == by.namespace && o.name.starts_with(&prefix)
            })
            .filter(|(o, _)| !o.name[prefix.len()..].contains('-'))
            .map(|(_, texts)| texts)
            .collect();
        for text in sets.into_iter().flatten() {
            self.said(by, text);
        }
    }

    fn of_applier(&mut self, by: &ObjectRef, references: &[ObjectRef], said: &str) {
        self.known(by, references.iter().cloned());
        self.said(by, said);
    }

    /// What has no source: the one that its spec names does not exist.
    fn without_source(&mut self, s: &Snapshot) {
        let is_missing = |source: &ObjectRef| {
            let listing = super::sources(s, &source.kind);
            listing.is_some_and(|listing| matches!(listing.find(&source.namespace, &source.name), Ok(None)))
        };
        for k in s.kustomizations.items.iter().filter(|k| !k.spec.suspend) {
            let source = Facts::resolve(&k.spec.source_ref, &k.metadata.namespace);
            if is_missing(&source) {
                self.note(source, &k.metadata.object("Kustomization"), None, None);
            }
        }
        for r in s.helm_releases.items.iter().filter(|r| !r.spec.suspend) {
            let chart = r.spec.chart.iter().map(|chart| &chart.spec.source_ref);
            let named = chart.chain(&r.spec.chart_ref).map(|of| Facts::resolve(of, &r.metadata.namespace));
            for source in named.filter(is_missing).collect::<Vec<_>>() {
                self.note(source, &r.metadata.object("HelmRelease"), None, None);
            }
        }
    }

    fn of_sources(&mut self, s: &Snapshot) {
        let kinds = [
            ("GitRepository", &s.git_repositories),
            ("OCIRepository", &s.oci_repositories),
            ("Bucket", &s.buckets),
            ("HelmRepository", &s.helm_repositories),
        ];
        for (kind, source) in kinds.into_iter().flat_map(|(kind, l)| l.items.iter().map(move |i| (kind, i))) {
            let status = &source.status;
            let (generation, suspended) = (source.metadata.generation, source.spec.suspend);
            let state = readiness(&status.conditions, generation, status.observed_generation, suspended);
            if matches!(state, Readiness::Failed(_)) {
                self.known(&source.metadata.object(kind), of_source(source));
            }
        }
    }
}

/// Reasons of pods that did start: what they refer to was there.
const STARTED: &[&str] = &["OOMKilled", "CrashLoopBackOff", "Error", "Completed"];

/// Whether a condition of a workload tells of something wrong.
fn is_trouble(kind: &str, status: &str) -> bool {
    matches!((kind, status), ("ReplicaFailure", "True") | ("Progressing", "False"))
}
