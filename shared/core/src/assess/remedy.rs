//! What to do about a finding: a sentence, and commands that can be pasted as they are.

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
}
