//! What is printed is pasted into real shells: whatever cluster data, context and file names hold, exactly the programs that
//! a command means are started, with exactly its arguments. Programs on `PATH` are recorders; nothing real runs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use gitlab_agent_core::assess::{CHECKS, assess};
use gitlab_agent_core::command::intent::{Intent, Run};
use gitlab_agent_core::command::{Command, Given, Part, Program, Shell};
use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::fixture;
use gitlab_agent_core::object::ObjectRef;
use gitlab_agent_core::plan::journal;
use gitlab_agent_core::render::{self, Style, VerifyFormat};
use gitlab_agent_core::report::{Report, Thresholds};
use gitlab_agent_core::rotate::inventory::Inventory;
use gitlab_agent_core::snapshot::Snapshot;

/// Every program that a printed command starts.
const PROGRAMS: &[&str] = &[
    "kubectl",
    "flux",
    "git",
    "grep",
    "base64",
    "tr",
    "date",
    "cat",
    "rm",
    "ssh-keygen",
    "ssh-keyscan",
    "openssl",
    "glab",
    "helm",
    "jq",
    "sed",
    "curl",
    "pwned",
    "touch",
    "reboot",
];

/// Files that commands read; the second one is also written.
const READ: &[&str] = &["ca.crt", "known_hosts"];

/// What every recorder prints, and what is typed at every prompt.
const PRINTED: &str = "printed";
const TYPED: &str = "typed";

/// Names that Kubernetes' own rules for path segments let pass.
const NAMES: &[&str] = &[
    "a';pwned;'",
    "$(pwned)`pwned`",
    "a\"b$(pwned)'c",
    "x&&pwned||pwned&",
    "a>pwned<pwned|pwned",
    "~root!!*[a]{b,c}^$HOME",
];

/// Values of which the person is the author: a context, a file.
const GIVEN: &[&str] = &[
    "prod eu",
    "it's; pwned #",
    "-n x",
    "a' $(pwned) 'b\"c`pwned`",
    "end\\",
    "\\'; pwned; '",
    "=pwned !! %self ~",
    "--",
    "ü' ${pwned} \\\\' pwned",
    "",
];

/// Options that people set, and that change what a word is.
const ZSH: &str = "setopt extendedglob banghist rcquotes magicequalsubst\n";

struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for part in ["bin", "records", "home", "work"] {
            fs::create_dir(dir.path().join(part)).expect("a folder");
        }
        for file in READ {
            fs::write(dir.path().join("work").join(file), "x").expect("a file");
        }
        // Only builtins, so that a recorder starts nothing itself; the standard input is read only where it is a document.
        let recorder = "#!/bin/sh\nAT=\"$RECORDS/$SLOT.$$\"\n{ printf '%s\\0' \"${0##*/}\" \"$@\"; } > \"$AT\"\n\
            case \"$*\" in *'-f -') /bin/cat > \"$AT.input\";; esac\necho printed\n";
        for program in PROGRAMS {
            let file = dir.path().join("bin").join(program);
            fs::write(&file, recorder).expect("a program");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        std::os::unix::fs::symlink("/bin/bash", dir.path().join("bin/bash")).expect("a link");
        Self { dir }
    }

    fn path(&self, part: &str) -> PathBuf {
        self.dir.path().join(part)
    }

    /// Runs every line in one process of a shell, each with a number of its own.
    fn paste(&self, shell: &str, lines: &[String]) -> BTreeMap<usize, Vec<Run>> {
        let script = self.path("script");
        let mut text = match shell {
            // A history, as at a prompt.
            "bash" => "set -o history -H\n".to_owned(),
            "zsh" => ZSH.to_owned(),
            // fish wraps grep in a function that adds `--color=auto`.
            _ => "function grep; command grep $argv; end\n".to_owned(),
        };
        for (at, line) in lines.iter().enumerate() {
            let slot = if shell == "fish" { "set -x SLOT" } else { "export SLOT=" };
            let space = if shell == "fish" { " " } else { "" };
            text.push_str(&format!("{slot}{space}{at}\n{line}\n"));
        }
        fs::write(&script, text).expect("a script");
        let typed = self.path("typed");
        fs::write(&typed, format!("{TYPED}\n").repeat(4 * lines.len())).expect("a file");
        let flags: &[&str] = match shell {
            "bash" => &["--norc", "--noprofile"],
            "zsh" => &["-f"],
            _ => &["--no-config"],
        };
        let ran = Process::new(format!("/usr/bin/{shell}"))
            .args(flags)
            .arg(&script)
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("RECORDS", self.path("records"))
            .env("HOME", self.path("home"))
            .env("LC_ALL", "C.UTF-8")
            .envs([("GITLAB_GROUP", TYPED), ("FLUX_REPOSITORY", TYPED), ("FLUX_PATH", TYPED)])
            .envs([("GITLAB_HOST", TYPED), ("FLUX_BRANCH", TYPED)])
            .current_dir(self.path("work"))
            .stdin(Stdio::from(fs::File::open(&typed).expect("a file")))
            .output()
            .expect("the shell starts");
        let errors = String::from_utf8_lossy(&ran.stderr).into_owned();
        for wrong in ["not found", "syntax error", "parse error", "Unknown command", "unexpected"] {
            assert!(!errors.contains(wrong), "{shell}: {errors}");
        }
        self.records()
    }

    /// What was started, by the number of its line.
    fn records(&self) -> BTreeMap<usize, Vec<Run>> {
        let mut runs: BTreeMap<usize, Vec<Run>> = BTreeMap::new();
        for file in fs::read_dir(self.path("records")).expect("a folder") {
            let path = file.expect("a file").path();
            if path.extension().is_some_and(|end| end == "input") {
                continue;
            }
            let text = fs::read_to_string(&path).expect("text");
            let argv = text.trim_end_matches('\0').split('\0').map(str::to_owned).collect::<Vec<_>>();
            // An empty last argument ends in two zeros.
            let empty = text.len() - text.trim_end_matches('\0').len();
            let argv = argv.into_iter().chain((1..empty).map(|_| String::new())).collect();
            let input = fs::read_to_string(input_of(&path)).ok();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let slot = name.split('.').next().expect("a number").parse().expect("a number");
            runs.entry(slot).or_default().push(Run { argv, input });
        }
        for file in fs::read_dir(self.path("records")).expect("a folder") {
            fs::remove_file(file.expect("a file").path()).expect("it goes");
        }
        runs
    }

    /// Pastes commands and compares what is started with what is meant.
    fn check(&self, shell: &str, language: Shell, commands: &[Command]) {
        let lines: Vec<String> = commands.iter().map(|command| command.line(language)).collect();
        let mut started = self.paste(shell, &lines);
        for (at, command) in commands.iter().enumerate() {
            let mut found = started.remove(&at).unwrap_or_default();
            let mut meant = intent().of(command);
            // Builtins of the shell, which start nothing.
            meant.retain(|run| !["printf", "echo"].contains(&run.argv[0].as_str()));
            for run in &mut found {
                // What is piped in is a recorder's or a builtin's output; only a document is compared.
                if !meant.iter().any(|m| m.argv == run.argv && m.input.is_some()) {
                    run.input = None;
                }
            }
            found.sort();
            meant.sort();
            assert_eq!(found, meant, "{shell} made this of:\n{}", lines[at]);
        }
        assert!(started.is_empty(), "{shell}: {started:?}");
        let made: Vec<_> = fs::read_dir(self.path("work"))
            .expect("a folder")
            .map(|file| file.expect("a file").file_name().to_string_lossy().into_owned())
            .filter(|name| !READ.contains(&name.as_str()))
            .collect();
        assert!(made.is_empty(), "{shell} made files: {made:?}");
    }
}

fn input_of(record: &Path) -> PathBuf {
    let mut name = record.as_os_str().to_owned();
    name.push(".input");
    name.into()
}

fn intent() -> Intent<'static> {
    let variable = |name: &str| match name {
        "NOW" => PRINTED.to_owned(),
        _ => TYPED.to_owned(),
    };
    Intent { variable: Box::leak(Box::new(variable)), output: PRINTED }
}

