//! The flags of GitLab for commands that observe, and what they come to.

use std::time::Duration;

use anyhow::Result;
use gitlab_agent_core::snapshot::{Why, WhyKind};

use crate::access::Access;
use crate::gitlab::{GitLab, GitLabArgs, Trust};
use crate::observe::{AskGitLab, NamedAgent};

/// Which GitLab, and which of its agents.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct GitLabFlags {
    /// Which GitLab
    #[command(flatten)]
    pub args: GitLabArgs,
    /// The agent that runs here, PROJECT:NAME, where it cannot be found out; repeat it for several
    #[arg(long, value_name = "PROJECT:NAME", help_heading = "GitLab")]
    pub gitlab_agent: Vec<NamedAgent>,
}

/// What the person gave, read once: standard input cannot be read twice.
pub(super) struct GitLabAccess {
    trust: Trust,
    settled: Option<Result<GitLab, Why>>,
    agents: Vec<NamedAgent>,
    request_timeout: Duration,
    verbose: u8,
}

impl GitLabFlags {
    /// Whether a flag asks for GitLab.
    pub(super) fn is_given(&self) -> bool {
        let args = &self.args;
        let paths = args.gitlab_token_file.is_some() || args.gitlab_ca_file.is_some();
        paths || args.gitlab_host.is_some() || !self.gitlab_agent.is_empty()
    }

    /// Reads flags, environment and glab's configuration.
    ///
    /// # Errors
    /// What was given cannot be used.
    pub(super) fn access(&self, access: &Access) -> Result<GitLabAccess> {
        let trust = self.args.trust()?;
        let mut made = GitLabAccess {
            settled: None,
            agents: self.gitlab_agent.clone(),
            request_timeout: access.request_timeout,
            verbose: access.verbose,
            trust,
        };
        if made.trust.is_settled() {
            made.settled = Some(made.make(None)?);
        }
        Ok(made)
    }
}

impl GitLabAccess {
    fn make(&self, of_cluster: Option<&str>) -> Result<Result<GitLab, Why>> {
        Ok(match self.trust.credentials(of_cluster)? {
            Ok(credentials) => Ok(GitLab::new(&credentials, self.request_timeout, self.verbose)?),
            Err(why) => Err(why),
        })
    }
}

impl AskGitLab for GitLabAccess {
    fn client(&self, of_cluster: Option<&str>) -> Result<GitLab, Why> {
        match &self.settled {
            Some(settled) => settled.clone(),
            None => self.make(of_cluster).unwrap_or_else(|e| {
                Err(Why::new(
                    WhyKind::NoGitLab,
                    "GitLab",
                    format!("glab's configuration cannot be used: {e:#}"),
                ))
            }),
        }
    }

    fn agents(&self) -> &[NamedAgent] {
        &self.agents
    }
}
