//! Masks in text what is secret: every value of a Secret that was read, in whatever encoding, and whatever looks like a
//! credential. The second line of defense behind the shapes that never hold one.
//!
//! A text is looked at as it is and in every way in which it decodes ([`views`]); in each view one automaton looks for
//! all known values, and another for the signs of credentials ([`patterns`]). The cost is linear in the text.

mod arguments;
mod automaton;
#[cfg(test)]
mod forms;
mod keyed;
mod login;
mod patterns;
#[cfg(test)]
mod property;
#[cfg(test)]
mod table;
mod tokens;
mod url;
mod values;
pub(crate) mod views;

use std::cell::Cell;
use std::ops::Range;

pub use arguments::arguments;
use automaton::Known;
pub use url::url;
pub use values::Values;
use views::View;

/// What stands in place of a credential.
pub const MASK: &str = "***";

/// Bytes of values that are looked for, the shortest values first: a credential has a few kilobytes at most, and each
/// byte takes about 50 of memory, three times that while the automaton is built.
const BUDGET: usize = 4 << 20;

/// Masks known values and whatever looks like a credential.
pub struct Masker {
    known: Known,
    /// Bytes looked at so far, in all views.
    work: Cell<u64>,
}

impl std::fmt::Debug for Masker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Masker")
    }
}

impl Masker {
    /// A masker that knows these values.
    pub fn new(values: &Values) -> Self {
        let known = Known::new(values.patterns().collect(), BUDGET);
        let work = Cell::new(known.size() as u64);
        Self { known, work }
    }

    /// The text with every known value and every sign of a credential masked.
    pub fn free_text(&self, text: &str) -> String {
        self.masked(text).unwrap_or_else(|| text.to_owned())
    }

    /// The same; `None` where nothing is to be masked.
    pub fn masked(&self, text: &str) -> Option<String> {
        self.found(text, true)
    }

    /// The text with every known value masked, and nothing else; `None` where there is none.
    pub fn known_values(&self, text: &str) -> Option<String> {
        if self.known.size() == 0 { None } else { self.found(text, false) }
    }

    fn found(&self, text: &str, signs: bool) -> Option<String> {
        let mut found = Vec::new();
        let mut views = vec![(View::of(text), 0)];
        while let Some((view, depth)) = views.pop() {
            self.known(&view, &mut found);
            if signs {
                self.signs(&view, &mut found);
            }
            if depth == views::DEPTH {
                continue;
            }
            views.extend(views::unescaped(&view).map(|next| (next, depth + 1)));
            views::encoded(&view, views::IN_TEXT, &mut |decoded| {
                self.known(&decoded, &mut found);
                // None of our own texts was cut off.
                let login = login::password(&decoded).filter(|_| signs || decoded.cut);
                found.extend(login.map(|password| decoded.in_text(&password)));
                views.extend(views::texts(&decoded).into_iter().map(|next| (next, depth + 1)));
            });
        }
        (!found.is_empty()).then(|| covered(text, found))
    }

    /// How many bytes were looked at so far, for the test that the cost is linear.
    pub fn work(&self) -> u64 {
        self.work.get()
    }

    fn signs(&self, view: &View, found: &mut Vec<Range<usize>>) {
        let work = patterns::each(&view.bytes, &mut |part| found.push(view.in_text(&part)));
        self.work.set(self.work.get() + work);
    }

    fn known(&self, view: &View, found: &mut Vec<Range<usize>>) {
        self.work.set(self.work.get() + view.bytes.len() as u64);
        if self.known.size() > 0 {
            self.known.each(&view.bytes, view.cut, folded, &mut |part| found.push(view.in_text(&part)));
        }
    }
}

/// Masks in free text whatever looks like a credential.
pub fn free_text(text: &str) -> String {
    Masker::new(&Values::default()).free_text(text)
}

/// A form writes a space as `+`, so both count as the same.
fn folded(byte: u8) -> u8 {
    if byte == b'+' { b' ' } else { byte }
}

/// The text with a mask over each of these parts. Parts that touch, or have only a line's end between them, become one.
fn covered(text: &str, mut parts: Vec<Range<usize>>) -> String {
    parts.sort_unstable_by_key(|part| part.start);
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    let mut masked = false;
    for part in parts {
        let start = text.floor_char_boundary(part.start).max(done);
        let end = text.ceil_char_boundary(part.end);
        if end <= done {
            continue;
        }
        let between = &text[done..start];
        let joined = masked
            && between.len() <= 6
            && between.bytes().all(|b| b.is_ascii_whitespace() || b"\\nr".contains(&b));
        if !joined {
            out.push_str(between);
            out.push_str(MASK);
        }
        masked = true;
        done = end;
    }
    out.push_str(&text[done..]);
    out
}
