//! URLs: user-info, queries, and paths that are credentials.

use std::ops::Range;

use super::patterns::{Text, Until, is_opaque};
use super::tokens::is_random;
use super::{MASK, free_text};

/// No further is looked back or ahead from a place where a look may be taken again and again.
const LONGEST: usize = 128;

/// Removes user-info, query and fragment from a URL. Text that is no URL is masked like free text.
pub fn url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return free_text(text) };
    let whole = rest.find(['?', '#']).unwrap_or(rest.len());
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = host(rest.as_bytes(), authority, rest[..whole].rfind('@'));
    let user = if host.is_some_and(|host| &rest[..host] == "git@") { "git@" } else { "" };
    let from = host.unwrap_or_default();
    let end = rest[from..].find(['?', '#']).map_or(rest.len(), |at| from + at);
    free_text(&format!("{scheme}://{user}{}", &rest[from..end]))
}

/// Where the host starts in what follows `://`, where there is user-info before it. A password may hold a slash, though
/// it should not: then what looks like the host is none, and what follows the last `@` is one.
fn host(rest: &[u8], authority: usize, last_at: Option<usize>) -> Option<usize> {
    if let Some(at) = rest[..authority].iter().rposition(|byte| *byte == b'@') {
        return Some(at + 1);
    }
    let at = last_at.filter(|at| *at > authority)?;
    let first = &rest[..authority];
    let port = first.iter().position(|byte| *byte == b':').map(|colon| &first[colon + 1..]);
    let is_port = port.is_some_and(|port| port.iter().all(u8::is_ascii_digit));
    let is_host = first.contains(&b'.') || first.starts_with(b"localhost") || first.starts_with(b"[");
    let after = &rest[at + 1..];
    let name = after
        .iter()
        .take(LONGEST)
        .take_while(|byte| byte.is_ascii_alphanumeric() || b".-".contains(byte))
        .count();
    let host_follows = after[..name].contains(&b'.') || after.starts_with(b"localhost");
    let has_password = port.is_some() && !is_port;
    (has_password || (host_follows && !is_host)).then_some(at + 1)
}

/// Gives the parts of a URL that are credentials; `from` is behind `://`.
pub(super) fn parts(text: &mut Text<'_>, from: usize, give: &mut dyn FnMut(Range<usize>)) {
    let end = text.end(from, Until::UrlEnd);
    let authority = text.end(from, Until::Authority);
    if text.last_at.0 != end {
        let at = text.bytes[from..end].iter().rposition(|byte| *byte == b'@');
        text.last_at = (end, at.map(|at| from + at));
    }
    let last_at = text.last_at.1.and_then(|at| at.checked_sub(from));
    let host = host(&text.bytes[from..end], authority - from, last_at).map_or(from, |host| from + host);
    if host > from && &text.bytes[from..host] != b"git@" {
        give(from..host - 1);
    }
    let path = text.end(host, Until::Path);
    let has_query = text.bytes.get(path) == Some(&b'?') && path < end;
    if has_query || text.bytes[path..end].iter().take(LONGEST).any(|byte| *byte == b'=') {
        give(path + 1..end);
    }
    let slash = text.end(host, Until::Authority);
    webhook(text, slash, path.min(slash + 8 * LONGEST), path, give);
}

/// Parts of a path behind which a webhook's id and token stand.
const WEBHOOK: &[&str] = &["hook", "hooks", "incoming-webhook", "webhook", "webhookb2", "webhooks"];

fn webhook(text: &Text<'_>, from: usize, to: usize, end: usize, give: &mut dyn FnMut(Range<usize>)) {
    let Some(path) = text.bytes.get(from..to).and_then(|path| std::str::from_utf8(path).ok()) else {
        return;
    };
    let mut at = from;
    let mut behind = None;
    for part in path.split('/') {
        if behind.is_none() && WEBHOOK.contains(&part) {
            behind = Some(at + part.len() + 1);
        } else if behind.is_some() && part.len() >= 16 && is_opaque(part) {
            return give(behind.unwrap_or(at)..end);
        }
        at += part.len() + 1;
    }
}

/// The password of `user:password@host` without a scheme.
pub(super) fn login(text: &mut Text<'_>, at: usize) -> Option<Range<usize>> {
    let bytes = text.bytes;
    let name = bytes[at + 1..]
        .iter()
        .take(LONGEST)
        .take_while(|byte| byte.is_ascii_alphanumeric() || b".-".contains(byte));
    let name = name.count();
    let is_host = bytes[at + 1..at + 1 + name].contains(&b'.');
    (name > 0).then_some(())?;
    let before = &bytes[at.saturating_sub(LONGEST)..at];
    let word = before.iter().rposition(|byte| byte.is_ascii_whitespace() || b"\"'<>`,;()".contains(byte));
    let word = &before[word.map_or(0, |space| space + 1)..];
    // What is left of a URL whose scheme was cut off.
    let word = word.strip_prefix(b"//").unwrap_or(word);
    let colon = word.iter().position(|byte| *byte == b':')?;
    let password = &word[colon + 1..];
    let user = &word[..colon];
    let plain = user.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.+-".contains(byte));
    (!user.is_empty()
        && plain
        && !password.is_empty()
        && (is_host || std::str::from_utf8(password).is_ok_and(is_random))
        && !password.contains(&b'/')
        && !password.starts_with(MASK.as_bytes()))
    .then_some(at - password.len()..at)
}
