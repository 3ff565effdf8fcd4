//! The archives of a release, used as krew, Flux and a person use them. `GITLAB_AGENT_TESTS_ARCHIVES` names the folder of
//! a release that `cargo release` made; otherwise archives are packed from the programs of the dev profile.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, ensure};
use gitlab_agent_release::archive::{self, Packing, digest};
use gitlab_agent_release::layout::{EXAMPLE, FLUX, Package, programs as names};
use gitlab_agent_release::target::Target;
use gitlab_agent_release::{VERSION, commands, publish};
use gitlab_agent_tests::programs::{Ran, folder, root, run};
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::components::{flux_cli, krew};
use serde_json::Value;

/// A folder as `cargo release archives` leaves it.
fn released() -> &'static Path {
    static RELEASED: OnceLock<PathBuf> = OnceLock::new();
    RELEASED.get_or_init(|| match std::env::var_os("GITLAB_AGENT_TESTS_ARCHIVES") {
        Some(folder) => root().join(folder),
        None => packed_here().expect("archives of the dev profile"),
    })
}

fn packed_here() -> Result<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("release");
    let _ = fs::remove_dir_all(&dir);
    let small = dir.join("programs");
    fs::create_dir_all(&small)?;
    for name in names().chain([FLUX.to_owned()]) {
        // Without the tables for debuggers a program is a tenth; where there is no strip, it is as it is.
        let (from, to) = (folder().join(&name), small.join(&name));
        let stripped = Command::new("strip").arg("-o").arg(&to).arg(&from).status();
        if !stripped.is_ok_and(|status| status.success()) {
            fs::copy(from, to)?;
        }
    }
    let packing = Packing { date: 1_700_000_000, level: 0 };
    publish::archives(Target::host()?, &small, &dir, "0123456789abcdef", packing)?;
    publish::manifests(&dir, "https://example.invalid/kubectl-gitlab-agent")?;
    Ok(dir)
}

fn yaml(file: &str) -> Result<Value> {
    let text = fs::read_to_string(released().join(file)).with_context(|| file.to_owned())?;
    Ok(serde_saphyr::from_str(&text)?)
}

fn text<'v>(value: &'v Value, path: &str) -> Result<&'v str> {
    value.pointer(path).and_then(Value::as_str).with_context(|| format!("no text at {path}"))
}

fn list<'v>(value: &'v Value, path: &str) -> Result<&'v Vec<Value>> {
    value.pointer(path).and_then(Value::as_array).with_context(|| format!("no list at {path}"))
}

/// The archive that a URL names, whose digest is the one that the manifest holds.
fn download(url: &str, sum: &str) -> Result<(String, Vec<u8>)> {
    let name = url.rsplit('/').next().unwrap_or_default().to_owned();
    let bytes = fs::read(released().join(&name)).with_context(|| name.clone())?;
    ensure!(digest(&bytes) == sum, "{name}: the digest is not the manifest's");
    Ok((name, bytes))
}

/// A home in which a plugin was installed.
struct Home {
    dir: tempfile::TempDir,
    kubectl: PathBuf,
}

