//! The documents say what is so: commands in them exist, screens are real, manifests parse, printed roles are those that
//! are printed. `UPDATE=1 cargo test -p gitlab-agent-tests --test documents` writes screens and roles anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use gitlab_agent_tests::programs::{command, root, run};

fn documents() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).expect("a folder").map(|e| e.expect("an entry").path());
    let docs = docs.filter(|p| p.extension().is_some_and(|e| e == "md"));
    let mut all: Vec<PathBuf> = docs.chain([root().join("README.md")]).collect();
    all.sort();
    all
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).expect("a document")
}

/// Compares, or writes with `UPDATE=1`.
fn holds(name: &str, expected: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(root().join("docs").join(name), expected).expect("writes");
    }
    assert_eq!(read(name), expected, "docs/{name}: UPDATE=1 writes it anew");
}

/// What is inside of fences with this word behind them, indented ones too.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let margin = line.len() - line.trim_start().len();
        if line.trim() == format!("```{language}") {
            let inner = lines.by_ref().take_while(|l| l.trim() != "```");
            found.push(inner.map(|l| format!("{}\n", l.get(margin..).unwrap_or_default())).collect());
        }
    }
    found
}

/// The words of each command of ours in a text: in a block, indented, or in backticks.
fn commands(text: &str) -> Vec<Vec<String>> {
    let text = text.replace("kubectl-gitlab_agent-", "kubectl gitlab-agent ");
    let ends = |c: char| matches!(c, '\n' | '`' | '|' | '>' | ')' | '(' | ';' | '"');
    let own = text.split("kubectl gitlab-agent ").skip(1);
    own.map(|rest| {
        let line = rest.split(ends).next().unwrap_or_default();
        line.split_whitespace().take_while(|w| !w.starts_with('#')).map(str::to_owned).collect()
    })
    .collect()
}

#[test]
fn commands_in_documents_exist() {
    let mut helps: BTreeMap<String, String> = BTreeMap::new();
    let mut checked = 0;
    for file in documents() {
        for words in commands(&fs::read_to_string(&file).expect("a document")) {
            let known = ["verify", "status", "snapshot", "reconcile-now"];
            let Some(verb) = words.first().filter(|verb| known.contains(&verb.as_str())) else { continue };
            let help = helps.entry(verb.clone()).or_insert_with(|| {
                run(command(&verb.replace('-', "_")).arg("--help").env("COLUMNS", "200")).out
            });
            for flag in words.iter().filter(|w| w.starts_with('-') && w.len() > 1) {
                let name =
                    flag.split('=').next().unwrap_or_default().trim_end_matches(['.', ',', ':', '*', ']']);
                let listed = help.split([' ', ',', '\n']).any(|w| w == name);
                assert!(listed, "{}: {verb} has no {name}, in `{}`", file.display(), words.join(" "));
                checked += 1;
            }
        }
    }
    assert!(checked > 20, "only {checked} flags were found");
}

/// Each block that begins with a command of ours shows what that command prints at 80 columns.
#[test]
fn screens_on_call_are_real() {
    let text = read("on-call.md");
    let mut expected = String::new();
    let mut rest = text.as_str();
    let mut screens = 0;
    while let Some((before, block)) = rest.split_once("```console\n$ kubectl gitlab-agent ") {
        let (line, after) = block.split_once('\n').expect("a line");
        let (_, after) = after.split_once("```\n").expect("the block ends");
        let words: Vec<&str> = line.split(' ').collect();
        let ran = run(command(&words[0].replace('-', "_")).args(&words[1..]).current_dir(root()));
        assert!(ran.err.is_empty() && !ran.out.is_empty(), "{line}: {}", ran.err);
        expected.push_str(&format!("{before}```console\n$ kubectl gitlab-agent {line}\n{}```\n", ran.out));
        rest = after;
        screens += 1;
    }
    expected.push_str(rest);
    assert!(screens >= 3);
    holds("on-call.md", &expected);
}

#[test]
fn the_cronjobs_roles_are_those_that_are_printed() {
    let text = read("cronjob.md");
    let ran =
        run(command("verify").args(["--print-rbac", "--service-account", "gitlab-agent-verify/verify"]));
    assert_eq!(ran.code, 0, "{}", ran.err);
    let (before, block) = text.split_once("```yaml\n").expect("a block");
    let (_, after) = block.split_once("```\n").expect("the block ends");
    holds("cronjob.md", &format!("{before}```yaml\n{}```\n{after}", ran.out));
}

#[test]
fn manifests_in_documents_parse() {
    for name in ["gitlab-pipeline.md", "cronjob.md"] {
        let found = blocks(&read(name), "yaml");
        assert!(found.len() > 1, "{name}");
        for document in found.iter().flat_map(|block| block.split("---\n")) {
            let parsed = serde_saphyr::from_str::<serde_json::Value>(document);
            assert!(
                parsed.as_ref().is_ok_and(serde_json::Value::is_object),
                "{name}: {parsed:?}\n{document}"
            );
        }
    }
}

/// The job's report and exit code come from one look, and are uploaded also when it fails.
#[test]
fn the_pipelines_job_does_what_its_page_says() {
    let found = blocks(&read("gitlab-pipeline.md"), "yaml");
    let job = found.iter().find(|b| b.contains("script:")).expect("a job");
    let job: serde_json::Value = serde_saphyr::from_str(job).expect("YAML");
    let artifacts = &job["verify"]["artifacts"];
    assert_eq!(
        (artifacts["when"].as_str(), artifacts["reports"]["junit"].as_str()),
        (Some("always"), Some("verify.xml"))
    );
    let lines: Vec<&str> =
        job["verify"]["script"].as_array().into_iter().flatten().filter_map(|l| l.as_str()).collect();
    let script = lines
        .iter()
        .filter(|l| !l.starts_with("kubectl config"))
        .map(|l| format!("{l}\n"))
        .collect::<String>();
    // Without a cluster: a recording in its place, and the plugin called as kubectl calls it.
    let dir = tempfile::tempdir().expect("a folder");
    let recording = root().join("tests/recordings/revoked-token.json");
    let script = script
        .replace("kubectl gitlab-agent verify", "kubectl-gitlab_agent-verify")
        .replace("--record verify.json", &format!("--from {}", recording.display()))
        .replace("--from verify.json", &format!("--from {}", recording.display()));
    let path = format!("{}:/usr/bin:/bin", gitlab_agent_tests::programs::folder().display());
    // As the runner does it: bash, ending at the first line that fails.
    let mut bash = std::process::Command::new("bash");
    let ran =
        run(bash.args(["-e", "-o", "pipefail", "-c", &script]).current_dir(dir.path()).env("PATH", path));
    assert_eq!(ran.code, 1, "the job ends as verify does: {}{}", ran.out, ran.err);
    assert!(ran.out.contains("✗ GA315"), "the table is in the log: {}", ran.out);
    let report = fs::read_to_string(dir.path().join("verify.xml")).expect("a report");
    assert!(roxmltree::Document::parse(&report).is_ok() && report.contains("<failure"), "{report}");
}
