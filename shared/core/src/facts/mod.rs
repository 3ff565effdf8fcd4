//! A snapshot joined into what the checks ask about. Nothing here judges.

pub mod agent;
mod calls;
pub mod chart;
pub mod crash;
pub mod creator;
pub mod depends;
pub mod dispatch;
pub mod duration;
pub mod duty;
pub mod events_addr;
pub mod failure;
pub mod flux;
pub mod git_secret;
pub mod gitlab;
mod gone;
pub mod graph;
pub mod host;
pub mod job;
pub mod log;
mod needed;
pub mod network;
pub mod node;
pub mod notification;
pub mod protection;
pub mod readiness;
pub mod reference;
pub mod request;
pub mod said;
pub mod service;
pub mod token_secret;
pub mod token_use;
mod trouble;
mod waits;
pub mod workload;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use jiff::{SignedDuration, Timestamp};

use crate::object::ObjectRef;
pub use crate::snapshot::kinds::*;
pub use crate::snapshot::secret::{Fault, KeyShape, ValueKind};
pub use crate::snapshot::{Listing, Observed, Permission, PodLog, SecretShape, Snapshot, Why, WhyKind};
use agent::Agent;
use creator::Creators;
use flux::Instances;
use graph::{Graph, Seen};
use reference::Missings;

/// Everything the checks read.
pub struct Facts<'s> {
    /// What was observed. Checks read listings through `Judgement::each`, which notes their gaps.
    pub snapshot: &'s Snapshot,
    /// "Now": when the snapshot was taken.
    pub now: Timestamp,
    /// The agentk installations that were seen.
    pub agents: Vec<Agent<'s>>,
    /// The Deployments of Flux's controllers.
    pub(crate) flux: Instances<'s>,
    /// What does not exist and keeps others from working.
    pub missing: Missings,
    /// Who would create what does not exist.
    pub(crate) creators: Creators,
    /// Jobs that failed and that failed waits name.
    pub failed_jobs: BTreeMap<ObjectRef, job::FailedJob>,
    /// Nodes that no longer answer.
    pub lost: node::Lost,
    /// Workloads that are down, that Flux did not deploy and that errors lead to, each with what names it.
    pub called: BTreeMap<ObjectRef, ObjectRef>,
    /// Failures to reach the outside that NetworkPolicies explain.
    pub blocked: Vec<network::Blocked>,
    /// What depends on what.
    pub graph: Graph,
    /// What expires within this time is found (`--expiry-window`).
    pub expiry_window: SignedDuration,
    /// Who applied what, once somebody asks.
    owners: OnceLock<BTreeMap<ObjectRef, ObjectRef>>,
    /// Circles of `spec.dependsOn`, once somebody asks.
    circles: OnceLock<Vec<Vec<ObjectRef>>>,
    /// The branches on which each Provider sets statuses, once somebody asks.
    status_branches: OnceLock<protection::Branches>,
}

/// How long before its end a token is worth a warning, unless the person says otherwise.
const EXPIRY_WINDOW: SignedDuration = SignedDuration::from_hours(30 * 24);

impl<'s> Facts<'s> {
    /// Joins a snapshot.
    pub fn derive(snapshot: &'s Snapshot) -> Self {
        let agents = agent::find(snapshot);
        let missing = reference::missing(snapshot);
        let flux = Instances::find(snapshot);
        let creators = creator::creators(snapshot, &reference::absent(snapshot, &missing.found));
        let outward = network::outward(snapshot, &agents, &flux);
        let calls = calls::edges(snapshot, &missing, &outward.unresolved);
        let lost = node::Lost::find(snapshot);
        let seen = Seen {
            missing: &missing,
            creators: &creators,
            calls: &calls,
            blocked: &outward.blocked,
            blocked_before: &outward.blocked_before,
            lost: &lost,
        };
        let graph = Graph::build(snapshot, &agents, &flux, &seen);
        Self {
            snapshot,
            now: snapshot.taken_at,
            agents,
            flux,
            missing,
            creators,
            failed_jobs: job::failed(snapshot),
            lost,
            blocked: outward.blocked,
            called: calls::down(snapshot, &calls),
            graph,
            expiry_window: EXPIRY_WINDOW,
            owners: OnceLock::new(),
            circles: OnceLock::new(),
            status_branches: OnceLock::new(),
        }
    }

