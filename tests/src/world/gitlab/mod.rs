//! The played GitLab: its state (tokens, projects, agents), and what tests may do to it.
//!
//! The server in front of it is in `server`, what it answers to in `routes`.

mod basic_auth;
mod charts;
mod git_http;
mod routes;
mod server;
mod tokens;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use tokio::sync::broadcast;

pub use self::tokens::{Token, TokenKind};
use super::pki::Authority;
use super::secret;

/// The agent that the world's cluster runs.
pub const AGENT_ID: u64 = 7;
/// The project that holds the agent's configuration, and the cluster's manifests.
pub const AGENT_PROJECT: &str = "platform/fleet";
/// The project of the documented example.
pub const EXAMPLE_PROJECT: &str = "example/nginx-app";

/// A push that GitLab tells kas about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushEvent {
    /// Full path of the project.
    pub project: String,
}

/// One request that the server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRequest {
    /// HTTP method.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// What it was answered with.
    pub status: u16,
    /// The user name of Basic authentication.
    pub user: Option<String>,
}

/// What can be done in GitLab with a project.
#[derive(Debug, Clone)]
struct Project {
    public: bool,
}

#[derive(Debug, Default)]
struct State {
    tokens: Vec<Token>,
    projects: BTreeMap<String, Project>,
    requests: Vec<SeenRequest>,
}

/// A handle on the played GitLab; clones share one state.
#[derive(Debug, Clone)]
pub struct GitLab {
    port: u16,
    ca: Arc<str>,
    root: Arc<Path>,
    state: Arc<Mutex<State>>,
    pushes: broadcast::Sender<PushEvent>,
}

impl GitLab {
    /// Starts the server, with its state below `dir`, on the runtime given.
    pub(crate) fn start(dir: &Path, runtime: &tokio::runtime::Handle) -> Result<Self> {
        let authority = Authority::new("World GitLab CA")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen for the played GitLab")?;
        let gitlab = Self {
            port: listener.local_addr()?.port(),
            ca: authority.pem().into(),
            root: dir.into(),
            state: Arc::default(),
            pushes: broadcast::channel(64).0,
        };
        std::fs::create_dir_all(gitlab.bare_root())?;
        charts::package(&gitlab.chart_root(), &gitlab.charts_url())?;
        server::serve(gitlab.clone(), listener, &authority.server(&["127.0.0.1", "localhost"])?, runtime)?;
        Ok(gitlab)
    }

    /// `https://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
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
        format!("wss://127.0.0.1:{}/-/kubernetes-agent/", self.port)
    }

    /// The certificate of the authority that vouches for the server, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca
    }

    /// Registers a project; its bare repository is the caller's to make.
    pub(crate) fn add_project(&self, path: &str) {
        self.state().projects.insert(path.to_owned(), Project { public: false });
    }

    /// Opens a project to everybody, or closes it.
    pub fn set_public(&self, project: &str, public: bool) -> Result<()> {
        let mut state = self.state();
        let found = state.projects.get_mut(project).with_context(|| format!("no project {project}"))?;
        found.public = public;
        Ok(())
    }

    /// Whether everybody may read the project; `None` when there is no such project.
    pub fn is_public(&self, project: &str) -> Option<bool> {
        self.state().projects.get(project).map(|project| project.public)
    }

    /// Makes an agent token, of the shape that GitLab gives.
    pub fn new_agent_token(&self) -> Result<String> {
        let value = format!("glagent-{}", secret::alphanumeric(50)?);
        Ok(self.add_token(Token::new(TokenKind::Agent { agent: AGENT_ID }, &value, &[])))
    }

    /// Makes an access token (project, group or personal) with these scopes.
    pub fn new_access_token(&self, scopes: &[&str]) -> Result<String> {
        let value = format!("glpat-{}", secret::alphanumeric(20)?);
        Ok(self.add_token(Token::new(TokenKind::Access, &value, scopes)))
    }

    /// Makes a deploy token for one project; gives its user name and its value.
    pub fn new_deploy_token(&self, project: &str, scopes: &[&str]) -> Result<(String, String)> {
        let username = format!("gitlab+deploy-token-{}", self.state().tokens.len() + 1);
        let value = format!("gldt-{}", secret::alphanumeric(20)?);
        let kind = TokenKind::Deploy { username: username.clone(), project: project.to_owned() };
        Ok((username, self.add_token(Token::new(kind, &value, scopes))))
    }

    /// Adds any token; gives its value.
    pub fn add_token(&self, mut token: Token) -> String {
        let mut state = self.state();
        token.id = u64::try_from(state.tokens.len()).unwrap_or(u64::MAX) + 1;
        let value = token.value.clone();
        state.tokens.push(token);
        value
    }

    /// Makes a token refused from now on.
    pub fn revoke(&self, value: &str) -> Result<()> {
        self.change_token(value, |token| token.active = false)
    }

    /// Makes a revoked token valid again.
    pub fn restore(&self, value: &str) -> Result<()> {
        self.change_token(value, |token| token.active = true)
    }

    /// Changes a token in any way.
    pub fn change_token(&self, value: &str, change: impl FnOnce(&mut Token)) -> Result<()> {
        let mut state = self.state();
        change(state.tokens.iter_mut().find(|token| token.value == value).context("no such token")?);
        Ok(())
    }

    /// All tokens there are.
    pub fn tokens(&self) -> Vec<Token> {
        self.state().tokens.clone()
    }

    /// The token of this value, active or not.
    pub fn token(&self, value: &str) -> Option<Token> {
        self.state().tokens.iter().find(|token| token.value == value).cloned()
    }

    /// The agent that this token signs in, when it is an active agent token. Counts as a use.
    pub(crate) fn agent_of(&self, value: &str) -> Option<u64> {
        let mut state = self.state();
        let token = state.tokens.iter_mut().find(|token| token.active && token.value == value)?;
        let TokenKind::Agent { agent } = token.kind else { return None };
        token.last_used = Some(jiff::Timestamp::now());
        Some(agent)
    }

    /// Requests answered so far, oldest first.
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.state().requests.clone()
    }

    /// Forgets the requests seen.
    pub fn clear_requests(&self) {
        self.state().requests.clear();
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
