//! Every format of `verify`, read by a reader of that format: what it means is what the JSON says. And the published JSON
//! Schemas hold for what the programs write.

use std::collections::BTreeSet;
use std::fs;

use gitlab_agent_core::assess::{CHECKS, assess};
use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::fixture;
use gitlab_agent_core::render::{self, Style, VerifyFormat};
use gitlab_agent_core::report::{Report, Thresholds};
use gitlab_agent_core::snapshot::Snapshot;
use gitlab_agent_tests::programs::{Ran, command, root, run};
use gitlab_agent_tests::prometheus;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag};
use serde_json::Value;

const RECORDINGS: [&str; 4] = ["healthy", "revoked-token", "no-notification-controller", "restricted-reader"];

fn from(verb: &str, name: &str, more: &[&str]) -> Ran {
    run(command(verb)
        .current_dir(root())
        .args(["--from", &format!("tests/recordings/{name}.json")])
        .args(more))
}

fn verify(name: &str, format: &str, more: &[&str]) -> Ran {
    from("verify", name, &[&["-o", format], more].concat())
}

/// A cluster with several problems at once, some of them warnings, some with consequences.
fn rich() -> Snapshot {
    let mut s = fixture::healthy();
    fixture::secret(&mut s, "gitlab", "gitlab-agent-token").keys.clear();
    fixture::git_mut(&mut s, "flux-system").spec.suspend = true;
    let git = fixture::git_mut(&mut s, "example-nginx-app");
    git.status.conditions = fixture::fetch_failed("GitOperationFailed", "authentication required");
    s.kustomizations.items[1].status.conditions = fixture::not_ready("ArtifactFailed", "no artifact");
    s
}

fn report(snapshot: &Snapshot) -> Report {
    let facts = Facts::derive(snapshot);
    Report::build(&facts, assess(&facts, CHECKS.iter().copied()), &Thresholds::default())
}

fn rendered(snapshot: &Snapshot, format: VerifyFormat) -> String {
    render::verify(&report(snapshot), format, &Style::default())
}

fn schema(name: &str) -> jsonschema::Validator {
    let text = fs::read_to_string(root().join(format!("docs/schema/{name}.json"))).expect("a schema");
    let schema: Value = serde_json::from_str(&text).expect("JSON");
    jsonschema::meta::validate(&schema).expect("a schema of JSON Schema");
    jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema")
}

