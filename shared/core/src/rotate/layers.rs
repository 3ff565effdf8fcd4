//! What bytes say in every way in which they decode, so that no form in which something could be written in them needs to be
//! known beforehand: unescaped, out of base64, hex, UTF-16, a packed file, and each of these once more.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use memchr::memmem;

use crate::snapshot::mask::views::{Runs, View, encoded, unescaped};

/// So often is decoded: a login in base64 in JSON in base64 in a manifest in base64 in a packed file.
const DEEPEST: usize = 7;

/// So much is looked through of one value, which has 1 MiB at most: about five times what a text of that size takes that is full
/// of escapes of all kinds.
const MOST: usize = 128 << 20;

/// What a packed file begins with (gzip, RFC 1952).
const PACKED: [u8; 3] = [0x1f, 0x8b, 0x08];

/// Whether something lies in some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// It does.
    Yes,
    /// It does not, in any form that decodes.
    No,
    /// There is more in them than is looked through.
    Unknown,
}

/// What takes a library to open: what is in a file of gzip, where it is one.
pub(super) type Unpack<'a> = &'a dyn Fn(&[u8]) -> Option<Vec<u8>>;

/// Gives `look` the bytes and whatever they decode to, until it says yes. Nothing shorter than `shortest` is looked for.
pub(super) fn layers(
    bytes: &[u8],
    shortest: usize,
    unpack: Unpack<'_>,
    look: &mut dyn FnMut(&[u8]) -> bool,
) -> Inside {
    let mut search =
        Search { shortest, unpack, look, left: Vec::new(), seen: HashSet::new(), work: 0, found: false };
    search.bytes(bytes, 0);
    while let Some((text, depth)) = search.left.pop() {
        search.open(&text, depth);
        if search.found || search.work >= MOST {
            break;
        }
    }
    match search {
        Search { found: true, .. } => Inside::Yes,
        Search { work: MOST.., .. } => Inside::Unknown,
        _ => Inside::No,
    }
}

struct Search<'a> {
    shortest: usize,
    unpack: Unpack<'a>,
    look: &'a mut dyn FnMut(&[u8]) -> bool,
    /// What was not opened yet, and how often it was decoded.
    left: Vec<(View, usize)>,
    /// Escapes of two kinds give the same in both orders.
    seen: HashSet<u64>,
    work: usize,
    found: bool,
}

impl Search<'_> {
    /// Looks at bytes of any kind, and takes in what may be in them.
    fn bytes(&mut self, bytes: &[u8], depth: usize) {
        self.look(bytes);
        if self.found || depth > DEEPEST || self.work >= MOST {
            return;
        }
        for text in wide(bytes, self.shortest) {
            self.look(&text);
            self.left.push((View::nowhere(text), depth));
        }
        let texts = bytes.split(|byte| !is_plain(*byte)).filter(|text| text.len() >= self.shortest);
        self.left.extend(texts.map(|text| (View::nowhere(text.to_vec()), depth)));
        for start in memmem::find_iter(bytes, &PACKED) {
            if let Some(inside) = (self.unpack)(&bytes[start..]) {
                self.bytes(&inside, depth + 1);
            }
        }
    }

    /// Takes in whatever a text decodes to.
    fn open(&mut self, text: &View, depth: usize) {
        if depth == DEEPEST || !self.seen.insert(hash(&text.bytes)) {
            return;
        }
        if text.bytes.iter().any(u8::is_ascii_whitespace) {
            let joined: Vec<u8> = text.bytes.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
            self.look(&joined);
        }
        for next in unescaped(text) {
            self.bytes(&next.bytes, depth + 1);
        }
        let runs = Runs { shortest: self.shortest, over_blanks: true };
        encoded(text, runs, &mut |decoded| self.bytes(&decoded.bytes, depth + 1));
    }

    fn look(&mut self, bytes: &[u8]) {
        if self.found || self.work >= MOST {
            return;
        }
        self.work += bytes.len();
        self.found = (self.look)(bytes);
    }
}

/// Whatever is encoded is written in these; what decoding gives by chance has few of them in a row.
fn is_plain(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte) || byte.is_ascii_whitespace()
}

/// Texts in UTF-16 of either order: every second byte is nothing.
fn wide(bytes: &[u8], shortest: usize) -> Vec<Vec<u8>> {
    let plain = |byte: Option<&u8>| byte.copied().filter(|byte| is_plain(*byte));
    let mut found = Vec::new();
    let mut at = if bytes.contains(&0) { 0 } else { bytes.len() };
    while at < bytes.len() {
        let mut text = Vec::new();
        while let (Some(letter), Some(0)) = (plain(bytes.get(at)), bytes.get(at + 1)) {
            text.push(letter);
            at += 2;
        }
        // Where the nothing stands in front, the last letter has none behind it.
        text.extend(plain(bytes.get(at)).filter(|_| !text.is_empty()));
        if text.len() >= shortest {
            found.push(text);
        }
        at += 1;
    }
    found
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
