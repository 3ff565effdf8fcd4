//! What `rotate-token` shows: its plan, each step as it is done, the end and the receipt.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Style;
use super::reconcile::seconds;
use super::style::wrap;
use crate::API_VERSION;
use crate::assess::Severity;
use crate::command::Program;
use crate::object::ObjectRef;
use crate::report::Exit;
use crate::rotate::{Goal, Kind, Outcome, Step};
use crate::text::{age, visible};

/// What is rotated.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What it is the credential of: `agent production`, `GitRepository flux-system/app`.
    pub of: String,
    /// What a person types to confirm.
    pub confirm: String,
    /// What is made anew.
    pub kind: Kind,
    /// Where in GitLab, in words: `agent 7 of platform/fleet`, `project platform/fleet`.
    pub place: String,
    /// The GitLab instance.
    pub host: String,
    /// The new one in words: scopes, role, end.
    pub new: String,
    /// The Secret.
    pub secret: ObjectRef,
    /// The keys in it that are written.
    pub keys: Vec<String>,
    /// What reads it.
    pub readers: Vec<ObjectRef>,
    /// How they read it: `2 pods, each at its start`.
    pub reading: String,
    /// The credential that is there now.
    pub old: Option<OldCredential>,
    /// Why it is known that it works now.
    pub works: String,
    /// The steps between lock and clean that differ by kind, in words.
    pub steps: Vec<(Step, String)>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// The credential that is replaced.
#[derive(Clone, Debug)]
pub struct OldCredential {
    /// Number in GitLab, where it is one that GitLab lists.
    pub id: Option<u64>,
    /// In words: `deploy token 12 "flux"`.
    pub title: String,
    /// Last use, where GitLab says: not known, never, or when.
    pub last_used: Option<Option<Timestamp>>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// It stays active: it is not this rotation's to revoke; why.
    pub kept: Option<String>,
}

/// How a run ended, for people and programs.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// What was asked for.
    pub goal: Goal,
    /// How, where it came to an end.
    pub outcome: Option<Outcome>,
    /// Why it stopped or went back.
    pub why: Option<String>,
    /// `--resume` has to end it.
    pub midway: bool,
    /// Its journal is gone, so that `--resume` knows nothing of it.
    pub lost: bool,
    /// A server did not answer, or refused the credential.
    pub unreachable: bool,
    /// The rotation's id.
    pub id: Option<String>,
    /// The token from before.
    pub old_token: Option<u64>,
    /// The new token.
    pub new_token: Option<u64>,
    /// Proof that the new token works.
    pub verified: Option<String>,
    /// Proof that it stays.
    pub proven: Option<String>,
    /// What was done: step, words, time.
    pub steps: Vec<(Step, String, Duration)>,
    /// Who ran it.
    pub who: String,
    /// Why, where the person said.
    pub reason: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub took: Duration,
}

impl Receipt {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match (self.outcome, self.goal) {
            (Some(Outcome::Rotated | Outcome::Handed | Outcome::Nothing), _) => Exit::Fine,
            (Some(Outcome::Undone), Goal::Undo) => Exit::Fine,
            (Some(_), _) => Exit::Undone,
            (None, _) if self.midway => Exit::Midway,
            (None, _) if self.unreachable => Exit::Unreachable,
            (None, _) => Exit::Refused,
        }
    }

    /// One word for programs.
    pub fn verdict(&self) -> &'static str {
        match self.outcome {
            Some(Outcome::Rotated) => "rotated",
            Some(Outcome::Undone) => "undone",
            Some(Outcome::UndoneBothActive) => "undone-both-active",
            Some(Outcome::Abandoned) => "abandoned",
            Some(Outcome::Handed) => "begun",
            Some(Outcome::Nothing) => "nothing",
            None if self.midway => "midway",
            None => "refused",
        }
    }
}

/// The plan.
pub fn plan(subject: &Subject, now: Timestamp, style: &Style) -> String {
    let s = subject;
    let mut out = format!("{}\n\n", style.strong(&visible(&format!("Rotate the credential of {}", s.of))));
    let readers: Vec<String> = s.readers.iter().map(ToString::to_string).collect();
    let rows = [
        ("GitLab", format!("{} at {}", s.place, s.host)),
        ("held by", format!("{}, {}", s.secret, keys(s))),
        ("read by", format!("{}: {}", readers.join(", "), s.reading)),
        ("now", s.old.as_ref().map_or_else(nothing_to_lose, |old| now_words(old, now))),
        ("works", s.works.clone()),
        ("new", s.new.clone()),
    ];
    for (name, text) in rows.iter().filter(|(_, text)| !text.is_empty()) {
        out.push_str(&row(&format!("  {name:<8} "), 11, text, style));
    }
    out.push('\n');
    for (step, text) in steps(s) {
        out.push_str(&row(&format!("  {:<19} ", step.word()), 22, &text, style));
    }
    for note in &s.notes {
        let head = format!("\n  {} ", style.severity(Severity::Warning, "!"));
        out.push_str(&row(&head, 4, note, style));
    }
    out
}

