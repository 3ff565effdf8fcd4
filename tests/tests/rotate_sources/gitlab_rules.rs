//! Rules of GitLab that fail a rotation which does not know them: protected branches, short descriptions, tiers, roles by
//! invitation, tokens of groups, administrators, fine-grained tokens.

use anyhow::{Context as _, Result, ensure};
use gitlab_agent_tests::rotation::person::{APP, Person, SOURCE, STATUS};
use gitlab_agent_tests::rotation::stage::Stage;
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::gitlab::{
    AGENT_PROJECT, AccessToken, EXAMPLE_PROJECT, Role, Settings, in_days,
};
use serde_json::json;

/// The token that a Secret holds, as GitLab knows it.
fn held_token(person: &Person<'_>, secret: &str, key: &str) -> Result<AccessToken> {
    let value = person.held(secret, key)?;
    let all = person.world.gitlab().access_tokens();
    all.into_iter().find(|token| token.value == value).context("an access token")
}

fn role_of(person: &Person<'_>, token: &AccessToken) -> Result<Role> {
    let place = token.place.context("a project's")?;
    person.world.gitlab().role_in(token.user, place).context("a role")
}

/// With other settings; what was there comes back.
fn configured(
    world: &World,
    change: impl FnOnce(&mut Settings),
    test: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let before = world.gitlab().settings();
    world.gitlab().configure(change);
    let done = test();
    world.gitlab().configure(|settings| *settings = before);
    done
}

#[test]
fn a_protected_branch_gives_a_notification_the_least_role_that_works() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        let rotate = ["notification", STATUS, "--yes"];
        let protect =
            |push: u64, merge: u64| world.gitlab().protect(EXAMPLE_PROJECT, "main", &[push], &[merge]);
        protect(40, 40)?;
        let developer = [&rotate[..], &["--role", "developer"]].concat();
        let refused =
            person.refuses(&mut person.prepared(&developer), 5, STATUS, &["Maintainer", "protected"]);
        let ran = person.rotate(&rotate);
        protect(0, 0)?;
        let nobody = person.refuses(&mut person.prepared(&rotate), 5, STATUS, &["no role may push or merge"]);
        protect(40, 30)?;
        refused?;
        nobody?;
        ensure!(ran.code == 0, "{ran:?}");
        ensure!(role_of(&person, &held_token(&person, STATUS, "token")?)? == Role::Maintainer);
        // Not less than the old one has, where less would do.
        let ran = person.rotate(&[&rotate[..], &["--role", "developer"]].concat());
        ensure!(ran.code == 0, "{ran:?}");
        ensure!(role_of(&person, &held_token(&person, STATUS, "token")?)? == Role::Developer);
        person.is_clean(STATUS)
    })
}

#[test]
fn a_long_reason_is_cut_to_what_gitlab_has_room_for() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        let reason = "é".repeat(600);
        let ran = person.rotate(&["notification", STATUS, "--yes", "--reason", &reason]);
        ensure!(ran.code == 0, "{ran:?}");
        let made = held_token(&person, STATUS, "token")?;
        ensure!(made.description.is_some_and(|d| d.chars().count() == 255), "cut");
        let bots = |name: &str| world.gitlab().users().iter().filter(|u| u.bot && u.name == name).count();
        ensure!(bots(&made.name) == 1, "no bot is left over");
        let stage = Stage::new(world)?;
        let ran = stage.rotate(&["--yes", "--reason", &reason]);
        ensure!(ran.code == 0, "an agent's may be longer: {ran:?}");
        person.is_clean(STATUS)
    })
}

