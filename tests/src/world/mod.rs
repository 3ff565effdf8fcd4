//! The test world: a real control plane, real Flux, and a played GitLab and agentk, on loopback, without containers.
//!
//! [`World::start`] builds what is missing, starts everything and gives a handle; dropping it stops everything.
//! A push to a project of the played GitLab is fetched by the real source-controller, applied by the real
//! kustomize-controller and helm-controller, and the pods run on kwok's nodes.

pub mod agentk;
mod api;
mod bootstrap;
pub mod components;
mod control_plane;
mod egress;
pub mod false_api;
pub mod flux;
pub mod git;
pub mod gitlab;
mod health;
mod home;
mod kubeconfig;
pub(crate) mod pki;
mod ports;
mod process;
mod progress;
mod secret;
mod shared;
mod supervisor;
pub mod wait;

use std::future::Future;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::runtime::Runtime;

use self::agentk::Agentk;
use self::api::Api;
use self::components::{Components, GoMissing};
use self::control_plane::{ControlPlane, kubeconfig_of};
use self::egress::Egress;
use self::flux::Flux;
use self::git::Repository;
use self::gitlab::ssh::Ssh;
use self::gitlab::{AGENT_PROJECT, EXAMPLE_PROJECT, GitLab, Role, in_days};
use self::kubeconfig::{Server, SignIn};
use self::pki::Authority;
use self::ports::Ports;
use self::process::Process;
use self::shared::Shared;
use self::supervisor::Supervisor;
use self::wait::{wait_until, yes};

/// What to start.
#[derive(Debug, Clone)]
pub struct Options {
    /// The Flux controllers and their objects, the projects, and what joins them. Without: an empty cluster.
    pub flux: bool,
    /// The stand-in for agentk.
    pub agentk: bool,
    /// Leave the directory behind, to look at logs.
    pub keep_dir: bool,
}

impl Default for Options {
    fn default() -> Self {
        let keep_dir = std::env::var_os("GITLAB_AGENT_WORLD_KEEP").is_some();
        Self { flux: true, agentk: true, keep_dir }
    }
}

/// The tokens that the world starts with.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// agentk's, in Secret gitlab/gitlab-agent-token.
    pub agent: String,
    /// User name of the fleet project's deploy token.
    pub fleet_user: String,
    /// That deploy token, in Secret flux-system/flux-system.
    pub fleet: String,
    /// The fleet project's access token for job statuses, in Secret flux-system/gitlab-status-fleet.
    pub fleet_status: String,
    /// The example project's access token for job statuses, in Secret flux-system/gitlab-status-nginx-app.
    pub example_status: String,
    /// The personal token of the owner of both projects, with scope `api`; in no Secret.
    pub person: String,
    /// User name of the example project's deploy token.
    pub example_user: String,
    /// That deploy token, in Secret flux-system/example-nginx-app.
    pub example: String,
}

/// One running instance.
pub struct World {
    options: Options,
    dir: PathBuf,
    components: Components,
    server: Server,
    ca: Authority,
    supervisor: Supervisor,
    gitlab: GitLab,
    tokens: Tokens,
    repositories: Mutex<Vec<Arc<Repository>>>,
    ssh: Mutex<Option<Ssh>>,
    agentk: Option<Agentk>,
    api: Api,
    flux: Flux,
    runtime: Option<Runtime>,
    /// Last, so that it runs out of work: `drop` removes the directory itself.
    _janitor: Option<Process>,
}

/// Environment variable that turns every test left out into a failure.
pub const COMPLETE: &str = "GITLAB_AGENT_TESTS_COMPLETE";

impl World {
    /// Builds what the cache lacks, starts an instance, and returns when everything was asked to come up.
    ///
    /// Fails with [`GoMissing`] where there is no Go toolchain.
    pub fn start(options: Options) -> Result<Self> {
        let components = Components::build()?;
        home::reap();
        let mut attempt = 1;
        loop {
            match Self::start_once(&options, &components) {
                // Another process may take a port between our look and our use.
                Err(error) if attempt < 3 && format!("{error:#}").contains("address already in use") => {
                    attempt += 1
                }
                other => return other,
            }
        }
    }

    /// Runs a test alone in the world of this process, or leaves it out, and says so, where Go is missing.
    ///
    /// The tests of a process share one world, because a start takes half a minute. One that fails may leave anything
    /// behind, so its world is stopped, and the next test gets a new one: each failure is of the test that shows it.
    ///
    /// # Errors
    /// Those of the test, and of starting the world.
    pub fn with(test: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        static SHARED: Shared<World> = Shared::new();
        SHARED.with(Self::for_tests, test)
    }

