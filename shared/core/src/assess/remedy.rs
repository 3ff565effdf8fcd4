//! What to do about a finding: a sentence, and commands that can be pasted as they are.

mod kustomization;
mod notification;
pub(in crate::assess) mod origin;
mod receiver;
mod source;

use serde_json::{Value, json};

use crate::facts::Facts;
use crate::facts::agent::Agent;
use crate::facts::flux::CONTROLLERS;
use crate::facts::log::{Effect, Help, Rule};
use crate::facts::workload::{PAUSED, ROLLING_OUT, Trouble};
use crate::object::ObjectRef;
use crate::text::quote;

/// What to do about a finding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remedy {
    /// One sentence in the imperative, without a full stop.
    pub text: String,
    /// Commands for a shell, in order. `kubectl` stands first in each that talks to the cluster, so that a renderer
    /// can add `--context`.
    pub commands: Vec<String>,
}

impl Remedy {
    /// A remedy without a command.
    pub fn say(text: impl Into<String>) -> Self {
        Self { text: text.into(), commands: Vec::new() }
    }

    /// Adds a command as it is. Names that come from the cluster must be quoted by the caller.
    #[must_use]
    pub fn run(mut self, command: impl Into<String>) -> Self {
        self.commands.push(command.into());
        self
    }

    /// Adds `kubectl -n NAMESPACE …`; the words behind are taken as they are.
    #[must_use]
    pub fn kubectl(self, namespace: &str, words: impl AsRef<str>) -> Self {
        let command = format!("kubectl -n {} {}", quote(namespace), words.as_ref());
        self.run(command)
    }

    /// Adds the restart of a workload.
    #[must_use]
    pub fn restart(self, workload: &ObjectRef) -> Self {
        self.kubectl(&workload.namespace, format!("rollout restart {}", workload.kubectl()))
    }

    /// Adds the request that makes Flux reconcile an object now.
    #[must_use]
    pub fn reconcile(self, object: &ObjectRef) -> Self {
        let words = format!(
            r#"annotate --overwrite {} reconcile.fluxcd.io/requestedAt="$(date +%s)""#,
            object.kubectl()
        );
        self.kubectl(&object.namespace, words)
    }

    /// Adds the writing of one key of a Secret from a prompt: the value passes neither the command line nor the
    /// shell's history. Other keys of the Secret stay.
    #[must_use]
    pub fn write_secret(self, namespace: &str, name: &str, key: &str, others: &[(&str, &str)]) -> Self {
        let literals: String =
            others.iter().map(|(k, v)| format!(" --from-literal={}", quote(&format!("{k}={v}")))).collect();
        self.run(format!(
            "read -rs VALUE && printf %s \"$VALUE\" | kubectl create secret generic {} -n {}{literals} --from-file={key}=/dev/stdin \
             --dry-run=client -o yaml | kubectl apply --server-side --force-conflicts \
             --field-manager=gitlab-agent-cli -f -",
            quote(name),
            quote(namespace),
        ))
    }

    /// Adds a merge patch.
    #[must_use]
    pub fn patch(self, object: &ObjectRef, patch: &Value) -> Self {
        let words = format!("patch {} --type=merge -p {}", object.kubectl(), quote(&patch.to_string()));
        self.kubectl(&object.namespace, words)
    }

    /// Adds the end of a suspension.
    #[must_use]
    pub fn resume(self, object: &ObjectRef) -> Self {
        self.patch(object, &json!({"spec": {"suspend": false}}))
    }

    /// Adds the request that makes helm-controller forget its failed attempts and try again: both annotations need
    /// one value.
    #[must_use]
    pub fn reset(self, release: &ObjectRef) -> Self {
        let (namespace, object) = (quote(&release.namespace), release.kubectl());
        self.run(format!(
            r#"NOW="$(date +%s)" && kubectl -n {namespace} annotate --overwrite {object} reconcile.fluxcd.io/requestedAt="$NOW" reconcile.fluxcd.io/resetAt="$NOW""#
        ))
    }

    /// What to do about an object that does not exist and that something creates; none where nothing is known to.
    /// An object that is created by hand in its place is overwritten, or keeps it from being created.
    pub(super) fn of_creator(facts: &Facts<'_>, object: &ObjectRef) -> Option<Self> {
        let creator = facts.creators.get(object)?.first()?;
        let text = format!(
            "let {creator} create it: its condition says what keeps it from doing so; do not create it by hand"
        );
        Some(Self::say(text).kubectl(&creator.namespace, format!("describe {}", creator.kubectl())))
    }

    /// A sentence with what to know of a live change: whoever applied the object from Git reverts it.
    pub(super) fn in_git(facts: &Facts<'_>, object: &ObjectRef, text: &str) -> Self {
        Self::say(match facts.owners().get(object) {
            Some(owner) => {
                format!(
                    "{text}; do it in Git too, because {owner} applies the object and reverts a live change"
                )
            }
            None => text.to_owned(),
        })
    }

