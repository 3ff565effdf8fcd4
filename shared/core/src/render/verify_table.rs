//! `verify` for people: the verdict, what to mend first with what follows from it, every area in one line, and what
//! is not known with what would make it known.

use std::collections::{BTreeMap, BTreeSet};

use super::headline::{headline, hidden, place, unknown_because, versions};
use super::style::{Style, verify, wrap};
use crate::assess::{Area, Severity, Verdict};
use crate::report::{CheckLine, Exit, Problem, Report};
use crate::snapshot::WhyKind;
use crate::text::{SHOWN, middle, visible};

/// At most this many consequences are shown under one cause, and as many findings of one check.
const MOST: usize = 8;

/// Columns of an area's sign and title.
const AREA_MARGIN: usize = 18;

/// Renders for people; `wide` adds every check and all the evidence.
pub(super) fn render(report: &Report, style: &Style, wide: bool) -> String {
    let mut out = Page { style, wide, text: String::new() };
    out.header(report);
    for problem in &report.problems {
        out.problem(problem);
    }
    if let Some(text) = hidden(report) {
        out.line("");
        out.line(&style.faint(&text));
    }
    out.areas(report);
    out.unknowns(report);
    out.text
}

struct Page<'r> {
    style: &'r Style,
    wide: bool,
    text: String,
}

