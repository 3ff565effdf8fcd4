//! GA511: no Secret lies in Git in plain text.

use super::{Check, Finding, Impact, Judgement, Remedy, Severity};
use crate::facts::git_secret::holds_a_secret;
use crate::facts::{Facts, HelmRelease, Kustomization, Why};
use crate::need::Need;
use crate::object::ObjectRef;
use crate::snapshot::secret::ValueKind;

pub(super) static CHECK: Check = Check {
    code: 511,
    slug: "secret-in-plain-git",
    title: "no Secret is applied in plain text from Git",
    severity: Severity::Error,
    impact: Impact::Hygiene,
    needs: &[Need::Kustomizations, Need::HelmReleases],
    page: include_str!("../../../../docs/checks/GA511.md"),
    judge,
};

fn judge(facts: &Facts<'_>, judgement: &mut Judgement) -> Result<(), Why> {
    judgement.skip("no Kustomization applies anything to this cluster");
    for _ in judgement.each(&facts.snapshot.kustomizations) {
        judgement.examine();
    }
    for applied in facts.secrets_from_git() {
        let Some(shape) = judgement.known(facts.secret(&applied.object.namespace, &applied.object.name))
        else {
            continue;
        };
        let Some(shape) = shape else { continue };
        let encrypted: Vec<&str> =
            shape.keys.iter().filter(|(_, s)| s.kind == ValueKind::Encrypted).map(|(key, _)| key.as_str()).collect();
        if !encrypted.is_empty() {
            judgement.find(undecrypted(&applied.object, applied.by, &encrypted));
        } else if holds_a_secret(shape) {
            judgement.find(found(facts, &applied.object, applied.by));
        }
    }
    for release in judgement.each(&facts.snapshot.helm_releases) {
        // Looked for only where it matters: every inventory of the cluster would be gone through for every release.
        let inline_token = release.spec.values.inline_token;
        let by = inline_token.then(|| facts.snapshot.kustomizations.items.iter().find(|k| applies(k, release)));
        if let Some(by) = by.flatten().filter(|k| k.spec.decryption.is_none()) {
            judgement.find(inline(release, by));
        }
    }
    Ok(())
}

fn applies(k: &Kustomization, release: &HelmRelease) -> bool {
    let object = release.metadata.object("HelmRelease");
    k.spec.kube_config.is_none()
        && k.status.inventory.entries.iter().any(|e| e.object().as_ref() == Some(&object))
}

fn source(k: &Kustomization) -> ObjectRef {
    Facts::resolve(&k.spec.source_ref, &k.metadata.namespace)
}

fn found(facts: &Facts<'_>, object: &ObjectRef, by: &Kustomization) -> Finding {
    let kustomization = by.metadata.object("Kustomization");
    let from = source(by);
    let substituted = by.spec.post_build.as_ref().is_some_and(|p| !p.substitute_from.is_empty());
    let (severity, doubt) = if substituted {
        (Severity::Warning, ", unless each of its values is a variable that spec.postBuild replaces")
    } else {
        (Severity::Error, "")
    };
    let message = format!(
        "is applied from {from} as it lies there{doubt}: {kustomization} has no spec.decryption, so whoever can read the \
         project, or any old clone of it, can read the values"
    );
    let text = format!(
        "keep the Secret in the cluster with the command, take it out of {from} and push; give it new values, because the \
         old ones stay in the history; then commit it encrypted (SOPS with spec.decryption, a SealedSecret or an \
         ExternalSecret), or leave it out of Git"
    );
    let remedy = Remedy::say(text).keep_without_git(object);
    let keys = facts
        .secret(&object.namespace, &object.name)
        .ok()
        .flatten()
        .map(|s| s.keys.keys().cloned().collect::<Vec<_>>());
    Finding::new(object.clone(), message, remedy)
        .severity(severity)
        .because(format!("its keys: {}", keys.unwrap_or_default().join(", ")))
}

/// What SOPS encrypted was applied as it lies in Git: whatever reads the Secret gets the encrypted text.
fn undecrypted(object: &ObjectRef, by: &Kustomization, keys: &[&str]) -> Finding {
    let kustomization = by.metadata.object("Kustomization");
    let message = format!("was applied still encrypted by SOPS: {kustomization} has no spec.decryption");
    let text = "set spec.decryption of the Kustomization in Git, with the Secret that holds the key (provider: sops), and push";
    Finding::new(object.clone(), message, Remedy::say(text).reconcile(&kustomization))
        .impact(Impact::Delivery)
        .because(format!("encrypted keys: {}", keys.join(", ")))
}

