//! Nothing runs away: what cannot be written, what is hostile on standard error, what never ends, and what is huge.
#![cfg(unix)]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use gitlab_agent_tests::programs::{Ran, command, root, run};

const RECORDING: &str = "tests/recordings/revoked-token.json";

/// What everybody can ask for without a cluster: the verb, and its words.
const WRITES: &[(&str, &str)] = &[
    ("", "--help"),
    ("", "--version"),
    ("", "completion bash"),
    ("", "completion zsh"),
    ("", "__complete "),
    ("verify", "--help"),
    ("verify", "--version"),
    ("verify", "__complete --output "),
    ("verify", "--list-checks"),
    ("verify", "--list-checks -o json"),
    ("verify", "--explain GA304"),
    ("verify", "--print-rbac"),
    ("verify", "--from RECORDING"),
    ("verify", "--from RECORDING -o wide"),
    ("verify", "--from RECORDING -o short"),
    ("verify", "--from RECORDING -o json"),
    ("verify", "--from RECORDING -o yaml"),
    ("verify", "--from RECORDING -o junit"),
    ("verify", "--from RECORDING -o markdown"),
    ("verify", "--from RECORDING -o prometheus"),
    ("status", "--help"),
    ("status", "--from RECORDING"),
    ("status", "--from RECORDING -o json"),
    ("status", "--from RECORDING -o yaml"),
    ("snapshot", "--from RECORDING"),
    ("reconcile_now", "--help"),
    ("rotate_token", "--help"),
];

fn words(words: &str) -> Vec<String> {
    words.split(' ').map(|word| word.replace("RECORDING", RECORDING)).collect()
}

#[test]
fn a_full_standard_output_is_an_error() {
    for (verb, line) in WRITES {
        let mut program = command(verb);
        program.args(words(line)).current_dir(root());
        program.stdout(File::options().write(true).open("/dev/full").expect("open"));
        let output = program.stderr(Stdio::piped()).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(74), "{verb} {line}: {said}");
        assert!(said.contains("cannot write to standard output: No space left"), "{verb} {line}: {said}");
    }
}

#[test]
fn a_closed_pipe_is_quiet() {
    for (verb, line) in WRITES {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut program = command(verb);
        program.args(words(line)).current_dir(root()).stdout(writer).stderr(Stdio::piped());
        let output = program.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.is_empty() && matches!(output.status.code(), Some(0 | 1 | 3)), "{verb} {line}: {said}");
    }
}

/// An API server over plain HTTP that gives for each path what a test wants, and lists nothing else.
struct Server {
    url: String,
    dir: tempfile::TempDir,
}

type Answers = fn(&str, &mut TcpStream) -> bool;

impl Server {
    fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || serve(stream, answers));
            }
        });
        let dir = tempfile::tempdir().expect("a folder");
        Self { url, dir }
    }

    fn command(&self, verb: &str) -> Command {
        let kubeconfig = self.dir.path().join("config");
        let text = format!(
            "current-context: a\ncontexts: [{{name: a, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: '{}'}}}}]\nusers: [{{name: u, user: {{}}}}]\n",
            self.url
        );
        fs::write(&kubeconfig, text).expect("written");
        let mut command = command(verb);
        command.env("KUBECONFIG", kubeconfig).current_dir(self.dir.path());
        command
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).expect("a folder");
        let mut names: Vec<_> =
            entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn serve(mut stream: TcpStream, answers: Answers) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut first = String::new();
        reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let header = header.trim().to_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if header.is_empty() {
                break;
            }
        }
        reader.read_exact(&mut vec![0; length]).ok()?;
        let path = first.split(' ').nth(1)?;
        if !answers(path, &mut stream) {
            ordinary(path, &mut stream)?;
        }
    }
}

