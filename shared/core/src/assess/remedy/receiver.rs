//! What to do about a Receiver and its Secret.

use super::{Remedy, field};
use crate::command::kubectl;
use crate::facts::{Facts, Receiver};
use crate::object::ObjectRef;

/// Whether agentk made a Receiver: by its annotation, else by the name of its Secret.
fn is_of_agentk(receiver: &Receiver) -> bool {
    receiver.metadata.annotation("app.kubernetes.io/managed-by") == Some("gitlab")
        || receiver.spec.secret_ref.name.starts_with("gitlab-receiver-")
}

impl Remedy {
    /// What to do about a Receiver's Secret that is missing or of no use. One of agentk's is made again by agentk, and
    /// only at its start: a later event of the GitRepository without a change of its spec is ignored.
    pub(in crate::assess) fn of_receiver_secret(facts: &Facts<'_>, receiver: &Receiver) -> Self {
        let object = receiver.metadata.object("Receiver");
        let secret = ObjectRef::new("Secret", &object.namespace, &receiver.spec.secret_ref.name);
        if let Some(remedy) = Self::of_creator(facts, &secret) {
            return remedy;
        }
        if is_of_agentk(receiver) {
            let text = "delete the Receiver and its Secret and restart agentk, which makes both again for every \
                        GitRepository when it starts";
            let delete = kubectl(&object.namespace, "delete").object(&object).object(&secret);
            return Self::say(text).run(delete.words("--ignore-not-found")).restart_agents(facts);
        }
        let text = "choose a new random token (for example with `openssl rand -hex 32`), write it into the Secret (it is \
                    asked for, and not shown), and set it together with the new path, which the last command prints, at \
                    the sender's webhook";
        Self::in_git(facts, &secret, text)
            .write_secret(&secret.namespace, &secret.name, "token")
            .reconcile(&object)
            .run(field(&object, ".status.webhookPath"))
    }

    /// Adds the restart of every agentk.
    pub(in crate::assess) fn restart_agents(self, facts: &Facts<'_>) -> Self {
        facts.agents.iter().fold(self, |remedy, agent| remedy.restart(&agent.object()))
    }
}
