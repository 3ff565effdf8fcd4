//! GA304: the Secret from which agentk reads its token exists and holds a well-formed token.

use super::remedy::origin::origin;
use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::agent::Agent;
use crate::facts::log::{Effect, Rule};
use crate::facts::{Facts, Fault, KeyShape, SecretShape, ValueKind, Why};
use crate::need::Need;
use crate::object::ObjectRef;

pub(super) static CHECK: Check = Check {
    code: 304,
    slug: "token-secret-unusable",
    title: "the agent's token Secret exists and holds a well-formed token",
    severity: Severity::Error,
    impact: Impact::Pushes,
    needs: &[Need::Deployments, Need::Secrets],
    page: include_str!("../../../../docs/checks/GA304.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    for why in facts.agent_gaps() {
        judgement.lacks(why.clone());
    }
    for agent in &facts.agents {
        let Some(object) = agent.secret_object() else { continue };
        let Some(secret) = judgement.known(agent.secret.clone()) else { continue };
        judgement.examine();
        let found = match secret.map(|secret| secret.keys.get("token")) {
            None => Some("does not exist".to_owned()),
            Some(None) => Some("has no key `token`".to_owned()),
            Some(Some(token)) => wrong_with(token),
        };
        if let Some(message) = found {
            let finding = Finding::new(object.clone(), message, mend(facts, agent, &object, secret));
            let doubtful = secret.and_then(|s| s.keys.get("token")).is_some_and(|t| is_doubtful(facts, agent, t));
            judgement.find(if doubtful { finding.severity(Severity::Warning) } else { finding });
        }
    }
    judgement.skip("no agentk is installed");
    Ok(())
}

/// What is wrong with a token's form. One line feed or trailing spaces do no harm: agentk and gRPC drop them.
fn wrong_with(token: &KeyShape) -> Option<String> {
    let kind = match token.kind {
        ValueKind::Empty => Some("holds an empty token"),
        ValueKind::Placeholder => Some("holds the placeholder of the documents instead of a token"),
        ValueKind::AccessToken => Some("holds an access token (glpat-), not an agent token (glagent-)"),
        ValueKind::DeployToken => Some("holds a deploy token (gldt-), not an agent token (glagent-)"),
        ValueKind::OtherGitLabToken => Some("holds a GitLab token of another kind, not an agent token (glagent-)"),
        ValueKind::PrivateKey | ValueKind::Certificate => Some("holds a PEM file, not an agent token"),
        ValueKind::DeployTokenUser => Some("holds the name of a deploy token, not an agent token"),
        ValueKind::AgentToken | ValueKind::Other => None,
    };
    let fault = |fault: &Fault| match fault {
        Fault::CarriageReturn => Some("holds a token with a carriage return (made on Windows?)"),
        Fault::ManyLines => Some("holds a token with more than one line end"),
        Fault::LeadingSpace => Some("holds a token with a space before it"),
        Fault::Quoted => Some("holds a token in quotation marks"),
        Fault::ByteOrderMark => Some("holds a token with a byte order mark before it"),
        Fault::EncodedTwice => Some("holds a token that was base64-encoded twice"),
        Fault::Checksum => Some("holds a token whose checksum does not fit: truncated or mistyped"),
        Fault::TooShort => Some("holds a token that is too short: truncated"),
        Fault::NotText => Some("holds bytes that are no text"),
        Fault::TrailingSpace | Fault::LineFeed => None,
    };
    kind.or_else(|| token.faults.iter().find_map(fault)).map(str::to_owned)
}

/// A checksum that does not fit is an error only where GitLab refuses the token: its algorithm is not documented.
fn is_doubtful(facts: &Facts<'_>, agent: &Agent<'_>, token: &KeyShape) -> bool {
    let refused = |faults: Vec<(&Rule, _)>| faults.iter().any(|(rule, _)| rule.effect == Effect::TokenRefused);
    let formal = token.faults.iter().all(|f| matches!(f, Fault::Checksum | Fault::TrailingSpace | Fault::LineFeed));
    formal && token.faults.contains(&Fault::Checksum) && !agent.present_faults(facts.now).is_ok_and(refused)
}

