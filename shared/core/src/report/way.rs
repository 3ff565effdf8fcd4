//! The way from GitLab projects to pods, as far as what was found lies on it: the data of a picture.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Problem;
use crate::facts::Facts;
use crate::facts::graph::expected_receiver;
use crate::facts::host::host;
use crate::facts::{Inventory, InventoryEntry, Source};
use crate::object::ObjectRef;

/// A picture that fits a page: so many sources, appliers of each, and workloads of each of those.
const SOURCES: usize = 3;
const APPLIERS: usize = 3;
const WORKLOADS: usize = 2;
/// So many causes beside them.
const CAUSES: usize = 10;

/// The picture.
#[derive(Debug, Default)]
pub struct Way {
    /// What stands on it.
    pub hops: Vec<Hop>,
    /// What leads to what.
    pub links: Vec<Link>,
    /// Sources that were left out, to keep it small.
    pub left_out: usize,
}

/// One thing on the way.
#[derive(Debug)]
pub struct Hop {
    /// What it is, for example `GitRepository`.
    pub kind: String,
    /// Its name, with its namespace where it has one; text of the cluster.
    pub name: String,
    /// What was found on it.
    pub mark: Mark,
}

/// What was found on a hop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// Nothing.
    #[default]
    None,
    /// It is what to mend; the codes.
    Cause(Vec<u16>),
    /// It follows from a cause; the codes.
    Follows(Vec<u16>),
}

/// One thing leads to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index of the hop that it comes from.
    pub from: usize,
    /// Index of the hop that it goes to.
    pub to: usize,
    /// Whether content goes along it, from Git to pod; else it is an event or something that the other needs.
    pub content: bool,
}

type Marks = BTreeMap<ObjectRef, Mark>;

/// A source with all that hangs on it.
struct Lane<'s> {
    /// Where its content is from: what that is, and its address.
    from: ObjectRef,
    source: ObjectRef,
    /// agentk and the Receiver, through which a push triggers it.
    push: Option<(ObjectRef, ObjectRef)>,
    appliers: Vec<Applier<'s>>,
}

struct Applier<'s> {
    chart: Option<ObjectRef>,
    object: ObjectRef,
    /// None of what it applied to another cluster.
    inventory: Option<&'s Inventory>,
}

impl Way {
    /// Draws the sources on whose way something was found, or the first few where nothing was.
    pub(super) fn draw(facts: &Facts<'_>, problems: &[Problem]) -> Self {
        let marks = marks(problems);
        let mut lanes = lanes(facts);
        let touched = |lane: &Lane<'_>| lane.objects().iter().any(|o| marks.contains_key(o));
        if lanes.iter().any(touched) {
            lanes.retain(touched);
        }
        lanes.sort_by_cached_key(|lane| {
            !lane.objects().iter().any(|o| matches!(marks.get(o), Some(Mark::Cause(_))))
        });
        let mut drawing = Drawing { way: Self::default(), at: BTreeMap::new(), marks: &marks, facts };
        drawing.way.left_out = lanes.len().saturating_sub(SOURCES);
        for lane in lanes.iter().take(SOURCES) {
            drawing.lane(lane);
        }
        drawing.causes(problems);
        drawing.way
    }
}

/// An object that is a cause and a consequence both is drawn as a cause.
fn marks(problems: &[Problem]) -> Marks {
    let mut marks = Marks::new();
    let roots = problems.iter().map(|problem| (problem, true));
    let follow = problems.iter().flat_map(|root| root.flatten().into_iter().skip(1));
    for (problem, root) in roots.chain(follow.map(|problem| (problem, false))) {
        let mark = marks.entry(problem.finding.subject.clone()).or_default();
        let codes = match mark {
            Mark::Cause(codes) if root => codes,
            Mark::Follows(codes) => codes,
            Mark::Cause(_) => continue,
            Mark::None => {
                *mark = if root { Mark::Cause(Vec::new()) } else { Mark::Follows(Vec::new()) };
                let (Mark::Cause(codes) | Mark::Follows(codes)) = mark else { continue };
                codes
            }
        };
        if !codes.contains(&problem.check.code) {
            codes.push(problem.check.code);
        }
    }
    marks
}

