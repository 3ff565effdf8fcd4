//! Values that only the kubeconfig or the cluster knows, within a short deadline.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::{Command, FromArgMatches as _};
use gitlab_agent_core::assess::CHECKS;
use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::plan::project_path;
use gitlab_agent_core::snapshot::Snapshot;

use super::Candidate;
use crate::access::{Access, ReadClient};
use crate::cli::Common;
use crate::observe::{Scope, WithoutGitLab, observe, observe_chain};

/// Longer than this nobody waits at the tab key; a credential plugin takes a second.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the values of an argument are. Arguments are known by their ids, over all programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Values {
    Contexts,
    Clusters,
    Users,
    Namespaces,
    Checks,
    /// What `reconcile-now` can be told: GitLab projects and objects.
    Targets,
    /// agentk installations.
    Agents,
    /// Sources, as `kind/name`.
    Sources,
}

const ARGUMENTS: &[(&str, Values)] = &[
    ("context", Values::Contexts),
    ("cluster", Values::Clusters),
    ("user", Values::Users),
    ("namespace", Values::Namespaces),
    ("flux_namespace", Values::Namespaces),
    ("only", Values::Checks),
    ("skip", Values::Checks),
    ("explain", Values::Checks),
    ("target", Values::Targets),
    ("name", Values::Agents),
    ("source", Values::Sources),
];

/// The values of the argument with this id. `--only` of a program that knows no checks is a switch, and never asked.
pub(super) fn live(argument: &str, command: &Command, before: &[String]) -> Vec<Candidate> {
    let Some((_, values)) = ARGUMENTS.iter().find(|(id, _)| *id == argument) else { return Vec::new() };
    if *values == Values::Checks {
        return CHECKS.iter().map(|c| Candidate::new(&c.id(), c.title)).collect();
    }
    let Some(common) = typed(command, before) else { return Vec::new() };
    let access = &common.access;
    match values {
        Values::Contexts => access.names(|k| k.contexts.iter().map(|c| c.name.clone()).collect()),
        Values::Clusters => access.names(|k| k.clusters.iter().map(|c| c.name.clone()).collect()),
        Values::Users => access.names(|k| k.auth_infos.iter().map(|u| u.name.clone()).collect()),
        Values::Checks => Vec::new(),
        _ => in_time(&common, *values),
    }
}

/// The flags that were typed already, as far as they make sense.
fn typed(command: &Command, before: &[String]) -> Option<Common> {
    let words = std::iter::once(String::new()).chain(before.iter().cloned());
    let matches = command.clone().ignore_errors(true).try_get_matches_from(words).ok()?;
    // Asking for a flag that a program does not have is a panic of clap's.
    let whole = command.get_arguments().any(|a| a.get_id() == "from");
    let mut common = if whole {
        Common::from_arg_matches(&matches).ok()?
    } else {
        Common::only(Access::from_arg_matches(&matches).ok()?)
    };
    // Nothing is said about requests at the tab key.
    common.access.verbose = 0;
    Some(common)
}

impl Access {
    fn names(&self, pick: impl Fn(&kube::config::Kubeconfig) -> Vec<String>) -> Vec<Candidate> {
        let names = self.merged().map(|k| pick(&k)).unwrap_or_default();
        names.iter().map(|name| Candidate::new(name, "")).collect()
    }
}

fn in_time(common: &Common, values: Values) -> Vec<Candidate> {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    let found =
        runtime.block_on(async { tokio::time::timeout(PATIENCE, seen(common, values)).await.ok().flatten() });
    runtime.shutdown_background();
    found.map(|snapshot| of(&snapshot, values)).unwrap_or_default()
}

async fn seen(common: &Common, values: Values) -> Option<Snapshot> {
    if let Some(file) = &common.from {
        return crate::recording::read(file).ok();
    }
    let client = ReadClient::connect(&common.access).await.ok()?;
    let flux_namespace = common.flux_namespace.clone();
    Some(match values {
        Values::Agents => observe(&client, &Scope { namespace: None, flux_namespace }, &WithoutGitLab).await,
        _ => observe_chain(&client, &flux_namespace).await,
    })
}