impl Page<'_> {
    fn line(&mut self, text: &str) {
        self.text.push_str(text.trim_end());
        self.text.push('\n');
    }

    /// Wrapped text behind a margin.
    fn block(&mut self, first: &str, margin: usize, text: &str, paint: impl Fn(&str) -> String) {
        let width = self.style.width.clamp(40, 140).saturating_sub(margin);
        for (i, line) in wrap(&visible(text), width).iter().enumerate() {
            let lead = if i == 0 { format!("{first:margin$}") } else { " ".repeat(margin) };
            let painted = paint(line);
            self.line(&format!("{lead}{painted}"));
        }
    }

    fn header(&mut self, report: &Report) {
        let mut place = vec![place(report)];
        place.extend(versions(report));
        let style = self.style.clone();
        self.block("", 0, &place.join(" · "), |l| style.faint(l));
        let (severity, mut text) = headline(report);
        if severity == Some(Severity::Error) && report.exit != Exit::Unreachable {
            text.push_str(" — mend from the top");
        }
        let verdict = match severity {
            Some(severity) => self.style.severity(severity, &text),
            None => self.style.good(&text),
        };
        self.line(&verdict);
    }

    fn problem(&mut self, problem: &Problem) {
        self.line("");
        let head = format!("{} {}", Style::sign(problem.severity), problem.check.id());
        let finding = &problem.finding;
        let style = self.style.clone();
        let severity = problem.severity;
        let width = self.style.width.clamp(40, 140) - 8;
        for (i, line) in
            wrap(&visible(&format!("{} {}", finding.subject, finding.message)), width).iter().enumerate()
        {
            let lead = if i == 0 { style.severity(severity, &head) } else { " ".repeat(7) };
            self.line(&format!("{lead} {}", style.strong(line)));
        }
        let most = if self.wide { usize::MAX } else { 3 };
        for evidence in finding.evidence.iter().take(most) {
            let text = if self.wide { evidence.clone() } else { middle(evidence, SHOWN) };
            self.block("", 8, &text, |l| style.faint(l));
        }
        if finding.evidence.len() > most {
            self.line(&format!("        … and {} more; -o wide shows all", finding.evidence.len() - most));
        }
        self.remedy(problem);
        self.consequences(&problem.consequences);
    }

    fn remedy(&mut self, problem: &Problem) {
        let remedy = &problem.finding.remedy;
        let style = self.style.clone();
        if !remedy.text.is_empty() {
            self.block("   mend ", 8, &remedy.text, str::to_owned);
        }
        for command in &remedy.commands {
            let complete = style.complete(command);
            // A here-document ends only at a word at the start of a line, so such a command is not indented.
            let margin = if complete.contains('\n') { "" } else { "        " };
            for line in complete.split('\n') {
                self.line(&format!("{margin}{}", style.command(line)));
            }
        }
        let explain = style.complete(&verify("--explain", problem.check));
        self.line(&format!("    why {}", style.faint(&explain)));
    }

    fn consequences(&mut self, consequences: &[Problem]) {
        if consequences.is_empty() {
            return;
        }
        self.line("   so   these follow from it and should go with it:");
        let most = if self.wide { usize::MAX } else { MOST };
        for problem in consequences.iter().take(most) {
            let finding = &problem.finding;
            let style = self.style.clone();
            let text = format!("{} {} {}", problem.check.id(), finding.subject, finding.message);
            self.block(&format!("        {} ", Style::sign(problem.severity)), 10, &text, |l| style.faint(l));
        }
        if consequences.len() > most {
            self.line(&format!("          … and {} more; -o wide shows all", consequences.len() - most));
        }
    }

    fn areas(&mut self, report: &Report) {
        self.line("");
        for area in Area::ALL {
            let checks: Vec<&CheckLine> = report.checks.iter().filter(|c| c.check.area() == area).collect();
            if checks.is_empty() {
                continue;
            }
            if self.wide {
                self.line(&self.style.strong(area.title()));
                for check in checks {
                    let line = self.check(check);
                    self.line(&line);
                }
            } else {
                self.area(report, area, &checks);
            }
        }
    }

    /// `✓ Flux            5 passed · ✗ GA205`
    fn area(&mut self, report: &Report, area: Area, checks: &[&CheckLine]) {
        // That no access to GitLab was given is a choice and no blemish of the area.
        let waits = |c: &&&CheckLine| c.verdict == Verdict::Unknown && needs_gitlab_alone(c);
        let of = |verdict| checks.iter().filter(move |c| c.verdict == verdict && !waits(c));
        let words = |ids: Vec<String>| ids.join(" ");
        let ids = |verdict| words(of(verdict).map(|c| c.check.id()).collect());
        let (worst, style) = (report.worst(area), self.style.clone());
        let (sign, paint): (&str, &dyn Fn(&str) -> String) =
            if let Some(worst) = worst.filter(|w| *w > Severity::Info) {
                (Style::sign(worst), &move |t| style.severity(worst, t))
            } else if of(Verdict::Unknown).next().is_some() {
                ("?", &|t| self.style.severity(Severity::Warning, t))
            } else {
                ("✓", &|t| self.style.good(t))
            };
        let mut parts = Vec::new();
        let passed = of(Verdict::Pass).count();
        if passed > 0 {
            parts.push(format!("{passed} passed"));
        }
        for (verdict, word) in
            [(Verdict::Fail, "found"), (Verdict::Unknown, "unknown"), (Verdict::Skipped, "nothing to check")]
        {
            let ids = ids(verdict);
            if !ids.is_empty() {
                parts.push(format!("{word}: {ids}"));
            }
        }
        let waiting = words(checks.iter().filter(waits).map(|c| c.check.id()).collect());
        if !waiting.is_empty() {
            parts.push(format!("without GitLab: {waiting}"));
        }
        let lead = format!("{} {:<15} ", paint(sign), area.title());
        let width = self.style.width.clamp(40, 140) - AREA_MARGIN;
        for (i, line) in wrap(&parts.join(" · "), width).iter().enumerate() {
            let margin = if i == 0 { lead.clone() } else { " ".repeat(AREA_MARGIN) };
            self.line(&format!("{margin}{line}"));
        }
    }

    fn check(&self, line: &CheckLine) -> String {
        let title = format!("{} {}", line.check.id(), line.check.title);
        match line.verdict {
            Verdict::Pass => format!("  {} {title}", self.style.good("✓")),
            Verdict::Fail => format!(
                "  {} {title}",
                self.style.severity(line.check.severity, Style::sign(line.check.severity))
            ),
            Verdict::Unknown => format!("  {} {title}", self.style.severity(Severity::Warning, "?")),
            Verdict::Skipped => format!("  - {title} ({})", line.skipped.unwrap_or("nothing to check")),
        }
    }

    /// One reason is said once, with every check that lacks it.
    fn unknowns(&mut self, report: &Report) {
        let mut reasons: BTreeMap<(WhyKind, &str), Lacking<'_>> = BTreeMap::new();
        for check in &report.checks {
            for why in &check.unknown {
                // All refusals are one reason: each says what was refused, and GA102 prints the Role for all of them.
                let message = if why.permission.is_some() { "" } else { &why.message };
                let lacking = reasons.entry((why.kind, message)).or_default();
                lacking.asked.insert(&why.asked);
                lacking.checks.insert(check.check.code);
            }
        }
        if reasons.is_empty() {
            return;
        }
        self.line("");
        self.line("? not known:");
        for ((kind, message), lacking) in reasons {
            let ids: Vec<String> = lacking.checks.iter().map(|code| format!("GA{code}")).collect();
            if kind == WhyKind::NoGitLab {
                self.block("", 2, &format!("{} need GitLab: {message}", ids.join(" ")), str::to_owned);
                continue;
            }
            let text =
                format!("{}, because {}: {}", ids.join(" "), unknown_because(kind), lacking.asked(self.wide));
            let behind = match message {
                "" => "; GA102 prints what an administrator has to grant".to_owned(),
                _ => format!(" ({message})"),
            };
            self.block("", 2, &format!("{text}{behind}"), str::to_owned);
        }
    }
}

/// Whether a check lacks nothing but access to GitLab.
fn needs_gitlab_alone(line: &CheckLine) -> bool {
    !line.unknown.is_empty() && line.unknown.iter().all(|why| why.kind == WhyKind::NoGitLab)
}

/// What was asked for in vain for one reason, and by which checks.
#[derive(Default)]
struct Lacking<'r> {
    asked: BTreeSet<&'r str>,
    checks: BTreeSet<u16>,
}

impl Lacking<'_> {
    fn asked(&self, all: bool) -> String {
        let most = if all || self.asked.len() <= 3 { self.asked.len() } else { 2 };
        let shown: Vec<&str> = self.asked.iter().copied().take(most).collect();
        match self.asked.len() - most {
            0 => shown.join(", "),
            more => format!("{} and {more} more", shown.join(", ")),
        }
    }
}
