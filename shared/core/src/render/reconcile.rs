//! `reconcile-now` for people: a line for what happens, and at the end how each hop ended; and for programs: one JSON
//! object a line.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use super::Style;
use super::style::{wrap, wrap_words};
use crate::API_VERSION;
use crate::assess::Severity;
use crate::command::{Hint, Part};
use crate::object::ObjectRef;
use crate::plan::journal::{End, Event, Journal, State};
use crate::plan::pods::Pods;
use crate::plan::{Hop, Plan};
use crate::snapshot::Origin;
use crate::text::{self, SHOWN, count, middle, shorten, visible};

/// Done hops beyond this many are counted, not listed again at the end.
const LISTED: usize = 25;

/// Seconds as a person reads them: `0.42s`, `12s`, `2m3s`.
pub fn seconds(took: Duration) -> String {
    match took.as_secs_f64() {
        s if s < 10.0 => format!("{s:.2}s"),
        s if s < 100.0 => format!("{s:.0}s"),
        _ => format!("{}m{}s", took.as_secs() / 60, took.as_secs() % 60),
    }
}

/// The object, short enough for a column.
fn name(object: &ObjectRef, width: usize) -> String {
    shorten(&visible(&object.to_string()), width)
}

fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

fn indented(text: &str, style: &Style) -> String {
    let lines = wrap(&visible(text), style.width.saturating_sub(6).max(30));
    lines.iter().map(|line| format!("    {line}\n")).collect()
}

/// What happens, below one sign.
fn told(text: &str, style: &Style) -> String {
    let lines = wrap(&visible(text), style.width.saturating_sub(2).max(30));
    format!("· {}\n", lines.join("\n  "))
}

/// What to do. A command stays whole, so that it can be copied.
fn hint(hint: &Hint, style: &Style) -> String {
    let (mut words, mut lines) = (Vec::new(), Vec::new());
    for part in hint.parts() {
        match part {
            Part::Words(text) => words.extend(visible(text).split_whitespace().map(str::to_owned)),
            Part::Command(command) | Part::Line(command) => {
                let text = style.complete(command);
                match part {
                    Part::Command(_) if !text.contains('\n') => words.push(format!("`{text}`")),
                    _ => lines.extend(text.split('\n').map(str::to_owned)),
                }
            }
        }
    }
    let margin = if lines.len() > 1 { "" } else { "    " };
    let mut out = String::new();
    for (at, line) in wrap_words(words, style.width.saturating_sub(6).max(30)).iter().enumerate() {
        out.push_str(&format!("{}{line}\n", if at == 0 { "  → " } else { "    " }));
    }
    lines.iter().for_each(|line| out.push_str(&format!("{margin}{line}\n")));
    out
}

fn revision(end: &End) -> String {
    if end.revision.is_empty() { "-".to_owned() } else { visible(&text::revision(&end.revision)) }
}

/// The plan, for `--dry-run`.
pub fn plan(plan: &Plan, style: &Style) -> String {
    let wide = plan.hops.iter().map(|h| visible(&h.object.to_string()).width()).max().unwrap_or(0).min(46);
    let mut out = String::new();
    for (at, hop) in plan.hops.iter().enumerate() {
        let mut facts = Vec::new();
        if !hop.fetches.is_empty() {
            facts.push(hop.fetches.clone());
        }
        if !hop.after.is_empty() {
            let after: Vec<String> = hop.after.iter().map(|a| (a + 1).to_string()).collect();
            facts.push(format!("after {}", after.join(", ")));
        }
        if hop.suspended {
            facts.push("suspended".to_owned());
        }
        if !hop.revision.is_empty() {
            facts.push(format!("at {}", text::revision(&hop.revision)));
        }
        let facts = visible(&facts.join(" · "));
        out.push_str(format!("{:>3}  {}  {facts}", at + 1, pad(&name(&hop.object, wide), wide)).trim_end());
        out.push('\n');
    }
    for text in &plan.notes {
        out.push_str(&format!("note: {}\n", visible(text)));
    }
    out.push_str(&style.faint(&format!("{}; --dry-run: nothing was changed", count(plan.hops.len(), "hop"))));
    out.push('\n');
    out
}