    /// What to do about a known fault of agentk's log.
    pub(super) fn of_fault(agent: &Agent<'_>, rule: &Rule) -> Self {
        let remedy = Self::say(rule.remedy);
        match (rule.help, agent.secret_object()) {
            (_, Some(_)) if rule.effect == Effect::TokenRefused && agent.runs_with_an_old_token() => {
                Self::say("restart agentk, so that it reads the token that its Secret holds now").restart(&agent.object())
            }
            (_, Some(secret)) if rule.effect == Effect::TokenRefused => Self::say(
                "create a new token in GitLab (Operate > Kubernetes clusters > the agent > Access tokens; an agent has \
                 two active ones at most), write it into the Secret (it is asked for, and not shown) and restart agentk",
            )
            .write_secret(&secret.namespace, &secret.name, "token", &[])
            .restart(&agent.object()),
            (Help::Restart, _) => remedy.restart(&agent.object()),
            (Help::Kubectl(words), _) => remedy.kubectl(agent.namespace(), words),
            (Help::Grant { verbs, resource, everywhere }, _) => {
                let remedy = remedy.grant(agent, verbs, resource, everywhere);
                if rule.lasting { remedy.restart(&agent.object()) } else { remedy }
            }
            (Help::Words, _) => remedy,
        }
    }

    fn grant(self, agent: &Agent<'_>, verbs: &str, resource: &str, everywhere: bool) -> Self {
        let account = agent.deployment.spec.template.spec.service_account_name.as_str();
        let account = if account.is_empty() { "default" } else { account };
        let subject = quote(&format!("{}:{account}", agent.namespace()));
        let name = quote(&format!("{account}-{}", resource.split('.').next().unwrap_or(resource)));
        let role = if everywhere { "clusterrole" } else { "role" };
        self.kubectl(agent.namespace(), format!("create {role} {name} --verb={verbs} --resource={resource}"))
            .kubectl(
                agent.namespace(),
                format!("create {role}binding {name} --{role}={name} --serviceaccount={subject}"),
            )
    }
}

impl Remedy {
    /// What mends a workload, by the reason why it does not run.
    pub fn workload(workload: &ObjectRef, trouble: &Trouble) -> Self {
        let namespace = &workload.namespace;
        let shown = trouble.pod.as_ref().unwrap_or(workload).kubectl();
        let describe = |text: &str| Self::say(text).kubectl(namespace, format!("describe {shown}"));
        let logs = |flags: &str| format!("logs {shown} --all-containers --tail=50{flags}");
        match trouble.reason.as_str() {
            ROLLING_OUT => Self::say("wait for the rollout to end; look again if it does not").kubectl(
                namespace,
                format!("rollout status {} --timeout=5m", workload.kubectl()),
            ),
            PAUSED => Self::say(
                "resume its rollout, and take spec.paused out in Git where it is set there; first ask who paused it, and why",
            )
            .kubectl(namespace, format!("rollout resume {}", workload.kubectl())),
            "ImagePullBackOff" | "ErrImagePull" | "ErrImageNeverPull" | "InvalidImageName" => describe(
                "correct the image's name or tag in Git, or give the pod a pull secret that its registry accepts; \
                 Kubernetes then tries again by itself",
            ),
            "OOMKilled" => describe(
                "raise the container's memory limit in Git (its manifest or Helm values); what it did before it ran \
                 out of memory is in the log",
            )
            .kubectl(namespace, logs(" --previous")),
            "CrashLoopBackOff" => describe(
                "read why it ends, mend that (or revert the commit that brought it), then restart it so that it does \
                 not wait out its back-off",
            )
            .kubectl(namespace, logs(" --previous"))
            .restart(workload),
            "CreateContainerConfigError" | "CreateContainerError" | "ContainerCreating" | "PodInitializing" => {
                describe(
                    "make what the pod waits for exist: a Secret, ConfigMap, volume or network that its events name; \
                     Kubernetes then tries again by itself",
                )
            }
            "PodSecurity" => Self::say(
                "give the pods the security context that the namespace's Pod Security level asks for (its manifest or \
                 Helm values in Git), or label the namespace with a level that admits them; then restart it",
            )
            .run(format!("kubectl get namespace {} --show-labels", quote(namespace)))
            .restart(workload),
            "QuotaExceeded" => Self::say(
                "raise the quota, or ask for less in the manifest or Helm values in Git; then restart it so that it \
                 does not wait out its back-off",
            )
            .kubectl(namespace, "describe resourcequota")
            .restart(workload),
            "Unschedulable" | "SchedulingGated" => describe(
                "make room for the pod: add nodes, free CPU or memory, or mend its node selector, tolerations or \
                 volume; its events say which",
            )
            .run("kubectl get nodes"),
            "FailedCreate" => describe(
                "mend what keeps Kubernetes from making the pods (an admission policy, a missing ServiceAccount), then \
                 restart it so that it does not wait out its back-off",
            )
            .restart(workload),
            _ => describe("read its events and its log, mend what they name (or revert the commit that brought it)")
                .kubectl(namespace, logs("")),
        }
    }

