//! What counts of what an automaton over many patterns finds in a text: the longest of those that end at a byte, short
//! ones as whole words, and the beginning of one where the text was cut off.

use std::ops::Range;

use daachorse::{DoubleArrayAhoCorasick, DoubleArrayAhoCorasickBuilder};

use super::tokens::is_random;

/// Longer patterns are looked for in pieces, so that the middle of one is found where its beginning was cut off.
const LONGEST: usize = 240;

/// A pattern shorter than this counts only as a whole word.
pub(super) const WHOLE: usize = 8;

/// So much of a pattern at a place where a text was cut off counts as the pattern.
const BEGINNING: usize = 8;

/// So much of a pattern counts as the pattern wherever it stands, if it looks random: no text begins so by chance.
const RANDOM: usize = 10;

/// What of a beginning is looked at to tell whether it looks random.
const LOOKED_AT: usize = 24;

/// Texts shorter than this were not cut off, unless they say so with an ellipsis.
const CUT: usize = 200;

type Patterns = DoubleArrayAhoCorasick<u32>;

/// Values that are looked for.
pub(super) struct Known {
    long: Option<Patterns>,
    words: Option<Patterns>,
    size: usize,
}

impl Known {
    /// These patterns. The shortest are taken first, and none beyond `budget` bytes of them.
    pub(super) fn new(mut patterns: Vec<&[u8]>, budget: usize) -> Self {
        patterns.sort_unstable_by_key(|pattern| (pattern.len(), *pattern));
        patterns.dedup();
        let mut size = 0;
        patterns.retain(|pattern| {
            size += pattern.len();
            size <= budget
        });
        let long = patterns.partition_point(|pattern| pattern.len() < WHOLE);
        let (words, long) = patterns.split_at(long);
        let mut long = compiled(&long.iter().flat_map(|pattern| pieces(pattern)).collect::<Vec<_>>());
        if let Some(long) = &mut long {
            long.cache_depths().expect("it was built here, not read from a file");
        }
        Self { long, words: compiled(words), size: patterns.iter().map(|pattern| pattern.len()).sum() }
    }

    /// Bytes of patterns in it.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Gives the longest pattern that ends at each byte; `read` is what is looked at in place of a byte.
    /// `cut` says that the text was cut off where it ends.
    pub(super) fn each(
        &self,
        text: &[u8],
        cut: bool,
        read: fn(u8) -> u8,
        found: &mut dyn FnMut(Range<usize>),
    ) {
        let bytes = || text.iter().map(|byte| read(*byte)).zip(1..);
        if let Some(words) = &self.words {
            let mut stepper = words.find_overlapping_stepper();
            for (byte, end) in bytes() {
                stepper.consume(byte);
                let ends_here = stepper.matches().map(|word| word.start()..end);
                ends_here.filter(|word| stands_alone(text, word)).for_each(&mut *found);
            }
        }
        if let Some(long) = &self.long {
            let mut stepper = long.find_overlapping_stepper();
            let mut beginning = 0..0;
            for (byte, end) in bytes() {
                stepper.consume(byte);
                let start = end - stepper.depth().map_or(0, |depth| depth as usize);
                if start != beginning.start {
                    begun(text, cut, beginning, found);
                }
                beginning = start..end;
                if let Some(longest) = stepper.matches().next() {
                    found(longest.start()..end);
                    // The whole of it is no beginning.
                    beginning.start = if longest.start() == start { end } else { start };
                }
            }
            begun(text, cut, beginning, found);
        }
    }
}

/// An automaton of these patterns. Its matches are stored once for all that end alike, so that values that are parts of
/// each other by the thousand take no more memory than others.
fn compiled(patterns: &[&[u8]]) -> Option<Patterns> {
    let builder = DoubleArrayAhoCorasickBuilder::new().use_prefilter(false);
    (!patterns.is_empty()).then(|| builder.build(patterns).expect("far fewer patterns than 2^24"))
}

/// Gives the beginning of a pattern, which does not go on here, where it counts as the pattern.
fn begun(text: &[u8], cut: bool, beginning: Range<usize>, found: &mut dyn FnMut(Range<usize>)) {
    let looked_at = beginning.start..beginning.end.min(beginning.start + LOOKED_AT);
    let random = || std::str::from_utf8(&text[looked_at]).is_ok_and(is_random);
    if (beginning.len() >= BEGINNING && is_cut(text, beginning.end, cut))
        || (beginning.len() >= RANDOM && random())
    {
        found(beginning);
    }
}

