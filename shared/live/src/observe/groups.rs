//! Which API groups the API server serves.

use gitlab_agent_core::snapshot::Why;
use gitlab_agent_core::snapshot::kinds::ApiGroup;
use serde::Deserialize;

use super::existing;
use super::list::JSON;
use crate::access::{ReadClient, at};

/// The API groups with their versions, the preferred one first, in the order of their names.
///
/// # Errors
/// Discovery does not answer, or answers something else.
pub(crate) async fn groups(client: &ReadClient) -> Result<Vec<ApiGroup>, Why> {
    #[derive(Deserialize)]
    struct Groups {
        groups: Vec<Group>,
    }
    #[derive(Deserialize)]
    struct Group {
        name: String,
        versions: Vec<Version>,
    }
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    let asked = "the API groups that are served";
    let answer = client.get("/apis", JSON, asked).await.and_then(existing(asked))?;
    answer.expect_kind(asked, "v1", "APIGroupList")?;
    let found: Groups =
        serde_json::from_slice(&answer.body).map_err(|e| answer.unlike(asked, "APIGroupList", &at(&e)))?;
    let group =
        |g: Group| ApiGroup { name: g.name, versions: g.versions.into_iter().map(|v| v.version).collect() };
    let mut groups: Vec<ApiGroup> = found.groups.into_iter().map(group).collect();
    groups.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(groups)
}
