//! Projects by their full path. Their numeric id is what later requests use: a proxy that decodes `%2F` before GitLab
//! breaks encoded paths (GitLab, "REST API troubleshooting"), never numbers.

use serde::Deserialize;
use serde_json::json;

use super::client::GitLab;
use super::fault::{Fault, FaultKind};
use crate::access::segment;

/// What is read of a project.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Project {
    /// Numeric id.
    pub id: u64,
    /// `group/name`.
    pub path_with_namespace: String,
    /// `private`, `internal` or `public`; absent where the token may see next to nothing.
    #[serde(default)]
    pub visibility: String,
    /// Absent where the repository is empty or not visible.
    #[serde(default)]
    pub default_branch: Option<String>,
    /// What the token's owner may do.
    #[serde(default)]
    pub permissions: Option<Permissions>,
    /// What it lies in.
    #[serde(default)]
    pub namespace: Option<Namespace>,
}

/// What a project lies in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Namespace {
    /// `group`, or `user` for a person's own.
    pub kind: String,
}

/// A member's access, directly and through the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Permissions {
    /// In the project.
    #[serde(default)]
    pub project_access: Option<AccessLevel>,
    /// Through the group.
    #[serde(default)]
    pub group_access: Option<AccessLevel>,
}

/// 10 guest, 20 reporter, 30 developer, 40 maintainer, 50 owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct AccessLevel {
    /// The number.
    pub access_level: u32,
}

impl Project {
    /// Whether it lies in a person's own namespace: no group is above it.
    pub fn is_persons(&self) -> bool {
        self.namespace.as_ref().is_some_and(|namespace| namespace.kind == "user")
    }

    /// The owner's level, where GitLab says.
    pub fn access_level(&self) -> Option<u32> {
        let of = self.permissions?;
        [of.project_access, of.group_access].into_iter().flatten().map(|a| a.access_level).max()
    }
}

/// A project that was found, and how it is to be asked for.
#[derive(Clone, Debug)]
pub struct ProjectRef {
    /// What is known of it.
    pub project: Project,
    /// Whether encoded paths do not reach GitLab, so that files are read through GraphQL.
    pub paths_break: bool,
}

impl GitLab {
    /// Finds a project by its full path, also where encoded paths do not reach GitLab.
    ///
    /// # Errors
    /// See [`Fault`]; [`FaultKind::NotFound`] also where the token may not see it.
    pub async fn project(&self, full_path: &str) -> Result<ProjectRef, Fault> {
        #[derive(Deserialize)]
        struct Data {
            project: Option<Found>,
        }
        #[derive(Deserialize)]
        struct Found {
            id: String,
        }
        let asked = format!("project {full_path}");
        let missing = match self.get(&format!("/projects/{}", segment(full_path)), &asked).await {
            Ok(project) => return Ok(ProjectRef { project, paths_break: false }),
            Err(fault) if fault.kind == FaultKind::NotFound => fault,
            // GitLab sends whoever asks for a former path on to the number (`lib/api/helpers.rb`, `project_moved?`).
            Err(fault) if fault.kind == FaultKind::Moved => {
                let text = "the project was renamed or moved in GitLab: write its new path into spec.url";
                return Err(Fault { kind: FaultKind::NotFound, message: text.to_owned(), ..fault });
            }
            Err(fault) => return Err(fault),
        };
        let query = "query($path: ID!) { project(fullPath: $path) { id } }";
        let found = self.graphql::<Data>(query, json!({"path": full_path}), &asked).await;
        let id = found.ok().and_then(|a| a.data?.project?.id.rsplit('/').next()?.parse::<u64>().ok());
        match id {
            Some(id) => {
                let project = self.get(&format!("/projects/{id}"), &asked).await?;
                Ok(ProjectRef { project, paths_break: true })
            }
            None => Err(missing),
        }
    }

    /// A file of a project's default branch; `Ok(None)` where there is none.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn file(&self, of: &ProjectRef, path: &str) -> Result<Option<Vec<u8>>, Fault> {
        #[derive(Deserialize)]
        struct Data {
            project: Option<Of>,
        }
        #[derive(Deserialize)]
        struct Of {
            repository: Option<Repository>,
        }
        #[derive(Deserialize)]
        struct Repository {
            blobs: Option<Blobs>,
        }
        #[derive(Deserialize)]
        struct Blobs {
            nodes: Vec<Option<Blob>>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Blob {
            raw_text_blob: Option<String>,
        }
        let project = &of.project;
        let asked = format!("file {path} of project {}", project.path_with_namespace);
        if !of.paths_break {
            let raw = format!("/projects/{}/repository/files/{}/raw?ref=HEAD", project.id, segment(path));
            return match self.get_raw(&raw, &asked).await {
                Ok(body) => Ok(Some(body)),
                Err(fault) if fault.kind == FaultKind::NotFound => Ok(None),
                Err(fault) => Err(fault),
            };
        }
        let query = "query($path: ID!, $file: String!) { project(fullPath: $path) { repository { blobs(paths: [$file]) { \
                     nodes { rawTextBlob } } } } }";
        let variables = json!({"path": project.path_with_namespace, "file": path});
        let answer = self.graphql::<Data>(query, variables, &asked).await?;
        if let Some(error) = answer.errors.first() {
            return Err(Fault::new(FaultKind::Unreadable, &asked, error));
        }
        let blobs = answer.data.and_then(|d| d.project?.repository?.blobs);
        let first = blobs.and_then(|b| b.nodes.into_iter().flatten().next());
        Ok(first.and_then(|b| b.raw_text_blob).map(String::into_bytes))
    }
}
