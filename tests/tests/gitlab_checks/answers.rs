//! What GitLab shows to whom: Developers, fine-grained tokens, instances that enforce them, protected branches; and what
//! stands before GitLab and answers in its place.

use super::*;

/// A member of the agent's project with this role, and a token of theirs.
fn member(world: &World, name: &str, role: Role) -> Result<String> {
    let gitlab = world.gitlab();
    let user = gitlab.new_user(name);
    gitlab.set_role(user, AGENT_PROJECT, Some(role))?;
    gitlab.set_role(user, EXAMPLE_PROJECT, Some(role))?;
    Ok(gitlab.new_personal_token(user, name, &["read_api"], in_days(90))?.value)
}

/// Whether agentk's connections are among what is told of the agent; where not, why.
fn connections(ran: &Ran, world: &World, person: &Person<'_>) -> Result<Value> {
    let file = world.dir().join("connections.json");
    let recorded =
        run(person.command("verify").args(["-o", "json", "--skip", HIDDEN, "--record"]).arg(&file));
    ensure!(recorded.code == ran.code, "{} {}", recorded.out, recorded.err);
    let recording: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
    let agent = &recording["gitlab"]["known"]["agents"][0]["agent"]["known"];
    Ok(agent["connections"].clone())
}

#[test]
fn a_developer_is_shown_no_connections_and_agentk_is_connected_all_the_same() -> Result<()> {
    World::with(|world| {
        Person::new(world)?.well()?;
        let person = Person::with_token(world, &member(world, "developer", Role::Developer)?)?;
        let ran = person.verify();
        ensure!(finding(&ran.json(), "GA307").is_none(), "an empty list is no proof: {}", ran.out);
        let shown = connections(&ran, world, &person)?;
        ensure!(shown["unknown"]["message"].to_string().contains("Maintainers"), "{shown}");
        // Another GitLab shows them.
        world.gitlab().configure(|s| s.developers_see_connections = true);
        let shown = connections(&person.verify(), world, &person)?;
        world.gitlab().configure(|s| s.developers_see_connections = false);
        ensure!(shown["known"].as_array().is_some_and(|all| !all.is_empty()), "{shown}");
        // A Maintainer by an invited group, which the project's `permissions` leave out.
        let guest = world.gitlab().new_user("invited");
        world.gitlab().invite_group("helpers", AGENT_PROJECT, Role::Maintainer)?;
        world.gitlab().set_role(guest, "helpers", Some(Role::Owner))?;
        let token = world.gitlab().new_personal_token(guest, "i", &["read_api"], in_days(90))?.value;
        let person = Person::with_token(world, &token)?;
        let shown = connections(&person.verify(), world, &person)?;
        ensure!(shown["known"].is_array(), "{shown}");
        Person::new(world)?.well()
    })
}

/// What `verify` reads, as permissions.
const READS: [&str; 9] = [
    "Metadata: Read",
    "Personal Access Token: Read",
    "Project: Read",
    "Cluster Agent: Read",
    "Cluster Agent Token: Read",
    "Repository File: Read",
    "Deploy Token: Read",
    "Deploy Key: Read",
    "Resource Access Token: Read",
];

#[test]
fn a_fine_grained_token_is_as_good_as_its_permissions() -> Result<()> {
    World::with(|world| {
        Person::new(world)?.well()?;
        let gitlab = world.gitlab();
        let with = |permissions: &[&str]| -> Result<Ran> {
            let token = gitlab.new_fine_grained_token(gitlab.person(), "fine", permissions)?;
            Ok(Person::with_token(world, &token.value)?.verify())
        };
        let all = with(&READS)?;
        ensure!(all.code == 0 && with_verdict(&all.json(), "unknown").is_empty(), "{} {}", all.code, all.out);
        let less = with(&READS[..3])?;
        ensure!(finding(&less.json(), "GA105").is_none(), "it is valid: {}", less.out);
        let unknown = with_verdict(&less.json(), "unknown");
        ensure!(unknown.contains(&"GA509".to_owned()) && less.code == 3, "{unknown:?}");
        ensure!(less.out.contains("[Cluster Agent: Read]"), "it says which permission: {}", less.out);

        gitlab.configure(|s| s.enforces_fine_grained = true);
        let legacy = Person::with_token(world, &gitlab.new_access_token(&["read_api"])?)?.verify();
        let fine = with(&READS)?;
        gitlab.configure(|s| s.enforces_fine_grained = false);
        let found = finding(&legacy.json(), "GA105").context("GA105")?;
        says(&found, "fine-grained personal access tokens are enforced")?;
        ensure!(found["remedy"]["text"].to_string().contains("Fine-grained token"), "{found:#}");
        ensure!(fine.code == 0, "{}", fine.out);
        Person::new(world)?.well()
    })
}

