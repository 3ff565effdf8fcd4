//! The played GitLab: its REST and GraphQL API, git over HTTPS, and a chart repository.
//!
//! The state is in `state`, one file per idea beside it: what it is, how the API shows it, what tests may do to it.
//! The server in front is in `server`, what it answers to in `routes`.

mod access_token_calls;
pub mod access_tokens;
pub mod agent_tokens;
pub mod agents;
mod api;
mod auth;
mod basic_auth;
mod call;
mod charts;
pub mod commit_status;
pub mod deploy_keys;
pub mod deploy_tokens;
mod errors;
pub mod faults;
mod git_http;
mod graphql;
mod graphql_query;
mod limits;
mod metadata;
mod oauth;
mod pagination;
pub mod people;
mod permissions;
pub mod projects;
mod protection;
mod repository_files;
mod requests;
mod routes;
mod server;
mod settings;
pub mod ssh;
mod state;
#[cfg(test)]
mod testing;
mod times;
mod token_value;
mod tokens;
mod trap;
mod wire;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use tokio::sync::broadcast;

pub use self::access_tokens::{AccessToken, in_days};
pub use self::agent_tokens::AgentToken;
pub use self::faults::{ALWAYS, Fault};
pub use self::people::{Place, Role};
pub use self::projects::Visibility;
pub use self::requests::{SeenRequest, ShownToken};
pub(crate) use self::server::tls_config;
pub use self::settings::Settings;
use self::state::State;
pub use self::tokens::{Token, TokenKind};
pub use self::trap::Trap;
use super::pki::{Authority, Identity};

/// The agent that the world's cluster runs.
pub const AGENT_ID: u64 = 7;
/// Its name.
pub const AGENT_NAME: &str = "world";
/// The project that holds the agent's configuration, and the cluster's manifests.
pub const AGENT_PROJECT: &str = "platform/fleet";
/// The project of the documented example.
pub const EXAMPLE_PROJECT: &str = "example/nginx-app";
/// User name of the person who owns the world's projects.
pub const PERSON: &str = "dana";

/// A push that GitLab tells kas about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushEvent {
    /// Full path of the project.
    pub project: String,
}

/// A handle on the played GitLab; clones share one state.
#[derive(Debug, Clone)]
pub struct GitLab {
    port: u16,
    ca: Arc<str>,
    root: Arc<Path>,
    identity: Arc<Identity>,
    runtime: tokio::runtime::Handle,
    state: Arc<Mutex<State>>,
    pushes: broadcast::Sender<PushEvent>,
}

impl GitLab {
    /// Starts the server, with its state below `dir`, on the runtime given.
    ///
    /// The world's two projects, their owner and the agent are there; the repositories are not.
    ///
    /// # Errors
    /// It cannot listen, or the chart cannot be packaged.
    pub fn start(dir: &Path, runtime: &tokio::runtime::Handle) -> Result<Self> {
        let authority = Authority::new("World GitLab CA")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen for the played GitLab")?;
        let gitlab = Self {
            port: listener.local_addr()?.port(),
            ca: authority.pem().into(),
            root: dir.into(),
            identity: Arc::new(authority.server(&["127.0.0.1", "localhost"])?),
            runtime: runtime.clone(),
            state: Arc::new(Mutex::new(first_state())),
            pushes: broadcast::channel(64).0,
        };
        std::fs::create_dir_all(gitlab.bare_root())?;
        charts::package(&gitlab.chart_root(), &gitlab.charts_url())?;
        server::serve(gitlab.clone(), listener, &gitlab.identity, runtime)?;
        Ok(gitlab)
    }

    /// `https://127.0.0.1:PORT`, and the relative root if there is one.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}{}", self.port, self.state().settings.relative_root)
    }

    /// The host that agentk compares with.
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address that Flux fetches a project from.
    pub fn project_url(&self, project: &str) -> String {
        format!("{}/{project}.git", self.url())
    }

    /// The address of the Helm chart repository.
    pub fn charts_url(&self) -> String {
        format!("{}/charts", self.url())
    }

    /// What agentk would be told to dial; nobody listens there.
    pub fn kas_address(&self) -> String {
        let announced = self.state().settings.kas_url.clone();
        announced.unwrap_or_else(|| self.own_kas_address())
    }

    fn own_kas_address(&self) -> String {
        format!("wss://127.0.0.1:{}/-/kubernetes-agent/", self.port)
    }

    /// The certificate of the authority that vouches for the server, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca
    }

    /// Tells kas of a push, as GitLab does after one.
    pub fn announce_push(&self, project: &str) {
        // Nobody may be listening: push events are not guaranteed.
        let _ = self.pushes.send(PushEvent { project: project.to_owned() });
    }

    pub(crate) fn pushes(&self) -> broadcast::Receiver<PushEvent> {
        self.pushes.subscribe()
    }

    /// Where the bare repositories are.
    pub(crate) fn bare_root(&self) -> PathBuf {
        self.root.join("repositories")
    }

    fn chart_root(&self) -> PathBuf {
        self.root.join("charts")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What somebody has set up before the test begins.
fn first_state() -> State {
    let mut state = State::default();
    let person = state.add_user(PERSON, "Dana", false);
    let project = state.ensure_project(AGENT_PROJECT);
    state.ensure_project(EXAMPLE_PROJECT);
    state.add_agent(AGENT_ID, AGENT_NAME, project, person);
    state
}
