//! The objects of one kind, and looking one up by name.

use serde::{Deserialize, Serialize};

use super::kinds::HasMeta;
use super::{Why, WhyKind};

/// The objects of one kind that were seen, and what could not be seen of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Listing<T> {
    /// What was seen.
    pub items: Vec<T>,
    /// Why more may exist than was seen; empty when all that was asked for was seen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Why>,
    /// The namespaces that were listed; none means all of them at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// Whether the items are sorted by namespace and name, see [`Listing::put_in_order`].
    #[serde(skip)]
    pub in_order: bool,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self { items: Vec::new(), gaps: Vec::new(), namespaces: None, in_order: false }
    }
}

impl<T> Listing<T> {
    /// A listing that a recording of an older version does not have.
    pub(super) fn not_recorded() -> Self {
        Self::unknown(Why::new(WhyKind::NotAsked, "a listing", "the recording is older and does not hold it"))
    }

    /// A listing of which nothing could be seen.
    pub fn unknown(why: Why) -> Self {
        Self { gaps: vec![why], namespaces: Some(Vec::new()), ..Self::default() }
    }
}

impl<T: HasMeta> Listing<T> {
    /// The objects of one namespace (empty for cluster-scoped kinds).
    ///
    /// # Errors
    /// That namespace was not, or could not be, listed; or one of them may be among what could not be read.
    pub fn in_namespace(&self, namespace: &str) -> Result<Vec<&T>, Why> {
        self.is_known(namespace)?;
        let own = |item: &&T| item.meta().namespace == namespace;
        if !self.in_order {
            return Ok(self.items.iter().filter(own).collect());
        }
        let first = self.items.partition_point(|item| item.meta().namespace.as_str() < namespace);
        Ok(self.items[first..].iter().take_while(own).collect())
    }

    /// Whether all objects of a namespace were seen.
    ///
    /// # Errors
    /// They were not, or one of them may be among what could not be read.
    pub(crate) fn is_known(&self, namespace: &str) -> Result<(), Why> {
        match &self.namespaces {
            Some(listed) if !listed.iter().any(|n| n == namespace) => {
                let outside = || {
                    let asked = format!("objects of namespace {namespace}");
                    Why::new(WhyKind::NotAsked, asked, "the run was limited to other namespaces with -n")
                };
                Err(self.gaps.first().cloned().unwrap_or_else(outside))
            }
            _ => self.unreadable().map_or(Ok(()), |why| Err(why.clone())),
        }
    }

    /// Sorts the items by namespace and name, so that one of 20,000 is found, or not, in 15 steps.
    pub fn put_in_order(&mut self) {
        self.items.sort_by(|a, b| a.meta().place().cmp(&b.meta().place()));
        self.in_order = true;
    }

    /// One object by name; `Ok(None)` means that it does not exist.
    ///
    /// # Errors
    /// Its namespace was not, or could not be, listed; or it may be among what could not be read.
    pub fn find(&self, namespace: &str, name: &str) -> Result<Option<&T>, Why> {
        match self.seen(namespace, name) {
            Some(found) => Ok(Some(found)),
            None => self.is_known(namespace).map(|()| None),
        }
    }

    /// One object by name, where it was seen.
    pub(crate) fn seen(&self, namespace: &str, name: &str) -> Option<&T> {
        named(&self.items, self.in_order, (namespace, name), |item| item.meta().place())
    }

    /// Why an object may exist that is not among the items: it came, and could not be read.
    fn unreadable(&self) -> Option<&Why> {
        self.gaps.iter().find(|why| why.kind == WhyKind::Unreadable)
    }
}

/// The item of this namespace and name. What was put together in no order is looked through.
pub(super) fn named<'i, T>(
    items: &'i [T],
    in_order: bool,
    name: (&str, &str),
    name_of: impl Fn(&T) -> (&str, &str),
) -> Option<&'i T> {
    if in_order {
        return items.binary_search_by(|item| name_of(item).cmp(&name)).ok().and_then(|at| items.get(at));
    }
    items.iter().find(|item| name_of(item) == name)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::snapshot::kinds::{Meta, Source};

    #[test]
    fn what_could_not_be_read_is_not_said_to_be_missing() {
        let mut listing: Listing<Source> = Listing::default();
        assert!(matches!(listing.find("n", "a"), Ok(None)));
        listing.gaps.push(Why::new(WhyKind::Unreadable, "list x", "n/a cannot be read (column 7)"));
        assert!(listing.find("n", "a").is_err());
    }

    /// An object that counts how often it is looked at.
    struct Counted<'c>(Meta, &'c Cell<usize>);

    impl HasMeta for Counted<'_> {
        fn meta(&self) -> &Meta {
            self.1.set(self.1.get() + 1);
            &self.0
        }
    }

    /// By namespace and name, 1,024 objects.
    fn in_order(looks: &Cell<usize>) -> Listing<Counted<'_>> {
        let meta = |n: usize| Meta {
            namespace: format!("n{:03}", n % 64),
            name: format!("o{n:04}"),
            ..Meta::default()
        };
        let items = (0..1_024).rev().map(|n| Counted(meta(n), looks)).collect();
        let mut listing = Listing { items, ..Listing::default() };
        listing.put_in_order();
        looks.set(0);
        listing
    }

    #[test]
    fn what_is_absent_is_not_looked_for_in_all() {
        let looks = Cell::new(0);
        let listing = in_order(&looks);
        for (namespace, name, is_there) in
            [("n007", "o0007", true), ("n007", "o0008", false), ("n999", "o0007", false), ("", "", false)]
        {
            looks.set(0);
            assert_eq!(
                listing.find(namespace, name).expect("known").is_some(),
                is_there,
                "{namespace}/{name}"
            );
            assert!(looks.get() <= 12, "{namespace}/{name}: {} looks at 1,024 objects", looks.get());
        }
        looks.set(0);
        assert_eq!(listing.in_namespace("n007").expect("known").len(), 16);
        assert!(looks.get() <= 12 + 17, "{} looks at 1,024 objects", looks.get());
    }

    #[test]
    fn order_changes_no_answer() {
        let looks = Cell::new(0);
        let mut listing = in_order(&looks);
        let found = |listing: &Listing<Counted<'_>>| -> Vec<_> {
            let names = (0..70).map(|n| (format!("n{n:03}"), format!("o{:04}", n * 3)));
            names
                .map(|(namespace, name)| {
                    let own = listing.in_namespace(&namespace).expect("known").len();
                    (listing.find(&namespace, &name).expect("known").is_some(), own)
                })
                .collect()
        };
        let sorted = found(&listing);
        listing.items.reverse();
        listing.in_order = false;
        assert_eq!(found(&listing), sorted);
    }
}
