//! The checks: each a static description and a pure function over [`Facts`], in a file of its own.
//!
//! To add one: a file here, its page `docs/checks/GAnnn.md`, a line in [`CHECKS`]. Numbers are public API: one that
//! was published is never used again.

mod blocked;
mod controller;
mod ending;
mod events_addr;
mod range;
mod release;
mod remedy;
mod standing;
mod workload;

use std::collections::{BTreeSet, HashSet};

use serde::Serialize;

use crate::facts::Facts;
use crate::facts::failure::FailureKey;
use crate::need::{Need, Reach, TABLE};
use crate::object::ObjectRef;
use crate::snapshot::kinds::HasMeta;
use crate::snapshot::{Listing, Why, WhyKind};
pub use remedy::Remedy;

macro_rules! checks {
    ($($module:ident),* $(,)?) => {
        $(mod $module;)*

        /// Every check, by code.
        pub static CHECKS: &[&Check] = &[$(&$module::CHECK),*];
    };
}

// In braces rustfmt leaves it one to a line, so that two changes meet without a conflict.
checks! {
    ga101,
    ga102,
    ga103,
    ga104,
    ga105,
    ga201,
    ga202,
    ga203,
    ga204,
    ga205,
    ga206,
    ga207,
    ga208,
    ga209,
    ga210,
    ga301,
    ga302,
    ga303,
    ga304,
    ga305,
    ga306,
    ga307,
    ga308,
    ga309,
    ga310,
    ga311,
    ga312,
    ga313,
    ga314,
    ga315,
    ga401,
    ga402,
    ga403,
    ga404,
    ga405,
    ga406,
    ga407,
    ga408,
    ga409,
    ga410,
    ga411,
    ga412,
    ga501,
    ga502,
    ga503,
    ga504,
    ga505,
    ga506,
    ga507,
    ga508,
    ga509,
    ga510,
    ga511,
    ga512,
    ga601,
    ga602,
    ga603,
    ga604,
    ga605,
    ga606,
    ga701,
    ga702,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Works today, and will not or should not for long.
    Warning,
    /// Something on the way from push to pod does not work.
    Error,
}

/// What users lose through a finding, the worst first: the order of independent problems of one severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Impact {
    /// Something that users need does not run.
    Workloads,
    /// Changes are not deployed.
    Delivery,
    /// Pushes are noticed late, or CI/CD jobs cannot use the agent.
    Pushes,
    /// Nobody is told what happened.
    Notifications,
    /// Nothing yet.
    Hygiene,
    /// Nothing: only what this run can see is limited. What is known to be broken comes before it.
    Visibility,
}

/// What a check found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It looked at something, knew all it needed, and found nothing wrong.
    Pass,
    /// There is nothing of its kind to look at here.
    Skipped,
    /// It lacks a fact.
    Unknown,
    /// It found something.
    Fail,
}

/// The part of the path that a check belongs to: the hundreds of its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// 1xx
    Access,
    /// 2xx
    Flux,
    /// 3xx
    Agentk,
    /// 4xx
    Reconciliation,
    /// 5xx
    Tokens,
    /// 6xx
    Versions,
    /// 7xx
    Workloads,
}

impl Area {
    /// All areas, by code.
    pub const ALL: [Self; 7] = [
        Self::Access,
        Self::Flux,
        Self::Agentk,
        Self::Reconciliation,
        Self::Tokens,
        Self::Versions,
        Self::Workloads,
    ];

    /// The heading that people read.
    pub fn title(self) -> &'static str {
        match self {
            Self::Access => "Access",
            Self::Flux => "Flux",
            Self::Agentk => "agentk",
            Self::Reconciliation => "Reconciliation",
            Self::Tokens => "Tokens",
            Self::Versions => "Versions",
            Self::Workloads => "Workloads",
        }
    }
}