/// One line (or a few, for a failure) for what happened; `None` where people need none.
pub fn line(plan: &Plan, event: &Event, style: &Style) -> Option<String> {
    let object = |hop: usize| name(&plan.hops[hop].object, 60);
    Some(match event {
        Event::Asked { hop, again: true, .. } => told(&format!("{} asked again", object(*hop)), style),
        Event::Asked { hop, resumed: true, .. } => {
            told(&format!("{} resumed and asked", object(*hop)), style)
        }
        Event::Asked { hop, webhook: true, .. } => {
            told(&format!("{} asked through its webhook", object(*hop)), style)
        }
        Event::Asked { hop, .. } => told(&format!("{} asked", object(*hop)), style),
        Event::Working { hop, phase } => told(&format!("{}: {phase}", object(*hop)), style),
        Event::Note { hop: Some(hop), text } => told(&format!("{}: {text}", object(*hop)), style),
        Event::Note { hop: None, text } => told(text, style),
        Event::Ended { end, .. } if end.state == State::NotAsked => return None,
        Event::Ended { hop, end } => ended(&plan.hops[*hop], end, style),
        Event::Deploying { hop, text } => told(&format!("{}: its pods: {text}", object(*hop)), style),
        Event::Deployed { hop, pods } => told(&format!("{}: {}", object(*hop), self::pods(pods)), style),
    })
}

/// What became of the pods of a hop.
fn pods(pods: &Pods) -> String {
    match pods {
        Pods::Running { after } => format!("pods running after {}", seconds(*after)),
        Pods::Broken(text) => format!("its pods do not run: {}", visible(text)),
        Pods::Late(text) => format!("its pods did not run in time (--timeout): {}", visible(text)),
        Pods::Unknown(text) => format!("whether its pods run is not known: {}", visible(text)),
    }
}

fn sign(end: &End, style: &Style) -> String {
    match end.state {
        State::Done if matches!(end.pods, Some(Pods::Broken(_) | Pods::Late(_))) => {
            style.severity(Severity::Error, "✗")
        }
        State::Done => style.good("✓"),
        State::NotAsked => style.faint("-"),
        _ => style.severity(Severity::Error, "✗"),
    }
}

fn ended(hop: &Hop, end: &End, style: &Style) -> String {
    let object = name(&hop.object, 60);
    let took = seconds(end.took);
    if end.state == State::Done {
        return format!("{} {object}  {}  {}\n", sign(end, style), revision(end), style.faint(&took));
    }
    let reason = if end.reason.is_empty() { String::new() } else { format!(" ({})", visible(&end.reason)) };
    let mut out = format!(
        "{} {}  {}  {}\n",
        sign(end, style),
        style.strong(&object),
        end.state.word(),
        style.faint(&took)
    );
    out.push_str(&indented(&format!("{}{reason}", end.meaning), style));
    if !end.said.is_empty() {
        out.push_str(&indented(&middle(&end.said, SHOWN), style));
    }
    if !end.hint.is_empty() {
        out.push_str(&hint(&end.hint, style));
    }
    out
}

/// The end: each hop's state, revision and time, and the whole.
pub fn summary(plan: &Plan, journal: &Journal, origin: &Origin, style: &Style) -> String {
    let many = journal.count(State::Done) > LISTED;
    let runs = |end: &End| matches!(end.pods, None | Some(Pods::Running { .. }));
    let listed = |(_, end): &(&Hop, &End)| !many || end.state != State::Done || !runs(end);
    let rows: Vec<(&Hop, &End)> = plan.hops.iter().zip(&journal.ends).filter(listed).collect();
    let wide = rows.iter().map(|(h, _)| visible(&h.object.to_string()).width()).max().unwrap_or(0);
    let wide = wide.min(style.width.saturating_sub(41).max(20));
    let mut out = String::from("\n");
    for (hop, end) in rows {
        let took = if end.state == State::NotAsked { String::new() } else { seconds(end.took) };
        let row = format!(
            "{} {}  {}  {}  {took:>6}",
            sign(end, style),
            pad(&name(&hop.object, wide), wide),
            pad(end.state.word(), 10),
            pad(&shorten(&revision(end), 16), 16),
        );
        out.push_str(row.trim_end());
        out.push('\n');
        if let Some(pods) = &end.pods {
            out.push_str(&indented(&self::pods(pods), style));
        }
    }
    let done = journal.count(State::Done);
    let whole = format!("{done} of {} done", count(plan.hops.len(), "hop"));
    out.push_str(&format!("{} in {}", style.strong(&whole), seconds(journal.took)));
    if journal.ends.iter().any(|e| e.state != State::Done || !runs(e)) {
        out.push_str(&format!(" · {}", place(origin)));
    }
    out.push('\n');
    out
}