fn mend(facts: &Facts<'_>, agent: &Agent<'_>, secret: &ObjectRef, shape: Option<&SecretShape>) -> Remedy {
    if let Some(remedy) = Remedy::of_creator(facts, secret) {
        return remedy;
    }
    if let Some(origin) = origin(facts, secret, shape) {
        return origin.remedy(shape.is_some()).restart(&agent.object());
    }
    Remedy::say(
        "write the agent's token into the Secret (it is asked for, and not shown), then restart agentk, which reads \
         it only at its start; a new token comes from GitLab: Operate > Kubernetes clusters > the agent > Access tokens",
    )
    .write_secret(&secret.namespace, &secret.name, "token")
    .restart(&agent.object())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{finding, passes};
    use super::*;
    use crate::facts::Observed;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn token(value: &str) -> impl FnOnce(&mut Snapshot) {
        let shape = KeyShape::of(value.as_bytes(), b"");
        move |s: &mut Snapshot| {
            fixture::secret(s, "gitlab", "gitlab-agent-token").keys.insert("token".to_owned(), shape);
        }
    }

    #[test]
    fn a_missing_secret_or_key_is_found() {
        let missing = finding(&CHECK, |s| fixture::secret_entry(s, "gitlab", "gitlab-agent-token").shape = Observed::Known(None));
        assert_eq!((missing.subject.to_string().as_str(), missing.message.as_str()), ("Secret gitlab/gitlab-agent-token", "does not exist"));
        let key = finding(&CHECK, |s| fixture::secret(s, "gitlab", "gitlab-agent-token").keys.clear());
        assert_eq!(key.message, "has no key `token`");
    }

    #[test]
    fn a_secret_that_something_makes_is_not_written_to() {
        let found = finding(&CHECK, |s| {
            let secret = fixture::secret(s, "gitlab", "gitlab-agent-token");
            secret.keys.clear();
            secret.metadata = serde_json::from_str(r#"{"ownerReferences":[{"kind":"ExternalSecret","name":"x"}]}"#).expect("metadata");
        });
        assert!(found.remedy.text.starts_with("ExternalSecret gitlab/x copies it"), "{}", found.remedy.text);
        assert_eq!(found.remedy.lines(), ["kubectl -n gitlab rollout restart deployment/gitlab-agent-v2"]);
    }

    #[test]
    fn a_checksum_that_does_not_fit_is_an_error_once_gitlab_refuses_the_token() {
        let value = format!("glagent-{}.01.1o0000000", "x".repeat(60));
        let works = finding(&CHECK, token(&value));
        assert_eq!(works.severity, Some(Severity::Warning));
        assert!(works.message.contains("checksum"), "{}", works.message);
        let refused = finding(&CHECK, |s| {
            token(&value)(s);
            let line = r#"{"time":"2026-11-02T09:59:00Z","level":"ERROR","msg":"x","error":"code = Unauthenticated"}"#;
            s.logs[0].lines = Observed::Known(vec![line.to_owned()]);
        });
        assert_eq!(refused.severity, None);
    }

    #[test]
    fn a_token_of_the_wrong_form_is_found() {
        let good = format!("glagent-{}", "x".repeat(50));
        for (value, message) in [
            (String::new(), "empty"),
            ("<your-token-here>".to_owned(), "placeholder"),
            (format!("glpat-{}", "x".repeat(20)), "access token"),
            (format!("{good}\r\n"), "carriage return"),
            (format!("{good}\n\n"), "more than one line"),
            (format!("'{good}'"), "quotation"),
            (good[..20].to_owned(), "too short"),
        ] {
            assert!(finding(&CHECK, token(&value)).message.contains(message), "{message}");
        }
        passes(&CHECK, token(&good));
        passes(&CHECK, token(&format!("{good}\n")));
        passes(&CHECK, token(&format!("acme-{good}")));
        passes(&CHECK, token(&"x".repeat(50)));
    }
}
