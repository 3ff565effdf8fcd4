//! What a text says once it is decoded: unescaped, percent-decoded, out of base64, hex or a list of numbers.
//!
//! What is looked for is looked for in each of these views, so no form in which it could be written needs to be known
//! beforehand. Each view knows where in the text its bytes come from.

use std::ops::Range;

use super::automaton::is_cut;

/// How often a text is decoded: JSON in JSON in a URL.
pub(super) const DEPTH: usize = 3;

/// Bytes, and where each comes from.
pub(crate) struct View {
    pub(crate) bytes: Vec<u8>,
    /// Whether what it was decoded from was cut off where it ends.
    pub(super) cut: bool,
    places: Places,
}

/// Where the bytes of a view come from.
enum Places {
    /// It is the text itself.
    Here,
    /// Of each byte the place in the text.
    Of(Vec<(u32, u32)>),
    /// Nobody asks.
    Nowhere,
}

impl View {
    /// The text itself.
    pub(super) fn of(text: &str) -> Self {
        Self { bytes: text.as_bytes().to_vec(), cut: false, places: Places::Here }
    }

    /// Bytes of which nobody asks where they come from.
    pub(crate) fn nowhere(bytes: Vec<u8>) -> Self {
        Self { bytes, cut: false, places: Places::Nowhere }
    }

    /// An empty one that is filled from this one.
    fn empty(&self) -> Self {
        let places =
            if matches!(self.places, Places::Nowhere) { Places::Nowhere } else { Places::Of(Vec::new()) };
        Self { bytes: Vec::new(), cut: false, places }
    }

    fn place(&self, at: usize) -> (u32, u32) {
        match &self.places {
            Places::Of(places) => places[at],
            Places::Here | Places::Nowhere => {
                let here = u32::try_from(at).unwrap_or(u32::MAX);
                (here, here.saturating_add(1))
            }
        }
    }

    /// Where in the text a part of the view is.
    pub(super) fn in_text(&self, part: &Range<usize>) -> Range<usize> {
        self.place(part.start).0 as usize..self.place(part.end - 1).1 as usize
    }

    fn push(&mut self, bytes: &[u8], of: &Self, from: usize, to: usize) {
        self.bytes.extend_from_slice(bytes);
        if let Places::Of(places) = &mut self.places {
            let place = (of.place(from).0, of.place(to - 1).1);
            places.extend(std::iter::repeat_n(place, bytes.len()));
        }
    }

    fn copy(&mut self, of: &Self, part: Range<usize>) {
        if let Places::Of(places) = &mut self.places {
            places.extend(part.clone().map(|at| of.place(at)));
        }
        self.bytes.extend_from_slice(&of.bytes[part]);
    }

    fn part(&self, part: Range<usize>) -> Self {
        let mut out = self.empty();
        out.cut = self.cut && part.end == self.bytes.len();
        out.copy(self, part);
        out
    }
}

/// What a place in a text decodes to, and how many bytes of the text that takes.
type Decoded = Option<(Vec<u8>, usize)>;

/// The view with all escapes of one kind decoded, for each kind of which there are any.
pub(crate) fn unescaped(view: &View) -> impl Iterator<Item = View> {
    type Kind = (u8, fn(&[u8]) -> Decoded);
    const KINDS: [Kind; 4] = [(b'\\', backslash), (b'%', percent), (b'&', entity), (b'=', quoted_printable)];
    KINDS.iter().filter_map(|(sign, decode)| {
        view.bytes.contains(sign).then_some(())?;
        let mut out = view.empty();
        let (mut at, mut done) = (0, 0);
        while let Some(next) = view.bytes[at..].iter().position(|byte| byte == sign) {
            at += next;
            let Some((bytes, length)) = decode(&view.bytes[at..]) else {
                at += 1;
                continue;
            };
            out.copy(view, done..at);
            if !bytes.is_empty() {
                out.push(&bytes, view, at, at + length);
            }
            at += length;
            done = at;
        }
        out.copy(view, done..view.bytes.len());
        out.cut = view.cut;
        (done > 0).then_some(out)
    })
}

