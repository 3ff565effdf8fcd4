//! Which finding explains which, and the order in which to mend them.

use std::collections::{BTreeSet, HashMap};

use super::Problem;
use crate::assess::Severity;
use crate::facts::Facts;
use crate::facts::failure::FailureKey;
use crate::facts::graph::Nearest;
use crate::object::ObjectRef;
use crate::text::count;

/// Checks that see that something does not work rather than why: on one object, the others explain them.
const SYMPTOMS: &[u16] = &[208, 307, 308];

/// Puts each finding under the nearest cause, and the causes into the order in which to mend them.
///
/// A finding explains another when the other's object needs its object ([`crate::facts::graph::Graph`]), or when
/// both are on one object and its check says more of the reason: [`Finding::explains`], no [`SYMPTOMS`], then the lower
/// code. Of those that nothing explains and that show one failure ([`FailureKey`]) the first stands for all.
pub(super) fn arrange(mut found: Vec<Problem>, facts: &Facts<'_>) -> Vec<Problem> {
    let class = |p: &Problem| (!p.finding.explains, SYMPTOMS.contains(&p.check.code));
    let rank = |p: &Problem| (class(p), p.check.code);
    found.sort_by(|a, b| (rank(a), &a.finding.subject).cmp(&(rank(b), &b.finding.subject)));
    let mut causes = Causes::new(&found, facts).all();
    inherit(&mut found, &causes);
    unite(&found, &mut causes);
    let roots = roots_of(&causes);
    let mut places: Vec<Option<Problem>> = found.into_iter().map(Some).collect();
    let mut following: Vec<Vec<Problem>> = places.iter().map(|_| Vec::new()).collect();
    for (i, root) in roots.iter().enumerate().filter(|(i, root)| i != *root) {
        following[*root].extend(places[i].take());
    }
    let causes = places.into_iter().zip(following);
    let with = |(cause, consequences): (Option<Problem>, Vec<Problem>)| {
        Some(Problem { consequences, ..cause? }.naming_those_alike())
    };
    let mut problems: Vec<Problem> = causes.filter_map(with).collect();
    problems.sort_by_cached_key(Problem::urgency);
    problems
}

impl Problem {
    /// Says of how many more objects it stands for.
    fn naming_those_alike(mut self) -> Self {
        let Some(key) = &self.finding.failure else { return self };
        let alike = self.consequences.iter().filter(|c| c.finding.failure.as_ref() == Some(key));
        let alike: BTreeSet<&ObjectRef> = alike.map(|c| &c.finding.subject).collect();
        let others = alike.into_iter().filter(|o| **o != self.finding.subject).count();
        if others > 0 {
            let text = format!("; the same fault ({}) stops {}", key.peer, count(others, "more object"));
            self.finding.message.push_str(&text);
        }
        self
    }
}

/// A finding shows the failure that another one on its object shows and that it explains.
fn inherit(found: &mut [Problem], causes: &[Option<usize>]) {
    for (i, cause) in causes.iter().enumerate() {
        let Some(cause) = cause.filter(|cause| found[*cause].finding.subject == found[i].finding.subject)
        else {
            continue;
        };
        if found[cause].finding.failure.is_none() {
            found[cause].finding.failure = found[i].finding.failure.clone();
        }
    }
}

/// Puts those that nothing explains and that show one failure under the first of the most severe of them.
fn unite(found: &[Problem], causes: &mut [Option<usize>]) {
    let alone: Vec<(usize, &FailureKey)> = (0..found.len())
        .filter(|i| causes[*i].is_none())
        .filter_map(|i| Some((i, found[i].finding.failure.as_ref()?)))
        .collect();
    let mut leads: HashMap<&FailureKey, usize> = HashMap::new();
    for (i, key) in &alone {
        let lead = leads.entry(key).or_insert(*i);
        if found[*i].severity > found[*lead].severity {
            *lead = *i;
        }
    }
    for (i, key) in alone {
        causes[i] = leads.get(key).copied().filter(|lead| *lead != i);
    }
}

