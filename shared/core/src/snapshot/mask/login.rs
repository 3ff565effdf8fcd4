//! `user:password` as HTTP's Basic scheme encodes it, told by its form alone: also where it was cut off.

use std::ops::Range;

use super::views::View;

/// A shorter text decodes to a login by chance.
const SHORTEST: usize = 9;

/// The same of a text that was cut off.
const SHORTEST_CUT: usize = 6;

/// User names are no longer.
const LONGEST_USER: usize = 64;

/// The password in what was decoded, where that is a login as a whole.
pub(super) fn password(view: &View) -> Option<Range<usize>> {
    let bytes = view.bytes.as_slice();
    let colon = bytes.iter().take(LONGEST_USER + 1).position(|byte| *byte == b':')?;
    let (user, password) = (&bytes[..colon], &bytes[colon + 1..]);
    let named = user.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._@+-$%/\\".contains(byte));
    // `key: value` and a URL are no logins.
    let spoken = password.is_empty() || password.starts_with(b" ") || password.starts_with(b"//");
    let shortest = if view.cut { SHORTEST_CUT } else { SHORTEST };
    (named && is_shown(password, view.cut) && !spoken && bytes.len() >= shortest)
        .then_some(colon + 1..bytes.len())
}

/// Whether these are characters that can be shown: of a text that was cut off any, and the last one may be cut too; otherwise
/// ASCII, because other bytes decode to a character by chance.
fn is_shown(bytes: &[u8], cut: bool) -> bool {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    (cut || bytes.is_ascii()) && !text.chars().any(char::is_control)
}
