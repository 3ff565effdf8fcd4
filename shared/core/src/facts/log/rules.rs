//! The table of known faults, in groups.

mod flux;
mod general;
mod kas;
mod kubernetes;
mod network;
mod start;

use super::rule::Rule;

/// Known faults, more telling ones first: the text behind the sentence decides, not the sentence
/// (GitLab, "Troubleshooting the GitLab agent for Kubernetes", and agentk watched while failing).
/// The order of the groups matters: a Receiver that cannot be triggered may also show `connection refused`,
/// which is then notification-controller's and not kas's; the same holds of the cluster's API server.
const GROUPS: [&[Rule]; 9] = [
    network::NOT_KAS,
    kas::FROM_KAS,
    start::AT_START,
    kubernetes::KUBERNETES,
    flux::FLUX,
    kubernetes::API_SERVER,
    network::HANDSHAKE,
    network::TRANSPORT,
    general::GENERAL,
];

/// Every rule, in the order in which they are tried.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    GROUPS.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::LogLine;
    use super::*;

    #[test]
    fn every_rule_can_be_reached() {
        // Rules of a class are reached by what the libraries say: `connections.rs`.
        for rule in rules().filter(|rule| rule.class.is_none()) {
            let line = LogLine::parse(&rule.texts.join(" "), Timestamp::UNIX_EPOCH);
            let found = line.fault().map(|found| found.texts);
            assert_eq!(found, Some(rule.texts), "a rule before it knows the same text");
        }
    }
}
