//! What a log says of now: which faults are present, which are history, and what no rule knows.
//!
//! agentk retries each thing that fails, writes a line each time it fails, and none when it works again. So the
//! newest error may be history: it is over when the next attempt was due and wrote no line.

use std::cmp::Reverse;

use jiff::{SignedDuration, Timestamp};

use super::noise::is_recycled;
use super::{Effect, Level, LogLine, Rule};

/// How far back an error still counts as present: twice agentk's longest back-off of five minutes.
const LOG_IS_PRESENT: SignedDuration = SignedDuration::from_mins(10);

/// When a second attempt is due at the latest. The back-off begins with ten seconds; a reconnect after kas was away
/// was seen to take a minute and a half.
const SECOND_ATTEMPT: SignedDuration = SignedDuration::from_secs(150);

/// So many orderly ends of a connection within [`LOG_IS_PRESENT`] are no recycling (kas's own comes every two hours).
const OFTEN: usize = 5;

/// Lines with the pod that wrote them, oldest first within a pod.
type Lines<'s> = [(&'s str, LogLine)];

/// Drops the stacks that Go prints behind a panic: up to the next line with a level.
pub(crate) fn without_stacks(lines: impl Iterator<Item = LogLine>) -> impl Iterator<Item = LogLine> {
    let mut in_stack = false;
    lines.filter(move |line| {
        let plain = line.level == Level::Plain;
        in_stack = plain && (in_stack || line.message.starts_with("goroutine "));
        !in_stack
    })
}

