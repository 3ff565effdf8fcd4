//! What came is complete and the API server's own, or it is not known: every command against an API server that is silent,
//! that is not the one that answers, or that answers something else. No cluster is needed.

use anyhow::{Context as _, Result, ensure};
use gitlab_agent_core::need::Need;
use gitlab_agent_tests::lone_api::{LoneApi, Said, list_of, need_of};
use gitlab_agent_tests::programs::{Ran, command, run};
use serde_json::{Value, json};

fn ask(api: &LoneApi, verb: &str, args: &[&str]) -> Ran {
    run(command(verb).args(args).env("KUBECONFIG", api.kubeconfig()).current_dir(api.dir()))
}

/// The line of a check in a report.
fn line(ran: &Ran, code: &str) -> Result<Value> {
    let json = ran.json();
    let found = json["checks"].as_array().into_iter().flatten().find(|c| c["code"] == code).cloned();
    found.with_context(|| format!("no {code}: {}{}", ran.out, ran.err))
}

/// Whether a path is the list of this kind.
fn is(path: &str, need: Need) -> bool {
    need_of(path) == Some(need)
}

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";

/// Ways in which a server takes a connection and does not answer.
fn silences() -> Vec<(&'static str, bool, Vec<u8>)> {
    vec![
        ("it says nothing", false, bytes("")),
        ("TLS stalls", true, bytes("")),
        ("half a status line", false, bytes("HTTP/1.1 2")),
        ("the head does not end", false, bytes(HEAD)),
        ("the body does not begin", false, bytes(&format!("{HEAD}content-length: 900\r\n\r\n"))),
        ("the body stalls", false, bytes(&format!("{HEAD}content-length: 900\r\n\r\n{{\"kind\":"))),
        ("a chunk stalls", false, bytes(&format!("{HEAD}transfer-encoding: chunked\r\n\r\n5\r\n{{\"a"))),
        ("only an interim answer", false, bytes("HTTP/1.1 100 Continue\r\n\r\n")),
    ]
}

/// Each case at once: they do little but wait.
fn each<C: Send>(cases: Vec<C>, test: impl Fn(C) -> Result<()> + Sync) -> Result<()> {
    let test = &test;
    std::thread::scope(|scope| {
        let runs: Vec<_> = cases.into_iter().map(|case| scope.spawn(move || test(case))).collect();
        runs.into_iter().try_for_each(|run| run.join().unwrap_or_else(|_| anyhow::bail!("it panicked")))
    })
}

#[test]
fn a_silent_server_is_one_that_cannot_be_reached() -> Result<()> {
    each(silences(), |(what, tls, said)| {
        let api = LoneApi::start(move |_, _| Some(Said::Stall(said.clone())))?;
        if tls {
            api.with_tls()?;
        }
        let limits = ["--request-timeout", "1s", "--timeout", "1m"];
        let without = ["--request-timeout", "0", "--timeout", "2s"];
        for limits in [limits, without] {
            let verify = ask(&api, "verify", &[&["-o", "json"][..], &limits].concat());
            ensure!(verify.code == 4, "{what} {limits:?}: {} {}{}", verify.code, verify.out, verify.err);
            ensure!(verify.first_problem().as_deref() == Some("GA101"), "{what}: {}", verify.out);
            ensure!(verify.json()["verdict"] == "unreachable", "{what}: {}", verify.out);
        }
        let status = ask(&api, "status", &limits);
        let told = status.code == 4 && status.out.contains("cannot be reached");
        ensure!(told, "{what}: {}{}", status.out, status.err);
        let snapshot = ask(&api, "snapshot", &limits);
        ensure!(snapshot.code == 4 && snapshot.err.contains("nothing recorded"), "{what}: {}", snapshot.err);
        let version = ask(&api, "version", &limits);
        let told = version.code == 4 && version.out.contains("not known");
        ensure!(told, "{what}: {}{}", version.out, version.err);
        let wait = ["--wait", "--request-timeout", "1s", "--timeout", "5s", "--interval", "1s"];
        let waits = ask(&api, "verify", &wait);
        ensure!(
            waits.code == 4 && waits.out.contains("GA101"),
            "{what}: {} {}{}",
            waits.code,
            waits.out,
            waits.err
        );
        Ok(())
    })
}

