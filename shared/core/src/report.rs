//! Findings in the order in which to mend them: each cause with what follows from it, the verdict, the exit code.

#[cfg(test)]
mod causes;
#[cfg(test)]
mod knowing;
mod way;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use crate::assess::{Assessment, Check, Finding, Impact, Severity, Verdict};
use crate::facts::Facts;
use crate::facts::graph::Nearest;
use crate::object::ObjectRef;
use crate::snapshot::{Origin, Why, WhyKind};
pub use way::{Hop, Link, Mark, Way};

/// How a run ends: the process's exit code, and the same in the machine output (docs/exit-codes.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Nothing at or above the threshold.
    Fine,
    /// Problems at or above the threshold.
    Problems,
    /// The arguments made no sense.
    Usage,
    /// It could not find out: permissions missing, or part of the answer.
    Unknown,
    /// The cluster or GitLab could not be reached, or refused the credential.
    Unreachable,
    /// Refused before anything was changed.
    Refused,
    /// It failed, and what had been changed was undone.
    Undone,
    /// It stopped midway; `--resume` goes on.
    Midway,
    /// A defect of this program.
    Bug,
    /// What was to be written, to standard output or a file, could not be.
    Unwritten,
    /// The run's deadline passed.
    TimedOut,
    /// Ctrl-C.
    Interrupted,
    /// SIGTERM.
    Terminated,
    /// SIGHUP.
    HungUp,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Problems => 1,
            Self::Usage => 2,
            Self::Unknown => 3,
            Self::Unreachable => 4,
            Self::Refused => 5,
            Self::Undone => 6,
            Self::Midway => 7,
            Self::Bug => 70,
            Self::Unwritten => 74,
            Self::TimedOut => 124,
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::HungUp => 129,
        }
    }
}

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

/// Missing permissions (GA102) do not count as problems of the cluster: they are why something is not known.
fn exit(found: &[Problem], checks: &[CheckLine], facts: &Facts<'_>, fail_on: Severity) -> Exit {
    if facts.snapshot.server.get().is_err_and(|why| why.kind.is_silence()) {
        return Exit::Unreachable;
    }
    let denied = |p: &Problem| p.check.code == 102;
    // Nor is a GitLab that does not answer the cluster's problem.
    let gitlab = |p: &Problem| p.check.code == 105;
    if found.iter().any(|p| !denied(p) && !gitlab(p) && p.severity >= fail_on) {
        return Exit::Problems;
    }
    let silent = || {
        facts.gitlab().is_ok_and(|g| {
            let whys = [g.metadata.get().err(), g.token.get().err()];
            whys.into_iter().flatten().any(|why| why.kind.is_silence())
        })
    };
    if found.iter().any(|p| gitlab(p) && p.severity >= fail_on) {
        return if silent() { Exit::Unreachable } else { Exit::Unknown };
    }
    // The API server answered: what it left unanswered beside that is a gap, and the rest is judged.
    let lacking = || checks.iter().flat_map(|c| &c.unknown);
    if lacking().any(|why| why.kind.is_silence()) && silent() {
        return Exit::Unreachable;
    }
    // What was not asked for does not spoil the verdict: no GitLab given, or a run limited to a namespace.
    let could_not = lacking().any(|why| !why.kind.is_a_choice());
    let nothing_checked = found.is_empty() && !checks.iter().any(|c| c.verdict == Verdict::Pass);
    if could_not || nothing_checked || found.iter().any(denied) { Exit::Unknown } else { Exit::Fine }
}

/// Checks that see that something does not work rather than why: on one object, the others explain them.
const SYMPTOMS: &[u16] = &[208, 307, 308];

/// Puts each finding under the nearest cause, and the causes into the order in which to mend them.
///
/// A finding explains another when the other's object needs its object ([`crate::facts::graph::Graph`]), or when
/// both are on one object and its check says more of the reason: [`Finding::explains`], no [`SYMPTOMS`], then the lower code. Of
/// sources whose one credential is refused the first stands for all.
fn arrange(mut found: Vec<Problem>, facts: &Facts<'_>) -> Vec<Problem> {
    let class = |p: &Problem| (!p.finding.explains, SYMPTOMS.contains(&p.check.code));
    let rank = |p: &Problem| (class(p), p.check.code);
    found.sort_by(|a, b| (rank(a), &a.finding.subject).cmp(&(rank(b), &b.finding.subject)));
    let causes = Causes::new(&found, facts).all();
    let roots = roots_of(&causes);
    let mut places: Vec<Option<Problem>> = found.into_iter().map(Some).collect();
    let mut following: Vec<Vec<Problem>> = places.iter().map(|_| Vec::new()).collect();
    for (i, root) in roots.iter().enumerate().filter(|(i, root)| i != *root) {
        following[*root].extend(places[i].take());
    }
    let causes = places.into_iter().zip(following);
    let mut problems: Vec<Problem> = causes
        .filter_map(|(cause, consequences)| cause.map(|cause| Problem { consequences, ..cause }))
        .collect();
    problems.sort_by_cached_key(Problem::urgency);
    problems
}

