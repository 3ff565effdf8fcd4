//! Label selectors in kubectl's notation.

use crate::snapshot::kinds::StringMap;

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

#[cfg(test)]
mod tests {
    use super::*;

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