    /// The controllers whose events do not reach notification-controller.
    pub fn events_astray(&self) -> Vec<events_addr::Astray<'s>> {
        events_addr::astray(self.snapshot, &self.flux)
    }

    /// The address to which a controller should send its events.
    pub fn events_address(&self, sender: &Meta) -> Option<String> {
        events_addr::expected_address(&self.flux, sender)
    }

    /// Why it is not known whether a namespace exists that the run was limited to: in one that does not nothing is wrong. What
    /// one may not read is believed.
    pub fn unseen_namespace(&self) -> Option<Why> {
        self.snapshot.namespaces.iter().find_map(|name| {
            let why = self.snapshot.namespace_objects.find("", name).err()?;
            let says = why.kind != WhyKind::Forbidden && !why.kind.is_a_choice();
            says.then(|| Why::new(why.kind, format!("whether namespace {name} exists"), why.message))
        })
    }

    /// A Secret; `Ok(None)` means that it does not exist.
    ///
    /// # Errors
    /// It could not be read.
    pub fn secret(&self, namespace: &str, name: &str) -> Result<Option<&'s SecretShape>, Why> {
        secret(self.snapshot, namespace, name)
    }

    /// The listing of a source kind.
    pub fn sources(&self, kind: &str) -> Option<&'s Listing<Source>> {
        sources(self.snapshot, kind)
    }

    /// The five source kinds with their listings.
    pub fn source_kinds(&self) -> [(&'static str, &'s Listing<Source>); 5] {
        let s = self.snapshot;
        [
            ("GitRepository", &s.git_repositories),
            ("OCIRepository", &s.oci_repositories),
            ("Bucket", &s.buckets),
            ("HelmRepository", &s.helm_repositories),
            ("HelmChart", &s.helm_charts),
        ]
    }

    /// The object that a reference names, in the referrer's namespace where it names none.
    pub fn resolve(reference: &CrossRef, own_namespace: &str) -> ObjectRef {
        let namespace = if reference.namespace.is_empty() { own_namespace } else { &reference.namespace };
        ObjectRef::new(&reference.kind, namespace, &reference.name)
    }

    /// Who applied each object of this cluster: from the inventories of Kustomizations and HelmReleases. Joined when it
    /// is first asked for, and once.
    pub fn owners(&self) -> &BTreeMap<ObjectRef, ObjectRef> {
        self.owners.get_or_init(|| {
            let here = inventories(self.snapshot).filter(|(_, _, elsewhere)| !elsewhere);
            let entries = here.flat_map(|(owner, inventory, _)| {
                inventory.entries.iter().filter_map(InventoryEntry::object).map(move |o| (o, owner.clone()))
            });
            entries.collect()
        })
    }

    /// The workloads that Flux deployed here, Flux itself and agentk, each with its kind.
    pub fn own_workloads(&self) -> impl Iterator<Item = (&'static str, &'s Workload)> {
        let ours = reference::ours(self.snapshot);
        reference::workloads(self.snapshot).filter(move |(kind, w)| ours.contains(&w.metadata.object(kind)))
    }

    /// The Deployments, StatefulSets and DaemonSets of this cluster that Kustomizations and HelmReleases applied,
    /// each with who applied it. What was applied to another cluster (`spec.kubeConfig`) is left out.
    pub fn applied_workloads(&self) -> BTreeMap<ObjectRef, ObjectRef> {
        let here = inventories(self.snapshot).filter(|(_, _, elsewhere)| !elsewhere);
        let entries = here.flat_map(|(owner, inventory, _)| {
            inventory.entries.iter().filter_map(InventoryEntry::workload).map(move |o| (o, owner.clone()))
        });
        entries.collect()
    }
}

