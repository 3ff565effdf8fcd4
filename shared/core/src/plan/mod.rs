//! What `reconcile-now` will do, as a value: the hops from source to workload in the order in which they are asked.
//!
//! [`Plan::derive`] joins facts and what the person named into hops with edges; [`answer`] reads out of one object
//! how its controller answered a request; [`journal`] holds what happened. Nothing here talks to a cluster.

pub mod answer;
pub mod journal;

use std::collections::{BTreeMap, BTreeSet};

use crate::facts::Facts;
use crate::facts::flux::controller_of;
use crate::object::ObjectRef;
use crate::snapshot::Why;
use crate::snapshot::kinds::{CrossRef, HelmRelease, Kustomization, Meta, Source, StringMap};

/// What the person named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Nothing: what carries agentk itself.
    Agentk,
    /// A GitLab project by its full path: the sources that fetch it, and what hangs on them.
    Project(String),
    /// One object. Without a namespace it is looked for in all.
    Object {
        /// Kind as Kubernetes spells it.
        kind: &'static str,
        /// Namespace, where given.
        namespace: Option<String>,
        /// Name.
        name: String,
    },
    /// Objects with these labels.
    Labels(Selector),
    /// Everything that Flux applies, with its sources.
    All,
}

/// A label selector: `a=b`, `a!=b`, `a`, `!a`, `a in (b,c)`, `a notin (b,c)`, joined by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    /// `None` asks for the key alone.
    values: Option<Vec<String>>,
    negated: bool,
}

impl Selector {
    /// Reads kubectl's notation.
    ///
    /// # Errors
    /// Text that is not one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let (mut depth, mut start) = (0_i32, 0);
        for (at, c) in text.char_indices() {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                ',' if depth == 0 => {
                    parts.push(&text[start..at]);
                    start = at + 1;
                }
                _ => {}
            }
        }
        parts.push(&text[start..]);
        let bad =
            || format!("'{text}' is not a label selector; write key=value, key!=value, or key in (a,b)");
        let read = |part: &&str| Requirement::parse(part.trim()).ok_or_else(bad);
        if depth == 0 { parts.iter().map(read).collect::<Result<_, _>>().map(Self) } else { Err(bad()) }
    }

    /// Whether an object's labels fit.
    pub fn matches(&self, labels: &StringMap) -> bool {
        self.0.iter().all(|r| {
            let held = labels.get(&r.key);
            let fits = match &r.values {
                None => held.is_some(),
                Some(values) => held.is_some_and(|held| values.contains(held)),
            };
            fits != r.negated
        })
    }
}

impl Requirement {
    fn parse(part: &str) -> Option<Self> {
        let new = |key: &str, values: Option<Vec<String>>, negated| {
            let key = key.trim();
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
            let sound = !key.is_empty() && key.chars().all(plain);
            sound.then(|| Self { key: key.to_owned(), values, negated })
        };
        let one = |value: &str| Some(vec![value.trim().to_owned()]);
        let set = |rest: &str| {
            let inner = rest.trim().strip_prefix('(')?.strip_suffix(')')?;
            Some(inner.split(',').map(|v| v.trim().to_owned()).collect::<Vec<_>>())
        };
        if let Some((key, value)) = part.split_once("!=") {
            return new(key, one(value), true);
        }
        if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
            return new(key, one(value), false);
        }
        if let Some((key, rest)) = part.split_once(" notin ") {
            return new(key, Some(set(rest)?), true);
        }
        if let Some((key, rest)) = part.split_once(" in ") {
            return new(key, Some(set(rest)?), false);
        }
        match part.strip_prefix('!') {
            Some(key) => new(key, None, true),
            None => new(part, None, false),
        }
    }
}

/// The kinds that take requests, with the words people use for them.
const WORDS: &[(&str, &[&str])] = &[
    ("GitRepository", &["gitrepository", "gitrepositories", "gitrepo"]),
    ("OCIRepository", &["ocirepository", "ocirepositories", "ocirepo"]),
    ("Bucket", &["bucket", "buckets"]),
    ("HelmRepository", &["helmrepository", "helmrepositories", "helmrepo"]),
    ("HelmChart", &["helmchart", "helmcharts", "hc"]),
    ("Kustomization", &["kustomization", "kustomizations", "ks"]),
    ("HelmRelease", &["helmrelease", "helmreleases", "hr"]),
];

/// The kind that a person means by a word such as `ks` or `kustomizations.kustomize.toolkit.fluxcd.io`.
pub fn kind_of(word: &str) -> Option<&'static str> {
    let lower = word.to_lowercase();
    let (name, group) = lower.split_once('.').unwrap_or((&lower, ""));
    let known = group.is_empty() || group.ends_with("toolkit.fluxcd.io");
    WORDS.iter().find(|(_, words)| known && words.contains(&name)).map(|(kind, _)| *kind)
}