/// A check's static description.
#[derive(Debug)]
pub struct Check {
    /// Its number: `304` for `GA304`.
    pub code: u16,
    /// The pattern found, in words: `token-secret-unusable`.
    pub slug: &'static str,
    /// What should hold.
    pub title: &'static str,
    /// Severity of its findings unless one says otherwise.
    pub severity: Severity,
    /// What users lose through its findings unless one says otherwise.
    pub impact: Impact,
    /// What it reads. Held by a test: taking one away makes it unknown, taking any other away changes nothing.
    pub needs: &'static [Need],
    /// Its page.
    pub page: &'static str,
    /// Judges.
    pub judge: Judge,
}

/// The function of a check. `Err` means that it cannot say more because it lacks a fact.
pub type Judge = fn(&Facts<'_>, &mut Judgement) -> Result<(), Why>;

impl Check {
    /// `GA304`.
    pub fn id(&self) -> String {
        format!("GA{}", self.code)
    }

    /// Its area.
    pub fn area(&self) -> Area {
        Area::ALL[usize::from(self.code / 100).clamp(1, 7) - 1]
    }

    /// Finds a check by code (`GA304`, `304`, any case) or slug.
    pub fn named(name: &str) -> Option<&'static Self> {
        let digits = name.strip_prefix("GA").or_else(|| name.strip_prefix("ga")).unwrap_or(name);
        CHECKS.iter().copied().find(|c| c.slug == name || digits.parse() == Ok(c.code))
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Severity, where it differs from the check's.
    pub severity: Option<Severity>,
    /// What users lose, where it differs from the check's.
    pub impact: Option<Impact>,
    /// Whether it says why the other findings on its object are made.
    pub explains: bool,
    /// Class and peer of the failure that it shows: findings with the same are one problem.
    pub failure: Option<FailureKey>,
    /// The object that is not as it should be. Consequences are found through it.
    pub subject: ObjectRef,
    /// What is, in one sentence without a full stop; the subject is named before it.
    pub message: String,
    /// What shows it, for example the text of a condition.
    pub evidence: Vec<String>,
    /// What to do.
    pub remedy: Remedy,
}

impl Finding {
    /// A finding on `subject`.
    pub fn new(subject: ObjectRef, message: impl Into<String>, remedy: Remedy) -> Self {
        Self {
            severity: None,
            impact: None,
            explains: false,
            failure: None,
            subject,
            message: message.into(),
            evidence: Vec::new(),
            remedy,
        }
    }

    /// Adds what shows it; empty text adds nothing.
    #[must_use]
    pub fn because(mut self, evidence: impl Into<String>) -> Self {
        let evidence = evidence.into();
        if !evidence.trim().is_empty() {
            self.evidence.push(evidence);
        }
        self
    }

    /// Says that the other findings on its object follow from it.
    #[must_use]
    pub fn explains(mut self) -> Self {
        self.explains = true;
        self
    }

    /// Says which failure it shows, where that is certain.
    #[must_use]
    pub fn failure(mut self, failure: Option<FailureKey>) -> Self {
        self.failure = failure;
        self
    }

    /// Says that users lose something other than the check says.
    #[must_use]
    pub fn impact(mut self, impact: Impact) -> Self {
        self.impact = Some(impact);
        self
    }

    /// Gives it a severity other than the check's.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = Some(severity);
        self
    }
}

/// What a check writes while it judges.
#[derive(Debug, Default)]
pub struct Judgement {
    /// What it found.
    pub findings: Vec<Finding>,
    /// What it would need to know more.
    pub unknown: Vec<Why>,
    /// How many things it looked at. A check that looked at nothing has not passed: it is skipped.
    pub examined: usize,
    /// Why there was nothing to look at.
    pub skipped: Option<&'static str>,
    /// What is among [`Judgement::unknown`] already.
    noted: HashSet<Why>,
}