fn ordinary(path: &str, stream: &mut TcpStream) -> Option<()> {
    let body = match path {
        "/version" => {
            r#"{"major":"1","minor":"36","gitVersion":"v1.36.3","gitCommit":"","gitTreeState":"","buildDate":"","goVersion":"","compiler":"","platform":""}"#
        }
        "/apis" => r#"{"groups":[]}"#,
        reviews if reviews.contains("reviews") => r#"{"status":{"allowed":true}}"#,
        _ => r#"{"items":[]}"#,
    };
    say(stream, 200, body)
}

fn say(stream: &mut TcpStream, status: u16, body: &str) -> Option<()> {
    let head = format!(
        "HTTP/1.1 {status} X\r\naudit-id: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).ok()
}

#[test]
fn a_recording_that_cannot_be_written_keeps_the_report() {
    let server = Server::start(|_, _| false);
    let limited = |verb: &str, line: &str| {
        let own = server.command(verb);
        let mut shell = Command::new("sh");
        let script = format!("ulimit -f 1; exec '{}' {line}", own.get_program().display());
        shell.args(["-c", &script]).current_dir(server.dir.path());
        shell.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        run(&mut shell)
    };
    let kept = |ran: &Ran, words: &str| {
        assert_eq!(ran.code, 74, "{}{}", ran.out, ran.err);
        assert!(ran.err.contains(words) && !ran.err.contains("usage"), "{}", ran.err);
        assert_eq!(server.names(), ["config"], "nothing is left behind");
    };
    for verb in ["verify", "status", "version"] {
        let ran = limited(verb, "--record r.json");
        kept(&ran, "cannot write r.json");
        assert!(!ran.out.is_empty(), "the report is shown: {}", ran.err);
    }
    kept(&limited("reconcile_now", "--dry-run --record r.json"), "cannot write r.json");
    kept(&limited("snapshot", "-o r.json"), "cannot write r.json");
    let ran = run(server.command("verify").args(["--record", "/dev/full"]));
    kept(&ran, "cannot write /dev/full: No space left");
    assert!(!ran.out.is_empty());
    kept(&run(server.command("snapshot").args(["-o", "/dev/full"])), "cannot write /dev/full");
    for target in [".", "none/r.json", "/dev", "config/r.json", "none/"] {
        for (verb, flag) in [
            ("snapshot", "-o"),
            ("verify", "--record"),
            ("status", "--record"),
            ("version", "--record"),
            ("reconcile_now", "--record"),
        ] {
            let ran = run(server.command(verb).args([flag, target]));
            assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{verb} {target}: {}", ran.err);
        }
    }
    let ran = run(server.command("snapshot").args(["-o", "/dev/stdout"]));
    assert!(ran.out.starts_with('{') && ran.code == 0, "{}", ran.err);
    assert!(!fs::symlink_metadata("/dev/null").expect("there").is_file());
}

#[test]
fn every_command_that_takes_record_records() {
    let server = Server::start(|_, _| false);
    for (verb, more) in
        [("verify", None), ("status", None), ("version", None), ("reconcile_now", Some("--dry-run"))]
    {
        let ran = run(server.command(verb).args(["--record", "r.json"]).args(more));
        let file = server.dir.path().join("r.json");
        let recorded = fs::read_to_string(&file).unwrap_or_else(|_| panic!("{verb}: {}{}", ran.out, ran.err));
        assert!(recorded.contains("\"takenAt\"") && ran.err.contains("recorded "), "{verb}: {}", ran.err);
        fs::remove_file(file).expect("removed");
    }
}

/// `sh` takes each word of the command that reads a recording as it was written.
#[test]
fn the_command_that_reads_a_recording_can_be_pasted() {
    let dir = tempfile::tempdir().expect("a folder");
    let from = root().join(RECORDING);
    let names = [
        "a.json",
        "a b.json",
        "it's",
        "$(touch PWN)",
        "a;touch PWN",
        "`touch PWN`",
        "-x.json",
        "--from",
        "~",
        "#a",
        "a\\",
        "*",
        "!!",
        "\"q\"",
        "grün",
        "a&b|c",
    ];
    for name in names {
        let ran = run(command("snapshot")
            .env("SHELL", "/bin/sh")
            .current_dir(dir.path())
            .arg("--from")
            .arg(&from)
            .arg(format!("--output={name}")));
        let told = ran.err.lines().find_map(|line| line.split_once("; read it with `")?.1.strip_suffix('`'));
        let told = told.unwrap_or_else(|| panic!("{name}: {}", ran.err));
        let words = told.strip_prefix("kubectl gitlab-agent verify").expect("our command");
        let script = format!("printf '%s\\n' {words}");
        let said = Command::new("sh").args(["-c", &script]).current_dir(dir.path()).output().expect("sh");
        assert_eq!(String::from_utf8_lossy(&said.stdout), format!("--from={name}\n"), "{told}");
    }
    assert!(!dir.path().join("PWN").exists());
    let hidden = "a\u{1b}[31m";
    let ran = run(command("snapshot").current_dir(dir.path()).arg("--from").arg(&from).args(["-o", hidden]));
    assert!(ran.err.contains("recorded ") && !ran.err.contains("read it with"), "{}", ran.err);
}

/// Ends programs that are at something that no `await` interrupts: they read a FIFO that nobody writes to.
#[test]
fn deadlines_and_signals_hold_whatever_it_is_at() {
    let dir = tempfile::tempdir().expect("a folder");
    let fifo = dir.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    for (verb, signal, code) in [
        ("verify", None, 124),
        ("status", None, 124),
        ("snapshot", None, 124),
        ("verify", Some("INT"), 130),
        ("verify", Some("TERM"), 143),
        ("status", Some("INT"), 130),
        ("status", Some("TERM"), 143),
        ("snapshot", Some("INT"), 130),
    ] {
        let timeout = if signal.is_some() { "0" } else { "1s" };
        let mut program = command(verb);
        program.arg("--from").arg(&fifo).args(["--timeout", timeout]).stderr(Stdio::piped());
        let child = program.stdout(Stdio::piped()).spawn().expect("it runs");
        // Opens once the program has opened it, and keeps it waiting.
        let held = File::options().write(true).open(&fifo).expect("open");
        if let Some(signal) = signal {
            let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
            assert!(sent.expect("kill").success());
        }
        let output = child.wait_with_output().expect("it ends");
        drop(held);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{verb} {signal:?}: {said}");
    }
}

/// A credential plugin and what it started, however it takes being told to end, are gone when the run is: after its answer,
/// at the deadline, on each signal.
#[test]
fn nothing_of_a_credential_plugin_outlives_the_run() {
    let answer =
        r#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"token":"t"}}"#;
    let answered = format!("sleep 1000 >/dev/null & echo $! >pid.new; mv pid.new pid; echo '{answer}'");
    let deaf = format!(
        "(trap '' TERM HUP INT; sleep 1000) >/dev/null & echo $! >pid.new; mv pid.new pid; echo '{answer}'"
    );
    let silent = "echo $$ >pid.new; mv pid.new pid; sleep 1000";
    let both = "trap '' TERM HUP INT; sleep 1000 & echo $! >pid.new; mv pid.new pid; wait; sleep 1000";
    for (script, signal, code) in [
        // It signed in; the empty cluster of this server has nothing to find out.
        (answered.as_str(), None, 3),
        (&deaf, None, 3),
        (silent, None, 124),
        (both, None, 124),
        (silent, Some("INT"), 130),
        (both, Some("INT"), 130),
        (silent, Some("TERM"), 143),
        (both, Some("TERM"), 143),
        (silent, Some("HUP"), 129),
        (both, Some("HUP"), 129),
    ] {
        let server = Server::start(|_, _| false);
        let dir = server.dir.path();
        let mut program = server.command("version");
        let kubeconfig = fs::read_to_string(dir.join("config")).expect("a kubeconfig");
        let exec = serde_json::json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh",
            "args": ["-c", script], "interactiveMode": "Never"}});
        fs::write(dir.join("config"), kubeconfig.replace("user: {}", &format!("user: {exec}")))
            .expect("written");
        program.args(["--timeout", if code == 124 { "1s" } else { "0" }]);
        let child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        let started = || fs::read_to_string(dir.join("pid")).ok();
        let pid = loop {
            match started() {
                Some(pid) => break pid,
                None => thread::yield_now(),
            }
        };
        if let Some(signal) = signal {
            let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
            assert!(sent.expect("kill").success());
        }
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{signal:?} {script}: {said}");
        let lives = || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        while lives() {
            thread::yield_now();
        }
    }
}