/// GitRepository, OCIRepository, Bucket and HelmRepository with what they feed.
fn lanes<'s>(facts: &Facts<'s>) -> Vec<Lane<'s>> {
    let mut lanes = Vec::new();
    let mut appliers = appliers(facts);
    let receivers = receivers(facts);
    for (kind, listing) in facts.source_kinds().into_iter().filter(|(kind, _)| *kind != "HelmChart") {
        for source in &listing.items {
            let object = source.metadata.object(kind);
            lanes.push(Lane {
                from: ObjectRef::new(from(kind), "", &address(source)),
                push: (kind == "GitRepository").then(|| push(facts, &receivers, &object)).flatten(),
                appliers: appliers.remove(&object).unwrap_or_default(),
                source: object,
            });
        }
    }
    lanes
}

fn from(kind: &str) -> &'static str {
    match kind {
        "GitRepository" => "project",
        "HelmRepository" => "charts",
        "OCIRepository" => "registry",
        _ => "storage",
    }
}

/// `gitlab.example.com/platform/fleet` of its URL.
fn address(source: &Source) -> String {
    let url = source.spec.url.as_str();
    let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    let path =
        path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/').trim_end_matches(".git");
    match host(url) {
        Some(host) if path.is_empty() => host.to_owned(),
        Some(host) => format!("{host}/{path}"),
        None => url.to_owned(),
    }
}

/// The first Receiver that triggers each object.
fn receivers(facts: &Facts<'_>) -> HashMap<ObjectRef, ObjectRef> {
    let mut first = HashMap::new();
    for receiver in &facts.snapshot.receivers.items {
        for to in &receiver.spec.resources {
            let triggered = Facts::resolve(to, &receiver.metadata.namespace);
            first.entry(triggered).or_insert_with(|| receiver.metadata.object("Receiver"));
        }
    }
    first
}

/// agentk and the Receiver that triggers a GitRepository; where there is none, the one that agentk should have made.
fn push(
    facts: &Facts<'_>,
    receivers: &HashMap<ObjectRef, ObjectRef>,
    repository: &ObjectRef,
) -> Option<(ObjectRef, ObjectRef)> {
    let agent = facts.agents.first()?.object();
    let expected = || expected_receiver(&repository.namespace, &repository.name);
    Some((agent, receivers.get(repository).cloned().unwrap_or_else(expected)))
}

/// The appliers by the source that they are fed from.
fn appliers<'s>(facts: &Facts<'s>) -> HashMap<ObjectRef, Vec<Applier<'s>>> {
    let s = facts.snapshot;
    let mut by_source: HashMap<ObjectRef, Vec<Applier<'s>>> = HashMap::new();
    for k in &s.kustomizations.items {
        let source = Facts::resolve(&k.spec.source_ref, &k.metadata.namespace);
        by_source.entry(source).or_default().push(Applier {
            chart: None,
            object: k.metadata.object("Kustomization"),
            inventory: k.spec.kube_config.is_none().then_some(&k.status.inventory),
        });
    }
    for r in &s.helm_releases.items {
        let chart = r.spec.chart.as_ref().map(|c| &c.spec.source_ref).or(r.spec.chart_ref.as_ref());
        let Some(reference) = chart else { continue };
        let made = r.status.helm_chart.split_once('/');
        by_source.entry(Facts::resolve(reference, &r.metadata.namespace)).or_default().push(Applier {
            chart: made.map(|(namespace, name)| ObjectRef::new("HelmChart", namespace, name)),
            object: r.metadata.object("HelmRelease"),
            inventory: r.spec.kube_config.is_none().then_some(&r.status.inventory),
        });
    }
    by_source
}

impl Lane<'_> {
    fn objects(&self) -> Vec<ObjectRef> {
        let push = self.push.iter().flat_map(|(agent, receiver)| [agent, receiver]);
        let own = std::iter::once(&self.source).chain(push).cloned();
        own.chain(self.appliers.iter().flat_map(Applier::objects)).collect()
    }
}

impl Applier<'_> {
    fn workloads(&self) -> Vec<ObjectRef> {
        self.inventory.into_iter().flat_map(|i| &i.entries).filter_map(InventoryEntry::workload).collect()
    }

    fn objects(&self) -> Vec<ObjectRef> {
        let own = std::iter::once(&self.object).chain(&self.chart).cloned();
        own.chain(self.workloads()).collect()
    }
}

