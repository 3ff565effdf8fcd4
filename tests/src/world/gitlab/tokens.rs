//! Tokens of the played GitLab and what they open.

use jiff::Timestamp;

/// What a token is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenKind {
    /// Signs agentk in.
    Agent {
        /// The agent's id.
        agent: u64,
    },
    /// A personal, project or group access token: any user name goes with it.
    Access,
    /// A deploy token: it has a user name of its own, and one project.
    Deploy {
        /// The user name that goes with it.
        username: String,
        /// The only project that it opens.
        project: String,
    },
}

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Number in the order of making.
    pub id: u64,
    /// What it is for.
    pub kind: TokenKind,
    /// The secret itself.
    pub value: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// False once revoked.
    pub active: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last accepted.
    pub last_used: Option<Timestamp>,
}

impl Token {
    /// An active token.
    pub fn new(kind: TokenKind, value: &str, scopes: &[&str]) -> Self {
        Self {
            id: 0,
            kind,
            value: value.to_owned(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            active: true,
            created: Timestamp::now(),
            last_used: None,
        }
    }

    /// Whether one of these scopes was given.
    pub(crate) fn has_scope(&self, any_of: &[&str]) -> bool {
        self.scopes.iter().any(|scope| any_of.contains(&scope.as_str()))
    }
}
