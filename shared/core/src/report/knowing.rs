//! Tests: not knowing is never a pass. What has just begun, and what nothing was looked at, ends with "unknown".

use jiff::{SignedDuration, Timestamp};

use super::{Exit, Report, Thresholds};
use crate::assess::{CHECKS, Check, Verdict, assess};
use crate::facts::Facts;
use crate::fixture;
use crate::need::TABLE;
use crate::snapshot::kinds::{Condition, Source};
use crate::snapshot::{Listing, Observed, Snapshot, Why, WhyKind};

fn ago(seconds: i64) -> Option<Timestamp> {
    let now: Timestamp = fixture::NOW.parse().expect("a time");
    Some(now - SignedDuration::from_secs(seconds))
}

fn ready(status: &str, reason: &str, seconds: i64) -> Vec<Condition> {
    vec![Condition {
        kind: "Ready".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: "working".to_owned(),
        last_transition_time: ago(seconds),
        ..Condition::default()
    }]
}

fn report(checks: &[&'static Check], change: impl FnOnce(&mut Snapshot)) -> Report {
    let mut snapshot = fixture::healthy();
    change(&mut snapshot);
    let facts = Facts::derive(&snapshot);
    Report::build(&facts, assess(&facts, checks.iter().copied()), &Thresholds::default())
}

fn start_agentk(s: &mut Snapshot, seconds: i64) {
    for pod in &mut s.pods.items {
        pod.status.container_statuses.clear();
        pod.status.start_time = ago(seconds);
    }
}

fn young(source: &mut Source) {
    source.metadata.creation_timestamp = ago(5);
    source.status = Default::default();
}

type Change = fn(&mut Snapshot);

/// Something has just begun, and the check that cannot yet tell how it comes out.
const EARLY: &[(&str, u16, Change)] = &[
    ("agentk started and has no Lease yet", 307, |s| {
        s.leases.items.clear();
        start_agentk(s, 10);
    }),
    ("agentk started, and the Lease is still that of the pods before", 307, |s| {
        s.leases.items[0].spec.holder_identity = "gone".to_owned();
        start_agentk(s, 10);
    }),
    ("agentk started and has no leader yet", 308, |s| {
        s.leases.items.clear();
        start_agentk(s, 59);
    }),
    ("the leader is gone, and another pod takes over", 308, |s| {
        s.leases.items[0].spec.holder_identity = "gitlab-agent-v2-0_61f2".to_owned();
    }),
    ("the leader is gone, and nobody is connected in its place yet", 307, |s| {
        s.leases.items[0].spec.holder_identity = "gitlab-agent-v2-0_61f2".to_owned();
    }),
    ("agentk started and has logged nothing yet", 315, |s| {
        s.logs.iter_mut().for_each(|log| log.lines = Observed::Known(Vec::new()));
        start_agentk(s, 10);
    }),
    ("agentk is being rolled out", 303, |s| {
        fixture::deployment_mut(s, "gitlab-agent-v2").status.updated_replicas = 1;
    }),
    ("a controller's new spec is not yet acted on", 202, |s| {
        fixture::deployment_mut(s, "source-controller").metadata.generation = 2;
    }),
    ("a workload is being rolled out", 701, |s| {
        fixture::deployment_mut(s, "nginx").status.updated_replicas = 0;
    }),
    ("a GitRepository was just made", 407, |s| young(fixture::git_mut(s, "example-nginx-app"))),
    ("a GitRepository was just made and has no Receiver", 401, |s| {
        young(fixture::git_mut(s, "example-nginx-app"));
        s.receivers.items.retain(|r| !r.metadata.name.contains("example"));
    }),
    ("a HelmRepository is fetched for the first time", 407, |s| {
        let repository = &mut s.helm_repositories.items[0];
        young(repository);
        repository.status.conditions = ready("Unknown", "Progressing", 3);
    }),
    ("a GitRepository's new spec is not yet observed", 407, |s| {
        let git = fixture::git_mut(s, "flux-system");
        git.metadata.generation = 2;
        git.status.conditions = ready("True", "Succeeded", 100);
    }),
    ("a Receiver was just made", 402, |s| {
        let receiver = &mut s.receivers.items[0];
        receiver.metadata.creation_timestamp = ago(5);
        receiver.status = Default::default();
    }),
    ("a Kustomization was just made", 408, |s| {
        let k = &mut s.kustomizations.items[0];
        k.metadata.creation_timestamp = ago(5);
        k.status = Default::default();
    }),
    ("a Kustomization is applied for the first time", 408, |s| {
        let k = &mut s.kustomizations.items[0];
        k.status.last_applied_revision.clear();
        k.status.conditions = ready("Unknown", "Progressing", 30);
    }),
    ("a Kustomization waits for another one", 408, |s| {
        s.kustomizations.items[1].status.conditions = ready("False", "DependencyNotReady", 30);
    }),
    ("a Kustomization's new spec is being applied", 408, |s| {
        let k = &mut s.kustomizations.items[0];
        k.metadata.generation = 2;
        k.status.conditions = ready("Unknown", "Progressing", 30);
    }),
    ("a source has just got a revision that is not applied yet", 408, |s| {
        let artifact = fixture::git_mut(s, "flux-system").status.artifact.as_mut().expect("an artifact");
        artifact.revision = "main@sha1:2222222222222222222222222222222222222222".to_owned();
        artifact.last_update_time = ago(10);
    }),
    ("a HelmRelease is being installed", 408, |s| {
        let release = &mut s.helm_releases.items[0];
        release.status.history.clear();
        release.status.conditions = ready("Unknown", "Progressing", 30);
    }),
    ("a HelmRelease is being upgraded", 408, |s| {
        let release = &mut s.helm_releases.items[0];
        release.status.history[0].status = "pending-upgrade".to_owned();
        release.status.conditions = ready("Unknown", "Progressing", 30);
    }),
    ("the bootstrap Kustomization was never ready yet", 208, |s| {
        let k = s.kustomizations.items.iter_mut().find(|k| k.metadata.name == "flux-system").expect("it");
        k.metadata.creation_timestamp = ago(5);
        k.status = Default::default();
    }),
];

/// Something that is done is done again, as happens at every interval: that is no news.
const AGAIN: &[(&str, u16, Change)] = &[
    ("a Kustomization is applied again at the same revision", 408, |s| {
        s.kustomizations.items[0].status.conditions = ready("Unknown", "Progressing", 30);
    }),
    ("a release is looked at again", 408, |s| {
        s.helm_releases.items[0].status.conditions = ready("Unknown", "Progressing", 30);
    }),
    ("a source is looked at again", 407, |s| {
        fixture::git_mut(s, "flux-system").status.conditions = ready("Unknown", "Progressing", 30);
    }),
    ("a Receiver is looked at again", 402, |s| {
        let status = &mut s.receivers.items[0].status;
        status.webhook_path.0 = "/hook/0".to_owned();
        status.conditions = ready("Unknown", "Progressing", 30);
    }),
    ("agentk started, and its Lease is there", 307, |s| start_agentk(s, 10)),
];

#[test]
fn what_has_just_begun_is_no_pass() {
    for (name, code, change) in EARLY {
        let check = Check::named(&code.to_string()).expect("a check");
        for checks in [&[check][..], CHECKS] {
            let report = report(checks, change);
            assert_eq!(report.exit, Exit::Unknown, "{name}: {:#?}", report.problems);
            assert!(report.is_early(), "{name}");
            let line = report.checks.iter().find(|line| line.check.code == *code).expect("it ran");
            let early = line.unknown.iter().any(|why| why.kind == WhyKind::TooEarly);
            assert!(early && line.verdict != Verdict::Pass, "{name}: {line:?}");
        }
    }
}

#[test]
fn what_is_done_again_is_no_news() {
    for (name, code, change) in AGAIN {
        let check = Check::named(&code.to_string()).expect("a check");
        let report = report(&[check], change);
        assert_eq!(report.exit, Exit::Fine, "{name}: {:#?}", report.checks);
    }
}

/// Whatever is taken away, and for whatever reason: a run that ends with 0 has a check that passed, or shows a finding.
type BoxedChange = Box<dyn Fn(&mut Snapshot)>;

#[test]
fn a_run_that_checked_nothing_is_not_fine() {
    let nothing: fn(&mut Snapshot) = |s| {
        for listing in [&mut s.deployments, &mut s.stateful_sets, &mut s.daemon_sets] {
            listing.items.clear();
        }
        s.git_repositories.items.clear();
        s.helm_repositories.items.clear();
        s.helm_charts.items.clear();
        s.kustomizations.items.clear();
        s.helm_releases.items.clear();
        s.receivers.items.clear();
        s.providers.items.clear();
        s.alerts.items.clear();
        s.secrets.clear();
        s.access.clear();
    };
    let without_gitlab: fn(&mut Snapshot) =
        |s| s.gitlab = Observed::Unknown(Why::new(WhyKind::NoGitLab, "GitLab", "none given"));
    let mut changes: Vec<BoxedChange> = vec![Box::new(nothing), Box::new(without_gitlab)];
    changes.extend(TABLE.iter().map(|row| -> BoxedChange {
        Box::new(|s| {
            fixture::take_away(s, row.need);
            s.access.clear();
        })
    }));
    for check in CHECKS {
        for (at, change) in changes.iter().enumerate() {
            let report = report(&[check], change);
            let found = !report.problems.is_empty();
            let passed = report.verdicts(Verdict::Pass) > 0;
            assert!(report.exit != Exit::Fine || passed || found, "{} after change {at}", check.id());
        }
    }
}

/// A range of addresses that alone could allow a connection, where the pods' addresses are not known.
#[test]
fn addresses_that_are_not_known_are_no_pass() {
    let block = serde_json::json!([{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]);
    for code in ["209", "210"] {
        let check = Check::named(code).expect("a check");
        let (namespace, name) =
            if code == "209" { ("gitlab", "egress") } else { ("flux-system", "allow-egress") };
        let report = report(&[check], |s| {
            let own = |p: &&mut crate::snapshot::kinds::NetworkPolicy| {
                (p.metadata.namespace.as_str(), p.metadata.name.as_str()) == (namespace, name)
            };
            let policy = s.network_policies.items.iter_mut().find(own).expect("a policy");
            policy.spec.egress = serde_json::from_value(block.clone()).expect("rules");
        });
        assert_eq!((report.exit, report.problems.len()), (Exit::Unknown, 0), "{code}: {:?}", report.checks);
    }
}

/// One list that does not come is a gap: the rest is judged, and the cluster was reached.
#[test]
fn one_silent_list_is_a_gap() {
    for kind in [WhyKind::TimedOut, WhyKind::Unreachable, WhyKind::Intercepted, WhyKind::SignIn] {
        let report =
            report(CHECKS, |s| s.receivers = Listing::unknown(Why::new(kind, "list receivers", "no")));
        assert_eq!((report.exit, report.verdict()), (Exit::Unknown, "unknown"), "{kind:?}");
        assert!(report.verdicts(Verdict::Pass) > 30, "{kind:?}");
    }
}

/// A run that is limited to a namespace of which nobody knows whether it exists has found out nothing.
#[test]
fn a_namespace_that_nobody_could_look_up_is_a_gap() {
    let limited = |kind: Option<WhyKind>| {
        report(CHECKS, |s| {
            s.namespaces = vec!["shpo".to_owned()];
            match kind {
                Some(kind) => s.namespace_objects = Listing::unknown(Why::new(kind, "list namespaces", "no")),
                None => {
                    let mut found = s.namespace_objects.items[0].clone();
                    found.metadata.name = "shpo".to_owned();
                    s.namespace_objects.items.push(found);
                }
            }
        })
    };
    for kind in
        [WhyKind::Unreadable, WhyKind::Intercepted, WhyKind::TimedOut, WhyKind::NotServed, WhyKind::SignIn]
    {
        let report = limited(Some(kind));
        assert_eq!(report.exit, Exit::Unknown, "{kind:?}");
        let asked = "whether namespace shpo exists";
        assert!(report.checks.iter().any(|c| c.unknown.iter().any(|why| why.asked == asked)), "{kind:?}");
    }
    let of = |report: &Report| {
        report
            .checks
            .iter()
            .flat_map(|c| &c.unknown)
            .filter(|w| w.asked.starts_with("whether namespace"))
            .count()
    };
    assert_eq!(of(&limited(Some(WhyKind::Forbidden))), 0, "what one may not read is believed");
    assert_eq!((limited(None).exit, of(&limited(None))), (Exit::Fine, 0));
}

/// Pods that live and whose log was not read: nothing is known of the connection, and that counts.
#[test]
fn a_log_that_was_not_read_is_a_gap_that_counts() {
    for left in 0..2 {
        let report = report(CHECKS, |s| s.logs.truncate(left));
        assert_eq!(report.exit, Exit::Unknown, "{left} logs");
        for code in [307, 315] {
            let line = report.checks.iter().find(|line| line.check.code == code).expect("it ran");
            assert_eq!(line.verdict, Verdict::Unknown, "{left} logs: GA{code}");
        }
    }
}
