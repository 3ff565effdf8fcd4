//! The recorded errors of connections to kas are those that agentk's libraries make now. What each of them means is tested
//! in the core, without Go.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use gitlab_agent_tests::programs::root;
use gitlab_agent_tests::world::COMPLETE;
use gitlab_agent_tests::world::components::{GoMissing, kas_errors};

fn fixture() -> PathBuf {
    root().join("tests/world/components/kas-errors/errors.jsonl")
}

#[test]
fn the_recorded_errors_are_those_that_the_libraries_make() -> Result<()> {
    let program = match kas_errors() {
        Err(error) if error.is::<GoMissing>() && std::env::var_os(COMPLETE).is_none() => {
            println!("left out: the errors of connections to kas, because {error}");
            return Ok(());
        }
        built => built?,
    };
    let ran = Command::new(program).output()?;
    ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let made = String::from_utf8(ran.stdout)?;
    if std::env::var_os("UPDATE").is_some() {
        fs::write(fixture(), &made)?;
    }
    let recorded = fs::read_to_string(fixture())?;
    for (made, recorded) in made.lines().zip(recorded.lines()) {
        ensure!(made == recorded, "recorded:\n{recorded}\nmade now:\n{made}");
    }
    ensure!(
        made.lines().count() == recorded.lines().count(),
        "there are more, or fewer, situations than recorded"
    );
    ensure!(made.lines().count() >= 30, "too few situations");
    Ok(())
}
