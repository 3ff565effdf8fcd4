//! `verify` with access to the played GitLab, in the test world: each check that needs GitLab fails for its real reason,
//! is mended, and nothing is sent to anybody else.

#[path = "gitlab_checks/answers.rs"]
mod answers;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use gitlab_agent_tests::programs::{Ran, command, run};
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::gitlab::{
    AGENT_ID, AGENT_PROJECT, ALWAYS, EXAMPLE_PROJECT, Fault, Role, in_days,
};
use gitlab_agent_tests::world::wait::wait_until;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(90);

/// Flux's own NetworkPolicies keep the chart index away, and each look would wait for it.
const HIDDEN: &str = "GA603";

/// The person at the keyboard: a token file of their own, and the authority's certificate.
struct Person<'w> {
    world: &'w World,
    token: PathBuf,
}

impl<'w> Person<'w> {
    fn with_token(world: &'w World, value: &str) -> Result<Self> {
        fs::write(world.dir().join("person-ca.crt"), world.gitlab().ca_pem())?;
        let token = world.dir().join("person-token");
        fs::write(&token, value)?;
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600))?;
        Ok(Self { world, token })
    }

    fn new(world: &'w World) -> Result<Self> {
        world.gitlab().clear_faults();
        world.gitlab().set_public(EXAMPLE_PROJECT, true)?;
        Self::with_token(world, &world.gitlab().new_access_token(&["read_api"])?)
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = command(verb);
        command
            .env("KUBECONFIG", self.world.kubeconfig())
            .args(["--gitlab-host", &self.world.gitlab().url()]);
        command.arg("--gitlab-ca-file").arg(self.world.dir().join("person-ca.crt"));
        command.arg("--gitlab-token-file").arg(&self.token);
        command
    }

    fn verify(&self) -> Ran {
        run(self.command("verify").args(["-o", "json", "--skip", HIDDEN]))
    }

    /// Waits until a finding of this code is there, and gives it.
    fn finds(&self, code: &str) -> Result<Value> {
        wait_until(&format!("{code} to be found"), SOON, || {
            let ran = self.verify();
            if let Some(found) = finding(&ran.json(), code) {
                return Ok(Some(found));
            }
            bail!("exit {} {}{}", ran.code, ran.out, ran.err)
        })
    }

    /// Waits until nothing is found and nothing is unknown.
    fn well(&self) -> Result<()> {
        wait_until("all to be well", SOON, || {
            // Whether pushes were announced is for whoever pushes.
            let args = ["-o", "json", "--fail-on", "info", "--skip", "GA409", "--skip", HIDDEN];
            let ran = run(self.command("verify").args(args));
            let json = ran.json();
            let clean = json["problems"].as_array().is_some_and(Vec::is_empty)
                && with_verdict(&json, "unknown").is_empty();
            if ran.code == 0 && clean {
                return Ok(Some(()));
            }
            bail!(
                "exit {} {:#} unknown {:?} {}",
                ran.code,
                json["problems"],
                with_verdict(&json, "unknown"),
                ran.err
            )
        })
    }
}

/// The first finding of a code, wherever in the report it is.
fn finding(report: &Value, code: &str) -> Option<Value> {
    fn search(problems: &Value, code: &str) -> Option<Value> {
        problems
            .as_array()?
            .iter()
            .find_map(|p| if p["code"] == code { Some(p.clone()) } else { search(&p["consequences"], code) })
    }
    search(&report["problems"], code)
}

/// The checks of this verdict.
fn with_verdict(report: &Value, verdict: &str) -> Vec<String> {
    let checks = report["checks"].as_array().into_iter().flatten();
    checks.filter(|c| c["verdict"] == verdict).filter_map(|c| c["code"].as_str().map(str::to_owned)).collect()
}

fn says(found: &Value, words: &str) -> Result<()> {
    ensure!(found["message"].as_str().is_some_and(|m| m.contains(words)), "not '{words}': {found:#}");
    Ok(())
}

/// The checks that have nothing to say without GitLab.
const OF_GITLAB: [&str; 7] = ["GA105", "GA314", "GA404", "GA503", "GA504", "GA509", "GA601"];