/// Each list that stalls costs itself. The rest is judged, and the cluster was reached.
#[test]
fn a_list_that_stalls_is_a_gap() -> Result<()> {
    let cases = vec![
        (Need::Receivers, "GA402"),
        (Need::GitRepositories, "GA407"),
        (Need::Kustomizations, "GA408"),
        (Need::Deployments, "GA202"),
        (Need::Alerts, "GA508"),
    ];
    each(cases, |(need, code)| {
        let api = LoneApi::start(move |_, path| is(path, need).then(|| Said::Stall(bytes(HEAD))))?;
        let ran = ask(&api, "verify", &["-o", "json", "--request-timeout", "1s"]);
        let line = line(&ran, code)?;
        ensure!(line["verdict"] == "unknown" && line["unknown"][0]["kind"] == "timedOut", "{line}");
        ensure!(ran.code == 1 || ran.code == 3, "{need:?}: {} {}", ran.code, ran.out);
        ensure!(ran.json()["verdict"] != "unreachable", "{need:?}: {}", ran.out);
        let alone = ask(&api, "verify", &["-o", "json", "--request-timeout", "1s", "--only", code]);
        ensure!(alone.code == 3, "{need:?}: {} {}", alone.code, alone.out);
        let recorded = ask(&api, "snapshot", &["-o", "x.json", "--request-timeout", "1s"]);
        ensure!(recorded.err.contains("not recorded: list"), "{need:?}: {}", recorded.err);
        Ok(())
    })
}

/// What comes in the place of a list of Receivers, and what is said of it.
fn no_lists() -> Vec<(&'static str, Said, &'static str, &'static str)> {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut list = list_of(Need::Receivers, &json!([]));
        change(&mut list);
        Said::json(200, &list)
    };
    let text = |body: &str| Said::Answer(200, Vec::new(), bytes(body));
    let gzip = vec![("content-encoding", "gzip".to_owned()), ("content-type", "application/json".to_owned())];
    let cut = format!("{HEAD}content-length: 900\r\n\r\n{{\"kind\":\"ReceiverList\",\"items\":[");
    vec![
        ("an empty object", text("{}"), "intercepted", "does not say its kind"),
        ("nothing", text(""), "intercepted", "no content type"),
        (
            "a Status",
            Said::json(200, &json!({"kind": "Status", "apiVersion": "v1", "message": "soon"})),
            "unreadable",
            "a Status: soon",
        ),
        ("a Table", with(&|l| l["kind"] = json!("Table")), "unreadable", "Table"),
        (
            "another kind's list",
            Said::json(200, &list_of(Need::Alerts, &json!([]))),
            "unreadable",
            "AlertList",
        ),
        (
            "another version's",
            with(&|l| l["apiVersion"] = json!("notification.toolkit.fluxcd.io/v1beta2")),
            "unreadable",
            "v1beta2",
        ),
        (
            "an item of another kind",
            with(&|l| l["items"] = json!([{"kind": "Alert", "metadata": {"name": "a", "namespace": "n"}}])),
            "unreadable",
            "n/a is a Alert",
        ),
        ("no items", with(&|l| l["items"] = Value::Null), "unreadable", "no items"),
        ("no version", with(&|l| l["metadata"] = json!({})), "unreadable", "no resourceVersion"),
        (
            "less than there is",
            with(&|l| l["metadata"]["remainingItemCount"] = json!(9)),
            "unreadable",
            "not whole",
        ),
        (
            "a web page",
            Said::page(200, "nginx/1.27", "Welcome"),
            "intercepted",
            "nginx/1.27 (text/html): Welcome",
        ),
        ("half of it", Said::Bytes(bytes(&cut)), "unreadable", "broke off"),
        ("no gzip", Said::Answer(200, gzip, bytes("\u{1f}garbage")), "unreadable", "broke off"),
        (
            "a portal",
            Said::Answer(302, vec![("location", "https://portal.example.com/login".to_owned())], Vec::new()),
            "intercepted",
            "leads to https://portal.example.com/login",
        ),
        (
            "a mesh's 403",
            Said::Answer(403, vec![("server", "envoy".to_owned())], bytes("RBAC: access denied")),
            "intercepted",
            "403 from envoy",
        ),
        ("a proxy's 404", Said::page(404, "nginx", "404 Not Found"), "intercepted", "404 from nginx"),
        ("a proxy's 401", Said::page(401, "Apache", "Sign in"), "intercepted", "401 from Apache"),
        ("a proxy's 502", Said::page(502, "nginx", "502 Bad Gateway"), "intercepted", "502 from nginx"),
        (
            "a server's 500",
            Said::status(500, "InternalError", "etcd is away"),
            "unreadable",
            "500 etcd is away",
        ),
        (
            "not served",
            Said::status(404, "NotFound", "the server could not find it"),
            "notServed",
            "does not serve",
        ),
    ]
}

