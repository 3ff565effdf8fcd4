//! Names of objects as segments of a request's path and as arguments: what Kubernetes accepts, and nothing that leads
//! elsewhere.

/// Longest name of an object (Kubernetes, "Object Names and IDs").
const LONGEST: usize = 253;

/// Whether this can be the name of an object or namespace.
///
/// Kubernetes itself refuses `.`, `..`, `/` and `%` in every kind's name (apimachinery `IsValidPathSegmentName`). Beyond
/// that the name must be printable ASCII without what ends a path (`?`, `#`) or is a separator elsewhere (`\`), and must not
/// begin like an option.
pub fn is_valid(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_graphic() && !"/%?#\\".contains(c);
    !matches!(name, "" | "." | "..")
        && name.len() <= LONGEST
        && !name.starts_with('-')
        && name.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_elsewhere_is_no_name() {
        let long = "a".repeat(LONGEST + 1);
        let others = [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "/",
            "%2e%2e",
            "%2E",
            "a%2fb",
            "a\0b",
            "\0",
            "a b",
            " ",
            "a\n",
            "-o",
            "--all",
            "a?b",
            "a#b",
            "a\\b",
            "..\\..",
            "ä",
            "\u{202e}a",
            "\u{ff0e}\u{ff0e}",
            &long,
        ];
        for other in others {
            assert!(!is_valid(other), "{other:?}");
        }
        for name in ["flux-system", "a", "...", "..a", "a..b", "system:node", "a.b.c", "0", &long[1..]] {
            assert!(is_valid(name), "{name:?}");
        }
    }
}
