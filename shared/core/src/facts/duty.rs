//! What agentk's service account must be allowed to do for its Flux module to work.
//!
//! From agentk's own source (its Flux module watches GitRepositories of all namespaces and applies Receivers and their
//! Secrets on the server side, which takes create and patch) and from runs with each permission taken away.

use std::collections::BTreeSet;

use super::Facts;
use super::agent::Agent;
use super::host::host;
use crate::snapshot::Permission;

/// One thing that agentk must be allowed to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duty {
    /// The permission; without a namespace: in all of them.
    pub permission: Permission,
    /// Whether it is enough to have it in the namespaces of GitRepositories.
    pub by_namespace: bool,
}

/// Where a permission is needed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In all namespaces, or of a resource that has none.
    Everywhere,
    /// Where GitRepositories are.
    AtSources,
    /// In agentk's own namespace.
    Own,
}

const SOURCE: &str = "source.toolkit.fluxcd.io";
const NOTIFICATION: &str = "notification.toolkit.fluxcd.io";

/// Verbs, API group, resource, place.
const DUTIES: &[(&[&str], &str, &str, Place)] = &[
    (&["get", "create", "update"], "coordination.k8s.io", "leases", Place::Own),
    (&["get", "list", "watch"], SOURCE, "gitrepositories", Place::Everywhere),
    (&["get", "list", "watch"], NOTIFICATION, "receivers", Place::Everywhere),
    (&["create", "patch"], NOTIFICATION, "receivers", Place::AtSources),
    (&["get", "create", "patch", "delete"], "", "secrets", Place::AtSources),
];

/// Until 16.x agentk looked at the CustomResourceDefinitions themselves; newer ones ask what is served.
const CRDS: (&[&str], &str, &str, Place) =
    (&["get"], "apiextensions.k8s.io", "customresourcedefinitions", Place::Everywhere);

impl<'s> Facts<'s> {
    /// What an agent must be allowed to do.
    pub fn duties(&self, agent: &Agent<'s>) -> Vec<Duty> {
        let old =
            agent.version().and_then(|v| v.split('.').next()?.parse::<u64>().ok()).is_some_and(|v| v < 17);
        let rows = DUTIES.iter().chain(old.then_some(&CRDS));
        let duty = |verb: &str, group: &str, resource: &str, place: Place| Duty {
            permission: Permission {
                verb: verb.to_owned(),
                group: group.to_owned(),
                resource: resource.to_owned(),
                namespace: (place == Place::Own).then(|| agent.namespace().to_owned()),
            },
            by_namespace: place == Place::AtSources,
        };
        rows.flat_map(|(verbs, group, resource, place)| {
            verbs.iter().map(move |verb| duty(verb, group, resource, *place))
        })
        .collect()
    }

    /// The namespaces of GitRepositories of which agentk makes Receivers.
    pub fn receiver_namespaces(&self) -> BTreeSet<&'s str> {
        let own = self.gitlab_host();
        let here =
            self.snapshot.git_repositories.items.iter().filter(|g| own.is_some() && host(&g.spec.url) == own);
        here.map(|g| g.metadata.namespace.as_str()).collect()
    }
}
