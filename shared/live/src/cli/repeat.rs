//! Looking more than once: `--wait` until all is well, `--watch` until Ctrl-C.

use std::time::{Duration, Instant};

use anyhow::Result;
use gitlab_agent_core::render::{self, Style, VerifyFormat, verify_line};
use gitlab_agent_core::report::{Exit, Report};
use gitlab_agent_core::text::{shorten, span};
use jiff::{SignedDuration, Timestamp};

use super::note;
use super::streams::{self, draw, is_read};

/// How `--watch` shows what it sees.
pub(super) struct Watched {
    pub(super) format: VerifyFormat,
    pub(super) style: Style,
    pub(super) interval: Duration,
    /// Of each look; zero is none.
    pub(super) limit: Duration,
}

/// Looks, at once and then every interval, until all is well or the time is over; zero is no limit. Gives the last
/// report; none where the time was over before the first.
pub(super) async fn until_well(
    limit: Duration,
    interval: Duration,
    mut look: impl AsyncFnMut() -> Result<Report>,
) -> Result<Option<Report>> {
    let begun = Instant::now();
    let mut progress = Progress::new(begun);
    let mut last = None;
    loop {
        let left = if limit.is_zero() { None } else { Some(limit.saturating_sub(begun.elapsed())) };
        let Some(report) = within(left, look()).await.transpose()? else { break };
        if report.exit == Exit::Fine {
            return Ok(Some(report));
        }
        progress.show(&report);
        last = Some(report);
        if !limit.is_zero() && begun.elapsed() + interval >= limit {
            break;
        }
        tokio::time::sleep(interval).await;
    }
    progress.clear();
    note(&format!("not well after {} (--timeout)", span(seconds(begun.elapsed()))));
    Ok(last)
}

async fn within<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, work).await.ok(),
        None => Some(work.await),
    }
}

fn seconds(duration: Duration) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX))
}

/// What is waited for, on standard error: a moving line on a terminal, otherwise a line whenever it changes.
struct Progress {
    begun: Instant,
    moving: bool,
    said: String,
}

impl Progress {
    fn new(begun: Instant) -> Self {
        Self { begun, moving: streams::talks_to_terminal(), said: String::new() }
    }

    fn show(&mut self, report: &Report) {
        let text = verify_line(report);
        if self.moving {
            let columns = terminal_size::terminal_size().map_or(80, |(w, _)| usize::from(w.0));
            let waited = span(seconds(self.begun.elapsed()));
            let text = shorten(&text, columns.saturating_sub(waited.len() + 3).max(20));
            streams::moving(&format!("{text}  {waited}"));
        } else if text != self.said {
            note(&format!("waiting: {text}"));
        }
        self.said = text;
    }

    fn clear(&mut self) {
        streams::still();
        self.said.clear();
    }
}

impl Drop for Progress {
    /// Also at Ctrl-C: no half line is left.
    fn drop(&mut self) {
        self.clear();
    }
}

/// Looks every interval and shows each report, until Ctrl-C or until nobody reads any more.
pub(super) async fn watch(how: &Watched, mut look: impl AsyncFnMut() -> Result<Report>) -> Result<Exit> {
    let limit = (!how.limit.is_zero()).then_some(how.limit);
    let mut screen = Screen::new(how);
    loop {
        let read = match within(limit, look()).await.transpose()? {
            Some(report) => screen.show(&report).then_some(report.exit),
            None => screen.missed().then_some(Exit::TimedOut),
        };
        if read.is_none() {
            return Ok(Exit::Fine);
        }
        tokio::time::sleep(how.interval).await;
    }
}

/// A terminal is drawn anew in place; elsewhere a line is added, for people whenever what leads the report changes.
struct Screen<'w> {
    how: &'w Watched,
    terminal: bool,
    said: String,
}

impl<'w> Screen<'w> {
    fn new(how: &'w Watched) -> Self {
        let terminal = how.format != VerifyFormat::Json && streams::is_terminal();
        Self { how, terminal, said: String::new() }
    }

