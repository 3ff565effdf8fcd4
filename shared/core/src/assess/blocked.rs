//! NetworkPolicies that keep Flux's controllers from each other, and them and agentk from the outside: one finding for
//! each policy, whatever it blocks.

use std::collections::{BTreeMap, BTreeSet};

use super::remedy::apply;
use super::{Finding, Impact, Remedy, ga209};
use crate::facts::network::{Blocked, Outside};
use crate::facts::{Facts, Workload};
use crate::object::ObjectRef;

/// What each policy blocks.
pub(super) type Shut = BTreeMap<ObjectRef, Vec<Line>>;

/// One connection that does not come about.
pub(super) struct Line {
    from: ObjectRef,
    /// The end of the sentence "blocks … ".
    what: String,
    /// What does not work without it, or how it shows.
    why: String,
    /// The other policies that select the pods.
    others: Vec<ObjectRef>,
    to: Option<Outside>,
}

/// Notes a connection between two controllers.
pub(super) fn between(
    shut: &mut Shut,
    policies: &[ObjectRef],
    client: &Workload,
    server: &Workload,
    port: i64,
    without: &str,
) {
    let Some((first, others)) = policies.split_first() else { return };
    let from = client.metadata.object("Deployment");
    let what = format!("{from} from {}, port {port}", server.metadata.object("Deployment"));
    let line = Line { from, what, why: without.to_owned(), others: others.to_vec(), to: None };
    shut.entry(first.clone()).or_default().push(line);
}

/// Notes what does not get out. Each pair of a Deployment and what it does not reach counts once.
pub(super) fn outside(facts: &Facts<'_>, shut: &mut Shut) {
    let mut seen = BTreeSet::new();
    for Blocked { object, from, to, policies, said } in &facts.blocked {
        let Some((first, others)) = policies.split_first() else { continue };
        let what = format!("{from} from {to}");
        if seen.insert(what.clone()) {
            let why = if object == from { said.clone() } else { format!("{object}: {said}") };
            let line = Line { from: from.clone(), what, why, others: others.to_vec(), to: Some(*to) };
            shut.entry(first.clone()).or_default().push(line);
        }
    }
}

/// The finding of each policy. It says why what is behind it fails.
pub(super) fn findings(facts: &Facts<'_>, shut: Shut) -> Vec<Finding> {
    shut.into_iter().filter_map(|(policy, lines)| finding(facts, policy, &lines)).collect()
}

fn finding(facts: &Facts<'_>, policy: ObjectRef, lines: &[Line]) -> Option<Finding> {
    let (first, more) = lines.split_first()?;
    let message = match first.to {
        Some(_) => format!("blocks {}: no policy lets its pods out there", first.what),
        None => format!("blocks {}: {}", first.what, first.why),
    };
    let agent = facts.agents.iter().find(|agent| agent.object() == first.from);
    let remedy = match (agent, first.to) {
        (Some(agent), Some(_)) => {
            let text = "let agentk's pods out: apply this policy, or one for DNS, kas, the API server and the webhook receiver alone; \
                        where policies come from Git, put it there";
            Remedy::in_git(facts, &policy, text).run(apply(ga209::all_egress(agent)))
        }
        (None, Some(_)) => Remedy::in_git(
            facts,
            &policy,
            "let Flux's controllers out to DNS and to what they fetch: Flux's manifests hold the NetworkPolicy allow-egress for \
             it (needs the Flux CLI)",
        )
        .reapply_flux(facts),
        (_, None) => Remedy::in_git(
            facts,
            &policy,
            "allow traffic between Flux's controllers: Flux's manifests hold the NetworkPolicy allow-egress for it (needs the \
             Flux CLI)",
        )
        .reapply_flux(facts),
    };
    let finding = Finding::new(policy, message, remedy).explains();
    let finding = if first.to.is_some() { finding.because(&first.why) } else { finding };
    let finding = if agent.is_some() { finding.impact(Impact::Pushes) } else { finding };
    let also = more.iter().map(|line| format!("it also blocks {}", line.what));
    let others: BTreeSet<&ObjectRef> = lines.iter().flat_map(|line| &line.others).collect();
    let others = others.into_iter().map(|other| format!("{other} selects the same pods"));
    Some(also.chain(others).fold(finding, Finding::because))
}
