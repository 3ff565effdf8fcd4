//! `verify` in a few lines, to paste into a chat: the verdict, the first cause, the first command.

use super::Style;
use super::headline::{headline, place, versions};
use super::style::verify;
use crate::assess::Verdict;
use crate::report::{Problem, Report};
use crate::text::{count, middle, shorten, visible};

/// Characters of a message, of what to do, and of a command.
const LONG: usize = 300;

/// Renders without colour and without wrapping: the chat does that.
pub(super) fn render(report: &Report, style: &Style) -> String {
    let mut where_from = vec![place(report)];
    where_from.extend(versions(report));
    let mut lines = vec![headline(report).1, where_from.join(" · ")];
    if let Some(first) = report.problems.first() {
        lines.extend(problem(first, style));
    }
    lines.extend(rest(report));
    lines.iter().map(|line| format!("{}\n", visible(line))).collect()
}

/// The verdict and what leads the report, in one line.
pub fn line(report: &Report) -> String {
    let mut text = headline(report).1;
    if let Some(first) = report.problems.first() {
        let finding = &first.finding;
        text.push_str(&format!(": {} {} {}", first.check.id(), finding.subject, finding.message));
    }
    visible(&text)
}

fn problem(problem: &Problem, style: &Style) -> Vec<String> {
    let finding = &problem.finding;
    let text = format!("{} {} {}", problem.check.id(), finding.subject, finding.message);
    let mut lines = vec![middle(&text, LONG)];
    if !finding.remedy.text.is_empty() {
        lines.push(format!("mend: {}", middle(&finding.remedy.text, LONG)));
    }
    // A command that was cut would do something else.
    if let Some(command) = finding.remedy.commands.first() {
        let complete = style.complete(command);
        let fits = !complete.contains('\n') && complete.chars().count() <= LONG;
        let whole = style.complete(&verify("--only", problem.check));
        lines.push(format!("$ {}", if fits { complete } else { whole }));
    }
    lines
}

/// The other codes, and what could not be seen.
fn rest(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    let others: Vec<String> = report.problems.iter().skip(1).map(|p| p.check.id()).collect();
    let mut also = Vec::new();
    if !others.is_empty() {
        also.push(format!("then {}", shorten(&others.join(" "), 80)));
    }
    let unknown = report.verdicts(Verdict::Unknown);
    if unknown > 0 {
        also.push(format!("{} unknown", count(unknown, "check")));
    }
    if !also.is_empty() {
        lines.push(also.join(" · "));
    }
    lines
}