fn of(snapshot: &Snapshot, values: Values) -> Vec<Candidate> {
    match values {
        Values::Namespaces => namespaces(snapshot),
        Values::Targets => targets(snapshot),
        Values::Agents => agents(snapshot),
        Values::Sources => sources(snapshot),
        _ => Vec::new(),
    }
}

/// Every object that takes requests, as `kind/name`, with its namespace; sources and appliers.
fn objects(snapshot: &Snapshot) -> Vec<(String, String, String)> {
    let facts = Facts::derive(snapshot);
    let sources = facts
        .source_kinds()
        .into_iter()
        .flat_map(|(kind, listing)| listing.items.iter().map(move |s| s.metadata.object(kind)));
    let kustomizations = snapshot.kustomizations.items.iter().map(|k| k.metadata.object("Kustomization"));
    let releases = snapshot.helm_releases.items.iter().map(|r| r.metadata.object("HelmRelease"));
    let all = sources.chain(kustomizations).chain(releases);
    all.map(|o| (o.kind.to_lowercase(), o.namespace, o.name)).collect()
}

/// The namespaces in which Flux has objects: those that limiting a run to makes sense for.
fn namespaces(snapshot: &Snapshot) -> Vec<Candidate> {
    let names: BTreeSet<String> = objects(snapshot).into_iter().map(|(_, namespace, _)| namespace).collect();
    names.iter().map(|name| Candidate::new(name, "")).collect()
}

fn agents(snapshot: &Snapshot) -> Vec<Candidate> {
    let facts = Facts::derive(snapshot);
    facts.agents.iter().map(|a| Candidate::new(&a.deployment.metadata.name, a.namespace())).collect()
}

fn sources(snapshot: &Snapshot) -> Vec<Candidate> {
    let is_source = |kind: &str| !matches!(kind, "kustomization" | "helmrelease");
    let all = objects(snapshot).into_iter().filter(|(kind, ..)| is_source(kind));
    all.map(|(kind, namespace, name)| Candidate::new(&format!("{kind}/{name}"), &namespace)).collect()
}

fn targets(snapshot: &Snapshot) -> Vec<Candidate> {
    let urls = snapshot.git_repositories.items.iter().filter_map(|s| project_path(&s.spec.url));
    let projects: BTreeSet<String> = urls.collect();
    let projects = projects.iter().map(|project| Candidate::new(project, "GitLab project"));
    let objects = objects(snapshot);
    let objects =
        objects.iter().map(|(kind, namespace, name)| Candidate::new(&format!("{kind}/{name}"), namespace));
    projects.chain(objects).collect()
}

#[cfg(test)]
mod tests {
    use gitlab_agent_core::fixture;

    use super::*;

    fn words(values: Values) -> Vec<String> {
        let snapshot = fixture::healthy();
        of(&snapshot, values).into_iter().map(|c| c.word).collect()
    }

    #[test]
    fn a_snapshot_has_targets_and_namespaces() {
        let targets = words(Values::Targets);
        for expected in ["platform/flux-system", "gitrepository/flux-system", "kustomization/flux-system"] {
            assert!(targets.contains(&expected.to_owned()), "{expected}: {targets:?}");
        }
        for target in &targets {
            use gitlab_agent_core::plan::Selection;
            assert!(Selection::parse(target, None).is_ok(), "reconcile-now takes {target}");
        }
        assert!(words(Values::Sources).contains(&"gitrepository/flux-system".to_owned()));
        assert!(!words(Values::Sources).contains(&"kustomization/flux-system".to_owned()));
        assert_eq!(words(Values::Agents).len(), Facts::derive(&fixture::healthy()).agents.len());
        assert!(words(Values::Namespaces).contains(&"flux-system".to_owned()));
    }
}