struct Drawing<'d, 's> {
    way: Way,
    at: BTreeMap<ObjectRef, usize>,
    marks: &'d Marks,
    facts: &'d Facts<'s>,
}

impl Drawing<'_, '_> {
    fn lane(&mut self, lane: &Lane<'_>) {
        let project = self.object(&lane.from);
        let source = self.object(&lane.source);
        self.link(project, source, true);
        if let Some((agent, receiver)) = &lane.push {
            let agent = self.object(agent);
            let receiver = self.object(receiver);
            self.link(project, agent, false);
            self.link(agent, receiver, false);
            self.link(receiver, source, false);
        }
        for applier in first(&lane.appliers, APPLIERS, |a| self.is_marked(&a.objects())) {
            let mut from = source;
            // A HelmChart is part of the way to its release, and shown where something is wrong with it.
            if let Some(chart) = applier.chart.as_ref().filter(|c| self.marks.contains_key(*c)) {
                let chart = self.object(chart);
                self.link(from, chart, true);
                from = chart;
            }
            let object = self.object(&applier.object);
            self.link(from, object, true);
            let workloads = applier.workloads();
            for workload in first(&workloads, WORKLOADS, |w| self.marks.contains_key(w)) {
                self.workload(object, workload);
            }
        }
    }

    /// A workload with its pods, where it was seen.
    fn workload(&mut self, from: usize, object: &ObjectRef) {
        let drawn = self.at.contains_key(object);
        let workload = self.object(object);
        self.link(from, workload, true);
        let s = self.facts.snapshot;
        let listing = match object.kind.as_str() {
            "Deployment" => &s.deployments,
            "StatefulSet" => &s.stateful_sets,
            _ => &s.daemon_sets,
        };
        let found = listing.items.iter().find(|w| w.metadata.object(&object.kind) == *object);
        if let Some((wanted, ready)) = found.filter(|_| !drawn).map(|w| w.readiness(&object.kind)) {
            let pods = self.push("pods", format!("{ready} of {wanted} ready"), Mark::None);
            self.link(workload, pods, true);
        }
    }

    /// The first causes that what is drawn needs.
    fn causes(&mut self, problems: &[Problem]) {
        let needs = self.facts.graph.needs_of(self.at.keys());
        let beside = problems.iter().map(|p| &p.finding.subject);
        let beside = beside.filter(|subject| needs.contains(subject) && !self.at.contains_key(*subject));
        let beside: Vec<&ObjectRef> = beside.take(CAUSES).collect();
        for subject in beside {
            self.cause(subject);
        }
    }

    /// A cause beside the way, for example a Secret or a controller, with the nearest hops that need it.
    fn cause(&mut self, subject: &ObjectRef) {
        let graph = &self.facts.graph;
        if self.at.contains_key(subject) || *subject == ObjectRef::cluster() {
            return;
        }
        let needs_it = graph.nearest(|object| object == subject);
        let need: BTreeSet<&ObjectRef> = self.at.keys().filter(|o| needs_it.of(o).is_some()).collect();
        let through = graph.nearest(|object| need.contains(object));
        let nearest = self.at.iter().filter(|(o, _)| need.contains(o) && through.of(o).is_none());
        let nearest: Vec<usize> = nearest.map(|(_, at)| *at).collect();
        if nearest.is_empty() {
            return;
        }
        let cause = self.object(subject);
        for hop in nearest {
            self.link(cause, hop, false);
        }
    }

    fn is_marked(&self, objects: &[ObjectRef]) -> bool {
        objects.iter().any(|o| self.marks.contains_key(o))
    }

    fn object(&mut self, object: &ObjectRef) -> usize {
        if let Some(at) = self.at.get(object) {
            return *at;
        }
        let name = match object.namespace.as_str() {
            "" => object.name.clone(),
            namespace => format!("{namespace}/{}", object.name),
        };
        let at = self.push(&object.kind, name, self.marks.get(object).cloned().unwrap_or_default());
        self.at.insert(object.clone(), at);
        at
    }