#[test]
fn what_is_no_list_is_a_gap_that_says_what_came_and_from_whom() -> Result<()> {
    for (what, said, kind, words) in no_lists() {
        // The kind is defined: one that is not has no objects.
        let defined = json!([{"metadata": {"name": "receivers.notification.toolkit.fluxcd.io"}}]);
        let api = LoneApi::start(move |_, path| match need_of(path)? {
            Need::Receivers => Some(said.clone()),
            Need::Crds => Some(Said::json(200, &list_of(Need::Crds, &defined))),
            _ => None,
        })?;
        let ran = ask(&api, "verify", &["-o", "json", "--only", "GA402"]);
        let line = line(&ran, "GA402")?;
        ensure!(ran.code == 3 && line["verdict"] == "unknown", "{what}: {} {}", ran.code, ran.out);
        let why = &line["unknown"][0];
        ensure!(why["kind"] == kind, "{what}: {why}");
        ensure!(why["message"].as_str().is_some_and(|m| m.contains(words)), "{what}: {why}");
        ensure!(
            why["asked"] == "list receivers.notification.toolkit.fluxcd.io in all namespaces",
            "{what}: {why}"
        );
        // Whoever answered in the API server's place, no permission is missing.
        let rights = ask(&api, "verify", &["-o", "json", "--only", "GA102,GA402"]);
        ensure!(rights.first_problem().is_none(), "{what}: {}", rights.out);
    }
    Ok(())
}

/// The first, the second and the third page of a list of GitRepositories.
fn page(path: &str) -> (usize, Value) {
    let at =
        ["", "continue=p1", "continue=p2"].iter().rposition(|mark| path.contains(mark)).unwrap_or_default();
    let item = json!({"metadata": {"name": format!("repo-{at}"), "namespace": "default"},
        "spec": {"interval": "1m", "url": "https://example.com/a/b.git"}});
    let mut list = list_of(Need::GitRepositories, &json!([item]));
    if at < 2 {
        list["metadata"]["continue"] = json!(format!("p{}", at + 1));
    }
    (at, list)
}

/// The names of the sources that `status` shows, and what it does not know.
fn sources(api: &LoneApi) -> (Vec<String>, Vec<Value>) {
    let json = ask(api, "status", &["-o", "json"]).json();
    let rows = json["sources"].as_array().into_iter().flatten();
    let names = rows.filter_map(|row| row["object"]["name"].as_str().map(str::to_owned)).collect();
    (names, json["unknown"].as_array().cloned().unwrap_or_default())
}

type Paging = fn(usize, usize, &mut Value) -> Option<Said>;

