//! What the documents say can be done is done: every command line in a fenced block of a shell is run on recordings, or
//! says why not. And the site is whole: every page is in its table of contents, every link stays inside.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gitlab_agent_release::layout::EXAMPLE;
use gitlab_agent_tests::programs::{folder, root, run};

fn documents() -> Vec<PathBuf> {
    let mut found =
        vec![root().join("README.md"), root().join("tests/world/README.md"), root().join("krew/README.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()) {
            if path.is_dir() && !path.ends_with("docs/book") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A block of shell commands, with what the comment above it says.
#[derive(Debug, PartialEq)]
struct Block {
    remark: String,
    script: String,
}

/// The blocks of shells. In `console` blocks the lines behind `$` are typed, the others are answers.
fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    let mut above = "";
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            above = if line.trim().is_empty() { above } else { line };
            continue;
        };
        let body: Vec<&str> = lines.by_ref().take_while(|l| !l.starts_with("```")).collect();
        let typed: Vec<&str> = match kind {
            "sh" | "bash" | "shell" => body,
            "console" => body.iter().filter_map(|l| l.strip_prefix("$ ")).collect(),
            _ => Vec::new(),
        };
        let remark = above.strip_prefix("<!-- ").and_then(|r| r.strip_suffix(" -->")).unwrap_or_default();
        if !typed.is_empty() {
            found.push(Block { remark: remark.to_owned(), script: typed.join("\n") });
        }
        above = "";
    }
    found
}

/// Lines outside of blocks that look typed: code by indentation is not run, so it must not be used for commands.
fn loose(text: &str) -> Vec<&str> {
    let typed = |l: &&str| {
        ["kubectl ", "flux ", "cargo "]
            .iter()
            .any(|p| l.strip_prefix("    ").is_some_and(|l| l.starts_with(p)))
    };
    let mut inside = false;
    let lines = text.lines().filter(|line| {
        inside ^= line.starts_with("```");
        !inside
    });
    lines.filter(typed).collect()
}

/// A folder in which `kubectl gitlab-agent` works without kubectl, and the example lies where an archive has it.
fn stage() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let kubectl = dir.path().join("kubectl");
    fs::write(
        &kubectl,
        "#!/bin/sh\ntest \"$1\" = gitlab-agent && shift && exec kubectl-gitlab_agent \"$@\"\n",
    )
    .expect("writes");
    fs::set_permissions(&kubectl, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    let example = dir.path().join(EXAMPLE);
    fs::create_dir_all(example.parent().expect("a folder")).expect("a folder");
    fs::copy(root().join("tests/recordings/revoked-token.json"), example).expect("copies");
    let recordings = dir.path().join("tests/recordings");
    fs::create_dir_all(recordings.parent().expect("a folder")).expect("a folder");
    std::os::unix::fs::symlink(root().join("tests/recordings").canonicalize().expect("a path"), recordings)
        .expect("links");
    dir
}

#[test]
fn every_command_in_the_documents_is_run_or_says_why_not() {
    let search = std::env::var_os("PATH").unwrap_or_default();
    let mut ran_any = 0;
    for file in documents() {
        let text = fs::read_to_string(&file).expect("a file");
        let name = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
        assert_eq!(loose(&text), Vec::<&str>::new(), "{name}: put commands into a fenced block of sh");
        for block in blocks(&text) {
            let expected = match block.remark.strip_prefix("ends with ") {
                Some(code) => code.parse().expect("a number"),
                None if block.remark.strip_prefix("not run: ").is_some_and(|why| !why.trim().is_empty()) => {
                    continue;
                }
                None => 0,
            };
            let dir = stage();
            let all = [dir.path().to_path_buf(), folder().to_path_buf()]
                .into_iter()
                .chain(std::env::split_paths(&search));
            let mut bash = Command::new("bash");
            bash.args(["-ec", &block.script]).current_dir(dir.path()).env("HOME", dir.path());
            bash.env("PATH", std::env::join_paths(all).expect("a PATH")).env_remove("KUBECONFIG");
            let ran = run(&mut bash);
            assert_eq!(
                ran.code, expected,
                "{name}: `{}`: {}{}\n(a comment above the block says `ends with N` or `not run: why`)",
                block.script, ran.out, ran.err
            );
            ran_any += 1;
        }
    }
    assert!(ran_any >= 3, "only {ran_any} blocks were run");
}

