//! What Flux fetches and notifies with, rotated in the test world: the real source-controller fetches with the new
//! credential or does not, the real notification-controller sets a status or does not.

use anyhow::{Context as _, Result, ensure};
use gitlab_agent_tests::canary::hides;
use gitlab_agent_tests::rotation::nothing_was_asked_for;
use gitlab_agent_tests::rotation::person::{APP, Person, SOURCE, source_like, watched};
use gitlab_agent_tests::rotation::running::Running;
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::gitlab::ssh::key_pair;
use gitlab_agent_tests::world::gitlab::{EXAMPLE_PROJECT, Fault, Role, in_days};
use serde_json::json;

#[test]
fn a_deploy_token_is_rotated_for_all_that_share_it() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        let spec =
            world.kubectl(&["get", "gitrepository", "-n", "flux-system", APP, "-o", "jsonpath={.spec}"])?;
        let twins = ["twin-1", "twin-2", "twin-3", "twin-4"];
        for twin in twins {
            let mut source = source_like(twin);
            source["spec"] = serde_json::from_str(&spec)?;
            source["spec"]["interval"] = json!("1h");
            world.apply(&source.to_string())?;
        }
        person.is_ready(&twins)?;
        let old = person.held(APP, "password")?;
        for how in ["client", "server"] {
            let ran = person.rotate(&["source", SOURCE, &format!("--dry-run={how}")]);
            // The plan is wrapped.
            let text = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
            ensure!(ran.code == 0 && text.contains("no way back") && text.contains("twin-4"), "{ran:?}");
        }
        ensure!(person.held(APP, "password")? == old && person.is_active(&old), "a dry run changes nothing");
        watched(&person, APP, "password", || {
            let ran =
                person.rotate(&["source", SOURCE, "--yes", "-o", "json", "-v", "-v", "--reason", "INC-4711"]);
            ensure!(ran.code == 0, "{ran:?}");
            let receipt = ran.json();
            let verified = receipt["verified"].as_str().context("verified")?;
            ensure!(twins.iter().all(|t| verified.contains(t)) && verified.contains(APP), "{verified}");
            let new = person.held(APP, "password")?;
            ensure!(
                new != old && person.is_active(&new) && !person.is_active(&old),
                "the old one is revoked"
            );
            let user = person.held(APP, "username")?;
            ensure!(
                receipt["newToken"].as_u64().is_some_and(|id| user.ends_with(&format!("-{id}"))),
                "{user}"
            );
            ensure!(nothing_was_asked_for(world).is_err(), "what is asked for is seen");
            hides(&format!("{}{}", ran.out, ran.err), &[old.clone(), new, person.token.clone()])
        })?;
        let scopes = world.gitlab().token(&person.held(APP, "password")?).context("a token")?.scopes;
        ensure!(scopes == ["read_repository"], "the same powers: {scopes:?}");
        let events = world.kubectl(&["get", "events", "-n", "flux-system", "-o", "json"])?;
        ensure!(events.contains("TokenRotation") && events.contains("INC-4711"), "an Event says who and why");
        hides(&events, &[old, person.held(APP, "password")?])?;
        person.a_push_arrives()?;
        let twins: Vec<String> = twins.iter().map(|t| format!("gitrepository/{t}")).collect();
        let twins: Vec<&str> = twins.iter().map(String::as_str).collect();
        world.kubectl(&[&["delete", "-n", "flux-system"], &twins[..]].concat())?;
        person.is_clean(APP)
    })
}

/// Where it is killed, and how it is ended then.
const KILLED: &[(&str, usize, &str)] = &[
    ("journal", 1, "--resume"),
    ("create", 1, "--resume"),
    ("create", 1, "--rollback"),
    ("write", 1, "--resume"),
    ("write", 2, "--resume"),
    ("write", 2, "--rollback"),
    ("verify", 1, "--resume"),
    ("revoke", 1, "--resume"),
    ("clean", 1, "--resume"),
];