fn keys(s: &Subject) -> String {
    format!("{} {}", if s.keys.len() == 1 { "key" } else { "keys" }, s.keys.join(", "))
}

fn nothing_to_lose() -> String {
    "no active token: nothing to lose, and nothing to revoke".to_owned()
}

fn now_words(old: &OldCredential, now: Timestamp) -> String {
    let used = match old.last_used {
        None => String::new(),
        Some(None) => ", never used".to_owned(),
        Some(Some(at)) => format!(", used {} ago", age(now, at)),
    };
    let end = old.expires_at.map(|at| format!(", ends {}", at.strftime("%Y-%m-%d"))).unwrap_or_default();
    format!("{}{used}{end}", old.title)
}

/// A line of the plan, wrapped under its own beginning, which takes `columns`.
fn row(head: &str, columns: usize, text: &str, style: &Style) -> String {
    let lines = wrap(&visible(text), style.width.saturating_sub(columns).max(20));
    let pad = " ".repeat(columns);
    format!("{head}{}\n", lines.join(&format!("\n{pad}")))
}

/// All steps of the plan.
fn steps(s: &Subject) -> Vec<(Step, String)> {
    let revoke = match &s.old {
        None => "nothing".to_owned(),
        Some(OldCredential { kept: Some(why), .. }) => format!("nothing: {why}"),
        Some(_) if s.kind == Kind::PersonalToken => {
            "nothing more: the old one died when the new one was made".to_owned()
        }
        Some(old) => format!("{}: from here on there is no way back", old.title),
    };
    let mut steps = vec![
        (Step::Lock, format!("a Lease in namespace {}", s.secret.namespace)),
        (Step::Journal, "an annotation on the Secret, without any value".to_owned()),
    ];
    steps.extend(s.steps.iter().cloned());
    steps.push((Step::Revoke, revoke));
    steps.push((Step::Clean, "journal, kept value and Lease".to_owned()));
    steps
}

/// One step that was done.
pub fn step(step: Step, text: &str, took: Duration, style: &Style) -> String {
    let head = format!("{} {:<19} ", style.good("✓"), step.word());
    let line = row(&head, 22, &format!("{text} {}", seconds(took)), style);
    // The time is the last word, and faint.
    let time = seconds(took);
    match line.trim_end().strip_suffix(&time) {
        Some(rest) => format!("{rest} {}\n", style.faint(&time)),
        None => line,
    }
}

/// Prose that begins with a coloured word, wrapped.
fn prose(word: &str, painted: &str, text: &str, style: &Style) -> String {
    let lines = wrap(&format!("{word}{text}"), style.width.max(20)).join("\n");
    format!("{painted}{}\n", lines.strip_prefix(word).unwrap_or(&lines))
}

