//! GitLab Flavored Markdown from text that anybody may have written.
//!
//! GitLab turns far more than CommonMark's characters into something: mentions, references, labels, emoji, addresses,
//! commit ids, tickets, quick actions at the start of a line, HTML. It leaves code alone. So a word goes out as it is
//! only if it is one of plain prose; any other goes out as code.

use crate::text::visible;

/// Words stay, and what is no plain word becomes code; runs of such words become one piece of code.
pub(super) fn prose(text: &str) -> String {
    let text = visible(text);
    let mut out: Vec<String> = Vec::new();
    let mut run: Vec<&str> = Vec::new();
    for word in text.split(' ').filter(|w| !w.is_empty()) {
        // A sign between words is a sign; at the start of a line it would be a quotation or a heading.
        let sign = matches!(word, ">" | "=") && !(out.is_empty() && run.is_empty());
        if is_plain(word) || sign {
            out.extend(flush(&mut run));
            out.push(word.to_owned());
        } else {
            run.push(word);
        }
    }
    out.extend(flush(&mut run));
    out.join(" ")
}

/// The run as code, with the punctuation that belongs to the sentence behind it.
fn flush(run: &mut Vec<&str>) -> Option<String> {
    let joined = std::mem::take(run).join(" ");
    let inner = joined.trim_end_matches([',', ';', ':']);
    let (inner, behind) = if inner.is_empty() { (joined.as_str(), "") } else { joined.split_at(inner.len()) };
    (!joined.is_empty()).then(|| format!("{}{behind}", code(inner)))
}

/// Letters, or a short number, or letters with a hyphen or an apostrophe between; punctuation of a sentence around.
fn is_plain(word: &str) -> bool {
    if matches!(word, "—" | "·" | "…") {
        return true;
    }
    let inner = word.strip_prefix('(').unwrap_or(word);
    let inner = inner.trim_end_matches([',', ';', ':', ')', '?', '.', '…']);
    if inner.is_empty() {
        return false;
    }
    let number = inner.chars().all(|c| c.is_ascii_digit()) && inner.len() < 7;
    let letters =
        inner.split(['-', '\'']).all(|part| !part.is_empty() && part.chars().all(char::is_alphabetic));
    // Seven hexadecimal digits and more are a commit for GitLab.
    let commit = inner.len() >= 7 && inner.chars().all(|c| c.is_ascii_hexdigit());
    number || (letters && !commit)
}

/// One piece of code in a line of text.
pub(super) fn code(text: &str) -> String {
    let text = visible(text);
    if text.trim().is_empty() {
        return "—".to_owned();
    }
    let fence = "`".repeat(longest_run(&text) + 1);
    // One space within each fence is not part of the code, where there is one at both ends.
    let edge = |c: char| c == '`' || c == ' ';
    let pad = if text.starts_with(edge) || text.ends_with(edge) { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// The same in a cell of a table, where a pipe would end the cell even within code.
pub(super) fn cell(text: &str) -> String {
    code(&visible(text).replace('|', "\\u{7c}"))
}

/// A block of code, its lines kept.
pub(super) fn block(language: &str, text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(visible).collect();
    let fence = "`".repeat((longest_run(text) + 1).max(3));
    format!("{fence}{language}\n{}\n{fence}\n", lines.join("\n"))
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_stays_prose_and_the_rest_is_code() {
        for (text, shown) in [
            (
                "is not connected to GitLab: it was revoked, or deleted",
                "is not connected to GitLab: it was revoked, or deleted",
            ),
            ("does not let you read 3 of 21 things", "does not let you read 3 of 21 things"),
            ("fetch of https://x.example/a: 401", "fetch of `https://x.example/a`: 401"),
            ("code = Unauthenticated desc", "code = Unauthenticated desc"),
            ("> quoted", "`>` quoted"),
            ("ask @admin or see #12, !34", "ask `@admin` or see `#12, !34`"),
            ("/close now", "`/close` now"),
            ("<img src=x> PROJ-12 :tada: deadbeef", "`<img src=x> PROJ-12 :tada: deadbeef`"),
            ("www.x.example", "`www.x.example`"),
            ("agentk's well-formed token (documented)", "agentk's well-formed token (documented)"),
            ("- list", "`-` list"),
        ] {
            assert_eq!(prose(text), shown);
        }
    }

    #[test]
    fn code_cannot_be_left() {
        assert_eq!(code("a`b"), "``a`b``");
        assert_eq!(code("`a"), "`` `a ``");
        assert_eq!(code(" "), "—");
        assert_eq!(cell("a|b"), "`a\\u{7c}b`");
        assert_eq!(block("sh", "a\n```\nb"), "````sh\na\n```\nb\n````\n");
    }
}
