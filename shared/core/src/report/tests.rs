//! Tests: verdicts, exit codes, and what stands under what.

use super::arrange::roots_of;
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
            git.status.conditions = fixture::fetch_failed("GitOperationFailed", "authentication required");
        }
    });
    let [(407, consequences)] = &tree(&report)[..] else { panic!("{:?}", tree(&report)) };
    assert!(consequences.contains(&407) && consequences.contains(&208), "{consequences:?}");
}

#[test]
fn a_scheme_that_agentk_does_not_know_explains_its_crash() {
    let report = report(|s| {
        let agent = fixture::deployment_mut(s, "gitlab-agent-v2");
        agent.spec.template.spec.containers[0].args[1] = "--kas-address=https://kas.example.com".to_owned();
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
    let on = |n: usize| crate::snapshot::kinds::CrossRef { name: format!("k{n:07}"), ..Default::default() };
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