/// The end. `again` is the command without the flag that goes on or back.
pub fn end(subject: &Subject, receipt: &Receipt, again: &Program, style: &Style) -> String {
    let of = visible(&subject.of);
    let kind = subject.kind.word();
    let id = |token: Option<u64>| token.map_or_else(|| "none".to_owned(), |id| id.to_string());
    let (old, new) = (id(receipt.old_token), id(receipt.new_token));
    let why = receipt.why.as_deref().map(|why| format!(": {}", visible(why))).unwrap_or_default();
    let bad = |word: &str, text: &str| prose(word, &style.severity(Severity::Error, word), text, style);
    let good = |word: &str, text: &str| prose(word, &style.good(word), text, style);
    let command = |flag: &'static str, what: &str| {
        format!("  {}\n      {what}\n", style.command(&style.complete(&again.clone().words(flag).into())))
    };
    let took = seconds(receipt.took);
    let kept = subject.old.as_ref().and_then(|o| Some(format!("{} stays: {}", o.title, o.kept.as_ref()?)));
    match receipt.outcome {
        Some(Outcome::Rotated) => {
            let old = match (receipt.old_token, kept) {
                (Some(_), _) => format!("; number {old} is revoked"),
                (None, Some(kept)) => format!("; {}", visible(&kept)),
                (None, None) => String::new(),
            };
            good("Rotated:", &format!(" {of} uses {kind} {new}{old} ({took})"))
        }
        Some(Outcome::Handed) => {
            let text = format!(" {kind} {new} waits for the Secret's owner. Both work until you end it:");
            let finish =
                command("--finish", "once the Secret holds the new one: proves it, and revokes the old one");
            format!("{}{finish}{}", good("Begun:", &text), command("--rollback", "gives the new one up"))
        }
        Some(Outcome::Undone) => {
            let text = "The Secret holds the value from before, and nothing of this rotation is left.";
            format!("{}{}", bad("Undone", &why), prose("", "", &format!("{text} ({took})"), style))
        }
        Some(Outcome::UndoneBothActive) => {
            let text = format!(
                "The Secret holds the value from before. That it works was not seen, so {kind} {new} was left active too: \
                 revoke it in GitLab once all is well."
            );
            format!("{}{}", bad("Undone", &why), prose("", "", &text, style))
        }
        Some(Outcome::Abandoned) => {
            let made = receipt.new_token.map_or_else(String::new, |id| {
                format!(
                    " This rotation made {} {id}: revoke it in GitLab where nobody uses it.",
                    subject.kind.word()
                )
            });
            let text = format!(
                "Somebody else gave the Secret another value meanwhile. It stays, and so does what is active in GitLab.{made}"
            );
            format!("{}{}", bad("Abandoned", &why), prose("", "", &text, style))
        }
        Some(Outcome::Nothing) => "No rotation is under way: nothing to do.\n".to_owned(),
        None if receipt.midway && receipt.lost => {
            let text =
                "Its journal is gone with what the Secret was: --resume and --rollback know nothing of it.";
            format!("{}{}", bad("Stopped midway", &why), prose("", "", text, style))
        }
        None if receipt.midway => {
            // What is renewed in its place is the one thing that this cannot be said of.
            let works =
                if subject.kind == Kind::PersonalToken { "" } else { "Some credential works all the same. " };
            format!(
                "{}{}{}{}",
                bad("Stopped midway", &why),
                prose("", "", &format!("{works}To end it:"), style),
                command("--resume", "goes on"),
                command("--rollback", "goes back"),
            )
        }
        None => bad("Refused", &format!(", nothing was changed{why}")),
    }
}

/// The subject for programs.
fn subject_json(s: &Subject) -> Value {
    let object = |o: &ObjectRef| json!({"kind": visible(&o.kind), "namespace": visible(&o.namespace), "name": visible(&o.name)});
    let mut secret = object(&s.secret);
    secret["keys"] = s.keys.iter().map(|k| visible(k)).collect();
    json!({
        "of": visible(&s.of), "kind": s.kind, "host": visible(&s.host), "place": visible(&s.place),
        "secret": secret,
        "readers": s.readers.iter().map(object).collect::<Vec<_>>(),
        "now": s.old.as_ref().map(|old| json!({
            "id": old.id, "title": visible(&old.title),
            "lastUsedAt": old.last_used.flatten().map(|at| format!("{at:.0}")),
            "expiresAt": old.expires_at.map(|at| format!("{at:.0}")),
            "kept": old.kept.as_deref().map(visible),
        })),
        "new": visible(&s.new),
        "notes": s.notes.iter().map(|n| visible(n)).collect::<Vec<_>>(),
    })
}

fn pretty(value: &Value) -> String {
    format!("{}\n", serde_json::to_string_pretty(value).unwrap_or_default())
}

/// The plan for programs.
pub fn plan_json(subject: &Subject, now: Timestamp) -> String {
    pretty(&json!({
        "apiVersion": API_VERSION, "kind": "TokenRotationPlan", "generatedAt": format!("{now:.0}"),
        "subject": subject_json(subject),
        "steps": steps(subject).iter().map(|(step, text)| json!({"step": step.word(), "text": visible(text)})).collect::<Vec<_>>(),
        "exitCode": Exit::Fine.code(),
    }))
}

/// A run with `--if-older-than` or `--if-expires-within` that had nothing to do, for programs.
pub fn not_due_json(subject: &Subject, why: &str, now: Timestamp) -> String {
    pretty(&json!({
        "apiVersion": API_VERSION, "kind": "TokenRotation", "generatedAt": format!("{now:.0}"), "verdict": "not-due",
        "reasons": [visible(why)], "subject": subject_json(subject), "steps": [], "exitCode": Exit::Fine.code(),
    }))
}

/// A run that was refused before anything was changed, for programs.
pub fn refused_json(verdict: &str, reasons: &[String], exit: Exit, now: Timestamp) -> String {
    pretty(&json!({
        "apiVersion": API_VERSION, "kind": "TokenRotation", "generatedAt": format!("{now:.0}"), "verdict": verdict,
        "reasons": reasons.iter().map(|r| visible(r)).collect::<Vec<_>>(), "steps": [], "exitCode": exit.code(),
    }))
}

