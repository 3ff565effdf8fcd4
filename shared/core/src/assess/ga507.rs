//! GA507: notifications are delivered.

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::command::kubectl;
use crate::facts::dispatch::phrase;
use crate::facts::failure::{Failing, Failure, FailureKey};
use crate::facts::{Alert, Event, Facts, Provider, Why};
use crate::need::Need;
use crate::text::age;

pub(super) static CHECK: Check = Check {
    code: 507,
    slug: "notification-not-delivered",
    title: "notifications are delivered",
    severity: Severity::Error,
    impact: Impact::Notifications,
    needs: &[Need::Providers, Need::Alerts, Need::Events],
    page: include_str!("../../../../docs/checks/GA507.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    judgement.skip("there is no Alert");
    let events = judgement.each(&facts.snapshot.dispatch_failures);
    for alert in judgement.each(&facts.snapshot.alerts) {
        let Some(provider) = judgement.known(facts.provider_of(alert)) else { continue };
        judgement.examine();
        let Some(provider) = provider else {
            judgement.find(without_provider(alert));
            continue;
        };
        for (failure, event) in facts.undelivered(alert, provider, events) {
            judgement.find(found(facts, alert, provider, failure, event));
        }
    }
    Ok(())
}

fn without_provider(alert: &Alert) -> Finding {
    let name = &alert.spec.provider_ref.name;
    let message = format!("names Provider {name}, which does not exist: nothing is delivered");
    let remedy = Remedy::say("commit the Provider again, or correct spec.providerRef of the Alert in Git")
        .run(kubectl(&alert.metadata.namespace, "get providers.notification.toolkit.fluxcd.io"));
    Finding::new(alert.metadata.object("Alert"), message, remedy)
}

fn found(facts: &Facts<'_>, alert: &Alert, provider: &Provider, failure: Failure, event: &Event) -> Finding {
    let object = alert.metadata.object("Alert");
    let to = provider.metadata.object("Provider");
    let message = format!("does not get its notifications to {to}: {}", phrase(failure));
    let severity = if provider.writes_to_gitlab() { Severity::Error } else { Severity::Warning };
    let when = event.last().map(|at| format!("{} ago: ", age(facts.now, at))).unwrap_or_default();
    let token = provider.secret();
    let who = Failing { url: &provider.spec.address, credential: token.as_ref(), ..Failing::default() };
    Finding::new(object, message, mend(facts, alert, provider, failure))
        .severity(severity)
        .failure(FailureKey::of(failure, &event.message, &who))
        .because(format!("{when}{}", event.message))
}

fn mend(facts: &Facts<'_>, alert: &Alert, provider: &Provider, failure: Failure) -> Remedy {
    let object = alert.metadata.object("Alert");
    let (to, address) = (provider.metadata.object("Provider"), provider.spec.address.as_str());
    match failure {
        failure if failure.is_credential() && provider.writes_to_gitlab() =>
        {
            Remedy::of_provider_token(facts, provider, false)
        }
        Failure::NotFound if provider.writes_to_gitlab() => {
            let mut remedy = Remedy::of_provider_token(facts, provider, false);
            remedy.text = format!(
                "check spec.address of {to} ({address}): the project's URL, or the server's with the project's number \
                 behind it (https://HOST/NUMBER); where it is right, {}",
                remedy.text
            );
            remedy
        }
        Failure::NoCommit => Remedy::in_git(
            facts,
            &object,
            "limit spec.eventSources of the Alert to Kustomizations: only their events name a commit",
        )
        .run(kubectl(&object.namespace, "get").object(&object).words("-o yaml")),
        Failure::CrossNamespace => {
            Remedy::say("put an Alert and a Provider of its own into the namespace of the objects whose events it sends")
                .show_dispatch(facts, &object)
        }
        Failure::RateLimited => Remedy::say(
            "limit spec.eventSources of the Alert, or set eventSeverity to error; it recovers by itself when fewer \
             events are sent",
        )
        .show_dispatch(facts, &object),
        Failure::UnknownAuthority => Remedy::say(format!(
            "write the certificate of the authority that signed the server's into a Secret as ca.crt, and name that in \
             spec.certSecretRef of {to}"
        ))
        .show_dispatch(facts, &object),
        failure if failure.is_network() => Remedy::say(format!(
            "see that notification-controller reaches {address} (DNS, egress policy, spec.proxySecretRef)"
        ))
        .show_dispatch(facts, &object),
        failure if failure.is_tls() => {
            Remedy::say(format!("correct the TLS certificate of the server at {address}, or the address in {to}"))
                .show_dispatch(facts, &object)
        }
        failure => {
            let other = "mend what notification-controller says; the next event that is delivered shows that it is well";
            Remedy::say(failure.advice().unwrap_or(other)).show_dispatch(facts, &object)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use jiff::Timestamp;

    use crate::assess::Verdict;
    use crate::facts::ManagedFields;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn fails(message: &str) -> impl Fn(&mut Snapshot) {
        let event = serde_json::json!({
            "metadata": {"name": "a.1", "namespace": "flux-system"}, "message": message,
            "involvedObject": {"kind": "Alert", "name": "gitlab-status-flux-system", "namespace": "flux-system"},
            "reason": "NotificationDispatchFailed", "lastTimestamp": "2026-11-02T09:50:00Z"});
        let event: Event = serde_json::from_value(event).expect("an Event");
        move |s| s.dispatch_failures.items.push(event.clone())
    }

    const LIST: &str =
        "failed to send notification for Kustomization/a.b: unable to list commit status: GET https://h: ";

    #[test]
    fn each_failure_has_its_words_and_its_remedy() {
        for (message, phrase, command) in [
            (
                format!("{LIST}401 {{message: 401 Unauthorized}}"),
                "the token is refused (401",
                "--from-file=token",
            ),
            (
                format!("{LIST}401 {{error_description: Token was revoked.}}"),
                "the token was revoked",
                "--from-file=token",
            ),
            (
                format!("{LIST}403 {{message: 403 Forbidden}}"),
                "the token may not do this (403",
                "--from-file=token",
            ),
            (
                format!("{LIST}404 {{message: 404 Not Found}}"),
                "no such project or commit",
                "--from-file=token",
            ),
            ("gitlab token cannot be empty".to_owned(), "its Provider has no token", "--from-file=token"),
            ("missing revision metadata".to_owned(), "name no commit", "get alert.notification"),
            (format!("{LIST}429 {{}}"), "fewer requests", "get events --field-selector"),
            ("x509: certificate signed by unknown authority".to_owned(), "TLS", "get events"),
            ("dial tcp: lookup h: no such host".to_owned(), "does not resolve", "get events"),
            ("dial tcp: lookup h on 10.0.0.10:53: server misbehaving".to_owned(), "the DNS resolver fails", "get events"),
            ("write /tmp/x: no space left on device".to_owned(), "a volume is full", "get events"),
            ("something new".to_owned(), "reports a failure", "get events"),
        ] {
            let found = finding(&CHECK, fails(&message));
            assert_eq!(found.subject.to_string(), "Alert flux-system/gitlab-status-flux-system");
            assert_eq!(found.severity, Some(Severity::Error));
            assert!(found.message.contains(phrase), "{message}: {}", found.message);
            assert!(found.remedy.lines()[0].contains(command), "{message}: {:?}", found.remedy);
            assert_eq!(found.evidence, [format!("10m ago: {message}")]);
        }
    }

    #[test]
    fn one_failure_many_times_is_one_finding_and_another_type_is_a_warning() {
        let found = finding(&CHECK, |s| {
            fails(&format!("{LIST}401"))(s);
            fails(&format!("{LIST}401 again"))(s);
            s.providers.items[0].spec.kind = "slack".to_owned();
        });
        assert_eq!(found.severity, Some(Severity::Warning));
        assert!(found.remedy.lines()[0].contains("get events"), "no GitLab token: {:?}", found.remedy);
    }

    #[test]
    fn what_was_changed_since_may_be_mended() {
        let later: Option<Timestamp> = "2026-11-02T09:55:00Z".parse().ok();
        passes(&CHECK, |s| {
            fails(LIST)(s);
            let secret = fixture::secret(s, "flux-system", "gitlab-status-flux-system");
            secret.keys.values_mut().for_each(|key| key.changed_at = later);
        });
        passes(&CHECK, |s| {
            fails(LIST)(s);
            let written = ManagedFields { time: later, ..ManagedFields::default() };
            s.providers.items[0].metadata.managed_fields.push(written);
        });
    }

    /// Times have whole seconds, and a job status may be refused in the second in which its token changed.
    #[test]
    fn within_a_second_the_number_of_the_write_tells() {
        let same: Option<Timestamp> = "2026-11-02T09:50:00Z".parse().ok();
        let in_one_second = |event: &'static str, secret: &'static str| {
            move |s: &mut Snapshot| {
                fails(LIST)(s);
                event.clone_into(&mut s.dispatch_failures.items[0].metadata.resource_version);
                let shape = fixture::secret(s, "flux-system", "gitlab-status-flux-system");
                shape.keys.values_mut().for_each(|key| key.changed_at = same);
                secret.clone_into(&mut shape.metadata.resource_version);
            }
        };
        finding(&CHECK, in_one_second("1001", "999"));
        passes(&CHECK, in_one_second("999", "1001"));
    }

    #[test]
    fn no_failure_is_found_where_there_is_none() {
        passes(
            &CHECK,
            fails("POST https://h: 400 {message: Cannot transition status via :run from :running}"),
        );
        passes(&CHECK, |s| {
            fails(LIST)(s);
            s.alerts.items[0].spec.suspend = true;
        });
        assert_eq!(after(&CHECK, |s| s.alerts.items.clear()).verdict(), Verdict::Skipped);
    }

    #[test]
    fn an_alert_without_its_provider_is_found() {
        let found = finding(&CHECK, |s| s.alerts.items[0].spec.provider_ref.name = "other".to_owned());
        assert!(found.message.starts_with("names Provider other, which does not exist"), "{}", found.message);
    }

    #[test]
    fn it_hangs_on_the_token() {
        let s = fixture::healthy();
        let needs = Facts::derive(&s).graph.needs(&fixture::object(
            "Alert",
            "flux-system",
            "gitlab-status-flux-system",
        ));
        assert!(
            needs.contains(&fixture::object("Secret", "flux-system", "gitlab-status-flux-system")),
            "{needs:?}"
        );
        assert!(
            needs.contains(&fixture::object("Deployment", "flux-system", "notification-controller")),
            "{needs:?}"
        );
    }
}