/// Failures of the fixture that print a command each, as many as there are.
fn failures() -> Vec<Snapshot> {
    let fetch: &[(&str, &str)] = &[
        ("AuthenticationFailed", "authentication required"),
        (
            "GitOperationFailed",
            "failed to checkout and determine revision: couldn't find remote ref refs/heads/x",
        ),
        ("GitOperationFailed", "repository not found"),
        ("GitOperationFailed", "knownhosts: key mismatch"),
        ("GitOperationFailed", "x509: certificate signed by unknown authority"),
        ("GitOperationFailed", "dial tcp: lookup gitlab.example.com: no such host"),
        ("GitOperationFailed", "dial tcp 10.0.0.1:443: connect: connection refused"),
        ("GitOperationFailed", "context deadline exceeded"),
        ("GitOperationFailed", "something else"),
    ];
    let mut all: Vec<Snapshot> = fetch
        .iter()
        .flat_map(|(reason, message)| ["https", "ssh"].map(|scheme| (scheme, *reason, *message)))
        .map(|(scheme, reason, message)| {
            let mut s = fixture::healthy();
            let git = fixture::git_mut(&mut s, "example-nginx-app");
            git.status.conditions = fixture::fetch_failed(reason, message);
            git.spec.reference.branch = "example-nginx-app".to_owned();
            if scheme == "ssh" {
                *git.spec.url = "ssh://git@gitlab.example.com:2222/example/nginx-app.git".to_owned();
            }
            s
        })
        .collect();
    let mut broken = |change: &dyn Fn(&mut Snapshot)| {
        let mut s = fixture::healthy();
        change(&mut s);
        all.push(s);
    };
    broken(&|s| s.secrets.clear());
    broken(&|s| s.receivers.items[0].status.conditions = fixture::not_ready("TokenNotFound", "no"));
    broken(&|s| s.receivers.items[1].status.conditions = fixture::not_ready("Other", "no"));
    broken(&|s| s.receivers.items.iter_mut().for_each(|r| r.spec.suspend = true));
    broken(&|s| {
        s.kustomizations.items[1].status.conditions = fixture::not_ready("BuildFailed", "no");
        s.kustomizations.items[1].status.last_attempted_revision = format!("main@sha1:{}", "ab".repeat(20));
    });
    broken(&|s| s.helm_releases.items[0].status.conditions = fixture::not_ready("UpgradeFailed", "no"));
    broken(&|s| s.helm_releases.items[0].spec.suspend = true);
    broken(&|s| s.helm_releases.items.clear());
    broken(&|s| {
        s.helm_charts.items[0].status.conditions =
            fixture::not_ready("ChartPullFailed", "invalid chart reference")
    });
    broken(&|s| s.deployments.items.retain(|d| d.metadata.name != "gitlab-agent-v2"));
    broken(&|s| s.deployments.items.retain(|d| d.metadata.name != "source-controller"));
    broken(&|s| fixture::deployment_mut(s, "gitlab-agent-v2").spec.replicas = Some(0));
    broken(&|s| fixture::deployment_mut(s, "source-controller").spec.replicas = Some(0));
    broken(&|s| s.pods.items.iter_mut().for_each(|p| p.status.reason = "OOMKilled".to_owned()));
    broken(&|s| s.git_repositories.items.clear());
    broken(&|s| s.kustomizations.items.clear());
    broken(&|s| s.endpoint_slices.items.clear());
    broken(&|s| s.providers.items.clear());
    broken(&|s| s.leases.items.clear());
    all
}

