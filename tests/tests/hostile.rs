//! Cluster data is hostile: whatever names and messages hold, no output has a code point that a terminal acts on or
//! does not show, and every machine format still parses to the same document.

use gitlab_agent_core::fixture;
use gitlab_agent_core::snapshot::{Observed, Snapshot};
use gitlab_agent_core::text::is_hidden;
use gitlab_agent_tests::formats::outputs;
use gitlab_agent_tests::prometheus;
use proptest::prelude::*;

/// Broken in many places, with `text` wherever a cluster can put it.
fn broken(text: &str) -> Snapshot {
    let mut s = fixture::healthy();
    s.origin.context = Some(text.to_owned());
    let git = fixture::git_mut(&mut s, "example-nginx-app");
    git.metadata.name = text.to_owned();
    git.status.conditions = fixture::fetch_failed("GitOperationFailed", text);
    let kustomization = &mut s.kustomizations.items[1];
    kustomization.metadata.name = text.to_owned();
    kustomization.status.conditions = fixture::not_ready("BuildFailed", text);
    kustomization.status.last_attempted_revision = text.to_owned();
    let agent = fixture::deployment_mut(&mut s, "gitlab-agent-v2");
    agent.status.ready_replicas = 0;
    s.pods.items[0].status.conditions.clear();
    s.pods.items[0].status.message = text.to_owned();
    s.pods.items[0].status.reason = text.to_owned();
    for log in &mut s.logs {
        log.lines = Observed::Known(vec![text.to_owned(), format!("panic: {text} x509: {text}")]);
    }
    s.receivers.items[0].status.conditions = fixture::not_ready("TokenNotFound", text);
    s
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_output_holds_what_a_terminal_acts_on(text in "[\\PC\u{0}-\u{9f}\u{200b}-\u{200f}\u{202a}-\u{202e}\u{feff}\u{fffe}\u{ffff}'\"$`|<>@#/&\\\\]{0,40}") {
        let snapshot = broken(&text);
        let recording = ("recording as Json".to_owned(), snapshot.to_json().expect("a recording"));
        for (format, output) in outputs(&snapshot).into_iter().chain([recording]) {
            let hidden = output.chars().find(|c| is_hidden(*c) && *c != '\n');
            prop_assert!(hidden.is_none(), "{format} holds {hidden:?}");
            if format.ends_with("Json") {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&output).is_ok(), "{format}: {output}");
            }
            if format.ends_with("Junit") {
                let xml = roxmltree::Document::parse(&output);
                prop_assert!(xml.is_ok(), "{format}: {:?}\n{output}", xml.err());
            }
            if format.ends_with("Prometheus") {
                let samples = prometheus::parse(&output);
                prop_assert!(samples.is_ok(), "{format}: {:?}", samples.err());
            }
            if format.ends_with("Markdown") {
                // A quick action is a line that begins with a slash.
                prop_assert!(!output.lines().any(|l| l.trim_start().starts_with('/')), "{format}: {output}");
            }
            if format.ends_with("Yaml") {
                let yaml = serde_saphyr::from_str::<serde_json::Value>(&output);
                prop_assert!(yaml.is_ok(), "{format}: {:?}\n{output}", yaml.err());
            }
        }
    }
}

#[test]
fn a_broken_cluster_is_shown_in_every_format() {
    for (format, output) in outputs(&broken("plain")) {
        assert!(output.contains("GA407") && output.contains("plain"), "{format}: {output}");
    }
}
