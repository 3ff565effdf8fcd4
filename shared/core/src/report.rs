//! Findings in the order in which to mend them: each cause with what follows from it, the verdict, the exit code.

mod arrange;
#[cfg(test)]
mod causes;
mod exit;
#[cfg(test)]
mod knowing;
#[cfg(test)]
mod tests;
mod way;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::assess::{Area, Assessment, Check, Finding, Impact, Severity, Verdict};
use crate::facts::Facts;
use crate::snapshot::{Origin, Why, WhyKind};
use arrange::arrange;
pub use exit::Exit;
use exit::exit;
pub use way::{Hop, Link, Mark, Way};

/// What a run is told about severities.
#[derive(Clone, Debug)]
pub struct Thresholds {
    /// Findings of this severity and above are problems.
    pub fail_on: Severity,
    /// Severities that the person gave to codes.
    pub overrides: BTreeMap<u16, Severity>,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { fail_on: Severity::Error, overrides: BTreeMap::new() }
    }
}

/// One finding in its place.
#[derive(Debug)]
pub struct Problem {
    /// The check that found it.
    pub check: &'static Check,
    /// Its severity, after overrides.
    pub severity: Severity,
    /// What was found.
    pub finding: Finding,
    /// What follows from it, by code and object.
    pub consequences: Vec<Self>,
}

impl Problem {
    /// What users lose through it.
    fn impact(&self) -> Impact {
        self.finding.impact.unwrap_or(self.check.impact)
    }

    /// Its place among the causes: the worst severity and the worst impact of all that follows from it, then its own.
    fn urgency(&self) -> impl Ord + use<> {
        let all = self.flatten();
        let severity = all.iter().map(|p| p.severity).max();
        let impact = all.iter().filter(|p| Some(p.severity) == severity).map(|p| p.impact()).min();
        (Reverse(severity), impact, Reverse(self.severity), self.check.code)
    }

    /// Itself and all that follows from it.
    pub fn flatten(&self) -> Vec<&Self> {
        std::iter::once(self).chain(self.consequences.iter().flat_map(Self::flatten)).collect()
    }
}

/// One check in the report.
#[derive(Debug)]
pub struct CheckLine {
    /// The check.
    pub check: &'static Check,
    /// What it found out.
    pub verdict: Verdict,
    /// How many things it looked at.
    pub examined: usize,
    /// How many findings it made.
    pub findings: usize,
    /// What it would need to know (more).
    pub unknown: Vec<Why>,
    /// Why it had nothing to look at.
    pub skipped: Option<&'static str>,
}

/// The result of `verify`.
#[derive(Debug)]
pub struct Report {
    /// Where the facts come from.
    pub origin: Origin,
    /// The recording that was read, where one was.
    pub recording: Option<String>,
    /// When the facts were observed.
    pub observed_at: Timestamp,
    /// Version of the API server, where known.
    pub kubernetes: Option<String>,
    /// Flux release, where known.
    pub flux: Option<String>,
    /// Versions of agentk, without repetition.
    pub agentk: Vec<String>,
    /// What was found: causes first, most urgent first.
    pub problems: Vec<Problem>,
    /// What was found and is not to be shown ([`Report::hide_below`]); it still counts.
    pub hidden: Vec<Problem>,
    /// Findings of this severity and above are problems.
    pub fail_on: Severity,
    /// The way from project to pod, as far as what was found lies on it.
    pub way: Way,
    /// Every check that ran, by code.
    pub checks: Vec<CheckLine>,
    /// How it ends.
    pub exit: Exit,
}