/// The receipt: what was done, by whom, with which proof. No value and no part of one.
pub fn receipt_json(subject: &Subject, r: &Receipt) -> String {
    let steps: Vec<Value> = r
        .steps
        .iter()
        .map(|(step, text, took)| {
            json!({"step": step.word(), "text": visible(text), "milliseconds": u64::try_from(took.as_millis()).unwrap_or(u64::MAX)})
        })
        .collect();
    pretty(&json!({
        "apiVersion": API_VERSION, "kind": "TokenRotation", "verdict": r.verdict(),
        "reasons": r.why.iter().map(|w| visible(w)).collect::<Vec<_>>(),
        "rotation": r.id, "who": visible(&r.who), "reason": r.reason.as_deref().map(visible),
        "startedAt": format!("{:.0}", r.started_at),
        "milliseconds": u64::try_from(r.took.as_millis()).unwrap_or(u64::MAX),
        "subject": subject_json(subject), "oldToken": r.old_token, "newToken": r.new_token,
        "verified": r.verified.as_deref().map(visible), "proven": r.proven.as_deref().map(visible),
        "steps": steps, "exitCode": r.exit().code(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(goal: Goal, outcome: Option<Outcome>, midway: bool) -> Receipt {
        Receipt {
            goal,
            outcome,
            why: Some("because\u{1b}[31m".to_owned()),
            midway,
            lost: false,
            unreachable: false,
            id: None,
            old_token: Some(1),
            new_token: Some(2),
            verified: None,
            proven: None,
            steps: vec![(Step::Create, "token 2".to_owned(), Duration::ZERO)],
            who: "ada@console".to_owned(),
            reason: None,
            started_at: Timestamp::UNIX_EPOCH,
            took: Duration::ZERO,
        }
    }

    fn subject() -> Subject {
        Subject {
            of: "agent production".to_owned(),
            confirm: "production".to_owned(),
            kind: Kind::AgentToken,
            place: "agent 7 of platform/fleet".to_owned(),
            host: "https://gitlab.example.com".to_owned(),
            new: String::new(),
            secret: ObjectRef::new("Secret", "gitlab", "gitlab-agent-token"),
            keys: vec!["token".to_owned()],
            readers: vec![ObjectRef::new("Deployment", "gitlab", "gitlab-agent-v2")],
            reading: "2 pods, each at its start".to_owned(),
            old: Some(OldCredential {
                id: Some(1),
                title: "agent token 1 \"first\"".to_owned(),
                last_used: Some(None),
                expires_at: None,
                kept: None,
            }),
            works: String::new(),
            steps: vec![(Step::Create, "a second token ".repeat(12))],
            notes: vec!["worth knowing ".repeat(12)],
        }
    }

    #[test]
    fn each_end_has_its_code() {
        use Outcome::{Abandoned, Handed, Nothing, Rotated, Undone, UndoneBothActive};
        for (goal, outcome, midway, code) in [
            (Goal::Rotate, Some(Rotated), false, 0),
            (Goal::Begin, Some(Handed), false, 0),
            (Goal::Resume, Some(Nothing), false, 0),
            (Goal::Undo, Some(Undone), false, 0),
            (Goal::Rotate, Some(Undone), false, 6),
            (Goal::Undo, Some(UndoneBothActive), false, 6),
            (Goal::Rotate, Some(Abandoned), false, 6),
            (Goal::Rotate, None, true, 7),
            (Goal::Rotate, None, false, 5),
        ] {
            let receipt = receipt(goal, outcome, midway);
            assert_eq!(receipt.exit().code(), code, "{outcome:?}");
            let json: Value = serde_json::from_str(&receipt_json(&subject(), &receipt)).expect("JSON");
            assert_eq!(json["exitCode"], code);
        }
    }

    #[test]
    fn whoever_is_stopped_midway_reads_how_to_go_on() {
        let text = end(
            &subject(),
            &receipt(Goal::Rotate, None, true),
            &Program::new("kubectl gitlab-agent rotate-token agent"),
            &Style::default(),
        );
        assert!(text.contains("rotate-token agent --resume") && text.contains("--rollback"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn the_plan_fits_80_columns_and_names_the_point_of_no_return() {
        let text = plan(&subject(), Timestamp::UNIX_EPOCH, &Style::default());
        assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
        assert!(text.contains("\"first\": from here on there is no way back"), "{text}");
        let kept = Some("a person's".to_owned());
        let old = subject().old.map(|old| OldCredential { kept, ..old });
        let text = plan(&Subject { old, ..subject() }, Timestamp::UNIX_EPOCH, &Style::default());
        assert!(text.contains("revoke              nothing: a person's"), "{text}");
    }
}
