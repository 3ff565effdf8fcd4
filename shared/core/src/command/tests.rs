//! Commands as text: quoting, flags of the run, flaws.

use super::shell::quote;
use super::*;

fn line(command: impl Into<Command>) -> String {
    command.into().line(Shell::Posix)
}

#[test]
fn words_are_quoted_for_every_shell_at_once() {
    for (word, quoted) in [
        ("flux-system", "flux-system"),
        ("a b", "'a b'"),
        ("$(reboot)", "'$(reboot)'"),
        ("it's", r"'it'\''s'"),
        ("", "''"),
        ("=ls", "'=ls'"),
        ("a==ls", "a='=ls'"),
        ("a=b:=ls", "a='b:=ls'"),
        ("a:=ls", "'a:=ls'"),
        ("a=b=ls", "a=b=ls"),
        ("YQ==", "YQ=="),
        ("YQ===", "YQ='=='"),
        ("%self", "'%self'"),
        ("+%s", "+%s"),
        ("a=~/x", "a='~/x'"),
        ("~root", "'~root'"),
        ("--flag=a b", "--flag='a b'"),
        ("--flag=it's", r"--flag='it'\''s'"),
        (r#"jsonpath={.a}{"\n"}"#, r#"jsonpath='{.a}{"\n"}'"#),
        // fish takes a backslash before a quote or a backslash for an escape, in single quotes too.
        (r"a\", r"'a'\\''"),
        (r"a\'b", r"'a'\\''\''b'"),
        (r"a\\b", r"'a'\\'\b'"),
        ("a!b", "'a!b'"),
        ("{a,b}", "'{a,b}'"),
        ("#", "'#'"),
        ("grün", "'grün'"),
    ] {
        assert_eq!(quote(word), quoted, "{word}");
    }
}

#[test]
fn no_word_is_taken_for_an_option() {
    for evil in ["-x", "--upload-pack=touch x", "-", "--"] {
        let raw = Command::from(Program::new("kubectl get").word(evil)).flaw();
        assert!(raw.is_some_and(|flaw| flaw.contains("could be taken for an option")), "{evil}");
        let operand = Command::from(Program::new("git ls-remote").operand(evil)).flaw();
        assert!(operand.is_some(), "{evil}");
        for fine in [
            Program::new("kubectl get -o").word(evil),
            Program::new("grep -F --").word(evil),
            Program::new("kubectl get").flag("--selector", evil),
        ] {
            assert_eq!(Command::from(fine).flaw(), None, "{evil}");
        }
    }
}

#[test]
fn parts_of_a_command_become_the_syntax_of_the_shell() {
    let stamp = Word::default().output(Program::new("date +%s"));
    assert_eq!(
        line(kubectl("a", "annotate").word("x/y").flag("at", stamp.clone())),
        r#"kubectl -n a annotate x/y at="$(date +%s)""#
    );
    assert_eq!(
        line(Command::set("NOW", stamp).then(Program::new("echo").flag("a", Variable::new("NOW")))),
        r#"NOW="$(date +%s)" && echo a="$NOW""#
    );
    assert_eq!(
        line(Command::prompt("NAME", "user name", true).then(Command::ask("VALUE"))),
        "printf %s 'user name: ' && read -r NAME && read -rs VALUE"
    );
    assert_eq!(line(Program::new("a").from_file("b").pipe(Program::new("c").to_file("d"))), "a < b | c > d");
    assert_eq!(
        line(Program::new("cat").from_text("x: $y\n").pipe(Program::new("b"))),
        "cat <<'EOF' | b\nx: $y\nEOF"
    );
    assert_eq!(
        line(Program::new("cat").from_text(Word::from("$a `b` \\\n").variable(Variable::new("V")))),
        "cat <<EOF\n\\$a \\`b\\` \\\\\n$V\nEOF"
    );
    assert_eq!(line(Program::new("cat").from_text("EOF\nreboot\n")), "cat <<'EOFF'\nEOF\nreboot\nEOFF");
    assert_eq!(
        line(Program::new("a").word(Variable::or("A", "b")).word(Variable::required("C", "the c"))),
        r#"a "${A:-b}" "${C:?the c}""#
    );
}

#[test]
fn flags_of_the_run_are_in_every_program_that_takes_them() {
    let context = Given::context(Some("prod eu"));
    let with = |command: Command| command.with(&context).line(Shell::Posix);
    let pipe = kubectl("a", "get b").pipe(Program::new("kubectl apply -f -"));
    assert_eq!(
        with(pipe.into()),
        "kubectl --context='prod eu' -n a get b | kubectl --context='prod eu' apply -f -"
    );
    let who = Word::default().output(Program::new("kubectl auth whoami"));
    assert_eq!(
        with(Program::new("kubectl create x").flag("--user", who).into()),
        r#"kubectl --context='prod eu' create x --user="$(kubectl --context='prod eu' auth whoami)""#
    );
    assert_eq!(
        with(Program::new("kubectl gitlab-agent verify --only GA304").into()),
        "kubectl gitlab-agent verify --context='prod eu' --only GA304"
    );
    assert_eq!(with(Program::new("flux check --pre").into()), "flux --context='prod eu' check --pre");
    // A page of the program itself.
    let explain = Program::new("kubectl gitlab-agent verify --explain GA304");
    assert_eq!(with(explain.clone().into()), line(explain));
    // A word that only looks like a program.
    assert_eq!(with(Program::new("git log").word("kubectl get").into()), "git log 'kubectl get'");
}

#[test]
fn our_own_commands_get_the_flags_that_they_know_once() {
    let text = std::ffi::OsStr::new;
    let given = Given::default()
        .cluster("--context", Some(text("c")))
        .cluster("--kubeconfig", Some(text("k")))
        .own("--namespace", Some(text("n")))
        .own("--flux-namespace", Some(text("f")))
        .own("--gitlab-host", Some(text("g")))
        .own("--from", Some(text("r.json")))
        .switch("--no-gitlab");
    for (words, complete) in [
        (
            "verify",
            "verify --context=c --kubeconfig=k --namespace=n --flux-namespace=f --gitlab-host=g --from=r.json --no-gitlab",
        ),
        (
            "verify -n x",
            "verify --context=c --kubeconfig=k --flux-namespace=f --gitlab-host=g --from=r.json --no-gitlab -n x",
        ),
        (
            "status --context=d",
            "status --kubeconfig=k --namespace=n --flux-namespace=f --gitlab-host=g --from=r.json --no-gitlab --context=d",
        ),
        ("reconcile-now x", "reconcile-now --context=c --kubeconfig=k --flux-namespace=f x"),
        (
            "rotate-token agent",
            "rotate-token --context=c --kubeconfig=k --flux-namespace=f --gitlab-host=g agent",
        ),
    ] {
        let program = Program::new("kubectl gitlab-agent").words(words);
        assert_eq!(
            Command::from(program).with(&given).line(Shell::Posix),
            format!("kubectl gitlab-agent {complete}")
        );
    }
}

#[test]
fn what_could_be_an_option_or_cannot_be_shown_is_not_printed() {
    let object = |name: &str| ObjectRef::new("Secret", "a", name);
    let flawed: Vec<Command> = vec![
        Program::new("git ls-remote").operand("--upload-pack=reboot").into(),
        Program::new("nc").operand("").into(),
        Program::new("kubectl create secret generic").name("--from-file=/etc/passwd").into(),
        kubectl("-x", "get pods").into(),
        kubectl("a/../b", "get pods").into(),
        kubectl("a", "get").object(&object("..")).into(),
        kubectl("a", "get").object(&object("a/b")).into(),
        kubectl("a", "get").object(&object("")).into(),
        kubectl("a", "get").object(&object("a\nreboot")).into(),
        Program::new("printf").word("\u{1b}[2J").into(),
        Program::new("printf").word("a\nb").into(),
        Program::new("cat").from_text("\u{202e}\n").into(),
        Program::new("date").pipe(Program::new("x").flag("--y", "\u{9b}")).into(),
        Program::new("x").word(Word::default().output(Program::new("y").word("\t"))).into(),
        Command::set("A", Word::from("\0")),
    ];
    for command in flawed {
        assert!(command.flaw().is_some(), "{command:?}");
        for shell in [Shell::Posix, Shell::Fish, Shell::PowerShell] {
            assert_eq!(command.line(shell), "# no command is printed: a value in it is not safe to paste");
        }
    }
    let hidden = Given::context(Some("a\u{1b}b"));
    assert!(
        Command::from(Program::new("kubectl get pods")).with(&hidden).line(Shell::Posix).starts_with('#')
    );
    assert!(Command::ask("A").then(Program::new("date")).with(&hidden).line(Shell::Posix).starts_with('#'));
}

#[test]
fn fish_runs_in_bash_what_it_has_no_words_for() {
    let fish = |command: Command| command.line(Shell::Fish);
    assert_eq!(fish(Program::new("a").word("it's").into()), r"a 'it'\''s'");
    assert_eq!(fish(Program::new("a").pipe(Program::new("b")).into()), "a | b");
    assert_eq!(
        fish(Command::ask("VALUE").then(Program::new("a").word(Variable::new("VALUE")))),
        r#"bash -c 'read -rs VALUE && a "$VALUE"'"#
    );
    assert_eq!(
        fish(Program::new("cat").from_text("it's\n").into()),
        "bash -c 'cat <<'\\''EOF'\\''\nit'\\''s\nEOF'"
    );
    assert!(fish(Program::new("a").word(Variable::or("B", "c")).into()).starts_with("bash -c "));
}

/// about_Quoting_Rules and about_Parsing of PowerShell; PowerShell language specification, 2.3.5.2.
#[test]
fn powershell_gets_single_quotes_or_is_told_of_bash() {
    let powershell =
        |word: &str| Command::from(Program::new("kubectl -o").word(word)).line(Shell::PowerShell);
    for (word, quoted) in [
        ("get", "get"),
        ("-n", "-n"),
        ("--tail=50", "--tail=50"),
        ("secret/flux-system", "secret/flux-system"),
        ("receiver.notification.toolkit.fluxcd.io/x", "receiver.notification.toolkit.fluxcd.io/x"),
        ("a b", "'a b'"),
        ("it's", "'it''s'"),
        ("$(reboot)", "'$(reboot)'"),
        ("a;reboot", "'a;reboot'"),
        ("a`nb", "'a`nb'"),
        ("@x", "'@x'"),
        ("a,b", "'a,b'"),
        ("--%", "'--%'"),
        ("-a.b", "'-a.b'"),
        ("-a:b", "'-a:b'"),
        ("1kb", "'1kb'"),
        ("a\u{2019}; reboot #", "'a\u{2019}\u{2019}; reboot #'"),
        ("\u{2018}\u{201a}\u{201b}", "'\u{2018}\u{2018}\u{201a}\u{201a}\u{201b}\u{201b}'"),
        ("%PATH%", "'%PATH%'"),
        ("a|b&c", "'a|b&c'"),
        ("{.a}", "'{.a}'"),
    ] {
        assert_eq!(powershell(word), format!("kubectl -o {quoted}"));
    }
    for word in ["", r#"{"a":1}"#, r"a b\"] {
        assert!(powershell(word).starts_with("# run this in bash:\nkubectl -o "), "{word}");
    }
    let pipe = Command::from(Program::new("a").pipe(Program::new("b")));
    assert_eq!(pipe.line(Shell::PowerShell), "# run this in bash:\na | b");
}

#[test]
fn the_shell_in_use_is_known_by_the_environment() {
    for (windows, shell, module_path, expected) in [
        (false, Some("/bin/bash"), false, Shell::Posix),
        (false, Some("/usr/bin/zsh"), false, Shell::Posix),
        (false, Some("/usr/bin/fish"), false, Shell::Fish),
        (false, Some("/opt/microsoft/powershell/7/pwsh"), false, Shell::PowerShell),
        (false, Some("/bin/bash"), true, Shell::PowerShell),
        (false, None, false, Shell::Posix),
        (false, Some(""), false, Shell::Posix),
        (true, None, true, Shell::PowerShell),
        (true, Some("/usr/bin/bash"), true, Shell::Posix),
        (true, Some(r"C:\Program Files\Git\usr\bin\bash.exe"), true, Shell::Posix),
        (true, Some(r"C:\fish.exe"), true, Shell::Fish),
        (true, Some("pwsh.exe"), true, Shell::PowerShell),
    ] {
        assert_eq!(Shell::in_use(windows, shell, module_path), expected, "{windows} {shell:?} {module_path}");
    }
}
