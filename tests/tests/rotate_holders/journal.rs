//! The journal is data that lies where others write: it may be older than the Secret, of another one, or changed.

use anyhow::{Context as _, Result, ensure};
use gitlab_agent_tests::programs::Ran;
use gitlab_agent_tests::rotation::running::Running;
use gitlab_agent_tests::rotation::stage::{Stage, watched};
use gitlab_agent_tests::world::World;
use gitlab_agent_tests::world::gitlab::AGENT_ID;
use serde_json::Value;

/// What was said, which is wrapped at the width.
fn words(ran: &Ran) -> String {
    format!("{} {}", ran.out, ran.err).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A journal of before comes back after the rotation has ended, alone or with the whole Secret: what is in use bears the name of
/// that very rotation.
#[test]
fn a_journal_that_a_backup_brought_back_revokes_nothing() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        let old = stage.held()?;
        let mut running = Running::start(&mut stage.prepared(&["--yes"]))?;
        running.until("write", 2)?;
        let written = stage.journal()?;
        let (code, seen) = running.ended()?;
        ensure!(code == Some(0), "{seen}");
        let new = stage.held()?;
        // Of the last stage: there is nothing left to revoke.
        stage.bring_back(Some(&written), None)?;
        let ran = stage.rotate(&["--resume"]);
        ensure!(ran.code == 0 && stage.active() == [new.clone()], "{ran:?}");
        let mut first = written;
        first["stage"] = "create".into();
        for key in ["newToken", "newFingerprint", "newMark"] {
            first[key] = Value::Null;
        }
        for how in ["--rollback", "--resume"] {
            watched(&stage, || {
                stage.bring_back(Some(&first), None)?;
                let ran = stage.rotate(&[how]);
                ensure!(
                    ran.code == 6 && words(&ran).contains("Somebody else gave the Secret"),
                    "{how}: {ran:?}"
                );
                ensure!(stage.active() == [new.clone()] && stage.held()? == new, "{how}: {ran:?}");
                stage.is_clean()
            })?;
            // With the whole Secret, whose value is dead.
            stage.bring_back(Some(&first), Some(&old))?;
            let ran = stage.rotate(&[how]);
            ensure!(
                ran.code == 7 && words(&ran).contains("bears the name of this rotation"),
                "{how}: {ran:?}"
            );
            ensure!(stage.active() == [new.clone()], "{how}: {ran:?}");
            stage.bring_back(None, Some(&new))?;
        }
        stage.is_clean()
    })
}

/// Of another GitLab, agent or Secret, or with what it says exchanged: nothing is revoked, and it is said what is where.
#[test]
fn a_journal_of_elsewhere_or_changed_revokes_nothing() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        stage.killed_after("verify", 1, &["--yes"])?;
        let before = stage.journal()?;
        let with = |changes: &[(&str, Value)]| {
            let mut journal = before.clone();
            changes.iter().for_each(|(key, value)| journal[*key] = value.clone());
            journal
        };
        for (changed, code, word) in [
            (with(&[("uid", "another".into())]), 5, "another Secret"),
            (with(&[("uid", "".into())]), 5, "another Secret"),
            (with(&[("host", Value::Null)]), 5, "another GitLab"),
            (with(&[("host", "https://staging.example.com".into())]), 5, "staging.example.com"),
            (with(&[("place", "projects/1/cluster_agents/99".into())]), 5, "another place"),
            (with(&[("place", "".into())]), 5, "another place"),
            (with(&[("kind", "deployToken".into())]), 5, "another kind"),
            (with(&[("family", "first".into())]), 5, "another kind"),
            (with(&[("id", "production".into())]), 7, "somebody changed the journal"),
            (
                with(&[
                    ("oldFingerprint", before["newFingerprint"].clone()),
                    ("newFingerprint", before["oldFingerprint"].clone()),
                ]),
                7,
                "is not what the journal says",
            ),
            (
                with(&[("oldToken", before["newToken"].clone()), ("newToken", before["oldToken"].clone())]),
                7,
                "somebody changed the journal",
            ),
        ] {
            for how in ["--resume", "--rollback"] {
                stage.bring_back(Some(&changed), None)?;
                let ran = stage.rotate(&[how]);
                ensure!(ran.code == code && words(&ran).contains(word), "{how} {changed}: {ran:?}");
                ensure!(stage.active().len() == 2, "{how} {changed}: {ran:?}");
            }
        }
        stage.bring_back(Some(&before), None)?;
        let ran = stage.rotate(&["--resume"]);
        ensure!(ran.code == 0, "{ran:?}");
        stage.is_clean()
    })
}

