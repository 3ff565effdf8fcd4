//! The pipelines, which nobody runs before a release: their form, what they may do, and that they build every platform.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use gitlab_agent_release::target::{TARGETS, Target};
use gitlab_agent_tests::programs::root;
use gitlab_agent_tests::world::COMPLETE;
use gitlab_agent_tests::world::components::{GoMissing, actionlint};
use serde_json::{Map, Value};

const WORKFLOWS: [&str; 2] = ["ci.yml", "release.yml"];

fn folder() -> PathBuf {
    root().join(".github/workflows")
}

fn workflow(name: &str) -> Value {
    let text = fs::read_to_string(folder().join(name)).expect("a workflow");
    // Expressions such as secrets.X would be keys that somebody has to keep.
    assert!(!text.contains("secrets."), "{name} uses a secret");
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn map<'v>(value: &'v Value, what: &str) -> &'v Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("{what} is no map: {value}"))
}

/// Every command of a job, one after another.
fn commands(job: &Value) -> String {
    let steps = job["steps"].as_array().expect("steps");
    steps.iter().filter_map(|s| s["run"].as_str()).collect::<Vec<_>>().join("\n")
}

/// actionlint knows the form that GitHub asks for, its expressions and its runners.
#[test]
fn actionlint_finds_nothing() -> Result<()> {
    let actionlint = match actionlint() {
        Err(error) if error.is::<GoMissing>() && std::env::var_os(COMPLETE).is_none() => {
            println!("left out: actionlint, because {error}");
            return Ok(());
        }
        built => built?,
    };
    let lint = |file: &Path| {
        let ran =
            Command::new(&actionlint).args(["-no-color", "-shellcheck=", "-pyflakes="]).arg(file).output();
        ran.map(|output| (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
    };
    for name in WORKFLOWS {
        let (clean, said) = lint(&folder().join(name))?;
        ensure!(clean, "{said}");
    }
    // It can fail: a job that waits for one that is not there.
    let broken =
        fs::read_to_string(folder().join("release.yml"))?.replace("needs: [linux, macos]", "needs: [nobody]");
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("release.yml");
    fs::write(&file, broken)?;
    let (clean, said) = lint(&file)?;
    ensure!(!clean && said.contains("nobody"), "{said}");
    Ok(())
}

/// What is no fault to actionlint: what a job may do and how long, whose code it runs, and whether bash reads it.
#[test]
fn workflows_may_do_little_and_run_what_is_pinned() {
    for name in WORKFLOWS {
        let all = workflow(name);
        assert_eq!(
            all["permissions"],
            serde_json::json!({"contents": "read"}),
            "{name}: nothing may be written"
        );
        for (id, job) in map(&all["jobs"], name) {
            let what = format!("{name}: {id}");
            assert!(job["timeout-minutes"].is_u64(), "{what} has no end");
            for step in job["steps"].as_array().expect("steps") {
                if let Some(action) = step["uses"].as_str() {
                    let pin = action.rsplit('@').next().unwrap_or_default();
                    let whole = pin.len() == 40 && pin.bytes().all(|b| b.is_ascii_hexdigit());
                    assert!(whole, "{what}: {action} is pinned by no commit");
                }
                let bash = step["run"].as_str().unwrap_or("true");
                let checked = Command::new("bash").args(["-n", "-c", bash]).status();
                assert!(checked.is_ok_and(|s| s.success()), "{what}: bash does not read {bash}");
            }
        }
    }
}

#[test]
fn a_release_builds_every_platform_once_where_it_can_be_linked() {
    let release = workflow("release.yml");
    let mut built = BTreeSet::new();
    for (id, job) in map(&release["jobs"], "jobs") {
        for word in commands(job).split("--target ").skip(1) {
            let target = Target::named(word.split_whitespace().next().unwrap_or_default()).expect("a target");
            let mac = job["runs-on"].as_str().is_some_and(|r| r.starts_with("macos"));
            assert_eq!(target.os == "darwin", mac, "{target} in job {id}");
            assert!(built.insert(target.to_string()), "{target} is built twice");
        }
    }
    assert_eq!(built, TARGETS.iter().map(ToString::to_string).collect());
    let publish = &release["jobs"]["publish"];
    let told = commands(publish);
    for words in
        ["manifests --complete --tag", "cosign sign-blob", "gh release create", "--draft", "--verify-tag"]
    {
        assert!(told.contains(words), "a release is published without `{words}`");
    }
    let needed: BTreeSet<_> =
        publish["needs"].as_array().expect("needs").iter().filter_map(Value::as_str).collect();
    assert_eq!(needed, BTreeSet::from(["linux", "macos"]));
    let expressions = told.contains("${{");
    assert!(!expressions, "what a tag is called must not become part of a command: use variables");
}
