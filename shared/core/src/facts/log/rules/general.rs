//! Sentences that say what failed, but not why: tried last.

use super::super::rule::{Effect, Help, Rule, rule};

/// Sentences that say what failed, but not why.
pub(super) const GENERAL: &[Rule] = &[
    rule(
        &["Program aborted"],
        Effect::Disconnected,
        "agentk ended at its start",
        "mend what the end of the line names in the chart's values",
    ),
    rule(
        &["unable to parse configured GitLab External URL"],
        Effect::Configuration,
        "kas sends agentk an external URL of GitLab that cannot be read",
        "a GitLab administrator corrects gitlab.external_url in kas's configuration",
    ),
    rule(
        &["Failed to apply configuration"],
        Effect::Configuration,
        "agentk does not take its configuration",
        "correct `.gitlab/agents/<name>/config.yaml` in the configuration project, by the end of the line",
    ),
    rule(
        &["Failed to preprocess configuration"],
        Effect::Configuration,
        "agentk does not take its configuration",
        "correct `.gitlab/agents/<name>/config.yaml` in the configuration project, by the end of the line",
    ),
    rule(
        &["Failed to register agent pod"],
        Effect::Disconnected,
        "agentk cannot register with kas",
        "compare the versions of agentk and GitLab, and see that kas runs",
    ),
    rule(
        &["GetConfiguration"],
        Effect::Disconnected,
        "agentk cannot get its configuration from kas",
        "read the end of the line; see that kas runs",
    ),
    rule(
        &["Error handling a connection"],
        Effect::Disconnected,
        "a tunnel to kas failed",
        "read the end of the line; see that kas runs",
    ),
    rule(
        &["Failed to reconcile projects"],
        Effect::FluxModule,
        "agentk cannot listen for push events",
        "read the end of the line; see that kas runs",
    ),
    rule(
        &["Failed to receive project to reconcile"],
        Effect::FluxModule,
        "agentk stopped hearing of push events",
        "read the end of the line; see that kas runs",
    ),
    rule(
        &["Failed to run module"],
        Effect::Other,
        "a module of agentk does not run",
        "read the end of the line; restart agentk once that is mended",
    )
    .help(Help::Restart),
];
