//! Truths about the code base: the invariants of docs/architecture.md that no compiler holds.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gitlab_agent_core::assess::{CHECKS, Verdict, assess};
use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::fixture;
use gitlab_agent_core::need::{Row, TABLE};
use gitlab_agent_core::snapshot::Snapshot;
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

/// What there has to be of each check: its page, a healthy case, a failing one, an unknown one, and a case in the test
/// world in which the real thing fails.
#[test]
fn every_check_is_proven() {
    let verdict =
        |snapshot: &Snapshot, check| assess(&Facts::derive(snapshot), [check]).remove(0).judgement.verdict();
    let world = world_cases();
    for check in CHECKS.iter().copied() {
        let id = check.id();
        let page = fs::read_to_string(root().join(format!("docs/checks/{id}.md"))).expect("a page");
        assert_eq!(check.page, page, "{id}: its page is compiled in");
        assert_eq!(verdict(&fixture::healthy(), check), Verdict::Pass, "{id}: its healthy case");
        // GA102 has none: it finds what the others do not know.
        let unknown = |row: &Row| {
            let mut snapshot = fixture::healthy();
            fixture::take_away(&mut snapshot, row.need);
            verdict(&snapshot, check) == Verdict::Unknown
        };
        assert!(check.code == 102 || TABLE.iter().any(unknown), "{id}: its unknown case");
        let source = root().join(format!("shared/core/src/assess/{}.rs", id.to_lowercase()));
        let source = fs::read_to_string(source).expect("a file");
        let (_, tests) = source.split_once("#[cfg(test)]").unwrap_or_default();
        let fails = ["finding(&CHECK", "controller_cases(&CHECK"].iter().any(|call| tests.contains(call));
        assert!(fails, "{id}: its failing case, a test that expects a finding");
        assert!(expects(&world, &id), "{id}: no test of the world waits for it to be found");
    }
}

/// The tests that break the test world and look at what `verify` finds.
fn world_cases() -> String {
    let mut worlds = files(&root().join("tests/tests/broken"), ".rs");
    worlds.extend(
        ["scenarios", "checks_early", "checks_late", "gitlab_checks"]
            .map(|name| root().join(format!("tests/tests/{name}.rs"))),
    );
    worlds.iter().map(|f| fs::read_to_string(f).expect("a file")).collect()
}

/// Whether a code stands where those tests say what has to be found, and not only in a list of what is unknown, in what
/// has to pass again, or in a comment.
fn expects(tests: &str, id: &str) -> bool {
    /// What stands before the bracket that a found code is in. In `broken`, a cause is a pair: nothing stands before it.
    const CALLS: [&str; 9] =
        ["found", "finds", "finds_in", "finding", "leads_with", "under", "also", "Some", ""];
    tests.match_indices(&format!("\"{id}\"")).any(|(at, _)| {
        let line = tests[..at].rsplit('\n').next().unwrap_or_default();
        let Some((before, between)) = open_bracket(line) else { return false };
        let call = before.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        let compared = between.ends_with("f[\"code\"] == ") || between.contains("codes == [");
        compared || (CALLS.contains(&call) && !between.contains("=="))
    })
}

/// A line's start before and behind the last bracket that is still open at its end.
fn open_bracket(line: &str) -> Option<(&str, &str)> {
    let mut closed = 0;
    for (at, c) in line.char_indices().rev() {
        match c {
            ')' => closed += 1,
            '(' if closed == 0 => return Some((&line[..at], &line[at + 1..])),
            '(' => closed -= 1,
            _ => {}
        }
    }
    None
}

#[test]
fn a_code_counts_only_where_it_has_to_be_found() {
    let expecting = [
        "found(world, \"GA999\", name)",
        "let f = person.finds(\"GA999\")?;",
        "finding(&ran.json(), \"GA999\")",
        "ran.first_problem() == Some(\"GA999\")",
        "    (\"GA999\", TOKEN),",
        ".under(&[\"GA100\", \"GA999\"])",
        "ensure!(codes == [\"GA100\", \"GA999\"], x)",
        "find(|f| f[\"code\"] == \"GA999\")",
    ];
    for line in expecting {
        assert!(expects(line, "GA999"), "{line}");
    }
    let other = [
        "passes(world, \"GA999\")",
        "const OF_GITLAB: [&str; 1] = [\"GA999\"];",
        "// GA999 says so",
        "verdict(\"GA999\") == \"unknown\"",
        "unknown.contains(&\"GA999\".to_owned())",
        "with_verdict(&json, \"unknown\") == [\"GA999\"]",
        "let check = c[\"code\"] != \"GA999\";",
    ];
    for line in other {
        assert!(!expects(line, "GA999"), "{line}");
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

/// The code of a file without its tests.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("a file");
    text.split("#[cfg(test)]")
        .next()
        .unwrap_or_default()
        .split("#[cfg(all(test")
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Whoever writes past these doors would print what is hostile, hide a full disk, or leave half a file.
#[test]
fn text_and_files_leave_through_one_door_each() {
    let doors = [
        ("cli/streams.rs", vec!["io::stderr()", "io::stdout()", "print!(", "println!("]),
        ("file.rs", vec!["fs::write(", "File::create", "fs::rename(", "create_new("]),
        // What is read has a bound.
        ("file.rs", vec!["fs::read(", "read_to_string(", ".read_to_end("]),
    ];
    let live = root().join("shared/live/src");
    for file in files(&live, ".rs").into_iter().chain(files(&root().join("plugins"), ".rs")) {
        for (door, ways) in &doors {
            // A value that nothing may replace is written to a new file of the person alone.
            let manifest = file.ends_with("rotate/manifest.rs");
            // A pipe of a program, with its own bound.
            let plugin = file.ends_with("src/program.rs");
            let excepted =
                |way: &str| (manifest && way == "create_new(") || (plugin && way == ".read_to_end(");
            for way in ways.iter().filter(|way| !excepted(way)) {
                let past = code(&file).contains(way) && file != live.join(door);
                assert!(!past, "{}: {way} is for {door} alone", file.display());
            }
        }
    }
}

/// What a recording holds is told in its page, field by field.
#[test]
fn every_field_of_a_recording_is_in_its_page() {
    let read = |file: &str| fs::read_to_string(root().join(file)).expect(file);
    let source = read("shared/core/src/snapshot/mod.rs");
    let fields = source.split("pub struct Snapshot {").nth(1).and_then(|rest| rest.split("\n}").next());
    let page = read("docs/snapshot.md");
    let mut found = 0;
    let mut skipped = false;
    for line in fields.expect("the struct").lines().map(str::trim) {
        if let Some((name, _)) = line.strip_prefix("pub ").and_then(|field| field.split_once(':')) {
            let mut words = name.split('_');
            let first = words.next().unwrap_or_default().to_owned();
            let field = words.fold(first, |all, word| all + &word[..1].to_uppercase() + &word[1..]);
            assert!(
                skipped || page.contains(&format!("`{field}`")),
                "docs/snapshot.md does not name {field}"
            );
            (found, skipped) = (found + 1, false);
        }
        skipped |= line == "#[serde(skip)]";
    }
    assert!(found > 30, "{found} fields");
}
