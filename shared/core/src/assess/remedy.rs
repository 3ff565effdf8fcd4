//! What to do about a finding: a sentence, and commands that can be pasted as they are.

mod receiver;
mod source;

use serde_json::{Value, json};

use crate::facts::Facts;
use crate::facts::agent::Agent;
use crate::facts::log::{Effect, Help, Rule};
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
