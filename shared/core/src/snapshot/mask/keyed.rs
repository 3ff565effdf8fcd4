//! What stands behind the name of something secret: headers, settings, flags, in whatever quoting.

use std::ops::Range;

use super::MASK;
use super::patterns::{Text, Until, is_opaque};
use super::tokens::is_random;

/// What may stand before a credential in an Authorization header.
const SCHEMES: &[&str] = &["apikey", "basic", "bearer", "digest", "negotiate", "token"];

/// Values that say that there is none.
const NOTHING: &[&str] =
    &["", "null", "nil", "<nil>", "none", "true", "false", "undefined", "empty", "<redacted>", "[redacted]"];

/// Where a value starts, and how it is written.
struct Start {
    at: usize,
    /// Whether it is told from prose: quoted, in brackets, behind `=` or directly behind `:`.
    sure: bool,
    until: Until,
    /// Whether its quotation marks are themselves escaped.
    escaped: bool,
}

/// The value behind a name. A header's value is taken whatever it is; one of prose only where it is no word.
pub(super) fn value(text: &mut Text<'_>, name: &Range<usize>, header: bool) -> Option<Range<usize>> {
    let start = start(text.bytes, name)?;
    let mut end = closing(text, &start, start.at);
    if matches!(start.until, Until::Word) {
        // A cookie goes on behind a space.
        let cookie = header && name.len() == "cookie".len();
        end = text.end(start.at, if cookie { Until::Line } else { Until::Parameter });
        end = trimmed(text.bytes, start.at, end);
    }
    let found = text.beginning(start.at..end);
    let nothing = NOTHING.contains(&found.trim().to_ascii_lowercase().as_str())
        || found.starts_with("//")
        || found.trim_end_matches(['.', '…']) == MASK;
    (!nothing && (header || start.sure || is_opaque(found))).then_some(start.at..end)
}

/// What stands in an Authorization header, behind its scheme.
pub(super) fn authorization(text: &mut Text<'_>, name: &Range<usize>) -> Option<Range<usize>> {
    let start = start(text.bytes, name)?;
    let rest = &text.bytes[start.at..];
    let word = rest.iter().take(20).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let scheme = rest[..word].to_ascii_lowercase();
    let gap = rest[word..].iter().take(4).take_while(|byte| **byte == b' ').count();
    if SCHEMES.iter().any(|known| known.as_bytes() == scheme) && gap > 0 {
        let from = start.at + word + gap;
        let whole = matches!(start.until, Until::Word);
        let end = if whole && scheme != b"digest" {
            let end = text.end(from, Until::Word);
            trimmed(text.bytes, from, end)
        } else if whole {
            text.end(from, Until::Line)
        } else {
            closing(text, &start, from)
        };
        return Some(from..end);
    }
    let end = closing(text, &start, start.at);
    let found = text.beginning(start.at..end);
    let quoted = !matches!(start.until, Until::Word);
    ((quoted && !found.is_empty()) || is_opaque(found)).then(|| {
        let line = if quoted { end } else { text.end(start.at, Until::Line) };
        start.at..line
    })
}

/// What stands behind `Bearer` and `Basic`, where that is no word.
pub(super) fn scheme(text: &mut Text<'_>, sign: &Range<usize>) -> Option<Range<usize>> {
    let open = text.bytes.get(sign.end).is_some_and(|byte| b"[<'\"".contains(byte));
    let from = sign.end + usize::from(open);
    let end = text.end(from, Until::Word);
    let end = trimmed(text.bytes, from, end);
    let found = text.beginning(from..end);
    // A server that asks to sign in names its realm, not a credential.
    let challenge =
        ["realm=", "error=", "scope=", "service=", "charset="].iter().any(|name| found.starts_with(name));
    ((is_opaque(found) || end - from >= 20) && !challenge).then_some(from..end)
}

/// What looks random behind a name, or a part of one, that tells of a credential: `token_1 = X`, `AccountKey=X`,
/// `tokens: [X]`, `PASSWORD X`.
pub(super) fn random(text: &mut Text<'_>, name: &Range<usize>) -> Option<Range<usize>> {
    const BETWEEN: &[u8] = b" \t\r\n=:>[{(\"'`\\";
    let bytes = text.bytes;
    let count = |from: usize, most: usize, of: &dyn Fn(&u8) -> bool| {
        bytes.get(from..).unwrap_or_default().iter().take(most).take_while(|byte| of(byte)).count()
    };
    let plural = count(name.end, 1, &|byte| b"snSN".contains(byte));
    let tail = name.end + plural;
    let number = tail + count(tail, 8, &|byte| byte.is_ascii_digit() || b"_.[]-".contains(byte));
    let word = if bytes.get(number..number + 5).is_some_and(|word| word.eq_ignore_ascii_case(b"value")) {
        5
    } else {
        0
    };
    let from = number + word;
    let at = from + count(from, 8, &|byte| BETWEEN.contains(byte));
    let between = bytes.get(from..at)?;
    let known = bytes[name.clone()].to_ascii_lowercase();
    let spaced = SPACED.iter().any(|spaced| spaced.as_bytes() == known) && !between.is_empty();
    if !spaced && !between.iter().any(|byte| b"=:\t[".contains(byte)) {
        return None;
    }
    let end = text.end(at, Until::Parameter);
    let end = trimmed(bytes, at, end);
    is_random(text.beginning(at..end)).then_some(at..end)
}

