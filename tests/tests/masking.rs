//! A value of a Secret that was read is left in no field of a recording and in no output, wherever in the objects it stood
//! and however it was written.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use gitlab_agent_core::fixture;
use gitlab_agent_core::snapshot::Snapshot;
use gitlab_agent_core::snapshot::mask::{Masker, Values};
use gitlab_agent_tests::formats;
use gitlab_agent_tests::programs::root;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::Value;

/// The places of all texts in a document.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.parse::<Timestamp>().is_err() => found.push(at.to_owned()),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| places(item, &format!("{at}/{n}"), found));
        }
        Value::Object(fields) => {
            for (key, field) in fields {
                places(field, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        _ => {}
    }
}

fn planted(document: &Value, places: &[String], written: &str) -> Value {
    let mut document = document.clone();
    for place in places {
        if let Some(Value::String(text)) = document.pointer_mut(place) {
            text.push_str(&format!(" {written} "));
        }
    }
    document
}

/// The places where a text may be anything: a snapshot with something planted there still reads.
fn free(document: &Value, places: &[String]) -> Vec<String> {
    let reads =
        |places: &[String]| Snapshot::parse(planted(document, places, "x").to_string().as_bytes()).is_ok();
    if reads(places) {
        return places.to_vec();
    }
    if places.len() < 2 {
        return Vec::new();
    }
    let (left, right) = places.split_at(places.len() / 2);
    [free(document, left), free(document, right)].concat()
}

/// What is printed, and what is recorded.
fn outputs(s: &Snapshot) -> Vec<(String, String)> {
    let recording = ("recording".to_owned(), s.to_json().expect("a recording"));
    formats::outputs(s).into_iter().chain([recording]).collect()
}

fn documents() -> Vec<Value> {
    let healthy = serde_json::to_value(fixture::healthy()).expect("JSON");
    let recorded =
        std::fs::read_to_string(root().join("tests/recordings/revoked-token.json")).expect("a recording");
    vec![healthy, serde_json::from_str(&recorded).expect("JSON")]
}

fn masked(document: &Value, secret: &str) -> Snapshot {
    let mut values = Values::default();
    values.add("password", secret.as_bytes());
    let mut snapshot = Snapshot::parse(document.to_string().as_bytes()).expect("a recording");
    snapshot.mask(&Masker::new(&values));
    snapshot
}

#[test]
fn a_value_in_every_field_at_once_is_left_in_none() {
    for document in documents() {
        let mut all = Vec::new();
        places(&document, "", &mut all);
        let free = free(&document, &all);
        assert!(free.len() > 500 && free.len() * 10 > all.len() * 9, "{} of {}", free.len(), all.len());
        let secret = "zQ7'v/9 \"x\\wK%41";
        let json = serde_json::to_string(secret).expect("a string");
        for written in [secret.to_owned(), json[1..json.len() - 1].to_owned(), STANDARD.encode(secret)] {
            let snapshot = masked(&planted(&document, &free, &written), secret);
            let at = serde_json::to_value(&snapshot).expect("JSON");
            for place in &free {
                let text = at.pointer(place).and_then(Value::as_str).unwrap_or_default();
                assert!(!text.contains(&written), "{place}: {text}");
            }
            for (format, output) in outputs(&snapshot) {
                assert!(!output.contains("zQ7") && !output.contains(&written), "{format}: {written}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_value_somewhere_is_left_in_no_output(secret in "[A-Za-z0-9][!-~]{9,30}[A-Za-z0-9]", seed in 0_usize..10_000, form in 0_usize..6) {
        let document = &documents()[seed % 2];
        let mut all = Vec::new();
        places(document, "", &mut all);
        let some: Vec<String> = all.iter().skip(seed % 97).step_by(97).cloned().collect();
        let json = serde_json::to_string(&secret).expect("a string");
        let written = match form {
            0 => secret.clone(),
            1 => json[1..json.len() - 1].to_owned(),
            2 => STANDARD.encode(&secret),
            3 => URL_SAFE_NO_PAD.encode(format!("user:{secret}")),
            4 => secret.bytes().map(|byte| format!("%{byte:02x}")).collect(),
            _ => secret.bytes().map(|byte| format!("{byte:02X}")).collect(),
        };
        let snapshot = masked(&planted(document, &free(document, &some), &written), &secret);
        for (format, output) in outputs(&snapshot) {
            prop_assert!(!output.contains(&secret) && !output.contains(&written), "{format}: {written}");
        }
    }
}
