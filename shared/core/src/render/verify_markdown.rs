//! `verify` in GitLab Flavored Markdown, for the description of an incident or a comment: the verdict, a picture of the
//! way from project to pod, what to mend with commands, and all the rest folded away.

use super::Style;
use super::gfm::{block, cell, code, prose};
use super::headline::{headline, hidden, unknown_because};
use super::mermaid;
use super::style::verify;
use crate::assess::Verdict;
use crate::report::{CheckLine, Problem, Report};
use crate::text::{SHOWN, count, middle, visible};

/// So many problems are written out; a GitLab description holds a megabyte.
const PROBLEMS: usize = 30;

/// So many consequences, and pieces of evidence, of each.
const CONSEQUENCES: usize = 50;
const EVIDENCE: usize = 5;

/// Renders the document.
pub(super) fn render(report: &Report, style: &Style) -> String {
    let mut out = format!("## {}\n\n", headline(report).1);
    out.push_str(&facts(report));
    out.push_str(&picture(report));
    for problem in report.problems.iter().take(PROBLEMS) {
        out.push_str(&section(problem, style));
    }
    let more = report.problems.len().saturating_sub(PROBLEMS);
    if more > 0 {
        out.push_str(&format!("\n… and {}; `-o json` has all.\n", count(more, "more problem")));
    }
    if let Some(text) = hidden(report) {
        out.push_str(&format!("\n{}\n", prose(&text)));
    }
    out.push_str(&unknown(report));
    out.push_str(&checks(report));
    out
}

fn facts(report: &Report) -> String {
    let cluster = report.origin.context.as_deref().unwrap_or(&report.origin.server);
    let observed = report.observed_at.strftime("%Y-%m-%d %H:%M UTC").to_string();
    let observed = match &report.recording {
        Some(file) => format!("{observed}, read from recording {}", cell(file)),
        None => observed,
    };
    let mut versions = Vec::new();
    versions.extend(report.kubernetes.iter().map(|v| format!("Kubernetes {}", cell(v))));
    versions.extend(report.flux.iter().map(|v| format!("Flux {}", cell(v))));
    versions.extend(report.agentk.iter().map(|v| format!("agentk {}", cell(v))));
    let mut rows = vec![("cluster", cell(cluster)), ("observed", observed)];
    if !versions.is_empty() {
        rows.push(("versions", versions.join(", ")));
    }
    rows.push(("checks", numbers(report)));
    let rows: String = rows.iter().map(|(name, value)| format!("| {name} | {value} |\n")).collect();
    format!("| what | value |\n|---|---|\n{rows}")
}

fn numbers(report: &Report) -> String {
    let words = [
        (Verdict::Fail, "failed"),
        (Verdict::Unknown, "unknown"),
        (Verdict::Pass, "passed"),
        (Verdict::Skipped, "with nothing to check"),
    ];
    let numbers = words.iter().map(|(verdict, word)| (report.verdicts(*verdict), word));
    numbers.filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect::<Vec<_>>().join(", ")
}

fn picture(report: &Report) -> String {
    let Some(chart) = mermaid::flowchart(&report.way) else { return String::new() };
    let left_out = match report.way.left_out {
        0 => String::new(),
        n => format!("\n{} more in the same state not drawn.\n", count(n, "source")),
    };
    format!("\n### From project to pod\n\n{}{left_out}", block("mermaid", chart.trim_end()))
}

fn section(problem: &Problem, style: &Style) -> String {
    let finding = &problem.finding;
    let mut out =
        format!("\n### {} {} {}\n\n", Style::sign(problem.severity), problem.check.id(), problem.check.slug);
    out.push_str(&format!("**{}** {}\n", code(&finding.subject.to_string()), prose(&finding.message)));
    if !finding.evidence.is_empty() {
        out.push('\n');
    }
    for evidence in finding.evidence.iter().take(EVIDENCE) {
        out.push_str(&format!("- {}\n", code(&middle(evidence, SHOWN))));
    }
    let more = finding.evidence.len().saturating_sub(EVIDENCE);
    if more > 0 {
        out.push_str(&format!("- … and {more} more\n"));
    }
    if !finding.remedy.text.is_empty() {
        out.push_str(&format!("\n**To mend it:** {}\n", prose(&finding.remedy.text)));
    }
    if !finding.remedy.commands.is_empty() {
        let commands: Vec<String> = finding.remedy.commands.iter().map(|c| style.complete(c)).collect();
        out.push_str(&format!("\n{}", block("sh", &commands.join("\n"))));
    }
    let explain = style.complete(&verify("--explain", problem.check));
    out.push_str(&format!("\nMore on it: {}\n", code(&explain)));
    out.push_str(&consequences(&problem.consequences));
    out
}

fn consequences(all: &[Problem]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let mut lines: Vec<String> = all.iter().take(CONSEQUENCES).map(consequence).collect();
    let more = all.len().saturating_sub(CONSEQUENCES);
    if more > 0 {
        lines.push(format!("- … and {more} more\n"));
    }
    let verb = if all.len() == 1 { "follows" } else { "follow" };
    folded(&format!("{} {verb} from it and should go with it", count(all.len(), "finding")), &lines.concat())
}

fn consequence(problem: &Problem) -> String {
    let finding = &problem.finding;
    let (sign, id) = (Style::sign(problem.severity), problem.check.id());
    format!("- {sign} {id} {} {}\n", code(&finding.subject.to_string()), prose(&finding.message))
}

/// The summary is our own text; the blank lines make GitLab read what is folded as Markdown.
fn folded(summary: &str, text: &str) -> String {
    format!("\n<details>\n<summary>{summary}</summary>\n\n{text}\n</details>\n")
}

fn unknown(report: &Report) -> String {
    let lacking = |check: &CheckLine| {
        let whys = check.unknown.iter().map(|why| {
            let because = unknown_because(why.kind);
            format!(
                "- {}, because {because}: {} ({})\n",
                check.check.id(),
                code(&why.asked),
                code(&middle(&why.message, SHOWN))
            )
        });
        whys.collect::<String>()
    };
    let lines: String = report.checks.iter().map(lacking).collect();
    if lines.is_empty() {
        return String::new();
    }
    let checks = report.checks.iter().filter(|c| !c.unknown.is_empty()).count();
    folded(&format!("{} could not see everything", count(checks, "check")), &lines)
}

fn checks(report: &Report) -> String {
    let row = |line: &CheckLine| {
        let verdict = match line.verdict {
            Verdict::Pass => "✓ passed",
            Verdict::Fail => "✗ failed",
            Verdict::Unknown => "? unknown",
            Verdict::Skipped => "- nothing to check",
        };
        format!("| {} | {verdict} | {} |\n", line.check.id(), visible(line.check.title))
    };
    let rows: String = report.checks.iter().map(row).collect();
    folded(
        &format!("All {} that ran", count(report.checks.len(), "check")),
        &format!("| code | verdict | what should hold |\n|---|---|---|\n{rows}"),
    )
}