/// The same cluster with another name in the place of one, wherever it stands.
fn renamed(snapshot: &Snapshot, from: &str, to: &str) -> Snapshot {
    fn rename(value: &mut serde_json::Value, from: &str, to: &str) {
        match value {
            serde_json::Value::String(text) => *text = text.replace(from, to),
            serde_json::Value::Array(all) => all.iter_mut().for_each(|value| rename(value, from, to)),
            serde_json::Value::Object(all) => all.values_mut().for_each(|value| rename(value, from, to)),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(snapshot).expect("JSON");
    rename(&mut value, from, to);
    serde_json::from_value(value).expect("a snapshot")
}

/// What the fixture's objects are called: each is renamed in turn.
const RENAMED: &[&str] =
    &["example-nginx-app", "gitlab-agent-token", "gitlab-agent-v2", "flux-system", "gitlab.example.com"];

/// Every command that is printed of a cluster.
fn commands(snapshot: &Snapshot) -> Vec<Command> {
    let facts = Facts::derive(snapshot);
    let report = Report::build(&facts, assess(&facts, CHECKS.iter().copied()), &Thresholds::default());
    let mut all: Vec<Command> =
        report.findings().flat_map(|(problem, _)| problem.finding.remedy.commands.clone()).collect();
    all.extend(Inventory::of(&facts).rows.into_iter().filter_map(|row| row.next.command));
    for ready in [None, Some((0, 0)), Some((1, 0))] {
        let controller = ObjectRef::new("Deployment", &snapshot.flux_namespace, "source-controller");
        let hint = journal::unanswered(&controller, ready).hint;
        all.extend(hint.parts().iter().filter_map(|part| match part {
            Part::Words(_) => None,
            Part::Command(command) | Part::Line(command) => Some(command.clone()),
        }));
    }
    all
}

/// How often everything is pasted, each time with other names and words: `PASTED_ROUNDS=100` for a long look.
fn rounds() -> usize {
    std::env::var("PASTED_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

/// Numbers at random, the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).expect("small")
    }

    fn word(&mut self, alphabet: &str, longest: usize) -> String {
        let alphabet: Vec<char> = alphabet.chars().collect();
        let length = self.below(longest + 1);
        (0..length).map(|_| alphabet[self.below(alphabet.len())]).collect()
    }
}

/// The commands of every failure under every name, each once.
fn every_command() -> Vec<Command> {
    let failures = failures();
    let mut random = Random(11);
    let mut all: Vec<Command> = failures.iter().flat_map(commands).collect();
    for round in 0..rounds() {
        for (at, failure) in failures.iter().enumerate() {
            for (index, from) in RENAMED.iter().enumerate() {
                let mut name = NAMES[(at + index) % NAMES.len()].to_owned();
                if round > 0 {
                    // What a path segment may not hold, no name holds.
                    name = format!("{}x", random.word("a-~ !\"#$&'()*+,:;<=>?@[]^_`{|}pwned", 12));
                }
                all.extend(commands(&renamed(failure, from, &name)));
            }
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|command| seen.insert(command.to_string()));
    all
}

/// Context and kubeconfig in turn.
fn given(at: usize) -> Given {
    let text = |at: usize| Some(std::ffi::OsStr::new(GIVEN[at % GIVEN.len()]));
    Given::default()
        .cluster("--context", text(at))
        .cluster("--kubeconfig", text(at + 3))
        .own("--namespace", text(at + 5))
        .own("--flux-namespace", text(at + 7))
        .own("--gitlab-ca-file", text(at + 2))
}

#[test]
fn exactly_what_is_meant_runs_in_every_shell() {
    let lab = Lab::new();
    let all = every_command();
    assert!(all.len() > 200, "{} commands", all.len());
    // Of a long look it is said how long it was.
    println!("{} commands", all.len());
    let all: Vec<Command> = all.iter().enumerate().map(|(at, command)| command.with(&given(at))).collect();
    let started = |program: &str| all.iter().any(|c| intent().of(c).iter().any(|run| run.argv[0] == program));
    for program in ["kubectl", "flux", "git", "grep", "ssh-keyscan", "openssl", "base64", "date"] {
        assert!(started(program), "no command starts {program}");
    }
    for (shell, language) in [("bash", Shell::Posix), ("zsh", Shell::Posix), ("fish", Shell::Fish)] {
        if !Path::new("/usr/bin").join(shell).exists() {
            assert!(shell != "bash", "bash is there");
            continue;
        }
        // A command that ends in a mistake must not hide in the ones behind it.
        for part in all.chunks(200) {
            lab.check(shell, language, part);
        }
    }
}

/// Words at random of everything that some shell acts on, as single arguments.
#[test]
fn any_word_arrives_as_it_is() {
    const ALPHABET: &str = "a ~!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}é";
    let mut random = Random(7);
    let mut words: Vec<String> = (0..3_000 * rounds()).map(|_| random.word(ALPHABET, 8)).collect();
    words.extend(GIVEN.iter().chain(NAMES).map(|word| (*word).to_owned()));
    words.extend(
        ["\\", "\\'", "'\\", "--a=\\", "%self", "!!", "a==x", "a===", "a=b:=x", "a:=x"].map(str::to_owned),
    );
    for (shell, flags, before) in [
        ("bash", "--norc", "set -o history -H\n"),
        ("zsh", "-f", ZSH),
        ("fish", "--no-config", ""),
        ("dash", "-e", ""),
    ] {
        if !Path::new("/usr/bin").join(shell).exists() {
            continue;
        }
        let dir = tempfile::tempdir().expect("a folder");
        let line =
            |word: &String| Command::from(Program::new(r"printf %s\0 -x").word(word)).line(Shell::Posix);
        let script = dir.path().join("script");
        let lines: Vec<String> = words.iter().map(line).collect();
        fs::write(&script, format!("{before}{}\n", lines.join("\n"))).expect("a script");
        let ran = Process::new(shell)
            .arg(flags)
            .arg(&script)
            .current_dir(dir.path())
            .env("HOME", dir.path())
            .output();
        let ran = ran.expect("the shell starts");
        let text = String::from_utf8_lossy(&ran.stdout).into_owned();
        let found: Vec<&str> = text.split('\0').collect();
        assert!(ran.stderr.is_empty(), "{shell}: {}", String::from_utf8_lossy(&ran.stderr));
        for (at, word) in words.iter().enumerate() {
            assert_eq!((found[2 * at], found[2 * at + 1]), ("-x", word.as_str()), "{shell}: {}", lines[at]);
        }
        assert_eq!(
            fs::read_dir(dir.path())
                .expect("a folder")
                .filter(|f| {
                    let name = f.as_ref().expect("a file").file_name();
                    !name.to_string_lossy().starts_with('.') && name != "script"
                })
                .count(),
            0,
            "{shell} made a file"
        );
    }
}

/// A guess of the shell that is wrong must not make a command dangerous: words alone are the same everywhere.
#[test]
fn words_are_the_same_in_another_shell() {
    let lab = Lab::new();
    let plain = |command: &&Command| {
        let line = command.line(Shell::Fish);
        !line.starts_with("bash -c") && !line.contains(['\n', '|', '<', '>'])
    };
    let all = every_command();
    let all: Vec<Command> =
        all.iter().filter(plain).enumerate().map(|(at, c)| c.with(&given(at))).take(150).collect();
    assert!(all.len() > 100, "{}", all.len());
    lab.check("bash", Shell::Fish, &all);
    if Path::new("/usr/bin/fish").exists() {
        lab.check("fish", Shell::Posix, &all);
    }
}

/// Every format holds the commands as they are pasted above.
#[test]
fn every_format_prints_the_same_commands() {
    for (at, failure) in failures().iter().enumerate() {
        let snapshot = renamed(failure, RENAMED[at % RENAMED.len()], NAMES[at % NAMES.len()]);
        let facts = Facts::derive(&snapshot);
        let report = Report::build(&facts, assess(&facts, CHECKS.iter().copied()), &Thresholds::default());
        for shell in [Shell::Posix, Shell::Fish, Shell::PowerShell] {
            let style = Style { given: given(at), shell, ..Style::default() };
            for format in [VerifyFormat::Table, VerifyFormat::Wide, VerifyFormat::Markdown] {
                let page = render::verify(&report, format, &style);
                for problem in &report.problems {
                    for command in &problem.finding.remedy.commands {
                        for line in style.complete(command).lines() {
                            assert!(page.contains(line.trim_end()), "{format:?} lacks {line}\n{page}");
                        }
                    }
                }
            }
            let json: serde_json::Value =
                serde_json::from_str(&render::verify(&report, VerifyFormat::Json, &style)).expect("JSON");
            for (at, problem) in report.problems.iter().enumerate() {
                let portable: Vec<String> =
                    problem.finding.remedy.commands.iter().map(|command| style.portable(command)).collect();
                assert_eq!(json["problems"][at]["remedy"]["commands"], serde_json::json!(portable));
            }
        }
    }
}

/// No command sends anything of the person's to a host that only the cluster names.
#[test]
fn no_command_signs_in_where_only_the_cluster_says() {
    let host = "trap.example.org";
    for failure in failures() {
        for command in commands(&renamed(&failure, "gitlab.example.com", host)) {
            for run in intent().of(&command) {
                let names = run.argv.iter().skip(1).any(|word| word.contains(host));
                // These ask for keys and certificates and send none, or run within the cluster.
                let is_open =
                    matches!(run.argv[0].as_str(), "ssh-keyscan" | "openssl" | "kubectl" | "printf" | "grep");
                assert!(!names || is_open, "{run:?}");
            }
        }
    }
}
