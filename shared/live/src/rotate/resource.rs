//! Credentials that belong to a project or group of GitLab: deploy tokens, deploy keys, access tokens. Each is made
//! beside the old one, which is revoked at the end: there is no rotation that kills it at once.
//!
//! Source: GitLab, "Deploy tokens API", "Deploy keys API", "Project access tokens API", "Group access tokens API".

use gitlab_agent_core::facts::protection::role_name;
use gitlab_agent_core::rotate::{Kind, Token};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};

use super::form::{Form, New};
use super::secret::{Content, Read};
use crate::access::segment;
use crate::gitlab::{Fault, FaultKind, GitLabWriter};
use crate::observe::moment;
use crate::ssh;

/// GitLab takes no longer description of an access token: its database has no room, and the answer is a 500.
const LONGEST_DESCRIPTION: usize = 255;
/// Why GitLab lets a Maintainer make no access token of a project.
pub(super) const NO_ACCESS_TOKENS: &str = "on GitLab.com project and group access tokens take Premium or Ultimate (in a trial \
                                           there is one), and the settings of a group may forbid them";

/// A project or group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// `projects/12` or `groups/3`: below `/api/v4/`.
    pub(super) path: String,
    /// `project platform/fleet` or `group platform`.
    pub(super) words: String,
}

/// What the new one may do, and until when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Grant {
    /// Scopes of a token.
    pub(super) scopes: Vec<String>,
    /// Role of an access token: 30 is Developer, 40 Maintainer.
    pub(super) access_level: Option<u32>,
    /// Whether a deploy key may push.
    pub(super) can_push: bool,
    /// The day at whose beginning (UTC) it ends.
    pub(super) expires_at: Option<String>,
}

/// Where credentials of one kind are made, listed and revoked.
#[derive(Clone)]
pub struct Resource {
    pub(super) gitlab: GitLabWriter,
    pub(super) kind: Kind,
    pub(super) owner: Owner,
    pub(super) grant: Grant,
    pub(super) form: Form,
}

/// One credential as GitLab lists it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Item {
    pub(super) id: u64,
    #[serde(alias = "title")]
    pub(super) name: String,
    pub(super) username: String,
    pub(super) scopes: Vec<String>,
    /// The person or bot that an access token acts for.
    pub(super) user_id: Option<u64>,
    pub(super) access_level: Option<u32>,
    pub(super) created_at: Option<Timestamp>,
    pub(super) last_used_at: Option<Timestamp>,
    pub(super) expires_at: Option<String>,
    pub(super) revoked: bool,
    pub(super) expired: bool,
    pub(super) active: Option<bool>,
    /// The line of a deploy key.
    pub(super) key: String,
    pub(super) can_push: bool,
}

impl Item {
    /// When it ends.
    pub(super) fn ends(&self) -> Option<Timestamp> {
        self.expires_at.as_deref().and_then(moment)
    }

    pub(super) fn is_active(&self) -> bool {
        let over = self.ends().is_some_and(|at| at <= Timestamp::now());
        !self.revoked && !self.expired && self.active != Some(false) && !over
    }

    /// As people find it in GitLab: `deploy token 12 "flux"`.
    pub(super) fn title(&self, kind: Kind) -> String {
        format!("{} {} \"{}\"", kind.word(), self.id, self.name)
    }
}

/// What a kind is called in paths.
fn collection(kind: Kind) -> &'static str {
    match kind {
        Kind::DeployToken => "deploy_tokens",
        Kind::DeployKey => "deploy_keys",
        _ => "access_tokens",
    }
}

/// The active credentials of one kind.
pub(super) async fn list(gitlab: &GitLabWriter, kind: Kind, owner: &Owner) -> Result<Vec<Item>, Fault> {
    Ok(every(gitlab, kind, owner).await?.into_iter().filter(Item::is_active).collect())
}

/// All that GitLab lists of one kind; of deploy tokens also those that have ended.
pub(super) async fn every(gitlab: &GitLabWriter, kind: Kind, owner: &Owner) -> Result<Vec<Item>, Fault> {
    let asked = format!("{}s of {}", kind.word(), owner.words);
    let state = if kind == Kind::AccessToken { "?state=active" } else { "" };
    let path = format!("/{}/{}{state}", owner.path, collection(kind));
    Ok(gitlab.read.get_all::<Item>(&path, &asked).await?.items)
}

