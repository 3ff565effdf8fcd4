//! What the person's token says of itself: a personal, project or group access token by its own record, the OAuth token of
//! a sign-in with glab by Doorkeeper's.

use gitlab_agent_core::snapshot::gitlab::OwnToken;
use jiff::Timestamp;
use serde::Deserialize;

use super::client::GitLab;
use super::fault::{Fault, FaultKind};

/// The scope that a fine-grained token has in the place of scopes (GitLab, "Fine-grained personal access tokens"): what it
/// may do is a list of permissions that it cannot be asked for.
pub const FINE_GRAINED: &str = "granular";

/// A token's own record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Its number; an OAuth token has none.
    pub id: Option<u64>,
    /// Whose it is.
    pub user_id: Option<u64>,
    /// Scopes.
    pub scopes: Vec<String>,
    /// The day at whose beginning (UTC) it ends.
    pub expires_at: Option<String>,
}

impl Own {
    /// Whether its permissions are fine-grained, so that scopes say nothing.
    pub fn is_fine_grained(&self) -> bool {
        self.scopes.iter().any(|scope| scope == FINE_GRAINED)
    }

    /// For a snapshot.
    pub fn recorded(&self, moment: impl Fn(&str) -> Option<Timestamp>) -> OwnToken {
        OwnToken {
            scopes: self.scopes.clone(),
            expires_at: self.expires_at.as_deref().and_then(moment),
            refused_as_legacy: None,
        }
    }
}

impl GitLab {
    /// The token's own record.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn own_token(&self) -> Result<Own, Fault> {
        #[derive(Deserialize)]
        struct Record {
            id: u64,
            #[serde(default)]
            user_id: Option<u64>,
            #[serde(default)]
            scopes: Vec<String>,
            #[serde(default)]
            expires_at: Option<String>,
        }
        #[derive(Deserialize)]
        struct OAuth {
            #[serde(default)]
            resource_owner_id: Option<u64>,
            #[serde(default, alias = "scopes")]
            scope: Vec<String>,
        }
        let asked = "your token";
        match self.get::<Record>("/personal_access_tokens/self", asked).await {
            Ok(r) => {
                Ok(Own { id: Some(r.id), user_id: r.user_id, scopes: r.scopes, expires_at: r.expires_at })
            }
            // Only a fine-grained token is refused there: no group can enforce anything for a person's own record.
            Err(fault) if fault.kind == FaultKind::Granular => {
                Ok(Own { scopes: vec![FINE_GRAINED.to_owned()], ..Own::default() })
            }
            Err(fault) if matches!(fault.kind, FaultKind::NotFound | FaultKind::Refused) => {
                // It is renewed by whoever signed in: its end within two hours is nothing to warn of.
                match self.get_root::<OAuth>("/oauth/token/info", asked).await {
                    Ok(info) => {
                        Ok(Own { user_id: info.resource_owner_id, scopes: info.scope, ..Own::default() })
                    }
                    Err(_) => Err(fault),
                }
            }
            Err(fault) => Err(fault),
        }
    }
}