#[test]
fn a_sign_in_with_glab_is_told_by_doorkeeper() -> Result<()> {
    World::with(|world| {
        Person::new(world)?.well()?;
        let gitlab = world.gitlab();
        let wide = Person::with_token(world, &gitlab.new_oauth_token(gitlab.person(), &["api"])?)?;
        wide.well()?;
        let narrow = Person::with_token(world, &gitlab.new_oauth_token(gitlab.person(), &["read_user"])?)?;
        let found = finding(&narrow.verify().json(), "GA105").context("GA105")?;
        says(&found, "lacks the scope read_api (it has read_user)")
    })
}

#[test]
fn a_proxys_refusal_is_not_gitlabs() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        person.well()?;
        let gitlab = world.gitlab();
        let page = "<html><head><title>Access denied by policy</title></head></html>";
        for status in [401, 403, 404, 407] {
            gitlab.fault("GET /api/v4/metadata", Fault::Status(status, page.to_owned()), ALWAYS);
            let ran = person.verify();
            gitlab.clear_faults();
            let found = finding(&ran.json(), "GA105").with_context(|| format!("{status}: {}", ran.out))?;
            says(&found, "cannot be used")?;
            let evidence = found["evidence"].to_string();
            ensure!(evidence.contains("not GitLab answered") && evidence.contains("by policy"), "{found:#}");
        }
        // One request alone: the rest is judged, and nobody's role is blamed.
        gitlab.fault("GET /api/v4/projects/*/cluster_agents", Fault::Status(403, page.to_owned()), ALWAYS);
        let ran = person.verify();
        gitlab.clear_faults();
        ensure!(finding(&ran.json(), "GA105").is_none(), "{}", ran.out);
        ensure!(with_verdict(&ran.json(), "unknown").contains(&"GA509".to_owned()), "{}", ran.out);
        ensure!(ran.out.contains("not GitLab answered"), "{}", ran.out);
        person.well()
    })
}

#[test]
fn without_an_answer_of_kas_connections_are_unknown_and_nothing_else() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        person.well()?;
        world.gitlab().configure(|s| s.kas_error = Some("GRPC::Unavailable".into()));
        let ran = person.verify();
        let shown = connections(&ran, world, &person)?;
        world.gitlab().configure(|s| s.kas_error = None);
        ensure!(shown["unknown"]["message"].to_string().contains("cannot ask its kas"), "{shown}");
        ensure!(finding(&ran.json(), "GA307").is_none(), "{}", ran.out);
        person.well()
    })
}

/// The remedy for a token that may not set a status names the role that the branch asks for.
#[test]
fn the_role_in_a_remedy_follows_the_branch() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        person.well()?;
        let gitlab = world.gitlab();
        // A deploy token sets no status, whatever the documents list.
        let write = |value: &str| {
            let patch = serde_json::json!({ "stringData": { "token": value } }).to_string();
            let secret =
                ["patch", "secret", "-n", "flux-system", "gitlab-status-fleet", "--type=merge", "-p", &patch];
            world.kubectl(&secret).map(drop)
        };
        write(&gitlab.new_deploy_token(AGENT_PROJECT, &["read_repository"])?.1)?;
        let remedy = |role: &str| -> Result<()> {
            let found = person.finds("GA505")?;
            let text = found["remedy"]["text"].as_str().unwrap_or_default().to_owned();
            ensure!(text.contains(&format!("scope api and role {role}")), "no {role}: {text}");
            Ok(())
        };
        let all = [("Developer", [40], [30]), ("Maintainer", [40], [40]), ("Developer", [30], [0])];
        let done = all.iter().try_for_each(|(role, push, merge)| {
            gitlab.protect(AGENT_PROJECT, "main", push, merge)?;
            remedy(role)
        });
        gitlab.protect(AGENT_PROJECT, "main", &[40], &[30])?;
        write(&world.tokens().fleet_status)?;
        done?;
        // Flux may have been refused a status meanwhile.
        let failed = ["delete", "events", "-A", "--field-selector", "reason=NotificationDispatchFailed"];
        world.kubectl(&failed)?;
        person.well()
    })
}