/// Faults that count as present: the leader's first (modules that only the leader runs log only there), newest
/// first, each rule once.
pub fn present_faults<'l>(
    lines: &'l Lines<'_>,
    leader: Option<&str>,
    now: Timestamp,
) -> Vec<(&'static Rule, &'l LogLine)> {
    let mut found: Vec<(&'static Rule, &LogLine, _)> = Vec::new();
    for pod in lines.chunk_by(|(a, _), (b, _)| a == b) {
        let leads = pod.first().is_some_and(|(name, _)| Some(*name) == leader);
        for (at, (_, line)) in pod.iter().enumerate() {
            let present = |rule: &&'static Rule| is_fault_now(rule, pod, at, leader.is_some(), now);
            let Some(rule) = line.fault().filter(present) else { continue };
            found.push((rule, line, (leads, line.at.unwrap_or(Timestamp::MAX), at)));
        }
    }
    found.sort_by_key(|(_, _, order)| Reverse(*order));
    let mut once: Vec<(&'static Rule, &LogLine)> = Vec::new();
    for (rule, line, _) in found {
        if !once.iter().any(|(known, _)| std::ptr::eq(*known, rule)) {
            once.push((rule, line));
        }
    }
    once
}

fn is_fault_now(rule: &Rule, pod: &Lines<'_>, at: usize, led: bool, now: Timestamp) -> bool {
    let line = &pod[at].1;
    if rule.lasting {
        return true;
    }
    line.level >= Level::Info
        && is_recent(line, now)
        && !(led && rule.until_led)
        && !is_over(rule, pod, at, now)
}

fn is_recent(line: &LogLine, now: Timestamp) -> bool {
    line.at.is_none_or(|at| now.duration_since(at) <= LOG_IS_PRESENT)
}

fn is_of_connection(rule: &Rule) -> bool {
    matches!(rule.effect, Effect::TokenRefused | Effect::Disconnected)
}

/// Whether a fault of the connection is history: the pod has since learned which agent it is, which only kas tells;
/// or each thing that failed was due again and did not fail.
fn is_over(rule: &Rule, pod: &Lines<'_>, at: usize, now: Timestamp) -> bool {
    let line = &pod[at].1;
    if !is_of_connection(rule) || line.level == Level::Plain {
        return false;
    }
    let learned = line.agent.is_none() && pod[at + 1..].iter().any(|(_, later)| later.agent.is_some());
    learned || attempts(pod).all(|times| is_overdue(&times, now))
}

/// The times, oldest first, at which each thing that agentk retries failed for want of a connection. What it tried
/// is the message; why it failed may change from one attempt to the next.
fn attempts(pod: &Lines<'_>) -> impl Iterator<Item = Vec<Timestamp>> {
    let failed: Vec<&LogLine> =
        pod.iter().map(|(_, l)| l).filter(|l| l.fault().is_some_and(is_of_connection)).collect();
    let mut messages: Vec<&str> = failed.iter().map(|l| l.message.as_str()).collect();
    messages.sort_unstable();
    messages.dedup();
    let times: Vec<Vec<Timestamp>> = messages
        .into_iter()
        .map(|message| failed.iter().filter(|l| l.message == message).filter_map(|l| l.at).collect())
        .collect();
    times.into_iter()
}

/// Whether the next attempt should have failed by now. The back-off doubles, and each wait is up to twice as long as
/// planned, so the next is at most four times the last.
fn is_overdue(times: &[Timestamp], now: Timestamp) -> bool {
    let [.., newest] = times else { return false };
    let last = times.iter().rev().map(|at| newest.duration_since(*at)).find(|gap| gap.as_secs() >= 1);
    let due = last.map_or(SECOND_ATTEMPT, |gap| gap * 4 + SignedDuration::from_secs(30)).max(SECOND_ATTEMPT);
    now.duration_since(*newest) > due
}

/// Errors of the last minutes that no rule knows, oldest first, each text once.
pub fn unknown_errors<'l>(lines: &'l Lines<'_>, now: Timestamp) -> Vec<&'l LogLine> {
    let unknown = |line: &&LogLine| line.level >= Level::Error && !line.is_noise() && line.fault().is_none();
    let said = |line: &&LogLine| !line.text().trim().is_empty();
    let mut found: Vec<&LogLine> =
        lines.iter().map(|(_, l)| l).filter(|l| is_recent(l, now)).filter(unknown).filter(said).collect();
    found.sort_by_key(|line| Reverse(line.at.unwrap_or(Timestamp::MAX)));
    let mut once: Vec<&LogLine> = Vec::new();
    for line in found {
        if !once.iter().any(|known| known.text() == line.text()) {
            once.push(line);
        }
    }
    once.reverse();
    once
}

/// How often something before kas ends a pod's idle connections, where it does so far more often than kas itself
/// (gitlab-agent issues 279 and 349: a proxy's idle timeout of a minute), with the newest such line.
pub fn cut_off_every<'l>(lines: &'l Lines<'_>, now: Timestamp) -> Option<(SignedDuration, &'l LogLine)> {
    lines.chunk_by(|(a, _), (b, _)| a == b).find_map(|pod| {
        let cut = |line: &&LogLine| line.level >= Level::Info && is_recycled(&line.text());
        let recent =
            |line: &LogLine| Some((line.at.filter(|at| now.duration_since(*at) <= LOG_IS_PRESENT)?, ()));
        let mut cuts: Vec<(Timestamp, &LogLine)> =
            pod.iter().map(|(_, l)| l).filter(cut).filter_map(|l| Some((recent(l)?.0, l))).collect();
        // One end of a connection shows in several lines.
        cuts.dedup_by(|b, a| b.0.duration_since(a.0).as_secs() < 5);
        let [(first, _), .., (last, newest)] = cuts[..] else { return None };
        let gaps = i32::try_from(cuts.len() - 1).ok()?;
        (cuts.len() >= OFTEN).then(|| (last.duration_since(first) / gaps, newest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-02T10:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().expect("a time")
    }

    /// A line so many seconds before now.
    fn line(ago: i64, message: &str, error: &str, agent: Option<u64>) -> LogLine {
        let at = now() - SignedDuration::from_secs(ago);
        let agent = agent.map(|id| format!("agentk:{id}"));
        LogLine::parse(
            &serde_json::json!({"time": at.to_string(), "level": "ERROR", "msg": message, "error": error, "agent_key": agent})
                .to_string(),
        )
    }

    fn faults(lines: &[(&str, LogLine)], leader: Option<&str>) -> Vec<String> {
        present_faults(lines, leader, now()).into_iter().map(|(_, l)| l.error.clone()).collect()
    }

    const REGISTER: &str =
        "Failed to register agent pod. Please make sure the agent version matches the server version";

    #[test]
    fn the_leader_is_first_and_then_the_newest() {
        let lines = [
            ("a", line(20, REGISTER, "connection refused", None)),
            ("a", line(10, REGISTER, "no such host", None)),
            ("b", line(30, "Unable to trigger Receiver", "returned status \"404 Not Found\"", None)),
            ("b", line(25, REGISTER, "connection refused by b", None)),
        ];
        let newest_first = ["no such host", "connection refused", "returned status \"404 Not Found\""];
        assert_eq!(faults(&lines, None), newest_first);
        let leader_first = ["connection refused by b", "returned status \"404 Not Found\"", "no such host"];
        assert_eq!(faults(&lines, Some("b")), leader_first);
    }

    #[test]
    fn a_connection_that_came_back_is_no_fault() {
        let refused = |ago| ("a", line(ago, REGISTER, "connection refused", None));
        assert_eq!(faults(&[refused(140)], None).len(), 1, "the second attempt may be under way");
        assert!(faults(&[refused(160)], None).is_empty(), "the second attempt was due and wrote nothing");
        let growing = [refused(410), refused(370), refused(300)];
        assert_eq!(faults(&growing, None).len(), 1, "the next may come 280 seconds after a gap of 70");
        let over = [refused(500), refused(490), refused(470)];
        assert!(faults(&over, None).is_empty(), "the next was due within 80 seconds");
        let other_loop =
            [over[0].clone(), over[2].clone(), ("a", line(100, "GetConfiguration failed", "EOF", None))];
        assert_eq!(faults(&other_loop, None).len(), 2, "what it also tries still fails");
        let learned = [refused(20), ("a", line(10, "x", "", Some(7)))];
        assert!(faults(&learned, None).is_empty(), "only kas tells which agent it is");
        let lost =
            [("a", line(20, REGISTER, "connection refused", Some(7))), ("a", line(10, "x", "", Some(7)))];
        assert_eq!(faults(&lost, None).len(), 1, "it knew that before");
        assert!(faults(&[refused(700)], None).is_empty(), "history");
    }

    #[test]
    fn a_dying_process_is_never_history() {
        let aborted =
            [("a", LogLine::parse("Program aborted: token file: open /x: no such file or directory"))];
        assert_eq!(faults(&aborted, Some("b")).len(), 1);
    }

    #[test]
    fn a_module_that_is_off_stays_off_at_any_level() {
        let text =
            "Flux is not installed, skipping module. A restart is required for this to be checked again";
        let debug =
            serde_json::json!({"time": "2026-11-01T10:00:00Z", "level": "debug", "msg": text}).to_string();
        assert_eq!(faults(&[("a", LogLine::parse(&debug))], None).len(), 1);
    }

    #[test]
    fn a_stack_is_one_line() {
        let lines = [
            "panic: x",
            "",
            "goroutine 1 [running]:",
            "main.main()",
            "\t/a.go:1",
            r#"{"level":"INFO","msg":"y"}"#,
        ];
        let kept: Vec<String> =
            without_stacks(lines.iter().map(|l| LogLine::parse(l))).map(|l| l.text()).collect();
        assert_eq!(kept, ["panic: x", "", "y"]);
    }

    #[test]
    fn connections_that_are_cut_off_often_are_told() {
        let cut =
            |ago| ("a", line(ago, "Error handling a connection", "failed to read frame header: EOF", None));
        let often: Vec<_> = (0..6).rev().map(|n| cut(n * 60 + 1)).collect();
        let (every, _) = cut_off_every(&often, now()).expect("told");
        assert_eq!(every.as_secs(), 60);
        assert!(present_faults(&often, None, now()).is_empty());
        assert!(cut_off_every(&often[2..], now()).is_none(), "four are not often");
        assert!(cut_off_every(&[], now()).is_none());
    }
}