fn hex_number(digits: Option<&[u8]>) -> Option<u32> {
    let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// JSON (`\u00e9`, `\/`), Go (`\x2f`, `\U0001f600`, `\057`), Rust (`\u{2f}`) and shells (`\$`).
fn backslash(text: &[u8]) -> Decoded {
    let character = |code: u32, length: usize| {
        char::from_u32(code).map(|c| (c.encode_utf8(&mut [0; 4]).as_bytes().to_vec(), length))
    };
    let next = *text.get(1)?;
    match next {
        b'u' if text.get(2) == Some(&b'{') => {
            let digits = text[3..].iter().take(7).position(|byte| *byte == b'}')?;
            character(hex_number(text.get(3..3 + digits))?, digits + 4)
        }
        b'u' => {
            let first = hex_number(text.get(2..6))?;
            let second =
                text.get(6..8).filter(|sign| *sign == b"\\u").and_then(|_| hex_number(text.get(8..12)));
            match (first, second) {
                (0xD800..=0xDBFF, Some(low @ 0xDC00..=0xDFFF)) => {
                    character(0x10000 + ((first - 0xD800) << 10) + (low - 0xDC00), 12)
                }
                _ => character(first, 6),
            }
        }
        b'U' => character(hex_number(text.get(2..10))?, 10),
        b'x' => Some((vec![u8::try_from(hex_number(text.get(2..4))?).ok()?], 4)),
        b'0'..=b'3' if text.get(2..4).is_some_and(|rest| rest.iter().all(|b| (b'0'..=b'7').contains(b))) => {
            Some((vec![(next - b'0') * 64 + (text[2] - b'0') * 8 + (text[3] - b'0')], 4))
        }
        b'\n' => Some((Vec::new(), 2)),
        _ => {
            let plain = match next {
                b'n' => b'\n',
                b't' => b'\t',
                b'r' => b'\r',
                b'b' => 8,
                b'f' => 12,
                b'v' => 11,
                b'a' => 7,
                b'e' => 27,
                b'0' => 0,
                other => other,
            };
            Some((vec![plain], 2))
        }
    }
}

fn percent(text: &[u8]) -> Decoded {
    Some((vec![u8::try_from(hex_number(text.get(1..3))?).ok()?], 3))
}

/// Quoted-printable, as mails have it: `=3D`, and lines that go on behind `=`.
fn quoted_printable(text: &[u8]) -> Decoded {
    match text.get(1..)? {
        [b'\n', ..] => Some((Vec::new(), 2)),
        [b'\r', b'\n', ..] => Some((Vec::new(), 3)),
        digits => Some((vec![u8::try_from(hex_number(digits.get(..2))?).ok()?], 3)),
    }
}

/// What HTML and XML write, and Go's templates.
fn entity(text: &[u8]) -> Decoded {
    let end = text.iter().take(10).position(|byte| *byte == b';')?;
    let code = match &text[1..end] {
        b"amp" => u32::from(b'&'),
        b"lt" => u32::from(b'<'),
        b"gt" => u32::from(b'>'),
        b"quot" => u32::from(b'"'),
        b"apos" => u32::from(b'\''),
        [b'#', b'x' | b'X', digits @ ..] => hex_number(Some(digits))?,
        [b'#', digits @ ..] => std::str::from_utf8(digits).ok()?.parse().ok()?,
        _ => return None,
    };
    Some((char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes().to_vec(), end + 1))
}

/// What is taken for a run of base64, hex or numbers.
#[derive(Clone, Copy)]
pub(crate) struct Runs {
    /// One that is shorter holds nothing that is looked for.
    pub(crate) shortest: usize,
    /// Whether one goes on behind any blank; else only behind the end of a long line.
    pub(crate) over_blanks: bool,
}

/// Runs as they stand in messages.
pub(super) const IN_TEXT: Runs = Runs { shortest: 6, over_blanks: false };

/// What is encoded in the view: base64 of both alphabets at each of its four phases, hex at both, lists of numbers.
pub(crate) fn encoded(view: &View, which: Runs, each: &mut dyn FnMut(View)) {
    runs(view, which, sextet, &mut |run| {
        for phase in 0..4 {
            each(from_base64(view, run.get(phase..).unwrap_or_default()));
        }
    });
    runs(view, which, |byte| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok()), &mut |run| {
        for phase in 0..2 {
            each(from_hex(view, run.get(phase..).unwrap_or_default()));
        }
    });
    numbers(view, which, each);
}

/// The six bits of a letter of base64, of the standard or the URL alphabet.
fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

/// A digit's value and its place.
type Digit = (u8, usize);

/// Gives each run of bytes that have a value, as values and places. A run goes on after what wraps a long one.
fn runs(view: &View, which: Runs, value: fn(u8) -> Option<u8>, each: &mut dyn FnMut(&[Digit])) {
    const WRAPPED: usize = 60;
    let bytes = &view.bytes;
    let mut run: Vec<(u8, usize)> = Vec::new();
    let (mut at, mut line, mut is_first) = (0, 0, true);
    loop {
        if let Some(value) = bytes.get(at).and_then(|byte| value(*byte)) {
            run.push((value, at));
            line += 1;
            at += 1;
            continue;
        }
        let gap = bytes[at..].iter().take(16).take_while(|byte| byte.is_ascii_whitespace()).count();
        let wraps = line >= WRAPPED && bytes[at..at + gap].contains(&b'\n');
        let goes_on = wraps || (which.over_blanks && gap > 0 && !run.is_empty());
        if goes_on && bytes.get(at + gap).is_some_and(|byte| value(*byte).is_some()) {
            // Or the run ends here, and the next line only begins with a word.
            if wraps && is_first {
                is_first = false;
                each(&run);
            }
            at += gap;
            line = 0;
            continue;
        }
        if run.len() >= which.shortest {
            each(&run);
        }
        if at >= bytes.len() {
            return;
        }
        run.clear();
        (line, is_first) = (0, true);
        at += 1;
    }
}

