//! What the cluster would say to each step, asked before the first: permissions, and admission by dry run.

use futures_util::future::join_all;
use gitlab_agent_core::facts::flux::KINDS;
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::snapshot::Why;
use secrecy::{ExposeSecret as _, SecretSlice};

use super::lock::Lock;
use super::pods;
use super::secret::{Change, Content, Read};
use super::target::{Reader, Target};
use crate::access::WriteClient;

/// One permission: verb, API group, resource, namespace, name.
type Need = (&'static str, &'static str, &'static str, String, String);

/// What every rotation needs on the Secret and its lock.
const ALWAYS: &[(&str, &str, &str)] = &[
    ("get", "", "secrets"),
    ("create", "", "secrets"),
    ("patch", "", "secrets"),
    ("delete", "", "secrets"),
    ("get", "coordination.k8s.io", "leases"),
    ("create", "coordination.k8s.io", "leases"),
    ("patch", "coordination.k8s.io", "leases"),
    ("delete", "coordination.k8s.io", "leases"),
];

/// What restarting and watching agentk needs.
const AGENTK: &[(&str, &str, &str)] =
    &[("get", "apps", "deployments"), ("patch", "apps", "deployments"), ("list", "", "pods")];

fn needs(target: &Target) -> Vec<Need> {
    let secret = &target.secret;
    let row = |rows: &[(&'static str, &'static str, &'static str)], namespace: &str| {
        let name = |resource: &str, verb: &str| match (resource, verb) {
            ("secrets", "get" | "patch") => secret.name.clone(),
            _ => String::new(),
        };
        let rows = rows.iter().map(|(verb, group, resource)| {
            (*verb, *group, *resource, namespace.to_owned(), name(resource, verb))
        });
        rows.collect::<Vec<_>>()
    };
    let mut needs = row(ALWAYS, &secret.namespace);
    match &target.reader {
        Reader::Agent(agentks) => {
            for agentk in agentks {
                let at = &agentk.deployment;
                let named =
                    |resource: &str| if resource == "deployments" { at.name.clone() } else { String::new() };
                let rows = AGENTK.iter();
                needs.extend(rows.map(|(verb, group, resource)| {
                    (*verb, *group, *resource, at.namespace.clone(), named(resource))
                }));
                let release = agentk.release.iter().filter(|(_, suspended)| !suspended);
                needs.extend(release.flat_map(|(release, _)| asking(release)));
            }
        }
        Reader::Sources(fetchers) => {
            needs.extend(fetchers.iter().flat_map(|f| &f.proof).flat_map(asking));
        }
        Reader::Providers(notifiers) => {
            needs.extend(notifiers.iter().flat_map(|n| &n.proof).flat_map(asking));
            needs.push(("list", "", "events", secret.namespace.clone(), String::new()));
        }
    }
    needs
}

/// What asking an object to reconcile needs.
fn asking(object: &ObjectRef) -> Vec<Need> {
    let kind = KINDS.iter().find(|(kind, ..)| *kind == object.kind);
    let of = |verb| {
        let (_, plural, group, _) = kind?;
        Some((verb, *group, *plural, object.namespace.clone(), object.name.clone()))
    };
    ["get", "patch"].into_iter().filter_map(of).collect()
}

/// The permissions that are missing in the cluster, each in words.
///
/// # Errors
/// The API server did not say.
pub(super) async fn denied(client: &WriteClient, target: &Target) -> Result<Vec<String>, Why> {
    let mut needs = needs(target);
    needs.sort_unstable();
    needs.dedup();
    let ask = |(verb, group, resource, namespace, name): Need| async move {
        let what = format!("{verb} {resource} in namespace {namespace}");
        match client.read.may_on(verb, group, resource, &namespace, &name).await {
            Ok(true) => Ok(None),
            Ok(false) => Ok(Some(format!("you may not {what}"))),
            Err(why) => Err(Why { asked: format!("ask whether you may {what}"), ..why }),
        }
    };
    let answers: Result<Vec<Option<String>>, Why> =
        join_all(needs.into_iter().map(ask)).await.into_iter().collect();
    Ok(answers?.into_iter().flatten().collect())
}

/// Something that may stand where a value stands: as long, and JSON where the API server insists on that.
fn like(key: &str, value: &SecretSlice<u8>) -> SecretSlice<u8> {
    match key {
        ".dockerconfigjson" => br#"{"auths":{}}"#.to_vec().into(),
        _ => vec![b'x'; value.expose_secret().len()].into(),
    }
}

/// What the API server, with its admission, would say to each kind of change. A value is not sent: what stands in its
/// place has its length. `values` is false where this rotation does not write the Secret's values.
pub(super) async fn try_changes(
    client: &WriteClient,
    target: &Target,
    read: &Read,
    values: bool,
) -> Vec<String> {
    let place = &target.secret;
    let stand_in: Content =
        read.values.iter().map(|(key, value)| (*key, value.as_ref().map(|v| like(key, v)))).collect();
    let lock = Lock::new(client, target.namespace(), &place.name, "dry run".to_owned());
    let backup = format!("{}-prev-{}", place.name.chars().take(230).collect::<String>(), "dryrun");
    let mut changes = vec![
        ("the Secret", place.try_change(client, read, values.then_some(&stand_in)).await),
        ("the Lease", lock.try_take().await),
    ];
    if values {
        changes
            .push(("the Secret that keeps the old value", place.back_up(client, read, &backup, true).await));
    }
    for agentk in target.agentks() {
        changes.push(("the Deployment", pods::restart(client, &agentk.deployment, "dry-run", true).await));
    }
    let mut against = Vec::new();
    for (what, change) in changes {
        match change {
            Change::Made => {}
            // The Lease of a rotation that ended badly is there; it is taken over when it has expired.
            Change::Conflict => {}
            Change::Refused(why) => {
                against.push(format!("the API server would refuse to change {what}: {why}"))
            }
            Change::Unknown(why) => against.push(format!(
                "what the API server would say to a change of {what} is not known: {}: {}",
                why.asked, why.message
            )),
        }
    }
    against
}
