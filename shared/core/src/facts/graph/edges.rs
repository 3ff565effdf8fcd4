//! The edges between objects, as numbers, and the walks over them. No walk costs more than the number of edges, and
//! none calls itself: how deep and how wide the graph is, the cluster decides.

use std::collections::HashMap;

use crate::object::ObjectRef;

/// Directed edges from an object to what it needs.
#[derive(Debug, Default)]
pub(super) struct Edges {
    numbers: HashMap<ObjectRef, usize>,
    objects: Vec<ObjectRef>,
    /// By object: what it needs, in the order of [`ObjectRef`] once the edges are [sorted](Edges::sort).
    needs: Vec<Vec<usize>>,
    /// By object: what needs it, each with the place of this object among what that needs.
    needed_by: Vec<Vec<(usize, usize)>>,
    /// Objects that only stand for a group, see [`Edges::add_group`].
    groups: Vec<bool>,
}

/// See [`Edges::add_group`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Group(usize);

/// For each object the nearest other object of a chosen set that it needs ([`super::Graph::nearest`]).
pub struct Nearest<'g> {
    edges: &'g Edges,
    labels: Vec<Labels>,
    /// Number of edges that were looked at: the tests hold it linear.
    pub steps: usize,
}

/// The nearest two chosen objects, nearest first: where the first is the object itself, the second counts.
type Labels = [Option<usize>; 2];

impl Edges {
    fn number(&mut self, object: &ObjectRef) -> usize {
        if let Some(number) = self.numbers.get(object) {
            return *number;
        }
        let number = self.objects.len();
        self.numbers.insert(object.clone(), number);
        self.objects.push(object.clone());
        self.needs.push(Vec::new());
        self.groups.push(false);
        number
    }

    pub(super) fn add(&mut self, object: &ObjectRef, need: &ObjectRef) {
        let (object, need) = (self.number(object), self.number(need));
        self.needs[object].push(need);
    }

    /// Stands for many objects that several others need all: 2,000 objects that need 2,000 others take 4,000 edges,
    /// not 4 million. A group is as far away as its members, and is itself never found.
    pub(super) fn add_group(&mut self, kind: &str, members: impl Iterator<Item = ObjectRef>) -> Group {
        let group = self.objects.len();
        // Not among the numbers: an object of the cluster may have no name either.
        self.objects.push(ObjectRef::new(kind, "", ""));
        self.needs.push(Vec::new());
        self.groups.push(true);
        for member in members {
            let member = self.number(&member);
            self.needs[group].push(member);
        }
        Group(group)
    }

    /// The object needs all members of a group.
    pub(super) fn add_all(&mut self, object: &ObjectRef, group: Group) {
        let object = self.number(object);
        self.needs[object].push(group.0);
    }

    /// Puts the edges in order, each once. To be called when all are there.
    pub(super) fn sort(&mut self) {
        let mut order: Vec<usize> = (0..self.objects.len()).collect();
        order.sort_unstable_by(|a, b| self.objects[*a].cmp(&self.objects[*b]));
        let mut rank = vec![0; order.len()];
        for (at, number) in order.into_iter().enumerate() {
            rank[number] = at;
        }
        self.needed_by = vec![Vec::new(); self.objects.len()];
        for (object, needs) in self.needs.iter_mut().enumerate() {
            needs.sort_unstable_by_key(|need| rank[*need]);
            needs.dedup();
            for (place, need) in needs.iter().enumerate() {
                self.needed_by[*need].push((object, place));
            }
        }
    }

    /// Everything that `object` needs, directly or not, nearest first.
    pub(super) fn needs(&self, object: &ObjectRef) -> Vec<ObjectRef> {
        self.reach([object]).map(|number| self.objects[number].clone()).collect()
    }

