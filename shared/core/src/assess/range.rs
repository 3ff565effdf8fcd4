//! Ranges of chart versions as helm and Flux read them (Masterminds/semver): how far they let a version move.

/// A version: major, minor, patch. Pre-releases are read as the release they precede.
type Triple = (u64, u64, u64);

/// How far a range lets the version move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// No version is in it.
    Nothing,
    /// One version.
    Exact,
    /// Patch versions of one minor version.
    Patches,
    /// Minor versions of one major version.
    Minors,
    /// Major versions, too.
    Majors,
}

/// Versions from `low` up to, and without, `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    low: Triple,
    high: Triple,
}

const ZERO: Triple = (0, 0, 0);
const ENDLESS: Triple = (u64::MAX, 0, 0);
const ALL: Span = Span { low: ZERO, high: ENDLESS };

/// How far `range` lets a version move that is now at `installed` (major and minor): helm takes the highest version,
/// so what lies below the installed minor version does not count. `None` for what is no range.
pub(super) fn reach(range: &str, installed: Option<(u64, u64)>) -> Option<Reach> {
    let spans: Vec<Span> = range.split("||").map(alternative).collect::<Option<_>>()?;
    let (major, minor) = installed.unwrap_or_default();
    let above = |span: &Span| Span { low: span.low.max((major, minor, 0)), ..*span };
    let filled = |spans: Vec<Span>| -> Vec<Span> { spans.into_iter().filter(|s| s.low < s.high).collect() };
    let reachable = filled(spans.iter().map(above).collect());
    let spans = if reachable.is_empty() { filled(spans) } else { reachable };
    let low = spans.iter().map(|s| s.low).min();
    let high = spans.iter().map(|s| s.high).max();
    let Some((low, high)) = low.zip(high) else { return Some(Reach::Nothing) };
    Some(if spans.iter().all(|s| s.high == after(s.low)) {
        Reach::Exact
    } else if high <= (low.0, low.1.saturating_add(1), 0) {
        Reach::Patches
    } else if high <= (low.0.saturating_add(1), 0, 0) {
        Reach::Minors
    } else {
        Reach::Majors
    })
}

/// Whether a version is in `range`. `None` for what is no range.
pub(super) fn admits(range: &str, version: Triple) -> Option<bool> {
    let spans: Vec<Span> = range.split("||").map(alternative).collect::<Option<_>>()?;
    Some(spans.iter().any(|span| span.low <= version && version < span.high))
}

/// The next patch version.
fn after((major, minor, patch): Triple) -> Triple {
    (major, minor, patch.saturating_add(1))
}

/// Everything between two `||`: constraints that all hold, separated by spaces or commas.
fn alternative(text: &str) -> Option<Span> {
    let spaced = text.replace(',', " ");
    let mut words = spaced.split_whitespace().peekable();
    let mut span = ALL;
    while let Some(word) = words.next() {
        let both;
        let (operator, version) = match split_operator(word) {
            // An operator may stand apart from its version.
            (operator, "") => {
                both = words.next()?;
                (operator, both)
            }
            found => found,
        };
        let next = if operator.is_empty() && words.peek() == Some(&"-") {
            words.next();
            between(version, words.next()?)?
        } else {
            constraint(operator, Partial::parse(version)?)?
        };
        span = Span { low: span.low.max(next.low), high: span.high.min(next.high) };
    }
    Some(span)
}

fn split_operator(word: &str) -> (&str, &str) {
    let at = word.find(|c: char| !"=!<>~^".contains(c)).unwrap_or(word.len());
    word.split_at(at)
}

/// `1.2.3 - 1.4`: from the first to the second, with all that the second leaves open.
fn between(from: &str, to: &str) -> Option<Span> {
    let low = constraint(">=", Partial::parse(from)?)?.low;
    let high = constraint("<=", Partial::parse(to)?)?.high;
    Some(Span { low, high })
}

fn constraint(operator: &str, version: Partial) -> Option<Span> {
    let low = version.low();
    let span = |low, high| Some(Span { low, high });
    match operator {
        "" | "=" => span(low, version.high()),
        // A hole in a range does not change how far it reaches.
        "!=" => Some(ALL),
        ">" => span(version.high(), ENDLESS),
        ">=" | "=>" => span(low, ENDLESS),
        "<" => span(ZERO, low),
        "<=" | "=<" => span(ZERO, version.high()),
        "~" | "~>" => span(low, version.tilde()),
        "^" => span(low, version.caret()),
        _ => None,
    }
}

/// A version whose last parts may be left open: `1.2`, `1.2.x`, `*`.
#[derive(Clone, Copy)]
struct Partial {
    major: Option<u64>,
    minor: Option<u64>,
    patch: Option<u64>,
}

