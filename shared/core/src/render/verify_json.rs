//! `verify` for programs. These shapes are the published ones (docs/formats.md); the report's own types are free to
//! change. Lists are always lists, absent facts are `null`.

use serde::Serialize;

use super::Style;
use crate::API_VERSION;
use crate::assess::{Check, Severity, Verdict};
use crate::need::Need;
use crate::object::ObjectRef;
use crate::report::{CheckLine, Problem, Report};
use crate::snapshot::Why;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document<'r> {
    api_version: &'static str,
    kind: &'static str,
    origin: OriginOut<'r>,
    observed_at: String,
    versions: Versions<'r>,
    verdict: &'static str,
    exit_code: u8,
    summary: Summary,
    problems: Vec<ProblemOut<'r>>,
    checks: Vec<CheckOut<'r>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OriginOut<'r> {
    source: &'static str,
    file: Option<&'r str>,
    context: Option<&'r str>,
    server: &'r str,
}

#[derive(Serialize)]
struct Versions<'r> {
    kubernetes: Option<&'r str>,
    flux: Option<&'r str>,
    agentk: &'r [String],
}

#[derive(Serialize)]
struct Summary {
    errors: usize,
    warnings: usize,
    infos: usize,
    hidden: usize,
    passed: usize,
    unknown: usize,
    skipped: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProblemOut<'r> {
    code: String,
    slug: &'r str,
    severity: Severity,
    subject: &'r ObjectRef,
    message: &'r str,
    evidence: &'r [String],
    remedy: RemedyOut<'r>,
    consequences: Vec<Self>,
}

#[derive(Serialize)]
struct RemedyOut<'r> {
    text: &'r str,
    commands: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CheckOut<'r> {
    code: String,
    slug: &'r str,
    title: &'r str,
    area: &'r str,
    severity: Severity,
    verdict: Verdict,
    examined: usize,
    findings: usize,
    unknown: &'r [Why],
    skipped: Option<&'r str>,
}

impl<'r> Document<'r> {
    pub(super) fn of(report: &'r Report, style: &Style) -> Self {
        Self {
            api_version: API_VERSION,
            kind: "VerifyReport",
            origin: OriginOut {
                source: if report.recording.is_some() { "recording" } else { "cluster" },
                file: report.recording.as_deref(),
                context: report.origin.context.as_deref(),
                server: &report.origin.server,
            },
            observed_at: report.observed_at.to_string(),
            versions: Versions {
                kubernetes: report.kubernetes.as_deref(),
                flux: report.flux.as_deref(),
                agentk: &report.agentk,
            },
            verdict: report.verdict(),
            exit_code: report.exit.code(),
            summary: Summary {
                errors: report.count(Severity::Error),
                warnings: report.count(Severity::Warning),
                infos: report.count(Severity::Info),
                hidden: report.hidden.iter().map(|p| p.flatten().len()).sum(),
                passed: report.verdicts(Verdict::Pass),
                unknown: report.verdicts(Verdict::Unknown),
                skipped: report.verdicts(Verdict::Skipped),
            },
            problems: report.problems.iter().map(|problem| ProblemOut::of(problem, style)).collect(),
            checks: report.checks.iter().map(CheckOut::of).collect(),
        }
    }
}

impl<'r> ProblemOut<'r> {
    fn of(problem: &'r Problem, style: &Style) -> Self {
        let finding = &problem.finding;
        let commands = finding.remedy.commands.iter().map(|command| style.portable(command)).collect();
        Self {
            code: problem.check.id(),
            slug: problem.check.slug,
            severity: problem.severity,
            subject: &finding.subject,
            message: &finding.message,
            evidence: &finding.evidence,
            remedy: RemedyOut { text: &finding.remedy.text, commands },
            consequences: problem.consequences.iter().map(|problem| Self::of(problem, style)).collect(),
        }
    }
}

impl<'r> CheckOut<'r> {
    fn of(line: &'r CheckLine) -> Self {
        Self {
            code: line.check.id(),
            slug: line.check.slug,
            title: line.check.title,
            area: line.check.area().title(),
            severity: line.check.severity,
            verdict: line.verdict,
            examined: line.examined,
            findings: line.findings,
            unknown: &line.unknown,
            skipped: line.skipped.filter(|_| line.verdict == Verdict::Skipped),
        }
    }
}

/// `--list-checks` for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CheckList<'c> {
    api_version: &'static str,
    kind: &'static str,
    checks: Vec<ListedCheck<'c>>,
}

#[derive(Serialize)]
struct ListedCheck<'c> {
    code: String,
    slug: &'c str,
    title: &'c str,
    area: &'static str,
    severity: Severity,
    needs: &'c [Need],
}

impl<'c> CheckList<'c> {
    pub(super) fn of(checks: &[&'c Check]) -> Self {
        let listed = |check: &&'c Check| ListedCheck {
            code: check.id(),
            slug: check.slug,
            title: check.title,
            area: check.area().title(),
            severity: check.severity,
            needs: check.needs,
        };
        Self { api_version: API_VERSION, kind: "CheckList", checks: checks.iter().map(listed).collect() }
    }
}