#[test]
fn removing_access_turns_only_the_checks_of_gitlab_unknown() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        person.well()?;
        world.gitlab().clear_requests();
        let args = ["-o", "json", "--skip", HIDDEN];
        let without = run(command("verify").args(args).env("KUBECONFIG", world.kubeconfig()));
        ensure!(without.code == 0, "{}", without.out);
        ensure!(with_verdict(&without.json(), "unknown") == OF_GITLAB, "{}", without.out);
        ensure!(without.out.contains("--gitlab-host HOST"), "it says what would make it known");
        let api = |path: &str| path.starts_with("/api/");
        ensure!(!world.gitlab().requests().iter().any(|r| api(&r.path)), "GitLab was asked");
        let off = run(person.command("verify").args(["--no-gitlab"]));
        ensure!(off.code == 2, "contradicting flags: {}", off.err);
        Ok(())
    })
}

#[test]
fn the_persons_token_is_refused_too_narrow_or_seen_by_a_mere_reporter() -> Result<()> {
    World::with(|world| {
        let gitlab = world.gitlab();
        Person::new(world)?.well()?;
        let dead = gitlab.new_access_token(&["read_api"])?;
        gitlab.revoke(&dead)?;
        gitlab.clear_requests();
        let ran = Person::with_token(world, &dead)?.verify();
        let found = finding(&ran.json(), "GA105").context("GA105")?;
        says(&found, "refuses your token")?;
        ensure!(ran.code == 4, "exit {}", ran.code);
        let sent = gitlab.requests().iter().filter(|r| r.path.starts_with("/api/")).count();
        ensure!(sent <= 2, "a refused token is not sent again: {sent}");

        let narrow = gitlab.new_access_token(&["read_user"])?;
        let ran = Person::with_token(world, &narrow)?.verify();
        says(
            &finding(&ran.json(), "GA105").context("GA105")?,
            "lacks the scope read_api (it has read_user)",
        )?;
        ensure!(ran.code == 3, "exit {}", ran.code);

        let reporter = gitlab.new_user("reporter");
        gitlab.set_role(reporter, AGENT_PROJECT, Some(Role::Reporter))?;
        let token = gitlab.new_personal_token(reporter, "r", &["read_api"], in_days(90))?.value;
        let ran = Person::with_token(world, &token)?.verify();
        let unknown = with_verdict(&ran.json(), "unknown");
        ensure!(
            unknown.contains(&"GA509".to_owned()) && !unknown.contains(&"GA105".to_owned()),
            "{unknown:?}"
        );
        ensure!(ran.code == 3 && ran.json()["problems"].as_array().is_some_and(Vec::is_empty), "{}", ran.out);
        Ok(())
    })
}

#[test]
fn the_configuration_file_holds_an_unknown_key() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        person.well()?;
        let file = ".gitlab/agents/world/config.yaml";
        let fleet = world.git(AGENT_PROJECT)?;
        fleet.push_file(file, "ci_acess:\n  projects:\n    - id: example/nginx-app\n")?;
        says(&person.finds("GA314")?, "not documented: ci_acess;")?;
        fleet.push_file(file, "ci_access:\n  - [\n")?;
        wait_until("the broken file to be found", SOON, || {
            let found = person.finds("GA314")?;
            Ok((found["severity"] == "error").then_some(()))
        })?;
        fleet.push_file(file, "ci_access:\n  projects:\n    - id: example/nginx-app\n")?;
        person.well()
    })
}

#[test]
fn a_private_project_gets_no_push_events() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        world.gitlab().set_public(EXAMPLE_PROJECT, false)?;
        let found = person.finds("GA404")?;
        says(&found, "private and not the agent's own project")?;
        ensure!(found["subject"]["name"] == "example-nginx-app", "{found:#}");
        world.gitlab().set_public(EXAMPLE_PROJECT, true)?;
        person.well()
    })
}

