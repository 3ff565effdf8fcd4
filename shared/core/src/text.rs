//! Text that comes from a cluster or goes to a shell: made visible, masked, quoted, shortened.
//!
//! Cluster data is hostile: whoever may write an object may put terminal escapes, bidirectional overrides or
//! shell syntax into a name or a message.

use jiff::{SignedDuration, Timestamp};

/// Makes control, bidirectional, zero-width and other invisible code points visible as `\u{…}`.
/// Line feeds and tabs become a single space: what is printed of a cluster stays on its line.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(' '),
            c if is_hidden(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// JSON with hidden code points written as escapes, and a line's end: serde writes C1, bidirectional and zero-width ones as
/// they are.
pub(crate) fn escape_json(mut json: String) -> String {
    if json.contains(|c| c != '\n' && is_hidden(c)) {
        let mut out = String::with_capacity(json.len() + 64);
        for c in json.chars() {
            if c != '\n' && is_hidden(c) {
                let mut units = [0; 2];
                c.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
            } else {
                out.push(c);
            }
        }
        json = out;
    }
    json.push('\n');
    json
}

/// True for code points that a terminal would act on or not show: the one table, for every format and command.
pub fn is_hidden(c: char) -> bool {
    // Nearly every character is one of these.
    if matches!(c, ' '..='~') {
        return false;
    }
    c.is_control() || HIDDEN.binary_search_by(|(first, last)| place(c, *first, *last)).is_ok()
}

/// Where a range is, seen from a character.
fn place(c: char, first: char, last: char) -> std::cmp::Ordering {
    if last < c {
        std::cmp::Ordering::Less
    } else if first > c {
        std::cmp::Ordering::Greater
    } else {
        std::cmp::Ordering::Equal
    }
}

/// In order: Unicode's Default_Ignorable_Code_Point, Bidi_Control, format characters (but the Arabic and other signs that
/// are written before a number), separators of lines and paragraphs, private use, and what is blank without being a space.
const HIDDEN: &[(char, char)] = &[
    ('\u{ad}', '\u{ad}'),        // soft hyphen
    ('\u{34f}', '\u{34f}'),      // grapheme joiner
    ('\u{61c}', '\u{61c}'),      // Arabic letter mark
    ('\u{115f}', '\u{1160}'),    // Hangul fillers
    ('\u{17b4}', '\u{17b5}'),    // Khmer inherent vowels
    ('\u{180b}', '\u{180f}'),    // Mongolian variation selectors
    ('\u{200b}', '\u{200f}'),    // zero widths, directional marks
    ('\u{2028}', '\u{202e}'),    // separators, embeddings and overrides
    ('\u{2060}', '\u{206f}'),    // joiner, invisible operators, isolates
    ('\u{2800}', '\u{2800}'),    // Braille without a dot
    ('\u{3164}', '\u{3164}'),    // Hangul filler
    ('\u{e000}', '\u{f8ff}'),    // private use
    ('\u{fe00}', '\u{fe0f}'),    // variation selectors
    ('\u{feff}', '\u{feff}'),    // byte order mark
    ('\u{ffa0}', '\u{ffa0}'),    // half-width Hangul filler
    ('\u{fff0}', '\u{fffb}'),    // unassigned, annotations
    ('\u{13430}', '\u{1343f}'),  // joiners of hieroglyphs
    ('\u{16fe4}', '\u{16fe4}'),  // Khitan filler
    ('\u{1bca0}', '\u{1bca3}'),  // shorthand
    ('\u{1d159}', '\u{1d159}'),  // null note head
    ('\u{1d173}', '\u{1d17a}'),  // music
    ('\u{e0000}', '\u{e0fff}'),  // tags, variation selectors
    ('\u{f0000}', '\u{10ffff}'), // private use
];

/// Quotes one word for a POSIX shell; a word of plain characters stays as it is. No name of Kubernetes has a line feed or
/// another hidden code point, and none may begin a line of its own in a command, so they are made [`visible`].
pub fn quote(word: &str) -> String {
    let word = &visible(word);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+~".contains(c);
    if !word.is_empty() && word.chars().all(plain) && !word.starts_with(['~', '=']) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// How long ago, in the two coarsest units at most: `4s`, `3m`, `2h5m`, `9d`. A time in the future is said so.
pub fn age(now: Timestamp, then: Timestamp) -> String {
    let elapsed = now.duration_since(then);
    if elapsed < SignedDuration::from_secs(-5) {
        return format!("{} in the future", span(elapsed.abs()));
    }
    span(elapsed.max(SignedDuration::ZERO))
}

/// A length of time in kubectl's short form.
pub fn span(duration: SignedDuration) -> String {
    let s = duration.as_secs();
    let (d, h, m) = (s / 86_400, s / 3_600 % 24, s / 60 % 60);
    match (d, h, m) {
        (0, 0, 0) => format!("{s}s"),
        (0, 0, m) if m < 10 && s % 60 != 0 => format!("{m}m{}s", s % 60),
        (0, 0, m) => format!("{m}m"),
        (0, h, 0) => format!("{h}h"),
        (0, h, m) if h < 8 => format!("{h}h{m}m"),
        (0, h, _) => format!("{h}h"),
        (d, 0, _) => format!("{d}d"),
        (d, h, _) if d < 3 => format!("{d}d{h}h"),
        (d, _, _) => format!("{d}d"),
    }
}

/// A Flux revision for people: `main@sha1:1234abcd…` becomes `main@1234abcd`, a digest its first eight digits.
pub fn revision(revision: &str) -> String {
    let Some((reference, digest)) = revision.split_once("@sha1:").or_else(|| revision.split_once("@sha256:"))
    else {
        return match revision.split_once(':') {
            Some(("sha1" | "sha256", digest)) => digest.chars().take(8).collect(),
            _ => revision.to_owned(),
        };
    };
    let short: String = digest.chars().take(8).collect();
    if reference.is_empty() { short } else { format!("{reference}@{short}") }
}

/// The commit of a Flux revision, where it has one.
pub fn commit(revision: &str) -> Option<&str> {
    let digest = revision.rsplit_once("sha1:")?.1;
    (digest.len() >= 7 && digest.chars().all(|c| c.is_ascii_hexdigit())).then_some(digest)
}

/// At most `max` characters, with `…` in place of what was cut.
pub fn shorten(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(max.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// How much of an evidence is shown where space is dear: whole, unless somebody wrote a page.
pub const SHOWN: usize = 1000;

/// At most `max` characters of text made [`visible`], with ` … ` in place of its middle: Go's and gRPC's errors carry what
/// was tried in front and the cause at the end. What an invisible character was escaped to is not cut in two.
pub fn middle(text: &str, max: usize) -> String {
    const GAP: &str = " … ";
    let shown: Vec<String> = text.chars().map(|c| visible(c.encode_utf8(&mut [0; 4]))).collect();
    let length = |part: &String| part.chars().count();
    if shown.iter().map(length).sum::<usize>() <= max {
        return shown.concat();
    }
    let room = max.saturating_sub(GAP.chars().count());
    let (mut head, mut tail) = (0, shown.len());
    // A third for what was tried, the rest for the cause.
    let mut left = room / 3;
    while let Some(part) = shown.get(head).filter(|part| length(part) <= left) {
        left -= length(part);
        head += 1;
    }
    left += room - room / 3;
    while let Some(part) = shown[head..tail].last().filter(|part| length(part) <= left) {
        left -= length(part);
        tail -= 1;
    }
    format!("{}{GAP}{}", shown[..head].concat(), shown[tail..].concat())
}

/// `1 agent`, `3 agents`.
pub fn count(n: usize, noun: &str) -> String {
    match noun {
        noun if n == 1 => format!("1 {noun}"),
        noun if noun.ends_with('y') => format!("{n} {}ies", &noun[..noun.len() - 1]),
        noun => format!("{n} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_shown() {
        for (raw, shown) in [
            ("plain", "plain"),
            ("\u{1b}[31mred", r"\u{1b}[31mred"),
            ("a\r\nb", r"a\u{d} b"),
            ("\u{202e}gnp", r"\u{202e}gnp"),
            ("zero\u{200b}width", r"zero\u{200b}width"),
            ("\u{9b}0m", r"\u{9b}0m"),
            ("grüße ✓", "grüße ✓"),
        ] {
            assert_eq!(visible(raw), shown);
        }
    }

    /// By Unicode's own properties, whatever its next version adds.
    #[test]
    fn what_unicode_calls_invisible_is_hidden() {
        let hidden = r"[\p{Cc}\p{Cf}\p{Co}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\p{Bidi_Control}\p{Variation_Selector}\p{Join_Control}--\p{Prepended_Concatenation_Mark}]";
        let class = |pattern: &str| {
            let hir = regex_syntax::parse(pattern).expect("a class");
            let regex_syntax::hir::HirKind::Class(regex_syntax::hir::Class::Unicode(class)) = hir.kind()
            else {
                panic!("{hir:?}")
            };
            class.clone()
        };
        let mut counted = 0;
        for range in class(hidden).ranges() {
            for c in range.start()..=range.end() {
                assert!(is_hidden(c), "{} is shown", c.escape_unicode());
                counted += 1;
            }
        }
        assert!(counted > 140_000, "{counted}");
        for range in class(r"[\p{L}\p{N}\p{P}\p{S}\p{Prepended_Concatenation_Mark}--\p{Default_Ignorable_Code_Point}--[\u{2800}]]").ranges() {
            for c in range.start()..=range.end() {
                assert!(!is_hidden(c) || matches!(c, '\u{1d159}' | '\u{fffc}'), "{} is hidden", c.escape_unicode());
            }
        }
        assert!(HIDDEN.is_sorted_by(|a, b| a.0 <= a.1 && a.1 < b.0), "in order");
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quote("flux-system"), "flux-system");
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("$(reboot)"), "'$(reboot)'");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("a\n/close\u{1b}"), "'a /close\\u{1b}'");
    }

    #[test]
    fn the_middle_is_cut_and_the_cause_stays() {
        let cause = "connection refused";
        let long = format!("Failed to register: {}: {cause}", "ü".repeat(500));
        let cut = middle(&long, 200);
        assert_eq!(cut.chars().count(), 200);
        assert!(
            cut.starts_with("Failed to register: ü") && cut.ends_with(cause) && cut.contains(" … "),
            "{cut}"
        );
        assert_eq!(middle("short", 200), "short");
        assert_eq!(middle("a\u{1b}b\nc", 200), r"a\u{1b}b c");
        for max in [10, 11, 12, 13, 14, 15, 16, 17, 30] {
            let cut = middle(&"\u{1b}".repeat(50), max);
            assert!(cut.chars().count() <= max, "{cut}");
            assert!(
                cut.split(" … ").all(|part| part.replace(r"\u{1b}", "").is_empty()),
                "no half of an escape: {cut}"
            );
        }
        for (max, parts) in [(0, " … "), (3, " … ")] {
            assert_eq!(middle("abcdefgh", max), parts);
        }
    }

    #[test]
    fn ages_read_like_kubectl() {
        let span = |s| span(SignedDuration::from_secs(s));
        assert_eq!(
            [4, 61, 180, 600, 3_600, 7_500, 40_000, 90_000, 900_000].map(span),
            ["4s", "1m1s", "3m", "10m", "1h", "2h5m", "11h", "1d1h", "10d"]
        );
    }

    #[test]
    fn revisions_are_shortened() {
        assert_eq!(revision("main@sha1:0123456789abcdef"), "main@01234567");
        assert_eq!(revision("sha256:0123456789abcdef"), "01234567");
        assert_eq!(revision("2.29.1"), "2.29.1");
        assert_eq!(commit("main@sha1:0123456789abcdef"), Some("0123456789abcdef"));
        assert_eq!(commit("2.29.1"), None);
    }
}
