//! The fields of one page of a list, read as they come: each item is kept or not at once, so that a million broken ones,
//! or what is beyond the budget, take no memory for each.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::list::ListMeta;
use crate::access::Budget;

/// Items that cannot be read and are named; more are only counted.
pub(super) const NAMED: usize = 20;

/// A page while it is read.
pub(super) struct Page<'p, T, R> {
    /// The list's own metadata.
    pub(super) metadata: ListMeta,
    /// Whether it has items at all; `null` is none.
    pub(super) has_items: bool,
    /// What was read.
    pub(super) items: Vec<T>,
    /// What cannot be read, in words.
    pub(super) broken: Vec<String>,
    /// How many more cannot be read.
    pub(super) unnamed: usize,
    /// How many were left out, because more is not kept.
    pub(super) over: usize,
    budget: &'p Budget,
    read: R,
}

impl<'p, T, R: Fn(&RawValue) -> Result<T, String>> Page<'p, T, R> {
    /// Reads a page; `read` reads one item.
    ///
    /// # Errors
    /// It is no JSON of a list.
    pub(super) fn read(body: &[u8], budget: &'p Budget, read: R) -> serde_json::Result<Self> {
        let mut page = Self {
            metadata: ListMeta::default(),
            has_items: false,
            items: Vec::new(),
            broken: Vec::new(),
            unnamed: 0,
            over: 0,
            budget,
            read,
        };
        let mut text = serde_json::Deserializer::from_slice(body);
        text.deserialize_map(&mut page)?;
        text.end()?;
        Ok(page)
    }

    /// What is missing of it, in words.
    pub(super) fn missing(&mut self) -> Vec<String> {
        let mut texts = std::mem::take(&mut self.broken);
        if self.unnamed > 0 {
            texts.push(format!("{} more objects cannot be read", self.unnamed));
        }
        if self.over > 0 {
            texts.push(format!(
                "{} more objects were left out: all answers together are larger than is kept in memory",
                self.over
            ));
        }
        texts
    }

    fn item(&mut self, raw: &RawValue) {
        if self.over > 0 || !self.budget.keeps(raw.get(), size_of::<T>()) {
            self.over += 1;
            return;
        }
        match (self.read)(raw) {
            Ok(item) => self.items.push(item),
            Err(_) if self.broken.len() >= NAMED => self.unnamed += 1,
            Err(text) => self.broken.push(text),
        }
    }
}

/// The list's own fields.
impl<'de, T, R: Fn(&RawValue) -> Result<T, String>> Visitor<'de> for &mut Page<'_, T, R> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while let Some(field) = fields.next_key::<Cow<'de, str>>()? {
            match &*field {
                "metadata" => self.metadata = fields.next_value()?,
                "items" => fields.next_value_seed(Items(self))?,
                _ => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Its items.
struct Items<'i, 'p, T, R>(&'i mut Page<'p, T, R>);

impl<'de, T, R: Fn(&RawValue) -> Result<T, String>> DeserializeSeed<'de> for Items<'_, '_, T, R> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T, R: Fn(&RawValue) -> Result<T, String>> Visitor<'de> for Items<'_, '_, T, R> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("items")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.0.has_items = true;
        while let Some(raw) = items.next_element::<&'de RawValue>()? {
            self.0.item(raw);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page<'p>(
        body: &str,
        budget: &'p Budget,
    ) -> Page<'p, u8, impl Fn(&RawValue) -> Result<u8, String> + use<>> {
        Page::read(body.as_bytes(), budget, |raw| serde_json::from_str(raw.get()).map_err(|e| e.to_string()))
            .expect("a list")
    }

    #[test]
    fn many_broken_objects_are_counted() {
        let budget = Budget::default();
        let mut page = page(&format!("{{\"items\":[{}7],\"x\":[1]}}", "{},".repeat(50_000)), &budget);
        assert_eq!((page.items.as_slice(), page.has_items), (&[7][..], true));
        let missing = page.missing();
        assert_eq!(
            (missing.len(), missing[NAMED].as_str()),
            (NAMED + 1, "49980 more objects cannot be read")
        );
    }

    #[test]
    fn what_is_beyond_the_budget_is_missing_and_costs_nothing() {
        let budget = Budget::default();
        while budget.keeps("{}", 1 << 20) {}
        let mut page = page(&format!("{{\"items\":[{}7]}}", "1,".repeat(1000)), &budget);
        assert!(page.items.is_empty());
        let missing = page.missing();
        assert!(
            missing.len() == 1 && missing[0].starts_with("1001 more objects were left out"),
            "{missing:?}"
        );
    }

    #[test]
    fn null_is_no_list_of_items() {
        let budget = Budget::default();
        for body in [r#"{"items":null}"#, "{}", r#"{"metadata":{}}"#] {
            assert!(!page(body, &budget).has_items, "{body}");
        }
        assert!(page(r#"{"items":[]}"#, &budget).has_items);
    }
}