/// Names behind which a credential stands also without a sign between. `secret` is none: the name of a Secret does.
const SPACED: &[&str] = &["pass", "passphrase", "passwd", "password", "private-token", "token"];

/// `-pSECRET`, as clients of databases take it, and `-p SECRET`, as registries do.
pub(super) fn flag(text: &mut Text<'_>, sign: &Range<usize>) -> Option<Range<usize>> {
    is_option(text.bytes, sign.start).then_some(())?;
    let gap = text.bytes[sign.end..].iter().take(2).take_while(|byte| b" =".contains(byte)).count();
    let from = sign.end + gap;
    let end = text.end(from, Until::Word);
    let end = trimmed(text.bytes, from, end);
    let found = text.beginning(from..end);
    let is_secret = if gap > 0 { is_random(found) } else { is_opaque(found) };
    (is_secret && !found.contains(['/', '='])).then_some(from..end)
}

/// Whether a dash begins an option, and is none within a word.
fn is_option(bytes: &[u8], dash: usize) -> bool {
    let before = dash.checked_sub(1).map(|before| bytes[before]);
    before.is_none_or(|byte| !byte.is_ascii_alphanumeric() && !b"-_.".contains(&byte))
}

/// The password of `-u USER:PASSWORD`, as curl takes it.
pub(super) fn user(text: &mut Text<'_>, sign: &Range<usize>) -> Option<Range<usize>> {
    is_option(text.bytes, sign.start).then_some(())?;
    let gap = text.bytes[sign.end..].iter().take(2).take_while(|byte| b" '\"".contains(byte)).count();
    let from = sign.end + gap;
    let end = text.end(from, Until::Word);
    let colon = text.bytes.get(from..end)?.iter().take(256).position(|byte| *byte == b':')?;
    Some(from + colon + 1..end)
}

/// Finds the value that belongs to a name.
fn start(bytes: &[u8], name: &Range<usize>) -> Option<Start> {
    const QUOTES: &[u8] = b"\"'`\\";
    let count = |from: usize, of: &[u8], most: usize| {
        bytes.get(from..).unwrap_or_default().iter().take(most).take_while(|byte| of.contains(byte)).count()
    };
    let quoted_name = count(name.end, QUOTES, 4);
    let spaces = count(name.end + quoted_name, b" \t", 8);
    let sign = name.end + quoted_name + spaces;
    let signs = count(sign, b":=>", 2);
    let behind = if signs > 0 { count(sign + signs, b" \t", 8) } else { 0 };
    let brackets = count(sign + signs + behind, b"[({", 2);
    let open = sign + signs + behind + brackets;
    let quotes = count(open, QUOTES, 4);
    let equals = bytes.get(sign) == Some(&b'=');
    if signs == 0 && !(spaces > 0 && quoted_name == 0 && is_flag(bytes, name.start)) {
        return None;
    }
    let quote = bytes.get(open..open + quotes)?.iter().rev().find(|byte| **byte != b'\\');
    let until = match quote {
        Some(b'"') => Until::Double,
        Some(b'\'') => Until::Single,
        _ if brackets > 0 => Until::Bracket,
        _ => Until::Word,
    };
    let sure = equals || signs == 0 || quoted_name > 0 || quotes > 0 || brackets > 0 || behind + spaces == 0;
    let escaped = bytes.get(open) == Some(&b'\\');
    Some(Start { at: open + quotes, sure, until, escaped })
}

/// Whether the name ends a flag, as in `--db-password X`.
fn is_flag(bytes: &[u8], name: usize) -> bool {
    let from = name.saturating_sub(40);
    let before = &bytes[from..name];
    let letters =
        before.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)).count();
    before[before.len() - letters..].starts_with(b"--")
}

/// Where a value ends. A quotation mark that is escaped inside the value does not end it.
fn closing(text: &mut Text<'_>, start: &Start, from: usize) -> usize {
    let quoted = matches!(start.until, Until::Double | Until::Single);
    let mut end = text.end(from, start.until);
    while quoted && !start.escaped && end > from && text.bytes[end - 1] == b'\\' && end < text.bytes.len() {
        end = text.end(end + 1, start.until);
    }
    if start.escaped {
        end = from + text.bytes[from..end].iter().rposition(|byte| *byte != b'\\').map_or(0, |last| last + 1);
    }
    end
}

/// A value without the marks that end a sentence or a list.
pub(super) fn trimmed(bytes: &[u8], from: usize, end: usize) -> usize {
    let kept =
        bytes.get(from..end).and_then(|value| value.iter().rposition(|byte| !b",;)]}.\\".contains(byte)));
    kept.map_or(from, |last| from + last + 1)
}
