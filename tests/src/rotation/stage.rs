//! An agent whose token is rotated: the played agentk reads its token once per pod and is cut off when that is revoked.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::running::Running;
use super::{SOON, nothing_was_asked_for, watch, while_watched};
use crate::programs::{Ran, command, run};
use crate::world::World;
use crate::world::gitlab::AGENT_ID;
use crate::world::wait::yes;

/// The annotation with the journal.
const JOURNAL: &str = "cli.gitlab-agent.dev/rotation";

/// The world with a person who may do it.
pub struct Stage<'w> {
    /// Where.
    pub world: &'w World,
    /// The token of GitLab that the person signs in with.
    pub token: String,
    ca: PathBuf,
}

impl<'w> Stage<'w> {
    /// A world in which the agent has one token, and is connected with it.
    pub fn new(world: &'w World) -> Result<Self> {
        let ca = world.dir().join("gitlab-ca.pem");
        std::fs::write(&ca, world.gitlab().ca_pem())?;
        world.gitlab().clear_faults();
        let stage = Self { world, token: world.gitlab().new_access_token(&["api"])?, ca };
        world.gitlab().revoke_agent_tokens_but(&stage.held()?);
        stage.is_connected()?;
        Ok(stage)
    }

    /// A run with these arguments.
    pub fn prepared(&self, args: &[&str]) -> Command {
        let mut command = command("rotate_token");
        let host = self.world.gitlab().url();
        command.args(["agent", "--gitlab-host", &host, "--gitlab-ca-file"]).arg(&self.ca).args(args);
        command.args(watch(args));
        command.env("KUBECONFIG", self.world.kubeconfig()).env("GITLAB_TOKEN", &self.token);
        command.env("USER", "ada").env("HOSTNAME", "console");
        command
    }