/// Each with a source of its own, so that the dead processes' locks run out at the same time.
#[test]
fn a_source_killed_at_every_step_is_resumed_or_taken_back() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        let names: Vec<String> = (0..KILLED.len()).map(|n| format!("killed-{n}")).collect();
        for name in &names {
            let (user, token) = world.gitlab().new_deploy_token(EXAMPLE_PROJECT, &["read_repository"])?;
            let mut source = source_like(name);
            source["spec"] = json!({"interval": "1h", "url": world.gitlab().project_url(EXAMPLE_PROJECT),
                "ref": {"branch": "main"}, "secretRef": {"name": name}});
            let ca = world.gitlab().ca_pem();
            let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "flux-system"},
                "stringData": {"username": user, "password": token, "ca.crt": ca}});
            world
                .apply(&json!({"apiVersion": "v1", "kind": "List", "items": [secret, source]}).to_string())?;
        }
        person.is_ready(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
        let before = person.living();
        let one = |(name, (step, nth, how)): (&String, &(&str, usize, &str))| -> Result<(String, String)> {
            let old = person.held(name, "password")?;
            let source = format!("gitrepository/{name}");
            watched(&person, name, "password", || {
                let mut running = Running::start(&mut person.prepared(&["source", &source, "--yes"]))?;
                running.until(step, *nth)?;
                running.child.kill()?;
                running.child.wait()?;
                let ran = person.rotate(&["source", &source, how, "-o", "json"]);
                ensure!(ran.code == 0, "{ran:?}");
                let back = *how == "--rollback";
                ensure!((person.held(name, "password")? == old) == back, "{}", ran.out);
                Ok(())
            })?;
            Ok((old, person.held(name, "password")?))
        };
        let changed: Vec<(String, String)> = std::thread::scope(|scope| {
            let runs = names.iter().zip(KILLED);
            let runs: Vec<_> = runs.map(|of| (of.1, scope.spawn(move || one(of)))).collect();
            let ended = runs.into_iter().map(|(case, run)| {
                run.join()
                    .map_err(|_| anyhow::anyhow!("panicked"))?
                    .with_context(|| format!("killed after {case:?}"))
            });
            ended.collect::<Result<_>>()
        })?;
        let mut wanted: Vec<String> =
            before.into_iter().filter(|v| changed.iter().all(|(old, _)| old != v)).collect();
        wanted.extend(changed.into_iter().map(|(_, now)| now));
        wanted.sort_unstable();
        ensure!(person.living() == wanted, "one for one");
        names.iter().try_for_each(|name| person.is_clean(name))?;
        let objects = names.iter().flat_map(|n| [format!("gitrepository/{n}"), format!("secret/{n}")]);
        let objects: Vec<String> = objects.collect();
        let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
        world.kubectl(&[&["delete", "-n", "flux-system"], &objects[..]].concat()).map(drop)
    })
}