/// `kubectl replace --force`, or a store that makes it again: nothing is revoked, and what is left can be ended.
#[test]
fn a_secret_that_is_made_again_meanwhile_stops_it_before_the_revoke() -> Result<()> {
    World::with(|world| {
        for (new_value, how) in [(false, "--rollback"), (true, "--resume")] {
            let stage = Stage::new(world)?;
            let old = stage.held()?;
            let mut running = Running::start(&mut stage.prepared(&["--yes"]))?;
            running.until("write", 2)?;
            let value = if new_value { stage.held()? } else { old };
            stage.make_again(&value)?;
            let (ended, seen) = running.ended()?;
            ensure!(
                ended == Some(7) && seen.contains("made again meanwhile") && seen.contains(how),
                "{ended:?} {seen}"
            );
            ensure!(stage.active().len() == 2, "both work: {seen}");
            let ran = stage.rotate(&[how]);
            ensure!(ran.code == 0 && stage.held()? == value, "{ran:?}");
            let named = stage.secret()?["metadata"]["annotations"]["gitlab.com/agent-token-id"].clone();
            let id = world
                .gitlab()
                .agent_tokens(AGENT_ID)
                .into_iter()
                .find(|t| t.value == value)
                .context("a token")?
                .id;
            ensure!(
                named.as_str() == Some(id.to_string().as_str()),
                "it names the token that it holds: {named}"
            );
            stage.kubectl(&["delete", "secret", "-l", "app.kubernetes.io/managed-by=gitlab-agent-cli"])?;
            stage.is_clean()?;
        }
        Ok(())
    })
}

/// Killed, and the Secret made again: no journal tells of the new token, so its name has to.
#[test]
fn a_token_that_no_journal_knows_is_named() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        let old = stage.held()?;
        stage.killed_after("write", 2, &["--yes"])?;
        stage.make_again(&old)?;
        for how in ["--resume", "--rollback"] {
            let ran = stage.rotate(&[how]);
            ensure!(ran.code == 5 && words(&ran).contains("kubectl-gitlab-agent-"), "{how}: {ran:?}");
            ensure!(stage.active().len() == 2, "{ran:?}");
        }
        world.gitlab().revoke_agent_tokens_but(&old);
        let ran = stage.rotate(&["--resume"]);
        ensure!(ran.code == 0 && words(&ran).contains("nothing to do"), "{ran:?}");
        stage.kubectl(&["delete", "secret", "-l", "app.kubernetes.io/managed-by=gitlab-agent-cli"])?;
        Ok(())
    })
}

/// Whoever was told that both work gave the new value to another cluster.
#[test]
fn a_new_token_that_another_cluster_uses_is_not_taken_back() -> Result<()> {
    World::with(|world| {
        let stage = Stage::new(world)?;
        let gitlab = world.gitlab();
        stage.killed_after("verify", 1, &["--yes"])?;
        let elsewhere = "gitlab-agent-v2-0000000000-other";
        gitlab.connect(AGENT_ID, "gitlab", elsewhere, "v19.2.2");
        let ran = stage.rotate(&["--rollback"]);
        ensure!(ran.code == 7 && words(&ran).contains(elsewhere) && stage.active().len() == 2, "{ran:?}");
        gitlab.disconnect("gitlab", elsewhere);
        let new = gitlab.agent_tokens(AGENT_ID).into_iter().rfind(|t| !t.revoked).context("the new one")?.id;
        let mut running = Running::start(&mut stage.prepared(&["--resume", "--watch-old", "60s"]))?;
        running.until("verify", 1)?;
        gitlab.change_agent_token(new, |token| token.last_used = Some(jiff::Timestamp::now()))?;
        let (code, seen) = running.ended()?;
        ensure!(code == Some(7) && seen.contains("used at"), "{code:?} {seen}");
        let ran = stage.rotate(&["--resume"]);
        ensure!(ran.code == 6, "{ran:?}");
        stage.is_clean()
    })
}