#[test]
fn blocks_are_found_with_their_remarks() {
    let text = "a\n<!-- ends with 1 -->\n```sh\none\ntwo\n```\n\n```console\n$ three\nanswer\n```\n```text\nno\n```\n";
    let expected = [("ends with 1", "one\ntwo"), ("", "three")];
    let expected = expected.map(|(r, s)| Block { remark: r.to_owned(), script: s.to_owned() });
    assert_eq!(blocks(text), expected);
    assert_eq!(loose("```sh\n    cargo x\n```\n    cargo y\n"), ["    cargo y"]);
}

/// The table of contents lists every page once, and nothing else. `UPDATE=1` writes the lines of the checks.
#[test]
fn the_table_of_contents_is_whole() {
    let docs = root().join("docs");
    let file = docs.join("SUMMARY.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, with_checks(&fs::read_to_string(&file).expect("a file"))).expect("writes");
    }
    let summary = fs::read_to_string(&file).expect("a table of contents");
    let listed: Vec<&str> = summary.split("](").skip(1).filter_map(|part| part.split(')').next()).collect();
    let unique: BTreeSet<&str> = listed.iter().copied().collect();
    assert_eq!(unique.len(), listed.len(), "a page is listed twice");
    let pages = documents();
    let pages: BTreeSet<String> =
        pages.iter().filter_map(|p| Some(p.strip_prefix(&docs).ok()?.to_str()?.to_owned())).collect();
    let missing: Vec<&String> =
        pages.iter().filter(|p| *p != "SUMMARY.md" && !unique.contains(p.as_str())).collect();
    assert!(missing.is_empty(), "docs/SUMMARY.md does not list {missing:?} (UPDATE=1 adds those of checks)");
    let gone: Vec<&&str> = unique.iter().filter(|p| !pages.contains(**p)).collect();
    assert!(gone.is_empty(), "docs/SUMMARY.md lists what is not there: {gone:?}");
}

fn with_checks(summary: &str) -> String {
    let checks = gitlab_agent_core::assess::CHECKS.iter();
    let lines: String = checks.map(|c| format!("  - [{0}](checks/{0}.md)\n", c.id())).collect();
    let others = summary.lines().filter(|line| !line.contains("](checks/"));
    others
        .map(|l| if l == "- [Checks](checks.md)" { format!("{l}\n{lines}") } else { format!("{l}\n") })
        .collect()
}

/// A page's links lead to pages of the site, to places outside, and to headings that are there.
#[test]
fn links_stay_on_the_site() {
    let docs = root().join("docs");
    for file in documents().into_iter().filter(|f| f.starts_with(&docs)) {
        let text = fs::read_to_string(&file).expect("a file");
        let text: String = text.split("```").step_by(2).collect();
        for part in text.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default();
            if target.contains("://") {
                continue;
            }
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let page =
                if path.is_empty() { file.clone() } else { file.parent().expect("a folder").join(path) };
            let page = page.canonicalize().unwrap_or_else(|_| panic!("{} links to {target}", file.display()));
            assert!(
                page.starts_with(docs.canonicalize().expect("a path")),
                "{}: {target} leaves the site",
                file.display()
            );
            assert!(
                heading.is_empty() || headings(&page).contains(heading),
                "{}: no heading {target}",
                file.display()
            );
        }
    }
}

/// The names that mdBook and GitLab give headings: lower case, words joined by dashes.
fn headings(page: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(page).expect("a page");
    let name = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>()
    };
    text.lines().filter(|l| l.starts_with('#')).map(name).collect()
}
