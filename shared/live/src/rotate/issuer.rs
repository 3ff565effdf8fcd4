//! Where the new credential comes from and the old one is revoked: one face for agent tokens and for those of projects
//! and groups.

use gitlab_agent_core::rotate::{Kind, Token};
use secrecy::ExposeSecret as _;
use secrecy::SecretSlice;

use super::keys::Keys;
use super::personal::Personal;
use super::resource::{self, Item, Resource};
use super::secret::{Content, Read};
use super::target::KEY;
use crate::gitlab::{Fault, FaultKind, GitLabWriter};

/// Makes, lists and revokes.
pub enum Issuer {
    /// Tokens of an agent.
    Agent(Keys),
    /// Credentials of a project or group.
    Resource(Resource),
    /// A person's token, renewed in its place.
    Personal(Personal),
}

impl Issuer {
    /// What is made.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Agent(_) => Kind::AgentToken,
            Self::Resource(resource) => resource.kind,
            Self::Personal(_) => Kind::PersonalToken,
        }
    }

    /// The agent's name, where it is an agent's token.
    pub fn agent_name(&self) -> Option<&str> {
        match self {
            Self::Agent(keys) => Some(&keys.name),
            Self::Resource(_) | Self::Personal(_) => None,
        }
    }

    /// Which GitLab it is of.
    pub(super) fn host(&self) -> String {
        let gitlab = match self {
            Self::Agent(keys) => &keys.gitlab,
            Self::Resource(resource) => &resource.gitlab,
            Self::Personal(personal) => &personal.gitlab,
        };
        gitlab.read.host().to_string()
    }

    /// For the journal.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Agent(keys) => format!("projects/{}/cluster_agents/{}", keys.project.id, keys.agent),
            Self::Personal(_) => String::new(),
            Self::Resource(resource) => resource.owner.path.clone(),
        }
    }

    /// Where, in words.
    pub fn place_words(&self) -> String {
        match self {
            Self::Agent(keys) => format!("agent {} of {}", keys.agent, keys.project.path_with_namespace),
            Self::Resource(resource) => resource.owner.words.clone(),
            Self::Personal(personal) => format!("your access token \"{}\"", personal.name),
        }
    }

    /// The new one in words.
    pub fn new_words(&self) -> String {
        match self {
            Self::Agent(_) => String::new(),
            Self::Resource(resource) => resource.words(),
            Self::Personal(personal) => format!("of the same name and scopes, ends {}", personal.expires_at),
        }
    }

    /// The client.
    pub fn gitlab(&self) -> &GitLabWriter {
        match self {
            Self::Agent(keys) => &keys.gitlab,
            Self::Resource(resource) => &resource.gitlab,
            Self::Personal(personal) => &personal.gitlab,
        }
    }

    /// The active ones.
    pub(super) async fn tokens(&self) -> Result<Vec<Token>, Fault> {
        match self {
            Self::Agent(keys) => keys.tokens().await,
            Self::Resource(resource) => resource.tokens().await,
            Self::Personal(personal) => personal.tokens().await,
        }
    }

    /// An access token with its last use; `None` where it is not there any more.
    pub(super) async fn access_token(&self, id: u64) -> Result<Option<Item>, Fault> {
        match self {
            Self::Resource(r) => resource::access_token(&r.gitlab, &r.owner, id).await,
            Self::Personal(personal) => Ok(personal.items().await?.into_iter().find(|item| item.id == id)),
            Self::Agent(_) => Err(not_so("an agent's token is none of these")),
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
            Self::Personal(_) => Err(not_so("a person's token is renewed and not made beside the old one")),
        }
    }

    /// The name by which tokens that are renewed in their place are known.
    pub(super) fn family(&self) -> Option<String> {
        match self {
            Self::Personal(personal) => Some(personal.name.clone()),
            Self::Agent(_) | Self::Resource(_) => None,
        }
    }

    /// Puts another in the place of one, and what the Secret is to hold. Sent once.
    pub(super) async fn renew(&self, id: u64, read: &Read) -> Result<(u64, Content), Fault> {
        match self {
            Self::Personal(personal) => personal.renew(id, read).await,
            Self::Agent(_) | Self::Resource(_) => {
                Err(not_so("only a person's token is renewed in its place"))
            }
        }
    }

    /// Revokes one. Sent once.
    pub(super) async fn revoke(&self, id: u64) -> Result<(), Fault> {
        match self {
            Self::Agent(keys) => keys.revoke(id).await,
            Self::Resource(resource) => resource.revoke(id).await,
            Self::Personal(_) => Err(not_so("a person's token dies when it is renewed")),
        }
    }
}

fn not_so(text: &str) -> Fault {
    Fault { kind: FaultKind::Refused, asked: "ask GitLab".to_owned(), status: None, message: text.to_owned() }
}
