//! What ends the process at its start: plain lines, written before there is a logger.

use super::super::rule::{Effect, Rule, rule};

/// What ends the process at its start.
pub(super) const AT_START: &[Rule] = &[
    rule(
        &["unsupported scheme in GitLab Kubernetes Agent Server address"],
        Effect::Disconnected,
        "kasAddress has a scheme that agentk does not know; https is not one",
        "use wss://, ws://, grpcs:// or grpc://",
    ),
    rule(
        &["invalid gitlab-kas address"],
        Effect::Disconnected,
        "kasAddress is no URL",
        "set config.kasAddress to the address that GitLab shows for its kas",
    ),
    rule(
        &["token file:", "no such file"],
        Effect::Disconnected,
        "the token Secret is not mounted, or has no key `token`",
        "set config.secretName to a Secret that has a key `token`",
    ),
    rule(
        &["agent token not set"],
        Effect::Disconnected,
        "agentk was given no token",
        "set config.secretName to a Secret that has a key `token`",
    ),
    rule(
        &["unable to use both token file and AGENTK_TOKEN"],
        Effect::Disconnected,
        "agentk was given a token twice: as a file and as AGENTK_TOKEN",
        "remove AGENTK_TOKEN from the chart's extraEnv",
    ),
    rule(
        &["environment variable is required but is empty"],
        Effect::Disconnected,
        "agentk lacks POD_NAME or POD_NAMESPACE, which the chart sets",
        "install agentk with the chart, or set both variables from the pod's fields",
    ),
    rule(
        &["address already in use"],
        Effect::Disconnected,
        "a port that agentk listens on is taken",
        "run agentk without hostNetwork, or free the port",
    ),
    rule(
        &["unknown flag:"],
        Effect::Disconnected,
        "the chart passes a flag that this agentk does not know: chart and image are of different versions",
        "remove image.tag from the chart's values, or set the chart version that belongs to it; the same goes for \
         extraArgs",
    ),
    rule(
        &["panic: "],
        Effect::Disconnected,
        "agentk crashed: a defect of agentk",
        "use the newest patch of the chart for this GitLab version; report the lines to GitLab where that does not help",
    ),
];
