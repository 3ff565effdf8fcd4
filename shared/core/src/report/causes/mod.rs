//! Clusters that are broken in known ways: what leads the report, and what stands under it. And clusters that are
//! unusual and not broken, in which nothing may be found.

mod alike;
mod apart;
mod build;
mod chains;
mod creators;
mod depends;
mod elsewhere;
mod events;
mod gone;
mod healthy;
mod notifications;
mod order;
mod partial;
mod pods;
mod policies;
mod services;

use super::{Problem, Report, Thresholds};
use crate::assess::{CHECKS, Severity, assess};
use crate::facts::Facts;
use crate::fixture;
use crate::snapshot::Snapshot;

/// A broken cluster.
struct Case {
    name: &'static str,
    /// What leads: its code and object.
    cause: (u16, &'static str),
    /// What else stands by itself, as an error.
    also: &'static [(u16, &'static str)],
    /// What stands under the first.
    under: &'static [(u16, &'static str)],
    /// A part of the first message.
    says: &'static str,
    /// What must not be in the first remedy's commands.
    never: &'static str,
    make: fn(&mut Snapshot),
}

const fn case(name: &'static str, cause: (u16, &'static str), make: fn(&mut Snapshot)) -> Case {
    Case { name, cause, also: &[], under: &[], says: "", never: "\u{0}", make }
}

impl Case {
    const fn under(self, under: &'static [(u16, &'static str)]) -> Self {
        Self { under, ..self }
    }

    const fn also(self, also: &'static [(u16, &'static str)]) -> Self {
        Self { also, ..self }
    }

    const fn says(self, says: &'static str) -> Self {
        Self { says, ..self }
    }

    const fn never(self, never: &'static str) -> Self {
        Self { never, ..self }
    }

    /// What is wrong with the report; none when it is as it should be.
    fn judge(&self) -> Option<String> {
        let report = report(self.make);
        let is = |p: &Problem, (code, object): (u16, &str)| {
            p.check.code == code && p.finding.subject.to_string() == object
        };
        let errors: Vec<&Problem> =
            report.problems.iter().filter(|p| p.severity == Severity::Error).collect();
        let first = report.problems.first();
        let leads = first.is_some_and(|p| is(p, self.cause) && p.finding.message.contains(self.says));
        let safe = first.is_some_and(|p| !format!("{:?}", p.finding.remedy).contains(self.never));
        let also = self.also.iter().all(|also| errors.iter().any(|p| is(p, *also)));
        let expected = |p: &&&Problem| is(p, self.cause) || self.also.iter().any(|also| is(p, *also));
        let under = self
            .under
            .iter()
            .all(|under| first.is_some_and(|p| p.consequences.iter().any(|c| is(c, *under))));
        let alone = errors.iter().all(|p| expected(&p));
        let well = leads && safe && also && under && alone;
        (!well).then(|| format!("{}: {}", self.name, tree(&report)))
    }
}

fn report(change: impl FnOnce(&mut Snapshot)) -> Report {
    let mut snapshot = fixture::healthy();
    change(&mut snapshot);
    let facts = Facts::derive(&snapshot);
    Report::build(&facts, assess(&facts, CHECKS.iter().copied()), &Thresholds::default())
}

fn tree(report: &Report) -> String {
    let line = |p: &Problem| {
        format!("GA{} {:?} {}: {}", p.check.code, p.severity, p.finding.subject, p.finding.message)
    };
    let lines = report.problems.iter().flat_map(|p| {
        let below = p.consequences.iter().map(|c| format!("        {}", line(c)));
        std::iter::once(format!("    {}", line(p))).chain(below).collect::<Vec<_>>()
    });
    format!("\n{}", lines.collect::<Vec<_>>().join("\n"))
}

#[track_caller]
fn hold(cases: &[Case]) {
    let wrong: Vec<String> = cases.iter().filter_map(Case::judge).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