#[track_caller]
fn valid(schema: &jsonschema::Validator, document: &Value) {
    let errors: Vec<String> =
        schema.iter_errors(document).map(|e| format!("{} at {}", e, e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn json_is_what_its_schema_says() {
    let (reports, status) = (schema("verify-report"), schema("status"));
    for name in RECORDINGS {
        valid(&reports, &verify(name, "json", &[]).json());
        valid(
            &reports,
            &verify(name, "json", &["--output-threshold", "error", "--only", "GA406,GA407"]).json(),
        );
        valid(&status, &from("status", name, &["-o", "json"]).json());
    }
    let rich = serde_json::from_str(&rendered(&rich(), VerifyFormat::Json)).expect("JSON");
    valid(&reports, &rich);
    let list = run(command("verify").args(["--list-checks", "-o", "json"]));
    valid(&schema("check-list"), &list.json());
    assert_eq!(list.json()["checks"].as_array().map(Vec::len), Some(CHECKS.len()));
    let plan = from("reconcile_now", "healthy", &["--dry-run", "-o", "json"]);
    assert_eq!(plan.code, 0, "{}", plan.err);
    let lines = plan.out.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    assert!(lines.inspect(|line| valid(&schema("reconcile-event"), line)).count() > 0);
}

#[test]
fn every_event_of_reconcile_now_is_what_its_schema_says() {
    use gitlab_agent_core::plan::journal::{End, Event, Journal, State};
    use gitlab_agent_core::plan::{Plan, Selection};
    use gitlab_agent_core::render::reconcile::{event_json, refused_json, summary_json};
    let snapshot = fixture::healthy();
    let plan = Plan::derive(&Facts::derive(&snapshot), &Selection::Agentk, None, false).expect("a plan");
    let style = Style::default();
    let now = fixture::NOW.parse().expect("a time");
    let end = End::new(State::TimedOut, "not done in time").hint("wait").said("no");
    let ends = vec![end.clone(); plan.hops.len()];
    let lines = [
        event_json(&plan, &Event::Asked { hop: 0, resumed: true, again: false, webhook: false }, &style, now),
        event_json(&plan, &Event::Working { hop: 1, phase: "fetching".to_owned() }, &style, now),
        event_json(&plan, &Event::Note { hop: None, text: "text".to_owned() }, &style, now),
        event_json(&plan, &Event::Note { hop: Some(1), text: "text".to_owned() }, &style, now),
        event_json(&plan, &Event::Ended { hop: 1, end }, &style, now),
        summary_json(&plan, &Journal { ends, took: std::time::Duration::ZERO }, &style, now),
        refused_json("refused", "it is suspended", 5, now),
    ];
    let schema = schema("reconcile-event");
    for line in lines {
        let mut event: Value = serde_json::from_str(&line).expect("JSON");
        valid(&schema, &event);
        event["added"] = Value::Null;
        assert!(!schema.is_valid(&event), "a field more goes unnoticed: {event}");
    }
}

/// A schema that takes everything proves nothing: no field may be missing, and none may be unknown to it.
#[test]
fn a_schema_notices_every_field() {
    let rich: Value = serde_json::from_str(&rendered(&rich(), VerifyFormat::Json)).expect("JSON");
    let status = from("status", "revoked-token", &["-o", "json"]).json();
    for (name, document) in [("verify-report", rich), ("status", status)] {
        let schema = schema(name);
        let mut places = Vec::new();
        objects(&document, String::new(), &mut places);
        assert!(places.len() > 5, "{places:?}");
        for place in places {
            let mut more = document.clone();
            more.pointer_mut(&place).expect("a place")["added"] = Value::Null;
            assert!(!schema.is_valid(&more), "{name}: a field more in '{place}' goes unnoticed");
            let keys: Vec<String> = document
                .pointer(&place)
                .and_then(Value::as_object)
                .expect("an object")
                .keys()
                .cloned()
                .collect();
            for key in keys.iter().filter(|key| *key != "permission") {
                let mut less = document.clone();
                less.pointer_mut(&place).and_then(Value::as_object_mut).expect("an object").remove(key);
                assert!(!schema.is_valid(&less), "{name}: '{place}' without {key} goes unnoticed");
            }
        }
    }
}

/// Where objects are; of lists the first.
fn objects(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            found.push(at.clone());
            map.iter().for_each(|(key, value)| objects(value, format!("{at}/{key}"), found));
        }
        Value::Array(items) => items.iter().take(1).for_each(|v| objects(v, format!("{at}/0"), found)),
        _ => {}
    }
}

struct Case {
    suite: String,
    name: String,
    child: Option<(String, String)>,
}

fn junit(text: &str) -> Vec<Case> {
    let document = roxmltree::Document::parse(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let suites = document.root_element();
    assert_eq!(suites.tag_name().name(), "testsuites");
    let mut cases = Vec::new();
    for suite in suites.children().filter(|n| n.is_element()) {
        assert_eq!(suite.tag_name().name(), "testsuite");
        let own: Vec<_> = suite.children().filter(|n| n.is_element()).collect();
        assert_eq!(suite.attribute("tests"), Some(own.len().to_string().as_str()));
        for (kind, attribute) in [("failure", "failures"), ("error", "errors"), ("skipped", "skipped")] {
            let n = own.iter().filter(|c| c.children().any(|n| n.has_tag_name(kind))).count();
            assert_eq!(suite.attribute(attribute), Some(n.to_string().as_str()), "{attribute}");
        }
        for case in own {
            let children: Vec<_> = case.children().filter(|n| n.is_element()).collect();
            assert!(children.len() <= 1, "GitLab takes one child of a case");
            cases.push(Case {
                suite: case.attribute("classname").expect("a suite").to_owned(),
                name: case.attribute("name").expect("a name").to_owned(),
                child: children
                    .first()
                    .map(|c| (c.tag_name().name().to_owned(), c.text().unwrap_or_default().to_owned())),
            });
        }
    }
    cases
}

#[test]
fn junit_is_red_where_the_run_is() {
    for name in RECORDINGS {
        let ran = verify(name, "junit", &[]);
        let json = verify(name, "json", &[]).json();
        let cases = junit(&ran.out);
        let names: BTreeSet<(&str, &str)> =
            cases.iter().map(|c| (c.suite.as_str(), c.name.as_str())).collect();
        assert_eq!(names.len(), CHECKS.len(), "GitLab ignores a case of the same name");
        let red = |c: &&Case| c.child.as_ref().is_some_and(|(kind, _)| kind == "failure" || kind == "error");
        assert_eq!(cases.iter().any(|c| red(&c)), ran.code != 0, "{name}");
        for (case, check) in cases.iter().zip(json["checks"].as_array().expect("checks")) {
            let code = check["code"].as_str().expect("a code");
            assert!(case.name.starts_with(code), "{} is not {code}", case.name);
            let kind = case.child.as_ref().map(|(kind, _)| kind.as_str());
            let expected = match (check["verdict"].as_str(), code) {
                (Some("pass"), _) => None,
                (Some("fail"), "GA102") | (Some("unknown"), _) => Some("error"),
                (Some("fail"), _) => Some("failure"),
                _ => Some("skipped"),
            };
            // Not asked for is neither red nor passed.
            assert!(
                kind == expected || (kind == Some("skipped") && expected == Some("error")),
                "{name} {code} {kind:?}"
            );
        }
    }
}

#[test]
fn junit_says_everything_in_its_text() {
    let cases = junit(&verify("revoked-token", "junit", &[]).out);
    let of = |code: &str| {
        let case = cases.iter().find(|c| c.name.starts_with(code)).expect("a case");
        case.child.as_ref().expect("a child").1.clone()
    };
    for part in [
        "Secret gitlab/gitlab-agent-token",
        "Unauthenticated",
        "mend: create a new token",
        "kubectl -n gitlab rollout restart",
        "--explain GA315",
    ] {
        assert!(of("GA315").contains(part), "no {part} in {}", of("GA315"));
    }
    assert!(of("GA307").contains("follows from GA315"), "{}", of("GA307"));
}

#[test]
fn findings_below_fail_on_are_neither_red_nor_passed() {
    let mut s = fixture::healthy();
    fixture::git_mut(&mut s, "flux-system").spec.suspend = true;
    let cases = junit(&rendered(&s, VerifyFormat::Junit));
    let case = cases.iter().find(|c| c.name.starts_with("GA406")).expect("a case");
    assert_eq!(case.child.as_ref().map(|(kind, _)| kind.as_str()), Some("skipped"));
}

#[test]
fn prometheus_counts_what_the_json_counts() {
    for name in RECORDINGS {
        let json = verify(name, "json", &[]).json();
        let samples = prometheus::parse(&verify(name, "prometheus", &[]).out).expect("the text format");
        let value = |metric: &str, label: &str, of: &str| {
            let own =
                samples.iter().find(|s| s.name == metric && (label.is_empty() || s.label(label) == Some(of)));
            own.unwrap_or_else(|| panic!("no {metric} {label} {of}")).value
        };
        let number = |v: &Value| v.as_f64().expect("a number");
        assert_eq!(value("gitlab_agent_verify_exit_code", "", ""), number(&json["exitCode"]));
        for (severity, field) in [("error", "errors"), ("warning", "warnings"), ("info", "infos")] {
            assert_eq!(
                value("gitlab_agent_verify_findings", "severity", severity),
                number(&json["summary"][field])
            );
        }
        for check in json["checks"].as_array().expect("checks") {
            let own = |s: &&prometheus::Sample| {
                s.name == "gitlab_agent_verify_check_verdict" && s.label("code") == check["code"].as_str()
            };
            let on: Vec<_> = samples.iter().filter(own).filter(|s| s.value == 1.0).collect();
            assert_eq!(on.len(), 1, "one verdict");
            assert_eq!(on[0].label("verdict"), check["verdict"].as_str());
            assert_eq!(samples.iter().filter(own).count(), 4);
        }
    }
}

struct Markdown {
    headings: usize,
    blocks: Vec<(String, String)>,
    tables: usize,
    links: usize,
    html: Vec<String>,
    text: String,
}

fn markdown(text: &str) -> Markdown {
    let mut read = Markdown {
        headings: 0,
        blocks: Vec::new(),
        tables: 0,
        links: 0,
        html: Vec::new(),
        text: String::new(),
    };
    let mut block: Option<(String, String)> = None;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_GFM) {
        match event {
            Event::Start(Tag::Heading { .. }) => read.headings += 1,
            Event::Start(Tag::Table(_)) => read.tables += 1,
            Event::Start(Tag::Link { .. } | Tag::Image { .. }) => read.links += 1,
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
                block = Some((language.to_string(), String::new()));
            }
            Event::End(pulldown_cmark::TagEnd::CodeBlock) => read.blocks.extend(block.take()),
            Event::Html(html) | Event::InlineHtml(html) => read.html.push(html.trim().to_owned()),
            Event::Text(text) => match &mut block {
                Some((_, inner)) => inner.push_str(&text),
                None => read.text.push_str(&format!("{text} ")),
            },
            _ => {}
        }
    }
    read
}

