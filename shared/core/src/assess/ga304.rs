//! GA304: the Secret from which agentk reads its token exists and holds a well-formed token.

use super::remedy::field;
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
        let Some(object) = agent.secret_object() else {
            if agent.reads_a_token_file() {
                let Some(lacks) = judgement.known(agent.lacks_token_file()) else { continue };
                judgement.examine();
                judgement.findings.extend(lacks.then(|| without_volume(facts, agent)));
            }
            continue;
        };
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

/// Its pods end at their start: `open /etc/agentk/secrets/token: no such file or directory`.
fn without_volume(facts: &Facts<'_>, agent: &Agent<'_>) -> Finding {
    let message = "mounts no volume that could hold the file of --token-file: agentk ends at its start";
    let text = "let agentk's release name the Secret that holds the agent token (config.secretName in its values)";
    let remedy = match agent.release {
        Some(release) => {
            let release = release.metadata.object("HelmRelease");
            Remedy::in_git(facts, &release, text).run(field(&release, ".spec.values.config"))
        }
        None => Remedy::say(text),
    };
    Finding::new(agent.object(), message, remedy).explains()
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
        ValueKind::Encrypted => Some("holds what SOPS encrypted, not a token: it was applied without being decrypted"),
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
    use serde_json::json;

    use super::super::testing::{after, finding, passes};
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

    /// Without its volume agentk has no token, unless it comes another way.
    #[test]
    fn an_agent_without_a_volume_for_its_token_is_found() {
        fn spec(s: &mut Snapshot) -> &mut crate::snapshot::kinds::PodSpec {
            &mut fixture::deployment_mut(s, "gitlab-agent-v2").spec.template.spec
        }
        let volume = |json: serde_json::Value| serde_json::from_value(json).expect("a volume");
        let found = finding(&CHECK, |s| spec(s).volumes.clear());
        assert_eq!(found.subject.to_string(), "Deployment gitlab/gitlab-agent-v2");
        assert!(found.message.starts_with("mounts no volume"), "{}", found.message);
        let api = json!({"name": "kube-api-access-x", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}]}});
        let found = finding(&CHECK, |s| spec(s).volumes = vec![volume(api.clone())]);
        assert!(found.explains);
        for other in [
            json!({"name": "token", "csi": {"volumeAttributes": {"secretProviderClass": "x"}}}),
            json!({"name": "token", "projected": {"sources": [{"secret": {"name": "x"}}]}}),
            json!({"name": "token", "persistentVolumeClaim": {"claimName": "x"}}),
            json!({"name": "token"}),
        ] {
            let judgement = after(&CHECK, |s| spec(s).volumes = vec![volume(other.clone())]);
            assert!(judgement.findings.is_empty(), "{other}");
        }
        type Change = fn(&mut Snapshot);
        let others: [(&str, Change); 4] = [
            ("a variable", |s| {
                spec(s).volumes.clear();
                spec(s).containers[0].env.push(serde_json::from_value(json!({"name": "AGENTK_TOKEN"})).expect("a variable"));
            }),
            ("variables from a Secret", |s| {
                spec(s).volumes.clear();
                let from = json!({"secretRef": {"name": "x"}});
                spec(s).containers[0].env_from.push(serde_json::from_value(from).expect("variables"));
            }),
            ("no --token-file", |s| {
                spec(s).volumes.clear();
                spec(s).containers[0].args.0.clear();
            }),
            ("an injector, which adds it to the pods", |s| {
                spec(s).volumes.clear();
                let injected = serde_json::from_value(json!({"name": "vault-secrets"})).expect("a volume");
                s.pods.items[0].spec.volumes.push(injected);
                let injected = s.pods.items[0].spec.volumes.clone();
                s.pods.items.iter_mut().for_each(|p| p.spec.volumes = injected.clone());
            }),
        ];
        for (name, change) in others {
            let judgement = after(&CHECK, change);
            assert!(judgement.findings.is_empty(), "{name}: {judgement:?}");
        }
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