#[test]
fn a_creation_that_leaves_a_bot_behind_is_not_tried_again() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        let old = person.held(STATUS, "token")?;
        let users = world.gitlab().users().len();
        let ran = {
            world.gitlab().configure(|s| s.longest_description = 10);
            let ran = person.rotate(&["notification", STATUS, "--yes", "-o", "json"]);
            world.gitlab().configure(|s| s.longest_description = 255);
            ran
        };
        ensure!(ran.code == 6 && ran.json()["verdict"] == "undone", "{ran:?}");
        ensure!(world.gitlab().users().len() == users + 1, "one bot, not two");
        ensure!(ran.out.contains("_bot_left") || ran.err.contains("_bot_left"), "it is named: {ran:?}");
        ensure!(person.held(STATUS, "token")? == old && person.is_active(&old));
        person.is_clean(STATUS)
    })
}

#[test]
fn without_a_paid_tier_what_can_be_made_is_named() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        configured(
            world,
            |s| s.paid = false,
            || {
                let (_, dead) = world.gitlab().new_deploy_token(EXAMPLE_PROJECT, &["read_repository"])?;
                let old = person.held(STATUS, "token")?;
                person.write(STATUS, json!({ "token": dead }))?;
                let rotate = ["notification", STATUS, "--yes", "--project", EXAMPLE_PROJECT];
                let refused = person.refuses(
                    &mut person.prepared(&rotate),
                    5,
                    STATUS,
                    &["Premium", "personal access token"],
                );
                person.write(STATUS, json!({ "token": old }))?;
                refused?;
                let make =
                    ["source", SOURCE, "--yes", "--project", EXAMPLE_PROJECT, "--make", "access-token"];
                person.refuses(&mut person.prepared(&make), 5, APP, &["Premium", "--make deploy-token"])
            },
        )
    })
}

#[test]
fn a_maintainer_by_an_invited_group_may_rotate() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        let person = Person::new(world)?;
        let gitlab = world.gitlab();
        let user = gitlab.new_user("of-a-guest-group");
        for project in [AGENT_PROJECT, EXAMPLE_PROJECT] {
            gitlab.invite_group("guests", project, Role::Maintainer)?;
        }
        gitlab.set_role(user, "guests", Some(Role::Maintainer))?;
        let token = gitlab.new_personal_token(user, "t", &["api"], in_days(30))?.value;
        let ran = gitlab_agent_tests::programs::run(stage.prepared(&["--yes"]).env("GITLAB_TOKEN", &token));
        ensure!(ran.code == 0, "{ran:?}");
        let source = ["source", SOURCE, "--yes"];
        let ran = gitlab_agent_tests::programs::run(person.prepared(&source).env("GITLAB_TOKEN", &token));
        ensure!(ran.code == 0, "{ran:?}");
        person.is_clean(APP)
    })
}

#[test]
fn a_groups_token_is_not_taken_for_a_persons() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        let gitlab = world.gitlab();
        let (user, before) = (person.held(APP, "username")?, person.held(APP, "password")?);
        let group = gitlab.new_resource_token(
            "example",
            "of-the-group",
            &["read_repository"],
            Role::Reporter,
            in_days(30),
        )?;
        person.write(APP, json!({"username": "flux", "password": group.value}))?;
        let maintainer = gitlab.new_user("maintains-the-project");
        gitlab.set_role(maintainer, EXAMPLE_PROJECT, Some(Role::Maintainer))?;
        let token = gitlab.new_personal_token(maintainer, "m", &["api"], in_days(30))?.value;
        let mut rotate = person.prepared(&["source", SOURCE, "--yes"]);
        let refused =
            person.refuses(rotate.env("GITLAB_TOKEN", &token), 5, APP, &["the group with number", "Owner"]);
        let advice = {
            let ran = gitlab_agent_tests::programs::run(
                person.prepared(&["source", SOURCE, "--yes"]).env("GITLAB_TOKEN", &token),
            );
            !ran.err.contains("--in-place")
        };
        person.write(APP, json!({"username": user, "password": before}))?;
        refused?;
        ensure!(advice, "nobody can renew it in its place");
        person.is_clean(APP)
    })
}