/// Each applier with its inventory, and whether that is of another cluster.
pub(crate) fn inventories(s: &Snapshot) -> impl Iterator<Item = (ObjectRef, &Inventory, bool)> {
    let kustomizations = s
        .kustomizations
        .items
        .iter()
        .map(|k| (k.metadata.object("Kustomization"), &k.status.inventory, k.spec.kube_config.is_some()));
    let releases = s
        .helm_releases
        .items
        .iter()
        .map(|r| (r.metadata.object("HelmRelease"), &r.status.inventory, r.spec.kube_config.is_some()));
    kustomizations.chain(releases)
}

impl InventoryEntry {
    /// The object, where it is a Deployment, StatefulSet or DaemonSet of Kubernetes; other API groups have kinds of
    /// the same names.
    pub fn workload(&self) -> Option<ObjectRef> {
        let kinds = ["_apps_Deployment", "_apps_StatefulSet", "_apps_DaemonSet"];
        kinds.iter().any(|kind| self.id.ends_with(kind)).then(|| self.object()).flatten()
    }

    /// The object that the entry's id names: `<namespace>_<name>_<group>_<kind>`, with `__` for `:` in RBAC names.
    pub fn object(&self) -> Option<ObjectRef> {
        let (rest, kind) = self.id.rsplit_once('_')?;
        let (rest, _group) = rest.rsplit_once('_')?;
        let (namespace, name) = rest.split_once('_')?;
        Some(ObjectRef::new(kind, namespace, &name.replace("__", ":")))
    }
}

pub(crate) fn secret<'s>(
    s: &'s Snapshot,
    namespace: &str,
    name: &str,
) -> Result<Option<&'s SecretShape>, Why> {
    match s.secret(namespace, name) {
        Some(entry) => entry.shape.get().map(Option::as_ref),
        None => Err(Why::new(
            WhyKind::NotAsked,
            format!("get secret {namespace}/{name}"),
            "nothing that was seen refers to this Secret",
        )),
    }
}

pub(crate) fn sources<'s>(s: &'s Snapshot, kind: &str) -> Option<&'s Listing<Source>> {
    Some(match kind {
        "GitRepository" => &s.git_repositories,
        "OCIRepository" => &s.oci_repositories,
        "Bucket" => &s.buckets,
        "HelmRepository" => &s.helm_repositories,
        "HelmChart" => &s.helm_charts,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inventory_ids_name_objects() {
        let entry = |id: &str| InventoryEntry { id: id.to_owned(), v: "v1".to_owned() }.object();
        assert_eq!(entry("shop_web_apps_Deployment"), Some(ObjectRef::new("Deployment", "shop", "web")));
        assert_eq!(entry("_shop__Namespace"), Some(ObjectRef::new("Namespace", "", "shop")));
        assert_eq!(
            entry("_a__b_rbac.authorization.k8s.io_ClusterRole"),
            Some(ObjectRef::new("ClusterRole", "", "a:b"))
        );
        assert_eq!(entry("junk"), None);
    }

    #[test]
    fn applied_workloads_are_those_of_kubernetes_in_this_cluster() {
        let entry = |id: &str| InventoryEntry { id: id.to_owned(), v: "v1".to_owned() };
        let mut snapshot = crate::fixture::healthy();
        let applied = |s: &Snapshot| Facts::derive(s).applied_workloads().into_keys().collect::<Vec<_>>();
        let nginx = ObjectRef::new("Deployment", "example-nginx", "nginx");
        let agent = ObjectRef::new("Deployment", "gitlab", "gitlab-agent-v2");
        assert_eq!(applied(&snapshot), [nginx.clone(), agent.clone()]);
        let inventory = &mut snapshot.kustomizations.items[1].status.inventory;
        inventory.entries.push(entry("example-nginx_db_apps.kruise.io_StatefulSet"));
        assert_eq!(applied(&snapshot), [nginx, agent.clone()]);
        snapshot.kustomizations.items[1].spec.kube_config = Some(RemoteCluster::default());
        assert_eq!(applied(&snapshot), [agent]);
    }
}
