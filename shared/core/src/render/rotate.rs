//! What `rotate-token` shows: its plan, each step as it is done, the end and the receipt.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Style;
use super::reconcile::seconds;
use crate::API_VERSION;
use crate::assess::Severity;
use crate::object::ObjectRef;
use crate::report::Exit;
use crate::rotate::{Goal, Outcome, Step};
use crate::text::{age, visible};

/// What is rotated.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Name of the agent in GitLab.
    pub agent: String,
    /// Its number.
    pub id: u64,
    /// The project that it is registered in.
    pub project: String,
    /// The GitLab instance.
    pub host: String,
    /// The Secret.
    pub secret: ObjectRef,
    /// The key in it.
    pub key: String,
    /// What reads it.
    pub deployment: ObjectRef,
    /// How many pods.
    pub pods: i64,
    /// What is asked to reconcile as proof.
    pub release: Option<ObjectRef>,
    /// The active token: number, name, last use.
    pub token: Option<(u64, String, Option<Timestamp>)>,
    /// By what agentk is known to be connected.
    pub connected: String,
    /// What is worth knowing.
    pub notes: Vec<String>,
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
            (Some(Outcome::Rotated | Outcome::Nothing), _) => Exit::Fine,
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
            Some(Outcome::Nothing) => "nothing",
            None if self.midway => "midway",
            None => "refused",
        }
    }
}

/// The plan.
pub fn plan(subject: &Subject, now: Timestamp, style: &Style) -> String {
    let s = subject;
    let token = match &s.token {
        None => "no active token: nothing to lose, and nothing to revoke".to_owned(),
        Some((id, name, used)) => {
            let used =
                used.map_or_else(|| "never used".to_owned(), |at| format!("used {} ago", age(now, at)));
            format!("token {id} \"{name}\", {used}")
        }
    };
    let title = format!("Rotate the token of agent {}", s.agent);
    let mut out = format!("{}\n\n", style.strong(&visible(&title)));
    for (name, text) in [
        ("agent", format!("{} of {} at {}", s.id, s.project, s.host)),
        ("held by", format!("{}, key {}", s.secret, s.key)),
        ("read by", format!("{}: {} pods, each at its start", s.deployment, s.pods)),
        ("now", token),
    ] {
        out.push_str(&format!("  {name:<8} {}\n", visible(&text)));
    }
    if !s.connected.is_empty() {
        out.push_str(&format!("           {}\n", visible(&s.connected)));
    }
    out.push('\n');
    let prove = s.release.as_ref().map_or_else(
        || "the Secret is read again".to_owned(),
        |release| format!("after {release} reconciled"),
    );
    let revoke = s.token.as_ref().map_or_else(
        || "nothing".to_owned(),
        |(id, ..)| format!("token {id}: from here on there is no way back"),
    );
    let steps = [
        (Step::Lock, format!("a Lease in namespace {}", s.secret.namespace)),
        (Step::Journal, "an annotation on the Secret, without any value".to_owned()),
        (Step::Create, "a second token in GitLab".to_owned()),
        (Step::Write, "the Secret; what it held is kept in another until the end".to_owned()),
        (Step::RollOut, "the pods restart and read it".to_owned()),
        (Step::Verify, "GitLab sees the new token used, or a new pod leads".to_owned()),
        (Step::ProveNotReverted, prove),
        (Step::Revoke, revoke),
        (Step::Clean, "journal, kept value and Lease".to_owned()),
    ];
    for (step, text) in steps {
        out.push_str(&format!("  {:<19} {}\n", step.word(), visible(&text)));
    }
    for note in &s.notes {
        out.push_str(&format!("\n  {} {}\n", style.severity(Severity::Warning, "!"), visible(note)));
    }
    out
}

/// One step that was done.
pub fn step(step: Step, text: &str, took: Duration, style: &Style) -> String {
    format!("{} {:<19} {}  {}\n", style.good("✓"), step.word(), visible(text), style.faint(&seconds(took)))
}