    /// kubectl in the agent's namespace.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.world.kubectl(&[&["-n", "gitlab"], args].concat())
    }

    /// Runs it to its end.
    pub fn rotate(&self, args: &[&str]) -> Ran {
        run(&mut self.prepared(args))
    }

    /// The agent's Secret.
    pub fn secret(&self) -> Result<Value> {
        let args = ["get", "secret", "-n", "gitlab", "gitlab-agent-token", "-o", "json"];
        Ok(serde_json::from_str(&self.world.kubectl(&args)?)?)
    }

    /// What the Secret holds.
    pub fn held(&self) -> Result<String> {
        let secret = self.secret()?;
        let encoded = secret["data"]["token"].as_str().context("no token")?;
        Ok(String::from_utf8(STANDARD.decode(encoded)?)?)
    }

    /// Values of the agent's active tokens.
    pub fn active(&self) -> Vec<String> {
        let all = self.world.gitlab().agent_tokens(AGENT_ID);
        all.into_iter().filter(|t| !t.revoked).map(|t| t.value).collect()
    }

    /// A pod is connected, and leads.
    pub fn is_connected(&self) -> Result<()> {
        let args = ["get", "pods", "-n", "gitlab", "-o", "jsonpath={.items[*].metadata.name}"];
        self.world.wait_until("agentk to be connected", SOON, || {
            let pods = self.world.kubectl(&args)?;
            let known = self.world.gitlab().connections(AGENT_ID);
            let lease =
                ["get", "lease", "-n", "gitlab", "agent-7-lock", "-o", "jsonpath={.spec.holderIdentity}"];
            let holder = self.world.kubectl(&lease).unwrap_or_default();
            let lives = |pod: &str| pods.split_whitespace().any(|p| p == pod);
            let leads = lives(holder.split('_').next().unwrap_or_default());
            // A pod that is gone is listed for a while, and looks like another cluster's.
            Ok(yes(leads && !known.is_empty() && known.iter().all(|c| lives(&c.pod))))
        })
    }

    /// Nothing of a rotation is left: one active token, and the Secret and agentk use it.
    pub fn is_clean(&self) -> Result<()> {
        ensure!(self.active() == [self.held()?], "one active token, and the Secret holds it");
        let secret = self.secret()?;
        let annotations = &secret["metadata"]["annotations"];
        ensure!(annotations[JOURNAL].is_null(), "no journal: {annotations}");
        let names = self.world.kubectl(&["get", "secret,lease", "-n", "gitlab", "-o", "name"])?;
        ensure!(!names.contains("-prev-") && !names.contains("-rotation"), "{names}");
        self.is_connected()
    }

    /// Runs until the step was done for the nth time, and is killed there.
    pub fn killed_after(&self, step: &str, nth: usize, args: &[&str]) -> Result<()> {
        let mut running = Running::start(&mut self.prepared(args))?;
        running.until(step, nth)?;
        running.child.kill()?;
        running.child.wait()?;
        Ok(())
    }

    /// Everything that a refusal must leave as it is.
    pub fn state(&self) -> Result<Value> {
        let version = |kind: &str, name: &str, path: &str| {
            self.world.kubectl(&["get", kind, "-n", "gitlab", name, "-o", &format!("jsonpath={{{path}}}")])
        };
        let tokens: Vec<u64> =
            self.world.gitlab().agent_tokens(AGENT_ID).iter().filter(|t| !t.revoked).map(|t| t.id).collect();
        Ok(json!({
            "secret": version("secret", "gitlab-agent-token", ".metadata.resourceVersion")?,
            "deployment": version("deployment", "gitlab-agent-v2", ".metadata.generation")?,
            "objects": self.world.kubectl(&["get", "secret,lease", "-n", "gitlab", "-o", "name"])?,
            "tokens": tokens,
        }))
    }

    /// It is refused with this code and these words, and nothing is changed anywhere.
    pub fn refuses(&self, command: &mut Command, code: i32, words: &[&str]) -> Result<()> {
        let before = self.state()?;
        self.world.gitlab().clear_requests();
        let ran = run(command);
        ensure!(ran.code == code, "{ran:?}");
        for word in words {
            ensure!(ran.err.contains(word), "no '{word}' in {ran:?}");
        }
        ensure!(self.state()? == before, "something was changed: {before} {}", self.state()?);
        nothing_was_asked_for(self.world)?;
        Ok(())
    }

    /// The journal on the Secret.
    pub fn journal(&self) -> Result<Value> {
        let secret = self.secret()?;
        let text = secret["metadata"]["annotations"][JOURNAL].as_str().context("a journal")?;
        Ok(serde_json::from_str(text)?)
    }

    /// Writes an annotation with this journal, or takes it away, and a value of the Secret where one is given.
    pub fn bring_back(&self, journal: Option<&Value>, value: Option<&str>) -> Result<()> {
        let text = journal.map(ToString::to_string);
        let mut patch = json!({"metadata": {"annotations": {JOURNAL: text}}});
        if let Some(value) = value {
            patch["data"] = json!({"token": STANDARD.encode(value)});
            patch["metadata"]["annotations"]["gitlab.com/agent-token-id"] = Value::Null;
        }
        self.kubectl(&["patch", "secret", "gitlab-agent-token", "--type=merge", "-p", &patch.to_string()])?;
        Ok(())
    }

    /// The Secret is deleted and made again, with this value alone.
    pub fn make_again(&self, value: &str) -> Result<()> {
        let again = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "gitlab-agent-token", "namespace": "gitlab"},
            "data": {"token": STANDARD.encode(value)}});
        let file = self.world.dir().join("again.json");
        std::fs::write(&file, again.to_string())?;
        self.kubectl(&["replace", "--force", "-f", &file.display().to_string()])?;
        Ok(())
    }
}

/// [`while_watched`] for the agent's token.
pub fn watched(stage: &Stage<'_>, test: impl FnOnce() -> Result<()>) -> Result<()> {
    while_watched(stage.world, ("gitlab", "gitlab-agent-token", "token"), &|| stage.active(), test)
}
