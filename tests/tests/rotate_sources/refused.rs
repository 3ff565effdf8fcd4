//! Sources that are not rotated: what would go wrong later is refused now.

use anyhow::Result;
use gitlab_agent_tests::rotation::SOON;
use gitlab_agent_tests::rotation::person::{APP, Person, SOURCE, STATUS, source_like};
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::gitlab::{AGENT_PROJECT, EXAMPLE_PROJECT, Role};
use gitlab_agent_tests::world::wait::yes;
use serde_json::json;

/// What would go wrong later is refused now, and nothing is changed anywhere.
#[test]
fn a_source_that_cannot_be_rotated_is_refused() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        let yes = || person.prepared(&["source", SOURCE, "--yes"]);
        person.refuses(
            &mut person.prepared(&["source", "gitrepository/none", "--yes"]),
            5,
            APP,
            &["there is no", APP],
        )?;
        person.refuses(&mut person.prepared(&["source", APP, "--yes"]), 2, APP, &["KIND/NAME"])?;
        person.refuses(&mut person.prepared(&["source", SOURCE]), 5, APP, &["--yes"])?;

        let patch = |kind: &str, name: &str, patch: &str| {
            world.kubectl(&["-n", "flux-system", "patch", kind, name, "--type=merge", "-p", patch]).map(drop)
        };
        // One Secret for two purposes.
        patch(
            "provider.notification.toolkit.fluxcd.io",
            STATUS,
            r#"{"spec":{"secretRef":{"name":"example-nginx-app"}}}"#,
        )?;
        person.refuses(&mut yes(), 5, APP, &["two purposes", "Provider"])?;
        patch(
            "provider.notification.toolkit.fluxcd.io",
            STATUS,
            r#"{"spec":{"secretRef":{"name":"gitlab-status-nginx-app"}}}"#,
        )?;

        // Nobody could tell whether the new one works.
        let suspend = |yes: bool| patch("gitrepository", APP, &format!(r#"{{"spec":{{"suspend":{yes}}}}}"#));
        suspend(true)?;
        person.refuses(&mut yes(), 5, APP, &["suspended"])?;
        suspend(false)?;
        person.is_ready(&[APP])?;

        // A credential that GitLab does not show: where it leads is for a person to say.
        let (user, value) = (person.held(APP, "username")?, person.held(APP, "password")?);
        person.write(APP, json!({"username": "gitlab+deploy-token-999"}))?;
        person.refuses(&mut yes(), 5, APP, &["--project example/nginx-app"])?;
        person.write(APP, json!({"username": user, "password": value}))?;

        let developer = world.gitlab().new_user("dev-of-sources");
        world.gitlab().set_role(developer, EXAMPLE_PROJECT, Some(Role::Developer))?;
        let weak = world.gitlab().new_personal_token(developer, "weak", &["api"], None)?.value;
        person.refuses(yes().env("GITLAB_TOKEN", &weak), 5, APP, &["--project"])?;
        let mut named = person.prepared(&["source", SOURCE, "--yes", "--project", EXAMPLE_PROJECT]);
        person.refuses(named.env("GITLAB_TOKEN", &weak), 5, APP, &["Maintainer"])?;
        person.is_clean(APP)
    })
}

/// Another project is not opened on the cluster's word.
#[test]
fn the_cluster_cannot_choose_another_project() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        let junk = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "wish", "namespace": "flux-system"},
            "stringData": {"username": person.held("flux-system", "username")?, "password": "not-the-token"}});
        world.apply(&junk.to_string())?;
        let mut source = source_like("wish");
        source["spec"] = json!({"interval": "1h", "url": world.gitlab().project_url(AGENT_PROJECT), "ref": {"branch": "main"},
            "secretRef": {"name": "wish"}});
        world.apply(&source.to_string())?;
        world.wait_until("Flux to be refused", SOON, || {
            let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
            let args = ["get", "gitrepository", "-n", "flux-system", "wish", "-o", path];
            Ok(yes(world.kubectl(&args)? == "False"))
        })?;
        let mut wish = person.prepared(&["source", "gitrepository/wish", "--yes"]);
        person.refuses(&mut wish, 5, "wish", &["is not fetched now"])?;
        world.kubectl(&["delete", "-n", "flux-system", "gitrepository/wish", "secret/wish"]).map(drop)
    })
}
