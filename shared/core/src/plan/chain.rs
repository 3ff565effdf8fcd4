//! The objects of a plan while it is made: what was named, what comes before it and behind it, and in which order.

use std::collections::{BTreeMap, BTreeSet};

use super::revision::{project_path, same_project};
use super::selection::{Selection, rank};
use super::{Hop, NoPlan};
use crate::facts::Facts;
use crate::facts::flux::controller_of;
use crate::object::ObjectRef;
use crate::snapshot::Why;
use crate::snapshot::kinds::{CrossRef, HelmRelease, Kustomization, Meta, Source};

/// The objects of a plan while it is made, each with what must come before it.
pub(super) struct Chain<'f, 's> {
    pub(super) facts: &'f Facts<'s>,
    pub(super) nodes: BTreeMap<ObjectRef, BTreeSet<ObjectRef>>,
    /// Every object that takes requests.
    objects: BTreeMap<ObjectRef, Object<'s>>,
    /// What [`Chain::upwards`] and [`Chain::downwards`] have been at: each object is walked once, however many are named.
    above: BTreeSet<ObjectRef>,
    below: BTreeSet<ObjectRef>,
}

/// An object that takes requests.
#[derive(Clone, Copy)]
enum Object<'s> {
    Source(&'s Source),
    Kustomization(&'s Kustomization),
    Release(&'s HelmRelease),
}

impl<'s> Object<'s> {
    fn metadata(self) -> &'s Meta {
        match self {
            Self::Source(s) => &s.metadata,
            Self::Kustomization(k) => &k.metadata,
            Self::Release(r) => &r.metadata,
        }
    }
}

impl<'f, 's> Chain<'f, 's> {
    pub(super) fn new(facts: &'f Facts<'s>) -> Self {
        let s = facts.snapshot;
        let sources = facts.source_kinds().into_iter().flat_map(|(kind, listing)| {
            listing.items.iter().map(move |s| (s.metadata.object(kind), Object::Source(s)))
        });
        let kustomizations = s.kustomizations.items.iter();
        let kustomizations =
            kustomizations.map(|k| (k.metadata.object("Kustomization"), Object::Kustomization(k)));
        let releases = s.helm_releases.items.iter();
        let releases = releases.map(|r| (r.metadata.object("HelmRelease"), Object::Release(r)));
        let objects = sources.chain(kustomizations).chain(releases).collect();
        Self { facts, nodes: BTreeMap::new(), objects, above: BTreeSet::new(), below: BTreeSet::new() }
    }

    fn sources(&self) -> impl Iterator<Item = (&ObjectRef, &'s Source)> {
        self.objects.iter().filter_map(|(object, found)| match found {
            Object::Source(source) => Some((object, *source)),
            _ => None,
        })
    }

    fn source(&self, object: &ObjectRef) -> Option<&'s Source> {
        match self.objects.get(object) {
            Some(Object::Source(source)) => Some(source),
            _ => None,
        }
    }

    fn exists(&self, object: &ObjectRef) -> bool {
        self.objects.contains_key(object)
    }

    pub(super) fn named(&self, selection: &Selection) -> Result<Vec<ObjectRef>, NoPlan> {
        let all = self.objects.iter().map(|(object, found)| (object, found.metadata()));
        let found: Vec<ObjectRef> = match selection {
            Selection::Agentk => {
                self.facts.agent_releases().map(|r| r.metadata.object("HelmRelease")).collect()
            }
            Selection::Project(project) => {
                let fetches =
                    |s: &Source| project_path(&s.spec.url).is_some_and(|p| same_project(&p, project));
                self.sources()
                    .filter(|(o, s)| o.kind == "GitRepository" && fetches(s))
                    .map(|(o, _)| o.clone())
                    .collect()
            }
            Selection::Object { kind, namespace, name } => {
                let fits = |o: &&ObjectRef| {
                    o.kind == *kind && o.name == *name && namespace.as_ref().is_none_or(|n| *n == o.namespace)
                };
                all.map(|(o, _)| o).filter(fits).cloned().collect()
            }
            Selection::Labels(selector) => {
                all.filter(|(_, m)| selector.matches(&m.labels)).map(|(o, _)| o.clone()).collect()
            }
            Selection::All => {
                let applies = |o: &&ObjectRef| matches!(o.kind.as_str(), "Kustomization" | "HelmRelease");
                all.map(|(o, _)| o).filter(applies).cloned().collect()
            }
        };
        if let (Selection::Object { .. }, true) = (selection, found.len() > 1) {
            let places: Vec<String> = found.iter().map(ToString::to_string).collect();
            return Err(NoPlan::Ambiguous(format!("name the namespace with -n: {}", places.join(", "))));
        }
        if found.is_empty() { Err(self.nothing(selection)) } else { Ok(found) }
    }

    /// Why nothing was found: it is not there, or could not be seen.
    pub(super) fn nothing(&self, selection: &Selection) -> NoPlan {
        if let Some(why) = self.looked_at(selection).into_iter().flat_map(|(_, gaps)| gaps).next() {
            return NoPlan::Unknown(why.clone());
        }
        let near = |kind: &str| {
            let names: Vec<String> = self
                .objects
                .keys()
                .filter(|o| o.kind == kind)
                .map(|o| format!("{}/{}", o.namespace, o.name))
                .take(8)
                .collect();
            if names.is_empty() {
                format!("there is no {kind}")
            } else {
                format!("there are: {}", names.join(", "))
            }
        };
        NoPlan::NotFound(match selection {
            Selection::Agentk => format!(
                "no HelmRelease of the chart gitlab-agent: agentk is not installed by Flux here. Name what to reconcile, \
                 for example a project or kustomization/NAME; {}",
                near("Kustomization")
            ),
            Selection::Project(project) => {
                let paths: BTreeSet<String> = self
                    .sources()
                    .filter(|(o, _)| o.kind == "GitRepository")
                    .filter_map(|(_, s)| project_path(&s.spec.url))
                    .collect();
                let paths: Vec<String> = paths.into_iter().take(8).collect();
                let known = if paths.is_empty() { "none".to_owned() } else { paths.join(", ") };
                format!("no GitRepository fetches project {project}; projects that are fetched: {known}")
            }
            Selection::Object { kind, namespace, name } => {
                let place = namespace.as_ref().map(|n| format!(" in namespace {n}")).unwrap_or_default();
                format!("there is no {kind} {name}{place}; {}", near(kind))
            }
            Selection::Labels(_) => "no Flux object has these labels".to_owned(),
            Selection::All => "there is no Kustomization and no HelmRelease".to_owned(),
        })
    }

    /// The listings that a selection and its chain are read from, with what could not be seen of them.
    fn looked_at(&self, selection: &Selection) -> Vec<(&'static str, &'s [Why])> {
        let s = self.facts.snapshot;
        let all: [(&'static str, &'s [Why]); 7] = [
            ("GitRepository", &s.git_repositories.gaps),
            ("OCIRepository", &s.oci_repositories.gaps),
            ("Bucket", &s.buckets.gaps),
            ("HelmRepository", &s.helm_repositories.gaps),
            ("HelmChart", &s.helm_charts.gaps),
            ("Kustomization", &s.kustomizations.gaps),
            ("HelmRelease", &s.helm_releases.gaps),
        ];
        let wanted: &[&str] = match selection {
            Selection::Agentk => &["HelmRelease"],
            Selection::Project(_) => &["GitRepository"],
            Selection::Object { kind, .. } => &[kind],
            Selection::Labels(_) | Selection::All => &["Kustomization", "HelmRelease"],
        };
        all.into_iter().filter(|(kind, _)| wanted.contains(kind)).collect()
    }

    /// What hangs on the named objects may not all be seen; that is said, and is no reason to do nothing.
    pub(super) fn gaps(&self, selection: &Selection, only: bool) -> Result<Vec<String>, NoPlan> {
        let s = self.facts.snapshot;
        if only || *selection == Selection::Agentk {
            return Ok(Vec::new());
        }
        let note = |kind: &str, gaps: &[Why]| {
            let why = gaps.first()?;
            if why.kind == crate::snapshot::WhyKind::NotServed {
                return None;
            }
            Some(format!("more {kind} objects may hang on this than were seen: {}", why.message))
        };
        let notes =
            [note("Kustomization", &s.kustomizations.gaps), note("HelmRelease", &s.helm_releases.gaps)];
        Ok(notes.into_iter().flatten().collect())
    }

    fn edge(&mut self, from: &ObjectRef, to: &ObjectRef) {
        self.nodes.entry(from.clone()).or_default();
        self.nodes.entry(to.clone()).or_default().insert(from.clone());
    }

    /// Adds what has to come before an object: its source, and what it depends on with theirs.
    pub(super) fn upwards(&mut self, object: &ObjectRef) {
        let mut queue = vec![object.clone()];
        while let Some(next) = queue.pop() {
            self.nodes.entry(next.clone()).or_default();
            if !self.above.insert(next.clone()) {
                continue;
            }
            for need in self.needs(&next) {
                if self.exists(&need) {
                    self.edge(&need, &next);
                    queue.push(need);
                }
            }
        }
    }

    /// Adds what hangs on objects, with what that depends on. Its other sources are not asked for.
    pub(super) fn downwards(&mut self, objects: &[ObjectRef]) {
        let dependants = self.dependants();
        let mut queue = objects.to_vec();
        while let Some(next) = queue.pop() {
            if !self.below.insert(next.clone()) {
                continue;
            }
            for on in dependants.get(&next).into_iter().flatten() {
                self.edge(&next, on);
                if self.needs(on).iter().any(|need| need.kind == on.kind && self.exists(need)) {
                    self.upwards(on);
                }
                queue.push(on.clone());
            }
        }
        self.siblings();
    }

    /// What an object depends on comes before it also where it was only found on the way down.
    fn siblings(&mut self) {
        for object in std::mem::take(&mut self.below) {
            for need in self.needs(&object) {
                if self.nodes.contains_key(&need) {
                    self.edge(&need, &object);
                }
            }
        }
    }

    /// For agentk: the Kustomizations that applied what carries it, with their sources, come first.
    pub(super) fn appliers(&mut self, named: &BTreeSet<ObjectRef>) {
        let owners = self.facts.owners();
        let carried: Vec<ObjectRef> = self.nodes.keys().cloned().collect();
        for object in carried {
            let Some(owner) = owners.get(&object).filter(|o| o.kind == "Kustomization" && **o != object)
            else {
                continue;
            };
            if named.contains(owner) || !self.exists(owner) {
                continue;
            }
            self.upwards(owner);
            self.edge(owner, &object);
        }
    }

    fn dependants(&self) -> BTreeMap<ObjectRef, BTreeSet<ObjectRef>> {
        let mut found: BTreeMap<ObjectRef, BTreeSet<ObjectRef>> = BTreeMap::new();
        for object in self.objects.keys() {
            for need in self.needs(object) {
                found.entry(need).or_default().insert(object.clone());
            }
        }
        found
    }

    /// What an object is built from and depends on, whether or not it exists.
    fn needs(&self, object: &ObjectRef) -> Vec<ObjectRef> {
        let namespace = object.namespace.as_str();
        let on = |kind: &'static str| {
            move |r: &CrossRef| {
                let mut need = Facts::resolve(r, namespace);
                kind.clone_into(&mut need.kind);
                need
            }
        };
        let mut needs = Vec::new();
        match self.objects.get(object) {
            Some(Object::Kustomization(k)) => {
                needs.push(Facts::resolve(&k.spec.source_ref, namespace));
                needs.extend(k.spec.depends_on.iter().map(on("Kustomization")));
            }
            Some(Object::Release(r)) => {
                needs.extend(self.chart(r));
                needs.extend(r.spec.depends_on.iter().map(on("HelmRelease")));
            }
            Some(Object::Source(s)) => {
                needs.extend(s.spec.source_ref.as_ref().map(|from| Facts::resolve(from, namespace)));
            }
            None => {}
        }
        needs
    }

    /// What a release takes its chart from: the HelmChart that Flux makes for it, or what `chartRef` names. Where the
    /// HelmChart is not there yet, its source.
    fn chart(&self, release: &HelmRelease) -> Option<ObjectRef> {
        let namespace = release.metadata.namespace.as_str();
        if let Some(reference) = &release.spec.chart_ref {
            return Some(Facts::resolve(reference, namespace));
        }
        let source = Facts::resolve(&release.spec.chart.as_ref()?.spec.source_ref, namespace);
        let named = release.status.helm_chart.split_once('/').map(|(n, c)| ObjectRef::new("HelmChart", n, c));
        let usual = || {
            let name = format!("{namespace}-{}", release.metadata.name);
            ObjectRef::new("HelmChart", &source.namespace, &name)
        };
        let chart = named.unwrap_or_else(usual);
        Some(if self.source(&chart).is_some() { chart } else { source })
    }

    /// A HelmRepository of type oci is only an address: no controller answers for it.
    pub(super) fn drop_static(&mut self, notes: &mut Vec<String>) {
        let is_static = |c: &Self, o: &ObjectRef| {
            o.kind == "HelmRepository" && c.source(o).is_some_and(|s| s.spec.kind == "oci")
        };
        let statics: BTreeSet<ObjectRef> =
            self.nodes.keys().filter(|o| is_static(self, o)).cloned().collect();
        for object in &statics {
            notes.push(format!("{object} is of type oci: there is nothing to reconcile in it"));
            self.nodes.remove(object);
        }
        self.nodes.values_mut().for_each(|before| before.retain(|b| !statics.contains(b)));
    }

    /// The objects in an order in which each comes behind what it waits for: sources first, then as far as they lie
    /// from them.
    pub(super) fn order(&self) -> Result<Vec<ObjectRef>, NoPlan> {
        let mut waits: BTreeMap<&ObjectRef, usize> =
            self.nodes.iter().map(|(object, before)| (object, before.len())).collect();
        let mut behind: BTreeMap<&ObjectRef, Vec<&ObjectRef>> = BTreeMap::new();
        for (object, before) in &self.nodes {
            before.iter().for_each(|b| behind.entry(b).or_default().push(object));
        }
        let mut ready: Vec<&ObjectRef> =
            waits.extract_if(.., |_, count| *count == 0).map(|(o, _)| o).collect();
        let mut ordered: Vec<ObjectRef> = Vec::new();
        while !ready.is_empty() {
            ready.sort_by_key(|o| (rank(&o.kind), *o));
            let mut next = Vec::new();
            for object in ready {
                for on in behind.get(object).into_iter().flatten() {
                    let count = waits.get_mut(*on).map(|count| {
                        *count -= 1;
                        *count
                    });
                    if count == Some(0) {
                        waits.remove(*on);
                        next.push(*on);
                    }
                }
                ordered.push(object.clone());
            }
            ready = next;
        }
        if waits.is_empty() { Ok(ordered) } else { Err(NoPlan::Circle(waits.into_keys().cloned().collect())) }
    }

    /// The hop of an object; `before`: the hops in front of it, by index.
    pub(super) fn hop(&self, object: &ObjectRef, before: &BTreeMap<ObjectRef, usize>, named: bool) -> Hop {
        let index = |o: &ObjectRef| before.get(o).copied();
        let after = self.nodes.get(object).into_iter().flatten().filter_map(index).collect();
        let needs = self.needs(object);
        let source = needs.iter().find(|n| n.kind != object.kind).and_then(index);
        let outside = needs.into_iter().filter(|n| n.kind == object.kind && index(n).is_none()).collect();
        let (suspended, revision) = match self.objects.get(object) {
            Some(Object::Source(s)) => {
                let artifact = s.status.artifact.as_ref();
                (s.spec.suspend, artifact.map(|a| a.revision.clone()).unwrap_or_default())
            }
            Some(Object::Kustomization(k)) => (k.spec.suspend, k.status.last_applied_revision.clone()),
            Some(Object::Release(r)) => (r.spec.suspend, release_revision(r)),
            None => (false, String::new()),
        };
        let fetches = self.source(object).map(fetches).unwrap_or_default();
        let name = controller_of(&object.kind).unwrap_or("source-controller");
        let found = self.facts.controller(name).ok().flatten();
        let controller = found.map_or_else(
            || ObjectRef::new("Deployment", &self.facts.snapshot.flux_namespace, name),
            |d| d.metadata.object("Deployment"),
        );
        Hop {
            object: object.clone(),
            named,
            after,
            source,
            outside,
            suspended,
            revision,
            fetches,
            controller,
        }
    }
}

fn release_revision(release: &HelmRelease) -> String {
    let deployed = release.status.history.first().map(|h| h.chart_version.clone());
    deployed.unwrap_or_else(|| release.status.last_attempted_revision.clone())
}

fn fetches(source: &Source) -> String {
    let r = &source.spec.reference;
    let first = [("commit", &r.commit), ("reference", &r.name), ("range", &r.semver), ("tag", &r.tag)];
    match first.into_iter().find(|(_, v)| !v.is_empty()) {
        Some((what, value)) => format!("{what} {value}"),
        None if !r.branch.is_empty() => format!("branch {}", r.branch),
        None => String::new(),
    }
}