/// Hostile text changes nothing of the structure: the same headings, blocks, tables and HTML, no link, no mention.
#[test]
fn markdown_keeps_its_structure_whatever_is_in_it() {
    let shape = |s: &Snapshot| {
        let read = markdown(&rendered(s, VerifyFormat::Markdown));
        let languages: Vec<String> = read.blocks.iter().map(|(language, _)| language.clone()).collect();
        (read.headings, languages, read.tables, read.links, read.html, read.text)
    };
    let with = |text: &str| {
        let mut s = rich();
        s.origin.context = Some(text.to_owned());
        s.kustomizations.items[1].status.conditions = fixture::not_ready("ArtifactFailed", text);
        fixture::git_mut(&mut s, "example-nginx-app").status.conditions =
            fixture::fetch_failed("GitOperationFailed", text);
        s
    };
    let (headings, languages, tables, links, html, plain) = shape(&with("plain"));
    assert!(headings > 3 && tables == 2 && links == 0, "{headings} {tables}");
    assert!(languages.iter().any(|l| l == "mermaid") && languages.iter().any(|l| l == "sh"));
    assert!(html.iter().all(|h| h.contains("details") || h.contains("summary")), "{html:?}");
    for text in [
        "@all",
        "#12",
        "!7",
        "~bug",
        ":tada:",
        "www.x.example",
        "https://x.example/a",
        "`@all`",
        "``",
        "a|b|c",
        "\\|",
        "</details><script>",
        "<img src=x>",
        "[a](http://x)",
        "![a](http://x)",
        "**a**",
        "$`a`$",
        "/close",
        "\n/close\n",
        "\n```\n/close\n```",
        "&commat;all",
        "a\\",
        "* a",
        "1. a",
        "| a |",
        "PROJ-7",
        "0123456789abcdef0123456789abcdef01234567",
    ] {
        let (h, l, t, k, m, shown) = shape(&with(text));
        assert_eq!(
            (h, &l, t, k, &m),
            (headings, &languages, tables, 0, &html),
            "{text:?} changes the structure"
        );
        // Within a sentence a number with a full stop begins no list.
        let hostile = text != "1. a";
        let outside_code = !plain.contains(text) && shown.contains(text.trim());
        assert!(
            !hostile || text.trim().is_empty() || !outside_code,
            "{text:?} stands outside of code: {shown}"
        );
    }
}

