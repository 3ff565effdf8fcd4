//! What to do about a finding: a sentence, and commands that can be pasted as they are.

mod kustomization;
mod notification;
pub(in crate::assess) mod origin;
mod receiver;
mod source;

use serde_json::{Value, json};

use crate::command::{Command, Program, Variable, Word, kubectl};
use crate::facts::agent::Agent;
use crate::facts::failure::{Failure, read};
use crate::facts::log::{Effect, Help, Rule};
use crate::facts::workload::{PAUSED, ROLLING_OUT, Trouble};
use crate::facts::{Facts, Observed, ReferencedEntry};
use crate::object::ObjectRef;

/// What to do about a finding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remedy {
    /// One sentence in the imperative, without a full stop.
    pub text: String,
    /// Commands for a shell, in order.
    pub commands: Vec<Command>,
    /// Whether a command had a flaw: then none is printed, because half of a remedy may do harm.
    withheld: bool,
}

/// Objects that may create another by their name, and that could not be read; one without a name stands for all of its kind that
/// could not be listed.
pub(super) fn unread_creators<'s>(
    facts: &Facts<'s>,
    object: &'s ObjectRef,
) -> impl Iterator<Item = &'s ReferencedEntry> {
    let same = move |e: &&ReferencedEntry| {
        let named = e.name == object.name || e.name.is_empty();
        e.namespace == object.namespace && named && crate::facts::is_creator(&e.kind)
    };
    facts.snapshot.referenced.iter().filter(same).filter(|e| matches!(e.state, Observed::Unknown(_)))
}

