//! GA505: each Provider that writes to GitLab has a token that GitLab's API takes.

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::notification::token;
use crate::facts::{Facts, Fault, KeyShape, Provider, SecretShape, ValueKind, Why};
use crate::need::Need;

pub(super) static CHECK: Check = Check {
    code: 505,
    slug: "status-token-unusable",
    title: "every Provider that writes to GitLab has a token that can do it",
    severity: Severity::Error,
    impact: Impact::Notifications,
    needs: &[Need::Providers, Need::Secrets],
    page: include_str!("../../../../docs/checks/GA505.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    judgement.skip("no Provider writes to GitLab");
    for provider in judgement.each(&facts.snapshot.providers).iter().filter(|p| p.writes_to_gitlab()) {
        let object = provider.metadata.object("Provider");
        let Some(secret) = provider.secret() else {
            judgement.examine();
            let message =
                "names no Secret with a token (spec.secretRef), and GitLab takes no status without one";
            judgement.find(Finding::new(object, message, Remedy::of_provider_token(facts, provider, true)));
            continue;
        };
        let Some(shape) = judgement.known(facts.secret(&secret.namespace, &secret.name)) else { continue };
        judgement.examine();
        let Some(message) = wrong_with(provider, shape) else { continue };
        // Several Providers may share a Secret.
        if !judgement.findings.iter().any(|f| f.subject == secret && f.message == message) {
            let remedy = Remedy::of_provider_token(facts, provider, false);
            judgement
                .find(Finding::new(secret, message, remedy).because(format!("it is the token of {object}")));
        }
    }
    Ok(())
}

fn wrong_with(provider: &Provider, secret: Option<&SecretShape>) -> Option<String> {
    let of = provider.metadata.object("Provider");
    let Some(secret) = secret else { return Some(format!("does not exist, and {of} needs it")) };
    match token(secret) {
        None => Some(format!("has no key `token`, which {of} needs")),
        Some((key, token)) => {
            wrong_kind(token).or_else(|| wrong_form(token)).map(|what| format!("holds {what} in `{key}`"))
        }
    }
}

fn wrong_kind(token: &KeyShape) -> Option<&'static str> {
    Some(match token.kind {
        ValueKind::Empty => "nothing",
        ValueKind::Placeholder => "a placeholder of the documents",
        ValueKind::DeployToken => {
            "a deploy token, which cannot set a job status (GitLab's page on Flux lists it by mistake: a deploy token \
             has no scope api)"
        }
        ValueKind::DeployTokenUser => {
            "the name of a deploy token, and a deploy token cannot set a job status"
        }
        ValueKind::AgentToken => "an agent token, which opens nothing but agentk's connection",
        ValueKind::OtherGitLabToken => "a GitLab token that was made for something else (job, runner, feed)",
        ValueKind::PrivateKey | ValueKind::Certificate => "a PEM file",
        ValueKind::Encrypted => "what SOPS encrypted: it was applied without being decrypted",
        ValueKind::AccessToken | ValueKind::Other => return None,
    })
}

/// notification-controller takes white space off both ends.
fn wrong_form(token: &KeyShape) -> Option<&'static str> {
    let what = |fault: &Fault| {
        Some(match fault {
            Fault::ManyLines => "more than one line",
            Fault::Quoted => "quotation marks around the token",
            Fault::ByteOrderMark => "a byte order mark before the token",
            Fault::EncodedTwice => "base64 applied twice",
            Fault::Checksum => "a token whose checksum does not fit: truncated or mistyped",
            Fault::TooShort => "too few characters: truncated",
            Fault::NotText => "bytes that are no text",
            Fault::LeadingSpace | Fault::TrailingSpace | Fault::CarriageReturn | Fault::LineFeed => {
                return None;
            }
        })
    };
    token.faults.iter().find_map(what)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::Observed;
    use crate::fixture;
    use crate::snapshot::Snapshot;

    const NAME: &str = "gitlab-status-flux-system";

    fn holds(s: &mut Snapshot, key: &str, value: &str) {
        let keys = &mut fixture::secret(s, "flux-system", NAME).keys;
        keys.clear();
        keys.insert(key.to_owned(), KeyShape::of(value.as_bytes(), b""));
    }

    #[test]
    fn a_deploy_token_cannot_set_a_status() {
        let found = finding(&CHECK, |s| holds(s, "token", &format!("gldt-{}", "q".repeat(20))));
        assert_eq!(found.subject.to_string(), format!("Secret flux-system/{NAME}"));
        assert!(
            found.message.starts_with("holds a deploy token, which cannot set a job status"),
            "{}",
            found.message
        );
        assert!(found.remedy.text.contains("project access token with scope api"), "{:?}", found.remedy);
        assert!(found.remedy.text.contains("project platform/flux-system"), "{:?}", found.remedy);
        assert_eq!(found.remedy.commands.len(), 1);
        assert!(
            found.remedy.lines()[0]
                .contains("secret generic gitlab-status-flux-system -n flux-system --from-file=token")
        );
    }

    #[test]
    fn other_tokens_of_no_use_are_found() {
        for (key, value, message) in [
            ("token", String::new(), "holds nothing in `token`"),
            ("token", "<your-token-here>".to_owned(), "holds a placeholder"),
            ("token", format!("glagent-{}", "x".repeat(50)), "holds an agent token"),
            (
                "token",
                format!("glrt-{}", "x".repeat(20)),
                "holds a GitLab token that was made for something else",
            ),
            ("token", "glpat-short".to_owned(), "holds too few characters"),
            ("password", "gitlab+deploy-token-3".to_owned(), "holds the name of a deploy token"),
            ("address", "https://gitlab.example.com".to_owned(), "has no key `token`"),
        ] {
            let found = finding(&CHECK, |s| holds(s, key, &value));
            assert!(found.message.starts_with(message), "{message}: {}", found.message);
        }
        let missing =
            finding(&CHECK, |s| fixture::secret_entry(s, "flux-system", NAME).shape = Observed::Known(None));
        assert!(missing.message.starts_with("does not exist"), "{}", missing.message);
    }

    #[test]
    fn a_provider_without_a_secret_gets_one() {
        let found = finding(&CHECK, |s| s.providers.items[0].spec.secret_ref = None);
        assert_eq!(found.subject.kind, "Provider");
        assert_eq!(found.remedy.commands.len(), 2);
        assert!(
            found.remedy.lines()[1]
                .contains(r#"{"spec":{"secretRef":{"name":"gitlab-status-flux-system-token"}}}"#)
        );
    }

    #[test]
    fn white_space_and_old_tokens_are_taken() {
        passes(&CHECK, |s| holds(s, "token", &format!("glpat-{}\n", "q".repeat(20))));
        passes(&CHECK, |s| holds(s, "token", "twentycharacterslong"));
        passes(&CHECK, |s| holds(s, "password", &format!("glpat-{}", "q".repeat(20))));
        let none =
            after(&CHECK, |s| s.providers.items.iter_mut().for_each(|p| p.spec.kind = "slack".to_owned()));
        assert_eq!(none.verdict(), Verdict::Skipped);
    }
}
