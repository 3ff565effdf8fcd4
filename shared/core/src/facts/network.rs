//! Whether NetworkPolicies let one pod reach another, as Kubernetes documents them: a pod that no policy selects is
//! open; one that is selected takes what any rule of any such policy allows, and nothing else.

mod address;
mod egress;

use core::net::IpAddr;
use std::cmp::Reverse;

use crate::object::ObjectRef;
use crate::snapshot::kinds::{
    IpBlock, LabelRequirement, LabelSelector, Namespace, NetworkPeer, NetworkPolicy, NetworkPort,
    NetworkRule, PortRef, Service, StringMap, Workload,
};
use crate::snapshot::{Listing, Snapshot, Why, WhyKind};
pub use egress::{Blocked, Outside};
pub(super) use egress::{outward, says_unresolved};

/// One end of a connection: the pods of one workload.
#[derive(Clone)]
pub struct End<'a> {
    workload: &'a Workload,
    /// The addresses of each pod.
    pods: Result<Vec<Vec<IpAddr>>, Why>,
    /// The addresses of the Service through which the pods are called.
    service: Vec<IpAddr>,
}

impl<'a> End<'a> {
    /// The pods of a workload.
    pub fn of(s: &Snapshot, workload: &'a Workload) -> Self {
        Self { workload, pods: address::addresses(workload, &s.pods), service: Vec::new() }
    }

    /// The same pods, called through a Service.
    pub fn behind(self, service: Option<&Service>) -> Self {
        Self { service: service.map(address::of_service).unwrap_or_default(), ..self }
    }

    fn namespace(&self) -> &'a str {
        &self.workload.metadata.namespace
    }

    fn labels(&self) -> &'a StringMap {
        &self.workload.spec.template.metadata.labels
    }

    fn uses_host_network(&self) -> bool {
        self.workload.spec.template.spec.host_network
    }

    fn undecided(&self, message: &str) -> Why {
        let asked = format!("NetworkPolicies and {}", self.workload.metadata.object("Deployment"));
        Why::new(WhyKind::Undecided, asked, message)
    }
}

/// The TCP port at which the other end listens, with its name.
#[derive(Clone, Copy)]
pub struct Port<'a> {
    /// Number.
    pub number: i64,
    /// Name among the container's ports.
    pub name: &'a str,
}

/// The two directions in which a policy can act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What may come in.
    Ingress,
    /// What may go out.
    Egress,
}

/// Whether policies let a connection pass.
#[derive(Debug, PartialEq, Eq)]
pub enum Passage {
    /// They do, or there are none.
    Open,
    /// They do not: these select the pod, and no rule of them fits. The one to blame is first.
    Closed(Vec<ObjectRef>),
}

/// Evaluates the policies of the client's namespace (egress) or of the server's (ingress).
///
/// # Errors
/// The policies, the labels of a namespace or the addresses of pods decide and are not known.
pub fn passage(
    s: &Snapshot,
    direction: Direction,
    client: &End<'_>,
    server: &End<'_>,
    port: Port<'_>,
) -> Result<Passage, Why> {
    let (here, there) = if direction == Direction::Egress { (client, server) } else { (server, client) };
    let policies = s.network_policies.in_namespace(here.namespace())?;
    let about = |p: &&NetworkPolicy| acts(p, direction) && matches(&p.spec.pod_selector, here.labels());
    let mut selecting: Vec<&NetworkPolicy> = policies.into_iter().filter(about).collect();
    if selecting.is_empty() {
        return Ok(Passage::Open);
    }
    let all = selecting.iter().flat_map(|p| rules(p, direction));
    let rules: Vec<&NetworkRule> = all.filter(|rule| is_for_port(rule, port)).collect();
    let peers = Peers { direction, here, there, service: &server.service, namespaces: &s.namespace_objects };
    if !peers.pass(&rules)? {
        if here.uses_host_network() {
            return Err(
                here.undecided("network plugins differ in whether policies select pods of the host network")
            );
        }
        by_blame(&mut selecting, direction);
        return Ok(Passage::Closed(
            selecting.into_iter().map(|p| p.metadata.object("NetworkPolicy")).collect(),
        ));
    }
    Ok(Passage::Open)
}

/// Puts the policy to blame first. Policies only add up, so each is innocent by itself; one that allows nothing was made to
/// deny, Flux's own come with rules for each other, and what came last was not there while all was well.
fn by_blame(policies: &mut [&NetworkPolicy], direction: Direction) {
    let of_flux = |p: &NetworkPolicy| p.metadata.label("app.kubernetes.io/part-of") == Some("flux");
    policies.sort_by_key(|p| {
        (!rules(p, direction).is_empty(), of_flux(p), Reverse(p.metadata.creation_timestamp))
    });
}

fn acts(policy: &NetworkPolicy, direction: Direction) -> bool {
    let spec = &policy.spec;
    match direction {
        Direction::Ingress => {
            spec.policy_types.is_empty() || spec.policy_types.iter().any(|t| t == "Ingress")
        }
        Direction::Egress if spec.policy_types.is_empty() => !spec.egress.is_empty(),
        Direction::Egress => spec.policy_types.iter().any(|t| t == "Egress"),
    }
}

