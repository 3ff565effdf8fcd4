//! What Kustomizations and HelmReleases wait for by `spec.dependsOn`.

use std::collections::HashMap;

use super::{Condition, CrossRef, Facts, condition};
use crate::object::ObjectRef;
use crate::snapshot::{Snapshot, Why};

/// A Kustomization or HelmRelease, as those see it that depend on it.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'s> {
    /// Whether it is suspended.
    pub suspended: bool,
    /// Whether its condition says that it is ready.
    pub is_ready: bool,
    /// What it says where it is not.
    pub failed: Option<&'s Condition>,
}

impl<'s> Facts<'s> {
    /// A Kustomization or HelmRelease; `Ok(None)` means that it does not exist.
    ///
    /// # Errors
    /// It was not seen, and not all of its namespace was listed.
    pub fn applier(&self, object: &ObjectRef) -> Result<Option<Standing<'s>>, Why> {
        let (namespace, name) = (&object.namespace, &object.name);
        let of = |suspended, conditions: &'s [Condition]| {
            let ready = condition(conditions, "Ready");
            let is_ready = ready.is_some_and(|c| c.status == "True");
            Standing { suspended, is_ready, failed: ready.filter(|c| c.status == "False") }
        };
        Ok(match object.kind.as_str() {
            "Kustomization" => {
                let found = self.snapshot.kustomizations.find(namespace, name)?;
                found.map(|k| of(k.spec.suspend, &k.status.conditions))
            }
            "HelmRelease" => {
                let found = self.snapshot.helm_releases.find(namespace, name)?;
                found.map(|r| of(r.spec.suspend, &r.status.conditions))
            }
            _ => None,
        })
    }

    /// The Kustomizations or HelmReleases that depend on one and say that they wait.
    pub fn waiting_for(&self, object: &ObjectRef) -> Vec<ObjectRef> {
        let s = self.snapshot;
        let waits = |conditions: &[Condition]| {
            condition(conditions, "Ready")
                .is_some_and(|c| c.status == "False" && c.reason == "DependencyNotReady")
        };
        let is_on = |own: &str, on: &[CrossRef]| {
            on.iter()
                .map(|on| Self::resolve(on, own))
                .any(|on| (&on.namespace, &on.name) == (&object.namespace, &object.name))
        };
        match object.kind.as_str() {
            "Kustomization" => {
                let all = s.kustomizations.items.iter().filter(|k| waits(&k.status.conditions));
                let all = all.filter(|k| is_on(&k.metadata.namespace, &k.spec.depends_on));
                all.map(|k| k.metadata.object("Kustomization")).collect()
            }
            "HelmRelease" => {
                let all = s.helm_releases.items.iter().filter(|r| waits(&r.status.conditions));
                let all = all.filter(|r| is_on(&r.metadata.namespace, &r.spec.depends_on));
                all.map(|r| r.metadata.object("HelmRelease")).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The circle of dependencies that an object is part of, from it back to it.
    pub fn circle(&self, object: &ObjectRef) -> Option<Vec<ObjectRef>> {
        let all = self.circles.get_or_init(|| circles(self.snapshot));
        let circle = all.iter().find(|circle| circle.contains(object))?;
        let at = circle.iter().position(|o| o == object)?;
        Some(circle[at..].iter().chain(&circle[..=at]).cloned().collect())
    }
}

/// Every circle of dependencies, each object in one of them at most: a walk that passes each reference once.
fn circles(s: &Snapshot) -> Vec<Vec<ObjectRef>> {
    let kustomizations =
        s.kustomizations.items.iter().map(|k| (k.metadata.object("Kustomization"), &k.spec.depends_on));
    let releases =
        s.helm_releases.items.iter().map(|r| (r.metadata.object("HelmRelease"), &r.spec.depends_on));
    let all: Vec<(ObjectRef, &Vec<CrossRef>)> = kustomizations.chain(releases).collect();
    let numbers: HashMap<&ObjectRef, usize> =
        all.iter().enumerate().map(|(i, (object, _))| (object, i)).collect();
    let needs: Vec<Vec<usize>> = all
        .iter()
        .map(|(object, on)| {
            let on = on
                .iter()
                .map(|on| ObjectRef { kind: object.kind.clone(), ..Facts::resolve(on, &object.namespace) });
            on.filter_map(|on| numbers.get(&on).copied()).collect()
        })
        .collect();
    let (mut found, mut done) = (Vec::new(), vec![false; all.len()]);
    let mut place: Vec<Option<usize>> = vec![None; all.len()];
    let mut in_circle = vec![false; all.len()];
    for (start, _) in all.iter().enumerate() {
        let mut path: Vec<(usize, usize)> = Vec::new();
        if !done[start] {
            place[start] = Some(0);
            path.push((start, 0));
        }
        while let Some((node, next)) = path.last_mut() {
            let Some(need) = needs[*node].get(*next).copied() else {
                (done[*node], place[*node]) = (true, None);
                path.pop();
                continue;
            };
            *next += 1;
            if let Some(at) = place[need] {
                let circle: Vec<usize> = path[at..].iter().map(|(node, _)| *node).collect();
                if circle.iter().all(|node| !in_circle[*node]) {
                    circle.iter().for_each(|node| in_circle[*node] = true);
                    found.push(circle.into_iter().map(|node| all[node].0.clone()).collect());
                }
            } else if !done[need] {
                place[need] = Some(path.len());
                path.push((need, 0));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn circles_are_found_and_chains_are_none() {
        let circle_of = |edges: &[(&str, &str)], of: &str| {
            let mut s = fixture::healthy();
            let example = s.kustomizations.items[0].clone();
            for name in ["a", "b", "c", "d"] {
                let mut k = example.clone();
                name.clone_into(&mut k.metadata.name);
                let on = edges.iter().filter(|(from, _)| *from == name);
                k.spec.depends_on =
                    on.map(|(_, to)| CrossRef { name: (*to).to_owned(), ..CrossRef::default() }).collect();
                s.kustomizations.items.push(k);
            }
            let facts = Facts::derive(&s);
            let circle = facts.circle(&ObjectRef::new("Kustomization", "flux-system", of));
            circle.map(|c| c.iter().map(|o| o.name.as_str()).collect::<Vec<_>>().join(""))
        };
        for (edges, of, expected) in [
            (&[("a", "b"), ("b", "a")][..], "a", Some("aba")),
            (&[("a", "b"), ("b", "a")], "b", Some("bab")),
            (&[("a", "a")], "a", Some("aa")),
            (&[("a", "b"), ("b", "c"), ("c", "a")], "c", Some("cabc")),
            (&[("a", "b"), ("b", "c"), ("c", "b")], "a", None),
            (&[("a", "b"), ("b", "c"), ("c", "b")], "b", Some("bcb")),
            (&[("a", "b"), ("b", "c"), ("c", "d")], "a", None),
            (&[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")], "a", None),
            (&[("a", "x")], "a", None),
            (&[("a", "b"), ("b", "a"), ("c", "d"), ("d", "c")], "d", Some("dcd")),
        ] {
            assert_eq!(circle_of(edges, of).as_deref(), expected, "{edges:?} {of}");
        }
    }
}
