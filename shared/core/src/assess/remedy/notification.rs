//! What to do about the token by which Flux writes job statuses, and about what is missing to write them.

use serde_json::json;

use super::{Remedy, apply, yaml_word};
use crate::command::kubectl;
use crate::facts::notification::{is_number, project};
use crate::facts::protection::StatusRole;
use crate::facts::{Facts, Kustomization, Meta, Provider, Source};
use crate::object::ObjectRef;

/// What to create in GitLab, without the project. The role follows the protection of the branch.
fn token(role: &StatusRole, host: &str) -> String {
    // GitLab, "Project access tokens": Premium and Ultimate, one in a trial.
    let free = match host.eq_ignore_ascii_case("gitlab.com") {
        true => {
            "; a namespace on the Free tier of GitLab.com has none: there, a legacy personal access token"
        }
        false => "",
    };
    format!("a project access token with scope api and {} (Settings > Access tokens{free})", role.words())
}

impl Remedy {
    /// A new token for a Provider, in a Secret that it names.
    pub(in crate::assess) fn of_provider_token(facts: &Facts<'_>, provider: &Provider, own: bool) -> Self {
        let object = provider.metadata.object("Provider");
        let named = provider.secret().filter(|_| !own);
        let secret = named.clone().unwrap_or_else(|| {
            let name = format!("{}-token", object.name);
            ObjectRef::new("Secret", &object.namespace, &name)
        });
        if let Some(remedy) = Self::of_creator(facts, &secret) {
            return remedy;
        }
        let of = match project(&provider.spec.address) {
            Some((_, path)) if !path.is_empty() && !is_number(path) => format!("project {path}"),
            Some((_, number)) if !number.is_empty() => format!("the project with number {number}"),
            _ => "the project".to_owned(),
        };
        let host = project(&provider.spec.address).map_or("", |(host, _)| host);
        let token = token(&facts.status_role(provider), host);
        let text = format!(
            "create {token} for {of} in GitLab, and write it into {secret} (it is asked for, and not shown)"
        );
        let remedy =
            Self::in_git(facts, &secret, &text).write_secret(&secret.namespace, &secret.name, "token");
        match named {
            Some(_) => remedy,
            None => remedy.patch(&object, &json!({"spec": {"secretRef": {"name": secret.name}}})),
        }
    }

    /// A Provider and an Alert that register job statuses for what these Kustomizations apply from a project.
    pub(in crate::assess) fn register_statuses(
        facts: &Facts<'_>,
        source: &Source,
        kustomizations: &[&Kustomization],
    ) -> Self {
        let namespace = &source.metadata.namespace;
        let name = format!("gitlab-status-{}", source.metadata.name);
        let (host, path) = project(&source.spec.url).unwrap_or_default();
        let port = match crate::facts::host::host_and_port(&source.spec.url) {
            Some((_, port)) if !port.is_empty() && source.spec.url.starts_with("http") => format!(":{port}"),
            _ => String::new(),
        };
        let token = token(&facts.status_role_of(source), host);
        let text = format!(
            "create {token} for project {path} in GitLab, and add a Provider and an Alert; commit both to the Flux repository \
             (the Secret encrypted), so that they outlive the cluster. An authority of your own goes into \
             spec.certSecretRef of the Provider"
        );
        let sources: String = kustomizations
            .iter()
            .map(|k| {
                format!(
                    "  - kind: Kustomization\n    name: {}\n    namespace: {}\n",
                    yaml_word(&k.metadata.name),
                    yaml_word(&k.metadata.namespace)
                )
            })
            .collect();
        let (word, space) = (yaml_word(&name), yaml_word(namespace));
        let address = yaml_word(&format!("https://{host}{port}/{path}"));
        let manifests = format!(
            "apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Provider
metadata:
  name: {word}
  namespace: {space}
spec:
  type: gitlab
  address: {address}
  secretRef:
    name: {word}
---
apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Alert
metadata:
  name: {word}
  namespace: {space}
spec:
  providerRef:
    name: {word}
  eventSources:
{sources}"
        );
        Self::say(text).write_secret(namespace, &name, "token").run(apply(manifests))
    }

    /// Lets a Secret live on in the cluster when it is taken out of Git. The field manager is not kubectl's, because
    /// kustomize-controller undoes what is written under that name.
    pub(in crate::assess) fn keep_without_git(self, object: &ObjectRef) -> Self {
        self.run(
            kubectl(&object.namespace, "annotate --overwrite --field-manager=gitlab-agent-cli")
                .object(object)
                .words("kustomize.toolkit.fluxcd.io/prune=disabled"),
        )
    }

    /// Shows what notification-controller says of one Alert.
    pub(in crate::assess) fn show_dispatch(self, facts: &Facts<'_>, alert: &ObjectRef) -> Self {
        let of = format!("involvedObject.kind=Alert,involvedObject.name={}", alert.name);
        let controller = facts.flux.expected("notification-controller", &Meta::default());
        self.run(kubectl(&alert.namespace, "get events").flag("--field-selector", of))
            .run(kubectl(&controller.namespace, "logs").object(&controller).words("--tail=50"))
    }
}