/// What explains what, each looked up in what one walk over all findings and edges has collected.
struct Causes<'a> {
    found: &'a [Problem],
    facts: &'a Facts<'a>,
    /// By object and severity: the first finding that explains others of this severity.
    first: HashMap<&'a ObjectRef, [Option<usize>; 3]>,
    /// By severity: the nearest object with such a finding.
    nearest: [Nearest<'a>; 3],
    /// The first source that cannot be fetched for want of a credential, by the credential.
    refused: HashMap<ObjectRef, usize>,
}

const SEVERITIES: [Severity; 3] = [Severity::Info, Severity::Warning, Severity::Error];

impl<'a> Causes<'a> {
    fn new(found: &'a [Problem], facts: &'a Facts<'a>) -> Self {
        let mut first: HashMap<&ObjectRef, [Option<usize>; 3]> = HashMap::new();
        let mut refused = HashMap::new();
        for (i, problem) in found.iter().enumerate() {
            if problem.check.code == 407
                && let Some(credential) = facts.refused_credential(&problem.finding.subject)
            {
                refused.entry(credential).or_insert(i);
            }
            if breaks(problem) {
                let of_object = first.entry(&problem.finding.subject).or_default();
                for (of_severity, severity) in of_object.iter_mut().zip(SEVERITIES) {
                    *of_severity = of_severity.or((problem.severity >= severity).then_some(i));
                }
            }
        }
        let explains = |o: &ObjectRef, severity: Severity| first.get(o).and_then(|f| f[severity as usize]);
        let nearest = SEVERITIES.map(|severity| facts.graph.nearest(|o| explains(o, severity).is_some()));
        Self { found, facts, first, nearest, refused }
    }

    /// The finding that most directly explains each.
    fn all(&self) -> Vec<Option<usize>> {
        (0..self.found.len()).map(|i| self.of(i)).collect()
    }

    fn of(&self, i: usize) -> Option<usize> {
        let Problem { check, severity, finding, .. } = &self.found[i];
        if check.code == 102 || finding.subject == ObjectRef::cluster() {
            return None;
        }
        let on = |object: &ObjectRef| self.first.get(object).and_then(|f| f[*severity as usize]);
        on(&finding.subject)
            .filter(|j| *j < i)
            .or_else(|| self.same_credential(i))
            .or_else(|| on(self.nearest[*severity as usize].of(&finding.subject)?))
    }

    /// The first source that cannot be fetched for want of the same credential.
    fn same_credential(&self, i: usize) -> Option<usize> {
        let Problem { check, finding, .. } = &self.found[i];
        let own = self.facts.refused_credential(&finding.subject).filter(|_| check.code == 407)?;
        self.refused.get(&own).copied().filter(|first| *first < i)
    }
}

/// Warnings that keep things from working all the same.
const BREAKING: &[&str] = &["suspended", "webhooks-kept-out", "webhook-address-wrong"];

/// Whether what was found keeps its object from working, so that others may fail because of it.
fn breaks(problem: &Problem) -> bool {
    problem.check.code != 102
        && (problem.severity == Severity::Error || BREAKING.contains(&problem.check.slug))
}

