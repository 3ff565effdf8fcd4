//! The tab key in real shells. A shell that is not installed is left out and says so; PowerShell always is where it is
//! not on PATH. `GITLAB_AGENT_TESTS_COMPLETE=1` asks for bash, zsh and fish.

#![expect(clippy::print_stdout, reason = "it says what is left out")]

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use gitlab_agent_tests::programs::{folder, root, run};
use gitlab_agent_tests::world::COMPLETE;

/// What the shell prints when it runs this script; `None` where there is no such shell.
fn in_shell(shell: &str, args: &[&str], script: &str) -> Result<Option<String>> {
    if Command::new(shell).arg("--version").stdout(Stdio::null()).status().is_err() {
        ensure!(
            shell == "pwsh" || std::env::var_os(COMPLETE).is_none(),
            "{shell} is not installed, and {COMPLETE} asks for it"
        );
        println!("left out: completion in {shell}, which is not installed");
        return Ok(None);
    }
    let dir = tempfile::tempdir()?;
    std::fs::write(
        dir.path().join("config"),
        "apiVersion: v1\nkind: Config\ncontexts: [{name: 'prod:eu', context: {cluster: c, user: u}}, \
         {name: test, context: {cluster: c, user: u}}]\nclusters: []\nusers: []\n",
    )?;
    let search = std::env::var_os("PATH").context("PATH")?;
    let all = std::iter::once(folder().to_path_buf()).chain(std::env::split_paths(&search));
    let mut command = Command::new(shell);
    command.args(args).arg(script).current_dir(root()).stdin(Stdio::null());
    command.env("PATH", std::env::join_paths(all)?).env("HOME", dir.path()).env("TERM", "dumb");
    command.env("KUBECONFIG", dir.path().join("config")).env_remove("FPATH");
    let ran = run(&mut command);
    ensure!(ran.code == 0, "{shell}: {} {}{}", ran.code, ran.out, ran.err);
    Ok(Some(ran.out))
}

/// The lines typed, and a word that must be offered for each; after `!`, one that must not.
const LINES: &[(&str, &[&str])] = &[
    ("kubectl-gitlab_agent ver", &["verify", "version", "!status"]),
    ("kubectl-gitlab_agent verify --expl", &["--explain", "!--only"]),
    ("kubectl-gitlab_agent verify --only GA30", &["GA304", "!GA401"]),
    ("kubectl-gitlab_agent status --context ", &["test"]),
    ("kubectl-gitlab_agent-status -o js", &["json", "!yaml"]),
    ("kubectl-gitlab_agent reconcile-now --from tests/recordings/healthy.json plat", &["platform/fleet"]),
    ("kubectl-gitlab_agent completion ba", &["bash"]),
];

fn offers(shell: &str, line: &str, out: &str, words: &[&str]) -> Result<()> {
    let offered: Vec<&str> = out.lines().filter_map(|l| l.split(['\t', ' ', ':']).next()).collect();
    for word in words {
        let (word, wanted) = word.strip_prefix('!').map_or((*word, true), |w| (w, false));
        ensure!(offered.contains(&word) == wanted, "{shell} `{line}`: {word} in {offered:?}");
    }
    Ok(())
}

#[test]
fn bash() -> Result<()> {
    for (line, words) in LINES {
        let script = format!(
            "eval \"$(kubectl-gitlab_agent completion bash)\"\n\
             line='{line}'; COMP_WORDS=($line); [[ $line == *' ' ]] && COMP_WORDS+=('')\n\
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_LINE=$line; COMP_POINT=${{#line}}\n\
             complete -p \"${{COMP_WORDS[0]}}\" >/dev/null && compopt() {{ :; }}\n\
             __gitlab_agent_complete; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let Some(out) = in_shell("bash", &["--norc", "-c"], &script)? else { return Ok(()) };
        offers("bash", line, &out, words)?;
    }
    Ok(())
}

#[test]
fn zsh() -> Result<()> {
    for (line, words) in LINES {
        // The completion system runs at a terminal only; its last step, which draws, is replaced.
        let script = format!(
            "autoload -Uz compinit && compinit -u -d $HOME/dump\n\
             eval \"$(kubectl-gitlab_agent completion zsh)\"\n\
             line='{line}'; words=(${{=line}}); [[ $line == *' ' ]] && words+=('')\n\
             CURRENT=${{#words}}\n\
             [[ $_comps[${{words[1]}}] == __gitlab_agent_complete ]] || exit 9\n\
             _describe() {{ print -l -- ${{(P)2}} }}; _files() {{ }}\n\
             __gitlab_agent_complete"
        );
        let Some(out) = in_shell("zsh", &["-f", "-c"], &script)? else { return Ok(()) };
        offers("zsh", line, &out, words)?;
    }
    Ok(())
}

#[test]
fn fish() -> Result<()> {
    for (line, words) in LINES {
        let script = format!("kubectl-gitlab_agent completion fish | source\ncomplete -C '{line}'");
        let Some(out) = in_shell("fish", &["--no-config", "-c"], &script)? else { return Ok(()) };
        offers("fish", line, &out, words)?;
    }
    Ok(())
}

#[test]
fn powershell() -> Result<()> {
    for (line, words) in LINES {
        let script = format!(
            "kubectl-gitlab_agent completion powershell | Out-String | Invoke-Expression\n\
             (TabExpansion2 -inputScript '{line}' -cursorColumn '{line}'.Length).CompletionMatches.CompletionText"
        );
        let Some(out) = in_shell("pwsh", &["-NoProfile", "-Command"], &script)? else { return Ok(()) };
        offers("pwsh", line, &out, words)?;
    }
    Ok(())
}

/// The shim as kubectl calls it: words, then the one to complete.
#[test]
fn the_shim_speaks_cobras_protocol() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let shim = dir.path().join("kubectl_complete-gitlab_agent");
    let text = run(gitlab_agent_tests::programs::command("").args(["completion", "kubectl"]));
    std::fs::write(&shim, &text.out)?;
    let mut command = Command::new("sh");
    let search = std::env::join_paths([folder(), Path::new("/usr/bin"), Path::new("/bin")])?;
    let ran = run(command.arg(&shim).args(["status", "-o", ""]).env("PATH", search));
    ensure!(ran.out == "table\nwide\njson\nyaml\n:4\n", "{}{}", ran.out, ran.err);
    Ok(())
}