#[test]
fn every_page_of_a_list_is_read_or_it_is_a_gap() -> Result<()> {
    let all = ["repo-0", "repo-1", "repo-2"];
    let pages = |change: fn(usize, usize, &mut Value) -> Option<Said>| {
        let count = std::sync::atomic::AtomicUsize::new(0);
        LoneApi::start(move |_, path| {
            let (at, mut list) = is(path, Need::GitRepositories).then(|| page(path))?;
            let asked = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            change(at, asked, &mut list).or_else(|| Some(Said::json(200, &list)))
        })
    };
    let (names, unknown) = sources(&pages(|_, _, _| None)?);
    ensure!(names == all && unknown.is_empty(), "{names:?} {unknown:?}");

    // Tokens of pages expire after some minutes: the list is begun anew, once.
    let (names, unknown) =
        sources(&pages(
            |_, asked, _| if asked == 2 { Some(Said::status(410, "Expired", "old")) } else { None },
        )?);
    ensure!(names == all && unknown.is_empty(), "{names:?} {unknown:?}");

    let gaps: [(&str, Paging, &[&str]); 7] = [
        ("410", |at, _, _| (at == 2).then(|| Said::status(410, "Expired", "too old")), &all[..2]),
        ("500", |at, _, _| (at == 1).then(|| Said::status(500, "InternalError", "x")), &all[..1]),
        ("403", |at, _, _| (at == 1).then(|| Said::page(403, "nginx", "no")), &all[..1]),
        (
            "Table",
            |at, _, list| {
                if at == 1 {
                    list["kind"] = json!("Table")
                };
                None
            },
            &all[..1],
        ),
        (
            "beyond",
            |at, _, list| {
                if at == 2 {
                    list["metadata"]["continue"] = json!("p2")
                };
                None
            },
            &all,
        ),
        (
            "beyond",
            |_, asked, list| {
                list["metadata"]["continue"] = json!(format!("x{asked}"));
                None
            },
            &[],
        ),
        (
            "not whole",
            |at, _, list| {
                if at == 2 {
                    list["metadata"]["remainingItemCount"] = json!(1)
                };
                None
            },
            &all,
        ),
    ];
    for (words, change, seen) in gaps {
        let api = pages(change)?;
        let (names, unknown) = sources(&api);
        ensure!(seen.is_empty() || names == seen, "{words}: {names:?}");
        ensure!(
            unknown.iter().any(|why| why["message"].as_str().is_some_and(|m| m.contains(words))),
            "{words}: {unknown:?}"
        );
        ensure!(api.asked().len() < 400, "{words}: it ends");
    }
    Ok(())
}

#[test]
fn who_answers_in_place_of_the_api_server_leads_the_report() -> Result<()> {
    let strangers = [
        Said::page(403, "nginx/1.27", "403 Forbidden"),
        Said::page(401, "Apache", "Sign in"),
        Said::page(404, "openresty", "Not Found"),
        Said::page(429, "cloudflare", "Slow down"),
        Said::page(503, "awselb/2.0", "Down"),
        Said::page(200, "captive", "Welcome"),
        Said::Answer(200, Vec::new(), Vec::new()),
        Said::Answer(403, Vec::new(), bytes("Forbidden")),
        Said::Answer(302, vec![("location", "https://sso.example.com/".to_owned())], Vec::new()),
        Said::Answer(200, vec![("content-type", "application/json".to_owned())], bytes("{}")),
    ];
    for said in strangers {
        let shown = format!("{said:?}");
        let api = LoneApi::start(move |_, _| Some(said.clone()))?;
        let ran = ask(&api, "verify", &["-o", "json", "--timeout", "30s"]);
        ensure!(
            ran.code == 4 && ran.first_problem().as_deref() == Some("GA101"),
            "{shown}: {} {}",
            ran.code,
            ran.out
        );
        ensure!(
            ran.json()["problems"][0]["message"].as_str().is_some_and(|m| m.contains("something on the way")),
            "{shown}: {}",
            ran.out
        );
        ensure!(
            !ran.out.contains("services/proxy")
                && ran.json()["problems"].as_array().is_some_and(|p| p.len() == 1),
            "{shown}: {}",
            ran.out
        );
        let status = ask(&api, "status", &["--timeout", "30s"]);
        ensure!(status.code == 4, "{shown}: {}", status.out);
    }
    Ok(())
}