/// The end. `again` is the command without the flag that goes on or back.
pub fn end(subject: &Subject, receipt: &Receipt, again: &str, style: &Style) -> String {
    let id = |token: Option<u64>| token.map_or_else(|| "none".to_owned(), |id| id.to_string());
    let (old, new) = (id(receipt.old_token), id(receipt.new_token));
    let agent = visible(&subject.agent);
    let why = receipt.why.as_deref().map(|why| format!(": {}", visible(why))).unwrap_or_default();
    let bad = |word: &str| style.severity(Severity::Error, word);
    let command = |flag: &str| style.command(&style.complete(&format!("{again} {flag}")));
    let took = style.faint(&seconds(receipt.took));
    match receipt.outcome {
        Some(Outcome::Rotated) if receipt.old_token.is_none() => {
            format!("{} agent {agent} uses token {new}  {took}\n", style.good("Rotated:"))
        }
        Some(Outcome::Rotated) => {
            format!(
                "{} agent {agent} uses token {new}; token {old} is revoked  {took}\n",
                style.good("Rotated:")
            )
        }
        Some(Outcome::Undone) => format!(
            "{}{why}\nThe Secret holds the value from before, and no token of this rotation is left.  {took}\n",
            bad("Undone")
        ),
        Some(Outcome::UndoneBothActive) => format!(
            "{}{why}\nThe Secret holds the value from before. That it works was not seen, so token {new} was left active too: \
             revoke it in GitLab once agentk is connected.\n",
            bad("Undone")
        ),
        Some(Outcome::Abandoned) => format!(
            "{}{why}\nSomebody else gave the Secret another value meanwhile. It stays, and so do the agent's active tokens.\n",
            bad("Abandoned")
        ),
        Some(Outcome::Nothing) => "No rotation is under way: nothing to do.\n".to_owned(),
        None if receipt.midway => format!(
            "{}{why}\nagentk goes on with a token that works. To end it:\n  {}   goes on\n  {}   goes back\n",
            bad("Stopped midway"),
            command("--resume"),
            command("--rollback"),
        ),
        None => format!("{}, nothing was changed{why}\n", bad("Refused")),
    }
}

/// The subject for programs.
fn subject_json(s: &Subject) -> Value {
    json!({
        "agent": {"id": s.id, "name": visible(&s.agent), "project": visible(&s.project), "host": visible(&s.host)},
        "secret": {"namespace": visible(&s.secret.namespace), "name": visible(&s.secret.name), "key": visible(&s.key)},
        "deployment": {"namespace": visible(&s.deployment.namespace), "name": visible(&s.deployment.name)},
        "activeToken": s.token.as_ref().map(|(id, name, used)| {
            json!({"id": id, "name": visible(name), "lastUsedAt": used.map(|at| format!("{at:.0}"))})
        }),
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
        "subject": subject_json(subject), "exitCode": Exit::Fine.code(),
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
            agent: "production".to_owned(),
            id: 7,
            project: "platform/fleet".to_owned(),
            host: "https://gitlab.example.com".to_owned(),
            secret: ObjectRef::new("Secret", "gitlab", "gitlab-agent-token"),
            key: "token".to_owned(),
            deployment: ObjectRef::new("Deployment", "gitlab", "gitlab-agent-v2"),
            pods: 2,
            release: Some(ObjectRef::new("HelmRelease", "gitlab", "gitlab-agent")),
            token: Some((1, "first".to_owned(), None)),
            connected: String::new(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn each_end_has_its_code() {
        use Outcome::{Abandoned, Nothing, Rotated, Undone, UndoneBothActive};
        for (goal, outcome, midway, code) in [
            (Goal::Rotate, Some(Rotated), false, 0),
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
            "kubectl gitlab-agent rotate-token agent",
            &Style::default(),
        );
        assert!(text.contains("rotate-token agent --resume") && text.contains("--rollback"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn the_plan_fits_80_columns_and_names_the_point_of_no_return() {
        let text = plan(&subject(), Timestamp::UNIX_EPOCH, &Style::default());
        assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
        assert!(text.contains("token 1: from here on there is no way back"), "{text}");
    }
}
