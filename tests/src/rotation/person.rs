//! Somebody who rotates what Flux fetches and notifies with: the real source-controller fetches with the new credential or
//! does not, the real notification-controller sets a status or does not.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{SOON, nothing_was_asked_for, watch, while_watched};
use crate::programs::{Ran, command, run};
use crate::world::World;
use crate::world::gitlab::EXAMPLE_PROJECT;
use crate::world::wait::yes;

/// The GitRepository, its Secret and its Kustomization have one name.
pub const APP: &str = "example-nginx-app";
/// The GitRepository, as an argument.
pub const SOURCE: &str = "gitrepository/example-nginx-app";
/// The Secret of the Provider that sets commit statuses.
pub const STATUS: &str = "gitlab-status-nginx-app";

/// Somebody with a token of the world's owner.
pub struct Person<'w> {
    /// Where.
    pub world: &'w World,
    /// The token of GitLab that the person signs in with.
    pub token: String,
    ca: PathBuf,
}

impl<'w> Person<'w> {
    /// With a token of the scope `api`.
    pub fn new(world: &'w World) -> Result<Self> {
        let ca = world.dir().join("gitlab-ca.pem");
        std::fs::write(&ca, world.gitlab().ca_pem())?;
        world.gitlab().clear_faults();
        Ok(Self { world, token: world.gitlab().new_access_token(&["api"])?, ca })
    }

    /// A run with these arguments.
    pub fn prepared(&self, args: &[&str]) -> Command {
        let mut command = command("rotate_token");
        command
            .args(args)
            .args(watch(args))
            .args(["--gitlab-host", &self.world.gitlab().url(), "--gitlab-ca-file"])
            .arg(&self.ca);
        command.env("KUBECONFIG", self.world.kubeconfig()).env("GITLAB_TOKEN", &self.token);
        command.env("USER", "ada").env("HOSTNAME", "console");
        command
    }

    /// Runs it to its end.
    pub fn rotate(&self, args: &[&str]) -> Ran {
        run(&mut self.prepared(args))
    }

    /// What a Secret of flux-system holds under a key; nothing where it has none.
    pub fn held(&self, secret: &str, key: &str) -> Result<String> {
        let args = ["get", "secret", "-n", "flux-system", secret, "-o", "json"];
        let json: Value = serde_json::from_str(&self.world.kubectl(&args)?)?;
        let encoded = json["data"][key].as_str().unwrap_or_default();
        Ok(String::from_utf8(STANDARD.decode(encoded)?)?)
    }

    /// Writes keys of a Secret of flux-system.
    pub fn write(&self, secret: &str, data: Value) -> Result<()> {
        let patch = json!({ "stringData": data }).to_string();
        self.world
            .kubectl(&["-n", "flux-system", "patch", "secret", secret, "--type=merge", "-p", &patch])
            .map(drop)
    }

    /// Whether GitLab takes this value.
    pub fn is_active(&self, value: &str) -> bool {
        self.world.gitlab().token(value).is_some_and(|token| token.active)
    }

    /// A push arrives: the source is fetched with what the Secret holds now.
    pub fn a_push_arrives(&self) -> Result<()> {
        let commit = self.world.git(EXAMPLE_PROJECT)?.commit(|_| Ok(()), "Nothing")?;
        let path = "jsonpath={.status.artifact.revision}";
        self.world.wait_until("the push to be fetched", SOON, || {
            let args = ["get", "gitrepository", "-n", "flux-system", APP, "-o", path];
            Ok(yes(self.world.kubectl(&args)?.contains(&commit)))
        })
    }

    /// The source is fetched, as far as Flux says.
    pub fn is_ready(&self, names: &[&str]) -> Result<()> {
        let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
        self.world.wait_until("the sources to be fetched", SOON, || {
            for name in names {
                let args = ["get", "gitrepository", "-n", "flux-system", name, "-o", path];
                if self.world.kubectl(&args)? != "True" {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
    }

    /// Nothing of a rotation is left in the cluster.
    pub fn is_clean(&self, secret: &str) -> Result<()> {
        let names = self.world.kubectl(&["get", "secret,lease", "-n", "flux-system", "-o", "name"])?;
        ensure!(!names.contains("-prev-") && !names.contains("-rotation"), "{names}");
        let args = ["get", "secret", "-n", "flux-system", secret, "-o", "jsonpath={.metadata.annotations}"];
        let annotations = self.world.kubectl(&args)?;
        ensure!(!annotations.contains("cli.gitlab-agent.dev"), "{annotations}");
        Ok(())
    }

    /// Everything that opens something now.
    pub fn living(&self) -> Vec<String> {
        let mut all: Vec<String> =
            self.world.gitlab().tokens().into_iter().filter(|t| t.active).map(|t| t.value).collect();
        all.sort_unstable();
        all
    }

    /// What was rotated is one for one: the old one for what the Secret holds now, where that is another.
    pub fn one_for_one(&self, before: &[String], old: &str, now: &str) -> Result<()> {
        let mut wanted: Vec<String> = before.iter().filter(|v| *v != old).cloned().collect();
        wanted.push(now.to_owned());
        wanted.sort_unstable();
        ensure!(self.living() == wanted, "not one for one");
        Ok(())
    }

    /// It is refused with this code and these words; the Secret and GitLab are as before.
    pub fn refuses(&self, command: &mut Command, code: i32, secret: &str, words: &[&str]) -> Result<()> {
        let version =
            ["get", "secret", "-n", "flux-system", secret, "-o", "jsonpath={.metadata.resourceVersion}"];
        let before = self.world.kubectl(&version)?;
        self.world.gitlab().clear_requests();
        let ran = run(command);
        ensure!(ran.code == code, "{ran:?}");
        for word in words {
            ensure!(ran.err.contains(word), "no '{word}' in {ran:?}");
        }
        ensure!(self.world.kubectl(&version)? == before, "the Secret was changed");
        nothing_was_asked_for(self.world)?;
        Ok(())
    }
}

/// Watches that the token which the Secret holds is active, all the while.
pub fn watched(
    person: &Person<'_>,
    secret: &str,
    key: &str,
    test: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let values =
        || person.world.gitlab().tokens().into_iter().filter(|t| t.active).map(|t| t.value).collect();
    while_watched(person.world, ("flux-system", secret, key), &values, test)
}

/// A GitRepository of flux-system without a spec.
pub fn source_like(name: &str) -> Value {
    json!({"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
        "metadata": {"name": name, "namespace": "flux-system"}})
}
