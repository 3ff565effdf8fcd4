//! What the API server says of itself.

use serde::{Deserialize, Serialize};

/// Answer of `GET /version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerVersion {
    /// For example `v1.36.3`.
    pub git_version: String,
}

/// One API group and the versions served of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiGroup {
    /// For example `source.toolkit.fluxcd.io`.
    pub name: String,
    /// For example `["v1"]`, preferred first.
    pub versions: Vec<String>,
}