#[test]
fn an_administrator_renews_a_token_of_their_own_among_everybodys() -> Result<()> {
    super::in_place::with_persons_token(|person, old| {
        let gitlab = person.world.gitlab();
        // More tokens of others than are read of a list.
        let other = gitlab.new_user("crowd");
        for number in 0..2050 {
            gitlab.new_personal_token(other, &format!("t{number}"), &["api"], None)?;
        }
        gitlab.set_admin(gitlab.person(), true);
        let ran = person.rotate(&[&super::in_place::ROTATE[..], &["--yes", "-o", "json"]].concat());
        gitlab.set_admin(gitlab.person(), false);
        ensure!(ran.code == 0 && !person.is_active(old), "{ran:?}");
        person.is_clean(APP)
    })
}

#[test]
fn where_fine_grained_tokens_are_enforced_the_way_out_is_said() -> Result<()> {
    super::in_place::with_persons_token(|person, old| {
        let world = person.world;
        let in_place = [&super::in_place::ROTATE[..], &["--yes"]].concat();
        configured(
            world,
            |s| s.enforces_fine_grained = true,
            || person.refuses(&mut person.prepared(&in_place), 5, APP, &["fine-grained"]),
        )?;
        let gitlab = world.gitlab();
        let fine = gitlab.new_fine_grained_token(gitlab.person(), "fine", EVERYTHING)?.value;
        configured(
            world,
            |s| s.enforces_fine_grained = true,
            || {
                let ran =
                    gitlab_agent_tests::programs::run(person.prepared(&in_place).env("GITLAB_TOKEN", &fine));
                ensure!(ran.code == 6, "nothing was changed: {ran:?}");
                ensure!(format!("{}{}", ran.out, ran.err).contains("legacy"), "it says why: {ran:?}");
                Ok(())
            },
        )?;
        ensure!(person.is_active(old), "it lives");
        person.is_clean(APP)
    })
}

/// What the two rotations below take, as permissions.
const EVERYTHING: &[&str] = &[
    "Personal Access Token: Read",
    "Personal Access Token: Create",
    "Project: Read",
    "Group: Read",
    "User: Read",
    "Member: Read",
    "Cluster Agent: Read",
    "Cluster Agent Token: Read",
    "Cluster Agent Token: Create",
    "Cluster Agent Token: Delete",
    "Deploy Token: Read",
    "Deploy Token: Create",
    "Deploy Token: Delete",
    "Resource Access Token: Read",
    "Protected Branch: Read",
];

#[test]
fn a_fine_grained_token_rotates_what_its_permissions_allow() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        let stage = Stage::new(world)?;
        let gitlab = world.gitlab();
        let fine = gitlab.new_fine_grained_token(gitlab.person(), "fine", EVERYTHING)?.value;
        let ran = gitlab_agent_tests::programs::run(stage.prepared(&["--yes"]).env("GITLAB_TOKEN", &fine));
        ensure!(ran.code == 0, "{ran:?}");
        let source = ["source", SOURCE, "--yes"];
        let ran = gitlab_agent_tests::programs::run(person.prepared(&source).env("GITLAB_TOKEN", &fine));
        ensure!(ran.code == 0, "{ran:?}");
        let less = gitlab.new_fine_grained_token(gitlab.person(), "less", &EVERYTHING[..7])?.value;
        let mut agent = stage.prepared(&["--yes"]);
        stage.refuses(agent.env("GITLAB_TOKEN", &less), 5, &["[Cluster Agent Token: Read]"])
    })
}

#[test]
fn routable_values_are_written_as_they_are() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        let stage = Stage::new(world)?;
        configured(
            world,
            |s| s.routable_tokens = true,
            || {
                let ran = person.rotate(&["source", SOURCE, "--yes"]);
                ensure!(ran.code == 0 && person.held(APP, "password")?.matches('.').count() == 2, "{ran:?}");
                let ran = stage.rotate(&["--yes"]);
                ensure!(ran.code == 0, "{ran:?}");
                Ok(())
            },
        )?;
        person.is_clean(APP)
    })
}