/// One access token, with its last use; `None` where it is not one of this project or group. That it may not be read there
/// (401, [`FaultKind::SignIn`]: it takes Maintainer in a project, Owner in a group) says nothing of whether it is.
pub(super) async fn access_token(
    gitlab: &GitLabWriter,
    owner: &Owner,
    id: u64,
) -> Result<Option<Item>, Fault> {
    let asked = format!("access token {id} of {}", owner.words);
    match gitlab.read.get(&format!("/{}/access_tokens/{id}", owner.path), &asked).await {
        Ok(item) => Ok(Some(item)),
        Err(fault) if fault.kind == FaultKind::NotFound => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// A group by its full path.
pub(super) async fn group(gitlab: &GitLabWriter, path: &str) -> Result<Owner, Fault> {
    #[derive(Deserialize)]
    struct Group {
        id: u64,
        full_path: String,
    }
    let asked = format!("group {path}");
    let path = format!("/groups/{}?with_projects=false", segment(path));
    let group: Group = gitlab.read.get(&path, &asked).await?;
    Ok(Owner { path: format!("groups/{}", group.id), words: format!("group {}", group.full_path) })
}

impl Resource {
    pub(super) async fn tokens(&self) -> Result<Vec<Token>, Fault> {
        let all = list(&self.gitlab, self.kind, &self.owner).await?;
        Ok(all.into_iter().map(|item| Token { id: item.id, name: item.name }).collect())
    }

    /// Makes one, and what the Secret is to hold. Sent once.
    pub(super) async fn create(
        &self,
        name: &str,
        description: &str,
        read: &Read,
    ) -> Result<(u64, Content), Fault> {
        #[derive(Deserialize)]
        struct Created {
            id: u64,
            #[serde(default)]
            token: Option<SecretString>,
            #[serde(default)]
            username: Option<String>,
        }
        let asked = format!("make another {} of {}", self.kind.word(), self.owner.words);
        let broken =
            |message: String| Fault { kind: FaultKind::Refused, asked: asked.clone(), status: None, message };
        let pair = match self.kind {
            Kind::DeployKey => Some(ssh::new_pair(name).map_err(|e| broken(format!("{e:#}")))?),
            _ => None,
        };
        let line = pair.as_ref().map(|(_, line)| line.as_str());
        let body = self.body(name, description, line);
        let path = format!("/{}/{}", self.owner.path, collection(self.kind));
        let created: Created = match self.gitlab.post(&path, &body, &asked).await {
            Ok(created) => created,
            Err(fault) => return Err(self.not_created(fault, name).await),
        };
        let (secret, public) = match pair {
            Some((private, line)) => (Some(private), Some(line)),
            None => (created.token, None),
        };
        let secret = secret.ok_or_else(|| Fault {
            kind: FaultKind::Unreadable,
            ..broken("the answer holds no token".to_owned())
        })?;
        let user = created.username.filter(|_| self.kind == Kind::DeployToken);
        let new = New { id: created.id, user, secret, public };
        // It exists by now, and its value cannot be used: that is found by its name, and revoked.
        let content = self
            .form
            .fill(&new, read)
            .map_err(|e| Fault { kind: FaultKind::Unreadable, ..broken(format!("{e:#}")) })?;
        Ok((new.id, content))
    }

    fn body(&self, name: &str, description: &str, line: Option<&str>) -> Value {
        let grant = &self.grant;
        let mut body = match self.kind {
            Kind::DeployKey => json!({"title": name, "key": line, "can_push": grant.can_push}),
            Kind::DeployToken => json!({"name": name, "scopes": grant.scopes}),
            _ => {
                let description: String = description.chars().take(LONGEST_DESCRIPTION).collect();
                json!({"name": name, "description": description, "scopes": grant.scopes})
            }
        };
        if let Some(level) = grant.access_level {
            body["access_level"] = level.into();
        }
        if let Some(at) = &grant.expires_at {
            body["expires_at"] = at.as_str().into();
        }
        body
    }

    /// What else there is to say of a creation that failed: why no access token can be made here, and what it left behind.
    async fn not_created(&self, mut fault: Fault, name: &str) -> Fault {
        if self.kind != Kind::AccessToken {
            return fault;
        }
        let said = fault.message.to_lowercase();
        let refused = said.contains("does not have permission to create") || said.contains("limit reached");
        if fault.kind == FaultKind::Refused && refused {
            fault.message.push_str("; ");
            fault.message.push_str(NO_ACCESS_TOKENS);
        }
        // GitLab makes the bot before its token (`app/services/resource_access_tokens/create_service.rb`).
        if fault.may_have_happened()
            && let Some(bot) = self.bot_without_token(name).await
        {
            // Asking again would leave another.
            fault.kind = FaultKind::Refused;
            fault.message.push_str(&format!(
                "; GitLab made the bot user {bot} and no token for it: it can sign in nowhere, and an administrator of GitLab can \
                 delete it"
            ));
        }
        fault
    }

    /// The bot of this name, where there is one and no token of this name is active.
    async fn bot_without_token(&self, name: &str) -> Option<String> {
        #[derive(Deserialize)]
        struct Member {
            name: String,
            username: String,
        }
        let living = list(&self.gitlab, self.kind, &self.owner).await.ok()?;
        if living.iter().any(|item| item.name == name) {
            return None;
        }
        let path = format!("/{}/members?query={}", self.owner.path, segment(name));
        let members = self
            .gitlab
            .read
            .get_all::<Member>(&path, &format!("members of {}", self.owner.words))
            .await
            .ok()?;
        let ours = |m: &Member| m.name == name && m.username.contains("_bot");
        members.items.into_iter().find(ours).map(|bot| bot.username)
    }

    /// Revokes one. Sent once; one that is gone already is as good as revoked.
    pub(super) async fn revoke(&self, id: u64) -> Result<(), Fault> {
        let asked = format!("revoke {} {id} of {}", self.kind.word(), self.owner.words);
        let path = format!("/{}/{}/{id}", self.owner.path, collection(self.kind));
        match self.gitlab.delete(&path, &asked).await {
            Err(fault) if fault.kind != FaultKind::NotFound => Err(fault),
            _ => Ok(()),
        }
    }

    /// The new one in words, for the plan.
    pub(super) fn words(&self) -> String {
        let grant = &self.grant;
        let article = if self.kind == Kind::AccessToken { "an" } else { "a" };
        let mut words = vec![format!("{article} {} of {}", self.kind.word(), self.owner.words)];
        if !grant.scopes.is_empty() {
            words.push(format!("scopes {}", grant.scopes.join(" ")));
        }
        words.extend(grant.access_level.map(|level| format!("role {}", role_name(level))));
        words.extend(grant.can_push.then(|| "may push".to_owned()));
        let end = grant.expires_at.as_ref();
        words.push(end.map_or_else(|| "without an end".to_owned(), |at| format!("ends {at}")));
        words.join(", ")
    }
}
