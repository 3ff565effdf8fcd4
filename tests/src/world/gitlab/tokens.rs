//! All tokens under one view: by value, whatever kind they are of.

use anyhow::{Result, bail};
use jiff::Timestamp;

use super::GitLab;

/// What a token is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenKind {
    /// Signs agentk in.
    Agent {
        /// The agent's number.
        agent: u64,
    },
    /// A personal, project or group access token: any user name goes with it.
    Access,
    /// A deploy token: it has a user name of its own.
    Deploy {
        /// The user name that goes with it.
        username: String,
    },
}

/// What every token has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Number among its kind.
    pub id: u64,
    /// What it is for.
    pub kind: TokenKind,
    /// The secret itself.
    pub value: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Neither revoked nor expired.
    pub active: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last accepted.
    pub last_used: Option<Timestamp>,
}

impl GitLab {
    /// All tokens there are.
    pub fn tokens(&self) -> Vec<Token> {
        let state = self.state();
        let agent = state.agent_tokens.iter().map(|token| Token {
            id: token.id,
            kind: TokenKind::Agent { agent: token.agent },
            value: token.value.clone(),
            scopes: Vec::new(),
            active: !token.revoked,
            created: token.created,
            last_used: token.last_used,
        });
        let access = state.access_tokens.iter().map(|token| Token {
            id: token.id,
            kind: TokenKind::Access,
            value: token.value.clone(),
            scopes: token.scopes.clone(),
            active: token.is_active(),
            created: token.created,
            last_used: token.last_used,
        });
        let deploy = state.deploy_tokens.iter().map(|token| Token {
            id: token.id,
            kind: TokenKind::Deploy { username: token.username.clone() },
            value: token.value.clone(),
            scopes: token.scopes.clone(),
            active: token.is_active(),
            created: token.created,
            last_used: token.last_used,
        });
        agent.chain(access).chain(deploy).collect()
    }

    /// The token of this value, active or not.
    pub fn token(&self, value: &str) -> Option<Token> {
        self.tokens().into_iter().find(|token| token.value == value)
    }

    /// Makes a token refused from now on.
    ///
    /// # Errors
    /// There is no such token.
    pub fn revoke(&self, value: &str) -> Result<()> {
        self.set_revoked(value, true)
    }

    /// Makes a revoked token valid again: what no GitLab does, and saves a test from starting anew.
    ///
    /// # Errors
    /// There is no such token.
    pub fn restore(&self, value: &str) -> Result<()> {
        self.set_revoked(value, false)
    }

    fn set_revoked(&self, value: &str, revoked: bool) -> Result<()> {
        let state = &mut *self.state();
        let agent = state.agent_tokens.iter_mut().map(|token| (&token.value, &mut token.revoked));
        let access = state.access_tokens.iter_mut().map(|token| (&token.value, &mut token.revoked));
        let deploy = state.deploy_tokens.iter_mut().map(|token| (&token.value, &mut token.revoked));
        for (known, slot) in agent.chain(access).chain(deploy) {
            if known == value {
                *slot = revoked;
                return Ok(());
            }
        }
        bail!("no such token")
    }
}