    fn for_tests() -> Result<Option<Self>> {
        match Self::start(Options::default()) {
            Ok(world) => world.wait_healthy().map(|()| Some(world)),
            Err(error) if error.is::<GoMissing>() && std::env::var_os(COMPLETE).is_none() => {
                progress::line(format_args!("left out: the tests in the test world, because {error}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn start_once(options: &Options, components: &Components) -> Result<Self> {
        let dir = home::create()?;
        let janitor = if options.keep_dir { None } else { Some(Process::start_janitor(&dir)?) };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let ca = Authority::new("World CA")?;
        let mut ports = Ports::new();
        let egress = Egress::prepare(&dir)?;
        let plane = ControlPlane::prepare(&dir, components, &mut ports, &ca, egress.config())?;
        let flux = Flux::prepare(&mut ports)?;
        let supervisor = Supervisor::default();
        for recipe in plane.store_and_api()? {
            supervisor.add(recipe)?;
        }
        let gitlab = GitLab::start(&dir.join("gitlab"), runtime.handle())?;
        let tokens = first_tokens(&gitlab)?;
        let api = runtime.block_on(Api::connect(&kubeconfig_of(&dir, "admin"), None))?;
        egress.serve(runtime.handle(), api.clone(), plane.kubelet_port, flux.played())?;
        let clients = plane.clients()?;
        let server = plane.server.clone();
        let mut world = Self {
            options: options.clone(),
            components: components.clone(),
            server,
            ca,
            supervisor,
            gitlab,
            tokens,
            repositories: Mutex::default(),
            ssh: Mutex::default(),
            agentk: None,
            api,
            flux,
            runtime: Some(runtime),
            _janitor: janitor,
            dir,
        };
        world.populate(clients)?;
        Ok(world)
    }

    fn populate(&mut self, clients: [process::Recipe; 3]) -> Result<()> {
        self.wait_ready()?;
        bootstrap::install_kwok_crds(self)?;
        for recipe in clients {
            self.supervisor.add(recipe)?;
        }
        self.apply(&bootstrap::nodes().to_string())?;
        if self.options.flux {
            bootstrap::install_flux(self, &self.components)?;
            for recipe in self.flux.recipes(&self.dir, &self.components)? {
                self.supervisor.add(recipe)?;
            }
            bootstrap::write_projects(self)?;
            bootstrap::join(self, &self.tokens)?;
        }
        if self.options.agentk {
            self.agentk = Some(Agentk::start(self)?);
        }
        Ok(())
    }

    /// Waits until the API server answers that it is ready.
    pub fn wait_ready(&self) -> Result<()> {
        self.wait_until("the API server", Duration::from_secs(60), || {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            Ok(yes(self.block_on(self.api.client().request_text(request))? == "ok"))
        })
    }

    /// Like [`wait::wait_until`], but gives up at once when a process of the world has ended by itself.
    pub fn wait_until<T>(
        &self,
        what: &str,
        deadline: Duration,
        mut probe: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        wait_until(what, deadline, || match self.supervisor.check() {
            Ok(()) => Ok(probe()?.map(Ok)),
            Err(ended) => Ok(Some(Err(ended))),
        })?
    }

    /// The directory of the instance: kubeconfigs, logs, data.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Path of the administrator's kubeconfig; its context is `world`.
    pub fn kubeconfig(&self) -> PathBuf {
        kubeconfig_of(&self.dir, "admin")
    }

    /// Makes a kubeconfig for a user of this name (by client certificate), after applying the RBAC objects given.
    pub fn user_kubeconfig(&self, user: &str, rbac: &str) -> Result<PathBuf> {
        if !rbac.trim().is_empty() {
            self.apply(rbac)?;
        }
        let identity = self.ca.client(user, &[])?;
        let path = kubeconfig_of(&self.dir, &format!("user-{}", user.replace(['/', ':'], "-")));
        kubeconfig::write(&path, &self.server, user, SignIn::Certificate(&identity))?;
        Ok(path)
    }

    /// Makes a kubeconfig with this token for an API server at this address with this authority (PEM); by default the
    /// world's own.
    pub fn token_kubeconfig(&self, file: &Path, token: &str, server: Option<(&str, &str)>) -> Result<()> {
        let other = server.map(|(url, ca)| Server { url: url.into(), ca: ca.into() });
        kubeconfig::write(file, other.as_ref().unwrap_or(&self.server), "canary", SignIn::Token(token))
    }

    /// The address of the API server.
    pub fn api_url(&self) -> &str {
        &self.server.url
    }

    /// The built kubectl.
    pub fn kubectl_path(&self) -> Result<PathBuf> {
        self.components.program("kubectl")
    }

    /// Runs kubectl as administrator; gives what it prints.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.kubectl_with_input(args, "")
    }

    /// The same with something on standard input.
    pub fn kubectl_with_input(&self, args: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new(self.kubectl_path()?);
        command.env("KUBECONFIG", self.kubeconfig()).env("HOME", &self.dir).args(args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("kubectl")?;
        let mut stdin = child.stdin.take().context("no way into kubectl")?;
        std::thread::scope(|scope| {
            // Beside the reading: kubectl may print before it has read all.
            scope.spawn(move || stdin.write_all(input.as_bytes()));
            let output = child.wait_with_output()?;
            if !output.status.success() {
                bail!("kubectl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
            }
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        })
    }

    /// Applies manifests (YAML or JSON) as administrator.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        self.apply_as("kubectl", manifests)
    }

    /// Applies manifests under the name of a field manager.
    pub fn apply_as(&self, manager: &str, manifests: &str) -> Result<()> {
        let manager = format!("--field-manager={manager}");
        let args = ["apply", "--server-side", "--force-conflicts", &manager, "-f", "-"];
        self.kubectl_with_input(&args, manifests).map(drop)
    }

    fn apply_file(&self, file: &Path) -> Result<()> {
        self.apply(&std::fs::read_to_string(file)?)
    }

    /// A client of the Kubernetes API as administrator; use it inside [`World::block_on`].
    pub fn client(&self) -> kube::Client {
        self.api.client().clone()
    }

    /// Runs a future on the world's runtime.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime().block_on(future)
    }

    /// Runs a future beside the world, for as long as the world runs.
    pub fn spawn<F: Future<Output: Send + 'static> + Send + 'static>(&self, future: F) {
        drop(self.runtime().spawn(future));
    }

    fn runtime(&self) -> &Runtime {
        match &self.runtime {
            Some(runtime) => runtime,
            None => unreachable!("the runtime is only taken when the world is dropped"),
        }
    }

    /// The played GitLab.
    pub fn gitlab(&self) -> &GitLab {
        &self.gitlab
    }

    /// The tokens that the world started with.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Git over SSH at the played GitLab, started by the first who asks. `None`, with a line that says so, where the
    /// system has no sshd.
    ///
    /// # Errors
    /// It does not start; or there is none, and [`COMPLETE`] is set.
    pub fn ssh(&self) -> Result<Option<Ssh>> {
        let mut ssh = self.ssh.lock().unwrap_or_else(PoisonError::into_inner);
        if ssh.is_none() {
            let Some(sshd) = gitlab::ssh::sshd() else {
                if std::env::var_os(COMPLETE).is_some() {
                    bail!("sshd is not installed (Debian's package openssh-server)");
                }
                progress::line(format_args!("left out: git over SSH, because sshd is not installed"));
                return Ok(None);
            };
            let port = Ports::new().free()?;
            let (recipe, served) = self.gitlab.prepare_ssh(&sshd, port)?;
            self.supervisor.add(recipe)?;
            self.wait_until("sshd", Duration::from_secs(30), || {
                Ok(yes(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()))
            })?;
            *ssh = Some(served);
        }
        Ok(ssh.clone())
    }

    /// The repository of a project.
    pub fn git(&self, project: &str) -> Result<Arc<Repository>> {
        let found = self.repositories().iter().find(|repository| repository.project() == project).cloned();
        found.with_context(|| format!("no project {project}"))
    }

    /// Makes a private project with an empty repository.
    pub fn new_project(&self, project: &str) -> Result<Arc<Repository>> {
        let repository = Repository::create(&self.gitlab, &self.dir.join("clones"), project)?;
        let repository = Arc::new(repository);
        self.repositories().push(repository.clone());
        Ok(repository)
    }

    fn repositories(&self) -> MutexGuard<'_, Vec<Arc<Repository>>> {
        self.repositories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stand-in for agentk, when it was asked for.
    pub fn agentk(&self) -> Option<&Agentk> {
        self.agentk.as_ref()
    }

    /// Kills one process: `etcd`, `kube-apiserver`, `kwok`, `source-controller` and so on.
    pub fn stop(&self, component: &str) -> Result<()> {
        self.supervisor.stop(component)
    }

    /// Starts a stopped process again, on the ports it had.
    pub fn start_component(&self, component: &str) -> Result<()> {
        self.supervisor.start(component)?;
        if component == "kube-apiserver" {
            self.wait_ready()?;
        }
        Ok(())
    }

    /// The log file of a process.
    pub fn log_file(&self, component: &str) -> Result<PathBuf> {
        self.supervisor.log(component)
    }

    /// The processes by name, each with the process id of the shell in front of it while it runs.
    pub fn processes(&self) -> Vec<(String, Option<u32>)> {
        self.supervisor.list()
    }

    /// Where Flux's receivers listen: `http://127.0.0.1:PORT`, to be followed by a Receiver's webhook path.
    pub fn webhook_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.flux.receiver_port)
    }
}

fn first_tokens(gitlab: &GitLab) -> Result<Tokens> {
    let (example_user, example) = gitlab.new_deploy_token(EXAMPLE_PROJECT, &["read_repository"])?;
    let (fleet_user, fleet) = gitlab.new_deploy_token(AGENT_PROJECT, &["read_repository"])?;
    let status = |project: &str| {
        gitlab.new_resource_token(project, "flux-status", &["api"], Role::Developer, in_days(180))
    };
    Ok(Tokens {
        agent: gitlab.new_agent_token()?,
        fleet_user,
        fleet,
        fleet_status: status(AGENT_PROJECT)?.value,
        example_status: status(EXAMPLE_PROJECT)?.value,
        person: gitlab.new_access_token(&["api"])?,
        example_user,
        example,
    })
}

impl Drop for World {
    fn drop(&mut self) {
        self.agentk = None;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        self.supervisor.stop_all();
        if !self.options.keep_dir {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}
