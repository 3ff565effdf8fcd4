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
}

impl<'s> Chain<'_, 's> {
    fn kustomizations(&self) -> &'s [Kustomization] {
        &self.facts.snapshot.kustomizations.items
    }

    fn releases(&self) -> &'s [HelmRelease] {
        &self.facts.snapshot.helm_releases.items
    }

    fn sources(&self) -> impl Iterator<Item = (ObjectRef, &'s Source)> + use<'s> {
        let kinds = self.facts.source_kinds();
        kinds.into_iter().flat_map(|(kind, l)| l.items.iter().map(move |s| (s.metadata.object(kind), s)))
    }

    fn source(&self, object: &ObjectRef) -> Option<&'s Source> {
        let listing = self.facts.sources(&object.kind)?;
        listing.items.iter().find(|s| is(&s.metadata, object))
    }

    fn kustomization(&self, object: &ObjectRef) -> Option<&'s Kustomization> {
        self.kustomizations().iter().find(|k| object.kind == "Kustomization" && is(&k.metadata, object))
    }

    fn release(&self, object: &ObjectRef) -> Option<&'s HelmRelease> {
        self.releases().iter().find(|r| object.kind == "HelmRelease" && is(&r.metadata, object))
    }

    /// Every object that takes requests, with its metadata.
    fn everything(&self) -> Vec<(ObjectRef, &'s Meta)> {
        let sources = self.sources().map(|(o, s)| (o, &s.metadata));
        let kustomizations =
            self.kustomizations().iter().map(|k| (k.metadata.object("Kustomization"), &k.metadata));
        let releases = self.releases().iter().map(|r| (r.metadata.object("HelmRelease"), &r.metadata));
        sources.chain(kustomizations).chain(releases).collect()
    }

    fn exists(&self, object: &ObjectRef) -> bool {
        self.source(object).is_some()
            || self.kustomization(object).is_some()
            || self.release(object).is_some()
    }

    pub(super) fn named(&self, selection: &Selection) -> Result<Vec<ObjectRef>, NoPlan> {
        let all = self.everything();
        let found: Vec<ObjectRef> = match selection {
            Selection::Agentk => {
                self.facts.agent_releases().map(|r| r.metadata.object("HelmRelease")).collect()
            }
            Selection::Project(project) => {
                let fetches =
                    |s: &Source| project_path(&s.spec.url).is_some_and(|p| same_project(&p, project));
                self.sources()
                    .filter(|(o, s)| o.kind == "GitRepository" && fetches(s))
                    .map(|(o, _)| o)
                    .collect()
            }
            Selection::Object { kind, namespace, name } => {
                let fits = |o: &&ObjectRef| {
                    o.kind == *kind && o.name == *name && namespace.as_ref().is_none_or(|n| *n == o.namespace)
                };
                all.iter().map(|(o, _)| o).filter(fits).cloned().collect()
            }
            Selection::Labels(selector) => {
                all.iter().filter(|(_, m)| selector.matches(&m.labels)).map(|(o, _)| o.clone()).collect()
            }
            Selection::All => {
                let applies = |o: &&ObjectRef| matches!(o.kind.as_str(), "Kustomization" | "HelmRelease");
                all.iter().map(|(o, _)| o).filter(applies).cloned().collect()
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
                .everything()
                .into_iter()
                .filter(|(o, _)| o.kind == kind)
                .map(|(o, _)| format!("{}/{}", o.namespace, o.name))
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
        let mut seen = BTreeSet::new();
        let mut queue = vec![object.clone()];
        while let Some(next) = queue.pop() {
            self.nodes.entry(next.clone()).or_default();
            if !seen.insert(next.clone()) {
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

    /// Adds what hangs on an object, with what that depends on. Its other sources are not asked for.
    pub(super) fn downwards(&mut self, object: &ObjectRef) {
        let dependants = self.dependants();
        let mut seen = BTreeSet::new();
        let mut queue = vec![object.clone()];
        while let Some(next) = queue.pop() {
            if !seen.insert(next.clone()) {
                continue;
            }
            for on in dependants.get(&next).into_iter().flatten() {
                self.edge(&next, on);
                self.siblings(on);
                queue.push(on.clone());
            }
        }
    }

    /// What an object depends on comes before it also where it was only found on the way down.
    fn siblings(&mut self, object: &ObjectRef) {
        for need in self.needs(object) {
            if need.kind == object.kind && self.exists(&need) {
                self.upwards(object);
            }
            if self.nodes.contains_key(&need) {
                self.edge(&need, object);
            }
        }
    }

    /// For agentk: the Kustomizations that applied what carries it, with their sources, come first.
    pub(super) fn appliers(&mut self, named: &[ObjectRef]) {
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
        for (object, _) in self.everything() {
            for need in self.needs(&object) {
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
        if let Some(k) = self.kustomization(object) {
            needs.push(Facts::resolve(&k.spec.source_ref, namespace));
            needs.extend(k.spec.depends_on.iter().map(on("Kustomization")));
        } else if let Some(r) = self.release(object) {
            needs.extend(self.chart(r));
            needs.extend(r.spec.depends_on.iter().map(on("HelmRelease")));
        } else if let Some(from) = self.source(object).and_then(|s| s.spec.source_ref.as_ref()) {
            needs.push(Facts::resolve(from, namespace));
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
        let statics: Vec<ObjectRef> = self.nodes.keys().filter(|o| is_static(self, o)).cloned().collect();
        for object in statics {
            notes.push(format!("{object} is of type oci: there is nothing to reconcile in it"));
            self.nodes.remove(&object);
            self.nodes.values_mut().for_each(|before| before.retain(|b| *b != object));
        }
    }

    /// The objects in an order in which each comes behind what it waits for: sources first, then as far as they lie
    /// from them.
    pub(super) fn order(&self) -> Result<Vec<ObjectRef>, NoPlan> {
        let mut ordered: Vec<ObjectRef> = Vec::new();
        let mut left: BTreeMap<&ObjectRef, &BTreeSet<ObjectRef>> = self.nodes.iter().collect();
        while !left.is_empty() {
            let ready = |(_, before): &(&&ObjectRef, &&BTreeSet<ObjectRef>)| {
                before.iter().all(|b| ordered.contains(b))
            };
            let mut next: Vec<ObjectRef> = left.iter().filter(ready).map(|(o, _)| (*o).clone()).collect();
            if next.is_empty() {
                return Err(NoPlan::Circle(left.keys().map(|o| (*o).clone()).collect()));
            }
            next.sort_by_key(|o| (rank(&o.kind), o.clone()));
            left.retain(|o, _| !next.contains(o));
            ordered.extend(next);
        }
        Ok(ordered)
    }

    pub(super) fn hop(&self, object: &ObjectRef, before: &[Hop], named: bool) -> Hop {
        let index = |o: &ObjectRef| before.iter().position(|h| h.object == *o);
        let after = self.nodes.get(object).into_iter().flatten().filter_map(index).collect();
        let needs = self.needs(object);
        let source = needs.iter().find(|n| n.kind != object.kind).and_then(index);
        let outside = needs.into_iter().filter(|n| n.kind == object.kind && index(n).is_none()).collect();
        let (suspended, revision) =
            match (self.source(object), self.kustomization(object), self.release(object)) {
                (Some(s), ..) => (
                    s.spec.suspend,
                    s.status.artifact.as_ref().map(|a| a.revision.clone()).unwrap_or_default(),
                ),
                (_, Some(k), _) => (k.spec.suspend, k.status.last_applied_revision.clone()),
                (.., Some(r)) => (r.spec.suspend, release_revision(r)),
                _ => (false, String::new()),
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

fn is(meta: &Meta, object: &ObjectRef) -> bool {
    meta.name == object.name && meta.namespace == object.namespace
}
