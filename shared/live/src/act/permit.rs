//! Whether every hop may be asked, found out before any is: half a chain is worth less than a clear no.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use gitlab_agent_core::facts::flux::KINDS;
use gitlab_agent_core::plan::{Hop, Plan};
use gitlab_agent_core::snapshot::Permission;

use crate::access::WriteClient;

/// The permissions to change something that are missing for the plan. What cannot be asked about counts as granted:
/// the change itself will tell.
pub async fn denied(client: &WriteClient, plan: &Plan) -> Vec<Permission> {
    let places: BTreeSet<(&str, &str)> =
        plan.hops.iter().map(|h| (h.object.kind.as_str(), h.object.namespace.as_str())).collect();
    let ask = |(kind, namespace): (&'static str, &str), name: String| {
        let row = KINDS.iter().find(|(known, ..)| *known == kind);
        let (plural, group) = row.map_or(("", ""), |(_, plural, group, _)| (*plural, *group));
        let namespace = namespace.to_owned();
        async move {
            let allowed = client.read.may_on("patch", group, plural, &namespace, &name).await.unwrap_or(true);
            let permission = Permission {
                verb: "patch".to_owned(),
                group: group.to_owned(),
                resource: plural.to_owned(),
                namespace: Some(namespace),
            };
            (allowed, permission)
        }
    };
    let known =
        |kind: &str| KINDS.iter().map(|(known, ..)| *known).find(|known| *known == kind).unwrap_or("");
    let broad = places.iter().map(|(kind, namespace)| ask((known(kind), namespace), String::new()));
    let mut missing = BTreeSet::new();
    for ((kind, namespace), (allowed, permission)) in places.iter().zip(join_all(broad).await) {
        if allowed {
            continue;
        }
        // A Role may name single objects.
        let inside = |h: &&Hop| h.object.kind == *kind && h.object.namespace == *namespace;
        let hops = plan.hops.iter().filter(inside);
        let narrow = hops.map(|h| ask((known(kind), namespace), h.object.name.clone()));
        if join_all(narrow).await.iter().any(|(allowed, _)| !allowed) {
            missing.insert(permission);
        }
    }
    missing.into_iter().collect()
}