/// Where: context and server.
pub fn place(origin: &Origin) -> String {
    match &origin.context {
        Some(context) => format!("context {} ({})", visible(context), visible(&origin.server)),
        None => visible(&origin.server),
    }
}

fn object(o: &ObjectRef) -> Value {
    json!({"kind": o.kind, "namespace": o.namespace, "name": o.name})
}

fn envelope(event: &str, now: Timestamp, mut rest: Value) -> String {
    rest["apiVersion"] = json!(API_VERSION);
    rest["kind"] = json!("ReconcileEvent");
    rest["event"] = json!(event);
    rest["time"] = json!(now.to_string());
    super::json_line(&rest)
}

/// The plan as one JSON line.
pub fn plan_json(plan: &Plan, origin: &Origin, dry_run: bool, now: Timestamp) -> String {
    let hops: Vec<Value> = plan
        .hops
        .iter()
        .map(|h| {
            json!({"object": object(&h.object), "named": h.named, "after": h.after, "source": h.source,
                "suspended": h.suspended, "revision": h.revision, "fetches": h.fetches, "controller": object(&h.controller)})
        })
        .collect();
    let origin = json!({"context": origin.context, "server": origin.server});
    envelope("plan", now, json!({"dryRun": dry_run, "origin": origin, "hops": hops, "notes": plan.notes}))
}

/// What happened as one JSON line.
pub fn event_json(plan: &Plan, event: &Event, style: &Style, now: Timestamp) -> String {
    let of = |hop: &usize| json!({"hop": hop, "object": object(&plan.hops[*hop].object)});
    match event {
        Event::Asked { hop, resumed, again, webhook } => {
            let mut rest = of(hop);
            rest["resumed"] = json!(resumed);
            rest["again"] = json!(again);
            rest["webhook"] = json!(webhook);
            envelope("asked", now, rest)
        }
        Event::Working { hop, phase } => {
            let mut rest = of(hop);
            rest["phase"] = json!(phase);
            envelope("working", now, rest)
        }
        Event::Note { hop, text } => {
            let mut rest = hop.as_ref().map_or_else(|| json!({}), of);
            rest["text"] = json!(text);
            envelope("note", now, rest)
        }
        Event::Ended { hop, end } => {
            let mut rest = of(hop);
            fill(&mut rest, end, style);
            envelope("ended", now, rest)
        }
        Event::Deploying { hop, text } => {
            let mut rest = of(hop);
            rest["text"] = json!(text);
            envelope("deploying", now, rest)
        }
        Event::Deployed { hop, pods } => {
            let mut rest = of(hop);
            rest["pods"] = pods_json(pods);
            envelope("deployed", now, rest)
        }
    }
}

fn pods_json(pods: &Pods) -> Value {
    match pods {
        Pods::Running { after } => json!({"state": "running", "seconds": after.as_secs_f64()}),
        Pods::Broken(text) => json!({"state": "broken", "text": text}),
        Pods::Late(text) => json!({"state": "late", "text": text}),
        Pods::Unknown(text) => json!({"state": "unknown", "text": text}),
    }
}

fn fill(rest: &mut Value, end: &End, style: &Style) {
    rest["state"] = json!(end.state.word());
    rest["revision"] = json!(end.revision);
    rest["reason"] = json!(end.reason);
    rest["meaning"] = json!(end.meaning);
    rest["said"] = json!(end.said);
    rest["hint"] = json!(end.hint.text(|command| style.portable(command)));
    rest["seconds"] = json!(end.took.as_secs_f64());
}

/// The end as one JSON line.
pub fn summary_json(plan: &Plan, journal: &Journal, style: &Style, now: Timestamp) -> String {
    let hops: Vec<Value> = plan
        .hops
        .iter()
        .zip(&journal.ends)
        .map(|(h, end)| {
            let mut row = json!({"object": object(&h.object)});
            fill(&mut row, end, style);
            if let Some(pods) = &end.pods {
                row["pods"] = pods_json(pods);
            }
            row
        })
        .collect();
    let rest = json!({"verdict": journal.verdict(), "exitCode": journal.exit().code(), "hops": hops,
        "seconds": journal.took.as_secs_f64()});
    envelope("summary", now, rest)
}

