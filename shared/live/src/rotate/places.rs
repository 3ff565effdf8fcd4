//! Where a credential may have been made: the projects that its readers name, and the groups above them.

use gitlab_agent_core::facts::gitlab::project_of;

use super::find::refused;
use super::grant::Choice;
use super::preflight::Refusal;
use super::resource::{self, Owner};
use super::target::{Fetcher, Notifier, Reader, Target, is_on};
use crate::gitlab::{FaultKind, GitLabWriter, Project};

/// A project with all groups above it.
pub(super) struct Places {
    pub(super) project: Project,
    /// The project, then its groups from the innermost on.
    pub(super) owners: Vec<Owner>,
    /// Groups above it that the person may not see.
    pub(super) hidden: Vec<String>,
}

/// The projects that the credential is to open, by full path.
pub(super) async fn projects(
    gitlab: &GitLabWriter,
    target: &Target,
    choice: &Choice,
) -> Result<Vec<String>, Refusal> {
    let instance = gitlab.read.host().to_string();
    if let Some(project) = &choice.project {
        if let Some(url) = target.urls().find(|url| url.starts_with("https://") && !is_on(&instance, url)) {
            return Err(refused(format!(
                "{url} is not on {instance}: a credential of its project {project} does not open it"
            )));
        }
        return Ok(vec![project.trim_matches('/').to_owned()]);
    }
    let (found, strange) = opened(gitlab, target).await?;
    if !strange.is_empty() {
        return Err(refused(format!(
            "no project of {instance} is named by {}; name the project yourself with --project, or the GitLab with \
             --gitlab-host",
            strange.join(", ")
        )));
    }
    Ok(found)
}

/// The projects that all its readers name, suspended ones too, and the readers that name none of this GitLab.
pub(super) async fn opened(
    gitlab: &GitLabWriter,
    target: &Target,
) -> Result<(Vec<String>, Vec<String>), Refusal> {
    let instance = gitlab.read.host().to_string();
    let mut found = Vec::new();
    let mut strange = Vec::new();
    match &target.reader {
        Reader::Agent(_) => {}
        Reader::Sources(fetchers) => {
            for fetcher in fetchers {
                match of_fetcher(gitlab, &instance, fetcher).await? {
                    Some(path) => found.push(path),
                    None => strange.push(format!("{} ({})", fetcher.object, fetcher.url)),
                }
            }
        }
        Reader::Providers(notifiers) => {
            for notifier in notifiers {
                match of_notifier(gitlab, &instance, notifier).await? {
                    Some(path) => found.push(path),
                    None => strange.push(format!("{} ({})", notifier.object, notifier.address)),
                }
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok((found, strange))
}

async fn of_fetcher(
    gitlab: &GitLabWriter,
    instance: &str,
    fetcher: &Fetcher,
) -> Result<Option<String>, Refusal> {
    if let Some(rest) = fetcher.url.strip_prefix("oci://") {
        // An image's name may have further parts behind the project's path (GitLab, "Container registry").
        let path = rest.split_once('/').map_or("", |(_, path)| path).trim_matches('/');
        let parts: Vec<&str> = path.split('/').collect();
        for end in (2..=parts.len()).rev().take(6) {
            if let Some(project) = existing(gitlab, &parts[..end].join("/")).await? {
                return Ok(Some(project.path_with_namespace));
            }
        }
        return Ok(None);
    }
    let Some(path) = project_of(instance, &fetcher.url) else { return Ok(None) };
    // The package registry's Helm repositories: /api/v4/projects/ID/packages/helm/CHANNEL.
    let Some(rest) = path.strip_prefix("api/v4/projects/") else { return Ok(Some(path)) };
    let id = rest.split('/').next().unwrap_or_default().replace("%2F", "/").replace("%2f", "/");
    Ok(existing(gitlab, &id).await?.map(|project| project.path_with_namespace))
}

pub(super) async fn of_notifier(
    gitlab: &GitLabWriter,
    instance: &str,
    notifier: &Notifier,
) -> Result<Option<String>, Refusal> {
    if let Some(path) = project_of(instance, &notifier.address) {
        return Ok(Some(path));
    }
    // https://HOST/NUMBER
    let number = notifier.address.strip_prefix(instance).map(|rest| rest.trim_matches('/'));
    let Some(number) = number.filter(|n| !n.is_empty() && n.chars().all(|c| c.is_ascii_digit())) else {
        return Ok(None);
    };
    Ok(existing(gitlab, number).await?.map(|project| project.path_with_namespace))
}

/// A project by path or number, where there is one that the person may see.
async fn existing(gitlab: &GitLabWriter, path: &str) -> Result<Option<Project>, Refusal> {
    match gitlab.read.project(path).await {
        Ok(found) => Ok(Some(found.project)),
        Err(fault) if hides(fault.kind) => Ok(None),
        Err(fault) => Err(fault.into()),
    }
}

/// Whether GitLab says by it that the person may not see something, or that it is not there.
pub(super) fn hides(kind: FaultKind) -> bool {
    matches!(kind, FaultKind::NotFound | FaultKind::Forbidden | FaultKind::Granular)
}

/// A project and the groups above it that the person may see.
pub(super) async fn above(gitlab: &GitLabWriter, path: &str) -> Result<Places, Refusal> {
    let project = gitlab.read.project(path).await?.project;
    let mut owners = vec![Owner {
        path: format!("projects/{}", project.id),
        words: format!("project {}", project.path_with_namespace),
    }];
    let mut hidden = Vec::new();
    let mut group = project.path_with_namespace.as_str();
    while let Some((above, _)) = group.rsplit_once('/') {
        match resource::group(gitlab, above).await {
            Ok(owner) => owners.push(owner),
            // A person's own namespace is no group, and a fine-grained token may be for the project alone.
            Err(fault) if hides(fault.kind) && project.is_persons() => {}
            Err(fault) if hides(fault.kind) => hidden.push(format!("group {above}")),
            Err(fault) => return Err(fault.into()),
        }
        group = above;
    }
    Ok(Places { project, owners, hidden })
}

/// All projects and groups that what reads the Secret names, or the person.
pub(super) async fn owners_of(
    gitlab: &GitLabWriter,
    target: &Target,
    choice: &Choice,
) -> Result<Vec<Owner>, Refusal> {
    let mut places = Vec::new();
    for path in projects(gitlab, target, choice).await? {
        places.push(above(gitlab, &path).await?);
    }
    Ok(owners(&places).into_iter().cloned().collect())
}

/// All places once, projects and inner groups first.
pub(super) fn owners(places: &[Places]) -> Vec<&Owner> {
    let mut all: Vec<&Owner> = Vec::new();
    for owner in places.iter().flat_map(|p| &p.owners) {
        if !all.contains(&owner) {
            all.push(owner);
        }
    }
    all.sort_by_key(|owner| owner.path.starts_with("groups/"));
    all
}
