//! `verify` as JUnit XML: a suite per area, a case per check.
//!
//! Shaped by what GitLab makes of it (docs.gitlab.com/ci/testing/unit_test_reports): it shows `classname` as the suite
//! and never the suite's own name, compares runs by `classname` and `name`, takes one child of a case, and shows the
//! child's text and, where there is text, not its `message`. So names never change with what was found, each case has
//! one child at most, and its text says everything.

use super::Style;
use super::headline::{hidden, place, unknown_because};
use super::style::verify;
use crate::assess::{Area, Severity, Verdict};
use crate::report::{CheckLine, Problem, Report};
use crate::snapshot::Why;
use crate::text::visible;

/// What a case's child is. The report is red where the run ends with another exit code than 0, and only there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Child {
    /// Findings at or above `--fail-on`.
    Failure,
    /// It could not be found out.
    Error,
    /// Nothing to look at, not asked for, or findings below `--fail-on`: no pass, and no failure either.
    Skipped,
}

impl Child {
    fn tag(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Error => "error",
            Self::Skipped => "skipped",
        }
    }
}

struct Case {
    xml: String,
    child: Option<Child>,
}

/// Renders the whole document.
pub(super) fn render(report: &Report, style: &Style) -> String {
    let suites: Vec<(Area, Vec<Case>)> = Area::ALL
        .into_iter()
        .map(|area| {
            let checks = report.checks.iter().filter(|c| c.check.area() == area);
            (area, checks.map(|line| case(report, line, style)).collect())
        })
        .filter(|(_, cases): &(Area, Vec<Case>)| !cases.is_empty())
        .collect();
    let all: Vec<&Case> = suites.iter().flat_map(|(_, cases)| cases).collect();
    let name = attribute(&format!("kubectl gitlab-agent verify, {}", place(report)));
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    out.push_str(&format!("<testsuites name=\"{name}\"{}>\n", numbers(&all)));
    for (area, cases) in &suites {
        let numbers = numbers(&cases.iter().collect::<Vec<_>>());
        let at = report.observed_at.strftime("%Y-%m-%dT%H:%M:%S");
        out.push_str(&format!("  <testsuite name=\"{}\" timestamp=\"{at}\"{numbers}>\n", area.title()));
        cases.iter().for_each(|case| out.push_str(&case.xml));
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn numbers(cases: &[&Case]) -> String {
    let of = |child| cases.iter().filter(|c| c.child == Some(child)).count();
    format!(
        " tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\"",
        cases.len(),
        of(Child::Failure),
        of(Child::Error),
        of(Child::Skipped)
    )
}

fn case(report: &Report, line: &CheckLine, style: &Style) -> Case {
    let check = line.check;
    let name = attribute(&format!("{} {}", check.id(), check.title));
    let head = format!("    <testcase classname=\"{}\" name=\"{name}\"", check.area().title());
    let child = child(report, line);
    let xml = match child {
        None => format!("{head}/>\n"),
        Some(child) => {
            let (message, text) = texts(report, line, style);
            let tag = child.tag();
            let (message, text) = (attribute(&message), escaped(&text));
            format!(
                "{head}>\n      <{tag} message=\"{message}\" type=\"{}\">{text}</{tag}>\n    </testcase>\n",
                check.id()
            )
        }
    };
    Case { xml, child }
}

fn child(report: &Report, line: &CheckLine) -> Option<Child> {
    let not_asked = |why: &Why| why.kind.is_a_choice();
    match line.verdict {
        Verdict::Pass => None,
        Verdict::Skipped => Some(Child::Skipped),
        Verdict::Unknown if line.unknown.iter().all(not_asked) => Some(Child::Skipped),
        Verdict::Unknown => Some(Child::Error),
        // Missing permissions are no problem of the cluster.
        Verdict::Fail if line.check.code == 102 => Some(Child::Error),
        Verdict::Fail if worst(report, line) >= Some(report.fail_on) => Some(Child::Failure),
        Verdict::Fail => Some(Child::Skipped),
    }
}

fn worst(report: &Report, line: &CheckLine) -> Option<Severity> {
    let all = report.problems.iter().chain(&report.hidden).flat_map(Problem::flatten);
    all.filter(|p| p.check.code == line.check.code).map(|p| p.severity).max()
}

/// The message in one line, and everything.
fn texts(report: &Report, line: &CheckLine, style: &Style) -> (String, String) {
    let own: Vec<_> = report.findings().filter(|(p, _)| p.check.code == line.check.code).collect();
    let mut parts: Vec<String> = own.iter().map(|(p, cause)| finding(p, *cause, style)).collect();
    let lacking = line.unknown.iter().map(|why| {
        format!(
            "not known, because {}: {} ({})",
            unknown_because(why.kind),
            visible(&why.asked),
            visible(&why.message)
        )
    });
    parts.extend(lacking);
    if line.verdict == Verdict::Skipped {
        parts.push(line.skipped.unwrap_or("nothing to check").to_owned());
    }
    if own.len() < line.findings {
        parts.extend(hidden(report));
    }
    if line.verdict != Verdict::Skipped {
        parts.push(format!("why: {}", style.complete(&verify("--explain", line.check))));
    }
    let message = parts.first().and_then(|p| p.lines().next()).unwrap_or_default().to_owned();
    (message, parts.join("\n\n"))
}

fn finding(problem: &Problem, cause: Option<&Problem>, style: &Style) -> String {
    let finding = &problem.finding;
    let mut lines = vec![visible(&format!("{} {}", finding.subject, finding.message))];
    lines.extend(finding.evidence.iter().map(|evidence| format!("  {}", visible(evidence))));
    if let Some(cause) = cause {
        let text =
            format!("follows from {} {}, and should go with it", cause.check.id(), cause.finding.subject);
        lines.push(visible(&text));
        return lines.join("\n");
    }
    if !finding.remedy.text.is_empty() {
        lines.push(format!("mend: {}", visible(&finding.remedy.text)));
    }
    lines.extend(finding.remedy.commands.iter().map(|command| style.complete(command)));
    lines.join("\n")
}

/// Text of an element. The text is visible already, but for two code points that XML does not take.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// The value of an attribute, in one line.
fn attribute(text: &str) -> String {
    escaped(&visible(text))
}