/// Notes a finding where none is yet that is as severe.
fn note(first: &mut [Option<usize>; 3], found: &[Problem], i: usize) {
    for (of_severity, severity) in first.iter_mut().zip(SEVERITIES) {
        *of_severity = of_severity.or((found[i].severity >= severity).then_some(i));
    }
}

/// What explains what, each looked up in what one walk over all findings and edges has collected.
struct Causes<'a> {
    found: &'a [Problem],
    /// By object and severity: the first finding that explains others of this severity.
    first: HashMap<&'a ObjectRef, [Option<usize>; 3]>,
    /// By severity: the nearest object with such a finding.
    nearest: [Nearest<'a>; 3],
}

const SEVERITIES: [Severity; 3] = [Severity::Info, Severity::Warning, Severity::Error];

impl<'a> Causes<'a> {
    fn new(found: &'a [Problem], facts: &'a Facts<'_>) -> Self {
        let mut first: HashMap<&ObjectRef, [Option<usize>; 3]> = HashMap::new();
        for (i, problem) in found.iter().enumerate().filter(|(_, problem)| breaks(problem)) {
            note(first.entry(&problem.finding.subject).or_default(), found, i);
        }
        let explains = |o: &ObjectRef, severity: Severity| first.get(o).and_then(|f| f[severity as usize]);
        let nearest = SEVERITIES.map(|severity| facts.graph.nearest(|o| explains(o, severity).is_some()));
        Self { found, first, nearest }
    }

    /// The finding that most directly explains each.
    fn all(&self) -> Vec<Option<usize>> {
        (0..self.found.len()).map(|i| self.of(i)).collect()
    }

    fn of(&self, i: usize) -> Option<usize> {
        let Problem { check, severity, finding, .. } = &self.found[i];
        if check.code == 102 || finding.subject == ObjectRef::cluster() {
            return None;
        }
        // What is only set up in a questionable way stays so when everything runs again.
        if *severity != Severity::Error && SETTINGS.contains(&check.slug) {
            return None;
        }
        let on = |object: &ObjectRef| self.first.get(object).and_then(|f| f[*severity as usize]);
        on(&finding.subject)
            .filter(|j| *j < i)
            .or_else(|| on(self.nearest[*severity as usize].of(&finding.subject)?))
    }
}

/// Checks of settings, whose warnings no failure of another object explains.
const SETTINGS: &[&str] = &[
    "push-events-not-sent",
    "interval-unreasonable",
    "credential-too-powerful",
    "credential-scopes",
    "status-token-of-many-projects",
    "agent-token-unused",
    "token-of-many-purposes",
    "transport-insecure",
    "auto-patch-off",
    "image-tag-differs",
];

/// Warnings that keep things from working all the same.
const BREAKING: &[&str] = &["suspended", "webhooks-kept-out", "webhook-address-wrong"];

/// Whether what was found keeps its object from working, so that others may fail because of it.
fn breaks(problem: &Problem) -> bool {
    problem.check.code != 102
        && (problem.severity == Severity::Error || BREAKING.contains(&problem.check.slug))
}

/// Follows the cause of each to the first one; each is passed once. A cycle ends at its lowest index.
pub(super) fn roots_of(causes: &[Option<usize>]) -> Vec<usize> {
    let mut roots: Vec<Option<usize>> = vec![None; causes.len()];
    let mut place_on_path: Vec<Option<usize>> = vec![None; causes.len()];
    for start in 0..causes.len() {
        let (mut path, mut at) = (Vec::new(), start);
        let root = loop {
            if let Some(known) = roots[at] {
                break known;
            }
            if let Some(place) = place_on_path[at] {
                break path[place..].iter().copied().min().unwrap_or(at);
            }
            place_on_path[at] = Some(path.len());
            path.push(at);
            match causes[at] {
                Some(next) => at = next,
                None => break at,
            }
        };
        for passed in path {
            roots[passed] = Some(root);
        }
    }
    roots.into_iter().enumerate().map(|(i, root)| root.unwrap_or(i)).collect()
}