impl Judgement {
    /// The items of a listing; that more may exist is noted.
    pub fn each<'s, T: HasMeta>(&mut self, listing: &'s Listing<T>) -> &'s [T] {
        for why in &listing.gaps {
            self.lacks(why.clone());
        }
        &listing.items
    }

    /// Notes that a fact is lacking.
    pub fn lacks(&mut self, why: Why) {
        if self.noted.insert(why.clone()) {
            self.unknown.push(why);
        }
    }

    /// Notes that it is too early to tell, and of what: something has just begun and may still come out either way.
    pub fn too_early(&mut self, of: impl std::fmt::Display, message: impl Into<String>) {
        self.lacks(Why::new(WhyKind::TooEarly, of.to_string(), message));
    }

    /// The value, or nothing and a note that it is lacking.
    pub fn known<T>(&mut self, fact: Result<T, Why>) -> Option<T> {
        fact.map_err(|why| self.lacks(why)).ok()
    }

    /// Notes that one more thing was looked at.
    pub fn examine(&mut self) {
        self.examined += 1;
    }

    /// Adds a finding.
    pub fn find(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Says why there is nothing to look at.
    pub fn skip(&mut self, reason: &'static str) {
        self.skipped = Some(reason);
    }

    /// The verdict.
    pub fn verdict(&self) -> Verdict {
        if !self.findings.is_empty() {
            Verdict::Fail
        } else if !self.unknown.is_empty() {
            Verdict::Unknown
        } else if self.examined == 0 {
            Verdict::Skipped
        } else {
            Verdict::Pass
        }
    }
}

/// A check with what it found out.
#[derive(Debug)]
pub struct Assessment {
    /// The check.
    pub check: &'static Check,
    /// What it wrote.
    pub judgement: Judgement,
}

/// What checks read. GA102 judges what the others need; alone it judges everything that is read.
pub fn needs(checks: &[&Check]) -> BTreeSet<Need> {
    match checks {
        [only] if only.code == 102 => TABLE.iter().map(|row| row.need).collect(),
        all => all.iter().flat_map(|check| check.needs.iter().copied()).collect(),
    }
}

/// What checks read only where something is wrong, or where a NetworkPolicy allows ranges of addresses. Without it they
/// know less of what they find.
const WHERE_IT_FAILS: &[(&[u16], &[Need])] = &[
    (&[201], &[Need::Deployments]),
    (&[202, 203, 204, 205, 701, 702], &[Need::Pods, Need::PodLogs, Need::Events]),
    (&[209, 210], &[Need::Pods, Need::Services, Need::Namespaces]),
    (&[210], &[Need::Alerts, Need::Providers]),
    (&[701, 702], &[Need::Secrets]),
];

/// What checks read in all: what they need, and what they read where something fails.
pub fn reads(checks: &[&Check]) -> BTreeSet<Need> {
    let mut all = needs(checks);
    let chosen = |codes: &[u16]| checks.iter().any(|check| codes.contains(&check.code));
    let more = WHERE_IT_FAILS.iter().filter(|(codes, _)| chosen(codes));
    all.extend(more.flat_map(|(_, needs)| needs.iter().copied()));
    all
}

/// Whether one of the checks reads what failing objects reference ([`crate::need::ON_FAILURE`]).
pub fn reads_references(checks: &[&Check]) -> bool {
    checks.iter().any(|check| [701, 702].contains(&check.code))
}

/// Runs checks.
pub fn assess(facts: &Facts<'_>, checks: impl IntoIterator<Item = &'static Check>) -> Vec<Assessment> {
    let unseen = facts.unseen_namespace();
    let run = |check: &'static Check| {
        let mut judgement = Judgement::default();
        let is_limited =
            |need: &Need| matches!(need.row().reach, Reach::AllNamespaces | Reach::SomeNamespaces);
        if let Some(why) = unseen.clone().filter(|_| check.needs.iter().any(is_limited)) {
            judgement.lacks(why);
        }
        if let Err(why) = (check.judge)(facts, &mut judgement) {
            judgement.lacks(why);
        }
        Assessment { check, judgement }
    };
    checks.into_iter().map(run).collect()
}

#[cfg(test)]
pub(crate) mod testing {
    //! Tests are tables through one helper: start healthy, change one thing, expect one outcome.

    use super::{Check, Finding, Judgement, Verdict};
    use crate::facts::Facts;
    use crate::fixture;
    use crate::snapshot::{Snapshot, WhyKind};

