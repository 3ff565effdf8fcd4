//! Builds the real programs of the world from source, once per version, into a cache outside the checkout.

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use super::progress;

/// One Go module file of `tests/world/components` and what it gives.
struct Component {
    name: &'static str,
    /// Names of the programs, after `rename`.
    programs: &'static [&'static str],
    /// What Go calls the program, and what we call it.
    rename: Option<(&'static str, &'static str)>,
    /// Flags for the linker besides `-s -w`.
    link: &'static str,
    /// A module, and directories of it that are copied beside the programs.
    files: Option<(&'static str, &'static [&'static str])>,
    /// A module that does not build as it is published, and an empty file that is added to a copy of it.
    lacks: Option<(&'static str, &'static str)>,
}

const FLUX_CRDS: &[&str] = &["config/crd/bases"];
const KWOK_FILES: &[&str] = &[
    "kustomize/crd/bases",
    "kustomize/stage/node/fast",
    "kustomize/stage/node/heartbeat-with-lease",
    "kustomize/stage/pod",
];

/// Without these the API server calls itself v0.0.0.
const KUBERNETES_VERSION: &str = "-X k8s.io/component-base/version.gitVersion=v1.36.3 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36";

const COMPONENTS: &[Component] = &[
    Component {
        name: "etcd",
        programs: &["etcd"],
        rename: Some(("server", "etcd")),
        link: "",
        files: None,
        lacks: None,
    },
    Component {
        name: "kubernetes",
        programs: &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"],
        rename: None,
        link: KUBERNETES_VERSION,
        files: None,
        lacks: None,
    },
    Component {
        name: "kwok",
        programs: &["kwok"],
        rename: None,
        link: "",
        files: Some(("sigs.k8s.io/kwok", KWOK_FILES)),
        lacks: None,
    },
    flux("source-controller", &["source-controller"], "github.com/fluxcd/source-controller"),
    flux("kustomize-controller", &["kustomize-controller"], "github.com/fluxcd/kustomize-controller"),
    flux("helm-controller", &["helm-controller"], "github.com/fluxcd/helm-controller"),
    flux(
        "notification-controller",
        &["notification-controller"],
        "github.com/fluxcd/notification-controller",
    ),
];

/// Other control planes, each under the minor version by which [`KUBERNETES`] asks for it.
const OTHER_KUBERNETES: &[(&str, Component)] = &[
    (
        "1.33",
        other_kubernetes(
            "kubernetes-1.33",
            "-X k8s.io/component-base/version.gitVersion=v1.33.13 \
             -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=33",
        ),
    ),
    (
        "1.37",
        other_kubernetes(
            "kubernetes-1.37",
            "-X k8s.io/component-base/version.gitVersion=v1.37.2 \
             -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37",
        ),
    ),
];

/// Names of the pinned one.
const PINNED_IS: &[&str] = &["1.36", "v1.36"];

/// Environment variable that asks for another Kubernetes than the pinned one, by minor version. It is built when it
/// is asked for: a cold build takes minutes.
pub const KUBERNETES: &str = "GITLAB_AGENT_TESTS_KUBERNETES";

const fn other_kubernetes(name: &'static str, link: &'static str) -> Component {
    let programs = &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"];
    Component { name, programs, rename: None, link, files: None, lacks: None }
}

const fn flux(name: &'static str, programs: &'static [&'static str], module: &'static str) -> Component {
    Component { name, programs, rename: None, link: "", files: Some((module, FLUX_CRDS)), lacks: None }
}

/// The `flux` command, to compare with. No part of a world: built when it is asked for. Upstream generates the
/// manifests that it embeds, which the module therefore lacks: `install` and `bootstrap` do not work, the rest does.
const FLUX_CLI: Component = Component {
    name: "flux-cli",
    programs: &["flux"],
    rename: None,
    link: "-X main.VERSION=2.9.5",
    files: None,
    lacks: Some(("github.com/fluxcd/flux2/v2", "cmd/flux/manifests/none.yaml")),
};

/// What encrypts Secrets in Git, of the version that kustomize-controller decrypts with, and what makes keys for it. No
/// part of a world: built when it is asked for.
const SOPS: Component = Component {
    name: "sops",
    programs: &["sops", "age-keygen"],
    rename: None,
    link: "",
    files: None,
    lacks: None,
};
/// Installs plugins of kubectl. No part of a world either.
const KREW: Component =
    Component { name: "krew", programs: &["krew"], rename: None, link: "", files: None, lacks: None };

/// Reads the pipelines (`.github/workflows`). No part of a world either.
const ACTIONLINT: Component = Component {
    name: "actionlint",
    programs: &["actionlint"],
    rename: None,
    link: "",
    files: None,
    lacks: None,
};

/// Dials as agentk does and prints what it logs. Our own program, and no part of a world. Its libraries have the versions
/// that the pinned Kubernetes is built with, so that they are compiled already.
const KAS_ERRORS: Component = Component {
    name: "kas-errors",
    programs: &["kas-errors"],
    rename: None,
    link: "",
    files: None,
    lacks: None,
};

/// The program that makes the errors of a connection to kas, built where the cache does not hold it.
///
/// # Errors
/// It cannot be built; [`GoMissing`] where there is no Go toolchain.
pub fn kas_errors() -> Result<PathBuf> {
    Ok(on_demand(&KAS_ERRORS)?.join("kas-errors"))
}

/// The `flux` command, built where the cache does not hold it.
///
/// # Errors
/// It cannot be built; [`GoMissing`] where there is no Go toolchain.
pub fn flux_cli() -> Result<PathBuf> {
    Ok(on_demand(&FLUX_CLI)?.join("flux"))
}

/// The `sops` command, built where the cache does not hold it.
///
/// # Errors
/// It cannot be built; [`GoMissing`] where there is no Go toolchain.
pub fn sops() -> Result<PathBuf> {
    Ok(on_demand(&SOPS)?.join("sops"))
}

/// The `age-keygen` command, which makes key pairs for `sops`; built where the cache does not hold it.
///
/// # Errors
/// It cannot be built; [`GoMissing`] where there is no Go toolchain.
pub fn age_keygen() -> Result<PathBuf> {
    Ok(on_demand(&SOPS)?.join("age-keygen"))
}

/// The `krew` command, built where the cache does not hold it.
///
/// # Errors
/// It cannot be built; [`GoMissing`] where there is no Go toolchain.
pub fn krew() -> Result<PathBuf> {
    Ok(on_demand(&KREW)?.join("krew"))
}

/// The `actionlint` command, built where the cache does not hold it.
///
/// # Errors
/// It cannot be built; [`GoMissing`] where there is no Go toolchain.
pub fn actionlint() -> Result<PathBuf> {
    Ok(on_demand(&ACTIONLINT)?.join("actionlint"))
}

fn on_demand(component: &Component) -> Result<PathBuf> {
    let go = go_version()?;
    let cache = cache_dir()?;
    fs::create_dir_all(&cache)?;
    component.build(&cache, &go)
}

/// There is no Go toolchain: the tests of the world are left out, not failed.
#[derive(Debug, Clone, Copy)]
pub struct GoMissing;

impl fmt::Display for GoMissing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Go is not installed")
    }
}