#[test]
fn credentials_expire_and_can_do_too_much() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        person.well()?;
        let gitlab = world.gitlab();
        let deploy = gitlab.deploy_tokens().into_iter().find(|t| t.value == world.tokens().example);
        let deploy = deploy.context("the example's deploy token")?;
        gitlab.change_deploy_token(deploy.id, |t| {
            t.expires = Some(Timestamp::now() + SignedDuration::from_hours(100))
        })?;
        let found = person.finds("GA503")?;
        says(&found, "holds deploy token")?;
        says(&found, "expires in 4d")?;
        let calm = run(person.command("verify").args(["-o", "json", "--expiry-window", "2d"]));
        ensure!(finding(&calm.json(), "GA503").is_none(), "{}", calm.out);
        gitlab.change_deploy_token(deploy.id, |t| {
            t.expires = None;
            t.scopes.push("write_registry".to_owned());
        })?;
        says(&person.finds("GA504")?, "can do more than fetch: write_registry")?;
        gitlab.change_deploy_token(deploy.id, |t| t.scopes.retain(|s| s != "write_registry"))?;

        let status = gitlab.access_tokens().into_iter().find(|t| t.value == world.tokens().fleet_status);
        let status = status.context("the fleet's token for job statuses")?;
        let expires = status.expires;
        gitlab.change_access_token(status.id, |t| t.expires = in_days(3))?;
        let found = person.finds("GA503")?;
        says(&found, "probably holds project access token")?;
        ensure!(found["subject"]["name"] == "gitlab-status-fleet", "{found:#}");
        gitlab.change_access_token(status.id, |t| t.expires = expires)?;
        person.well()
    })
}

#[test]
fn a_forgotten_agent_token_is_named() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        person.well()?;
        let gitlab = world.gitlab();
        let old = gitlab.new_token_of_agent(AGENT_ID, "of-last-year")?;
        person.well().context("a fresh one may be on its way")?;
        gitlab.change_agent_token(old.id, |t| t.created -= SignedDuration::from_hours(72))?;
        let found = person.finds("GA509")?;
        says(&found, "\"of-last-year\", which was never used")?;
        let command = format!("glab cluster agent token revoke {AGENT_ID} {} --repo={AGENT_PROJECT}", old.id);
        ensure!(found["remedy"]["commands"][0] == command.as_str(), "{found:#}");
        gitlab.revoke(&old.value)?;
        person.well()
    })
}

#[test]
fn versions_drift_and_an_old_gitlab_knows_no_warnings() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        person.well()?;
        let gitlab = world.gitlab();
        let release = |version: &str| {
            let version = version.to_owned();
            move |s: &mut gitlab_agent_tests::world::gitlab::Settings| {
                s.kas_version = Some(version.clone());
                s.version = format!("{version}-ee");
            }
        };
        // Before 17.7 GraphQL refuses `warnings`.
        gitlab.configure(release("17.2.0"));
        let ran = person.verify();
        let found = finding(&ran.json(), "GA601").context("GA601")?;
        says(&found, "newer than GitLab 17.2.0")?;
        ensure!(found["severity"] == "error" && ran.code == 1, "{}", ran.out);
        ensure!(with_verdict(&ran.json(), "unknown").is_empty(), "{}", ran.out);
        gitlab.configure(release("19.5.0"));
        let found = person.finds("GA601")?;
        ensure!(found["severity"] == "warning", "{found:#}");
        gitlab.configure(release("19.2.1"));
        person.well()
    })
}

#[test]
fn gitlab_knows_no_connection_of_the_pods() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        person.well()?;
        let gitlab = world.gitlab();
        let connected = gitlab.connections(AGENT_ID);
        ensure!(!connected.is_empty(), "agentk is connected");
        gitlab.configure(|s| s.lists_connections = false);
        let found = person.finds("GA307");
        gitlab.configure(|s| s.lists_connections = true);
        says(&found?, "knows no connection of its pods")?;
        person.well()
    })
}

#[test]
fn projects_are_found_where_a_proxy_breaks_paths() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        person.well()?;
        world.gitlab().configure(|s| s.proxy_decodes_paths = true);
        let ran = person.verify();
        world.gitlab().configure(|s| s.proxy_decodes_paths = false);
        // Files are read through GraphQL, too.
        ensure!(with_verdict(&ran.json(), "unknown").is_empty(), "{}", ran.out);
        person.well()
    })
}

