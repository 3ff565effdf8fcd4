//! What kas answered: the connection itself works.

use super::super::rule::{Effect, Rule, rule};

/// What kas answered: the connection itself works.
pub(super) const FROM_KAS: &[Rule] = &[
    rule(
        &["code = Unauthenticated"],
        Effect::TokenRefused,
        "GitLab refuses the agent token: it was revoked, is of another instance, or the agent was deleted",
        "create a new token for the agent, put it into the Secret and restart agentk",
    ),
    rule(
        &["RST_STREAM with error code: PROTOCOL_ERROR"],
        Effect::TokenRefused,
        "the agent token breaks the protocol: it holds a carriage return or more than one line end",
        "write the token into the Secret again, on one line, and restart agentk",
    ),
    rule(
        &["code = NotFound desc = agent not found"],
        Effect::Disconnected,
        "kas reaches a GitLab that does not know this agent",
        "check that kasAddress is that of the GitLab instance where the agent is registered",
    )
    .said_by_kas(),
    rule(
        &["code = PermissionDenied desc = forbidden"],
        Effect::Disconnected,
        "GitLab refuses kas (the shared secret of kas and Rails differs)",
        "a GitLab administrator compares the kas secret of both",
    )
    .said_by_kas(),
    rule(
        &["code = NotFound desc = Config: repository poll failed"],
        Effect::Disconnected,
        "the agent's configuration project is gone or has no repository",
        "restore the project, or register the agent in another one",
    )
    .said_by_kas(),
    rule(
        &["code = FailedPrecondition desc = Config:"],
        Effect::Disconnected,
        "the agent's configuration file is invalid: one unknown key rejects the whole file",
        "correct `.gitlab/agents/<name>/config.yaml` in the configuration project",
    )
    .said_by_kas(),
    rule(
        &["code = ResourceExhausted", "message larger than max"],
        Effect::Configuration,
        "a message between kas and agentk is larger than gRPC takes: the agent's configuration file, or what it leads to",
        "make `.gitlab/agents/<name>/config.yaml` smaller, or raise the message size on the GitLab server",
    )
    .said_by_kas(),
    rule(
        &["code = ResourceExhausted"],
        Effect::Disconnected,
        "kas rejects agentk's calls because of a rate limit",
        "look for a second agentk with the same token (GA308); else a GitLab administrator raises kas's limits \
         (agent.listen.connections_per_token_per_minute)",
    ),
    rule(
        &["too_many_pings"],
        Effect::Disconnected,
        "something before kas ends connections because agentk pings too often for it",
        "let the load balancer before kas accept HTTP/2 pings, or use the wss:// address of kas",
    ),
    rule(
        &["code: ENHANCE_YOUR_CALM"],
        Effect::Disconnected,
        "something before kas limits agentk's connections",
        "raise the limits of the load balancer before kas",
    ),
    rule(
        &["code = Internal desc = internal error"],
        Effect::Disconnected,
        "kas failed with an internal error",
        "a GitLab administrator reads kas's log",
    )
    .said_by_kas(),
    rule(
        &["Decompressor is not installed for grpc-encoding"],
        Effect::Disconnected,
        "agentk is newer than kas",
        "pin the chart to the GitLab server's major.minor version",
    )
    .said_by_kas(),
    rule(
        &["code = Unavailable desc = unavailable"],
        Effect::Disconnected,
        "kas runs, but cannot ask GitLab",
        "a GitLab administrator reads kas's log for `AgentInfo()`: where it says x509, kas does not trust GitLab's \
         certificate (/etc/gitlab/trusted-certs); where it says connection refused, GitLab is not at the address that kas \
         has (gitlab_kas['gitlab_address'])",
    )
    .said_by_kas(),
];
