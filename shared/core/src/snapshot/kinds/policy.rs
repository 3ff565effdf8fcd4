//! Who may reach whom: NetworkPolicy and the label selectors in it.

use serde::{Deserialize, Serialize};

use super::{Meta, PortRef, StringMap, shape};

shape! {
    /// A NetworkPolicy.
    NetworkPolicy {
        /// Metadata.
        metadata: Meta,
        /// Spec.
        spec: NetworkPolicySpec,
    }

    /// `spec` of a NetworkPolicy.
    NetworkPolicySpec {
        /// The pods it is about, in its namespace.
        pod_selector: LabelSelector,
        /// `Ingress`, `Egress`; left out means Ingress, and Egress where there are egress rules.
        policy_types: Vec<String>,
        /// What may come in.
        ingress: Vec<NetworkRule>,
        /// What may go out.
        egress: Vec<NetworkRule>,
    }

    /// One rule; `from` of ingress, `to` of egress.
    NetworkRule {
        /// Who may come in; empty for everybody.
        from: Vec<NetworkPeer>,
        /// Where to; empty for everywhere.
        to: Vec<NetworkPeer>,
        /// Through which ports; empty for all.
        ports: Vec<NetworkPort>,
    }

    /// One peer of a rule.
    NetworkPeer {
        /// Pods, in the policy's namespace where no namespaces are selected.
        pod_selector: Option<LabelSelector>,
        /// Namespaces.
        namespace_selector: Option<LabelSelector>,
        /// Addresses.
        ip_block: Option<IpBlock>,
    }

    /// A range of addresses.
    IpBlock {
        /// The range.
        cidr: String,
        /// What is not in it.
        except: Vec<String>,
    }

    /// One port of a rule.
    NetworkPort {
        /// `TCP` where left out.
        protocol: String,
        /// Number or name; none for all.
        port: Option<PortRef>,
        /// End of a range of numbers.
        end_port: Option<i64>,
    }

    /// A label selector.
    LabelSelector {
        /// Labels that must be equal.
        match_labels: StringMap,
        /// Further requirements.
        match_expressions: Vec<LabelRequirement>,
    }

    /// One requirement of a label selector.
    LabelRequirement {
        /// Label.
        key: String,
        /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
        operator: String,
        /// Values of In and NotIn.
        values: Vec<String>,
    }
}