impl std::error::Error for GoMissing {}

/// The built programs and the files that belong to them.
#[derive(Debug, Clone)]
pub struct Components {
    dirs: Vec<(&'static str, PathBuf)>,
}

impl Components {
    /// Builds what the cache does not hold yet.
    pub fn build() -> Result<Self> {
        let go = go_version()?;
        let cache = cache_dir()?;
        fs::create_dir_all(&cache)?;
        let dirs = COMPONENTS
            .iter()
            .map(|component| Ok((component.name, chosen(component)?.build(&cache, &go)?)))
            .collect::<Result<_>>()?;
        Ok(Self { dirs })
    }

    /// Where a program is.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        let owner = COMPONENTS
            .iter()
            .find(|component| component.programs.contains(&name))
            .with_context(|| format!("no component has a program {name}"))?;
        Ok(self.dir(owner.name)?.join(name))
    }

    /// The directory of files that were copied from the component's module.
    pub fn files(&self, component: &str) -> Result<PathBuf> {
        Ok(self.dir(component)?.join("files"))
    }

    fn dir(&self, name: &str) -> Result<&Path> {
        let found = self.dirs.iter().find(|(component, _)| *component == name);
        found.map(|(_, dir)| dir.as_path()).with_context(|| format!("no component {name}"))
    }
}

/// The version of the control plane that the worlds of this process run, `v1.36.3`.
///
/// # Errors
/// [`KUBERNETES`] asks for one that is not there.
pub fn kubernetes_version() -> Result<&'static str> {
    let component = COMPONENTS.iter().find(|component| component.name == "kubernetes");
    let link = chosen(component.context("a control plane")?)?.link;
    let told = link.split("gitVersion=").nth(1).and_then(|rest| rest.split_whitespace().next());
    told.context("the linker is told the version")
}

/// Whether the worlds of this process run the control plane that is pinned, with which everything here agrees.
pub fn kubernetes_is_pinned() -> bool {
    kubernetes_version().is_ok_and(|version| KUBERNETES_VERSION.contains(version))
}

