//! The suite's own test: the healthy fixture is broken in one place at a time, and each class of break is noticed, or the
//! table `tests/goldens/mutations.txt` says why not. That table may only shrink.
//!
//! A class is a path without numbers and names, and what is done there. `UPDATE=1 cargo test -p gitlab-agent-tests --test
//! mutations` writes the table anew and keeps its reasons; a row without a reason fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use gitlab_agent_core::assess::{CHECKS, assess};
use gitlab_agent_core::facts::Facts;
use gitlab_agent_core::fixture;
use gitlab_agent_core::snapshot::Snapshot;
use gitlab_agent_tests::programs::root;
use serde_json::{Value, json};

/// A time long before the fixture's now, and one shortly before it.
const OLD: &str = "2025-01-01T00:00:00Z";
const YOUNG: &str = "2026-11-02T09:59:50Z";

/// What is not of the cluster or of GitLab: the recording's own head.
const HEAD: &[&str] = &["format", "tool", "takenAt", "origin", "namespaces", "access"];

/// One break: the class that it is of, where it is, and what comes there; nothing takes the place away.
struct Mutation {
    class: (String, &'static str),
    at: Vec<Step>,
    value: Option<Value>,
}

#[derive(Clone)]
enum Step {
    Key(String),
    Index(usize),
}

/// How many breaks of a class were noticed, of how many.
type Tally = (usize, usize);

fn class_of(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.push_str(&format!(".{key}")),
            Step::Index(_) => text.push_str("[]"),
        }
    }
    text
}

/// Everything that can be broken in one place, below a value.
fn mutations(value: &Value, path: &mut Vec<Step>, into: &mut Vec<Mutation>) {
    let mut add = |path: &[Step], what: &'static str, to: Option<Value>| {
        into.push(Mutation { class: (class_of(path), what), at: path.to_vec(), value: to });
    };
    match value {
        Value::Bool(on) => add(path, "turned", Some(json!(!on))),
        Value::Number(number) => {
            if matches!(path.last(), Some(Step::Key(key)) if key == "generation") {
                add(path, "moved on", Some(json!(number.as_i64().unwrap_or_default() + 1)));
            }
            if number.as_i64() != Some(0) {
                add(path, "zeroed", Some(json!(0)));
            }
        }
        Value::String(text) if text.parse::<jiff::Timestamp>().is_ok() => {
            add(path, "made old", Some(json!(OLD)));
            add(path, "made young", Some(json!(YOUNG)));
        }
        Value::String(text) => match text.as_str() {
            "True" => {
                add(path, "turned", Some(json!("False")));
                add(path, "unknown", Some(json!("Unknown")));
            }
            "False" => add(path, "turned", Some(json!("True"))),
            _ => add(path, "renamed", Some(json!(format!("{text}-x")))),
        },
        Value::Null => {}
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                path.push(Step::Index(at));
                if item.is_object() {
                    into.push(Mutation { class: (class_of(path), "removed"), at: path.clone(), value: None });
                }
                mutations(item, path, into);
                path.pop();
            }
        }
        Value::Object(fields) => {
            for (key, field) in fields {
                if path.is_empty() && HEAD.contains(&key.as_str()) {
                    continue;
                }
                path.push(Step::Key(key.clone()));
                mutations(field, path, into);
                path.pop();
            }
        }
    }
}

fn applied(healthy: &Value, mutation: &Mutation) -> Value {
    let mut broken = healthy.clone();
    let Some((last, before)) = mutation.at.split_last() else { return broken };
    let mut place = &mut broken;
    for step in before {
        place = match step {
            Step::Key(key) => &mut place[key],
            Step::Index(at) => &mut place[*at],
        };
    }
    match (last, &mutation.value) {
        (Step::Key(key), Some(value)) => place[key] = value.clone(),
        (Step::Index(at), Some(value)) => place[*at] = value.clone(),
        (Step::Index(at), None) => drop(place.as_array_mut().map(|items| items.remove(*at))),
        (Step::Key(key), None) => drop(place.as_object_mut().map(|fields| fields.remove(key))),
    }
    broken
}

/// What is found and what is not known. Their words tell them apart.
fn seen(snapshot: &Snapshot) -> BTreeSet<String> {
    let facts = Facts::derive(snapshot);
    let mut seen = BTreeSet::new();
    for one in assess(&facts, CHECKS.iter().copied()) {
        let code = one.check.id();
        seen.extend(one.judgement.findings.iter().map(|f| format!("{code} {} {}", f.subject, f.message)));
        seen.extend(one.judgement.unknown.iter().map(|w| format!("{code} ? {} {}", w.asked, w.message)));
    }
    seen
}

/// Each class with how much of it is noticed. What is no snapshot any more is refused, which is noticed, too.
fn table() -> BTreeMap<(String, &'static str), Tally> {
    let healthy = fixture::healthy();
    let before = seen(&healthy);
    let json = serde_json::to_value(&healthy).expect("a snapshot has a JSON form");
    let mut all = Vec::new();
    mutations(&json, &mut Vec::new(), &mut all);
    let mut table: BTreeMap<_, Tally> = BTreeMap::new();
    for mutation in all {
        let broken = serde_json::from_value::<Snapshot>(applied(&json, &mutation));
        let noticed = broken.map_or(true, |broken| seen(&broken).difference(&before).next().is_some());
        let (hits, of) = table.entry(mutation.class).or_default();
        *hits += usize::from(noticed);
        *of += 1;
    }
    table
}

/// `all`, `some` or `none`.
fn grade((hits, of): Tally) -> &'static str {
    match hits {
        0 => "none",
        hits if hits == of => "all",
        _ => "some",
    }
}

fn worse(now: &str, then: &str) -> bool {
    let rank = |grade: &str| ["none", "some", "all"].iter().position(|g| *g == grade);
    rank(now) < rank(then)
}

/// The checked-in rows: class and break, with their grade and reason.
fn golden(text: &str) -> BTreeMap<(String, String), (String, String)> {
    let row = |line: &str| {
        let mut fields = line.splitn(4, " | ").map(|field| field.trim().to_owned());
        let mut next = || fields.next().unwrap_or_default();
        ((next(), next()), (next(), next()))
    };
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(row).collect()
}

const ABOUT: &str = "# What of each class of break in the healthy fixture is noticed: path | break | noticed | why not (all of it).\n\
                     # It may only shrink: tests/tests/mutations.rs.\n";

#[test]
fn what_is_broken_is_noticed_or_has_a_reason() {
    let file = root().join("tests/goldens/mutations.txt");
    let text = fs::read_to_string(&file).unwrap_or_default();
    let known = golden(&text);
    let table = table();
    let (mut lines, mut wrong) = (String::from(ABOUT), Vec::new());
    for ((path, what), tally) in &table {
        let now = grade(*tally);
        let key = (path.clone(), (*what).to_owned());
        let (then, reason) = known.get(&key).cloned().unwrap_or_default();
        if worse(now, &then) {
            wrong.push(format!("{path} {what}: {then} of it was noticed, now {now}"));
        }
        if now != "all" && reason.is_empty() {
            wrong.push(format!("{path} {what}: {now} of it is noticed, and the table does not say why"));
        }
        let reason = if now == "all" { String::new() } else { reason };
        lines.push_str(format!("{path} | {what} | {now} | {reason}").trim_end_matches([' ', '|']));
        lines.push('\n');
    }
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, &lines).expect("writes");
    } else if lines != text {
        wrong.push("the table is not current: UPDATE=1 writes it anew, and keeps its reasons".to_owned());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(table.len() > 200, "{} classes", table.len());
}
