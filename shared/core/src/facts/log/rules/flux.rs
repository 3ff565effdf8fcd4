//! agentk's Flux module.

use super::super::rule::{Effect, Help, RBAC, Rule, grant, rule};

/// agentk's Flux module.
pub(super) const FLUX: &[Rule] = &[
    rule(
        &["failed to apply Secret for Receiver", "forbidden", RBAC],
        Effect::FluxModule,
        "agentk may not write the Secrets of its Receivers",
        "grant its service account get, create, patch and delete on secrets",
    )
    .help(grant("get,create,patch,delete", "secrets", true)),
    rule(
        &["failed to apply Receiver", "forbidden", RBAC],
        Effect::FluxModule,
        "agentk may not write Receivers",
        "grant its service account get, list, watch, create and patch on receivers.notification.toolkit.fluxcd.io",
    )
    .help(grant("get,list,watch,create,patch", "receivers.notification.toolkit.fluxcd.io", true)),
    rule(
        &["failed to apply Receiver", "Too long"],
        Effect::FluxModule,
        "the name of a GitRepository is longer than the 53 characters that a Receiver allows",
        "give the GitRepository a shorter name",
    ),
    rule(
        &["Flux could not be detected or the Agent is missing RBAC"],
        Effect::FluxModule,
        "agentk started before Flux's CRDs, or may not read them: its Flux module is off until a restart",
        "restart agentk",
    )
    .help(Help::Restart)
    .lasting(),
    rule(
        &["Flux is not installed, skipping module"],
        Effect::FluxModule,
        "agentk started before Flux's CRDs: its Flux module is off until a restart",
        "restart agentk",
    )
    .help(Help::Restart)
    .lasting(),
    rule(
        &["Unable to check if CRD is installed", RBAC],
        Effect::FluxModule,
        "agentk may not read CustomResourceDefinitions: its Flux module is off until a restart",
        "grant its service account get on customresourcedefinitions, then restart agentk",
    )
    .help(grant("get,list,watch", "customresourcedefinitions.apiextensions.k8s.io", true))
    .lasting(),
    rule(
        &["Unable to check if CRD is installed"],
        Effect::FluxModule,
        "agentk could not read Flux's CustomResourceDefinitions when it started: its Flux module is off until a restart",
        "see what the message says, then restart agentk",
    )
    .help(Help::Restart)
    .lasting(),
    rule(
        &["Required Flux CRD is not established"],
        Effect::FluxModule,
        "Flux did not serve the API versions that agentk needs when it started (Flux 2.0 or newer)",
        "upgrade Flux where it is older, then restart agentk",
    )
    .help(Help::Restart)
    .lasting(),
    rule(
        &["gitrepositories", "is forbidden", RBAC],
        Effect::FluxModule,
        "agentk may not read GitRepositories",
        "grant its service account get, list and watch on gitrepositories.source.toolkit.fluxcd.io",
    )
    .help(grant("get,list,watch", "gitrepositories.source.toolkit.fluxcd.io", true)),
    rule(
        &["receivers", "is forbidden", RBAC],
        Effect::FluxModule,
        "agentk may not use Receivers",
        "grant its service account get, list, watch, create and patch on receivers.notification.toolkit.fluxcd.io",
    )
    .help(grant("get,list,watch,create,patch", "receivers.notification.toolkit.fluxcd.io", true)),
    rule(
        &["unable to create receiver:"],
        Effect::FluxModule,
        "the agent's configuration has a flux.webhook_receiver_url that agentk cannot use",
        "correct flux.webhook_receiver_url in `.gitlab/agents/<name>/config.yaml`, or leave it out",
    ),
    rule(
        &["unable to start controller:"],
        Effect::FluxModule,
        "agentk's controller of GitRepositories does not start",
        "read the end of the line; restart agentk once that is mended",
    )
    .help(Help::Restart),
    rule(
        &["unable to parse GitRepository URL"],
        Effect::FluxModule,
        "the URL of a GitRepository cannot be read, so it gets no Receiver",
        "correct spec.url of that GitRepository",
    ),
    rule(
        &["unable to extract GitLab project path from URL"],
        Effect::FluxModule,
        "the URL of a GitRepository names no project, so it gets no Receiver",
        "correct spec.url of that GitRepository",
    ),
    rule(
        &["Failed to reconcile GitRepository"],
        Effect::FluxModule,
        "agentk cannot make the Receiver of a GitRepository",
        "read the end of the line: an admission webhook or the API server refused it",
    ),
    rule(
        &["Unable to trigger Receiver", "404 Not Found"],
        Effect::FluxModule,
        "a push event arrived, but no Receiver answers at its path: wrong flux.webhook_receiver_url, or the Receiver's \
         token changed",
        "check the Receiver, and flux.webhook_receiver_url in the agent's configuration",
    ),
    rule(
        &["Unable to trigger Receiver", "503 Service Unavailable"],
        Effect::FluxModule,
        "a push event arrived, but the Receiver is suspended or not ready",
        "resume the Receiver, or mend what its Ready condition names",
    ),
    rule(
        &["Unable to trigger Receiver", "no such host"],
        Effect::FluxModule,
        "a push event arrived, but the host of flux.webhook_receiver_url does not resolve in the cluster",
        "correct flux.webhook_receiver_url in the agent's configuration, or the cluster's DNS (GA412)",
    ),
    rule(
        &["Unable to trigger Receiver", "403 Forbidden"],
        Effect::FluxModule,
        "a push event arrived, but agentk may not use the API server's service proxy",
        "grant its service account create on services/proxy of the Flux namespace, or leave flux.webhook_receiver_url out",
    ),
    rule(
        &["Unable to trigger Receiver", "i/o timeout"],
        Effect::FluxModule,
        "a push event arrived, but nothing between agentk and notification-controller passes it on",
        "check the NetworkPolicies of both namespaces (GA209)",
    ),
    rule(
        &["Unable to trigger Receiver", "context deadline exceeded"],
        Effect::FluxModule,
        "a push event arrived, but notification-controller did not answer in time",
        "check notification-controller and the NetworkPolicies of its namespace",
    ),
    rule(
        &["Unable to trigger Receiver"],
        Effect::FluxModule,
        "a push event arrived, but notification-controller did not take it",
        "check notification-controller and the Receiver",
    ),
    rule(
        &["Unable to get Receivers for project"],
        Effect::FluxModule,
        "a push event arrived, but agentk could not look up its Receivers",
        "restart agentk",
    )
    .help(Help::Restart),
    rule(
        &["Unable to convert unstructured object to Receiver"],
        Effect::FluxModule,
        "agentk cannot read a Receiver: Flux serves a version that agentk does not know",
        "bring agentk and Flux to versions that fit",
    ),
];