impl Selection {
    /// Reads the argument: `kind/name` where the first part is a kind, else a project's path.
    ///
    /// # Errors
    /// Text that is neither.
    pub fn parse(text: &str, namespace: Option<&str>) -> Result<Self, String> {
        let kinds = || WORDS.iter().map(|(kind, _)| kind.to_lowercase()).collect::<Vec<_>>().join(", ");
        let Some((first, rest)) = text.trim_matches('/').split_once('/') else {
            return Err(format!(
                "'{text}' is neither kind/name (kinds: {}) nor the path of a GitLab project, such as platform/fleet",
                kinds()
            ));
        };
        match kind_of(first) {
            Some(kind) if !rest.contains('/') && !rest.is_empty() => {
                Ok(Self::Object { kind, namespace: namespace.map(str::to_owned), name: rest.to_owned() })
            }
            _ => Ok(Self::Project(text.trim_matches('/').trim_end_matches(".git").to_owned())),
        }
    }
}

/// One request to make and its answer to wait for.
#[derive(Clone, Debug)]
pub struct Hop {
    /// The object.
    pub object: ObjectRef,
    /// The person named it; others are on the way to it or hang on it.
    pub named: bool,
    /// Hops that come before, by index; always lower than its own.
    pub after: Vec<usize>,
    /// The hop whose revision it has to reach, by index.
    pub source: Option<usize>,
    /// What it depends on and is not in the plan.
    pub outside: Vec<ObjectRef>,
    /// It is suspended now.
    pub suspended: bool,
    /// The revision it holds now.
    pub revision: String,
    /// What it fetches, in words: `branch main`. Empty for what fetches nothing.
    pub fetches: String,
    /// The Deployment of the controller that answers for it.
    pub controller: ObjectRef,
}

/// What will be done.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The hops, in an order that respects their edges.
    pub hops: Vec<Hop>,
    /// What the person should know about it.
    pub notes: Vec<String>,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPlan {
    /// What was named is not there; the text says what is.
    NotFound(String),
    /// It fits several objects.
    Ambiguous(String),
    /// Objects wait for each other in a circle.
    Circle(Vec<ObjectRef>),
    /// It cannot be known.
    Unknown(Why),
}

impl Plan {
    /// Derives the plan. `namespace` limits what labels and `--all` select; `only` leaves out what was not named.
    ///
    /// # Errors
    /// See [`NoPlan`].
    pub fn derive(
        facts: &Facts<'_>,
        selection: &Selection,
        namespace: Option<&str>,
        only: bool,
    ) -> Result<Self, NoPlan> {
        let mut chain = Chain { facts, nodes: BTreeMap::new() };
        let mut named = chain.named(selection)?;
        if matches!(selection, Selection::Labels(_) | Selection::All) {
            named.retain(|o| namespace.is_none_or(|n| n == o.namespace));
            if named.is_empty() {
                return Err(chain.nothing(selection));
            }
        }
        let mut notes = chain.gaps(selection, only)?;
        if only {
            chain.nodes = named.iter().cloned().map(|o| (o, BTreeSet::new())).collect();
        } else {
            for object in &named {
                chain.upwards(object);
                chain.downwards(object);
            }
            if *selection == Selection::Agentk {
                chain.appliers(&named);
            }
            chain.drop_static(&mut notes);
        }
        let hops = chain.order()?;
        let mut plan = Self { hops: Vec::new(), notes };
        for object in hops {
            let hop = chain.hop(&object, &plan.hops, named.contains(&object));
            plan.hops.push(hop);
        }
        Ok(plan)
    }

    /// The hops that are suspended.
    pub fn suspended(&self) -> Vec<&Hop> {
        self.hops.iter().filter(|h| h.suspended).collect()
    }

    /// The sources of commits and artifacts that `--at` can speak of.
    pub fn fetchers(&self) -> Vec<usize> {
        let fetches =
            |h: &Hop| matches!(h.object.kind.as_str(), "GitRepository" | "OCIRepository" | "Bucket");
        (0..self.hops.len()).filter(|i| fetches(&self.hops[*i])).collect()
    }
}

/// The objects of a plan while it is made, each with what must come before it.
struct Chain<'f, 's> {
    facts: &'f Facts<'s>,
    nodes: BTreeMap<ObjectRef, BTreeSet<ObjectRef>>,
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