/// Whom the cluster names gets nothing, whom GitLab names in a redirect gets nothing, and a GitLab that misbehaves
/// costs only what it did not say.
#[test]
fn nobody_else_gets_the_token_and_a_gitlab_that_misbehaves_costs_little() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        person.well()?;
        let gitlab = world.gitlab();
        let traps = [gitlab.trap(true)?, gitlab.trap(false)?];
        let manifest = |scheme: &str, at: std::net::SocketAddr| {
            format!(
                "---\napiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {{name: trap-{scheme}, namespace: default}}\n\
                 spec: {{suspend: true, interval: 5m, url: '{scheme}://{at}/a/b.git', ref: {{branch: main}}}}\n"
            )
        };
        let both = manifest("https", traps[0].address()) + &manifest("http", traps[1].address());
        world.apply(&both)?;
        let token = fs::read_to_string(&person.token)?;
        let with_gitlab = person.verify();
        let with_variable = run(command("verify")
            .args(["-o", "json"])
            .env("KUBECONFIG", world.kubeconfig())
            .env("GITLAB_TOKEN", &token));
        ensure!(with_variable.out.contains("not for which host"), "{}", with_variable.out);
        world.kubectl(&["-n", "default", "delete", "gitrepository", "trap-https", "trap-http"])?;

        let place = format!("https://{}/api/v4/metadata", traps[0].address());
        gitlab.fault("GET /api/v4/metadata", Fault::Redirect(place), 1);
        let moved = person.verify();
        says(&finding(&moved.json(), "GA105").context("GA105")?, "cannot be used")?;
        ensure!(moved.out.contains("GitLab says it moved to https://"), "{}", moved.out);
        for trap in &traps {
            ensure!(trap.caught().is_empty(), "somebody came: {:?}", trap.caught());
        }

        for (fault, times) in [(Fault::Reset, 1), (Fault::TooMany(Some(1)), 1)] {
            gitlab.fault("GET /api/v4/metadata", fault, times);
            let ran = person.verify();
            ensure!(ran.code == 0, "{}", ran.out);
        }
        let broken = Fault::Status(500, "broken".to_owned());
        for (fault, exit) in
            [(Fault::Maintenance, 3), (Fault::Garbage, 3), (broken, 3), (Fault::Truncated, 3)]
        {
            gitlab.fault("GET /api/v4/projects/*/deploy_keys", fault, ALWAYS);
            let ran = person.verify();
            gitlab.clear_faults();
            ensure!(ran.code == exit, "exit {} {}", ran.code, ran.out);
            ensure!(with_verdict(&ran.json(), "unknown") == ["GA503", "GA504"], "{}", ran.out);
        }
        gitlab.fault("* /api/*", Fault::Stall, ALWAYS);
        let silent = run(person.command("verify").args(["-o", "json", "--request-timeout", "2s"]));
        gitlab.clear_faults();
        ensure!(silent.code == 4, "exit {} {}", silent.code, silent.out);
        says(&finding(&silent.json(), "GA105").context("GA105")?, "cannot be used")?;
        for ran in [&with_gitlab, &with_variable, &moved, &silent] {
            ensure!(!ran.out.contains(&token) && !ran.err.contains(&token), "the token is shown");
        }
        person.well()
    })
}

/// What was recorded says the same, and holds neither the person's token nor the cluster's.
#[test]
fn a_recording_with_gitlab_says_the_same_and_holds_no_token() -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        person.well()?;
        let file = world.dir().join("with-gitlab.json");
        let live = run(person.command("verify").args(["-o", "json", "--record"]).arg(&file));
        let text = fs::read_to_string(&file)?;
        let tokens = world.tokens();
        let own = fs::read_to_string(&person.token)?;
        for secret in [&own, &tokens.agent, &tokens.fleet, &tokens.person, &tokens.example] {
            ensure!(
                !text.contains(secret.as_str()) && !live.out.contains(secret.as_str()),
                "a token is recorded"
            );
        }
        let again = run(command("verify").args(["-o", "json", "--from"]).arg(&file));
        ensure!(with_verdict(&again.json(), "pass") == with_verdict(&live.json(), "pass"), "{}", again.out);
        Ok(())
    })
}