    /// The numbers of what any of `objects` needs, without themselves, nearest first.
    pub(super) fn reach<'o>(
        &self,
        objects: impl IntoIterator<Item = &'o ObjectRef>,
    ) -> impl Iterator<Item = usize> {
        let mut queue: Vec<usize> =
            objects.into_iter().filter_map(|o| self.numbers.get(o).copied()).collect();
        let mut seen = vec![false; self.objects.len()];
        queue.iter().for_each(|start| seen[*start] = true);
        let (starts, mut at) = (queue.len(), 0);
        while let Some(next) = queue.get(at).copied() {
            at += 1;
            for need in &self.needs[next] {
                // A group is as far away as its members.
                let members = std::slice::from_ref(need);
                let members = if self.groups[*need] { &self.needs[*need] } else { members };
                for member in members {
                    if !std::mem::replace(&mut seen[*member], true) {
                        queue.push(*member);
                    }
                }
            }
        }
        queue.into_iter().skip(starts)
    }

    pub(super) fn object(&self, number: usize) -> &ObjectRef {
        &self.objects[number]
    }

    /// One walk from all chosen objects at once against the edges, a level at a time. An object's nearest is the one
    /// that comes first in [`Edges::needs`]: among those equally far away, the one behind the first edge that leads to
    /// one.
    pub(super) fn nearest(&self, chosen: impl Fn(&ObjectRef) -> bool) -> Nearest<'_> {
        let mut walk = Nearest { edges: self, labels: vec![[None; 2]; self.objects.len()], steps: 0 };
        let mut level: Vec<(usize, usize)> = Vec::new();
        for (number, object) in self.objects.iter().enumerate() {
            if !self.groups[number] && chosen(object) {
                walk.labels[number][0] = Some(number);
                level.push((number, 0));
            }
        }
        while !level.is_empty() {
            let groups = walk.spread(&level, true);
            level.extend(groups);
            level = walk.spread(&level, false);
        }
        walk
    }
}