#[test]
fn what_is_lost_or_refused_leaves_a_source_that_is_fetched() -> Result<()> {
    World::with(|world| {
        let tokens = "/api/v4/projects/*/deploy_tokens";
        for (route, fault, verdict) in [
            (format!("POST {tokens}"), Fault::LostAnswer, "rotated"),
            (format!("POST {tokens}"), Fault::Garbage, "rotated"),
            (
                format!("POST {tokens}"),
                Fault::Status(403, r#"{"message":"403 Forbidden"}"#.to_owned()),
                "undone",
            ),
            (format!("DELETE {tokens}/*"), Fault::LostAnswer, "rotated"),
            // source-controller is not let in: the new one does not work, as far as anybody sees.
            (
                format!("GET /{EXAMPLE_PROJECT}.git/info/refs"),
                Fault::Status(401, "HTTP Basic: Access denied".to_owned()),
                "undone",
            ),
        ] {
            let person = Person::new(world)?;
            let (old, before) = (person.held(APP, "password")?, person.living());
            watched(&person, APP, "password", || {
                world.gitlab().fault(&route, fault.clone(), 1);
                let ran = person.rotate(&["source", SOURCE, "--yes", "-o", "json", "-v"]);
                ensure!(ran.json()["verdict"] == verdict, "{route} {fault:?}: {ran:?}");
                ensure!((ran.code == 0) == (verdict == "rotated"), "{ran:?}");
                let now = person.held(APP, "password")?;
                ensure!((now == old) == (verdict == "undone"), "{route} {fault:?}");
                person.one_for_one(&before, &old, &now).with_context(|| format!("{route} {fault:?}"))?;
                hides(&format!("{}{}", ran.out, ran.err), &[old, now])
            })?;
            person.is_clean(APP).with_context(|| format!("{route} {fault:?}"))?;
            person.is_ready(&[APP])?;
        }
        Ok(())
    })
}

#[test]
fn a_deploy_key_gets_a_new_pair_and_keeps_the_known_hosts() -> Result<()> {
    World::with(|world| {
        let Some(ssh) = world.ssh()? else { return Ok(()) };
        let person = Person::new(world)?;
        let (identity, public) = key_pair("flux")?;
        let id = world.gitlab().new_deploy_key(EXAMPLE_PROJECT, "flux", &public)?;
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "by-key", "namespace": "flux-system"},
            "stringData": {"identity": identity, "identity.pub": public, "known_hosts": ssh.known_hosts()}});
        world.apply(&secret.to_string())?;
        let mut source = source_like("by-key");
        source["spec"] = json!({"interval": "1h", "url": ssh.url(EXAMPLE_PROJECT), "ref": {"branch": "main"},
            "secretRef": {"name": "by-key"}});
        world.apply(&source.to_string())?;
        person.is_ready(&["by-key"])?;
        let ran = person.rotate(&["source", "gitrepo/by-key", "--yes", "-o", "json"]);
        ensure!(ran.code == 0 && ran.json()["subject"]["kind"] == "deployKey", "{ran:?}");
        ensure!(person.held("by-key", "known_hosts")? == ssh.known_hosts(), "known_hosts stay");
        let (new, line) = (person.held("by-key", "identity")?, person.held("by-key", "identity.pub")?);
        ensure!(new != identity && line.starts_with("ssh-ed25519 "), "{line}");
        let keys = world.gitlab().deploy_keys();
        ensure!(!keys.iter().any(|k| k.id == id), "the old one is revoked");
        ensure!(
            keys.iter().any(|k| line.starts_with(&k.key) || k.key.starts_with(&line)),
            "the new one is there"
        );
        hides(&format!("{}{}", ran.out, ran.err), &[new, identity])?;
        world.kubectl(&["delete", "-n", "flux-system", "gitrepository/by-key", "secret/by-key"])?;
        person.is_clean(APP)
    })
}

/// Whoever hands the manifest over key by key is not somebody else.
#[test]
fn a_half_applied_manifest_is_waited_for() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        let old = person.held(APP, "password")?;
        let file = world.dir().join("handed.yaml");
        let name = file.display().to_string();
        let begin = ["source", SOURCE, "--begin", "--print-manifest", name.as_str(), "--plain-text", "--yes"];
        let ran = person.rotate(&begin);
        ensure!(ran.code == 0, "{ran:?}");
        let manifest: serde_json::Value = serde_saphyr::from_str(&std::fs::read_to_string(&file)?)?;
        let value = |key: &str| manifest["stringData"][key].as_str().map(str::to_owned).context("a value");
        person.write(APP, json!({"password": value("password")?}))?;
        let ran = person.rotate(&["source", SOURCE, "--finish"]);
        ensure!(ran.code == 7 && person.is_active(&old), "{ran:?}");
        ensure!(format!("{}{}", ran.out, ran.err).contains("--finish"), "{ran:?}");
        person.write(APP, json!({"username": value("username")?}))?;
        let ran = person.rotate(&["source", SOURCE, "--finish"]);
        ensure!(ran.code == 0 && !person.is_active(&old), "{ran:?}");
        std::fs::remove_file(&file)?;
        person.is_clean(APP)
    })
}