    fn push(&mut self, kind: &str, name: String, mark: Mark) -> usize {
        self.way.hops.push(Hop { kind: kind.to_owned(), name, mark });
        self.way.hops.len() - 1
    }

    fn link(&mut self, from: usize, to: usize, content: bool) {
        let link = Link { from, to, content };
        if from != to && !self.way.links.contains(&link) {
            self.way.links.push(link);
        }
    }
}

/// The first few, those that `matter` before the others.
fn first<T>(items: &[T], most: usize, matter: impl Fn(&T) -> bool) -> Vec<&T> {
    let (mut chosen, others): (Vec<&T>, Vec<&T>) = items.iter().partition(|i| matter(i));
    chosen.extend(others);
    chosen.truncate(most);
    chosen
}

#[cfg(test)]
mod tests {
    use super::super::{Report, Thresholds};
    use super::*;
    use crate::assess::{CHECKS, assess};
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn way(change: impl FnOnce(&mut Snapshot)) -> Way {
        let mut snapshot = fixture::healthy();
        change(&mut snapshot);
        let facts = Facts::derive(&snapshot);
        Report::build(&facts, assess(&facts, CHECKS.iter().copied()), &Thresholds::default()).way
    }

    fn hop<'w>(way: &'w Way, kind: &str, name: &str) -> (usize, &'w Hop) {
        let found = way.hops.iter().enumerate().find(|(_, h)| h.kind == kind && h.name == name);
        found.unwrap_or_else(|| panic!("{kind} {name} in {way:#?}"))
    }

    fn linked(way: &Way, from: (&str, &str), to: (&str, &str), content: bool) -> bool {
        let (from, to) = (hop(way, from.0, from.1).0, hop(way, to.0, to.1).0);
        way.links.contains(&Link { from, to, content })
    }

    #[test]
    fn the_way_goes_from_project_to_pods() {
        let way = way(|_| {});
        let git = ("GitRepository", "flux-system/example-nginx-app");
        let applier = ("Kustomization", "flux-system/example-nginx-app");
        assert!(linked(&way, ("project", "gitlab.example.com/platform/example-nginx-app"), git, true));
        assert!(linked(&way, git, applier, true));
        assert!(linked(&way, applier, ("Deployment", "example-nginx/nginx"), true));
        assert!(linked(&way, ("Deployment", "example-nginx/nginx"), ("pods", "2 of 2 ready"), true));
        let receiver = ("Receiver", "flux-system/gitlab-example-nginx-app");
        assert!(linked(&way, ("Deployment", "gitlab/gitlab-agent-v2"), receiver, false));
        assert!(linked(&way, receiver, git, false));
        assert!(way.hops.iter().all(|h| h.mark == Mark::None));
    }

    #[test]
    fn what_is_broken_is_marked_and_the_rest_left_out() {
        let way = way(|s| {
            let git = fixture::git_mut(s, "example-nginx-app");
            git.status.conditions = fixture::fetch_failed("GitOperationFailed", "authentication required");
            s.kustomizations.items[1].status.conditions = fixture::not_ready("ArtifactFailed", "no artifact");
        });
        let (_, git) = hop(&way, "GitRepository", "flux-system/example-nginx-app");
        assert_eq!(git.mark, Mark::Cause(vec![407]));
        let (_, applier) = hop(&way, "Kustomization", "flux-system/example-nginx-app");
        assert_eq!(applier.mark, Mark::Follows(vec![408]));
        assert!(!way.hops.iter().any(|h| h.name == "flux-system/flux-system"), "{way:#?}");
    }

    #[test]
    fn a_cause_beside_the_way_points_at_what_needs_it() {
        let way = way(|s| fixture::secret(s, "gitlab", "gitlab-agent-token").keys.clear());
        let secret = ("Secret", "gitlab/gitlab-agent-token");
        assert!(matches!(hop(&way, secret.0, secret.1).1.mark, Mark::Cause(_)));
        assert!(linked(&way, secret, ("Deployment", "gitlab/gitlab-agent-v2"), false), "{way:#?}");
        let from = hop(&way, secret.0, secret.1).0;
        assert_eq!(way.links.iter().filter(|l| l.from == from).count(), 1, "only the nearest: {way:#?}");
    }
}