impl<'g> Nearest<'g> {
    /// The nearest chosen object that `object` needs, other than itself.
    pub fn of(&self, object: &ObjectRef) -> Option<&'g ObjectRef> {
        let own = *self.edges.numbers.get(object)?;
        let nearest = self.labels[own].into_iter().flatten().find(|number| *number != own)?;
        Some(&self.edges.objects[nearest])
    }

    /// Carries the labels that the last level gave (object and place among its labels) to what needs the objects:
    /// to groups, or to all others. Gives back the labels that were given.
    fn spread(&mut self, level: &[(usize, usize)], to_groups: bool) -> Vec<(usize, usize)> {
        let edges = self.edges;
        let mut offers = Vec::new();
        for (from, label) in level {
            for (object, place) in &edges.needed_by[*from] {
                self.steps += 1;
                let is_open = edges.groups[*object] == to_groups && self.labels[*object][1].is_none();
                if let Some(source) = self.labels[*from][*label].filter(|_| is_open) {
                    offers.push((*object, *place, *label, source));
                }
            }
        }
        offers.sort_unstable();
        let mut given = Vec::new();
        for (object, _, _, source) in offers {
            let labels = &mut self.labels[object];
            let free = labels.iter().position(Option::is_none);
            if let Some(free) = free.filter(|_| !labels.contains(&Some(source))) {
                labels[free] = Some(source);
                given.push((object, free));
            }
        }
        given
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn object(number: usize) -> ObjectRef {
        ObjectRef::new("Kustomization", "x", &format!("{number:07}"))
    }

    fn edges(pairs: impl IntoIterator<Item = (usize, usize)>) -> Edges {
        let mut edges = Edges::default();
        for (from, to) in pairs {
            edges.add(&object(from), &object(to));
        }
        edges.sort();
        edges
    }

    #[test]
    fn needs_are_found_through_others_and_cycles_end() {
        let edges = edges([(0, 1), (1, 2), (2, 0)]);
        assert_eq!(edges.needs(&object(0)), [object(1), object(2)]);
    }

    #[test]
    fn a_group_stands_for_its_members_and_is_as_near_as_they_are() {
        let mut edges = Edges::default();
        let group = edges.add_group("NetworkPolicy", (0..3).map(object));
        let receivers = [object(10), object(11)];
        for receiver in &receivers {
            edges.add_all(receiver, group);
        }
        edges.add(&object(10), &object(20));
        edges.add(&object(20), &object(21));
        edges.sort();
        let found = edges.needs(&object(10));
        assert_eq!(found.len(), 5, "{found:?}");
        let near: BTreeSet<_> = found[..4].iter().cloned().collect();
        assert_eq!(near, [0, 1, 2, 20].map(object).into());
        let nearest = edges.nearest(|o| [object(2), object(21)].contains(o));
        assert_eq!(receivers.each_ref().map(|r| nearest.of(r)), [Some(&object(2)); 2]);
    }

    /// What `nearest` was before it was one walk: the first of all that an object needs.
    fn by_hand(edges: &Edges, from: usize, chosen: &BTreeSet<usize>) -> Option<ObjectRef> {
        edges.needs(&object(from)).into_iter().find(|o| chosen.iter().any(|c| object(*c) == *o))
    }

    proptest! {
        #[test]
        fn the_nearest_is_the_first_of_all_needs(
            pairs in prop::collection::vec((0_usize..12, 0_usize..12), 0..40),
            chosen in prop::collection::btree_set(0_usize..12, 0..6),
        ) {
            let edges = edges(pairs.into_iter().filter(|(a, b)| a != b));
            let nearest = edges.nearest(|o| chosen.iter().any(|c| object(*c) == *o));
            for from in 0..12 {
                prop_assert_eq!(nearest.of(&object(from)).cloned(), by_hand(&edges, from, &chosen), "{}", from);
            }
        }
    }

    /// Shapes that a cluster can have, by their number of objects.
    type Shape = (&'static str, fn(usize) -> Vec<(usize, usize)>);
    const SHAPES: [Shape; 11] = [
        ("chain", |n| (1..n).map(|i| (i, i - 1)).collect()),
        ("chain, other way round", |n| (1..n).map(|i| (i - 1, i)).collect()),
        ("circle", |n| (0..n).map(|i| (i, (i + 1) % n)).collect()),
        ("one source, many consumers", |n| (1..n).map(|i| (i, 0)).collect()),
        ("one consumer, many sources", |n| (1..n).map(|i| (0, i)).collect()),
        ("tree", |n| (1..n).map(|i| (i, (i - 1) / 2)).collect()),
        ("ladder", |n| (2..n).flat_map(|i| [(i, i - 1), (i, i - 2)]).collect()),
        ("circles of three", |n| (0..n - n % 3).map(|i| (i, i - i % 3 + (i + 1) % 3)).collect()),
        ("two chains into one", |n| (2..n).map(|i| (i, i - 2)).collect()),
        ("nested", |n| (1..n).flat_map(|i| [(i, i - 1), (i, 0)]).collect()),
        ("diamonds", |n| {
            let one = |i: usize| [(i, i - 1), (i, i - 2), (i - 1, i - 3), (i - 2, i - 3)];
            (3..n).step_by(3).flat_map(one).collect()
        }),
    ];

    #[test]
    fn twice_the_objects_take_twice_the_steps() {
        for (name, shape) in SHAPES {
            for every in [1, 2, 7, usize::MAX] {
                let steps = |n: usize| {
                    let edges = edges(shape(n));
                    let number = |o: &ObjectRef| o.name.parse::<usize>().expect("a number");
                    edges.nearest(|o| number(o) % every == 0).steps
                };
                let (once, twice) = (steps(1_000), steps(2_000));
                assert!(twice * 10 <= once * 22, "{name}, each {every}th: {once} → {twice}");
            }
        }
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_is_walked() {
        let edges = edges((1..100_000).map(|i| (i, i - 1)));
        let nearest = edges.nearest(|o| *o == object(0));
        assert_eq!(nearest.of(&object(99_999)), Some(&object(0)));
        assert_eq!(edges.needs(&object(99_999)).len(), 99_999);
    }
}