/// Otherwise each would start the other without end.
#[test]
fn a_credential_plugin_that_starts_this_program_is_refused() {
    let server = Server::start(|_, _| false);
    let mut program = server.command("version");
    let file = server.dir.path().join("config");
    let exec = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: sh, args: [-c, 'touch STARTED'], interactiveMode: Never}}";
    let kubeconfig =
        fs::read_to_string(&file).expect("a kubeconfig").replace("user: {}", &format!("user: {exec}"));
    fs::write(&file, kubeconfig).expect("written");
    let ran = run(program.env("KUBERNETES_EXEC_INFO", "{}"));
    assert!(ran.code == 4 && ran.err.contains("no second time"), "{}: {}", ran.code, ran.err);
    assert_eq!(server.names(), ["config"], "nothing was started");
}

/// Everything that a terminal or a reader of lines could take for something else.
const HOSTILE: &str = "x\u{1b}[31m\u{202e}\u{200b}\u{7}\r\nerror: forged";

const HOSTILE_CONTEXT: &str = "--context=y\u{1b}[31m\u{202e}\u{200b}\u{7}\r\nerror: forged";
const HOSTILE_FLAG: &str = "--output=x\u{1b}[31m\u{202e}\u{200b}\u{7}\r\nerror: forged";

fn is_tame(what: &str, ran: &Ran) {
    assert!(!ran.err.is_empty(), "{what}: nothing was said");
    let hidden = |c: char| c != '\n' && (c.is_control() || matches!(c, '\u{200b}' | '\u{202e}'));
    assert!(!ran.err.contains(hidden), "{what}: {:?}", ran.err);
    assert!(ran.err.contains("\\u{1b}[31m"), "{what}: it is quoted: {:?}", ran.err);
    assert!(!ran.err.lines().any(|line| line.starts_with("error: forged")), "{what}: {:?}", ran.err);
}

