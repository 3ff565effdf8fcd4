//! What notification-controller sets commit statuses with, rotated in the test world.

use anyhow::{Context as _, Result, ensure};
use gitlab_agent_tests::canary::hides;
use gitlab_agent_tests::rotation::person::{Person, STATUS};
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::gitlab::{ALWAYS, EXAMPLE_PROJECT, Fault};
use serde_json::json;

#[test]
fn a_notification_gets_a_token_of_its_project_and_sets_a_status_with_it() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        let old = person.held(STATUS, "token")?;
        let ran = person.rotate(&["notification", STATUS, "--yes", "-o", "json", "-v"]);
        ensure!(ran.code == 0 && ran.json()["verdict"] == "rotated", "{ran:?}");
        let new = person.held(STATUS, "token")?;
        ensure!(new != old && person.is_active(&new) && !person.is_active(&old), "{ran:?}");
        ensure!(world.gitlab().token(&new).is_some_and(|t| t.last_used.is_some()), "it was used");
        hides(&format!("{}{}", ran.out, ran.err), &[old, new.clone(), person.token.clone()])?;
        person.is_clean(STATUS)?;

        // A deploy token cannot do it, whatever the documents say: it is replaced, and not made.
        let usage = person.rotate(&["notification", STATUS, "--make", "deploy-token", "--yes"]);
        ensure!(usage.code == 2 && usage.err.contains("cannot set a commit status"), "{usage:?}");
        let (_, deploy) = world.gitlab().new_deploy_token(EXAMPLE_PROJECT, &["read_repository"])?;
        person.write(STATUS, json!({"token": deploy}))?;
        person.refuses(
            &mut person.prepared(&["notification", STATUS, "--yes"]),
            5,
            STATUS,
            &["--project"],
        )?;
        let ran = person.rotate(&["notification", STATUS, "--yes", "--project", EXAMPLE_PROJECT]);
        ensure!(ran.code == 0 && person.is_active(&deploy), "{ran:?}");
        let made = person.held(STATUS, "token")?;
        let all = world.gitlab().access_tokens();
        let made = all.iter().find(|t| t.value == made).context("an access token")?;
        ensure!(made.scopes == ["api"] && made.place.is_some(), "{made:?}");
        person.is_clean(STATUS)
    })
}

#[test]
fn a_notification_that_gitlab_refuses_is_taken_back() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        let (old, before) = (person.held(STATUS, "token")?, person.living());
        // A role that cannot do it is refused before anything is made.
        let reporter = ["notification", STATUS, "--yes", "--role", "reporter"];
        person.refuses(
            &mut person.prepared(&reporter),
            5,
            STATUS,
            &["role Reporter may not", "Developer"],
        )?;
        // Where GitLab does not show what the branch asks for, the token itself shows it.
        let silent = Fault::Status(500, r#"{"message":"500 Internal Server Error"}"#.to_owned());
        world.gitlab().fault("GET /api/v4/projects/*/protected_branches", silent, ALWAYS);
        let ran = person.rotate(&["notification", STATUS, "--yes", "--role", "reporter", "-o", "json"]);
        world.gitlab().clear_faults();
        ensure!(ran.code == 6 && ran.json()["verdict"] == "undone", "{ran:?}");
        ensure!(person.held(STATUS, "token")? == old && person.is_active(&old), "the old one is back");
        person.one_for_one(&before, &old, &old)?;
        person.is_clean(STATUS)
    })
}
