//! GA315: agentk's log shows no fault.

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::command::kubectl;
use crate::facts::agent::Agent;
use crate::facts::failure::{Failing, FailureKey, read};
use crate::facts::log::{Effect, LogLine, Rule, reading};
use crate::facts::{Facts, Why};
use crate::need::Need;
use crate::text::{age, count, span};

pub(super) static CHECK: Check = Check {
    code: 315,
    slug: "agentk-log-fault",
    title: "agentk's recent log shows no fault",
    severity: Severity::Error,
    impact: Impact::Pushes,
    needs: &[Need::Deployments, Need::Pods, Need::PodLogs],
    page: include_str!("../../../../docs/checks/GA315.md"),
    judge,
};

/// How many lines are shown that no rule knows.
const UNKNOWN_SHOWN: usize = 3;

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    for why in facts.agent_gaps() {
        judgement.lacks(why.clone());
    }
    for agent in &facts.agents {
        let Some(living) = judgement.known(agent.living()) else { continue };
        for why in agent.log_gaps.iter().cloned() {
            judgement.lacks(why);
        }
        let Some(faults) = judgement.known(agent.present_faults(facts.now)) else { continue };
        let has_lines = agent.lines.as_ref().is_ok_and(|lines| !lines.is_empty());
        if !has_lines && let Some(Some(why)) = judgement.known(agent.just_started(facts.now)) {
            judgement.too_early(format!("log of {}", agent.object()), why.message);
        }
        if has_lines || !living.is_empty() {
            judgement.examine();
        }
        for (rule, line) in faults {
            judgement.find(known(facts, agent, rule, line));
        }
        let unknown = agent.unknown_errors(facts.now)?;
        if !unknown.is_empty() {
            judgement.find(unexplained(agent, &unknown));
        }
        judgement.findings.extend(cut_off(facts, agent));
    }
    judgement.skip("no agentk runs here");
    Ok(())
}

/// A refused token is the Secret's fault, unless the pods started before it changed: what agentk cannot do without it is then shown under the Secret.
fn known(facts: &Facts<'_>, agent: &Agent<'_>, rule: &Rule, line: &LogLine) -> Finding {
    let remedy = Remedy::of_fault(agent, rule);
    let refused = rule.effect == Effect::TokenRefused;
    let (subject, message) = match agent.secret_object().filter(|_| refused) {
        Some(_) if agent.runs_with_an_old_token() => {
            (agent.object(), "runs with an old token, which GitLab refuses; its Secret holds a newer one".to_owned())
        }
        Some(secret) => (secret, format!("holds a token that does not work: {}", rule.cause)),
        None => (agent.object(), format!("logs a fault: {}", rule.cause)),
    };
    let when = line.at.map(|at| format!("{} ago: ", age(facts.now, at))).unwrap_or_default();
    let text = line.text();
    let who = Failing { url: agent.kas_address().unwrap_or_default(), ..Failing::default() };
    let key = rule.is_of_connection().then(|| FailureKey::of(read(&text), &text, &who)).flatten();
    let finding = Finding::new(subject, message, remedy).failure(key).because(format!("{when}{text}"));
    if rule.effect == Effect::Other { finding.severity(Severity::Warning) } else { finding }
}

/// Each single end of a connection is normal; many in a row come from something that stands before kas.
fn cut_off(facts: &Facts<'_>, agent: &Agent<'_>) -> Option<Finding> {
    let (every, line) = reading::cut_off_every(agent.lines.as_ref().ok()?, facts.now)?;
    let message = format!(
        "loses its connection to kas every {}: something before kas ends connections that are idle",
        span(every)
    );
    let remedy = Remedy::say(
        "let the load balancer or proxy before kas keep idle connections for longer (nginx: proxy_read_timeout and \
         proxy_send_timeout); agentk connects again each time, and misses what GitLab sends in between",
    );
    let finding = Finding::new(agent.object(), message, remedy).because(line.text());
    Some(finding.severity(Severity::Info))
}