/// A long pattern in pieces; the last one reaches back, so that none is short.
fn pieces(pattern: &[u8]) -> impl Iterator<Item = &[u8]> {
    let starts = (0..pattern.len()).step_by(LONGEST);
    starts.map(|start| {
        let end = (start + LONGEST).min(pattern.len());
        &pattern[if start == 0 { 0 } else { end - LONGEST }..end]
    })
}

fn stands_alone(text: &[u8], word: &Range<usize>) -> bool {
    let letter = |at: Option<&u8>| at.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let before = word.start.checked_sub(1).and_then(|at| text.get(at));
    !letter(before) && !letter(text.get(word.end))
}

/// Whether a text was cut off here: it or a long line of it ends, or an ellipsis follows. `cut` says whether the text itself
/// was cut off where it ends.
pub(super) fn is_cut(text: &[u8], end: usize, cut: bool) -> bool {
    let rest = &text[end..];
    let long_line = || rest.starts_with(b"\n") && end >= CUT && !text[end - CUT..end].contains(&b'\n');
    (rest.is_empty() && (cut || text.len() >= CUT))
        || long_line()
        || rest.starts_with(b"...")
        || rest.starts_with("…".as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(patterns: &[&str], text: &str) -> Vec<String> {
        let known = Known::new(patterns.iter().map(|p| p.as_bytes()).collect(), 1 << 20);
        let mut all = Vec::new();
        known.each(text.as_bytes(), false, |byte| byte, &mut |at| all.push(text[at].to_owned()));
        all
    }

    #[test]
    fn the_longest_pattern_at_each_byte_is_found() {
        assert_eq!(found(&["abcdefgh", "cdefghijk"], "xabcdefghijkx"), ["abcdefgh", "cdefghijk"]);
        assert_eq!(found(&["abcdefgh", "zabcdefgh"], "zabcdefgh"), ["zabcdefgh"]);
        assert_eq!(found(&["aaaaaaaa", "aaaaaaaab"], "aaaaaaaaab"), ["aaaaaaaa", "aaaaaaaa", "aaaaaaaab"]);
        assert!(found(&["abcdefgh"], "abcdefg").is_empty());
    }

    #[test]
    fn short_patterns_are_words() {
        assert_eq!(found(&["pa55"], "pa55 xpa55 pa55x (pa55) pa55"), ["pa55", "pa55", "pa55"]);
        assert_eq!(found(&["a-pa55", "pa55"], "xa-pa55"), ["pa55"], "the longer one does not stand alone");
    }

    #[test]
    fn a_pattern_that_was_cut_off_is_found() {
        assert_eq!(found(&["abcdefghijkl"], "x abcdefghi... and"), ["abcdefghi"]);
        assert_eq!(found(&["abcdefghijkl"], "x abcdefghi… and"), ["abcdefghi"]);
        let long = format!("{}abcdefghij", "x".repeat(CUT));
        assert_eq!(found(&["abcdefghijkl"], &long), ["abcdefghij"]);
        assert_eq!(found(&["abcdefghijkl"], &format!("{long}\nmore")), ["abcdefghij"], "a long line");
        assert!(found(&["abcdefghijkl"], "abcdefghij").is_empty());
        assert!(found(&["abcdefghijkl"], "abcdefghij\nmore").is_empty());
    }

    #[test]
    fn long_patterns_are_found_in_pieces_and_the_budget_holds() {
        let mut seed = 7_u32;
        let mut letter = || {
            seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            char::from(b'a' + u8::try_from((seed >> 16) % 26).expect("a letter"))
        };
        let long: String = (0..600).map(|_| letter()).collect();
        assert_eq!(found(&[&long], &long).iter().map(String::len).sum::<usize>(), 3 * LONGEST);
        let known = Known::new(vec![b"abcdefgh", &[b'x'; 100]], 50);
        assert_eq!(known.size(), 8);
    }

    /// A thousand values that hold two hundred others each, at each of their bytes or once.
    #[test]
    fn values_inside_each_other_take_no_more_memory() {
        let heap = |inner: fn(usize) -> String| {
            let nested = (8..200).map(inner).chain((0..1_000).map(|n| format!("{n:04}{}", inner(200))));
            let values: Vec<String> = nested.collect();
            let known = Known::new(values.iter().map(String::as_bytes).collect(), 1 << 20);
            (known.size(), known.long.map_or(0, |long| long.heap_bytes()))
        };
        let (size, nested) = heap(|length| "a".repeat(length));
        let (other_size, other) = heap(|length| "abcdefghijklmnopqrstuvwxyz".repeat(8)[..length].to_owned());
        assert_eq!(size, other_size);
        assert!(nested <= other + other / 10, "{nested} and {other} for {size}");
    }
}
