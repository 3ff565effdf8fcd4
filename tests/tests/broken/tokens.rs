//! The credentials of sources and of notifications.

use anyhow::{Context as _, Result};
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::gitlab::deploy_tokens::DeployToken;
use gitlab_agent_tests::world::gitlab::{AGENT_ID, EXAMPLE_PROJECT};
use jiff::{SignedDuration, Timestamp};

use super::{Case, k, reconcile, write};

const SYSTEM: &str = "flux-system";
const FLEET: &str = "Secret/flux-system/flux-system";
const EXAMPLE: &str = "Secret/flux-system/example-nginx-app";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "the git password is wrong",
        ("GA407", "GitRepository/flux-system/flux-system"),
        spoil,
        unspoil,
    )
    .under(&["GA208"]),
    Case::new("a source's credential is deleted", ("GA501", EXAMPLE), drop_credential, make_credential)
        .under(&["GA407"]),
    Case::new(
        "a source's credential has no user name",
        ("GA501", EXAMPLE),
        |world| {
            write(world, SYSTEM, "example-nginx-app", &[("username", None)])?;
            reconcile(world, SYSTEM, "gitrepository/example-nginx-app")
        },
        |world| {
            write(world, SYSTEM, "example-nginx-app", &[("username", Some(&world.tokens().example_user))])?;
            reconcile(world, SYSTEM, "gitrepository/example-nginx-app")
        },
    )
    .under(&["GA407"]),
    Case::new(
        "a source's token expired",
        ("GA503", FLEET),
        |world| {
            fleet(world, |token| token.expires = days(0))?;
            reconcile(world, SYSTEM, "gitrepository/flux-system")
        },
        |world| {
            fleet(world, |token| token.expires = None)?;
            reconcile(world, SYSTEM, "gitrepository/flux-system")
        },
    )
    .under(&["GA407", "GA208"]),
    Case::new(
        "a source's token expires next week",
        ("GA503", FLEET),
        |world| fleet(world, |token| token.expires = days(7)),
        |world| fleet(world, |token| token.expires = None),
    )
    .warning(),
    Case::new(
        "a source's token may more than fetch",
        ("GA504", FLEET),
        |world| fleet(world, |token| token.scopes.push("write_registry".into())),
        |world| fleet(world, |token| token.scopes.truncate(1)),
    )
    .warning(),
    Case::new(
        "an agent token lies unused",
        ("GA509", "Deployment/gitlab/gitlab-agent-v2"),
        |world| {
            let forgotten = world.gitlab().new_token_of_agent(AGENT_ID, "forgotten")?.id;
            // A younger one may be on its way into the cluster.
            let old = days(-2).context("the day before yesterday")?;
            world.gitlab().change_agent_token(forgotten, |token| token.created = old)
        },
        |world| {
            world.gitlab().revoke_agent_tokens_but(&world.tokens().agent);
            Ok(())
        },
    )
    .warning(),
    Case::new(
        "job statuses are set with a deploy token",
        ("GA505", "Secret/flux-system/gitlab-status-nginx-app"),
        |world| {
            let token = world.gitlab().new_deploy_token(EXAMPLE_PROJECT, &["read_repository"])?.1;
            write(world, SYSTEM, "gitlab-status-nginx-app", &[("token", Some(&token))])
        },
        |world| {
            write(
                world,
                SYSTEM,
                "gitlab-status-nginx-app",
                &[("token", Some(&world.tokens().example_status))],
            )
        },
    ),
    Case::new(
        "no push event comes from a private project",
        ("GA404", "GitRepository/flux-system/example-nginx-app"),
        |world| world.gitlab().set_public(EXAMPLE_PROJECT, false),
        |world| world.gitlab().set_public(EXAMPLE_PROJECT, true),
    )
    .warning(),
];

pub(super) fn spoil(world: &World) -> Result<()> {
    write(world, SYSTEM, "flux-system", &[("password", Some("wrong-password"))])?;
    reconcile(world, SYSTEM, "gitrepository/flux-system")
}

pub(super) fn unspoil(world: &World) -> Result<()> {
    write(world, SYSTEM, "flux-system", &[("password", Some(&world.tokens().fleet))])?;
    reconcile(world, SYSTEM, "gitrepository/flux-system")
}

pub(super) fn drop_credential(world: &World) -> Result<()> {
    k(world, "-n flux-system delete secret/example-nginx-app")?;
    reconcile(world, SYSTEM, "gitrepository/example-nginx-app")
}

pub(super) fn make_credential(world: &World) -> Result<()> {
    k(world, "-n flux-system create secret generic example-nginx-app")?;
    let tokens = world.tokens();
    let ca = world.gitlab().ca_pem();
    let data = [
        ("username", Some(tokens.example_user.as_str())),
        ("password", Some(tokens.example.as_str())),
        ("ca.crt", Some(ca)),
    ];
    write(world, SYSTEM, "example-nginx-app", &data)?;
    reconcile(world, SYSTEM, "gitrepository/example-nginx-app")
}

fn fleet(world: &World, change: impl FnOnce(&mut DeployToken)) -> Result<()> {
    let id = world.gitlab().token(&world.tokens().fleet).context("the fleet's token")?.id;
    world.gitlab().change_deploy_token(id, change)
}

fn days(days: i64) -> Option<Timestamp> {
    Timestamp::now().checked_add(SignedDuration::from_hours(24 * days)).ok()
}
