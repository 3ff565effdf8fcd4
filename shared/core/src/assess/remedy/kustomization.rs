//! What to do about a Kustomization that is not applied, by what its message says: going back in Git is right only
//! where what is in Git is wrong.

use serde_json::json;

use super::Remedy;
use crate::command::kubectl;
use crate::facts::failure::{Failure, read};
use crate::facts::{Facts, Kustomization, said};
use crate::object::ObjectRef;

impl Remedy {
    /// What keeps a Kustomization from being applied and what to do about it; none where what is in Git is wrong, as
    /// far as its message tells.
    pub(in crate::assess) fn of_kustomization(
        facts: &Facts<'_>,
        k: &Kustomization,
        message: &str,
    ) -> Option<(String, Self)> {
        if let Some(found) = absent(message, k) {
            return Some(found);
        }
        let object = k.metadata.object("Kustomization");
        let git = |text: &str| Self::in_git(facts, &object, text);
        Some(match read(message) {
            Failure::Decryption => (undecrypted(message), decryption(facts, k)),
            Failure::NoDecryption => (
                "its files are encrypted, and it has no spec.decryption".to_owned(),
                git("set spec.decryption with the Secret that holds the key").patch(
                    &object,
                    &json!({"spec": {"decryption": {"provider": "sops", "secretRef": {"name": "sops-age"}}}}),
                ),
            ),
            Failure::ApiNotServed => (
                "the cluster does not serve a kind that it holds".to_owned(),
                git("install what brings the kind that the message names, and name its Kustomization in spec.dependsOn")
                    .run(kubectl("", "api-resources")),
            ),
            Failure::Permission => (
                "its service account lacks a permission".to_owned(),
                Self::say("grant the service account that the message names what it lacks")
                    .run(kubectl(&object.namespace, "get rolebindings,serviceaccounts")),
            ),
            Failure::Immutable => (
                "it changes a field that cannot change".to_owned(),
                git(Failure::Immutable.advice().unwrap_or_default()),
            ),
            Failure::WebhookDown => (
                "an admission webhook does not answer".to_owned(),
                Self::say("see that the webhook's own pods run; it goes on by itself then")
                    .run(kubectl("", "get validatingwebhookconfigurations,mutatingwebhookconfigurations")),
            ),
            _ => return None,
        })
    }
}

/// Something that it references does not exist.
fn absent(message: &str, k: &Kustomization) -> Option<(String, Remedy)> {
    let missing = said::missing(message, &k.metadata.namespace).into_iter().next()?;
    let what = match &missing.key {
        Some(key) => format!("{} lacks the key {key}", missing.object),
        None => format!("{} does not exist", missing.object),
    };
    let kind = missing.object.kind.to_lowercase();
    let text = format!("create {} or correct its name in Git; it goes on by itself then", missing.object);
    Some((what, Remedy::say(text).run(kubectl(&missing.object.namespace, "get").operand(&kind))))
}

fn undecrypted(message: &str) -> String {
    match said::undecrypted(message) {
        Some((_, name)) => format!("it cannot decrypt {name}"),
        None => "it cannot decrypt its files".to_owned(),
    }
}

/// The key is at fault, not what is in Git: the one that is there, or that none is.
fn decryption(facts: &Facts<'_>, k: &Kustomization) -> Remedy {
    let secret = k.spec.decryption.as_ref().and_then(|d| d.secret_ref.as_ref());
    let Some(secret) = secret else {
        return Remedy::in_git(
            facts,
            &k.metadata.object("Kustomization"),
            "set spec.decryption.secretRef to the Secret that holds the key, or give kustomize-controller access to \
             the key management service that the message names",
        );
    };
    let object = ObjectRef::new("Secret", &k.metadata.namespace, &secret.name);
    let text = format!(
        "put the private key for which the files were encrypted into {object}: age keys under a key that ends in \
         .agekey, PGP keys under one that ends in .asc"
    );
    Remedy::say(text).run(kubectl(&object.namespace, "describe").object(&object))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn told(message: &str) -> Option<(String, Remedy)> {
        let mut s = fixture::healthy();
        s.kustomizations.items[1].spec.decryption =
            serde_json::from_value(json!({"provider": "sops", "secretRef": {"name": "sops-age"}}))
                .expect("a decryption");
        Remedy::of_kustomization(&Facts::derive(&s), &s.kustomizations.items[1], message)
    }

    #[test]
    fn the_obstacle_decides_what_to_do_and_not_the_symptom() {
        for (message, what) in [
            (
                "decryption failed for 'db': failed to decrypt and format 'shop/db' Secret data: cannot get sops data key: no identity matched any of the recipients",
                "it cannot decrypt db",
            ),
            ("error decrypting env sources: failed to decrypt file 'x'", "it cannot decrypt its files"),
            (
                r#"cannot get decryption Secret 'flux-system/sops-age': secrets "sops-age" not found"#,
                "Secret flux-system/sops-age does not exist",
            ),
            (
                "Secret/shop/db is SOPS encrypted, configuring decryption is required for this secret to be reconciled",
                "its files are encrypted, and it has no spec.decryption",
            ),
            (
                r#"ExternalSecret/shop/db dry-run failed: no matches for kind "ExternalSecret" in version "external-secrets.io/v1""#,
                "the cluster does not serve a kind that it holds",
            ),
            (
                r#"Deployment/shop/web dry-run failed (Forbidden): deployments.apps "web" is forbidden: User "system:serviceaccount:shop:flux" cannot patch"#,
                "its service account lacks a permission",
            ),
            (
                "Job/shop/db dry-run failed (Invalid): spec.template: Invalid value: field is immutable",
                "it changes a field that cannot change",
            ),
            (
                r#"Certificate/shop/web dry-run failed (InternalError): failed calling webhook "webhook.cert-manager.io": no endpoints"#,
                "an admission webhook does not answer",
            ),
            (
                r#"substitute from 'ConfigMap/cluster' error: configmaps "cluster" not found"#,
                "ConfigMap flux-system/cluster does not exist",
            ),
            (
                r#"Service/shop/web namespace not specified: namespaces "shop" not found"#,
                "Namespace shop does not exist",
            ),
        ] {
            let (found, remedy) = told(message).expect(message);
            assert_eq!(found, what);
            assert!(!remedy.lines().iter().any(|c| c.contains("git revert")), "{message}: {remedy:?}");
        }
        for message in [
            "kustomize build failed: accumulating resources",
            "Deployment/shop/web dry-run failed: spec.replicas: Invalid value",
        ] {
            assert_eq!(told(message).map(|(what, _)| what), None, "{message}");
        }
    }
}