impl Home {
    /// Installs through krew itself, as `kubectl krew install` with a manifest and an archive at hand: it picks the
    /// platform, verifies the digest, unpacks into its store and links the one program.
    fn with_krew(kubectl: &Path) -> Result<Self> {
        let home = Self { dir: tempfile::tempdir()?, kubectl: kubectl.to_owned() };
        let mut krew = Command::new(krew()?);
        krew.arg("install").arg("--manifest").arg(released().join("krew/plugins/gitlab-agent.yaml"));
        krew.arg("--archive").arg(released().join(Package::Kubectl.archive(Target::host()?)));
        krew.env_clear().env("HOME", home.dir.path()).env("PATH", "/usr/bin:/bin");
        let ran = run(krew.stdin(Stdio::null()));
        ensure!(ran.code == 0, "{ran:?}");
        // It shows the caveats, which name the first thing to try.
        ensure!(format!("{}{}", ran.out, ran.err).contains(EXAMPLE), "{ran:?}");
        Ok(home)
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// kubectl, as a person has it who has nothing else: no variable but these.
    fn kubectl(&self, args: &[&str], kubeconfig: Option<&Path>) -> Ran {
        let mut command = Command::new(&self.kubectl);
        let beside = self.kubectl.parent().map(Path::to_owned).unwrap_or_default();
        let path = std::env::join_paths([self.path(".krew/bin"), beside, "/usr/bin".into(), "/bin".into()]);
        command.env_clear().env("HOME", self.dir.path()).env("PATH", path.expect("a PATH"));
        if let Some(file) = kubeconfig {
            command.env("KUBECONFIG", file);
        }
        run(command.args(args).current_dir(self.dir.path()).stdin(Stdio::null()))
    }
}

#[test]
fn every_archive_holds_what_a_person_needs() -> Result<()> {
    let target = Target::host()?;
    let name = Package::Kubectl.archive(target);
    let entries = archive::entries(&name, &fs::read(released().join(&name))?)?;
    let has = |path: &str| entries.iter().find(|e| e.path == path).with_context(|| format!("no {path}"));
    for program in names() {
        ensure!(has(&program)?.executable, "{program} can be run");
        let page = has(&format!("man/man1/{program}.1"))?;
        ensure!(page.bytes.starts_with(b".ie") || page.bytes.starts_with(b".TH"), "{program} has a man page");
    }
    for file in
        ["LICENSE", EXAMPLE, "completion/kubectl-gitlab_agent.bash", "completion/_kubectl-gitlab_agent"]
    {
        has(file)?;
    }
    ensure!(has("kubectl_complete-gitlab_agent")?.executable, "the shim can be run");
    let mut sorted = entries.clone();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    ensure!(entries == sorted, "sorted");
    Ok(())
}

#[test]
fn checksums_and_bill_of_materials_name_what_is_there() -> Result<()> {
    for package in Package::ALL {
        let sums = fs::read_to_string(released().join(package.checksums()))?;
        ensure!(sums.contains(&package.archive(Target::host()?)), "{sums}");
        for line in sums.lines() {
            let (sum, name) = line.split_once("  ").context("two columns")?;
            ensure!(digest(&fs::read(released().join(name))?) == sum, "{name}");
        }
    }
    let target = Target::host()?;
    let bom = format!("kubectl-gitlab_agent_{VERSION}_{}_{}.cdx.json", target.os, target.arch);
    let bom: Value = serde_json::from_slice(&fs::read(released().join(bom))?)?;
    let components = list(&bom, "/components")?;
    let named = |name: &str| components.iter().find(|c| c["name"] == name);
    let kube = named("kube").context("kube is linked")?;
    ensure!(kube["hashes"][0]["content"].as_str().is_some_and(|h| h.len() == 64), "{kube}");
    ensure!(
        named("proptest").is_none() && named("gitlab-agent-tests").is_none(),
        "what tests use is not linked"
    );
    ensure!(components.iter().all(|c| c["licenses"][0]["expression"].is_string()), "every one has a licence");
    Ok(())
}

/// The rules that validate-krew-manifest and the reviewers of krew-index hold a manifest to.
#[test]
fn the_krew_manifest_keeps_krews_rules() -> Result<()> {
    let manifest = yaml("krew/plugins/gitlab-agent.yaml")?;
    ensure!(
        manifest["apiVersion"] == "krew.googlecontainertools.github.com/v1alpha2"
            && manifest["kind"] == "Plugin"
    );
    ensure!(text(&manifest, "/metadata/name")? == "gitlab-agent", "named as its file");
    ensure!(text(&manifest, "/spec/version")? == format!("v{VERSION}"));
    let short = text(&manifest, "/spec/shortDescription")?;
    ensure!(short.chars().count() <= 50 && !short.contains('\n'), "{short}");
    for long in ["/spec/description", "/spec/caveats"] {
        ensure!(text(&manifest, long)?.lines().all(|line| line.chars().count() <= 80), "{long}");
    }
    let mut seen = Vec::new();
    for platform in list(&manifest, "/spec/platforms")? {
        let labels =
            (text(platform, "/selector/matchLabels/os")?, text(platform, "/selector/matchLabels/arch")?);
        ensure!(!seen.contains(&labels), "{labels:?} twice");
        seen.push(labels);
        let sum = text(platform, "/sha256")?;
        ensure!(
            sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
            "{sum}"
        );
        let (name, bytes) = download(text(platform, "/uri")?, sum)?;
        ensure!(name.ends_with(".tar.gz") || name.ends_with(".zip"), "{name}");
        let bin = text(platform, "/bin")?;
        ensure!(bin.ends_with(".exe") == (labels.0 == "windows"), "{bin}");
        let entries = archive::entries(&name, &bytes)?;
        ensure!(entries.iter().any(|e| e.path == bin && e.executable), "{name} holds {bin}");
        ensure!(entries.iter().any(|e| e.path == "LICENSE"), "{name} holds a licence");
    }
    Ok(())
}

#[test]
fn from_an_archive_and_kubectl_to_the_first_verify() -> Result<()> {
    World::with(|world| {
        let home = Home::with_krew(&world.kubectl_path()?)?;
        // The first line of the caveats, typed in the home folder: no kubeconfig, no cluster, no other file.
        let ran = home.kubectl(&["gitlab-agent", "verify", "--from", EXAMPLE], None);
        ensure!(ran.code == 1 && ran.out.contains("GA315"), "{}{}", ran.out, ran.err);
        let list = home.kubectl(&["gitlab-agent"], None);
        ensure!(list.code == 0 && !list.out.contains("not installed"), "{}", list.out);
        let version = home.kubectl(&["gitlab-agent", "version", "--client", "-o", "json"], None);
        ensure!(version.code == 0 && version.json()["version"] == VERSION, "{}{}", version.out, version.err);
        Ok(())
    })
}

#[test]
fn installed_by_krew_it_works_through_kubectl() -> Result<()> {
    World::with(|world| {
        let home = Home::with_krew(&world.kubectl_path()?)?;
        let kubeconfig = world.kubeconfig();
        for args in [
            &["verify", "-o", "json"][..],
            &["status", "-o", "json"],
            &["version", "-o", "json"],
            &["reconcile-now", "-o", "json"],
        ] {
            let line: Vec<&str> = std::iter::once("gitlab-agent").chain(args.iter().copied()).collect();
            let ran = home.kubectl(&line, Some(&kubeconfig));
            ensure!(ran.code == 0, "{line:?}: {} {}{}", ran.code, ran.out, ran.err);
            ensure!(
                ran.out.lines().count() > 1 || serde_json::from_str::<Value>(&ran.out).is_ok(),
                "{}",
                ran.out
            );
        }
        rotates(world, &home)?;
        let version = home.kubectl(&["gitlab-agent", "version", "-o", "json"], Some(&kubeconfig)).json();
        ensure!(version["cluster"]["kubernetes"].is_string(), "{version}");
        // kubectl's own completion asks for the shim, once it is there.
        let ask = |words: &[&str]| {
            let words: Vec<&str> = ["__complete", "gitlab-agent"].iter().chain(words).copied().collect();
            home.kubectl(&words, Some(&kubeconfig))
        };
        ensure!(!ask(&["ver"]).out.contains("verify"), "nothing before the shim is installed");
        let installed = home.kubectl(&["gitlab-agent", "completion", "install"], None);
        ensure!(
            installed.code == 0 && installed.out.contains(".krew/bin/kubectl_complete"),
            "{}",
            installed.err
        );
        ensure!(ask(&["ver"]).out.starts_with("verify\t"), "{}", ask(&["ver"]).out);
        ensure!(ask(&["verify", "--context", ""]).out.starts_with("world\n"), "contexts");
        let targets = ask(&["reconcile-now", ""]).out;
        ensure!(
            targets.contains("platform/fleet\t") && targets.contains("kustomization/flux-system\t"),
            "{targets}"
        );
        Ok(())
    })
}

/// `rotate-token` from its plan to the last step: the one that writes to GitLab too, and needs a person's token.
fn rotates(world: &World, home: &Home) -> Result<()> {
    let (ca, token) = (home.path("gitlab-ca.pem"), home.path("gitlab-token"));
    fs::write(&ca, world.gitlab().ca_pem())?;
    fs::write(&token, &world.tokens().person)?;
    fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let (host, ca, token) = (world.gitlab().url(), ca.display().to_string(), token.display().to_string());
    let rotate = |last: &str| {
        let args = ["gitlab-agent", "rotate-token", "agent", "-o", "json", "--gitlab-host", &host];
        let files = ["--gitlab-ca-file", &ca, "--gitlab-token-file", &token, last];
        home.kubectl(&[&args[..], &files].concat(), Some(&world.kubeconfig()))
    };
    let plan = rotate("--dry-run=client");
    ensure!(plan.code == 0, "{plan:?}");
    let ran = rotate("--yes");
    ensure!(ran.code == 0 && ran.json()["verdict"] == "rotated", "{ran:?}");
    Ok(())
}

#[test]
fn completion_is_silent_where_nothing_answers() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("config");
    fs::write(
        &file,
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n\
         clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: u, user: {}}]\n",
    )?;
    for kubeconfig in [file.as_path(), Path::new("/nonexistent")] {
        for words in [
            &["reconcile-now", ""][..],
            &["status", "-n", ""],
            &["verify", "--nonsense", "x"],
            &["nothing", ""],
        ] {
            let mut command = gitlab_agent_tests::programs::command("");
            let ran = run(command.arg("__complete").args(words).env("KUBECONFIG", kubeconfig));
            ensure!(ran.code == 0 && ran.out == ":4\n" && ran.err.is_empty(), "{words:?}: {ran:?}");
        }
    }
    Ok(())
}