impl Partial {
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let core = text.split(['-', '+']).next()?;
        let parts: Vec<&str> = core.split('.').collect();
        if parts.len() > 3 {
            return None;
        }
        let part = |at: usize| match parts.get(at).copied() {
            None | Some("x" | "X" | "*") => Some(None),
            Some(number) => number.parse().ok().map(Some),
        };
        let (major, minor, patch) = (part(0)?, part(1)?, part(2)?);
        // What stands behind an open part is open.
        let minor = major.and(minor);
        Some(Self { major, minor, patch: minor.and(patch) })
    }

    fn low(self) -> Triple {
        (self.major.unwrap_or(0), self.minor.unwrap_or(0), self.patch.unwrap_or(0))
    }

    /// The first version that it does not mean.
    fn high(self) -> Triple {
        match (self.major, self.minor, self.patch) {
            (None, ..) => ENDLESS,
            (Some(major), None, _) => (major.saturating_add(1), 0, 0),
            (Some(major), Some(minor), None) => (major, minor.saturating_add(1), 0),
            (Some(major), Some(minor), Some(patch)) => after((major, minor, patch)),
        }
    }

    /// `~`: patches; minors where the minor version is left open; `~0.0.0` means everything.
    fn tilde(self) -> Triple {
        match (self.major, self.minor) {
            (Some(0), Some(0)) if self.patch == Some(0) => ENDLESS,
            (Some(major), Some(minor)) => (major, minor.saturating_add(1), 0),
            _ => self.high(),
        }
    }

    /// `^`: nothing changes left of the first part that is not zero.
    fn caret(self) -> Triple {
        match (self.major, self.minor, self.patch) {
            (Some(0), Some(0), Some(patch)) => after((0, 0, patch)),
            (Some(0), Some(minor), _) => (0, minor.saturating_add(1), 0),
            (Some(major), ..) => (major.saturating_add(1), 0, 0),
            (None, ..) => ENDLESS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_in_a_range_or_not() {
        for (range, version, is) in [
            ("~2.29.0", (2, 29, 7), Some(true)),
            ("~2.29.0", (2, 30, 0), Some(false)),
            ("2.29.1", (2, 29, 2), Some(false)),
            ("1.x || ^2.30", (2, 31, 0), Some(true)),
            ("", (2, 29, 2), Some(true)),
            ("latest", (2, 29, 2), None),
        ] {
            assert_eq!(admits(range, version), is, "{range}");
        }
    }

    #[test]
    fn every_form_of_range_is_read() {
        for (reached, ranges) in [
            (
                Reach::Patches,
                &[
                    "~2.29.0",
                    "~2.29.4",
                    "~2.29",
                    "~2.29.x",
                    "~>2.29.1",
                    "2.29",
                    "2.29.x",
                    "2.29.X",
                    "2.29.*",
                    "v2.29.x",
                    "=2.29",
                    ">=2.29.0 <2.30.0",
                    ">=2.29.0, <2.30.0",
                    ">=2.29.0,<2.30",
                    ">= 2.29.0 < 2.30.0",
                    ">2.29.0 <=2.29.9",
                    ">=2.29.0 <=2.29",
                    ">=2.29.0-0 <2.30.0-0",
                    "2.29.0 - 2.29.9",
                    "2.29.0 - 2.29",
                    "^0.2.3",
                    "^0.2",
                    "^0.0",
                    "2.29.1 || ~2.29.3",
                    "~2.29.0 !=2.29.3",
                    "~2.29.0+build",
                ][..],
            ),
            (
                Reach::Exact,
                &[
                    "2.29.1",
                    "=2.29.1",
                    "v2.29.1",
                    " 2.29.1 ",
                    "^0.0.3",
                    "2.29.1 - 2.29.1",
                    "2.29.1 || 2.29.3",
                ][..],
            ),
            (
                Reach::Minors,
                &[
                    "^2.29.0",
                    "^2.29",
                    "^2",
                    "2",
                    "2.x",
                    "2.*",
                    "~2",
                    "~2.x",
                    ">=2.29.0 <3.0.0",
                    "2.28 - 2.29",
                    "~2.28.0 || ~2.29.0",
                    "^0",
                ][..],
            ),
            (
                Reach::Majors,
                &[
                    "",
                    "*",
                    "x",
                    ">=2",
                    ">2.29.0",
                    ">=2.29.0",
                    "<3.0.0",
                    "~0.0.0",
                    "!=2.29.1",
                    "~1.2.0 || ~2.29.0",
                    "1.0.0 - 2.0.0",
                ][..],
            ),
            (Reach::Nothing, &["<2.0.0 >3.0.0", ">=2.30.0 <2.30.0", "2.29.1 2.29.2"][..]),
        ] {
            for range in ranges {
                assert_eq!(reach(range, None), Some(reached), "{range:?}");
            }
        }
        for range in ["latest", "2.29.1.4", "~", "2.29.1 -", "<>2.0", "2..1", ">=2.29.0<2.30.0", "a.b"] {
            assert_eq!(reach(range, None), None, "{range:?}");
        }
    }

    #[test]
    fn what_lies_below_the_installed_minor_does_not_count() {
        assert_eq!(reach(">=2.20.0 <2.30.0", Some((2, 29))), Some(Reach::Patches));
        assert_eq!(reach("<2.30.0", Some((2, 29))), Some(Reach::Patches));
        assert_eq!(reach(">=2.20.0 <2.30.0", Some((2, 28))), Some(Reach::Minors));
        assert_eq!(reach("~2.28.0 || ~2.29.0", Some((2, 29))), Some(Reach::Patches));
        assert_eq!(reach("*", Some((2, 29))), Some(Reach::Majors));
        assert_eq!(reach("2.29.1", Some((2, 29))), Some(Reach::Exact));
        assert_eq!(reach("2.28.1", Some((2, 29))), Some(Reach::Exact), "a downgrade that is under way");
    }
}