    /// Judges the healthy snapshot after one change.
    pub(crate) fn after(check: &'static Check, change: impl FnOnce(&mut Snapshot)) -> Judgement {
        let mut snapshot = fixture::healthy();
        change(&mut snapshot);
        let facts = Facts::derive(&snapshot);
        super::assess(&facts, [check]).remove(0).judgement
    }

    /// The only finding after one change.
    #[track_caller]
    pub(crate) fn finding(check: &'static Check, change: impl FnOnce(&mut Snapshot)) -> Finding {
        let mut judgement = after(check, change);
        assert_eq!(judgement.findings.len(), 1, "one finding: {judgement:#?}");
        judgement.findings.remove(0)
    }

    /// Asserts that after a change it is too early to tell.
    #[track_caller]
    pub(crate) fn too_early(check: &'static Check, change: impl FnOnce(&mut Snapshot)) {
        let judgement = after(check, change);
        let early = judgement.unknown.iter().all(|why| why.kind == WhyKind::TooEarly);
        assert!(early && judgement.verdict() == Verdict::Unknown, "{judgement:#?}");
    }

    /// Asserts that a change leaves the check passing.
    #[track_caller]
    pub(crate) fn passes(check: &'static Check, change: impl FnOnce(&mut Snapshot)) {
        let judgement = after(check, change);
        assert_eq!(judgement.verdict(), Verdict::Pass, "{judgement:#?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn all_checks_together_need_all_that_is_read() {
        let all: BTreeSet<Need> = TABLE.iter().map(|row| row.need).collect();
        assert_eq!(needs(CHECKS), all);
        let named = |name| Check::named(name).expect("a check");
        assert_eq!(needs(&[named("GA102")]), all);
        assert_eq!(needs(&[named("GA102"), named("GA202")]), needs(&[named("GA202")]));
    }

    #[test]
    fn codes_and_slugs_are_sorted_and_unique() {
        assert!(CHECKS.is_sorted_by(|a, b| a.code < b.code));
        for check in CHECKS {
            assert_eq!(CHECKS.iter().filter(|c| c.slug == check.slug).count(), 1, "{}", check.slug);
            assert!(std::ptr::eq(Check::named(&check.id()).expect("found"), *check));
            assert!(std::ptr::eq(Check::named(check.slug).expect("found"), *check));
        }
    }

    #[test]
    fn every_check_passes_on_a_healthy_cluster() {
        let snapshot = fixture::healthy();
        for assessment in assess(&Facts::derive(&snapshot), CHECKS.iter().copied()) {
            let id = assessment.check.id();
            assert_eq!(assessment.judgement.verdict(), Verdict::Pass, "{id}: {:#?}", assessment.judgement);
        }
    }

    /// Declared needs are the ones that are read: without any of them the check is unknown, and it does not
    /// change without the others.
    #[test]
    fn a_check_without_a_fact_is_unknown_and_others_do_not_change() {
        for row in TABLE {
            let mut snapshot = fixture::healthy();
            fixture::take_away(&mut snapshot, row.need);
            for assessment in assess(&Facts::derive(&snapshot), CHECKS.iter().copied()) {
                let (check, verdict) = (assessment.check, assessment.judgement.verdict());
                let expected = if check.code == 102 && !row.verb.is_empty() {
                    Verdict::Fail
                } else if check.needs.contains(&row.need) {
                    Verdict::Unknown
                } else {
                    Verdict::Pass
                };
                assert_eq!(
                    verdict,
                    expected,
                    "{} without {:?}: {:#?}",
                    check.id(),
                    row.need,
                    assessment.judgement
                );
            }
        }
    }

    #[test]
    fn every_page_has_its_headings() {
        for check in CHECKS {
            let page = check.page;
            assert!(
                page.starts_with(&format!("# {} — {}\n", check.id(), check.slug)),
                "{}: first line",
                check.id()
            );
            for heading in
                ["## What it looks at", "## Why it matters", "## How to mend it", "## When to skip it"]
            {
                assert!(page.contains(heading), "{}: {heading}", check.id());
            }
        }
    }
}
