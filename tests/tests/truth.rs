//! Truths about the code base: the invariants of docs/architecture.md that no compiler holds.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gitlab_agent_core::assess::CHECKS;
use gitlab_agent_tests::programs::root;

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").map(|e| e.expect("an entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.to_string_lossy().ends_with(ending) {
                found.push(entry);
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<PathBuf> {
    ["shared", "plugins", "tests/src", "tests/tests"]
        .iter()
        .flat_map(|d| files(&root().join(d), ".rs"))
        .collect()
}

/// Stages of the core only look left: each may use those before it, `object`, `text` and `need`.
#[test]
fn stages_look_left() {
    const ORDER: [&str; 8] = ["snapshot", "facts", "assess", "report", "plan", "rotate", "status", "render"];
    let core = root().join("shared/core/src");
    for (at, stage) in ORDER.iter().enumerate() {
        let own = [core.join(format!("{stage}.rs")), core.join(stage)];
        let own = own
            .iter()
            .filter(|p| p.exists())
            .flat_map(|p| if p.is_dir() { files(p, ".rs") } else { vec![p.clone()] });
        for file in own {
            let text = fs::read_to_string(&file).expect("a file");
            for later in &ORDER[at + 1..] {
                assert!(!text.contains(&format!("crate::{later}")), "{} looks at {later}", file.display());
            }
        }
    }
}

/// What no crate below the core may bring in: it has no clock, no network, no runtime, no terminal.
#[test]
fn the_core_touches_nothing() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "-p",
            "gitlab-agent-core",
            "-e",
            "normal",
            "--prefix",
            "none",
            "-f",
            "{p}",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
    assert!(tree.contains("gitlab-agent-core"), "{tree}");
    for banned in ["kube ", "tokio ", "hyper ", "clap ", "reqwest ", "getrandom "] {
        assert!(!tree.lines().any(|l| l.starts_with(banned)), "the core depends on {banned}");
    }
    for file in files(&root().join("shared/core/src"), ".rs") {
        let text = fs::read_to_string(&file).expect("a file");
        for banned in
            ["std::fs", "std::env", "std::net", "std::process", "Timestamp::now", "SystemTime", "Instant"]
        {
            assert!(!text.contains(banned), "{} uses {banned}", file.display());
        }
    }
}

#[test]
fn every_check_has_its_file_and_its_page() {
    let names = |dir: &str, ending: &str| -> BTreeSet<String> {
        let stem = |p: PathBuf| p.file_stem().map(|s| s.to_string_lossy().to_lowercase()).unwrap_or_default();
        files(&root().join(dir), ending).into_iter().map(stem).filter(|n| n.starts_with("ga")).collect()
    };
    let codes: BTreeSet<String> = CHECKS.iter().map(|c| c.id().to_lowercase()).collect();
    assert_eq!(names("shared/core/src/assess", ".rs"), codes, "files and registry");
    assert_eq!(names("docs/checks", ".md"), codes, "pages and registry");
}

/// Each check is seen failing in the test world: a file of its tests names it. (That one names it is no proof that it
/// fails there; that none does is proof that it was forgotten.)
#[test]
fn every_check_has_its_case_in_the_world() {
    let mut worlds = files(&root().join("tests/tests/broken"), ".rs");
    for name in ["scenarios", "checks_early", "checks_late", "gitlab_checks"] {
        worlds.push(root().join(format!("tests/tests/{name}.rs")));
    }
    let all: String = worlds.iter().map(|f| fs::read_to_string(f).expect("a file")).collect();
    for check in CHECKS {
        assert!(all.contains(&check.id()), "{} has no case in the test world", check.id());
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for file in sources() {
        let text = fs::read_to_string(&file).expect("a file");
        assert!(text.starts_with("//! "), "{}: the first line says what it is for", file.display());
        assert_ne!(file.file_stem().and_then(|s| s.to_str()), Some("util"), "{}", file.display());
    }
}

#[test]
fn a_plugin_is_one_thin_file() {
    for plugin in fs::read_dir(root().join("plugins")).expect("a folder").map(|e| e.expect("an entry").path())
    {
        let own = files(&plugin, ".rs");
        assert_eq!(own, [plugin.join("src/main.rs")], "{}", plugin.display());
        assert!(fs::read_to_string(&own[0]).expect("a file").lines().count() <= 120, "{}", plugin.display());
    }
}

/// The documents name only checks that exist, and link only to files that exist.
#[test]
fn documents_point_at_what_is_there() {
    let mut documents = files(&root().join("docs"), ".md");
    documents.extend(["README.md", "CHANGELOG.md", "tests/world/README.md"].map(|f| root().join(f)));
    for file in documents {
        let text = fs::read_to_string(&file).expect("a file");
        for part in text.split("](").skip(1) {
            let target = part.split([')', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") {
                let target = file.parent().expect("a folder").join(target);
                assert!(target.exists(), "{} links to {}", file.display(), target.display());
            }
        }
    }
}

/// docs/checks.md is made from the registry: `UPDATE=1 cargo test -p gitlab-agent-tests --test truth`.
#[test]
fn the_catalogue_is_current() {
    let mut text = String::from(
        "# Checks\n\nMade from the registry of checks; each code links to its page, which `kubectl gitlab-agent verify \
         --explain CODE` prints.\n",
    );
    let mut area = None;
    for check in CHECKS {
        if area != Some(check.area()) {
            area = Some(check.area());
            text.push_str(&format!(
                "\n## {}\n\n| code | severity | name | what should hold |\n|---|---|---|---|\n",
                check.area().title()
            ));
        }
        let severity = format!("{:?}", check.severity).to_lowercase();
        text.push_str(&format!(
            "| [{0}](checks/{0}.md) | {severity} | {1} | {2} |\n",
            check.id(),
            check.slug,
            check.title
        ));
    }
    let file = root().join("docs/checks.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, &text).expect("writes");
    }
    assert_eq!(fs::read_to_string(&file).unwrap_or_default(), text, "run with UPDATE=1");
}

/// The screens in the README are the goldens, and its two commands are the ones that work.
#[test]
fn the_readme_shows_real_screens() {
    let readme = fs::read_to_string(root().join("README.md")).expect("a README");
    for golden in ["verify.table", "status.table"] {
        let screen = fs::read_to_string(root().join("tests/goldens").join(golden)).expect("a golden");
        assert!(readme.contains(&screen), "README.md shows another screen than tests/goldens/{golden}");
    }
    assert!(readme.contains("--from tests/recordings/revoked-token.json"));
}