fn unexplained(agent: &Agent<'_>, lines: &[&LogLine]) -> Finding {
    let selector = &agent.deployment.spec.selector.match_labels;
    let selector: Vec<String> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let remedy = Remedy::say("read the log; restart agentk where it does not recover by itself").run(
        kubectl(agent.namespace(), "logs -l").word(selector.join(",")).words("--prefix --tail=100"),
    );
    let message = format!("logs {} of an unknown kind", count(lines.len(), "error"));
    let newest = &lines[lines.len().saturating_sub(UNKNOWN_SHOWN)..];
    let finding = Finding::new(agent.object(), message, remedy).severity(Severity::Warning);
    newest.iter().fold(finding, |finding, line| finding.because(line.text()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::Observed;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn logs(lines: &[&str]) -> impl FnOnce(&mut Snapshot) {
        let lines = lines.iter().map(|l| (*l).to_owned()).collect();
        move |s| s.logs[0].lines = Observed::Known(lines)
    }

    #[test]
    fn a_refused_token_is_found_at_the_secret() {
        let line = r#"{"time":"2026-11-02T09:58:00Z","level":"ERROR","msg":"Failed to register agent pod","error":"code = Unauthenticated"}"#;
        let found = finding(&CHECK, logs(&[line, line]));
        assert_eq!(found.subject.to_string(), "Secret gitlab/gitlab-agent-token");
        assert!(found.message.starts_with("holds a token that does not work: GitLab refuses"), "{}", found.message);
        assert_eq!(found.evidence, ["2m ago: Failed to register agent pod: code = Unauthenticated"]);
        assert_eq!(found.remedy.commands.len(), 2);
    }

    #[test]
    fn a_refused_token_that_the_secret_no_longer_holds_is_agentks_fault() {
        let line = r#"{"time":"2026-11-02T09:58:00Z","level":"ERROR","msg":"x","error":"code = Unauthenticated"}"#;
        let found = finding(&CHECK, |s| {
            logs(&[line])(s);
            let token = fixture::secret(s, "gitlab", "gitlab-agent-token").keys.get_mut("token").expect("a token");
            token.changed_at = "2026-11-02T09:00:00Z".parse().ok();
        });
        assert_eq!(found.subject.to_string(), "Deployment gitlab/gitlab-agent-v2");
        assert_eq!(found.message, "runs with an old token, which GitLab refuses; its Secret holds a newer one");
        assert_eq!(found.remedy.lines(), ["kubectl -n gitlab rollout restart deployment/gitlab-agent-v2"]);
    }

    #[test]
    fn each_fault_is_found_once_with_its_severity() {
        let refused = r#"{"time":"2026-11-02T09:58:00Z","level":"ERROR","msg":"x","error":"connection refused"}"#;
        let lease = r#"{"time":"2026-11-02T09:57:00Z","level":"WARN","msg":"failed to renew lease gitlab/agent-7-lock"}"#;
        let led = after(&CHECK, logs(&[refused, lease, refused]));
        assert_eq!(led.findings.len(), 1, "a living pod holds the Lease, so that fault is over: {led:#?}");
        let judgement = after(&CHECK, |s| {
            logs(&[refused, lease, refused])(s);
            s.leases.items.clear();
        });
        let found: Vec<_> = judgement.findings.iter().map(|f| (f.severity, f.message.as_str())).collect();
        assert_eq!(
            found,
            [
                (None, "logs a fault: nobody listens at kasAddress"),
                (
                    Some(Severity::Warning),
                    "logs a fault: the leader could not renew its Lease in time: the API server was slow or away"
                ),
            ]
        );
    }

    #[test]
    fn the_flux_module_that_is_off_stays_a_fault_until_a_restart() {
        let line = r#"{"time":"2026-11-01T09:00:05Z","level":"INFO","msg":"Flux could not be detected or the Agent is missing RBAC, skipping module. A restart is required for this to be checked again","mod_name":"flux"}"#;
        let found = finding(&CHECK, logs(&[line]));
        assert_eq!((found.severity, found.subject.kind.as_str()), (None, "Deployment"));
        assert_eq!(found.remedy.lines(), ["kubectl -n gitlab rollout restart deployment/gitlab-agent-v2"]);
    }

    #[test]
    fn a_missing_permission_comes_with_its_grant() {
        let line = r#"{"time":"2026-11-02T09:59:00Z","level":"ERROR","msg":"Failed to reconcile GitRepository","error":"failed to apply Receiver: receivers is forbidden: User x cannot patch resource"}"#;
        let commands = finding(&CHECK, logs(&[line])).remedy.lines();
        assert_eq!(
            commands,
            [
                "kubectl -n gitlab create clusterrole default-receivers --verb=get,list,watch,create,patch \
                 --resource=receivers.notification.toolkit.fluxcd.io",
                "kubectl -n gitlab create clusterrolebinding default-receivers --clusterrole=default-receivers \
                 --serviceaccount=gitlab:default",
            ]
        );
    }

    #[test]
    fn unknown_errors_are_shown_as_they_are() {
        let line = |n: u8| format!(r#"{{"time":"2026-11-02T09:58:0{n}Z","level":"ERROR","msg":"new {n}"}}"#);
        let lines: Vec<String> = (0..4).map(line).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let found = finding(&CHECK, logs(&lines));
        assert_eq!((found.severity, found.message.as_str()), (Some(Severity::Warning), "logs 4 errors of an unknown kind"));
        assert_eq!(found.evidence, ["new 1", "new 2", "new 3"]);
        assert!(found.remedy.lines()[0].contains("-l app=gitlab-agent-v2"));
        assert_eq!(finding(&CHECK, logs(&["panic: x"])).evidence, ["panic: x"]);
    }

    #[test]
    fn connections_that_something_cuts_off_are_told() {
        let line = |minute: u8| {
            format!(r#"{{"time":"2026-11-02T09:5{minute}:00Z","level":"ERROR","msg":"Error handling a connection","error":"failed to read frame header: EOF"}}"#)
        };
        let lines: Vec<String> = (3..9).map(line).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let found = finding(&CHECK, logs(&lines));
        assert_eq!(found.severity, Some(Severity::Info));
        assert!(found.message.starts_with("loses its connection to kas every 1m"), "{}", found.message);
    }

    #[test]
    fn noise_and_history_are_no_faults() {
        passes(
            &CHECK,
            logs(&[
                r#"{"time":"2026-11-02T09:58:00Z","level":"ERROR","msg":"Error handling a connection","error":"received prior goaway: code: NO_ERROR"}"#,
                r#"{"time":"2026-11-02T09:40:00Z","level":"ERROR","msg":"x","error":"connection refused"}"#,
                r#"{"time":"2026-11-02T09:40:00Z","level":"ERROR","msg":"old and unknown"}"#,
            ]),
        );
    }

    #[test]
    fn a_log_that_was_not_read_is_unknown() {
        assert_eq!(after(&CHECK, |s| s.logs.clear()).verdict(), Verdict::Unknown);
        let one = after(&CHECK, |s| s.logs[1].lines = Observed::Unknown(Why::new(crate::facts::WhyKind::TimedOut, "log", "slow")));
        assert_eq!(one.verdict(), Verdict::Unknown);
    }
}