    /// Adds the bootstrap of Flux from a GitLab project, which also mends one that was bootstrapped before. It asks
    /// for a GitLab token. What only the person knows it takes from variables, and stops where one is not set.
    #[must_use]
    pub fn bootstrap_flux(self) -> Self {
        self.run(
            "flux bootstrap gitlab --token-auth --hostname=\"${GITLAB_HOST:-gitlab.com}\" --owner=\"${GITLAB_GROUP:?the \
             group of the Flux repository}\" --repository=\"${FLUX_REPOSITORY:?the name of the Flux repository}\" \
             --branch=\"${FLUX_BRANCH:-main}\" --path=\"${FLUX_PATH:?the directory of this cluster in it, for example \
             clusters/production}\"",
        )
    }

    /// Adds the request that makes helm-controller upgrade a release now even if nothing of it changed: it writes
    /// again what somebody deleted or edited. Both annotations must hold one value, so `date` writes both.
    #[must_use]
    pub fn force_release(self, release: &ObjectRef) -> Self {
        let words = format!(
            r#"patch {} --type=merge -p "$(date +'{{"metadata":{{"annotations":{{"reconcile.fluxcd.io/requestedAt":"%s","reconcile.fluxcd.io/forceAt":"%s"}}}}}}')""#,
            release.kubectl()
        );
        self.kubectl(&release.namespace, words)
    }

    /// Adds the writing of Flux's own manifests, in the release that runs. `flux install` alone refuses to do it in
    /// a cluster that was bootstrapped.
    #[must_use]
    pub fn reapply_flux(self, facts: &Facts<'_>) -> Self {
        let names: Vec<&str> = CONTROLLERS.iter().map(|(name, _)| *name).collect();
        let version = facts.flux_release().map(|v| format!(" --version={}", quote(v))).unwrap_or_default();
        self.run(format!(
            "kubectl apply --server-side --force-conflicts -f <(flux install --export --namespace={} --components={}{version})",
            quote(&facts.snapshot.flux_namespace),
            names.join(","),
        ))
    }

    /// Adds the objects by which Flux installs agentk, with the address and the Secret that the agent has.
    #[must_use]
    pub(super) fn install_agent(self, agent: &AgentInstall<'_>, kas_address: &str) -> Self {
        let manifests = agent.manifests(&yaml_word(kas_address));
        self.run(format!("kubectl apply -f - <<'EOF'\n{manifests}EOF"))
    }

    /// Adds the same for an agent whose address only GitLab knows: it is asked for.
    #[must_use]
    pub fn install_new_agent(self) -> Self {
        let agent = AgentInstall {
            namespace: "gitlab",
            release: "gitlab-agent",
            secret: TOKEN_SECRET,
            version: None,
        };
        let manifests = agent.manifests("\"$KAS_ADDRESS\"");
        self.run("kubectl create namespace gitlab").write_secret("gitlab", TOKEN_SECRET, "token", &[]).run(format!(
            "read -rp 'kasAddress that GitLab showed: ' KAS_ADDRESS && kubectl apply -f - <<EOF\n{manifests}EOF"
        ))
    }
}

/// Name of the token Secret in GitLab's documents.
const TOKEN_SECRET: &str = "gitlab-agent-token";

/// What the documented HelmRelease of agentk says.
pub(super) struct AgentInstall<'a> {
    /// Namespace of the objects and of agentk.
    pub(super) namespace: &'a str,
    /// Name of the HelmRelease and of Helm's release.
    pub(super) release: &'a str,
    /// Name of the token Secret.
    pub(super) secret: &'a str,
    /// Range of chart versions.
    pub(super) version: Option<String>,
}

impl AgentInstall<'_> {
    /// HelmRepository and HelmRelease in YAML; the address is a word of YAML already.
    fn manifests(&self, kas_address: &str) -> String {
        let (namespace, release) = (yaml_word(self.namespace), yaml_word(self.release));
        let secret = yaml_word(self.secret);
        let version = self.version.as_deref().map(|v| format!("\n      version: {}", yaml_word(v)));
        let version = version.unwrap_or_default();
        format!(
            "apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmRepository
metadata:
  name: gitlab-agent
  namespace: {namespace}
spec:
  interval: 1h0m0s
  url: https://charts.gitlab.io
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata:
  name: {release}
  namespace: {namespace}
spec:
  interval: 1h0m0s
  releaseName: {release}
  chart:
    spec:
      chart: gitlab-agent{version}
      sourceRef:
        kind: HelmRepository
        name: gitlab-agent
        namespace: {namespace}
  values:
    config:
      kasAddress: {kas_address}
      secretName: {secret}
"
        )
    }
}

/// One word of YAML, whatever is in it: JSON strings are YAML.
pub(super) fn yaml_word(text: &str) -> String {
    Value::from(text).to_string()
}
