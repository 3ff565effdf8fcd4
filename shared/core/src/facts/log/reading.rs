//! What a log says of now: which faults are present, which are history, and what no rule knows.
//!
//! agentk retries each thing that fails, writes a line each time it fails, and none when it works again. So the
//! newest error may be history: it is over when the next attempt was due and wrote no line.

use std::cmp::Reverse;
use std::collections::BTreeMap;

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

/// What others show of the connection of agentk's pods, and when: newer than a fault, it is proof that it healed.
#[derive(Clone, Debug, Default)]
pub struct Signs<'s> {
    /// The pod that holds the Lease and renews it.
    pub leader: Option<&'s str>,
    /// When that pod took the Lease. Renewing needs only the API server; the Lease's name has the agent's number, which
    /// only kas tells, so who takes it without having known it has heard from kas.
    pub led_since: Option<Timestamp>,
    /// Since when GitLab lists a connection of a pod.
    pub connected: BTreeMap<&'s str, Timestamp>,
}

/// Faults that count as present: the leader's first (modules that only the leader runs log only there), newest
/// first, each rule once.
pub fn present_faults<'l>(
    lines: &'l Lines<'_>,
    signs: &Signs<'_>,
    now: Timestamp,
) -> Vec<(&'static Rule, &'l LogLine)> {
    let mut found: Vec<(&'static Rule, &LogLine, _)> = Vec::new();
    for lines in lines.chunk_by(|(a, _), (b, _)| a == b) {
        let pod = PodLines::new(lines, signs, now);
        let leads = signs.leader == Some(pod.name);
        for (at, (_, line)) in lines.iter().enumerate() {
            let Some(rule) = pod.faults[at].filter(|rule| pod.is_fault_now(rule, at)) else { continue };
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

/// The lines of one pod, with what each of them means: read once.
struct PodLines<'l> {
    name: &'l str,
    lines: &'l Lines<'l>,
    faults: Vec<Option<&'static Rule>>,
    signs: &'l Signs<'l>,
    now: Timestamp,
    /// The last line that only a working connection leads to.
    heard: Option<usize>,
    /// The last line that tells the agent's number.
    named: Option<usize>,
    /// Every thing that failed for want of a connection was due again and did not fail.
    is_overdue: bool,
}

impl<'l> PodLines<'l> {
    fn new(lines: &'l Lines<'l>, signs: &'l Signs<'l>, now: Timestamp) -> Self {
        let faults: Vec<_> = lines.iter().map(|(_, line)| line.fault()).collect();
        let heard = faults.iter().zip(lines).rposition(|(rule, (_, line))| is_from_kas(*rule, line));
        let named = lines.iter().rposition(|(_, line)| line.agent.is_some());
        let is_overdue = attempts(lines, &faults).all(|times| is_overdue(&times, now));
        let name = lines.first().map_or("", |(name, _)| name);
        Self { name, lines, faults, signs, now, heard, named, is_overdue }
    }

    fn is_fault_now(&self, rule: &Rule, at: usize) -> bool {
        let line = &self.lines[at].1;
        if rule.lasting {
            return true;
        }
        line.level >= Level::Info
            && is_recent(line, self.now)
            && !(self.signs.leader.is_some() && rule.until_led)
            && !self.is_over(rule, at)
    }

    /// Whether a fault of the connection is history. A token that GitLab refuses is refused again only when something is
    /// asked anew, while streams that stand go on: so traffic says nothing of it.
    fn is_over(&self, rule: &Rule, at: usize) -> bool {
        let line = &self.lines[at].1;
        if !rule.is_of_connection() || line.level == Level::Plain {
            return false;
        }
        let later = |found: Option<usize>| found.is_some_and(|found| found > at);
        let since = |moment: Option<Timestamp>| moment.zip(line.at).is_some_and(|(moment, at)| moment > at);
        let is_unnamed = line.agent.is_none();
        let learned = is_unnamed && later(self.named);
        let heard = rule.effect == Effect::Disconnected && later(self.heard);
        let leads = self.signs.leader == Some(self.name);
        let was_named = self.named.is_some_and(|named| named < at);
        let took_lease = leads && is_unnamed && !was_named && since(self.signs.led_since);
        let is_listed = since(self.signs.connected.get(self.name).copied());
        learned || heard || took_lease || is_listed || self.is_overdue
    }
}

fn is_recent(line: &LogLine, now: Timestamp) -> bool {
    line.at.is_none_or(|at| now.duration_since(at) <= LOG_IS_PRESENT)
}

/// What agentk says only after kas sent it something: a push event, or its configuration.
const HEARD: &[&str] = &[
    "Unable to trigger Receiver",
    "Failed to apply configuration",
    "Failed to preprocess configuration",
    "Starting GitRepository controller",
    "attempting to acquire leader lease",
    "successfully acquired lease",
];

/// Whether a line shows that kas was heard: it, or a rule of kas's own answers.
fn is_from_kas(rule: Option<&'static Rule>, line: &LogLine) -> bool {
    rule.is_some_and(|rule| rule.from_kas) || HEARD.iter().any(|text| line.message.contains(text))
}

/// The times, oldest first, at which each thing that agentk retries failed for want of a connection. What it tried
/// is the message; why it failed may change from one attempt to the next.
fn attempts(lines: &Lines<'_>, faults: &[Option<&'static Rule>]) -> impl Iterator<Item = Vec<Timestamp>> {
    let mut times: BTreeMap<&str, Vec<Timestamp>> = BTreeMap::new();
    for ((_, line), _) in
        lines.iter().zip(faults).filter(|(_, rule)| rule.is_some_and(Rule::is_of_connection))
    {
        times.entry(&line.message).or_default().extend(line.at);
    }
    times.into_values().collect::<Vec<_>>().into_iter()
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

    fn parse(line: &str) -> LogLine {
        LogLine::parse(line, now())
    }

    /// A line so many seconds before now.
    fn line(ago: i64, message: &str, error: &str, agent: Option<u64>) -> LogLine {
        let at = now() - SignedDuration::from_secs(ago);
        let agent = agent.map(|id| format!("agentk:{id}"));
        parse(
            &serde_json::json!({"time": at.to_string(), "level": "ERROR", "msg": message, "error": error, "agent_key": agent})
                .to_string(),
        )
    }

    fn faults(lines: &[(&str, LogLine)], leader: Option<&str>) -> Vec<String> {
        with_signs(lines, &Signs { leader, ..Signs::default() })
    }

    fn with_signs(lines: &[(&str, LogLine)], signs: &Signs<'_>) -> Vec<String> {
        present_faults(lines, signs, now()).into_iter().map(|(_, l)| l.error.clone()).collect()
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

    /// A fault of a minute ago and what is newer: what proves that it healed, and what looks so and proves nothing.
    #[test]
    fn newer_signs_are_weighed() {
        let refused =
            || ("a", line(60, REGISTER, "dial tcp 10.0.0.1:443: connect: connection refused", None));
        let named = || ("a", line(90, "x", "", Some(7)));
        let lost = || {
            (
                "a",
                line(
                    60,
                    "GetConfiguration failed",
                    "code = Unavailable desc = error reading from server: EOF",
                    Some(7),
                ),
            )
        };
        let token = || {
            (
                "a",
                line(
                    60,
                    "GetConfiguration.Recv failed",
                    "code = Unauthenticated desc = unauthenticated",
                    Some(7),
                ),
            )
        };
        let later = |pod: &'static str, message: &str, error: &str| (pod, line(30, message, error, None));
        let ago = |seconds: i64| Some(now() - SignedDuration::from_secs(seconds));
        let lease = |since: i64| Signs { leader: Some("a"), led_since: ago(since), ..Signs::default() };
        let listed = |pod: &'static str, since: i64| Signs {
            connected: ago(since).map(|at| (pod, at)).into_iter().collect(),
            ..Signs::default()
        };
        let none = Signs::default;
        let cases = [
            ("nothing newer", vec![refused()], none(), 1),
            ("it took the Lease", vec![refused()], lease(30), 0),
            ("it only renews the Lease that it took before", vec![refused()], lease(120), 1),
            ("another pod took the Lease", vec![refused()], Signs { leader: Some("b"), ..lease(30) }, 1),
            (
                "it knew its number before, so the Lease proves nothing",
                vec![named(), refused()],
                lease(30),
                1,
            ),
            ("the line itself has its number", vec![lost()], lease(30), 1),
            ("GitLab lists its connection", vec![lost()], listed("a", 30), 0),
            ("GitLab lists an older connection", vec![lost()], listed("a", 120), 1),
            ("GitLab lists another pod's connection", vec![lost()], listed("b", 30), 1),
            (
                "a push event came",
                vec![lost(), later("a", "Unable to trigger Receiver", "returned status \"404 Not Found\"")],
                none(),
                1,
            ),
            (
                "a push event came to another pod",
                vec![lost(), later("b", "Unable to trigger Receiver", "x")],
                none(),
                2,
            ),
            (
                "its configuration came",
                vec![refused(), later("a", "Failed to apply configuration", "x")],
                none(),
                1,
            ),
            (
                "kas answered",
                vec![
                    refused(),
                    later("a", "GetConfiguration failed", "code = FailedPrecondition desc = Config: x"),
                ],
                none(),
                1,
            ),
            (
                "it asks for the Lease",
                vec![refused(), later("a", "attempting to acquire leader lease gitlab/agent-7-lock...", "")],
                none(),
                0,
            ),
            (
                "a push event says nothing of the token",
                vec![token(), later("a", "Unable to trigger Receiver", "x")],
                none(),
                2,
            ),
            ("a refused token and a renewed Lease", vec![token()], lease(300), 1),
            ("the token works: GitLab lists its connection", vec![token()], listed("a", 30), 0),
            (
                "a line without meaning",
                vec![refused(), later("a", "Observability endpoint is up", "")],
                none(),
                1,
            ),
            (
                "a later fault of the cluster's API server",
                vec![lost(), later("a", "failed to renew lease gitlab/agent-7-lock", "x")],
                none(),
                2,
            ),
        ];
        for (what, lines, signs, expected) in cases {
            assert_eq!(with_signs(&lines, &signs).len(), expected, "{what}");
        }
    }

    #[test]
    fn a_dying_process_is_never_history() {
        let aborted = [("a", parse("Program aborted: token file: open /x: no such file or directory"))];
        assert_eq!(faults(&aborted, Some("b")).len(), 1);
    }

    #[test]
    fn a_module_that_is_off_stays_off_at_any_level() {
        let text =
            "Flux is not installed, skipping module. A restart is required for this to be checked again";
        let debug =
            serde_json::json!({"time": "2026-11-01T10:00:00Z", "level": "debug", "msg": text}).to_string();
        assert_eq!(faults(&[("a", parse(&debug))], None).len(), 1);
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
        let kept: Vec<String> = without_stacks(lines.iter().map(|l| parse(l))).map(|l| l.text()).collect();
        assert_eq!(kept, ["panic: x", "", "y"]);
    }

    #[test]
    fn connections_that_are_cut_off_often_are_told() {
        let cut =
            |ago| ("a", line(ago, "Error handling a connection", "failed to read frame header: EOF", None));
        let often: Vec<_> = (0..6).rev().map(|n| cut(n * 60 + 1)).collect();
        let (every, _) = cut_off_every(&often, now()).expect("told");
        assert_eq!(every.as_secs(), 60);
        assert!(present_faults(&often, &Signs::default(), now()).is_empty());
        assert!(cut_off_every(&often[2..], now()).is_none(), "four are not often");
        assert!(cut_off_every(&[], now()).is_none());
    }
}