#[test]
fn access_tokens_keep_their_powers_and_a_persons_gives_way_to_a_deploy_token() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        let (user, before) = (person.held(APP, "username")?, person.held(APP, "password")?);
        let made = world.gitlab().new_resource_token(
            EXAMPLE_PROJECT,
            "flux",
            &["read_repository"],
            Role::Reporter,
            in_days(30),
        )?;
        person.write(APP, json!({"username": "flux", "password": made.value}))?;
        watched(&person, APP, "password", || {
            let ran = person.rotate(&["source", SOURCE, "--yes", "-o", "json"]);
            ensure!(ran.code == 0 && ran.json()["subject"]["kind"] == "accessToken", "{ran:?}");
            let new = person.held(APP, "password")?;
            let all = world.gitlab().access_tokens();
            let new = all.iter().find(|t| t.value == new).context("an access token")?;
            ensure!(
                new.scopes == ["read_repository"] && new.expires.is_some() && !person.is_active(&made.value),
                "{new:?}"
            );
            ensure!(person.held(APP, "username")? == "flux", "the user name stays");
            Ok(())
        })?;
        // A person's: where it may lead is for a person to say, and it is not ours to revoke.
        let own = world.gitlab().new_access_token(&["read_repository"])?;
        person.write(APP, json!({"username": "dana", "password": own}))?;
        person.refuses(
            &mut person.prepared(&["source", SOURCE, "--yes"]),
            5,
            APP,
            &["--project example/nginx-app"],
        )?;
        watched(&person, APP, "password", || {
            let ran = person.rotate(&["source", SOURCE, "--yes", "--project", EXAMPLE_PROJECT]);
            ensure!(ran.code == 0 && ran.out.contains("stays"), "{ran:?}");
            ensure!(person.is_active(&own), "it stays");
            ensure!(person.held(APP, "username")?.starts_with("gitlab+deploy-token-"), "a deploy token");
            Ok(())
        })?;
        person.write(APP, json!({"username": user, "password": before}))?;
        person.is_clean(APP)
    })
}

#[test]
fn a_schedule_rotates_only_what_is_due() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        let old = person.held(APP, "password")?;
        let made = world.gitlab().new_resource_token(
            EXAMPLE_PROJECT,
            "flux",
            &["read_repository"],
            Role::Reporter,
            in_days(30),
        )?;
        person.write(APP, json!({"username": "flux", "password": made.value}))?;
        for quiet in [["--if-older-than", "1d"], ["--if-expires-within", "7d"]] {
            let ran = person.rotate(&[&["source", SOURCE, "--yes"], &quiet[..]].concat());
            ensure!(ran.code == 0 && ran.out.is_empty() && ran.err.is_empty(), "{ran:?}");
            ensure!(person.held(APP, "password")? == made.value);
            let ran = person.rotate(&[&["source", SOURCE, "--yes", "-o", "json"], &quiet[..]].concat());
            ensure!(ran.code == 0 && ran.json()["verdict"] == "not-due", "{ran:?}");
        }
        let ran =
            person.rotate(&["source", SOURCE, "--yes", "--if-expires-within", "40d", "--expires-in", "60d"]);
        ensure!(ran.code == 0 && person.held(APP, "password")? != made.value, "{ran:?}");
        let user = world.gitlab().deploy_tokens().into_iter().find(|t| t.value == old).map(|t| t.username);
        match user {
            Some(user) if person.is_active(&old) => {
                person.write(APP, json!({"username": user, "password": old}))
            }
            _ => Ok(()),
        }
    })
}
