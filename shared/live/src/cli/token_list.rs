//! `rotate-token --list`: every credential in use. It only reads.

use std::time::Instant;

use anyhow::Result;
use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::render::{self, tokens};
use gitlab_agent_core::report::Exit;
use gitlab_agent_core::rotate::inventory::Inventory;
use gitlab_agent_core::snapshot::{Snapshot, Why};

use super::gitlab::GitLabAccess;
use super::rotate_token::Output;
use super::{Common, out};
use crate::access::ReadClient;
use crate::gitlab::GitLab;
use crate::observe::{AskGitLab, NamedAgent};

/// Access to GitLab that is also asked what only this list shows.
struct ForInventory(GitLabAccess);

impl AskGitLab for ForInventory {
    fn client(&self, of_cluster: Option<&str>) -> Result<GitLab, Why> {
        self.0.client(of_cluster)
    }

    fn agents(&self) -> &[NamedAgent] {
        self.0.agents()
    }

    fn for_inventory(&self) -> bool {
        true
    }
}

/// Lists.
///
/// # Errors
/// A kubeconfig, a recording or a GitLab token that cannot be used.
pub(super) async fn run(common: &Common, output: Output) -> Result<Exit> {
    let snapshot = snapshot(common).await?;
    let inventory = Inventory::of(&Facts::derive(&snapshot));
    let style = common.style();
    out(&match output {
        Output::Table => tokens::blocks(&inventory, &style),
        Output::Wide => tokens::wide(&inventory, &style),
        Output::Json => render::tokens_json(&inventory, &style),
    });
    Ok(inventory.exit())
}

async fn snapshot(common: &Common) -> Result<Snapshot> {
    if common.from.is_some() {
        return common.snapshot().await;
    }
    let begun = Instant::now();
    let gitlab = ForInventory(common.gitlab.access(&common.access)?);
    let client = ReadClient::connect(&common.access).await?;
    common.observe(&client, &gitlab, begun).await
}