/// Why nothing was done, as one JSON line.
pub fn refused_json(verdict: &str, text: &str, exit: u8, now: Timestamp) -> String {
    envelope("summary", now, json!({"verdict": verdict, "exitCode": exit, "text": text, "hops": []}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, Program};
    use crate::facts::Facts;
    use crate::fixture;
    use crate::plan::Selection;

    fn a_plan() -> Plan {
        let snapshot = fixture::healthy();
        Plan::derive(&Facts::derive(&snapshot), &Selection::Agentk, None, false).expect("a plan")
    }

    fn a_journal(plan: &Plan) -> Journal {
        let mut ends: Vec<End> = plan.hops.iter().map(|_| End::new(State::Done, "")).collect();
        ends[0].revision = fixture::REVISION.to_owned();
        ends[1].pods = Some(Pods::Running { after: Duration::from_millis(1_300) });
        ends[2].pods = Some(Pods::Broken("Deployment shop/web: ImagePullBackOff".to_owned()));
        ends[3] = End::new(State::Failed, "what is in Git cannot be built").said("kustomize: \u{1b}[31mno");
        ends[4] = End::new(State::NotAsked, "not asked");
        Journal { ends, took: Duration::from_millis(420) }
    }

    #[test]
    fn the_end_fits_80_columns_and_hides_nothing() {
        let plan = a_plan();
        let journal = a_journal(&plan);
        let origin =
            Origin { context: Some("world".to_owned()), server: "https://127.0.0.1:6443".to_owned() };
        let shown = summary(&plan, &journal, &origin, &Style::default());
        assert!(shown.lines().all(|l| l.width() <= 80), "{shown}");
        assert!(shown.contains("3 of 5 hops done in 0.42s · context world"), "{shown}");
        assert!(shown.contains("    pods running after 1.30s\n"), "{shown}");
        assert!(
            shown.contains("    its pods do not run: Deployment shop/web: ImagePullBackOff\n"),
            "{shown}"
        );
        let failed = Event::Ended { hop: 3, end: journal.ends[3].clone() };
        let shown = line(&plan, &failed, &Style::default()).expect("a line");
        assert!(shown.contains(r"\u{1b}[31mno"), "{shown}");
        let note = Event::Note { hop: Some(0), text: "a word ".repeat(30) };
        let shown = line(&plan, &note, &Style::default()).expect("a line");
        assert!(shown.lines().count() > 1 && shown.lines().all(|l| l.width() <= 80), "{shown}");
        let program = Program::new("kubectl apply -f").word("x".repeat(100));
        let command = Command::from(program.clone()).to_string();
        let end = End::new(State::Failed, "no").hint(Hint::from("do it:").line(program));
        let shown = line(&plan, &Event::Ended { hop: 0, end }, &Style::default()).expect("a line");
        assert!(shown.ends_with(&format!("  → do it:\n    {command}\n")), "{shown}");
        assert_eq!(
            line(&plan, &Event::Ended { hop: 4, end: journal.ends[4].clone() }, &Style::default()),
            None
        );
    }

    #[test]
    fn programs_get_one_object_a_line_with_the_verdict() {
        let plan = a_plan();
        let journal = a_journal(&plan);
        let now: Timestamp = fixture::NOW.parse().expect("a time");
        let style = Style::default();
        let lines = [
            plan_json(&plan, &Origin::default(), true, now),
            event_json(&plan, &Event::Ended { hop: 3, end: journal.ends[3].clone() }, &style, now),
            summary_json(&plan, &journal, &style, now),
        ];
        for line in &lines {
            assert!(line.ends_with('\n') && line.trim_end().lines().count() == 1, "{line}");
            let value: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(value["kind"], "ReconcileEvent");
        }
        let end: Value = serde_json::from_str(&lines[2]).expect("JSON");
        assert_eq!((end["verdict"].as_str(), end["exitCode"].as_u64()), (Some("failed"), Some(1)));
    }

    #[test]
    fn times_are_short() {
        let of = |ms| seconds(Duration::from_millis(ms));
        assert_eq!([of(42), of(9_990), of(12_400), of(125_000)], ["0.04s", "9.99s", "12s", "2m5s"]);
    }
}