/// Follows the cause of each to the first one; each is passed once. A cycle ends at its lowest index.
fn roots_of(causes: &[Option<usize>]) -> Vec<usize> {
    let mut roots: Vec<Option<usize>> = vec![None; causes.len()];
    let mut place_on_path: Vec<Option<usize>> = vec![None; causes.len()];
    for start in 0..causes.len() {
        let (mut path, mut at) = (Vec::new(), start);
        let root = loop {
            if let Some(known) = roots[at] {
                break known;
            }
            if let Some(place) = place_on_path[at] {
                break path[place..].iter().copied().min().unwrap_or(at);
            }
            place_on_path[at] = Some(path.len());
            path.push(at);
            match causes[at] {
                Some(next) => at = next,
                None => break at,
            }
        };
        for passed in path {
            roots[passed] = Some(root);
        }
    }
    roots.into_iter().enumerate().map(|(i, root)| root.unwrap_or(i)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assess::{CHECKS, assess};
    use crate::fixture;
    use crate::snapshot::{Observed, Snapshot};

    fn report(change: impl FnOnce(&mut Snapshot)) -> Report {
        let mut snapshot = fixture::healthy();
        change(&mut snapshot);
        let facts = Facts::derive(&snapshot);
        Report::build(&facts, assess(&facts, CHECKS.iter().copied()), &Thresholds::default())
    }

    #[test]
    fn a_healthy_cluster_is_fine() {
        let report = report(|_| {});
        assert_eq!((report.exit, report.verdict(), report.problems.len()), (Exit::Fine, "healthy", 0));
    }

    #[test]
    fn an_unreachable_cluster_is_one_problem() {
        let report = report(|s| {
            let why = Why::new(WhyKind::Unreachable, "everything", "connection refused");
            s.server = Observed::Unknown(why.clone());
            s.deployments = crate::snapshot::Listing::unknown(why);
        });
        assert_eq!((report.exit, report.problems.len()), (Exit::Unreachable, 1));
        assert_eq!(report.problems[0].check.code, 101);
    }

    #[test]
    fn a_missing_permission_is_unknown_and_a_problem_is_stronger() {
        let denied = report(|s| fixture::take_away(s, crate::need::Need::Secrets));
        assert_eq!(denied.exit, Exit::Unknown);
        let both = report(|s| {
            fixture::take_away(s, crate::need::Need::Leases);
            fixture::secret(s, "gitlab", "gitlab-agent-token").keys.clear();
        });
        assert_eq!(both.exit, Exit::Problems);
    }

    /// The codes of the problems, each with those that follow from it.
    fn tree(report: &Report) -> Vec<(u16, Vec<u16>)> {
        let codes = |p: &Problem| p.consequences.iter().map(|c| c.check.code).collect();
        report.problems.iter().map(|p| (p.check.code, codes(p))).collect()
    }

    #[test]
    fn one_dead_agent_token_is_one_problem() {
        let report = report(|s| {
            let line = r#"{"time":"2026-11-02T09:59:00Z","level":"ERROR","msg":"Failed to register agent pod","error":"code = Unauthenticated"}"#;
            s.logs[0].lines = Observed::Known(vec![line.to_owned()]);
            s.leases.items.clear();
            s.receivers.items.truncate(1);
        });
        assert_eq!(tree(&report), [(315, vec![401, 307, 308])]);
    }

    #[test]
    fn one_refused_credential_is_one_problem() {
        let report = report(|s| {
            for name in ["flux-system", "example-nginx-app"] {
                let git = fixture::git_mut(s, name);
                git.spec.secret_ref.as_mut().expect("a Secret").name = "flux-system".to_owned();
                git.status.conditions =
                    fixture::fetch_failed("GitOperationFailed", "authentication required");
            }
        });
        let [(407, consequences)] = &tree(&report)[..] else { panic!("{:?}", tree(&report)) };
        assert!(consequences.contains(&407) && consequences.contains(&208), "{consequences:?}");
    }

    #[test]
    fn a_scheme_that_agentk_does_not_know_explains_its_crash() {
        let report = report(|s| {
            let agent = fixture::deployment_mut(s, "gitlab-agent-v2");
            agent.spec.template.spec.containers[0].args[1] =
                "--kas-address=https://kas.example.com".to_owned();
            agent.status.ready_replicas = 0;
            agent.status.available_replicas = 0;
            s.logs[0].lines = Observed::Known(vec![
                "Program aborted: unsupported scheme in GitLab Kubernetes Agent Server address: \"https\""
                    .to_owned(),
            ]);
            s.leases.items.clear();
        });
        let [(306, consequences)] = &tree(&report)[..] else { panic!("{:?}", tree(&report)) };
        for code in [303, 307, 308, 315] {
            assert!(consequences.contains(&code), "{code}: {consequences:?}");
        }
    }

    #[test]
    fn what_keeps_webhooks_out_explains_that_none_came() {
        let report = report(|s| {
            s.services.items[0].spec.ports[0].port = 8080;
            let git = fixture::git_mut(s, "flux-system");
            git.status.artifact.as_mut().expect("an artifact").last_update_time =
                "2026-11-02T09:00:00Z".parse().ok();
        });
        assert_eq!(tree(&report), [(412, vec![409])]);
    }

    #[test]
    fn a_gitlab_that_does_not_answer_is_unreachable_and_a_problem_is_stronger() {
        let silent = |s: &mut Snapshot| {
            let why = Why::new(WhyKind::SignIn, "metadata", "401 Unauthorized");
            fixture::gitlab_mut(s).metadata = Observed::Unknown(why);
        };
        assert_eq!(report(silent).exit, Exit::Unreachable);
        let both = report(|s| {
            silent(s);
            fixture::secret(s, "gitlab", "gitlab-agent-token").keys.clear();
        });
        assert_eq!(both.exit, Exit::Problems);
    }

    /// Whatever has a side in the cluster keeps judging that side.
    #[test]
    fn removing_gitlab_turns_only_its_checks_unknown() {
        let why = Why::new(WhyKind::NoGitLab, "GitLab", "none given");
        let report = report(|s| s.gitlab = Observed::Unknown(why));
        assert_eq!((report.exit, report.problems.len()), (Exit::Fine, 0));
        for line in &report.checks {
            let needs = line.check.needs.iter().any(|n| n.row().group == "gitlab");
            let expected = if needs { Verdict::Unknown } else { Verdict::Pass };
            assert_eq!(line.verdict, expected, "{}: {line:?}", line.check.id());
        }
    }

    #[test]
    fn what_is_hidden_still_counts() {
        let mut report = report(|s| {
            fixture::git_mut(s, "flux-system").spec.suspend = true;
            fixture::secret(s, "gitlab", "gitlab-agent-token").keys.clear();
        });
        let numbers =
            |r: &Report| (r.exit, r.count(Severity::Error), r.count(Severity::Warning), r.findings().count());
        let (exit, errors, warnings, shown) = numbers(&report);
        assert!(errors > 0 && warnings > 0 && shown == errors + warnings, "{report:#?}");
        report.hide_below(Severity::Error);
        assert_eq!(numbers(&report), (exit, errors, warnings, errors));
        assert!(report.findings().all(|(p, _)| p.severity == Severity::Error));
    }

    #[test]
    fn what_users_lose_orders_independent_problems_and_permissions_follow() {
        let report = report(|s| {
            fixture::take_away(s, crate::need::Need::Leases);
            fixture::secret(s, "flux-system", "gitlab-status-flux-system").keys.clear();
            fixture::secret(s, "gitlab", "gitlab-agent-token").keys.clear();
            s.kustomizations.items[0].status.conditions = fixture::not_ready("BuildFailed", "x");
            fixture::deployment_mut(s, "nginx").status.ready_replicas = 0;
        });
        let codes: Vec<u16> = tree(&report).into_iter().map(|(code, _)| code).collect();
        assert_eq!(codes, [701, 408, 304, 505, 102]);
    }

    /// Shapes of what a cluster can hold, each with 5,000 objects: with a list gone through for each of them, one of
    /// these takes minutes, and with a call for each level it has no stack.
    #[test]
    fn large_and_deep_clusters_have_one_cause() {
        const MANY: usize = 5_000;
        let on =
            |n: usize| crate::snapshot::kinds::CrossRef { name: format!("k{n:07}"), ..Default::default() };
        type Depends<'a> = &'a dyn Fn(usize) -> Vec<usize>;
        let shapes: [(&str, Depends<'_>); 5] = [
            ("chain", &|n| n.checked_sub(1).into_iter().collect()),
            ("circle", &|n| vec![(n + 1) % MANY]),
            ("fan", &|n| if n == 0 { Vec::new() } else { vec![0] }),
            ("ladder", &|n| [n.checked_sub(1), n.checked_sub(2)].into_iter().flatten().collect()),
            ("nobody there", &|n| if n == 0 { Vec::new() } else { vec![0, n + MANY] }),
        ];
        for (name, depends) in shapes {
            let report = report(|s| {
                let example = s.kustomizations.items[0].clone();
                s.kustomizations.items.extend((0..MANY).map(|n| {
                    let mut k = example.clone();
                    k.metadata.name = format!("k{n:07}");
                    k.status.inventory.entries.clear();
                    k.spec.depends_on = depends(n).into_iter().map(on).collect();
                    k.status.conditions = fixture::not_ready("BuildFailed", "x");
                    k
                }));
            });
            let below = |p: &Problem| p.consequences.len();
            let most = report.problems.iter().map(below).max();
            assert_eq!(most, Some(MANY - 1), "{name}: {} causes", report.problems.len());
        }
    }

    #[test]
    fn a_cycle_of_causes_has_one_root() {
        assert_eq!(roots_of(&[Some(1), Some(2), Some(0)]), [0, 0, 0]);
        assert_eq!(roots_of(&[None, Some(0), Some(1)]), [0, 0, 0]);
        assert_eq!(roots_of(&[Some(2), Some(2), Some(3), Some(1)]), [1, 1, 1, 1], "a way into a circle");
    }
}
