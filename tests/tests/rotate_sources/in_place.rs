//! A person's token, which GitLab puts another in the place of: asked once for each token, and never without a way on.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use gitlab_agent_tests::canary::hides;
use gitlab_agent_tests::programs::run;
use gitlab_agent_tests::rotation::SOON;
use gitlab_agent_tests::rotation::person::{APP, Person, SOURCE};
use gitlab_agent_tests::rotation::running::Running;
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::gitlab::{Fault, in_days};
use serde_json::json;

const NAME: &str = "flux-of-dana";
const RENEW: &str = "POST /api/v4/personal_access_tokens/*/rotate";

/// The world with a person's token in the Secret of a source; what was there comes back at the end.
pub(super) fn with_persons_token(test: impl FnOnce(&Person<'_>, &str) -> Result<()>) -> Result<()> {
    World::with(|world| {
        let person = Person::new(world)?;
        let (user, before) = (person.held(APP, "username")?, person.held(APP, "password")?);
        let gitlab = world.gitlab();
        let mine = gitlab.new_personal_token(gitlab.person(), NAME, &["read_repository"], in_days(30))?.value;
        person.write(APP, json!({"username": "dana", "password": mine}))?;
        gitlab.clear_requests();
        let done = test(&person, &mine);
        person.write(APP, json!({"username": user, "password": before}))?;
        for token in gitlab.access_tokens().into_iter().filter(|t| t.name == NAME) {
            gitlab.revoke(&token.value)?;
        }
        done
    })
}

/// GitLab was asked to renew each token once at the most.
fn never_twice(world: &World) -> Result<()> {
    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    for request in
        world.gitlab().requests().iter().filter(|r| r.method == "POST" && r.path.ends_with("/rotate"))
    {
        *asked.entry(request.path.clone()).or_default() += 1;
    }
    ensure!(!asked.is_empty() && asked.values().all(|n| *n == 1), "{asked:?}");
    Ok(())
}

pub(super) const ROTATE: [&str; 4] = ["source", SOURCE, "--in-place", NAME];

#[test]
fn a_persons_token_is_renewed_by_its_owner() -> Result<()> {
    with_persons_token(|person, old| {
        let wrong = ["source", SOURCE, "--yes", "--in-place", "another"];
        person.refuses(&mut person.prepared(&wrong), 5, APP, &["not named another"])?;
        person.refuses(
            person.prepared(&[&ROTATE[..], &["--yes"]].concat()).env("GITLAB_TOKEN", old),
            5,
            APP,
            &["needs the scope api"],
        )?;
        person.world.gitlab().clear_requests();
        let ran = person.rotate(&[&ROTATE[..], &["--yes", "-o", "json", "-v"]].concat());
        ensure!(ran.code == 0 && ran.json()["verdict"] == "rotated", "{ran:?}");
        let new = person.held(APP, "password")?;
        ensure!(new != old && person.is_active(&new) && !person.is_active(old), "one for one");
        ensure!(person.held(APP, "username")? == "dana", "the user name stays");
        let all = person.world.gitlab().access_tokens();
        let made = all.iter().find(|t| t.value == new).context("a token")?;
        // Without an end of ours GitLab would give it a week.
        ensure!(made.expires > in_days(20), "{made:?}");
        hides(&format!("{}{}", ran.out, ran.err), &[new, old.to_owned()])?;
        never_twice(person.world)?;
        person.is_clean(APP)
    })
}

#[test]
fn a_renewal_whose_answer_is_lost_or_that_is_killed_goes_on() -> Result<()> {
    with_persons_token(|person, _| {
        for fault in [Fault::LostAnswer, Fault::Garbage] {
            person.world.gitlab().fault(RENEW, fault.clone(), 1);
            let ran = person.rotate(&[&ROTATE[..], &["--yes", "-o", "json"]].concat());
            ensure!(ran.code == 0 && person.is_active(&person.held(APP, "password")?), "{fault:?}: {ran:?}");
        }
        let mut running = Running::start(&mut person.prepared(&[&ROTATE[..], &["--yes"]].concat()))?;
        running.until("create", 1)?;
        running.child.kill()?;
        running.child.wait()?;
        let ran = person.rotate(&["source", SOURCE, "--resume"]);
        ensure!(
            ran.code == 5 && ran.err.contains("--in-place"),
            "a token of yours is renewed on your word: {ran:?}"
        );
        let ran = person.rotate(&[&ROTATE[..], &["--resume", "-o", "json"]].concat());
        ensure!(ran.code == 0 && person.is_active(&person.held(APP, "password")?), "{ran:?}");
        never_twice(person.world)?;

        // A clear no: nothing was changed.
        let before = person.held(APP, "password")?;
        person.world.gitlab().fault(
            RENEW,
            Fault::Status(403, r#"{"message":"403 Forbidden"}"#.to_owned()),
            1,
        );
        let ran = person.rotate(&[&ROTATE[..], &["--yes", "-o", "json"]].concat());
        ensure!(ran.code == 6 && ran.json()["verdict"] == "undone" && person.is_active(&before), "{ran:?}");
        person.is_clean(APP)
    })
}

/// The API server takes every change but the one that brings the new value.
const NO_WRITE: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: { name: no-write }
spec:
  matchConstraints:
    resourceRules:
    - { apiGroups: [""], apiVersions: ["v1"], operations: ["UPDATE"], resources: ["secrets"] }
  validations:
  - expression: >-
      !has(object.metadata.annotations) || !('cli.gitlab-agent.dev/rotation' in object.metadata.annotations) ||
      !object.metadata.annotations['cli.gitlab-agent.dev/rotation'].contains('"stage":"written"')
    message: nobody writes here today
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: { name: no-write }
spec: { policyName: no-write, validationActions: [Deny] }
"#;

#[test]
fn a_value_that_cannot_be_written_is_not_lost() -> Result<()> {
    with_persons_token(|person, old| {
        let dir = tempfile::tempdir()?;
        person.world.apply(NO_WRITE)?;
        let refused =
            json!({"metadata": {"annotations": {"cli.gitlab-agent.dev/rotation": r#"{"stage":"written"}"#}}});
        person.world.wait_until("the policy to hold", SOON, || {
            let patch = refused.to_string();
            let args = [
                "-n",
                "flux-system",
                "patch",
                "secret",
                APP,
                "--dry-run=server",
                "--type=merge",
                "-p",
                &patch,
            ];
            Ok(person.world.kubectl(&args).is_err().then_some(()))
        })?;
        let mut command = person.prepared(&[&ROTATE[..], &["--yes"]].concat());
        let ran = run(command.current_dir(dir.path()));
        let policy = ["validatingadmissionpolicy/no-write", "validatingadmissionpolicybinding/no-write"];
        person.world.kubectl(&[&["delete"], &policy[..]].concat())?;
        let text = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
        ensure!(ran.code == 7 && text.contains("THE NEW TOKEN IS IN NOTHING BUT THE FILE"), "{ran:?}");
        ensure!(
            !person.is_active(old) && person.held(APP, "password")? == old,
            "the old one is dead, and still there"
        );
        let file = std::fs::read_dir(dir.path())?.next().context("a file")??.path();
        let text = std::fs::read_to_string(&file)?;
        let all = person.world.gitlab().access_tokens();
        let living = all.iter().find(|t| t.name == NAME && t.is_active()).context("a living token")?;
        ensure!(text.contains(&living.value), "the file holds what lives");
        hides(&format!("{}{}", ran.out, ran.err), std::slice::from_ref(&living.value))?;
        {
            use std::os::unix::fs::PermissionsExt as _;
            ensure!(
                std::fs::metadata(&file)?.permissions().mode() & 0o777 == 0o600,
                "readable by its owner alone"
            );
        }
        person
            .world
            .kubectl_with_input(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &text)?;
        let ran = person.rotate(&[&ROTATE[..], &["--rollback"]].concat());
        ensure!(ran.code == 6 && person.held(APP, "password")? == living.value, "{ran:?}");
        person.is_clean(APP)
    })
}
