//! The programs on the command line, without a cluster: help, slips, bad input, the front end.

use std::fs;

use assert_cmd::assert::OutputAssertExt as _;
use gitlab_agent_tests::programs::{Ran, command, folder, root, run};

fn fails(verb: &str, args: &[&str], code: i32, words: &[&str]) -> Ran {
    let ran = run(command(verb).args(args).current_dir(root()));
    assert_eq!(ran.code, code, "{verb} {args:?}: {}{}", ran.out, ran.err);
    assert!(ran.out.is_empty(), "{verb} {args:?}: errors are no data: {}", ran.out);
    for word in words {
        assert!(ran.err.contains(word), "{verb} {args:?}: no '{word}' in: {}", ran.err);
    }
    ran
}

#[test]
fn help_fits_a_readers_head() {
    for verb in ["", "status", "verify", "snapshot", "reconcile_now", "rotate_token"] {
        let ran = run(command(verb).arg("--help"));
        assert_eq!(ran.code, 0, "{}", ran.err);
        let lines = ran.out.lines().count();
        // It rotates three kinds of credentials, in several ways, and shows an example of each.
        let most = if verb == "rotate_token" { 140 } else { 100 };
        assert!(lines <= most, "{verb} --help has {lines} lines");
        assert!(
            ran.out.contains("kubectl gitlab-agent"),
            "{verb}: the usage names the command as it is typed"
        );
    }
}

#[test]
fn slips_say_what_would_be_right() {
    fails("", &["stat"], 2, &["unknown command 'stat'", "did you mean 'status'", "verify"]);
    fails("", &["-n", "x"], 2, &["no command after -n"]);
    fails("verify", &["--onyl", "GA304"], 2, &["--only"]);
    fails("verify", &["--only", "GA999"], 2, &["no check 'GA999'", "--list-checks"]);
    fails("verify", &["--explain", "token"], 2, &["near it", "GA304"]);
    fails("verify", &["--severity", "GA405"], 2, &["CHECK=SEVERITY"]);
    fails("verify", &["--request-timeout", "soon"], 2, &["not a length of time"]);
    fails("verify", &["-n", "a", "-A"], 2, &["--all-namespaces"]);
    fails("verify", &["--service-account", "a/b"], 2, &["--print-rbac"]);
    fails("verify", &["--print-rbac", "--service-account", "a"], 2, &["NAMESPACE/NAME"]);
    fails("verify", &["--print-rbac", "-o", "junit"], 2, &["YAML"]);
    fails("verify", &["--list-checks", "-o", "markdown"], 2, &["json"]);
    fails("verify", &["--watch", "-o", "junit"], 2, &["--watch", "table"]);
    for verb in ["status", "verify"] {
        let flags = ["--from", "x.json", "--gitlab-host", "gitlab.example.com"];
        fails(verb, &flags, 2, &["asks no GitLab"]);
    }
    fails("reconcile_now", &["--gitlab-host", "gitlab.example.com"], 2, &["asks no GitLab"]);
    for senseless in [["--from", "x", "--wait"], ["--from", "x", "--watch"], ["--wait", "--watch", "-A"]] {
        fails("verify", &senseless, 2, &["cannot be used with"]);
    }
}

#[test]
fn a_wrong_context_or_kubeconfig_names_the_right_ones() {
    let dir = tempfile::tempdir().expect("a folder");
    let kubeconfig = dir.path().join("config");
    fs::write(
        &kubeconfig,
        "apiVersion: v1\nkind: Config\ncurrent-context: prod\n\
         contexts: [{name: prod, context: {cluster: c, user: u}}, {name: test, context: {cluster: c, user: u}}]\n\
         clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: u, user: {}}]\n",
    )
    .expect("writes");
    let given = kubeconfig.to_str().expect("UTF-8");
    fails("verify", &["--kubeconfig", given, "--context", "prdo"], 2, &["no context prdo", "prod, test"]);
    fails("verify", &["--kubeconfig", "/nonexistent/config"], 2, &["/nonexistent/config"]);
    fails("verify", &[], 2, &["no kubeconfig", "--from"]);
    // A missing file in the list is skipped; the context is of the other, where nobody listens.
    let list = format!("/nonexistent/a:{given}");
    let ran = run(command("verify").env("KUBECONFIG", list));
    assert_eq!(ran.code, 4, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("GA101") && ran.out.contains("cannot be reached"), "{}", ran.out);
}