impl Report {
    /// Builds the report.
    pub fn build(facts: &Facts<'_>, assessments: Vec<Assessment>, thresholds: &Thresholds) -> Self {
        let mut checks = Vec::new();
        let mut found = Vec::new();
        for Assessment { check, judgement } in assessments {
            checks.push(CheckLine {
                check,
                verdict: judgement.verdict(),
                examined: judgement.examined,
                findings: judgement.findings.len(),
                unknown: judgement.unknown,
                skipped: judgement.skipped,
            });
            found.extend(judgement.findings.into_iter().map(|finding| Problem {
                check,
                severity: severity(check, &finding, thresholds),
                finding,
                consequences: Vec::new(),
            }));
        }
        let exit = exit(&found, &checks, facts, thresholds.fail_on);
        let snapshot = facts.snapshot;
        let mut agentk: Vec<String> =
            facts.agents.iter().filter_map(|a| a.version().map(str::to_owned)).collect();
        agentk.sort();
        agentk.dedup();
        let problems = arrange(found, facts);
        Self {
            origin: snapshot.origin.clone(),
            recording: None,
            observed_at: facts.now,
            kubernetes: snapshot.server.get().ok().map(|v| v.git_version.clone()),
            flux: facts.flux_release().map(str::to_owned),
            agentk,
            way: Way::draw(facts, &problems),
            problems,
            hidden: Vec::new(),
            fail_on: thresholds.fail_on,
            checks,
            exit,
        }
    }

    /// Number of findings of a severity, hidden ones too.
    pub fn count(&self, severity: Severity) -> usize {
        let all = self.problems.iter().chain(&self.hidden).flat_map(Problem::flatten);
        all.filter(|p| p.severity == severity).count()
    }

    /// Every finding that is shown, each with the cause under which it stands.
    pub fn findings(&self) -> impl Iterator<Item = (&Problem, Option<&Problem>)> {
        self.problems.iter().flat_map(|root| {
            let rest = root.consequences.iter().flat_map(Problem::flatten);
            std::iter::once((root, None)).chain(rest.map(move |p| (p, Some(root))))
        })
    }

    /// Takes findings below a severity out of what is shown. The verdict, the numbers and the exit code stay. A cause
    /// is never less severe than what follows from it ([`cause_of`]), so no consequence loses its cause.
    pub fn hide_below(&mut self, least: Severity) {
        let hide =
            |problems: &mut Vec<Problem>| problems.extract_if(.., |p| p.severity < least).collect::<Vec<_>>();
        let mut hidden = hide(&mut self.problems);
        hidden.extend(self.problems.iter_mut().flat_map(|p| hide(&mut p.consequences)));
        self.hidden.extend(hidden);
    }

    /// The worst that was found in an area, hidden or not.
    pub fn worst(&self, area: Area) -> Option<Severity> {
        let all = self.problems.iter().chain(&self.hidden).flat_map(Problem::flatten);
        all.filter(|p| p.check.area() == area).map(|p| p.severity).max()
    }

    /// Number of checks with a verdict.
    pub fn verdicts(&self, verdict: Verdict) -> usize {
        self.checks.iter().filter(|c| c.verdict == verdict).count()
    }

    /// Whether no check looked at anything: each was skipped, or lacked a fact.
    pub fn is_empty(&self) -> bool {
        let looked = |c: &CheckLine| matches!(c.verdict, Verdict::Pass | Verdict::Fail);
        !self.checks.iter().any(looked)
    }

    /// Whether all that spoils the verdict is that something has just begun.
    pub fn is_early(&self) -> bool {
        let mut lacking =
            self.checks.iter().flat_map(|c| &c.unknown).filter(|why| !why.kind.is_a_choice()).peekable();
        lacking.peek().is_some() && lacking.all(|why| why.kind == WhyKind::TooEarly)
    }

    /// One word for the whole: `healthy`, `problems`, `unknown` or `unreachable`.
    pub fn verdict(&self) -> &'static str {
        match self.exit {
            Exit::Fine => "healthy",
            Exit::Unknown => "unknown",
            Exit::Unreachable => "unreachable",
            _ => "problems",
        }
    }
}

fn severity(check: &Check, finding: &Finding, thresholds: &Thresholds) -> Severity {
    thresholds.overrides.get(&check.code).copied().unwrap_or(finding.severity.unwrap_or(check.severity))
}
