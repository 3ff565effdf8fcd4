//! agentk: its pods, its token, its leader, its configuration.

use anyhow::Result;
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::gitlab::{AGENT_PROJECT, EXAMPLE_PROJECT};
use gitlab_agent_tests::world::wait::wait_until;

use super::{Case, SOON, fate, k, patch, write};

const AGENTK: &str = "Deployment/gitlab/gitlab-agent-v2";
const TOKEN: &str = "Secret/gitlab/gitlab-agent-token";
const CONFIG: &str = ".gitlab/agents/world/config.yaml";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "agentk is scaled to zero",
        ("GA301", AGENTK),
        |world| k(world, "-n gitlab scale deployment/gitlab-agent-v2 --replicas=0"),
        |world| k(world, "-n gitlab scale deployment/gitlab-agent-v2 --replicas=2"),
    ),
    Case::new(
        "agentk's image cannot be pulled",
        ("GA303", AGENTK),
        |world| fate(world, "gitlab", "gitlab-agent-v2", Some("image-pull")),
        |world| fate(world, "gitlab", "gitlab-agent-v2", None),
    ),
    Case::new(
        "agentk runs out of memory",
        ("GA303", AGENTK),
        |world| fate(world, "gitlab", "gitlab-agent-v2", Some("oom")),
        |world| fate(world, "gitlab", "gitlab-agent-v2", None),
    ),
    Case::new("the token Secret is deleted", ("GA304", TOKEN), delete_token, restore_token),
    Case::new(
        "the token ends in a line break of Windows",
        ("GA304", TOKEN),
        |world| set_token(world, &format!("{}\r\n", world.tokens().agent)),
        reset_token,
    ),
    Case::new(
        "the token is a deploy token",
        ("GA304", TOKEN),
        |world| set_token(world, &world.gitlab().new_deploy_token(EXAMPLE_PROJECT, &["read_repository"])?.1),
        reset_token,
    ),
    Case::new(
        "the token is changed and nothing restarted",
        ("GA312", AGENTK),
        |world| set_token(world, &world.gitlab().new_agent_token()?),
        |world| {
            world.gitlab().revoke_agent_tokens_but(&world.tokens().agent);
            reset_token(world)
        },
    ),
    Case::new("the agent's token is revoked", ("GA315", TOKEN), revoke, unrevoke).under(&["GA307"]),
    Case::new(
        "the release names another Secret",
        ("GA305", "HelmRelease/gitlab/gitlab-agent"),
        |world| values(world, r#"{"config":{"secretName":"elsewhere"}}"#),
        |world| values(world, r#"{"config":{"secretName":"gitlab-agent-token"}}"#),
    ),
    Case::new(
        "the chart is pinned to one version",
        ("GA602", "HelmRelease/gitlab/gitlab-agent"),
        |world| chart(world, "2.29.1"),
        |world| chart(world, "~2.29.0"),
    )
    .warning(),
    Case::new(
        "the agent's configuration has an unknown key",
        ("GA314", AGENTK),
        |world| configure(world, "observability:\n  logging:\n    levle: debug\n"),
        |world| configure(world, "observability:\n  logging:\n    level: info\n"),
    )
    .warning(),
    Case::new(
        "agentk is ahead of GitLab",
        ("GA601", AGENTK),
        |world| version(world, "18.9.0-ee"),
        |world| version(world, "19.2.1-ee"),
    ),
];

pub(super) fn delete_token(world: &World) -> Result<()> {
    k(world, "-n gitlab delete secret/gitlab-agent-token")
}

pub(super) fn restore_token(world: &World) -> Result<()> {
    k(world, "-n gitlab create secret generic gitlab-agent-token")?;
    reset_token(world)
}

/// The first token again; agentk reads it when it starts.
fn reset_token(world: &World) -> Result<()> {
    set_token(world, &world.tokens().agent)?;
    restart(world)
}

fn set_token(world: &World, token: &str) -> Result<()> {
    write(world, "gitlab", "gitlab-agent-token", &[("token", Some(token))])
}

/// The token of the world, which every case restores.
pub(super) fn revoke(world: &World) -> Result<()> {
    world.gitlab().revoke(&world.tokens().agent)
}

pub(super) fn unrevoke(world: &World) -> Result<()> {
    world.gitlab().restore(&world.tokens().agent)?;
    restart(world)
}

fn restart(world: &World) -> Result<()> {
    k(world, "-n gitlab rollout restart deployment/gitlab-agent-v2")?;
    k(world, "-n gitlab rollout status deployment/gitlab-agent-v2 --timeout=60s")?;
    // Pods that end are still shown as agentk's for a moment.
    wait_until("the old pods to be gone", SOON, || {
        let pods = ["-n", "gitlab", "get", "pods", "-l", "app.kubernetes.io/name=gitlab-agent", "-o", "name"];
        Ok((world.kubectl(&pods)?.lines().count() == 2).then_some(()))
    })
}

fn values(world: &World, values: &str) -> Result<()> {
    patch(world, "gitlab", "helmrelease/gitlab-agent", &format!(r#"{{"spec":{{"values":{values}}}}}"#))
}

fn chart(world: &World, range: &str) -> Result<()> {
    let body = format!(r#"{{"spec":{{"chart":{{"spec":{{"version":"{range}"}}}}}}}}"#);
    patch(world, "gitlab", "helmrelease/gitlab-agent", &body)
}

fn configure(world: &World, text: &str) -> Result<()> {
    world.git(AGENT_PROJECT)?.push_file(CONFIG, text).map(drop)
}

fn version(world: &World, version: &str) -> Result<()> {
    world.gitlab().configure(|settings| {
        settings.version = version.into();
        settings.kas_version = version.split('-').next().map(str::to_owned);
    });
    Ok(())
}