/// As `flux plugin install` places it (fluxcd/flux2 internal/plugin/install.go): one file in one folder.
#[test]
fn installed_by_flux_it_works_through_flux() -> Result<()> {
    World::with(|world| {
        let manifest = yaml("flux/gitlab-agent.yaml")?;
        let target = Target::host()?;
        ensure!(
            manifest["apiVersion"] == "cli.fluxcd.io/v1beta1" && manifest["kind"] == "Plugin",
            "{manifest}"
        );
        let bin = text(&manifest, "/bin")?;
        ensure!(
            bin == "flux-gitlab-agent" && manifest["name"] == "gitlab-agent",
            "receipt and program agree"
        );
        let here = |p: &&Value| p["os"] == target.os && p["arch"] == target.arch;
        let platforms = list(&manifest, "/versions/0/platforms")?;
        let platform = platforms.iter().find(here).context("this platform")?;
        let sum = text(platform, "/checksum")?.strip_prefix("sha256:").context("the kind of digest")?;
        let (name, bytes) = download(text(platform, "/url")?, sum)?;
        let entries = archive::entries(&name, &bytes)?;
        let entry = entries.iter().find(|e| e.path == bin).context("the program lies in the archive")?;
        let dir = tempfile::tempdir()?;
        let file = dir.path().join(bin);
        fs::write(&file, &entry.bytes)?;
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let cli = flux_cli()?;
        let flux = |args: &[&str]| {
            let mut command = Command::new(&cli);
            command.env_clear().env("HOME", dir.path()).env("PATH", "/usr/bin:/bin");
            command.env("FLUXCD_PLUGINS", dir.path()).env("KUBECONFIG", world.kubeconfig());
            run(command.args(args).stdin(Stdio::null()))
        };
        ensure!(flux(&["plugin", "list"]).out.contains("gitlab-agent"), "{:?}", flux(&["plugin", "list"]));
        let status = flux(&["gitlab-agent", "status", "-o", "json"]);
        ensure!(status.code == 0 && status.json()["kind"] == "Status", "{}{}", status.out, status.err);
        // What stands before the plugin's name is passed on by flux, ahead of the verb.
        let one = flux(&["-n", "flux-system", "gitlab-agent", "status", "-o", "json"]);
        let all = list(&status.json(), "/sources")?.len();
        let json = one.json();
        let some = list(&json, "/sources")?.len();
        ensure!(one.code == 0 && some < all, "-n limits: {some} of {all}");
        let completed = flux(&["__complete", "gitlab-agent", "ver"]);
        ensure!(completed.out.contains("verify"), "{}{}", completed.out, completed.err);
        let completed = flux(&["__complete", "gitlab-agent", "reconcile-now", "plat"]);
        ensure!(completed.out.contains("platform/fleet"), "{}{}", completed.out, completed.err);
        Ok(())
    })
}

/// docs/commands is made from the programs: `UPDATE=1 cargo test -p gitlab-agent-tests --test install`.
#[test]
fn the_pages_of_the_commands_are_current() -> Result<()> {
    for (name, text) in commands::documents()? {
        let file = root().join("docs").join(&name);
        if std::env::var_os("UPDATE").is_some() {
            fs::create_dir_all(file.parent().context("a folder")?)?;
            fs::write(&file, &text)?;
        }
        ensure!(fs::read_to_string(&file).unwrap_or_default() == text, "docs/{name}: run with UPDATE=1");
    }
    Ok(())
}