#[test]
fn the_picture_marks_the_broken_hop_and_gitlab_draws_it() {
    for (name, cause) in
        [("revoked-token", Some("GA315")), ("no-notification-controller", Some("GA205")), ("healthy", None)]
    {
        let read = markdown(&verify(name, "markdown", &[]).out);
        let (_, chart) = read.blocks.iter().find(|(language, _)| language == "mermaid").expect("a picture");
        assert!(chart.chars().count() <= 2000 && chart.matches('&').count() == 0, "GitLab's limits: {chart}");
        let nodes = flowchart(chart);
        let marked: Vec<_> = nodes.iter().filter(|n| n.contains("✗")).collect();
        assert_eq!(marked.len(), usize::from(cause.is_some()), "{chart}");
        if let Some(cause) = cause {
            assert!(marked[0].contains(cause), "{chart}");
        }
        assert!(
            nodes.iter().any(|n| n.starts_with("project<br/>"))
                && nodes.iter().any(|n| n.starts_with("pods<br/>")),
            "{chart}"
        );
    }
}

/// The part of Mermaid's grammar that is used: nodes once each, with labels free of what would end them; links between
/// nodes that exist; classes that exist. Gives the labels.
fn flowchart(text: &str) -> Vec<String> {
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("flowchart LR"));
    let (mut ids, mut labels, mut classes) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
    for line in lines {
        let words: Vec<&str> = line.trim().split(' ').collect();
        if let Some((id, label)) = line.trim().split_once("[\"") {
            let label = label.strip_suffix("\"]").expect("a label ends");
            let inner = label.replace("<br/>", "");
            assert!(!inner.contains(['"', '<', '>', '[', ']', '`', '(', ')', '{', '}', '|', '\\']), "{line}");
            assert!(ids.insert(id.to_owned()), "{id} twice");
            labels.push(label.to_owned());
        } else if words[0] == "classDef" {
            classes.insert(words[1].to_owned());
        } else if words[0] == "class" {
            assert!(classes.contains(words[2]) && words[1].split(',').all(|id| ids.contains(id)), "{line}");
        } else {
            assert!(matches!(words[1], "-->" | "--x" | "-.->" | "-.-x"), "{line}");
            assert!(ids.contains(words[0]) && ids.contains(words[2]) && words.len() == 3, "{line}");
        }
    }
    labels
}

#[test]
fn short_is_short_and_says_what_to_do() {
    for name in RECORDINGS {
        let ran = verify(name, "short", &[]);
        assert!((1..=6).contains(&ran.out.lines().count()), "{name}: {}", ran.out);
        let first = verify(name, "json", &[]).first_problem();
        if let Some(code) = first {
            assert!(ran.out.contains(&code) && ran.out.contains("mend: "), "{name}: {}", ran.out);
            assert!(ran.out.lines().any(|l| l.starts_with("$ ")), "{name}: {}", ran.out);
        }
    }
}

#[test]
fn what_is_below_the_output_threshold_is_not_shown_in_any_format() {
    let mut shown = report(&rich());
    shown.hide_below(gitlab_agent_core::assess::Severity::Error);
    for format in VerifyFormat::ALL {
        let text = render::verify(&shown, format, &Style::default());
        let whole = rendered(&rich(), format);
        let shows = |text: &str| text.contains("is suspended;") || text.contains("severity=\"warning\",kind");
        assert!(!shows(&text), "{format:?}: {text}");
        assert!(shows(&whole) || format == VerifyFormat::Short, "{format:?} shows it otherwise: {whole}");
    }
}
