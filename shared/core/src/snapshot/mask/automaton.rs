//! Finds any of many byte strings in one pass over a text (Aho and Corasick, 1975).
//!
//! Not a crate, because three things count here that none of them gives: at each byte only the longest pattern (values
//! may be parts of each other by the thousand), how much of a pattern stands at the place where a text was cut off, and
//! memory that is known beforehand: 16 bytes for each byte of a pattern.

use std::collections::VecDeque;
use std::ops::Range;

/// Patterns are cut into pieces of this length, so that a length fits into a byte.
const LONGEST: usize = 240;

/// A pattern shorter than this counts only as a whole word.
pub(super) const WHOLE: usize = 8;

/// So much of a pattern at a place where a text was cut off counts as the pattern.
const BEGINNING: u8 = 8;

/// Texts shorter than this were not cut off, unless they say so with an ellipsis.
const CUT: usize = 200;

#[derive(Clone, Copy, Default)]
struct Node {
    child: u32,
    sibling: u32,
    fail: u32,
    byte: u8,
    depth: u8,
    /// Length of the longest pattern that ends here.
    whole: u8,
    /// Lengths of the words that end here, one bit each.
    words: u8,
}

/// Many patterns.
pub(super) struct Automaton {
    nodes: Vec<Node>,
    first: Box<[u32; 256]>,
}

impl Automaton {
    /// An automaton of these patterns. The shortest are taken first, and none beyond `budget` bytes of them.
    pub(super) fn new(mut patterns: Vec<&[u8]>, budget: usize) -> Self {
        patterns.sort_unstable_by_key(|pattern| (pattern.len(), *pattern));
        patterns.dedup();
        let mut automaton = Self { nodes: vec![Node::default()], first: Box::new([0; 256]) };
        for pattern in patterns {
            if automaton.nodes.len() + pattern.len() > budget {
                break;
            }
            for piece in pieces(pattern) {
                automaton.insert(piece, WHOLE);
            }
        }
        automaton.link();
        automaton
    }

    /// An automaton of the signs of a credential, each of which counts wherever it stands, however short it is.
    pub(super) fn of_signs<'s>(signs: impl Iterator<Item = &'s [u8]>) -> Self {
        let mut automaton = Self { nodes: vec![Node::default()], first: Box::new([0; 256]) };
        for sign in signs {
            automaton.insert(sign, 0);
        }
        automaton.link();
        automaton
    }

    /// Bytes of patterns in it.
    pub(super) fn size(&self) -> usize {
        self.nodes.len() - 1
    }

    fn insert(&mut self, pattern: &[u8], whole: usize) {
        let mut at = 0;
        for byte in pattern {
            at = match self.child(at, *byte) {
                0 => self.add(at, *byte),
                found => found,
            };
        }
        let node = &mut self.nodes[at as usize];
        if pattern.len() < whole {
            node.words |= 1 << pattern.len();
        } else {
            node.whole = node.depth;
        }
    }

    fn add(&mut self, parent: u32, byte: u8) -> u32 {
        let new = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let above = self.nodes[parent as usize];
        self.nodes.push(Node { sibling: above.child, byte, depth: above.depth + 1, ..Node::default() });
        self.nodes[parent as usize].child = new;
        if parent == 0 {
            self.first[usize::from(byte)] = new;
        }
        new
    }

    fn child(&self, of: u32, byte: u8) -> u32 {
        if of == 0 {
            return self.first[usize::from(byte)];
        }
        let mut at = self.nodes[of as usize].child;
        while at != 0 && self.nodes[at as usize].byte != byte {
            at = self.nodes[at as usize].sibling;
        }
        at
    }

    /// Level by level: where to go on when no child fits, and what ends there.
    fn link(&mut self) {
        let mut queue: VecDeque<u32> = self.first.iter().copied().filter(|node| *node != 0).collect();
        while let Some(parent) = queue.pop_front() {
            let fail = self.nodes[parent as usize].fail;
            let mut at = self.nodes[parent as usize].child;
            while at != 0 {
                let target = self.step(fail, self.nodes[at as usize].byte);
                let below = self.nodes[target as usize];
                let node = &mut self.nodes[at as usize];
                node.fail = target;
                node.words |= below.words;
                if node.whole == 0 {
                    node.whole = below.whole;
                }
                let next = node.sibling;
                queue.push_back(at);
                at = next;
            }
        }
    }

    fn step(&self, mut state: u32, byte: u8) -> u32 {
        loop {
            let next = self.child(state, byte);
            if next != 0 || state == 0 {
                return next;
            }
            state = self.nodes[state as usize].fail;
        }
    }

    /// Gives the longest pattern that ends at each byte; `read` is what is looked at in place of a byte.
    pub(super) fn each(&self, text: &[u8], read: fn(u8) -> u8, found: &mut dyn FnMut(Range<usize>)) {
        let mut state = 0;
        for (at, byte) in text.iter().enumerate() {
            state = self.step(state, read(*byte));
            let node = self.nodes[state as usize];
            let end = at + 1;
            if node.whole != 0 {
                found(end - usize::from(node.whole)..end);
            }
            if node.words != 0 {
                let lengths = (1..WHOLE).filter(|length| node.words & (1 << length) != 0);
                lengths
                    .map(|length| end - length..end)
                    .filter(|word| stands_alone(text, word))
                    .for_each(&mut *found);
            }
            if node.depth >= BEGINNING && node.depth > node.whole && is_cut(text, end) {
                found(end - usize::from(node.depth)..end);
            }
        }
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

/// Whether a text was cut off here: it ends, or goes on with an ellipsis.
fn is_cut(text: &[u8], end: usize) -> bool {
    let rest = &text[end..];
    (rest.is_empty() && text.len() >= CUT) || rest.starts_with(b"...") || rest.starts_with("…".as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(patterns: &[&str], text: &str) -> Vec<String> {
        let automaton = Automaton::new(patterns.iter().map(|p| p.as_bytes()).collect(), 1 << 20);
        let mut all = Vec::new();
        automaton.each(text.as_bytes(), |byte| byte, &mut |at| all.push(text[at].to_owned()));
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
        assert!(found(&["abcdefghijkl"], "abcdefghij").is_empty());
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
        let automaton = Automaton::new(vec![b"abcdefgh", &[b'x'; 100]], 50);
        assert_eq!(automaton.size(), 8);
    }
}