fn rules(policy: &NetworkPolicy, direction: Direction) -> &[NetworkRule] {
    match direction {
        Direction::Ingress => &policy.spec.ingress,
        Direction::Egress => &policy.spec.egress,
    }
}

/// Whether a rule is about this port.
fn is_for_port(rule: &NetworkRule, port: Port<'_>) -> bool {
    let one = |p: &NetworkPort| {
        let tcp = p.protocol.is_empty() || p.protocol == "TCP";
        tcp && match (&p.port, p.end_port) {
            (None, _) => true,
            (Some(PortRef::Number(from)), Some(to)) => (*from..=to).contains(&port.number),
            (Some(PortRef::Number(number)), None) => *number == port.number,
            (Some(PortRef::Name(name)), _) => name == port.name,
        }
    };
    rule.ports.is_empty() || rule.ports.iter().any(one)
}

/// The peers of rules, seen from the pods that policies select.
struct Peers<'p> {
    direction: Direction,
    here: &'p End<'p>,
    there: &'p End<'p>,
    /// The addresses of the Service before the server.
    service: &'p [IpAddr],
    namespaces: &'p Listing<Namespace>,
}

impl Peers<'_> {
    /// Whether the rules allow each pod of the other end. One that is known to be kept out decides.
    fn pass(&self, rules: &[&NetworkRule]) -> Result<bool, Why> {
        let pods: Vec<Result<&[IpAddr], &Why>> = match &self.there.pods {
            Ok(pods) => pods.iter().map(|addresses| Ok(addresses.as_slice())).collect(),
            Err(why) => vec![Err(why)],
        };
        let mut passes = Ok(true);
        for pod in pods {
            match any(rules.iter().map(|rule| self.allows(rule, pod))) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(why) => passes = Err(why),
            }
        }
        passes
    }

    fn allows(&self, rule: &NetworkRule, pod: Result<&[IpAddr], &Why>) -> Result<bool, Why> {
        let peers = if self.direction == Direction::Ingress { &rule.from } else { &rule.to };
        if peers.is_empty() {
            return Ok(true);
        }
        any(peers.iter().map(|peer| match &peer.ip_block {
            Some(block) => self.block_fits(block, pod.map_err(Clone::clone)?),
            None => self.selectors_fit(peer),
        }))
    }

    fn selectors_fit(&self, peer: &NetworkPeer) -> Result<bool, Why> {
        let fits = peer.pod_selector.as_ref().is_none_or(|of| matches(of, self.there.labels()))
            && match &peer.namespace_selector {
                None => self.here.namespace() == self.there.namespace(),
                Some(selector) => selects_namespace(selector, self.there.namespace(), self.namespaces)?,
            };
        if fits && self.there.uses_host_network() {
            let text = "network plugins differ in whether selectors match pods of the host network";
            return Err(self.there.undecided(text));
        }
        Ok(fits)
    }

    /// Whether a block allows an address of a pod, of an IP family that the Service has.
    fn block_fits(&self, block: &IpBlock, pod: &[IpAddr]) -> Result<bool, Why> {
        let is_used = |a: &&IpAddr| self.service.iter().any(|of| of.is_ipv4() == a.is_ipv4());
        let mut used: Vec<&IpAddr> = pod.iter().filter(is_used).collect();
        if used.is_empty() {
            used = pod.iter().collect();
        }
        if any(used.into_iter().map(|address| address::allows(block, *address)))? {
            return Ok(true);
        }
        let of_service = || any(self.service.iter().map(|address| address::allows(block, *address)));
        if self.direction == Direction::Egress && of_service()? {
            let text = "a rule allows the address of the Service, not of its pods: network plugins differ in which of \
                        them counts";
            return Err(self.there.undecided(text));
        }
        Ok(false)
    }
}

/// Whether one is true; what is not known counts where none is.
fn any(answers: impl Iterator<Item = Result<bool, Why>>) -> Result<bool, Why> {
    let mut lacking = None;
    for answer in answers {
        match answer {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(why) => lacking = lacking.or(Some(why)),
        }
    }
    lacking.map_or(Ok(false), Err)
}

/// The label that every namespace has, with its name as value.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

fn selects_namespace(
    selector: &LabelSelector,
    name: &str,
    namespaces: &Listing<Namespace>,
) -> Result<bool, Why> {
    let keys = selector.match_labels.keys().chain(selector.match_expressions.iter().map(|e| &e.key));
    let mut labels = StringMap::from([(NAME_LABEL.to_owned(), name.to_owned())]);
    if keys.into_iter().any(|key| key != NAME_LABEL) {
        let found = namespaces.find("", name)?;
        labels.extend(found.into_iter().flat_map(|n| n.metadata.labels.clone()));
    }
    Ok(matches(selector, &labels))
}

/// Whether a label selector fits; an empty one fits all.
pub fn matches(selector: &LabelSelector, labels: &StringMap) -> bool {
    let expression = |e: &LabelRequirement| {
        let value = labels.get(&e.key);
        match e.operator.as_str() {
            "In" => value.is_some_and(|v| e.values.contains(v)),
            "NotIn" => value.is_none_or(|v| !e.values.contains(v)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    };
    selector.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
        && selector.match_expressions.iter().all(expression)
}

#[cfg(test)]
mod tests;
