//! What GitLab does not tell is said, confirmed or waited for: the use of deploy tokens and keys, above all of a group's; the use
//! of an access token, which it notes late; whether a token may set a commit status.

use anyhow::{Context as _, Result, ensure};
use gitlab_agent_tests::programs::Ran;
use gitlab_agent_tests::rotation::person::{APP, Person, SOURCE, STATUS};
use gitlab_agent_tests::rotation::running::Running;
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::gitlab::{ALWAYS, EXAMPLE_PROJECT, Fault, Role, in_days};
use serde_json::json;

/// What is said is wrapped at the width.
fn words(ran: &Ran) -> String {
    format!("{} {}", ran.out, ran.err).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_plan_says_that_others_may_use_what_gitlab_shows_no_use_of() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        let ran = person.rotate(&["source", SOURCE, "--dry-run=client"]);
        let text = words(&ran);
        ensure!(ran.code == 0 && text.contains("GitLab does not tell when deploy token"), "{ran:?}");
        ensure!(text.contains("whoever else was given it outside this cluster may use it"), "{ran:?}");
        Ok(())
    })
}

#[test]
fn a_groups_deploy_token_is_confirmed_by_the_name_of_its_group() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        let (user, before) = (person.held(APP, "username")?, person.held(APP, "password")?);
        let (of_group, value) = world.gitlab().new_deploy_token("example", &["read_repository"])?;
        person.write(APP, json!({"username": of_group, "password": value}))?;
        let rotate = ["source", SOURCE];
        let plan = words(&person.rotate(&[&rotate[..], &["--dry-run=client"]].concat()));
        ensure!(plan.contains("anything that uses any project of the group outside this cluster"), "{plan}");
        let confirm = |more: &[&'static str]| [&rotate[..], &["--yes"], more].concat();
        for more in [&[][..], &["--confirm-group", "other"], &["--confirm-group", "example/nginx-app"]] {
            let mut command = person.prepared(&confirm(more));
            person.refuses(&mut command, 5, APP, &["group example", "--confirm-group"])?;
            ensure!(person.is_active(&value), "{more:?}: nothing was revoked");
        }
        let ran = person.rotate(&confirm(&["--confirm-group", "example"]));
        ensure!(ran.code == 0 && !person.is_active(&value), "{ran:?}");
        ensure!(person.held(APP, "password")? != value, "another one");
        person.write(APP, json!({"username": user, "password": before}))?;
        person.is_clean(APP)
    })
}

/// GitLab notes a use late, so the old one is watched after the last reader moved over.
#[test]
fn a_use_of_the_old_access_token_while_it_is_watched_stops_before_the_revoke() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        let (user, before) = (person.held(APP, "username")?, person.held(APP, "password")?);
        let gitlab = world.gitlab();
        let old = gitlab.new_resource_token(
            EXAMPLE_PROJECT,
            "flux",
            &["read_repository"],
            Role::Reporter,
            in_days(30),
        )?;
        person.write(APP, json!({"username": "flux", "password": old.value}))?;
        let mut running =
            Running::start(&mut person.prepared(&["source", SOURCE, "--yes", "--watch-old", "10m"]))?;
        running.until("prove-not-reverted", 1)?;
        ensure!(person.is_active(&old.value), "it is watched, and not revoked yet");
        gitlab.change_access_token(old.id, |token| token.last_used = Some(jiff::Timestamp::now()))?;
        let (code, seen) = running.ended()?;
        ensure!(
            code == Some(7) && seen.contains("used at") && seen.contains("--revoke-anyway"),
            "{code:?} {seen}"
        );
        ensure!(
            person.is_active(&old.value) && person.is_active(&person.held(APP, "password")?),
            "both work"
        );
        // Watched for a short while in which nobody uses it.
        let ran = person.rotate(&["source", SOURCE, "--resume", "--watch-old", "3s", "-o", "json"]);
        ensure!(ran.code == 0 && !person.is_active(&old.value), "{ran:?}");
        person.write(APP, json!({"username": user, "password": before}))?;
        person.is_clean(APP)
    })
}

/// That a token was used is no proof that it may set a status.
#[test]
fn a_notification_whose_branch_gitlab_does_not_show_is_not_proven_by_a_use_alone() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        let old = person.held(STATUS, "token")?;
        let silent = Fault::Status(500, r#"{"message":"500 Internal Server Error"}"#.to_owned());
        world.gitlab().fault("GET /api/v4/projects/*/protected_branches", silent, ALWAYS);
        let ran = person.rotate(&["notification", STATUS, "--yes", "--verify-timeout", "15s", "-o", "json"]);
        world.gitlab().clear_faults();
        ensure!(ran.code == 7, "it stops before the revoke: {ran:?}");
        ensure!(words(&ran).contains("set no commit status yet"), "{ran:?}");
        let new = person.held(STATUS, "token")?;
        ensure!(new != old && person.is_active(&old) && person.is_active(&new), "both work");
        let ran = person.rotate(&["notification", STATUS, "--resume", "-o", "json"]);
        ensure!(ran.code == 0 && !person.is_active(&old), "{ran:?}");
        world.gitlab().token(&new).context("the new one")?;
        person.is_clean(STATUS)
    })
}