    /// False where nobody reads any more.
    fn show(&mut self, report: &Report) -> bool {
        if self.terminal {
            return self.draw(&render::verify(report, self.how.format, &self.how.style));
        }
        if self.how.format == VerifyFormat::Json {
            return is_read(&render::verify_json_line(report, &self.how.style));
        }
        self.say(&verify_line(report))
    }

    fn missed(&mut self) -> bool {
        let text = format!("? no answer within {}", span(seconds(self.how.limit)));
        if self.terminal {
            return self.draw(&text);
        }
        if self.how.format == VerifyFormat::Json {
            note(&text);
            return true;
        }
        self.say(&text)
    }

    fn say(&mut self, text: &str) -> bool {
        if self.said == text {
            return true;
        }
        text.clone_into(&mut self.said);
        is_read(&format!("{} {text}\n", Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ")))
    }

    fn draw(&mut self, text: &str) -> bool {
        let rows = terminal_size::terminal_size().map_or(24, |(_, h)| usize::from(h.0));
        let every = span(seconds(self.how.interval));
        let head =
            format!("every {every}, last at {} — Ctrl-C ends", Timestamp::now().strftime("%H:%M:%S UTC"));
        let first = self.said.is_empty();
        self.said.clone_from(&head);
        draw(&picture(&self.how.style.faint(&head), text, rows, first))
    }
}

impl Drop for Screen<'_> {
    /// The last picture stays; what comes next begins on a line of its own.
    fn drop(&mut self) {
        if self.terminal && !self.said.is_empty() {
            is_read("\n");
        }
    }
}

/// One picture, written at once: from the top left corner, each line cleared behind its text, too long ones cut by the
/// terminal, which is left as it was.
fn picture(head: &str, text: &str, rows: usize, first: bool) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let room = rows.saturating_sub(2).max(1);
    let mut shown: Vec<String> = vec![head.to_owned()];
    if lines.len() > room {
        shown.extend(lines[..room - 1].iter().map(|l| (*l).to_owned()));
        shown.push(format!("… and {} more lines", lines.len() + 1 - room));
    } else {
        shown.extend(lines.iter().map(|l| (*l).to_owned()));
    }
    let body = shown.join("\x1b[K\n");
    let begin = if first { "\x1b[2J" } else { "" };
    format!("\x1b[?7l{begin}\x1b[H{body}\x1b[K\x1b[J\x1b[?7h")
}

#[cfg(test)]
mod tests {
    use super::*;
    use gitlab_agent_core::assess::{CHECKS, assess};
    use gitlab_agent_core::facts::Facts;
    use gitlab_agent_core::fixture;
    use gitlab_agent_core::report::Thresholds;

    const SOON: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(3600);

    fn report(well: bool) -> Report {
        let mut snapshot = fixture::healthy();
        if !well {
            fixture::secret(&mut snapshot, "gitlab", "gitlab-agent-token").keys.clear();
        }
        let facts = Facts::derive(&snapshot);
        Report::build(&facts, assess(&facts, CHECKS.iter().copied()), &Thresholds::default())
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(work)
    }

    #[test]
    fn waiting_ends_with_the_first_look_that_is_well() {
        let mut looks = 0;
        let last = run(until_well(LONG, SOON, async || {
            looks += 1;
            Ok(report(looks == 3))
        }));
        assert_eq!(last.expect("no error").map(|r| r.exit), Some(Exit::Fine));
        assert_eq!(looks, 3);
    }

    #[test]
    fn when_the_time_is_over_the_last_report_is_given() {
        let last = run(until_well(SOON, LONG, async || Ok(report(false))));
        assert_eq!(last.expect("no error").map(|r| r.exit), Some(Exit::Problems));
        let none = run(until_well(SOON, SOON, async || std::future::pending::<Result<Report>>().await));
        assert!(none.expect("no error").is_none(), "no look came to its end");
    }

    #[test]
    fn a_picture_fits_and_leaves_the_terminal_as_it_was() {
        let text = (0..50).map(|n| format!("line {n}\n")).collect::<String>();
        let picture = picture("head", &text, 10, true);
        assert_eq!(picture.matches('\n').count(), 8, "{picture}");
        assert!(picture.contains("… and 43 more lines") && picture.ends_with("\x1b[J\x1b[?7h"), "{picture}");
    }
}
