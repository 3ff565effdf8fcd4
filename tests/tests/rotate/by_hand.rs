//! A Secret that Git owns, encrypted by the real SOPS and decrypted by the real kustomize-controller: begun, handed over,
//! committed, finished; or given up.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use gitlab_agent_tests::canary::hides;
use gitlab_agent_tests::programs::{Ran, run};
use gitlab_agent_tests::rotation::SOON;
use gitlab_agent_tests::rotation::stage::{Stage, watched};
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::components::{age_keygen, sops};
use gitlab_agent_tests::world::gitlab::AGENT_PROJECT;
use gitlab_agent_tests::world::wait::yes;
use serde_json::json;

/// A checkout with rules for SOPS, and the key that opens what they encrypt.
struct Checkout {
    dir: tempfile::TempDir,
    sops: PathBuf,
    key: String,
}

impl Checkout {
    fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let made = Command::new(age_keygen()?).output()?;
        let key = String::from_utf8(made.stdout)?;
        let public = key.lines().find_map(|l| l.strip_prefix("# public key: ")).context("a public key")?;
        std::fs::write(dir.path().join(".sops.yaml"), format!("creation_rules:\n- age: {public}\n"))?;
        std::fs::create_dir(dir.path().join("sealed"))?;
        Ok(Self { dir, sops: sops()?, key })
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("sealed/secret.yaml")
    }

    /// The way to programs, with sops on it.
    fn path(&self) -> Result<std::ffi::OsString> {
        let own = self.sops.parent().map(Path::to_owned).context("sops is in a folder")?;
        let rest = std::env::var_os("PATH").unwrap_or_default();
        Ok(std::env::join_paths([own].into_iter().chain(std::env::split_paths(&rest)))?)
    }

    /// What a person writes at first: the Secret, encrypted.
    fn encrypt(&self, text: &str) -> Result<()> {
        std::fs::write(self.file(), text)?;
        let mut sops = Command::new(&self.sops);
        sops.args(["--encrypt", "--in-place", "--encrypted-regex", "^(data|stringData)$"]).arg(self.file());
        let done = sops.current_dir(self.dir.path()).stdin(Stdio::null()).output()?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }

    /// Commits the file, and waits until the Secret holds another value than this.
    fn push(&self, stage: &Stage<'_>, held: Option<&str>) -> Result<()> {
        let text = std::fs::read_to_string(self.file())?;
        let git = stage.world.git(AGENT_PROJECT)?;
        git.commit(|files| files.write("sealed/secret.yaml", &text), "The Secret, encrypted")?;
        stage.world.wait_until("Flux to apply the Secret", SOON, || {
            let labels = &stage.secret()?["metadata"]["labels"];
            let applied = labels["kustomize.toolkit.fluxcd.io/name"] == "sealed";
            Ok(yes(applied && held.is_none_or(|held| stage.held().is_ok_and(|now| now != held))))
        })
    }

    fn run(&self, stage: &Stage<'_>, args: &[&str]) -> Result<Ran> {
        Ok(run(stage.prepared(args).env("PATH", self.path()?).current_dir(self.dir.path())))
    }
}

#[test]
fn a_secret_of_sops_is_begun_committed_and_finished() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        let checkout = Checkout::new()?;
        let old = stage.held()?;
        checkout.encrypt(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: gitlab-agent-token\n  namespace: gitlab\nstringData:\n  \
             token: {old}\n"
        ))?;
        let key = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sops-age", "namespace": "flux-system"},
            "stringData": {"age.agekey": checkout.key}});
        world.apply(&key.to_string())?;
        world.apply(
            "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: { name: sealed, namespace: flux-system }\n\
             spec: { interval: 1h, prune: false, path: ./sealed, sourceRef: { kind: GitRepository, name: flux-system },\n  \
             decryption: { provider: sops, secretRef: { name: sops-age } } }\n",
        )?;
        checkout.push(&stage, None)?;
        stage.refuses(
            &mut stage.prepared(&["--yes"]),
            5,
            &["Kustomization flux-system/sealed", "--begin"],
        )?;

        let file = checkout.file();
        let file = file.to_str().context("a name")?;
        let begin = ["--begin", "--print-manifest", file, "--yes", "-o", "json"];
        watched(&stage, || {
            // Given up: the new one is revoked, and the Secret was never touched.
            let ran = checkout.run(&stage, &begin)?;
            ensure!(ran.code == 0 && ran.json()["verdict"] == "begun", "{ran:?}");
            ensure!(
                stage.held()? == old && stage.active().len() == 2,
                "the Secret stays, two tokens are active"
            );
            let again = checkout.run(&stage, &["--finish", "-o", "json"])?;
            ensure!(again.code == 7 && again.out.contains("does not hold the new value yet"), "{again:?}");
            let ran = checkout.run(&stage, &["--rollback", "-o", "json"])?;
            ensure!(ran.code == 0 && stage.active() == [old.clone()], "{ran:?}");

            let ran = checkout.run(&stage, &begin)?;
            ensure!(ran.code == 0, "{ran:?}");
            let manifest = std::fs::read_to_string(checkout.file())?;
            ensure!(manifest.contains("ENC[") && manifest.contains("name: gitlab-agent-token"), "{manifest}");
            hides(&format!("{manifest}{}{}", ran.out, ran.err), &stage.active())?;
            checkout.push(&stage, Some(&old))?;
            let ran = checkout.run(&stage, &["--finish", "-o", "json"])?;
            ensure!(ran.code == 0 && ran.json()["verdict"] == "rotated", "{ran:?}");
            ensure!(stage.active() == [stage.held()?], "the old one is revoked");
            Ok(())
        })?;
        world.kubectl(&["delete", "-n", "flux-system", "kustomization/sealed", "secret/sops-age"])?;
        // A person's again: the tests that follow in this world rotate it as one that was made by hand.
        let mut secret = stage.secret()?;
        let annotations = secret["metadata"]["annotations"].take();
        secret["metadata"] =
            json!({"name": "gitlab-agent-token", "namespace": "gitlab", "annotations": annotations});
        world.kubectl(&["delete", "-n", "gitlab", "secret/gitlab-agent-token"])?;
        world.kubectl_with_input(&["create", "-f", "-"], &secret.to_string())?;
        stage.is_clean()
    })
}

#[test]
fn a_manifest_in_plain_text_is_only_written_where_it_was_asked_for() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        let dir = tempfile::tempdir()?;
        let old = stage.held()?;
        let file = dir.path().join("secret.yaml");
        let name = file.to_str().context("a name")?;
        stage.refuses(
            &mut stage.prepared(&["--begin", "--print-manifest", name, "--yes"]),
            2,
            &["--plain-text"],
        )?;
        let pipe = ["--begin", "--print-manifest", "-", "--plain-text", "--yes"];
        let ran = run(stage.prepared(&pipe).current_dir(dir.path()));
        ensure!(
            ran.code == 0 && ran.out.starts_with("apiVersion: v1"),
            "data alone is on standard output: {ran:?}"
        );
        let new: Vec<String> = stage.active().into_iter().filter(|value| *value != old).collect();
        ensure!(new.len() == 1 && ran.out.contains(&new[0]), "{new:?}");
        hides(&ran.err, &stage.active())?;
        world.kubectl_with_input(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &ran.out)?;
        let ran = stage.rotate(&["--finish", "-o", "json"]);
        ensure!(ran.code == 0 && stage.active() == new, "{ran:?}");
        stage.is_clean()
    })
}
