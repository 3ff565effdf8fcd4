//! Where the new credential comes from and the old one is revoked: one face for agent tokens and for those of projects
//! and groups.

use gitlab_agent_core::rotate::{Kind, Token};
use secrecy::ExposeSecret as _;
use secrecy::SecretSlice;

use super::keys::Keys;
use super::resource::Resource;
use super::secret::{Content, Read};
use super::target::KEY;
use crate::gitlab::{Fault, GitLabWriter};

/// Makes, lists and revokes.
pub enum Issuer {
    /// Tokens of an agent.
    Agent(Keys),
    /// Credentials of a project or group.
    Resource(Resource),
}

impl Issuer {
    /// What is made.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Agent(_) => Kind::AgentToken,
            Self::Resource(resource) => resource.kind,
        }
    }

    /// The agent's name, where it is an agent's token.
    pub fn agent_name(&self) -> Option<&str> {
        match self {
            Self::Agent(keys) => Some(&keys.name),
            Self::Resource(_) => None,
        }
    }

    /// For the journal.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Agent(_) => String::new(),
            Self::Resource(resource) => resource.owner.path.clone(),
        }
    }

    /// Where, in words.
    pub fn place_words(&self) -> String {
        match self {
            Self::Agent(keys) => format!("agent {} of {}", keys.agent, keys.project.path_with_namespace),
            Self::Resource(resource) => resource.owner.words.clone(),
        }
    }

    /// The new one in words.
    pub fn new_words(&self) -> String {
        match self {
            Self::Agent(_) => String::new(),
            Self::Resource(resource) => resource.words(),
        }
    }

    /// The client.
    pub fn gitlab(&self) -> &GitLabWriter {
        match self {
            Self::Agent(keys) => &keys.gitlab,
            Self::Resource(resource) => &resource.gitlab,
        }
    }

    /// The active ones.
    pub(super) async fn tokens(&self) -> Result<Vec<Token>, Fault> {
        match self {
            Self::Agent(keys) => keys.tokens().await,
            Self::Resource(resource) => resource.tokens().await,
        }
    }

    /// Makes one, and what the Secret is to hold. Sent once.
    pub(super) async fn create(
        &self,
        name: &str,
        description: &str,
        read: &Read,
    ) -> Result<(u64, Content), Fault> {
        match self {
            Self::Agent(keys) => {
                let (id, value) = keys.create(name, description).await?;
                let value = SecretSlice::from(value.expose_secret().as_bytes().to_vec());
                Ok((id, Content::from([(KEY, Some(value))])))
            }
            Self::Resource(resource) => resource.create(name, description, read).await,
        }
    }

    /// Revokes one. Sent once.
    pub(super) async fn revoke(&self, id: u64) -> Result<(), Fault> {
        match self {
            Self::Agent(keys) => keys.revoke(id).await,
            Self::Resource(resource) => resource.revoke(id).await,
        }
    }
}