impl Remedy {
    /// A remedy without a command.
    pub fn say(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Adds a command. With one that must not be printed the remedy has none, and says why.
    #[must_use]
    pub fn run(mut self, command: impl Into<Command>) -> Self {
        let command = command.into();
        match command.flaw() {
            Some(flaw) if !self.withheld => {
                self.text.push_str(&format!("; no command is printed, because {flaw}"));
                self.commands.clear();
                self.withheld = true;
            }
            None if !self.withheld => self.commands.push(command),
            _ => {}
        }
        self
    }

    /// The commands as a POSIX shell takes them, without the flags of the run.
    pub fn lines(&self) -> Vec<String> {
        self.commands.iter().map(ToString::to_string).collect()
    }

    /// Adds the restart of a workload.
    #[must_use]
    pub fn restart(self, workload: &ObjectRef) -> Self {
        self.run(kubectl(&workload.namespace, "rollout restart").object(workload))
    }

    /// Adds the request that makes Flux reconcile an object now.
    #[must_use]
    pub fn reconcile(self, object: &ObjectRef) -> Self {
        self.run(
            kubectl(&object.namespace, "annotate --overwrite")
                .object(object)
                .flag("reconcile.fluxcd.io/requestedAt", Word::default().output(Program::new("date +%s"))),
        )
    }

    /// Adds the writing of one key of a Secret from a prompt: the value passes neither the command line nor the
    /// shell's history. Other keys of the Secret stay.
    #[must_use]
    pub fn write_secret(self, namespace: &str, name: &str, key: &'static str) -> Self {
        let create = Program::new("kubectl create secret generic")
            .name(name)
            .in_namespace(namespace)
            .flag("--from-file", format!("{key}=/dev/stdin"))
            .words("--dry-run=client -o yaml");
        self.run(Command::ask("VALUE").then(print_value().pipe(create).pipe(apply_as_ours())))
    }

    /// Adds a merge patch.
    #[must_use]
    pub fn patch(self, object: &ObjectRef, patch: &Value) -> Self {
        let program = kubectl(&object.namespace, "patch").object(object);
        self.run(program.words("--type=merge -p").word(patch.to_string()))
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
        let now = || Variable::new("NOW");
        let annotate = kubectl(&release.namespace, "annotate --overwrite")
            .object(release)
            .flag("reconcile.fluxcd.io/requestedAt", now())
            .flag("reconcile.fluxcd.io/resetAt", now());
        self.run(Command::set("NOW", Word::default().output(Program::new("date +%s"))).then(annotate))
    }

    /// What to do about an object that does not exist and that something creates; none where nothing is known to.
    /// An object that is created by hand in its place is overwritten, or keeps it from being created.
    pub(super) fn of_creator(facts: &Facts<'_>, object: &ObjectRef) -> Option<Self> {
        if let Some(unread) = unread_creators(facts, object).find(|entry| !entry.name.is_empty()) {
            let creator = unread.object();
            let text = format!(
                "look at {creator}, which may create it and could not be read; do not create it by hand"
            );
            return Some(Self::say(text).run(kubectl(&creator.namespace, "describe").object(&creator)));
        }
        let creator = facts.creators.get(object)?.first()?;
        let text = format!(
            "let {creator} create it: its condition says what keeps it from doing so; do not create it by hand"
        );
        Some(Self::say(text).run(kubectl(&creator.namespace, "describe").object(creator)))
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
            .write_secret(&secret.namespace, &secret.name, "token")
            .restart(&agent.object()),
            (Help::Restart, _) => remedy.restart(&agent.object()),
            (Help::Kubectl(words), _) => remedy.run(kubectl(agent.namespace(), words)),
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
        let name = format!("{account}-{}", resource.split('.').next().unwrap_or(resource));
        let (role, binding, flag) = match everywhere {
            true => ("create clusterrole", "create clusterrolebinding", "--clusterrole"),
            false => ("create role", "create rolebinding", "--role"),
        };
        let create =
            kubectl(agent.namespace(), role).name(&name).flag("--verb", verbs).flag("--resource", resource);
        let bind = kubectl(agent.namespace(), binding)
            .name(&name)
            .flag(flag, &name)
            .flag("--serviceaccount", format!("{}:{account}", agent.namespace()));
        self.run(create).run(bind)
    }
}

/// Prints what was asked for, for the next program in the pipe.
fn print_value() -> Program {
    Program::new("printf %s").word(Variable::new("VALUE"))
}

/// Applies what is piped in under our own field manager.
fn apply_as_ours() -> Program {
    Program::new("kubectl apply --server-side --force-conflicts --field-manager=gitlab-agent-cli -f -")
}

/// Applies manifests.
pub(super) fn apply(manifests: impl Into<Word>) -> Program {
    Program::new("kubectl apply -f -").from_text(manifests)
}

/// Prints one field of an object, with a line feed behind it.
pub(super) fn field(object: &ObjectRef, path: &'static str) -> Program {
    let template = format!(r#"jsonpath={{{path}}}{{"\n"}}"#);
    kubectl(&object.namespace, "get").object(object).words("-o").word(template)
}

impl Remedy {
    /// What mends a workload, by the reason why it does not run.
    pub fn workload(workload: &ObjectRef, trouble: &Trouble) -> Self {
        let namespace = &workload.namespace;
        let shown = trouble.pod.as_ref().unwrap_or(workload);
        let describe = |text: &str| Self::say(text).run(kubectl(namespace, "describe").object(shown));
        let logs =
            |flags| kubectl(namespace, "logs").object(shown).words("--all-containers --tail=50").words(flags);
        match trouble.reason.as_str() {
            ROLLING_OUT => Self::say("wait for the rollout to end; look again if it does not").run(
                kubectl(namespace, "rollout status").object(workload).words("--timeout=5m"),
            ),
            PAUSED => Self::say(
                "resume its rollout, and take spec.paused out in Git where it is set there; first ask who paused it, and why",
            )
            .run(kubectl(namespace, "rollout resume").object(workload)),
            "ImagePullBackOff" | "ErrImagePull" | "ErrImageNeverPull" | "InvalidImageName" => describe(
                "correct the image's name or tag in Git, or give the pod a pull secret that its registry accepts; \
                 Kubernetes then tries again by itself",
            ),
            "OOMKilled" => describe(
                "raise the container's memory limit in Git (its manifest or Helm values); what it did before it ran \
                 out of memory is in the log",
            )
            .run(logs("--previous")),
            "CrashLoopBackOff" => describe(
                "read why it ends, mend that (or revert the commit that brought it), then restart it so that it does \
                 not wait out its back-off",
            )
            .run(logs("--previous"))
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
            .run(Program::new("kubectl get namespace").name(namespace).words("--show-labels"))
            .restart(workload),
            "QuotaExceeded" => Self::say(
                "raise the quota, or ask for less in the manifest or Helm values in Git; then restart it so that it \
                 does not wait out its back-off",
            )
            .run(kubectl(namespace, "describe resourcequota"))
            .restart(workload),
            "NodeLost" | "NodeNotReady" | "Terminating" => describe(
                "start the node again, or see what keeps its pods from ending; where the machine is off for good, delete its Node \
                 object: Kubernetes then replaces the pods",
            )
            .run(Program::new("kubectl get nodes")),
            "Unhealthy" => describe(
                "correct the probe in Git (its port, path and time-outs), or mend what answers there: the evidence is what the \
                 probe got; the log says more",
            )
            .run(logs("")),
            "UnboundClaim" => describe(
                "give the PersistentVolumeClaim what it waits for: a StorageClass that exists, a provisioner that works, or a \
                 volume that fits",
            )
            .run(kubectl(namespace, "get persistentvolumeclaims"))
            .run(Program::new("kubectl get storageclasses")),
            "FailedMount" | "FailedAttachVolume" | "FailedCreatePodSandBox" | "NetworkNotReady" => describe(
                "mend what the evidence names: the volume or the network that the pod waits for; Kubernetes then tries again \
                 by itself",
            ),
            "Unschedulable" if read(&trouble.message) == Failure::Tainted => {
                describe(Failure::Tainted.advice().unwrap_or_default()).run(Program::new("kubectl describe nodes"))
            }
            "Unschedulable" | "SchedulingGated" => describe(
                "make room for the pod: add nodes, free CPU or memory, or mend its node selector, tolerations or \
                 volume; its events say which",
            )
            .run(Program::new("kubectl get nodes")),
            "FailedCreate" => describe(
                "mend what keeps Kubernetes from making the pods (an admission policy, a LimitRange, a missing ServiceAccount), then \
                 restart it so that it does not wait out its back-off",
            )
            .restart(workload),
            _ => describe("read its events and its log, mend what they name (or revert the commit that brought it)")
                .run(logs("")),
        }
    }

    /// Adds the bootstrap of Flux from a GitLab project, which also mends one that was bootstrapped before. It asks
    /// for a GitLab token. What only the person knows it takes from variables, and stops where one is not set.
    #[must_use]
    pub fn bootstrap_flux(self) -> Self {
        self.run(
            Program::new("flux bootstrap gitlab --token-auth")
                .flag("--hostname", Variable::or("GITLAB_HOST", "gitlab.com"))
                .flag("--owner", Variable::required("GITLAB_GROUP", "the group of the Flux repository"))
                .flag(
                    "--repository",
                    Variable::required("FLUX_REPOSITORY", "the name of the Flux repository"),
                )
                .flag("--branch", Variable::or("FLUX_BRANCH", "main"))
                .flag(
                    "--path",
                    Variable::required(
                        "FLUX_PATH",
                        "the directory of this cluster in it, for example clusters/production",
                    ),
                ),
        )
    }

    /// Adds the request that makes helm-controller upgrade a release now even if nothing of it changed: it writes
    /// again what somebody deleted or edited. Both annotations must hold one value, so `date` writes both.
    #[must_use]
    pub fn force_release(self, release: &ObjectRef) -> Self {
        let format = r#"+{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"%s","reconcile.fluxcd.io/forceAt":"%s"}}}"#;
        let patch = Word::default().output(Program::new("date").word(format));
        let program = kubectl(&release.namespace, "patch").object(release);
        self.run(program.words("--type=merge -p").word(patch))
    }

    /// Adds the writing of Flux's own manifests, in the release that runs. `flux install` alone refuses to do it in
    /// a cluster that was bootstrapped.
    #[must_use]
    pub fn reapply_flux(self, facts: &Facts<'_>) -> Self {
        let names: Vec<&str> = facts.components();
        let export = Program::new("flux install --export")
            .flag("--namespace", &facts.snapshot.flux_namespace)
            .flag("--components", names.join(","));
        let export = match facts.flux_release() {
            Some(version) => export.flag("--version", version),
            None => export,
        };
        self.run(export.pipe(Program::new("kubectl apply --server-side --force-conflicts -f -")))
    }

    /// Adds the objects by which Flux installs agentk, with the address and the Secret that the agent has.
    #[must_use]
    pub(super) fn install_agent(self, agent: &AgentInstall<'_>, kas_address: &str) -> Self {
        self.run(apply(agent.manifests(Word::from(yaml_word(kas_address)))))
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
        let address = Word::from("\"").variable(Variable::new("KAS_ADDRESS")).text("\"");
        let install = apply(agent.manifests(address));
        self.run(Program::new("kubectl create namespace gitlab"))
            .write_secret("gitlab", TOKEN_SECRET, "token")
            .run(Command::prompt("KAS_ADDRESS", "kasAddress that GitLab showed", true).then(install))
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
    fn manifests(&self, kas_address: Word) -> Word {
        let (namespace, release) = (yaml_word(self.namespace), yaml_word(self.release));
        let secret = yaml_word(self.secret);
        let version = self.version.as_deref().map(|v| format!("\n      version: {}", yaml_word(v)));
        let version = version.unwrap_or_default();
        let before = format!(
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
      kasAddress: "
        );
        Word::from(before).join(kas_address).text(format!("\n      secretName: {secret}\n"))
    }
}

/// One word of YAML, whatever is in it: JSON strings are YAML.
pub(super) fn yaml_word(text: &str) -> String {
    Value::from(text).to_string()
}