fn from_base64(view: &View, run: &[(u8, usize)]) -> View {
    let mut out = view.empty();
    out.cut = is_cut_behind(view, run);
    for pair in 0..run.len() * 6 / 8 {
        let (first, shift) = (pair * 8 / 6, pair * 8 % 6);
        let (high, low) = (run[first], run[first + 1]);
        let bits = (u16::from(high.0) << 6) | u16::from(low.0);
        // Eight bits reach over two letters, never three: the shift is 0, 2 or 4.
        let byte = u8::try_from(bits >> (4 - shift) & 0xff).unwrap_or_default();
        // A letter that is left over at the end has bits of what comes next.
        let last = if first + 3 == run.len() { run[first + 2].1 } else { low.1 };
        out.push(&[byte], view, high.1, last + 1);
    }
    out
}

/// Whether a run was cut off where it ends.
fn is_cut_behind(view: &View, run: &[Digit]) -> bool {
    run.last().is_some_and(|last| is_cut(&view.bytes, last.1 + 1, view.cut))
}

fn from_hex(view: &View, run: &[(u8, usize)]) -> View {
    let mut out = view.empty();
    out.cut = is_cut_behind(view, run);
    for pair in run.chunks_exact(2) {
        out.push(&[pair[0].0 << 4 | pair[1].0], view, pair[0].1, pair[1].1 + 1);
    }
    out
}

/// Lists of bytes as Go and JSON print them: `[103 108]`, `[103,108]`, `0x67, 0x6c`, `67:6c`, `67 6c`, `103;108`, also one a line (`- 103`).
fn numbers(view: &View, which: Runs, each: &mut dyn FnMut(View)) {
    let bytes = &view.bytes;
    for radix in [10, 16] {
        let (mut out, mut at) = (view.empty(), 0);
        while at < bytes.len() {
            // Two hexadecimal digits are told by what stands behind them, also directly behind a word.
            let fresh = radix == 16 || at == 0 || !bytes[at - 1].is_ascii_digit();
            let number = if fresh { number(&bytes[at..], radix) } else { None };
            let Some((byte, length)) = number else {
                at += 1;
                continue;
            };
            out.push(&[byte], view, at, at + length);
            at += length;
            let gap = bytes[at..].iter().take(20).take_while(|byte| b" ,;:-\t\r\n".contains(byte)).count();
            let goes_on = gap > 0 && bytes.get(at + gap).is_some_and(u8::is_ascii_hexdigit);
            at += gap.max(usize::from(!goes_on));
            if !goes_on {
                out.cut = is_cut(bytes, at.saturating_sub(gap.max(1)), view.cut);
                give(&mut out, which, each);
            }
        }
        give(&mut out, which, each);
    }
}

fn give(list: &mut View, which: Runs, each: &mut dyn FnMut(View)) {
    let empty = list.empty();
    let list = std::mem::replace(list, empty);
    if list.bytes.len() >= which.shortest / 2 {
        each(list);
    }
}

/// One byte as a number that stands alone.
fn number(text: &[u8], radix: u32) -> Option<(u8, usize)> {
    let sign = if radix == 16 && text.starts_with(b"0x") { 2 } else { 0 };
    let digits = text[sign..].iter().take(4).take_while(|byte| char::from(**byte).is_digit(radix)).count();
    let ends = !text.get(sign + digits).is_some_and(u8::is_ascii_alphanumeric);
    let fits = if radix == 16 { digits == 2 } else { (1..=3).contains(&digits) };
    let written = std::str::from_utf8(&text[sign..sign + digits]).ok().filter(|_| ends && fits)?;
    Some((u8::from_str_radix(written, radix).ok()?, sign + digits))
}

/// The parts of a view that are text: what decoding gives by chance is not.
pub(super) fn texts(view: &View) -> Vec<View> {
    const SHORTEST: usize = 8;
    let mut parts = Vec::new();
    let mut at = 0;
    for chunk in view.bytes.utf8_chunks() {
        let readable = |c: char| !c.is_control() || c.is_ascii_whitespace();
        for part in chunk.valid().split_inclusive(|c| !readable(c)) {
            let text = part.trim_end_matches(|c| !readable(c)).len();
            if text >= SHORTEST {
                parts.push(view.part(at..at + text));
            }
            at += part.len();
        }
        at += chunk.invalid().len();
    }
    parts
}