/// The component to build in the place of this one.
fn chosen(component: &'static Component) -> Result<&'static Component> {
    let asked = env::var(KUBERNETES).ok().filter(|version| !version.is_empty());
    let Some(asked) =
        asked.filter(|version| component.name == "kubernetes" && !PINNED_IS.contains(&version.as_str()))
    else {
        return Ok(component);
    };
    let found = OTHER_KUBERNETES.iter().find(|(version, _)| *version == asked.trim_start_matches('v'));
    let known: Vec<&str> = OTHER_KUBERNETES.iter().map(|(version, _)| *version).collect();
    let other = found.map(|(_, other)| other);
    other.with_context(|| {
        format!("{KUBERNETES}={asked}: there are 1.36 (the pinned one), {}", known.join(", "))
    })
}

impl Component {
    fn build(&self, cache: &Path, go: &str) -> Result<PathBuf> {
        let source = sources().join(self.name);
        let done = cache.join(format!("{}-{}", self.name, self.fingerprint(&source, go)?));
        if done.is_dir() {
            return Ok(done);
        }
        let lock = File::create(cache.join(format!("{}.lock", self.name)))?;
        lock.lock().context("lock the cache")?;
        if done.is_dir() {
            return Ok(done);
        }
        progress::line(format_args!(
            "building {} (once per version; minutes when Go's cache is cold)",
            self.name
        ));
        let started = Instant::now();
        let half = tempfile::Builder::new().prefix(".half-").tempdir_in(cache)?;
        self.build_into(&source, half.path())?;
        fs::rename(half.keep(), &done)?;
        progress::line(format_args!("built {} in {:.0?}", self.name, started.elapsed()));
        Ok(done)
    }

    /// Everything that decides what comes out.
    fn fingerprint(&self, source: &Path, go: &str) -> Result<String> {
        let mut hash = Sha256::new();
        for part in ["go.mod", "go.sum"] {
            hash.update(
                fs::read(source.join(part)).with_context(|| format!("read {part} of {}", self.name))?,
            );
        }
        for own in own_code(source)? {
            hash.update(fs::read(own)?);
        }
        for directory in self.files.iter().flat_map(|(_, directories)| directories.iter()) {
            hash.update(directory);
        }
        if let Some((_, file)) = self.lacks {
            hash.update(file);
        }
        hash.update(self.flags().join("\0"));
        hash.update(go);
        Ok(hex(&hash.finalize()[..8]))
    }

    fn flags(&self) -> Vec<String> {
        ["build", "-mod=readonly", "-trimpath", "-ldflags"]
            .into_iter()
            .map(str::to_owned)
            .chain([format!("-s -w {}", self.link)])
            .collect()
    }

    fn build_into(&self, source: &Path, target: &Path) -> Result<()> {
        let completed = self.lacks.map(|(module, file)| completed(source, module, file)).transpose()?;
        let source = completed.as_ref().map_or(source, |dir| dir.path());
        let mut output = target.as_os_str().to_owned();
        output.push("/");
        run(go_in(source).args(self.flags()).arg("-o").arg(output).arg("tool"))
            .with_context(|| format!("build {}", self.name))?;
        if let Some((theirs, ours)) = self.rename {
            fs::rename(target.join(theirs), target.join(ours))?;
        }
        let Some((module, directories)) = self.files else { return Ok(()) };
        let home = run(go_in(source).args(["list", "-m", "-f", "{{.Dir}}", module]))?;
        for directory in directories {
            copy_manifests(&Path::new(home.trim()).join(directory), &target.join("files").join(directory))
                .with_context(|| format!("copy {directory} of {module}"))?;
        }
        Ok(())
    }
}

/// The Go files of a component that is our own program, in order.
fn own_code(source: &Path) -> Result<Vec<PathBuf>> {
    let files = fs::read_dir(source)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let mut code: Vec<_> =
        files.into_iter().filter(|f| f.extension().is_some_and(|end| end == "go")).collect();
    code.sort();
    Ok(code)
}

/// A copy of the module file that builds with a copy of a module to which an empty file was added.
fn completed(source: &Path, module: &str, file: &str) -> Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    for part in ["go.mod", "go.sum"] {
        fs::copy(source.join(part), dir.path().join(part))?;
    }
    run(go_in(dir.path()).args(["mod", "download", module])).with_context(|| format!("download {module}"))?;
    let home = run(go_in(dir.path()).args(["list", "-m", "-f", "{{.Dir}}", module]))?;
    let copy = dir.path().join("module");
    copy_tree(Path::new(home.trim()), &copy).with_context(|| format!("copy {module}"))?;
    let added = copy.join(file);
    fs::create_dir_all(added.parent().context("a file in a directory")?)?;
    fs::write(added, "")?;
    run(go_in(dir.path()).args(["mod", "edit", &format!("-replace={module}=./module")]))?;
    Ok(dir)
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            // Written anew, not copied: files of the module cache are read-only.
            fs::write(target, fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

/// Copies YAML files, also of directories below, but no test data.
fn copy_manifests(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            if name != "testdata" {
                copy_manifests(&entry.path(), &to.join(name))?;
            }
        } else if Path::new(&name).extension().is_some_and(|end| end == "yaml") {
            // Written anew, not copied: files of the module cache are read-only.
            fs::write(to.join(name), fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("world/components")
}

fn cache_dir() -> Result<PathBuf> {
    if let Some(dir) = env::var_os("GITLAB_AGENT_WORLD_CACHE") {
        return Ok(dir.into());
    }
    let base = match env::var_os("XDG_CACHE_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
            .join(".cache"),
    };
    Ok(base.join("kubectl-gitlab-agent/world"))
}

fn go_in(dir: &Path) -> Command {
    let mut go = Command::new("go");
    go.current_dir(dir).env("CGO_ENABLED", "0").env("GOWORK", "off").env_remove("GOFLAGS");
    go
}

fn go_version() -> Result<String> {
    match Command::new("go").arg("version").output() {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => bail!("go version: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(GoMissing.into()),
        Err(error) => Err(error).context("go version"),
    }
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    if !output.status.success() {
        bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
