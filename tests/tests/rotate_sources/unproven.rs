//! What the Secret holds is not proven to be what GitLab lists: a user name that somebody chose, a place that may not be listed;
//! and a role that GitLab shows by its permissions alone.

use anyhow::{Context as _, Result, ensure};
use gitlab_agent_tests::programs::run;
use gitlab_agent_tests::rotation::person::{APP, Person, SOURCE};
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::gitlab::{EXAMPLE_PROJECT, Role, in_days};
use serde_json::json;

/// A deploy token with a user name of somebody's choice.
fn chosen(world: &World, path: &str, user: &str) -> Result<(u64, String)> {
    let (generated, value) = world.gitlab().new_deploy_token(path, &["read_repository"])?;
    let all = world.gitlab().deploy_tokens();
    let id = all.iter().find(|token| token.username == generated).context("a deploy token")?.id;
    world.gitlab().change_deploy_token(id, |token| token.username = user.to_owned())?;
    Ok((id, value))
}

#[test]
fn a_chosen_user_name_tells_a_deploy_token_only_where_all_places_are_seen() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        let gitlab = world.gitlab();
        let (user, before) = (person.held(APP, "username")?, person.held(APP, "password")?);
        let (_, of_group) = chosen(world, "example", "flux")?;
        let (_, of_team) = chosen(world, EXAMPLE_PROJECT, "flux")?;
        person.write(APP, json!({"username": "flux", "password": of_group}))?;
        let maintainer = gitlab.new_user("maintains-only-the-project");
        gitlab.set_role(maintainer, EXAMPLE_PROJECT, Some(Role::Maintainer))?;
        let token = gitlab.new_personal_token(maintainer, "m", &["api"], in_days(30))?.value;
        let rotate = ["source", SOURCE, "--yes"];
        let mut hidden = person.prepared(&rotate);
        person.refuses(hidden.env("GITLAB_TOKEN", &token), 5, APP, &["group example", "somebody chose"])?;
        // Who sees both cannot tell either.
        person.refuses(&mut person.prepared(&rotate), 5, APP, &["one user name"])?;
        // A project that a person names gets one of its own, and nothing old is revoked.
        let mut named = person.prepared(&[&rotate[..], &["--project", EXAMPLE_PROJECT]].concat());
        let ran = run(named.env("GITLAB_TOKEN", &token));
        ensure!(ran.code == 0 && person.is_active(&of_group) && person.is_active(&of_team), "{ran:?}");
        for value in [&of_group, &of_team] {
            gitlab.revoke(value)?;
        }
        person.write(APP, json!({"username": user, "password": before}))?;
        person.is_clean(APP)
    })
}

#[test]
fn an_access_token_without_a_prefix_is_not_taken_for_the_deploy_token_of_its_user_name() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        let (user, before) = (person.held(APP, "username")?, person.held(APP, "password")?);
        let (_, of_team) = chosen(world, EXAMPLE_PROJECT, "flux-of-acme")?;
        person.write(
            APP,
            json!({"username": "flux-of-acme", "password": "acme-of-an-instance-with-its-own"}),
        )?;
        let mut rotate = person.prepared(&["source", SOURCE, "--yes"]);
        person.refuses(&mut rotate, 5, APP, &["somebody chose", "does not begin as deploy tokens do"])?;
        ensure!(person.is_active(&of_team), "it is somebody else's");
        world.gitlab().revoke(&of_team)?;
        person.write(APP, json!({"username": user, "password": before}))?;
        person.is_clean(APP)
    })
}

/// GitLab's project permissions know the base roles alone.
#[test]
fn a_custom_role_may_rotate_what_it_manages() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        let gitlab = world.gitlab();
        let developer = gitlab.new_user("with-a-custom-role");
        gitlab.set_role(developer, EXAMPLE_PROJECT, Some(Role::Developer))?;
        let token = gitlab.new_personal_token(developer, "c", &["api"], in_days(30))?.value;
        let rotate = ["source", SOURCE, "--yes", "--project", EXAMPLE_PROJECT];
        let mut below = person.prepared(&rotate);
        person.refuses(below.env("GITLAB_TOKEN", &token), 5, APP, &["Maintainer"])?;
        gitlab.allow_by_custom_role(developer, EXAMPLE_PROJECT, "manage_project_access_tokens")?;
        let mut other = person.prepared(&rotate);
        person.refuses(other.env("GITLAB_TOKEN", &token), 5, APP, &["Maintainer"])?;
        gitlab.allow_by_custom_role(developer, EXAMPLE_PROJECT, "manage_deploy_tokens")?;
        let ran = run(person.prepared(&rotate).env("GITLAB_TOKEN", &token));
        ensure!(ran.code == 0, "{ran:?}");
        person.is_clean(APP)
    })
}