#[test]
fn a_credential_plugin_that_fails_is_not_quoted() {
    let dir = tempfile::tempdir().expect("a folder");
    let kubeconfig = dir.path().join("config");
    let marker = "MARKERplugin0123456789";
    fs::write(
        &kubeconfig,
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:1'}}}}]\n\
             users: [{{name: u, user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, command: sh, \
             args: ['-c', 'echo {marker}; echo {marker} >&2; exit 7'], env: [{{name: S, value: {marker}}}], \
             interactiveMode: Never}}}}}}]\n"
        ),
    )
    .expect("writes");
    let ran = fails(
        "status",
        &["-v", "--kubeconfig", kubeconfig.to_str().expect("UTF-8")],
        4,
        &["cannot sign in", "sh"],
    );
    assert!(!ran.err.contains(marker), "{}", ran.err);
}

#[test]
fn a_bad_recording_changes_nothing_and_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, text, words) in [
        ("empty", "", ["not a recording", "snapshot -o"]),
        ("other", "{\"kind\": \"List\"}", ["not a recording", "format"]),
        ("newer", "{\"format\": 99}", ["format 99", "use a newer"]),
        ("cut", "{\"format\": 1, \"takenAt\": ", ["not a recording", "line 1"]),
    ] {
        let file = dir.path().join(name);
        fs::write(&file, text).expect("writes");
        fails("verify", &["--from", file.to_str().expect("UTF-8")], 2, &words);
    }
    fails("verify", &["--from", "/nonexistent/x"], 2, &["cannot read the recording"]);
}

#[test]
fn the_front_end_finds_the_programs_beside_itself_and_passes_everything() {
    let dir = tempfile::tempdir().expect("a folder");
    let link = dir.path().join("kubectl-gitlab_agent");
    std::os::unix::fs::symlink(folder().join("kubectl-gitlab_agent"), &link).expect("links");
    let recording = "tests/recordings/revoked-token.json";
    let direct = run(command("verify").current_dir(root()).args(["--from", recording, "-o", "json"]));
    let through = |args: &[&str]| {
        run(std::process::Command::new(&link).current_dir(root()).env("PATH", "/none").args(args))
    };
    let front = through(&["verify", "--from", recording, "-o", "json"]);
    assert_eq!((front.code, &front.out), (direct.code, &direct.out));
    let before = through(&["--from", recording, "-o", "json", "verify"]);
    assert_eq!((before.code, &before.out), (direct.code, &direct.out), "flags before the verb");
    let help = through(&[]);
    assert!(
        help.code == 0 && help.out.contains("status") && !help.out.contains("not installed"),
        "{}",
        help.out
    );
    std::process::Command::new(&link).arg("--version").assert().success();
}

#[test]
fn pages_print_without_a_cluster() {
    let ran = run(command("verify").args(["--explain", "token-secret-unusable"]));
    assert!(ran.code == 0 && ran.out.starts_with("# GA304"), "{}", ran.out);
    let rbac = run(command("verify").args(["--print-rbac", "--only", "GA304"]));
    assert!(rbac.code == 0 && rbac.out.contains("kind: ClusterRole"), "{}{}", rbac.out, rbac.err);
    assert!(!rbac.out.contains("receivers"), "only what GA304 needs: {}", rbac.out);
    let list = run(command("verify").arg("--list-checks"));
    assert_eq!(list.out.lines().count(), gitlab_agent_core::assess::CHECKS.len());
}

#[test]
fn a_closed_pipe_is_nobodys_fault() {
    let program = folder().join("kubectl-gitlab_agent-verify");
    let line = format!("{} --list-checks | head -1", program.display());
    std::process::Command::new("bash").args(["-o", "pipefail", "-c", &line]).assert().success();
}

/// Whoever writes a script around a command looks at its help.
#[test]
fn help_names_the_exit_codes_of_every_command() {
    for (verb, more) in [
        ("verify", ""),
        ("status", ""),
        ("snapshot", ""),
        ("version", ""),
        ("reconcile_now", ""),
        ("rotate_token", "129 hung up"),
    ] {
        let help = run(command(verb).arg("--help").env("COLUMNS", "300"));
        let codes = help.out.split_once("Exit codes:").map_or("", |(_, codes)| codes);
        for code in ["74 output not written", "124 timed out", "130 interrupted", "143 terminated", more] {
            assert!(codes.contains(code), "{verb}: {code} is not in{codes}");
        }
    }
}
