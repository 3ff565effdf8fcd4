//! The pipelines, which nobody runs before a release: their form, what they may do, and that they build every platform.

use std::collections::BTreeSet;
use std::fs;

use gitlab_agent_release::target::{TARGETS, Target};
use gitlab_agent_tests::programs::root;
use serde_json::{Map, Value};

fn workflow(name: &str) -> Value {
    let text = fs::read_to_string(root().join(".github/workflows").join(name)).expect("a workflow");
    // Expressions such as secrets.X would be keys that somebody has to keep.
    assert!(!text.contains("secrets."), "{name} uses a secret");
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn map<'v>(value: &'v Value, what: &str) -> &'v Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("{what} is no map: {value}"))
}

fn keys_are_known(of: &Map<String, Value>, known: &[&str], what: &str) {
    for key in of.keys() {
        assert!(known.contains(&key.as_str()), "{what}: unknown key {key}");
    }
}

/// Every command of a job, one after another.
fn commands(job: &Value) -> String {
    let steps = job["steps"].as_array().expect("steps");
    steps.iter().filter_map(|s| s["run"].as_str()).collect::<Vec<_>>().join("\n")
}

#[test]
fn workflows_have_the_form_that_github_asks_for() {
    for name in ["ci.yml", "release.yml"] {
        let all = workflow(name);
        keys_are_known(map(&all, name), &["name", "on", "permissions", "jobs"], name);
        assert_eq!(
            all["permissions"],
            serde_json::json!({"contents": "read"}),
            "{name}: nothing may be written"
        );
        let jobs = map(&all["jobs"], name);
        for (id, job) in jobs {
            let what = format!("{name}: {id}");
            let known = ["runs-on", "timeout-minutes", "needs", "permissions", "env", "steps"];
            keys_are_known(map(job, &what), &known, &what);
            assert!(job["runs-on"].is_string() && job["timeout-minutes"].is_u64(), "{what}");
            for need in job["needs"].as_array().into_iter().flatten() {
                assert!(jobs.contains_key(need.as_str().unwrap_or_default()), "{what} needs {need}");
            }
            for step in job["steps"].as_array().expect("steps") {
                keys_are_known(map(step, &what), &["uses", "run", "with", "name"], &what);
                assert!(step["uses"].is_string() != step["run"].is_string(), "{what}: {step}");
                if let Some(action) = step["uses"].as_str() {
                    let pin = action.rsplit('@').next().unwrap_or_default();
                    let whole = pin.len() == 40 && pin.bytes().all(|b| b.is_ascii_hexdigit());
                    assert!(whole, "{what}: {action} is pinned by no commit");
                }
                let bash = step["run"].as_str().unwrap_or("true");
                let checked = std::process::Command::new("bash").args(["-n", "-c", bash]).status();
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
