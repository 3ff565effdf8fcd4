//! The sentences that several formats of `verify` share.

use crate::assess::{Severity, Verdict};
use crate::report::{Exit, Report};
use crate::snapshot::{Why, WhyKind};
use crate::text::count;

/// The verdict in one line with its sign, and how bad it is; none where all is well.
pub(super) fn headline(report: &Report) -> (Option<Severity>, String) {
    let (errors, warnings) = (report.count(Severity::Error), report.count(Severity::Warning));
    let infos = report.count(Severity::Info);
    let (unknown, passed) = (report.verdicts(Verdict::Unknown), report.verdicts(Verdict::Pass));
    match report.exit {
        Exit::Unreachable if report.problems.iter().any(|p| p.check.code == 105) => {
            let text =
                format!("✗ GitLab cannot be asked: {} unknown, {passed} passed", count(unknown, "check"));
            (Some(Severity::Error), text)
        }
        Exit::Unreachable => (Some(Severity::Error), "✗ The cluster cannot be judged".to_owned()),
        Exit::Unknown if errors == 0 && report.is_early() => {
            let early = report.checks.iter().filter(|c| c.unknown.iter().any(is_early)).count();
            let warned =
                if warnings > 0 { format!(", {}", count(warnings, "warning")) } else { String::new() };
            let text = format!("? Too early to tell: {}{warned}, {passed} passed", count(early, "check"));
            (Some(Severity::Warning), text)
        }
        Exit::Unknown if report.is_empty() => {
            let reason = nothing_because(report).map(|text| format!(": {text}")).unwrap_or_default();
            (Some(Severity::Warning), format!("? Nothing was checked{reason}"))
        }
        Exit::Unknown if errors <= 1 => {
            let unknown = count(unknown, "check");
            let text = format!("? Not everything could be seen: {unknown} unknown, {passed} passed");
            (Some(Severity::Warning), text)
        }
        _ if errors > 0 => (Some(Severity::Error), format!("✗ {}", problems(report))),
        _ if warnings + infos > 0 => lesser(report, warnings, infos),
        _ => (None, format!("✓ All is well: {} passed", count(passed, "check"))),
    }
}

/// Something was found, and no error: whether it counts as a problem is the person's choice (`--fail-on`).
fn lesser(report: &Report, warnings: usize, infos: usize) -> (Option<Severity>, String) {
    let passed = count(report.verdicts(Verdict::Pass), "check");
    let named = [(warnings, "warning"), (infos, "note")].into_iter().filter(|(number, _)| *number > 0);
    let found = named.map(|(number, word)| count(number, word)).collect::<Vec<_>>().join(", ");
    if report.exit == Exit::Problems {
        let text = format!("✗ {found}, which count as problems by --fail-on ({passed} passed)");
        return (Some(Severity::Error), text);
    }
    if warnings > 0 {
        return (Some(Severity::Warning), format!("! No problem, {found} ({passed} passed)"));
    }
    (None, format!("✓ No problem, {found} ({passed} passed)"))
}

fn is_early(why: &Why) -> bool {
    why.kind == WhyKind::TooEarly
}

/// Why a report is empty, in the words of its first check.
fn nothing_because(report: &Report) -> Option<&'static str> {
    report.checks.iter().find_map(|c| match c.unknown.first() {
        Some(why) => Some(unknown_because(why.kind)),
        None => c.skipped,
    })
}

/// `1 problem, 2 more follow from it, 1 warning`.
fn problems(report: &Report) -> String {
    let (errors, warnings) = (report.count(Severity::Error), report.count(Severity::Warning));
    let causes = report.problems.iter().filter(|p| p.severity == Severity::Error).count();
    let rest = errors.saturating_sub(causes);
    let mut text = count(causes, "problem");
    if rest > 0 {
        let follow = if rest == 1 { "follows" } else { "follow" };
        let from = if causes == 1 { "it" } else { "them" };
        text.push_str(&format!(", {rest} more {follow} from {from}"));
    }
    if warnings > 0 {
        text.push_str(&format!(", {}", count(warnings, "warning")));
    }
    text
}

/// That findings are not shown, where that is so.
pub(super) fn hidden(report: &Report) -> Option<String> {
    let n: usize = report.hidden.iter().map(|p| p.flatten().len()).sum();
    (n > 0).then(|| format!("{} not shown (--output-threshold)", count(n, "finding")))
}

/// Where and when the facts were observed: `context prod`, or the recording and its time.
pub(super) fn place(report: &Report) -> String {
    match (&report.recording, &report.origin.context) {
        (Some(file), _) => {
            format!("recording {file} of {}", report.observed_at.strftime("%Y-%m-%d %H:%M UTC"))
        }
        (None, Some(context)) => format!("context {context}"),
        (None, None) => report.origin.server.clone(),
    }
}

/// The versions that are known: `Kubernetes v1.36.3`, `Flux v2.9.2`, `agentk 19.2.2`.
pub(super) fn versions(report: &Report) -> Vec<String> {
    let kubernetes = report.kubernetes.iter().map(|v| format!("Kubernetes {v}"));
    let flux = report.flux.iter().map(|v| format!("Flux {v}"));
    let agentk = (!report.agentk.is_empty()).then(|| format!("agentk {}", report.agentk.join(", ")));
    kubernetes.chain(flux).chain(agentk).collect()
}

/// A reason for not knowing, behind "because".
pub(super) fn unknown_because(kind: WhyKind) -> &'static str {
    match kind {
        WhyKind::Unreachable => "nobody answered",
        WhyKind::SignIn => "the credential was refused",
        WhyKind::Forbidden => "you may not",
        WhyKind::TimedOut => "no answer in time",
        WhyKind::NotServed => "the API server does not serve it",
        WhyKind::Unreadable => "the answer could not be read",
        WhyKind::Intercepted => "something on the way answered in the API server's place",
        WhyKind::TooEarly => "it is too early to tell",
        WhyKind::Undecided => "what was read does not decide it",
        WhyKind::NoGitLab => "it needs GitLab",
        WhyKind::NotAsked => "it was not seen",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assess::{Check, assess};
    use crate::facts::Facts;
    use crate::fixture;
    use crate::report::Thresholds;
    use crate::snapshot::Snapshot;

    fn of(code: &str, change: impl FnOnce(&mut Snapshot)) -> String {
        let mut snapshot = fixture::healthy();
        change(&mut snapshot);
        let facts = Facts::derive(&snapshot);
        let report = Report::build(&facts, assess(&facts, Check::named(code)), &Thresholds::default());
        headline(&report).1
    }

    #[test]
    fn not_knowing_is_not_called_well() {
        assert_eq!(of("307", |_| {}), "✓ All is well: 1 check passed");
        let none = of("307", |s| s.deployments.items.clear());
        assert_eq!(none, "? Nothing was checked: no agentk is installed");
        let rolled = |s: &mut Snapshot| fixture::deployment_mut(s, "nginx").status.updated_replicas = 0;
        assert_eq!(of("701", rolled), "? Too early to tell: 1 check, 1 warning, 0 passed");
        let early = of("308", |s| s.leases.items[0].spec.holder_identity = "gitlab-agent-v2-0".to_owned());
        assert_eq!(early, "? Too early to tell: 1 check, 0 passed");
    }
}