#[test]
fn standard_error_shows_what_is_hostile() {
    let dir = tempfile::tempdir().expect("a folder");
    let json = serde_json::to_string(HOSTILE).expect("JSON");
    let config = |name: &str, text: String| {
        let file = dir.path().join(name);
        fs::write(&file, text).expect("written");
        file
    };
    let cluster = r#""clusters":[{"name":"c","cluster":{"server":"http://127.0.0.1:1"}}]"#;
    let of = |context: &str, user: &str| {
        format!(
            r#"{{"current-context":{context},"contexts":[{{"name":{json},"context":{{"cluster":"c","user":"u"}}}}],{cluster},"users":[{{"name":"u","user":{user}}}]}}"#
        )
    };
    let unknown = config("unknown", of("\"other\"", "{}"));
    let exec = |command: &str, hint: &str| {
        of(
            &json,
            &format!(
                r#"{{"exec":{{"apiVersion":"client.authentication.k8s.io/v1","command":{command},"installHint":{hint},"interactiveMode":"Never"}}}}"#
            ),
        )
    };
    let plugin = config("plugin", exec(&json, "\"none\""));
    let hint = config("hint", exec("\"no-such-plugin\"", &json));
    let recording = fs::read_to_string(root().join(RECORDING)).expect("a recording");
    let kind = config("kind", recording.replacen("\"kind\": \"notAsked\"", &format!("\"kind\": {json}"), 1));
    let cases: Vec<(&str, &str, Vec<&str>, Option<&PathBuf>)> = vec![
        ("a file name", "verify", vec!["--from", HOSTILE], None),
        ("a kubeconfig's name", "verify", vec!["--kubeconfig", HOSTILE], None),
        ("a context", "verify", vec![HOSTILE_CONTEXT], Some(&unknown)),
        ("the known contexts", "verify", vec![], Some(&unknown)),
        ("a cluster", "verify", vec!["--context", HOSTILE, "--cluster", HOSTILE], Some(&plugin)),
        ("a user", "verify", vec!["--context", HOSTILE, "--user", HOSTILE], Some(&plugin)),
        ("a plugin's command", "verify", vec![], Some(&plugin)),
        ("a plugin's install hint", "verify", vec![], Some(&hint)),
        ("a server", "verify", vec!["--server", HOSTILE], Some(&unknown)),
        ("a word", "verify", vec![HOSTILE], None),
        ("a flag", "status", vec!["--x\u{1b}[31m"], None),
        ("a flag's value", "verify", vec!["-o", HOSTILE], None),
        ("a flag's joined value", "verify", vec![HOSTILE_FLAG], None),
        ("a check", "verify", vec!["--only", HOSTILE], None),
        ("a severity", "verify", vec!["--severity", HOSTILE], None),
        ("a time", "verify", vec!["--timeout", HOSTILE], None),
        ("a verb", "", vec![HOSTILE], None),
        ("a target", "reconcile_now", vec![HOSTILE], Some(&hint)),
        ("a written file", "snapshot", vec!["-o", "none\u{1b}[31m/x"], None),
    ];
    for (what, verb, args, kubeconfig) in cases {
        let mut program = command(verb);
        program.args(args).current_dir(dir.path());
        if let Some(kubeconfig) = kubeconfig {
            program.env("KUBECONFIG", kubeconfig);
        }
        is_tame(what, &run(&mut program));
    }
    is_tame("an unknown word of a recording", &run(command("verify").arg("--from").arg(&kind)));
}