fn inline(release: &HelmRelease, by: &Kustomization) -> Finding {
    let from = source(by);
    let message =
        format!("holds the agent's token in its values (config.token), and they lie in {from} in plain text");
    let namespace = match release.spec.target_namespace.as_str() {
        "" => &release.metadata.namespace,
        target => target,
    };
    let remedy = Remedy::say(format!(
        "create a new token for the agent in GitLab, write it into a Secret (it is asked for, and not shown), set \
         config.secretName to gitlab-agent-token in {from} in place of config.token, push, and revoke the old token: it \
         stays in the history"
    ))
    .write_secret(namespace, "gitlab-agent-token", "token");
    Finding::new(release.metadata.object("HelmRelease"), message, remedy)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{after, finding, passes};
    use super::*;
    use crate::assess::Verdict;
    use crate::facts::{Decryption, InventoryEntry, Observed, PostBuild, ValuesRef};
    use crate::fixture;
    use crate::snapshot::Snapshot;

    fn apply(s: &mut Snapshot) {
        let id = "gitlab_gitlab-agent-token__Secret".to_owned();
        s.kustomizations.items[0].status.inventory.entries.push(InventoryEntry { id, v: "v1".to_owned() });
    }

    #[test]
    fn what_is_applied_encrypted_gets_its_decryption() {
        let found = finding(&CHECK, |s| {
            apply(s);
            let keys = &mut fixture::secret(s, "gitlab", "gitlab-agent-token").keys;
            keys.get_mut("token").expect("a token").kind = ValueKind::Encrypted;
        });
        assert!(found.message.starts_with("was applied still encrypted by SOPS"), "{}", found.message);
        assert_eq!(found.impact, Some(Impact::Delivery));
        assert_eq!(found.evidence, ["encrypted keys: token"]);
    }

    #[test]
    fn a_secret_of_an_inventory_is_found() {
        let found = finding(&CHECK, apply);
        assert_eq!(found.subject.to_string(), "Secret gitlab/gitlab-agent-token");
        assert!(
            found
                .message
                .starts_with("is applied from GitRepository flux-system/flux-system as it lies there: ")
        );
        assert_eq!(found.severity, Some(Severity::Error));
        assert_eq!(found.evidence, ["its keys: token"]);
        assert_eq!(
            found.remedy.lines(),
            [
                "kubectl -n gitlab annotate --overwrite --field-manager=gitlab-agent-cli secret/gitlab-agent-token \
              kustomize.toolkit.fluxcd.io/prune=disabled"
            ]
        );
    }

    #[test]
    fn a_variable_may_stand_for_the_value() {
        let found = finding(&CHECK, |s| {
            apply(s);
            let from = ValuesRef { kind: "Secret".to_owned(), ..ValuesRef::default() };
            s.kustomizations.items[0].spec.post_build = Some(PostBuild { substitute_from: vec![from] });
        });
        assert_eq!(found.severity, Some(Severity::Warning));
        assert!(found.message.contains("unless"), "{}", found.message);
    }

    #[test]
    fn an_inline_token_is_found_where_flux_applied_the_release() {
        let inline = |s: &mut Snapshot| s.helm_releases.items[0].spec.values.inline_token = true;
        let found = finding(&CHECK, inline);
        assert_eq!(found.subject.to_string(), "HelmRelease gitlab/gitlab-agent");
        assert!(found.remedy.lines()[0].contains("gitlab-agent-token"));
        passes(&CHECK, |s| {
            inline(s);
            s.kustomizations.items[0].status.inventory.entries.clear();
        });
        passes(&CHECK, |s| {
            inline(s);
            s.kustomizations.items[0].spec.decryption = Some(Decryption { provider: "sops".to_owned(), ..Decryption::default() });
        });
    }

    #[test]
    fn what_is_encrypted_empty_or_gone_is_fine_and_what_is_not_read_is_unknown() {
        passes(&CHECK, |s| {
            apply(s);
            s.kustomizations.items[0].spec.decryption = Some(Decryption { provider: "sops".to_owned(), ..Decryption::default() });
        });
        passes(&CHECK, |s| {
            apply(s);
            fixture::secret(s, "gitlab", "gitlab-agent-token").keys.clear();
        });
        passes(&CHECK, |s| {
            apply(s);
            fixture::secret_entry(s, "gitlab", "gitlab-agent-token").shape = Observed::Known(None);
        });
        let unread = after(&CHECK, |s| {
            apply(s);
            s.secrets.clear();
        });
        assert_eq!(unread.verdict(), Verdict::Unknown);
        assert_eq!(after(&CHECK, |s| s.kustomizations.items.clear()).verdict(), Verdict::Skipped);
    }
}