#[test]
fn a_namespace_that_does_not_exist_is_a_slip() -> Result<()> {
    let forbidden = |path: &str| is(path, Need::Namespaces).then(|| Said::status(403, "Forbidden", "no"));
    let known = |path: &str| {
        let found = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "gitlab"}});
        (path == "/api/v1/namespaces/gitlab").then(|| Said::json(200, &found))
    };
    let lists = LoneApi::start(|_, _| None)?;
    let by_name = LoneApi::start(move |_, path| forbidden(path).or_else(|| known(path)))?;
    let blind = LoneApi::start(move |_, path| {
        let named = path.starts_with("/api/v1/namespaces/") && path.matches('/').count() == 4;
        forbidden(path).or_else(|| named.then(|| Said::status(403, "Forbidden", "no")))
    })?;
    let rotate = ["source", "gitrepository/x"];
    let commands: [(&str, &[&str]); 7] = [
        ("verify", &[]),
        ("verify", &["--wait", "--timeout", "20s"]),
        ("status", &[]),
        ("snapshot", &[]),
        ("reconcile_now", &["--all", "--dry-run"]),
        ("rotate_token", &["--list"]),
        ("rotate_token", &rotate),
    ];
    for (verb, args) in commands {
        let with = |api: &LoneApi, namespace: &str| ask(api, verb, &[args, &["-n", namespace]].concat());
        let slip = with(&lists, "gitlba");
        ensure!(slip.code == 2, "{verb} {args:?}: {} {}{}", slip.code, slip.out, slip.err);
        ensure!(slip.err.contains("namespace gitlba does not exist"), "{verb} {args:?}: {}", slip.err);
        // `reconcile-now` reads no list of namespaces.
        ensure!(verb == "reconcile_now" || slip.err.contains("did you mean gitlab?"), "{verb}: {}", slip.err);
        let slip = with(&by_name, "gitlba");
        ensure!(
            slip.code == 2 && slip.err.contains("does not exist"),
            "{verb} {args:?}: {}{}",
            slip.out,
            slip.err
        );
        for api in [&lists, &by_name, &blind] {
            let right = with(api, "gitlab");
            ensure!(!right.err.contains("does not exist"), "{verb} {args:?}: {}", right.err);
        }
        ensure!(!with(&blind, "gitlba").err.contains("does not exist"), "what one may not read is believed");
    }
    let flux = ask(&lists, "verify", &["--flux-namespace", "flux-sytsem"]);
    ensure!(flux.code == 2 && flux.err.contains("did you mean flux-system?"), "{} {}", flux.code, flux.err);
    let recording = gitlab_agent_tests::programs::root().join("tests/recordings/healthy.json");
    let recorded = run(command("verify").arg("--from").arg(recording).args(["-n", "gitlba"]));
    ensure!(
        recorded.code == 2 && recorded.err.contains("leave -n out"),
        "{} {}",
        recorded.code,
        recorded.err
    );
    Ok(())
}

#[test]
fn nothing_checked_is_not_all_well() -> Result<()> {
    let api = LoneApi::start(|_, _| None)?;
    for only in [
        "GA307",
        "GA308",
        "GA402",
        "GA407",
        "GA408",
        "GA105",
        "GA503,GA504",
        "GA606",
        "GA313",
        "GA505",
        "GA701",
    ] {
        let ran = ask(&api, "verify", &["--only", only]);
        ensure!(
            ran.code == 3 && ran.out.contains("Nothing was checked: "),
            "{only}: {} {}",
            ran.code,
            ran.out
        );
        ensure!(!ran.out.contains("All is well"), "{only}: {}", ran.out);
    }
    let waits = ask(&api, "verify", &["--wait", "--only", "GA307", "--timeout", "2s", "--interval", "1s"]);
    ensure!(
        waits.code == 3 && waits.err.contains("not well after"),
        "{} {}{}",
        waits.code,
        waits.out,
        waits.err
    );
    Ok(())
}