#[test]
fn what_an_api_server_says_is_shown_on_standard_error_too() {
    let server = Server::start(|path, stream| {
        let message = serde_json::to_string(HOSTILE).expect("JSON");
        let status = match path {
            "/version" => 401,
            _ => 403,
        };
        let reason = if status == 401 { "Unauthorized" } else { "Forbidden" };
        let body = format!(
            "{{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"reason\":\"{reason}\",\"message\":{message}}}"
        );
        say(stream, status, &body).is_some()
    });
    is_tame("a refused sign-in", &run(&mut server.command("snapshot")));
    is_tame("a refused sign-in that is logged", &run(server.command("snapshot").arg("-v")));
}

#[test]
fn an_answer_without_an_end_is_a_gap() {
    let server = Server::start(|path, stream| {
        if !path.contains("/kustomizations") {
            return false;
        }
        let _ = stream.write_all(b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\n\r\n{\"items\":[");
        let items = "{\"metadata\":{\"name\":\"a\"}},".repeat(40_000);
        while stream.write_all(items.as_bytes()).is_ok() {}
        true
    });
    let ran =
        run(server.command("verify").args(["-o", "json", "--request-timeout", "10m", "--timeout", "10m"]));
    assert!(ran.out.contains("the answer is larger than 256 MiB"), "{}{}", ran.out, ran.err);
    assert!(matches!(ran.code, 1 | 3), "the other listings count: {}", ran.err);
}

/// A node's kubelet, or whoever stands in its place, keeps to no `limitBytes` and no `tailLines`.
#[test]
fn a_log_without_an_end_is_read_to_its_bound() {
    let server = Server::start(|path, stream| {
        let labels = r#"{"app":"agentk"}"#;
        let containers =
            r#""containers":[{"name":"agentk","image":"agentk:v19.2.2","args":["--kas-address=wss://k"]}]"#;
        let list = |kind: &str, version: &str, item: String| {
            format!(
                r#"{{"kind":"{kind}List","apiVersion":"{version}","metadata":{{"resourceVersion":"1"}},"items":[{item}]}}"#
            )
        };
        if path.contains("/log") {
            let _ = stream.write_all(b"HTTP/1.1 200 X\r\naudit-id: x\r\ncontent-type: text/plain\r\n\r\n");
            let lines = "{\"level\":\"info\",\"msg\":\"endless\"}\n".repeat(10_000);
            while stream.write_all(lines.as_bytes()).is_ok() {}
            return true;
        }
        let body = if path.contains("/deployments") {
            let spec = format!(
                r#"{{"replicas":1,"selector":{{"matchLabels":{labels}}},"template":{{"metadata":{{"labels":{labels}}},"spec":{{{containers}}}}}}}"#
            );
            list(
                "Deployment",
                "apps/v1",
                format!(r#"{{"metadata":{{"name":"a","namespace":"gitlab"}},"spec":{spec}}}"#),
            )
        } else if path.contains("/pods") {
            let meta = format!(r#"{{"name":"a-1","namespace":"gitlab","labels":{labels}}}"#);
            let status =
                r#"{"phase":"Running","containerStatuses":[{"name":"agentk","state":{"running":{}}}]}"#;
            list("Pod", "v1", format!(r#"{{"metadata":{meta},"spec":{{{containers}}},"status":{status}}}"#))
        } else {
            return false;
        };
        say(stream, 200, &body).is_some()
    });
    let long = ["--request-timeout", "10m", "--timeout", "10m", "--no-gitlab"];
    let ran = run(server.command("snapshot").args(["-o", "r.json"]).args(long));
    assert_eq!(ran.code, 0, "{}", ran.err);
    let text = fs::read_to_string(server.dir.path().join("r.json")).expect("a recording");
    let recorded: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let lines = recorded["logs"][0]["lines"]["known"].as_array().expect("lines");
    let bytes: usize = lines.iter().filter_map(|line| line.as_str()).map(str::len).sum();
    assert!(lines.len() == 500 && bytes <= 1 << 20, "{} lines, {bytes} bytes", lines.len());
}

#[test]
fn certificates_of_a_kubeconfig_are_read_within_bounds() {
    let dir = tempfile::tempdir().expect("a folder");
    for (cluster, user, what) in [
        ("certificate-authority: /dev/zero", "", "certificate-authority"),
        ("", "client-certificate: /dev/zero, client-key: /dev/null", "client-certificate"),
        ("", "client-certificate: /dev/null, client-key: /dev/zero", "client-key"),
        ("", "tokenFile: /dev/zero", "tokenFile"),
    ] {
        let file = dir.path().join("config");
        let text = format!(
            "current-context: a\ncontexts: [{{name: a, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:1', {cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
        );
        fs::write(&file, text).expect("written");
        let ran = run(command("status").arg("--kubeconfig").arg(&file));
        assert!(ran.err.contains(what) && ran.err.contains("it is larger than"), "{what}: {}", ran.err);
        assert!(matches!(ran.code, 2 | 4), "{what}: {}", ran.err);
    }
    let ran = run(command("status")
        .env("GITLAB_TOKEN", "x")
        .env("KUBECONFIG", dir.path().join("config"))
        .args(["--gitlab-host", "gitlab.example.com", "--gitlab-ca-file", "/dev/zero"]));
    assert!(ran.err.contains("is no regular file of at most 1 MiB"), "{}", ran.err);
}

/// Every other file, stream and program that is read.
#[test]
fn nothing_is_read_without_a_bound() {
    let dir = tempfile::tempdir().expect("a folder");
    let large = |name: &str| {
        let file = dir.path().join(name);
        File::create(&file).and_then(|made| made.set_len(1 << 40)).expect("a file with a hole");
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
        file
    };
    let (token, glab) = (large("token"), large("config.yml"));
    let host = ["--gitlab-host", "gitlab.example.com"];
    let zero = || File::open("/dev/zero").expect("open");
    for (what, program) in [
        ("kubeconfig", command("status").args(["--kubeconfig", "/dev/zero"])),
        ("kubeconfig's list", command("status").env("KUBECONFIG", "/none:/dev/zero")),
        (
            "completion",
            command("status").args(["__complete", "--context", ""]).env("KUBECONFIG", "/dev/zero"),
        ),
        ("token", command("status").args(host).arg("--gitlab-token-file").arg(&token)),
        (
            "token on standard input",
            command("status").args(host).args(["--gitlab-token-file", "-"]).stdin(zero()),
        ),
        ("glab", command("status").args(host).env("GLAB_CONFIG_DIR", dir.path())),
    ] {
        let ran = run(program);
        if what == "completion" {
            assert_eq!((ran.out.as_str(), ran.err.as_str()), (":4\n", ""), "it is silent");
        } else {
            assert_eq!(ran.code, 2, "{what}: {}", ran.err);
            assert!(ran.err.contains("it is larger than"), "{what}: {}", ran.err);
        }
    }
    fs::remove_file(glab).expect("removed");
    let server = Server::start(|_, _| false);
    for name in ["kubectl", "flux"] {
        let file = dir.path().join(name);
        fs::write(&file, "#!/bin/sh\nexec yes x\n").expect("written");
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("set");
    }
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").expect("a path"));
    let file = server.dir.path().join("r.json");
    let ran = run(server.command("verify").env("PATH", path).arg("--record").arg(&file));
    let recorded = fs::read_to_string(file).unwrap_or_else(|_| panic!("{}", ran.err));
    assert_eq!(recorded.matches("and said no version").count(), 2, "{recorded}");
}

#[test]
fn recordings_are_read_within_bounds() {
    let dir = tempfile::tempdir().expect("a folder");
    let nested = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let fields = format!("{{\"x\":[{}1]}}", "1,".repeat(10_000_001));
    let packed = dir.path().join("bomb.json.gz");
    let zeros = Command::new("sh")
        .args(["-c", "head -c 700000000 /dev/zero | gzip -1 > \"$0\""])
        .arg(&packed)
        .status()
        .expect("sh");
    assert!(zeros.success());
    for (name, text) in [("nested", &nested), ("fields", &fields)] {
        fs::write(dir.path().join(name), text).expect("written");
    }
    for (file, words) in [
        (dir.path().join("nested"), "recording"),
        (dir.path().join("fields"), "no recording does"),
        (packed, "it is larger than 512 MiB"),
        (PathBuf::from("/dev/zero"), "it is larger than 512 MiB"),
        (PathBuf::from("/"), "cannot read"),
        (PathBuf::from("/dev/null"), "recording"),
    ] {
        let ran = run(command("status").arg("--from").arg(&file));
        assert_eq!(ran.code, 2, "{}: {}", file.display(), ran.err);
        assert!(ran.err.contains(words), "{}: {}", file.display(), ran.err);
    }
}

#[test]
fn a_kubeconfig_of_many_contexts_is_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, range: std::ops::Range<usize>| {
        let mut text = String::from("current-context: context-7\n");
        for (section, entry) in [
            ("contexts", "context: {cluster: c, user: u}"),
            ("clusters", "cluster: {server: 'http://127.0.0.1:1'}"),
            ("users", "user: {}"),
        ] {
            text.push_str(&format!("{section}:\n"));
            let one = section.trim_end_matches('s');
            range.clone().for_each(|i| text.push_str(&format!("- name: {one}-{i}\n  {entry}\n")));
        }
        let file: PathBuf = dir.path().join(name);
        fs::write(&file, text).expect("written");
        file
    };
    let many = write("many", 0..15_000);
    let offered = |list: &Path| {
        let ran = run(command("verify").args(["__complete", "--context", ""]).env("KUBECONFIG", list));
        ran.out.lines().count()
    };
    assert_eq!(offered(&many), 15_001);
    let files: Vec<String> =
        (0..100).map(|i| write(&format!("f{i}"), i * 10..i * 10 + 10).display().to_string()).collect();
    assert_eq!(offered(Path::new(&files.join(":"))), 1_001);
}
