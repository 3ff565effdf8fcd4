//! A person's access token, renewed in its place: GitLab makes another of the same name, scopes and owner, and the old one
//! dies at once.
//!
//! Source: GitLab, "Personal access tokens API" (rotate; reuse detection).

use gitlab_agent_core::rotate::{Kind, Token};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;

use super::form::{Form, New};
use super::resource::Item;
use super::secret::{Content, Read};
use crate::gitlab::{Fault, FaultKind, GitLabWriter};

/// The tokens of one name that belong to whoever runs this.
#[derive(Clone)]
pub struct Personal {
    pub(super) gitlab: GitLabWriter,
    /// Whose.
    pub(super) user: u64,
    /// The name that the old one and the new one have.
    pub(super) name: String,
    /// The day at whose beginning (UTC) the new one ends: without one GitLab gives it a week.
    pub(super) expires_at: String,
    pub(super) form: Form,
}

/// One token as its owner lists it.
#[derive(Deserialize)]
struct Owned {
    user_id: u64,
    #[serde(flatten)]
    item: Item,
}

impl Personal {
    /// The living ones.
    pub(super) async fn items(&self) -> Result<Vec<Item>, Fault> {
        // An administrator is shown those of everybody, of which only so many are read.
        let path = format!("/personal_access_tokens?state=active&user_id={}", self.user);
        let all = self.gitlab.read.get_all::<Owned>(&path, "your access tokens").await?;
        let own = all.items.into_iter().filter(|t| t.user_id == self.user && t.item.name == self.name);
        Ok(own.map(|t| t.item).filter(Item::is_active).collect())
    }

    pub(super) async fn tokens(&self) -> Result<Vec<Token>, Fault> {
        let all = self.items().await?;
        Ok(all.into_iter().map(|item| Token { id: item.id, name: item.name }).collect())
    }

    /// Renews one, and what the Secret is to hold. Sent once, and for each token once.
    pub(super) async fn renew(&self, id: u64, read: &Read) -> Result<(u64, Content), Fault> {
        #[derive(Deserialize)]
        struct Renewed {
            id: u64,
            token: SecretString,
        }
        let asked = format!("renew {} {id}", Kind::PersonalToken.word());
        let path = format!("/personal_access_tokens/{id}/rotate");
        let body = json!({"expires_at": self.expires_at});
        let renewed: Renewed = self.gitlab.post(&path, &body, &asked).await.map_err(no_legacy_token)?;
        let new = New { id: renewed.id, user: None, secret: renewed.token, public: None };
        let content = self.form.fill(&new, read).map_err(|e| Fault {
            kind: FaultKind::Unreadable,
            asked,
            status: None,
            message: format!("{e:#}"),
        })?;
        Ok((new.id, content))
    }
}

/// Where fine-grained tokens are enforced, GitLab renews no legacy token: there is nothing to be done here.
fn no_legacy_token(mut fault: Fault) -> Fault {
    let said = fault.message.to_lowercase();
    let enforced = said.contains("fine-grained") || said.contains("granular") || said.contains("legacy");
    if enforced && matches!(fault.kind, FaultKind::Refused | FaultKind::Granular | FaultKind::Forbidden) {
        fault.message.push_str(
            "; fine-grained personal access tokens are enforced here, and legacy ones are not renewed: create a fine-grained \
             token in GitLab and write it into the Secret",
        );
    }
    fault
}
