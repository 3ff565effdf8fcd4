//! `verify` in Prometheus's text exposition format
//! (prometheus.io/docs/instrumenting/exposition_formats), as node_exporter's textfile collector takes it: no
//! timestamps, each metric's lines together behind its `HELP` and `TYPE`.

use std::collections::BTreeMap;

use crate::assess::{Severity, Verdict};
use crate::object::ObjectRef;
use crate::report::{Problem, Report};
use crate::text::visible;

const VERDICTS: [(Verdict, &str); 4] = [
    (Verdict::Pass, "pass"),
    (Verdict::Fail, "fail"),
    (Verdict::Unknown, "unknown"),
    (Verdict::Skipped, "skipped"),
];

const SEVERITIES: [(Severity, &str); 3] =
    [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Info, "info")];

/// Renders all metrics. Those that count have a line for each label value also where it is 0, so that an alert on
/// them needs no `absent()`.
pub(super) fn render(report: &Report) -> String {
    let mut page = Page(String::new());
    page.info(report);
    page.run(report);
    page.checks(report);
    page.findings(report);
    page.0
}

struct Page(String);

impl Page {
    fn metric(&mut self, name: &str, help: &str) {
        self.0.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> = labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escaped(v))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        self.0.push_str(&format!("{name}{labels} {value}\n"));
    }

    fn info(&mut self, report: &Report) {
        const NAME: &str = "gitlab_agent_verify_info";
        self.metric(NAME, "What was looked at; always 1.");
        let known = |version: &Option<String>| version.clone().unwrap_or_default();
        self.sample(
            NAME,
            &[
                ("context", &known(&report.origin.context)),
                ("kubernetes", &known(&report.kubernetes)),
                ("flux", &known(&report.flux)),
                ("agentk", &report.agentk.join(", ")),
            ],
            1,
        );
    }

    fn run(&mut self, report: &Report) {
        const TIME: &str = "gitlab_agent_verify_observed_timestamp_seconds";
        self.metric(TIME, "When the cluster was looked at, in seconds since 1970.");
        let milliseconds = report.observed_at.as_millisecond();
        self.sample(TIME, &[], format!("{}.{:03}", milliseconds / 1000, milliseconds.rem_euclid(1000)));
        const EXIT: &str = "gitlab_agent_verify_exit_code";
        self.metric(EXIT, "How the run ended: 0 fine, 1 problems, 3 could not find out, 4 unreachable.");
        self.sample(EXIT, &[], report.exit.code());
    }

    fn checks(&mut self, report: &Report) {
        const NAME: &str = "gitlab_agent_verify_check_verdict";
        self.metric(NAME, "1 for the verdict that a check came to, 0 for the others.");
        for line in &report.checks {
            let (code, area) = (line.check.id(), line.check.area().title());
            for (verdict, word) in VERDICTS {
                let labels =
                    [("code", code.as_str()), ("check", line.check.slug), ("area", area), ("verdict", word)];
                self.sample(NAME, &labels, u8::from(line.verdict == verdict));
            }
        }
    }

    /// What `--output-threshold` hides is in the numbers, and has no line of its own.
    fn findings(&mut self, report: &Report) {
        const COUNT: &str = "gitlab_agent_verify_findings";
        self.metric(COUNT, "Number of findings.");
        for (severity, word) in SEVERITIES {
            self.sample(COUNT, &[("severity", word)], report.count(severity));
        }
        let mut objects: BTreeMap<(&'static str, &ObjectRef, u8, &str), usize> = BTreeMap::new();
        for (problem, cause) in report.findings() {
            let key =
                (problem.check.slug, &problem.finding.subject, u8::from(cause.is_none()), word(problem));
            *objects.entry(key).or_default() += 1;
        }
        const EACH: &str = "gitlab_agent_verify_finding";
        self.metric(EACH, "Findings by object; cause is 0 where they follow from another finding.");
        for ((slug, object, cause, severity), n) in objects {
            let code =
                report.checks.iter().find(|c| c.check.slug == slug).map(|c| c.check.id()).unwrap_or_default();
            // `namespace` is the scraped target's; Flux's own metrics name the object's in the same way.
            let labels = [
                ("code", code.as_str()),
                ("check", slug),
                ("severity", severity),
                ("kind", &object.kind),
                ("exported_namespace", &object.namespace),
                ("name", &object.name),
                ("cause", if cause == 1 { "1" } else { "0" }),
            ];
            self.sample(EACH, &labels, n);
        }
    }
}

fn word(problem: &Problem) -> &'static str {
    SEVERITIES.iter().find(|(severity, _)| *severity == problem.severity).map_or("", |(_, word)| word)
}

/// The value of a label.
fn escaped(text: &str) -> String {
    visible(text).replace('\\', "\\\\").replace('"', "\\\"")
}