    fn named(&self, selection: &Selection) -> Result<Vec<ObjectRef>, NoPlan> {
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
    fn nothing(&self, selection: &Selection) -> NoPlan {
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
    fn gaps(&self, selection: &Selection, only: bool) -> Result<Vec<String>, NoPlan> {
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
    fn upwards(&mut self, object: &ObjectRef) {
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
    fn downwards(&mut self, object: &ObjectRef) {
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
    fn appliers(&mut self, named: &[ObjectRef]) {
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
    fn drop_static(&mut self, notes: &mut Vec<String>) {
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
    fn order(&self) -> Result<Vec<ObjectRef>, NoPlan> {
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

    fn hop(&self, object: &ObjectRef, before: &[Hop], named: bool) -> Hop {
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

fn rank(kind: &str) -> usize {
    WORDS.iter().position(|(known, _)| *known == kind).unwrap_or(usize::MAX)
}

fn is(meta: &Meta, object: &ObjectRef) -> bool {
    meta.name == object.name && meta.namespace == object.namespace
}

/// The project's path in a repository URL: `https://host/group/project.git`, `ssh://git@host:22/…`, `git@host:…`.
pub fn project_path(url: &str) -> Option<String> {
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?.1,
        None => url.split_once(':')?.1,
    };
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    (!path.is_empty()).then(|| path.to_owned())
}

/// GitLab's paths do not distinguish case. A GitLab below a sub-path has its own path in front.
fn same_project(path: &str, project: &str) -> bool {
    let (path, project) = (path.to_lowercase(), project.to_lowercase());
    path == project || path.ends_with(&format!("/{project}"))
}

/// Whether a revision is the one that a person means: whole, a commit by its first digits, a version or a tag.
pub fn is_revision(revision: &str, meant: &str) -> bool {
    if revision.is_empty() || meant.is_empty() {
        return false;
    }
    let digits = meant.rsplit_once(':').map_or(meant, |(_, digits)| digits).to_lowercase();
    let hex = digits.len() >= 7 && digits.chars().all(|c| c.is_ascii_hexdigit());
    let digest = revision.rsplit_once(':').map(|(_, digest)| digest);
    let reference_fits = match (meant.split_once('@'), revision.split_once('@')) {
        (Some((meant, _)), Some((held, _))) => meant == held,
        _ => true,
    };
    revision == meant
        || hex && reference_fits && digest.is_some_and(|d| d.starts_with(&digits))
        || revision.split_once('@').is_some_and(|(reference, _)| reference == meant)
}

/// Whether two revisions of a chart are one: a release names it with or without the digest behind `+`.
pub fn same_revision(a: &str, b: &str) -> bool {
    a == b || a.split('+').next() == b.split('+').next() && !a.contains('@') && !a.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn plan(snapshot: &Snapshot, selection: &Selection) -> Result<Plan, NoPlan> {
        Plan::derive(&Facts::derive(snapshot), selection, None, false)
    }

    fn names(plan: &Plan) -> Vec<String> {
        plan.hops.iter().map(|h| format!("{}/{}", h.object.kind, h.object.name)).collect()
    }

    fn object(word: &str) -> Selection {
        Selection::parse(word, None).expect("an argument")
    }

    #[test]
    fn without_an_argument_the_chain_is_what_carries_agentk() {
        let snapshot = fixture::healthy();
        let plan = plan(&snapshot, &Selection::Agentk).expect("a plan");
        assert_eq!(
            names(&plan),
            [
                "GitRepository/flux-system",
                "HelmRepository/gitlab-agent",
                "HelmChart/gitlab-gitlab-agent",
                "Kustomization/flux-system",
                "HelmRelease/gitlab-agent"
            ]
        );
        let release = plan.hops.last().expect("hops");
        assert_eq!((release.after.clone(), release.source), (vec![2, 3], Some(2)));
        assert_eq!(
            plan.hops[3].controller,
            ObjectRef::new("Deployment", "flux-system", "kustomize-controller")
        );
    }

    #[test]
    fn a_project_names_its_sources_and_what_hangs_on_them() {
        let snapshot = fixture::healthy();
        let plan = plan(&snapshot, &object("platform/example-nginx-app")).expect("a plan");
        assert_eq!(names(&plan), ["GitRepository/example-nginx-app", "Kustomization/example-nginx-app"]);
        assert!(plan.hops[0].named && !plan.hops[1].named);
        assert_eq!(plan.hops[1].source, Some(0));
        assert_eq!(plan.hops[0].fetches, "branch main");
    }

    #[test]
    fn dependencies_come_before_and_dependants_behind() {
        let mut snapshot = fixture::healthy();
        let ks = &mut snapshot.kustomizations.items;
        let depend = |name: &str| CrossRef { name: name.to_owned(), ..CrossRef::default() };
        let mut middle = ks[0].clone();
        middle.metadata.name = "middle".to_owned();
        middle.spec.depends_on = vec![depend("flux-system"), depend("gone")];
        let mut last = middle.clone();
        last.metadata.name = "last".to_owned();
        last.spec.depends_on = vec![depend("middle")];
        ks.extend([middle, last]);
        let found = plan(&snapshot, &object("ks/middle")).expect("a plan");
        assert_eq!(found.hops.len(), 4 + names(&found).iter().filter(|n| n.contains("example")).count());
        let at = |name: &str| {
            found.hops.iter().position(|h| h.object.name == name && h.object.kind == "Kustomization")
        };
        assert!(at("flux-system") < at("middle") && at("middle") < at("last"), "{:?}", names(&found));
        let middle = &found.hops[at("middle").expect("there")];
        assert_eq!(middle.outside, [ObjectRef::new("Kustomization", "flux-system", "gone")]);
    }

    #[test]
    fn a_circle_is_refused() {
        let mut snapshot = fixture::healthy();
        let ks = &mut snapshot.kustomizations.items;
        let names: Vec<String> = ks.iter().map(|k| k.metadata.name.clone()).collect();
        for (k, other) in ks.iter_mut().zip(names.into_iter().rev()) {
            k.spec.depends_on = vec![CrossRef { name: other, ..CrossRef::default() }];
        }
        assert!(matches!(plan(&snapshot, &Selection::All), Err(NoPlan::Circle(_))));
    }

    #[test]
    fn what_is_suspended_is_known_before_anything_is_asked() {
        let mut snapshot = fixture::healthy();
        snapshot.git_repositories.items.iter_mut().for_each(|s| s.spec.suspend = true);
        let plan = plan(&snapshot, &object("kustomization/flux-system")).expect("a plan");
        assert_eq!(plan.suspended().len(), 1);
    }

    #[test]
    fn what_is_not_there_is_answered_with_what_is() {
        let snapshot = fixture::healthy();
        let Err(NoPlan::NotFound(text)) = plan(&snapshot, &object("ks/nope")) else { panic!("found") };
        assert!(text.contains("flux-system/example-nginx-app"), "{text}");
        let Err(NoPlan::NotFound(text)) = plan(&snapshot, &object("nobody/nothing")) else { panic!("found") };
        assert!(text.contains("platform/flux-system"), "{text}");
    }

    #[test]
    fn arguments_are_kinds_or_projects() {
        assert_eq!(object("platform/fleet"), Selection::Project("platform/fleet".to_owned()));
        assert_eq!(object("a/b/c.git"), Selection::Project("a/b/c".to_owned()));
        let hr = object("helmreleases.helm.toolkit.fluxcd.io/x");
        assert_eq!(hr, Selection::Object { kind: "HelmRelease", namespace: None, name: "x".to_owned() });
        assert!(Selection::parse("fleet", None).is_err());
    }

    #[test]
    fn urls_name_projects() {
        for (url, path) in [
            ("https://gitlab.example.com/platform/fleet.git", "platform/fleet"),
            ("ssh://git@gitlab.example.com:2222/platform/fleet", "platform/fleet"),
            ("git@gitlab.example.com:platform/fleet.git", "platform/fleet"),
        ] {
            assert_eq!(project_path(url).as_deref(), Some(path));
        }
        assert!(same_project("gitlab/Platform/fleet", "platform/Fleet"));
        assert!(!same_project("other-platform/fleet", "platform/fleet"));
    }

    #[test]
    fn revisions_are_meant_whole_or_by_their_first_digits() {
        let held = "main@sha1:0123456789abcdef0123";
        for meant in [held, "0123456", "0123456789ABCDEF", "sha1:0123456789", "main", "main@sha1:0123456"] {
            assert!(is_revision(held, meant), "{meant}");
        }
        for other in ["012", "1234567", "dev@sha1:0123456", "", "v1"] {
            assert!(!is_revision(held, other), "{other}");
        }
        assert!(is_revision("2.29.1", "2.29.1"));
        assert!(same_revision("1.0.0+abc", "1.0.0") && !same_revision("1.0.1", "1.0.0"));
    }

    #[test]
    fn selectors_read_as_kubectl_writes_them() {
        let labels: StringMap = [("team", "a"), ("tier", "web")].map(|(k, v)| (k.into(), v.into())).into();
        for (text, fits) in [
            ("team=a", true),
            ("team==a,tier=web", true),
            ("team!=a", false),
            ("team in (a,b),tier", true),
            ("team notin (a)", false),
            ("!team", false),
            ("!other", true),
        ] {
            assert_eq!(Selector::parse(text).expect(text).matches(&labels), fits, "{text}");
        }
        assert!(Selector::parse("a in (b").is_err() && Selector::parse("=x").is_err());
    }
}
