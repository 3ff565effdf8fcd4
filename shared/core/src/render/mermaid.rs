//! The way from project to pod as a Mermaid flowchart, which GitLab draws.

use crate::report::{Hop, Link, Mark, Way};
use crate::text::{shorten, visible};

/// GitLab draws a larger one only after a click (`MAX_CHAR_LIMIT` of its `render_sandboxed_mermaid.js`).
pub(super) const LARGEST: usize = 2000;

/// Characters of a name that are shown.
const NAME: usize = 60;

/// The flowchart, or nothing where there is no way to draw. One that would be too large loses what nothing was found
/// on, from the end.
pub(super) fn flowchart(way: &Way) -> Option<String> {
    if way.links.is_empty() {
        return None;
    }
    let mut shown: Vec<bool> = vec![true; way.hops.len()];
    loop {
        let text = draw(way, &shown);
        if text.chars().count() <= LARGEST {
            return Some(text);
        }
        let plain = |i: &usize| shown[*i] && way.hops[*i].mark == Mark::None;
        let last = (0..shown.len()).rev().find(plain).or_else(|| shown.iter().rposition(|s| *s))?;
        shown[last] = false;
    }
}

fn draw(way: &Way, shown: &[bool]) -> String {
    let mut out = String::from("flowchart LR\n");
    for (i, hop) in way.hops.iter().enumerate().filter(|(i, _)| shown[*i]) {
        out.push_str(&format!("  n{i}[\"{}\"]\n", label(hop)));
    }
    for link in way.links.iter().filter(|l| shown[l.from] && shown[l.to]) {
        out.push_str(&format!("  n{} {} n{}\n", link.from, arrow(way, *link), link.to));
    }
    for (class, style, marked) in [
        ("cause", "fill:#fdd4cd,stroke:#c91c00,stroke-width:4px,color:#000", true),
        ("follows", "fill:#fdf1dd,stroke:#ab6100,stroke-dasharray:5,color:#000", false),
    ] {
        let of_class = |(i, hop): &(usize, &Hop)| {
            shown[*i]
                && match hop.mark {
                    Mark::Cause(_) => marked,
                    Mark::Follows(_) => !marked,
                    Mark::None => false,
                }
        };
        let ids: Vec<String> =
            way.hops.iter().enumerate().filter(of_class).map(|(i, _)| format!("n{i}")).collect();
        if !ids.is_empty() {
            out.push_str(&format!("  classDef {class} {style}\n  class {} {class}\n", ids.join(",")));
        }
    }
    out
}

/// Content goes along a line, events and needs along a dotted one; what comes from a cause ends in a cross.
fn arrow(way: &Way, link: Link) -> &'static str {
    let broken = matches!(way.hops[link.from].mark, Mark::Cause(_));
    match (link.content, broken) {
        (true, false) => "-->",
        (true, true) => "--x",
        (false, false) => "-.->",
        (false, true) => "-.-x",
    }
}

/// What it is, its name, and what was found: nothing is said by colour alone.
fn label(hop: &Hop) -> String {
    let codes = |sign: &str, codes: &[u16]| {
        let ids: Vec<String> = codes.iter().map(|code| format!("GA{code}")).collect();
        format!("<br/>{sign} {}", ids.join(" "))
    };
    let found = match &hop.mark {
        Mark::None => String::new(),
        Mark::Cause(found) => codes("✗", found),
        Mark::Follows(found) => codes("↳", found),
    };
    format!("{}<br/>{}{found}", escaped(&hop.kind), escaped(&shorten(&visible(&hop.name), NAME)))
}

/// Everything but letters, digits and a few harmless characters as an entity of Mermaid.
fn escaped(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || " -_./:…".contains(c);
    visible(text)
        .chars()
        .map(|c| if plain(c) { c.to_string() } else { format!("#{};", u32::from(c)) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(names: &[(&str, Mark)]) -> Way {
        let hops = names.iter().map(|(name, mark)| Hop {
            kind: "GitRepository".to_owned(),
            name: (*name).to_owned(),
            mark: mark.clone(),
        });
        let links = (1..names.len()).map(|to| Link { from: to - 1, to, content: true }).collect();
        Way { hops: hops.collect(), links, left_out: 0 }
    }

    #[test]
    fn the_broken_hop_is_marked() {
        let text = flowchart(&way(&[
            ("a", Mark::None),
            ("b", Mark::Cause(vec![407])),
            ("c", Mark::Follows(vec![408])),
        ]))
        .expect("a picture");
        for line in [
            "flowchart LR",
            "  n0[\"GitRepository<br/>a\"]",
            "  n1[\"GitRepository<br/>b<br/>✗ GA407\"]",
            "  n2[\"GitRepository<br/>c<br/>↳ GA408\"]",
            "  n0 --> n1",
            "  n1 --x n2",
            "  class n1 cause",
            "  class n2 follows",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in {text}");
        }
    }

    #[test]
    fn names_stay_names() {
        assert_eq!(escaped("a\"]; click n0 `x`"), "a#34;#93;#59; click n0 #96;x#96;");
        assert_eq!(escaped("<b>#&"), "#60;b#62;#35;#38;");
    }

    #[test]
    fn a_large_picture_loses_what_nothing_was_found_on() {
        let long = "x".repeat(80);
        let mut names: Vec<(&str, Mark)> = vec![(&long, Mark::None); 40];
        names[3].1 = Mark::Cause(vec![407]);
        let text = flowchart(&way(&names)).expect("a picture");
        assert!(text.chars().count() <= LARGEST && text.contains("✗ GA407"), "{text}");
        assert!(flowchart(&Way::default()).is_none());
    }
}
