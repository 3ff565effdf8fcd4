//! What the cluster's API server answered, or that it did not.

use super::super::rule::{Effect, Help, RBAC, Rule, grant, rule};

/// What the cluster's API server answered.
pub(super) const KUBERNETES: &[Rule] = &[
    rule(
        &["resource lock", "forbidden", RBAC],
        Effect::FluxModule,
        "agentk may not use Leases in its namespace, so no pod becomes leader",
        "grant its service account get, create and update on leases.coordination.k8s.io",
    )
    .help(grant("get,create,update", "leases.coordination.k8s.io", false))
    .until_led(),
    rule(
        &["leader election record", "forbidden", RBAC],
        Effect::FluxModule,
        "agentk may not create its Lease, so no pod becomes leader",
        "grant its service account get, create and update on leases.coordination.k8s.io",
    )
    .help(grant("get,create,update", "leases.coordination.k8s.io", false))
    .until_led(),
    rule(
        &["error retrieving resource lock"],
        Effect::Other,
        "agentk cannot read its Lease: the API server does not answer it",
        "look at the load of the API server and at the network between it and agentk's node",
    )
    .until_led(),
    rule(
        &["failed to renew lease"],
        Effect::Other,
        "the leader could not renew its Lease in time: the API server was slow or away",
        "look at the load of the API server and at the network between it and agentk's node",
    )
    .until_led(),
    rule(
        &["stopped leading"],
        Effect::Other,
        "the leader lost its Lease",
        "look at the load of the API server; GA308 tells whether another pod took over",
    )
    .until_led(),
    rule(
        &["Failed to fetch Kubernetes version"],
        Effect::Other,
        "agentk may not read, or cannot reach, /version of the API server",
        "look at the network between agentk's node and the API server, and at the ClusterRole system:discovery",
    ),
    rule(
        &["Failed to perform vulnerability scan on workload", "already exists"],
        Effect::Other,
        "an interrupted vulnerability scan left its Job behind, so the next one cannot start",
        "delete the Jobs that were left behind",
    )
    .help(Help::Kubectl("delete jobs -l app.kubernetes.io/managed-by=starboard")),
];

/// The same in the words of whatever asked it: only the URL shows that it was not kas.
pub(super) const API_SERVER: &[Rule] = &[
    rule(
        &["is forbidden: User \"system:serviceaccount:"],
        Effect::Other,
        "agentk's service account lacks a permission",
        "grant it what the end of the line names; GA311 tells what the Flux module needs",
    ),
    rule(
        &["\"https://", "/apis/"],
        Effect::Other,
        "the cluster's API server does not answer agentk",
        "look at the load of the API server and at the network between it and agentk's node",
    )
    .until_led(),
    rule(
        &["\"https://", "/api/v1/"],
        Effect::Other,
        "the cluster's API server does not answer agentk",
        "look at the load of the API server and at the network between it and agentk's node",
    )
    .until_led(),
];
